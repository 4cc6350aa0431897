/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checks of `mneme doctor`, all but the source's.
 */
#include "config.h"

#include "cli/doctor.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/fileio.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "cli/address.h"
#include "cli/client.h"
#include "cli/pick.h"
#include "daemon/train/options.h"
#include "daemon/train/restore.h"
#include "store/store.h"

#define MIB ((int64_t)1 << 20)
#define PENDING_MS (10 * 60 * 1000) /* a verdict takes seconds */
#define REFUSED_IN_A_ROW 3
#define CLOCK_MS 60000
#define CUT_SECONDS 3600 /* an older case may be mended */
#define QUARANTINE_LEAST 100
#define QUARANTINE_SHARE 0.2

/* A command with one word to be quoted in place of %s. To be freed. */
static char *command_of(const char *fmt, const char *word)
{
    char *quoted = doctor_quote(word);
    const char *at = strstr(fmt, "%s");
    char *command = xasprintf("%.*s%s%s", (int)(at - fmt), fmt, quoted, at + 2);

    free(quoted);
    return command;
}

/* --- daemon ------------------------------------------------------------- */

static bool has_unit(void)
{
    static const char *const paths[] = {
        "/etc/systemd/system/mnemed.service",
        "/usr/local/lib/systemd/system/mnemed.service",
        "/lib/systemd/system/mnemed.service",
        "/usr/lib/systemd/system/mnemed.service"};

    if (access("/run/systemd/system", F_OK) != 0)
        return false;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (access(paths[i], F_OK) == 0)
            return true;
    return false;
}

static char *start_command(const struct doctor *d)
{
    char *conf = doctor_quote(d->conf_path ? d->conf_path : "");
    char *dir = doctor_quote(d->data_dir);
    char *command;

    if (has_unit())
        command = xstrdup("systemctl start mnemed");
    else
        command =
            xasprintf("mnemed%s%s --data-dir %s", d->conf_path ? " -c " : "",
                      d->conf_path ? conf : "", dir);
    free(conf);
    free(dir);
    return command;
}

/* The address where the daemon should answer; NULL: it does not run here. */
static char *daemon_address(struct doctor *d)
{
    const char *given = verb_value(d->args, "addr");
    const char *env = getenv("MNEME_ADDR");
    struct err err = ERR_INIT;
    char *address = NULL, *command;

    if (given || (env && *env))
        return xstrdup(given ? given : env);
    if (address_of_daemon(d->data_dir, &address, &err) != 0) {
        command = command_of("rm %s/http.addr", d->data_dir);
        doctor_find(d, command, "%s", err.msg);
        free(command);
    }
    return address;
}

static void check_answer(struct doctor *d, const char *address)
{
    struct client *c = NULL;
    struct err err = ERR_INIT;
    int rc = client_open_at(d->args, address, &c, &err);

    if (rc == 0)
        rc = client_get(c, "/v1/status", &d->status, &err);
    if (rc == 0 && !json_is_object(d->status)) {
        json_decref(d->status);
        d->status = NULL;
        rc = err_set(&err, ERR_IO, "%s: the reply is not that of mnemed",
                     address);
    }
    if (rc && c && client_last_status(c) == 401)
        doctor_find(d, "export MNEME_TOKEN=... # of http.token_file",
                    "the daemon at %s wants a token: its state is not known",
                    address);
    else if (rc && c && client_refused_certificate(c))
        doctor_find(d,
                    "export MNEME_CA=FILE # and --addr with the certificate's "
                    "host",
                    "the certificate of the daemon is not accepted, so its "
                    "state is not known: %s",
                    err.msg);
    else if (rc && d->pid) {
        char *command =
            has_unit() ? xstrdup("journalctl -u mnemed -n 50")
                       : xasprintf("readlink /proc/%" PRId64 "/fd/2 # its log",
                                   d->pid);

        doctor_find(d, command,
                    "process %" PRId64 " runs, and does not answer: %s", d->pid,
                    err.msg);
        free(command);
    } else if (rc) {
        char *command = start_command(d);

        doctor_find(d, command, "the daemon does not answer: %s", err.msg);
        free(command);
    }
    client_free(c);
}

