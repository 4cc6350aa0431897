/* SPDX-License-Identifier: Apache-2.0 */
/*
 * source_private.h - what the kinds of sources share: the table of functions, and
 * a health that is logged when it changes.
 *
 * Each kind has a struct that begins with struct source.
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
};

/* Counts of dead letters; each letter is in one of the three. */
struct source_letters {
    _Atomic int64_t delivered, failed, waiting;
};

struct source {
    const struct source_ops *ops;
    struct source_options options; /* its strings are copies */
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* something below, or in the kind's struct */
    enum source_state state; /* Locks: mutex, and reason and gaps */
    char reason[256];
    int64_t gaps;
    _Atomic int64_t records_read, times_cut;
    struct source_letters letters;
    struct record_maker maker; /* the reading thread's */
};

/* One of the two, by source.type. */
int source_file_create(struct source **source,
                       const struct source_options *options, struct err *err);
int source_kafka_create(struct source **source,
                        const struct source_options *options,
                        struct err *err);

void source_init(struct source *s, const struct source_ops *ops,
                 const struct source_options *options);
void source_release(struct source *s);

/* record_parse as the configuration says: on the reading thread, which has time
 * to spare. domain as there. */
void source_parse(struct source *s, struct record *r, const char *domain);

/* Sets the state, and logs it when it is another one. Locks: takes mutex. */
void source_set_state(struct source *s, enum source_state state,
                      const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* on_gap: skip went over a gap: counted and logged. Locks: takes mutex. */
void source_count_gap(struct source *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* An array with copies of the topics, to be freed by the function below. */
struct source_position *
source_positions_copy(const struct source_position *positions, size_t n);
void source_positions_free(struct source_position *positions, size_t n);

#endif
