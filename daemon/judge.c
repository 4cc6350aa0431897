/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The draw: holdout keys are sorted by rng(seed, RNG_GATE, 0, key), and taken
 * in that order, a domain at a time in turn, until max_tokens targets are
 * there. Keys are read in pieces, since only a row knows its length.
 */
#include "config.h"

#include "daemon/judge.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/rng.h"
#include "base/xalloc.h"
#include "daemon/gate.h"
#include "daemon/progress.h"
#include "replay/replay.h"

struct cached_loss {
    int64_t key;
    double nats;
};

struct judge {
    const struct conf *conf;
    struct catalog *catalog;
    struct serving *serving;
    int64_t cached_version;
    struct cached_loss *cache; /* ascending by key */
    size_t n_cache;
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
    free(j->cache);
    free(j);
}

void judgement_release(struct judgement *j)
{
    for (size_t i = 0; i < j->n_results; i++)
        free(j->names[i]);
    free(j->names);
    free(j->results);
    buf_release(&j->gate_json);
    memset(j, 0, sizeof *j);
}

/* --- drawing ------------------------------------------------------------ */

struct ticket {
    int64_t key;
    int64_t domain;
    int64_t turn; /* how many of its domain come before it */
    uint64_t order;
};

static int by_order(const void *a, const void *b)
{
    const struct ticket *x = a, *y = b;

    if (x->order != y->order)
        return x->order < y->order ? -1 : 1;
    return (x->key > y->key) - (x->key < y->key);
}

static int by_turn(const void *a, const void *b)
{
    const struct ticket *x = a, *y = b;

    if (x->turn != y->turn)
        return x->turn < y->turn ? -1 : 1;
    return by_order(a, b);
}

