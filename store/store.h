/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.h - versions: published whole or not at all.
 *
 * A version is a directory of synced files and rows of one SQLite transaction:
 *
 *   WRITING   versions/.new-N       store_publish writes and syncs the files
 *   DURABLE   versions/N            renamed, versions/ synced
 *   PENDING   row in `versions`     the transaction: offsets, counters, replay
 *                                   rows, ledger, quarantine
 *   passed | failed | inconclusive  store_verdict: a second transaction, with
 *                                   the history row and the switch of serving
 *   rolled_back, damaged            store_mark
 *   gone                            store_prune: the row first, then the files
 *
 * A row without complete files cannot exist; files without a row are moved
 * aside by store_open. A pending version is gated again at start by the daemon.
 * Numbers start at 1 and are never used twice.
 *
 * Only one thread - the publisher - uses a struct store: it holds the only
 * connection that writes or checkpoints (SQLite 3.7.0 to 3.51.2 can corrupt a
 * WAL database when two connections do). Everybody else reads through
 * catalog.h on read-only connections. synchronous=FULL.
 *
 * A failed sync is final, and so is any ERR_IO or damage that a function here
 * meets in the database, and any ERR_IO of a version's files: the store cannot
 * know what the disk holds. From then on every function that writes returns
 * that first error and changes nothing, and the process has to end; the next
 * store_open finds the state before the failed call or after it. ERR_FULL is
 * not final: nothing was written.
 *
 * Threads: publisher
 */
#ifndef MNEME_STORE_STORE_H
#define MNEME_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/fileio.h"
#include "base/model_shape.h"
#include "base/tensor.h"
#include "store/catalog.h"

struct sqlite3;
struct store; /* fields are in store_private.h */

/* Statements of another part that make its tables; run in order, once each,
 * remembered by the number of them in `schema`. */
struct store_schema {
    const char *part; /* "replay" */
    const char *const *statements;
    size_t n;
};

/*
 * Opens or makes a data directory, closes it to other users, takes its lock
 * (ERR_STATE names the holder's pid), migrates, checks that it is not newer
 * than this program (ERR_STATE), and moves version directories without a row
 * aside, to versions/.swept-NAME: unfinished ones and those that bear this
 * store's id. They are removed with the next version, when the disk is full, or
 * at the next start. ERR_STATE, with nothing changed, when the database is
 * missing or empty and there are versions, or it is missing and its log is
 * there. ERR_CORRUPT when the database or its log is a link, a pipe or a
 * directory.
 */
int store_open(const char *dir, const struct store_schema *schemas,
               size_t n_schemas, struct store **store, struct err *err);
void store_close(struct store *s);

/* Transactions at the end of the database's log that are damaged, so that the
 * store is as it was before them; their versions were swept. */
int store_lost(const struct store *s);

/* The directories without a row that store_open found, by name: those that it
 * moved aside, and those of another store, which it left alone. NULL: none. */
const char *store_swept(const struct store *s);
const char *store_strangers(const struct store *s);

/* What store_open found and did about the data directory's permissions. */
enum fileio_privacy store_privacy(const struct store *s);

/* Returns the error that has made the store fail, or 0. A store also fails when
 * its database, log or versions/ was removed or replaced. Cheap: the daemon
 * asks every few seconds. */
int store_check(struct store *s, struct err *err);

struct sqlite3 *store_connection(struct store *s);
const char *store_dir(const struct store *s);
const char *store_id(const struct store *s); /* random, for life: 32 hex */

/* Small settings that belong to the directory: shards, preset, tokenizer kind.
 * get: *value to be freed, NULL when absent. */
int store_setting_get(struct store *s, const char *key, char **value,
                      struct err *err);
int store_setting_put(struct store *s, const char *key, const char *value,
                      struct err *err);

/* --- publishing --------------------------------------------------------- */

struct store_offset {
    int32_t partition_id; /* row of `partitions` */
    const char *topic;
    int32_t partition;
    int64_t next_offset;
    int64_t tokens_done; /* of the record at next_offset */
    int64_t last_learned; /* offset of the last learned record, -1: none */
    uint64_t last_hash;   /* XXH3 of that record's value */
};

