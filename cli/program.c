/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cli/program.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fileio.h"
#include "base/xalloc.h"

char *program_mnemed(void)
{
    static const char *const beside[] = {"../daemon/mnemed",
                                         "../sbin/mnemed"};
    const char *env = getenv("MNEMED");
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    char *slash;

    if (env && *env)
        return xstrdup(env);
    self[n > 0 ? n : 0] = '\0';
    slash = strrchr(self, '/');
    for (size_t i = 0; slash && i < sizeof beside / sizeof *beside; i++) {
        char *path, *plain;

        *slash = '\0';
        path = fileio_join(self, beside[i]);
        plain = access(path, X_OK) == 0 ? realpath(path, NULL) : NULL;
        free(path);
        if (plain)
            return plain;
    }
    return xstrdup("mnemed");
}
