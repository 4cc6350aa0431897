/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of the model: gradients of every tensor against central differences;
 * logits and ten training steps against numbers from PyTorch; generation with
 * a cache against the forward pass; and refused shapes.
 */
#include "config.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "learner/infer/frozen.h"
#include "learner/model.h"
#include "learner/kernels/ops.h"
#include "tests/util/near_util.h"

#define V 37
#define N 13 /* tokens of the batch: segments of 1, 5 and 7 */

static const uint32_t lengths[] = {1, 5, 7}, masked[] = {0, 2, 0};

/* The same as in tests/data/model_reference.py. */
static struct model_shape odd_shape(bool qk_norm, bool tied)
{
    return (struct model_shape){.vocab_size = V,
                                .dim = 12,
                                .layers = 2,
                                .heads = 3,
                                .kv_heads = 1,
                                .head_dim = 6,
                                .ffn_dim = 20,
                                .context = 8,
                                .norm_eps = 1e-5f,
                                .rope_theta = 10000.0f,
                                .tied = tied,
                                .qk_norm = qk_norm};
}

static void fill_batch(struct batch *b)
{
    token_id tokens[16];

    for (uint32_t s = 0; s < 3; s++) {
        struct segment seg = {
            .tokens = tokens, .n_tokens = lengths[s], .n_masked = masked[s]};

        for (uint32_t i = 0; i <= lengths[s]; i++)
            tokens[i] = (token_id)((11 * s + 7 * i + i * i) % V);
        batch_add(b, &seg);
    }
}

/* Most tests use this: a model with weights by a formula, a batch, and working
 * memory. */
struct bench {
    struct model *m;
    float *params, *grads;
    struct batch b;
    struct model_work *w;
    float loss[N];
};

static void set_formula(const struct model *m, float *params)
{
    for (size_t i = 0; i < m->n_tensors; i++) {
        const struct model_tensor *t = &m->tensors[i];

        for (size_t j = t->offset; j < t->offset + t->count; j++) {
            double at = (double)(j % 9973), wave = sin(0.37 * (at * at));

            params[j] = (float)(t->decays ? 0.3 * wave : 1 + 0.1 * wave);
        }
    }
}

static void bench_init_shape(struct bench *x, const struct model_shape *shape)
{
    memset(x, 0, sizeof *x);
    assert_int_equal(model_create(shape, &x->m, NULL), 0);
    x->params = xfloats(x->m->n_params);
    x->grads = xfloats(x->m->n_params);
    set_formula(x->m, x->params);
    fill_batch(&x->b);
    x->w = model_work_create(x->m, N);
}

static void bench_init(struct bench *x, bool qk_norm, bool tied)
{
    struct model_shape shape = odd_shape(qk_norm, tied);

    bench_init_shape(x, &shape);
}

static void bench_release(struct bench *x)
{
    model_work_free(x->w);
    batch_release(&x->b);
    free(x->params);
    free(x->grads);
    model_free(x->m);
}

/* --- gradients ---------------------------------------------------------- */

#define SCALE 0.4f

static float weight_of(size_t i)
{
    return 0.5f + 0.1f * (float)i;
}

static float dstate_of(size_t i)
{
    return 0.2f * sinf((float)i);
}

/* The function that model_backward differentiates: the weighted loss of the
 * counted tokens, plus a linear function of the states. */
static double objective(struct bench *x)
{
    const float *states;
    double sum = 0.0;

    model_forward(x->m, x->params, &x->b, x->w, x->loss);
    states = model_states(x->w);
    for (size_t i = 0; i < N; i++)
        if (x->b.counted[i])
            sum += (double)SCALE * weight_of(i) * x->loss[i];
    for (size_t i = 0; i < N * (size_t)x->m->shape.dim; i++)
        sum += (double)dstate_of(i) * states[i];
    return sum;
}

/* Measures the slope at parameter i by four points, with an error of order
 * h^4. */
static double slope(struct bench *x, size_t i)
{
    const float h = 1.0f / 64.0f, was = x->params[i];
    const float steps[] = {h, -h, 2 * h, -2 * h};
    double f[4];

    for (int s = 0; s < 4; s++) {
        x->params[i] = was + steps[s];
        f[s] = objective(x);
    }
    x->params[i] = was;
    return (8.0 * (f[0] - f[1]) - (f[2] - f[3])) / (12.0 * h);
}

