/* SPDX-License-Identifier: Apache-2.0 */
/*
 * parts.h - what `mneme bench` is made of, and which of it somebody wants.
 *
 * A part is named as its place in the JSON is: machine, train.tiny,
 * score.tiny, generate.tiny, ..., quantize, presets.small, ..., replay,
 * publish.
 *
 * Owner:   the caller; nothing to release
 * Threads: any
 */
#ifndef MNEME_BENCH_PARTS_H
#define MNEME_BENCH_PARTS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "bench/shapes.h"

enum part_kind {
    PART_MACHINE,
    PART_TRAIN,
    PART_SCORE,
    PART_GENERATE,
    PART_PRESET,
    PART_QUANTIZE,
    PART_REPLAY,
    PART_PUBLISH
};

/* The comparison shape in which int8 is compared with float: tiny, which
 * learns something in ten seconds of two cores. */
#define PARTS_QUANTIZE 0

#define PARTS_N (4 + 3 * SHAPES_N + SHAPES_PRESETS_N)

struct part {
    char name[32];
    enum part_kind kind;
    size_t index;  /* of the shape */
    double weight; /* how long it takes, more or less */
    bool chosen;
    bool done;
    char left_out[ERR_MSG_MAX]; /* why it was, or empty */
};

/* All of them, in the order in which they run; none is chosen. */
void parts_list(struct part parts[PARTS_N]);

/*
 * Chooses by a list with commas of names; also `tiny` for its training,
 * scoring and generation, `preset-tiny` for presets.tiny, and `train`,
 * `score`, `generate`, `presets` for all of them. NULL: everything.
 * ERR_INVALID names a word that is none of these.
 */
int parts_choose(struct part parts[PARTS_N], const char *only,
                 struct err *err);

#endif
