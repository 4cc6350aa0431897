/* SPDX-License-Identifier: Apache-2.0 */
/*
 * judge_losses.h - what a version scores on drawn segments, and what two of
 * them scored before.
 *
 * Two decisions in a row compare nearly the same segments (draw.h), so most
 * losses of the older versions are known: they are computed again only for
 * segments that are new. All of it could be computed again: nothing is kept.
 *
 * Owner:   the caller; judge_losses_release, judge_scores_release
 * Threads: publisher
 */
#ifndef MNEME_DAEMON_PUBLISH_JUDGE_LOSSES_H
#define MNEME_DAEMON_PUBLISH_JUDGE_LOSSES_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "daemon/publish/draw.h"
#include "learner/infer/infer.h"

/* The first n segments of a draw under one version. */
struct judge_scores {
    double *nats;   /* [n] */
    uint8_t *right; /* [n], of those with a label */
};

void judge_scores_init(struct judge_scores *s, const struct draw *d);
void judge_scores_release(struct judge_scores *s);

enum judge_losses_of {
    JUDGE_LOSSES_REFERENCE, /* when it was asked last */
    JUDGE_LOSSES_SERVED,    /* of what serves, or passed last */
    JUDGE_LOSSES_KINDS
};

struct judge_losses {
    struct judge_losses_known {
        int64_t version;
        struct judge_loss {
            int64_t key; /* of the holdout row */
            double nats;
            uint8_t right;
        } *items; /* ascending by key */
        size_t n;
    } known[JUDGE_LOSSES_KINDS];
};

void judge_losses_release(struct judge_losses *l);

/* Replaces what was known of that kind. */
void judge_losses_remember(struct judge_losses *l, enum judge_losses_of kind,
                           int64_t version, const struct draw *d,
                           const struct judge_scores *scores);

/* Known losses of the version, and the rest computed; remembered as `kind`. */
int judge_losses_score(struct judge_losses *l, enum judge_losses_of kind,
                       int64_t version, const struct infer *weights,
                       const struct draw *d, struct judge_scores *out,
                       struct err *err);

#endif
