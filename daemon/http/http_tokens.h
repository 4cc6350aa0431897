/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_tokens.h - bearer tokens: the token file, and what a token allows.
 *
 * Owner:   the server
 * Threads: any, once loaded
 */
#ifndef MNEME_DAEMON_HTTP_HTTP_TOKENS_H
#define MNEME_DAEMON_HTTP_HTTP_TOKENS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* What a request may do; a higher scope includes the lower ones. */
enum http_scope { HTTP_OPEN, HTTP_INFER, HTTP_ADMIN };

struct http_tokens; /* fields are in http_tokens.c */

/*
 * Reads a token file: lines `infer TOKEN` or `admin TOKEN`, empty lines and
 * lines that begin with #.
 *   path  NULL: every request may do everything, without a token
 */
int http_tokens_load(const char *path, struct http_tokens **tokens,
                     struct err *err);
void http_tokens_free(struct http_tokens *t);
bool http_tokens_needed(const struct http_tokens *t);

/* The scope of an Authorization header (NULL: none). The time it takes does
 * not depend on how much of a token was right. */
enum http_scope http_tokens_check(const struct http_tokens *t,
                                  const char *authorization);

/* One number for each token: the holder of http_slots.h. 0 for all requests
 * when no token is needed. */
uint64_t http_tokens_holder(const struct http_tokens *t,
                            const char *authorization);

#endif
