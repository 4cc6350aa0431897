/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/timing.h"
#include "daemon/intake/progress.h"

#define MOST_BYTES 4096
#define HALF_LIFE 100

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void check_sum(const struct progress *p)
{
    const struct status_records *r = &p->records;

    assert_int_equal(r->consumed,
                     r->learned + r->skipped + r->quarantined + r->holdout);
}

static void test_counters_add_up(void **state)
{
    struct progress p;
    int32_t id;

    (void)state;
    progress_init(&p);
    id = progress_begin(&p, "text", 0, 5);
    progress_decide(&p, 1, id, 5, 'l');
    progress_decide(&p, 1, id, 6, 'l');
    progress_decide(&p, 1, id, 7, 'h');
    progress_decide(&p, 1, id, 9, 'q');
    progress_decide(&p, 2, id, 10, 's');
    progress_decide(&p, 2, id, 12, 's'); /* an offset is missing: a new run */
    check_sum(&p);
    assert_int_equal(p.records.consumed, 6);
    assert_int_equal(p.n_ledger, 5);
    assert_int_equal(p.ledger[0].first_offset, 5);
    assert_int_equal(p.ledger[0].last_offset, 6);
    assert_int_equal(p.ledger[0].count, 2);
    progress_release(&p);
}

static void test_positions(void **state)
{
    struct progress p;
    struct store_offset *offsets;
    int32_t a, b;
    size_t n;

    (void)state;
    progress_init(&p);
    a = progress_begin(&p, "text", 0, 100);
    b = progress_partition_id(&p, "text", 1); /* without a position */
    assert_int_not_equal(a, b);
    assert_int_equal(progress_begin(&p, "text", 0, 7), a);
    offsets = progress_offsets(&p, &n);
    assert_int_equal(n, 1);
    assert_int_equal(offsets[0].next_offset, 100);
    assert_int_equal(offsets[0].last_learned, -1);
    free(offsets);
    progress_move(&p, a, 104);
    offsets = progress_offsets(&p, &n);
    assert_int_equal(offsets[0].next_offset, 105);
    free(offsets);
    progress_release(&p);
}

static void quarantine(struct progress *p, int32_t partition_id,
                       int64_t offset, const char *reason, const char *bytes,
                       size_t n_bytes, const char *id)
{
    struct store_quarantine_row row = {.partition_id = partition_id,
                                       .offset = offset,
                                       .reason = reason,
                                       .bytes = bytes,
                                       .n_bytes = n_bytes,
                                       .id = id};

    progress_quarantine(p, &row, MOST_BYTES);
}

static void test_quarantine_is_bounded(void **state)
{
    static char big[MOST_BYTES + 100];
    struct progress p;
    int32_t id;

    (void)state;
    progress_init(&p);
    id = progress_begin(&p, "text", 0, 0);
    for (int i = 0; i < 6000; i++)
        quarantine(&p, id, i, i % 2 ? "empty" : "not_utf8", big,
                   i ? sizeof big : 5, i ? NULL : "mine");
    assert_true(p.quarantine_bytes <= PROGRESS_QUARANTINE_TOTAL);
    assert_int_equal(p.quarantine[0].n_bytes, 5);
    assert_false(p.quarantine[0].cut);
    assert_int_equal(p.quarantine[1].n_bytes, MOST_BYTES);
    assert_true(p.quarantine[1].cut);
    assert_string_equal(p.quarantine[0].id, "mine");
    assert_int_equal(p.by_reason[names_find(&p.reasons, "empty")], 3000);
    progress_release(&p);
}

static void test_stage_comes_back_in_order(void **state)
{
    struct progress p;
    struct progress_stage stage;
    int32_t id;

    (void)state;
    progress_init(&p);
    id = progress_begin(&p, "text", 0, 0);
    progress_decide(&p, 1, id, 0, 'l');
    quarantine(&p, id, 1, "empty", "x", 1, NULL);
    progress_take_stage(&p, &stage);
    assert_int_equal(p.n_ledger, 0);
    progress_decide(&p, 2, id, 2, 'l');
    quarantine(&p, id, 3, "empty", "y", 1, NULL);
    progress_return_stage(&p, &stage);
    assert_int_equal(p.n_ledger, 2);
    assert_int_equal(p.ledger[0].step, 1);
    assert_int_equal(p.ledger[1].step, 2);
    assert_memory_equal(p.quarantine[0].bytes, "x", 1);
    assert_memory_equal(p.quarantine[1].bytes, "y", 1);
    progress_release(&p);
}

