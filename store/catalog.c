/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What takes several statements runs in one read transaction, so that a
 * version, its offsets and the pointers are of the same moment.
 */
#include "config.h"

#include "store/catalog.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "base/xalloc.h"
#include "store/catalog_files.h"
#include "store/db.h"

struct catalog {
    pthread_mutex_t mutex;
    struct db *db;
    char *dir;
};

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
    return err_set(err, ERR_CORRUPT, "a version has the unknown state %.20s",
                   name ? name : "(none)");
}

/* --- opening ------------------------------------------------------------ */

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

/* Locks, and begins a read transaction. */
static int enter(struct catalog *c, struct err *err)
{
    int rc;

    pthread_mutex_lock(&c->mutex);
    rc = db_begin_read(c->db, err);
    if (rc)
        pthread_mutex_unlock(&c->mutex);
    return rc;
}

static int leave(struct catalog *c, int rc, struct err *err)
{
    rc = db_end(c->db, rc, err);
    pthread_mutex_unlock(&c->mutex);
    return rc;
}

/* --- the pointers ------------------------------------------------------- */

static int read_pointers(struct db *db, struct catalog_pointers *p,
                         struct err *err)
{
    sqlite3_stmt *q;
    int rc = db_prepare(db,
                        "SELECT head, serving, newest, serving_pinned"
                        " FROM pointers",
                        &q, err);

    if (rc)
        return rc;
    rc = db_step(db, q, err);
    if (rc == DB_ROW) {
        p->head = sqlite3_column_int64(q, 0);
        p->serving = sqlite3_column_int64(q, 1);
        p->newest = sqlite3_column_int64(q, 2);
        p->serving_pinned = sqlite3_column_int(q, 3) != 0;
        rc = 0;
    } else if (rc == 0) {
        rc = err_set(err, ERR_CORRUPT, "the row of pointers is missing");
    }
    db_done(q);
    return rc;
}

int catalog_pointers(struct catalog *c, struct catalog_pointers *p,
                     struct err *err)
{
    int rc;

    pthread_mutex_lock(&c->mutex);
    rc = read_pointers(c->db, p, err);
    pthread_mutex_unlock(&c->mutex);
    return rc;
}

/* --- versions ----------------------------------------------------------- */

void catalog_offsets_free(struct catalog_offset *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(rows[i].topic);
    free(rows);
}

void catalog_version_release(struct catalog_version *v)
{
    free(v->gate_json);
    free(v->metadata_json);
    catalog_offsets_free(v->offsets, v->n_offsets);
    for (size_t i = 0; i < v->n_domains; i++)
        free(v->domains[i].domain);
    free(v->domains);
    memset(v, 0, sizeof *v);
}

static int read_row(sqlite3_stmt *q, const struct catalog_pointers *p,
                    struct catalog_version *v, struct err *err)
{
    const char *sha256 = (const char *)sqlite3_column_text(q, 5);

    v->version = sqlite3_column_int64(q, 0);
    v->parent = sqlite3_column_int64(q, 1);
    v->created_ms = sqlite3_column_int64(q, 2);
    v->step = sqlite3_column_int64(q, 3);
    v->tokens_seen = sqlite3_column_int64(q, 4);
    if (sha256)
        memcpy(v->weights_sha256, sha256,
               strnlen(sha256, sizeof v->weights_sha256 - 1));
    v->pinned = sqlite3_column_int(q, 7) != 0;
    v->gate_json = db_text(q, 8);
    v->metadata_json = db_text(q, 9);
    v->bytes = sqlite3_column_int64(q, 10);
    v->serving = v->version == p->serving;
    v->head = v->version == p->head;
    return parse_state((const char *)sqlite3_column_text(q, 6), &v->state, err);
}

static void read_offset(sqlite3_stmt *q, struct catalog_offset *o)
{
    o->partition_id = sqlite3_column_int(q, 0);
    o->topic = db_text(q, 1);
    o->partition = sqlite3_column_int(q, 2);
    o->next_offset = sqlite3_column_int64(q, 3);
    o->tokens_done = sqlite3_column_int64(q, 4);
    o->last_learned = sqlite3_column_int64(q, 5);
    o->last_hash = (uint64_t)sqlite3_column_int64(q, 6);
}

/* All rows of a statement that gives offsets. */
static int read_offsets(struct db *db, sqlite3_stmt *q,
                        struct catalog_offset **rows, size_t *n,
                        struct err *err)
{
    size_t cap = 0;
    int rc;

