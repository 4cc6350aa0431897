/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The row of a tag goes with the row of its version (ON DELETE CASCADE). That
 * happens only in a backup, which leaves incomplete versions out: retention
 * keeps tagged versions.
 */
#include "config.h"

#include "store/tags.h"

#include <stdlib.h>
#include <string.h>

#include "base/timing.h"
#include "store/catalog_private.h"
#include "store/store_private.h"

#define DIGITS "0123456789"
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

bool tags_is_name(const char *name)
{
    size_t n = strlen(name);

    return n >= 1 && n <= TAGS_NAME_BYTES && strchr(LETTERS DIGITS, name[0]) &&
           strspn(name, LETTERS DIGITS "._-") == n &&
           strspn(name, DIGITS) != n && strcmp(name, "latest") != 0 &&
           strcmp(name, "previous") != 0;
}

/* --- writing ------------------------------------------------------------ */

static int read_version(struct store *s, const char *name, int64_t *version,
                        struct err *err)
{
    return db_number(s->db, err, version,
                     "SELECT coalesce((SELECT version FROM tags WHERE"
                     " name = ?1), 0)",
                     "t", name);
}

static int log_tag(struct store *s, const char *kind, int64_t version,
                   const char *name, struct err *err)
{
    return db_run(s->db, err,
                  "INSERT INTO control_log (time_ms, kind, version, reason)"
                  " VALUES (?1, ?2, ?3, ?4)",
                  "itit", timing_wall_ms(), kind, version, name);
}

static int put(struct store *s, const char *name, int64_t version,
               int64_t *previous, struct err *err)
{
    int64_t known = 0;
    int rc = db_number(s->db, err, &known,
                       "SELECT count(*) FROM versions WHERE version = ?1", "i",
                       version);

    if (rc == 0 && !known)
        rc = catalog_no_version(version, err);
    if (rc == 0)
        rc = read_version(s, name, previous, err);
    if (rc || *previous == version)
        return rc;
    rc = db_run(s->db, err, "INSERT OR REPLACE INTO tags VALUES (?1, ?2)", "ti",
                name, version);
    return rc ? rc : log_tag(s, "tag", version, name, err);
}

int tags_put(struct store *s, const char *name, int64_t version,
             int64_t *previous, struct err *err)
{
    int rc;

    if (!tags_is_name(name))
        return err_set(err, ERR_INVALID, "%.80s: " TAGS_RULE, name);
    rc = db_begin(s->db, err);
    return rc ? rc : db_end(s->db, put(s, name, version, previous, err), err);
}

static int no_tag(const char *name, struct err *err)
{
    return err_set(err, ERR_NOTFOUND, "no version has the tag %.80s", name);
}

static int remove_tag(struct store *s, const char *name, int64_t *version,
                      struct err *err)
{
    int rc = read_version(s, name, version, err);

    if (rc == 0 && !*version)
        rc = no_tag(name, err);
    if (rc == 0)
        rc = db_run(s->db, err, "DELETE FROM tags WHERE name = ?1", "t", name);
    return rc ? rc : log_tag(s, "untag", *version, name, err);
}

int tags_remove(struct store *s, const char *name, int64_t *version,
                struct err *err)
{
    int rc = db_begin(s->db, err);

    return rc ? rc : db_end(s->db, remove_tag(s, name, version, err), err);
}

/* --- reading ------------------------------------------------------------ */

/* A store may come from anybody. */
static int check_name(const char *name, struct err *err)
{
    if (tags_is_name(name))
        return 0;
    return err_set(err, ERR_CORRUPT, "mneme.db: %.80s is not a tag's name",
                   name);
}

static int read_tag(sqlite3_stmt *q, void *row, struct err *err)
{
    struct tags_tag *t = row;
    struct db_cells c = {q, err, 0};

    t->name = db_cell_text(&c, 0);
    t->version = db_cell(&c, 1, 1, DB_MOST);
    return c.rc ? c.rc : check_name(t->name, err);
}

static void release_tag(void *row)
{
    free(((struct tags_tag *)row)->name);
}

static const struct catalog_row_type tag_rows = {sizeof(struct tags_tag),
                                                 read_tag, release_tag};

int tags_list(struct catalog *c, struct tags_tag **tags, size_t *n,
              struct err *err)
{
    return catalog_rows_list(c, &tag_rows, tags, n, err,
                             "SELECT name, version FROM tags ORDER BY name",
                             "");
}

