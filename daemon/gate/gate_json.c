/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the gate found, as `mneme show` prints it and a version keeps it.
 */
#include "config.h"

#include "daemon/gate/gate.h"

#include "base/json_value.h"

static json_t *part_json(const struct gate_part *p)
{
    if (p->chunks == 0)
        return json_null();
    return json_pack("{s:I, s:o, s:o, s:o}", "chunks", (json_int_t)p->chunks,
                     "regression", json_value_real(p->regression), "error",
                     json_value_real(p->error), "limit",
                     json_value_real(p->limit));
}

static json_t *accuracy_json(const struct gate_accuracy *a)
{
    if (a->labelled == 0)
        return json_null();
    return json_pack("{s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "labelled",
                     (json_int_t)a->labelled, "lost", (json_int_t)a->lost,
                     "gained", (json_int_t)a->gained, "serving",
                     json_value_real(a->serving), "candidate",
                     json_value_real(a->candidate), "limit",
                     json_value_real(a->limit), "p", json_value_real(a->p));
}

static json_t *domain_json(const struct gate_domain *g)
{
    return json_pack(
        "{s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:b, s:b, s:o}", "domain", g->name,
        "chunks", (json_int_t)g->chunks, "serving", json_value_real(g->serving),
        "candidate", json_value_real(g->candidate), "regression",
        json_value_real(g->regression), "error", json_value_real(g->error),
        "limit", json_value_real(g->limit), "protected", g->is_protected,
        "pooled", g->pooled, "before", part_json(&g->before));
}

json_t *gate_to_json(const struct gate_options *options,
                     const struct gate_domain *domains, size_t n_domains,
                     const struct gate_decision *d, int64_t against)
{
    json_t *list = json_array();

    for (size_t i = 0; i < n_domains; i++)
        if (domains[i].chunks)
            json_array_append_new(list, domain_json(&domains[i]));
    return json_pack(
        "{s:s, s:s, s:o, s:b, s:I, s:f, s:f, s:o, s:o, s:o, s:b, s:i, s:o, "
        "s:o, s:o, s:b, s:o, s:o}",
        "verdict", gate_verdict_name(d->verdict), "reason", d->reason,
        "waits_for", d->waits_for[0] ? json_string(d->waits_for) : json_null(),
        "above_limit", d->above, "against", (json_int_t)against,
        "max_regression", options->max_regression, "confidence",
        options->confidence, "mean_regression",
        json_value_real(d->mean_regression), "mean_bound",
        json_value_real(d->mean_bound), "old_regression",
        json_value_real(d->old_regression), "waived", d->waived, "patience",
        (int)options->patience, "recent", part_json(&d->recent),
        "little_before", part_json(&d->little), "since", part_json(&d->since),
        "newest_better", d->newest_better, "accuracy",
        accuracy_json(&d->accuracy), "domains", list);
}
