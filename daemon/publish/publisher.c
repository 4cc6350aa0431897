/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One loop: a snapshot to publish, a rollback to write, operations from users,
 * in that order; asleep otherwise. `busy` is true from publisher_submit until
 * the gate has spoken about that version, and the outcome of the durable part
 * can be collected before that.
 */
#include "config.h"

#include "daemon/publish/publisher.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/publish/publisher_private.h"
#include "store/tombstones.h"

#define LOOK_MS 2000   /* between two checks of an idle store */
#define SCRUB_MS 60000 /* between two tries to erase bytes */

struct publisher *publisher_create(const struct publisher_options *options)
{
    struct publisher *p = xcalloc(1, sizeof *p);

    p->options = *options;
    p->scoring = holdout_scoring_create(options->conf, options->catalog,
                                        options->serving);
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->done, NULL);
    return p;
}

void publisher_prepare(struct publisher *p, const struct model_shape *shape,
                       const struct tokenizer *tokenizer)
{
    p->shape = shape;
    p->tokenizer = tokenizer;
    buf_clear(&p->tokenizer_json);
    if (tokenizer)
        tokenizer_to_json(tokenizer, &p->tokenizer_json);
}

void publisher_free(struct publisher *p)
{
    if (!p)
        return;
    BUG_ON(p->started);
    snapshot_free(p->submitted);
    snapshot_free(p->outcome_snapshot);
    holdout_scoring_free(p->scoring);
    probe_release(&p->probe);
    buf_release(&p->tokenizer_json);
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->done);
    pthread_mutex_destroy(&p->mutex);
    free(p);
}

/* --- the trainer's side ------------------------------------------------- */

void publisher_wake(struct publisher *p)
{
    pthread_mutex_lock(&p->mutex);
    p->woken = true;
    pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->mutex);
}

bool publisher_released(struct publisher *p)
{
    return atomic_exchange(&p->released, false);
}

bool publisher_busy(struct publisher *p)
{
    bool busy;

    pthread_mutex_lock(&p->mutex);
    busy = p->busy || p->have_outcome;
    pthread_mutex_unlock(&p->mutex);
    return busy;
}

void publisher_submit(struct publisher *p, struct snapshot *s)
{
    pthread_mutex_lock(&p->mutex);
    BUG_ON(p->busy || p->have_outcome);
    p->busy = true;
    p->submitted = s;
    pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->mutex);
}

bool publisher_collect(struct publisher *p, struct snapshot **s,
                       int64_t *version, struct err *err)
{
    bool have;

    pthread_mutex_lock(&p->mutex);
    have = p->have_outcome;
    if (have) {
        *s = p->outcome_snapshot;
        *version = p->outcome_version;
        *err = p->outcome_err;
        p->outcome_snapshot = NULL;
        p->have_outcome = false;
    }
    pthread_mutex_unlock(&p->mutex);
    return have;
}

bool publisher_take_wish(struct publisher *p, struct guard_request *wish)
{
    bool have;

    pthread_mutex_lock(&p->mutex);
    have = p->have_wish;
    if (have)
        *wish = p->wish;
    p->have_wish = false;
    pthread_mutex_unlock(&p->mutex);
    return have;
}

int64_t publisher_choices(struct publisher *p)
{
    int64_t choices;

    pthread_mutex_lock(&p->mutex);
    choices = p->choices;
    pthread_mutex_unlock(&p->mutex);
    return choices;
}

void publisher_wait(struct publisher *p)
{
    pthread_mutex_lock(&p->mutex);
    while (p->busy || p->starting || p->judging)
        pthread_cond_wait(&p->done, &p->mutex);
    pthread_mutex_unlock(&p->mutex);
}

