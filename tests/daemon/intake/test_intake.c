/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records go through a real intake, tokenizer (one token for each byte) and
 * holdout. A "step" is intake_next_batch and intake_apply.
 */
#include "config.h"

#include "daemon/intake/intake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "daemon/stream/released_records.h"

#define CONTEXT 16

struct world {
    struct conf *conf;
    struct tokenizer *tokenizer;
    struct progress progress;
    struct replay *holdout;
    struct filter *filter;
    struct refusals refusals;
    struct intake *in;
    int64_t step;
};

static void begin(struct world *w)
{
    struct replay_options options;
    struct intake_options intake = {
        .conf = w->conf,
        .tokenizer = w->tokenizer,
        .context = CONTEXT,
        .progress = &w->progress,
        .refusals = &w->refusals,
    };

    progress_init(&w->progress);
    refusals_init(&w->refusals);
    replay_options_default(&options, REPLAY_HOLDOUT);
    w->holdout = intake.holdout = replay_create(&options, NULL);
    w->filter = intake.filter = filter_create(&w->conf->filter, w->tokenizer);
    w->in = intake_create(&intake);
}

static void end(struct world *w)
{
    intake_free(w->in);
    filter_free(w->filter);
    replay_free(w->holdout);
    progress_release(&w->progress);
    refusals_release(&w->refusals);
}

static int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof *w);

    w->conf = conf_create();
    w->conf->learner.holdout.fraction = 0;
    w->tokenizer = tokenizer_create_bytes();
    begin(w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    end(w);
    tokenizer_free(w->tokenizer);
    conf_free(w->conf);
    free(w);
    return 0;
}

static int add_as(struct world *w, int32_t partition, int64_t offset,
                  const char *value, bool released, struct err *err)
{
    struct record_maker m;
    struct record *rec;
    int rc;

    record_maker_init(&m, false);
    rec = record_create_data(&m, value, strlen(value));
    rec->topic = "text";
    rec->partition = partition;
    rec->offset = offset;
    rec->value_hash = (uint64_t)offset + 1000;
    rec->released = released;
    record_parse(&m, rec, CONF_FORMAT_AUTO, 65536, NULL);
    rc = intake_add(w->in, rec, w->step, err);
    record_maker_release(&m);
    return rc;
}

static int add_full(struct world *w, int32_t partition, int64_t offset,
                    const char *value, struct err *err)
{
    return add_as(w, partition, offset, value, false, err);
}

static void add(struct world *w, int64_t offset, const char *value)
{
    struct err err = ERR_INIT;

    assert_int_equal(add_full(w, 0, offset, value, &err), 0);
}

/* Learns one batch; returns its segments. */
static size_t learn(struct world *w, size_t batch_tokens, const char *refused)
{
    struct intake_batch b;

    intake_next_batch(w->in, batch_tokens, &b);
    intake_apply(w->in, &b, refused, ++w->step);
    return b.n;
}

static void check_records(const struct world *w, int64_t learned,
                          int64_t skipped, int64_t quarantined,
                          int64_t holdout)
{
    const struct status_records *r = &w->progress.records;

    assert_int_equal(r->learned, learned);
    assert_int_equal(r->skipped, skipped);
    assert_int_equal(r->quarantined, quarantined);
    assert_int_equal(r->holdout, holdout);
    assert_int_equal(r->consumed, learned + skipped + quarantined + holdout);
}

static void check_position(const struct world *w, int64_t next,
                           int64_t tokens_done)
{
    assert_int_equal(w->progress.partitions[0].next_offset, next);
    assert_int_equal(w->progress.partitions[0].tokens_done, tokens_done);
}

static void set_skipped(struct world *w, int64_t first, int64_t last)
{
    struct catalog_range *range = xcalloc(1, sizeof *range);

    range->partition_id = 0;
    range->first_offset = first;
    range->last_offset = last;
    intake_set_skipped(w->in, range, 1);
}

/* --- the tests ---------------------------------------------------------- */

