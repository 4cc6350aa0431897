/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Collects lines until a request is full, or the input pauses or ends. When the
 * daemon refuses a request, its two halves are sent one after the other. So a
 * request that is too large for the daemon is still answered, and a line that
 * the daemon refuses is found.
 */
#include "config.h"

#include "cli/pieces.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/lines.h"
#include "cli/bar.h"
#include "cli/client.h"
#include "cli/pick.h"

#define MOST_LINE_BYTES ((size_t)16 << 20)
/* At most six times as long in JSON, which is below max_body_bytes. */
#define MOST_PIECE_BYTES ((size_t)128 << 10)

struct sending {
    const struct pieces *p;
    struct client *client;
    struct table table;
    struct bar bar;
    struct lines *lines;
    json_t *texts; /* of the next request */
    size_t n_bytes;
    int64_t n_lines;    /* read */
    int64_t n_answered; /* lines whose answers have been printed */
    bool json;
    json_t *rest; /* the first reply without its rows; usage is the sum */
};

/* --- input -------------------------------------------------------------- */

bool pieces_from_stdin(const struct verb_args *args)
{
    return args->n_words == 0 || strcmp(args->words[0], "-") == 0;
}

static int open_lines(const struct verb_args *args, struct lines **lines,
                      struct err *err)
{
    char path[64];
    size_t n;
    int fd;

    if (pieces_from_stdin(args)) {
        *lines = lines_open(NULL, MOST_LINE_BYTES, err);
        return *lines ? 0 : ERR_IO;
    }
    /* Writes the argument to a file, so that lines.h can split it. */
    n = strlen(args->words[0]);
    fd = memfd_create("text", MFD_CLOEXEC);
    if (fd < 0 || write(fd, args->words[0], n) != (ssize_t)n) {
        err_set_errno(err, ERR_IO, errno, "a file for the text");
    } else {
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        *lines = lines_open(path, MOST_LINE_BYTES, err);
    }
    if (fd >= 0)
        close(fd);
    return *lines ? 0 : ERR_IO;
}

/* --- answers ------------------------------------------------------------ */

/* Adds the counters of another reply to sum. */
static void add_usage(json_t *sum, const json_t *usage)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)usage, key, value)
        if (json_is_integer(value))
            json_object_set_new(sum, key,
                                json_integer(pick_integer(sum, key, 0) +
                                             json_integer_value(value)));
}

/* Keeps the members of the first reply other than its rows, and makes later
 * requests use the same version. */
static void keep_rest(struct sending *a, json_t *reply)
{
    int64_t version = pick_integer(reply, "version", 0);
    char model[32];

    if (a->rest) {
        json_t *usage = pick(a->rest, "usage");

        if (usage)
            add_usage(usage, pick(reply, "usage"));
        return;
    }
    if (version > 0) {
        snprintf(model, sizeof model, "mneme@%" PRId64, version);
        json_object_set_new(a->p->body, "model", json_string(model));
    }
    a->rest = json_copy(reply);
    json_object_del(a->rest, a->p->rows_key);
    if (!a->json && a->p->columns)
        printf("version %" PRId64 "\n", version);
}

static void print_json_rows(struct sending *a, const json_t *rows)
{
    json_t *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        int64_t index = a->n_answered + (int64_t)i;

        if (json_object_get(row, "index"))
            json_object_set_new(row, "index", json_integer(index));
        if (index == 0)
            printf("{\n  \"%s\": [\n    ", a->p->rows_key);
        else
            fputs(",\n    ", stdout);
        json_dumpf(row, stdout, JSON_REAL_PRECISION(9));
    }
}

