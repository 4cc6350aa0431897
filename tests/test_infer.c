/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A version that answers, against the model itself: losses, echo, generation
 * with and without its cache, what stops it, classes, and what is refused.
 *
 * The weights are random and large: with those of a newborn model every
 * distribution would be all but flat, and much would agree by accident.
 */
#include "config.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/utf8.h"
#include "base/xalloc.h"
#include "learner/cut.h"
#include "learner/head.h"
#include "learner/infer.h"
#include "learner/model.h"
#include "learner/ops.h"

#define V 257
#define END 256
#define CONTEXT 16

static const char text[] =
    "A version answers: this text is longer than the context, so that it is "
    "cut into several segments, and \xc3\xa4 and \xe2\x82\xac are in it too.";

static const struct model_shape shape = {.vocab_size = V,
                                         .dim = 32,
                                         .layers = 2,
                                         .heads = 2,
                                         .kv_heads = 1,
                                         .head_dim = 16,
                                         .ffn_dim = 48,
                                         .context = CONTEXT,
                                         .norm_eps = 1e-5f,
                                         .rope_theta = 10000.0f,
                                         .tied = false,
                                         .qk_norm = false};

static struct tokenizer *tokenizer;
static struct model *model;
static float *params;
static struct tensor_list weights, head, no_head;
static struct names labels, no_labels;
static struct infer *infer;

/* --- what is tested ----------------------------------------------------- */

static void randomise(float scale)
{
    model_init_params(model, 1, params);
    for (size_t i = 0; i < model->n_tensors; i++) {
        const struct model_tensor *t = &model->tensors[i];

        for (size_t j = 0; t->decays && j < t->count; j++)
            params[t->offset + j] =
                scale * (float)rng_normal(7, RNG_INIT, i, j);
    }
}

static void lend_weights(struct tensor_list *l)
{
    for (size_t i = 0; i < model->n_tensors; i++) {
        const struct model_tensor *t = &model->tensors[i];

        tensor_add_borrowed(l, t->name, TENSOR_F32, t->n_dims, t->shape,
                            params + t->offset);
    }
}

/* A class head of two labels: "red" texts and "blue" ones. */
static void make_head(int dim, struct tensor_list *out)
{
    struct head_options o;
    struct head *h;
    float states[32];

    head_options_default(&o);
    o.dim = dim;
    o.gram_slots = 256;
    h = head_create(&o);
    for (int i = 0; i < 20; i++) {
        struct head_example e = {
            .text = i % 2 ? "blue sea and blue sky" : "red rose and red wine",
            .n_bytes = 21,
            .states = dim ? states : NULL,
            .n_states = 1,
            .label = i % 2,
        };

        for (int j = 0; j < dim; j++)
            states[j] = (float)rng_normal(9, RNG_INIT, (uint64_t)i,
                                          (uint64_t)j);
        head_step(h, &e, 1);
    }
    head_export(h, out, NULL);
    head_free(h);
}

static int setup(void **state)
{
    (void)state;
    ops_init();
    tokenizer = tokenizer_create_bytes();
    assert_int_equal(model_create(&shape, &model, NULL), 0);
    params = xfloats(model->n_params);
    randomise(0.2f);
    lend_weights(&weights);
    make_head(shape.dim, &head);
    names_add(&labels, "red");
    names_add(&labels, "blue");
    names_add(&labels, "never seen");
    return infer_create(&shape, tokenizer, &weights, &head, &labels, NULL,
                        &infer, NULL);
}

static int teardown(void **state)
{
    (void)state;
    infer_free(infer);
    names_release(&labels);
    tensor_list_release(&weights);
    tensor_list_release(&head);
    free(params);
    model_free(model);
    tokenizer_free(tokenizer);
    return 0;
}

/* --- the model itself --------------------------------------------------- */

/* loss[n] of a segment by itself. */
static void forward_one(const struct segment *s, float *loss)
{
    struct batch b = {0};
    struct model_work *w = model_work_create(model, s->n_tokens);

    batch_add(&b, s);
    model_forward(model, params, &b, w, loss);
    model_work_free(w);
    batch_release(&b);
}

/* Logits after n ids, by a whole forward pass. */
static void logits_after(const uint16_t *ids, size_t n, float *logits)
{
    uint16_t tokens[CONTEXT + 1] = {0};
    struct segment s = {.tokens = tokens, .n_tokens = (uint32_t)n};
    struct batch b = {0};
    struct model_work *w = model_work_create(model, n);

    assert_true(n >= 1 && n <= CONTEXT);
    memcpy(tokens, ids, n * sizeof *ids);
    batch_add(&b, &s);
    model_forward(model, params, &b, w, NULL);
    ops_ref.linear(logits, model_states(w) + (n - 1) * (size_t)shape.dim,
                   params + model->lm_head, 1, (size_t)shape.dim, V, 0);
    model_work_free(w);
    batch_release(&b);
}

