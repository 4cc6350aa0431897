/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fields.h - a few members of a JSON object, without building the rest.
 *
 * A record is read once and then forgotten: what a JSON library would build of
 * it costs more than all else that is done with it before it is learned. The
 * whole value is checked (RFC 8259, nesting at most 64 deep); only the members
 * that were asked for are decoded.
 *
 * Threads: any
 */
#ifndef MNEME_DAEMON_FIELDS_H
#define MNEME_DAEMON_FIELDS_H

#include <stdbool.h>
#include <stddef.h>

enum field_kind {
    FIELD_ABSENT, /* or null */
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

/*
 * Finds the fields in an object.
 *   json     n_bytes of UTF-8, followed by a NUL
 *   room     *room is moved behind what was put there: strings with escapes.
 *            Those, and copies with a NUL of all others, take n_bytes at most
 *   returns  false when it is no object, or when a field is there twice; the
 *            fields are absent then
 */
bool fields_scan(const char *json, size_t n_bytes, struct field *fields,
                 size_t n_fields, char **room);

#endif
