/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scratch.h - a directory for what a measurement writes, gone afterwards.
 *
 * Owner:   the caller
 * Threads: any
 */
#ifndef MNEME_BENCH_SCRATCH_H
#define MNEME_BENCH_SCRATCH_H

#include "base/err.h"

/* A new one below $TMPDIR, else /tmp; *dir for scratch_remove. */
int scratch_make(char **dir, struct err *err);

/* Removes it with all that is in it, and frees dir. NULL is fine. */
void scratch_remove(char *dir);

#endif