/* A bad record behind a waiting record is neither counted nor passed over. */
static void test_in_order(void **state)
{
    struct world *w = *state;

    add(w, 0, "abc");
    add(w, 1, "");
    add(w, 2, "def");
    check_records(w, 0, 0, 0, 0);
    check_position(w, 0, 0);
    assert_int_equal(intake_tokens(w->in), 8); /* texts and end marks */
    assert_int_equal(learn(w, 4, NULL), 1);
    check_records(w, 1, 0, 1, 0);
    check_position(w, 2, 0);
    assert_int_equal(w->progress.partitions[0].last_learned, 0);
    assert_int_equal(w->progress.partitions[0].last_hash, 1000);
    assert_int_equal(learn(w, 100, NULL), 1);
    check_records(w, 2, 0, 1, 0);
    check_position(w, 3, 0);
    assert_int_equal(intake_tokens(w->in), 0);
}

/* A decision takes effect at once when no record waits. */
static void test_at_once(void **state)
{
    struct world *w = *state;

    add(w, 7, "");
    check_records(w, 0, 0, 1, 0);
    check_position(w, 8, 0);
    assert_int_equal(w->progress.n_quarantine, 1);
    w->conf->source.bad_record = CONF_BAD_RECORD_SKIP;
    add(w, 8, "");
    check_records(w, 0, 1, 1, 0);
}

static void test_stop_at_a_bad_one(void **state)
{
    struct world *w = *state;
    struct err err = ERR_INIT;

    w->conf->source.bad_record = CONF_BAD_RECORD_STOP;
    assert_int_equal(add_full(w, 0, 3, "", &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "offset 3"));
    check_records(w, 0, 0, 0, 0);
}

/* A record is counted with its first segment; tokens_done says how far its
 * segments are learned. */
static void test_a_record_in_parts(void **state)
{
    struct world *w = *state;

    add(w, 0, "0123456789012345678901234567890123456789"); /* 41 targets */
    assert_int_equal(intake_tokens(w->in), 41);
    assert_int_equal(learn(w, CONTEXT, NULL), 1);
    check_records(w, 1, 0, 0, 0);
    check_position(w, 0, CONTEXT);
    assert_int_equal(learn(w, 100, NULL), 2);
    check_records(w, 1, 0, 0, 0);
    check_position(w, 1, 0);
    assert_int_equal(w->progress.tokens_seen, 41);
}

/* After a restart a record goes on with its next segment, and is not counted
 * again. */
static void test_resume(void **state)
{
    struct world *w = *state;

    add(w, 0, "0123456789012345678901234567890123456789");
    learn(w, CONTEXT, NULL);
    intake_clear(w->in);
    assert_int_equal(intake_tokens(w->in), 0);
    add(w, 0, "0123456789012345678901234567890123456789");
    assert_int_equal(intake_tokens(w->in), 41 - CONTEXT);
    learn(w, 100, NULL);
    check_records(w, 1, 0, 0, 0);
    check_position(w, 1, 0);
}

static void test_a_refused_step(void **state)
{
    struct world *w = *state;

    add(w, 0, "abc");
    add(w, 1, "def");
    assert_int_equal(learn(w, 100, "step_skipped"), 2);
    check_records(w, 0, 0, 2, 0);
    check_position(w, 2, 0);
    assert_int_equal(w->progress.n_quarantine, 2);
    assert_string_equal(w->progress.quarantine[0].reason, "step_skipped");
}

/* A record is quarantined whole. A record that was learned in part goes on. */
static void test_a_refused_step_within_records(void **state)
{
    struct world *w = *state;
    const char *three = "0123456789012345678901234567890123456789";

    add(w, 0, three);
    add(w, 1, "abc");
    assert_int_equal(learn(w, CONTEXT, "step_skipped"), 1);
    check_records(w, 0, 0, 1, 0);
    check_position(w, 1, 0);
    assert_int_equal(intake_tokens(w->in), 4);
    learn(w, 100, NULL);
    check_records(w, 1, 0, 1, 0);
    add(w, 2, three);
    learn(w, CONTEXT, NULL);
    learn(w, CONTEXT, "step_skipped");
    check_records(w, 2, 0, 1, 0);
    check_position(w, 2, 2 * CONTEXT);
    learn(w, CONTEXT, NULL);
    check_records(w, 2, 0, 1, 0);
    check_position(w, 3, 0);
}

/* After a restart with other settings a record that counts as learned is
 * neither held out nor refused. */
