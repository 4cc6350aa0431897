/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_filter - measures what the filters refuse of a stream, and their time:
 *
 *     zcat stream.jsonl.gz | bench_filter [key=value...]
 *
 * Records are JSON lines in the daemon's format. Settings are keys of the
 * section filter, such as filter.near_duplicate.share=0.2. Prints the number of
 * refused records for each reason, with an example, and the nanoseconds of
 * filter_admit for a record: with n-gram features from the source (preset
 * linear), and without.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "base/names.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/intake/filter.h"
#include "daemon/stream/record.h"

struct stream {
    struct record_maker maker;
    struct record **items;
    size_t n, cap;
    struct names domains;
};

static void read_stream(struct stream *s)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;

    record_maker_init(&s->maker, true);
    while ((n = getline(&line, &cap, stdin)) > 0) {
        size_t n_bytes = (size_t)n - (line[n - 1] == '\n');
        struct record *rec = record_create_data(&s->maker, line, n_bytes);

        rec->topic = "stdin";
        record_parse(&s->maker, rec, CONF_FORMAT_AUTO, 1 << 24, NULL);
        if (rec->reason) {
            record_free(rec);
            continue;
        }
        XGROW(s->items, s->n, s->cap);
        s->items[s->n++] = rec;
    }
    free(line);
}

static const char *admit(struct filter *f, struct stream *s,
                         const struct record *rec, bool grams)
{
    const struct filter_record r = {
        .text = rec->text,
        .n_bytes = rec->text_bytes,
        .grams = grams ? rec->grams : NULL,
        .n_grams = rec->n_grams,
        .domain = (int32_t)names_add(&s->domains, rec->domain),
    };
    struct filter_mark mark;

    return filter_admit(f, &r, &mark);
}

struct tally {
    const char *reason, *text;
    size_t n, n_bytes;
};

static void count(struct tally *t, const char *reason,
                  const struct record *rec)
{
    while (t->reason && strcmp(t->reason, reason) != 0)
        t++;
    if (!t->reason)
        *t = (struct tally){.reason = reason, .text = rec->text,
                            .n_bytes = rec->text_bytes};
    t->n++;
}

static void report(struct stream *s, const struct conf *c)
{
    struct filter *f = filter_create(&c->filter, NULL);
    struct tally tally[8] = {{0}};

    for (size_t i = 0; i < s->n; i++) {
        const char *reason = admit(f, s, s->items[i], true);

        if (reason)
            count(tally, reason, s->items[i]);
    }
    printf("records %zu\n", s->n);
    for (struct tally *t = tally; t->reason; t++)
        printf("%s %zu (%.3f %%), first: %.*s\n", t->reason, t->n,
               100.0 * (double)t->n / (double)s->n,
               t->n_bytes < 70 ? (int)t->n_bytes : 70, t->text);
    filter_free(f);
}

/* Returns nanoseconds for a record, from the best of nine rounds. */
static double time_admit(struct stream *s, const struct conf *c, bool grams)
{
    double best = 1e18;

    for (int round = 0; round < 9; round++) {
        struct filter *f = filter_create(&c->filter, NULL);
        int64_t begin = timing_mono_ns();
        double ns;

        for (size_t i = 0; i < s->n; i++)
            admit(f, s, s->items[i], grams);
        ns = (double)(timing_mono_ns() - begin) / (double)s->n;
        best = ns < best ? ns : best;
        filter_free(f);
    }
    return best;
}

/* Returns the time of the loop: all filters are off. */
static double time_nothing(struct stream *s)
{
    struct conf *none = conf_create();
    double ns;

    none->filter.repetition.enabled = false;
    none->filter.near_duplicate.enabled = false;
    ns = time_admit(s, none, true);
    conf_free(none);
    return ns;
}

int main(int argc, char **argv)
{
    struct conf *c = conf_create();
    struct conf_problems problems = CONF_PROBLEMS_INIT;
    struct stream s = {0};

    if (conf_load(c, NULL, (const char *const *)argv + 1, (size_t)argc - 1,
                  NULL, &problems) != 0) {
        for (size_t i = 0; i < problems.n; i++)
            fprintf(stderr, "%s\n", problems.items[i].text);
        return 2;
    }
    read_stream(&s);
    if (s.n == 0)
        return 1;
    report(&s, c);
    printf("ns a record: %.0f with n-grams, %.0f without; the loop %.0f\n",
           time_admit(&s, c, true), time_admit(&s, c, false),
           time_nothing(&s));
    for (size_t i = 0; i < s.n; i++)
        record_free(s.items[i]);
    free(s.items);
    names_release(&s.domains);
    record_maker_release(&s.maker);
    conf_problems_release(&problems);
    conf_free(c);
    return 0;
}
