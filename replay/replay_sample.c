/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drawing rows: struct tiers says which, content that is not in memory is read
 * from the database. A row that is damaged, or not the one that the index
 * names, leaves the sample and the index.
 */
#include "config.h"

#include "replay/replay.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "base/sqlite_err.h"
#include "base/xalloc.h"
#include "replay/replay_db.h"
#include "replay/replay_private.h"

/* The learner draws labels for the Fisher information from the low indices. */
#define FISHER_FIRST_INDEX (UINT64_C(1) << 62)

/* Draws whose rows have to be read. */
struct missing {
    int64_t key;
    size_t i;
};

static int compare_missing(const void *a, const void *b)
{
    const struct missing *x = a, *y = b;

    return (x->key > y->key) - (x->key < y->key);
}

/* Room for n draws; what was fetched for the last ones is freed. */
static void start_draws(struct replay *r, size_t n)
{
    replay_drop_draws(r);
    if (n > r->cap_draws) {
        r->draws = xreallocarray(r->draws, n, sizeof *r->draws);
        r->fetched = xreallocarray(r->fetched, n, sizeof *r->fetched);
        r->lost = xreallocarray(r->lost, n, sizeof *r->lost);
        r->cap_draws = n;
    }
    if (n > 0) {
        memset(r->fetched, 0, n * sizeof *r->fetched);
        memset(r->lost, 0, n * sizeof *r->lost);
    }
    r->n_draws = n;
}

static void lose(struct replay *r, const struct missing *m)
{
    r->lost[m->i] = true;
    replay_add_key(&r->damaged, m->key);
    r->n_damaged++;
}

static int fetch(struct replay *r, const struct missing *m, struct err *err)
{
    struct replay_draw *draw = &r->draws[m->i];
    const struct tiers_entry *e = tiers_entry(r->tiers, (uint32_t)draw->slot);
    struct row *row;
    int rc = replay_db_fetch(r->fetch, m->key, &row, err);

    if (rc)
        return rc;
    if (!row) {
        lose(r, m);
        return 0;
    }
    draw->segment = row->segment;
    if (row->segment.domain != e->domain ||
        row->segment.n_tokens != e->n_tokens ||
        (r->options.limits &&
         !segment_fits(&row->segment, r->options.limits))) {
        free(row); /* not the row that the index names */
        lose(r, m);
    } else if (!replay_keep(r, (uint32_t)draw->slot, row)) {
        r->fetched[m->i] = row;
    }
    return 0;
}

/* Draws that could not be used leave the sample and both tiers. */
static void drop_lost(struct replay *r)
{
    uint32_t *slots = xmalloc((r->n_draws + 1) * sizeof *slots);
    size_t n = 0, n_lost = 0;

    for (size_t i = 0; i < r->n_draws; i++) {
        if (r->lost[i]) {
            slots[n_lost++] = (uint32_t)r->draws[i].slot;
            continue;
        }
        r->draws[n] = r->draws[i];
        r->fetched[n++] = r->fetched[i];
    }
    r->n_draws = n;
    tiers_remove(r->tiers, slots, n_lost);
    replay_bury_dead(r);
    free(slots);
}

static int run_sql(struct replay *r, const char *sql, struct err *err)
{
    if (sqlite3_exec(r->reader, sql, NULL, NULL, NULL) == SQLITE_OK)
        return 0;
    return sqlite_err(r->reader, NULL, "reading kept rows", err);
}

/* Reads by ascending key, so that neighbours share pages, and in one read
 * transaction, whose locks cost a fourth of a row. */
static int fetch_all(struct replay *r, struct missing *missing, size_t n,
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
    qsort(missing, n, sizeof *missing, compare_missing);
    for (size_t i = 0; i < n && !rc; i++)
        rc = fetch(r, &missing[i], err);
    if (own) {
        int ended = run_sql(r, "COMMIT", rc ? NULL : err);

        rc = rc ? rc : ended;
    }
    return rc;
}

static int sample(struct replay *r, const struct tiers_wish *wish,
                  struct replay_draw **draws, size_t *n, struct err *err)
{
    const uint32_t *slots;
    size_t n_drawn = tiers_draw(r->tiers, wish, &slots), n_missing = 0;
    struct missing *missing = xmalloc((n_drawn + 1) * sizeof *missing);
    int64_t damaged;
    int rc;

    start_draws(r, n_drawn);
    for (size_t i = 0; i < n_drawn; i++) {
        const struct row *row = r->stages[slots[i]].row;
        struct replay_draw *draw = &r->draws[i];

        draw->key = tiers_entry(r->tiers, slots[i])->key;
        draw->slot = slots[i];
        if (row)
            draw->segment = row->segment;
        else
            missing[n_missing++] = (struct missing){draw->key, i};
    }
    damaged = r->n_damaged;
    rc = fetch_all(r, missing, n_missing, err);
    free(missing);
    if (rc)
        return rc;
    if (r->n_damaged > damaged)
        drop_lost(r);
    *draws = r->draws;
    *n = r->n_draws;
    return 0;
}

int replay_sample(struct replay *r, uint64_t step, size_t n_tokens,
                  bool tokens_are_rows, struct replay_draw **draws, size_t *n,
                  struct err *err)
{
    struct tiers_wish wish = {
        .purpose = RNG_REPLAY,
        .step = step,
        .n = n_tokens,
        .rows = tokens_are_rows,
        .recent = r->options.recent_draws,
    };

    return sample(r, &wish, draws, n, err);
}

int replay_sample_fisher(struct replay *r, uint64_t step, size_t n_tokens,
                         struct replay_draw **draws, size_t *n, struct err *err)
{
    struct tiers_wish wish = {
        .purpose = RNG_FISHER,
        .step = step,
        .first_index = FISHER_FIRST_INDEX,
        .n = n_tokens,
        .reservoir_only = true,
    };

    return sample(r, &wish, draws, n, err);
}

void replay_replayed(struct replay *r, const struct replay_draw *draw,
                     uint64_t step, double nats)
{
    struct tiers_entry *e = tiers_entry(r->tiers, (uint32_t)draw->slot);

    BUG_ON(e->key != draw->key); /* the draw is older than a change */
    e->last_step = (int64_t)step;
    e->nats = (float)nats;
}
