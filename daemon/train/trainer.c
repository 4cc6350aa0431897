/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread runs trainer_begin, then trainer_turn again and again, then
 * trainer_end. A turn first does what other threads have asked for: the
 * publisher's result, new settings, operations, the guard's request. Then it
 * makes a step, or gives records to intake until a batch is full.
 *
 * One state says whether learning goes on, and if not, why:
 *
 *   from               function: event                     to
 *   STARTING           trainer_begin                       WAITING
 *   STARTING           restore_guard_pause                 PAUSED_BY_GUARD
 *   WAITING            run_step                            LEARNING
 *   LEARNING           learn: no record for 1 s            WAITING
 *   LEARNING, WAITING  set_state: the source has stopped   PAUSED_BY_SOURCE
 *   PAUSED_BY_SOURCE   run_step, learn: the source runs    LEARNING, WAITING
 *   LEARNING, WAITING, PAUSED_BY_SOURCE
 *                      collect, meet_tombstone: the disk is full
 *                                                          PAUSED_BY_STORE
 *   PAUSED_BY_STORE    collect: a version was written      LEARNING
 *   LEARNING, WAITING, PAUSED_BY_SOURCE, PAUSED_BY_STORE
 *                      pause_by_guard                      PAUSED_BY_GUARD
 *   PAUSED_BY_GUARD    resume_by_operator                  LEARNING
 *   LEARNING, WAITING, PAUSED_BY_*
 *                      roll_back: begins                   ROLLING_BACK
 *   ROLLING_BACK       roll_back: done                     LEARNING
 *   ROLLING_BACK       roll_back: refused                  the state before
 *   any                announce_end, trainer_end           STOPPING
 *   any                fail                                FAILED
 *
 * In PAUSED_BY_SOURCE no records arrive, but those in the queue are learned.
 * Invariants: (1) no step is made in PAUSED_BY_STORE and PAUSED_BY_GUARD.
 * (2) STOPPING and FAILED are final; after FAILED nothing is published.
 * (3) PAUSED_BY_GUARD is in the control log, so that a restart begins in it.
 * (4) No version is being published while a rollback or forget runs.
 */
#include "config.h"

#include "daemon/train/trainer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/priority.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/board/pulse.h"
#include "daemon/gate/guard.h"
#include "daemon/intake/vocabulary.h"
#include "daemon/train/forget.h"
#include "daemon/train/inbox.h"
#include "daemon/train/options.h"
#include "daemon/train/pace.h"
#include "daemon/train/rewind.h"
#include "daemon/train/trainer_board.h"

#define POLL_MS 100   /* between two turns while learning is paused */
#define RETRY_MS 5000 /* between two attempts to publish to a full disk */
#define STAGED_LIMIT ((int64_t)OPTIONS_STAGED_BYTES / 2) /* a version is due */

enum trainer_state {
    STARTING, /* collects text for the vocabulary */
    LEARNING,
    WAITING, /* for records */
    PAUSED_BY_SOURCE,
    PAUSED_BY_STORE,
    PAUSED_BY_GUARD,
    ROLLING_BACK,
    STOPPING,
    FAILED
};

struct trainer {
    struct trainer_options options;
    struct learning *l;
    enum trainer_state state;
    pthread_t thread;
    bool started;
    atomic_bool stop_requested;
    pthread_mutex_t mutex; /* guards the next three */
    pthread_cond_t reloaded;
    struct conf *now;
    const struct conf *next; /* NULL: nothing to reload */
    struct inbox inbox;
    struct trainer_board board;
    struct pace pace;
    int64_t retry_ms;         /* PAUSED_BY_STORE: the next attempt */
    int64_t choices_at_pause; /* PAUSED_BY_GUARD: publisher_choices then */
    char pause_reason[256];   /* PAUSED_BY_GUARD: as in the control log */
    int64_t published_ms, published_tokens, published_step;
    bool without_step; /* the last version had no step of its own */
};

struct trainer *trainer_create(const struct trainer_options *options)
{
    struct trainer *t = xcalloc(1, sizeof *t);

    t->options = *options;
    t->l = options->learning;
    t->l->refusals.logs = true;
    inbox_init(&t->inbox, t->l, options->queue, options->source);
    t->board = (struct trainer_board){
        .board = options->board, .learning = t->l};
    pthread_mutex_init(&t->mutex, NULL);
    pthread_cond_init(&t->reloaded, NULL);
    return t;
}