struct store_quarantine_row {
    int32_t partition_id;
    int64_t offset;
    int64_t time_ms;
    const char *reason; /* not_utf8, too_long, empty, ... */
    const void *bytes;  /* as they came, up to a cap */
    size_t n_bytes;
    bool cut;           /* there were more: it cannot be released */
    const char *id;     /* or NULL */
    const char *domain; /* that its text would be of; or NULL: not known */
};

struct store_publication {
    int64_t parent; /* 0: none */
    int64_t created_ms;
    int64_t step, tokens_seen;
    const struct model_shape *shape; /* NULL: preset linear */
    const struct tensor_list *weights; /* NULL when linear */
    const struct tensor_list *state;
    const struct tensor_list *holdout; /* its index; NULL: in state, or none */
    const struct tensor_list *anchor; /* NULL: the parent's, hard-linked;
                                         empty: none yet */
    const struct tensor_list *head;
    const char *tokenizer_json;       /* NULL when linear */
    size_t tokenizer_json_bytes;
    uint32_t end_of_text;
    const char *labels_json;   /* array of strings */
    const char *metadata_json; /* object: counters, losses by domain, kernels;
                                  kept with the row and in state.safetensors */
    const struct store_offset *offsets;
    size_t n_offsets;
    const struct store_ledger_run *ledger;
    size_t n_ledger;
    const struct store_quarantine_row *quarantine;
    size_t n_quarantine;
    /* Called inside the transaction, for the replay rows. May be NULL. */
    int (*in_transaction)(struct sqlite3 *db, int64_t version, void *arg,
                          struct err *err);
    void *arg;
};

/*
 * Publishes; *version is the new number, and the head. ERR_FULL when the disk
 * is (nothing is left behind, try again later); ERR_IO is final; ERR_CORRUPT
 * when the parent's anchor is not there to be linked: give it again.
 */
int store_publish(struct store *s, const struct store_publication *p,
                  int64_t *version, struct err *err);

/* Makes partitions known before the version that has their offsets, which
 * ranges for store_rollback may need. ERR_INVALID when one is known by another
 * number. */
int store_know_partitions(struct store *s, const struct store_offset *offsets,
                          size_t n, struct err *err);

struct store_domain_result {
    const char *domain;
    double bits_per_byte; /* NaN: no text */
    double accuracy;      /* NaN: no labels */
    int64_t chunks;
};

/*
 * The gate has spoken: verdict, results by domain and, with serve, the switch
 * of serving with its history row, in one transaction.
 *   verdict    STORE_PASSED, STORE_FAILED, STORE_INCONCLUSIVE
 *   gate_json  the numbers behind it
 *   guard      what the guard knows now, for catalog_guard; NULL: nothing
 * ERR_STATE when the version is not pending.
 */
int store_verdict(struct store *s, int64_t version, enum store_state verdict,
                  const char *gate_json, const char *guard,
                  const struct store_domain_result *results, size_t n_results,
                  bool serve, const char *reason, struct err *err);

/* An operator chooses what serves: a history row and one of the control log,
 * which lets learning go on where it held. pinned: stays until
 * store_serve(..., pinned false). ERR_NOTFOUND, ERR_STATE when damaged. */
int store_serve(struct store *s, int64_t version, bool pinned,
                const char *reason, struct err *err);

/* The version that served is damaged, and nobody chose: a history row alone.
 * ERR_NOTFOUND, ERR_STATE when this one is damaged, too. */
int store_serve_instead(struct store *s, int64_t version, const char *reason,
                        struct err *err);

/* Learning holds, until an operator promotes or rolls back: a row of the
 * control log, with the head (catalog_hold). */
int store_hold(struct store *s, const char *reason, struct err *err);

