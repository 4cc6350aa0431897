/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opens a connection, runs statements on it, copies and checks a database.
 *
 * The writer uses WAL, synchronous=FULL, foreign keys and secure_delete, which
 * overwrites what `forget` deletes. Its log remains as an empty file. So
 * readers can open a store whose daemon does not run, even without permission
 * to write. A migration and its user_version are one transaction.
 */
#include "config.h"

#include "store/db.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fileio.h"
#include "base/sqlite_err.h"
#include "base/utf8.h"
#include "base/xalloc.h"
#include "store/pages.h"
#include "store/schema.h"

#define BUSY_MS 10000
#define LOG_PAGES 1000  /* a longer log is copied into the database */
#define COPY_PAGES 4096 /* between two reports of progress */

/* Identifies a file, to notice later that its path names another file. */
struct file_id {
    dev_t dev;
    ino_t ino;
};

struct cached {
    const char *sql;
    sqlite3_stmt *stmt;
};

struct db {
    sqlite3 *handle;
    char *path;
    bool writer;
    struct cached *cache;
    size_t n, cap;
    struct err failed;            /* set by db_fail; ERR_OK: none */
    struct file_id database, log; /* of a writer, when it was opened */
};

/* --- a writer that has failed --------------------------------------------- */

void db_fail(struct db *db, const struct err *err)
{
    if (db->failed.code == ERR_OK)
        db->failed = *err;
}

static int failed(const struct db *db, struct err *err)
{
    if (db->failed.code == ERR_OK)
        return 0;
    return err_set(err, db->failed.code, "%s", db->failed.msg);
}

/* Does the last error leave unknown what the disk holds? SQLite finds a full
 * disk before it writes anything, unless a sync reports it. */
static bool is_in_doubt(struct db *db, enum err_code code)
{
    switch (sqlite3_extended_errcode(db->handle)) {
    case SQLITE_IOERR_FSYNC:
    case SQLITE_IOERR_DIR_FSYNC:
    case SQLITE_IOERR_TRUNCATE:
        return true;
    default:
        break;
    }
    switch (sqlite3_errcode(db->handle) & 0xff) {
    case SQLITE_IOERR:
        return code != ERR_FULL;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return true;
    default:
        return false;
    }
}

/* Returns the error of the last SQLite call, which `doing` describes. A writer
 * fails for good when the error leaves unknown what the disk holds. */
static int last_error(struct db *db, const char *doing, struct err *err)
{
    struct err why = ERR_INIT;
    int rc = sqlite_err(db->handle, db->path, doing, &why);

    if (db->writer && is_in_doubt(db, why.code)) {
        if (rc == ERR_FULL)
            why.code = ERR_IO;
        db_fail(db, &why);
    }
    if (err)
        *err = why;
    return why.code;
}

static int identify_file(const char *path, struct file_id *f, struct err *err)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return err_set_errno(err, ERR_IO, errno, "%s: cannot be examined",
                             path);
    *f = (struct file_id){st.st_dev, st.st_ino};
    return 0;
}

static bool is_file(const char *path, const struct file_id *f)
{
    struct file_id now = {0};

    return identify_file(path, &now, NULL) == 0 && now.dev == f->dev &&
           now.ino == f->ino;
}

/* `cp` and `>` empty a file without replacing it. A database in use has at
 * least one page. */
static bool is_empty(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && st.st_size == 0;
}

int db_check_writer(struct db *db, struct err *err)
{
    char *log = xasprintf("%s-wal", db->path);
    struct err why = ERR_INIT;

    if (db->failed.code == ERR_OK &&
        (!is_file(db->path, &db->database) || !is_file(log, &db->log) ||
         is_empty(db->path))) {
        err_set(&why, ERR_IO,
                "%s: this file or its -wal was removed, replaced or emptied "
                "while in use; nothing more is written: put the data directory "
                "back, or restore a backup (mneme restore), then start again",
                db->path);
        db_fail(db, &why);
    }
    free(log);
    return failed(db, err);
}

/* --- statements ----------------------------------------------------------- */

sqlite3 *db_handle(struct db *db)
{
    return db->handle;
}

int db_exec(struct db *db, const char *sql, struct err *err)
{
    if (failed(db, err))
        return db->failed.code;
    if (sqlite3_exec(db->handle, sql, NULL, NULL, NULL) == SQLITE_OK)
        return 0;
    return last_error(db, "running a statement", err);
}

