/* SPDX-License-Identifier: Apache-2.0 */
/*
 * source_state.h - the positions and the health of a source, as the board shows
 * them. stream/source.h has the source.
 */
#ifndef MNEME_DAEMON_BOARD_SOURCE_STATE_H
#define MNEME_DAEMON_BOARD_SOURCE_STATE_H

#include <stdint.h>

/* The position of a partition, and the hash by which a source recognises the
 * partition after a restart. The functions of stream/source.h leave out the
 * positions of released records (store/releases.h). */
struct source_position {
    const char *topic; /* a Kafka topic, or a file's path */
    int32_t partition; /* file: 0, plus 1 after each rotation; stdin: plus 1 at
                          each start */
    int64_t next_offset;  /* file: line number from 0 */
    int64_t last_learned; /* offset, -1: none */
    uint64_t last_hash;   /* XXH3 of that record's value */
};

enum source_state {
    SOURCE_RUNNING,
    SOURCE_RETRYING, /* the broker or the file is missing; the source retries */
    SOURCE_STOPPED,  /* a gap or another topic: the operator must decide */
    SOURCE_ENDED     /* the last line is in the queue */
};

/* Its name in the status and in the log (status.c). */
const char *source_state_name(enum source_state s);

struct source_partition {
    const char *topic; /* lives as long as the source */
    int32_t partition;
    int64_t start;  /* the first offset of this store, or the first one after
                       a gap; -1: not known */
    int64_t offset; /* the next offset that the source will read */
    int64_t end;    /* -1: not known */
};

struct source_health {
    enum source_state state;
    char reason[256]; /* one line for the user, when not RUNNING */
    int64_t gaps;     /* gaps that on_gap: skip passed over */
    int64_t records_read;
    int64_t times_cut; /* records whose time was in the future, and was set to
                          the present (record_parse) */
    int64_t time_cut_ms; /* monotonic time of the newest one; 0: none */
    int64_t dead_lettered, dead_letters_failed, dead_letters_waiting;
};

#endif
