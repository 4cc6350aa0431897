/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The n-gram memory: distributions that sum to one, an arithmetic coder that is
 * driven by them, readers against learning, and files that are refused.
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

#include "base/fileio.h"
#include "base/rng.h"
#include "base/model_shape.h"
#include "base/xalloc.h"
#include "learner/ngram.h"

#define V 300
#define CONTEXT 128
#define TEXT_BYTES 30000

/* --- a Transformer and texts -------------------------------------------- */

/* Stands for the Transformer: ln p of the next token, a function of the last
 * one. Text is as unlikely to it as any tokens. */
static void model(token_id last, float *logprobs)
{
    double sum = 0.0;

    for (size_t v = 0; v < V; v++) {
        logprobs[v] = (float)rng_normal(5, RNG_INIT, last, v) * 2.0f;
        sum += exp((double)logprobs[v]);
    }
    for (size_t v = 0; v < V; v++)
        logprobs[v] -= (float)log(sum);
}

static void losses(const struct segment *s, float *loss)
{
    float logprobs[V];

    for (uint32_t t = 0; t < s->n_tokens; t++) {
        model(s->tokens[t], logprobs);
        loss[t] = -logprobs[s->tokens[t + 1]];
    }
}

/* The licence as tokens, each a byte. tokens[0] is the input before it. */
static size_t read_text(token_id *tokens)
{
    struct buf text = BUF_INIT;
    size_t n;

    assert_int_equal(fileio_read(TOP_SRCDIR "/LICENSE", 1 << 20, &text, NULL),
                     0);
    n = text.len < TEXT_BYTES ? text.len : TEXT_BYTES;
    tokens[0] = 256;
    for (size_t i = 0; i < n; i++)
        tokens[i + 1] = (unsigned char)text.data[i];
    buf_release(&text);
    return n;
}

static struct segment segment_at(const token_id *tokens, size_t from, size_t n)
{
    return (struct segment){
        .tokens = tokens + from,
        .n_tokens = (uint32_t)(n - from < CONTEXT ? n - from : CONTEXT),
    };
}

/* Learns n tokens in segments. Returns the sum of the losses. */
static double learn(struct ngram *memory, const token_id *tokens, size_t n)
{
    float loss[CONTEXT], mixed[CONTEXT];
    double nats = 0.0;

    for (size_t from = 0; from < n; from += CONTEXT) {
        struct segment s = segment_at(tokens, from, n);

        losses(&s, loss);
        ngram_learn(memory, &s, loss, mixed);
        for (uint32_t t = 0; t < s.n_tokens; t++)
            nats += (double)mixed[t];
    }
    return nats;
}

static struct ngram *learned(size_t n_tokens)
{
    static token_id tokens[TEXT_BYTES + 1];
    struct ngram *memory = ngram_create(V, 1);
    size_t n = read_text(tokens);

    learn(memory, tokens, n < n_tokens ? n : n_tokens);
    return memory;
}

/* A random text in which tokens and sequences repeat. */
static void random_tokens(uint64_t seed, token_id *tokens, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t from = rng_below(i + 1, seed, RNG_INIT, i, 0);

        if (i > 8 && rng_below(4, seed, RNG_INIT, i, 1))
            tokens[i] = tokens[from];
        else
            tokens[i] = (token_id)rng_below(V, seed, RNG_INIT, i, 2);
    }
}

static double sum_of(const float *logprobs)
{
    double sum = 0.0;

    for (size_t v = 0; v < V; v++)
        sum += exp((double)logprobs[v]);
    return sum;
}

/* --- distributions ------------------------------------------------------ */

/* Each distribution sums to one, and gives the target the probability that the
 * reader then says. */
static void check_distributions(const struct ngram *memory, uint64_t seed,
                                size_t n)
{
    struct ngram_reader *r = ngram_reader_create(memory);
    token_id *tokens = xcalloc(n + 1, sizeof *tokens);
    float logprobs[V], mixed[V];

    random_tokens(seed, tokens, n + 1);
    ngram_reader_start(r, tokens[0]);
    for (size_t t = 0; t < n; t++) {
        token_id target = tokens[t + 1];
        double loss;

        model(tokens[t], logprobs);
        ngram_reader_distribution(r, logprobs, mixed);
        assert_true(fabs(sum_of(mixed) - 1.0) < 1e-6);
        loss = ngram_reader_next(r, target, -(double)logprobs[target]);
        assert_true(fabs(loss + (double)mixed[target]) < 1e-5);
    }
    free(tokens);
    ngram_reader_free(r);
}

