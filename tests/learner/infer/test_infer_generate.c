/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Generation with its cache against the model without one, and the end of a
 * generation.
 */
#include "config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/utf8.h"
#include "base/xalloc.h"
#include "learner/infer/infer.h"
#include "learner/model.h"
#include "tests/util/infer_util.h"

/* --- generation --------------------------------------------------------- */

/* Generates greedily, with whole forward passes over the windows of infer.h. */
static void greedy_slowly(const token_id *prompt, size_t n, size_t n_new,
                          struct token_list *out)
{
    struct token_list all = TOKEN_LIST_INIT;
    size_t first;

    token_list_add(&all, UTIL_END);
    for (size_t i = 0; i < n; i++)
        token_list_add(&all, prompt[i]);
    first = all.n > UTIL_CONTEXT ? all.n - UTIL_CONTEXT : 0;
    while (out->n < n_new) {
        float logits[UTIL_V];
        token_id id;

        if (all.n - first > UTIL_CONTEXT)
            first = all.n - UTIL_CONTEXT / 2;
        util_logits_after(all.items + first, all.n - first, logits);
        id = util_most_likely(logits);
        if (id == UTIL_END)
            break;
        token_list_add(&all, id);
        token_list_add(out, id);
    }
    token_list_release(&all);
}

static void expect_same_ids(const struct token_list *a,
                            const struct token_list *b)
{
    assert_int_equal(a->n, b->n);
    for (size_t i = 0; i < a->n; i++)
        assert_int_equal(a->items[i], b->items[i]);
}

/* Prompts that are short, as long as the context, and longer; generating
 * several contexts. */
static void test_greedy(void **state)
{
    static const size_t lengths[] = {0,
                                     1,
                                     5,
                                     UTIL_CONTEXT - 2,
                                     UTIL_CONTEXT - 1,
                                     UTIL_CONTEXT,
                                     UTIL_CONTEXT + 1,
                                     3 * UTIL_CONTEXT};
    size_t longest = 0;

    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct infer_sampling s = util_greedy(4 * UTIL_CONTEXT);
        struct token_list ids = TOKEN_LIST_INIT, slow = TOKEN_LIST_INIT;
        struct infer_completion c;

        util_prompt_of(util_text, lengths[i], &ids);
        greedy_slowly(ids.items, ids.n, 4 * UTIL_CONTEXT, &slow);
        assert_int_equal(infer_complete(infer_fix.infer, ids.items, ids.n, &s,
                                        NULL, &c, NULL),
                         0);
        expect_same_ids(&c.tokens, &slow);
        assert_int_equal(c.stopped, slow.n < 4 * UTIL_CONTEXT);
        longest = slow.n > longest ? slow.n : longest;
        infer_completion_release(&c);
        token_list_release(&ids);
        token_list_release(&slow);
    }
    assert_int_equal(longest, 4 * UTIL_CONTEXT);
}

static void test_own_mark(void **state)
{
    token_id with[] = {UTIL_END, 'a', 'b'};
    struct infer_sampling s = util_greedy(10);
    struct infer_completion a, b;

    (void)state;
    assert_int_equal(
        infer_complete(infer_fix.infer, with, 3, &s, NULL, &a, NULL), 0);
    util_complete(infer_fix.infer, "ab", &s, &b);
    expect_same_ids(&a.tokens, &b.tokens);
    infer_completion_release(&a);
    infer_completion_release(&b);
}

static void test_logprobs(void **state)
{
    enum { K = 3, N = 12 };
    struct token_list all = TOKEN_LIST_INIT;
    struct infer_sampling s = util_greedy(N);
    struct infer_completion c;

    (void)state;
    s.temperature = 2.0f; /* the logprobs ignore the setting */
    s.n_logprobs = K;
    s.seed = 2;
    util_complete(infer_fix.infer, "ab", &s, &c);
    assert_int_equal(c.tokens.n, N);
    token_list_add(&all, UTIL_END);
    util_prompt_of("ab", 2, &all);
    for (size_t i = 0; i < c.tokens.n; i++) {
        const struct infer_alternative *best = c.alternatives + i * K;
        float logits[UTIL_V];

        util_logits_after(all.items, all.n, logits);
        assert_true(fabs((double)c.logprobs[i] -
                         util_logprob(logits, c.tokens.items[i])) < 1e-4);
        assert_int_equal(best[0].id, util_most_likely(logits));
        for (size_t k = 0; k < K; k++)
            assert_true(fabs((double)best[k].logprob -
                             util_logprob(logits, best[k].id)) < 1e-4);
        token_list_add(&all, c.tokens.items[i]);
    }
    token_list_release(&all);
    infer_completion_release(&c);
}

