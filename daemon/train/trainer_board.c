/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the trainer writes on the board.
 */
#include "config.h"

#include "daemon/train/trainer_private.h"

#include <stdio.h>

#include "base/timing.h"

#define SHOW_MS 200

static void show_rates(struct trainer *t, struct status *s, int64_t now)
{
    const struct progress *p = &t->l->progress;
    double seconds = (double)(now - t->rate_ms) / 1000;

    if (seconds < 2)
        return;
    s->tokens_per_second = (double)(p->tokens_seen - t->rate_tokens) / seconds;
    s->records_per_second =
        (double)(p->records.consumed - t->rate_records) / seconds;
    if (s->tokens_per_second < 0) /* a rollback */
        s->tokens_per_second = s->records_per_second = 0;
    t->rate_ms = now;
    t->rate_tokens = p->tokens_seen;
    t->rate_records = p->records.consumed;
}

static void show_learner(struct trainer *t, struct status *s)
{
    const struct learning *l = t->l;
    const struct ewc *ewc = learner_ewc(l->learner);

    s->step = learner_steps(l->learner);
    s->replay.records = replay_live(l->replay);
    s->replay.capacity = l->conf->learner.replay.capacity;
    s->replay.bytes = replay_bytes(l->replay);
    s->replay.damaged = replay_damaged(l->replay);
    s->replay.missing = replay_missing(l->replay) + replay_missing(l->holdout);
    s->holdout_rows = replay_live(l->holdout);
    s->ewc.consolidations = ewc->consolidations;
    s->ewc.lambda = ewc->options.lambda;
    s->steps_skipped = learner_optim(l->learner)->skipped;
    for (size_t i = 0; i < s->n_domains; i++)
        s->domains[i].replay_rows =
            replay_live_in_domain(l->replay, (int32_t)i);
}

void trainer_show(struct trainer *t, bool now_please)
{
    int64_t now = timing_mono_ms();
    struct status *s;

    if (!now_please && now - t->show_ms < SHOW_MS)
        return;
    t->show_ms = now;
    s = status_lock(t->options.board);
    progress_show(&t->l->progress, t->options.board, s);
    if (t->l->learner)
        show_learner(t, s);
    show_rates(t, s, now);
    status_unlock(t->options.board);
}

void trainer_show_wait(struct trainer *t, const struct pace_wait *w)
{
    struct pace_wait now = w ? *w : (struct pace_wait){NULL, 0};
    struct status *s;

    if (now.what == t->shown.what && now.until_ms == t->shown.until_ms)
        return;
    t->shown = now;
    s = status_lock(t->options.board);
    s->publish.next_waits_for = now.what;
    s->publish.next_ms = now.until_ms;
    status_unlock(t->options.board);
}

void trainer_show_no_step(struct trainer *t)
{
    struct status *s = status_lock(t->options.board);

    s->ewc.penalty = s->ewc.share = s->grad_norm = s->rate = 0;
    s->tokens_per_second = s->records_per_second = 0;
    status_unlock(t->options.board);
}

void trainer_show_step(struct trainer *t, const struct learning_step_result *r)
{
    struct status *s = status_lock(t->options.board);

    s->ewc.penalty = r->step.ewc_penalty;
    s->ewc.share = r->step.ewc_share;
    s->grad_norm = r->step.grad_norm;
    s->rate = r->step.rate;
    status_unlock(t->options.board);
    trainer_show(t, false);
}

/* After an inconclusive verdict, or NULL. */
static const char *what_the_gate_waits_for(struct trainer *t, char *text,
                                           size_t size)
{
    struct status *s = status_lock(t->options.board);

    text[0] = '\0';
    if (s->publish.waits_for[0])
        snprintf(text, size, "version %lld serves; the gate waits for %s",
                 (long long)s->serving_version, s->publish.waits_for);
    status_unlock(t->options.board);
    return text[0] ? text : NULL;
}

void trainer_show_state(struct trainer *t, bool learning)
{
    struct source_health health;
    char text[STATUS_REASON_MAX + 80];

    if (t->held) {
        status_set_state(t->options.board, STATUS_PAUSED,
                         "the disk is full, or too many files are open: "
                         "learning goes on when there is room");
        return;
    }
    if (t->parked) {
        status_set_state(t->options.board, STATUS_PAUSED, t->parked_reason);
        return;
    }
    source_get_health(t->options.source, &health);
    if (health.state == SOURCE_STOPPED)
        status_set_state(t->options.board, STATUS_PAUSED, health.reason);
    else
        status_set_state(t->options.board,
                         learning ? STATUS_LEARNING : STATUS_WAITING,
                         health.state == SOURCE_RETRYING && !learning
                             ? health.reason
                             : what_the_gate_waits_for(t, text, sizeof text));
}
