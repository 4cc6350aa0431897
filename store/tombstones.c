/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding the versions that learned a record: the ledger is read once, and each
 * run is searched in the normalized ranges of the records. A span of removed
 * versions (ledger_merged) counts when it may contain a record. A version
 * inherits the marks of its base, which has a smaller number.
 */
#include "config.h"

#include "store/tombstones.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/checksum.h"
#include "base/fileio.h"
#include "base/sqlite_err.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "store/catalog_private.h"
#include "store/ranges.h"
#include "store/store_private.h"

#define SCRUB "scrub"

struct tombstones_found {
    struct ranges records;
};

/* Stored, so it never changes. An id and a domain of the same name differ. */
uint64_t tombstones_hash(enum tombstones_kind kind, const char *name)
{
    return checksum_xxh3(name, strlen(name),
                         UINT64_C(0x666f72676574) + (uint64_t)kind);
}

void tombstones_add(struct tombstones_found *found, int32_t partition_id,
                    int64_t offset)
{
    struct ranges *r = &found->records;
    const struct catalog_range *last = r->n ? &r->items[r->n - 1] : NULL;

    if (!last || last->partition_id != partition_id ||
        last->first_offset != offset)
        ranges_add(r, partition_id, offset, offset);
}

/* --- rows of the quarantine and the releases ---------------------------- */

/* A record whose fields were not parsed may have the id in its bytes. */
#define OF_ID                                                                  \
    " WHERE (record_id = ?1 OR (record_id IS NULL AND has_id(bytes, ?1)))"
#define OF_DOMAIN " WHERE domain = ?1"

struct own_table {
    const char *find[2], *remove[2]; /* by kind */
};

static const struct own_table quarantine = {
    {"SELECT partition_id, record_offset FROM quarantine" OF_ID,
     "SELECT partition_id, record_offset FROM quarantine" OF_DOMAIN},
    {"DELETE FROM quarantine" OF_ID, "DELETE FROM quarantine" OF_DOMAIN}};

/* Finds the original position and the position in RELEASES_TOPIC. */
static const struct own_table releases = {
    {"SELECT partition_id, record_offset FROM releases" OF_ID
     " UNION ALL SELECT partitions.id, releases.id FROM releases"
     " JOIN partitions ON topic = '(released)'" OF_ID,
     "SELECT partition_id, record_offset FROM releases" OF_DOMAIN
     " UNION ALL SELECT partitions.id, releases.id FROM releases"
     " JOIN partitions ON topic = '(released)'" OF_DOMAIN},
    {"DELETE FROM releases" OF_ID, "DELETE FROM releases" OF_DOMAIN}};

/* The SQL function has_id(bytes, id) of the statements above. */
static void has_id(sqlite3_context *context, int n, sqlite3_value **values)
{
    const struct tombstones_forget *f = sqlite3_user_data(context);
    const void *bytes = sqlite3_value_blob(values[0]);
    const char *id = (const char *)sqlite3_value_text(values[1]);

    (void)n;
    sqlite3_result_int(
        context, f->has_id && bytes && id &&
                     f->has_id(bytes, (size_t)sqlite3_value_bytes(values[0]),
                               id));
}

static int define_has_id(struct store *s, const struct tombstones_forget *f,
                         struct err *err)
{
    sqlite3 *db = db_handle(s->db);
    int rc = sqlite3_create_function_v2(db, "has_id", 2, SQLITE_UTF8,
                                        (void *)f, has_id, NULL, NULL, NULL);

    return rc == SQLITE_OK ? 0
                           : sqlite_err(db, NULL, "defining has_id", err);
}

static int erase(struct store *s, const struct own_table *t,
                 const struct tombstones_forget *f,
                 struct tombstones_found *found, int64_t *n, struct err *err)
{
    sqlite3_stmt *q;
    int rc = db_prepare(s->db, t->find[f->kind], &q, err);

    if (rc)
        return rc;
    db_bind(q, "t", f->name);
    while ((rc = db_step(s->db, q, err)) == DB_ROW)
        tombstones_add(found, sqlite3_column_int(q, 0),
                       sqlite3_column_int64(q, 1));
    db_done(q);
    if (rc == 0)
        rc = db_run(s->db, err, t->remove[f->kind], "t", f->name);
    *n = rc ? 0 : db_changes(s->db);
    return rc;
}

/* --- the control log ---------------------------------------------------- */

static int write_tombstone(struct store *s, const char *kind, uint64_t hash,
                           int32_t partition_id, int64_t first, int64_t last,
                           struct err *err)
{
    return db_run(s->db, err,
                  "INSERT INTO control_log (time_ms, kind, partition_id,"
                  " first_offset, last_offset, hash)"
                  " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                  "itiiii", timing_wall_ms(), kind, (int64_t)partition_id,
                  first, last, (int64_t)hash);
}

