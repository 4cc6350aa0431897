/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records from a file or from standard input: a line's number is its offset,
 * the file's generation its partition.
 *
 *     positioning --> reading --> ended         (the last line was pushed)
 *          |            |  ^
 *          |            v  | new generation     (follow: rotated, truncated)
 *          v          at the end, waiting
 *       stopped
 *
 * With `follow` there are two kinds of rotation. (1) The file is renamed. Its
 * writer may still have it open, so it is read until no line has come for
 * QUIET_MS, but at least for GRACE_MS and at most for GRACE_MOST_MS. Later
 * lines are a gap. (2) The file is truncated or rewritten, which lines_next
 * reports. The rest is in the copy that logrotate made: PATH.1, PATH.1.gz or
 * PATH.1.zst. These are also searched after a restart. Lines that no copy has
 * are a gap.
 *
 * Is it still the same file? file_place.h looks, at start and before a seek. A
 * seek stays within the file that is read as the present generation, wherever
 * that was found, for what is left of it to be read: (1) f->reader has it open,
 * so that its inode means no other file; (2) while an order waits, no other
 * file is entered than the one it was checked against.
 *
 * With `follow` a line counts once its end has been written: counted before, it
 * would be another line after a restart.
 *
 * Threads: the reading thread owns f->reader and all below it; what others ask
 * of it is in f->order, under the mutex. A seek opens and checks the new reader
 * in the caller's thread and then hands it over, so that a failure changes
 * nothing.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checksum.h"
#include "base/lines.h"
#include "base/log.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/stream/file_place.h"
#include "daemon/stream/source_private.h"

#define PUSH_WAIT_MS 100
#define FOLLOW_WAIT_MS 100
#define RETRY_WAIT_MS 1000
#define OPEN_WAIT_MS 3000
#define LINES_A_TURN 256 /* between two looks at the orders */
#define GRACE_MS 1500
#define QUIET_MS 1000
#define GRACE_MOST_MS 10000
#define OLD_MS 60000 /* how long a renamed file is watched afterwards */
#define N_ROTATED 3

struct order {
    bool is_set;
    struct lines *reader; /* NULL: find the place of `position` (at start) */
    const char *path;     /* what the reader has opened */
    struct source_position position; /* topic is f->path */
    bool has_position;
    int64_t epoch;
};

/* An older generation. */
struct past {
    int32_t partition;
    int64_t next_offset; /* the line after the last one that was read */
    bool is_learned;     /* a version has all of it */
};

struct source_file {
    struct source base;
    const char *path; /* and the topic: "stdin" without a file */
    char *rotated[N_ROTATED]; /* the paths of its copies */
    char *domain;
    bool is_stdin;
    bool is_read_once; /* standard input or a named pipe */
    pthread_t thread;
    bool has_thread;

    /* Locks: base.mutex */
    bool stopping;
    struct order order;
    struct past *past;
    size_t n_past, cap_past;
    const char *open_path; /* of f->reader: path or one of rotated; NULL: no
                              file yet */
    dev_t device;          /* of f->reader, and so is the inode */
    ino_t inode;

    /* Written by the reading thread, read by others. */
    _Atomic int32_t partition; /* -1: not positioned yet */
    _Atomic int64_t line;      /* the next one */
    _Atomic bool at_end;
    _Atomic int64_t bytes_read; /* by the reader: so long the file was */

    /* The reading thread's. */
    struct lines *reader;
    int64_t epoch;
    bool idle;        /* ended or stopped: until a seek */
    int64_t left_ms;  /* when the path began to name another file, or none;
                         0: it names this one */
    int64_t lines_ms; /* when lines came last */
    bool rewritten;   /* the file was truncated or rewritten */
    struct lines *old; /* a renamed file that was read to its end, or NULL */
    int64_t old_ms;    /* when it was left */
    int64_t last;     /* the line that was read last, or -1, and its hash */
    uint64_t last_hash;
};

static struct source_file *file_of(struct source *s)
{
    return (struct source_file *)s;
}

static size_t max_bytes(const struct source_file *f)
{
    return (size_t)f->base.options.conf->source.max_record_bytes;
}

