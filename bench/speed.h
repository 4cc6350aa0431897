/* SPDX-License-Identifier: Apache-2.0 */
/*
 * speed.h - what `mneme bench` measures, a function for each part of it.
 *
 * All of them warm up and then take timed windows: in each, as many calls of
 * what is measured as fill o->seconds, and one at least. Work is done by
 * threads like the learner's own (learner/kernels/workers.h), one core each.
 *
 * Owner:   the caller; results are plain numbers
 * Threads: one part at a time
 */
#ifndef MNEME_BENCH_SPEED_H
#define MNEME_BENCH_SPEED_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/err.h"
#include "bench/corpus.h"
#include "bench/figure.h"
#include "bench/shapes.h"
#include "learner/kernels/spent.h"

struct speed_options {
    int threads;
    size_t windows; /* 1 to FIGURE_MOST */
    double seconds; /* of a window */
    size_t rows;    /* that the replay buffer holds */
    struct corpus *corpus;
    const char *dir;         /* for what has to be written: there, empty */
    const atomic_bool *stop; /* ERR_AGAIN once it is set; or NULL */
    void (*progress)(double share, void *arg); /* of a part; or NULL */
    void *arg;
};

/* Figures of one thread, and of o->threads at once. */
struct speed_pair {
    struct figure one, all;
};

struct speed_machine {
    const char *fma_kind;      /* "AVX-512", ... */
    struct speed_pair fma;     /* GFLOP/s, fp32 */
    struct speed_pair sgemm;   /* GFLOP/s, 1024 x 1024 x 1024, independent
                                  products of one thread each */
    struct speed_pair triad;   /* GB/s that a = b + s c reads and writes */
};

/* Limits of the machine. */
int speed_machine(const struct speed_options *o, struct speed_machine *m,
                  struct err *err);

struct speed_train {
    size_t n_params, step_tokens;
    struct figure rate;  /* tokens a second */
    double flop_a_token; /* shape_step_flop */
    /* Of the threads' time in a step; what is left comes last: rotation,
     * SwiGLU, copies, clearing, what one thread does alone, and waiting. */
    double shares[SPENT_PARTS + 1];
    size_t skipped; /* steps whose gradient was not applied */
};

/* learner_step on real text, with EWC at work. ERR_LIMIT when there is not
 * enough memory. */
int speed_train(const struct speed_options *o, const struct shape *s,
                struct speed_train *t, struct err *err);

/* Shares out of what was spent in `seconds` of so many threads. */
void speed_shares(const struct spent *spent, int threads, double seconds,
                  double shares[SPENT_PARTS + 1]);

/* Tokens a second, with weights as they are and as int8, windows in turns. A
 * vocabulary below 257 counts as 257. */
struct speed_answers {
    struct figure rate, int8_rate;
};

/* infer_segments of a training step's batch, its sequences shared among the
 * threads. */
int speed_score(const struct speed_options *o, const struct shape *s,
                struct speed_answers *a, struct err *err);

/* infer_complete, one at a time. */
int speed_generate(const struct speed_options *o, const struct shape *s,
                   struct speed_answers *a, struct err *err);

struct speed_quantize {
    size_t trained_tokens;
    size_t chunks, bytes; /* of held-out text, that were scored */
    double bits_per_byte, int8_bits_per_byte;
};

/*
 * What int8 costs: a model of s, with bytes as tokens, learns from sequences
 * of the text in an order that scatters them, and is scored on others, in
 * between, which it never learned from. The same text, options and kernels
 * give the same figures. It learns SPEED_QUANTIZE_TOKENS, with windows of less
 * than half a second as much less; s->batch sequences a step.
 */
int speed_quantize(const struct speed_options *o, const struct shape *s,
                   struct speed_quantize *q, struct err *err);

#define SPEED_QUANTIZE_TOKENS 262144

struct speed_replay {
    struct figure rows_in;  /* a second: offered, written, committed */
    struct figure rows_out; /* a second: drawn and fetched */
};

#define SPEED_REPLAY_TOKENS 256 /* of a row */

/* A full buffer, through SQLite as the daemon uses it. */
int speed_replay(const struct speed_options *o, struct speed_replay *r,
                 struct err *err);

struct speed_publish {
    struct figure seconds; /* of a version: the copy, files, transaction */
    struct figure stop;    /* seconds that the trainer stands still */
};

/* Versions of preset small, 1,000 new replay rows each. */
int speed_publish(const struct speed_options *o, struct speed_publish *p,
                  struct err *err);

/* --- what the parts share ----------------------------------------------- */

/* Does some work. */
typedef int speed_fn(void *arg, struct err *err);

/* What is timed, and where its rate goes: `work` times calls a second. */
struct speed_turn {
    speed_fn *fn;
    void *arg;
    double work;
    struct figure *rate;
};

#define SPEED_TURNS 2 /* at most */

/* Warms each of n up, then takes o->windows windows of each, in turns, so that
 * what else the machine does meets them alike. */
int speed_turns(const struct speed_options *o, const struct speed_turn *turns,
                size_t n, struct err *err);

/* The same of one. */
int speed_windows(const struct speed_options *o, speed_fn *fn, void *arg,
                  double work, struct figure *rate, struct err *err);

/* ERR_AGAIN when the caller wants it to end; else tells of the progress. */
int speed_go_on(const struct speed_options *o, double share, struct err *err);

#endif
