/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The prefix cache: what it finds against a plain list of what was kept, its
 * limit, and completions with it against completions without.
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
#include "base/xalloc.h"
#include "learner/infer/infer.h"
#include "learner/infer/prefix_cache.h"
#include "tests/util/infer_util.h"

#define CONTEXT 80
#define PLENTY ((size_t)64 << 20)

static struct tensor_list memory; /* of an n-gram memory */

static struct model_shape shape(void)
{
    struct model_shape s = infer_util_shape;

    s.context = CONTEXT;
    return s;
}

/* --- the tree ----------------------------------------------------------- */

#define WINDOWS 150

/* A random model, and every window that was kept. */
struct oracle {
    struct model *model;
    struct frozen *f;
    struct frozen_work *w;
    float *cache, *want, *losses;
    token_id ids[WINDOWS][CONTEXT];
    size_t n[WINDOWS], n_windows;
};

static void oracle_create(struct oracle *o)
{
    struct model_shape s = shape();

    memset(o, 0, sizeof *o);
    assert_int_equal(model_create(&s, &o->model, NULL), 0);
    o->f = frozen_create(o->model, false);
    for (size_t i = 0; i < o->model->n_tensors; i++)
        frozen_set_tensor(o->f, &o->model->tensors[i],
                          infer_fix.params + o->model->tensors[i].offset);
    o->w = frozen_work_create(o->f, CONTEXT);
    o->cache = xfloats(frozen_cache_floats(o->f));
    o->want = xfloats(frozen_cache_floats(o->f));
    o->losses = xfloats(CONTEXT);
}

static void oracle_release(struct oracle *o)
{
    free(o->cache);
    free(o->want);
    free(o->losses);
    frozen_work_free(o->w);
    frozen_free(o->f);
    model_free(o->model);
}

/* A window of few different ids, so that many begin alike. It goes on from an
 * earlier one, or has its own beginning. */
static void make_window(struct oracle *o, uint64_t seed)
{
    size_t i = o->n_windows++, n = 1 + rng_u64(seed, 0, 0, i) % CONTEXT;
    size_t k = 0;

    if (i > 0 && rng_u64(seed, 1, 0, i) % 4) {
        size_t from = rng_u64(seed, 2, 0, i) % i;
        size_t most = o->n[from] < n ? o->n[from] : n;

        k = rng_u64(seed, 3, 0, i) % (most + 1);
        memcpy(o->ids[i], o->ids[from], k * sizeof o->ids[i][0]);
    }
    for (; k < n; k++)
        o->ids[i][k] = (token_id)(rng_u64(seed, 4, i, k) % 3);
    o->n[i] = n;
}

/* The longest beginning of window i that an earlier window has. */
static size_t longest_shared(const struct oracle *o, size_t i)
{
    size_t longest = 0;

    for (size_t j = 0; j < i; j++) {
        size_t n = 0;

        while (n < o->n[i] && n < o->n[j] && o->ids[i][n] == o->ids[j][n])
            n++;
        longest = n > longest ? n : longest;
    }
    return longest;
}

static size_t find(struct prefix_tree *t, const token_id *ids, size_t n,
                   float *cache, float *losses)
{
    struct prefix_reading r = {.ids = ids, .n = n};
    size_t found = prefix_tree_find(t, &r, cache, losses, NULL);

    prefix_tree_end(t, &r);
    return found;
}

/* Reads the newest window without and with the tree; the results have the same
 * bits. Returns how many tokens the tree had. */
static size_t check_window(struct oracle *o, struct prefix_tree *t)
{
    size_t i = o->n_windows - 1, n = o->n[i], found, past;
    size_t n_bytes = frozen_cache_floats(o->f) * sizeof(float);
    float want_loss[CONTEXT], loss[CONTEXT], found_loss[CONTEXT];
    float want[UTIL_V], got[UTIL_V];

    frozen_extend(o->f, o->want, 0, o->ids[i], n, o->w, want_loss, n - 1, want);
    memset(o->cache, 0xff, n_bytes); /* NaN */
    found = find(t, o->ids[i], n, o->cache, found_loss);
    assert_true(found <= n);
    for (size_t k = 1; k < found; k++)
        assert_memory_equal(&found_loss[k], &want_loss[k - 1], sizeof(float));
    past = found > 1 ? found - 1 : 0;
    frozen_extend(o->f, o->cache, past, o->ids[i] + past, n - past, o->w, loss,
                  n - past - 1, got);
    assert_memory_equal(got, want, sizeof want);
    assert_memory_equal(loss, want_loss + past,
                        (n - past - 1) * sizeof(float));
    o->losses[0] = 0.0f;
    memcpy(o->losses + 1, want_loss, (n - 1) * sizeof(float));
    prefix_tree_keep(t, o->ids[i], n, o->cache, o->losses);
    return found;
}

