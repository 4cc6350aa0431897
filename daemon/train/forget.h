/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forget.h - erases the records of an id, or of a domain.
 *
 *     trainer    publishes a version of all decided records: none is staged
 *     publisher  one transaction erases rows of replay, holdout, quarantine and
 *                releases, and writes tombstones (store/tombstones.h). Then the
 *                database file is written anew
 *     trainer    removes the erased rows from its indexes, and decides waiting
 *                records again
 *
 * Thanks to the version before the transaction, the next one can be retrained.
 * After a kill, the next start removes the same rows from that version's index.
 *
 * A record matches by the id that its parser read. For records without a parsed
 * id, the stored bytes are searched: quarantined records, and texts in replay
 * and holdout that begin like a JSON object. An id that was cut off before the
 * record was stored is not found.
 *
 * Records are forgotten up to the end of each partition, as far as the source
 * knows that end. A record that arrives later is a new record.
 *
 * Versions that learned a forgotten record stay, and answer as before; the
 * result names them. When all rows of a record have left replay, its id is
 * stored nowhere, and the versions that learned the record are not named.
 *
 * Threads: trainer, while the publisher has no snapshot and nothing is staged
 */
#ifndef MNEME_DAEMON_TRAIN_FORGET_H
#define MNEME_DAEMON_TRAIN_FORGET_H

#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/err.h"
#include "daemon/train/learning.h"
#include "daemon/publish/publisher.h"
#include "daemon/stream/record.h"
#include "daemon/stream/source.h"
#include "store/tombstones.h"

struct forget_request {
    struct learning *learning;
    struct source *source;
    struct publisher *publisher;
    enum tombstones_kind kind;
    const char *name;
    int64_t next_release; /* released records before it have been read */
    /* A tombstone of the stream, whose id is `name`; NULL: an operator's
     * request. Only records before the tombstone in its partition are
     * forgotten, and all stored rows. The file is written anew within some
     * minutes, since there may be many tombstones. */
    const struct record *tombstone;
};

/*
 *   detail   one line for the user: what was erased
 *   *result  {"replay", "holdout", "quarantine", "released", "records": counts,
 *            "versions": [that learned from the records],
 *            "not_retrainable": [..],
 *            "erasure_pending": true: there was no room to write the database
 *            file anew, and it may still hold the erased bytes}
 * ERR_NOTFOUND: there is no such domain. ERR_FULL, ERR_IO: the message says
 * whether the rows are erased. ERR_DIVERGED: the rows are erased, and the
 * process must end; the next start loads the state without them.
 */
int forget_run(const struct forget_request *r, char *detail, size_t size,
               json_t **result, struct err *err);

#endif
