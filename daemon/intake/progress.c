/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counting, positions, and what is staged. The counters as a version's
 * metadata are in progress_json.c.
 */
#include "config.h"

#include "daemon/intake/progress.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "daemon/intake/progress_private.h"

#define FADE_RECORDS 500.0

void progress_loss_add(struct progress_loss *l, double nats, double bytes)
{
    double keep = exp(-bytes / PROGRESS_FADE_BYTES);

    l->nats += nats;
    l->bytes += bytes;
    l->recent_nats = l->recent_nats * keep + nats;
    l->recent_bytes = l->recent_bytes * keep + bytes;
}

static double bits_per_byte(double nats, double bytes)
{
    return bytes > 0 ? nats / bytes / log(2.0) : NAN;
}

double progress_loss_recent(const struct progress_loss *l)
{
    return bits_per_byte(l->recent_nats, l->recent_bytes);
}

double progress_loss_total(const struct progress_loss *l)
{
    return bits_per_byte(l->nats, l->bytes);
}

void progress_init(struct progress *p)
{
    memset(p, 0, sizeof *p);
}

static void release_stage(struct progress *p)
{
    struct progress_stage stage;

    progress_take_stage(p, &stage);
    progress_stage_release(&stage);
}

void progress_release(struct progress *p)
{
    release_stage(p);
    for (size_t i = 0; i < p->n_partitions; i++)
        free(p->partitions[i].topic);
    free(p->partitions);
    free(p->by_domain);
    free(p->by_reason);
    free(p->first_texts);
    names_release(&p->domains);
    names_release(&p->labels);
    names_release(&p->reasons);
}

void progress_keep_first_text(struct progress *p, uint64_t hash)
{
    if (progress_has_first_text(p, hash) ||
        p->n_first_texts == PROGRESS_FIRST_TEXTS)
        return;
    XGROW(p->first_texts, p->n_first_texts, p->cap_first_texts);
    p->first_texts[p->n_first_texts++] = hash;
}

bool progress_has_first_text(const struct progress *p, uint64_t hash)
{
    for (size_t i = 0; i < p->n_first_texts; i++)
        if (p->first_texts[i] == hash)
            return true;
    return false;
}

int32_t progress_partition_id(struct progress *p, const char *topic,
                              int32_t partition)
{
    struct progress_partition *q;

    for (size_t i = 0; i < p->n_partitions; i++) {
        q = &p->partitions[i];
        if (q->partition == partition && strcmp(q->topic, topic) == 0)
            return (int32_t)i;
    }
    XGROW(p->partitions, p->n_partitions, p->cap_partitions);
    q = &p->partitions[p->n_partitions];
    memset(q, 0, sizeof *q);
    q->topic = xstrdup(topic);
    q->partition = partition;
    q->last_learned = -1;
    return (int32_t)p->n_partitions++;
}

int32_t progress_begin(struct progress *p, const char *topic,
                       int32_t partition, int64_t offset)
{
    int32_t id = progress_partition_id(p, topic, partition);
    struct progress_partition *q = &p->partitions[id];

    if (!q->positioned) {
        q->positioned = true;
        q->first_offset = q->next_offset = offset;
        q->tokens_done = 0;
        q->last_learned = -1;
    }
    return id;
}

int64_t progress_next_offset(const struct progress *p, const char *topic,
                             int32_t partition)
{
    for (size_t i = 0; i < p->n_partitions; i++) {
        const struct progress_partition *q = &p->partitions[i];

        if (q->positioned && q->partition == partition &&
            strcmp(q->topic, topic) == 0)
            return q->next_offset;
    }
    return 0;
}

void progress_grow_domains(struct progress *p)
{
    size_t old = p->cap_domains;

    if (p->domains.n <= old)
        return;
    p->cap_domains = 2 * p->domains.n;
    p->by_domain = xreallocarray(p->by_domain, p->cap_domains,
                                 sizeof *p->by_domain);
    memset(p->by_domain + old, 0,
           (p->cap_domains - old) * sizeof *p->by_domain);
}

int32_t progress_domain_id(struct progress *p, const char *name,
                           size_t max_domains)
{
    long id = names_find(&p->domains, name);

    if (id < 0)
        id = names_add(&p->domains,
                       p->domains.n < max_domains ? name : "other");
    progress_grow_domains(p);
    return (int32_t)id;
}

static int64_t *counter_of(struct status_records *r, char kind)
{
    switch (kind) {
    case 'l':
        return &r->learned;
    case 's':
        return &r->skipped;
    case 'h':
        return &r->holdout;
    case 'q':
        return &r->quarantined;
    default:
        BUG("no such decision: %c", kind);
    }
}

