/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/fileio.h"
#include "base/log.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "tests/util/base_util.h"

int base_make_temp(void **state)
{
    const char *top = getenv("TMPDIR");
    char *path = xasprintf("%s/mneme-base-XXXXXX", top ? top : "/tmp");

    if (!mkdtemp(path))
        return -1;
    *state = path;
    return 0;
}

int base_remove_temp(void **state)
{
    int rc;

    fileio_fault = NULL;
    timing_set_fake(NULL);
    log_configure(LOG_INFO, LOG_TEXT);
    rc = fileio_remove_dir(*state, NULL);
    free(*state);
    return rc;
}

/* What the file holds, to be freed. */
static char *content(const char *path)
{
    struct buf b = BUF_INIT;

    assert_int_equal(fileio_read(path, 1 << 20, &b, NULL), 0);
    return buf_detach(&b);
}

void base_assert_content(const char *path, const char *expected)
{
    char *text = content(path);

    assert_string_equal(text, expected);
    free(text);
}

bool base_aborts(void (*f)(void))
{
    struct rlimit no_core = {0, 0};
    int status = 0;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGABRT, SIG_DFL);
        if (!freopen("/dev/null", "w", stderr))
            _exit(3);
        f();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}
