/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request is read in three parts: its settings, its prompts, and a check that
 * all of it together is not too much work.
 */
#include "config.h"

#include "daemon/http/completion/completion.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/json_value.h"
#include "base/rng.h"
#include "base/timing.h"
#include "base/utf8.h"
#include "base/xalloc.h"
#include "daemon/http/request/http_model.h"

#define MAX_CHOICES 256            /* prompts times n */
#define MAX_ALL_TOKENS (1 << 18)   /* of all choices: minutes, not hours */
#define MAX_ALTERNATIVES (1 << 18) /* of an answer */
#define SEED_BITS 0x1fffffffffffff /* 53 bits fit a JSON number */

/* --- settings ----------------------------------------------------------- */

static bool read_stops(struct http_request *rq, struct completion *job)
{
    const json_t *given = api_fields_value(rq, "stop");
    json_t *list = NULL;

    if (job->kind == API_RESPONSES || !given ||
        (json_is_array(given) && json_array_size(given) == 0))
        return true;
    if (!http_get_strings(rq, "stop", COMPLETION_MAX_STOPS, &list))
        return false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *s = json_array_get(list, i);

        if (json_string_length(s) == 0 ||
            strlen(json_string_value(s)) != json_string_length(s)) {
            http_fail(rq, 400, "invalid_value", "stop",
                      "'stop' must not be empty or hold a NUL");
            json_decref(list);
            return false;
        }
        job->stops[i] = xstrdup(json_string_value(s));
        job->sampling.n_stop = i + 1;
    }
    json_decref(list);
    return true;
}

static void read_sampling(const struct http_request *rq, struct completion *job)
{
    enum api_kind kind = job->kind;
    struct infer_sampling *s = &job->sampling;
    const char *max_tokens =
        kind == API_RESPONSES ? "max_output_tokens" : "max_tokens";
    int64_t top_k = api_fields_integer(rq, kind, "top_k");

    if (kind == API_CHAT && api_fields_value(rq, "max_completion_tokens"))
        max_tokens = "max_completion_tokens";
    infer_sampling_default(s);
    s->max_tokens = (int)api_fields_integer(rq, kind, max_tokens);
    s->top_k = top_k > 0 ? (int)top_k : 0; /* -1: off, as in vLLM */
    s->temperature = (float)api_fields_number(rq, kind, "temperature");
    s->top_p = (float)api_fields_number(rq, kind, "top_p");
    s->frequency_penalty =
        (float)api_fields_number(rq, kind, "frequency_penalty");
    s->presence_penalty =
        (float)api_fields_number(rq, kind, "presence_penalty");
    s->n_logprobs = (int)job->logprobs;
}

static bool read_seed(struct http_request *rq, struct completion *job)
{
    const char *prefix = job->kind == API_CHAT        ? "chatcmpl"
                         : job->kind == API_RESPONSES ? "resp"
                                                      : "cmpl";
    uint64_t random;

    if (getrandom(&random, sizeof random, 0) != sizeof random) {
        http_fail(rq, 503, "unavailable", NULL,
                  "the system has no random bytes");
        return false;
    }
    snprintf(job->id, sizeof job->id, "%s-%016llx", prefix,
             (unsigned long long)random);
    job->seed = (int64_t)(rng_u64(random, RNG_SAMPLE, 0, 0) & SEED_BITS);
    if (api_fields_value(rq, "seed"))
        job->seed = api_fields_integer(rq, job->kind, "seed");
    return true;
}

/* True when `include` of a response asks for logprobs. */
static bool read_include(struct http_request *rq, bool *wanted)
{
    const json_t *list = api_fields_value(rq, "include");
    bool good = !list || json_is_array(list);

    for (size_t i = 0; good && i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));

        good = name && strcmp(name, "message.output_text.logprobs") == 0;
        *wanted |= good;
    }
    if (!good)
        http_fail(rq, 400, "unsupported_parameter", "include",
                  "'include' may only have message.output_text.logprobs");
    return good;
}