static void finds_the_longest_beginning(void **state)
{
    struct infer_figures figures = {0};
    struct prefix_cache *c = prefix_cache_create(PLENTY, &figures);
    struct prefix_tree *t;
    struct oracle o;

    (void)state;
    oracle_create(&o);
    t = prefix_tree_create(c, o.f);
    for (size_t i = 0; i < WINDOWS; i++) {
        make_window(&o, 5);
        assert_int_equal(check_window(&o, t), longest_shared(&o, i));
    }
    assert_true(atomic_load(&figures.prefix_bytes) > 0);
    prefix_tree_free(t);
    assert_int_equal(atomic_load(&figures.prefix_bytes), 0);
    prefix_cache_free(c);
    oracle_release(&o);
}

/* With room for few blocks, or none, every answer stays right. */
static void keeps_its_limit(void **state)
{
    (void)state;
    for (size_t blocks = 0; blocks < 12; blocks++) {
        struct infer_figures figures = {0};
        struct prefix_cache *c;
        struct prefix_tree *t;
        struct oracle o;
        size_t limit, n_found = 0;

        oracle_create(&o);
        limit = blocks * (frozen_block_floats(o.f) * sizeof(float) + 256);
        c = prefix_cache_create(limit, &figures);
        t = prefix_tree_create(c, o.f);
        for (size_t i = 0; i < WINDOWS / 2; i++) {
            size_t found;

            make_window(&o, blocks);
            found = check_window(&o, t);
            assert_true(found <= longest_shared(&o, i));
            assert_true((size_t)atomic_load(&figures.prefix_bytes) <= limit);
            n_found += found;
        }
        assert_int_equal(n_found > 0, blocks > 0);
        prefix_tree_free(t);
        prefix_cache_free(c);
        oracle_release(&o);
    }
}

/* The beginning that is used again and again stays; the others go. */
static void drops_the_oldest(void **state)
{
    struct prefix_cache *c;
    struct prefix_tree *t, *other;
    struct oracle o;
    token_id ids[CONTEXT] = {7, 7, 7};

    (void)state;
    oracle_create(&o);
    c = prefix_cache_create(
        6 * (frozen_block_floats(o.f) * sizeof(float) + 256), NULL);
    t = prefix_tree_create(c, o.f);
    other = prefix_tree_create(c, o.f);
    frozen_extend(o.f, o.cache, 0, ids, CONTEXT, o.w, NULL, 0, NULL);
    prefix_tree_keep(t, ids, 3 * FROZEN_BLOCK, o.cache, NULL);
    prefix_tree_keep(other, ids, FROZEN_BLOCK, o.cache, NULL);
    for (token_id i = 8; i < 20; i++) {
        token_id last[FROZEN_BLOCK] = {i};

        assert_int_equal(find(t, ids, CONTEXT, o.want, NULL),
                         3 * FROZEN_BLOCK);
        prefix_tree_keep(t, last, FROZEN_BLOCK, o.cache, NULL);
    }
    /* The other tree's block was not used for the longest time. */
    assert_int_equal(find(other, ids, CONTEXT, o.want, NULL), 0);
    prefix_tree_free(other);
    prefix_tree_free(t);
    prefix_cache_free(c);
    oracle_release(&o);
}

/* --- waiting ------------------------------------------------------------ */

struct waiter {
    struct prefix_tree *t;
    struct prefix_reading reading;
    float *cache;
    size_t found;
    pthread_barrier_t waits;
    int n_checks, most_checks;
    pthread_t thread;
};

/* The first check tells that the find waits. */
static int check_waiter(void *arg, struct err *err)
{
    struct waiter *w = arg;

    if (w->n_checks++ == 0)
        pthread_barrier_wait(&w->waits);
    return w->n_checks <= w->most_checks ? 0
                                         : err_set(err, ERR_AGAIN, "enough");
}

static void *run_waiter(void *arg)
{
    struct waiter *w = arg;
    struct cancel cancel = {check_waiter, w};

    w->found = prefix_tree_find(w->t, &w->reading, w->cache, NULL, &cancel);
    prefix_tree_end(w->t, &w->reading);
    return NULL;
}

