/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot.h - everything of the learner at one step, on its way to becoming a
 * version.
 *
 * The trainer copies between two steps and goes on; the publisher writes. A
 * snapshot comes back to the trainer when its publish is over, so that what was
 * staged is let go (durable) or staged again (failed).
 *
 * Owner:   whoever holds it; snapshot_free
 * Threads: one at a time
 */
#ifndef MNEME_DAEMON_PUBLISH_SNAPSHOT_H
#define MNEME_DAEMON_PUBLISH_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/names.h"
#include "base/tensor.h"
#include "daemon/intake/progress.h"
#include "learner/learner.h"
#include "replay/replay.h"

struct snapshot {
    int64_t step, tokens_seen, created_ms;
    int64_t cpu_ns; /* processor time that taking it took */
    struct tensor_list weights, state, holdout, anchor, head;
    bool anchor_unchanged; /* since the head version: its file is linked */
    struct buf metadata, labels_json;
    struct names labels;
    struct store_offset *offsets;
    size_t n_offsets;
    struct progress_stage stage;
    struct replay_changes *replay_changes, *holdout_changes;
};

/*
 * Copies. l NULL is not allowed; settings as progress_export takes them;
 * *anchor_generation is that of the head version's anchor and is updated.
 */
struct snapshot *snapshot_take(const struct learner *l,
                               struct replay *replay, struct replay *holdout,
                               struct progress *progress, json_t *settings,
                               int64_t *anchor_generation);

/* The publish is durable / has failed: hands the staged parts back. Frees the
 * snapshot. Trainer. */
void snapshot_stored(struct snapshot *s, struct replay *replay,
                     struct replay *holdout);
void snapshot_not_stored(struct snapshot *s, struct replay *replay,
                         struct replay *holdout, struct progress *progress);

void snapshot_free(struct snapshot *s);

#endif
