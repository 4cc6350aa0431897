/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server over a socket: three small versions in a store, a publisher that
 * does at once what it is asked, and a client that writes what it likes.
 *
 *     version 1   passed, served first
 *     version 2   passed, serves; has the labels red and blue
 *     version 3   not decided
 */
#include "config.h"

#include <arpa/inet.h>
#include <math.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/fileio.h"
#include "base/rng.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/http.h"
#include "daemon/http_impl.h"
#include "learner/head.h"
#include "learner/model.h"
#include "learner/ops.h"
#include "store/store.h"
#include "tests/store_util.h"

#define BODY_BYTES 20000
#define CONNECTIONS 6

static const struct model_shape shape = {.vocab_size = 257,
                                         .dim = 16,
                                         .layers = 1,
                                         .heads = 2,
                                         .kv_heads = 1,
                                         .head_dim = 8,
                                         .ffn_dim = 32,
                                         .context = 32,
                                         .norm_eps = 1e-5f,
                                         .rope_theta = 10000.0f,
                                         .tied = true};

static char *dir;
static struct store *store;
static struct catalog *catalog;
static struct tokenizer *tokenizer;
static struct serving *serving;
static struct control *control;
static struct status_board board;
static struct conf *conf;
static struct http *http;

/* --- versions ------------------------------------------------------------- */

static void make_weights(struct tensor_list *out, uint64_t seed)
{
    struct model *m = NULL;
    float *params;

    assert_int_equal(model_create(&shape, &m, NULL), 0);
    params = xfloats(m->n_params);
    model_init_params(m, seed, params);
    for (size_t i = 0; i < m->n_tensors; i++) {
        const struct model_tensor *t = &m->tensors[i];

        for (size_t j = 0; t->decays && j < t->count; j++)
            params[t->offset + j] =
                0.3f * (float)rng_normal(seed, RNG_INIT, i, j);
        tensor_add_copy(out, t->name, TENSOR_F32, t->n_dims, t->shape,
                        params + t->offset);
    }
    free(params);
    model_free(m);
}

/* "red" texts and "blue" ones. */
static void make_head(struct tensor_list *out)
{
    static const char *const texts[] = {"red rose and red wine",
                                        "blue sea and blue sky"};
    struct head_options o;
    struct head *h;
    float states[16] = {0};

    head_options_default(&o);
    o.dim = shape.dim;
    o.gram_slots = 256;
    h = head_create(&o);
    for (int i = 0; i < 20; i++) {
        struct head_example e = {.text = texts[i % 2],
                                 .n_bytes = 21,
                                 .states = states,
                                 .n_states = 1,
                                 .label = i % 2};

        head_step(h, &e, 1, 0.0f);
    }
    head_export(h, out, NULL);
    head_free(h);
}

static int64_t publish(int64_t parent, bool with_labels)
{
    struct tensor_list weights = TENSOR_LIST_INIT, head = TENSOR_LIST_INIT;
    struct tensor_list state = TENSOR_LIST_INIT, none = TENSOR_LIST_INIT;
    struct buf json = BUF_INIT;
    struct store_offset offset = {.topic = "text",
                                  .partition = 0,
                                  .next_offset = 100 * (parent + 1),
                                  .last_learned = -1};
    struct store_publication p = {
        .parent = parent,
        .created_ms = 1700000000123 + 1000 * parent,
        .step = 10 * parent,
        .tokens_seen = 500 * parent,
        .shape = &shape,
        .weights = &weights,
        .state = &state,
        .anchor = &none,
        .head = &head,
        .end_of_text = 256,
        .labels_json = with_labels ? "[\"red\",\"blue\"]" : "[]",
        .metadata_json = "{}",
        .offsets = &offset,
        .n_offsets = 1,
    };
    struct err err = ERR_INIT;
    int64_t version = 0;

    make_weights(&weights, (uint64_t)parent + 1);
    if (with_labels)
        make_head(&head);
    tensor_add_i64(&state, "step", &parent, 1);
    tokenizer_to_json(tokenizer, &json);
    p.tokenizer_json = json.data;
    p.tokenizer_json_bytes = json.len;
    if (store_publish(store, &p, &version, &err) != 0)
        fail_msg("%s", err.msg);
    tensor_list_release(&weights);
    tensor_list_release(&head);
    tensor_list_release(&state);
    buf_release(&json);
    return version;
}

static void pass(int64_t version)
{
    const struct store_domain_result result = {
        .domain = "prose", .bits_per_byte = 2.5, .accuracy = NAN,
        .chunks = 7};

    assert_int_equal(store_verdict(store, version, STORE_PASSED,
                                   "{\"verdict\":\"pass\"}", &result, 1, true,
                                   "better", NULL),
                     0);
}

static void serve(int64_t version)
{
    struct infer *infer = NULL;
    struct err err = ERR_INIT;

    if (serving_load(serving, version, &infer, &err) != 0)
        fail_msg("%s", err.msg);
    serving_switch(serving, version, infer);
}

/* --- what the publisher does ---------------------------------------------- */

static void wake_publisher(void *arg)
{
    struct control_operation op;
    struct err refused = {ERR_STATE, "it is pinned already"};

    (void)arg;
    while (control_take(control, false, &op))
        control_finish(control, op.id,
                       strcmp(op.reason, "fail") == 0 ? &refused : NULL,
                       "did it");
}