/* "/var/log/app.log.gz" -> "app" */
static char *domain_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    const char *dot = strchr(*name ? name + 1 : name, '.');

    return dot ? xstrndup(name, (size_t)(dot - name)) : xstrdup(name);
}

/* --- finding the place -------------------------------------------------- */

/* Lines of an older generation cannot be read again. Locks: needs mutex. */
static void remember_past(struct source_file *f, int32_t partition,
                          int64_t line, bool is_learned)
{
    XGROW(f->past, f->n_past, f->cap_past);
    f->past[f->n_past++] = (struct past){partition, line, is_learned};
}

/* Locks: takes mutex. False: of that generation there are lines to read after
 * the position. */
static bool is_read_to_its_end(struct source_file *f,
                               const struct source_position *at)
{
    bool yes = true;

    pthread_mutex_lock(&f->base.mutex);
    for (size_t i = 0; i < f->n_past; i++)
        yes = yes && (f->past[i].partition != at->partition ||
                      f->past[i].next_offset <= at->next_offset);
    pthread_mutex_unlock(&f->base.mutex);
    return yes;
}

/* Reads on with `reader`, which has `path` open. Locks: needs mutex. */
static void replace_reader(struct source_file *f, struct lines *reader,
                           const char *path, const struct source_position *at)
{
    lines_close(f->reader);
    f->reader = reader;
    f->left_ms = 0;
    f->rewritten = false;
    f->idle = false;
    f->last = at->last_learned;
    f->last_hash = at->last_hash;
    f->open_path = path;
    f->device = lines_device(reader);
    f->inode = lines_inode(reader);
    atomic_store(&f->bytes_read, lines_bytes_read(reader));
    atomic_store(&f->line, at->next_offset);
    atomic_store(&f->at_end, false);
    atomic_store(&f->partition, at->partition);
    pthread_cond_broadcast(&f->base.changed);
}

/* Continues with `reader` at that position, unless an order waits. Locks: takes
 * mutex. */
static void enter(struct source_file *f, struct lines *reader,
                  const char *path, const struct source_position *at)
{
    pthread_mutex_lock(&f->base.mutex);
    if (f->order.is_set)
        lines_close(reader);
    else
        replace_reader(f, reader, path, at);
    pthread_mutex_unlock(&f->base.mutex);
}

/* Reads the next generation, from its first line. False: an order waits, and
 * the present one stays. Locks: takes mutex. */
static bool enter_next(struct source_file *f, struct lines *reader,
                       int32_t past, int64_t past_line)
{
    const struct source_position first = {.partition = past + 1,
                                          .last_learned = -1};
    bool entered;

    pthread_mutex_lock(&f->base.mutex);
    entered = !f->order.is_set;
    if (entered) {
        remember_past(f, past, past_line, false);
        if (f->reader && !f->rewritten) {
            lines_close(f->old);
            f->old = f->reader;
            f->old_ms = timing_mono_ms();
            f->reader = NULL;
        }
        replace_reader(f, reader, f->path, &first);
    } else {
        lines_close(reader);
    }
    pthread_mutex_unlock(&f->base.mutex);
    return entered;
}

static void stop_reading(struct source_file *f, const char *reason)
{
    f->idle = true;
    source_set_state(&f->base, SOURCE_STOPPED, "%s", reason);
    pthread_mutex_lock(&f->base.mutex); /* a seek may wait for an open file */
    pthread_cond_broadcast(&f->base.changed);
    pthread_mutex_unlock(&f->base.mutex);
}

/* The path names another file than the one that was learned from. */
static void start_anew(struct source_file *f, int32_t partition,
                       int64_t line, const struct err *why)
{
    const struct conf_source *conf = &f->base.options.conf->source;
    struct err err = ERR_INIT;
    struct lines *reader;

    if (!conf->follow && conf->kafka.on_gap == CONF_ON_GAP_STOP) {
        char reason[ERR_MSG_MAX + 128];

        snprintf(reason, sizeof reason,
                 "%s; put the file back, or set source.kafka.on_gap: skip to "
                 "read this one from its first line",
                 why->msg);
        stop_reading(f, reason);
        return;
    }
    reader = lines_open(f->path, max_bytes(f), &err);
    if (!reader) {
        stop_reading(f, err.msg);
        return;
    }
    if (!enter_next(f, reader, partition, line))
        return;
    source_count_gap(&f->base, "%s; %sread from its first line", why->msg,
                     conf->follow ? "the rest of it is not in PATH.1, "
                                    "PATH.1.gz or PATH.1.zst; "
                                  : "");
}