static uint16_t most_likely(const float *logits)
{
    size_t best = 0;

    for (size_t i = 1; i < V; i++)
        if (logits[i] > logits[best])
            best = i;
    return (uint16_t)best;
}

static double logprob(const float *logits, size_t id)
{
    double sum = 0.0;

    for (size_t i = 0; i < V; i++)
        sum += exp((double)logits[i] - (double)logits[id]);
    return -log(sum);
}

/* --- scores ------------------------------------------------------------- */

static void test_score(void **state)
{
    struct infer_score score;
    struct cut c;
    double nats = 0.0;
    size_t at = 0;

    (void)state;
    assert_int_equal(infer_score(infer, text, strlen(text), true, &score,
                                 NULL),
                     0);
    assert_int_equal(score.n_bytes, strlen(text));
    assert_int_equal(score.n_tokens, strlen(text));
    assert_int_equal(score.tokens.n, strlen(text));
    cut_record(&c, tokenizer, CONTEXT, NULL, 0, text, strlen(text), 0, -1);
    for (size_t i = 0; i < c.n_segments; i++) {
        float loss[CONTEXT];
        size_t n = c.segments[i].n_tokens - c.segments[i].ends;

        forward_one(&c.segments[i], loss);
        for (size_t j = 0; j < n; j++, at++) {
            nats += (double)loss[j];
            assert_int_equal(score.tokens.items[at], (unsigned char)text[at]);
            assert_true(fabs((double)(score.logprobs[at] + loss[j])) < 1e-4);
        }
    }
    assert_int_equal(at, score.n_tokens);
    assert_true(fabs(nats - score.nats) < 1e-6 * nats + 1e-3);
    assert_true(fabs(score.bits_per_byte - score.nats / log(2.0) /
                                               (double)strlen(text)) < 1e-9);
    assert_true(fabs(log(score.perplexity) - score.nats / (double)at) < 1e-9);
    cut_release(&c);
    infer_score_release(&score);
}

static void test_score_empty(void **state)
{
    struct infer_score score;

    (void)state;
    assert_int_equal(infer_score(infer, "", 0, true, &score, NULL), 0);
    assert_int_equal(score.n_tokens, 0);
    assert_true(score.nats == 0.0 && score.bits_per_byte == 0.0);
    assert_true(score.perplexity == 1.0);
    infer_score_release(&score);
}

/* More than one piece: the sum of the parts that are whole segments. */
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
    assert_int_equal(infer_score(infer, s, n, false, &all, NULL), 0);
    assert_null(all.logprobs);
    cut_record(&c, tokenizer, CONTEXT, NULL, 0, s, n, 0, -1);
    segments = c.segments;
    nats = xcalloc(c.n_segments, sizeof *nats);
    for (size_t i = 0; i < c.n_segments; i++)
        assert_int_equal(infer_segments(infer, &segments[i], 1, &nats[i],
                                        NULL, NULL, NULL),
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
    cut_record(&c, tokenizer, CONTEXT, text, 20, text, strlen(text), 0, 0);
    for (size_t i = 0; i < N; i++)
        segments[i] = c.segments[i % c.n_segments];
    assert_int_equal(infer_segments(infer, segments, N, nats, right, NULL,
                                    NULL),
                     0);
    for (size_t i = 0; i < N; i++) {
        const struct segment *s = &segments[i];
        float loss[CONTEXT];
        double sum = 0.0;

        forward_one(s, loss);
        for (size_t j = s->n_masked; j < s->n_tokens - s->ends; j++)
            sum += (double)loss[j];
        assert_true(fabs(sum - nats[i]) < 1e-3);
        assert_true(right[i] <= 1);
    }
    assert_true(nats[0] == 0.0); /* all of it is the prompt */
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
    make_head(0, &l);
    assert_int_equal(infer_create(NULL, NULL, NULL, &l, &labels, NULL,
                                  &linear, NULL),
                     0);
    for (int i = 0; i < 4; i++) {
        cut_record(&c[i], NULL, 0, NULL, 0, texts[i], strlen(texts[i]), 0,
                   given[i]);
        segments[i] = c[i].segments[0];
    }
    assert_int_equal(infer_segments(linear, segments, 4, nats, right, NULL,
                                    NULL),
                     0);
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
    uint16_t tokens[CONTEXT + 2] = {1, 2, 300, 4};
    struct segment s = {.tokens = tokens, .n_tokens = 3, .label = -1};
    atomic_bool stop = true;
    double nats;

    (void)state;
    assert_int_equal(infer_segments(infer, &s, 1, &nats, NULL, NULL, NULL),
                     ERR_INVALID);
    tokens[2] = 3;
    assert_int_equal(infer_segments(infer, &s, 1, &nats, NULL, NULL, NULL), 0);
    assert_int_equal(infer_segments(infer, &s, 1, &nats, NULL, &stop, NULL),
                     ERR_AGAIN);
    s.n_tokens = CONTEXT + 1;
    assert_int_equal(infer_segments(infer, &s, 1, &nats, NULL, NULL, NULL),
                     ERR_INVALID);
    s.n_tokens = 0;
    assert_int_equal(infer_segments(infer, &s, 1, &nats, NULL, NULL, NULL),
                     ERR_INVALID);
    assert_int_equal(infer_segments(infer, &s, 0, &nats, NULL, NULL, NULL), 0);
}