int db_prepare(struct db *db, const char *sql, sqlite3_stmt **stmt,
               struct err *err)
{
    struct cached *c;

    if (failed(db, err))
        return db->failed.code;
    for (size_t i = 0; i < db->n; i++) {
        c = &db->cache[i];
        if (c->sql != sql)
            continue;
        if (sqlite3_stmt_busy(c->stmt))
            BUG("the statement is in use already: %s", sql);
        *stmt = c->stmt;
        return 0;
    }
    if (sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, stmt,
                           NULL) != SQLITE_OK)
        return last_error(db, "preparing a statement", err);
    XGROW(db->cache, db->n, db->cap);
    db->cache[db->n++] = (struct cached){sql, *stmt};
    return 0;
}

void db_bind_list(sqlite3_stmt *stmt, const char *types, va_list args)
{
    const void *p;

    for (int i = 1; types[i - 1]; i++) {
        switch (types[i - 1]) {
        case 'i':
            sqlite3_bind_int64(stmt, i, va_arg(args, int64_t));
            break;
        case 'd':
            sqlite3_bind_double(stmt, i, va_arg(args, double));
            break;
        case 't':
            sqlite3_bind_text(stmt, i, va_arg(args, const char *), -1,
                              SQLITE_STATIC);
            break;
        case 'b':
            p = va_arg(args, const void *);
            sqlite3_bind_blob64(stmt, i, p, va_arg(args, size_t),
                                SQLITE_STATIC);
            break;
        default:
            BUG("no such type: %s", types);
        }
    }
}

void db_bind(sqlite3_stmt *stmt, const char *types, ...)
{
    va_list args;

    va_start(args, types);
    db_bind_list(stmt, types, args);
    va_end(args);
}

int db_step(struct db *db, sqlite3_stmt *stmt, struct err *err)
{
    switch (sqlite3_step(stmt)) {
    case SQLITE_ROW:
        return DB_ROW;
    case SQLITE_DONE:
        return 0;
    default:
        return last_error(db, "running a statement", err);
    }
}

void db_done(sqlite3_stmt *stmt)
{
    sqlite3_reset(stmt);
    sqlite3_clear_bindings(stmt);
}

int db_run(struct db *db, struct err *err, const char *sql, const char *types,
           ...)
{
    sqlite3_stmt *stmt;
    va_list args;
    int rc = db_prepare(db, sql, &stmt, err);

    if (rc)
        return rc;
    va_start(args, types);
    db_bind_list(stmt, types, args);
    va_end(args);
    rc = db_step(db, stmt, err);
    BUG_ON(rc == DB_ROW);
    db_done(stmt);
    return rc;
}

int64_t db_changes(struct db *db)
{
    return sqlite3_changes64(db->handle);
}

int db_number(struct db *db, struct err *err, int64_t *number, const char *sql,
              const char *types, ...)
{
    sqlite3_stmt *stmt;
    va_list args;
    int rc = db_prepare(db, sql, &stmt, err);

    if (rc)
        return rc;
    va_start(args, types);
    db_bind_list(stmt, types, args);
    va_end(args);
    rc = db_step(db, stmt, err);
    if (rc == DB_ROW) {
        *number = sqlite3_column_int64(stmt, 0);
        rc = 0;
    } else if (rc == 0) {
        rc = ERR_NOTFOUND;
    }
    db_done(stmt);
    return rc;
}

char *db_text(sqlite3_stmt *stmt, int column)
{
    const unsigned char *text = sqlite3_column_text(stmt, column);

    return text ? xstrdup((const char *)text) : NULL;
}

/* --- columns, checked ----------------------------------------------------- */

static void refuse_cell(struct db_cells *row, int column, const char *what)
{
    const char *name = sqlite3_column_name(row->q, column);

    if (row->rc == 0)
        row->rc = err_set(row->err, ERR_CORRUPT, "mneme.db: %s is %s",
                          name ? name : "a column", what);
}

int64_t db_cell(struct db_cells *row, int column, int64_t low, int64_t high)
{
    int64_t value = sqlite3_column_int64(row->q, column);

    if (sqlite3_column_type(row->q, column) != SQLITE_INTEGER) {
        refuse_cell(row, column, "not a whole number");
        return low;
    }
    if (value < low || value > high) {
        refuse_cell(row, column, "out of range");
        return low;
    }
    return value;
}