    while ((rc = db_step(db, q, err)) == DB_ROW) {
        XGROW(*rows, *n, cap);
        read_offset(q, &(*rows)[(*n)++]);
    }
    db_done(q);
    return rc;
}

static int add_offsets(struct db *db, struct catalog_version *v,
                       struct err *err)
{
    sqlite3_stmt *q;
    int rc = db_prepare(db,
                        "SELECT partition_id, topic, partition, next_offset,"
                        " tokens_done, last_learned, last_hash FROM offsets"
                        " JOIN partitions ON partitions.id = partition_id"
                        " WHERE version = ?1 ORDER BY partition_id",
                        &q, err);

    if (rc)
        return rc;
    db_bind(q, "i", v->version);
    return read_offsets(db, q, &v->offsets, &v->n_offsets, err);
}

static double column_number(sqlite3_stmt *q, int column)
{
    return sqlite3_column_type(q, column) == SQLITE_NULL
               ? (double)NAN
               : sqlite3_column_double(q, column);
}

static int add_domains(struct db *db, struct catalog_version *v,
                       struct err *err)
{
    struct catalog_domain *d;
    sqlite3_stmt *q;
    size_t cap = 0;
    int rc = db_prepare(db,
                        "SELECT domain, bits_per_byte, accuracy, chunks"
                        " FROM version_domains WHERE version = ?1"
                        " ORDER BY domain",
                        &q, err);

    if (rc)
        return rc;
    db_bind(q, "i", v->version);
    while ((rc = db_step(db, q, err)) == DB_ROW) {
        XGROW(v->domains, v->n_domains, cap);
        d = &v->domains[v->n_domains++];
        d->domain = db_text(q, 0);
        d->bits_per_byte = column_number(q, 1);
        d->accuracy = column_number(q, 2);
        d->chunks = sqlite3_column_int64(q, 3);
    }
    db_done(q);
    return rc;
}

/* For LIMIT: 0 is all. */
static int64_t limit_of(size_t limit)
{
    return limit && limit < INT64_MAX ? (int64_t)limit : (int64_t)-1;
}

#define VERSION_COLUMNS                                                        \
    "version, parent, created_ms, step, tokens_seen, weights_sha256, state,"   \
    " pinned, gate, metadata, bytes"

static void free_versions(struct catalog_version **versions, size_t *n)
{
    for (size_t i = 0; i < *n; i++)
        catalog_version_release(&(*versions)[i]);
    free(*versions);
    *versions = NULL;
    *n = 0;
}

/* The rows of a statement that gives VERSION_COLUMNS, then what belongs to
 * each. */
static int read_versions(struct db *db, sqlite3_stmt *q,
                         struct catalog_version **versions, size_t *n,
                         struct err *err)
{
    struct catalog_pointers pointers = {0};
    size_t cap = 0;
    int rc = read_pointers(db, &pointers, err);
    int step = 0;

    while (rc == 0 && (step = db_step(db, q, err)) == DB_ROW) {
        XGROW(*versions, *n, cap);
        memset(&(*versions)[*n], 0, sizeof **versions);
        rc = read_row(q, &pointers, &(*versions)[(*n)++], err);
    }
    db_done(q);
    rc = rc ? rc : step;
    for (size_t i = 0; i < *n && rc == 0; i++) {
        rc = add_offsets(db, &(*versions)[i], err);
        if (rc == 0)
            rc = add_domains(db, &(*versions)[i], err);
    }
    if (rc == 0)
        return 0;
    free_versions(versions, n);
    return rc;
}

int catalog_get(struct catalog *c, int64_t version, struct catalog_version *v,
                struct err *err)
{
    struct catalog_version *found = NULL;
    sqlite3_stmt *q;
    size_t n = 0;
    int rc = enter(c, err);

    if (rc)
        return rc;
    rc = db_prepare(c->db,
                    "SELECT " VERSION_COLUMNS " FROM versions"
                    " WHERE version = ?1",
                    &q, err);
    if (rc == 0) {
        db_bind(q, "i", version);
        rc = read_versions(c->db, q, &found, &n, err);
    }
    rc = leave(c, rc, err);
    if (rc == 0 && n == 0)
        rc = err_set(err, ERR_NOTFOUND, "there is no version %lld",
                     (long long)version);
    if (rc == 0)
        *v = found[0];
    else
        free_versions(&found, &n);
    free(found);
    return rc;
}

int catalog_list(struct catalog *c, int64_t before, size_t limit,
                 struct catalog_version **versions, size_t *n, struct err *err)
{
    sqlite3_stmt *q;
    int rc = enter(c, err);

