/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cancel.h - a question that long work asks between its pieces: is the result
 * still wanted?
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
    /* 0: go on. Else sets err and returns its code, and does so from then on;
     * the work ends with that code. */
    int (*check)(void *arg, struct err *err);
    void *arg;
};

/* c NULL: the work always goes on. */
static inline int cancel_check(const struct cancel *c, struct err *err)
{
    return c ? c->check(c->arg, err) : 0;
}

#endif
