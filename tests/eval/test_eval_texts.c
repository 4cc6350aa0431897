/* SPDX-License-Identifier: Apache-2.0 */
/* Records, what is held out of them, and the orders of the stream. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/fileio.h"
#include "base/xalloc.h"
#include "eval/eval_texts.h"
#include "tests/util/base_util.h"

struct fixture {
    char *files[2];
    struct conf *conf;
    struct eval_options o;
    struct eval_texts t;
};

/* Two files of 60 records. Those of the first name the domains x and y in
 * turn; `ts` falls in the first and rises in the second. */
static void set_up(struct fixture *f, const char *dir)
{
    memset(f, 0, sizeof *f);
    f->files[0] = fileio_join(dir, "one.train.jsonl");
    f->files[1] = fileio_join(dir, "two.jsonl");
    for (int i = 0; i < 2; i++) {
        struct buf text = BUF_INIT;

        for (int k = 0; k < 60; k++)
            buf_addf(&text,
                     "{\"text\": \"record %d of file %d\", \"ts\": %d%s}\n", k,
                     i, i ? 1000 + k : 1000 - k,
                     i       ? ""
                     : k % 2 ? ", \"domain\": \"y\", \"label\": \"odd\""
                             : ", \"domain\": \"x\", \"label\": \"even\"");
        assert_int_equal(
            fileio_write_sync(f->files[i], text.data, text.len, NULL), 0);
        buf_release(&text);
    }
    f->conf = conf_create();
    f->o = (struct eval_options){
        .conf = f->conf,
        .files = (const char *const *)f->files,
        .n_files = 2,
    };
}

static void tear_down(struct fixture *f)
{
    eval_texts_release(&f->t);
    conf_free(f->conf);
    for (int i = 0; i < 2; i++) {
        fileio_unlink(f->files[i], NULL);
        free(f->files[i]);
    }
}

static void read_texts(struct fixture *f)
{
    struct err err = ERR_INIT;

    if (eval_texts_read(&f->o, &f->t, &err))
        fail_msg("%s", err.msg);
}

static void test_by_file(void **state)
{
    struct fixture f;

    set_up(&f, *state);
    read_texts(&f);
    assert_int_equal(f.t.names.n, 2);
    assert_string_equal(f.t.names.items[0], "one");
    assert_string_equal(f.t.names.items[1], "two");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(f.t.domains[i].n_learned, 57);
        assert_int_equal(f.t.domains[i].n_heldout, 3);
    }
    assert_int_equal(f.t.n_bad, 0);
    assert_true(f.t.has_labels);
    tear_down(&f);
}

static void test_by_domain_and_label(void **state)
{
    static const char *const names[2][2] = {{"x", "y"}, {"even", "odd"}};

    for (int i = 0; i < 2; i++) {
        struct record_maker maker;
        struct record *rec;
        struct fixture f;

        set_up(&f, *state);
        f.o.by = i ? EVAL_BY_LABEL : EVAL_BY_DOMAIN;
        f.o.n_files = 1;
        read_texts(&f);
        assert_int_equal(f.t.names.n, 2);
        assert_string_equal(f.t.names.items[0], names[i][0]);
        assert_string_equal(f.t.names.items[1], names[i][1]);
        /* Every twentieth of 30 records of each domain. */
        assert_int_equal(f.t.domains[0].n_learned, 29);
        assert_int_equal(f.t.domains[1].n_heldout, 1);
        /* Intake gets the same domain, although the record names another. */
        record_maker_init(&maker, false);
        rec = eval_texts_record(&f.t, &f.t.learned.items[0], &maker, f.conf);
        assert_string_equal(rec->domain, names[i][0]);
        record_free(rec);
        record_maker_release(&maker);
        tear_down(&f);
    }
}

/* A record of the second file has no label. */
static void test_label_missing(void **state)
{
    struct err err = ERR_INIT;
    struct fixture f;

    set_up(&f, *state);
    f.o.by = EVAL_BY_LABEL;
    assert_int_equal(eval_texts_read(&f.o, &f.t, &err), ERR_INVALID);
    tear_down(&f);
}