/* Joins the last run where it goes on from it. */
static void add_to_ledger(struct progress *p, int64_t step,
                          int32_t partition_id, int64_t offset, char kind)
{
    struct store_ledger_run *last =
        p->n_ledger ? &p->ledger[p->n_ledger - 1] : NULL;

    if (last && last->step == step && last->kind == kind &&
        last->partition_id == partition_id &&
        last->last_offset + 1 == offset) {
        last->last_offset = offset;
        last->count++;
        return;
    }
    XGROW(p->ledger, p->n_ledger, p->cap_ledger);
    p->ledger[p->n_ledger++] = (struct store_ledger_run){
        .step = step,
        .partition_id = partition_id,
        .first_offset = offset,
        .last_offset = offset,
        .count = 1,
        .kind = kind,
    };
}

void progress_decide(struct progress *p, int64_t step, int32_t partition_id,
                     int64_t offset, char kind)
{
    p->records.consumed++;
    ++*counter_of(&p->records, kind);
    add_to_ledger(p, step, partition_id, offset, kind);
}

void progress_continue(struct progress *p, int64_t step, int32_t partition_id,
                       int64_t offset)
{
    add_to_ledger(p, step, partition_id, offset, 'c');
}

void progress_move(struct progress *p, int32_t partition_id, int64_t offset)
{
    struct progress_partition *q = &p->partitions[partition_id];

    q->positioned = true;
    q->next_offset = offset + 1;
    q->tokens_done = 0;
}

void progress_count_reason(struct progress *p, const char *reason)
{
    size_t id = (size_t)names_add(&p->reasons, reason);
    size_t old = p->cap_reasons;

    if (p->reasons.n > old) {
        p->cap_reasons = 2 * p->reasons.n;
        p->by_reason = xreallocarray(p->by_reason, p->cap_reasons,
                                     sizeof *p->by_reason);
        memset(p->by_reason + old, 0,
               (p->cap_reasons - old) * sizeof *p->by_reason);
    }
    p->by_reason[id]++;
}

void progress_quarantine(struct progress *p,
                         const struct store_quarantine_row *row,
                         size_t most_bytes)
{
    struct store_quarantine_row kept = *row;

    progress_count_reason(p, row->reason);
    if (kept.n_bytes > most_bytes) {
        kept.n_bytes = most_bytes;
        kept.cut = true;
    }
    if (p->quarantine_bytes + kept.n_bytes > PROGRESS_QUARANTINE_TOTAL)
        return;
    p->quarantine_bytes += kept.n_bytes + sizeof kept;
    kept.reason = xstrdup(row->reason);
    kept.bytes = xmemdup(row->bytes ? row->bytes : "", kept.n_bytes);
    kept.id = row->id ? xstrdup(row->id) : NULL;
    kept.domain = row->domain ? xstrdup(row->domain) : NULL;
    XGROW(p->quarantine, p->n_quarantine, p->cap_quarantine);
    p->quarantine[p->n_quarantine++] = kept;
}

void progress_learned(struct progress *p, int32_t domain, double nats,
                      double bytes)
{
    struct progress_domain *d = &p->by_domain[domain];

    d->bytes += (int64_t)bytes;
    p->bytes_seen += (int64_t)bytes;
    if (isnan(nats))
        return;
    progress_loss_add(&d->loss, nats, bytes);
    progress_loss_add(&p->loss, nats, bytes);
}

void progress_take_stage(struct progress *p, struct progress_stage *stage)
{
    *stage = (struct progress_stage){p->ledger, p->n_ledger, p->quarantine,
                                     p->n_quarantine};
    p->ledger = NULL;
    p->quarantine = NULL;
    p->n_ledger = p->cap_ledger = 0;
    p->n_quarantine = p->cap_quarantine = 0;
    p->quarantine_bytes = 0;
}

/* Puts old[n_old] before array[n]; frees old. */
static void *prepend(void *old, size_t n_old, void *array, size_t *n,
                     size_t *cap, size_t size)
{
    char *both = xreallocarray(old, n_old + *n + 1, size);

    if (*n)
        memcpy(both + n_old * size, array, *n * size);
    free(array);
    *n += n_old;
    *cap = *n + 1;
    return both;
}

void progress_return_stage(struct progress *p, struct progress_stage *stage)
{
    for (size_t i = 0; i < stage->n_quarantine; i++)
        p->quarantine_bytes +=
            stage->quarantine[i].n_bytes + sizeof stage->quarantine[i];
    p->ledger = prepend(stage->ledger, stage->n_ledger, p->ledger,
                        &p->n_ledger, &p->cap_ledger, sizeof *p->ledger);
    p->quarantine =
        prepend(stage->quarantine, stage->n_quarantine, p->quarantine,
                &p->n_quarantine, &p->cap_quarantine, sizeof *p->quarantine);
    memset(stage, 0, sizeof *stage);
}

