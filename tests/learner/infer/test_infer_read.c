/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading texts, against the model itself: losses, echo, classes, embeddings.
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

#include "base/rng.h"
#include "base/xalloc.h"
#include "learner/tokenizer/cut.h"
#include "learner/head.h"
#include "learner/infer/infer.h"
#include "learner/model.h"
#include "learner/kernels/ops.h"
#include "tests/util/infer_util.h"

/* --- scores ------------------------------------------------------------- */

static void test_score(void **state)
{
    struct infer_score score;
    struct cut c;
    double nats = 0.0;
    size_t at = 0;

    (void)state;
    assert_int_equal(infer_score(infer_fix.infer, util_text, strlen(util_text),
                                 true, NULL, &score, NULL),
                     0);
    assert_int_equal(score.n_bytes, strlen(util_text));
    assert_int_equal(score.n_tokens, strlen(util_text));
    assert_int_equal(score.tokens.n, strlen(util_text));
    cut_record(&c, infer_fix.tokenizer, UTIL_CONTEXT, NULL, 0, util_text,
               strlen(util_text), 0, -1);
    for (size_t i = 0; i < c.n_segments; i++) {
        float loss[UTIL_CONTEXT];
        size_t n = c.segments[i].n_tokens - c.segments[i].ends;

        util_forward_one(&c.segments[i], loss);
        for (size_t j = 0; j < n; j++, at++) {
            nats += (double)loss[j];
            assert_int_equal(score.tokens.items[at],
                             (unsigned char)util_text[at]);
            assert_true(fabs((double)(score.logprobs[at] + loss[j])) < 1e-4);
        }
    }
    assert_int_equal(at, score.n_tokens);
    assert_true(fabs(nats - score.nats) < 1e-6 * nats + 1e-3);
    assert_true(fabs(score.bits_per_byte -
                     score.nats / log(2.0) / (double)strlen(util_text)) < 1e-9);
    assert_true(fabs(log(score.perplexity) - score.nats / (double)at) < 1e-9);
    cut_release(&c);
    infer_score_release(&score);
}

static void test_score_empty(void **state)
{
    struct infer_score score;

    (void)state;
    assert_int_equal(
        infer_score(infer_fix.infer, "", 0, true, NULL, &score, NULL), 0);
    assert_int_equal(score.n_tokens, 0);
    assert_true(score.nats == 0.0 && score.bits_per_byte == 0.0);
    assert_true(score.perplexity == 1.0);
    infer_score_release(&score);
}

/* A text of several pieces scores as the sum of its segments. */
static void test_score_long(void **state)
{
    size_t n = 5000;
    char *s = xmalloc(n);
    struct infer_score all;
    struct segment *segments;
    struct cut c;
    double *nats, sum = 0.0;

    (void)state;
    for (size_t i = 0; i < n; i++)
        s[i] = (char)rng_below(256, 3, RNG_SAMPLE, 0, i);
    assert_int_equal(
        infer_score(infer_fix.infer, s, n, false, NULL, &all, NULL), 0);
    assert_null(all.logprobs);
    cut_record(&c, infer_fix.tokenizer, UTIL_CONTEXT, NULL, 0, s, n, 0, -1);
    segments = c.segments;
    nats = xcalloc(c.n_segments, sizeof *nats);
    for (size_t i = 0; i < c.n_segments; i++)
        assert_int_equal(infer_segments(infer_fix.infer, &segments[i], 1,
                                        &nats[i], NULL, NULL, NULL),
                         0);
    for (size_t i = 0; i < c.n_segments; i++)
        sum += nats[i];
    assert_true(fabs(sum - all.nats) < 1e-6 * sum);
    assert_int_equal(all.n_tokens, n);
    free(nats);
    cut_release(&c);
    free(s);
}

/* --- the gate ----------------------------------------------------------- */