    *versions = NULL;
    *n = 0;
    if (rc)
        return rc;
    rc = db_prepare(c->db,
                    "SELECT " VERSION_COLUMNS " FROM versions"
                    " WHERE version < ?1 ORDER BY version DESC LIMIT ?2",
                    &q, err);
    if (rc == 0) {
        db_bind(q, "ii", before > 0 ? before : INT64_MAX, limit_of(limit));
        rc = read_versions(c->db, q, versions, n, err);
    }
    rc = leave(c, rc, err);
    if (rc)
        free_versions(versions, n);
    return rc;
}

/* --- history, partitions, control log, quarantine ----------------------- */

int catalog_history(struct catalog *c, size_t limit,
                    struct catalog_history **rows, size_t *n, struct err *err)
{
    sqlite3_stmt *q;
    size_t cap = 0;
    int rc;

    *rows = NULL;
    *n = 0;
    pthread_mutex_lock(&c->mutex);
    rc = db_prepare(c->db,
                    "SELECT id, from_ms, until_ms, version, previous, cause,"
                    " reason FROM history ORDER BY id DESC LIMIT ?1",
                    &q, err);
    if (rc)
        goto out;
    db_bind(q, "i", limit_of(limit));
    while ((rc = db_step(c->db, q, err)) == DB_ROW) {
        XGROW(*rows, *n, cap);
        (*rows)[(*n)++] = (struct catalog_history){
            .id = sqlite3_column_int64(q, 0),
            .from_ms = sqlite3_column_int64(q, 1),
            .until_ms = sqlite3_column_int64(q, 2),
            .version = sqlite3_column_int64(q, 3),
            .previous = sqlite3_column_int64(q, 4),
            .cause = db_text(q, 5),
            .reason = db_text(q, 6),
        };
    }
    db_done(q);
out:
    pthread_mutex_unlock(&c->mutex);
    if (rc) {
        catalog_history_free(*rows, *n);
        *rows = NULL;
        *n = 0;
    }
    return rc;
}

void catalog_history_free(struct catalog_history *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(rows[i].cause);
        free(rows[i].reason);
    }
    free(rows);
}

int catalog_partitions(struct catalog *c, struct catalog_offset **rows,
                       size_t *n, struct err *err)
{
    sqlite3_stmt *q;
    int rc;

    *rows = NULL;
    *n = 0;
    pthread_mutex_lock(&c->mutex);
    rc = db_prepare(c->db,
                    "SELECT id, topic, partition, 0, 0, -1, 0"
                    " FROM partitions ORDER BY id",
                    &q, err);
    if (rc == 0)
        rc = read_offsets(c->db, q, rows, n, err);
    pthread_mutex_unlock(&c->mutex);
    if (rc) {
        catalog_offsets_free(*rows, *n);
        *rows = NULL;
        *n = 0;
    }
    return rc;
}

int catalog_skipped(struct catalog *c, struct catalog_range **ranges, size_t *n,
                    struct err *err)
{
    sqlite3_stmt *q;
    size_t cap = 0;
    int rc;

    *ranges = NULL;
    *n = 0;
    pthread_mutex_lock(&c->mutex);
    rc = db_prepare(c->db,
                    "SELECT partition_id, first_offset, last_offset"
                    " FROM control_log AS c WHERE kind IN"
                    " ('skip', 'quarantine', 'skip_for_good') AND NOT EXISTS"
                    " (SELECT 1 FROM control_log WHERE kind = 'release' AND"
                    "  version = c.id)"
                    " ORDER BY partition_id, first_offset",
                    &q, err);
    if (rc)
        goto out;
    while ((rc = db_step(c->db, q, err)) == DB_ROW) {
        XGROW(*ranges, *n, cap);
        (*ranges)[(*n)++] = (struct catalog_range){sqlite3_column_int(q, 0),
                                                   sqlite3_column_int64(q, 1),
                                                   sqlite3_column_int64(q, 2)};
    }
    db_done(q);
out:
    pthread_mutex_unlock(&c->mutex);
    if (rc) {
        free(*ranges);
        *ranges = NULL;
        *n = 0;
    }
    return rc;
}

