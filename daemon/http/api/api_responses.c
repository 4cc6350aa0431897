/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /v1/responses, in the basic text form: one message of plain text, not
 * stored. The events of a stream, with their numbers:
 *
 *     response.created, response.in_progress
 *     response.output_item.added, response.content_part.added
 *     response.output_text.delta       for each piece of the text
 *     response.output_text.done, response.content_part.done
 *     response.output_item.done
 *     response.completed, or response.incomplete at max_output_tokens, or
 *     response.failed
 */
#include "config.h"

#include "daemon/http/completion/completion.h"

#include <stdio.h>
#include <string.h>

#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/http/api/http_endpoints.h"
#include "daemon/http/completion/completion_logprobs.h"
#include "daemon/http/completion/completion_stream.h"

/* A response while it is generated. */
struct response {
    struct completion *job;
    struct http_stream *s; /* NULL: one answer */
    const char *status;    /* in_progress, completed, incomplete, failed */
    struct buf text;       /* so far */
    json_t *logprobs;      /* of the text */
    json_t *error;         /* NULL: none */
    int64_t n_events;
    bool closed;
};

/* --- objects ------------------------------------------------------------ */

static json_t *part_json(const struct response *r)
{
    return json_pack("{s:s, s:[], s:o, s:O}", "type", "output_text",
                     "annotations", "text", completion_string(&r->text),
                     "logprobs", r->logprobs);
}

/* has_text false: the message has no content yet. */
static json_t *message_json(const struct response *r, bool has_text)
{
    json_t *content = json_array(), *o;

    if (has_text)
        json_array_append_new(content, part_json(r));
    o = json_pack("{s:o, s:s, s:s, s:s, s:o}", "id",
                  json_sprintf("msg_%s", r->job->id + strlen("resp-")), "type",
                  "message", "status", r->status, "role", "assistant",
                  "content", content);
    return o;
}

static json_t *usage_json(const struct completion *job)
{
    return json_pack("{s:I, s:{s:I, s:i}, s:I, s:{s:i}, s:I}", "input_tokens",
                     (json_int_t)job->prompt_tokens, "input_tokens_details",
                     "cached_tokens", (json_int_t)job->cached_tokens,
                     "cache_write_tokens", 0, "output_tokens",
                     (json_int_t)job->completion_tokens,
                     "output_tokens_details", "reasoning_tokens", 0,
                     "total_tokens",
                     (json_int_t)(job->prompt_tokens + job->completion_tokens));
}

/* The whole object. While it is in progress it has neither output nor usage. */
static json_t *response_json(const struct response *r)
{
    const struct completion *job = r->job;
    bool is_done = strcmp(r->status, "completed") == 0;
    bool is_cut = strcmp(r->status, "incomplete") == 0;
    json_t *output = json_array(), *o;

    if (is_done || is_cut)
        json_array_append_new(output, message_json(r, true));
    o = json_pack("{s:s, s:s, s:I, s:s, s:b, s:o, s:O?, s:o, s:s, s:o}", "id",
                  job->id, "object", "response", "created_at",
                  (json_int_t)job->created, "status", r->status, "background",
                  0, "completed_at",
                  is_done ? json_integer(timing_wall_ms() / 1000) : json_null(),
                  "error", r->error, "incomplete_details",
                  is_cut ? json_pack("{s:s}", "reason", "max_output_tokens")
                         : json_null(),
                  "model", job->model, "output", output);
    json_object_update_missing(o, job->echoed);
    json_object_set_new(o, "usage",
                        is_done || is_cut ? usage_json(job) : json_null());
    json_object_set_new(o, "system_fingerprint",
                        job->fingerprint[0] ? json_string(job->fingerprint)
                                            : json_null());
    json_object_set_new(o, "version", json_integer(job->version));
    json_object_set_new(o, "seed", json_integer(job->seed));
    return o;
}

/* The settings that a response repeats. */
static json_t *echoed_json(const struct http_request *rq,
                           const struct completion *job)
{
    const char *truncation = api_fields_string(rq, job->kind, "truncation");
    json_t *metadata = json_object_get(rq->body, "metadata");

    return json_pack(
        "{s:s?, s:i, s:o, s:b, s:n, s:{s:n, s:n}, s:b, s:f, s:{s:{s:s}}, "
        "s:s, s:[], s:I, s:f, s:s, s:s?}",
        "instructions", api_fields_string(rq, job->kind, "instructions"),
        "max_output_tokens", job->sampling.max_tokens, "metadata",
        json_is_object(metadata) ? json_incref(metadata) : json_object(),
        "parallel_tool_calls", 1, "previous_response_id", "reasoning", "effort",
        "summary", "store", 0, "temperature",
        api_fields_number(rq, job->kind, "temperature"), "text", "format",
        "type", "text", "tool_choice", "auto", "tools", "top_logprobs",
        (json_int_t)(job->logprobs > 0 ? job->logprobs : 0), "top_p",
        api_fields_number(rq, job->kind, "top_p"), "truncation",
        truncation ? truncation : "disabled", "user",
        api_fields_string(rq, job->kind, "user"));
}