static void waiter_start(struct waiter *w, struct oracle *o,
                         struct prefix_tree *t, const token_id *ids, size_t n)
{
    *w = (struct waiter){.t = t,
                         .reading = {.ids = ids, .n = n},
                         .cache = o->want,
                         .most_checks = 1 << 20};
    assert_int_equal(pthread_barrier_init(&w->waits, NULL, 2), 0);
}

static void waiter_run(struct waiter *w)
{
    assert_int_equal(pthread_create(&w->thread, NULL, run_waiter, w), 0);
    pthread_barrier_wait(&w->waits);
}

static void waiter_join(struct waiter *w)
{
    pthread_join(w->thread, NULL);
    pthread_barrier_destroy(&w->waits);
}

/* A find waits for a reading of the same beginning, and no longer. */
static void waits_for_a_reading(void **state)
{
    struct prefix_cache *c = prefix_cache_create(PLENTY, NULL);
    token_id ids[CONTEXT] = {7, 7, 7}, longer[CONTEXT] = {7, 7, 7};
    struct prefix_reading r = {.ids = ids, .n = 40};
    struct prefix_tree *t;
    struct waiter w;
    struct oracle o;

    (void)state;
    for (size_t i = 30; i < CONTEXT; i++)
        longer[i] = 9;
    oracle_create(&o);
    t = prefix_tree_create(c, o.f);
    frozen_extend(o.f, o.cache, 0, ids, 40, o.w, NULL, 0, NULL);
    assert_int_equal(prefix_tree_find(t, &r, o.want, NULL, NULL), 0);
    /* Fewer tokens than a block, or than half of those being read. */
    assert_int_equal(find(t, ids, FROZEN_BLOCK - 1, o.want, NULL), 0);
    assert_int_equal(find(t, ids, 19, o.want, NULL), 0);

    waiter_start(&w, &o, t, longer, CONTEXT);
    w.most_checks = 1; /* cancelled */
    waiter_run(&w);
    waiter_join(&w);
    assert_int_equal(w.found, 0);

    waiter_start(&w, &o, t, longer, CONTEXT);
    waiter_run(&w);
    prefix_tree_keep(t, ids, 40, o.cache, NULL);
    prefix_tree_end(t, &r);
    prefix_tree_end(t, &r);
    waiter_join(&w);
    assert_int_equal(w.found, 30);
    prefix_tree_free(t);
    prefix_cache_free(c);
    oracle_release(&o);
}

/* --- completions -------------------------------------------------------- */

/* A kind of version. */
struct kind {
    bool int8, ngram;
    int threads;
};

static struct infer *make_infer(const struct kind *k, struct prefix_cache *c,
                                struct infer_figures *figures)
{
    struct infer_options o = {.quantize = k->int8 ? INFER_INT8 : INFER_FLOAT,
                              .pass_threads = k->threads,
                              .figures = figures,
                              .prefixes = c};
    struct model_shape s = shape();
    struct infer *f = NULL;

    assert_int_equal(infer_create(&s, infer_fix.tokenizer, &infer_fix.weights,
                                  &infer_fix.no_head, &infer_fix.no_labels, &o,
                                  &f, NULL),
                     0);
    if (k->ngram)
        assert_int_equal(infer_add_ngram(f, &memory, NULL), 0);
    return f;
}

static struct infer_sampling sampling(uint64_t seed, int max_tokens)
{
    static const struct infer_bias bias = {UTIL_END, -100.0f};
    struct infer_sampling s;

    infer_sampling_default(&s);
    s.max_tokens = max_tokens;
    s.seed = seed;
    s.n_logprobs = 3;
    s.temperature = seed % 3 ? 1.0f : 0.0f;
    s.bias = &bias;
    s.n_bias = 1;
    return s;
}

static struct infer_completion complete(const struct infer *f,
                                        const struct token_list *ids,
                                        uint64_t seed, int max_tokens)
{
    struct infer_sampling s = sampling(seed, max_tokens);
    struct infer_completion c;

    assert_int_equal(infer_complete(f, ids->items, ids->n, &s, NULL, &c, NULL),
                     0);
    return c;
}

