/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table has a row for each field, or one for each of its types. Values and
 * defaults are JSON texts, so that a row is also the field's JSON schema and
 * its line in docs/OPENAI.md.
 */
#include "config.h"

#include "daemon/http/completion/api_fields.h"

#include <stdlib.h>
#include <string.h>

#include "base/model_shape.h"
#include "daemon/http/completion/completion.h"

#define C API_COMPLETIONS
#define H API_CHAT
#define E API_EMBEDDINGS
#define R API_RESPONSES

#define TEXT_ONLY "this model writes plain text"
#define TEXTS "{\"type\":\"array\",\"items\":{\"type\":\"string\"}"
#define IDS                                                                    \
    "{\"type\":\"array\",\"minItems\":1,"                                      \
    "\"items\":{\"$ref\":\"#/components/schemas/TokenId\"}"
#define NULL_TYPE "{\"type\":\"null\"}"

#define HONOURED(name_, kinds_) .name = name_, .kinds = (kinds_)
#define REFUSED(name_, kinds_, values_, why)                                   \
    {                                                                          \
        .name = name_, .kinds = (kinds_), .use = API_REFUSED,                  \
        .values = values_, .doc = why                                          \
    }
#define NO_EFFECT(name_, kinds_, type_, doc_)                                  \
    {                                                                          \
        .name = name_, .kinds = (kinds_), .use = API_NO_EFFECT, .type = type_, \
        .doc = doc_                                                            \
    }

