/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_mhd.h - libmicrohttpd behind the strict reader of a connection.
 *
 * libmicrohttpd reads from one end of a socket pair what the connection's
 * thread writes to the other: a head made of what http_head.h understood, and
 * the body in chunks. It calls the handlers of http_private.h for the body and
 * the reply, and writes the reply, which goes to the client as it comes.
 *
 * libmicrohttpd's event loop runs in the connection's thread, inside these
 * functions, so there is no other thread and no lock.
 *
 *     begin -> body ... -> end     for each request, one after the other
 *
 * Owner:   the connection's thread
 * Threads: the connection's
 */
#ifndef MNEME_DAEMON_HTTP_HTTP_MHD_H
#define MNEME_DAEMON_HTTP_HTTP_MHD_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct http_connection;
struct http_mhd; /* fields are in http_mhd.c */
struct http_request;

/* Descriptors that each one has open. */
#define HTTP_MHD_DESCRIPTORS 3

/* For the requests of c, which outlives it. ERR_IO. */
int http_mhd_create(struct http_connection *c, struct http_mhd **mhd,
                    struct err *err);

/* A reply that is not complete is given up. NULL is fine. */
void http_mhd_free(struct http_mhd *m);

/* A request begins; rq lives until http_mhd_end or http_mhd_free. A request
 * that is refused before its body is read has none.
 *   rq->head  may be NULL: a refused request
 */
void http_mhd_begin(struct http_mhd *m, struct http_request *rq,
                    bool has_body);

/* A piece of its body. False: the connection is of no more use. */
bool http_mhd_body(struct http_mhd *m, const char *bytes, size_t n);

/* The request is whole, or is refused: its reply is left in rq, and sent to its
 * end. False: the connection is of no more use. */
bool http_mhd_end(struct http_mhd *m);

/* Sends to the client what libmicrohttpd has written so far; whoever waits
 * inside a handler does it first. False: the client does not take it. */
bool http_mhd_forward(struct http_mhd *m);

#endif
