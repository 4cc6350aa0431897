/* SPDX-License-Identifier: Apache-2.0 */
/*
 * getopt_long parses the verb's own options and the common ones, joined in one
 * list. It returns a long option as FIRST_LONG plus its index in that list.
 */
#include "config.h"

#include "cli/verb.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/xalloc.h"

#define FIRST_LONG 256
#define MOST_OPTIONS 32

const struct verb_option verb_common[] = {
    {"addr", 0, "ADDRESS",
     "the daemon's address: HOST:PORT, https://HOST:PORT or unix:PATH "
     "(default: $MNEME_ADDR; else the address in the data directory, if it is "
     "an address of this machine; else 127.0.0.1:6636)"},
    {"ca", 0, "FILE",
     "with https: the certificates, in PEM form, that may have signed the "
     "daemon's (default: $MNEME_CA; else those that the system trusts)"},
    {"data-dir", 0, "DIR", "the daemon's data directory (default: "
                           "./mneme-data)"},
    {"json", 0, NULL, "print JSON instead of a table"},
    {"help", 'h', NULL, "print this help and exit"},
    {NULL, 0, NULL, NULL},
};

bool verb_takes(const struct verb *verb, const struct verb_option *common)
{
    return verb->json || strcmp(common->name, "json") != 0;
}

/* --- parsing ------------------------------------------------------------ */

struct joined {
    const struct verb_option *all[MOST_OPTIONS];
    struct option longs[MOST_OPTIONS + 1];
    char shorts[3 * MOST_OPTIONS + 2];
    size_t n;
};

static void join_one(struct joined *j, const struct verb_option *o)
{
    size_t at = strlen(j->shorts);

    BUG_ON(j->n == MOST_OPTIONS);
    j->all[j->n] = o;
    j->longs[j->n].name = o->name;
    j->longs[j->n].has_arg = o->value ? required_argument : no_argument;
    j->longs[j->n].val = FIRST_LONG + (int)j->n;
    j->n++;
    if (o->letter) {
        j->shorts[at++] = o->letter;
        if (o->value)
            j->shorts[at++] = ':';
        j->shorts[at] = '\0';
    }
}

static void join(const struct verb *verb, struct joined *j)
{
    memset(j, 0, sizeof *j);
    strcpy(j->shorts, ":"); /* a missing value is returned as ':' */
    for (const struct verb_option *o = verb->options; o && o->name; o++)
        join_one(j, o);
    for (const struct verb_option *o = verb_common; o->name; o++)
        if (verb_takes(verb, o))
            join_one(j, o);
}

int verb_parse(const struct verb *verb, int argc, char **argv,
               struct verb_args *args, struct err *err)
{
    struct joined j;
    int c;

    join(verb, &j);
    memset(args, 0, sizeof *args);
    args->verb = verb;
    opterr = 0;
    optind = 1;
    while ((c = getopt_long(argc, argv, j.shorts, j.longs, NULL)) != -1) {
        size_t i = 0;

        if (c == '?' || c == ':')
            return err_set(err, ERR_INVALID, "%s: %s; see: mneme help %s",
                           argv[optind - 1],
                           c == ':' ? "this option needs a value"
                                    : "there is no such option, or it takes "
                                      "no value",
                           verb->name);
        while (c < FIRST_LONG ? j.all[i]->letter != c
                              : i != (size_t)(c - FIRST_LONG))
            i++;
        XGROW(args->given, args->n_given, args->cap_given);
        args->given[args->n_given].option = j.all[i];
        args->given[args->n_given++].value = optarg;
    }
    args->words = argv + optind;
    args->n_words = (size_t)(argc - optind);
    if (verb_has(args, "help") || (args->n_words >= verb->min_words &&
                                   args->n_words <= verb->max_words))
        return 0;
    return err_set(err, ERR_INVALID, "too %s arguments; usage: mneme %s%s%s",
                   args->n_words < verb->min_words ? "few" : "many",
                   verb->name, verb->words ? " " : "",
                   verb->words ? verb->words : "");
}

/* --- values ------------------------------------------------------------- */

static const struct verb_given *find_last(const struct verb_args *args,
                                          const char *name)
{
    for (size_t i = args->n_given; i-- > 0;)
        if (!strcmp(args->given[i].option->name, name))
            return &args->given[i];
    return NULL;
}

const char *verb_value(const struct verb_args *args, const char *name)
{
    const struct verb_given *g = find_last(args, name);

    return g ? g->value : NULL;
}

const char *verb_path(const struct verb_args *args, const char *name)
{
    const char *path = verb_value(args, name);

    return path && !strcmp(path, "-") ? "/dev/stdin" : path;
}

bool verb_has(const struct verb_args *args, const char *name)
{
    return find_last(args, name) != NULL;
}

static int parse_integer(const char *text, int64_t least, int64_t most,
                         int64_t *out)
{
    char *end;
    long long value;

    errno = 0;
    value = strtoll(text, &end, 10);
    if (errno || end == text || *end || value < least || value > most)
        return -1;
    *out = value;
    return 0;
}

int verb_integer(const struct verb_args *args, const char *name,
                 int64_t least, int64_t most, int64_t *out, struct err *err)
{
    const char *text = verb_value(args, name);

    if (!text || parse_integer(text, least, most, out) == 0)
        return 0;
    return err_set(err, ERR_INVALID,
                   "--%s: %s: a whole number from %lld to %lld is needed",
                   name, text, (long long)least, (long long)most);
}

int verb_real(const struct verb_args *args, const char *name, double least,
              double most, double *out, struct err *err)
{
    const char *text = verb_value(args, name);
    char *end;
    double value;

    if (!text)
        return 0;
    value = strtod(text, &end);
    if (end == text || *end || !(value >= least && value <= most))
        return err_set(err, ERR_INVALID,
                       "--%s: %s: a number from %g to %g is needed", name,
                       text, least, most);
    *out = value;
    return 0;
}

int verb_number(const char *word, const char *of, int64_t *number,
                struct err *err)
{
    if (parse_integer(word, 1, INT64_MAX, number) == 0)
        return 0;
    return err_set(err, ERR_INVALID, "%s: the number of a %s is needed", word,
                   of);
}

const char *verb_data_dir(const struct verb_args *args)
{
    const char *dir = verb_value(args, "data-dir");

    return dir ? dir : "./mneme-data";
}
