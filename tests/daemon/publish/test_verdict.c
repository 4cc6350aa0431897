/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verdict about a candidate, with losses and a catalog made by hand. This
 * program has its own holdout_scoring_run, holdout_sample_count_rows and
 * catalog_* functions, so that it loads no model and writes no file.
 */
#include "config.h"

#include "daemon/publish/verdict.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "daemon/publish/holdout_sample.h"

#define LN2 0.69314718055994530942
#define MOST 200
#define ROWS 1000 /* holdout rows counted in any version that is not scored */

/* --- a catalog and losses made by hand ---------------------------------- */

struct row {
    int64_t parent, weights;
    enum store_state state;
    char *gate, *guard;
};

static struct world {
    struct conf conf;
    struct row rows[20]; /* rows[N - 1] is version N */
    int64_t newest, head, serving, paused;
    bool pinned;
    /* The next sample. */
    struct gate_chunk chunks[MOST];
    bool is_new[MOST];
    size_t n;
    int64_t n_rows;
    size_t n_damaged;
    double learned_since;
    bool is_protected;
    int rc;             /* scoring fails with it */
    unsigned unreadable; /* bit N: version N cannot be loaded as reference */
    /* What scoring was asked for. */
    struct holdout_scoring_task task;
    int n_runs;
} w;

int catalog_get(struct catalog *c, int64_t version, struct catalog_version *v,
                struct err *err)
{
    const struct row *r = &w.rows[version - 1];

    (void)c;
    if (version < 1 || version > w.newest)
        return err_set(err, ERR_NOTFOUND, "no version %d", (int)version);
    *v = (struct catalog_version){
        .version = version,
        .parent = r->parent,
        .step = 10 * r->weights,
        .tokens_seen = 512 * r->weights,
        .state = r->state,
        .gate_json = r->gate ? xstrdup(r->gate) : NULL,
        .n_domains = 1,
    };
    snprintf(v->weights_sha256, sizeof v->weights_sha256, "%d",
             (int)r->weights);
    v->domains = xcalloc(1, sizeof *v->domains);
    v->domains[0] = (struct catalog_domain){xstrdup("old"), 2.5, NAN, 7};
    return 0;
}

void catalog_version_release(struct catalog_version *v)
{
    free(v->domains[0].domain);
    free(v->domains);
    free(v->gate_json);
}

int catalog_passed_before(struct catalog *c, int64_t version, int64_t *passed,
                          struct err *err)
{
    (void)c;
    (void)err;
    while (--version > 0 && w.rows[version - 1].state != STORE_PASSED)
        ;
    *passed = version > 0 ? version : 0;
    return 0;
}

int catalog_pointers(struct catalog *c, struct catalog_pointers *p,
                     struct err *err)
{
    (void)c;
    (void)err;
    *p = (struct catalog_pointers){w.head, w.serving, w.newest, w.pinned};
    return 0;
}

int catalog_guard(struct catalog *c, int64_t version, char **guard,
                  struct err *err)
{
    (void)c;
    (void)err;
    while (version && !w.rows[version - 1].guard)
        version = w.rows[version - 1].parent;
    *guard = version ? xstrdup(w.rows[version - 1].guard) : NULL;
    return 0;
}

int catalog_pause(struct catalog *c, struct catalog_pause *hold,
                  struct err *err)
{
    (void)c;
    (void)err;
    *hold = (struct catalog_pause){.version = w.paused};
    return 0;
}

int holdout_scoring_run(struct holdout_scoring *h,
                        const struct holdout_scoring_task *task,
                        struct holdout_scoring_result *out, struct err *err)
{
    static const char *const names[] = {"old", "new"};