/* Opens the copy that has the rest of a rotated file. NULL: there is none. */
static struct lines *open_rotated(const struct source_file *f,
                                  const struct source_position *at,
                                  const char **path)
{
    struct source_position there = *at;
    struct lines *l = NULL;

    /* Without a line to compare, any file would match. */
    for (size_t i = 0; i < N_ROTATED && !l && at->last_learned >= 0; i++) {
        there.topic = *path = f->rotated[i];
        if (file_place_open(&l, &there, max_bytes(f), NULL) != 0)
            l = NULL;
    }
    if (l)
        log_info("rotated", "path=%s generation=%d: its rest is read from "
                 "%s", f->path, (int)at->partition, *path);
    return l;
}

/* The first position: as stored, or the first line. Returns ERR_IO while the
 * file cannot be opened. */
static int find_place(struct source_file *f, const struct order *o,
                      struct err *err)
{
    struct lines *l = NULL;
    struct source_position at = o->position;
    const char *path = f->path;
    int rc;

    if (!o->has_position || f->is_read_once) {
        l = lines_open(f->is_stdin ? NULL : f->path, max_bytes(f), err);
        if (!l)
            return ERR_IO;
        at = (struct source_position){
            .partition = o->has_position ? at.partition + 1 : 0,
            .last_learned = -1};
        enter(f, l, path, &at);
        return 0;
    }
    rc = file_place_open(&l, &at, max_bytes(f), err);
    if (rc == ERR_STATE && f->base.options.conf->source.follow) {
        l = open_rotated(f, &at, &path);
        rc = l ? 0 : rc;
    }
    if (rc == 0)
        enter(f, l, path, &at);
    else if (rc == ERR_STATE)
        start_anew(f, at.partition, at.next_offset, err);
    else if (rc != ERR_IO)
        stop_reading(f, err->msg);
    return rc == ERR_IO ? rc : 0;
}

/* --- pushing ------------------------------------------------------------ */

/* Somebody wants something else of the thread. */
static bool is_interrupted(struct source_file *f)
{
    bool yes;

    pthread_mutex_lock(&f->base.mutex);
    yes = f->stopping || f->order.is_set;
    pthread_mutex_unlock(&f->base.mutex);
    return yes;
}

/* Sleeps; an order or a stop ends it. */
static void wait_ms(struct source_file *f, int64_t ms)
{
    struct timespec deadline = timing_deadline(ms);

    pthread_mutex_lock(&f->base.mutex);
    if (!f->stopping && !f->order.is_set)
        timing_wait(&f->base.changed, &f->base.mutex, &deadline);
    pthread_mutex_unlock(&f->base.mutex);
}

/* False: the record is gone, since nobody wants it any more. */
static bool push(struct source_file *f, struct record *r)
{
    struct queue *q = f->base.options.queue;

    r->epoch = f->epoch;
    r->topic = f->path;
    r->partition = atomic_load(&f->partition);
    r->offset = atomic_load(&f->line);
    if (queue_try_push(q, r))
        return true;
    while (!is_interrupted(f)) {
        if (queue_push(q, r, PUSH_WAIT_MS))
            return true;
        wait_ms(f, 1); /* a closed queue does not wait */
    }
    record_free(r);
    return false;
}

static bool deliver(struct source_file *f, const struct line *line)
{
    struct record *r =
        record_create_data(&f->base.maker, line->bytes, line->n_bytes);
    uint64_t hash;

    r->value_hash = checksum_xxh3(line->bytes, line->n_bytes, 0);
    if (line->too_long)
        r->reason = "too_long";
    r->topic = f->path;
    source_parse(&f->base, r, f->domain);
    hash = r->value_hash;
    if (!push(f, r))
        return false;
    f->last_hash = hash;
    f->last = atomic_fetch_add_explicit(&f->line, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&f->base.records_read, 1, memory_order_relaxed);
    atomic_store_explicit(&f->bytes_read, lines_bytes_read(f->reader),
                          memory_order_relaxed);
    return true;
}

