/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tombstones.h - what is forgotten, and stays forgotten.
 *
 * One transaction takes away the rows of an id, or of a domain, from the
 * quarantine and the releases, and by a callback from other parts' tables; it
 * leaves in the control log, which only grows,
 *
 *   forget         for each record of which a row was found: partition, offset,
 *                  hash of the id or the domain
 *   forget_id      for each partition: every record in it with an id of this
 *   forget_domain  hash (a domain likewise), up to last_offset, whether replay
 *                  still had a row of it or not
 *
 * so that no rewind learns them again, and marks the versions that learned such
 * a record, or come from one that did: they answer as before, but cannot be
 * learned again. What a later version learns has no part in it.
 *
 * SQLite overwrites what is deleted (secure_delete), but a page that was split
 * before may hold a copy in the gap: so tombstones_scrub writes the file anew
 * and empties the log. A setting remembers that it is to be done until it is.
 *
 * Threads: with a store the publisher, with a catalog any
 */
#ifndef MNEME_STORE_TOMBSTONES_H
#define MNEME_STORE_TOMBSTONES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "store/catalog.h"
#include "store/store.h"

enum tombstones_kind { TOMBSTONES_ID, TOMBSTONES_DOMAIN };

uint64_t tombstones_hash(enum tombstones_kind kind, const char *name);

/* --- writing ------------------------------------------------------------ */

struct tombstones_found; /* records */

void tombstones_add(struct tombstones_found *found, int32_t partition_id,
                    int64_t offset);

struct tombstones_forget {
    enum tombstones_kind kind;
    const char *name;
    /* Every partition that is known; next_offset: what is before it. */
    const struct store_offset *partitions;
    size_t n_partitions;
    /* Does the record with these bytes have that id? For rows whose id was not
     * parsed. NULL: those rows stay. */
    bool (*has_id)(const void *bytes, size_t n_bytes, const char *id);
    /* Inside the transaction: deletes rows of other tables and tells
     * tombstones_add of their records. May be NULL. */
    int (*in_transaction)(struct sqlite3 *db, struct tombstones_found *found,
                          void *arg, struct err *err);
    void *arg;
};

struct tombstones_report {
    int64_t records;               /* of which rows were found */
    int64_t quarantine, releases;  /* rows */
    int64_t *learned;              /* [n_learned] kept versions, ascending */
    size_t n_learned;
    int64_t *marked; /* [n_marked]: these, and those that held one out */
    size_t n_marked;
};

/* All or nothing. The report's arrays are to be released. */
int tombstones_write(struct store *s, const struct tombstones_forget *f,
                     struct tombstones_report *report, struct err *err);
void tombstones_report_release(struct tombstones_report *report);

/*
 * Writes the database file anew, without erased bytes. Needs free space of its
 * size, and some seconds for each GB. Does nothing when
 * nothing was forgotten since the last time; store_open makes up for one that
 * was interrupted. ERR_FULL, ERR_STATE (a reader holds it): not now, try again
 * later; until then the file may still hold erased bytes.
 */
int tombstones_scrub(struct store *s, struct err *err);

/* *waits: does the scrub still have to be done? */
int tombstones_scrub_waits(struct store *s, bool *waits, struct err *err);

/* --- reading ------------------------------------------------------------ */

struct tombstone {
    uint64_t hash;
    int32_t partition_id;
    int64_t last_offset;
};

/* Those by id and by domain, for tombstones_have; to be freed. */
int tombstones_read(struct catalog *c, struct tombstone **rows, size_t *n,
                    struct err *err);

bool tombstones_have(const struct tombstone *rows, size_t n, uint64_t hash,
                     int32_t partition_id, int64_t offset);

#endif
