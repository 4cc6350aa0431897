/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the gate looks at before it compares: are the numbers finite, and are
 * those read back the live ones; and which held-out segments it draws.
 */
#include "config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "daemon/publish/draw.h"
#include "daemon/publish/probe.h"
#include "learner/model.h"
#include "learner/kernels/ops.h"
#include "store/store.h"
#include "tests/util/store_util.h"

static const struct model_shape shape = {.vocab_size = 257,
                                         .dim = 32,
                                         .layers = 1,
                                         .heads = 2,
                                         .kv_heads = 1,
                                         .head_dim = 16,
                                         .ffn_dim = 48,
                                         .context = 16,
                                         .norm_eps = 1e-5f,
                                         .rope_theta = 10000.0f,
                                         .tied = true};

/* --- finite, and the same ----------------------------------------------- */

static struct tokenizer *tokenizer;
static float *params;

static void fill(struct tensor_list *out)
{
    struct model *m;

    assert_int_equal(model_create(&shape, &m, NULL), 0);
    free(params);
    params = xfloats(m->n_params);
    model_init_params(m, 7, params);
    for (size_t i = 0; i < m->n_tensors; i++) {
        const struct model_tensor *t = &m->tensors[i];

        tensor_add_copy(out, t->name, TENSOR_F32, t->n_dims, t->shape,
                        params + t->offset);
    }
    model_free(m);
}

static void add_floats(struct tensor_list *l, const char *name, float last)
{
    const float values[3] = {1, 2, last};
    const size_t n = 3;

    tensor_add_copy(l, name, TENSOR_F32, 1, &n, values);
}

static void release(struct snapshot *s)
{
    tensor_list_release(&s->weights);
    tensor_list_release(&s->state);
    tensor_list_release(&s->anchor);
}

static void test_finite(void **state)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct snapshot s = {0};
        struct probe p;

        fill(&s.weights);
        add_floats(&s.state, "replay.nats", NAN); /* not of the model */
        add_floats(&s.state, "optim.m", 3e38f);
        probe_take(&s, &shape, tokenizer, NULL, &p);
        assert_true(p.finite);
        assert_true(p.nats[0] > 0);
        probe_release(&p);
        /* The weights are finite, the learner's state is not. */
        add_floats(&s.anchor, "ewc.fisher", bad[i]);
        probe_take(&s, &shape, tokenizer, NULL, &p);
        assert_false(p.finite);
        assert_non_null(strstr(p.problem, "ewc.fisher"));
        probe_release(&p);
        release(&s);
    }
}

static int compare_after(struct snapshot *s, const struct probe *p)
{
    const struct tensor_list no_head = TENSOR_LIST_INIT;
    const struct names no_labels = NAMES_INIT;
    struct infer *f = NULL;
    struct err err = ERR_INIT;
    int rc;

    assert_int_equal(infer_create(&shape, tokenizer, &s->weights, &no_head,
                                  &no_labels, NULL, &f, &err),
                     0);
    rc = probe_compare(p, f, &err);
    infer_free(f);
    return rc;
}

static void swap_floats(float *a, float *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float x = a[i];

        a[i] = b[i];
        b[i] = x;
    }
}

static void test_the_same(void **state)
{
    struct snapshot s = {0};
    struct probe p;
    float *embedding = NULL;

    (void)state;
    fill(&s.weights);
    probe_take(&s, &shape, tokenizer, NULL, &p);
    assert_true(p.finite);
    assert_int_equal(compare_after(&s, &p), 0);
    for (size_t i = 0; i < s.weights.n; i++)
        if (strcmp(s.weights.items[i].name, "model.embed_tokens.weight") == 0)
            embedding = s.weights.items[i].data;
    assert_non_null(embedding);
    /* The rows of `e` and `o` are exchanged. */
    swap_floats(embedding + 'e' * 32, embedding + 'o' * 32, 32);
    assert_int_equal(compare_after(&s, &p), ERR_CORRUPT);
    swap_floats(embedding + 'e' * 32, embedding + 'o' * 32, 32);
    assert_int_equal(compare_after(&s, &p), 0);
    embedding['t' * 32] += 1e-4f;
    assert_int_equal(compare_after(&s, &p), ERR_CORRUPT);
    p.n_labels = 1;
    assert_int_equal(compare_after(&s, &p), ERR_CORRUPT);
    probe_release(&p);
    release(&s);
}

