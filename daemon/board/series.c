/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each level is a ring of SERIES_ROWS rows. When a level is full, its two
 * oldest rows become one row of the next level. The last level drops them.
 *
 * A row of a level is a position that is the same in the ring of times and in
 * all columns. So a column that is added later needs no times of its own.
 *
 * Levels hold disjoint spans of time: level k is older than level k - 1. The
 * rows in order of time are the last level's, ..., level 0's.
 */
#include "config.h"

#include "daemon/board/series.h"

#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include <jansson.h>

#include "base/err.h"
#include "base/json_value.h"
#include "base/names.h"
#include "base/xalloc.h"

#define ALL_ROWS ((size_t)SERIES_LEVELS * SERIES_ROWS)
#define MARK_BYTES 1024 /* of a mark at most; longer texts are cut */

struct level {
    size_t first, n; /* the oldest row, and how many there are */
    int64_t times[SERIES_ROWS];
};

struct mark {
    int64_t time_ms, version;
    const char *kind;
    char *domain, *text;
};

struct series {
    pthread_mutex_t mutex; /* guards all below */
    struct level levels[SERIES_LEVELS];
    float **columns; /* [SERIES_FIGURES + domains][ALL_ROWS] */
    struct names domains;
    size_t max_domains;
    int64_t newest_ms;
    struct mark marks[SERIES_MARKS];
    size_t n_marks; /* ever added */
};

static float *create_column(void)
{
    float *column = xcalloc(ALL_ROWS, sizeof *column);

    for (size_t i = 0; i < ALL_ROWS; i++)
        column[i] = NAN;
    return column;
}

struct series *series_create(size_t max_domains)
{
    struct series *s = xcalloc(1, sizeof *s);

    pthread_mutex_init(&s->mutex, NULL);
    s->max_domains = max_domains;
    s->columns = xcalloc(SERIES_FIGURES + max_domains, sizeof *s->columns);
    for (size_t i = 0; i < SERIES_FIGURES; i++)
        s->columns[i] = create_column();
    return s;
}

void series_free(struct series *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < SERIES_FIGURES + s->max_domains; i++)
        free(s->columns[i]);
    for (size_t i = 0; i < SERIES_MARKS; i++) {
        free(s->marks[i].domain);
        free(s->marks[i].text);
    }
    free(s->columns);
    names_release(&s->domains);
    pthread_mutex_destroy(&s->mutex);
    free(s);
}

size_t series_bytes(size_t max_domains)
{
    size_t columns = SERIES_FIGURES + max_domains;

    return sizeof(struct series) +
           columns * (ALL_ROWS * sizeof(float) + sizeof(float *)) +
           SERIES_MARKS * (size_t)MARK_BYTES;
}

/* --- rows --------------------------------------------------------------- */

/* The position of a level's row i, counted from its oldest one. */
static size_t position(const struct series *s, int level, size_t i)
{
    return (size_t)level * SERIES_ROWS +
           (s->levels[level].first + i) % SERIES_ROWS;
}

static int64_t *time_at(struct series *s, size_t at)
{
    return &s->levels[at / SERIES_ROWS].times[at % SERIES_ROWS];
}

static float mean(float a, float b)
{
    if (isnan(a))
        return b;
    return isnan(b) ? a : (a + b) / 2;
}

/* Makes room in a level: its two oldest rows become one of the next level.
 * Returns the position of the new row. */
static size_t take_row(struct series *s, int level)
{
    struct level *l = &s->levels[level];

    if (l->n == SERIES_ROWS) {
        if (level + 1 < SERIES_LEVELS) {
            size_t a = position(s, level, 0), b = position(s, level, 1);
            size_t to = take_row(s, level + 1);

            *time_at(s, to) = *time_at(s, b);
            for (size_t i = 0; i < SERIES_FIGURES + s->domains.n; i++)
                s->columns[i][to] = mean(s->columns[i][a], s->columns[i][b]);
        }
        l->first = (l->first + 2) % SERIES_ROWS;
        l->n -= 2;
    }
    return position(s, level, l->n++);
}

/* The column of a domain; NULL: there is no room for it. */
static float *find_column(struct series *s, const char *name)
{
    long id = names_find(&s->domains, name);

    if (id < 0 && s->domains.n < s->max_domains) {
        id = names_add(&s->domains, name);
        s->columns[SERIES_FIGURES + id] = create_column();
    }
    return id < 0 ? NULL : s->columns[SERIES_FIGURES + id];
}

void series_add(struct series *s, int64_t time_ms,
                const double figures[SERIES_FIGURES],
                const struct series_domain *domains, size_t n_domains)
{
    size_t at;

    pthread_mutex_lock(&s->mutex);
    if (time_ms < s->newest_ms)
        time_ms = s->newest_ms;
    s->newest_ms = time_ms;
    at = take_row(s, 0);
    *time_at(s, at) = time_ms;
    for (size_t i = 0; i < SERIES_FIGURES; i++)
        s->columns[i][at] = (float)figures[i];
    for (size_t i = 0; i < s->domains.n; i++)
        s->columns[SERIES_FIGURES + i][at] = NAN;
    for (size_t i = 0; i < n_domains; i++) {
        float *column = find_column(s, domains[i].name);

        if (column)
            column[at] = (float)domains[i].loss;
    }
    pthread_mutex_unlock(&s->mutex);
}

