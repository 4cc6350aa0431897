/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fileio.h"
#include "base/xalloc.h"
#include "conf/conf.h"
#include "tests/util/conf_util.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static char top_srcdir[PATH_MAX];
static char temp_dir[PATH_MAX];

int util_enter_temp(void **state)
{
    const char *top = getenv("top_srcdir");
    const char *tmp = getenv("TMPDIR");

    (void)state;
    if (!realpath(top ? top : ".", top_srcdir))
        return -1;
    snprintf(temp_dir, sizeof temp_dir, "%s/mneme-conf-XXXXXX",
             tmp ? tmp : "/tmp");
    return mkdtemp(temp_dir) && chdir(temp_dir) == 0 ? 0 : -1;
}

int util_leave_temp(void **state)
{
    (void)state;
    unlink(UTIL_FILE);
    return chdir("/") == 0 ? rmdir(temp_dir) : -1;
}

void util_write_file(const char *text, size_t n_bytes)
{
    FILE *f = fopen(UTIL_FILE, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n_bytes, f), n_bytes);
    fclose(f);
}

char *util_lines(const struct conf_problems *p)
{
    struct buf out = BUF_INIT;

    for (size_t i = 0; i < p->n; i++)
        buf_addf(&out, "%s\n", p->items[i].text);
    return buf_detach(&out);
}

/* Knows what the tests use, as the daemon's check knows librdkafka's. */
static int check_property(const char *name, const char *value, char *why,
                          size_t why_size)
{
    static const char *const known[] = {
        "bootstrap.servers", "group.id",       "sasl.password",
        "sasl.username",     "sasl.mechanism", "security.protocol",
        "client.id"};

    for (size_t i = 0; i < COUNT(known); i++) {
        if (strcmp(known[i], name) == 0 && strcmp(value, "bad") != 0)
            return 0;
    }
    snprintf(why, why_size, "librdkafka has no such property or value");
    return ERR_INVALID;
}

struct conf *util_load(const char *text, const char *const *sets, size_t n_sets,
                       char **problems)
{
    struct conf *c = conf_create();
    struct conf_problems p = CONF_PROBLEMS_INIT;
    int rc;

    if (text)
        util_write_file(text, strlen(text));
    rc =
        conf_load(c, text ? UTIL_FILE : NULL, sets, n_sets, check_property, &p);
    assert_int_equal(rc, p.n ? ERR_INVALID : 0);
    *problems = util_lines(&p);
    conf_problems_release(&p);
    return c;
}

struct conf *util_load_good(const char *text)
{
    char *problems;
    struct conf *c = util_load(text, NULL, 0, &problems);

    assert_string_equal(problems, "");
    free(problems);
    return c;
}

size_t util_differences(const struct conf *a, const struct conf *b)
{
    struct conf_strings x = {NULL, 0}, y = {NULL, 0};
    size_t n = conf_reload_diff(a, b, &x, &y);

    assert_int_equal(n, x.n + y.n);
    conf_strings_release(&x);
    conf_strings_release(&y);
    return n;
}

void util_assert_key(const struct conf *c, const char *key,
                     const char *expected)
{
    char *text = conf_text(c, key);

    assert_string_equal(text, expected);
    free(text);
}

char *util_document(const char *name, const char *fresh)
{
    char *path = fileio_join(top_srcdir, name);
    struct buf text = BUF_INIT;
    struct err err = ERR_INIT;
    FILE *f;

    if (fresh && getenv("MNEME_WRITE_DOCS")) {
        f = fopen(path, "w");
        assert_non_null(f);
        fputs(fresh, f);
        fclose(f);
    }
    if (fileio_read(path, 1 << 20, &text, &err) != 0)
        fail_msg("%s", err.msg);
    free(path);
    return buf_detach(&text);
}

void util_assert_refused(const struct util_refused *x)
{
    struct conf *c;
    char *problems;
    char *expected = xasprintf("%s\n", x->problems);

    c = util_load(x->text, NULL, 0, &problems);
    assert_string_equal(problems, expected);
    conf_free(c);
    free(problems);
    free(expected);
}
