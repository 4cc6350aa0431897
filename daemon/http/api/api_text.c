/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Endpoints that read texts and generate none: score, classify, embeddings.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_value.h"
#include "base/xalloc.h"
#include "daemon/http/api/http_endpoints.h"
#include "daemon/http/completion/completion.h"
#include "daemon/http/completion/token_json.h"
#include "daemon/http/request/http_model.h"

#define MAX_TEXTS 256
#define MAX_INPUTS 2048 /* of embeddings, as in OpenAI's API */
#define DEFAULT_SCORES 10

/* --- score -------------------------------------------------------------- */

static json_t *tokens_json(const struct infer *f, const struct infer_score *s)
{
    json_t *list = json_array();

    for (size_t i = 0; i < s->n_tokens; i++) {
        json_t *o = json_object();

        json_object_set_new(o, "id", json_integer(s->tokens.items[i]));
        json_object_set_new(
            o, "token",
            token_json_text(infer_tokenizer(f), s->tokens.items[i]));
        json_object_set_new(o, "logprob", json_value_real(s->logprobs[i]));
        json_array_append_new(list, o);
    }
    return list;
}

static int score_one(struct http_request *rq, const struct infer *f,
                     const json_t *text, bool tokens, json_t *results,
                     struct err *err)
{
    struct cancel cancel = http_cancel_callback(&rq->cancel);
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

/* Answers {"version", "results"}, or the error. Takes results over. */
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

    if (!http_get_strings(rq, "text", MAX_TEXTS, &texts))
        return;
    if (!http_get_bool(rq, "tokens", &tokens))
        goto out;
    f = http_model_get_text(rq, &version);
    if (!f)
        goto out;
    results = json_array();
    for (size_t i = 0; rc == 0 && i < json_array_size(texts); i++)
        rc = score_one(rq, f, json_array_get(texts, i), tokens, results, &err);
    answer(rq, rc, &err, version, results);
    serving_put(rq->context->serving, f);
out:
    json_decref(texts);
}

/* --- classify ----------------------------------------------------------- */

struct ranked {
    size_t label;
    float score;
};

/* Sorts by falling score; equal scores in the order of the labels. */
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
    struct cancel cancel = http_cancel_callback(&rq->cancel);
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

    if (!http_get_strings(rq, "text", MAX_TEXTS, &texts))
        return;
    if (!http_get_integer(rq, "top_k", 1, 1000000, &top_k))
        goto out;
    f = http_model_get(rq, &version);
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

/* Little-endian floats, as OpenAI's SDKs unpack them. */
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

struct embedding {
    struct http_request *rq;
    const struct infer *f;
    bool base64;
    json_t *data; /* the vectors so far */
    size_t n_tokens;
};

static int embed_ids(struct embedding *e, const struct token_list *ids,
                     struct err *err)
{
    struct cancel cancel = http_cancel_callback(&e->rq->cancel);
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
        good = token_json_encode(e->rq, e->f, json_string_value(input),
                                 json_string_length(input), &ids);
    else
        good = token_json_ids(e->rq, "input", name, e->f, input, &ids);
    good =
        good && completion_prompt_truncate(e->rq, API_EMBEDDINGS, e->f, &ids);
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

    /* A string or an array of ids is one input. */
    if (!(json_is_array(input) && !json_is_number(json_array_get(input, 0))
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

/* Checks all types in `input`, so that a wrong one costs no computing. */
static bool check_input(struct http_request *rq, const json_t *input)
{
    const json_t *first = json_array_get(input, 0);
    size_t n = json_array_size(input);

    if (json_is_string(input) || json_is_number(first))
        return true;
    if (!json_is_string(first) && !json_is_array(first)) {
        http_fail(rq, 400, "invalid_type", "input",
                  "'input' must be a string, an array of 1 to %d strings, an "
                  "array of token ids, or an array of such arrays",
                  MAX_INPUTS);
        return false;
    }
    if (n > MAX_INPUTS) {
        http_fail(rq, 400, "invalid_value", "input",
                  "'input' has %zu elements, more than %d", n, MAX_INPUTS);
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

/* Only models that are trained for it can shorten their vectors; this model is
 * not. */
static bool check_dimensions(struct http_request *rq, const struct infer *f)
{
    int64_t dim = infer_shape(f)->dim, wanted = dim;

    if (!http_get_integer(rq, "dimensions", 1, INT32_MAX, &wanted))
        return false;
    if (wanted == dim)
        return true;
    http_fail(rq, 400, "invalid_value", "dimensions",
              "'dimensions' is %lld, but this model's embeddings have %lld: "
              "omit the field",
              (long long)wanted, (long long)dim);
    return false;
}

void api_embeddings(struct http_request *rq)
{
    const json_t *input = json_object_get(rq->body, "input");
    const struct infer *f;
    const char *format;
    int64_t version;

    if (!api_fields_check(rq, API_EMBEDDINGS) || !check_input(rq, input))
        return;
    format = api_fields_string(rq, API_EMBEDDINGS, "encoding_format");
    f = http_model_get_text(rq, &version);
    if (!f)
        return;
    if (check_dimensions(rq, f))
        embed(rq, f, version, input, format && strcmp(format, "base64") == 0);
    serving_put(rq->context->serving, f);
}
