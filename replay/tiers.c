/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entries are in one array by slot; free slots are a stack. The ring is a
 * circular array of slots, oldest first. Each domain has a list of the slots
 * that the reservoir keeps of it. An entry knows its position in that list, so
 * that it leaves by a swap with the last.
 *
 * As tensors, rows go by ascending key, without their slots. An import fills a
 * new index, which replaces the old one when all of it has proved correct.
 *
 * Invariants
 *   1. a live entry is in the ring, in its domain's list, or in both
 *   2. the sum of in_reservoir[] is n_reservoir, at most options.reservoir
 *      between calls
 *   3. keys ascend with age: counters ascend, and so do branches
 *   4. in_reservoir[d] <= seen[d]
 */
#include "config.h"

#include "replay/tiers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "replay/sampler.h"

/* Random numbers of one offer: 0 accepts, 1 chooses the row that leaves. An
 * import that shrinks the reservoir starts here. */
#define TRIM_FIRST_INDEX 2

#define NAME_MAX_BYTES 64

/* The largest stored counter. It leaves room for all rows to come. */
#define TIERS_COUNTER_MOST (INT64_C(1) << (TIERS_COUNTER_BITS - 1))

struct tiers {
    struct tiers_options options;
    struct tiers_entry *entries; /* [n_slots] */
    uint32_t *marks;             /* [n_slots] the last sample with the slot */
    uint32_t n_slots, cap_slots;
    uint32_t *vacant; /* [n_vacant] free slots below n_slots */
    uint32_t n_vacant;
    uint32_t *dead; /* [n_dead] rows that left both tiers, not returned yet */
    size_t n_dead, cap_dead;

    uint32_t *ring; /* [n_ring], circular from ring_first */
    size_t n_ring, cap_ring, ring_first;

    size_t n_domains, cap_domains;
    int64_t *seen;         /* [n_domains] rows ever offered */
    int64_t *in_reservoir; /* [n_domains] rows in the reservoir */
    int64_t *live_in;      /* [n_domains] rows in either tier */
    double *quota;         /* [n_domains] */
    uint32_t **lists;      /* [n_domains][in_reservoir] slots */
    size_t *cap_lists;
    int64_t n_reservoir;

    int64_t branch, counter; /* of the newest key */
    int64_t n_live, n_bytes;

