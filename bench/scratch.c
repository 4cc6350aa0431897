/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "bench/scratch.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/xalloc.h"

int scratch_make(const char *name, char **dir, struct err *err)
{
    const char *tmp = getenv("TMPDIR");
    char *path = xasprintf("%s/%s-XXXXXX", tmp && *tmp ? tmp : "/tmp", name);
    int rc;

    if (mkdtemp(path)) {
        *dir = path;
        return 0;
    }
    rc = err_set_errno(err, ERR_IO, errno, "%s", path);
    free(path);
    return rc;
}

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void scratch_remove(char *dir)
{
    if (dir)
        (void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(dir);
}