static const struct api_field fields[] = {
    /* --- what is read --------------------------------------------------- */
    {HONOURED("model", C | H | E | R), .type = API_STRING,
     .fallback = "\"mneme\"",
     .doc = "the version that answers: mneme, mneme@N, mneme@latest, "
            "mneme@previous, or mneme@TAG"},
    {HONOURED("prompt", C),
     .schema =
         "{\"anyOf\":[{\"type\":\"string\"}," TEXTS
         ",\"minItems\":1,\"maxItems\":256}," IDS "},"
         "{\"type\":\"array\",\"minItems\":1,\"maxItems\":256,"
         "\"items\":{\"$ref\":\"#/components/schemas/TokenIds\"}}," NULL_TYPE
         "]}",
     .doc = "a string, strings, token ids, or arrays of token ids; none: the "
            "text begins a record"},
    {HONOURED("messages", H), .required = true,
     .schema = "{\"type\":\"array\",\"minItems\":1,\"maxItems\":1024,"
               "\"items\":{\"$ref\":\"#/components/schemas/ChatMessage\"}}",
     .doc = "role: system, developer, user or assistant; content: a string or "
            "text parts. The prompt is the contents, joined by line ends"},
    {HONOURED("input", E), .required = true,
     .schema = "{\"anyOf\":[{\"type\":\"string\"}," TEXTS
               ",\"minItems\":1,\"maxItems\":2048}," IDS "},"
               "{\"type\":\"array\",\"minItems\":1,\"maxItems\":2048,"
               "\"items\":" IDS "}}]}",
     .doc = "a string, strings, token ids, or arrays of token ids. A text "
            "longer than the context is read in segments"},
    {HONOURED("input", R), .required = true,
     .schema = "{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"array\","
               "\"minItems\":1,\"maxItems\":1024,\"items\":{\"$ref\":"
               "\"#/components/schemas/ResponseMessage\"}}]}",
     .doc = "a string, or messages with the roles system, developer, user and "
            "assistant"},
    {HONOURED("instructions", R), .type = API_STRING,
     .doc = "a text before the input"},
    {HONOURED("truncate_prompt_tokens", E), .type = API_INTEGER, .min = -1,
     .max = INT32_MAX,
     .doc = "as in vLLM: keep this number of tokens at the end of an input; "
            "-1: as many as the context has"},
    {HONOURED("truncate_prompt_tokens", C | H | R), .type = API_INTEGER,
     .min = -1, .max = INT32_MAX,
     .doc = "as in vLLM: keep this number of tokens at the end of a prompt; "
            "-1: as many as the context has. Without it a prompt longer than "
            "the context is refused with code context_length_exceeded"},
    {HONOURED("truncation", R), .type = API_STRING, .fallback = "\"disabled\"",
     .values = "[\"auto\",\"disabled\"]",
     .doc = "auto: an input longer than the context loses its beginning"},

    /* --- how much is generated ------------------------------------------ */
    {HONOURED("max_tokens", C), .type = API_INTEGER,
     .max = COMPLETION_MAX_TOKENS, .fallback = "16",
     .doc = "may be 0; a text may be longer than the context"},
    {HONOURED("max_tokens", H), .type = API_INTEGER,
     .max = COMPLETION_MAX_TOKENS, .fallback = "256",
     .doc = "the older name of max_completion_tokens"},
    {HONOURED("max_completion_tokens", H), .type = API_INTEGER,
     .max = COMPLETION_MAX_TOKENS, .doc = "goes before max_tokens"},
    {HONOURED("max_output_tokens", R), .type = API_INTEGER,
     .max = COMPLETION_MAX_TOKENS, .fallback = "256",
     .doc = "the most tokens of the answer"},
    {HONOURED("n", C | H), .type = API_INTEGER, .min = 1,
     .max = COMPLETION_MAX_N, .fallback = "1", .doc = "choices of each prompt"},
    {HONOURED("stop", C | H),
     .schema = "{\"anyOf\":[{\"type\":\"string\",\"minLength\":1,"
               "\"pattern\":\"^[^\\\\u0000]+$\"},"
               "{\"type\":\"array\",\"maxItems\":4,\"items\":"
               "{\"type\":\"string\",\"minLength\":1,"
               "\"pattern\":\"^[^\\\\u0000]+$\"}}," NULL_TYPE "]}",
     .doc = "one to four strings; the text ends before the first of them"},

    /* --- how tokens are chosen ------------------------------------------ */
    {HONOURED("temperature", C | H | R), .type = API_NUMBER, .max = 2,
     .fallback = "1", .doc = "0: the likeliest token"},
    {HONOURED("top_p", C | H | R), .type = API_NUMBER, .max = 1,
     .fallback = "1", .doc = "the likeliest tokens with this probability"},
    {HONOURED("top_k", C | H | R), .type = API_INTEGER, .min = -1,
     .max = MODEL_MAX_VOCAB, .fallback = "0",
     .doc = "as in vLLM: the k likeliest tokens; 0 and -1: all"},
    {HONOURED("frequency_penalty", C | H), .type = API_NUMBER, .min = -2,
     .max = 2, .fallback = "0",
     .doc = "subtracted from a logit for each time that the token was "
            "generated; the prompt does not count"},
    {HONOURED("presence_penalty", C | H), .type = API_NUMBER, .min = -2,
     .max = 2, .fallback = "0",
     .doc = "subtracted once from the logits of the tokens that were "
            "generated"},
    {HONOURED("logit_bias", C | H),
     .schema = "{\"type\":[\"object\",\"null\"],\"propertyNames\":{\"$ref\":"
               "\"#/components/schemas/TokenName\"},\"additionalProperties\":"
               "{\"type\":\"number\",\"minimum\":-100,\"maximum\":100}}",
     .doc = "added to the logits of tokens by their ids; -100 bans a token"},
    {HONOURED("seed", C | H | R), .type = API_INTEGER, .min = -0x1p63,
     .max = 0x1p63,
     .doc = "the same seed, prompt and version give the same bytes; every "
            "answer names its seed"},

    /* --- what is answered ----------------------------------------------- */
    {HONOURED("echo", C), .type = API_BOOL, .fallback = "false",
     .doc = "the prompt is part of the text and of its logprobs"},
    {HONOURED("logprobs", C), .type = API_INTEGER, .max = COMPLETION_MAX_TOP,
     .doc = "log-probabilities at temperature 1, before penalties and biases, "
            "with this number of the likeliest tokens"},
    {HONOURED("logprobs", H), .type = API_BOOL, .fallback = "false",
     .doc = "log-probabilities at temperature 1, before penalties and biases"},
    {HONOURED("top_logprobs", H), .type = API_INTEGER,
     .max = COMPLETION_MAX_TOP, .doc = "the likeliest tokens; needs logprobs"},
    {HONOURED("top_logprobs", R), .type = API_INTEGER,
     .max = COMPLETION_MAX_TOP,
     .doc = "the likeliest tokens; needs message.output_text.logprobs in "
            "include"},
    {HONOURED("include", R),
     .schema = "{\"type\":[\"array\",\"null\"],\"items\":"
               "{\"enum\":[\"message.output_text.logprobs\"]}}",
     .doc = "message.output_text.logprobs; other values are refused"},
    {HONOURED("stream", C | H | R), .type = API_BOOL, .fallback = "false",
     .doc = "server-sent events"},
    {HONOURED("stream_options", C | H),
     .schema = "{\"type\":[\"object\",\"null\"],\"properties\":{"
               "\"include_usage\":{\"type\":[\"boolean\",\"null\"]},"
               "\"include_obfuscation\":{\"enum\":[false,null]}}}",
     .doc = "include_usage: the last event has the usage. Needs stream"},
    {HONOURED("stream_options", R),
     .schema = "{\"type\":[\"object\",\"null\"],\"properties\":{"
               "\"include_obfuscation\":{\"enum\":[false,null]}}}",
     .doc = "include_obfuscation: only false. Needs stream"},
    {HONOURED("encoding_format", E), .type = API_STRING,
     .fallback = "\"float\"", .values = "[\"float\",\"base64\"]",
     .doc = "base64: little-endian floats"},
    {HONOURED("dimensions", E),
     .schema = "{\"$ref\":\"#/components/schemas/Dimensions\"}",
     .doc = "only the dimension of the model: its vectors cannot be "
            "shortened"},
    {HONOURED("metadata", R), .type = API_OBJECT,
     .doc = "the answer has the same metadata"},

    /* --- no effect on an answer, as OpenAI's documentation says --------- */
    NO_EFFECT("user", C | H | E | R, API_STRING, "names the end user"),
    NO_EFFECT("safety_identifier", H | R, API_STRING, "names the end user"),
    NO_EFFECT("store", H | R, API_BOOL, "nothing is stored"),
    NO_EFFECT("metadata", H, API_OBJECT, "belongs to a stored completion"),
    NO_EFFECT("prediction", H, API_OBJECT, "may make an answer faster"),
    NO_EFFECT("prompt_cache_key", H | R, API_STRING, "may make it faster"),
    NO_EFFECT("prompt_cache_options", H | R, API_OBJECT, "may make it faster"),
    NO_EFFECT("prompt_cache_retention", H | R, API_STRING,
              "may make it faster"),
    NO_EFFECT("parallel_tool_calls", H | R, API_BOOL, "there are no tools"),
    {.name = "max_tool_calls",
     .kinds = R,
     .use = API_NO_EFFECT,
     .type = API_INTEGER,
     .max = INT32_MAX,
     .doc = "there are no tools"},

    /* --- refused -------------------------------------------------------- */
    REFUSED("suffix", C, "[\"\"]", "the model cannot fill in a middle"),
    REFUSED("best_of", C, "[1]",
            "ask for n choices with logprobs and choose one"),
    REFUSED("tools", H | R, "[[]]", TEXT_ONLY),
    REFUSED("tool_choice", H | R, "[\"none\",\"auto\"]", TEXT_ONLY),
    REFUSED("functions", H, "[[]]", TEXT_ONLY),
    REFUSED("function_call", H, "[\"none\",\"auto\"]", TEXT_ONLY),
    REFUSED("response_format", H, "[{\"type\":\"text\"}]", TEXT_ONLY),
    REFUSED("text", R,
            "[{},{\"format\":{\"type\":\"text\"}},"
            "{\"verbosity\":\"medium\"},"
            "{\"format\":{\"type\":\"text\"},\"verbosity\":\"medium\"}]",
            TEXT_ONLY),
    REFUSED("modalities", H, "[[\"text\"]]", TEXT_ONLY),
    REFUSED("audio", H, NULL, TEXT_ONLY),
    REFUSED("image", R, NULL, TEXT_ONLY),
    REFUSED("verbosity", H, "[\"medium\"]", "the model was not trained for it"),
    REFUSED("reasoning_effort", H, "[\"none\"]", "the model does not reason"),
    REFUSED("reasoning", R, "[{},{\"effort\":\"none\"}]",
            "the model does not reason"),
    REFUSED("web_search_options", H, NULL, "the daemon asks no other server"),
    REFUSED("moderation", H | R, NULL, "the daemon asks no other server"),
    REFUSED("service_tier", H | R, "[\"auto\",\"default\"]",
            "there is one tier"),
    REFUSED("background", R, "[false]", "nothing is stored"),
    REFUSED("background_options", R, NULL, "nothing is stored"),
    REFUSED("conversation", R, NULL, "nothing is stored: send all messages"),
    REFUSED("previous_response_id", R, NULL,
            "nothing is stored: send all messages"),
    REFUSED("prompt", R, NULL, "there are no stored prompts"),
    REFUSED("context_management", R, "[[]]", "see truncation"),
    REFUSED("access_programs", R, NULL, "there are none"),

    /* --- fields of vLLM that would change an answer --------------------- */
    REFUSED("min_p", C | H, "[0]", "see top_p and top_k"),
    REFUSED("repetition_penalty", C | H, "[1]",
            "see frequency_penalty and presence_penalty"),
    REFUSED("length_penalty", C | H, "[1]", "there is no beam search"),
    REFUSED("use_beam_search", C | H, "[false]", "there is no beam search"),
    REFUSED("min_tokens", C | H, "[0]",
            "ban the end-of-text token with logit_bias"),
    REFUSED("ignore_eos", C | H, "[false]",
            "ban the end-of-text token with logit_bias"),
    REFUSED("stop_token_ids", C | H, "[[]]", "see stop"),
    REFUSED("allowed_token_ids", C | H, "[[]]", "see logit_bias"),
    REFUSED("bad_words", C | H, "[[]]", "see logit_bias"),
    REFUSED("prompt_logprobs", C | H, NULL, "see echo of /v1/completions"),
};

