/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fields.h - a few members of a JSON object, without building the rest.
 *
 * A record is read once and then forgotten: what a JSON library would build of
 * it costs more than all else that is done with it before it is learned. The
 * whole value is checked (RFC 8259, nesting at most FIELDS_MAX_DEPTH); only the
 * members that were asked for are decoded. When a name comes twice, the last
 * one counts. Half a surrogate pair gives U+FFFD.
 *
 * Threads: any
 */
#ifndef MNEME_DAEMON_STREAM_FIELDS_H
#define MNEME_DAEMON_STREAM_FIELDS_H

#include <stdbool.h>
#include <stddef.h>

#define FIELDS_MAX_DEPTH 64 /* levels below the record */

enum field_kind {
    FIELD_ABSENT,
    FIELD_NULL,
    FIELD_STRING,
    FIELD_NUMBER,
    FIELD_OTHER
};

struct field {
    const char *name; /* in */
    enum field_kind kind;
    const char *string; /* FIELD_STRING: in the JSON as it stands there, or,
                           when it has escapes, decoded and with a NUL behind
                           it in the caller's room */
    size_t n_bytes;
    double number; /* FIELD_NUMBER; out of range: an infinity */
};

enum fields_outcome {
    FIELDS_READ,
    FIELDS_BROKEN,  /* not an object of valid JSON */
    FIELDS_TOO_DEEP /* valid up to a value nested too deep */
};

/*
 * Finds the fields in an object. If the result is not FIELDS_READ, all of them
 * are absent.
 *   json     n_bytes of UTF-8, followed by a NUL
 *   room     *room is moved behind what was put there: strings with escapes.
 *            Those, and copies with a NUL of all others, take n_bytes at most
 */
enum fields_outcome fields_scan(const char *json, size_t n_bytes,
                                struct field *fields, size_t n_fields,
                                char **room);

/*
 * For bytes that fields_scan cannot read: is there a member of that name, at
 * any depth? A member begins with its name, in quotes of either kind, and a
 * colon.
 *   bytes   any n_bytes, followed by a NUL
 *   value   NULL, or the member has to be a string of exactly this value
 */
bool fields_hold(const char *bytes, size_t n_bytes, const char *name,
                 const char *value);

/*
 * The same for keys that JSON has in another way: is the name, bare or between
 * any quotes, behind { or a comma, and before : or = or a string?
 *   bytes   any n_bytes, followed by a NUL
 */
bool fields_name(const char *bytes, size_t n_bytes, const char *name);

#endif