static void distributions_sum_to_one(void **state)
{
    struct ngram *empty = ngram_create(V, 1), *memory = learned(TEXT_BYTES);

    (void)state;
    for (uint64_t seed = 0; seed < 10; seed++) {
        check_distributions(empty, seed, 100);
        check_distributions(memory, seed, 100);
    }
    ngram_free(empty);
    ngram_free(memory);
}

/* Every slot is taken many times over, and counts reach their limit. */
static void a_full_table_is_a_distribution(void **state)
{
    struct ngram *memory = ngram_create(V, 1);
    token_id *tokens = xcalloc(60001, sizeof *tokens);

    (void)state;
    for (uint64_t seed = 0; seed < 3; seed++) {
        random_tokens(seed, tokens, 60001);
        memset(tokens + 40000, 0, 2000 * sizeof *tokens);
        learn(memory, tokens, 60000);
    }
    check_distributions(memory, 1, 300);
    free(tokens);
    ngram_free(memory);
}

/* --- an arithmetic coder ------------------------------------------------ */

/* A carryless range coder (Subbotin 1999) with 64 bits. */
#define TOP (UINT64_C(1) << 56)
#define BOTTOM (UINT64_C(1) << 48)
#define TOTAL (UINT64_C(1) << 40)

struct coder {
    uint64_t low, range, code;
    struct buf bytes;
    size_t at;
};

static uint64_t next_byte(struct coder *c)
{
    return c->at < c->bytes.len ? (unsigned char)c->bytes.data[c->at++] : 0;
}

static void shift(struct coder *c, bool decodes)
{
    for (;;) {
        if ((c->low ^ (c->low + c->range)) >= TOP) {
            if (c->range >= BOTTOM)
                return;
            c->range = -c->low & (BOTTOM - 1);
        }
        if (decodes) {
            c->code = c->code << 8 | next_byte(c);
        } else {
            char byte = (char)(c->low >> 56);

            buf_add(&c->bytes, &byte, 1);
        }
        c->low <<= 8;
        c->range <<= 8;
    }
}

/* Whole numbers in the proportions of a distribution. Returns their sum. */
static uint64_t scale(const float *logprobs, uint64_t *frequencies)
{
    uint64_t sum = 0;

    for (size_t v = 0; v < V; v++) {
        frequencies[v] =
            1 + (uint64_t)(exp((double)logprobs[v]) * (double)TOTAL);
        sum += frequencies[v];
    }
    return sum;
}

static void encode(struct coder *c, const float *logprobs, token_id token)
{
    uint64_t frequencies[V], sum = scale(logprobs, frequencies), below = 0;

    for (size_t v = 0; v < token; v++)
        below += frequencies[v];
    c->range /= sum;
    c->low += below * c->range;
    c->range *= frequencies[token];
    shift(c, false);
}

static token_id decode(struct coder *c, const float *logprobs)
{
    uint64_t frequencies[V], sum = scale(logprobs, frequencies), below = 0;
    uint64_t at;
    token_id token = 0;

    c->range /= sum;
    at = (c->code - c->low) / c->range;
    while (token + 1 < V && below + frequencies[token] <= at)
        below += frequencies[token++];
    c->low += below * c->range;
    c->range *= frequencies[token];
    shift(c, true);
    return token;
}

/* Codes the text, segment by segment. The memory learns each segment when it
 * has been coded. Decoding fills tokens[1..n]. Returns the sum of the losses
 * that learning says. */
static double code_text(struct coder *c, token_id *tokens, size_t n,
                        bool decodes)
{
    struct ngram *memory = ngram_create(V, 1);
    struct ngram_reader *r = ngram_reader_create(memory);
    float logprobs[V], mixed[V];
    double nats = 0.0;

    for (size_t from = 0; from < n; from += CONTEXT) {
        struct segment s = segment_at(tokens, from, n);
        size_t count = s.n_tokens;

        ngram_reader_start(r, tokens[from]);
        for (size_t t = from; t < from + count; t++) {
            model(tokens[t], logprobs);
            ngram_reader_distribution(r, logprobs, mixed);
            if (decodes)
                tokens[t + 1] = decode(c, mixed);
            else
                encode(c, mixed, tokens[t + 1]);
            ngram_reader_next(r, tokens[t + 1],
                              -(double)logprobs[tokens[t + 1]]);
        }
        nats += learn(memory, tokens + from, count);
    }
    ngram_reader_free(r);
    ngram_free(memory);
    return nats;
}

