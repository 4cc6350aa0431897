/* SPDX-License-Identifier: Apache-2.0 */
/*
 * source_private.h - the part that Kafka sources and file sources share.
 *
 * struct source_kafka and struct source_file each begin with a struct source.
 */
#ifndef MNEME_DAEMON_STREAM_SOURCE_PRIVATE_H
#define MNEME_DAEMON_STREAM_SOURCE_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "daemon/stream/source.h"

struct source_ops {
    void (*free)(struct source *s);
    int (*begin)(struct source *s, const struct source_position *positions,
                 size_t n, int64_t epoch, struct err *err);
    int (*seek)(struct source *s, const struct source_position *positions,
                size_t n, int64_t epoch, struct err *err);
    void (*published)(struct source *s,
                      const struct source_position *positions, size_t n);
    size_t (*get_partitions)(struct source *s,
                             struct source_partition **rows);
    /* NULL: records do not arrive over HTTP. */
    int (*append)(struct source *s, const char *lines, size_t n_bytes,
                  int64_t n, int64_t *first, struct err *err);
};

/* Each dead letter is counted in one of the three. */
struct source_dead_letters {
    _Atomic int64_t delivered, failed, waiting;
};

struct source {
    const struct source_ops *ops;
    struct source_options options; /* owns copies of the strings */
    pthread_mutex_t mutex;
    pthread_cond_t changed;  /* a field under the mutex has changed */
    enum source_state state; /* Locks: mutex; also for reason and gaps */
    char reason[256];
    int64_t gaps;
    _Atomic int64_t records_read, times_cut, time_cut_ms;
    struct source_dead_letters dead_letters;
    struct record_maker maker; /* only the reading thread uses it */
};

int source_file_create(struct source **source,
                       const struct source_options *options, struct err *err);
int source_http_create(struct source **source,
                       const struct source_options *options, struct err *err);
int source_kafka_create(struct source **source,
                        const struct source_options *options,
                        struct err *err);

/* source_base.c has the functions below, which both kinds of sources call. */

void source_init(struct source *s, const struct source_ops *ops,
                 const struct source_options *options);
void source_release(struct source *s);

/* Calls record_parse with the configured format and limit, and counts event
 * times that were in the future. Threads: the reading thread */
void source_parse(struct source *s, struct record *r, const char *domain);

/* Sets the state and its reason, and logs a change of state. Locks: takes
 * mutex. */
void source_set_state(struct source *s, enum source_state state,
                      const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Counts and logs a gap that reading skipped. Locks: takes mutex. */
void source_count_gap(struct source *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif
