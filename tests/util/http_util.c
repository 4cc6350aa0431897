/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/xalloc.h"
#include "conf/conf.h"
#include "daemon/http/http.h"
#include "learner/head.h"
#include "learner/kernels/ops.h"
#include "learner/model.h"
#include "store/store.h"
#include "tests/util/http_util.h"
#include "tests/util/store_util.h"

struct model_shape util_shape = {.vocab_size = 257,
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

struct http_fixture fix;
int64_t util_most_seconds = 120;

/* --- a store with two versions ------------------------------------------ */

static void fill_weights(struct tensor_list *out, float **params, int seed)
{
    struct model *m;

    assert_int_equal(model_create(&util_shape, &m, NULL), 0);
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
    o.dim = util_shape.dim;
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

        for (int j = 0; j < util_shape.dim; j++)
            states[j] =
                (float)rng_normal(9, RNG_INIT, (uint64_t)i, (uint64_t)j);
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
    tokenizer_to_json(fix.tokenizer, &json);
    struct store_publication p = {.parent = parent,
                                  .created_ms = 1700000000000 + seed,
                                  .step = 10 * seed,
                                  .tokens_seen = 100 * seed,
                                  .shape = &util_shape,
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
    if (store_publish(fix.store, &p, &version, &err) != 0 ||
        store_verdict(fix.store, version, STORE_PASSED,
                      "{\"verdict\":\"pass\"}", NULL, &result, 1, true,
                      "better", &err) != 0)
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

    if (serving_load(fix.serving, version, &infer, &err) != 0)
        fail_msg("%s", err.msg);
    serving_switch(fix.serving, version, infer);
}

/* --- the server --------------------------------------------------------- */

/* A publisher that ends every operation at once. */
static void carry_out(void *arg)
{
    struct control_operation op;

    (void)arg;
    while (control_take(fix.control, false, &op))
        control_finish(fix.control, op.id, NULL, "as asked");
}

static void leave_waiting(void *arg)
{
    (void)arg;
}

void util_start(const char *listen, const char *token_file)
{
    char *sets[5];
    struct conf_problems problems = CONF_PROBLEMS_INIT;
    struct http_context context;
    struct err err = ERR_INIT;

    sets[0] = xasprintf("data_dir=%s", fix.dir);
    sets[1] = xasprintf("http.listen=%s", listen);
    sets[2] = xasprintf("http.max_body_bytes=%d", UTIL_MAX_BODY);
    sets[3] = xstrdup("http.max_connections=8");
    sets[4] = xasprintf("http.token_file=%s", token_file ? token_file : "null");
    fix.conf = conf_create();
    if (conf_load(fix.conf, NULL, (const char *const *)sets, 5, NULL,
                  &problems) != 0)
        fail_msg("%s", problems.items[0].text);
    conf_problems_release(&problems);
    fix.conf->http.max_request_seconds = util_most_seconds;
    for (int i = 0; i < 5; i++)
        free(sets[i]);
    context = (struct http_context){fix.conf,    &fix.board,  fix.serving,
                                    fix.catalog, fix.control, fix.source, 8};
    if (http_start(&context, &fix.http, &err) != 0)
        fail_msg("%s", err.msg);
    fix.port = atoi(strrchr(http_address(fix.http), ':') + 1);
}

void util_stop(void)
{
    http_stop(fix.http);
    conf_free(fix.conf);
    fix.http = NULL;
}

void util_restart(void)
{
    util_stop();
    util_start("127.0.0.1:0", NULL);
}

int util_open_all(void **state)
{
    struct err err = ERR_INIT;
    struct store_offset offset = {0, "text", 0, 0, 0, -1, 0};
    struct infer_options options;

    signal(SIGPIPE, SIG_IGN);
    ops_init();
    assert_int_equal(util_make_temp(state), 0);
    fix.dir = *state;
    fix.tokenizer = tokenizer_create_bytes();
    if (store_open(fix.dir, NULL, 0, &fix.store, &err) != 0 ||
        store_add_partitions(fix.store, &offset, 1, &err) != 0 ||
        catalog_open(fix.dir, &fix.catalog, &err) != 0)
        fail_msg("%s", err.msg);
    publish(0, 1);
    publish(1, 2);
    status_board_init(&fix.board);
    fix.prefixes = prefix_cache_create(1 << 20, &fix.board.infer);
    infer_options_default(&options);
    options.figures = &fix.board.infer;
    options.prefixes = fix.prefixes;
    fix.serving = serving_create(fix.catalog, &options);
    serving_prepare(fix.serving, &util_shape, fix.tokenizer);
    fix.control = control_create(leave_waiting, carry_out, NULL);
    serve(2);
    util_start("127.0.0.1:0", NULL);
    return 0;
}

int util_close_all(void **state)
{
    if (fix.http)
        util_stop();
    control_free(fix.control);
    serving_free(fix.serving);
    prefix_cache_free(fix.prefixes);
    status_board_release(&fix.board);
    catalog_close(fix.catalog);
    store_close(fix.store);
    tokenizer_free(fix.tokenizer);
    return util_remove_temp(state);
}

/* --- a client ----------------------------------------------------------- */

int util_dial(void)
{
    return util_dial_from("127.0.0.1");
}

int util_dial_from(const char *address)
{
    struct sockaddr_in from = {.sin_family = AF_INET};
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)fix.port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {20, 0};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    assert_int_equal(inet_pton(AF_INET, address, &from.sin_addr), 1);
    assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof from), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

void util_send_all(int fd, const char *bytes, size_t n)
{
    while (n) {
        ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL);

        if (sent <= 0)
            return; /* the server has answered and closed */
        bytes += sent;
        n -= (size_t)sent;
    }
}

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