static void test_seeds(void **state)
{
    struct infer_sampling s = util_greedy(40);
    struct infer_completion a, b, other;

    (void)state;
    s.temperature = 1.0f;
    s.top_p = 0.9f;
    s.top_k = 50;
    s.seed = 11;
    util_complete(infer_fix.infer, "seed", &s, &a);
    util_complete(infer_fix.infer, "seed", &s, &b);
    s.seed = 12;
    util_complete(infer_fix.infer, "seed", &s, &other);
    expect_same_ids(&a.tokens, &b.tokens);
    assert_string_equal(a.text.data, b.text.data);
    assert_true(a.tokens.n != other.tokens.n ||
                memcmp(a.tokens.items, other.tokens.items,
                       a.tokens.n * sizeof *a.tokens.items) != 0);
    infer_completion_release(&a);
    infer_completion_release(&b);
    infer_completion_release(&other);
}

/* OpenAI's formula: logit[j] + bias[j] - count[j] frequency_penalty
 * - (count[j] > 0) presence_penalty. The prompt does not count. */
static token_id penalised(const struct infer_sampling *s, const float *logits,
                          const struct token_list *generated)
{
    double best = -INFINITY;
    token_id id = 0;

    for (size_t j = 0; j < UTIL_V; j++) {
        double x = (double)logits[j];
        int count = 0;

        for (size_t i = 0; i < generated->n; i++)
            count += generated->items[i] == j;
        for (size_t i = 0; i < s->n_bias; i++)
            x += s->bias[i].id == j ? (double)s->bias[i].bias : 0.0;
        x -= count * (double)s->frequency_penalty;
        x -= (count > 0) * (double)s->presence_penalty;
        if (x > best) {
            best = x;
            id = (token_id)j;
        }
    }
    return id;
}

/* Penalties and biases choose other tokens, and change no logprob. */
static void test_penalties(void **state)
{
    static const struct infer_bias bias[] = {
        {UTIL_END, -100.0f}, {'e', 1.0f}, {'x', 0.5f}};
    static const float settings[][2] = {
        {0.7f, 0.0f}, {0.0f, 1.1f}, {0.3f, 0.4f}, {-0.4f, -0.2f}};
    enum { N = 14 };

    (void)state;
    for (size_t k = 0; k < 8; k++) {
        struct token_list all = TOKEN_LIST_INIT;
        struct token_list generated = TOKEN_LIST_INIT;
        struct infer_sampling s = util_greedy(N);
        struct infer_completion c;
        size_t n_other = 0;

        s.frequency_penalty = settings[k % 4][0];
        s.presence_penalty = settings[k % 4][1];
        s.bias = bias;
        s.n_bias = k < 4 ? 0 : 3;
        s.n_logprobs = 1;
        util_complete(infer_fix.infer, "ab", &s, &c);
        token_list_add(&all, UTIL_END);
        util_prompt_of("ab", 2, &all);
        for (size_t i = 0; i < c.tokens.n; i++) {
            token_id id = c.tokens.items[i];
            float logits[UTIL_V];

            util_logits_after(all.items, all.n, logits);
            assert_int_equal(id, penalised(&s, logits, &generated));
            assert_true(fabs((double)c.logprobs[i] - util_logprob(logits, id)) <
                        1e-4);
            assert_int_equal(c.alternatives[i].id, util_most_likely(logits));
            n_other += id != util_most_likely(logits);
            token_list_add(&all, id);
            token_list_add(&generated, id);
        }
        assert_true(c.tokens.n == N || k < 4);
        assert_true(n_other > 0 || settings[k % 4][0] < 0.0f);
        token_list_release(&all);
        token_list_release(&generated);
        infer_completion_release(&c);
    }
}

