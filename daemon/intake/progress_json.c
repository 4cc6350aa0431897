/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metadata of a version is one JSON object:
 *
 *     {"kernels", "step", "records": {...}, "tokens_seen", "bytes_seen",
 *      "newest_record_ms", "flushes", "loss": LOSS, "train_loss": LOSS,
 *      "labels": [name], "quarantine": {reason: count},
 *      "domains": [{"name", "records", "bytes", "loss": LOSS, "labelled",
 *                   "right"}],
 *      "first": [offset], "first_texts": [hash],
 *      "settings": {key: text}}
 *
 * with LOSS = [nats, bytes, recent nats, recent bytes].
 */
#include "config.h"

#include "daemon/intake/progress.h"

#include <math.h>
#include <stdlib.h>

#include <jansson.h>

#include "base/tensor.h"
#include "base/timing.h"
#include "daemon/intake/progress_private.h"
#include "daemon/stream/record.h"

#define MAX_NAMES 65537 /* model.max_domains and `other`, model.max_labels */

#define MOST TENSOR_COUNTER_MOST

static bool is_count(json_int_t n)
{
    return n >= 0 && n <= MOST;
}

/* --- out ---------------------------------------------------------------- */

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

static json_t *domains_json(const struct progress *p)
{
    json_t *list = json_array();

    for (size_t i = 0; i < p->domains.n; i++) {
        const struct progress_domain *d = &p->by_domain[i];

        json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:o, s:f, s:f}",
                                              "name", p->domains.items[i],
                                              "records", (json_int_t)d->records,
                                              "bytes", (json_int_t)d->bytes,
                                              "loss", loss_json(&d->loss),
                                              "labelled", d->recent_labelled,
                                              "right", d->recent_right));
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

/* As JSON has them: signed. */
static json_t *first_texts_json(const struct progress *p)
{
    json_t *list = json_array();

    for (size_t i = 0; i < p->n_first_texts; i++)
        json_array_append_new(list,
                              json_integer((json_int_t)p->first_texts[i]));
    return list;
}

/* Where each partition began, by id. */
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
        "s:o, s:o, s:o, s:o, s:o, s:o, s:o*}",
        "kernels", kernels, "step", (json_int_t)step, "records", "consumed",
        (json_int_t)r->consumed, "learned", (json_int_t)r->learned, "skipped",
        (json_int_t)r->skipped, "quarantined", (json_int_t)r->quarantined,
        "holdout", (json_int_t)r->holdout, "tokens_seen",
        (json_int_t)p->tokens_seen, "bytes_seen", (json_int_t)p->bytes_seen,
        "newest_record_ms", (json_int_t)p->newest_record_ms, "flushes",
        (json_int_t)p->flushes, "loss", loss_json(&p->loss), "train_loss",
        loss_json(&p->train_loss), "labels", names_json(&p->labels), "domains",
        domains_json(p), "quarantine", reasons_json(p), "first", first_json(p),
        "first_texts", first_texts_json(p), "settings", settings);
    char *text = json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(17));

    buf_adds(out, text);
    free(text);
    json_decref(root);
}

/* --- in ----------------------------------------------------------------- */

static int loss_from_json(const json_t *list, struct progress_loss *l)
{
    double *fields[] = {&l->nats, &l->bytes, &l->recent_nats, &l->recent_bytes};

    if (json_array_size(list) != 4)
        return -1;
    for (size_t i = 0; i < 4; i++) {
        *fields[i] = json_number_value(json_array_get(list, i));
        if (!json_is_number(json_array_get(list, i)) ||
            !(fabs(*fields[i]) <= (double)MOST))
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
        json_int_t records, bytes;
        json_t *loss;

        if (json_unpack(item, "{s:s, s:I, s:I, s:o, s:F, s:F}", "name", &name,
                        "records", &records, "bytes", &bytes, "loss", &loss,
                        "labelled", &d.recent_labelled, "right",
                        &d.recent_right) != 0 ||
            loss_from_json(loss, &d.loss) != 0 || !is_count(records) ||
            !is_count(bytes) || !(d.recent_labelled >= 0) ||
            !(d.recent_right >= 0) || !isfinite(d.recent_labelled) ||
            !isfinite(d.recent_right) ||
            names_find(&p->domains, name) >= 0)
            return -1;
        d.records = records;
        d.bytes = bytes;
        names_add(&p->domains, name);
        progress_grow_domains(p);
        p->by_domain[i] = d;
    }
    /* Only `other` may come on top of model.max_domains. */
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
        progress_count_reason(p, reason);
        p->by_reason[p->reasons.n - 1] = json_integer_value(count);
    }
    return 0;
}

/* Of the partitions that a version knew; they do not change, so that a rollback
 * leaves the rest. Absent in versions of early days. */
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

/* Absent in versions of early days. */
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

/* Older programs kept event times from the future; these become now. */
static int64_t not_ahead(int64_t time_ms)
{
    int64_t now = timing_wall_ms();

    return time_ms > now + RECORD_AHEAD_MS ? now : time_ms;
}

static int fill_from_json(struct progress *p, json_t *root)
{
    json_int_t n[9];
    json_t *loss, *train_loss, *labels, *domains, *reasons;

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
    p->newest_record_ms = not_ahead(n[7]);
    p->flushes = n[8];
    if (loss_from_json(loss, &p->loss) != 0 ||
        loss_from_json(train_loss, &p->train_loss) != 0 ||
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
        /* The table of partitions outlives every rollback. */
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
