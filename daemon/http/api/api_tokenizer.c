/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tokenizer's endpoints, as lm-evaluation-harness calls them: POST
 * /tokenize, POST /detokenize and GET /tokenizer_info.
 */
#include "config.h"

#include <string.h>

#include "base/utf8.h"
#include "daemon/http/api/http_endpoints.h"
#include "daemon/http/completion/token_json.h"
#include "daemon/http/request/http_model.h"

static json_t *ids_json(const struct token_list *ids)
{
    json_t *list = json_array();

    for (size_t i = 0; i < ids->n; i++)
        json_array_append_new(list, json_integer(ids->items[i]));
    return list;
}

void api_tokenize(struct http_request *rq)
{
    const char *key = json_object_get(rq->body, "prompt") ? "prompt" : "text";
    struct token_list ids = TOKEN_LIST_INIT;
    json_t *texts = NULL, *root;
    const json_t *text;
    const struct infer *f;
    int64_t version;
    token_id special;
    bool add_special = false, encoded = true;

    if (!http_get_bool(rq, "add_special_tokens", &add_special) ||
        !http_get_strings(rq, key, 1, &texts))
        return;
    f = http_model_get_text(rq, &version);
    if (!f)
        goto out;
    if (add_special)
        token_list_add(&ids, tokenizer_begin_of_text(infer_tokenizer(f)));
    text = json_array_get(texts, 0);
    /* The harness asks for the id of end-of-text by its name alone. Inside a
     * text the name is ordinary text. */
    if (tokenizer_find(infer_tokenizer(f), json_string_value(text),
                       json_string_length(text), &special))
        token_list_add(&ids, special);
    else
        encoded = token_json_encode(rq, f, json_string_value(text),
                                    json_string_length(text), &ids);
    if (encoded) {
        root = json_object();
        json_object_set_new(root, "tokens", ids_json(&ids));
        json_object_set_new(root, "count", json_integer((json_int_t)ids.n));
        json_object_set_new(root, "add_special_tokens",
                            json_boolean(add_special));
        json_object_set_new(root, "max_model_len",
                            json_integer(infer_shape(f)->context));
        json_object_set_new(root, "version", json_integer(version));
        http_answer(rq, 200, root);
    }
    token_list_release(&ids);
    serving_put(rq->context->serving, f);
out:
    json_decref(texts);
}

void api_detokenize(struct http_request *rq)
{
    const json_t *list = json_object_get(rq->body, "tokens");
    struct token_list ids = TOKEN_LIST_INIT;
    struct buf bytes = BUF_INIT, text = BUF_INIT;
    const struct infer *f;
    json_t *root;
    int64_t version;

    if (!json_is_array(list)) {
        http_fail(rq, 400, "invalid_type", "tokens",
                  "'tokens' must be an array of token ids");
        return;
    }
    f = http_model_get_text(rq, &version);
    if (!f)
        return;
    if (token_json_ids(rq, "tokens", "tokens", f, list, &ids)) {
        tokenizer_decode(infer_tokenizer(f), ids.items, ids.n, &bytes);
        utf8_repair(bytes.data ? bytes.data : "", bytes.len, &text);
        root = json_object();
        json_object_set_new(root, "prompt",
                            json_stringn(text.data ? text.data : "", text.len));
        json_object_set_new(root, "version", json_integer(version));
        http_answer(rq, 200, root);
    }
    buf_release(&bytes);
    buf_release(&text);
    token_list_release(&ids);
    serving_put(rq->context->serving, f);
}

void api_tokenizer_info(struct http_request *rq)
{
    int64_t version;
    const struct infer *f = http_model_get_text(rq, &version);
    const struct tokenizer *t;
    const char *end;
    json_int_t end_id;
    json_t *root;

    if (!f)
        return;
    t = infer_tokenizer(f);
    end_id = tokenizer_end_of_text(t);
    end = tokenizer_piece(t, tokenizer_end_of_text(t));
    root = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:i, s:i}",
                     "tokenizer_class", "PreTrainedTokenizerFast", "eos_token",
                     end, "bos_token",
                     tokenizer_piece(t, tokenizer_begin_of_text(t)),
                     "pad_token", end, "eos_token_id", end_id, "bos_token_id",
                     (json_int_t)tokenizer_begin_of_text(t), "pad_token_id",
                     end_id, "vocab_size", tokenizer_vocab_size(t),
                     "model_max_length", infer_shape(f)->context);
    json_object_set_new(root, "chat_template", json_null());
    http_answer(rq, 200, root);
    serving_put(rq->context->serving, f);
}
