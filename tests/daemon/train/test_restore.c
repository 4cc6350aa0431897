/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A start on every kind of data directory: new, whole, damaged, made with other
 * settings.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "daemon/publish/verdict_memory.h"
#include "daemon/train/restore.h"
#include "learner/kernels/ops.h"
#include "learner/learner.h"
#include "tests/util/rewind_util.h"
#include "tests/util/store_util.h"

static struct store *open_store(const char *dir)
{
    const struct store_schema replay = {"replay", replay_schema,
                                        replay_schema_n};
    struct store *s = NULL;
    struct err err = ERR_INIT;

    if (store_open(dir, &replay, 1, &s, &err) != 0)
        fail_msg("%s", err.msg);
    return s;
}

static int try_settings(const char *dir, const char *set, int threads,
                        int *shards, struct err *err)
{
    struct conf *conf = train_util_conf(dir, &set, set != NULL);
    struct store *s = open_store(dir);
    int rc;

    *err = (struct err)ERR_INIT;
    rc = restore_settings(s, conf, threads, shards, err);
    store_close(s);
    conf_free(conf);
    return rc;
}

/* *prepared: is there a learner? */
static int try_state(const char *dir, const char *const *sets, size_t n_sets,
                     bool *prepared, struct err *err)
{
    struct conf *conf = train_util_conf(dir, sets, n_sets);
    struct store *s = open_store(dir);
    struct learning l;
    int rc;

    *err = (struct err)ERR_INIT;
    ops_init();
    assert_int_equal(learning_open(&l, conf, 1, 1, NULL), 0);
    rc = restore_state(s, conf, &l, err);
    *prepared = l.learner != NULL;
    learning_close(&l);
    store_close(s);
    conf_free(conf);
    return rc;
}

static void reopen(struct train_util *u)
{
    const char *dir = u->dir;

    rewind_util_close(u);
    rewind_util_open(u, dir, NULL, 0);
}

static void assert_state(struct train_util *u, int64_t version,
                         enum store_state state)
{
    util_assert_state(u->catalog, version, state);
}

/* --- a new directory ---------------------------------------------------- */

static void test_empty(void **state)
{
    static const char *const bpe[] = {"model.tokenizer=bpe"};
    static const char *const builtin[] = {"model.tokenizer=builtin",
                                          "model.vocab_size=512"};
    static const char *const large[] = {"model.tokenizer=builtin",
                                        "model.vocab_size=16385"};
    static const char *const linear[] = {
        "model.preset=linear", "model.dim=0",      "model.layers=0",
        "model.heads=0",       "model.kv_heads=0", "model.ffn_dim=0",
        "model.context=0",
    };
    struct err err;
    bool prepared;

    assert_int_equal(try_state(*state, NULL, 0, &prepared, &err), 0);
    assert_true(prepared);
    /* A learned vocabulary needs text first. */
    assert_int_equal(try_state(*state, bpe, 1, &prepared, &err), 0);
    assert_false(prepared);
    assert_int_equal(try_state(*state, builtin, 2, &prepared, &err), 0);
    assert_true(prepared);
    assert_int_equal(try_state(*state, large, 2, &prepared, &err),
                     ERR_INVALID);
    assert_int_equal(try_state(*state, linear, 7, &prepared, &err), 0);
    assert_true(prepared);
}

/* A version's directory is a model's directory. */
static void test_model_init(void **state)
{
    static const char *const nowhere[] = {"model.init=/nonexistent"};
    struct tensor_list first = TENSOR_LIST_INIT, birth = TENSOR_LIST_INIT;
    struct train_util u;
    struct err err;
    char *init;
    bool prepared;
    void *other;

    rewind_util_open(&u, *state, NULL, 0);
    assert_int_equal(rewind_util_version(&u, 10), 2);
    assert_int_equal(store_load(u.catalog, 2, STORE_WEIGHTS, &first, NULL), 0);
    init = xasprintf("model.init=%s/versions/000002", u.dir);
    rewind_util_close(&u);

    assert_int_equal(util_make_temp(&other), 0);
    rewind_util_open(&u, other, (const char *const *)&init, 1);
    assert_int_equal(learner_steps(u.learning.learner), 0);
    assert_int_equal(store_load(u.catalog, 1, STORE_WEIGHTS, &birth, NULL), 0);
    assert_int_equal(first.n, birth.n);
    for (size_t i = 0; i < first.n; i++) {
        const struct tensor *t = tensor_find(&birth, first.items[i].name);

        assert_non_null(t);
        assert_memory_equal(t->data, first.items[i].data, tensor_bytes(t));
    }
    tensor_list_release(&first);
    tensor_list_release(&birth);
    rewind_util_close(&u);
    assert_int_equal(util_remove_temp(&other), 0);
    free(init);

    assert_int_equal(util_make_temp(&other), 0);
    assert_int_not_equal(try_state(other, nowhere, 1, &prepared, &err), 0);
    assert_string_equal(err.msg, "model.init: /nonexistent: there is no such "
                                 "model");
    assert_false(prepared);
    assert_int_equal(util_remove_temp(&other), 0);
}

