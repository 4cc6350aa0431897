/* SPDX-License-Identifier: Apache-2.0 */
/*
 * versions, show, diff, history: print versions and their figures.
 */
#include "config.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json_value.h"
#include "cli/client.h"
#include "cli/verb.h"
#include "cli/pick.h"
#include "cli/table.h"

/* --- the figures of a version ------------------------------------------- */

/* Returns the mean over all domains, weighted by their numbers of segments. */
static double holdout_mean(const json_t *version, const char *key)
{
    const json_t *row;
    const char *domain;
    double sum = 0, weight = 0;

    json_object_foreach(pick(version, "holdout"), domain, row)
    {
        double value = pick_real(row, key);
        double n = (double)pick_integer(row, "chunks", 0);

        if (isfinite(value) && n > 0) {
            sum += value * n;
            weight += n;
        }
    }
    return weight > 0 ? sum / weight : NAN;
}

static int64_t offsets_sum(const json_t *version)
{
    const json_t *row;
    int64_t sum = 0;
    size_t i;

    json_array_foreach(pick(version, "offsets"), i, row)
        sum += pick_integer(row, "offset", 0);
    return sum;
}

static void add_flags(struct table *t, const json_t *version)
{
    struct buf flags = BUF_INIT;
    const json_t *tag;
    size_t i;

    buf_adds(&flags, "");
    if (pick_true(version, "serving"))
        buf_adds(&flags, "serving ");
    if (pick_true(version, "head"))
        buf_adds(&flags, "head ");
    if (pick_true(version, "pinned"))
        buf_adds(&flags, "pinned ");
    json_array_foreach(pick(version, "tags"), i, tag)
        buf_addf(&flags, "@%s ", json_string_value(tag));
    if (flags.len)
        flags.data[flags.len - 1] = '\0';
    table_cell(t, "%s", flags.len ? flags.data : "");
    buf_release(&flags);
}

/* --- versions ----------------------------------------------------------- */

static void add_version(struct table *t, const json_t *v)
{
    int64_t parent = pick_integer(v, "parent", 0);

    table_cell(t, "%" PRId64, pick_integer(v, "version", 0));
    if (parent > 0)
        table_cell(t, "%" PRId64, parent);
    else
        table_cell(t, "-");
    table_time(t, pick_time_ms(v, "created"));
    table_cell(t, "%" PRId64, pick_integer(v, "step", 0));
    table_cell(t, "%" PRId64, pick_integer(v, "tokens_seen", 0));
    table_cell(t, "%" PRId64, offsets_sum(v));
    table_real(t, holdout_mean(v, "bits_per_byte"), 3);
    table_real(t, holdout_mean(v, "accuracy"), 3);
    table_cell(t, "%s", pick_text_or(v, "state", "?"));
    add_flags(t, v);
}

static void print_versions(const json_t *reply)
{
    struct table t;
    const json_t *v;
    size_t i;

    table_init(&t, "r:VERSION r:PARENT l:CREATED r:STEP r:TOKENS r:OFFSET "
                   "r:BITS/BYTE r:ACCURACY l:GATE l:FLAGS");
    json_array_foreach(pick(reply, "versions"), i, v)
        add_version(&t, v);
    table_print(&t, stdout);
    table_release(&t);
}

int cmd_versions(const struct verb_args *args, struct err *err)
{
    int64_t limit = 0;
    char path[64] = "/v1/versions";
    int rc = verb_integer(args, "limit", 1, 1000000, &limit, err);

    if (limit)
        snprintf(path, sizeof path, "/v1/versions?limit=%" PRId64, limit);
    return rc ? rc : client_show(args, path, print_versions, err);
}

/* --- show --------------------------------------------------------------- */

static void print_offsets(const json_t *version)
{
    const json_t *row;
    size_t i;

    json_array_foreach(pick(version, "offsets"), i, row)
    {
        printf("position     ");
        table_print_name(pick_text_or(row, "topic", "?"), stdout);
        printf(" [%" PRId64 "]: next offset %" PRId64 "\n",
               pick_integer(row, "partition", 0),
               pick_integer(row, "offset", 0));
    }
}

