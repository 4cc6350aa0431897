/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Series: rows in order of time, whose resolution halves with their age. The
 * oracle is the list of all samples: a row is the mean of the samples since the
 * row before it.
 */
#include "config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "daemon/board/series.h"

#define EPSILON 1e-3 /* of a value: four digits are written */

static json_t *read_json(struct series *s, int64_t after_ms)
{
    struct buf text = BUF_INIT;
    json_error_t why;
    json_t *root;

    series_to_json(s, after_ms, &text);
    root = json_loads(text.data, 0, &why);
    if (!root)
        fail_msg("%s in %s", why.text, text.data);
    buf_release(&text);
    return root;
}

/* Adds a row with x in the first figure, and one domain. */
static void add(struct series *s, int64_t time_ms, double x, const char *name,
                double loss)
{
    double figures[SERIES_FIGURES] = {x, NAN, NAN, NAN};
    struct series_domain domain = {name, loss};

    series_add(s, time_ms, figures, &domain, 1);
}

/* The mean of the samples n > after, n <= to, whose value is 1 + n % 97. */
static double mean_of(int64_t after, int64_t to)
{
    double sum = 0;

    for (int64_t n = after + 1; n <= to; n++)
        sum += (double)(1 + n % 97);
    return sum / (double)(to - after);
}

/* After n samples at the times 1, 2, ..., n. */
static void check_rows(struct series *s, int64_t n)
{
    json_t *root = read_json(s, -1);
    json_t *times = json_object_get(root, "time_ms");
    json_t *values = json_object_get(root, "prequential_bits_per_byte");
    size_t n_rows = json_array_size(times);
    int64_t before = 0, width = INT64_MAX;

    assert_int_equal(json_array_size(values), n_rows);
    assert_true(n_rows <= (size_t)SERIES_ROWS * SERIES_LEVELS);
    for (size_t i = 0; i < n_rows; i++) {
        int64_t time = json_integer_value(json_array_get(times, i));
        double value = json_number_value(json_array_get(values, i));

        assert_true(time - before <= width); /* newer rows are finer */
        width = time - before;
        assert_int_equal(width & (width - 1), 0); /* a power of two */
        assert_true(fabs(value - mean_of(before, time)) <= EPSILON * value);
        before = time;
    }
    assert_int_equal(before, n);
    /* The newest rows are as they came. */
    for (int64_t i = 1; i < SERIES_ROWS - 1 && i < n; i++)
        assert_int_equal(
            json_integer_value(json_array_get(times, n_rows - (size_t)i)),
            n + 1 - i);
    json_decref(root);
}

static void test_resolution(void **state)
{
    struct series *s = series_create(1);

    (void)state;
    for (int64_t n = 1; n <= 20000; n++) {
        add(s, n, (double)(1 + n % 97), "a", 1);
        if (n < 400 || n % 4999 == 0)
            check_rows(s, n);
    }
    series_free(s);
}

/* The last level drops its oldest rows, so the number of rows is bounded. */
static void test_bound(void **state)
{
    struct series *s = series_create(0);
    const double none[SERIES_FIGURES] = {1, 1, 1, 1};
    const int64_t n = (int64_t)SERIES_ROWS << SERIES_LEVELS;
    json_t *root, *times;

    (void)state;
    for (int64_t i = 1; i <= n; i++)
        series_add(s, i, none, NULL, 0);
    root = read_json(s, -1);
    times = json_object_get(root, "time_ms");
    assert_true(json_array_size(times) <= SERIES_ROWS * SERIES_LEVELS);
    assert_true(json_integer_value(json_array_get(times, 0)) > n / 1000);
    json_decref(root);
    series_free(s);
}

