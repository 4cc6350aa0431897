/* SPDX-License-Identifier: Apache-2.0 */
/*
 * struct tiers decides which rows live and which are sampled. This file keeps
 * the content of rows, in memory or in the database, and the changes between
 * two versions.
 *
 * The content of a live slot is one of
 *
 *   STAGED   stages[slot].row, owned here           replay_offer
 *   TAKEN    the same, owned by the changes         replay_take_changes
 *            that a publication holds; both threads read it, none changes it
 *   STORED   only in the database: row is NULL      replay_stored
 *   CACHED   in the database and in memory: rows that were stored or read, as
 *            far as options.cache_bytes allows
 *
 * replay_not_stored returns from TAKEN to STAGED. When a row dies: a STAGED row
 * is freed and never written. The key of a STORED or CACHED row goes to `dead`,
 * for the next changes. The key of a TAKEN row goes to `dead_if_stored`, which
 * joins `dead` when the publication is durable.
 *
 * A sample reads the rows that are not in memory. A row that is damaged, or
 * does not agree with the index, leaves the sample and the index.
 */
#include "config.h"

#include "replay/replay.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "base/sqlite_err.h"
#include "base/xalloc.h"
#include "replay/replay_db.h"
#include "replay/row.h"
#include "replay/tiers.h"

struct stage {
    struct row *row;
    bool taken, cached;
};

struct key_list {
    int64_t *items;
    size_t n, cap;
};

struct replay {
    struct replay_options options;
    struct sqlite3 *reader;
    struct sqlite3_stmt *fetch; /* prepared at first use */
    struct tiers *tiers;
    struct stage *stages; /* [n_stages] by slot */
    size_t n_stages;
    int64_t staged_bytes;         /* bytes of STAGED rows */
    int64_t cache_bytes;          /* bytes of CACHED rows */
    struct replay_changes *taken; /* held by a publication, or NULL */
    struct key_list dead, dead_if_stored;
    bool reconcile; /* no publication since the last import */

    struct replay_sampled *sampled; /* [n_sampled] the last sample */
    struct row **fetched; /* [n_sampled] rows read from the database, or
                             NULL */
    bool *unusable;       /* [n_sampled] damaged or missing */
    size_t n_sampled, cap_sampled;
    struct key_list damaged; /* not returned yet */
    int64_t n_damaged;       /* since replay_create */
    int64_t n_missing;       /* since replay_create */
};

void replay_options_default(struct replay_options *o, enum replay_kind kind)
{
    bool holdout = kind == REPLAY_HOLDOUT;

    *o = (struct replay_options){
        .kind = kind,
        .capacity = holdout ? 2000 : 100000,
        .recent_share = holdout ? 0.0 : 0.25,
        .sample_recent_share = holdout ? 0.0 : 0.5,
        .quota_exponent = 0.4,
        .seed = 42,
    };
}

struct replay *replay_create(const struct replay_options *options,
                             struct sqlite3 *reader)
{
    const struct replay_options *o = options;
    struct replay *r = xcalloc(1, sizeof *r);
    int64_t ring = (int64_t)(o->recent_share * (double)o->capacity);

    BUG_ON(!(o->recent_share >= 0.0 && o->recent_share <= 1.0));
    r->options = *o;
    r->reader = reader;
    r->tiers = tiers_create(&(struct tiers_options){
        .ring = ring,
        .reservoir = o->capacity - ring,
        .quota_exponent = o->quota_exponent,
        .seed = o->seed,
        .purpose = o->kind == REPLAY_HOLDOUT ? RNG_HOLDOUT : RNG_RESERVOIR,
    });
    return r;
}

static void free_sampled(struct replay *r)
{
    for (size_t i = 0; i < r->n_sampled; i++)
        free(r->fetched[i]);
    r->n_sampled = 0;
}

