/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each function prepares its statement for the table, runs it in the order of
 * keys, and finalises it. No function begins or ends a transaction.
 *
 * The index (died, born) lists live or dead rows without reading their content.
 * The other indices are for forgetting records.
 */
#include "config.h"

#include "replay/replay_db.h"

#include <math.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "base/sqlite_err.h"
#include "base/xalloc.h"

#define COLUMNS                                                                \
    "key INTEGER PRIMARY KEY, "                                                \
    "born INTEGER NOT NULL, " /* first version with the row */                 \
    "died INTEGER, "          /* first version without the row */              \
    "domain INTEGER NOT NULL, label INTEGER NOT NULL, "                        \
    "partition_id INTEGER NOT NULL, record_offset INTEGER NOT NULL, "          \
    "part INTEGER NOT NULL, id TEXT, text_hash INTEGER NOT NULL, "             \
    "time_ms INTEGER NOT NULL, "                                               \
    "n_tokens INTEGER NOT NULL, n_masked INTEGER NOT NULL, "                   \
    "n_bytes INTEGER NOT NULL, ends INTEGER NOT NULL, "                        \
    "tokens BLOB, "             /* u16 or u32 little-endian, n_tokens + 1 */   \
    "text BLOB, "               /* preset linear */                            \
    "logits BLOB, "             /* f32 little-endian */                        \
    "loss REAL, "               /* nats, of the new segment */                 \
    "checksum INTEGER NOT NULL" /* XXH3 of all columns but born, died, loss */

const char *const replay_schema[] = {
    "CREATE TABLE replay_rows (" COLUMNS ")",
    "CREATE INDEX replay_rows_life ON replay_rows (died, born)",
    "CREATE INDEX replay_rows_id ON replay_rows (id) WHERE id IS NOT NULL",
    "CREATE TABLE holdout_rows (" COLUMNS ")",
    "CREATE INDEX holdout_rows_life ON holdout_rows (died, born)",
    "CREATE INDEX holdout_rows_id ON holdout_rows (id) WHERE id IS NOT NULL",
    /* for replay_db_forget, like the indices of ids */
    "CREATE INDEX replay_rows_domain ON replay_rows (domain, born)",
    "CREATE INDEX holdout_rows_domain ON holdout_rows (domain, born)",
};
const size_t replay_schema_n = sizeof replay_schema / sizeof *replay_schema;

const char *replay_db_prefix(enum replay_kind kind)
{
    return kind == REPLAY_HOLDOUT ? "holdout" : "replay";
}

static int fail(struct sqlite3 *db, const char *doing, struct err *err)
{
    return sqlite_err(db, NULL, doing, err);
}

/* Prepares `sql`, in which %s is the prefix. */
static int prepare(struct sqlite3 *db, enum replay_kind kind, const char *sql,
                   struct sqlite3_stmt **stmt, struct err *err)
{
    char *text = sqlite3_mprintf(sql, replay_db_prefix(kind));
    int rc;

    if (!text)
        return err_set(err, ERR_NOMEM, "out of memory for a statement");
    rc = sqlite3_prepare_v2(db, text, -1, stmt, NULL);
    sqlite3_free(text);
    return rc == SQLITE_OK ? 0 : fail(db, "preparing a statement", err);
}

/* Runs a statement that returns no rows, and resets it. */
static int run(struct sqlite3_stmt *stmt, const char *doing, struct err *err)
{
    struct sqlite3 *db = sqlite3_db_handle(stmt);
    int rc = sqlite3_step(stmt);

    if (rc != SQLITE_DONE) {
        rc = fail(db, doing, err);
        sqlite3_reset(stmt);
        return rc;
    }
    sqlite3_reset(stmt);
    return 0;
}

/* --- writing ------------------------------------------------------------ */

static const char insert_sql[] =
    "INSERT INTO %s_rows (key, born, domain, label, partition_id, "
    "record_offset, part, id, text_hash, time_ms, n_tokens, n_masked, n_bytes, "
    "ends, tokens, text, logits, loss, checksum) VALUES (?1, ?2, ?3, ?4, ?5, "
    "?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)";

static void bind_blob(struct sqlite3_stmt *stmt, int i, const void *bytes,
                      size_t n_bytes)
{
    if (bytes)
        sqlite3_bind_blob64(stmt, i, bytes, n_bytes, SQLITE_STATIC);
    else
        sqlite3_bind_null(stmt, i);
}