struct util_answer util_read_answer(int fd)
{
    struct util_answer a = {.text = receive(fd)};
    const char *end = strstr(a.text, "\r\n\r\n");

    if (strncmp(a.text, "HTTP/1.1 ", 9) == 0)
        a.status = atoi(a.text + 9);
    a.body = end ? end + 4 : "";
    a.json = json_loads(a.body, JSON_ALLOW_NUL, NULL);
    return a;
}

void util_release(struct util_answer *a)
{
    json_decref(a->json);
    free(a->text);
}

struct util_answer util_ask_raw(const char *request, size_t n)
{
    int fd = util_dial();

    util_send_all(fd, request, n);
    return util_read_answer(fd);
}

struct util_answer util_ask(const char *method, const char *path,
                            const char *token, const char *body, size_t n)
{
    struct buf b = BUF_INIT;
    struct util_answer a;

    buf_addf(&b, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n",
             method, path);
    if (token)
        buf_addf(&b, "Authorization: Bearer %s\r\n", token);
    if (body)
        buf_addf(&b, "Content-Length: %zu\r\n", n);
    buf_adds(&b, "\r\n");
    if (body)
        buf_add(&b, body, n);
    a = util_ask_raw(b.data, b.len);
    buf_release(&b);
    return a;
}

struct util_answer util_get(const char *path)
{
    return util_ask("GET", path, NULL, NULL, 0);
}

struct util_answer util_post(const char *path, const char *body)
{
    return util_ask("POST", path, NULL, body, strlen(body));
}

const json_t *util_at(const json_t *j, const char *path)
{
    char *copy = xstrdup(path), *save = NULL;

    for (char *p = strtok_r(copy, ".", &save); p;
         p = strtok_r(NULL, ".", &save))
        j = json_is_array(j) ? json_array_get(j, (size_t)atoi(p))
                             : json_object_get(j, p);
    free(copy);
    return j;
}

const char *util_text_at(const struct util_answer *a, const char *path)
{
    const char *s = json_string_value(util_at(a->json, path));

    if (!s)
        fail_msg("no %s in %s", path, a->text);
    return s;
}

int64_t util_number_at(const struct util_answer *a, const char *path)
{
    if (!json_is_integer(util_at(a->json, path)))
        fail_msg("no %s in %s", path, a->text);
    return json_integer_value(util_at(a->json, path));
}

void util_check_error(struct util_answer a, int status, const char *param)
{
    if (a.status != status)
        fail_msg("%d, not %d: %s", a.status, status, a.text);
    assert_true(*util_text_at(&a, "error.message"));
    assert_true(*util_text_at(&a, "error.type"));
    if (param)
        assert_string_equal(util_text_at(&a, "error.param"), param);
    util_release(&a);
}

void util_check_ok(struct util_answer a)
{
    if (a.status != 200)
        fail_msg("%s", a.text);
    util_release(&a);
}
