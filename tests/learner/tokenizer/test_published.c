/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tokenizer.json of published models. tests/data/tokenizers has a small one
 * of each family, and the ids that Hugging Face's tokenizers give to texts
 * (tests/tools/compat_tokenizer.py makes them).
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

static json_t *read_json(const char *name)
{
    const char *source = getenv("srcdir");
    char *file = xasprintf("tests/data/tokenizers/%s", name);
    char *path = fileio_join(source ? source : ".", file);
    json_t *root = json_load_file(path, 0, NULL);

    assert_non_null(root);
    free(file);
    free(path);
    return root;
}

static struct tokenizer *load(const json_t *root)
{
    char *text = json_dumps(root, 0);
    struct tokenizer *t = NULL;
    struct err err = ERR_INIT;

    assert_int_equal(tokenizer_from_json(text, strlen(text), &t, &err), 0);
    free(text);
    return t;
}

static struct tokenizer *load_file(const char *name)
{
    json_t *root = read_json(name);
    struct tokenizer *t = load(root);

    json_decref(root);
    return t;
}

static void check_ids(const struct token_list *ids, const json_t *wanted)
{
    assert_int_equal(ids->n, json_array_size(wanted));
    for (size_t i = 0; i < ids->n; i++)
        assert_int_equal(ids->items[i],
                         json_integer_value(json_array_get(wanted, i)));
}

static void check_text(const struct tokenizer *t, const json_t *item,
                       bool lossless)
{
    const char *text = json_string_value(json_object_get(item, "text"));
    const json_t *ids = json_object_get(item, "ids");
    const json_t *marked = json_object_get(item, "marked");
    struct token_list got = TOKEN_LIST_INIT;
    struct buf back = BUF_INIT;

    tokenizer_encode(t, text, strlen(text), &got);
    check_ids(&got, ids);
    tokenizer_decode(t, got.items, got.n, &back);
    if (lossless)
        assert_string_equal(back.data ? back.data : "", text);
    got.n = 0;
    tokenizer_encode_marked(t, text, strlen(text), &got);
    check_ids(&got, marked ? marked : ids);
    token_list_release(&got);
    buf_release(&back);
}

static void check_family(const char *name, const char *gguf_pre,
                         const char *begin, const char *end)
{
    char *file = xasprintf("%s.json", name);
    char *ids_file = xasprintf("%s.ids.json", name);
    json_t *root = read_json(file), *texts = read_json(ids_file), *item;
    struct tokenizer *t = load(root);
    const json_t *model = json_object_get(root, "model");
    bool lossless = !json_is_object(json_object_get(root, "normalizer")) &&
                    !json_is_true(json_object_get(model, "byte_fallback"));
    size_t i;

    assert_string_equal(tokenizer_gguf_pre(t), gguf_pre);
    assert_string_equal(tokenizer_piece(t, tokenizer_begin_of_text(t)), begin);
    assert_string_equal(tokenizer_piece(t, tokenizer_end_of_text(t)), end);
    assert_int_equal(tokenizer_adds_begin(t), strcmp(begin, end) != 0);
    assert_false(tokenizer_is_own(t));
    assert_true(json_array_size(texts) > 20);
    json_array_foreach(texts, i, item) check_text(t, item, lossless);
    tokenizer_free(t);
    json_decref(root);
    json_decref(texts);
    free(file);
    free(ids_file);
}

static void test_families(void **state)
{
    (void)state;
    check_family("gpt2", "gpt-2", "<|endoftext|>", "<|endoftext|>");
    check_family("smollm", "smollm", "<|endoftext|>", "<|endoftext|>");
    check_family("llama3", "llama-bpe", "<|begin_of_text|>", "<|end_of_text|>");
    check_family("qwen2", "qwen2", "<|endoftext|>", "<|endoftext|>");
    check_family("llama2", "default", "<s>", "</s>");
    check_family("mistral", "default", "<s>", "</s>");
    check_family("scattered", "qwen2", "</s>", "</s>");
}