static void wake_nobody(void *arg)
{
    (void)arg;
}

/* --- the server ----------------------------------------------------------- */

static void start(void)
{
    struct http_context context = {conf, &board, serving, catalog, control};
    struct err err = ERR_INIT;

    if (http_start(&context, &http, &err) != 0)
        fail_msg("%s", err.msg);
}

static int setup(void **state)
{
    ops_init();
    if (util_make_temp(state) != 0)
        return -1;
    dir = *state;
    tokenizer = tokenizer_create_bytes();
    assert_int_equal(store_open(dir, NULL, 0, &store, NULL), 0);
    assert_int_equal(catalog_open(dir, &catalog, NULL), 0);
    serving = serving_create(catalog);
    serving_prepare(serving, &shape, tokenizer);
    control = control_create(wake_nobody, wake_publisher, NULL);
    status_board_init(&board);
    conf = conf_create();
    free(conf->data_dir);
    conf->data_dir = xstrdup(dir);
    conf->http.listen_port = 0;
    conf->http.max_body_bytes = BODY_BYTES;
    conf->http.max_connections = CONNECTIONS;
    for (int64_t v = 1; v <= 3; v++) {
        assert_int_equal(publish(v - 1, v == 2), v);
        if (v < 3)
            pass(v);
    }
    serve(2);
    start();
    return 0;
}

static int teardown(void **state)
{
    char *path = fileio_join(dir, "http.addr");

    http_stop(http);
    assert_false(fileio_exists(path));
    free(path);
    control_free(control);
    serving_free(serving);
    catalog_close(catalog);
    store_close(store);
    tokenizer_free(tokenizer);
    status_board_release(&board);
    conf_free(conf);
    return util_remove_temp(state);
}

static void restart(void)
{
    http_stop(http);
    start();
}

/* --- a client that writes what it likes ----------------------------------- */

static int dial(void)
{
    const char *address = http_address(http);
    struct sockaddr_in a = {.sin_family = AF_INET};
    struct timeval limit = {10, 0};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    a.sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1));
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return fd;
}

static void write_all(int fd, const char *bytes, size_t n)
{
    while (n) {
        ssize_t done = send(fd, bytes, n, MSG_NOSIGNAL);

        if (done <= 0)
            return;
        bytes += done;
        n -= (size_t)done;
    }
}

/* To the end of the connection. */
static void read_all(int fd, struct buf *out)
{
    char block[4096];
    ssize_t n;

    while ((n = recv(fd, block, sizeof block, 0)) > 0)
        buf_add(out, block, (size_t)n);
    buf_addc(out, '\0');
}

static int status_of(const struct buf *reply)
{
    return reply->len > 12 ? atoi(reply->data + 9) : 0;
}

/* Sends bytes as they are, returns the status; the whole reply in *reply. */
static int send_raw(const char *bytes, size_t n, struct buf *reply)
{
    int fd = dial();

    buf_clear(reply);
    write_all(fd, bytes, n);
    read_all(fd, reply);
    close(fd);
    return status_of(reply);
}

static int send_text(const char *text)
{
    struct buf reply = BUF_INIT;
    int status = send_raw(text, strlen(text), &reply);

    buf_release(&reply);
    return status;
}

/* A request with more header lines (or ""); the last reply is kept. */
static struct buf last;

static int request(const char *method, const char *path, const char *headers,
                   const char *body, size_t n)
{
    struct buf b = BUF_INIT;
    int status;

    buf_addf(&b,
             "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
             "Content-Length: %zu\r\n%s\r\n",
             method, path, n, headers);
    buf_add(&b, body, n);
    status = send_raw(b.data, b.len, &last);
    buf_release(&b);
    return status;
}

static const char *last_body(void)
{
    const char *body = strstr(last.data, "\r\n\r\n");

    assert_non_null(body);
    return body + 4;
}

static int64_t last_version(void)
{
    const char *header = strstr(last.data, "X-Mneme-Version: ");

    return header ? atoll(header + 17) : 0;
}

/* *json, when wanted, to be released. */
static int ask(const char *method, const char *path, const char *body,
               json_t **json)
{
    int status = request(method, path, "", body ? body : "",
                         body ? strlen(body) : 0);

    if (json) {
        *json = json_loads(last_body(), JSON_ALLOW_NUL, NULL);
        assert_non_null(*json);
    }
    return status;
}

static json_t *get(const char *path)
{
    json_t *json = NULL;

    assert_int_equal(ask("GET", path, NULL, &json), 200);
    return json;
}

static json_t *post(const char *path, const char *body)
{
    json_t *json = NULL;
    int status = ask("POST", path, body, &json);

    if (status != 200)
        fail_msg("%s %s: %s", path, body, last_body());
    return json;
}

/* Every error has OpenAI's shape. */
static void refused(int status, const char *method, const char *path,
                    const char *body)
{
    json_t *json = NULL;
    int got = ask(method, path, body, &json);
    const json_t *error = json_object_get(json, "error");

    if (got != status)
        fail_msg("%s %s: %d, not %d", path, body ? body : "", got, status);
    assert_true(json_is_string(json_object_get(error, "message")));
    assert_true(json_is_string(json_object_get(error, "type")));
    assert_true(json_is_string(json_object_get(error, "code")));
    assert_non_null(json_object_get(error, "param"));
    json_decref(json);
}

