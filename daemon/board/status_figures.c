/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One table of figures, and its two renderings: the JSON of GET /v1/status and
 * the text of GET /metrics.
 *
 * A row says where a figure is found in struct view, its path in the JSON and
 * its metric. A rendering copies the board into a view, which also holds the
 * figures that are computed for it. It then walks the table.
 *
 * The JSON has the fields in the order of the rows. The metrics come group by
 * group, and in a group in the order of the rows.
 */
#include "config.h"

#include "daemon/board/status.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_value.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/board/metrics.h"
#include "daemon/board/process_figures.h"
#include "daemon/board/pulse.h"

/* --- the view ----------------------------------------------------------- */

/* An element of a list begins with its name. */
struct domain_row {
    const char *name;
    struct status_domain d;
    double holdout, best, forgetting; /* bits per byte; NaN: none */
};

struct partition_row {
    const char *topic;
    int64_t partition, offset;
    int64_t lag; /* -1: the end is not known */
};

struct reply_row {
    const char *code; /* points to text */
    char text[12]; /* any int */
    int64_t count;
};

struct view {
    /* The conditions of rows; offset 0 holds for most of them. */
    bool always, has_freshness, has_next, has_reference, has_shadow;
    bool collects; /* text for the vocabulary */
    bool source_up, paused;
    struct status s;
    struct source_health source;
    int64_t up, stalled;
    struct process_figures process;
    struct histogram step_seconds, slot_seconds;
    int64_t passes, pass_requests, pass_tokens;
    int64_t prompt_tokens, prefix_tokens, prefix_bytes;
    const char *state, *source_state;
    double freshness_seconds, uptime_seconds;
    double next_seconds; /* until the next version; NaN: not known */
    double time_cut_seconds; /* since the newest one; NaN: there is none */
    struct domain_row domains[STATUS_MAX_DOMAINS];
    struct partition_row *partitions;
    size_t n_partitions;
    int64_t lag; /* of all partitions whose end is known; -1: of none */
    struct status_requests *requests;
    size_t n_requests;
    struct reply_row replies[STATUS_MAX_HTTP];
    size_t n_replies;
};

/* --- the table ---------------------------------------------------------- */

/* The type of the field decides how a figure is written. */
enum kind {
    COUNT,     /* int64_t; below 0, not known: null, no sample */
    REAL,      /* double; not finite: null, no sample */
    FLAG,      /* bool; 0 or 1 as a metric */
    NAME,      /* const char * */
    TEXT,      /* char[]; "": null */
    HISTOGRAM, /* struct histogram; a metric only */
    NO_OBJECT, /* null, unless the rows below it make the object */
    LIST,      /* an array with an object for each element */
    OBJECT     /* an object with a field for each element */
};

#define KIND_OF(struct_, field_) \
    _Generic(((struct struct_ *)0)->field_, int64_t: COUNT, double: REAL, \
             bool: FLAG, const char *: NAME, char *: TEXT, \
             struct histogram: HISTOGRAM)

enum list { NO_LIST, DOMAINS, REASONS, PARTITIONS, REQUESTS, REPLIES };

struct figure {
    const char *path; /* in the JSON; NULL: a metric only. `*` stands for the
                         name of the element. */
    enum kind kind;
    size_t at;      /* offset in struct view, or in an element of the list */
    enum list list; /* each of its elements has the figure */
    size_t json_if, metric_if; /* offsets of the conditions in struct view */
    int group;                 /* of the metric, from 1; 0: no metric */
    const char *metric;        /* without the prefix `mneme_` */
    const char *help; /* NULL: the row before has it, with the same metric */
    const char *label; /* a list's element gives the value */
    const char *label_value; /* or this one, without a list */
};

#define ROW(struct_, path_, field_) \
    .path = path_, .kind = KIND_OF(struct_, field_), \
    .at = offsetof(struct struct_, field_)
#define FIGURE(path_, field_) ROW(view, path_, field_)
#define DOMAIN(path_, field_) \
    ROW(domain_row, path_, field_), .list = DOMAINS, .label = "domain"
#define REASON(path_, field_) \
    ROW(status_reason, path_, field_), .list = REASONS, .label = "reason"
#define PARTITION(path_, field_) \
    ROW(partition_row, path_, field_), .list = PARTITIONS, .label = "topic"
