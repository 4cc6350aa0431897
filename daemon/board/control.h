/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.h - numbered operations that users ask for.
 *
 * An HTTP thread submits an operation and gets its number. The trainer carries
 * out rewind, skip and forget; the publisher carries out all other kinds. A
 * client reads the operation by its number, or waits for its end.
 *
 *     control_submit  control_start  control_take  control_finish
 *          |               |              |              |
 *          v               v              v              v
 *      SUBMITTED ------> QUEUED ------> RUNNING ----> DONE | FAILED
 *
 * A submitted operation is known to control_choice, but no thread takes it yet:
 * its version may begin to serve first.
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
    CONTROL_TAG,            /* `reason` is the name (store/tags.h) */
    CONTROL_UNTAG,          /* the same; `version` is 0 */
    CONTROL_PROMOTE,        /* serve exactly this version */
    CONTROL_PROMOTE_LATEST, /* serve the newest version that passed */
    CONTROL_RELEASE_RANGE,  /* `version` is the id of a skipped range */
    CONTROL_RELEASE,        /* `version` is the row of a quarantined record; 0:
                               all rows with the reason `reason`, "": any */
    CONTROL_FORGET_ID,      /* `reason` is the id of the records to erase */
    CONTROL_FORGET_DOMAIN   /* `reason` is their domain */
};

enum control_state {
    CONTROL_SUBMITTED,
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
    struct err err; /* when FAILED */
    int64_t asked_ms, finished_ms;
    char detail[512]; /* what the operation did, one line */
    char result[8192]; /* the same as a JSON object, for some kinds; or "" */
};

struct control;

/* control_start calls wake_trainer or wake_publisher. */
struct control *control_create(void (*wake_trainer)(void *arg),
                               void (*wake_publisher)(void *arg), void *arg);
void control_free(struct control *c);

/* Adds an operation, SUBMITTED. *id out. ERR_STATE when too many operations
 * have not ended. */
int control_submit(struct control *c, enum control_kind kind, int64_t version,
                   const char *reason, int64_t *id, struct err *err);

/* Queues a submitted operation and wakes its thread. */
void control_start(struct control *c, int64_t id);

/* Copies operation `id`. ERR_NOTFOUND: only the last 256 are kept. */
int control_get(struct control *c, int64_t id, struct control_operation *op,
                struct err *err);

/* As control_get, after the operation has ended or timeout_ms have passed. */
int control_wait(struct control *c, int64_t id, int64_t timeout_ms,
                 struct control_operation *op, struct err *err);

/* Copies the oldest queued operation of that thread, which is RUNNING from now
 * on. False: there is none. */
bool control_take(struct control *c, bool for_trainer,
                  struct control_operation *op);

/* Does this kind name the version that shall serve? CONTROL_PROMOTE_LATEST does
 * not: it chooses the version when it runs. */
bool control_chooses(enum control_kind kind);

/* The version that the newest open operation with control_chooses names. 0: no
 * such operation is open.
 *   but  an operation to leave out; 0: none */
int64_t control_choice(struct control *c, int64_t but);

/* Sets `result` of a running operation. */
void control_set_result(struct control *c, int64_t id, const char *json);

/* Ends a running operation. err NULL or code 0: DONE, else FAILED. */
void control_finish(struct control *c, int64_t id, const struct err *err,
                    const char *detail);

const char *control_kind_name(enum control_kind kind);

/* The operation as the API shows it. An operation to forget has no reason
 * there: the reason names the forgotten person. */
json_t *control_to_json(const struct control_operation *op);

#endif
