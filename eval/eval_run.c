/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The result of a run is a JSON object:
 *
 *     arm, seed
 *     start     [n] losses before anything was learned
 *     matrix    [n][n] losses after each part (measures.h)
 *     accuracy  [n][n] the same for labels, if there are any
 *     curve     {bytes [p], loss [p][n], accuracy [p][n]}: for the chart, on a
 *               part of the held-out records
 *     prequential_by_domain, first_contact  [n]
 *     measures  {name: value}
 *     cost      {seconds, measuring_seconds, peak_mib}, and part_seconds [n]
 *
 * A value that is not defined is null. n is the number of domains.
 */
#include "config.h"

#include "eval/eval_run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/json_value.h"
#include "base/xalloc.h"
#include "daemon/intake/vocabulary.h"
#include "daemon/train/learning.h"
#include "daemon/train/options.h"
#include "eval/measures.h"
#include "learner/kernels/ops.h"
#include "learner/tokenizer/cut.h"

#define TOPIC "eval"

/* A held-out record, cut into segments. */
struct held {
    struct record *rec;
    struct cut cut;
    uint32_t domain;
    bool in_chart;
};

/* What a measurement gives by domain. */
struct scores {
    double *loss, *accuracy; /* [n] */
};

struct run {
    const struct eval_run_options *o;
    const struct eval_texts *texts;
    size_t n; /* domains, and parts of the stream */
    struct conf conf;
    struct learning learning;
    struct record_maker maker;
    struct held *held;   /* [texts->heldout.n] */
    size_t *stream;      /* [texts->learned.n] */
    int64_t offset;      /* of the next record */
    double bytes;        /* of their texts */
    double part_seconds; /* of processor time for learning, in this part */
    double seconds, measuring_seconds;
    /* Of the first time that each record is learned: */
    double nats, text_bytes; /* of the prequential loss */
    double *domain_nats, *domain_bytes, *first_contact; /* [n] */
    double right, labelled;
    double average_nats, average_bytes; /* the same, by the moving average */
    struct progress_loss loss_before, average_before; /* when the part began */
    struct progress_loss *domain_before;
    struct status_records records_before;
    int64_t n_learned, n_refused;
    double tokens; /* learned, the replayed ones included */
    int64_t n_steps;
    size_t n_fed, n_to_feed; /* records given to intake before this part, and
                                all that will be, for the progress */
    bool again; /* the part's records are learned once more */
    /* Results: */
    double *start, *matrix, *accuracy, *live, *all_seconds;
    json_t *curve_bytes, *curve_loss, *curve_accuracy;
};

static double cpu_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool from_scratch(const struct run *r)
{
    return r->o->arm == EVAL_SCRATCH;
}

static double *reals(size_t n)
{
    double *x = xcalloc(n + 1, sizeof *x);

    for (size_t i = 0; i < n; i++)
        x[i] = NAN;
    return x;
}

/* --- measuring ---------------------------------------------------------- */

/* Scores a record's segments, and adds them to its domain. */
static int score_held(struct run *r, const struct infer *infer,
                      const struct held *h, struct scores *sum,
                      struct scores *n, struct err *err)
{
    size_t n_segments = h->cut.n_segments;
    struct segment *s = xmemdup(h->cut.segments, n_segments * sizeof *s);
    double *nats = xcalloc(n_segments, sizeof *nats);
    uint8_t *right = xcalloc(n_segments, sizeof *right);
    int label = h->rec->label ? (int)names_find(&r->learning.progress.labels,
                                                h->rec->label)
                              : -1;
    int rc;

    for (size_t i = 0; i < n_segments; i++)
        s[i].label = label;
    rc = infer_segments(infer, s, n_segments, nats, right, NULL, err);
    for (size_t i = 0; rc == 0 && i < n_segments; i++) {
        sum->loss[h->domain] += nats[i] / M_LN2;
        n->loss[h->domain] += s[i].n_bytes;
        if (h->rec->label) {
            sum->accuracy[h->domain] += right[i];
            n->accuracy[h->domain] += 1;
        }
    }
    free(s);
    free(nats);
    free(right);
    return rc;
}

