/* SPDX-License-Identifier: Apache-2.0 */
/* A tokenizer.json. What is accepted encodes the file itself, and is written
 * and read again; both tokenizers give the same ids. */
#include "config.h"

#include "learner/tokenizer/tokenizer.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

static void encode_both(const struct tokenizer *t, const char *text, size_t n,
                        struct token_list *ids)
{
    tokenizer_encode(t, text, n, ids);
    tokenizer_encode_marked(t, text, n, ids);
    for (size_t i = 0; i < ids->n; i++)
        if (ids->items[i] >= (token_id)tokenizer_vocab_size(t))
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct tokenizer *t, *again;
    struct token_list ids = TOKEN_LIST_INIT, same = TOKEN_LIST_INIT;
    struct buf json = BUF_INIT, back = BUF_INIT;

    if (tokenizer_from_json(text, size, &t, NULL) != 0)
        return 0;
    encode_both(t, text, size, &ids);
    tokenizer_decode(t, ids.items, ids.n, &back);
    tokenizer_to_json(t, &json);
    if (tokenizer_from_json(json.data, json.len, &again, NULL) != 0)
        abort();
    encode_both(again, text, size, &same);
    if (ids.n != same.n || (ids.n && memcmp(ids.items, same.items,
                                            ids.n * sizeof *ids.items) != 0))
        abort();
    tokenizer_free(again);
    tokenizer_free(t);
    token_list_release(&ids);
    token_list_release(&same);
    buf_release(&json);
    buf_release(&back);
    return 0;
}