void trainer_free(struct trainer *t)
{
    if (!t)
        return;
    inbox_release(&t->inbox);
    pthread_cond_destroy(&t->reloaded);
    pthread_mutex_destroy(&t->mutex);
    free(t);
}

/* --- the state ---------------------------------------------------------- */

static bool is_paused(const struct trainer *t)
{
    return t->state == PAUSED_BY_STORE || t->state == PAUSED_BY_GUARD;
}

/* Enters a state, and shows it with its reason. */
static void set_state(struct trainer *t, enum trainer_state state)
{
    struct status_board *board = t->options.board;
    struct source_health health = {.state = SOURCE_RUNNING};
    char text[STATUS_REASON_MAX + 80] = "";
    struct status *s;

    if (t->state >= STOPPING)
        return;
    if (state == LEARNING || state == WAITING || state == PAUSED_BY_SOURCE) {
        source_get_health(t->options.source, &health);
        if (health.state == SOURCE_STOPPED)
            state = PAUSED_BY_SOURCE;
        else if (state == PAUSED_BY_SOURCE)
            state = WAITING;
    }
    t->state = state;
    switch (state) {
    case LEARNING:
    case WAITING:
        s = status_lock(board);
        if (s->publish.refused_in_a_row > 0)
            snprintf(text, sizeof text,
                     "version %lld serves; the gate refused version %lld: %s",
                     (long long)s->serving_version,
                     (long long)s->publish.judged_version,
                     s->publish.last_reason);
        status_unlock(board);
        if (state == WAITING && health.state == SOURCE_RETRYING)
            snprintf(text, sizeof text, "%s", health.reason);
        status_set_state(board,
                         state == LEARNING ? STATUS_LEARNING : STATUS_WAITING,
                         text[0] ? text : NULL);
        break;
    case PAUSED_BY_SOURCE:
        status_set_state(board, STATUS_PAUSED, health.reason);
        break;
    case PAUSED_BY_STORE:
        status_set_state(board, STATUS_PAUSED,
                         "the disk is full, or too many files are open: "
                         "learning goes on when there is room");
        break;
    case PAUSED_BY_GUARD:
        status_set_state(board, STATUS_PAUSED, t->pause_reason);
        break;
    case ROLLING_BACK:
        status_set_state(board, STATUS_ROLLING_BACK, NULL);
        break;
    case STOPPING:
        status_set_state(board, STATUS_STOPPING, NULL);
        break;
    case STARTING:
    case FAILED: /* main shows that the process stops */
        break;
    }
}

/* The process has to end. */
static void fail(struct trainer *t, const struct err *err)
{
    log_error("trainer", "%s", err->msg);
    t->options.on_fatal(err, t->options.arg);
    set_state(t, FAILED);
}

/* --- versions ----------------------------------------------------------- */

/* Submits a snapshot of the live version. The publisher must not be busy. */
static void submit(struct trainer *t)
{
    int64_t started = timing_mono_ns(), cpu_ns = timing_thread_cpu_ns();
    struct snapshot *snapshot = learning_snapshot(t->l);

    snapshot->cpu_ns = timing_thread_cpu_ns() - cpu_ns;
    t->published_ms = timing_mono_ms();
    t->published_tokens = t->l->progress.tokens_seen;
    t->without_step = t->published_step == learner_steps(t->l->learner);
    t->published_step = learner_steps(t->l->learner);
    status_lock(t->options.board)->publish.last_stop_seconds =
        timing_seconds_since(started);
    status_unlock(t->options.board);
    publisher_submit(t->options.publisher, snapshot);
}

/* Collects the outcome of the last submit, if known. Returns its error. */
static int collect(struct trainer *t)
{
    struct snapshot *s = NULL;
    struct err err = ERR_INIT;
    int64_t version;

    if (!publisher_collect(t->options.publisher, &s, &version, &err))
        return 0;
    if (err.code == ERR_OK) {
        snapshot_stored(s, t->l->replay, t->l->holdout);
        t->l->mixed_settings = false;
        if (t->state == PAUSED_BY_STORE)
            log_info("resume", "reason=\"a version was written\"");
    } else {
        snapshot_not_stored(s, t->l->replay, t->l->holdout, &t->l->progress);
        t->l->anchor_generation = 0;
        t->published_step = -1;
        t->retry_ms = timing_mono_ms() + RETRY_MS;
    }
    if (err.code == ERR_FULL && t->state != PAUSED_BY_GUARD)
        set_state(t, PAUSED_BY_STORE);
    else if (err.code != ERR_FULL && t->state == PAUSED_BY_STORE)
        set_state(t, LEARNING);
    return err.code;
}

