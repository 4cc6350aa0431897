/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Endpoints that read a text and write none: score, classify, embeddings, and
 * the tokenizer as lm-evaluation-harness asks for it.
 */
#include "config.h"

#include "daemon/http/api_text.h"

#include <stdlib.h>
#include <string.h>

#include "base/json_value.h"
#include "base/utf8.h"
#include "base/xalloc.h"

#define MOST_TEXTS 256
#define MOST_INPUTS 2048 /* of embeddings, as with OpenAI */
#define DEFAULT_SCORES 10

/* Pieces shared with the completions. */

json_t *api_text_token(const struct tokenizer *t, uint16_t id)
{
    struct buf text = BUF_INIT;
    size_t n;
    const char *bytes = tokenizer_bytes(t, id, &n);
    json_t *s;

    if (id == tokenizer_end_of_text(t)) {
        buf_adds(&text, API_TEXT_END);
    } else if (utf8_valid(bytes, n)) {
        buf_add(&text, bytes, n);
    } else {
        buf_adds(&text, "bytes:");
        for (size_t i = 0; i < n; i++)
            buf_addf(&text, "\\x%02x", (unsigned char)bytes[i]);
    }
    s = json_stringn(text.data ? text.data : "", text.len);
    buf_release(&text);
    return s;
}

bool api_text_encode(struct http_request *rq, const struct infer *f,
                     const char *text, size_t n_bytes, struct token_list *ids)
{
    struct cancel cancel = http_cancel_question(&rq->cancel);
    struct err err = ERR_INIT;

    if (tokenizer_encode_wanted(infer_tokenizer(f), text, n_bytes, &cancel, ids,
                                &err) == 0)
        return true;
    http_fail_err(rq, &err);
    return false;
}

/* --- score -------------------------------------------------------------- */

static json_t *tokens_json(const struct infer *f, const struct infer_score *s)
{
    json_t *list = json_array();

    for (size_t i = 0; i < s->n_tokens; i++) {
        json_t *o = json_object();

        json_object_set_new(o, "id", json_integer(s->tokens.items[i]));
        json_object_set_new(
            o, "token",
            api_text_token(infer_tokenizer(f), s->tokens.items[i]));
        json_object_set_new(o, "logprob", json_value_real(s->logprobs[i]));
        json_array_append_new(list, o);
    }
    return list;
}

static int score_one(struct http_request *rq, const struct infer *f,
                     const json_t *text, bool tokens, json_t *results,
                     struct err *err)
{
    struct cancel cancel = http_cancel_question(&rq->cancel);
    struct infer_score s = {0};
    json_t *o;
    int rc = infer_score(f, json_string_value(text), json_string_length(text),
                         tokens, &cancel, &s, err);

    if (rc)
        return rc;
    o = json_object();
    json_object_set_new(o, "bytes", json_integer((json_int_t)s.n_bytes));
    json_object_set_new(o, "tokens", json_integer((json_int_t)s.n_tokens));
    json_object_set_new(o, "bits_per_byte", json_value_real(s.bits_per_byte));
    json_object_set_new(o, "perplexity", json_value_real(s.perplexity));
    if (tokens)
        json_object_set_new(o, "logprobs", tokens_json(f, &s));
    json_array_append_new(results, o);
    infer_score_release(&s);
    return 0;
}

/* {"version", "results"}, or what went wrong. Takes results over. */
static void answer(struct http_request *rq, int rc, const struct err *err,
                   int64_t version, json_t *results)
{
    json_t *root;

    if (rc) {
        json_decref(results);
        http_fail_err(rq, err);
        return;
    }
    root = json_object();
    json_object_set_new(root, "version", json_integer(version));
    json_object_set_new(root, "results", results);
    http_answer(rq, 200, root);
}

void api_score(struct http_request *rq)
{
    json_t *texts = NULL, *results;
    bool tokens = false;
    const struct infer *f;
    struct err err = ERR_INIT;
    int64_t version;
    int rc = 0;

    if (!http_get_strings(rq, "text", MOST_TEXTS, &texts))
        return;
    if (!http_get_bool(rq, "tokens", &tokens))
        goto out;
    f = http_get_model(rq, &version);
    if (!f)
        goto out;
    if (http_need_text_model(rq, f)) {
        results = json_array();
        for (size_t i = 0; rc == 0 && i < json_array_size(texts); i++)
            rc = score_one(rq, f, json_array_get(texts, i), tokens, results,
                           &err);
        answer(rq, rc, &err, version, results);
    }
    serving_put(rq->context->serving, f);
out:
    json_decref(texts);
}

/* --- classify ----------------------------------------------------------- */

struct ranked {
    size_t label;
    float score;
};