static int by_key(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* All live holdout keys in the order in which they are taken. */
static struct ticket *order_keys(const struct judge *j, const int64_t *keys,
                                 const int64_t *domains, size_t n)
{
    struct ticket *tickets = xcalloc(n, sizeof *tickets);
    int64_t *turns, most = 0;

    for (size_t i = 0; i < n; i++) {
        tickets[i].key = keys[i];
        tickets[i].domain = domains[i];
        tickets[i].order = rng_u64((uint64_t)j->conf->learner.seed, RNG_GATE,
                                   0, (uint64_t)keys[i]);
        most = domains[i] > most ? domains[i] : most;
    }
    qsort(tickets, n, sizeof *tickets, by_order);
    turns = xcalloc((size_t)most + 1, sizeof *turns);
    for (size_t i = 0; i < n; i++)
        tickets[i].turn = turns[tickets[i].domain]++;
    free(turns);
    qsort(tickets, n, sizeof *tickets, by_turn);
    return tickets;
}

/* What the judge compares on. */
struct sample {
    struct replay_segments segments;
    int64_t *keys;
};

static size_t enough(const struct replay_segments *s, int64_t max_tokens)
{
    int64_t tokens = 0;
    size_t i;

    for (i = 0; i < s->n && tokens < max_tokens; i++)
        tokens += s->items[i].n_tokens ? s->items[i].n_tokens : 16;
    return i;
}

/*
 * Segments of the holdout, most even over domains. Rows average at least 16
 * targets or there are few of them, so max_tokens / 16 keys are enough to read.
 */
static int draw(const struct judge *j, int64_t version, struct sample *out,
                struct err *err)
{
    const struct conf_gate *gate = &j->conf->publish.gate;
    struct tensor_list state = TENSOR_LIST_INIT;
    struct ticket *tickets = NULL;
    const int64_t *keys, *domains;
    size_t n, take;
    int rc;

    rc = store_load(j->catalog, version, STORE_STATE, &state, err);
    if (rc == 0)
        rc = replay_index_keys(&state, REPLAY_HOLDOUT, &keys, &domains, &n,
                               err);
    if (rc)
        goto out;
    tickets = order_keys(j, keys, domains, n);
    take = (size_t)gate->max_tokens / 16 + 1;
    take = n < take ? n : take;
    out->keys = xcalloc(take, sizeof *out->keys);
    for (size_t i = 0; i < take; i++)
        out->keys[i] = tickets[i].key;
    rc = replay_db_read(catalog_lock(j->catalog), REPLAY_HOLDOUT, out->keys,
                        take, &out->segments, err);
    catalog_unlock(j->catalog);
    if (rc == 0 && out->segments.n_damaged)
        log_warn("holdout", "version=%lld damaged_rows=%zu",
                 (long long)version, out->segments.n_damaged);
    if (rc == 0)
        out->segments.n = enough(&out->segments, gate->max_tokens);
out:
    free(tickets);
    tensor_list_release(&state);
    return rc;
}

/* --- scoring ------------------------------------------------------------ */

static const struct cached_loss *cached(const struct judge *j, int64_t key)
{
    if (!j->n_cache)
        return NULL;
    return bsearch(&key, j->cache, j->n_cache, sizeof *j->cache, by_key);
}

/* Remembers a version's losses, for when it is the one that serves. */
static void remember(struct judge *j, int64_t version,
                     const struct sample *s, const double *nats)
{
    free(j->cache);
    j->cache = xcalloc(s->segments.n, sizeof *j->cache);
    j->n_cache = s->segments.n;
    j->cached_version = version;
    for (size_t i = 0; i < j->n_cache; i++)
        j->cache[i] = (struct cached_loss){s->keys[i], nats[i]};
    qsort(j->cache, j->n_cache, sizeof *j->cache, by_key);
}

/* The serving version's losses: known ones, and the rest computed. */
static int serving_losses(struct judge *j, const struct infer *serving,
                          int64_t version, const struct sample *s,
                          double *nats, struct err *err)
{
    struct segment *missing = xcalloc(s->segments.n, sizeof *missing);
    double *computed = xcalloc(s->segments.n, sizeof *computed);
    size_t *place = xcalloc(s->segments.n, sizeof *place);
    size_t n = 0;
    int rc;

    for (size_t i = 0; i < s->segments.n; i++) {
        const struct cached_loss *c =
            j->cached_version == version ? cached(j, s->keys[i]) : NULL;

        if (c) {
            nats[i] = c->nats;
        } else {
            place[n] = i;
            missing[n++] = s->segments.items[i];
        }
    }
    rc = infer_segments(serving, missing, n, computed, NULL, NULL, err);
    for (size_t i = 0; rc == 0 && i < n; i++)
        nats[place[i]] = computed[i];
    free(missing);
    free(computed);
    free(place);
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

/* What the candidate scores by domain, for the version's row. */
static void fill_results(const struct progress *progress,
                         const struct sample *s, const double *nats,
                         const uint8_t *right, struct judgement *out)
{
    size_t n = progress->domains.n;

    out->results = xcalloc(n, sizeof *out->results);
    out->names = xcalloc(n, sizeof *out->names);
    for (size_t d = 0; d < n; d++) {
        double bits = 0, bytes = 0, labelled = 0, hits = 0;
        int64_t chunks = 0;

        for (size_t i = 0; i < s->segments.n; i++) {
            const struct segment *seg = &s->segments.items[i];

            if (seg->domain != (int32_t)d)
                continue;
            chunks++;
            bits += nats[i] / log(2.0);
            bytes += seg->n_bytes;
            labelled += seg->label >= 0;
            hits += seg->label >= 0 && right[i];
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

static void set_verdict(struct judgement *out, enum store_state verdict,
                        const char *reason)
{
    struct gate_decision d = {
        .verdict = verdict == STORE_PASSED ? GATE_PASS : GATE_INCONCLUSIVE,
        .mean_regression = NAN,
        .mean_bound = NAN,
    };
    struct gate_options none = {0};

    out->verdict = verdict;
    snprintf(out->reason, sizeof out->reason, "%s", reason);
    snprintf(d.reason, sizeof d.reason, "%s", reason);
    buf_clear(&out->gate_json);
    gate_to_json(&none, NULL, 0, &d, 0, &out->gate_json);
}

static enum store_state state_of(enum gate_verdict v)
{
    return v == GATE_PASS   ? STORE_PASSED
           : v == GATE_FAIL ? STORE_FAILED
                            : STORE_INCONCLUSIVE;
}

static int compare(struct judge *j, const struct infer *serving,
                   int64_t against, const struct sample *s,
                   const double *candidate, struct gate_domain *domains,
                   size_t n_domains, struct judgement *out, struct err *err)
{
    const struct conf_gate *gate = &j->conf->publish.gate;
    struct gate_options options = {gate->max_regression, gate->confidence,
                                   gate->min_chunks};
    struct gate_chunk *chunks = xcalloc(s->segments.n, sizeof *chunks);
    double *nats = xcalloc(s->segments.n, sizeof *nats);
    struct gate_decision decision;
    int rc = serving_losses(j, serving, against, s, nats, err);

    for (size_t i = 0; rc == 0 && i < s->segments.n; i++)
        chunks[i] = (struct gate_chunk){s->segments.items[i].domain,
                                        s->segments.items[i].n_bytes,
                                        candidate[i], nats[i]};
    if (rc == 0) {
        gate_decide(&options, chunks, s->segments.n, domains, n_domains,
                    &decision);
        gate_to_json(&options, domains, n_domains, &decision, against,
                     &out->gate_json);
        out->verdict = state_of(decision.verdict);
        snprintf(out->reason, sizeof out->reason, "%s", decision.reason);
    }
    free(chunks);
    free(nats);
    return rc;
}

int judge_candidate(struct judge *j, int64_t version,
                    const struct infer *candidate, struct judgement *out,
                    struct err *err)
{
    const struct conf *conf = j->conf;
    struct sample s = {0};
    struct progress progress;
    struct gate_domain *domains = NULL;
    const struct infer *serving = NULL;
    double *nats = NULL;
    uint8_t *right = NULL;
    int64_t against = 0;
    int rc;

    memset(out, 0, sizeof *out);
    progress_init(&progress);
    rc = draw(j, version, &s, err);
    if (rc == 0)
        rc = load_domains(j, version, &progress, &domains, err);
    if (rc)
        goto out;
    nats = xcalloc(s.segments.n, sizeof *nats);
    right = xcalloc(s.segments.n, sizeof *right);
    rc = infer_segments(candidate, s.segments.items, s.segments.n, nats,
                        right, NULL, err);
    if (rc)
        goto out;
    fill_results(&progress, &s, nats, right, out);
    serving = serving_get(j->serving, 0, &against, NULL);
    if (!serving)
        set_verdict(out, STORE_PASSED, "the first version");
    else if (!conf->publish.gate.enabled)
        set_verdict(out, STORE_PASSED, "the gate is off");
    else if (conf->learner.holdout.fraction <= 0)
        set_verdict(out, STORE_PASSED, "nothing is held out to compare on");
    else if (s.segments.n < GATE_FEWEST_CHUNKS)
        set_verdict(out, STORE_PASSED,
                    "nothing is held out yet to compare on");
    else if (!infer_shape(candidate))
        set_verdict(out, STORE_PASSED,
                    "preset linear: accuracy is reported, not gated");
    else
        rc = compare(j, serving, against, &s, nats, domains,
                     progress.domains.n, out, err);
    if (rc == 0 && out->verdict == STORE_PASSED)
        remember(j, version, &s, nats);
out:
    if (serving)
        serving_put(j->serving, serving);
    progress_release(&progress);
    replay_segments_free(&s.segments);
    free(s.keys);
    free(domains);
    free(nats);
    free(right);
    return rc;
}
