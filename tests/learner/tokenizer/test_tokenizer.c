/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tokenizer: pre-tokens, learning a vocabulary, encoding, and
 * tokenizer.json.
 */
#include "config.h"

#include "learner/tokenizer/tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/fileio.h"
#include "base/rng.h"
#include "base/xalloc.h"
#include "learner/tokenizer/builtin_merges.h"
#include "learner/tokenizer/pretoken.h"

static const char text[] =
    "The tide came in at 12:30, and the harbour's ferries couldn't leave.\n"
    "Die Fähre fährt um 7 Uhr; der Hafenmeister grüßt.\n"
    "潮水在十二点半进来。  渡船 3 艘。\n"
    "    if (n < 10) { return n + 1; }\n\n\n"
    "The tide went out, and the ferries left the harbour at last.\n";

/* Splits s, and compares it with the pieces, which are joined by `|`. */
static void check_split(const char *s, const char *wanted)
{
    struct buf got = BUF_INIT;
    size_t n = strlen(s);

    while (n) {
        size_t piece = pretoken_next(PRETOKEN_SMOLLM, s, n);

        assert_in_range(piece, 1, n);
        if (got.len)
            buf_addc(&got, '|');
        buf_add(&got, s, piece);
        s += piece;
        n -= piece;
    }
    assert_string_equal(got.data ? got.data : "", wanted);
    buf_release(&got);
}

static void test_pretokens(void **state)
{
    (void)state;
    check_split("Hello world", "Hello| world");
    check_split("it's we'll I'd 'quote'", "it|'s| we|'ll| I|'d| '|quote|'");
    check_split("a  b", "a| | b");
    check_split("a \n b", "a| \n| b");
    check_split("a\nb", "a|\n|b");
    check_split("a   ", "a|   ");
    check_split("a 42b", "a| |4|2|b");
    check_split("x  7", "x|  |7");
    check_split("=== ---!", "===| ---!");
    check_split("Straße über", "Straße| über");
    check_split("潮水12", "潮水|1|2");
    check_split("a\xc2\xa0" "b", "a|\xc2\xa0|b"); /* a no-break space */
    check_split("\xff\xfe x", "\xff\xfe| x");
    check_split("'", "'");
    check_split("", "");
}

static void check_lossless(const struct tokenizer *t, const char *s, size_t n)
{
    struct token_list ids = TOKEN_LIST_INIT;
    struct buf back = BUF_INIT;

    tokenizer_encode(t, s, n, &ids);
    for (size_t i = 0; i < ids.n; i++)
        assert_int_not_equal(ids.items[i], tokenizer_end_of_text(t));
    tokenizer_decode(t, ids.items, ids.n, &back);
    assert_int_equal(back.len, n);
    if (n)
        assert_memory_equal(back.data, s, n);
    token_list_release(&ids);
    buf_release(&back);
}

static struct tokenizer *trained(int vocab_size)
{
    struct tokenizer *t = NULL;
    struct err err = ERR_INIT;

    assert_int_equal(tokenizer_train(text, sizeof text - 1, vocab_size, NULL,
                                     NULL, &t, &err),
                     0);
    return t;
}

static void test_lossless_on_any_bytes(void **state)
{
    struct tokenizer *bytes = tokenizer_create_bytes();
    struct tokenizer *bpe = trained(320);
    char noise[512];

    (void)state;
    check_lossless(bytes, text, sizeof text - 1);
    check_lossless(bpe, text, sizeof text - 1);
    check_lossless(bpe, "", 0);
    check_lossless(bpe, "<|endoftext|>", 13);
    for (uint64_t run = 0; run < 200; run++) {
        for (size_t i = 0; i < sizeof noise; i++)
            noise[i] = (char)rng_u64(1, RNG_SAMPLE, run, i);
        check_lossless(bytes, noise, sizeof noise);
        check_lossless(bpe, noise, (size_t)run * 2);
    }
    tokenizer_free(bytes);
    tokenizer_free(bpe);
}

