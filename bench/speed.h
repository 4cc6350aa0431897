/* SPDX-License-Identifier: Apache-2.0 */
/*
 * speed.h - the measurements of `mneme bench`, one function for each kind.
 *
 * Each function warms up, and then measures o->windows windows. A window is as
 * many calls as fill o->seconds, and at least one call. Threads work as the
 * learner's do (learner/kernels/workers.h), one on each core.
 *
 * Owner:   the caller; results are plain numbers
 * Threads: one measurement at a time
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
    size_t rows;    /* capacity of the replay buffer */
    struct corpus *corpus;
    const char *dir;         /* an empty directory, for replay and publish */
    const atomic_bool *stop; /* when set, ERR_AGAIN follows; or NULL */
    void (*progress)(double share, void *arg); /* of one function; or NULL */
    void *arg;
};

/* A figure for one thread, and for o->threads at once. */
struct speed_pair {
    struct figure one, all;
};

struct speed_machine {
    const char *fma_kind;      /* "AVX-512", ... */
    struct speed_pair fma;     /* GFLOP/s, fp32 */
    struct speed_pair sgemm;   /* GFLOP/s; each thread computes its own
                                  product, 1024 x 1024 x 1024 */
    struct speed_pair triad;   /* GB/s, read and written by a = b + s c */
};

/* Measures what the machine can do at most. */
int speed_machine(const struct speed_options *o, struct speed_machine *m,
                  struct err *err);

struct speed_train {
    size_t n_params, step_tokens;
    struct figure rate;  /* tokens a second */
    double flop_a_token; /* shape_step_flop */
    double gflops;       /* of the median */
    double peak_share;   /* of the machine's; set by results_run, may be NaN */
    /* Shares of the threads' time in a step, which sum to 1. The last is all
     * other work: rotation, SwiGLU, copies, work on one thread, and waiting. */
    double shares[SPENT_PARTS + 1];
    size_t skipped; /* steps whose gradient was not applied */
};

/* Measures learner_step on real text, with the EWC penalty. ERR_LIMIT when
 * there is not enough memory. */
int speed_train(const struct speed_options *o, const struct shape *s,
                struct speed_train *t, struct err *err);

/* Converts times into shares of `seconds` of all threads. */
void speed_shares(const struct spent *spent, int threads, double seconds,
                  double shares[SPENT_PARTS + 1]);

/* Tokens a second with fp32 and with int8 weights; their windows alternate. A
 * vocabulary below 257 is raised to 257. */
struct speed_answers {
    struct figure rate, int8_rate;
    double ratio_to_training; /* set by results_run, may be NaN */
    size_t prompt_tokens, new_tokens; /* of generation */
};

/* Measures infer_segments on the batch of a training step. The threads share
 * its sequences. */
int speed_score(const struct speed_options *o, const struct shape *s,
                struct speed_answers *a, struct err *err);

/* Measures infer_complete, one completion at a time. */
int speed_generate(const struct speed_options *o, const struct shape *s,
                   struct speed_answers *a, struct err *err);

struct speed_quantize {
    const char *shape;
    size_t trained_tokens;
    size_t chunks, bytes; /* of the held-out text that is scored */
    double bits_per_byte, int8_bits_per_byte;
    double loss_percent; /* above 0 when int8 is worse */
};

/*
 * Measures the loss that int8 adds. A model of shape s, with bytes as tokens,
 * learns SPEED_QUANTIZE_TOKENS (with windows below half a second
 * proportionally less), and is scored on held-out sequences. The same text,
 * options and kernels give the same figures.
 */
int speed_quantize(const struct speed_options *o, const struct shape *s,
                   struct speed_quantize *q, struct err *err);

#define SPEED_QUANTIZE_TOKENS 262144

struct speed_replay {
    struct figure rows_in;  /* rows a second: offered, written, committed */
    struct figure rows_out; /* rows a second: sampled and read */
    size_t capacity_rows, row_tokens;
};

#define SPEED_REPLAY_TOKENS 256 /* of a row */

/* Measures a full replay buffer in SQLite, used as the daemon does. */
int speed_replay(const struct speed_options *o, struct speed_replay *r,
                 struct err *err);

struct speed_publish {
    struct figure seconds; /* for a version: copy, files, transaction */
    struct figure stop;    /* seconds for the copy, while no step can run */
    double longest_stop;
};

/* Publishes versions of preset small with 1,000 new replay rows each. */
int speed_publish(const struct speed_options *o, struct speed_publish *p,
                  struct err *err);

/* --- windows ------------------------------------------------------------ */

typedef int speed_fn(void *arg, struct err *err);

/* A function to measure. Its rate is `work` times the calls a second. */
struct speed_turn {
    speed_fn *fn;
    void *arg;
    double work;
    struct figure *rate;
};

#define SPEED_TURNS 2 /* at most */

/* Measures n functions in alternating windows, so that other work on the
 * machine disturbs all of them equally. */
int speed_turns(const struct speed_options *o, const struct speed_turn *turns,
                size_t n, struct err *err);

/* Measures one function. */
int speed_windows(const struct speed_options *o, speed_fn *fn, void *arg,
                  double work, struct figure *rate, struct err *err);

/* Reports progress. ERR_AGAIN when *o->stop is set. */
int speed_progress(const struct speed_options *o, double share,
                   struct err *err);

#endif
