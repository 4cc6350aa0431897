/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The listening socket: TCP or a unix socket. A killed daemon leaves the file
 * of its unix socket; the next start removes the file.
 */
#include "config.h"

#include "daemon/http/wire/http_listen.h"

#include <errno.h>
#include <grp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/xalloc.h"

#define BACKLOG 128
#define MOST_GROUP_BYTES ((size_t)64 << 20)

/* --- unix --------------------------------------------------------------- */

/* Removes the socket file of a daemon that no longer runs, and nothing else. */
static int remove_stale(const struct sockaddr_un *a, const char *key,
                        struct err *err)
{
    struct stat st;
    int fd, errnum;

    if (lstat(a->sun_path, &st) != 0)
        return 0;
    if (!S_ISSOCK(st.st_mode))
        return err_set(err, ERR_IO, "%s: %s exists and is not a socket", key,
                       a->sun_path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_set_errno(err, ERR_IO, errno, "%s: a socket", key);
    errnum = connect(fd, (const struct sockaddr *)a, sizeof *a) ? errno : 0;
    close(fd);
    switch (errnum) {
    case ECONNREFUSED: /* nobody listens */
        unlink(a->sun_path);
        return 0;
    case 0:
    case EAGAIN: /* the queue of somebody who listens is full */
        return err_set(err, ERR_IO, "%s: unix:%s is taken by another process",
                       key, a->sun_path);
    default: /* does not tell whether somebody listens */
        return err_set_errno(err, ERR_IO, errnum,
                             "%s: unix:%s exists, and cannot be connected to",
                             key, a->sun_path);
    }
}

/* *fd is -1 after an error. */
static int listen_unix(const char *path, mode_t mask, const char *key, int *fd,
                       struct err *err)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    mode_t old;
    int rc;

    *fd = -1;
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    rc = remove_stale(&a, key, err);
    if (rc)
        return rc;
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*fd < 0)
        return err_set_errno(err, ERR_IO, errno, "%s: a socket", key);
    old = umask(mask);
    rc = bind(*fd, (const struct sockaddr *)&a, sizeof a);
    umask(old);
    if (rc == 0 && listen(*fd, BACKLOG) == 0)
        return 0;
    rc = err_set_errno(err, ERR_IO, errno, "%s: unix:%s", key, path);
    close(*fd);
    *fd = -1;
    return rc;
}

/* Looks a group up by its name. */
static int find_group(const char *name, gid_t *group, struct err *err)
{
    struct group entry, *found = NULL;
    size_t size = 8; /* doubled until the names of all members fit */
    char *text = NULL;
    int errnum, rc = 0;

    do {
        size *= 2;
        text = xrealloc(text, size);
        errnum = getgrnam_r(name, &entry, text, size, &found);
    } while (errnum == ERANGE && size < MOST_GROUP_BYTES);
    if (errnum)
        rc = err_set_errno(err, ERR_IO, errnum, "http.admin_group: %s", name);
    else if (!found)
        rc = err_set(err, ERR_IO, "http.admin_group: no group %s", name);
    else
        *group = found->gr_gid;
    free(text);
    return rc;
}

int http_listen_admin(const struct conf_http *conf, int *fd, gid_t *group,
                      struct err *err)
{
    const char *path = conf->admin_socket;
    int rc = 0;

    *group = (gid_t)-1;
    if (conf->admin_group)
        rc = find_group(conf->admin_group, group, err);
    if (rc == 0)
        rc = listen_unix(path, 0177, "http.admin_socket", fd, err);
    if (rc == 0 && conf->admin_group &&
        (lchown(path, (uid_t)-1, *group) != 0 || chmod(path, 0660) != 0)) {
        rc = err_set_errno(err, ERR_IO, errno,
                           "http.admin_group: %s cannot be given to group %s",
                           path, conf->admin_group);
        close(*fd);
        *fd = -1;
        unlink(path);
    }
    return rc;
}

bool http_listen_trusts(int fd, gid_t group)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    gid_t *groups;
    bool is_member = false;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
        return false;
    if (peer.uid == 0 || peer.uid == geteuid())
        return true;
    if (group == (gid_t)-1 || peer.gid == group)
        return group != (gid_t)-1;
    /* The other groups of the process, of which there are at most 65536. */
    size = 65536 * sizeof *groups;
    groups = xmalloc(size);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) == 0)
        for (size_t i = 0; i < size / sizeof *groups; i++)
            is_member |= groups[i] == group;
    free(groups);
    return is_member;
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
    /* Only the owner and the group may open it: it accepts rollbacks. */
    rc = listen_unix(conf->listen_host, 0117, "http.listen", fd, err);
    if (rc)
        return rc;
    *address = xasprintf("unix:%s", conf->listen_host);
    return 0;
}