static int64_t integer(const json_t *o, const char *key)
{
    if (!json_is_integer(json_object_get(o, key)))
        fail_msg("%s is no integer", key);
    return json_integer_value(json_object_get(o, key));
}

static const char *string(const json_t *o, const char *key)
{
    if (!json_is_string(json_object_get(o, key)))
        fail_msg("%s is no string", key);
    return json_string_value(json_object_get(o, key));
}

/* --- looking -------------------------------------------------------------- */

static void test_status(void **state)
{
    json_t *j = get("/v1/status");

    (void)state;
    assert_string_equal(string(j, "state"), "starting");
    assert_true(json_is_null(json_object_get(j, "reason")));
    json_decref(j);
    json_decref(get("/healthz"));
    j = get("/readyz");
    assert_int_equal(integer(j, "version"), 2);
    json_decref(j);
    j = get("/v1/domains");
    assert_true(json_is_array(json_object_get(j, "domains")));
    json_decref(j);
    assert_int_equal(request("GET", "/metrics", "", "", 0), 200);
    assert_non_null(strstr(last.data, "\nmneme_up 1\n"));
    assert_int_equal(request("HEAD", "/v1/status", "", "", 0), 200);
    assert_string_equal(last_body(), "");
}

static void test_versions(void **state)
{
    json_t *j = get("/v1/versions"), *list, *v, *holdout;

    (void)state;
    list = json_object_get(j, "versions");
    assert_int_equal(json_array_size(list), 3);
    v = json_array_get(list, 0);
    assert_int_equal(integer(v, "version"), 3);
    assert_string_equal(string(v, "state"), "pending");
    assert_true(json_is_null(json_object_get(v, "gate")));
    json_decref(j);

    v = get("/v1/versions/2");
    assert_int_equal(integer(v, "parent"), 1);
    assert_int_equal(integer(v, "created"), 1700000001);
    assert_string_equal(string(v, "created_at"), "2023-11-14T22:13:21.123Z");
    assert_int_equal(strlen(string(v, "weights_sha256")), 64);
    assert_true(json_is_true(json_object_get(v, "serving")));
    assert_false(json_is_true(json_object_get(v, "head")));
    assert_int_equal(
        integer(json_array_get(json_object_get(v, "offsets"), 0), "offset"),
        200);
    holdout = json_object_get(json_object_get(v, "holdout"), "prose");
    assert_int_equal(integer(holdout, "chunks"), 7);
    assert_true(json_is_null(json_object_get(holdout, "accuracy")));
    assert_string_equal(string(json_object_get(v, "gate"), "verdict"),
                        "pass");
    json_decref(v);

    j = get("/v1/versions?before=3&limit=1");
    list = json_object_get(j, "versions");
    assert_int_equal(json_array_size(list), 1);
    assert_int_equal(integer(json_array_get(list, 0), "version"), 2);
    json_decref(j);
    refused(404, "GET", "/v1/versions/999", NULL);
    refused(404, "GET", "/v1/versions/two", NULL);
    refused(404, "GET", "/v1/versions/99999999999999999999", NULL);
    refused(400, "GET", "/v1/versions?limit=-1", NULL);
    refused(400, "GET", "/v1/versions?limit=x", NULL);
}

static void test_history(void **state)
{
    json_t *j = get("/v1/history");
    const json_t *list = json_object_get(j, "history");

    (void)state;
    assert_int_equal(json_array_size(list), 2);
    assert_int_equal(integer(json_array_get(list, 0), "version"), 2);
    assert_int_equal(integer(json_array_get(list, 0), "previous"), 1);
    assert_true(json_is_null(
        json_object_get(json_array_get(list, 0), "until")));
    json_decref(j);
}

static void test_paths(void **state)
{
    (void)state;
    refused(404, "GET", "/nothing", NULL);
    refused(404, "GET", "/v1/versions/", NULL);
    refused(404, "GET", "/v1/versions/1/2", NULL);
    refused(404, "POST", "/v1/versions//pin", "{}");
    refused(405, "DELETE", "/v1/score", NULL);
    assert_non_null(strstr(last.data, "\r\nAllow: POST\r\n"));
    refused(405, "POST", "/v1/status", "{}");
    refused(405, "GET", "/v1/rollback", NULL);
}

/* --- models --------------------------------------------------------------- */

static int64_t version_of(const char *model)
{
    char *body = xasprintf("{\"text\":\"a\",\"model\":\"%s\"}", model);
    json_t *j = post("/v1/score", body);
    int64_t version = integer(j, "version");

    assert_int_equal(version, last_version());
    json_decref(j);
    free(body);
    return version;
}

static void test_models(void **state)
{
    json_t *j = get("/v1/models");

    (void)state;
    assert_int_equal(json_array_size(json_object_get(j, "data")), 4);
    json_decref(j);
    j = get("/v1/models/mneme%401");
    assert_string_equal(string(j, "id"), "mneme@1");
    json_decref(j);
    refused(404, "GET", "/v1/models/mneme@9", NULL);
    assert_int_equal(version_of("mneme"), 2);
    assert_int_equal(version_of("mneme@1"), 1);
    assert_int_equal(version_of("mneme@latest"), 3);
    assert_int_equal(version_of("mneme@previous"), 1);
}