/* Prints the end of the document. */
static void end_json(const struct sending *a)
{
    const char *key;
    json_t *value;

    if (a->n_answered == 0)
        printf("{\n  \"%s\": [", a->p->rows_key);
    fputs(a->n_answered ? "\n  ]" : "]", stdout);
    json_object_foreach(a->rest, key, value)
    {
        printf(",\n  \"%s\": ", key);
        json_dumpf(value, stdout, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
    }
    fputs("\n}\n", stdout);
}

static int print_answer(struct sending *a, json_t *reply, size_t n,
                       struct err *err)
{
    json_t *rows = pick(reply, a->p->rows_key);

    if (json_array_size(rows) != n)
        return err_set(err, ERR_IO, "the reply has %zu rows for %zu lines",
                       json_array_size(rows), n);
    bar_clear(&a->bar);
    keep_rest(a, reply);
    if (a->json)
        print_json_rows(a, rows);
    else
        a->p->print(rows, a->n_answered + 1, &a->table);
    if (!a->json && a->p->columns)
        table_flush(&a->table, stdout);
    a->n_answered += (int64_t)n;
    fflush(stdout);
    return ferror(stdout) ? err_set(err, ERR_IO,
                                    "the standard output cannot be written")
                          : 0;
}

/* --- requests ----------------------------------------------------------- */

/* True when a request with fewer lines may be accepted. */
static bool is_refused(const struct sending *a)
{
    long status = client_last_status(a->client);

    return status == 400 || status == 413;
}

static int name_lines(const struct sending *a, size_t n, struct err *err)
{
    int64_t first = a->n_answered + 1, last = a->n_answered + (int64_t)n;

    if (n == 1)
        return err_prefix(err, "line %" PRId64, first);
    return err_prefix(err, "lines %" PRId64 " to %" PRId64, first, last);
}

/* Sends texts[at] to texts[at + n - 1], and prints the answers. */
static int send_texts(struct sending *a, size_t at, size_t n, struct err *err)
{
    json_t *texts = json_array(), *body, *reply = NULL;
    int rc;

    for (size_t i = 0; i < n; i++)
        json_array_append(texts, json_array_get(a->texts, at + i));
    body = json_copy(a->p->body);
    json_object_set_new(body, a->p->text_key, texts);
    rc = client_post(a->client, a->p->path, body, &reply, err);
    if (rc == 0) {
        rc = print_answer(a, reply, n, err);
        json_decref(reply);
        return rc;
    }
    if (!is_refused(a) || n == 1)
        return is_refused(a) || a->n_answered ? name_lines(a, n, err) : rc;
    rc = send_texts(a, at, n / 2, err);
    return rc ? rc : send_texts(a, at + n / 2, n - n / 2, err);
}

static int send_collected(struct sending *a, struct err *err)
{
    size_t n = json_array_size(a->texts);
    double seconds, share = NAN;
    int rc = n ? send_texts(a, 0, n, err) : 0;

    json_array_clear(a->texts);
    a->n_bytes = 0;
    if (rc)
        return rc;
    seconds = bar_seconds(&a->bar);
    if (lines_is_regular(a->lines) && lines_size(a->lines) > 0)
        share = (double)lines_bytes_read(a->lines) /
                (double)lines_size(a->lines);
    bar_update(&a->bar, share, "%" PRId64 " lines, %.0f/s", a->n_answered,
               seconds > 0 ? (double)a->n_answered / seconds : 0.0);
    return 0;
}

/* Fails at a line that cannot be sent, after the earlier lines are answered. */
static int refuse_line(struct sending *a, const char *why, struct err *err)
{
    int rc = send_collected(a, err);

    return rc ? rc : err_set(err, ERR_INVALID, "line %" PRId64 ": %s",
                             a->n_lines, why);
}

static int add_line(struct sending *a, const struct line *line,
                    struct err *err)
{
    /* Drops one byte order mark, as the daemon's source does. */
    size_t bom = line->n_bytes >= 3 &&
                         memcmp(line->bytes, "\xef\xbb\xbf", 3) == 0
                     ? 3
                     : 0;
    json_t *text = json_stringn(line->bytes + bom, line->n_bytes - bom);

    a->n_lines++;
    if (line->too_long) {
        json_decref(text);
        return refuse_line(a, "it is longer than 16 MiB", err);
    }
    if (!text)
        return refuse_line(a, "the text is not UTF-8", err);
    json_array_append_new(a->texts, text);
    a->n_bytes += line->n_bytes;
    if (json_array_size(a->texts) >= a->p->most_lines ||
        a->n_bytes >= MOST_PIECE_BYTES)
        return send_collected(a, err);
    return 0;
}

static int send_all(struct sending *a, struct err *err)
{
    struct line line;
    int rc;

    for (;;) {
        rc = lines_next(a->lines, &line, err);
        if (rc == ERR_END)
            break;
        if (rc == ERR_AGAIN) /* the writer of the pipe pauses */
            rc = send_collected(a, err);
        else if (rc == 0)
            rc = add_line(a, &line, err);
        if (rc)
            return rc;
    }
    rc = lines_rest(a->lines, &line, err);
    if (rc == 0)
        rc = add_line(a, &line, err);
    return rc && rc != ERR_END ? rc : send_collected(a, err);
}

int pieces_send(const struct verb_args *args, const struct pieces *p,
               struct err *err)
{
    struct sending a = {.p = p, .json = verb_has(args, "json")};
    int rc = open_lines(args, &a.lines, err);

    if (rc == 0)
        rc = client_open(args, &a.client, err);
    if (rc)
        goto out;
    if (p->columns)
        table_init(&a.table, p->columns);
    a.texts = json_array();
    bar_begin(&a.bar, args->verb->name);
    a.bar.on = a.bar.on && !isatty(STDIN_FILENO);
    rc = send_all(&a, err);
    bar_clear(&a.bar);
    if (a.json && (rc == 0 || a.n_answered))
        end_json(&a);
    if (p->columns)
        table_release(&a.table);
out:
    json_decref(a.texts);
    json_decref(a.rest);
    lines_close(a.lines);
    client_free(a.client);
    return rc;
}
