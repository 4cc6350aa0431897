/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_request.h - what an endpoint needs: the request, its reply, and the
 * fields of its JSON.
 *
 * An endpoint reads the request with the http_get_* and http_query_* functions
 * and leaves its reply with http_answer or http_fail; the server sends it. A
 * helper that returns false has already left the error as the reply:
 *
 *     if (!http_get_integer(rq, "n", 1, 16, &n))
 *         return;
 *
 * Errors have OpenAI's shape: {"error":{"message","type","code","param"}}.
 *
 * The functions start with http_ and not with the file's name: endpoints call
 * them some hundred times.
 *
 * Owner:   the server frees a request and all that it holds
 * Threads: an endpoint runs in its connection's thread
 */
#ifndef MNEME_DAEMON_HTTP_REQUEST_HTTP_REQUEST_H
#define MNEME_DAEMON_HTTP_REQUEST_HTTP_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"
#include "conf/conf.h"
#include "daemon/board/control.h"
#include "daemon/board/status.h"
#include "daemon/http/wire/http_cancel.h"
#include "daemon/publish/serving.h"
#include "store/catalog.h"

#define HTTP_MAX_ARGUMENT 128 /* bytes of a name in a path */
#define HTTP_MAX_ID 128       /* bytes of a request's id */

struct event_log;
struct http_coding;
struct http_connection;
struct http_head;
struct http_stream;
struct series;
struct source;

/* The parts of the daemon that endpoints use; they outlive the server. */
struct http_context {
    const struct conf *conf;
    struct status_board *board;
    struct serving *serving;
    struct catalog *catalog;
    struct control *control;
    struct source *source; /* for POST /v1/records; NULL: none */
    int generations;       /* completions at the same time; 0: one */
};

/* A part of a file as the body of a reply. */
struct http_file {
    int fd;                       /* -1: handed over */
    int64_t first, n_bytes, size; /* the part, and the size of the file */
    char etag[72];
};

struct http_reply {
    int status;   /* 0: none yet */
    json_t *json; /* or: */
    struct buf text;
    const char *type;  /* of text */
    int64_t version;   /* that answered; 0: the answer is not a model's */
    int retry_seconds; /* 0: no Retry-After */
    bool retry_never;  /* the same request would fail again */
    char allow[32];    /* with 405: the methods; or "" */
    char etag[24];     /* a client may keep the answer, and asks whether it is
                          still this one; "": it may not */
    bool close;        /* ends the connection after the reply */
    struct http_stream *stream; /* instead of a body: http_stream.h */
    struct http_file *file;     /* instead of a body */
    bool preflight;             /* of CORS (http_cors.h) */
};

struct http_request {
    const struct http_context *context;
    struct http_cancel_rules *rules;
    struct event_log *events; /* api_events.h */
    struct series *series;
    struct http_connection *connection;
    const struct http_head *head;     /* NULL: it could not be read */
    char argument[HTTP_MAX_ARGUMENT]; /* the part of the path at {} */
    char second[HTTP_MAX_ARGUMENT];   /* the part at the second {} */
    char id[HTTP_MAX_ID + 1];         /* X-Request-Id, taken over or made */
    struct http_coding *coding;       /* of the body; NULL: none */
    struct buf bytes;                 /* the body, decompressed */
    json_t *body;                     /* an object, perhaps empty */
    struct http_cancel cancel;        /* of an endpoint that computes */
    struct http_reply reply;
};

/* --- the reply ---------------------------------------------------------- */

/* Takes json over. */
void http_answer(struct http_request *rq, int status, json_t *json);

/* code: one word for programs; param: the field that is wrong, or NULL. */
void http_fail(struct http_request *rq, int status, const char *code,
               const char *param, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* Fails with the status for err's code, or with 503 and the cause when the
 * request was cancelled. */
void http_fail_err(struct http_request *rq, const struct err *err);

/* Charges memory for the body of the request, which may make room by closing
 * other connections. False: there is none, and the request has failed. */
bool http_charge(struct http_request *rq, size_t n_bytes);

/* A JSON string of the bytes in base64. */
json_t *http_base64(const void *bytes, size_t n);

/* True for a whole number, also when it is written as 3.0, which JSON schema
 * and some languages do not tell from 3. */
bool http_integer_of(const json_t *json, int64_t *value);

/* --- fields of the body: *value stays as it is when absent or null ------ */

bool http_get_integer(struct http_request *rq, const char *key, int64_t min,
                      int64_t max, int64_t *value);
bool http_get_number(struct http_request *rq, const char *key, double min,
                     double max, double *value);
bool http_get_bool(struct http_request *rq, const char *key, bool *value);

/* A string without NULs, which belongs to the body. */
bool http_get_string(struct http_request *rq, const char *key,
                     const char **value);

/* A string or an array of 1 to max strings, which may contain NULs; it must be
 * present. *list is an array of JSON strings; the caller calls json_decref. */
bool http_get_strings(struct http_request *rq, const char *key, size_t max,
                      json_t **list);

/* --- the query and the path --------------------------------------------- */

/* ?key=3; *value stays as it is without it. */
bool http_query_integer(struct http_request *rq, const char *key, int64_t min,
                        int64_t max, int64_t *value);

/* ?key=word; *value stays as it is without it. */
void http_query_text(struct http_request *rq, const char *key,
                     const char **value);

/* The number at {} in the path. Fails with 404 and "no NOUN ..." otherwise. */
bool http_path_number(struct http_request *rq, const char *noun,
                      int64_t *value);

/* Decimal digits and nothing else; on false the request has not failed. */
bool http_parse_number(const char *s, int64_t *value);

/* --- for the server ----------------------------------------------------- */

/* Parses rq->bytes into rq->body; no bytes give {}. A body that is nested too
 * deeply or has too many values is refused before it is parsed. The memory that
 * the parser may need is charged first. */
bool http_parse_body(struct http_request *rq);

/* Frees all that the request holds, and ends its stream. */
void http_request_release(struct http_request *rq);

#endif
