/* SPDX-License-Identifier: Apache-2.0 */
/*
 * progress.h - the learner's positions in the stream, and its counters.
 *
 * Positions by partition, counters, losses by domain, the names of domains and
 * labels, and the stage: the ledger runs and the quarantined records since the
 * last version. A rollback restores all of it but the table of partitions.
 *
 * A record is counted once, when its decision takes effect:
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
#include "daemon/board/status.h"
#include "daemon/intake/drift.h"
#include "store/store.h"

/* A loss over text: bits per byte is nats / bytes / ln 2. */
struct progress_loss {
    double nats, bytes;               /* of all text */
    double recent_nats, recent_bytes; /* fade over PROGRESS_FADE_BYTES */
};

#define PROGRESS_FADE_BYTES 65536.0

void progress_loss_add(struct progress_loss *l, double nats, double bytes);
double progress_loss_recent(const struct progress_loss *l); /* NaN: none */
double progress_loss_total(const struct progress_loss *l);  /* NaN: none */

struct progress_domain {
    int64_t records, bytes; /* learned */
    struct progress_loss loss; /* prequential */
    double recent_right, recent_labelled; /* fade over 500 records */
    struct drift drift;
    struct progress_drift {
        int64_t alarms;
        int64_t record; /* records of the domain when the last one was raised */
        struct drift_alarm last;
    } drifted;
};

struct progress_partition {
    char *topic;
    int32_t partition;
    bool positioned;      /* the fields below are set */
    int64_t first_offset; /* of this store */
    int64_t next_offset;
    int64_t tokens_done; /* learned tokens of the record at next_offset */
    int64_t last_learned;
    uint64_t last_hash;
};

struct progress {
    struct names domains, labels;
    struct progress_partition *partitions; /* by id */
    size_t n_partitions, cap_partitions;
    struct status_records records;
    int64_t tokens_seen, bytes_seen;
    int64_t newest_record_ms;
    int64_t flushes;
    struct progress_loss loss;       /* prequential, all domains */
    struct progress_loss train_loss; /* fresh and replayed segments */
    struct progress_loss average_loss; /* prequential, of the moving average,
                                          on a sixteenth of the segments */
    struct progress_domain *by_domain; /* [domains.n] */
    size_t cap_domains;
    struct names reasons; /* of the quarantine */
    int64_t *by_reason;   /* [reasons.n] */
    size_t cap_reasons;
    /* Hashes of the texts that are held out because they were among the first
     * (intake.h). Their copies are held out as well. */
    uint64_t *first_texts;
    size_t n_first_texts, cap_first_texts;
    /* The stage: */
    struct store_ledger_run *ledger;
    size_t n_ledger, cap_ledger;
    struct store_quarantine_row *quarantine; /* each row owns its texts */
    size_t n_quarantine, cap_quarantine;
    size_t quarantine_bytes;
};

void progress_init(struct progress *p);
void progress_release(struct progress *p);

/* The id of a partition, added when new. */
int32_t progress_partition_id(struct progress *p, const char *topic,
                              int32_t partition);

/* The same. A partition without a position starts at `offset`. */
int32_t progress_begin(struct progress *p, const char *topic,
                       int32_t partition, int64_t offset);

/* The next offset of a partition; 0 when it has no position. */
int64_t progress_next_offset(const struct progress *p, const char *topic,
                             int32_t partition);

/* The id of a domain, added when new. Beyond max_domains: the id of "other". */
int32_t progress_domain_id(struct progress *p, const char *name,
                           size_t max_domains);

/* Counts the decision on a record, and writes it to the ledger.
 *   kind  as in struct store_ledger_run */
void progress_decide(struct progress *p, int64_t step, int32_t partition_id,
                     int64_t offset, char kind);

/* Later segments of a record were in this step. Writes that to the ledger as
 * kind 'c', and counts nothing. */
void progress_continue(struct progress *p, int64_t step, int32_t partition_id,
                       int64_t offset);

/* Moves the position past `offset`. */
void progress_move(struct progress *p, int32_t partition_id, int64_t offset);

/* Counts a quarantined record and adds a copy of its row to the stage, with at
 * most most_bytes of the value. A row is left out when the stage would exceed
 * PROGRESS_QUARANTINE_TOTAL bytes. */
#define PROGRESS_QUARANTINE_TOTAL (16 << 20)
void progress_quarantine(struct progress *p,
                         const struct store_quarantine_row *row,
                         size_t most_bytes);

/* Keeps the hash of a text that is held out since it was among the first. */
#define PROGRESS_FIRST_TEXTS 400
void progress_keep_first_text(struct progress *p, uint64_t hash);
bool progress_has_first_text(const struct progress *p, uint64_t hash);

/* Counts the bytes and the prequential loss of a learned segment. nats NaN:
 * preset linear has no loss. */
void progress_learned(struct progress *p, int32_t domain, double nats,
                      double bytes);

/* Gives the loss of a learned segment to the drift test of its domain, after
 * progress_learned. Returns true when that raises an alarm, which is then the
 * domain's drifted.last. */
bool progress_test_drift(struct progress *p, int32_t domain, double nats,
                         double bytes);

/* Counts the prediction of a label, which was made before it was learned. */
void progress_count_label(struct progress *p, int32_t domain, bool right);

/* The stage goes to a snapshot, and comes back when its publish fails. */
struct progress_stage {
    struct store_ledger_run *ledger;
    size_t n_ledger;
    struct store_quarantine_row *quarantine;
    size_t n_quarantine;
};
void progress_take_stage(struct progress *p, struct progress_stage *stage);
void progress_return_stage(struct progress *p, struct progress_stage *stage);
void progress_stage_release(struct progress_stage *stage);

/* The positions, for the store and for the source. The caller frees the arrays;
 * the topics belong to p. */
struct store_offset *progress_offsets(const struct progress *p, size_t *n);
struct source_position *progress_positions(const struct progress *p,
                                           size_t *n);

/*
 * Appends all but the positions, the partitions and the stage as JSON, the
 * metadata of a version. A double has 17 digits, so that progress_import gets
 * the same bits. progress_import replaces p and empties the stage.
 *   settings  with which the version was learned; owned from now on; NULL: not
 *             known
 */
void progress_export(const struct progress *p, int64_t step,
                     const char *kernels, json_t *settings, struct buf *out);
int progress_import(struct progress *p, const char *json, size_t n_bytes,
                    struct err *err);

/* Replaces all positions by those of a version. The other partitions have none
 * from now on. */
void progress_set_positions(struct progress *p,
                            const struct catalog_offset *offsets, size_t n);

/* Copies the figures of a domain. The caller holds the board's lock. */
void progress_show_domain(const struct progress *p, struct status_board *board,
                          size_t domain, struct status_domain *out);

/* Copies the figures to the board. The caller sets the step under the same
 * lock, so that no reader sees the records of a step without the step.
 *   s  from status_lock(board), which is still locked */
void progress_show(const struct progress *p, struct status_board *board,
                   struct status *s);

#endif