/* --- the settings ------------------------------------------------------- */

static void test_other_settings(void **state)
{
    static const struct {
        const char *set, *named;
    } others[] = {
        {"model.dim=32", "model.dim: 16"},
        {"model.layers=2", "model.layers: 1"},
        {"model.context=64", "model.context: 32"},
        {"model.tokenizer=bpe", "model.tokenizer: bytes"},
        {"learner.seed=7", "learner.seed: 42"},
        {"learner.shards=2", "learner.shards: 1"},
    };
    struct err err;
    int shards;

    assert_int_equal(try_settings(*state, NULL, 1, &shards, &err), 0);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        assert_int_equal(try_settings(*state, others[i].set, 1, &shards, &err),
                         ERR_STATE);
        assert_non_null(strstr(err.msg, others[i].named));
    }
    assert_int_equal(try_settings(*state, NULL, 1, &shards, &err), 0);
}

/* A directory that was made when the defaults were others keeps its tokenizer,
 * unless the configuration sets one. */
static void test_tokenizer_kept(void **state)
{
    static const char *const sets[] = {"model.tokenizer=builtin"};
    struct conf_problems p = CONF_PROBLEMS_INIT;
    struct store *s = open_store(*state);
    struct conf *conf = conf_create();
    struct err err = ERR_INIT;
    int shards;

    assert_int_equal(store_setting_put(s, "model.tokenizer", "bpe", &err), 0);
    assert_int_equal(store_setting_put(s, "model.vocab_size", "20000", &err),
                     0);
    assert_int_equal(restore_settings(s, conf, 1, &shards, &err), 0);
    assert_int_equal(conf->model.tokenizer, CONF_TOKENIZER_BPE);
    assert_int_equal(conf->model.vocab_size, 20000);
    conf_free(conf);

    conf = conf_create();
    assert_int_equal(conf_load(conf, NULL, sets, 1, NULL, &p), 0);
    assert_int_equal(restore_settings(s, conf, 1, &shards, &err), ERR_STATE);
    assert_non_null(strstr(err.msg, "model.tokenizer: bpe"));
    conf_free(conf);
    conf_problems_release(&p);
    store_close(s);
}

/* With model.init, the versions keep the context: both keys may be removed. */
static void test_context_of_init(void **state)
{
    static const char *const sets[] = {"source.type=stdin", "model.init=model",
                                       "model.context=512"};
    struct store *s = open_store(*state);
    struct err err = ERR_INIT;
    int shards;

    for (size_t n = 3; n > 0; n--) {
        struct conf_problems p = CONF_PROBLEMS_INIT;
        struct conf *conf = conf_create();

        assert_int_equal(conf_load(conf, NULL, sets, n, NULL, &p), 0);
        if (n == 1) /* as an older program stored it */
            assert_int_equal(store_setting_put(s, "model.context", "512", &err),
                             0);
        assert_int_equal(restore_settings(s, conf, 1, &shards, &err), 0);
        conf_free(conf);
        conf_problems_release(&p);
    }
    store_close(s);
}

static void put_shards(const char *dir, const char *value)
{
    struct store *s = open_store(dir);

    assert_int_equal(store_setting_put(s, "learner.shards", value, NULL), 0);
    store_close(s);
}

static void test_shards(void **state)
{
    static const char *const wrong[] = {"", "0", "-1", "1025", "4x"};
    struct err err;
    int shards;

    /* As many as threads in a new directory, and from then on. */
    assert_int_equal(try_settings(*state, "learner.shards=0", 3, &shards, &err),
                     0);
    assert_int_equal(shards, 3);
    assert_int_equal(try_settings(*state, "learner.shards=0", 8, &shards, &err),
                     0);
    assert_int_equal(shards, 3);
    put_shards(*state, "1024");
    assert_int_equal(try_settings(*state, "learner.shards=0", 8, &shards, &err),
                     0);
    assert_int_equal(shards, 1024);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        put_shards(*state, wrong[i]);
        assert_int_equal(
            try_settings(*state, "learner.shards=0", 8, &shards, &err),
            ERR_CORRUPT);
    }
}

