/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes to published versions: verdict, serving version, pin, state,
 * rollback, release of a range. Each function is one transaction; no file
 * changes.
 *
 * Only serve() changes the serving version. It ends the open history row and
 * begins the next one.
 */
#include "config.h"

#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/timing.h"
#include "base/xalloc.h"
#include "store/store_private.h"

/* --- states and logs ---------------------------------------------------- */

#define STATE_MAX 16

/* Reads the name of a version's state; ERR_NOTFOUND. */
static int state_of(struct store *s, int64_t version, char state[STATE_MAX],
                    struct err *err)
{
    const char *name;
    sqlite3_stmt *q;
    int rc = db_prepare(s->db, "SELECT state FROM versions WHERE version = ?1",
                        &q, err);

    if (rc)
        return rc;
    db_bind(q, "i", version);
    rc = db_step(s->db, q, err);
    if (rc == DB_ROW) {
        name = (const char *)sqlite3_column_text(q, 0);
        snprintf(state, STATE_MAX, "%s", name ? name : "");
        rc = 0;
    } else if (rc == 0) {
        rc = err_set(err, ERR_NOTFOUND, "there is no version %lld",
                     (long long)version);
    }
    db_done(q);
    return rc;
}

static bool is_state(const char *name, enum store_state state)
{
    return strcmp(name, store_state_name(state)) == 0;
}

static int refuse_damaged(const char *state, int64_t version, struct err *err)
{
    if (is_state(state, STORE_DAMAGED))
        return err_set(err, ERR_STATE, "version %lld is damaged",
                       (long long)version);
    return 0;
}

static int log_control(struct store *s, const char *kind, int64_t version,
                       const char *reason, struct err *err)
{
    return db_run(s->db, err,
                  "INSERT INTO control_log (time_ms, kind, version, reason)"
                  " VALUES (?1, ?2, ?3, ?4)",
                  "itit", timing_wall_ms(), kind, version, reason);
}

/* Makes a version serve, within the open transaction. */
static int serve(struct store *s, int64_t version, bool pinned,
                 const char *cause, const char *reason, struct err *err)
{
    int64_t previous = 0;
    int64_t now = timing_wall_ms();
    int rc =
        db_number(s->db, err, &previous, "SELECT serving FROM pointers", "");

    if (rc == 0)
        rc = db_run(s->db, err,
                    "UPDATE history SET until_ms = ?1 WHERE until_ms = 0", "i",
                    now);
    if (rc == 0)
        rc = db_run(s->db, err,
                    "INSERT INTO history (from_ms, until_ms, version,"
                    " previous, cause, reason) VALUES (?1, 0, ?2, ?3, ?4, ?5)",
                    "iiitt", now, version, previous, cause,
                    reason ? reason : "");
    if (rc == 0)
        rc = db_run(s->db, err,
                    "UPDATE pointers SET serving = ?1, serving_pinned = ?2",
                    "ii", version, (int64_t)pinned);
    return rc;
}

/* --- the verdict -------------------------------------------------------- */

static int insert_results(struct store *s, int64_t version,
                          const struct store_domain_result *results, size_t n,
                          struct err *err)
{
    int rc =
        db_run(s->db, err, "DELETE FROM version_domains WHERE version = ?1",
               "i", version);

    for (size_t i = 0; i < n && rc == 0; i++)
        rc = db_run(s->db, err,
                    "INSERT INTO version_domains VALUES (?1, ?2, ?3, ?4, ?5)",
                    "itddi", version, results[i].domain,
                    results[i].bits_per_byte, results[i].accuracy,
                    results[i].chunks);
    return rc;
}

static int write_verdict(struct store *s, int64_t version,
                         enum store_state verdict, const char *gate_json,
                         const char *guard, struct err *err)
{
    char state[STATE_MAX];
    int rc = state_of(s, version, state, err);

    if (rc == 0 && !is_state(state, STORE_PENDING))
        rc = err_set(err, ERR_STATE, "version %lld is %s, not pending",
                     (long long)version, state);
    if (rc)
        return rc;
    return db_run(s->db, err,
                  "UPDATE versions SET state = ?2, verdict = ?2, gate = ?3,"
                  " guard = ?4 WHERE version = ?1",
                  "ittt", version, store_state_name(verdict), gate_json,
                  guard);
}

int store_verdict(struct store *s, int64_t version, enum store_state verdict,
                  const char *gate_json, const char *guard,
                  const struct store_domain_result *results, size_t n_results,
                  bool serve_it, const char *reason, struct err *err)
{
    int rc;

    BUG_ON(verdict != STORE_PASSED && verdict != STORE_FAILED &&
           verdict != STORE_INCONCLUSIVE);
    rc = db_begin(s->db, err);
    if (rc)
        return rc;
    rc = write_verdict(s, version, verdict, gate_json, guard, err);
    if (rc == 0)
        rc = insert_results(s, version, results, n_results, err);
    if (rc == 0 && serve_it)
        rc = serve(s, version, false, "published", reason, err);
    return db_end(s->db, rc, err);
}