    (void)h;
    w.task = *task;
    w.n_runs++;
    *out = (struct holdout_scoring_result){0};
    if (task->reference && w.unreadable >> task->reference & 1) {
        out->no_reference = true;
        return err_set(err, ERR_CORRUPT, "a checksum is wrong");
    }
    if (w.rc)
        return err_set(err, w.rc, "a loss of nan");
    out->chunks = xmemdup(w.chunks, (w.n + 1) * sizeof *w.chunks);
    out->is_new = xmemdup(w.is_new, (w.n + 1) * sizeof *w.is_new);
    out->n_chunks = w.n;
    out->n_damaged = w.n_damaged;
    out->n_rows = w.n_rows;
    out->domains = xcalloc(2, sizeof *out->domains);
    out->names = xcalloc(2, sizeof *out->names);
    out->n_domains = 2;
    for (int d = 0; d < 2; d++) {
        out->names[d] = xstrdup(names[d]);
        out->domains[d] = (struct gate_domain){.name = out->names[d],
                                               .is_protected = w.is_protected,
                                               .traffic = 1000,
                                               .old_traffic = 1000};
        out->domains[d].learned_since = w.learned_since;
    }
    out->results = xcalloc(1, sizeof *out->results);
    out->results[0] = (struct store_domain_result){
        .domain = out->names[0], .bits_per_byte = 2.5, .accuracy = NAN,
        .chunks = 7};
    out->n_results = 1;
    return 0;
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

int holdout_sample_count_rows(struct catalog *catalog, int64_t version,
                              int64_t *n_rows, struct err *err)
{
    (void)catalog;
    (void)version;
    (void)err;
    *n_rows = ROWS;
    return 0;
}

/* Appends n segments of a domain: 2 bits per byte under the reference, `shift`
 * more under the candidate, give or take `spread`. */
static struct gate_chunk *add(size_t n, int32_t domain, double shift,
                              double spread)
{
    struct gate_chunk *first = &w.chunks[w.n];

    for (size_t i = 0; i < n; i++) {
        double own = shift + (i % 2 ? spread : -spread);

        w.chunks[w.n++] = (struct gate_chunk){
            .domain = domain,
            .bytes = 200,
            .candidate_nats = (2 + own) * 200 * LN2,
            .reference_nats = 2 * 200 * LN2,
            .before = true,
        };
    }
    return first;
}

/* The last n segments arrived since the last candidate. */
static void mark_new(size_t n)
{
    for (size_t i = w.n - n; i < w.n; i++) {
        w.is_new[i] = true;
        w.chunks[i].before = false;
    }
}

/* The next candidate is scored on other segments. */
static void clear(void)
{
    memset(w.chunks, 0, sizeof w.chunks);
    memset(w.is_new, 0, sizeof w.is_new);
    w.n = 0;
    w.n_rows += 10;
}

static int set_up(void **state)
{
    (void)state;
    memset(&w, 0, sizeof w);
    w.n_rows = ROWS;
    w.conf.publish.gate.enabled = true;
    w.conf.publish.gate.max_regression = 0.02;
    w.conf.publish.gate.confidence = 0.95;
    w.conf.publish.gate.max_domain_regression = 0.1;
    w.conf.publish.gate.traffic_half_life = 2000;
    w.conf.publish.auto_rollback = true;
    w.conf.learner.holdout.fraction = 0.01;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int64_t i = 0; i < w.newest; i++) {
        free(w.rows[i].gate);
        free(w.rows[i].guard);
    }
    return 0;
}

/* --- candidates --------------------------------------------------------- */

static struct verdict_input input(int64_t version)
{
    static int weights; /* never read */

    return (struct verdict_input){
        .conf = &w.conf,
        .version = version,
        .candidate = (const struct infer *)&weights,
        .serving = w.serving,
        .serving_pinned = w.pinned,
    };
}

/* A child of the head. */
static int64_t publish_weights(int64_t weights)
{
    w.rows[w.newest] = (struct row){.parent = w.head,
                                    .weights = weights,
                                    .state = STORE_PENDING};
    return w.head = ++w.newest;
}

static int64_t publish(void)
{
    return publish_weights(w.newest + 1);
}

static struct verdict decide(int64_t version)
{
    struct verdict_input in = input(version);
    struct err err = ERR_INIT;
    struct verdict v;

    if (verdict_decide(&in, &v, &err) != 0)
        fail_msg("%s", err.msg);
    return v;
}

