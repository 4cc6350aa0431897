/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/board/status.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json_value.h"
#include "base/timing.h"
#include "base/utf8.h"
#include "base/xalloc.h"

const char *status_state_name(enum status_state s)
{
    static const char *const names[] = {"starting", "learning",
                                        "waiting",  "paused",
                                        "rolling_back", "stopping"};

    return names[s];
}

void status_board_init(struct status_board *b)
{
    memset(b, 0, sizeof *b);
    pthread_mutex_init(&b->mutex, NULL);
    b->now.started_ms = timing_mono_ms();
    b->now.source_type = "";
    b->now.train_bits_per_byte = NAN;
    b->now.prequential_bits_per_byte = NAN;
    b->now.prequential_total = NAN;
    b->now.accuracy = NAN;
}

void status_board_release(struct status_board *b)
{
    names_release(&b->names);
    names_release(&b->topics);
    free(b->places);
    pthread_mutex_destroy(&b->mutex);
}

struct status *status_lock(struct status_board *b)
{
    pthread_mutex_lock(&b->mutex);
    return &b->now;
}

void status_unlock(struct status_board *b)
{
    pthread_mutex_unlock(&b->mutex);
}

struct status *status_copy(struct status_board *b)
{
    struct status *s = xmalloc(sizeof *s);

    *s = *status_lock(b);
    status_unlock(b);
    return s;
}

void status_set_state(struct status_board *b, enum status_state state,
                      const char *reason)
{
    struct status *s = status_lock(b);

    s->state = state;
    s->reason[0] = '\0';
    if (reason)
        strncat(s->reason, reason, sizeof s->reason - 1);
    status_unlock(b);
}

const char *status_name(struct status_board *b, const char *name)
{
    long id = names_add(&b->names, name); /* may move the items */

    return b->names.items[id];
}

/* --- where the learner is ----------------------------------------------- */

void status_set_places(struct status_board *b,
                       const struct source_position *positions, size_t n)
{
    b->places = xreallocarray(b->places, n + 1, sizeof *b->places);
    b->n_places = n;
    for (size_t i = 0; i < n; i++)
        b->places[i] = (struct status_place){
            .topic = names_add(&b->topics, positions[i].topic),
            .partition = positions[i].partition,
            .next_offset = positions[i].next_offset,
        };
}

/* The next offset to be learned from. A place that the source has gone over as
 * a gap, or has not come to, is one that Kafka has no more. */
static int64_t learner_offset(struct status_board *b,
                              const struct source_partition *p)
{
    int64_t place = -1;
    long topic;

    status_lock(b);
    topic = names_find(&b->topics, p->topic);
    for (size_t i = 0; i < b->n_places; i++)
        if (b->places[i].topic == topic &&
            b->places[i].partition == p->partition)
            place = b->places[i].next_offset;
    status_unlock(b);
    if (place < p->start)
        place = p->start;
    return place < 0 || place > p->offset ? p->offset : place;
}

/* The source's partitions with the learner's offsets, to be freed. */
static size_t get_partitions(struct status_board *b,
                             struct source_partition **rows)
{
    size_t n = 0;

    *rows = NULL;
    if (b->source)
        n = b->source_get_partitions(b->source, rows);
    for (size_t i = 0; i < n; i++)
        (*rows)[i].offset = learner_offset(b, &(*rows)[i]);
    return n;
}

/* --- JSON --------------------------------------------------------------- */

static json_t *text_or_null(const char *s)
{
    return s[0] ? json_value_text(s) : json_null();
}

static json_t *partitions_json(struct status_board *b)
{
    json_t *list = json_array();
    struct source_partition *rows;
    size_t n = get_partitions(b, &rows);

    for (size_t i = 0; i < n; i++) {
        const struct source_partition *p = &rows[i];
        json_t *lag = p->end >= 0 && p->end >= p->offset
                          ? json_integer(p->end - p->offset)
                          : json_null();

        json_array_append_new(list,
                              json_pack("{s:o, s:i, s:I, s:o}", "topic",
                                        json_value_text(p->topic), "partition",
                                        (int)p->partition, "offset",
                                        (json_int_t)p->offset, "lag", lag));
    }
    free(rows);
    return list;
}

