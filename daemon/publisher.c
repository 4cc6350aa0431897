/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One loop: a snapshot to publish, a rollback to write, operations from users,
 * in that order; asleep otherwise. `busy` is true from publisher_submit until
 * the gate has spoken about that version, and the outcome of the durable part
 * can be collected before that.
 */
#include "config.h"

#include "daemon/publisher.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/judge.h"
#include "daemon/probe.h"
#include "daemon/release.h"

#define RETRY_MS 5000 /* a verdict for which the disk had no room */

struct rollback_request {
    struct store_rollback rows;
    const struct store_offset *known;
    size_t n_known;
    struct err *err;
    int rc;
};

struct errand {
    int (*run)(struct store *s, void *arg, struct err *err);
    void *arg;
    struct err *err;
    int rc;
};

struct publisher {
    struct publisher_options options;
    const struct model_shape *shape;
    const struct tokenizer *tokenizer;
    struct buf tokenizer_json;
    struct judge *judge;
    struct probe probe;     /* of the snapshot that was written last */
    int64_t probed_version; /* which became this version; 0: none */
    bool failing; /* the last publish failed, and that has been said */
    bool dead;    /* something cannot be mended: nothing is written any more */
    int64_t retry_ms; /* when the head is judged again; 0: it has a verdict */
    atomic_bool released; /* records, and the trainer has not looked */
    pthread_t thread;
    bool started;

    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t work;   /* for the publisher */
    pthread_cond_t done;   /* for the trainer */
    bool stopping, woken;
    bool starting; /* until a version that a crash left pending is judged */
    bool busy;
    bool judging; /* a version whose verdict is tried again */
    struct snapshot *submitted;
    struct rollback_request *rollback;
    struct errand *errand;
    bool have_outcome;
    struct snapshot *outcome_snapshot;
    int64_t outcome_version;
    struct err outcome_err;
    bool have_wish;
    struct publisher_wish wish;
    int64_t choices;
};

struct publisher *publisher_create(const struct publisher_options *options)
{
    struct publisher *p = xcalloc(1, sizeof *p);

    p->options = *options;
    p->judge = judge_create(options->conf, options->catalog,
                            options->serving);
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->done, NULL);
    return p;
}

void publisher_prepare(struct publisher *p, const struct model_shape *shape,
                       const struct tokenizer *tokenizer)
{
    p->shape = shape;
    p->tokenizer = tokenizer;
    buf_clear(&p->tokenizer_json);
    if (tokenizer)
        tokenizer_to_json(tokenizer, &p->tokenizer_json);
}

void publisher_free(struct publisher *p)
{
    if (!p)
        return;
    BUG_ON(p->started);
    snapshot_free(p->submitted);
    snapshot_free(p->outcome_snapshot);
    judge_free(p->judge);
    probe_release(&p->probe);
    buf_release(&p->tokenizer_json);
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->done);
    pthread_mutex_destroy(&p->mutex);
    free(p);
}

/* --- the trainer's side ------------------------------------------------- */

void publisher_wake(struct publisher *p)
{
    pthread_mutex_lock(&p->mutex);
    p->woken = true;
    pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->mutex);
}

bool publisher_released(struct publisher *p)
{
    return atomic_exchange(&p->released, false);
}

bool publisher_busy(struct publisher *p)
{
    bool busy;

    pthread_mutex_lock(&p->mutex);
    busy = p->busy || p->have_outcome;
    pthread_mutex_unlock(&p->mutex);
    return busy;
}

void publisher_submit(struct publisher *p, struct snapshot *s)
{
    pthread_mutex_lock(&p->mutex);
    BUG_ON(p->busy || p->have_outcome);
    p->busy = true;
    p->submitted = s;
    pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->mutex);
}

bool publisher_collect(struct publisher *p, struct snapshot **s,
                       int64_t *version, struct err *err)
{
    bool have;

    pthread_mutex_lock(&p->mutex);
    have = p->have_outcome;
    if (have) {
        *s = p->outcome_snapshot;
        *version = p->outcome_version;
        *err = p->outcome_err;
        p->outcome_snapshot = NULL;
        p->have_outcome = false;
    }
    pthread_mutex_unlock(&p->mutex);
    return have;
}

