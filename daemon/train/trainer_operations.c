/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What changes the learner other than a step. Nothing is on its way to the
 * publisher when it begins: roll_back and forget wait for that first.
 *
 *     learning --go_back: allowed--> learning, from the older version
 *        ^     --go_back: too often, or it cannot--> parked
 *        +------ unpark: an operator rolls back or promotes
 *
 * That it is parked is in the control log: a restart begins there.
 */
#include "config.h"

#include "daemon/train/trainer_private.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/timing.h"
#include "daemon/train/forget.h"
#include "daemon/train/options.h"
#include "daemon/train/rewind.h"

/* --- going back, forgetting --------------------------------------------- */

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
    trainer_drain_publisher(t);
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
        trainer_show_no_step(t);
    }
    trainer_show(t, true);
    return rc;
}

/* On the publisher's thread, which carries out operators' choices, too: so this
 * one comes before or after a choice for both of us. */
static int write_hold(struct store *s, void *arg, struct err *err)
{
    struct trainer *t = arg;

    t->parked_choices = publisher_choices(t->options.publisher);
    return store_hold(s, t->parked_reason, err);
}

/* Learning holds until somebody looks: what was consumed stays consumed, and
 * what was learned since the last version is in memory only. */
static void park(struct trainer *t, const char *what, const char *why)
{
    struct guard_request dropped;
    struct err err = ERR_INIT;
    int rc;

    t->parked = true;
    snprintf(t->parked_reason, sizeof t->parked_reason,
             "learning holds, because %.80s; `mneme rollback` or `mneme "
             "promote` lets it go on",
             what);
    log_error("guard", "action=hold reason=\"%s\" cause=\"%s\"",
              t->parked_reason, why);
    rc = publisher_run(t->options.publisher, write_hold, t, &err);
    if (rc == ERR_FULL)
        log_error("guard", "reason=\"a restart will not know that learning "
                           "holds: %s\"",
                  err.msg);
    else if (rc)
        trainer_fail(t, &err);
    publisher_take_wish(t->options.publisher, &dropped);
    trainer_show_state(t, false);
}

int trainer_find_hold(struct trainer *t, struct err *err)
{
    struct catalog_hold hold = {0};
    /* Before the hold is read: a choice in between lifts it. */
    int64_t choices = publisher_choices(t->options.publisher);
    int rc = catalog_hold(t->options.catalog, &hold, err);

    if (rc == 0 && hold.version && !hold.lifted) {
        t->parked = true;
        t->parked_choices = choices;
        snprintf(t->parked_reason, sizeof t->parked_reason, "%s", hold.reason);
        log_error("guard", "action=hold version=%lld reason=\"%s\"",
                  (long long)hold.version, t->parked_reason);
    }
    free(hold.reason);
    return rc;
}

/* An operator has done something about it. */
static void unpark(struct trainer *t, const char *what)
{
    if (!t->parked)
        return;
    t->parked = false;
    log_info("guard", "action=resume reason=\"%s\"", what);
}

void trainer_look_for_choice(struct trainer *t)
{
    if (t->parked &&
        publisher_choices(t->options.publisher) != t->parked_choices)
        unpark(t, "what serves was chosen");
}

/* A version with everything that has been decided, also without a step. */
static int publish_all(struct trainer *t, struct err *err)
{
    trainer_publish_now(t);
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
        .next_release = trainer_next_release(t),
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
    trainer_show(t, true);
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

void trainer_run_operations(struct trainer *t)
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
        if (rc && !forgets)
            publisher_serve_as_stored(t->options.publisher, op.id);
        if (rc == 0 && !forgets)
            unpark(t, "rolled back");
        control_finish(t->options.control, op.id, rc ? &err : NULL, detail);
        if (rc == ERR_DIVERGED)
            trainer_fail(t, &err);
    }
}

/* May it go back by itself now? */
static int may_go_back(struct trainer *t, bool *may, struct err *err)
{
    int64_t at_ms[GUARD_MOST];
    size_t n = 0;
    int rc = catalog_went_back(t->options.catalog, GUARD_MOST, at_ms, &n, err);

    *may = rc == 0 && guard_allow(at_ms, n, timing_wall_ms());
    return rc;
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
    bool may = false;
    int rc = catalog_pointers(t->options.catalog, &pointers, &err);

    if (rc == 0)
        rc = may_go_back(t, &may, &err);
    if (rc == 0 && !may) {
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
        trainer_fail(t, &err);
}

bool trainer_heed(struct trainer *t)
{
    struct guard_request wish;

    if (t->parked || !publisher_take_wish(t->options.publisher, &wish))
        return false;
    go_back(t, wish.version, false, wish.reason);
    return true;
}

/* The gate may have refused the newest version, so what answers stays. */
void trainer_recover(struct trainer *t, const struct err *cause)
{
    struct catalog_pointers pointers;
    struct err err = ERR_INIT;

    log_error("diverged", "%s", cause->msg);
    if (!t->options.conf->publish.auto_rollback) {
        trainer_fail(t, cause);
        return;
    }
    trainer_drain_publisher(t);
    if (catalog_pointers(t->options.catalog, &pointers, &err) != 0)
        trainer_fail(t, &err);
    else
        go_back(t, pointers.head, true, cause->msg);
}

/* --- other settings while it runs --------------------------------------- */

/* A version keeps the settings that it was learned with: what was learned with
 * the old ones gets its own first. */
void trainer_take_reload(struct trainer *t)
{
    pthread_mutex_lock(&t->mutex);
    if (t->next) {
        if (t->l->learner && !t->held)
            trainer_publish_now(t);
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