static void test_training(void **state)
{
    /* Counted by hand: "ab" occurs four times, three times after a space; "
     * abc" occurs twice. Then no pair occurs twice. */
    static const char s[] = "abc abc abc abd";
    struct tokenizer *t = NULL;
    struct token_list ids = TOKEN_LIST_INIT;
    struct err err = ERR_INIT;

    (void)state;
    assert_int_equal(
        tokenizer_train(s, sizeof s - 1, 262, NULL, NULL, &t, &err), 0);
    assert_string_equal(tokenizer_piece(t, 257), "ab");
    assert_string_equal(tokenizer_piece(t, 258), "\xc4\xa0" "ab");
    assert_string_equal(tokenizer_piece(t, 259), "\xc4\xa0" "abc");
    assert_string_equal(tokenizer_piece(t, 260), "<unused_260>");
    assert_int_equal(tokenizer_vocab_size(t), 262);
    tokenizer_encode(t, " abc", 4, &ids);
    assert_int_equal(ids.n, 1);
    assert_int_equal(ids.items[0], 259);
    token_list_release(&ids);
    tokenizer_free(t);
    assert_int_equal(
        tokenizer_train(s, 3, 256, NULL, NULL, &t, &err), ERR_INVALID);
    assert_int_equal(
        tokenizer_train(s, 3, 65537, NULL, NULL, &t, &err), ERR_INVALID);
}

static void test_same_text_same_vocabulary(void **state)
{
    struct tokenizer *a = trained(300), *b = trained(300);
    struct buf x = BUF_INIT, y = BUF_INIT;

    (void)state;
    tokenizer_to_json(a, &x);
    tokenizer_to_json(b, &y);
    assert_string_equal(x.data, y.data);
    tokenizer_free(a);
    tokenizer_free(b);
    buf_release(&x);
    buf_release(&y);
}

static void check_same(const struct tokenizer *a, const struct tokenizer *b)
{
    struct token_list x = TOKEN_LIST_INIT, y = TOKEN_LIST_INIT;

    tokenizer_encode(a, text, sizeof text - 1, &x);
    tokenizer_encode(b, text, sizeof text - 1, &y);
    assert_int_equal(x.n, y.n);
    assert_memory_equal(x.items, y.items, x.n * sizeof *x.items);
    token_list_release(&x);
    token_list_release(&y);
}

static void test_json_round_trip(void **state)
{
    struct tokenizer *all[] = {tokenizer_create_bytes(), trained(280),
                               trained(600)};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct buf json = BUF_INIT, again = BUF_INIT;
        struct tokenizer *back = NULL;
        struct err err = ERR_INIT;

        tokenizer_to_json(all[i], &json);
        assert_int_equal(
            tokenizer_from_json(json.data, json.len, &back, &err), 0);
        tokenizer_to_json(back, &again);
        assert_string_equal(json.data, again.data);
        check_same(all[i], back);
        check_lossless(back, text, sizeof text - 1);
        tokenizer_free(all[i]);
        tokenizer_free(back);
        buf_release(&json);
        buf_release(&again);
    }
}

/* --- the built-in vocabulary -------------------------------------------- */

/* Applies one merge after the other to the whole pre-token: the definition of
 * byte pair encoding, without a heap or a hash table. */
static void encode_plainly(const struct tokenizer *t, const char *s, size_t n,
                           struct token_list *out)
{
    while (n) {
        size_t n_piece = pretoken_next(PRETOKEN_SMOLLM, s, n), n_ids = n_piece;
        token_id *ids = xreallocarray(NULL, n_piece, sizeof *ids);

        for (size_t i = 0; i < n_piece; i++)
            ids[i] = (unsigned char)s[i];
        for (int m = 0; m < tokenizer_vocab_size(t) - 257 && n_ids > 1; m++) {
            size_t kept = 0;

            for (size_t i = 0; i < n_ids; i++) {
                bool joins = i + 1 < n_ids && ids[i] == builtin_merges[m][0] &&
                             ids[i + 1] == builtin_merges[m][1];

                ids[kept++] = joins ? (token_id)(257 + m) : ids[i];
                i += joins;
            }
            n_ids = kept;
        }
        for (size_t i = 0; i < n_ids; i++)
            token_list_add(out, ids[i]);
        free(ids);
        s += n_piece;
        n -= n_piece;
    }
}