/* --- echo --------------------------------------------------------------- */

static void prompt_of(const char *s, size_t n, struct token_list *l)
{
    tokenizer_encode(tokenizer, s, n, l);
}

static void test_echo(void **state)
{
    enum { K = 5 };
    struct token_list ids = TOKEN_LIST_INIT;
    struct infer_alternative best[sizeof text][K];
    struct infer_score score;
    float p[sizeof text];
    size_t n = strlen(text);

    (void)state;
    prompt_of(text, n, &ids);
    assert_int_equal(infer_score(infer, text, n, true, &score, NULL), 0);
    assert_int_equal(infer_prompt_logprobs(infer, ids.items, n, K, p,
                                           &best[0][0], NULL),
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

/* A prompt that begins with the end mark: the rest is as without it. */
static void test_echo_own_mark(void **state)
{
    struct token_list ids = TOKEN_LIST_INIT;
    float with[sizeof text + 1], without[sizeof text + 1], logits[V];
    size_t n = strlen(text);

    (void)state;
    token_list_add(&ids, END);
    prompt_of(text, n, &ids);
    assert_int_equal(infer_prompt_logprobs(infer, ids.items, n + 1, 0, with,
                                           NULL, NULL),
                     0);
    assert_int_equal(infer_prompt_logprobs(infer, ids.items + 1, n, 0, without,
                                           NULL, NULL),
                     0);
    for (size_t i = 0; i < n; i++)
        assert_true(fabsf(with[i + 1] - without[i]) < 1e-4f);
    logits_after(ids.items, 1, logits);
    assert_true(fabs((double)with[0] - logprob(logits, END)) < 1e-4);
    token_list_release(&ids);
}

static void test_echo_refused(void **state)
{
    uint16_t ids[] = {1, V};
    float p[2];

    (void)state;
    assert_int_equal(infer_prompt_logprobs(infer, ids, 2, 0, p, NULL, NULL),
                     ERR_INVALID);
    assert_int_equal(infer_prompt_logprobs(infer, ids, 1, V + 1, p, NULL,
                                           NULL),
                     ERR_INVALID);
    assert_int_equal(infer_prompt_logprobs(infer, ids, 0, 0, p, NULL, NULL),
                     0);
}

/* --- generation --------------------------------------------------------- */

/* Greedy, with whole forward passes over the windows that infer.h describes. */
static void greedy_slowly(const uint16_t *prompt, size_t n, size_t n_new,
                          struct token_list *out)
{
    struct token_list all = TOKEN_LIST_INIT;
    size_t first;

    token_list_add(&all, END);
    for (size_t i = 0; i < n; i++)
        token_list_add(&all, prompt[i]);
    first = all.n > CONTEXT ? all.n - CONTEXT : 0;
    while (out->n < n_new) {
        float logits[V];
        uint16_t id;

        if (all.n - first > CONTEXT)
            first = all.n - CONTEXT / 2;
        logits_after(all.items + first, all.n - first, logits);
        id = most_likely(logits);
        if (id == END)
            break;
        token_list_add(&all, id);
        token_list_add(out, id);
    }
    token_list_release(&all);
}

static void complete(const struct infer *f, const char *prompt,
                     const struct infer_sampling *s,
                     struct infer_completion *c)
{
    struct token_list ids = TOKEN_LIST_INIT;
    struct err err = ERR_INIT;

    prompt_of(prompt, strlen(prompt), &ids);
    if (infer_complete(f, ids.items, ids.n, s, NULL, NULL, c, &err))
        fail_msg("%s", err.msg);
    token_list_release(&ids);
}

static void expect_same_ids(const struct token_list *a,
                            const struct token_list *b)
{
    assert_int_equal(a->n, b->n);
    for (size_t i = 0; i < a->n; i++)
        assert_int_equal(a->items[i], b->items[i]);
}

static struct infer_sampling greedy(int max_tokens)
{
    struct infer_sampling s;

    infer_sampling_default(&s);
    s.temperature = 0.0f;
    s.max_tokens = max_tokens;
    return s;
}

/* Short, as long as the context, longer; and on for several times of it. */
static void test_greedy(void **state)
{
    static const size_t lengths[] = {0, 1, 5, CONTEXT - 2, CONTEXT - 1,
                                     CONTEXT, CONTEXT + 1, 3 * CONTEXT};
    size_t longest = 0;

    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct infer_sampling s = greedy(4 * CONTEXT);
        struct token_list ids = TOKEN_LIST_INIT, slow = TOKEN_LIST_INIT;
        struct infer_completion c;

        prompt_of(text, lengths[i], &ids);
        greedy_slowly(ids.items, ids.n, 4 * CONTEXT, &slow);
        assert_int_equal(infer_complete(infer, ids.items, ids.n, &s, NULL,
                                        NULL, &c, NULL),
                         0);
        expect_same_ids(&c.tokens, &slow);
        assert_int_equal(c.stopped, slow.n < 4 * CONTEXT);
        longest = slow.n > longest ? slow.n : longest;
        infer_completion_release(&c);
        token_list_release(&ids);
        token_list_release(&slow);
    }
    assert_int_equal(longest, 4 * CONTEXT);
}

static void test_own_mark(void **state)
{
    uint16_t with[] = {END, 'a', 'b'};
    struct infer_sampling s = greedy(10);
    struct infer_completion a, b;

    (void)state;
    assert_int_equal(infer_complete(infer, with, 3, &s, NULL, NULL, &a, NULL),
                     0);
    complete(infer, "ab", &s, &b);
    expect_same_ids(&a.tokens, &b.tokens);
    infer_completion_release(&a);
    infer_completion_release(&b);
}

static void test_logprobs(void **state)
{
    enum { K = 3, N = 12 };
    struct token_list all = TOKEN_LIST_INIT;
    struct infer_sampling s = greedy(N);
    struct infer_completion c;

    (void)state;
    s.temperature = 2.0f; /* the logprobs do not know of it */
    s.n_logprobs = K;
    s.seed = 2;
    complete(infer, "ab", &s, &c);
    assert_int_equal(c.tokens.n, N);
    token_list_add(&all, END);
    prompt_of("ab", 2, &all);
    for (size_t i = 0; i < c.tokens.n; i++) {
        const struct infer_alternative *best = c.alternatives + i * K;
        float logits[V];

        logits_after(all.items, all.n, logits);
        assert_true(fabs((double)c.logprobs[i] -
                         logprob(logits, c.tokens.items[i])) < 1e-4);
        assert_int_equal(best[0].id, most_likely(logits));
        for (size_t k = 0; k < K; k++)
            assert_true(fabs((double)best[k].logprob -
                             logprob(logits, best[k].id)) < 1e-4);
        token_list_add(&all, c.tokens.items[i]);
    }
    token_list_release(&all);
    infer_completion_release(&c);
}

static void test_seeds(void **state)
{
    struct infer_sampling s = greedy(40);
    struct infer_completion a, b, other;

    (void)state;
    s.temperature = 1.0f;
    s.top_p = 0.9f;
    s.top_k = 50;
    s.seed = 11;
    complete(infer, "seed", &s, &a);
    complete(infer, "seed", &s, &b);
    s.seed = 12;
    complete(infer, "seed", &s, &other);
    expect_same_ids(&a.tokens, &b.tokens);
    assert_string_equal(a.text.data, b.text.data);
    assert_true(a.tokens.n != other.tokens.n ||
                memcmp(a.tokens.items, other.tokens.items,
                       a.tokens.n * sizeof *a.tokens.items) != 0);
    infer_completion_release(&a);
    infer_completion_release(&b);
    infer_completion_release(&other);
}

/* Held as int8: less memory, the same bytes each time, near the float one. */
static void test_int8(void **state)
{
    struct infer_options o = {.quantize = INFER_INT8};
    struct infer_sampling s = greedy(40);
    struct infer_completion a, b;
    struct infer_score float_score, score;
    struct infer *f;

    (void)state;
    assert_int_equal(infer_create(&shape, tokenizer, &weights, &head, &labels,
                                  &o, &f, NULL),
                     0);
    assert_int_equal(infer_quantized(f), INFER_INT8);
    assert_int_equal(infer_quantized(infer), INFER_FLOAT);
    assert_true(infer_bytes(f) < model->n_params * sizeof(float));
    s.temperature = 1.0f;
    s.n_logprobs = 2;
    complete(f, "seed", &s, &a);
    complete(f, "seed", &s, &b);
    expect_same_ids(&a.tokens, &b.tokens);
    assert_memory_equal(a.logprobs, b.logprobs,
                        a.tokens.n * sizeof *a.logprobs);
    infer_completion_release(&a);
    infer_completion_release(&b);
    assert_int_equal(infer_score(infer, text, sizeof text - 1, false,
                                 &float_score, NULL),
                     0);
    assert_int_equal(
        infer_score(f, text, sizeof text - 1, false, &score, NULL), 0);
    assert_true(score.nats != float_score.nats);
    assert_true(fabs(score.nats / float_score.nats - 1.0) < 0.02);
    infer_free(f);
}

/* Three ways to say that only the most likely token may come. */
static void test_same_as_greedy(void **state)
{
    struct infer_sampling s = greedy(30);
    struct infer_completion wanted, c;

    (void)state;
    complete(infer, "one", &s, &wanted);
    for (int way = 0; way < 3; way++) {
        s = greedy(30);
        s.temperature = way == 2 ? 1e-4f : 1.5f;
        s.top_k = way == 0 ? 1 : 0;
        s.top_p = way == 1 ? 1e-6f : 1.0f;
        complete(infer, "one", &s, &c);
        expect_same_ids(&c.tokens, &wanted.tokens);
        infer_completion_release(&c);
    }
    infer_completion_release(&wanted);
}

/* Draws follow the distribution: at temperature 1 how often the first token is
 * the most likely one, within four standard errors. */
static void test_draws(void **state)
{
    enum { N = 2000 };
    uint16_t end = END;
    float logits[V];
    double p, seen = 0.0;
    uint16_t best;

    (void)state;
    logits_after(&end, 1, logits);
    best = most_likely(logits);
    p = exp(logprob(logits, best));
    for (uint64_t i = 0; i < N; i++) {
        struct infer_sampling s = greedy(1);
        struct infer_completion c;

        s.temperature = 1.0f;
        s.seed = i;
        complete(infer, "", &s, &c);
        seen += best == END ? c.tokens.n == 0
                            : c.tokens.n == 1 && c.tokens.items[0] == best;
        infer_completion_release(&c);
    }
    assert_true(fabs(seen / N - p) < 4.0 * sqrt(p * (1.0 - p) / N));
}

/* --- where a text ends -------------------------------------------------- */

/* What was generated, as bytes. */
static void raw_of(const struct infer_completion *c, struct buf *raw)
{
    buf_adds(raw, "");
    tokenizer_decode(tokenizer, c->tokens.items, c->tokens.n, raw);
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
        struct infer_sampling s = greedy(7);
        struct infer_completion c;
        struct buf raw = BUF_INIT;

        s.temperature = 1.0f;
        s.seed = seed;
        complete(infer, "\xc3\xa4", &s, &c);
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

/* Every run of 1 to 4 bytes of a text as its stop string: each byte is a
 * token, so that all but the shortest lie across tokens. */
static void test_stop_strings(void **state)
{
    struct infer_sampling s = greedy(24);
    struct infer_completion whole;
    struct buf raw = BUF_INIT;

    (void)state;
    s.temperature = 1.0f;
    s.seed = 5;
    s.n_logprobs = 1;
    complete(infer, "stop", &s, &whole);
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
            complete(infer, "stop", &s, &c);
            assert_true(c.stopped);
            assert_int_equal(c.tokens.n, at);
            expect_text(&c, raw.data, at);
            infer_completion_release(&c);
        }
    }
    buf_release(&raw);
    infer_completion_release(&whole);
}

