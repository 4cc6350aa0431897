/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /v1/completions and /v1/chat/completions, in OpenAI's shapes.
 *
 *     read     the request becomes a struct job, checked whole
 *     run      each choice is generated; into one answer, or
 *     stream   into events, on the stream's own thread, which owns the job
 *
 * Choice c of a prompt is drawn from seed_of(c): the first from the seed that
 * was given, whatever else is in the request. A seed that was not given is
 * drawn and told, so that any answer can be had again.
 *
 * A chat has no template, since nothing that is learned has one: its messages'
 * contents, joined by line ends, are the prompt. One message alone is thus
 * exactly the `prompt` of an instruction pair.
 */
#include "config.h"

#include "daemon/api_text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/rng.h"
#include "base/timing.h"
#include "base/utf8.h"
#include "base/xalloc.h"
#include "daemon/http_stream.h"

#define MOST_PROMPTS 256
#define MOST_N 16
#define MOST_CHOICES 256 /* prompts times n */
#define MOST_MESSAGES 1024
#define MOST_TOKENS 16384 /* max_tokens */
#define MOST_TOKENS_TOGETHER (1 << 18) /* of all choices: minutes, not hours */
#define MOST_STOPS 4
#define MOST_LOGPROBS 20
#define MOST_ALTERNATIVES (1 << 18) /* of a whole answer */
#define COMPLETION_TOKENS 16 /* OpenAI's default */
#define CHAT_TOKENS 256
#define SEED_BITS 0x1fffffffffffff /* what every JSON reader can hold */

struct job {
    struct http *http;
    struct serving *serving;
    const struct infer *f; /* counted */
    int64_t version, created;
    char id[48], model[32];
    bool chat, echo, stream, want_usage;
    int64_t n, seed, logprobs; /* logprobs < 0: none */
    struct token_list *prompts;
    size_t n_prompts;
    char *stops[MOST_STOPS];
    struct infer_sampling sampling;
    size_t prompt_tokens, completion_tokens; /* used so far */
};

static void job_free(void *arg)
{
    struct job *j = arg;

    if (!j)
        return;
    for (size_t i = 0; i < j->n_prompts; i++)
        token_list_release(&j->prompts[i]);
    free(j->prompts);
    for (size_t i = 0; i < MOST_STOPS; i++)
        free(j->stops[i]);
    if (j->f)
        serving_put(j->serving, j->f);
    free(j);
}

/* --- reading: settings -------------------------------------------------- */

static bool read_stops(struct http_request *rq, struct job *j)
{
    json_t *given = json_object_get(rq->body, "stop"), *list = NULL;

    if (!given || json_is_null(given) ||
        (json_is_array(given) && json_array_size(given) == 0))
        return true;
    if (!http_get_strings(rq, "stop", MOST_STOPS, &list))
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
        j->stops[i] = xstrdup(json_string_value(s));
        j->sampling.n_stop = i + 1;
    }
    json_decref(list);
    return true;
}

static bool read_sampling(struct http_request *rq, struct job *j)
{
    int64_t max_tokens = j->chat ? CHAT_TOKENS : COMPLETION_TOKENS;
    int64_t top_k = 0;
    double temperature = 1, top_p = 1;

    if (!http_get_integer(rq, "max_tokens", 0, MOST_TOKENS, &max_tokens) ||
        (j->chat && !http_get_integer(rq, "max_completion_tokens", 0,
                                      MOST_TOKENS, &max_tokens)) ||
        !http_get_integer(rq, "top_k", -1, MODEL_MAX_VOCAB, &top_k) ||
        !http_get_number(rq, "temperature", 0, 2, &temperature) ||
        !http_get_number(rq, "top_p", 0, 1, &top_p) || !read_stops(rq, j))
        return false;
    j->sampling.max_tokens = (int)max_tokens;
    j->sampling.top_k = top_k > 0 ? (int)top_k : 0; /* -1: off, as in vLLM */
    j->sampling.temperature = (float)temperature;
    j->sampling.top_p = (float)top_p;
    return true;
}

static bool draw_seed(struct http_request *rq, struct job *j)
{
    uint64_t random;

    if (getrandom(&random, sizeof random, 0) != sizeof random) {
        http_fail(rq, 503, "unavailable", NULL, "no random bytes to be had");
        return false;
    }
    snprintf(j->id, sizeof j->id, "%s-%016llx", j->chat ? "chatcmpl" : "cmpl",
             (unsigned long long)random);
    j->seed = (int64_t)(rng_u64(random, RNG_SAMPLE, 0, 0) & SEED_BITS);
    return http_get_integer(rq, "seed", INT64_MIN, INT64_MAX, &j->seed);
}

