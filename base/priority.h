/* SPDX-License-Identifier: Apache-2.0 */
/*
 * priority.h - the priority of threads: learning gives way to answers.
 *
 * Threads: any
 */
#ifndef MNEME_BASE_PRIORITY_H
#define MNEME_BASE_PRIORITY_H

/* Gives the calling thread the lowest priority, as `nice -n 19` does. Against a
 * thread of the usual priority in the same control group, it gets about 1.5 %
 * of a processor that both want. A failure does no harm. */
void priority_lower(void);

#endif
