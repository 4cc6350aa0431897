/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last segment is open for appending. An append that fails cuts the segment
 * back to its durable size. A reader may have buffered bytes that were cut, so
 * each cut is counted, and a reader that sees another count opens the file
 * again. It compares the count after it knows that its next record is durable.
 *
 * The cut after a failed sync matters when mnemed restarts without a reboot:
 * the page cache still has the bytes, the disk may not have them, and the next
 * sync would succeed all the same.
 *
 * Only an append, with the mutex `appending`, changes files and the list of
 * segments. Everything that may wait for the disk runs without `mutex`, so
 * that the reader and the status never wait for a disk.
 */
#include "config.h"

#include "daemon/stream/record_log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fileio.h"
#include "base/log.h"
#include "base/xalloc.h"

#define SEGMENTS 16 /* of a full log */
#define MOST_SEGMENT_BYTES ((int64_t)64 << 20)
#define ENDING ".jsonl"
#define DIGITS 20
#define BLOCK_BYTES 65536

struct segment {
    int64_t first; /* offset of its first line */
    int64_t bytes; /* durable ones */
};

struct record_log {
    char *dir;
    int64_t limit_bytes;
    bool reads_only;
    pthread_mutex_t appending; /* one append at a time; guards fd and failed */
    int fd;                    /* of the last segment; -1: not open */
    bool failed;               /* a sync has failed */
    pthread_mutex_t mutex;     /* guards all below; taken after `appending` */
    struct segment *segments;
    size_t n, cap;
    int64_t end;       /* offset after the last durable record */
    int64_t keep_from; /* records from here on are kept */
    int64_t n_cuts;    /* how often an append was cut off */
};

static char *segment_path(const struct record_log *l, int64_t first)
{
    return xasprintf("%s/%0*" PRId64 ENDING, l->dir, DIGITS, first);
}

/* --- opening ------------------------------------------------------------ */

static bool parse_name(const char *name, int64_t *first)
{
    size_t n = strspn(name, "0123456789");

    if (n != DIGITS || name[0] != '0' || strcmp(name + n, ENDING) != 0)
        return false;
    *first = strtoll(name, NULL, 10);
    return *first < INT64_MAX / 2;
}

static int by_first(const void *a, const void *b)
{
    int64_t x = ((const struct segment *)a)->first;
    int64_t y = ((const struct segment *)b)->first;

    return x < y ? -1 : x > y;
}

static int list_segments(struct record_log *l, struct err *err)
{
    DIR *dir = opendir(l->dir);
    const struct dirent *e;

    if (!dir && errno == ENOENT && l->reads_only)
        return 0;
    if (!dir)
        return err_set_errno(err, ERR_IO, errno, "%s", l->dir);
    while ((e = readdir(dir))) {
        struct stat st;
        int64_t first;

        if (!parse_name(e->d_name, &first) ||
            fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(st.st_mode))
            continue;
        XGROW(l->segments, l->n, l->cap);
        l->segments[l->n++] = (struct segment){first, st.st_size};
    }
    closedir(dir);
    if (l->n)
        qsort(l->segments, l->n, sizeof *l->segments, by_first);
    return 0;
}

/* Counts the complete lines of the last segment, and their bytes. */
static int count_lines(int fd, const char *path, int64_t *n, int64_t *bytes,
                       struct err *err)
{
    char *block = xmalloc(BLOCK_BYTES);
    int64_t at = 0;
    size_t got = 0;
    int rc;

    *n = *bytes = 0;
    while ((rc = fileio_read_piece(fd, block, BLOCK_BYTES, &got, path, err)) ==
               0 &&
           got) {
        for (size_t i = 0; i < got; i++) {
            at++;
            if (block[i] != '\n')
                continue;
            *bytes = at;
            ++*n;
        }
    }
    free(block);
    return rc;
}

