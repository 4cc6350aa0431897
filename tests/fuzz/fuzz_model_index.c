/* SPDX-License-Identifier: Apache-2.0 */
/* model.safetensors.index.json of a model that comes in several files. */
#include "config.h"

#include "interchange/import.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *map = NULL;

    import_parse_index((const char *)data, size, &map, NULL);
    json_decref(map);
    return 0;
}