/* --- the draw ----------------------------------------------------------- */

static struct replay_changes *changes;

static int write_rows(struct sqlite3 *db, int64_t version, void *arg,
                      struct err *err)
{
    (void)arg;
    return replay_db_write(db, changes, version, err);
}

/* Held-out segment i says i, or what `copy` says. */
static void offer(struct replay *holdout, int i, int32_t domain, int copy)
{
    uint16_t tokens[21];
    struct segment s = {.tokens = tokens, .n_tokens = 20, .n_bytes = 20,
                        .domain = domain, .label = -1};
    const struct segment_origin origin = {.offset = i};

    for (int t = 0; t < 21; t++)
        tokens[t] = (uint16_t)(copy + t * (copy % 7));
    replay_offer(holdout, &s, &origin, 0);
}

/* The first version is as they were before the index had a file of its own. */
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
    size_t even, recent, arrived, before, domain[2];
};

static struct count draw(struct catalog *c, int64_t version, int64_t tokens,
                         int64_t mark, int64_t seen)
{
    const struct draw_options o = {
        .seed = 42,
        .max_tokens = tokens,
        .mark = mark,
        .seen = seen,
        .limits = {.domains = 100, .labels = 100, .vocab_size = 65536,
                   .context = 65535}};
    struct count n = {0};
    struct draw d;

    assert_int_equal(draw_segments(c, version, &o, &d, NULL), 0);
    for (size_t i = 0; i < d.n; i++) {
        n.even += d.roles[i].even;
        n.recent += d.roles[i].recent;
        n.arrived += d.roles[i].arrived;
        n.before += d.roles[i].before && d.roles[i].even;
        n.domain[d.segments.items[i].domain] += d.roles[i].even;
    }
    draw_release(&d);
    return n;
}

static void test_draw(void **state)
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
    assert_int_equal(draw_mark(c, first, &mark, NULL), 0);
    assert_int_equal(mark, 90);

    /* Everything: 1,800 targets. */
    n = draw(c, first, 2000, mark, mark);
    assert_int_equal(n.even, 90);
    assert_int_equal(n.recent, 50);
    assert_int_equal(n.arrived, 0);
    assert_int_equal(n.before, 90);
    /* 20 of them: as many from the small domain. */
    n = draw(c, first, 400, 0, 80);
    assert_int_equal(n.even, 20);
    assert_int_equal(n.domain[1], 10);
    assert_int_equal(n.recent, 10);
    assert_int_equal(n.arrived, 10);
    assert_int_equal(n.before, 0);

    /* A flood of one domain: half of what is drawn of it was there before;
     * a text that comes a hundred times is one. */
    for (int i = 91; i <= 290; i++)
        offer(holdout, i, 0, i);
    for (int i = 291; i <= 390; i++)
        offer(holdout, i, 0, 400);
    second = publish(store, holdout, first);
    n = draw(c, second, 600, mark, mark);
    assert_int_equal(n.even, 30);
    assert_true(n.before >= 19); /* 10 of the small, 10 of the large domain */
    n = draw(c, second, 16384, mark, 350);
    assert_int_equal(n.even, 291);
    assert_int_equal(n.arrived, 0); /* the copies had come */
    /* Neither drawing nor the mark reads the large file. */
    path = util_file_of(*state, second, "state.safetensors");
    assert_int_equal(truncate(path, 10), 0);
    assert_int_equal(draw(c, second, 16384, mark, 350).even, 291);
    assert_int_equal(draw_mark(c, second, &mark, NULL), 0);
    assert_int_equal(mark, 390);
    free(path);
    replay_free(holdout);
    catalog_close(c);
    store_close(store);
}

static int set_up(void **state)
{
    (void)state;
    ops_init();
    tokenizer = tokenizer_create_bytes();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tokenizer_free(tokenizer);
    free(params);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finite),
        cmocka_unit_test(test_the_same),
        cmocka_unit_test_setup_teardown(test_draw, util_make_temp,
                                        util_remove_temp),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
