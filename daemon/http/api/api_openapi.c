/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /openapi.json: the endpoints as OpenAPI 3.1. It is made from
 *
 *     HTTP_ENDPOINTS    paths, methods, tokens, summaries
 *     api_fields.c      the requests of OpenAI's endpoints
 *     status_figures.c  the figures of /v1/status and /v1/domains
 *     openapi.json      what no table has: the other requests, and all replies
 *     the serving version: the range of a token id, the size of a vector
 */
#include "config.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "daemon/http/api/http_endpoints.h"
#include "daemon/http/completion/api_fields.h"

extern const char *const openapi_lines[]; /* of openapi.json; NULL is the end */

#define SCHEMAS "#/components/schemas/"

/* --- short schemas ------------------------------------------------------ */

static json_t *or_null(json_t *schema)
{
    json_t *type = json_object_get(schema, "type");

    if (json_is_string(type)) {
        json_object_set_new(schema, "type", json_pack("[O, s]", type, "null"));
        return schema;
    }
    return json_pack("{s:[o, {s:s}]}", "anyOf", schema, "type", "null");
}

/* A short schema as openapi.json explains it: n bytes. */
static json_t *expand_text(const char *s, size_t n)
{
    if (s[n - 1] == '?')
        return or_null(expand_text(s, n - 1));
    if (s[0] == '[')
        return json_pack("{s:s, s:o}", "type", "array", "items",
                         expand_text(s + 1, n - 2));
    if (s[0] == '{')
        return json_pack("{s:s, s:o}", "type", "object", "additionalProperties",
                         expand_text(s + 1, n - 2));
    if (isupper((unsigned char)s[0]))
        return json_pack("{s:o}", "$ref",
                         json_sprintf(SCHEMAS "%.*s", (int)n, s));
    if (n == 4 && memcmp(s, "text", 4) == 0)
        return json_pack("{s:s, s:s}", "type", "string", "pattern",
                         "^[^\\u0000]*$");
    return json_pack("{s:s%}", "type", s, n);
}

static json_t *expand(json_t *schema)
{
    if (!json_is_string(schema))
        return json_incref(schema);
    return expand_text(json_string_value(schema), json_string_length(schema));
}

/* The schema of an object from the short schemas of its fields. */
static json_t *expand_object(json_t *fields)
{
    json_t *properties = json_object(), *required = json_array(), *value;
    const char *name;

    json_object_foreach(fields, name, value)
    {
        size_t n = strlen(name);
        bool optional = name[n - 1] == '?';

        json_object_setn_new(properties, name, n - optional, expand(value));
        if (!optional)
            json_array_append_new(required, json_string(name));
    }
    return json_pack("{s:s, s:o, s:o}", "type", "object", "properties",
                     properties, "required", required);
}

/* --- an endpoint -------------------------------------------------------- */

static json_t *content(const char *media, json_t *schema)
{
    return json_pack("{s:{s:o}}", media, "schema", schema);
}

/* The content of a reply that is not JSON: one media type, or several. */
static json_t *media_only(const json_t *media)
{
    json_t *all = json_object();

    if (json_is_string(media))
        json_object_set_new(all, json_string_value(media), json_object());
    for (size_t i = 0; i < json_array_size(media); i++)
        json_object_set_new(all, json_string_value(json_array_get(media, i)),
                            json_object());
    return all;
}

static json_t *replies(const struct http_endpoint *e, json_t *more)
{
    static const struct {
        const char *status, *description;
        bool scope, post; /* only of endpoints with a token; of POST */
    } errors[] = {{"400", "The request is wrong.", false, false},
                  {"401", "A token is needed.", true, false},
                  {"403", "The token does not allow it.", true, false},
                  {"404", "There is no such thing.", false, false},
                  {"409", "The state does not allow it.", false, true},
                  {"413", "The body is too large.", false, true},
                  {"415", "The coding of the body is not known.", false, true},
                  {"429", "Too many requests; try again.", false, false},
                  {"503", "Not now; try again.", false, false}};
    json_t *media = json_object_get(more, "media");
    json_t *reply = json_object_get(more, "reply");
    json_t *good =
        reply ? content("application/json", expand(reply)) : media_only(media);
    json_t *all = json_object(), *description;
    const char *status;

    if (json_object_get(more, "stream"))
        json_object_set_new(good, "text/event-stream", json_object());
    if (reply && json_is_string(reply) &&
        strcmp(json_string_value(reply), "Operation") == 0 &&
        strcmp(e->method, "GET") != 0)
        json_object_set_new(all, "202",
                            json_pack("{s:s, s:O}", "description",
                                      "The operation goes on.", "content",
                                      good));
    json_object_foreach(json_object_get(more, "also"), status, description)
        json_object_set_new(all, status,
                            json_pack("{s:O}", "description", description));
    json_object_set_new(
        all, "200",
        json_pack("{s:s, s:o}", "description", "The answer.", "content", good));
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if ((!errors[i].scope || e->scope != HTTP_OPEN) &&
            (!errors[i].post || strcmp(e->method, "GET") != 0))
            json_object_set_new(all, errors[i].status,
                                json_pack("{s:s, s:o}", "description",
                                          errors[i].description, "content",
                                          content("application/json",
                                                  expand_text("Error", 5))));
    return all;
}

