/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer: WAL, synchronous=FULL, foreign keys, secure_delete (what `forget`
 * removes is overwritten), and a log that stays as an empty file, so that
 * readers can open a store on which nothing runs, even where they may not
 * write. A migration and its user_version are one transaction.
 */
#include "config.h"

#include "store/db.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fileio.h"
#include "base/xalloc.h"
#include "store/db_private.h"
#include "store/pages.h"
#include "store/schema.h"

#define BUSY_MS 10000

/* --- the schema --------------------------------------------------------- */

static int pragma_number(struct db *db, const char *sql, int64_t *number,
                         struct err *err)
{
    int rc = db_number(db, err, number, sql, "");

    return rc == ERR_NOTFOUND ? db_last_error(db, sql, err) : rc;
}

/* Whose file is it, and which schema has it? 0: a new file. */
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
    if (*schema > DB_SCHEMA)
        return err_set(err, ERR_STATE,
                       "%s: made by a newer mneme (schema %lld, this program "
                       "knows %d): upgrade",
                       db->path, (long long)*schema, DB_SCHEMA);
    return 0;
}

static int migrate(struct db *db, int64_t schema, struct err *err)
{
    char number[96];
    int rc = 0;

    for (; schema < DB_SCHEMA && rc == 0; schema++) {
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

/* --- opening ------------------------------------------------------------ */

/* The file may come from somebody else. So its schema may call only harmless
 * functions, views are disabled, and a reader runs no triggers. The writer
 * does: schema_check() makes sure that they are those of schema.c. */
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
                         "%s: not a plain file, as mneme makes it: put the "
                         "file itself there, or restore a backup",
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
        return db_last_error(db, "cannot open", err);
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

/* SQLite keeps another mode without an error where it cannot have this one; and
 * its answer comes before the transaction that writes it down. */
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
    int bytes = -1; /* asks */

    sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_RESERVE_BYTES,
                         &bytes);
    return bytes;
}

/* Pages get room for their checksums: at once in a new file; one that was made
 * without is written anew, at a later start when there is no room for that. */
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

/* Notes the identity of the files for db_check_writer. The query makes SQLite
 * create the log. */
static int note_files(struct db *db, struct err *err)
{
    char *log = xasprintf("%s-wal", db->path);
    int64_t tables;
    int rc = pragma_number(db, "SELECT count(*) FROM sqlite_schema", &tables,
                           err);

    if (rc == 0)
        rc = db_file_look(db->path, &db->database, err);
    if (rc == 0)
        rc = db_file_look(log, &db->log, err);
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
        rc = note_files(db, err);
    if (rc)
        return rc;
    sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_PERSIST_WAL, &keep);
    db_watch_log(db);
    rc = migrate(db, schema, err);
    return rc ? rc : schema_check(db, err);
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
    if (rc == 0 && schema < DB_SCHEMA)
        rc = err_set(err, ERR_STATE,
                     "%s: made by an older mneme (schema %lld, this program "
                     "knows %d): start mnemed once to convert it",
                     db->path, (long long)schema, DB_SCHEMA);
    return rc ? rc : schema_check(db, err);
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

/* What was copied says that it has a log: not this file. */
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

/* --- a copy ------------------------------------------------------------- */

#define COPY_PAGES 4096 /* between two reports */

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
        return db_last_error(to, "copying", err);
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
    /* The copy has the code, also of what failed in reading. */
    rc = db_last_error(to, "copying", err);
    if (rc == ERR_CORRUPT)
        err_set(err, rc, "%s: damaged: %s; restore a backup (mneme restore)",
                from->path, sqlite3_errmsg(to->handle));
    return rc;
}

static int set_up_copy(struct db *db, struct err *err)
{
    return db_exec(db,
                   "PRAGMA journal_mode=DELETE; PRAGMA synchronous=FULL;"
                   "PRAGMA foreign_keys=ON; PRAGMA secure_delete=ON",
                   err);
}

int db_copy(struct db *from, const char *path,
            void (*progress)(int64_t done_bytes, int64_t of_bytes, void *arg),
            void *arg, struct db **copy, struct err *err)
{
    const int flags = SQLITE_OPEN_READWRITE;
    int fd = -1;
    struct db *d = create(path, false);
    int rc = fileio_create(path, &fd, err); /* 0600, unlike SQLite's */

    if (fd >= 0)
        close(fd);
    if (rc == 0)
        rc = open_handle(d, flags, err);
    if (rc == 0)
        rc = copy_pages(from, d, progress, arg, err);
    db_close(d);
    if (rc)
        return rc;
    d = create(path, false);
    rc = open_handle(d, flags, err);
    if (rc == 0)
        rc = set_up_copy(d, err);
    if (rc) {
        db_close(d);
        return rc;
    }
    *copy = d;
    return 0;
}

/* --- a check ------------------------------------------------------------ */

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
                     "%s: a row of %s refers to one of %s that is not there",
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
