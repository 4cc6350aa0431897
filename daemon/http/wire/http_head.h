/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_head.h - parses the head of a request, and finds where its body ends.
 *
 * Strict RFC 9112: a request that two readers could take for two different
 * requests is refused. Pure functions over bytes; http_connections.h reads the
 * socket.
 *
 * Threads: any
 */
#ifndef MNEME_DAEMON_HTTP_WIRE_HTTP_HEAD_H
#define MNEME_DAEMON_HTTP_WIRE_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_MAX_HEAD_BYTES 32768
#define HTTP_MAX_FIELDS 100
#define HTTP_MAX_ARGUMENTS 32

struct http_field {
    const char *name, *value;
};

/* All texts point into the parsed bytes. */
struct http_head {
    const char *method;
    const char *path;      /* with %XX decoded; begins with '/', or is "*" */
    const char *authority; /* of a target in absolute form, or NULL */
    int minor;             /* 1 for HTTP/1.1, 0 for HTTP/1.0 */
    int n_fields, n_arguments;
    struct http_field fields[HTTP_MAX_FIELDS];
    struct http_field arguments[HTTP_MAX_ARGUMENTS]; /* ?name=value&... */
    bool chunked;
    uint64_t length;       /* of the body; 0 when it is chunked, or none */
    bool keep_alive;       /* the client may send another request */
    bool expects_continue; /* the client waits for 100 Continue */
};

/* Why a request cannot be read: the reply, after which the connection ends. */
struct http_refusal {
    int status;
    const char *code;
    const char *message;
};

/*
 * Looks for the end of a head, and for bytes that no head may have.
 *   *seen    bytes checked by earlier calls; 0 at first
 *   *length  of the head, with its empty line; 0 while it is incomplete
 *   returns  false with *why when it is refused already
 */
bool http_head_find(const char *bytes, size_t n, size_t *seen, size_t *length,
                    struct http_refusal *why);

/*
 * Parses a whole head.
 *   bytes    n of them, as http_head_find found them, and room for a NUL; they
 *            are changed, and must live as long as *head
 *   returns  false with *why; head->method is set if it could be read
 */
bool http_head_parse(char *bytes, size_t n, struct http_head *head,
                     struct http_refusal *why);

/* The value of a field or of an argument; NULL when there is none. */
const char *http_head_field(const struct http_head *head, const char *name);
const char *http_head_argument(const struct http_head *head, const char *name);

/* --- the body ----------------------------------------------------------- */

struct http_body {
    bool chunked;
    uint64_t left;  /* bytes of the body, or of this chunk */
    int state;      /* enum in http_head.c */
    size_t n_extra; /* bytes of chunk extensions and trailers */
};

enum http_body_step { HTTP_BODY_MORE, HTTP_BODY_PIECE, HTTP_BODY_END,
                      HTTP_BODY_BAD };

void http_body_init(struct http_body *b, const struct http_head *head);

/*
 * Parses the next bytes.
 *   *used    how many of them are parsed
 *   *piece   HTTP_BODY_PIECE: *n_piece bytes of the body, among those used
 *   returns  HTTP_BODY_MORE: all are used, and the body goes on
 */
enum http_body_step http_body_next(struct http_body *b, const char *bytes,
                                   size_t n, size_t *used, const char **piece,
                                   size_t *n_piece);

#endif