static const char *health_name(enum source_state state)
{
    static const char *const names[] = {"running", "retrying", "stopped",
                                        "ended"};

    return names[state];
}

static json_t *source_json(struct status_board *b, const char *type)
{
    struct source_health health = {0};

    if (b->source)
        b->source_get_health(b->source, &health);
    return json_pack(
        "{s:s, s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "type", type,
        "state",
        health_name(health.state), "reason", text_or_null(health.reason),
        "gaps", (json_int_t)health.gaps, "records_read",
        (json_int_t)health.records_read, "dead_lettered",
        (json_int_t)health.dead_lettered, "dead_letters_failed",
        (json_int_t)health.dead_letters_failed, "dead_letters_waiting",
        (json_int_t)health.dead_letters_waiting, "times_cut",
        (json_int_t)health.times_cut, "partitions", partitions_json(b));
}

static struct status_holdout holdout_of(const struct status *s,
                                        const struct status_domain *d)
{
    for (size_t i = 0; i < s->n_holdouts; i++)
        if (s->holdouts[i].domain == d->name)
            return s->holdouts[i];
    return (struct status_holdout){d->name, NAN, NAN};
}

static json_t *domain_json(const struct status *s,
                           const struct status_domain *d)
{
    struct status_holdout h = holdout_of(s, d);

    return json_pack(
        "{s:o, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:I}", "domain",
        json_value_text(d->name), "records", (json_int_t)d->records, "bytes",
        (json_int_t)d->bytes, "prequential_bits_per_byte",
        json_value_real(d->prequential), "holdout_bits_per_byte",
        json_value_real(h.loss), "holdout_best_bits_per_byte",
        json_value_real(h.best), "forgetting_bits_per_byte",
        json_value_real(h.loss - h.best), "accuracy",
        json_value_real(d->accuracy), "replay_rows",
        (json_int_t)d->replay_rows);
}

static json_t *domains_list(const struct status *s)
{
    json_t *list = json_array();

    for (size_t i = 0; i < s->n_domains; i++)
        json_array_append_new(list, domain_json(s, &s->domains[i]));
    return list;
}

/* The list has the first STATUS_MAX_DOMAINS of them. */
static json_t *domains_known(const struct status *s)
{
    return json_integer((json_int_t)s->n_domains_known);
}

static json_t *quarantine_json(const struct status *s)
{
    json_t *counts = json_object();

    for (size_t i = 0; i < s->n_quarantine; i++)
        json_object_set_new(counts, s->quarantine[i].reason,
                            json_integer(s->quarantine[i].count));
    return counts;
}

static json_t *records_json(const struct status_records *r)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I}", "consumed",
                     (json_int_t)r->consumed, "learned",
                     (json_int_t)r->learned, "skipped",
                     (json_int_t)r->skipped, "quarantined",
                     (json_int_t)r->quarantined, "holdout",
                     (json_int_t)r->holdout);
}

/* null: nothing to compare with yet. */
static json_t *shadow_json(const struct status_publish *p)
{
    if (p->reference_version == 0)
        return json_null();
    return json_pack("{s:I, s:I, s:o, s:o}", "against",
                     (json_int_t)p->reference_version, "records",
                     (json_int_t)p->shadow_records, "difference",
                     json_value_real(p->shadow_difference), "evidence",
                     json_value_real(p->shadow_evidence));
}

/* Seconds until a time on the monotonic clock; null when it is not known. */
static json_t *seconds_until(int64_t mono_ms)
{
    if (!mono_ms)
        return json_null();
    return json_real(fmax(0, (double)(mono_ms - timing_mono_ms()) / 1000));
}

/* null: there is nothing to publish. */
static json_t *next_version_json(const struct status_publish *p)
{
    if (!p->next_waits_for)
        return json_null();
    return json_pack("{s:s, s:o}", "waits_for", p->next_waits_for,
                     "in_seconds", seconds_until(p->next_ms));
}

