/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rollback, pin, unpin, promote: what a hand does to versions.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "cli/commands.h"
#include "cli/operation.h"

static int check_stream(const char *stream, struct err *err)
{
    if (!strcmp(stream, "rewind") || !strcmp(stream, "skip") ||
        !strcmp(stream, "keep"))
        return 0;
    return err_set(err, ERR_INVALID,
                   "--stream: %s: must be rewind, skip or keep", stream);
}

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
    rc = check_stream(stream, err);
    if (rc)
        return rc;
    body = json_pack("{s:I, s:s}", "version", (json_int_t)version, "stream",
                     stream);
    if (reason &&
        json_object_set_new(body, "reason", json_string(reason)) != 0) {
        json_decref(body);
        return err_set(err, ERR_INVALID, "--reason: not UTF-8");
    }
    snprintf(otherwise, sizeof otherwise, "version %" PRId64 " serves",
             version);
    return operation_carry_out(args, "/v1/rollback", body, otherwise, err);
}

/* POST /v1/versions/WORD/VERB */
static int on_version(const struct verb_args *args, const char *did,
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
    otherwise = xasprintf("version %s %s", word, did);
    rc = operation_carry_out(args, path, NULL, otherwise, err);
    free(otherwise);
    free(path);
    return rc;
}

int cmd_pin(const struct verb_args *args, struct err *err)
{
    return on_version(args, "is kept for good", err);
}

int cmd_unpin(const struct verb_args *args, struct err *err)
{
    return on_version(args, "is kept as the others are", err);
}

int cmd_promote(const struct verb_args *args, struct err *err)
{
    return on_version(args, "serves", err);
}
