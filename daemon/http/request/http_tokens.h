/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_tokens.h - bearer tokens: the token file, and what a token allows.
 *
 * Owner:   the server
 * Threads: any for one that does not change; but http_tokens_take writes, so
 *          the server calls all of these with http.mutex locked, which also
 *          guards the exchange at a reload
 */
#ifndef MNEME_DAEMON_HTTP_REQUEST_HTTP_TOKENS_H
#define MNEME_DAEMON_HTTP_REQUEST_HTTP_TOKENS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "conf/conf.h"

/* What a request may do; a higher scope includes the lower ones. */
enum http_scope {
    HTTP_OPEN = CONF_SCOPE_NONE,
    HTTP_INFER = CONF_SCOPE_INFER,
    HTTP_FEED = CONF_SCOPE_FEED,
    HTTP_ADMIN = CONF_SCOPE_ADMIN
};

struct http_tokens; /* fields are in http_tokens.c */

/*
 * Reads a token file: lines `SCOPE TOKEN`, empty lines and lines that begin
 * with #. SCOPE is infer, feed or admin. TOKEN is a token, or sha256: and the
 * SHA-256 of a token in hex. `rate=N` may follow: at most N requests a minute.
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

/*
 * Counts a request for the limit of its token. The limit is a bucket of N
 * requests that fills in a minute; it is full after a load.
 *   now_ms   monotonic
 *   returns  0; or after how many seconds the next request has room
 * Locks:   needs the caller's: it changes the bucket
 */
int http_tokens_take(struct http_tokens *t, const char *authorization,
                     int64_t now_ms);

/* One number for each token: the holder of http_slots.h. 0 for all requests
 * when no token is needed. */
uint64_t http_tokens_holder(const struct http_tokens *t,
                            const char *authorization);

#endif
