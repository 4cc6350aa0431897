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
    char *string; /* FIELD_STRING: n_bytes, with any NULs, and a NUL; free() */
    size_t n_bytes;
    double number; /* FIELD_NUMBER; out of range: an infinity */
};

/*
 * Finds the fields in an object.
 *   json     n_bytes of UTF-8, followed by a NUL
 *   returns  false when it is no object, or when a field is there twice; no
 *            string is left then
 */
bool fields_scan(const char *json, size_t n_bytes, struct field *fields,
                 size_t n_fields);

void fields_release(struct field *fields, size_t n_fields);

#endif