#define REQUEST(field_) \
    ROW(status_requests, NULL, field_), .list = REQUESTS, .label = "endpoint"
#define REPLY(field_) \
    ROW(reply_row, NULL, field_), .list = REPLIES, .label = "code"
#define CONTAINER(path_, kind_, list_) \
    .path = path_, .kind = kind_, .list = list_
#define JSON_IF(condition) .json_if = offsetof(struct view, condition)
#define METRIC_IF(condition) .metric_if = offsetof(struct view, condition)
#define METRIC(group_, name_, help_) \
    .group = group_, .metric = name_, .help = help_
#define LABEL(name_, value_) .label = name_, .label_value = value_

static const struct figure figures[] = {
    {FIGURE(NULL, up), METRIC(1, "up", "1 while the process runs.")},
    {FIGURE(NULL, up),
     METRIC(1, "build_info", "1; the label names the program version."),
     LABEL("version", PACKAGE_VERSION)},
    {FIGURE("state", state)},
    {FIGURE(NULL, paused),
     METRIC(1, "learning_paused", "1 while learning is paused.")},
    {FIGURE("reason", s.reason)},
    {FIGURE("serving_version", s.serving_version),
     METRIC(12, "serving_version", "The version that answers.")},
    {FIGURE("head_version", s.head_version),
     METRIC(12, "head_version", "The newest version.")},
    {FIGURE("serving_pinned", s.serving_pinned)},
    {FIGURE("step", s.step), METRIC(2, "steps_total", "Optimizer steps.")},
    {FIGURE("tokens_seen", s.tokens_seen),
     METRIC(4, "tokens_learned_total", "New tokens learned.")},
    {FIGURE("bytes_seen", s.bytes_seen),
     METRIC(4, "bytes_learned_total", "Bytes of text learned.")},
    {FIGURE("tokens_per_second", s.tokens_per_second),
     METRIC(6, "tokens_per_second", "New tokens learned a second.")},
    {FIGURE("records_per_second", s.records_per_second),
     METRIC(6, "records_per_second", "Records decided a second.")},

    {FIGURE("records.consumed", s.records.consumed),
     METRIC(1, "records_consumed_total", "Records decided.")},
    {FIGURE("records.learned", s.records.learned),
     METRIC(1, "records_learned_total", "Records learned.")},
    {FIGURE("records.skipped", s.records.skipped),
     METRIC(1, "records_skipped_total", "Records skipped.")},
    {FIGURE("records.quarantined", s.records.quarantined),
     METRIC(1, "records_quarantined_total", "Records quarantined.")},
    {FIGURE("records.holdout", s.records.holdout),
     METRIC(1, "records_holdout_total", "Records held out.")},

    {FIGURE("loss.train_bits_per_byte", s.train_bits_per_byte),
     METRIC(8, "train_loss_bpb",
            "Loss of new and replayed segments in bits per byte, recent "
            "mean.")},
    {FIGURE("loss.prequential_bits_per_byte", s.prequential_bits_per_byte),
     METRIC(7, "prequential_loss_bpb",
            "Loss before learning in bits per byte, recent mean.")},
    {FIGURE("loss.average_prequential_bits_per_byte", s.average_prequential),
     METRIC(7, "average_prequential_loss_bpb",
            "Loss of the moving average before learning in bits per byte, "
            "recent mean of one segment in sixteen.")},
    {FIGURE("loss.prequential_total_bits_per_byte", s.prequential_total)},
    {FIGURE("accuracy", s.accuracy),
     METRIC(8, "accuracy", "Share of labels predicted correctly.")},
    {FIGURE("labels", s.labels)},

    {FIGURE("replay.records", s.replay.records),
     METRIC(11, "replay_records", "Live replay rows.")},
    {FIGURE("replay.capacity", s.replay.capacity),
     METRIC(11, "replay_capacity", "Most live replay rows.")},
    {FIGURE("replay.bytes", s.replay.bytes),
     METRIC(11, "replay_bytes", "Bytes of live replay rows.")},
    {FIGURE("replay.damaged", s.replay.damaged),
     METRIC(11, "replay_damaged_total",
            "Replay rows found damaged or missing when sampled.")},
    {FIGURE("replay.missing", s.replay.missing),
     METRIC(11, "replay_missing_total",
            "Rows that a loaded index named and the table did not have.")},
    {FIGURE("holdout_rows", s.holdout_rows)},

    {FIGURE("ewc.penalty", s.ewc.penalty),
     METRIC(10, "ewc_penalty", "EWC penalty in nats.")},
    {FIGURE("ewc.share", s.ewc.share),
     METRIC(10, "ewc_share",
            "Weight change by EWC, divided by that of the optimizer.")},
    {FIGURE("ewc.consolidations", s.ewc.consolidations),
     METRIC(10, "ewc_consolidations_total", "Consolidations completed.")},
    {FIGURE("ewc.lambda", s.ewc.lambda)},

    {FIGURE("optimizer.grad_norm", s.grad_norm),
     METRIC(9, "gradient_norm", "Gradient norm before clipping.")},
    {FIGURE("optimizer.rate", s.rate),
     METRIC(9, "learning_rate", "Learning rate of the last step.")},
    {FIGURE("optimizer.steps_skipped", s.steps_skipped),
     METRIC(3, "steps_skipped_total", "Steps without an update.")},
    {FIGURE(NULL, step_seconds),
     METRIC(6, "step_duration_seconds", "Durations of steps.")},
    {FIGURE("flushes", s.flushes),
     METRIC(5, "flushes_total", "Part-filled batches learned in a pause.")},

    {CONTAINER("domains", LIST, DOMAINS)},
    {DOMAIN("domains.domain", name)},
    {DOMAIN("domains.records", d.records),
     METRIC(18, "domain_records_total", "Records learned by domain.")},
    {DOMAIN("domains.bytes", d.bytes)},
    {DOMAIN("domains.prequential_bits_per_byte", d.prequential),
     METRIC(17, "domain_prequential_loss_bpb",
            "Loss before learning by domain in bits per byte, recent mean.")},
    {DOMAIN("domains.holdout_bits_per_byte", holdout),
     METRIC(17, "domain_holdout_loss_bpb",
            "Loss of the judged version on the holdout in bits per byte.")},
    {DOMAIN("domains.holdout_best_bits_per_byte", best),
     METRIC(17, "domain_holdout_best_loss_bpb",
            "The lowest holdout loss so far in bits per byte.")},
    {DOMAIN("domains.forgetting_bits_per_byte", forgetting)},
    {DOMAIN("domains.accuracy", d.accuracy),
     METRIC(17, "domain_accuracy",
            "Share of labels that were predicted right.")},
    {DOMAIN("domains.replay_rows", d.replay_rows)},
    {DOMAIN("domains.drift.alarms", d.drift.alarms),
     METRIC(18, "domain_drift_alarms_total", "Drift alarms by domain.")},
    {DOMAIN("domains.drift.level", d.drift.level),
     METRIC(17, "domain_drift_level",
            "State of the drift test: 0.5 is a warning; at 1 it raises an "
            "alarm and begins again at 0.")},
    {DOMAIN("domains.drift.record", d.drift.record)},
    {DOMAIN("domains.drift.before_bits_per_byte", d.drift.before)},
    {DOMAIN("domains.drift.after_bits_per_byte", d.drift.after)},
    {FIGURE("domains_known", s.n_domains_known),
     METRIC(17, "domains", "Domains known; the first 257 have series.")},

    {CONTAINER("quarantine", OBJECT, REASONS)},
    {REASON("quarantine.*", count),
     METRIC(1, "quarantine_reasons_total", "Records quarantined by reason.")},

    {FIGURE("publish.count", s.publish.count),
     METRIC(12, "publishes_total", "Versions published by this process.")},
    {FIGURE("publish.failed", s.publish.failed),
     METRIC(12, "publish_failures_total", "Publishes that failed.")},
    {FIGURE("publish.last_seconds", s.publish.last_seconds),
     METRIC(13, "publish_seconds", "Duration of the last publish.")},
    {FIGURE("publish.last_cpu_seconds", s.publish.last_cpu_seconds),
     METRIC(13, "publish_cpu_seconds",
            "The processor time of the last publish.")},
    {FIGURE("publish.last_stop_seconds", s.publish.last_stop_seconds),
     METRIC(13, "publish_stop_seconds",
            "How long the trainer waited for the last publish.")},
    {FIGURE("publish.interval_seconds", s.publish.interval_seconds),
     METRIC(13, "publish_interval_seconds",
            "Least time between two versions; longer when they cost much.")},
    {CONTAINER("publish.next_version", NO_OBJECT, NO_LIST)},
    {FIGURE("publish.next_version.waits_for", s.publish.next_waits_for),
     JSON_IF(has_next)},
    {FIGURE("publish.next_version.in_seconds", next_seconds),
     JSON_IF(has_next)},
    {FIGURE("publish.judged_version", s.publish.judged_version)},
    {FIGURE("publish.passed", s.publish.passed),
     METRIC(15, "gate_verdicts_total", "Gate verdicts by this process."),
     LABEL("verdict", "pass")},
    {FIGURE("publish.refused", s.publish.refused),
     METRIC(15, "gate_verdicts_total", NULL), LABEL("verdict", "fail")},
    {FIGURE("publish.rollbacks", s.publish.rollbacks),
     METRIC(12, "rollbacks_total", "Rollbacks by this process.")},
    {FIGURE("publish.last_verdict", s.publish.last_verdict)},
    {FIGURE("publish.last_reason", s.publish.last_reason)},
    {FIGURE("publish.automatic_rollbacks", s.publish.automatic),
     METRIC(12, "automatic_rollbacks_total", "Automatic rollbacks.")},
    {FIGURE("publish.refused_in_a_row", s.publish.refused_in_a_row),
     METRIC(12, "gate_refused_in_a_row",
            "Versions since one passed the gate.")},
    {FIGURE("publish.last_rollback", s.publish.last_rollback)},
    {CONTAINER("publish.shadow", NO_OBJECT, NO_LIST)},
    {FIGURE("publish.shadow.against", s.publish.reference_version),
     JSON_IF(has_reference)},
    {FIGURE("publish.shadow.records", s.publish.shadow_records),
     JSON_IF(has_reference),
     METRIC(12, "shadow_records",
            "Held-out segments of the shadow comparison.")},
    {FIGURE("publish.shadow.difference", s.publish.shadow_difference),
     JSON_IF(has_reference), METRIC_IF(has_shadow),
     METRIC(12, "shadow_difference_ratio",
            "Loss of the live version over the reference's, minus 1.")},
    {FIGURE("publish.shadow.evidence", s.publish.shadow_evidence),
     JSON_IF(has_reference), METRIC_IF(has_shadow),
     METRIC(12, "shadow_evidence",
            "Ln of the evidence that the reference is 3 % better.")},

    {FIGURE("source.type", s.source_type)},
    {FIGURE("source.state", source_state)},
    {FIGURE(NULL, source_up),
     METRIC(19, "source_up",
            "1 while the source is read or has ended; 0 while it retries or "
            "has stopped.")},
    {FIGURE("source.reason", source.reason)},
    {FIGURE("source.gaps", source.gaps),
     METRIC(19, "source_gaps_total", "Gaps in the stream that were skipped.")},
    {FIGURE("source.records_read", source.records_read)},
    {FIGURE("source.dead_lettered", source.dead_lettered),
     METRIC(21, "dead_letters_delivered_total",
            "Dead letters that were delivered.")},
    {FIGURE("source.dead_letters_failed", source.dead_letters_failed),
     METRIC(21, "dead_letters_failed_total",
            "Dead letters that failed for good.")},
    {FIGURE("source.dead_letters_waiting", source.dead_letters_waiting),
     METRIC(21, "dead_letters_waiting",
            "Dead letters that are not delivered yet.")},
    {FIGURE("source.times_cut", source.times_cut),
     METRIC(20, "source_times_cut_total",
            "Event times in the future, replaced by the present time.")},
    {FIGURE("source.time_cut_ago_seconds", time_cut_seconds)},
    {FIGURE("source.lag", lag)},
    {CONTAINER("source.partitions", LIST, PARTITIONS)},
    {PARTITION("source.partitions.topic", topic)},
    {PARTITION("source.partitions.partition", partition)},
    {PARTITION("source.partitions.offset", offset)},
    {PARTITION("source.partitions.lag", lag),
     METRIC(21, "source_lag", "Records that are not learned yet.")},

    {FIGURE("freshness_seconds", freshness_seconds), METRIC_IF(has_freshness),
     METRIC(16, "freshness_seconds",
            "Age of the newest record in the serving version.")},
    {FIGURE("uptime_seconds", uptime_seconds)},
    {FIGURE("memory_announced_bytes", s.memory_announced),
     METRIC(22, "memory_announced_bytes",
            "The most memory that the process announced at its start.")},
    {FIGURE("stalled_threads", stalled),
     METRIC(1, "stalled_threads",
            "Threads that have not moved for longer than their longest task "
            "takes.")},
    {FIGURE("erasure_pending", s.erasure_pending),
     METRIC(14, "erasure_pending",
            "1 while mneme.db may hold bytes of forgotten records.")},
    {FIGURE("vocabulary.bytes", s.vocabulary_bytes), JSON_IF(collects)},
    {FIGURE("vocabulary.wanted", s.vocabulary_wanted), JSON_IF(collects)},

    {REQUEST(seconds),
     METRIC(22, "http_request_duration_seconds",
            "From the head of a request to the end of its reply.")},
    {REPLY(count),
     METRIC(22, "http_replies_total", "Replies by status code.")},
    {FIGURE(NULL, process.cpu_seconds),
     METRIC(23, "process_cpu_seconds_total",
            "Processor time of the process, user and system.")},
    {FIGURE(NULL, process.resident_bytes),
     METRIC(23, "process_resident_memory_bytes", "Resident memory.")},
    {FIGURE(NULL, process.virtual_bytes),
     METRIC(23, "process_virtual_memory_bytes", "Address space in use.")},
    {FIGURE(NULL, process.open_files),
     METRIC(23, "process_open_fds", "Open file descriptors.")},
    {FIGURE(NULL, process.max_files),
     METRIC(23, "process_max_fds", "The limit of open file descriptors.")},
    {FIGURE(NULL, process.threads),
     METRIC(23, "process_threads", "Threads of the process.")},
    {FIGURE(NULL, process.start_seconds),
     METRIC(23, "process_start_time_seconds",
            "Start of the process, in seconds of Unix time.")},
    {FIGURE(NULL, slot_seconds),
     METRIC(24, "http_slot_wait_seconds",
            "How long requests waited for a slot to compute.")},
    {FIGURE(NULL, passes),
     METRIC(24, "generation_passes_total",
            "Forward passes that completions shared.")},
    {FIGURE(NULL, pass_requests),
     METRIC(24, "generation_pass_requests_total",
            "Completions in these passes; divided by the passes, the mean "
            "size of a batch.")},
    {FIGURE(NULL, pass_tokens),
     METRIC(24, "generation_pass_tokens_total",
            "Tokens that these passes read, of prompts and of answers.")},
    {FIGURE(NULL, prompt_tokens),
     METRIC(24, "generation_prompt_tokens_total",
            "Tokens of the prompts of completions.")},
    {FIGURE(NULL, prefix_tokens),
     METRIC(24, "prefix_cache_hit_tokens_total",
            "Prompt tokens of completions that the prefix cache had.")},
    {FIGURE(NULL, prefix_bytes),
     METRIC(24, "prefix_cache_bytes", "Memory that the prefix cache takes.")},
};