    uint32_t mark;     /* of the newest sample */
    uint32_t *sampled; /* slots of the newest sample */
    size_t n_sampled, cap_sampled;
    uint32_t *candidates; /* [n_domains] domains with rows left to sample */
    int64_t *left;        /* [n_domains] number of such rows */
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
    free(t->in_reservoir);
    free(t->live_in);
    free(t->quota);
    free(t->candidates);
    free(t->left);
    free(t->ring);
    free(t->entries);
    free(t->marks);
    free(t->vacant);
    free(t->dead);
    free(t->sampled);
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

int64_t tiers_seen(const struct tiers *t)
{
    int64_t n = 0;

    for (size_t d = 0; d < t->n_domains; d++)
        n += t->seen[d];
    return n;
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

/* Adds a live row, and returns its slot. */
static uint32_t add_row(struct tiers *t, const struct tiers_entry *entry)
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

static void note_if_dead(struct tiers *t, uint32_t slot)
{
    struct tiers_entry *e = &t->entries[slot];

    if (e->recent || e->position != TIERS_NONE)
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

/* Adds a row to the ring. If the ring is full, the oldest leaves. */
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
    note_if_dead(t, oldest);
}

/* --- the reservoir ------------------------------------------------------ */

static void grow_domains(struct tiers *t, size_t n)
{
    if (n > t->cap_domains) {
        size_t cap = t->cap_domains ? t->cap_domains : 16;

        while (cap < n)
            cap *= 2;
        t->seen = xreallocarray(t->seen, cap, sizeof *t->seen);
        t->in_reservoir =
            xreallocarray(t->in_reservoir, cap, sizeof *t->in_reservoir);
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
        t->seen[d] = t->in_reservoir[d] = t->live_in[d] = 0;
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
    size_t n = (size_t)t->in_reservoir[domain];

    XGROW(t->lists[domain], n, t->cap_lists[domain]);
    t->lists[domain][n] = slot;
    t->entries[slot].position = (uint32_t)n;
    t->in_reservoir[domain]++;
    t->n_reservoir++;
}

/* Removes a random row of the domain. The last of the list gets its
 * position. */
static void list_evict(struct tiers *t, size_t domain,
                       struct sampler_stream *stream)
{
    uint32_t *list = t->lists[domain];
    size_t position = sampler_below(stream, (uint64_t)t->in_reservoir[domain]);
    uint32_t gone = list[position];
    uint32_t last = list[--t->in_reservoir[domain]];

    list[position] = last;
    t->entries[last].position = (uint32_t)position;
    t->entries[gone].position = TIERS_NONE;
    t->n_reservoir--;
    note_if_dead(t, gone);
}

/* Decides whether the reservoir accepts a row of the domain, and makes room for
 * it. */
static bool reservoir_admits(struct tiers *t, int32_t domain)
{
    struct sampler_stream stream = {t->options.seed, t->options.purpose,
                                    (uint64_t)t->counter, 0};
    int64_t n_free = t->options.reservoir - t->n_reservoir;

    if (t->options.reservoir == 0)
        return false;
    switch (sampler_decide(&stream, t->seen[domain], t->in_reservoir[domain],
                           t->quota[domain], n_free)) {
    case SAMPLER_REJECT:
        return false;
    case SAMPLER_ADD:
        return true;
    case SAMPLER_REPLACE:
        list_evict(t, (size_t)domain, &stream);
        return true;
    case SAMPLER_GROW:
        list_evict(t, sampler_fullest(t->in_reservoir, t->quota, t->n_domains),
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
                                .position = TIERS_NONE,
                                .domain = domain,
                                .nats = nats,
                                .n_tokens = n_tokens};
    int64_t bucket;
    uint32_t slot;
    bool admitted;

    BUG_ON(domain < 0 || domain >= TIERS_MAX_DOMAINS);
    BUG_ON(t->n_dead > 0); /* tiers_next_dead was not called */
    t->counter++;
    BUG_ON(t->counter >> TIERS_COUNTER_BITS);
    entry.key = t->branch << TIERS_COUNTER_BITS | t->counter;
    grow_domains(t, (size_t)domain + 1);
    bucket = sampler_bucket(t->seen[domain]++);
    if (sampler_bucket(t->seen[domain]) != bucket)
        update_quotas(t);
    admitted = reservoir_admits(t, domain);
    if (!admitted && t->options.ring == 0)
        return TIERS_NONE;
    slot = add_row(t, &entry);
    if (admitted)
        list_add(t, domain, slot);
    if (t->options.ring > 0)
        ring_push(t, slot);
    return slot;
}

/* --- removal ------------------------------------------------------------ */

/* Keeps the rows that are still marked recent, oldest first from index 0. A
 * ring that is not full begins there. */
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

/* Keeps the rows of a domain's list that have a position, in their order. */
static void list_close_up(struct tiers *t, size_t domain)
{
    uint32_t *list = t->lists[domain];
    int64_t n = 0;

    for (int64_t i = 0; i < t->in_reservoir[domain]; i++) {
        struct tiers_entry *e = &t->entries[list[i]];

        if (e->position == TIERS_NONE)
            continue;
        e->position = (uint32_t)n;
        list[n++] = list[i];
    }
    t->n_reservoir -= t->in_reservoir[domain] - n;
    t->in_reservoir[domain] = n;
}

void tiers_remove(struct tiers *t, const uint32_t *slots, size_t n)
{
    bool *touched = xcalloc(t->n_domains + 1, sizeof *touched);
    bool from_ring = false;

    for (size_t i = 0; i < n; i++) {
        struct tiers_entry *e = tiers_entry(t, slots[i]);

        BUG_ON(!e->recent && e->position == TIERS_NONE);
        from_ring |= e->recent;
        touched[e->domain] |= e->position != TIERS_NONE;
        e->recent = false;
        e->position = TIERS_NONE;
    }
    for (size_t d = 0; d < t->n_domains; d++)
        if (touched[d])
            list_close_up(t, d);
    if (from_ring)
        ring_close_up(t);
    for (size_t i = 0; i < n; i++)
        note_if_dead(t, slots[i]);
    free(touched);
}

/* --- sampling ----------------------------------------------------------- */

/* The rows that a sample may still choose. */
struct pool {
    size_t n_candidates;
    int64_t reservoir, ring; /* rows not sampled yet; a ring that is not used
                                counts down from 0 */
};

static struct pool pool_start(struct tiers *t)
{
    struct pool pool = {0, t->n_reservoir, (int64_t)t->n_ring};

    for (size_t d = 0; d < t->n_domains; d++) {
        t->left[d] = t->in_reservoir[d];
        if (t->left[d] > 0)
            t->candidates[pool.n_candidates++] = (uint32_t)d;
    }
    return pool;
}

/* Keeps the candidates in the order of their ids, which does not depend on
 * history. */
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
    XGROW(t->sampled, t->n_sampled, t->cap_sampled);
    t->sampled[t->n_sampled++] = slot;
    pool->ring -= e->recent;
    if (e->position == TIERS_NONE)
        return;
    pool->reservoir--;
    if (--t->left[e->domain] == 0)
        drop_candidate(t, pool, (uint32_t)e->domain);
}

static uint32_t sample_recent(struct tiers *t, struct sampler_stream *stream)
{
    size_t first = t->ring_first;
    size_t i =
        sampler_pick(stream, t->ring, t->n_ring, first, t->marks, t->mark);

    return t->ring[(first + i) % t->n_ring];
}

static uint32_t sample_balanced(struct tiers *t, const struct pool *pool,
                                struct sampler_stream *stream)
{
    uint32_t d = t->candidates[sampler_below(stream, pool->n_candidates)];

    return t->lists[d][sampler_pick(
        stream, t->lists[d], (size_t)t->in_reservoir[d], 0, t->marks, t->mark)];
}

static void next_mark(struct tiers *t)
{
    if (++t->mark == 0) { /* once in four thousand million samples */
        memset(t->marks, 0, t->n_slots * sizeof *t->marks);
        t->mark = 1;
    }
}

size_t tiers_sample(struct tiers *t, const struct tiers_request *request,
                    const uint32_t **slots)
{
    struct sampler_stream stream = {t->options.seed, RNG_REPLAY, request->step,
                                    0};
    struct pool pool = pool_start(t);
    size_t n = 0;

    next_mark(t);
    t->n_sampled = 0;
    while (n < request->n && (pool.reservoir > 0 || pool.ring > 0)) {
        bool recent =
            pool.ring > 0 &&
            (pool.reservoir == 0 || sampler_unit(&stream) < request->recent);
        uint32_t slot = recent ? sample_recent(t, &stream)
                               : sample_balanced(t, &pool, &stream);

        pool_take(t, &pool, slot);
        n += request->rows ? 1 : t->entries[slot].n_tokens;
    }
    *slots = t->sampled;
    return t->n_sampled;
}

/* --- state: export ------------------------------------------------------ */

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

        if (e->recent || e->position != TIERS_NONE)
            sorted[(*n)++] = (struct keyed){e->key, slot};
    }
    BUG_ON(*n != (size_t)t->n_live);
    qsort(sorted, *n, sizeof *sorted, compare_keys);
    for (size_t i = 0; i < *n; i++)
        slots[i] = sorted[i].slot;
    free(sorted);
    return slots;
}

static void *add(struct tensor_list *out, const char *prefix, const char *what,
                 enum tensor_type type, size_t n)
{
    char name[NAME_MAX_BYTES];