/* Finds the end of the log, and removes an incomplete last line. */
static int open_last(struct record_log *l, struct err *err)
{
    struct segment *last = &l->segments[l->n - 1];
    char *path = segment_path(l, last->first);
    int64_t n = 0, bytes = 0;
    int fd = open(path, (l->reads_only ? O_RDONLY : O_RDWR | O_APPEND) |
                            O_CLOEXEC | O_NOFOLLOW);
    int rc = 0;

    if (fd < 0)
        rc = err_set_errno(err, ERR_IO, errno, "%s", path);
    if (rc == 0)
        rc = count_lines(fd, path, &n, &bytes, err);
    if (rc == 0 && bytes < last->bytes && !l->reads_only) {
        log_warn("records",
                 "file=%s result=\"the last %lld bytes are no complete record: "
                 "removed\"",
                 path, (long long)(last->bytes - bytes));
        if (ftruncate(fd, bytes) != 0)
            rc = err_set_errno(err, ERR_IO, errno, "%s", path);
    }
    /* What was written before a crash may be read now: make it durable. */
    if (rc == 0 && !l->reads_only)
        rc = fileio_fsync(fd, path, err);
    last->bytes = bytes;
    l->end = last->first + n;
    if (rc == 0 && !l->reads_only)
        l->fd = fd;
    else if (fd >= 0)
        close(fd);
    free(path);
    return rc;
}

int record_log_open(const struct record_log_options *options,
                    struct record_log **log, struct err *err)
{
    struct record_log *l = xcalloc(1, sizeof *l);
    int rc = 0;

    l->dir = fileio_join(options->data_dir, "records");
    l->limit_bytes = options->limit_bytes;
    l->reads_only = options->reads_only;
    l->fd = -1;
    pthread_mutex_init(&l->appending, NULL);
    pthread_mutex_init(&l->mutex, NULL);
    if (!l->reads_only)
        rc = fileio_mkdirs(l->dir, err);
    if (rc == 0 && !l->reads_only)
        rc = fileio_sync_dir(options->data_dir, err);
    if (rc == 0)
        rc = list_segments(l, err);
    if (rc == 0 && l->n)
        rc = open_last(l, err);
    if (rc) {
        record_log_close(l);
        return rc;
    }
    *log = l;
    return 0;
}

void record_log_close(struct record_log *l)
{
    if (!l)
        return;
    if (l->fd >= 0)
        close(l->fd);
    pthread_mutex_destroy(&l->mutex);
    pthread_mutex_destroy(&l->appending);
    free(l->segments);
    free(l->dir);
    free(l);
}

/* --- positions ---------------------------------------------------------- */

/* Locks: needs mutex. */
static int64_t first_offset(const struct record_log *l)
{
    return l->n ? l->segments[0].first : l->end;
}

int64_t record_log_first(struct record_log *l)
{
    int64_t first;

    pthread_mutex_lock(&l->mutex);
    first = first_offset(l);
    pthread_mutex_unlock(&l->mutex);
    return first;
}

int64_t record_log_end(struct record_log *l)
{
    int64_t end;

    pthread_mutex_lock(&l->mutex);
    end = l->end;
    pthread_mutex_unlock(&l->mutex);
    return end;
}

int record_log_keep_from(struct record_log *l, int64_t offset, struct err *err)
{
    int rc = 0;

    pthread_mutex_lock(&l->mutex);
    if (offset < first_offset(l))
        rc = err_set(err, ERR_STATE,
                     "http: the records from offset %" PRId64 " to %" PRId64
                     " are no longer in the log (source.http.log_bytes)",
                     offset, first_offset(l) - 1);
    else if (offset > l->end)
        rc = err_set(err, ERR_STATE,
                     "http: the log ends at offset %" PRId64
                     ", before offset %" PRId64 ": it is another log",
                     l->end, offset);
    else
        l->keep_from = offset;
    pthread_mutex_unlock(&l->mutex);
    return rc;
}

/* --- appending ---------------------------------------------------------- */

/* Begins a segment whose first record has the offset `first`.
 * Locks: needs appending; takes mutex */
static int add_segment(struct record_log *l, int64_t first, struct err *err)
{
    char *path = segment_path(l, first);
    int fd = -1;
    int rc;

    /* An empty one is left when its directory could not be synced. */
    unlink(path);
    rc = fileio_create(path, &fd, err);
    if (rc == 0)
        rc = fileio_sync_dir(l->dir, err);
    if (rc == 0) {
        if (l->fd >= 0)
            close(l->fd);
        l->fd = fd;
        pthread_mutex_lock(&l->mutex);
        XGROW(l->segments, l->n, l->cap);
        l->segments[l->n++] = (struct segment){first, 0};
        pthread_mutex_unlock(&l->mutex);
    } else if (fd >= 0) {
        close(fd);
    }
    free(path);
    return rc;
}

