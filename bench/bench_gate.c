/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_gate - shows what the gate would have decided about the versions of a
 * data directory:
 *
 *     bench_gate DIR EVERY FIRST [KEY=VALUE...]
 *
 * Every EVERYth version from FIRST on is a candidate, and the reference moves
 * as in verdict.h. The daemon should have run with publish.gate.enabled=false,
 * publish.auto_rollback=false and a large publish.keep.newest. Settings are
 * keys of mneme.yaml(5). Prints each verdict with its domains (* new, ~ the
 * text has changed), and how many versions serving was behind.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"
#include "daemon/gate/gate.h"
#include "daemon/publish/holdout_scoring.h"
#include "daemon/publish/serving.h"
#include "learner/tokenizer/tokenizer.h"
#include "store/catalog.h"
#include "store/store.h"

static void die(const char *what, const struct err *err)
{
    fprintf(stderr, "bench_gate: %s: %s\n", what, err->msg);
    exit(1);
}

struct replay {
    struct conf *conf;
    struct catalog *catalog;
    struct serving *serving;
    struct holdout_scoring *scoring;
    int64_t reference, reference_rows, compared_rows;
    int64_t serves;                  /* the candidate that serves, counted */
    int64_t n, failed, equal, worst; /* verdicts; versions behind at worst */
};

static void print_domains(const struct gate_domain *d, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct gate_part *p = &d[i].part;

        if (p->chunks)
            printf("%s %-12s weight %6.3g, %3lld segments at %.4f, "
                   "%+6.2f %% +- %5.2f %%, share %.2f, with after %+.2f %%\n",
                   d[i].is_new ? "   *" : p->share < 1 ? "   ~" : "    ",
                   d[i].name, d[i].traffic, (long long)p->chunks, p->reference,
                   100 * p->regression / p->unit, 100 * p->error / p->unit,
                   p->share, 100 * p->with_after / p->unit);
    }
}

/* Counts and prints a verdict. */
static void count(struct replay *r, int64_t version,
                  const struct gate_decision *d)
{
    int64_t behind;

    r->n++;
    if (d->verdict == GATE_PASS)
        r->serves = r->n;
    behind = r->n - r->serves;
    r->failed += d->verdict == GATE_FAIL;
    r->equal += behind == 0;
    r->worst = behind > r->worst ? behind : r->worst;
    printf("version %lld against %lld: %s%s %s\n", (long long)version,
           (long long)r->reference, d->verdict == GATE_PASS ? "pass" : "FAIL",
           d->is_better ? "" : " (reference stays)", d->reason);
}

static void decide(struct replay *r, int64_t version)
{
    const struct conf_gate *c = &r->conf->publish.gate;
    const struct gate_options options = {
        .max_regression = c->max_regression,
        .max_domain_regression = c->max_domain_regression,
        .confidence = c->confidence,
    };
    struct holdout_scoring_result s = {0};
    struct holdout_scoring_task task = {
        .version = version,
        .reference = r->reference,
        .reference_rows = r->reference_rows,
        .compared_rows = r->compared_rows,
    };
    struct gate_decision d = {.verdict = GATE_PASS, .is_better = true};
    struct infer *candidate = NULL;
    struct err err = ERR_INIT;

    if (serving_load(r->serving, version, &candidate, &err) != 0)
        die("load", &err);
    task.candidate = candidate;
    if (holdout_scoring_run(r->scoring, &task, &s, &err) != 0)
        die("score", &err);
    if (r->reference)
        gate_decide(&options, s.chunks, s.n_chunks, s.domains, s.n_domains,
                    &d);
    count(r, version, &d);
    print_domains(s.domains, s.n_domains);
    r->compared_rows = s.n_rows;
    if (d.verdict == GATE_PASS && d.is_better) {
        r->reference = version;
        r->reference_rows = s.n_rows;
    }
    holdout_scoring_release(&s);
    infer_free(candidate);
}

/* Opens the model; its shape and tokenizer stay until the end. */
static void prepare(struct replay *r, int64_t version)
{
    static struct model_shape shape;
    struct tokenizer *tokenizer = NULL;
    struct buf json = BUF_INIT;
    struct err err = ERR_INIT;

    if (store_load_shape(r->catalog, version, &shape, &err) != 0 ||
        store_load_text(r->catalog, version, "tokenizer.json", &json, &err) !=
            0 ||
        tokenizer_from_json(json.data, json.len, &tokenizer, &err) != 0 ||
        tokenizer_fit(tokenizer, shape.vocab_size, &err) != 0)
        die("model", &err);
    buf_release(&json);
    r->serving = serving_create(r->catalog, NULL);
    serving_prepare(r->serving, &shape, tokenizer);
    r->scoring = holdout_scoring_create(r->conf, r->catalog, r->serving);
}

int main(int argc, char **argv)
{
    struct replay r = {.conf = conf_create()};
    struct err err = ERR_INIT;
    struct catalog_version *versions;
    struct conf_problems problems = CONF_PROBLEMS_INIT;
    size_t n;
    int64_t every, first;

    if (argc < 4) {
        fputs("usage: bench_gate DIR EVERY FIRST [KEY=VALUE...]\n", stderr);
        return 2;
    }
    every = atoll(argv[2]);
    first = atoll(argv[3]);
    if (every < 1) {
        fputs("bench_gate: EVERY is a number from 1\n", stderr);
        return 2;
    }
    if (conf_load(r.conf, NULL, (const char *const *)(argv + 4),
                  (size_t)argc - 4, NULL, &problems) != 0)
        return 2;
    if (catalog_open(argv[1], &r.catalog, &err) != 0 ||
        catalog_list(r.catalog, 0, 0, &versions, &n, &err) != 0)
        die("open", &err);
    if (n == 0) {
        fprintf(stderr, "bench_gate: %s has no version\n", argv[1]);
        return 1;
    }
    prepare(&r, versions[0].version);
    for (size_t i = n; i-- > 0;)
        if (versions[i].version >= first &&
            (versions[i].version - first) % every == 0)
            decide(&r, versions[i].version);
    printf("%lld versions, %lld failed; behind %lld at worst, equal %.0f %%\n",
           (long long)r.n, (long long)r.failed, (long long)r.worst,
           100.0 * (double)r.equal / (double)r.n);
    catalog_versions_free(versions, n);
    return 0;
}