int64_t db_cell_or(struct db_cells *row, int column, int64_t low, int64_t high,
                   int64_t null)
{
    if (sqlite3_column_type(row->q, column) == SQLITE_NULL)
        return null;
    return db_cell(row, column, low, high);
}

char *db_cell_text(struct db_cells *row, int column)
{
    if (sqlite3_column_type(row->q, column) == SQLITE_NULL)
        refuse_cell(row, column, "missing");
    else
        return db_cell_text_or_null(row, column);
    return xstrdup("");
}

char *db_cell_text_or_null(struct db_cells *row, int column)
{
    char *text = db_text(row->q, column);

    if (!text && sqlite3_column_type(row->q, column) != SQLITE_NULL) {
        row->rc = err_set(row->err, ERR_NOMEM, "no memory for a text");
        return xstrdup("");
    }
    if (!text || utf8_valid(text, strlen(text)))
        return text;
    refuse_cell(row, column, "not UTF-8");
    free(text);
    return xstrdup("");
}

/* --- transactions --------------------------------------------------------- */

int db_begin(struct db *db, struct err *err)
{
    int rc = db->writer ? db_check_writer(db, err) : 0;

    return rc ? rc : db_exec(db, "BEGIN IMMEDIATE", err);
}

int db_begin_read(struct db *db, struct err *err)
{
    return db_exec(db, "BEGIN", err);
}

/* Can the transaction of a failed COMMIT be on the disk? It cannot when SQLite
 * refused it before writing the last frame. */
static bool commit_is_in_doubt(struct db *db)
{
    switch (sqlite3_errcode(db->handle) & 0xff) {
    case SQLITE_FULL:
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_CONSTRAINT:
        return false;
    default:
        return true;
    }
}

static int commit(struct db *db, struct err *err)
{
    struct err why = ERR_INIT;
    bool in_doubt;

    if (failed(db, err))
        return db->failed.code;
    if (sqlite3_exec(db->handle, "COMMIT", NULL, NULL, NULL) == SQLITE_OK)
        return 0;
    in_doubt = db->writer && commit_is_in_doubt(db);
    last_error(db, "committing", &why);
    if (in_doubt) {
        if (why.code == ERR_FULL)
            why.code = ERR_IO;
        db_fail(db, &why);
    }
    if (err)
        *err = why;
    return why.code;
}

int db_end(struct db *db, int rc, struct err *err)
{
    struct err why = ERR_INIT;

    if (rc == 0) {
        rc = commit(db, err);
    } else if (db->writer && (rc == ERR_IO || rc == ERR_CORRUPT)) {
        err_set(&why, (enum err_code)rc, "%s: a transaction failed", db->path);
        db_fail(db, err && err->code == why.code ? err : &why);
    }
    /* On a full disk SQLite has ended the transaction already. */
    if (rc && !sqlite3_get_autocommit(db->handle) &&
        sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL) != SQLITE_OK)
        last_error(db, "rolling back", NULL);
    return rc;
}

/* Copies a long log into the database, by the same rule as SQLite's own hook.
 * SQLite's hook ignores a failed sync; this one makes the writer fail. */
static int on_commit(void *arg, sqlite3 *handle, const char *name, int n_pages)
{
    if (n_pages >= LOG_PAGES &&
        sqlite3_wal_checkpoint_v2(handle, name, SQLITE_CHECKPOINT_PASSIVE, NULL,
                                  NULL) != SQLITE_OK)
        last_error(arg, "emptying the log", NULL);
    return SQLITE_OK;
}

int db_checkpoint(struct db *db, struct err *err)
{
    if (failed(db, err))
        return db->failed.code;
    if (sqlite3_wal_checkpoint_v2(db->handle, NULL, SQLITE_CHECKPOINT_TRUNCATE,
                                  NULL, NULL) == SQLITE_OK)
        return 0;
    return last_error(db, "emptying the log", err);
}

/* --- the schema ----------------------------------------------------------- */

static int pragma_number(struct db *db, const char *sql, int64_t *number,
                         struct err *err)
{
    int rc = db_number(db, err, number, sql, "");

    return rc == ERR_NOTFOUND ? last_error(db, sql, err) : rc;
}

/* Checks that the file is a database of mneme, and reads the number of its
 * schema. A new file has schema 0. */