#define N_FIGURES (sizeof figures / sizeof *figures)
#define LAST_GROUP 24

/* --- filling the view --------------------------------------------------- */

static void add_domains(struct view *v)
{
    for (size_t i = 0; i < v->s.n_domains; i++) {
        struct domain_row *row = &v->domains[i];

        *row = (struct domain_row){v->s.domains[i].name, v->s.domains[i], NAN,
                                   NAN, NAN};
        for (size_t k = 0; k < v->s.n_holdouts; k++) {
            const struct status_holdout *h = &v->s.holdouts[k];

            if (h->domain != row->name)
                continue;
            row->holdout = h->loss;
            row->best = h->best;
            row->forgetting = h->loss - h->best;
        }
    }
}

/* The next offset that will be learned. Kafka no longer has the learner's
 * position when the source started after it, or has not reached it. */
static int64_t learner_offset(const struct status_board *b,
                              const struct source_partition *p)
{
    long topic = names_find(&b->topics, p->topic);
    int64_t offset = -1;

    for (size_t i = 0; i < b->n_positions; i++)
        if (b->positions[i].topic == topic &&
            b->positions[i].partition == p->partition)
            offset = b->positions[i].next_offset;
    if (offset < p->start)
        offset = p->start;
    return offset < 0 || offset > p->offset ? p->offset : offset;
}

