/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_slots.h - slots: the right to compute, and the line that waits for them.
 *
 * A burst of requests waits here and not in the kernels. A free slot goes to a
 * request of the holder with the fewest slots; among these, to the request that
 * has waited longest. A holder without a slot may take one extra slot, so no
 * holder can keep all others waiting.
 *
 * Owner:   the server
 * Threads: any
 */
#ifndef MNEME_DAEMON_HTTP_WIRE_HTTP_SLOTS_H
#define MNEME_DAEMON_HTTP_WIRE_HTTP_SLOTS_H

#include <stdint.h>

#include "base/cancel.h"

struct http_slots; /* fields are in http_slots.c */

/* n slots, and at most max_waiting waiting requests of one holder. */
struct http_slots *http_slots_create(int n, int max_waiting);
void http_slots_free(struct http_slots *s);

/*
 * Waits for a slot.
 *   holder  of the request's token: http_tokens_holder
 *   cancel  checked while it waits; may be NULL
 * ERR_LIMIT when too many requests wait already or the wait takes too long;
 * ERR_STATE after http_slots_close; or cancel's error.
 */
int http_slots_get(struct http_slots *s, uint64_t holder,
                   const struct cancel *cancel, struct err *err);
void http_slots_put(struct http_slots *s, uint64_t holder);

/* The daemon stops: refuses every waiting and every later request. */
void http_slots_close(struct http_slots *s);

#endif
