/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verb.h - a verb of the client: what it is called, what it takes, what runs.
 *
 * The one table of them is in mneme.c; dispatch, help, the manual page and the
 * shell's completion come from it.
 *
 * Owner:   a struct verb_args points into argv and into the table
 * Threads: the main one
 */
#ifndef MNEME_CLI_VERB_H
#define MNEME_CLI_VERB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct verb_option {
    const char *name;  /* without the dashes; NULL ends a list */
    char letter;       /* 0: none */
    const char *value; /* what stands for its value; NULL: a switch */
    const char *help;
};

struct verb_args {
    const struct verb *verb;
    char **words; /* what is no option */
    size_t n_words;
    struct verb_given {
        const struct verb_option *option;
        const char *value; /* NULL for a switch */
    } *given;
    size_t n_given, cap_given;
};

/* Returns 0 or an error code, which gives the exit status. */
typedef int verb_fn(const struct verb_args *args, struct err *err);

struct verb {
    const char *name;
    const char *words;   /* "N [M]" for the synopsis; NULL: none */
    size_t min_words, max_words;
    bool json;           /* takes --json */
    const char *summary; /* one line */
    const char *details; /* or NULL; paragraphs end with a line feed */
    const struct verb_option *options; /* its own, or NULL */
    verb_fn *run;
};

/* --addr, --data-dir, --json, --help: those that every verb takes. */
extern const struct verb_option verb_common[];

/*
 * Takes argv[1..] apart, argv[0] being the verb. ERR_INVALID says which option
 * is wrong.
 */
int verb_parse(const struct verb *verb, int argc, char **argv,
               struct verb_args *args, struct err *err);
void verb_args_release(struct verb_args *args);

/* The last value given for an option, NULL when it was not. */
const char *verb_value(const struct verb_args *args, const char *name);
/* The same of an option that names a file: "-" as the standard input's path. */
const char *verb_path(const struct verb_args *args, const char *name);
bool verb_has(const struct verb_args *args, const char *name);

/* The option's value as a number in [least, most], or *out as it was.
 * ERR_INVALID. */
int verb_integer(const struct verb_args *args, const char *name,
                 int64_t least, int64_t most, int64_t *out, struct err *err);
int verb_real(const struct verb_args *args, const char *name, double least,
              double most, double *out, struct err *err);

/* A word as the number of a version: 1 or more. */
int verb_version(const char *word, int64_t *version, struct err *err);

/* --data-dir or the daemon's own default. */
const char *verb_data_dir(const struct verb_args *args);

#endif
