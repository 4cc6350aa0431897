/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A frozen model against the model that it was made from: losses, states,
 * logits and generation with a cache, at shapes that fill no panel. Also what
 * int8 costs a trained model.
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

#include "base/buf.h"
#include "base/fileio.h"
#include "base/rng.h"
#include "base/xalloc.h"
#include "learner/tokenizer/cut.h"
#include "learner/infer/frozen.h"
#include "learner/infer/infer.h"
#include "learner/infer/sample.h"
#include "learner/learner.h"
#include "learner/kernels/ops.h"
#include "tests/util/near_util.h"

#define PLAIN MODEL_BIAS_NONE, {ROPE_PLAIN, 0, 0, 0, 0}

static const struct model_shape shapes[] = {
    {37, 12, 2, 3, 1, 6, 20, 80, 1e-5f, 10000.0f, false, false, PLAIN},
    {257, 32, 1, 2, 2, 16, 48, 70, 1e-5f, 10000.0f, true, true, PLAIN},
    {1100, 20, 2, 4, 2, 10, 33, 64, 1e-6f, 5000.0f, true, false, MODEL_BIAS_QKV,
     {ROPE_LLAMA3, 8.0f, 1.0f, 4.0f, 32}},
    {2051, 24, 2, 6, 3, 40, 50, 33, 1e-5f, 10000.0f, false, true,
     MODEL_BIAS_ALL, {ROPE_LINEAR, 2.5f, 0, 0, 0}},
};

#define N_SHAPES (sizeof shapes / sizeof *shapes)

static const uint32_t lengths[] = {1, 5, 33, 2, 30, 17, 1, 20};

/* A model, its frozen copy, and a batch. */
struct pair {
    const struct model_shape *shape;
    struct model *m;
    float *params, *loss, *want;
    struct model_work *w;
    struct frozen *f;
    struct frozen_work *fw;
    struct batch b;
};

static void fill_batch(struct pair *x)
{
    token_id tokens[64];

    for (uint32_t s = 0; s < sizeof lengths / sizeof *lengths; s++) {
        struct segment seg = {.tokens = tokens, .n_tokens = lengths[s]};

        for (uint32_t i = 0; i <= lengths[s]; i++)
            tokens[i] = (token_id)(rng_unit(s, RNG_SAMPLE, 1, i) *
                                   x->shape->vocab_size);
        batch_add(&x->b, &seg);
    }
}

static struct pair pair(size_t shape, bool bytes)
{
    struct pair x = {.shape = &shapes[shape]};

    assert_int_equal(model_create(x.shape, &x.m, NULL), 0);
    x.params = xfloats(x.m->n_params);
    x.f = frozen_create(x.m, bytes);
    for (size_t i = 0; i < x.m->n_tensors; i++) {
        const struct model_tensor *t = &x.m->tensors[i];

        for (size_t j = 0; j < t->count; j++) {
            float r = (float)rng_normal(3, RNG_INIT, i, j);

            x.params[t->offset + j] = t->decays ? 0.2f * r : 1 + 0.1f * r;
        }
        frozen_set_tensor(x.f, t, x.params + t->offset);
    }
    fill_batch(&x);
    x.w = model_work_create(x.m, x.b.n_tokens);
    x.fw = frozen_work_create(x.f, 1); /* it grows */
    x.loss = xfloats(x.b.n_tokens);
    x.want = xfloats(x.b.n_tokens);
    return x;
}

static void release(struct pair *x)
{
    frozen_work_free(x->fw);
    frozen_free(x->f);
    model_work_free(x->w);
    batch_release(&x->b);
    free(x->params);
    free(x->loss);
    free(x->want);
    model_free(x->m);
}

/* --- against the model -------------------------------------------------- */

static void test_read(void **state)
{
    (void)state;
    for (size_t s = 0; s < N_SHAPES; s++) {
        struct pair x = pair(s, false);
        size_t count = x.b.n_tokens * (size_t)x.shape->dim;

        model_forward(x.m, x.params, &x.b, x.w, x.want);
        frozen_read(x.f, &x.b, x.fw, x.loss);
        util_expect_near("loss", x.loss, x.want, x.b.n_tokens, 2e-5);
        util_expect_near("state", frozen_states(x.fw), model_states(x.w), count,
                         5e-5);
        release(&x);
    }
}

/* An int8 model gives other numbers, but close ones. */
static void test_read_bytes(void **state)
{
    (void)state;
    for (size_t s = 0; s < N_SHAPES; s++) {
        struct pair x = pair(s, true);
        double off = 0.0, mean = 0.0;

        model_forward(x.m, x.params, &x.b, x.w, x.want);
        frozen_read(x.f, &x.b, x.fw, x.loss);
        for (size_t i = 0; i < x.b.n_tokens; i++) {
            off += fabs((double)x.loss[i] - x.want[i]);
            mean += x.want[i];
        }
        assert_true(off > 0.0);
        assert_true(off < 0.02 * mean);
        release(&x);
    }
}

/* --- with a cache ------------------------------------------------------- */

