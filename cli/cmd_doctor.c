/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor: what is wrong on this machine, and the command that mends it.
 *
 * Works with a running daemon, which it asks for its status, and with a stopped
 * one, whose configuration and data directory it reads. It changes nothing.
 */
#include "config.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fileio.h"
#include "base/json_value.h"
#include "base/xalloc.h"
#include "cli/client.h"
#include "cli/doctor.h"
#include "cli/pick.h"
#include "cli/table.h"
#include "daemon/stream/source.h"

static void check_configuration(struct doctor *d);

static const struct {
    const char *name;
    doctor_check_fn *run;
} checks[] = {
    {"configuration", check_configuration},
    {"daemon", doctor_check_daemon},
    {"permissions", doctor_check_permissions},
    {"disk", doctor_check_disk},
    {"memory", doctor_check_memory},
    {"clock", doctor_check_clock},
    {"source", doctor_check_source},
    {"versions", doctor_check_versions},
    {"gate", doctor_check_gate},
    {"tokens", doctor_check_tokens},
    {"quarantine", doctor_check_quarantine},
    {"erasure", doctor_check_erasure},
};

/* --- findings ----------------------------------------------------------- */

void doctor_find(struct doctor *d, const char *command, const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        BUG("a finding cannot be formatted");
    va_end(ap);
    json_array_append_new(d->findings,
                          json_pack("{s:s, s:o, s:o}", "check", d->check,
                                    "problem", json_value_text(text), "command",
                                    json_value_text(command)));
    free(text);
}

void doctor_skip(struct doctor *d, const char *reason)
{
    json_array_append_new(d->skipped, json_pack("{s:s, s:s}", "check", d->check,
                                                "reason", reason));
}

char *doctor_quote(const char *text)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
                                "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                "0123456789_-./:,=@%+";
    struct buf out = BUF_INIT;

    if (*text && text[strspn(text, plain)] == '\0')
        return xstrdup(text);
    buf_addc(&out, '\'');
    for (; *text; text++) {
        if (*text == '\'')
            buf_adds(&out, "'\\''");
        else
            buf_addc(&out, *text);
    }
    buf_addc(&out, '\'');
    return buf_detach(&out);
}

/* --- what the checks look at -------------------------------------------- */

/* Loads the configuration as mnemed does. Every problem is a finding. An empty
 * file says nothing about how the daemon runs. */
static void check_configuration(struct doctor *d)
{
    struct conf_problems problems = CONF_PROBLEMS_INIT;
    const char **sets = xcalloc(d->args->n_given + 1, sizeof *sets);
    struct conf *conf = conf_create();
    char *path, *command;
    struct stat st;
    size_t n = 0;

    for (size_t i = 0; i < d->args->n_given; i++)
        if (!strcmp(d->args->given[i].option->name, "set"))
            sets[n++] = d->args->given[i].value;
    d->knows_conf = n || (d->conf_path && stat(d->conf_path, &st) == 0 &&
                          (st.st_size > 0 || !S_ISREG(st.st_mode)) &&
                          strcmp(d->conf_path, "/dev/null") != 0);
    if (conf_load(conf, d->conf_path, sets, n, source_property_check,
                  &problems) == 0) {
        d->conf = conf;
    } else {
        path = doctor_quote(d->conf_path ? d->conf_path : "");
        command = xasprintf("mnemed -t%s%s", d->conf_path ? " -c " : "",
                            d->conf_path ? path : "");
        for (size_t i = 0; i < problems.n; i++)
            doctor_find(d, command, "%s", problems.items[i].text);
        free(path);
        free(command);
        conf_free(conf);
    }
    if (d->conf && verb_has(d->args, "data-dir"))
        conf_set_data_dir(d->conf, verb_data_dir(d->args));
    d->data_dir = d->conf ? d->conf->data_dir : verb_data_dir(d->args);
    conf_problems_release(&problems);
    free(sets);
}

/* The process that mnemed.pid names, if it is a mnemed. */
static int64_t find_pid(const char *data_dir)
{
    char *path = fileio_join(data_dir, "mnemed.pid"), *comm;
    struct buf text = BUF_INIT, name = BUF_INIT;
    int64_t pid = 0;

    if (fileio_read(path, 64, &text, NULL) == 0 && text.len)
        pid = strtoll(text.data, NULL, 10);
    comm = xasprintf("/proc/%" PRId64 "/comm", pid);
    if (pid > 0 && (fileio_read(comm, 64, &name, NULL) != 0 || !name.len ||
                    strncmp(name.data, "mnemed", 6) != 0))
        pid = 0;
    buf_release(&text);
    buf_release(&name);
    free(comm);
    free(path);
    return pid;
}

static void open_all(struct doctor *d)
{
    const char *env = getenv("MNEME_ADDR");

    catalog_open(d->data_dir, &d->catalog, NULL);
    /* A daemon at a given address may be another one. */
    if (!verb_value(d->args, "addr") && !(env && *env))
        d->pid = find_pid(d->data_dir);
}

static bool is_skipped(const struct doctor *d, const char *name)
{
    const json_t *row;
    size_t i;

    json_array_foreach(
        d->skipped, i,
        row) if (!strcmp(pick_text_or(row, "check", ""), name)) return true;
    return false;
}

static void run_checks(struct doctor *d)
{
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        d->check = checks[i].name;
        checks[i].run(d);
        if (i == 0)
            open_all(d);
        if (!is_skipped(d, d->check))
            json_array_append_new(d->checked, json_string(d->check));
    }
}

/* --- the report --------------------------------------------------------- */

static void print_well(const struct doctor *d)
{
    const json_t *name;
    size_t i;

    fputs("nothing is wrong; checked: ", stdout);
    json_array_foreach(d->checked, i, name)
        printf("%s%s", i ? ", " : "", json_string_value(name));
    putchar('\n');
}

static void print_report(const struct doctor *d)
{
    const json_t *row;
    size_t i;

    json_array_foreach(d->findings, i, row)
    {
        printf("%s: ", pick_text(row, "check"));
        table_print_name(pick_text(row, "problem"), stdout);
        fputs("; try: ", stdout);
        table_print_name(pick_text(row, "command"), stdout);
        putchar('\n');
    }
    if (json_array_size(d->findings) == 0)
        print_well(d);
    json_array_foreach(d->skipped, i, row)
        printf("not checked: %s: %s\n", pick_text(row, "check"),
               pick_text(row, "reason"));
}

int cmd_doctor(const struct verb_args *args, struct err *err)
{
    char *found = verb_has(args, "conf") ? NULL : conf_find();
    struct doctor d = {
        .args = args,
        .conf_path = found ? found : verb_path(args, "conf"),
        .findings = json_array(),
        .checked = json_array(),
        .skipped = json_array(),
    };
    json_t *root;
    bool is_well;

    run_checks(&d);
    is_well = json_array_size(d.findings) == 0;
    root = json_pack("{s:O, s:O, s:O}", "findings", d.findings, "checked",
                     d.checked, "skipped", d.skipped);
    if (verb_has(args, "json"))
        pick_print(root);
    else
        print_report(&d);
    json_decref(root);
    json_decref(d.findings);
    json_decref(d.checked);
    json_decref(d.skipped);
    json_decref(d.status);
    catalog_close(d.catalog);
    conf_free(d.conf);
    free(d.address);
    free(found);
    if (is_well)
        return 0;
    if (fflush(stdout) != 0 || ferror(stdout))
        return err_set(err, ERR_IO, "the standard output cannot be written");
    return ERR_IO; /* status 1, without a message */
}
