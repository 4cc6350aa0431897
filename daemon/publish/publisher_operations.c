/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Carries out users' operations that do not need the trainer (control.h), and
 * the store's part of every rollback. The next serving version is loaded before
 * the store is changed, so that a damaged version never serves.
 */
#include "config.h"

#include "daemon/publish/publisher_private.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "daemon/stream/released_records.h"
#include "store/tags.h"

int publisher_write_rollback(struct publisher *p,
                             const struct store_rollback *rollback,
                             const struct store_offset *known, size_t n_known,
                             struct err *err)
{
    struct store_rollback rows = *rollback;
    struct verdict_memory memory;
    struct infer *infer = NULL;
    struct status *s;
    char *guard;
    int rc = 0;

    if (!rows.keep_serving)
        rc = serving_load(p->options.serving, rows.to, &infer, err);
    if (rc == 0)
        rc = store_add_partitions(p->options.store, known, n_known, err);
    if (rc == 0) {
        verdict_memory_reset(&memory);
        rows.guard = guard = verdict_memory_write(&memory);
        rows.in_transaction = replay_db_rollback;
        rc = store_rollback(p->options.store, &rows, err);
        free(guard);
    }
    if (rc) {
        infer_free(infer);
        return rc;
    }
    if (infer)
        publisher_switch(p, rows.to, infer);
    publisher_show(p, NULL);
    s = status_lock(p->options.board);
    s->publish.rollbacks++;
    s->publish.automatic += rows.automatic;
    snprintf(s->publish.last_rollback, sizeof s->publish.last_rollback, "%s",
             rows.reason ? rows.reason : "");
    status_unlock(p->options.board);
    return 0;
}

/* --- the choice of the serving version ---------------------------------- */

static int switch_to(struct publisher *p, int64_t version, bool pinned,
                     const char *reason, struct err *err)
{
    struct infer *infer = NULL;
    int rc = serving_load(p->options.serving, version, &infer, err);

    if (rc == 0)
        rc = store_serve(p->options.store, version, pinned, reason, err);
    if (rc) {
        infer_free(infer);
        return rc;
    }
    publisher_switch(p, version, infer);
    p->choices++;
    p->options.wake_trainer(p->options.arg);
    publisher_show(p, NULL);
    return 0;
}

void publisher_undo_choice(struct publisher *p, int64_t operation)
{
    int64_t choice = control_choice(p->options.control, operation);
    struct catalog_pointers pointers;
    struct err err = ERR_INIT;
    int rc = 0;

    if (!choice || serving_choose(p->options.serving, choice, &err) != 0) {
        rc = catalog_pointers(p->options.catalog, &pointers, &err);
        if (rc == 0 && pointers.serving)
            rc = serving_choose(p->options.serving, pointers.serving, &err);
    }
    if (rc)
        log_error("serving", "error=\"%s\"", err.msg);
    publisher_show(p, NULL);
}

/* --- operations --------------------------------------------------------- */

/* The newest version that passed, for `promote latest`. */
static int newest_passed(struct publisher *p, int64_t *version,
                         struct err *err)
{
    struct catalog_version *versions = NULL;
    size_t n = 0;
    int rc = catalog_list(p->options.catalog, 0, 0, &versions, &n, err);

    *version = 0;
    for (size_t i = 0; i < n && *version == 0; i++)
        if (versions[i].state == STORE_PASSED)
            *version = versions[i].version;
    catalog_versions_free(versions, n);
    if (rc == 0 && *version == 0)
        rc = err_set(err, ERR_STATE, "no version has passed the gate yet");
    return rc;
}

static int carry_out_tag(struct publisher *p,
                         const struct control_operation *op, char *detail,
                         size_t size, struct err *err)
{
    struct store *store = p->options.store;
    int64_t before = 0;
    int rc;

    if (op->kind == CONTROL_UNTAG) {
        rc = tags_remove(store, op->reason, &before, err);
        snprintf(detail, size, "tag %s removed from version %lld", op->reason,
                 (long long)before);
        return rc;
    }
    rc = tags_put(store, op->reason, op->version, &before, err);
    if (before && before != op->version)
        snprintf(detail, size, "tag %s moved from version %lld to version %lld",
                 op->reason, (long long)before, (long long)op->version);
    else
        snprintf(detail, size, "version %lld has the tag %s",
                 (long long)op->version, op->reason);
    return rc;
}

static int carry_out(struct publisher *p, const struct control_operation *op,
                     char *detail, size_t size, struct err *err)
{
    const char *reason = op->reason[0] ? op->reason
                                       : control_kind_name(op->kind);
    int64_t version = op->version, n_labels;
    int rc;

    switch (op->kind) {
    case CONTROL_PIN:
    case CONTROL_UNPIN:
        rc = store_pin(p->options.store, version, op->kind == CONTROL_PIN,
                       err);
        snprintf(detail, size, "version %lld %s", (long long)version,
                 op->kind == CONTROL_PIN ? "pinned" : "unpinned");
        return rc;
    case CONTROL_TAG:
    case CONTROL_UNTAG:
        return carry_out_tag(p, op, detail, size, err);
    case CONTROL_PROMOTE_LATEST:
        rc = newest_passed(p, &version, err);
        if (rc == 0)
            rc = switch_to(p, version, false, reason, err);
        snprintf(detail, size, "serving version %lld, then each that passes",
                 (long long)version);
        return rc;
    case CONTROL_PROMOTE:
    case CONTROL_ROLLBACK_KEEP:
        rc = switch_to(p, version, true, reason, err);
        snprintf(detail, size,
                 "serving version %lld until `promote latest`",
                 (long long)version);
        return rc;
    case CONTROL_RELEASE_RANGE:
        snprintf(detail, size,
                 "range %lld is learned when it is read again: use `mneme "
                 "rollback N` with a version N from before the range",
                 (long long)version);
        return store_release(p->options.store, version, reason, err);
    case CONTROL_RELEASE:
        n_labels = status_lock(p->options.board)->labels;
        status_unlock(p->options.board);
        rc = released_records_write(p->options.store, p->options.catalog,
                                    p->options.conf, version, op->reason,
                                    n_labels, detail, size, err);
        if (rc == 0)
            p->released = true;
        p->options.wake_trainer(p->options.arg);
        return rc;
    default:
        BUG("operation %d is not the publisher's", (int)op->kind);
    }
}

void publisher_run_operations(struct publisher *p)
{
    struct control_operation op;

    while (control_take(p->options.control, false, &op)) {
        struct err err = ERR_INIT;
        char detail[sizeof op.detail] = "";
        int rc = carry_out(p, &op, detail, sizeof detail, &err);

        if (rc)
            log_warn("operation", "kind=%s version=%lld error=\"%s\"",
                     control_kind_name(op.kind), (long long)op.version,
                     err.msg);
        if (rc && control_chooses(op.kind))
            publisher_undo_choice(p, op.id);
        if (rc == 0)
            log_info("operation", "kind=%s version=%lld result=\"%s\"",
                     control_kind_name(op.kind), (long long)op.version,
                     detail);
        control_finish(p->options.control, op.id, rc ? &err : NULL, detail);
    }
}