/* A bias of 100 leaves one token, and one of -100 none, at any temperature. */
static void test_bias(void **state)
{
    struct infer_bias bias = {'q', 100.0f};
    struct infer_sampling s = util_greedy(12);
    struct infer_completion c;
    struct err err = ERR_INIT;

    (void)state;
    s.temperature = 1.0f;
    s.bias = &bias;
    s.n_bias = 1;
    util_complete(infer_fix.infer, "ab", &s, &c);
    assert_string_equal(c.text.data, "qqqqqqqqqqqq");
    infer_completion_release(&c);
    bias.bias = -100.0f;
    s.max_tokens = 2000;
    util_complete(infer_fix.infer, "ab", &s, &c);
    assert_null(memchr(c.text.data, 'q', c.text.len));
    infer_completion_release(&c);
    bias.id = UTIL_V;
    assert_int_equal(
        infer_complete(infer_fix.infer, NULL, 0, &s, NULL, &c, &err),
        ERR_INVALID);
    bias.id = 0;
    s.presence_penalty = NAN;
    assert_int_equal(
        infer_complete(infer_fix.infer, NULL, 0, &s, NULL, &c, &err),
        ERR_INVALID);
}

/* int8 gives the same bytes each time, and is close to float. */
static void test_int8(void **state)
{
    struct infer_options o = {.quantize = INFER_INT8};
    struct infer_sampling s = util_greedy(40);
    struct infer_completion a, b;
    struct infer_score float_score, score;
    struct infer *f;

    (void)state;
    assert_int_equal(infer_create(&infer_util_shape, infer_fix.tokenizer,
                                  &infer_fix.weights, &infer_fix.head,
                                  &infer_fix.labels, &o, &f, NULL),
                     0);
    s.temperature = 1.0f;
    s.n_logprobs = 2;
    util_complete(f, "seed", &s, &a);
    util_complete(f, "seed", &s, &b);
    expect_same_ids(&a.tokens, &b.tokens);
    assert_memory_equal(a.logprobs, b.logprobs,
                        a.tokens.n * sizeof *a.logprobs);
    infer_completion_release(&a);
    infer_completion_release(&b);
    assert_int_equal(infer_score(infer_fix.infer, util_text,
                                 sizeof util_text - 1, false, NULL,
                                 &float_score, NULL),
                     0);
    assert_int_equal(infer_score(f, util_text, sizeof util_text - 1, false,
                                 NULL, &score, NULL),
                     0);
    assert_true(score.nats != float_score.nats);
    assert_true(fabs(score.nats / float_score.nats - 1.0) < 0.02);
    infer_free(f);
}

/* Three settings that allow only the most likely token. */
static void test_same_as_greedy(void **state)
{
    struct infer_sampling s = util_greedy(30);
    struct infer_completion wanted, c;

    (void)state;
    util_complete(infer_fix.infer, "one", &s, &wanted);
    for (int way = 0; way < 3; way++) {
        s = util_greedy(30);
        s.temperature = way == 2 ? 1e-4f : 1.5f;
        s.top_k = way == 0 ? 1 : 0;
        s.top_p = way == 1 ? 1e-6f : 1.0f;
        util_complete(infer_fix.infer, "one", &s, &c);
        expect_same_ids(&c.tokens, &wanted.tokens);
        infer_completion_release(&c);
    }
    infer_completion_release(&wanted);
}

/* Sampled tokens follow the distribution: at temperature 1 the first token is
 * the most likely one as often as expected, within four standard errors. */
static void test_draws(void **state)
{
    enum { N = 2000 };
    token_id end = UTIL_END;
    float logits[UTIL_V];
    double p, seen = 0.0;
    token_id best;

    (void)state;
    util_logits_after(&end, 1, logits);
    best = util_most_likely(logits);
    p = exp(util_logprob(logits, best));
    for (uint64_t i = 0; i < N; i++) {
        struct infer_sampling s = util_greedy(1);
        struct infer_completion c;

        s.temperature = 1.0f;
        s.seed = i;
        util_complete(infer_fix.infer, "", &s, &c);
        seen += best == UTIL_END ? c.tokens.n == 0
                                 : c.tokens.n == 1 && c.tokens.items[0] == best;
        infer_completion_release(&c);
    }
    assert_true(fabs(seen / N - p) < 4.0 * sqrt(p * (1.0 - p) / N));
}

/* --- end of a text ------------------------------------------------------ */

/* Returns the generated bytes. */
static void raw_of(const struct infer_completion *c, struct buf *raw)
{
    buf_adds(raw, "");
    tokenizer_decode(infer_fix.tokenizer, c->tokens.items, c->tokens.n, raw);
}

