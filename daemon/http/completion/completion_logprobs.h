/* SPDX-License-Identifier: Apache-2.0 */
/*
 * completion_logprobs.h - the logprobs of a choice, in the shape of its
 * endpoint: four arrays for /v1/completions, a list of tokens for chats and
 * responses.
 *
 * Tokens are added as they are generated, and taken for an answer or an event.
 *
 * Owner:   the caller
 * Threads: one at a time
 */
#ifndef MNEME_DAEMON_HTTP_COMPLETION_COMPLETION_LOGPROBS_H
#define MNEME_DAEMON_HTTP_COMPLETION_COMPLETION_LOGPROBS_H

#include "daemon/http/completion/completion.h"

struct completion_logprobs {
    const struct completion *job;
    json_t *content; /* of a chat or response */
    json_t *tokens, *token_logprobs, *top_logprobs, *text_offset;
    size_t n;       /* generated tokens that are not taken yet */
    size_t n_taken; /* generated tokens before them */
    size_t offset;  /* in characters of the text */
    size_t offset_taken;
};

void completion_logprobs_init(struct completion_logprobs *l,
                              const struct completion *job);
void completion_logprobs_release(struct completion_logprobs *l);

void completion_logprobs_add(struct completion_logprobs *l,
                             const struct infer_token *token);

/* Replaces the generated tokens that are not taken yet by those of c, the
 * complete result: a stop string may have removed tokens. */
void completion_logprobs_finish(struct completion_logprobs *l,
                                const struct infer_completion *c);

/*
 * True when the completion is only the end-of-text token. With echo its logprob
 * follows those of the prompt: lm-evaluation-harness asks for one token to
 * score a prompt and drops the last logprob, so there must be one more than the
 * prompt has.
 */
bool completion_logprobs_ended(const struct completion *job,
                               const struct infer_completion *c);

/* Adds the tokens of a prompt from token `from` on, and the end-of-text token
 * after it when the completion has ended. */
int completion_logprobs_add_prompt(struct completion_logprobs *l,
                                   const struct token_list *prompt, size_t from,
                                   bool ended, struct err *err);

/* The added tokens as JSON. null, or [] in a response, when the request wants
 * none; with `whole` false also when there are none. */
json_t *completion_logprobs_take(struct completion_logprobs *l, bool whole);

#endif
