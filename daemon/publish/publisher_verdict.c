/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verdict about the head version. The candidate is loaded with the code
 * that answers requests, and compared with the probe of the live weights
 * (probe.h). Then the gate compares it with the reference version (judge.h).
 * One transaction writes the verdict, the switch of serving and the guard's
 * state.
 *
 * Only the trainer can carry out the rollback that the guard wants. The request
 * is in the guard's state of the head version. So a process that starts finds
 * the request of the one before it.
 */
#include "config.h"

#include "daemon/publish/publisher_private.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/utf8.h"
#include "daemon/publish/judge_parent.h"

void publisher_switch(struct publisher *p, int64_t version,
                      struct infer *infer)
{
    int64_t choice = control_choice(p->options.control, 0);
    struct err err = ERR_INIT;

    serving_switch(p->options.serving, version, infer);
    if (choice && serving_choose(p->options.serving, choice, &err) != 0)
        log_debug("serving", "%s", err.msg); /* its operation will fail, too */
}

/* The verdict `fail` about a version that cannot be compared. */
static int refuse(struct publisher *p, int64_t version, bool not_finite,
                  const char *what, const char *why, struct judgement *out,
                  struct err *err)
{
    char reason[sizeof out->reason];

    snprintf(reason, sizeof reason, "%.30s: %.220s", what, why);
    *err = (struct err)ERR_INIT;
    return judge_broken(p->judge, version, not_finite, reason, out, err);
}

/* Loads the candidate and judges it. *candidate stays NULL when its numbers are
 * not finite or not those of the live weights; the verdict is fail then. */
static int examine(struct publisher *p, int64_t version,
                   struct infer **candidate, struct judgement *out,
                   struct err *err)
{
    /* A version of the process before has no probe. */
    const struct probe *probe =
        p->probed_version == version ? &p->probe : NULL;
    struct infer *infer = NULL;
    int rc;

    if (probe && !probe->finite)
        return refuse(p, version, true, "not finite", probe->problem, out,
                      err);
    rc = serving_load(p->options.serving, version, &infer, err);
    if (rc == 0 && probe)
        rc = probe_compare(probe, infer, err);
    if (rc == ERR_CORRUPT || rc == ERR_DIVERGED) {
        infer_free(infer);
        return refuse(p, version, rc == ERR_DIVERGED, "cannot be read back",
                      err->msg, out, err);
    }
    if (rc == 0 && !judge_as_parent(p->options.catalog, version, out)) {
        rc = judge_candidate(p->judge, version, infer, out, err);
        if (rc == 0 && probe)
            json_object_set_new(out->gate, "read_back",
                                json_pack("{s:b, s:i, s:b}", "finite", 1,
                                          "probe_texts", PROBE_TEXTS, "same",
                                          1));
    }
    if (rc) {
        infer_free(infer);
        return rc == ERR_DIVERGED ? refuse(p, version, true, "not finite",
                                           err->msg, out, err)
                                  : rc;
    }
    *candidate = infer;
    return 0;
}

/* Puts the rollback that the guard wants into the guard's state. */
static void request_rollback(struct publisher *p, int64_t version,
                             struct judgement *j)
{
    struct guard_wish wish = {.cause = j->cause, .version = j->reference};
    /* The reason begins with a name, which may be long. The cut must not
     * split a character. */
    size_t n = utf8_whole(j->reason, strnlen(j->reason, 160));

    if (j->cause == GUARD_NO_CAUSE)
        return;
    snprintf(wish.reason, sizeof wish.reason, "version %lld: %s (%.*s)",
             (long long)version, guard_cause_text(j->cause), (int)n,
             j->reason);
    if (p->options.conf->publish.auto_rollback && j->reference != 0)
        j->memory.wish = wish;
    else
        log_warn("guard", "version=%lld reference=%lld action=none "
                          "reason=\"%s\"",
                 (long long)version, (long long)j->reference, wish.reason);
}

static int judge_head(struct publisher *p,
                      const struct catalog_pointers *pointers,
                      struct guard_wish *wish, struct err *err)
{
    int64_t version = pointers->head;
    struct judgement j = {0};
    struct infer *candidate = NULL;
    char *gate = NULL, *guard = NULL;
    bool serve;
    int rc;

    /* With every version damaged, a start leaves none to serve. */
    judge_begin(p->judge,
                serving_version(p->options.serving) ? pointers->serving : 0);
    rc = examine(p, version, &candidate, &j, err);
    if (rc)
        goto out;
    serve = j.verdict == STORE_PASSED && !pointers->serving_pinned &&
            (!j.same_as || j.same_as == pointers->serving);
    if (serve)
        judgement_serves(&j, version);
    request_rollback(p, version, &j);
    publisher_note_best(p->options.catalog, version, &j);
    gate = json_dumps(j.gate, JSON_COMPACT | JSON_REAL_PRECISION(17));
    guard = judge_memory_write(&j.memory);
    rc = store_verdict(p->options.store, version, j.verdict, gate, guard,
                       j.results, j.n_results, serve, j.reason, err);
    if (rc)
        goto out;
    if (serve) {
        publisher_switch(p, version, candidate);
        candidate = NULL;
    }
    log_info("gate",
             "version=%lld verdict=%s serving=%lld reference=%lld "
             "refused=%lld shadow_records=%lld shadow_evidence=%.2f "
             "reason=\"%s\"%s%s%s",
             (long long)version, store_state_name(j.verdict),
             (long long)(serve ? version : pointers->serving),
             (long long)j.reference, (long long)j.refused,
             (long long)j.shadow_records,
             isfinite(j.shadow_evidence) ? j.shadow_evidence : 0, j.reason,
             j.waits_for[0] ? " waits_for=\"" : "", j.waits_for,
             j.waits_for[0] ? "\"" : "");
    *wish = j.memory.wish;
out:
    publisher_show(p, rc ? NULL : &j);
    free(gate);
    free(guard);
    judgement_release(&j);
    infer_free(candidate);
    return rc;
}

/* The request of the process before, unless it paused learning instead. */
static int find_request(struct publisher *p, int64_t head,
                        struct guard_wish *wish, struct err *err)
{
    struct judge_memory memory = {0};
    struct catalog_hold hold = {0};
    char *guard = NULL;
    int rc = catalog_guard(p->options.catalog, head, &guard, err);

    if (rc == 0)
        rc = catalog_hold(p->options.catalog, &hold, err);
    if (rc == 0 && guard && hold.version != head &&
        p->options.conf->publish.auto_rollback &&
        judge_memory_read(&memory, guard))
        *wish = memory.wish;
    free(hold.reason);
    free(guard);
    return rc;
}

int publisher_verdict(struct publisher *p, struct guard_wish *wish,
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
        return find_request(p, pointers.head, wish, err);
    rc = judge_head(p, &pointers, wish, err);
    *again = rc == ERR_FULL;
    return rc;
}