static void check_tensor(struct bench *x, const struct model_tensor *t)
{
    size_t stride = t->count > 50 ? t->count / 37 : 1;

    for (size_t j = 0; j < t->count; j += stride) {
        double got = x->grads[t->offset + j];
        double want = slope(x, t->offset + j);

        if (!(fabs(got - want) <= 5e-4 * (1.0 + fabs(want))))
            fail_msg("%s[%zu]: gradient %.7g, slope %.7g", t->name, j, got,
                     want);
    }
}

static void check_gradients_of(const struct model_shape *shape)
{
    struct bench x;
    float weight[N], dstates[N * 12];

    bench_init_shape(&x, shape);
    for (size_t i = 0; i < N; i++)
        weight[i] = weight_of(i);
    for (size_t i = 0; i < N * 12; i++)
        dstates[i] = dstate_of(i);
    objective(&x);
    memset(x.grads, 0x7f, x.m->n_params * sizeof *x.grads);
    model_backward(x.m, x.params, &x.b, x.w, SCALE, weight, dstates, x.grads);
    for (size_t i = 0; i < x.m->n_tensors; i++)
        check_tensor(&x, &x.m->tensors[i]);
    bench_release(&x);
}

static void check_gradients(bool qk_norm, bool tied)
{
    struct model_shape shape = odd_shape(qk_norm, tied);

    check_gradients_of(&shape);
}

/* Qwen2's biases with the rope of Llama 3.1; all biases with Qwen3's norms. */
static void gradients_with_biases(void **state)
{
    struct model_shape shape = odd_shape(false, true);

    (void)state;
    shape.bias = MODEL_BIAS_QKV;
    shape.rope = (struct rope_scaling){ROPE_LLAMA3, 4.0f, 1.0f, 2.0f, 64};
    check_gradients_of(&shape);
    shape = odd_shape(true, false);
    shape.bias = MODEL_BIAS_ALL;
    shape.rope = (struct rope_scaling){.kind = ROPE_LINEAR, .factor = 2.0f};
    check_gradients_of(&shape);
}

static void gradients_tied(void **state)
{
    (void)state;
    check_gradients(false, true);
}

static void gradients_qk_norm_untied(void **state)
{
    (void)state;
    check_gradients(true, false);
}

/* Gradients overwrite old content. NULL weights mean ones. Masked tokens, and a
 * loss with scale 0, have no gradient. A second backward pass after one forward
 * pass gives the same. */
static void gradients_are_new(bool tied)
{
    struct bench x;
    float *once, ones[N];
    size_t bytes;

    bench_init(&x, true, tied);
    bytes = x.m->n_params * sizeof *once;
    once = xfloats(x.m->n_params);
    for (size_t i = 0; i < N; i++)
        ones[i] = 1.0f;
    model_forward(x.m, x.params, &x.b, x.w, x.loss);
    model_backward(x.m, x.params, &x.b, x.w, 0.5f, NULL, NULL, once);
    model_backward(x.m, x.params, &x.b, x.w, 0.5f, ones, NULL, x.grads);
    assert_memory_equal(once, x.grads, bytes);
    memset(x.grads, 0x7f, bytes);
    model_backward(x.m, x.params, &x.b, x.w, 0.5f, ones, NULL, x.grads);
    assert_memory_equal(once, x.grads, bytes);
    memset(once, 0, bytes);
    memset(x.grads, 0x7f, bytes);
    model_backward(x.m, x.params, &x.b, x.w, 0.0f, NULL, NULL, x.grads);
    util_expect_near("not counted", x.grads, once, x.m->n_params, 0.0);
    memset(x.b.counted, 0, N);
    memset(x.grads, 0x7f, bytes);
    model_backward(x.m, x.params, &x.b, x.w, 1.0f, NULL, NULL, x.grads);
    util_expect_near("masked", x.grads, once, x.m->n_params, 0.0);
    free(once);
    bench_release(&x);
}

static void gradients_are_new_tied(void **state)
{
    (void)state;
    gradients_are_new(true);
}

static void gradients_are_new_untied(void **state)
{
    (void)state;
    gradients_are_new(false);
}

