/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which rows live and which are sampled. The reservoir is uniform over the past
 * of each domain and balanced over domains; the ring holds the newest; samples
 * do not repeat. An exported index continues with the same samples, or is
 * refused.
 */
#include "config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "replay/tiers.h"

#define COUNTER(key) ((key) & ((INT64_C(1) << TIERS_COUNTER_BITS) - 1))

static struct tiers *make(int64_t ring, int64_t reservoir, uint64_t seed)
{
    struct tiers_options options = {ring, reservoir, 0.4, seed, RNG_RESERVOIR};

    return tiers_create(&options);
}

static uint32_t offer(struct tiers *t, int32_t domain)
{
    uint32_t slot = tiers_offer(t, domain, 10, 22, 1.0f), dead;

    while (tiers_next_dead(t, &dead))
        ;
    return slot;
}

static struct tiers_request request(uint64_t step, size_t n, double recent)
{
    return (struct tiers_request){
        .step = step, .n = n, .rows = true, .recent = recent};
}

static int64_t held(struct tiers *t, int32_t domain)
{
    int64_t n = 0;
    size_t n_slots;
    uint32_t *slots = tiers_by_key(t, &n_slots);

    for (size_t i = 0; i < n_slots; i++) {
        const struct tiers_entry *e = tiers_entry(t, slots[i]);

        n += e->domain == domain && e->position != TIERS_NONE;
    }
    free(slots);
    return n;
}

/* --- which rows stay ---------------------------------------------------- */

#define BINS 10

/* Returns the chi square of the ages of a domain's rows, over offers first to
 * last. */
static double age_chi_square(struct tiers *t, int32_t domain, int64_t first,
                             int64_t last)
{
    double count[BINS] = {0}, n = 0.0, sum = 0.0;
    size_t n_slots;
    uint32_t *slots = tiers_by_key(t, &n_slots);

    for (size_t i = 0; i < n_slots; i++) {
        const struct tiers_entry *e = tiers_entry(t, slots[i]);

        if (e->domain != domain || e->position == TIERS_NONE)
            continue;
        count[BINS * (COUNTER(e->key) - first) / (last - first + 1)]++;
        n++;
    }
    free(slots);
    for (int b = 0; b < BINS; b++)
        sum += (count[b] - n / BINS) * (count[b] - n / BINS) / (n / BINS);
    return sum;
}

/* 9 degrees of freedom, 20 seeds: the mean is 9, its sigma 0.95. */
static void one_domain_is_uniform_over_its_past(void **state)
{
    double sum = 0.0;

    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct tiers *t = make(50, 500, seed);

        for (int i = 0; i < 10000; i++)
            offer(t, 0);
        assert_int_equal(held(t, 0), 500);
        sum += age_chi_square(t, 0, 1, 10000);
        tiers_free(t);
    }
    assert_true(sum / 20 < 9.0 + 4 * 0.95);
}

/* Domains come one after another. The first shrinks and the second grows; both
 * must stay uniform. */
static void domains_are_uniform_while_quotas_move(void **state)
{
    double first = 0.0, second = 0.0;

    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct tiers *t = make(0, 600, seed);

        for (int i = 0; i < 5000; i++)
            offer(t, 0);
        for (int i = 0; i < 20000; i++)
            offer(t, 1);
        assert_int_equal(held(t, 0) + held(t, 1), 600);
        first += age_chi_square(t, 0, 1, 5000);
        second += age_chi_square(t, 1, 5001, 25000);
        tiers_free(t);
    }
    assert_true(first / 20 < 9.0 + 4 * 0.95);
    assert_true(second / 20 < 9.0 + 4 * 0.95);
}

/* One domain has 100 times as many rows. Quotas are 100^0.4 = 6.3 to 1 over
 * 0.85 of the capacity; the rest is shared equally. */
static void domains_get_their_quota(void **state)
{
    struct tiers *t = make(0, 1000, 3);
    double share;

    (void)state;
    for (int i = 0; i < 200000; i++)
        offer(t, i % 101 == 0 ? 5 : 2);
    share = 0.15 / 2 + 0.85 / (1 + pow(100, 0.4));
    assert_int_equal(held(t, 2) + held(t, 5), 1000);
    assert_true(fabs((double)held(t, 5) - 1000 * share) < 20);
    assert_int_equal(held(t, 0), 0);
    tiers_free(t);
}

