/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verdict_decide, at the end, is the decision from top to bottom. The reference
 * in the memory changes like this:
 *
 *     none --> the reference that the serving version's `gate` JSON names (an
 *              old store), else the serving version
 *     set  --> the candidate, if it serves and is_better (gate.h)
 *          --> the serving version, if an operator or a rollback chose it
 *          --> the serving version or an older one, if it cannot be read
 */
#include "config.h"

#include "daemon/publish/verdict.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_value.h"
#include "base/log.h"
#include "base/utf8.h"
#include "base/xalloc.h"
#include "daemon/publish/holdout_sample.h"

void verdict_release(struct verdict *v)
{
    for (size_t i = 0; i < v->n_results; i++)
        free(v->names[i]);
    free(v->names);
    free(v->results);
    json_decref(v->gate);
    memset(v, 0, sizeof *v);
}

/* Copies one domain's result, with the domain's name. */
static void add_result(struct verdict *out, const char *domain,
                       double bits_per_byte, double accuracy, int64_t chunks)
{
    size_t n = ++out->n_results;

    out->names = xrealloc(out->names, n * sizeof *out->names);
    out->results = xrealloc(out->results, n * sizeof *out->results);
    out->names[n - 1] = xstrdup(domain);
    out->results[n - 1] = (struct store_domain_result){
        .domain = out->names[n - 1],
        .bits_per_byte = bits_per_byte,
        .accuracy = accuracy,
        .chunks = chunks,
    };
}

/* Keeps the shadow figures, before the candidate may become the reference. */
static void copy_shadow(struct verdict *out)
{
    out->reference = out->memory.reference;
    out->shadow_records = verdict_memory_shadow(&out->memory)->records;
    out->shadow_log_wealth = verdict_memory_log_wealth(&out->memory);
}

/* --- without a comparison ----------------------------------------------- */

static void decide_uncompared(struct verdict *out, enum gate_verdict verdict,
                              const char *reason)
{
    struct gate_decision d = {
        .verdict = verdict,
    };
    struct gate_options none = {0};

    out->state = verdict == GATE_PASS ? STORE_PASSED : STORE_FAILED;
    snprintf(out->reason, sizeof out->reason, "%s", reason);
    out->reason[utf8_whole(out->reason, strlen(out->reason))] = '\0';
    snprintf(d.reason, sizeof d.reason, "%s", out->reason);
    out->gate = gate_to_json(&none, NULL, 0, &d, 0);
}

/* The candidate is damaged: it fails, and nothing is compared. */
static void decide_damaged(const struct verdict_input *in, const char *damage,
                           bool not_finite, struct verdict *out)
{
    const struct guard_evidence evidence = {.not_finite = not_finite,
                                            .log_wealth = -INFINITY};
    struct verdict_memory *m = &out->memory;

    decide_uncompared(out, GATE_FAIL, damage);
    out->cause = guard_check(&m->worse_in_a_row, &evidence);
    out->reference = m->reference ? m->reference : in->serving;
    m->refused++;
}

/* True when learning was paused instead of carrying out the version's request.
 * An error counts as paused: a missing rollback does less harm. */
static bool was_paused(struct catalog *c, int64_t version)
{
    struct catalog_pause hold = {0};
    bool paused = catalog_pause(c, &hold, NULL) != 0 || hold.version == version;

    free(hold.reason);
    return paused;
}

/*
 * A version without a step of its own (all its records were refused or held
 * out) has the weights of its parent. It gets the parent's verdict and memory,
 * with an open request of the guard, and nothing counts a second time. False:
 * the version has a step of its own, or its parent has no verdict.
 */
static bool decide_as_parent(struct catalog *c, int64_t version,
                             struct verdict *out)
{
    struct catalog_version v, p;
    json_t *gate = NULL;

