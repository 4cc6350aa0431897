/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_scan.h - reads a few members of a JSON object.
 *
 * A JSON library builds a tree of the whole value. For a record, which is read
 * once, that would cost more than all other work before it is learned. The scan
 * checks the whole value (RFC 8259, nesting up to JSON_SCAN_MAX_DEPTH), but
 * decodes only the members that the caller names. Of two members with the same
 * name the last one counts. Half a surrogate pair becomes U+FFFD.
 *
 * Threads: any
 */
#ifndef MNEME_DAEMON_STREAM_JSON_SCAN_H
#define MNEME_DAEMON_STREAM_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>

#define JSON_SCAN_MAX_DEPTH 64 /* levels below the record */

enum json_field_kind {
    JSON_FIELD_ABSENT,
    JSON_FIELD_NULL,
    JSON_FIELD_STRING,
    JSON_FIELD_NUMBER,
    JSON_FIELD_OTHER
};

struct json_field {
    const char *name; /* in */
    enum json_field_kind kind;
    const char *string; /* JSON_FIELD_STRING. Without escapes: a part of the
                           JSON. With escapes: decoded in the caller's room, and
                           a NUL follows */
    size_t n_bytes;
    double number; /* JSON_FIELD_NUMBER; infinite when out of range */
};

enum json_scan_outcome {
    JSON_SCAN_READ,
    JSON_SCAN_BROKEN,  /* not an object of valid JSON */
    JSON_SCAN_TOO_DEEP /* valid up to a value nested too deep */
};

/*
 * Reads the fields of an object. Unless it returns JSON_SCAN_READ, all fields
 * are absent.
 *   json   n_bytes of UTF-8, followed by a NUL
 *   room   n_bytes: enough for decoded strings, behind which *room moves, and
 *          for the caller's copies of all other strings, each with a NUL
 */
enum json_scan_outcome json_scan(const char *json, size_t n_bytes,
                                 struct json_field *fields, size_t n_fields,
                                 char **room);

/*
 * Tells whether bytes that json_scan cannot read have a member of this name, at
 * any depth. A member begins with its name in single or double quotes, and a
 * colon.
 *   bytes   any n_bytes, followed by a NUL
 *   value   NULL, or the string that the member must have as its value
 */
bool json_scan_has_member(const char *bytes, size_t n_bytes, const char *name,
                          const char *value);

/*
 * Tells whether bytes that resemble JSON have this key. The key may be bare or
 * in any kind of quotes. It follows { or a comma, and precedes : or = or a
 * string.
 *   bytes   any n_bytes, followed by a NUL
 */
bool json_scan_has_key(const char *bytes, size_t n_bytes, const char *name);

#endif