/* A model that writes one token of two bytes for ever. */
static struct infer *make_repeater(const struct tokenizer *two)
{
    struct model_shape merged = shape;
    struct tensor_list l = TENSOR_LIST_INIT;
    struct infer *f;
    size_t dim = (size_t)shape.dim;

    merged.vocab_size = V + 1;
    for (size_t i = 0; i < model->n_tensors; i++) {
        const struct model_tensor *t = &model->tensors[i];
        size_t dims[2] = {t->shape[0] == V ? V + 1 : t->shape[0], t->shape[1]};
        float *p = tensor_add_copy(&l, t->name, TENSOR_F32, t->n_dims, dims,
                                   NULL);

        /* The residual stays the embedding, which is ones; all of the output
         * is zero but the token's row. */
        for (size_t j = 0; j < t->count; j++)
            p[j] = t->n_dims == 1 || t->offset == model->embed ? 1.0f : 0.0f;
        for (size_t j = 0; t->offset == model->embed && j < dim; j++)
            p[V * dim + j] = 1.0f;
        for (size_t j = 0; t->offset == model->lm_head && j < dim; j++)
            p[V * dim + j] = 1.0f;
    }
    assert_int_equal(infer_create(&merged, two, &l, &no_head, &no_labels,
                                  NULL, &f, NULL),
                     0);
    tensor_list_release(&l);
    return f;
}

