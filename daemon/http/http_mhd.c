/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each connection has a daemon of libmicrohttpd of its own, which has no thread
 * (an "external" event loop) and one connection: our_end is read and written
 * here, the other end by libmicrohttpd.
 *
 * 1. The client's head never reaches libmicrohttpd, which gets one that
 *    says what decides how a reply is framed, and nothing else: whether it is
 *    a HEAD, the version, whether there is a body. So two parsers cannot
 *    disagree.
 * 2. Every body is passed on in chunks, however the client framed it. One that
 *    breaks off is ended here, so that libmicrohttpd writes that reply, too.
 * 3. The next request begins when libmicrohttpd has said that the last one is
 *    complete, and its reply is sent.
 */
#include "config.h"

#include "daemon/http/http_mhd.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/xalloc.h"
#include "daemon/http/http_private.h"

#define POOL_BYTES ((size_t)16384) /* libmicrohttpd's memory for a request */
#define BLOCK_BYTES 16384          /* passed on at once */

struct http_mhd {
    struct http_connection *connection;
    struct MHD_Daemon *daemon;
    int our_end;
    struct buf out; /* not yet written to our_end */
    struct http_request *rq;
    bool has_body;
    bool complete; /* the reply is written to its end */
    bool closed;   /* libmicrohttpd has ended the connection */
    bool deaf;     /* the client takes no more */
};

/* --- what libmicrohttpd calls ------------------------------------------- */

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection,
                                  const char *path, const char *method,
                                  const char *protocol, const char *bytes,
                                  size_t *n, void **begun)
{
    struct http_mhd *m = arg;

    (void)path;
    (void)method;
    (void)protocol;
    if (!*begun) {
        *begun = m;
        return MHD_YES;
    }
    if (*n) {
        http_take(m->rq, bytes, *n);
        *n = 0;
        return MHD_YES;
    }
    http_answer_whole(m->rq);
    return http_send(m->rq, connection);
}

static void on_completed(void *arg, struct MHD_Connection *connection,
                         void **begun, enum MHD_RequestTerminationCode code)
{
    struct http_mhd *m = arg;

    (void)connection;
    (void)begun;
    m->complete = code == MHD_REQUEST_TERMINATED_COMPLETED_OK;
    m->closed = !m->complete;
}

/* --- the event loop ----------------------------------------------------- */

bool http_mhd_forward(struct http_mhd *m)
{
    char bytes[BLOCK_BYTES];
    ssize_t n = -1;

    while (!m->deaf && (n = recv(m->our_end, bytes, sizeof bytes,
                                 MSG_DONTWAIT)) > 0) {
        struct iovec part = {bytes, (size_t)n};

        m->deaf = !http_connection_send(m->connection, &part, 1);
    }
    if (!m->deaf && (n == 0 || (errno != EAGAIN && errno != EINTR)))
        m->closed = true;
    return !m->deaf;
}

/* One turn of libmicrohttpd's event loop.
 *   wait_ms  for something to do; -1: as long as it takes */
static bool turn(struct http_mhd *m, int wait_ms)
{
    if (MHD_run_wait(m->daemon, wait_ms) != MHD_YES)
        m->closed = true;
    return http_mhd_forward(m);
}

static bool flush(struct http_mhd *m)
{
    size_t n_sent = 0;

    while (n_sent < m->out.len) {
        ssize_t n = send(m->our_end, m->out.data + n_sent,
                         m->out.len - n_sent, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n > 0)
            n_sent += (size_t)n;
        else if (errno != EAGAIN && errno != EINTR)
            return false;
        if (n_sent < m->out.len && !turn(m, 0))
            return false;
    }
    buf_clear(&m->out);
    return true;
}

/* --- a request ---------------------------------------------------------- */

void http_mhd_begin(struct http_mhd *m, struct http_request *rq, bool has_body)
{
    const struct http_head *head = rq->head;
    bool is_head = head && head->method && strcmp(head->method, "HEAD") == 0;
    bool is_old = head && !head->minor;

    m->rq = rq;
    m->has_body = has_body;
    m->complete = false;
    rq->mhd = m;
    buf_addf(&m->out, "%s / HTTP/1.%d\r\nHost: localhost\r\n%s%s\r\n",
             is_head ? "HEAD" : "POST", is_old ? 0 : 1,
             is_old ? "Connection: keep-alive\r\n" : "",
             has_body ? "Transfer-Encoding: chunked\r\n" : "");
}

bool http_mhd_body(struct http_mhd *m, const char *bytes, size_t n)
{
    buf_addf(&m->out, "%zx\r\n", n);
    buf_add(&m->out, bytes, n);
    buf_adds(&m->out, "\r\n");
    return m->out.len < BLOCK_BYTES || (flush(m) && turn(m, 0));
}

bool http_mhd_end(struct http_mhd *m)
{
    bool ok;

    if (m->has_body)
        buf_adds(&m->out, "0\r\n\r\n");
    ok = flush(m);
    while (ok && !m->complete && !m->closed)
        ok = turn(m, -1);
    m->rq = NULL;
    return ok && m->complete && !m->closed;
}

/* --- coming and going --------------------------------------------------- */

static int start(struct http_mhd *m, struct err *err)
{
    struct sockaddr_storage nobody = {.ss_family = AF_UNIX};
    int ends[2];

    m->daemon = MHD_start_daemon(
        MHD_USE_NO_LISTEN_SOCKET | MHD_USE_EPOLL, 0, NULL, NULL, on_request, m,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, POOL_BYTES,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, m, MHD_OPTION_END);
    if (!m->daemon)
        return err_set_errno(err, ERR_IO, errno, "libmicrohttpd");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return err_set_errno(err, ERR_IO, errno, "a socket pair");
    m->our_end = ends[0];
    /* It takes the other end over, also when it fails. */
    if (MHD_add_connection(m->daemon, ends[1],
                           (const struct sockaddr *)&nobody,
                           sizeof nobody.ss_family) != MHD_YES)
        return err_set_errno(err, ERR_IO, errno, "libmicrohttpd");
    return 0;
}

int http_mhd_create(struct http_connection *c, struct http_mhd **mhd,
                    struct err *err)
{
    struct http_mhd *m = xcalloc(1, sizeof *m);
    int rc;

    m->connection = c;
    m->our_end = -1;
    rc = start(m, err);
    if (rc) {
        http_mhd_free(m);
        return rc;
    }
    *mhd = m;
    return 0;
}

void http_mhd_free(struct http_mhd *m)
{
    if (!m)
        return;
    if (m->daemon)
        MHD_stop_daemon(m->daemon);
    if (m->our_end >= 0)
        close(m->our_end);
    buf_release(&m->out);
    free(m);
}
