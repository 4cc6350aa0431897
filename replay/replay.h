/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay.h - the replay buffer: which segments are kept, and which are sampled.
 *
 * There are two tiers over one set of rows. The recent ring holds the newest
 * segments; it lowers the prequential loss. The reservoir holds a uniform
 * sample of the past of each domain; it prevents forgetting. The quota of a
 * domain is proportional to n_d^a, with a floor. The domain that is fullest
 * relative to its quota gives up a row (reservoir sampling by domain: Vitter
 * 1985, algorithm R). A row that has left both tiers is dead.
 *
 * The holdout has the same structure without a ring, over rows of its own.
 *
 * A row is one segment and never changes. The index of live rows (key, domain,
 * latest loss, step of the last replay, tiers) is in memory and part of each
 * version's state. Rows are in SQLite. Rows added since the last publication
 * are staged in memory, where sampling sees them. Stored rows are cached in
 * memory as far as options.cache_bytes allows.
 *
 * A row key is a branch number and a counter. A rollback starts a new branch,
 * so that no key is used twice. Sampling does not depend on keys.
 *
 *     replay_offer -> STAGED - replay_take_changes, replay_db_write -> STORED
 *                       |                                              |
 *                       +-- leaves both tiers:    leaves both tiers: --+
 *                           never written         dead; deleted when no
 *                                                 kept version has it
 *
 * A sampled row that proves damaged or missing leaves both tiers. The sample
 * goes without it, and learning goes on.
 *
 * Owner:   the trainer owns a struct replay; sampled rows are valid until the
 *          next call that changes it
 * Threads: trainer; replay_db_* run on the publisher, with its connection
 */
#ifndef MNEME_REPLAY_REPLAY_H
#define MNEME_REPLAY_REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/segment.h"
#include "base/tensor.h"

struct sqlite3;
struct replay; /* fields are in replay.c */

enum replay_kind { REPLAY_ROWS, REPLAY_HOLDOUT };

struct replay_options {
    enum replay_kind kind;
    int64_t capacity;           /* live rows of both tiers */
    double recent_share;        /* share of the capacity for the ring; 0 for
                                   holdout */
    double sample_recent_share; /* share of a sample taken from the ring */
    double quota_exponent; /* a, 0 to 1: 0 equal, 1 proportional */
    int64_t cache_bytes;   /* memory for stored rows, to save reading them; 0:
                              no cache */
    uint64_t seed;
    /* Stored rows beyond these limits count as damaged. The caller keeps them,
     * and may raise them. NULL: rows are not checked. */
    const struct segment_limits *limits;
};

void replay_options_default(struct replay_options *o, enum replay_kind kind);

/* reader: a read-only connection of the caller's thread, which outlives the
 * buffer. May be NULL while no row is stored. */
struct replay *replay_create(const struct replay_options *options,
                             struct sqlite3 *reader);
void replay_free(struct replay *r);

/* Offers a segment that was learned or held out; nats is its loss then. Copies
 * what it keeps. */
void replay_offer(struct replay *r, const struct segment *s,
                  const struct segment_origin *origin, double nats);

/* One sampled row. */
struct replay_sampled {
    int64_t key;
    size_t slot; /* in the index, valid until the next change */
    struct segment segment;
};

/*
 * Samples rows for a step, without repetition, until their targets reach
 * n_tokens (with tokens_are_rows, n_tokens rows: preset linear), and reads
 * them. Within the reservoir, domains have equal chances.
 *   sampled  *sampled is r's array of *n rows, valid until the next call
 * An empty buffer gives *n = 0. Damaged and missing rows are left out and leave
 * the index; replay_next_damaged returns their keys.
 */
int replay_sample(struct replay *r, uint64_t step, size_t n_tokens,
                  bool tokens_are_rows, struct replay_sampled **sampled,
                  size_t *n, struct err *err);

/* Records that a sampled row was replayed at a step with this loss. */
void replay_replayed(struct replay *r, const struct replay_sampled *sampled,
                     uint64_t step, double nats);

/* replay_next_damaged returns the key of a row that was found damaged or
 * missing, each key once; false when there is none. replay_damaged counts them
 * since replay_create. */
bool replay_next_damaged(struct replay *r, int64_t *key);
int64_t replay_damaged(const struct replay *r);

/*
 * Removes from the index stored rows that the table no longer has: they were
 * forgotten or lost to damage. Reads the table's keys once. *n: how many.
 */
int replay_drop_missing(struct replay *r, size_t *n, struct err *err);
int64_t replay_missing(const struct replay *r); /* since replay_create */

int64_t replay_live(const struct replay *r);  /* rows */
/* Returns the live rows' share of all rows ever offered; 1 while none was. */
double replay_kept(const struct replay *r);
int64_t replay_bytes(const struct replay *r); /* of live rows */
int64_t replay_staged_bytes(const struct replay *r);
int64_t replay_live_in_domain(const struct replay *r, int32_t domain);

/* --- publishing: from the trainer to the publisher ---------------------- */