/* A token of which the stop string leaves a part. */
static void test_stop_inside_token(void **state)
{
    static const char learned[] = "abababababababababab";
    const char *stops[] = {"ba"};
    struct infer_sampling s = greedy(6);
    struct tokenizer *two;
    struct infer_completion c;
    struct infer *f;
    size_t n_bytes;

    (void)state;
    assert_int_equal(tokenizer_train(learned, strlen(learned), V + 1, NULL,
                                     NULL, &two, NULL),
                     0);
    assert_string_equal(tokenizer_bytes(two, V, &n_bytes), "ab");
    f = make_repeater(two);
    complete(f, "x", &s, &c);
    assert_string_equal(c.text.data, "abababababab");
    assert_false(c.stopped);
    infer_completion_release(&c);
    s.stop = stops;
    s.n_stop = 1;
    complete(f, "x", &s, &c);
    assert_string_equal(c.text.data, "a");
    assert_int_equal(c.tokens.n, 1); /* it begins before the stop string */
    assert_true(c.stopped);
    infer_completion_release(&c);
    infer_free(f);
    tokenizer_free(two);
}

/* The end mark ends a text, and is told to nobody. */
static bool count_told(uint16_t id, void *arg)
{
    int *told = arg;

    assert_int_not_equal(id, END);
    return ++*told == 3;
}