enum measured {
    ALL,      /* all held-out records */
    IN_CHART, /* those of the chart */
    ALL_LIVE  /* all, with the live weights instead of their average */
};

static int measure(struct run *r, enum measured what, struct scores *out,
                   struct err *err)
{
    struct scores sum = {xcalloc(r->n, sizeof(double)),
                         xcalloc(r->n, sizeof(double))};
    struct scores n = {xcalloc(r->n, sizeof(double)),
                       xcalloc(r->n, sizeof(double))};
    double began = cpu_seconds();
    struct infer *infer = NULL;
    int rc = learning_infer(&r->learning, what == ALL_LIVE, &infer, err);

    for (size_t i = 0; rc == 0 && i < r->texts->heldout.n; i++)
        if (what != IN_CHART || r->held[i].in_chart)
            rc = score_held(r, infer, &r->held[i], &sum, &n, err);
    infer_free(infer);
    for (size_t j = 0; j < r->n; j++) {
        out->loss[j] = r->learning.has_model && n.loss[j] > 0
                           ? sum.loss[j] / n.loss[j]
                           : NAN;
        out->accuracy[j] =
            n.accuracy[j] > 0 ? sum.accuracy[j] / n.accuracy[j] : NAN;
    }
    free(sum.loss);
    free(sum.accuracy);
    free(n.loss);
    free(n.accuracy);
    r->measuring_seconds += cpu_seconds() - began;
    return rc;
}

static json_t *to_json(const double *x, size_t n)
{
    json_t *list = json_array();

    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_value_real(x[i]));
    return list;
}

static json_t *rows_to_json(const double *x, size_t rows, size_t n)
{
    json_t *list = json_array();

    for (size_t i = 0; i < rows; i++)
        json_array_append_new(list, to_json(x + i * n, n));
    return list;
}

/* Adds a point to the chart. */
static int add_point(struct run *r, struct err *err)
{
    struct scores s = {reals(r->n), reals(r->n)};
    int rc = measure(r, IN_CHART, &s, err);

    json_array_append_new(r->curve_bytes, json_real(r->bytes));
    json_array_append_new(r->curve_loss, to_json(s.loss, r->n));
    json_array_append_new(r->curve_accuracy, to_json(s.accuracy, r->n));
    free(s.loss);
    free(s.accuracy);
    return rc;
}

/* --- learning ----------------------------------------------------------- */

static const struct progress_loss *domain_loss(const struct run *r, size_t j)
{
    static const struct progress_loss none;
    long id =
        names_find(&r->learning.progress.domains, r->texts->names.items[j]);

    return id < 0 ? &none : &r->learning.progress.by_domain[id].loss;
}

static void take_losses(const struct run *r, struct progress_loss *by_domain)
{
    for (size_t j = 0; j < r->n; j++)
        by_domain[j] = *domain_loss(r, j);
}

/* A domain's first contact is the loss of its segments in the first step that
 * has any: nothing of it was learned before. */
static void take_first_contacts(struct run *r)
{
    for (size_t j = 0; j < r->n && !from_scratch(r); j++) {
        const struct progress_loss *l = domain_loss(r, j);

        if (isnan(r->first_contact[j]) && l->bytes > 0)
            r->first_contact[j] = l->nats / M_LN2 / l->bytes;
    }
}

static int step(struct run *r, struct err *err)
{
    struct learning *l = &r->learning;
    struct learner_step_output out;
    int64_t n = l->progress.records.learned;
    double began = cpu_seconds(), took;
    int rc = learning_step(l, &out, err);

    took = cpu_seconds() - began;
    r->part_seconds += took;
    r->seconds += took;
    if (rc)
        return rc;
    r->tokens += (double)out.counted_tokens;
    r->n_steps++;
    take_first_contacts(r);
    /* With preset linear a record is one segment, and each has a label. */
    n = l->has_model || r->again || from_scratch(r)
            ? 0
            : l->progress.records.learned - n;
    for (int64_t i = 0; i < n; i++)
        r->right += out.right[i];
    r->labelled += (double)n;
    return 0;
}

