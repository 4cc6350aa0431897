/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.h - publishes versions, each completely or not at all.
 *
 * A version is a directory of synced files, and rows written by one SQLite
 * transaction:
 *
 *   WRITING   versions/.new-N       store_publish writes and syncs the files
 *   DURABLE   versions/N            renamed, versions/ synced
 *   PENDING   row in `versions`     the transaction: offsets, counters, replay
 *                                   rows, ledger, quarantine
 *   passed | failed | inconclusive  store_verdict: a second transaction, with
 *                                   the history row and the serving version
 *   rolled_back                     store_rollback
 *   damaged                         store_set_state
 *   removed                         store_prune: the row first, then the files
 *
 * A row without complete files cannot exist. store_open moves files without a
 * row aside. At start the daemon asks the gate again about a pending version.
 * Version numbers start at 1 and are never used twice.
 *
 * Only the publisher thread uses a struct store. It has the only connection
 * that writes or checkpoints: SQLite 3.7.0 to 3.51.2 can corrupt a WAL database
 * when two connections do. All others read through catalog.h, on read-only
 * connections. synchronous=FULL.
 *
 * Three errors are final, because the store cannot know what the disk holds
 * after them: a failed sync, ERR_IO or damage in the database, and ERR_IO of a
 * version's files. From then on every function that writes returns that first
 * error and changes nothing, and the process must end. The next store_open
 * finds the state before the failed call or after it. ERR_FULL is not final:
 * nothing was written.
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

struct hf_text;
struct sqlite3;
struct store; /* fields are in store_private.h */

/* The statements by which another part makes its tables. store_open runs each
 * once, in order; the table `schema` has the number of statements that ran. */
struct store_schema {
    const char *part; /* "replay" */
    const char *const *statements;
    size_t n;
};

/*
 * Opens or makes a data directory: removes other users' permissions, takes the
 * lock, and migrates the database. Moves version directories without a row to
 * versions/.swept-NAME: unfinished ones, and those with this store's id. They
 * are removed with the next version, when the disk is full, or at the next
 * start.
 *   ERR_STATE    another process has the lock (its pid is in the message); or
 *                the database is newer than this program; or, with nothing
 *                changed, the database is missing or empty beside versions or
 *                a log
 *   ERR_CORRUPT  the database or its log is a link, a pipe or a directory
 */
int store_open(const char *dir, const struct store_schema *schemas,
               size_t n_schemas, struct store **store, struct err *err);
void store_close(struct store *s);

/* The number of transactions that store_open lost, because the end of the
 * database's log is damaged. Their versions were moved aside. */
int store_lost(const struct store *s);

/* The names of the directories without a row that store_open found: those that
 * it moved aside (swept), and those of another store, which it left alone
 * (strangers). NULL: none. */
const char *store_swept(const struct store *s);
const char *store_strangers(const struct store *s);

/* How private the data directory is, and whether store_open changed that. */
enum fileio_privacy store_privacy(const struct store *s);

/* Returns the error that has made the store fail, or 0. A store also fails when
 * its database, log or versions/ was removed or replaced. The check is cheap;
 * the daemon makes it every few seconds. */
int store_check(struct store *s, struct err *err);

const char *store_dir(const struct store *s);
const char *store_id(const struct store *s); /* random, for life: 32 hex */

/* Small settings of the data directory: shards, preset, tokenizer kind. get
 * returns a *value to be freed, NULL when absent. */
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
    const void *bytes;  /* as received, up to a limit */
    size_t n_bytes;
    bool cut;           /* the record has more bytes: it cannot be released */
    const char *id;     /* NULL: none */
    const char *domain; /* of its text; NULL: not known */
};

