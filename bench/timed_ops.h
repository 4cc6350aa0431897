/* SPDX-License-Identifier: Apache-2.0 */
/*
 * timed_ops.h - measures the time in each operation of the model.
 *
 *     struct spent spent;
 *     timed_ops_on(&spent);      clears spent
 *     ... steps ...
 *     timed_ops_off();
 *
 * Operations without a part in spent.h are not timed.
 *
 * Threads: one, while no step runs
 */
#ifndef MNEME_BENCH_TIMED_OPS_H
#define MNEME_BENCH_TIMED_OPS_H

#include "learner/kernels/spent.h"

void timed_ops_on(struct spent *spent);
void timed_ops_off(void);

#endif
