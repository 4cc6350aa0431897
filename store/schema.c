/* SPDX-License-Identifier: Apache-2.0 */
/*
 * versions.parent is the version from which a version was learned, even if the
 * parent has been removed. versions.base is its nearest ancestor that still
 * exists, so that branches can be followed after retention. A version's ledger
 * has the decisions since its parent. When a version is removed, its ledger is
 * added to ledger_merged of the versions whose base it was, as one span for
 * each partition and kind.
 *
 * versions.verdict is the gate's verdict and never changes; versions.state is
 * the current state. versions.guard is the state of the daemon's guard after
 * the verdict, or after a rollback to the version; only the daemon reads this
 * text (daemon/publish/verdict_memory.h).
 *
 * pointers has one row. newest is the largest version number ever used.
 *
 * history and control_log only grow; triggers prevent other changes.
 * releases.h, tags.h and tombstones.h explain the kinds of the control log. Its
 * hash is that of a forgotten id or domain. `promote` is an operator's choice
 * of the serving version. `hold`, with the head version, says that learning is
 * paused until an operator promotes or rolls back (catalog_pause).
 */
#include "config.h"

#include "store/schema.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "base/sqlite_err.h"
#include "base/xalloc.h"

const char *const schema_migrations[SCHEMA_NEWEST] = {
    /* 1 */
    "CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL)"
    " WITHOUT ROWID;"

    "CREATE TABLE schema (part TEXT PRIMARY KEY, statements INTEGER NOT NULL)"
    " WITHOUT ROWID;"

    "CREATE TABLE pointers ("
    " one INTEGER PRIMARY KEY CHECK (one = 1),"
    " head INTEGER NOT NULL, serving INTEGER NOT NULL,"
    " serving_pinned INTEGER NOT NULL, newest INTEGER NOT NULL);"
    "INSERT INTO pointers VALUES (1, 0, 0, 0, 0);"

    "CREATE TABLE versions ("
    " version INTEGER PRIMARY KEY, parent INTEGER NOT NULL,"
    " base INTEGER NOT NULL, created_ms INTEGER NOT NULL,"
    " step INTEGER NOT NULL, tokens_seen INTEGER NOT NULL,"
    " weights_sha256 TEXT NOT NULL, state TEXT NOT NULL, verdict TEXT,"
    " pinned INTEGER NOT NULL DEFAULT 0, gate TEXT, reason TEXT,"
    " metadata TEXT, bytes INTEGER NOT NULL);"
    "CREATE INDEX versions_base ON versions (base);"

    "CREATE TABLE version_files ("
    " version INTEGER NOT NULL REFERENCES versions ON DELETE CASCADE,"
    " name TEXT NOT NULL, bytes INTEGER NOT NULL, sha256 TEXT NOT NULL,"
    " PRIMARY KEY (version, name)) WITHOUT ROWID;"

    "CREATE TABLE version_domains ("
    " version INTEGER NOT NULL REFERENCES versions ON DELETE CASCADE,"
    " domain TEXT NOT NULL, bits_per_byte REAL, accuracy REAL,"
    " chunks INTEGER NOT NULL, PRIMARY KEY (version, domain)) WITHOUT ROWID;"

    "CREATE TABLE partitions ("
    " id INTEGER PRIMARY KEY, topic TEXT NOT NULL,"
    " partition INTEGER NOT NULL, UNIQUE (topic, partition));"

    "CREATE TABLE offsets ("
    " version INTEGER NOT NULL REFERENCES versions ON DELETE CASCADE,"
    " partition_id INTEGER NOT NULL REFERENCES partitions,"
    " next_offset INTEGER NOT NULL, tokens_done INTEGER NOT NULL,"
    " last_learned INTEGER NOT NULL, last_hash INTEGER NOT NULL,"
    " PRIMARY KEY (version, partition_id)) WITHOUT ROWID;"

    "CREATE TABLE ledger ("
    " version INTEGER NOT NULL REFERENCES versions ON DELETE CASCADE,"
    " seq INTEGER NOT NULL, step INTEGER NOT NULL,"
    " partition_id INTEGER NOT NULL REFERENCES partitions,"
    " first_offset INTEGER NOT NULL, last_offset INTEGER NOT NULL,"
    " count INTEGER NOT NULL, kind TEXT NOT NULL,"
    " PRIMARY KEY (version, seq)) WITHOUT ROWID;"

    "CREATE TABLE ledger_merged ("
    " version INTEGER NOT NULL REFERENCES versions ON DELETE CASCADE,"
    " partition_id INTEGER NOT NULL REFERENCES partitions,"
    " kind TEXT NOT NULL, first_offset INTEGER NOT NULL,"
    " last_offset INTEGER NOT NULL, count INTEGER NOT NULL,"
    " PRIMARY KEY (version, partition_id, kind)) WITHOUT ROWID;"

    /* Runs that a rollback skipped; the next version's ledger gets them. */
    "CREATE TABLE ledger_pending ("
    " seq INTEGER PRIMARY KEY, step INTEGER NOT NULL,"
    " partition_id INTEGER NOT NULL REFERENCES partitions,"
    " first_offset INTEGER NOT NULL, last_offset INTEGER NOT NULL,"
    " count INTEGER NOT NULL);"

    "CREATE TABLE quarantine ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " version INTEGER NOT NULL," /* the first to have it */
    " partition_id INTEGER NOT NULL REFERENCES partitions,"
    " record_offset INTEGER NOT NULL, time_ms INTEGER NOT NULL,"
    " reason TEXT NOT NULL, bytes BLOB NOT NULL, record_id TEXT,"
    " UNIQUE (partition_id, record_offset));"
    "CREATE INDEX quarantine_record ON quarantine (record_id)"
    " WHERE record_id IS NOT NULL;"

    "CREATE TABLE history ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, from_ms INTEGER NOT NULL,"
    " until_ms INTEGER NOT NULL," /* 0: it serves now */
    " version INTEGER NOT NULL, previous INTEGER NOT NULL,"
    " cause TEXT NOT NULL, reason TEXT NOT NULL);"
    "CREATE TRIGGER history_delete BEFORE DELETE ON history BEGIN"
    " SELECT RAISE(ABORT, 'history only grows'); END;"
    "CREATE TRIGGER history_update BEFORE UPDATE ON history"
    " WHEN OLD.until_ms <> 0 OR NEW.id <> OLD.id OR"
    " NEW.from_ms <> OLD.from_ms OR NEW.version <> OLD.version OR"
    " NEW.previous <> OLD.previous OR NEW.cause <> OLD.cause OR"
    " NEW.reason <> OLD.reason BEGIN"
    " SELECT RAISE(ABORT, 'history only grows'); END;"

    "CREATE TABLE control_log ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, time_ms INTEGER NOT NULL,"
    " kind TEXT NOT NULL," /* rollback, skip, quarantine, skip_for_good,
                              release (version: the id of the range's row),
                              pin, unpin */
    " version INTEGER, partition_id INTEGER REFERENCES partitions,"
    " first_offset INTEGER, last_offset INTEGER, reason TEXT);"
    "CREATE INDEX control_log_kind ON control_log (kind);"
    "CREATE TRIGGER control_log_delete BEFORE DELETE ON control_log BEGIN"
    " SELECT RAISE(ABORT, 'the control log only grows'); END;"
    "CREATE TRIGGER control_log_update BEFORE UPDATE ON control_log BEGIN"
    " SELECT RAISE(ABORT, 'the control log only grows'); END;",

    /* 2: quarantined records can be released and forgotten. Rows of schema 1
     * may have been cut at 4096 bytes. */
    "ALTER TABLE quarantine ADD COLUMN whole INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE quarantine ADD COLUMN domain TEXT;"
    "ALTER TABLE quarantine ADD COLUMN release_id INTEGER;"
    "UPDATE quarantine SET whole = length(bytes) < 4096 AND"
    " reason <> 'too_long';"
    "ALTER TABLE control_log ADD COLUMN hash INTEGER;"

    "CREATE TABLE releases ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " control_id INTEGER NOT NULL REFERENCES control_log,"
    " partition_id INTEGER NOT NULL REFERENCES partitions,"
    " record_offset INTEGER NOT NULL, time_ms INTEGER NOT NULL,"
    " reason TEXT NOT NULL, bytes BLOB NOT NULL, record_id TEXT,"
    " domain TEXT);"
    "CREATE INDEX releases_record ON releases (record_id)"
    " WHERE record_id IS NOT NULL;"

    /* Versions with forgotten records. learned is 0 when the records were held
     * out. */
    "CREATE TABLE version_forgets ("
    " version INTEGER PRIMARY KEY REFERENCES versions ON DELETE CASCADE,"
    " learned INTEGER NOT NULL);",

    /* 3: stores the state of the guard. */
    "ALTER TABLE versions ADD COLUMN guard TEXT;",

    /* 4: names of versions. */
    "CREATE TABLE tags ("
    " name TEXT PRIMARY KEY,"
    " version INTEGER NOT NULL REFERENCES versions ON DELETE CASCADE)"
    " WITHOUT ROWID;"
    "CREATE INDEX tags_version ON tags (version);",
};

