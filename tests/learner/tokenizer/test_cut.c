/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cutting records: where segments begin and end, and which tokens are masked.
 * No byte and no target may be lost or counted twice.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "learner/tokenizer/cut.h"

#define CONTEXT 8
#define DOMAIN 3
#define LABEL 5

static struct tokenizer *tokenizer;

/* Checks the rules of base/segment.h on a cut of prompt + text. */
static void check(const struct cut *c, size_t context, size_t n_prompt,
                  const char *text, size_t n_text)
{
    size_t n_targets = c->tokens.n - 1, seen = 0, masked = 0, n_bytes = 0;
    struct buf back = BUF_INIT;

    assert_int_equal(c->tokens.items[0], tokenizer_end_of_text(tokenizer));
    assert_int_equal(c->tokens.items[n_targets],
                     tokenizer_end_of_text(tokenizer));
    assert_int_equal(c->n_segments, (n_targets + context - 1) / context);
    for (size_t i = 0; i < c->n_segments; i++) {
        const struct segment *s = &c->segments[i];

        assert_true(s->n_tokens >= 1 && s->n_tokens <= context);
        assert_true(s->n_masked <= s->n_tokens);
        /* Only the last segment may be short, and only prompt tokens are
         * masked. */
        if (i + 1 < c->n_segments)
            assert_int_equal(s->n_tokens, context);
        assert_int_equal(s->ends, i + 1 == c->n_segments);
        assert_ptr_equal(s->tokens, c->tokens.items + seen);
        assert_int_equal(s->domain, DOMAIN);
        assert_int_equal(s->label, LABEL);
        assert_null(s->text);
        tokenizer_decode(tokenizer, s->tokens + 1 + s->n_masked,
                         segment_counted(s), &back);
        n_bytes += s->n_bytes;
        assert_int_equal(n_bytes, back.len);
        if (s->n_masked < s->n_tokens)
            assert_true(masked + s->n_masked == n_prompt);
        masked += s->n_masked;
        seen += s->n_tokens;
    }
    assert_int_equal(seen, n_targets);
    assert_int_equal(masked, n_prompt);
    assert_int_equal(n_bytes, n_text);
    assert_int_equal(back.len, n_text);
    if (n_text)
        assert_memory_equal(back.data, text, n_text);
    buf_release(&back);
}

static void fill(char *text, size_t n, char first)
{
    for (size_t i = 0; i < n; i++)
        text[i] = (char)(first + (char)(i % 26));
}

/* With one token for each byte, n bytes are n + 1 targets. */
static void test_boundaries(void **state)
{
    char text[4 * CONTEXT];

    (void)state;
    fill(text, sizeof text, 'a');
    for (size_t n = 0; n < sizeof text; n++) {
        struct cut c;

        cut_record(&c, tokenizer, CONTEXT, NULL, 0, text, n, DOMAIN, LABEL);
        assert_int_equal(c.tokens.n, n + 2);
        check(&c, CONTEXT, 0, text, n);
        cut_release(&c);
    }
}

static void expect_lengths(size_t n_text, size_t n_segments, uint32_t last)
{
    char text[4 * CONTEXT];
    struct cut c;

    fill(text, sizeof text, 'a');
    cut_record(&c, tokenizer, CONTEXT, NULL, 0, text, n_text, DOMAIN, LABEL);
    assert_int_equal(c.n_segments, n_segments);
    assert_int_equal(c.segments[n_segments - 1].n_tokens, last);
    cut_release(&c);
}

static void test_lengths(void **state)
{
    (void)state;
    expect_lengths(0, 1, 1);               /* the end mark alone */
    expect_lengths(CONTEXT - 2, 1, CONTEXT - 1);
    expect_lengths(CONTEXT - 1, 1, CONTEXT);
    expect_lengths(CONTEXT, 2, 1); /* end-of-text alone, again */
    expect_lengths(2 * CONTEXT - 1, 2, CONTEXT);
    expect_lengths(2 * CONTEXT, 3, 1);
}

/* The first input of a segment is the last target of the previous one. */
static void test_inputs(void **state)
{
    struct cut c;

    (void)state;
    cut_record(&c, tokenizer, 4, NULL, 0, "abcdefg", 7, DOMAIN, LABEL);
    assert_int_equal(c.n_segments, 2);
    assert_int_equal(c.segments[0].tokens[0],
                     tokenizer_end_of_text(tokenizer));
    assert_int_equal(c.segments[0].tokens[1], 'a');
    assert_int_equal(c.segments[1].tokens[0], 'd');
    assert_int_equal(c.segments[1].tokens[4],
                     tokenizer_end_of_text(tokenizer));
    assert_int_equal(c.segments[0].n_bytes, 4);
    assert_int_equal(c.segments[1].n_bytes, 3);
    cut_release(&c);
}

