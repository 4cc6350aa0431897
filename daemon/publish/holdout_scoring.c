/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/publish/holdout_scoring.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "daemon/intake/progress.h"
#include "daemon/publish/holdout_sample.h"

enum scored { CANDIDATE, REFERENCE, N_SCORED };

/* The losses of one version on one sample. */
struct losses {
    int64_t version;
    struct loss {
        int64_t key; /* of the holdout row */
        double nats;
        uint8_t right;
    } * items; /* ascending by key */
    size_t n;
};

struct holdout_scoring {
    const struct conf *conf;
    struct catalog *catalog;
    struct serving *serving;
    struct losses known[N_SCORED];
};

struct holdout_scoring *holdout_scoring_create(const struct conf *conf,
                                               struct catalog *catalog,
                                               struct serving *serving)
{
    struct holdout_scoring *h = xcalloc(1, sizeof *h);

    h->conf = conf;
    h->catalog = catalog;
    h->serving = serving;
    return h;
}

void holdout_scoring_free(struct holdout_scoring *h)
{
    if (!h)
        return;
    for (int i = 0; i < N_SCORED; i++)
        free(h->known[i].items);
    free(h);
}

void holdout_scoring_release(struct holdout_scoring_result *s)
{
    for (size_t i = 0; i < s->n_domains; i++)
        free(s->names[i]);
    free(s->names);
    free(s->results);
    free(s->domains);
    free(s->chunks);
    free(s->is_new);
    *s = (struct holdout_scoring_result){0};
}

/* --- losses ------------------------------------------------------------- */