static void test_unknown_models(void **state)
{
    static const char *const names[] = {
        "gpt-4", "mneme@", "mneme@0", "mneme@-1", "mneme@999", "mneme@1x",
        "mneme@99999999999999999999", "MNEME", "mneme2"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *body = xasprintf("{\"text\":\"a\",\"model\":\"%s\"}", names[i]);

        refused(404, "POST", "/v1/score", body);
        free(body);
    }
    refused(400, "POST", "/v1/score", "{\"text\":\"a\",\"model\":7}");
}

/* A bit is flipped in version 3's file: asked for by name it is refused, the
 * others answer. */
static void test_damaged(void **state)
{
    char *path = xasprintf("%s/versions/000003/model.safetensors", dir);
    int64_t damaged;
    FILE *f;
    int byte;

    (void)state;
    damaged = publish(3, false);
    free(path);
    path = xasprintf("%s/versions/%06lld/model.safetensors", dir,
                     (long long)damaged);
    f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, -40, SEEK_END);
    byte = fgetc(f);
    fseek(f, -40, SEEK_END);
    fputc(byte ^ 1, f);
    fclose(f);
    free(path);
    refused(409, "POST", "/v1/score",
            "{\"text\":\"a\",\"model\":\"mneme@latest\"}");
    assert_non_null(strstr(last.data, "version 4"));
    assert_int_equal(version_of("mneme"), 2);
}

/* --- texts ---------------------------------------------------------------- */

static void test_score(void **state)
{
    json_t *j = post("/v1/score", "{\"text\":[\"abc\",\"\",\"a\\u0000b\"],"
                                  "\"tokens\":true,\"unknown\":[1]}");
    const json_t *results = json_object_get(j, "results");
    const json_t *first = json_array_get(results, 0), *tokens;
    double nats = 0;

    (void)state;
    assert_int_equal(json_array_size(results), 3);
    assert_int_equal(integer(first, "bytes"), 3);
    assert_int_equal(integer(first, "tokens"), 3);
    tokens = json_object_get(first, "logprobs");
    assert_int_equal(json_array_size(tokens), 3);
    for (size_t i = 0; i < 3; i++)
        nats -= json_real_value(
            json_object_get(json_array_get(tokens, i), "logprob"));
    assert_float_equal(
        json_real_value(json_object_get(first, "bits_per_byte")),
        nats / log(2) / 3, 1e-5);
    assert_int_equal(integer(json_array_get(results, 1), "bytes"), 0);
    assert_int_equal(integer(json_array_get(results, 2), "bytes"), 3);
    json_decref(j);
}

static void test_classify(void **state)
{
    json_t *j = post("/v1/classify", "{\"text\":\"red wine\",\"top_k\":1}");
    const json_t *one = json_array_get(json_object_get(j, "results"), 0);

    (void)state;
    assert_string_equal(string(one, "label"), "red");
    assert_int_equal(json_array_size(json_object_get(one, "scores")), 1);
    json_decref(j);
    refused(409, "POST", "/v1/classify",
            "{\"text\":\"red\",\"model\":\"mneme@1\"}");
    refused(400, "POST", "/v1/classify", "{\"text\":\"red\",\"top_k\":0}");
}

static void test_tokens(void **state)
{
    json_t *j = post("/tokenize", "{\"prompt\":\"a\xc3\xa4\"}");

    (void)state;
    assert_int_equal(json_array_size(json_object_get(j, "tokens")), 3);
    json_decref(j);
    j = post("/detokenize", "{\"tokens\":[97,195,164]}");
    assert_string_equal(string(j, "prompt"), "a\xc3\xa4");
    json_decref(j);
    j = get("/tokenizer_info");
    assert_int_equal(integer(j, "eos_token_id"), 256);
    json_decref(j);
    refused(400, "POST", "/detokenize", "{\"tokens\":[97,257]}");
    refused(400, "POST", "/detokenize", "{\"tokens\":\"abc\"}");
}

static void test_embeddings(void **state)
{
    json_t *j = post("/v1/embeddings", "{\"input\":[\"abc\",\"de\"]}");
    const json_t *data = json_object_get(j, "data");
    const json_t *x = json_object_get(json_array_get(data, 1), "embedding");
    double length = 0;

    (void)state;
    assert_int_equal(json_array_size(x), shape.dim);
    for (size_t i = 0; i < json_array_size(x); i++)
        length += pow(json_real_value(json_array_get(x, i)), 2);
    assert_float_equal(length, 1, 1e-4);
    json_decref(j);
    j = post("/v1/embeddings",
             "{\"input\":\"abc\",\"encoding_format\":\"base64\"}");
    x = json_object_get(json_array_get(json_object_get(j, "data"), 0),
                        "embedding");
    assert_int_equal(json_string_length(x), (4 * 16 + 2) / 3 * 4);
    json_decref(j);
}

/* --- completions ---------------------------------------------------------- */