/* Stores a verdict, as the publisher does, and releases it. */
static void conclude(int64_t version, struct verdict *v)
{
    struct row *r = &w.rows[version - 1];

    r->state = v->state;
    r->gate = json_dumps(v->gate, JSON_COMPACT);
    r->guard = verdict_memory_write(&v->memory);
    if (v->serve)
        w.serving = version;
    verdict_release(v);
}

/* The first version, which serves and is the reference. */
static int64_t begin(void)
{
    int64_t version = publish();
    struct verdict v = decide(version);

    conclude(version, &v);
    return version;
}

static int64_t number(const struct verdict *v, const char *key)
{
    return json_integer_value(json_object_get(v->gate, key));
}

/* --- verdicts without a comparison -------------------------------------- */

static void test_first(void **state)
{
    int64_t version = publish();
    struct verdict v = decide(version);

    (void)state;
    assert_int_equal(v.state, STORE_PASSED);
    assert_true(v.serve);
    assert_string_equal(v.reason, "the first version");
    assert_int_equal(w.task.reference, 0);
    assert_int_equal(v.memory.reference, version);
    assert_int_equal(v.memory.expected, version);
    assert_int_equal(v.memory.reference_rows, ROWS);
    assert_int_equal(number(&v, "reference"), version);
    assert_int_equal(v.n_results, 1);
    assert_string_equal(v.results[0].domain, "old");
    conclude(version, &v);
}

static void check_passes(const char *reason)
{
    struct verdict v = decide(publish());

    assert_int_equal(v.state, STORE_PASSED);
    assert_true(v.serve);
    assert_string_equal(v.reason, reason);
    assert_int_equal(v.cause, GUARD_NO_CAUSE);
    verdict_release(&v);
}

static void test_nothing_to_compare(void **state)
{
    (void)state;
    begin();
    w.conf.publish.gate.enabled = false;
    check_passes("the gate is off");
    assert_int_equal(w.task.reference, 0);
    w.conf.publish.gate.enabled = true;
    w.conf.learner.holdout.fraction = 0;
    check_passes("nothing is held out to compare on");
    assert_int_equal(w.task.reference, 0);
    w.conf.learner.holdout.fraction = 0.01;
    check_passes("nothing is held out yet to compare on");
    add(1, 0, 5, 0);
    check_passes("nothing is held out yet to compare on");
    assert_int_equal(w.task.reference, 1);
    w.n_damaged = 3;
    check_passes("the held-out records are damaged: nothing to compare on");
}

/* --- the comparison ----------------------------------------------------- */

static void test_better(void **state)
{
    int64_t first = begin(), version = publish();
    struct verdict v;

    (void)state;
    clear();
    add(60, 0, -0.2, 0.05);
    v = decide(version);
    assert_int_equal(v.state, STORE_PASSED);
    assert_true(v.serve);
    assert_int_equal(v.reference, first);
    assert_int_equal(w.task.reference, first);
    assert_int_equal(v.memory.reference, version);
    assert_int_equal(v.memory.reference_rows, w.n_rows);
    assert_int_equal(v.memory.refused, 0);
    assert_int_equal(number(&v, "against"), first);
    assert_int_equal(number(&v, "reference"), version);
    conclude(version, &v);
}

/* Within its limit, but a little worse: it serves, and the next candidate is
 * compared with the better one. */
static void test_reference_stays(void **state)
{
    int64_t first = begin(), version = publish();
    struct verdict v;

    (void)state;
    add(60, 0, 0.01, 0.01);
    v = decide(version);
    assert_int_equal(v.state, STORE_PASSED);
    assert_true(v.serve);
    assert_int_equal(v.memory.reference, first);
    assert_int_equal(v.memory.expected, version);
    assert_int_equal(number(&v, "reference"), first);
    conclude(version, &v);
    v = decide(publish());
    assert_int_equal(w.task.reference, first);
    verdict_release(&v);
}

