/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How it works: struct tiers knows which rows live and which are drawn; this
 * file keeps their content, staged in memory or in the database, and the
 * changes between two versions.
 *
 * The content of a live slot is one of
 *
 *   STAGED   stages[slot].row, ours                 replay_offer
 *   TAKEN    the same, owned by the changes         replay_take_changes
 *            that a publish has taken; read by both threads, never changed
 *   STORED   in the database alone: row is NULL     replay_stored
 *   KEPT     in the database, and here too: while options.kept_bytes allow,
 *            rows stay when they are stored, and when they have been read
 *
 * and replay_not_stored goes from TAKEN back to STAGED. When a row dies:
 * STAGED is freed and was never there; STORED and KEPT go to `dead`, for the
 * next changes; TAKEN goes to `dead_if_stored`, which joins `dead` only when
 * the publish is durable.
 */
#include "config.h"

#include "replay/replay.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "replay/replay_db.h"
#include "replay/replay_private.h"
#include "replay/row.h"
#include "replay/tiers.h"

void replay_options_default(struct replay_options *o, enum replay_kind kind)
{
    bool holdout = kind == REPLAY_HOLDOUT;

    *o = (struct replay_options){
        .kind = kind,
        .capacity = holdout ? 2000 : 100000,
        .recent_share = holdout ? 0.0 : 0.25,
        .recent_draws = holdout ? 0.0 : 0.5,
        .quota_exponent = 0.4,
        .seed = 42,
    };
}

static struct tiers *make_tiers(const struct replay_options *o)
{
    int64_t ring = (int64_t)(o->recent_share * (double)o->capacity);
    struct tiers_options options = {
        .ring = ring,
        .reservoir = o->capacity - ring,
        .quota_exponent = o->quota_exponent,
        .seed = o->seed,
        .purpose = o->kind == REPLAY_HOLDOUT ? RNG_HOLDOUT : RNG_RESERVOIR,
    };

    return tiers_create(&options);
}

struct replay *replay_create(const struct replay_options *options,
                             struct sqlite3 *reader)
{
    struct replay *r = xcalloc(1, sizeof *r);

    BUG_ON(!(options->recent_share >= 0.0 && options->recent_share <= 1.0));
    r->options = *options;
    r->reader = reader;
    r->tiers = make_tiers(options);
    return r;
}

void replay_drop_draws(struct replay *r)
{
    for (size_t i = 0; i < r->n_draws; i++)
        free(r->fetched[i]);
    r->n_draws = 0;
}

/* Taken rows belong to the changes and stay. */
static void drop_stages(struct replay *r)
{
    for (size_t i = 0; i < r->n_stages; i++) {
        if (!r->stages[i].taken)
            free(r->stages[i].row);
        r->stages[i] = (struct stage){NULL, false, false};
    }
    r->staged_bytes = r->kept_bytes = 0;
}

bool replay_keep(struct replay *r, uint32_t slot, struct row *row)
{
    int64_t bytes = r->kept_bytes + (int64_t)row->n_bytes;

    if (bytes > r->options.kept_bytes)
        return false;
    r->kept_bytes = bytes;
    r->stages[slot] = (struct stage){row, false, true};
    return true;
}

void replay_free(struct replay *r)
{
    if (!r)
        return;
    replay_drop_draws(r);
    drop_stages(r);
    sqlite3_finalize(r->fetch);
    tiers_free(r->tiers);
    free(r->stages);
    free(r->dead.items);
    free(r->dead_if_stored.items);
    free(r->draws);
    free(r->fetched);
    free(r->lost);
    free(r->damaged.items);
    free(r);
}

/* --- rows come and go --------------------------------------------------- */

void replay_add_key(struct key_list *list, int64_t key)
{
    XGROW(list->items, list->n, list->cap);
    list->items[list->n++] = key;
}

static void append_keys(struct key_list *list, const int64_t *keys, size_t n)
{
    for (size_t i = 0; i < n; i++)
        replay_add_key(list, keys[i]);
}

/* A stage for every slot. */
static void grow_stages(struct replay *r)
{
    size_t n = tiers_slots(r->tiers), cap = r->n_stages;

    if (n <= cap)
        return;
    cap = cap < 64 ? 64 : cap;
    while (cap < n)
        cap *= 2;
    r->stages = xreallocarray(r->stages, cap, sizeof *r->stages);
    memset(&r->stages[r->n_stages], 0, (cap - r->n_stages) * sizeof *r->stages);
    r->n_stages = cap;
}