/* --- a head ------------------------------------------------------------- */

static void test_head(void **state)
{
    struct train_util u;
    int64_t steps;

    rewind_util_open(&u, *state, NULL, 0);
    assert_int_equal(rewind_util_version(&u, 10), 2);
    steps = learner_steps(u.learning.learner);
    rewind_util_learn(&u, 5); /* in no version */
    reopen(&u);
    train_util_check_pointers(&u, 2, 2);
    assert_int_equal(serving_version(u.serving), 2);
    assert_int_equal(learner_steps(u.learning.learner), steps);
    assert_int_equal(u.learning.progress.records.consumed, 10);
    assert_int_equal(u.source.next[0], 10);
    assert_int_equal(rewind_util_version(&u, 10), 3);
    rewind_util_close(&u);
}

/* A rollback, and the process ended before another version: row keys have to
 * begin a branch, or the next version would use keys of version 3 again. */
static void test_head_after_rollback(void **state)
{
    struct train_util u;

    rewind_util_open(&u, *state, NULL, 0);
    assert_int_equal(rewind_util_version(&u, 10), 2);
    assert_int_equal(rewind_util_version(&u, 10), 3);
    rewind_util_roll_back(&u, 2, false);
    reopen(&u);
    train_util_check_pointers(&u, 2, 2);
    assert_int_equal(u.source.next[0], 10);
    assert_int_equal(rewind_util_version(&u, 15), 4);
    assert_int_equal(replay_live(u.learning.replay), 25);
    rewind_util_close(&u);
}

/* The process ended before the verdict: learning goes on from the version, and
 * the publisher judges it again. */
static void test_pending_head(void **state)
{
    struct train_util u;

    rewind_util_open(&u, *state, NULL, 0);
    assert_int_equal(rewind_util_version(&u, 10), 2);
    rewind_util_sql(&u, "UPDATE versions SET state = 'pending', verdict = NULL"
                        " WHERE version = 2");
    rewind_util_sql(&u, "UPDATE pointers SET serving = 1");
    reopen(&u);
    assert_state(&u, 2, STORE_PASSED);
    train_util_check_pointers(&u, 2, 2);
    assert_int_equal(u.learning.progress.records.consumed, 10);
    rewind_util_close(&u);
}

static void test_damaged_head(void **state)
{
    struct train_util u;

    rewind_util_open(&u, *state, NULL, 0);
    assert_int_equal(rewind_util_version(&u, 10), 2);
    assert_int_equal(rewind_util_version(&u, 10), 3);
    rewind_util_damage(u.dir, 3, "state.safetensors");
    reopen(&u);
    assert_state(&u, 3, STORE_DAMAGED);
    /* Its weights are whole, but it does not serve either. */
    train_util_check_pointers(&u, 2, 2);
    assert_int_equal(serving_version(u.serving), 2);
    assert_int_equal(u.learning.progress.records.consumed, 10);
    assert_int_equal(u.source.next[0], 10);
    assert_int_equal(
        rewind_util_sql(&u, "SELECT count(*) FROM history WHERE cause ="
                            " 'damaged'"),
        1);
    assert_int_equal(rewind_util_version(&u, 10), 4);
    rewind_util_close(&u);
}

/* Learning falls back to a version that the gate refused; it does not serve. */
static void test_damaged_head_serving_stays(void **state)
{
    struct train_util u;

    rewind_util_open(&u, *state, NULL, 0);
    assert_int_equal(rewind_util_version(&u, 10), 2);
    assert_int_equal(rewind_util_version(&u, 10), 3);
    assert_int_equal(rewind_util_version(&u, 10), 4);
    rewind_util_sql(&u, "UPDATE versions SET state = 'failed'"
                        " WHERE version > 2");
    rewind_util_sql(&u, "UPDATE pointers SET serving = 2");
    rewind_util_damage(u.dir, 4, "model.safetensors");
    reopen(&u);
    train_util_check_pointers(&u, 3, 2);
    assert_int_equal(u.learning.progress.records.consumed, 20);
    rewind_util_close(&u);
}