static int flush(struct run *r, struct err *err)
{
    int rc = 0;

    while (rc == 0 && intake_tokens(r->learning.intake) > 0)
        rc = step(r, err);
    return rc;
}

static int feed(struct run *r, size_t at, struct err *err)
{
    struct learning *l = &r->learning;
    struct record *rec = eval_texts_record(
        r->texts, &r->texts->learned.items[r->stream[at]], &r->maker, &r->conf);
    int rc;

    rec->topic = TOPIC;
    rec->offset = r->offset++;
    /* The filters would take a record that comes again for a flood. */
    rec->released = r->again;
    rc = intake_add(l->intake, rec, learner_steps(l->learner), err);
    while (rc == 0 && learning_ready(l))
        rc = step(r, err);
    return rc;
}

static bool is_over(const struct run *r, size_t part)
{
    return r->o->seconds && r->part_seconds >= r->o->seconds[part];
}

/* i: records of this part that were given to intake */
static void show(const struct run *r, size_t i)
{
    if (r->o->progress)
        r->o->progress(r->o->arg,
                       (double)(r->n_fed + i) / (double)r->n_to_feed);
}

static size_t points(const struct run *r)
{
    size_t n = r->o->o->points;

    if (from_scratch(r)) /* only the finished model is measured */
        return 1;
    return n ? n : r->n > 8 ? 1 : 4;
}

/* Learns records from..to - 1 of the stream for the first time. */
static int learn_once(struct run *r, size_t part, size_t from, size_t to,
                      struct err *err)
{
    size_t n = to - from, n_points = points(r), next = 1;
    int rc = 0;

    r->again = false;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (is_over(r, part)) {
            intake_clear(r->learning.intake);
            break;
        }
        rc = feed(r, from + i, err);
        r->bytes +=
            (double)r->texts->learned.items[r->stream[from + i]].text_bytes;
        show(r, i);
        if (rc == 0 && next < n_points && (i + 1) * n_points >= next * n &&
            i + 1 < n) {
            rc = add_point(r, err);
            next++;
        }
    }
    r->n_fed += n;
    return rc ? rc : flush(r, err);
}

static int learn_again(struct run *r, size_t part, size_t from, size_t to,
                       struct err *err)
{
    int rc = 0;

    r->again = true;
    while (rc == 0 && r->o->seconds && !is_over(r, part)) {
        for (size_t i = from; rc == 0 && i < to && !is_over(r, part); i++)
            rc = feed(r, i, err);
        if (rc == 0 && is_over(r, part))
            intake_clear(r->learning.intake);
        else if (rc == 0)
            rc = flush(r, err);
    }
    return rc;
}

static void begin_part(struct run *r)
{
    r->part_seconds = 0;
    r->loss_before = r->learning.progress.loss;
    r->average_before = r->learning.progress.average_loss;
    r->records_before = r->learning.progress.records;
    take_losses(r, r->domain_before);
}

/* Counts what the first pass over a part has learned. The arm scratch learns
 * the records of earlier parts again, so it has no prequential loss. */
static void count_part(struct run *r)
{
    const struct progress *p = &r->learning.progress;

    r->n_learned += p->records.learned - r->records_before.learned;
    r->n_refused += p->records.quarantined - r->records_before.quarantined;
    if (from_scratch(r))
        return;
    r->nats += p->loss.nats - r->loss_before.nats;
    r->text_bytes += p->loss.bytes - r->loss_before.bytes;
    r->average_nats += p->average_loss.nats - r->average_before.nats;
    r->average_bytes += p->average_loss.bytes - r->average_before.bytes;
    for (size_t j = 0; j < r->n; j++) {
        const struct progress_loss *l = domain_loss(r, j);

        r->domain_nats[j] += l->nats - r->domain_before[j].nats;
        r->domain_bytes[j] += l->bytes - r->domain_before[j].bytes;
    }
}

