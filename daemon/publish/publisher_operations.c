/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations from users that are not the trainer's (control.h), and the rows of
 * any rollback. What is to serve is loaded first, so that a damaged version
 * never comes to serve.
 */
#include "config.h"

#include "daemon/publish/publisher_private.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "daemon/stream/release.h"

/* Loads first, so that a damaged version never becomes the serving one. */
static int switch_to(struct publisher *p, int64_t version, bool pinned,
                     const char *reason, struct err *err)
{
    struct infer *infer = NULL;
    int rc = serving_load(p->options.serving, version, &infer, err);

    if (rc)
        return rc;
    rc = store_serve(p->options.store, version, pinned, reason, err);
    if (rc) {
        infer_free(infer);
        return rc;
    }
    serving_switch(p->options.serving, version, infer);
    publisher_keep_choice(p, 0);
    pthread_mutex_lock(&p->mutex);
    p->choices++;
    pthread_mutex_unlock(&p->mutex);
    p->options.wake_trainer(p->options.arg);
    publisher_show(p, NULL);
    return 0;
}

void publisher_keep_choice(struct publisher *p, int64_t but)
{
    int64_t choice = control_choice(p->options.control, but);
    struct err err = ERR_INIT;

    if (choice && serving_choose(p->options.serving, choice, &err) != 0)
        log_debug("serving", "%s", err.msg); /* its operation will say so */
}

static void serve_as_stored(struct publisher *p, int64_t operation)
{
    struct catalog_pointers pointers;
    struct err err = ERR_INIT;
    int rc = catalog_pointers(p->options.catalog, &pointers, &err);

    if (rc == 0 && pointers.serving)
        rc = serving_choose(p->options.serving, pointers.serving, &err);
    if (rc)
        log_error("serving", "error=\"%s\"", err.msg);
    publisher_keep_choice(p, operation);
    publisher_show(p, NULL);
}

struct failed_choice {
    struct publisher *p;
    int64_t operation;
};

static int run_serve_as_stored(struct store *s, void *arg, struct err *err)
{
    const struct failed_choice *f = arg;

    (void)s;
    (void)err;
    serve_as_stored(f->p, f->operation);
    return 0;
}

void publisher_serve_as_stored(struct publisher *p, int64_t operation)
{
    struct failed_choice f = {p, operation};

    publisher_run(p, run_serve_as_stored, &f, NULL);
}

static int write_rollback(struct publisher *p,
                          const struct rollback_request *r)
{
    struct store_rollback rows = r->rows;
    struct verdict_memory memory;
    char *guard;
    int rc = store_know_partitions(p->options.store, r->known, r->n_known,
                                   r->err);

    if (rc)
        return rc;
    verdict_memory_reset(&memory);
    rows.guard = guard = verdict_memory_write(&memory);
    rc = store_rollback(p->options.store, &rows, r->err);
    free(guard);
    return rc;
}

int publisher_write_rollback(struct publisher *p,
                             const struct rollback_request *r)
{
    bool serve = !r->rows.keep_serving;
    struct infer *infer = NULL;
    struct status *s;
    int rc = 0;

    if (serve)
        rc = serving_load(p->options.serving, r->rows.to, &infer, r->err);
    if (rc == 0)
        rc = write_rollback(p, r);
    if (rc) {
        infer_free(infer);
        return rc;
    }
    if (serve) {
        serving_switch(p->options.serving, r->rows.to, infer);
        publisher_keep_choice(p, 0);
    }
    pthread_mutex_lock(&p->mutex);
    p->have_wish = false;
    pthread_mutex_unlock(&p->mutex);
    publisher_show(p, NULL);
    s = status_lock(p->options.board);
    s->publish.rollbacks++;
    s->publish.automatic += r->rows.automatic;
    snprintf(s->publish.last_rollback, sizeof s->publish.last_rollback, "%s",
             r->rows.reason ? r->rows.reason : "");
    status_unlock(p->options.board);
    return 0;
}

/* The newest version that passed: what `promote latest` follows. */
static int newest_passed(struct publisher *p, int64_t *version,
                         struct err *err)
{
    struct catalog_version *versions = NULL;
    size_t n = 0;
    int rc = catalog_list(p->options.catalog, 0, 0, &versions, &n, err);

    *version = 0;
    for (size_t i = 0; i < n; i++) {
        if (*version == 0 && versions[i].state == STORE_PASSED)
            *version = versions[i].version;
        catalog_version_release(&versions[i]);
    }
    free(versions);
    if (rc == 0 && *version == 0)
        rc = err_set(err, ERR_STATE, "no version has passed the gate yet");
    return rc;
}

static int release(struct publisher *p, const struct control_operation *op,
                   char *detail, size_t size, struct err *err)
{
    int64_t n_labels = status_lock(p->options.board)->labels;
    int rc;

    status_unlock(p->options.board);
    rc = release_carry_out(p->options.store, p->options.catalog,
                           p->options.conf, op->version, op->reason, n_labels,
                           detail, size, err);
    if (rc == 0) {
        p->released = true;
        p->options.wake_trainer(p->options.arg);
    }
    return rc;
}

static int carry_out(struct publisher *p, const struct control_operation *op,
                     char *detail, size_t size, struct err *err)
{
    const char *reason = op->reason[0] ? op->reason
                                       : control_kind_name(op->kind);
    int64_t version = op->version;
    int rc;

    switch (op->kind) {
    case CONTROL_PIN:
    case CONTROL_UNPIN:
        rc = store_pin(p->options.store, version, op->kind == CONTROL_PIN,
                       err);
        snprintf(detail, size, "version %lld %s", (long long)version,
                 op->kind == CONTROL_PIN ? "pinned" : "unpinned");
        return rc;
    case CONTROL_PROMOTE_LATEST:
        rc = newest_passed(p, &version, err);
        if (rc == 0)
            rc = switch_to(p, version, false, reason, err);
        snprintf(detail, size, "serving version %lld, and following again",
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
                 "range %lld is learned when it is read again: `mneme "
                 "rollback N` to a version before it reads it",
                 (long long)version);
        return store_release(p->options.store, version, reason, err);
    case CONTROL_RELEASE:
        return release(p, op, detail, size, err);
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
            serve_as_stored(p, op.id);
        if (rc == 0)
            log_info("operation", "kind=%s version=%lld result=\"%s\"",
                     control_kind_name(op.kind), (long long)op.version,
                     detail);
        control_finish(p->options.control, op.id, rc ? &err : NULL, detail);
    }
}
