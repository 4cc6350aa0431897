/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catalog.h - reads the rows of the store: versions, history, ledger,
 * quarantine.
 *
 * A struct catalog is one read-only connection with its prepared statements.
 * It sees the last committed transaction while the publisher writes the next.
 *
 * Owner:   the caller frees each result with the _free or _release function of
 *          its type
 * Threads: any, at the same time: it has a mutex; calls are short
 */
#ifndef MNEME_STORE_CATALOG_H
#define MNEME_STORE_CATALOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/model_shape.h"

struct sqlite3;
struct catalog; /* fields are in catalog_private.h */

enum store_state {
    STORE_PENDING,
    STORE_PASSED,
    STORE_FAILED,
    STORE_INCONCLUSIVE,
    STORE_ROLLED_BACK,
    STORE_DAMAGED
};

const char *store_state_name(enum store_state state);

/* ERR_NOTFOUND when there is no store in dir; ERR_STATE when another version of
 * the program made it. */
int catalog_open(const char *dir, struct catalog **catalog, struct err *err);
void catalog_close(struct catalog *c);
const char *catalog_dir(const struct catalog *c);

/* Locks the catalog and returns its connection, for read-only statements of
 * another part (replay rows). catalog_unlock ends the use. */
struct sqlite3 *catalog_lock(struct catalog *c);
void catalog_unlock(struct catalog *c);

struct catalog_offset {
    int32_t partition_id;
    char *topic;
    int32_t partition;
    int64_t next_offset, tokens_done, last_learned;
    uint64_t last_hash;
};

struct catalog_domain {
    char *domain;
    double bits_per_byte, accuracy; /* NaN: not measured */
    int64_t chunks;
};

struct catalog_version {
    int64_t version, parent, created_ms, step, tokens_seen;
    char weights_sha256[65];
    enum store_state state;
    bool pinned, serving, head;
    bool forgotten;      /* records that it learned or held out are forgotten
                            (tombstones.h), so it cannot be retrained */
    char *gate_json;     /* NULL while pending */
    char *metadata_json;
    int64_t bytes; /* the size of its files */
    char *tags;    /* its names (tags.h), with blanks between; NULL: none */
    struct catalog_offset *offsets;
    size_t n_offsets;
    struct catalog_domain *domains;
    size_t n_domains;
};

void catalog_version_release(struct catalog_version *v);

/* Reads one version; ERR_NOTFOUND. */
int catalog_get(struct catalog *c, int64_t version, struct catalog_version *v,
                struct err *err);

/* Reads the versions with a number below `before` (0: all), newest first, at
 * most limit (0: no limit). */
int catalog_list(struct catalog *c, int64_t before, size_t limit,
                 struct catalog_version **versions, size_t *n,
                 struct err *err);
void catalog_versions_free(struct catalog_version *versions, size_t n);

/* *passed: the newest version before `version` that passed the gate; 0: none.
 */
int catalog_passed_before(struct catalog *c, int64_t version, int64_t *passed,
                          struct err *err);

struct catalog_file {
    char *name;
    int64_t bytes;
    char *sha256;
};

/* Reads the rows of a version's files. ERR_NOTFOUND when the version does not
 * exist, since every version has files.
 *   sha256  the digest of the weights, from the version's row */
int catalog_files(struct catalog *c, int64_t version,
                  struct catalog_file **files, size_t *n, char sha256[65],
                  struct err *err);
void catalog_files_free(struct catalog_file *files, size_t n);

struct catalog_pointers {
    int64_t head, serving; /* 0: none yet */
    int64_t newest;        /* the largest version number ever used */
    bool serving_pinned;   /* it serves until `promote latest` */
};

int catalog_pointers(struct catalog *c, struct catalog_pointers *p,
                     struct err *err);

struct catalog_history {
    int64_t id, from_ms, until_ms; /* until_ms 0: it serves now */
    int64_t version, previous;
    char *cause; /* published, rollback, auto_rollback, promote, damaged */
    char *reason;
};

int catalog_history(struct catalog *c, size_t limit,
                    struct catalog_history **rows, size_t *n,
                    struct err *err);
void catalog_history_free(struct catalog_history *rows, size_t n);

