/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration file: YAML, then the table of keys. */
#include "config.h"

#include "conf/conf.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct conf *conf = conf_create();
    struct conf_problems problems = CONF_PROBLEMS_INIT;

    conf_load(conf, fuzz_file(data, size), NULL, 0, NULL, &problems);
    conf_problems_release(&problems);
    conf_free(conf);
    return 0;
}