bool publisher_take_wish(struct publisher *p, struct publisher_wish *wish)
{
    bool have;

    pthread_mutex_lock(&p->mutex);
    have = p->have_wish;
    if (have)
        *wish = p->wish;
    p->have_wish = false;
    pthread_mutex_unlock(&p->mutex);
    return have;
}

int64_t publisher_choices(struct publisher *p)
{
    int64_t choices;

    pthread_mutex_lock(&p->mutex);
    choices = p->choices;
    pthread_mutex_unlock(&p->mutex);
    return choices;
}

void publisher_wait(struct publisher *p)
{
    pthread_mutex_lock(&p->mutex);
    while (p->busy || p->starting || p->judging)
        pthread_cond_wait(&p->done, &p->mutex);
    pthread_mutex_unlock(&p->mutex);
}

int publisher_run(struct publisher *p,
                  int (*run_it)(struct store *s, void *arg, struct err *err),
                  void *arg, struct err *err)
{
    struct errand errand = {run_it, arg, err, 0};

    pthread_mutex_lock(&p->mutex);
    p->errand = &errand;
    pthread_cond_signal(&p->work);
    while (p->errand)
        pthread_cond_wait(&p->done, &p->mutex);
    pthread_mutex_unlock(&p->mutex);
    return errand.rc;
}

int publisher_rollback(struct publisher *p, const struct store_rollback *rows,
                       const struct store_offset *known, size_t n_known,
                       struct err *err)
{
    struct rollback_request request = {*rows, known, n_known, err, 0};

    request.rows.in_transaction = replay_db_rollback;
    pthread_mutex_lock(&p->mutex);
    p->rollback = &request;
    pthread_cond_signal(&p->work);
    while (p->rollback)
        pthread_cond_wait(&p->done, &p->mutex);
    pthread_mutex_unlock(&p->mutex);
    return request.rc;
}

/* --- publishing --------------------------------------------------------- */

static int write_replay(struct sqlite3 *db, int64_t version, void *arg,
                        struct err *err)
{
    const struct snapshot *s = arg;
    int rc = replay_db_write(db, s->replay_changes, version, err);

    return rc ? rc : replay_db_write(db, s->holdout_changes, version, err);
}

static int store_snapshot(struct publisher *p, struct snapshot *s,
                          int64_t *version, struct err *err)
{
    struct catalog_pointers pointers;
    struct store_publication publication = {
        .created_ms = s->created_ms,
        .step = s->step,
        .tokens_seen = s->tokens_seen,
        .shape = p->shape,
        .weights = p->shape ? &s->weights : NULL,
        .state = &s->state,
        .anchor = s->anchor_unchanged ? NULL : &s->anchor,
        .head = &s->head,
        .tokenizer_json = p->tokenizer ? p->tokenizer_json.data : NULL,
        .tokenizer_json_bytes = p->tokenizer_json.len,
        .end_of_text = p->tokenizer ? tokenizer_end_of_text(p->tokenizer) : 0,
        .labels_json = s->labels_json.data,
        .metadata_json = s->metadata.data,
        .offsets = s->offsets,
        .n_offsets = s->n_offsets,
        .ledger = s->stage.ledger,
        .n_ledger = s->stage.n_ledger,
        .quarantine = s->stage.quarantine,
        .n_quarantine = s->stage.n_quarantine,
        .in_transaction = write_replay,
        .arg = s,
    };
    int rc = catalog_pointers(p->options.catalog, &pointers, err);

    if (rc)
        return rc;
    publication.parent = pointers.head;
    return store_publish(p->options.store, &publication, version, err);
}

/* The positions of a durable version, for the group's committed offsets. */
static void tell_source(struct publisher *p, const struct snapshot *s)
{
    struct source_position *positions =
        xcalloc(s->n_offsets, sizeof *positions);

    for (size_t i = 0; i < s->n_offsets; i++)
        positions[i] = (struct source_position){
            .topic = s->offsets[i].topic,
            .partition = s->offsets[i].partition,
            .next_offset = s->offsets[i].next_offset,
            .last_learned = s->offsets[i].last_learned,
            .last_hash = s->offsets[i].last_hash,
        };
    source_published(p->options.source, positions, s->n_offsets);
    free(positions);
}

