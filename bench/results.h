/* SPDX-License-Identifier: Apache-2.0 */
/*
 * results.h - everything that `mneme bench` found out, and its JSON.
 *
 * Keys, X being tiny, small, medium or gpt2 and P a preset; a figure that is a
 * median has its smallest and largest window beside it, under its key with
 * _least and _most appended:
 *
 *     mneme, cpu, kernels, threads, windows, window_seconds,
 *         text.{from,bytes}
 *     machine.fma_kind
 *     machine.fma_peak_gflops, .sgemm_gflops, .triad_gb_per_second: of all
 *         threads at once; with _one_thread appended of one
 *     train.X.tokens_per_second, .model_gflops, .peak_share (of
 *         fma_peak_gflops, where machine was measured), .parameters,
 *         .step_tokens, .flop_per_token, .skipped_steps
 *     train.X.shares.{products,attention,norms,loss,optimizer,ewc,
 *         gradient_sum,rest}: of the threads' time, together 1
 *     presets.P: as train.X
 *     score.X.tokens_per_second, .ratio_to_training (where that was measured)
 *     generate.X.tokens_per_second, .prompt_tokens, .new_tokens
 *     score.X, generate.X.int8_tokens_per_second: with serve.quantize: int8
 *     quantize.bits_per_byte_float, .bits_per_byte_int8: of text that the
 *         model never learned from; .loss_percent: int8 over float, above 0
 *         when int8 is worse; .shape, .trained_tokens, .scored_chunks,
 *         .scored_bytes
 *     replay.rows_in_per_second, .rows_out_per_second, .capacity_rows,
 *         .row_tokens
 *     publish.seconds, .stop_seconds (a median), .longest_stop_seconds
 *     left_out: {part: why}
 *
 * Parts that were not chosen are absent.
 *
 * Owner:   the caller; strings are its own
 * Threads: one at a time
 */
#ifndef MNEME_BENCH_RESULTS_H
#define MNEME_BENCH_RESULTS_H

#include <jansson.h>

#include "bench/parts.h"
#include "bench/speed.h"

struct results {
    int threads;
    size_t windows, rows, text_bytes;
    double seconds;
    const char *text_from;
    char cpu[128];
    struct part parts[PARTS_N];
    struct speed_machine machine;
    struct speed_train train[SHAPES_N], presets[SHAPES_PRESETS_N];
    struct speed_answers score[SHAPES_N], generate[SHAPES_N];
    struct speed_quantize quantize;
    struct speed_replay replay;
    struct speed_publish publish;
};

extern const char *const results_share_names[SPENT_PARTS + 1];

/* Runs one part; results->parts says which are done. */
int results_run(struct results *r, struct part *part,
                const struct speed_options *o, struct err *err);

/* The part, if it was measured. */
const struct part *results_done(const struct results *r, enum part_kind kind,
                                size_t index);

double results_gflops(const struct speed_train *t);    /* model GFLOP/s */
double results_peak_share(const struct results *r,     /* NaN: not known */
                          const struct speed_train *t);
double results_score_ratio(const struct results *r, size_t shape); /* NaN */
double results_int8_loss(const struct results *r); /* percent; NaN */

json_t *results_json(const struct results *r); /* to be given back */

#endif
