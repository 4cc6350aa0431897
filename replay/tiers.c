/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How it works: entries lie in one array by slot; free slots are a stack. The
 * ring is a circular array of slots, oldest first. Each domain has a list of
 * the slots that the reservoir holds of it; an entry knows its place there, so
 * that leaving is a swap with the last. All of it as tensors, and back, is in
 * tiers_state.c.
 *
 * Invariants
 *   1. a live entry is in the ring, in its domain's list, or in both
 *   2. the sum of held[] is n_held, at most options.reservoir between calls
 *   3. keys ascend with age: counters do, and so do branches
 *   4. held[d] <= seen[d]
 */
#include "config.h"

#include "replay/tiers.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "replay/sampler.h"
#include "replay/tiers_private.h"

/* Draws of one offer: 0 accepts, 1 picks who leaves. Import trims from here. */
#define TRIM_FIRST_INDEX 2

struct tiers *tiers_create(const struct tiers_options *options)
{
    struct tiers *t = xcalloc(1, sizeof *t);

    BUG_ON(options->ring < 0 || options->reservoir < 0);
    BUG_ON(options->ring + options->reservoir < 1);
    BUG_ON(options->ring + options->reservoir > TIERS_MAX_CAPACITY);
    t->options = *options;
    return t;
}

void tiers_free(struct tiers *t)
{
    if (!t)
        return;
    for (size_t d = 0; d < t->n_domains; d++)
        free(t->lists[d]);
    free(t->lists);
    free(t->cap_lists);
    free(t->seen);
    free(t->held);
    free(t->live_in);
    free(t->quota);
    free(t->candidates);
    free(t->left);
    free(t->ring);
    free(t->entries);
    free(t->marks);
    free(t->vacant);
    free(t->dead);
    free(t->drawn);
    free(t);
}

struct tiers_entry *tiers_entry(struct tiers *t, uint32_t slot)
{
    BUG_ON(slot >= t->n_slots);
    return &t->entries[slot];
}

uint32_t tiers_slots(const struct tiers *t)
{
    return t->n_slots;
}

int64_t tiers_live(const struct tiers *t)
{
    return t->n_live;
}

int64_t tiers_bytes(const struct tiers *t)
{
    return t->n_bytes;
}

int64_t tiers_live_in_domain(const struct tiers *t, int32_t domain)
{
    if (domain < 0 || (size_t)domain >= t->n_domains)
        return 0;
    return t->live_in[domain];
}

/* --- slots -------------------------------------------------------------- */

static void grow_slots(struct tiers *t)
{
    uint32_t cap = t->cap_slots ? 2 * t->cap_slots : 64;

    t->entries = xreallocarray(t->entries, cap, sizeof *t->entries);
    t->marks = xreallocarray(t->marks, cap, sizeof *t->marks);
    t->vacant = xreallocarray(t->vacant, cap, sizeof *t->vacant);
    t->cap_slots = cap;
}

/* A slot for a new live row with that key. */
static uint32_t take_slot(struct tiers *t, const struct tiers_entry *entry)
{
    uint32_t slot;

    if (t->n_vacant == 0) {
        if (t->n_slots == t->cap_slots)
            grow_slots(t);
        slot = t->n_slots++;
        t->marks[slot] = 0;
    } else {
        slot = t->vacant[--t->n_vacant];
    }
    t->entries[slot] = *entry;
    t->n_live++;
    t->n_bytes += entry->n_bytes;
    t->live_in[entry->domain]++;
    return slot;
}

static void bury_if_dead(struct tiers *t, uint32_t slot)
{
    struct tiers_entry *e = &t->entries[slot];

    if (e->recent || e->place != TIERS_NONE)
        return;
    t->n_live--;
    t->n_bytes -= e->n_bytes;
    t->live_in[e->domain]--;
    XGROW(t->dead, t->n_dead, t->cap_dead);
    t->dead[t->n_dead++] = slot;
}