static void test_worse(void **state)
{
    int64_t first = begin(), version = publish();
    struct verdict v;

    (void)state;
    add(60, 0, 0.3, 0.05);
    v = decide(version);
    assert_int_equal(v.state, STORE_FAILED);
    assert_false(v.serve);
    assert_non_null(strstr(v.reason, "recent traffic: +15.00 %"));
    assert_int_equal(v.memory.refused, 1);
    assert_int_equal(v.memory.reference, first);
    assert_int_equal(v.memory.expected, first);
    assert_int_equal(number(&v, "refused"), 1);
    assert_int_equal(number(&v, "reference"), first);
    assert_int_equal(v.cause, GUARD_NO_CAUSE);
    conclude(version, &v);
    v = decide(publish());
    assert_int_equal(v.memory.refused, 2);
    verdict_release(&v);
}

/* The text of a domain changes: it gains on its new text and loses 5 % on the
 * old. The less the old text is of the traffic, the less its loss counts. */
static void test_changed_stream(void **state)
{
    const struct {
        double learned_since; /* the traffic was 1,000 */
        enum store_state verdict;
    } cases[] = {
        {GATE_CHANGED * 1000, STORE_FAILED},
        /* A quarter of 5 %; the limit is 2 %. */
        {GATE_CHANGED * 1000 + 1, STORE_PASSED},
    };

    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct gate_chunk *c;
        struct verdict v;

        tear_down(state);
        set_up(state);
        begin();
        add(40, 0, 0.1, 0.02);
        c = add(100, 0, -0.9, 0.02);
        for (int i = 0; i < 100; i++)
            c[i].before = false;
        w.learned_since = cases[k].learned_since;
        v = decide(publish());
        assert_int_equal(v.state, cases[k].verdict);
        assert_int_equal(v.memory.reference == w.newest,
                         v.state == STORE_PASSED);
        verdict_release(&v);
    }
}

/* A protected domain within its limit: the candidate serves, and the reference
 * stays. */
static void test_protected(void **state)
{
    int64_t first = begin();
    struct verdict v;

    (void)state;
    w.is_protected = true;
    add(60, 0, 0.02, 0.005);
    add(60, 1, -0.9, 0.02);
    v = decide(publish());
    assert_int_equal(v.state, STORE_PASSED);
    assert_int_equal(v.memory.reference, first);
    verdict_release(&v);
    w.is_protected = false;
    v = decide(publish());
    assert_int_equal(v.memory.reference, w.newest);
    verdict_release(&v);
}

/* --- serving and the reference ------------------------------------------ */

static void test_pinned(void **state)
{
    int64_t first = begin();
    struct verdict v;

    (void)state;
    w.pinned = true;
    add(60, 0, -0.2, 0.05);
    v = decide(publish());
    assert_int_equal(v.state, STORE_PASSED);
    assert_false(v.serve);
    assert_int_equal(v.memory.reference, first);
    assert_int_equal(v.memory.expected, first);
    verdict_release(&v);
}

/* An operator promotes a version that failed: it becomes the reference. */
static void test_promoted(void **state)
{
    int64_t version;
    struct verdict v;

    (void)state;
    begin();
    add(60, 0, 0.3, 0.05);
    mark_new(5);
    version = publish();
    v = decide(version);
    assert_int_equal(v.memory.text.records, 5);
    conclude(version, &v);
    w.serving = version;
    clear();
    add(60, 0, 0, 0.05);
    v = decide(publish());
    assert_int_equal(w.task.reference, version);
    assert_int_equal(w.task.reference_rows, ROWS);
    assert_int_equal(v.reference, version);
    assert_int_equal(v.shadow_records, 0);
    verdict_release(&v);
}

/* Two versions, of which the first is the reference and the second serves. */
static int64_t begin_with_two(void)
{
    int64_t version;
    struct verdict v;

    begin();
    add(60, 0, 0.01, 0.01);
    version = publish();
    v = decide(version);
    conclude(version, &v);
    w.n_runs = 0;
    return version;
}