static void add_utf8(struct buf *out, uint32_t c)
{
    if (c < 0x80) {
        buf_addc(out, (char)c);
        return;
    }
    if (c < 0x800) {
        buf_addc(out, (char)(0xc0 | c >> 6));
    } else {
        if (c < 0x10000) {
            buf_addc(out, (char)(0xe0 | c >> 12));
        } else {
            buf_addc(out, (char)(0xf0 | c >> 18));
            buf_addc(out, (char)(0x80 | (c >> 12 & 0x3f)));
        }
        buf_addc(out, (char)(0x80 | (c >> 6 & 0x3f)));
    }
    buf_addc(out, (char)(0x80 | (c & 0x3f)));
}

/* Random bytes, every character, and a text, with vocabularies of all sizes. */
static void test_builtin_lossless(void **state)
{
    static const int sizes[] = {257, 258, 300, 4096, TOKENIZER_BUILTIN_MAX};
    struct buf characters = BUF_INIT;
    char noise[512];

    (void)state;
    for (uint32_t c = 0; c < 0x110000; c++)
        if (c < 0xd800 || c > 0xdfff)
            add_utf8(&characters, c);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct tokenizer *t = tokenizer_create_builtin(sizes[i]);

        assert_int_equal(tokenizer_vocab_size(t), sizes[i]);
        check_lossless(t, text, sizeof text - 1);
        check_lossless(t, characters.data, characters.len);
        for (uint64_t run = 0; run < 100; run++) {
            for (size_t k = 0; k < sizeof noise; k++)
                noise[k] = (char)rng_u64(2, RNG_SAMPLE, run, k);
            check_lossless(t, noise, (size_t)run * 5);
        }
        tokenizer_free(t);
    }
    buf_release(&characters);
}

/* A merge has only earlier ids, so that a smaller vocabulary is a prefix of a
 * larger one; and no two tokens have the same bytes. */
static void test_builtin_merges(void **state)
{
    struct tokenizer *small = tokenizer_create_builtin(1024);
    struct tokenizer *large = tokenizer_create_builtin(TOKENIZER_BUILTIN_MAX);
    json_t *seen = json_object();

    (void)state;
    assert_int_equal(257 + BUILTIN_MERGES, TOKENIZER_BUILTIN_MAX);
    for (int i = 0; i < BUILTIN_MERGES; i++)
        for (int side = 0; side < 2; side++) {
            assert_true(builtin_merges[i][side] < 257 + i);
            assert_int_not_equal(builtin_merges[i][side], 256);
        }
    for (token_id id = 0; id < TOKENIZER_BUILTIN_MAX; id++) {
        const char *piece = tokenizer_piece(large, id);

        assert_null(json_object_get(seen, piece));
        json_object_set_new(seen, piece, json_true());
        if (id < 1024)
            assert_string_equal(tokenizer_piece(small, id), piece);
    }
    json_decref(seen);
    tokenizer_free(small);
    tokenizer_free(large);
}

static void test_builtin_encodes(void **state)
{
    static const int sizes[] = {300, 2000, TOKENIZER_BUILTIN_MAX};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct tokenizer *t = tokenizer_create_builtin(sizes[i]), *back = NULL;
        struct token_list x = TOKEN_LIST_INIT, y = TOKEN_LIST_INIT;
        struct buf json = BUF_INIT;
        struct err err = ERR_INIT;

        tokenizer_encode(t, text, sizeof text - 1, &x);
        encode_plainly(t, text, sizeof text - 1, &y);
        assert_int_equal(x.n, y.n);
        assert_memory_equal(x.items, y.items, x.n * sizeof *x.items);
        tokenizer_to_json(t, &json);
        assert_int_equal(
            tokenizer_from_json(json.data, json.len, &back, &err), 0);
        check_same(t, back);
        tokenizer_free(t);
        tokenizer_free(back);
        token_list_release(&x);
        token_list_release(&y);
        buf_release(&json);
    }
}

/* --- tokenizer.json ----------------------------------------------------- */

