/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/publish/judge_parent.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/log.h"
#include "base/xalloc.h"

int judge_recall(struct catalog *c, int64_t version, struct judge_memory *m,
                 struct err *err)
{
    char *text = NULL;
    int rc = catalog_guard(c, version, &text, err);

    judge_memory_begin(m);
    if (rc == 0 && text && !judge_memory_read(m, text))
        log_warn("guard", "version=%lld reason=\"what it knew cannot be read: "
                          "it begins anew\"",
                 (long long)version);
    free(text);
    return rc;
}

/* Learning was held instead of carrying out what the guard wanted then. */
static bool was_held(struct catalog *c, int64_t version)
{
    struct catalog_hold hold = {0};
    bool held =
        catalog_hold(c, &hold, NULL) != 0 || hold.version == version;

    free(hold.reason);
    return held;
}

static void copy_results(const struct catalog_version *v,
                         struct judgement *out)
{
    out->results = xcalloc(v->n_domains + 1, sizeof *out->results);
    out->names = xcalloc(v->n_domains + 1, sizeof *out->names);
    for (size_t i = 0; i < v->n_domains; i++) {
        const struct catalog_domain *d = &v->domains[i];

        out->names[i] = xstrdup(d->domain);
        out->results[i] = (struct store_domain_result){
            .domain = out->names[i],
            .bits_per_byte = d->bits_per_byte,
            .accuracy = d->accuracy,
            .chunks = d->chunks,
        };
    }
    out->n_results = v->n_domains;
}

static bool copy_verdict(struct catalog *c,
                         const struct catalog_version *parent,
                         struct judgement *out)
{
    json_t *gate = parent->gate_json ? json_loads(parent->gate_json, 0, NULL)
                                     : NULL;
    const struct shadow *shown = judge_memory_shown(&out->memory);
    const char *waits = json_string_value(json_object_get(gate, "waits_for"));

    if (!gate)
        return false;
    out->same_as = parent->version;
    out->verdict = parent->state;
    out->gate = gate;
    snprintf(out->reason, sizeof out->reason,
             "nothing was learned since version %lld",
             (long long)parent->version);
    json_object_set_new(gate, "same_as", json_integer(parent->version));
    json_object_set_new(gate, "reason", json_string(out->reason));
    snprintf(out->waits_for, sizeof out->waits_for, "%s", waits ? waits : "");
    out->reference = out->memory.reference;
    out->refused = out->memory.refused;
    out->shadow_records = shown->records;
    out->shadow_difference = shadow_difference(shown);
    out->shadow_evidence =
        judge_memory_evidence(&out->memory, JUDGE_AT_ONCE);
    if (was_held(c, parent->version))
        out->memory.wish.cause = GUARD_NO_CAUSE;
    copy_results(parent, out);
    return true;
}

static bool has_verdict(const struct catalog_version *v)
{
    return v->state == STORE_PASSED || v->state == STORE_FAILED ||
           v->state == STORE_INCONCLUSIVE;
}

bool judge_as_parent(struct catalog *c, int64_t version, struct judgement *out)
{
    struct catalog_version v, parent;
    struct judgement copy = {0};
    bool same = false;

    if (catalog_get(c, version, &v, NULL) != 0)
        return false;
    if (v.parent && catalog_get(c, v.parent, &parent, NULL) == 0) {
        same = has_verdict(&parent) && parent.step == v.step &&
               strcmp(parent.weights_sha256, v.weights_sha256) == 0 &&
               judge_recall(c, version, &copy.memory, NULL) == 0 &&
               copy_verdict(c, &parent, &copy);
        catalog_version_release(&parent);
    }
    catalog_version_release(&v);
    if (same)
        *out = copy;
    return same;
}
