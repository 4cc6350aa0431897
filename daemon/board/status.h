/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status.h - the board on which each thread writes how it is doing, and from
 * which /v1/status, /metrics and the log read.
 *
 * A plain struct behind a mutex: writers change their fields between
 * status_lock and status_unlock, readers take a copy. What it shows of versions
 * comes from the store (publisher_show_versions), so that it is the same after
 * a rollback to a version as after a restart at it.
 *
 * Threads: any
 */
#ifndef MNEME_DAEMON_BOARD_STATUS_H
#define MNEME_DAEMON_BOARD_STATUS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "base/buf.h"
#include "base/names.h"
#include "daemon/board/source_state.h"

#define STATUS_MAX_DOMAINS 257 /* model.max_domains, and `other` */

enum status_state {
    STATUS_STARTING, /* collecting text for the vocabulary, loading */
    STATUS_LEARNING,
    STATUS_WAITING,  /* for records */
    STATUS_PAUSED,   /* reason says why */
    STATUS_ROLLING_BACK,
    STATUS_STOPPING
};

const char *status_state_name(enum status_state s);

#define STATUS_REASON_MAX 640 /* bytes of a reason, with the final 0 */

struct status_domain {
    const char *name;            /* from status_name */
    int64_t records, bytes;      /* learned */
    double prequential;          /* bits per byte, recent mean; NaN: none */
    double accuracy;             /* of labelled records, recent; NaN: none */
    int64_t replay_rows;
};

/* Held-out records of a domain, under the judged version. */
struct status_holdout {
    const char *domain; /* from status_name */
    double loss;        /* bits per byte; NaN: none */
    double best;        /* the lowest up to that version, on its branch; NaN:
                           none. Forgetting is loss minus best. */
};

struct status {
    enum status_state state;
    char reason[768];
    int64_t started_ms;      /* monotonic */
    const char *source_type; /* "kafka", "file", "stdin" */
    int64_t serving_version, head_version; /* 0: none yet */
    bool serving_pinned;
    int64_t step, tokens_seen, bytes_seen;
    struct status_records {
        int64_t consumed, learned, skipped, quarantined, holdout;
    } records;
    double tokens_per_second, records_per_second; /* last seconds */
    double train_bits_per_byte, prequential_bits_per_byte; /* NaN: none yet */
    double prequential_total; /* bits per byte over everything */
    double accuracy;          /* labelled records, recent; NaN */
    int64_t labels;
    struct status_replay {
        int64_t records, capacity, bytes;
        int64_t damaged; /* rows that draws found so, since the start */
        int64_t missing; /* rows that a loaded index named in vain */
    } replay;
    int64_t holdout_rows;
    struct status_ewc {
        double penalty, share, lambda;
        int64_t consolidations;
    } ewc;
    double grad_norm, rate;
    int64_t steps_skipped;
    int64_t newest_record_ms;  /* event time of the newest learned record */
    int64_t serving_record_ms; /* the same in the serving version */
    struct status_publish {
        int64_t count, failed;      /* publishes done, tried in vain */
        double last_seconds;        /* the last one, whole */
        double last_cpu_seconds;    /* the processor time that it took */
        double last_stop_seconds;   /* how long it held the trainer */
        double interval_seconds;    /* stretched when publishing costs much */
        const char *next_waits_for; /* what the next version waits for, a static
                                       text; NULL: nothing to publish */
        int64_t next_ms;            /* when the wait ends at the latest,
                                       monotonic; 0: not known */
        int64_t passed, refused, inconclusive;
        int64_t rollbacks;
        int64_t automatic; /* of these, by itself */
        int64_t newest_version; /* the largest number ever used */
        int64_t judged_version; /* the newest version with a verdict; 0: none.
                                   Its figures follow: */
        char last_verdict[16];
        char last_reason[STATUS_REASON_MAX];
        /* After an inconclusive verdict; or "": */
        char waits_for[STATUS_REASON_MAX];
        int64_t refused_in_a_row;
        int64_t reference_version; /* the one it was compared with; 0: none, or
                                      the next comparison begins anew */
        int64_t shadow_records;    /* of the shadow comparison */
        double shadow_difference;  /* relative; above 0: the live is worse */
        double shadow_evidence;    /* ln; from 6.9 on it goes back */
        char last_rollback[256];   /* why; "" */
    } publish;
    int64_t vocabulary_bytes, vocabulary_wanted; /* while collecting */
    int64_t flushes;
    int64_t memory_announced;   /* bytes, said at start */
    bool erasure_pending; /* mneme.db may hold bytes of forgotten records */
    struct {
        const char *reason; /* from status_name */
        int64_t count;
    } quarantine[24]; /* by reason */
    size_t n_quarantine;
    size_t n_domains, n_domains_known; /* shown, and all there are */
    struct status_domain domains[STATUS_MAX_DOMAINS];
    size_t n_holdouts;
    struct status_holdout holdouts[STATUS_MAX_DOMAINS];
};

struct status_board {
    pthread_mutex_t mutex;
    struct status now;
    struct names names;  /* `now` and its copies point to these; only grows */
    struct names topics; /* of places */
    struct status_place {
        long topic;
        int32_t partition;
        int64_t next_offset; /* to be learned from */
    } *places;
    size_t n_places;
    /* Asked for lag when the JSON is made; NULL: there is no source. */
    struct source *source;
    void (*source_get_health)(struct source *s, struct source_health *health);
    size_t (*source_get_partitions)(struct source *s,
                                    struct source_partition **rows);
};

void status_board_init(struct status_board *b);
void status_board_release(struct status_board *b);

struct status *status_lock(struct status_board *b);
void status_unlock(struct status_board *b);

/* The board's own copy of a name, whole; equal names have equal pointers. It
 * lives as long as the board. Locks: between status_lock and status_unlock. */
const char *status_name(struct status_board *b, const char *name);

/* Where the learner is: behind the source by what waits in the queue. Locks:
 * between status_lock and status_unlock. */
void status_set_places(struct status_board *b,
                       const struct source_position *positions, size_t n);

/* A copy, to be freed; its names are the board's. */
struct status *status_copy(struct status_board *b);

/* Sets state and reason (NULL: none). */
void status_set_state(struct status_board *b, enum status_state state,
                      const char *reason);

/* As GET /v1/status prints it (INTERFACE), and GET /v1/domains. */
json_t *status_to_json(struct status_board *b);
json_t *status_domains_json(struct status_board *b);

/* OpenMetrics text of everything here, names begin mneme_. */
void status_to_metrics(struct status_board *b, struct buf *out);

#endif
