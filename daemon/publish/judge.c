/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of the reference, and what goes with it:
 *
 *     none --no memory (an old store)--> the serving version's own reference,
 *      |         from its gate JSON; else the serving version
 *      |
 *     set  --it serves, not worse on what was before--> the candidate
 *      |   --it serves, within its limit--------------> stays
 *      +   --something else serves (an operator, a rollback) -> that
 *
 * `expected` is the version that serves when nobody interfered.
 *
 * All of that is in a judge_memory, which is read from the store for each
 * candidate and written with its verdict. What struct judge itself keeps are
 * losses that could be computed again.
 */
#include "config.h"

#include "daemon/publish/judge.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_value.h"
#include "base/log.h"
#include "base/utf8.h"
#include "base/xalloc.h"
#include "daemon/publish/draw.h"
#include "daemon/gate/gate.h"
#include "daemon/publish/judge_losses.h"
#include "daemon/publish/judge_parent.h"
#include "daemon/intake/progress.h"

struct judge {
    const struct conf *conf;
    struct catalog *catalog;
    struct serving *serving;
    int64_t served; /* by the store, when the judgement began */
    struct judge_losses losses;
};

struct judge *judge_create(const struct conf *conf, struct catalog *catalog,
                           struct serving *serving)
{
    struct judge *j = xcalloc(1, sizeof *j);

    j->conf = conf;
    j->catalog = catalog;
    j->serving = serving;
    return j;
}

void judge_free(struct judge *j)
{
    if (!j)
        return;
    judge_losses_release(&j->losses);
    free(j);
}

void judgement_release(struct judgement *j)
{
    for (size_t i = 0; i < j->n_results; i++)
        free(j->names[i]);
    free(j->names);
    free(j->results);
    json_decref(j->gate);
    memset(j, 0, sizeof *j);
}

/* --- the reference ------------------------------------------------------ */

/* What the gate wrote with a version that serves: its reference, and how many
 * were refused before the head; 0 when there is none. */
static int64_t noted(struct judge *j, int64_t version, const char *key)
{
    struct catalog_version v;
    json_t *gate;
    int64_t value = 0;

    if (version == 0 || catalog_get(j->catalog, version, &v, NULL) != 0)
        return 0;
    gate = v.gate_json ? json_loads(v.gate_json, 0, NULL) : NULL;
    value = json_integer_value(json_object_get(gate, key));
    json_decref(gate);
    catalog_version_release(&v);
    return value;
}

static bool is_usable(struct judge *j, int64_t version)
{
    struct catalog_version v;
    bool usable;

    if (version == 0 || catalog_get(j->catalog, version, &v, NULL) != 0)
        return false;
    usable = v.state == STORE_PASSED;
    catalog_version_release(&v);
    return usable;
}

/* What the gate of before noted of the versions that it refused. */
static int64_t refused_before(struct judge *j)
{
    struct catalog_pointers pointers;

    if (catalog_pointers(j->catalog, &pointers, NULL) != 0)
        return 0;
    return noted(j, pointers.newest > 1 ? pointers.newest - 1 : 0, "refused");
}

/* Which version a candidate is compared with, while `serving` serves. */
static int choose_reference(struct judge *j, struct judge_memory *m,
                            int64_t serving, struct err *err)
{
    bool nothing_known = m->expected == 0;
    int64_t version = nothing_known ? noted(j, serving, "reference") : serving;
    int64_t mark = 0;
    int rc;

    if (m->expected == serving &&
        (m->reference == serving || is_usable(j, m->reference)))
        return 0;
    if (nothing_known)
        m->refused = refused_before(j);
    if (version != serving && !is_usable(j, version))
        version = serving;
    rc = draw_mark(j->catalog, version, &mark, err);
    if (rc)
        return rc;
    judge_memory_compare_with(m, version, mark);
    m->expected = serving;
    return 0;
}

/* What was known before a candidate. */
static int remembered(struct judge *j, int64_t version, struct judge_memory *m,
                      struct err *err)
{
    int rc = judge_recall(j->catalog, version, m, err);

    m->wish.cause = GUARD_NO_CAUSE;
    return rc;
}

void judgement_serves(struct judgement *out, int64_t version)
{
    struct judge_memory *m = &out->memory;

    if (out->same_as) {
        if (m->expected == out->same_as)
            m->expected = version;
        if (m->reference == out->same_as)
            m->reference = version;
        return;
    }
    m->expected = version;
    m->refused = 0;
    if (m->reference == 0 || out->is_better)
        judge_memory_compare_with(m, version, out->counted);
}