/* --- PyTorch's numbers -------------------------------------------------- */

static void read_floats(FILE *f, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        assert_int_equal(fscanf(f, "%f", &x[i]), 1);
}

static void all_logits(const struct bench *x, float *logits)
{
    ops_fast->linear(logits, model_states(x->w), x->params + x->m->lm_head, N,
                     (size_t)x->m->shape.dim, V, 0);
}

/* Reads each segment again with a cache, at once. */
static void check_extend(const struct bench *x, const float *want)
{
    struct frozen *f = frozen_create(x->m, false);
    struct frozen_work *w = frozen_work_create(f, N);
    float *cache = xfloats(frozen_cache_floats(f)), logits[V];

    for (size_t i = 0; i < x->m->n_tensors; i++)
        frozen_set_tensor(f, &x->m->tensors[i],
                          x->params + x->m->tensors[i].offset);
    for (size_t s = 0; s < x->b.n_segments; s++) {
        size_t from = x->b.starts[s], t = x->b.starts[s + 1] - from;

        frozen_extend(f, cache, 0, x->b.inputs + from, t, w, NULL, 0, logits);
        util_expect_near("extend", logits, want + (from + t - 1) * V, V, 2e-5);
    }
    free(cache);
    frozen_work_free(w);
    frozen_free(f);
}

/* AdamW as in the reference, in plain loops. */
static void update(struct bench *x, float *m, float *v, int step)
{
    double c1 = 1.0 - pow(0.9, step), c2 = 1.0 - pow(0.99, step);

    for (size_t i = 0; i < x->m->n_tensors; i++) {
        const struct model_tensor *t = &x->m->tensors[i];
        double decay = t->decays ? 0.1 : 0.0;

        for (size_t j = t->offset; j < t->offset + t->count; j++) {
            double g = x->grads[j], p = x->params[j];

            m[j] = (float)(0.9 * m[j] + 0.1 * g);
            v[j] = (float)(0.99 * v[j] + 0.01 * g * g);
            p -= 0.01 * (m[j] / c1 / (sqrt(v[j] / c2) + 1e-8) + decay * p);
            x->params[j] = (float)p;
        }
    }
}

static double mean_loss(const struct bench *x, size_t *counted)
{
    double sum = 0.0;

    *counted = 0;
    for (size_t i = 0; i < N; i++) {
        if (x->b.counted[i]) {
            sum += x->loss[i];
            ++*counted;
        }
    }
    return sum / (double)*counted;
}

static void check_steps(struct bench *x, const float *want)
{
    float *m = xfloats(x->m->n_params), *v = xfloats(x->m->n_params);

    for (int step = 1; step <= 10; step++) {
        size_t counted;
        float loss;

        model_forward(x->m, x->params, &x->b, x->w, x->loss);
        loss = (float)mean_loss(x, &counted);
        util_expect_near("loss of a step", &loss, &want[step - 1], 1, 2e-5);
        model_backward(x->m, x->params, &x->b, x->w, 1.0f / (float)counted,
                       NULL, NULL, x->grads);
        update(x, m, v, step);
    }
    free(m);
    free(v);
}

static void as_pytorch(void **state)
{
    const char *dir = getenv("top_srcdir");
    char path[512];
    int qk_norm, tied, n_cases = 0;
    size_t n_params;
    FILE *f;

    (void)state;
    snprintf(path, sizeof path, "%s/tests/data/model_reference.txt",
             dir ? dir : TOP_SRCDIR);
    f = fopen(path, "r");
    assert_non_null(f);
    while (fscanf(f, " case %d %d %zu", &qk_norm, &tied, &n_params) == 3) {
        float want[N * V], logits[N * V], losses[10];
        struct bench x;

        read_floats(f, want, N * V);
        read_floats(f, losses, 10);
        bench_init(&x, qk_norm, tied);
        assert_int_equal(x.m->n_params, n_params);
        model_forward(x.m, x.params, &x.b, x.w, x.loss);
        all_logits(&x, logits);
        util_expect_near("logits", logits, want, N * V, 1e-5);
        check_extend(&x, want);
        check_steps(&x, losses);
        bench_release(&x);
        n_cases++;
    }
    fclose(f);
    assert_int_equal(n_cases, 4);
}