static void expect_text(const struct infer_completion *c, const char *raw,
                        size_t n)
{
    struct buf wanted = BUF_INIT;

    buf_adds(&wanted, "");
    utf8_repair(raw, utf8_whole(raw, n), &wanted);
    assert_int_equal(c->text.len, wanted.len);
    assert_string_equal(c->text.data, wanted.data);
    assert_true(utf8_valid(c->text.data, c->text.len));
    buf_release(&wanted);
}

static void test_characters(void **state)
{
    int cut_short = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct infer_sampling s = util_greedy(7);
        struct infer_completion c;
        struct buf raw = BUF_INIT;

        s.temperature = 1.0f;
        s.seed = seed;
        util_complete(infer_fix.infer, "\xc3\xa4", &s, &c);
        raw_of(&c, &raw);
        expect_text(&c, raw.data, raw.len);
        cut_short += utf8_whole(raw.data, raw.len) < raw.len;
        buf_release(&raw);
        infer_completion_release(&c);
    }
    assert_true(cut_short > 5);
}

static size_t first_of(const struct buf *raw, const char *stop, size_t n)
{
    const char *at = memmem(raw->data, raw->len, stop, n);

    assert_non_null(at);
    return (size_t)(at - raw->data);
}

/* Uses every run of 1 to 4 bytes of a text as its stop string. Each byte is a
 * token, so most runs extend over tokens. */
static void test_stop_strings(void **state)
{
    struct infer_sampling s = util_greedy(24);
    struct infer_completion whole;
    struct buf raw = BUF_INIT;

    (void)state;
    s.temperature = 1.0f;
    s.seed = 5;
    s.n_logprobs = 1;
    util_complete(infer_fix.infer, "stop", &s, &whole);
    raw_of(&whole, &raw);
    assert_int_equal(raw.len, 24);
    for (size_t n = 1; n <= 4; n++) {
        for (size_t i = 0; i + n <= raw.len; i++) {
            char stop[5] = "";
            const char *stops[] = {"not in it at all", stop};
            struct infer_completion c;
            size_t at;

            memcpy(stop, raw.data + i, n);
            if (strlen(stop) < n)
                continue;
            at = first_of(&raw, stop, n);
            s.stop = stops;
            s.n_stop = 2;
            util_complete(infer_fix.infer, "stop", &s, &c);
            assert_true(c.stopped);
            assert_int_equal(c.tokens.n, at);
            expect_text(&c, raw.data, at);
            infer_completion_release(&c);
        }
    }
    buf_release(&raw);
    infer_completion_release(&whole);
}

/* Makes a model that always generates one token of two bytes. */
static struct infer *make_repeater(const struct tokenizer *two)
{
    struct model_shape merged = infer_util_shape;
    struct tensor_list l = TENSOR_LIST_INIT;
    struct infer *f;
    size_t dim = (size_t)infer_util_shape.dim;

    merged.vocab_size = UTIL_V + 1;
    for (size_t i = 0; i < infer_fix.model->n_tensors; i++) {
        const struct model_tensor *t = &infer_fix.model->tensors[i];
        size_t dims[2] = {t->shape[0] == UTIL_V ? UTIL_V + 1 : t->shape[0],
                          t->shape[1]};
        float *p =
            tensor_add_copy(&l, t->name, TENSOR_F32, t->n_dims, dims, NULL);

        /* The residual stays the embedding, which is ones. The output layer is
         * zero except in the token's row. */
        for (size_t j = 0; j < t->count; j++)
            p[j] = t->n_dims == 1 || t->offset == infer_fix.model->embed ? 1.0f
                                                                         : 0.0f;
        for (size_t j = 0; t->offset == infer_fix.model->embed && j < dim; j++)
            p[UTIL_V * dim + j] = 1.0f;
        for (size_t j = 0; t->offset == infer_fix.model->lm_head && j < dim;
             j++)
            p[UTIL_V * dim + j] = 1.0f;
    }
    assert_int_equal(infer_create(&merged, two, &l, &infer_fix.no_head,
                                  &infer_fix.no_labels, NULL, &f, NULL),
                     0);
    tensor_list_release(&l);
    return f;
}

