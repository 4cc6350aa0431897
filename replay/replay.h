/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay.h - the segments that are kept: which stay, which are drawn.
 *
 * Two tiers over one set of rows. A recent ring holds the newest segments (it
 * lowers the prequential loss); a reservoir, balanced by domain, holds a
 * uniform sample of each domain's past (it stops forgetting). The quota of a
 * domain is proportional to n_d^a, with a floor; the fullest domain, measured
 * against its quota, gives a row up (reservoir sampling: Vitter 1985,
 * algorithm R, by domain). A row that has left both tiers is dead.
 *
 * The holdout is the same thing without a ring, over rows of its own.
 *
 * A row is one segment, immutable. The index of live rows - key, domain, last
 * loss, last replayed step, which tiers - is in memory and goes into each
 * version's state; rows are in SQLite, but those added since the last publish
 * are staged in memory, where sampling sees them all the same, and as many of
 * the others as options.kept_bytes hold stay there, too. Row keys are a
 * branch number and a counter: a rollback starts a new branch, so that keys
 * are never used twice; what is sampled does not depend on them.
 *
 *     replay_offer -> STAGED - replay_take_changes, replay_db_write -> STORED
 *                       |                                              |
 *                       +-- leaves both tiers:        leaves both: --- +
 *                           never written             dead, and deleted when
 *                                                     no kept version has it
 *
 * A row that turns out damaged, or gone, when it is drawn leaves both tiers
 * like any other: the draw does without it, and learning goes on.
 *
 * Owner:   the trainer owns a struct replay; rows given out are valid until
 *          the next call that changes it
 * Threads: trainer; replay_db_* run on the publisher with its connection
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
struct replay; /* fields are in replay_private.h */

enum replay_kind { REPLAY_ROWS, REPLAY_HOLDOUT };

struct replay_options {
    enum replay_kind kind;
    int64_t capacity;      /* live rows, both tiers together */
    double recent_share;   /* of the capacity for the ring; 0 for holdout */
    double recent_draws;   /* share of a sample drawn from the ring */
    double quota_exponent; /* a, 0 to 1: 0 equal, 1 proportional */
    int64_t kept_bytes;    /* of memory, for stored rows that are at hand all
                              the same; 0: each draw of one reads it */
    uint64_t seed;
    /* Stored rows beyond these limits count as damaged. The caller may raise
     * them; they outlive the buffer. NULL: rows are trusted. */
    const struct segment_limits *limits;
};

void replay_options_default(struct replay_options *o, enum replay_kind kind);

/* reader: a read-only connection of the caller's thread, for stored rows, which
 * outlives the buffer; may be NULL as long as everything is staged. */
struct replay *replay_create(const struct replay_options *options,
                             struct sqlite3 *reader);
void replay_free(struct replay *r);

/* Offers a segment that has been learned (or held out). Copies what it keeps.
 * nats: its loss when it was new. */
void replay_offer(struct replay *r, const struct segment *s,
                  const struct segment_origin *origin, double nats);

/* One drawn row. */
struct replay_draw {
    int64_t key;
    size_t slot; /* in the index, until the next change */
    struct segment segment;
};

/*
 * Draws rows for step `step` until their targets reach n_tokens (or, with
 * tokens_are_rows, n_tokens rows: preset linear), never one twice, and fetches
 * them. Domains get equal chances within the reservoir.
 *   draws   *draws is r's array of *n, valid until the next call
 * An empty buffer gives *n = 0. Rows that are damaged or not in the database
 * are left out, and leave the index: replay_next_damaged tells.
 */
int replay_sample(struct replay *r, uint64_t step, size_t n_tokens,
                  bool tokens_are_rows, struct replay_draw **draws, size_t *n,
                  struct err *err);

/* The same for the Fisher information: from the reservoir only, balanced by
 * domain, another random stream. */
int replay_sample_fisher(struct replay *r, uint64_t step, size_t n_tokens,
                         struct replay_draw **draws, size_t *n,
                         struct err *err);

/* Notes that drawn row i was replayed at step with this loss. */
void replay_replayed(struct replay *r, const struct replay_draw *draw,
                     uint64_t step, double nats);

/* The key of a row that a draw found damaged or gone, each told once; false
 * when there is none. replay_damaged: how many there were since
 * replay_create. */
bool replay_next_damaged(struct replay *r, int64_t *key);
int64_t replay_damaged(const struct replay *r);

/*
 * Stored rows that the index names and the table no longer has (they were
 * forgotten, or damage took them) leave the index: one look at the table's
 * keys. *n: how many did.
 */
int replay_drop_missing(struct replay *r, size_t *n, struct err *err);
int64_t replay_missing(const struct replay *r); /* since replay_create */

int64_t replay_live(const struct replay *r);  /* rows */
int64_t replay_bytes(const struct replay *r); /* of live rows */
int64_t replay_staged_bytes(const struct replay *r);
int64_t replay_live_in_domain(const struct replay *r, int32_t domain);

