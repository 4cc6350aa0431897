/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rollback, pin, unpin, promote: operations on versions. ranges: lists and
 * releases the ranges of the stream that rollbacks skipped.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "cli/verb.h"
#include "cli/client.h"
#include "cli/pick.h"
#include "cli/table.h"

int cmd_rollback(const struct verb_args *args, struct err *err)
{
    const char *stream = verb_value(args, "stream");
    const char *reason = verb_value(args, "reason");
    char otherwise[64];
    int64_t version;
    json_t *body;
    int rc = verb_version(args->words[0], &version, err);

    if (rc)
        return rc;
    stream = stream ? stream : "rewind";
    if (strcmp(stream, "rewind") != 0 && strcmp(stream, "skip") != 0 &&
        strcmp(stream, "keep") != 0)
        return err_set(err, ERR_INVALID,
                       "--stream: %s: must be rewind, skip or keep", stream);
    body = json_pack("{s:I, s:s}", "version", (json_int_t)version, "stream",
                     stream);
    if (reason &&
        json_object_set_new(body, "reason", json_string(reason)) != 0) {
        json_decref(body);
        return err_set(err, ERR_INVALID, "--reason: not UTF-8");
    }
    snprintf(otherwise, sizeof otherwise, "version %" PRId64 " serves",
             version);
    return client_run(args, "/v1/rollback", body, otherwise, err);
}

/* Prints `version N DONE` if the daemon sends no message. */
static int post_version(const struct verb_args *args, const char *done,
                      struct err *err)
{
    const char *word = args->words[0];
    bool latest = !strcmp(word, "latest");
    char *path, *otherwise;
    int64_t version;
    int rc = 0;

    if (!latest || strcmp(args->verb->name, "promote") != 0)
        rc = verb_version(word, &version, err);
    if (rc)
        return rc;
    path = xasprintf("/v1/versions/%s/%s", word, args->verb->name);
    otherwise = xasprintf("version %s %s", word, done);
    rc = client_run(args, path, NULL, otherwise, err);
    free(otherwise);
    free(path);
    return rc;
}

int cmd_pin(const struct verb_args *args, struct err *err)
{
    return post_version(args, "is pinned", err);
}

int cmd_unpin(const struct verb_args *args, struct err *err)
{
    return post_version(args, "is not pinned", err);
}

int cmd_promote(const struct verb_args *args, struct err *err)
{
    return post_version(args, "serves", err);
}

/* --- ranges ------------------------------------------------------------- */

static void print_ranges(const json_t *reply)
{
    struct table t;
    const json_t *row;
    size_t i;

    table_init(&t, "r:ID l:KIND l:TOPIC r:PARTITION r:FIRST r:LAST l:LEFT_OUT "
                   "l:RELEASED l:REASON");
    json_array_foreach(pick(reply, "ranges"), i, row)
    {
        table_cell(&t, "%" PRId64, pick_integer(row, "id", 0));
        table_cell(&t, "%s", pick_text_or(row, "kind", ""));
        table_cell(&t, "%s", pick_text_or(row, "topic", ""));
        table_cell(&t, "%" PRId64, pick_integer(row, "partition", 0));
        table_cell(&t, "%" PRId64, pick_integer(row, "first_offset", 0));
        table_cell(&t, "%" PRId64, pick_integer(row, "last_offset", 0));
        table_time(&t, pick_time_ms(row, "time"));
        table_time(&t, pick_time_ms(row, "released"));
        table_cell(&t, "%s", pick_text_or(row, "reason", ""));
    }
    table_print(&t, stdout);
    table_release(&t);
}

static int release_range(const struct verb_args *args, struct err *err)
{
    int64_t range;
    char *path, *otherwise;
    int rc = verb_version(verb_value(args, "release"), &range, err);

    if (rc)
        return rc;
    path = xasprintf("/v1/ranges/%" PRId64 "/release", range);
    otherwise = xasprintf("range %" PRId64 " is released", range);
    rc = client_run(args, path, NULL, otherwise, err);
    free(otherwise);
    free(path);
    return rc;
}

int cmd_ranges(const struct verb_args *args, struct err *err)
{
    if (verb_value(args, "release"))
        return release_range(args, err);
    return client_show(args, "/v1/ranges", print_ranges, err);
}
