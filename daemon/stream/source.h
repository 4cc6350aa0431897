/* SPDX-License-Identifier: Apache-2.0 */
/*
 * source.h - reads records from Kafka, a file, standard input, or HTTP.
 *
 * source_kafka.c, source_file.c and source_http.c implement it. A source runs
 * one thread, which owns the consumer or the file and pushes parsed records
 * into the queue. The source stores no positions: the store does, and the
 * caller passes them to source_begin and source_seek. Each of these calls
 * starts a new epoch. Every record carries its epoch, so that the trainer can
 * drop older records.
 *
 * Some conditions end reading but not serving: a gap, another topic of the same
 * name, a broker or a file that cannot be reached. source_get_health reports
 * them. Each is logged once when it begins and once when it ends. The source
 * retries a broker or a file that cannot be reached.
 *
 * Threads: any except the source's own; source_begin and source_seek only from
 *          the trainer
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
    const char *data_dir; /* the embedded broker writes kafka.addr into it */
    const char *store_id; /* is written into the group's commits */
    struct queue *queue;
    bool reads_only; /* beside a daemon on the same data directory, which may
                        write the files of its source */
};

struct source;

/*
 * Creates the source that the configuration names. It reads no record yet.
 * ERR_IO: the file cannot be read. A broker that cannot be reached is no error.
 */
int source_create(const struct source_options *options,
                  struct source **source, struct err *err);
void source_free(struct source *s); /* stops reading first; NULL is fine */

/*
 * Starts reading at the positions, which are copied. A partition without a
 * position begins where the configuration says. Positions of other topics,
 * such as released records, are ignored here and in the next two functions.
 */
int source_begin(struct source *s, const struct source_position *positions,
                 size_t n, int64_t epoch, struct err *err);

/*
 * Continues reading at other positions, in a new epoch. All positions are
 * checked first.
 *   returns  0; ERR_STATE when one of them can no longer be read, and then
 *            nothing has changed. Standard input and named pipes always give
 *            ERR_STATE. A truncated or replaced file gives it, too, unless the
 *            line before the position is the one that was learned.
 * Waits for a broker's answers, at most about 10 s.
 */
int source_seek(struct source *s, const struct source_position *positions,
                size_t n, int64_t epoch, struct err *err);

/* The topic of records that arrive over HTTP; their partition is 0. */
#define SOURCE_HTTP_TOPIC "http"

/*
 * Appends records that arrived over HTTP; they are durable on return.
 *   s        NULL: as a source of another type
 *   lines    the records, a line feed after each
 *   *first   the offset of the first of n records
 *   returns  ERR_INVALID: the source is of another type; ERR_STATE: it has not
 *            begun, or has stopped; and the errors of record_log_append
 * Threads: any, after source_create and before source_free
 */
int source_append(struct source *s, const char *lines, size_t n_bytes,
                  int64_t n, int64_t *first, struct err *err);

/* Tells the source that a version with these positions is durable. A Kafka
 * source then commits them, for tools that show the lag. */
void source_published(struct source *s,
                      const struct source_position *positions, size_t n);

void source_get_health(struct source *s, struct source_health *health);

/* Returns the number of *rows, which the caller frees. */
size_t source_get_partitions(struct source *s,
                             struct source_partition **rows);

/* Asks librdkafka whether it accepts a property, for conf_load. Returns 0, or
 * -1 with the reason in why. */
int source_property_check(const char *name, const char *value, char *why,
                          size_t why_size);

#endif