static const json_t *choice(const json_t *j, size_t i)
{
    return json_array_get(json_object_get(j, "choices"), i);
}

static void test_completions(void **state)
{
    static const char ask_for[] = "{\"prompt\":\"abc\",\"max_tokens\":8,"
                                  "\"seed\":5,\"temperature\":0.7}";
    json_t *a = post("/v1/completions", ask_for);
    json_t *b = post("/v1/completions", ask_for);

    (void)state;
    assert_string_equal(string(choice(a, 0), "text"),
                        string(choice(b, 0), "text"));
    assert_string_equal(string(a, "model"), "mneme@2");
    assert_int_equal(integer(a, "seed"), 5);
    assert_int_equal(integer(json_object_get(a, "usage"), "prompt_tokens"),
                     3);
    json_decref(a);
    json_decref(b);
    a = post("/v1/completions",
             "{\"prompt\":[[97],[98,99]],\"max_tokens\":2,\"n\":2}");
    assert_int_equal(json_array_size(json_object_get(a, "choices")), 4);
    assert_int_equal(integer(choice(a, 3), "index"), 3);
    json_decref(a);
    a = post("/v1/completions", "{\"max_tokens\":0}");
    assert_string_equal(string(choice(a, 0), "text"), "");
    json_decref(a);
}

/* A seed that was drawn gives the same answer when it is sent back. */
static void test_drawn_seed(void **state)
{
    json_t *a = post("/v1/completions", "{\"prompt\":\"q\"}");
    char *body = xasprintf("{\"prompt\":\"q\",\"seed\":%lld}",
                           (long long)integer(a, "seed"));
    json_t *b = post("/v1/completions", body);

    (void)state;
    assert_string_equal(string(choice(a, 0), "text"),
                        string(choice(b, 0), "text"));
    json_decref(a);
    json_decref(b);
    free(body);
}

/* As an evaluation harness scores a text. */
static void test_echo(void **state)
{
    json_t *scored = post("/v1/score", "{\"text\":\"abcd\"}");
    json_t *j = post("/v1/completions", "{\"prompt\":\"abcd\",\"echo\":true,"
                                        "\"max_tokens\":0,\"logprobs\":2}");
    const json_t *l = json_object_get(choice(j, 0), "logprobs");
    const json_t *logprobs = json_object_get(l, "token_logprobs");
    double nats = 0;

    (void)state;
    assert_string_equal(string(choice(j, 0), "text"), "abcd");
    assert_int_equal(json_array_size(logprobs), 4);
    assert_int_equal(json_array_size(json_object_get(l, "tokens")), 4);
    assert_int_equal(json_array_size(json_object_get(l, "top_logprobs")), 4);
    assert_int_equal(
        json_integer_value(
            json_array_get(json_object_get(l, "text_offset"), 3)),
        3);
    for (size_t i = 0; i < 4; i++)
        nats -= json_real_value(json_array_get(logprobs, i));
    assert_float_equal(
        nats / log(2) / 4,
        json_real_value(json_object_get(
            json_array_get(json_object_get(scored, "results"), 0),
            "bits_per_byte")),
        1e-4);
    json_decref(scored);
    json_decref(j);
}

/* The texts of a stream's events, one after another. */
static void join_events(struct buf *out)
{
    const char *at = last.data;

    while ((at = strstr(at, "data: {"))) {
        const char *end = strstr(at, "\n\n");
        json_t *j = json_loadb(at + 6, (size_t)(end - at) - 6, 0, NULL);

        assert_non_null(j);
        buf_adds(out, string(choice(j, 0), "text"));
        json_decref(j);
        at = end;
    }
    buf_addc(out, '\0');
}

static void test_stream(void **state)
{
    static const char streamed[] = "{\"prompt\":\"abc\",\"max_tokens\":30,"
                                   "\"seed\":5,\"stream\":true}";
    struct buf text = BUF_INIT;
    json_t *whole = post("/v1/completions", "{\"prompt\":\"abc\","
                                            "\"max_tokens\":30,\"seed\":5}");

    (void)state;
    /* HTTP/1.0 knows no chunks: the events come as they are. */
    buf_addf(&text,
             "POST /v1/completions HTTP/1.0\r\nContent-Length: %zu\r\n\r\n%s",
             strlen(streamed), streamed);
    assert_int_equal(send_raw(text.data, text.len, &last), 200);
    assert_int_equal(last_version(), 2);
    assert_non_null(strstr(last.data, "text/event-stream"));
    assert_non_null(strstr(last.data, "data: [DONE]\n\n"));
    buf_clear(&text);
    join_events(&text);
    assert_string_equal(text.data, string(choice(whole, 0), "text"));
    json_decref(whole);
    buf_release(&text);
}

static void test_chat(void **state)
{
    json_t *j = post("/v1/chat/completions",
                     "{\"messages\":[{\"role\":\"user\",\"content\":"
                     "[{\"type\":\"text\",\"text\":\"abc\"}]}],"
                     "\"max_completion_tokens\":3}");

    (void)state;
    assert_string_equal(
        string(json_object_get(choice(j, 0), "message"), "role"),
        "assistant");
    json_decref(j);
    refused(400, "POST", "/v1/chat/completions", "{\"messages\":[]}");
    refused(400, "POST", "/v1/chat/completions", "{\"messages\":\"a\"}");
    refused(400, "POST", "/v1/chat/completions", "{}");
}