/* --- scoring ------------------------------------------------------------ */

/* What serves, where that is not the reference; else the reference's. */
static int score_served(struct judge *j, int64_t reference,
                        const struct draw *d, const struct judge_scores *older,
                        struct judge_scores *out, struct err *err)
{
    const struct infer *served;
    int64_t got;
    int rc;

    memcpy(out->nats, older->nats, d->n * sizeof *out->nats);
    if (reference == j->served)
        return 0;
    served = serving_get(j->serving, j->served, &got, err);
    if (!served)
        return err->code;
    rc = judge_losses_score(&j->losses, JUDGE_LOSSES_SERVED, j->served, served,
                            d, out, err);
    serving_put(j->serving, served);
    return rc;
}

/* --- by domain ---------------------------------------------------------- */

static bool is_protected(const struct conf_gate *gate, const char *name)
{
    for (size_t i = 0; i < gate->protect.n; i++)
        if (strcmp(gate->protect.items[i], name) == 0)
            return true;
    return false;
}

/* Domain names and traffic from the version's metadata. */
static int load_domains(struct judge *j, int64_t version,
                        struct progress *progress,
                        struct gate_domain **domains, struct err *err)
{
    struct catalog_version v;
    int rc = catalog_get(j->catalog, version, &v, err);

    *domains = NULL;
    if (rc)
        return rc;
    rc = progress_import(progress, v.metadata_json, strlen(v.metadata_json),
                         err);
    catalog_version_release(&v);
    if (rc)
        return rc;
    *domains = xcalloc(progress->domains.n, sizeof **domains);
    for (size_t i = 0; i < progress->domains.n; i++)
        (*domains)[i] = (struct gate_domain){
            .name = progress->domains.items[i],
            .is_protected = is_protected(&j->conf->publish.gate,
                                         progress->domains.items[i]),
            .traffic = (double)progress->by_domain[i].bytes,
        };
    return 0;
}

/* Domains that the serving version has learned from. */
static int mark_known_since(struct judge *j, const struct judge_memory *m,
                            struct gate_domain *domains, size_t n,
                            struct err *err)
{
    struct progress served;
    struct gate_domain *known = NULL;
    int rc = 0;

    progress_init(&served);
    if (m->reference != j->served)
        rc = load_domains(j, j->served, &served, &known, err);
    for (size_t i = 0; rc == 0 && known && i < n; i++) {
        ptrdiff_t at = names_find(&served.domains, domains[i].name);

        domains[i].known_since = at >= 0 && known[at].traffic > 0;
    }
    free(known);
    progress_release(&served);
    return rc;
}

/* What the candidate scores by domain on the even sample, for its row. */
static void fill_results(const struct progress *progress, const struct draw *s,
                         const struct judge_scores *scores,
                         struct judgement *out)
{
    size_t n = progress->domains.n;

    out->results = xcalloc(n + 1, sizeof *out->results);
    out->names = xcalloc(n + 1, sizeof *out->names);
    for (size_t d = 0; d < n; d++) {
        double bits = 0, bytes = 0, labelled = 0, hits = 0;
        int64_t chunks = 0;

        for (size_t i = 0; i < s->n; i++) {
            const struct segment *seg = &s->segments.items[i];

            if (seg->domain != (int32_t)d || !s->roles[i].even)
                continue;
            chunks++;
            bits += scores->nats[i] / log(2.0);
            bytes += seg->n_bytes;
            labelled += seg->label >= 0;
            hits += seg->label >= 0 && scores->right[i];
        }
        if (!chunks)
            continue;
        out->names[out->n_results] = xstrdup(progress->domains.items[d]);
        out->results[out->n_results] = (struct store_domain_result){
            .domain = out->names[out->n_results],
            .bits_per_byte = bytes > 0 ? bits / bytes : NAN,
            .accuracy = labelled > 0 ? hits / labelled : NAN,
            .chunks = chunks,
        };
        out->n_results++;
    }
}

/* --- the verdict -------------------------------------------------------- */

static enum store_state state_of(enum gate_verdict v)
{
    return v == GATE_PASS   ? STORE_PASSED
           : v == GATE_FAIL ? STORE_FAILED
                            : STORE_INCONCLUSIVE;
}