/* --- serving version, pins, states -------------------------------------- */

static int serve_undamaged(struct store *s, int64_t version, bool pinned,
                           const char *cause, const char *reason,
                           struct err *err)
{
    char state[STATE_MAX];
    int rc = state_of(s, version, state, err);

    if (rc == 0)
        rc = refuse_damaged(state, version, err);
    return rc ? rc : serve(s, version, pinned, cause, reason, err);
}

int store_serve(struct store *s, int64_t version, bool pinned,
                const char *reason, struct err *err)
{
    int rc = db_begin(s->db, err);

    if (rc)
        return rc;
    rc = serve_undamaged(s, version, pinned, "promote", reason, err);
    if (rc == 0)
        rc = log_control(s, "promote", version, reason, err);
    return db_end(s->db, rc, err);
}

int store_serve_instead(struct store *s, int64_t version, const char *reason,
                        struct err *err)
{
    int rc = db_begin(s->db, err);

    if (rc)
        return rc;
    rc = serve_undamaged(s, version, false, "damaged", reason, err);
    return db_end(s->db, rc, err);
}

int store_pin(struct store *s, int64_t version, bool pinned, struct err *err)
{
    char state[STATE_MAX];
    int rc = db_begin(s->db, err);

    if (rc)
        return rc;
    rc = state_of(s, version, state, err);
    if (rc == 0)
        rc = db_run(s->db, err,
                    "UPDATE versions SET pinned = ?2 WHERE version = ?1", "ii",
                    version, (int64_t)pinned);
    if (rc == 0)
        rc = log_control(s, pinned ? "pin" : "unpin", version, NULL, err);
    return db_end(s->db, rc, err);
}

int store_set_state(struct store *s, int64_t version, enum store_state state,
                    const char *reason, struct err *err)
{
    char before[STATE_MAX];
    int rc = db_begin(s->db, err);

    if (rc)
        return rc;
    rc = state_of(s, version, before, err);
    if (rc == 0)
        rc = db_run(s->db, err,
                    "UPDATE versions SET state = ?2, reason = ?3"
                    " WHERE version = ?1",
                    "itt", version, store_state_name(state), reason);
    return db_end(s->db, rc, err);
}

int store_pause(struct store *s, const char *reason, struct err *err)
{
    int rc = db_begin(s->db, err);

    if (rc)
        return rc;
    rc = db_run(s->db, err,
                "INSERT INTO control_log (time_ms, kind, version, reason)"
                " SELECT ?1, 'hold', head, ?2 FROM pointers",
                "it", timing_wall_ms(), reason);
    return db_end(s->db, rc, err);
}

/* --- rolling back ------------------------------------------------------- */

/* A common table expression: a version and its ancestors, by their bases. */
#define BRANCH(name, first)                                                    \
    name " (version) AS (" first                                               \
         " UNION SELECT base FROM versions JOIN " name                         \
         " USING (version) WHERE base > 0)"

static const char undo_sql[] =
    "WITH RECURSIVE " BRANCH("old", "SELECT head FROM pointers") ", "
    BRANCH("new", "SELECT ?1")
    " UPDATE versions SET state = 'rolled_back', reason = NULL"
    " WHERE state <> 'damaged' AND version IN (SELECT version FROM old)"
    " AND version NOT IN (SELECT version FROM new)";

static const char redo_sql[] =
    "WITH RECURSIVE " BRANCH("new", "SELECT ?1")
    " UPDATE versions SET state = coalesce(verdict, 'pending')"
    " WHERE state = 'rolled_back' AND version IN (SELECT version FROM new)";

/* Versions only on the old branch become rolled_back. Versions only on the new
 * branch get their verdicts as states again. */
static int mark_branches(struct store *s, int64_t to, struct err *err)
{
    int rc = db_run(s->db, err, undo_sql, "i", to);

    return rc ? rc : db_run(s->db, err, redo_sql, "i", to);
}

static int log_range(struct store *s, const struct store_rollback *rollback,
                     const struct store_ledger_run *r, struct err *err)
{
    return db_run(s->db, err,
                  "INSERT INTO control_log (time_ms, kind, version,"
                  " partition_id, first_offset, last_offset, reason)"
                  " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                  "itiiiit", timing_wall_ms(),
                  rollback->range_kind ? rollback->range_kind : "skip",
                  rollback->to, (int64_t)r->partition_id, r->first_offset,
                  r->last_offset, rollback->reason);
}

/* The control log keeps every skipped range. The next version's ledger has only
 * those of the rollback just before it. */
