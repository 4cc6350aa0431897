/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection, the loop that reads the rows of a statement, and versions:
 * their rows, offsets, domains, files and ledger totals. Other lists are in
 * catalog_lists.c.
 *
 * Several statements run in one read transaction, so that a version, its
 * offsets and the pointers are of one state of the store.
 */
#include "config.h"

#include "store/catalog.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "base/xalloc.h"
#include "store/catalog_private.h"
#include "store/version_files.h"

/* --- opening -------------------------------------------------------------- */

int catalog_open(const char *dir, struct catalog **catalog, struct err *err)
{
    char *path = fileio_join(dir, "mneme.db");
    struct db *db = NULL;
    int rc = db_open_reader(path, &db, err);

    free(path);
    if (rc)
        return rc;
    *catalog = xcalloc(1, sizeof **catalog);
    (*catalog)->db = db;
    (*catalog)->dir = xstrdup(dir);
    pthread_mutex_init(&(*catalog)->mutex, NULL);
    return 0;
}

void catalog_close(struct catalog *c)
{
    if (!c)
        return;
    db_close(c->db);
    pthread_mutex_destroy(&c->mutex);
    free(c->dir);
    free(c);
}

const char *catalog_dir(const struct catalog *c)
{
    return c->dir;
}

struct sqlite3 *catalog_lock(struct catalog *c)
{
    pthread_mutex_lock(&c->mutex);
    return db_handle(c->db);
}

void catalog_unlock(struct catalog *c)
{
    pthread_mutex_unlock(&c->mutex);
}

int catalog_enter(struct catalog *c, struct err *err)
{
    int rc;

    pthread_mutex_lock(&c->mutex);
    rc = db_begin_read(c->db, err);
    if (rc)
        pthread_mutex_unlock(&c->mutex);
    return rc;
}

int catalog_leave(struct catalog *c, int rc, struct err *err)
{
    rc = db_end(c->db, rc, err);
    pthread_mutex_unlock(&c->mutex);
    return rc;
}

int catalog_no_version(int64_t version, struct err *err)
{
    return err_set(err, ERR_NOTFOUND, "there is no version %lld",
                   (long long)version);
}

/* --- rows ----------------------------------------------------------------- */

void catalog_rows_free(const struct catalog_row_type *type, void *items,
                       size_t n)
{
    for (size_t i = 0; i < n && type->release; i++)
        type->release((char *)items + i * type->size);
    free(items);
}

/* Counts an element before it is read, so that a failure releases it, too. */
static void *add_row(const struct catalog_row_type *type,
                     struct catalog_rows *rows, size_t *cap)
{
    void *row;

    if (rows->n == *cap) {
        *cap = *cap ? 2 * *cap : 16;
        rows->items = xreallocarray(rows->items, *cap, type->size);
    }
    row = (char *)rows->items + rows->n++ * type->size;
    return memset(row, 0, type->size);
}

static int read_rows(struct catalog *c, const struct catalog_row_type *type,
                     struct catalog_rows *rows, struct err *err,
                     const char *sql, const char *types, va_list args)
{
    sqlite3_stmt *q;
    size_t cap = 0;
    int rc;

    *rows = (struct catalog_rows){NULL, 0};
    rc = db_prepare(c->db, sql, &q, err);
    if (rc)
        return rc;
    db_bind_list(q, types, args);
    while ((rc = db_step(c->db, q, err)) == DB_ROW) {
        rc = type->read(q, add_row(type, rows, &cap), err);
        if (rc)
            break;
    }
    db_done(q);
    if (rc == 0)
        return 0;
    catalog_rows_free(type, rows->items, rows->n);
    *rows = (struct catalog_rows){NULL, 0};
    return rc;
}

int catalog_rows_read(struct catalog *c, const struct catalog_row_type *type,
                      struct catalog_rows *rows, struct err *err,
                      const char *sql, const char *types, ...)
{
    va_list args;
    int rc;

    va_start(args, types);
    rc = read_rows(c, type, rows, err, sql, types, args);
    va_end(args);
    return rc;
}

int catalog_rows_list(struct catalog *c, const struct catalog_row_type *type,
                      void *items, size_t *n, struct err *err, const char *sql,
                      const char *types, ...)
{
    struct catalog_rows rows;
    va_list args;
    int rc;

    va_start(args, types);
    pthread_mutex_lock(&c->mutex);
    rc = read_rows(c, type, &rows, err, sql, types, args);
    pthread_mutex_unlock(&c->mutex);
    va_end(args);
    memcpy(items, &rows.items, sizeof rows.items);
    *n = rows.n;
    return rc;
}

