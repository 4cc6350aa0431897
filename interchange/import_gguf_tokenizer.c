/* SPDX-License-Identifier: Apache-2.0 */
/*
 * llama.cpp knows a pre-tokenizer by name (tokenizer.ggml.pre), and what
 * belongs to it: Llama 3 takes a word of the vocabulary as it is, and puts a
 * token before each text; Qwen2 has a normalizer in its tokenizer.json.
 */
#include "config.h"

#include "interchange/import_gguf.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/split_patterns.h"
#include "base/xalloc.h"
#include "interchange/gguf_tokenizer.h"

static const struct rule {
    const char *name, *pattern; /* NULL: the pattern of GPT-2 */
    bool digits;                /* each one alone, before the pattern */
    bool composes, knows_words, begins;
} rules[] = {
    {.name = "gpt-2"},
    {.name = "smollm", .digits = true},
    {.name = "llama-bpe",
     .pattern = SPLIT_PATTERN_LLAMA3,
     .knows_words = true,
     .begins = true},
    {.name = "qwen2", .pattern = SPLIT_PATTERN_QWEN2, .composes = true},
};

static int get_rule(const struct gguf *g, const struct rule **rule,
                    struct err *err)
{
    struct gguf_string model = {"", 0}, pre = {"", 0};

    gguf_get_string(gguf_find(g, "tokenizer.ggml.model"), &model);
    if (!gguf_is(&model, "gpt2"))
        return err_set(err, ERR_INVALID,
                       "tokenizer.ggml.model is \"%.*s\"; only gpt2 "
                       "(byte-level BPE) is read",
                       model.n > 40 ? 40 : (int)model.n, model.bytes);
    gguf_get_string(gguf_find(g, "tokenizer.ggml.pre"), &pre);
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        *rule = &rules[i];
        if (gguf_is(&pre, rules[i].name))
            return 0;
    }
    return err_set(err, ERR_INVALID,
                   "tokenizer.ggml.pre is \"%.*s\"; only gpt-2, smollm, "
                   "llama-bpe and qwen2 are read",
                   pre.n > 40 ? 40 : (int)pre.n, pre.bytes);
}

/* --- parts of the file -------------------------------------------------- */

static json_t *byte_level(bool splits)
{
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel",
                     "add_prefix_space", 0, "trim_offsets", 1, "use_regex",
                     splits);
}

static json_t *pre_tokenizer(const struct rule *r)
{
    json_t *first;

    if (!r->pattern && !r->digits)
        return byte_level(true);
    first = r->digits ? json_pack("{s:s, s:b}", "type", "Digits",
                                  "individual_digits", 1)
                      : json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split",
                                  "pattern", "Regex", r->pattern, "behavior",
                                  "Isolated", "invert", 0);
    return json_pack("{s:s, s:[o, o]}", "type", "Sequence", "pretokenizers",
                     first, byte_level(r->digits));
}

/* A template that puts a token before a text. */
static json_t *template_of(const char *name, int64_t id)
{
    return json_pack(
        "{s:s, s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}],"
        " s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}], s:{s:{s:s, s:[I], s:[s]}}}",
        "type", "TemplateProcessing", "single", "SpecialToken", "id", name,
        "type_id", 0, "Sequence", "id", "A", "type_id", 0, "pair", "Sequence",
        "id", "A", "type_id", 0, "Sequence", "id", "B", "type_id", 1,
        "special_tokens", name, "id", name, "ids", (json_int_t)id, "tokens",
        name);
}

static json_t *added_token(const char *name, int64_t id, bool special)
{
    return json_pack("{s:I, s:s, s:b, s:b, s:b, s:b, s:b}", "id",
                     (json_int_t)id, "content", name, "single_word", 0,
                     "lstrip", 0, "rstrip", 0, "normalized", 0, "special",
                     special);
}

/* --- tokens ------------------------------------------------------------- */

struct tokens {
    json_t *vocab, *added, *merges;
    char *begin; /* the name of the token before a text, or NULL */
};

/* Finds an array of n elements, or of any number if n is 0. */
static int get_array(const struct gguf *g, const char *name, uint32_t of,
                     uint64_t n, const struct gguf_key **key, struct err *err)
{
    *key = gguf_find(g, name);
    if (!*key || (*key)->type != GGUF_ARRAY || (*key)->of != of)
        return err_set(err, ERR_INVALID, "%s is missing or of another form",
                       name);
    if (n && (*key)->n != n)
        return err_set(err, ERR_INVALID,
                       "%s has %" PRIu64 " elements, and token_embd.weight "
                       "%" PRIu64 " rows",
                       name, (*key)->n, n);
    return 0;
}