/* --- preparing ---------------------------------------------------------- */

static void configure(struct run *r)
{
    enum eval_arm arm = r->o->arm;
    struct conf_learner *l = &r->conf.learner;

    /* Pointers stay the caller's; nothing of it is freed here. */
    r->conf = *r->o->o->conf;
    r->conf.data_dir = NULL;
    l->seed = (int64_t)r->o->seed;
    l->holdout.fraction = 0;
    l->replay.adaptive = false; /* there is no idle time */
    l->replay.enabled = arm != EVAL_NONE && arm != EVAL_EWC;
    l->ewc.enabled = arm == EVAL_EWC || arm == EVAL_BOTH;
    if (r->texts->domains[0].learned_bytes <
            (size_t)r->conf.model.tokenizer_bytes &&
        r->o->o->by != EVAL_BY_LABEL)
        r->conf.model.tokenizer_bytes =
            (int64_t)r->texts->domains[0].learned_bytes;
}

/* Learns the vocabulary from the first records of the stream. */
static int learn_vocabulary(struct run *r, struct tokenizer **tokenizer,
                            struct err *err)
{
    struct vocabulary v;
    bool enough = false;
    int rc;

    vocabulary_init(&v, &r->conf);
    for (size_t i = 0; !enough && i < r->texts->learned.n; i++)
        enough = vocabulary_add(
            &v,
            eval_texts_record(r->texts, &r->texts->learned.items[r->stream[i]],
                              &r->maker, &r->conf));
    rc = vocabulary_learn(&v, tokenizer, err);
    vocabulary_release(&v);
    return rc;
}

static void cut_heldout(struct run *r)
{
    const struct model_shape *shape = learning_shape(&r->learning);

    for (size_t i = 0; i < r->texts->heldout.n; i++) {
        const struct eval_record *from = &r->texts->heldout.items[i];
        struct held *h = &r->held[i];
        const struct record *rec;

        h->rec = eval_texts_record(r->texts, from, &r->maker, &r->conf);
        rec = h->rec;
        h->domain = from->domain;
        h->in_chart = from->in_chart;
        cut_record(&h->cut, r->learning.tokenizer,
                   shape ? (size_t)shape->context : 0, rec->prompt,
                   rec->prompt_bytes, rec->text, rec->text_bytes, 0, -1);
    }
}

/* Creates a model that has learned nothing. */
static int create_learning(struct run *r, struct err *err)
{
    int shards = r->conf.learner.shards ? (int)r->conf.learner.shards : 1;
    struct tokenizer *tokenizer = NULL;
    int rc;

    rc = learning_open(&r->learning, &r->conf, 1, shards, err);
    if (rc == 0 && r->learning.has_model)
        rc = vocabulary_known(&r->conf, &tokenizer, err);
    if (rc == 0 && r->learning.has_model && !tokenizer)
        rc = learn_vocabulary(r, &tokenizer, err);
    if (rc == 0)
        rc = learning_prepare(&r->learning, tokenizer, err);
    if (rc == 0)
        cut_heldout(r);
    return rc;
}

static void close_learning(struct run *r)
{
    for (size_t i = 0; i < r->texts->heldout.n; i++) {
        cut_release(&r->held[i].cut);
        record_free(r->held[i].rec);
        r->held[i].rec = NULL;
    }
    learning_close(&r->learning);
}

static int prepare(struct run *r, struct err *err)
{
    configure(r);
    record_maker_init(&r->maker, r->conf.model.preset == CONF_PRESET_LINEAR);
    r->stream = xcalloc(r->texts->learned.n, sizeof *r->stream);
    eval_texts_order(
        r->texts, r->o->arm == EVAL_JOINT ? EVAL_INTERLEAVED : r->o->o->order,
        r->o->seed, r->stream);
    return create_learning(r, err);
}

