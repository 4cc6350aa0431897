/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cancel.h - ends long work when its result is no longer wanted. The work calls
 * cancel_check between its pieces.
 *
 *     if ((rc = cancel_check(cancel, err)))
 *         return rc;
 *
 * Owner:   the caller that wants the result; the work has a pointer to it
 * Threads: `check` runs in the thread that does the work
 */
#ifndef MNEME_BASE_CANCEL_H
#define MNEME_BASE_CANCEL_H

#include <stddef.h>

#include "base/err.h"

struct cancel {
    /* Returns 0 while the result is wanted. After that, every call sets err and
     * returns its code, and the work ends with that code. */
    int (*check)(void *arg, struct err *err);
    void *arg;
};

/* Calls c->check. Returns 0 when c is NULL. */
static inline int cancel_check(const struct cancel *c, struct err *err)
{
    return c ? c->check(c->arg, err) : 0;
}

#endif
