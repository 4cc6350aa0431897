/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows versions on the board. Every figure is read from the store. So a
 * restart shows the same figures as the process before it, and a rollback to a
 * version shows the same as when that version was new.
 */
#include "config.h"

#include "daemon/publish/publisher_private.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "daemon/publish/verdict_memory.h"
#include "daemon/intake/progress.h"

/* --- the lowest losses -------------------------------------------------- */

static void set_if_lower(json_t *best, const char *domain, double loss)
{
    const json_t *old = json_object_get(best, domain);

    if (isfinite(loss) && !(json_number_value(old) <= loss && old))
        json_object_set_new(best, domain, json_real(loss));
}

/* The lowest losses of a version's branch: `best` in its gate's JSON. Versions
 * of older programs have no `best`: then of the kept versions before it. */
static json_t *best_of_version(struct catalog *c, int64_t version,
                               const json_t *gate)
{
    json_t *best = json_object_get(gate, "best");
    struct catalog_version *versions = NULL;
    size_t n = 0;

    if (json_is_object(best))
        return json_deep_copy(best);
    best = json_object();
    catalog_list(c, version + 1, 0, &versions, &n, NULL);
    for (size_t i = 0; i < n; i++)
        for (size_t d = 0; d < versions[i].n_domains &&
                           versions[i].state != STORE_ROLLED_BACK;
             d++)
            set_if_lower(best, versions[i].domains[d].domain,
                         versions[i].domains[d].bits_per_byte);
    catalog_versions_free(versions, n);
    return best;
}

static json_t *load_gate(const struct catalog_version *v)
{
    return v->gate_json ? json_loads(v->gate_json, 0, NULL) : NULL;
}

void publisher_note_best(struct catalog *c, int64_t version,
                         struct verdict *j)
{
    struct catalog_version v, parent;
    json_t *best = NULL;

    if (catalog_get(c, version, &v, NULL) != 0)
        return;
    if (v.parent && catalog_get(c, v.parent, &parent, NULL) == 0) {
        json_t *gate = load_gate(&parent);

        best = best_of_version(c, v.parent, gate);
        json_decref(gate);
        catalog_version_release(&parent);
    }
    catalog_version_release(&v);
    if (!best)
        best = json_object();
    for (size_t i = 0; i < j->n_results; i++)
        set_if_lower(best, j->results[i].domain, j->results[i].bits_per_byte);
    json_object_set_new(j->gate, "best", best);
}

/* --- the board ---------------------------------------------------------- */

/* The event time of the newest record in a version; 0: none. */
static int64_t newest_record_ms(struct catalog *c, int64_t version)
{
    struct catalog_version v;
    struct progress progress;
    int64_t ms = 0;

    if (version == 0 || catalog_get(c, version, &v, NULL))
        return 0;
    progress_init(&progress);
    if (progress_import(&progress, v.metadata_json, strlen(v.metadata_json),
                        NULL) == 0)
        ms = progress.newest_record_ms;
    progress_release(&progress);
    catalog_version_release(&v);
    return ms;
}

static double number_of(const json_t *object, const char *key)
{
    const json_t *n = json_object_get(object, key);

    return json_is_number(n) ? json_number_value(n) : (double)NAN;
}

static void copy_text(const json_t *object, const char *key, char *out,
                      size_t size)
{
    const char *text = json_string_value(json_object_get(object, key));

    snprintf(out, size, "%s", text ? text : "");
}

/* The holdout losses of version v. Locks: needs the board's */
static void show_holdouts(struct status_board *b, struct status *s,
                          const struct catalog_version *v, const json_t *best)
{
    const char *domain;
    json_t *lowest;

    json_object_foreach((json_t *)best, domain, lowest)
    {
        struct status_holdout *h = &s->holdouts[s->n_holdouts];

        if (s->n_holdouts == STATUS_MAX_DOMAINS)
            break;
        *h = (struct status_holdout){status_name(b, domain), NAN,
                                     json_number_value(lowest)};
        for (size_t d = 0; d < v->n_domains; d++)
            if (strcmp(v->domains[d].domain, domain) == 0)
                h->loss = v->domains[d].bits_per_byte;
        s->n_holdouts++;
    }
}

/* Shows a verdict; gate NULL: no version has one. is_over: the serving version
 * has changed since the verdict. The next comparison then begins anew
 * (verdict.c), and this one is not shown. Locks: needs the board's */
static void show_verdict(struct status_publish *s, const char *verdict,
                         const json_t *gate, bool is_over)
{
    const json_t *live = is_over ? NULL : gate;
    const json_t *shadow = json_object_get(live, "shadow");

    snprintf(s->last_verdict, sizeof s->last_verdict, "%s", verdict);
    copy_text(gate, "reason", s->last_reason, sizeof s->last_reason);
    s->reference_version = json_integer_value(json_object_get(live, "against"));
    s->shadow_records = json_integer_value(json_object_get(shadow, "records"));
    s->shadow_difference = number_of(shadow, "difference");
    s->shadow_evidence = number_of(shadow, "evidence_at_once");
}

void publisher_show_versions(struct catalog *c, int64_t serving,
                             const struct verdict *verdict,
                             struct status_board *board)
{
    struct catalog_pointers pointers;
    struct catalog_version v = {0};
    struct verdict_memory memory;
    struct err err = ERR_INIT;
    json_t *gate = NULL, *best = NULL;
    int64_t ms = newest_record_ms(c, serving), version;
    struct status *s;

    if (catalog_pointers(c, &pointers, &err) != 0) {
        log_warn("status", "error=\"%s\"", err.msg);
        return;
    }
    verdict_memory_init(&memory);
    /* The judged version: the newest one on the branch with a verdict. */
    version = pointers.head;
    while (version && catalog_get(c, version, &v, NULL) == 0 &&
           v.state == STORE_PENDING) {
        version = v.parent;
        catalog_version_release(&v);
    }
    if (v.version) {
        gate = load_gate(&v);
        best = best_of_version(c, v.version, gate);
        verdict_memory_load(c, v.version, &memory, NULL);
    }
    s = status_lock(board);
    s->head_version = pointers.head;
    s->publish.newest_version = pointers.newest;
    s->serving_version = serving;
    s->serving_pinned = pointers.serving_pinned;
    s->serving_record_ms = ms;
    s->n_holdouts = 0;
    show_holdouts(board, s, &v, best);
    s->publish.judged_version = v.version;
    show_verdict(&s->publish, v.version ? store_state_name(v.state) : "", gate,
                 memory.expected && memory.expected != pointers.serving);
    /* Old stores have the number only in the gate's JSON. */
    s->publish.refused_in_a_row =
        memory.expected ? memory.refused
                        : json_integer_value(json_object_get(gate, "refused"));
    s->publish.passed += verdict && verdict->state == STORE_PASSED;
    s->publish.refused += verdict && verdict->state == STORE_FAILED;
    status_unlock(board);
    json_decref(gate);
    json_decref(best);
    catalog_version_release(&v);
}

void publisher_show(struct publisher *p, const struct verdict *verdict)
{
    publisher_show_versions(p->options.catalog,
                            serving_version(p->options.serving), verdict,
                            p->options.board);
}
