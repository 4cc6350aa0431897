/* SPDX-License-Identifier: Apache-2.0 */
/* A tokenizer.json; what is accepted is written, and read again. */
#include "config.h"

#include "learner/tokenizer/tokenizer.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tokenizer *t, *again;
    struct token_list ids = TOKEN_LIST_INIT;
    struct buf json = BUF_INIT;

    if (tokenizer_from_json((const char *)data, size, &t, NULL) != 0)
        return 0;
    tokenizer_encode(t, (const char *)data, size, &ids);
    tokenizer_to_json(t, &json);
    if (tokenizer_from_json(json.data, json.len, &again, NULL) != 0)
        abort();
    tokenizer_free(again);
    tokenizer_free(t);
    token_list_release(&ids);
    buf_release(&json);
    return 0;
}