static void check_state(struct doctor *d)
{
    const char *state = pick_text_or(d->status, "state", "");
    const char *reason = pick_text_or(d->status, "reason", "");

    if (pick_integer(d->status, "stalled_threads", 0) > 0) {
        char *command =
            has_unit() ? xstrdup("systemctl restart mnemed")
            : d->pid   ? xasprintf("kill -9 %" PRId64 " # then start it again",
                                   d->pid)
                       : xstrdup("mneme status");

        doctor_find(d, command,
                    "a thread of the daemon does not move; the log says which");
        free(command);
    }
    if (!strcmp(state, "paused"))
        doctor_find(d, "mneme history # then: mneme rollback N",
                    "learning is paused: %s", reason);
    if (pick_integer(d->status, "serving_version", 0) == 0)
        doctor_find(d, "mneme status", "no version serves yet%s%s",
                    *reason ? ": " : "", reason);
}

void doctor_check_daemon(struct doctor *d)
{
    char *command;

    d->address = daemon_address(d);
    if (d->address) {
        check_answer(d, d->address);
    } else if (d->pid) {
        doctor_find(d, "mneme doctor # again, in a minute",
                    "process %" PRId64 " runs, and has no address yet", d->pid);
    } else {
        command = start_command(d);
        doctor_find(d, command, "no daemon runs on %s", d->data_dir);
        free(command);
    }
    if (d->status)
        check_state(d);
}

/* --- permissions -------------------------------------------------------- */

/* The name, or else the number. To be freed. */
static char *user_name(uid_t uid)
{
    const struct passwd *p = getpwuid(uid);

    return p ? xstrdup(p->pw_name) : xasprintf("%u", (unsigned)uid);
}

/* Finds a file or folder of another owner than the data directory's. One is
 * enough: chown mends all. */
static bool find_foreign(const char *dir, uid_t owner, char **path,
                         uid_t *other)
{
    DIR *all = opendir(dir);
    struct dirent *entry;
    bool found = false;

    while (all && !found && (entry = readdir(all))) {
        struct stat st;

        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        *path = fileio_join(dir, entry->d_name);
        found = lstat(*path, &st) == 0 && st.st_uid != owner;
        if (found)
            *other = st.st_uid;
        else
            free(*path);
    }
    if (all)
        closedir(all);
    return found;
}

static void check_owners(struct doctor *d, uid_t owner)
{
    char *versions = fileio_join(d->data_dir, "versions"), *path, *command;
    char *dir = doctor_quote(d->data_dir);
    uid_t other;

    if (find_foreign(d->data_dir, owner, &path, &other) ||
        find_foreign(versions, owner, &path, &other)) {
        char *name = user_name(owner), *other_name = user_name(other);

        command = xasprintf("chown -R %s: %s", name, dir);
        doctor_find(d, command, "%s belongs to %s, and the directory to %s",
                    path, other_name, name);
        free(other_name);
        free(name);
        free(command);
        free(path);
    }
    free(versions);
    free(dir);
}

void doctor_check_permissions(struct doctor *d)
{
    struct stat st;
    char *command, *name;

    if (stat(d->data_dir, &st) != 0) {
        if (errno == ENOENT)
            doctor_skip(d, "the data directory does not exist yet");
        else
            doctor_find(d, "id", "%s: %s", d->data_dir, strerror(errno));
        return;
    }
    if (!S_ISDIR(st.st_mode)) {
        command = command_of("ls -l %s", d->data_dir);
        doctor_find(d, command, "%s is no directory", d->data_dir);
        free(command);
        return;
    }
    if (st.st_mode & (S_IRWXG | S_IRWXO)) {
        command = command_of("chmod 700 %s", d->data_dir);
        doctor_find(d, command,
                    "other users can enter %s, mode %04o: it holds texts from "
                    "the stream",
                    d->data_dir, (unsigned)st.st_mode & 07777);
        free(command);
    }
    if (access(d->data_dir, R_OK | W_OK | X_OK) != 0) {
        name = user_name(st.st_uid);
        command = xasprintf("sudo -u %s mneme doctor", name);
        doctor_find(d, command,
                    "%s belongs to %s: this user cannot use it, and sees only "
                    "a part of its state",
                    d->data_dir, name);
        free(name);
        free(command);
        return;
    }
    check_owners(d, st.st_uid);
}

/* --- disk --------------------------------------------------------------- */

/* Estimates the bytes that the next two versions and the rows for them need. */
static int64_t bytes_needed(struct doctor *d)
{
    struct catalog_version *list = NULL;
    int64_t bytes = (int64_t)OPTIONS_STAGED_BYTES;
    size_t n = 0;

    if (d->catalog && catalog_list(d->catalog, 0, 1, &list, &n, NULL) == 0) {
        bytes += n ? 2 * list[0].bytes : 0;
        catalog_versions_free(list, n);
    }
    return bytes;
}

