/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server whole, over sockets: two versions in a store of its own, what
 * answers from them, and every way to ask wrongly. Operations are carried out
 * by a publisher that only says so.
 */
#include "config.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fileio.h"
#include "base/rng.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "conf/conf.h"
#include "daemon/http.h"
#include "learner/head.h"
#include "learner/model.h"
#include "learner/ops.h"
#include "store/store.h"
#include "tests/store_util.h"

#define MAX_BODY 4096
#define ADMIN "admin-token-of-the-test"
#define INFER "infer-token-of-the-test"

static const struct model_shape shape = {.vocab_size = 257,
                                         .dim = 32,
                                         .layers = 1,
                                         .heads = 2,
                                         .kv_heads = 1,
                                         .head_dim = 16,
                                         .ffn_dim = 48,
                                         .context = 16,
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
static int port;

/* --- a store with two versions ------------------------------------------ */

static void fill_weights(struct tensor_list *out, float **params, int seed)
{
    struct model *m;

    assert_int_equal(model_create(&shape, &m, NULL), 0);
    *params = xfloats(m->n_params);
    model_init_params(m, (uint64_t)seed, *params);
    for (size_t i = 0; i < m->n_tensors; i++) {
        const struct model_tensor *t = &m->tensors[i];

        for (size_t j = 0; t->decays && j < t->count; j++)
            (*params)[t->offset + j] =
                0.2f * (float)rng_normal((uint64_t)seed, RNG_INIT, i, j);
        tensor_add_borrowed(out, t->name, TENSOR_F32, t->n_dims, t->shape,
                            *params + t->offset);
    }
    model_free(m);
}

static void fill_head(struct tensor_list *out)
{
    struct head_options o;
    struct head *h;
    float states[32];

    head_options_default(&o);
    o.dim = shape.dim;
    o.gram_slots = 256;
    h = head_create(&o);
    for (int i = 0; i < 20; i++) {
        struct head_example e = {
            .text = i % 2 ? "blue sea and blue sky" : "red rose and red wine",
            .n_bytes = 21,
            .states = states,
            .n_states = 1,
            .label = i % 2,
        };

        for (int j = 0; j < shape.dim; j++)
            states[j] = (float)rng_normal(9, RNG_INIT, (uint64_t)i,
                                          (uint64_t)j);
        head_step(h, &e, 1);
    }
    head_export(h, out, NULL);
    head_free(h);
}

static void publish(int64_t parent, int seed)
{
    struct tensor_list weights = TENSOR_LIST_INIT, head = TENSOR_LIST_INIT,
                       none = TENSOR_LIST_INIT;
    struct store_domain_result result = {"news", 1.5, 0.5, 40};
    struct buf json = BUF_INIT;
    struct store_offset offset = {0, "text", 0, 10 * seed, 0, -1, 0};
    struct err err = ERR_INIT;
    int64_t version;
    float *params;

    fill_weights(&weights, &params, seed);
    fill_head(&head);
    tokenizer_to_json(tokenizer, &json);
    struct store_publication p = {.parent = parent,
                                  .created_ms = 1700000000000 + seed,
                                  .step = 10 * seed,
                                  .tokens_seen = 100 * seed,
                                  .shape = &shape,
                                  .weights = &weights,
                                  .state = &none,
                                  .anchor = &none,
                                  .head = &head,
                                  .tokenizer_json = json.data,
                                  .tokenizer_json_bytes = json.len,
                                  .end_of_text = 256,
                                  .labels_json = "[\"red\",\"blue\"]",
                                  .metadata_json = "{}",
                                  .offsets = &offset,
                                  .n_offsets = 1};
    if (store_publish(store, &p, &version, &err) != 0 ||
        store_verdict(store, version, STORE_PASSED, "{\"verdict\":\"pass\"}",
                      NULL, &result, 1, true, "better", &err) != 0)
        fail_msg("%s", err.msg);
    buf_release(&json);
    tensor_list_release(&weights);
    tensor_list_release(&head);
    free(params);
}

static void serve(int64_t version)
{
    struct infer *infer;
    struct err err = ERR_INIT;

    if (serving_load(serving, version, &infer, &err) != 0)
        fail_msg("%s", err.msg);
    serving_switch(serving, version, infer);
}

/* --- the server --------------------------------------------------------- */

/* Whoever waits is told at once. */
static void carry_out(void *arg)
{
    struct control_operation op;

    (void)arg;
    while (control_take(control, false, &op))
        control_finish(control, op.id, NULL, "as asked");
}

static void leave_waiting(void *arg)
{
    (void)arg;
}

static void start(const char *listen, const char *token_file)
{
    char *sets[5];
    struct conf_problems problems = CONF_PROBLEMS_INIT;
    struct http_context context;
    struct err err = ERR_INIT;

    sets[0] = xasprintf("data_dir=%s", dir);
    sets[1] = xasprintf("http.listen=%s", listen);
    sets[2] = xasprintf("http.max_body_bytes=%d", MAX_BODY);
    sets[3] = xstrdup("http.max_connections=4");
    sets[4] = xasprintf("http.token_file=%s",
                        token_file ? token_file : "null");
    conf = conf_create();
    if (conf_load(conf, NULL, (const char *const *)sets, 5, NULL,
                  &problems) != 0)
        fail_msg("%s", problems.items[0].text);
    conf_problems_release(&problems);
    for (int i = 0; i < 5; i++)
        free(sets[i]);
    context =
        (struct http_context){conf, &board, serving, catalog, control};
    if (http_start(&context, &http, &err) != 0)
        fail_msg("%s", err.msg);
    port = atoi(strrchr(http_address(http), ':') + 1);
}

static void stop(void)
{
    http_stop(http);
    conf_free(conf);
    http = NULL;
}

static int open_all(void **state)
{
    struct err err = ERR_INIT;
    struct store_offset offset = {0, "text", 0, 0, 0, -1, 0};

    signal(SIGPIPE, SIG_IGN);
    ops_init();
    assert_int_equal(util_make_temp(state), 0);
    dir = *state;
    tokenizer = tokenizer_create_bytes();
    if (store_open(dir, NULL, 0, &store, &err) != 0 ||
        store_know_partitions(store, &offset, 1, &err) != 0 ||
        catalog_open(dir, &catalog, &err) != 0)
        fail_msg("%s", err.msg);
    publish(0, 1);
    publish(1, 2);
    status_board_init(&board);
    serving = serving_create(catalog, NULL);
    serving_prepare(serving, &shape, tokenizer);
    control = control_create(leave_waiting, carry_out, NULL);
    serve(2);
    start("127.0.0.1:0", NULL);
    return 0;
}

static int close_all(void **state)
{
    if (http)
        stop();
    control_free(control);
    serving_free(serving);
    status_board_release(&board);
    catalog_close(catalog);
    store_close(store);
    tokenizer_free(tokenizer);
    return util_remove_temp(state);
}

/* --- a client ----------------------------------------------------------- */

static int dial(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {20, 0};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void send_all(int fd, const char *bytes, size_t n)
{
    while (n) {
        ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL);

        if (sent <= 0)
            return; /* the server has said what it has to say */
        bytes += sent;
        n -= (size_t)sent;
    }
}

/* All that comes until the other side closes. */
static char *receive(int fd)
{
    struct buf b = BUF_INIT;
    char bytes[4096];
    ssize_t n;

    while ((n = recv(fd, bytes, sizeof bytes, 0)) > 0)
        buf_add(&b, bytes, (size_t)n);
    close(fd);
    return buf_detach(&b);
}

struct answer {
    int status;
    char *text; /* with headers */
    const char *body;
    json_t *json; /* NULL: none */
};

static struct answer read_answer(int fd)
{
    struct answer a = {.text = receive(fd)};
    const char *end = strstr(a.text, "\r\n\r\n");

    if (strncmp(a.text, "HTTP/1.1 ", 9) == 0)
        a.status = atoi(a.text + 9);
    a.body = end ? end + 4 : "";
    a.json = json_loads(a.body, JSON_ALLOW_NUL, NULL);
    return a;
}

static void release(struct answer *a)
{
    json_decref(a->json);
    free(a->text);
}

static struct answer ask_raw(const char *request, size_t n)
{
    int fd = dial();

    send_all(fd, request, n);
    return read_answer(fd);
}

static struct answer ask(const char *method, const char *path,
                         const char *token, const char *body, size_t n)
{
    struct buf b = BUF_INIT;
    struct answer a;

    buf_addf(&b, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n",
             method, path);
    if (token)
        buf_addf(&b, "Authorization: Bearer %s\r\n", token);
    if (body)
        buf_addf(&b, "Content-Length: %zu\r\n", n);
    buf_adds(&b, "\r\n");
    if (body)
        buf_add(&b, body, n);
    a = ask_raw(b.data, b.len);
    buf_release(&b);
    return a;
}

static struct answer get(const char *path)
{
    return ask("GET", path, NULL, NULL, 0);
}

static struct answer post(const char *path, const char *body)
{
    return ask("POST", path, NULL, body, strlen(body));
}

/* By a path of names and places: "choices", "0", "text". */
static const json_t *at(const json_t *j, const char *path)
{
    char *copy = xstrdup(path), *save = NULL;

    for (char *p = strtok_r(copy, ".", &save); p;
         p = strtok_r(NULL, ".", &save))
        j = json_is_array(j) ? json_array_get(j, (size_t)atoi(p))
                             : json_object_get(j, p);
    free(copy);
    return j;
}

static const char *text_at(const struct answer *a, const char *path)
{
    const char *s = json_string_value(at(a->json, path));

    if (!s)
        fail_msg("no %s in %s", path, a->text);
    return s;
}

static int64_t number_at(const struct answer *a, const char *path)
{
    if (!json_is_integer(at(a->json, path)))
        fail_msg("no %s in %s", path, a->text);
    return json_integer_value(at(a->json, path));
}

/* An error has its status, and OpenAI's shape; param NULL: not looked at. */
static void check_error(struct answer a, int status, const char *param)
{
    if (a.status != status)
        fail_msg("%d, not %d: %s", a.status, status, a.text);
    assert_true(*text_at(&a, "error.message"));
    assert_true(*text_at(&a, "error.type"));
    if (param)
        assert_string_equal(text_at(&a, "error.param"), param);
    release(&a);
}

static void check_ok(struct answer a)
{
    if (a.status != 200)
        fail_msg("%s", a.text);
    release(&a);
}

/* --- what answers ------------------------------------------------------- */

static void test_state(void **state)
{
    struct answer a = get("/v1/status");

    (void)state;
    assert_string_equal(text_at(&a, "state"), "starting");
    release(&a);
    check_ok(get("/healthz"));
    check_ok(get("/readyz"));
    check_ok(get("/v1/domains"));
    check_ok(get("/v1/history"));
    a = get("/metrics");
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.body, "# TYPE mneme_"));
    release(&a);
    a = ask("HEAD", "/healthz", NULL, NULL, 0);
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body, "");
    release(&a);
}