static void bury(struct replay *r, uint32_t slot)
{
    struct stage *stage = &r->stages[slot];
    int64_t key = tiers_entry(r->tiers, slot)->key;

    if (!stage->row) {
        replay_add_key(&r->dead, key);
    } else if (stage->kept) {
        replay_add_key(&r->dead, key);
        r->kept_bytes -= (int64_t)stage->row->n_bytes;
        free(stage->row);
    } else if (stage->taken) {
        replay_add_key(&r->dead_if_stored, key);
    } else {
        r->staged_bytes -= (int64_t)stage->row->n_bytes;
        free(stage->row);
    }
    *stage = (struct stage){NULL, false, false};
}

void replay_bury_dead(struct replay *r)
{
    uint32_t slot;

    while (tiers_next_dead(r->tiers, &slot))
        bury(r, slot);
}

/* What a row takes in the database, near enough. */
static uint32_t content_bytes(const struct segment *s)
{
    size_t bytes = s->tokens ? 2 * ((size_t)s->n_tokens + 1) : 0;

    bytes += s->text ? s->text_bytes : 0;
    bytes += s->old_logits ? s->n_old_logits * sizeof(float) : 0;
    return bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX;
}

void replay_offer(struct replay *r, const struct segment *s,
                  const struct segment_origin *origin, double nats)
{
    struct row *row;
    uint32_t slot;

    BUG_ON(s->n_tokens > UINT16_MAX || s->n_masked > s->n_tokens);
    slot = tiers_offer(r->tiers, s->domain, (uint16_t)s->n_tokens,
                       content_bytes(s), (float)nats);
    grow_stages(r);
    replay_bury_dead(r);
    if (slot == TIERS_NONE)
        return;
    row = row_copy(tiers_entry(r->tiers, slot)->key, s, origin, nats);
    r->stages[slot] = (struct stage){row, false, false};
    r->staged_bytes += (int64_t)row->n_bytes;
}

int64_t replay_live(const struct replay *r)
{
    return tiers_live(r->tiers);
}

int64_t replay_bytes(const struct replay *r)
{
    return tiers_bytes(r->tiers);
}

int64_t replay_staged_bytes(const struct replay *r)
{
    return r->staged_bytes + (r->taken ? r->taken->n_bytes : 0);
}

int64_t replay_live_in_domain(const struct replay *r, int32_t domain)
{
    return tiers_live_in_domain(r->tiers, domain);
}

/* --- what is gone ------------------------------------------------------- */

bool replay_next_damaged(struct replay *r, int64_t *key)
{
    if (r->damaged.n == 0)
        return false;
    *key = r->damaged.items[--r->damaged.n];
    return true;
}

int64_t replay_damaged(const struct replay *r)
{
    return r->n_damaged;
}

int64_t replay_missing(const struct replay *r)
{
    return r->n_missing;
}

/* Slots of stored rows by ascending key, and the keys. */
static size_t list_stored(struct replay *r, uint32_t **slots, int64_t **keys)
{
    size_t n, n_stored = 0;

    *slots = tiers_by_key(r->tiers, &n);
    *keys = xmalloc((n + 1) * sizeof **keys);
    for (size_t i = 0; i < n; i++) {
        const struct stage *stage = &r->stages[(*slots)[i]];

        if (stage->row && !stage->kept)
            continue;
        (*keys)[n_stored] = tiers_entry(r->tiers, (*slots)[i])->key;
        (*slots)[n_stored++] = (*slots)[i];
    }
    return n_stored;
}

int replay_drop_missing(struct replay *r, size_t *n, struct err *err)
{
    uint32_t *slots;
    int64_t *keys;
    size_t n_stored = list_stored(r, &slots, &keys);
    bool *there = xcalloc(n_stored + 1, sizeof *there);
    int rc =
        replay_db_find(r->reader, r->options.kind, keys, n_stored, there, err);

    *n = 0;
    if (rc == 0) {
        for (size_t i = 0; i < n_stored; i++)
            if (!there[i])
                slots[(*n)++] = slots[i];
        r->n_missing += (int64_t)*n;
        replay_drop_draws(r);
        tiers_remove(r->tiers, slots, *n);
        replay_bury_dead(r);
    }
    free(slots);
    free(keys);
    free(there);
    return rc;
}

