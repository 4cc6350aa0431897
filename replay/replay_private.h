/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay_private.h - a replay's fields, for replay.c, where rows come and go,
 * and replay_sample.c, which draws them.
 */
#ifndef MNEME_REPLAY_REPLAY_PRIVATE_H
#define MNEME_REPLAY_REPLAY_PRIVATE_H

#include "replay/replay.h"
#include "replay/row.h"
#include "replay/tiers.h"

struct stage {
    struct row *row;
    bool taken, kept;
};

struct key_list {
    int64_t *items;
    size_t n, cap;
};

struct replay {
    struct replay_options options;
    struct sqlite3 *reader;
    struct sqlite3_stmt *fetch; /* prepared when first needed */
    struct tiers *tiers;
    struct stage *stages; /* [n_stages] by slot */
    size_t n_stages;
    int64_t staged_bytes;         /* STAGED rows only */
    int64_t kept_bytes;           /* KEPT rows */
    struct replay_changes *taken; /* by a publish, or NULL */
    struct key_list dead, dead_if_stored;
    bool settle; /* imported, and nothing published since */

    struct replay_draw *draws; /* [n_draws] of the last sample */
    struct row **fetched;      /* [n_draws] those that came from the database */
    bool *lost;                /* [n_draws] those that could not be used */
    size_t n_draws, cap_draws;
    struct key_list damaged; /* not told yet */
    int64_t n_damaged;       /* ever */
    int64_t n_missing;       /* ever */
};

void replay_add_key(struct key_list *list, int64_t key);

/* Room for a stored row? Then it stays in memory: the row is ours. */
bool replay_keep(struct replay *r, uint32_t slot, struct row *row);

/* What was fetched for the last draws is freed. */
void replay_drop_draws(struct replay *r);

/* The content of every row that has died goes where its state says. */
void replay_bury_dead(struct replay *r);

#endif
