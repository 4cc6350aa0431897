/* SPDX-License-Identifier: Apache-2.0 */
/* A file of lines, plain or compressed with gzip or zstd. */
#include "config.h"

#include "base/lines.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { LINE_MAX_BYTES = 4096 };
    struct lines *l = lines_open(fuzz_file(data, size), LINE_MAX_BYTES, NULL);
    struct line line;

    if (!l)
        return 0;
    while (lines_next(l, &line, NULL) == 0)
        if (line.n_bytes > LINE_MAX_BYTES)
            abort();
    lines_rest(l, &line, NULL);
    lines_close(l);
    return 0;
}