static int insert(struct sqlite3_stmt *stmt, const struct row *row,
                  int64_t version, struct err *err)
{
    const struct segment *s = &row->segment;
    const struct segment_origin *o = &row->origin;
    size_t token_bytes;
    void *tokens = row_store_tokens(s, &token_bytes);
    int rc;

    sqlite3_bind_int64(stmt, 1, row->key);
    sqlite3_bind_int64(stmt, 2, version);
    sqlite3_bind_int64(stmt, 3, s->domain);
    sqlite3_bind_int64(stmt, 4, s->label);
    sqlite3_bind_int64(stmt, 5, o->partition_id);
    sqlite3_bind_int64(stmt, 6, o->offset);
    sqlite3_bind_int64(stmt, 7, o->part);
    sqlite3_bind_text(stmt, 8, o->id, -1, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 9, (int64_t)o->text_hash);
    sqlite3_bind_int64(stmt, 10, o->time_ms);
    sqlite3_bind_int64(stmt, 11, s->n_tokens);
    sqlite3_bind_int64(stmt, 12, s->n_masked);
    sqlite3_bind_int64(stmt, 13, s->n_bytes);
    sqlite3_bind_int64(stmt, 14, s->ends);
    bind_blob(stmt, 15, tokens, token_bytes);
    bind_blob(stmt, 16, s->text, s->text_bytes);
    bind_blob(stmt, 17, s->old_logits, s->n_old_logits * sizeof(float));
    sqlite3_bind_double(stmt, 18, row->nats); /* NaN becomes NULL */
    sqlite3_bind_int64(stmt, 19, (int64_t)row_checksum(row));
    rc = run(stmt, "keeping a row", err);
    sqlite3_bind_null(stmt, 15);
    free(tokens);
    return rc;
}

static int write_born(struct sqlite3 *db, const struct replay_changes *c,
                      int64_t version, struct err *err)
{
    struct sqlite3_stmt *stmt = NULL;
    int rc = prepare(db, c->kind, insert_sql, &stmt, err);

    for (size_t i = 0; i < c->n_born && !rc; i++) {
        rc = insert(stmt, c->born[i], version, err);
        if (rc)
            err_prefix(err, "%s row %lld", replay_db_prefix(c->kind),
                       (long long)c->born[i]->key);
    }
    sqlite3_finalize(stmt);
    return rc;
}

/* Runs `sql` with ?1 = key and ?2 = version, for each key. A key without a row
 * is not an error. */
static int for_keys(struct sqlite3 *db, enum replay_kind kind, const char *sql,
                    const int64_t *keys, size_t n, int64_t version,
                    struct err *err)
{
    struct sqlite3_stmt *stmt = NULL;
    int rc;

    if (n == 0)
        return 0;
    rc = prepare(db, kind, sql, &stmt, err);
    for (size_t i = 0; i < n && !rc; i++) {
        sqlite3_bind_int64(stmt, 1, keys[i]);
        sqlite3_bind_int64(stmt, 2, version);
        rc = run(stmt, "marking a row", err);
    }
    sqlite3_finalize(stmt);
    return rc;
}

static const char mark_dead_sql[] =
    "UPDATE %s_rows SET died = ?2 WHERE key = ?1 AND died IS NULL";
static const char mark_live_sql[] =
    "UPDATE %s_rows SET died = NULL WHERE key = ?1 AND ?2 IS NOT NULL";
static const char delete_sql[] =
    "DELETE FROM %s_rows WHERE key = ?1 AND ?2 IS NOT NULL";

struct keys {
    int64_t *items;
    size_t n, cap;
};

static void keys_add(struct keys *keys, int64_t key)
{
    XGROW(keys->items, keys->n, keys->cap);
    keys->items[keys->n++] = key;
}

