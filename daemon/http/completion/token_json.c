/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/http/completion/token_json.h"

#include "base/utf8.h"

json_t *token_json_text(const struct tokenizer *t, token_id id)
{
    struct buf text = BUF_INIT;
    size_t n;
    const char *bytes = tokenizer_bytes(t, id, &n);
    json_t *s;

    if (tokenizer_is_special(t, id)) {
        buf_adds(&text, tokenizer_piece(t, id));
    } else if (utf8_valid(bytes, n)) {
        buf_add(&text, bytes, n);
    } else {
        buf_adds(&text, "bytes:");
        for (size_t i = 0; i < n; i++)
            buf_addf(&text, "\\x%02x", (unsigned char)bytes[i]);
    }
    s = json_stringn(text.data ? text.data : "", text.len);
    buf_release(&text);
    return s;
}

bool token_json_encode(struct http_request *rq, const struct infer *f,
                       const char *text, size_t n_bytes, struct token_list *ids)
{
    struct cancel cancel = http_cancel_callback(&rq->cancel);
    struct err err = ERR_INIT;

    if (tokenizer_encode_cancellable(infer_tokenizer(f), text, n_bytes, &cancel,
                                     ids, &err) == 0)
        return true;
    http_fail_err(rq, &err);
    return false;
}

bool token_json_ids(struct http_request *rq, const char *key, const char *name,
                    const struct infer *f, const json_t *list,
                    struct token_list *ids)
{
    int vocab = tokenizer_vocab_size(infer_tokenizer(f));

    for (size_t i = 0; i < json_array_size(list); i++) {
        int64_t id;

        if (!http_integer_of(json_array_get(list, i), &id) || id < 0 ||
            id >= vocab) {
            http_fail(rq, 400, "invalid_value", key,
                      "'%s[%zu]' must be a token id of this model, a whole "
                      "number from 0 to %d (see POST /tokenize)",
                      name, i, vocab - 1);
            return false;
        }
        token_list_add(ids, (token_id)id);
    }
    return true;
}
