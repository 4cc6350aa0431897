/* SPDX-License-Identifier: Apache-2.0 */
/* A model's config.json, as model.init finds it. */
#include "config.h"

#include "store/hf.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct model_shape shape;
    int64_t end_of_text;

    hf_parse_config((const char *)data, size, &shape, &end_of_text, NULL);
    return 0;
}
