/* SPDX-License-Identifier: Apache-2.0 */
/*
 * results.h - the parts of `mneme bench`, their figures, and the JSON.
 *
 * The name of a part is its path in the JSON: machine, train.tiny, score.tiny,
 * generate.tiny, ..., quantize, presets.small, ..., replay, publish. Below it
 * are the keys of results_figures. A median has the smallest and the largest
 * window beside it, as KEY_least and KEY_most. Parts that were not measured
 * are absent; left_out.{part} has the reason where a part is too large. Beside
 * the parts are mneme, cpu, kernels, threads, windows, window_seconds and
 * text.{from,bytes}.
 *
 * Owner:   the caller; strings stay the caller's
 * Threads: one at a time
 */
#ifndef MNEME_BENCH_RESULTS_H
#define MNEME_BENCH_RESULTS_H

#include <jansson.h>

#include "base/err.h"
#include "bench/shapes.h"
#include "bench/speed.h"

enum part_kind {
    PART_MACHINE,
    PART_TRAIN,
    PART_SCORE,
    PART_GENERATE,
    PART_PRESET,
    PART_QUANTIZE,
    PART_REPLAY,
    PART_PUBLISH,
    PART_KINDS
};

struct part {
    char name[32];
    enum part_kind kind;
    size_t index;  /* of the shape */
    double weight; /* about how many seconds it takes */
    bool chosen, done;
    char left_out[ERR_MSG_MAX]; /* why it was not measured, or empty */
    union {
        struct speed_machine machine;
        struct speed_train train;     /* PART_TRAIN and PART_PRESET */
        struct speed_answers answers; /* PART_SCORE and PART_GENERATE */
        struct speed_quantize quantize;
        struct speed_replay replay;
        struct speed_publish publish;
    } u;
};

#define RESULTS_PARTS (4 + 3 * SHAPES_N + SHAPES_PRESETS_N)

struct results {
    const char *text_from;
    size_t text_bytes;
    char cpu[128];
    struct part parts[RESULTS_PARTS];
};

/* One figure of a part. A new figure is a row of results_figures and a field
 * of the part's struct. */
struct results_figure {
    enum part_kind kind; /* PART_TRAIN is also for PART_PRESET */
    const char *key;     /* below the part's name */
    const char *name;    /* with the unit, for people; NULL: only in the JSON */
    enum results_type {
        RESULTS_MEDIAN, /* of windows: struct figure */
        RESULTS_REAL,   /* double, rounded; not in the JSON when NaN */
        RESULTS_EXACT,  /* double, not rounded */
        RESULTS_COUNT,  /* size_t */
        RESULTS_TEXT    /* const char * */
    } type;
    size_t offset; /* in struct part */
};

extern const struct results_figure results_figures[];
extern const size_t results_figures_n;

/* Lists all parts, in the order in which they run. None is chosen. */
void results_list(struct results *r);

/*
 * Chooses the parts in a list of names with commas. Also accepted are a shape
 * (`tiny`: its training, scoring and generation), `preset-tiny` for
 * presets.tiny, and `train`, `score`, `generate`, `presets` for the whole
 * group. NULL: all parts. ERR_INVALID names an unknown word.
 */
int results_choose(struct results *r, const char *only, struct err *err);

/* Measures one part. A part that is too large for the machine is left out,
 * which is no error. */
int results_run(struct results *r, struct part *part,
                const struct speed_options *o, struct err *err);

/* Returns a figure's field in a part; NULL: the figure is of another kind. */
const void *results_field(const struct part *part,
                          const struct results_figure *figure);

json_t *results_json(const struct results *r, const struct speed_options *o);

#endif