static void fill(struct progress *p)
{
    int32_t id = progress_begin(p, "text", 0, 0);
    int32_t d = progress_domain_id(p, "news", 10);

    names_add(&p->labels, "spam");
    for (int i = 0; i < 1000; i++) {
        progress_decide(p, i, id, i, 'l');
        progress_learned(p, d, 123.4567 / (i + 1), 17 + i % 3, HALF_LIFE);
        progress_test_drift(p, d, i < 900 ? 40 + i % 7 : 90, 17 + i % 3);
        progress_count_label(p, d, i % 3 == 0);
        progress_loss_add(&p->train_loss, 1.0 / 3, 7);
        progress_loss_add(&p->average_loss, 1.0 / 7, 7);
    }
    quarantine(p, id, 1000, "empty", "", 0, NULL);
    p->tokens_seen = 4711;
}

static void test_export_is_exact(void **state)
{
    struct progress p, q;
    struct buf first = BUF_INIT, second = BUF_INIT;
    struct err err = ERR_INIT;

    (void)state;
    progress_init(&p);
    progress_init(&q);
    fill(&p);
    progress_export(&p, 1000, "loops", NULL, &first);
    progress_partition_id(&q, "text", 0); /* the store's table */
    assert_int_equal(progress_import(&q, first.data, first.len, &err), 0);
    progress_export(&q, 1000, "loops", NULL, &second);
    assert_string_equal(first.data, second.data);
    assert_memory_equal(&p.loss, &q.loss, sizeof p.loss);
    assert_int_equal(p.by_domain[0].drifted.alarms, 1);
    assert_memory_equal(&p.average_loss, &q.average_loss, sizeof p.loss);
    check_sum(&q);
    /* Both count the same from here on. */
    progress_learned(&p, 0, 0.1, 3, HALF_LIFE);
    progress_learned(&q, 0, 0.1, 3, HALF_LIFE);
    progress_test_drift(&p, 0, 9.0 / 7, 1000);
    progress_test_drift(&q, 0, 9.0 / 7, 1000);
    assert_memory_equal(&p.by_domain[0], &q.by_domain[0],
                        sizeof p.by_domain[0]);
    buf_release(&first);
    buf_release(&second);
    progress_release(&p);
    progress_release(&q);
}

/* Preset linear counts bytes, and has no loss. */
static void test_no_loss(void **state)
{
    struct progress p;

    (void)state;
    progress_init(&p);
    progress_domain_id(&p, "sea", 8);
    progress_learned(&p, 0, NAN, 5, HALF_LIFE);
    assert_int_equal(p.bytes_seen, 5);
    assert_int_equal(p.by_domain[0].bytes, 5);
    assert_true(isnan(progress_loss_recent(&p.loss)));
    progress_release(&p);
}

/* Bytes weigh half as much after HALF_LIFE learned records of any domain. */
static void test_traffic(void **state)
{
    struct progress p, q;
    struct buf json = BUF_INIT;
    struct err err = ERR_INIT;
    json_t *root;
    char *old;

    (void)state;
    progress_init(&p);
    progress_init(&q);
    progress_domain_id(&p, "sea", 8);
    progress_domain_id(&p, "land", 8);
    progress_learned(&p, 0, 1, 800, HALF_LIFE);
    p.records.learned += 1; /* what is refused does not count */
    p.records.quarantined += 50;
    p.records.learned += HALF_LIFE - 1;
    assert_float_equal(progress_traffic(&p, 0, HALF_LIFE), 400, 1e-9);
    progress_learned(&p, 0, 1, 100, HALF_LIFE);
    p.records.learned += HALF_LIFE;
    progress_learned(&p, 1, 1, 50, HALF_LIFE);
    assert_float_equal(progress_traffic(&p, 0, HALF_LIFE), 250, 1e-9);
    assert_float_equal(progress_traffic(&p, 1, HALF_LIFE), 50, 1e-9);
    /* A version of an older program: all bytes count. */
    progress_export(&p, 1, "loops", NULL, &json);
    root = json_loads(json.data, 0, NULL);
    json_object_del(json_array_get(json_object_get(root, "domains"), 0),
                    "traffic");
    old = json_dumps(root, 0);
    assert_int_equal(progress_import(&q, old, strlen(old), &err), 0);
    assert_float_equal(progress_traffic(&q, 0, HALF_LIFE), 900, 1e-9);
    assert_float_equal(progress_traffic(&q, 1, HALF_LIFE), 50, 1e-9);
    free(old);
    json_decref(root);
    buf_release(&json);
    progress_release(&p);
    progress_release(&q);
}

