/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_replay - rows a second into the replay buffer and out of it.
 *
 *     bench/bench_replay [--rows 1000000] [--tokens 256] [--publish 10000]
 *                        [--draw 64] [--windows 21] [--file bench_replay.db]
 *
 * Fills a buffer of --rows rows of five domains, then measures with the buffer
 * full, publishing --publish rows at a time as the daemon does (WAL,
 * synchronous=FULL): offering, taking the changes (the index of all rows is
 * copied), writing and committing, and sampling --draw rows at a step. Prints
 * medians and 95th percentiles over the windows. The file is removed.
 */
#include "config.h"

#include <getopt.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/timing.h"
#include "base/xalloc.h"
#include "replay/replay.h"

#define DRAWS_A_WINDOW 50
#define FILLS 10 /* publishes that bring the rows of a full buffer */

static struct options {
    long rows, tokens, publish, draw, windows;
    const char *file;
} opt = {1000000, 256, 10000, 64, 21, "bench_replay.db"};

struct window {
    double offer_ns;   /* a row */
    double take_ms;    /* a publish */
    double write_rows; /* a second, commit included */
    double read_rows;  /* a second */
};

static struct sqlite3 *writer, *reader;
static struct replay *buffer;
static uint16_t *tokens;
static int64_t offered, version;
static uint64_t step;

static void die(const char *what)
{
    fprintf(stderr, "bench_replay: %s\n", what);
    exit(1);
}

static void run_sql(struct sqlite3 *db, const char *sql)
{
    char *msg = NULL;

    if (sqlite3_exec(db, sql, NULL, NULL, &msg) != SQLITE_OK)
        die(msg);
}

static void remove_files(void)
{
    static const char *const ends[] = {"", "-wal", "-shm"};

    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        char *path = xasprintf("%s%s", opt.file, ends[i]);

        unlink(path);
        free(path);
    }
}