/* A verdict without a comparison. */
static json_t *simple_verdict(struct judgement *out, enum gate_verdict verdict,
                              const char *reason)
{
    struct gate_decision d = {
        .verdict = verdict,
        .mean_regression = NAN,
        .mean_bound = NAN,
        .old_regression = NAN,
    };
    struct gate_options none = {0};

    out->verdict = state_of(verdict);
    snprintf(out->reason, sizeof out->reason, "%s", reason);
    out->reason[utf8_whole(out->reason, strlen(out->reason))] = '\0';
    snprintf(d.reason, sizeof d.reason, "%s", out->reason);
    return gate_to_json(&none, NULL, 0, &d, 0);
}

static struct gate_chunk *make_chunks(const struct draw *d,
                                      const struct judge_scores *candidate,
                                      const struct judge_scores *older,
                                      const struct judge_scores *served)
{
    struct gate_chunk *chunks = xcalloc(d->n + 1, sizeof *chunks);

    for (size_t i = 0; i < d->n; i++) {
        const struct segment *s = &d->segments.items[i];

        chunks[i] = (struct gate_chunk){
            .domain = s->domain,
            .bytes = s->n_bytes,
            .candidate_nats = candidate->nats[i],
            .serving_nats = older->nats[i],
            .served_nats = served->nats[i],
            .before = d->roles[i].before,
            .recent = d->roles[i].recent && s->n_bytes > 0,
            .newest = d->roles[i].newest,
            .only_recent = !d->roles[i].even,
            .labelled = s->label >= 0,
            .candidate_right = candidate->right[i],
            .serving_right = older->right[i],
        };
    }
    return chunks;
}

/* Bits per byte over what is not in the comparison itself, as far as there is
 * such: the unit of a difference. */
static double scale_of(const struct gate_chunk *chunks, const struct draw *d)
{
    double nats = 0, bytes = 0, all_nats = 0, all_bytes = 0;

    for (size_t i = 0; i < d->n; i++) {
        all_nats += chunks[i].serving_nats;
        all_bytes += chunks[i].bytes;
        if (d->roles[i].arrived)
            continue;
        nats += chunks[i].serving_nats;
        bytes += chunks[i].bytes;
    }
    if (bytes > 0)
        return nats / bytes / log(2.0);
    return all_bytes > 0 ? all_nats / all_bytes / log(2.0) : 0;
}

/* Counts what has arrived since the last candidate; what had arrived when the
 * reference was made is no part of it. */
static void watch(struct judge_memory *m, const struct gate_chunk *chunks,
                  const struct draw *d)
{
    if (!(m->scale > 0))
        m->scale = scale_of(chunks, d);
    for (size_t i = 0; i < d->n; i++) {
        const struct gate_chunk *c = &chunks[i];

        if (!d->roles[i].arrived || c->before)
            continue;
        for (int k = 0; k < JUDGE_MARGINS; k++) {
            shadow_add(&m->text[k], c->candidate_nats, c->serving_nats,
                       c->bytes, m->scale);
            if (c->labelled)
                shadow_add_label(&m->labels[k], c->candidate_right,
                                 c->serving_right);
        }
    }
    m->seen = d->counted;
}

static json_t *shadow_json(const struct judge_memory *m)
{
    const struct shadow *s = judge_memory_shown(m);

    return json_pack(
        "{s:I, s:o, s:o, s:o, s:f}", "records", (json_int_t)s->records,
        "difference", json_value_real(shadow_difference(s)), "evidence_better",
        json_value_real(judge_memory_evidence(m, JUDGE_ANY_MARGIN)),
        "evidence_at_once",
        json_value_real(judge_memory_evidence(m, JUDGE_AT_ONCE)), "enough",
        -log(GUARD_ALPHA));
}

static void look_after(const struct gate_decision *d, struct judgement *out)
{
    struct judge_memory *m = &out->memory;
    struct guard_sight sight = {
        .above = d->above,
        .protected_above = d->protected_above,
        .since_above = d->since_above,
        .newest_better = d->newest_better,
        .better = judge_memory_evidence(m, JUDGE_ANY_MARGIN),
        .much_better = judge_memory_evidence(m, JUDGE_AT_ONCE),
    };

    out->cause = guard_look(&m->rule, &sight);
    out->reference = m->reference;
    out->shadow_records = judge_memory_shown(m)->records;
    out->shadow_difference = shadow_difference(judge_memory_shown(m));
    out->shadow_evidence = sight.much_better;
    m->above = d->above;
    m->refused = d->verdict == GATE_PASS ? 0 : m->refused + 1;
    out->refused = m->refused;
}

