/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page: its files with their types and ETags, the policy that allows no
 * inline code, and the series that its curves are made from.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "daemon/http/api/page_files.h"
#include "tests/util/http_util.h"

/* The value of a header of an answer, up to the end of its line. */
static char *header(const struct util_answer *a, const char *name)
{
    char *line = xasprintf("\r\n%s: ", name);
    char *at = strstr(a->text, line);

    if (!at || at > a->body)
        fail_msg("no %s in %s", name, a->text);
    at += strlen(line);
    free(line);
    return xasprintf("%.*s", (int)strcspn(at, "\r"), at);
}

static void check_header(const struct util_answer *a, const char *name,
                         const char *value)
{
    char *got = header(a, name);

    assert_string_equal(got, value);
    free(got);
}

/* GETs a path with an If-None-Match. */
static struct util_answer get_unless(const char *path, const char *etag)
{
    char *request = xasprintf("GET %s HTTP/1.1\r\nHost: localhost\r\n"
                              "Connection: close\r\nIf-None-Match: %s\r\n\r\n",
                              path, etag);
    struct util_answer a = util_ask_raw(request, strlen(request));

    free(request);
    return a;
}

/* --- files -------------------------------------------------------------- */

/* The bytes of a file of the page in the source tree. */
static char *read_source(const char *name)
{
    const char *dir = getenv("top_srcdir");
    char *path = xasprintf("%s/daemon/http/api/page/%s", dir ? dir : ".", name);
    FILE *f = fopen(path, "r");
    char *text = xcalloc(1, 1 << 20);

    if (!f)
        fail_msg("%s", path);
    assert_true(fread(text, 1, (1 << 20) - 1, f) > 0);
    fclose(f);
    free(path);
    return text;
}

static void test_files(void **state)
{
    (void)state;
    for (const struct page_file *f = page_files; f->name; f++) {
        char *path = xasprintf("/page/%s", f->name);
        char *source = read_source(f->name), *etag;
        struct util_answer a = util_get(path);

        assert_int_equal(a.status, 200);
        assert_string_equal(a.body, source);
        check_header(&a, "Cache-Control", "no-cache");
        etag = header(&a, "ETag");
        util_release(&a);
        a = get_unless(path, etag);
        assert_int_equal(a.status, 304);
        assert_string_equal(a.body, "");
        check_header(&a, "ETag", etag);
        util_release(&a);
        a = get_unless(path, "\"0\"");
        assert_int_equal(a.status, 200);
        util_release(&a);
        free(etag);
        free(source);
        free(path);
    }
}

static void test_types(void **state)
{
    static const struct {
        const char *path, *type;
    } files[] = {
        {"/", "text/html; charset=utf-8"},
        {"/page/index.html", "text/html; charset=utf-8"},
        {"/page/style.css", "text/css; charset=utf-8"},
        {"/page/main.js", "text/javascript; charset=utf-8"},
        {"/page/icon.svg", "image/svg+xml"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct util_answer a = util_get(files[i].path);

        assert_int_equal(a.status, 200);
        check_header(&a, "Content-Type", files[i].type);
        check_header(&a, "X-Content-Type-Options", "nosniff");
        util_release(&a);
    }
    util_check_error(util_get("/page/none.js"), 404, NULL);
    util_check_error(util_get("/page/..%2fmain.js"), 404, NULL);
    util_check_error(util_post("/page/main.js", "{}"), 405, NULL);
    util_check_error(util_post("/", "{}"), 405, NULL);
}

/* No inline code, no code from elsewhere, no HTML from text. */
static void test_policy(void **state)
{
    struct util_answer a = util_get("/");
    char *policy = header(&a, "Content-Security-Policy");

    (void)state;
    assert_non_null(strstr(policy, "default-src 'none'; "));
    assert_non_null(strstr(policy, "script-src 'self'; "));
    assert_non_null(strstr(policy, "style-src 'self'; "));
    assert_non_null(strstr(policy, "frame-ancestors 'none'"));
    assert_non_null(strstr(policy, "require-trusted-types-for 'script'"));
    assert_null(strstr(policy, "unsafe"));
    assert_null(strstr(policy, "*"));
    assert_null(strstr(a.body, "<style"));
    assert_null(strstr(a.body, " style="));
    assert_null(strstr(a.body, "<script>"));
    assert_null(strstr(a.body, "://"));
    free(policy);
    util_release(&a);
}

/* --- series ------------------------------------------------------------- */

/* The last element of an array of the series. */
static const json_t *last(const struct util_answer *a, const char *path)
{
    const json_t *list = util_at(a->json, path);

    return json_array_get(list, json_array_size(list) - 1);
}

/* A row has the figures of the board. A domain has a value when something of
 * it was learned since the row before. */
static void test_series(void **state)
{
    struct util_answer a = util_get("/v1/series");
    int64_t after = json_integer_value(last(&a, "time_ms"));
    char *path = xasprintf("/v1/series?after=%lld", (long long)after);
    bool found = false;

    (void)state;
    assert_int_equal(a.status, 200);
    check_header(&a, "Content-Type", "application/json");
    util_release(&a);
    for (int i = 0; i < 600 && !found; i++) {
        struct status *s = status_lock(&fix.board);

        s->bytes_seen += 10;
        s->prequential_bits_per_byte = 2.5;
        s->tokens_per_second = 70;
        s->n_domains = 2;
        s->domains[0] =
            (struct status_domain){.name = status_name(&fix.board, "learned"),
                                   .bytes = s->bytes_seen,
                                   .prequential = 1.5};
        s->domains[1] =
            (struct status_domain){.name = status_name(&fix.board, "idle"),
                                   .bytes = 7,
                                   .prequential = 3};
        if (i == 0) {
            s->drift_alarms++;
            s->drifted = s->domains[0];
            s->drifted.drift.before = 1;
            s->drifted.drift.after = 2;
        }
        status_unlock(&fix.board);
        usleep(50000);
        a = util_get(path);
        /* In the first of these rows `idle` is new. */
        found = json_array_size(util_at(a.json, "time_ms")) >= 2;
        if (!found)
            util_release(&a);
    }
    assert_true(found);
    free(path);
    after = json_integer_value(last(&a, "time_ms"));
    assert_true(json_number_value(last(&a, "prequential_bits_per_byte")) ==
                2.5);
    assert_true(json_number_value(last(&a, "tokens_per_second")) == 70);
    assert_true(json_is_null(last(&a, "lag")));
    assert_true(json_number_value(last(&a, "domains.learned")) == 1.5);
    assert_true(json_is_null(last(&a, "domains.idle")));
    assert_string_equal(util_text_at(&a, "marks.0.kind"), "drift");
    assert_string_equal(util_text_at(&a, "marks.0.domain"), "learned");
    assert_string_equal(util_text_at(&a, "marks.0.text"),
                        "from 1.00 to 2.00 bits per byte, at record 0");
    util_release(&a);
    path = xasprintf("/v1/series?after=%lld", (long long)after);
    a = util_get(path);
    assert_int_equal(a.status, 200);
    assert_true(json_array_size(util_at(a.json, "time_ms")) <= 1);
    util_release(&a);
    free(path);
    util_check_error(util_get("/v1/series?after=now"), 400, "after");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_policy),
        cmocka_unit_test(test_series),
    };

    return cmocka_run_group_tests(tests, util_open_all, util_close_all);
}
