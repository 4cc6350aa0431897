/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cancel.h - lets long work ask, between its pieces, whether its result is
 * still wanted.
 *
 *     if ((rc = cancel_check(cancel, err)))
 *         return rc;
 *
 * Owner:   whoever wants the result; work only keeps a pointer while it runs
 * Threads: check runs in the thread that works
 */
#ifndef MNEME_BASE_CANCEL_H
#define MNEME_BASE_CANCEL_H

#include <stddef.h>

#include "base/err.h"

struct cancel {
    /* Returns 0 while the result is wanted. Otherwise sets err and returns its
     * code, now and at every later call; the work then ends with that code. */
    int (*check)(void *arg, struct err *err);
    void *arg;
};

/* As c->check. c NULL: nobody cancels, 0. */
static inline int cancel_check(const struct cancel *c, struct err *err)
{
    return c ? c->check(c->arg, err) : 0;
}

#endif
