/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process_figures.h - what the system knows about this process.
 *
 * The figures are those that every client library of Prometheus shows.
 *
 * Threads: any
 */
#ifndef MNEME_DAEMON_BOARD_PROCESS_FIGURES_H
#define MNEME_DAEMON_BOARD_PROCESS_FIGURES_H

#include <stdint.h>

/* Not known: NaN, or -1. */
struct process_figures {
    double cpu_seconds;       /* user and system */
    double start_seconds;     /* Unix time */
    int64_t resident_bytes, virtual_bytes;
    int64_t open_files, max_files;
    int64_t threads;
};

/* Reads /proc/self. Without it, all but cpu_seconds and max_files is not
 * known. */
void process_figures_read(struct process_figures *p);

#endif