/* The text comes back from its code, whose length is the sum of the losses. */
static void an_arithmetic_coder_brings_the_text_back(void **state)
{
    static token_id tokens[TEXT_BYTES + 1], decoded[TEXT_BYTES + 1];
    struct coder c = {.range = UINT64_MAX, .bytes = BUF_INIT};
    struct coder d = {.range = UINT64_MAX};
    size_t n = read_text(tokens);
    double bits = code_text(&c, tokens, n, false) / log(2.0);
    double written;

    (void)state;
    for (int i = 0; i < 8; i++) {
        char byte = (char)(c.low >> 56);

        buf_add(&c.bytes, &byte, 1);
        c.low <<= 8;
    }
    written = 8.0 * (double)c.bytes.len;
    assert_true(n > 10000);
    assert_true(fabs(written - bits) < 0.001 * bits + 64);
    assert_true(bits / (double)n < 3.0); /* it has learned */
    d.bytes = c.bytes;
    for (int i = 0; i < 8; i++)
        d.code = d.code << 8 | next_byte(&d);
    decoded[0] = tokens[0];
    code_text(&d, decoded, n, true);
    assert_memory_equal(decoded, tokens, (n + 1) * sizeof *tokens);
    buf_release(&c.bytes);
}

/* --- losses ------------------------------------------------------------- */

/* A script that was never seen, and that the Transformer does not expect, costs
 * less than 8 bits a byte. */
static void unknown_text_has_a_floor(void **state)
{
    static const char text[] =
        "\xce\x97 \xce\xbc\xce\xbd\xce\xae\xce\xbc\xce\xb7 "
        "\xce\xba\xcf\x81\xce\xb1\xcf\x84\xce\xac \xcf\x8c\xcf\x83"
        "\xce\xb1 \xce\xbc\xce\xb1\xce\xb8\xce\xb1\xce\xaf\xce\xbd"
        "\xce\xb5\xce\xb9 \xce\xba\xce\xb1\xce\xbd\xce\xb5\xce\xaf"
        "\xcf\x82.";
    struct ngram *memory = learned(TEXT_BYTES);
    struct ngram_reader *r = ngram_reader_create(memory);
    size_t n = sizeof text - 1;
    double nats = 0.0;

    (void)state;
    ngram_reader_start(r, 256);
    for (size_t t = 0; t < n; t++)
        nats += ngram_reader_next(r, (unsigned char)text[t], 20.0);
    assert_true(nats / log(2.0) / (double)n < 8.0);
    ngram_reader_free(r);
    ngram_free(memory);
}

static void a_loss_that_is_no_number_counts_as_zero_probability(void **state)
{
    struct ngram *memory = ngram_create(V, 1);
    token_id tokens[] = {256, 'a', 299, 'a'};
    float loss[] = {NAN, INFINITY, NAN}, mixed[3];
    struct segment s = {.tokens = tokens, .n_tokens = 3};

    (void)state;
    ngram_learn(memory, &s, loss, mixed);
    for (int i = 0; i < 3; i++)
        assert_true(isfinite(mixed[i]));
    check_distributions(memory, 3, 50);
    ngram_free(memory);
}