/* Event time of the newest record that a version has learned from; 0: none. */
static int64_t newest_record_ms(struct publisher *p, int64_t version)
{
    struct catalog_version v;
    struct progress progress;
    int64_t ms = 0;

    if (version == 0 || catalog_get(p->options.catalog, version, &v, NULL))
        return 0;
    progress_init(&progress);
    if (progress_import(&progress, v.metadata_json, strlen(v.metadata_json),
                        NULL) == 0)
        ms = progress.newest_record_ms;
    progress_release(&progress);
    catalog_version_release(&v);
    return ms;
}

static void show_pointers(struct publisher *p)
{
    struct catalog_pointers pointers;
    struct status *s;
    int64_t ms;

    if (catalog_pointers(p->options.catalog, &pointers, NULL) != 0)
        return;
    ms = newest_record_ms(p, pointers.serving);
    s = status_lock(p->options.board);
    s->head_version = pointers.head;
    s->serving_version = pointers.serving;
    s->serving_pinned = pointers.serving_pinned;
    s->serving_record_ms = ms;
    status_unlock(p->options.board);
}

/* A holdout loss of the head in a domain. Locks: needs the board's. */
static void show_holdout(struct status *s, const char *domain, double loss)
{
    for (size_t d = 0; d < s->n_domains; d++) {
        struct status_domain *out = &s->domains[d];

        if (strncmp(out->name, domain, sizeof out->name - 1) != 0)
            continue;
        out->holdout = loss;
        if (!(out->holdout_best <= loss))
            out->holdout_best = loss;
    }
}

/* What the last version told, for the board of a process that has just
 * started: the lowest loss of a domain over all versions that are kept. */
static void show_history(struct publisher *p)
{
    struct catalog_version *versions = NULL;
    struct status *s;
    size_t n = 0;

    if (catalog_list(p->options.catalog, 0, 0, &versions, &n, NULL) != 0)
        return;
    s = status_lock(p->options.board);
    for (size_t i = n; i-- > 0;) {
        for (size_t d = 0; d < versions[i].n_domains; d++)
            show_holdout(s, versions[i].domains[d].domain,
                         versions[i].domains[d].bits_per_byte);
        if (versions[i].head && versions[i].state != STORE_PENDING)
            snprintf(s->publish.last_verdict, sizeof s->publish.last_verdict,
                     "%s", store_state_name(versions[i].state));
        catalog_version_release(&versions[i]);
    }
    status_unlock(p->options.board);
    free(versions);
}

static void show_verdict(struct publisher *p, const struct judgement *j)
{
    struct status *s = status_lock(p->options.board);

    snprintf(s->publish.last_verdict, sizeof s->publish.last_verdict, "%s",
             store_state_name(j->verdict));
    snprintf(s->publish.last_reason, sizeof s->publish.last_reason, "%s",
             j->reason);
    snprintf(s->publish.waits_for, sizeof s->publish.waits_for, "%s",
             j->waits_for);
    s->publish.passed += j->verdict == STORE_PASSED;
    s->publish.refused += j->verdict == STORE_FAILED;
    s->publish.inconclusive += j->verdict == STORE_INCONCLUSIVE;
    s->publish.refused_in_a_row = j->refused;
    s->publish.reference_version = j->reference;
    s->publish.shadow_records = j->shadow_records;
    s->publish.shadow_difference = j->shadow_difference;
    s->publish.shadow_evidence = j->shadow_evidence;
    for (size_t i = 0; i < j->n_results; i++)
        show_holdout(s, j->results[i].domain, j->results[i].bits_per_byte);
    status_unlock(p->options.board);
}

/* --- the gate ----------------------------------------------------------- */

/* It cannot be asked, whatever is wrong with it. */
static void refuse(struct publisher *p, bool not_finite, const char *what,
                   const char *why, struct judgement *out)
{
    char reason[sizeof out->reason];

    snprintf(reason, sizeof reason, "%.30s: %.220s", what, why);
    judge_broken(p->judge, not_finite, reason, out);
}

/* Is it finite, and what was live? *candidate stays NULL when it fails. */
static int read_back(struct publisher *p, int64_t version,
                     struct infer **candidate, struct judgement *out,
                     struct err *err)
{
    const struct probe *probe =
        p->probed_version == version ? &p->probe : NULL;
    struct infer *infer = NULL;
    int rc;

