/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A body is checked twice. check_shape counts its parts before jansson parses
 * it, since jansson may take 80 times the memory of the text. Endpoints check
 * the types and ranges of the fields that they read.
 */
#include "config.h"

#include "daemon/http/request/http_request.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json_value.h"
#include "base/utf8.h"
#include "daemon/http/wire/http_coding.h"
#include "daemon/http/wire/http_connections.h"
#include "daemon/http/wire/http_head.h"
#include "daemon/http/wire/http_stream.h"

/* Limits of a body. No endpoint needs a depth above 4. */
#define MAX_DEPTH 32
#define MAX_VALUES 131072
#define MAX_CONTAINERS 16384 /* objects and arrays */

/* The most memory that jansson takes for each, measured. A text takes its size
 * in addition. */
#define CONTAINER_BYTES 320
#define VALUE_BYTES 64
#define NAME_BYTES 128 /* a member's name, and its entry in the object */

/* --- replies ------------------------------------------------------------ */

void http_answer(struct http_request *rq, int status, json_t *json)
{
    json_decref(rq->reply.json);
    rq->reply.json = json;
    rq->reply.status = status;
}

static const char *error_type(int status)
{
    switch (status) {
    case 401:
        return "authentication_error";
    case 403:
        return "permission_error";
    case 429:
        return "rate_limit_error";
    case 503:
        return "unavailable_error";
    default:
        return "invalid_request_error";
    }
}

void http_fail(struct http_request *rq, int status, const char *code,
               const char *param, const char *fmt, ...)
{
    char message[ERR_MSG_MAX + 64];
    struct buf text = BUF_INIT;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    /* The message may quote the client, cut in the middle of a character. */
    utf8_repair(message, strlen(message), &text);
    http_answer(rq, status,
                json_pack("{s:{s:s, s:s, s:s, s:s?}}", "error", "message",
                          text.data ? text.data : "", "type",
                          error_type(status), "code", code, "param", param));
    buf_release(&text);
    if (status == 429 || status == 503)
        rq->reply.retry_seconds = 1;
}

void http_fail_err(struct http_request *rq, const struct err *err)
{
    if (rq->cancel.cause != HTTP_NOT_CANCELLED) {
        http_fail(rq, 503, http_cancel_code(rq->cancel.cause), NULL, "%s",
                  err->msg);
        rq->reply.retry_never = rq->cancel.cause == HTTP_TIME_LIMIT;
        return;
    }
    switch (err->code) {
    case ERR_INVALID:
    case ERR_LIMIT:
        http_fail(rq, 400, "invalid_value", NULL, "%s", err->msg);
        break;
    case ERR_NOTFOUND:
        http_fail(rq, 404, "not_found", NULL, "%s", err->msg);
        break;
    case ERR_STATE:
        http_fail(rq, 409, "refused", NULL, "%s", err->msg);
        break;
    case ERR_CORRUPT:
        http_fail(rq, 409, "damaged", NULL, "%s", err->msg);
        break;
    default: /* the machine fails, not the request */
        http_fail(rq, 503, "unavailable", NULL, "%s", err->msg);
    }
}

bool http_charge(struct http_request *rq, size_t n_bytes)
{
    if (http_connection_charge(rq->connection, n_bytes))
        return true;
    http_fail(rq, 429, "overloaded", NULL,
              "the bodies of all requests need too much memory; try again");
    return false;
}

json_t *http_base64(const void *bytes, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 "abcdefghijklmnopqrstuvwxyz0123456789+/";
    struct buf text = BUF_INIT;
    json_t *s;

    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i;
        const unsigned char *b = (const unsigned char *)bytes + i;
        uint32_t v = (uint32_t)b[0] << 16 |
                     (left > 1 ? (uint32_t)b[1] << 8 : 0) |
                     (left > 2 ? b[2] : 0);

        buf_addc(&text, digits[v >> 18]);
        buf_addc(&text, digits[v >> 12 & 63]);
        buf_addc(&text, left > 1 ? digits[v >> 6 & 63] : '=');
        buf_addc(&text, left > 2 ? digits[v & 63] : '=');
    }
    s = json_stringn(text.len ? text.data : "", text.len);
    buf_release(&text);
    return s;
}