static void test_versions(void **state)
{
    struct answer a = get("/v1/versions");

    (void)state;
    assert_int_equal(json_array_size(at(a.json, "versions")), 2);
    assert_int_equal(number_at(&a, "versions.0.version"), 2);
    assert_int_equal(number_at(&a, "versions.0.parent"), 1);
    assert_int_equal(number_at(&a, "versions.0.step"), 20);
    assert_int_equal(number_at(&a, "versions.0.offsets.0.offset"), 20);
    assert_int_equal(number_at(&a, "versions.0.holdout.news.chunks"), 40);
    assert_string_equal(text_at(&a, "versions.0.gate.verdict"), "pass");
    assert_string_equal(text_at(&a, "versions.0.state"), "passed");
    assert_true(json_is_true(at(a.json, "versions.0.serving")));
    assert_true(json_is_false(at(a.json, "versions.1.serving")));
    release(&a);
    a = get("/v1/versions?limit=1&before=2");
    assert_int_equal(json_array_size(at(a.json, "versions")), 1);
    assert_int_equal(number_at(&a, "versions.0.version"), 1);
    release(&a);
    check_ok(get("/v1/versions/1"));
    check_error(get("/v1/versions/3"), 404, NULL);
    check_error(get("/v1/versions/99999999999999999999999"), 404, NULL);
    check_error(get("/v1/versions?limit=x"), 400, "limit");
}

