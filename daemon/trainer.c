/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop is in learn(): whatever asks for attention first (outcomes of the
 * publisher, operations), then a step when a batch is full, else the next
 * record, else - after a pause of flush_seconds - a step on what there is.
 */
#include "config.h"

#include "daemon/trainer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/forget.h"
#include "daemon/guard.h"
#include "daemon/options.h"
#include "daemon/release.h"
#include "daemon/rewind.h"
#include "daemon/vocabulary.h"

#define POLL_MS 100
#define SHOW_MS 200
#define RETRY_MS 5000                      /* a full disk */
#define STAGED_LIMIT ((int64_t)256 << 20)  /* makes a version */
#ifndef PUBLISH_SHARE /* bench/clean_stream.py wants more */
#define PUBLISH_SHARE 0.05                 /* of the time, at most */
#endif
#define TAKEN_MAX 64                       /* records, with one lock */

struct trainer {
    struct trainer_options options;
    struct learning *l;
    pthread_t thread;
    bool started;
    atomic_bool stopping;
    pthread_mutex_t mutex; /* guards the three below */
    pthread_cond_t reloaded;
    struct conf *now;
    const struct conf *next; /* NULL: nothing to reload */
    int64_t epoch;
    bool ended;           /* the source has no more, for now */
    bool end_announced;   /* on_end has been called */
    bool failed;          /* on_fatal has been called */
    bool held;            /* the disk is full */
    struct guard_limit limit; /* of rollbacks by itself */
    bool parked;          /* it is reached: learning holds */
    int64_t parked_choices;
    char parked_reason[256];
    int64_t retry_ms;     /* when to try again */
    int64_t last_record_ms;
    struct record *taken[TAKEN_MAX]; /* from the queue, not looked at yet */
    size_t n_taken, next_taken;
    int64_t last_publish_ms, published_tokens, published_step;
    int64_t show_ms, rate_ms, rate_tokens, rate_records;
    struct record_maker maker; /* of released records */
    int64_t next_release;      /* -1: where the position of releases is */
    bool look_for_releases;
};

struct trainer *trainer_create(const struct trainer_options *options)
{
    struct trainer *t = xcalloc(1, sizeof *t);

    t->options = *options;
    t->l = options->learning;
    record_maker_init(&t->maker,
                      options->conf->model.preset == CONF_PRESET_LINEAR);
    t->next_release = -1;
    t->look_for_releases = true; /* some may not be in a version yet */
    pthread_mutex_init(&t->mutex, NULL);
    pthread_cond_init(&t->reloaded, NULL);
    return t;
}

void trainer_free(struct trainer *t)
{
    if (!t)
        return;
    while (t->next_taken < t->n_taken)
        record_free(t->taken[t->next_taken++]);
    record_maker_release(&t->maker);
    pthread_cond_destroy(&t->reloaded);
    pthread_mutex_destroy(&t->mutex);
    free(t);
}

static void fatal(struct trainer *t, const struct err *err)
{
    log_error("trainer", "%s", err->msg);
    t->options.on_fatal(err, t->options.arg);
    t->failed = true;
    t->stopping = true;
}

/* --- what is shown ------------------------------------------------------ */

static void show_rates(struct trainer *t, struct status *s, int64_t now)
{
    const struct progress *p = &t->l->progress;
    double seconds = (double)(now - t->rate_ms) / 1000;

    if (seconds < 2)
        return;
    s->tokens_per_second =
        (double)(p->tokens_seen - t->rate_tokens) / seconds;
    s->records_per_second =
        (double)(p->records.consumed - t->rate_records) / seconds;
    if (s->tokens_per_second < 0) /* a rollback */
        s->tokens_per_second = s->records_per_second = 0;
    t->rate_ms = now;
    t->rate_tokens = p->tokens_seen;
    t->rate_records = p->records.consumed;
}