static bool read_stream_options(struct http_request *rq, struct job *j)
{
    const json_t *o = json_object_get(rq->body, "stream_options");

    if (!http_get_bool(rq, "stream", &j->stream))
        return false;
    j->want_usage = json_is_true(json_object_get(o, "include_usage"));
    return true;
}

/* Only completions have these; in a chat `logprobs` is another thing. */
static bool read_echo(struct http_request *rq, struct job *j)
{
    if (j->chat)
        return true;
    if (!http_get_bool(rq, "echo", &j->echo) ||
        !http_get_integer(rq, "logprobs", 0, MOST_LOGPROBS, &j->logprobs))
        return false;
    if (j->stream && j->logprobs >= 0) {
        http_fail(rq, 400, "invalid_value", "logprobs",
                  "'logprobs' cannot be streamed: ask without 'stream'");
        return false;
    }
    return true;
}

static bool read_settings(struct http_request *rq, struct job *j)
{
    infer_sampling_default(&j->sampling);
    j->n = 1;
    j->logprobs = -1;
    if (!http_get_integer(rq, "n", 1, MOST_N, &j->n) || !draw_seed(rq, j) ||
        !read_stream_options(rq, j) || !read_echo(rq, j) ||
        !read_sampling(rq, j))
        return false;
    j->sampling.n_logprobs = (int)j->logprobs;
    return true;
}

/* --- reading: prompts --------------------------------------------------- */

static struct token_list *add_prompt(struct job *j)
{
    j->prompts = xreallocarray(j->prompts, j->n_prompts + 1,
                               sizeof *j->prompts);
    j->prompts[j->n_prompts] = (struct token_list)TOKEN_LIST_INIT;
    return &j->prompts[j->n_prompts++];
}

static void add_text(struct job *j, const json_t *text)
{
    tokenizer_encode(infer_tokenizer(j->f), json_string_value(text),
                     json_string_length(text), add_prompt(j));
}

static bool wrong_prompt(struct http_request *rq)
{
    http_fail(rq, 400, "invalid_type", "prompt",
              "'prompt' must be a string, an array of 1 to %d strings, an "
              "array of token ids, or an array of such arrays", MOST_PROMPTS);
    return false;
}

/* An array of strings or of arrays of ids. */
static bool add_prompts(struct http_request *rq, struct job *j,
                        const json_t *list)
{
    bool texts = json_is_string(json_array_get(list, 0));

    if (json_array_size(list) > MOST_PROMPTS)
        return wrong_prompt(rq);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *one = json_array_get(list, i);

        if (texts ? !json_is_string(one) : !json_is_array(one))
            return wrong_prompt(rq);
        if (texts)
            add_text(j, one);
        else if (!api_text_ids(rq, "prompt", j->f, one, add_prompt(j)))
            return false;
    }
    return true;
}

static bool read_prompt(struct http_request *rq, struct job *j)
{
    const json_t *given = json_object_get(rq->body, "prompt");
    const json_t *first = json_array_get(given, 0);

    if (!given || json_is_null(given))
        add_prompt(j); /* the beginning of a record */
    else if (json_is_string(given))
        add_text(j, given);
    else if (json_is_integer(first))
        return api_text_ids(rq, "prompt", j->f, given, add_prompt(j));
    else if (json_is_string(first) || json_is_array(first))
        return add_prompts(rq, j, given);
    else
        return wrong_prompt(rq);
    return true;
}

static bool wrong_messages(struct http_request *rq)
{
    http_fail(rq, 400, "invalid_type", "messages",
              "'messages' must be an array of 1 to %d objects whose 'content' "
              "is a string or an array of {\"type\": \"text\", \"text\"}",
              MOST_MESSAGES);
    return false;
}

static bool add_string(struct buf *out, const json_t *s)
{
    if (json_is_string(s))
        buf_add(out, json_string_value(s), json_string_length(s));
    return json_is_string(s);
}

static bool add_content(struct buf *out, const json_t *content)
{
    if (!json_is_array(content))
        return json_is_null(content) || add_string(out, content);
    for (size_t i = 0; i < json_array_size(content); i++)
        if (!add_string(out, json_object_get(json_array_get(content, i),
                                             "text")))
            return false;
    return true;
}

