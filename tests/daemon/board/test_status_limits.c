/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The board with figures at their limits: long names, names that need quoting,
 * a clock that was set back, partitions of which little is known.
 */
#include "config.h"

#include "daemon/board/status.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/timing.h"
#include "base/utf8.h"
#include "base/xalloc.h"

static struct status_board board;

static int setup(void **state)
{
    (void)state;
    status_board_init(&board);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    status_board_release(&board);
    return 0;
}

static const json_t *at(const json_t *j, const char *path)
{
    char *copy = xstrdup(path), *save = NULL;

    for (char *p = strtok_r(copy, ".", &save); p;
         p = strtok_r(NULL, ".", &save))
        j = json_object_get(j, p);
    free(copy);
    return j;
}

static void add_domain(const char *name, double holdout, double best)
{
    struct status *s = status_lock(&board);
    struct status_domain *d = &s->domains[s->n_domains++];

    d->name = status_name(&board, name);
    d->records = 3;
    d->prequential = NAN;
    d->accuracy = NAN;
    s->holdouts[s->n_holdouts++] =
        (struct status_holdout){status_name(&board, name), holdout, best};
    status_unlock(&board);
}

/* The time of a record may be in the future, and a clock may be set back. */
static void test_freshness_is_not_negative(void **state)
{
    static _Atomic int64_t now = 1700000010000;
    struct buf text = BUF_INIT;
    json_t *j;

    (void)state;
    timing_set_fake(&now);
    status_lock(&board)->serving_record_ms = now + 3600000;
    status_unlock(&board);
    j = status_to_json(&board);
    status_to_metrics(&board, &text);
    timing_set_fake(NULL);
    assert_true(json_real_value(at(j, "freshness_seconds")) == 0);
    assert_non_null(strstr(text.data, "\nmneme_freshness_seconds 0\n"));
    assert_non_null(strstr(text.data, "\nmneme_source_times_cut_total 0\n"));
    assert_non_null(strstr(text.data, "\nmneme_dead_letters_waiting 0\n"));
    json_decref(j);
    buf_release(&text);
}

static void test_domains(void **state)
{
    const json_t *d;
    json_t *j;

    (void)state;
    add_domain("news", 1.5, 1.25);
    add_domain("quote \" back \\ line \n", NAN, NAN);
    j = status_domains_json(&board);
    d = json_array_get(json_object_get(j, "domains"), 0);
    assert_string_equal(json_string_value(json_object_get(d, "domain")),
                        "news");
    assert_int_equal(json_integer_value(json_object_get(d, "records")), 3);
    d = json_array_get(json_object_get(j, "domains"), 1);
    assert_string_equal(json_string_value(json_object_get(d, "domain")),
                        "quote \" back \\ line \n");
    json_decref(j);
}

/* Two names of the greatest length differ in the last letter only; a third
 * name is their prefix. Each has its own figures. */
static void test_long_names(void **state)
{
    char a[256], b[256], c[64];
    struct buf metrics = BUF_INIT;
    const json_t *list;
    json_t *j;

    (void)state;
    memset(a, 'x', sizeof a);
    a[255] = '\0';
    memcpy(b, a, sizeof b);
    b[254] = 'y';
    memcpy(c, a, sizeof c);
    c[63] = '\0';
    add_domain(a, 1.5, 1);
    add_domain(b, 2.5, 2);
    add_domain(c, 3.5, 3);
    j = status_domains_json(&board);
    list = json_object_get(j, "domains");
    assert_string_equal(json_string_value(at(json_array_get(list, 0),
                                             "domain")),
                        a);
    assert_string_equal(json_string_value(at(json_array_get(list, 1),
                                             "domain")),
                        b);
    for (size_t i = 0; i < 3; i++)
        assert_float_equal(
            json_real_value(at(json_array_get(list, i),
                               "holdout_bits_per_byte")),
            1.5 + (double)i, 1e-9);
    json_decref(j);
    status_to_metrics(&board, &metrics);
    assert_non_null(strstr(metrics.data, a));
    assert_non_null(strstr(metrics.data, b));
    buf_release(&metrics);
}

/* The label of a domain in the metrics; the caller frees it. */
static char *label_of(size_t which)
{
    struct buf metrics = BUF_INIT;
    const char *line;
    char *label;

    status_to_metrics(&board, &metrics);
    line = strstr(metrics.data, "\nmneme_domain_records_total{");
    for (size_t i = 0; i < which; i++)
        line = strstr(line + 1, "\nmneme_domain_records_total{");
    line += strlen("\nmneme_domain_records_total{domain=");
    label = xstrndup(line, strcspn(line, "\n") - strlen("} 3"));
    buf_release(&metrics);
    return label;
}

