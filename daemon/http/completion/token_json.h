/* SPDX-License-Identifier: Apache-2.0 */
/*
 * token_json.h - token ids in requests and answers.
 *
 * Threads: an endpoint's
 */
#ifndef MNEME_DAEMON_HTTP_COMPLETION_TOKEN_JSON_H
#define MNEME_DAEMON_HTTP_COMPLETION_TOKEN_JSON_H

#include "daemon/http/request/http_request.h"
#include "learner/infer/infer.h"

/* The text of a token, or "bytes:\xe2\x82" when the token is not whole
 * characters, as OpenAI spells it. A special token has its name. */
json_t *token_json_text(const struct tokenizer *t, token_id id);

/* Appends the ids of a text. False: the request was cancelled, and has failed.
 */
bool token_json_encode(struct http_request *rq, const struct infer *f,
                       const char *text, size_t n_bytes,
                       struct token_list *ids);

/* Appends the ids of a JSON array. False: an element is no id, and the request
 * has failed.
 *   key   the field of the request, for the error's param
 *   name  the array's name in the error's message */
bool token_json_ids(struct http_request *rq, const char *key, const char *name,
                    const struct infer *f, const json_t *list,
                    struct token_list *ids);

#endif
