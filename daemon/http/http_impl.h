/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_impl.h - what the server and its endpoints share.
 *
 * An endpoint reads the request with the http_get_* functions and leaves its
 * reply with http_answer or http_fail; the server sends it. A helper that
 * returns false has already left the error as the reply:
 *
 *     if (!http_get_integer(rq, "n", 1, 16, &n))
 *         return;
 *
 * Errors have OpenAI's shape: {"error":{"message","type","code","param"}}.
 *
 * Threads: an endpoint runs in its connection's thread; a struct http_request
 * belongs to it
 */
#ifndef MNEME_DAEMON_HTTP_HTTP_IMPL_H
#define MNEME_DAEMON_HTTP_HTTP_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"
#include "daemon/http/http.h"
#include "daemon/http/http_cancel.h"
#include "learner/infer/infer.h"

/* --- a request and its reply -------------------------------------------- */

#define HTTP_MAX_ARGUMENT 128 /* bytes of a name in a path */

struct http_connection;
struct http_head;
struct http_mhd;
struct http_route;
struct http_stream;

struct http_reply {
    int status;         /* 0: none yet */
    json_t *json;       /* or: */
    struct buf text;
    const char *type;   /* of text */
    int64_t version;    /* that answered; 0: no model did */
    int retry_seconds;  /* 0: no Retry-After */
    bool retry_never;   /* the same request would fail again */
    const char *allow;  /* with 405 */
    bool close;         /* the connection, after it */
    struct http_stream *stream; /* instead of a body: http_stream.h */
};

struct http_request {
    struct http *http;
    const struct http_context *context;
    struct http_connection *connection;
    struct http_mhd *mhd;             /* from http_mhd_begin on */
    const struct http_head *head;     /* NULL: it could not be read */
    const struct http_route *route;
    char argument[HTTP_MAX_ARGUMENT]; /* what {} stands for in the path */
    struct buf bytes;                 /* the body, as it came */
    uint64_t holder;                  /* of a place: http_tokens_holder */
    struct http_cancel cancel;        /* once it computes */
    json_t *body;                     /* an object, perhaps empty */
    struct http_reply reply;
};

/* Takes json over. */
void http_answer(struct http_request *rq, int status, json_t *json);