    if (catalog_get(c, version, &v, NULL) != 0)
        return false;
    if (v.parent && catalog_get(c, v.parent, &p, NULL) == 0) {
        if ((p.state == STORE_PASSED || p.state == STORE_FAILED ||
             p.state == STORE_INCONCLUSIVE) &&
            p.step == v.step &&
            strcmp(p.weights_sha256, v.weights_sha256) == 0 && p.gate_json)
            gate = json_loads(p.gate_json, 0, NULL);
        if (gate) {
            out->same_as = p.version;
            out->state = p.state;
            out->gate = gate;
            snprintf(out->reason, sizeof out->reason,
                     "nothing was learned since version %lld",
                     (long long)p.version);
            json_object_set_new(gate, "same_as", json_integer(p.version));
            json_object_set_new(gate, "reason", json_string(out->reason));
            copy_shadow(out);
            if (was_paused(c, p.version))
                out->memory.request.cause = GUARD_NO_CAUSE;
            for (size_t i = 0; i < p.n_domains; i++)
                add_result(out, p.domains[i].domain, p.domains[i].bits_per_byte,
                           p.domains[i].accuracy, p.domains[i].chunks);
        }
        catalog_version_release(&p);
    }
    catalog_version_release(&v);
    return gate != NULL;
}

/* --- the reference ------------------------------------------------------ */

static bool has_passed(struct catalog *c, int64_t version)
{
    struct catalog_version v;
    bool passed;

    if (version == 0 || catalog_get(c, version, &v, NULL) != 0)
        return false;
    passed = v.state == STORE_PASSED;
    catalog_version_release(&v);
    return passed;
}

/* A number in the `gate` JSON of a version; 0: there is none. */
static int64_t number_in_gate(struct catalog *c, int64_t version,
                              const char *key)
{
    struct catalog_version v;
    json_t *gate;
    int64_t value;

    if (version == 0 || catalog_get(c, version, &v, NULL) != 0)
        return 0;
    gate = v.gate_json ? json_loads(v.gate_json, 0, NULL) : NULL;
    value = json_integer_value(json_object_get(gate, key));
    json_decref(gate);
    catalog_version_release(&v);
    return value;
}

/* Returns the version that becomes the reference; 0: the memory's stays. */
static int64_t choose_reference(const struct verdict_input *in,
                                struct verdict_memory *m)
{
    struct catalog *c = in->catalog;
    struct catalog_pointers pointers = {0};
    int64_t version = in->serving;

    if (m->expected == in->serving &&
        (m->reference == in->serving || has_passed(c, m->reference)))
        return 0;
    if (m->expected == 0) { /* an old store has no memory */
        int64_t stored = number_in_gate(c, in->serving, "reference");

        if (has_passed(c, stored))
            version = stored;
        if (catalog_pointers(c, &pointers, NULL) == 0 && pointers.newest > 1)
            m->refused = number_in_gate(c, pointers.newest - 1, "refused");
    }
    return version;
}

/* Sets the reference; 0: none. *readable becomes false when its files are
 * damaged. */
static int set_reference(const struct verdict_input *in, int64_t version,
                         struct verdict_memory *m, bool *readable,
                         struct err *err)
{
    int64_t rows = 0;
    int rc = version ? holdout_sample_count_rows(in->catalog, version, &rows,
                                                 err)
                     : 0;

    *readable = rc != ERR_CORRUPT && rc != ERR_NOTFOUND;
    if (rc == 0 || !*readable) {
        verdict_memory_set_reference(m, version, rows);
        m->expected = in->serving;
    }
    return rc;
}

/* The newest version before this one that passed; 0: none, or an error. */
static int64_t passed_before(struct catalog *c, int64_t version)
{
    int64_t passed = 0;

    catalog_passed_before(c, version, &passed, NULL);
    return passed;
}

/* Scores the candidate and, if they are compared, the reference. A reference
 * that cannot be read is replaced by the serving version, and that one by older
 * versions that passed. */
static int score(const struct verdict_input *in, bool compares,
                 struct verdict_memory *m,
                 struct holdout_scoring_result *scores, struct err *err)
{
    struct holdout_scoring_task task = {
        .version = in->version,
        .candidate = in->candidate,
    };
    int64_t version = compares ? choose_reference(in, m) : 0;
    int64_t next = in->serving;
    bool readable = true;
    int rc = version ? set_reference(in, version, m, &readable, err) : 0;