#define N_FIELDS (sizeof fields / sizeof *fields)

/* Rules between fields, as JSON schema; the endpoints check them. */
#define UNLESS_NULL(name_, other_, rest_)                                      \
    "{\"anyOf\":[{\"required\":[\"" other_ "\"],\"properties\":{\"" other_     \
    "\":" rest_ "}},{\"properties\":{\"" name_ "\":{\"enum\":[0,null]}}}]}"
static const struct {
    unsigned kinds;
    const char *schema;
} rules[] = {
    {C | H | R, UNLESS_NULL("stream_options", "stream", "{\"const\":true}")},
    {H, UNLESS_NULL("top_logprobs", "logprobs", "{\"const\":true}")},
    {R, UNLESS_NULL("top_logprobs", "include",
                    "{\"type\":\"array\",\"minItems\":1}")},
};

/* --- checks ------------------------------------------------------------- */

static bool among(const char *values, const json_t *given)
{
    json_t *list = values ? json_loads(values, 0, NULL) : NULL;
    const json_t *one;
    bool found = false;
    size_t i;

    json_array_foreach(list, i, one) found |=
        json_is_number(one) && json_is_number(given)
            ? json_number_value(one) == json_number_value(given)
            : json_equal(one, given) == 1;
    json_decref(list);
    return found;
}