/* code: one word for programs; param: the field that is wrong, or NULL. */
void http_fail(struct http_request *rq, int status, const char *code,
               const char *param, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* With the status that fits err's code, or the reason why the request was
 * cancelled. */
void http_fail_err(struct http_request *rq, const struct err *err);

/* Bytes as a string in base64. */
json_t *http_base64(const void *bytes, size_t n);

/* Is the daemon stopping? Then no new request may compute. */
bool http_closed(const struct http *h);

/* The events that GET /v1/events sends: api_events.c. */
struct event_log *http_events(const struct http *h);

/* Appends the metrics of the server itself. */
void http_metrics(const struct http *h, struct buf *out);

/* --- reading a request -------------------------------------------------- */

/* Parses rq->bytes into rq->body; no bytes give {}. A body that is nested too
 * deeply or has too many values is refused before it is parsed. The memory that
 * the parser may need is reserved first. */
bool http_parse_body(struct http_request *rq);

/* Fields of the body. Absent or null: *value stays as it is. */
bool http_get_integer(struct http_request *rq, const char *key, int64_t min,
                      int64_t max, int64_t *value);
bool http_get_number(struct http_request *rq, const char *key, double min,
                     double max, double *value);
bool http_get_bool(struct http_request *rq, const char *key, bool *value);

/* A string without NULs in it, the body's own. */
bool http_get_string(struct http_request *rq, const char *key,
                     const char **value);

/* A string or an array of 1 to max strings, which may have NULs in them:
 * *list is an array of json strings, to be released with json_decref. */
bool http_get_strings(struct http_request *rq, const char *key, size_t max,
                      json_t **list);

/* A number in the query (?key=3). */
bool http_query_integer(struct http_request *rq, const char *key,
                        int64_t min, int64_t max, int64_t *value);

/* A text in the query (?key=word), or *value as it was. */
void http_query_text(struct http_request *rq, const char *key,
                     const char **value);

/* A number in decimal digits and nothing else; false without a reply. */
bool http_parse_number(const char *s, int64_t *value);

/* --- the version that a request names ----------------------------------- */

/* From "model" in the body; to be given back with serving_put. Sets
 * reply.version. NULL: failed. */
const struct infer *http_get_model(struct http_request *rq,
                                   int64_t *version);

/* The same for a name; NULL is the serving version. */
const struct infer *http_find_model(struct http_request *rq,
                                    const char *name, int64_t *version);

/* Does it have a Transformer? Otherwise fails. */
bool http_need_text_model(struct http_request *rq, const struct infer *f);

/* --- places to compute -------------------------------------------------- */

struct http_places;

/*
 * n places. A free place goes to a request of the holder that has the fewest
 * places; among these, to the one that has waited longest. One extra place is
 * for a holder that has none, so no holder can keep all others waiting.
 *   most_waiting  requests of one holder in the line, at most
 */
struct http_places *http_places_create(int n, int most_waiting);
void http_places_free(struct http_places *p);

/*
 * Waits for a place.
 *   holder  whose request it is: http_tokens_holder
 *   cancel  asked while it waits; may be NULL
 * ERR_LIMIT when too many wait already or it takes too long; ERR_STATE after
 * http_places_close; or cancel's error.
 */
int http_places_take(struct http_places *p, uint64_t holder,
                     const struct cancel *cancel, struct err *err);
void http_places_give(struct http_places *p, uint64_t holder);
void http_places_close(struct http_places *p);

/* --- tokens ------------------------------------------------------------- */

enum http_scope { HTTP_OPEN, HTTP_INFER, HTTP_ADMIN };

struct http_tokens;

/*
 * Reads a token file: lines `infer TOKEN` or `admin TOKEN`, empty lines and
 * lines that begin with #. An admin token does everything.
 *   path  NULL: no token is needed for anything
 */
int http_tokens_load(const char *path, struct http_tokens **tokens,
                     struct err *err);
void http_tokens_free(struct http_tokens *t);
bool http_tokens_needed(const struct http_tokens *t);

/* What the Authorization header (NULL: none) allows. The time it takes does
 * not tell how much of a token was right. */
enum http_scope http_tokens_check(const struct http_tokens *t,
                                  const char *authorization);

/* The holder of a request, from its header that was checked: one number for
 * each token. 0 for all requests when no token is needed. */
uint64_t http_tokens_holder(const struct http_tokens *t,
                            const char *authorization);

/* --- listening ---------------------------------------------------------- */

/* A bound, listening socket for http.listen, and the address to tell. ERR_IO
 * names an address that is taken. */
int http_listen(const struct conf_http *conf, int *fd, char **address,
                struct err *err);

/* --- endpoints ---------------------------------------------------------- */

typedef void http_endpoint(struct http_request *rq);

/* api_status.c */
http_endpoint api_status, api_domains, api_history, api_metrics, api_healthz,
    api_readyz, api_operation, api_rollback, api_pin, api_unpin, api_promote,
    api_dashboard, api_ranges, api_release_range;

/* api_versions.c */
http_endpoint api_versions, api_version;

/* Hands an operation in and waits up to wait_ms for its end: what fails by then
 * is the reply, what is done has status `done`, and 202 is on its way. */
void api_operate(struct http_request *rq, enum control_kind kind,
                 int64_t version, const char *reason, int64_t wait_ms,
                 int done);

/* api_quarantine.c */
http_endpoint api_quarantine, api_quarantined, api_release, api_release_many,
    api_forget;

/* api_models.c; for texts see api_text.h */
http_endpoint api_models, api_model;

/* api_events.c */
http_endpoint api_events;

/* Creates the log of events, which watches the board; the board outlives it. */
struct event_log *api_events_watch(struct status_board *board);

#endif
