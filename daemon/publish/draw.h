/* SPDX-License-Identifier: Apache-2.0 */
/*
 * draw.h - which held-out segments a candidate is judged on.
 *
 * From the candidate's own holdout rows:
 *
 *   even     the same number from each domain as far as it goes, and in it of
 *            what was there before the mark and what came since, in an order
 *            that is a function of (seed, key), up to max_tokens targets: two
 *            decisions in a row compare nearly the same segments, and a flood
 *            does not crowd out what it may spoil
 *   recent   those that arrived last, up to half as many targets
 *   newest   the last DRAW_NEWEST of these
 *   arrived  of these, the ones that have come since the draw before: for the
 *            shadow comparison, each once
 *
 * A text that is there twice is taken once, so that one sentence sent a hundred
 * thousand times is one segment. When a row arrived is in its key, whose lower
 * bits count rows (replay/tiers.h).
 *
 * Owner:   the caller; draw_release
 * Threads: publisher
 */
#ifndef MNEME_DAEMON_PUBLISH_DRAW_H
#define MNEME_DAEMON_PUBLISH_DRAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "replay/replay.h"
#include "store/catalog.h"

#define DRAW_NEWEST 8

struct draw_options {
    uint64_t seed;
    int64_t max_tokens;
    int64_t mark; /* rows counted when the older version was made */
    int64_t seen; /* and at the draw before */
    struct segment_limits limits; /* rows that do not fit are damaged */
};

/* What a segment is in the sample for. */
struct draw_role {
    bool even, recent, newest, arrived;
    bool before; /* had arrived at the mark */
};

struct draw {
    struct replay_segments segments; /* the first n of them */
    size_t n;
    int64_t *keys;           /* [n] */
    struct draw_role *roles; /* [n] */
    int64_t counted; /* rows counted in this version: the mark to come */
};

/* Of a version in the catalog, with its rows. */
int draw_segments(struct catalog *catalog, int64_t version,
                  const struct draw_options *options, struct draw *out,
                  struct err *err);
void draw_release(struct draw *d);

/* Holdout rows counted when a version was made: the mark. */
int draw_mark(struct catalog *catalog, int64_t version, int64_t *mark,
              struct err *err);

#endif
