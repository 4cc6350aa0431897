/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/stream/record_reason.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "daemon/stream/record.h"

const char *record_reason_clause(const char *reason)
{
    static const char *const texts[][2] = {
        {"null", "it has no value"},
        {"empty", "it has no text"},
        {"too_long", "it is longer than source.max_record_bytes"},
        {"utf16", "it is UTF-16, and must be UTF-8"},
        {"schema_registry", "it begins with a schema registry's header"},
        {"nul_bytes", "it has NUL bytes"},
        {"not_utf8", "it is not UTF-8"},
        {"not_json", "it is not a JSON object, and source.format is json"},
        {"broken_json",
         "it begins like a JSON record, but cannot be read as JSON"},
        {"too_deep", "its JSON is nested more than 64 levels deep"},
        {"record_separator", "it begins with the record separator of RFC 7464"},
        {"no_text", "it has no text"},
        {"bad_field", "one of its fields has the wrong type or is too long"},
    };

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (strcmp(texts[i][0], reason) == 0)
            return texts[i][1];
    return NULL;
}

/* Recognizes compressed data by its first bytes. Returns a clause that says how
 * to unpack it, or NULL. */
static const char *explain_packed(const char *bytes, size_t n)
{
    static const struct {
        const char *magic;
        size_t n;
        const char *clause;
    } kinds[] = {
        {"\x1f\x8b", 2,
         "it is gzip data: a file is unpacked when its name ends in .gz"},
        {"\x28\xb5\x2f\xfd", 4,
         "it is zstd data: a file is unpacked when its name ends in .zst"},
        {"\xfd\x37zXZ", 5, "it is xz data: unpack it first, with xz -d"},
        {"BZh", 3, "it is bzip2 data: unpack it first, with bzip2 -d"},
        {"PK\x03\x04", 4, "it is a zip archive: unpack it first"},
    };

    for (size_t i = 0; bytes && i < sizeof kinds / sizeof *kinds; i++)
        if (n >= kinds[i].n && memcmp(bytes, kinds[i].magic, kinds[i].n) == 0)
            return kinds[i].clause;
    return NULL;
}

/* Explains what is wrong with a field, by the rules of record.c. False: nothing
 * is wrong. */
static bool explain_field(const char *name, const json_t *value, char *detail,
                          size_t size)
{
    static const char *const types[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "an array",
        [JSON_STRING] = "a string",  [JSON_INTEGER] = "a number",
        [JSON_REAL] = "a number",    [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",
    };
    bool is_text = !strcmp(name, "text") || !strcmp(name, "prompt") ||
                   !strcmp(name, "completion");
    bool is_time = !strcmp(name, "ts");

    if (!value || json_is_null(value))
        return false;
    if (json_is_number(value) && is_time &&
        fabs(json_number_value(value)) < 0x1p62)
        return false;
    if (is_time ? !json_is_number(value) : !json_is_string(value))
        snprintf(detail, size, "field %s is %s, and must be a %s", name,
                 types[json_typeof(value)], is_time ? "number" : "string");
    else if (is_time)
        snprintf(detail, size, "field ts is out of range");
    else if (!is_text && json_string_length(value) > RECORD_NAME_MAX)
        snprintf(detail, size,
                 "field %s has %zu bytes, and at most %d are allowed",
                 name, json_string_length(value), RECORD_NAME_MAX);
    else if (!is_text &&
             strlen(json_string_value(value)) != json_string_length(value))
        snprintf(detail, size, "field %s has a NUL character", name);
    else
        return false;
    return true;
}

static void explain_bad_field(const char *bytes, size_t n, char *detail,
                              size_t size)
{
    static const char *const names[] = {
        "text", "prompt", "completion", "label", "domain", "id", "ts"};
    json_t *root = json_loadb(bytes ? bytes : "", n, JSON_ALLOW_NUL, NULL);
    bool found = false;

    for (size_t i = 0; !found && i < sizeof names / sizeof *names; i++)
        found = explain_field(names[i], json_object_get(root, names[i]), detail,
                              size);
    if (!found && json_is_object(root))
        snprintf(detail, size,
                 "the name of its topic or file, which is its "
                 "domain, is not UTF-8 or too long");
    else if (!found)
        snprintf(detail, size, "%s", record_reason_clause("bad_field"));
    json_decref(root);
}

void record_reason_explain(const char *reason, const char *bytes,
                           size_t n_bytes, char *detail, size_t size)
{
    static const char *const unreadable[] = {"nul_bytes", "utf16", "not_utf8",
                                             "too_long"};
    const char *clause = record_reason_clause(reason), *packed;

    for (size_t i = 0; i < sizeof unreadable / sizeof *unreadable; i++)
        if (!strcmp(reason, unreadable[i]) &&
            (packed = explain_packed(bytes, n_bytes)) != NULL)
            clause = packed;
    *detail = '\0';
    if (!strcmp(reason, "bad_field"))
        explain_bad_field(bytes, n_bytes, detail, size);
    else if (clause)
        snprintf(detail, size, "%s", clause);
}
