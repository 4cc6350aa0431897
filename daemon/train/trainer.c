/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop is in learn(): whatever asks for attention first (outcomes of the
 * publisher, operations), then a step when a batch is full, else the next
 * record, else - after a pause of flush_seconds - a step on what there is.
 */
#include "config.h"

#include "daemon/train/trainer.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/train/options.h"
#include "daemon/stream/release.h"
#include "daemon/train/trainer_private.h"
#include "daemon/intake/vocabulary.h"

#define POLL_MS 100
#define RETRY_MS 5000                      /* a full disk */
#define STAGED_LIMIT ((int64_t)OPTIONS_STAGED_BYTES / 2) /* makes a version */

struct trainer *trainer_create(const struct trainer_options *options)
{
    struct trainer *t = xcalloc(1, sizeof *t);

    t->options = *options;
    t->l = options->learning;
    t->l->refusals.tells = true;
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

void trainer_fail(struct trainer *t, const struct err *err)
{
    log_error("trainer", "%s", err->msg);
    t->options.on_fatal(err, t->options.arg);
    t->failed = true;
    t->stopping = true;
}

/* --- versions ----------------------------------------------------------- */

void trainer_submit(struct trainer *t)
{
    int64_t started = timing_mono_ns(), cpu_ns = timing_thread_cpu_ns();
    struct snapshot *snapshot = learning_snapshot(t->l);
    struct status *s;

    snapshot->cpu_ns = timing_thread_cpu_ns() - cpu_ns;
    t->last_publish_ms = timing_mono_ms();
    t->published_tokens = t->l->progress.tokens_seen;
    t->without_step = t->published_step == learner_steps(t->l->learner);
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
            log_info("resume", "reason=\"there is room again\"");
        t->held = false;
        return;
    }
    snapshot_not_stored(s, t->l->replay, t->l->holdout, &t->l->progress);
    t->l->anchor_generation = 0;
    t->published_step = -1;
    t->held = err.code == ERR_FULL;
    t->retry_ms = timing_mono_ms() + RETRY_MS;
}

static bool has_taken(const struct trainer *t)
{
    return t->next_taken < t->n_taken;
}

static bool has_records(const struct trainer *t)
{
    return has_taken(t) || queue_length(t->options.queue);
}

/* Is a version due? If not, *w says what it waits for. */
static bool version_due(struct trainer *t, struct pace_wait *w)
{
    struct pace_sight sight = {
        .now_ms = timing_mono_ms(),
        .published_ms = t->last_publish_ms,
        .record_ms = t->last_record_ms,
        .tokens = t->l->progress.tokens_seen - t->published_tokens,
        .has_step = learner_steps(t->l->learner) != t->published_step,
        .has_refused = t->l->progress.n_quarantine > 0,
        .was_refused = t->without_step,
        .has_more = has_records(t) || intake_tokens(t->l->intake) > 0,
    };
    struct status *s;

    if (publisher_busy(t->options.publisher)) {
        *w = (struct pace_wait){
            "the last version to be written and judged", 0};
        return false;
    }
    if (sight.has_step && t->held) {
        *w = (struct pace_wait){"room on the disk", t->retry_ms};
        return sight.now_ms >= t->retry_ms;
    }
    s = status_lock(t->options.board);
    sight.cpu_seconds = s->publish.last_cpu_seconds;
    s->publish.interval_seconds =
        pace_interval_seconds(t->options.conf, sight.cpu_seconds);
    status_unlock(t->options.board);
    return (sight.has_step &&
            replay_staged_bytes(t->l->replay) > STAGED_LIMIT) ||
           pace_due(&t->pace, t->options.conf, &sight, w);
}

void trainer_drain_publisher(struct trainer *t)
{
    publisher_wait(t->options.publisher);
    collect(t);
}

/* With what has been decided without a step, too: a run that ends with records
 * that nothing is learned from has them in a version. */
