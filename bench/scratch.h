/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scratch.h - temporary directories.
 *
 * Owner:   the caller
 * Threads: any
 */
#ifndef MNEME_BENCH_SCRATCH_H
#define MNEME_BENCH_SCRATCH_H

#include "base/err.h"

/* Makes a new directory NAME-XXXXXX below $TMPDIR, else /tmp. *dir is for
 * scratch_remove, or free. */
int scratch_make(const char *name, char **dir, struct err *err);

/* Removes the directory with its contents, and frees dir. NULL is fine. */
void scratch_remove(char *dir);

#endif