static void show_learner(struct trainer *t, struct status *s)
{
    const struct learning *l = t->l;
    const struct ewc *ewc = learner_ewc(l->learner);

    s->step = learner_steps(l->learner);
    s->replay.records = replay_live(l->replay);
    s->replay.capacity = l->conf->learner.replay.capacity;
    s->replay.bytes = replay_bytes(l->replay);
    s->replay.damaged = replay_damaged(l->replay);
    s->replay.missing =
        replay_missing(l->replay) + replay_missing(l->holdout);
    s->holdout_rows = replay_live(l->holdout);
    s->ewc.consolidations = ewc->consolidations;
    s->ewc.lambda = ewc->options.lambda;
    s->steps_skipped = learner_optim(l->learner)->skipped;
    for (size_t i = 0; i < s->n_domains; i++)
        s->domains[i].replay_rows =
            replay_live_in_domain(l->replay, (int32_t)i);
}

static void show(struct trainer *t, bool now_please)
{
    int64_t now = timing_mono_ms();
    struct status *s;

    if (!now_please && now - t->show_ms < SHOW_MS)
        return;
    t->show_ms = now;
    s = status_lock(t->options.board);
    progress_show(&t->l->progress, s);
    if (t->l->learner)
        show_learner(t, s);
    show_rates(t, s, now);
    status_unlock(t->options.board);
}

static void show_step(struct trainer *t,
                      const struct learning_step_result *r)
{
    struct status *s = status_lock(t->options.board);

    s->ewc.penalty = r->step.ewc_penalty;
    s->ewc.share = r->step.ewc_share;
    s->grad_norm = r->step.grad_norm;
    s->rate = r->step.rate;
    status_unlock(t->options.board);
    show(t, false);
}

/* After an inconclusive verdict, or NULL. */
static const char *what_the_gate_waits_for(struct trainer *t, char *text,
                                           size_t size)
{
    struct status *s = status_lock(t->options.board);

    text[0] = '\0';
    if (s->publish.waits_for[0])
        snprintf(text, size, "version %lld serves; the gate waits for %.180s",
                 (long long)s->serving_version, s->publish.waits_for);
    status_unlock(t->options.board);
    return text[0] ? text : NULL;
}

/* learning, waiting, or why not. */
static void show_state(struct trainer *t, bool learning)
{
    struct source_health health;
    char text[256];

    if (t->held) {
        status_set_state(t->options.board, STATUS_PAUSED,
                         "the disk is full: learning goes on when there is "
                         "room");
        return;
    }
    if (t->parked) {
        status_set_state(t->options.board, STATUS_PAUSED, t->parked_reason);
        return;
    }
    source_get_health(t->options.source, &health);
    if (health.state == SOURCE_STOPPED)
        status_set_state(t->options.board, STATUS_PAUSED, health.reason);
    else
        status_set_state(t->options.board,
                         learning ? STATUS_LEARNING : STATUS_WAITING,
                         health.state == SOURCE_RETRYING && !learning
                             ? health.reason
                             : what_the_gate_waits_for(t, text, sizeof text));
}

/* --- versions ----------------------------------------------------------- */

static void submit(struct trainer *t)
{
    int64_t started = timing_mono_ns();
    struct snapshot *snapshot = learning_snapshot(t->l);
    struct status *s;

    t->last_publish_ms = timing_mono_ms();
    t->published_tokens = t->l->progress.tokens_seen;
    t->published_step = learner_steps(t->l->learner);
    s = status_lock(t->options.board);
    s->publish.last_stop_seconds = timing_seconds_since(started);
    status_unlock(t->options.board);
    publisher_submit(t->options.publisher, snapshot);
}

/* The outcome of the last submit, when there is one. */
static void collect(struct trainer *t)
{
    struct snapshot *s = NULL;
    struct err err = ERR_INIT;
    int64_t version;

    if (!publisher_collect(t->options.publisher, &s, &version, &err))
        return;
    if (err.code == ERR_OK) {
        snapshot_stored(s, t->l->replay, t->l->holdout);
        t->l->mixed_settings = false;
        if (t->held)
            log_info("resume", "reason=\"there is room on the disk\"");
        t->held = false;
        return;
    }
    snapshot_not_stored(s, t->l->replay, t->l->holdout, &t->l->progress);
    t->l->anchor_generation = 0;
    t->published_step = -1;
    t->held = err.code == ERR_FULL;
    t->retry_ms = timing_mono_ms() + RETRY_MS;
}