static bool read_messages(struct http_request *rq, struct job *j)
{
    const json_t *list = json_object_get(rq->body, "messages");
    struct buf text = BUF_INIT;
    bool good = json_array_size(list) >= 1 &&
                json_array_size(list) <= MOST_MESSAGES;

    for (size_t i = 0; good && i < json_array_size(list); i++) {
        const json_t *content =
            json_object_get(json_array_get(list, i), "content");

        if (i)
            buf_addc(&text, '\n');
        good = content && add_content(&text, content);
    }
    if (good)
        tokenizer_encode(infer_tokenizer(j->f), text.data ? text.data : "",
                         text.len, add_prompt(j));
    buf_release(&text);
    return good || wrong_messages(rq);
}

/* --- reading: the whole ------------------------------------------------- */

static bool check_size(struct http_request *rq, const struct job *j)
{
    size_t n_ids = 0;

    if (j->n_prompts * (size_t)j->n > MOST_CHOICES) {
        http_fail(rq, 400, "limit_exceeded", "n",
                  "%zu prompts times 'n' %lld are more than %d choices",
                  j->n_prompts, (long long)j->n, MOST_CHOICES);
        return false;
    }
    if (j->n_prompts * (size_t)j->n * (size_t)j->sampling.max_tokens >
        MOST_TOKENS_TOGETHER) {
        http_fail(rq, 400, "limit_exceeded", "max_tokens",
                  "'max_tokens' of all choices together are more than %d",
                  MOST_TOKENS_TOGETHER);
        return false;
    }
    for (size_t i = 0; i < j->n_prompts; i++)
        n_ids += (j->echo ? j->prompts[i].n : 0) +
                 (size_t)j->sampling.max_tokens;
    if (j->logprobs >= 0 && n_ids * (size_t)(j->logprobs + 1) *
                                    (size_t)j->n > MOST_ALTERNATIVES) {
        http_fail(rq, 400, "limit_exceeded", "logprobs",
                  "'logprobs' of so many tokens: send fewer prompts at once, "
                  "or ask for fewer");
        return false;
    }
    return true;
}

/* NULL: failed. */
static struct job *read_job(struct http_request *rq, bool chat)
{
    struct job *j = xcalloc(1, sizeof *j);

    j->http = rq->http;
    j->serving = rq->context->serving;
    j->chat = chat;
    j->created = timing_wall_ms() / 1000;
    if (!read_settings(rq, j))
        goto failed;
    j->f = http_get_model(rq, &j->version);
    if (!j->f || !http_need_text_model(rq, j->f))
        goto failed;
    snprintf(j->model, sizeof j->model, "mneme@%lld", (long long)j->version);
    if (!(chat ? read_messages(rq, j) : read_prompt(rq, j)) ||
        !check_size(rq, j))
        goto failed;
    return j;
failed:
    job_free(j);
    return NULL;
}

/* --- generating --------------------------------------------------------- */

static uint64_t seed_of(const struct job *j, int64_t choice)
{
    uint64_t seed = (uint64_t)j->seed;

    return choice == 0 ? seed
                       : rng_u64(seed, RNG_SAMPLE, 1, (uint64_t)choice);
}

static struct infer_sampling sampling_of(const struct job *j, int64_t choice)
{
    struct infer_sampling s = j->sampling;

    s.stop = (const char *const *)j->stops;
    s.seed = seed_of(j, choice);
    return s;
}

/* The text of ids as it can be written. */
static void text_of(const struct job *j, const struct token_list *ids,
                    struct buf *out)
{
    struct buf raw = BUF_INIT;

    tokenizer_decode(infer_tokenizer(j->f), ids->items, ids->n, &raw);
    utf8_repair(raw.data ? raw.data : "", raw.len, out);
    buf_release(&raw);
}

static bool cut_short(uint16_t id, void *arg)
{
    const struct job *j = arg;

    (void)id;
    return http_stopping(j->http);
}

static int check_stopping(const struct job *j, struct err *err)
{
    if (http_stopping(j->http))
        return err_set(err, ERR_AGAIN, "the daemon is stopping");
    return 0;
}

static json_t *usage_json(const struct job *j)
{
    return json_pack("{s:I, s:I, s:I}", "prompt_tokens",
                     (json_int_t)j->prompt_tokens, "completion_tokens",
                     (json_int_t)j->completion_tokens, "total_tokens",
                     (json_int_t)(j->prompt_tokens + j->completion_tokens));
}

static json_t *head_json(const struct job *j, const char *object)
{
    return json_pack("{s:s, s:s, s:I, s:s, s:I, s:I}", "id", j->id, "object",
                     object, "created", (json_int_t)j->created, "model",
                     j->model, "version", (json_int_t)j->version, "seed",
                     (json_int_t)j->seed);
}