/* Computes the logits of a segment's last token by reading it at once. */
static void whole_logits(struct pair *x, size_t from, size_t t, float *logits)
{
    struct batch one = {0};
    struct segment s = {.tokens = x->b.inputs + from, .n_tokens = (uint32_t)t};
    token_id tokens[64] = {0};
    size_t c = (size_t)x->shape->dim;
    float state[64];

    memcpy(tokens, s.tokens, t * sizeof *tokens);
    s.tokens = tokens;
    batch_add(&one, &s);
    frozen_read(x->f, &one, x->fw, NULL);
    memcpy(state, frozen_states(x->fw) + (t - 1) * c, c * sizeof *state);
    frozen_logits(x->f, state, x->fw, logits);
    batch_release(&one);
}

/* Reading in pieces of 1, 2, 3 and so on gives the same bytes as reading at
 * once, close to the model's. */
static void check_extend(struct pair *x, float *cache, size_t from, size_t t,
                         bool bytes)
{
    size_t v = (size_t)x->shape->vocab_size, c = (size_t)x->shape->dim;
    float *logits = xfloats(v), *want = xfloats(v);

    for (size_t at = 0, n = 1; at < t; at += n, n++) {
        n = n < t - at ? n : t - at;
        frozen_extend(x->f, cache, at, x->b.inputs + from + at, n, x->fw,
                      NULL, 0, logits);
        whole_logits(x, from, at + n, want);
        assert_memory_equal(logits, want, v * sizeof *want);
        ops_ref.linear(want, model_states(x->w) + (from + at + n - 1) * c,
                       x->params + x->m->lm_head, 1, c, v, 0);
        if (!bytes)
            util_expect_near("logit", logits, want, v, 1e-4);
    }
    free(logits);
    free(want);
}

static void test_extend(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * N_SHAPES; i++) {
        struct pair x = pair(i / 2, i % 2);
        float *cache = xfloats(frozen_cache_floats(x.f));

        memset(cache, 0xff, frozen_cache_floats(x.f) * sizeof *cache);
        model_forward(x.m, x.params, &x.b, x.w, NULL);
        for (size_t s = 0; s < x.b.n_segments; s++)
            check_extend(&x, cache, x.b.starts[s],
                         x.b.starts[s + 1] - x.b.starts[s], i % 2);
        free(cache);
        release(&x);
    }
}

/* A segment's losses do not depend on its neighbours. */
static void test_alone(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * N_SHAPES; i++) {
        struct pair x = pair(i / 2, i % 2);

        frozen_read(x.f, &x.b, x.fw, x.want);
        for (size_t s = 0; s < x.b.n_segments; s++) {
            token_id tokens[64];
            size_t from = x.b.starts[s], t = x.b.starts[s + 1] - from;
            struct segment seg = {.tokens = tokens, .n_tokens = (uint32_t)t};
            struct batch one = {0};

            memcpy(tokens, x.b.inputs + from, t * sizeof *tokens);
            tokens[t] = x.b.targets[from + t - 1];
            batch_add(&one, &seg);
            frozen_read(x.f, &one, x.fw, x.loss);
            assert_memory_equal(x.loss, x.want + from, t * sizeof *x.loss);
            batch_release(&one);
        }
        release(&x);
    }
}

/* Logits, normalised, are the losses to the bit. So are the losses of a token
 * that is read after blocks of a copied cache. */
static void test_copied(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * N_SHAPES; i++) {
        struct pair x = pair(i / 2, i % 2);
        size_t n_floats = frozen_cache_floats(x.f);
        size_t v = (size_t)x.shape->vocab_size;
        size_t n = x.b.starts[3], t = n < 33 ? n : 33;
        float *from = xfloats(n_floats), *to = xfloats(n_floats);
        float *block = xfloats(frozen_block_floats(x.f)), *logits = xfloats(v);
        float *loss = xfloats(t + 1);

        memset(from, 0xff, n_floats * sizeof *from); /* NaN */
        frozen_extend(x.f, from, 0, x.b.inputs, t, x.fw, loss, t - 1, NULL);
        for (size_t k = 1; k + 1 < t; k++) {
            memset(to, 0xff, n_floats * sizeof *to);
            for (size_t j = 0; j * FROZEN_BLOCK < k; j++) {
                frozen_block_save(x.f, from, j, block);
                frozen_block_load(x.f, block, j, to);
            }
            frozen_extend(x.f, to, k, x.b.inputs + k, 1, x.fw, NULL, 0, logits);
            assert_true(frozen_lse(logits, v) - logits[x.b.inputs[k + 1]] ==
                        loss[k]);
            assert_true(sample_logprobs(logits, v));
            assert_true(-logits[x.b.inputs[k + 1]] == loss[k]);
        }
        free(from);
        free(to);
        free(block);
        free(logits);
        free(loss);
        release(&x);
    }
}

/* --- what int8 costs ---------------------------------------------------- */

#define RECORD_BYTES 500
#define STEP_SEGMENTS 2
#define EPOCHS 10
#define HOLD_OUT 8