void series_mark(struct series *s, int64_t time_ms, const char *kind,
                 int64_t version, const char *domain, const char *text)
{
    struct mark *m;

    pthread_mutex_lock(&s->mutex);
    m = &s->marks[s->n_marks++ % SERIES_MARKS];
    free(m->domain);
    free(m->text);
    *m = (struct mark){time_ms, version, kind, xstrndup(domain, MARK_BYTES / 4),
                       xstrndup(text, MARK_BYTES / 2)};
    pthread_mutex_unlock(&s->mutex);
}

/* --- JSON --------------------------------------------------------------- */

/* The text is written without jansson, whose values would take five times its
 * memory. */

static void add_string(struct buf *out, const char *text)
{
    json_t *value = json_value_text(text);
    char *quoted = json_dumps(value, JSON_ENCODE_ANY);

    BUG_ON(!quoted);
    buf_adds(out, quoted);
    free(quoted);
    json_decref(value);
}

/* The positions of the rows later than after_ms, in order of time. */
static size_t find_rows(struct series *s, int64_t after_ms,
                        size_t rows[ALL_ROWS])
{
    size_t n = 0;

    for (int level = SERIES_LEVELS - 1; level >= 0; level--) {
        for (size_t i = 0; i < s->levels[level].n; i++) {
            size_t at = position(s, level, i);

            if (*time_at(s, at) > after_ms)
                rows[n++] = at;
        }
    }
    return n;
}

static void add_times(struct series *s, const size_t *rows, size_t n,
                      struct buf *out)
{
    buf_adds(out, "{\"time_ms\":[");
    for (size_t i = 0; i < n; i++)
        buf_addf(out, "%s%lld", i ? "," : "", (long long)*time_at(s, rows[i]));
    buf_addc(out, ']');
}

/* Four digits are more than a picture shows. */
static void add_column(const float *column, const size_t *rows, size_t n,
                       struct buf *out)
{
    buf_adds(out, ":[");
    for (size_t i = 0; i < n; i++) {
        buf_adds(out, i ? "," : "");
        if (isfinite(column[rows[i]]))
            buf_addf(out, "%.4g", (double)column[rows[i]]);
        else
            buf_adds(out, "null");
    }
    buf_addc(out, ']');
}

static bool has_value(const float *column, const size_t *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (isfinite(column[rows[i]]))
            return true;
    return false;
}

static void add_domains(const struct series *s, const size_t *rows, size_t n,
                        struct buf *out)
{
    bool any = false;

    buf_adds(out, ",\"domains\":{");
    for (size_t i = 0; i < s->domains.n; i++) {
        const float *column = s->columns[SERIES_FIGURES + i];

        if (!has_value(column, rows, n))
            continue;
        buf_adds(out, any ? "," : "");
        add_string(out, s->domains.items[i]);
        add_column(column, rows, n, out);
        any = true;
    }
    buf_addc(out, '}');
}

static void add_marks(const struct series *s, int64_t after_ms, struct buf *out)
{
    size_t first = s->n_marks > SERIES_MARKS ? s->n_marks - SERIES_MARKS : 0;
    bool any = false;

    buf_adds(out, ",\"marks\":[");
    for (size_t i = first; i < s->n_marks; i++) {
        const struct mark *m = &s->marks[i % SERIES_MARKS];

        if (m->time_ms <= after_ms)
            continue;
        buf_addf(out, "%s{\"time_ms\":%lld,\"kind\":\"%s\",\"version\":%lld,",
                 any ? "," : "", (long long)m->time_ms, m->kind,
                 (long long)m->version);
        buf_adds(out, "\"domain\":");
        add_string(out, m->domain);
        buf_adds(out, ",\"text\":");
        add_string(out, m->text);
        buf_addc(out, '}');
        any = true;
    }
    buf_addc(out, ']');
}

void series_to_json(struct series *s, int64_t after_ms, struct buf *out)
{
    static const char *const names[SERIES_FIGURES] = {
        "prequential_bits_per_byte", "lag", "tokens_per_second",
        "records_per_second"};
    size_t *rows = xcalloc(ALL_ROWS, sizeof *rows), n;

    pthread_mutex_lock(&s->mutex);
    n = find_rows(s, after_ms, rows);
    add_times(s, rows, n, out);
    for (size_t i = 0; i < SERIES_FIGURES; i++) {
        buf_addf(out, ",\"%s\"", names[i]);
        add_column(s->columns[i], rows, n, out);
    }
    add_domains(s, rows, n, out);
    add_marks(s, after_ms, out);
    pthread_mutex_unlock(&s->mutex);
    buf_addc(out, '}');
    free(rows);
}
