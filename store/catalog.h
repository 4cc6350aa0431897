/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catalog.h - reading what the store has published.
 *
 * A struct catalog is one read-only connection with its prepared statements.
 * It sees the last committed transaction, while the publisher writes the next.
 *
 * Owner:   what a function fills in is released by the function named there
 * Threads: any, at once: a mutex inside; calls are short
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

/* ERR_NOTFOUND when there is no store in dir; ERR_STATE when it is newer than
 * this program. */
int catalog_open(const char *dir, struct catalog **catalog, struct err *err);
void catalog_close(struct catalog *c);
const char *catalog_dir(const struct catalog *c);

/* Its connection, for another part's read-only statements (replay rows); hold
 * the lock meanwhile. */
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
    double bits_per_byte, accuracy; /* NaN: none */
    int64_t chunks;
};

struct catalog_version {
    int64_t version, parent, created_ms, step, tokens_seen;
    char weights_sha256[65];
    enum store_state state;
    bool pinned, serving, head;
    bool forgotten; /* records that it learned or held out have been forgotten
                       (tombstones.h): it cannot be learned again */
    char *gate_json;     /* NULL while pending */
    char *metadata_json;
    int64_t bytes;       /* of its files */
    struct catalog_offset *offsets;
    size_t n_offsets;
    struct catalog_domain *domains;
    size_t n_domains;
};

void catalog_version_release(struct catalog_version *v);

/* One version; ERR_NOTFOUND. */
int catalog_get(struct catalog *c, int64_t version, struct catalog_version *v,
                struct err *err);

/* Versions with a number below `before` (0: from the newest), newest first, at
 * most limit (0: all). */
int catalog_list(struct catalog *c, int64_t before, size_t limit,
                 struct catalog_version **versions, size_t *n,
                 struct err *err);
void catalog_versions_free(struct catalog_version *versions, size_t n);

/* The pointers; 0: none yet. */
struct catalog_pointers {
    int64_t head, serving, newest; /* newest: the largest number ever used */
    bool serving_pinned;           /* stays until `promote latest` */
};
int catalog_pointers(struct catalog *c, struct catalog_pointers *p,
                     struct err *err);

struct catalog_history {
    int64_t id, from_ms, until_ms; /* until 0: still */
    int64_t version, previous;
    char *cause;  /* published, rollback, auto_rollback, promote, damaged */
    char *reason;
};
int catalog_history(struct catalog *c, size_t limit,
                    struct catalog_history **rows, size_t *n,
                    struct err *err);
void catalog_history_free(struct catalog_history *rows, size_t n);

/* Every partition ever seen, with its id. */
int catalog_partitions(struct catalog *c, struct catalog_offset **rows,
                       size_t *n, struct err *err);
void catalog_offsets_free(struct catalog_offset *rows, size_t n);

/* What is never learned from the source, by the control log (releases.h says
 * how it adds up), for intake: settled (ranges.h). */
struct catalog_range {
    int32_t partition_id;
    int64_t first_offset, last_offset;
};
int catalog_skipped(struct catalog *c, struct catalog_range **ranges,
                    size_t *n, struct err *err);

/* The same with their story, oldest first, released ones too. */
struct catalog_skip {
    int64_t id, time_ms;
    char *kind;      /* skip, quarantine, skip_for_good */
    int64_t version; /* that was gone back to */
    char *topic;
    int32_t partition;
    struct catalog_range range;
    char *reason;
    int64_t released_ms; /* 0: not */
    bool read_again; /* a rewind has come after that */
};
int catalog_ranges(struct catalog *c, struct catalog_skip **rows, size_t *n,
                   struct err *err);
void catalog_ranges_free(struct catalog_skip *rows, size_t n);

/* Consecutive offsets of one partition in one step. kind: 'l' learned,
 * 's' skipped, 'h' held out, 'q' quarantined, each counted once; 'c': more of a
 * record that was learned in part in an earlier step. */
struct store_ledger_run {
    int64_t step;
    int32_t partition_id;
    int64_t first_offset, last_offset;
    int64_t count;
    char kind;
};

/* What was decided between a version and its parent, in order; to be
 * freed. */
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
    int64_t size;     /* of what is kept; n_bytes may be fewer (most_bytes) */
    bool whole;       /* all that there was: it was not cut */
    int64_t released; /* its offset in RELEASES_TOPIC (releases.h); 0: is not */
    char *id;         /* the record's own, or NULL */
    char *domain;     /* or NULL: not known */
};

struct catalog_quarantine_filter { /* all zero: everything */
    int64_t row;
    const char *reason, *topic, *domain;
    int64_t before; /* rows with a smaller number */
    bool releasable; /* whole, and not released yet */
    size_t limit, most_bytes; /* 0: all */
};

/* Newest first. */
int catalog_quarantine_find(struct catalog *c,
                            const struct catalog_quarantine_filter *f,
                            struct catalog_quarantine **rows, size_t *n,
                            struct err *err);
int catalog_quarantine(struct catalog *c, size_t limit,
                       struct catalog_quarantine **rows, size_t *n,
                       struct err *err);
void catalog_quarantine_free(struct catalog_quarantine *rows, size_t n);

/* What the guard knew (store_verdict, store_rollback) of a version, or of its
 * nearest ancestor that it knew something of; to be freed. NULL: there is none,
 * as in stores of before. */
int catalog_guard(struct catalog *c, int64_t version, char **guard,
                  struct err *err);

/*
 * When the daemon went back by itself, past what had been learned: the newest
 * `most` times (wall clock), newest first, since an operator promoted or rolled
 * back last.
 *   at_ms  [most], the first *n are filled in
 */
int catalog_went_back(struct catalog *c, size_t most, int64_t *at_ms,
                      size_t *n, struct err *err);

/* The last time that learning was held (store_hold). */
struct catalog_hold {
    int64_t version; /* the head then; 0: it never was */
    bool lifted;     /* an operator has promoted or rolled back since */
    char *reason;    /* to be freed; NULL: never */
};
int catalog_hold(struct catalog *c, struct catalog_hold *hold,
                 struct err *err);

/* A setting of the store's (store_setting_put), to be freed; NULL: absent. */
int catalog_setting(struct catalog *c, const char *key, char **value,
                    struct err *err);

/* SQLite's own integrity check and foreign keys; ERR_CORRUPT with its words. */
int catalog_check(struct catalog *c, struct err *err);

/* The ledger's totals over everything that is kept, to check the counters:
 * records learned, held out, quarantined, skipped on the branch of
 * `version`. */
struct catalog_totals {
    int64_t learned, holdout, quarantined, skipped;
};
int catalog_totals(struct catalog *c, int64_t version,
                   struct catalog_totals *t, struct err *err);

#endif
