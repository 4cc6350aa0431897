/* SPDX-License-Identifier: Apache-2.0 */
/*
 * timed_ops.h - the operations that the model runs on, each with a clock
 * around it.
 *
 *     struct spent spent;
 *     timed_ops_on(&spent);      spent is cleared
 *     ... steps ...
 *     timed_ops_off();
 *
 * An operation that is not in one of the parts of spent.h runs untimed: its
 * time is found in what is left of the whole.
 *
 * Threads: one, while no step runs
 */
#ifndef MNEME_BENCH_TIMED_OPS_H
#define MNEME_BENCH_TIMED_OPS_H

#include "learner/kernels/spent.h"

void timed_ops_on(struct spent *spent);
void timed_ops_off(void);

#endif