static json_t *buf_json(const struct buf *b)
{
    return json_stringn(b->data ? b->data : "", b->len);
}

/* --- logprobs ----------------------------------------------------------- */

/* The legacy shape, filled token by token. */
struct logprobs {
    json_t *tokens, *token_logprobs, *top_logprobs, *text_offset;
    size_t offset; /* in characters of the text */
};

static void logprobs_init(struct logprobs *l)
{
    *l = (struct logprobs){json_array(), json_array(), json_array(),
                           json_array(), 0};
}

/* The best, and the token itself. */
static json_t *top_json(const struct tokenizer *t, uint16_t id, float logprob,
                        const struct infer_alternative *best, size_t n)
{
    json_t *o = json_object();
    json_t *own = api_text_token(t, id);

    for (size_t i = 0; i < n; i++) {
        json_t *name = api_text_token(t, best[i].id);

        /* Two tokens may read alike; the more likely stays. */
        if (!json_object_getn(o, json_string_value(name),
                              json_string_length(name)))
            json_object_setn_new(o, json_string_value(name),
                                 json_string_length(name),
                                 api_text_real(best[i].logprob));
        json_decref(name);
    }
    if (!json_object_getn(o, json_string_value(own), json_string_length(own)))
        json_object_setn_new(o, json_string_value(own),
                             json_string_length(own), api_text_real(logprob));
    json_decref(own);
    return o;
}

/* Characters begin at bytes that do not continue one. */
static size_t characters_of(const struct tokenizer *t, uint16_t id)
{
    size_t n_bytes, n = 0;
    const char *bytes = tokenizer_bytes(t, id, &n_bytes);

    for (size_t i = 0; i < n_bytes; i++)
        n += ((unsigned char)bytes[i] & 0xc0) != 0x80;
    return n;
}

static void logprobs_add(struct logprobs *l, const struct tokenizer *t,
                         const uint16_t *ids, size_t n, const float *logprobs,
                         const struct infer_alternative *best, size_t n_best)
{
    for (size_t i = 0; i < n; i++) {
        json_array_append_new(l->tokens, api_text_token(t, ids[i]));
        json_array_append_new(l->token_logprobs, api_text_real(logprobs[i]));
        json_array_append_new(
            l->top_logprobs,
            top_json(t, ids[i], logprobs[i], n_best ? best + i * n_best : NULL,
                     n_best));
        json_array_append_new(l->text_offset,
                              json_integer((json_int_t)l->offset));
        l->offset += characters_of(t, ids[i]);
    }
}

static json_t *logprobs_json(struct logprobs *l)
{
    return json_pack("{s:o, s:o, s:o, s:o}", "tokens", l->tokens,
                     "token_logprobs", l->token_logprobs, "top_logprobs",
                     l->top_logprobs, "text_offset", l->text_offset);
}

/*
 * Those of the prompt. `ended`: nothing came after it but the end mark, whose
 * logprob is then the last: whoever asks for one token to score a prompt
 * leaves out the last entry and must find one.
 */
static int echo_logprobs(const struct job *j, const struct token_list *prompt,
                         bool ended, struct logprobs *l, struct err *err)
{
    const struct tokenizer *t = infer_tokenizer(j->f);
    size_t n = prompt->n + ended, n_best = (size_t)j->logprobs;
    uint16_t *ids = xcalloc(n + 1, sizeof *ids);
    float *logprobs = xcalloc(n + 1, sizeof *logprobs);
    struct infer_alternative *best =
        n_best ? xcalloc((n + 1) * n_best, sizeof *best) : NULL;
    int rc;

    if (prompt->n)
        memcpy(ids, prompt->items, prompt->n * sizeof *ids);
    if (ended)
        ids[prompt->n] = tokenizer_end_of_text(t);
    rc = infer_prompt_logprobs(j->f, ids, n, (int)n_best, logprobs, best, err);
    if (rc == 0)
        logprobs_add(l, t, ids, n, logprobs, best, n_best);
    free(ids);
    free(logprobs);
    free(best);
    return rc;
}

static int choice_logprobs(const struct job *j,
                           const struct token_list *prompt,
                           const struct infer_completion *c, json_t **out,
                           struct err *err)
{
    bool ended = c->stopped && c->tokens.n == 0 && j->sampling.n_stop == 0;
    struct logprobs l;
    int rc = 0;