/* --- passes ------------------------------------------------------------- */

/* A segment's results do not depend on the batch's other segments. */
static void segments_are_apart(void **state)
{
    struct bench x;
    float loss[N];

    (void)state;
    bench_init(&x, true, true);
    model_forward(x.m, x.params, &x.b, x.w, x.loss);
    for (size_t s = 0; s < 3; s++) {
        size_t from = x.b.starts[s], t = x.b.starts[s + 1] - from;
        token_id tokens[9];
        struct segment seg = {.tokens = tokens, .n_tokens = (uint32_t)t};
        struct batch one = {0};

        memcpy(tokens, x.b.inputs + from, t * sizeof *tokens);
        tokens[t] = x.b.targets[from + t - 1];
        batch_add(&one, &seg);
        model_forward(x.m, x.params, &one, x.w, loss);
        util_expect_near("alone", loss, x.loss + from, t, 2e-6);
        batch_release(&one);
    }
    bench_release(&x);
}

/* Growing the working memory changes no bit. */
static void work_grows(void **state)
{
    struct bench x;
    struct model_work *small;
    float loss[N], *grads;
    size_t n_bytes;

    (void)state;
    bench_init(&x, true, false);
    n_bytes = x.m->n_params * sizeof *grads;
    grads = xfloats(x.m->n_params);
    small = model_work_create(x.m, 1);
    assert_true(model_work_bytes(x.m, 1) < model_work_bytes(x.m, N));
    model_forward(x.m, x.params, &x.b, x.w, x.loss);
    model_backward(x.m, x.params, &x.b, x.w, 1.0f, NULL, NULL, x.grads);
    for (int i = 0; i < 2; i++) {
        model_forward(x.m, x.params, &x.b, small, loss);
        model_backward(x.m, x.params, &x.b, small, 1.0f, NULL, NULL, grads);
        assert_memory_equal(loss, x.loss, sizeof loss);
        assert_memory_equal(grads, x.grads, n_bytes);
    }
    model_work_free(small);
    free(grads);
    bench_release(&x);
}

/* Without a loss array the backward pass still works. */
static void loss_may_be_left_out(void **state)
{
    struct bench x;
    float *grads;

    (void)state;
    bench_init(&x, false, true);
    grads = xfloats(x.m->n_params);
    model_forward(x.m, x.params, &x.b, x.w, x.loss);
    model_backward(x.m, x.params, &x.b, x.w, 1.0f, NULL, NULL, x.grads);
    model_forward(x.m, x.params, &x.b, x.w, NULL);
    model_backward(x.m, x.params, &x.b, x.w, 1.0f, NULL, NULL, grads);
    assert_memory_equal(grads, x.grads, x.m->n_params * sizeof *grads);
    free(grads);
    bench_release(&x);
}

static void add_run(struct batch *b, uint32_t n_tokens, uint32_t first)
{
    token_id *tokens = xcalloc(n_tokens + 1, sizeof *tokens);
    struct segment s = {.tokens = tokens, .n_tokens = n_tokens};

    for (uint32_t i = 0; i <= n_tokens; i++)
        tokens[i] = (token_id)(first + 211 * i);
    batch_add(b, &s);
    free(tokens);
}

/* 300 rows of 65,536 probabilities are more than one chunk. Losses, gradients
 * and sampled targets must equal those of the two halves. */
static void large_vocabulary_goes_in_chunks(void **state)
{
    struct model_shape shape = {.vocab_size = 65536,
                                .dim = 2,
                                .layers = 1,
                                .heads = 1,
                                .kv_heads = 1,
                                .head_dim = 2,
                                .ffn_dim = 2,
                                .context = 150,
                                .norm_eps = 1e-5f,
                                .rope_theta = 10000.0f,
                                .tied = true};
    struct batch whole = {0}, half = {0};
    struct model_work *w;
    struct model *m;
    float *params, *grads, *part, *sum, loss[300], apart[300];

    (void)state;
    assert_int_equal(model_create(&shape, &m, NULL), 0);
    w = model_work_create(m, 300);
    params = xfloats(m->n_params);
    grads = xfloats(m->n_params);
    part = xfloats(m->n_params);
    sum = xfloats(m->n_params);
    set_formula(m, params);
    add_run(&whole, 150, 5);
    add_run(&whole, 150, 77);
    model_forward(m, params, &whole, w, loss);
    model_backward(m, params, &whole, w, 1.0f, NULL, NULL, grads);
    for (uint32_t i = 0; i < 2; i++) {
        batch_clear(&half);
        add_run(&half, 150, i ? 77 : 5);
        model_forward(m, params, &half, w, apart + 150 * i);
        model_backward(m, params, &half, w, 1.0f, NULL, NULL, part);
        for (size_t j = 0; j < m->n_params; j++)
            sum[j] += part[j];
    }
    util_expect_near("loss", loss, apart, 300, 1e-5);
    util_expect_near("gradient", grads, sum, m->n_params, 1e-4);
    batch_release(&whole);
    batch_release(&half);
    model_work_free(w);
    model_free(m);
    free(params);
    free(grads);
    free(part);
    free(sum);
}

