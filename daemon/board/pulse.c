/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/board/pulse.h"

#include <stdatomic.h>
#include <stddef.h>

#include "base/timing.h"

/* When the next beat is due, on the monotonic clock; 0: the thread rests. */
static _Atomic int64_t due_ms[PULSE_N];

void pulse_beat(enum pulse p, int64_t promise_ms)
{
    atomic_store_explicit(&due_ms[p], timing_mono_ms() + promise_ms,
                          memory_order_relaxed);
}

void pulse_rest(enum pulse p)
{
    atomic_store_explicit(&due_ms[p], 0, memory_order_relaxed);
}

int pulse_stalled(const char **first)
{
    static const char *const names[] = {"source", "trainer", "publisher",
                                        "http"};
    int64_t now = timing_mono_ms();
    int n = 0;

    *first = NULL;
    for (int i = 0; i < PULSE_N; i++) {
        int64_t due = atomic_load_explicit(&due_ms[i], memory_order_relaxed);

        if (!due || now <= due)
            continue;
        if (n++ == 0)
            *first = names[i];
    }
    return n;
}