static const char *const files[] = {
    "gpt2.json",      "smollm.json", "llama3.json", "qwen2.json",
    "scattered.json", "llama2.json", "mistral.json"};
#define FIRST_FALLBACK 5
#define N_FILES (sizeof files / sizeof *files)

/* What is written means the same as what was read, and is read again as the
 * same. */
static void test_written_again(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_FILES; i++) {
        json_t *root = read_json(files[i]), *again;
        struct tokenizer *t = load(root), *second;
        struct buf json = BUF_INIT, same = BUF_INIT;

        tokenizer_to_json(t, &json);
        again = json_loadb(json.data, json.len, 0, NULL);
        assert_true(json_equal(root, again));
        second = load(again);
        tokenizer_to_json(second, &same);
        assert_string_equal(json.data, same.data);
        tokenizer_free(t);
        tokenizer_free(second);
        json_decref(root);
        json_decref(again);
        buf_release(&json);
        buf_release(&same);
    }
}

/* Bytes that are no UTF-8 are kept. */
static void test_any_bytes(void **state)
{
    char noise[400];

    (void)state;
    for (size_t i = 0; i < N_FILES; i++) {
        struct tokenizer *t = load_file(files[i]);

        for (uint64_t run = 0; run < 100; run++) {
            struct token_list ids = TOKEN_LIST_INIT;
            struct buf back = BUF_INIT;
            size_t extra;

            /* Not 0xcc and 0xcd: they begin the marks that compose. */
            for (size_t k = 0; k < sizeof noise; k++) {
                noise[k] = (char)rng_u64(3, RNG_SAMPLE, run, k);
                if ((unsigned char)noise[k] >= 0xcc)
                    noise[k] = (char)(0xf8 | noise[k]);
            }
            tokenizer_encode(t, noise, sizeof noise, &ids);
            tokenizer_decode(t, ids.items, ids.n, &back);
            extra = back.len - sizeof noise; /* a space before the text */
            assert_in_range(extra, 0, i >= FIRST_FALLBACK);
            assert_memory_equal(back.data + extra, noise, sizeof noise);
            token_list_release(&ids);
            buf_release(&back);
        }
        tokenizer_free(t);
    }
}

static void check_decoded(const struct tokenizer *t, const char *text,
                          const char *wanted)
{
    struct token_list ids = TOKEN_LIST_INIT;
    struct buf back = BUF_INIT;

    tokenizer_encode(t, text, strlen(text), &ids);
    tokenizer_decode(t, ids.items, ids.n, &back);
    assert_string_equal(back.data ? back.data : "", wanted);
    token_list_release(&ids);
    buf_release(&back);
}

/* Where Llama 2's form puts spaces. */
static void test_spaces(void **state)
{
    struct tokenizer *t = load_file("llama2.json");

    (void)state;
    check_decoded(t, "", "");
    check_decoded(t, "a  b ", " a  b ");
    check_decoded(t, " a", "  a");
    check_decoded(t, "a\u2581\xff\n\U0001f642", " a \xff\n\U0001f642");
    check_decoded(t, "a<think>b", " a<think> b");
    tokenizer_free(t);

    t = load_file("mistral.json");
    check_decoded(t, "", "");
    check_decoded(t, "a", " a");
    check_decoded(t, " a", " a");
    check_decoded(t, "\u2581a", " a");
    check_decoded(t, "a<think>b", " a<think>b");
    tokenizer_free(t);
}

/* 200 KB without a space, and of spaces alone, must not take quadratic time. */
static void test_long_words(void **state)
{
    static const char bytes[] = {'t', ' ', '\xff'};
    size_t n = 200000;
    char *text = xmalloc(n);

    (void)state;
    for (size_t i = 0; i < N_FILES; i++) {
        struct tokenizer *t = load_file(files[i]);

        for (size_t k = 0; k < sizeof bytes; k++) {
            struct token_list ids = TOKEN_LIST_INIT;

            memset(text, bytes[k], n);
            tokenizer_encode(t, text, n, &ids);
            assert_in_range(ids.n, 1, n + 1);
            token_list_release(&ids);
        }
        tokenizer_free(t);
    }
    free(text);
}