static void test_models(void **state)
{
    struct answer a = get("/v1/models");

    (void)state;
    assert_string_equal(text_at(&a, "object"), "list");
    assert_string_equal(text_at(&a, "data.0.id"), "mneme");
    assert_string_equal(text_at(&a, "data.0.quantize"), "none");
    release(&a);
    check_ok(get("/v1/models/mneme"));
    check_ok(get("/v1/models/mneme@1"));
    check_error(get("/v1/models/mneme@9"), 404, NULL);
    check_error(get("/v1/models/gpt"), 404, NULL);
}

/* The names of versions, and that the answer says which it was. */
static void test_names(void **state)
{
    static const struct {
        const char *model;
        int version;
    } names[] = {{"\"mneme\"", 2},          {"null", 2},
                 {"\"mneme@1\"", 1},        {"\"mneme@2\"", 2},
                 {"\"mneme@latest\"", 2},   {"\"mneme@previous\"", 1}};
    static const char *const wrong[] = {
        "\"gpt\"", "\"mneme@\"", "\"mneme@0\"", "\"mneme@9\"",
        "\"mneme@-1\"", "\"mneme@1x\"", "\"mneme\\u0000\"",
        "\"mneme@99999999999999999999\""};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *body = xasprintf("{\"text\":\"a\",\"model\":%s}",
                               names[i].model);
        char *header = xasprintf("X-Mneme-Version: %d\r\n", names[i].version);
        struct answer a = post("/v1/score", body);

        assert_int_equal(number_at(&a, "version"), names[i].version);
        assert_non_null(strstr(a.text, header));
        release(&a);
        free(body);
        free(header);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char *body = xasprintf("{\"text\":\"a\",\"model\":%s}", wrong[i]);
        struct answer a = post("/v1/score", body);

        if (a.status != 404 && a.status != 400)
            fail_msg("%s: %s", wrong[i], a.text);
        release(&a);
        free(body);
    }
    check_error(post("/v1/score", "{\"text\":\"a\",\"model\":3}"), 400,
                "model");
}