    snprintf(name, sizeof name, "%s.%s", prefix, what);
    return tensor_add_copy(out, name, type, 1, &n, NULL);
}

/* The columns of the index, one element for each row. */
struct columns {
    int64_t *keys, *domains, *bytes, *last_step, *position;
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
    c->position = add(out, prefix, "place", TENSOR_I64, n);
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
        c.position[i] = e->position == TIERS_NONE ? -1 : (int64_t)e->position;
        c.tokens[i] = e->n_tokens;
        c.nats[i] = e->nats;
        c.recent[i] = e->recent;
    }
    free(slots);
}

/* --- state: import ------------------------------------------------------ */

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
        {"place", TENSOR_I64, &c->position},
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

/* Checks a row on its own, and against the row before. */
static int check_row(const struct tiers *t, const struct columns *c, size_t i,
                     const char *prefix, struct err *err)
{
    int64_t counter = c->keys[i] & ((INT64_C(1) << TIERS_COUNTER_BITS) - 1);

    if (c->keys[i] <= 0 || (i > 0 && c->keys[i] <= c->keys[i - 1]))
        return bad(err, prefix, "the keys do not ascend", i);
    if (c->keys[i] >> TIERS_COUNTER_BITS > t->branch || counter > t->counter)
        return bad(err, prefix, "the key is above the newest", i);
    if (c->domains[i] < 0 || (size_t)c->domains[i] >= t->n_domains)
        return bad(err, prefix, "no such domain", i);
    if (c->bytes[i] < 0 || c->bytes[i] > UINT32_MAX)
        return bad(err, prefix, "an impossible size", i);
    if (c->last_step[i] < -1 || c->last_step[i] > TENSOR_COUNTER_MOST)
        return bad(err, prefix, "an impossible step", i);
    if (c->recent[i] > 1 || (c->position[i] < 0 && !c->recent[i]))
        return bad(err, prefix, "it is in neither tier", i);
    if (c->position[i] < -1 || c->position[i] >= t->seen[c->domains[i]])
        return bad(err, prefix, "an impossible position", i);
    return 0;
}

