/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/http/wire/http_cancel.h"

#include <poll.h>

#include "base/log.h"
#include "base/timing.h"
#include "daemon/board/metrics.h"

#define CHECK_MS 200 /* between two checks of the socket */
#define NAP_MS 20    /* between two checks while the share is used up */

void http_cancel_begin(struct http_cancel *c, struct http_cancel_rules *rules,
                       const char *path, int fd)
{
    int64_t now = timing_mono_ms();

    *c = (struct http_cancel){.rules = rules,
                              .path = path,
                              .fd = fd,
                              .began_ms = now,
                              .next_check_ms = now + CHECK_MS};
}

static enum http_cancel_cause find_cause(struct http_cancel *c, int64_t now)
{
    int64_t stop_ms = atomic_load(&c->rules->stop_ms);
    struct pollfd p = {.fd = c->fd, .events = POLLRDHUP};

    if (stop_ms && now >= stop_ms)
        return HTTP_GRACE_OVER;
    if (now - c->began_ms >= c->rules->most_seconds * 1000)
        return HTTP_TIME_LIMIT;
    if (now < c->next_check_ms)
        return HTTP_NOT_CANCELLED;
    c->next_check_ms = now + CHECK_MS;
    /* POLLRDHUP is reported even while earlier bytes are unread. */
    return c->fd >= 0 && poll(&p, 1, 0) > 0 ? HTTP_CLIENT_LEFT
                                            : HTTP_NOT_CANCELLED;
}

/* Waits until the share allows more work or there is a cause to end. */
static enum http_cancel_cause wait_for_share(struct http_cancel *c)
{
    enum http_cancel_cause cause = find_cause(c, timing_mono_ms());
    int64_t ms;

    if (!c->computes)
        return cause;
    http_share_charge(c->rules->share);
    while (cause == HTTP_NOT_CANCELLED &&
           (ms = http_share_wait_ms(c->rules->share)) > 0) {
        timing_sleep_ms(ms < NAP_MS ? ms : NAP_MS);
        cause = find_cause(c, timing_mono_ms());
    }
    return cause;
}

int http_cancel_check(struct http_cancel *c, struct err *err)
{
    if (c->cause == HTTP_NOT_CANCELLED) {
        c->cause = wait_for_share(c);
        if (c->cause != HTTP_NOT_CANCELLED) {
            atomic_fetch_add(&c->rules->cancelled[c->cause], 1);
            /* Clients leave often: no operator needs to know. */
            log_line(c->cause == HTTP_CLIENT_LEFT ? LOG_DEBUG : LOG_INFO,
                     "request_cancelled",
                     "path=%s cause=%s after_seconds=%.1f", c->path,
                     http_cancel_code(c->cause),
                     (double)(timing_mono_ms() - c->began_ms) / 1000);
        }
    }
    switch (c->cause) {
    case HTTP_NOT_CANCELLED:
        return 0;
    case HTTP_CLIENT_LEFT:
        return err_set(err, ERR_AGAIN, "the client has left");
    case HTTP_TIME_LIMIT:
        return err_set(err, ERR_AGAIN,
                       "not done within http.max_request_seconds, %lld: send "
                       "less work in one request, or raise the limit",
                       (long long)c->rules->most_seconds);
    default:
        return err_set(err, ERR_AGAIN, "the daemon is stopping");
    }
}

static int check(void *arg, struct err *err)
{
    return http_cancel_check(arg, err);
}

struct cancel http_cancel_callback(struct http_cancel *c)
{
    return (struct cancel){check, c};
}

bool http_cancel_stopping(const struct http_cancel_rules *rules)
{
    return atomic_load(&rules->stop_ms) != 0;
}

const char *http_cancel_code(enum http_cancel_cause cause)
{
    static const char *const codes[] = {"none", "client_left", "time_limit",
                                        "stopping"};

    return codes[cause];
}

void http_cancel_metrics(const struct http_cancel_rules *rules, struct buf *out)
{
    static const char name[] = "http_cancelled_total";

    metrics_family(out, name,
                   "Requests cancelled while they waited or were computed.");
    for (int i = HTTP_NOT_CANCELLED + 1; i < HTTP_N_CAUSES; i++) {
        const struct metrics_label cause = {
            "cause", http_cancel_code((enum http_cancel_cause)i)};

        metrics_sample(out, name, &cause, 1,
                       (double)atomic_load(&rules->cancelled[i]));
    }
}
