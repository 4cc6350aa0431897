/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads and writes tokenizer.json of Hugging Face, in the one form that this
 * tokenizer supports: byte-level BPE behind Digits and ByteLevel.
 */
#include "config.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/xalloc.h"
#include "learner/tokenizer/tokenizer_private.h"

#define JSON_LIMIT ((size_t)64 << 20)

/* --- writing ------------------------------------------------------------ */

static json_t *merges_json(const struct tokenizer *t)
{
    json_t *list = json_array();

    for (size_t i = 0; i < t->n_merges; i++)
        json_array_append_new(
            list, json_sprintf("%s %s", t->tokens[t->merges[i].left].piece,
                               t->tokens[t->merges[i].right].piece));
    return list;
}

static json_t *vocab_json(const struct tokenizer *t)
{
    json_t *vocab = json_object();

    for (int id = 0; id < t->vocab_size; id++)
        json_object_set_new(vocab, t->tokens[id].piece, json_integer(id));
    return vocab;
}

static json_t *piece_json(const char *kind, const char *id, int type_id)
{
    return json_pack("{s:{s:s, s:i}}", kind, "id", id, "type_id", type_id);
}

/* Tells other programs to put end-of-text before every text, as mneme does. */
static json_t *template_json(const struct tokenizer *t)
{
    return json_pack(
        "{s:s, s:[o, o], s:[o, o, o, o], s:{s:{s:s, s:[i], s:[s]}}}", "type",
        "TemplateProcessing", "single",
        piece_json("SpecialToken", TOKENIZER_END_NAME, 0),
        piece_json("Sequence", "A", 0), "pair",
        piece_json("SpecialToken", TOKENIZER_END_NAME, 0),
        piece_json("Sequence", "A", 0),
        piece_json("SpecialToken", TOKENIZER_END_NAME, 1),
        piece_json("Sequence", "B", 1), "special_tokens", TOKENIZER_END_NAME,
        "id", TOKENIZER_END_NAME, "ids", (int)t->end_of_text, "tokens",
        TOKENIZER_END_NAME);
}

void tokenizer_to_json(const struct tokenizer *t, struct buf *out)
{
    json_t *root = json_pack(
        "{s:s, s:n, s:n, s:[{s:i, s:s, s:b, s:b, s:b, s:b, s:b}], s:n, "
        "s:{s:s, s:[{s:s, s:b}, {s:s, s:b, s:b, s:b}]}, s:o, "
        "s:{s:s, s:b, s:b, s:b}, "
        "s:{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:o}}",
        "version", "1.0", "truncation", "padding", "added_tokens", "id",
        (int)t->end_of_text, "content", TOKENIZER_END_NAME, "single_word", 0,
        "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 1, "normalizer",
        "pre_tokenizer", "type", "Sequence", "pretokenizers", "type",
        "Digits", "individual_digits", 1, "type", "ByteLevel",
        "add_prefix_space", 0, "trim_offsets", 1, "use_regex", 1,
        "post_processor", template_json(t), "decoder", "type", "ByteLevel",
        "add_prefix_space", 0, "trim_offsets", 1, "use_regex", 1, "model",
        "type", "BPE", "dropout", "unk_token", "continuing_subword_prefix",
        "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0,
        "ignore_merges", 0, "vocab", vocab_json(t), "merges", merges_json(t));
    char *text = json_dumps(root, JSON_INDENT(1));

    buf_adds(out, text);
    buf_addc(out, '\n');
    free(text);
    json_decref(root);
}

/* --- reading ------------------------------------------------------------ */

static int unfit(struct err *err, const char *what)
{
    return err_set(err, ERR_INVALID,
                   "tokenizer.json: %s is not of the form that mneme reads "
                   "(byte-level BPE behind Digits and ByteLevel)",
                   what);
}

static bool type_is(const json_t *object, const char *type)
{
    const char *is = json_string_value(json_object_get(object, "type"));

    return is && strcmp(is, type) == 0;
}

/* True if the value is absent, null, false or empty. */
static bool is_off(const json_t *value)
{
    const char *text = json_string_value(value);

    return !value || json_is_null(value) || json_is_false(value) ||
           (text && !*text);
}