    if (j->logprobs < 0) {
        *out = json_null();
        return 0;
    }
    logprobs_init(&l);
    if (j->echo)
        rc = echo_logprobs(j, prompt, ended, &l, err);
    logprobs_add(&l, infer_tokenizer(j->f), c->tokens.items, c->tokens.n,
                 c->logprobs, c->alternatives, (size_t)j->logprobs);
    *out = logprobs_json(&l);
    return rc;
}

/* --- one answer --------------------------------------------------------- */

/* Takes logprobs over. */
static json_t *choice_json(const struct job *j,
                           const struct token_list *prompt,
                           const struct infer_completion *c, int64_t index,
                           json_t *logprobs)
{
    struct buf text = BUF_INIT;
    json_t *o = json_object();

    if (j->echo)
        text_of(j, prompt, &text);
    buf_add(&text, c->text.data ? c->text.data : "", c->text.len);
    json_object_set_new(o, "index", json_integer(index));
    if (j->chat)
        json_object_set_new(o, "message",
                            json_pack("{s:s, s:o}", "role", "assistant",
                                      "content", buf_json(&text)));
    else
        json_object_set_new(o, "text", buf_json(&text));
    json_object_set_new(o, "logprobs", logprobs);
    json_object_set_new(o, "finish_reason",
                        json_string(c->stopped ? "stop" : "length"));
    buf_release(&text);
    return o;
}

static int add_choice(struct job *j, size_t prompt, int64_t choice,
                      json_t *choices, struct err *err)
{
    const struct token_list *ids = &j->prompts[prompt];
    struct infer_sampling s = sampling_of(j, choice);
    struct infer_completion c;
    json_t *logprobs = NULL;
    int rc = infer_complete(j->f, ids->items, ids->n, &s, cut_short, j, &c,
                            err);

    if (rc)
        return rc;
    rc = check_stopping(j, err);
    if (rc == 0)
        rc = choice_logprobs(j, ids, &c, &logprobs, err);
    if (rc == 0) {
        j->completion_tokens += c.tokens.n;
        json_array_append_new(
            choices, choice_json(j, ids, &c,
                                 (int64_t)prompt * j->n + choice, logprobs));
        logprobs = NULL;
    }
    json_decref(logprobs);
    infer_completion_release(&c);
    return rc;
}

static int add_choices(struct job *j, json_t *choices, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < j->n_prompts; i++) {
        j->prompt_tokens += j->prompts[i].n;
        for (int64_t c = 0; rc == 0 && c < j->n; c++)
            rc = add_choice(j, i, c, choices, err);
    }
    return rc;
}

static void answer(struct http_request *rq, struct job *j)
{
    json_t *choices = json_array(), *root;
    struct err err = ERR_INIT;

    if (add_choices(j, choices, &err) != 0) {
        json_decref(choices);
        http_fail_err(rq, &err);
        return;
    }
    root = head_json(j, j->chat ? "chat.completion" : "text_completion");
    json_object_set_new(root, "choices", choices);
    json_object_set_new(root, "usage", usage_json(j));
    http_answer(rq, 200, root);
}

/* --- a stream ----------------------------------------------------------- */

struct piece {
    struct job *j;
    struct http_stream *s;
    int64_t index;
    struct buf raw;  /* bytes of the tokens so far */
    struct buf text; /* what of them can be told */
    size_t n_told;   /* bytes of text */
    bool deaf;
};

/* text NULL: nothing to tell but reason; reason NULL: it goes on. */
static void tell(struct piece *p, const char *text, size_t n,
                 const char *reason)
{
    json_t *choice = json_object(), *choices = json_array(), *root;
    json_t *delta = json_object();

    json_object_set_new(choice, "index", json_integer(p->index));
    if (p->j->chat && text)
        json_object_set_new(delta, "content", json_stringn(text, n));
    if (p->j->chat && text && p->n_told == 0)
        json_object_set_new(delta, "role", json_string("assistant"));
    if (p->j->chat)
        json_object_set(choice, "delta", delta);
    else
        json_object_set_new(choice, "text", json_stringn(text ? text : "", n));
    json_decref(delta);
    json_object_set_new(choice, "logprobs", json_null());
    json_object_set_new(choice, "finish_reason",
                        reason ? json_string(reason) : json_null());
    json_array_append_new(choices, choice);
    root = head_json(p->j, p->j->chat ? "chat.completion.chunk"
                                      : "text_completion");
    json_object_set_new(root, "choices", choices);
    if (http_stream_json(p->s, root))
        p->deaf = true;
}

