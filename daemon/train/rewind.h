/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rewind.h - learning goes back to an older version.
 *
 *     rewind   records after the version are read and learned again
 *     skip     records after the version are never learned; the control log
 *              keeps their ranges. An automatic rollback puts them into
 *              quarantine first, from which an operator can release them
 *
 * The order of the steps is the order in rewind_run. One transaction of the
 * store decides. A failure before the transaction changes nothing: a source
 * that was moved is moved back. A failure after it ends the process, and the
 * next start loads the version that the transaction names.
 *
 * Threads: trainer, while the publisher has no snapshot
 */
#ifndef MNEME_DAEMON_TRAIN_REWIND_H
#define MNEME_DAEMON_TRAIN_REWIND_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "daemon/train/learning.h"
#include "daemon/publish/publisher.h"
#include "daemon/stream/source.h"

struct rewind_request {
    struct learning *learning;
    struct source *source;
    struct publisher *publisher;
    int64_t version;
    bool skip;
    bool keep_serving; /* the serving version stays */
    bool automatic;    /* by the guard: skipped ranges go into quarantine. A
                          range that was released before is skipped for good */
    const char *reason;
    int64_t *epoch; /* of the source; raised by one when the source is moved */
};

/*
 *   detail     one line for the user: what the rollback did
 *   *for_good  true: a released range is skipped again, and for good
 *   returns    ERR_NOTFOUND, ERR_STATE (the version has no verdict or is
 *              damaged, the records cannot be read again), ERR_CORRUPT,
 *              ERR_FULL: nothing has changed.
 *              ERR_DIVERGED: the process must end
 */
int rewind_run(const struct rewind_request *r, char *detail, size_t size,
               bool *for_good, struct err *err);

#endif
