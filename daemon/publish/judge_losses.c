/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/publish/judge_losses.h"

#include <stdlib.h>

#include "base/xalloc.h"

void judge_scores_init(struct judge_scores *s, const struct draw *d)
{
    s->nats = xcalloc(d->n + 1, sizeof *s->nats);
    s->right = xcalloc(d->n + 1, sizeof *s->right);
}

void judge_scores_release(struct judge_scores *s)
{
    free(s->nats);
    free(s->right);
}

void judge_losses_release(struct judge_losses *l)
{
    for (int i = 0; i < JUDGE_LOSSES_KINDS; i++)
        free(l->known[i].items);
    *l = (struct judge_losses){0};
}

static int by_key(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

void judge_losses_remember(struct judge_losses *l, enum judge_losses_of kind,
                           int64_t version, const struct draw *d,
                           const struct judge_scores *scores)
{
    struct judge_losses_known *k = &l->known[kind];

    free(k->items);
    k->version = version;
    k->items = xcalloc(d->n + 1, sizeof *k->items);
    k->n = d->n;
    for (size_t i = 0; i < d->n; i++)
        k->items[i] =
            (struct judge_loss){d->keys[i], scores->nats[i], scores->right[i]};
    qsort(k->items, k->n, sizeof *k->items, by_key);
}

static const struct judge_loss *recall(const struct judge_losses *l,
                                       int64_t version, int64_t key)
{
    const struct judge_losses_known *k = &l->known[JUDGE_LOSSES_REFERENCE];

    if (k->version != version)
        k = &l->known[JUDGE_LOSSES_SERVED];
    if (k->version != version || !k->n)
        return NULL;
    return bsearch(&key, k->items, k->n, sizeof *k->items, by_key);
}

int judge_losses_score(struct judge_losses *l, enum judge_losses_of kind,
                       int64_t version, const struct infer *weights,
                       const struct draw *d, struct judge_scores *out,
                       struct err *err)
{
    struct segment *missing = xcalloc(d->n + 1, sizeof *missing);
    size_t *place = xcalloc(d->n + 1, sizeof *place);
    struct judge_scores computed;
    size_t n = 0;
    int rc;

    judge_scores_init(&computed, d);
    for (size_t i = 0; i < d->n; i++) {
        const struct judge_loss *known = recall(l, version, d->keys[i]);

        if (known) {
            out->nats[i] = known->nats;
            out->right[i] = known->right;
        } else {
            place[n] = i;
            missing[n++] = d->segments.items[i];
        }
    }
    rc = infer_segments(weights, missing, n, computed.nats, computed.right,
                        NULL, err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        out->nats[place[i]] = computed.nats[i];
        out->right[place[i]] = computed.right[i];
    }
    if (rc == 0)
        judge_losses_remember(l, kind, version, d, out);
    judge_scores_release(&computed);
    free(missing);
    free(place);
    return rc;
}
