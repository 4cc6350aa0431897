/* SPDX-License-Identifier: Apache-2.0 */
/*
 * eval_run.h - one run: a stream is learned once, with one arm and one seed.
 *
 * The run is the daemon's: the same intake with its filters, batches, replay
 * and learner. The differences: nothing is held out but the held-out records;
 * a part-filled batch is learned at the end of each part, as when the stream
 * pauses; and a vocabulary that is learned from the stream (model.tokenizer:
 * bpe) gets at most as much text as the first domain has, since a daemon would
 * have learned it at the pause after that domain.
 *
 * Owner:   the caller
 * Threads: one; it starts the learner's worker
 */
#ifndef MNEME_EVAL_EVAL_RUN_H
#define MNEME_EVAL_EVAL_RUN_H

#include <stdint.h>

#include <jansson.h>

#include "base/err.h"
#include "eval/eval.h"
#include "eval/eval_texts.h"

struct eval_run_options {
    const struct eval_options *o;
    const struct eval_texts *texts;
    enum eval_arm arm;
    uint64_t seed;
    /* NULL: each record once. Else double[names.n], processor seconds for each
     * part: its records are learned again until the time is over, or the last
     * ones not at all. Measurements do not count. */
    const double *seconds;
    void (*progress)(void *arg, double share);
    void *arg;
};

/*
 * Runs it.
 *   result  out: the run as JSON (eval_run.c)
 */
int eval_run(const struct eval_run_options *o, json_t **result,
             struct err *err);

#endif
