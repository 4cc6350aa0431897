/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_versions.h - the version that a request names.
 *
 *     mneme            the serving version
 *     mneme@42         version 42
 *     mneme@latest     the head version, whatever its verdict
 *     mneme@previous   the version that served before
 *     mneme@NAME       the version with the tag NAME
 *
 * Owner:   the caller puts the version back with serving_put
 * Threads: an endpoint's
 */
#ifndef MNEME_DAEMON_HTTP_API_VERSIONS_H
#define MNEME_DAEMON_HTTP_API_VERSIONS_H

#include "daemon/http/http_request.h"
#include "learner/infer/infer.h"

/* The version that "model" in the body names, the serving one without it; sets
 * *version and reply.version. NULL: the request has failed. */
const struct infer *api_versions_get(struct http_request *rq, int64_t *version);

/* The same, and fails with preset linear, which has no text model. */
const struct infer *api_versions_get_text(struct http_request *rq,
                                          int64_t *version);

#endif
