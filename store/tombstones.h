/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tombstones.h - forgets records, and keeps them from being learned again.
 *
 * One transaction deletes the rows of an id, or of a domain, from the
 * quarantine and the releases, and by a callback from the tables of other
 * parts. It writes tombstones into the control log, which only grows, so that
 * no rewind learns the records again:
 *
 *   forget         for each record that had a row: its partition and offset,
 *                  and the hash of the id or the domain
 *   forget_id      for each partition: the hash of the id, for every record up
 *                  to last_offset, whether it had a row or not
 *   forget_domain  the same for a domain
 *
 * It also marks the versions that learned or held out such a record, and their
 * descendants. They answer as before, but cannot be retrained. Versions that
 * are published later are not marked.
 *
 * SQLite overwrites deleted bytes (secure_delete), but the free space of a page
 * that was split earlier may still have a copy. So tombstones_scrub rewrites
 * the file and empties the log. A setting says that a scrub is due until it is
 * done.
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

struct tombstones_found; /* the records whose rows were found */

void tombstones_add(struct tombstones_found *found, int32_t partition_id,
                    int64_t offset);

struct tombstones_forget {
    enum tombstones_kind kind;
    const char *name;
    /* Every known partition. A tombstone covers the offsets before its
     * next_offset. */
    const struct store_offset *partitions;
    size_t n_partitions;
    /* Does the record with these bytes have that id? Called for rows whose id
     * was not parsed. NULL: those rows stay. */
    bool (*has_id)(const void *bytes, size_t n_bytes, const char *id);
    /* Called inside the transaction: deletes rows of other tables and adds
     * their records with tombstones_add. May be NULL. */
    int (*in_transaction)(struct sqlite3 *db, struct tombstones_found *found,
                          void *arg, struct err *err);
    void *arg;
};

struct tombstones_report {
    int64_t records;              /* whose rows were found */
    int64_t quarantine, releases; /* deleted rows */
    int64_t *learned; /* [n_learned] versions that learned one, ascending */
    size_t n_learned;
    int64_t *marked; /* [n_marked] versions that learned or held out one */
    size_t n_marked;
};

/* Forgets the records, all or none. The caller releases the report. */
int tombstones_write(struct store *s, const struct tombstones_forget *f,
                     struct tombstones_report *report, struct err *err);
void tombstones_report_release(struct tombstones_report *report);

/*
 * Rewrites the database file without the erased bytes. Needs free space of the
 * size of the file, and some seconds for each GB. Does nothing unless a scrub
 * is due. store_open repeats an interrupted scrub. ERR_FULL or ERR_STATE (a
 * reader has locked the file): the caller tries again later; until then the
 * file may have erased bytes.
 */
int tombstones_scrub(struct store *s, struct err *err);

/* *waits: is a scrub due? */
int tombstones_scrub_is_due(struct store *s, bool *waits, struct err *err);

/* --- reading ------------------------------------------------------------ */

struct tombstone {
    uint64_t hash;
    int32_t partition_id;
    int64_t last_offset;
};

/* Reads the tombstones by id and by domain, for tombstones_have; to be
 * freed. */
int tombstones_read(struct catalog *c, struct tombstone **rows, size_t *n,
                    struct err *err);

/* Does a tombstone cover the record at `offset` with this hash? */
bool tombstones_have(const struct tombstone *rows, size_t n, uint64_t hash,
                     int32_t partition_id, int64_t offset);

#endif