bool tiers_next_dead(struct tiers *t, uint32_t *slot)
{
    if (t->n_dead == 0)
        return false;
    *slot = t->dead[--t->n_dead];
    t->vacant[t->n_vacant++] = *slot;
    return true;
}

/* --- the ring ----------------------------------------------------------- */

static void ring_grow(struct tiers *t)
{
    size_t cap = t->cap_ring ? 2 * t->cap_ring : 64;

    if (cap > (size_t)t->options.ring)
        cap = (size_t)t->options.ring;
    t->ring = xreallocarray(t->ring, cap, sizeof *t->ring);
    t->cap_ring = cap;
}

/* The newest comes in; with a full ring the oldest leaves. */
static void ring_push(struct tiers *t, uint32_t slot)
{
    uint32_t oldest;

    t->entries[slot].recent = true;
    if (t->n_ring < (size_t)t->options.ring) {
        if (t->n_ring == t->cap_ring)
            ring_grow(t);
        t->ring[t->n_ring++] = slot;
        return;
    }
    oldest = t->ring[t->ring_first];
    t->ring[t->ring_first] = slot;
    t->ring_first = (t->ring_first + 1) % t->n_ring;
    t->entries[oldest].recent = false;
    bury_if_dead(t, oldest);
}

/* --- the reservoir ------------------------------------------------------ */

void tiers_grow_domains(struct tiers *t, size_t n)
{
    if (n > t->cap_domains) {
        size_t cap = t->cap_domains ? t->cap_domains : 16;

        while (cap < n)
            cap *= 2;
        t->seen = xreallocarray(t->seen, cap, sizeof *t->seen);
        t->held = xreallocarray(t->held, cap, sizeof *t->held);
        t->live_in = xreallocarray(t->live_in, cap, sizeof *t->live_in);
        t->quota = xreallocarray(t->quota, cap, sizeof *t->quota);
        t->lists = xreallocarray(t->lists, cap, sizeof *t->lists);
        t->cap_lists = xreallocarray(t->cap_lists, cap, sizeof *t->cap_lists);
        t->candidates =
            xreallocarray(t->candidates, cap, sizeof *t->candidates);
        t->left = xreallocarray(t->left, cap, sizeof *t->left);
        t->cap_domains = cap;
    }
    for (size_t d = t->n_domains; d < n; d++) {
        t->seen[d] = t->held[d] = t->live_in[d] = 0;
        t->quota[d] = 0.0;
        t->lists[d] = NULL;
        t->cap_lists[d] = 0;
    }
    if (n > t->n_domains)
        t->n_domains = n;
}

static void update_quotas(struct tiers *t)
{
    sampler_quotas(t->seen, t->n_domains, t->options.reservoir,
                   t->options.quota_exponent, t->quota);
}

static void list_add(struct tiers *t, int32_t domain, uint32_t slot)
{
    size_t n = (size_t)t->held[domain];

    XGROW(t->lists[domain], n, t->cap_lists[domain]);
    t->lists[domain][n] = slot;
    t->entries[slot].place = (uint32_t)n;
    t->held[domain]++;
    t->n_held++;
}

/* A random row of the domain leaves; the last of the list takes its place. */
static void list_evict(struct tiers *t, size_t domain,
                       struct sampler_stream *stream)
{
    uint32_t *list = t->lists[domain];
    size_t place = sampler_below(stream, (uint64_t)t->held[domain]);
    uint32_t gone = list[place];
    uint32_t last = list[--t->held[domain]];

    list[place] = last;
    t->entries[last].place = (uint32_t)place;
    t->entries[gone].place = TIERS_NONE;
    t->n_held--;
    bury_if_dead(t, gone);
}

static void count_seen(struct tiers *t, int32_t domain)
{
    int64_t before;

    tiers_grow_domains(t, (size_t)domain + 1);
    before = sampler_bucket(t->seen[domain]++);
    if (sampler_bucket(t->seen[domain]) != before)
        update_quotas(t);
}

