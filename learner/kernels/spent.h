/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spent.h - where the time of a step goes, while somebody wants to know.
 *
 * `mneme bench` hangs a struct spent into spent_to for a few steps: the step
 * adds the parts of its update to it, and a table of operations that is timed
 * (bench/timed_ops.h) the rest. Otherwise spent_to is NULL, and what is left
 * of this is a test of it for each range of parameters.
 *
 *     int64_t begin = spent_begin();
 *     ... the optimizer ...
 *     begin = spent_end(SPENT_OPTIMIZER, begin);
 *     ... EWC ...
 *     spent_end(SPENT_EWC, begin);
 *
 * Threads: begin and end any; spent_to is set while no step runs
 */
#ifndef MNEME_LEARNER_KERNELS_SPENT_H
#define MNEME_LEARNER_KERNELS_SPENT_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/timing.h"

enum spent_part {
    SPENT_PRODUCTS,  /* with weights, both ways */
    SPENT_ATTENTION, /* scores and what they weigh, both ways */
    SPENT_NORMS,
    SPENT_LOSS,      /* softmax and cross entropy, both ways */
    SPENT_OPTIMIZER, /* AdamW, and whether the weights are finite */
    SPENT_EWC,
    SPENT_SUM,       /* of the gradients, and of their squares */
    SPENT_PARTS
};

struct spent {
    _Atomic int64_t ns[SPENT_PARTS]; /* over all threads */
};

extern struct spent *spent_to;

static inline int64_t spent_begin(void)
{
    return spent_to ? timing_mono_ns() : 0;
}

/* Returns the time, at which the next part may begin. */
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