/* --- at the end --------------------------------------------------------- */

static void finish(struct source_file *f)
{
    if (!push(f, record_create(RECORD_END)))
        return;
    if (lines_ignored(f->reader))
        log_warn("source", "%s: the last %lld bytes are not compressed data, "
                 "and were not read", f->open_path,
                 (long long)lines_ignored(f->reader));
    f->idle = true;
    source_set_state(&f->base, SOURCE_ENDED, "the last line has been read");
}

/* Notes in left_ms whether the path still names the file that is read. */
static void look_for_rotation(struct source_file *f)
{
    struct stat st;
    bool is_same;

    if (stat(f->path, &st) != 0)
        is_same = errno != ENOENT;
    else
        is_same = lines_same_file(f->reader, st.st_dev, st.st_ino);
    if (is_same)
        f->left_ms = 0;
    else if (!f->left_ms)
        f->left_ms = timing_mono_ms();
}

/* May the writer still have the renamed file open? A compressed one has none.
 */
static bool has_grace(const struct source_file *f)
{
    int64_t now = timing_mono_ms(), since = now - f->left_ms;

    if (f->open_path != f->path && f->open_path != f->rotated[0])
        return false;
    return since < GRACE_MS ||
           (now - f->lines_ms < QUIET_MS && since < GRACE_MOST_MS);
}

static void next_generation(struct source_file *f)
{
    int32_t partition = atomic_load(&f->partition);
    bool is_cut = f->rewritten && lines_is_behind(f->reader);
    struct err err = ERR_INIT;
    struct lines *reader;

    look_for_rotation(f);
    if (!f->rewritten && !f->left_ms) { /* it was away, and it is back */
        source_set_state(&f->base, SOURCE_RUNNING, "%s", "");
        return;
    }
    reader = lines_open(f->path, max_bytes(f), &err);
    if (!reader) { /* between its rename and its making */
        source_set_state(&f->base, SOURCE_RETRYING, "%s", err.msg);
        wait_ms(f, FOLLOW_WAIT_MS);
        return;
    }
    if (!enter_next(f, reader, partition, atomic_load(&f->line)))
        return;
    if (is_cut)
        source_count_gap(&f->base, "%s: truncated before all of it was read; "
                         "read from its first line", f->path);
    else
        log_info("rotated", "path=%s generation=%d", f->path,
                 (int)partition + 1);
    source_set_state(&f->base, SOURCE_RUNNING, "%s", "");
}

/* Watches a renamed file after it was read to its end. Lines that come now are
 * lost: a gap. */
static void look_at_old(struct source_file *f)
{
    bool has_grown;

    if (!f->old)
        return;
    has_grown = lines_has_grown(f->old);
    if (has_grown)
        source_count_gap(&f->base, "%s: the renamed file was written to after "
                         "it had been read to its end; these lines are "
                         "not read",
                         f->path);
    if (has_grown || timing_mono_ms() - f->old_ms > OLD_MS) {
        lines_close(f->old);
        f->old = NULL;
    }
}

/* After a truncation: continues in the copy of the file. False: there is none.
 */
static bool read_the_copy(struct source_file *f)
{
    const struct source_position at = {
        .partition = atomic_load(&f->partition),
        .next_offset = atomic_load(&f->line),
        .last_learned = f->last,
        .last_hash = f->last_hash,
    };
    const char *path;
    struct lines *l = open_rotated(f, &at, &path);

    if (l)
        enter(f, l, path, &at);
    return l != NULL;
}

/* The line without an end, if there is one; after it `then`. */
static void take_rest(struct source_file *f, void (*then)(struct source_file *))
{
    struct err err = ERR_INIT;
    struct line line;
    int rc = lines_rest(f->reader, &line, &err);

    if (rc == 0)
        deliver(f, &line);
    else if (rc == ERR_END)
        then(f);
    else
        stop_reading(f, err.msg);
}

static void follow_end(struct source_file *f)
{
    if (f->rewritten && read_the_copy(f))
        return;
    if (f->rewritten && lines_is_behind(f->reader)) {
        next_generation(f); /* without the piece of a line at hand */
        return;
    }
    if (f->rewritten) {
        take_rest(f, next_generation);
        return;
    }
    look_at_old(f);
    look_for_rotation(f);
    if (f->left_ms && !has_grace(f))
        take_rest(f, next_generation);
    else
        wait_ms(f, FOLLOW_WAIT_MS);
}

