/* SPDX-License-Identifier: Apache-2.0 */
/*
 * releases.h - records that an operator has released from quarantine.
 *
 * Releases are a stream of their own. Each row of the table `releases` has the
 * bytes of a record; its id is the offset in the only partition of the topic
 * RELEASES_TOPIC. The position in that partition is part of each version. So a
 * released record is learned once, is read again after a rewind or a kill, and
 * is in the ledger, like any other record. Rows are deleted only when their
 * record is forgotten.
 *
 * The control log has these kinds of rows about offsets:
 *
 *   skip, quarantine, skip_for_good   a range that a rollback left out. It is
 *            never learned, unless store_release writes a release of the range:
 *            then a rewind reads its records from the source again
 *   release_record   one offset. The record now comes from RELEASES_TOPIC, so
 *            its original offset is always skipped
 *   forget   one offset (tombstones.h)
 *
 * catalog_skipped returns the offsets to skip.
 *
 * Threads: with a store the publisher, with a catalog any
 */
#ifndef MNEME_STORE_RELEASES_H
#define MNEME_STORE_RELEASES_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "store/catalog.h"
#include "store/store.h"

#define RELEASES_TOPIC "(released)"

/*
 * Releases rows of the quarantine, all or none, in one transaction. ERR_STATE
 * when a record is released already or its bytes were cut; ERR_NOTFOUND.
 */
int releases_write(struct store *s, const int64_t *rows, size_t n,
                   struct err *err);

struct releases_row {
    int64_t id, time_ms;
    int64_t offset; /* with topic and partition: its original position */
    char *topic;
    int32_t partition;
    char *reason; /* of the quarantine */
    char *domain; /* NULL: not known */
    char *bytes;  /* n_bytes and a NUL */
    size_t n_bytes;
};

/* Reads the rows from id `from` on, ascending, at most limit (0: no limit). */
int releases_read(struct catalog *c, int64_t from, size_t limit,
                  struct releases_row **rows, size_t *n, struct err *err);
void releases_free(struct releases_row *rows, size_t n);

#endif