/* --- the body ----------------------------------------------------------- */

struct shape {
    size_t depth;
    size_t n_containers, n_values; /* n_values includes the containers */
    size_t n_names;
};

/* Counts the parts of a body, without those inside strings. */
static struct shape count_shape(const char *s, size_t n)
{
    struct shape shape = {.n_values = 1};
    size_t depth = 0;
    bool in_string = false;

    for (size_t i = 0; i < n; i++) {
        if (in_string) {
            if (s[i] == '\\')
                i++;
            else if (s[i] == '"')
                in_string = false;
        } else if (s[i] == '"') {
            in_string = true;
        } else if (s[i] == '[' || s[i] == '{') {
            shape.n_containers++;
            shape.n_values++;
            if (++depth > shape.depth)
                shape.depth = depth;
        } else if ((s[i] == ']' || s[i] == '}') && depth) {
            depth--;
        } else if (s[i] == ',') {
            shape.n_values++;
        } else if (s[i] == ':') {
            shape.n_names++;
        }
    }
    return shape;
}

static bool check_shape(struct http_request *rq, const struct shape *shape)
{
    size_t bytes = shape->n_containers * CONTAINER_BYTES +
                   shape->n_values * VALUE_BYTES +
                   shape->n_names * NAME_BYTES + rq->bytes.len;

    if (shape->depth > MAX_DEPTH)
        http_fail(rq, 400, "invalid_json", NULL,
                  "the body is not usable JSON: it nests deeper than %d",
                  MAX_DEPTH);
    else if (shape->n_values > MAX_VALUES)
        http_fail(rq, 400, "too_many_values", NULL,
                  "the body has more than %d values", MAX_VALUES);
    else if (shape->n_containers > MAX_CONTAINERS)
        http_fail(rq, 400, "too_many_values", NULL,
                  "the body has more than %d objects and arrays",
                  MAX_CONTAINERS);
    else
        http_charge(rq, bytes);
    return !rq->reply.status;
}