static json_t *publish_json(const struct status_publish *p)
{
    return json_pack(
        "{s:I, s:I, s:f, s:f, s:f, s:f, s:o, s:I, s:I, s:I, s:I, s:I, s:o, "
        "s:o, s:I, s:I, s:o, s:o, s:o}",
        "count",
        (json_int_t)p->count, "failed", (json_int_t)p->failed,
        "last_seconds", p->last_seconds, "last_cpu_seconds",
        p->last_cpu_seconds, "last_stop_seconds", p->last_stop_seconds,
        "interval_seconds", p->interval_seconds, "next_version",
        next_version_json(p), "judged_version", (json_int_t)p->judged_version,
        "passed", (json_int_t)p->passed, "refused", (json_int_t)p->refused,
        "inconclusive", (json_int_t)p->inconclusive, "rollbacks",
        (json_int_t)p->rollbacks, "last_verdict",
        text_or_null(p->last_verdict), "last_reason",
        text_or_null(p->last_reason), "automatic_rollbacks",
        (json_int_t)p->automatic, "refused_in_a_row",
        (json_int_t)p->refused_in_a_row, "waits_for",
        text_or_null(p->waits_for), "last_rollback",
        text_or_null(p->last_rollback), "shadow", shadow_json(p));
}

/* Seconds since the newest record that the serving version has learned from;
 * NaN when it has none with a time. */
static double freshness(const struct status *s)
{
    double ms = (double)timing_wall_ms() - (double)s->serving_record_ms;

    return s->serving_record_ms ? fmax(0, ms / 1000) : (double)NAN;
}

static void add_learning(json_t *root, const struct status *s)
{
    json_object_set_new(root, "records", records_json(&s->records));
    json_object_set_new(root, "loss",
                        json_pack("{s:o, s:o, s:o}", "train_bits_per_byte",
                                  json_value_real(s->train_bits_per_byte),
                                  "prequential_bits_per_byte",
                                  json_value_real(s->prequential_bits_per_byte),
                                  "prequential_total_bits_per_byte",
                                  json_value_real(s->prequential_total)));
    json_object_set_new(root, "accuracy", json_value_real(s->accuracy));
    json_object_set_new(root, "labels", json_integer(s->labels));
    json_object_set_new(
        root, "replay",
        json_pack("{s:I, s:I, s:I, s:I, s:I}", "records",
                  (json_int_t)s->replay.records, "capacity",
                  (json_int_t)s->replay.capacity, "bytes",
                  (json_int_t)s->replay.bytes, "damaged",
                  (json_int_t)s->replay.damaged, "missing",
                  (json_int_t)s->replay.missing));
    json_object_set_new(root, "holdout_rows", json_integer(s->holdout_rows));
    json_object_set_new(root, "ewc",
                        json_pack("{s:o, s:o, s:I, s:o}", "penalty",
                                  json_value_real(s->ewc.penalty), "share",
                                  json_value_real(s->ewc.share),
                                  "consolidations",
                                  (json_int_t)s->ewc.consolidations, "lambda",
                                  json_value_real(s->ewc.lambda)));
    json_object_set_new(root, "optimizer",
                        json_pack("{s:o, s:o, s:I}", "grad_norm",
                                  json_value_real(s->grad_norm), "rate",
                                  json_value_real(s->rate), "steps_skipped",
                                  (json_int_t)s->steps_skipped));
    json_object_set_new(root, "flushes", json_integer(s->flushes));
}