static void print_holdout(const json_t *version)
{
    const json_t *row;
    const char *domain;
    struct table t;

    table_init(&t, "l:DOMAIN r:BITS/BYTE r:ACCURACY r:SEGMENTS");
    json_object_foreach(pick(version, "holdout"), domain, row)
    {
        table_cell(&t, "%s", domain);
        table_real(&t, pick_real(row, "bits_per_byte"), 4);
        table_real(&t, pick_real(row, "accuracy"), 4);
        table_cell(&t, "%" PRId64, pick_integer(row, "chunks", 0));
    }
    if (t.n_cells > t.n_columns) {
        putchar('\n');
        table_print(&t, stdout);
    }
    table_release(&t);
}

static void print_field(const char *name, const char *value)
{
    if (!value)
        return;
    printf("%-12s ", name);
    table_print_name(value, stdout);
    putchar('\n');
}

/* --- the gate's comparison ---------------------------------------------- */

static void gate_row(struct table *t, const char *name, const json_t *part)
{
    if (!json_is_object(part))
        return;
    table_cell(t, "%s", name);
    table_cell(t, "%" PRId64, pick_integer(part, "chunks", 0));
    table_real(t, pick_real(part, "serving"), 4);
    table_real(t, pick_real(part, "candidate"), 4);
    table_real(t, pick_real(part, "regression"), 4);
    table_real(t, pick_real(part, "error"), 4);
    table_real(t, pick_real(part, "limit"), 4);
}

static void print_gate_labels(const json_t *gate)
{
    const json_t *a = pick(gate, "accuracy");

    if (!json_is_object(a))
        return;
    printf("\nlabels: of %" PRId64 " segments, %" PRId64
           " became wrong and %" PRId64 " became right;\n"
           "accuracy: older version %.3f, this one %.3f; McNemar p %.3g\n",
           pick_integer(a, "labelled", 0), pick_integer(a, "lost", 0),
           pick_integer(a, "gained", 0), pick_real(a, "serving"),
           pick_real(a, "candidate"), pick_real(a, "p"));
}

static void print_gate_shadow(const json_t *gate)
{
    const json_t *s = pick(gate, "shadow");

    if (!json_is_object(s) || pick_integer(s, "records", 0) == 0)
        return;
    printf("\nshadow: on %" PRId64 " held-out segments that arrived after "
           "version %" PRId64 " the loss changed by %+.1f %%;\nlog evidence "
           "that the older version is better by more than 3 %%: %.1f; "
           "significant from %.1f on\n",
           pick_integer(s, "records", 0), pick_integer(gate, "against", 0),
           100 * pick_real(s, "difference"), pick_real(s, "evidence_at_once"),
           pick_real(s, "enough"));
}

/* Prints the gate's comparison, or nothing if there was none. */
static void print_gate(const json_t *v)
{
    const json_t *gate = pick(v, "gate"), *d;
    struct table t;
    size_t i;

    if (pick_integer(gate, "against", 0) == 0)
        return;
    table_init(&t, "l:GATE r:SEGMENTS r:OLDER r:THIS r:CHANGE r:ERROR r:LIMIT");
    gate_row(&t, "recent traffic", pick(gate, "mean"));
    json_array_foreach(pick(gate, "domains"), i, d)
    {
        gate_row(&t, pick_text_or(d, "domain", "?"), d);
        /* Versions of older programs have this and the next two. */
        gate_row(&t, "  arrived before", pick(d, "before"));
    }
    gate_row(&t, "arrived last", pick(gate, "recent"));
    gate_row(&t, "arrived before, few", pick(gate, "little_before"));
    gate_row(&t, "arrived after", pick(gate, "since"));
    putchar('\n');
    table_print(&t, stdout);
    table_release(&t);
    print_gate_labels(gate);
    print_gate_shadow(gate);
}