void trainer_publish_now(struct trainer *t)
{
    trainer_drain_publisher(t);
    if (learner_steps(t->l->learner) != t->published_step ||
        t->l->progress.n_ledger) {
        trainer_submit(t);
        trainer_drain_publisher(t);
    }
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
    int rc;

    /* A full staging area has to wait until the version on its way is done. */
    if (replay_staged_bytes(t->l->replay) > (int64_t)OPTIONS_STAGED_BYTES)
        trainer_drain_publisher(t);
    rc = learning_step(t->l, &result, &err);
    tell_damaged(t);
    if (rc == ERR_DIVERGED)
        trainer_recover(t, &err);
    else if (rc)
        trainer_fail(t, &err);
    else
        trainer_show_step(t, &result);
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

/* The next record, or NULL after timeout_ms or a wake. */
static struct record *next_record(struct trainer *t, int64_t timeout_ms)
{
    if (t->next_taken == t->n_taken) {
        t->next_taken = 0;
        t->n_taken = queue_pop_many(t->options.queue, t->taken,
                                    TRAINER_TAKEN_MAX, timeout_ms);
    }
    if (!has_taken(t))
        return NULL;
    t->last_record_ms = timing_mono_ms();
    return t->taken[t->next_taken++];
}

static void take(struct trainer *t, struct record *rec)
{
    struct err err = ERR_INIT;

    if (rec->epoch != t->epoch) {
        record_free(rec);
        return;
    }
    if (rec->kind == RECORD_END) {
        t->ended = t->end_untold = true;
        record_free(rec);
        return;
    }
    t->ended = false;
    if (intake_add(t->l->intake, rec, learner_steps(t->l->learner), &err) !=
        0)
        trainer_fail(t, &err);
}

int64_t trainer_next_release(struct trainer *t)
{
    if (t->next_release < 0)
        t->next_release =
            progress_next_offset(&t->l->progress, RELEASES_TOPIC, 0);
    return t->next_release;
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
    if (releases_read(t->l->catalog, trainer_next_release(t),
                      TRAINER_TAKEN_MAX, &rows, &n, &err) != 0)
        trainer_fail(t, &err);
    t->look_for_releases = n == TRAINER_TAKEN_MAX;
    for (size_t i = 0; i < n && !t->failed; i++) {
        struct record *rec = release_record(&t->maker, t->options.conf,
                                            &rows[i]);

        t->next_release = rows[i].id + 1;
        t->last_record_ms = timing_mono_ms();
        if (intake_add(t->l->intake, rec, learner_steps(t->l->learner),
                       &err) != 0)
            trainer_fail(t, &err);
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

/* With at_end: exit, a source that has stopped is at its end. Its state has to
 * be read before the queue: the source stops after it pushed its last record.
 */
static bool has_stopped(struct trainer *t, struct source_health *health)
{
    if (t->options.conf->source.at_end != CONF_AT_END_EXIT)
        return false;
    source_get_health(t->options.source, health);
    return health->state == SOURCE_STOPPED && !has_records(t);
}

/* The last line is learned and in a version: tells the owner, once. */
static void finish_end(struct trainer *t)
{
    struct source_health health;
    struct err err = ERR_INIT;
    bool stopped;

    if (t->end_announced || t->held)
        return;
    trainer_publish_now(t);
    if (t->held || trainer_heed(t))
        return;
    stopped = has_stopped(t, &health);
    if (t->end_untold || stopped)
        refusals_end(&t->l->refusals, timing_mono_ms());
    t->end_untold = false;
    if (stopped) {
        t->end_announced = true;
        err_set(&err, ERR_STATE, "%s", health.reason);
        t->options.on_fatal(&err, t->options.arg);
    } else if (t->options.conf->source.at_end == CONF_AT_END_EXIT) {
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
    struct pace_wait wait = {"an operator: learning is paused", 0};
    struct source_health health;
    bool due;

    collect(t);
    trainer_take_reload(t);
    trainer_run_operations(t);
    trainer_look_for_choice(t);
    due = !t->parked && version_due(t, &wait);
    trainer_show_wait(t, due ? NULL : &wait);
    if (trainer_heed(t))
        return;
    if (due)
        trainer_submit(t);
    if (t->held || t->parked) {
        trainer_show_state(t, false);
        timing_sleep_ms(POLL_MS);
        return;
    }
    learning_set_pressure(t->l, queue_fill(t->options.queue));
    if (learning_ready(t->l)) {
        step(t);
        trainer_show_state(t, true);
        return;
    }
    if (take_released(t) || take_batch(t))
        return;
    t->ended |= has_stopped(t, &health);
    if (flush_due(t)) {
        t->l->progress.flushes += !t->ended;
        step(t);
    } else if (t->ended) {
        finish_end(t);
    }
    if (timing_mono_ms() - t->last_record_ms > 1000) {
        trainer_show_state(t, false);
        refusals_tell(&t->l->refusals, false, timing_mono_ms());
    }
    trainer_show(t, false);
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
    struct source_health health;
    bool enough = false;

    while (!enough && !t->stopping) {
        struct record *rec = next_record(t, POLL_MS);

        trainer_take_reload(t);
        show_collecting(t, v);
        if (!rec) {
            t->ended |= has_stopped(t, &health);
            enough = collected(t, v);
        } else if (rec->kind == RECORD_END) {
            t->ended = t->end_untold = true;
            record_free(rec);
            refusals_preview(&t->l->refusals, NULL);
        } else {
            t->ended = false;
            refusals_preview(&t->l->refusals, rec);
            enough = vocabulary_add(v, rec);
        }
    }
}

/* The vocabulary from the stream, the model at birth, and the records that
 * waited. */
static int begin_with_vocabulary(struct trainer *t, struct err *err)
{
    struct source_health health;
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
    if (rc && has_stopped(t, &health)) /* the reason why there is no text */
        rc = err_set(err, ERR_STATE, "%s", health.reason);
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
        trainer_submit(t);
        trainer_drain_publisher(t);
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
    pace_start(&t->pace, t->last_record_ms);
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
        trainer_submit(t);
        trainer_drain_publisher(t);
        return 0;
    }
    t->published_step = learner_steps(t->l->learner);
    return trainer_find_hold(t, err);
}

/* Not past what the guard wants of the newest version: the next start goes
 * back. */
static void publish_last(struct trainer *t)
{
    struct guard_request wish;

    trainer_drain_publisher(t);
    if (!publisher_take_wish(t->options.publisher, &wish))
        trainer_publish_now(t);
    trainer_show(t, true);
}

static void *run(void *arg)
{
    struct trainer *t = arg;
    struct err err = ERR_INIT;

    pthread_setname_np(pthread_self(), "trainer");
    if (begin(t, &err) != 0)
        trainer_fail(t, &err);
    trainer_show_state(t, false);
    while (!t->stopping)
        learn(t);
    if (t->l->learner && !t->held && !t->parked && !t->failed)
        publish_last(t);
    refusals_tell(&t->l->refusals, true, timing_mono_ms());
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
