/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How it works: entries lie in one array by slot; free slots are a stack. The
 * ring is a circular array of slots, oldest first. Each domain has a list of
 * the slots that the reservoir holds of it; an entry knows its place there, so
 * that leaving is a swap with the last.
 *
 * Invariants
 *   1. a live entry is in the ring, in its domain's list, or in both
 *   2. the sum of held[] is n_held, at most options.reservoir between calls
 *   3. keys ascend with age: counters do, and so do branches
 *   4. held[d] <= seen[d]
 */
#include "config.h"

#include "replay/tiers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "replay/sampler.h"

/* Draws of one offer: 0 accepts, 1 picks who leaves. Import trims from here. */
#define TRIM_FIRST_INDEX 2

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

static void grow_domains(struct tiers *t, size_t n)
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

    grow_domains(t, (size_t)domain + 1);
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

/* --- the state as tensors ----------------------------------------------- */

struct keyed {
    int64_t key;
    uint32_t slot;
};

static int compare_keys(const void *a, const void *b)
{
    const struct keyed *x = a, *y = b;

    return (x->key > y->key) - (x->key < y->key);
}

uint32_t *tiers_by_key(const struct tiers *t, size_t *n)
{
    struct keyed *sorted = xmalloc(((size_t)t->n_live + 1) * sizeof *sorted);
    uint32_t *slots = xmalloc(((size_t)t->n_live + 1) * sizeof *slots);

    *n = 0;
    for (uint32_t slot = 0; slot < t->n_slots; slot++) {
        const struct tiers_entry *e = &t->entries[slot];

        if (e->recent || e->place != TIERS_NONE)
            sorted[(*n)++] = (struct keyed){e->key, slot};
    }
    BUG_ON(*n != (size_t)t->n_live);
    qsort(sorted, *n, sizeof *sorted, compare_keys);
    for (size_t i = 0; i < *n; i++)
        slots[i] = sorted[i].slot;
    free(sorted);
    return slots;
}

#define NAME_MAX_BYTES 64

static void *add(struct tensor_list *out, const char *prefix, const char *what,
                 enum tensor_type type, size_t n)
{
    char name[NAME_MAX_BYTES];

    snprintf(name, sizeof name, "%s.%s", prefix, what);
    return tensor_add_copy(out, name, type, 1, &n, NULL);
}

/* The columns of the index, one element a row. */
struct columns {
    int64_t *keys, *domains, *bytes, *last_step, *place;
    uint16_t *tokens;
    float *nats;
    uint8_t *recent;
};

static void columns_add(struct columns *c, struct tensor_list *out,
                        const char *prefix, size_t n)
{
    c->keys = add(out, prefix, "keys", TENSOR_I64, n);
    c->domains = add(out, prefix, "domains", TENSOR_I64, n);
    c->bytes = add(out, prefix, "bytes", TENSOR_I64, n);
    c->last_step = add(out, prefix, "last_step", TENSOR_I64, n);
    c->place = add(out, prefix, "place", TENSOR_I64, n);
    c->tokens = add(out, prefix, "tokens", TENSOR_U16, n);
    c->nats = add(out, prefix, "nats", TENSOR_F32, n);
    c->recent = add(out, prefix, "recent", TENSOR_U8, n);
}

void tiers_export(const struct tiers *t, const char *prefix,
                  struct tensor_list *out)
{
    int64_t *counters = add(out, prefix, "counters", TENSOR_I64, 2);
    int64_t *seen = add(out, prefix, "seen", TENSOR_I64, t->n_domains);
    struct columns c;
    size_t n;
    uint32_t *slots = tiers_by_key(t, &n);

    counters[0] = t->branch;
    counters[1] = t->counter;
    if (t->n_domains > 0)
        memcpy(seen, t->seen, t->n_domains * sizeof *seen);
    columns_add(&c, out, prefix, n);
    for (size_t i = 0; i < n; i++) {
        const struct tiers_entry *e = &t->entries[slots[i]];

        c.keys[i] = e->key;
        c.domains[i] = e->domain;
        c.bytes[i] = e->n_bytes;
        c.last_step[i] = e->last_step;
        c.place[i] = e->place == TIERS_NONE ? -1 : (int64_t)e->place;
        c.tokens[i] = e->n_tokens;
        c.nats[i] = e->nats;
        c.recent[i] = e->recent;
    }
    free(slots);
}

