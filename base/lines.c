/* SPDX-License-Identifier: Apache-2.0 */
/*
 * There are two buffers: `raw` has compressed bytes, and `text` has lines. A
 * plain file is read directly into text.
 *
 *     text:  [ returned | current line ... | read, not scanned | free ]
 *                       start              scanned             end    cap
 *
 * Invariants:
 *  1. There is no LF between start and scanned.
 *  2. cap is max_bytes + TEXT_ROOM, so a line of max_bytes fits with its end. A
 *     longer line is cut, and `dropping` discards its other bytes.
 */
#include "config.h"

#include "base/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/xalloc.h"

#define TEXT_ROOM (256 << 10)
#define RAW_BYTES (128 << 10)
#define PIPE_WAIT_MS 100
#define ZSTD_WINDOW_LOG 27 /* the default limit of the zstd library */

enum packing { PLAIN, GZIP, ZSTD };

struct lines {
    int fd;
    char *path; /* for messages */
    struct stat st;
    int64_t begin; /* the position of standard input when it was opened */
    int64_t bytes_read;
    int64_t seen; /* the file's size at the last check */
    char *tail;   /* the bytes read last from a regular file; else NULL */
    size_t n_tail;
    enum packing packing;
    z_stream gzip;
    ZSTD_DStream *zstd;
    bool in_member;  /* inside a compressed member */
    bool more_out;   /* the decompressor may have more text */
    bool had_member; /* a complete member was read */
    bool only_trash; /* the other bytes of the file are no member */
    int64_t ignored; /* the number of such bytes */
    unsigned char *raw;
    size_t raw_at, raw_end;
    char *text;
    size_t start, scanned, end, cap, max_bytes;
    bool dropping; /* discards the other bytes of the current line */
};

static bool ends_in(const char *s, const char *ending)
{
    size_t n = strlen(s), m = strlen(ending);

    return n > m && strcasecmp(s + n - m, ending) == 0;
}

static int open_packing(struct lines *l, struct err *err)
{
    if (ends_in(l->path, ".gz")) {
        /* 32 accepts a header of gzip or of zlib. */
        if (inflateInit2(&l->gzip, 15 + 32) != Z_OK)
            return err_set(err, ERR_NOMEM, "%s: no memory to unpack", l->path);
        l->packing = GZIP;
    } else if (ends_in(l->path, ".zst")) {
        l->zstd = ZSTD_createDStream();
        if (!l->zstd)
            return err_set(err, ERR_NOMEM, "%s: no memory to unpack", l->path);
        l->packing = ZSTD;
    }
    if (l->packing != PLAIN)
        l->raw = xmalloc(RAW_BYTES);
    return 0;
}

struct lines *lines_open(const char *path, size_t max_bytes, struct err *err)
{
    struct lines *l = xcalloc(1, sizeof *l);

    l->path = xstrdup(path ? path : "standard input");
    /* With O_NONBLOCK, open() does not wait for the writer of a named pipe. */
    l->fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
                 : fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
    if (l->fd < 0 || fstat(l->fd, &l->st) != 0) {
        err_set_errno(err, ERR_IO, errno, "%s", l->path);
        goto out;
    }
    if (S_ISDIR(l->st.st_mode)) {
        err_set(err, ERR_IO, "%s: a directory, not a file", l->path);
        goto out;
    }
    if (path && open_packing(l, err) != 0)
        goto out;
    if (S_ISREG(l->st.st_mode)) {
        l->begin = path ? 0 : (int64_t)lseek(l->fd, 0, SEEK_CUR);
        l->tail = xmalloc(LINES_TAIL);
    }
    l->seen = l->st.st_size - l->begin;
    l->max_bytes = max_bytes;
    l->cap = max_bytes + TEXT_ROOM;
    l->text = xmalloc(l->cap);
    return l;
out:
    lines_close(l);
    return NULL;
}