    if (probe && !probe->finite) {
        refuse(p, true, "not finite", probe->problem, out);
        return 0;
    }
    rc = serving_load(p->options.serving, version, &infer, err);
    if (rc == 0 && probe)
        rc = probe_compare(probe, infer, err);
    if (rc == 0) {
        *candidate = infer;
        return 0;
    }
    infer_free(infer);
    if (rc != ERR_CORRUPT && rc != ERR_DIVERGED)
        return rc;
    refuse(p, rc == ERR_DIVERGED, "cannot be read back", err->msg, out);
    *err = (struct err)ERR_INIT;
    return 0;
}

/* Everything the gate asks. On 0 without a candidate it is broken. */
static int examine(struct publisher *p, int64_t version,
                   struct infer **candidate, struct judgement *out,
                   struct err *err)
{
    int rc = read_back(p, version, candidate, out, err);

    if (rc || !*candidate)
        return rc;
    rc = judge_candidate(p->judge, version, *candidate, out, err);
    if (rc == ERR_DIVERGED) {
        infer_free(*candidate);
        *candidate = NULL;
        refuse(p, true, "not finite", err->msg, out);
        *err = (struct err)ERR_INIT;
        return 0;
    }
    if (rc == 0 && p->probed_version == version)
        json_object_set_new(out->gate, "read_back",
                            json_pack("{s:b, s:i, s:b}", "finite", 1,
                                      "probe_texts", PROBE_TEXTS, "same", 1));
    return rc;
}

/* What the guard wants goes to the trainer, which alone can go back. */
static void wish(struct publisher *p, int64_t version,
                 const struct judgement *j)
{
    struct publisher_wish w = {.version = j->reference, .cause = j->cause};

    if (j->cause == GUARD_NO_CAUSE)
        return;
    snprintf(w.reason, sizeof w.reason, "version %lld: %s (%.160s)",
             (long long)version, guard_cause_text(j->cause), j->reason);
    if (!p->options.conf->publish.auto_rollback || j->reference == 0) {
        log_warn("guard", "version=%lld reference=%lld action=none "
                          "reason=\"%s\"",
                 (long long)version, (long long)j->reference, w.reason);
        return;
    }
    pthread_mutex_lock(&p->mutex);
    p->wish = w;
    p->have_wish = true;
    pthread_mutex_unlock(&p->mutex);
    p->options.wake_trainer(p->options.arg);
}

static void log_verdict(int64_t version, int64_t serving,
                        const struct judgement *j)
{
    log_info("gate",
             "version=%lld verdict=%s serving=%lld reference=%lld "
             "refused=%lld shadow_records=%lld shadow_evidence=%.2f "
             "reason=\"%s\"%s%s%s",
             (long long)version, store_state_name(j->verdict),
             (long long)serving, (long long)j->reference,
             (long long)j->refused, (long long)j->shadow_records,
             isfinite(j->shadow_evidence) ? j->shadow_evidence : 0, j->reason,
             j->waits_for[0] ? " waits_for=\"" : "", j->waits_for,
             j->waits_for[0] ? "\"" : "");
}

/* Loads a pending version, asks the judge, writes the verdict and switches. */
static int judge_version(struct publisher *p, int64_t version,
                         struct err *err)
{
    struct catalog_pointers pointers;
    struct judgement j = {0};
    struct infer *candidate = NULL;
    char *gate = NULL;
    bool serve;
    int rc = catalog_pointers(p->options.catalog, &pointers, err);

    if (rc == 0)
        rc = examine(p, version, &candidate, &j, err);
    if (rc)
        goto out;
    serve = j.verdict == STORE_PASSED && !pointers.serving_pinned;
    gate = json_dumps(j.gate, JSON_COMPACT | JSON_REAL_PRECISION(8));
    rc = store_verdict(p->options.store, version, j.verdict, gate, j.results,
                       j.n_results, serve, j.reason, err);
    if (rc)
        goto out;
    if (serve) {
        serving_switch(p->options.serving, version, candidate);
        judge_promoted(p->judge, version);
        candidate = NULL;
    }
    log_verdict(version, serve ? version : pointers.serving, &j);
    show_verdict(p, &j);
    wish(p, version, &j);
out:
    show_pointers(p);
    free(gate);
    judgement_release(&j);
    infer_free(candidate);
    return rc;
}

