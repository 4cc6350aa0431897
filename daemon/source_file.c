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
 * Is it still the same file? file_place.h looks, at start and before a seek.
 * A seek stays within the file that is read as the present generation, wherever
 * that was found, for what is left of it to be read: (1) f->reader has it open,
 * so that its inode means no other file; (2) while an order waits, no other
 * file is entered than the one it was checked against.
 *
 * With `follow` a line counts once its end has been written: counted before,
 * it would be another line after a restart.
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
#include "daemon/file_place.h"
#include "daemon/source_impl.h"

#define PUSH_WAIT_MS 100
#define FOLLOW_WAIT_MS 100
#define RETRY_WAIT_MS 1000
#define OPEN_WAIT_MS 3000
#define LINES_A_TURN 256 /* between two looks at the orders */

struct order {
    bool is_set;
    struct lines *reader; /* NULL: find the place of `position` (at start) */
    const char *path;     /* what the reader has opened */
    struct source_position position; /* topic is f->path */
    bool has_position;
    int64_t epoch;
};

struct source_file {
    struct source base;
    const char *path; /* and the topic: "stdin" without a file */
    char *rotated;    /* where logrotate puts it */
    char *domain;
    bool is_stdin;
    bool is_read_once; /* standard input or a named pipe */
    pthread_t thread;
    bool has_thread;

    /* Locks: base.mutex */
    bool stopping;
    struct order order;
    struct source_position *past; /* older generations: the line after the
                                     last one that was read */
    size_t n_past, cap_past;
    const char *open_path; /* of f->reader: path or rotated; NULL: none yet */
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
    bool idle;     /* ended or stopped: until a seek */
    bool draining; /* rotated: the old file's last lines */
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
                          int64_t line)
{
    XGROW(f->past, f->n_past, f->cap_past);
    f->past[f->n_past++] = (struct source_position){
        .topic = f->path, .partition = partition, .next_offset = line};
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
                           const char *path, int32_t partition, int64_t line)
{
    lines_close(f->reader);
    f->reader = reader;
    f->draining = false;
    f->idle = false;
    f->open_path = path;
    f->device = lines_device(reader);
    f->inode = lines_inode(reader);
    atomic_store(&f->bytes_read, lines_bytes_read(reader));
    atomic_store(&f->line, line);
    atomic_store(&f->at_end, false);
    atomic_store(&f->partition, partition);
    pthread_cond_broadcast(&f->base.changed);
}

/* Reads on with `reader` as that generation, unless an order waits. Locks:
 * takes mutex. */
static void enter(struct source_file *f, struct lines *reader,
                  const char *path, int32_t partition, int64_t line)
{
    pthread_mutex_lock(&f->base.mutex);
    if (f->order.is_set)
        lines_close(reader);
    else
        replace_reader(f, reader, path, partition, line);
    pthread_mutex_unlock(&f->base.mutex);
}

/* Reads the next generation, from its first line. False: an order waits, and
 * the present one stays. Locks: takes mutex. */