static void reach_end(struct source_file *f)
{
    atomic_store(&f->at_end, true);
    if (f->base.options.conf->source.follow && lines_is_regular(f->reader))
        follow_end(f);
    else
        take_rest(f, finish);
}

/* --- the thread --------------------------------------------------------- */

/* Acts on the outcome of lines_next when there was no line. */
static void take_outcome(struct source_file *f, int rc, const struct err *err)
{
    f->rewritten = rc == ERR_STATE && f->base.options.conf->source.follow;
    if (rc == ERR_END || f->rewritten)
        reach_end(f);
    else if (rc != ERR_AGAIN)
        stop_reading(f, err->msg);
}

static void read_lines(struct source_file *f)
{
    struct err err = ERR_INIT;
    struct line line;

    for (int i = 0; i < LINES_A_TURN; i++) {
        int rc = lines_next(f->reader, &line, &err);

        if (rc != 0) {
            if (i > 0)
                f->lines_ms = timing_mono_ms();
            take_outcome(f, rc, &err);
            return;
        }
        if (!deliver(f, &line))
            return;
        if (i == 0)
            atomic_store(&f->at_end, false);
    }
}

/* Waits while there is nothing to do. False: stop. */
static bool take_order(struct source_file *f, struct order *o)
{
    bool go_on;

    pthread_mutex_lock(&f->base.mutex);
    while (!f->stopping && !f->order.is_set && f->idle)
        pthread_cond_wait(&f->base.changed, &f->base.mutex);
    go_on = !f->stopping;
    if (go_on && f->order.is_set) {
        *o = f->order;
        memset(&f->order, 0, sizeof f->order);
    }
    pthread_mutex_unlock(&f->base.mutex);
    return go_on;
}

/* When the file cannot be opened, is that the end? Otherwise it is tried again.
 */
static bool is_final(const struct source_file *f)
{
    const struct conf_source *conf = &f->base.options.conf->source;

    return f->is_stdin || (conf->at_end == CONF_AT_END_EXIT && !conf->follow);
}

/* Returns with o done (is_set false), or to be tried again. */
static void carry_out(struct source_file *f, struct order *o)
{
    struct err err = ERR_INIT;
    bool is_open = true;

    f->epoch = o->epoch;
    if (o->reader) {
        enter(f, o->reader, o->path, &o->position);
        o->reader = NULL;
    } else {
        is_open = find_place(f, o, &err) == 0;
    }
    if (!is_open && is_final(f)) {
        stop_reading(f, err.msg);
    } else if (!is_open) {
        source_set_state(&f->base, SOURCE_RETRYING, "%s", err.msg);
        wait_ms(f, RETRY_WAIT_MS);
        return;
    }
    o->is_set = false;
    if (!f->idle)
        source_set_state(&f->base, SOURCE_RUNNING, "%s", "");
}

static void *run(void *arg)
{
    struct source_file *f = arg;
    struct order o = {.is_set = false};

    pthread_setname_np(pthread_self(), "source");
    while (take_order(f, &o)) {
        if (o.is_set)
            carry_out(f, &o);
        else
            read_lines(f);
    }
    lines_close(o.reader);
    return NULL;
}

/* --- the functions of source.h ------------------------------------------ */

/* The newest generation among the positions. */
static bool newest_position(const struct source_file *f,
                            const struct source_position *positions, size_t n,
                            struct source_position *newest)
{
    bool found = false;

    for (size_t i = 0; i < n; i++)
        if (strcmp(positions[i].topic, f->path) == 0 &&
            (!found || positions[i].partition > newest->partition)) {
            *newest = positions[i];
            newest->topic = f->path;
            found = true;
        }
    return found;
}

/* Would the order read what is read now? Before anything is open it may read
 * any; and where a line of it has been compared, a file that was put in its
 * place is as good. Locks: needs mutex. */
static bool is_present(const struct source_file *f, const struct order *o)
{
    return !o->reader || !f->open_path ||
           (o->position.partition == atomic_load(&f->partition) &&
            (o->position.last_learned >= 0 ||
             lines_same_file(o->reader, f->device, f->inode)));
}