struct store_rollback {
    int64_t to;
    const char *mode; /* "rewind" or "skip" */
    const char *reason;
    bool keep_serving; /* what answers stays: nobody asked for `to`, which the
                          gate may have refused */
    const struct store_ledger_run *skipped; /* never to be learned, and counted
                                               as skipped */
    size_t n_skipped;
    bool automatic; /* nobody asked: the history says auto_rollback */
    /* What goes to the control log, and as what: "skip" when NULL, else
     * "quarantine" or "skip_for_good". logged NULL: all of `skipped`, else
     * these: the others are there already, and the rest of a record that `to`
     * has learned in part is not counted again. */
    const char *range_kind;
    const struct store_ledger_run *logged;
    size_t n_logged;
    const char *guard; /* what the guard knows with `to` as the head; NULL: what
                          it knew */
    /* Inside the transaction, with the newest number ever used. May be NULL. */
    int (*in_transaction)(struct sqlite3 *db, int64_t to, int64_t newest,
                          struct err *err);
};

/*
 * Rolls back the head: versions after `to` on its branch become rolled_back,
 * the head is `to`, and the next parent; it serves, too, unless keep_serving.
 * Any kept version that is not damaged will do: one that was rolled back itself
 * comes back with its verdict.
 *
 * Skipped ranges go to the control log, which no rollback undoes; only
 * store_release takes one back. With "skip"
 * they also begin the ledger of the next version, as kind 's': the caller
 * counts them as skipped, but does not put them into its ledger again. A
 * store that is opened before that reads them again, so they are dropped. With
 * "rewind" they are met when they are read again.
 */
int store_rollback(struct store *s, const struct store_rollback *r,
                   struct err *err);

/*
 * A range of the control log (its id in catalog_ranges) is skipped no longer:
 * when it is read again, it is learned. ERR_NOTFOUND; ERR_STATE when it was
 * skipped for good, or has been released.
 */
int store_release(struct store *s, int64_t range, const char *reason,
                  struct err *err);

int store_pin(struct store *s, int64_t version, bool pinned, struct err *err);
int store_mark(struct store *s, int64_t version, enum store_state state,
               const char *reason, struct err *err);

struct store_keep {
    int newest, hourly, daily;
    int64_t also; /* one more; 0: none */
};

/* Removes versions that no rule keeps: never the head, the serving one, their
 * parents' numbers in the rows that stay, or a pinned one. in_transaction gets
 * the connection for sweeping rows; *removed out. */
int store_prune(struct store *s, const struct store_keep *keep,
                int64_t now_ms,
                int (*in_transaction)(struct sqlite3 *db,
                                      const int64_t *kept, size_t n_kept,
                                      void *arg, struct err *err),
                void *arg, int *removed, struct err *err);

/* --- reading a version's files ------------------------------------------ */

enum store_part {
    STORE_WEIGHTS,
    STORE_STATE,
    STORE_HOLDOUT, /* the index of the holdout */
    STORE_ANCHOR,
    STORE_HEAD
};

/* One tensor file of a version in `dir`, checked against the checksum in its
 * row through the catalog: ERR_CORRUPT names the file. Any thread. An absent
 * optional part gives an empty list: the anchor before a consolidation, or the
 * holdout's index of an older version, which has it in STORE_STATE. */
int store_load(struct catalog *c, int64_t version, enum store_part part,
               struct tensor_list *out, struct err *err);

/* A small text file of a version: "tokenizer.json", "labels.json". */
int store_load_text(struct catalog *c, int64_t version, const char *name,
                    struct buf *out, struct err *err);

/* The shape in a version's config.json. ERR_CORRUPT: it is no model that this
 * program knows, or needs more weights than the version has. */
int store_load_shape(struct catalog *c, int64_t version,
                     struct model_shape *shape, struct err *err);

/* Compares a version's metadata with the copy in its state.safetensors, which
 * has a checksum. ERR_CORRUPT: they differ. */
int store_check_metadata(struct catalog *c, int64_t version, struct err *err);

/* Checks every file of a version against its checksum, and its metadata. Any
 * thread. */
int store_verify(struct catalog *c, int64_t version, struct err *err);

#endif