static bool is_special(const json_t *piece, const char *id)
{
    const char *is = json_string_value(
        json_object_get(json_object_get(piece, "SpecialToken"), "id"));

    return is && strcmp(is, id) == 0;
}

static bool is_text(const json_t *piece)
{
    const char *id = json_string_value(
        json_object_get(json_object_get(piece, "Sequence"), "id"));

    return id && strcmp(id, "A") == 0;
}

/* True if the template's special token has the id of end-of-text. */
static bool names_end(const json_t *post, const json_t *root)
{
    const json_t *special = json_object_get(
        json_object_get(post, "special_tokens"), TOKENIZER_END_NAME);
    const json_t *ids = json_object_get(special, "ids");
    const json_t *vocab =
        json_object_get(json_object_get(root, "model"), "vocab");
    const json_t *id = json_object_get(vocab, TOKENIZER_END_NAME);

    return json_array_size(ids) == 1 && id &&
           json_equal(json_array_get(ids, 0), id);
}

/* True if the template is the text alone, or end-of-text and the text. Its form
 * for a pair of texts does not matter. */
static bool reads_template(const json_t *post, const json_t *root,
                           int *n_begins)
{
    const json_t *single = json_object_get(post, "single");
    size_t n = json_array_size(single);

    if (n < 1 || n > 2 || !is_text(json_array_get(single, n - 1)))
        return false;
    if (n == 2 && (!is_special(json_array_get(single, 0), TOKENIZER_END_NAME) ||
                   !names_end(post, root)))
        return false;
    *n_begins += n == 2;
    return true;
}

/* Accepts a processor that does nothing (ByteLevel only changes offsets), or a
 * template that reads_template accepts. */
static bool reads_processor(const json_t *post, const json_t *root,
                            int *n_begins)
{
    return is_off(post) || type_is(post, "ByteLevel") ||
           (type_is(post, "TemplateProcessing") &&
            reads_template(post, root, n_begins));
}

/* mneme always puts end-of-text before a text, once. So a file may ask for
 * that, or for nothing. */
static int check_post_processor(const json_t *root, struct err *err)
{
    const json_t *post = json_object_get(root, "post_processor");
    const json_t *list = json_object_get(post, "processors");
    const char *type = json_string_value(json_object_get(post, "type"));
    bool good = true;
    int n_begins = 0;

    if (!type_is(post, "Sequence"))
        good = reads_processor(post, root, &n_begins);
    else
        good = json_is_array(list);
    for (size_t i = 0; good && i < json_array_size(list); i++) {
        post = json_array_get(list, i);
        good = reads_processor(post, root, &n_begins);
        if (!good)
            type = json_string_value(json_object_get(post, "type"));
    }
    if (good && n_begins <= 1)
        return 0;
    return err_set(err, ERR_INVALID,
                   "tokenizer.json: post_processor: %.40s may add only one "
                   TOKENIZER_END_NAME " before the text",
                   type ? type : "it");
}

/* Refuses settings that change ids or text in ways that mneme does not
 * support. */
static int check_extras(const json_t *root, struct err *err)
{
    static const char *const off_in_model[] = {
        "dropout",       "continuing_subword_prefix",
        "end_of_word_suffix", "byte_fallback",
        "ignore_merges",
    };
    const json_t *model = json_object_get(root, "model");
    const json_t *decoder = json_object_get(root, "decoder");

    if (!is_off(json_object_get(root, "normalizer")))
        return unfit(err, "normalizer");
    if (check_post_processor(root, err))
        return ERR_INVALID;
    if (!is_off(decoder) && !type_is(decoder, "ByteLevel"))
        return unfit(err, "decoder");
    for (size_t i = 0; i < sizeof off_in_model / sizeof *off_in_model; i++)
        if (!is_off(json_object_get(model, off_in_model[i])))
            return unfit(err, off_in_model[i]);
    return 0;
}