/* The stop string leaves a part of a token. */
static void test_stop_inside_token(void **state)
{
    static const char learned[] = "abababababababababab";
    const char *stops[] = {"ba"};
    struct infer_sampling s = util_greedy(6);
    struct tokenizer *two;
    struct infer_completion c;
    struct infer *f;
    size_t n_bytes;

    (void)state;
    assert_int_equal(tokenizer_train(learned, strlen(learned), UTIL_V + 1, NULL,
                                     NULL, &two, NULL),
                     0);
    assert_string_equal(tokenizer_bytes(two, UTIL_V, &n_bytes), "ab");
    f = make_repeater(two);
    util_complete(f, "x", &s, &c);
    assert_string_equal(c.text.data, "abababababab");
    assert_false(c.stopped);
    infer_completion_release(&c);
    s.stop = stops;
    s.n_stop = 1;
    util_complete(f, "x", &s, &c);
    assert_string_equal(c.text.data, "a");
    assert_int_equal(c.tokens.n, 1); /* the token begins before the stop
                                        string */
    assert_true(c.stopped);
    infer_completion_release(&c);
    infer_free(f);
    tokenizer_free(two);
}

/* End-of-text ends a text, and no listener receives it. */
static bool count_told(const struct infer_token *token, void *arg)
{
    int *told = arg;

    assert_int_not_equal(token->id, UTIL_END);
    return ++*told == 3;
}

static void test_told(void **state)
{
    struct infer_sampling s = util_greedy(10);
    struct infer_completion c;
    token_id prompt[] = {'h', 'i'};
    int ends = 0;

    (void)state;
    s.temperature = 1.0f;
    for (s.seed = 0; s.seed < 400; s.seed++) {
        int told = 0;
        struct infer_listener listener = {count_told, &told, NULL};

        assert_int_equal(
            infer_complete(infer_fix.infer, prompt, 2, &s, &listener, &c, NULL),
            0);
        assert_int_equal(told, c.tokens.n);
        assert_true(c.stopped ? told < 3 : told == 3);
        ends += c.stopped;
        infer_completion_release(&c);
    }
    assert_true(ends > 0);
}

static void test_nothing(void **state)
{
    struct infer_sampling s = util_greedy(0);
    struct infer_completion c;

    (void)state;
    util_complete(infer_fix.infer, "hello", &s, &c);
    assert_int_equal(c.tokens.n, 0);
    assert_string_equal(c.text.data, "");
    assert_false(c.stopped);
    infer_completion_release(&c);
}

static int refused(const struct infer_sampling *s)
{
    struct infer_completion c;
    token_id id = 1;

    return infer_complete(infer_fix.infer, &id, 1, s, NULL, &c, NULL);
}

static void test_sampling_refused(void **state)
{
    const char *empty = "";
    struct infer_sampling s;
    struct infer_completion c;
    token_id id = UTIL_V;

    (void)state;
    s = util_greedy(1), s.temperature = -1.0f;
    assert_int_equal(refused(&s), ERR_INVALID);
    s = util_greedy(1), s.temperature = NAN;
    assert_int_equal(refused(&s), ERR_INVALID);
    s = util_greedy(1), s.top_p = 1.5f;
    assert_int_equal(refused(&s), ERR_INVALID);
    s = util_greedy(1), s.top_k = -1;
    assert_int_equal(refused(&s), ERR_INVALID);
    s = util_greedy(-1);
    assert_int_equal(refused(&s), ERR_INVALID);
    s = util_greedy(1), s.n_logprobs = UTIL_V + 1;
    assert_int_equal(refused(&s), ERR_INVALID);
    s = util_greedy(1), s.stop = &empty, s.n_stop = 1;
    assert_int_equal(refused(&s), ERR_INVALID);
    s = util_greedy(1);
    assert_int_equal(
        infer_complete(infer_fix.infer, &id, 1, &s, NULL, &c, NULL),
        ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_own_mark),
        cmocka_unit_test(test_logprobs),
        cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_penalties),
        cmocka_unit_test(test_bias),
        cmocka_unit_test(test_int8),
        cmocka_unit_test(test_same_as_greedy),
        cmocka_unit_test(test_draws),
        cmocka_unit_test(test_characters),
        cmocka_unit_test(test_stop_strings),
        cmocka_unit_test(test_stop_inside_token),
        cmocka_unit_test(test_told),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_sampling_refused),
    };

    return cmocka_run_group_tests(tests, util_setup, util_teardown);
}