/* The partitions of the source, which the caller frees. */
static struct partition_row *read_partitions(struct status_board *b,
                                             size_t *n_rows)
{
    struct source_partition *read;
    size_t n = b->source_get_partitions(b->source, &read);
    struct partition_row *rows = xcalloc(n + 1, sizeof *rows);

    status_lock(b);
    for (size_t i = 0; i < n; i++) {
        int64_t offset = learner_offset(b, &read[i]), end = read[i].end;

        rows[i] = (struct partition_row){
            .topic = read[i].topic,
            .partition = read[i].partition,
            .offset = offset,
            .lag = end >= offset ? end - offset : -1,
        };
    }
    status_unlock(b);
    free(read);
    *n_rows = n;
    return rows;
}

/* Adds up the lag of the partitions whose end is known; -1: there are none. */
static int64_t add_lag(const struct partition_row *rows, size_t n)
{
    int64_t lag = -1;

    for (size_t i = 0; i < n; i++)
        if (rows[i].lag >= 0)
            lag = rows[i].lag + (lag > 0 ? lag : 0);
    return lag;
}

int64_t status_lag(struct status_board *b, size_t *n_partitions)
{
    struct partition_row *rows = NULL;
    size_t n = 0;
    int64_t lag;

    if (b->source)
        rows = read_partitions(b, &n);
    lag = add_lag(rows, n);
    free(rows);
    if (n_partitions)
        *n_partitions = n;
    return lag;
}

