/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring of the last operations: number n is in slot n mod REMEMBERED. Those
 * that wait are few, so taking the oldest is a walk over the ring.
 */
#include "config.h"

#include "daemon/board/control.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/timing.h"
#include "base/xalloc.h"

#define REMEMBERED 256
#define MOST_WAITING 32

struct control {
    void (*wake_trainer)(void *arg);
    void (*wake_publisher)(void *arg);
    void *arg;
    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t finished;
    struct control_operation ring[REMEMBERED];
    int64_t last; /* number of the newest; the first is 1 */
    int waiting;
};

const char *control_kind_name(enum control_kind kind)
{
    static const char *const names[] = {
        "rollback_rewind", "rollback_skip", "rollback_keep", "pin",
        "unpin",           "promote",       "promote_latest", "release_range",
        "release",         "forget_id",     "forget_domain"};

    return names[kind];
}

const char *control_state_name(enum control_state state)
{
    static const char *const names[] = {"queued", "running", "done",
                                        "failed"};

    return names[state];
}

struct control *control_create(void (*wake_trainer)(void *arg),
                               void (*wake_publisher)(void *arg), void *arg)
{
    struct control *c = xcalloc(1, sizeof *c);

    c->wake_trainer = wake_trainer;
    c->wake_publisher = wake_publisher;
    c->arg = arg;
    pthread_mutex_init(&c->mutex, NULL);
    pthread_cond_init(&c->finished, NULL);
    return c;
}

void control_free(struct control *c)
{
    if (!c)
        return;
    pthread_cond_destroy(&c->finished);
    pthread_mutex_destroy(&c->mutex);
    free(c);
}

static bool is_forget(enum control_kind kind)
{
    return kind == CONTROL_FORGET_ID || kind == CONTROL_FORGET_DOMAIN;
}

/* Those that change what the learner is. */
static bool is_trainers(enum control_kind kind)
{
    return kind == CONTROL_ROLLBACK_REWIND || kind == CONTROL_ROLLBACK_SKIP ||
           is_forget(kind);
}

bool control_chooses(enum control_kind kind)
{
    return kind == CONTROL_ROLLBACK_REWIND || kind == CONTROL_ROLLBACK_SKIP ||
           kind == CONTROL_ROLLBACK_KEEP || kind == CONTROL_PROMOTE;
}

/* Locks: needs c->mutex */
static struct control_operation *find(struct control *c, int64_t id)
{
    struct control_operation *op;

    if (id <= 0)
        return NULL;
    op = &c->ring[id % REMEMBERED];
    return op->id == id ? op : NULL;
}

int control_submit(struct control *c, enum control_kind kind, int64_t version,
                   const char *reason, int64_t *id, struct err *err)
{
    struct control_operation *op;

    pthread_mutex_lock(&c->mutex);
    op = &c->ring[(c->last + 1) % REMEMBERED];
    /* One that still waits is not forgotten, however many came after it. */
    if (c->waiting >= MOST_WAITING || (op->id && op->state < CONTROL_DONE)) {
        pthread_mutex_unlock(&c->mutex);
        return err_set(err, ERR_STATE,
                       "too many operations are waiting; try again later");
    }
    *id = ++c->last;
    memset(op, 0, sizeof *op);
    op->id = *id;
    op->kind = kind;
    op->version = version;
    op->asked_ms = timing_wall_ms();
    snprintf(op->reason, sizeof op->reason, "%s", reason ? reason : "");
    c->waiting++;
    pthread_mutex_unlock(&c->mutex);
    return 0;
}

void control_start(struct control *c, int64_t id)
{
    struct control_operation *op;
    enum control_kind kind;

    pthread_mutex_lock(&c->mutex);
    op = find(c, id);
    BUG_ON(!op);
    op->started = true;
    kind = op->kind;
    pthread_mutex_unlock(&c->mutex);
    if (is_trainers(kind))
        c->wake_trainer(c->arg);
    else
        c->wake_publisher(c->arg);
}