int publisher_run(struct publisher *p,
                  int (*run_it)(struct store *s, void *arg, struct err *err),
                  void *arg, struct err *err)
{
    struct errand errand = {run_it, arg, err, 0};

    pthread_mutex_lock(&p->mutex);
    p->errand = &errand;
    pthread_cond_signal(&p->work);
    while (p->errand)
        pthread_cond_wait(&p->done, &p->mutex);
    pthread_mutex_unlock(&p->mutex);
    return errand.rc;
}

int publisher_rollback(struct publisher *p, const struct store_rollback *rows,
                       const struct store_offset *known, size_t n_known,
                       struct err *err)
{
    struct rollback_request request = {*rows, known, n_known, err, 0};

    request.rows.in_transaction = replay_db_rollback;
    pthread_mutex_lock(&p->mutex);
    p->rollback = &request;
    pthread_cond_signal(&p->work);
    while (p->rollback)
        pthread_cond_wait(&p->done, &p->mutex);
    pthread_mutex_unlock(&p->mutex);
    return request.rc;
}

/* --- publishing --------------------------------------------------------- */

static int write_replay(struct sqlite3 *db, int64_t version, void *arg,
                        struct err *err)
{
    const struct snapshot *s = arg;
    int rc = replay_db_write(db, s->replay_changes, version, err);

    return rc ? rc : replay_db_write(db, s->holdout_changes, version, err);
}

static int store_snapshot(struct publisher *p, struct snapshot *s,
                          int64_t *version, struct err *err)
{
    struct catalog_pointers pointers;
    struct store_publication publication = {
        .created_ms = s->created_ms,
        .step = s->step,
        .tokens_seen = s->tokens_seen,
        .shape = p->shape,
        .weights = p->shape ? &s->weights : NULL,
        .state = &s->state,
        .holdout = &s->holdout,
        .anchor = s->anchor_unchanged ? NULL : &s->anchor,
        .head = &s->head,
        .tokenizer_json = p->tokenizer ? p->tokenizer_json.data : NULL,
        .tokenizer_json_bytes = p->tokenizer_json.len,
        .end_of_text = p->tokenizer ? tokenizer_end_of_text(p->tokenizer) : 0,
        .labels_json = s->labels_json.data,
        .metadata_json = s->metadata.data,
        .offsets = s->offsets,
        .n_offsets = s->n_offsets,
        .ledger = s->stage.ledger,
        .n_ledger = s->stage.n_ledger,
        .quarantine = s->stage.quarantine,
        .n_quarantine = s->stage.n_quarantine,
        .in_transaction = write_replay,
        .arg = s,
    };
    int rc = catalog_pointers(p->options.catalog, &pointers, err);

    if (rc)
        return rc;
    publication.parent = pointers.head;
    return store_publish(p->options.store, &publication, version, err);
}

/* The positions of a durable version, for the group's committed offsets. */
static void tell_source(struct publisher *p, const struct snapshot *s)
{
    struct source_position *positions =
        xcalloc(s->n_offsets, sizeof *positions);

    for (size_t i = 0; i < s->n_offsets; i++)
        positions[i] = (struct source_position){
            .topic = s->offsets[i].topic,
            .partition = s->offsets[i].partition,
            .next_offset = s->offsets[i].next_offset,
            .last_learned = s->offsets[i].last_learned,
            .last_hash = s->offsets[i].last_hash,
        };
    source_published(p->options.source, positions, s->n_offsets);
    free(positions);
}

/* In the transaction that prunes: kept are the versions that stay. */
static int sweep_replay(struct sqlite3 *db, const int64_t *kept,
                        size_t n_kept, void *arg, struct err *err)
{
    struct publisher *p = arg;
    int64_t deleted;

    serving_retain(p->options.serving, kept, n_kept);
    return replay_db_sweep(db, kept, n_kept, 20000, &deleted, err);
}

/* What the next candidate is compared with: without it the measure would be
 * lowered to what serves by then. */