/* --- pointers, settings, checks ------------------------------------------- */

int catalog_read_pointers(struct catalog *c, struct catalog_pointers *p,
                          struct err *err)
{
    sqlite3_stmt *q;
    int rc = db_prepare(c->db,
                        "SELECT head, serving, newest, serving_pinned"
                        " FROM pointers",
                        &q, err);

    if (rc)
        return rc;
    rc = db_step(c->db, q, err);
    if (rc == DB_ROW) {
        struct db_cells row = {q, err, 0};

        p->newest = db_cell(&row, 2, 0, DB_MOST);
        p->head = db_cell(&row, 0, 0, p->newest);
        p->serving = db_cell(&row, 1, 0, p->newest);
        p->serving_pinned = db_cell(&row, 3, 0, 1) != 0;
        rc = row.rc;
    } else if (rc == 0) {
        rc = err_set(err, ERR_CORRUPT,
                     "mneme.db: the row of pointers is missing");
    }
    db_done(q);
    return rc;
}

int catalog_pointers(struct catalog *c, struct catalog_pointers *p,
                     struct err *err)
{
    int rc;

    pthread_mutex_lock(&c->mutex);
    rc = catalog_read_pointers(c, p, err);
    pthread_mutex_unlock(&c->mutex);
    return rc;
}

int catalog_check(struct catalog *c, struct err *err)
{
    int rc = catalog_enter(c, err);

    if (rc)
        return rc;
    return catalog_leave(c, db_check(c->db, err), err);
}

int catalog_setting(struct catalog *c, const char *key, char **value,
                    struct err *err)
{
    int rc;

    catalog_lock(c);
    rc = db_setting(c->db, key, value, err);
    catalog_unlock(c);
    return rc;
}

/* --- states --------------------------------------------------------------- */

static const char *const state_names[] = {
    [STORE_PENDING] = "pending",         [STORE_PASSED] = "passed",
    [STORE_FAILED] = "failed",           [STORE_INCONCLUSIVE] = "inconclusive",
    [STORE_ROLLED_BACK] = "rolled_back", [STORE_DAMAGED] = "damaged",
};

#define N_STATES (sizeof state_names / sizeof *state_names)

const char *store_state_name(enum store_state state)
{
    BUG_ON((size_t)state >= N_STATES);
    return state_names[state];
}

static int parse_state(const char *name, enum store_state *state,
                       struct err *err)
{
    for (size_t i = 0; name && i < N_STATES; i++) {
        if (strcmp(state_names[i], name) != 0)
            continue;
        *state = (enum store_state)i;
        return 0;
    }
    return err_set(err, ERR_CORRUPT,
                   "mneme.db: a version has the unknown state %.20s",
                   name ? name : "(none)");
}

/* --- offsets -------------------------------------------------------------- */

static int read_offset(sqlite3_stmt *q, void *row, struct err *err)
{
    struct catalog_offset *o = row;
    struct db_cells c = {q, err, 0};

    o->partition_id = (int32_t)db_cell(&c, 0, 0, INT32_MAX);
    o->topic = db_cell_text(&c, 1);
    o->partition = (int32_t)db_cell(&c, 2, 0, INT32_MAX);
    o->next_offset = db_cell(&c, 3, 0, DB_MOST);
    o->tokens_done = db_cell(&c, 4, 0, UINT32_MAX);
    o->last_learned = db_cell(&c, 5, -1, DB_MOST);
    o->last_hash = (uint64_t)db_cell(&c, 6, INT64_MIN, INT64_MAX);
    return c.rc;
}

static void release_offset(void *row)
{
    struct catalog_offset *o = row;

    free(o->topic);
}

const struct catalog_row_type catalog_offset_rows = {
    sizeof(struct catalog_offset), read_offset, release_offset};

void catalog_offsets_free(struct catalog_offset *rows, size_t n)
{
    catalog_rows_free(&catalog_offset_rows, rows, n);
}

static int add_offsets(struct catalog *c, struct catalog_version *v,
                       struct err *err)
{
    struct catalog_rows rows;
    int rc =
        catalog_rows_read(c, &catalog_offset_rows, &rows, err,
                          "SELECT partition_id, topic, partition, next_offset,"
                          " tokens_done, last_learned, last_hash FROM offsets"
                          " JOIN partitions ON partitions.id = partition_id"
                          " WHERE version = ?1 ORDER BY partition_id",
                          "i", v->version);

    v->offsets = rows.items;
    v->n_offsets = rows.n;
    return rc;
}

/* --- domains -------------------------------------------------------------- */

