/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_model.h - the version that a request names.
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
#ifndef MNEME_DAEMON_HTTP_REQUEST_HTTP_MODEL_H
#define MNEME_DAEMON_HTTP_REQUEST_HTTP_MODEL_H

#include "daemon/http/request/http_request.h"
#include "learner/infer/infer.h"

#define HTTP_MODEL_NAME "mneme"

/* The version that "model" in the body names, the serving one without it; sets
 * *version and reply.version. NULL: the request has failed. */
const struct infer *http_model_get(struct http_request *rq, int64_t *version);

/* The same, and fails with preset linear, which has no text model. */
const struct infer *http_model_get_text(struct http_request *rq,
                                        int64_t *version);

/* The number of a named version; *version 0: the serving version. False: the
 * request has failed. */
bool http_model_find(struct http_request *rq, const char *name,
                     int64_t *version);

/* Fails the request with the error of reading a version (0: the serving one).
 */
void http_model_fail(struct http_request *rq, const struct err *err,
                     int64_t version);

#endif