void doctor_check_disk(struct doctor *d)
{
    int64_t needed = bytes_needed(d), available;
    struct statvfs fs;
    char *command;

    if (statvfs(d->data_dir, &fs) != 0) {
        doctor_skip(d, "the data directory does not exist yet");
        return;
    }
    available = (int64_t)fs.f_bavail * (int64_t)fs.f_frsize;
    command = command_of("df -h %s # then a lower publish.keep, or: mneme "
                         "unpin N",
                         d->data_dir);
    if (available < needed)
        doctor_find(d, command,
                    "%" PRId64 " MiB are free for %s, and two versions may "
                    "take %" PRId64,
                    available / MIB, d->data_dir, needed / MIB + 1);
    free(command);
    if (fs.f_files && fs.f_favail < 1000) {
        command = command_of("df -i %s", d->data_dir);
        doctor_find(d, command, "%llu files can still be made for %s",
                    (unsigned long long)fs.f_favail, d->data_dir);
        free(command);
    }
}

/* --- memory ------------------------------------------------------------- */

/* A number in KiB behind "NAME:" of a file of /proc; -1: not known. In bytes.
 */
static int64_t proc_bytes(const char *path, const char *name)
{
    char line[256];
    FILE *f = fopen(path, "re");
    int64_t bytes = -1;

    while (f && bytes < 0 && fgets(line, sizeof line, f))
        if (!strncmp(line, name, strlen(name)) && line[strlen(name)] == ':')
            bytes = 1024 * strtoll(line + strlen(name) + 1, NULL, 10);
    if (f)
        fclose(f);
    return bytes;
}

/* The memory limit of a control group; INT64_MAX: none is known. */
static int64_t limit_of(const char *group)
{
    char *path = xasprintf("/sys/fs/cgroup%s/memory.max", group);
    struct buf limit = BUF_INIT;
    int64_t bytes = INT64_MAX;

    if (fileio_read(path, 64, &limit, NULL) == 0 && limit.len &&
        limit.data[0] >= '0' && limit.data[0] <= '9')
        bytes = strtoll(limit.data, NULL, 10);
    buf_release(&limit);
    free(path);
    return bytes;
}

/* The least limit of a process's control group and those above it. */
static int64_t group_limit(int64_t pid)
{
    char *path = xasprintf("/proc/%" PRId64 "/cgroup", pid);
    struct buf groups = BUF_INIT;
    int64_t least = INT64_MAX;
    char *group = NULL, *end;

    if (fileio_read(path, 65536, &groups, NULL) == 0 && groups.len)
        group = strstr(groups.data, "0::/");
    if (group) {
        group += 3;
        group[strcspn(group, "\n")] = '\0';
        while ((end = strrchr(group, '/'))) {
            int64_t bytes = limit_of(group);

            least = bytes < least ? bytes : least;
            *end = '\0';
        }
    }
    buf_release(&groups);
    free(path);
    return least;
}

/* The shape that the model has after the next start. */
static int shape_at_start(const struct doctor *d, struct model_shape *shape,
                          struct err *err)
{
    return d->catalog ? restore_shape(d->catalog, d->conf, shape, err)
                      : options_first_shape(d->conf, shape, err);
}

/* What the daemon announces at its start with this configuration and this data
 * directory; -1: the model cannot be made. */
static int64_t bytes_announced(const struct doctor *d, struct err *err)
{
    const struct conf *conf = d->conf;
    int threads =
        conf->learner.threads ? (int)conf->learner.threads : options_cores();
    int shards = conf->learner.shards ? (int)conf->learner.shards : threads;
    const struct model_shape *s = NULL;
    struct learner_options learner;
    struct model_shape shape;

    if (conf->model.preset != CONF_PRESET_LINEAR) {
        if (shape_at_start(d, &shape, err))
            return -1;
        s = &shape;
    }
    options_learner(conf, s, NULL, threads, shards, &learner);
    return (int64_t)options_memory(conf, &learner);
}

