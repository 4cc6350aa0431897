/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tiers.h - the index of live rows: the recent ring and the reservoir.
 *
 * A slot is the index of a row's entry in an array, valid while the row lives.
 * Sampling depends neither on slots nor on keys. It uses the age in the ring,
 * and the domain and position in the reservoir. Both are part of the exported
 * state, so that the same rows are sampled after a restart.
 *
 * Costs: tiers_offer O(1), and O(domains) where a domain exceeds its quota;
 * tiers_sample O(domains + sampled rows).
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

#define TIERS_MAX_DOMAINS 65537 /* 65,536 named domains, and `other` */
#define TIERS_MAX_CAPACITY (INT64_C(1) << 30)
#define TIERS_NONE UINT32_MAX

/* The high bits of a key are the branch, the low bits a counter. */
#define TIERS_COUNTER_BITS 40
#define TIERS_MAX_BRANCH ((INT64_C(1) << (63 - TIERS_COUNTER_BITS)) - 1)

struct tiers_options {
    int64_t ring;      /* rows of the recent ring, 0 for none */
    int64_t reservoir; /* rows of the reservoir */
    double quota_exponent;
    uint64_t seed;
    enum rng_purpose purpose; /* of the reservoir's random numbers */
};

struct tiers_entry {
    int64_t key;       /* 0: the slot is free */
    int64_t last_step; /* step of the last replay, -1: never */
    uint32_t n_bytes;
    uint32_t position; /* in its domain's list; TIERS_NONE: not in the
                          reservoir */
    int32_t domain;
    float nats; /* latest loss */
    uint16_t n_tokens;
    bool recent; /* in the recent ring */
};

struct tiers; /* fields are in tiers.c */

struct tiers *tiers_create(const struct tiers_options *options);
void tiers_free(struct tiers *t);

/*
 * Counts a row and decides where it goes. Returns its slot, with a new key, or
 * TIERS_NONE when no tier accepts it. tiers_next_dead returns the rows that it
 * replaced.
 */
uint32_t tiers_offer(struct tiers *t, int32_t domain, uint16_t n_tokens,
                     uint32_t n_bytes, float nats);

/* Returns the next row that has left both tiers; false when there is none. Its
 * entry stays readable until the next offer. */
bool tiers_next_dead(struct tiers *t, uint32_t *slot);

/*
 * Removes live rows, each given once, from both tiers and closes the gaps. So
 * the order of removals, and their division into calls, does not matter.
 * tiers_next_dead returns the rows. O(n + rows of the tiers).
 */
void tiers_remove(struct tiers *t, const uint32_t *slots, size_t n);

struct tiers_entry *tiers_entry(struct tiers *t, uint32_t slot);
uint32_t tiers_slots(const struct tiers *t); /* all slots are below it */

int64_t tiers_live(const struct tiers *t);
int64_t tiers_seen(const struct tiers *t); /* rows ever offered */
int64_t tiers_bytes(const struct tiers *t);
int64_t tiers_live_in_domain(const struct tiers *t, int32_t domain);

struct tiers_request {
    uint64_t step; /* of the random numbers, RNG_REPLAY */
    size_t n;      /* tokens, or rows */
    bool rows;     /* n is a number of rows */
    double recent; /* share sampled from the ring */
};

/* Samples rows without repetition, until they have n tokens or no row is left.
 * Returns their number. *slots is valid until the next sample. */
size_t tiers_sample(struct tiers *t, const struct tiers_request *request,
                    const uint32_t **slots);

/* Returns the slots of live rows by ascending key; the caller frees them. */
uint32_t *tiers_by_key(const struct tiers *t, size_t *n);

/* Exports the state as tensors "PREFIX.counters", ".seen", ".keys", ... */
void tiers_export(const struct tiers *t, const char *prefix,
                  struct tensor_list *out);

/*
 * Loads a state after checking every number. branch: 0 continues the state's
 * branch; otherwise a new branch above it. Rows beyond the capacity, which may
 * have become smaller, die. On an error t is unchanged.
 */
int tiers_import(struct tiers *t, const char *prefix,
                 const struct tensor_list *in, int64_t branch, struct err *err);

/* Finds keys and domains in an exported state, and points to them. */
int tiers_index_keys(const struct tensor_list *in, const char *prefix,
                     const int64_t **keys, const int64_t **domains, size_t *n,
                     struct err *err);

/* Finds the branch of an exported state. */
int tiers_index_branch(const struct tensor_list *in, const char *prefix,
                       int64_t *branch, struct err *err);

#endif