/* Compares the pieces of a text, each with a bar after it. */
static void check_pieces(const struct tokenizer *t, const char *text,
                         const char *wanted)
{
    struct token_list ids = TOKEN_LIST_INIT;
    struct buf got = BUF_INIT;

    tokenizer_encode(t, text, strlen(text), &ids);
    for (size_t i = 0; i < ids.n; i++)
        buf_addf(&got, "%s|", tokenizer_piece(t, ids.items[i]));
    assert_string_equal(got.data, wanted);
    token_list_release(&ids);
    buf_release(&got);
}

/* With a Metaspace, names with "normalized" are found before it, as Hugging
 * Face's tokenizers do it. */
static void test_metaspace_names(void **state)
{
    json_t *root = read_json("mistral.json");
    json_t *added = json_object_get(root, "added_tokens");
    struct tokenizer *t;

    (void)state;
    json_array_append_new(added, json_pack("{s:i, s:s, s:b}", "id", 5000,
                                           "content", "<tool>", "normalized",
                                           1));
    json_array_append_new(added, json_pack("{s:i, s:s, s:b}", "id", 5001,
                                           "content", "my tool", "normalized",
                                           1));
    t = load(root);
    check_pieces(t, "<tool>q", "<tool>|q|");
    check_pieces(t, "q my tool q", "\u2581|q|\u2581|my tool|\u2581|q|");
    tokenizer_free(t);
    json_decref(root);
}

static token_id id_of(const struct tokenizer *t, const char *name)
{
    token_id id = 0;

    assert_true(tokenizer_find(t, name, strlen(name), &id));
    assert_string_equal(tokenizer_piece(t, id), name);
    return id;
}

static void test_added_tokens(void **state)
{
    struct tokenizer *t = load_file("qwen2.json");
    token_id id, think = id_of(t, "<think>"), user = id_of(t, "<|im_start|>");
    size_t n;

    (void)state;
    assert_false(tokenizer_find(t, "<thin", 5, &id));
    assert_false(tokenizer_is_special(t, think));
    assert_string_equal(tokenizer_bytes(t, think, &n), "<think>");
    assert_int_equal(n, 7);
    assert_true(tokenizer_is_special(t, user));
    assert_string_equal(tokenizer_bytes(t, user, &n), "");
    assert_int_equal(n, 0);
    assert_false(tokenizer_is_special(t, 1000000));
    tokenizer_free(t);
}

/* More ids than tokens, and ids between tokens. */
static void test_unused_ids(void **state)
{
    struct tokenizer *t = load_file("scattered.json");
    struct buf before = BUF_INIT, after = BUF_INIT;
    struct err err = ERR_INIT;
    size_t n;

    (void)state;
    assert_string_equal(tokenizer_piece(t, 6), "<unused_6>");
    assert_string_equal(tokenizer_bytes(t, 6, &n), "");
    tokenizer_to_json(t, &before);
    assert_int_equal(tokenizer_fit(t, 1000, &err), ERR_CORRUPT);
    assert_int_equal(tokenizer_fit(t, 5000, &err), 0);
    assert_int_equal(tokenizer_vocab_size(t), 5000);
    assert_string_equal(tokenizer_piece(t, 4999), "<unused_4999>");
    tokenizer_to_json(t, &after);
    assert_string_equal(before.data, after.data);
    tokenizer_free(t);
    buf_release(&before);
    buf_release(&after);
}

/* mneme's own form has its own ids, too. A published tokenizer of the same form
 * keeps its post_processor, and its model may have more ids. */