/* In a chat `logprobs` is a bool, and a response asks with `include`. */
static bool read_logprobs(struct http_request *rq, struct completion *job)
{
    enum api_kind kind = job->kind;
    int64_t top;
    bool wanted = false;

    job->logprobs = -1;
    if (kind == API_COMPLETIONS) {
        if (api_fields_value(rq, "logprobs"))
            job->logprobs = api_fields_integer(rq, kind, "logprobs");
        return true;
    }
    if (kind == API_RESPONSES ? !read_include(rq, &wanted) : false)
        return false;
    if (kind == API_CHAT)
        wanted = api_fields_bool(rq, kind, "logprobs");
    top = api_fields_integer(rq, kind, "top_logprobs");
    if (top > 0 && !wanted) {
        http_fail(rq, 400, "invalid_value", "top_logprobs",
                  kind == API_CHAT ? "'top_logprobs' needs 'logprobs': true"
                                   : "'top_logprobs' needs 'include': "
                                     "[\"message.output_text.logprobs\"]");
        return false;
    }
    if (wanted)
        job->logprobs = top;
    return true;
}

static bool fail_option(struct http_request *rq, const char *code,
                        const char *must)
{
    http_fail(rq, 400, code, "stream_options", "'stream_options' %s", must);
    return false;
}

static bool read_stream_options(struct http_request *rq, struct completion *job)
{
    const json_t *options = api_fields_value(rq, "stream_options");
    const json_t *usage = json_object_get(options, "include_usage");
    const json_t *noise = json_object_get(options, "include_obfuscation");

    if (!options)
        return true;
    if (!json_is_object(options))
        return fail_option(rq, "invalid_type", "must be an object");
    if (!job->stream)
        return fail_option(rq, "invalid_value", "needs 'stream': true");
    if (usage && !json_is_null(usage) && !json_is_boolean(usage))
        return fail_option(rq, "invalid_type",
                           "must have true or false for 'include_usage'");
    if (noise && !json_is_null(noise) && !json_is_false(noise))
        return fail_option(rq, "unsupported_parameter",
                           "cannot have 'include_obfuscation': events are not "
                           "padded");
    job->want_usage = json_is_true(usage) && job->kind != API_RESPONSES;
    return true;
}

static bool read_settings(struct http_request *rq, struct completion *job)
{
    enum api_kind kind = job->kind;

    if (!api_fields_check(rq, kind))
        return false;
    job->n = kind == API_RESPONSES ? 1 : api_fields_integer(rq, kind, "n");
    job->echo = api_fields_bool(rq, kind, "echo");
    job->stream = api_fields_bool(rq, kind, "stream");
    if (!read_seed(rq, job) || !read_stream_options(rq, job) ||
        !read_logprobs(rq, job))
        return false;
    read_sampling(rq, job);
    return read_stops(rq, job);
}

/* --- what depends on the version ---------------------------------------- */

static bool fail_bias(struct http_request *rq, const char *must)
{
    http_fail(rq, 400, "invalid_value", "logit_bias", "'logit_bias' must %s",
              must);
    return false;
}

static bool read_bias(struct http_request *rq, struct completion *job)
{
    json_t *given = json_object_get(rq->body, "logit_bias");
    int vocab = infer_shape(job->f)->vocab_size;
    const char *name;
    json_t *value;

    if (job->kind == API_RESPONSES || !given || json_is_null(given))
        return true;
    if (!json_is_object(given))
        return fail_bias(rq, "be an object of token ids and numbers");
    job->bias = xcalloc(json_object_size(given) + 1, sizeof *job->bias);
    json_object_foreach(given, name, value)
    {
        double bias = json_number_value(value);
        int64_t id;

        /* A name with another spelling, "007", could occur twice. */
        if (!http_parse_number(name, &id) || id >= vocab ||
            (name[0] == '0' && name[1]))
            return fail_bias(rq, "have token ids of this model as names (see "
                                 "POST /tokenize)");
        if (!json_is_number(value) || !(bias >= -100 && bias <= 100))
            return fail_bias(rq, "have numbers from -100 to 100");
        job->bias[job->sampling.n_bias++] =
            (struct infer_bias){(token_id)id, (float)bias};
    }
    return true;
}

/* Names the version's weights and how they are held, as OpenAI's
 * `system_fingerprint` names a backend. */
static void read_fingerprint(const struct http_request *rq,
                             struct completion *job)
{
    bool int8 = serving_options(job->serving)->quantize == INFER_INT8;
    struct catalog_version v;

    if (catalog_get(rq->context->catalog, job->version, &v, NULL) != 0)
        return; /* removed just now */
    snprintf(job->fingerprint, sizeof job->fingerprint, "fp_%.10s%s",
             v.weights_sha256, int8 ? "_int8" : "");
    catalog_version_release(&v);
}

