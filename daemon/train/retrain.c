/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger tells in which order records were decided, and in which step each
 * of them began ('l', or 'q' when that step was refused) or went on ('c'). So
 * before a record of step S is handed to intake, all steps before S are taken;
 * what a step consists of then follows from the order alone, for a batch that
 * was flushed as for a full one.
 *
 * Records come from the source in its own order; those of other partitions wait
 * in a line for each partition until the ledger calls them.
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
#define SILENCE_MS 60000 /* of a source that has no reason to give */
#define SHOW_MS 2000

/* Records of a partition that the ledger has not called yet. */
struct line_of {
    struct record **items;
    size_t first, n, cap;
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
    struct line_of *lines; /* [n_lines] by partition id */
    size_t n_lines;
    int64_t *fed;  /* [n_lines] offset of the last record that intake got */
    int64_t *last; /* [n_lines] last offset that the ledger calls, -1: none */
    int64_t records;
    int64_t show_ms;
    json_t *differences, *notes;
};

/* --- the state to begin with -------------------------------------------- */

static void note(struct retrain *r, const char *text)
{
    json_array_append_new(r->notes, json_string(text));
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
                       "version %lld is the model at birth: nothing was "
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

/* Row keys are part of the state: the branch has to be the one it had. */
static int find_branch(struct retrain *r, int64_t *branch, struct err *err)
{
    struct tensor_list from = TENSOR_LIST_INIT, to = TENSOR_LIST_INIT;
    struct catalog *c = r->learning.catalog;
    int64_t before = 0;
    int rc = store_load(c, r->from.version, STORE_STATE, &from, err);

    if (rc == 0)
        rc = store_load(c, r->to.version, STORE_STATE, &to, err);
    if (rc == 0)
        rc = replay_index_branch(&from, REPLAY_ROWS, &before, err);
    if (rc == 0)
        rc = replay_index_branch(&to, REPLAY_ROWS, branch, err);
    if (rc == 0 && *branch == before)
        *branch = 0;
    tensor_list_release(&from);
    tensor_list_release(&to);
    return rc;
}

/* Nothing is learned of what was skipped: it is not even read. */
static bool is_read(const struct store_ledger_run *run)
{
    return run->kind != 's';
}

static int note_last(struct retrain *r, struct err *err)
{
    for (size_t i = 0; i < r->n_runs; i++) {
        const struct store_ledger_run *run = &r->runs[i];

        if (run->partition_id < 0 || (size_t)run->partition_id >= r->n_lines)
            return err_set(err, ERR_CORRUPT,
                           "the ledger names partition %d, which is not known",
                           (int)run->partition_id);
        /* A skipped run has the step of the learning that was undone, which
         * may be above this version's. */
        if (run->last_offset < run->first_offset ||
            (is_read(run) && run->step > r->to.step))
            return err_set(err, ERR_CORRUPT,
                           "the ledger has a run of offsets %lld to %lld in "
                           "step %lld, which this version cannot have",
                           (long long)run->first_offset,
                           (long long)run->last_offset, (long long)run->step);
        if (is_read(run) && run->last_offset > r->last[run->partition_id])
            r->last[run->partition_id] = run->last_offset;
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
    /* The control log may know of more skips by now than there were then. */
    intake_set_skipped(r->learning.intake, NULL, 0);
    r->n_lines = r->learning.progress.n_partitions;
    r->lines = xcalloc(r->n_lines + 1, sizeof *r->lines);
    r->fed = xcalloc(r->n_lines + 1, sizeof *r->fed);
    r->last = xcalloc(r->n_lines + 1, sizeof *r->last);
    for (size_t i = 0; i < r->n_lines; i++)
        r->fed[i] = r->last[i] = -1;
    return note_last(r, err);
}

/* As many shards as the data directory has. */
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

/* --- records ------------------------------------------------------------ */

/* Where the ledger meets a partition first. */
static int64_t first_in_ledger(const struct retrain *r, size_t partition_id)
{
    int64_t first = -1;

    for (size_t i = 0; i < r->n_runs; i++)
        if ((size_t)r->runs[i].partition_id == partition_id &&
            is_read(&r->runs[i]) &&
            (first < 0 || r->runs[i].first_offset < first))
            first = r->runs[i].first_offset;
    return first;
}

static int begin_source(struct retrain *r, struct err *err)
{
    const struct source_options options = {
        .conf = r->conf,
        .data_dir = r->conf->data_dir,
        .store_id = "retrain", /* the group is its own */
        .queue = r->queue,
    };
    const struct progress *p = &r->learning.progress;
    struct source_position *at = xcalloc(p->n_partitions + 1, sizeof *at);
    size_t n = 0;
    int rc = source_create(&options, &r->source, err);

    for (size_t i = 0; i < p->n_partitions; i++) {
        const struct progress_partition *q = &p->partitions[i];
        int64_t first = first_in_ledger(r, i);

        if (q->positioned)
            at[n++] = (struct source_position){q->topic, q->partition,
                                               q->next_offset, q->last_learned,
                                               q->last_hash};
        else if (first >= 0)
            at[n++] = (struct source_position){q->topic, q->partition, first,
                                               -1, 0};
    }
    if (rc == 0)
        rc = source_begin(r->source, at, n, 0, err);
    free(at);
    return rc;
}

static void line_push(struct line_of *l, struct record *rec)
{
    if (l->first == l->n)
        l->first = l->n = 0;
    XGROW(l->items, l->n, l->cap);
    l->items[l->n++] = rec;
}

/* Why nothing comes any more: what the source says, or that it says nothing. */
static int check_source(struct retrain *r, bool ended, int64_t silent_ms,
                        struct err *err)
{
    struct source_health health;

    source_get_health(r->source, &health);
    if (ended || health.state == SOURCE_STOPPED)
        return err_set(err, ERR_STATE, "records of version %lld are not there "
                       "any more: %s", (long long)r->to.version,
                       health.reason[0] ? health.reason : "the source ended");
    if (silent_ms > SILENCE_MS)
        return err_set(err, ERR_STATE,
                       "records of version %lld do not come: %s",
                       (long long)r->to.version,
                       health.reason[0] ? health.reason : "the source is "
                                                          "silent");
    return 0;
}

/* Into its partition's line, unless the ledger never calls it. */
static void keep_record(struct retrain *r, struct record *rec)
{
    size_t id = (size_t)progress_partition_id(&r->learning.progress,
                                              rec->topic, rec->partition);

    if (id < r->n_lines && rec->offset <= r->last[id])
        line_push(&r->lines[id], rec);
    else
        record_free(rec);
}

/* Reads until a record of that partition is in its line. */
static int read_more(struct retrain *r, size_t wanted, struct err *err)
{
    int64_t heard_ms = timing_mono_ms();
    const struct line_of *l = &r->lines[wanted];
    int rc = 0;

    while (rc == 0 && l->first == l->n) {
        struct record *rec = queue_pop(r->queue, POLL_MS);
        bool ended = rec && rec->kind == RECORD_END;

        if (rec && rec->kind == RECORD_DATA) {
            heard_ms = timing_mono_ms();
            keep_record(r, rec);
            continue;
        }
        record_free(rec);
        if (!rec || ended)
            rc = check_source(r, ended, timing_mono_ms() - heard_ms, err);
    }
    return rc;
}

/* The record at *offset. *rec is NULL when that offset has none; *offset is
 * then the last one before the next record. */
static int call_record(struct retrain *r, size_t id, int64_t *offset,
                       struct record **rec, struct err *err)
{
    struct line_of *l = &r->lines[id];

    *rec = NULL;
    for (;;) {
        int rc = read_more(r, id, err);

        if (rc)
            return rc;
        if (l->items[l->first]->offset > *offset) {
            *offset = l->items[l->first]->offset - 1;
            return 0;
        }
        *rec = l->items[l->first++];
        if ((*rec)->offset == *offset)
            return 0;
        record_free(*rec);
        *rec = NULL;
    }
}

/* --- steps -------------------------------------------------------------- */

static void show(struct retrain *r)
{
    int64_t now = timing_mono_ms();

    if (now - r->show_ms < SHOW_MS)
        return;
    r->show_ms = now;
    log_info("retrain", "version=%lld step=%lld of=%lld",
             (long long)r->to.version,
             (long long)learner_steps(r->learning.learner),
             (long long)r->to.step);
}

static int step_up_to(struct retrain *r, int64_t step, struct err *err)
{
    int rc = 0;

    while (rc == 0 && learner_steps(r->learning.learner) < step) {
        struct learner_step_output output;

        if (intake_tokens(r->learning.intake) == 0)
            return err_set(err, ERR_CORRUPT,
                           "step %lld: the records are not those of the ledger",
                           (long long)learner_steps(r->learning.learner) + 1);
        rc = learning_step(&r->learning, &output, err);
        show(r);
    }
    return rc;
}

/* Those are in the database, not in the source. */
static int call_released(struct retrain *r, int64_t *offset,
                         struct record **rec, struct err *err)
{
    struct releases_row *rows = NULL;
    size_t n = 0;
    int rc = releases_read(r->learning.catalog, *offset, 1, &rows, &n, err);

    if (rc == 0 && n && rows->id == *offset)
        *rec = released_records_parse(&r->maker, r->conf, rows);
    else if (rc == 0)
        *offset = n ? rows->id - 1 : INT64_MAX - 1; /* there is no more */
    releases_free(rows, n);
    return rc;
}

static bool is_released(const struct retrain *r, size_t id)
{
    return strcmp(r->learning.progress.partitions[id].topic,
                  RELEASES_TOPIC) == 0;
}

/* Feeds the record at offset *at; *at skips offsets without a record. */
static int feed(struct retrain *r, const struct store_ledger_run *run,
                int64_t *at, struct err *err)
{
    size_t id = (size_t)run->partition_id;
    int64_t offset = *at;
    struct record *rec = NULL;
    int rc;

    if (run->kind == 'c' && r->fed[id] >= offset)
        return 0; /* it waits in intake for the rest of its steps */
    rc = is_released(r, id) ? call_released(r, at, &rec, err)
                            : call_record(r, id, at, &rec, err);
    if (rc || !rec)
        return rc;
    r->fed[id] = offset;
    r->records += run->kind != 'c';
    return intake_add(r->learning.intake, rec,
                      learner_steps(r->learning.learner), err);
}

static int learn_run(struct retrain *r, const struct store_ledger_run *run,
                     struct err *err)
{
    bool in_step = strchr("lqc", run->kind) != NULL;
    int rc = 0;

    if (!is_read(run))
        return 0;
    if (in_step)
        rc = step_up_to(r, run->step - 1, err);
    for (int64_t at = run->first_offset; rc == 0 && at <= run->last_offset;
         at++)
        rc = feed(r, run, &at, err);
    return rc;
}

static int learn(struct retrain *r, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < r->n_runs; i++)
        rc = learn_run(r, &r->runs[i], err);
    return rc ? rc : step_up_to(r, r->to.step, err);
}

/* --- all of it ---------------------------------------------------------- */

/* Other kernels round in another way: the difference would be theirs. */
static void compare_kernels(struct retrain *r)
{
    json_t *root = json_loads(r->to.metadata_json, 0, NULL);
    const char *was = json_string_value(json_object_get(root, "kernels"));

    if (was && strcmp(was, model_kernels()) != 0) {
        char *text = xasprintf("it was learned on another kind of machine "
                               "(%s, here %s): bits may differ for that alone",
                               was, model_kernels());

        note(r, text);
        free(text);
    }
    json_decref(root);
}

/* Rows of the parent are missing: has retention taken it meanwhile? */
static int check_kept(struct retrain *r, struct err *err)
{
    struct catalog_version v;

    if (catalog_get(r->learning.catalog, r->from.version, &v, NULL) ==
        ERR_NOTFOUND)
        return err_set(err, ERR_STATE,
                       "version %lld, the parent, was removed by retention "
                       "meanwhile",
                       (long long)r->from.version);
    catalog_version_release(&v);
    return err->code;
}

static json_t *make_report(const struct retrain *r)
{
    return json_pack(
        "{s:I, s:I, s:I, s:I, s:b, s:s, s:O, s:O}", "version",
        (json_int_t)r->to.version, "parent", (json_int_t)r->to.parent,
        "records", (json_int_t)r->records, "steps",
        (json_int_t)(r->to.step - r->from.step), "same",
        json_array_size(r->differences) == 0, "weights_sha256",
        r->to.weights_sha256, "differences", r->differences, "notes",
        r->notes);
}

static void release(struct retrain *r)
{
    for (size_t i = 0; i < r->n_lines; i++) {
        for (size_t k = r->lines[i].first; k < r->lines[i].n; k++)
            record_free(r->lines[i].items[k]);
        free(r->lines[i].items);
    }
    if (r->learning.conf)
        learning_close(&r->learning); /* its records name the source's topics */
    record_maker_release(&r->maker);
    source_free(r->source);
    queue_free(r->queue);
    free(r->lines);
    free(r->fed);
    free(r->last);
    free(r->runs);
    catalog_version_release(&r->from);
    catalog_version_release(&r->to);
    json_decref(r->differences);
    json_decref(r->notes);
}

int retrain_run(const struct conf *conf, int64_t version, json_t **report,
                struct err *err)
{
    struct retrain r = {
        .conf = conf,
        .differences = json_array(),
        .notes = json_array(),
    };
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
        compare_kernels(&r);
        r.queue = queue_create(OPTIONS_QUEUE_RECORDS, OPTIONS_QUEUE_BYTES);
        rc = begin_source(&r, err);
    }
    if (rc == 0)
        rc = learn(&r, err);
    if (rc == ERR_CORRUPT && r.from.version)
        rc = check_kept(&r, err);
    if (rc == 0)
        rc = retrain_compare(&r.learning, &r.to, r.differences, err);
    if (rc == 0)
        *report = make_report(&r);
    release(&r);
    return rc;
}
