/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tiers.h - the index of live rows: the recent ring and the reservoir.
 *
 * An entry's slot is its place in a flat array, valid while the row lives. No
 * draw depends on slots or keys: the ring is drawn from by age, the reservoir
 * by domain and place, and both are part of the exported state, so that a
 * restart goes on with the same draws.
 *
 * Costs: tiers_offer O(1), and O(domains) where a domain outgrows its quota;
 * tiers_draw O(domains + rows drawn).
 *
 * Owner:   the struct owns everything in it
 * Threads: one at a time
 */
#ifndef MNEME_REPLAY_TIERS_H
#define MNEME_REPLAY_TIERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/rng.h"
#include "base/tensor.h"

#define TIERS_MAX_DOMAINS 65537 /* as many as have a name, and `other` */
#define TIERS_MAX_CAPACITY (INT64_C(1) << 30)
#define TIERS_NONE UINT32_MAX

/* A key is a branch above a counter. */
#define TIERS_COUNTER_BITS 40
#define TIERS_MAX_BRANCH ((INT64_C(1) << (63 - TIERS_COUNTER_BITS)) - 1)

struct tiers_options {
    int64_t ring;      /* rows of the recent ring, 0 for none */
    int64_t reservoir; /* rows of the reservoir */
    double quota_exponent;
    uint64_t seed;
    enum rng_purpose purpose; /* of the reservoir's draws */
};

struct tiers_entry {
    int64_t key;       /* 0: the slot is free */
    int64_t last_step; /* replayed last, -1: never */
    uint32_t n_bytes;
    uint32_t place; /* in its domain's list, TIERS_NONE: not in the reservoir */
    int32_t domain;
    float nats; /* loss when seen last */
    uint16_t n_tokens;
    bool recent; /* in the ring */
};

struct tiers; /* fields are in tiers_private.h */

struct tiers *tiers_create(const struct tiers_options *options);
void tiers_free(struct tiers *t);

/*
 * Counts a row and decides on it: its slot, with a new key, or TIERS_NONE when
 * no tier takes it. Rows that it pushed out wait in tiers_next_dead.
 */
uint32_t tiers_offer(struct tiers *t, int32_t domain, uint16_t n_tokens,
                     uint32_t n_bytes, float nats);

/* The next row that has left both tiers; false when there is none. The entry
 * can be read until the next offer. */
bool tiers_next_dead(struct tiers *t, uint32_t *slot);

/*
 * Takes live rows, each named once, out of both tiers, which close up: so it is
 * all the same in which order, and by how many calls, rows are taken out. They
 * wait in tiers_next_dead. O(n + rows of the tiers).
 */
void tiers_remove(struct tiers *t, const uint32_t *slots, size_t n);

struct tiers_entry *tiers_entry(struct tiers *t, uint32_t slot);
uint32_t tiers_slots(const struct tiers *t); /* slots in use are below it */

int64_t tiers_live(const struct tiers *t);
int64_t tiers_bytes(const struct tiers *t);
int64_t tiers_live_in_domain(const struct tiers *t, int32_t domain);

struct tiers_wish {
    enum rng_purpose purpose;
    uint64_t step;
    uint64_t first_index; /* of the draws at this step */
    size_t n;             /* tokens, or rows */
    bool rows;            /* n counts rows */
    double recent;        /* share drawn from the ring */
    bool reservoir_only;
};

/* Draws rows until they have n tokens, or all are drawn; none twice. *slots:
 * the struct's own, until the next draw. Returns their number. */
size_t tiers_draw(struct tiers *t, const struct tiers_wish *wish,
                  const uint32_t **slots);

/* Slots of live rows by ascending key; to be freed. *n out. */
uint32_t *tiers_by_key(const struct tiers *t, size_t *n);

/* The whole state as tensors "PREFIX.counters", ".seen", ".keys", ... */
void tiers_export(const struct tiers *t, const char *prefix,
                  struct tensor_list *out);

/*
 * Loads a state; every number is checked. branch: 0 goes on in the state's
 * own, else a new one above it. Rows beyond the capacity, which may have
 * become smaller, are dead. On an error t is as it was.
 */
int tiers_import(struct tiers *t, const char *prefix,
                 const struct tensor_list *in, int64_t branch, struct err *err);

/* Keys and domains of an exported state; they point into it. */
int tiers_index_keys(const struct tensor_list *in, const char *prefix,
                     const int64_t **keys, const int64_t **domains, size_t *n,
                     struct err *err);

/* The branch of an exported state. */
int tiers_index_branch(const struct tensor_list *in, const char *prefix,
                       int64_t *branch, struct err *err);

#endif
