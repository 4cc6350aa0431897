/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cli/mnemed.h"

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

#include "base/fileio.h"
#include "base/xalloc.h"
#include "bench/scratch.h"

char *mnemed_program(void)
{
    static const char *const beside[] = {"../daemon/mnemed", "../sbin/mnemed"};
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

/* --- starting ----------------------------------------------------------- */

static int make_data_dir(struct mnemed *m, const char *given, struct err *err)
{
    char *store;
    int rc = given ? fileio_mkdirs(given, err)
                   : scratch_make("mneme-demo", &m->data_dir, err);

    if (rc || !given)
        return rc;
    m->data_dir = realpath(given, NULL);
    if (!m->data_dir)
        return err_set_errno(err, ERR_IO, errno, "%s", given);
    store = fileio_join(m->data_dir, "mneme.db");
    if (fileio_exists(store))
        rc = err_set(err, ERR_STATE,
                     "%s already holds a store: name a new directory", given);
    free(store);
    return rc;
}

/* Runs in the child and never returns. */
static void run_child(const struct mnemed *m, pid_t parent)
{
    int log = open(m->log_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    int null = open("/dev/null", O_RDWR);
    char *argv[] = {m->program, (char *)"-c", m->conf_path, NULL};
    sigset_t none;

    if (log < 0 || null < 0)
        _exit(127);
    dup2(null, STDIN_FILENO);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    setpgid(0, 0);
    signal(SIGINT, SIG_DFL); /* the client's handlers would lose the signal */
    signal(SIGTERM, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(127);
    execvp(argv[0], argv);
    fprintf(stderr, "mneme: %s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

int mnemed_start(struct mnemed *m, const char *data_dir, const char *yaml,
                 struct err *err)
{
    pid_t parent = getpid();
    sigset_t all, before;
    char *text;
    int rc;

    memset(m, 0, sizeof *m);
    m->program = mnemed_program();
    rc = make_data_dir(m, data_dir, err);
    if (rc)
        return rc;
    m->conf_path = fileio_join(m->data_dir, "mneme.yaml");
    m->log_path = fileio_join(m->data_dir, "mnemed.log");
    text = xasprintf("# Written by mneme demo.\ndata_dir: \"%s\"\n%s",
                     m->data_dir, yaml);
    rc = fileio_write_atomic(m->conf_path, text, strlen(text), err);
    free(text);
    if (rc)
        return rc;
    fflush(NULL);
    /* No signal may reach the child before it has its own handlers. */
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    m->pid = fork();
    if (m->pid == 0)
        run_child(m, parent);
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (m->pid > 0)
        return 0;
    m->pid = 0;
    return err_set_errno(err, ERR_IO, errno, "fork");
}

/* --- watching and stopping ---------------------------------------------- */

int mnemed_check(struct mnemed *m, struct err *err)
{
    if (m->pid && waitpid(m->pid, NULL, WNOHANG) == m->pid)
        m->pid = 0;
    return m->pid ? 0 : err_set(err, ERR_IO, "%s has ended", m->program);
}

bool mnemed_stop(struct mnemed *m)
{
    int status = 0;

    if (!m->pid)
        return true;
    kill(m->pid, SIGTERM);
    while (waitpid(m->pid, &status, 0) < 0 && errno == EINTR)
        ;
    m->pid = 0;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void mnemed_release(struct mnemed *m)
{
    free(m->program);
    free(m->data_dir);
    free(m->conf_path);
    free(m->log_path);
    memset(m, 0, sizeof *m);
}