static int add_token(struct tokens *t, const struct gguf_string *s, int64_t id,
                     int32_t type, struct err *err)
{
    char *name;
    int rc = 0;

    if (memchr(s->bytes, '\0', s->n))
        return err_set(err, ERR_INVALID, "token %lld has a zero byte",
                       (long long)id);
    if (type == GGUF_TOKEN_UNUSED && s->n >= 4 &&
        memcmp(s->bytes, "[PAD", 4) == 0)
        return 0; /* it only fills the vocabulary */
    if (type == GGUF_TOKEN_BYTE || type == GGUF_TOKEN_UNKNOWN)
        return err_set(err, ERR_INVALID,
                       "token %lld is of a type that byte-level BPE lacks",
                       (long long)id);
    name = xstrndup(s->bytes, s->n);
    if (json_object_get(t->vocab, name) ||
        json_object_set_new(t->vocab, name, json_integer((json_int_t)id)) != 0)
        rc = err_set(err, ERR_INVALID,
                     "token %lld is not UTF-8, or a token has two ids",
                     (long long)id);
    else if (type == GGUF_TOKEN_CONTROL || type == GGUF_TOKEN_USER_DEFINED)
        json_array_append_new(
            t->added, added_token(name, id, type == GGUF_TOKEN_CONTROL));
    free(name);
    return rc;
}

static int read_tokens(const struct gguf *g, size_t vocab_size,
                       struct tokens *t, struct err *err)
{
    const struct gguf_key *names, *types;
    const char *at;
    int rc = get_array(g, "tokenizer.ggml.tokens", GGUF_STRING, vocab_size,
                       &names, err);

    if (rc == 0)
        rc = get_array(g, "tokenizer.ggml.token_type", GGUF_I32, vocab_size,
                       &types, err);
    if (rc)
        return rc;
    at = names->data;
    for (size_t i = 0; i < vocab_size && rc == 0; i++) {
        struct gguf_string s = gguf_next_string(&at);
        int32_t type;

        memcpy(&type, types->data + i * sizeof type, sizeof type);
        rc = add_token(t, &s, (int64_t)i, type, err);
    }
    return rc;
}

static int read_merges(const struct gguf *g, struct tokens *t, struct err *err)
{
    const struct gguf_key *merges;
    const char *at;
    int rc =
        get_array(g, "tokenizer.ggml.merges", GGUF_STRING, 0, &merges, err);

    at = rc == 0 ? merges->data : NULL;
    for (uint64_t i = 0; rc == 0 && i < merges->n; i++) {
        struct gguf_string s = gguf_next_string(&at);
        json_t *merge = json_stringn(s.bytes, s.n);

        if (!merge || memchr(s.bytes, '\0', s.n))
            rc = err_set(err, ERR_INVALID, "merge %llu is not UTF-8",
                         (unsigned long long)i);
        json_array_append_new(t->merges, merge);
    }
    return rc;
}

/* Finds the token before a text, if there is one. */
static int read_begin(const struct gguf *g, const struct rule *r,
                      struct tokens *t, int64_t *id, struct err *err)
{
    const struct gguf_key *key = gguf_find(g, "tokenizer.ggml.bos_token_id");
    bool begins = r->begins;
    const char *name;
    json_t *value;

    gguf_get_bool(gguf_find(g, "tokenizer.ggml.add_bos_token"), &begins);
    if (!begins)
        return 0;
    if (!gguf_get_int(key, id))
        *id = -1; /* of no token */
    json_object_foreach(t->vocab, name, value)
    {
        if (!t->begin && json_integer_value(value) == (json_int_t)*id)
            t->begin = xstrdup(name);
    }
    if (!t->begin)
        return err_set(err, ERR_INVALID,
                       "tokenizer.ggml.bos_token_id is not a token's id");
    return 0;
}

int import_gguf_tokenizer(const struct gguf *g, size_t vocab_size,
                          struct buf *out, struct err *err)
{
    struct tokens t = {json_object(), json_array(), json_array(), NULL};
    const struct rule *r = NULL;
    int64_t begin = -1;
    json_t *root;
    char *text;
    int rc = get_rule(g, &r, err);

    if (rc == 0)
        rc = read_tokens(g, vocab_size, &t, err);
    if (rc == 0)
        rc = read_merges(g, &t, err);
    if (rc == 0)
        rc = read_begin(g, r, &t, &begin, err);
    if (rc)
        goto out;
    root = json_pack(
        "{s:s, s:n, s:n, s:O, s:o, s:o, s:o, s:o,"
        " s:{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:O, s:O}}",
        "version", "1.0", "truncation", "padding", "added_tokens", t.added,
        "normalizer",
        r->composes ? json_pack("{s:s}", "type", "NFC") : json_null(),
        "pre_tokenizer", pre_tokenizer(r), "post_processor",
        t.begin ? template_of(t.begin, begin) : json_null(), "decoder",
        byte_level(true), "model", "type", "BPE", "dropout", "unk_token",
        "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0,
        "byte_fallback", 0, "ignore_merges", r->knows_words, "vocab", t.vocab,
        "merges", t.merges);
    text = json_dumps(root, JSON_INDENT(1));
    buf_adds(out, text);
    buf_addc(out, '\n');
    free(text);
    json_decref(root);
out:
    json_decref(t.vocab);
    json_decref(t.added);
    json_decref(t.merges);
    free(t.begin);
    return rc;
}