/* Waits until the publisher is not busy. Returns the last submit's error. */
static int drain_publisher(struct trainer *t)
{
    publisher_wait(t->options.publisher);
    return collect(t);
}

/* Publishes all decided records, and returns the error of that version. It is
 * made without a step, too: refused records at the end of a run need one. */
static int publish_all(struct trainer *t)
{
    int rc = drain_publisher(t);

    if (learner_steps(t->l->learner) == t->published_step &&
        !t->l->progress.n_ledger)
        return rc;
    submit(t);
    return drain_publisher(t);
}

/* Returns true when a version is due. If not, *w tells what it waits for. */
static bool version_due(struct trainer *t, struct pace_wait *w)
{
    struct pace_input in = {
        .now_ms = timing_mono_ms(),
        .published_ms = t->published_ms,
        .record_ms = t->inbox.record_ms,
        .tokens = t->l->progress.tokens_seen - t->published_tokens,
        .has_step = learner_steps(t->l->learner) != t->published_step,
        .is_untrained = t->published_step == 0,
        .has_refused = t->l->progress.n_quarantine > 0,
        .last_only_refused = t->without_step,
        .has_more = inbox_has_records(&t->inbox) ||
                    intake_tokens(t->l->intake) > 0,
    };
    struct status *s;

    if (publisher_busy(t->options.publisher)) {
        *w = (struct pace_wait){
            "the last version to be written and judged", 0};
        return false;
    }
    if (in.has_step && t->state == PAUSED_BY_STORE) {
        *w = (struct pace_wait){"room on the disk", t->retry_ms};
        return in.now_ms >= t->retry_ms;
    }
    s = status_lock(t->options.board);
    in.cpu_seconds = s->publish.last_cpu_seconds;
    s->publish.interval_seconds =
        pace_interval_seconds(t->options.conf, in.cpu_seconds);
    status_unlock(t->options.board);
    return (in.has_step && replay_staged_bytes(t->l->replay) > STAGED_LIMIT) ||
           pace_due(&t->pace, t->options.conf, &in, w);
}

/* --- rollbacks and the guard -------------------------------------------- */

/* Ends the pause after an operator rolled back or chose the serving version. */
static void resume_by_operator(struct trainer *t, const char *action)
{
    log_info("guard", "action=resume reason=\"%s\"", action);
    set_state(t, LEARNING);
}

/* Rolls back. The caller has filled in version, skip, keep_serving, automatic
 * and reason. */
static int roll_back(struct trainer *t, struct rewind_request *request,
                     char *detail, size_t size, struct err *err)
{
    enum trainer_state before;
    bool for_good = false;
    int rc;

    request->learning = t->l;
    request->source = t->options.source;
    request->publisher = t->options.publisher;
    request->epoch = &t->inbox.epoch;
    status_set_state(t->options.board, STATUS_ROLLING_BACK, NULL);
    drain_publisher(t); /* may enter PAUSED_BY_STORE */
    before = t->state;
    set_state(t, ROLLING_BACK);
    rc = rewind_run(request, detail, size, &for_good, err);
    if (rc) {
        set_state(t, before);
        return rc;
    }
    log_info("rollback", "version=%lld automatic=%s %s",
             (long long)request->version,
             request->automatic ? "true" : "false", detail);
    if (for_good)
        log_error("guard",
                  "version=%lld action=skip_for_good reason=\"the records "
                  "were released from quarantine, and a second automatic "
                  "rollback undid them: they are never learned\"",
                  (long long)request->version);
    inbox_rolled_back(&t->inbox, request->skip);
    t->published_step = learner_steps(t->l->learner);
    t->published_tokens = t->l->progress.tokens_seen;
    t->published_ms = timing_mono_ms();
    trainer_board_start_rates(&t->board);
    trainer_board_show_step(&t->board, NULL);
    if (before == PAUSED_BY_GUARD)
        resume_by_operator(t, "an operator rolled back");
    else
        set_state(t, LEARNING);
    return 0;
}