struct text {
    struct tokenizer *tokenizer;
    struct buf bytes;
    struct cut *cuts;
    struct segment *train, *held;
    size_t n_cuts, n_train, n_held, held_bytes;
};

static void add_segments(struct segment **to, size_t *n, const struct cut *c)
{
    *to = xreallocarray(*to, *n + c->n_segments, sizeof **to);
    memcpy(*to + *n, c->segments, c->n_segments * sizeof **to);
    *n += c->n_segments;
}

static struct text read_text(size_t context)
{
    struct text x = {.tokenizer = tokenizer_create_bytes()};

    assert_int_equal(
        fileio_read(TOP_SRCDIR "/LICENSE", 1 << 20, &x.bytes, NULL), 0);
    assert_int_equal(
        fileio_read(TOP_SRCDIR "/README.md", 1 << 20, &x.bytes, NULL), 0);
    x.n_cuts = x.bytes.len / RECORD_BYTES;
    x.cuts = xcalloc(x.n_cuts, sizeof *x.cuts);
    for (size_t i = 0; i < x.n_cuts; i++) {
        bool held = i % HOLD_OUT == 0;

        cut_record(&x.cuts[i], x.tokenizer, context, NULL, 0,
                   x.bytes.data + i * RECORD_BYTES, RECORD_BYTES, -1, -1);
        if (held)
            add_segments(&x.held, &x.n_held, &x.cuts[i]);
        else
            add_segments(&x.train, &x.n_train, &x.cuts[i]);
        x.held_bytes += held ? RECORD_BYTES : 0;
    }
    return x;
}

static void release_text(struct text *x)
{
    for (size_t i = 0; i < x->n_cuts; i++)
        cut_release(&x->cuts[i]);
    free(x->cuts);
    free(x->train);
    free(x->held);
    buf_release(&x->bytes);
    tokenizer_free(x->tokenizer);
}

/* Trains a nano model on the text for a few passes. */
static void learn(const struct text *x, const struct model_shape *shape,
                  struct tensor_list *weights)
{
    struct learner_options o;
    struct learner *l;

    learner_options_default(&o);
    o.shape = shape;
    o.tokenizer = x->tokenizer;
    o.threads = 1;
    o.optim.lr = 3e-3f;
    o.optim.warmup_steps = 20;
    o.ewc.enabled = false;
    assert_int_equal(learner_create(&o, &l, NULL), 0);
    for (int epoch = 0; epoch < EPOCHS; epoch++)
        for (size_t i = 0; i < x->n_train; i += STEP_SEGMENTS) {
            size_t left = x->n_train - i;
            struct learner_step_input in = {
                .fresh = x->train + i,
                .n_fresh = left < STEP_SEGMENTS ? left : STEP_SEGMENTS};
            struct learner_step_output out = {0};

            assert_int_equal(learner_step(l, &in, &out, NULL), 0);
        }
    learner_export(l, weights, NULL, NULL, NULL, NULL);
    learner_free(l);
}

static double held_out(const struct text *x, const struct model_shape *shape,
                       const struct tensor_list *weights,
                       enum infer_quantize quantize)
{
    struct infer_options o = {.quantize = quantize};
    struct tensor_list none = TENSOR_LIST_INIT;
    struct names labels = NAMES_INIT;
    double *nats = xcalloc(x->n_held, sizeof *nats), sum = 0.0;
    struct infer *f;

    assert_int_equal(infer_create(shape, x->tokenizer, weights, &none, &labels,
                                  &o, &f, NULL),
                     0);
    assert_int_equal(
        infer_segments(f, x->held, x->n_held, nats, NULL, NULL, NULL), 0);
    for (size_t i = 0; i < x->n_held; i++)
        sum += nats[i];
    infer_free(f);
    free(nats);
    return sum / log(2.0) / (double)x->held_bytes;
}

static void test_cost(void **state)
{
    struct tensor_list weights = TENSOR_LIST_INIT;
    struct model_shape shape;
    struct text x;
    double as_is, bytes;

    (void)state;
    if (strcmp(model_kernels(), "reference loops") == 0)
        return; /* the reference loops would take minutes */
    assert_int_equal(model_preset("nano", &shape, NULL), 0);
    shape.vocab_size = 257;
    x = read_text((size_t)shape.context);
    learn(&x, &shape, &weights);
    as_is = held_out(&x, &shape, &weights, INFER_FLOAT);
    bytes = held_out(&x, &shape, &weights, INFER_INT8);
    print_message("# nano, held out, bits per byte: float %.4f, int8 %.4f "
                  "(%+.3f %%)\n",
                  as_is, bytes, 100.0 * (bytes / as_is - 1.0));
    assert_true(as_is < 4.5); /* bits per byte are 8 before training */
    assert_true(fabs(bytes / as_is - 1.0) < 0.005);
    tensor_list_release(&weights);
    release_text(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),   cmocka_unit_test(test_read_bytes),
        cmocka_unit_test(test_extend), cmocka_unit_test(test_alone),
        cmocka_unit_test(test_copied), cmocka_unit_test(test_cost),
    };

    ops_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
