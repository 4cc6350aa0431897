/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_listen.h - the listening socket.
 *
 * Threads: main
 */
#ifndef MNEME_DAEMON_HTTP_HTTP_LISTEN_H
#define MNEME_DAEMON_HTTP_HTTP_LISTEN_H

#include "conf/conf.h"

/* Binds a socket to http.listen. *address is the address as text, with the port
 * that was chosen; the caller frees it. ERR_IO names an address that is taken.
 */
int http_listen(const struct conf_http *conf, int *fd, char **address,
                struct err *err);

#endif