/* Publishing may take only so much of the time: seconds there must be between
 * two versions, after how long the last one took. Shown as a metric. */
static double least_interval(struct trainer *t)
{
    struct status *s = status_lock(t->options.board);
    double asked = t->options.conf->publish.every_seconds;
    double least = s->publish.last_seconds / PUBLISH_SHARE;

    s->publish.interval_seconds = asked > least ? asked : least;
    status_unlock(t->options.board);
    return least;
}

static bool version_due(struct trainer *t)
{
    const struct conf_publish *c = &t->options.conf->publish;
    int64_t tokens = t->l->progress.tokens_seen - t->published_tokens;
    int64_t now = timing_mono_ms();
    double seconds = (double)(now - t->last_publish_ms) / 1000;

    if (learner_steps(t->l->learner) == t->published_step ||
        publisher_busy(t->options.publisher))
        return false;
    if (t->held)
        return now >= t->retry_ms;
    if (replay_staged_bytes(t->l->replay) > STAGED_LIMIT)
        return true;
    return seconds >= least_interval(t) &&
           ((c->every_seconds > 0 && seconds >= c->every_seconds) ||
            (c->every_tokens > 0 && tokens >= c->every_tokens));
}

/* Waits until nothing is on its way, and takes the outcome. */
static void drain_publisher(struct trainer *t)
{
    publisher_wait(t->options.publisher);
    collect(t);
}

static void publish_now(struct trainer *t)
{
    drain_publisher(t);
    if (learner_steps(t->l->learner) != t->published_step) {
        submit(t);
        drain_publisher(t);
    }
}

/* --- rollback ----------------------------------------------------------- */

/* A range that an operator had released did it again. */
static void say_for_good(const struct rewind_request *request)
{
    log_error("guard",
              "version=%lld action=skip_for_good reason=\"the range had been "
              "released from quarantine, and the daemon went back over it "
              "again: it is never learned\"",
              (long long)request->version);
}

/* *request: what is to be done; the parts it needs are filled in here. */
static int roll_back(struct trainer *t, struct rewind_request *request,
                     char *detail, size_t size, struct err *err)
{
    bool for_good = false;
    int rc;

    request->learning = t->l;
    request->source = t->options.source;
    request->publisher = t->options.publisher;
    request->epoch = &t->epoch;
    status_set_state(t->options.board, STATUS_ROLLING_BACK, NULL);
    drain_publisher(t);
    rc = rewind_run(request, detail, size, &for_good, err);
    if (rc == 0) {
        log_info("rollback", "version=%lld automatic=%s %s",
                 (long long)request->version,
                 request->automatic ? "true" : "false", detail);
        if (for_good)
            say_for_good(request);
        t->ended = t->ended && request->skip;
        t->held = false; /* what could not be written is undone */
        t->next_release = request->skip ? t->next_release : -1;
        t->look_for_releases = true;
        t->published_step = learner_steps(t->l->learner);
        t->published_tokens = t->l->progress.tokens_seen;
        t->rate_tokens = t->published_tokens;
        t->rate_records = t->l->progress.records.consumed;
        t->last_publish_ms = timing_mono_ms();
    }
    show(t, true);
    return rc;
}

/* Learning holds until somebody looks: what was consumed stays consumed, and
 * what was learned since the last version is in memory only. */
static void park(struct trainer *t, const char *what, const char *why)
{
    t->parked = true;
    t->parked_choices = publisher_choices(t->options.publisher);
    snprintf(t->parked_reason, sizeof t->parked_reason,
             "learning holds, because %.80s; `mneme rollback`, `mneme promote` "
             "or a restart lets it go on",
             what);
    log_error("guard", "action=hold reason=\"%s\" cause=\"%s\"",
              t->parked_reason, why);
    show_state(t, false);
}