struct racer {
    struct bench *x;
    struct model_work *w;
    float *params, *grads, loss[N];
};

static void *race(void *arg)
{
    struct racer *r = arg;

    for (int i = 0; i < 20; i++) {
        model_forward(r->x->m, r->params, &r->x->b, r->w, r->loss);
        model_backward(r->x->m, r->params, &r->x->b, r->w, 1.0f, NULL, NULL,
                       r->grads);
    }
    return NULL;
}

/* The bytes are the same alone, beside another thread, and with the parameters
 * at another alignment. */
static void threads_change_nothing(void **state)
{
    struct bench x;
    struct racer r[2];
    pthread_t other;
    float *moved;
    size_t n_bytes;

    (void)state;
    bench_init(&x, true, true);
    n_bytes = x.m->n_params * sizeof *x.params;
    moved = xfloats(x.m->n_params + 3);
    memcpy(moved + 3, x.params, n_bytes);
    for (int i = 0; i < 2; i++) {
        r[i].x = &x;
        r[i].w = model_work_create(x.m, N);
        r[i].params = i ? moved + 3 : x.params;
        r[i].grads = xfloats(x.m->n_params);
    }
    model_forward(x.m, x.params, &x.b, x.w, x.loss);
    model_backward(x.m, x.params, &x.b, x.w, 1.0f, NULL, NULL, x.grads);
    assert_int_equal(pthread_create(&other, NULL, race, &r[1]), 0);
    race(&r[0]);
    pthread_join(other, NULL);
    for (int i = 0; i < 2; i++) {
        assert_memory_equal(r[i].loss, x.loss, sizeof x.loss);
        assert_memory_equal(r[i].grads, x.grads, n_bytes);
        model_work_free(r[i].w);
        free(r[i].grads);
    }
    free(moved);
    bench_release(&x);
}

/* --- shapes and birth --------------------------------------------------- */

static void birth_is_a_function_of_the_seed(void **state)
{
    struct bench x;
    float *again;
    size_t n_bytes;
    double squares = 0.0;

    (void)state;
    bench_init(&x, true, true);
    n_bytes = x.m->n_params * sizeof *again;
    again = xfloats(x.m->n_params);
    model_init_params(x.m, 42, x.params);
    model_init_params(x.m, 42, again);
    assert_memory_equal(x.params, again, n_bytes);
    model_init_params(x.m, 43, again);
    assert_memory_not_equal(x.params, again, n_bytes);
    for (size_t i = 0; i < 12; i++) {
        assert_true(x.params[x.m->layers[1].attn_norm + i] == 1.0f);
        assert_true(x.params[x.m->layers[1].o + i] == 0.0f);
        assert_true(x.params[x.m->layers[0].down + i] == 0.0f);
    }
    for (size_t i = 0; i < V * 12; i++)
        squares += (double)x.params[i] * x.params[i];
    assert_true(fabs(sqrt(squares / (V * 12)) - 0.02) < 0.002);
    free(again);
    bench_release(&x);
}