/* --- the stream --------------------------------------------------------- */

/*
 * Finds the end of each part of the stream: the parts up to it have as much
 * text as the domains up to this one. In sequence, it is the end of the domain.
 *   ends  size_t[n] out, positions in the stream
 */
static void find_ends(const struct run *r, size_t *ends)
{
    size_t wanted = 0, bytes = 0, at = 0;

    for (size_t part = 0; part < r->n; part++) {
        wanted += r->texts->domains[part].learned_bytes;
        while (at < r->texts->learned.n && bytes < wanted)
            bytes += r->texts->learned.items[r->stream[at++]].text_bytes;
        ends[part] = part + 1 == r->n ? r->texts->learned.n : at;
    }
}

/* Begins with a new model, and with the first `to` records of the stream,
 * shuffled. */
static int start_anew(struct run *r, size_t to, struct err *err)
{
    eval_texts_order(r->texts, r->o->o->order, r->o->seed, r->stream);
    eval_texts_shuffle(r->stream, to, r->o->seed);
    r->bytes = 0;
    close_learning(r);
    return create_learning(r, err);
}

static int learn_stream(struct run *r, struct err *err)
{
    double *unused = reals(r->n);
    struct scores s = {r->start, unused};
    size_t from = 0, *ends = xcalloc(r->n, sizeof *ends);
    int rc = measure(r, ALL, &s, err);

    find_ends(r, ends);
    for (size_t part = 0; part < r->n; part++)
        r->n_to_feed +=
            from_scratch(r) ? ends[part] : ends[part] - r->n_to_feed;
    if (rc == 0)
        rc = add_point(r, err);
    for (size_t part = 0; rc == 0 && part < r->n; part++) {
        size_t to = ends[part];

        s = (struct scores){r->matrix + part * r->n, r->accuracy + part * r->n};
        if (from_scratch(r))
            rc = start_anew(r, to, err);
        if (rc)
            break;
        begin_part(r);
        rc = learn_once(r, part, from, to, err);
        count_part(r);
        if (rc == 0)
            rc = learn_again(r, part, from, to, err);
        r->all_seconds[part] = r->part_seconds;
        if (rc == 0)
            rc = add_point(r, err);
        if (rc == 0)
            rc = measure(r, ALL, &s, err);
        from = from_scratch(r) ? 0 : to;
    }
    s = (struct scores){r->live, unused};
    if (rc == 0)
        rc = measure(r, ALL_LIVE, &s, err);
    free(ends);
    free(unused);
    return rc;
}

static void run_init(struct run *r, const struct eval_run_options *o)
{
    memset(r, 0, sizeof *r);
    r->o = o;
    r->texts = o->texts;
    r->n = o->texts->names.n;
    r->held = xcalloc(o->texts->heldout.n, sizeof *r->held);
    r->start = reals(r->n);
    r->matrix = reals(r->n * r->n);
    r->accuracy = reals(r->n * r->n);
    r->live = reals(r->n);
    r->all_seconds = reals(r->n);
    r->first_contact = reals(r->n);
    r->domain_nats = xcalloc(r->n, sizeof(double));
    r->domain_bytes = xcalloc(r->n, sizeof(double));
    r->domain_before = xcalloc(r->n, sizeof *r->domain_before);
    r->curve_bytes = json_array();
    r->curve_loss = json_array();
    r->curve_accuracy = json_array();
}

static void run_release(struct run *r)
{
    close_learning(r);
    record_maker_release(&r->maker);
    free(r->held);
    free(r->stream);
    free(r->start);
    free(r->matrix);
    free(r->accuracy);
    free(r->live);
    free(r->all_seconds);
    free(r->first_contact);
    free(r->domain_nats);
    free(r->domain_bytes);
    free(r->domain_before);
    json_decref(r->curve_bytes);
    json_decref(r->curve_loss);
    json_decref(r->curve_accuracy);
}

/* --- the result --------------------------------------------------------- */