static void add_requests(struct view *v, struct status_board *b)
{
    status_lock(b);
    v->n_requests = b->n_requests;
    v->requests = xcalloc(v->n_requests + 1, sizeof *v->requests);
    for (size_t i = 0; i < v->n_requests; i++)
        v->requests[i] = b->requests[i];
    for (int code = 0; code < STATUS_MAX_HTTP; code++) {
        struct reply_row *row = &v->replies[v->n_replies];

        if (!b->http_replies[code])
            continue;
        snprintf(row->text, sizeof row->text, "%03d", code);
        row->code = row->text;
        row->count = b->http_replies[code];
        v->n_replies++;
    }
    status_unlock(b);
}

static struct view *view_create(struct status_board *b)
{
    struct view *v = xcalloc(1, sizeof *v);
    const struct status_publish *p = &v->s.publish;
    double now_ms = (double)timing_wall_ms();
    int64_t mono_ms = timing_mono_ms();
    const char *stalled;

    v->s = *status_lock(b);
    status_unlock(b);
    if (b->source) {
        b->source_get_health(b->source, &v->source);
        v->partitions = read_partitions(b, &v->n_partitions);
    }
    v->lag = add_lag(v->partitions, v->n_partitions);
    add_domains(v);
    add_requests(v, b);
    v->up = 1;
    v->stalled = pulse_stalled(&stalled);
    v->step_seconds = v->s.step_seconds;
    v->slot_seconds = v->s.slot_seconds;
    v->passes = atomic_load(&b->infer.passes);
    v->pass_requests = atomic_load(&b->infer.pass_requests);
    v->pass_tokens = atomic_load(&b->infer.pass_tokens);
    v->prompt_tokens = atomic_load(&b->infer.prompt_tokens);
    v->prefix_tokens = atomic_load(&b->infer.prefix_tokens);
    v->prefix_bytes = atomic_load(&b->infer.prefix_bytes);
    v->state = status_state_name(v->s.state);
    v->source_state = source_state_name(v->source.state);
    v->source_up = v->source.state == SOURCE_RUNNING ||
                   v->source.state == SOURCE_ENDED;
    v->paused = v->s.state == STATUS_PAUSED;
    v->always = true;
    v->has_freshness = v->s.serving_record_ms != 0;
    v->has_next = p->next_waits_for != NULL;
    v->has_reference = p->reference_version != 0;
    v->has_shadow = p->shadow_records != 0;
    v->collects = v->s.vocabulary_wanted && v->s.head_version == 0;
    v->uptime_seconds = (double)(mono_ms - v->s.started_ms) / 1000;
    v->freshness_seconds = v->next_seconds = v->time_cut_seconds = NAN;
    if (v->has_freshness)
        v->freshness_seconds =
            fmax(0, (now_ms - (double)v->s.serving_record_ms) / 1000);
    if (p->next_ms)
        v->next_seconds = fmax(0, (double)(p->next_ms - mono_ms) / 1000);
    if (v->source.time_cut_ms)
        v->time_cut_seconds =
            fmax(0, (double)(mono_ms - v->source.time_cut_ms) / 1000);
    return v;
}

