/* SPDX-License-Identifier: Apache-2.0 */
/*
 * generate, score, classify, embed: send texts to a version.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/utf8.h"
#include "cli/client.h"
#include "cli/verb.h"
#include "cli/pick.h"
#include "cli/pieces.h"
#include "cli/table.h"
#include "store/tags.h"

#define MOST_TEXT_BYTES ((size_t)64 << 20)

/* --- the request -------------------------------------------------------- */

static int read_stdin(struct buf *text, struct err *err)
{
    char block[65536];
    ssize_t n;

    while ((n = read(STDIN_FILENO, block, sizeof block)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(err, ERR_IO, errno, "standard input");
        if (text->len + (size_t)n > MOST_TEXT_BYTES)
            return err_set(err, ERR_LIMIT, "standard input: more than %zu MiB",
                           MOST_TEXT_BYTES >> 20);
        buf_add(text, block, (size_t)n);
    }
    return 0;
}

/* Reads the text from the argument or the standard input. There, one line end
 * at the end is dropped, because echo adds it. */
static int read_text(const struct verb_args *args, struct buf *text,
                    struct err *err)
{
    int rc;

    if (!pieces_from_stdin(args)) {
        buf_adds(text, args->words[0]);
    } else {
        rc = read_stdin(text, err);
        if (rc)
            return rc;
        if (text->len && text->data[text->len - 1] == '\n') {
            text->len--;
            if (text->len && text->data[text->len - 1] == '\r')
                text->len--;
            text->data[text->len] = '\0';
        }
    }
    if (!utf8_valid(text->data ? text->data : "", text->len))
        return err_set(err, ERR_INVALID, "the text is not UTF-8");
    return 0;
}

/* Makes {"model": "mneme" or "mneme@VERSION", key: text}, without the text when
 * --lines is given. */
static int make_body(const struct verb_args *args, const char *key,
                         json_t **body, struct err *err)
{
    struct buf text = BUF_INIT;
    const char *version = verb_value(args, "version");
    char model[16 + TAGS_NAME_BYTES] = "mneme";
    int64_t number = 0;
    int rc = 0;

    if (version && (tags_is_name(version) || !strcmp(version, "latest") ||
                    !strcmp(version, "previous"))) {
        snprintf(model, sizeof model, "mneme@%s", version);
    } else if (version) {
        rc = verb_integer(args, "version", 1, INT64_MAX, &number, err);
        snprintf(model, sizeof model, "mneme@%" PRId64, number);
    }
    if (rc == 0 && !verb_has(args, "lines"))
        rc = read_text(args, &text, err);
    if (rc)
        goto out;
    *body = json_pack("{s:s}", "model", model);
    if (!verb_has(args, "lines"))
        json_object_set_new(*body, key,
                            json_stringn(text.data ? text.data : "",
                                         text.len));
out:
    buf_release(&text);
    return rc;
}

/* Sends p->body, and prints the reply. With --lines, sends each line. */
static int send_request(const struct verb_args *args, const struct pieces *p,
                        struct err *err)
{
    struct client *c = NULL;
    json_t *reply = NULL;
    struct table t;
    int rc;

    if (verb_has(args, "lines"))
        return pieces_send(args, p, err);
    rc = client_open(args, &c, err);
    if (rc == 0)
        rc = client_post(c, p->path, json_incref(p->body), &reply, err);
    client_free(c);
    if (rc == 0 && verb_has(args, "json")) {
        pick_print(reply);
    } else if (rc == 0) {
        if (p->columns)
            table_init(&t, p->columns);
        p->print(pick(reply, p->rows_key), 1, &t);
    }
    if (rc == 0 && p->columns && !verb_has(args, "json")) {
        printf("version %" PRId64 "\n", pick_integer(reply, "version", 0));
        table_print(&t, stdout);
        table_release(&t);
    }
    json_decref(reply);
    return rc;
}

static void set_integer(json_t *body, const struct verb_args *args,
                        const char *option, const char *key, int64_t least,
                        int64_t most, int *rc, struct err *err)
{
    int64_t value;

    if (*rc || !verb_has(args, option))
        return;
    *rc = verb_integer(args, option, least, most, &value, err);
    if (*rc == 0)
        json_object_set_new(body, key, json_integer(value));
}

static void set_real(json_t *body, const struct verb_args *args,
                     const char *option, const char *key, double most,
                     int *rc, struct err *err)
{
    double value;

    if (*rc || !verb_has(args, option))
        return;
    *rc = verb_real(args, option, 0, most, &value, err);
    if (*rc == 0)
        json_object_set_new(body, key, json_real(value));
}

/* --- generate ----------------------------------------------------------- */

static int set_sampling(json_t *body, const struct verb_args *args,
                        struct err *err)
{
    const char *stop = verb_value(args, "stop");
    int rc = 0;

    json_object_set_new(body, "max_tokens", json_integer(64));
    json_object_set_new(body, "temperature", json_real(0.8));
    /* A prompt may be longer than the context: its end is completed. */
    json_object_set_new(body, "truncate_prompt_tokens", json_integer(-1));
    set_integer(body, args, "max-tokens", "max_tokens", 0, 1 << 20, &rc,
                err);
    set_real(body, args, "temperature", "temperature", 2, &rc, err);
    set_real(body, args, "top-p", "top_p", 1, &rc, err);
    set_integer(body, args, "top-k", "top_k", 0, 1 << 20, &rc, err);
    set_integer(body, args, "seed", "seed", 0, INT64_MAX, &rc, err);
    if (rc == 0 && stop &&
        json_object_set_new(body, "stop", json_string(stop)) != 0)
        rc = err_set(err, ERR_INVALID, "--stop: not UTF-8");
    return rc;
}

/* Prints each completion as one line. */
static void print_completions(const json_t *rows, int64_t first,
                              struct table *t)
{
    const json_t *row;
    size_t i;

    (void)first, (void)t;
    json_array_foreach(rows, i, row)
    {
        const json_t *text = pick(row, "text");
        const char *s = json_string_value(text);
        const char *end = s + json_string_length(text);

        while (s < end) {
            size_t n = 0;

            while (s + n < end && !(s[n] && strchr("\r\n\\", s[n])))
                n++;
            table_print_text(s, n, stdout);
            s += n;
            if (s < end)
                printf("\\%c", *s == '\n' ? 'n' : *s == '\r' ? 'r' : '\\');
            s += s < end;
        }
        putchar('\n');
    }
}

static void print_completion(const json_t *rows, int64_t first,
                             struct table *t)
{
    const json_t *text = pick(json_array_get(rows, 0), "text");
    size_t n = json_string_length(text);

    (void)first, (void)t;
    table_print_text(json_string_value(text), n, stdout);
    if (n == 0 || json_string_value(text)[n - 1] != '\n')
        putchar('\n');
}

/* Sends a request for each line, since a completion depends on the index of its
 * prompt in the request. */
int cmd_generate(const struct verb_args *args, struct err *err)
{
    struct pieces p = {
        .path = "/v1/completions",
        .text_key = "prompt",
        .rows_key = "choices",
        .most_lines = 1,
        .print = verb_has(args, "lines") ? print_completions
                                         : print_completion,
    };
    int rc = make_body(args, p.text_key, &p.body, err);

    if (rc == 0)
        rc = set_sampling(p.body, args, err);
    if (rc == 0)
        rc = send_request(args, &p, err);
    json_decref(p.body);
    return rc;
}

/* --- score, classify, embed --------------------------------------------- */

#define MOST_LINES 64 /* in a request; few, so that answers come early */

static void add_scores(const json_t *rows, int64_t first, struct table *t)
{
    const json_t *row;
    size_t i;

    (void)first;
    json_array_foreach(rows, i, row)
    {
        table_real(t, pick_real(row, "bits_per_byte"), 4);
        table_real(t, pick_real(row, "perplexity"), 3);
        table_cell(t, "%" PRId64, pick_integer(row, "bytes", 0));
        table_cell(t, "%" PRId64, pick_integer(row, "tokens", 0));
    }
}

int cmd_score(const struct verb_args *args, struct err *err)
{
    struct pieces p = {
        .path = "/v1/score",
        .text_key = "text",
        .rows_key = "results",
        .most_lines = MOST_LINES,
        .columns = "r:BITS/BYTE r:PERPLEXITY r:BYTES r:TOKENS",
        .print = add_scores,
    };
    int rc = make_body(args, p.text_key, &p.body, err);

    if (rc == 0 && !verb_has(args, "lines") &&
        json_string_length(json_object_get(p.body, p.text_key)) == 0)
        rc = err_set(err, ERR_INVALID,
                     "there is nothing to score: the text "
                     "is empty");
    if (rc == 0)
        rc = send_request(args, &p, err);
    json_decref(p.body);
    return rc;
}

static void add_labels(const json_t *rows, int64_t first, struct table *t)
{
    const json_t *row, *score;
    size_t i, k;

    json_array_foreach(rows, i, row)
        json_array_foreach(pick(row, "scores"), k, score)
        {
            table_cell(t, "%" PRId64, first + (int64_t)i);
            table_cell(t, "%s", pick_text_or(score, "label", "?"));
            table_real(t, pick_real(score, "score"), 4);
        }
}

int cmd_classify(const struct verb_args *args, struct err *err)
{
    struct pieces p = {
        .path = "/v1/classify",
        .text_key = "text",
        .rows_key = "results",
        .most_lines = MOST_LINES,
        .columns = "r:TEXT l:LABEL r:SCORE",
        .print = add_labels,
    };
    int rc = make_body(args, p.text_key, &p.body, err);

    if (rc == 0) {
        json_object_set_new(p.body, "top_k", json_integer(5));
        set_integer(p.body, args, "top-k", "top_k", 1, 1 << 20, &rc, err);
    }
    if (rc == 0)
        rc = send_request(args, &p, err);
    json_decref(p.body);
    return rc;
}

/* Prints a line of numbers for each text. */
static void print_vectors(const json_t *rows, int64_t first, struct table *t)
{
    const json_t *row, *x;
    size_t i, k;

    (void)first, (void)t;
    json_array_foreach(rows, i, row)
    {
        json_array_foreach(pick(row, "embedding"), k, x)
            printf("%s%.7g", k ? " " : "", json_number_value(x));
        putchar('\n');
    }
}

int cmd_embed(const struct verb_args *args, struct err *err)
{
    struct pieces p = {
        .path = "/v1/embeddings",
        .text_key = "input",
        .rows_key = "data",
        .most_lines = MOST_LINES,
        .print = print_vectors,
    };
    int rc = make_body(args, p.text_key, &p.body, err);

    if (rc == 0)
        rc = send_request(args, &p, err);
    json_decref(p.body);
    return rc;
}
