/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The listening socket: TCP or a unix socket. A killed daemon leaves the file
 * of its unix socket; the next start removes the file.
 */
#include "config.h"

#include "daemon/http/http_listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/xalloc.h"

#define BACKLOG 128

/* --- unix --------------------------------------------------------------- */

/* Removes the socket file of a daemon that no longer runs, and nothing else. */
static int remove_stale(const struct sockaddr_un *a, struct err *err)
{
    struct stat st;
    bool answers;
    int fd;

    if (lstat(a->sun_path, &st) != 0)
        return 0;
    if (!S_ISSOCK(st.st_mode))
        return err_set(err, ERR_IO,
                       "http.listen: %s exists and is not a socket",
                       a->sun_path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    answers =
        fd >= 0 && connect(fd, (const struct sockaddr *)a, sizeof *a) == 0;
    if (fd >= 0)
        close(fd);
    if (answers)
        return err_set(err, ERR_IO,
                       "http.listen: unix:%s is taken by another process",
                       a->sun_path);
    unlink(a->sun_path);
    return 0;
}

static int listen_unix(const char *path, int fd, struct err *err)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    mode_t mask;
    int rc;

    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    rc = remove_stale(&a, err);
    if (rc)
        return rc;
    /* Only the owner and the group may open it: it accepts rollbacks. */
    mask = umask(0117);
    rc = bind(fd, (const struct sockaddr *)&a, sizeof a);
    umask(mask);
    if (rc != 0 || listen(fd, BACKLOG) != 0)
        return err_set_errno(err, ERR_IO, errno, "http.listen: unix:%s",
                             path);
    return 0;
}

/* --- TCP ---------------------------------------------------------------- */

/* "127.0.0.1:6636" or "[::1]:6636", with the port that the system chose, after
 * the scheme: "https://" with TLS, else "". */
static char *bound_address(int fd, const char *scheme)
{
    struct sockaddr_storage a;
    socklen_t size = sizeof a;
    char host[NI_MAXHOST], port[NI_MAXSERV];

    if (getsockname(fd, (struct sockaddr *)&a, &size) != 0 ||
        getnameinfo((struct sockaddr *)&a, size, host, sizeof host, port,
                    sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return xstrdup("");
    if (a.ss_family == AF_INET6)
        return xasprintf("%s[%s]:%s", scheme, host, port);
    return xasprintf("%s%s:%s", scheme, host, port);
}

static int try_address(const struct addrinfo *a, int *fd)
{
    int on = 1;

    *fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
    if (*fd < 0)
        return errno;
    setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(*fd, a->ai_addr, a->ai_addrlen) == 0 &&
        listen(*fd, BACKLOG) == 0)
        return 0;
    on = errno;
    close(*fd);
    *fd = -1;
    return on;
}

static int listen_tcp(const struct conf_http *conf, int *fd, char **address,
                      struct err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    char port[16];
    int rc, errnum = 0;

    snprintf(port, sizeof port, "%d", conf->listen_port);
    rc = getaddrinfo(conf->listen_host, port, &hints, &found);
    if (rc != 0)
        return err_set(err, ERR_IO, "http.listen: %s: %s", conf->listen,
                       gai_strerror(rc));
    *fd = -1;
    for (const struct addrinfo *a = found; a && *fd < 0; a = a->ai_next)
        errnum = try_address(a, fd);
    freeaddrinfo(found);
    if (*fd < 0)
        return err_set_errno(err, ERR_IO, errnum, "http.listen: %s",
                             conf->listen);
    *address = bound_address(*fd, conf->tls.cert ? "https://" : "");
    return 0;
}

int http_listen(const struct conf_http *conf, int *fd, char **address,
                struct err *err)
{
    int rc;

    if (conf->listen_kind == CONF_LISTEN_TCP)
        return listen_tcp(conf, fd, address, err);
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*fd < 0)
        return err_set_errno(err, ERR_IO, errno, "http.listen: %s",
                             conf->listen);
    rc = listen_unix(conf->listen_host, *fd, err);
    if (rc) {
        close(*fd);
        *fd = -1;
        return rc;
    }
    *address = xasprintf("unix:%s", conf->listen_host);
    return 0;
}