void doctor_check_memory(struct doctor *d)
{
    static const char command[] =
        "mnemed -T # then a smaller model.preset or learner.replay.capacity";
    int64_t announced, there, resident = -1;
    struct err err = ERR_INIT;

    if (!d->status && !d->conf) {
        doctor_skip(d, "the configuration is not valid");
        return;
    }
    announced = d->status ? pick_integer(d->status, "memory_announced_bytes", 0)
                          : bytes_announced(d, &err);
    if (announced < 0) {
        doctor_find(d,
                    d->conf->model.init ? "mnemed -T # then another model.init"
                                        : command,
                    "%s", err.msg);
        return;
    }
    there = proc_bytes("/proc/meminfo", d->pid ? "MemTotal" : "MemAvailable");
    if (there < 0) {
        doctor_skip(d, "this system has no /proc/meminfo");
        return;
    }
    if (group_limit(d->pid ? d->pid : getpid()) < there)
        there = group_limit(d->pid ? d->pid : getpid());
    if (announced > there)
        doctor_find(d, command,
                    "the daemon may take %" PRId64 " MiB, and there are "
                    "%" PRId64,
                    announced / MIB, there / MIB);
    if (d->pid) {
        char *path = xasprintf("/proc/%" PRId64 "/status", d->pid);

        resident = proc_bytes(path, "VmRSS");
        free(path);
    }
    if (announced > 0 && resident > announced + announced / 10)
        doctor_find(d, "systemctl restart mnemed",
                    "the daemon takes %" PRId64 " MiB, and has announced at "
                    "most %" PRId64 ": that is a fault of mneme",
                    resident / MIB, announced / MIB);
}

/* --- clock -------------------------------------------------------------- */

void doctor_check_clock(struct doctor *d)
{
    int64_t now = timing_wall_ms(), newest = 0;
    char *path = fileio_join(d->data_dir, "mneme.db");
    struct catalog_version *list = NULL;
    char time[TIMING_ISO_MAX];
    struct stat st;
    size_t n = 0;

    if (stat(path, &st) == 0)
        newest = (int64_t)st.st_mtim.tv_sec * 1000;
    else if (!d->status)
        doctor_skip(d, "there is no store yet");
    if (d->catalog && catalog_list(d->catalog, 0, 1, &list, &n, NULL) == 0) {
        if (n && list[0].created_ms > newest)
            newest = list[0].created_ms;
        catalog_versions_free(list, n);
    }
    if (newest > now + CLOCK_MS) {
        timing_iso8601(newest, time);
        doctor_find(d, "timedatectl status",
                    "the store was written at %s, which is in the future: "
                    "this machine's clock is, or was, wrong",
                    time);
    }
    /* NaN, without such a record, is not below the limit. */
    if (pick_real(d->status, "source.time_cut_ago_seconds") < CUT_SECONDS)
        doctor_find(d, "timedatectl status # also where the records are made",
                    "%" PRId64 " records since the start had a time in the "
                    "future, one of them within the last hour: this clock or "
                    "a producer's is wrong",
                    pick_integer(d->status, "source.times_cut", 0));
    free(path);
}

/* --- versions ----------------------------------------------------------- */

static void check_version(struct doctor *d, int64_t version, const char *role)
{
    struct err err = ERR_INIT;
    char *command;

    if (!version || store_verify(d->catalog, version, &err) == 0)
        return;
    command = command_of("mneme verify --all --data-dir %s # then: mneme "
                         "promote N, or mneme restore a backup",
                         d->data_dir);
    doctor_find(d, command, "the %s version %" PRId64 " is damaged: %s", role,
                version, err.msg);
    free(command);
}

void doctor_check_versions(struct doctor *d)
{
    struct catalog_pointers p;
    struct catalog_pause pause = {0};
    struct err err = ERR_INIT;
    char *command;

    if (!d->catalog) {
        char *db = fileio_join(d->data_dir, "mneme.db");

        if (fileio_exists(db) &&
            catalog_open(d->data_dir, &d->catalog, &err) != 0)
            doctor_find(d, "mneme verify --all", "%s", err.msg);
        else
            doctor_skip(d, "there is no store yet");
        free(db);
        return;
    }
    if (catalog_pointers(d->catalog, &p, &err) != 0) {
        command = command_of("mneme verify --all --data-dir %s", d->data_dir);
        doctor_find(d, command, "%s", err.msg);
        free(command);
        return;
    }
    check_version(d, p.head, "newest");
    if (p.serving != p.head)
        check_version(d, p.serving, "serving");
    if (!d->status && catalog_pause(d->catalog, &pause, NULL) == 0 &&
        pause.version && !pause.ended)
        doctor_find(d,
                    "mneme history # then, with the daemon: mneme rollback N",
                    "learning is paused, also after a restart: %s",
                    pause.reason ? pause.reason : "by the guard");
    free(pause.reason);
}

/* --- gate --------------------------------------------------------------- */

