/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger tells in which order records were decided, and in which step each
 * record began ('l', or 'q' when the step was refused) or went on ('c'). Before
 * a record of step S is given to intake, all steps before S are made. So each
 * step learns the same records as the first time, whether its batch was full
 * or not.
 *
 * The source reads its partitions in an order of its own. A record waits in the
 * list of its partition until the ledger comes to it.
 */
#include "config.h"

#include "daemon/train/retrain.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/train/learning.h"
#include "daemon/train/options.h"
#include "daemon/stream/queue.h"
#include "daemon/stream/released_records.h"
#include "daemon/train/restore.h"
#include "daemon/train/retrain_compare.h"
#include "daemon/stream/source.h"
#include "learner/model.h"
#include "store/store.h"

#define POLL_MS 100
#define SILENCE_MS 60000 /* a longer silence of the source is an error */
#define PROGRESS_MS 2000 /* between two lines of the log */

/* A partition of the stream. */
struct reading {
    struct record **waiting; /* [first] to [n - 1]: read, but not yet fed */
    size_t first, n, cap;
    int64_t begin; /* first offset that the ledger names; -1: none */
    int64_t last;  /* last offset that the ledger names; -1: none */
    int64_t fed;   /* offset of the last record that intake got; -1: none */
};

struct retrain {
    const struct conf *conf;
    struct learning learning;
    struct record_maker maker; /* of released records */
    struct queue *queue;
    struct source *source;
    struct catalog_version from, to;
    struct store_ledger_run *runs;
    size_t n_runs;
    struct reading *partitions; /* [n_partitions] by partition id */
    size_t n_partitions;
    int64_t records;
    int64_t logged_ms;
    json_t *differences;
};

/* --- the parent's state ------------------------------------------------- */

/* Opens learning with the number of shards that the data directory has. */
static int open_learning(struct retrain *r, struct err *err)
{
    struct catalog *c = NULL;
    char *stored = NULL;
    int shards = 1;
    int rc = catalog_open(r->conf->data_dir, &c, err);

    if (rc)
        return rc;
    rc = catalog_setting(c, "learner.shards", &stored, err);
    catalog_close(c);
    if (rc == 0 && stored)
        rc = restore_parse_shards(stored, &shards, err);
    free(stored);
    if (rc)
        return rc;
    return learning_open(&r->learning, r->conf, options_cores(), shards, err);
}

static int load_versions(struct retrain *r, int64_t version, struct err *err)
{
    struct catalog *c = r->learning.catalog;
    int rc = catalog_get(c, version, &r->to, err);

    if (rc)
        return rc;
    if (r->to.forgotten)
        return err_set(err, ERR_STATE,
                       "version %lld cannot be learned again: records that it "
                       "learned from have been forgotten",
                       (long long)version);
    if (r->to.parent == 0)
        return err_set(err, ERR_STATE,
                       "version %lld is the untrained model: nothing was "
                       "learned for it",
                       (long long)version);
    rc = catalog_get(c, r->to.parent, &r->from, err);
    if (rc == ERR_NOTFOUND)
        return err_set(err, ERR_STATE,
                       "version %lld cannot be learned again: its parent, "
                       "version %lld, is not kept any more (publish.keep, or "
                       "mneme pin)",
                       (long long)version, (long long)r->to.parent);
    return rc ? rc : catalog_ledger(c, version, &r->runs, &r->n_runs, err);
}

/* Row keys are part of the state, and contain the number of the branch. So
 * learning has to continue on the branch that the version was made on.
 *   *branch  0: the parent's branch */
static int find_branch(struct retrain *r, int64_t *branch, struct err *err)
{
    struct tensor_list from = TENSOR_LIST_INIT, to = TENSOR_LIST_INIT;
    struct catalog *c = r->learning.catalog;
    int64_t parent = 0;
    int rc = store_load(c, r->from.version, STORE_STATE, &from, err);

    if (rc == 0)
        rc = store_load(c, r->to.version, STORE_STATE, &to, err);
    if (rc == 0)
        rc = replay_index_branch(&from, REPLAY_ROWS, &parent, err);
    if (rc == 0)
        rc = replay_index_branch(&to, REPLAY_ROWS, branch, err);
    if (rc == 0 && *branch == parent)
        *branch = 0;
    tensor_list_release(&from);
    tensor_list_release(&to);
    return rc;
}