/* Locks: takes mutex. An order that was not taken yet is replaced. False: by
 * now another file is read than the one it has open, which is closed. */
static bool give_order(struct source_file *f, struct order o)
{
    bool given;

    pthread_mutex_lock(&f->base.mutex);
    given = is_present(f, &o);
    if (given) {
        lines_close(f->order.reader);
        o.is_set = true;
        f->order = o;
        pthread_cond_broadcast(&f->base.changed);
    } else {
        lines_close(o.reader);
    }
    pthread_mutex_unlock(&f->base.mutex);
    return given;
}

static int file_begin(struct source *s,
                      const struct source_position *positions, size_t n,
                      int64_t epoch, struct err *err)
{
    struct source_file *f = file_of(s);
    struct order o = {.epoch = epoch};
    int rc;

    BUG_ON(f->has_thread);
    o.has_position = newest_position(f, positions, n, &o.position);
    pthread_mutex_lock(&s->mutex);
    for (size_t i = 0; i < n; i++)
        if (strcmp(positions[i].topic, f->path) == 0 &&
            positions[i].partition < o.position.partition)
            remember_past(f, positions[i].partition,
                          positions[i].next_offset, true);
    pthread_mutex_unlock(&s->mutex);
    give_order(f, o);
    rc = pthread_create(&f->thread, NULL, run, f);
    if (rc != 0)
        return err_set_errno(err, ERR_IO, rc, "cannot start a thread");
    f->has_thread = true;
    return 0;
}

static int rotated_away(const struct source_file *f,
                        const struct source_position *at, struct err *err)
{
    return err_set(err, ERR_STATE,
                   "%s: line %lld was in a file that has since been rotated "
                   "or replaced",
                   f->path, (long long)at->next_offset + 1);
}

/* The position to seek to: that of the generation being read, with nothing
 * left to read of the ones before. */
static int seek_target(struct source_file *f,
                       const struct source_position *positions, size_t n,
                       struct source_position *at, struct err *err)
{
    int32_t partition = atomic_load(&f->partition);

    if (f->is_read_once)
        return err_set(err, ERR_STATE, "%s cannot be read again", f->path);
    if (!newest_position(f, positions, n, at))
        *at = (struct source_position){.topic = f->path, .last_learned = -1};
    if (partition >= 0 && at->partition != partition)
        return rotated_away(f, at, err);
    for (size_t i = 0; i < n; i++)
        if (strcmp(positions[i].topic, f->path) == 0 &&
            !is_read_to_its_end(f, &positions[i]))
            return rotated_away(f, &positions[i], err);
    return 0;
}

/* The path of what is read now. It is waited for, for a seek is to know, but
 * not for long: the file may be away, or its place far behind. Locks: takes
 * mutex. */
static const char *wait_for_path(struct source_file *f)
{
    struct timespec deadline = timing_deadline(OPEN_WAIT_MS);
    const char *path;
    int rc = 0;

    pthread_mutex_lock(&f->base.mutex);
    while (!f->open_path && f->base.state != SOURCE_STOPPED && rc == 0)
        rc = timing_wait(&f->base.changed, &f->base.mutex, &deadline);
    path = f->open_path ? f->open_path : f->path;
    pthread_mutex_unlock(&f->base.mutex);
    return path;
}

/* Opens what is read now, at the order's position; ERR_STATE when it is shorter
 * than what was read of it. It may grow meanwhile. */
static int open_present(const struct source_file *f, struct order *o,
                        struct err *err)
{
    struct source_position at = o->position;
    int64_t bytes_read = atomic_load(&f->bytes_read);
    int rc;

    at.topic = o->path;
    rc = file_place_open(&o->reader, &at, max_bytes(f), err);
    if (rc == 0 && lines_size(o->reader) < bytes_read) {
        lines_close(o->reader);
        return rotated_away(f, &o->position, err);
    }
    return rc;
}