/* With the second file held out for the first, and the first for the second,
 * nothing would be left to learn; with the second for both, the first is. */
static void test_heldout_files(void **state)
{
    struct err err = ERR_INIT;
    struct fixture f;
    const char *heldout[2];

    set_up(&f, *state);
    heldout[0] = heldout[1] = f.files[1];
    f.o.heldout = heldout;
    f.o.n_heldout = 1;
    f.o.n_files = 1;
    read_texts(&f);
    assert_int_equal(f.t.domains[0].n_learned, 60);
    assert_int_equal(f.t.domains[0].n_heldout, 60);
    assert_int_equal(f.t.n_copies, 0);
    eval_texts_release(&f.t);
    f.o.n_files = f.o.n_heldout = 2;
    assert_int_equal(eval_texts_read(&f.o, &f.t, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "two"));
    tear_down(&f);
}

static void test_limits(void **state)
{
    struct fixture f;

    set_up(&f, *state);
    f.o.bytes = 600; /* about 18 bytes a record */
    f.o.heldout_bytes = 1;
    read_texts(&f);
    for (int i = 0; i < 2; i++) {
        assert_in_range(f.t.domains[i].learned_bytes, 500, 620);
        assert_int_equal(f.t.domains[i].n_heldout, 1);
    }
    tear_down(&f);
}

static void check_all_once(const size_t *stream, size_t n)
{
    bool *seen = xcalloc(n, sizeof *seen);

    for (size_t i = 0; i < n; i++) {
        assert_in_range(stream[i], 0, n - 1);
        assert_false(seen[stream[i]]);
        seen[stream[i]] = true;
    }
    free(seen);
}

static void test_orders(void **state)
{
    struct fixture f;
    size_t n, *stream, *other, mixed = 0, last[2] = {0, 0};

    set_up(&f, *state);
    read_texts(&f);
    n = f.t.learned.n;
    stream = xcalloc(n, sizeof *stream);
    other = xcalloc(n, sizeof *other);
    for (int order = 0; order < EVAL_ORDERS; order++) {
        eval_texts_order(&f.t, (enum eval_order)order, 7, stream);
        check_all_once(stream, n);
    }
    eval_texts_order(&f.t, EVAL_SEQUENCE, 7, stream);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(stream[i], i);
    eval_texts_order(&f.t, EVAL_TIME, 7, stream);
    for (size_t i = 1; i < n; i++)
        assert_true(f.t.learned.items[stream[i - 1]].time_ms <=
                    f.t.learned.items[stream[i]].time_ms);
    /* The same seed gives the same order, another seed another one. */
    eval_texts_order(&f.t, EVAL_INTERLEAVED, 7, stream);
    eval_texts_order(&f.t, EVAL_INTERLEAVED, 7, other);
    assert_memory_equal(stream, other, n * sizeof *stream);
    eval_texts_order(&f.t, EVAL_INTERLEAVED, 8, other);
    assert_memory_not_equal(stream, other, n * sizeof *stream);
    /* Gradual: the first quarter has the first domain only, the middle is
     * mixed, and the records of a domain keep their order. */
    eval_texts_order(&f.t, EVAL_GRADUAL, 7, stream);
    for (size_t i = 0; i < n; i++) {
        uint32_t d = f.t.learned.items[stream[i]].domain;

        assert_true(stream[i] >= last[d]);
        last[d] = stream[i];
        if (i < n / 8)
            assert_int_equal(d, 0);
        if (i >= n - n / 8)
            assert_int_equal(d, 1);
        mixed += i < n / 2 && d == 1;
    }
    assert_in_range(mixed, 2, n / 4);
    free(stream);
    free(other);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_file),
        cmocka_unit_test(test_by_domain_and_label),
        cmocka_unit_test(test_label_missing),
        cmocka_unit_test(test_heldout_files),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_orders),
    };

    return cmocka_run_group_tests(tests, base_make_temp, base_remove_temp);
}