/* Finds the offsets that have to be read. Skipped records (kind 's') are not
 * read: nothing was learned from them. */
static int read_ledger(struct retrain *r, struct err *err)
{
    r->n_partitions = r->learning.progress.n_partitions;
    r->partitions = xcalloc(r->n_partitions + 1, sizeof *r->partitions);
    for (size_t i = 0; i < r->n_partitions; i++)
        r->partitions[i] =
            (struct reading){.begin = -1, .last = -1, .fed = -1};
    for (size_t i = 0; i < r->n_runs; i++) {
        const struct store_ledger_run *run = &r->runs[i];
        bool skipped = run->kind == 's';
        struct reading *p;

        if (run->partition_id < 0 ||
            (size_t)run->partition_id >= r->n_partitions)
            return err_set(err, ERR_CORRUPT,
                           "the ledger names partition %d, which is not known",
                           (int)run->partition_id);
        /* A skipped run has the step of the learning that was undone, which
         * may be above this version's. */
        if (run->last_offset < run->first_offset ||
            (!skipped && run->step > r->to.step))
            return err_set(err, ERR_CORRUPT,
                           "the ledger has a run of offsets %lld to %lld in "
                           "step %lld, which this version cannot have",
                           (long long)run->first_offset,
                           (long long)run->last_offset, (long long)run->step);
        p = &r->partitions[run->partition_id];
        if (!skipped && (p->begin < 0 || run->first_offset < p->begin))
            p->begin = run->first_offset;
        if (!skipped && run->last_offset > p->last)
            p->last = run->last_offset;
    }
    return 0;
}

static int load_parent(struct retrain *r, struct err *err)
{
    int64_t branch = 0;
    int rc = learning_prepare_version(&r->learning, r->from.version, err);

    if (rc == 0)
        rc = find_branch(r, &branch, err);
    if (rc == 0)
        rc = learning_load(&r->learning, r->from.version, branch, err);
    if (rc)
        return rc;
    /* By now the control log may skip records that the version learned. */
    intake_set_skipped(r->learning.intake, NULL, 0);
    return read_ledger(r, err);
}

/* --- records ------------------------------------------------------------ */

/* A configuration that names another source, or none, would wait for Kafka. */
static int check_topic(const struct retrain *r, const char *topic,
                       struct err *err)
{
    const struct conf_strings *topics = &r->conf->source.kafka.topics;

    if (r->conf->source.type != CONF_SOURCE_KAFKA ||
        strcmp(topic, RELEASES_TOPIC) == 0)
        return 0;
    for (size_t i = 0; i < topics->n; i++)
        if (strcmp(topic, topics->items[i]) == 0)
            return 0;
    return err_set(err, ERR_STATE,
                   "version %lld learned from %s, which this configuration "
                   "does not read: name the source with --conf FILE, or with "
                   "--set source.type=file --set source.path=%s",
                   (long long)r->to.version, topic, topic);
}

static int begin_source(struct retrain *r, struct err *err)
{
    const struct source_options options = {
        .conf = r->conf,
        .data_dir = r->conf->data_dir,
        .store_id = "retrain", /* its consumer group is no learner's */
        .queue = r->queue,
        .reads_only = true,
    };
    struct source_position *positions =
        xcalloc(r->n_partitions + 1, sizeof *positions);
    size_t n = 0;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < r->n_partitions; i++) {
        const struct progress_partition *q =
            &r->learning.progress.partitions[i];
        int64_t begin = r->partitions[i].begin;

        if (begin >= 0)
            rc = check_topic(r, q->topic, err);
        if (q->positioned)
            positions[n++] =
                (struct source_position){q->topic, q->partition, q->next_offset,
                                         q->last_learned, q->last_hash};
        else if (begin >= 0)
            positions[n++] =
                (struct source_position){q->topic, q->partition, begin, -1, 0};
    }
    if (rc == 0)
        rc = source_create(&options, &r->source, err);
    if (rc == 0)
        rc = source_begin(r->source, positions, n, 0, err);
    free(positions);
    return rc;
}