static void test_damaged_reference(void **state)
{
    int64_t serving = begin_with_two();
    struct verdict v;

    (void)state;
    w.rows[0].state = STORE_DAMAGED;
    v = decide(publish());
    assert_int_equal(w.task.reference, serving);
    assert_int_equal(w.n_runs, 1);
    verdict_release(&v);
}

/* The damage is found only when the reference is loaded. */
static void test_unreadable_reference(void **state)
{
    int64_t serving = begin_with_two(), version;
    struct verdict v;

    (void)state;
    w.unreadable = 1U << 1;
    version = publish();
    v = decide(version);
    assert_int_equal(w.n_runs, 2);
    assert_int_equal(w.task.reference, serving);
    assert_int_equal(v.reference, serving);
    assert_int_equal(v.state, STORE_PASSED);
    conclude(version, &v);
    /* It is found once. */
    v = decide(publish());
    assert_int_equal(w.n_runs, 3);
    assert_int_equal(v.reference, serving);
    verdict_release(&v);
}

/* The serving version cannot be loaded either: an older one that passed takes
 * its place. */
static void test_older_reference(void **state)
{
    int64_t serving = begin_with_two();
    struct verdict v;

    (void)state;
    v = decide(publish()); /* serving + 1, which fails */
    w.rows[serving].state = STORE_FAILED;
    verdict_release(&v);
    w.serving = publish();
    w.unreadable = 1U << w.serving;
    v = decide(publish());
    assert_int_equal(w.n_runs, 3);
    assert_int_equal(w.task.reference, serving);
    assert_int_equal(v.reference, serving);
    assert_int_equal(v.state, STORE_PASSED);
    verdict_release(&v);
}

static void test_no_reference(void **state)
{
    (void)state;
    begin_with_two();
    w.unreadable = ~0U;
    check_passes("no earlier version can be read to compare with");
    assert_int_equal(w.task.reference, 0);
}

/* A store of an older program has no memory, only the gate's JSON. */
static void test_old_store(void **state)
{
    static const char *const gates[] = {
        "{}", "{\"reference\":1,\"refused\":0}", "{\"refused\":7}"};
    struct verdict v;

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct row *r = &w.rows[publish() - 1];

        r->state = i < 2 ? STORE_PASSED : STORE_FAILED;
        r->gate = xstrdup(gates[i]);
    }
    w.serving = 2;
    add(60, 0, 0.3, 0.05);
    v = decide(publish());
    assert_int_equal(w.task.reference, 1);
    assert_int_equal(v.memory.refused, 8);
    verdict_release(&v);
}

/* --- damage ------------------------------------------------------------- */

static void test_found_while_scoring(void **state)
{
    int64_t first = begin();
    struct err err = ERR_INIT;
    struct verdict_input in;
    struct verdict v;

    (void)state;
    w.rc = ERR_DIVERGED;
    v = decide(publish());
    assert_int_equal(v.state, STORE_FAILED);
    assert_string_equal(v.reason, "not finite: a loss of nan");
    assert_int_equal(v.cause, GUARD_NOT_FINITE);
    assert_int_equal(v.memory.request.cause, GUARD_NOT_FINITE);
    assert_int_equal(v.memory.request.version, first);
    assert_int_equal(v.memory.refused, 1);
    verdict_release(&v);
    /* Any other error is no verdict. */
    w.rc = ERR_IO;
    in = input(publish());
    assert_int_equal(verdict_decide(&in, &v, &err), ERR_IO);
    verdict_release(&v);
}

static void test_damaged_candidate(void **state)
{
    struct verdict_input in;
    struct verdict v;

    (void)state;
    begin();
    w.n_runs = 0;
    in = input(publish());
    in.candidate = NULL;
    in.damage = "cannot be read back: two rows differ";
    assert_int_equal(verdict_decide(&in, &v, NULL), 0);
    assert_int_equal(v.state, STORE_FAILED);
    assert_string_equal(v.reason, in.damage);
    assert_int_equal(v.cause, GUARD_NO_CAUSE);
    assert_int_equal(w.n_runs, 0);
    verdict_release(&v);
    in.not_finite = true;
    assert_int_equal(verdict_decide(&in, &v, NULL), 0);
    assert_int_equal(v.cause, GUARD_NOT_FINITE);
    verdict_release(&v);
    /* The very first version: there is none to go back to. */
    in.serving = 0;
    in.version = 1;
    assert_int_equal(verdict_decide(&in, &v, NULL), 0);
    verdict_release(&v);
}

