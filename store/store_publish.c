/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Publishes a version. store_publish takes these steps:
 *
 *   version_files_write   writes and syncs versions/.new-N
 *   publish_rename        renames it to versions/N and syncs versions/
 *   commit_rows           writes the rows and commits: the version exists
 *
 * Invariants:
 *  1. When a row is committed, its files are durable under their final name.
 *  2. A directory of this store without a row is no version. store_open moves
 *     it aside, and a publish that fails before its commit removes it.
 *  3. After a commit that failed on a full disk, the directory stays until the
 *     log is emptied or the next start reads the log. After any other failed
 *     commit, the directory stays and the store has failed: the row may be on
 *     the disk although its sync failed, and then the next start finds it.
 *  4. The number of a version is above `newest` in the table of pointers. The
 *     same transaction raises `newest`.
 */
#include "config.h"

#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "store/store_private.h"
#include "store/version_files.h"

/* Limits of the quarantine; the oldest rows are deleted first. */
#define QUARANTINE_ROWS 10000
#define QUARANTINE_BYTES (64 << 20)

/* --- the rows of a version ---------------------------------------------- */

static int insert_version(struct store *s, const struct store_publication *p,
                          int64_t version, const struct version_files *files,
                          struct err *err)
{
    char sha256[SHA256_HEX];
    int64_t bytes = 0;
    int rc;

    version_files_weights_sha256(files, sha256);
    for (size_t i = 0; i < files->n; i++)
        bytes += (int64_t)files->items[i].bytes;
    rc = db_run(s->db, err,
                "INSERT INTO versions (version, parent, base, created_ms,"
                " step, tokens_seen, weights_sha256, state, metadata, bytes)"
                " VALUES (?1, ?2, ?2, ?3, ?4, ?5, ?6, 'pending', ?7, ?8)",
                "iiiiitti", version, p->parent, p->created_ms, p->step,
                p->tokens_seen, sha256, p->metadata_json, bytes);
    for (size_t i = 0; i < files->n && rc == 0; i++)
        rc = db_run(s->db, err,
                    "INSERT INTO version_files VALUES (?1, ?2, ?3, ?4)", "itit",
                    version, files->items[i].name,
                    (int64_t)files->items[i].bytes, files->items[i].sha256);
    return rc;
}

static int add_partition(struct store *s, const struct store_offset *o,
                         struct err *err)
{
    int64_t same = 0;
    int rc = db_run(s->db, err,
                    "INSERT INTO partitions VALUES (?1, ?2, ?3)"
                    " ON CONFLICT DO NOTHING",
                    "iti", (int64_t)o->partition_id, o->topic,
                    (int64_t)o->partition);

    if (rc == 0)
        rc = db_number(s->db, err, &same,
                       "SELECT count(*) FROM partitions WHERE id = ?1 AND"
                       " topic = ?2 AND partition = ?3",
                       "iti", (int64_t)o->partition_id, o->topic,
                       (int64_t)o->partition);
    if (rc == 0 && !same)
        rc = err_set(err, ERR_INVALID,
                     "%s/mneme.db: partition %d of %s has another id than %d",
                     s->dir, (int)o->partition, o->topic, (int)o->partition_id);
    return rc;
}

int store_add_partitions(struct store *s, const struct store_offset *offsets,
                         size_t n, struct err *err)
{
    int rc = db_begin(s->db, err);

    if (rc)
        return rc;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = add_partition(s, &offsets[i], err);
    return db_end(s->db, rc, err);
}

static int insert_offsets(struct store *s, const struct store_publication *p,
                          int64_t version, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; i < p->n_offsets && rc == 0; i++) {
        const struct store_offset *o = &p->offsets[i];

        rc = add_partition(s, o, err);
        if (rc == 0)
            rc = db_run(s->db, err,
                        "INSERT INTO offsets VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                        "iiiiii", version, (int64_t)o->partition_id,
                        o->next_offset, o->tokens_done, o->last_learned,
                        (int64_t)o->last_hash);
    }
    return rc;
}

/* Moves the runs that the last rollback skipped to the beginning of the ledger,
 * since they were decided first. */
static int move_pending_ledger(struct store *s, int64_t version, int64_t *n,
                               struct err *err)
{
    int rc = db_run(s->db, err,
                    "INSERT INTO ledger SELECT ?1, row_number() OVER"
                    " (ORDER BY seq) - 1, step, partition_id, first_offset,"
                    " last_offset, count, 's' FROM ledger_pending",
                    "i", version);

