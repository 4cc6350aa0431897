/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /v1/events: changes of the board, as server-sent events.
 *
 * One thread compares the board twice a second with its last copy, and adds an
 * event to the log for each change. So there are at most two step events a
 * second. Two publications within half a second give one event, which has the
 * newer numbers. Two drift alarms give one event, too, which names the later
 * domain. Each stream follows the log.
 *
 * The thread also adds a row to the series every SERIES_SAMPLE_MS, and a mark
 * for each drift alarm and each rollback. A domain of which nothing was learned
 * since the last row has no value in it.
 *
 * `publish` says that a version is durable; the verdict is not known then.
 * `gate` follows with a version and its verdict.
 */
#include "config.h"

#include "daemon/http/api/api_events.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json_value.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/http/api/http_endpoints.h"
#include "daemon/http/wire/http_head.h"
#include "daemon/http/wire/http_stream.h"

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

/* --- the series --------------------------------------------------------- */

static void mark_changes(struct series *series, const struct status *was,
                         const struct status *now)
{
    const struct status_publish *p = &now->publish;

    if (p->rollbacks != was->publish.rollbacks)
        series_mark(series, timing_wall_ms(), "rollback", now->head_version,
                    "", p->last_rollback);
    if (now->drift_alarms != was->drift_alarms) {
        const struct status_domain *d = &now->drifted;
        char text[96];

        snprintf(text, sizeof text,
                 "from %.2f to %.2f bits per byte, at record %lld",
                 d->drift.before, d->drift.after, (long long)d->drift.record);
        series_mark(series, timing_wall_ms(), "drift", 0, d->name, text);
    }
}

/* The bytes learned of a domain; 0: the copy has no such domain. The order of
 * the domains changes only at a rollback. */
static int64_t bytes_of(const struct status *s, const char *name, size_t i)
{
    if (i < s->n_domains && s->domains[i].name == name)
        return s->domains[i].bytes;
    for (i = 0; i < s->n_domains; i++)
        if (s->domains[i].name == name)
            return s->domains[i].bytes;
    return 0;
}

static void add_row(struct series *series, struct status_board *board,
                    const struct status *was, const struct status *now)
{
    struct series_domain domains[STATUS_MAX_DOMAINS];
    int64_t lag = status_lag(board, NULL);
    double figures[SERIES_FIGURES] = {
        [SERIES_PREQUENTIAL] = now->bytes_seen != was->bytes_seen
                                   ? now->prequential_bits_per_byte
                                   : (double)NAN,
        [SERIES_LAG] = lag < 0 ? (double)NAN : (double)lag,
        [SERIES_TOKENS_PER_SECOND] = now->tokens_per_second,
        [SERIES_RECORDS_PER_SECOND] = now->records_per_second,
    };
    size_t n = 0;

    for (size_t i = 0; i < now->n_domains; i++) {
        const struct status_domain *d = &now->domains[i];

        if (d->bytes != bytes_of(was, d->name, i))
            domains[n++] = (struct series_domain){
                d->name, isnan(d->prequential) ? 100 * (1 - d->accuracy)
                                               : d->prequential};
    }
    series_add(series, timing_wall_ms(), figures, domains, n);
}

/* --- the thread --------------------------------------------------------- */

struct watched {
    struct status_board *board;
    struct series *series;
};

static void watch(struct event_log *l, void *arg)
{
    struct watched *w = arg;
    struct status *was = status_copy(w->board);
    struct status *row = status_copy(w->board); /* at the last row */
    int64_t row_ms = timing_mono_ms();
    bool ends = false;

    while (!ends) {
        struct status *now;

        ends = event_log_pause(l, POLL_MS);
        now = status_copy(w->board);
        add_changes(l, was, now);
        mark_changes(w->series, was, now);
        if (timing_mono_ms() - row_ms >= SERIES_SAMPLE_MS) {
            add_row(w->series, w->board, row, now);
            *row = *now;
            row_ms = timing_mono_ms();
        }
        free(was);
        was = now;
    }
    free(was);
    free(row);
    free(w);
}

struct event_log *api_events_watch(struct status_board *board,
                                   struct series *series)
{
    struct watched *w = xmalloc(sizeof *w);

    *w = (struct watched){board, series};
    return event_log_create(watch, w);
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