void lines_close(struct lines *l)
{
    if (!l)
        return;
    if (l->packing == GZIP)
        inflateEnd(&l->gzip);
    ZSTD_freeDStream(l->zstd);
    if (l->fd >= 0)
        close(l->fd);
    free(l->tail);
    free(l->raw);
    free(l->text);
    free(l->path);
    free(l);
}

/* --- reading bytes ------------------------------------------------------ */

/* Compares the bytes read last with the file. ERR_STATE: they differ, so the
 * file was truncated or rewritten. */
static int compare_tail(struct lines *l, struct err *err)
{
    char now[LINES_TAIL];
    size_t n = 0;
    struct stat st;
    ssize_t got;

    do {
        got = pread(l->fd, now + n, l->n_tail - n,
                    (off_t)(l->begin + l->bytes_read - (int64_t)l->n_tail +
                            (int64_t)n));
        n += got > 0 ? (size_t)got : 0;
    } while ((got < 0 && errno == EINTR) || (got > 0 && n < l->n_tail));
    if (got < 0)
        return err_set_errno(err, ERR_IO, errno, "%s: read", l->path);
    if (n < l->n_tail || memcmp(now, l->tail, n) != 0)
        return err_set(err, ERR_STATE,
                       "%s: the file was truncated or rewritten after byte "
                       "%lld had been read",
                       l->path, (long long)l->bytes_read);
    if (fstat(l->fd, &st) == 0)
        l->seen = st.st_size - l->begin;
    return 0;
}

static void keep_tail(struct lines *l, const char *bytes, size_t n)
{
    size_t kept;

    if (n > LINES_TAIL) {
        bytes += n - LINES_TAIL;
        n = LINES_TAIL;
    }
    kept = l->n_tail < LINES_TAIL - n ? l->n_tail : LINES_TAIL - n;
    memmove(l->tail, l->tail + l->n_tail - kept, kept);
    memcpy(l->tail + kept, bytes, n);
    l->n_tail = kept + n;
}

/* Returns the number of bytes read, ERR_END, ERR_AGAIN, ERR_STATE or ERR_IO. An
 * empty pipe gives ERR_AGAIN, so that its reader can be stopped. */
static ssize_t read_some(struct lines *l, void *to, size_t n, struct err *err)
{
    ssize_t got;
    int rc = l->tail ? compare_tail(l, err) : 0;

    if (rc)
        return rc;
    if (!S_ISREG(l->st.st_mode)) {
        struct pollfd p = {.fd = l->fd, .events = POLLIN};

        if (poll(&p, 1, PIPE_WAIT_MS) <= 0)
            return ERR_AGAIN;
    }
    do {
        got = read(l->fd, to, n);
    } while (got < 0 && errno == EINTR);
    if (got < 0)
        return errno == EAGAIN ? ERR_AGAIN
                               : err_set_errno(err, ERR_IO, errno, "%s: read",
                                               l->path);
    l->bytes_read += got;
    if (l->tail && got)
        keep_tail(l, to, (size_t)got);
    return got ? got : ERR_END;
}

/* Calls the decompressor once. Returns the number of bytes written to `to`, or
 * ERR_CORRUPT. */
static ssize_t inflate_some(struct lines *l, char *to, size_t n,
                            struct err *err)
{
    int rc;

    l->gzip.next_in = l->raw + l->raw_at;
    l->gzip.avail_in = (uInt)(l->raw_end - l->raw_at);
    l->gzip.next_out = (unsigned char *)to;
    l->gzip.avail_out = (uInt)n;
    rc = inflate(&l->gzip, Z_NO_FLUSH);
    l->raw_at = l->raw_end - l->gzip.avail_in;
    l->in_member = rc != Z_STREAM_END;
    l->more_out = l->in_member && !l->gzip.avail_out;
    if (rc == Z_STREAM_END) {
        inflateReset(&l->gzip); /* another member may follow */
        l->had_member = true;
    } else if (rc != Z_OK && rc != Z_BUF_ERROR) {
        l->more_out = true; /* the next call returns the same error */
        if (l->gzip.avail_out < n)
            return (ssize_t)(n - l->gzip.avail_out);
        return err_set(err, ERR_CORRUPT, "%s: damaged gzip data before byte "
                       "%lld%s%s", l->path, (long long)l->bytes_read,
                       l->gzip.msg ? ": " : "",
                       l->gzip.msg ? l->gzip.msg : "");
    }
    return (ssize_t)(n - l->gzip.avail_out);
}

