/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mnemed: reads the command line and the configuration; then runs the daemon,
 * checks the configuration, or learns a version again. Sets the exit status.
 */
#include "config.h"

#include <getopt.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "conf/conf.h"
#include "daemon/daemon.h"
#include "daemon/http/http.h"
#include "daemon/train/retrain.h"
#include "daemon/stream/source.h"
#include "learner/kernels/ops.h"

#define EXIT_FAILED 1
#define EXIT_USAGE 2

struct arguments {
    char *conf_path; /* NULL: no file */
    const char *data_dir;
    const char **sets;
    size_t n_sets, cap_sets;
    bool test, print, verbose, json;
    bool retrains;   /* --retrain is given */
    int64_t retrain; /* the version; 0: the newest */
};

static void usage(FILE *out)
{
    fputs("Usage: mnemed [-c FILE] [-t | -T] [--set KEY=VALUE]... "
          "[--data-dir DIR] [-v]\n"
          "       mnemed --retrain N [-c FILE] [--set KEY=VALUE]... "
          "[--data-dir DIR]\n"
          "                         [--json]\n"
          "\n"
          "Learns from a text stream, publishes versions, and serves them over "
          "HTTP.\n"
          "\n"
          "  -c, --conf FILE      the configuration (default: $MNEME_CONF, "
          "./mneme.yaml,\n"
          "                       " SYSCONFDIR "/mneme/mneme.yaml)\n"
          "  -t, --test           check the configuration and exit\n"
          "  -T, --print          check the configuration, print every key "
          "with its value,\n"
          "                       and exit\n"
          "      --set KEY=VALUE  override one key, given by its dotted path\n"
          "      --data-dir DIR   keep all data in DIR (overrides data_dir)\n"
          "      --retrain N      learn version N (or: latest) again from its "
          "parent and\n"
          "                       the same records, compare both bit by bit, "
          "and exit\n"
          "      --json           print the report of --retrain as JSON\n"
          "  -v, --verbose        log at level debug\n"
          "  -V, --version        print the program version and exit\n"
          "  -h, --help           print this text and exit\n"
          "\n"
          "See mnemed(8) and mneme.yaml(5).\n",
          out);
}

