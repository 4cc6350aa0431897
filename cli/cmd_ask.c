/* SPDX-License-Identifier: Apache-2.0 */
/*
 * generate, score, classify, embed: questions to a version.
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
#include "cli/commands.h"
#include "cli/pick.h"
#include "cli/table.h"

#define MOST_TEXT_BYTES ((size_t)64 << 20)

/* --- what is asked ------------------------------------------------------ */

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

/* From the argument or stdin, where one line end at the end is not part of it
 * (it is echo's). */
static int get_text(const struct verb_args *args, struct buf *text,
                    struct err *err)
{
    int rc;

    if (args->n_words == 1) {
        buf_adds(text, args->words[0]);
    } else {
        rc = read_stdin(text, err);
        if (rc)
            return rc;
        if (text->len && text->data[text->len - 1] == '\n')
            text->data[--text->len] = '\0';
    }
    if (!utf8_valid(text->data ? text->data : "", text->len))
        return err_set(err, ERR_INVALID, "the text is not UTF-8");
    return 0;
}

static json_t *split_lines(const struct buf *text)
{
    json_t *list = json_array();
    const char *at = text->data, *end = at + text->len;

    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t n = (size_t)((stop ? stop : end) - at);

        json_array_append_new(list, json_stringn(at, n));
        at += n + 1;
    }
    return list;
}

/* {"KEY": text or texts, "model": "mneme" or "mneme@N"} */
static int make_question(const struct verb_args *args, const char *key,
                         json_t **question, struct err *err)
{
    struct buf text = BUF_INIT;
    int64_t version = 0;
    char model[32] = "mneme";
    int rc = verb_integer(args, "version", 1, INT64_MAX, &version, err);

    if (rc == 0)
        rc = get_text(args, &text, err);
    if (rc)
        goto out;
    if (version)
        snprintf(model, sizeof model, "mneme@%" PRId64, version);
    *question = json_pack("{s:s, s:o}", "model", model, key,
                          verb_has(args, "lines") && text.len
                              ? split_lines(&text)
                              : json_stringn(text.data ? text.data : "",
                                             text.len));
out:
    buf_release(&text);
    return rc;
}

/* Takes the question over. */
static int ask(const struct verb_args *args, const char *path,
               json_t *question, json_t **reply, struct err *err)
{
    struct client *c = NULL;
    int rc = client_open(args, &c, err);

    if (rc)
        json_decref(question);
    else
        rc = client_post(c, path, question, reply, err);
    client_free(c);
    return rc;
}

/* ... and prints the reply, or with --json the JSON. */
static int show(const struct verb_args *args, const char *path,
                json_t *question, void (*print)(const json_t *reply),
                struct err *err)
{
    json_t *reply = NULL;
    int rc = ask(args, path, question, &reply, err);

    if (rc == 0 && verb_has(args, "json"))
        pick_print(reply);
    else if (rc == 0)
        print(reply);
    json_decref(reply);
    return rc;
}

static void set_integer(json_t *question, const struct verb_args *args,
                        const char *option, const char *key, int64_t least,
                        int64_t most, int *rc, struct err *err)
{
    int64_t value;

    if (*rc || !verb_has(args, option))
        return;
    *rc = verb_integer(args, option, least, most, &value, err);
    if (*rc == 0)
        json_object_set_new(question, key, json_integer(value));
}

static void set_real(json_t *question, const struct verb_args *args,
                     const char *option, const char *key, double most,
                     int *rc, struct err *err)
{
    double value;

    if (*rc || !verb_has(args, option))
        return;
    *rc = verb_real(args, option, 0, most, &value, err);
    if (*rc == 0)
        json_object_set_new(question, key, json_real(value));
}

/* --- generate ----------------------------------------------------------- */

static int set_sampling(json_t *question, const struct verb_args *args,
                        struct err *err)
{
    const char *stop = verb_value(args, "stop");
    int rc = 0;