static void test_told(void **state)
{
    struct infer_sampling s = greedy(10);
    struct infer_completion c;
    uint16_t prompt[] = {'h', 'i'};
    int ends = 0;

    (void)state;
    s.temperature = 1.0f;
    for (s.seed = 0; s.seed < 400; s.seed++) {
        int told = 0;

        assert_int_equal(infer_complete(infer, prompt, 2, &s, count_told,
                                        &told, &c, NULL),
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
    struct infer_sampling s = greedy(0);
    struct infer_completion c;

    (void)state;
    complete(infer, "hello", &s, &c);
    assert_int_equal(c.tokens.n, 0);
    assert_string_equal(c.text.data, "");
    assert_false(c.stopped);
    infer_completion_release(&c);
}

static int refused(const struct infer_sampling *s)
{
    struct infer_completion c;
    uint16_t id = 1;

    return infer_complete(infer, &id, 1, s, NULL, NULL, &c, NULL);
}

static void test_sampling_refused(void **state)
{
    const char *empty = "";
    struct infer_sampling s;
    struct infer_completion c;
    uint16_t id = V;

    (void)state;
    s = greedy(1), s.temperature = -1.0f;
    assert_int_equal(refused(&s), ERR_INVALID);
    s = greedy(1), s.temperature = NAN;
    assert_int_equal(refused(&s), ERR_INVALID);
    s = greedy(1), s.top_p = 1.5f;
    assert_int_equal(refused(&s), ERR_INVALID);
    s = greedy(1), s.top_k = -1;
    assert_int_equal(refused(&s), ERR_INVALID);
    s = greedy(-1);
    assert_int_equal(refused(&s), ERR_INVALID);
    s = greedy(1), s.n_logprobs = V + 1;
    assert_int_equal(refused(&s), ERR_INVALID);
    s = greedy(1), s.stop = &empty, s.n_stop = 1;
    assert_int_equal(refused(&s), ERR_INVALID);
    s = greedy(1);
    assert_int_equal(infer_complete(infer, &id, 1, &s, NULL, NULL, &c, NULL),
                     ERR_INVALID);
}

/* --- classes, embeddings ------------------------------------------------ */

static void test_classify(void **state)
{
    float scores[3], sum;

    (void)state;
    assert_int_equal(infer_classify(infer, text, strlen(text), scores, NULL),
                     0);
    sum = scores[0] + scores[1] + scores[2];
    assert_true(fabsf(sum - 1.0f) < 1e-5f);
    assert_true(scores[0] > 0.0f && scores[1] > 0.0f);
    assert_true(scores[2] == 0.0f);
}

/* A text of two segments: the mean of the head's scores for each. */
static void test_classify_mean(void **state)
{
    static const char two[] = "red rose, red rose and a blue sea";
    struct head_options o = {.dim = 32};
    struct head *h = head_create(&o);
    struct model_work *w = model_work_create(model, CONTEXT);
    float scores[3], wanted[2] = {0.0f, 0.0f};
    struct cut c;

    (void)state;
    assert_int_equal(head_import(h, &head, NULL, NULL), 0);
    cut_record(&c, tokenizer, CONTEXT, NULL, 0, two, strlen(two), -1, -1);
    assert_true(c.n_segments > 1);
    for (size_t i = 0; i < c.n_segments; i++) {
        struct batch b = {0};
        struct buf part = BUF_INIT;
        float one[2];

        batch_add(&b, &c.segments[i]);
        model_forward(model, params, &b, w, NULL);
        cut_text(&c.segments[i], tokenizer, &part);
        head_scores(h, part.data, part.len, model_states(w), b.n_tokens, one);
        for (int k = 0; k < 2; k++)
            wanted[k] += one[k] / (float)c.n_segments;
        buf_release(&part);
        batch_release(&b);
    }
    assert_int_equal(infer_classify(infer, two, strlen(two), scores, NULL), 0);
    for (int k = 0; k < 2; k++)
        assert_true(fabsf(scores[k] - wanted[k]) < 1e-4f);
    cut_release(&c);
    model_work_free(w);
    head_free(h);
}

static void test_linear(void **state)
{
    struct tensor_list l = TENSOR_LIST_INIT;
    struct infer_sampling s = greedy(1);
    struct infer_completion c;
    struct infer_score score;
    struct infer *f;
    float scores[3];
    uint16_t id = 1;

    (void)state;
    make_head(0, &l);
    assert_int_equal(infer_create(NULL, NULL, NULL, &l, &labels, NULL, &f,
                                  NULL),
                     0);
    tensor_list_release(&l); /* it keeps nothing of it */
    assert_null(infer_shape(f));
    assert_true(infer_bytes(f) > 256 * 32 * sizeof(float));
    assert_int_equal(infer_classify(f, "red red wine", 12, scores, NULL), 0);
    assert_true(scores[0] > scores[1]);
    assert_int_equal(infer_classify(f, "a blue sky", 10, scores, NULL), 0);
    assert_true(scores[1] > scores[0]);
    assert_true(fabsf(scores[0] + scores[1] - 1.0f) < 1e-5f);
    assert_int_equal(infer_score(f, "x", 1, false, &score, NULL), ERR_INVALID);
    assert_int_equal(infer_embed(f, "x", 1, scores, NULL), ERR_INVALID);
    assert_int_equal(infer_complete(f, &id, 1, &s, NULL, NULL, &c, NULL),
                     ERR_INVALID);
    assert_int_equal(infer_prompt_logprobs(f, &id, 1, 0, scores, NULL, NULL),
                     ERR_INVALID);
    infer_free(f);
}

static void test_no_labels(void **state)
{
    struct infer *f;
    float score;

    (void)state;
    assert_int_equal(infer_create(&shape, tokenizer, &weights, &no_head,
                                  &no_labels, NULL, &f, NULL),
                     0);
    assert_int_equal(infer_classify(f, "x", 1, &score, NULL), ERR_STATE);
    infer_free(f);
}

static void test_embed(void **state)
{
    struct model_work *w = model_work_create(model, CONTEXT);
    double sum[32] = {0}, squares = 0.0, length = 0.0;
    float out[32];
    struct cut c;

    (void)state;
    cut_record(&c, tokenizer, CONTEXT, NULL, 0, text, strlen(text), -1, -1);
    for (size_t i = 0; i < c.n_segments; i++) {
        struct batch b = {0};

        batch_add(&b, &c.segments[i]);
        model_forward(model, params, &b, w, NULL);
        for (size_t j = 0; j < b.n_tokens * 32; j++)
            sum[j % 32] += (double)model_states(w)[j];
        batch_release(&b);
    }
    for (size_t j = 0; j < 32; j++)
        squares += sum[j] * sum[j];
    assert_int_equal(infer_embed(infer, text, strlen(text), out, NULL), 0);
    for (size_t j = 0; j < 32; j++) {
        length += (double)out[j] * (double)out[j];
        assert_true(fabs((double)out[j] - sum[j] / sqrt(squares)) < 1e-4);
    }
    assert_true(fabs(length - 1.0) < 1e-5);
    assert_int_equal(infer_embed(infer, "", 0, out, NULL), 0);
    cut_release(&c);
    model_work_free(w);
}

/* --- two at once -------------------------------------------------------- */

struct answers {
    double nats;
    float scores[3];
    float embedding[32];
    char *written;
};

static void ask(struct answers *a)
{
    struct infer_sampling s = greedy(60);
    struct infer_completion c;
    struct infer_score score;
    uint16_t prompt[] = {'a', 'b', 'c'};

    s.temperature = 1.0f;
    s.seed = 21;
    if (infer_score(infer, text, strlen(text), true, &score, NULL) ||
        infer_classify(infer, text, strlen(text), a->scores, NULL) ||
        infer_embed(infer, text, strlen(text), a->embedding, NULL) ||
        infer_complete(infer, prompt, 3, &s, NULL, NULL, &c, NULL))
        abort();
    a->nats = score.nats;
    a->written = xstrdup(c.text.data);
    infer_score_release(&score);
    infer_completion_release(&c);
}

#define ROUNDS 8

static void *ask_often(void *arg)
{
    struct answers *a = arg;

    for (int i = 0; i < ROUNDS; i++)
        ask(&a[i]);
    return NULL;
}

static void test_threads(void **state)
{
    enum { THREADS = 6 }; /* more than the pool keeps */
    struct answers one, a[THREADS][ROUNDS];
    pthread_t threads[THREADS];

    (void)state;
    ask(&one);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_often, a[i]),
                         0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS * ROUNDS; i++) {
        struct answers *b = &a[i / ROUNDS][i % ROUNDS];

        assert_true(b->nats == one.nats);
        assert_memory_equal(b->scores, one.scores, sizeof one.scores);
        assert_memory_equal(b->embedding, one.embedding,
                            sizeof one.embedding);
        assert_string_equal(b->written, one.written);
        free(b->written);
    }
    free(one.written);
    assert_true(infer_bytes(infer) > model->n_params * sizeof(float));
}