static int read_schema(struct db *db, int64_t *schema, struct err *err)
{
    int64_t application = 0;
    int64_t tables = 0;
    int rc;

    rc = pragma_number(db, "PRAGMA application_id", &application, err);
    if (rc == 0)
        rc = pragma_number(db, "PRAGMA user_version", schema, err);
    if (rc == 0)
        rc = pragma_number(db, "SELECT count(*) FROM sqlite_schema", &tables,
                           err);
    if (rc)
        return rc;
    if (tables && application != SCHEMA_APPLICATION_ID)
        return err_set(err, ERR_STATE, "%s: a database, but not one of mneme's",
                       db->path);
    if (*schema > SCHEMA_NEWEST)
        return err_set(err, ERR_STATE,
                       "%s: made by a newer mneme (schema %lld, this program "
                       "knows %d): upgrade",
                       db->path, (long long)*schema, SCHEMA_NEWEST);
    return 0;
}

static int migrate(struct db *db, int64_t schema, struct err *err)
{
    char number[96];
    int rc = 0;

    for (; schema < SCHEMA_NEWEST && rc == 0; schema++) {
        snprintf(number, sizeof number,
                 "PRAGMA application_id=%d; PRAGMA user_version=%d",
                 SCHEMA_APPLICATION_ID, (int)schema + 1);
        rc = db_begin(db, err);
        if (rc)
            return rc;
        rc = db_exec(db, schema_migrations[schema], err);
        if (rc == 0)
            rc = db_exec(db, number, err);
        rc = db_end(db, rc, err);
    }
    return rc;
}

/* --- opening -------------------------------------------------------------- */

/* The file may come from anybody. So its schema may call only harmless
 * functions, views are disabled, and a reader runs no triggers. The writer
 * runs triggers: schema_check() ensures that they are those of schema.c. */
static void distrust(struct db *db)
{
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
    if (!db->writer)
        sqlite3_db_config(db->handle, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    sqlite3_exec(db->handle, "PRAGMA cell_size_check=ON", NULL, NULL, NULL);
}

int db_check_files(const char *path, struct err *err)
{
    static const char *const ends[] = {"", "-wal", "-shm", "-journal"};
    struct stat st;
    int rc = 0;

    for (size_t i = 0; i < sizeof ends / sizeof *ends && rc == 0; i++) {
        char *name = xasprintf("%s%s", path, ends[i]);

        if (lstat(name, &st) == 0 && !S_ISREG(st.st_mode))
            rc = err_set(err, ERR_CORRUPT,
                         "%s: not a plain file; put the file itself there, or "
                         "restore a backup",
                         name);
        free(name);
    }
    return rc;
}

static int open_handle(struct db *db, int flags, struct err *err)
{
    int rc = db_check_files(db->path, err);

    if (rc)
        return rc;
    rc = sqlite3_open_v2(
        db->path, &db->handle,
        flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, pages_vfs());
    if (!db->handle)
        return err_set(err, ERR_NOMEM, "%s: no memory", db->path);
    if (rc != SQLITE_OK)
        return last_error(db, "cannot open", err);
    sqlite3_busy_timeout(db->handle, BUSY_MS);
    distrust(db);
    return 0;
}

static struct db *create(const char *path, bool writer)
{
    struct db *db = xcalloc(1, sizeof *db);

    db->path = xstrdup(path);
    db->writer = writer;
    return db;
}

/* SQLite keeps the old mode, without an error, on a file system without shared
 * memory. It returns the mode before the transaction that stores the mode, so
 * the statement is stepped to its end. */
static int set_wal(struct db *db, struct err *err)
{
    const char *mode;
    sqlite3_stmt *stmt;
    int rc = db_prepare(db, "PRAGMA journal_mode=WAL", &stmt, err);

    if (rc)
        return rc;
    rc = db_step(db, stmt, err);
    if (rc == DB_ROW) {
        mode = (const char *)sqlite3_column_text(stmt, 0);
        if (mode && strcmp(mode, "wal") == 0)
            rc = db_step(db, stmt, err);
        else
            rc = err_set(err, ERR_IO,
                         "%s: this file system has no shared memory for a "
                         "write-ahead log; choose a local data_dir",
                         db->path);
    }
    db_done(stmt);
    return rc;
}

static int reserved_bytes(struct db *db)
{
    int bytes = -1; /* -1 reads the value */

    sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_RESERVE_BYTES,
                         &bytes);
    return bytes;
}

/* Reserves room for a checksum in each page. An older file without that room is
 * rewritten; when the disk is full, a later start does this. */
