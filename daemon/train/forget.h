/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forget.h - erasing records: an id's, or a domain's.
 *
 *     trainer    a version of all that is decided: nothing is staged any more
 *     publisher  one transaction: rows of replay, holdout, quarantine and
 *                releases go, tombstones come (store/tombstones.h); the
 *                database file is written anew
 *     trainer    what the table no longer has leaves the index; waiting records
 *                are decided again
 *
 * An id is the one that the record's parser read. For records without one, the
 * id is searched in what is kept: the bytes in the quarantine, and texts in
 * replay and holdout that begin like an object. An id that was cut off before
 * the record was kept is not found.
 *
 * What is forgotten is what the stream holds by now, as far as the source knows
 * its end: a record that comes later is a new one. Since a version lies right
 * before it, the next one can be learned again, and a kill changes nothing: at
 * start the index of that version loses the same rows.
 *
 * Versions that learned such a record stay, and answer as before; the result
 * names them. A record that replay no longer holds has left no trace of its id,
 * so that a version which learned only such ones is not named.
 *
 * Threads: trainer, with no publish on its way and nothing staged
 */
#ifndef MNEME_DAEMON_TRAIN_FORGET_H
#define MNEME_DAEMON_TRAIN_FORGET_H

#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/err.h"
#include "daemon/train/learning.h"
#include "daemon/publish/publisher.h"
#include "daemon/stream/source.h"
#include "store/tombstones.h"

struct forget_request {
    struct learning *learning;
    struct source *source;
    struct publisher *publisher;
    enum tombstones_kind kind;
    const char *name;
    int64_t next_release; /* releases before it have been read */
};

/*
 *   detail  one line about what it did
 *   *result {"replay", "holdout", "quarantine", "released", "records": counts,
 *           "versions": [that learned from them], "not_retrainable": [..],
 *           "erasure_pending": true when there was no room to write the
 *           database file anew: it may still hold their bytes}
 * ERR_NOTFOUND: no such domain. ERR_FULL, ERR_IO: says whether the rows are
 * gone. ERR_DIVERGED: the process must end, to start without them.
 */
int forget_run(const struct forget_request *r, char *detail, size_t size,
               json_t **result, struct err *err);

#endif
