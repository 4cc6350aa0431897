/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A domain's number in a row is that of the branch on which the row was born:
 * a rollback takes the table of names back. So each kept version says which
 * number the domain has in rows that were born after the kept version before
 * it, and a span is a run of versions that agree.
 */
#include "config.h"

#include "daemon/train/forget.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "daemon/stream/record.h"
#include "learner/tokenizer/cut.h"
#include "replay/row.h"
#include "store/releases.h"

#define MOST_LISTED 400 /* versions in a result */

struct span {
    int32_t domain;
    int64_t first_born, last_born;
};

struct erasing {
    const struct forget_request *request;
    struct store_offset *partitions;
    size_t n_partitions;
    struct span *spans; /* of a domain */
    size_t n_spans, cap_spans;
    int64_t replay, holdout; /* rows erased */
    struct tombstones_report report;
    bool written; /* the rows are gone for good */
    struct err not_scrubbed; /* why the file may still hold their bytes */
};

/* --- what is there ------------------------------------------------------ */

/* The domain's number in a version, -1: it has none. */
static int32_t domain_in(const struct catalog_version *v, const char *name)
{
    struct progress p;
    long id = -1;

    progress_init(&p);
    if (v->metadata_json &&
        progress_import(&p, v->metadata_json, strlen(v->metadata_json),
                        NULL) == 0)
        id = names_find(&p.domains, name);
    progress_release(&p);
    return (int32_t)id;
}

static void add_span(struct erasing *e, int32_t domain, int64_t first,
                     int64_t last)
{
    struct span *before = e->n_spans ? &e->spans[e->n_spans - 1] : NULL;

    if (domain < 0)
        return;
    if (before && before->domain == domain && before->last_born + 1 == first) {
        before->last_born = last;
        return;
    }
    XGROW(e->spans, e->n_spans, e->cap_spans);
    e->spans[e->n_spans++] = (struct span){domain, first, last};
}

static int find_domain(struct erasing *e, struct err *err)
{
    const struct forget_request *r = e->request;
    struct catalog_quarantine_filter filter = {
        .domain = r->name, .limit = 1, .most_bytes = 1};
    struct catalog_quarantine *rows = NULL;
    struct catalog_version *versions = NULL;
    int64_t first = 0;
    size_t n = 0, n_rows = 0;
    int rc = catalog_list(r->learning->catalog, 0, 0, &versions, &n, err);

    for (size_t i = n; rc == 0 && i-- > 0;) {
        add_span(e, domain_in(&versions[i], r->name), first,
                 versions[i].version);
        first = versions[i].version + 1;
    }
    catalog_versions_free(versions, n);
    if (rc == 0)
        rc = catalog_quarantine_find(r->learning->catalog, &filter, &rows,
                                     &n_rows, err);
    catalog_quarantine_free(rows, n_rows);
    if (rc == 0 && e->n_spans == 0 && n_rows == 0)
        rc = err_set(err, ERR_NOTFOUND, "there is no domain %.255s (beyond "
                     "model.max_domains they count as `other`)", r->name);
    return rc;
}

/* As far as the source knows where the partition ends. */
static int64_t known_end(const struct source_partition *rows, size_t n,
                         const struct progress_partition *q)
{
    for (size_t i = 0; i < n; i++)
        if (rows[i].partition == q->partition &&
            strcmp(rows[i].topic, q->topic) == 0)
            return rows[i].end > rows[i].offset ? rows[i].end
                                                : rows[i].offset;
    return 0;
}

static int64_t forgotten_up_to(const struct forget_request *r,
                               const struct progress_partition *q,
                               const struct source_partition *rows, size_t n)
{
    int64_t next = q->positioned ? q->next_offset + (q->tokens_done > 0) : 0;
    int64_t end = strcmp(q->topic, RELEASES_TOPIC) == 0
                      ? r->next_release
                      : known_end(rows, n, q);

    return end > next ? end : next;
}

/* Every partition up to where the stream is known. */
static void find_partitions(struct erasing *e)
{
    const struct forget_request *r = e->request;
    struct progress *p = &r->learning->progress;
    struct source_partition *rows = NULL;
    size_t n = source_get_partitions(r->source, &rows);

    for (size_t i = 0; i < n; i++)
        progress_partition_id(p, rows[i].topic, rows[i].partition);
    e->partitions = xcalloc(p->n_partitions + 1, sizeof *e->partitions);
    for (size_t i = 0; i < p->n_partitions; i++) {
        const struct progress_partition *q = &p->partitions[i];

        e->partitions[e->n_partitions++] = (struct store_offset){
            .partition_id = (int32_t)i,
            .topic = q->topic,
            .partition = q->partition,
            .next_offset = forgotten_up_to(r, q, rows, n),
        };
    }
    free(rows);
}