static int check_pages(struct db *db, struct err *err)
{
    struct err why = ERR_INIT;
    int wanted = PAGES_RESERVED;
    int rc;

    if (reserved_bytes(db) == PAGES_RESERVED)
        return 0;
    sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_RESERVE_BYTES,
                         &wanted);
    rc = db_exec(db, "VACUUM", &why);
    if (rc == 0 || rc == ERR_FULL)
        return 0;
    return err_set(err, why.code, "%s", why.msg);
}

/* Records the identity of the files for db_check_writer. The query makes SQLite
 * create the log. */
static int identify_files(struct db *db, struct err *err)
{
    char *log = xasprintf("%s-wal", db->path);
    int64_t tables;
    int rc = pragma_number(db, "SELECT count(*) FROM sqlite_schema", &tables,
                           err);

    if (rc == 0)
        rc = identify_file(db->path, &db->database, err);
    if (rc == 0)
        rc = identify_file(log, &db->log, err);
    free(log);
    return rc;
}

static int set_up_writer(struct db *db, struct err *err)
{
    int64_t schema = 0;
    int keep = 1;
    int rc;

    if (sqlite3_db_readonly(db->handle, "main") == 1)
        return err_set(err, ERR_IO, "%s: not writable", db->path);
    rc = read_schema(db, &schema, err);
    if (rc == 0)
        rc = db_exec(db, "PRAGMA synchronous=FULL", err);
    if (rc == 0)
        rc = check_pages(db, err);
    if (rc == 0)
        rc = set_wal(db, err);
    if (rc == 0)
        rc = db_exec(db,
                     "PRAGMA synchronous=FULL;"
                     "PRAGMA foreign_keys=ON; PRAGMA secure_delete=ON;"
                     "PRAGMA recursive_triggers=ON;"
                     "PRAGMA journal_size_limit=67108864",
                     err);
    if (rc == 0)
        rc = identify_files(db, err);
    if (rc)
        return rc;
    sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_PERSIST_WAL, &keep);
    sqlite3_wal_hook(db->handle, on_commit, db);
    rc = migrate(db, schema, err);
    return rc ? rc : schema_check(db->handle, err);
}

int db_open_writer(const char *path, struct db **db, struct err *err)
{
    struct db *d = create(path, true);
    int rc = open_handle(d, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, err);

    if (rc == 0)
        rc = set_up_writer(d, err);
    if (rc) {
        db_close(d);
        return rc;
    }
    *db = d;
    return 0;
}

static int set_up_reader(struct db *db, struct err *err)
{
    int64_t schema = 0;
    int rc;

    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_wal_autocheckpoint(db->handle, 0);
    rc = read_schema(db, &schema, err);
    if (rc == 0 && schema == 0)
        rc = err_set(err, ERR_NOTFOUND, "%s: no store yet", db->path);
    if (rc == 0 && schema < SCHEMA_NEWEST)
        rc = err_set(err, ERR_STATE,
                     "%s: made by an older mneme (schema %lld, this program "
                     "knows %d): start mnemed once to convert it",
                     db->path, (long long)schema, SCHEMA_NEWEST);
    return rc ? rc : schema_check(db->handle, err);
}

int db_open_reader(const char *path, struct db **db, struct err *err)
{
    struct db *d;
    int rc;

    if (access(path, F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR))
        return err_set(err, ERR_NOTFOUND, "%s: no store here", path);
    d = create(path, false);
    rc = open_handle(d, SQLITE_OPEN_READONLY, err);
    if (rc == 0)
        rc = set_up_reader(d, err);
    if (rc) {
        db_close(d);
        return rc;
    }
    *db = d;
    return 0;
}

int db_open_any(const char *path, struct db **db, struct err *err)
{
    struct db *d = create(path, false);
    int rc = open_handle(d, SQLITE_OPEN_READONLY, err);

    if (rc) {
        db_close(d);
        return rc;
    }
    *db = d;
    return 0;
}

/* --- a copy --------------------------------------------------------------- */

static int copy_pages(struct db *from, struct db *to,
                      void (*progress)(int64_t done_bytes, int64_t of_bytes,
                                       void *arg),
                      void *arg, struct err *err)
{
    sqlite3_backup *b;
    int64_t page = 0, all;
    int rc = pragma_number(from, "PRAGMA page_size", &page, err);

    if (rc)
        return rc;
    b = sqlite3_backup_init(to->handle, "main", from->handle, "main");
    if (!b)
        return last_error(to, "copying", err);
    do {
        rc = sqlite3_backup_step(b, COPY_PAGES);
        all = sqlite3_backup_pagecount(b);
        if (progress)
            progress((all - sqlite3_backup_remaining(b)) * page, all * page,
                     arg);
    } while (rc == SQLITE_OK);
    sqlite3_backup_finish(b);
    if (rc == SQLITE_DONE)
        return 0;
    /* The copy's connection has the error, even if reading failed. */
    rc = last_error(to, "copying", err);
    if (rc == ERR_CORRUPT)
        err_set(err, rc, "%s: damaged: %s; restore a backup (mneme restore)",
                from->path, sqlite3_errmsg(to->handle));
    return rc;
}