/* An operator has done something about it. */
static void unpark(struct trainer *t, const char *what)
{
    if (!t->parked)
        return;
    t->parked = false;
    t->limit = (struct guard_limit){0};
    log_info("guard", "action=resume reason=\"%s\"", what);
}

static void look_for_choice(struct trainer *t)
{
    if (t->parked &&
        publisher_choices(t->options.publisher) != t->parked_choices)
        unpark(t, "what serves was chosen");
}

/* Where the stream of releases goes on. */
static int64_t next_release(struct trainer *t)
{
    if (t->next_release < 0)
        t->next_release =
            progress_next_offset(&t->l->progress, RELEASES_TOPIC, 0);
    return t->next_release;
}

/* A version with everything that has been decided, also without a step. */
static int publish_all(struct trainer *t, struct err *err)
{
    drain_publisher(t);
    if (learner_steps(t->l->learner) != t->published_step ||
        t->l->progress.n_ledger) {
        submit(t);
        drain_publisher(t);
    }
    if (learner_steps(t->l->learner) == t->published_step)
        return 0;
    return err_set(err, t->held ? ERR_FULL : ERR_IO,
                   "no version can be written%s, so that nothing can be "
                   "forgotten; nothing has changed",
                   t->held ? ": the disk is full" : "");
}

static int forget(struct trainer *t, const struct control_operation *op,
                  char *detail, size_t size, struct err *err)
{
    const struct forget_request request = {
        .learning = t->l,
        .source = t->options.source,
        .publisher = t->options.publisher,
        .kind = op->kind == CONTROL_FORGET_ID ? TOMBSTONES_ID
                                              : TOMBSTONES_DOMAIN,
        .name = op->reason,
        .next_release = next_release(t),
    };
    json_t *result = NULL;
    char *text;
    int rc = publish_all(t, err);

    if (rc == 0)
        rc = forget_run(&request, detail, size, &result, err);
    if (rc)
        return rc;
    text = json_dumps(result, JSON_COMPACT);
    control_set_result(t->options.control, op->id, text);
    free(text);
    json_decref(result);
    show(t, true);
    return 0;
}

static int roll_back_to(struct trainer *t, const struct control_operation *op,
                        char *detail, size_t size, struct err *err)
{
    struct rewind_request request = {
        .version = op->version,
        .skip = op->kind == CONTROL_ROLLBACK_SKIP,
        .reason = op->reason[0] ? op->reason : "asked for",
    };

    return roll_back(t, &request, detail, size, err);
}

static void run_operations(struct trainer *t)
{
    struct control_operation op;

    while (control_take(t->options.control, true, &op)) {
        bool forgets = op.kind == CONTROL_FORGET_ID ||
                       op.kind == CONTROL_FORGET_DOMAIN;
        struct err err = ERR_INIT;
        char detail[sizeof op.detail] = "";
        int rc = forgets ? forget(t, &op, detail, sizeof detail, &err)
                         : roll_back_to(t, &op, detail, sizeof detail, &err);

        if (rc)
            log_warn(forgets ? "forget" : "rollback",
                     "version=%lld error=\"%s\"", (long long)op.version,
                     err.msg);
        else if (!forgets)
            unpark(t, "rolled back");
        control_finish(t->options.control, op.id, rc ? &err : NULL, detail);
        if (rc == ERR_DIVERGED)
            fatal(t, &err);
    }
}

/* By itself, past what was learned since. Serving goes with it, unless it is
 * pinned, or `keep_serving`. Too often: learning holds where it is. */
static void go_back(struct trainer *t, int64_t version, bool keep_serving,
                    const char *reason)
{
    struct rewind_request request = {.version = version,
                                     .skip = true,
                                     .keep_serving = keep_serving,
                                     .automatic = true,
                                     .reason = reason};
    struct catalog_pointers pointers;
    struct err err = ERR_INIT;
    char detail[512];
    int rc = catalog_pointers(t->options.catalog, &pointers, &err);

    if (rc == 0 && !guard_allow(&t->limit, timing_mono_ms())) {
        park(t, "it went back by itself three times within an hour", reason);
        return;
    }
    log_warn("guard", "version=%lld action=rollback reason=\"%s\"",
             (long long)version, reason);
    request.keep_serving |= pointers.serving_pinned;
    if (rc == 0)
        rc = roll_back(t, &request, detail, sizeof detail, &err);
    if (rc == ERR_NOTFOUND || rc == ERR_STATE || rc == ERR_CORRUPT)
        park(t, "it could not go back by itself", err.msg);
    else if (rc)
        fatal(t, &err);
}

