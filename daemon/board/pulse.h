/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pulse.h - tells whether the threads of the daemon move.
 *
 * Each thread of the list beats once in every turn of its loop. A beat promises
 * the next one within a time. A thread whose promise is broken has stalled: it
 * waits for something that does not come, or loops. A thread that has nothing
 * to do keeps turning, and so it moves. Before a wait that may last for any
 * time (for a line of a pipe, for another thread of the list) a thread rests,
 * until its next beat.
 *
 * There is one set for the process, as there is one log: a process has one
 * thread of each kind.
 *
 * Threads: any
 */
#ifndef MNEME_DAEMON_BOARD_PULSE_H
#define MNEME_DAEMON_BOARD_PULSE_H

#include <stdint.h>

enum pulse {
    PULSE_SOURCE,    /* polls Kafka or reads the file */
    PULSE_TRAINER,   /* learns */
    PULSE_PUBLISHER, /* writes versions and gives verdicts */
    PULSE_HTTP,      /* accepts connections */
    PULSE_N
};

/* How long the loops promise at most. */
#define PULSE_LOOP_MS 60000
#define PULSE_STEP_MS 300000  /* a step of a large model; Kafka is asked for
                                 the positions of many partitions */
#define PULSE_TASK_MS 1800000 /* a version is written, mneme.db is rewritten, a
                                 large file is read up to a position */

/* The calling thread moves, and beats again within promise_ms. */
void pulse_beat(enum pulse p, int64_t promise_ms);

/* The thread is not watched until its next beat; also at its end. */
void pulse_rest(enum pulse p);

/* The number of threads that have stalled. *first: the name of one of them, or
 * NULL. */
int pulse_stalled(const char **first);

#endif