/* The highest first; equal ones in the order of the labels. */
static int by_score(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;

    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->label < y->label ? -1 : x->label > y->label;
}

static json_t *scores_json(const struct names *labels, const float *scores,
                           size_t top_k)
{
    struct ranked *r = xcalloc(labels->n, sizeof *r);
    json_t *o = json_object(), *list = json_array();

    for (size_t i = 0; i < labels->n; i++)
        r[i] = (struct ranked){i, scores[i]};
    qsort(r, labels->n, sizeof *r, by_score);
    for (size_t i = 0; i < labels->n && i < top_k; i++) {
        json_t *one = json_object();

        json_object_set_new(one, "label",
                            json_string(labels->items[r[i].label]));
        json_object_set_new(one, "score", json_value_real(r[i].score));
        json_array_append_new(list, one);
    }
    json_object_set_new(o, "label", json_string(labels->items[r[0].label]));
    json_object_set_new(o, "scores", list);
    free(r);
    return o;
}

static int classify_all(struct http_request *rq, const struct infer *f,
                        const json_t *texts, size_t top_k, json_t *results,
                        struct err *err)
{
    const struct names *labels = infer_labels(f);
    struct cancel cancel = http_cancel_question(&rq->cancel);
    float *scores;
    int rc = 0;

    if (labels->n == 0)
        return err_set(err, ERR_STATE, "this version has learned no label: "
                       "classify needs records with a `label`");
    scores = xcalloc(labels->n, sizeof *scores);
    for (size_t i = 0; rc == 0 && i < json_array_size(texts); i++) {
        const json_t *text = json_array_get(texts, i);

        rc = infer_classify(f, json_string_value(text),
                            json_string_length(text), &cancel, scores, err);
        if (rc == 0)
            json_array_append_new(results,
                                  scores_json(labels, scores, top_k));
    }
    free(scores);
    return rc;
}

void api_classify(struct http_request *rq)
{
    json_t *texts = NULL, *results;
    int64_t top_k = DEFAULT_SCORES;
    const struct infer *f;
    struct err err = ERR_INIT;
    int64_t version;
    int rc;

    if (!http_get_strings(rq, "text", MOST_TEXTS, &texts))
        return;
    if (!http_get_integer(rq, "top_k", 1, 1000000, &top_k))
        goto out;
    f = http_get_model(rq, &version);
    if (!f)
        goto out;
    results = json_array();
    rc = classify_all(rq, f, texts, (size_t)top_k, results, &err);
    answer(rq, rc, &err, version, results);
    serving_put(rq->context->serving, f);
out:
    json_decref(texts);
}

/* --- embeddings --------------------------------------------------------- */

/* Little-endian floats, as the SDKs unpack them. */
static json_t *base64_json(const float *x, size_t n)
{
    struct buf bytes = BUF_INIT;
    json_t *s;

    for (size_t i = 0; i < n; i++) {
        uint32_t u;

        memcpy(&u, &x[i], sizeof u);
        for (int k = 0; k < 32; k += 8)
            buf_addc(&bytes, (char)(u >> k & 0xff));
    }
    s = http_base64(bytes.data, bytes.len);
    buf_release(&bytes);
    return s;
}

static json_t *floats_json(const float *x, size_t n)
{
    json_t *list = json_array();

    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_value_real(x[i]));
    return list;
}

/* A request for embeddings, and its answer so far. */
struct embedding {
    struct http_request *rq;
    const struct infer *f;
    bool base64;
    json_t *data;
    size_t n_tokens; /* so far */
};

static int embed_ids(struct embedding *e, const struct token_list *ids,
                     struct err *err)
{
    struct cancel cancel = http_cancel_question(&e->rq->cancel);
    size_t dim = (size_t)infer_shape(e->f)->dim;
    float *x = xcalloc(dim, sizeof *x);
    int rc = infer_embed(e->f, ids->items, ids->n, &cancel, x, err);

    if (rc == 0) {
        json_t *o = json_object();

        e->n_tokens += ids->n;
        json_object_set_new(o, "object", json_string("embedding"));
        json_object_set_new(o, "index",
                            json_integer((json_int_t)json_array_size(e->data)));
        json_object_set_new(o, "embedding",
                            e->base64 ? base64_json(x, dim)
                                      : floats_json(x, dim));
        json_array_append_new(e->data, o);
    }
    free(x);
    return rc;
}

/* Embeds a text or an array of ids. False: the request has failed. */
static bool embed_one(struct embedding *e, const json_t *input,
                      const char *name)
{
    struct token_list ids = TOKEN_LIST_INIT;
    struct err err = ERR_INIT;
    bool good;

    if (json_is_string(input))
        good = api_text_encode(e->rq, e->f, json_string_value(input),
                               json_string_length(input), &ids);
    else
        good = api_text_ids(e->rq, "input", name, e->f, input, &ids);
    if (good && embed_ids(e, &ids, &err) != 0) {
        http_fail_err(e->rq, &err);
        good = false;
    }
    token_list_release(&ids);
    return good;
}

