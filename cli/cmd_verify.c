/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verify: checks the files of versions against their checksums, and the
 * database. --retrain runs mnemed, which learns a version again. verify only
 * reads, so it works beside a running daemon. A version that retention removes
 * during the check is no damage.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/xalloc.h"
#include "cli/bar.h"
#include "cli/verb.h"
#include "cli/pick.h"
#include "cli/mnemed.h"
#include "store/catalog.h"
#include "store/store.h"

struct report {
    json_t *versions; /* [{"version", "ok", "problem"}] */
    int64_t checked, damaged;
    bool json;
};

static void report_add(struct report *r, int64_t version,
                       const struct err *problem)
{
    json_t *row = json_pack("{s:I, s:b}", "version", (json_int_t)version, "ok",
                            problem == NULL);

    if (problem)
        json_object_set_new(row, "problem", json_string(problem->msg));
    json_array_append_new(r->versions, row);
    r->checked++;
    r->damaged += problem != NULL;
    if (problem && !r->json)
        printf("version %" PRId64 ": DAMAGED: %s\n", version, problem->msg);
}

static bool version_exists(struct catalog *c, int64_t version)
{
    struct catalog_version v;

    if (catalog_get(c, version, &v, NULL) != 0)
        return false;
    catalog_version_release(&v);
    return true;
}

static void check_version(struct catalog *c, int64_t version,
                          struct report *r)
{
    struct err problem = ERR_INIT;

    if (store_verify(c, version, &problem) == 0)
        report_add(r, version, NULL);
    else if (version_exists(c, version))
        report_add(r, version, &problem);
}

static int check_all(struct catalog *c, struct report *r, struct err *err)
{
    struct catalog_version *list = NULL;
    struct bar bar;
    size_t n = 0;
    int rc = catalog_list(c, 0, 0, &list, &n, err);

    bar_begin(&bar, "verify");
    for (size_t i = 0; i < n; i++) {
        bar_update(&bar, (double)i / (double)n, "version %" PRId64,
                   list[i].version);
        check_version(c, list[i].version, r);
    }
    bar_clear(&bar);
    catalog_versions_free(list, n);
    return rc;
}

/* True when the verb has the number of a version, and not `latest`. */
static bool has_number(const struct verb_args *args)
{
    return args->n_words && strcmp(args->words[0], "latest") != 0;
}

/* Checks version N, or the newest version. */
static int check_one(struct catalog *c, const struct verb_args *args,
                     struct report *r, struct err *err)
{
    struct catalog_pointers pointers;
    struct catalog_version v;
    int64_t version;
    int rc;

    if (has_number(args)) {
        rc = verb_number(args->words[0], "version", &version, err);
    } else {
        rc = catalog_pointers(c, &pointers, err);
        version = rc ? 0 : pointers.head;
        if (rc == 0 && version == 0)
            return err_set(err, ERR_NOTFOUND, "%s: no version yet",
                           catalog_dir(c));
    }
    if (rc == 0)
        rc = catalog_get(c, version, &v, err);
    if (rc)
        return rc;
    catalog_version_release(&v);
    check_version(c, version, r);
    return 0;
}

static void print_report(const struct report *r, const struct err *store)
{
    if (r->json) {
        json_t *root = json_pack(
            "{s:b, s:o?, s:O}", "store_ok", store->code == ERR_OK,
            "store_problem",
            store->code == ERR_OK ? NULL : json_string(store->msg),
            "versions", r->versions);

        pick_print(root);
        json_decref(root);
        return;
    }
    if (store->code != ERR_OK)
        printf("store: DAMAGED: %s\n", store->msg);
    printf("store %s; %" PRId64 " version%s checked, %" PRId64 " damaged\n",
           store->code == ERR_OK ? "good" : "damaged", r->checked,
           r->checked == 1 ? "" : "s", r->damaged);
}

static int conclude(const struct report *r, const struct err *store,
                    struct err *err)
{
    if (store->code != ERR_OK)
        return err_set(err, ERR_CORRUPT, "the store: %s", store->msg);
    if (r->damaged)
        return err_set(err, ERR_CORRUPT,
                       "damaged versions: %" PRId64 " of %" PRId64
                       "; the daemon goes on from the newest undamaged "
                       "version",
                       r->damaged, r->checked);
    return 0;
}

/* --- retraining --------------------------------------------------------- */

/* Returns the command line of mnemed, to be freed without its words. */
static char **make_argv(const struct verb_args *args, char *program,
                        char *number)
{
    char **argv = xcalloc(8 + 2 * args->n_given, sizeof *argv);
    size_t n = 0;

    argv[n++] = program;
    argv[n++] = (char *)"--retrain";
    argv[n++] = number;
    for (size_t i = 0; i < args->n_given; i++) {
        const char *name = args->given[i].option->name;

        if (strcmp(name, "set") && strcmp(name, "conf"))
            continue;
        argv[n++] = (char *)(strcmp(name, "set") ? "--conf" : "--set");
        argv[n++] = (char *)(strcmp(name, "set") ? verb_path(args, "conf")
                                                 : args->given[i].value);
    }
    if (verb_has(args, "data-dir")) {
        argv[n++] = (char *)"--data-dir";
        argv[n++] = (char *)verb_data_dir(args);
    }
    if (verb_has(args, "json"))
        argv[n++] = (char *)"--json";
    return argv;
}

/* Runs mnemed, which has a learner. Returns only after an error. */
static int retrain(const struct verb_args *args, struct err *err)
{
    char *program, **argv, number[24] = "latest";
    int64_t version;
    int rc = 0;

    if (verb_has(args, "all"))
        return err_set(err, ERR_INVALID, "--retrain takes one version");
    if (has_number(args))
        rc = verb_number(args->words[0], "version", &version, err);
    if (rc)
        return rc;
    if (has_number(args))
        snprintf(number, sizeof number, "%" PRId64, version);
    program = mnemed_program();
    argv = make_argv(args, program, number);
    fflush(NULL);
    execvp(program, argv);
    rc = err_set_errno(err, ERR_IO, errno, "%s", program);
    free(argv);
    free(program);
    return rc;
}

int cmd_verify(const struct verb_args *args, struct err *err)
{
    struct report report = {.json = verb_has(args, "json")};
    struct err store = ERR_INIT;
    struct catalog *c = NULL;
    int rc;

    if (verb_has(args, "all") && args->n_words)
        return err_set(err, ERR_INVALID, "either a version or --all");
    if (verb_has(args, "retrain"))
        return retrain(args, err);
    rc = catalog_open(verb_data_dir(args), &c, err);
    if (rc)
        return rc;
    report.versions = json_array();
    rc = catalog_check(c, &store);
    if (rc && rc != ERR_CORRUPT) {
        *err = store;
        goto out;
    }
    rc = verb_has(args, "all") ? check_all(c, &report, err)
                               : check_one(c, args, &report, err);
    if (rc)
        goto out;
    print_report(&report, &store);
    rc = conclude(&report, &store, err);
out:
    json_decref(report.versions);
    catalog_close(c);
    return rc;
}