/* Both completions have the same bytes. Releases a. */
static void expect_same(struct infer_completion *a,
                        const struct infer_completion *b)
{
    size_t n = a->tokens.n;

    assert_int_equal(n, b->tokens.n);
    assert_memory_equal(a->tokens.items, b->tokens.items,
                        n * sizeof *a->tokens.items);
    assert_memory_equal(a->logprobs, b->logprobs, n * sizeof *a->logprobs);
    for (size_t i = 0; i < 3 * n; i++) {
        assert_int_equal(a->alternatives[i].id, b->alternatives[i].id);
        assert_memory_equal(&a->alternatives[i].logprob,
                            &b->alternatives[i].logprob, sizeof(float));
    }
    infer_completion_release(a);
}

static struct kind kind_of(int i)
{
    return (struct kind){.int8 = i & 1, .ngram = i & 2, .threads = 3};
}

/* A prompt of a random length, which begins like others; sometimes longer than
 * the context. */
static void random_prompt(uint64_t seed, struct token_list *ids)
{
    size_t shared = rng_u64(seed, 0, 0, 0) % 60;
    size_t own = rng_u64(seed, 0, 0, 1) % 50;

    util_prompt_of(util_text, shared, ids);
    for (size_t i = 0; i < own; i++)
        token_list_add(ids, (token_id)(rng_u64(seed / 2, 0, 1, i) % 200));
}

struct stream {
    const struct infer *f, *plain;
    uint64_t seed;
    pthread_t thread;
};

static void *run_stream(void *arg)
{
    const struct stream *s = arg;

    for (uint64_t i = 0; i < 12; i++) {
        struct token_list ids = TOKEN_LIST_INIT;
        uint64_t seed = s->seed * 12 + i;
        int max_tokens = (int)(rng_u64(seed, 0, 2, 0) % 40);
        struct infer_completion a, b;

        random_prompt(seed, &ids);
        a = complete(s->f, &ids, seed, max_tokens);
        b = complete(s->plain, &ids, seed, max_tokens);
        assert_int_equal(b.n_cached, 0);
        expect_same(&a, &b);
        infer_completion_release(&b);
        token_list_release(&ids);
    }
    return NULL;
}

/* Random prompts on several threads, with room for all and for few. */
static void completions_are_the_same(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        struct kind kind = kind_of(i), alone = kind;
        struct infer_figures figures = {0};
        struct prefix_cache *c =
            prefix_cache_create(i < 4 ? PLENTY : 30 << 10, &figures);
        struct infer *f = make_infer(&kind, c, &figures), *plain;
        struct stream streams[4];

        alone.threads = 1;
        plain = make_infer(&alone, NULL, NULL);
        for (uint64_t k = 0; k < 4; k++) {
            streams[k] = (struct stream){f, plain, k, 0};
            assert_int_equal(pthread_create(&streams[k].thread, NULL,
                                            run_stream, &streams[k]),
                             0);
        }
        for (int k = 0; k < 4; k++)
            pthread_join(streams[k].thread, NULL);
        assert_true(atomic_load(&figures.prefix_tokens) > 0);
        assert_true(atomic_load(&figures.prompt_tokens) >
                    atomic_load(&figures.prefix_tokens));
        infer_free(f);
        infer_free(plain);
        assert_int_equal(atomic_load(&figures.prefix_bytes), 0);
        prefix_cache_free(c);
    }
}

/* A chat that grows by a turn finds the turns before it, with the answers. */
static void chats_grow(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct kind kind = kind_of(i);
        struct prefix_cache *c = prefix_cache_create(PLENTY, NULL);
        struct infer *f = make_infer(&kind, c, NULL);
        struct infer *plain = make_infer(&kind, NULL, NULL);
        struct token_list chat = TOKEN_LIST_INIT;
        size_t known = 0;

        util_prompt_of("You are terse.\n", 15, &chat);
        for (uint64_t turn = 0; turn < 4; turn++) {
            struct infer_completion a, b;

            util_prompt_of("Why so?\n", 8, &chat);
            a = complete(f, &chat, turn, 8);
            b = complete(plain, &chat, turn, 8);
            assert_int_equal(a.n_cached, known);
            /* The last one was not read, and the one before is read again. */
            known = chat.n + a.tokens.n - 2;
            for (size_t k = 0; k < a.tokens.n; k++)
                token_list_add(&chat, a.tokens.items[k]);
            expect_same(&a, &b);
            infer_completion_release(&b);
        }
        token_list_release(&chat);
        infer_free(f);
        infer_free(plain);
        prefix_cache_free(c);
    }
}

/* Further choices of a prompt read one token of it, and one pass for each of
 * their own. */