static bool embed_all(struct embedding *e, const json_t *inputs)
{
    for (size_t i = 0; i < json_array_size(inputs); i++) {
        char name[32];

        snprintf(name, sizeof name, "input[%zu]", i);
        if (!embed_one(e, json_array_get(inputs, i), name))
            return false;
    }
    return true;
}

static void embed(struct http_request *rq, const struct infer *f,
                  int64_t version, const json_t *input, bool base64)
{
    struct embedding e = {rq, f, base64, json_array(), 0};
    char model[32];
    json_t *root;

    /* An array of ids is one input. */
    if (!(json_is_array(input) && !json_is_integer(json_array_get(input, 0))
              ? embed_all(&e, input)
              : embed_one(&e, input, "input"))) {
        json_decref(e.data);
        return;
    }
    snprintf(model, sizeof model, "mneme@%lld", (long long)version);
    root = json_object();
    json_object_set_new(root, "object", json_string("list"));
    json_object_set_new(root, "model", json_string(model));
    json_object_set_new(root, "version", json_integer(version));
    json_object_set_new(root, "data", e.data);
    json_object_set_new(root, "usage",
                        json_pack("{s:I, s:I}", "prompt_tokens",
                                  (json_int_t)e.n_tokens, "total_tokens",
                                  (json_int_t)e.n_tokens));
    http_answer(rq, 200, root);
}

/* Checks the types in `input` before anything is computed. */
static bool check_input(struct http_request *rq, const json_t *input)
{
    const json_t *first = json_array_get(input, 0);
    size_t n = json_array_size(input);

    if (!input || json_is_null(input)) {
        http_fail(rq, 400, "missing_parameter", "input", "'input' is needed");
        return false;
    }
    if (json_is_string(input) || json_is_integer(first))
        return true;
    if (!json_is_string(first) && !json_is_array(first)) {
        http_fail(rq, 400, "invalid_type", "input",
                  "'input' must be a string, an array of 1 to %d strings, an "
                  "array of token ids, or an array of such arrays",
                  MOST_INPUTS);
        return false;
    }
    if (n > MOST_INPUTS) {
        http_fail(rq, 400, "invalid_value", "input",
                  "'input' has %zu elements, more than %d", n, MOST_INPUTS);
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_array_get(input, i);

        if (json_is_string(first)
                ? json_is_string(one)
                : json_is_array(one) && json_array_size(one) > 0)
            continue;
        http_fail(rq, 400, "invalid_type", "input", "'input[%zu]' must be %s",
                  i,
                  json_is_string(first) ? "a string, as 'input[0]' is"
                                        : "an array of at least one token id");
        return false;
    }
    return true;
}

/* Only models that are trained for it can have their vectors cut to fewer
 * dimensions; this one is not. */
static bool check_dimensions(struct http_request *rq, const struct infer *f)
{
    int64_t dim = infer_shape(f)->dim, wanted = dim;

    if (!http_get_integer(rq, "dimensions", 1, INT32_MAX, &wanted))
        return false;
    if (wanted == dim)
        return true;
    http_fail(rq, 400, "invalid_value", "dimensions",
              "'dimensions' is %lld, but this model's embeddings have %lld: "
              "leave it out",
              (long long)wanted, (long long)dim);
    return false;
}

void api_embeddings(struct http_request *rq)
{
    const json_t *input = json_object_get(rq->body, "input");
    const char *format = "float";
    const struct infer *f;
    int64_t version;

    if (!http_get_string(rq, "encoding_format", &format))
        return;
    if (strcmp(format, "float") != 0 && strcmp(format, "base64") != 0) {
        http_fail(rq, 400, "invalid_value", "encoding_format",
                  "encoding_format is \"float\" or \"base64\"");
        return;
    }
    if (!check_input(rq, input))
        return;
    f = http_get_model(rq, &version);
    if (!f)
        return;
    if (http_need_text_model(rq, f) && check_dimensions(rq, f))
        embed(rq, f, version, input, format[0] == 'b');
    serving_put(rq->context->serving, f);
}

/* --- tokenizer ---------------------------------------------------------- */

static json_t *ids_json(const struct token_list *ids)
{
    json_t *list = json_array();

    for (size_t i = 0; i < ids->n; i++)
        json_array_append_new(list, json_integer(ids->items[i]));
    return list;
}

/* The name of the end mark alone is its id: the harness asks for it so. In a
 * text it is as plain as the rest. */