/* --- what is refused ---------------------------------------------------- */

static int create(const struct tensor_list *w, const struct tensor_list *h,
                  const struct names *n, struct err *err)
{
    struct infer *f = NULL;
    int rc = infer_create(&shape, tokenizer, w, h, n, NULL, &f, err);

    infer_free(f);
    return rc;
}

static void test_weights_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < model->n_tensors; i++) {
        const struct model_tensor *t = &model->tensors[i];
        size_t turned[2] = {t->shape[1], t->shape[0]};
        struct tensor_list l = TENSOR_LIST_INIT;
        struct tensor *mine;
        struct err err = ERR_INIT;
        float keep = params[t->offset + t->count / 2];

        lend_weights(&l);
        mine = &l.items[i];
        mine->name[0] ^= 1;
        assert_int_equal(create(&l, &head, &labels, &err), ERR_CORRUPT);
        assert_non_null(strstr(err.msg, t->name));
        mine->name[0] ^= 1;
        mine->type = TENSOR_U8;
        assert_int_equal(create(&l, &head, &labels, &err), ERR_CORRUPT);
        mine->type = TENSOR_F32;
        if (t->n_dims == 2 && turned[0] != turned[1]) {
            memcpy(mine->shape, turned, sizeof turned);
            assert_int_equal(create(&l, &head, &labels, &err), ERR_CORRUPT);
            assert_non_null(strstr(err.msg, t->name));
            memcpy(mine->shape, t->shape, sizeof t->shape);
        }
        params[t->offset + t->count / 2] = i % 2 ? NAN : -INFINITY;
        assert_int_equal(create(&l, &head, &labels, &err), ERR_CORRUPT);
        assert_non_null(strstr(err.msg, t->name));
        params[t->offset + t->count / 2] = keep;
        assert_int_equal(create(&l, &head, &labels, &err), 0);
        tensor_list_release(&l);
    }
}

