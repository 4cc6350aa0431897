/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quarantine: lists, shows and releases refused records. forget: erases the
 * records of an id or a domain.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "cli/client.h"
#include "cli/verb.h"
#include "cli/pick.h"
#include "cli/table.h"

#define PREVIEW_CHARACTERS 40

/* --- list --------------------------------------------------------------- */

static void add_query(struct buf *path, const char *key, const char *value)
{
    if (!value)
        return;
    buf_addf(path, "%c%s=", strchr(path->data, '?') ? '&' : '?', key);
    for (; *value; value++) {
        if (strchr("-_.~", *value) || (*value >= '0' && *value <= '9') ||
            (*value >= 'A' && *value <= 'Z') ||
            (*value >= 'a' && *value <= 'z'))
            buf_addc(path, *value);
        else
            buf_addf(path, "%%%02X", (unsigned)(unsigned char)*value);
    }
}

/* Fills a cell with the first characters of a record, which may have NUL bytes;
 * no character is cut. */
static void preview_cell(struct table *t, const json_t *preview)
{
    const char *text = json_string_value(preview);
    size_t left = json_string_length(preview);
    struct buf cell = BUF_INIT;

    for (size_t chars = 0; left; left--, text++) {
        chars += ((unsigned char)*text & 0xc0) != 0x80;
        if (chars > PREVIEW_CHARACTERS)
            break;
        buf_addc(&cell, *text ? *text : '?');
    }
    table_cell(t, "%s", cell.data ? cell.data : "");
    buf_release(&cell);
}

static void add_row(struct table *t, const json_t *row)
{
    table_cell(t, "%" PRId64, pick_integer(row, "id", 0));
    table_cell(t, "%s", pick_text_or(row, "reason", "?"));
    table_cell(t, "%s", pick_text_or(row, "topic", "?"));
    table_cell(t, "%" PRId64, pick_integer(row, "partition", 0));
    table_cell(t, "%" PRId64, pick_integer(row, "offset", 0));
    table_cell(t, "%" PRId64, pick_integer(row, "bytes", 0));
    table_cell(t, "%s",
               pick_true(row, "released") ? "released"
               : pick_true(row, "whole")  ? ""
                                          : "cut");
    preview_cell(t, pick(row, "preview"));
}

static void print_list(const json_t *reply)
{
    const json_t *row;
    struct table t;
    size_t i;

    table_init(&t, "r:ID l:REASON l:TOPIC r:PARTITION r:OFFSET r:BYTES l:STATE "
                   "l:PREVIEW");
    json_array_foreach(pick(reply, "quarantine"), i, row)
        add_row(&t, row);
    table_print(&t, stdout);
    table_release(&t);
}

static int list(const struct verb_args *args, struct err *err)
{
    struct buf path = BUF_INIT;
    int64_t limit = 100;
    int rc = verb_integer(args, "limit", 1, 1000000, &limit, err);

    buf_addf(&path, "/v1/quarantine?limit=%" PRId64, limit);
    add_query(&path, "reason", verb_value(args, "reason"));
    add_query(&path, "topic", verb_value(args, "topic"));
    if (rc == 0)
        rc = client_show(args, path.data, print_list, err);
    buf_release(&path);
    return rc;
}

/* --- show --------------------------------------------------------------- */

static void print_field(const char *name, const char *value)
{
    if (!value)
        return;
    printf("%-10s ", name);
    table_print_name(value, stdout);
    putchar('\n');
}

static void print_row(const json_t *row)
{
    const json_t *text = pick(row, "text");

    printf("record     %" PRId64 "%s\n", pick_integer(row, "id", 0),
           pick_true(row, "released") ? ", released" : "");
    print_field("reason", pick_text(row, "reason"));
    print_field("because", pick_text(row, "detail"));
    printf("from       ");
    table_print_name(pick_text_or(row, "topic", "?"), stdout);
    printf(" [%" PRId64 "] offset %" PRId64 "\n",
           pick_integer(row, "partition", 0), pick_integer(row, "offset", 0));
    print_field("time", pick_text(row, "time"));
    print_field("id", pick_text(row, "record_id"));
    print_field("domain", pick_text(row, "domain"));
    printf("bytes      %" PRId64 "%s\n", pick_integer(row, "bytes", 0),
           pick_true(row, "whole") ? "" : ", cut");
    if (!pick_true(row, "releasable"))
        print_field("release", pick_text(row, "why_not"));
    putchar('\n');
    if (json_is_string(text)) {
        table_print_text(json_string_value(text), json_string_length(text),
                         stdout);
        putchar('\n');
    } else {
        printf("base64: %s\n", pick_text(row, "base64"));
    }
}

static int show(const struct verb_args *args, struct err *err)
{
    char path[64];
    int64_t id;
    int rc;

    if (args->n_words != 2)
        return err_set(err, ERR_INVALID, "show takes one ID");
    rc = verb_number(args->words[1], "record", &id, err);
    if (rc)
        return rc;
    snprintf(path, sizeof path, "/v1/quarantine/%" PRId64, id);
    return client_show(args, path, print_row, err);
}

/* --- release ------------------------------------------------------------ */

static int release_ids(const struct verb_args *args, struct err *err)
{
    char path[64];
    int64_t id;
    int rc = 0;

    /* Checks all IDs before it releases the first record. */
    for (size_t i = 1; i < args->n_words && rc == 0; i++)
        rc = verb_number(args->words[i], "record", &id, err);
    for (size_t i = 1; i < args->n_words && rc == 0; i++) {
        verb_number(args->words[i], "record", &id, NULL);
        snprintf(path, sizeof path, "/v1/quarantine/%" PRId64 "/release", id);
        rc = client_run(args, path, NULL, err);
    }
    return rc;
}

static int release(const struct verb_args *args, struct err *err)
{
    const char *reason = verb_value(args, "reason");
    bool all = verb_has(args, "all");
    json_t *body;

    if ((args->n_words > 1) + (reason != NULL) + all != 1)
        return err_set(err, ERR_INVALID,
                       "release takes IDs, or --reason, or --all");
    if (args->n_words > 1)
        return release_ids(args, err);
    body = all ? json_pack("{s:b}", "all", 1)
               : json_pack("{s:s}", "reason", reason);
    if (!body)
        return err_set(err, ERR_INVALID, "--reason: not UTF-8");
    return client_run(args, "/v1/quarantine/release", body, err);
}

int cmd_quarantine(const struct verb_args *args, struct err *err)
{
    const char *action = args->n_words ? args->words[0] : "list";

    if (!strcmp(action, "show"))
        return show(args, err);
    if (!strcmp(action, "release"))
        return release(args, err);
    if (strcmp(action, "list") != 0)
        return err_set(err, ERR_INVALID,
                       "%s: must be list, show or release", action);
    if (args->n_words > 1)
        return err_set(err, ERR_INVALID, "list takes no arguments");
    return list(args, err);
}

/* --- forget ------------------------------------------------------------- */

int cmd_forget(const struct verb_args *args, struct err *err)
{
    const char *id = verb_value(args, "id");
    const char *domain = verb_value(args, "domain");
    json_t *body;
    int rc;

    if (!id == !domain || !*(id ? id : domain))
        return err_set(err, ERR_INVALID, "either --id or --domain is needed");
    body = json_pack("{s:s}", id ? "id" : "domain", id ? id : domain);
    if (!body)
        return err_set(err, ERR_INVALID, "--%s: not UTF-8",
                       id ? "id" : "domain");
    rc = client_run(args, "/v1/forget", body, err);
    if (rc == ERR_IO) /* no daemon answers */
        rc = err->code = ERR_STATE;
    return rc;
}
