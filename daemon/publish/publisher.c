/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread and its queue of tasks. The life of a version, with the function
 * that makes each step:
 *
 *     snapshot
 *        | publisher_publish -> store_publish begins
 *     WRITING    files in versions/.new-N
 *        | store_publish: the files are synced, the directory is renamed
 *     DURABLE    files in versions/N
 *        | store_publish: the transaction writes the row
 *     PENDING    the head version, listed, without a verdict
 *        | publisher_verdict -> store_verdict
 *     PASSED | FAILED
 *        | publisher_switch -> serving_switch: a verdict (only PASSED), an
 *        | operator's promote, or a rollback to this version
 *     SERVING    until serving_switch to another version
 *        | publisher_prune -> store_prune, unless the version is the head, the
 *        | serving or the reference version, pinned, or kept by a rule
 *     RETIRED    no row, no files
 *
 * A rollback to an older version marks the later ones ROLLED_BACK (store.h).
 *
 * Invariants:
 *  1. After publisher_start only this thread uses the struct store.
 *  2. A task is in the queue at most once; it runs without the mutex.
 *  3. The verdict is the first task of the queue. So no other task comes
 *     between a publication and its verdict, unless the disk is full: then the
 *     verdict has a later due_ms, and other tasks run.
 *  4. All other tasks run in the order in which they were queued.
 *  5. The store names a version before it serves. One exception: a version that
 *     an operator chose serves at once (serving_choose), before its operation.
 *  6. After an error that no later try can mend (`dead`) no version and no
 *     verdict is written, and the process ends.
 */
#include "config.h"

#include "daemon/publish/publisher.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/priority.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/board/pulse.h"
#include "daemon/publish/publisher_private.h"
#include "store/tombstones.h"

#define CHECK_MS 2000  /* between two checks of an idle store */
#define SCRUB_MS 60000 /* between two tries to erase bytes */
#define RETRY_MS 5000  /* until a verdict is tried again */

struct publisher *publisher_create(const struct publisher_options *options)
{
    struct publisher *p = xcalloc(1, sizeof *p);

    p->options = *options;
    p->scoring = holdout_scoring_create(options->conf, options->catalog,
                                        options->serving);
    p->publish.kind = TASK_PUBLISH;
    p->verdict.kind = TASK_VERDICT;
    p->operation.kind = TASK_OPERATION;
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
    snapshot_free(p->publish.snapshot);
    holdout_scoring_free(p->scoring);
    probe_release(&p->probe);
    buf_release(&p->tokenizer_json);
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->done);
    pthread_mutex_destroy(&p->mutex);
    free(p);
}

/* --- the queue: each function needs the mutex --------------------------- */

/* Queues a task. A task that is queued keeps its position. */
static void enqueue(struct publisher *p, struct publisher_task *t,
                    int64_t due_ms)
{
    struct publisher_task **at = &p->first;

    t->due_ms = due_ms;
    if (t->state != TASK_QUEUED) {
        while (*at && t->kind != TASK_VERDICT)
            at = &(*at)->next;
        t->next = *at;
        *at = t;
        t->state = TASK_QUEUED;
    }
    pthread_cond_signal(&p->work);
}

/* Takes the first task that is due out of the queue; NULL: there is none. */
static struct publisher_task *dequeue(struct publisher *p)
{
    struct publisher_task **at = &p->first, *t;

    while (*at && (*at)->due_ms && (*at)->due_ms > timing_mono_ms())
        at = &(*at)->next;
    t = *at;
    if (t) {
        *at = t->next;
        t->state = TASK_RUNNING;
    }
    return t;
}

static bool is_publishing(const struct publisher *p)
{
    return p->publish.state == TASK_QUEUED ||
           p->publish.state == TASK_RUNNING ||
           p->verdict.state == TASK_RUNNING ||
           (p->verdict.state == TASK_QUEUED && !p->verdict.due_ms);
}

/* --- the trainer's side ------------------------------------------------- */

void publisher_wake(struct publisher *p)
{
    pthread_mutex_lock(&p->mutex);
    enqueue(p, &p->operation, 0);
    pthread_mutex_unlock(&p->mutex);
}

bool publisher_released(struct publisher *p)
{
    return atomic_exchange(&p->released, false);
}

int64_t publisher_choices(struct publisher *p)
{
    return p->choices;
}

bool publisher_busy(struct publisher *p)
{
    bool busy;

    pthread_mutex_lock(&p->mutex);
    busy = is_publishing(p) || p->publish.state == TASK_DONE;
    pthread_mutex_unlock(&p->mutex);
    return busy;
}

void publisher_wait(struct publisher *p)
{
    pulse_rest(PULSE_TRAINER); /* the publisher itself is watched */
    pthread_mutex_lock(&p->mutex);
    while (is_publishing(p))
        pthread_cond_wait(&p->done, &p->mutex);
    pthread_mutex_unlock(&p->mutex);
    pulse_beat(PULSE_TRAINER, PULSE_TASK_MS); /* until the next turn */
}

