/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_share.h - bounds the processor time that answers take from learning.
 *
 * The threads that learn and publish have the lowest priority
 * (base/priority.h), so an answer hardly waits for them. While the daemon
 * learns or publishes, all answers together may take http.cpu_share of the
 * processors. Above it they wait at their next token, piece or text.
 *
 * The account holds processor time. It grows by http.cpu_share of the time of
 * each processor, and holds at most what HTTP_SHARE_BURST_MS add. Answers pay
 * for the time that they have used. So a request within the share never waits.
 *
 * Owner:   the server
 * Threads: any
 */
#ifndef MNEME_DAEMON_HTTP_WIRE_HTTP_SHARE_H
#define MNEME_DAEMON_HTTP_WIRE_HTTP_SHARE_H

#include <stdint.h>

#include "daemon/board/status.h"

#define HTTP_SHARE_BURST_MS 200

struct http_share; /* fields are in http_share.c */

/*
 *   share  http.cpu_share, above 0; 1 and more: nothing waits
 *   cores  processors of the daemon
 *   board  outlives it; it tells whether the daemon learns or publishes
 */
struct http_share *http_share_create(double share, int cores,
                                     struct status_board *board);
void http_share_free(struct http_share *s);

/* Spends the processor time that the calling thread has used since it last
 * called this function. s may be NULL. */
void http_share_charge(struct http_share *s);

/* Spends this time. */
void http_share_spend(struct http_share *s, int64_t cpu_ns);

/* Returns how long answers have to wait, in milliseconds; 0: they may go on.
 * s may be NULL. */
int64_t http_share_wait_ms(struct http_share *s);

#endif