struct store_publication {
    int64_t parent; /* 0: none */
    int64_t created_ms;
    int64_t step, tokens_seen;
    const struct model_shape *shape; /* NULL: preset linear */
    const struct tensor_list *weights; /* NULL when linear */
    const struct tensor_list *state;
    const struct tensor_list *holdout; /* the holdout's index, or NULL */
    const struct tensor_list *anchor;  /* NULL: links to the parent's file;
                                          empty: no anchor yet */
    const struct tensor_list *head;
    const struct tensor_list *ngram; /* NULL or empty: no n-gram memory */
    const char *tokenizer_json;       /* NULL when linear */
    size_t tokenizer_json_bytes;
    uint32_t end_of_text;
    const struct hf_text *text; /* NULL: that of mneme's own vocabularies, with
                                   end_of_text */
    const char *labels_json;   /* array of strings */
    const char *metadata_json; /* object: counters, losses by domain, kernels;
                                  stored in the row and state.safetensors */
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
 * Publishes a version; it becomes the head version, and *version is its number.
 * ERR_FULL: the disk is full, no files are left, and the caller may try again.
 * ERR_IO is final. ERR_CORRUPT: the parent's anchor file is missing, and the
 * caller must pass the anchor.
 */
int store_publish(struct store *s, const struct store_publication *p,
                  int64_t *version, struct err *err);

/* Adds partitions to the table before a version has their offsets; the ranges
 * of store_rollback may refer to them. ERR_INVALID when a partition has another
 * id in the table. */
int store_add_partitions(struct store *s, const struct store_offset *offsets,
                         size_t n, struct err *err);

struct store_domain_result {
    const char *domain;
    double bits_per_byte; /* NaN: no text */
    double accuracy;      /* NaN: no labels */
    int64_t chunks;
};

/*
 * Writes the gate's verdict and the results by domain in one transaction. With
 * `serve`, the version also becomes the serving version, with a history row.
 *   verdict    STORE_PASSED, STORE_FAILED or STORE_INCONCLUSIVE
 *   gate_json  the numbers behind the verdict
 *   guard      the guard's state, for catalog_guard; NULL: none
 * ERR_STATE when the version is not pending.
 */
int store_verdict(struct store *s, int64_t version, enum store_state verdict,
                  const char *gate_json, const char *guard,
                  const struct store_domain_result *results, size_t n_results,
                  bool serve, const char *reason, struct err *err);

/* Makes a version serve because an operator chose it. Writes a history row and
 * a row of the control log, which ends a pause of learning. A pinned version
 * serves until store_serve(..., pinned false). ERR_NOTFOUND; ERR_STATE when the
 * version is damaged. */
int store_serve(struct store *s, int64_t version, bool pinned,
                const char *reason, struct err *err);

/* Makes a version serve in place of a damaged serving version. Writes a history
 * row, but no row of the control log. ERR_NOTFOUND; ERR_STATE when this version
 * is damaged, too. */
int store_serve_instead(struct store *s, int64_t version, const char *reason,
                        struct err *err);

/* Records in the control log, with the head version, that learning is paused
 * until an operator promotes or rolls back (catalog_pause). */
int store_pause(struct store *s, const char *reason, struct err *err);

struct store_rollback {
    int64_t to;
    const char *mode; /* "rewind" or "skip" */
    const char *reason;
    bool keep_serving; /* the serving version stays: the gate may have refused
                          `to` */
    const struct store_ledger_run *skipped; /* counted as skipped, and never
                                               learned */
    size_t n_skipped;
    bool automatic; /* by the guard: the history says auto_rollback */
    /* The kind of the ranges in the control log: "quarantine", "skip_for_good",
     * or NULL for "skip". */
    const char *range_kind;
    /* The ranges for the control log, when they differ from `skipped`: without
     * those that are in the log already, and with the rest of a record that
     * `to` has learned in part, which is not counted again. NULL: `skipped`. */
    const struct store_ledger_run *logged;
    size_t n_logged;
    const char *guard; /* the guard's state with `to` as the head version; NULL:
                          the state stored with `to` stays */
    /* Called inside the transaction, with the largest version number ever used.
     * May be NULL. */
    int (*in_transaction)(struct sqlite3 *db, int64_t to, int64_t newest,
                          struct err *err);
};

/*
 * Makes `to` the head version, and the parent of the next version. It also
 * serves, unless keep_serving. Versions after `to` on the old branch become
 * rolled_back. `to` may be any stored version that is not damaged; a version
 * that was rolled back before gets its verdict again.
 *
 * Skipped ranges go to the control log. No rollback undoes them; only
 * store_release does. With mode "skip" they also begin the ledger of the next
 * version, as kind 's', so the caller leaves them out of that ledger. If the
 * store is opened before the next version, the stream reads these ranges again;
 * so store_open deletes them from the pending ledger. With mode "rewind" the
 * stream reads them again in any case.
 */
int store_rollback(struct store *s, const struct store_rollback *r,
                   struct err *err);

/*
 * Releases a range of the control log (its id in catalog_ranges): when the
 * stream reads it again, it is learned. ERR_NOTFOUND; ERR_STATE when the range
 * was skipped for good, or is released already.
 */
int store_release(struct store *s, int64_t range, const char *reason,
                  struct err *err);

/* Sets or clears the pin that protects a version from retention. */
int store_pin(struct store *s, int64_t version, bool pinned, struct err *err);

/* Sets a version's state, with a reason. */
int store_set_state(struct store *s, int64_t version, enum store_state state,
                    const char *reason, struct err *err);

struct store_keep {
    int newest, hourly, daily;
    int64_t also; /* one more version; 0: none */
};

/* Removes the versions that no rule keeps. The head version, the serving
 * version, pending, pinned and tagged versions stay.
 *   in_transaction  removes rows of other parts; may be NULL
 *   *removed        the number of removed versions */
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
    STORE_HEAD,
    STORE_NGRAM,
    STORE_N_PARTS
};

/* Reads a tensor file of a version and checks it against the digest in its row.
 * ERR_CORRUPT names the file. Any thread. An absent optional part gives an
 * empty list: the anchor before a consolidation, the n-gram memory of a version
 * that has none, or the holdout's index of an older version, which has the
 * index in STORE_STATE. */
int store_load(struct catalog *c, int64_t version, enum store_part part,
               struct tensor_list *out, struct err *err);

/* Reads a small text file of a version: "tokenizer.json", "labels.json". */
int store_load_text(struct catalog *c, int64_t version, const char *name,
                    struct buf *out, struct err *err);

/* Opens a file of a version for reading, as it is on the disk: nothing is
 * compared with its checksum. *fd stays valid when retention removes the
 * version. ERR_NOTFOUND: there is no such version, or it has no such file;
 * ERR_CORRUPT: its size is not the one in the row. Any thread.
 *   *file  the row of the file, for catalog_files_free with n 1 */
int store_open_file(struct catalog *c, int64_t version, const char *name,
                    struct catalog_file **file, int *fd, struct err *err);

/* Reads the shape in a version's config.json. ERR_CORRUPT: this program cannot
 * have such a model, or the shape needs more weights than the version has. */
int store_load_shape(struct catalog *c, int64_t version,
                     struct model_shape *shape, struct err *err);

/* Compares a version's metadata in the database with the copy in its
 * state.safetensors. ERR_CORRUPT: they differ. */
int store_check_metadata(struct catalog *c, int64_t version, struct err *err);

/* Checks every file of a version against its checksum, and its metadata. Any
 * thread. */
int store_verify(struct catalog *c, int64_t version, struct err *err);

#endif
