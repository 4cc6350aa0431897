/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The body of a request, as an endpoint reads it. The first byte picks the
 * endpoint: '0' is completions.
 *
 * The request is made by hand and has no socket: an eventfd that is never
 * readable stands for the listening one. The model is tiny, with random
 * weights, and computes for a tenth of a second at most.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "daemon/http/api/http_endpoints.h"
#include "daemon/http/wire/http_connections.h"
#include "daemon/http/wire/http_stream.h"
#include "learner/head.h"
#include "learner/kernels/ops.h"
#include "learner/model.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_store.h"

#define MOST_MS 100

static http_endpoint_fn *const endpoints[] = {
    api_completions, api_chat_completions, api_score,
    api_classify,    api_embeddings,       api_tokenize,
    api_detokenize,  api_rollback,         api_forget,
    api_release_many, api_responses,
};

static const struct model_shape shape = {.vocab_size = 257,
                                         .dim = 8,
                                         .layers = 1,
                                         .heads = 2,
                                         .kv_heads = 1,
                                         .head_dim = 4,
                                         .ffn_dim = 16,
                                         .context = 16,
                                         .norm_eps = 1e-5f,
                                         .rope_theta = 10000.0f,
                                         .tied = true};

static struct {
    struct http_context context;
    struct http_cancel_rules rules;
    struct http_connections *connections;
    struct status_board board;
    struct tokenizer *tokenizer;
} fix;

/* --- what the endpoints work with --------------------------------------- */

static struct infer *make_infer(void)
{
    struct tensor_list weights = TENSOR_LIST_INIT, head = TENSOR_LIST_INIT;
    struct names labels = NAMES_INIT;
    struct head_options options;
    struct infer *infer;
    struct model *m;
    struct head *h;
    float *params;

    if (model_create(&shape, &m, NULL) != 0)
        abort();
    params = xfloats(m->n_params);
    model_init_params(m, 1, params);
    for (size_t i = 0; i < m->n_tensors; i++)
        tensor_add_borrowed(&weights, m->tensors[i].name, TENSOR_F32,
                            m->tensors[i].n_dims, m->tensors[i].shape,
                            params + m->tensors[i].offset);
    head_options_default(&options);
    options.dim = shape.dim;
    options.gram_slots = 256;
    h = head_create(&options);
    head_export(h, &head, NULL);
    names_add(&labels, "red");
    names_add(&labels, "blue");
    if (infer_create(&shape, fix.tokenizer, &weights, &head, &labels, NULL,
                     &infer, NULL) != 0)
        abort();
    head_free(h);
    names_release(&labels);
    tensor_list_release(&weights);
    tensor_list_release(&head);
    free(params);
    model_free(m);
    return infer;
}

/* A trainer and a publisher that end every operation at once. */
static void carry_out(void *arg)
{
    struct control *control = fix.context.control;
    struct control_operation op;

    (void)arg;
    for (int trainer = 0; trainer < 2; trainer++)
        while (control_take(control, trainer, &op))
            control_finish(control, op.id, NULL, "as asked");
}

static void begin(void)
{
    struct http_connections_options options = {
        .listen_fd = eventfd(0, EFD_CLOEXEC),
        .admin_fd = -1,
        .max_requests = 1,
        .body_bytes = 64 << 20,
    };

    log_configure(LOG_ERROR, LOG_TEXT);
    ops_init();
    status_board_init(&fix.board);
    fix.tokenizer = tokenizer_create_bytes();
    fix.rules.most_seconds = 1;
    fix.context.conf = conf_create();
    fix.context.board = &fix.board;
    fix.context.catalog = fuzz_store()->catalog;
    fix.context.serving = serving_create(fix.context.catalog, NULL);
    fix.context.control = control_create(carry_out, carry_out, NULL);
    serving_switch(fix.context.serving, 1, make_infer());
    if (options.listen_fd < 0 ||
        http_connections_start(&options, &fix.connections, NULL) != 0)
        abort();
}

/* --- a request ---------------------------------------------------------- */

static void read_stream(struct http_stream *s)
{
    char bytes[4096];

    if (!http_stream_start(s, NULL, 0))
        abort();
    while (http_stream_read(s, -1, bytes, sizeof bytes))
        ;
}

/* An endpoint that returns has answered, with a text that can be read. */
static void check_reply(const struct http_reply *reply)
{
    char *text;

    if (reply->stream && reply->status == 200)
        return;
    text = json_dumps(reply->json, JSON_COMPACT | JSON_REAL_PRECISION(9));
    if (reply->status < 200 || !text)
        abort();
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_connection connection = {.fd = -1};
    struct http_request rq = {.context = &fix.context,
                              .rules = &fix.rules,
                              .connection = &connection};
    size_t n = sizeof endpoints / sizeof *endpoints;

    if (!fix.connections)
        begin();
    if (size < 1)
        return 0;
    connection.all = fix.connections;
    http_cancel_begin(&rq.cancel, &fix.rules, "fuzz", -1);
    rq.cancel.began_ms -= fix.rules.most_seconds * 1000 - MOST_MS;
    buf_add(&rq.bytes, (const char *)data + 1, size - 1);
    if (http_parse_body(&rq))
        endpoints[(uint8_t)(data[0] - '0') % n](&rq);
    check_reply(&rq.reply);
    if (rq.reply.stream)
        read_stream(rq.reply.stream);
    http_request_release(&rq);
    return 0;
}