    *n = rc ? 0 : db_changes(s->db);
    return rc ? rc : store_drop_pending_ledger(s, err);
}

static int insert_ledger(struct store *s, const struct store_publication *p,
                         int64_t version, struct err *err)
{
    int64_t seq = 0;
    int rc = move_pending_ledger(s, version, &seq, err);

    for (size_t i = 0; i < p->n_ledger && rc == 0; i++) {
        const struct store_ledger_run *r = &p->ledger[i];
        const char kind[2] = {r->kind, '\0'};

        rc = db_run(s->db, err,
                    "INSERT INTO ledger VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7,"
                    " ?8)",
                    "iiiiiiit", version, seq++, r->step,
                    (int64_t)r->partition_id, r->first_offset, r->last_offset,
                    r->count, kind);
    }
    return rc;
}

static int trim_quarantine(struct store *s, struct err *err)
{
    int rc = db_run(s->db, err,
                    "DELETE FROM quarantine WHERE id <= (SELECT id FROM"
                    " quarantine ORDER BY id DESC LIMIT 1 OFFSET ?1)",
                    "i", (int64_t)QUARANTINE_ROWS);

    if (rc)
        return rc;
    return db_run(s->db, err,
                  "DELETE FROM quarantine WHERE id <= (SELECT max(id) FROM"
                  " (SELECT id, sum(length(bytes)) OVER (ORDER BY id DESC)"
                  " AS total FROM quarantine) WHERE total > ?1)",
                  "i", (int64_t)QUARANTINE_BYTES);
}

/* A record that is read again after a rollback updates its row. */
static int insert_quarantine(struct store *s, const struct store_publication *p,
                             int64_t version, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; i < p->n_quarantine && rc == 0; i++) {
        const struct store_quarantine_row *q = &p->quarantine[i];

        rc = db_run(s->db, err,
                    "INSERT INTO quarantine (version, partition_id,"
                    " record_offset, time_ms, reason, bytes, record_id, whole,"
                    " domain) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
                    " ON CONFLICT (partition_id, record_offset) DO UPDATE SET"
                    " version = excluded.version, time_ms = excluded.time_ms,"
                    " reason = excluded.reason, bytes = excluded.bytes,"
                    " record_id = excluded.record_id, whole = excluded.whole,"
                    " domain = excluded.domain",
                    "iiiitbtit", version, (int64_t)q->partition_id, q->offset,
                    q->time_ms, q->reason, q->n_bytes ? q->bytes : "",
                    q->n_bytes, q->id, (int64_t)!q->cut, q->domain);
    }
    return rc || !p->n_quarantine ? rc : trim_quarantine(s, err);
}

static int write_rows(struct store *s, const struct store_publication *p,
                      int64_t version, const struct version_files *files,
                      struct err *err)
{
    int rc = insert_version(s, p, version, files, err);

    if (rc == 0)
        rc = insert_offsets(s, p, version, err);
    if (rc == 0)
        rc = insert_ledger(s, p, version, err);
    if (rc == 0)
        rc = insert_quarantine(s, p, version, err);
    if (rc == 0 && p->in_transaction)
        rc = p->in_transaction(db_handle(s->db), version, p->arg, err);
    if (rc == 0)
        rc = db_run(s->db, err, "UPDATE pointers SET head = ?1, newest = ?1",
                    "i", version);
    return rc;
}

/* --- publishing --------------------------------------------------------- */

/* A number whose directory exists is not used. */
static bool is_used(struct store *s, int64_t version)
{
    char *path = version_files_path(s->dir, version);
    bool used = fileio_exists(path);

    free(path);
    return used;
}

static int next_number(struct store *s, int64_t *version, struct err *err)
{
    int rc = db_number(s->db, err, version, "SELECT newest FROM pointers", "");

    if (rc == ERR_NOTFOUND)
        return err_set(err, ERR_CORRUPT,
                       "%s/mneme.db: the row of pointers is missing", s->dir);
    do
        ++*version;
    while (rc == 0 && is_used(s, *version));
    return rc;
}

/* Reads the row of the parent's anchor file. *found is false when the parent
 * has no anchor. */
static int find_anchor(struct store *s, int64_t parent,
                       struct version_file *anchor, bool *found,
                       struct err *err)
{
    sqlite3_stmt *q;
    int rc = db_prepare(s->db,
                        "SELECT bytes, sha256 FROM version_files"
                        " WHERE version = ?1 AND name = ?2",
                        &q, err);