static void add_parameter(json_t *list, const char *name, size_t n,
                          const char *in, bool required, json_t *schema)
{
    json_array_append_new(list, json_pack("{s:s%, s:s, s:b, s:o}", "name", name,
                                          n, "in", in, "required", required,
                                          "schema", expand(schema)));
}

static json_t *parameters(json_t *more)
{
    json_t *list = json_array(), *schema;
    json_t *arguments = json_object_get(more, "arguments");
    const char *name;

    for (size_t i = 0; i < json_array_size(arguments); i += 2) {
        name = json_string_value(json_array_get(arguments, i));
        add_parameter(list, name, strlen(name), "path", true,
                      json_array_get(arguments, i + 1));
    }
    json_object_foreach(json_object_get(more, "query"), name, schema)
    {
        size_t n = strlen(name);
        bool optional = name[n - 1] == '?';

        add_parameter(list, name, n - optional, "query", !optional, schema);
    }
    return list;
}

/* The path with the names of its arguments. */
static char *named_path(const char *path, const json_t *arguments)
{
    struct buf out = BUF_INIT;
    const char *braces;

    for (size_t i = 0; (braces = strstr(path, "{}")); i += 2) {
        const char *name = json_string_value(json_array_get(arguments, i));

        buf_addf(&out, "%.*s{%s}", (int)(braces - path), path,
                 name ? name : "");
        path = braces + 2;
    }
    buf_adds(&out, path);
    return buf_detach(&out);
}

/* "get_v1_versions_version": two endpoints may share their function. */
static json_t *operation_id(const char *method, const char *path)
{
    char *id = xasprintf("%s%s", method, path);
    json_t *json;
    size_t n = 0;

    for (size_t i = 0; id[i]; i++)
        if (isalnum((unsigned char)id[i]))
            id[n++] = id[i];
        else if (n && id[n - 1] != '_')
            id[n++] = '_';
    n -= n > 0 && id[n - 1] == '_';
    json = json_stringn(id, n);
    free(id);
    return json;
}

/*
 * Adds an operation to paths.
 *   more  the endpoint's entry in openapi.json
 */
static void add_endpoint(json_t *paths, const struct http_endpoint *e,
                         json_t *more)
{
    json_t *optional = json_object_get(more, "body?");
    json_t *body = optional ? optional : json_object_get(more, "body");
    json_t *o, *methods, *media;
    char *path = named_path(e->path, json_object_get(more, "arguments"));
    char method[8] = "";

    for (size_t i = 0; e->method[i] && i < sizeof method - 1; i++)
        method[i] = (char)tolower((unsigned char)e->method[i]);
    o = json_pack("{s:o, s:s, s:o, s:o}", "operationId",
                  operation_id(method, path), "summary", e->summary,
                  "parameters", parameters(more), "responses",
                  replies(e, more));
    if (e->scope != HTTP_OPEN)
        json_object_set_new(o, "security", json_pack("[{s:[]}, {}]", "token"));
    if (e->scope == HTTP_ADMIN)
        json_object_set_new(o, "description",
                            json_string("Needs an admin token."));
    if (body) {
        media = content("application/json", expand(body));
        if (json_object_get(more, "lines"))
            json_object_set_new(media, "application/x-ndjson", json_object());
        json_object_set_new(
            o, "requestBody",
            json_pack("{s:b, s:o}", "required", !optional, "content", media));
    }
    methods = json_object_get(paths, path);
    if (!methods) {
        methods = json_object();
        json_object_set_new(paths, path, methods);
    }
    json_object_set_new(methods, method, o);
    free(path);
}

/* --- the document ------------------------------------------------------- */

static json_t *read_lines(void)
{
    struct buf text = BUF_INIT;
    json_t *root;

    for (size_t i = 0; openapi_lines[i]; i++)
        buf_adds(&text, openapi_lines[i]);
    root = json_loadb(text.data, text.len, 0, NULL);
    buf_release(&text);
    return root;
}

