/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cli/pick.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

json_t *pick(const json_t *root, const char *path)
{
    const json_t *at = root;

    while (at && *path) {
        size_t n = strcspn(path, ".");

        at = json_object_getn(at, path, n);
        path += n + (path[n] == '.');
    }
    return (json_t *)at;
}

const char *pick_text(const json_t *root, const char *path)
{
    return json_string_value(pick(root, path));
}

const char *pick_text_or(const json_t *root, const char *path,
                         const char *otherwise)
{
    const char *text = pick_text(root, path);

    return text ? text : otherwise;
}

double pick_real(const json_t *root, const char *path)
{
    const json_t *j = pick(root, path);

    return json_is_number(j) ? json_number_value(j) : NAN;
}

int64_t pick_integer(const json_t *root, const char *path, int64_t otherwise)
{
    const json_t *j = pick(root, path);

    return json_is_integer(j) ? (int64_t)json_integer_value(j) : otherwise;
}

bool pick_true(const json_t *root, const char *path)
{
    return json_is_true(pick(root, path));
}

int64_t pick_time_ms(const json_t *root, const char *path)
{
    const json_t *j = pick(root, path);
    struct tm tm;

    if (json_is_number(j))
        return (int64_t)(json_number_value(j) * 1000);
    memset(&tm, 0, sizeof tm);
    if (json_is_string(j) &&
        strptime(json_string_value(j), "%Y-%m-%dT%H:%M:%S", &tm))
        return (int64_t)timegm(&tm) * 1000;
    return -1;
}

void pick_print(const json_t *root)
{
    json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    putchar('\n');
}