static int64_t reference_of_head(struct publisher *p)
{
    struct catalog_pointers pointers;
    struct verdict_memory memory;

    if (catalog_pointers(p->options.catalog, &pointers, NULL) != 0 ||
        verdict_memory_load(p->options.catalog, pointers.head, &memory,
                            NULL) != 0)
        return 0;
    return memory.reference;
}

static int prune(struct publisher *p, struct err *err)
{
    const struct conf_keep *k = &p->options.conf->publish.keep;
    struct store_keep keep = {(int)k->newest, (int)k->hourly, (int)k->daily,
                              reference_of_head(p)};
    int removed = 0;
    int rc = store_prune(p->options.store, &keep, timing_wall_ms(),
                         sweep_replay, p, &removed, err);

    if (removed)
        log_debug("retention", "removed=%d", removed);
    return rc;
}

void publisher_fail(struct publisher *p, const char *what,
                           const struct err *err, bool again)
{
    struct status *s = status_lock(p->options.board);

    s->publish.failed++;
    status_unlock(p->options.board);
    if (!again || !p->failing)
        log_error(what, "%s", err->msg);
    p->failing = again;
    p->dead = p->dead || !again;
    if (!again)
        p->options.on_fatal(err, p->options.arg);
}

static void give_outcome(struct publisher *p, struct snapshot *s,
                         int64_t version, const struct err *err)
{
    pthread_mutex_lock(&p->mutex);
    p->outcome_snapshot = s;
    p->outcome_version = version;
    p->outcome_err = *err;
    p->have_outcome = true;
    pthread_mutex_unlock(&p->mutex);
    p->options.wake_trainer(p->options.arg);
}

static void publish(struct publisher *p, struct snapshot *s)
{
    int64_t started = timing_mono_ns(), version = 0;
    int64_t cpu_ns = timing_thread_cpu_ns() - s->cpu_ns;
    struct err err = ERR_INIT;
    struct status *status;
    double seconds;

    if (p->dead) { /* "succeeding" now could be on data that is lost */
        err_set(&err, ERR_IO, "nothing is published any more");
        give_outcome(p, s, 0, &err);
        return;
    }
    probe_release(&p->probe);
    probe_take(s, p->shape, p->tokenizer,
               serving_options(p->options.serving), &p->probe);
    p->probed_version = 0;
    if (store_snapshot(p, s, &version, &err) != 0) {
        /* An anchor that cannot be linked is written whole the next time. */
        publisher_fail(p, "publish", &err,
                       err.code == ERR_FULL ||
                           (err.code == ERR_CORRUPT && s->anchor_unchanged));
        give_outcome(p, s, 0, &err);
        return;
    }
    p->failing = false;
    p->probed_version = version;
    tell_source(p, s);
    seconds = timing_seconds_since(started);
    log_info("publish", "version=%lld step=%lld tokens=%lld seconds=%.3f",
             (long long)version, (long long)s->step,
             (long long)s->tokens_seen, seconds);
    give_outcome(p, s, version, &err);
    publisher_show(p, NULL);
    publisher_judge(p, version);
    if (!p->retry_ms && !p->dead && prune(p, &err) != 0)
        publisher_fail(p, "retention", &err, err.code == ERR_FULL);
    status = status_lock(p->options.board);
    status->publish.count++;
    status->publish.last_seconds = timing_seconds_since(started);
    status->publish.last_cpu_seconds =
        (double)(timing_thread_cpu_ns() - cpu_ns) / 1e9;
    status_unlock(p->options.board);
}

/* --- the thread --------------------------------------------------------- */

/* Ends the process when the store has failed, whatever failed in it. */
static void look_at_store(struct publisher *p)
{
    struct err err = ERR_INIT;

    if (p->dead || store_check(p->options.store, &err) == 0)
        return;
    log_error("store", "%s", err.msg);
    p->dead = true;
    p->options.on_fatal(&err, p->options.arg);
}

/* Erased bytes may still be in the database file when there was no room to
 * write it anew: tries again every SCRUB_MS. */