static int find(const struct tensor_list *in, const char *prefix,
                const char *what, enum tensor_type type, size_t n, void *data,
                size_t *found, struct err *err)
{
    char name[NAME_MAX_BYTES];
    const struct tensor *tensor;
    int rc;

    snprintf(name, sizeof name, "%s.%s", prefix, what);
    rc = tensor_expect(in, name, type, n, &tensor, err);
    if (rc)
        return rc;
    if (found)
        *found = tensor_count(tensor);
    memcpy(data, &tensor->data, sizeof tensor->data);
    return 0;
}

static int columns_find(struct columns *c, const struct tensor_list *in,
                        const char *prefix, size_t *n, struct err *err)
{
    const struct {
        const char *what;
        enum tensor_type type;
        void *data;
    } wanted[] = {
        {"domains", TENSOR_I64, &c->domains},
        {"bytes", TENSOR_I64, &c->bytes},
        {"last_step", TENSOR_I64, &c->last_step},
        {"place", TENSOR_I64, &c->place},
        {"tokens", TENSOR_U16, &c->tokens},
        {"nats", TENSOR_F32, &c->nats},
        {"recent", TENSOR_U8, &c->recent},
    };
    int rc = find(in, prefix, "keys", TENSOR_I64, SIZE_MAX, &c->keys, n, err);

    for (size_t i = 0; !rc && i < sizeof wanted / sizeof *wanted; i++)
        rc = find(in, prefix, wanted[i].what, wanted[i].type, *n,
                  wanted[i].data, NULL, err);
    return rc;
}

static int bad(struct err *err, const char *prefix, const char *what, size_t i)
{
    return err_set(err, ERR_CORRUPT, "%s index: row %zu: %s", prefix, i, what);
}

/* What each row says by itself, and against the one before it. */
static int check_row(const struct tiers *t, const struct columns *c, size_t i,
                     const char *prefix, struct err *err)
{
    int64_t counter = c->keys[i] & ((INT64_C(1) << TIERS_COUNTER_BITS) - 1);

    if (c->keys[i] <= 0 || (i > 0 && c->keys[i] <= c->keys[i - 1]))
        return bad(err, prefix, "the keys do not ascend", i);
    if (c->keys[i] >> TIERS_COUNTER_BITS > t->branch || counter > t->counter)
        return bad(err, prefix, "the key is from the future", i);
    if (c->domains[i] < 0 || (size_t)c->domains[i] >= t->n_domains)
        return bad(err, prefix, "no such domain", i);
    if (c->bytes[i] < 0 || c->bytes[i] > UINT32_MAX)
        return bad(err, prefix, "an impossible size", i);
    if (c->last_step[i] < -1)
        return bad(err, prefix, "an impossible step", i);
    if (c->recent[i] > 1 || (c->place[i] < 0 && !c->recent[i]))
        return bad(err, prefix, "it is in neither tier", i);
    if (c->place[i] < -1 || c->place[i] >= t->seen[c->domains[i]])
        return bad(err, prefix, "an impossible place", i);
    return 0;
}

/* The places of each domain are 0 to held - 1, each once: counted first, so
 * that the lists can be made, then filled. */
static int load_lists(struct tiers *t, const struct columns *c, size_t n,
                      const char *prefix, struct err *err)
{
    for (size_t i = 0; i < n; i++)
        if (c->place[i] >= 0)
            t->held[c->domains[i]]++;
    for (size_t d = 0; d < t->n_domains; d++) {
        t->cap_lists[d] = (size_t)t->held[d];
        t->lists[d] = xmalloc((t->cap_lists[d] + 1) * sizeof **t->lists);
        memset(t->lists[d], 0xff, t->cap_lists[d] * sizeof **t->lists);
        t->n_held += t->held[d];
    }
    for (size_t i = 0; i < n; i++) {
        int64_t d = c->domains[i], place = c->place[i];

        if (place < 0)
            continue;
        if (place >= t->held[d] || t->lists[d][place] != TIERS_NONE)
            return bad(err, prefix, "its place is taken or leaves a hole", i);
        t->lists[d][place] = (uint32_t)i;
    }
    return 0;
}

