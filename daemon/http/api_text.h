/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_text.h - endpoints that work with texts and tokens, and the pieces they
 * share.
 *
 * Threads: as http_impl.h
 */
#ifndef MNEME_DAEMON_HTTP_API_TEXT_H
#define MNEME_DAEMON_HTTP_API_TEXT_H

#include "daemon/http/http_impl.h"

/* What the end mark is called where text is expected. */
#define API_TEXT_END "<|endoftext|>"

/* api_text.c */
http_endpoint api_score, api_classify, api_embeddings, api_tokenize,
    api_detokenize, api_tokenizer_info;

/* api_completions.c */
http_endpoint api_completions, api_chat_completions;

/* A token as text: its characters, or "bytes:\xe2\x82" where it is not whole
 * ones, as OpenAI spells it. */
json_t *api_text_token(const struct tokenizer *t, uint16_t id);

/* Appends the ids of a text. False: the request was cancelled, and has failed.
 */
bool api_text_encode(struct http_request *rq, const struct infer *f,
                     const char *text, size_t n_bytes, struct token_list *ids);

/* Appends the ids of a JSON array. False: one is no id, and the request has
 * failed. `name` is the array's name in the message, `key` the field it is in.
 */
bool api_text_ids(struct http_request *rq, const char *key, const char *name,
                  const struct infer *f, const json_t *list,
                  struct token_list *ids);

#endif