/* Adds a record to those that wait, unless the ledger never names it. */
static void keep_record(struct retrain *r, struct record *rec)
{
    size_t id = (size_t)progress_partition_id(&r->learning.progress, rec->topic,
                                              rec->partition);
    struct reading *p = id < r->n_partitions ? &r->partitions[id] : NULL;

    if (!p || rec->offset > p->last) {
        record_free(rec);
        return;
    }
    if (p->first == p->n)
        p->first = p->n = 0;
    XGROW(p->waiting, p->n, p->cap);
    p->waiting[p->n++] = rec;
}

/* Reads until a record of the wanted partition waits. */
static int read_more(struct retrain *r, size_t wanted, struct err *err)
{
    const struct reading *w = &r->partitions[wanted];
    int64_t heard_ms = timing_mono_ms();

    while (w->first == w->n) {
        struct record *rec = queue_pop(r->queue, POLL_MS);
        bool ended = rec && rec->kind == RECORD_END;
        struct source_health health;

        if (rec && rec->kind == RECORD_DATA) {
            heard_ms = timing_mono_ms();
            keep_record(r, rec);
            continue;
        }
        if (rec && !ended) { /* a hole */
            record_free(rec);
            continue;
        }
        record_free(rec);
        source_get_health(r->source, &health);
        if (ended || health.state == SOURCE_STOPPED)
            return err_set(err, ERR_STATE,
                           "records of version %lld can no longer be read: %s",
                           (long long)r->to.version,
                           health.reason[0] ? health.reason
                                            : "the source ended");
        if (timing_mono_ms() - heard_ms > SILENCE_MS)
            return err_set(
                err, ERR_STATE, "records of version %lld do not arrive: %s",
                (long long)r->to.version,
                health.reason[0] ? health.reason : "the source is silent");
    }
    return 0;
}

/*
 * The record at *offset, from the source or, when it was released, from the
 * database.
 *   *rec     NULL: there is no record at *offset
 *   *offset  then becomes the last offset before the next record
 */
static int next_record(struct retrain *r, size_t id, int64_t *offset,
                       struct record **rec, struct err *err)
{
    struct reading *p = &r->partitions[id];
    struct releases_row *rows = NULL;
    size_t n = 0;
    int rc;

    *rec = NULL;
    if (strcmp(r->learning.progress.partitions[id].topic, RELEASES_TOPIC) ==
        0) {
        rc = releases_read(r->learning.catalog, *offset, 1, &rows, &n, err);
        if (rc == 0 && n && rows->id == *offset)
            *rec = released_records_parse(&r->maker, r->conf, rows);
        else if (rc == 0)
            *offset = n ? rows->id - 1 : INT64_MAX - 1;
        releases_free(rows, n);
        return rc;
    }
    while ((rc = read_more(r, id, err)) == 0) {
        struct record *next = p->waiting[p->first];

        if (next->offset > *offset) {
            *offset = next->offset - 1;
            return 0;
        }
        p->first++;
        if (next->offset == *offset) {
            *rec = next;
            return 0;
        }
        record_free(next);
    }
    return rc;
}

/* --- steps -------------------------------------------------------------- */

static int step_up_to(struct retrain *r, int64_t step, struct err *err)
{
    int rc = 0;

    while (rc == 0 && learner_steps(r->learning.learner) < step) {
        struct learner_step_output result;
        int64_t now_ms = timing_mono_ms();

        if (intake_tokens(r->learning.intake) == 0)
            return err_set(err, ERR_CORRUPT,
                           "step %lld: the records are not those of the ledger",
                           (long long)learner_steps(r->learning.learner) + 1);
        rc = learning_step(&r->learning, &result, err);
        if (now_ms - r->logged_ms < PROGRESS_MS)
            continue;
        r->logged_ms = now_ms;
        log_info("retrain", "version=%lld step=%lld of=%lld",
                 (long long)r->to.version,
                 (long long)learner_steps(r->learning.learner),
                 (long long)r->to.step);
    }
    return rc;
}

static int learn_run(struct retrain *r, const struct store_ledger_run *run,
                     struct err *err)
{
    size_t id = (size_t)run->partition_id;
    int rc = 0;