/* Frees all rows but TAKEN ones, which belong to the changes. */
static void drop_stages(struct replay *r)
{
    for (size_t i = 0; i < r->n_stages; i++) {
        if (!r->stages[i].taken)
            free(r->stages[i].row);
        r->stages[i] = (struct stage){NULL, false, false};
    }
    r->staged_bytes = r->cache_bytes = 0;
}

static bool cache_row(struct replay *r, uint32_t slot, struct row *row)
{
    int64_t bytes = r->cache_bytes + (int64_t)row->n_bytes;

    if (bytes > r->options.cache_bytes)
        return false;
    r->cache_bytes = bytes;
    r->stages[slot] = (struct stage){row, false, true};
    return true;
}

void replay_free(struct replay *r)
{
    if (!r)
        return;
    free_sampled(r);
    drop_stages(r);
    sqlite3_finalize(r->fetch);
    tiers_free(r->tiers);
    free(r->stages);
    free(r->dead.items);
    free(r->dead_if_stored.items);
    free(r->sampled);
    free(r->fetched);
    free(r->unusable);
    free(r->damaged.items);
    free(r);
}

/* --- adding and removing rows ------------------------------------------- */

static void add_key(struct key_list *list, int64_t key)
{
    XGROW(list->items, list->n, list->cap);
    list->items[list->n++] = key;
}

static void append_keys(struct key_list *list, const int64_t *keys, size_t n)
{
    for (size_t i = 0; i < n; i++)
        add_key(list, keys[i]);
}

/* Makes a stage for every slot. */
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

static void drop_content(struct replay *r, uint32_t slot)
{
    struct stage *stage = &r->stages[slot];
    int64_t key = tiers_entry(r->tiers, slot)->key;

    if (!stage->row) {
        add_key(&r->dead, key);
    } else if (stage->cached) {
        add_key(&r->dead, key);
        r->cache_bytes -= (int64_t)stage->row->n_bytes;
        free(stage->row);
    } else if (stage->taken) {
        add_key(&r->dead_if_stored, key);
    } else {
        r->staged_bytes -= (int64_t)stage->row->n_bytes;
        free(stage->row);
    }
    *stage = (struct stage){NULL, false, false};
}

static void drop_dead(struct replay *r)
{
    uint32_t slot;

    while (tiers_next_dead(r->tiers, &slot))
        drop_content(r, slot);
}

