/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/stream/released_records.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/xalloc.h"
#include "daemon/stream/record_reason.h"

struct record *released_records_parse(struct record_maker *m,
                                      const struct conf *conf,
                                      const struct releases_row *row)
{
    struct record *r = record_create_data(m, row->bytes, row->n_bytes);

    r->topic = RELEASES_TOPIC;
    r->offset = row->id;
    r->time_ms = row->time_ms;
    r->value_hash = checksum_xxh3(row->bytes, row->n_bytes, 0);
    r->released = true;
    record_parse(m, r, conf->source.format,
                 (size_t)conf->source.max_record_bytes,
                 row->domain ? row->domain : row->topic);
    return r;
}

int released_records_check(const struct conf *conf,
                           const struct catalog_quarantine *row,
                           int64_t n_labels, struct err *err)
{
    struct releases_row as_released = {
        .topic = row->topic,
        .bytes = row->bytes,
        .n_bytes = row->n_bytes,
        .domain = row->domain,
    };
    struct record_maker maker;
    struct record *r;
    const char *why = NULL;
    char detail[160];

    if (row->released)
        return err_set(err, ERR_STATE, "record %lld has been released already",
                       (long long)row->row);
    record_maker_init(&maker, false);
    r = released_records_parse(&maker, conf, &as_released);
    if (!row->whole) {
        why = "it was cut when it was stored";
    } else if (r->reason) {
        record_reason_explain(r->reason, row->bytes, row->n_bytes, detail,
                              sizeof detail);
        why = *detail ? detail : r->reason;
    } else if (conf->model.preset == CONF_PRESET_LINEAR && !r->label) {
        why = "it has no label, and preset linear learns labels only";
    } else if (strcmp(row->reason, "too_many_labels") == 0 &&
               n_labels >= conf->model.max_labels) {
        why = "the model has as many labels as it can (model.max_labels)";
    }
    if (why)
        err_set(err, ERR_STATE, "record %lld (%s) cannot be released: %s",
                (long long)row->row, row->reason, why);
    record_free(r);
    record_maker_release(&maker);
    return why ? ERR_STATE : 0;
}

/* --- releasing ---------------------------------------------------------- */

static int release_one(struct store *store, struct catalog *catalog,
                       const struct conf *conf, int64_t row, int64_t n_labels,
                       char *detail, size_t size, struct err *err)
{
    struct catalog_quarantine_filter filter = {.row = row};
    struct catalog_quarantine *found = NULL;
    size_t n = 0;
    int rc = catalog_quarantine_find(catalog, &filter, &found, &n, err);

    if (rc == 0 && n == 0)
        rc = err_set(err, ERR_NOTFOUND, "there is no record %lld in quarantine",
                     (long long)row);
    if (rc == 0)
        rc = released_records_check(conf, found, n_labels, err);
    if (rc == 0)
        rc = releases_write(store, &row, 1, err);
    if (rc == 0)
        snprintf(detail, size,
                 "record %lld released: it is learned at the present position",
                 (long long)row);
    catalog_quarantine_free(found, n);
    return rc;
}

/* Releases the oldest record first. */
static int release_many(struct store *store, struct catalog *catalog,
                        const struct conf *conf, const char *reason,
                        int64_t n_labels, char *detail, size_t size,
                        struct err *err)
{
    struct catalog_quarantine_filter filter = {
        .reason = *reason ? reason : NULL, .releasable = true};
    struct catalog_quarantine *found = NULL;
    int64_t *rows;
    size_t n = 0, n_good = 0;
    int rc = catalog_quarantine_find(catalog, &filter, &found, &n, err);

    if (rc)
        return rc;
    rows = xcalloc(n + 1, sizeof *rows);
    for (size_t i = n; i-- > 0;)
        if (released_records_check(conf, &found[i], n_labels, NULL) == 0)
            rows[n_good++] = found[i].row;
    if (n_good == 0)
        rc = err_set(err, ERR_STATE,
                     "nothing in quarantine%s%.40s can be released",
                     *reason ? " for reason " : "", reason);
    else
        rc = releases_write(store, rows, n_good, err);
    snprintf(detail, size,
             "records released, to be learned at the present position: %zu; "
             "%zu cannot be",
             n_good, n - n_good);
    free(rows);
    catalog_quarantine_free(found, n);
    return rc;
}

int released_records_write(struct store *store, struct catalog *catalog,
                           const struct conf *conf, int64_t row,
                           const char *reason, int64_t n_labels, char *detail,
                           size_t size, struct err *err)
{
    if (row)
        return release_one(store, catalog, conf, row, n_labels, detail, size,
                           err);
    return release_many(store, catalog, conf, reason, n_labels, detail, size,
                        err);
}