static void test_head_refused(void **state)
{
    struct tensor_list l = TENSOR_LIST_INIT;
    struct err err = ERR_INIT;
    float *rows, keep;

    (void)state;
    make_head(16, &l); /* of another model */
    assert_int_equal(create(&weights, &l, &labels, &err), ERR_CORRUPT);
    tensor_list_release(&l);
    assert_int_equal(create(&weights, &head, &no_labels, &err), ERR_CORRUPT);
    rows = tensor_find(&head, "head.rows")->data;
    keep = rows[1];
    rows[1] = NAN;
    assert_int_equal(create(&weights, &head, &labels, &err), ERR_CORRUPT);
    rows[1] = keep;
    assert_int_equal(create(&weights, &head, &labels, &err), 0);
}

static void test_shape_refused(void **state)
{
    struct model_shape other = shape;
    struct infer *f;

    (void)state;
    other.vocab_size = V + 1; /* not the tokenizer's */
    assert_int_equal(infer_create(&other, tokenizer, &weights, &head, &labels,
                                  NULL, &f, NULL),
                     ERR_CORRUPT);
    other = shape;
    other.heads = 3;
    assert_int_equal(infer_create(&other, tokenizer, &weights, &head, &labels,
                                  NULL, &f, NULL),
                     ERR_CORRUPT);
    other.heads = 0;
    assert_int_equal(infer_create(&other, tokenizer, &weights, &head, &labels,
                                  NULL, &f, NULL),
                     ERR_INVALID);
}

/* Weights that are finite, and what they compute is not. */
static void test_not_finite(void **state)
{
    struct infer_sampling s = greedy(4);
    struct infer_completion c;
    struct infer_score score;
    struct infer *f;
    float p[2];
    uint16_t ids[] = {1, 2};

    (void)state;
    for (size_t j = 0; j < (size_t)shape.dim; j++)
        params[model->norm + j] = 1e38f;
    for (size_t j = 0; j < V * (size_t)shape.dim; j++)
        params[model->lm_head + j] *= 1e30f;
    assert_int_equal(infer_create(&shape, tokenizer, &weights, &head, &labels,
                                  NULL, &f, NULL),
                     0);
    randomise(0.2f);
    assert_int_equal(infer_score(f, text, strlen(text), false, &score, NULL),
                     ERR_DIVERGED);
    assert_int_equal(infer_complete(f, ids, 2, &s, NULL, NULL, &c, NULL),
                     ERR_DIVERGED);
    assert_int_equal(infer_prompt_logprobs(f, ids, 2, 0, p, NULL, NULL),
                     ERR_DIVERGED);
    infer_free(f);
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
        cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_own_mark),
        cmocka_unit_test(test_logprobs),
        cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_int8),
        cmocka_unit_test(test_same_as_greedy),
        cmocka_unit_test(test_draws),
        cmocka_unit_test(test_characters),
        cmocka_unit_test(test_stop_strings),
        cmocka_unit_test(test_stop_inside_token),
        cmocka_unit_test(test_told),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_sampling_refused),
        cmocka_unit_test(test_classify),
        cmocka_unit_test(test_classify_mean),
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_no_labels),
        cmocka_unit_test(test_embed),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_weights_refused),
        cmocka_unit_test(test_head_refused),
        cmocka_unit_test(test_shape_refused),
        cmocka_unit_test(test_not_finite),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
