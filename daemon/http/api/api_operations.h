/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_operations.h - submits an operation for an endpoint.
 *
 * Threads: an endpoint's
 */
#ifndef MNEME_DAEMON_HTTP_API_API_OPERATIONS_H
#define MNEME_DAEMON_HTTP_API_API_OPERATIONS_H

#include "daemon/http/request/http_request.h"

/* Submits an operation and waits up to wait_ms for its end. A failure by then
 * is the reply; an operation that has ended is answered with status `done`, and
 * one that still runs with 202. */
void api_operations_run(struct http_request *rq, enum control_kind kind,
                        int64_t version, const char *reason, int64_t wait_ms,
                        int done);

#endif