static void test_segments(void **state)
{
    enum { N = 400 }; /* several pieces */
    struct segment segments[N];
    struct cut c;
    double nats[N];
    uint8_t right[N];

    (void)state;
    cut_record(&c, infer_fix.tokenizer, UTIL_CONTEXT, util_text, 20, util_text,
               strlen(util_text), 0, 0);
    for (size_t i = 0; i < N; i++)
        segments[i] = c.segments[i % c.n_segments];
    assert_int_equal(
        infer_segments(infer_fix.infer, segments, N, nats, right, NULL, NULL),
        0);
    for (size_t i = 0; i < N; i++) {
        const struct segment *s = &segments[i];
        float loss[UTIL_CONTEXT];
        double sum = 0.0;

        util_forward_one(s, loss);
        for (size_t j = s->n_masked; j < s->n_tokens - s->ends; j++)
            sum += (double)loss[j];
        assert_true(fabs(sum - nats[i]) < 1e-3);
        assert_true(right[i] <= 1);
    }
    assert_true(nats[0] == 0.0); /* the prompt is all of it */
    cut_release(&c);
}

static void test_segments_right(void **state)
{
    static const char *const texts[] = {"red wine", "blue sky", "red rose",
                                        "blue sea"};
    static const int32_t given[] = {0, 1, 1, -1};
    static const uint8_t expected[] = {1, 1, 0, 0};
    struct cut c[4];
    struct segment segments[4];
    struct tensor_list l = TENSOR_LIST_INIT;
    struct infer *linear;
    double nats[4];
    uint8_t right[4];

    (void)state;
    util_make_head(0, &l);
    assert_int_equal(infer_create(NULL, NULL, NULL, &l, &infer_fix.labels, NULL,
                                  &linear, NULL),
                     0);
    for (int i = 0; i < 4; i++) {
        cut_record(&c[i], NULL, 0, NULL, 0, texts[i], strlen(texts[i]), 0,
                   given[i]);
        segments[i] = c[i].segments[0];
    }
    assert_int_equal(
        infer_segments(linear, segments, 4, nats, right, NULL, NULL), 0);
    assert_memory_equal(right, expected, 4);
    for (int i = 0; i < 4; i++) {
        assert_true(nats[i] == 0.0);
        cut_release(&c[i]);
    }
    infer_free(linear);
    tensor_list_release(&l);
}

static void test_segments_refused(void **state)
{
    token_id tokens[UTIL_CONTEXT + 2] = {1, 2, 300, 4};
    struct segment s = {.tokens = tokens, .n_tokens = 3, .label = -1};
    atomic_bool stop = true;
    double nats;

    (void)state;
    assert_int_equal(
        infer_segments(infer_fix.infer, &s, 1, &nats, NULL, NULL, NULL),
        ERR_INVALID);
    tokens[2] = 3;
    assert_int_equal(
        infer_segments(infer_fix.infer, &s, 1, &nats, NULL, NULL, NULL), 0);
    assert_int_equal(
        infer_segments(infer_fix.infer, &s, 1, &nats, NULL, &stop, NULL),
        ERR_AGAIN);
    s.n_tokens = UTIL_CONTEXT + 1;
    assert_int_equal(
        infer_segments(infer_fix.infer, &s, 1, &nats, NULL, NULL, NULL),
        ERR_INVALID);
    s.n_tokens = 0;
    assert_int_equal(
        infer_segments(infer_fix.infer, &s, 1, &nats, NULL, NULL, NULL),
        ERR_INVALID);
    assert_int_equal(
        infer_segments(infer_fix.infer, &s, 0, &nats, NULL, NULL, NULL), 0);
}

/* --- echo --------------------------------------------------------------- */

static void test_echo(void **state)
{
    enum { K = 5 };
    struct token_list ids = TOKEN_LIST_INIT;
    struct infer_alternative best[sizeof util_text][K];
    struct infer_score score;
    float p[sizeof util_text];
    size_t n = strlen(util_text);

    (void)state;
    util_prompt_of(util_text, n, &ids);
    assert_int_equal(
        infer_score(infer_fix.infer, util_text, n, true, NULL, &score, NULL),
        0);
    assert_int_equal(infer_prompt_logprobs(infer_fix.infer, ids.items, n, K,
                                           NULL, p, &best[0][0], NULL),
                     0);
    for (size_t i = 0; i < n; i++) {
        assert_true(fabsf(p[i] - score.logprobs[i]) < 1e-4f);
        for (size_t k = 0; k < K; k++) {
            assert_true(best[i][k].logprob >= p[i] - 1e-4f ||
                        best[i][0].logprob > p[i]);
            if (k)
                assert_true(best[i][k - 1].logprob >= best[i][k].logprob);
            if (best[i][k].id == ids.items[i])
                assert_true(fabsf(best[i][k].logprob - p[i]) < 1e-4f);
        }
    }
    infer_score_release(&score);
    token_list_release(&ids);
}

