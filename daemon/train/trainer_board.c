/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/train/trainer_board.h"

#include "base/timing.h"

#define SHOW_MS 200

void trainer_board_start_rates(struct trainer_board *b)
{
    b->rate_ms = timing_mono_ms();
    b->rate_tokens = b->learning->progress.tokens_seen;
    b->rate_records = b->learning->progress.records.consumed;
}

static void show_learner(const struct learning *l, struct status *s)
{
    const struct ewc *ewc = learner_ewc(l->learner);

    s->step = learner_steps(l->learner);
    s->replay.records = replay_live(l->replay);
    s->replay.capacity = l->conf->learner.replay.capacity;
    s->replay.bytes = replay_bytes(l->replay);
    s->replay.damaged = replay_damaged(l->replay);
    s->replay.missing = replay_missing(l->replay) + replay_missing(l->holdout);
    s->holdout_rows = replay_live(l->holdout);
    s->ewc.consolidations = ewc->consolidations;
    s->ewc.lambda = (double)ewc_lambda(ewc, learning_covered(l));
    s->steps_skipped = learner_optim(l->learner)->skipped;
    for (size_t i = 0; i < s->n_domains; i++)
        s->domains[i].replay_rows =
            replay_live_in_domain(l->replay, (int32_t)i);
}

void trainer_board_show(struct trainer_board *b, bool at_once)
{
    const struct progress *p = &b->learning->progress;
    int64_t now = timing_mono_ms();
    double seconds = (double)(now - b->rate_ms) / 1000;
    struct status *s;

    if (!at_once && now - b->shown_ms < SHOW_MS)
        return;
    b->shown_ms = now;
    s = status_lock(b->board);
    progress_show(p, b->board, s);
    if (b->learning->learner)
        show_learner(b->learning, s);
    if (seconds >= 2) {
        s->tokens_per_second =
            (double)(p->tokens_seen - b->rate_tokens) / seconds;
        s->records_per_second =
            (double)(p->records.consumed - b->rate_records) / seconds;
        trainer_board_start_rates(b);
    }
    status_unlock(b->board);
}

void trainer_board_show_wait(struct trainer_board *b,
                             const struct pace_wait *wait)
{
    struct pace_wait now = wait ? *wait : (struct pace_wait){NULL, 0};
    struct status *s;

    if (now.reason == b->wait.reason && now.until_ms == b->wait.until_ms)
        return;
    b->wait = now;
    s = status_lock(b->board);
    s->publish.next_waits_for = now.reason;
    s->publish.next_ms = now.until_ms;
    status_unlock(b->board);
}

void trainer_board_show_drift(struct trainer_board *b, int32_t domain)
{
    struct status *s = status_lock(b->board);

    s->drift_alarms++;
    progress_show_domain(&b->learning->progress, b->board, (size_t)domain,
                         &s->drifted);
    status_unlock(b->board);
}

void trainer_board_show_step(struct trainer_board *b,
                             const struct learner_step_output *step)
{
    struct status *s = status_lock(b->board);

    s->ewc.penalty = step ? step->ewc_penalty : 0;
    s->ewc.share = step ? step->ewc_share : 0;
    s->grad_norm = step ? step->grad_norm : 0;
    s->rate = step ? step->rate : 0;
    if (!step)
        s->tokens_per_second = s->records_per_second = 0;
    status_unlock(b->board);
    trainer_board_show(b, !step);
}
