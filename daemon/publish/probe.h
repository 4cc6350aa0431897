/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.h - is what was written what was live?
 *
 * Before a snapshot is written, every weight, moment, Fisher and anchor value,
 * and the class head, is looked at: all must be finite. Then a few probe texts
 * go through the live weights, and after the files have been written through
 * what is read back from them: losses and class scores must be the same to the
 * last bit, for it is the same code on what should be the same numbers. A
 * checksum cannot tell that: it is taken of what was written.
 *
 * What it finds: a moment or a Fisher value that has grown to infinity while
 * the weights still look well (ten times the learning rate), a tensor written
 * under another's name or in another layout, a label table of another step.
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
    char problem[200];         /* when not: the tensor, or what came out */
    double nats[PROBE_TEXTS];  /* 0 for preset linear */
    float *scores;             /* [PROBE_TEXTS][n_labels] */
    size_t n_labels;
};

/* From the live numbers. shape and tokenizer NULL: preset linear. options: as
 * what is read back is held (serving_options). */
void probe_take(const struct snapshot *s, const struct model_shape *shape,
                const struct tokenizer *tokenizer,
                const struct infer_options *options, struct probe *p);

/* Does what was read back give the same? ERR_CORRUPT names the difference. */
int probe_compare(const struct probe *p, const struct infer *read_back,
                  struct err *err);

void probe_release(struct probe *p);

/* The first F32 tensor with a value that is not finite, or NULL. */
const char *probe_not_finite(const struct tensor_list *l);

#endif