static void test_nothing_to_go_back_to(void **state)
{
    struct verdict_input in = input(publish());
    struct verdict v;

    (void)state;
    in.candidate = NULL;
    in.damage = "not finite: optim.m";
    in.not_finite = true;
    assert_int_equal(verdict_decide(&in, &v, NULL), 0);
    assert_int_equal(v.cause, GUARD_NOT_FINITE);
    assert_int_equal(v.reference, 0);
    assert_int_equal(v.memory.request.cause, GUARD_NO_CAUSE);
    verdict_release(&v);
}

/* --- the shadow comparison and the guard -------------------------------- */

/* Each new segment counts once, for the first candidate after it. */
static void test_counted_once(void **state)
{
    int64_t version;
    struct verdict v;

    (void)state;
    begin();
    clear();
    add(60, 0, 0.3, 0.05);
    mark_new(8);
    w.chunks[w.n - 1].before = true; /* older than the reference */
    version = publish();
    v = decide(version);
    assert_int_equal(v.memory.text.records, 7);
    assert_float_equal(v.memory.scale, 2, 1e-9);
    assert_int_equal(v.memory.compared_rows, w.n_rows);
    verdict_release(&v);
    /* The disk was full, and the decision is made again. */
    v = decide(version);
    assert_int_equal(v.memory.text.records, 7);
    conclude(version, &v);
    clear();
    add(60, 0, 0.3, 0.05);
    mark_new(2);
    v = decide(publish());
    assert_int_equal(w.task.compared_rows, w.n_rows - 10);
    assert_int_equal(v.memory.text.records, 9);
    assert_int_equal(v.shadow_records, 9);
    verdict_release(&v);
}

static struct verdict worse_again(void)
{
    clear();
    add(60, 0, 0.6, 0.05);
    add(30, 0, 0.6, 0.05);
    mark_new(30);
    return decide(publish());
}

static void test_request(void **state)
{
    int64_t first = begin(), head;
    struct verdict v = worse_again();

    (void)state;
    assert_true(v.shadow_log_wealth > -log(GUARD_ALPHA));
    assert_int_equal(v.cause, GUARD_NO_CAUSE); /* once may be chance */
    conclude(w.head, &v);
    v = worse_again();
    assert_int_equal(v.cause, GUARD_WORSE);
    assert_int_equal(v.memory.request.cause, GUARD_WORSE);
    assert_int_equal(v.memory.request.version, first);
    assert_non_null(strstr(v.memory.request.reason, "version 3: "));
    assert_non_null(strstr(v.memory.request.reason, "3 % better"));
    head = w.head;
    verdict_release(&v);
    w.conf.publish.auto_rollback = false;
    v = decide(head);
    assert_int_equal(v.cause, GUARD_WORSE);
    assert_int_equal(v.memory.request.cause, GUARD_NO_CAUSE);
    verdict_release(&v);
    /* The stream has changed its domain: better on the newest segments. */
    w.conf.publish.auto_rollback = true;
    add(2, 1, -1, 0);
    mark_new(2);
    w.chunks[w.n - 1].newest = w.chunks[w.n - 2].newest = true;
    v = decide(head);
    assert_int_equal(v.cause, GUARD_NO_CAUSE);
    assert_int_equal(v.memory.worse_in_a_row, 0);
    verdict_release(&v);
}

/* Above a limit three times, also on new segments: the shadow comparison needs
 * many more of them. */