/* Runs on the publisher's thread, which also carries out operators' choices. So
 * a choice comes before the pause, or comes after it and ends the pause. */
static int write_guard_pause(struct store *s, void *arg, struct err *err)
{
    struct trainer *t = arg;

    t->choices_at_pause = publisher_choices(t->options.publisher);
    return store_pause(s, t->pause_reason, err);
}

/* Pauses learning. The steps since the last version are not published. */
static void pause_by_guard(struct trainer *t, const char *reason,
                           const char *cause)
{
    struct guard_request dropped;
    struct err err = ERR_INIT;
    int rc;

    snprintf(t->pause_reason, sizeof t->pause_reason,
             "learning is paused: %.80s; `mneme rollback` or `mneme promote` "
             "resumes it",
             reason);
    log_error("guard", "action=hold reason=\"%s\" cause=\"%s\"",
              t->pause_reason, cause);
    rc = publisher_run(t->options.publisher, write_guard_pause, t, &err);
    if (rc == ERR_FULL)
        log_error("guard",
                  "reason=\"the pause could not be written, so a restart would "
                  "end it: %s\"",
                  err.msg);
    else if (rc)
        fail(t, &err);
    publisher_take_request(t->options.publisher, &dropped);
    set_state(t, PAUSED_BY_GUARD);
}

/* Enters PAUSED_BY_GUARD again when the last process ended in it. */
static int restore_guard_pause(struct trainer *t, struct err *err)
{
    struct catalog_pause hold = {0};
    /* Counted before the log is read: a choice in between ends the pause. */
    int64_t choices = publisher_choices(t->options.publisher);
    int rc = catalog_pause(t->options.catalog, &hold, err);

    if (rc == 0 && hold.version && !hold.ended) {
        t->choices_at_pause = choices;
        snprintf(t->pause_reason, sizeof t->pause_reason, "%s", hold.reason);
        log_error("guard", "action=hold version=%lld reason=\"%s\"",
                  (long long)hold.version, t->pause_reason);
        set_state(t, PAUSED_BY_GUARD);
    }
    free(hold.reason);
    return rc;
}

/* Rolls back to the version by itself, and skips all later records. The version
 * also serves, unless keep_serving is set or the serving version is pinned.
 * After GUARD_MOST automatic rollbacks in an hour, learning pauses instead. */
static void auto_roll_back(struct trainer *t, int64_t version,
                           bool keep_serving, const char *reason)
{
    struct rewind_request request = {.version = version,
                                     .skip = true,
                                     .keep_serving = keep_serving,
                                     .automatic = true,
                                     .reason = reason};
    struct catalog_pointers pointers;
    struct err err = ERR_INIT;
    int64_t at_ms[GUARD_MOST];
    char detail[512];
    size_t n = 0;
    int rc;

    pulse_beat(PULSE_TRAINER, PULSE_TASK_MS);
    rc = catalog_pointers(t->options.catalog, &pointers, &err);
    if (rc == 0)
        rc = catalog_auto_rollbacks(t->options.catalog, GUARD_MOST, at_ms, &n,
                                    &err);
    if (rc == 0 && !guard_allow(at_ms, n, timing_wall_ms())) {
        pause_by_guard(t, "three automatic rollbacks in an hour", reason);
        return;
    }
    log_warn("guard", "version=%lld action=rollback reason=\"%s\"",
             (long long)version, reason);
    if (rc == 0) {
        request.keep_serving |= pointers.serving_pinned;
        rc = roll_back(t, &request, detail, sizeof detail, &err);
    }
    if (rc == ERR_NOTFOUND || rc == ERR_STATE || rc == ERR_CORRUPT)
        pause_by_guard(t, "an automatic rollback failed", err.msg);
    else if (rc)
        fail(t, &err);
}

/* Carries out the guard's request: rolls back, or pauses. False: no request. */
static bool follow_guard(struct trainer *t)
{
    struct guard_request request;

    if (t->state == PAUSED_BY_GUARD ||
        !publisher_take_request(t->options.publisher, &request))
        return false;
    auto_roll_back(t, request.version, false, request.reason);
    return true;
}

/* --- operations and new settings ---------------------------------------- */

