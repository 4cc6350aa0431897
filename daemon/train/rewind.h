/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rewind.h - the learner's part of a rollback: `rewind` and `skip`.
 *
 *     check the version's row and files
 *     rewind: the source makes sure that it can read from there, and does
 *     one transaction: head and serving are N (keep_serving: the head alone),
 *         later versions rolled back, for `skip` the range between goes into
 *         the control log: for good, or (automatic) in quarantine
 *     learner, replay, holdout, counters become N's, on a new branch
 *
 * Until the transaction a failure leaves everything as it was (a source that
 * was moved is moved back); after it only a damaged memory could fail, and the
 * process ends, to start from what the transaction says.
 *
 * Threads: trainer, with no publish on its way
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
    bool keep_serving; /* what answers stays */
    bool automatic;    /* nobody asked: a skipped range is in quarantine, to be
                          released; the second time it is skipped for good */
    const char *reason;
    int64_t *epoch; /* of the source; one more when it was moved */
};

/*
 * detail: one line about what it did. *for_good (may be NULL): a range that had
 * been released from quarantine is skipped once more, and that is final.
 * ERR_NOTFOUND, ERR_STATE (pending, damaged, cannot be read again): nothing
 * has changed. ERR_DIVERGED: the process must end.
 */
int rewind_run(const struct rewind_request *r, char *detail, size_t size,
               bool *for_good, struct err *err);

#endif