static void test_resume_under_other_settings(void **state)
{
    struct world *w = *state;
    struct record *rec = record_create(RECORD_DATA);
    struct err err = ERR_INIT;

    add(w, 0, "0123456789012345678901234567890123456789");
    learn(w, CONTEXT, NULL);
    intake_clear(w->in);
    w->conf->learner.holdout.fraction = 1;
    add(w, 0, "0123456789012345678901234567890123456789");
    check_records(w, 1, 0, 0, 0);
    check_position(w, 0, CONTEXT);
    intake_clear(w->in);
    rec->topic = "text";
    rec->reason = "too_large";
    assert_int_equal(intake_add(w->in, rec, w->step, &err), 0);
    check_records(w, 1, 0, 0, 0);
    check_position(w, 1, 0);
}

static void test_held_out(void **state)
{
    struct world *w = *state;

    w->conf->learner.holdout.fraction = 1;
    add(w, 0, "0123456789012345678901234567890123456789");
    check_records(w, 0, 0, 0, 1);
    assert_int_equal(replay_live(w->holdout), 3);
    check_position(w, 1, 0);
}

static void test_holdout_is_the_texts(void **state)
{
    size_t n = 0, first = 0;

    (void)state;
    for (int i = 0; i < 10000; i++) {
        char text[32];
        bool yes;

        snprintf(text, sizeof text, "record %d", i);
        yes = intake_holds_out(text, strlen(text), INTAKE_FIRST, 0.05);
        assert_int_equal(
            yes, intake_holds_out(text, strlen(text), INTAKE_FIRST, 0.05));
        assert_true(!yes ||
                    intake_holds_out(text, strlen(text), INTAKE_FIRST, 0.2));
        first += intake_holds_out(text, strlen(text), 0, 0.05);
        assert_false(intake_holds_out(text, strlen(text), 0, 0));
        n += yes;
    }
    assert_in_range(n, 400, 600);
    assert_in_range(first, 900, 1100);
}

/* A greater share of the first records is held out. Restarts do not change
 * their number. */
static void test_the_first_held_out(void **state)
{
    struct world *w = *state;
    int64_t whole = 0, again, restarts = 0;

    w->conf->learner.holdout.fraction = 1e-9;
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t i = 0; i < 3 * INTAKE_FIRST; i++) {
            char text[32];

            snprintf(text, sizeof text, "record %lld", (long long)i);
            add(w, i, text);
            if (pass && i % 3 == 0 && intake_tokens(w->in))
                learn(w, CONTEXT, NULL);
            if (!pass || i != 50 * (restarts + 1))
                continue;
            restarts++;
            intake_clear(w->in);
            i = w->progress.partitions[0].next_offset - 1;
        }
        while (intake_tokens(w->in))
            learn(w, CONTEXT, NULL);
        assert_int_equal(w->progress.records.consumed, 3 * INTAKE_FIRST);
        if (pass == 0) {
            whole = w->progress.records.holdout;
            end(w);
            begin(w);
        }
    }
    again = w->progress.records.holdout;
    assert_in_range(whole, INTAKE_FIRST / 15, INTAKE_FIRST / 7);
    assert_int_equal(again, whole);
}

/* Skipped records are not among the first records. */
static void test_skipped_before_the_first(void **state)
{
    struct world *w = *state;

    w->conf->learner.holdout.fraction = 1e-9;
    set_skipped(w, 0, 2 * INTAKE_FIRST - 1);
    for (int64_t i = 0; i < 4 * INTAKE_FIRST; i++) {
        char text[32];

        snprintf(text, sizeof text, "record %lld", (long long)i);
        add(w, i, text);
    }
    while (intake_tokens(w->in))
        learn(w, CONTEXT, NULL);
    assert_int_equal(w->progress.records.skipped, 2 * INTAKE_FIRST);
    assert_in_range(w->progress.records.holdout, INTAKE_FIRST / 15,
                    INTAKE_FIRST / 7);
}

/* Copies of the first held-out texts are never learned: neither while the first
 * copy waits, nor much later. */