static int tokens_seen(struct judge *j, int64_t version, int64_t *tokens,
                       struct err *err)
{
    struct catalog_version v;
    int rc = catalog_get(j->catalog, version, &v, err);

    if (rc)
        return rc;
    *tokens = v.tokens_seen;
    catalog_version_release(&v);
    return 0;
}

static int choose_patience(struct judge *j, int64_t version,
                           const struct judge_memory *m,
                           enum gate_patience *patience, struct err *err)
{
    int64_t before = 0, all = 0;
    int rc = tokens_seen(j, m->reference, &before, err);

    if (rc == 0)
        rc = tokens_seen(j, version, &all, err);
    if (rc == 0)
        *patience = gate_choose_patience(m->refused, before, all - before);
    return rc;
}

/* The comparison itself. */
static json_t *compare(struct judge *j, enum gate_patience patience,
                       const struct draw *d,
                       const struct judge_scores scores[3],
                       struct gate_domain *domains, size_t n_domains,
                       struct judgement *out)
{
    const struct conf_gate *gate = &j->conf->publish.gate;
    struct judge_memory *m = &out->memory;
    struct gate_options options = {
        .max_regression = gate->max_regression,
        .confidence = gate->confidence,
        .min_chunks = gate->min_chunks,
        .doubted = m->above,
        .patience = patience,
    };
    struct gate_chunk *chunks =
        make_chunks(d, &scores[0], &scores[1], &scores[2]);
    struct gate_decision decision;
    json_t *json;

    gate_decide(&options, chunks, d->n, domains, n_domains, &decision);
    watch(m, chunks, d);
    look_after(&decision, out);
    /* Where the gate gave in, what was is no measure any more. */
    out->is_better =
        (decision.waived && patience) ||
        (!(decision.old_regression > 0) &&
         decision.accuracy.gained >= decision.accuracy.lost);
    out->verdict = state_of(decision.verdict);
    snprintf(out->reason, sizeof out->reason, "%s", decision.reason);
    snprintf(out->waits_for, sizeof out->waits_for, "%s", decision.waits_for);
    json = gate_to_json(&options, domains, n_domains, &decision, m->reference);
    json_object_set_new(json, "shadow", shadow_json(m));
    free(chunks);
    return json;
}

/* Why there is nothing to compare with; NULL: there is. */
static const char *nothing_to_compare(const struct judge *j,
                                      const struct infer *serving,
                                      const struct draw *d)
{
    if (!serving)
        return "the first version";
    if (!j->conf->publish.gate.enabled)
        return "the gate is off";
    if (j->conf->learner.holdout.fraction <= 0)
        return "nothing is held out to compare on";
    if (d->n < GATE_FEWEST_CHUNKS && d->segments.n_damaged == 0)
        return "nothing is held out yet to compare on";
    return NULL;
}

/* The reference, loaded; the serving version when it cannot be. */
static const struct infer *get_reference(struct judge *j,
                                         struct judge_memory *m,
                                         int64_t serving, struct err *err)
{
    const struct infer *older;
    int64_t got = 0;

    if (choose_reference(j, m, serving, err) != 0)
        return NULL;
    older = serving_get(j->serving, m->reference, &got, NULL);
    if (older)
        return older;
    m->expected = -1;
    if (choose_reference(j, m, serving, err) != 0)
        return NULL;
    return serving_get(j->serving, m->reference, &got, err);
}

static int draw_for(struct judge *j, const struct judge_memory *m,
                    int64_t version, const struct infer *candidate,
                    struct draw *d, struct err *err)
{
    const struct model_shape *shape = infer_shape(candidate);
    struct draw_options options = {
        .seed = (uint64_t)j->conf->learner.seed,
        .max_tokens = j->conf->publish.gate.max_tokens,
        .mark = m->reference ? m->mark : INT64_MAX,
        .seen = m->reference ? m->seen : INT64_MAX,
    };
    struct gate_domain *domains = NULL;
    struct progress known;
    int rc;

