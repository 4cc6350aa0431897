/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot.h - a copy of everything that the learner has at one step, to be
 * written as a version.
 *
 * The trainer copies between two steps and learns on, while the publisher
 * writes. Then the trainer gets the snapshot back, with the rows that were
 * staged for this version. When the version is durable, these rows are freed.
 * When the publication failed, they are staged again.
 *
 * Owner:   the trainer, and the publisher between publisher_submit and
 *          publisher_collect; freed by one of the last three functions
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
#include "learner/tokenizer/tokenizer.h"
#include "replay/replay.h"
#include "store/hf.h"

struct snapshot {
    int64_t step, tokens_seen, created_ms;
    int64_t cpu_ns; /* processor time that the copy took */
    struct tensor_list weights, state, holdout, anchor, head, ngram;
    bool anchor_unchanged; /* since the head version, whose file is linked */
    struct buf metadata, labels_json;
    struct names labels;
    struct store_offset *offsets;
    size_t n_offsets;
    struct progress_stage stage;
    struct replay_changes *replay_changes, *holdout_changes;
};

/*
 * Copies the learner.
 *   settings           taken over; as progress_export
 *   *anchor_generation the generation of the head version's anchor; becomes
 *                      that of this snapshot's
 */
struct snapshot *snapshot_take(const struct learner *l,
                               struct replay *replay, struct replay *holdout,
                               struct progress *progress, json_t *settings,
                               int64_t *anchor_generation);

/* The version is durable, or its publication has failed: hands the staged rows
 * back, and frees the snapshot. Threads: trainer */
void snapshot_stored(struct snapshot *s, struct replay *replay,
                     struct replay *holdout);
void snapshot_not_stored(struct snapshot *s, struct replay *replay,
                         struct replay *holdout, struct progress *progress);

void snapshot_free(struct snapshot *s);

/* Says how a tokenizer cuts text, for store_publication. Points into it. */
struct hf_text snapshot_text(const struct tokenizer *t);

#endif