static void test_score(void **state)
{
    struct answer a = post("/v1/score", "{\"text\":[\"ab\\u0000c\",\"\"],"
                                        "\"tokens\":true,\"x\":{}}");

    (void)state;
    assert_int_equal(number_at(&a, "results.0.bytes"), 4);
    assert_int_equal(number_at(&a, "results.0.tokens"), 4);
    assert_true(json_real_value(at(a.json, "results.0.bits_per_byte")) > 0);
    assert_int_equal(json_array_size(at(a.json, "results.0.logprobs")), 4);
    assert_int_equal(number_at(&a, "results.1.bytes"), 0);
    release(&a);
    check_error(post("/v1/score", "{}"), 400, "text");
    check_error(post("/v1/score", "{\"text\":[]}"), 400, "text");
    check_error(post("/v1/score", "{\"text\":[1]}"), 400, "text");
    check_error(post("/v1/score", "{\"text\":\"a\",\"tokens\":1}"), 400,
                "tokens");
}

static void test_classify(void **state)
{
    struct answer a = post("/v1/classify",
                           "{\"text\":\"red rose and red wine\"}");

    (void)state;
    assert_string_equal(text_at(&a, "results.0.label"), "red");
    assert_string_equal(text_at(&a, "results.0.scores.1.label"), "blue");
    release(&a);
    a = post("/v1/classify", "{\"text\":[\"a\",\"b\"],\"top_k\":1}");
    assert_int_equal(json_array_size(at(a.json, "results")), 2);
    assert_int_equal(json_array_size(at(a.json, "results.0.scores")), 1);
    release(&a);
    check_error(post("/v1/classify", "{\"text\":\"a\",\"top_k\":0}"), 400,
                "top_k");
}

static void test_embeddings(void **state)
{
    struct answer a = post("/v1/embeddings", "{\"input\":[\"a\",\"b\"]}");

    (void)state;
    assert_int_equal(json_array_size(at(a.json, "data.1.embedding")), 32);
    assert_int_equal(number_at(&a, "usage.prompt_tokens"), 2);
    release(&a);
    a = post("/v1/embeddings",
             "{\"input\":\"a\",\"encoding_format\":\"base64\"}");
    assert_int_equal(strlen(text_at(&a, "data.0.embedding")),
                     (32 * 4 + 2) / 3 * 4);
    release(&a);
    check_error(post("/v1/embeddings",
                     "{\"input\":\"a\",\"encoding_format\":\"x\"}"),
                400, "encoding_format");
}

static void test_tokens(void **state)
{
    struct answer a = post("/tokenize", "{\"prompt\":\"a\xe2\x82\xac\"}");

    (void)state;
    assert_int_equal(number_at(&a, "count"), 4);
    assert_int_equal(number_at(&a, "tokens.1"), 0xe2);
    release(&a);
    a = post("/tokenize", "{\"prompt\":\"<|endoftext|>\"}");
    assert_int_equal(number_at(&a, "count"), 1);
    assert_int_equal(number_at(&a, "tokens.0"), 256);
    release(&a);
    a = post("/detokenize", "{\"tokens\":[97,226,130,172,255,256]}");
    assert_string_equal(text_at(&a, "prompt"),
                        "a\xe2\x82\xac\xef\xbf\xbd");
    release(&a);
    check_error(post("/detokenize", "{\"tokens\":[257]}"), 400, "tokens");
    check_error(post("/detokenize", "{\"tokens\":\"a\"}"), 400, "tokens");
    check_ok(get("/tokenizer_info"));
}

/* --- completions -------------------------------------------------------- */

static void test_completion(void **state)
{
    const char *body = "{\"prompt\":\"ab\",\"max_tokens\":9,\"seed\":7}";
    struct answer a = post("/v1/completions", body);
    struct answer b = post("/v1/completions", body);
    struct answer c = post("/v1/completions",
                           "{\"prompt\":[[97,98],[99]],\"max_tokens\":9,"
                           "\"seed\":7,\"n\":2}");

    (void)state;
    assert_string_equal(text_at(&a, "object"), "text_completion");
    assert_string_equal(text_at(&a, "choices.0.text"),
                        text_at(&b, "choices.0.text"));
    assert_string_equal(text_at(&a, "choices.0.text"),
                        text_at(&c, "choices.0.text"));
    assert_int_equal(json_array_size(at(c.json, "choices")), 4);
    assert_int_equal(number_at(&c, "choices.3.index"), 3);
    assert_int_equal(number_at(&a, "usage.prompt_tokens"), 2);
    assert_int_equal(number_at(&a, "seed"), 7);
    release(&a);
    release(&b);
    release(&c);
    a = post("/v1/completions", "{}"); /* the beginning of a record */
    assert_int_equal(number_at(&a, "usage.prompt_tokens"), 0);
    number_at(&a, "seed");
    release(&a);
}

