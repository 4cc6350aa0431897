/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.h - checks that a version's files hold the live numbers.
 *
 * A checksum cannot show this, since it is computed from the written bytes. So
 * there are two checks, which begin before the snapshot is written:
 *
 *  1. Every weight, moment, Fisher and anchor value, and the class head, must
 *     be finite.
 *  2. A few probe texts are scored with the live weights, and again with the
 *     weights that are read back from the files. The same code on the same
 *     numbers gives the same bits.
 *
 * The checks find a moment or a Fisher value that has become infinite while the
 * weights are still finite (a learning rate that is ten times too large). They
 * also find a tensor under a wrong name or layout, and labels of another step.
 *
 * Threads: publisher
 */
#ifndef MNEME_DAEMON_PUBLISH_PROBE_H
#define MNEME_DAEMON_PUBLISH_PROBE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "daemon/publish/snapshot.h"
#include "learner/infer/infer.h"
#include "learner/tokenizer/tokenizer.h"

#define PROBE_TEXTS 4

struct probe {
    bool finite;
    char problem[200];         /* when not finite: in which tensor */
    double nats[PROBE_TEXTS];  /* 0 with preset linear */
    float *scores;             /* [PROBE_TEXTS][n_labels] */
    size_t n_labels;
};

/* Fills in p from the live numbers. shape and tokenizer NULL: preset linear.
 * options: how the version that is read back holds its weights. */
void probe_take(const struct snapshot *s, const struct model_shape *shape,
                const struct tokenizer *tokenizer,
                const struct infer_options *options, struct probe *p);

/* Scores the probe texts again. ERR_CORRUPT names the first difference. */
int probe_compare(const struct probe *p, const struct infer *read_back,
                  struct err *err);

void probe_release(struct probe *p);

#endif
