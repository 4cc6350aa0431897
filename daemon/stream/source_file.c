/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads records from a file or from standard input. A line's number is its
 * offset. The file is partition 0, and each rotation begins the next one.
 *
 *     positioning --> reading --> ended        (the last line was pushed)
 *          |            |  ^
 *          |            v  | next partition    (follow: renamed, truncated)
 *          v       waiting at the end
 *       stopped
 *
 * With `follow` there are two kinds of rotation:
 *   1. The file is renamed. It is read on for a while (file_rotation.h). Lines
 *      that its writer appends later are a gap.
 *   2. The file is truncated or rewritten, which lines_next reports. Reading
 *      continues in a copy that logrotate made. A restart searches the copies,
 *      too. Lines that are in no copy are a gap.
 *
 * A seek stays within the partition that is being read. file_position.h checks
 * the file. The file remains the right one because
 *   1. f->reader has it open, so its inode number means no other file, and
 *   2. while a request waits, the thread opens no other file.
 *
 * With `follow` a line counts when its end is written. Otherwise a restart
 * would find a longer line with the same number.
 *
 * Threads: the reading thread owns f->reader and the fields after it. Other
 * threads leave a request under the mutex. A seek opens and checks the file in
 * its caller's thread, so that a failure changes nothing.
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
#include "daemon/board/pulse.h"
#include "daemon/stream/file_position.h"
#include "daemon/stream/file_rotation.h"
#include "daemon/stream/source_private.h"

#define PUSH_WAIT_MS 100
#define FOLLOW_WAIT_MS 100
#define RETRY_WAIT_MS 1000
#define OPEN_WAIT_MS 3000
#define LINES_A_TURN 256 /* between two checks for requests */

struct seek_request {
    bool is_set;
    struct lines *reader; /* NULL at the beginning: the thread opens the file */
    const char *path;     /* of the reader */
    struct source_position position; /* topic is f->path */
    bool has_position;
    int64_t epoch;
};

/* A partition before the present one. Its lines cannot be read again. */
struct older_partition {
    int32_t partition;
    int64_t next_offset; /* the line after the last one that was read */
    bool is_published;   /* a version accounts for all of it */
};

struct source_file {
    struct source base;
    const char *path; /* also the topic; "stdin" for standard input */
    char *domain;
    bool is_read_once; /* standard input or a named pipe */
    pthread_t thread;
    bool has_thread;

    /* Locks: base.mutex */
    bool stopping;
    struct seek_request request;
    struct older_partition *older;
    size_t n_older, cap_older;
    const char *open_path; /* of f->reader; NULL: no file is open yet */
    dev_t device;          /* of f->reader */
    ino_t inode;

    /* The reading thread writes these, and others read them. */
    _Atomic int32_t partition; /* -1: no position yet */
    _Atomic int64_t line;      /* number of the next line */
    _Atomic bool at_end;
    _Atomic int64_t bytes_read; /* from the present file */

