/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Generations in shared passes against the same generations alone; the rounds,
 * by their count; cancellation.
 */
#include "config.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "learner/infer/infer.h"
#include "learner/infer/shared_pass.h"
#include "tests/util/infer_util.h"

#define N_STREAMS 7
#define N_TOKENS 40

/* --- completions -------------------------------------------------------- */

struct stream {
    const struct infer *f;
    size_t i;
    struct infer_completion c;
    pthread_t thread;
};

/* Streams differ in their prompt, length and every setting. */
static void complete(struct stream *s)
{
    struct infer_sampling o;
    struct infer_bias bias = {UTIL_END, -100.0f};
    struct token_list ids = TOKEN_LIST_INIT;

    infer_sampling_default(&o);
    o.max_tokens = N_TOKENS - (int)s->i;
    o.seed = s->i;
    o.n_logprobs = 2;
    o.temperature = s->i % 3 ? 1.0f : 0.0f;
    o.frequency_penalty = s->i % 2 ? 0.5f : 0.0f;
    o.bias = &bias;
    o.n_bias = 1;
    util_prompt_of(util_text + s->i, 5 * s->i, &ids);
    assert_int_equal(
        infer_complete(s->f, ids.items, ids.n, &o, NULL, &s->c, NULL), 0);
    token_list_release(&ids);
}

static void *run_stream(void *arg)
{
    complete(arg);
    return NULL;
}

static void expect_same(const struct infer_completion *a,
                        const struct infer_completion *b)
{
    size_t n = a->tokens.n;

    assert_int_equal(n, b->tokens.n);
    assert_memory_equal(a->tokens.items, b->tokens.items,
                        n * sizeof *a->tokens.items);
    assert_memory_equal(a->logprobs, b->logprobs, n * sizeof *a->logprobs);
    for (size_t i = 0; i < 2 * n; i++) {
        assert_int_equal(a->alternatives[i].id, b->alternatives[i].id);
        assert_memory_equal(&a->alternatives[i].logprob,
                            &b->alternatives[i].logprob, sizeof(float));
    }
}

static struct infer *make_infer(enum infer_quantize quantize, int threads,
                                struct infer_figures *figures)
{
    struct infer_options o = {.quantize = quantize,
                              .pass_threads = threads,
                              .figures = figures};
    struct infer *f = NULL;

    assert_int_equal(infer_create(&infer_util_shape, infer_fix.tokenizer,
                                  &infer_fix.weights, &infer_fix.no_head,
                                  &infer_fix.no_labels, &o, &f, NULL),
                     0);
    return f;
}

/* Float and int8; with one thread for a pass, and with three; without and with
 * an n-gram memory. */
static void test_same_as_alone(void **state)
{
    struct tensor_list memory = TENSOR_LIST_INIT;

    (void)state;
    util_make_memory(&memory);
    for (int k = 0; k < 8; k++) {
        enum infer_quantize quantize = k % 2 ? INFER_INT8 : INFER_FLOAT;
        struct infer_figures figures = {0};
        struct infer *f = make_infer(quantize, k / 2 % 2 ? 3 : 1, &figures);
        struct infer *alone = make_infer(quantize, 1, NULL);
        struct stream streams[N_STREAMS] = {0}, want[N_STREAMS] = {0};

        if (k >= 4) {
            assert_int_equal(infer_add_ngram(f, &memory, NULL), 0);
            assert_int_equal(infer_add_ngram(alone, &memory, NULL), 0);
        }

        for (size_t i = 0; i < N_STREAMS; i++) {
            streams[i] = (struct stream){.f = f, .i = i};
            want[i] = (struct stream){.f = alone, .i = i};
            complete(&want[i]);
        }
        for (size_t i = 0; i < N_STREAMS; i++)
            assert_int_equal(pthread_create(&streams[i].thread, NULL,
                                            run_stream, &streams[i]),
                             0);
        for (size_t i = 0; i < N_STREAMS; i++) {
            pthread_join(streams[i].thread, NULL);
            expect_same(&streams[i].c, &want[i].c);
            infer_completion_release(&streams[i].c);
            infer_completion_release(&want[i].c);
        }
        assert_true(atomic_load(&figures.passes) > 0);
        assert_true(atomic_load(&figures.pass_requests) >=
                    atomic_load(&figures.passes));
        infer_free(f);
        infer_free(alone);
    }
    tensor_list_release(&memory);
}

/* --- cancellation ------------------------------------------------------- */

struct countdown {
    int left, n_tokens;
};

static int count_down(void *arg, struct err *err)
{
    struct countdown *c = arg;

    return c->left-- > 0 ? 0 : err_set(err, ERR_AGAIN, "enough");
}