/* A row without a value does not change the mean of its pair. */
static void test_no_value(void **state)
{
    struct series *s = series_create(2);
    json_t *root, *a;

    (void)state;
    for (int64_t n = 1; n <= SERIES_ROWS + 1; n++)
        add(s, n, n == 1 ? (double)NAN : 5, "a", NAN);
    root = read_json(s, -1);
    a = json_object_get(root, "prequential_bits_per_byte");
    assert_int_equal(json_array_size(a), SERIES_ROWS);
    assert_true(json_number_value(json_array_get(a, 0)) == 5);
    assert_null(json_object_get(json_object_get(root, "domains"), "a"));
    a = json_object_get(root, "lag");
    assert_true(json_is_null(json_array_get(a, 0)));
    json_decref(root);
    series_free(s);
}

/* A later domain has no values before; domains beyond the limit are left out. A
 * name may have any characters. */
static void test_domains(void **state)
{
    struct series *s = series_create(2);
    const char *name = "<script>\"\\\n";
    json_t *root, *domains, *list;

    (void)state;
    add(s, 10, 1, "a", 2);
    add(s, 20, 1, name, 3);
    add(s, 30, 1, "third", 4);
    root = read_json(s, -1);
    domains = json_object_get(root, "domains");
    assert_int_equal(json_object_size(domains), 2);
    list = json_object_get(domains, name);
    assert_true(json_is_null(json_array_get(list, 0)));
    assert_true(json_number_value(json_array_get(list, 1)) == 3);
    assert_true(json_is_null(json_array_get(list, 2)));
    json_decref(root);
    /* Only the rows after a time, and the domains that have values in them. */
    root = read_json(s, 10);
    assert_int_equal(json_array_size(json_object_get(root, "time_ms")), 2);
    domains = json_object_get(root, "domains");
    assert_int_equal(json_object_size(domains), 1);
    json_decref(root);
    root = read_json(s, 30);
    assert_int_equal(json_array_size(json_object_get(root, "time_ms")), 0);
    json_decref(root);
    series_free(s);
}

/* The wall clock may be set back. */
static void test_clock(void **state)
{
    struct series *s = series_create(1);
    json_t *root, *times;

    (void)state;
    add(s, 1000, 1, "a", 2);
    add(s, 400, 1, "a", 2);
    add(s, 1001, 1, "a", 2);
    root = read_json(s, -1);
    times = json_object_get(root, "time_ms");
    assert_int_equal(json_integer_value(json_array_get(times, 1)), 1000);
    assert_int_equal(json_integer_value(json_array_get(times, 2)), 1001);
    json_decref(root);
    series_free(s);
}

static void test_marks(void **state)
{
    struct series *s = series_create(1);
    json_t *root, *marks, *last;

    (void)state;
    for (int i = 0; i < SERIES_MARKS + 10; i++)
        series_mark(s, i, "drift", i, "a \"domain\"", "text");
    root = read_json(s, -1);
    marks = json_object_get(root, "marks");
    assert_int_equal(json_array_size(marks), SERIES_MARKS);
    last = json_array_get(marks, SERIES_MARKS - 1);
    assert_int_equal(json_integer_value(json_object_get(last, "version")),
                     SERIES_MARKS + 9);
    assert_string_equal(json_string_value(json_object_get(last, "domain")),
                        "a \"domain\"");
    assert_string_equal(json_string_value(json_object_get(last, "kind")),
                        "drift");
    json_decref(root);
    root = read_json(s, SERIES_MARKS + 8);
    assert_int_equal(json_array_size(json_object_get(root, "marks")), 1);
    json_decref(root);
    series_free(s);
}

static void test_bytes(void **state)
{
    size_t columns = SERIES_FIGURES + 257;

    (void)state;
    assert_true(series_bytes(257) >=
                columns * SERIES_ROWS * SERIES_LEVELS * sizeof(float));
    assert_true(series_bytes(257) < (size_t)4 << 20);
    series_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resolution), cmocka_unit_test(test_bound),
        cmocka_unit_test(test_no_value),   cmocka_unit_test(test_domains),
        cmocka_unit_test(test_clock),      cmocka_unit_test(test_marks),
        cmocka_unit_test(test_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
