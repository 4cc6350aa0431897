/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verb.h - the verbs of the client, and the arguments that a verb gets.
 *
 * A new verb is a row of the table in verbs.c and a function, which is declared
 * at the end of this header.
 *
 * Owner:   struct verb_args points into argv and into the table
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
    const char *value; /* a name for its value; NULL: it takes none */
    const char *help;
};

struct verb_args {
    const struct verb *verb;
    char **words; /* the arguments that are no options */
    size_t n_words;
    struct verb_given {
        const struct verb_option *option;
        const char *value; /* NULL: it takes none */
    } *given;
    size_t n_given, cap_given;
};

/* Prints its result on the standard output. Returns 0 or an error code, which
 * err_exit_status() maps to the exit status. */
typedef int verb_fn(const struct verb_args *args, struct err *err);

struct verb {
    const char *name;
    const char *words;   /* of the synopsis, as "A B"; NULL: none */
    size_t min_words, max_words;
    bool json;           /* takes --json */
    const char *summary; /* one line */
    const char *details; /* or NULL; paragraphs end with a line feed */
    const struct verb_option *options; /* its own, or NULL */
    verb_fn *run;
    const char *exits; /* a sentence about 1, 2 and 3, or NULL */
};

extern const struct verb verbs[];
extern const size_t verbs_n;

/* The common options: --addr, --ca, --data-dir, --json, --help. */
extern const struct verb_option verb_common[];

/* Does the verb take this common option? Not each one takes --json. */
bool verb_takes(const struct verb *verb, const struct verb_option *common);

/* Parses argv[1..]; argv[0] is the verb. ERR_INVALID names a wrong option.
 * The caller frees args->given, also after an error. */
int verb_parse(const struct verb *verb, int argc, char **argv,
               struct verb_args *args, struct err *err);

/* The last value of an option; NULL: it was not given. */
const char *verb_value(const struct verb_args *args, const char *name);
/* The same for a file name, where "-" becomes the path of the standard
 * input. */
const char *verb_path(const struct verb_args *args, const char *name);
bool verb_has(const struct verb_args *args, const char *name);

/* Parse the value of an option, a number from least to most. Without the
 * option, *out stays. ERR_INVALID. */
int verb_integer(const struct verb_args *args, const char *name,
                 int64_t least, int64_t most, int64_t *out, struct err *err);
int verb_real(const struct verb_args *args, const char *name, double least,
              double most, double *out, struct err *err);

/* Parses the number of a version, a record or a range (`of`), 1 or more.
 * ERR_INVALID. */
int verb_number(const char *word, const char *of, int64_t *number,
                struct err *err);

/* The value of --data-dir, or else the daemon's default. */
const char *verb_data_dir(const struct verb_args *args);

/* --- the functions of the verbs ----------------------------------------- */

verb_fn cmd_completion, cmd_help;                                 /* mneme.c */
verb_fn cmd_versions, cmd_show, cmd_diff, cmd_history;     /* cmd_versions.c */
verb_fn cmd_rollback, cmd_version, cmd_tag, cmd_untag;     /* cmd_rollback.c */
verb_fn cmd_ranges;                                        /* cmd_rollback.c */
verb_fn cmd_token;                                         /* cmd_token.c */
verb_fn cmd_quarantine, cmd_forget;                      /* cmd_quarantine.c */
verb_fn cmd_generate, cmd_score, cmd_classify, cmd_embed;       /* cmd_ask.c */
verb_fn cmd_backup, cmd_restore;                             /* cmd_backup.c */
/* a file each: */
verb_fn cmd_bench, cmd_demo, cmd_doctor, cmd_eval, cmd_export, cmd_feed;
verb_fn cmd_import, cmd_status, cmd_top, cmd_verify;

#endif
