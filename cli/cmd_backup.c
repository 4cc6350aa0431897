/* SPDX-License-Identifier: Apache-2.0 */
/*
 * backup and restore: call store/backup.h, and print the result.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>

#include <jansson.h>

#include "cli/bar.h"
#include "cli/verb.h"
#include "cli/pick.h"
#include "store/backup.h"

#define MIB 1048576.0

static void show(int64_t done_bytes, int64_t of_bytes, void *arg)
{
    bar_update(arg, of_bytes ? (double)done_bytes / (double)of_bytes : 0.0,
               "%.1f of %.1f MiB", (double)done_bytes / MIB,
               (double)of_bytes / MIB);
}

static void print_json(const struct backup_report *r, const char *directory,
                       double seconds)
{
    json_t *left_out = json_array();
    json_t *root;

    for (size_t i = 0; i < r->n_left_out; i++)
        json_array_append_new(left_out, json_integer(r->left_out[i]));
    root = json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:o, s:f}", "directory",
                     directory, "head_version", (json_int_t)r->head,
                     "serving_version", (json_int_t)r->serving, "versions",
                     (json_int_t)r->n_versions, "files",
                     (json_int_t)r->n_files, "bytes", (json_int_t)r->bytes,
                     "left_out", left_out, "seconds", seconds);
    pick_print(root);
    json_decref(root);
}

static void print_text(const struct backup_report *r, const char *directory,
                       double seconds)
{
    printf("%s: %" PRId64 " version%s, the newest %" PRId64 "; %" PRId64
           " files, %.1f MiB in %.1f s\n",
           directory, r->n_versions, r->n_versions == 1 ? "" : "s", r->head,
           r->n_files, (double)r->bytes / MIB, seconds);
    for (size_t i = 0; i < r->n_left_out; i++)
        printf("left out: version %" PRId64 ", damaged or removed meanwhile\n",
               r->left_out[i]);
}

static int run(const struct verb_args *args, bool is_restore, struct err *err)
{
    const char *dir = is_restore ? verb_data_dir(args) : args->words[0];
    struct backup_report report;
    struct bar bar;
    int rc;

    bar_begin(&bar, args->verb->name);
    rc = is_restore ? backup_restore(args->words[0], dir, show, &bar, &report,
                                     err)
                    : backup_make(verb_data_dir(args), dir, show, &bar,
                                  &report, err);
    bar_clear(&bar);
    if (rc == 0 && verb_has(args, "json"))
        print_json(&report, dir, bar_seconds(&bar));
    else if (rc == 0)
        print_text(&report, dir, bar_seconds(&bar));
    backup_report_release(&report);
    return rc;
}

int cmd_backup(const struct verb_args *args, struct err *err)
{
    return run(args, false, err);
}

int cmd_restore(const struct verb_args *args, struct err *err)
{
    return run(args, true, err);
}
