/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads and writes tokenizer.json of Hugging Face. Of a published tokenizer,
 * everything but vocab and merges is kept as it was read, so that it can be
 * written again.
 */
#include "config.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/model_shape.h"
#include "base/split_patterns.h"
#include "base/utf8.h"
#include "base/xalloc.h"
#include "learner/tokenizer/nfc.h"
#include "learner/tokenizer/tokenizer_private.h"

#define N_BYTES 256

/* --- writing ------------------------------------------------------------ */

static json_t *merges_json(const struct tokenizer *t)
{
    json_t *list = json_array();

    for (size_t i = 0; i < t->n_merges; i++)
        json_array_append_new(
            list,
            t->pairs
                ? json_pack("[s, s]", tokenizer_piece(t, t->merges[i].left),
                            tokenizer_piece(t, t->merges[i].right))
                : json_sprintf("%s %s", tokenizer_piece(t, t->merges[i].left),
                               tokenizer_piece(t, t->merges[i].right)));
    return list;
}

static json_t *vocab_json(const struct tokenizer *t)
{
    json_t *vocab = json_object();

    for (int id = 0; id < t->vocab_size; id++)
        if (t->tokens[id].in_vocab)
            json_object_set_new(vocab, tokenizer_piece(t, (token_id)id),
                                json_integer(id));
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

static json_t *own_json(const struct tokenizer *t)
{
    return json_pack(
        "{s:s, s:n, s:n, s:[{s:i, s:s, s:b, s:b, s:b, s:b, s:b}], s:n, "
        "s:{s:s, s:[{s:s, s:b}, {s:s, s:b, s:b, s:b}]}, s:o, "
        "s:{s:s, s:b, s:b, s:b}, "
        "s:{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:o}}",
        "version", "1.0", "truncation", "padding", "added_tokens", "id",
        (int)t->end_of_text, "content", TOKENIZER_END_NAME, "single_word", 0,
        "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 1, "normalizer",
        "pre_tokenizer", "type", "Sequence", "pretokenizers", "type", "Digits",
        "individual_digits", 1, "type", "ByteLevel", "add_prefix_space", 0,
        "trim_offsets", 1, "use_regex", 1, "post_processor", template_json(t),
        "decoder", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets",
        1, "use_regex", 1, "model", "type", "BPE", "dropout", "unk_token",
        "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0,
        "byte_fallback", 0, "ignore_merges", 0, "vocab", vocab_json(t),
        "merges", merges_json(t));
}

/* Puts vocab and merges where they were read. */
static json_t *read_json(const struct tokenizer *t)
{
    json_t *root = json_loads(t->frame, 0, NULL);
    json_t *model = json_object_get(root, "model");

    BUG_ON(!model);
    json_object_set_new(model, "vocab", vocab_json(t));
    json_object_set_new(model, "merges", merges_json(t));
    return root;
}

void tokenizer_to_json(const struct tokenizer *t, struct buf *out)
{
    json_t *root = t->frame ? read_json(t) : own_json(t);
    char *text = json_dumps(root, JSON_INDENT(1));

    buf_adds(out, text);
    buf_addc(out, '\n');
    free(text);
    json_decref(root);
}

/* --- reading: its form -------------------------------------------------- */

static const char *type_of(const json_t *object)
{
    const char *type = json_string_value(json_object_get(object, "type"));

    return type ? type : "(no type)";
}

static bool type_is(const json_t *object, const char *type)
{
    return strcmp(type_of(object), type) == 0;
}

/* True if the value is absent, null, false, zero or empty. */
static bool is_off(const json_t *value)
{
    const char *text = json_string_value(value);

    return !value || json_is_null(value) || json_is_false(value) ||
           (text && !*text) ||
           (json_is_number(value) && json_number_value(value) == 0);
}

static bool is_on(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

/* Names a part that has another form, and what it may be. */
static int unfit(struct err *err, const char *part, const char *is,
                 const char *may_be)
{
    return err_set(err, ERR_INVALID,
                   "tokenizer.json: %s: %.60s is not supported (%s)", part, is,
                   may_be);
}

/* True if ByteLevel adds no space before a text; its pattern splits the text,
 * or does not. */
static bool is_byte_level(const json_t *pre, bool use_regex)
{
    return type_is(pre, "ByteLevel") && !is_on(pre, "add_prefix_space") &&
           use_regex != json_is_false(json_object_get(pre, "use_regex"));
}

/* Sets the kind of a Split, whose pattern matches all of any text. */
static bool reads_split(const json_t *split, enum pretoken_kind *kind)
{
    const char *pattern = json_string_value(
        json_object_get(json_object_get(split, "pattern"), "Regex"));
    const char *behavior =
        json_string_value(json_object_get(split, "behavior"));
    const char *wanted = is_on(split, "invert") ? "Removed" : "Isolated";

    if (!pattern || !behavior || strcmp(behavior, wanted) != 0)
        return false;
    *kind = PRETOKEN_LLAMA3;
    if (strcmp(pattern, SPLIT_PATTERN_LLAMA3) == 0)
        return true;
    *kind = PRETOKEN_QWEN2;
    return strcmp(pattern, SPLIT_PATTERN_QWEN2) == 0;
}

static int read_pre_tokenizer(const json_t *pre, enum pretoken_kind *kind,
                              struct err *err)
{
    static const char may_be[] =
        "may be that of GPT-2, SmolLM, Llama 3 or Qwen2, without a space "
        "before the text";
    const json_t *steps = json_object_get(pre, "pretokenizers");
    const json_t *first = json_array_get(steps, 0);
    const json_t *second = json_array_get(steps, 1);
    const char *pattern;

    if (is_byte_level(pre, true)) {
        *kind = PRETOKEN_GPT2;
        return 0;
    }
    if (type_is(pre, "Sequence") && json_array_size(steps) == 2) {
        if (type_is(first, "Digits") && is_on(first, "individual_digits") &&
            is_byte_level(second, true)) {
            *kind = PRETOKEN_SMOLLM;
            return 0;
        }
        if (type_is(first, "Split") && is_byte_level(second, false) &&
            reads_split(first, kind))
            return 0;
    }
    if (!type_is(pre, "Sequence"))
        return unfit(err, "pre_tokenizer", type_of(pre), may_be);
    pattern = json_string_value(
        json_object_get(json_object_get(first, "pattern"), "Regex"));
    return unfit(err, "pre_tokenizer", pattern ? pattern : type_of(first),
                 may_be);
}

static int read_normalizer(const json_t *normalizer, bool *composes,
                           struct err *err)
{
    *composes = type_is(normalizer, "NFC");
    if (*composes || is_off(normalizer))
        return 0;
    return unfit(err, "normalizer", type_of(normalizer), "may be NFC or none");
}

static int check_model(const json_t *model, struct err *err)
{
    static const char *const off[] = {"dropout", "continuing_subword_prefix",
                                      "end_of_word_suffix"};

    if (!type_is(model, "BPE"))
        return unfit(err, "model", type_of(model), "must be BPE");
    for (size_t i = 0; i < sizeof off / sizeof *off; i++)
        if (!is_off(json_object_get(model, off[i])))
            return unfit(err, "model", off[i], "must be off");
    return 0;
}

/* --- reading: Llama 2's form --------------------------------------------- */

static bool string_is(const json_t *object, const char *key, const char *text)
{
    const char *is = json_string_value(json_object_get(object, key));

    return is && strcmp(is, text) == 0;
}

/* True for Sequence[Prepend, Replace], which puts the mark of a space in place
 * of each space and before the text. */
static bool marks_spaces(const json_t *normalizer)
{
    const json_t *steps = json_object_get(normalizer, "normalizers");
    const json_t *prepend = json_array_get(steps, 0);
    const json_t *replace = json_array_get(steps, 1);

    return type_is(normalizer, "Sequence") && json_array_size(steps) == 2 &&
           type_is(prepend, "Prepend") &&
           string_is(prepend, "prepend", TOKENIZER_SPACE_MARK) &&
           type_is(replace, "Replace") &&
           string_is(json_object_get(replace, "pattern"), "String", " ") &&
           string_is(replace, "content", TOKENIZER_SPACE_MARK);
}

/* True for a Metaspace that does the same and does not split. */
static bool reads_metaspace(const json_t *pre, enum tokenizer_space *space)
{
    if (!type_is(pre, "Metaspace") ||
        !string_is(pre, "replacement", TOKENIZER_SPACE_MARK) ||
        !json_is_false(json_object_get(pre, "split")))
        return false;
    *space = string_is(pre, "prepend_scheme", "always")
                 ? TOKENIZER_PREPEND_ALWAYS
             : string_is(pre, "prepend_scheme", "first")
                 ? TOKENIZER_PREPEND_FIRST
                 : TOKENIZER_PREPEND_NEVER;
    return *space != TOKENIZER_PREPEND_NEVER ||
           string_is(pre, "prepend_scheme", "never");
}

static int check_steps(const json_t *decoder, struct err *err)
{
    static const char *const known[] = {"Replace", "ByteFallback", "Fuse",
                                        "Strip"};
    const json_t *steps = json_object_get(decoder, "decoders"), *step;
    size_t i, k;

    if (is_off(decoder) || type_is(decoder, "Metaspace"))
        return 0;
    if (!type_is(decoder, "Sequence"))
        return unfit(err, "decoder", type_of(decoder), "may be a Sequence");
    json_array_foreach(steps, i, step)
    {
        for (k = 0; k < sizeof known / sizeof *known; k++)
            if (type_is(step, known[k]))
                break;
        if (k == sizeof known / sizeof *known)
            return unfit(err, "decoder", type_of(step), "may be Llama 2's");
    }
    return 0;
}

static int read_fallback_form(struct tokenizer *t, const json_t *root,
                              struct err *err)
{
    const json_t *normalizer = json_object_get(root, "normalizer");
    const json_t *pre = json_object_get(root, "pre_tokenizer");

    t->falls_back = true;
    if (marks_spaces(normalizer)) {
        t->space = TOKENIZER_PREPEND;
        if (!is_off(pre))
            return unfit(err, "pre_tokenizer", type_of(pre),
                         "with byte_fallback and a normalizer it may be none");
    } else if (!is_off(normalizer)) {
        return unfit(err, "normalizer", type_of(normalizer),
                     "with byte_fallback it may be Llama 2's or none");
    } else if (!reads_metaspace(pre, &t->space)) {
        return unfit(err, "pre_tokenizer", type_of(pre),
                     "with byte_fallback it may be a Metaspace that does not "
                     "split");
    }
    return check_steps(json_object_get(root, "decoder"), err);
}

static int read_form(struct tokenizer *t, const json_t *root, struct err *err)
{
    const json_t *decoder = json_object_get(root, "decoder");
    const json_t *model = json_object_get(root, "model");
    int rc = check_model(model, err);

    t->knows_words = is_on(model, "ignore_merges");
    if (rc == 0 && is_on(model, "byte_fallback"))
        return read_fallback_form(t, root, err);
    if (rc == 0)
        rc = read_normalizer(json_object_get(root, "normalizer"), &t->composes,
                             err);
    if (rc == 0)
        rc = read_pre_tokenizer(json_object_get(root, "pre_tokenizer"),
                                &t->pretoken, err);
    if (rc == 0 && !is_off(decoder) && !type_is(decoder, "ByteLevel"))
        rc = unfit(err, "decoder", type_of(decoder), "may be ByteLevel");
    return rc;
}

/* --- reading: tokens ---------------------------------------------------- */

/* Converts a piece of GPT-2's alphabet to bytes; false when it has a character
 * outside the alphabet. */
static bool unspell(const char *piece, struct buf *out)
{
    size_t left = strlen(piece), length;

    buf_clear(out);
    for (; left; piece += length, left -= length) {
        uint32_t c;
        int byte;

        length = utf8_decode(piece, left, &c);
        byte = length ? tokenizer_unspell(c) : -1;
        if (byte < 0)
            return false;
        buf_addc(out, (char)byte);
    }
    return true;
}

/* Appends the name of a byte in Llama 2's form. */
static void add_byte_name(int byte, struct buf *out)
{
    buf_addf(out, "<0x%02X>", (unsigned)byte);
}

/* Does what unspell does in Llama 2's form: <0x0A> is a byte, and the mark
 * stands for a space. */
static void unmark(const char *piece, struct buf *out)
{
    struct buf name = BUF_INIT;
    long byte = strncmp(piece, "<0x", 3) == 0 ? strtol(piece + 3, NULL, 16) : 0;

    buf_clear(out);
    add_byte_name((int)(byte & 0xff), &name);
    if (strcmp(name.data, piece) == 0) {
        buf_addc(out, (char)byte);
        piece = "";
    }
    buf_release(&name);
    while (*piece) {
        bool mark = strncmp(piece, TOKENIZER_SPACE_MARK, 3) == 0;

        buf_addc(out, mark ? ' ' : *piece);
        piece += mark ? 3 : 1;
    }
}

/* Checks an id, and raises vocab_size so that it fits. */
static int read_id(struct tokenizer *t, const json_t *value, const char *name,
                   struct err *err)
{
    json_int_t id = json_integer_value(value);

    if (!json_is_integer(value) || id < 0)
        return err_set(err, ERR_CORRUPT,
                       "tokenizer.json: token %.40s: its id is not a whole "
                       "number from 0",
                       name);
    if (id >= MODEL_MAX_VOCAB)
        return err_set(err, ERR_INVALID,
                       "tokenizer.json: token %.40s has id %lld: must be below "
                       "%d",
                       name, (long long)id, MODEL_MAX_VOCAB);
    if (id >= t->vocab_size)
        t->vocab_size = (int)id + 1;
    return 0;
}

/* Reads the number of ids, before memory is taken for them. */
static int read_ids(struct tokenizer *t, json_t *vocab, const json_t *added,
                    struct err *err)
{
    size_t n = json_object_size(vocab), i;
    const char *piece;
    json_t *value;
    int rc = 0;

    if (n < N_BYTES || n > MODEL_MAX_VOCAB)
        return err_set(
            err, ERR_INVALID,
            "tokenizer.json: a vocabulary of %zu tokens: must be %d to %d", n,
            N_BYTES, MODEL_MAX_VOCAB);
    json_object_foreach (vocab, piece, value) {
        if (rc == 0)
            rc = read_id(t, value, piece, err);
    }
    json_array_foreach (added, i, value) {
        if (rc == 0)
            rc = read_id(t, json_object_get(value, "id"), "(added)", err);
    }
    return rc;
}

static int read_vocab(struct tokenizer *t, json_t *vocab, struct err *err)
{
    struct buf bytes = BUF_INIT;
    const char *piece;
    json_t *value;
    int rc = 0;

    json_object_foreach (vocab, piece, value) {
        token_id id = (token_id)json_integer_value(value);

        if (t->tokens[id].in_vocab) {
            rc = err_set(err, ERR_CORRUPT,
                         "tokenizer.json: two tokens have id %u", id);
            break;
        }
        t->tokens[id].in_vocab = true;
        if (t->falls_back)
            unmark(piece, &bytes);
        else if (!unspell(piece, &bytes))
            buf_clear(&bytes);
        if (strncmp(piece, "<unused_", 8) == 0)
            buf_clear(&bytes);
        tokenizer_set(t, id, TOKENIZER_ORDINARY, bytes.data ? bytes.data : "",
                      bytes.len, piece);
    }
    buf_release(&bytes);
    return rc;
}

/* Finds the id of a byte by its piece. */
static int read_bytes(struct tokenizer *t, const json_t *vocab,
                      struct err *err)
{
    for (int b = 0; b < N_BYTES; b++) {
        struct buf piece = BUF_INIT;
        const json_t *id;

        if (t->falls_back)
            add_byte_name(b, &piece);
        else
            tokenizer_spell((unsigned char)b, &piece);
        id = json_object_get(vocab, piece.data);
        buf_release(&piece);
        if (!id)
            return err_set(err, ERR_INVALID,
                           "tokenizer.json: byte 0x%02x is not in the "
                           "vocabulary",
                           b);
        t->byte_ids[b] = (token_id)json_integer_value(id);
    }
    return 0;
}

/* Sets an added token, which may be in the vocabulary with the same id. */
static int read_added(struct tokenizer *t, const json_t *item,
                      const json_t *vocab, json_t *names, struct err *err)
{
    static const char *const off[] = {"single_word", "lstrip", "rstrip"};
    const char *name = json_string_value(json_object_get(item, "content"));
    token_id id = (token_id)json_integer_value(json_object_get(item, "id"));
    const json_t *known = name ? json_object_get(vocab, name) : NULL;
    bool special = is_on(item, "special");
    bool normal = is_on(item, "normalized");
    struct buf form_c = BUF_INIT;
    size_t n = name ? strlen(name) : 0;

    if (n == 0)
        return err_set(err, ERR_CORRUPT,
                       "tokenizer.json: an added token has no content");
    for (size_t i = 0; i < sizeof off / sizeof *off; i++)
        if (is_on(item, off[i]))
            return unfit(err, name, off[i], "must be false");
    if (normal && t->space == TOKENIZER_PREPEND)
        return unfit(err, name, "normalized", "must be false");
    if (json_object_get(names, name) ||
        (known ? (token_id)json_integer_value(known) != id
               : t->tokens[id].kind != TOKENIZER_UNUSED))
        return err_set(err, ERR_CORRUPT,
                       "tokenizer.json: added token %.40s has the id of "
                       "another token, or two ids",
                       name);
    json_object_set_new(names, name, json_true());
    tokenizer_set(t, id, special ? TOKENIZER_SPECIAL : TOKENIZER_ADDED, name,
                  special ? 0 : n, name);
    if (normal && t->composes)
        nfc_add(name, n, &form_c);
    else
        buf_add(&form_c, name, n);
    tokenizer_add_name(normal ? &t->normal_names : &t->names, form_c.data,
                       form_c.len, id, special);
    buf_release(&form_c);
    return 0;
}

/* Reads a merge, "left right" or ["left", "right"], as ids. */
static bool read_merge(const json_t *item, const json_t *vocab,
                       struct buf *both, struct tokenizer_merge *m)
{
    const char *left = json_string_value(item), *right;
    const json_t *ids[3];
    size_t n_left;

    if (left) {
        right = strchr(left, ' ');
        n_left = right ? (size_t)(right - left) : 0;
        right = right && !strchr(right + 1, ' ') ? right + 1 : NULL;
    } else {
        left = json_string_value(json_array_get(item, 0));
        right = json_string_value(json_array_get(item, 1));
        n_left = left ? strlen(left) : 0;
    }
    if (!left || !right || (json_is_array(item) && json_array_size(item) != 2))
        return false;
    buf_clear(both);
    buf_add(both, left, n_left);
    ids[0] = json_object_get(vocab, n_left ? both->data : "");
    ids[1] = json_object_get(vocab, right);
    buf_adds(both, right);
    ids[2] = json_object_get(vocab, both->data ? both->data : "");
    if (!ids[0] || !ids[1] || !ids[2])
        return false;
    *m = (struct tokenizer_merge){(token_id)json_integer_value(ids[0]),
                                  (token_id)json_integer_value(ids[1]),
                                  (token_id)json_integer_value(ids[2])};
    return true;
}

static int read_merges(struct tokenizer *t, const json_t *list,
                       const json_t *vocab, struct err *err)
{
    size_t n = json_array_size(list);
    struct buf both = BUF_INIT;

    if (!json_is_array(list) || n > TOKENIZER_MAX_MERGES)
        return err_set(err, ERR_CORRUPT,
                       "tokenizer.json: merges must be a list of at most %d",
                       TOKENIZER_MAX_MERGES);
    t->merges = xcalloc(n, sizeof *t->merges);
    while (t->n_merges < n &&
           read_merge(json_array_get(list, t->n_merges), vocab, &both,
                      &t->merges[t->n_merges])) {
        t->pairs = t->pairs || json_is_array(json_array_get(list, t->n_merges));
        t->n_merges++;
    }
    buf_release(&both);
    if (t->n_merges == n)
        return 0;
    return err_set(err, ERR_CORRUPT,
                   "tokenizer.json: merge %zu uses a token that is not in the "
                   "vocabulary",
                   t->n_merges);
}

static int read_tokens(struct tokenizer *t, const json_t *root, struct err *err)
{
    const json_t *model = json_object_get(root, "model");
    const json_t *added = json_object_get(root, "added_tokens");
    json_t *vocab = json_object_get(model, "vocab"), *names, *item;
    int rc = read_ids(t, vocab, added, err);
    size_t i;

    if (rc)
        return rc;
    t->tokens = xcalloc((size_t)t->vocab_size, sizeof *t->tokens);
    rc = read_vocab(t, vocab, err);
    if (rc == 0)
        rc = read_bytes(t, vocab, err);
    names = json_object();
    json_array_foreach (added, i, item) {
        if (rc == 0)
            rc = read_added(t, item, vocab, names, err);
    }
    json_decref(names);
    if (rc == 0)
        rc = read_merges(t, json_object_get(model, "merges"), vocab, err);
    if (rc)
        return rc;
    for (int id = 0; id < t->vocab_size; id++)
        if (t->tokens[id].kind == TOKENIZER_UNUSED)
            tokenizer_set_unused(t, (token_id)id);
    return 0;
}

/* --- reading: how a text begins and ends -------------------------------- */

static int find_end(struct tokenizer *t, struct err *err)
{
    static const char *const names[] = {TOKENIZER_END_NAME, "<|end_of_text|>",
                                        "</s>", "<eos>"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (tokenizer_find(t, names[i], strlen(names[i]), &t->end_of_text) &&
            tokenizer_is_special(t, t->end_of_text)) {
            t->begin_of_text = t->end_of_text;
            return 0;
        }
    return err_set(
        err, ERR_INVALID,
        "tokenizer.json: no special token is named " TOKENIZER_END_NAME
        ", <|end_of_text|>, </s> or <eos>");
}

static bool is_text(const json_t *piece)
{
    const char *id = json_string_value(
        json_object_get(json_object_get(piece, "Sequence"), "id"));

    return id && strcmp(id, "A") == 0;
}

/* Reads the special token of a piece of a template. */
static bool reads_special(const struct tokenizer *t, const json_t *post,
                          const json_t *piece, token_id *id)
{
    const char *name = json_string_value(
        json_object_get(json_object_get(piece, "SpecialToken"), "id"));
    const json_t *special = NULL, *ids;

    if (name)
        special =
            json_object_get(json_object_get(post, "special_tokens"), name);
    ids = json_object_get(special, "ids");
    return json_array_size(ids) == 1 &&
           tokenizer_find(t, name, strlen(name), id) &&
           tokenizer_is_special(t, *id) &&
           json_integer_value(json_array_get(ids, 0)) == (json_int_t)*id;
}

/* True if the template is the text alone, or a special token and the text. Its
 * form for a pair of texts does not matter. */
static bool reads_template(struct tokenizer *t, const json_t *post,
                           int *n_begins)
{
    const json_t *single = json_object_get(post, "single");
    size_t n = json_array_size(single);

    if (n < 1 || n > 2 || !is_text(json_array_get(single, n - 1)))
        return false;
    *n_begins += n == 2;
    return n == 1 ||
           reads_special(t, post, json_array_get(single, 0), &t->begin_of_text);
}

/* Accepts a processor that does nothing (ByteLevel only changes offsets), or a
 * template that reads_template accepts. */
static bool reads_processor(struct tokenizer *t, const json_t *post,
                            int *n_begins)
{
    return is_off(post) || type_is(post, "ByteLevel") ||
           (type_is(post, "TemplateProcessing") &&
            reads_template(t, post, n_begins));
}

/* mneme puts one token before a text. So a file may ask for one, or for
 * none. */
static int read_post_processor(struct tokenizer *t, const json_t *root,
                               struct err *err)
{
    const json_t *post = json_object_get(root, "post_processor");
    const json_t *list = json_object_get(post, "processors");
    const char *type = type_of(post);
    bool good = true;
    int n_begins = 0;

    if (!type_is(post, "Sequence"))
        good = reads_processor(t, post, &n_begins);
    else
        good = json_is_array(list);
    for (size_t i = 0; good && i < json_array_size(list); i++) {
        good = reads_processor(t, json_array_get(list, i), &n_begins);
        type = type_of(json_array_get(list, i));
    }
    t->adds_begin = n_begins == 1;
    if (good && n_begins <= 1)
        return 0;
    return unfit(err, "post_processor", type,
                 "may add only one special token before the text");
}

/* --- reading ------------------------------------------------------------ */

/* True for mneme's own form: the ids are as in tokenizer.h, and
 * tokenizer_to_json writes the same tokenizer without a frame. */
static bool is_own(const struct tokenizer *t)
{
    token_id id;

    for (int b = 0; b < N_BYTES; b++)
        if (t->byte_ids[b] != (token_id)b)
            return false;
    if (t->pretoken != PRETOKEN_SMOLLM || t->falls_back || t->composes ||
        t->knows_words || t->names.n != 1 || t->normal_names.n ||
        !tokenizer_find(t, TOKENIZER_END_NAME, strlen(TOKENIZER_END_NAME),
                        &id) ||
        id != TOKENIZER_END_OF_TEXT)
        return false;
    for (int i = 0; i < t->vocab_size; i++)
        if (!t->tokens[i].in_vocab)
            return false;
    return true;
}

static int read_root(struct tokenizer *t, json_t *root, struct err *err)
{
    json_t *model = json_object_get(root, "model");
    int rc = read_form(t, root, err);

    if (rc == 0)
        rc = read_tokens(t, root, err);
    if (rc)
        return rc;
    tokenizer_index(t);
    rc = find_end(t, err);
    if (rc == 0)
        rc = read_post_processor(t, root, err);
    if (rc)
        return rc;
    if (is_own(t)) {
        t->pairs = false;
        t->adds_begin = true;
    } else {
        json_object_set_new(model, "vocab", json_null());
        json_object_set_new(model, "merges", json_null());
        t->frame = json_dumps(root, JSON_COMPACT);
    }
    return 0;
}

int tokenizer_from_json(const char *json, size_t n_bytes,
                        struct tokenizer **tokenizer, struct err *err)
{
    struct tokenizer *t;
    json_error_t where;
    json_t *root;
    int rc;

    if (n_bytes > TOKENIZER_MAX_JSON)
        return err_set(err, ERR_LIMIT, "tokenizer.json: %zu bytes, above %zu",
                       n_bytes, TOKENIZER_MAX_JSON);
    root = json_loadb(json, n_bytes, JSON_REJECT_DUPLICATES, &where);
    if (!root)
        return err_set(err, ERR_CORRUPT, "tokenizer.json: line %d: %s",
                       where.line, where.text);
    t = xcalloc(1, sizeof *t);
    rc = read_root(t, root, err);
    json_decref(root);
    if (rc == 0)
        *tokenizer = t;
    else
        tokenizer_free(t);
    return rc;
}
