/* SPDX-License-Identifier: Apache-2.0 */
/* A GGUF file, as mneme import finds it: keys, tensors, tokenizer, numbers. */
#include "config.h"

#include "interchange/import_gguf.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct import_model m = IMPORT_MODEL_INIT;

    import_gguf_read(fuzz_file(data, size), &m, true, NULL);
    import_release(&m);
    return 0;
}
