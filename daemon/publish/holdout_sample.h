/* SPDX-License-Identifier: Apache-2.0 */
/*
 * holdout_sample.h - the held-out segments that a candidate is scored on.
 *
 * The sample comes from the candidate's own holdout rows. A segment has one or
 * more roles:
 *
 *   even      up to max_tokens targets. Domains take turns; within a domain, so
 *             do rows from before the reference and later rows. So a flood of
 *             text does not crowd out the text that it may spoil. The order is
 *             a function of (seed, key): two candidates in a row are scored on
 *             nearly the same segments
 *   recent    the rows that arrived last, up to max_tokens / 2 targets
 *   newest    the last HOLDOUT_SAMPLE_NEWEST of these
 *   new       recent, and arrived since the last candidate: the shadow
 *             comparison counts each row once
 *
 * Rows with the same text count as one: a sentence that is sent a hundred
 * thousand times is one segment. The lower bits of a row's key count rows, so
 * that the key tells when the row arrived (replay/tiers.h).
 *
 * Owner:   the caller; holdout_sample_release
 * Threads: publisher
 */
#ifndef MNEME_DAEMON_PUBLISH_HOLDOUT_SAMPLE_H
#define MNEME_DAEMON_PUBLISH_HOLDOUT_SAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "replay/replay.h"
#include "store/catalog.h"

#define HOLDOUT_SAMPLE_NEWEST 8

struct holdout_sample_options {
    uint64_t seed;
    int64_t max_tokens;
    int64_t reference_rows; /* counted when the reference was made */
    int64_t compared_rows;  /* counted at the last candidate */
    struct segment_limits limits; /* a row beyond these is damaged */
};

struct holdout_sample_role {
    bool even, recent, newest, is_new;
    bool before; /* had arrived when the reference was made */
};

struct holdout_sample {
    struct replay_segments segments; /* the first n of them */
    size_t n;
    int64_t *keys;              /* [n] */
    struct holdout_sample_role *roles; /* [n] */
    int64_t n_rows; /* holdout rows counted in this version */
};

/* Takes the sample of a version in the catalog. Leaves damaged rows out, and
 * counts them in segments.n_damaged. */
int holdout_sample_take(struct catalog *catalog, int64_t version,
                        const struct holdout_sample_options *options,
                        struct holdout_sample *out, struct err *err);
void holdout_sample_release(struct holdout_sample *s);

/* Holdout rows counted when a version was made. */
int holdout_sample_count_rows(struct catalog *catalog, int64_t version,
                              int64_t *n_rows, struct err *err);

#endif
