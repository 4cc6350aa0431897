/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rollback, pin, unpin, promote, tag, untag: operations on versions. ranges:
 * lists and releases the ranges of the stream that rollbacks skipped.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "cli/client.h"
#include "cli/pick.h"
#include "cli/table.h"
#include "cli/verb.h"
#include "store/tags.h"

int cmd_rollback(const struct verb_args *args, struct err *err)
{
    const char *stream = verb_value(args, "stream");
    const char *reason = verb_value(args, "reason");
    int64_t version;
    json_t *body;
    int rc = verb_number(args->words[0], "version", &version, err);

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
    return client_run(args, "/v1/rollback", body, err);
}

/* pin, unpin and promote: sends POST /v1/versions/N/VERB. */
int cmd_version(const struct verb_args *args, struct err *err)
{
    const char *word = args->words[0], *verb = args->verb->name;
    int64_t version;
    char *path;
    int rc = 0;

    if (strcmp(word, "latest") != 0 || strcmp(verb, "promote") != 0)
        rc = verb_number(word, "version", &version, err);
    if (rc)
        return rc;
    path = xasprintf("/v1/versions/%s/%s", word, verb);
    rc = client_run(args, path, NULL, err);
    free(path);
    return rc;
}

/* --- tags --------------------------------------------------------------- */

/* Sends a request about a tag; takes body over. */
static int send_tag(const struct verb_args *args, const char *method,
                    const char *name, json_t *body, struct err *err)
{
    char *path;
    int rc;

    if (!tags_is_name(name)) {
        json_decref(body);
        return err_set(err, ERR_INVALID, "%s: " TAGS_RULE, name);
    }
    path = xasprintf("/v1/tags/%s", name);
    rc = client_run_by(args, method, path, body, err);
    free(path);
    return rc;
}

int cmd_tag(const struct verb_args *args, struct err *err)
{
    int64_t version;
    int rc = verb_number(args->words[0], "version", &version, err);

    return rc ? rc
              : send_tag(args, "PUT", args->words[1],
                         json_pack("{s:I}", "version", (json_int_t)version),
                         err);
}

int cmd_untag(const struct verb_args *args, struct err *err)
{
    return send_tag(args, "DELETE", args->words[0], NULL, err);
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

int cmd_ranges(const struct verb_args *args, struct err *err)
{
    const char *release = verb_value(args, "release");
    char path[64];
    int64_t range = 0;
    int rc;

    if (!release)
        return client_show(args, "/v1/ranges", print_ranges, err);
    rc = verb_number(release, "range", &range, err);
    snprintf(path, sizeof path, "/v1/ranges/%" PRId64 "/release", range);
    return rc ? rc : client_run(args, path, NULL, err);
}