static bool check_string(struct http_request *rq, const struct api_field *f,
                         const json_t *given)
{
    const char *text = NULL;

    if (!http_get_string(rq, f->name, &text))
        return false;
    if (!f->values || among(f->values, given))
        return true;
    http_fail(rq, 400, "invalid_value", f->name, "'%s' must be one of %s",
              f->name, f->values);
    return false;
}

static bool check_field(struct http_request *rq, const struct api_field *f,
                        const json_t *given)
{
    int64_t integer, least = INT64_MIN, most = INT64_MAX;
    double number;
    bool flag;

    if (f->use == API_REFUSED) {
        if (among(f->values, given))
            return true;
        http_fail(rq, 400, "unsupported_parameter", f->name,
                  "'%s' is not supported: %s", f->name, f->doc);
        return false;
    }
    switch (f->type) {
    case API_INTEGER:
        if (f->min > -0x1p62 && f->min < f->max) {
            least = (int64_t)f->min;
            most = (int64_t)f->max;
        }
        return http_get_integer(rq, f->name, least, most, &integer);
    case API_NUMBER:
        return http_get_number(rq, f->name, f->min, f->max, &number);
    case API_BOOL:
        return http_get_bool(rq, f->name, &flag);
    case API_STRING:
        return check_string(rq, f, given);
    case API_OBJECT:
        if (json_is_object(given))
            return true;
        http_fail(rq, 400, "invalid_type", f->name, "'%s' must be an object",
                  f->name);
        return false;
    case API_ANY:
        break;
    }
    return true;
}