/* --- versions ----------------------------------------------------------- */

struct replay_changes *replay_take_changes(struct replay *r,
                                           struct tensor_list *index)
{
    struct replay_changes *c = xcalloc(1, sizeof *c);
    size_t n;
    uint32_t *slots;

    BUG_ON(r->taken); /* the last ones are still on their way */
    tiers_export(r->tiers, replay_db_prefix(r->options.kind), index);
    slots = tiers_by_key(r->tiers, &n);
    c->kind = r->options.kind;
    c->born = xcalloc(n + 1, sizeof *c->born);
    c->slots = slots;
    c->settle = r->settle;
    if (c->settle)
        c->live = xcalloc(n + 1, sizeof *c->live);
    for (size_t i = 0; i < n; i++) {
        struct stage *stage = &r->stages[slots[i]];

        if (c->live)
            c->live[c->n_live++] = tiers_entry(r->tiers, slots[i])->key;
        if (!stage->row || stage->kept)
            continue;
        stage->taken = true;
        slots[c->n_born] = slots[i]; /* n_born <= i */
        c->born[c->n_born++] = stage->row;
    }
    c->n_bytes = r->staged_bytes;
    r->staged_bytes = 0;
    c->dead = r->dead.items;
    c->n_dead = r->dead.n;
    r->dead = (struct key_list){NULL, 0, 0};
    r->settle = false;
    r->taken = c;
    return c;
}

void replay_changes_free(struct replay_changes *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n_born; i++)
        free(c->born[i]);
    free(c->born);
    free(c->slots);
    free(c->dead);
    free(c->live);
    free(c);
}

/* A born row that still lives: it stays in memory, or is dropped with c. */
static void settle_stored(struct replay *r, struct replay_changes *c, size_t i)
{
    struct stage *stage = &r->stages[c->slots[i]];

    if (stage->row != c->born[i])
        return;
    if (replay_keep(r, c->slots[i], c->born[i]))
        c->born[i] = NULL;
    else
        *stage = (struct stage){NULL, false, false};
}

void replay_stored(struct replay *r, struct replay_changes *c)
{
    if (c == r->taken) {
        for (size_t i = 0; i < c->n_born; i++)
            settle_stored(r, c, i);
        append_keys(&r->dead, r->dead_if_stored.items, r->dead_if_stored.n);
        r->dead_if_stored.n = 0;
        r->taken = NULL;
    }
    replay_changes_free(c);
}

/* Rows that still live are ours again; c keeps those that died meanwhile. */
static void take_back(struct replay *r, struct replay_changes *c)
{
    for (size_t i = 0; i < c->n_born; i++) {
        struct stage *stage = &r->stages[c->slots[i]];

        if (stage->row != c->born[i])
            continue;
        stage->taken = false;
        r->staged_bytes += (int64_t)stage->row->n_bytes;
        c->born[i] = NULL;
    }
}

void replay_not_stored(struct replay *r, struct replay_changes *c)
{
    if (c == r->taken) {
        take_back(r, c);
        append_keys(&r->dead, c->dead, c->n_dead);
        r->dead_if_stored.n = 0;
        r->settle |= c->settle;
        r->taken = NULL;
    }
    replay_changes_free(c);
}

int replay_import(struct replay *r, const struct tensor_list *index,
                  int64_t branch, struct err *err)
{
    size_t n;
    int rc = tiers_import(r->tiers, replay_db_prefix(r->options.kind), index,
                          branch, err);

    if (rc)
        return rc;
    replay_drop_draws(r);
    drop_stages(r);
    r->taken = NULL;
    r->dead.n = 0;
    r->dead_if_stored.n = 0;
    r->settle = true;
    grow_stages(r);
    replay_bury_dead(r);
    return r->reader ? replay_drop_missing(r, &n, err) : 0;
}

int replay_index_keys(const struct tensor_list *index, enum replay_kind kind,
                      const int64_t **keys, const int64_t **domains, size_t *n,
                      struct err *err)
{
    return tiers_index_keys(index, replay_db_prefix(kind), keys, domains, n,
                            err);
}

int replay_index_branch(const struct tensor_list *index, enum replay_kind kind,
                        int64_t *branch, struct err *err)
{
    return tiers_index_branch(index, replay_db_prefix(kind), branch, err);
}