static int compare_keys(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* Finds the rows of the table that are wrongly live, and those wrongly dead. */
static int compare_with_index(struct sqlite3 *db,
                              const struct replay_changes *c,
                              struct keys *mark_dead, struct keys *mark_live,
                              struct err *err)
{
    struct sqlite3_stmt *stmt = NULL;
    int rc = prepare(db, c->kind, "SELECT key, died IS NULL FROM %s_rows",
                     &stmt, err);

    if (rc)
        return rc;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        int64_t key = sqlite3_column_int64(stmt, 0);
        bool alive = sqlite3_column_int(stmt, 1);
        bool named = c->n_live > 0 && bsearch(&key, c->live, c->n_live,
                                              sizeof key, compare_keys);

        if (alive && !named)
            keys_add(mark_dead, key);
        else if (!alive && named)
            keys_add(mark_live, key);
    }
    rc = rc == SQLITE_DONE ? 0 : fail(db, "listing rows", err);
    sqlite3_finalize(stmt);
    return rc;
}

static int reconcile(struct sqlite3 *db, const struct replay_changes *c,
                     int64_t version, struct err *err)
{
    struct keys mark_dead = {NULL, 0, 0}, mark_live = {NULL, 0, 0};
    int rc = compare_with_index(db, c, &mark_dead, &mark_live, err);

    if (!rc)
        rc = for_keys(db, c->kind, mark_dead_sql, mark_dead.items, mark_dead.n,
                      version, err);
    if (!rc)
        rc = for_keys(db, c->kind, mark_live_sql, mark_live.items, mark_live.n,
                      version, err);
    free(mark_dead.items);
    free(mark_live.items);
    return rc;
}

int replay_db_write(struct sqlite3 *db, const struct replay_changes *c,
                    int64_t version, struct err *err)
{
    int rc = write_born(db, c, version, err);

    if (!rc)
        rc = for_keys(db, c->kind, mark_dead_sql, c->dead, c->n_dead, version,
                      err);
    if (!rc && c->reconcile)
        rc = reconcile(db, c, version, err);
    return rc;
}

/* --- births and deaths -------------------------------------------------- */

static int rollback_kind(struct sqlite3 *db, enum replay_kind kind, int64_t to,
                         int64_t last, struct err *err)
{
    static const char *const sql[] = {
        "UPDATE %s_rows SET died = ?2 + 1 WHERE died IS NULL AND born > ?1",
        "UPDATE %s_rows SET died = NULL "
        "WHERE died > ?1 AND born <= ?1 AND ?2 IS NOT NULL",
    };
    int rc = 0;

    for (size_t i = 0; i < sizeof sql / sizeof *sql && !rc; i++)
        rc = for_keys(db, kind, sql[i], &to, 1, last, err);
    return rc;
}

int replay_db_rollback(struct sqlite3 *db, int64_t to, int64_t last,
                       struct err *err)
{
    int rc = rollback_kind(db, REPLAY_ROWS, to, last, err);

    return rc ? rc : rollback_kind(db, REPLAY_HOLDOUT, to, last, err);
}

/* Returns the largest kept version below `died`, or INT64_MIN. */
static int64_t last_before(const int64_t *kept, size_t n, int64_t died)
{
    size_t low = 0, high = n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (kept[middle] < died)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? kept[low - 1] : INT64_MIN;
}

/* Sets *died to the next version in which rows died, or INT64_MAX. */
static int next_death(struct sqlite3_stmt *stmt, int64_t *died, struct err *err)
{
    int rc;

    sqlite3_bind_int64(stmt, 1, *died);
    rc = sqlite3_step(stmt);
    *died = rc == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : INT64_MAX;
    rc = rc == SQLITE_ROW || rc == SQLITE_DONE
             ? 0
             : fail(sqlite3_db_handle(stmt), "sweeping rows", err);
    sqlite3_reset(stmt);
    return rc;
}

/* Adds the keys of the rows that died in version `died` and were born after
 * version `after`, up to max_rows keys. */
static int find_born_after(struct sqlite3_stmt *stmt, int64_t died,
                           int64_t after, int64_t max_rows, struct keys *keys,
                           struct err *err)
{
    int rc = SQLITE_DONE;

    sqlite3_bind_int64(stmt, 1, died);
    sqlite3_bind_int64(stmt, 2, after);
    while ((int64_t)keys->n < max_rows &&
           (rc = sqlite3_step(stmt)) == SQLITE_ROW)
        keys_add(keys, sqlite3_column_int64(stmt, 0));
    rc = rc == SQLITE_DONE || rc == SQLITE_ROW
             ? 0
             : fail(sqlite3_db_handle(stmt), "sweeping rows", err);
    sqlite3_reset(stmt);
    return rc;
}

