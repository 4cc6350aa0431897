/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.h - what users ask of the daemon, as numbered operations.
 *
 * A request is checked at once where that needs no other thread (does the
 * version exist), given a number, carried out by the trainer (rollback rewind
 * and skip, forgetting) or the publisher (all others), and can be asked after
 * or waited for. A release has the row of the quarantine as its version; 0 is
 * all rows of the reason, "" being any. What is forgotten is not told again.
 *
 *     QUEUED, and started -> RUNNING -> DONE | FAILED
 *
 * Threads: any
 */
#ifndef MNEME_DAEMON_BOARD_CONTROL_H
#define MNEME_DAEMON_BOARD_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "base/err.h"

enum control_kind {
    CONTROL_ROLLBACK_REWIND,
    CONTROL_ROLLBACK_SKIP,
    CONTROL_ROLLBACK_KEEP,
    CONTROL_PIN,
    CONTROL_UNPIN,
    CONTROL_PROMOTE,       /* serve exactly this version */
    CONTROL_PROMOTE_LATEST, /* follow the newest that passed again */
    CONTROL_RELEASE_RANGE, /* a skipped range; its id is in `version` */
    CONTROL_RELEASE,       /* from quarantine */
    CONTROL_FORGET_ID,     /* erase records; the reason says whose */
    CONTROL_FORGET_DOMAIN
};

enum control_state {
    CONTROL_QUEUED,
    CONTROL_RUNNING,
    CONTROL_DONE,
    CONTROL_FAILED
};

struct control_operation {
    int64_t id;
    enum control_kind kind;
    int64_t version;
    char reason[256];
    enum control_state state;
    bool started;
    struct err err; /* when FAILED */
    int64_t asked_ms, finished_ms;
    char detail[512]; /* what it did, one line */
    char result[8192]; /* the same as a JSON object, for some kinds; or "" */
};

struct control;

/* wake_trainer and wake_publisher are called when one has something to do. */
struct control *control_create(void (*wake_trainer)(void *arg),
                               void (*wake_publisher)(void *arg), void *arg);
void control_free(struct control *c);

/* ERR_STATE when too many operations wait. *id out. It is known from now on
 * (control_choice), and carried out after control_start. */
int control_submit(struct control *c, enum control_kind kind, int64_t version,
                   const char *reason, int64_t *id, struct err *err);
void control_start(struct control *c, int64_t id);

/* A copy of operation id; ERR_NOTFOUND (the last 256 are remembered). */
int control_get(struct control *c, int64_t id, struct control_operation *op,
                struct err *err);

/* As control_get, after it has ended or timeout_ms have passed. */
int control_wait(struct control *c, int64_t id, int64_t timeout_ms,
                 struct control_operation *op, struct err *err);

/* The next queued operation for that thread, now RUNNING; false: none. */
bool control_take(struct control *c, bool for_trainer,
                  struct control_operation *op);

/* The version that the newest operation that has not ended, and is not `but`,
 * wants to serve; 0: none does. `promote latest` does not count: it chooses
 * when it runs. */
int64_t control_choice(struct control *c, int64_t but);

bool control_chooses(enum control_kind kind);

/* What it did, for programs; before control_finish. */
void control_set_result(struct control *c, int64_t id, const char *json);

/* err NULL or code 0: DONE. */
void control_finish(struct control *c, int64_t id, const struct err *err,
                    const char *detail);

const char *control_kind_name(enum control_kind kind);
const char *control_state_name(enum control_state state);
json_t *control_to_json(const struct control_operation *op);

#endif