    json_object_set_new(question, "max_tokens", json_integer(64));
    json_object_set_new(question, "temperature", json_real(0.8));
    set_integer(question, args, "max-tokens", "max_tokens", 0, 1 << 20, &rc,
                err);
    set_real(question, args, "temperature", "temperature", 100, &rc, err);
    set_real(question, args, "top-p", "top_p", 1, &rc, err);
    set_integer(question, args, "top-k", "top_k", 0, 1 << 20, &rc, err);
    set_integer(question, args, "seed", "seed", 0, INT64_MAX, &rc, err);
    if (rc == 0 && stop &&
        json_object_set_new(question, "stop", json_string(stop)) != 0)
        rc = err_set(err, ERR_INVALID, "--stop: not UTF-8");
    return rc;
}

static int print_completion(const json_t *reply, struct err *err)
{
    const json_t *choice = json_array_get(pick(reply, "choices"), 0);
    const char *text = pick_text(choice, "text");

    if (!text)
        return err_set(err, ERR_IO, "the answer has no text");
    table_print_text(text, strlen(text), stdout);
    if (!*text || text[strlen(text) - 1] != '\n')
        putchar('\n');
    return 0;
}

int cmd_generate(const struct verb_args *args, struct err *err)
{
    json_t *question = NULL, *reply = NULL;
    int rc = make_question(args, "prompt", &question, err);

    if (rc == 0)
        rc = set_sampling(question, args, err);
    if (rc == 0)
        rc = ask(args, "/v1/completions", json_incref(question), &reply, err);
    if (rc == 0 && verb_has(args, "json"))
        pick_print(reply);
    else if (rc == 0)
        rc = print_completion(reply, err);
    json_decref(question);
    json_decref(reply);
    return rc;
}

/* --- score, classify, embed --------------------------------------------- */

static void print_version_line(const json_t *reply)
{
    printf("version %" PRId64 "\n", pick_integer(reply, "version", 0));
}

static void print_scores(const json_t *reply)
{
    struct table t;
    const json_t *row;
    size_t i;

    table_init(&t, "r:BITS/BYTE r:PERPLEXITY r:BYTES r:TOKENS");
    json_array_foreach(pick(reply, "results"), i, row)
    {
        table_real(&t, pick_real(row, "bits_per_byte"), 4);
        table_real(&t, pick_real(row, "perplexity"), 3);
        table_cell(&t, "%" PRId64, pick_integer(row, "bytes", 0));
        table_cell(&t, "%" PRId64, pick_integer(row, "tokens", 0));
    }
    print_version_line(reply);
    table_print(&t, stdout);
    table_release(&t);
}

int cmd_score(const struct verb_args *args, struct err *err)
{
    json_t *question = NULL;
    int rc = make_question(args, "text", &question, err);

    return rc ? rc : show(args, "/v1/score", question, print_scores, err);
}

static void print_labels(const json_t *reply)
{
    struct table t;
    const json_t *row, *score;
    size_t i, k;

    table_init(&t, "r:TEXT l:LABEL r:SCORE");
    json_array_foreach(pick(reply, "results"), i, row)
        json_array_foreach(pick(row, "scores"), k, score)
        {
            const char *label = pick_text(score, "label");

            table_cell(&t, "%zu", i + 1);
            table_cell(&t, "%s", label ? label : "?");
            table_real(&t, pick_real(score, "score"), 4);
        }
    print_version_line(reply);
    table_print(&t, stdout);
    table_release(&t);
}

int cmd_classify(const struct verb_args *args, struct err *err)
{
    json_t *question = NULL;
    int rc = make_question(args, "text", &question, err);

    if (rc == 0) {
        json_object_set_new(question, "top_k", json_integer(5));
        set_integer(question, args, "top-k", "top_k", 1, 1 << 20, &rc, err);
    }
    if (rc == 0)
        rc = show(args, "/v1/classify", json_incref(question), print_labels,
                  err);
    json_decref(question);
    return rc;
}

/* A line of numbers for each text. */
static void print_vectors(const json_t *reply)
{
    const json_t *row, *x;
    size_t i, k;

    json_array_foreach(pick(reply, "data"), i, row)
    {
        json_array_foreach(pick(row, "embedding"), k, x)
            printf("%s%.7g", k ? " " : "", json_number_value(x));
        putchar('\n');
    }
}

int cmd_embed(const struct verb_args *args, struct err *err)
{
    json_t *question = NULL;
    int rc = make_question(args, "input", &question, err);

    return rc ? rc : show(args, "/v1/embeddings", question, print_vectors, err);
}