void tags_free(struct tags_tag *tags, size_t n)
{
    catalog_rows_free(&tag_rows, tags, n);
}

int tags_find(struct catalog *c, const char *name, int64_t *version,
              struct err *err)
{
    struct tags_tag *found;
    size_t n;
    int rc = catalog_rows_list(c, &tag_rows, &found, &n, err,
                               "SELECT name, version FROM tags WHERE name = ?1",
                               "t", name);

    if (rc == 0 && n == 0)
        rc = no_tag(name, err);
    if (rc == 0)
        *version = found->version;
    tags_free(found, n);
    return rc;
}

/* --- finding a version --------------------------------------------------- */

static bool parse_number(const char *s, int64_t *number)
{
    int64_t n = 0;

    for (const char *p = s; *p; p++) {
        if (*p < '0' || *p > '9' || n > INT64_MAX / 10 - 1)
            return false;
        n = 10 * n + (*p - '0');
    }
    *number = n;
    return *s != '\0';
}

static int find_previous(struct catalog *c, int64_t *number, struct err *err)
{
    struct catalog_history *rows = NULL;
    size_t n = 0;
    int rc = catalog_history(c, 1, &rows, &n, err);

    *number = n ? rows[0].previous : 0;
    catalog_history_free(rows, n);
    return rc;
}

static int find_pointer(struct catalog *c, bool head, int64_t *number,
                        struct err *err)
{
    struct catalog_pointers pointers;
    int rc = catalog_pointers(c, &pointers, err);

    if (rc == 0)
        *number = head ? pointers.head : pointers.serving;
    return rc;
}

/* A tag may be called `serving`: then it is the tag. */
static int find_tag(struct catalog *c, const char *name, int64_t *number,
                    struct err *err)
{
    struct err missing = ERR_INIT;
    int rc = tags_find(c, name, number, &missing);

    if (rc == ERR_NOTFOUND && strcmp(name, "serving") == 0)
        return find_pointer(c, false, number, err);
    if (rc && err)
        *err = missing;
    return rc;
}

int tags_resolve(struct catalog *c, const char *name, int64_t *number,
                 bool *moves, struct err *err)
{
    int rc;

    *moves = true;
    if (!name || !*name)
        rc = find_pointer(c, false, number, err);
    else if (strcmp(name, "latest") == 0)
        rc = find_pointer(c, true, number, err);
    else if (strcmp(name, "previous") == 0)
        rc = find_previous(c, number, err);
    else if (parse_number(name, number)) {
        *moves = false;
        return *number ? 0
                       : err_set(err, ERR_NOTFOUND, "there is no version 0");
    } else if (!tags_is_name(name))
        return err_set(err, ERR_INVALID,
                       "version: neither a number, nor latest, nor previous, "
                       "nor a tag");
    else
        rc = find_tag(c, name, number, err);
    if (rc == 0 && *number == 0)
        rc = err_set(err, ERR_STATE, "%s: no such version yet: %s",
                     catalog_dir(c), name && *name ? name : "none serves");
    return rc;
}

/* --- moves --------------------------------------------------------------- */

static int read_move(sqlite3_stmt *q, void *row, struct err *err)
{
    struct tags_move *m = row;
    struct db_cells c = {q, err, 0};

    m->time_ms = db_cell(&c, 0, -DB_MOST, DB_MOST);
    m->name = db_cell_text(&c, 1);
    m->version = db_cell(&c, 2, 0, DB_MOST);
    return c.rc ? c.rc : check_name(m->name, err);
}

static void release_move(void *row)
{
    free(((struct tags_move *)row)->name);
}

static const struct catalog_row_type move_rows = {sizeof(struct tags_move),
                                                  read_move, release_move};

int tags_moves(struct catalog *c, size_t limit, struct tags_move **moves,
               size_t *n, struct err *err)
{
    return catalog_rows_list(
        c, &move_rows, moves, n, err,
        "SELECT time_ms, reason, iif(kind = 'tag', version, 0)"
        " FROM control_log WHERE kind IN ('tag', 'untag')"
        " ORDER BY id DESC LIMIT ?1",
        "i", catalog_limit(limit));
}

void tags_moves_free(struct tags_move *moves, size_t n)
{
    catalog_rows_free(&move_rows, moves, n);
}