static int check_form(const json_t *root, struct err *err)
{
    const json_t *pre = json_object_get(root, "pre_tokenizer");
    const json_t *steps = json_object_get(pre, "pretokenizers");
    const json_t *digits = json_array_get(steps, 0);
    const json_t *bytes = json_array_get(steps, 1);

    if (!type_is(pre, "Sequence") || json_array_size(steps) != 2 ||
        !type_is(digits, "Digits") ||
        !json_is_true(json_object_get(digits, "individual_digits")) ||
        !type_is(bytes, "ByteLevel") ||
        json_is_true(json_object_get(bytes, "add_prefix_space")) ||
        json_is_false(json_object_get(bytes, "use_regex")))
        return unfit(err, "pre_tokenizer");
    if (!type_is(json_object_get(root, "model"), "BPE"))
        return unfit(err, "model");
    return check_extras(root, err);
}

/* Converts a piece of GPT-2's alphabet to bytes; false when it has a character
 * outside the alphabet. */
static bool unspell(const char *piece, struct buf *out)
{
    const unsigned char *s = (const unsigned char *)piece;

    buf_clear(out);
    while (*s) {
        uint32_t c = *s;
        int byte;

        if (c >= 0xc2 && c < 0xe0 && (s[1] & 0xc0) == 0x80)
            c = (c & 0x1f) << 6 | (*++s & 0x3f);
        else if (c >= 0x80)
            return false;
        s++;
        byte = tokenizer_unspell(c);
        if (byte < 0)
            return false;
        buf_addc(out, (char)byte);
    }
    return true;
}

static int read_vocab(struct tokenizer *t, json_t *vocab, struct err *err)
{
    size_t n = json_object_size(vocab);
    struct buf bytes = BUF_INIT;
    const char *piece;
    json_t *value;
    int rc = 0;

    if (n < TOKENIZER_FIRST_MERGE || n > 65536)
        return err_set(
            err, ERR_INVALID,
            "tokenizer.json: a vocabulary of %zu ids: must be 257 to "
            "65536",
            n);
    t->vocab_size = (int)n;
    t->tokens = xcalloc(n, sizeof *t->tokens);
    json_object_foreach (vocab, piece, value) {
        json_int_t id = json_integer_value(value);
        struct tokenizer_token *token;

        if (!json_is_integer(value) || id < 0 || id >= (json_int_t)n ||
            t->tokens[id].piece) {
            rc = err_set(err, ERR_CORRUPT,
                         "tokenizer.json: the ids are not 0 to %zu, each once",
                         n - 1);
            break;
        }
        token = &t->tokens[id];
        token->piece = xstrdup(piece);
        if (!unspell(piece, &bytes))
            buf_clear(&bytes);
        token->n_bytes = bytes.len;
        token->bytes = xcalloc(bytes.len + 1, 1);
        if (bytes.len)
            memcpy(token->bytes, bytes.data, bytes.len);
    }
    buf_release(&bytes);
    return rc;
}

/* Special and unused ids have no bytes. */
static void clear_bytes(struct tokenizer *t, json_int_t id)
{
    if (id >= 0 && id < t->vocab_size) {
        t->tokens[id].n_bytes = 0;
        t->tokens[id].bytes[0] = '\0';
    }
}

static int read_specials(struct tokenizer *t, const json_t *root,
                         struct err *err)
{
    const json_t *added = json_object_get(root, "added_tokens");
    bool found = false;
    size_t i;
    json_t *item;

    json_array_foreach (added, i, item) {
        const char *content =
            json_string_value(json_object_get(item, "content"));
        json_int_t id = json_integer_value(json_object_get(item, "id"));

        if (!content || id < 0 || id >= t->vocab_size ||
            strcmp(t->tokens[id].piece, content) != 0)
            return err_set(err, ERR_INVALID,
                           "tokenizer.json: added token %s is not in the "
                           "vocabulary",
                           content ? content : "(no content)");
        clear_bytes(t, id);
        if (strcmp(content, TOKENIZER_END_NAME) == 0) {
            t->end_of_text = (token_id)id;
            found = true;
        }
    }
    for (int id = 0; id < t->vocab_size; id++)
        if (strncmp(t->tokens[id].piece, "<unused_", 8) == 0)
            clear_bytes(t, id);
    return found ? 0
                 : err_set(err, ERR_INVALID,
                           "tokenizer.json: no added token "
                           TOKENIZER_END_NAME);
}

