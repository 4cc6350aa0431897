/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cli/demo_daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fileio.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "cli/program.h"

#define STOP_MS 300000

/* --- where things are --------------------------------------------------- */

static int make_data_dir(struct demo_daemon *d, const char *given,
                         struct err *err)
{
    const char *tmp = getenv("TMPDIR");
    char *store, *made;
    int rc = 0;

    if (!given) {
        made = fileio_join(tmp && *tmp ? tmp : "/tmp", "mneme-demo.XXXXXX");
        if (mkdtemp(made))
            d->data_dir = made;
        else
            rc = err_set_errno(err, ERR_IO, errno, "%s", made);
        if (rc)
            free(made);
        return rc;
    }
    rc = fileio_mkdirs(given, err);
    if (rc)
        return rc;
    d->data_dir = realpath(given, NULL);
    if (!d->data_dir)
        return err_set_errno(err, ERR_IO, errno, "%s", given);
    store = fileio_join(d->data_dir, "mneme.db");
    if (fileio_exists(store))
        rc = err_set(err, ERR_STATE,
                     "%s holds a store already: the demo wants a new directory",
                     given);
    free(store);
    return rc;
}

/* --- starting ----------------------------------------------------------- */

/* In the child: never returns. */
static void become(const struct demo_daemon *d, bool keep, pid_t parent)
{
    int log = open(d->log_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    int null = open("/dev/null", O_RDWR);
    char *argv[] = {d->program, (char *)"-c", d->conf_path, NULL};
    sigset_t none;

    if (log < 0 || null < 0)
        _exit(127);
    dup2(null, STDIN_FILENO);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    setpgid(0, 0);
    signal(SIGINT, SIG_DFL); /* the demo's handler would swallow them */
    signal(SIGTERM, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (!keep) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != parent)
            _exit(127);
    }
    execvp(argv[0], argv);
    fprintf(stderr, "mneme demo: %s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

int demo_daemon_start(struct demo_daemon *d, const char *data_dir,
                      const char *yaml, bool keep, struct err *err)
{
    pid_t parent = getpid();
    sigset_t all, before;
    char *text;
    int rc;

    memset(d, 0, sizeof *d);
    d->program = program_mnemed();
    rc = make_data_dir(d, data_dir, err);
    if (rc)
        return rc;
    d->conf_path = fileio_join(d->data_dir, "mneme.yaml");
    d->log_path = fileio_join(d->data_dir, "mnemed.log");
    text = xasprintf("# Written by mneme demo.\ndata_dir: \"%s\"\n%s",
                     d->data_dir, yaml);
    rc = fileio_write_atomic(d->conf_path, text, strlen(text), err);
    free(text);
    if (rc)
        return rc;
    fflush(NULL);
    /* A signal must not come to the child while it has our handlers. */
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    d->pid = fork();
    if (d->pid == 0)
        become(d, keep, parent);
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (d->pid < 0) {
        d->pid = 0;
        return err_set_errno(err, ERR_IO, errno, "fork");
    }
    return 0;
}

/* --- watching ----------------------------------------------------------- */

/* The last line of the log, into line. */
static void last_words(const struct demo_daemon *d, char *line, size_t size)
{
    struct buf text = BUF_INIT;
    char *at;

    snprintf(line, size, "it wrote nothing");
    if (fileio_read(d->log_path, (size_t)64 << 20, &text, NULL) == 0) {
        while (text.len && text.data[text.len - 1] == '\n')
            text.data[--text.len] = '\0';
        at = text.len ? strrchr(text.data, '\n') : NULL;
        if (text.len)
            snprintf(line, size, "%s", at ? at + 1 : text.data);
    }
    buf_release(&text);
}

int demo_daemon_check(struct demo_daemon *d, struct err *err)
{
    char line[300];
    int status;

    if (d->pid && waitpid(d->pid, &status, WNOHANG) == d->pid)
        d->pid = 0;
    if (d->pid)
        return 0;
    last_words(d, line, sizeof line);
    return err_set(err, ERR_IO, "%s has ended: %s", d->program, line);
}

char *demo_daemon_address(const struct demo_daemon *d, const char *file)
{
    char *path = fileio_join(d->data_dir, file);
    struct buf text = BUF_INIT;
    char *line = NULL;

    if (fileio_read(path, 4096, &text, NULL) == 0 && text.len) {
        text.data[strcspn(text.data, "\r\n")] = '\0';
        line = xstrdup(text.data);
    }
    buf_release(&text);
    free(path);
    return line;
}

/* --- stopping ----------------------------------------------------------- */

bool demo_daemon_stop(struct demo_daemon *d)
{
    int64_t began = timing_mono_ms();
    int status = 0;

    if (!d->pid)
        return true;
    kill(d->pid, SIGTERM);
    while (waitpid(d->pid, &status, WNOHANG) == 0) {
        if (timing_mono_ms() - began > STOP_MS) {
            kill(d->pid, SIGKILL);
            waitpid(d->pid, &status, 0);
            break;
        }
        timing_sleep_ms(20);
    }
    d->pid = 0;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void demo_daemon_release(struct demo_daemon *d)
{
    free(d->program);
    free(d->data_dir);
    free(d->conf_path);
    free(d->log_path);
    memset(d, 0, sizeof *d);
}