static bool count_token(const struct infer_token *token, void *arg)
{
    (void)token;
    ((struct countdown *)arg)->n_tokens++;
    return false;
}

/* A cancelled completion gets no further token, and the others go on. */
static void test_cancel(void **state)
{
    struct infer *f = make_infer(INFER_FLOAT, 2, NULL);
    struct stream other = {.f = f, .i = 4}, want = {.f = f, .i = 4};
    struct countdown c = {.left = 5};
    struct cancel cancel = {count_down, &c};
    struct infer_listener listener = {count_token, &c, &cancel};
    struct infer_bias bias = {UTIL_END, -100.0f};
    struct infer_sampling o = util_greedy(N_TOKENS);
    struct infer_completion none;
    struct err err = ERR_INIT;

    (void)state;
    o.bias = &bias;
    o.n_bias = 1;
    complete(&want);
    assert_int_equal(pthread_create(&other.thread, NULL, run_stream, &other),
                     0);
    assert_int_equal(infer_complete(f, NULL, 0, &o, &listener, &none, &err),
                     ERR_AGAIN);
    assert_int_equal(c.n_tokens, 5);
    pthread_join(other.thread, NULL);
    expect_same(&other.c, &want.c);
    infer_completion_release(&other.c);
    infer_completion_release(&want.c);
    infer_free(f);
}

/* --- rounds ------------------------------------------------------------- */

#define CONTEXT 320
#define PROMPT 300

/* A model of its own, whose context is longer than a round's prompt tokens. */
struct rounds {
    struct model *model;
    struct frozen *f;
    struct shared_pass *p;
    struct infer_figures figures;
    pthread_barrier_t joined;
};

static void rounds_create(struct rounds *x, unsigned n_streams, int threads,
                          int64_t patience_ms)
{
    struct model_shape shape = infer_util_shape;

    memset(x, 0, sizeof *x);
    shape.context = CONTEXT;
    assert_int_equal(model_create(&shape, &x->model, NULL), 0);
    x->f = frozen_create(x->model, false);
    for (size_t i = 0; i < x->model->n_tensors; i++) {
        const struct model_tensor *t = &x->model->tensors[i];
        float *data = xfloats(t->count);

        for (size_t j = 0; j < t->count; j++)
            data[j] = 0.3f * (float)rng_normal(3, RNG_INIT, i, j);
        frozen_set_tensor(x->f, t, data);
        free(data);
    }
    x->p = shared_pass_create(x->f, threads, patience_ms, &x->figures);
    assert_int_equal(pthread_barrier_init(&x->joined, NULL, n_streams), 0);
}

static void rounds_release(struct rounds *x)
{
    pthread_barrier_destroy(&x->joined);
    shared_pass_free(x->p);
    frozen_free(x->f);
    model_free(x->model);
}

/* Reads n tokens: all at once, as a prompt, or one after the other. */
struct reader {
    struct rounds *x;
    size_t i, n;
    bool at_once;
    pthread_t thread;
    float *cache, *loss, logits[UTIL_V];
    token_id ids[CONTEXT + 1];
};

static void *run_reader(void *arg)
{
    struct shared_pass_member member;
    struct reader *r = arg;
    struct frozen_part part = {.cache = r->cache,
                               .tokens = r->ids,
                               .n_new = r->at_once ? r->n : 1,
                               .loss = r->loss,
                               .n_losses = r->at_once ? r->n : 0,
                               .logits = r->logits};

    shared_pass_join(r->x->p, &member);
    pthread_barrier_wait(&r->x->joined);
    for (; part.n_past < r->n; part.n_past += part.n_new, part.tokens++)
        shared_pass_extend(r->x->p, &member, &part);
    shared_pass_leave(r->x->p, &member);
    return NULL;
}

static void check_alone(const struct reader *r)
{
    const struct frozen *f = r->x->f;
    struct frozen_work *w = frozen_work_create(f, r->n);
    float *cache = xfloats(frozen_cache_floats(f)), *loss = xfloats(r->n);
    float logits[UTIL_V];

    frozen_extend(f, cache, 0, r->ids, r->n, w, loss, r->n, logits);
    assert_memory_equal(logits, r->logits, sizeof logits);
    if (r->at_once)
        assert_memory_equal(loss, r->loss, r->n * sizeof *loss);
    free(cache);
    free(loss);
    frozen_work_free(w);
}

/* Runs n readers, and checks each against a pass of its own. */
static void run_readers(struct rounds *x, struct reader *readers, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct reader *r = &readers[i];

        r->x = x;
        r->i = i;
        r->cache = xfloats(frozen_cache_floats(x->f));
        r->loss = xfloats(r->n);
        for (size_t j = 0; j <= r->n; j++)
            r->ids[j] = (token_id)(rng_u64(i, RNG_SAMPLE, 0, j) % UTIL_V);
        assert_int_equal(
            pthread_create(&r->thread, NULL, run_reader, r), 0);
    }
    for (size_t i = 0; i < n; i++) {
        pthread_join(readers[i].thread, NULL);
        check_alone(&readers[i]);
        free(readers[i].cache);
        free(readers[i].loss);
    }
}