/* As lm-evaluation-harness scores a prompt: the last entry is left out. */
static void test_echo(void **state)
{
    struct answer a = post("/v1/completions",
                           "{\"prompt\":[97,226,130,172],\"max_tokens\":1,"
                           "\"echo\":true,\"logprobs\":2,\"temperature\":0}");
    struct answer s = post("/v1/score", "{\"text\":\"a\xe2\x82\xac\","
                                        "\"tokens\":true}");

    (void)state;
    assert_int_equal(
        json_array_size(at(a.json, "choices.0.logprobs.tokens")), 5);
    assert_string_equal(text_at(&a, "choices.0.logprobs.tokens.1"),
                        "bytes:\\xe2");
    assert_int_equal(number_at(&a, "choices.0.logprobs.text_offset.1"), 1);
    assert_int_equal(number_at(&a, "choices.0.logprobs.text_offset.4"), 2);
    assert_true(json_object_size(
                    at(a.json, "choices.0.logprobs.top_logprobs.0")) >= 2);
    for (int i = 0; i < 4; i++) {
        char *echoed = xasprintf("choices.0.logprobs.token_logprobs.%d", i);
        char *scored = xasprintf("results.0.logprobs.%d.logprob", i);

        assert_float_equal(json_real_value(at(a.json, echoed)),
                           json_real_value(at(s.json, scored)), 1e-4);
        free(echoed);
        free(scored);
    }
    release(&a);
    release(&s);
    a = post("/v1/completions",
             "{\"prompt\":\"abc\",\"max_tokens\":0,\"echo\":true}");
    assert_string_equal(text_at(&a, "choices.0.text"), "abc");
    assert_int_equal(number_at(&a, "usage.completion_tokens"), 0);
    release(&a);
}

static void test_chat(void **state)
{
    struct answer a = post("/v1/chat/completions",
                           "{\"messages\":[{\"role\":\"user\",\"content\":"
                           "[{\"type\":\"text\",\"text\":\"ab\"}]}],"
                           "\"max_completion_tokens\":9,\"seed\":7}");
    struct answer b = post("/v1/completions",
                           "{\"prompt\":\"ab\",\"max_tokens\":9,"
                           "\"seed\":7}");

    (void)state;
    assert_string_equal(text_at(&a, "choices.0.message.content"),
                        text_at(&b, "choices.0.text"));
    release(&a);
    release(&b);
    check_error(post("/v1/chat/completions", "{}"), 400, "messages");
    check_error(post("/v1/chat/completions",
                     "{\"messages\":[{\"content\":5}]}"),
                400, "messages");
}

/* The pieces of a stream are the text, each whole characters, none of a stop
 * string. */