static void read_skip(sqlite3_stmt *q, struct catalog_skip *row)
{
    *row = (struct catalog_skip){
        .id = sqlite3_column_int64(q, 0),
        .time_ms = sqlite3_column_int64(q, 1),
        .kind = db_text(q, 2),
        .version = sqlite3_column_int64(q, 3),
        .topic = db_text(q, 4),
        .partition = sqlite3_column_int(q, 5),
        .range = {sqlite3_column_int(q, 6), sqlite3_column_int64(q, 7),
                  sqlite3_column_int64(q, 8)},
        .reason = db_text(q, 9),
        .released_ms = sqlite3_column_int64(q, 10),
    };
}

int catalog_ranges(struct catalog *c, struct catalog_skip **rows, size_t *n,
                   struct err *err)
{
    sqlite3_stmt *q;
    size_t cap = 0;
    int rc;

    *rows = NULL;
    *n = 0;
    pthread_mutex_lock(&c->mutex);
    rc = db_prepare(c->db,
                    "SELECT c.id, c.time_ms, c.kind, c.version, p.topic,"
                    " p.partition, p.id, c.first_offset, c.last_offset,"
                    " c.reason, coalesce(r.time_ms, 0)"
                    " FROM control_log AS c"
                    " JOIN partitions AS p ON p.id = c.partition_id"
                    " LEFT JOIN control_log AS r ON r.kind = 'release' AND"
                    " r.version = c.id"
                    " WHERE c.kind IN ('skip', 'quarantine', 'skip_for_good')"
                    " ORDER BY c.id",
                    &q, err);
    if (rc)
        goto out;
    while ((rc = db_step(c->db, q, err)) == DB_ROW) {
        XGROW(*rows, *n, cap);
        read_skip(q, &(*rows)[(*n)++]);
    }
    db_done(q);
out:
    pthread_mutex_unlock(&c->mutex);
    if (rc) {
        catalog_ranges_free(*rows, *n);
        *rows = NULL;
        *n = 0;
    }
    return rc;
}

void catalog_ranges_free(struct catalog_skip *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(rows[i].kind);
        free(rows[i].topic);
        free(rows[i].reason);
    }
    free(rows);
}

static void read_quarantine(sqlite3_stmt *q, struct catalog_quarantine *row)
{
    const void *bytes = sqlite3_column_blob(q, 6);
    size_t n = (size_t)sqlite3_column_bytes(q, 6);

    row->row = sqlite3_column_int64(q, 0);
    row->time_ms = sqlite3_column_int64(q, 1);
    row->offset = sqlite3_column_int64(q, 2);
    row->topic = db_text(q, 3);
    row->partition = sqlite3_column_int(q, 4);
    row->reason = db_text(q, 5);
    row->bytes = xmalloc(n + 1);
    row->n_bytes = n;
    if (n)
        memcpy(row->bytes, bytes, n);
    row->bytes[n] = '\0';
}

int catalog_quarantine(struct catalog *c, size_t limit,
                       struct catalog_quarantine **rows, size_t *n,
                       struct err *err)
{
    sqlite3_stmt *q;
    size_t cap = 0;
    int rc;

    *rows = NULL;
    *n = 0;
    pthread_mutex_lock(&c->mutex);
    rc = db_prepare(c->db,
                    "SELECT quarantine.id, time_ms, record_offset, topic,"
                    " partition, reason, bytes FROM quarantine"
                    " JOIN partitions ON partitions.id = partition_id"
                    " ORDER BY quarantine.id DESC LIMIT ?1",
                    &q, err);
    if (rc)
        goto out;
    db_bind(q, "i", limit_of(limit));
    while ((rc = db_step(c->db, q, err)) == DB_ROW) {
        XGROW(*rows, *n, cap);
        read_quarantine(q, &(*rows)[(*n)++]);
    }
    db_done(q);
out:
    pthread_mutex_unlock(&c->mutex);
    if (rc) {
        catalog_quarantine_free(*rows, *n);
        *rows = NULL;
        *n = 0;
    }
    return rc;
}

void catalog_quarantine_free(struct catalog_quarantine *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(rows[i].topic);
        free(rows[i].reason);
        free(rows[i].bytes);
    }
    free(rows);
}

/* --- checks ------------------------------------------------------------- */

static int check_integrity(struct catalog *c, struct err *err)
{
    const char *words;
    sqlite3_stmt *q;
    int rc = db_prepare(c->db, "PRAGMA integrity_check(1)", &q, err);

    if (rc)
        return rc;
    rc = db_step(c->db, q, err);
    if (rc == DB_ROW) {
        words = (const char *)sqlite3_column_text(q, 0);
        rc = 0;
        if (!words || strcmp(words, "ok") != 0)
            rc = err_set(err, ERR_CORRUPT, "%s/mneme.db: %.200s", c->dir,
                         words ? words : "no answer to integrity_check");
    }
    db_done(q);
    return rc;
}