/* Tokens that differ only above 16 bits are different tokens. */
static void ids_above_16_bits_are_told_apart(void **state)
{
    enum { WIDE = MODEL_MAX_VOCAB, N = 60 };
    static float logprobs[WIDE], mixed[WIDE];
    struct ngram *memory = ngram_create(WIDE, 1), *read = NULL;
    struct ngram_reader *r = ngram_reader_create(memory);
    struct tensor_list l = TENSOR_LIST_INIT;
    token_id tokens[N + 1];
    float loss[N];
    struct segment s = {.tokens = tokens, .n_tokens = N};
    double sum = 0.0;

    (void)state;
    for (int t = 0; t < N; t++)
        loss[t] = 12.0f;
    for (int t = 0; t <= N; t++) /* 7 is followed by each of four in turn */
        tokens[t] = t % 2 ? (token_id)(t / 2 % 4) << 16 | 5 : 7;
    ngram_learn(memory, &s, loss, loss);
    for (size_t v = 0; v < WIDE; v++)
        logprobs[v] = -logf(WIDE);
    ngram_reader_start(r, 7);
    ngram_reader_distribution(r, logprobs, mixed);
    for (size_t v = 0; v < WIDE; v++)
        sum += exp((double)mixed[v]);
    assert_true(fabs(sum - 1.0) < 1e-3);
    for (token_id high = 0; high < 4; high++) {
        assert_true(mixed[high << 16 | 5] > logf(0.02f));
        assert_true(mixed[high << 16 | 6] < logf(0.002f));
    }
    ngram_export(memory, &l);
    assert_int_equal(ngram_import(&l, WIDE, &read, NULL), 0);
    ngram_free(read);
    read = NULL;
    assert_int_equal(ngram_import(&l, V, &read, NULL), ERR_CORRUPT);
    tensor_list_release(&l);
    ngram_reader_free(r);
    ngram_free(memory);
}

/* A reader has the losses that learning has, to the bit, and leaves the memory
 * as it was. Masked targets have no loss. */
static void a_reader_agrees_with_learning(void **state)
{
    static token_id tokens[TEXT_BYTES + 1];
    float loss[CONTEXT], read[CONTEXT], again[CONTEXT], mixed[CONTEXT];
    size_t n = read_text(tokens);
    struct ngram *memory = ngram_create(V, 1);
    struct ngram_reader *r = ngram_reader_create(memory);

    (void)state;
    for (size_t from = 0; from < n; from += CONTEXT) {
        struct segment s = segment_at(tokens, from, n);

        s.n_masked = from % 3 ? 0 : 5;
        losses(&s, loss);
        ngram_reader_segment(r, &s, loss, read);
        ngram_reader_segment(r, &s, loss, again);
        ngram_learn(memory, &s, loss, mixed);
        assert_memory_equal(read, again, s.n_tokens * sizeof *read);
        assert_memory_equal(read, mixed, s.n_tokens * sizeof *read);
        for (uint32_t t = 0; t < s.n_masked; t++)
            assert_true(mixed[t] == 0.0f);
    }
    ngram_reader_free(r);
    ngram_free(memory);
}

/* --- files -------------------------------------------------------------- */

static void assert_same(const struct ngram *a, const struct ngram *b)
{
    struct tensor_list x = TENSOR_LIST_INIT, y = TENSOR_LIST_INIT;

    ngram_export(a, &x);
    ngram_export(b, &y);
    assert_int_equal(x.n, y.n);
    for (size_t i = 0; i < x.n; i++) {
        assert_int_equal(tensor_bytes(&x.items[i]), tensor_bytes(&y.items[i]));
        assert_memory_equal(x.items[i].data, y.items[i].data,
                            tensor_bytes(&x.items[i]));
    }
    tensor_list_release(&x);
    tensor_list_release(&y);
}

static void an_imported_memory_learns_the_same(void **state)
{
    static token_id tokens[TEXT_BYTES + 1];
    struct tensor_list l = TENSOR_LIST_INIT;
    struct ngram *a = learned(5000), *b = NULL;
    size_t n = read_text(tokens);

    (void)state;
    assert_true(n > 8000);
    ngram_export(a, &l);
    assert_int_equal(ngram_import(&l, V, &b, NULL), 0);
    assert_same(a, b);
    assert_true(learn(a, tokens + 5000, 3000) == learn(b, tokens + 5000, 3000));
    assert_same(a, b);
    tensor_list_release(&l);
    ngram_free(a);
    ngram_free(b);
}

/* Imports the list after a change of `size` bytes at `at`, and undoes it. */
static int import_changed(struct tensor_list *l, const char *name, size_t at,
                          const void *bytes, size_t size)
{
    char *data = tensor_find(l, name)->data, was[8];
    struct ngram *memory = NULL;
    int rc;

    memcpy(was, data + at, size);
    memcpy(data + at, bytes, size);
    rc = ngram_import(l, V, &memory, NULL);
    memcpy(data + at, was, size);
    ngram_free(memory);
    return rc;
}

