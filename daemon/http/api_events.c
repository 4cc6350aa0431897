/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /v1/events: changes of the board, as server-sent events.
 *
 * One thread compares the board twice a second with its last copy, and adds an
 * event to the log for each change. So there are at most two step events a
 * second, and two publications in half a second are one event with the newer
 * numbers. So are two drift alarms, which may be of different domains. Each
 * stream follows the log.
 *
 * `publish` says that a version is durable; the verdict is not known then.
 * `gate` follows with a version and its verdict.
 */
#include "config.h"

#include "daemon/http/api_events.h"

#include <stdlib.h>

#include "base/json_value.h"
#include "base/xalloc.h"
#include "daemon/http/http_endpoints.h"
#include "daemon/http/http_head.h"
#include "daemon/http/http_stream.h"

#define POLL_MS 500

static json_t *step_json(const struct status *now)
{
    return json_pack(
        "{s:s, s:I, s:I, s:o, s:o, s:o}", "state",
        status_state_name(now->state), "step", (json_int_t)now->step,
        "tokens_seen", (json_int_t)now->tokens_seen, "tokens_per_second",
        json_value_real(now->tokens_per_second), "train_bits_per_byte",
        json_value_real(now->train_bits_per_byte), "prequential_bits_per_byte",
        json_value_real(now->prequential_bits_per_byte));
}

static void add_versions(struct event_log *l, const char *event,
                         int64_t version, const struct status *now)
{
    event_log_add(l, event,
                  json_pack("{s:I, s:I, s:I}", "version", (json_int_t)version,
                            "head_version", (json_int_t)now->head_version,
                            "serving_version",
                            (json_int_t)now->serving_version));
}

static void add_verdict(struct event_log *l, const struct status *now)
{
    event_log_add(l, "gate",
                  json_pack("{s:I, s:I, s:I, s:s, s:o}", "version",
                            (json_int_t)now->publish.judged_version,
                            "head_version", (json_int_t)now->head_version,
                            "serving_version",
                            (json_int_t)now->serving_version, "verdict",
                            now->publish.last_verdict, "reason",
                            json_value_text(now->publish.last_reason)));
}

static void add_rollback(struct event_log *l, const struct status *now,
                         bool automatic)
{
    event_log_add(l, "rollback",
                  json_pack("{s:I, s:I, s:b, s:o}", "head_version",
                            (json_int_t)now->head_version, "serving_version",
                            (json_int_t)now->serving_version, "automatic",
                            automatic, "reason",
                            json_value_text(now->publish.last_rollback)));
}

static void add_drift(struct event_log *l, const struct status *now)
{
    const struct status_domain *d = &now->drifted;

    event_log_add(l, "drift",
                  json_pack("{s:s, s:I, s:I, s:o, s:o}", "domain", d->name,
                            "alarms", (json_int_t)d->drift.alarms, "record",
                            (json_int_t)d->drift.record,
                            "before_bits_per_byte",
                            json_value_real(d->drift.before),
                            "after_bits_per_byte",
                            json_value_real(d->drift.after)));
}

static int64_t count_verdicts(const struct status_publish *p)
{
    return p->passed + p->refused;
}

static void add_changes(struct event_log *l, const struct status *was,
                        const struct status *now)
{
    const struct status_publish *p = &now->publish, *q = &was->publish;

    if (now->step != was->step || now->state != was->state)
        event_log_add(l, "step", step_json(now));
    if (p->newest_version != q->newest_version)
        add_versions(l, "publish", p->newest_version, now);
    if (count_verdicts(p) != count_verdicts(q))
        add_verdict(l, now);
    if (p->rollbacks != q->rollbacks)
        add_rollback(l, now, p->automatic != q->automatic);
    if (now->serving_version != was->serving_version)
        add_versions(l, "serving", now->serving_version, now);
    if (now->ewc.consolidations != was->ewc.consolidations)
        event_log_add(l, "consolidation",
                      json_pack("{s:I, s:o}", "consolidations",
                                (json_int_t)now->ewc.consolidations, "lambda",
                                json_value_real(now->ewc.lambda)));
    if (now->drift_alarms != was->drift_alarms)
        add_drift(l, now);
    if (now->records.quarantined != was->records.quarantined)
        event_log_add(l, "quarantine",
                      json_pack("{s:I}", "quarantined",
                                (json_int_t)now->records.quarantined));
}

static void watch(struct event_log *l, void *arg)
{
    struct status_board *board = arg;
    struct status *was = status_copy(board);
    bool ends = false;

    while (!ends) {
        struct status *now;

        ends = event_log_pause(l, POLL_MS);
        now = status_copy(board);
        add_changes(l, was, now);
        free(was);
        was = now;
    }
    free(was);
}

struct event_log *api_events_watch(struct status_board *board)
{
    return event_log_create(watch, board);
}

/* --- one client --------------------------------------------------------- */

struct follower {
    struct event_log *log;
    struct status_board *board;
    int64_t at;   /* position in the log */
    bool resumes; /* the client sent the id of an earlier event */
};

static bool send_event(struct http_stream *s, struct event *e)
{
    bool closed = http_stream_event(s, e->name, e->id, e->json);

    free(e->json);
    return closed;
}

/* The first event has the present state; the log has only changes. */
static bool send_first(struct http_stream *s, const struct follower *f)
{
    struct status *now = status_copy(f->board);
    struct event e;

    event_log_make(f->log, f->at, "step", step_json(now), &e);
    free(now);
    return send_event(s, &e);
}

static void follow(struct http_stream *s, void *arg)
{
    struct follower *f = arg;
    enum event_found found = EVENT_NONE_YET;
    bool closed = !f->resumes && send_first(s, f);

    while (!closed && found != EVENT_END) {
        struct event e;

        found = event_log_next(f->log, &f->at, POLL_MS, &e);
        closed =
            found == EVENT_FOUND ? send_event(s, &e) : http_stream_closed(s);
    }
}

void api_events(struct http_request *rq)
{
    const char *id = http_head_field(rq->head, "Last-Event-ID");
    struct follower *f = xcalloc(1, sizeof *f);

    f->log = rq->events;
    f->board = rq->context->board;
    f->resumes = id && *id;
    f->at = f->resumes ? event_log_after(f->log, id) : event_log_newest(f->log);
    rq->reply.status = 200;
    rq->reply.stream = http_stream_create(follow, f, free);
}