/* Makes room for a row of the domain; false when it is not to come in. */
static bool reservoir_admits(struct tiers *t, int32_t domain)
{
    struct sampler_stream stream = {t->options.seed, t->options.purpose,
                                    (uint64_t)t->counter, 0};
    int64_t n_free = t->options.reservoir - t->n_held;

    if (t->options.reservoir == 0)
        return false;
    switch (sampler_decide(&stream, t->seen[domain], t->held[domain],
                           t->quota[domain], n_free)) {
    case SAMPLER_REJECT:
        return false;
    case SAMPLER_ADD:
        return true;
    case SAMPLER_REPLACE:
        list_evict(t, (size_t)domain, &stream);
        return true;
    case SAMPLER_GROW:
        list_evict(t, sampler_fullest(t->held, t->quota, t->n_domains),
                   &stream);
        return true;
    }
    BUG("no such fate");
}

uint32_t tiers_offer(struct tiers *t, int32_t domain, uint16_t n_tokens,
                     uint32_t n_bytes, float nats)
{
    struct tiers_entry entry = {.last_step = -1,
                                .n_bytes = n_bytes,
                                .place = TIERS_NONE,
                                .domain = domain,
                                .nats = nats,
                                .n_tokens = n_tokens};
    uint32_t slot;
    bool admitted;

    BUG_ON(domain < 0 || domain >= TIERS_MAX_DOMAINS);
    BUG_ON(t->n_dead > 0); /* the caller has not asked who left */
    t->counter++;
    BUG_ON(t->counter >> TIERS_COUNTER_BITS);
    entry.key = t->branch << TIERS_COUNTER_BITS | t->counter;
    count_seen(t, domain);
    admitted = reservoir_admits(t, domain);
    if (!admitted && t->options.ring == 0)
        return TIERS_NONE;
    slot = take_slot(t, &entry);
    if (admitted)
        list_add(t, domain, slot);
    if (t->options.ring > 0)
        ring_push(t, slot);
    return slot;
}

/* --- taking out --------------------------------------------------------- */

/* Leaves in the ring what is still recent, oldest first from place 0: a ring
 * that is not full begins there. */
static void ring_close_up(struct tiers *t)
{
    uint32_t *kept = xmalloc((t->cap_ring + 1) * sizeof *kept);
    size_t n = 0;

    for (size_t i = 0; i < t->n_ring; i++) {
        uint32_t slot = t->ring[(t->ring_first + i) % t->n_ring];

        if (t->entries[slot].recent)
            kept[n++] = slot;
    }
    free(t->ring);
    t->ring = kept;
    t->n_ring = n;
    t->ring_first = 0;
}

/* Leaves in a domain's list what still has a place, in its order. */
static void list_close_up(struct tiers *t, size_t domain)
{
    uint32_t *list = t->lists[domain];
    int64_t n = 0;

    for (int64_t i = 0; i < t->held[domain]; i++) {
        struct tiers_entry *e = &t->entries[list[i]];

        if (e->place == TIERS_NONE)
            continue;
        e->place = (uint32_t)n;
        list[n++] = list[i];
    }
    t->n_held -= t->held[domain] - n;
    t->held[domain] = n;
}

void tiers_remove(struct tiers *t, const uint32_t *slots, size_t n)
{
    bool *touched = xcalloc(t->n_domains + 1, sizeof *touched);
    bool from_ring = false;

    for (size_t i = 0; i < n; i++) {
        struct tiers_entry *e = tiers_entry(t, slots[i]);

        BUG_ON(!e->recent && e->place == TIERS_NONE);
        from_ring |= e->recent;
        touched[e->domain] |= e->place != TIERS_NONE;
        e->recent = false;
        e->place = TIERS_NONE;
    }
    for (size_t d = 0; d < t->n_domains; d++)
        if (touched[d])
            list_close_up(t, d);
    if (from_ring)
        ring_close_up(t);
    for (size_t i = 0; i < n; i++)
        bury_if_dead(t, slots[i]);
    free(touched);
}

/* --- loading ------------------------------------------------------------ */

