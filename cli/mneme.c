/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mneme: runs the verb of the command line, and reports its error.
 */
#include "config.h"

#include <errno.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fileio.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "cli/completion.h"
#include "cli/help.h"
#include "cli/verb.h"
#include "learner/kernels/ops.h"

static const struct verb *find(const char *name)
{
    for (size_t i = 0; i < verbs_n; i++)
        if (!strcmp(verbs[i].name, name))
            return &verbs[i];
    return NULL;
}

static int no_such_verb(const char *name, struct err *err)
{
    if (name[0] == '-')
        return err_set(err, ERR_INVALID, "options come after the verb: mneme "
                       "VERB %s ...; see: mneme help", name);
    return err_set(err, ERR_INVALID, "there is no verb %s; see: mneme help",
                   name);
}

int cmd_help(const struct verb_args *args, struct err *err)
{
    const struct verb *verb = args->n_words ? find(args->words[0]) : NULL;

    if (verb_has(args, "man"))
        help_man(stdout);
    else if (args->n_words == 0)
        help_all(stdout);
    else if (verb)
        help_verb(verb, stdout);
    else
        return no_such_verb(args->words[0], err);
    return 0;
}

int cmd_completion(const struct verb_args *args, struct err *err)
{
    return completion_print(args->words[0], stdout, err);
}

static int run(const struct verb *verb, int argc, char **argv,
               struct err *err)
{
    struct verb_args args;
    int rc = verb_parse(verb, argc, argv, &args, err);

    if (rc == 0 && verb_has(&args, "help"))
        help_verb(verb, stdout);
    else if (rc == 0)
        rc = verb->run(&args, err);
    free(args.given);
    return rc;
}

/* --- the standard output ------------------------------------------------ */

/* Like other tools, mneme ends by SIGPIPE, without a message, when the reader
 * of its output has left, even if its parent ignores SIGPIPE. */
static void die_with_reader(void)
{
    sigset_t set;

    signal(SIGPIPE, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

/* Also works for a verb that handles SIGPIPE itself. */
static bool reader_has_left(void)
{
    struct pollfd p = {.fd = STDOUT_FILENO, .events = POLLOUT};

    return poll(&p, 1, 0) == 1 && (p.revents & POLLERR);
}

/* Flushes the standard output. A failure is the error of a verb that had
 * none. */
static int finish_output(int rc, struct err *err)
{
    bool failed = fflush(stdout) != 0;
    int why = failed ? errno : 0;

    if (!failed && !ferror(stdout))
        return rc;
    if (why == EPIPE || reader_has_left()) {
        die_with_reader();
        raise(SIGPIPE);
    }
    if (rc)
        return rc;
    if (why)
        return err_set_errno(err, ERR_IO, why, "standard output");
    return err_set(err, ERR_IO, "the standard output cannot be written");
}

/* --- main --------------------------------------------------------------- */

static int dispatch(int argc, char **argv, struct err *err)
{
    const char *name = argv[1];
    const struct verb *verb = find(name);

    if (verb)
        return run(verb, argc - 1, argv + 1, err);
    if (!strcmp(name, "--help") || !strcmp(name, "-h"))
        help_all(stdout);
    else if (!strcmp(name, "--version") || !strcmp(name, "-V"))
        puts("mneme " PACKAGE_VERSION);
    else
        return no_such_verb(name, err);
    return 0;
}

int main(int argc, char **argv)
{
    const struct verb *verb = argc > 1 ? find(argv[1]) : NULL;
    struct err err = ERR_INIT;
    int rc;

    ops_restart(argv);
    setlocale(LC_CTYPE, "");
    fileio_occupy_closed();
    die_with_reader();
    if (argc < 2) {
        help_all(stderr);
        return 2;
    }
    rc = finish_output(dispatch(argc, argv, &err), &err);
    if (rc && err.msg[0]) {
        char *who = xasprintf("mneme%s%s", verb ? " " : "",
                              verb ? verb->name : "");

        log_plain(who, err.msg);
        free(who);
    }
    return err_exit_status(rc);
}