static void print_version(const json_t *v)
{
    const json_t *tag;
    struct table t;
    size_t i;

    printf("version      %" PRId64 "%s%s%s\n", pick_integer(v, "version", 0),
           pick_true(v, "serving") ? ", serving" : "",
           pick_true(v, "head") ? ", head" : "",
           pick_true(v, "pinned") ? ", pinned" : "");
    json_array_foreach(pick(v, "tags"), i, tag)
        print_field("tag", json_string_value(tag));
    printf("parent       %" PRId64 "\n", pick_integer(v, "parent", 0));
    table_init(&t, "l:created");
    table_time(&t, pick_time_ms(v, "created"));
    print_field("created", t.cells[1]);
    table_release(&t);
    print_field("state", pick_text(v, "state"));
    print_field("gate", pick_text(v, "gate.verdict"));
    print_field("because", pick_text(v, "gate.reason"));
    /* Of older programs. */
    print_field("waits for", pick_text(v, "gate.waits_for"));
    if (pick_integer(v, "gate.against", 0))
        printf("compared     with version %" PRId64 "\n",
               pick_integer(v, "gate.against", 0));
    printf("step         %" PRId64 "\n", pick_integer(v, "step", 0));
    printf("tokens seen  %" PRId64 "\n", pick_integer(v, "tokens_seen", 0));
    print_field("weights", pick_text(v, "weights_sha256"));
    print_offsets(v);
    if (pick_true(v, "forgotten"))
        print_field("forgotten", "records that it learned; it can no longer be "
                                 "retrained");
    print_holdout(v);
    print_gate(v);
}

int cmd_show(const struct verb_args *args, struct err *err)
{
    char path[64];
    int64_t version;
    int rc = verb_number(args->words[0], "version", &version, err);

    if (rc)
        return rc;
    snprintf(path, sizeof path, "/v1/versions/%" PRId64, version);
    return client_show(args, path, print_version, err);
}

/* --- diff --------------------------------------------------------------- */

static json_t *difference(double a, double b)
{
    return json_pack("{s:o, s:o, s:o}", "a", json_value_real(a), "b",
                     json_value_real(b), "change", json_value_real(b - a));
}

static void diff_domain(json_t *out, const char *domain, const json_t *a,
                        const json_t *b)
{
    const json_t *in_a = json_object_get(pick(a, "holdout"), domain);
    const json_t *in_b = json_object_get(pick(b, "holdout"), domain);

    json_object_set_new(
        out, domain,
        json_pack("{s:o, s:o}", "bits_per_byte",
                  difference(pick_real(in_a, "bits_per_byte"),
                             pick_real(in_b, "bits_per_byte")),
                  "accuracy",
                  difference(pick_real(in_a, "accuracy"),
                             pick_real(in_b, "accuracy"))));
}

/* {"a": 1, "b": 2, "metrics": {...}, "holdout": {domain: {...}}} */
static json_t *diff(const json_t *a, const json_t *b)
{
    json_t *domains = json_object();
    const json_t *row;
    const char *domain;

    json_object_foreach(pick(a, "holdout"), domain, row)
        diff_domain(domains, domain, a, b);
    json_object_foreach(pick(b, "holdout"), domain, row)
        diff_domain(domains, domain, a, b);
    return json_pack(
        "{s:I, s:I, s:{s:o, s:o, s:o, s:o}, s:o}", "a",
        (json_int_t)pick_integer(a, "version", 0), "b",
        (json_int_t)pick_integer(b, "version", 0), "metrics", "step",
        difference(pick_real(a, "step"), pick_real(b, "step")), "tokens_seen",
        difference(pick_real(a, "tokens_seen"), pick_real(b, "tokens_seen")),
        "offset",
        difference((double)offsets_sum(a), (double)offsets_sum(b)),
        "holdout_bits_per_byte",
        difference(holdout_mean(a, "bits_per_byte"),
                   holdout_mean(b, "bits_per_byte")),
        "holdout", domains);
}

static void add_difference(struct table *t, const char *name,
                           const json_t *difference_, int digits)
{
    double a = pick_real(difference_, "a"), b = pick_real(difference_, "b");

    if (!isfinite(a) && !isfinite(b))
        return;
    table_cell(t, "%s", name);
    table_real(t, a, digits);
    table_real(t, b, digits);
    if (isfinite(a) && isfinite(b))
        table_cell(t, "%+.*f", digits, b - a);
    else
        table_cell(t, "-");
    if (isfinite(a) && isfinite(b) && a != 0)
        table_cell(t, "%+.1f %%", 100 * (b - a) / a);
    else
        table_cell(t, "-");
}