static int log_skipped(struct store *s, const struct store_rollback *rollback,
                       struct err *err)
{
    bool to_ledger = strcmp(rollback->mode, "skip") == 0;
    const struct store_ledger_run *logged =
        rollback->logged ? rollback->logged : rollback->skipped;
    size_t n = rollback->logged ? rollback->n_logged : rollback->n_skipped;
    int rc = store_drop_pending_ledger(s, err);

    for (size_t i = 0; i < n && rc == 0; i++)
        rc = log_range(s, rollback, &logged[i], err);
    for (size_t i = 0; to_ledger && i < rollback->n_skipped && rc == 0; i++) {
        const struct store_ledger_run *r = &rollback->skipped[i];

        rc = db_run(s->db, err,
                    "INSERT INTO ledger_pending (step, partition_id,"
                    " first_offset, last_offset, count)"
                    " VALUES (?1, ?2, ?3, ?4, ?5)",
                    "iiiii", r->step, (int64_t)r->partition_id,
                    r->first_offset, r->last_offset, r->count);
    }
    return rc;
}

static int log_rollback(struct store *s, const struct store_rollback *r,
                        struct err *err)
{
    char *text = xasprintf("%s%s: %s", r->automatic ? "automatic " : "",
                           r->mode, r->reason ? r->reason : "");
    int rc = log_control(s, "rollback", r->to, text, err);

    free(text);
    return rc;
}

static int write_rollback(struct store *s, const struct store_rollback *r,
                          struct err *err)
{
    char state[STATE_MAX];
    int64_t newest = 0;
    int rc = state_of(s, r->to, state, err);

    if (rc == 0)
        rc = refuse_damaged(state, r->to, err);
    if (rc == 0)
        rc = mark_branches(s, r->to, err);
    if (rc == 0)
        rc = db_run(s->db, err, "UPDATE pointers SET head = ?1", "i", r->to);
    if (rc == 0 && r->guard)
        rc = db_run(s->db, err,
                    "UPDATE versions SET guard = ?2 WHERE version = ?1", "it",
                    r->to, r->guard);
    if (rc == 0 && !r->keep_serving)
        rc = serve(s, r->to, false,
                   r->automatic ? "auto_rollback" : "rollback", r->reason,
                   err);
    if (rc == 0)
        rc = log_rollback(s, r, err);
    if (rc == 0)
        rc = log_skipped(s, r, err);
    if (rc == 0)
        rc = db_number(s->db, err, &newest, "SELECT newest FROM pointers", "");
    if (rc == 0 && r->in_transaction)
        rc = r->in_transaction(db_handle(s->db), r->to, newest, err);
    return rc;
}

int store_rollback(struct store *s, const struct store_rollback *r,
                   struct err *err)
{
    int rc;

    if (strcmp(r->mode, "rewind") != 0 && strcmp(r->mode, "skip") != 0)
        return err_set(err, ERR_INVALID,
                       "%.40s: not a mode of rollback; the modes are rewind "
                       "and skip",
                       r->mode);
    rc = db_begin(s->db, err);
    if (rc)
        return rc;
    return db_end(s->db, write_rollback(s, r, err), err);
}

/* --- ranges ------------------------------------------------------------- */

static int check_range(struct store *s, int64_t range, struct err *err)
{
    int64_t known = 0, open = 0;
    int rc = db_number(s->db, err, &known,
                       "SELECT count(*) FROM control_log WHERE id = ?1 AND"
                       " first_offset IS NOT NULL AND kind <> 'release'",
                       "i", range);

    if (rc == 0 && !known)
        return err_set(err, ERR_NOTFOUND, "there is no skipped range %lld",
                       (long long)range);
    if (rc == 0)
        rc = db_number(s->db, err, &open,
                       "SELECT count(*) FROM control_log AS c WHERE id = ?1"
                       " AND kind <> 'skip_for_good' AND NOT EXISTS (SELECT 1"
                       " FROM control_log WHERE kind = 'release' AND"
                       " version = c.id)",
                       "i", range);
    if (rc == 0 && !open)
        return err_set(err, ERR_STATE,
                       "range %lld is skipped for good, or has been released",
                       (long long)range);
    return rc;
}

/* The row of a release has the id of the range in its column `version`. */
static int write_release(struct store *s, int64_t range, const char *reason,
                         struct err *err)
{
    int rc = check_range(s, range, err);

    return rc ? rc
              : db_run(s->db, err,
                       "INSERT INTO control_log (time_ms, kind, version,"
                       " partition_id, first_offset, last_offset, reason)"
                       " SELECT ?1, 'release', id, partition_id,"
                       " first_offset, last_offset, ?3 FROM control_log"
                       " WHERE id = ?2",
                       "iit", timing_wall_ms(), range, reason);
}

int store_release(struct store *s, int64_t range, const char *reason,
                  struct err *err)
{
    int rc = db_begin(s->db, err);

    return rc ? rc : db_end(s->db, write_release(s, range, reason, err), err);
}
