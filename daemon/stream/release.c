/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/stream/release.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/checksum.h"
#include "base/xalloc.h"

/* --- as records --------------------------------------------------------- */

struct record *release_record(struct record_maker *m, const struct conf *conf,
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

/* --- in words ----------------------------------------------------------- */

/* Recognizes compressed data by its first bytes, and says what to do. NULL: it
 * is none. */
static const char *packed_as(const char *bytes, size_t n)
{
    static const struct {
        const char *magic;
        size_t n;
        const char *what;
    } kinds[] = {
        {"\x1f\x8b", 2,
         "it is gzip data: a file is unpacked when its name ends in .gz"},
        {"\x28\xb5\x2f\xfd", 4,
         "it is zstd data: a file is unpacked when its name ends in .zst"},
        {"\xfd" "7zXZ", 5, "it is xz data: unpack it first, with xz -d"},
        {"BZh", 3, "it is bzip2 data: unpack it first, with bzip2 -d"},
        {"PK\x03\x04", 4, "it is a zip archive: unpack it first"},
    };

    for (size_t i = 0; bytes && i < sizeof kinds / sizeof *kinds; i++)
        if (n >= kinds[i].n && memcmp(bytes, kinds[i].magic, kinds[i].n) == 0)
            return kinds[i].what;
    return NULL;
}

static const char *type_name(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    default:
        return "null";
    }
}

/* Says what is wrong with a field, by the rules of record.c. False: nothing. */
static bool explain_field(const char *name, const json_t *value, char *detail,
                          size_t size)
{
    bool is_text = !strcmp(name, "text") || !strcmp(name, "prompt") ||
                   !strcmp(name, "completion");
    bool is_time = !strcmp(name, "ts");

    if (!value || json_is_null(value))
        return false;
    if (json_is_number(value) && is_time &&
        fabs(json_number_value(value)) < 0x1p62)
        return false;
    if (is_time ? !json_is_number(value) : !json_is_string(value))
        snprintf(detail, size, "field %s is %s, and must be a %s", name,
                 type_name(value), is_time ? "number" : "string");
    else if (is_time)
        snprintf(detail, size, "field ts is out of range");
    else if (!is_text && json_string_length(value) > RECORD_NAME_MAX)
        snprintf(detail, size, "field %s has %zu bytes, and at most %d are "
                 "allowed", name, json_string_length(value), RECORD_NAME_MAX);
    else if (!is_text && strlen(json_string_value(value)) !=
                             json_string_length(value))
        snprintf(detail, size, "field %s has a NUL character", name);
    else
        return false;
    return true;
}

static void explain_bad_field(const char *bytes, size_t n, char *detail,
                              size_t size)
{
    static const char *const names[] = {"text",   "prompt", "completion",
                                        "label",  "domain", "id", "ts"};
    json_t *root = json_loadb(bytes ? bytes : "", n, JSON_ALLOW_NUL, NULL);
    bool found = false;

    for (size_t i = 0; !found && i < sizeof names / sizeof *names; i++)
        found = explain_field(names[i], json_object_get(root, names[i]),
                              detail, size);
    if (!found && json_is_object(root))
        snprintf(detail, size, "the name of its topic or file, which is its "
                 "domain, is not UTF-8 or too long");
    else if (!found)
        snprintf(detail, size, "%s", record_explain("bad_field"));
    json_decref(root);
}

void release_explain(const char *reason, const char *bytes, size_t n_bytes,
                     char *detail, size_t size)
{
    static const char *const unreadable[] = {"nul_bytes", "utf16", "not_utf8",
                                             "too_long"};
    const char *words = record_explain(reason), *packed = NULL;

    for (size_t i = 0; i < sizeof unreadable / sizeof *unreadable; i++)
        if (!strcmp(reason, unreadable[i]))
            packed = packed_as(bytes, n_bytes);
    *detail = '\0';
    if (!strcmp(reason, "bad_field"))
        explain_bad_field(bytes, n_bytes, detail, size);
    else if (packed)
        snprintf(detail, size, "%s", packed);
    else if (words)
        snprintf(detail, size, "%s", words);
}

static const char *why_not(const struct conf *conf, const struct record *r,
                           const struct catalog_quarantine *row,
                           int64_t n_labels, char *detail, size_t size)
{
    if (r->reason) {
        release_explain(r->reason, row->bytes, row->n_bytes, detail, size);
        return *detail ? detail : r->reason;
    }
    if (conf->model.preset == CONF_PRESET_LINEAR && !r->label)
        return "it has no label, and preset linear learns labels only";
    if (strcmp(row->reason, "too_many_labels") == 0 &&
        n_labels >= conf->model.max_labels)
        return "the model has as many labels as it can (model.max_labels)";
    return NULL;
}

int release_check(const struct conf *conf,
                  const struct catalog_quarantine *row, int64_t n_labels,
                  struct err *err)
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
        return err_set(err, ERR_STATE,
                       "record %lld has been released already",
                       (long long)row->row);
    if (row->whole) {
        record_maker_init(&maker, false);
        r = release_record(&maker, conf, &as_released);
        why = why_not(conf, r, row, n_labels, detail, sizeof detail);
        record_free(r);
        record_maker_release(&maker);
    } else {
        why = "it was cut when it was kept";
    }
    if (!why)
        return 0;
    return err_set(err, ERR_STATE, "record %lld (%s) cannot be released: %s",
                   (long long)row->row, row->reason, why);
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
        rc = err_set(err, ERR_NOTFOUND,
                     "there is no record %lld in quarantine", (long long)row);
    if (rc == 0)
        rc = release_check(conf, found, n_labels, err);
    if (rc == 0)
        rc = releases_write(store, &row, 1, err);
    if (rc == 0)
        snprintf(detail, size,
                 "record %lld released: it is learned at the present position",
                 (long long)row);
    catalog_quarantine_free(found, n);
    return rc;
}

/* Oldest first, as they came. */
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
        if (release_check(conf, &found[i], n_labels, NULL) == 0)
            rows[n_good++] = found[i].row;
    if (n_good == 0)
        rc = err_set(err, ERR_STATE,
                     "nothing in quarantine%s%.40s can be released",
                     *reason ? " for reason " : "", reason);
    else
        rc = releases_write(store, rows, n_good, err);
    snprintf(detail, size,
             "%zu records released: they are learned at the present position; "
             "%zu cannot be",
             n_good, n - n_good);
    free(rows);
    catalog_quarantine_free(found, n);
    return rc;
}

int release_carry_out(struct store *store, struct catalog *catalog,
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
