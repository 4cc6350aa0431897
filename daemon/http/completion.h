/* SPDX-License-Identifier: Apache-2.0 */
/*
 * completion.h - one request for completions, from reading it to its answer.
 *
 *     completion_read.c    the request becomes a job, checked whole
 *     api_completions.c    each choice is generated, into one answer; or
 *     completion_stream.c  into events, on the stream's own thread
 *     completion.c         what both of them do
 *
 * Choice c of a prompt is drawn from its own seed: the first from the seed that
 * was given, whatever else is in the request. A seed that was not given is
 * drawn and told, so that any answer can be had again.
 *
 * Owner:   whoever read it, or the stream it was given to
 * Threads: one at a time
 */
#ifndef MNEME_DAEMON_HTTP_COMPLETION_H
#define MNEME_DAEMON_HTTP_COMPLETION_H

#include "daemon/http/api_text.h"
#include "daemon/http/http_stream.h"

#define COMPLETION_MOST_STOPS 4

struct completion_job {
    struct http_cancel *cancel;    /* the request's, or own_cancel */
    struct http_cancel own_cancel; /* of a stream: it may outlast its request */
    struct serving *serving;
    const struct infer *f; /* counted */
    int64_t version, created;
    char id[48], model[32];
    bool chat, echo, stream, want_usage;
    int64_t n, seed, logprobs; /* logprobs < 0: none */
    struct token_list *prompts;
    size_t n_prompts;
    char *stops[COMPLETION_MOST_STOPS];
    struct infer_sampling sampling;
    size_t prompt_tokens, completion_tokens; /* used so far */
};

/* From a request; chat: in the shape of chat/completions. NULL: failed. */
struct completion_job *completion_read(struct http_request *rq, bool chat);
void completion_free(void *j); /* a job; NULL is fine */

/* An http_stream_fn: generates every choice of a job into events. */
void completion_stream(struct http_stream *s, void *j);

/* How a choice of a prompt is drawn. */
struct infer_sampling completion_sampling(const struct completion_job *j,
                                          int64_t choice);

/* Appends the text of ids as it can be written. */
void completion_text(const struct completion_job *j,
                     const struct token_list *ids, struct buf *out);

/*
 * Bytes of tokens that cannot be sent yet: an incomplete character, or bytes
 * that may begin a stop string.
 */
struct completion_tail {
    struct buf raw;
};

/* Adds bytes to the tail, and moves all that can be sent now to out, as valid
 * UTF-8. So a token costs the same however long the text is.
 *   stop  n_stop strings that end the text */
void completion_tail_add(struct completion_tail *tail, const char *bytes,
                         size_t n_bytes, const char *const *stop, size_t n_stop,
                         struct buf *out);

/* One token of a chat's `logprobs`, with its n_best alternatives. */
json_t *completion_logprob(const struct completion_job *j,
                           const struct infer_token *token, size_t n_best);

/* The `logprobs` of a chat for a completion's tokens from i on. */
json_t *completion_chat_logprobs(const struct completion_job *j,
                                 const struct infer_completion *c, size_t i);

/* What has been used so far, and what every answer and event begins with. */
json_t *completion_usage(const struct completion_job *j);
json_t *completion_head(const struct completion_job *j, const char *object);

json_t *completion_string(const struct buf *b);

#endif