static int forget(struct trainer *t, const struct control_operation *op,
                  char *detail, size_t size, struct err *err)
{
    struct forget_request request = {
        .learning = t->l,
        .source = t->options.source,
        .publisher = t->options.publisher,
        .kind = op->kind == CONTROL_FORGET_ID ? TOMBSTONES_ID
                                              : TOMBSTONES_DOMAIN,
        .name = op->reason,
        .next_release = inbox_next_release(&t->inbox),
    };
    json_t *result = NULL;
    char *text;
    int rc = publish_all(t);

    if (rc)
        return err_set(err, rc == ERR_FULL ? ERR_FULL : ERR_IO,
                       "no version can be written%s, and forgetting needs "
                       "one; nothing has changed",
                       rc == ERR_FULL ? ": the disk is full" : "");
    rc = forget_run(&request, detail, size, &result, err);
    if (rc)
        return rc;
    text = json_dumps(result, JSON_COMPACT);
    control_set_result(t->options.control, op->id, text);
    free(text);
    json_decref(result);
    trainer_board_show(&t->board, true);
    return 0;
}

/* Carries out the tombstones among n records, which are not decided yet. Later
 * ones may be carried out with the first one: a tombstone covers only the
 * records before it, and those between are skipped when they are decided. */
static int forget_tombstones(struct trainer *t, struct record **records,
                             size_t n, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; i < n && rc == 0; i++) {
        struct record *rec = records[i];
        struct forget_request request = {
            .learning = t->l,
            .source = t->options.source,
            .publisher = t->options.publisher,
            .kind = TOMBSTONES_ID,
            .name = rec->forgets,
            .next_release = inbox_next_release(&t->inbox),
            .tombstone = rec,
        };
        json_t *result = NULL;
        char detail[512];

        if (!rec->forgets || rec->has_forgotten || rec->epoch != t->inbox.epoch)
            continue;
        rc = forget_run(&request, detail, sizeof detail, &result, err);
        rec->has_forgotten = rc == 0;
        json_decref(result);
    }
    return rc;
}

/* The stream has come to a tombstone. As for an operator's request, nothing may
 * be staged, so a version is made first, whatever publish.every_* says. A kill
 * before the next version reads the tombstone again. */
static void meet_tombstone(struct trainer *t)
{
    struct err err = ERR_INIT;
    struct record **records;
    size_t n;
    int rc = publish_all(t);

    if (rc || is_paused(t))
        return; /* it is met again */
    records = inbox_ahead(&t->inbox, &n);
    rc = forget_tombstones(t, records, n, &err);
    if (rc == ERR_FULL) {
        log_warn("forget", "error=\"%s\"", err.msg);
        /* The version after the pause shows that there is room again. */
        t->published_step = -1;
        t->retry_ms = timing_mono_ms() + RETRY_MS;
        set_state(t, PAUSED_BY_STORE);
    } else if (rc) {
        fail(t, &err);
    }
    trainer_board_show(&t->board, true);
}

static void run_operations(struct trainer *t)
{
    struct control_operation op;

    while (control_take(t->options.control, true, &op)) {
        bool forgets = op.kind == CONTROL_FORGET_ID ||
                       op.kind == CONTROL_FORGET_DOMAIN;
        struct rewind_request request = {
            .version = op.version,
            .skip = op.kind == CONTROL_ROLLBACK_SKIP,
            .reason = op.reason[0] ? op.reason : "an operator's request",
        };
        struct err err = ERR_INIT;
        char detail[sizeof op.detail] = "";
        int rc;

        pulse_beat(PULSE_TRAINER, PULSE_TASK_MS);
        rc = forgets ? forget(t, &op, detail, sizeof detail, &err)
                     : roll_back(t, &request, detail, sizeof detail, &err);

        if (rc)
            log_warn(forgets ? "forget" : "rollback",
                     "version=%lld error=\"%s\"", (long long)op.version,
                     err.msg);
        if (rc && !forgets)
            publisher_serve_as_stored(t->options.publisher, op.id);
        control_finish(t->options.control, op.id, rc ? &err : NULL, detail);
        if (rc == ERR_DIVERGED)
            fail(t, &err);
    }
}

/* A version stores the settings of its steps. So the steps that were made with
 * the old settings are published before the settings change. */