void tiers_restore(struct tiers *t, const struct tiers_entry *entry,
                   bool recent)
{
    uint32_t slot = take_slot(t, entry);

    if (recent && t->options.ring > 0)
        ring_push(t, slot);
    else
        bury_if_dead(t, slot);
}

void tiers_fit(struct tiers *t)
{
    struct sampler_stream stream = {t->options.seed, t->options.purpose,
                                    (uint64_t)t->counter, TRIM_FIRST_INDEX};

    update_quotas(t);
    while (t->n_held > t->options.reservoir)
        list_evict(t, sampler_fullest(t->held, t->quota, t->n_domains),
                   &stream);
}

/* --- drawing ------------------------------------------------------------ */

/* What a draw has still to choose from. */
struct pool {
    size_t n_candidates;
    int64_t reservoir, ring; /* rows not drawn yet; a ring that is not to be
                                drawn from counts from 0 down */
};

static struct pool pool_start(struct tiers *t)
{
    struct pool pool = {0, t->n_held, (int64_t)t->n_ring};

    for (size_t d = 0; d < t->n_domains; d++) {
        t->left[d] = t->held[d];
        if (t->left[d] > 0)
            t->candidates[pool.n_candidates++] = (uint32_t)d;
    }
    return pool;
}

/* Keeps the candidates in the order of their ids, which no history changes. */
static void drop_candidate(struct tiers *t, struct pool *pool, uint32_t domain)
{
    size_t i = 0;

    while (t->candidates[i] != domain)
        i++;
    pool->n_candidates--;
    memmove(&t->candidates[i], &t->candidates[i + 1],
            (pool->n_candidates - i) * sizeof *t->candidates);
}

static void pool_take(struct tiers *t, struct pool *pool, uint32_t slot)
{
    const struct tiers_entry *e = &t->entries[slot];

    t->marks[slot] = t->mark;
    XGROW(t->drawn, t->n_drawn, t->cap_drawn);
    t->drawn[t->n_drawn++] = slot;
    pool->ring -= e->recent;
    if (e->place == TIERS_NONE)
        return;
    pool->reservoir--;
    if (--t->left[e->domain] == 0)
        drop_candidate(t, pool, (uint32_t)e->domain);
}

static uint32_t draw_recent(struct tiers *t, struct sampler_stream *stream)
{
    size_t first = t->ring_first;
    size_t i =
        sampler_pick(stream, t->ring, t->n_ring, first, t->marks, t->mark);

    return t->ring[(first + i) % t->n_ring];
}

static uint32_t draw_balanced(struct tiers *t, const struct pool *pool,
                              struct sampler_stream *stream)
{
    uint32_t d = t->candidates[sampler_below(stream, pool->n_candidates)];

    return t->lists[d][sampler_pick(stream, t->lists[d], (size_t)t->held[d], 0,
                                    t->marks, t->mark)];
}

static void next_mark(struct tiers *t)
{
    if (++t->mark == 0) { /* once in four thousand million draws */
        memset(t->marks, 0, t->n_slots * sizeof *t->marks);
        t->mark = 1;
    }
}

size_t tiers_draw(struct tiers *t, const struct tiers_wish *wish,
                  const uint32_t **slots)
{
    struct sampler_stream stream = {t->options.seed, wish->purpose, wish->step,
                                    wish->first_index};
    struct pool pool = pool_start(t);
    size_t n = 0;

    if (wish->reservoir_only)
        pool.ring = 0;
    next_mark(t);
    t->n_drawn = 0;
    while (n < wish->n && (pool.reservoir > 0 || pool.ring > 0)) {
        bool recent = pool.ring > 0 && (pool.reservoir == 0 ||
                                        sampler_unit(&stream) < wish->recent);
        uint32_t slot =
            recent ? draw_recent(t, &stream) : draw_balanced(t, &pool, &stream);

        pool_take(t, &pool, slot);
        n += wish->rows ? 1 : t->entries[slot].n_tokens;
    }
    *slots = t->drawn;
    return t->n_drawn;
}