    for (;;) {
        if (rc == 0) {
            task.reference = compares ? m->reference : 0;
            task.reference_rows = m->reference_rows;
            task.compared_rows = m->compared_rows;
            rc = holdout_scoring_run(in->scoring, &task, scores, err);
            readable = !scores->no_reference;
        }
        if (readable)
            return rc;
        if (next == m->reference)
            next = passed_before(in->catalog, next);
        log_warn("gate",
                 "version=%lld reference=%lld instead=%lld reason=\"the "
                 "reference cannot be read: %s\"",
                 (long long)in->version, (long long)m->reference,
                 (long long)next, err->msg);
        holdout_scoring_release(scores);
        *err = (struct err)ERR_INIT;
        rc = set_reference(in, next, m, &readable, err);
        next = next ? passed_before(in->catalog, next) : 0;
    }
}

/* --- the comparison ----------------------------------------------------- */

/* The unit of the shadow comparison: the reference's bits per byte, on segments
 * outside the comparison if there are any. */
static double reference_loss(const struct holdout_scoring_result *s)
{
    double nats[2] = {0}, bytes[2] = {0};

    for (size_t i = 0; i < s->n_chunks; i++) {
        nats[s->is_new[i]] += s->chunks[i].reference_nats;
        bytes[s->is_new[i]] += s->chunks[i].bytes;
    }
    if (bytes[0] > 0)
        return nats[0] / bytes[0] / log(2.0);
    return bytes[1] > 0 ? nats[1] / bytes[1] / log(2.0) : 0;
}

/* Adds the segments that arrived since the last candidate to the shadow
 * comparison, unless they had arrived when the reference was made. */
static void add_to_shadow(struct verdict_memory *m,
                          const struct holdout_scoring_result *s)
{
    if (!(m->scale > 0))
        m->scale = reference_loss(s);
    for (size_t i = 0; i < s->n_chunks; i++) {
        const struct gate_chunk *c = &s->chunks[i];

        if (!s->is_new[i] || c->before)
            continue;
        shadow_add(&m->text, c->candidate_nats, c->reference_nats, c->bytes,
                   m->scale);
        if (c->labelled)
            shadow_add_label(&m->labels, c->candidate_right,
                             c->reference_right);
    }
    m->compared_rows = s->n_rows;
}

static json_t *shadow_json(const struct verdict_memory *m)
{
    const struct shadow *s = verdict_memory_shadow(m);

    return json_pack("{s:I, s:o, s:f, s:f}", "records", (json_int_t)s->records,
                     "difference", json_value_real(shadow_difference(s)),
                     "evidence_at_once", verdict_memory_log_wealth(m), "enough",
                     -log(GUARD_ALPHA));
}

/* Runs the gate, the shadow comparison and the guard. Returns whether the
 * candidate may become the reference. */
static bool compare(const struct verdict_input *in,
                    struct holdout_scoring_result *s, struct verdict *out)
{
    const struct conf_gate *conf = &in->conf->publish.gate;
    struct verdict_memory *m = &out->memory;
    const struct gate_options options = {
        .max_regression = conf->max_regression,
        .max_domain_regression = conf->max_domain_regression,
        .confidence = conf->confidence,
    };
    struct guard_evidence evidence = {0};
    struct gate_decision d;

    gate_decide(&options, s->chunks, s->n_chunks, s->domains, s->n_domains, &d);
    out->state = d.verdict == GATE_PASS ? STORE_PASSED : STORE_FAILED;
    snprintf(out->reason, sizeof out->reason, "%s", d.reason);
    m->refused = d.verdict == GATE_PASS ? 0 : m->refused + 1;
    out->gate =
        gate_to_json(&options, s->domains, s->n_domains, &d, m->reference);

    add_to_shadow(m, s);
    copy_shadow(out);
    guard_observe(&evidence, s->chunks, s->n_chunks, &options, d.verdict);
    evidence.log_wealth = out->shadow_log_wealth;
    out->cause = guard_check(&m->worse_in_a_row, &evidence);
    json_object_set_new(out->gate, "shadow", shadow_json(m));
    json_object_set_new(out->gate, "since", gate_part_to_json(&evidence.since));
    json_object_set_new(out->gate, "newest_better",
                        json_boolean(evidence.newest_better));
    return d.is_better;
}