static void set_real(json_t *o, const char *key, double x)
{
    json_object_set_new(o, key, json_value_real(x));
}

static json_t *measures_of(const struct run *r)
{
    /* Otherwise no part of the stream is one domain. */
    bool in_parts =
        r->o->arm != EVAL_JOINT &&
        (r->o->o->order == EVAL_SEQUENCE || r->o->o->order == EVAL_GRADUAL);
    json_t *m = json_object();
    double worst = NAN;

    for (size_t j = 0; j < r->n; j++)
        worst = fmax(worst, r->first_contact[j]);
    set_real(m, "final_mean", measures_final_mean(r->matrix, r->n));
    set_real(m, "anytime_mean",
             in_parts ? measures_anytime(r->matrix, r->n) : NAN);
    set_real(m, "live_final_mean", measures_mean(r->live, r->n));
    set_real(m, "backward_transfer",
             in_parts ? measures_backward_transfer(r->matrix, r->n) : NAN);
    set_real(m, "forgetting",
             in_parts ? measures_forgetting(r->matrix, r->n) : NAN);
    set_real(m, "newest", measures_newest(r->matrix, r->n));
    set_real(m, "prequential", r->nats / M_LN2 / r->text_bytes);
    set_real(m, "average_prequential",
             r->average_nats / M_LN2 / r->average_bytes);
    set_real(m, "worst_first_contact", worst);
    set_real(m, "worst_unseen",
             in_parts ? measures_worst_unseen(r->start, r->matrix, r->n) : NAN);
    set_real(m, "final_accuracy", measures_final_mean(r->accuracy, r->n));
    set_real(m, "anytime_accuracy", measures_anytime(r->accuracy, r->n));
    set_real(m, "prequential_accuracy", r->right / r->labelled);
    set_real(m, "steps", (double)r->n_steps);
    set_real(m, "tokens", r->tokens);
    set_real(m, "consolidations",
             (double)learner_ewc(r->learning.learner)->consolidations);
    set_real(m, "records_learned", (double)r->n_learned);
    set_real(m, "records_refused", (double)r->n_refused);
    return m;
}

static json_t *result_of(const struct run *r)
{
    double *prequential = reals(r->n);
    struct rusage used;
    json_t *j;

    for (size_t i = 0; i < r->n; i++)
        prequential[i] = r->domain_nats[i] / M_LN2 / r->domain_bytes[i];
    getrusage(RUSAGE_SELF, &used);
    j = json_pack(
        "{s:s, s:I, s:o, s:o, s:o, s:{s:O, s:O, s:O}, s:o, s:o, s:o,"
        " s:{s:f, s:f, s:f, s:o}}",
        "arm", eval_arm_names[r->o->arm], "seed", (json_int_t)r->o->seed,
        "start", to_json(r->start, r->n), "matrix",
        rows_to_json(r->matrix, r->n, r->n), "accuracy",
        rows_to_json(r->accuracy, r->n, r->n), "curve", "bytes", r->curve_bytes,
        "loss", r->curve_loss, "accuracy", r->curve_accuracy,
        "prequential_by_domain", to_json(prequential, r->n), "first_contact",
        to_json(r->first_contact, r->n), "measures", measures_of(r), "cost",
        "seconds", r->seconds, "measuring_seconds", r->measuring_seconds,
        "peak_mib", (double)used.ru_maxrss / 1024, "part_seconds",
        to_json(r->all_seconds, r->n));
    if (!r->texts->has_labels) {
        json_object_del(j, "accuracy");
        json_object_del(json_object_get(j, "curve"), "accuracy");
    }
    free(prequential);
    return j;
}

int eval_run(const struct eval_run_options *o, json_t **result, struct err *err)
{
    struct run *r = xcalloc(1, sizeof *r);
    int rc;

    ops_init();
    run_init(r, o);
    rc = prepare(r, err);
    if (rc == 0)
        rc = learn_stream(r, err);
    if (rc == 0)
        *result = result_of(r);
    run_release(r);
    free(r);
    return rc;
}