static ssize_t unzstd_some(struct lines *l, char *to, size_t n,
                           struct err *err)
{
    ZSTD_inBuffer in = {l->raw, l->raw_end, l->raw_at};
    ZSTD_outBuffer out = {to, n, 0};
    size_t rc = ZSTD_decompressStream(l->zstd, &out, &in);

    l->raw_at = in.pos;
    if (ZSTD_getErrorCode(rc) == ZSTD_error_frameParameter_windowTooLarge)
        return err_set(err, ERR_INVALID,
                       "%s: the zstd data before byte %lld need a window above "
                       "%d MiB to be unpacked; unpack the file, or compress it "
                       "with --long=%d at most",
                       l->path, (long long)l->bytes_read,
                       1 << (ZSTD_WINDOW_LOG - 20), ZSTD_WINDOW_LOG);
    if (ZSTD_isError(rc))
        return err_set(err, ERR_CORRUPT,
                       "%s: damaged zstd data before byte %lld: %s", l->path,
                       (long long)l->bytes_read, ZSTD_getErrorName(rc));
    l->in_member = rc != 0;
    l->had_member |= rc == 0;
    l->more_out = l->in_member && out.pos == n;
    return (ssize_t)out.pos;
}

enum head { HEAD_MEMBER, HEAD_TRASH, HEAD_MORE };

/* Skips padding, and tells what follows a member. HEAD_MORE: more bytes are
 * needed. */
static enum head read_head(struct lines *l)
{
    static const unsigned char gzip[] = {0x1f, 0x8b};
    static const unsigned char zstd[] = {0x28, 0xb5, 0x2f, 0xfd};
    static const unsigned char skippable[] = {0x50, 0x2a, 0x4d, 0x18};
    const unsigned char *magic = l->packing == GZIP ? gzip : zstd;
    size_t n = l->packing == GZIP ? sizeof gzip : sizeof zstd, i = 0;
    const unsigned char *p;

    while (l->raw_at < l->raw_end && !l->raw[l->raw_at])
        l->raw_at++;
    p = l->raw + l->raw_at;
    if (l->raw_at < l->raw_end && l->packing == ZSTD &&
        (*p & 0xf0) == skippable[0]) {
        magic = skippable;
        i = 1;
    }
    for (; i < n; i++) {
        if (l->raw_at + i >= l->raw_end)
            return HEAD_MORE;
        if (p[i] != magic[i])
            return HEAD_TRASH;
    }
    return HEAD_MEMBER;
}

/* Are there bytes to decompress, of this member or of another one? */
static bool is_at_member(struct lines *l)
{
    enum head head;

    if (l->in_member || l->more_out || !l->had_member)
        return l->raw_at < l->raw_end || l->more_out;
    head = l->only_trash ? HEAD_TRASH : read_head(l);
    if (head == HEAD_TRASH) {
        l->only_trash = true;
        l->ignored += (int64_t)(l->raw_end - l->raw_at);
        l->raw_at = l->raw_end;
    }
    return head == HEAD_MEMBER;
}

/* Reads more text into to[n]. Returns as read_some, or ERR_INVALID or
 * ERR_CORRUPT. */
static ssize_t fetch(struct lines *l, char *to, size_t n, struct err *err)
{
    ssize_t got;

    if (l->packing == PLAIN)
        return read_some(l, to, n, err);
    for (;;) {
        /* Called only with input: zstd reports damage after 16 calls without
         * progress, and a file that grows slowly may need more calls. */
        while (is_at_member(l)) {
            got = l->packing == GZIP ? inflate_some(l, to, n, err)
                                     : unzstd_some(l, to, n, err);
            if (got)
                return got;
        }
        l->raw_end -= l->raw_at; /* part of a member's head, or nothing */
        memmove(l->raw, l->raw + l->raw_at, l->raw_end);
        l->raw_at = 0;
        got = read_some(l, l->raw + l->raw_end, RAW_BYTES - l->raw_end, err);
        if (got < 0)
            return got;
        l->raw_end += (size_t)got;
    }
}

