/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counting, positions, the stage, and last the metadata of a version, which is
 * one JSON object:
 *
 *     {"kernels", "step", "records": {...}, "tokens_seen", "bytes_seen",
 *      "newest_record_ms", "flushes", "loss": LOSS, "train_loss": LOSS,
 *      "average_loss": LOSS,
 *      "labels": [name], "quarantine": {reason: count},
 *      "domains": [{"name", "records", "consumed", "bytes", "loss": LOSS,
 *                   "labelled", "right", "traffic": [bytes, records learned],
 *                   "drift": [state of the test],
 *                   "drifted": [alarms, record, before, after]}],
 *      "first": [offset], "first_texts": [hash],
 *      "settings": {key: text}}
 *
 * with LOSS = [nats, bytes, recent nats, recent bytes].
 */
#include "config.h"

#include "daemon/intake/progress.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/tensor.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/stream/record.h"

#define FADE_RECORDS 500.0
#define MAX_NAMES 65537 /* model.max_domains and `other`, model.max_labels */

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

void progress_release(struct progress *p)
{
    struct progress_stage stage;

    progress_take_stage(p, &stage);
    progress_stage_release(&stage);
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

/* The id of a partition, or -1. */
static int32_t find_partition(const struct progress *p, const char *topic,
                              int32_t partition)
{
    for (size_t i = 0; i < p->n_partitions; i++)
        if (p->partitions[i].partition == partition &&
            strcmp(p->partitions[i].topic, topic) == 0)
            return (int32_t)i;
    return -1;
}

int32_t progress_partition_id(struct progress *p, const char *topic,
                              int32_t partition)
{
    int32_t id = find_partition(p, topic, partition);
    struct progress_partition *q;

    if (id >= 0)
        return id;
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
    int32_t id = find_partition(p, topic, partition);

    return id >= 0 && p->partitions[id].positioned
               ? p->partitions[id].next_offset
               : 0;
}

/* The array, with zeroed elements at the end so that it has at least n. */
static void *grow(void *array, size_t n, size_t *cap, size_t size)
{
    size_t old = *cap;

    if (n <= old)
        return array;
    *cap = 2 * n;
    array = xreallocarray(array, *cap, size);
    memset((char *)array + old * size, 0, (*cap - old) * size);
    return array;
}

int32_t progress_domain_id(struct progress *p, const char *name,
                           size_t max_domains)
{
    long id = names_find(&p->domains, name);

    if (id < 0)
        id = names_add(&p->domains,
                       p->domains.n < max_domains ? name : "other");
    p->by_domain = grow(p->by_domain, p->domains.n, &p->cap_domains,
                        sizeof *p->by_domain);
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

/* Extends the last run of the ledger when the record follows it. */
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

static void count_reason(struct progress *p, const char *reason, int64_t n)
{
    size_t id = (size_t)names_add(&p->reasons, reason);

    p->by_reason = grow(p->by_reason, p->reasons.n, &p->cap_reasons,
                        sizeof *p->by_reason);
    p->by_reason[id] += n;
}

void progress_quarantine(struct progress *p,
                         const struct store_quarantine_row *row,
                         size_t most_bytes)
{
    struct store_quarantine_row kept = *row;

    count_reason(p, row->reason, 1);
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

double progress_traffic(const struct progress *p, int32_t domain,
                        double half_life)
{
    const struct progress_domain *d = &p->by_domain[domain];
    double records = (double)(p->records.learned - d->traffic_at);

    return d->traffic * exp2(-records / half_life);
}

void progress_learned(struct progress *p, int32_t domain, double nats,
                      double bytes, double half_life)
{
    struct progress_domain *d = &p->by_domain[domain];

    d->traffic = progress_traffic(p, domain, half_life) + bytes;
    d->traffic_at = p->records.learned;
    d->bytes += (int64_t)bytes;
    p->bytes_seen += (int64_t)bytes;
    if (isnan(nats))
        return;
    progress_loss_add(&d->loss, nats, bytes);
    progress_loss_add(&p->loss, nats, bytes);
}

bool progress_test_drift(struct progress *p, int32_t domain, double nats,
                         double bytes)
{
    struct progress_domain *d = &p->by_domain[domain];

    if (!drift_add(&d->drift, nats, bytes, &d->drifted.last))
        return false;
    d->drifted.alarms++;
    d->drifted.record = d->records;
    return true;
}

void progress_count_label(struct progress *p, int32_t domain, bool right)
{
    struct progress_domain *d = &p->by_domain[domain];
    double keep = exp(-1.0 / FADE_RECORDS);

    d->recent_labelled = d->recent_labelled * keep + 1;
    d->recent_right = d->recent_right * keep + (right ? 1 : 0);
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

/* Puts old[n_old] before array[*n]; frees array. */
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

/* --- the board ---------------------------------------------------------- */

void progress_show_domain(const struct progress *p, struct status_board *board,
                          size_t domain, struct status_domain *out)
{
    const struct progress_domain *d = &p->by_domain[domain];
    bool drifted = d->drifted.alarms > 0;

    out->name = status_name(board, p->domains.items[domain]);
    out->records = d->records;
    out->bytes = d->bytes;
    out->prequential = progress_loss_recent(&d->loss);
    out->accuracy = d->recent_labelled > 0
                        ? d->recent_right / d->recent_labelled
                        : NAN;
    out->drift = (struct status_drift){
        .alarms = d->drifted.alarms,
        .record = drifted ? d->drifted.record : -1,
        .before = drifted ? d->drifted.last.before : NAN,
        .after = drifted ? d->drifted.last.after : NAN,
        .level = d->drift.sum / DRIFT_ALARM,
    };
}

void progress_show(const struct progress *p, struct status_board *board,
                   struct status *s)
{
    size_t most = sizeof s->quarantine / sizeof *s->quarantine, n_positions;
    struct source_position *positions = progress_positions(p, &n_positions);
    double right = 0, labelled = 0;

    s->records = p->records;
    s->tokens_seen = p->tokens_seen;
    s->bytes_seen = p->bytes_seen;
    s->newest_record_ms = p->newest_record_ms;
    s->flushes = p->flushes;
    s->prequential_bits_per_byte = progress_loss_recent(&p->loss);
    s->prequential_total = progress_loss_total(&p->loss);
    s->average_prequential = progress_loss_recent(&p->average_loss);
    s->train_bits_per_byte = progress_loss_recent(&p->train_loss);
    s->labels = (int64_t)p->labels.n;
    s->n_domains_known = (int64_t)p->domains.n;
    s->n_domains = p->domains.n < STATUS_MAX_DOMAINS ? p->domains.n
                                                     : STATUS_MAX_DOMAINS;
    for (size_t i = 0; i < p->domains.n; i++) {
        const struct progress_domain *d = &p->by_domain[i];

        right += d->recent_right;
        labelled += d->recent_labelled;
    }
    s->accuracy = labelled > 0 ? right / labelled : NAN;
    for (size_t i = 0; i < s->n_domains; i++)
        progress_show_domain(p, board, i, &s->domains[i]);
    s->n_quarantine = p->reasons.n < most ? p->reasons.n : most;
    for (size_t i = 0; i < s->n_quarantine; i++) {
        s->quarantine[i].reason = status_name(board, p->reasons.items[i]);
        s->quarantine[i].count = p->by_reason[i];
    }
    status_set_positions(board, positions, n_positions);
    free(positions);
}

/* --- metadata: writing -------------------------------------------------- */

static json_t *loss_json(const struct progress_loss *l)
{
    return json_pack("[f, f, f, f]", l->nats, l->bytes, l->recent_nats,
                     l->recent_bytes);
}

static json_t *names_json(const struct names *t)
{
    json_t *list = json_array();

    for (size_t i = 0; i < t->n; i++)
        json_array_append_new(list, json_string(t->items[i]));
    return list;
}

static json_t *drifted_json(const struct progress_drift *d)
{
    return json_pack("[I, I, f, f]", (json_int_t)d->alarms,
                     (json_int_t)d->record, d->last.before, d->last.after);
}

static json_t *domains_json(const struct progress *p)
{
    json_t *list = json_array();

    for (size_t i = 0; i < p->domains.n; i++) {
        const struct progress_domain *d = &p->by_domain[i];

        json_array_append_new(
            list,
            json_pack("{s:s, s:I, s:I, s:I, s:o, s:f, s:f, s:[f, I], s:o, s:o}",
                      "name", p->domains.items[i], "records",
                      (json_int_t)d->records, "consumed",
                      (json_int_t)d->consumed, "bytes", (json_int_t)d->bytes,
                      "loss", loss_json(&d->loss), "labelled",
                      d->recent_labelled, "right", d->recent_right, "traffic",
                      d->traffic, (json_int_t)d->traffic_at, "drift",
                      drift_json(&d->drift), "drifted",
                      drifted_json(&d->drifted)));
    }
    return list;
}

static json_t *reasons_json(const struct progress *p)
{
    json_t *counts = json_object();

    for (size_t i = 0; i < p->reasons.n; i++)
        json_object_set_new(counts, p->reasons.items[i],
                            json_integer(p->by_reason[i]));
    return counts;
}

/* Hashes become signed, since JSON integers are. */
static json_t *first_texts_json(const struct progress *p)
{
    json_t *list = json_array();

    for (size_t i = 0; i < p->n_first_texts; i++)
        json_array_append_new(list,
                              json_integer((json_int_t)p->first_texts[i]));
    return list;
}

/* The first offset of each partition, by id. */
static json_t *first_json(const struct progress *p)
{
    json_t *list = json_array();

    for (size_t i = 0; i < p->n_partitions; i++)
        json_array_append_new(list,
                              json_integer(p->partitions[i].first_offset));
    return list;
}

void progress_export(const struct progress *p, int64_t step,
                     const char *kernels, json_t *settings, struct buf *out)
{
    const struct status_records *r = &p->records;
    json_t *root = json_pack(
        "{s:s, s:I, s:{s:I, s:I, s:I, s:I, s:I}, s:I, s:I, s:I, s:I, s:o, "
        "s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o*}",
        "kernels", kernels, "step", (json_int_t)step, "records", "consumed",
        (json_int_t)r->consumed, "learned", (json_int_t)r->learned, "skipped",
        (json_int_t)r->skipped, "quarantined", (json_int_t)r->quarantined,
        "holdout", (json_int_t)r->holdout, "tokens_seen",
        (json_int_t)p->tokens_seen, "bytes_seen", (json_int_t)p->bytes_seen,
        "newest_record_ms", (json_int_t)p->newest_record_ms, "flushes",
        (json_int_t)p->flushes, "loss", loss_json(&p->loss), "train_loss",
        loss_json(&p->train_loss), "average_loss", loss_json(&p->average_loss),
        "labels", names_json(&p->labels), "domains", domains_json(p),
        "quarantine", reasons_json(p), "first", first_json(p), "first_texts",
        first_texts_json(p), "settings", settings);
    char *text = json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(17));

    buf_adds(out, text);
    free(text);
    json_decref(root);
}

/* --- metadata: reading -------------------------------------------------- */

static bool is_count(json_int_t n)
{
    return n >= 0 && n <= TENSOR_COUNTER_MOST;
}

static int loss_from_json(const json_t *list, struct progress_loss *l)
{
    double *fields[] = {&l->nats, &l->bytes, &l->recent_nats, &l->recent_bytes};

    if (json_array_size(list) != 4)
        return -1;
    for (size_t i = 0; i < 4; i++) {
        *fields[i] = json_number_value(json_array_get(list, i));
        if (!json_is_number(json_array_get(list, i)) ||
            !(fabs(*fields[i]) <= (double)TENSOR_COUNTER_MOST))
            return -1;
    }
    return 0;
}

static int names_from_list(const json_t *list, struct names *t)
{
    size_t i;
    json_t *item;

    if (!json_is_array(list) || json_array_size(list) > MAX_NAMES)
        return -1;
    json_array_foreach(list, i, item)
    {
        const char *name = json_string_value(item);

        if (!name || names_find(t, name) >= 0)
            return -1;
        names_add(t, name);
    }
    return 0;
}

/* Early versions have no drift test. Their domains begin one. */
static int drift_from_domain(const json_t *item, struct progress_domain *d)
{
    const json_t *drift = json_object_get(item, "drift");
    const json_t *drifted = json_object_get(item, "drifted");
    struct drift_alarm *last = &d->drifted.last;
    json_int_t alarms, record;

    if (!drift && !drifted)
        return 0;
    if (drift_from_json(drift, &d->drift) != 0 ||
        json_unpack((json_t *)drifted, "[I, I, F, F!]", &alarms, &record,
                    &last->before, &last->after) != 0 ||
        !is_count(alarms) || !is_count(record) || !isfinite(last->before) ||
        !isfinite(last->after))
        return -1;
    d->drifted.alarms = alarms;
    d->drifted.record = record;
    return 0;
}

static int domains_from_json(struct progress *p, const json_t *list)
{
    size_t i;
    json_t *item;

    if (!json_is_array(list) || json_array_size(list) > MAX_NAMES)
        return -1;
    json_array_foreach(list, i, item)
    {
        struct progress_domain d = {0};
        const char *name = NULL;
        json_int_t records, bytes, consumed = -1, at = p->records.learned;
        json_t *loss;

        d.traffic = -1; /* early versions have neither this nor `consumed` */
        if (json_unpack(item, "{s:s, s:I, s?I, s:I, s:o, s:F, s:F, s?[F, I]}",
                        "name", &name, "records", &records, "consumed",
                        &consumed, "bytes", &bytes, "loss", &loss, "labelled",
                        &d.recent_labelled, "right", &d.recent_right, "traffic",
                        &d.traffic, &at) != 0 ||
            loss_from_json(loss, &d.loss) != 0 ||
            drift_from_domain(item, &d) != 0 || !is_count(records) ||
            !is_count(bytes) || !(d.recent_labelled >= 0) ||
            !(d.recent_right >= 0) || !isfinite(d.recent_labelled) ||
            !isfinite(d.recent_right) || !isfinite(d.traffic) ||
            consumed > TENSOR_COUNTER_MOST || !is_count(at) ||
            at > p->records.learned ||
            names_find(&p->domains, name) >= 0)
            return -1;
        d.records = records;
        d.consumed = consumed < 0 ? records : consumed;
        d.bytes = bytes;
        d.traffic = d.traffic < 0 ? (double)bytes : d.traffic;
        d.traffic_at = at;
        names_add(&p->domains, name);
        p->by_domain = grow(p->by_domain, p->domains.n, &p->cap_domains,
                            sizeof *p->by_domain);
        p->by_domain[i] = d;
    }
    /* Only `other` may exceed model.max_domains. */
    return p->domains.n == MAX_NAMES && names_find(&p->domains, "other") < 0
               ? -1
               : 0;
}

static int reasons_from_json(struct progress *p, json_t *counts)
{
    const char *reason;
    json_t *count;

    if (!json_is_object(counts))
        return -1;
    json_object_foreach(counts, reason, count)
    {
        if (!json_is_integer(count) || !is_count(json_integer_value(count)))
            return -1;
        count_reason(p, reason, json_integer_value(count));
    }
    return 0;
}

/* Sets the first offsets of the version's partitions. They never change, so a
 * rollback keeps those of other partitions. Early versions have none. */
static void first_from_json(struct progress *p, const json_t *list)
{
    size_t i;
    json_t *item;

    json_array_foreach(list, i, item)
    {
        if (i < p->n_partitions && !p->partitions[i].positioned &&
            is_count(json_integer_value(item)))
            p->partitions[i].first_offset = json_integer_value(item);
    }
}

/* Early versions do not have them. */
static int first_texts_from_json(struct progress *p, const json_t *list)
{
    size_t i;
    json_t *item;

    if (json_array_size(list) > PROGRESS_FIRST_TEXTS)
        return -1;
    json_array_foreach(list, i, item)
    {
        if (!json_is_integer(item))
            return -1;
        progress_keep_first_text(p, (uint64_t)json_integer_value(item));
    }
    return 0;
}

/* Earlier program versions kept event times from the future. Such a time
 * becomes the present time. */
static int64_t limit_to_now(int64_t time_ms)
{
    int64_t now = timing_wall_ms();

    return time_ms > now + RECORD_AHEAD_MS ? now : time_ms;
}

static int fill_from_json(struct progress *p, json_t *root)
{
    json_int_t n[9];
    json_t *loss, *train_loss, *labels, *domains, *reasons;
    /* Early versions do not have it. */
    const json_t *average_loss = json_object_get(root, "average_loss");

    if (json_unpack(root,
                    "{s:{s:I, s:I, s:I, s:I, s:I}, s:I, s:I, s:I, s:I, s:o, "
                    "s:o, s:o, s:o, s:o}",
                    "records", "consumed", &n[0], "learned", &n[1], "skipped",
                    &n[2], "quarantined", &n[3], "holdout", &n[4],
                    "tokens_seen", &n[5], "bytes_seen", &n[6],
                    "newest_record_ms", &n[7], "flushes", &n[8], "loss", &loss,
                    "train_loss", &train_loss, "labels", &labels, "domains",
                    &domains, "quarantine", &reasons) != 0)
        return -1;
    for (size_t i = 0; i < 9; i++)
        if (!is_count(n[i] < 0 && i == 7 ? -(n[i] + 1) : n[i])) /* a time */
            return -1;
    p->records = (struct status_records){n[0], n[1], n[2], n[3], n[4]};
    p->tokens_seen = n[5];
    p->bytes_seen = n[6];
    p->newest_record_ms = limit_to_now(n[7]);
    p->flushes = n[8];
    if (loss_from_json(loss, &p->loss) != 0 ||
        loss_from_json(train_loss, &p->train_loss) != 0 ||
        (average_loss && loss_from_json(average_loss, &p->average_loss) != 0) ||
        names_from_list(labels, &p->labels) != 0 ||
        domains_from_json(p, domains) != 0 ||
        first_texts_from_json(p, json_object_get(root, "first_texts")) != 0)
        return -1;
    return reasons_from_json(p, reasons);
}

int progress_import(struct progress *p, const char *json, size_t n_bytes,
                    struct err *err)
{
    struct progress fresh;
    json_error_t where;
    json_t *root = json_loadb(json, n_bytes, JSON_REJECT_DUPLICATES, &where);
    int rc = 0;

    progress_init(&fresh);
    if (!root)
        rc = err_set(err, ERR_CORRUPT, "version metadata: %s", where.text);
    else if (fill_from_json(&fresh, root) != 0)
        rc = err_set(err, ERR_CORRUPT,
                     "version metadata: a field is missing or of another "
                     "type");
    if (rc == 0)
        first_from_json(p, json_object_get(root, "first"));
    json_decref(root);
    if (rc == 0) {
        /* Every rollback keeps the table of partitions. */
        fresh.partitions = p->partitions;
        fresh.n_partitions = p->n_partitions;
        fresh.cap_partitions = p->cap_partitions;
        p->partitions = NULL;
        p->n_partitions = 0;
        progress_release(p);
        *p = fresh;
    } else {
        progress_release(&fresh);
    }
    return rc;
}