static void view_free(struct view *v)
{
    free(v->partitions);
    free(v->requests);
    free(v);
}

/* The elements of a list; a figure without a list has one: the view. */
static size_t count_elements(const struct view *v, enum list list)
{
    const size_t counts[] = {1, v->s.n_domains, v->s.n_quarantine,
                             v->n_partitions, v->n_requests, v->n_replies};

    return counts[list];
}

static const void *element_at(const struct view *v, enum list list, size_t i)
{
    switch (list) {
    case DOMAINS:
        return &v->domains[i];
    case REASONS:
        return &v->s.quarantine[i];
    case PARTITIONS:
        return &v->partitions[i];
    case REQUESTS:
        return &v->requests[i];
    case REPLIES:
        return &v->replies[i];
    case NO_LIST:
        break;
    }
    return v;
}

static const char *element_name(const void *element)
{
    return *(const char *const *)element;
}

static bool holds(const struct view *v, size_t condition)
{
    return *(const bool *)((const char *)v + condition);
}

/* --- JSON --------------------------------------------------------------- */

static json_t *json_list(size_t n)
{
    json_t *list = json_array();

    while (n-- > 0)
        json_array_append_new(list, json_object());
    return list;
}

static json_t *json_value_of(const struct view *v, const struct figure *f,
                             const void *element)
{
    const char *field = (const char *)element + f->at;

    switch (f->kind) {
    case COUNT:
        return *(const int64_t *)field < 0
                   ? json_null()
                   : json_integer(*(const int64_t *)field);
    case REAL:
        return json_value_real(*(const double *)field);
    case FLAG:
        return json_boolean(*(const bool *)field);
    case NAME:
        return json_value_text(*(const char *const *)field);
    case TEXT:
        return field[0] ? json_value_text(field) : json_null();
    case LIST:
        return json_list(count_elements(v, f->list));
    case OBJECT:
        return json_object();
    case HISTOGRAM:
    case NO_OBJECT:
        break;
    }
    return json_null();
}