static bool enter_next(struct source_file *f, struct lines *reader,
                       int32_t past, int64_t past_line)
{
    bool entered;

    pthread_mutex_lock(&f->base.mutex);
    entered = !f->order.is_set;
    if (entered) {
        remember_past(f, past, past_line);
        replace_reader(f, reader, f->path, past + 1, 0);
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
    if (conf->follow)
        log_info("rotated", "path=%s generation=%d: %s", f->path,
                 (int)partition + 1, why->msg);
    else
        source_count_gap(&f->base, "%s; read from its first line", why->msg);
}

/* Rotated while nobody followed it: what is left of the file is where logrotate
 * puts it, and comes before the new one. NULL: it is not there. */
static struct lines *open_rotated(const struct source_file *f,
                                  const struct source_position *at)
{
    struct source_position there = *at;
    struct lines *l = NULL;

    there.topic = f->rotated;
    /* Without a line that was learned any file would do. */
    if (at->last_learned >= 0 &&
        file_place_open(&l, &there, max_bytes(f), NULL) == 0)
        log_info("rotated", "path=%s generation=%d: the rest of it is read "
                 "from %s", f->path, (int)at->partition, f->rotated);
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
        enter(f, l, path, o->has_position ? at.partition + 1 : 0, 0);
        return 0;
    }
    rc = file_place_open(&l, &at, max_bytes(f), err);
    if (rc == ERR_STATE && f->base.options.conf->source.follow) {
        l = open_rotated(f, &at);
        path = f->rotated;
        rc = l ? 0 : rc;
    }
    if (rc == 0)
        enter(f, l, path, at.partition, at.next_offset);
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

    r->value_hash = checksum_xxh3(line->bytes, line->n_bytes, 0);
    if (line->too_long)
        r->reason = "too_long";
    r->topic = f->path;
    source_parse(&f->base, r, f->domain);
    if (!push(f, r))
        return false;
    atomic_fetch_add_explicit(&f->line, 1, memory_order_relaxed);
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
    f->idle = true;
    source_set_state(&f->base, SOURCE_ENDED, "the last line has been read");
}

/* Does the path still name what is being read? Sets draining if not. */
static void look_for_rotation(struct source_file *f)
{
    struct stat st;

    if (stat(f->path, &st) != 0) {
        if (errno == ENOENT)
            f->draining = true;
        return;
    }
    f->draining = st.st_ino != lines_inode(f->reader) ||
                  st.st_dev != lines_device(f->reader) ||
                  st.st_size < lines_bytes_read(f->reader);
}

static void next_generation(struct source_file *f)
{
    int32_t partition = atomic_load(&f->partition);
    struct err err = ERR_INIT;
    struct lines *reader;

    look_for_rotation(f);
    if (!f->draining) { /* it was away, and it is back */
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
    log_info("rotated", "path=%s generation=%d", f->path, (int)partition + 1);
    source_set_state(&f->base, SOURCE_RUNNING, "%s", "");
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
    if (f->draining) {
        take_rest(f, next_generation);
        return;
    }
    look_for_rotation(f);
    if (!f->draining) /* else once more: it may have grown before */
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

static void read_lines(struct source_file *f)
{
    struct err err = ERR_INIT;
    struct line line;

    for (int i = 0; i < LINES_A_TURN; i++) {
        int rc = lines_next(f->reader, &line, &err);

        if (rc == ERR_END) {
            reach_end(f);
            return;
        }
        if (rc == ERR_AGAIN)
            return;
        if (rc != 0) {
            stop_reading(f, err.msg);
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

/* Returns with o done (is_set false), or to be tried again. */
static void carry_out(struct source_file *f, struct order *o)
{
    struct err err = ERR_INIT;

    f->epoch = o->epoch;
    if (o->reader) {
        enter(f, o->reader, o->path, o->position.partition,
              o->position.next_offset);
        o->reader = NULL;
    } else if (find_place(f, o, &err) != 0) {
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
                          positions[i].next_offset);
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
    (void)s;
    (void)positions;
    (void)n;
}

static size_t file_get_partitions(struct source *s,
                                  struct source_partition **rows)
{
    struct source_file *f = file_of(s);
    struct source_partition *row = xcalloc(1, sizeof *row);

    *rows = row;
    row->partition = atomic_load(&f->partition);
    if (row->partition < 0)
        return 0;
    row->topic = f->path;
    row->start = 0;
    row->offset = atomic_load(&f->line);
    row->end = atomic_load(&f->at_end) ? row->offset : -1;
    return 1;
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
    lines_close(f->order.reader);
    free(f->past);
    free(f->rotated);
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
    f->rotated = xasprintf("%s.1", f->path);
    f->domain = domain_of(f->path);
    atomic_store(&f->partition, -1);
    *source = &f->base;
    return 0;
}