/* Does the guard want to go back? */
static bool heed(struct trainer *t)
{
    struct publisher_wish wish;

    if (t->parked || !publisher_take_wish(t->options.publisher, &wish))
        return false;
    go_back(t, wish.version, false, wish.reason);
    return true;
}

/* Weights that are not finite: learning goes back to the newest version, past
 * what did it. The gate may have refused that version, so what answers stays.
 */
static void recover(struct trainer *t, const struct err *cause)
{
    struct catalog_pointers pointers;
    struct err err = ERR_INIT;

    log_error("diverged", "%s", cause->msg);
    if (!t->options.conf->publish.auto_rollback) {
        fatal(t, cause);
        return;
    }
    drain_publisher(t);
    if (catalog_pointers(t->options.catalog, &pointers, &err) != 0)
        fatal(t, &err);
    else
        go_back(t, pointers.head, true, cause->msg);
}

/* --- other settings while it runs --------------------------------------- */

/* A version keeps the settings that it was learned with: what was learned with
 * the old ones gets its own first. */
static void take_reload(struct trainer *t)
{
    pthread_mutex_lock(&t->mutex);
    if (t->next) {
        if (t->l->learner && !t->held)
            publish_now(t);
        publisher_wait(t->options.publisher);
        t->l->mixed_settings = t->l->learner && t->published_step !=
                                   learner_steps(t->l->learner);
        conf_reload_apply(t->now, t->next);
        if (t->l->learner) {
            learner_set_rate(t->l->learner,
                             options_rate(t->now, t->l->has_model
                                                      ? &t->l->shape
                                                      : NULL));
            learner_set_lambda(t->l->learner,
                               (float)t->now->learner.ewc.lambda);
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
    while (t->next && !t->stopping)
        pthread_cond_wait(&t->reloaded, &t->mutex);
    t->next = NULL;
    pthread_mutex_unlock(&t->mutex);
}

/* --- records and steps -------------------------------------------------- */

/* Rows that the step would have replayed, had they been whole. */
static void tell_damaged(struct trainer *t)
{
    int64_t key;

    while (replay_next_damaged(t->l->replay, &key))
        log_warn("replay", "row=%lld damaged=true", (long long)key);
}

static void step(struct trainer *t)
{
    struct learning_step_result result;
    struct err err = ERR_INIT;
    int rc = learning_step(t->l, &result, &err);

    tell_damaged(t);
    if (rc == ERR_DIVERGED)
        recover(t, &err);
    else if (rc)
        fatal(t, &err);
    else
        show_step(t, &result);
    if (rc == 0 && result.step.skipped)
        log_warn("step", "step=%lld skipped=true grad_norm=%g",
                 (long long)learner_steps(t->l->learner),
                 result.step.grad_norm);
    if (rc == 0 && result.step.consolidated)
        log_info("consolidation", "step=%lld count=%lld penalty=%g",
                 (long long)learner_steps(t->l->learner),
                 (long long)learner_ewc(t->l->learner)->consolidations,
                 result.step.ewc_penalty);
}

static bool has_taken(const struct trainer *t)
{
    return t->next_taken < t->n_taken;
}

/* The next record, or NULL after timeout_ms or a wake. */
static struct record *next_record(struct trainer *t, int64_t timeout_ms)
{
    if (t->next_taken == t->n_taken) {
        t->next_taken = 0;
        t->n_taken = queue_pop_many(t->options.queue, t->taken, TAKEN_MAX,
                                    timeout_ms);
    }
    if (!has_taken(t))
        return NULL;
    t->last_record_ms = timing_mono_ms();
    return t->taken[t->next_taken++];
}

static bool has_records(const struct trainer *t)
{
    return has_taken(t) || queue_length(t->options.queue);
}

static void take(struct trainer *t, struct record *rec)
{
    struct err err = ERR_INIT;

    if (rec->epoch != t->epoch) {
        record_free(rec);
        return;
    }
    if (rec->kind == RECORD_END) {
        t->ended = true;
        record_free(rec);
        return;
    }
    t->ended = false;
    if (intake_add(t->l->intake, rec, learner_steps(t->l->learner), &err) !=
        0)
        fatal(t, &err);
}

/* Released records come before what the queue holds. False: there is none. */
static bool take_released(struct trainer *t)
{
    struct releases_row *rows = NULL;
    struct err err = ERR_INIT;
    size_t n = 0;

    t->look_for_releases |= publisher_released(t->options.publisher);
    if (!t->look_for_releases)
        return false;
    if (releases_read(t->l->catalog, next_release(t), TAKEN_MAX, &rows, &n,
                      &err) != 0)
        fatal(t, &err);
    t->look_for_releases = n == TAKEN_MAX;
    for (size_t i = 0; i < n && !t->failed; i++) {
        struct record *rec = release_record(&t->maker, t->options.conf,
                                            &rows[i]);

        t->next_release = rows[i].id + 1;
        t->last_record_ms = timing_mono_ms();
        if (intake_add(t->l->intake, rec, learner_steps(t->l->learner),
                       &err) != 0)
            fatal(t, &err);
    }
    releases_free(rows, n);
    return n > 0;
}

/* Is it time to learn from a part-filled batch? */
static bool flush_due(struct trainer *t)
{
    double flush = t->options.conf->learner.flush_seconds;
    double pause = (double)(timing_mono_ms() - t->last_record_ms) / 1000;

    if (intake_tokens(t->l->intake) == 0 || has_records(t))
        return false;
    return t->ended || (flush > 0 && pause >= flush);
}

/* The last line is learned and in a version: tells the owner, once. */
static void finish_end(struct trainer *t)
{
    if (t->end_announced || t->held)
        return;
    publish_now(t);
    if (t->held || heed(t))
        return;
    if (t->options.conf->source.at_end == CONF_AT_END_EXIT) {
        t->end_announced = true;
        t->options.on_end(t->options.arg);
    }
}

/* Records up to the next full batch; false: there is none. */
static bool take_batch(struct trainer *t)
{
    struct record *rec = next_record(t, t->ended ? POLL_MS : 20);

    if (!rec)
        return false;
    take(t, rec);
    while (!learning_ready(t->l) && !t->failed && has_taken(t))
        take(t, next_record(t, 0));
    return true;
}

/* One turn of the loop. */
static void learn(struct trainer *t)
{
    collect(t);
    take_reload(t);
    run_operations(t);
    look_for_choice(t);
    if (heed(t))
        return;
    if (!t->parked && version_due(t))
        submit(t);
    if (t->held || t->parked) {
        show_state(t, false);
        timing_sleep_ms(POLL_MS);
        return;
    }
    learning_set_pressure(t->l, queue_fill(t->options.queue));
    if (learning_ready(t->l)) {
        step(t);
        show_state(t, true);
        return;
    }
    if (take_released(t) || take_batch(t))
        return;
    if (flush_due(t)) {
        t->l->progress.flushes += !t->ended;
        step(t);
    } else if (t->ended) {
        finish_end(t);
    }
    if (timing_mono_ms() - t->last_record_ms > 1000)
        show_state(t, false);
    show(t, false);
}

/* --- the beginning ------------------------------------------------------ */

static int prepare(struct trainer *t, struct tokenizer *tokenizer,
                   struct err *err)
{
    int rc = learning_prepare(t->l, tokenizer, err);
    const struct model_shape *shape = t->l->has_model ? &t->l->shape : NULL;

    if (rc)
        return rc;
    serving_prepare(t->options.serving, shape, t->l->tokenizer);
    publisher_prepare(t->options.publisher, shape, t->l->tokenizer);
    return 0;
}

static void show_collecting(struct trainer *t, const struct vocabulary *v)
{
    struct status *s = status_lock(t->options.board);

    s->vocabulary_bytes = (int64_t)v->text.len;
    s->vocabulary_wanted = t->options.conf->model.tokenizer_bytes;
    status_unlock(t->options.board);
    status_set_state(t->options.board, STATUS_STARTING,
                     "collecting text for the vocabulary");
}

/* The end, or a pause, after the first of it; or an end that is final. */
static bool collected(struct trainer *t, const struct vocabulary *v)
{
    double wait = t->options.conf->model.tokenizer_wait_seconds;
    double pause = (double)(timing_mono_ms() - t->last_record_ms) / 1000;

    if (v->text.len == 0)
        return t->ended &&
               t->options.conf->source.at_end == CONF_AT_END_EXIT;
    return t->ended || pause >= wait;
}

static void collect_vocabulary(struct trainer *t, struct vocabulary *v)
{
    bool enough = false;

    while (!enough && !t->stopping) {
        struct record *rec = next_record(t, POLL_MS);

        take_reload(t);
        show_collecting(t, v);
        if (!rec) {
            enough = collected(t, v);
        } else if (rec->kind == RECORD_END) {
            t->ended = true;
            record_free(rec);
        } else {
            t->ended = false;
            enough = vocabulary_add(v, rec);
        }
    }
}

/* The vocabulary from the stream, the model at birth, and the records that
 * waited. */
static int begin_with_vocabulary(struct trainer *t, struct err *err)
{
    struct tokenizer *tokenizer = NULL;
    struct vocabulary v;
    struct record **records = NULL;
    size_t n = 0;
    bool ended;
    int rc = 0;

    vocabulary_init(&v, t->options.conf);
    collect_vocabulary(t, &v);
    if (!t->stopping)
        rc = vocabulary_learn(&v, &tokenizer, err);
    if (rc == 0 && tokenizer) {
        log_info("vocabulary", "size=%d bytes=%zu records=%zu",
                 tokenizer_vocab_size(tokenizer), v.text.len, v.n);
        rc = prepare(t, tokenizer, err);
    }
    if (rc == 0 && tokenizer) {
        records = vocabulary_take(&v, &n);
        for (size_t i = 0; i < n; i++)
            progress_begin(&t->l->progress, records[i]->topic,
                           records[i]->partition, records[i]->offset);
        submit(t);
        drain_publisher(t);
    }
    ended = t->ended;
    for (size_t i = 0; i < n; i++)
        take(t, records[i]);
    t->ended = ended; /* they came before the end */
    free(records);
    vocabulary_release(&v);
    return rc;
}

static int begin(struct trainer *t, struct err *err)
{
    struct catalog_pointers pointers;
    int rc = catalog_pointers(t->options.catalog, &pointers, err);

    t->last_record_ms = t->rate_ms = timing_mono_ms();
    t->published_step = -1;
    if (rc)
        return rc;
    if (!t->l->learner)
        return begin_with_vocabulary(t, err);
    t->published_tokens = t->l->progress.tokens_seen;
    t->rate_tokens = t->l->progress.tokens_seen;
    t->rate_records = t->l->progress.records.consumed;
    t->last_publish_ms = timing_mono_ms();
    if (pointers.head == 0) {
        submit(t);
        drain_publisher(t);
    } else {
        t->published_step = learner_steps(t->l->learner);
    }
    return 0;
}

static void *run(void *arg)
{
    struct trainer *t = arg;
    struct err err = ERR_INIT;

    pthread_setname_np(pthread_self(), "trainer");
    if (begin(t, &err) != 0)
        fatal(t, &err);
    show_state(t, false);
    while (!t->stopping)
        learn(t);
    if (t->l->learner && !t->held && !t->parked && !t->failed) {
        publish_now(t);
        show(t, true);
    }
    pthread_mutex_lock(&t->mutex);
    pthread_cond_broadcast(&t->reloaded);
    pthread_mutex_unlock(&t->mutex);
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
    t->stopping = true;
    queue_wake(t->options.queue);
    pthread_join(t->thread, NULL);
    t->started = false;
}