    /* Only the reading thread uses the fields below. */
    struct lines *reader;
    struct file_rotation rotation;
    int64_t epoch;
    bool is_idle;      /* ended or stopped, until a seek */
    bool is_rewritten; /* the file was truncated or rewritten */
    int64_t line_ms;   /* when the last line was read */
    int64_t last;      /* number of the last line that was read, or -1 */
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

/* --- opening a file ----------------------------------------------------- */

/* Locks: needs mutex. */
static void add_older(struct source_file *f, int32_t partition, int64_t line,
                      bool is_published)
{
    XGROW(f->older, f->n_older, f->cap_older);
    f->older[f->n_older++] =
        (struct older_partition){partition, line, is_published};
}

/* Continues with `reader`, which has `path` open. Locks: needs mutex. */
static void replace_reader(struct source_file *f, struct lines *reader,
                           const char *path, const struct source_position *at)
{
    lines_close(f->reader);
    f->reader = reader;
    f->rotation.renamed_ms = 0;
    f->is_rewritten = false;
    f->is_idle = false;
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

/* Continues with `reader`, unless a request waits. Locks: takes mutex. */
static void use_reader(struct source_file *f, struct lines *reader,
                       const char *path, const struct source_position *at)
{
    pthread_mutex_lock(&f->base.mutex);
    if (f->request.is_set)
        lines_close(reader);
    else
        replace_reader(f, reader, path, at);
    pthread_mutex_unlock(&f->base.mutex);
}

/* Begins the next partition with the first line of `reader`, unless a request
 * waits: then false.
 *   older, line   the partition that ends, and the number of its next line
 * Locks: takes mutex. */
static bool begin_partition(struct source_file *f, struct lines *reader,
                            int32_t older, int64_t line)
{
    const struct source_position first = {.partition = older + 1,
                                          .last_learned = -1};
    bool has_begun;

    pthread_mutex_lock(&f->base.mutex);
    has_begun = !f->request.is_set;
    if (has_begun) {
        add_older(f, older, line, false);
        if (f->reader && !f->is_rewritten) {
            file_rotation_watch_old(&f->rotation, f->reader);
            f->reader = NULL;
        }
        replace_reader(f, reader, f->path, &first);
    } else {
        lines_close(reader);
    }
    pthread_mutex_unlock(&f->base.mutex);
    return has_begun;
}

static void stop_reading(struct source_file *f, const char *reason)
{
    f->is_idle = true;
    source_set_state(&f->base, SOURCE_STOPPED, "%s", reason);
    pthread_mutex_lock(&f->base.mutex); /* a seek may wait for an open file */
    pthread_cond_broadcast(&f->base.changed);
    pthread_mutex_unlock(&f->base.mutex);
}

/* The path names another file than the one that was learned. Reads it as the
 * next partition, or stops. */
static void begin_other_file(struct source_file *f,
                             const struct source_position *at,
                             const struct err *why)
{
    const struct conf_source *conf = &f->base.options.conf->source;
    struct err err = ERR_INIT;
    struct lines *reader;

    if (!conf->follow && conf->kafka.on_gap == CONF_ON_GAP_STOP) {
        char reason[ERR_MSG_MAX + 128];

        snprintf(reason, sizeof reason,
                 "%s; put the file back, or set source.kafka.on_gap: skip, "
                 "which also holds for files: this one is then read from its "
                 "first line",
                 why->msg);
        stop_reading(f, reason);
        return;
    }
    reader = lines_open(f->path, max_bytes(f), &err);
    if (!reader) {
        stop_reading(f, err.msg);
        return;
    }
    if (!begin_partition(f, reader, at->partition, at->next_offset))
        return;
    source_count_gap(&f->base, "%s; %sread from its first line", why->msg,
                     conf->follow ? "the rest of it is not in PATH.1, "
                                    "PATH.1.gz or PATH.1.zst; "
                                  : "");
}

/* Opens the file for the first time, at the stored position or at its first
 * line. ERR_IO: it cannot be opened now. */
static int open_first(struct source_file *f, const struct seek_request *request,
                      struct err *err)
{
    const struct conf_source *conf = &f->base.options.conf->source;
    struct lines *l = NULL;
    struct source_position at = request->position;
    const char *path = f->path;
    int rc;

    if (!request->has_position || f->is_read_once) {
        l = lines_open(conf->type == CONF_SOURCE_STDIN ? NULL : path,
                       max_bytes(f), err);
        if (!l)
            return ERR_IO;
        at = (struct source_position){
            .partition = request->has_position ? at.partition + 1 : 0,
            .last_learned = -1};
        use_reader(f, l, path, &at);
        return 0;
    }
    rc = file_position_open(&l, &at, max_bytes(f), err);
    if (rc == ERR_STATE && conf->follow) {
        l = file_rotation_open_copy(&f->rotation, &at, max_bytes(f), &path);
        rc = l ? 0 : rc;
    }
    if (rc == 0)
        use_reader(f, l, path, &at);
    else if (rc == ERR_STATE)
        begin_other_file(f, &at, err);
    else if (rc != ERR_IO)
        stop_reading(f, err->msg);
    return rc == ERR_IO ? rc : 0;
}

/* --- pushing ------------------------------------------------------------ */

static bool is_interrupted(struct source_file *f)
{
    bool yes;

    pthread_mutex_lock(&f->base.mutex);
    yes = f->stopping || f->request.is_set;
    pthread_mutex_unlock(&f->base.mutex);
    return yes;
}

/* Sleeps until a request or a stop ends it. */
static void wait_ms(struct source_file *f, int64_t ms)
{
    struct timespec deadline = timing_deadline(ms);

    pthread_mutex_lock(&f->base.mutex);
    if (!f->stopping && !f->request.is_set)
        timing_wait(&f->base.changed, &f->base.mutex, &deadline);
    pthread_mutex_unlock(&f->base.mutex);
}

static void set_offset(const struct source_file *f, struct record *r)
{
    r->epoch = f->epoch;
    r->topic = f->path;
    r->partition = atomic_load(&f->partition);
    r->offset = atomic_load(&f->line);
}

/* Waits for room. False: a request or a stop came first, and the record is
 * freed. */
static bool push(struct source_file *f, struct record *r)
{
    struct queue *q = f->base.options.queue;

    if (queue_try_push(q, r))
        return true;
    while (!is_interrupted(f)) {
        pulse_beat(PULSE_SOURCE, PULSE_LOOP_MS);
        if (queue_push(q, r, PUSH_WAIT_MS))
            return true;
    }
    record_free(r);
    return false;
}

static bool push_line(struct source_file *f, const struct line *line)
{
    struct record *r =
        record_create_data(&f->base.maker, line->bytes, line->n_bytes);
    uint64_t hash = checksum_xxh3(line->bytes, line->n_bytes, 0);

    set_offset(f, r);
    r->value_hash = hash;
    if (line->too_long)
        r->reason = "too_long";
    source_parse(&f->base, r, f->domain);
    if (!push(f, r))
        return false;
    f->last_hash = hash;
    f->last = atomic_fetch_add_explicit(&f->line, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&f->base.records_read, 1, memory_order_relaxed);
    atomic_store_explicit(&f->bytes_read, lines_bytes_read(f->reader),
                          memory_order_relaxed);
    return true;
}

/* --- at the end of the file --------------------------------------------- */

static void finish(struct source_file *f)
{
    struct record *r = record_create(RECORD_END);

    set_offset(f, r);
    if (!push(f, r))
        return;
    if (lines_ignored(f->reader))
        log_warn("source", "%s: the last %lld bytes are not compressed data, "
                 "and were not read", f->open_path,
                 (long long)lines_ignored(f->reader));
    f->is_idle = true;
    source_set_state(&f->base, SOURCE_ENDED, "the last line has been read");
}

/* Opens the file that the path names now, as the next partition. */
static void open_next(struct source_file *f)
{
    int32_t partition = atomic_load(&f->partition);
    bool is_cut = f->is_rewritten && lines_is_behind(f->reader);
    struct err err = ERR_INIT;
    struct lines *reader;

    file_rotation_check(&f->rotation, f->reader);
    if (!f->is_rewritten && !f->rotation.renamed_ms) { /* renamed back */
        source_set_state(&f->base, SOURCE_RUNNING, "%s", "");
        return;
    }
    reader = lines_open(f->path, max_bytes(f), &err);
    if (!reader) { /* renamed, and the new file does not exist yet */
        source_set_state(&f->base, SOURCE_RETRYING, "%s", err.msg);
        wait_ms(f, FOLLOW_WAIT_MS);
        return;
    }
    if (!begin_partition(f, reader, partition, atomic_load(&f->line)))
        return;
    if (is_cut)
        source_count_gap(&f->base, "%s: truncated before all of it was read; "
                         "read from its first line", f->path);
    else
        log_info("rotated", "path=%s generation=%d", f->path,
                 (int)partition + 1);
    source_set_state(&f->base, SOURCE_RUNNING, "%s", "");
}

/* Pushes a last line without an end. If there is none, calls `then`. */
static void read_rest(struct source_file *f, void (*then)(struct source_file *))
{
    struct err err = ERR_INIT;
    struct line line;
    int rc = lines_rest(f->reader, &line, &err);

    if (rc == 0)
        push_line(f, &line);
    else if (rc == ERR_END)
        then(f);
    else
        stop_reading(f, err.msg);
}

static void follow_rewritten(struct source_file *f)
{
    const struct source_position at = {
        .partition = atomic_load(&f->partition),
        .next_offset = atomic_load(&f->line),
        .last_learned = f->last,
        .last_hash = f->last_hash,
    };
    const char *path;
    struct lines *copy =
        file_rotation_open_copy(&f->rotation, &at, max_bytes(f), &path);

    if (copy)
        use_reader(f, copy, path, &at);
    else if (lines_is_behind(f->reader))
        open_next(f); /* drops the beginning of a line whose rest is lost */
    else
        read_rest(f, open_next);
}

static void reach_end(struct source_file *f)
{
    atomic_store(&f->at_end, true);
    if (!f->base.options.conf->source.follow || !lines_is_regular(f->reader)) {
        read_rest(f, finish);
        return;
    }
    if (f->is_rewritten) {
        follow_rewritten(f);
        return;
    }
    if (file_rotation_old_has_grown(&f->rotation))
        source_count_gap(&f->base,
                         "%s: the renamed file was written to after "
                         "it had been read to its end; these lines are "
                         "not read",
                         f->path);
    file_rotation_check(&f->rotation, f->reader);
    if (f->rotation.renamed_ms &&
        !file_rotation_may_grow(&f->rotation, f->open_path, f->line_ms))
        read_rest(f, open_next);
    else
        wait_ms(f, FOLLOW_WAIT_MS);
}

/* --- the thread --------------------------------------------------------- */

static void read_lines(struct source_file *f)
{
    struct err err = ERR_INIT;
    struct line line;
    int rc = 0, n = 0;

    if (lines_is_regular(f->reader))
        pulse_beat(PULSE_SOURCE, PULSE_LOOP_MS);
    else
        pulse_rest(PULSE_SOURCE); /* a pipe may say nothing for days */
    while (n < LINES_A_TURN) {
        rc = lines_next(f->reader, &line, &err);
        if (rc != 0)
            break;
        if (!push_line(f, &line))
            return;
        if (n++ == 0)
            atomic_store(&f->at_end, false);
    }
    if (rc == 0)
        return;
    if (n > 0)
        f->line_ms = timing_mono_ms();
    f->is_rewritten = rc == ERR_STATE && f->base.options.conf->source.follow;
    if (rc == ERR_END || f->is_rewritten)
        reach_end(f);
    else if (rc != ERR_AGAIN)
        stop_reading(f, err.msg);
}

/* Waits while the thread is idle, and takes a request. False: stop. */
static bool wait_for_request(struct source_file *f,
                             struct seek_request *request)
{
    bool go_on;

    pthread_mutex_lock(&f->base.mutex);
    if (f->is_idle)
        pulse_rest(PULSE_SOURCE);
    while (!f->stopping && !f->request.is_set && f->is_idle)
        pthread_cond_wait(&f->base.changed, &f->base.mutex);
    go_on = !f->stopping;
    if (go_on && f->request.is_set) {
        *request = f->request;
        memset(&f->request, 0, sizeof f->request);
    }
    pthread_mutex_unlock(&f->base.mutex);
    return go_on;
}

/* Opens the file at the requested position. Clears is_set, unless the thread is
 * to try again. */
static void follow_request(struct source_file *f, struct seek_request *request)
{
    const struct conf_source *conf = &f->base.options.conf->source;
    struct err err = ERR_INIT;
    bool is_open = true;

    pulse_beat(PULSE_SOURCE, PULSE_TASK_MS);
    f->epoch = request->epoch;
    if (request->reader) {
        use_reader(f, request->reader, request->path, &request->position);
        request->reader = NULL;
    } else {
        is_open = open_first(f, request, &err) == 0;
    }
    if (!is_open && (f->is_read_once ||
                     (conf->at_end == CONF_AT_END_EXIT && !conf->follow))) {
        stop_reading(f, err.msg);
    } else if (!is_open) {
        source_set_state(&f->base, SOURCE_RETRYING, "%s", err.msg);
        wait_ms(f, RETRY_WAIT_MS);
        return;
    }
    request->is_set = false;
    if (!f->is_idle)
        source_set_state(&f->base, SOURCE_RUNNING, "%s", "");
}

static void *run(void *arg)
{
    struct source_file *f = arg;
    struct seek_request request = {.is_set = false};

    pthread_setname_np(pthread_self(), "source");
    while (wait_for_request(f, &request)) {
        if (request.is_set)
            follow_request(f, &request);
        else
            read_lines(f);
    }
    pulse_rest(PULSE_SOURCE);
    lines_close(request.reader);
    return NULL;
}

/* --- the functions of source.h ------------------------------------------ */

/* Finds the position of the newest partition. */
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

/*
 * Leaves a request, in place of an older one. False: the thread has begun
 * another file meanwhile, and the request's reader is closed. A replaced file
 * is no obstacle when its last learned line has been compared.
 * Locks: takes mutex.
 */
static bool leave_request(struct source_file *f, struct seek_request request)
{
    bool is_present;

    pthread_mutex_lock(&f->base.mutex);
    is_present = !request.reader || !f->open_path ||
                 (request.position.partition == atomic_load(&f->partition) &&
                  (request.position.last_learned >= 0 ||
                   lines_same_file(request.reader, f->device, f->inode)));
    if (is_present) {
        lines_close(f->request.reader);
        request.is_set = true;
        f->request = request;
        pthread_cond_broadcast(&f->base.changed);
    } else {
        lines_close(request.reader);
    }
    pthread_mutex_unlock(&f->base.mutex);
    return is_present;
}

static int file_begin(struct source *s,
                      const struct source_position *positions, size_t n,
                      int64_t epoch, struct err *err)
{
    struct source_file *f = file_of(s);
    struct seek_request request = {.epoch = epoch};
    int rc;

    BUG_ON(f->has_thread);
    request.has_position = newest_position(f, positions, n, &request.position);
    pthread_mutex_lock(&s->mutex);
    for (size_t i = 0; i < n; i++)
        if (strcmp(positions[i].topic, f->path) == 0 &&
            positions[i].partition < request.position.partition)
            add_older(f, positions[i].partition, positions[i].next_offset,
                      true);
    pthread_mutex_unlock(&s->mutex);
    leave_request(f, request);
    rc = pthread_create(&f->thread, NULL, run, f);
    if (rc != 0)
        return err_set_errno(err, ERR_IO, rc, "cannot start a thread");
    f->has_thread = true;
    return 0;
}

/* Waits for an open file, at most OPEN_WAIT_MS, and returns its path. Returns
 * f->path when no file was opened: it may be missing, or the thread may still
 * be reading towards its position. Locks: takes mutex. */
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

/* Tells whether an older partition has lines behind the position. Locks: takes
 * mutex. */
static bool has_lines_behind(struct source_file *f,
                             const struct source_position *at)
{
    bool yes = false;

    pthread_mutex_lock(&f->base.mutex);
    for (size_t i = 0; i < f->n_older; i++)
        yes = yes || (f->older[i].partition == at->partition &&
                      f->older[i].next_offset > at->next_offset);
    pthread_mutex_unlock(&f->base.mutex);
    return yes;
}

static int refuse_seek(const struct source_file *f,
                       const struct source_position *at, struct err *err)
{
    return err_set(err, ERR_STATE,
                   "%s: line %lld was in a file that has since been rotated "
                   "or replaced",
                   f->path, (long long)at->next_offset + 1);
}

static int file_seek(struct source *s, const struct source_position *positions,
                     size_t n, int64_t epoch, struct err *err)
{
    struct source_file *f = file_of(s);
    struct seek_request request = {.epoch = epoch, .has_position = true};
    struct source_position *at = &request.position, in_file;
    struct err why = ERR_INIT;
    int32_t partition;
    int64_t bytes_read;

    if (f->is_read_once)
        return err_set(err, ERR_STATE, "%s cannot be read again", f->path);
    request.path = wait_for_path(f);
    partition = atomic_load(&f->partition);
    if (!newest_position(f, positions, n, at))
        *at = (struct source_position){.topic = f->path, .last_learned = -1};
    if (partition >= 0 && at->partition != partition)
        return refuse_seek(f, at, err);
    for (size_t i = 0; i < n; i++)
        if (strcmp(positions[i].topic, f->path) == 0 &&
            has_lines_behind(f, &positions[i]))
            return refuse_seek(f, &positions[i], err);
    in_file = *at;
    in_file.topic = request.path;
    bytes_read = atomic_load(&f->bytes_read); /* the file may grow meanwhile */
    if (file_position_open(&request.reader, &in_file, max_bytes(f), &why) != 0)
        return err_set(err, ERR_STATE, "%s", why.msg);
    if (lines_size(request.reader) < bytes_read) {
        lines_close(request.reader);
        return refuse_seek(f, at, err);
    }
    return leave_request(f, request) ? 0 : refuse_seek(f, at, err);
}

static void file_published(struct source *s,
                           const struct source_position *positions, size_t n)
{
    struct source_file *f = file_of(s);

    pthread_mutex_lock(&s->mutex);
    for (size_t i = 0; i < f->n_older; i++)
        for (size_t k = 0; k < n && !f->older[i].is_published; k++)
            f->older[i].is_published =
                strcmp(positions[k].topic, f->path) == 0 &&
                positions[k].partition == f->older[i].partition &&
                positions[k].next_offset >= f->older[i].next_offset;
    pthread_mutex_unlock(&s->mutex);
}

/* Lists the present partition, and older ones until a version accounts for all
 * of their lines. */
static size_t file_get_partitions(struct source *s,
                                  struct source_partition **rows)
{
    struct source_file *f = file_of(s);
    struct source_partition *row;
    int64_t line;

    pthread_mutex_lock(&s->mutex);
    *rows = row = xcalloc(f->n_older + 1, sizeof *row);
    if (atomic_load(&f->partition) >= 0) {
        line = atomic_load(&f->line);
        *row++ = (struct source_partition){
            .topic = f->path,
            .partition = atomic_load(&f->partition),
            .offset = line,
            .end = atomic_load(&f->at_end) ? line : -1,
        };
    }
    for (size_t i = 0; i < f->n_older; i++)
        if (!f->older[i].is_published)
            *row++ = (struct source_partition){
                .topic = f->path,
                .partition = f->older[i].partition,
                .offset = f->older[i].next_offset,
                .end = f->older[i].next_offset,
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
    lines_close(f->request.reader);
    file_rotation_release(&f->rotation);
    free(f->older);
    free(f->domain);
    source_release(s);
    free(f);
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
    struct source_file *f;
    struct stat st;

    /* The thread opens the file: to open a named pipe may take a while. */
    if (!is_stdin && (stat(conf->path, &st) != 0 || access(conf->path, R_OK)))
        return err_set_errno(err, ERR_IO, errno, "%s", conf->path);
    if (!is_stdin && S_ISDIR(st.st_mode))
        return err_set(err, ERR_IO,
                       "%s: a directory; source.path names one file",
                       conf->path);
    f = xcalloc(1, sizeof *f);
    source_init(&f->base, &ops, options);
    f->is_read_once = is_stdin || !S_ISREG(st.st_mode);
    f->path = is_stdin ? "stdin" : conf->path;
    file_rotation_init(&f->rotation, f->path);
    f->domain = record_domain_of(f->path);
    atomic_store(&f->partition, -1);
    *source = &f->base;
    return 0;
}