/* Reads a valid file in which the first `from` is replaced. */
static int load_changed(const char *from, const char *to)
{
    struct tokenizer *t = trained(270), *back = NULL;
    struct buf json = BUF_INIT, changed = BUF_INIT;
    struct err err = ERR_INIT;
    char *at;
    int rc;

    tokenizer_to_json(t, &json);
    at = strstr(json.data, from);
    assert_non_null(at);
    buf_add(&changed, json.data, (size_t)(at - json.data));
    buf_adds(&changed, to);
    buf_adds(&changed, at + strlen(from));
    rc = tokenizer_from_json(changed.data, changed.len, &back, &err);
    if (rc == 0)
        tokenizer_free(back);
    else
        assert_true(err.msg[0] != '\0');
    tokenizer_free(t);
    buf_release(&json);
    buf_release(&changed);
    return rc;
}

static void test_json_refused(void **state)
{
    (void)state;
    assert_int_equal(load_changed("\"BPE\"", "\"BPE\""), 0);
    assert_int_equal(load_changed("\"BPE\"", "\"WordPiece\""), ERR_INVALID);
    assert_int_equal(load_changed("\"Digits\"", "\"Metaspace\""),
                     ERR_INVALID);
    assert_int_equal(load_changed("\"individual_digits\": true",
                                  "\"individual_digits\": false"),
                     ERR_INVALID);
    assert_int_equal(load_changed("\"normalizer\": null",
                                  "\"normalizer\": {\"type\": \"NFD\"}"),
                     ERR_INVALID);
    assert_int_equal(load_changed("\"content\": \"<|endoftext|>\"",
                                  "\"content\": \"<s>\""),
                     ERR_CORRUPT);
    assert_int_equal(load_changed("\"byte_fallback\": false",
                                  "\"byte_fallback\": true"),
                     ERR_INVALID);
    assert_int_equal(load_changed("\"dropout\": null", "\"dropout\": 0.1"),
                     ERR_INVALID);
    assert_int_equal(load_changed("\"!\": 33", "\"!\": 34"), ERR_CORRUPT);
    assert_int_equal(load_changed("\"!\": 33", "\"!\": -1"), ERR_CORRUPT);
    assert_int_equal(load_changed("\"!\": 33", "\"!\": \"33\""), ERR_CORRUPT);
    assert_int_equal(load_changed("\"merges\": [", "\"merges\": [\"q q\","),
                     ERR_CORRUPT);
    assert_int_equal(load_changed("\"merges\": [", "\"merges\": [7,"),
                     ERR_CORRUPT);
    assert_int_equal(load_changed("{", "["), ERR_CORRUPT);
}

/* Reads a tokenizer.json with another post_processor, and writes mneme's
 * own. */
static int load_post_processor(const char *post, struct err *err)
{
    struct tokenizer *t = trained(270), *back = NULL;
    struct buf json = BUF_INIT, again = BUF_INIT;
    json_error_t why;
    json_t *root;
    char *changed;
    int rc;

    tokenizer_to_json(t, &json);
    root = json_loadb(json.data, json.len, 0, &why);
    assert_non_null(root);
    if (post)
        json_object_set_new(root, "post_processor",
                            json_loads(post, JSON_DECODE_ANY, NULL));
    else
        json_object_del(root, "post_processor");
    changed = json_dumps(root, 0);
    rc = tokenizer_from_json(changed, strlen(changed), &back, err);
    if (rc == 0) {
        tokenizer_to_json(back, &again);
        assert_string_equal(json.data, again.data);
        tokenizer_free(back);
    }
    free(changed);
    json_decref(root);
    tokenizer_free(t);
    buf_release(&json);
    buf_release(&again);
    return rc;
}