bool api_fields_check(struct http_request *rq, enum api_kind kind)
{
    for (size_t i = 0; i < N_FIELDS; i++) {
        const json_t *given = api_fields_value(rq, fields[i].name);

        if (!(fields[i].kinds & kind))
            continue;
        if (given && !check_field(rq, &fields[i], given))
            return false;
        if (!given && fields[i].required) {
            http_fail(rq, 400, "missing_parameter", fields[i].name,
                      "'%s' is needed", fields[i].name);
            return false;
        }
    }
    return true;
}

/* --- values ------------------------------------------------------------- */

const json_t *api_fields_value(const struct http_request *rq, const char *name)
{
    const json_t *value = json_object_get(rq->body, name);

    return json_is_null(value) ? NULL : value;
}

/* A new reference to the value or the default; NULL without both. */
static json_t *value_of(const struct http_request *rq, enum api_kind kind,
                        const char *name)
{
    for (size_t i = 0; i < N_FIELDS; i++) {
        const struct api_field *f = &fields[i];
        json_t *given = json_object_get(rq->body, name);

        if (!(f->kinds & kind) || strcmp(f->name, name) != 0)
            continue;
        if (given && !json_is_null(given))
            return json_incref(given);
        return f->fallback ? json_loads(f->fallback, JSON_DECODE_ANY, NULL)
                           : NULL;
    }
    return NULL; /* another endpoint's field */
}

int64_t api_fields_integer(const struct http_request *rq, enum api_kind kind,
                           const char *name)
{
    json_t *value = value_of(rq, kind, name);
    int64_t x = 0;

    http_integer_of(value, &x);
    json_decref(value);
    return x;
}

double api_fields_number(const struct http_request *rq, enum api_kind kind,
                         const char *name)
{
    json_t *value = value_of(rq, kind, name);
    double x = json_number_value(value);

    json_decref(value);
    return x;
}

bool api_fields_bool(const struct http_request *rq, enum api_kind kind,
                     const char *name)
{
    json_t *value = value_of(rq, kind, name);
    bool x = json_is_true(value);

    json_decref(value);
    return x;
}

const char *api_fields_string(const struct http_request *rq, enum api_kind kind,
                              const char *name)
{
    json_t *value = value_of(rq, kind, name);
    bool given = value && api_fields_value(rq, name) == value;
    const char *text = given ? json_string_value(value) : NULL;

    json_decref(value);
    return text;
}

/* --- documents ---------------------------------------------------------- */

static json_t *bound(double x, enum api_type type)
{
    if (type == API_NUMBER)
        return json_real(x);
    if (x >= 0x1p63)
        return json_integer(INT64_MAX);
    return json_integer((json_int_t)x);
}

static json_t *enum_or_null(const char *values)
{
    json_t *list = values ? json_loads(values, 0, NULL) : json_array();

    json_array_append_new(list, json_null());
    return json_pack("{s:o}", "enum", list);
}

static json_t *field_schema(const struct api_field *f)
{
    static const char *const types[] = {
        [API_INTEGER] = "integer", [API_NUMBER] = "number",
        [API_BOOL] = "boolean",    [API_STRING] = "string",
        [API_OBJECT] = "object",
    };
    json_t *o;

    if (f->use == API_REFUSED || (f->type == API_STRING && f->values))
        o = enum_or_null(f->values);
    else if (f->type == API_ANY)
        o = json_loads(f->schema, 0, NULL);
    else
        o = json_pack("{s:[s, s]}", "type", types[f->type], "null");
    if (f->min < f->max) {
        json_object_set_new(o, "minimum", bound(f->min, f->type));
        json_object_set_new(o, "maximum", bound(f->max, f->type));
    }
    if (f->type == API_STRING && !f->values) /* no NUL */
        json_object_set_new(o, "pattern", json_string("^[^\\u0000]*$"));
    if (f->fallback)
        json_object_set_new(o, "default",
                            json_loads(f->fallback, JSON_DECODE_ANY, NULL));
    json_object_set_new(o, "description",
                        json_sprintf("%s%s",
                                     f->use == API_REFUSED ? "Not supported: "
                                     : f->use == API_NO_EFFECT ? "No effect: "
                                                               : "",
                                     f->doc));
    return o;
}

