/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/sqlite_err.h"

#include <errno.h>
#include <sqlite3.h>

static enum err_code code_of(int sqlite_code)
{
    switch (sqlite_code) {
    case SQLITE_FULL:
        return ERR_FULL;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return ERR_CORRUPT;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ERR_STATE;
    case SQLITE_CONSTRAINT:
        return ERR_INVALID;
    case SQLITE_NOMEM:
        return ERR_NOMEM;
    default:
        return ERR_IO;
    }
}

int sqlite_err(struct sqlite3 *db, const char *path, const char *doing,
               struct err *err)
{
    int sqlite_code = sqlite3_errcode(db) & 0xff;
    enum err_code code = code_of(sqlite_code);
    /* After a failed open, SQLite tries again in other ways, so the system's
     * error is that of the last try. Only "too many files" is reliable. */
    int system = sqlite3_system_errno(db);
    int errnum = sqlite_code == SQLITE_IOERR ||
                         (sqlite_code == SQLITE_CANTOPEN &&
                          (system == EMFILE || system == ENFILE))
                     ? system
                     : 0;
    const char *why = sqlite3_errmsg(db);

    if (!path)
        path = sqlite3_db_filename(db, "main");
    if (!path || !*path)
        path = "a database in memory";
    if (errnum)
        return err_set_errno(err, code, errnum, "%s: %s: %s", path, doing, why);
    if (code == ERR_CORRUPT)
        return err_set(err, code,
                       "%s: damaged: %s: %s; restore a backup (mneme restore)",
                       path, doing, why);
    return err_set(err, code, "%s: %s: %s", path, doing, why);
}