int db_copy(struct db *from, const char *path,
            void (*progress)(int64_t done_bytes, int64_t of_bytes, void *arg),
            void *arg, struct db **copy, struct err *err)
{
    int fd = -1;
    struct db *d = create(path, false);
    int rc = fileio_create(path, &fd, err); /* mode 0600 */

    if (fd >= 0)
        close(fd);
    if (rc == 0)
        rc = open_handle(d, SQLITE_OPEN_READWRITE, err);
    if (rc == 0)
        rc = copy_pages(from, d, progress, arg, err);
    db_close(d);
    if (rc)
        return rc;
    d = create(path, false);
    rc = open_handle(d, SQLITE_OPEN_READWRITE, err);
    if (rc == 0)
        rc = db_exec(d,
                     "PRAGMA journal_mode=DELETE; PRAGMA synchronous=FULL;"
                     "PRAGMA foreign_keys=ON; PRAGMA secure_delete=ON",
                     err);
    if (rc) {
        db_close(d);
        return rc;
    }
    *copy = d;
    return 0;
}

/* --- a check -------------------------------------------------------------- */

static int check_integrity(struct db *db, struct err *err)
{
    const char *words;
    sqlite3_stmt *q;
    int rc = db_prepare(db, "PRAGMA integrity_check(1)", &q, err);

    if (rc)
        return rc;
    rc = db_step(db, q, err);
    if (rc == DB_ROW) {
        words = (const char *)sqlite3_column_text(q, 0);
        rc = 0;
        if (!words || strcmp(words, "ok") != 0)
            rc = err_set(err, ERR_CORRUPT, "%s: %.200s", db->path,
                         words ? words : "no answer to integrity_check");
    }
    db_done(q);
    return rc;
}

static int check_references(struct db *db, struct err *err)
{
    sqlite3_stmt *q;
    int rc = db_prepare(db, "PRAGMA foreign_key_check", &q, err);

    if (rc)
        return rc;
    rc = db_step(db, q, err);
    if (rc == DB_ROW)
        rc = err_set(err, ERR_CORRUPT,
                     "%s: a row of table %s refers to a missing row of %s",
                     db->path, sqlite3_column_text(q, 0),
                     sqlite3_column_text(q, 2));
    db_done(q);
    return rc;
}

int db_check(struct db *db, struct err *err)
{
    int rc = check_integrity(db, err);

    return rc ? rc : check_references(db, err);
}

/* --- closing, settings ---------------------------------------------------- */

void db_close(struct db *db)
{
    if (!db)
        return;
    for (size_t i = 0; i < db->n; i++)
        sqlite3_finalize(db->cache[i].stmt);
    /* A failed writer leaves its log as it is: the next start reads it. */
    if (db->failed.code != ERR_OK)
        sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1,
                          NULL);
    else if (db->writer && db->handle)
        sqlite3_wal_checkpoint_v2(db->handle, NULL, SQLITE_CHECKPOINT_TRUNCATE,
                                  NULL, NULL);
    if (sqlite3_close(db->handle) != SQLITE_OK)
        BUG("%s: closed while a statement was in use", db->path);
    free(db->cache);
    free(db->path);
    free(db);
}

int db_setting(struct db *d, const char *key, char **value, struct err *err)
{
    sqlite3_stmt *q;
    int rc = db_prepare(d, "SELECT value FROM settings WHERE key = ?1", &q,
                        err);

    *value = NULL;
    if (rc)
        return rc;
    db_bind(q, "t", key);
    rc = db_step(d, q, err);
    if (rc == DB_ROW) {
        *value = db_text(q, 0);
        rc = 0;
    }
    db_done(q);
    return rc;
}

int db_setting_put(struct db *d, const char *key, const char *value,
                   struct err *err)
{
    return db_run(d, err, "REPLACE INTO settings VALUES (?1, ?2)", "tt", key,
                  value);
}