static bool encode(struct http_request *rq, const struct infer *f,
                   const json_t *text, struct token_list *ids)
{
    if (json_string_length(text) != strlen(API_TEXT_END) ||
        strcmp(json_string_value(text), API_TEXT_END) != 0)
        return api_text_encode(rq, f, json_string_value(text),
                               json_string_length(text), ids);
    token_list_add(ids, tokenizer_end_of_text(infer_tokenizer(f)));
    return true;
}

void api_tokenize(struct http_request *rq)
{
    const char *key = json_object_get(rq->body, "prompt") ? "prompt" : "text";
    struct token_list ids = TOKEN_LIST_INIT;
    json_t *texts = NULL, *root;
    const struct infer *f;
    int64_t version;
    bool adds = false, encoded = false;

    if (!http_get_bool(rq, "add_special_tokens", &adds) ||
        !http_get_strings(rq, key, 1, &texts))
        return;
    f = http_get_model(rq, &version);
    if (!f)
        goto out;
    if (http_need_text_model(rq, f)) {
        if (adds)
            token_list_add(&ids, tokenizer_end_of_text(infer_tokenizer(f)));
        encoded = encode(rq, f, json_array_get(texts, 0), &ids);
    }
    if (encoded) {
        root = json_object();
        json_object_set_new(root, "tokens", ids_json(&ids));
        json_object_set_new(root, "count", json_integer((json_int_t)ids.n));
        json_object_set_new(root, "add_special_tokens", json_boolean(adds));
        json_object_set_new(root, "max_model_len",
                            json_integer(infer_shape(f)->context));
        json_object_set_new(root, "version", json_integer(version));
        http_answer(rq, 200, root);
    }
    token_list_release(&ids);
    serving_put(rq->context->serving, f);
out:
    json_decref(texts);
}

bool api_text_ids(struct http_request *rq, const char *key, const char *name,
                  const struct infer *f, const json_t *list,
                  struct token_list *ids)
{
    int vocab = tokenizer_vocab_size(infer_tokenizer(f));

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *id = json_array_get(list, i);

        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) >= vocab) {
            http_fail(rq, 400, "invalid_value", key,
                      "'%s[%zu]': token ids are whole numbers from 0 to %d, of "
                      "this model's own tokenizer (POST /tokenize)",
                      name, i, vocab - 1);
            return false;
        }
        token_list_add(ids, (uint16_t)json_integer_value(id));
    }
    return true;
}

static void detokenize(struct http_request *rq, const struct infer *f,
                       int64_t version, const json_t *list)
{
    struct token_list ids = TOKEN_LIST_INIT;
    struct buf bytes = BUF_INIT, text = BUF_INIT;
    json_t *root;

    if (!api_text_ids(rq, "tokens", "tokens", f, list, &ids))
        goto out;
    tokenizer_decode(infer_tokenizer(f), ids.items, ids.n, &bytes);
    utf8_repair(bytes.data ? bytes.data : "", bytes.len, &text);
    root = json_object();
    json_object_set_new(root, "prompt",
                        json_stringn(text.data ? text.data : "", text.len));
    json_object_set_new(root, "version", json_integer(version));
    http_answer(rq, 200, root);
out:
    buf_release(&bytes);
    buf_release(&text);
    token_list_release(&ids);
}

void api_detokenize(struct http_request *rq)
{
    const json_t *list = json_object_get(rq->body, "tokens");
    const struct infer *f;
    int64_t version;

    if (!json_is_array(list)) {
        http_fail(rq, 400, "invalid_type", "tokens",
                  "tokens is an array of token ids");
        return;
    }
    f = http_get_model(rq, &version);
    if (!f)
        return;
    if (http_need_text_model(rq, f))
        detokenize(rq, f, version, list);
    serving_put(rq->context->serving, f);
}

void api_tokenizer_info(struct http_request *rq)
{
    int64_t version;
    const struct infer *f = http_find_model(rq, NULL, &version);
    json_t *root;

    if (!f)
        return;
    if (http_need_text_model(rq, f)) {
        const struct tokenizer *t = infer_tokenizer(f);
        json_int_t end = tokenizer_end_of_text(t);

        root = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:i, s:i}",
                         "tokenizer_class", "PreTrainedTokenizerFast",
                         "eos_token", API_TEXT_END, "bos_token", API_TEXT_END,
                         "pad_token", API_TEXT_END, "eos_token_id", end,
                         "bos_token_id", end, "pad_token_id", end,
                         "vocab_size", tokenizer_vocab_size(t),
                         "model_max_length", infer_shape(f)->context);
        json_object_set_new(root, "chat_template", json_null());
        http_answer(rq, 200, root);
    }
    serving_put(rq->context->serving, f);
}