static int read_bytes(struct tokenizer *t, const json_t *vocab,
                      struct err *err)
{
    for (int b = 0; b < 256; b++) {
        struct buf piece = BUF_INIT;
        const json_t *id;

        tokenizer_spell((unsigned char)b, &piece);
        id = json_object_get(vocab, piece.data);
        buf_release(&piece);
        if (!json_is_integer(id))
            return err_set(err, ERR_INVALID,
                           "tokenizer.json: byte 0x%02x is not in the "
                           "vocabulary",
                           b);
        t->byte_ids[b] = (token_id)json_integer_value(id);
    }
    return 0;
}

/* Reads a merge, "left right" or ["left", "right"], as ids. */
static bool read_merge(const json_t *item, const json_t *vocab,
                       struct tokenizer_merge *m)
{
    const char *text = json_string_value(item);
    const char *space = text ? strchr(text, ' ') : NULL;
    char *left = NULL, *both = NULL;
    const char *right = NULL;
    json_t *ids[3];
    bool ok = false;

    if (space) {
        left = xstrndup(text, (size_t)(space - text));
        right = space + 1;
    } else if (json_array_size(item) == 2 &&
               json_is_string(json_array_get(item, 0)) &&
               json_is_string(json_array_get(item, 1))) {
        left = xstrdup(json_string_value(json_array_get(item, 0)));
        right = json_string_value(json_array_get(item, 1));
    }
    if (left) {
        both = xasprintf("%s%s", left, right);
        ids[0] = json_object_get(vocab, left);
        ids[1] = json_object_get(vocab, right);
        ids[2] = json_object_get(vocab, both);
        ok = ids[0] && ids[1] && ids[2];
    }
    if (ok)
        *m = (struct tokenizer_merge){(token_id)json_integer_value(ids[0]),
                                      (token_id)json_integer_value(ids[1]),
                                      (token_id)json_integer_value(ids[2])};
    free(left);
    free(both);
    return ok;
}

static int read_merges(struct tokenizer *t, const json_t *list,
                       const json_t *vocab, struct err *err)
{
    size_t n = json_array_size(list);

    if (!json_is_array(list) || n > 65536)
        return err_set(err, ERR_CORRUPT,
                       "tokenizer.json: merges must be at most 65536");
    t->merges = xcalloc(n, sizeof *t->merges);
    for (size_t i = 0; i < n; i++)
        if (!read_merge(json_array_get(list, i), vocab, &t->merges[i]))
            return err_set(
                err, ERR_CORRUPT,
                "tokenizer.json: merge %zu uses a token that is not in "
                "the vocabulary",
                i);
    t->n_merges = n;
    tokenizer_index(t);
    return 0;
}

static int read_model(struct tokenizer *t, const json_t *root,
                      struct err *err)
{
    const json_t *model = json_object_get(root, "model");
    json_t *vocab = json_object_get(model, "vocab");
    int rc = read_vocab(t, vocab, err);

    if (rc == 0)
        rc = read_specials(t, root, err);
    if (rc == 0)
        rc = read_bytes(t, vocab, err);
    if (rc == 0)
        rc = read_merges(t, json_object_get(model, "merges"), vocab, err);
    return rc;
}

int tokenizer_from_json(const char *json, size_t n_bytes,
                        struct tokenizer **tokenizer, struct err *err)
{
    struct tokenizer *t;
    json_error_t where;
    json_t *root;
    int rc;

    if (n_bytes > JSON_LIMIT)
        return err_set(err, ERR_LIMIT, "tokenizer.json: %zu bytes, above %zu",
                       n_bytes, JSON_LIMIT);
    root = json_loadb(json, n_bytes, JSON_REJECT_DUPLICATES, &where);
    if (!root)
        return err_set(err, ERR_CORRUPT, "tokenizer.json: line %d: %s",
                       where.line, where.text);
    t = xcalloc(1, sizeof *t);
    rc = check_form(root, err);
    if (rc == 0)
        rc = read_model(t, root, err);
    json_decref(root);
    if (rc == 0)
        *tokenizer = t;
    else
        tokenizer_free(t);
    return rc;
}
