/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/http/http.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fileio.h"
#include "base/log.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/board/series.h"
#include "daemon/http/api/api_events.h"
#include "daemon/http/http_private.h"
#include "daemon/http/request/http_mhd.h"
#include "daemon/http/wire/http_listen.h"
#include "daemon/http/wire/http_tls.h"
#include "daemon/train/options.h"

#define MAX_WAITING 64     /* requests of a holder that wait for a slot */
#define LAST_REPLY_MS 2000 /* to send the replies of cancelled requests */
#define OTHER_FILES 258    /* of the store, the source and libraries */

/*
 * A process without a free descriptor cannot publish. So the limit is raised to
 * the descriptors of all connections and of the other parts. ERR_LIMIT when the
 * hard limit is lower.
 */
static int raise_descriptors(const struct conf_http *conf, struct err *err)
{
    int n = http_connections_max((int)conf->max_connections);
    /* A socket, libmicrohttpd's, and a file that is sent. */
    rlim_t needed = (rlim_t)n * (2 + HTTP_MHD_DESCRIPTORS) + OTHER_FILES;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return err_set_errno(err, ERR_IO, errno, "RLIMIT_NOFILE");
    if (limit.rlim_cur >= needed)
        return 0;
    if (limit.rlim_max < needed)
        return err_set(err, ERR_LIMIT,
                       "http.max_connections: %lld connections need %llu open "
                       "files, and the system's limit is %llu: lower "
                       "http.max_connections, or raise the limit (ulimit -Hn, "
                       "LimitNOFILE)",
                       (long long)conf->max_connections,
                       (unsigned long long)needed,
                       (unsigned long long)limit.rlim_max);
    limit.rlim_cur = needed;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        return err_set_errno(err, ERR_IO, errno, "RLIMIT_NOFILE");
    return 0;
}

static int write_address(const char *path, const char *address,
                         struct err *err)
{
    char *line = xasprintf("%s\n", address);
    int rc = fileio_write_atomic(path, line, strlen(line), err);

    free(line);
    return rc;
}

/* Writes http.addr, and with http.admin_socket admin.addr. Without it, removes
 * the admin.addr of a daemon that was killed. */
static int write_addresses(struct http *h, struct err *err)
{
    const char *dir = h->context.conf->data_dir;
    char *admin = fileio_join(dir, "admin.addr"), *path, *address;
    int rc;

    h->address_path = fileio_join(dir, "http.addr");
    rc = write_address(h->address_path, h->address, err);
    if (rc || !h->admin_socket) {
        unlink(admin);
        free(admin);
        return rc;
    }
    path = realpath(h->admin_socket, NULL); /* clients start elsewhere */
    address = xasprintf("unix:%s", path ? path : h->admin_socket);
    h->admin_path = admin;
    rc = write_address(h->admin_path, address, err);
    free(address);
    free(path);
    return rc;
}

static int listen_admin(struct http *h, struct http_connections_options *o,
                        struct err *err)
{
    const struct conf_http *conf = &h->context.conf->http;
    int rc;

    if (!conf->admin_socket)
        return 0;
    rc = http_listen_admin(conf, &o->admin_fd, &o->admin_group, err);
    if (rc == 0)
        h->admin_socket = xstrdup(conf->admin_socket);
    else
        close(o->listen_fd);
    return rc;
}

/* Reads all files that the configuration names, or none. */
static int load(const struct conf_http *conf, struct http_tokens **tokens,
                struct http_tls **tls, struct err *err)
{
    int rc = http_tokens_load(conf->token_file, tokens, err);

    if (rc == 0 && (rc = http_tls_load(conf, tls, err)) != 0) {
        http_tokens_free(*tokens);
        *tokens = NULL;
    }
    return rc;
}

int http_start(const struct http_context *context, struct http **http,
               struct err *err)
{
    const struct conf_http *conf = &context->conf->http;
    struct http *h = xcalloc(1, sizeof *h);
    struct http_connections_options o = {
        .listen_fd = -1,
        .admin_fd = -1,
        .admin_group = (gid_t)-1,
        .max_requests = (int)conf->max_connections,
        .body_bytes = options_http_bytes(context->conf),
        .serve = http_serve,
        .arg = h,
    };
    int rc;

