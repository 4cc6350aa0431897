/* SPDX-License-Identifier: Apache-2.0 */
/*
 * progress.h - where the learner is in the stream, and what it has counted.
 *
 * Positions by partition, counters, losses by domain, the tables of domains
 * and labels, and what has been decided since the last version: ledger runs
 * and quarantined records. All but the table of partitions goes back with a
 * rollback.
 *
 * A record is counted once, when it is decided:
 *     consumed = learned + skipped + quarantined + holdout
 *
 * Owner:   the trainer
 * Threads: trainer
 */
#ifndef MNEME_DAEMON_INTAKE_PROGRESS_H
#define MNEME_DAEMON_INTAKE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/names.h"
#include "daemon/stream/source.h"
#include "daemon/board/status.h"
#include "store/store.h"

/* A loss over text: bits per byte is nats / bytes / ln 2. */
struct progress_loss {
    double nats, bytes;               /* all of it */
    double recent_nats, recent_bytes; /* fading over PROGRESS_FADE_BYTES */
};

#define PROGRESS_FADE_BYTES 65536.0

void progress_loss_add(struct progress_loss *l, double nats, double bytes);
double progress_loss_recent(const struct progress_loss *l); /* NaN: none */
double progress_loss_total(const struct progress_loss *l);  /* NaN: none */

struct progress_domain {
    int64_t records, bytes; /* learned */
    struct progress_loss loss; /* prequential */
    double recent_right, recent_labelled; /* fading over 500 records */
};

struct progress_partition {
    char *topic;
    int32_t partition;
    bool positioned;      /* the fields below mean something */
    int64_t first_offset; /* where this store began */
    int64_t next_offset;
    int64_t tokens_done; /* of the record at next_offset */
    int64_t last_learned;
    uint64_t last_hash;
};

struct progress {
    struct names domains, labels;
    struct progress_partition *partitions; /* the id is the place */
    size_t n_partitions, cap_partitions;
    struct status_records records;
    int64_t tokens_seen, bytes_seen;
    int64_t newest_record_ms;
    int64_t flushes;
    struct progress_loss loss;       /* prequential, all domains */
    struct progress_loss train_loss; /* fresh and replayed */
    struct progress_domain *by_domain; /* [domains.n], grown with it */
    size_t cap_domains;
    struct names reasons; /* of the quarantine */
    int64_t *by_reason;   /* [reasons.n] */
    size_t cap_reasons;
    /* Hashes of texts that are held out because they were among the first
     * (intake.h): so are their copies. */
    uint64_t *first_texts;
    size_t n_first_texts, cap_first_texts;
    /* Since the last version: */
    struct store_ledger_run *ledger;
    size_t n_ledger, cap_ledger;
    struct store_quarantine_row *quarantine; /* own their bytes and ids */
    size_t n_quarantine, cap_quarantine;
    size_t quarantine_bytes;
};

void progress_init(struct progress *p);
void progress_release(struct progress *p);

/* The id of a partition, added when new. */
int32_t progress_partition_id(struct progress *p, const char *topic,
                              int32_t partition);

/* The same, for a record that is the first of its partition in this store: its
 * position begins at offset. Does nothing to one that has a position. */
int32_t progress_begin(struct progress *p, const char *topic,
                       int32_t partition, int64_t offset);

/* Where a partition goes on; 0 when it has no position. */
int64_t progress_next_offset(const struct progress *p, const char *topic,
                             int32_t partition);

/* The id of a domain; beyond max_domains that of "other". */
int32_t progress_domain_id(struct progress *p, const char *name,
                           size_t max_domains);

/* A record has been decided: counts it, writes it to the ledger. kind as in
 * struct store_ledger_run. */
void progress_decide(struct progress *p, int64_t step, int32_t partition_id,
                     int64_t offset, char kind);

/* A record that was decided before went on in this step: to the ledger, as kind
 * 'c', and counted by nobody. */
void progress_continue(struct progress *p, int64_t step, int32_t partition_id,
                       int64_t offset);

/* Moves a position past `offset`. */
void progress_move(struct progress *p, int32_t partition_id, int64_t offset);

/* Counts a quarantined record and stages its row, of which it copies what is
 * pointed to: at most most_bytes of the value, and no rows above a total. */
#define PROGRESS_QUARANTINE_TOTAL (16 << 20)
void progress_quarantine(struct progress *p,
                         const struct store_quarantine_row *row,
                         size_t most_bytes);

/* At most PROGRESS_FIRST_TEXTS are kept. */
#define PROGRESS_FIRST_TEXTS 400
void progress_keep_first_text(struct progress *p, uint64_t hash);
bool progress_has_first_text(const struct progress *p, uint64_t hash);

/* A learned segment's bytes and loss; NAN: preset linear has none. */
void progress_learned(struct progress *p, int32_t domain, double nats,
                      double bytes);

/* A labelled segment's class was told before it was learned: right or not. */
void progress_count_label(struct progress *p, int32_t domain, bool right);

/* What is staged since the last version, handed to a snapshot and given back
 * when its publish failed. */
struct progress_stage {
    struct store_ledger_run *ledger;
    size_t n_ledger;
    struct store_quarantine_row *quarantine;
    size_t n_quarantine;
};
void progress_take_stage(struct progress *p, struct progress_stage *stage);
void progress_return_stage(struct progress *p, struct progress_stage *stage);
void progress_stage_release(struct progress_stage *stage);

/* Positions as the store and the source want them; arrays to be freed, topics
 * borrowed from p. */
struct store_offset *progress_offsets(const struct progress *p, size_t *n);
struct source_position *progress_positions(const struct progress *p,
                                           size_t *n);

/* Everything but positions, partitions and the stage, as JSON (doubles with 17
 * digits, so that they come back bit for bit), and back. settings: what it was
 * learned with, taken over; NULL: not told. progress_import replaces what is
 * there and drops the stage. */
void progress_export(const struct progress *p, int64_t step,
                     const char *kernels, json_t *settings, struct buf *out);
int progress_import(struct progress *p, const char *json, size_t n_bytes,
                    struct err *err);

/* Replaces all positions by those of a version; partitions that it does not
 * name have none. */
void progress_set_positions(struct progress *p,
                            const struct catalog_offset *offsets, size_t n);

/* Copies what users see into the board. The caller writes the step in the same
 * lock, so that a reader never sees records of a step that is not counted yet.
 *   s  what status_lock(board) returned; the board stays locked */
void progress_show(const struct progress *p, struct status_board *board,
                   struct status *s);

#endif
