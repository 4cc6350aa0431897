/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verdict about the head version. The candidate is loaded with the code
 * that answers requests, and compared with the probe of the live weights
 * (probe.h). Then the gate compares it with the reference version (verdict.h).
 * One transaction writes the verdict, the switch of serving and the guard's
 * state.
 *
 * Only the trainer can carry out a rollback that the guard requests. The
 * request is stored with the head version's verdict. So after a restart the
 * new process finds it.
 */
#include "config.h"

#include "daemon/publish/publisher_private.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "daemon/publish/verdict_memory.h"

void publisher_switch(struct publisher *p, int64_t version,
                      struct infer *infer)
{
    int64_t choice = control_choice(p->options.control, 0);
    struct err err = ERR_INIT;

    serving_switch(p->options.serving, version, infer);
    if (choice && serving_choose(p->options.serving, choice, &err) != 0)
        log_debug("serving", "%s", err.msg); /* its operation will fail, too */
}

/* Loads the candidate. When its numbers are not finite or differ from the live
 * weights, in->candidate stays NULL, and `damage` gets the reason. */
static int read_back(struct publisher *p, struct verdict_input *in,
                     struct infer **candidate, char *damage, size_t size,
                     struct err *err)
{
    /* A version of an earlier process has no probe. */
    const struct probe *probe =
        p->probed_version == in->version ? &p->probe : NULL;
    int rc;

    in->damage = damage;
    if (probe && !probe->finite) {
        in->not_finite = true;
        snprintf(damage, size, "not finite: %.220s", probe->problem);
        return 0;
    }
    rc = serving_load(p->options.serving, in->version, candidate, err);
    if (rc == 0 && probe)
        rc = probe_compare(probe, *candidate, err);
    if (rc == 0)
        in->candidate = *candidate;
    if (rc != ERR_CORRUPT && rc != ERR_DIVERGED)
        return rc;
    in->not_finite = rc == ERR_DIVERGED;
    snprintf(damage, size, "cannot be read back: %.220s", err->msg);
    *err = (struct err)ERR_INIT;
    return 0;
}

static int give_verdict(struct publisher *p,
                        const struct catalog_pointers *pointers,
                        struct guard_request *request, struct err *err)
{
    struct verdict_input in = {
        .conf = p->options.conf,
        .catalog = p->options.catalog,
        .scoring = p->scoring,
        .version = pointers->head,
        /* After a start at which every version was damaged, none serves. */
        .serving =
            serving_version(p->options.serving) ? pointers->serving : 0,
        .serving_pinned = pointers->serving_pinned,
    };
    struct verdict v = {0};
    struct infer *candidate = NULL;
    char *gate = NULL, *guard = NULL, damage[300];
    int rc = read_back(p, &in, &candidate, damage, sizeof damage, err);

    if (rc == 0)
        rc = verdict_decide(&in, &v, err);
    if (rc)
        goto out;
    if (in.candidate && !v.same_as && v.cause != GUARD_NOT_FINITE &&
        p->probed_version == in.version)
        json_object_set_new(v.gate, "read_back",
                            json_pack("{s:b, s:i, s:b}", "finite", 1,
                                      "probe_texts", PROBE_TEXTS, "same", 1));
    publisher_note_best(p->options.catalog, in.version, &v);
    gate = json_dumps(v.gate, JSON_COMPACT | JSON_REAL_PRECISION(17));
    guard = verdict_memory_write(&v.memory);
    rc = store_verdict(p->options.store, in.version, v.state, gate, guard,
                       v.results, v.n_results, v.serve, v.reason, err);
    if (rc)
        goto out;
    if (v.serve) {
        publisher_switch(p, in.version, candidate);
        candidate = NULL;
    }
    log_info("gate",
             "version=%lld verdict=%s serving=%lld reference=%lld "
             "refused=%lld shadow_records=%lld shadow_evidence=%.2f "
             "reason=\"%s\"",
             (long long)in.version, store_state_name(v.state),
             (long long)(v.serve ? in.version : pointers->serving),
             (long long)v.reference, (long long)v.memory.refused,
             (long long)v.shadow_records, v.shadow_log_wealth, v.reason);
    *request = v.memory.request;
out:
    publisher_show(p, rc ? NULL : &v);
    free(gate);
    free(guard);
    verdict_release(&v);
    infer_free(candidate);
    return rc;
}

/* Finds an earlier process's request, unless that process paused instead. */
static int find_request(struct publisher *p, int64_t head,
                        struct guard_request *request, struct err *err)
{
    struct verdict_memory memory = {0};
    struct catalog_pause hold = {0};
    char *guard = NULL;
    int rc = catalog_guard(p->options.catalog, head, &guard, err);

    if (rc == 0)
        rc = catalog_pause(p->options.catalog, &hold, err);
    if (rc == 0 && guard && hold.version != head &&
        p->options.conf->publish.auto_rollback &&
        verdict_memory_read(&memory, guard))
        *request = memory.request;
    free(hold.reason);
    free(guard);
    return rc;
}

int publisher_verdict(struct publisher *p, struct guard_request *request,
                      bool *again, struct err *err)
{
    struct catalog_pointers pointers;
    struct catalog_version v;
    bool is_pending;
    int rc = catalog_pointers(p->options.catalog, &pointers, err);

    *again = true;
    if (rc || pointers.head == 0)
        return rc;
    rc = catalog_get(p->options.catalog, pointers.head, &v, err);
    if (rc)
        return rc;
    is_pending = v.state == STORE_PENDING;
    catalog_version_release(&v);
    if (!is_pending)
        return find_request(p, pointers.head, request, err);
    rc = give_verdict(p, &pointers, request, err);
    *again = rc == ERR_FULL;
    return rc;
}