    progress_init(&known);
    rc = load_domains(j, version, &known, &domains, err);
    options.limits = (struct segment_limits){
        .domains = known.domains.n,
        .labels = known.labels.n,
        .vocab_size = shape ? (size_t)shape->vocab_size : 0,
        .context = shape ? (size_t)shape->context : 0,
    };
    free(domains);
    progress_release(&known);
    return rc ? rc : draw_segments(j->catalog, version, &options, d, err);
}

/* Everything but the life of what it uses. */
static int judge_on(struct judge *j, int64_t version,
                    const struct infer *candidate, const struct infer *older,
                    const struct draw *d, struct judge_scores scores[3],
                    struct judgement *out, struct err *err)
{
    struct progress progress;
    struct gate_domain *domains = NULL;
    const char *why = nothing_to_compare(j, older, d);
    enum gate_patience patience = GATE_PATIENT;
    json_t *json;
    int rc;

    progress_init(&progress);
    rc = load_domains(j, version, &progress, &domains, err);
    if (rc == 0)
        rc = infer_segments(candidate, d->segments.items, d->n,
                            scores[0].nats, scores[0].right, NULL, err);
    if (rc == 0 && !why)
        rc = judge_losses_score(&j->losses, JUDGE_LOSSES_REFERENCE,
                                out->memory.reference, older, d, &scores[1],
                                err);
    if (rc == 0 && !why)
        rc = score_served(j, out->memory.reference, d, &scores[1], &scores[2],
                          err);
    if (rc == 0 && !why)
        rc = mark_known_since(j, &out->memory, domains, progress.domains.n,
                              err);
    if (rc == 0 && !why)
        rc = choose_patience(j, version, &out->memory, &patience, err);
    if (rc)
        goto out;
    fill_results(&progress, d, &scores[0], out);
    out->is_better = true;
    out->counted = d->counted;
    json = why ? simple_verdict(out, GATE_PASS, why)
               : compare(j, patience, d, scores, domains, progress.domains.n,
                         out);
    json_object_set_new(
        json, "reference",
        json_integer(out->verdict == STORE_PASSED && out->is_better
                         ? version
                         : out->memory.reference));
    json_object_set_new(json, "refused", json_integer(out->refused));
    out->gate = json;
    if (out->verdict == STORE_PASSED)
        judge_losses_remember(&j->losses, JUDGE_LOSSES_SERVED, version, d,
                              &scores[0]);
out:
    progress_release(&progress);
    free(domains);
    return rc;
}

void judge_begin(struct judge *j, int64_t serving)
{
    j->served = serving;
}

int judge_candidate(struct judge *j, int64_t version,
                    const struct infer *candidate, struct judgement *out,
                    struct err *err)
{
    const struct infer *older = NULL;
    struct draw d = {0};
    struct judge_scores scores[3];
    int rc;

    memset(out, 0, sizeof *out);
    out->shadow_difference = out->shadow_evidence = NAN;
    rc = remembered(j, version, &out->memory, err);
    if (rc)
        return rc;
    if (j->served) {
        older = get_reference(j, &out->memory, j->served, err);
        if (!older)
            return err->code;
    }
    rc = draw_for(j, &out->memory, version, candidate, &d, err);
    judge_scores_init(&scores[0], &d);
    judge_scores_init(&scores[1], &d);
    judge_scores_init(&scores[2], &d);
    if (rc == 0)
        rc = judge_on(j, version, candidate, older, &d, scores, out, err);
    if (older)
        serving_put(j->serving, older);
    judge_scores_release(&scores[0]);
    judge_scores_release(&scores[1]);
    judge_scores_release(&scores[2]);
    draw_release(&d);
    return rc;
}

int judge_broken(struct judge *j, int64_t version, bool not_finite,
                 const char *reason, struct judgement *out, struct err *err)
{
    struct guard_sight sight = {.above = true, .not_finite = not_finite};
    struct judge_memory *m = &out->memory;
    json_t *json;
    int rc;

    judgement_release(out);
    out->shadow_difference = out->shadow_evidence = NAN;
    rc = remembered(j, version, m, err);
    if (rc)
        return rc;
    json = simple_verdict(out, GATE_FAIL, reason);
    json_object_set_new(json, "reference", json_integer(m->reference));
    json_object_set_new(json, "refused", json_integer(++m->refused));
    m->above = true;
    out->gate = json;
    out->cause = guard_look(&m->rule, &sight);
    out->reference = m->reference ? m->reference : j->served;
    out->refused = m->refused;
    return 0;
}