    h->context = *context;
    h->rules.most_seconds = conf->max_request_seconds;
    pthread_mutex_init(&h->mutex, NULL);
    h->series = series_create(STATUS_MAX_DOMAINS);
    h->events = api_events_watch(context->board, h->series);
    h->slots = http_slots_create(options_cores(), MAX_WAITING);
    h->generators =
        http_slots_create(context->generations ? context->generations : 1,
                          MAX_WAITING);
    h->rules.share =
        http_share_create(conf->cpu_share, options_cores(), context->board);
    rc = raise_descriptors(conf, err);
    if (rc == 0)
        rc = load(conf, &h->tokens, &h->tls, err);
    if (rc == 0)
        rc = http_listen(conf, &o.listen_fd, &h->address, err);
    if (rc == 0 && conf->listen_kind == CONF_LISTEN_UNIX)
        h->socket_path = xstrdup(conf->listen_host);
    if (rc == 0)
        rc = listen_admin(h, &o, err);
    if (rc == 0)
        rc = http_connections_start(&o, &h->connections, err);
    if (rc == 0)
        rc = write_addresses(h, err);
    if (rc) {
        http_stop(h);
        return rc;
    }
    *http = h;
    return 0;
}

const char *http_address(const struct http *h)
{
    return h->address;
}

int http_reload(struct http *h, struct err *err)
{
    struct http_tokens *tokens = NULL, *old;
    struct http_tls *tls = NULL, *old_tls;
    int rc = load(&h->context.conf->http, &tokens, &tls, err);

    if (rc)
        return rc;
    pthread_mutex_lock(&h->mutex);
    old = h->tokens;
    h->tokens = tokens;
    old_tls = h->tls;
    h->tls = tls;
    pthread_mutex_unlock(&h->mutex);
    http_tokens_free(old);
    http_tls_free(old_tls);
    return 0;
}

static int check(const struct conf_http *conf, struct err *err)
{
    struct http_tokens *tokens = NULL;
    struct http_tls *tls = NULL;
    int rc = load(conf, &tokens, &tls, err);

    http_tokens_free(tokens);
    http_tls_free(tls);
    return rc;
}

int http_check(const struct conf *conf, struct err *err)
{
    return check(&conf->http, err);
}

int http_reload_check(const struct conf *now, const struct conf *next,
                      struct err *err)
{
    struct conf_http conf = next->http;

    /* A part that needs a restart keeps its files (conf_reload_apply). */
    if (!next->http.token_file && !now->http.listen_local)
        conf.token_file = now->http.token_file;
    if (!now->http.tls.cert || !next->http.tls.cert)
        conf.tls = now->http.tls;
    return check(&conf, err);
}

void http_close(struct http *h)
{
    long long running = 0;

    if (!h)
        return;
    atomic_compare_exchange_strong(&h->rules.stop_ms, &running,
                                   timing_mono_ms() +
                                       HTTP_GRACE_SECONDS * 1000);
    http_slots_close(h->slots);
    http_slots_close(h->generators);
}

void http_stop(struct http *h)
{
    int64_t grace_ms;
    int n_cut;

    if (!h)
        return;
    http_close(h);
    event_log_stop(h->events); /* ends the streams of events */
    grace_ms = atomic_load(&h->rules.stop_ms) - timing_mono_ms();
    n_cut = http_connections_stop(
        h->connections, (grace_ms > 0 ? grace_ms : 0) + LAST_REPLY_MS);
    if (n_cut)
        log_warn("http",
                 "result=\"%d answers are cut short: their clients did not "
                 "read them in time\"",
                 n_cut);
    if (h->address_path)
        unlink(h->address_path);
    if (h->socket_path)
        unlink(h->socket_path);
    if (h->admin_path)
        unlink(h->admin_path);
    if (h->admin_socket)
        unlink(h->admin_socket);
    http_slots_free(h->slots);
    http_slots_free(h->generators);
    http_share_free(h->rules.share);
    http_tokens_free(h->tokens);
    http_tls_free(h->tls);
    event_log_free(h->events);
    series_free(h->series);
    pthread_mutex_destroy(&h->mutex);
    free(h->address);
    free(h->address_path);
    free(h->socket_path);
    free(h->admin_path);
    free(h->admin_socket);
    free(h);
}