static void apply_reload(struct trainer *t)
{
    pthread_mutex_lock(&t->mutex);
    if (t->next) {
        struct learner *learner = t->l->learner;

        if (learner && t->state != PAUSED_BY_STORE)
            publish_all(t);
        publisher_wait(t->options.publisher);
        t->l->mixed_settings =
            learner && t->published_step != learner_steps(learner);
        conf_reload_apply(t->now, t->next);
        if (learner) {
            learner_set_rate(learner,
                             options_rate(t->now, learning_shape(t->l)));
            learner_set_lambda(learner, (float)t->now->learner.ewc.lambda);
        }
        t->next = NULL;
        pthread_cond_broadcast(&t->reloaded);
    }
    pthread_mutex_unlock(&t->mutex);
}

void trainer_reload(struct trainer *t, struct conf *now,
                    const struct conf *next)
{
    pthread_mutex_lock(&t->mutex);
    t->now = now;
    t->next = next;
    queue_wake(t->options.queue);
    while (t->next && !t->stop_requested)
        pthread_cond_wait(&t->reloaded, &t->mutex);
    t->next = NULL;
    pthread_mutex_unlock(&t->mutex);
}

/* --- learning ----------------------------------------------------------- */

static void show_drift(struct trainer *t)
{
    const struct progress *p = &t->l->progress;

    for (size_t i = 0; i < t->l->n_drifted; i++) {
        const struct progress_drift *d =
            &p->by_domain[t->l->drifted[i]].drifted;

        log_warn("drift",
                 "domain=\"%.100s\" record=%lld bits_per_byte_before=%.4f "
                 "bits_per_byte_after=%.4f",
                 p->domains.items[t->l->drifted[i]], (long long)d->record,
                 d->last.before, d->last.after);
        trainer_board_show_drift(&t->board, t->l->drifted[i]);
    }
}

static void run_step(struct trainer *t)
{
    struct learner_step_output step;
    struct catalog_pointers pointers;
    struct err err = ERR_INIT;
    int64_t damaged_row, started_ns = timing_mono_ns();
    int rc;

    rc = learning_step(t->l, &step, &err);
    histogram_add(&status_lock(t->options.board)->step_seconds,
                  timing_seconds_since(started_ns));
    status_unlock(t->options.board);
    while (replay_next_damaged(t->l->replay, &damaged_row))
        log_warn("replay", "row=%lld damaged=true", (long long)damaged_row);
    if (rc == 0) {
        trainer_board_show_step(&t->board, &step);
        show_drift(t);
        if (step.skipped)
            log_warn("step", "step=%lld skipped=true grad_norm=%g",
                     (long long)learner_steps(t->l->learner),
                     step.grad_norm);
        if (step.consolidated)
            log_info("consolidation", "step=%lld count=%lld penalty=%g",
                     (long long)learner_steps(t->l->learner),
                     (long long)learner_ewc(t->l->learner)->consolidations,
                     step.ewc_penalty);
        set_state(t, LEARNING);
        return;
    }
    if (rc != ERR_DIVERGED) {
        fail(t, &err);
        return;
    }
    log_error("diverged", "%s", err.msg);
    if (!t->options.conf->publish.auto_rollback) {
        fail(t, &err);
        return;
    }
    drain_publisher(t);
    rc = catalog_pointers(t->options.catalog, &pointers, &err);
    if (rc)
        fail(t, &err);
    else /* the gate may have refused the head version: it must not serve */
        auto_roll_back(t, pointers.head, true, err.msg);
}

/* Publishes a last version after the source has ended. With at_end: exit, then
 * tells the daemon to end. */
static void announce_end(struct trainer *t)
{
    struct source_health health;
    struct err err = ERR_INIT;
    bool stopped;

    if (publish_all(t) != 0 || follow_guard(t))
        return;
    stopped = inbox_has_stopped(&t->inbox, &health);
    if (t->inbox.end_is_new || stopped)
        refusals_end(&t->l->refusals, timing_mono_ms());
    t->inbox.end_is_new = false;
    if (t->options.conf->source.at_end != CONF_AT_END_EXIT)
        return;
    if (stopped) {
        err_set(&err, ERR_STATE, "%s", health.reason);
        t->options.on_fatal(&err, t->options.arg);
    } else {
        t->options.on_end(t->options.arg);
    }
    set_state(t, STOPPING);
}

/* Makes a step when a batch is full, or when it is part-filled and the source
 * pauses or has ended. Otherwise gives records to intake. */
