/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_tls.h - TLS for connections: the certificate and its key, and the
 * encrypted bytes of one connection.
 *
 * TLS 1.2 and 1.3, without certificates of clients. The socket of a session
 * blocks. To end a session, another thread shuts the socket down, as with a
 * connection without TLS (http_connections.h); so the same deadlines hold, and
 * a handshake is a part of reading the first request.
 *
 * The process has to ignore SIGPIPE.
 *
 * Owner:   http_tls: the server; http_tls_session: the connection
 * Threads: any for http_tls once it is loaded; a session belongs to its
 *          connection's thread
 */
#ifndef MNEME_DAEMON_HTTP_WIRE_HTTP_TLS_H
#define MNEME_DAEMON_HTTP_WIRE_HTTP_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

struct conf_http;
struct http_tls;         /* fields are in http_tls.c */
struct http_tls_session; /* fields are in http_tls.c */

/*
 * Reads the certificate with its chain, and the key, of http.tls. Logs a
 * warning when other users can read the key, and when the certificate is
 * outside its period.
 *   *tls     NULL: http.tls is not set
 *   returns  the error of a file that cannot be read; ERR_INVALID names the
 *            key of a file that is no PEM, is encrypted, or does not belong to
 *            the other one. *tls is then unchanged.
 */
int http_tls_load(const struct conf_http *conf, struct http_tls **tls,
                  struct err *err);

/* Sessions that have begun keep the old certificate. NULL is fine. */
void http_tls_free(struct http_tls *tls);

/* NULL: no memory. */
struct http_tls_session *http_tls_session_create(struct http_tls *tls, int fd);

/* Does not close the socket. NULL is fine. */
void http_tls_session_free(struct http_tls_session *s);

/* Waits for the handshake. A client that speaks HTTP without TLS gets a reply
 * that says so. False: the connection is of no use. */
bool http_tls_session_accept(struct http_tls_session *s);

/* As recv and send with a whole buffer. Reading returns 0 at the end, also when
 * the client has closed without the end mark of TLS: the framing of a request
 * tells whether it is complete. -1: failed. */
ssize_t http_tls_session_read(struct http_tls_session *s, char *bytes,
                              size_t size);
bool http_tls_session_write(struct http_tls_session *s, const char *bytes,
                            size_t n);

/* Sends the end mark of TLS; nothing is written after it. */
void http_tls_session_end(struct http_tls_session *s);

#endif
