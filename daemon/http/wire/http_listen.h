/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_listen.h - the listening socket.
 *
 * Threads: main; http_listen_trusts: any
 */
#ifndef MNEME_DAEMON_HTTP_WIRE_HTTP_LISTEN_H
#define MNEME_DAEMON_HTTP_WIRE_HTTP_LISTEN_H

#include <stdbool.h>
#include <sys/types.h>

#include "conf/conf.h"

/* Binds a socket to http.listen. *address is the address as text, with the port
 * that was chosen; the caller frees it. ERR_IO names an address that is taken.
 */
int http_listen(const struct conf_http *conf, int *fd, char **address,
                struct err *err);

/*
 * Binds a socket to http.admin_socket: mode 0600, or with a group 0660.
 *   *group   of http.admin_group; (gid_t)-1: none
 *   returns  ERR_IO names a path that is taken or that cannot be checked, and a
 *            group that does not exist or that the socket cannot get
 */
int http_listen_admin(const struct conf_http *conf, int *fd, gid_t *group,
                      struct err *err);

/* Tells whether the process at the other end of a unix socket runs as root, as
 * this process's user, or in the group (unless it is (gid_t)-1). The kernel has
 * kept its credentials from the time when it connected. */
bool http_listen_trusts(int fd, gid_t group);

#endif