/* Sets a field, and makes the objects on the path to it.
 *   i  the element, where the path leads through a list */
static void set_field(json_t *object, const char *path, size_t i,
                      const char *name, json_t *value)
{
    const char *dot = strchr(path, '.');
    char key[32];
    json_t *inner;

    if (!dot) {
        json_object_set_new(object, strcmp(path, "*") == 0 ? name : path,
                            value);
        return;
    }
    snprintf(key, sizeof key, "%.*s", (int)(dot - path), path);
    inner = json_object_get(object, key);
    if (json_is_array(inner))
        inner = json_array_get(inner, i);
    else if (!json_is_object(inner))
        json_object_set_new(object, key, inner = json_object());
    set_field(inner, dot + 1, i, name, value);
}

/* The fields whose path begins with `prefix`. */
static json_t *to_json(struct status_board *b, const char *prefix)
{
    struct view *v = view_create(b);
    json_t *root = json_object();

    for (const struct figure *f = figures; f < figures + N_FIGURES; f++) {
        bool is_container = f->kind == LIST || f->kind == OBJECT;
        enum list list = is_container ? NO_LIST : f->list;

        if (!f->path || strncmp(f->path, prefix, strlen(prefix)) != 0 ||
            !holds(v, f->json_if))
            continue;
        for (size_t i = 0; i < count_elements(v, list); i++) {
            const void *element = element_at(v, list, i);

            set_field(root, f->path, i,
                      list == NO_LIST ? NULL : element_name(element),
                      json_value_of(v, f, element));
        }
    }
    view_free(v);
    return root;
}

json_t *status_to_json(struct status_board *b)
{
    return to_json(b, "");
}

json_t *status_domains_json(struct status_board *b)
{
    return to_json(b, "domains");
}

/* --- the schema --------------------------------------------------------- */

