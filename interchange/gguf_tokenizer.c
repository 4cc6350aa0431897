/* SPDX-License-Identifier: Apache-2.0 */
/*
 * llama.cpp splits a text before BPE by a rule that it knows by name
 * (tokenizer.ggml.pre). The names here are those whose rule is the one of
 * tokenizer.json.
 */
#include "config.h"

#include "interchange/gguf_tokenizer.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/split_patterns.h"
#include "base/xalloc.h"

#define MOST_BYTES ((size_t)64 << 20)

static const struct {
    const char *regex, *name;
} splits[] = {
    {SPLIT_PATTERN_LLAMA3, "llama-bpe"},
    {SPLIT_PATTERN_QWEN2, "qwen2"},
};

/* --- the rule ----------------------------------------------------------- */

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

static bool has_type(const json_t *object, const char *type)
{
    return strcmp(text_of(object, "type"), type) == 0;
}

/* ByteLevel, that splits like GPT-2 or does not split. */
static bool is_bytes(const json_t *step, bool splits_too)
{
    return has_type(step, "ByteLevel") &&
           !json_is_true(json_object_get(step, "add_prefix_space")) &&
           json_is_false(json_object_get(step, "use_regex")) == !splits_too;
}

/* The patterns match all of any text. So to isolate the matches is the same as
 * to remove what is no match. */
static const char *name_of_split(const json_t *step)
{
    const char *wanted = json_is_true(json_object_get(step, "invert"))
                             ? "Removed"
                             : "Isolated";
    const char *regex = text_of(json_object_get(step, "pattern"), "Regex");

    for (size_t i = 0; i < sizeof splits / sizeof *splits; i++)
        if (has_type(step, "Split") &&
            strcmp(text_of(step, "behavior"), wanted) == 0 &&
            strcmp(regex, splits[i].regex) == 0)
            return splits[i].name;
    return NULL;
}

/* NULL: unknown. */
static const char *rule_of(const json_t *pre)
{
    const json_t *steps = json_object_get(pre, "pretokenizers");
    const json_t *first = json_array_get(steps, 0);
    const json_t *second = json_array_get(steps, 1);

    if (is_bytes(pre, true))
        return "gpt-2";
    if (!has_type(pre, "Sequence") || json_array_size(steps) != 2)
        return NULL;
    if (has_type(first, "Digits"))
        return json_is_true(json_object_get(first, "individual_digits")) &&
                       is_bytes(second, true)
                   ? "smollm"
                   : NULL;
    return is_bytes(second, false) ? name_of_split(first) : NULL;
}

/* With the rule of Llama 3, llama.cpp takes a pre-token that is a token without
 * asking the merges; with the others it does not. */
static bool ignores_merges(const json_t *model)
{
    return json_is_true(json_object_get(model, "ignore_merges"));
}

/* --- tokens ------------------------------------------------------------- */

struct tokens {
    const char **names; /* [n] NULL: the vocabulary lacks the id */
    int32_t *types;     /* [n] */
    size_t n;
};

static int put(struct tokens *t, const char *name, const json_t *id,
               int32_t type, struct err *err)
{
    json_int_t i = json_integer_value(id);

    if (!json_is_integer(id) || i < 0 || i >= (json_int_t)t->n)
        return err_set(err, ERR_INVALID,
                       "tokenizer.json: token %.80s has no id below %zu", name,
                       t->n);
    if (t->names[i] && strcmp(t->names[i], name) != 0)
        return err_set(err, ERR_CORRUPT,
                       "tokenizer.json: id %" JSON_INTEGER_FORMAT
                       " has two tokens",
                       i);
    t->names[i] = name;
    t->types[i] = type;
    return 0;
}

static int read_tokens(struct tokens *t, json_t *root, struct err *err)
{
    json_t *vocab = json_object_get(json_object_get(root, "model"), "vocab");
    json_t *added = json_object_get(root, "added_tokens"), *item;
    const char *name;
    size_t i;
    int rc = json_is_object(vocab)
                 ? 0
                 : err_set(err, ERR_CORRUPT,
                           "tokenizer.json: vocab is no object");

    json_object_foreach (vocab, name, item)
        if (rc == 0)
            rc = put(t, name, item,
                     strncmp(name, "<unused_", 8) ? GGUF_TOKEN_NORMAL
                                                  : GGUF_TOKEN_UNUSED,
                     err);
    json_array_foreach (added, i, item)
        if (rc == 0)
            rc = put(t, text_of(item, "content"), json_object_get(item, "id"),
                     json_is_true(json_object_get(item, "special"))
                         ? GGUF_TOKEN_CONTROL
                         : GGUF_TOKEN_USER_DEFINED,
                     err);
    return rc;
}