static int write_tombstones(struct store *s, const struct tombstones_forget *f,
                            const struct tombstones_found *found,
                            int64_t *n_records, struct err *err)
{
    uint64_t hash = tombstones_hash(f->kind, f->name);
    int rc = 0;

    for (size_t i = 0; i < found->records.n && rc == 0; i++) {
        const struct catalog_range *r = &found->records.items[i];

        for (int64_t at = r->first_offset; at <= r->last_offset && rc == 0;
             at++, ++*n_records)
            rc = write_tombstone(s, "forget", hash, r->partition_id, at, at,
                                 err);
    }
    for (size_t i = 0; i < f->n_partitions && rc == 0; i++) {
        const struct store_offset *o = &f->partitions[i];

        rc = write_tombstone(
            s, f->kind == TOMBSTONES_ID ? "forget_id" : "forget_domain", hash,
            o->partition_id, 0, o->next_offset - 1, err);
    }
    return rc;
}

static int add_partitions(struct store *s, const struct tombstones_forget *f,
                          struct err *err)
{
    int rc = 0;

    for (size_t i = 0; i < f->n_partitions && rc == 0; i++)
        rc = db_run(s->db, err,
                    "INSERT INTO partitions VALUES (?1, ?2, ?3)"
                    " ON CONFLICT DO NOTHING",
                    "iti", (int64_t)f->partitions[i].partition_id,
                    f->partitions[i].topic,
                    (int64_t)f->partitions[i].partition);
    return rc;
}

/* --- versions ----------------------------------------------------------- */

enum { HELD_OUT = 1, LEARNED = 2 };

struct lineage {
    int64_t version, base;
    int marks;
};

struct lineages {
    struct lineage *items; /* ascending */
    size_t n, cap;
};

static struct lineage *find_lineage(const struct lineages *l, int64_t version)
{
    size_t low = 0, high = l->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (l->items[middle].version < version)
            low = middle + 1;
        else
            high = middle;
    }
    return low < l->n && l->items[low].version == version ? &l->items[low]
                                                          : NULL;
}

static int list_lineages(struct store *s, struct lineages *l, struct err *err)
{
    sqlite3_stmt *q;
    int rc = db_prepare(s->db,
                        "SELECT version, base FROM versions ORDER BY version",
                        &q, err);

    if (rc)
        return rc;
    while ((rc = db_step(s->db, q, err)) == DB_ROW) {
        XGROW(l->items, l->n, l->cap);
        l->items[l->n++] = (struct lineage){sqlite3_column_int64(q, 0),
                                            sqlite3_column_int64(q, 1), 0};
    }
    db_done(q);
    return rc;
}

static int read_ledger(struct store *s, const struct ranges *records,
                       struct lineages *l, struct err *err)
{
    sqlite3_stmt *q;
    int rc = db_prepare(s->db,
                        "SELECT version, partition_id, first_offset,"
                        " last_offset, kind = 'h' FROM ledger"
                        " WHERE kind IN ('l', 'c', 'h') UNION ALL"
                        " SELECT version, partition_id, first_offset,"
                        " last_offset, kind = 'h' FROM ledger_merged"
                        " WHERE kind IN ('l', 'c', 'h')",
                        &q, err);

    if (rc)
        return rc;
    while ((rc = db_step(s->db, q, err)) == DB_ROW) {
        struct lineage *v;

        if (!ranges_meet(records->items, records->n,
                         sqlite3_column_int(q, 1), sqlite3_column_int64(q, 2),
                         sqlite3_column_int64(q, 3)))
            continue;
        v = find_lineage(l, sqlite3_column_int64(q, 0));
        if (v)
            v->marks |= sqlite3_column_int(q, 4) ? HELD_OUT : LEARNED;
    }
    db_done(q);
    return rc;
}

static int mark_version(struct store *s, const struct lineage *v,
                        struct tombstones_report *report, struct err *err)
{
    bool learned = (v->marks & LEARNED) != 0;

    report->marked[report->n_marked++] = v->version;
    if (learned)
        report->learned[report->n_learned++] = v->version;
    return db_run(s->db, err,
                  "INSERT INTO version_forgets VALUES (?1, ?2)"
                  " ON CONFLICT DO UPDATE SET"
                  " learned = max(learned, excluded.learned)",
                  "ii", v->version, (int64_t)learned);
}

static int mark_versions(struct store *s, const struct ranges *records,
                         struct tombstones_report *report, struct err *err)
{
    struct lineages l = {NULL, 0, 0};
    int rc = list_lineages(s, &l, err);

    if (rc == 0)
        rc = read_ledger(s, records, &l, err);
    report->learned = xcalloc(l.n + 1, sizeof *report->learned);
    report->marked = xcalloc(l.n + 1, sizeof *report->marked);
    for (size_t i = 0; i < l.n && rc == 0; i++) {
        const struct lineage *base = find_lineage(&l, l.items[i].base);

        l.items[i].marks |= base ? base->marks : 0;
        if (l.items[i].marks)
            rc = mark_version(s, &l.items[i], report, err);
    }
    free(l.items);
    return rc;
}

/* --- the transaction ---------------------------------------------------- */

static int write_all(struct store *s, const struct tombstones_forget *f,
                     struct tombstones_found *found,
                     struct tombstones_report *report, struct err *err)
{
    int rc = add_partitions(s, f, err);