static void test_above_again(void **state)
{
    (void)state;
    begin();
    for (int turn = 1; turn <= 3; turn++) {
        struct verdict v;

        clear();
        add(60, 0, 0.3, 0.05);
        add(6, 0, 0.3, 0.05);
        mark_new(turn == 1 ? 6 : 2);
        for (size_t i = 60; i < w.n; i++)
            w.chunks[i].before = false;
        v = decide(publish());
        assert_int_equal(v.state, STORE_FAILED);
        assert_true(v.shadow_log_wealth < -log(GUARD_ALPHA));
        assert_int_equal(v.memory.worse_in_a_row, turn);
        assert_int_equal(v.cause, turn < 3 ? GUARD_NO_CAUSE : GUARD_ABOVE);
        assert_int_equal(v.memory.request.cause, v.cause);
        conclude(w.head, &v);
    }
}

/* Labels alone (preset linear): the reference classifies better. */
static void test_labels(void **state)
{
    struct gate_chunk *c;
    struct verdict v;

    (void)state;
    begin();
    for (int turn = 0; turn < 2; turn++) {
        clear();
        c = add(100, 0, 0, 0);
        for (int i = 0; i < 100; i++) {
            c[i].bytes = c[i].candidate_nats = c[i].reference_nats = 0;
            c[i].labelled = c[i].reference_right = true;
            c[i].candidate_right = i % 2;
        }
        mark_new(50);
        v = decide(publish());
        assert_int_equal(v.state, STORE_FAILED);
        assert_non_null(strstr(v.reason, "labels lost"));
        assert_int_equal(v.memory.labels.records, 50 * (turn + 1));
        assert_int_equal(v.cause, turn ? GUARD_WORSE : GUARD_NO_CAUSE);
        conclude(w.head, &v);
    }
}

/* --- a version without a step of its own --------------------------------- */

static void test_same_as_parent(void **state)
{
    int64_t first = begin(), version = publish_weights(1);
    struct verdict v;

    (void)state;
    w.n_runs = 0;
    v = decide(version);
    assert_int_equal(v.same_as, first);
    assert_int_equal(v.state, STORE_PASSED);
    assert_string_equal(v.reason, "nothing was learned since version 1");
    assert_int_equal(w.n_runs, 0);
    assert_true(v.serve);
    assert_int_equal(v.memory.reference, version);
    assert_int_equal(v.memory.expected, version);
    assert_int_equal(v.n_results, 1);
    assert_int_equal(number(&v, "same_as"), first);
    conclude(version, &v);
}

/* Nothing counts twice, and an open request stays open, unless learning was
 * paused instead. */
static void test_same_as_failed(void **state)
{
    int64_t version;
    struct verdict v;

    (void)state;
    begin();
    v = worse_again();
    conclude(w.head, &v);
    v = worse_again();
    assert_int_equal(v.memory.request.cause, GUARD_WORSE);
    conclude(w.head, &v);
    version = publish_weights(3);
    v = decide(version);
    assert_int_equal(v.state, STORE_FAILED);
    assert_false(v.serve);
    assert_int_equal(v.memory.refused, 2);
    assert_int_equal(v.memory.worse_in_a_row, 2);
    assert_int_equal(v.memory.text.records, 60);
    assert_int_equal(v.cause, GUARD_NO_CAUSE);
    assert_int_equal(v.memory.request.cause, GUARD_WORSE);
    conclude(version, &v);
    w.paused = version;
    v = decide(publish_weights(3));
    assert_int_equal(v.memory.request.cause, GUARD_NO_CAUSE);
    verdict_release(&v);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_first),
        T(test_nothing_to_compare),
        T(test_better),
        T(test_reference_stays),
        T(test_worse),
        T(test_changed_stream),
        T(test_protected),
        T(test_pinned),
        T(test_promoted),
        T(test_damaged_reference),
        T(test_unreadable_reference),
        T(test_older_reference),
        T(test_no_reference),
        T(test_old_store),
        T(test_found_while_scoring),
        T(test_damaged_candidate),
        T(test_nothing_to_go_back_to),
        T(test_counted_once),
        T(test_request),
        T(test_above_again),
        T(test_labels),
        T(test_same_as_parent),
        T(test_same_as_failed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