/* A restart keeps the first offsets, which a rewind needs. */
static void test_first_offset_comes_back(void **state)
{
    struct progress p, q;
    struct buf json = BUF_INIT;
    struct err err = ERR_INIT;
    struct catalog_offset at = {.topic = (char *)"text", .next_offset = 900};

    (void)state;
    progress_init(&p);
    progress_init(&q);
    progress_begin(&p, "text", 0, 700);
    progress_export(&p, 1, "loops", NULL, &json);
    progress_partition_id(&q, "text", 0);
    assert_int_equal(progress_import(&q, json.data, json.len, &err), 0);
    progress_set_positions(&q, &at, 1);
    assert_int_equal(q.partitions[0].first_offset, 700);
    assert_int_equal(q.partitions[0].next_offset, 900);
    buf_release(&json);
    progress_release(&p);
    progress_release(&q);
}

/* An earlier program version kept a time from the future. */
static void test_future_comes_back(void **state)
{
    static const _Atomic int64_t now = 1700000010000;
    struct progress p, q;
    struct buf json = BUF_INIT;

    (void)state;
    progress_init(&p);
    progress_init(&q);
    timing_set_fake(&now);
    for (int ahead = 0; ahead < 2; ahead++) {
        p.newest_record_ms = ahead ? now * 1000 : now + 30000;
        buf_clear(&json);
        progress_export(&p, 1, "loops", NULL, &json);
        assert_int_equal(progress_import(&q, json.data, json.len, NULL), 0);
        assert_true(q.newest_record_ms == (ahead ? now : now + 30000));
    }
    timing_set_fake(NULL);
    buf_release(&json);
    progress_release(&p);
    progress_release(&q);
}

/* A version from before the moving average. */
static void test_no_average_loss(void **state)
{
    struct progress p, q;
    struct buf json = BUF_INIT;
    json_t *root;
    char *text;

    (void)state;
    progress_init(&p);
    progress_init(&q);
    fill(&p);
    fill(&q);
    progress_export(&p, 1000, "loops", NULL, &json);
    root = json_loadb(json.data, json.len, 0, NULL);
    assert_int_equal(json_object_del(root, "average_loss"), 0);
    text = json_dumps(root, JSON_REAL_PRECISION(17));
    assert_int_equal(progress_import(&q, text, strlen(text), NULL), 0);
    assert_true(isnan(progress_loss_recent(&q.average_loss)));
    assert_memory_equal(&p.loss, &q.loss, sizeof p.loss);
    free(text);
    json_object_set_new(root, "average_loss", json_pack("[i, i]", 1, 2));
    text = json_dumps(root, JSON_REAL_PRECISION(17));
    assert_int_equal(progress_import(&q, text, strlen(text), NULL),
                     ERR_CORRUPT);
    free(text);
    json_decref(root);
    buf_release(&json);
    progress_release(&p);
    progress_release(&q);
}

static void test_import_refuses(void **state)
{
    static const char *const bad[] = {"", "[]", "{}", "{\"records\": 1}"};
    struct progress p;
    struct err err = ERR_INIT;

    (void)state;
    progress_init(&p);
    fill(&p);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(
            progress_import(&p, bad[i], strlen(bad[i]), &err), ERR_CORRUPT);
    assert_int_equal(p.tokens_seen, 4711); /* unchanged */
    progress_release(&p);
}

