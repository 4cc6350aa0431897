/* SPDX-License-Identifier: Apache-2.0 */
/*
 * top: the state of the daemon, again and again. The versions are read only
 * when a new one was made or judged.
 */
#include "config.h"

#include <inttypes.h>
#include <langinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/timing.h"
#include "base/xalloc.h"
#include "cli/client.h"
#include "cli/live.h"
#include "cli/pick.h"
#include "cli/top.h"
#include "cli/verb.h"

#define VERSIONS_PATH "/v1/versions?limit=24"

/* A number in the environment, as shells set COLUMNS and LINES. */
static int env_number(const char *name, int otherwise)
{
    const char *text = getenv(name);
    long n = text ? strtol(text, NULL, 10) : 0;

    return n > 0 && n < 10000 ? (int)n : otherwise;
}

/* A change of these figures means that the list of versions has changed. */
static bool versions_changed(const json_t *before, const json_t *now)
{
    static const char *const paths[] = {"head_version", "serving_version",
                                        "publish.judged_version"};

    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (pick_integer(before, paths[i], -1) !=
            pick_integer(now, paths[i], -1))
            return true;
    return false;
}

static int fetch(struct client *c, struct top *t, struct err *err)
{
    json_t *status = NULL, *versions = NULL;
    int rc = client_get(c, "/v1/status", &status, err);

    if (rc == 0 && (!t->status || versions_changed(t->status, status)))
        rc = client_get(c, VERSIONS_PATH, &versions, err);
    if (rc) {
        json_decref(status);
        return rc;
    }
    top_add(t, status, versions);
    return 0;
}

static void show(struct top *t, struct live *l)
{
    char *text;

    live_measure(l);
    if (l->on_screen)
        text = top_frame(t, l->columns, l->rows);
    else
        text = top_frame(t, env_number("COLUMNS", 80), env_number("LINES", 0));
    live_show(l, text);
    free(text);
}

/* Fetches the status, and shows it until the interval ends; also again when the
 * window's size changes. */
static int turn(struct client *c, struct top *t, struct live *l, bool json,
                int64_t interval_ms, struct err *err)
{
    int64_t until = timing_mono_ms() + interval_ms;
    int rc = fetch(c, t, err);

    if (rc)
        return rc;
    if (json) {
        json_dumpf(t->status, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
        putchar('\n');
    } else {
        show(t, l);
        fputs(l->on_screen || interval_ms == 0 ? "" : "\n", stdout);
    }
    while (fflush(stdout) == 0 && live_wait(l, until) == LIVE_RESIZED)
        if (!json)
            show(t, l);
    if (fflush(stdout) != 0 || ferror(stdout))
        return err_set(err, ERR_IO, "the standard output cannot be written");
    return 0;
}

int cmd_top(const struct verb_args *args, struct err *err)
{
    bool json = verb_has(args, "json"), once = verb_has(args, "once");
    struct client *c = NULL;
    struct top t = {.utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0};
    struct live l;
    double seconds = 2;
    int rc = verb_real(args, "interval", 0.1, 3600, &seconds, err);

    if (rc == 0)
        rc = client_open(args, &c, err);
    if (rc)
        return rc;
    t.address = client_address(c);
    client_set_stop(c, &live_stop);
    live_begin(&l, json || once);
    do
        rc = turn(c, &t, &l, json, once ? 0 : (int64_t)(seconds * 1000), err);
    while (rc == 0 && !live_stop && !once);
    live_end(&l);
    top_release(&t);
    client_free(c);
    return live_stop ? 0 : rc;
}