const char *const replay_db_sweep_sql[2] = {
    "SELECT died FROM %s_rows WHERE died > ?1 ORDER BY died LIMIT 1",
    "SELECT key FROM %s_rows WHERE died = ?1 AND born > ?2 ORDER BY born",
};

/*
 * Adds the keys of dead rows that no kept version needs, up to max_rows. Let k
 * be the last kept version before the version in which a row died. The row is
 * needed exactly if it was born in k or before. So each version in which rows
 * died takes two look-ups in the index, and no remaining row is read.
 */
static int find_unkept(struct sqlite3 *db, enum replay_kind kind,
                       const int64_t *kept, size_t n, int64_t max_rows,
                       struct keys *keys, struct err *err)
{
    struct sqlite3_stmt *next = NULL, *rows = NULL;
    int64_t died = INT64_MIN;
    int rc = prepare(db, kind, replay_db_sweep_sql[0], &next, err);

    if (rc == 0)
        rc = prepare(db, kind, replay_db_sweep_sql[1], &rows, err);
    if (rc == 0)
        rc = next_death(next, &died, err);
    while (rc == 0 && died != INT64_MAX && (int64_t)keys->n < max_rows) {
        rc = find_born_after(rows, died, last_before(kept, n, died), max_rows,
                             keys, err);
        if (rc == 0)
            rc = next_death(next, &died, err);
    }
    sqlite3_finalize(next);
    sqlite3_finalize(rows);
    return rc;
}

int replay_db_sweep(struct sqlite3 *db, const int64_t *kept, size_t n,
                    int64_t max_rows, int64_t *deleted, struct err *err)
{
    static const enum replay_kind kinds[] = {REPLAY_ROWS, REPLAY_HOLDOUT};
    int64_t total = 0;

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct keys keys = {NULL, 0, 0};
        int rc =
            find_unkept(db, kinds[i], kept, n, max_rows - total, &keys, err);

        if (!rc)
            rc = for_keys(db, kinds[i], delete_sql, keys.items, keys.n, 0, err);
        total += (int64_t)keys.n;
        free(keys.items);
        if (rc)
            return rc;
    }
    *deleted = total;
    return 0;
}

/* --- forgetting --------------------------------------------------------- */

static void bind_forget(struct sqlite3_stmt *stmt,
                        const struct replay_forget *f)
{
    if (f->id) {
        sqlite3_bind_text(stmt, 1, f->id, -1, SQLITE_STATIC);
        return;
    }
    sqlite3_bind_int64(stmt, 1, f->domain);
    sqlite3_bind_int64(stmt, 2, f->first_born);
    sqlite3_bind_int64(stmt, 3, f->last_born);
}

int replay_db_forget(struct sqlite3 *db, enum replay_kind kind,
                     const struct replay_forget *f,
                     void (*found)(void *arg, int32_t partition_id,
                                   int64_t offset),
                     void *arg, int64_t *n, struct err *err)
{
    static const char *const find[] = {
        "SELECT partition_id, record_offset FROM %s_rows WHERE id = ?1"
        " ORDER BY 1, 2",
        "SELECT partition_id, record_offset FROM %s_rows"
        " WHERE domain = ?1 AND born BETWEEN ?2 AND ?3 ORDER BY 1, 2"};
    static const char *const erase[] = {
        "DELETE FROM %s_rows WHERE id = ?1",
        "DELETE FROM %s_rows WHERE domain = ?1 AND born BETWEEN ?2 AND ?3"};
    struct sqlite3_stmt *stmt = NULL;
    int rc = prepare(db, kind, find[!f->id], &stmt, err);

    if (rc)
        return rc;
    bind_forget(stmt, f);
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
        found(arg, sqlite3_column_int(stmt, 0), sqlite3_column_int64(stmt, 1));
    rc = rc == SQLITE_DONE ? 0 : fail(db, "finding rows", err);
    sqlite3_finalize(stmt);
    stmt = NULL;
    if (rc == 0)
        rc = prepare(db, kind, erase[!f->id], &stmt, err);
    if (rc)
        return rc;
    bind_forget(stmt, f);
    rc = run(stmt, "erasing rows", err);
    if (rc == 0)
        *n += sqlite3_changes64(db);
    sqlite3_finalize(stmt);
    return rc;
}