static int not_found(int64_t id, struct err *err)
{
    return err_set(err, ERR_NOTFOUND,
                   "no operation %lld (the last %d are remembered)",
                   (long long)id, REMEMBERED);
}

int control_get(struct control *c, int64_t id, struct control_operation *op,
                struct err *err)
{
    const struct control_operation *found;

    pthread_mutex_lock(&c->mutex);
    found = find(c, id);
    if (found)
        *op = *found;
    pthread_mutex_unlock(&c->mutex);
    return found ? 0 : not_found(id, err);
}

int control_wait(struct control *c, int64_t id, int64_t timeout_ms,
                 struct control_operation *op, struct err *err)
{
    struct timespec deadline = timing_deadline(timeout_ms);
    const struct control_operation *found;

    pthread_mutex_lock(&c->mutex);
    while ((found = find(c, id)) && found->state < CONTROL_DONE)
        if (timing_wait(&c->finished, &c->mutex, &deadline) != 0)
            break;
    if (found)
        *op = *found;
    pthread_mutex_unlock(&c->mutex);
    return found ? 0 : not_found(id, err);
}

bool control_take(struct control *c, bool for_trainer,
                  struct control_operation *op)
{
    int64_t first;
    bool taken = false;

    pthread_mutex_lock(&c->mutex);
    first = c->last > REMEMBERED ? c->last - REMEMBERED + 1 : 1;
    for (int64_t id = first; id <= c->last && !taken; id++) {
        struct control_operation *found = find(c, id);

        if (!found || !found->started || found->state != CONTROL_QUEUED ||
            is_trainers(found->kind) != for_trainer)
            continue;
        found->state = CONTROL_RUNNING;
        *op = *found;
        taken = true;
    }
    pthread_mutex_unlock(&c->mutex);
    return taken;
}

int64_t control_choice(struct control *c, int64_t but)
{
    int64_t choice = 0;

    pthread_mutex_lock(&c->mutex);
    for (int64_t id = c->last, left = c->waiting; left > 0; id--) {
        const struct control_operation *op = find(c, id);

        if (!op)
            break;
        if (op->state >= CONTROL_DONE)
            continue;
        left--;
        if (!choice && id != but && control_chooses(op->kind))
            choice = op->version;
    }
    pthread_mutex_unlock(&c->mutex);
    return choice;
}

void control_set_result(struct control *c, int64_t id, const char *json)
{
    struct control_operation *op;

    pthread_mutex_lock(&c->mutex);
    op = find(c, id);
    if (op && strlen(json) < sizeof op->result)
        snprintf(op->result, sizeof op->result, "%s", json);
    pthread_mutex_unlock(&c->mutex);
}

void control_finish(struct control *c, int64_t id, const struct err *err,
                    const char *detail)
{
    struct control_operation *op;

    pthread_mutex_lock(&c->mutex);
    op = find(c, id);
    if (op && op->state < CONTROL_DONE) {
        bool failed = err && err->code != ERR_OK;

        op->state = failed ? CONTROL_FAILED : CONTROL_DONE;
        if (failed)
            op->err = *err;
        snprintf(op->detail, sizeof op->detail, "%s",
                 failed ? err->msg : detail);
        op->finished_ms = timing_wall_ms();
        c->waiting--;
        pthread_cond_broadcast(&c->finished);
    }
    pthread_mutex_unlock(&c->mutex);
}

json_t *control_to_json(const struct control_operation *op)
{
    json_t *root = json_pack(
        "{s:I, s:s, s:I, s:s, s:s, s:s, s:I}", "operation", (json_int_t)op->id,
        "kind", control_kind_name(op->kind),
        op->kind == CONTROL_RELEASE ? "record" : "version",
        (json_int_t)op->version, "state", control_state_name(op->state),
        "reason", is_forget(op->kind) ? "" : op->reason, "detail", op->detail,
        "asked_ms", (json_int_t)op->asked_ms);

    if (op->result[0])
        json_object_set_new(root, "result", json_loads(op->result, 0, NULL));
    if (op->finished_ms)
        json_object_set_new(root, "finished_ms",
                            json_integer(op->finished_ms));
    return root;
}