/* --- checking the schema ------------------------------------------------ */

/* Runs a statement whose result is one text; the caller frees *text. */
static int one_text(struct sqlite3 *db, const char *sql, char **text,
                    struct err *err)
{
    sqlite3_stmt *q = NULL;
    const char *found;
    int rc;

    *text = NULL;
    if (sqlite3_prepare_v2(db, sql, -1, &q, NULL) == SQLITE_OK &&
        sqlite3_step(q) == SQLITE_ROW) {
        found = (const char *)sqlite3_column_text(q, 0);
        if (found)
            *text = xstrdup(found);
        else if (sqlite3_column_type(q, 0) == SQLITE_NULL) /* no table */
            *text = xstrdup("");
    }
    if (*text) {
        sqlite3_finalize(q);
        return 0;
    }
    rc = sqlite_err(db, NULL, "reading the schema", err);
    sqlite3_finalize(q);
    return rc;
}

/* Makes a database in memory by the migrations. */
static int make_fresh(struct sqlite3 **fresh, struct err *err)
{
    int rc = sqlite3_open(":memory:", fresh);

    if (!*fresh)
        return err_set(err, ERR_NOMEM, "no memory to check the schema");
    for (int i = 0; rc == SQLITE_OK && i < SCHEMA_NEWEST; i++)
        rc = sqlite3_exec(*fresh, schema_migrations[i], NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0
                           : sqlite_err(*fresh, NULL, "making a schema", err);
}

#define OF_MNEME                                                               \
    "SELECT group_concat(quote(name)) FROM sqlite_schema"                      \
    " WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
#define STATEMENTS                                                             \
    "SELECT group_concat(type || ' ' || name || ' ' || sql, char(10)) FROM"    \
    " (SELECT type, name, sql FROM sqlite_schema WHERE tbl_name IN (%s)"       \
    " AND sql IS NOT NULL ORDER BY type, name)"
#define STRANGERS                                                              \
    "SELECT count(*) FROM sqlite_schema WHERE tbl_name NOT IN (%s) AND"        \
    " (type NOT IN ('table', 'index') OR sql LIKE 'CREATE VIRTUAL%%')"

static int compare(struct sqlite3 *db, struct sqlite3 *fresh, struct err *err)
{
    char *tables = NULL, *sql = NULL, *there = NULL, *wanted = NULL;
    char *strangers = NULL;
    int rc = one_text(fresh, OF_MNEME, &tables, err);

    if (rc)
        return rc;
    sql = xasprintf(STATEMENTS, tables);
    rc = one_text(fresh, sql, &wanted, err);
    if (rc == 0)
        rc = one_text(db, sql, &there, err);
    free(sql);
    sql = xasprintf(STRANGERS, tables);
    if (rc == 0)
        rc = one_text(db, sql, &strangers, err);
    if (rc == 0 && (strcmp(there, wanted) || strcmp(strangers, "0")))
        rc = err_set(err, ERR_CORRUPT,
                     "mneme.db: its tables, triggers and views are not those "
                     "that mneme makes");
    free(tables);
    free(sql);
    free(there);
    free(wanted);
    free(strangers);
    return rc;
}

int schema_check(struct sqlite3 *db, struct err *err)
{
    struct sqlite3 *fresh = NULL;
    int rc = make_fresh(&fresh, err);

    if (rc == 0)
        rc = compare(db, fresh, err);
    sqlite3_close(fresh);
    return rc;
}