static void learn(struct trainer *t)
{
    double flush = t->options.conf->learner.flush_seconds;
    struct source_health health;
    struct err err = ERR_INIT;
    int64_t idle_ms;
    bool added;

    if (replay_staged_bytes(t->l->replay) > (int64_t)OPTIONS_STAGED_BYTES) {
        drain_publisher(t); /* publishing empties the stage */
        if (is_paused(t))
            return;
    }
    learning_set_pressure(t->l, queue_fill(t->options.queue));
    if (learning_ready(t->l)) {
        run_step(t);
        return;
    }
    t->inbox.check_releases |= publisher_released(t->options.publisher);
    if (inbox_fill(&t->inbox, &added, &err) != 0) {
        fail(t, &err);
        return;
    }
    if (t->inbox.meets_tombstone) {
        meet_tombstone(t);
        return;
    }
    if (added || inbox_has_records(&t->inbox))
        return;
    t->inbox.ended |= inbox_has_stopped(&t->inbox, &health);
    idle_ms = timing_mono_ms() - t->inbox.record_ms;
    if (intake_tokens(t->l->intake) == 0) {
        if (t->inbox.ended)
            announce_end(t);
    } else if (t->inbox.ended ||
               (flush > 0 && (double)idle_ms / 1000 >= flush)) {
        t->l->progress.flushes += !t->inbox.ended;
        run_step(t);
    }
    if (idle_ms > 1000 && !is_paused(t)) {
        set_state(t, WAITING);
        refusals_log(&t->l->refusals, false, timing_mono_ms());
    }
    trainer_board_show(&t->board, false);
}

int64_t trainer_turn(struct trainer *t)
{
    struct pace_wait wait = {"an operator: learning is paused", 0};
    bool due;

    if (t->stop_requested || t->state >= STOPPING)
        return -1;
    pulse_beat(PULSE_TRAINER, PULSE_STEP_MS);
    collect(t);
    apply_reload(t);
    run_operations(t);
    if (t->state == PAUSED_BY_GUARD &&
        publisher_choices(t->options.publisher) != t->choices_at_pause)
        resume_by_operator(t, "an operator chose the serving version");
    due = t->state != PAUSED_BY_GUARD && version_due(t, &wait);
    trainer_board_show_wait(&t->board, due ? NULL : &wait);
    if (follow_guard(t))
        return 0;
    if (due)
        submit(t);
    if (is_paused(t))
        return POLL_MS;
    learn(t);
    return 0;
}

/* --- the beginning and the end ------------------------------------------ */

/* Collects records until their text suffices. Stops before that when the source
 * ends, or pauses after the first text. */
static void collect_text(struct trainer *t, struct vocabulary *v)
{
    const struct conf *conf = t->options.conf;
    int64_t pause_ms = (int64_t)(1000 * conf->model.tokenizer_wait_seconds);
    struct source_health health;
    bool enough = false;

    while (!enough && !t->stop_requested) {
        struct record *rec = inbox_next(&t->inbox, POLL_MS);
        struct status *s;

        pulse_beat(PULSE_TRAINER, PULSE_STEP_MS);
        apply_reload(t);
        s = status_lock(t->options.board);
        s->vocabulary_bytes = (int64_t)v->text.len;
        s->vocabulary_wanted = conf->model.tokenizer_bytes;
        status_unlock(t->options.board);
        status_set_state(t->options.board, STATUS_STARTING,
                         "collecting text for the vocabulary");
        if (rec) {
            refusals_preview(&t->l->refusals, rec);
            enough = vocabulary_add(v, rec);
            continue;
        }
        t->inbox.ended |= inbox_has_stopped(&t->inbox, &health);
        if (t->inbox.ended)
            refusals_preview(&t->l->refusals, NULL);
        if (v->text.len == 0)
            enough = t->inbox.ended &&
                     conf->source.at_end == CONF_AT_END_EXIT;
        else
            enough = t->inbox.ended ||
                     timing_mono_ms() - t->inbox.record_ms >= pause_ms;
    }
}

/* Learns the vocabulary, publishes the untrained model, and gives intake the
 * records that the vocabulary came from. */