static double column_number(sqlite3_stmt *q, int column)
{
    return sqlite3_column_type(q, column) == SQLITE_NULL
               ? (double)NAN
               : sqlite3_column_double(q, column);
}

static int read_domain(sqlite3_stmt *q, void *row, struct err *err)
{
    struct catalog_domain *d = row;
    struct db_cells c = {q, err, 0};

    d->domain = db_cell_text(&c, 0);
    d->bits_per_byte = column_number(q, 1);
    d->accuracy = column_number(q, 2);
    d->chunks = db_cell(&c, 3, 0, DB_MOST);
    return c.rc;
}

static void release_domain(void *row)
{
    struct catalog_domain *d = row;

    free(d->domain);
}

static const struct catalog_row_type domain_rows = {
    sizeof(struct catalog_domain), read_domain, release_domain};

static int add_domains(struct catalog *c, struct catalog_version *v,
                       struct err *err)
{
    struct catalog_rows rows;
    int rc = catalog_rows_read(c, &domain_rows, &rows, err,
                               "SELECT domain, bits_per_byte, accuracy, chunks"
                               " FROM version_domains WHERE version = ?1"
                               " ORDER BY domain",
                               "i", v->version);

    v->domains = rows.items;
    v->n_domains = rows.n;
    return rc;
}

/* --- versions ------------------------------------------------------------- */

static int read_version(sqlite3_stmt *q, void *row, struct err *err)
{
    struct catalog_version *v = row;
    const char *sha256 = (const char *)sqlite3_column_text(q, 5);
    struct db_cells c = {q, err, 0};

    v->version = db_cell(&c, 0, 1, DB_MOST);
    v->parent = db_cell(&c, 1, 0, v->version - 1);
    v->created_ms = db_cell(&c, 2, -DB_MOST, DB_MOST);
    v->step = db_cell(&c, 3, 0, DB_MOST);
    v->tokens_seen = db_cell(&c, 4, 0, DB_MOST);
    if (sha256)
        memcpy(v->weights_sha256, sha256,
               strnlen(sha256, sizeof v->weights_sha256 - 1));
    v->pinned = db_cell(&c, 7, 0, 1) != 0;
    v->gate_json = db_cell_text_or_null(&c, 8);
    v->metadata_json = db_cell_text_or_null(&c, 9);
    if (!v->metadata_json) /* its parser reports an error for "" */
        v->metadata_json = xstrdup("");
    v->bytes = db_cell(&c, 10, 0, DB_MOST);
    v->forgotten = sqlite3_column_int(q, 11) != 0;
    v->tags = db_cell_text_or_null(&c, 12);
    if (c.rc)
        return c.rc;
    return parse_state((const char *)sqlite3_column_text(q, 6), &v->state, err);
}

void catalog_version_release(struct catalog_version *v)
{
    free(v->gate_json);
    free(v->metadata_json);
    free(v->tags);
    catalog_offsets_free(v->offsets, v->n_offsets);
    catalog_rows_free(&domain_rows, v->domains, v->n_domains);
    memset(v, 0, sizeof *v);
}

static void release_version(void *row)
{
    catalog_version_release(row);
}

static const struct catalog_row_type version_rows = {
    sizeof(struct catalog_version), read_version, release_version};

void catalog_versions_free(struct catalog_version *versions, size_t n)
{
    catalog_rows_free(&version_rows, versions, n);
}

/* Adds the columns of other tables. */
static int complete(struct catalog *c, const struct catalog_pointers *p,
                    struct catalog_version *v, struct err *err)
{
    int rc = add_offsets(c, v, err);

    v->serving = v->version == p->serving;
    v->head = v->version == p->head;
    return rc ? rc : add_domains(c, v, err);
}

/* Reads the versions from first to last, newest first, at most limit (0:
 * all). */
static int read_versions(struct catalog *c, int64_t first, int64_t last,
                         size_t limit, struct catalog_version **versions,
                         size_t *n, struct err *err)
{
    struct catalog_pointers pointers = {0};
    struct catalog_rows rows = {NULL, 0};
    int rc = catalog_enter(c, err);

    *versions = NULL;
    *n = 0;
    if (rc)
        return rc;
    rc = catalog_read_pointers(c, &pointers, err);
    if (rc == 0)
        rc = catalog_rows_read(
            c, &version_rows, &rows, err,
            "SELECT version, parent, created_ms, step, tokens_seen,"
            " weights_sha256, state, pinned, gate, metadata, bytes,"
            " version IN (SELECT version FROM version_forgets),"
            " (SELECT group_concat(name, ' ') FROM (SELECT name FROM tags"
            " WHERE tags.version = versions.version ORDER BY name))"
            " FROM versions WHERE version BETWEEN ?1 AND ?2"
            " ORDER BY version DESC LIMIT ?3",
            "iii", first, last, catalog_limit(limit));
    for (size_t i = 0; i < rows.n && rc == 0; i++)
        rc = complete(c, &pointers, (struct catalog_version *)rows.items + i,
                      err);
    rc = catalog_leave(c, rc, err);
    if (rc) {
        catalog_rows_free(&version_rows, rows.items, rows.n);
        return rc;
    }
    *versions = rows.items;
    *n = rows.n;
    return 0;
}