void publisher_submit(struct publisher *p, struct snapshot *s)
{
    pthread_mutex_lock(&p->mutex);
    BUG_ON(p->publish.state != TASK_IDLE);
    p->publish.snapshot = s;
    enqueue(p, &p->publish, 0);
    pthread_mutex_unlock(&p->mutex);
}

bool publisher_collect(struct publisher *p, struct snapshot **s,
                       int64_t *version, struct err *err)
{
    bool have;

    pthread_mutex_lock(&p->mutex);
    have = p->publish.state == TASK_DONE;
    if (have) {
        *s = p->publish.snapshot;
        *version = p->publish.version;
        *err = p->publish.outcome;
        p->publish.snapshot = NULL;
        p->publish.state = TASK_IDLE;
    }
    pthread_mutex_unlock(&p->mutex);
    return have;
}

bool publisher_take_request(struct publisher *p, struct guard_request *request)
{
    pthread_mutex_lock(&p->mutex);
    *request = p->request;
    p->request.cause = GUARD_NO_CAUSE;
    pthread_mutex_unlock(&p->mutex);
    return request->cause != GUARD_NO_CAUSE;
}

static int run_and_wait(struct publisher *p, struct publisher_task *t)
{
    pulse_rest(PULSE_TRAINER);
    pthread_mutex_lock(&p->mutex);
    enqueue(p, t, 0);
    while (t->state != TASK_DONE)
        pthread_cond_wait(&p->done, &p->mutex);
    pthread_mutex_unlock(&p->mutex);
    pulse_beat(PULSE_TRAINER, PULSE_TASK_MS); /* until the next turn */
    return t->rc;
}

int publisher_run(struct publisher *p,
                  int (*run_it)(struct store *s, void *arg, struct err *err),
                  void *arg, struct err *err)
{
    struct publisher_task errand = {
        .kind = TASK_ERRAND, .run = run_it, .arg = arg, .err = err};

    return run_and_wait(p, &errand);
}

int publisher_rollback(struct publisher *p, const struct store_rollback *rows,
                       const struct store_offset *known, size_t n_known,
                       struct err *err)
{
    struct publisher_task rollback = {.kind = TASK_ROLLBACK,
                                      .rollback = rows,
                                      .known = known,
                                      .n_known = n_known,
                                      .err = err};

    return run_and_wait(p, &rollback);
}

void publisher_serve_as_stored(struct publisher *p, int64_t operation)
{
    struct publisher_task undo = {.kind = TASK_UNDO_CHOICE,
                                  .operation = operation};

    run_and_wait(p, &undo);
}

/* --- the tasks ---------------------------------------------------------- */

/* Counts and logs the failure of a task. `again`: a later try may succeed;
 * without it the process ends. */
static void fail(struct publisher *p, const char *task, const struct err *err,
                 bool again)
{
    status_lock(p->options.board)->publish.failed++;
    status_unlock(p->options.board);
    if (!again || !p->failing)
        log_error(task, "%s", err->msg);
    p->failing = again;
    p->dead = p->dead || !again;
    if (!again)
        p->options.on_fatal(err, p->options.arg);
}

static void run_publish(struct publisher *p)
{
    struct publisher_task *t = &p->publish;
    int rc;

    t->version = 0;
    t->outcome = (struct err)ERR_INIT;
    p->started_ns = timing_mono_ns();
    p->started_cpu_ns = timing_thread_cpu_ns() - t->snapshot->cpu_ns;
    if (p->dead) /* a version now may follow one that the disk has lost */
        rc = err_set(&t->outcome, ERR_IO, "no version follows the failure");
    else
        rc = publisher_publish(p, t->snapshot, &t->version, &t->outcome);
    /* ERR_CORRUPT: the parent's anchor file cannot be linked. The next snapshot
     * then writes the anchor itself, so a later try may succeed. */
    if (rc && !p->dead)
        fail(p, "publish", &t->outcome,
             rc == ERR_FULL ||
                 (rc == ERR_CORRUPT && t->snapshot->anchor_unchanged));
    if (rc)
        p->started_ns = 0;
    else
        p->failing = false;
    pthread_mutex_lock(&p->mutex);
    t->state = TASK_DONE;
    if (rc == 0)
        enqueue(p, &p->verdict, 0);
    pthread_mutex_unlock(&p->mutex);
    p->options.wake_trainer(p->options.arg);
}

/* Gives the head version its verdict. If this process published that version,
 * retention and the figures of the publication follow. */