static int check_references(struct catalog *c, struct err *err)
{
    sqlite3_stmt *q;
    int rc = db_prepare(c->db, "PRAGMA foreign_key_check", &q, err);

    if (rc)
        return rc;
    rc = db_step(c->db, q, err);
    if (rc == DB_ROW)
        rc = err_set(err, ERR_CORRUPT,
                     "%s/mneme.db: a row of %s refers to one of %s that is "
                     "not there",
                     c->dir, sqlite3_column_text(q, 0),
                     sqlite3_column_text(q, 2));
    db_done(q);
    return rc;
}

int catalog_check(struct catalog *c, struct err *err)
{
    int rc = enter(c, err);

    if (rc)
        return rc;
    rc = check_integrity(c, err);
    if (rc == 0)
        rc = check_references(c, err);
    return leave(c, rc, err);
}

/* --- the ledger --------------------------------------------------------- */

static void add_total(struct catalog_totals *t, const char *kind, int64_t count)
{
    switch (kind ? kind[0] : '\0') {
    case 'l':
        t->learned += count;
        break;
    case 'h':
        t->holdout += count;
        break;
    case 'q':
        t->quarantined += count;
        break;
    case 's':
        t->skipped += count;
        break;
    default: /* events without records */
        break;
    }
}

int catalog_totals(struct catalog *c, int64_t version, struct catalog_totals *t,
                   struct err *err)
{
    struct catalog_totals totals = {0};
    sqlite3_stmt *q;
    int64_t there = 0;
    int rc = enter(c, err);

    if (rc)
        return rc;
    rc = db_number(c->db, err, &there,
                   "SELECT count(*) FROM versions WHERE version = ?1", "i",
                   version);
    if (rc == 0 && there == 0)
        rc = err_set(err, ERR_NOTFOUND, "there is no version %lld",
                     (long long)version);
    if (rc == 0)
        rc = db_prepare(c->db,
                        "WITH RECURSIVE branch (version) AS (SELECT ?1 UNION"
                        " SELECT base FROM versions JOIN branch USING (version)"
                        " WHERE base > 0)"
                        " SELECT kind, sum(count) FROM"
                        " (SELECT version, kind, count FROM ledger UNION ALL"
                        "  SELECT version, kind, count FROM ledger_merged)"
                        " JOIN branch USING (version) GROUP BY kind",
                        &q, err);
    if (rc == 0) {
        db_bind(q, "i", version);
        while ((rc = db_step(c->db, q, err)) == DB_ROW)
            add_total(&totals, (const char *)sqlite3_column_text(q, 0),
                      sqlite3_column_int64(q, 1));
        db_done(q);
    }
    rc = leave(c, rc, err);
    if (rc == 0)
        *t = totals;
    return rc;
}

/* --- the files of a version --------------------------------------------- */

int catalog_files(struct catalog *c, int64_t version,
                  struct catalog_file **files, size_t *n, char sha256[65],
                  struct err *err)
{
    const char *weights;
    sqlite3_stmt *q;
    size_t cap = 0;
    int rc;

    *files = NULL;
    *n = 0;
    sha256[0] = '\0';
    pthread_mutex_lock(&c->mutex);
    rc = db_prepare(c->db,
                    "SELECT name, f.bytes, sha256, weights_sha256"
                    " FROM versions JOIN version_files AS f USING (version)"
                    " WHERE version = ?1",
                    &q, err);
    if (rc)
        goto out;
    db_bind(q, "i", version);
    while ((rc = db_step(c->db, q, err)) == DB_ROW) {
        XGROW(*files, *n, cap);
        (*files)[(*n)++] = (struct catalog_file){
            db_text(q, 0), sqlite3_column_int64(q, 1), db_text(q, 2)};
        weights = (const char *)sqlite3_column_text(q, 3);
        snprintf(sha256, 65, "%s", weights ? weights : "");
    }
    db_done(q);
    if (rc == 0 && *n == 0)
        rc = err_set(err, ERR_NOTFOUND, "there is no version %lld",
                     (long long)version);
out:
    pthread_mutex_unlock(&c->mutex);
    if (rc) {
        catalog_files_free(*files, *n);
        *files = NULL;
        *n = 0;
    }
    return rc;
}

void catalog_files_free(struct catalog_file *files, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(files[i].name);
        free(files[i].sha256);
    }
    free(files);
}
