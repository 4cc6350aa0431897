/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /v1/events: what changes on the board, as server-sent events.
 *
 * Each stream has a thread that looks at the board twice a second and tells
 * what is not as it was. Steps are thus told at most twice a second, and two
 * publishes between two looks would be one event with the newer numbers.
 *
 * `publish` tells that a version is durable; it has no verdict yet. `gate`
 * follows with the verdict of the version that it names.
 */
#include "config.h"

#include "daemon/http_impl.h"

#include <stdlib.h>

#include "base/json_value.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/http_stream.h"

#define LOOK_MS 500

struct watcher {
    struct http *http;
    struct status_board *board;
};

/* Takes more over: its fields come after the event's name and time. */
static bool tell(struct http_stream *s, const char *event, json_t *more)
{
    json_t *root = json_pack("{s:s, s:I}", "event", event, "time_ms",
                             (json_int_t)timing_wall_ms());

    json_object_update(root, more);
    json_decref(more);
    return http_stream_json(s, root);
}

static bool tell_step(struct http_stream *s, const struct status *now)
{
    return tell(s, "step",
                json_pack("{s:s, s:I, s:I, s:o, s:o, s:o}", "state",
                          status_state_name(now->state), "step",
                          (json_int_t)now->step, "tokens_seen",
                          (json_int_t)now->tokens_seen, "tokens_per_second",
                          json_value_real(now->tokens_per_second),
                          "train_bits_per_byte",
                          json_value_real(now->train_bits_per_byte),
                          "prequential_bits_per_byte",
                          json_value_real(now->prequential_bits_per_byte)));
}

static bool tell_versions(struct http_stream *s, const char *event,
                          int64_t version, const struct status *now)
{
    return tell(s, event,
                json_pack("{s:I, s:I, s:I}", "version", (json_int_t)version,
                          "head_version", (json_int_t)now->head_version,
                          "serving_version",
                          (json_int_t)now->serving_version));
}

static bool tell_verdict(struct http_stream *s, const struct status *now)
{
    return tell(s, "gate",
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

static bool tell_rollback(struct http_stream *s, const struct status *now,
                          bool automatic)
{
    return tell(s, "rollback",
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

/* True when nobody listens any more. */
static bool tell_changes(struct http_stream *s, const struct status *was,
                         const struct status *now)
{
    const struct status_publish *p = &now->publish, *q = &was->publish;
    bool deaf = false;

    if (now->step != was->step || now->state != was->state)
        deaf |= tell_step(s, now);
    if (p->newest_version != q->newest_version)
        deaf |= tell_versions(s, "publish", p->newest_version, now);
    if (verdicts(p) != verdicts(q))
        deaf |= tell_verdict(s, now);
    if (p->rollbacks != q->rollbacks)
        deaf |= tell_rollback(s, now, p->automatic != q->automatic);
    if (now->serving_version != was->serving_version)
        deaf |= tell_versions(s, "serving", now->serving_version, now);
    if (now->ewc.consolidations != was->ewc.consolidations)
        deaf |= tell(s, "consolidation",
                     json_pack("{s:I, s:o}", "consolidations",
                               (json_int_t)now->ewc.consolidations, "lambda",
                               json_value_real(now->ewc.lambda)));
    if (now->records.quarantined != was->records.quarantined)
        deaf |= tell(s, "quarantine",
                     json_pack("{s:I}", "quarantined",
                               (json_int_t)now->records.quarantined));
    return deaf;
}

static void watch(struct http_stream *s, void *arg)
{
    const struct watcher *w = arg;
    struct status *was = status_copy(w->board);
    bool deaf = tell_step(s, was);

    while (!deaf && !http_stopping(w->http)) {
        struct status *now;

        deaf = http_stream_wait(s, LOOK_MS);
        now = status_copy(w->board);
        deaf = deaf || tell_changes(s, was, now);
        free(was);
        was = now;
    }
    free(was);
}

void api_events(struct http_request *rq)
{
    struct watcher *w = xcalloc(1, sizeof *w);

    w->http = rq->http;
    w->board = rq->context->board;
    rq->reply.status = 200;
    rq->reply.stream = http_stream_create(watch, w, free);
}