static void run_verdict(struct publisher *p)
{
    struct guard_request request = {.cause = GUARD_NO_CAUSE};
    struct err err = ERR_INIT;
    bool again = false;
    struct status *s;
    int rc;

    if (p->dead)
        return;
    rc = publisher_verdict(p, &request, &again, &err);
    if (rc)
        fail(p, "gate", &err, again);
    else
        p->failing = false;
    pthread_mutex_lock(&p->mutex);
    if (rc && again)
        enqueue(p, &p->verdict, timing_mono_ms() + RETRY_MS);
    if (request.cause != GUARD_NO_CAUSE)
        p->request = request;
    pthread_mutex_unlock(&p->mutex);
    if (request.cause != GUARD_NO_CAUSE)
        p->options.wake_trainer(p->options.arg);
    if (!p->started_ns)
        return;
    if (rc == 0 && publisher_prune(p, &err) != 0)
        fail(p, "retention", &err, err.code == ERR_FULL);
    s = status_lock(p->options.board);
    s->publish.count++;
    s->publish.last_seconds = timing_seconds_since(p->started_ns);
    s->publish.last_cpu_seconds =
        (double)(timing_thread_cpu_ns() - p->started_cpu_ns) / 1e9;
    status_unlock(p->options.board);
    p->started_ns = 0;
}

static void run_task(struct publisher *p, struct publisher_task *t)
{
    switch (t->kind) {
    case TASK_PUBLISH:
        run_publish(p);
        break;
    case TASK_VERDICT:
        run_verdict(p);
        break;
    case TASK_OPERATION:
        publisher_run_operations(p);
        break;
    case TASK_UNDO_CHOICE:
        publisher_undo_choice(p, t->operation);
        break;
    case TASK_ROLLBACK:
        t->rc = publisher_write_rollback(p, t->rollback, t->known, t->n_known,
                                         t->err);
        pthread_mutex_lock(&p->mutex);
        if (t->rc == 0)
            p->request.cause = GUARD_NO_CAUSE;
        pthread_mutex_unlock(&p->mutex);
        break;
    case TASK_ERRAND:
        t->rc = t->run(p->options.store, t->arg, t->err);
        break;
    }
}

/* --- the thread --------------------------------------------------------- */

/* Ends the process when the store has failed, in whichever task. */
static void check_store(struct publisher *p)
{
    struct err err = ERR_INIT;

    if (p->dead || store_check(p->options.store, &err) == 0)
        return;
    log_error("store", "%s", err.msg);
    p->dead = true;
    p->options.on_fatal(&err, p->options.arg);
}

/* The database file may still hold erased bytes when there was no room to write
 * it anew: tries again every SCRUB_MS. */
static void scrub(struct publisher *p)
{
    struct err err = ERR_INIT;
    bool waits = false, first = !p->scrub_ms;

    if (p->dead ||
        tombstones_scrub_is_due(p->options.store, &waits, NULL) != 0 ||
        (waits && !first && timing_mono_ms() < p->scrub_ms))
        return;
    if (waits && !first && tombstones_scrub(p->options.store, &err) == 0) {
        waits = false;
        log_info("forget", "result=\"mneme.db was written anew: the erased "
                           "bytes are gone\"");
    }
    if (waits && first)
        log_warn("forget",
                 "result=\"mneme.db may still hold erased bytes until it is "
                 "written anew, which is tried every minute\"");
    p->scrub_ms = waits ? timing_mono_ms() + SCRUB_MS : 0;
    status_lock(p->options.board)->erasure_pending = waits;
    status_unlock(p->options.board);
}

/* Sleeps until a task is queued or due, at most CHECK_MS. Locks: needs the
 * mutex */
static void sleep_until_work(struct publisher *p)
{
    int64_t wait_ms = CHECK_MS;
    struct timespec at;

    if (p->first && p->first->due_ms - timing_mono_ms() < wait_ms)
        wait_ms = p->first->due_ms - timing_mono_ms();
    at = timing_deadline(wait_ms);
    timing_wait(&p->work, &p->mutex, &at);
}

static void *run(void *arg)
{
    struct publisher *p = arg;
    struct publisher_task *t;

    pthread_setname_np(pthread_self(), "publisher");
    priority_lower();
    pthread_mutex_lock(&p->mutex);
    for (;;) {
        pthread_mutex_unlock(&p->mutex);
        pulse_beat(PULSE_PUBLISHER, PULSE_TASK_MS);
        scrub(p);
        check_store(p);
        pthread_mutex_lock(&p->mutex);
        t = dequeue(p);
        if (t) {
            pthread_mutex_unlock(&p->mutex);
            atomic_store(&p->options.board->publishes, true);
            run_task(p, t);
            atomic_store(&p->options.board->publishes, false);
            pthread_mutex_lock(&p->mutex);
            if (t->state == TASK_RUNNING) /* not queued again meanwhile */
                t->state = TASK_DONE;
            pthread_cond_broadcast(&p->done);
        } else if (p->stopping) {
            break;
        } else {
            pulse_beat(PULSE_PUBLISHER, PULSE_LOOP_MS);
            sleep_until_work(p);
        }
    }
    pthread_mutex_unlock(&p->mutex);
    pulse_rest(PULSE_PUBLISHER);
    return NULL;
}

void publisher_start(struct publisher *p)
{
    publisher_show(p, NULL); /* HTTP starts after this */
    pthread_mutex_lock(&p->mutex);
    enqueue(p, &p->verdict, 0);
    pthread_mutex_unlock(&p->mutex);
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
