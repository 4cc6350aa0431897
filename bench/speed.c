/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "bench/speed.h"

#include "base/timing.h"

int speed_progress(const struct speed_options *o, double share, struct err *err)
{
    if (o->stop && atomic_load(o->stop))
        return err_set(err, ERR_AGAIN, "interrupted");
    if (o->progress)
        o->progress(share, o->arg);
    return 0;
}

static int run(speed_fn *fn, void *arg, long n, double *seconds,
               struct err *err)
{
    int64_t begin = timing_mono_ns();
    int rc = 0;

    for (long i = 0; rc == 0 && i < n; i++)
        rc = fn(arg, err);
    *seconds = timing_seconds_since(begin);
    return rc;
}

/* Calls fn for a fifth of a window. *n becomes the number of calls that fill a
 * window, by the time of the last call. */
static int warm_up(const struct speed_options *o, speed_fn *fn, void *arg,
                   long *n, struct err *err)
{
    int64_t begin = timing_mono_ns();
    double took;
    int rc;

    do {
        rc = run(fn, arg, 1, &took, err);
    } while (rc == 0 && timing_seconds_since(begin) < o->seconds / 5.0);
    *n = took < o->seconds ? (long)(o->seconds / (took + 1e-9)) + 1 : 1;
    return rc;
}

static int window(const struct speed_turn *t, long n, struct err *err)
{
    double took;
    int rc = run(t->fn, t->arg, n, &took, err);

    if (rc == 0)
        figure_add(t->rate, t->work * (double)n / took);
    return rc;
}

int speed_turns(const struct speed_options *o, const struct speed_turn *turns,
                size_t n, struct err *err)
{
    size_t all = n * (o->windows + 1);
    long calls[SPEED_TURNS];
    int rc = 0;

    BUG_ON(n > SPEED_TURNS);
    for (size_t i = 0; rc == 0 && i < all; i++) {
        const struct speed_turn *t = &turns[i % n];

        rc = speed_progress(o, (double)i / (double)all, err);
        if (rc == 0 && i < n)
            rc = warm_up(o, t->fn, t->arg, &calls[i], err);
        else if (rc == 0)
            rc = window(t, calls[i % n], err);
    }
    return rc;
}

int speed_windows(const struct speed_options *o, speed_fn *fn, void *arg,
                  double work, struct figure *rate, struct err *err)
{
    struct speed_turn turn = {fn, arg, work, rate};

    return speed_turns(o, &turn, 1, err);
}