/* --- events ------------------------------------------------------------- */

/* Sends an event with its number. Takes body over. */
static void send_event(struct response *r, const char *type, json_t *body)
{
    char *text;

    json_object_set_new(body, "type", json_string(type));
    json_object_set_new(body, "sequence_number", json_integer(r->n_events++));
    text = json_dumps(body, JSON_COMPACT | JSON_REAL_PRECISION(12));
    r->closed |= !text || http_stream_event(r->s, type, NULL, text);
    free(text);
    json_decref(body);
}

static void send_response(struct response *r, const char *type)
{
    send_event(r, type, json_pack("{s:o}", "response", response_json(r)));
}

static void send_item(struct response *r, const char *type, bool has_text)
{
    send_event(r, type,
               json_pack("{s:i, s:o}", "output_index", 0, "item",
                         message_json(r, has_text)));
}

/* Sends an event about the text: the fields of body, and where the text
 * belongs. Takes body over. */
static void send_part(struct response *r, const char *type, json_t *body)
{
    json_object_set_new(body, "item_id",
                        json_sprintf("msg_%s", r->job->id + strlen("resp-")));
    json_object_set_new(body, "output_index", json_integer(0));
    json_object_set_new(body, "content_index", json_integer(0));
    send_event(r, type, body);
}

static void send_begin(struct response *r)
{
    send_response(r, "response.created");
    send_response(r, "response.in_progress");
    send_item(r, "response.output_item.added", false);
    send_part(r, "response.content_part.added",
              json_pack("{s:o}", "part", part_json(r)));
}

static void send_end(struct response *r)
{
    send_part(r, "response.output_text.done",
              json_pack("{s:o, s:O}", "text", completion_string(&r->text),
                        "logprobs", r->logprobs));
    send_part(r, "response.content_part.done",
              json_pack("{s:o}", "part", part_json(r)));
    send_item(r, "response.output_item.done", true);
    send_response(r, strcmp(r->status, "completed") == 0
                         ? "response.completed"
                         : "response.incomplete");
}

static bool on_piece(const struct completion_piece *piece, void *arg)
{
    struct response *r = arg;

    if (piece->text)
        buf_add(&r->text, piece->text, piece->n);
    json_array_extend(r->logprobs, piece->logprobs);
    if (piece->reason)
        r->status =
            strcmp(piece->reason, "stop") == 0 ? "completed" : "incomplete";
    if (r->s && (piece->n || json_array_size(piece->logprobs)))
        send_part(
            r, "response.output_text.delta",
            json_pack("{s:o, s:O}", "delta",
                      json_stringn(piece->text ? piece->text : "", piece->n),
                      "logprobs", piece->logprobs));
    json_decref(piece->logprobs);
    return r->closed;
}

/* --- the whole response ------------------------------------------------- */

static int generate(struct response *r, struct err *err)
{
    r->job->prompt_tokens = r->job->prompts[0].n;
    return completion_stream_choice(r->job, 0, 0, on_piece, r, err);
}

static void release(struct response *r)
{
    json_decref(r->logprobs);
    json_decref(r->error);
    buf_release(&r->text);
}

static void write_stream(struct http_stream *s, void *completion)
{
    struct response r = {.job = completion,
                         .s = s,
                         .status = "in_progress",
                         .logprobs = json_array()};
    struct err err = ERR_INIT;

    send_begin(&r);
    if (generate(&r, &err) != 0) {
        r.status = "failed";
        r.error = completion_stream_error(r.job, &err);
        /* The codes of OpenAI's responses are a closed set. */
        json_object_set_new(r.error, "code", json_string("server_error"));
        send_response(&r, "response.failed");
    } else if (!r.closed) {
        send_end(&r);
    }
    release(&r);
}

static void answer(struct http_request *rq, struct completion *job)
{
    struct response r = {
        .job = job, .status = "in_progress", .logprobs = json_array()};
    struct err err = ERR_INIT;

    if (generate(&r, &err) != 0)
        http_fail_err(rq, &err);
    else
        http_answer(rq, 200, response_json(&r));
    release(&r);
}

void api_responses(struct http_request *rq)
{
    struct completion *job = completion_create(rq, API_RESPONSES);

    if (!job)
        return;
    job->echoed = echoed_json(rq, job);
    if (job->stream) {
        job->own_cancel = rq->cancel;
        job->cancel = &job->own_cancel;
        rq->reply.status = 200;
        rq->reply.stream =
            http_stream_create(write_stream, job, completion_free);
        return;
    }
    answer(rq, job);
    completion_free(job);
}