static void test_copies_of_the_first(void **state)
{
    struct world *w = *state;
    int64_t held_out = 0, offset = 0;
    struct buf metadata = BUF_INIT;

    w->conf->learner.holdout.fraction = 1e-9;
    for (int64_t round = 0; round < 3; round++) {
        for (int64_t i = 0; i < INTAKE_FIRST; i++) {
            char text[32];

            snprintf(text, sizeof text, "record %lld", (long long)(i / 2));
            add(w, offset++, text);
        }
        while (intake_tokens(w->in))
            learn(w, CONTEXT, NULL);
        if (round == 0)
            held_out = w->progress.records.holdout;
        /* a restart */
        buf_clear(&metadata);
        progress_export(&w->progress, 1, "", NULL, &metadata);
        assert_int_equal(progress_import(&w->progress, metadata.data,
                                         metadata.len, NULL),
                         0);
    }
    assert_in_range(held_out, INTAKE_FIRST / 20, INTAKE_FIRST / 6);
    assert_int_equal(held_out % 2, 0);
    assert_int_equal(w->progress.records.holdout, 3 * held_out);
    assert_int_equal(w->progress.n_first_texts, held_out / 2);
    buf_release(&metadata);
}

static void test_skipped_ranges(void **state)
{
    struct world *w = *state;

    set_skipped(w, 1, 2);
    for (int64_t i = 0; i < 4; i++)
        add(w, i, "abc");
    assert_int_equal(learn(w, 100, NULL), 2);
    check_records(w, 2, 2, 0, 0);
    check_position(w, 4, 0);
}

/* A rollback that skips: the waiting records are decided again. The rest of a
 * record that was learned in part is dropped, and the record is not counted
 * again. */
static void test_restart(void **state)
{
    struct world *w = *state;

    add(w, 0, "0123456789012345678901234567890123456789");
    add(w, 1, "abc");
    add(w, 2, "def");
    learn(w, CONTEXT, NULL);
    set_skipped(w, 0, 1);
    intake_restart(w->in, w->step);
    check_records(w, 1, 1, 0, 0);
    check_position(w, 2, 0);
    assert_int_equal(intake_tokens(w->in), 4);
    learn(w, 100, NULL);
    check_records(w, 2, 1, 0, 0);
}

static void test_labels(void **state)
{
    struct world *w = *state;
    struct intake_batch b;

    w->conf->model.max_labels = 1;
    add(w, 0, "{\"text\": \"abc\", \"label\": \"good\"}");
    add(w, 1, "{\"text\": \"def\", \"label\": \"bad\"}");
    add(w, 2, "{\"text\": \"ghi\"}");
    intake_next_batch(w->in, 100, &b);
    assert_int_equal(b.n, 2);
    assert_int_equal(b.segments[0].label, 0);
    assert_int_equal(b.segments[1].label, -1);
    assert_int_equal(b.origins[1].offset, 2);
    intake_apply(w->in, &b, NULL, ++w->step);
    check_records(w, 2, 0, 1, 0);
    assert_string_equal(w->progress.quarantine[0].reason, "too_many_labels");
}

/* Preset linear learns from labelled records only. */
static void test_linear(void **state)
{
    struct world *w = *state;
    struct tokenizer *tokenizer = w->tokenizer;
    struct intake_batch b;

    end(w);
    w->tokenizer = NULL;
    begin(w);
    w->tokenizer = tokenizer;
    add(w, 0, "{\"text\": \"0123456789\", \"label\": \"good\"}");
    add(w, 1, "{\"text\": \"0123456789\"}");
    intake_next_batch(w->in, 100, &b);
    assert_int_equal(b.n, 1);
    assert_int_equal(b.segments[0].n_tokens, 0);
    assert_int_equal(b.tokens, intake_tokens(w->in));
    intake_apply(w->in, &b, NULL, ++w->step);
    check_records(w, 1, 0, 1, 0);
    assert_string_equal(w->progress.quarantine[0].reason, "no_label");
}

/* A batch has whole segments, at least one, in the order of the stream over all
 * partitions. */