/* Reads every partition that was ever seen, with its id. */
int catalog_partitions(struct catalog *c, struct catalog_offset **rows,
                       size_t *n, struct err *err);
void catalog_offsets_free(struct catalog_offset *rows, size_t n);

struct catalog_range {
    int32_t partition_id;
    int64_t first_offset, last_offset;
};

/* Reads the offsets that intake must not learn from the source, as the control
 * log says (releases.h). The ranges are normalized (ranges.h). */
int catalog_skipped(struct catalog *c, struct catalog_range **ranges,
                    size_t *n, struct err *err);

/* A range that a rollback left out. */
struct catalog_skip {
    int64_t id, time_ms;
    char *kind;      /* skip, quarantine, skip_for_good */
    int64_t version; /* the target of the rollback */
    char *topic;
    int32_t partition;
    struct catalog_range range;
    char *reason;
    int64_t released_ms; /* 0: not released */
    bool read_again;     /* a rewind came after the release */
};

/* Reads them, oldest first, with the released ones. */
int catalog_ranges(struct catalog *c, struct catalog_skip **rows, size_t *n,
                   struct err *err);
void catalog_ranges_free(struct catalog_skip *rows, size_t n);

/* Consecutive offsets of one partition in one step. kind is 'l' learned, 's'
 * skipped, 'h' held out or 'q' quarantined, each counted once; or 'c': another
 * part of a record whose beginning an earlier step learned. */
struct store_ledger_run {
    int64_t step;
    int32_t partition_id;
    int64_t first_offset, last_offset;
    int64_t count;
    char kind;
};

/* Reads the decisions between a version's parent and the version, in order; to
 * be freed. */
int catalog_ledger(struct catalog *c, int64_t version,
                   struct store_ledger_run **runs, size_t *n,
                   struct err *err);

struct catalog_quarantine {
    int64_t row, time_ms, offset;
    char *topic;
    int32_t partition;
    char *reason;
    char *bytes;
    size_t n_bytes;
    int64_t size;     /* of the stored bytes; n_bytes is at most most_bytes */
    bool whole;       /* the stored bytes are the complete record */
    int64_t released; /* its offset in RELEASES_TOPIC (releases.h); 0: none */
    char *id;         /* the record's own id, or NULL */
    char *domain;     /* NULL: not known */
};

/* All zero: every row. */
struct catalog_quarantine_filter {
    int64_t row;
    const char *reason, *topic, *domain;
    int64_t before; /* rows with a smaller number */
    bool releasable;          /* whole, and not released yet */
    size_t limit, most_bytes; /* 0: no limit */
};

/* Reads the matching rows, newest first. */
int catalog_quarantine_find(struct catalog *c,
                            const struct catalog_quarantine_filter *f,
                            struct catalog_quarantine **rows, size_t *n,
                            struct err *err);
void catalog_quarantine_free(struct catalog_quarantine *rows, size_t n);

/* Reads the guard's state that store_verdict or store_rollback stored with a
 * version, or else with its nearest ancestor that has one; to be freed. NULL:
 * none has one, as in stores of older programs. */
int catalog_guard(struct catalog *c, int64_t version, char **guard,
                  struct err *err);

/*
 * Reads when the daemon rolled back by itself, since the last promotion or
 * rollback by an operator: at most `most` times (wall clock), newest first.
 *   at_ms  [most]; the first *n are filled in
 */
int catalog_auto_rollbacks(struct catalog *c, size_t most, int64_t *at_ms,
                           size_t *n, struct err *err);

/* The last pause of learning (store_pause). */
struct catalog_pause {
    int64_t version; /* the head version at that time; 0: there was no pause */
    bool ended;      /* an operator has promoted or rolled back since */
    char *reason;    /* to be freed; NULL: there was no pause */
};

int catalog_pause(struct catalog *c, struct catalog_pause *pause,
                  struct err *err);

/* Reads a setting (store_setting_put), to be freed; NULL: absent. */
int catalog_setting(struct catalog *c, const char *key, char **value,
                    struct err *err);

/* Runs SQLite's integrity check and its check of foreign keys. ERR_CORRUPT has
 * SQLite's message. */
int catalog_check(struct catalog *c, struct err *err);

#endif
