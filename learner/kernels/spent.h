/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spent.h - measures where the time of a step goes, for `mneme bench`.
 *
 * `mneme bench` sets spent_to for a few steps. The step adds the times of its
 * update; a timed table of operations (bench/timed_ops.h) adds the rest.
 * Otherwise spent_to is NULL, and the only cost is one test of it for each
 * range of parameters.
 *
 *     int64_t begin = spent_begin();
 *     ... the optimizer ...
 *     begin = spent_end(SPENT_OPTIMIZER, begin);
 *     ... EWC ...
 *     spent_end(SPENT_EWC, begin);
 *
 * Threads: spent_begin, spent_end: any; spent_to is set while no step runs
 */
#ifndef MNEME_LEARNER_KERNELS_SPENT_H
#define MNEME_LEARNER_KERNELS_SPENT_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/timing.h"

enum spent_part {
    SPENT_PRODUCTS,  /* with weights, forward and backward */
    SPENT_ATTENTION, /* scores and weighted values, forward and backward */
    SPENT_NORMS,
    SPENT_LOSS,      /* softmax and cross entropy, forward and backward */
    SPENT_OPTIMIZER, /* AdamW, moving average, check for finite weights */
    SPENT_EWC,
    SPENT_SUM, /* sums of the gradients and of their squares */
    SPENT_PARTS
};

struct spent {
    _Atomic int64_t ns[SPENT_PARTS];
};

extern struct spent *spent_to;

static inline int64_t spent_begin(void)
{
    return spent_to ? timing_mono_ns() : 0;
}

/* Adds the time since begin_ns to the part. Returns the time now. */
static inline int64_t spent_end(enum spent_part part, int64_t begin_ns)
{
    int64_t now;

    if (!spent_to)
        return 0;
    now = timing_mono_ns();
    atomic_fetch_add_explicit(&spent_to->ns[part], now - begin_ns,
                              memory_order_relaxed);
    return now;
}

#endif
