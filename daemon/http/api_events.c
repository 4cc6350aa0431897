/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /v1/events: what changes on the board, as server-sent events.
 *
 * One thread looks at the board twice a second, and adds an event to the log
 * for each change. So there are at most two step events a second, and two
 * publishes between two looks are one event with the newer numbers. Each stream
 * follows the log.
 *
 * `publish` says that a version is durable; it has no verdict yet. `gate`
 * follows, with a version and its verdict.
 */
#include "config.h"

#include "daemon/http/http_impl.h"

#include <stdlib.h>

#include "base/json_value.h"
#include "base/xalloc.h"
#include "daemon/board/event_log.h"
#include "daemon/http/http_head.h"
#include "daemon/http/http_stream.h"

#define LOOK_MS 500

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

static void tell_versions(struct event_log *l, const char *event,
                          int64_t version, const struct status *now)
{
    event_log_add(l, event,
                  json_pack("{s:I, s:I, s:I}", "version", (json_int_t)version,
                            "head_version", (json_int_t)now->head_version,
                            "serving_version",
                            (json_int_t)now->serving_version));
}

static void tell_verdict(struct event_log *l, const struct status *now)
{
    event_log_add(l, "gate",
                  json_pack("{s:I, s:I, s:I, s:s, s:o, s:o}", "version",
                            (json_int_t)now->publish.judged_version,
                            "head_version", (json_int_t)now->head_version,
                            "serving_version",
                            (json_int_t)now->serving_version, "verdict",
                            now->publish.last_verdict, "reason",
                            json_value_text(now->publish.last_reason),
                            "waits_for",
                            json_value_text(now->publish.waits_for)));
}

static void tell_rollback(struct event_log *l, const struct status *now,
                          bool automatic)
{
    event_log_add(l, "rollback",
                  json_pack("{s:I, s:I, s:b, s:o}", "head_version",
                            (json_int_t)now->head_version, "serving_version",
                            (json_int_t)now->serving_version, "automatic",
                            automatic, "reason",
                            json_value_text(now->publish.last_rollback)));
}

static int64_t verdicts(const struct status_publish *p)
{
    return p->passed + p->refused + p->inconclusive;
}

static void tell_changes(struct event_log *l, const struct status *was,
                         const struct status *now)
{
    const struct status_publish *p = &now->publish, *q = &was->publish;

    if (now->step != was->step || now->state != was->state)
        event_log_add(l, "step", step_json(now));
    if (p->newest_version != q->newest_version)
        tell_versions(l, "publish", p->newest_version, now);
    if (verdicts(p) != verdicts(q))
        tell_verdict(l, now);
    if (p->rollbacks != q->rollbacks)
        tell_rollback(l, now, p->automatic != q->automatic);
    if (now->serving_version != was->serving_version)
        tell_versions(l, "serving", now->serving_version, now);
    if (now->ewc.consolidations != was->ewc.consolidations)
        event_log_add(l, "consolidation",
                      json_pack("{s:I, s:o}", "consolidations",
                                (json_int_t)now->ewc.consolidations, "lambda",
                                json_value_real(now->ewc.lambda)));
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

        ends = event_log_pause(l, LOOK_MS);
        now = status_copy(board);
        tell_changes(l, was, now);
        free(was);
        was = now;
    }
    free(was);
}

struct event_log *api_events_watch(struct status_board *board)
{
    return event_log_create(watch, board);
}

/* --- a listener --------------------------------------------------------- */

struct listener {
    struct event_log *log;
    struct status_board *board;
    int64_t at;   /* position in the log */
    bool resumes; /* it sent the id of an earlier event */
};

static bool send_event(struct http_stream *s, struct event *e)
{
    bool deaf = http_stream_event(s, e->name, e->id, e->json);

    free(e->json);
    return deaf;
}

/* Sends the present state as a first event; the log has the later ones. */
static bool send_first(struct http_stream *s, const struct listener *l)
{
    struct status *now = status_copy(l->board);
    struct event e;

    event_log_make(l->log, l->at, "step", step_json(now), &e);
    free(now);
    return send_event(s, &e);
}

static void follow(struct http_stream *s, void *arg)
{
    struct listener *l = arg;
    enum event_found found = EVENT_NONE_YET;
    bool deaf = !l->resumes && send_first(s, l);

    while (!deaf && found != EVENT_END) {
        struct event e;

        found = event_log_next(l->log, &l->at, LOOK_MS, &e);
        deaf = found == EVENT_FOUND ? send_event(s, &e) : http_stream_deaf(s);
    }
}

void api_events(struct http_request *rq)
{
    const char *id = http_head_field(rq->head, "Last-Event-ID");
    struct listener *l = xcalloc(1, sizeof *l);

    l->log = http_events(rq->http);
    l->board = rq->context->board;
    l->resumes = id && *id;
    l->at = l->resumes ? event_log_after(l->log, id) : event_log_newest(l->log);
    rq->reply.status = 200;
    rq->reply.stream = http_stream_create(follow, l, free);
}