json_t *status_to_json(struct status_board *b)
{
    struct status *s = status_copy(b);
    json_t *root = json_pack(
        "{s:s, s:o, s:I, s:I, s:b, s:I, s:I, s:I, s:o, s:o}", "state",
        status_state_name(s->state), "reason", text_or_null(s->reason),
        "serving_version", (json_int_t)s->serving_version, "head_version",
        (json_int_t)s->head_version, "serving_pinned", s->serving_pinned,
        "step", (json_int_t)s->step, "tokens_seen", (json_int_t)s->tokens_seen,
        "bytes_seen", (json_int_t)s->bytes_seen, "tokens_per_second",
        json_value_real(s->tokens_per_second), "records_per_second",
        json_value_real(s->records_per_second));

    add_learning(root, s);
    json_object_set_new(root, "domains", domains_list(s));
    json_object_set_new(root, "domains_known", domains_known(s));
    json_object_set_new(root, "quarantine", quarantine_json(s));
    json_object_set_new(root, "publish", publish_json(&s->publish));
    json_object_set_new(root, "source", source_json(b, s->source_type));
    json_object_set_new(root, "freshness_seconds",
                        json_value_real(freshness(s)));
    json_object_set_new(
        root, "uptime_seconds",
        json_real((double)(timing_mono_ms() - s->started_ms) / 1000));
    json_object_set_new(root, "memory_announced_bytes",
                        json_integer(s->memory_announced));
    json_object_set_new(root, "erasure_pending",
                        json_boolean(s->erasure_pending));
    if (s->vocabulary_wanted && s->head_version == 0)
        json_object_set_new(
            root, "vocabulary",
            json_pack("{s:I, s:I}", "bytes", (json_int_t)s->vocabulary_bytes,
                      "wanted", (json_int_t)s->vocabulary_wanted));
    free(s);
    return root;
}

json_t *status_domains_json(struct status_board *b)
{
    struct status *s = status_copy(b);
    json_t *root = json_pack("{s:o, s:o}", "domains", domains_list(s),
                             "domains_known", domains_known(s));

    free(s);
    return root;
}

/* --- metrics ------------------------------------------------------------ */

static void family(struct buf *out, const char *name, const char *type,
                   const char *help)
{
    buf_addf(out, "# HELP mneme_%s %s\n# TYPE mneme_%s %s\n", name, help,
             name, type);
}

/* Whole numbers are written with all their digits. */
static void add_number(struct buf *out, double x)
{
    bool is_whole = x == floor(x) && fabs(x) < 1e15;

    buf_addf(out, is_whole ? " %.0f\n" : " %.10g\n", x);
}

static void value(struct buf *out, const char *name, double x)
{
    if (!isfinite(x))
        return;
    buf_addf(out, "mneme_%s", name);
    add_number(out, x);
}

static void gauge(struct buf *out, const char *name, const char *help,
                  double x)
{
    family(out, name, "gauge", help);
    value(out, name, x);
}

static void counter(struct buf *out, const char *name, const char *help,
                    int64_t x)
{
    family(out, name, "counter", help);
    buf_addf(out, "mneme_%s %lld\n", name, (long long)x);
}

/*
 * How many bytes at the beginning of s are written as `\xHH`, one escape a
 * byte; 0: the character stays as it is. Control characters (C0, DEL, C1),
 * U+2028 and U+2029 end a line for some readers. A backslash before an `x` is
 * escaped, too, so that two names never give the same label: Prometheus refuses
 * a scrape that has a series twice.
 */
static size_t bytes_to_escape(const char *s, size_t n_bytes)
{
    const unsigned char *u = (const unsigned char *)s;

    if (u[0] == '\n')
        return 0; /* has an escape of the format's own */
    if (u[0] < 0x20 || u[0] == 0x7f)
        return 1;
    if (u[0] == '\\')
        return n_bytes > 1 && u[1] == 'x';
    if (n_bytes > 1 && u[0] == 0xc2 && u[1] < 0xa0)
        return 2;
    if (n_bytes > 2 && u[0] == 0xe2 && u[1] == 0x80 &&
        (u[2] == 0xa8 || u[2] == 0xa9))
        return 3;
    return utf8_character(s, n_bytes) ? 0 : 1;
}

static void label_value(struct buf *out, const char *s)
{
    size_t left = strlen(s);

    while (left) {
        size_t n = bytes_to_escape(s, left);
        size_t whole = n ? n : utf8_character(s, left);

        for (size_t i = 0; i < n; i++)
            buf_addf(out, "\\\\x%02x", (unsigned)(unsigned char)s[i]);
        if (!n && *s == '\n')
            buf_adds(out, "\\n");
        else if (!n && (*s == '"' || *s == '\\'))
            buf_addf(out, "\\%c", *s);
        else if (!n)
            buf_add(out, s, whole);
        s += whole;
        left -= whole;
    }
}