/* --- a version: hand-over to the publisher ------------------------------ */

/* What a publish writes: rows born and keys that died since the last one.
 * Owns everything in it. */
struct replay_changes;

/*
 * The index as tensors (prefix "replay." or "holdout."), and what has changed
 * since the last call: one at a time, the next only after replay_stored or
 * replay_not_stored. The staged rows stay visible to sampling until
 * replay_stored says that they are in the database.
 */
struct replay_changes *replay_take_changes(struct replay *r,
                                           struct tensor_list *index);

/* The publish that took these changes is durable / has failed and its changes
 * belong to the next one. Both take c over. Trainer thread. */
void replay_stored(struct replay *r, struct replay_changes *c);
void replay_not_stored(struct replay *r, struct replay_changes *c);

/* For changes of a buffer that is not used any more. */
void replay_changes_free(struct replay_changes *c);

/*
 * Loads an index. Everything staged is dropped; changes still taken then are
 * the old state's, and whoever has them only hands them back.
 *   branch   0: keys continue where they were: only when this is the newest
 *            version of all. Else (a rollback, and a restart after one that
 *            nothing has been published since) a number above every branch of
 *            which a row can be in the database: the newest version number
 *            ever used + 1, for a branch is first stored by a version of its
 *            number. A key that exists makes replay_db_write fail.
 * Rows beyond a capacity that has become smaller die; those that the table no
 * longer has leave, as by replay_drop_missing.
 */
int replay_import(struct replay *r, const struct tensor_list *index,
                  int64_t branch, struct err *err);

/* --- the database, on the connection it is handed ----------------------- */

/* SQL that makes the tables replay_rows and holdout_rows; for store_open. */
extern const char *const replay_schema[];
extern const size_t replay_schema_n;

/*
 * Inside the publish transaction: inserts born rows with born = version and
 * marks dead keys with died = version. The first write after replay_import
 * also settles the table: rows that the index does not name die, rows that it
 * names live, whatever rollbacks came before.
 */
int replay_db_write(struct sqlite3 *db, const struct replay_changes *c,
                    int64_t version, struct err *err);

/* Inside a transaction, after a rollback to `to` when `last` is the newest
 * version number ever used: rows born after `to` die at last + 1, and rows
 * that died after `to` live again. */
int replay_db_rollback(struct sqlite3 *db, int64_t to, int64_t last,
                       struct err *err);

/* Inside a transaction: deletes dead rows that no version in kept[n]
 * (ascending) has live, at most max_rows of them; *deleted out. */
int replay_db_sweep(struct sqlite3 *db, const int64_t *kept, size_t n,
                    int64_t max_rows, int64_t *deleted, struct err *err);

/*
 * Calls see() for each row, live or dead, of records without an id. The rows of
 * a record follow each other in the order in which they were written. Reads all
 * rows; damaged ones are left out.
 */
struct row;
int replay_db_each_unnamed(struct sqlite3 *db, enum replay_kind kind,
                           void (*see)(void *arg, const struct row *row),
                           void *arg, struct err *err);

/* Inside a transaction: deletes the rows of these keys, and adds their number
 * to *n. replay_drop_missing updates the index in memory. */
int replay_db_erase(struct sqlite3 *db, enum replay_kind kind,
                    const int64_t *keys, size_t n_keys, int64_t *n,
                    struct err *err);

/*
 * Inside a transaction: deletes the rows, live and dead, of records with an id;
 * or with a domain's number that were born in versions first to last, for the
 * number is the branch's own. By an index in both cases.
 *   found  is told the record of each, once in a row
 *   *n     is raised by how many there were
 * The index in memory is told by replay_drop_missing.
 */
struct replay_forget {
    const char *id; /* or NULL: */
    int32_t domain;
    int64_t first_born, last_born;
};
int replay_db_forget(struct sqlite3 *db, enum replay_kind kind,
                     const struct replay_forget *f,
                     void (*found)(void *arg, int32_t partition_id,
                                   int64_t offset),
                     void *arg, int64_t *n, struct err *err);

/*
 * Reads the segments of keys (for the gate), in their order. A row that is
 * missing or damaged is left out: keys becomes those of out->items, and
 * out->n_damaged says how many are gone. Domains and labels are as stored.
 */
struct replay_segments {
    struct segment *items; /* [n] */
    size_t n, n_damaged;
    void *memory; /* what they point to */
};
int replay_db_read(struct sqlite3 *db, enum replay_kind kind, int64_t *keys,
                   size_t n, struct replay_segments *out, struct err *err);
void replay_segments_free(struct replay_segments *s);

/* Keys and domains of the live rows in an exported index, for drawing a gate
 * sample: points into the list. */
int replay_index_keys(const struct tensor_list *index, enum replay_kind kind,
                      const int64_t **keys, const int64_t **domains,
                      size_t *n, struct err *err);

/* The branch that an exported index was on when it was taken. */
int replay_index_branch(const struct tensor_list *index, enum replay_kind kind,
                        int64_t *branch, struct err *err);

#endif