void progress_stage_release(struct progress_stage *stage)
{
    for (size_t i = 0; i < stage->n_quarantine; i++) {
        free((void *)stage->quarantine[i].reason);
        free((void *)stage->quarantine[i].bytes);
        free((void *)stage->quarantine[i].id);
        free((void *)stage->quarantine[i].domain);
    }
    free(stage->quarantine);
    free(stage->ledger);
    memset(stage, 0, sizeof *stage);
}

struct store_offset *progress_offsets(const struct progress *p, size_t *n)
{
    struct store_offset *out = xcalloc(p->n_partitions, sizeof *out);

    *n = 0;
    for (size_t i = 0; i < p->n_partitions; i++) {
        const struct progress_partition *q = &p->partitions[i];

        if (!q->positioned)
            continue;
        out[(*n)++] = (struct store_offset){
            .partition_id = (int32_t)i,
            .topic = q->topic,
            .partition = q->partition,
            .next_offset = q->next_offset,
            .tokens_done = q->tokens_done,
            .last_learned = q->last_learned,
            .last_hash = q->last_hash,
        };
    }
    return out;
}

struct source_position *progress_positions(const struct progress *p,
                                           size_t *n)
{
    struct source_position *out = xcalloc(p->n_partitions, sizeof *out);

    *n = 0;
    for (size_t i = 0; i < p->n_partitions; i++) {
        const struct progress_partition *q = &p->partitions[i];

        if (!q->positioned)
            continue;
        out[(*n)++] = (struct source_position){
            .topic = q->topic,
            .partition = q->partition,
            .next_offset = q->next_offset,
            .last_learned = q->last_learned,
            .last_hash = q->last_hash,
        };
    }
    return out;
}

void progress_set_positions(struct progress *p,
                            const struct catalog_offset *offsets, size_t n)
{
    for (size_t i = 0; i < p->n_partitions; i++)
        p->partitions[i].positioned = false;
    for (size_t i = 0; i < n; i++) {
        const struct catalog_offset *o = &offsets[i];
        int32_t id = progress_partition_id(p, o->topic, o->partition);
        struct progress_partition *q = &p->partitions[id];

        q->positioned = true;
        q->next_offset = o->next_offset;
        q->tokens_done = o->tokens_done;
        q->last_learned = o->last_learned;
        q->last_hash = o->last_hash;
    }
}

/* --- for the board ------------------------------------------------------ */

static void show_domains(const struct progress *p, struct status_board *board,
                         struct status *s)
{
    s->n_domains_known = (int64_t)p->domains.n;
    s->n_domains = p->domains.n < STATUS_MAX_DOMAINS ? p->domains.n
                                                     : STATUS_MAX_DOMAINS;
    for (size_t i = 0; i < s->n_domains; i++) {
        const struct progress_domain *d = &p->by_domain[i];
        struct status_domain *out = &s->domains[i];

        out->name = status_name(board, p->domains.items[i]);
        out->records = d->records;
        out->bytes = d->bytes;
        out->prequential = progress_loss_recent(&d->loss);
        out->accuracy = d->recent_labelled > 0
                            ? d->recent_right / d->recent_labelled
                            : NAN;
    }
}

static void show_reasons(const struct progress *p, struct status_board *board,
                         struct status *s)
{
    size_t most = sizeof s->quarantine / sizeof s->quarantine[0];

    s->n_quarantine = p->reasons.n < most ? p->reasons.n : most;
    for (size_t i = 0; i < s->n_quarantine; i++) {
        s->quarantine[i].reason = status_name(board, p->reasons.items[i]);
        s->quarantine[i].count = p->by_reason[i];
    }
}

void progress_show(const struct progress *p, struct status_board *board,
                   struct status *s)
{
    double right = 0, labelled = 0;
    size_t n_positions;
    struct source_position *positions = progress_positions(p, &n_positions);

    s->records = p->records;
    s->tokens_seen = p->tokens_seen;
    s->bytes_seen = p->bytes_seen;
    s->newest_record_ms = p->newest_record_ms;
    s->flushes = p->flushes;
    s->prequential_bits_per_byte = progress_loss_recent(&p->loss);
    s->prequential_total = progress_loss_total(&p->loss);
    s->train_bits_per_byte = progress_loss_recent(&p->train_loss);
    s->labels = (int64_t)p->labels.n;
    for (size_t i = 0; i < p->domains.n; i++) {
        right += p->by_domain[i].recent_right;
        labelled += p->by_domain[i].recent_labelled;
    }
    s->accuracy = labelled > 0 ? right / labelled : NAN;
    show_domains(p, board, s);
    show_reasons(p, board, s);
    status_set_positions(board, positions, n_positions);
    free(positions);
}

void progress_count_label(struct progress *p, int32_t domain, bool right)
{
    struct progress_domain *d = &p->by_domain[domain];
    double keep = exp(-1.0 / FADE_RECORDS);

    d->recent_labelled = d->recent_labelled * keep + 1;
    d->recent_right = d->recent_right * keep + (right ? 1 : 0);
}