int record_log_begin_at(struct record_log *l, int64_t offset, struct err *err)
{
    int rc = 0;

    pthread_mutex_lock(&l->appending);
    BUG_ON(offset <= l->end || l->reads_only);
    if (l->n) /* else the first append makes a segment */
        rc = add_segment(l, offset, err);
    if (rc == 0) {
        pthread_mutex_lock(&l->mutex);
        l->end = l->keep_from = offset;
        pthread_mutex_unlock(&l->mutex);
    }
    pthread_mutex_unlock(&l->appending);
    return rc;
}

/* An append begins another segment when the last one has this size. */
static int64_t segment_bytes(const struct record_log *l)
{
    int64_t bytes = l->limit_bytes / SEGMENTS;

    return bytes < MOST_SEGMENT_BYTES ? bytes : MOST_SEGMENT_BYTES;
}

/* Removes the file of the oldest segment, and the segment from the list.
 * Locks: needs appending; takes mutex */
static int remove_oldest(struct record_log *l, bool *removed, struct err *err)
{
    struct segment oldest = l->segments[0];
    char *path;
    int rc;

    /* It leaves the list first: from now on, a seek to it is refused. */
    pthread_mutex_lock(&l->mutex);
    *removed = l->segments[1].first <= l->keep_from;
    if (*removed) {
        l->n--;
        memmove(l->segments, l->segments + 1, l->n * sizeof *l->segments);
    }
    pthread_mutex_unlock(&l->mutex);
    if (!*removed)
        return 0;
    path = segment_path(l, oldest.first);
    rc = fileio_unlink(path, err);
    rc = rc == ERR_NOTFOUND ? 0 : rc;
    if (rc) { /* its bytes still count */
        pthread_mutex_lock(&l->mutex);
        memmove(l->segments + 1, l->segments, l->n * sizeof *l->segments);
        l->segments[0] = oldest;
        l->n++;
        pthread_mutex_unlock(&l->mutex);
    }
    free(path);
    return rc;
}

/* Removes the oldest segments until n_bytes more fit.
 * Locks: needs appending; takes mutex */
static int make_room(struct record_log *l, int64_t n_bytes, struct err *err)
{
    int64_t total = n_bytes;
    int rc = 0;

    for (size_t i = 0; i < l->n; i++)
        total += l->segments[i].bytes;
    /* The last segment stays: its name says where the log goes on. */
    while (total > l->limit_bytes && l->n > 1 && rc == 0) {
        int64_t bytes = l->segments[0].bytes;
        bool removed;

        rc = remove_oldest(l, &removed, err);
        if (!removed)
            break;
        total -= rc ? 0 : bytes;
    }
    if (rc == 0 && total > l->limit_bytes)
        rc = err_set(
            err, ERR_AGAIN,
            "the log of records is full (source.http.log_bytes, %" PRId64
            "): the learner is behind; try again",
            l->limit_bytes);
    return rc;
}

/* Removes the bytes of a failed append.
 * Locks: needs appending; takes mutex */
static void cut(struct record_log *l, int64_t durable_bytes)
{
    /* Without the seek, the next append would leave a hole. */
    if (ftruncate(l->fd, durable_bytes) != 0 ||
        lseek(l->fd, durable_bytes, SEEK_SET) < 0)
        l->failed = true;
    pthread_mutex_lock(&l->mutex);
    l->n_cuts++;
    pthread_mutex_unlock(&l->mutex);
}

/* Writes to the last segment, and syncs.
 * Locks: needs appending; takes mutex */
static int write_lines(struct record_log *l, const char *lines, size_t n_bytes,
                       struct err *err)
{
    const struct segment *last = &l->segments[l->n - 1];
    char *path = segment_path(l, last->first);
    int rc = fileio_write_all(l->fd, lines, n_bytes, path, err);

    if (rc == 0) {
        rc = fileio_fsync(l->fd, path, err);
        l->failed = rc != 0;
    }
    if (rc)
        cut(l, last->bytes);
    free(path);
    return rc;
}

/* Locks: needs appending; takes mutex */
static int append(struct record_log *l, const char *lines, size_t n_bytes,
                  struct err *err)
{
    int64_t most = l->limit_bytes - segment_bytes(l);
    int rc = 0;