static void tensors_fill_the_block(void **state)
{
    struct bench x;
    size_t at = 0;

    (void)state;
    bench_init(&x, true, false);
    for (size_t i = 0; i < x.m->n_tensors; i++) {
        const struct model_tensor *t = &x.m->tensors[i];

        assert_int_equal(t->offset, at);
        assert_int_equal(t->count,
                         t->shape[0] * (t->n_dims == 2 ? t->shape[1] : 1));
        assert_int_equal(t->decays, t->n_dims == 2);
        at += t->count;
    }
    assert_int_equal(at, x.m->n_params);
    assert_int_equal(x.m->n_tensors, 3 + 2 * 11);
    assert_string_equal(x.m->tensors[0].name, "model.embed_tokens.weight");
    assert_string_equal(x.m->tensors[13].name,
                        "model.layers.1.self_attn.q_proj.weight");
    assert_string_equal(x.m->tensors[24].name, "lm_head.weight");
    bench_release(&x);
}

static void presets_exist(void **state)
{
    static const struct {
        const char *name;
        size_t n_params; /* without the embedding */
    } want[] = {{"nano", 332448},
                {"tiny", 984448},
                {"small", 2754816},
                {"base", 7622720},
                {"large", 25174528}};
    struct model_shape shape;
    struct err err = ERR_INIT;

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        struct model *m;

        assert_int_equal(model_preset(want[i].name, &shape, NULL), 0);
        shape.vocab_size = 300;
        assert_int_equal(model_create(&shape, &m, NULL), 0);
        assert_int_equal(m->n_params - 300 * (size_t)shape.dim,
                         want[i].n_params);
        model_free(m);
    }
    assert_int_equal(model_preset("huge", &shape, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "huge"));
    model_free(NULL);
    model_work_free(NULL);
}

static void malformed_shapes_are_refused(void **state)
{
    static const struct {
        size_t field; /* offset in struct model_shape */
        int value;
        const char *says;
    } wrong[] = {
#define F(name) offsetof(struct model_shape, name)
        {F(vocab_size), 1, "vocab_size"},
        {F(vocab_size), MODEL_MAX_VOCAB + 1, "vocab_size"},
        {F(dim), 0, "dim"},
        {F(dim), 8193, "dim"},
        {F(layers), 0, "layers"},
        {F(layers), 129, "layers"},
        {F(heads), 0, "heads"},
        {F(heads), 1 << 30, "heads"},
        {F(kv_heads), 0, "kv_heads"},
        {F(kv_heads), 2, "kv_heads"},
        {F(kv_heads), 6, "kv_heads"},
        {F(head_dim), 5, "head_dim"},
        {F(head_dim), -2, "head_dim"},
        {F(head_dim), 4096, "head_dim"},
        {F(ffn_dim), 0, "ffn_dim"},
        {F(ffn_dim), 65537, "ffn_dim"},
        {F(context), 0, "context"},
        {F(context), 8193, "context"},
#undef F
    };
    struct model_shape s = odd_shape(false, true);
    struct model *m = NULL;
    struct err err;

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        s = odd_shape(false, true);
        memcpy((char *)&s + wrong[i].field, &wrong[i].value, sizeof(int));
        assert_int_equal(model_create(&s, &m, &err), ERR_INVALID);
        assert_non_null(strstr(err.msg, wrong[i].says));
    }
    s = odd_shape(false, true);
    s.norm_eps = NAN;
    assert_int_equal(model_create(&s, &m, &err), ERR_INVALID);
    s = odd_shape(false, true);
    s.rope_theta = INFINITY;
    assert_int_equal(model_create(&s, &m, &err), ERR_INVALID);
    s = odd_shape(false, true);
    s.layers = 128;
    s.dim = 8192;
    s.ffn_dim = 65536;
    assert_int_equal(model_create(&s, &m, &err), ERR_LIMIT);
    assert_null(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_tied),
        cmocka_unit_test(gradients_qk_norm_untied),
        cmocka_unit_test(gradients_with_biases),
        cmocka_unit_test(gradients_are_new_tied),
        cmocka_unit_test(gradients_are_new_untied),
        cmocka_unit_test(as_pytorch),
        cmocka_unit_test(segments_are_apart),
        cmocka_unit_test(work_grows),
        cmocka_unit_test(loss_may_be_left_out),
        cmocka_unit_test(large_vocabulary_goes_in_chunks),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(birth_is_a_function_of_the_seed),
        cmocka_unit_test(tensors_fill_the_block),
        cmocka_unit_test(presets_exist),
        cmocka_unit_test(malformed_shapes_are_refused),
    };

    ops_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