static void a_damaged_file_is_refused(void **state)
{
    static const float bad[] = {NAN, -1.0f, 2.5f, INFINITY, 0.0f};
    const int64_t counts[] = {-1, INT64_MAX};
    /* A slot: u16 check, u8 n, u8 high, u16 tokens[4], u8 counts[4]. */
    const unsigned char five = 5, one = 1;
    const token_id token = V;
    struct tensor_list l = TENSOR_LIST_INIT, part = TENSOR_LIST_INIT;
    struct ngram *memory = learned(1000), *none = NULL;

    (void)state;
    ngram_export(memory, &l);
    assert_int_equal(import_changed(&l, "ngram.slots", 16 + 2, &five, 1),
                     ERR_CORRUPT);
    memset(tensor_find(&l, "ngram.slots")->data, 0, 64);
    assert_int_equal(import_changed(&l, "ngram.slots", 0, &one, 1), 0);
    /* A token that has no count. */
    assert_int_equal(import_changed(&l, "ngram.slots", 2, &one, 1),
                     ERR_CORRUPT);
    ((unsigned char *)tensor_find(&l, "ngram.slots")->data)[2] = 1;
    ((unsigned char *)tensor_find(&l, "ngram.slots")->data)[12] = 1;
    assert_int_equal(import_changed(&l, "ngram.slots", 4, &token, 2),
                     ERR_CORRUPT);
    assert_int_equal(import_changed(&l, "ngram.slots", 3, &one, 1),
                     ERR_CORRUPT);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(import_changed(&l, "ngram.counts", 8, &counts[i], 8),
                         ERR_CORRUPT);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(import_changed(&l, "ngram.weights", 0, &bad[i], 4),
                         ERR_CORRUPT);
    assert_int_equal(ngram_import(&l, V + 1, &none, NULL), ERR_CORRUPT);
    tensor_add_borrowed(&part, l.items[0].name, l.items[0].type, 2,
                        l.items[0].shape, l.items[0].data);
    assert_int_equal(ngram_import(&part, V, &none, NULL), ERR_CORRUPT);
    assert_int_equal(
        ngram_import(&(struct tensor_list)TENSOR_LIST_INIT, V, &none, NULL),
        ERR_CORRUPT);
    tensor_list_release(&part);
    tensor_list_release(&l);
    ngram_free(memory);
}

/* Whatever an accepted file holds, it gives distributions. */
static void random_changes_are_refused_or_harmless(void **state)
{
    struct ngram *memory = learned(TEXT_BYTES);
    struct tensor_list l = TENSOR_LIST_INIT;
    int accepted = 0;

    (void)state;
    ngram_export(memory, &l);
    for (uint64_t k = 0; k < 60; k++) {
        const struct tensor *t = &l.items[rng_below(3, 8, RNG_INIT, k, 0)];
        size_t n = tensor_bytes(t);
        unsigned char *was = xmalloc(n), *data = t->data;
        struct ngram *read = NULL;

        memcpy(was, data, n);
        for (uint64_t i = 0; i < 1 + k % 5; i++)
            data[rng_below(n, 8, RNG_INIT, k, 2 * i + 1)] ^=
                (unsigned char)(1u << rng_below(8, 8, RNG_INIT, k, 2 * i + 2));
        if (ngram_import(&l, V, &read, NULL) == 0) {
            check_distributions(read, k, 60);
            accepted++;
        }
        ngram_free(read);
        memcpy(data, was, n);
        free(was);
    }
    assert_true(accepted > 5 && accepted < 60);
    tensor_list_release(&l);
    ngram_free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distributions_sum_to_one),
        cmocka_unit_test(a_full_table_is_a_distribution),
        cmocka_unit_test(an_arithmetic_coder_brings_the_text_back),
        cmocka_unit_test(unknown_text_has_a_floor),
        cmocka_unit_test(a_loss_that_is_no_number_counts_as_zero_probability),
        cmocka_unit_test(ids_above_16_bits_are_told_apart),
        cmocka_unit_test(a_reader_agrees_with_learning),
        cmocka_unit_test(an_imported_memory_learns_the_same),
        cmocka_unit_test(a_damaged_file_is_refused),
        cmocka_unit_test(random_changes_are_refused_or_harmless),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