static void test_own_form(void **state)
{
    json_t *root = read_json("smollm.json");
    json_t *added = json_object_get(root, "added_tokens");
    struct tokenizer *t;
    struct err err = ERR_INIT;

    (void)state;
    for (size_t i = json_array_size(added); i-- > 0;) {
        const char *name = json_string_value(
            json_object_get(json_array_get(added, i), "content"));

        if (strcmp(name, "<|endoftext|>") != 0)
            json_array_remove(added, i);
    }
    assert_int_equal(json_array_size(added), 1);
    t = load(root);
    assert_false(tokenizer_is_own(t));
    assert_false(tokenizer_adds_begin(t));
    assert_int_equal(tokenizer_fit(t, tokenizer_vocab_size(t) + 64, &err), 0);
    tokenizer_free(t);
    json_decref(root);
}

/* --- what is refused ---------------------------------------------------- */

/* Sets a value of a file, at a path of keys, and reads it. */
static int load_with(const char *name, const char *key, const char *second_key,
                     const char *value, struct err *err)
{
    json_t *root = read_json(name), *object = root;
    struct tokenizer *t = NULL;
    char *text;
    int rc;

    if (second_key) {
        object = json_object_get(root, key);
        key = second_key;
    }
    assert_int_equal(json_object_set_new(
                         object, key, json_loads(value, JSON_DECODE_ANY, NULL)),
                     0);
    text = json_dumps(root, 0);
    rc = tokenizer_from_json(text, strlen(text), &t, err);
    tokenizer_free(t);
    free(text);
    json_decref(root);
    return rc;
}

#define SPLIT(pattern, behavior, invert)                                       \
    "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", "      \
    "\"pattern\": {" pattern "}, \"behavior\": \"" behavior                    \
    "\", \"invert\": " invert "}, {\"type\": \"ByteLevel\", "                  \
    "\"add_prefix_space\": false, \"use_regex\": false}]}"
#define QWEN2                                                                  \
    "\"Regex\": \"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]"  \
    "?\\\\p{L}+|\\\\p{N}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|"            \
    "\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\""
#define ADDED(id, content, more)                                               \
    "[{\"id\": " id ", \"content\": \"" content "\", \"special\": true" more   \
    "}]"