/* A domain below its quota is kept whole. */
static void a_small_domain_is_not_pushed_out(void **state)
{
    struct tiers *t = make(10, 1000, 3);

    (void)state;
    for (int i = 0; i < 100; i++)
        offer(t, 0);
    for (int i = 0; i < 50000; i++)
        offer(t, 1);
    assert_int_equal(held(t, 0), 100);
    assert_int_equal(held(t, 1), 900);
    assert_int_equal(tiers_live_in_domain(t, 0), 100);
    assert_int_equal(tiers_live_in_domain(t, 7), 0);
    assert_int_equal(tiers_live_in_domain(t, -1), 0);
    tiers_free(t);
}

static void the_ring_keeps_the_newest(void **state)
{
    struct tiers *t = make(100, 50, 9);
    size_t n;
    uint32_t *slots;

    (void)state;
    for (int i = 0; i < 1234; i++)
        offer(t, i % 3);
    slots = tiers_by_key(t, &n);
    assert_in_range(n, 100, 150);
    assert_int_equal(n, tiers_live(t));
    for (size_t i = 0; i < n; i++) {
        const struct tiers_entry *e = tiers_entry(t, slots[i]);

        assert_int_equal(e->recent, COUNTER(e->key) > 1134);
        assert_true(e->recent || e->position != TIERS_NONE);
    }
    free(slots);
    tiers_free(t);
}

static void the_dead_are_reported_once(void **state)
{
    struct tiers *t = make(7, 13, 4);
    int64_t born = 0, dead = 0;
    uint32_t slot;

    (void)state;
    for (int i = 0; i < 5000; i++) {
        born += tiers_offer(t, i % 4, 3, 8, 0.0f) != TIERS_NONE;
        while (tiers_next_dead(t, &slot))
            dead++;
        assert_int_equal(born - dead, tiers_live(t));
        assert_int_equal(tiers_bytes(t), 8 * tiers_live(t));
        assert_true(tiers_live(t) <= 20);
    }
    assert_true(tiers_slots(t) <= 22);
    tiers_free(t);
}

static void capacity_one(void **state)
{
    struct tiers *ring = make(1, 0, 1), *reservoir = make(0, 1, 1);
    struct tiers_request w = request(1, 10, 0.5);
    const uint32_t *slots;

    (void)state;
    for (int i = 0; i < 100; i++) {
        offer(ring, i % 2);
        offer(reservoir, i % 2);
        assert_int_equal(tiers_live(ring), 1);
        assert_int_equal(tiers_live(reservoir), 1);
        assert_int_equal(tiers_sample(ring, &w, &slots), 1);
        assert_int_equal(tiers_sample(reservoir, &w, &slots), 1);
    }
    tiers_free(ring);
    tiers_free(reservoir);
}

/* --- which rows are sampled --------------------------------------------- */

static void draws_do_not_repeat(void **state)
{
    struct tiers *t = make(40, 60, 2);
    const uint32_t *slots;

    (void)state;
    for (int i = 0; i < 1000; i++)
        offer(t, i % 5);
    for (uint64_t step = 0; step < 200; step++) {
        struct tiers_request w = request(step, (size_t)(step % 120), 0.5);
        size_t n = tiers_sample(t, &w, &slots);
        size_t most = (size_t)tiers_live(t);

        assert_int_equal(n, w.n < most ? w.n : most);
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < i; j++)
                assert_int_not_equal(slots[i], slots[j]);
    }
    tiers_free(t);
}

static void draws_stop_at_their_tokens(void **state)
{
    struct tiers *t = make(40, 60, 2);
    struct tiers_request w = request(1, 25, 0.5);
    const uint32_t *slots;

    (void)state;
    assert_int_equal(tiers_sample(t, &w, &slots), 0); /* empty */
    for (int i = 0; i < 1000; i++)
        offer(t, 0);
    w.rows = false;
    assert_int_equal(tiers_sample(t, &w, &slots), 3); /* of 10 tokens each */
    w.n = 0;
    assert_int_equal(tiers_sample(t, &w, &slots), 0);
    tiers_free(t);
}