/* In the transaction that prunes: kept are the versions that stay. */
static int sweep_replay(struct sqlite3 *db, const int64_t *kept,
                        size_t n_kept, void *arg, struct err *err)
{
    struct publisher *p = arg;
    int64_t deleted;

    serving_retain(p->options.serving, kept, n_kept);
    return replay_db_sweep(db, kept, n_kept, 20000, &deleted, err);
}

static int prune(struct publisher *p, struct err *err)
{
    const struct conf_keep *k = &p->options.conf->publish.keep;
    struct store_keep keep = {(int)k->newest, (int)k->hourly, (int)k->daily};
    int removed = 0;
    int rc = store_prune(p->options.store, &keep, timing_wall_ms(),
                         sweep_replay, p, &removed, err);

    if (removed)
        log_debug("retention", "removed=%d", removed);
    return rc;
}

/* What cannot be mended ends the process; the rest is tried again. */
static void handle_failure(struct publisher *p, const char *what,
                           const struct err *err, bool again)
{
    struct status *s = status_lock(p->options.board);

    s->publish.failed++;
    status_unlock(p->options.board);
    if (!again || !p->failing)
        log_error(what, "%s", err->msg);
    p->failing = again;
    p->dead = p->dead || !again;
    if (!again)
        p->options.on_fatal(err, p->options.arg);
}

static void give_outcome(struct publisher *p, struct snapshot *s,
                         int64_t version, const struct err *err)
{
    pthread_mutex_lock(&p->mutex);
    p->outcome_snapshot = s;
    p->outcome_version = version;
    p->outcome_err = *err;
    p->have_outcome = true;
    pthread_mutex_unlock(&p->mutex);
    p->options.wake_trainer(p->options.arg);
}

/* A version that no verdict could be written for stays pending until there is
 * room on the disk. */
static void judge_or_retry(struct publisher *p, int64_t version)
{
    struct err err = ERR_INIT;

    p->retry_ms = 0;
    if (judge_version(p, version, &err) == 0) {
        p->failing = false;
        return;
    }
    handle_failure(p, "gate", &err, err.code == ERR_FULL);
    if (err.code == ERR_FULL)
        p->retry_ms = timing_mono_ms() + RETRY_MS;
}

static void publish(struct publisher *p, struct snapshot *s)
{
    int64_t started = timing_mono_ns(), version = 0;
    struct err err = ERR_INIT;
    struct status *status;
    double seconds;

    if (p->dead) { /* "succeeding" now could be on data that is lost */
        err_set(&err, ERR_IO, "nothing is published any more");
        give_outcome(p, s, 0, &err);
        return;
    }
    probe_release(&p->probe);
    probe_take(s, p->shape, p->tokenizer,
               serving_options(p->options.serving), &p->probe);
    p->probed_version = 0;
    if (store_snapshot(p, s, &version, &err) != 0) {
        /* An anchor that cannot be linked is written whole the next time. */
        handle_failure(p, "publish", &err,
                       err.code == ERR_FULL ||
                           (err.code == ERR_CORRUPT && s->anchor_unchanged));
        give_outcome(p, s, 0, &err);
        return;
    }
    p->failing = false;
    p->probed_version = version;
    tell_source(p, s);
    seconds = timing_seconds_since(started);
    log_info("publish", "version=%lld step=%lld tokens=%lld seconds=%.3f",
             (long long)version, (long long)s->step,
             (long long)s->tokens_seen, seconds);
    give_outcome(p, s, version, &err);
    show_pointers(p);
    judge_or_retry(p, version);
    if (!p->retry_ms && !p->dead && prune(p, &err) != 0)
        handle_failure(p, "retention", &err, err.code == ERR_FULL);
    status = status_lock(p->options.board);
    status->publish.count++;
    status->publish.last_seconds = timing_seconds_since(started);
    status_unlock(p->options.board);
}

/* Versions whose verdict a crash or a full disk cut off: the head only, older
 * ones stay undecided. */
static void judge_pending(struct publisher *p)
{
    struct catalog_pointers pointers;
    struct catalog_version v;
    struct err err = ERR_INIT;
    int rc = catalog_pointers(p->options.catalog, &pointers, &err);

    p->retry_ms = 0;
    if (rc == 0 && pointers.head == 0)
        return;
    if (rc == 0)
        rc = catalog_get(p->options.catalog, pointers.head, &v, &err);
    if (rc) {
        handle_failure(p, "gate", &err, true);
        p->retry_ms = timing_mono_ms() + RETRY_MS;
        return;
    }
    if (v.state == STORE_PENDING)
        judge_or_retry(p, pointers.head);
    catalog_version_release(&v);
}