/* If the prompt begins with end-of-text, the rest is scored as without it. */
static void test_echo_own_mark(void **state)
{
    struct token_list ids = TOKEN_LIST_INIT;
    float with[sizeof util_text + 1], without[sizeof util_text + 1],
        logits[UTIL_V];
    size_t n = strlen(util_text);

    (void)state;
    token_list_add(&ids, UTIL_END);
    util_prompt_of(util_text, n, &ids);
    assert_int_equal(infer_prompt_logprobs(infer_fix.infer, ids.items, n + 1, 0,
                                           NULL, with, NULL, NULL),
                     0);
    assert_int_equal(infer_prompt_logprobs(infer_fix.infer, ids.items + 1, n, 0,
                                           NULL, without, NULL, NULL),
                     0);
    for (size_t i = 0; i < n; i++)
        assert_true(fabsf(with[i + 1] - without[i]) < 1e-4f);
    util_logits_after(ids.items, 1, logits);
    assert_true(fabs((double)with[0] - util_logprob(logits, UTIL_END)) < 1e-4);
    token_list_release(&ids);
}

static void test_echo_refused(void **state)
{
    token_id ids[] = {1, UTIL_V};
    float p[2];

    (void)state;
    assert_int_equal(
        infer_prompt_logprobs(infer_fix.infer, ids, 2, 0, NULL, p, NULL, NULL),
        ERR_INVALID);
    assert_int_equal(infer_prompt_logprobs(infer_fix.infer, ids, 1, UTIL_V + 1,
                                           NULL, p, NULL, NULL),
                     ERR_INVALID);
    assert_int_equal(
        infer_prompt_logprobs(infer_fix.infer, ids, 0, 0, NULL, p, NULL, NULL),
        0);
}

/* --- classes, embeddings ------------------------------------------------ */

static void test_classify(void **state)
{
    float scores[3], sum;

    (void)state;
    assert_int_equal(infer_classify(infer_fix.infer, util_text,
                                    strlen(util_text), NULL, scores, NULL),
                     0);
    sum = scores[0] + scores[1] + scores[2];
    assert_true(fabsf(sum - 1.0f) < 1e-5f);
    assert_true(scores[0] > 0.0f && scores[1] > 0.0f);
    assert_true(scores[2] == 0.0f);
}

/* A text of two segments gets the mean of the head's scores for each. */
static void test_classify_mean(void **state)
{
    static const char two[] = "red rose, red rose and a blue sea";
    struct head_options o = {.dim = 32};
    struct head *h = head_create(&o);
    struct model_work *w = model_work_create(infer_fix.model, UTIL_CONTEXT);
    float scores[3], wanted[2] = {0.0f, 0.0f};
    struct cut c;

    (void)state;
    assert_int_equal(head_import(h, &infer_fix.head, NULL, NULL), 0);
    cut_record(&c, infer_fix.tokenizer, UTIL_CONTEXT, NULL, 0, two, strlen(two),
               -1, -1);
    assert_true(c.n_segments > 1);
    for (size_t i = 0; i < c.n_segments; i++) {
        struct batch b = {0};
        struct buf part = BUF_INIT;
        float one[2];

        batch_add(&b, &c.segments[i]);
        model_forward(infer_fix.model, infer_fix.params, &b, w, NULL);
        cut_text(&c.segments[i], infer_fix.tokenizer, &part);
        head_scores(h, part.data, part.len, model_states(w), b.n_tokens, one);
        for (int k = 0; k < 2; k++)
            wanted[k] += one[k] / (float)c.n_segments;
        buf_release(&part);
        batch_release(&b);
    }
    assert_int_equal(
        infer_classify(infer_fix.infer, two, strlen(two), NULL, scores, NULL),
        0);
    for (int k = 0; k < 2; k++)
        assert_true(fabsf(scores[k] - wanted[k]) < 1e-4f);
    cut_release(&c);
    model_work_free(w);
    head_free(h);
}