    if (run->kind == 's')
        return 0;
    if (strchr("lqc", run->kind))
        rc = step_up_to(r, run->step - 1, err);
    for (int64_t at = run->first_offset; rc == 0 && at <= run->last_offset;
         at++) {
        int64_t offset = at;
        struct record *rec;

        if (run->kind == 'c' && r->partitions[id].fed >= offset)
            continue; /* it waits in the intake for the rest of its steps */
        rc = next_record(r, id, &at, &rec, err);
        if (rc || !rec)
            continue;
        r->partitions[id].fed = offset;
        r->records += run->kind != 'c';
        rc = intake_add(r->learning.intake, rec,
                        learner_steps(r->learning.learner), err);
    }
    return rc;
}

static int learn(struct retrain *r, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < r->n_runs; i++)
        rc = learn_run(r, &r->runs[i], err);
    return rc ? rc : step_up_to(r, r->to.step, err);
}

/* --- the report --------------------------------------------------------- */

static json_t *make_report(const struct retrain *r)
{
    json_t *metadata = json_loads(r->to.metadata_json, 0, NULL);
    const char *kernels =
        json_string_value(json_object_get(metadata, "kernels"));
    json_t *notes = json_array();

    /* Other kernels round differently. */
    if (kernels && strcmp(kernels, model_kernels()) != 0) {
        char *text = xasprintf("it was learned with other kernels (%s, this "
                               "machine: %s): bits may differ for that alone",
                               kernels, model_kernels());

        json_array_append_new(notes, json_string(text));
        free(text);
    }
    json_decref(metadata);
    return json_pack(
        "{s:I, s:I, s:I, s:I, s:b, s:s, s:O, s:o}", "version",
        (json_int_t)r->to.version, "parent", (json_int_t)r->to.parent,
        "records", (json_int_t)r->records, "steps",
        (json_int_t)(r->to.step - r->from.step), "same",
        json_array_size(r->differences) == 0, "weights_sha256",
        r->to.weights_sha256, "differences", r->differences, "notes", notes);
}

static void release(struct retrain *r)
{
    for (size_t i = 0; i < r->n_partitions; i++) {
        struct reading *p = &r->partitions[i];

        while (p->first < p->n)
            record_free(p->waiting[p->first++]);
        free(p->waiting);
    }
    if (r->learning.conf)
        learning_close(&r->learning); /* its records name the source's topics */
    record_maker_release(&r->maker);
    source_free(r->source);
    queue_free(r->queue);
    free(r->partitions);
    free(r->runs);
    catalog_version_release(&r->from);
    catalog_version_release(&r->to);
    json_decref(r->differences);
}

int retrain_run(const struct conf *conf, int64_t version, json_t **report,
                struct err *err)
{
    struct retrain r = {.conf = conf, .differences = json_array()};
    struct catalog_version parent = {0};
    int rc;

    record_maker_init(&r.maker, conf->model.preset == CONF_PRESET_LINEAR);
    if (conf->source.type == CONF_SOURCE_STDIN)
        rc = err_set(err, ERR_STATE, "standard input cannot be read again");
    else
        rc = open_learning(&r, err);
    if (rc == 0)
        rc = load_versions(&r, version, err);
    if (rc == 0)
        rc = load_parent(&r, err);
    if (rc == 0) {
        r.queue = queue_create(OPTIONS_QUEUE_RECORDS, OPTIONS_QUEUE_BYTES);
        rc = begin_source(&r, err);
    }
    if (rc == 0)
        rc = learn(&r, err);
    /* Rows of the parent are missing: retention may have removed it. */
    if (rc == ERR_CORRUPT && r.from.version) {
        if (catalog_get(r.learning.catalog, r.from.version, &parent, NULL) ==
            ERR_NOTFOUND)
            rc = err_set(err, ERR_STATE,
                         "version %lld, the parent, was removed by retention "
                         "meanwhile",
                         (long long)r.from.version);
        else
            catalog_version_release(&parent);
    }
    if (rc == 0)
        rc = retrain_compare(&r.learning, &r.to, r.differences, err);
    if (rc == 0)
        *report = make_report(&r);
    release(&r);
    return rc;
}