    *found = false;
    if (rc)
        return rc;
    db_bind(q, "it", parent, VERSION_FILES_ANCHOR);
    rc = db_step(s->db, q, err);
    if (rc == DB_ROW) {
        const char *sha256 = (const char *)sqlite3_column_text(q, 1);
        struct db_cells c = {q, err, 0};

        anchor->bytes = (uint64_t)db_cell(&c, 0, 0, DB_MOST);
        snprintf(anchor->sha256, sizeof anchor->sha256, "%s",
                 sha256 ? sha256 : "");
        *found = true;
        rc = c.rc;
    }
    db_done(q);
    return rc;
}

static int check_parent(struct store *s, int64_t parent, struct err *err)
{
    int64_t there = 0;
    int rc;

    if (parent == 0)
        return 0;
    rc = db_number(s->db, err, &there,
                   "SELECT count(*) FROM versions WHERE version = ?1", "i",
                   parent);
    if (rc == 0 && !there)
        rc = err_set(err, ERR_NOTFOUND,
                     "there is no version %lld to continue from",
                     (long long)parent);
    return rc;
}

static int publish_rename(struct store *s, int64_t version, struct err *err)
{
    char *top = version_files_top(s->dir);
    char *from = version_files_new(s->dir, version);
    char *to = version_files_path(s->dir, version);
    int rc = fileio_rename(from, to, err);

    if (rc == 0)
        rc = fileio_sync_dir(top, err);
    free(to);
    free(from);
    free(top);
    return rc;
}

static void remove_unfinished(struct store *s, int64_t version)
{
    char *path = version_files_new(s->dir, version);

    fileio_remove_dir(path, NULL);
    free(path);
}

/* Removes the files of a failed publish. The next start moves aside what cannot
 * be removed. When another directory has replaced the data directory, nothing
 * is removed there. */
static void remove_files(struct store *s, int64_t version)
{
    char *path;

    if (store_check(s, NULL) != 0)
        return;
    path = version_files_path(s->dir, version);
    remove_unfinished(s, version);
    fileio_remove_dir(path, NULL);
    free(path);
}

/* Removes the directory only as invariant 3 allows. */
static void after_failed_commit(struct store *s, int64_t version)
{
    if (db_check_writer(s->db, NULL) != 0)
        return;
    if (db_checkpoint(s->db, NULL) == 0) {
        remove_files(s, version);
        return;
    }
    s->unswept = true;
}

static int commit_rows(struct store *s, const struct store_publication *p,
                       int64_t version, const struct version_files *files,
                       struct err *err)
{
    int rc = db_begin(s->db, err);

    if (rc == 0) {
        rc = write_rows(s, p, version, files, err);
        if (rc)
            rc = db_end(s->db, rc, err);
    }
    if (rc) {
        remove_files(s, version);
        return rc;
    }
    rc = db_end(s->db, 0, err);
    if (rc)
        after_failed_commit(s, version);
    return rc;
}

static int publish(struct store *s, const struct store_publication *p,
                   int64_t *version, struct err *err)
{
    struct version_file anchor = {0};
    struct version_files files = {0};
    bool has_anchor = false;
    int64_t number = 0;
    int rc;

    BUG_ON(!p->state || (p->shape && (!p->weights || !p->tokenizer_json)));
    rc = store_check(s, err);
    if (rc == 0)
        rc = check_parent(s, p->parent, err);
    if (rc == 0)
        rc = find_anchor(s, p->parent, &anchor, &has_anchor, err);
    if (rc == 0)
        rc = next_number(s, &number, err);
    if (rc)
        return rc;
    remove_unfinished(s, number);
    rc = version_files_write(s->dir, s->id, number, p,
                             has_anchor ? &anchor : NULL, &files, err);
    if (rc == 0)
        rc = publish_rename(s, number, err);
    if (rc) {
        remove_files(s, number);
        return rc;
    }
    rc = commit_rows(s, p, number, &files, err);
    if (rc)
        return rc;
    *version = number;
    /* This commit has overwritten the failed commits in the log. */
    if (s->unswept)
        s->unswept = store_sweep(s, NULL) != 0;
    return 0;
}

int store_publish(struct store *s, const struct store_publication *p,
                  int64_t *version, struct err *err)
{
    struct err why = ERR_INIT;
    int rc = publish(s, p, version, &why);

    if (rc == ERR_IO)
        db_fail(s->db, &why);
    if (rc == 0 || rc == ERR_FULL)
        store_remove_swept(s, NULL);
    if (rc && err)
        *err = why;
    return rc;
}