/* Each domain is sampled equally often, whatever its rows; the ring gets its
 * share. */
static void domains_have_equal_chances(void **state)
{
    struct tiers *t = make(200, 800, 6);
    int domain[2] = {0, 0}, recent = 0;
    const uint32_t *slots;

    (void)state;
    for (int i = 0; i < 50000; i++)
        offer(t, i % 20 == 0);
    for (uint64_t step = 0; step < 10000; step++) {
        struct tiers_request w = request(step, 1, 0.0);

        assert_int_equal(tiers_sample(t, &w, &slots), 1);
        domain[tiers_entry(t, slots[0])->domain]++;
        w = request(step, 1, 0.3);
        tiers_sample(t, &w, &slots);
        recent += tiers_entry(t, slots[0])->recent;
    }
    assert_in_range(domain[0], 4800, 5200); /* sigma 50 */
    assert_in_range(recent, 2820, 3220);    /* about 3020, some of them from the
                                               reservoir */
    tiers_free(t);
}

/* --- the state ---------------------------------------------------------- */

static void assert_same_draws(struct tiers *a, struct tiers *b)
{
    for (uint64_t step = 0; step < 100; step++) {
        struct tiers_request w = request(step, 1 + step % 30, 0.5);
        const uint32_t *x, *y;
        size_t n = tiers_sample(a, &w, &x);

        assert_int_equal(n, tiers_sample(b, &w, &y));
        for (size_t i = 0; i < n; i++)
            assert_int_equal(COUNTER(tiers_entry(a, x[i])->key),
                             COUNTER(tiers_entry(b, y[i])->key));
        offer(a, (int32_t)step % 7);
        offer(b, (int32_t)step % 7);
    }
}

static void import_goes_on_with_the_same_draws(void **state)
{
    static const int64_t branches[] = {0, 17};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct tensor_list index = TENSOR_LIST_INIT;
        struct tiers *a = make(64, 200, 11), *b = make(64, 200, 11);

        for (int j = 0; j < 3000; j++)
            offer(a, j % 5);
        offer(b, 3);
        tiers_export(a, "replay", &index);
        assert_int_equal(tiers_import(b, "replay", &index, branches[i], NULL),
                         0);
        assert_int_equal(tiers_live(a), tiers_live(b));
        assert_int_equal(tiers_bytes(a), tiers_bytes(b));
        assert_same_draws(a, b);
        tensor_list_release(&index);
        tiers_free(a);
        tiers_free(b);
    }
}

static void an_empty_index_goes_round(void **state)
{
    struct tensor_list index = TENSOR_LIST_INIT;
    struct tiers *a = make(4, 4, 1), *b = make(4, 4, 1);

    (void)state;
    tiers_export(a, "holdout", &index);
    offer(b, 0);
    assert_int_equal(tiers_import(b, "holdout", &index, 0, NULL), 0);
    assert_int_equal(tiers_live(b), 0);
    assert_same_draws(a, b);
    tensor_list_release(&index);
    tiers_free(a);
    tiers_free(b);
}

/* All the domains that the settings allow, and `other`. */
static void as_many_domains_as_can_be(void **state)
{
    struct tensor_list index = TENSOR_LIST_INIT;
    struct tiers *a = make(4, 4, 1), *b = make(4, 4, 1);

    (void)state;
    offer(a, 0);
    offer(a, 65536);
    tiers_export(a, "replay", &index);
    assert_int_equal(tiers_import(b, "replay", &index, 0, NULL), 0);
    assert_int_equal(tiers_live_in_domain(b, 65536), 1);
    assert_same_draws(a, b);
    tensor_list_release(&index);
    tiers_free(a);
    tiers_free(b);
}