static void test_several_damaged(void **state)
{
    struct train_util u;

    rewind_util_open(&u, *state, NULL, 0);
    for (int64_t v = 2; v <= 5; v++)
        assert_int_equal(rewind_util_version(&u, 5), v);
    rewind_util_sql(&u, "UPDATE versions SET state = 'rolled_back'"
                        " WHERE version = 3");
    rewind_util_sql(&u, "UPDATE versions SET state = 'pending'"
                        " WHERE version = 2");
    rewind_util_damage(u.dir, 5, "model.safetensors");
    rewind_util_damage(u.dir, 4, "state.safetensors");
    reopen(&u);
    train_util_check_pointers(&u, 1, 1);
    assert_state(&u, 5, STORE_DAMAGED);
    assert_state(&u, 4, STORE_DAMAGED);
    assert_int_equal(u.learning.progress.records.consumed, 0);
    rewind_util_close(&u);
}

static void test_no_whole_version(void **state)
{
    struct train_util u;
    struct err err;
    bool prepared;

    rewind_util_open(&u, *state, NULL, 0);
    assert_int_equal(rewind_util_version(&u, 5), 2);
    rewind_util_damage(u.dir, 2, "state.safetensors");
    rewind_util_damage(u.dir, 1, "state.safetensors");
    rewind_util_close(&u);
    assert_int_equal(try_state(*state, NULL, 0, &prepared, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.msg, "no version is whole"));
}

static void test_damaged_serving(void **state)
{
    struct train_util u;

    rewind_util_open(&u, *state, NULL, 0);
    assert_int_equal(rewind_util_version(&u, 10), 2);
    assert_int_equal(rewind_util_version(&u, 10), 3);
    rewind_util_sql(&u, "UPDATE pointers SET serving = 2");
    rewind_util_damage(u.dir, 2, "model.safetensors");
    reopen(&u);
    assert_state(&u, 2, STORE_DAMAGED);
    train_util_check_pointers(&u, 3, 3);
    assert_int_equal(serving_version(u.serving), 3);
    rewind_util_close(&u);
}

/* --- the guard ---------------------------------------------------------- */

static int write_request(struct store *s, void *arg, struct err *err)
{
    struct verdict_memory memory;
    char *text, *sql;
    int64_t *changed = arg;

    (void)err;
    verdict_memory_init(&memory);
    memory.request.cause = GUARD_WORSE;
    memory.request.version = 1;
    snprintf(memory.request.reason, sizeof memory.request.reason, "a test");
    text = verdict_memory_write(&memory);
    sql = xasprintf("UPDATE versions SET guard = '%s' WHERE version = 2"
                    " RETURNING 1",
                    text);
    *changed = util_number(s, sql);
    free(text);
    free(sql);
    return 0;
}

static int hold(struct store *s, void *arg, struct err *err)
{
    (void)arg;
    return store_pause(s, "a test", err);
}

/* The process ended before a rollback that the guard had requested. */
static void test_guard_request(void **state)
{
    const char *const off[] = {"publish.auto_rollback=false"};
    struct guard_request request;
    struct train_util u;
    int64_t changed = 0;

    rewind_util_open(&u, *state, NULL, 0);
    assert_int_equal(rewind_util_version(&u, 10), 2);
    assert_int_equal(publisher_run(u.publisher, write_request, &changed, NULL),
                     0);
    assert_int_equal(changed, 1);
    assert_false(publisher_take_request(u.publisher, &request));
    reopen(&u);
    assert_true(publisher_take_request(u.publisher, &request));
    assert_int_equal(request.version, 1);
    assert_string_equal(request.reason, "a test");
    rewind_util_close(&u);

    rewind_util_open(&u, *state, off, 1);
    assert_false(publisher_take_request(u.publisher, &request));
    /* Learning was paused instead. */
    assert_int_equal(publisher_run(u.publisher, hold, NULL, NULL), 0);
    reopen(&u);
    assert_false(publisher_take_request(u.publisher, &request));
    rewind_util_close(&u);
}

int main(void)
{
#define TEST(f)                                                                \
    cmocka_unit_test_setup_teardown(f, util_make_temp, util_remove_temp)
    const struct CMUnitTest tests[] = {
        TEST(test_empty),
        TEST(test_model_init),
        TEST(test_other_settings),
        TEST(test_tokenizer_kept),
        TEST(test_context_of_init),
        TEST(test_shards),
        TEST(test_head),
        TEST(test_head_after_rollback),
        TEST(test_pending_head),
        TEST(test_damaged_head),
        TEST(test_damaged_head_serving_stays),
        TEST(test_several_damaged),
        TEST(test_no_whole_version),
        TEST(test_damaged_serving),
        TEST(test_guard_request),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