/* Fills the lists of the domains. Positions of a domain must be 0 to
 * in_reservoir - 1, each once. The first pass counts them, to allocate the
 * lists. */
static int load_lists(struct tiers *t, const struct columns *c, size_t n,
                      const char *prefix, struct err *err)
{
    for (size_t i = 0; i < n; i++)
        if (c->position[i] >= 0)
            t->in_reservoir[c->domains[i]]++;
    for (size_t d = 0; d < t->n_domains; d++) {
        t->cap_lists[d] = (size_t)t->in_reservoir[d];
        t->lists[d] = xmalloc((t->cap_lists[d] + 1) * sizeof **t->lists);
        memset(t->lists[d], 0xff, t->cap_lists[d] * sizeof **t->lists);
        t->n_reservoir += t->in_reservoir[d];
    }
    for (size_t i = 0; i < n; i++) {
        int64_t d = c->domains[i], position = c->position[i];

        if (position < 0)
            continue;
        if (position >= t->in_reservoir[d] ||
            t->lists[d][position] != TIERS_NONE)
            return bad(err, prefix, "its position is taken, or leaves a gap",
                       i);
        t->lists[d][position] = (uint32_t)i;
    }
    return 0;
}

/* Shrinks a reservoir that exceeds its capacity: the fullest domain gives up
 * rows. */
static void fit(struct tiers *t)
{
    struct sampler_stream stream = {t->options.seed, t->options.purpose,
                                    (uint64_t)t->counter, TRIM_FIRST_INDEX};

    update_quotas(t);
    while (t->n_reservoir > t->options.reservoir)
        list_evict(t, sampler_fullest(t->in_reservoir, t->quota, t->n_domains),
                   &stream);
}

/* Rows get slots in the order of their keys. That is also the order of the
 * ring, oldest first. A ring that has become smaller drops the oldest. */
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
        struct tiers_entry entry = {
            .key = c->keys[i],
            .last_step = c->last_step[i],
            .n_bytes = (uint32_t)c->bytes[i],
            .position =
                c->position[i] < 0 ? TIERS_NONE : (uint32_t)c->position[i],
            .domain = (int32_t)c->domains[i],
            .nats = c->nats[i],
            .n_tokens = c->tokens[i],
        };
        uint32_t slot = add_row(t, &entry);

        if (c->recent[i] && t->options.ring > 0)
            ring_push(t, slot);
        else
            note_if_dead(t, slot);
    }
    return 0;
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
        counters[1] >= TIERS_COUNTER_MOST || n > TIERS_MAX_DOMAINS)
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
        return err_set(err, ERR_LIMIT, "%s index: the branch is above %lld",
                       prefix, (long long)TIERS_MAX_BRANCH);
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
    fit(loaded);
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

    if (rc == 0)
        rc = find(in, prefix, "domains", TENSOR_I64, *n, domains, NULL, err);
    for (size_t i = 0; rc == 0 && i < *n; i++)
        if ((*keys)[i] <= 0 || (*domains)[i] < 0 ||
            (*domains)[i] >= TIERS_MAX_DOMAINS)
            rc = bad(err, prefix, "an impossible key or domain", i);
    return rc;
}

int tiers_index_branch(const struct tensor_list *in, const char *prefix,
                       int64_t *branch, struct err *err)
{
    const int64_t *counters;
    int rc = find(in, prefix, "counters", TENSOR_I64, 2, &counters, NULL, err);

    if (!rc && (counters[0] < 0 || counters[0] > TIERS_MAX_BRANCH))
        rc = err_set(err, ERR_CORRUPT, "%s index: impossible counters", prefix);
    if (!rc)
        *branch = counters[0];
    return rc;
}
