/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A version is loaded as it would answer, judge.h is asked, and the verdict is
 * written in one transaction with the switch of serving and what the guard
 * knows. What it wants is left for the trainer as a wish, also by the process
 * before: a wish that the head's memory has is there until there is a rollback,
 * or learning holds instead.
 */
#include "config.h"

#include "daemon/publish/publisher_private.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/timing.h"
#include "base/utf8.h"
#include "daemon/publish/judge_parent.h"

#define RETRY_MS 5000 /* a verdict for which the disk had no room */

/* --- the gate ----------------------------------------------------------- */

/* It cannot be asked, whatever is wrong with it; *err may say that. */
static int refuse(struct publisher *p, int64_t version, bool not_finite,
                  const char *what, const char *why, struct judgement *out,
                  struct err *err)
{
    char reason[sizeof out->reason];

    snprintf(reason, sizeof reason, "%.30s: %.220s", what, why);
    *err = (struct err)ERR_INIT;
    return judge_broken(p->judge, version, not_finite, reason, out, err);
}

/* Is it finite, and what was live? *candidate stays NULL when it fails. */
static int read_back(struct publisher *p, int64_t version,
                     struct infer **candidate, struct judgement *out,
                     struct err *err)
{
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
    if (rc == 0) {
        *candidate = infer;
        return 0;
    }
    infer_free(infer);
    if (rc != ERR_CORRUPT && rc != ERR_DIVERGED)
        return rc;
    return refuse(p, version, rc == ERR_DIVERGED, "cannot be read back",
                  err->msg, out, err);
}

/* Everything the gate asks. On 0 without a candidate it is broken. */
static int examine(struct publisher *p, int64_t version,
                   struct infer **candidate, struct judgement *out,
                   struct err *err)
{
    int rc = read_back(p, version, candidate, out, err);

    if (rc || !*candidate || judge_as_parent(p->options.catalog, version, out))
        return rc;
    rc = judge_candidate(p->judge, version, *candidate, out, err);
    if (rc == ERR_DIVERGED) {
        infer_free(*candidate);
        *candidate = NULL;
        return refuse(p, version, true, "not finite", err->msg, out, err);
    }
    if (rc == 0 && p->probed_version == version)
        json_object_set_new(out->gate, "read_back",
                            json_pack("{s:b, s:i, s:b}", "finite", 1,
                                      "probe_texts", PROBE_TEXTS, "same", 1));
    return rc;
}

/* What the guard wants, for the memory that goes with the version. */
static void decide_wish(struct publisher *p, int64_t version,
                        struct judgement *j)
{
    struct guard_wish w = {.cause = j->cause, .version = j->reference};
    /* It begins with a name, which may be long: not within a character. */
    size_t n = utf8_whole(j->reason, strnlen(j->reason, 160));

    if (j->cause == GUARD_NO_CAUSE)
        return;
    snprintf(w.reason, sizeof w.reason, "version %lld: %s (%.*s)",
             (long long)version, guard_cause_text(j->cause), (int)n,
             j->reason);
    if (p->options.conf->publish.auto_rollback && j->reference != 0)
        j->memory.wish = w;
    else
        log_warn("guard", "version=%lld reference=%lld action=none "
                          "reason=\"%s\"",
                 (long long)version, (long long)j->reference, w.reason);
}

/* It goes to the trainer, which alone can go back. */
static void pass_on(struct publisher *p, const struct guard_wish *wish)
{
    if (wish->cause == GUARD_NO_CAUSE)
        return;
    pthread_mutex_lock(&p->mutex);
    p->wish = *wish;
    p->have_wish = true;
    pthread_mutex_unlock(&p->mutex);
    p->options.wake_trainer(p->options.arg);
}

/* The wish of the process before, unless learning was held instead. */
static int wish_again(struct publisher *p, int64_t head, struct err *err)
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
        pass_on(p, &memory.wish);
    free(hold.reason);
    free(guard);
    return rc;
}

static void log_verdict(int64_t version, int64_t serving,
                        const struct judgement *j)
{
    log_info("gate",
             "version=%lld verdict=%s serving=%lld reference=%lld "
             "refused=%lld shadow_records=%lld shadow_evidence=%.2f "
             "reason=\"%s\"%s%s%s",
             (long long)version, store_state_name(j->verdict),
             (long long)serving, (long long)j->reference,
             (long long)j->refused, (long long)j->shadow_records,
             isfinite(j->shadow_evidence) ? j->shadow_evidence : 0, j->reason,
             j->waits_for[0] ? " waits_for=\"" : "", j->waits_for,
             j->waits_for[0] ? "\"" : "");
}

/* Loads a pending version, asks the judge, writes the verdict and switches. */
static int judge_version(struct publisher *p, int64_t version,
                         struct err *err)
{
    struct catalog_pointers pointers;
    struct judgement j = {0};
    struct infer *candidate = NULL;
    char *gate = NULL, *guard = NULL;
    bool serve;
    int rc = catalog_pointers(p->options.catalog, &pointers, err);

    if (rc == 0) {
        /* At a start that found no version whole, none serves. */
        judge_begin(p->judge, serving_version(p->options.serving)
                                  ? pointers.serving
                                  : 0);
        rc = examine(p, version, &candidate, &j, err);
    }
    if (rc)
        goto out;
    serve = j.verdict == STORE_PASSED && !pointers.serving_pinned &&
            (!j.same_as || j.same_as == pointers.serving);
    if (serve)
        judgement_serves(&j, version);
    decide_wish(p, version, &j);
    publisher_note_best(p->options.catalog, version, &j);
    gate = json_dumps(j.gate, JSON_COMPACT | JSON_REAL_PRECISION(17));
    guard = judge_memory_write(&j.memory);
    rc = store_verdict(p->options.store, version, j.verdict, gate, guard,
                       j.results, j.n_results, serve, j.reason, err);
    if (rc)
        goto out;
    if (serve) {
        serving_switch(p->options.serving, version, candidate);
        candidate = NULL;
        publisher_keep_choice(p, 0);
    }
    log_verdict(version, serve ? version : pointers.serving, &j);
    pass_on(p, &j.memory.wish);
out:
    publisher_show(p, rc ? NULL : &j);
    free(gate);
    free(guard);
    judgement_release(&j);
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
            rc = wish_again(p, pointers.head, &err);
        catalog_version_release(&v);
    }
    if (rc) {
        publisher_fail(p, "gate", &err, true);
        p->retry_ms = timing_mono_ms() + RETRY_MS;
    }
}