/* --- ids in texts ------------------------------------------------------- */

/* A record that was learned as plain text may be an object with an id, which
 * was never parsed. Its text is put together from its rows, which follow each
 * other by part; a record that was learned again begins with its first part
 * again. */
struct searching {
    struct erasing *e;
    struct tombstones_found *found;
    struct segment_origin at; /* of the last row seen; its id is not used */
    struct buf text;
    bool from_beginning;
    int64_t *keys; /* of rows to erase (n_doomed), then of this text's rows */
    size_t n_doomed, n_keys, cap_keys;
};

static void add_record(void *arg, int32_t partition_id, int64_t offset)
{
    tombstones_add(arg, partition_id, offset);
}

static void look_at_text(struct searching *s)
{
    if (s->n_keys > s->n_doomed && s->text.len &&
        record_text_has_id(s->text.data, s->text.len, s->from_beginning,
                           s->e->request->name)) {
        add_record(s->found, s->at.partition_id, s->at.offset);
        s->n_doomed = s->n_keys;
    }
    s->n_keys = s->n_doomed;
    buf_clear(&s->text);
}

static void see_row(void *arg, const struct row *row)
{
    struct searching *s = arg;
    const struct segment_origin *o = &row->origin;

    if (o->partition_id != s->at.partition_id || o->offset != s->at.offset ||
        o->part <= s->at.part)
        look_at_text(s);
    if (s->n_keys == s->n_doomed)
        s->from_beginning = o->part == 0;
    else if (o->part != s->at.part + 1)
        s->from_beginning = false; /* not valid JSON as it stands */
    s->at = *o;
    XGROW(s->keys, s->n_keys, s->cap_keys);
    s->keys[s->n_keys++] = row->key;
    cut_text(&row->segment, s->e->request->learning->tokenizer, &s->text);
}

static int erase_texts(struct sqlite3 *db, struct erasing *e,
                       enum replay_kind kind, struct tombstones_found *found,
                       int64_t *n, struct err *err)
{
    struct searching s = {.e = e, .found = found, .text = BUF_INIT};
    int rc = replay_db_each_unnamed(db, kind, see_row, &s, err);

    look_at_text(&s);
    if (rc == 0)
        rc = replay_db_erase(db, kind, s.keys, s.n_doomed, n, err);
    buf_release(&s.text);
    free(s.keys);
    return rc;
}

/* --- the publisher's part ----------------------------------------------- */

static int erase_kind(struct sqlite3 *db, struct erasing *e,
                      enum replay_kind kind, struct tombstones_found *found,
                      int64_t *n, struct err *err)
{
    struct replay_forget f = {.id = e->request->name};
    int rc = 0;

    if (e->request->kind == TOMBSTONES_ID) {
        rc = replay_db_forget(db, kind, &f, add_record, found, n, err);
        return rc ? rc : erase_texts(db, e, kind, found, n, err);
    }
    f.id = NULL;
    for (size_t i = 0; rc == 0 && i < e->n_spans; i++) {
        f.domain = e->spans[i].domain;
        f.first_born = e->spans[i].first_born;
        f.last_born = e->spans[i].last_born;
        rc = replay_db_forget(db, kind, &f, add_record, found, n, err);
    }
    return rc;
}

static int erase_rows(struct sqlite3 *db, struct tombstones_found *found,
                      void *arg, struct err *err)
{
    struct erasing *e = arg;
    int rc = erase_kind(db, e, REPLAY_ROWS, found, &e->replay, err);

    return rc ? rc
              : erase_kind(db, e, REPLAY_HOLDOUT, found, &e->holdout, err);
}

