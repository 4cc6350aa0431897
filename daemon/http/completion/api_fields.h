/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_fields.h - the fields of OpenAI's requests: one table says which are
 * honoured, which are refused, and which have no effect on an answer.
 *
 * api_fields_check reads a request by the table, GET /openapi.json shows the
 * table, and docs/OPENAI.md is made from it. A field that would change the
 * answer is never dropped silently: it is honoured, or refused with 400 and
 * its name in `param`. A field that is not in the table is ignored, as OpenAI's
 * clients expect. null is the same as an absent field.
 *
 * Threads: any
 */
#ifndef MNEME_DAEMON_HTTP_COMPLETION_API_FIELDS_H
#define MNEME_DAEMON_HTTP_COMPLETION_API_FIELDS_H

#include "daemon/http/request/http_request.h"

/* The endpoints of OpenAI's API that take a body. */
enum api_kind {
    API_COMPLETIONS = 1,
    API_CHAT = 2,
    API_EMBEDDINGS = 4,
    API_RESPONSES = 8
};

enum api_use { API_HONOURED, API_REFUSED, API_NO_EFFECT };

/* API_ANY: the endpoint checks the value, and `schema` describes it. */
enum api_type {
    API_ANY,
    API_INTEGER,
    API_NUMBER,
    API_BOOL,
    API_STRING,
    API_OBJECT
};

struct api_field {
    const char *name;
    unsigned kinds; /* of enum api_kind */
    enum api_use use;
    enum api_type type;
    double min, max;      /* of an integer or number */
    const char *fallback; /* the default, as JSON; NULL: none */
    const char *schema;   /* JSON schema, with API_ANY */
    const char *values;   /* JSON array: the only values of a string; or of a
                             refused field, the values that are accepted
                             because they change nothing */
    bool required;
    const char *doc; /* of a refused field: why */
};

/* Checks every field of the body. False: the request has failed. */
bool api_fields_check(struct http_request *rq, enum api_kind kind);

/* The value of a field of a checked request, else its default; the type is the
 * table's. Without a default: 0 or false. A string that is absent: NULL. */
int64_t api_fields_integer(const struct http_request *rq, enum api_kind kind,
                           const char *name);
double api_fields_number(const struct http_request *rq, enum api_kind kind,
                         const char *name);
bool api_fields_bool(const struct http_request *rq, enum api_kind kind,
                     const char *name);
const char *api_fields_string(const struct http_request *rq, enum api_kind kind,
                              const char *name);

/* The value of a field, borrowed from the body; NULL when it is absent or null.
 */
const json_t *api_fields_value(const struct http_request *rq, const char *name);

/* The JSON schema of a request. */
json_t *api_fields_schema(enum api_kind kind);

/* Appends docs/OPENAI.md. */
void api_fields_document(struct buf *out);

#endif