/* Returns -1 to go on, or the exit status. */
static int parse_arguments(int argc, char **argv, struct arguments *a)
{
    enum { OPT_SET = 256, OPT_DATA_DIR, OPT_RETRAIN, OPT_JSON };
    static const struct option options[] = {
        {"conf", required_argument, NULL, 'c'},
        {"test", no_argument, NULL, 't'},
        {"print", no_argument, NULL, 'T'},
        {"set", required_argument, NULL, OPT_SET},
        {"data-dir", required_argument, NULL, OPT_DATA_DIR},
        {"retrain", required_argument, NULL, OPT_RETRAIN},
        {"json", no_argument, NULL, OPT_JSON},
        {"verbose", no_argument, NULL, 'v'},
        {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    char *end;
    int c;

    while ((c = getopt_long(argc, argv, "c:tTvVh", options, NULL)) != -1) {
        switch (c) {
        case 'c':
            free(a->conf_path);
            a->conf_path = xstrdup(optarg);
            break;
        case 't':
            a->test = true;
            break;
        case 'T':
            a->test = a->print = true;
            break;
        case OPT_SET:
            XGROW(a->sets, a->n_sets, a->cap_sets);
            a->sets[a->n_sets++] = optarg;
            break;
        case OPT_DATA_DIR:
            a->data_dir = optarg;
            break;
        case OPT_RETRAIN:
            a->retrains = true;
            if (strcmp(optarg, "latest") == 0)
                break;
            a->retrain = strtoll(optarg, &end, 10);
            if (a->retrain < 1 || *end) {
                fprintf(stderr,
                        "mnemed: --retrain: expected a version number or "
                        "'latest', got '%s'\n",
                        optarg);
                return EXIT_USAGE;
            }
            break;
        case OPT_JSON:
            a->json = true;
            break;
        case 'v':
            a->verbose = true;
            break;
        case 'V':
            puts("mnemed " PACKAGE_VERSION);
            return 0;
        case 'h':
            usage(stdout);
            return 0;
        default:
            usage(stderr);
            return EXIT_USAGE;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "mnemed: unexpected argument: %s\n", argv[optind]);
        return EXIT_USAGE;
    }
    return -1;
}

/*
 * Memory of tensors goes back to the system when they are freed. By default,
 * glibc raises its threshold for that after the first large block, and keeps
 * freed memory in an arena for each thread. Measured: the process then takes
 * 1.75 times the announced memory.
 */
static void configure_malloc(void)
{
#ifdef __GLIBC__
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    mallopt(M_ARENA_MAX, 4);
#endif
}

/* Reads the configuration from the file and the arguments. NULL: it is not
 * valid, and every problem has been printed. */
static struct conf *load(void *arg)
{
    const struct arguments *a = arg;
    struct conf_problems problems = CONF_PROBLEMS_INIT;
    struct conf *conf = conf_create();
    int rc = conf_load(conf, a->conf_path, a->sets, a->n_sets,
                       source_property_check, &problems);

    for (size_t i = 0; i < problems.n; i++)
        fprintf(stderr, "%s\n", problems.items[i].text);
    if (problems.n_dropped)
        fprintf(stderr, "and %zu more\n", problems.n_dropped);
    conf_problems_release(&problems);
    if (rc) {
        conf_free(conf);
        return NULL;
    }
    if (a->data_dir)
        conf_set_data_dir(conf, a->data_dir);
    if (a->verbose)
        conf->log.level = LOG_DEBUG;
    return conf;
}

/* Reads the files that keys of http name, and prints the faults found. */
static bool files_are_sound(const struct conf *conf)
{
    struct err err = ERR_INIT;

    if (http_check(conf, &err) == 0)
        return true;
    fprintf(stderr, "mnemed: %s\n", err.msg);
    return false;
}

static void print_conf(const struct conf *conf)
{
    struct buf text = BUF_INIT;

    conf_print(conf, &text);
    fwrite(text.data, 1, text.len, stdout);
    buf_release(&text);
}

static int run(struct conf *conf, struct arguments *a)
{
    struct err err = ERR_INIT;

    log_configure(conf->log.level, conf->log.format);
    log_info("start", "program=mnemed version=%s data_dir=%s",
             PACKAGE_VERSION, conf->data_dir);
    if (daemon_run(conf, load, a, &err) != 0) {
        log_plain("mnemed", err.msg);
        return EXIT_FAILED;
    }
    log_info("stop", "program=mnemed");
    return 0;
}

/* --- --retrain ---------------------------------------------------------- */

static void print_difference(const json_t *d)
{
    const char *key;
    json_t *value;

    printf("  %s:", json_string_value(json_object_get(d, "what")));
    json_object_foreach((json_t *)d, key, value)
    {
        if (json_is_integer(value))
            printf(" %s %" JSON_INTEGER_FORMAT, key, json_integer_value(value));
    }
    putchar('\n');
}

static void print_report(const json_t *report)
{
    const json_t *list = json_object_get(report, "differences");
    bool same = json_is_true(json_object_get(report, "same"));
    json_int_t version = json_integer_value(json_object_get(report, "version"));
    json_t *item;
    size_t i;

    printf("version %" JSON_INTEGER_FORMAT " learned again from version "
           "%" JSON_INTEGER_FORMAT ": %" JSON_INTEGER_FORMAT " records in "
           "%" JSON_INTEGER_FORMAT " steps\n",
           version, json_integer_value(json_object_get(report, "parent")),
           json_integer_value(json_object_get(report, "records")),
           json_integer_value(json_object_get(report, "steps")));
    json_array_foreach(json_object_get(report, "notes"), i, item)
        printf("note: %s\n", json_string_value(item));
    if (same)
        printf("the same, bit for bit; weights_sha256 %s\n",
               json_string_value(json_object_get(report, "weights_sha256")));
    else
        printf("NOT the same; %zu differences:\n", json_array_size(list));
    json_array_foreach(list, i, item)
        print_difference(item);
}

/* Returns the exit status. */
static int retrain(struct conf *conf, struct arguments *a)
{
    struct err err = ERR_INIT;
    json_t *report = NULL;
    int status;

    log_configure(conf->log.level, conf->log.format);
    ops_init();
    if (retrain_settings(conf, &a->retrain, &err) == 0)
        retrain_run(conf, a->retrain, &report, &err);
    status = err_exit_status(err.code);
    if (err.code != ERR_OK)
        log_plain("mnemed", err.msg);
    if (report && a->json) {
        json_dumpf(report, stdout, JSON_INDENT(2));
        putchar('\n');
    } else if (report) {
        print_report(report);
    }
    if (report && !json_is_true(json_object_get(report, "same")))
        status = EXIT_FAILED;
    json_decref(report);
    return status;
}

int main(int argc, char **argv)
{
    struct arguments a = {0};
    struct conf *conf = NULL;
    int status;

    fileio_occupy_closed();
    ops_restart(argv);
    status = parse_arguments(argc, argv, &a);
    configure_malloc();
    if (status >= 0)
        goto out;
    if (!a.conf_path)
        a.conf_path = conf_find();
    conf = load(&a);
    if (!conf)
        status = EXIT_USAGE;
    else if (a.test && !files_are_sound(conf))
        status = EXIT_USAGE;
    else if (a.print)
        print_conf(conf);
    else if (a.test)
        puts("mnemed: the configuration is valid");
    if (status < 0)
        status = a.test       ? 0
                 : a.retrains ? retrain(conf, &a)
                              : run(conf, &a);
out:
    if ((fflush(stdout) != 0 || ferror(stdout)) && status == 0) {
        fputs("mnemed: the standard output cannot be written\n", stderr);
        status = EXIT_FAILED;
    }
    conf_free(conf);
    free(a.conf_path);
    free(a.sets);
    return status;
}
