/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A job writes lines: "p SHARE", then "r JSON" or "e CODE MESSAGE". An end of
 * the pipe without r or e means that the process was killed.
 */
#include "config.h"

#include "eval/eval_pool.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/timing.h"
#include "base/xalloc.h"

#define REPORT_MS 100 /* between two reports of a job */

struct sink {
    int fd;
    int64_t reported_ms;
};

struct job {
    pid_t pid; /* 0: not started, or ended */
    int fd;    /* -1: closed */
    struct buf text;
    double share;
    bool done;
};

/* --- in the job's process ----------------------------------------------- */

/* Ends the process when nobody reads. */
static void send(int fd, const struct buf *text)
{
    size_t at = 0;

    while (at < text->len) {
        ssize_t n = write(fd, text->data + at, text->len - at);

        if (n < 0 && errno != EINTR)
            _exit(1);
        at += n < 0 ? 0 : (size_t)n;
    }
}

void eval_pool_report(void *arg, double share)
{
    struct sink *sink = arg;
    int64_t now = timing_mono_ms();
    struct buf text = BUF_INIT;

    if (now - sink->reported_ms < REPORT_MS)
        return;
    sink->reported_ms = now;
    buf_addf(&text, "p %.6f\n", share);
    send(sink->fd, &text);
    buf_release(&text);
}

static void run_job(const struct eval_pool *pool, size_t i, int fd)
{
    struct sink sink = {.fd = fd};
    struct buf text = BUF_INIT;
    struct err err = ERR_INIT;
    json_t *result = NULL;

    if (pool->run(pool->arg, i, &sink, &result, &err) == 0) {
        char *json = json_dumps(result, JSON_COMPACT);

        buf_addf(&text, "r %s\n", json);
        free(json);
        json_decref(result);
    } else {
        buf_addf(&text, "e %d %s\n", (int)err.code, err.msg);
    }
    send(fd, &text);
    buf_release(&text);
    _exit(0);
}

/* --- in this process ---------------------------------------------------- */

static int start(const struct eval_pool *pool, struct job *jobs, size_t i,
                 struct err *err)
{
    int ends[2];

    if (pipe(ends) != 0)
        return err_set_errno(err, ERR_IO, errno, "pipe");
    fflush(NULL);
    jobs[i].pid = fork();
    if (jobs[i].pid == 0) {
        /* Otherwise this job would keep the others' pipes open when the parent
         * has ended. */
        for (size_t j = 0; j < i; j++)
            if (jobs[j].fd >= 0)
                close(jobs[j].fd);
        close(ends[0]);
        run_job(pool, i, ends[1]);
    }
    close(ends[1]);
    jobs[i].fd = ends[0];
    if (jobs[i].pid < 0) {
        jobs[i].pid = 0;
        return err_set_errno(err, ERR_IO, errno, "fork");
    }
    return 0;
}

static void end(struct job *job, int *status)
{
    if (job->fd >= 0)
        close(job->fd);
    job->fd = -1;
    while (waitpid(job->pid, status, 0) < 0 && errno == EINTR)
        continue;
    job->pid = 0;
}

static int take_line(const struct eval_pool *pool, struct job *job, size_t i,
                     const char *line, json_t **results, struct err *err)
{
    char name[64], *rest;
    int code;

    if (line[0] == 'p') {
        job->share = strtod(line + 2, NULL);
    } else if (line[0] == 'r') {
        results[i] = json_loads(line + 2, 0, NULL);
        BUG_ON(!results[i]);
        job->done = true;
        job->share = 1;
    } else {
        code = (int)strtol(line + 2, &rest, 10);
        pool->name(pool->arg, i, name, sizeof name);
        return err_set(err, (enum err_code)code, "%s:%s", name, rest);
    }
    return 0;
}

static int read_job(const struct eval_pool *pool, struct job *job, size_t i,
                    json_t **results, struct err *err)
{
    char bytes[65536], name[64], *newline;
    ssize_t n = read(job->fd, bytes, sizeof bytes);
    int status = 0, rc = 0;

    if (n < 0)
        return errno == EINTR ? 0 : err_set_errno(err, ERR_IO, errno, "pipe");
    if (n == 0) {
        end(job, &status);
        if (job->done)
            return 0;
        pool->name(pool->arg, i, name, sizeof name);
        return err_set(err, ERR_IO, "%s: its process ended by %s %d", name,
                       WIFSIGNALED(status) ? "signal" : "exit status",
                       WIFSIGNALED(status) ? WTERMSIG(status)
                                           : WEXITSTATUS(status));
    }
    buf_add(&job->text, bytes, (size_t)n);
    while (rc == 0 && job->text.len &&
           (newline = memchr(job->text.data, '\n', job->text.len))) {
        size_t used = (size_t)(newline + 1 - job->text.data);

        *newline = '\0';
        rc = take_line(pool, job, i, job->text.data, results, err);
        memmove(job->text.data, job->text.data + used, job->text.len - used);
        job->text.len -= used;
    }
    return rc;
}

static void show(const struct eval_pool *pool, const struct job *jobs)
{
    double share = 0;
    size_t n_done = 0;

    for (size_t i = 0; i < pool->n; i++) {
        share += jobs[i].share;
        n_done += jobs[i].done;
    }
    if (pool->progress)
        pool->progress(pool->arg, share / (double)pool->n, n_done);
}

/* Waits for the running jobs, and reads what they sent. */
static int wait_for_jobs(const struct eval_pool *pool, struct job *jobs,
                         json_t **results, struct err *err)
{
    struct pollfd *fds = xcalloc(pool->n, sizeof *fds);
    int rc = 0;

    for (size_t i = 0; i < pool->n; i++)
        fds[i] = (struct pollfd){.fd = jobs[i].fd, .events = POLLIN};
    if (poll(fds, pool->n, REPORT_MS) > 0)
        for (size_t i = 0; rc == 0 && i < pool->n; i++)
            if (fds[i].revents)
                rc = read_job(pool, &jobs[i], i, results, err);
    free(fds);
    return rc;
}

int eval_pool_run(const struct eval_pool *pool, json_t **results,
                  struct err *err)
{
    struct job *jobs = xcalloc(pool->n, sizeof *jobs);
    size_t next = 0, running;
    int rc = 0;

    for (size_t i = 0; i < pool->n; i++) {
        jobs[i].fd = -1;
        results[i] = NULL;
    }
    do {
        running = 0;
        for (size_t i = 0; i < pool->n; i++)
            running += jobs[i].pid > 0;
        while (rc == 0 && next < pool->n && running < pool->at_once) {
            rc = start(pool, jobs, next++, err);
            running += rc == 0;
        }
        if (rc == 0 && running)
            rc = wait_for_jobs(pool, jobs, results, err);
        show(pool, jobs);
    } while (rc == 0 && running);
    for (size_t i = 0; i < pool->n; i++) {
        if (jobs[i].pid > 0) {
            kill(jobs[i].pid, SIGTERM);
            end(&jobs[i], NULL);
        }
        buf_release(&jobs[i].text);
        if (rc) {
            json_decref(results[i]);
            results[i] = NULL;
        }
    }
    free(jobs);
    return rc;
}
