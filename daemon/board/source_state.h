/* SPDX-License-Identifier: Apache-2.0 */
/*
 * source_state.h - what a source tells about itself: where it reads, and how it
 * is. The board shows it; stream/source.h has the source.
 */
#ifndef MNEME_DAEMON_BOARD_SOURCE_STATE_H
#define MNEME_DAEMON_BOARD_SOURCE_STATE_H

#include <stdint.h>

/* Where a partition goes on, and how to tell that it is still the same one.
 * Positions of released records (store/releases.h) are the store's own: the
 * functions of stream/source.h leave them out. */
struct source_position {
    const char *topic; /* a Kafka topic, or a file's path */
    int32_t partition; /* file: 0; one more after each rotation; stdin: one
                          more at each start */
    int64_t next_offset;  /* file: line number from 0 */
    int64_t last_learned; /* offset, -1: none */
    uint64_t last_hash;   /* XXH3 of that record's value */
};

enum source_state {
    SOURCE_RUNNING,
    SOURCE_RETRYING, /* broker or file away: mends by itself */
    SOURCE_STOPPED,  /* a gap or another topic: the owner must decide */
    SOURCE_ENDED     /* the last line has been pushed */
};

struct source_partition {
    const char *topic; /* lives as long as the source */
    int32_t partition;
    int64_t start;  /* where this store began, or went on after a gap; -1: not
                       known */
    int64_t offset; /* next one to be read by the source */
    int64_t end;    /* known end; -1: not known */
};

struct source_health {
    enum source_state state;
    char reason[256]; /* one line for the user, when not RUNNING */
    int64_t gaps;     /* times that on_gap: skip went over a gap */
    int64_t records_read;
    int64_t times_cut; /* event times that lay ahead (record_parse) */
    int64_t dead_lettered, dead_letters_failed, dead_letters_waiting;
};

#endif