/* Rows beyond a smaller capacity die, and are returned. */
static void import_into_a_smaller_buffer(void **state)
{
    struct tensor_list index = TENSOR_LIST_INIT;
    struct tiers *a = make(100, 300, 1), *b = make(0, 50, 1);
    int64_t dead = 0;
    uint32_t slot;

    (void)state;
    for (int i = 0; i < 5000; i++)
        offer(a, i % 3);
    tiers_export(a, "replay", &index);
    assert_int_equal(tiers_import(b, "replay", &index, 0, NULL), 0);
    while (tiers_next_dead(b, &slot))
        dead++;
    assert_int_equal(tiers_live(b), 50);
    assert_int_equal(dead, tiers_live(a) - 50);
    for (int i = 0; i < 500; i++)
        offer(b, i % 3);
    assert_int_equal(tiers_live(b), 50);
    tensor_list_release(&index);
    tiers_free(a);
    tiers_free(b);
}

struct damage {
    const char *tensor;
    int64_t value; /* of element 1 */
};

static void set(struct tensor_list *index, const struct damage *d)
{
    const struct tensor *t = tensor_find(index, d->tensor);

    assert_non_null(t);
    if (t->type == TENSOR_I64)
        ((int64_t *)t->data)[1] = d->value;
    else
        ((uint8_t *)t->data)[1] = (uint8_t)d->value;
}

static void damaged_indices_are_refused(void **state)
{
    static const struct damage damages[] = {
        {"r.counters", -1},     {"r.counters", INT64_MAX},
        {"r.counters", 3},      {"r.seen", -1},
        {"r.seen", INT64_MAX},  {"r.seen", 0},
        {"r.keys", 0},          {"r.keys", INT64_MAX},
        {"r.keys", INT64_MIN},  {"r.domains", -1},
        {"r.domains", 9},       {"r.bytes", -1},
        {"r.bytes", INT64_MAX}, {"r.last_step", -2},
        {"r.place", -2},        {"r.place", 1000000},
        {"r.place", 0},         {"r.recent", 2},
    };

    (void)state;
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        struct tensor_list index = TENSOR_LIST_INIT;
        struct tiers *a = make(10, 30, 1), *b = make(10, 30, 1);
        struct err err = ERR_INIT;

        for (int j = 0; j < 200; j++)
            offer(a, j % 2);
        offer(b, 0);
        tiers_export(a, "r", &index);
        set(&index, &damages[i]);
        if (tiers_import(b, "r", &index, 0, &err) != ERR_CORRUPT)
            fail_msg("%s = %lld was not refused", damages[i].tensor,
                     (long long)damages[i].value);
        assert_int_equal(tiers_live(b), 1); /* as it was */
        tensor_list_release(&index);
        tiers_free(a);
        tiers_free(b);
    }
}

static void a_branch_has_to_be_new(void **state)
{
    struct tensor_list index = TENSOR_LIST_INIT;
    struct tiers *t = make(10, 30, 1);
    struct err err = ERR_INIT;

    (void)state;
    offer(t, 0);
    tiers_export(t, "r", &index);
    assert_int_equal(tiers_import(t, "r", &index, 5, &err), 0);
    tensor_list_release(&index);
    tiers_export(t, "r", &index);
    assert_int_equal(tiers_import(t, "r", &index, 5, &err), ERR_INVALID);
    assert_int_equal(tiers_import(t, "r", &index, -1, &err), ERR_INVALID);
    assert_int_equal(tiers_import(t, "r", &index, TIERS_MAX_BRANCH + 1, &err),
                     ERR_LIMIT);
    assert_int_equal(tiers_import(t, "r", &index, 6, &err), 0);
    assert_int_equal(tiers_import(t, "missing", &index, 0, &err), ERR_CORRUPT);
    tensor_list_release(&index);
    tiers_free(t);
}

/* After a removal the index is whole. Samples are of the other rows, new rows
 * fill the tiers again, and the exported state can be loaded. */
