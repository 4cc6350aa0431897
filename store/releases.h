/* SPDX-License-Identifier: Apache-2.0 */
/*
 * releases.h - records that come back from quarantine.
 *
 * Releases are a little stream of their own: a row of `releases` for each, with
 * the record's bytes, whose ids are the offsets of one partition of the topic
 * RELEASES_TOPIC. Its position belongs to each version like any other's, so
 * that a released record is learned once, is read again after a rewind or a
 * kill, and is in the ledger, by what all records have. The table only grows,
 * but for what is forgotten.
 *
 * What the control log says of offsets:
 *
 *   skip, quarantine, skip_for_good   a range that a rollback left out: never
 *            learned, unless a release of that range follows (store_release):
 *            its records are in the source alone, and a rewind reads them
 *   release_record   one offset: the record comes by RELEASES_TOPIC from now
 *            on, so that its own offset is passed over wherever it is
 *            read again
 *   forget   one offset: tombstones.h
 *
 * catalog_skipped adds it up.
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
 * when one has been released already or its bytes were cut; ERR_NOTFOUND.
 */
int releases_write(struct store *s, const int64_t *rows, size_t n,
                   struct err *err);

struct releases_row {
    int64_t id, time_ms, offset; /* offset, topic, partition: where it was */
    char *topic;
    int32_t partition;
    char *reason; /* of the quarantine */
    char *domain; /* or NULL: not known */
    char *bytes;  /* n_bytes and a NUL */
    size_t n_bytes;
};

/* Those with an id of `from` or more, ascending, at most limit (0: all). */
int releases_read(struct catalog *c, int64_t from, size_t limit,
                  struct releases_row **rows, size_t *n, struct err *err);
void releases_free(struct releases_row *rows, size_t n);

#endif
