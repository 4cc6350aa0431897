/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checks before the gate: all numbers are finite, and what is read back is
 * what was live.
 */
#include "config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "daemon/publish/probe.h"
#include "learner/model.h"
#include "learner/kernels/ops.h"

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
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
