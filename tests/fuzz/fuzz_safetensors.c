/* SPDX-License-Identifier: Apache-2.0 */
/* A file of tensors. */
#include "config.h"

#include "store/safetensors.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tensor_list tensors = TENSOR_LIST_INIT;
    struct buf metadata = BUF_INIT;

    safetensors_read(fuzz_file(data, size), NULL, UINT64_MAX, &tensors,
                     &metadata, NULL);
    tensor_list_release(&tensors);
    buf_release(&metadata);
    return 0;
}