/* Versions from before the drift test have no state of it. */
static void test_import_without_drift(void **state)
{
    struct progress p;
    struct buf json = BUF_INIT;
    struct err err = ERR_INIT;
    json_t *root, *domain;
    char *text;

    (void)state;
    progress_init(&p);
    fill(&p);
    progress_export(&p, 1000, "loops", NULL, &json);
    root = json_loads(json.data, 0, NULL);
    domain = json_array_get(json_object_get(root, "domains"), 0);
    json_object_del(domain, "drift");
    json_object_del(domain, "drifted");
    text = json_dumps(root, JSON_REAL_PRECISION(17));
    assert_int_equal(progress_import(&p, text, strlen(text), &err), 0);
    assert_int_equal(p.by_domain[0].drifted.alarms, 0);
    assert_true(p.by_domain[0].drift.n == 0);
    free(text);
    /* One of the two alone is damage, and so is a value out of range. */
    json_object_set_new(domain, "drift", drift_json(&p.by_domain[0].drift));
    text = json_dumps(root, JSON_REAL_PRECISION(17));
    assert_int_equal(progress_import(&p, text, strlen(text), &err),
                     ERR_CORRUPT);
    free(text);
    json_object_set_new(domain, "drifted", json_pack("[i,i,f,f]", -1, 0, 1.0,
                                                     1.0));
    text = json_dumps(root, JSON_REAL_PRECISION(17));
    assert_int_equal(progress_import(&p, text, strlen(text), &err),
                     ERR_CORRUPT);
    free(text);
    json_decref(root);
    buf_release(&json);
    progress_release(&p);
}

static void test_other_domain(void **state)
{
    struct progress p;
    int32_t other;

    (void)state;
    progress_init(&p);
    assert_int_equal(progress_domain_id(&p, "a", 2), 0);
    assert_int_equal(progress_domain_id(&p, "b", 2), 1);
    other = progress_domain_id(&p, "c", 2);
    assert_string_equal(p.domains.items[other], "other");
    assert_int_equal(progress_domain_id(&p, "d", 2), other);
    assert_int_equal(progress_domain_id(&p, "a", 2), 0);
    progress_release(&p);
}

/* The board shows some of many domains, and the number of all. */
static void test_more_domains_than_shown(void **state)
{
    const size_t n = STATUS_MAX_DOMAINS + 43;
    struct status_board board;
    struct buf metrics = BUF_INIT;
    struct progress p;
    char name[16];
    json_t *j;

    (void)state;
    status_board_init(&board);
    progress_init(&p);
    for (size_t i = 0; i < n; i++) {
        snprintf(name, sizeof name, "d%zu", i);
        progress_domain_id(&p, name, 65536);
    }
    progress_show(&p, &board, status_lock(&board));
    status_unlock(&board);
    j = status_to_json(&board);
    assert_int_equal(json_array_size(json_object_get(j, "domains")),
                     STATUS_MAX_DOMAINS);
    assert_int_equal(json_integer_value(json_object_get(j, "domains_known")),
                     n);
    json_decref(j);
    j = status_domains_json(&board);
    assert_int_equal(json_integer_value(json_object_get(j, "domains_known")),
                     n);
    json_decref(j);
    status_to_metrics(&board, &metrics);
    assert_non_null(strstr(metrics.data, "\nmneme_domains 300\n"));
    buf_release(&metrics);
    progress_release(&p);
    status_board_release(&board);
}

static void test_bits_per_byte(void **state)
{
    struct progress_loss l = {0};

    (void)state;
    assert_true(isnan(progress_loss_recent(&l)));
    progress_loss_add(&l, log(2.0) * 30, 10);
    assert_true(fabs(progress_loss_recent(&l) - 3) < 1e-12);
    assert_true(fabs(progress_loss_total(&l) - 3) < 1e-12);
    /* Old losses have faded after ten times PROGRESS_FADE_BYTES. */
    for (int i = 0; i < 1000; i++)
        progress_loss_add(&l, log(2.0) * 655.36, 655.36);
    assert_true(fabs(progress_loss_recent(&l) - 1) < 1e-3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counters_add_up),
        cmocka_unit_test(test_positions),
        cmocka_unit_test(test_quarantine_is_bounded),
        cmocka_unit_test(test_stage_comes_back_in_order),
        cmocka_unit_test(test_export_is_exact),
        cmocka_unit_test(test_first_offset_comes_back),
        cmocka_unit_test(test_no_loss),
        cmocka_unit_test(test_traffic),
        cmocka_unit_test(test_future_comes_back),
        cmocka_unit_test(test_no_average_loss),
        cmocka_unit_test(test_import_refuses),
        cmocka_unit_test(test_import_without_drift),
        cmocka_unit_test(test_other_domain),
        cmocka_unit_test(test_more_domains_than_shown),
        cmocka_unit_test(test_bits_per_byte),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