static void test_refused(void **state)
{
    static const struct {
        const char *key, *second_key, *value;
        int rc;
        const char *named;
    } cases[] = {
        {"pre_tokenizer", NULL, SPLIT(QWEN2, "Isolated", "false"), 0, NULL},
        {"pre_tokenizer", NULL, SPLIT(QWEN2, "Removed", "true"), 0, NULL},
        {"model", "dropout", "0.0", 0, NULL},
        {"pre_tokenizer", NULL, SPLIT(QWEN2, "Removed", "false"), ERR_INVALID,
         "pre_tokenizer: "},
        {"pre_tokenizer", NULL,
         SPLIT("\"Regex\": \"\\\\w+\"", "Isolated", "false"), ERR_INVALID,
         "pre_tokenizer: \\w+"},
        {"pre_tokenizer", NULL, SPLIT("\"String\": \" \"", "Isolated", "false"),
         ERR_INVALID, "pre_tokenizer: Split"},
        {"pre_tokenizer", NULL, "{\"type\": \"Metaspace\"}", ERR_INVALID,
         "pre_tokenizer: Metaspace"},
        {"pre_tokenizer", NULL,
         "{\"type\": \"ByteLevel\", \"add_prefix_space\": true}", ERR_INVALID,
         "pre_tokenizer: ByteLevel"},
        {"pre_tokenizer", NULL, "null", ERR_INVALID, "pre_tokenizer"},
        {"normalizer", NULL, "{\"type\": \"Lowercase\"}", ERR_INVALID,
         "normalizer: Lowercase"},
        {"decoder", NULL, "{\"type\": \"Metaspace\"}", ERR_INVALID,
         "decoder: Metaspace"},
        {"model", "type", "\"Unigram\"", ERR_INVALID, "model: Unigram"},
        {"model", "type", "\"WordPiece\"", ERR_INVALID, "model: WordPiece"},
        {"model", "byte_fallback", "true", ERR_INVALID,
         "pre_tokenizer: ByteLevel"},
        {"model", "end_of_word_suffix", "\"</w>\"", ERR_INVALID,
         "end_of_word_suffix"},
        {"model", "dropout", "0.1", ERR_INVALID, "dropout"},
        {"model", "merges", "[\"e r\", [\"e\"]]", ERR_CORRUPT, "merge 1"},
        {"model", "merges", "[\"T  h\"]", ERR_CORRUPT, "merge 0"},
        {"model", "merges", "7", ERR_CORRUPT, "merges"},
        {"model", "vocab", "{\"a\": 0}", ERR_INVALID, "1 tokens"},
        {"added_tokens", NULL, ADDED("900", "<|endoftext|>", ""), 0, NULL},
        {"added_tokens", NULL, ADDED("262143", "</s>", ""), 0, NULL},
        {"added_tokens", NULL, ADDED("900", "<s>", ""), ERR_INVALID,
         "no special token"},
        {"added_tokens", NULL, ADDED("262144", "</s>", ""), ERR_INVALID,
         "id 262144"},
        {"added_tokens", NULL, ADDED("-1", "</s>", ""), ERR_CORRUPT, "id"},
        {"added_tokens", NULL, ADDED("5", "</s>", ""), ERR_CORRUPT, "</s>"},
        {"added_tokens", NULL, ADDED("900", "a", ""), ERR_CORRUPT, "token a"},
        {"added_tokens", NULL, ADDED("900", "", ""), ERR_CORRUPT, "content"},
        {"added_tokens", NULL, ADDED("900", "</s>", ", \"lstrip\": true"),
         ERR_INVALID, "lstrip"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = ERR_INIT;

        assert_int_equal(load_with("gpt2.json", cases[i].key,
                                   cases[i].second_key, cases[i].value, &err),
                         cases[i].rc);
        if (cases[i].named)
            if (!strstr(err.msg, cases[i].named))
                fail_msg("%s: not in: %s", cases[i].named, err.msg);
    }
}

static void test_fallback_refused(void **state)
{
    static const struct {
        const char *name, *key, *second_key, *value, *named;
    } cases[] = {
        {"llama2.json", "normalizer", NULL, "{\"type\": \"NFC\"}",
         "normalizer: NFC"},
        {"llama2.json", "normalizer", NULL, "null", "pre_tokenizer"},
        {"llama2.json", "pre_tokenizer", NULL, "{\"type\": \"Split\"}",
         "pre_tokenizer: Split"},
        {"llama2.json", "decoder", NULL,
         "{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"CTC\"}]}",
         "decoder: CTC"},
        {"llama2.json", "model", "byte_fallback", "false",
         "normalizer: Sequence"},
        {"llama2.json", "added_tokens", NULL,
         "[{\"id\": 900, \"content\": \"x\", \"normalized\": true}]",
         "normalized"},
        {"mistral.json", "pre_tokenizer", "split", "true",
         "pre_tokenizer: Metaspace"},
        {"mistral.json", "pre_tokenizer", "replacement", "\"_\"",
         "pre_tokenizer: Metaspace"},
        {"mistral.json", "pre_tokenizer", "prepend_scheme", "\"last\"",
         "pre_tokenizer: Metaspace"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = ERR_INIT;

        assert_int_equal(load_with(cases[i].name, cases[i].key,
                                   cases[i].second_key, cases[i].value, &err),
                         ERR_INVALID);
        if (!strstr(err.msg, cases[i].named))
            fail_msg("%s: not in: %s", cases[i].named, err.msg);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families),
        cmocka_unit_test(test_written_again),
        cmocka_unit_test(test_any_bytes),
        cmocka_unit_test(test_spaces),
        cmocka_unit_test(test_long_words),
        cmocka_unit_test(test_metaspace_names),
        cmocka_unit_test(test_added_tokens),
        cmocka_unit_test(test_unused_ids),
        cmocka_unit_test(test_own_form),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_fallback_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