/* No label ends a line for any reader. Two names never give the same label:
 * Prometheus refuses a scrape with a repeated series. */
static void test_labels(void **state)
{
    static const char *const cases[][2] = {
        {"plain, \xc3\xa4\xf0\x9f\x98\x80",
         "\"plain, \xc3\xa4\xf0\x9f\x98\x80\""},
        {"cr\rlf\ntab\t", "\"cr\\\\x0dlf\\ntab\\\\x09\""},
        {"vt\v ff\f fs\x1c del\x7f",
         "\"vt\\\\x0b ff\\\\x0c fs\\\\x1c del\\\\x7f\""},
        {"nel\xc2\x85 ls\xe2\x80\xa8 ps\xe2\x80\xa9",
         "\"nel\\\\xc2\\\\x85 ls\\\\xe2\\\\x80\\\\xa8 "
         "ps\\\\xe2\\\\x80\\\\xa9\""},
        {"\x01", "\"\\\\x01\""},
        {"\\x01", "\"\\\\x5cx01\""}, /* the same, but written out */
        {"\\", "\"\\\\\""},
        {"\\n", "\"\\\\n\""},
        {"\"}", "\"\\\"}\""},
        {"cut\xc2", "\"cut\\\\xc2\""},
        {"cut\xe2\x80", "\"cut\\\\xe2\\\\x80\""},
    };
    size_t n = sizeof cases / sizeof *cases;

    (void)state;
    for (size_t i = 0; i < n; i++)
        add_domain(cases[i][0], 1, 1);
    for (size_t i = 0; i < n; i++) {
        char *label = label_of(i);

        assert_string_equal(label, cases[i][1]);
        free(label);
    }
}

/* A clock that is set back does not shorten the uptime, and does not make a
 * record younger than the present. */
static void test_clock_set_back(void **state)
{
    static _Atomic int64_t now = 1700000010000;
    struct buf metrics = BUF_INIT;
    struct status *s;
    json_t *j;

    (void)state;
    s = status_lock(&board);
    s->serving_record_ms = timing_wall_ms() + 3600000;
    status_unlock(&board);
    j = status_to_json(&board);
    assert_true(json_real_value(at(j, "uptime_seconds")) >= 0);
    assert_true(json_real_value(at(j, "uptime_seconds")) < 60);
    assert_float_equal(json_real_value(at(j, "freshness_seconds")), 0, 0);
    json_decref(j);
    status_to_metrics(&board, &metrics);
    assert_non_null(strstr(metrics.data, "\nmneme_freshness_seconds 0\n"));
    buf_release(&metrics);
    /* The uptime is measured by the monotonic clock. */
    timing_set_fake(&now);
    s = status_lock(&board);
    s->started_ms = timing_mono_ms() - 1500;
    status_unlock(&board);
    j = status_to_json(&board);
    timing_set_fake(NULL);
    assert_float_equal(json_real_value(at(j, "uptime_seconds")), 1.5, 1e-9);
    json_decref(j);
}

/* The condition for the next version, and the seconds until it is made. */
static void test_next_version(void **state)
{
    static _Atomic int64_t now = 1700000010000;
    struct status *s;
    json_t *j = status_to_json(&board);

    (void)state;
    assert_true(json_is_null(at(j, "publish.next_version")));
    json_decref(j);
    timing_set_fake(&now);
    s = status_lock(&board);
    s->publish.next_waits_for = "publish.every_seconds";
    s->publish.next_ms = timing_mono_ms() + 2500;
    status_unlock(&board);
    j = status_to_json(&board);
    assert_string_equal(
        json_string_value(at(j, "publish.next_version.waits_for")),
        "publish.every_seconds");
    assert_float_equal(
        json_real_value(at(j, "publish.next_version.in_seconds")), 2.5, 1e-9);
    json_decref(j);
    now += 4000;
    j = status_to_json(&board);
    timing_set_fake(NULL);
    assert_float_equal(
        json_real_value(at(j, "publish.next_version.in_seconds")), 0, 0);
    json_decref(j);
}

static bool has_prefix(const char *name)
{
    return strncmp(name, "mneme_", 6) == 0 || strncmp(name, "process_", 8) == 0;
}