static void test_batches(void **state)
{
    struct world *w = *state;
    struct err err = ERR_INIT;
    struct intake_batch b;

    for (int64_t i = 0; i < 200; i++)
        assert_int_equal(add_full(w, (int32_t)(i % 2), i / 2, "abcdefg",
                                  &err), 0);
    intake_next_batch(w->in, 1, &b);
    assert_int_equal(b.n, 1);
    intake_next_batch(w->in, 8 * 50 + 7, &b);
    assert_int_equal(b.n, 50);
    assert_int_equal(b.tokens, 400);
    for (size_t i = 0; i < b.n; i++) {
        assert_int_equal(b.origins[i].partition_id, i % 2);
        assert_int_equal(b.origins[i].offset, i / 2);
    }
    intake_apply(w->in, &b, NULL, ++w->step);
    assert_int_equal(w->progress.partitions[1].next_offset, 25);
    check_records(w, 50, 0, 0, 0);
}

/* source.when_behind: sample. The choice depends on the records alone. */
static void test_sampled(void **state)
{
    struct world *w = *state;
    int64_t skipped;

    w->conf->filter.near_duplicate.enabled = false;
    intake_set_share(w->in, 0.5);
    for (int64_t i = 0; i < 400; i++)
        add(w, i, "abc");
    while (intake_tokens(w->in))
        learn(w, 100, NULL);
    skipped = w->progress.records.skipped;
    assert_in_range(skipped, 150, 250);
    check_records(w, 400 - skipped, skipped, 0, 0);
    check_position(w, 400, 0);
}

/* --- filters ------------------------------------------------------------ */

/* Both filters have the same state. */
static void check_state(const struct world *a, const struct world *b)
{
    struct tensor_list x = TENSOR_LIST_INIT, y = TENSOR_LIST_INIT;

    filter_export(a->filter, &x);
    filter_export(b->filter, &y);
    assert_int_equal(x.n, y.n);
    for (size_t i = 0; i < x.n; i++)
        assert_memory_equal(x.items[i].data, y.items[i].data,
                            tensor_bytes(&x.items[i]));
    tensor_list_release(&x);
    tensor_list_release(&y);
}

/* Too many near-duplicates are quarantined in their order, and not held out. */
static void test_near_duplicates(void **state)
{
    struct world *w = *state;

    w->conf->filter.near_duplicate.burst = 3;
    for (int64_t i = 0; i < 10; i++)
        add(w, i, "the same words again");
    assert_int_equal(intake_tokens(w->in), 3 * 21);
    check_records(w, 0, 0, 0, 0);
    assert_int_equal(learn(w, 21, NULL), 2);
    check_records(w, 1, 0, 0, 0);
    learn(w, 100, NULL);
    check_records(w, 3, 0, 7, 0);
    check_position(w, 10, 0);
    assert_string_equal(w->progress.quarantine[0].reason, "near_duplicate");
    w->conf->learner.holdout.fraction = 1;
    add(w, 10, "the same words again");
    check_records(w, 3, 0, 8, 0);
    w->conf->filter.near_duplicate.enabled = false;
    add(w, 11, "the same words again");
    check_records(w, 3, 0, 8, 1);
}

static void set_forgotten(struct world *w, enum tombstones_kind kind,
                          const char *name, int64_t last)
{
    struct tombstone *t = xcalloc(1, sizeof *t);

    *t = (struct tombstone){tombstones_hash(kind, name), 0, last};
    intake_set_forgotten(w->in, t, 1);
}

/* Forgotten by id up to an offset, or by domain; bad records as well. */
static void test_forgotten(void **state)
{
    struct world *w = *state;

    add(w, 0, "{\"text\": \"abc\", \"id\": \"x\"}");
    learn(w, 100, NULL);
    set_forgotten(w, TOMBSTONES_ID, "x", 2);
    add(w, 1, "{\"text\": \"abc\", \"id\": \"x\"}");
    add(w, 2, "{\"text\": \"\", \"id\": \"x\"}");
    add(w, 3, "{\"text\": \"abc\", \"id\": \"x\"}");
    add(w, 4, "{\"text\": \"abc\", \"id\": \"y\"}");
    check_records(w, 1, 2, 0, 0);
    assert_int_equal(learn(w, 100, NULL), 2);
    set_forgotten(w, TOMBSTONES_DOMAIN, "x", 100);
    add(w, 5, "{\"text\": \"abc\", \"domain\": \"x\"}");
    add(w, 6, "{\"text\": \"abc\", \"id\": \"x\"}");
    assert_int_equal(learn(w, 100, NULL), 1);
    check_records(w, 4, 3, 0, 0);
    check_position(w, 7, 0);
}