int replay_db_erase(struct sqlite3 *db, enum replay_kind kind,
                    const int64_t *keys, size_t n_keys, int64_t *n,
                    struct err *err)
{
    struct sqlite3_stmt *stmt = NULL;
    int rc = prepare(db, kind, "DELETE FROM %s_rows WHERE key = ?1", &stmt,
                     err);

    for (size_t i = 0; rc == 0 && i < n_keys; i++) {
        sqlite3_bind_int64(stmt, 1, keys[i]);
        rc = run(stmt, "erasing rows", err);
        *n += rc == 0 ? sqlite3_changes64(db) : 0;
    }
    sqlite3_finalize(stmt);
    return rc;
}

/* --- reading ------------------------------------------------------------ */

/* The columns that decode() reads. */
#define ROW_COLUMNS                                                            \
    "domain, label, partition_id, record_offset, part, id, text_hash, "        \
    "time_ms, n_tokens, n_masked, n_bytes, ends, tokens, text, logits, loss, " \
    "checksum"

static const char fetch_sql[] =
    "SELECT " ROW_COLUMNS " FROM %s_rows WHERE key = ?1";

int replay_db_prepare_fetch(struct sqlite3 *db, enum replay_kind kind,
                            struct sqlite3_stmt **fetch, struct err *err)
{
    return prepare(db, kind, fetch_sql, fetch, err);
}

/* Reads a column that must be in [low, high]; clears *sane if it is not. */
static int64_t column_in(struct sqlite3_stmt *stmt, int i, int64_t low,
                         int64_t high, bool *sane)
{
    int64_t value = sqlite3_column_int64(stmt, i);

    if (value < low || value > high) {
        *sane = false;
        return low;
    }
    return value;
}

static size_t column_blob(struct sqlite3_stmt *stmt, int i, const void **bytes)
{
    *bytes = sqlite3_column_blob(stmt, i);
    return *bytes ? (size_t)sqlite3_column_bytes(stmt, i) : 0;
}

/* Reads the row at the cursor; NULL when it is damaged. */
static struct row *decode(struct sqlite3_stmt *stmt, int64_t key)
{
    struct segment_origin o = {0};
    struct segment s = {0};
    const void *tokens, *text, *logits;
    size_t token_bytes = column_blob(stmt, 12, &tokens);
    size_t logit_bytes = column_blob(stmt, 14, &logits);
    token_id *ids = NULL;
    struct row *row;
    bool sane = true;

    s.domain = (int32_t)column_in(stmt, 0, 0, INT32_MAX, &sane);
    s.label = (int32_t)column_in(stmt, 1, -1, INT32_MAX, &sane);
    o.partition_id = (int32_t)column_in(stmt, 2, INT32_MIN, INT32_MAX, &sane);
    o.offset = sqlite3_column_int64(stmt, 3);
    o.part = (uint32_t)column_in(stmt, 4, 0, UINT32_MAX, &sane);
    o.id = (const char *)sqlite3_column_text(stmt, 5);
    o.text_hash = (uint64_t)sqlite3_column_int64(stmt, 6);
    o.time_ms = sqlite3_column_int64(stmt, 7);
    s.n_tokens = (uint32_t)column_in(stmt, 8, 0, UINT16_MAX, &sane);
    s.n_masked = (uint32_t)column_in(stmt, 9, 0, s.n_tokens, &sane);
    s.n_bytes = (uint32_t)column_in(stmt, 10, 0, UINT32_MAX, &sane);
    s.ends = column_in(stmt, 11, 0, 1, &sane) != 0;
    s.text_bytes = (uint32_t)column_blob(stmt, 13, &text);
    s.n_old_logits = (uint32_t)(logit_bytes / sizeof(float));
    s.text = text;
    s.old_logits = logits;
    if (logit_bytes % sizeof(float) != 0 || !sane)
        return NULL;
    if (tokens) {
        ids = row_load_tokens(tokens, token_bytes, s.n_tokens);
        if (!ids)
            return NULL;
    }
    s.tokens = ids;
    row = row_copy(key, &s, &o, sqlite3_column_double(stmt, 15));
    free(ids);
    if ((int64_t)row_checksum(row) == sqlite3_column_int64(stmt, 16))
        return row;
    free(row);
    return NULL;
}