/* A line is a comment, or `name{labels} number` with a name mneme_... or
 * process_... */
static void check_line(char *line)
{
    char *value = strrchr(line, ' '), *end;

    if (line[0] == '#') {
        assert_true((strncmp(line, "# HELP ", 7) == 0 ||
                     strncmp(line, "# TYPE ", 7) == 0) &&
                    has_prefix(line + 7));
        return;
    }
    assert_true(has_prefix(line));
    assert_non_null(value);
    (void)strtod(value + 1, &end);
    if (*end || end == value + 1 || strstr(value, "nan"))
        fail_msg("no number: %s", line);
}

static void test_metrics(void **state)
{
    struct buf out = BUF_INIT;
    char *save = NULL;

    (void)state;
    add_domain("news", 1.5, 1.25);
    add_domain("quote \" back \\ line \n", NAN, NAN);
    add_domain("cut \xe2\x82", 1, 1);
    status_to_metrics(&board, &out);
    assert_non_null(strstr(out.data, "\"quote \\\" back \\\\ line \\n\""));
    assert_non_null(strstr(out.data, "{domain=\"news\"}"));
    assert_true(utf8_valid(out.data, out.len));
    for (char *line = strtok_r(out.data, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save))
        check_line(line);
    buf_release(&out);
}

/* --- the learner's positions -------------------------------------------- */

static void is_running(struct source *s, struct source_health *health)
{
    (void)s;
    *health = (struct source_health){.state = SOURCE_RUNNING};
}

static size_t partitions_of_two_topics(struct source *s,
                                       struct source_partition **rows)
{
    static const struct source_partition all[] = {
        {"news", 0, 0, 900, 1000},   /* the learner waits for 400 */
        {"news", 1, 100, 150, 1000}, /* nothing was learned from it */
        {"news", 2, 500, 700, 800},  /* went on after a gap: 100 to 499 */
        {"code", 0, -1, 3, 3},       /* is another topic now */
        {"code", 1, -1, 70, -1},     /* nothing is known of it */
    };

    (void)s;
    *rows = xmalloc(sizeof all);
    memcpy(*rows, all, sizeof all);
    return sizeof all / sizeof all[0];
}

static void test_positions(void **state)
{
    const struct source_position learned[] = {
        {.topic = "news", .partition = 0, .next_offset = 600},
        {.topic = "news", .partition = 2, .next_offset = 100},
        {.topic = "code", .partition = 0, .next_offset = 4000},
    };
    const int offsets[] = {600, 100, 500, 3, 70};
    const int lags[] = {400, 900, 300, 0, -1};
    struct buf metrics = BUF_INIT;
    json_t *j;

    (void)state;
    board.source = (struct source *)&board; /* only its two functions matter */
    board.source_get_health = is_running;
    board.source_get_partitions = partitions_of_two_topics;
    status_lock(&board);
    status_set_positions(&board, learned, 3);
    status_unlock(&board);
    j = status_to_json(&board);
    for (size_t i = 0; i < 5; i++) {
        json_t *row = json_array_get(at(j, "source.partitions"), i);

        assert_int_equal(json_integer_value(at(row, "offset")), offsets[i]);
        if (lags[i] < 0)
            assert_true(json_is_null(at(row, "lag")));
        else
            assert_int_equal(json_integer_value(at(row, "lag")), lags[i]);
    }
    json_decref(j);
    status_to_metrics(&board, &metrics);
    assert_non_null(strstr(metrics.data,
                           "mneme_source_lag{topic=\"news\",partition=\"1\"} "
                           "900\n"));
    buf_release(&metrics);
    board.source = NULL;
}

/* A long reason is cut, maybe inside a character, and stays valid JSON. */
static void test_long_reason(void **state)
{
    char reason[1000] = "";
    json_t *j;

    (void)state;
    for (int i = 0; i < 300; i++)
        strcat(reason, "\xe2\x82\xac");
    status_set_state(&board, STATUS_PAUSED, reason);
    j = status_to_json(&board);
    assert_non_null(j);
    assert_non_null(at(j, "source.type"));
    assert_true(json_is_string(at(j, "reason")));
    json_decref(j);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_freshness_is_not_negative),
        T(test_domains),
        T(test_long_names),
        T(test_labels),
        T(test_clock_set_back),
        T(test_next_version),
        T(test_metrics),
        T(test_positions),
        T(test_long_reason),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