/* --- operations --------------------------------------------------------- */

/* Loads first, so that a damaged version never becomes the serving one. */
static int switch_to(struct publisher *p, int64_t version, bool pinned,
                     const char *reason, struct err *err)
{
    struct infer *infer = NULL;
    int rc = serving_load(p->options.serving, version, &infer, err);

    if (rc)
        return rc;
    rc = store_serve(p->options.store, version, pinned, reason, err);
    if (rc) {
        infer_free(infer);
        return rc;
    }
    serving_switch(p->options.serving, version, infer);
    pthread_mutex_lock(&p->mutex);
    p->choices++;
    pthread_mutex_unlock(&p->mutex);
    p->options.wake_trainer(p->options.arg);
    show_pointers(p);
    return 0;
}

static int write_rollback(struct publisher *p,
                          const struct rollback_request *r)
{
    int rc = store_know_partitions(p->options.store, r->known, r->n_known,
                                   r->err);

    return rc ? rc : store_rollback(p->options.store, &r->rows, r->err);
}

static int roll_back(struct publisher *p, const struct rollback_request *r)
{
    bool serve = !r->rows.keep_serving;
    struct infer *infer = NULL;
    struct status *s;
    int rc = 0;

    if (serve)
        rc = serving_load(p->options.serving, r->rows.to, &infer, r->err);
    if (rc == 0)
        rc = write_rollback(p, r);
    if (rc) {
        infer_free(infer);
        return rc;
    }
    if (serve)
        serving_switch(p->options.serving, r->rows.to, infer);
    judge_went_back(p->judge);
    pthread_mutex_lock(&p->mutex);
    p->have_wish = false;
    pthread_mutex_unlock(&p->mutex);
    s = status_lock(p->options.board);
    s->publish.rollbacks++;
    s->publish.automatic += r->rows.automatic;
    snprintf(s->publish.last_rollback, sizeof s->publish.last_rollback, "%s",
             r->rows.reason ? r->rows.reason : "");
    s->publish.waits_for[0] = '\0';
    status_unlock(p->options.board);
    show_pointers(p);
    return 0;
}

/* The newest version that passed: what `promote latest` follows. */
static int newest_passed(struct publisher *p, int64_t *version,
                         struct err *err)
{
    struct catalog_version *versions = NULL;
    size_t n = 0;
    int rc = catalog_list(p->options.catalog, 0, 0, &versions, &n, err);

    *version = 0;
    for (size_t i = 0; i < n; i++) {
        if (*version == 0 && versions[i].state == STORE_PASSED)
            *version = versions[i].version;
        catalog_version_release(&versions[i]);
    }
    free(versions);
    if (rc == 0 && *version == 0)
        rc = err_set(err, ERR_STATE, "no version has passed the gate yet");
    return rc;
}

static int release(struct publisher *p, const struct control_operation *op,
                   char *detail, size_t size, struct err *err)
{
    int64_t n_labels = status_lock(p->options.board)->labels;
    int rc;

    status_unlock(p->options.board);
    rc = release_carry_out(p->options.store, p->options.catalog,
                           p->options.conf, op->version, op->reason, n_labels,
                           detail, size, err);
    if (rc == 0) {
        p->released = true;
        p->options.wake_trainer(p->options.arg);
    }
    return rc;
}