static int by_key(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static const struct loss *find_known(const struct holdout_scoring *h,
                                     int64_t version, int64_t key)
{
    for (int i = 0; i < N_SCORED; i++)
        if (h->known[i].version == version && h->known[i].n)
            return bsearch(&key, h->known[i].items, h->known[i].n,
                           sizeof *h->known[i].items, by_key);
    return NULL;
}

/* Scores a version: takes the losses that are known, computes the others, and
 * keeps all of them. nats, right: [s->n], out. */
static int score(struct holdout_scoring *h, enum scored who, int64_t version,
                 const struct infer *weights, const struct holdout_sample *s,
                 double *nats, uint8_t *right, struct err *err)
{
    struct segment *missing = xcalloc(s->n + 1, sizeof *missing);
    double *new_nats = xcalloc(s->n + 1, sizeof *new_nats);
    uint8_t *new_right = xcalloc(s->n + 1, sizeof *new_right);
    struct loss *items = xcalloc(s->n + 1, sizeof *items);
    size_t n = 0;
    int rc;

    for (size_t i = 0; i < s->n; i++) {
        const struct loss *known = find_known(h, version, s->keys[i]);

        items[i] = known ? *known : (struct loss){.key = -1};
        if (!known)
            missing[n++] = s->segments.items[i];
    }
    rc = infer_segments(weights, missing, n, new_nats, new_right, NULL, err);
    n = 0;
    for (size_t i = 0; rc == 0 && i < s->n; i++) {
        if (items[i].key == -1) {
            items[i] = (struct loss){s->keys[i], new_nats[n], new_right[n]};
            n++;
        }
        nats[i] = items[i].nats;
        right[i] = items[i].right;
    }
    if (rc == 0) {
        qsort(items, s->n, sizeof *items, by_key);
        free(h->known[who].items);
        h->known[who] = (struct losses){version, items, s->n};
        items = NULL;
    }
    free(items);
    free(missing);
    free(new_nats);
    free(new_right);
    return rc;
}

/* --- domains ------------------------------------------------------------ */

static int load_progress(struct catalog *catalog, int64_t version,
                         struct progress *progress, struct err *err)
{
    struct catalog_version v;
    int rc = catalog_get(catalog, version, &v, err);

    if (rc)
        return rc;
    rc = progress_import(progress, v.metadata_json, strlen(v.metadata_json),
                         err);
    catalog_version_release(&v);
    return rc;
}

static bool is_protected(const struct conf_gate *gate, const char *name)
{
    for (size_t i = 0; i < gate->protect.n; i++)
        if (strcmp(gate->protect.items[i], name) == 0)
            return true;
    return false;
}

/* Lists the candidate's domains. */
static void fill_domains(const struct conf_gate *gate,
                         const struct progress *progress,
                         struct holdout_scoring_result *out)
{
    size_t n = progress->domains.n;

    out->domains = xcalloc(n + 1, sizeof *out->domains);
    out->names = xcalloc(n + 1, sizeof *out->names);
    for (size_t i = 0; i < n; i++) {
        const char *name = progress->domains.items[i];

        out->names[i] = xstrdup(name);
        out->domains[i] = (struct gate_domain){
            .name = out->names[i],
            .is_protected = is_protected(gate, name),
            .traffic = progress_traffic(progress, (int32_t)i,
                                        gate->traffic_half_life),
        };
    }
    out->n_domains = n;
}

/* Adds what the reference knew of each domain. The traffic is that of the
 * domain's last record: a domain that was silent is not forgotten. */
static void fill_old_traffic(const struct progress *reference,
                             const struct progress *candidate,
                             struct gate_domain *domains)
{
    for (size_t i = 0; i < candidate->domains.n; i++) {
        int64_t at = names_find(&reference->domains, domains[i].name);

        domains[i].learned_since = (double)candidate->by_domain[i].bytes;
        if (at < 0)
            continue;
        domains[i].learned_since -= (double)reference->by_domain[at].bytes;
        domains[i].old_traffic = reference->by_domain[at].traffic;
    }
}

/* Computes the candidate's loss by domain on the even sample. */
static void fill_results(const struct holdout_sample *s,
                         struct holdout_scoring_result *out)
{
    out->results = xcalloc(out->n_domains + 1, sizeof *out->results);
    for (size_t d = 0; d < out->n_domains; d++) {
        double bits = 0, bytes = 0, labelled = 0, right = 0;
        int64_t chunks = 0;

        for (size_t i = 0; i < out->n_chunks; i++) {
            const struct gate_chunk *c = &out->chunks[i];

            if (c->domain != (int32_t)d || !s->roles[i].even)
                continue;
            chunks++;
            bits += c->candidate_nats / log(2.0);
            bytes += c->bytes;
            labelled += c->labelled;
            right += c->labelled && c->candidate_right;
        }
        if (!chunks)
            continue;
        out->results[out->n_results++] = (struct store_domain_result){
            .domain = out->names[d],
            .bits_per_byte = bytes > 0 ? bits / bytes : NAN,
            .accuracy = labelled > 0 ? right / labelled : NAN,
            .chunks = chunks,
        };
    }
}

/* --- all of it ---------------------------------------------------------- */

static int take_sample(struct holdout_scoring *h,
                       const struct holdout_scoring_task *task,
                       const struct progress *progress,
                       struct holdout_sample *s, struct err *err)
{
    const struct model_shape *shape = infer_shape(task->candidate);
    const struct holdout_sample_options options = {
        .seed = (uint64_t)h->conf->learner.seed,
        .max_tokens = h->conf->publish.gate.max_tokens,
        .reference_rows = task->reference ? task->reference_rows : INT64_MAX,
        .compared_rows = task->reference ? task->compared_rows : INT64_MAX,
        .limits = {.domains = progress->domains.n,
                   .labels = progress->labels.n,
                   .vocab_size = shape ? (size_t)shape->vocab_size : 0,
                   .context = shape ? (size_t)shape->context : 0},
    };

    return holdout_sample_take(h->catalog, task->version, &options, s, err);
}

int holdout_scoring_run(struct holdout_scoring *h,
                        const struct holdout_scoring_task *task,
                        struct holdout_scoring_result *out, struct err *err)
{
    const struct infer *reference = NULL;
    struct holdout_sample s = {0};
    struct progress progress, old;
    double *nats[N_SCORED] = {0};
    uint8_t *right[N_SCORED] = {0};
    int64_t got;
    int rc = 0;

    *out = (struct holdout_scoring_result){0};
    progress_init(&progress);
    progress_init(&old);
    if (task->reference) {
        reference = serving_get(h->serving, task->reference, &got, err);
        rc = reference ? 0 : err->code;
    }
    if (rc == 0 && reference)
        rc = load_progress(h->catalog, task->reference, &old, err);
    out->no_reference = rc == ERR_CORRUPT || rc == ERR_NOTFOUND;
    if (rc == 0)
        rc = load_progress(h->catalog, task->version, &progress, err);
    if (rc == 0)
        fill_domains(&h->conf->publish.gate, &progress, out);
    if (rc == 0)
        fill_old_traffic(&old, &progress, out->domains);
    if (rc == 0)
        rc = take_sample(h, task, &progress, &s, err);
    for (int i = 0; i < N_SCORED; i++) {
        nats[i] = xcalloc(s.n + 1, sizeof *nats[i]);
        right[i] = xcalloc(s.n + 1, sizeof *right[i]);
    }

    if (rc == 0 && reference)
        rc = score(h, REFERENCE, task->reference, reference, &s,
                   nats[REFERENCE], right[REFERENCE], err);
    if (rc == 0)
        rc = score(h, CANDIDATE, task->version, task->candidate, &s,
                   nats[CANDIDATE], right[CANDIDATE], err);
    if (rc)
        goto out;

    out->chunks = xcalloc(s.n + 1, sizeof *out->chunks);
    out->is_new = xcalloc(s.n + 1, sizeof *out->is_new);
    out->n_chunks = s.n;
    out->n_damaged = s.segments.n_damaged;
    out->n_rows = s.n_rows;
    for (size_t i = 0; i < s.n; i++) {
        const struct segment *seg = &s.segments.items[i];

        out->is_new[i] = s.roles[i].is_new;
        out->chunks[i] = (struct gate_chunk){
            .domain = seg->domain,
            .bytes = seg->n_bytes,
            .candidate_nats = nats[CANDIDATE][i],
            .reference_nats = nats[REFERENCE][i],
            .before = s.roles[i].before,
            .newest = s.roles[i].newest,
            .labelled = seg->label >= 0,
            .candidate_right = right[CANDIDATE][i],
            .reference_right = right[REFERENCE][i],
        };
    }
    fill_results(&s, out);
out:
    serving_put(h->serving, reference);
    for (int i = 0; i < N_SCORED; i++) {
        free(nats[i]);
        free(right[i]);
    }
    holdout_sample_release(&s);
    progress_release(&progress);
    progress_release(&old);
    return rc;
}
