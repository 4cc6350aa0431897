/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows name a domain by its number, and a rollback may give the domain another
 * number. The number in a kept version is valid for all rows that were born
 * after the kept version before it. A span is a run of versions with the same
 * number.
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
    int64_t erased[2]; /* rows, by enum replay_kind */
    struct tombstones_report report;
    bool written;            /* the transaction is durable */
    struct err not_scrubbed; /* why the file may still hold erased bytes */
};

/* --- what is to be erased ----------------------------------------------- */

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

    for (size_t i = n; rc == 0 && i-- > 0;) { /* oldest first */
        const struct catalog_version *v = &versions[i];
        struct span *last = e->n_spans ? &e->spans[e->n_spans - 1] : NULL;
        struct progress p;
        long domain = -1;

        progress_init(&p);
        if (v->metadata_json &&
            progress_import(&p, v->metadata_json, strlen(v->metadata_json),
                            NULL) == 0)
            domain = names_find(&p.domains, r->name);
        progress_release(&p);
        if (last && last->domain == domain && last->last_born + 1 == first) {
            last->last_born = v->version;
        } else if (domain >= 0) {
            XGROW(e->spans, e->n_spans, e->cap_spans);
            e->spans[e->n_spans++] =
                (struct span){(int32_t)domain, first, v->version};
        }
        first = v->version + 1;
    }
    catalog_versions_free(versions, n);
    if (rc == 0)
        rc = catalog_quarantine_find(r->learning->catalog, &filter, &rows,
                                     &n_rows, err);
    catalog_quarantine_free(rows, n_rows);
    if (rc == 0 && e->n_spans == 0 && n_rows == 0)
        rc = err_set(err, ERR_NOTFOUND,
                     "there is no domain %.255s (beyond "
                     "model.max_domains they count as `other`)",
                     r->name);
    return rc;
}

/* The partition of a tombstone, up to the tombstone. */
static void find_partition(struct erasing *e)
{
    const struct record *tombstone = e->request->tombstone;

    e->partitions = xcalloc(1, sizeof *e->partitions);
    e->n_partitions = 1;
    *e->partitions = (struct store_offset){
        .partition_id =
            progress_partition_id(&e->request->learning->progress,
                                  tombstone->topic, tombstone->partition),
        .topic = tombstone->topic,
        .partition = tombstone->partition,
        .next_offset = tombstone->offset,
    };
}

/* Every partition, with the offset up to which records are forgotten: the
 * partition's end when the source knows it, or else the present position. */
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
        bool released = strcmp(q->topic, RELEASES_TOPIC) == 0;
        int64_t end = q->positioned ? q->next_offset + (q->tokens_done > 0) : 0;

        if (released && r->next_release > end)
            end = r->next_release;
        for (size_t k = 0; k < n && !released; k++) {
            int64_t known =
                rows[k].end > rows[k].offset ? rows[k].end : rows[k].offset;

            if (rows[k].partition == q->partition && known > end &&
                strcmp(rows[k].topic, q->topic) == 0)
                end = known;
        }
        e->partitions[e->n_partitions++] = (struct store_offset){
            .partition_id = (int32_t)i,
            .topic = q->topic,
            .partition = q->partition,
            .next_offset = end,
        };
    }
    free(rows);
}

/* --- ids in texts ------------------------------------------------------- */

/* A record that was learned as plain text may be a JSON object with an id that
 * was never parsed. Its text is joined from its rows, which follow each other
 * by part. When a record was learned again, its first part begins it again. */
struct text_search {
    struct erasing *e;
    struct tombstones_found *found;
    struct segment_origin last; /* of the last row; its id is not used */
    struct buf text;            /* of the record so far */
    bool from_beginning;        /* text holds all of its parts so far */
    int64_t *keys; /* n_doomed rows to erase, then the record's rows */
    size_t n_doomed, n_keys, cap_keys;
};

static void add_found(void *found, int32_t partition_id, int64_t offset)
{
    tombstones_add(found, partition_id, offset);
}

/* Ends a record: its rows will be erased if its text has the id. */
static void end_record(struct text_search *s)
{
    if (s->n_keys > s->n_doomed && s->text.len &&
        record_text_has_id(s->text.data, s->text.len, s->from_beginning,
                           s->e->request->name)) {
        tombstones_add(s->found, s->last.partition_id, s->last.offset);
        s->n_doomed = s->n_keys;
    }
    s->n_keys = s->n_doomed;
    buf_clear(&s->text);
}

static void add_row(void *arg, const struct row *row)
{
    struct text_search *s = arg;
    const struct segment_origin *o = &row->origin;

    if (o->partition_id != s->last.partition_id ||
        o->offset != s->last.offset || o->part <= s->last.part)
        end_record(s);
    if (s->n_keys == s->n_doomed)
        s->from_beginning = o->part == 0;
    else if (o->part != s->last.part + 1)
        s->from_beginning = false;
    s->last = *o;
    XGROW(s->keys, s->n_keys, s->cap_keys);
    s->keys[s->n_keys++] = row->key;
    cut_text(&row->segment, s->e->request->learning->tokenizer, &s->text);
}

/* --- the publisher's thread --------------------------------------------- */

static int erase_rows(struct sqlite3 *db, struct erasing *e,
                      enum replay_kind kind, struct tombstones_found *found,
                      struct err *err)
{
    struct text_search s = {.e = e, .found = found, .text = BUF_INIT};
    int64_t *n = &e->erased[kind];
    int rc = 0;