/* Returns about the bytes that a row takes in the database. */
static uint32_t content_bytes(const struct segment *s)
{
    size_t bytes = row_stored_token_bytes(s);

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
    drop_dead(r);
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

double replay_kept(const struct replay *r)
{
    int64_t seen = tiers_seen(r->tiers);

    return seen ? (double)tiers_live(r->tiers) / (double)seen : 1.0;
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

/* --- damaged and missing rows ------------------------------------------- */

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

/* Lists slots and keys of stored rows by ascending key. */
static size_t list_stored(struct replay *r, uint32_t **slots, int64_t **keys)
{
    size_t n, n_stored = 0;

    *slots = tiers_by_key(r->tiers, &n);
    *keys = xmalloc((n + 1) * sizeof **keys);
    for (size_t i = 0; i < n; i++) {
        const struct stage *stage = &r->stages[(*slots)[i]];

        if (stage->row && !stage->cached)
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
    bool *exists = xcalloc(n_stored + 1, sizeof *exists);
    int rc =
        replay_db_find(r->reader, r->options.kind, keys, n_stored, exists, err);

    *n = 0;
    if (rc == 0) {
        for (size_t i = 0; i < n_stored; i++)
            if (!exists[i])
                slots[(*n)++] = slots[i];
        r->n_missing += (int64_t)*n;
        free_sampled(r);
        tiers_remove(r->tiers, slots, *n);
        drop_dead(r);
    }
    free(slots);
    free(keys);
    free(exists);
    return rc;
}

/* --- sampling ----------------------------------------------------------- */

/* A sampled row that must be read. */
struct unread {
    int64_t key;
    size_t i;
};

static int compare_unread(const void *a, const void *b)
{
    const struct unread *x = a, *y = b;

    return (x->key > y->key) - (x->key < y->key);
}

/* Makes room for n sampled rows, and frees those of the last sample. */
static void start_sample(struct replay *r, size_t n)
{
    free_sampled(r);
    if (n > r->cap_sampled) {
        r->sampled = xreallocarray(r->sampled, n, sizeof *r->sampled);
        r->fetched = xreallocarray(r->fetched, n, sizeof *r->fetched);
        r->unusable = xreallocarray(r->unusable, n, sizeof *r->unusable);
        r->cap_sampled = n;
    }
    if (n > 0) {
        memset(r->fetched, 0, n * sizeof *r->fetched);
        memset(r->unusable, 0, n * sizeof *r->unusable);
    }
    r->n_sampled = n;
}

static void mark_damaged(struct replay *r, const struct unread *m)
{
    r->unusable[m->i] = true;
    add_key(&r->damaged, m->key);
    r->n_damaged++;
}

static int fetch(struct replay *r, const struct unread *m, struct err *err)
{
    struct replay_sampled *s = &r->sampled[m->i];
    const struct tiers_entry *e = tiers_entry(r->tiers, (uint32_t)s->slot);
    struct row *row;
    int rc = replay_db_fetch(r->fetch, m->key, &row, err);

    if (rc)
        return rc;
    if (!row) {
        mark_damaged(r, m);
        return 0;
    }
    s->segment = row->segment;
    if (row->segment.domain != e->domain ||
        row->segment.n_tokens != e->n_tokens ||
        (r->options.limits &&
         !segment_fits(&row->segment, r->options.limits))) {
        free(row); /* the row does not agree with the index */
        mark_damaged(r, m);
    } else if (!cache_row(r, (uint32_t)s->slot, row)) {
        r->fetched[m->i] = row;
    }
    return 0;
}

/* Removes damaged rows from the sample and from both tiers. */
static void drop_damaged(struct replay *r)
{
    uint32_t *slots = xmalloc((r->n_sampled + 1) * sizeof *slots);
    size_t n = 0, n_lost = 0;

    for (size_t i = 0; i < r->n_sampled; i++) {
        if (r->unusable[i]) {
            slots[n_lost++] = (uint32_t)r->sampled[i].slot;
            continue;
        }
        r->sampled[n] = r->sampled[i];
        r->fetched[n++] = r->fetched[i];
    }
    r->n_sampled = n;
    tiers_remove(r->tiers, slots, n_lost);
    drop_dead(r);
    free(slots);
}

static int run_sql(struct replay *r, const char *sql, struct err *err)
{
    if (sqlite3_exec(r->reader, sql, NULL, NULL, NULL) == SQLITE_OK)
        return 0;
    return sqlite_err(r->reader, NULL, "reading stored rows", err);
}

/* Reads by ascending key, so that neighbours share pages, and in one read
 * transaction, since its locks cost a quarter of reading a row. */
static int fetch_all(struct replay *r, struct unread *unread, size_t n,
                     struct err *err)
{
    bool own;
    int rc = 0;

    if (n == 0)
        return 0;
    BUG_ON(!r->reader);
    if (!r->fetch)
        rc =
            replay_db_prepare_fetch(r->reader, r->options.kind, &r->fetch, err);
    own = n > 1 && sqlite3_get_autocommit(r->reader);
    if (!rc && own)
        rc = run_sql(r, "BEGIN", err);
    if (rc)
        return rc;
    qsort(unread, n, sizeof *unread, compare_unread);
    for (size_t i = 0; i < n && !rc; i++)
        rc = fetch(r, &unread[i], err);
    if (own) {
        int ended = run_sql(r, "COMMIT", rc ? NULL : err);

        rc = rc ? rc : ended;
    }
    return rc;
}

int replay_sample(struct replay *r, uint64_t step, size_t n_tokens,
                  bool tokens_are_rows, struct replay_sampled **sampled,
                  size_t *n, struct err *err)
{
    struct tiers_request request = {
        .step = step,
        .n = n_tokens,
        .rows = tokens_are_rows,
        .recent = r->options.sample_recent_share,
    };
    const uint32_t *slots;
    size_t n_sampled = tiers_sample(r->tiers, &request, &slots), n_unread = 0;
    struct unread *unread = xmalloc((n_sampled + 1) * sizeof *unread);
    int64_t damaged;
    int rc;

    start_sample(r, n_sampled);
    for (size_t i = 0; i < n_sampled; i++) {
        const struct row *row = r->stages[slots[i]].row;
        struct replay_sampled *s = &r->sampled[i];

        s->key = tiers_entry(r->tiers, slots[i])->key;
        s->slot = slots[i];
        if (row)
            s->segment = row->segment;
        else
            unread[n_unread++] = (struct unread){s->key, i};
    }
    damaged = r->n_damaged;
    rc = fetch_all(r, unread, n_unread, err);
    free(unread);
    if (rc)
        return rc;
    if (r->n_damaged > damaged)
        drop_damaged(r);
    *sampled = r->sampled;
    *n = r->n_sampled;
    return 0;
}

void replay_replayed(struct replay *r, const struct replay_sampled *s,
                     uint64_t step, double nats)
{
    struct tiers_entry *e = tiers_entry(r->tiers, (uint32_t)s->slot);

    BUG_ON(e->key != s->key); /* the sample is older than a change */
    e->last_step = (int64_t)step;
    e->nats = (float)nats;
}

/* --- publishing --------------------------------------------------------- */

struct replay_changes *replay_take_changes(struct replay *r,
                                           struct tensor_list *index)
{
    struct replay_changes *c = xcalloc(1, sizeof *c);
    size_t n;
    uint32_t *slots;

    BUG_ON(r->taken); /* the last changes are not stored yet */
    tiers_export(r->tiers, replay_db_prefix(r->options.kind), index);
    slots = tiers_by_key(r->tiers, &n);
    c->kind = r->options.kind;
    c->born = xcalloc(n + 1, sizeof *c->born);
    c->slots = slots;
    c->reconcile = r->reconcile;
    if (c->reconcile)
        c->live = xcalloc(n + 1, sizeof *c->live);
    for (size_t i = 0; i < n; i++) {
        struct stage *stage = &r->stages[slots[i]];

        if (c->live)
            c->live[c->n_live++] = tiers_entry(r->tiers, slots[i])->key;
        if (!stage->row || stage->cached)
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
    r->reconcile = false;
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

void replay_stored(struct replay *r, struct replay_changes *c)
{
    if (c == r->taken) {
        for (size_t i = 0; i < c->n_born; i++) {
            struct stage *stage = &r->stages[c->slots[i]];

            if (stage->row != c->born[i])
                continue; /* it died meanwhile */
            if (cache_row(r, c->slots[i], c->born[i]))
                c->born[i] = NULL;
            else
                *stage = (struct stage){NULL, false, false};
        }
        append_keys(&r->dead, r->dead_if_stored.items, r->dead_if_stored.n);
        r->dead_if_stored.n = 0;
        r->taken = NULL;
    }
    replay_changes_free(c);
}

void replay_not_stored(struct replay *r, struct replay_changes *c)
{
    if (c == r->taken) {
        for (size_t i = 0; i < c->n_born; i++) {
            struct stage *stage = &r->stages[c->slots[i]];

            if (stage->row != c->born[i])
                continue; /* it died meanwhile: freed with c */
            stage->taken = false;
            r->staged_bytes += (int64_t)stage->row->n_bytes;
            c->born[i] = NULL;
        }
        append_keys(&r->dead, c->dead, c->n_dead);
        r->dead_if_stored.n = 0;
        r->reconcile |= c->reconcile;
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
    free_sampled(r);
    drop_stages(r);
    r->taken = NULL;
    r->dead.n = 0;
    r->dead_if_stored.n = 0;
    r->reconcile = true;
    grow_stages(r);
    drop_dead(r);
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