/* The same for waiting records, and for the rest of a record. */
static void test_forgotten_while_waiting(void **state)
{
    struct world *w = *state;

    add(w, 0, "{\"text\": \"0123456789012345678901234567890123456789\","
              " \"id\": \"x\"}");
    add(w, 1, "{\"text\": \"abc\"}");
    add(w, 2, "{\"text\": \"abcdef\", \"id\": \"x\"}");
    add(w, 3, "{\"text\": \"abc\"}");
    assert_int_equal(learn(w, CONTEXT, NULL), 1);
    check_records(w, 1, 0, 0, 0);
    set_forgotten(w, TOMBSTONES_ID, "x", 100);
    intake_decide_again(w->in, w->step);
    check_records(w, 1, 0, 0, 0);
    check_position(w, 1, 0);
    assert_int_equal(intake_tokens(w->in), 8);
    assert_int_equal(learn(w, 100, NULL), 2);
    check_records(w, 3, 1, 0, 0);
    check_position(w, 4, 0);
    assert_int_equal(intake_tokens(w->in), 0);
}

/* The trainer makes such records from the rows of the table `releases`. */
static void add_released(struct world *w, int64_t id, const char *value)
{
    struct releases_row row = {.id = id,
                               .topic = (char *)"text",
                               .bytes = (char *)value,
                               .n_bytes = strlen(value)};
    struct record_maker m;

    record_maker_init(&m, false);
    assert_int_equal(intake_add(w->in,
                                released_records_parse(&m, w->conf, &row),
                                w->step, NULL),
                     0);
    record_maker_release(&m);
}

/* Released records pass the filters, and do not count as near-duplicates. */
static void test_released_pass(void **state)
{
    struct world *w = *state;
    struct intake_batch b;

    w->conf->filter.near_duplicate.burst = 1;
    w->conf->filter.near_duplicate.share = 0;
    for (int64_t i = 0; i < 3; i++)
        assert_int_equal(add_as(w, 0, i, "the same words again", true, NULL),
                         0);
    for (int64_t i = 3; i < 5; i++)
        add(w, i, "the same words again");
    intake_next_batch(w->in, 4 * 21, &b);
    assert_int_equal(b.n, 6); /* the fourth record is in the next step */
    assert_true(b.released);
    intake_apply(w->in, &b, NULL, ++w->step);
    intake_next_batch(w->in, 4 * 21, &b);
    assert_int_equal(b.n, 2);
    assert_false(b.released);
    intake_apply(w->in, &b, NULL, ++w->step);
    check_records(w, 4, 0, 1, 0);
}

/* A step has released records or others, in any order of the stream. */
static void test_released_apart(void **state)
{
    static const char order[] = "ooRRoRoo";
    static const size_t steps[] = {2, 2, 1, 1, 2};
    struct world *w = *state;

    for (int64_t i = 0; order[i]; i++)
        assert_int_equal(
            add_as(w, 0, i, "abc", order[i] == 'R', NULL), 0);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct intake_batch b;

        intake_next_batch(w->in, 1000, &b);
        assert_int_equal(b.n, steps[i]);
        assert_int_equal(b.released, i % 2);
        /* The gradient is too large. */
        intake_apply(w->in, &b, b.released ? NULL : "step_skipped",
                     ++w->step);
    }
    assert_int_equal(intake_tokens(w->in), 0);
    check_records(w, 3, 0, 5, 0);
}

