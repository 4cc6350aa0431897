/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring keeps the last operations: operation n is in slot n mod KEPT. All
 * changes of state are made by set_state, after the drawing in control.h.
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

#define KEPT 256
#define MOST_OPEN 32 /* operations that have not ended */

struct control {
    void (*wake_trainer)(void *arg);
    void (*wake_publisher)(void *arg);
    void *arg;
    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t finished;
    struct control_operation ring[KEPT];
    int64_t last; /* number of the newest operation; the first is 1 */
    int n_open;
};

static const struct kind {
    const char *name;
    bool for_trainer; /* it changes the learner */
    bool chooses;     /* it names the version that shall serve */
    bool hides_reason; /* it names the forgotten person */
} kinds[] = {
    [CONTROL_ROLLBACK_REWIND] = {"rollback_rewind", true, true, false},
    [CONTROL_ROLLBACK_SKIP] = {"rollback_skip", true, true, false},
    [CONTROL_ROLLBACK_KEEP] = {"rollback_keep", false, true, false},
    [CONTROL_PIN] = {"pin", false, false, false},
    [CONTROL_UNPIN] = {"unpin", false, false, false},
    [CONTROL_TAG] = {"tag", false, false, false},
    [CONTROL_UNTAG] = {"untag", false, false, false},
    [CONTROL_PROMOTE] = {"promote", false, true, false},
    [CONTROL_PROMOTE_LATEST] = {"promote_latest", false, false, false},
    [CONTROL_RELEASE_RANGE] = {"release_range", false, false, false},
    [CONTROL_RELEASE] = {"release", false, false, false},
    [CONTROL_FORGET_ID] = {"forget_id", true, false, true},
    [CONTROL_FORGET_DOMAIN] = {"forget_domain", true, false, true},
};

const char *control_kind_name(enum control_kind kind)
{
    return kinds[kind].name;
}

bool control_chooses(enum control_kind kind)
{
    return kinds[kind].chooses;
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

/* Locks: needs c->mutex */
static struct control_operation *find(struct control *c, int64_t id)
{
    struct control_operation *op;

    if (id <= 0)
        return NULL;
    op = &c->ring[id % KEPT];
    return op->id == id ? op : NULL;
}

static bool has_ended(const struct control_operation *op)
{
    return op->state >= CONTROL_DONE;
}

/* Locks: needs c->mutex */
static void set_state(struct control_operation *op, enum control_state next)
{
    static const enum control_state before[] = {
        [CONTROL_QUEUED] = CONTROL_SUBMITTED,
        [CONTROL_RUNNING] = CONTROL_QUEUED,
        [CONTROL_DONE] = CONTROL_RUNNING,
        [CONTROL_FAILED] = CONTROL_RUNNING,
    };

    BUG_ON(op->state != before[next]);
    op->state = next;
}

int control_submit(struct control *c, enum control_kind kind, int64_t version,
                   const char *reason, int64_t *id, struct err *err)
{
    struct control_operation *op;

    pthread_mutex_lock(&c->mutex);
    op = &c->ring[(c->last + 1) % KEPT];
    /* An operation that has not ended keeps its slot. */
    if (c->n_open >= MOST_OPEN || (op->id && !has_ended(op))) {
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
    c->n_open++;
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
    set_state(op, CONTROL_QUEUED);
    kind = op->kind;
    pthread_mutex_unlock(&c->mutex);
    if (kinds[kind].for_trainer)
        c->wake_trainer(c->arg);
    else
        c->wake_publisher(c->arg);
}

static int not_found(int64_t id, struct err *err)
{
    return err_set(err, ERR_NOTFOUND,
                   "no operation %lld (the last %d are kept)", (long long)id,
                   KEPT);
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
    while ((found = find(c, id)) && !has_ended(found))
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
    first = c->last > KEPT ? c->last - KEPT + 1 : 1;
    for (int64_t id = first; id <= c->last && !taken; id++) {
        struct control_operation *found = find(c, id);

        if (!found || found->state != CONTROL_QUEUED ||
            kinds[found->kind].for_trainer != for_trainer)
            continue;
        set_state(found, CONTROL_RUNNING);
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
    for (int64_t id = c->last, left = c->n_open; left > 0 && !choice; id--) {
        const struct control_operation *op = find(c, id);

        if (!op)
            break;
        if (has_ended(op))
            continue;
        left--;
        if (id != but && kinds[op->kind].chooses)
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
    bool failed = err && err->code != ERR_OK;
    struct control_operation *op;

    pthread_mutex_lock(&c->mutex);
    op = find(c, id);
    BUG_ON(!op);
    set_state(op, failed ? CONTROL_FAILED : CONTROL_DONE);
    if (failed)
        op->err = *err;
    snprintf(op->detail, sizeof op->detail, "%s", failed ? err->msg : detail);
    op->finished_ms = timing_wall_ms();
    c->n_open--;
    pthread_cond_broadcast(&c->finished);
    pthread_mutex_unlock(&c->mutex);
}

json_t *control_to_json(const struct control_operation *op)
{
    static const char *const states[] = {
        [CONTROL_SUBMITTED] = "queued", [CONTROL_QUEUED] = "queued",
        [CONTROL_RUNNING] = "running",  [CONTROL_DONE] = "done",
        [CONTROL_FAILED] = "failed",
    };
    json_t *root = json_pack(
        "{s:I, s:s, s:I, s:s, s:s, s:s, s:I}", "operation", (json_int_t)op->id,
        "kind", control_kind_name(op->kind),
        op->kind == CONTROL_RELEASE ? "record" : "version",
        (json_int_t)op->version, "state", states[op->state],
        "reason", kinds[op->kind].hides_reason ? "" : op->reason, "detail",
        op->detail, "asked_ms", (json_int_t)op->asked_ms);

    if (op->result[0])
        json_object_set_new(root, "result", json_loads(op->result, 0, NULL));
    if (op->finished_ms)
        json_object_set_new(root, "finished_ms",
                            json_integer(op->finished_ms));
    return root;
}