static int carry_out(struct publisher *p, const struct control_operation *op,
                     char *detail, size_t size, struct err *err)
{
    const char *reason = op->reason[0] ? op->reason
                                       : control_kind_name(op->kind);
    int64_t version = op->version;
    int rc;

    switch (op->kind) {
    case CONTROL_PIN:
    case CONTROL_UNPIN:
        rc = store_pin(p->options.store, version, op->kind == CONTROL_PIN,
                       err);
        snprintf(detail, size, "version %lld %s", (long long)version,
                 op->kind == CONTROL_PIN ? "pinned" : "unpinned");
        return rc;
    case CONTROL_PROMOTE_LATEST:
        rc = newest_passed(p, &version, err);
        if (rc == 0)
            rc = switch_to(p, version, false, reason, err);
        snprintf(detail, size, "serving version %lld, and following again",
                 (long long)version);
        return rc;
    case CONTROL_PROMOTE:
    case CONTROL_ROLLBACK_KEEP:
        rc = switch_to(p, version, true, reason, err);
        snprintf(detail, size,
                 "serving version %lld until `promote latest`",
                 (long long)version);
        return rc;
    case CONTROL_RELEASE_RANGE:
        snprintf(detail, size,
                 "range %lld is learned when it is read again: `mneme "
                 "rollback N` to a version before it reads it",
                 (long long)version);
        return store_release(p->options.store, version, reason, err);
    case CONTROL_RELEASE:
        return release(p, op, detail, size, err);
    default:
        BUG("operation %d is not the publisher's", (int)op->kind);
    }
}

static void run_operations(struct publisher *p)
{
    struct control_operation op;

    while (control_take(p->options.control, false, &op)) {
        struct err err = ERR_INIT;
        char detail[sizeof op.detail] = "";
        int rc = carry_out(p, &op, detail, sizeof detail, &err);

        if (rc)
            log_warn("operation", "kind=%s version=%lld error=\"%s\"",
                     control_kind_name(op.kind), (long long)op.version,
                     err.msg);
        else
            log_info("operation", "kind=%s version=%lld result=\"%s\"",
                     control_kind_name(op.kind), (long long)op.version,
                     detail);
        control_finish(p->options.control, op.id, rc ? &err : NULL, detail);
    }
}

/* --- the thread --------------------------------------------------------- */

/* Until there is work, or a verdict is to be tried again. Locks: needs the
 * mutex. */
static void sleep_until_work(struct publisher *p)
{
    struct timespec at;

    if (!p->retry_ms) {
        pthread_cond_wait(&p->work, &p->mutex);
        return;
    }
    at = timing_deadline(p->retry_ms - timing_mono_ms());
    pthread_cond_timedwait(&p->work, &p->mutex, &at);
}

static void *run(void *arg)
{
    struct publisher *p = arg;

    pthread_setname_np(pthread_self(), "publisher");
    show_pointers(p);
    show_history(p);
    judge_pending(p);
    pthread_mutex_lock(&p->mutex);
    p->starting = false;
    pthread_cond_broadcast(&p->done);
    for (;;) {
        if (p->submitted) {
            struct snapshot *s = p->submitted;

            p->submitted = NULL;
            pthread_mutex_unlock(&p->mutex);
            publish(p, s);
            pthread_mutex_lock(&p->mutex);
            p->busy = false;
            pthread_cond_broadcast(&p->done);
        } else if (p->rollback) {
            pthread_mutex_unlock(&p->mutex);
            p->rollback->rc = roll_back(p, p->rollback);
            pthread_mutex_lock(&p->mutex);
            p->rollback = NULL;
            pthread_cond_broadcast(&p->done);
        } else if (p->errand) {
            struct errand *e = p->errand;

            pthread_mutex_unlock(&p->mutex);
            e->rc = e->run(p->options.store, e->arg, e->err);
            pthread_mutex_lock(&p->mutex);
            p->errand = NULL;
            pthread_cond_broadcast(&p->done);
        } else if (p->woken) {
            p->woken = false;
            pthread_mutex_unlock(&p->mutex);
            run_operations(p);
            pthread_mutex_lock(&p->mutex);
        } else if (p->stopping) {
            break;
        } else if (p->retry_ms && timing_mono_ms() >= p->retry_ms) {
            p->judging = true;
            pthread_mutex_unlock(&p->mutex);
            judge_pending(p);
            pthread_mutex_lock(&p->mutex);
            p->judging = false;
            pthread_cond_broadcast(&p->done);
        } else {
            sleep_until_work(p);
        }
    }
    pthread_mutex_unlock(&p->mutex);
    return NULL;
}

void publisher_start(struct publisher *p)
{
    p->starting = true;
    if (pthread_create(&p->thread, NULL, run, p) != 0)
        BUG("cannot start the publisher's thread");
    p->started = true;
}

void publisher_stop(struct publisher *p)
{
    if (!p->started)
        return;
    pthread_mutex_lock(&p->mutex);
    p->stopping = true;
    pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->mutex);
    pthread_join(p->thread, NULL);
    p->started = false;
}