/* The state of a version does not depend on the records after its position. */
static void test_the_filters_state_is_the_positions(void **state)
{
    struct world *w = *state, other = {.conf = w->conf,
                                       .tokenizer = w->tokenizer};

    w->conf->filter.near_duplicate.burst = 2;
    w->conf->filter.share_cap.share = 0.5;
    begin(&other);
    for (int64_t i = 0; i < 40; i++)
        add(w, i, i % 3 ? "the same words again" : "and others now and then");
    learn(w, 20, NULL); /* record 0 in part */
    for (int64_t i = 0; i < 2; i++)
        add(&other, i,
            i % 3 ? "the same words again" : "and others now and then");
    learn(&other, 20, NULL);
    check_position(w, 0, 16);
    check_state(w, &other);
    learn(w, 20, NULL);
    learn(&other, 20, NULL);
    check_position(w, 1, 0);
    check_position(&other, 1, 0);
    check_state(w, &other);
    intake_clear(w->in); /* a restart */
    for (int64_t i = 1; i < 40; i++)
        add(w, i, i % 3 ? "the same words again" : "and others now and then");
    for (int64_t i = 2; i < 40; i++)
        add(&other, i,
            i % 3 ? "the same words again" : "and others now and then");
    while (intake_tokens(w->in))
        learn(w, 50, NULL);
    while (intake_tokens(other.in))
        learn(&other, 70, NULL);
    check_state(w, &other);
    check_records(w, other.progress.records.learned, 0,
                  other.progress.records.quarantined, 0);
    assert_true(other.progress.records.quarantined > 20);
    end(&other);
}

/* A step refuses single records, each whole. */
static void test_refused_in_a_step(void **state)
{
    struct world *w = *state;
    struct intake_batch b;

    add(w, 0, "abc");
    add(w, 1, "0123456789012345678901234567890123456789");
    add(w, 2, "def");
    intake_next_batch(w->in, 4 + 2 * CONTEXT, &b);
    assert_int_equal(b.n, 3);
    assert_false(b.released || b.refused[0]);
    b.refused[1] = b.refused[2] = "surprise";
    intake_apply(w->in, &b, NULL, ++w->step);
    check_records(w, 1, 0, 1, 0);
    check_position(w, 2, 0);
    assert_string_equal(w->progress.quarantine[0].reason, "surprise");
    assert_int_equal(intake_tokens(w->in), 4);
    learn(w, 100, NULL);
    check_records(w, 2, 0, 1, 0);
}

/* Refused records do not pile up behind a part-filled batch. */
static void test_long(void **state)
{
    struct world *w = *state;

    for (int64_t i = 0; i < 4095; i++)
        add(w, i, i ? "" : "abc");
    assert_false(intake_is_long(w->in));
    add(w, 4095, "");
    assert_true(intake_is_long(w->in));
    learn(w, 100, NULL);
    assert_false(intake_is_long(w->in));
    check_records(w, 1, 0, 4095, 0);
}

/* Released records have a position of their own, and are never sampled. */
static void test_released(void **state)
{
    struct world *w = *state;
    struct intake_batch b;

    w->conf->source.bad_record = CONF_BAD_RECORD_STOP;
    intake_set_share(w->in, 0);
    add(w, 7, "abc");
    add_released(w, 1, "abcdefg");
    add_released(w, 2, " "); /* bad by now */
    add_released(w, 3, "abcdefg");
    intake_next_batch(w->in, 100, &b);
    assert_int_equal(b.n, 2);
    assert_true(b.released);
    intake_apply(w->in, &b, NULL, ++w->step);
    check_records(w, 2, 2, 0, 0);
    assert_int_equal(
        progress_next_offset(&w->progress, RELEASES_TOPIC, 0), 4);
    assert_int_equal(progress_next_offset(&w->progress, "text", 0), 8);
    intake_set_share(w->in, 1);
    add(w, 8, "abc");
    intake_next_batch(w->in, 100, &b);
    assert_false(b.released);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_in_order),
        TEST(test_at_once),
        TEST(test_stop_at_a_bad_one),
        TEST(test_a_record_in_parts),
        TEST(test_resume),
        TEST(test_resume_under_other_settings),
        TEST(test_a_refused_step),
        TEST(test_a_refused_step_within_records),
        TEST(test_held_out),
        TEST(test_holdout_is_the_texts),
        TEST(test_the_first_held_out),
        TEST(test_skipped_before_the_first),
        TEST(test_copies_of_the_first),
        TEST(test_skipped_ranges),
        TEST(test_restart),
        TEST(test_labels),
        TEST(test_linear),
        TEST(test_batches),
        TEST(test_sampled),
        TEST(test_near_duplicates),
        TEST(test_the_filters_state_is_the_positions),
        TEST(test_released_pass),
        TEST(test_released_apart),
        TEST(test_refused_in_a_step),
        TEST(test_long),
        TEST(test_forgotten),
        TEST(test_forgotten_while_waiting),
        TEST(test_released),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