/* --- what is wrong with a request ----------------------------------------- */

static void test_bad_json(void **state)
{
    static const char *const bodies[] = {
        "{not json", "[]", "\"text\"", "{\"text\":\"a\"} x",
        "{\"text\":\"a\",\"text\":\"b\"}", "{\"text\":\"\xff\"}",
        "{\"text\":\"\\ud800\"}", "{\"text\":1e999}",
        "{\"text\":99999999999999999999999}", "{}", "{\"text\":5}",
        "{\"text\":null}", "{\"text\":[]}", "{\"text\":[1]}",
        "{\"text\":\"a\",\"tokens\":1}"};

    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        refused(400, "POST", "/v1/score", bodies[i]);
}

static void test_deep_json(void **state)
{
    char *deep = xmalloc(BODY_BYTES);

    (void)state;
    memset(deep, '[', BODY_BYTES);
    assert_int_equal(request("POST", "/v1/score", "", deep, BODY_BYTES), 400);
    assert_non_null(strstr(last.data, "deeper"));
    free(deep);
}

static void test_bad_completions(void **state)
{
    static const char *const bodies[] = {
        "{\"max_tokens\":-1}", "{\"max_tokens\":1000000000}",
        "{\"max_tokens\":1.5}", "{\"temperature\":-1}",
        "{\"temperature\":\"hot\"}", "{\"top_p\":2}", "{\"n\":0}",
        "{\"n\":1000}", "{\"seed\":\"x\"}", "{\"stop\":[1]}",
        "{\"stop\":\"\"}", "{\"stop\":[\"a\",\"b\",\"c\",\"d\",\"e\"]}",
        "{\"prompt\":{}}", "{\"prompt\":[]}", "{\"prompt\":[1,\"a\"]}",
        "{\"prompt\":[-1]}", "{\"prompt\":[257]}", "{\"prompt\":[[1],2]}",
        "{\"echo\":1}", "{\"logprobs\":1000}", "{\"stream\":\"yes\"}"};

    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        refused(400, "POST", "/v1/completions", bodies[i]);
}

static void test_too_large(void **state)
{
    char *body = xmalloc(2 * BODY_BYTES);

    (void)state;
    memset(body, 'x', 2 * BODY_BYTES);
    assert_int_equal(
        request("POST", "/v1/score", "", body, BODY_BYTES + 1), 413);
    assert_int_equal(
        send_text("POST /v1/score HTTP/1.1\r\nHost: localhost\r\n"
                  "Expect: 100-continue\r\nContent-Length: 30000\r\n\r\n"),
        413);
    assert_int_equal(
        send_text("POST /v1/score HTTP/1.1\r\nHost: localhost\r\n"
                  "Content-Length: 900000000000\r\n\r\n"),
        413);
    free(body);
}