static bool check_size(struct http_request *rq, const struct completion *job)
{
    size_t n_ids = 0;

    if (job->n_prompts * (size_t)job->n > MAX_CHOICES) {
        http_fail(rq, 400, "limit_exceeded", "n",
                  "%zu prompts times 'n' %lld are more than %d choices",
                  job->n_prompts, (long long)job->n, MAX_CHOICES);
        return false;
    }
    if (job->n_prompts * (size_t)job->n * (size_t)job->sampling.max_tokens >
        MAX_ALL_TOKENS) {
        http_fail(rq, 400, "limit_exceeded", "max_tokens",
                  "'max_tokens' of all choices add up to more than %d",
                  MAX_ALL_TOKENS);
        return false;
    }
    for (size_t i = 0; i < job->n_prompts; i++)
        n_ids += (job->echo ? job->prompts[i].n : 0) +
                 (size_t)job->sampling.max_tokens;
    if (job->logprobs >= 0 &&
        n_ids * (size_t)(job->logprobs + 1) * (size_t)job->n >
            MAX_ALTERNATIVES) {
        http_fail(rq, 400, "limit_exceeded", "logprobs",
                  "'logprobs' of so many tokens are too many: send fewer "
                  "prompts in one request, or lower 'logprobs'");
        return false;
    }
    return true;
}

struct completion *completion_create(struct http_request *rq,
                                     enum api_kind kind)
{
    struct completion *job = xcalloc(1, sizeof *job);

    job->cancel = &rq->cancel;
    job->last_echo = xcalloc(1, sizeof *job->last_echo);
    job->serving = rq->context->serving;
    job->kind = kind;
    job->created = timing_wall_ms() / 1000;
    if (!read_settings(rq, job))
        goto failed;
    job->f = http_model_get_text(rq, &job->version);
    if (!job->f)
        goto failed;
    snprintf(job->model, sizeof job->model, "mneme@%lld",
             (long long)job->version);
    read_fingerprint(rq, job);
    if (!read_bias(rq, job) || !completion_prompt_read(rq, job) ||
        !check_size(rq, job))
        goto failed;
    return job;
failed:
    completion_free(job);
    return NULL;
}

void completion_free(void *arg)
{
    struct completion *job = arg;

    if (!job)
        return;
    for (size_t i = 0; i < job->n_prompts; i++)
        token_list_release(&job->prompts[i]);
    free(job->prompts);
    for (size_t i = 0; i < COMPLETION_MAX_STOPS; i++)
        free(job->stops[i]);
    free(job->bias);
    free(job->last_echo->logprobs);
    free(job->last_echo->best);
    free(job->last_echo);
    json_decref(job->echoed);
    if (job->f)
        serving_put(job->serving, job->f);
    free(job);
}

struct infer_sampling completion_sampling(const struct completion *job,
                                          int64_t choice)
{
    struct infer_sampling s = job->sampling;

    s.stop = (const char *const *)job->stops;
    s.bias = job->bias;
    s.seed = (uint64_t)job->seed;
    if (choice)
        s.seed = rng_u64(s.seed, RNG_SAMPLE, 1, (uint64_t)choice);
    return s;
}

void completion_text(const struct completion *job, const struct token_list *ids,
                     struct buf *out)
{
    struct buf raw = BUF_INIT;

    tokenizer_decode(infer_tokenizer(job->f), ids->items, ids->n, &raw);
    utf8_repair(raw.data ? raw.data : "", raw.len, out);
    buf_release(&raw);
}

/* --- answers ------------------------------------------------------------ */

json_t *completion_usage(const struct completion *job)
{
    return json_pack("{s:I, s:I, s:I, s:{s:I}}", "prompt_tokens",
                     (json_int_t)job->prompt_tokens, "completion_tokens",
                     (json_int_t)job->completion_tokens, "total_tokens",
                     (json_int_t)(job->prompt_tokens + job->completion_tokens),
                     "prompt_tokens_details", "cached_tokens",
                     (json_int_t)job->cached_tokens);
}

json_t *completion_head(const struct completion *job, const char *object)
{
    return json_pack("{s:s, s:s, s:I, s:s, s:s?, s:I, s:I}", "id", job->id,
                     "object", object, "created", (json_int_t)job->created,
                     "model", job->model, "system_fingerprint",
                     job->fingerprint[0] ? job->fingerprint : NULL, "version",
                     (json_int_t)job->version, "seed", (json_int_t)job->seed);
}

json_t *completion_string(const struct buf *b)
{
    return json_stringn(b->data ? b->data : "", b->len);
}