/* A pattern of the decimal numbers from 0 to max, without leading zeros: JSON
 * schema cannot bound a name by its number. */
static json_t *number_pattern(int max)
{
    struct buf out = BUF_INIT;
    char digits[16];
    int n = snprintf(digits, sizeof digits, "%d", max);
    json_t *pattern;

    buf_adds(&out, "^(0");
    for (int i = 1; i < n; i++)
        buf_addf(&out, "|[1-9][0-9]{%d}", i - 1);
    for (int i = 0; i < n; i++) /* smaller from digit i on */
        if (digits[i] > (i ? '0' : '1'))
            buf_addf(&out, "|%.*s[%c-%c][0-9]{%d}", i, digits, i ? '0' : '1',
                     digits[i] - 1, n - 1 - i);
    buf_addf(&out, "|%s)$", digits);
    pattern = json_pack("{s:s}", "pattern", out.data);
    buf_release(&out);
    return pattern;
}

/* What the serving version decides. Without one there is no upper bound. */
static void add_model(struct http_request *rq, json_t *schemas)
{
    static const char *const bodies[] = {"CompletionRequest", "ChatRequest",
                                         "ResponseRequest", "EmbeddingRequest"};
    int64_t version;
    const struct infer *f =
        serving_get(rq->context->serving, 0, &version, NULL);
    const struct model_shape *shape = f ? infer_shape(f) : NULL;
    json_t *id = json_pack("{s:s, s:i}", "type", "integer", "minimum", 0);
    json_t *dimensions = json_pack("{s:[s, s]}", "type", "integer", "null");

    if (shape) {
        json_object_set_new(id, "maximum", json_integer(shape->vocab_size - 1));
        json_object_set_new(dimensions, "enum",
                            json_pack("[i, n]", shape->dim));
    }
    json_object_set_new(schemas, "TokenId", id);
    json_object_set_new(schemas, "Dimensions", dimensions);
    json_object_set_new(
        schemas, "TokenName",
        number_pattern(shape ? shape->vocab_size - 1 : MODEL_MAX_VOCAB));
    for (size_t i = 0; shape && i < sizeof bodies / sizeof *bodies; i++)
        json_object_set_new(
            json_object_get(json_object_get(json_object_get(schemas, bodies[i]),
                                            "properties"),
                            "truncate_prompt_tokens"),
            "maximum", json_integer(shape->context));
    if (f)
        serving_put(rq->context->serving, f);
}

static json_t *schemas_json(struct http_request *rq, json_t *lines)
{
    json_t *schemas = json_deep_copy(json_object_get(lines, "schemas"));
    json_t *fields;
    const char *name;

    json_object_foreach(json_object_get(lines, "objects"), name, fields)
        json_object_set_new(schemas, name, expand_object(fields));
    json_object_set_new(schemas, "CompletionRequest",
                        api_fields_schema(API_COMPLETIONS));
    json_object_set_new(schemas, "ChatRequest", api_fields_schema(API_CHAT));
    json_object_set_new(schemas, "ResponseRequest",
                        api_fields_schema(API_RESPONSES));
    json_object_set_new(schemas, "EmbeddingRequest",
                        api_fields_schema(API_EMBEDDINGS));
    json_object_set_new(schemas, "Status", status_schema(""));
    json_object_set_new(schemas, "Domains", status_schema("domains"));
    add_model(rq, schemas);
    return schemas;
}

void api_openapi(struct http_request *rq)
{
    json_t *lines = read_lines(), *paths = json_object(), *root;
    json_t *endpoints = json_object_get(lines, "endpoints");
    size_t n;
    const struct http_endpoint *e = http_endpoints_all(&n);

    for (size_t i = 0; i < n; i++) {
        char *key = xasprintf("%s %s", e[i].method, e[i].path);

        add_endpoint(paths, &e[i], json_object_get(endpoints, key));
        free(key);
    }
    root = json_pack(
        "{s:s, s:{s:s, s:s, s:{s:s, s:s}}, s:o, s:{s:o, s:{s:{s:s, s:s}}}}",
        "openapi", "3.1.0", "info", "title", "mneme", "version",
        PACKAGE_VERSION, "license", "name", "Apache-2.0", "identifier",
        "Apache-2.0", "paths", paths, "components", "schemas",
        schemas_json(rq, lines), "securitySchemes", "token", "type", "http",
        "scheme", "bearer");
    json_decref(lines);
    http_answer(rq, 200, root);
}
