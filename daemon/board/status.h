/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status.h - the board: figures that every thread shows about its work.
 *
 * A plain struct behind a mutex. A writer changes its fields between
 * status_lock and status_unlock; a reader copies the struct. GET /v1/status,
 * GET /metrics and the events are made from such copies (status_figures.c).
 *
 * The publisher reads the figures of versions from the store
 * (publisher_show_versions). So a rollback to a version and a restart at that
 * version show the same figures.
 *
 * Threads: any
 */
#ifndef MNEME_DAEMON_BOARD_STATUS_H
#define MNEME_DAEMON_BOARD_STATUS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "base/buf.h"
#include "base/names.h"
#include "daemon/board/histogram.h"
#include "daemon/board/source_state.h"
#include "learner/infer/infer.h"

#define STATUS_MAX_DOMAINS 257 /* model.max_domains, and `other` */

enum status_state {
    STATUS_STARTING, /* collecting text for the vocabulary, loading */
    STATUS_LEARNING,
    STATUS_WAITING,  /* for records */
    STATUS_PAUSED,   /* status.reason names the cause */
    STATUS_ROLLING_BACK,
    STATUS_STOPPING
};

const char *status_state_name(enum status_state s);  /* "waiting" */
const char *status_state_words(enum status_state s); /* "Waiting for records" */

#define STATUS_REASON_MAX 640 /* bytes of a reason, with the final 0 */

/* The drift test of a domain (daemon/intake/drift.h). */
struct status_drift {
    int64_t alarms;
    int64_t record;       /* records of the domain at the last alarm; -1: no
                             alarm */
    double before, after; /* its losses, bits per byte; NaN: no alarm */
    double level;         /* 0 to 1; 0.5: a warning. At 1 there is an alarm,
                             and the level is 0 again. */
};

struct status_domain {
    const char *name;            /* from status_name */
    int64_t records, bytes;      /* learned */
    double prequential;          /* bits per byte, recent mean; NaN: none */
    double accuracy;             /* of labelled records, recent; NaN: none */
    int64_t replay_rows;
    struct status_drift drift;
};

/* The loss of the judged version on a domain's holdout. */
struct status_holdout {
    const char *domain; /* from status_name */
    double loss;        /* bits per byte; NaN: none */
    double best;        /* the lowest loss of this version and its ancestors;
                           NaN: none. Forgetting is loss minus best. */
};

/* The number of quarantined records with this reason. */
struct status_reason {
    const char *reason; /* from status_name */
    int64_t count;
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
    double tokens_per_second, records_per_second; /* of the last seconds */
    double train_bits_per_byte, prequential_bits_per_byte; /* NaN: none yet */
    double average_prequential; /* bits per byte of the moving average, recent
                                   mean; NaN: none */
    double prequential_total; /* bits per byte over all learned text */
    double accuracy;          /* of recent labelled records; NaN: none */
    int64_t labels;
    struct status_replay {
        int64_t records, capacity, bytes;
        int64_t damaged; /* sampled rows that could not be read, since the
                            start */
        int64_t missing; /* rows of a loaded index that the table lacks */
    } replay;
    int64_t holdout_rows;
    struct status_ewc {
        double penalty, share, lambda;
        int64_t consolidations;
    } ewc;
    double grad_norm, rate;
    int64_t steps_skipped;
    struct histogram step_seconds;
    struct histogram slot_seconds; /* the wait of requests for a slot */
    int64_t drift_alarms; /* raised since the start of the process */
    struct status_domain drifted; /* the domain of the newest of these alarms,
                                     as it was then */
    int64_t newest_record_ms;  /* event time of the newest learned record */
    int64_t serving_record_ms; /* the same in the serving version */
    struct status_publish {
        int64_t count, failed;      /* publishes that succeeded, that failed */
        double last_seconds;        /* duration of the last publish */
        double last_cpu_seconds;    /* its processor time */
        double last_stop_seconds;   /* how long the trainer waited for it */
        double interval_seconds;    /* least time between two versions */
        const char *next_waits_for; /* the condition for the next version, a
                                       static text; NULL: nothing to publish */
        int64_t next_ms;            /* the latest time of the next version,
                                       monotonic; 0: not known */
        int64_t passed, refused; /* verdicts */
        int64_t rollbacks;
        int64_t automatic; /* rollbacks that the guard started */
        int64_t newest_version; /* the largest number ever used */
        int64_t judged_version; /* the newest version with a verdict; 0: none.
                                   The fields below describe its verdict. */
        char last_verdict[16];
        char last_reason[STATUS_REASON_MAX];
        int64_t refused_in_a_row;  /* versions since the last one that passed */
        int64_t reference_version; /* 0: none, or the next comparison starts
                                      anew */
        int64_t shadow_records;    /* segments of the shadow comparison */
        double shadow_difference;  /* relative; above 0: the live version is
                                      worse */
        double shadow_evidence;    /* ln; the guard rolls back from 6.9 on */
        char last_rollback[256];   /* its reason; "": none */
    } publish;
    int64_t vocabulary_bytes, vocabulary_wanted; /* text collected so far, and
                                                    the text that is needed */
    int64_t flushes; /* part-filled batches that were learned in a pause */
    int64_t memory_announced; /* bytes; the log line `memory` at start */
    bool erasure_pending; /* mneme.db may hold bytes of forgotten records */
    struct status_reason quarantine[24];
    size_t n_quarantine;
    size_t n_domains;        /* domains shown here */
    int64_t n_domains_known; /* all domains */
    struct status_domain domains[STATUS_MAX_DOMAINS];
    size_t n_holdouts;
    struct status_holdout holdouts[STATUS_MAX_DOMAINS];
};