static void labelled(struct buf *out, const char *name, const char *label,
                     const char *text, double x)
{
    if (!isfinite(x))
        return;
    buf_addf(out, "mneme_%s{%s=\"", name, label);
    label_value(out, text);
    buf_adds(out, "\"}");
    add_number(out, x);
}

static void record_metrics(struct buf *out, const struct status *s)
{
    const struct status_records *r = &s->records;

    counter(out, "records_consumed_total", "Records decided.", r->consumed);
    counter(out, "records_learned_total", "Records learned.", r->learned);
    counter(out, "records_skipped_total", "Records skipped.", r->skipped);
    counter(out, "records_quarantined_total", "Records quarantined.",
            r->quarantined);
    counter(out, "records_holdout_total", "Records held out.", r->holdout);
    family(out, "quarantine_reasons_total", "counter",
           "Records quarantined by reason.");
    for (size_t i = 0; i < s->n_quarantine; i++)
        labelled(out, "quarantine_reasons_total", "reason",
                 s->quarantine[i].reason, (double)s->quarantine[i].count);
}

static void learner_metrics(struct buf *out, const struct status *s)
{
    counter(out, "steps_total", "Optimizer steps.", s->step);
    counter(out, "steps_skipped_total", "Steps without an update.",
            s->steps_skipped);
    counter(out, "tokens_learned_total", "New tokens learned.",
            s->tokens_seen);
    counter(out, "bytes_learned_total", "Bytes of text learned.",
            s->bytes_seen);
    counter(out, "flushes_total", "Part-filled batches learned in a pause.",
            s->flushes);
    gauge(out, "tokens_per_second", "New tokens learned a second.",
          s->tokens_per_second);
    gauge(out, "records_per_second", "Records decided a second.",
          s->records_per_second);
    gauge(out, "prequential_bits_per_byte",
          "Loss before learning, recent mean.",
          s->prequential_bits_per_byte);
    gauge(out, "train_bits_per_byte", "Loss of whole steps, recent mean.",
          s->train_bits_per_byte);
    gauge(out, "accuracy", "Labelled records told right before learning.",
          s->accuracy);
    gauge(out, "gradient_norm", "Before clipping.", s->grad_norm);
    gauge(out, "learning_rate", "Of the last step.", s->rate);
    gauge(out, "ewc_penalty", "Consolidation penalty in nats.",
          s->ewc.penalty);
    gauge(out, "ewc_share",
          "Displacement by consolidation over that by the optimizer.",
          s->ewc.share);
    counter(out, "ewc_consolidations_total", "Consolidations completed.",
            s->ewc.consolidations);
    gauge(out, "replay_records", "Live replay rows.",
          (double)s->replay.records);
    gauge(out, "replay_capacity", "Most live replay rows.",
          (double)s->replay.capacity);
    gauge(out, "replay_bytes", "Bytes of live replay rows.",
          (double)s->replay.bytes);
    counter(out, "replay_damaged_total",
            "Replay rows that were damaged or gone when they were drawn.",
            s->replay.damaged);
    counter(out, "replay_missing_total",
            "Rows that a loaded index named and the table did not have.",
            s->replay.missing);
}