static int begin_with_vocabulary(struct trainer *t, struct err *err)
{
    struct source_health health;
    struct tokenizer *tokenizer = NULL;
    struct vocabulary v;
    struct record **records;
    size_t n;
    int rc = 0;

    vocabulary_init(&v, t->options.conf);
    collect_text(t, &v);
    if (!t->stop_requested)
        rc = vocabulary_learn(&v, &tokenizer, err);
    if (rc && inbox_has_stopped(&t->inbox, &health)) /* why there is no text */
        rc = err_set(err, ERR_STATE, "%s", health.reason);
    if (rc || !tokenizer)
        goto out;
    log_info("vocabulary", "size=%d bytes=%zu records=%zu",
             tokenizer_vocab_size(tokenizer), v.text.len, v.n);
    rc = learning_prepare(t->l, tokenizer, err);
    if (rc)
        goto out;
    serving_prepare(t->options.serving, learning_shape(t->l),
                    t->l->tokenizer);
    publisher_prepare(t->options.publisher, learning_shape(t->l),
                      t->l->tokenizer);
    records = vocabulary_take(&v, &n);
    for (size_t i = 0; i < n; i++)
        progress_begin(&t->l->progress, records[i]->topic,
                       records[i]->partition, records[i]->offset);
    submit(t);
    drain_publisher(t);
    while ((rc = forget_tombstones(t, records, n, err)) == ERR_FULL &&
           !t->stop_requested) {
        log_warn("forget", "error=\"%s\"", err->msg);
        status_set_state(t->options.board, STATUS_PAUSED, "the disk is full");
        pulse_beat(PULSE_TRAINER, PULSE_STEP_MS);
        timing_sleep_ms(RETRY_MS / 5);
    }
    for (size_t i = 0; i < n; i++) {
        if (rc == 0)
            rc = inbox_add(&t->inbox, records[i], err);
        else
            record_free(records[i]);
    }
    free(records);
out:
    vocabulary_release(&v);
    return rc;
}

void trainer_begin(struct trainer *t)
{
    struct catalog_pointers pointers;
    struct err err = ERR_INIT;
    int rc = catalog_pointers(t->options.catalog, &pointers, &err);

    t->inbox.record_ms = t->published_ms = timing_mono_ms();
    pace_start(&t->pace, t->inbox.record_ms);
    trainer_board_start_rates(&t->board);
    t->published_step = -1;
    t->published_tokens = t->l->progress.tokens_seen;
    if (rc == 0 && !t->l->learner) {
        rc = begin_with_vocabulary(t, &err);
    } else if (rc == 0 && pointers.head == 0) {
        submit(t);
        drain_publisher(t);
    } else if (rc == 0) {
        t->published_step = learner_steps(t->l->learner);
        rc = restore_guard_pause(t, &err);
    }
    if (rc)
        fail(t, &err);
    if (!is_paused(t))
        set_state(t, WAITING);
}

/* After an open request of the guard no version is published: the next process
 * rolls back. */
void trainer_end(struct trainer *t)
{
    bool publishes = t->l->learner && !is_paused(t) && t->state != FAILED;
    struct guard_request open;

    set_state(t, STOPPING);
    if (publishes) {
        drain_publisher(t);
        if (!publisher_take_request(t->options.publisher, &open))
            publish_all(t);
        trainer_board_show(&t->board, true);
    }
    refusals_log(&t->l->refusals, true, timing_mono_ms());
    pthread_mutex_lock(&t->mutex);
    t->stop_requested = true; /* trainer_reload does not wait any more */
    pthread_cond_broadcast(&t->reloaded);
    pthread_mutex_unlock(&t->mutex);
}

static void *run(void *arg)
{
    struct trainer *t = arg;
    int64_t wait_ms;

    pthread_setname_np(pthread_self(), "trainer");
    priority_lower();
    trainer_begin(t);
    while ((wait_ms = trainer_turn(t)) >= 0)
        timing_sleep_ms(wait_ms);
    trainer_end(t);
    pulse_rest(PULSE_TRAINER);
    return NULL;
}

void trainer_start(struct trainer *t)
{
    if (pthread_create(&t->thread, NULL, run, t) != 0)
        BUG("cannot start the trainer's thread");
    t->started = true;
}

void trainer_stop(struct trainer *t)
{
    if (!t->started)
        return;
    t->stop_requested = true;
    queue_wake(t->options.queue);
    pthread_join(t->thread, NULL);
    t->started = false;
}
