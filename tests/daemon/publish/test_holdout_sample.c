/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/publish/holdout_sample.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/store.h"
#include "tests/util/store_util.h"

static struct replay_changes *changes;

static int write_rows(struct sqlite3 *db, int64_t version, void *arg,
                      struct err *err)
{
    (void)arg;
    return replay_db_write(db, changes, version, err);
}

/* Offers held-out segment i, whose text depends on `copy`. */
static void offer(struct replay *holdout, int i, int32_t domain, int copy)
{
    token_id tokens[21];
    struct segment s = {.tokens = tokens, .n_tokens = 20, .n_bytes = 20,
                        .domain = domain, .label = -1};
    const struct segment_origin origin = {.offset = i};

    for (int t = 0; t < 21; t++)
        tokens[t] = (token_id)(copy + t * (copy % 7));
    replay_offer(holdout, &s, &origin, 0);
}

/* The first version has its index in the state, as in older programs. */
static int64_t publish(struct store *store, struct replay *holdout,
                       int64_t parent)
{
    struct util_version v;
    int64_t version;

    util_version_init(&v, parent, parent + 1);
    tensor_list_release(&v.holdout);
    changes = replay_take_changes(holdout, parent ? &v.holdout : &v.state);
    if (parent == 0)
        v.p.holdout = NULL;
    v.p.in_transaction = write_rows;
    assert_int_equal(store_publish(store, &v.p, &version, NULL), 0);
    replay_stored(holdout, changes);
    util_version_release(&v);
    return version;
}

struct count {
    size_t even, recent, is_new, before, domain[2];
};

static struct count take(struct catalog *c, int64_t version, int64_t tokens,
                         int64_t reference_rows, int64_t compared_rows)
{
    const struct holdout_sample_options o = {
        .seed = 42,
        .max_tokens = tokens,
        .reference_rows = reference_rows,
        .compared_rows = compared_rows,
        .limits = {.domains = 100, .labels = 100, .vocab_size = 65536,
                   .context = 65535}};
    struct count n = {0};
    struct holdout_sample s;

    assert_int_equal(holdout_sample_take(c, version, &o, &s, NULL), 0);
    for (size_t i = 0; i < s.n; i++) {
        n.even += s.roles[i].even;
        n.recent += s.roles[i].recent;
        n.is_new += s.roles[i].is_new;
        n.before += s.roles[i].before && s.roles[i].even;
        n.domain[s.segments.items[i].domain] += s.roles[i].even;
    }
    holdout_sample_release(&s);
    return n;
}

static void test_sample(void **state)
{
    struct store_schema schema = {"replay", replay_schema, replay_schema_n};
    struct replay_options options;
    struct replay *holdout;
    struct store *store;
    struct catalog *c;
    struct count n;
    int64_t mark, first, second;
    char *path;

    replay_options_default(&options, REPLAY_HOLDOUT);
    options.recent_share = 0.25;
    assert_int_equal(store_open(*state, &schema, 1, &store, NULL), 0);
    assert_int_equal(catalog_open(*state, &c, NULL), 0);
    holdout = replay_create(&options, NULL);
    for (int i = 1; i <= 90; i++)
        offer(holdout, i, i % 9 == 0, i);
    first = publish(store, holdout, 0);
    assert_int_equal(holdout_sample_count_rows(c, first, &mark, NULL), 0);
    assert_int_equal(mark, 90);

    /* All 90 segments have 1,800 targets. */
    n = take(c, first, 2000, mark, mark);
    assert_int_equal(n.even, 90);
    assert_int_equal(n.recent, 50);
    assert_int_equal(n.is_new, 0);
    assert_int_equal(n.before, 90);
    /* Of 20 segments half are from the small domain. */
    n = take(c, first, 400, 0, 80);
    assert_int_equal(n.even, 20);
    assert_int_equal(n.domain[1], 10);
    assert_int_equal(n.recent, 10);
    assert_int_equal(n.is_new, 10);
    assert_int_equal(n.before, 0);

    /* A flood of one domain: half of that domain's segments are older than the
     * flood. A text that arrives a hundred times counts as one. */
    for (int i = 91; i <= 290; i++)
        offer(holdout, i, 0, i);
    for (int i = 291; i <= 390; i++)
        offer(holdout, i, 0, 400);
    second = publish(store, holdout, first);
    n = take(c, second, 600, mark, mark);
    assert_int_equal(n.even, 30);
    assert_true(n.before >= 19); /* 10 of each domain */
    n = take(c, second, 16384, mark, 350);
    assert_int_equal(n.even, 291);
    assert_int_equal(n.is_new, 0); /* copies of an older row */
    /* The large file is not read. */
    path = util_file_of(*state, second, "state.safetensors");
    assert_int_equal(truncate(path, 10), 0);
    assert_int_equal(take(c, second, 16384, mark, 350).even, 291);
    assert_int_equal(holdout_sample_count_rows(c, second, &mark, NULL), 0);
    assert_int_equal(mark, 390);
    free(path);
    replay_free(holdout);
    catalog_close(c);
    store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_sample, util_make_temp,
                                        util_remove_temp),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