static void check_stream(const char *settings)
{
    char *plain = xasprintf("{%s}", settings);
    char *streamed = xasprintf("{%s,\"stream\":true}", settings);
    struct answer a = post("/v1/completions", plain);
    struct answer s = post("/v1/completions", streamed);
    struct buf body = BUF_INIT, text = BUF_INIT;
    char *save = NULL, *line, *events;
    bool done = false;

    assert_non_null(strstr(s.text, "text/event-stream"));
    assert_non_null(strstr(s.text, "X-Mneme-Version: 2"));
    /* Chunks of the transfer begin anywhere in an event: take them apart. */
    for (const char *p = s.body; *p;) {
        char *end;
        size_t n = strtoul(p, &end, 16);

        if (n == 0)
            break;
        buf_add(&body, end + 2, n);
        p = end + 2 + n + 2;
    }
    events = buf_detach(&body);
    for (line = strtok_r(events, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        json_t *j = json_loads(line + 6, 0, NULL);

        assert_memory_equal(line, "data: ", 6);
        if (j)
            buf_adds(&text,
                     json_string_value(at(j, "choices.0.text")));
        done = strcmp(line, "data: [DONE]") == 0;
        json_decref(j);
    }
    assert_true(done);
    assert_string_equal(text.data, text_at(&a, "choices.0.text"));
    buf_release(&text);
    free(events);
    free(plain);
    free(streamed);
    release(&a);
    release(&s);
}

static void test_stream(void **state)
{
    (void)state;
    for (int seed = 1; seed <= 6; seed++) {
        char *settings = xasprintf("\"prompt\":\"ab\",\"max_tokens\":60,"
                                   "\"seed\":%d", seed);
        char *stopped = xasprintf("%s,\"stop\":[\"e\",\"ab\",\" t\"]",
                                  settings);

        check_stream(settings);
        check_stream(stopped);
        free(settings);
        free(stopped);
    }
}

static void test_completion_refused(void **state)
{
    static const char *const bodies[][2] = {
        {"{\"prompt\":5}", "prompt"},
        {"{\"prompt\":[]}", "prompt"},
        {"{\"prompt\":[\"a\",5]}", "prompt"},
        {"{\"prompt\":[5,\"a\"]}", "prompt"},
        {"{\"prompt\":[[1],\"a\"]}", "prompt"},
        {"{\"prompt\":[257]}", "prompt"},
        {"{\"prompt\":[-1]}", "prompt"},
        {"{\"prompt\":[1e300]}", "prompt"},
        {"{\"max_tokens\":-1}", "max_tokens"},
        {"{\"max_tokens\":\"5\"}", "max_tokens"},
        {"{\"max_tokens\":1000000000}", "max_tokens"},
        {"{\"prompt\":[\"a\",\"b\"],\"n\":16,\"max_tokens\":16384}",
         "max_tokens"},
        {"{\"temperature\":-0.1}", "temperature"},
        {"{\"temperature\":1e9}", "temperature"},
        {"{\"top_p\":1.5}", "top_p"},
        {"{\"top_k\":-2}", "top_k"},
        {"{\"n\":0}", "n"},
        {"{\"n\":1000}", "n"},
        {"{\"logprobs\":1000}", "logprobs"},
        {"{\"logprobs\":true}", "logprobs"},
        {"{\"stop\":5}", "stop"},
        {"{\"stop\":\"\"}", "stop"},
        {"{\"stop\":[\"a\",\"b\",\"c\",\"d\",\"e\"]}", "stop"},
        {"{\"stop\":\"a\\u0000b\"}", "stop"},
        {"{\"seed\":1.5}", "seed"},
        {"{\"stream\":1}", "stream"},
        {"{\"stream\":true,\"logprobs\":1}", "logprobs"},
        {"{\"echo\":\"yes\"}", "echo"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        check_error(post("/v1/completions", bodies[i][0]), 400,
                    bodies[i][1]);
}

/* --- operations --------------------------------------------------------- */

static void test_operations(void **state)
{
    struct answer a = post("/v1/versions/1/pin", "");
    char *href;

    (void)state;
    assert_int_equal(a.status, 200);
    assert_string_equal(text_at(&a, "state"), "done");
    release(&a);
    check_ok(post("/v1/versions/1/unpin", "{}"));
    check_ok(post("/v1/versions/latest/promote", ""));
    a = post("/v1/rollback", "{\"version\":1,\"reason\":\"bad feed\"}");
    assert_int_equal(a.status, 202);
    href = xasprintf("/v1/operations/%" PRId64, number_at(&a, "operation"));
    assert_string_equal(text_at(&a, "href"), href);
    release(&a);
    a = get(href);
    assert_string_equal(text_at(&a, "kind"), "rollback_rewind");
    assert_string_equal(text_at(&a, "state"), "queued");
    assert_string_equal(text_at(&a, "reason"), "bad feed");
    release(&a);
    free(href);
    check_error(get("/v1/operations/999"), 404, NULL);
    check_error(get("/v1/operations/x"), 404, NULL);
    check_error(post("/v1/versions/9/promote", ""), 404, NULL);
    check_error(post("/v1/versions/x/pin", ""), 404, NULL);
    check_error(post("/v1/rollback", "{\"version\":9}"), 404, NULL);
    check_error(post("/v1/rollback", "{}"), 400, "version");
    check_error(post("/v1/rollback", "{\"version\":\"1\"}"), 400, "version");
    check_error(post("/v1/rollback", "{\"version\":1,\"stream\":\"x\"}"),
                400, "stream");
}

/* --- asking wrongly ----------------------------------------------------- */

static void test_bad_json(void **state)
{
    static const char *const bodies[] = {
        "{", "[]", "5", "nonsense", "{\"text\":\"a\"} x",
        "{\"text\":\"a\",\"text\":\"b\"}", "{\"text\":\"\xff\"}",
        "{\"text\":\"\\ud800\"}", "{\"text\":1e999}",
        "{\"text\":123456789012345678901234567890}", "{\"\\u0000\":1}",
    };
    struct buf deep = BUF_INIT;

    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        check_error(post("/v1/score", bodies[i]), 400, NULL);
    buf_adds(&deep, "{\"text\":");
    for (int i = 0; i < 2000; i++)
        buf_addc(&deep, '[');
    check_error(post("/v1/score", deep.data), 400, NULL);
    buf_release(&deep);
    check_error(ask("POST", "/v1/score", NULL, "{\"text\":\0\"a\"}", 13), 400,
                NULL);
}

static void test_paths(void **state)
{
    struct answer a;

    (void)state;
    check_error(get("/nothing"), 404, NULL);
    check_error(get("/v1/versions/"), 404, NULL);
    check_error(get("/v1/versions/1/2/3"), 404, NULL);
    check_error(get("/v1/score"), 405, NULL);
    a = ask("DELETE", "/v1/versions/1", NULL, NULL, 0);
    assert_non_null(strstr(a.text, "Allow: GET"));
    check_error(a, 405, NULL);
}

static void test_too_large(void **state)
{
    char *body = xmalloc(MAX_BODY + 2);
    struct buf b = BUF_INIT;
    int fd;

    (void)state;
    memset(body, ' ', MAX_BODY + 2);
    body[MAX_BODY + 1] = '\0';
    check_error(post("/v1/score", body), 413, NULL);
    /* By what it announces, without a byte of it. */
    fd = dial();
    buf_adds(&b, "POST /v1/score HTTP/1.1\r\nHost: localhost\r\n"
                 "Content-Length: 99999999999\r\n\r\n");
    send_all(fd, b.data, b.len);
    check_error(read_answer(fd), 413, NULL);
    /* In chunks, which announce nothing. */
    buf_clear(&b);
    buf_addf(&b, "POST /v1/score HTTP/1.1\r\nHost: localhost\r\n"
                 "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "%x\r\n%s\r\n0\r\n\r\n", MAX_BODY + 1, body);
    check_error(ask_raw(b.data, b.len), 413, NULL);
    buf_release(&b);
    free(body);
}

static void test_framing(void **state)
{
    static const char *const requests[] = {
        "POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
        "Content-Length: 2\r\n\r\n{}",
        "POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
        "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "POST /v1/score HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        "Transfer-Encoding: gzip\r\n\r\n{}",
        "POST /v1/score HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Length: -1\r\n\r\n{}",
        "POST /v1/score HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        int fd = dial();
        struct answer a;

        send_all(fd, requests[i], strlen(requests[i]));
        shutdown(fd, SHUT_WR);
        a = read_answer(fd);
        /* 0: closed without a word, which is also no answer to smuggle. */
        if (a.status != 400 && a.status != 0)
            fail_msg("request %zu: %s", i, a.text);
        release(&a);
    }
    check_ok(get("/healthz"));
}

/* Pages on the net must not reach us through a browser here. */
static void test_origin(void **state)
{
    static const char foreign[] =
        "POST /v1/rollback HTTP/1.1\r\nHost: localhost\r\n"
        "Origin: http://evil.example\r\nConnection: close\r\n"
        "Content-Length: 13\r\n\r\n{\"version\":1}";
    static const char rebound[] = "GET /v1/status HTTP/1.1\r\n"
                                  "Host: evil.example\r\n"
                                  "Connection: close\r\n\r\n";

    (void)state;
    check_error(ask_raw(foreign, strlen(foreign)), 403, NULL);
    check_error(ask_raw(rebound, strlen(rebound)), 403, NULL);
}

/* More connections than may be: each further one is told so, and the others
 * work on. */
static void test_crowd(void **state)
{
    int fds[4];

    (void)state;
    for (int i = 0; i < 4; i++)
        fds[i] = dial();
    timing_sleep_ms(100);
    check_error(get("/healthz"), 429, NULL);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    for (int i = 0; i < 100; i++) {
        struct answer a = get("/healthz");
        bool ok = a.status == 200;

        release(&a);
        if (ok)
            return;
        timing_sleep_ms(20);
    }
    fail_msg("connections that are gone still count");
}

/* A stream that nobody reads to its end does not keep its place. */
static void test_hang_up(void **state)
{
    static const char body[] = "{\"stream\":true,\"max_tokens\":16384,"
                               "\"top_k\":1,\"temperature\":0}";
    char first[256];

    (void)state;
    for (int i = 0; i < 12; i++) {
        struct buf b = BUF_INIT;
        int fd = dial();

        buf_addf(&b, "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
                     "Content-Length: %zu\r\n\r\n%s", strlen(body), body);
        send_all(fd, b.data, b.len);
        assert_true(recv(fd, first, sizeof first, 0) > 0);
        assert_memory_equal(first, "HTTP/1.1 ", 9);
        close(fd);
        buf_release(&b);
        timing_sleep_ms(20);
    }
    for (int i = 0; i < 200; i++) {
        struct answer a = post("/v1/completions", "{\"max_tokens\":1}");
        bool ok = a.status == 200;

        release(&a);
        if (ok)
            return;
        timing_sleep_ms(20);
    }
    fail_msg("places are not given back");
}

/* --- other servers ------------------------------------------------------ */

static void test_tokens_asked(void **state)
{
    char *path = fileio_join(dir, "tokens");
    static const char lines[] = "# who may\n\ninfer " INFER "\nadmin " ADMIN
                                "\n";
    const char *v = "{\"version\":1,\"stream\":\"keep\"}";
    struct answer a;

    (void)state;
    assert_int_equal(fileio_write_atomic(path, lines, strlen(lines), NULL),
                     0);
    stop();
    start("127.0.0.1:0", path);
    check_ok(get("/healthz"));
    check_ok(get("/readyz"));
    a = get("/v1/status");
    assert_non_null(strstr(a.text, "WWW-Authenticate: Bearer"));
    check_error(a, 401, NULL);
    check_error(ask("GET", "/v1/status", "wrong", NULL, 0), 401, NULL);
    check_error(ask("GET", "/v1/status", INFER "x", NULL, 0), 401, NULL);
    check_ok(ask("GET", "/v1/status", INFER, NULL, 0));
    check_ok(ask("GET", "/v1/status", ADMIN, NULL, 0));
    check_error(ask("POST", "/v1/rollback", INFER, v, strlen(v)), 403, NULL);
    a = ask("POST", "/v1/rollback", ADMIN, v, strlen(v));
    assert_int_equal(a.status, 202);
    release(&a);
    stop();
    unlink(path);
    free(path);
    start("127.0.0.1:0", NULL);
}

static void test_unix_socket(void **state)
{
    char *path = fileio_join(dir, "socket");
    char *listen = xasprintf("unix:%s", path);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    static const char request[] = "GET /healthz HTTP/1.1\r\n"
                                  "Host: localhost\r\n"
                                  "Connection: close\r\n\r\n";
    int stale = socket(AF_UNIX, SOCK_STREAM, 0);
    int fd;

    (void)state;
    strncpy(a.sun_path, path, sizeof a.sun_path - 1);
    assert_int_equal(bind(stale, (struct sockaddr *)&a, sizeof a), 0);
    close(stale); /* as a killed daemon leaves it */
    stop();
    start(listen, NULL);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    send_all(fd, request, strlen(request));
    check_ok(read_answer(fd));
    assert_string_equal(http_address(http), listen);
    stop();
    assert_false(fileio_exists(path));
    start("127.0.0.1:0", NULL);
    free(path);
    free(listen);
}

static void test_address(void **state)
{
    char *path = fileio_join(dir, "http.addr");
    struct buf line = BUF_INIT;
    struct http_context context;
    struct http *second = NULL;
    struct err err = ERR_INIT;

    (void)state;
    assert_int_equal(fileio_read(path, 100, &line, NULL), 0);
    line.data[strcspn(line.data, "\n")] = '\0';
    assert_string_equal(line.data, http_address(http));
    context =
        (struct http_context){conf, &board, serving, catalog, control};
    conf->http.listen_port = port;
    assert_int_equal(http_start(&context, &second, &err), ERR_IO);
    assert_true(*err.msg);
    assert_true(fileio_exists(path)); /* still the first one's */
    stop();
    assert_false(fileio_exists(path));
    buf_release(&line);
    free(path);
    start("127.0.0.1:0", NULL);
}

/* Before the first version. */
static void test_not_ready(void **state)
{
    struct serving *full = serving;

    (void)state;
    stop();
    serving = serving_create(catalog, NULL);
    serving_prepare(serving, &shape, tokenizer);
    start("127.0.0.1:0", NULL);
    check_ok(get("/healthz"));
    {
        struct answer a = get("/readyz");

        assert_int_equal(a.status, 503);
        assert_non_null(a.json);
        release(&a);
    }
    check_error(post("/v1/score", "{\"text\":\"a\"}"), 503, NULL);
    check_error(post("/v1/completions", "{}"), 503, NULL);
    stop();
    serving_free(serving);
    serving = full;
    start("127.0.0.1:0", NULL);
}

/* A damaged version is refused by name, whatever of it is still in memory. */
static void test_damaged(void **state)
{
    (void)state;
    check_ok(post("/v1/score", "{\"text\":\"a\",\"model\":\"mneme@1\"}"));
    assert_int_equal(
        store_mark(store, 1, STORE_DAMAGED, "a bit has flipped", NULL), 0);
    check_error(post("/v1/score", "{\"text\":\"a\",\"model\":\"mneme@1\"}"),
                409, NULL);
    check_error(post("/v1/rollback", "{\"version\":1}"), 409, NULL);
}

/* A request that trickles in is cut off; the clock is real, so only one that
 * stops short is looked at: stopping the server ends it at once. */
static void test_stop(void **state)
{
    int64_t began = timing_mono_ms();
    int fd = dial();

    (void)state;
    send_all(fd, "POST /v1/sc", 11);
    timing_sleep_ms(50);
    stop();
    assert_true(timing_mono_ms() - began < 5000);
    close(fd);
    start("127.0.0.1:0", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_state),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_models),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_score),
        cmocka_unit_test(test_classify),
        cmocka_unit_test(test_embeddings),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_completion),
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_chat),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_completion_refused),
        cmocka_unit_test(test_operations),
        cmocka_unit_test(test_bad_json),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_framing),
        cmocka_unit_test(test_origin),
        cmocka_unit_test(test_crowd),
        cmocka_unit_test(test_hang_up),
        cmocka_unit_test(test_tokens_asked),
        cmocka_unit_test(test_unix_socket),
        cmocka_unit_test(test_address),
        cmocka_unit_test(test_not_ready),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_damaged),
    };

    return cmocka_run_group_tests(tests, open_all, close_all);
}
