/* SPDX-License-Identifier: Apache-2.0 */
/*
 * priority.h - the priority of threads: learning gives way to answers.
 *
 * Threads: any
 */
#ifndef MNEME_BASE_PRIORITY_H
#define MNEME_BASE_PRIORITY_H

/* Gives the calling thread the lowest priority, as `nice -n 19` does. It gets
 * the processors when no other thread of the process wants them, and about
 * 1.5 % of one otherwise. A failure does no harm. */
void priority_lower(void);

#endif