int catalog_get(struct catalog *c, int64_t version, struct catalog_version *v,
                struct err *err)
{
    struct catalog_version *found;
    size_t n;
    int rc = read_versions(c, version, version, 1, &found, &n, err);

    if (rc == 0 && n == 0)
        rc = catalog_no_version(version, err);
    if (rc == 0)
        *v = *found;
    free(found);
    return rc;
}

int catalog_list(struct catalog *c, int64_t before, size_t limit,
                 struct catalog_version **versions, size_t *n, struct err *err)
{
    int64_t last = before > 0 ? before - 1 : INT64_MAX;

    return read_versions(c, 0, last, limit, versions, n, err);
}

int catalog_passed_before(struct catalog *c, int64_t version, int64_t *passed,
                          struct err *err)
{
    sqlite3_stmt *q;
    int rc = catalog_enter(c, err);

    *passed = 0;
    if (rc)
        return rc;
    rc = db_prepare(c->db,
                    "SELECT max(version) FROM versions"
                    " WHERE version < ?1 AND state = ?2",
                    &q, err);
    if (rc == 0) {
        db_bind(q, "it", version, store_state_name(STORE_PASSED));
        rc = db_step(c->db, q, err);
        if (rc == DB_ROW) {
            *passed = sqlite3_column_int64(q, 0); /* NULL reads as 0 */
            rc = 0;
        }
        db_done(q);
    }
    return catalog_leave(c, rc, err);
}

/* --- files of a version --------------------------------------------------- */

static int read_file(sqlite3_stmt *q, void *row, struct err *err)
{
    struct catalog_file *f = row;
    struct db_cells c = {q, err, 0};

    f->name = db_cell_text(&c, 0);
    f->bytes = db_cell(&c, 1, 0, DB_MOST);
    f->sha256 = db_cell_text(&c, 2);
    if (c.rc == 0 && !version_files_is_name(f->name))
        return err_set(err, ERR_CORRUPT,
                       "mneme.db: a version has no file named %.60s", f->name);
    return c.rc;
}

static void release_file(void *row)
{
    struct catalog_file *f = row;

    free(f->name);
    free(f->sha256);
}

static const struct catalog_row_type file_rows = {sizeof(struct catalog_file),
                                                  read_file, release_file};

/* Leaves sha256 unchanged when the version does not exist. */
static int read_digest(struct catalog *c, int64_t version, char sha256[65],
                       struct err *err)
{
    const char *text;
    sqlite3_stmt *q;
    int rc = db_prepare(
        c->db, "SELECT weights_sha256 FROM versions WHERE version = ?1", &q,
        err);

    if (rc)
        return rc;
    db_bind(q, "i", version);
    rc = db_step(c->db, q, err);
    if (rc == DB_ROW) {
        text = (const char *)sqlite3_column_text(q, 0);
        snprintf(sha256, 65, "%s", text ? text : "");
        rc = 0;
    }
    db_done(q);
    return rc;
}

int catalog_files(struct catalog *c, int64_t version,
                  struct catalog_file **files, size_t *n, char sha256[65],
                  struct err *err)
{
    struct catalog_rows list = {NULL, 0};
    int rc = catalog_enter(c, err);

    *files = NULL;
    *n = 0;
    sha256[0] = '\0';
    if (rc)
        return rc;
    rc = read_digest(c, version, sha256, err);
    if (rc == 0)
        rc = catalog_rows_read(c, &file_rows, &list, err,
                               "SELECT name, bytes, sha256 FROM version_files"
                               " WHERE version = ?1",
                               "i", version);
    rc = catalog_leave(c, rc, err);
    if (rc == 0 && list.n == 0)
        rc = catalog_no_version(version, err);
    if (rc) {
        catalog_files_free(list.items, list.n);
        return rc;
    }
    *files = list.items;
    *n = list.n;
    return 0;
}

void catalog_files_free(struct catalog_file *files, size_t n)
{
    catalog_rows_free(&file_rows, files, n);
}
