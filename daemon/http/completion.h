/* SPDX-License-Identifier: Apache-2.0 */
/*
 * completion.h - a request for completions after parsing, and the JSON that all
 * its answers share.
 *
 *     completion.c         reads and checks the whole request
 *     api_completions.c    generates each choice, into one answer; or
 *     completion_stream.c  into events, on the stream's own thread
 *
 * Each choice of a prompt has a seed of its own. Choice 0 has the seed of the
 * request, so its text does not depend on `n` or on other prompts. Without a
 * seed in the request, one is sampled. Every answer names its seed, so that the
 * same text can be generated again.
 *
 * Owner:   the endpoint, or its stream
 * Threads: one at a time
 */
#ifndef MNEME_DAEMON_HTTP_COMPLETION_H
#define MNEME_DAEMON_HTTP_COMPLETION_H

#include "daemon/http/http_request.h"
#include "learner/infer/infer.h"

#define COMPLETION_MAX_STOPS 4

struct completion {
    struct http_cancel *cancel;    /* the request's, or own_cancel */
    struct http_cancel own_cancel; /* of a stream, which may outlast it */
    struct serving *serving;
    const struct infer *f; /* counted */
    int64_t version, created;
    char id[48], model[32];
    bool chat; /* the shape of chat/completions */
    bool echo, stream, want_usage;
    int64_t n, seed, logprobs; /* logprobs < 0: none */
    struct token_list *prompts;
    size_t n_prompts;
    char *stops[COMPLETION_MAX_STOPS];
    struct infer_sampling sampling;
    size_t prompt_tokens, completion_tokens; /* so far */
};

/* Reads a request. NULL: it has failed. */
struct completion *completion_create(struct http_request *rq, bool chat);
void completion_free(void *completion); /* NULL is fine */

/* The sampling of a choice of a prompt, with its seed. */
struct infer_sampling completion_sampling(const struct completion *job,
                                          int64_t choice);

/* Appends the text of ids, with invalid UTF-8 repaired. */
void completion_text(const struct completion *job, const struct token_list *ids,
                     struct buf *out);

/* One token of a chat's `logprobs`, with its n_best alternatives. */
json_t *completion_logprob(const struct completion *job,
                           const struct infer_token *token, size_t n_best);

/* A chat's `logprobs` of the tokens of c from token i on. */
json_t *completion_chat_logprobs(const struct completion *job,
                                 const struct infer_completion *c, size_t i);

/* The fields that every answer and event begins with; the tokens so far. */
json_t *completion_head(const struct completion *job, const char *object);
json_t *completion_usage(const struct completion *job);

json_t *completion_string(const struct buf *b);

#endif
