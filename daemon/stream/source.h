/* SPDX-License-Identifier: Apache-2.0 */
/*
 * source.h - where records come from, as a struct of functions: source_kafka.c,
 * source_file.c (files and stdin).
 *
 * A source runs one thread that owns the consumer or the file, pushes parsed
 * records into the queue, and never decides where to begin: positions come
 * from the store. Each begin or seek starts an epoch that is stamped on every
 * record, so that the trainer can tell and drop what was read before it.
 *
 * A condition that ends reading but not serving - the stored offset is gone,
 * the topic is another one, the broker is away, the file cannot be read - is
 * in source_health; a broker that is away mends by itself, and each is logged
 * once when it comes and once when it goes.
 *
 * Threads: functions below are for the daemon's threads, not for the source's
 *          own; source_seek and source_begin from the trainer only
 */
#ifndef MNEME_DAEMON_STREAM_SOURCE_H
#define MNEME_DAEMON_STREAM_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "conf/conf.h"
#include "daemon/board/source_state.h"
#include "daemon/stream/queue.h"

struct source_options {
    const struct conf *conf;
    const char *data_dir; /* for kafka.addr */
    const char *store_id; /* goes into group commits */
    struct queue *queue;
};

struct source; /* starts with its struct source_ops */

/*
 * Makes the source that the configuration names; checks what can be checked
 * without reading (a file that is not there is ERR_IO; a broker that is away
 * is not an error). Nothing is read yet.
 */
int source_create(const struct source_options *options,
                  struct source **source, struct err *err);
void source_free(struct source *s); /* stops it first */

/* Starts reading from the positions; partitions without one begin as the
 * configuration says. The array is copied. */
int source_begin(struct source *s, const struct source_position *positions,
                 size_t n, int64_t epoch, struct err *err);

/*
 * Reads on from other positions, as a new epoch. First makes sure that every
 * one of them can still be read: if not, ERR_STATE says which and nothing has
 * changed. stdin is always ERR_STATE, and so is a file that was truncated since
 * it was opened, or replaced, unless the line before the position is the one
 * that was learned. May take as long as a broker's answer, bounded
 * to 10 s.
 */
int source_seek(struct source *s, const struct source_position *positions,
                size_t n, int64_t epoch, struct err *err);

/* A version with these positions is durable: a hint for lag tools. */
void source_published(struct source *s,
                      const struct source_position *positions, size_t n);

void source_get_health(struct source *s, struct source_health *health);

/* *rows to be freed. */
size_t source_get_partitions(struct source *s,
                             struct source_partition **rows);

/* Checks one librdkafka property, for conf_load. Returns 0, or -1 with the
 * reason in why. */
int source_property_check(const char *name, const char *value, char *why,
                          size_t why_size);

#endif