/* How much of raw no stop string can cut any more. */
static size_t safe_bytes(const struct job *j, const struct buf *raw)
{
    size_t held = 0;

    for (size_t i = 0; i < j->sampling.n_stop; i++) {
        size_t n = strlen(j->stops[i]) - 1;

        for (n = n < raw->len ? n : raw->len; n > held; n--)
            if (memcmp(raw->data + raw->len - n, j->stops[i], n) == 0)
                held = n;
    }
    return raw->len - held;
}

/* Whole characters only; those that were told stay as they were, since bytes
 * that are no character are replaced one by one. */
static bool on_token(uint16_t id, void *arg)
{
    struct piece *p = arg;
    size_t n;
    const char *bytes = tokenizer_bytes(infer_tokenizer(p->j->f), id, &n);

    buf_add(&p->raw, bytes, n);
    buf_clear(&p->text);
    n = safe_bytes(p->j, &p->raw);
    if (n)
        utf8_repair(p->raw.data, utf8_whole(p->raw.data, n), &p->text);
    if (p->text.len > p->n_told) {
        tell(p, p->text.data + p->n_told, p->text.len - p->n_told, NULL);
        p->n_told = p->text.len;
    }
    return p->deaf || http_stopping(p->j->http);
}

static void tell_error(struct piece *p, const struct err *err)
{
    struct buf text = BUF_INIT;

    utf8_repair(err->msg, strlen(err->msg), &text);
    p->deaf |= http_stream_json(
        p->s, json_pack("{s:{s:o, s:s, s:s, s:n}}", "error", "message",
                        buf_json(&text), "type", "server_error", "code",
                        "unavailable", "param"));
    buf_release(&text);
}

static int stream_choice(struct piece *p, const struct token_list *ids,
                         int64_t choice)
{
    struct infer_sampling s = sampling_of(p->j, choice);
    struct infer_completion c;
    struct err err = ERR_INIT;
    int rc = infer_complete(p->j->f, ids->items, ids->n, &s, on_token, p, &c,
                            &err);

    if (rc) {
        tell_error(p, &err);
        return rc;
    }
    p->j->completion_tokens += c.tokens.n;
    if (c.text.len > p->n_told)
        tell(p, c.text.data + p->n_told, c.text.len - p->n_told, NULL);
    rc = check_stopping(p->j, &err);
    if (rc)
        tell_error(p, &err);
    else
        tell(p, NULL, 0, c.stopped ? "stop" : "length");
    infer_completion_release(&c);
    return rc;
}

/* What comes before the first token. */
static void begin_choice(struct piece *p, const struct token_list *ids)
{
    struct buf text = BUF_INIT;

    if (p->j->echo) {
        text_of(p->j, ids, &text);
        if (text.len)
            tell(p, text.data, text.len, NULL);
    }
    buf_release(&text);
}

static void write_usage(struct job *j, struct http_stream *s)
{
    json_t *root = head_json(j, j->chat ? "chat.completion.chunk"
                                        : "text_completion");

    json_object_set_new(root, "choices", json_array());
    json_object_set_new(root, "usage", usage_json(j));
    http_stream_json(s, root);
}

static void write_stream(struct http_stream *s, void *arg)
{
    struct job *j = arg;
    bool failed = false;

    for (size_t i = 0; !failed && i < j->n_prompts; i++) {
        j->prompt_tokens += j->prompts[i].n;
        for (int64_t c = 0; !failed && c < j->n; c++) {
            struct piece p = {j, s, (int64_t)i * j->n + c, BUF_INIT, BUF_INIT,
                              0, false};

            begin_choice(&p, &j->prompts[i]);
            failed = stream_choice(&p, &j->prompts[i], c) != 0 || p.deaf;
            buf_release(&p.raw);
            buf_release(&p.text);
        }
    }
    if (failed)
        return;
    if (j->want_usage)
        write_usage(j, s);
    http_stream_text(s, "[DONE]");
}

/* --- endpoints ---------------------------------------------------------- */

static void complete(struct http_request *rq, bool chat)
{
    struct job *j = read_job(rq, chat);

    if (!j)
        return;
    if (j->stream) {
        rq->reply.status = 200;
        rq->reply.stream = http_stream_create(write_stream, j, job_free);
        return;
    }
    answer(rq, j);
    job_free(j);
}

void api_completions(struct http_request *rq)
{
    complete(rq, false);
}

void api_chat_completions(struct http_request *rq)
{
    complete(rq, true);
}