    if (e->request->kind == TOMBSTONES_DOMAIN) {
        for (size_t i = 0; rc == 0 && i < e->n_spans; i++) {
            const struct replay_forget f = {
                .domain = e->spans[i].domain,
                .first_born = e->spans[i].first_born,
                .last_born = e->spans[i].last_born,
            };

            rc = replay_db_forget(db, kind, &f, add_found, found, n, err);
        }
        return rc;
    }
    rc = replay_db_forget(db, kind,
                          &(struct replay_forget){.id = e->request->name},
                          add_found, found, n, err);
    if (rc == 0)
        rc = replay_db_each_unnamed(db, kind, add_row, &s, err);
    end_record(&s);
    if (rc == 0)
        rc = replay_db_erase(db, kind, s.keys, s.n_doomed, n, err);
    buf_release(&s.text);
    free(s.keys);
    return rc;
}

static int erase_in_transaction(struct sqlite3 *db,
                                struct tombstones_found *found, void *arg,
                                struct err *err)
{
    int rc = erase_rows(db, arg, REPLAY_ROWS, found, err);

    return rc ? rc : erase_rows(db, arg, REPLAY_HOLDOUT, found, err);
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
        .in_transaction = erase_in_transaction,
        .arg = e,
    };
    int rc = tombstones_write(s, &f, &e->report, err);

    if (rc)
        return rc;
    e->written = true;
    if (e->request->tombstone)
        return 0; /* the publisher scrubs */
    rc = tombstones_scrub(s, &e->not_scrubbed);
    if (rc == ERR_FULL || rc == ERR_STATE)
        return 0; /* the publisher tries again every minute */
    if (rc && err) {
        *err = e->not_scrubbed;
        err_prefix(err, "the rows are gone, but until the next start the file "
                        "may still hold their bytes");
    }
    return rc;
}

/* --- the result --------------------------------------------------------- */

static json_t *newest_of(const int64_t *versions, size_t n)
{
    json_t *list = json_array();

    for (size_t i = n > MOST_LISTED ? n - MOST_LISTED : 0; i < n; i++)
        json_array_append_new(list, json_integer(versions[i]));
    return list;
}

static void describe(const struct erasing *e, char *detail, size_t size)
{
    const struct tombstones_report *t = &e->report;
    struct buf out = BUF_INIT;

    buf_addf(&out,
             "rows erased: %" PRId64 " of replay, %" PRId64
             " of holdout, %" PRId64 " of quarantine",
             e->erased[REPLAY_ROWS], e->erased[REPLAY_HOLDOUT],
             t->quarantine + t->releases);
    if (e->not_scrubbed.code != ERR_OK)
        buf_addf(&out,
                 "; mneme.db may still hold their bytes until it can be "
                 "written anew; that is tried every minute (%.160s)",
                 e->not_scrubbed.msg);
    buf_adds(&out, t->n_learned ? "; versions that learned from them can no "
                                  "longer be retrained: "
                                : "; no kept version is known to have learned "
                                  "from them");
    for (size_t i = 0; i < t->n_learned; i++) { /* "3-7, 9" */
        size_t first = i;

        while (i + 1 < t->n_learned && t->learned[i + 1] == t->learned[i] + 1)
            i++;
        buf_addf(&out, "%s%" PRId64, first ? ", " : "", t->learned[first]);
        if (i > first)
            buf_addf(&out, "-%" PRId64, t->learned[i]);
    }
    snprintf(detail, size, "%s", out.data);
    buf_release(&out);
}

int forget_run(const struct forget_request *r, char *detail, size_t size,
               json_t **result, struct err *err)
{
    struct learning *l = r->learning;
    struct erasing e = {.request = r};
    const struct tombstones_report *t = &e.report;
    struct err later = ERR_INIT;
    size_t n_left;
    int rc = r->kind == TOMBSTONES_DOMAIN ? find_domain(&e, err) : 0;

    if (rc)
        return rc;
    if (r->tombstone)
        find_partition(&e);
    else
        find_partitions(&e);
    rc = publisher_run(r->publisher, write_and_scrub, &e, err);
    if (!e.written)
        goto out;

    /* The rows are erased, so memory must drop them, whatever has failed. */
    if (replay_drop_missing(l->replay, &n_left, &later) != 0 ||
        replay_drop_missing(l->holdout, &n_left, &later) != 0 ||
        learning_load_skipped(l, &later) != 0) {
        rc = err_set(err, ERR_DIVERGED, "after the rows were erased: %s",
                     later.msg);
        goto out;
    }
    intake_decide_again(l->intake, learner_steps(l->learner));
    log_info("forget",
             "what=%s replay=%" PRId64 " holdout=%" PRId64
             " quarantine=%" PRId64 " versions=%zu",
             r->kind == TOMBSTONES_ID ? "id" : "domain", e.erased[REPLAY_ROWS],
             e.erased[REPLAY_HOLDOUT], t->quarantine, t->n_learned);
    if (rc)
        goto out;
    describe(&e, detail, size);
    *result =
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:b}", "replay",
                  (json_int_t)e.erased[REPLAY_ROWS], "holdout",
                  (json_int_t)e.erased[REPLAY_HOLDOUT], "quarantine",
                  (json_int_t)t->quarantine, "released",
                  (json_int_t)t->releases, "records", (json_int_t)t->records,
                  "versions", newest_of(t->learned, t->n_learned),
                  "not_retrainable", newest_of(t->marked, t->n_marked),
                  "erasure_pending", e.not_scrubbed.code != ERR_OK);
out:
    free(e.partitions);
    free(e.spans);
    tombstones_report_release(&e.report);
    return rc;
}