static void test_linear(void **state)
{
    struct tensor_list l = TENSOR_LIST_INIT;
    struct infer_sampling s = util_greedy(1);
    struct infer_completion c;
    struct infer_score score;
    struct infer *f;
    float scores[3];
    token_id id = 1;

    (void)state;
    util_make_head(0, &l);
    assert_int_equal(
        infer_create(NULL, NULL, NULL, &l, &infer_fix.labels, NULL, &f, NULL),
        0);
    tensor_list_release(&l); /* infer keeps no pointer to it */
    assert_null(infer_shape(f));
    assert_int_equal(infer_classify(f, "red red wine", 12, NULL, scores, NULL),
                     0);
    assert_true(scores[0] > scores[1]);
    assert_int_equal(infer_classify(f, "a blue sky", 10, NULL, scores, NULL),
                     0);
    assert_true(scores[1] > scores[0]);
    assert_true(fabsf(scores[0] + scores[1] - 1.0f) < 1e-5f);
    assert_int_equal(infer_score(f, "x", 1, false, NULL, &score, NULL),
                     ERR_INVALID);
    assert_int_equal(infer_embed(f, &id, 1, NULL, scores, NULL), ERR_INVALID);
    assert_int_equal(infer_complete(f, &id, 1, &s, NULL, &c, NULL),
                     ERR_INVALID);
    assert_int_equal(
        infer_prompt_logprobs(f, &id, 1, 0, NULL, scores, NULL, NULL),
        ERR_INVALID);
    infer_free(f);
}

static void test_no_labels(void **state)
{
    struct infer *f;
    float score;

    (void)state;
    assert_int_equal(infer_create(&infer_util_shape, infer_fix.tokenizer,
                                  &infer_fix.weights, &infer_fix.no_head,
                                  &infer_fix.no_labels, NULL, &f, NULL),
                     0);
    assert_int_equal(infer_classify(f, "x", 1, NULL, &score, NULL), ERR_STATE);
    infer_free(f);
}

static void test_embed(void **state)
{
    struct model_work *w = model_work_create(infer_fix.model, UTIL_CONTEXT);
    double sum[32] = {0}, squares = 0.0, length = 0.0;
    float out[32], own[32];
    token_id end = UTIL_END, beyond = UTIL_V;
    struct token_list ids = TOKEN_LIST_INIT;
    struct cut c;

    (void)state;
    cut_record(&c, infer_fix.tokenizer, UTIL_CONTEXT, NULL, 0, util_text,
               strlen(util_text), -1, -1);
    for (size_t i = 0; i < c.n_segments; i++) {
        struct batch b = {0};

        batch_add(&b, &c.segments[i]);
        model_forward(infer_fix.model, infer_fix.params, &b, w, NULL);
        for (size_t j = 0; j < b.n_tokens * 32; j++)
            sum[j % 32] += (double)model_states(w)[j];
        batch_release(&b);
    }
    for (size_t j = 0; j < 32; j++)
        squares += sum[j] * sum[j];
    util_prompt_of(util_text, strlen(util_text), &ids);
    assert_int_equal(
        infer_embed(infer_fix.infer, ids.items, ids.n, NULL, out, NULL), 0);
    for (size_t j = 0; j < 32; j++) {
        length += (double)out[j] * (double)out[j];
        assert_true(fabs((double)out[j] - sum[j] / sqrt(squares)) < 1e-4);
    }
    assert_true(fabs(length - 1.0) < 1e-5);
    /* A prompt's own end-of-text replaces the one that is put in front. */
    assert_int_equal(infer_embed(infer_fix.infer, NULL, 0, NULL, out, NULL), 0);
    assert_int_equal(infer_embed(infer_fix.infer, &end, 1, NULL, own, NULL), 0);
    assert_memory_equal(out, own, sizeof out);
    assert_int_equal(infer_embed(infer_fix.infer, &beyond, 1, NULL, out, NULL),
                     ERR_INVALID);
    token_list_release(&ids);
    cut_release(&c);
    model_work_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_score),
        cmocka_unit_test(test_score_empty),
        cmocka_unit_test(test_score_long),
        cmocka_unit_test(test_segments),
        cmocka_unit_test(test_segments_right),
        cmocka_unit_test(test_segments_refused),
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_echo_own_mark),
        cmocka_unit_test(test_echo_refused),
        cmocka_unit_test(test_classify),
        cmocka_unit_test(test_classify_mean),
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_no_labels),
        cmocka_unit_test(test_embed),
    };

    return cmocka_run_group_tests(tests, util_setup, util_teardown);
}