/* --- the decision ------------------------------------------------------- */

/* Stores the guard's request to roll back to the reference. */
static void request_rollback(const struct verdict_input *in,
                             struct verdict *out)
{
    struct guard_request *r = &out->memory.request;
    /* The reason begins with a name, which may be long. It is cut between two
     * characters. */
    size_t n = utf8_whole(out->reason, strnlen(out->reason, 160));
    char text[sizeof r->reason];

    snprintf(text, sizeof text, "version %lld: %s (%.*s)",
             (long long)in->version, guard_cause_text(out->cause), (int)n,
             out->reason);
    if (in->conf->publish.auto_rollback && out->reference != 0) {
        r->cause = out->cause;
        r->version = out->reference;
        snprintf(r->reason, sizeof r->reason, "%s", text);
    } else {
        log_warn("guard",
                 "version=%lld reference=%lld action=none reason=\"%s\"",
                 (long long)in->version, (long long)out->reference, text);
    }
}

int verdict_decide(const struct verdict_input *in, struct verdict *out,
                   struct err *err)
{
    struct verdict_memory *m = &out->memory;
    struct holdout_scoring_result scores = {0};
    const char *why;
    char damage[300];
    bool is_better = true;
    int rc;

    memset(out, 0, sizeof *out);
    rc = verdict_memory_load(in->catalog, in->version, m, err);
    if (rc)
        return rc;

    /* With its parent's weights a version gets its parent's verdict. */
    if (in->candidate && decide_as_parent(in->catalog, in->version, out)) {
        out->serve = out->state == STORE_PASSED && !in->serving_pinned &&
                     (in->serving == 0 || in->serving == out->same_as);
        if (out->serve && m->expected == out->same_as)
            m->expected = in->version;
        if (out->serve && m->reference == out->same_as)
            m->reference = in->version;
        return 0;
    }

    /* The losses of the candidate and, if they are compared, the reference. */
    m->request.cause = GUARD_NO_CAUSE;
    why = !in->serving                      ? "the first version"
          : !in->conf->publish.gate.enabled ? "the gate is off"
          : in->conf->learner.holdout.fraction <= 0
              ? "nothing is held out to compare on"
              : NULL;
    if (in->candidate)
        rc = score(in, !why, m, &scores, err);
    if (rc && rc != ERR_DIVERGED)
        goto out;
    if (!why && m->reference == 0)
        why = "no earlier version can be read to compare with";
    if (!why && scores.n_chunks < GATE_FEWEST_CHUNKS)
        why = scores.n_damaged
                  ? "the held-out records are damaged: nothing to compare on"
                  : "nothing is held out yet to compare on";

    /* The verdict. */
    if (!in->candidate) {
        decide_damaged(in, in->damage, in->not_finite, out);
    } else if (rc == ERR_DIVERGED) { /* damage that only scoring finds */
        snprintf(damage, sizeof damage, "not finite: %.220s", err->msg);
        *err = (struct err)ERR_INIT;
        rc = 0;
        decide_damaged(in, damage, true, out);
    } else if (why) {
        decide_uncompared(out, GATE_PASS, why);
    } else {
        is_better = compare(in, &scores, out);
    }
    for (size_t i = 0; i < scores.n_results; i++)
        add_result(out, scores.results[i].domain,
                   scores.results[i].bits_per_byte, scores.results[i].accuracy,
                   scores.results[i].chunks);
    json_object_set_new(out->gate, "reference",
                        json_integer(out->state == STORE_PASSED && is_better
                                         ? in->version
                                         : m->reference));
    json_object_set_new(out->gate, "refused", json_integer(m->refused));

    /* The consequences: serving, the next reference, a rollback. */
    out->serve = out->state == STORE_PASSED && !in->serving_pinned;
    if (out->serve) {
        m->expected = in->version;
        m->refused = 0;
        if (m->reference == 0 || is_better)
            verdict_memory_set_reference(m, in->version, scores.n_rows);
    }
    if (out->cause != GUARD_NO_CAUSE)
        request_rollback(in, out);
out:
    holdout_scoring_release(&scores);
    return rc;
}
