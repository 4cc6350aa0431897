/* SPDX-License-Identifier: Apache-2.0 */
/* The metadata of a version: what the learner's progress was. */
#include "config.h"

#include "daemon/intake/progress.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct progress progress;

    progress_init(&progress);
    progress_import(&progress, (const char *)data, size, NULL);
    progress_release(&progress);
    return 0;
}