void doctor_check_gate(struct doctor *d)
{
    int64_t refused = pick_integer(d->status, "publish.refused_in_a_row", 0);
    int64_t judged = pick_integer(d->status, "publish.judged_version", 0);
    struct catalog_version *list = NULL;
    char *command;
    size_t n = 0;

    if (refused >= REFUSED_IN_A_ROW) {
        command = xasprintf("mneme show %" PRId64 " # then: mneme promote N, "
                            "or mneme rollback N --stream skip",
                            judged);
        doctor_find(d, command,
                    "the gate has refused %" PRId64 " versions in a row: %s",
                    refused,
                    pick_text_or(d->status, "publish.last_reason", ""));
        free(command);
    }
    if (!d->catalog) {
        if (!d->status)
            doctor_skip(d, "there is no store yet");
        return;
    }
    if (catalog_list(d->catalog, 0, 1, &list, &n, NULL) != 0)
        return;
    if (n && list[0].state == STORE_PENDING &&
        timing_wall_ms() - list[0].created_ms > PENDING_MS) {
        command = d->status ? xstrdup("journalctl -u mnemed -g gate")
                            : start_command(d);
        doctor_find(d, command,
                    "version %" PRId64 " has waited for its verdict for "
                    "%" PRId64 " minutes",
                    list[0].version,
                    (timing_wall_ms() - list[0].created_ms) / 60000);
        free(command);
    }
    catalog_versions_free(list, n);
}

/* --- tokens ------------------------------------------------------------- */

/* Finds a file with secrets that cannot be read, or that others can use. */
static void check_secret(struct doctor *d, const char *key, const char *path)
{
    struct stat st;
    char *command;

    if (!path)
        return;
    if (stat(path, &st) != 0 || access(path, R_OK) != 0) {
        command = command_of("ls -l %s", path);
        doctor_find(d, command, "%s: %s: %s", key, path, strerror(errno));
        free(command);
    } else if (st.st_mode & S_IRWXO) {
        command = command_of("chmod o= %s", path);
        doctor_find(d, command, "%s: other users can use %s, mode %04o", key,
                    path, (unsigned)st.st_mode & 07777);
        free(command);
    }
}

void doctor_check_tokens(struct doctor *d)
{
    if (!d->conf || !d->knows_conf) {
        doctor_skip(d, d->conf ? "no configuration file was found: give --conf"
                               : "the configuration is not valid");
        return;
    }
    check_secret(d, "http.token_file", d->conf->http.token_file);
    check_secret(d, "http.tls.key", d->conf->http.tls.key);
}

/* --- quarantine --------------------------------------------------------- */

/* The reason with the most records in the status. */
static const char *top_reason(const json_t *status)
{
    const char *name, *top = "";
    json_t *count;
    json_int_t most = 0;

    json_object_foreach(pick(status, "quarantine"), name,
                        count) if (json_integer_value(count) > most)
    {
        most = json_integer_value(count);
        top = name;
    }
    return top;
}

/* The counters of the newest version, in the form of the status; NULL: there is
 * no version. */
static json_t *stored_counters(struct doctor *d)
{
    struct catalog_version *list = NULL;
    json_t *counters = NULL;
    size_t n = 0;

    if (!d->catalog || catalog_list(d->catalog, 0, 1, &list, &n, NULL) != 0)
        return NULL;
    if (n && list[0].metadata_json)
        counters = json_loads(list[0].metadata_json, 0, NULL);
    catalog_versions_free(list, n);
    return counters;
}

void doctor_check_quarantine(struct doctor *d)
{
    json_t *counters = d->status ? json_incref(d->status) : stored_counters(d);
    int64_t refused = pick_integer(counters, "records.quarantined", 0);
    int64_t all = pick_integer(counters, "records.consumed", 0);
    char *command;

    if (!counters)
        doctor_skip(d, "there is no version yet");
    if (refused >= QUARANTINE_LEAST &&
        (double)refused >= QUARANTINE_SHARE * (double)all) {
        command =
            command_of("mneme quarantine --reason %s", top_reason(counters));
        doctor_find(d, command,
                    "%" PRId64 " of %" PRId64 " records were refused, most of "
                    "them for the reason %s",
                    refused, all, top_reason(counters));
        free(command);
    }
    json_decref(counters);
}

/* --- erasure ------------------------------------------------------------ */

void doctor_check_erasure(struct doctor *d)
{
    char *command;

    if (!d->status)
        doctor_skip(d, "only a running daemon knows");
    if (!pick_true(d->status, "erasure_pending"))
        return;
    command = command_of("df -h %s", d->data_dir);
    doctor_find(d, command,
                "mneme.db may hold bytes of forgotten records, until there is "
                "space to write it anew");
    free(command);
}