static struct tiers_entry entry_of(const struct columns *c, size_t i)
{
    return (struct tiers_entry){
        .key = c->keys[i],
        .last_step = c->last_step[i],
        .n_bytes = (uint32_t)c->bytes[i],
        .place = c->place[i] < 0 ? TIERS_NONE : (uint32_t)c->place[i],
        .domain = (int32_t)c->domains[i],
        .nats = c->nats[i],
        .n_tokens = c->tokens[i],
    };
}

/* Rows in the order of their keys get slots in that order, which is also the
 * ring's: oldest first. A ring that has become smaller drops the oldest. */
static int load_rows(struct tiers *t, const struct columns *c, size_t n,
                     const char *prefix, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; i < n && !rc; i++)
        rc = check_row(t, c, i, prefix, err);
    if (!rc)
        rc = load_lists(t, c, n, prefix, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < n; i++) {
        struct tiers_entry entry = entry_of(c, i);
        uint32_t slot = take_slot(t, &entry);

        if (!c->recent[i])
            continue;
        if (t->options.ring > 0)
            ring_push(t, slot);
        else
            bury_if_dead(t, slot);
    }
    return 0;
}

/* A reservoir that has become smaller drops from the fullest. */
static void trim(struct tiers *t)
{
    struct sampler_stream stream = {t->options.seed, t->options.purpose,
                                    (uint64_t)t->counter, TRIM_FIRST_INDEX};

    while (t->n_held > t->options.reservoir)
        list_evict(t, sampler_fullest(t->held, t->quota, t->n_domains),
                   &stream);
}

static int load_counters(struct tiers *t, const struct tensor_list *in,
                         const char *prefix, struct err *err)
{
    const int64_t *counters, *seen;
    size_t n;
    int rc = find(in, prefix, "counters", TENSOR_I64, 2, &counters, NULL, err);

    if (!rc)
        rc = find(in, prefix, "seen", TENSOR_I64, SIZE_MAX, &seen, &n, err);
    if (rc)
        return rc;
    if (counters[0] < 0 || counters[0] > TIERS_MAX_BRANCH || counters[1] < 0 ||
        counters[1] >> TIERS_COUNTER_BITS || n > TIERS_MAX_DOMAINS)
        return err_set(err, ERR_CORRUPT, "%s index: impossible counters",
                       prefix);
    t->branch = counters[0];
    t->counter = counters[1];
    grow_domains(t, n);
    for (size_t d = 0; d < n; d++) {
        if (seen[d] < 0 || seen[d] > t->counter)
            return err_set(err, ERR_CORRUPT,
                           "%s index: domain %zu: impossible count", prefix, d);
        t->seen[d] = seen[d];
    }
    return 0;
}

static int check_branch(const struct tiers *t, int64_t branch,
                        const char *prefix, struct err *err)
{
    if (branch == 0)
        return 0;
    if (branch > TIERS_MAX_BRANCH)
        return err_set(err, ERR_LIMIT, "%s index: no branch above %lld", prefix,
                       (long long)TIERS_MAX_BRANCH);
    if (branch <= t->branch)
        return err_set(err, ERR_INVALID,
                       "%s index: branch %lld is not above its own, %lld",
                       prefix, (long long)branch, (long long)t->branch);
    return 0;
}

int tiers_import(struct tiers *t, const char *prefix,
                 const struct tensor_list *in, int64_t branch, struct err *err)
{
    struct tiers *loaded = tiers_create(&t->options);
    struct tiers old;
    struct columns c;
    size_t n;
    int rc = load_counters(loaded, in, prefix, err);

    if (!rc)
        rc = check_branch(loaded, branch, prefix, err);
    if (!rc)
        rc = columns_find(&c, in, prefix, &n, err);
    if (!rc && n > (size_t)TIERS_MAX_CAPACITY)
        rc = bad(err, prefix, "more rows than can be", n);
    if (!rc)
        rc = load_rows(loaded, &c, n, prefix, err);
    if (rc)
        goto out;
    update_quotas(loaded);
    trim(loaded);
    if (branch)
        loaded->branch = branch;
    old = *t;
    *t = *loaded;
    *loaded = old;
out:
    tiers_free(loaded);
    return rc;
}

int tiers_index_keys(const struct tensor_list *in, const char *prefix,
                     const int64_t **keys, const int64_t **domains, size_t *n,
                     struct err *err)
{
    int rc = find(in, prefix, "keys", TENSOR_I64, SIZE_MAX, keys, n, err);

    return rc ? rc
              : find(in, prefix, "domains", TENSOR_I64, *n, domains, NULL, err);
}