static void print_diff(const json_t *d)
{
    struct table t;
    const json_t *row;
    const char *name;
    char heading[32];

    table_init(&t, "l:METRIC");
    for (const char *side = "a"; side; side = *side == 'a' ? "b" : NULL) {
        snprintf(heading, sizeof heading, "VERSION %" PRId64,
                 pick_integer(d, side, 0));
        table_column(&t, 'r', heading);
    }
    table_column(&t, 'r', "CHANGE");
    table_column(&t, 'r', "PERCENT");
    json_object_foreach(pick(d, "metrics"), name, row)
        add_difference(&t, name, row, strstr(name, "bits") ? 4 : 0);
    json_object_foreach(pick(d, "holdout"), name, row)
    {
        char label[320];

        snprintf(label, sizeof label, "%s bits/byte", name);
        add_difference(&t, label, pick(row, "bits_per_byte"), 4);
        snprintf(label, sizeof label, "%s accuracy", name);
        add_difference(&t, label, pick(row, "accuracy"), 4);
    }
    table_print(&t, stdout);
    table_release(&t);
}

int cmd_diff(const struct verb_args *args, struct err *err)
{
    struct client *c = NULL;
    json_t *a = NULL, *b = NULL, *d = NULL;
    int64_t first, second;
    int rc = verb_number(args->words[0], "version", &first, err);

    if (rc == 0)
        rc = verb_number(args->words[1], "version", &second, err);
    if (rc == 0)
        rc = client_open(args, &c, err);
    if (rc == 0)
        rc = client_version(c, first, &a, err);
    if (rc == 0)
        rc = client_version(c, second, &b, err);
    if (rc)
        goto out;
    d = diff(a, b);
    if (verb_has(args, "json"))
        pick_print(d);
    else
        print_diff(d);
out:
    json_decref(a);
    json_decref(b);
    json_decref(d);
    client_free(c);
    return rc;
}

/* --- history ------------------------------------------------------------ */

static void print_tag_moves(const json_t *reply)
{
    struct table t;
    const json_t *row;
    size_t i;

    if (json_array_size(pick(reply, "tags")) == 0)
        return;
    table_init(&t, "l:TAG r:VERSION l:TIME");
    json_array_foreach(pick(reply, "tags"), i, row)
    {
        int64_t version = pick_integer(row, "version", 0);

        table_cell(&t, "%s", pick_text_or(row, "name", ""));
        if (version > 0)
            table_cell(&t, "%" PRId64, version);
        else
            table_cell(&t, "-");
        table_time(&t, pick_time_ms(row, "time"));
    }
    putchar('\n');
    table_print(&t, stdout);
    table_release(&t);
}

static void print_history(const json_t *reply)
{
    struct table t;
    const json_t *row;
    size_t i;

    table_init(&t, "r:VERSION l:FROM l:UNTIL r:PREVIOUS l:CAUSE l:REASON");
    json_array_foreach(pick(reply, "history"), i, row)
    {
        int64_t until = pick_time_ms(row, "until");

        table_cell(&t, "%" PRId64, pick_integer(row, "version", 0));
        table_time(&t, pick_time_ms(row, "from"));
        if (until > 0)
            table_time(&t, until);
        else
            table_cell(&t, "still");
        if (pick_integer(row, "previous", 0) > 0)
            table_cell(&t, "%" PRId64, pick_integer(row, "previous", 0));
        else
            table_cell(&t, "-");
        table_cell(&t, "%s", pick_text_or(row, "cause", ""));
        table_cell(&t, "%s", pick_text_or(row, "reason", ""));
    }
    table_print(&t, stdout);
    table_release(&t);
    print_tag_moves(reply);
}

int cmd_history(const struct verb_args *args, struct err *err)
{
    return client_show(args, "/v1/history", print_history, err);
}
