/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A version is loaded as it would answer, and verdict.h decides about it. The
 * verdict is written in one transaction with the switch of serving and with
 * everything that the next verdict needs. A request of the guard is part of
 * that. It stays open until there is a rollback, or learning pauses instead. So
 * the trainer gets it from the next process, too.
 */
#include "config.h"

#include "daemon/publish/publisher_private.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/timing.h"

#define RETRY_MS 5000 /* a verdict for which the disk had no room */

/* --- the gate ----------------------------------------------------------- */

/* Loads a version as it would answer, and checks that it is what was live.
 * Damage is no error: then in->candidate stays NULL. */
static int read_back(struct publisher *p, struct verdict_input *in,
                     struct infer **candidate, char *damage, size_t size,
                     struct err *err)
{
    const struct probe *probe =
        p->probed_version == in->version ? &p->probe : NULL;
    int rc = 0;

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

/* Passes the guard's request to the trainer, which alone can go back. */
static void pass_on(struct publisher *p, const struct guard_request *request)
{
    if (request->cause == GUARD_NO_CAUSE)
        return;
    pthread_mutex_lock(&p->mutex);
    p->wish = *request;
    p->have_wish = true;
    pthread_mutex_unlock(&p->mutex);
    p->options.wake_trainer(p->options.arg);
}

/* Passes on the request that the process before left open, unless learning was
 * paused instead. */
static int pass_on_again(struct publisher *p, int64_t head, struct err *err)
{
    struct verdict_memory memory = {0};
    struct catalog_hold hold = {0};
    char *guard = NULL;
    int rc = catalog_guard(p->options.catalog, head, &guard, err);

    if (rc == 0)
        rc = catalog_hold(p->options.catalog, &hold, err);
    if (rc == 0 && guard && hold.version != head &&
        p->options.conf->publish.auto_rollback &&
        verdict_memory_read(&memory, guard))
        pass_on(p, &memory.request);
    free(hold.reason);
    free(guard);
    return rc;
}

static void log_verdict(const struct verdict_input *in,
                        const struct verdict *v)
{
    log_info("gate",
             "version=%lld verdict=%s serving=%lld reference=%lld "
             "refused=%lld shadow_records=%lld shadow_evidence=%.2f "
             "reason=\"%s\"%s%s%s",
             (long long)in->version, store_state_name(v->state),
             (long long)(v->serve ? in->version : in->serving),
             (long long)v->reference, (long long)v->memory.refused,
             (long long)v->shadow_records, v->shadow_log_wealth, v->reason,
             v->waits_for[0] ? " waits_for=\"" : "", v->waits_for,
             v->waits_for[0] ? "\"" : "");
}

/* Decides about a pending version, writes the verdict and switches. */
static int judge_version(struct publisher *p, int64_t version,
                         struct err *err)
{
    struct verdict_input in = {
        .conf = p->options.conf,
        .catalog = p->options.catalog,
        .scoring = p->scoring,
        .version = version,
    };
    struct catalog_pointers pointers;
    struct verdict v = {0};
    struct infer *candidate = NULL;
    char *gate = NULL, *guard = NULL, damage[300];
    int rc = catalog_pointers(p->options.catalog, &pointers, err);

    if (rc == 0) {
        /* None serves after a start that found no whole version. */
        in.serving = serving_version(p->options.serving) ? pointers.serving : 0;
        in.serving_pinned = pointers.serving_pinned;
        rc = read_back(p, &in, &candidate, damage, sizeof damage, err);
    }
    if (rc == 0)
        rc = verdict_decide(&in, &v, err);
    if (rc)
        goto out;
    if (in.candidate && !v.same_as && v.cause != GUARD_NOT_FINITE &&
        p->probed_version == version)
        json_object_set_new(v.gate, "read_back",
                            json_pack("{s:b, s:i, s:b}", "finite", 1,
                                      "probe_texts", PROBE_TEXTS, "same", 1));
    publisher_note_best(p->options.catalog, version, &v);
    gate = json_dumps(v.gate, JSON_COMPACT | JSON_REAL_PRECISION(17));
    guard = verdict_memory_write(&v.memory);
    rc = store_verdict(p->options.store, version, v.state, gate, guard,
                       v.results, v.n_results, v.serve, v.reason, err);
    if (rc)
        goto out;
    if (v.serve) {
        serving_switch(p->options.serving, version, candidate);
        candidate = NULL;
        publisher_keep_choice(p, 0);
    }
    log_verdict(&in, &v);
    pass_on(p, &v.memory.request);
out:
    publisher_show(p, rc ? NULL : &v);
    free(gate);
    free(guard);
    verdict_release(&v);
    infer_free(candidate);
    return rc;
}

void publisher_judge(struct publisher *p, int64_t version)
{
    struct err err = ERR_INIT;

    p->retry_ms = 0;
    if (judge_version(p, version, &err) == 0) {
        p->failing = false;
        return;
    }
    publisher_fail(p, "gate", &err, err.code == ERR_FULL);
    if (err.code == ERR_FULL)
        p->retry_ms = timing_mono_ms() + RETRY_MS;
}

void publisher_judge_pending(struct publisher *p)
{
    struct catalog_pointers pointers;
    struct catalog_version v;
    struct err err = ERR_INIT;
    int rc = catalog_pointers(p->options.catalog, &pointers, &err);

    p->retry_ms = 0;
    if (rc == 0 && pointers.head == 0)
        return;
    if (rc == 0)
        rc = catalog_get(p->options.catalog, pointers.head, &v, &err);
    if (rc == 0) {
        if (v.state == STORE_PENDING)
            publisher_judge(p, pointers.head);
        else
            rc = pass_on_again(p, pointers.head, &err);
        catalog_version_release(&v);
    }
    if (rc) {
        publisher_fail(p, "gate", &err, true);
        p->retry_ms = timing_mono_ms() + RETRY_MS;
    }
}