static void add_tokens(struct gguf_writer *w, const struct tokens *t)
{
    gguf_writer_array(w, "tokenizer.ggml.tokens", GGUF_STRING, t->n);
    for (size_t i = 0; i < t->n; i++) {
        char *name = t->names[i] ? NULL : xasprintf("[PAD%zu]", i);

        gguf_writer_add_text(w, name ? name : t->names[i]);
        free(name);
    }
    gguf_writer_array(w, "tokenizer.ggml.token_type", GGUF_I32, t->n);
    for (size_t i = 0; i < t->n; i++)
        gguf_writer_add_i32(w, t->types[i]);
}

/* A merge is "left right" or ["left", "right"]. */
static int add_merges(struct gguf_writer *w, const json_t *root,
                      struct err *err)
{
    json_t *list = json_object_get(json_object_get(root, "model"), "merges");
    json_t *item;
    size_t i;

    gguf_writer_array(w, "tokenizer.ggml.merges", GGUF_STRING,
                      json_array_size(list));
    json_array_foreach (list, i, item) {
        const char *left = json_string_value(json_array_get(item, 0));
        const char *right = json_string_value(json_array_get(item, 1));
        const char *both = json_string_value(item);
        char *made = left && right ? xasprintf("%s %s", left, right) : NULL;

        if (made || both)
            gguf_writer_add_text(w, made ? made : both);
        free(made);
        if (!made && !both)
            return err_set(err, ERR_CORRUPT,
                           "tokenizer.json: merge %zu is not of two tokens", i);
    }
    return 0;
}

static int add_all(struct gguf_writer *w, json_t *root, size_t vocab_size,
                   struct err *err)
{
    const char *rule = rule_of(json_object_get(root, "pre_tokenizer"));
    struct tokens t = {.n = vocab_size};
    int rc;

    if (!has_type(json_object_get(root, "model"), "BPE"))
        return err_set(err, ERR_INVALID,
                       "tokenizer.json: it is no BPE, so it cannot be written "
                       "as GGUF");
    if (json_is_true(
            json_object_get(json_object_get(root, "model"), "byte_fallback")))
        return err_set(err, ERR_INVALID,
                       "tokenizer.json: a BPE with byte_fallback (Llama 2, "
                       "Mistral) cannot be written as GGUF: use --format hf");
    if (!rule)
        return err_set(err, ERR_INVALID,
                       "tokenizer.json: GGUF has no name for this "
                       "pre_tokenizer that mneme knows");
    if (ignores_merges(json_object_get(root, "model")) !=
        (strcmp(rule, "llama-bpe") == 0))
        return err_set(err, ERR_INVALID,
                       "tokenizer.json: ignore_merges has a value that GGUF "
                       "cannot have with this pre_tokenizer");
    t.names = xcalloc(t.n, sizeof *t.names);
    t.types = xcalloc(t.n, sizeof *t.types);
    for (size_t i = 0; i < t.n; i++)
        t.types[i] = GGUF_TOKEN_UNUSED;
    rc = read_tokens(&t, root, err);
    if (rc == 0) {
        gguf_writer_text(w, "tokenizer.ggml.model", "gpt2");
        gguf_writer_text(w, "tokenizer.ggml.pre", rule);
        add_tokens(w, &t);
        rc = add_merges(w, root, err);
    }
    free(t.names);
    free(t.types);
    return rc;
}

int gguf_tokenizer_add(struct gguf_writer *w, const char *json, size_t n_bytes,
                       size_t vocab_size, struct err *err)
{
    json_error_t where;
    json_t *root;
    int rc;

    if (n_bytes > MOST_BYTES)
        return err_set(err, ERR_LIMIT, "tokenizer.json: %zu bytes, above %zu",
                       n_bytes, MOST_BYTES);
    root = json_loadb(json, n_bytes, JSON_REJECT_DUPLICATES, &where);
    if (!root)
        return err_set(err, ERR_CORRUPT, "tokenizer.json: line %d: %s",
                       where.line, where.text);
    rc = add_all(w, root, vocab_size, err);
    json_decref(root);
    return rc;
}
