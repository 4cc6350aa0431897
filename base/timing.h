/* SPDX-License-Identifier: Apache-2.0 */
/*
 * timing.h - the monotonic clock, the wall clock, and waiting.
 *
 * timing_mono_ns never goes back: all waiting is measured with it. It has no
 * influence on what is learned. timing_wall_ms is Unix time, for people; it
 * jumps when the clock is set. timing_set_fake replaces both in tests.
 *
 * Threads: any; timing_set_fake before any other thread starts
 */
#ifndef MNEME_BASE_TIMING_H
#define MNEME_BASE_TIMING_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

int64_t timing_mono_ns(void);
int64_t timing_mono_ms(void);
int64_t timing_wall_ms(void);
double timing_seconds_since(int64_t mono_ns);
void timing_sleep_ms(int64_t ms);

/* The processor time that the calling thread has used, in nanoseconds, without
 * the time that it has waited for a processor or a disk. */
int64_t timing_thread_cpu_ns(void);

/* The time on CLOCK_MONOTONIC in `ms` milliseconds; for timing_wait. */
struct timespec timing_deadline(int64_t ms);

/*
 * Waits on a condition variable until it is signalled or `deadline` has passed.
 * Setting the system's clock does not change how long it waits.
 *   cond     made by pthread_cond_init with default attributes
 *   mutex    locked by the caller
 *   returns  0, or ETIMEDOUT
 */
int timing_wait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                const struct timespec *deadline);

/* "2026-11-24T01:02:03.456Z" */
#define TIMING_ISO_MAX 32
void timing_iso8601(int64_t wall_ms, char out[TIMING_ISO_MAX]);

/* For tests: makes both clocks and the processor time read *now_ms
 * (milliseconds), which any thread may change. NULL restores the real
 * clocks. */
void timing_set_fake(const _Atomic int64_t *now_ms);

#endif