static void start(void)
{
    struct replay_options options;

    if (access(opt.file, F_OK) == 0)
        die("the file exists already");
    if (sqlite3_open(opt.file, &writer) != SQLITE_OK)
        die("cannot make the file");
    run_sql(writer, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
    for (size_t i = 0; i < replay_schema_n; i++)
        run_sql(writer, replay_schema[i]);
    if (sqlite3_open_v2(opt.file, &reader, SQLITE_OPEN_READONLY, NULL))
        die("cannot open the file to read");
    replay_options_default(&options, REPLAY_ROWS);
    options.capacity = opt.rows;
    buffer = replay_create(&options, reader);
    tokens = xcalloc((size_t)opt.tokens + 1, sizeof *tokens);
}

static void stop(void)
{
    replay_free(buffer);
    sqlite3_close(reader);
    sqlite3_close(writer);
    free(tokens);
    remove_files();
}

static void offer(void)
{
    struct segment s = {.tokens = tokens,
                        .n_tokens = (uint32_t)opt.tokens,
                        .n_bytes = (uint32_t)opt.tokens,
                        .domain = (int32_t)(offered % 5),
                        .label = -1};
    struct segment_origin o = {.offset = offered++};

    tokens[offered % opt.tokens] = (uint16_t)offered;
    replay_offer(buffer, &s, &o, 1.0);
}

static double offer_window(long n)
{
    int64_t start_ns = timing_mono_ns();

    for (long i = 0; i < n; i++)
        offer();
    return timing_seconds_since(start_ns) * 1e9 / (double)n;
}

/* What has died is not needed: only the newest version is kept. */
static void sweep(void)
{
    struct err err = ERR_INIT;
    int64_t deleted;

    run_sql(writer, "BEGIN IMMEDIATE");
    if (replay_db_sweep(writer, &version, 1, INT64_MAX, &deleted, &err))
        die(err.msg);
    run_sql(writer, "COMMIT");
}

static void publish_window(struct window *w)
{
    struct tensor_list index = TENSOR_LIST_INIT;
    int64_t start_ns = timing_mono_ns();
    struct replay_changes *c = replay_take_changes(buffer, &index);
    struct err err = ERR_INIT;

    w->take_ms = timing_seconds_since(start_ns) * 1e3;
    start_ns = timing_mono_ns();
    run_sql(writer, "BEGIN IMMEDIATE");
    if (replay_db_write(writer, c, ++version, &err))
        die(err.msg);
    run_sql(writer, "COMMIT");
    w->write_rows = (double)opt.publish / timing_seconds_since(start_ns);
    replay_stored(buffer, c);
    tensor_list_release(&index);
    sweep();
}

static double read_window(void)
{
    int64_t start_ns = timing_mono_ns();
    size_t n_rows = 0;

    for (int i = 0; i < DRAWS_A_WINDOW; i++) {
        struct replay_draw *draws;
        struct err err = ERR_INIT;
        size_t n;

        if (replay_sample(buffer, step++, (size_t)opt.draw, true, &draws, &n,
                          &err))
            die(err.msg);
        n_rows += n;
    }
    return (double)n_rows / timing_seconds_since(start_ns);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Sorts values. */
static void report(const char *what, double *values, long n, bool low_is_bad)
{
    qsort(values, (size_t)n, sizeof *values, compare);
    printf("%-28s median %10.1f   p95 %10.1f\n", what, values[n / 2],
           values[low_is_bad ? n / 20 : n - 1 - n / 20]);
}

static void parse(int argc, char **argv)
{
    static const struct option options[] = {
        {"rows", required_argument, NULL, 'r'},
        {"tokens", required_argument, NULL, 't'},
        {"publish", required_argument, NULL, 'p'},
        {"draw", required_argument, NULL, 'd'},
        {"windows", required_argument, NULL, 'w'},
        {"file", required_argument, NULL, 'f'},
        {NULL, 0, NULL, 0},
    };
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        long *to = c == 'r'   ? &opt.rows
                   : c == 't' ? &opt.tokens
                   : c == 'p' ? &opt.publish
                   : c == 'd' ? &opt.draw
                   : c == 'w' ? &opt.windows
                              : NULL;

        if (c == 'f')
            opt.file = optarg;
        else if (!to || (*to = strtol(optarg, NULL, 10)) < 1)
            die("usage: see the head of bench/bench_replay.c");
    }
    if (opt.tokens > UINT16_MAX)
        die("--tokens is 65535 at most");
}

int main(int argc, char **argv)
{
    double *offer_ns, *take_ms, *write_rows, *read_rows;
    struct window w;

    parse(argc, argv);
    offer_ns = xcalloc((size_t)opt.windows, sizeof *offer_ns);
    take_ms = xcalloc((size_t)opt.windows, sizeof *take_ms);
    write_rows = xcalloc((size_t)opt.windows, sizeof *write_rows);
    read_rows = xcalloc((size_t)opt.windows, sizeof *read_rows);
    start();
    /* Some rows are in both tiers: the buffer is full a little later. */
    while (offered < 2 * opt.rows) {
        offer_window(opt.rows / FILLS + 1);
        publish_window(&w);
    }
    for (long i = 0; i < opt.windows; i++) {
        offer_ns[i] = offer_window(opt.publish);
        publish_window(&w);
        take_ms[i] = w.take_ms;
        write_rows[i] = w.write_rows;
        read_rows[i] = read_window();
    }
    printf("live rows %lld of %ld, %ld tokens each, SQLite %s\n",
           (long long)replay_live(buffer), opt.rows, opt.tokens,
           sqlite3_libversion());
    report("offer, ns a row", offer_ns, opt.windows, false);
    report("take changes, ms a publish", take_ms, opt.windows, false);
    report("write, rows offered a second", write_rows, opt.windows, true);
    report("sample, rows a second", read_rows, opt.windows, true);
    stop();
    free(offer_ns);
    free(take_ms);
    free(write_rows);
    free(read_rows);
    return 0;
}
