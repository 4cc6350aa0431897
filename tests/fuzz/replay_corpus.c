/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a fuzz target on each file of its corpus, tests/fuzz/corpus/NAME. NAME is
 * the program's name after "fuzz_". Prints TAP.
 */
#include "config.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fileio.h"
#include "base/xalloc.h"
#include "tests/fuzz/fuzz.h"

static int is_input(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

int main(int argc, char **argv)
{
    const char *top = getenv("top_srcdir");
    const char *name = strstr(argv[argc - 1], "fuzz_");
    struct dirent **entries = NULL;
    char *folder;
    int n;

    if (!name)
        return 1;
    folder = xasprintf("%s/tests/fuzz/corpus/%s", top ? top : ".",
                       name + strlen("fuzz_"));
    n = scandir(folder, &entries, is_input, alphasort);
    if (n <= 0) {
        fprintf(stderr, "%s: no corpus\n", folder);
        return 1;
    }
    printf("1..%d\n", n);
    for (int i = 0; i < n; i++) {
        char *path = fileio_join(folder, entries[i]->d_name);
        struct buf bytes = BUF_INIT;
        struct err err = ERR_INIT;

        if (fileio_read(path, 1 << 24, &bytes, &err) != 0) {
            printf("not ok %d - %s: %s\n", i + 1, entries[i]->d_name, err.msg);
        } else {
            LLVMFuzzerTestOneInput((const uint8_t *)bytes.data, bytes.len);
            printf("ok %d - %s\n", i + 1, entries[i]->d_name);
        }
        fflush(stdout);
        buf_release(&bytes);
        free(path);
        free(entries[i]);
    }
    free(entries);
    free(folder);
    return 0;
}