    if (rc == 0)
        rc = define_has_id(s, f, err);
    if (rc == 0)
        rc = erase(s, &quarantine, f, found, &report->quarantine, err);
    if (rc == 0)
        rc = erase(s, &releases, f, found, &report->releases, err);
    if (rc == 0 && f->in_transaction)
        rc = f->in_transaction(db_handle(s->db), found, f->arg, err);
    found->records.n = ranges_normalize(found->records.items, found->records.n);
    if (rc == 0)
        rc = write_tombstones(s, f, found, &report->records, err);
    if (rc == 0)
        rc = mark_versions(s, &found->records, report, err);
    if (rc == 0)
        rc = db_setting_put(s->db, SCRUB, "1", err);
    return rc;
}

int tombstones_write(struct store *s, const struct tombstones_forget *f,
                     struct tombstones_report *report, struct err *err)
{
    struct tombstones_found found = {{NULL, 0, 0}};
    int rc;

    memset(report, 0, sizeof *report);
    rc = db_begin(s->db, err);
    if (rc == 0)
        rc = db_end(s->db, write_all(s, f, &found, report, err), err);
    sqlite3_create_function_v2(db_handle(s->db), "has_id", 2, SQLITE_UTF8,
                               NULL, NULL, NULL, NULL, NULL);
    ranges_release(&found.records);
    if (rc)
        tombstones_report_release(report);
    return rc;
}

void tombstones_report_release(struct tombstones_report *report)
{
    free(report->learned);
    free(report->marked);
    memset(report, 0, sizeof *report);
}

int tombstones_scrub_is_due(struct store *s, bool *waits, struct err *err)
{
    char *wanted = NULL;
    int rc = db_setting(s->db, SCRUB, &wanted, err);

    *waits = wanted != NULL;
    free(wanted);
    return rc;
}

/* VACUUM writes the new file into the log, which needs as much room as the
 * database. Without that room, VACUUM would fill the disk. */
static int check_room(struct store *s, struct err *err)
{
    char *path = fileio_join(s->dir, "mneme.db");
    struct statvfs disk;
    struct stat st;
    int rc = 0;

    if (stat(path, &st) == 0 && statvfs(path, &disk) == 0 &&
        disk.f_bavail < (uint64_t)st.st_size / disk.f_frsize + 1)
        rc = err_set(err, ERR_FULL,
                     "%s: no room to rewrite it: that needs %lld MiB", path,
                     (long long)(st.st_size >> 20) + 1);
    free(path);
    return rc;
}

int tombstones_scrub(struct store *s, struct err *err)
{
    bool waits = false;
    int rc = tombstones_scrub_is_due(s, &waits, err);

    if (rc || !waits)
        return rc;
    rc = db_checkpoint(s->db, err);
    if (rc == 0)
        rc = check_room(s, err);
    if (rc == 0) {
        rc = db_exec(s->db, "VACUUM", err);
        if (rc == ERR_FULL) /* frees the room that the log took */
            db_checkpoint(s->db, NULL);
    }
    if (rc == 0)
        rc = db_checkpoint(s->db, err);
    if (rc == 0)
        rc = db_run(s->db, err, "DELETE FROM settings WHERE key = ?1", "t",
                    SCRUB);
    return rc;
}

/* --- reading ------------------------------------------------------------ */

static int read_row(sqlite3_stmt *q, void *row, struct err *err)
{
    struct tombstone *t = row;
    struct db_cells c = {q, err, 0};

    t->hash = (uint64_t)db_cell(&c, 0, INT64_MIN, INT64_MAX);
    t->partition_id = (int32_t)db_cell(&c, 1, 0, INT32_MAX);
    t->last_offset = db_cell(&c, 2, -1, DB_MOST);
    return c.rc;
}

static const struct catalog_row_type rows_type = {sizeof(struct tombstone),
                                                  read_row, NULL};

static int compare(const struct tombstone *t, uint64_t hash,
                   int32_t partition_id)
{
    if (t->hash != hash)
        return t->hash > hash ? 1 : -1;
    return (t->partition_id > partition_id) - (t->partition_id < partition_id);
}

static int by_hash(const void *a, const void *b)
{
    const struct tombstone *y = b;

    return compare(a, y->hash, y->partition_id);
}

int tombstones_read(struct catalog *c, struct tombstone **rows, size_t *n,
                    struct err *err)
{
    int rc = catalog_rows_list(c, &rows_type, rows, n, err,
                               "SELECT hash, partition_id, max(last_offset)"
                               " FROM control_log"
                               " WHERE kind IN ('forget_id', 'forget_domain')"
                               " GROUP BY hash, partition_id",
                               "");

    if (*n)
        qsort(*rows, *n, sizeof **rows, by_hash);
    return rc;
}

bool tombstones_have(const struct tombstone *rows, size_t n, uint64_t hash,
                     int32_t partition_id, int64_t offset)
{
    size_t low = 0, high = n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare(&rows[middle], hash, partition_id);

        if (order == 0)
            return offset <= rows[middle].last_offset;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}