static void scrub(struct publisher *p)
{
    struct err err = ERR_INIT;
    bool waits = false, first = !p->scrub_ms;

    if (p->dead ||
        tombstones_scrub_waits(p->options.store, &waits, NULL) != 0 ||
        (waits && !first && timing_mono_ms() < p->scrub_ms))
        return;
    if (waits && !first && tombstones_scrub(p->options.store, &err) == 0) {
        waits = false;
        log_info("forget", "result=\"mneme.db was written anew: the erased "
                           "bytes are gone\"");
    }
    if (waits && first)
        log_warn("forget",
                 "result=\"mneme.db may still hold erased bytes until there is "
                 "room to write it anew: tried again every minute\"");
    p->scrub_ms = waits ? timing_mono_ms() + SCRUB_MS : 0;
    status_lock(p->options.board)->erasure_pending = waits;
    status_unlock(p->options.board);
}

/* Sleeps until there is work, a verdict is due to be tried again, or LOOK_MS
 * are over. Locks: needs the mutex. */
static void sleep_until_work(struct publisher *p)
{
    int64_t wait_ms = LOOK_MS;
    struct timespec at;

    if (p->retry_ms && p->retry_ms - timing_mono_ms() < wait_ms)
        wait_ms = p->retry_ms - timing_mono_ms();
    at = timing_deadline(wait_ms);
    timing_wait(&p->work, &p->mutex, &at);
}

static void *run(void *arg)
{
    struct publisher *p = arg;

    pthread_setname_np(pthread_self(), "publisher");
    publisher_judge_pending(p);
    pthread_mutex_lock(&p->mutex);
    p->starting = false;
    pthread_cond_broadcast(&p->done);
    for (;;) {
        pthread_mutex_unlock(&p->mutex);
        scrub(p);
        look_at_store(p);
        pthread_mutex_lock(&p->mutex);
        if (p->submitted) {
            struct snapshot *s = p->submitted;

            p->submitted = NULL;
            pthread_mutex_unlock(&p->mutex);
            publish(p, s);
            pthread_mutex_lock(&p->mutex);
            p->busy = false;
            pthread_cond_broadcast(&p->done);
        } else if (p->rollback) {
            pthread_mutex_unlock(&p->mutex);
            p->rollback->rc = publisher_write_rollback(p, p->rollback);
            pthread_mutex_lock(&p->mutex);
            p->rollback = NULL;
            pthread_cond_broadcast(&p->done);
        } else if (p->errand) {
            struct errand *e = p->errand;

            pthread_mutex_unlock(&p->mutex);
            e->rc = e->run(p->options.store, e->arg, e->err);
            pthread_mutex_lock(&p->mutex);
            p->errand = NULL;
            pthread_cond_broadcast(&p->done);
        } else if (p->woken) {
            p->woken = false;
            pthread_mutex_unlock(&p->mutex);
            publisher_run_operations(p);
            pthread_mutex_lock(&p->mutex);
        } else if (p->stopping) {
            break;
        } else if (p->retry_ms && timing_mono_ms() >= p->retry_ms) {
            p->judging = true;
            pthread_mutex_unlock(&p->mutex);
            publisher_judge_pending(p);
            pthread_mutex_lock(&p->mutex);
            p->judging = false;
            pthread_cond_broadcast(&p->done);
        } else {
            sleep_until_work(p);
        }
    }
    pthread_mutex_unlock(&p->mutex);
    return NULL;
}

void publisher_start(struct publisher *p)
{
    p->starting = true;
    publisher_show(p, NULL); /* before anybody can look */
    if (pthread_create(&p->thread, NULL, run, p) != 0)
        BUG("cannot start the publisher's thread");
    p->started = true;
}

void publisher_stop(struct publisher *p)
{
    if (!p->started)
        return;
    pthread_mutex_lock(&p->mutex);
    p->stopping = true;
    pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->mutex);
    pthread_join(p->thread, NULL);
    p->started = false;
}