/* The rows born and the keys that died since the last publication. Owns
 * everything in it. */
struct replay_changes;

/*
 * Exports the index as tensors (prefix "replay." or "holdout."), and the
 * changes since the last call. Call replay_stored or replay_not_stored before
 * the next call. Until replay_stored, sampling uses the staged rows.
 */
struct replay_changes *replay_take_changes(struct replay *r,
                                           struct tensor_list *index);

/* Tell whether the version with these changes is durable. If it failed, the
 * changes belong to the next version. Both free c. Threads: trainer. */
void replay_stored(struct replay *r, struct replay_changes *c);
void replay_not_stored(struct replay *r, struct replay_changes *c);

/* Frees changes whose buffer is no longer used. */
void replay_changes_free(struct replay_changes *c);

/*
 * Loads an index, and drops all staged rows. Changes that a publication still
 * holds belong to the old state; it only gives them back.
 *   branch   0: keys continue where they were. Only for the newest version of
 *            all. Otherwise (after a rollback, and at a restart after a
 *            rollback that no version has followed) the newest version number
 *            ever used + 1. It is above every branch of a stored row, for a
 *            branch is first stored by a version of its number. A key that
 *            exists makes replay_db_write fail.
 * If the capacity has become smaller, the rows beyond it die. Rows that the
 * table no longer has leave, as by replay_drop_missing.
 */
int replay_import(struct replay *r, const struct tensor_list *index,
                  int64_t branch, struct err *err);

/* --- the database, on a connection of the caller ------------------------ */

/* The SQL that creates replay_rows and holdout_rows, for store_open. */
extern const char *const replay_schema[];
extern const size_t replay_schema_n;

/*
 * In the transaction of a publication: inserts born rows with born = version
 * and marks dead keys with died = version. The first write after replay_import
 * also compares the table with the index: rows that the index lacks die, and
 * rows that it has live, whatever rollbacks came before.
 */
int replay_db_write(struct sqlite3 *db, const struct replay_changes *c,
                    int64_t version, struct err *err);

/* In a transaction, after a rollback to version `to`; `last` is the newest
 * version number ever used. Rows born after `to` die at last + 1, and rows that
 * died after `to` live again. */
int replay_db_rollback(struct sqlite3 *db, int64_t to, int64_t last,
                       struct err *err);

/* In a transaction: deletes dead rows that are live in no version of kept[n]
 * (ascending), at most max_rows; *deleted out. */
int replay_db_sweep(struct sqlite3 *db, const int64_t *cached, size_t n,
                    int64_t max_rows, int64_t *deleted, struct err *err);

/*
 * Calls visit() for each row, live or dead, of records without an id. The rows
 * of a record follow each other in the order in which they were written. All
 * rows are read; damaged ones are left out.
 */
struct row;
int replay_db_each_unnamed(struct sqlite3 *db, enum replay_kind kind,
                           void (*visit)(void *arg, const struct row *row),
                           void *arg, struct err *err);

/* In a transaction: deletes the rows of these keys, and raises *n by their
 * number. replay_drop_missing then updates the index. */
int replay_db_erase(struct sqlite3 *db, enum replay_kind kind,
                    const int64_t *keys, size_t n_keys, int64_t *n,
                    struct err *err);

/*
 * In a transaction: deletes rows, live and dead, by an index. With an id: the
 * rows of that record. Without: the rows of a domain that were born in versions
 * first_born to last_born, since the domain's number belongs to a branch.
 *   found  called with the record of each row
 *   *n     raised by the number of rows
 * replay_drop_missing then updates the index.
 */
struct replay_forget {
    const char *id; /* NULL: by domain */
    int32_t domain;
    int64_t first_born, last_born;
};
int replay_db_forget(struct sqlite3 *db, enum replay_kind kind,
                     const struct replay_forget *f,
                     void (*found)(void *arg, int32_t partition_id,
                                   int64_t offset),
                     void *arg, int64_t *n, struct err *err);

/*
 * Reads the segments of keys, in their order, for the gate. Missing and damaged
 * rows are left out: keys becomes the keys of out->items, and out->n_damaged
 * counts the others. Domains and labels are as stored.
 */
struct replay_segments {
    struct segment *items; /* [n] */
    size_t n, n_damaged;
    void *memory; /* owns what the items point to */
};
int replay_db_read(struct sqlite3 *db, enum replay_kind kind, int64_t *keys,
                   size_t n, struct replay_segments *out, struct err *err);
void replay_segments_free(struct replay_segments *s);

/* Finds keys and domains of the live rows in an exported index, to sample
 * segments for the gate. Points into the list. */
int replay_index_keys(const struct tensor_list *index, enum replay_kind kind,
                      const int64_t **keys, const int64_t **domains,
                      size_t *n, struct err *err);

/* Finds the branch of an exported index. */
int replay_index_branch(const struct tensor_list *index, enum replay_kind kind,
                        int64_t *branch, struct err *err);

#endif