int replay_db_fetch(struct sqlite3_stmt *fetch, int64_t key, struct row **row,
                    struct err *err)
{
    int rc;

    *row = NULL;
    sqlite3_bind_int64(fetch, 1, key);
    rc = sqlite3_step(fetch);
    if (rc == SQLITE_ROW)
        *row = decode(fetch, key);
    rc = rc == SQLITE_ROW || rc == SQLITE_DONE
             ? 0
             : fail(sqlite3_db_handle(fetch), "reading a stored row", err);
    sqlite3_reset(fetch);
    return rc;
}

int replay_db_find(struct sqlite3 *db, enum replay_kind kind,
                   const int64_t *keys, size_t n, bool *exists, struct err *err)
{
    struct sqlite3_stmt *stmt = NULL;
    int rc = prepare(db, kind, "SELECT key FROM %s_rows", &stmt, err);

    if (rc)
        return rc;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        int64_t key = sqlite3_column_int64(stmt, 0);
        const int64_t *found =
            n ? bsearch(&key, keys, n, sizeof key, compare_keys) : NULL;

        if (found)
            exists[found - keys] = true;
    }
    rc = rc == SQLITE_DONE ? 0 : fail(db, "listing rows", err);
    sqlite3_finalize(stmt);
    return rc;
}

int replay_db_each_unnamed(struct sqlite3 *db, enum replay_kind kind,
                           void (*visit)(void *arg, const struct row *row),
                           void *arg, struct err *err)
{
    struct sqlite3_stmt *stmt = NULL;
    int rc = prepare(db, kind,
                     "SELECT " ROW_COLUMNS ", key FROM %s_rows WHERE id IS NULL"
                     " ORDER BY partition_id, record_offset, key",
                     &stmt, err);

    if (rc)
        return rc;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct row *row = decode(stmt, sqlite3_column_int64(stmt, 17));

        if (row)
            visit(arg, row);
        free(row);
    }
    rc = rc == SQLITE_DONE ? 0 : fail(db, "reading stored rows", err);
    sqlite3_finalize(stmt);
    return rc;
}

struct wanted {
    int64_t key;
    size_t i; /* index in the request */
};

static int compare_wanted(const void *a, const void *b)
{
    const struct wanted *x = a, *y = b;

    return (x->key > y->key) - (x->key < y->key);
}

/* Closes the gaps of rows that were missing or damaged. */
static void close_gaps(struct replay_segments *read, int64_t *keys, size_t n)
{
    struct row **rows = read->memory;

    read->n = 0;
    for (size_t i = 0; i < n; i++) {
        if (!rows[i])
            continue;
        keys[read->n] = keys[i];
        rows[read->n] = rows[i];
        read->items[read->n++] = rows[i]->segment;
    }
    read->n_damaged = n - read->n;
    for (size_t i = read->n; i < n; i++)
        rows[i] = NULL;
}

int replay_db_read(struct sqlite3 *db, enum replay_kind kind, int64_t *keys,
                   size_t n, struct replay_segments *out, struct err *err)
{
    struct replay_segments read = {0};
    struct wanted *wanted = xcalloc(n + 1, sizeof *wanted);
    struct row **rows = xcalloc(n + 1, sizeof *rows);
    struct sqlite3_stmt *fetch = NULL;
    int rc = replay_db_prepare_fetch(db, kind, &fetch, err);

    read.items = xcalloc(n + 1, sizeof *read.items);
    read.memory = rows;
    for (size_t i = 0; i < n; i++)
        wanted[i] = (struct wanted){keys[i], i};
    qsort(wanted, n, sizeof *wanted, compare_wanted);
    for (size_t i = 0; i < n && !rc; i++)
        rc = replay_db_fetch(fetch, wanted[i].key, &rows[wanted[i].i], err);
    close_gaps(&read, keys, n);
    sqlite3_finalize(fetch);
    free(wanted);
    if (rc)
        replay_segments_free(&read);
    else
        *out = read;
    return rc;
}

void replay_segments_free(struct replay_segments *s)
{
    struct row **rows = s->memory;

    for (size_t i = 0; rows && rows[i]; i++) /* n may be smaller */
        free(rows[i]);
    free(rows);
    free(s->items);
    *s = (struct replay_segments){0};
}