#define END_IN_FRONT                                                           \
    "{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": "      \
    "{\"id\": \"<|endoftext|>\", \"type_id\": 0}}, {\"Sequence\": {\"id\": "   \
    "\"A\", \"type_id\": 0}}], \"pair\": [], \"special_tokens\": "             \
    "{\"<|endoftext|>\": {\"id\": \"<|endoftext|>\", \"ids\": [256], "         \
    "\"tokens\": [\"<|endoftext|>\"]}}}"
#define BYTE_LEVEL                                                             \
    "{\"type\": \"ByteLevel\", \"add_prefix_space\": true, "                   \
    "\"trim_offsets\": false, \"use_regex\": true}"
#define TEXT_ALONE                                                             \
    "{\"type\": \"TemplateProcessing\", \"single\": [{\"Sequence\": "          \
    "{\"id\": \"A\", \"type_id\": 0}}], \"pair\": [], \"special_tokens\": {}}"

static void test_post_processors(void **state)
{
    static const char *const same[] = {
        NULL,
        "null",
        BYTE_LEVEL,
        END_IN_FRONT,
        TEXT_ALONE,
        "{\"type\": \"Sequence\", \"processors\": []}",
        "{\"type\": \"Sequence\", \"processors\": [" BYTE_LEVEL
        ", " END_IN_FRONT "]}",
    };
    static const char *const others[] = {
        "{\"type\": \"TemplateProcessing\"}",
        "{\"type\": \"Sequence\"}",
        "{\"type\": \"Sequence\", \"processors\": [" END_IN_FRONT
        ", " END_IN_FRONT "]}",
        "{\"type\": \"BertProcessing\", \"sep\": [\"x\", 1]}",
        "{\"type\": \"Sequence\", \"processors\": [{\"type\": "
        "\"RobertaProcessing\"}]}",
        "{\"type\": \"TemplateProcessing\", \"single\": [{\"Sequence\": "
        "{\"id\": \"A\"}}, {\"SpecialToken\": {\"id\": \"<|endoftext|>\"}}]}",
        "{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": "
        "{\"id\": \"<|endoftext|>\"}}, {\"Sequence\": {\"id\": \"A\"}}], "
        "\"special_tokens\": {\"<|endoftext|>\": {\"ids\": [7]}}}",
        "7",
    };

    (void)state;
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        struct err err = ERR_INIT;

        assert_int_equal(load_post_processor(same[i], &err), 0);
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct err err = ERR_INIT;

        assert_int_equal(load_post_processor(others[i], &err), ERR_INVALID);
        assert_non_null(strstr(err.msg, "post_processor"));
    }
}

/* A version that Hugging Face transformers has loaded and saved again
 * (tests/data/saved_again/README). */
static void test_saved_again(void **state)
{
    const char *source = getenv("srcdir");
    char *path = fileio_join(source ? source : ".",
                             "tests/data/saved_again/tokenizer.json");
    struct tokenizer *t = NULL;
    struct buf json = BUF_INIT;
    struct err err = ERR_INIT;

    (void)state;
    assert_int_equal(fileio_read(path, 1 << 20, &json, &err), 0);
    assert_int_equal(tokenizer_from_json(json.data, json.len, &t, &err), 0);
    assert_int_equal(tokenizer_vocab_size(t), 257);
    assert_int_equal(tokenizer_end_of_text(t), 256);
    check_lossless(t, text, sizeof text - 1);
    tokenizer_free(t);
    buf_release(&json);
    free(path);
}

static void test_long_pretoken(void **state)
{
    /* 64 KiB of one pre-token must not take quadratic time. */
    size_t n = 65536;
    char *s = xmalloc(n + 1);
    struct tokenizer *t = NULL;
    struct err err = ERR_INIT;

    (void)state;
    memset(s, '=', n);
    s[n] = '\0';
    assert_int_equal(tokenizer_train(s, n, 270, NULL, NULL, &t, &err), 0);
    for (size_t i = 0; i < n; i++)
        s[i] = (char)('a' + i % 2);
    check_lossless(t, s, n);
    memset(s, '=', n);
    check_lossless(t, s, n);
    tokenizer_free(t);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pretokens),
        cmocka_unit_test(test_lossless_on_any_bytes),
        cmocka_unit_test(test_training),
        cmocka_unit_test(test_same_text_same_vocabulary),
        cmocka_unit_test(test_json_round_trip),
        cmocka_unit_test(test_builtin_lossless),
        cmocka_unit_test(test_builtin_merges),
        cmocka_unit_test(test_builtin_encodes),
        cmocka_unit_test(test_json_refused),
        cmocka_unit_test(test_post_processors),
        cmocka_unit_test(test_saved_again),
        cmocka_unit_test(test_long_pretoken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