/* The requests that an endpoint has answered. */
struct status_requests {
    const char *path, *method; /* of the table of endpoints */
    struct histogram seconds;
};

#define STATUS_MAX_HTTP 600 /* HTTP status codes are below */

struct status_board {
    pthread_mutex_t mutex;
    struct status now;
    struct status_requests *requests; /* only grows */
    size_t n_requests;
    int64_t http_replies[STATUS_MAX_HTTP]; /* by status code */
    struct infer_figures infer; /* of all versions; not behind the mutex */
    atomic_bool publishes; /* the publisher does a task: it writes or scores a
                              version; not behind the mutex */
    struct names names;  /* `now` and its copies point to these; only grows */
    struct names topics; /* of positions */
    struct status_position {
        long topic;
        int32_t partition;
        int64_t next_offset; /* the learner's */
    } *positions;
    size_t n_positions;
    /* The renderings call these two functions. The daemon sets them, so that
     * the board does not depend on the source. NULL: there is no source. */
    struct source *source;
    void (*source_get_health)(struct source *s, struct source_health *health);
    size_t (*source_get_partitions)(struct source *s,
                                    struct source_partition **rows);
};

void status_board_init(struct status_board *b);
void status_board_release(struct status_board *b);

struct status *status_lock(struct status_board *b);
void status_unlock(struct status_board *b);

/* The board's own copy of a name. Equal names have equal pointers, which are
 * valid as long as the board. Locks: between status_lock and status_unlock. */
const char *status_name(struct status_board *b, const char *name);

/* Sets the learner's positions. The source has read further: the records
 * between the two wait in the queue. Copies the positions. Locks: between
 * status_lock and status_unlock. */
void status_set_positions(struct status_board *b,
                          const struct source_position *positions, size_t n);

/* A copy, which the caller frees. Its names belong to the board. */
struct status *status_copy(struct status_board *b);

/* Sets state and reason; NULL: no reason. */
void status_set_state(struct status_board *b, enum status_state state,
                      const char *reason);

/*
 * Counts a reply.
 *   path     of its endpoint, with method: texts that live as long as the
 *            board; NULL: no endpoint fits
 *   seconds  from the head of the request to the end of the reply
 */
void status_count_reply(struct status_board *b, const char *path,
                        const char *method, int http_status, double seconds);

/*
 * Returns the records that are not learned yet, over all partitions whose end
 * is known; -1: no end is known.
 *   n_partitions  out: of the source; NULL is fine
 */
int64_t status_lag(struct status_board *b, size_t *n_partitions);

/* The body of GET /v1/status, and of GET /v1/domains. */
json_t *status_to_json(struct status_board *b);
json_t *status_domains_json(struct status_board *b);

/* The JSON schema of the first with prefix "", of the second with "domains". */
json_t *status_schema(const char *prefix);

/* Appends the state in one sentence, without an end of line. */
void status_to_sentence(struct status_board *b, struct buf *out);

/* Appends all metrics in the text format of Prometheus. */
void status_to_metrics(struct status_board *b, struct buf *out);

#endif