bool http_parse_body(struct http_request *rq)
{
    struct shape shape;
    json_error_t why;

    if (rq->bytes.len == 0) {
        rq->body = json_object();
        return true;
    }
    shape = count_shape(rq->bytes.data, rq->bytes.len);
    if (!check_shape(rq, &shape))
        return false;
    json_value_fit_numbers(rq->bytes.data, rq->bytes.len);
    json_value_fit_names(rq->bytes.data, rq->bytes.len);
    rq->body = json_loadb(rq->bytes.data, rq->bytes.len,
                          JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
    if (!rq->body) {
        http_fail(rq, 400, "invalid_json", NULL,
                  "the body is not usable JSON: line %d, column %d: %s",
                  why.line, why.column, why.text);
        return false;
    }
    if (!json_is_object(rq->body)) {
        http_fail(rq, 400, "invalid_json", NULL,
                  "the body must be a JSON object");
        return false;
    }
    return true;
}

/* The value of a field; NULL when it is absent or null. */
static const json_t *find_field(const struct http_request *rq, const char *key)
{
    const json_t *value = json_object_get(rq->body, key);

    return json_is_null(value) ? NULL : value;
}

static bool fail_type(struct http_request *rq, const char *key,
                      const char *type)
{
    http_fail(rq, 400, "invalid_type", key, "'%s' must be %s", key, type);
    return false;
}

bool http_integer_of(const json_t *json, int64_t *value)
{
    double x;

    if (json_is_integer(json)) {
        *value = json_integer_value(json);
        return true;
    }
    x = json_real_value(json);
    if (!json_is_real(json) || fabs(x) >= 0x1p62 || x != floor(x))
        return false;
    *value = (int64_t)x;
    return true;
}

bool http_get_integer(struct http_request *rq, const char *key, int64_t min,
                      int64_t max, int64_t *value)
{
    const json_t *given = find_field(rq, key);
    int64_t x = 0;
    bool too_large;

    if (!given)
        return true;
    too_large = json_is_real(given) && fabs(json_real_value(given)) >= 0x1p62;
    if (!too_large && !http_integer_of(given, &x))
        return fail_type(rq, key, "an integer");
    if (too_large || x < min || x > max) {
        http_fail(rq, 400, "invalid_value", key,
                  "'%s' must be from %lld to %lld", key, (long long)min,
                  (long long)max);
        return false;
    }
    *value = x;
    return true;
}

bool http_get_number(struct http_request *rq, const char *key, double min,
                     double max, double *value)
{
    const json_t *given = find_field(rq, key);
    double x;

    if (!given)
        return true;
    if (!json_is_number(given))
        return fail_type(rq, key, "a number");
    x = json_number_value(given);
    if (!(x >= min && x <= max)) {
        http_fail(rq, 400, "invalid_value", key,
                  "'%s' must be from %g to %g", key, min, max);
        return false;
    }
    *value = x;
    return true;
}

bool http_get_bool(struct http_request *rq, const char *key, bool *value)
{
    const json_t *given = find_field(rq, key);

    if (!given)
        return true;
    if (!json_is_boolean(given))
        return fail_type(rq, key, "true or false");
    *value = json_is_true(given);
    return true;
}

bool http_get_string(struct http_request *rq, const char *key,
                     const char **value)
{
    const json_t *given = find_field(rq, key);

    if (!given)
        return true;
    if (!json_is_string(given) ||
        strlen(json_string_value(given)) != json_string_length(given))
        return fail_type(rq, key, "a string");
    *value = json_string_value(given);
    return true;
}

bool http_get_strings(struct http_request *rq, const char *key, size_t max,
                      json_t **list)
{
    json_t *given = json_object_get(rq->body, key);

    if (json_is_string(given)) {
        *list = json_array();
        json_array_append(*list, given);
        return true;
    }
    if (!given || json_is_null(given)) {
        http_fail(rq, 400, "missing_parameter", key, "'%s' is needed", key);
        return false;
    }
    if (!json_is_array(given))
        return fail_type(rq, key, "a string or an array of strings");
    for (size_t i = 0; i < json_array_size(given); i++) {
        if (json_is_string(json_array_get(given, i)))
            continue;
        http_fail(rq, 400, "invalid_type", key, "'%s[%zu]' must be a string",
                  key, i);
        return false;
    }
    if (json_array_size(given) < 1 || json_array_size(given) > max) {
        http_fail(rq, 400, "invalid_value", key,
                  "'%s' must have 1 to %zu strings", key, max);
        return false;
    }
    *list = json_incref(given);
    return true;
}

/* --- the query and the path --------------------------------------------- */

bool http_parse_number(const char *s, int64_t *value)
{
    size_t n = strspn(s, "0123456789");

    if (n == 0 || n > 18 || s[n])
        return false;
    *value = strtoll(s, NULL, 10);
    return true;
}

bool http_path_number(struct http_request *rq, const char *noun, int64_t *value)
{
    if (http_parse_number(rq->argument, value))
        return true;
    http_fail(rq, 404, "not_found", NULL, "no %s %s", noun, rq->argument);
    return false;
}

void http_query_text(struct http_request *rq, const char *key,
                     const char **value)
{
    const char *given = http_head_argument(rq->head, key);

    *value = given ? given : *value;
}

bool http_query_integer(struct http_request *rq, const char *key,
                        int64_t min, int64_t max, int64_t *value)
{
    const char *given = http_head_argument(rq->head, key);
    int64_t x;

    if (!given)
        return true;
    if (!http_parse_number(given, &x) || x < min || x > max) {
        http_fail(rq, 400, "invalid_value", key,
                  "'%s' must be an integer from %lld to %lld", key,
                  (long long)min, (long long)max);
        return false;
    }
    *value = x;
    return true;
}

/* --- the end of a request ----------------------------------------------- */

void http_request_release(struct http_request *rq)
{
    json_decref(rq->body);
    json_decref(rq->reply.json);
    http_stream_free(rq->reply.stream);
    if (rq->reply.file && rq->reply.file->fd >= 0)
        close(rq->reply.file->fd);
    free(rq->reply.file);
    http_coding_free(rq->coding);
    buf_release(&rq->reply.text);
    buf_release(&rq->bytes);
    http_connection_uncharge(rq->connection);
}