/* Every stream advances by one token in each round; one that has ended does not
 * hold up the others. */
static void test_fair(void **state)
{
    for (int threads = 1; threads <= 3; threads++) {
        struct reader readers[6] = {0};
        struct rounds x;
        size_t n_all = 0;

        (void)state;
        rounds_create(&x, 6, threads, -1);
        for (size_t i = 0; i < 6; i++) {
            readers[i].n = 10 * (i + 1);
            n_all += readers[i].n;
        }
        run_readers(&x, readers, 6);
        assert_int_equal(atomic_load(&x.figures.passes), 60);
        assert_int_equal(atomic_load(&x.figures.pass_requests), n_all);
        assert_int_equal(atomic_load(&x.figures.pass_tokens), n_all);
        rounds_release(&x);
    }
}

/* Streams advance in each round while long prompts are read. */
static void test_prompts(void **state)
{
    size_t prompt_rounds =
        (3 * PROMPT + SHARED_PASS_PROMPT - 1) / SHARED_PASS_PROMPT;

    for (int threads = 1; threads <= 3; threads++) {
        struct reader readers[5] = {0};
        struct rounds x;

        (void)state;
        rounds_create(&x, 5, threads, -1);
        for (size_t i = 0; i < 3; i++) {
            readers[i].n = PROMPT;
            readers[i].at_once = true;
        }
        readers[3].n = prompt_rounds;
        readers[4].n = prompt_rounds + 10;
        run_readers(&x, readers, 5);
        assert_int_equal(atomic_load(&x.figures.passes), prompt_rounds + 10);
        assert_int_equal(atomic_load(&x.figures.pass_tokens),
                         3 * PROMPT + 2 * prompt_rounds + 10);
        rounds_release(&x);
    }
}

#define HOUR_MS 3600000

/* A generation that reads one token after the other. */
struct walker {
    struct rounds *x;
    struct shared_pass_member member;
    struct frozen_part part;
    float *cache, logits[UTIL_V];
    token_id ids[CONTEXT];
};

static void walker_join(struct walker *k, struct rounds *x)
{
    memset(k, 0, sizeof *k);
    k->x = x;
    k->cache = xfloats(frozen_cache_floats(x->f));
    k->part = (struct frozen_part){.cache = k->cache,
                                   .tokens = k->ids,
                                   .n_new = 1,
                                   .logits = k->logits};
    shared_pass_join(x->p, &k->member);
}

static void walk(struct walker *k)
{
    shared_pass_extend(k->x->p, &k->member, &k->part);
    k->part.n_past++;
}

static void walker_leave(struct walker *k)
{
    shared_pass_leave(k->x->p, &k->member);
    free(k->cache);
}

static void *run_blocked(void *arg)
{
    struct walker *k = arg;

    walk(k);
    pthread_barrier_wait(&k->x->joined); /* two hours pass */
    walk(k);
    pthread_barrier_wait(&k->x->joined); /* the other one goes on */
    walk(k);
    walker_leave(k);
    return NULL;
}

/* A generation that was late for a token is not waited for again. The patience
 * is an hour, so waiting would take one. */
static void test_late(void **state)
{
    static _Atomic int64_t now = 1;
    struct walker blocked, other;
    struct rounds x;
    pthread_t thread;

    (void)state;
    timing_set_fake(&now);
    rounds_create(&x, 2, 1, HOUR_MS);
    walker_join(&blocked, &x);
    walker_join(&other, &x);
    assert_int_equal(pthread_create(&thread, NULL, run_blocked, &blocked), 0);
    walk(&other);
    now += 2 * HOUR_MS;
    pthread_barrier_wait(&x.joined);
    walk(&other);
    assert_int_equal(atomic_load(&x.figures.passes), 2);
    for (int i = 0; i < 20; i++)
        walk(&other);
    walker_leave(&other);
    pthread_barrier_wait(&x.joined);
    pthread_join(thread, NULL);
    assert_int_equal(atomic_load(&x.figures.passes), 2 + 20 + 1);
    assert_int_equal(atomic_load(&x.figures.pass_requests), 4 + 20 + 1);
    rounds_release(&x);
    timing_set_fake(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_as_alone),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_fair),
        cmocka_unit_test(test_prompts),
        cmocka_unit_test(test_late),
    };

    return cmocka_run_group_tests(tests, util_setup, util_teardown);
}