    if (l->failed)
        return err_set(err, ERR_IO,
                       "%s: an earlier write has failed; restart mnemed",
                       l->dir);
    /* With more, the last segment, which stays, could leave no room. */
    if ((int64_t)n_bytes > most)
        return err_set(err, ERR_LIMIT,
                       "the records have %zu bytes; source.http.log_bytes "
                       "allows at most %" PRId64 " in one request",
                       n_bytes, most);
    if (l->n == 0 || l->segments[l->n - 1].bytes >= segment_bytes(l))
        rc = add_segment(l, l->end, err);
    if (rc == 0)
        rc = make_room(l, (int64_t)n_bytes, err);
    return rc ? rc : write_lines(l, lines, n_bytes, err);
}

int record_log_append(struct record_log *l, const char *lines, size_t n_bytes,
                      int64_t n, int64_t *first, struct err *err)
{
    int rc;

    BUG_ON(l->reads_only);
    pthread_mutex_lock(&l->appending);
    rc = append(l, lines, n_bytes, err);
    if (rc == 0) {
        pthread_mutex_lock(&l->mutex);
        *first = l->end;
        l->end += n;
        l->segments[l->n - 1].bytes += (int64_t)n_bytes;
        pthread_mutex_unlock(&l->mutex);
    }
    pthread_mutex_unlock(&l->appending);
    return rc;
}

/* --- reading ------------------------------------------------------------ */

struct record_log_reader {
    struct record_log *log;
    size_t max_bytes;
    int64_t offset;      /* of the next record */
    struct lines *lines; /* NULL: no segment is open */
    int64_t first;       /* offset of the open segment's first record */
    int64_t n_cuts;      /* of the log, when the segment was opened */
};

struct record_log_reader *record_log_read_from(struct record_log *l,
                                               int64_t offset, size_t max_bytes)
{
    struct record_log_reader *r = xcalloc(1, sizeof *r);

    r->log = l;
    r->offset = offset;
    r->max_bytes = max_bytes;
    return r;
}

static void close_segment(struct record_log_reader *r)
{
    lines_close(r->lines);
    r->lines = NULL;
}

void record_log_reader_free(struct record_log_reader *r)
{
    if (!r)
        return;
    close_segment(r);
    free(r);
}

static int not_there(const struct record_log_reader *r, struct err *err)
{
    return err_set(err, ERR_STATE,
                   "http: the record with offset %" PRId64
                   " is not in the log, %s",
                   r->offset, r->log->dir);
}

/* Finds the segment that has the next record, and the number of cuts. ERR_END:
 * there is no such record yet. */
static int find_segment(struct record_log_reader *r, int64_t *first,
                        int64_t *n_cuts, struct err *err)
{
    struct record_log *l = r->log;
    int rc = ERR_STATE;

    pthread_mutex_lock(&l->mutex);
    for (size_t i = l->n; i-- > 0 && rc == ERR_STATE;) {
        *first = l->segments[i].first;
        rc = *first <= r->offset ? 0 : ERR_STATE;
    }
    if (r->offset >= l->end)
        rc = ERR_END;
    *n_cuts = l->n_cuts;
    pthread_mutex_unlock(&l->mutex);
    return rc == ERR_STATE ? not_there(r, err) : rc;
}

static int open_segment(struct record_log_reader *r, int64_t first,
                        int64_t n_cuts, struct err *err)
{
    char *path = segment_path(r->log, first);
    int rc;

    r->lines = lines_open(path, r->max_bytes, err);
    free(path);
    if (!r->lines)
        return ERR_IO;
    r->first = first;
    r->n_cuts = n_cuts;
    rc = lines_skip(r->lines, r->offset - first, err);
    if (rc == ERR_END)
        rc = not_there(r, err);
    if (rc)
        close_segment(r);
    return rc;
}

int record_log_read(struct record_log_reader *r, struct line *line,
                    struct err *err)
{
    int64_t first = 0, n_cuts = 0;
    /* Later bytes may not be durable: the record's end is known first. */
    int rc = find_segment(r, &first, &n_cuts, err);

    if (rc)
        return rc;
    if (r->lines && (r->first != first || r->n_cuts != n_cuts))
        close_segment(r);
    if (!r->lines)
        rc = open_segment(r, first, n_cuts, err);
    if (rc)
        return rc;
    rc = lines_next(r->lines, line, err);
    if (rc == ERR_END)
        rc = not_there(r, err);
    r->offset += rc == 0;
    return rc;
}
