/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers of a version with an n-gram memory: all of them are of one mixture,
 * the one that a reader of the memory makes from the Transformer's losses.
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
#include "learner/ngram.h"
#include "learner/tokenizer/cut.h"
#include "tests/util/infer_util.h"

static struct ngram *memory;
static struct tensor_list stored;

static int setup(void **state)
{
    int rc = util_setup(state);

    if (rc)
        return rc;
    util_make_memory(&stored);
    return ngram_import(&stored, UTIL_V, &memory, NULL);
}

static int teardown(void **state)
{
    tensor_list_release(&stored);
    ngram_free(memory);
    return util_teardown(state);
}

static struct infer *create(enum infer_quantize quantize)
{
    struct infer_options o = {.quantize = quantize};
    struct infer *f = NULL;

    assert_int_equal(infer_create(&infer_util_shape, infer_fix.tokenizer,
                                  &infer_fix.weights, &infer_fix.head,
                                  &infer_fix.labels, &o, &f, NULL),
                     0);
    assert_int_equal(infer_add_ngram(f, &stored, NULL), 0);
    return f;
}

/* The mixture's loss of a text, without end-of-text. */
static double expected_nats(const char *text)
{
    struct ngram_reader *r = ngram_reader_create(memory);
    struct cut c = CUT_INIT;
    float loss[UTIL_CONTEXT];
    double nats = 0.0;

    cut_record(&c, infer_fix.tokenizer, UTIL_CONTEXT, NULL, 0, text,
               strlen(text), -1, -1);
    for (size_t i = 0; i < c.n_segments; i++) {
        const struct segment *s = &c.segments[i];

        util_forward_one(s, loss);
        ngram_reader_segment(r, s, loss, loss);
        for (size_t t = 0; t + s->ends < s->n_tokens; t++)
            nats += (double)loss[t];
    }
    cut_release(&c);
    ngram_reader_free(r);
    return nats;
}

static void scores_are_of_the_mixture(void **state)
{
    static const char *const texts[] = {util_text, "A version answers", "qx#",
                                        "the context, so that it is"};
    struct infer *f = create(INFER_FLOAT);
    struct infer_score score, alone;

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        size_t n = strlen(texts[i]);
        double nats = expected_nats(texts[i]), sum = 0.0;

        assert_int_equal(infer_score(f, texts[i], n, true, NULL, &score, NULL),
                         0);
        assert_true(fabs(score.nats / nats - 1) < 1e-4);
        for (size_t k = 0; k < n; k++)
            sum -= (double)score.logprobs[k];
        assert_true(fabs(score.nats / sum - 1) < 1e-4);
        assert_int_equal(infer_score(infer_fix.infer, texts[i], n, false, NULL,
                                     &alone, NULL),
                         0);
        if (i == 0) /* it was learned, by the memory only */
            assert_true(score.nats < 0.5 * alone.nats);
        infer_score_release(&score);
    }
    infer_free(f);
}

/* The gate's losses are those of the score. */
static void the_gate_scores_what_answers(void **state)
{
    struct infer *f = create(INFER_FLOAT);
    struct cut c = CUT_INIT;
    struct infer_score score;
    double nats[16], sum = 0.0;

    (void)state;
    cut_record(&c, infer_fix.tokenizer, UTIL_CONTEXT, NULL, 0, util_text,
               strlen(util_text), -1, -1);
    assert_true(c.n_segments <= 16);
    assert_int_equal(
        infer_segments(f, c.segments, c.n_segments, nats, NULL, NULL, NULL), 0);
    for (size_t i = 0; i < c.n_segments; i++)
        sum += nats[i];
    assert_int_equal(
        infer_score(f, util_text, strlen(util_text), false, NULL, &score, NULL),
        0);
    assert_true(fabs(sum / score.nats - 1) < 1e-6);
    infer_score_release(&score);
    cut_release(&c);
    infer_free(f);
}

/* Echo of a completion gives the log probabilities with which its tokens were
 * chosen, and the same alternatives. Within one context both read the same
 * segment. */
static void check_completion(const struct infer *f, const char *prompt,
                             int max_tokens)
{
    struct infer_sampling s = util_greedy(max_tokens);
    struct token_list ids = TOKEN_LIST_INIT;
    struct infer_completion c;
    struct infer_alternative *best;
    float *logprobs;
    size_t n_prompt;

    s.n_logprobs = 3;
    util_complete(f, prompt, &s, &c);
    util_prompt_of(prompt, strlen(prompt), &ids);
    n_prompt = ids.n;
    for (size_t i = 0; i < c.tokens.n; i++)
        token_list_add(&ids, c.tokens.items[i]);
    logprobs = xfloats(ids.n);
    best = xcalloc(3 * ids.n, sizeof *best);
    assert_int_equal(infer_prompt_logprobs(f, ids.items, ids.n, 3, NULL,
                                           logprobs, best, NULL),
                     0);
    assert_true(c.tokens.n > 0);
    for (size_t i = 0; i < c.tokens.n && n_prompt + i < UTIL_CONTEXT; i++) {
        size_t at = n_prompt + i;

        assert_true(fabsf(logprobs[at] - c.logprobs[i]) < 1e-4f);
        for (size_t k = 0; k < 3; k++)
            assert_true(fabsf(best[3 * at + k].logprob -
                              c.alternatives[3 * i + k].logprob) < 1e-4f);
        assert_int_equal(c.alternatives[3 * i].id, c.tokens.items[i]);
    }
    free(logprobs);
    free(best);
    token_list_release(&ids);
    infer_completion_release(&c);
}

static void completions_are_of_the_mixture(void **state)
{
    struct infer *f = create(INFER_FLOAT), *bytes = create(INFER_INT8);

    (void)state;
    check_completion(f, "", 10);
    check_completion(f, "A version", 6);
    check_completion(f, "this te", 8);
    check_completion(bytes, "A version", 6);
    infer_free(f);
    infer_free(bytes);
}

/* What the memory knows by heart comes back, also beyond the context. */
static void completes_what_it_remembers(void **state)
{
    struct infer *f = create(INFER_FLOAT);
    struct infer_sampling s = util_greedy(60);
    struct infer_completion c, again;

    (void)state;
    util_complete(f, "A version answ", &s, &c);
    util_complete(f, "A version answ", &s, &again);
    assert_int_equal(strncmp(c.text.data, "er", 2), 0);
    assert_string_equal(c.text.data, again.text.data);
    infer_completion_release(&c);
    infer_completion_release(&again);
    infer_free(f);
}

static void refuses_a_memory_of_another_vocabulary(void **state)
{
    struct ngram *other = ngram_create(UTIL_V + 1, 1);
    struct tensor_list l = TENSOR_LIST_INIT;
    struct infer *f = NULL;

    (void)state;
    ngram_export(other, &l);
    assert_int_equal(infer_create(&infer_util_shape, infer_fix.tokenizer,
                                  &infer_fix.weights, &infer_fix.head,
                                  &infer_fix.labels, NULL, &f, NULL),
                     0);
    assert_int_equal(infer_add_ngram(f, &l, NULL), ERR_CORRUPT);
    tensor_list_release(&l);
    ngram_free(other);
    infer_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_are_of_the_mixture),
        cmocka_unit_test(the_gate_scores_what_answers),
        cmocka_unit_test(completions_are_of_the_mixture),
        cmocka_unit_test(completes_what_it_remembers),
        cmocka_unit_test(refuses_a_memory_of_another_vocabulary),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
