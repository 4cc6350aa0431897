/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/publish/snapshot.h"

#include <stdlib.h>

#include "base/timing.h"
#include "base/xalloc.h"
#include "learner/model.h"

struct snapshot *snapshot_take(const struct learner *l,
                               struct replay *replay, struct replay *holdout,
                               struct progress *progress, json_t *settings,
                               int64_t *anchor_generation)
{
    struct snapshot *s = xcalloc(1, sizeof *s);
    int64_t before = *anchor_generation;

    s->step = learner_steps(l);
    s->tokens_seen = progress->tokens_seen;
    s->created_ms = timing_wall_ms();
    learner_export(l, &s->weights, &s->state, &s->anchor, &s->head,
                   anchor_generation);
    learner_export_ngram(l, &s->ngram);
    s->anchor_unchanged = before == *anchor_generation && before > 0;
    s->replay_changes = replay_take_changes(replay, &s->state);
    s->holdout_changes = replay_take_changes(holdout, &s->holdout);
    progress_export(progress, s->step, model_kernels(), settings,
                    &s->metadata);
    names_to_json(&progress->labels, &s->labels_json);
    names_copy(&s->labels, &progress->labels);
    s->offsets = progress_offsets(progress, &s->n_offsets);
    progress_take_stage(progress, &s->stage);
    return s;
}

void snapshot_stored(struct snapshot *s, struct replay *replay,
                     struct replay *holdout)
{
    replay_stored(replay, s->replay_changes);
    replay_stored(holdout, s->holdout_changes);
    s->replay_changes = s->holdout_changes = NULL;
    snapshot_free(s);
}

void snapshot_not_stored(struct snapshot *s, struct replay *replay,
                         struct replay *holdout, struct progress *progress)
{
    replay_not_stored(replay, s->replay_changes);
    replay_not_stored(holdout, s->holdout_changes);
    s->replay_changes = s->holdout_changes = NULL;
    progress_return_stage(progress, &s->stage);
    snapshot_free(s);
}

void snapshot_free(struct snapshot *s)
{
    if (!s)
        return;
    tensor_list_release(&s->weights);
    tensor_list_release(&s->state);
    tensor_list_release(&s->holdout);
    tensor_list_release(&s->anchor);
    tensor_list_release(&s->head);
    tensor_list_release(&s->ngram);
    buf_release(&s->metadata);
    buf_release(&s->labels_json);
    names_release(&s->labels);
    free(s->offsets);
    progress_stage_release(&s->stage);
    replay_changes_free(s->replay_changes);
    replay_changes_free(s->holdout_changes);
    free(s);
}

struct hf_text snapshot_text(const struct tokenizer *t)
{
    token_id begin = tokenizer_begin_of_text(t), end = tokenizer_end_of_text(t);

    return (struct hf_text){.begin = begin,
                            .end = end,
                            .begin_name = tokenizer_piece(t, begin),
                            .end_name = tokenizer_piece(t, end),
                            .pre = tokenizer_gguf_pre(t),
                            .adds_begin = tokenizer_adds_begin(t),
                            .splits_special = tokenizer_is_own(t)};
}
