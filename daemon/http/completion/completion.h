/* SPDX-License-Identifier: Apache-2.0 */
/*
 * completion.h - a request for completions after parsing, and the JSON that all
 * its answers share.
 *
 *     api_fields.c           checks the fields by their table
 *     completion.c           reads the settings
 *     completion_prompt.c    reads prompts, messages and inputs
 *     completion_logprobs.c  the logprobs of an answer
 *     api_completions.c      generates each choice, into one answer; or
 *     completion_stream.c    into events, on the stream's own thread
 *     api_responses.c        the shapes of /v1/responses
 *
 * Each choice of a prompt has a seed of its own. Choice 0 has the seed of the
 * request, so its text does not depend on `n` or on other prompts. Without a
 * seed in the request, one is sampled. Every answer names its seed, so that the
 * same text can be generated again.
 *
 * Owner:   the endpoint, or its stream
 * Threads: one at a time
 */
#ifndef MNEME_DAEMON_HTTP_COMPLETION_COMPLETION_H
#define MNEME_DAEMON_HTTP_COMPLETION_COMPLETION_H

#include "daemon/http/completion/api_fields.h"
#include "daemon/http/request/http_request.h"
#include "learner/infer/infer.h"

#define COMPLETION_MAX_STOPS 4
#define COMPLETION_MAX_TOKENS 16384 /* of a choice */
#define COMPLETION_MAX_N 16
#define COMPLETION_MAX_TOP 20 /* the likeliest tokens in logprobs */

/* The logprobs of the prompt that was echoed last, for its other choices. */
struct completion_echo {
    const struct token_list *prompt; /* NULL: none yet */
    size_t n; /* ids: those of the prompt, and end-of-text after it */
    float *logprobs;                 /* [n] */
    struct infer_alternative *best;  /* [n][logprobs of the request] */
};

struct completion {
    struct http_cancel *cancel;    /* the request's, or own_cancel */
    struct http_cancel own_cancel; /* of a stream, which may outlast it */
    struct serving *serving;
    const struct infer *f; /* counted */
    int64_t version, created;
    char id[48], model[32];
    char fingerprint[24]; /* names the weights; "": not known */
    enum api_kind kind;   /* the shape of the answer */
    bool echo, stream, want_usage;
    int64_t n, seed, logprobs; /* logprobs < 0: none */
    struct token_list *prompts;
    size_t n_prompts;
    char *stops[COMPLETION_MAX_STOPS];
    struct infer_bias *bias;
    struct infer_sampling sampling;
    struct completion_echo *last_echo;
    json_t *echoed; /* fields that an answer of /v1/responses repeats */
    size_t prompt_tokens, completion_tokens; /* so far */
    size_t cached_tokens; /* of prompt_tokens: the prefix cache had them */
};

/* Reads a request. NULL: it has failed. */
struct completion *completion_create(struct http_request *rq,
                                     enum api_kind kind);
void completion_free(void *completion); /* NULL is fine */

/* Reads what is to be completed into prompts. False: the request has failed. */
bool completion_prompt_read(struct http_request *rq, struct completion *job);

/* Cuts ids to `truncate_prompt_tokens`. False: the request has failed, because
 * the setting is larger than the context. */
bool completion_prompt_truncate(struct http_request *rq, enum api_kind kind,
                                const struct infer *f, struct token_list *ids);

/* The sampling of a choice of a prompt, with its seed. */
struct infer_sampling completion_sampling(const struct completion *job,
                                          int64_t choice);

/* Appends the text of ids, with invalid UTF-8 repaired. */
void completion_text(const struct completion *job, const struct token_list *ids,
                     struct buf *out);

/* Makes the object with the fields that every answer and event begins with. */
json_t *completion_head(const struct completion *job, const char *object);
/* Makes the field `usage`: the tokens of the prompts, and those made so far. */
json_t *completion_usage(const struct completion *job);

json_t *completion_string(const struct buf *b);

#endif