static void test_prompt(void **state)
{
    char prompt[3 * CONTEXT], text[2 * CONTEXT];

    (void)state;
    fill(prompt, sizeof prompt, 'A');
    fill(text, sizeof text, 'a');
    for (size_t p = 0; p < sizeof prompt; p++) {
        for (size_t n = 0; n < sizeof text; n++) {
            struct cut c;

            cut_record(&c, tokenizer, CONTEXT, prompt, p, text, n, DOMAIN,
                       LABEL);
            assert_int_equal(c.tokens.n, p + n + 2);
            check(&c, CONTEXT, p, text, n);
            cut_release(&c);
        }
    }
}

/* One prompt is exactly a segment; another extends into the next. */
static void test_prompt_across(void **state)
{
    struct cut c;

    (void)state;
    cut_record(&c, tokenizer, 4, "PPPP", 4, "tt", 2, DOMAIN, LABEL);
    assert_int_equal(c.n_segments, 2);
    assert_int_equal(c.segments[0].n_masked, 4);
    assert_int_equal(c.segments[0].n_bytes, 0);
    assert_int_equal(c.segments[1].n_masked, 0);
    assert_int_equal(c.segments[1].n_bytes, 2);
    cut_release(&c);
    cut_record(&c, tokenizer, 4, "PPPPP", 5, "tt", 2, DOMAIN, LABEL);
    assert_int_equal(c.segments[0].n_masked, 4);
    assert_int_equal(c.segments[1].n_masked, 1);
    assert_int_equal(c.segments[1].n_tokens, 4);
    assert_int_equal(segment_counted(&c.segments[1]), 3);
    assert_int_equal(c.segments[1].n_bytes, 2);
    cut_release(&c);
}

/* Tokens have several bytes, and segments may begin at any token. */
static void test_merged(void **state)
{
    static const char text[] =
        "the rain in the plain and the train in the rain; \xc3\xa4 and the "
        "\xe2\x82\xac in the plain, and the \xc3\xa4 and the \xe2\x82\xac";
    struct tokenizer *bytes = tokenizer;
    struct err err = ERR_INIT;

    (void)state;
    assert_int_equal(tokenizer_train(text, strlen(text), 300, NULL, NULL,
                                     &tokenizer, &err),
                     0);
    for (size_t context = 1; context < 40; context++) {
        struct cut c;

        cut_record(&c, tokenizer, context, NULL, 0, text, strlen(text),
                   DOMAIN, LABEL);
        assert_true(c.tokens.n < strlen(text));
        check(&c, context, 0, text, strlen(text));
        cut_release(&c);
    }
    tokenizer_free(tokenizer);
    tokenizer = bytes;
}

static void test_linear(void **state)
{
    static const char text[] = "a text that is kept as it is";
    struct buf back = BUF_INIT;
    struct cut c;

    (void)state;
    cut_record(&c, NULL, 0, "prompt", 6, text, strlen(text), DOMAIN, LABEL);
    assert_int_equal(c.n_segments, 1);
    assert_int_equal(c.segments[0].n_tokens, 0);
    assert_ptr_equal(c.segments[0].text, text);
    assert_int_equal(c.segments[0].text_bytes, strlen(text));
    assert_int_equal(c.segments[0].domain, DOMAIN);
    assert_int_equal(c.segments[0].label, LABEL);
    assert_true(c.segments[0].ends);
    cut_text(&c.segments[0], NULL, &back);
    assert_string_equal(back.data, text);
    buf_release(&back);
    cut_release(&c);
}

/* The text of a segment includes its part of the prompt, but no end-of-text. */
static void test_text(void **state)
{
    struct buf back = BUF_INIT;
    struct cut c;

    (void)state;
    cut_record(&c, tokenizer, CONTEXT, "PP", 2, "tttttttt", 8, DOMAIN, LABEL);
    cut_text(&c.segments[0], tokenizer, &back);
    assert_string_equal(back.data, "PPtttttt");
    cut_text(&c.segments[1], tokenizer, &back);
    assert_string_equal(back.data, "PPtttttttt");
    buf_release(&back);
    cut_release(&c);
}

static int setup(void **state)
{
    (void)state;
    tokenizer = tokenizer_create_bytes();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tokenizer_free(tokenizer);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_boundaries),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_inputs),
        cmocka_unit_test(test_prompt),
        cmocka_unit_test(test_prompt_across),
        cmocka_unit_test(test_merged),
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_text),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
