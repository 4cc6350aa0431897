/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/intake/families.h"

#include <math.h>
#include <string.h>

#include "daemon/intake/simhash.h"

#define QUARTER_BITS 16
#define TABLE_SHIFT 52 /* leaves 12 bits, an index below FAMILIES */

enum { N_CLOCK, N_MADE, N_COUNTERS };

/* --- counting ----------------------------------------------------------- */

static uint16_t *entry(struct families *f, int table, uint64_t hash)
{
    uint64_t quarter = hash >> (table * QUARTER_BITS) & 0xffff;

    return &f->tables[table][(quarter * UINT64_C(0x9e3779b97f4a7c15)) >>
                             TABLE_SHIFT];
}

/* The nearest family within `bits`, or -1. */
static int32_t find(struct families *f, uint64_t hash, int bits)
{
    int32_t best = -1;
    int least = bits + 1;

    for (int t = 0; t < FAMILY_TABLES; t++) {
        uint16_t item = *entry(f, t, hash);
        int distance;

        if (item >= f->n) /* an unused entry */
            continue;
        distance = simhash_distance(hash, f->items[item].hash);
        if (distance < least) {
            least = distance;
            best = item;
        }
    }
    return best;
}

bool families_too_many(struct families *f, uint64_t hash,
                       const struct family_limits *limits)
{
    int32_t item = find(f, hash, limits->bits);
    struct family *k;

    if (item < 0) {
        item = (int32_t)(f->n++ % FAMILIES);
        f->items[item] = (struct family){.hash = hash, .last = f->clock};
    }
    for (int t = 0; t < FAMILY_TABLES; t++)
        *entry(f, t, hash) = (uint16_t)item;
    f->clock++;
    k = &f->items[item];
    k->level = fmaxf(0.0f, k->level - limits->share *
                                          (float)(f->clock - k->last - 1));
    k->last = f->clock;
    if (k->level + 1.0f > limits->burst)
        return true;
    k->level += 1.0f;
    return false;
}

/* --- a version's state -------------------------------------------------- */

void families_export(const struct families *f, struct tensor_list *out)
{
    int64_t counters[N_COUNTERS] = {
        [N_CLOCK] = f->clock,
        [N_MADE] = f->n,
    };
    const size_t one[] = {FAMILIES}, two[] = {FAMILY_TABLES, FAMILIES};
    int64_t *hashes, *last;
    float *levels;

    if (f->clock == 0)
        return;
    tensor_add_i64(out, "filter.families.counters", counters, N_COUNTERS);
    hashes = tensor_add_copy(out, "filter.families.hashes", TENSOR_I64, 1,
                             one, NULL);
    last = tensor_add_copy(out, "filter.families.last", TENSOR_I64, 1, one,
                           NULL);
    levels = tensor_add_copy(out, "filter.families.levels", TENSOR_F32, 1,
                             one, NULL);
    for (size_t i = 0; i < FAMILIES; i++) {
        hashes[i] = (int64_t)f->items[i].hash;
        last[i] = f->items[i].last;
        levels[i] = f->items[i].level;
    }
    tensor_add_copy(out, "filter.families.tables", TENSOR_U16, 2, two,
                    f->tables);
}

struct found {
    const struct tensor *counters, *hashes, *last, *levels, *tables;
};

static int check(const struct found *t, struct err *err)
{
    const int64_t *counters = t->counters->data, *last = t->last->data;
    const float *levels = t->levels->data;
    const uint16_t *tables = t->tables->data;
    int64_t clock = counters[N_CLOCK], made = counters[N_MADE];
    bool fine = clock > 0 && clock <= TENSOR_COUNTER_MOST && made > 0 &&
                made <= clock;

    for (size_t i = 0; i < FAMILIES; i++)
        fine = fine && last[i] >= 0 && last[i] <= clock && levels[i] >= 0;
    for (size_t i = 0; i < (size_t)FAMILY_TABLES * FAMILIES; i++)
        fine = fine && tables[i] < FAMILIES;
    return fine ? 0
                : err_set(err, ERR_CORRUPT,
                          "tensors filter.families: values out of range");
}

static int find_tensors(const struct tensor_list *in, struct found *t,
                        struct err *err)
{
    int rc;

    if ((rc = tensor_expect(in, "filter.families.counters", TENSOR_I64,
                            N_COUNTERS, &t->counters, err)) ||
        (rc = tensor_expect(in, "filter.families.hashes", TENSOR_I64,
                            FAMILIES, &t->hashes, err)) ||
        (rc = tensor_expect(in, "filter.families.last", TENSOR_I64, FAMILIES,
                            &t->last, err)) ||
        (rc = tensor_expect(in, "filter.families.levels", TENSOR_F32,
                            FAMILIES, &t->levels, err)) ||
        (rc = tensor_expect(in, "filter.families.tables", TENSOR_U16,
                            (size_t)FAMILY_TABLES * FAMILIES, &t->tables,
                            err)))
        return rc;
    return check(t, err);
}

int families_import(struct families *f, const struct tensor_list *in,
                    struct err *err)
{
    struct found t;
    const int64_t *counters;
    int rc;

    if (!tensor_find(in, "filter.families.counters")) {
        memset(f, 0, sizeof *f);
        return 0;
    }
    rc = find_tensors(in, &t, err);
    if (rc)
        return rc;
    counters = t.counters->data;
    f->clock = counters[N_CLOCK];
    f->n = counters[N_MADE];
    for (size_t i = 0; i < FAMILIES; i++)
        f->items[i] = (struct family){
            .hash = (uint64_t)((const int64_t *)t.hashes->data)[i],
            .last = ((const int64_t *)t.last->data)[i],
            .level = ((const float *)t.levels->data)[i],
        };
    memcpy(f->tables, t.tables->data, sizeof f->tables);
    return 0;
}
