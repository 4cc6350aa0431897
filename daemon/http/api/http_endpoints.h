/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_endpoints.h - the table of endpoints.
 *
 * Routing, the replies 404 and 405, GET /openapi.json, and the tests of tokens
 * and methods use the table. A new endpoint is a row here, which declares its
 * function, the function in a file api_*.c, and an entry in openapi.json.
 *
 * Threads: any
 */
#ifndef MNEME_DAEMON_HTTP_API_HTTP_ENDPOINTS_H
#define MNEME_DAEMON_HTTP_API_HTTP_ENDPOINTS_H

#include "daemon/http/request/http_request.h"
#include "daemon/http/request/http_tokens.h"

/* How an endpoint is limited. */
enum http_work {
    HTTP_QUICK,
    HTTP_TEXT,    /* quick; its body is not only JSON, and it parses it */
    HTTP_VITAL,   /* quick, and answered above http.max_connections, too */
    HTTP_COMPUTES, /* needs a slot, and can be cancelled */
    HTTP_GENERATES /* the same, with slots of its own: it takes long */
};

/*
 * E(method, path, function, scope, work, summary)
 *   method  HEAD is answered like GET
 *   path    {} stands for one part, which is rq->argument; a second {} is
 *           rq->second
 *   scope   what a token must allow (http_tokens.h); OPEN: no token is needed
 */
#define HTTP_ENDPOINTS(E)                                                      \
    E(GET, "/", api_page, OPEN, QUICK, "the page")                             \
    E(GET, "/page/{}", api_page_file, OPEN, QUICK, "a file of the page")       \
    E(GET, "/openapi.json", api_openapi, OPEN, QUICK,                          \
      "these endpoints, for programs")                                         \
    E(GET, "/healthz", api_healthz, OPEN, VITAL, "whether the daemon runs")    \
    E(GET, "/health", api_healthz, OPEN, VITAL, "the same as /healthz")        \
    E(GET, "/readyz", api_readyz, OPEN, VITAL, "whether a version serves")     \
    E(GET, "/metrics", api_metrics, INFER, QUICK, "metrics for Prometheus")    \
    E(GET, "/v1/status", api_status, INFER, QUICK, "the state of the daemon")  \
    E(GET, "/v1/series", api_series, INFER, QUICK, "figures over time")        \
    E(GET, "/v1/domains", api_domains, INFER, QUICK, "losses by domain")       \
    E(GET, "/v1/history", api_history, INFER, QUICK, "which version served")   \
    E(GET, "/v1/events", api_events, INFER, QUICK, "events as they happen")    \
    E(GET, "/v1/versions", api_versions, INFER, QUICK, "all versions")         \
    E(GET, "/v1/versions/{}", api_version, INFER, QUICK, "one version")        \
    E(POST, "/v1/versions/{}/pin", api_pin, ADMIN, VITAL,                      \
      "protect a version from retention")                                      \
    E(POST, "/v1/versions/{}/unpin", api_unpin, ADMIN, VITAL,                  \
      "end the protection of a version")                                       \
    E(POST, "/v1/versions/{}/promote", api_promote, ADMIN, VITAL,              \
      "make a version serve")                                                  \
    E(GET, "/v1/versions/{}/files", api_files, ADMIN, QUICK,                   \
      "the files of a version")                                                \
    E(GET, "/v1/versions/{}/files/{}", api_file, ADMIN, QUICK,                 \
      "one file of a version")                                                 \
    E(GET, "/v1/tags", api_tags, INFER, QUICK, "the names of versions")        \
    E(PUT, "/v1/tags/{}", api_put_tag, ADMIN, VITAL,                           \
      "give a name to a version")                                              \
    E(DELETE, "/v1/tags/{}", api_delete_tag, ADMIN, VITAL,                     \
      "remove a name of a version")                                            \
    E(POST, "/v1/rollback", api_rollback, ADMIN, VITAL,                        \
      "go back to an older version")                                           \
    E(GET, "/v1/ranges", api_ranges, INFER, QUICK,                             \
      "records that rollbacks skipped")                                        \
    E(POST, "/v1/ranges/{}/release", api_release_range, ADMIN, VITAL,          \
      "learn the records of a skipped range")                                  \
    E(POST, "/v1/records", api_records, FEED, TEXT, "records to learn from")   \
    E(GET, "/v1/quarantine", api_quarantine, ADMIN, VITAL,                     \
      "the records in quarantine")                                             \
    E(GET, "/v1/quarantine/{}", api_quarantined, ADMIN, VITAL,                 \
      "one record in quarantine")                                              \
    E(POST, "/v1/quarantine/release", api_release_many, ADMIN, VITAL,          \
      "learn all quarantined records of a reason")                             \
    E(POST, "/v1/quarantine/{}/release", api_release, ADMIN, VITAL,            \
      "learn a quarantined record")                                            \
    E(POST, "/v1/forget", api_forget, ADMIN, VITAL,                            \
      "erase the records of an id or a domain")                                \
    E(GET, "/v1/operations/{}", api_operation, INFER, VITAL,                   \
      "the state of an operation")                                             \
    E(GET, "/v1/models", api_models, INFER, QUICK, "the versions as models")   \
    E(GET, "/v1/models/{}", api_model, INFER, QUICK, "one version as a model") \
    E(POST, "/v1/completions", api_completions, INFER, GENERATES,              \
      "complete a prompt")                                                     \
    E(POST, "/v1/chat/completions", api_chat_completions, INFER, GENERATES,    \
      "complete a chat")                                                       \
    E(POST, "/v1/responses", api_responses, INFER, GENERATES,                  \
      "answer a text or messages")                                             \
    E(POST, "/v1/score", api_score, INFER, COMPUTES, "losses of texts")        \
    E(POST, "/v1/classify", api_classify, INFER, COMPUTES, "labels of texts")  \
    E(POST, "/v1/embeddings", api_embeddings, INFER, COMPUTES,                 \
      "vectors of texts")                                                      \
    E(POST, "/tokenize", api_tokenize, INFER, COMPUTES,                        \
      "the token ids of a text")                                               \
    E(POST, "/detokenize", api_detokenize, INFER, COMPUTES,                    \
      "the text of token ids")                                                 \
    E(GET, "/tokenizer_info", api_tokenizer_info, INFER, QUICK,                \
      "the tokenizer's special tokens and sizes")

typedef void http_endpoint_fn(struct http_request *rq);

#define HTTP_DECLARE_ENDPOINT(method, path, function, scope, work, summary)    \
    http_endpoint_fn function;
HTTP_ENDPOINTS(HTTP_DECLARE_ENDPOINT)

struct http_endpoint {
    const char *method, *path;
    http_endpoint_fn *run;
    enum http_scope scope;
    enum http_work work;
    const char *summary;
};

/* All rows of the table. */
const struct http_endpoint *http_endpoints_all(size_t *n);

/* The endpoint of rq->head, with rq->argument. NULL: the request has failed,
 * with 404 or 405. */
const struct http_endpoint *http_endpoints_find(struct http_request *rq);

#endif