static void what_is_taken_out_is_gone(void **state)
{
    struct tensor_list index = TENSOR_LIST_INIT;
    struct tiers *t = make(20, 60, 1), *loaded = make(20, 60, 1);
    uint32_t *slots, dead, gone[24];
    const uint32_t *drawn;
    struct tiers_request all = request(1, 1000, 0.5);
    size_t n, n_gone = 0, n_dead = 0;

    (void)state;
    for (int i = 0; i < 500; i++)
        offer(t, i % 3);
    slots = tiers_by_key(t, &n);
    for (size_t i = 0; i < n && n_gone < 24; i += 3)
        gone[n_gone++] = slots[i];
    free(slots);
    tiers_remove(t, gone, n_gone);
    while (tiers_next_dead(t, &dead))
        n_dead++;
    assert_int_equal(n_dead, n_gone);
    assert_int_equal(tiers_live(t), n - n_gone);
    assert_int_equal(tiers_sample(t, &all, &drawn), n - n_gone);
    for (size_t i = 0; i < n - n_gone; i++)
        for (size_t k = 0; k < n_gone; k++)
            assert_int_not_equal(drawn[i], gone[k]);
    tiers_export(t, "r", &index);
    assert_int_equal(tiers_import(loaded, "r", &index, 0, NULL), 0);
    for (int i = 0; i < 200; i++) {
        offer(t, i % 3);
        offer(loaded, i % 3);
    }
    assert_int_equal(tiers_live(t), tiers_live(loaded));
    for (int32_t d = 0; d < 3; d++)
        assert_int_equal(held(t, d), held(loaded, d));
    tiers_remove(t, NULL, 0);
    tensor_list_release(&index);
    tiers_free(t);
    tiers_free(loaded);
}

/* Removing two halves, in any order, equals removing all at once. */
static void taking_out_has_no_order(void **state)
{
    struct tiers *a = make(20, 60, 1), *b = make(20, 60, 1);
    struct tensor_list x = TENSOR_LIST_INIT, y = TENSOR_LIST_INIT;
    uint32_t gone[30], dead;
    size_t n = 0;

    (void)state;
    for (int i = 0; i < 500; i++) {
        offer(a, i % 3);
        offer(b, i % 3);
    }
    for (uint32_t slot = 0; n < 30; slot += 2)
        if (tiers_entry(a, slot)->recent ||
            tiers_entry(a, slot)->position != TIERS_NONE)
            gone[n++] = slot;
    tiers_remove(a, gone, 30);
    tiers_remove(b, gone + 13, 17);
    tiers_remove(b, gone, 13);
    while (tiers_next_dead(a, &dead) && tiers_next_dead(b, &dead))
        ;
    tiers_export(a, "r", &x);
    tiers_export(b, "r", &y);
    assert_int_equal(x.n, y.n);
    for (size_t i = 0; i < x.n; i++) {
        size_t bytes = tensor_count(&x.items[i]) *
                       tensor_type_size(x.items[i].type);

        assert_int_equal(tensor_count(&x.items[i]), tensor_count(&y.items[i]));
        assert_memory_equal(x.items[i].data, y.items[i].data, bytes);
    }
    tensor_list_release(&x);
    tensor_list_release(&y);
    tiers_free(a);
    tiers_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_domain_is_uniform_over_its_past),
        cmocka_unit_test(domains_are_uniform_while_quotas_move),
        cmocka_unit_test(domains_get_their_quota),
        cmocka_unit_test(a_small_domain_is_not_pushed_out),
        cmocka_unit_test(the_ring_keeps_the_newest),
        cmocka_unit_test(the_dead_are_reported_once),
        cmocka_unit_test(capacity_one),
        cmocka_unit_test(draws_do_not_repeat),
        cmocka_unit_test(draws_stop_at_their_tokens),
        cmocka_unit_test(domains_have_equal_chances),
        cmocka_unit_test(import_goes_on_with_the_same_draws),
        cmocka_unit_test(an_empty_index_goes_round),
        cmocka_unit_test(as_many_domains_as_can_be),
        cmocka_unit_test(import_into_a_smaller_buffer),
        cmocka_unit_test(damaged_indices_are_refused),
        cmocka_unit_test(a_branch_has_to_be_new),
        cmocka_unit_test(what_is_taken_out_is_gone),
        cmocka_unit_test(taking_out_has_no_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