json_t *api_fields_schema(enum api_kind kind)
{
    json_t *properties = json_object(), *required = json_array();
    json_t *all = json_array(), *o;

    for (size_t i = 0; i < N_FIELDS; i++) {
        if (!(fields[i].kinds & kind))
            continue;
        json_object_set_new(properties, fields[i].name,
                            field_schema(&fields[i]));
        if (fields[i].required)
            json_array_append_new(required, json_string(fields[i].name));
    }
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (rules[i].kinds & kind)
            json_array_append_new(all, json_loads(rules[i].schema, 0, NULL));
    o = json_pack("{s:s, s:o}", "type", "object", "properties", properties);
    if (json_array_size(all))
        json_object_set(o, "allOf", all);
    json_decref(all);
    if (json_array_size(required))
        json_object_set(o, "required", required);
    json_decref(required);
    return o;
}

/* Appends a line of a list, broken at column 100. */
static void add_line(struct buf *out, const char *line)
{
    size_t n = strlen(line);

    while (n > 98) {
        size_t at = 98; /* continued lines begin with two spaces */

        while (at > 0 && line[at] != ' ')
            at--;
        if (at == 0)
            break;
        buf_add(out, line, at);
        buf_adds(out, "\n  ");
        line += at + 1;
        n -= at + 1;
    }
    buf_adds(out, line);
    buf_adds(out, "\n");
}

static void add_values(struct buf *line, const char *values)
{
    json_t *list = json_loads(values, 0, NULL), *one;
    size_t i;

    json_array_foreach(list, i, one)
    {
        char *text = json_dumps(one, JSON_ENCODE_ANY | JSON_COMPACT);

        buf_addf(line, "%s `%s`", i ? " or" : ". Accepted:", text);
        free(text);
    }
    json_decref(list);
}

static void add_rows(struct buf *out, enum api_kind kind, enum api_use use)
{
    for (size_t i = 0; i < N_FIELDS; i++) {
        const struct api_field *f = &fields[i];
        struct buf line = BUF_INIT;

        if (!(f->kinds & kind) || f->use != use)
            continue;
        buf_addf(&line, "- `%s`", f->name);
        if (f->min < f->max && f->max < 0x1p31 - 1)
            buf_addf(&line, ", %g to %g", f->min, f->max);
        if (f->fallback)
            buf_addf(&line, ", default %s", f->fallback);
        buf_addf(&line, ": %s", f->doc);
        if (use == API_REFUSED && f->values)
            add_values(&line, f->values);
        add_line(out, line.data);
        buf_release(&line);
    }
}

void api_fields_document(struct buf *out)
{
    static const struct {
        enum api_kind kind;
        const char *path;
    } endpoints[] = {{C, "/v1/completions"},
                     {H, "/v1/chat/completions"},
                     {R, "/v1/responses"},
                     {E, "/v1/embeddings"}};

    buf_adds(out,
             "# Fields of OpenAI's requests\n\n"
             "Made from the table in daemon/http/completion/api_fields.c by "
             "its test, test_api_fields. GET\n"
             "/openapi.json has the same table for programs.\n\n"
             "A field that would change the answer is honoured, or refused "
             "with 400 and its name in `param`.\n"
             "null is the same as an absent field. Fields that are not listed "
             "are ignored.\n");
    for (size_t i = 0; i < sizeof endpoints / sizeof *endpoints; i++) {
        buf_addf(out, "\n## POST %s\n\nHonoured:\n\n", endpoints[i].path);
        add_rows(out, endpoints[i].kind, API_HONOURED);
        buf_adds(out, "\nNo effect on the answer:\n\n");
        add_rows(out, endpoints[i].kind, API_NO_EFFECT);
        if (endpoints[i].kind == E)
            continue;
        buf_adds(out, "\nRefused:\n\n");
        add_rows(out, endpoints[i].kind, API_REFUSED);
    }
}