static void version_metrics(struct buf *out, const struct status *s)
{
    const struct status_publish *p = &s->publish;

    gauge(out, "serving_version", "The version that answers.",
          (double)s->serving_version);
    gauge(out, "head_version", "The newest version.",
          (double)s->head_version);
    counter(out, "publishes_total", "Versions published by this process.",
            p->count);
    counter(out, "publish_failures_total", "Publishes that failed.",
            p->failed);
    counter(out, "rollbacks_total", "Rollbacks by this process.",
            p->rollbacks);
    counter(out, "automatic_rollbacks_total",
            "Rollbacks by the daemon itself.", p->automatic);
    gauge(out, "gate_refused_in_a_row",
          "Versions since one passed the gate.",
          (double)p->refused_in_a_row);
    gauge(out, "shadow_records",
          "Held-out segments of the shadow comparison.",
          (double)p->shadow_records);
    if (p->shadow_records) {
        gauge(out, "shadow_difference_ratio",
              "Loss of the live version over the older one's, less 1.",
              p->shadow_difference);
        gauge(out, "shadow_evidence",
              "Ln of the evidence that the older one is 3 % better.",
              p->shadow_evidence);
    }
    gauge(out, "publish_seconds", "The last publish, whole.",
          p->last_seconds);
    gauge(out, "publish_cpu_seconds",
          "The processor time of the last publish.", p->last_cpu_seconds);
    gauge(out, "publish_stop_seconds",
          "How long the last publish held the trainer.",
          p->last_stop_seconds);
    gauge(out, "publish_interval_seconds",
          "Least time between two versions; longer when they cost much.",
          p->interval_seconds);
    gauge(out, "erasure_pending",
          "1 while mneme.db may hold bytes of forgotten records.",
          s->erasure_pending);
    family(out, "gate_verdicts_total", "counter",
           "Gate verdicts by this process.");
    labelled(out, "gate_verdicts_total", "verdict", "pass",
             (double)p->passed);
    labelled(out, "gate_verdicts_total", "verdict", "fail",
             (double)p->refused);
    labelled(out, "gate_verdicts_total", "verdict", "inconclusive",
             (double)p->inconclusive);
    if (s->serving_record_ms)
        gauge(out, "freshness_seconds",
              "Age of the newest record in the serving version.",
              freshness(s));
}

static void domain_metrics(struct buf *out, const struct status *s)
{
    static const char *const gauges[][2] = {
        {"domain_prequential_bits_per_byte",
         "Loss before learning by domain, recent mean."},
        {"domain_holdout_bits_per_byte",
         "Loss of the judged version on the holdout."},
        {"domain_holdout_best_bits_per_byte",
         "The lowest holdout loss so far."},
        {"domain_accuracy", "Share of labels that were predicted right."},
    };

    for (size_t g = 0; g < sizeof gauges / sizeof *gauges; g++) {
        family(out, gauges[g][0], "gauge", gauges[g][1]);
        for (size_t i = 0; i < s->n_domains; i++) {
            const struct status_domain *d = &s->domains[i];
            struct status_holdout h = holdout_of(s, d);
            const double values[] = {d->prequential, h.loss, h.best,
                                     d->accuracy};

            labelled(out, gauges[g][0], "domain", d->name, values[g]);
        }
    }
    gauge(out, "domains", "Domains known; the first 257 have series.",
          (double)s->n_domains_known);
    family(out, "domain_records_total", "counter",
           "Records learned by domain.");
    for (size_t i = 0; i < s->n_domains; i++)
        labelled(out, "domain_records_total", "domain", s->domains[i].name,
                 (double)s->domains[i].records);
}

static void source_metrics(struct buf *out, struct status_board *b)
{
    struct source_partition *rows;
    struct source_health health = {0};
    size_t n = get_partitions(b, &rows);

    if (b->source)
        b->source_get_health(b->source, &health);
    counter(out, "source_gaps_total", "Gaps in the stream that were skipped.",
            health.gaps);
    counter(out, "source_times_cut_total",
            "Event times in the future, replaced by the present time.",
            health.times_cut);
    counter(out, "dead_letters_delivered_total",
            "Dead letters that were delivered.", health.dead_lettered);
    counter(out, "dead_letters_failed_total",
            "Dead letters that failed for good.", health.dead_letters_failed);
    gauge(out, "dead_letters_waiting",
          "Dead letters that are not delivered yet.",
          (double)health.dead_letters_waiting);
    family(out, "source_lag", "gauge",
           "Records between the learner and the end.");
    for (size_t i = 0; i < n; i++) {
        if (rows[i].end < rows[i].offset)
            continue;
        buf_adds(out, "mneme_source_lag{topic=\"");
        label_value(out, rows[i].topic);
        buf_addf(out, "\",partition=\"%d\"} %lld\n", (int)rows[i].partition,
                 (long long)(rows[i].end - rows[i].offset));
    }
    free(rows);
}

void status_to_metrics(struct status_board *b, struct buf *out)
{
    struct status *s = status_copy(b);

    gauge(out, "up", "1 while the process runs.", 1);
    record_metrics(out, s);
    learner_metrics(out, s);
    version_metrics(out, s);
    domain_metrics(out, s);
    source_metrics(out, b);
    free(s);
}
