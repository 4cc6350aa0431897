/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /openapi.json describes every endpoint, and nothing else.
 * tests/flows/flow_openapi.py compares it with what the daemon does.
 */
#include "config.h"

#include <regex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/http/api/http_endpoints.h"
#include "tests/util/http_util.h"

static const json_t *find_operation(const json_t *paths, const char *path,
                                    const char *method)
{
    const json_t *methods;
    const char *name;

    json_object_foreach((json_t *)paths, name, methods)
    {
        struct buf out = BUF_INIT;
        bool same;

        for (const char *at = name; *at; at++) { /* {version} is {} */
            buf_addc(&out, *at);
            if (*at == '{')
                at = strchr(at, '}') - 1;
        }
        same = strcmp(out.data, path) == 0;
        buf_release(&out);
        if (same)
            return json_object_get(methods, method);
    }
    return NULL;
}

/* Every operation has a body and a reply, whose schemas exist. */
static void test_endpoints(void **state)
{
    struct util_answer a = util_get("/openapi.json");
    const json_t *paths = util_at(a.json, "paths"), *methods;
    size_t n, n_found = 0;
    const struct http_endpoint *e = http_endpoints_all(&n);
    const char *name;

    (void)state;
    for (size_t i = 0; i < n; i++) {
        const char *method = strcmp(e[i].method, "GET") == 0    ? "get"
                             : strcmp(e[i].method, "POST") == 0 ? "post"
                             : strcmp(e[i].method, "PUT") == 0  ? "put"
                                                                : "delete";
        const json_t *o = find_operation(paths, e[i].path, method);
        const json_t *reply;

        if (!o)
            fail_msg("%s %s is not described", e[i].method, e[i].path);
        reply = json_object_get(
            json_object_get(json_object_get(o, "responses"), "200"), "content");
        if (json_object_size(reply) == 0 ||
            json_object_iter_key(json_object_iter((json_t *)reply))[0] == '\0')
            fail_msg("openapi.json has no reply of %s %s", e[i].method,
                     e[i].path);
        if (strcmp(e[i].method, "GET") == 0)
            assert_null(json_object_get(o, "requestBody"));
    }
    json_object_foreach((json_t *)paths, name, methods) n_found +=
        json_object_size(methods);
    assert_int_equal(n_found, n);
    util_release(&a);
}

static void check_references(const json_t *schemas, const json_t *value)
{
    const json_t *one;
    const char *name;
    size_t i;

    json_array_foreach((json_t *)value, i, one) check_references(schemas, one);
    json_object_foreach((json_t *)value, name, one)
    {
        const char *to = json_string_value(one);

        if (strcmp(name, "$ref") == 0 && to &&
            !json_object_get(schemas, strrchr(to, '/') + 1))
            fail_msg("no schema %s", to);
        check_references(schemas, one);
    }
}

static void test_references(void **state)
{
    struct util_answer a = util_get("/openapi.json");

    (void)state;
    check_references(util_at(a.json, "components.schemas"), a.json);
    util_release(&a);
}

/* The schema of /v1/status has every figure that the status has. */
static void test_status(void **state)
{
    struct util_answer a = util_get("/openapi.json");
    struct util_answer s = util_get("/v1/status");
    const json_t *schema = util_at(a.json, "components.schemas.Status");
    const json_t *value;
    const char *name;

    (void)state;
    json_object_foreach(
        (json_t *)s.json, name,
        value) if (!json_object_get(json_object_get(schema, "properties"),
                                    name))
        fail_msg("no schema of the status's %s", name);
    assert_string_equal(
        json_string_value(util_at(schema, "properties.step.type.0")),
        "integer");
    assert_non_null(util_at(schema, "properties.domains.items.properties."
                                    "drift.properties.alarms"));
    assert_non_null(
        util_at(schema, "properties.quarantine.additionalProperties"));
    util_release(&a);
    util_release(&s);
}

/* Names in logit_bias are the ids 0 to 256. */
static void test_token_names(void **state)
{
    struct util_answer a = util_get("/openapi.json");
    regex_t pattern;

    (void)state;
    assert_int_equal(
        regcomp(&pattern,
                util_text_at(&a, "components.schemas.TokenName.pattern"),
                REG_EXTENDED | REG_NOSUB),
        0);
    for (int i = 0; i < 3000; i++) {
        char name[16];

        snprintf(name, sizeof name, "%d", i);
        assert_int_equal(regexec(&pattern, name, 0, NULL, 0) == 0, i <= 256);
    }
    assert_int_not_equal(regexec(&pattern, "007", 0, NULL, 0), 0);
    assert_int_not_equal(regexec(&pattern, "", 0, NULL, 0), 0);
    assert_int_equal(util_number_at(&a, "components.schemas.TokenId.maximum"),
                     256);
    assert_int_equal(util_number_at(&a, "components.schemas.Dimensions.enum.0"),
                     32);
    regfree(&pattern);
    util_release(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_endpoints),
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_token_names),
    };

    return cmocka_run_group_tests(tests, util_open_all, util_close_all);
}
