/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trainer_board.h - writes the learning figures on the board.
 *
 * Owner:   the trainer
 * Threads: trainer
 */
#ifndef MNEME_DAEMON_TRAIN_TRAINER_BOARD_H
#define MNEME_DAEMON_TRAIN_TRAINER_BOARD_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/board/status.h"
#include "daemon/train/learning.h"
#include "daemon/train/pace.h"

struct trainer_board {
    struct status_board *board;
    const struct learning *learning;
    struct pace_wait wait; /* as the board shows it */
    int64_t shown_ms;      /* monotonic */
    int64_t rate_ms, rate_tokens, rate_records; /* where the rates begin */
};

/* The rates begin at the present counters: at the start, and after a
 * rollback. */
void trainer_board_start_rates(struct trainer_board *b);

/* Shows counters, rates and the learner's figures. At most five times a second
 * unless at_once. */
void trainer_board_show(struct trainer_board *b, bool at_once);

/* Shows what the next version waits for; NULL: it is being made. */
void trainer_board_show_wait(struct trainer_board *b,
                             const struct pace_wait *wait);

/* Shows a drift alarm that the last step raised, so that it becomes an
 * event. */
void trainer_board_show_drift(struct trainer_board *b, int32_t domain);

/* Shows the figures of a step. NULL: a rollback has undone the last step. */
void trainer_board_show_step(struct trainer_board *b,
                             const struct learner_step_output *step);

#endif
