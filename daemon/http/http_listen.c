/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The listening socket: TCP or a unix socket, whose file may be left over
 * from a daemon that was killed.
 */
#include "config.h"

#include "daemon/http/http_impl.h"

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

/* Does somebody listen there? */
static bool answers(const struct sockaddr_un *a)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool yes = fd >= 0 &&
               connect(fd, (const struct sockaddr *)a, sizeof *a) == 0;

    if (fd >= 0)
        close(fd);
    return yes;
}

/* Takes away the file of a daemon that is no more; nothing else. */
static int clear_stale(const struct sockaddr_un *a, struct err *err)
{
    struct stat st;

    if (lstat(a->sun_path, &st) != 0)
        return 0;
    if (!S_ISSOCK(st.st_mode))
        return err_set(err, ERR_IO,
                       "http.listen: %s is there and is no socket",
                       a->sun_path);
    if (answers(a))
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
    rc = clear_stale(&a, err);
    if (rc)
        return rc;
    /* Whoever can open it can roll back: the owner and the group. */
    mask = umask(0117);
    rc = bind(fd, (const struct sockaddr *)&a, sizeof a);
    umask(mask);
    if (rc != 0 || listen(fd, BACKLOG) != 0)
        return err_set_errno(err, ERR_IO, errno, "http.listen: unix:%s",
                             path);
    return 0;
}

/* --- TCP ---------------------------------------------------------------- */

static int look_up(const struct conf_http *conf, struct addrinfo **found,
                   struct err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    char port[16];
    int rc;

    snprintf(port, sizeof port, "%d", conf->listen_port);
    rc = getaddrinfo(conf->listen_host, port, &hints, found);
    if (rc != 0)
        return err_set(err, ERR_IO, "http.listen: %s: %s", conf->listen,
                       gai_strerror(rc));
    return 0;
}

/* "127.0.0.1:6636" or "[::1]:6636", with the port that we got. */
static char *name_of(int fd)
{
    struct sockaddr_storage a;
    socklen_t size = sizeof a;
    char host[NI_MAXHOST], port[NI_MAXSERV];

    if (getsockname(fd, (struct sockaddr *)&a, &size) != 0 ||
        getnameinfo((struct sockaddr *)&a, size, host, sizeof host, port,
                    sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return xstrdup("");
    if (a.ss_family == AF_INET6)
        return xasprintf("[%s]:%s", host, port);
    return xasprintf("%s:%s", host, port);
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
    struct addrinfo *found = NULL;
    int errnum = 0;
    int rc = look_up(conf, &found, err);

    if (rc)
        return rc;
    *fd = -1;
    for (const struct addrinfo *a = found; a && *fd < 0; a = a->ai_next)
        errnum = try_address(a, fd);
    freeaddrinfo(found);
    if (*fd < 0)
        return err_set_errno(err, ERR_IO, errnum, "http.listen: %s",
                             conf->listen);
    *address = name_of(*fd);
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