static int file_seek(struct source *s, const struct source_position *positions,
                     size_t n, int64_t epoch, struct err *err)
{
    struct source_file *f = file_of(s);
    struct order o = {.epoch = epoch, .has_position = true};
    struct err why = ERR_INIT;
    int rc;

    if (!f->is_read_once)
        o.path = wait_for_path(f);
    rc = seek_target(f, positions, n, &o.position, &why);
    if (rc == 0)
        rc = open_present(f, &o, &why);
    if (rc == 0 && !give_order(f, o))
        rc = rotated_away(f, &o.position, &why);
    if (rc != 0)
        return err_set(err, ERR_STATE, "%s", why.msg);
    return 0;
}

static void file_published(struct source *s,
                           const struct source_position *positions, size_t n)
{
    struct source_file *f = file_of(s);

    pthread_mutex_lock(&s->mutex);
    for (size_t i = 0; i < f->n_past; i++)
        for (size_t k = 0; k < n && !f->past[i].is_learned; k++)
            f->past[i].is_learned =
                strcmp(positions[k].topic, f->path) == 0 &&
                positions[k].partition == f->past[i].partition &&
                positions[k].next_offset >= f->past[i].next_offset;
    pthread_mutex_unlock(&s->mutex);
}

/* The present generation, and older ones that are in no version yet. */
static size_t file_get_partitions(struct source *s,
                                  struct source_partition **rows)
{
    struct source_file *f = file_of(s);
    struct source_partition *row;
    int64_t line;

    pthread_mutex_lock(&s->mutex);
    *rows = row = xcalloc(f->n_past + 1, sizeof *row);
    if (atomic_load(&f->partition) >= 0) {
        line = atomic_load(&f->line);
        *row++ = (struct source_partition){
            .topic = f->path,
            .partition = atomic_load(&f->partition),
            .offset = line,
            .end = atomic_load(&f->at_end) ? line : -1,
        };
    }
    for (size_t i = 0; i < f->n_past; i++)
        if (!f->past[i].is_learned)
            *row++ = (struct source_partition){
                .topic = f->path,
                .partition = f->past[i].partition,
                .offset = f->past[i].next_offset,
                .end = f->past[i].next_offset,
            };
    pthread_mutex_unlock(&s->mutex);
    return (size_t)(row - *rows);
}

static void file_free(struct source *s)
{
    struct source_file *f = file_of(s);

    pthread_mutex_lock(&s->mutex);
    f->stopping = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
    if (f->has_thread)
        pthread_join(f->thread, NULL);
    lines_close(f->reader);
    lines_close(f->old);
    lines_close(f->order.reader);
    free(f->past);
    for (size_t i = 0; i < N_ROTATED; i++)
        free(f->rotated[i]);
    free(f->domain);
    source_release(s);
    free(f);
}

/* Can it be read, and more than once? Opened it is by the thread: a named pipe
 * has somebody at its other end. */
static int check_path(const char *path, bool *is_regular, struct err *err)
{
    struct stat st;

    if (stat(path, &st) != 0 || access(path, R_OK) != 0)
        return err_set_errno(err, ERR_IO, errno, "%s", path);
    if (S_ISDIR(st.st_mode))
        return err_set(err, ERR_IO,
                       "%s: a directory; source.path names one file", path);
    *is_regular = S_ISREG(st.st_mode);
    return 0;
}

int source_file_create(struct source **source,
                       const struct source_options *options, struct err *err)
{
    static const struct source_ops ops = {
        .free = file_free,
        .begin = file_begin,
        .seek = file_seek,
        .published = file_published,
        .get_partitions = file_get_partitions,
    };
    static const char *const endings[N_ROTATED] = {"", ".gz", ".zst"};
    const struct conf_source *conf = &options->conf->source;
    bool is_stdin = conf->type == CONF_SOURCE_STDIN;
    bool is_regular = false;
    struct source_file *f;

    if (!is_stdin && check_path(conf->path, &is_regular, err) != 0)
        return ERR_IO;
    f = xcalloc(1, sizeof *f);
    source_init(&f->base, &ops, options);
    f->is_stdin = is_stdin;
    f->is_read_once = !is_regular;
    f->path = is_stdin ? "stdin" : conf->path;
    for (size_t i = 0; i < N_ROTATED; i++)
        f->rotated[i] = xasprintf("%s.1%s", f->path, endings[i]);
    f->domain = domain_of(f->path);
    atomic_store(&f->partition, -1);
    *source = &f->base;
    return 0;
}