static int write_and_scrub(struct store *s, void *arg, struct err *err)
{
    struct erasing *e = arg;
    const struct tombstones_forget f = {
        .kind = e->request->kind,
        .name = e->request->name,
        .partitions = e->partitions,
        .n_partitions = e->n_partitions,
        .has_id = record_has_id,
        .in_transaction = erase_rows,
        .arg = e,
    };
    int rc = tombstones_write(s, &f, &e->report, err);

    if (rc)
        return rc;
    e->written = true;
    rc = tombstones_scrub(s, &e->not_scrubbed);
    if (rc == ERR_FULL || rc == ERR_STATE)
        return 0; /* publisher.c tries again */
    if (rc && err) {
        *err = e->not_scrubbed;
        err_prefix(err, "the rows are gone, but until the next start the file "
                        "may still hold their bytes");
    }
    return rc;
}

/* --- afterwards --------------------------------------------------------- */

static int leave_memory(struct learning *l, struct err *err)
{
    size_t n;
    int rc = replay_drop_missing(l->replay, &n, err);

    if (rc == 0)
        rc = replay_drop_missing(l->holdout, &n, err);
    if (rc == 0)
        rc = learning_load_skipped(l, err);
    if (rc)
        return rc;
    intake_decide_again(l->intake, learner_steps(l->learner));
    return 0;
}

static json_t *numbers(const int64_t *items, size_t n)
{
    json_t *list = json_array();

    for (size_t i = n > MOST_LISTED ? n - MOST_LISTED : 0; i < n; i++)
        json_array_append_new(list, json_integer(items[i]));
    return list;
}

/* "3-7, 9" */
static void describe_versions(const int64_t *v, size_t n, struct buf *out)
{
    for (size_t i = 0; i < n;) {
        size_t first = i;

        while (i + 1 < n && v[i + 1] == v[i] + 1)
            i++;
        buf_addf(out, first ? ", %" PRId64 : "%" PRId64, v[first]);
        if (i > first)
            buf_addf(out, "-%" PRId64, v[i]);
        i++;
    }
}

static void describe(const struct erasing *e, char *detail, size_t size)
{
    const struct tombstones_report *t = &e->report;
    struct buf versions = BUF_INIT;
    char pending[300] = "";

    describe_versions(t->learned, t->n_learned, &versions);
    if (e->not_scrubbed.code != ERR_OK)
        snprintf(pending, sizeof pending,
                 "; mneme.db may still hold their bytes until it can be "
                 "written anew; that is tried every minute (%.160s)",
                 e->not_scrubbed.msg);
    snprintf(detail, size,
             "erased %" PRId64 " rows of replay, %" PRId64
             " of holdout, %" PRId64 " of quarantine%s; %s%.300s%s",
             e->replay, e->holdout, t->quarantine + t->releases, pending,
             t->n_learned ? "learned from by versions "
                          : "no kept version is known to have learned from "
                            "them",
             t->n_learned ? versions.data : "",
             t->n_learned ? ", which can no longer be retrained" : "");
    buf_release(&versions);
}

static json_t *result_json(const struct erasing *e)
{
    const struct tombstones_report *t = &e->report;

    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:b}", "replay",
                     (json_int_t)e->replay, "holdout", (json_int_t)e->holdout,
                     "quarantine", (json_int_t)t->quarantine, "released",
                     (json_int_t)t->releases, "records",
                     (json_int_t)t->records, "versions",
                     numbers(t->learned, t->n_learned), "not_retrainable",
                     numbers(t->marked, t->n_marked), "erasure_pending",
                     e->not_scrubbed.code != ERR_OK);
}

int forget_run(const struct forget_request *r, char *detail, size_t size,
               json_t **result, struct err *err)
{
    struct erasing e = {.request = r};
    struct err later = ERR_INIT;
    int rc = r->kind == TOMBSTONES_DOMAIN ? find_domain(&e, err) : 0;

    if (rc)
        return rc;
    find_partitions(&e);
    rc = publisher_run(r->publisher, write_and_scrub, &e, err);
    if (e.written && leave_memory(r->learning, &later) != 0) {
        rc = err_set(err, ERR_DIVERGED, "after the rows were erased: %s",
                     later.msg);
        goto out;
    }
    if (e.written)
        log_info("forget",
                 "what=%s replay=%" PRId64 " holdout=%" PRId64
                 " quarantine=%" PRId64 " versions=%zu",
                 r->kind == TOMBSTONES_ID ? "id" : "domain", e.replay,
                 e.holdout, e.report.quarantine, e.report.n_learned);
    if (rc == 0) {
        describe(&e, detail, size);
        *result = result_json(&e);
    }
out:
    free(e.partitions);
    free(e.spans);
    tombstones_report_release(&e.report);
    return rc;
}