/* The schema of a figure; NULL: of an object. */
static json_t *figure_schema(const struct figure *f)
{
    static const char *const types[] = {[COUNT] = "integer",
                                        [REAL] = "number",
                                        [NAME] = "string",
                                        [TEXT] = "string"};
    json_t *o;

    if (f->kind == FLAG)
        o = json_pack("{s:s}", "type", "boolean");
    else if (f->kind == LIST)
        o = json_pack("{s:s, s:{s:s, s:{}, s:[]}}", "type", "array", "items",
                      "type", "object", "properties", "required");
    else if (f->kind == OBJECT)
        o = json_pack("{s:s}", "type", "object");
    else if (f->kind == NO_OBJECT)
        o = json_pack("{s:[s, s], s:{}, s:[]}", "type", "object", "null",
                      "properties", "required");
    else
        o = json_pack("{s:[s, s]}", "type", types[f->kind], "null");
    if (f->help)
        json_object_set_new(o, "description", json_string(f->help));
    return o;
}

/* Adds the schema of the figure at path to that of an object. */
static void add_schema(json_t *object, const char *path, json_t *schema,
                       bool always)
{
    const char *dot = strchr(path, '.');
    json_t *properties, *required, *inner;
    char *key;

    if (json_object_get(object, "items"))
        object = json_object_get(object, "items");
    if (strcmp(path, "*") == 0) {
        json_object_set_new(object, "additionalProperties", schema);
        return;
    }
    properties = json_object_get(object, "properties");
    required = json_object_get(object, "required");
    key = dot ? xstrndup(path, (size_t)(dot - path)) : xstrdup(path);
    inner = json_object_get(properties, key);
    if (!inner && always)
        json_array_append_new(required, json_string(key));
    if (!dot) {
        json_object_set_new(properties, key, schema);
    } else {
        if (!inner) {
            inner = json_pack("{s:s, s:{}, s:[]}", "type", "object",
                              "properties", "required");
            json_object_set_new(properties, key, inner);
        }
        add_schema(inner, dot + 1, schema, always);
    }
    free(key);
}

json_t *status_schema(const char *prefix)
{
    json_t *root = json_pack("{s:s, s:{}, s:[]}", "type", "object",
                             "properties", "required");

    size_t n = strlen(prefix);

    for (const struct figure *f = figures; f < figures + N_FIGURES; f++)
        if (f->path && strncmp(f->path, prefix, n) == 0 &&
            (n == 0 || !f->path[n] || f->path[n] == '.'))
            add_schema(root, f->path, figure_schema(f), f->json_if == 0);
    return root;
}

/* --- metrics ------------------------------------------------------------ */

static double metric_value(const struct figure *f, const void *element)
{
    const char *field = (const char *)element + f->at;

    switch (f->kind) {
    case COUNT:
        return *(const int64_t *)field < 0 ? (double)NAN
                                           : (double)*(const int64_t *)field;
    case REAL:
        return *(const double *)field;
    case FLAG:
        return *(const bool *)field;
    default:
        BUG("%s is no number", f->metric);
    }
}

static void add_samples(const struct view *v, const struct figure *f,
                        struct buf *out)
{
    for (size_t i = 0; i < count_elements(v, f->list); i++) {
        const void *element = element_at(v, f->list, i);
        struct metrics_label labels[2] = {{f->label, f->label_value}};
        size_t n_labels = f->label ? 1 : 0;
        char number[24];

        if (f->list != NO_LIST)
            labels[0].value = element_name(element);
        if (f->list == PARTITIONS) {
            const struct partition_row *row = element;

            snprintf(number, sizeof number, "%lld", (long long)row->partition);
            labels[n_labels++] = (struct metrics_label){"partition", number};
        }
        if (f->list == REQUESTS) {
            const struct status_requests *row = element;

            labels[n_labels++] = (struct metrics_label){"method", row->method};
        }
        if (f->kind == HISTOGRAM)
            metrics_histogram(out, f->metric, labels, n_labels,
                              (const void *)((const char *)element + f->at));
        else
            metrics_sample(out, f->metric, labels, n_labels,
                           metric_value(f, element));
    }
}

void status_to_metrics(struct status_board *b, struct buf *out)
{
    struct view *v = view_create(b);

    process_figures_read(&v->process);
    for (int group = 1; group <= LAST_GROUP; group++) {
        for (const struct figure *f = figures; f < figures + N_FIGURES; f++) {
            if (f->group != group || !holds(v, f->metric_if))
                continue;
            if (f->help && f->kind == HISTOGRAM)
                metrics_histogram_family(out, f->metric, f->help);
            else if (f->help)
                metrics_family(out, f->metric, f->help);
            add_samples(v, f, out);
        }
    }
    view_free(v);
}