/* A length that is not announced is counted. */
static void test_too_large_in_chunks(void **state)
{
    struct buf b = BUF_INIT;

    (void)state;
    buf_adds(&b, "POST /v1/score HTTP/1.1\r\nHost: localhost\r\n"
                 "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 30; i++)
        buf_addf(&b, "3e8\r\n%01000d\r\n", 7);
    buf_adds(&b, "0\r\n\r\n");
    assert_int_equal(send_raw(b.data, b.len, &last), 413);
    buf_release(&b);
}

static void test_framing(void **state)
{
    (void)state;
    assert_int_equal(
        send_text("POST /v1/score HTTP/1.1\r\nHost: localhost\r\n"
                  "Content-Length: 12\r\nContent-Length: 12\r\n\r\n"
                  "{\"text\":\"a\"}"),
        400);
    assert_int_equal(
        send_text("POST /v1/score HTTP/1.1\r\nHost: localhost\r\n"
                  "Content-Length: 12\r\nTransfer-Encoding: chunked\r\n\r\n"
                  "c\r\n{\"text\":\"a\"}\r\n0\r\n\r\n"),
        400);
    assert_int_equal(
        send_text("POST /v1/score HTTP/1.1\r\nHost: localhost\r\n"
                  "Content-Length: -1\r\n\r\n{\"text\":\"a\"}"),
        400);
}

/* A page somewhere must not roll back through a browser here. */
static void test_origin(void **state)
{
    (void)state;
    assert_int_equal(request("POST", "/v1/rollback",
                             "Origin: http://elsewhere.example\r\n", "{}", 2),
                     403);
    assert_int_equal(request("GET", "/v1/status",
                             "Origin: http://localhost\r\n", "", 0),
                     200);
    assert_int_equal(
        send_text("GET /v1/status HTTP/1.1\r\nHost: elsewhere.example\r\n"
                  "Connection: close\r\n\r\n"),
        403);
    assert_int_equal(
        send_text("GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1:6636\r\n"
                  "Connection: close\r\n\r\n"),
        200);
}

/* --- operations ----------------------------------------------------------- */

static void test_pin(void **state)
{
    json_t *j = post("/v1/versions/1/pin", "");

    (void)state;
    assert_string_equal(string(j, "state"), "done");
    assert_string_equal(string(j, "detail"), "did it");
    json_decref(j);
    json_decref(post("/v1/versions/1/unpin", "{}"));
    json_decref(post("/v1/versions/1/promote", "{\"reason\":\"so\"}"));
    json_decref(post("/v1/versions/latest/promote", ""));
    refused(404, "POST", "/v1/versions/999/pin", "");
    refused(404, "POST", "/v1/versions/latest/pin", "");
    refused(409, "POST", "/v1/versions/1/pin", "{\"reason\":\"fail\"}");
    refused(400, "POST", "/v1/versions/1/pin", "{\"reason\":7}");
}

static void test_rollback(void **state)
{
    struct control_operation op;
    json_t *j = NULL;
    char *path;

    (void)state;
    assert_int_equal(ask("POST", "/v1/rollback",
                         "{\"version\":1,\"reason\":\"worse\"}", &j),
                     202);
    path = xstrdup(string(j, "href"));
    assert_int_equal(integer(j, "operation"), integer(j, "id"));
    json_decref(j);
    j = get(path);
    assert_string_equal(string(j, "state"), "queued");
    assert_string_equal(string(j, "kind"), "rollback_rewind");
    json_decref(j);
    assert_true(control_take(control, true, &op));
    assert_string_equal(op.reason, "worse");
    control_finish(control, op.id, NULL, "went back");
    j = get(path);
    assert_string_equal(string(j, "state"), "done");
    assert_string_equal(string(j, "detail"), "went back");
    json_decref(j);
    free(path);
}

static void test_bad_rollback(void **state)
{
    (void)state;
    refused(404, "POST", "/v1/rollback", "{\"version\":999}");
    refused(400, "POST", "/v1/rollback", "{}");
    refused(400, "POST", "/v1/rollback", "{\"version\":\"1\"}");
    refused(400, "POST", "/v1/rollback", "{\"version\":-1}");
    refused(400, "POST", "/v1/rollback",
            "{\"version\":1,\"stream\":\"sideways\"}");
    refused(404, "GET", "/v1/operations/99", NULL);
    refused(404, "GET", "/v1/operations/x", NULL);
}

/* A reason that must be cut is cut between characters. */
static void test_long_reason(void **state)
{
    struct control_operation op;
    struct buf body = BUF_INIT;

    (void)state;
    buf_adds(&body, "{\"version\":1,\"reason\":\"");
    for (int i = 0; i < 300; i++)
        buf_adds(&body, "\xe2\x82\xac");
    buf_adds(&body, "\"}");
    assert_int_equal(ask("POST", "/v1/rollback", body.data, NULL), 202);
    assert_true(control_take(control, true, &op));
    control_finish(control, op.id, NULL, "");
    buf_release(&body);
}

/* --- limits --------------------------------------------------------------- */

static void test_connections(void **state)
{
    int fds[CONNECTIONS];

    (void)state;
    for (size_t i = 0; i < CONNECTIONS; i++)
        fds[i] = dial();
    timing_sleep_ms(100); /* all are accepted */
    refused(429, "GET", "/v1/status", NULL);
    assert_non_null(strstr(last.data, "\r\nRetry-After: "));
    for (size_t i = 0; i < CONNECTIONS; i++)
        close(fds[i]);
    timing_sleep_ms(100);
    json_decref(get("/v1/status"));
}

static void *wait_for_place(void *arg)
{
    http_places_take(arg, NULL);
    http_places_give(arg);
    return NULL;
}

static void test_places(void **state)
{
    struct http_places *p = http_places_create(1, 0);
    struct err err = ERR_INIT;
    pthread_t thread;

    (void)state;
    assert_int_equal(http_places_take(p, NULL), 0);
    assert_int_equal(http_places_take(p, &err), ERR_AGAIN);
    http_places_give(p);
    http_places_free(p);

    p = http_places_create(1, 1);
    assert_int_equal(http_places_take(p, NULL), 0);
    pthread_create(&thread, NULL, wait_for_place, p);
    http_places_give(p);
    pthread_join(thread, NULL);
    http_places_close(p);
    assert_int_equal(http_places_take(p, &err), ERR_STATE);
    http_places_free(p);
}

/* A byte now and then keeps no connection: the deadline is absolute. */
static void test_slow(void **state)
{
    static int64_t now;
    struct buf reply = BUF_INIT;
    int fd;

    (void)state;
    http_stop(http);
    now = timing_wall_ms();
    timing_set_fake(&now);
    start();
    fd = dial();
    write_all(fd, "GET /healthz HT", 15);
    timing_sleep_ms(50);
    now += 31000;
    write_all(fd, "T", 1);
    read_all(fd, &reply);
    assert_int_equal(status_of(&reply), 0);
    close(fd);
    http_stop(http);
    timing_set_fake(NULL);
    start();
    buf_release(&reply);
}

/* --- tokens --------------------------------------------------------------- */

static int with_token(const char *method, const char *path, const char *token)
{
    char *headers = xasprintf("Authorization: Bearer %s\r\n", token);
    int status = request(method, path, headers, "", 0);

    free(headers);
    return status;
}

static void write_tokens(const char *text)
{
    assert_int_equal(fileio_write_atomic(conf->http.token_file, text,
                                         strlen(text), NULL),
                     0);
}

static void test_tokens_needed(void **state)
{
    struct err err = ERR_INIT;

    (void)state;
    conf->http.token_file = fileio_join(dir, "tokens");
    write_tokens("# two\n\ninfer reader-1\nadmin owner-1\n");
    restart();
    refused(401, "GET", "/v1/status", NULL);
    assert_non_null(strstr(last.data, "WWW-Authenticate: Bearer"));
    json_decref(get("/healthz"));
    assert_int_equal(with_token("GET", "/v1/status", "reader-1"), 200);
    assert_int_equal(with_token("GET", "/v1/status", "owner-1"), 200);
    assert_int_equal(with_token("GET", "/v1/status", "reader-"), 401);
    assert_int_equal(with_token("GET", "/v1/status", "reader-12"), 401);
    assert_int_equal(with_token("GET", "/v1/status", ""), 401);
    assert_int_equal(with_token("POST", "/v1/versions/1/pin", "reader-1"),
                     403);
    assert_int_equal(with_token("POST", "/v1/versions/1/pin", "owner-1"),
                     200);

    write_tokens("infer reader-2\n");
    assert_int_equal(http_reload(http, &err), 0);
    assert_int_equal(with_token("GET", "/v1/status", "reader-1"), 401);
    assert_int_equal(with_token("GET", "/v1/status", "reader-2"), 200);
    write_tokens("reader reader-3\n");
    assert_int_equal(http_reload(http, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "tokens:1"));
    assert_null(strstr(err.msg, "reader-3"));
    assert_int_equal(with_token("GET", "/v1/status", "reader-2"), 200);

    unlink(conf->http.token_file);
    free(conf->http.token_file);
    conf->http.token_file = NULL;
    restart();
}

/* --- addresses ------------------------------------------------------------ */

static void test_address(void **state)
{
    struct http_context context = {conf, &board, serving, catalog, control};
    char *path = fileio_join(dir, "http.addr");
    struct buf text = BUF_INIT;
    struct err err = ERR_INIT;
    struct http *other = NULL;
    char *line = xasprintf("%s\n", http_address(http));

    (void)state;
    assert_int_equal(fileio_read(path, 100, &text, NULL), 0);
    assert_string_equal(text.data, line);
    conf->http.listen_port = atoi(strrchr(http_address(http), ':') + 1);
    assert_int_equal(http_start(&context, &other, &err), ERR_IO);
    assert_non_null(strstr(err.msg, "http.listen"));
    conf->http.listen_port = 0;
    assert_true(fileio_exists(path));
    free(line);
    free(path);
    buf_release(&text);
}

static int dial_unix(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

/* A socket file that a killed daemon left is replaced, one in use is not. */
static void test_unix_socket(void **state)
{
    struct http_context context = {conf, &board, serving, catalog, control};
    char *host = conf->http.listen_host, *path = fileio_join(dir, "socket");
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    static const char text[] =
        "GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    struct http *other = NULL;

    (void)state;
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    close(fd);
    conf->http.listen_kind = CONF_LISTEN_UNIX;
    conf->http.listen_host = path;
    restart();
    assert_int_equal(http_start(&context, &other, NULL), ERR_IO);
    fd = dial_unix(path);
    write_all(fd, text, sizeof text - 1);
    buf_clear(&last);
    read_all(fd, &last);
    close(fd);
    assert_int_equal(status_of(&last), 200);
    conf->http.listen_kind = CONF_LISTEN_TCP;
    conf->http.listen_host = host;
    restart();
    assert_false(fileio_exists(path));
    free(path);
}

/* --- before a version serves ---------------------------------------------- */

static void test_not_ready(void **state)
{
    struct serving *old = serving;

    (void)state;
    serving = serving_create(catalog);
    serving_prepare(serving, &shape, tokenizer);
    restart();
    json_decref(get("/healthz"));
    refused(503, "GET", "/readyz", NULL);
    refused(503, "POST", "/v1/score", "{\"text\":\"a\"}");
    assert_int_equal(version_of("mneme@1"), 1);
    http_stop(http);
    serving_free(serving);
    serving = old;
    start();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_history),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_models),
        cmocka_unit_test(test_unknown_models),
        cmocka_unit_test(test_score),
        cmocka_unit_test(test_classify),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_embeddings),
        cmocka_unit_test(test_completions),
        cmocka_unit_test(test_drawn_seed),
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_chat),
        cmocka_unit_test(test_bad_json),
        cmocka_unit_test(test_deep_json),
        cmocka_unit_test(test_bad_completions),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_too_large_in_chunks),
        cmocka_unit_test(test_framing),
        cmocka_unit_test(test_origin),
        cmocka_unit_test(test_pin),
        cmocka_unit_test(test_rollback),
        cmocka_unit_test(test_bad_rollback),
        cmocka_unit_test(test_long_reason),
        cmocka_unit_test(test_connections),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_slow),
        cmocka_unit_test(test_tokens_needed),
        cmocka_unit_test(test_address),
        cmocka_unit_test(test_unix_socket),
        cmocka_unit_test(test_not_ready),
        cmocka_unit_test(test_damaged),
    };
    int rc = cmocka_run_group_tests(tests, setup, teardown);

    buf_release(&last);
    return rc;
}
