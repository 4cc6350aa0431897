/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tiers_private.h - what tiers.c and tiers_state.c share.
 *
 * Threads: as tiers.h
 */
#ifndef MNEME_REPLAY_TIERS_PRIVATE_H
#define MNEME_REPLAY_TIERS_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "replay/tiers.h"

struct tiers {
    struct tiers_options options;
    struct tiers_entry *entries; /* [n_slots] */
    uint32_t *marks;             /* [n_slots] last draw that took the slot */
    uint32_t n_slots, cap_slots;
    uint32_t *vacant; /* [n_vacant] slots below n_slots that are free */
    uint32_t n_vacant;
    uint32_t *dead; /* [n_dead] left both tiers, not reported yet */
    size_t n_dead, cap_dead;

    uint32_t *ring; /* [n_ring], circular from ring_first when full */
    size_t n_ring, cap_ring, ring_first;

    size_t n_domains, cap_domains;
    int64_t *seen;    /* [n_domains] rows ever offered */
    int64_t *held;    /* [n_domains] rows in the reservoir */
    int64_t *live_in; /* [n_domains] rows in either tier */
    double *quota;    /* [n_domains] */
    uint32_t **lists; /* [n_domains][held] slots */
    size_t *cap_lists;
    int64_t n_held;

    int64_t branch, counter; /* of the newest key */
    int64_t n_live, n_bytes;

    uint32_t mark;   /* of the newest draw */
    uint32_t *drawn; /* its slots */
    size_t n_drawn, cap_drawn;
    uint32_t *candidates; /* [n_domains] domains with rows not drawn yet */
    int64_t *left;        /* [n_domains] such rows */
};

/* Knows the domains below n; new ones have seen nothing. */
void tiers_grow_domains(struct tiers *t, size_t n);

/* Takes in a row that another index had, after all that are older. If it has
 * a place it is in its domain's list already; recent: it was in the ring. */
void tiers_restore(struct tiers *t, const struct tiers_entry *entry,
                   bool recent);

/* After the last of them: a reservoir that has become smaller drops from the
 * fullest domain. */
void tiers_fit(struct tiers *t);

#endif