static void choices_share_the_prompt(void **state)
{
    struct infer_figures figures = {0};
    struct prefix_cache *c = prefix_cache_create(PLENTY, &figures);
    struct kind kind = {.threads = 1};
    struct infer *f = make_infer(&kind, c, &figures);
    struct token_list ids = TOKEN_LIST_INIT;

    (void)state;
    util_prompt_of(util_text, 45, &ids);
    for (uint64_t seed = 1; seed < 4; seed++) {
        long long before = atomic_load(&figures.pass_tokens);
        struct infer_completion a = complete(f, &ids, seed, 5);

        assert_int_equal(a.n_cached, seed > 1 ? ids.n - 1 : 0);
        assert_int_equal(atomic_load(&figures.pass_tokens) - before,
                         seed > 1 ? 5 : ids.n + 5);
        infer_completion_release(&a);
    }
    assert_int_equal(atomic_load(&figures.prompt_tokens), 3 * ids.n);
    assert_int_equal(atomic_load(&figures.prefix_tokens), 2 * (ids.n - 1));
    token_list_release(&ids);
    infer_free(f);
    prefix_cache_free(c);
}

struct same {
    const struct infer *f;
    const struct token_list *ids;
    pthread_t thread;
};

static void *run_same(void *arg)
{
    const struct same *s = arg;
    struct infer_completion c = complete(s->f, s->ids, 1, 5);

    infer_completion_release(&c);
    return NULL;
}

/* Threads that send the same new prompt at the same time read it once. */
static void reads_at_the_same_time(void **state)
{
    struct infer_figures figures = {0};
    struct prefix_cache *c = prefix_cache_create(PLENTY, &figures);
    struct kind kind = {.ngram = true, .threads = 2};
    struct infer *f = make_infer(&kind, c, &figures);
    struct token_list ids = TOKEN_LIST_INIT;
    struct same same[6];

    (void)state;
    util_prompt_of(util_text, 45, &ids);
    for (size_t i = 0; i < 6; i++) {
        same[i] = (struct same){f, &ids, 0};
        assert_int_equal(
            pthread_create(&same[i].thread, NULL, run_same, &same[i]), 0);
    }
    for (size_t i = 0; i < 6; i++)
        pthread_join(same[i].thread, NULL);
    assert_int_equal(atomic_load(&figures.prefix_tokens), 5 * (ids.n - 1));
    assert_int_equal(atomic_load(&figures.pass_tokens), ids.n + 6 * 5);
    token_list_release(&ids);
    infer_free(f);
    prefix_cache_free(c);
}

/* Two versions share a cache, but no keys and values. */
static void versions_do_not_mix(void **state)
{
    struct prefix_cache *c = prefix_cache_create(PLENTY, NULL);
    struct kind kind = {.threads = 1}, bytes = {.int8 = true, .threads = 1};
    struct infer *f = make_infer(&kind, c, NULL);
    struct infer *other = make_infer(&bytes, c, NULL);
    struct infer *plain = make_infer(&bytes, NULL, NULL);
    struct token_list ids = TOKEN_LIST_INIT;
    struct infer_completion a, b;

    (void)state;
    util_prompt_of(util_text, 50, &ids);
    a = complete(f, &ids, 1, 10);
    infer_completion_release(&a);
    a = complete(other, &ids, 1, 10);
    b = complete(plain, &ids, 1, 10);
    assert_int_equal(a.n_cached, 0);
    expect_same(&a, &b);
    infer_free(f);
    a = complete(other, &ids, 1, 10);
    assert_int_equal(a.n_cached, ids.n - 1);
    expect_same(&a, &b);
    infer_completion_release(&b);
    token_list_release(&ids);
    infer_free(other);
    infer_free(plain);
    prefix_cache_free(c);
}

static int setup(void **state)
{
    int rc = util_setup(state);

    if (rc == 0)
        util_make_memory(&memory);
    return rc;
}

static int teardown(void **state)
{
    tensor_list_release(&memory);
    return util_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_longest_beginning),
        cmocka_unit_test(keeps_its_limit),
        cmocka_unit_test(drops_the_oldest),
        cmocka_unit_test(waits_for_a_reading),
        cmocka_unit_test(completions_are_the_same),
        cmocka_unit_test(chats_grow),
        cmocka_unit_test(choices_share_the_prompt),
        cmocka_unit_test(reads_at_the_same_time),
        cmocka_unit_test(versions_do_not_mix),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