/* --- returning lines ---------------------------------------------------- */

/* Makes room in `text` and reads. Returns 0 or fetch's error. */
static int fill(struct lines *l, struct err *err)
{
    ssize_t got;

    if (l->start) {
        memmove(l->text, l->text + l->start, l->end - l->start);
        l->end -= l->start;
        l->scanned -= l->start;
        l->start = 0;
    }
    /* Keeps one byte more: a CR that may belong to the line's end. */
    if (l->end > l->max_bytes + 1) {
        l->dropping = true;
        l->end = l->scanned = l->max_bytes + 1;
    }
    got = fetch(l, l->text + l->end, l->cap - l->end, err);
    if (got < 0)
        return (int)got;
    l->end += (size_t)got;
    return 0;
}

/* Sets *line to text[start, stop) without its line end. */
static void set_line(struct lines *l, size_t stop, struct line *line)
{
    size_t n = stop - l->start;

    line->bytes = l->text + l->start;
    if (!l->dropping && n && line->bytes[n - 1] == '\r')
        n--;
    line->too_long = l->dropping || n > l->max_bytes;
    line->n_bytes = n < l->max_bytes ? n : l->max_bytes;
}

int lines_next(struct lines *l, struct line *line, struct err *err)
{
    for (;;) {
        char *lf = memchr(l->text + l->scanned, '\n', l->end - l->scanned);
        int rc;

        if (lf) {
            size_t at = (size_t)(lf - l->text);

            set_line(l, l->dropping ? l->start + l->max_bytes : at, line);
            l->start = l->scanned = at + 1;
            l->dropping = false;
            return 0;
        }
        l->scanned = l->end;
        rc = fill(l, err);
        if (rc != 0)
            return rc;
    }
}

int lines_rest(struct lines *l, struct line *line, struct err *err)
{
    if (l->in_member)
        return err_set(err, ERR_CORRUPT, "%s: the compressed data break off "
                       "after byte %lld", l->path, (long long)l->bytes_read);
    if (l->had_member) { /* part of a head is no member */
        l->ignored += (int64_t)(l->raw_end - l->raw_at);
        l->raw_at = l->raw_end;
    }
    if (l->start == l->end)
        return ERR_END;
    set_line(l, l->dropping ? l->start + l->max_bytes : l->end, line);
    l->start = l->scanned = l->end;
    l->dropping = false;
    return 0;
}

int lines_skip(struct lines *l, int64_t n, struct err *err)
{
    struct line line;

    while (n-- > 0) {
        int rc = lines_next(l, &line, err);

        if (rc == ERR_END)
            rc = lines_rest(l, &line, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

dev_t lines_device(const struct lines *l)
{
    return l->st.st_dev;
}

ino_t lines_inode(const struct lines *l)
{
    return l->st.st_ino;
}

bool lines_same_file(const struct lines *l, dev_t device, ino_t inode)
{
    return l->st.st_dev == device && l->st.st_ino == inode;
}

int64_t lines_size(const struct lines *l)
{
    return l->st.st_size;
}

int64_t lines_bytes_read(const struct lines *l)
{
    return l->bytes_read;
}

bool lines_is_behind(const struct lines *l)
{
    return l->bytes_read < l->seen;
}

bool lines_has_grown(const struct lines *l)
{
    struct stat st;

    return fstat(l->fd, &st) == 0 && st.st_size - l->begin > l->bytes_read;
}

int64_t lines_ignored(const struct lines *l)
{
    return l->ignored;
}

bool lines_is_regular(const struct lines *l)
{
    return S_ISREG(l->st.st_mode);
}
