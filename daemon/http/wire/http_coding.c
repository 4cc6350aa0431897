/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A gzip body may have several members, a zstd body several frames. A small
 * body may decompress to a large one, so each piece of output is checked
 * against the limit and charged before it is kept.
 *
 * The window of a zstd frame is charged before the decoder sees the frame's
 * header, which this file therefore reads, too (RFC 8878, 3.1.1). The bytes of
 * a header wait in `head` until it is complete.
 */
#include "config.h"

#include "daemon/http/wire/http_coding.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>
#include <zstd.h>

#include "base/err.h"
#include "base/xalloc.h"

#define WINDOW_LOG 23 /* RFC 9659: a decoder has to support 8 MiB */
#define PIECE_BYTES 16384
#define MAX_HEAD 18 /* of a zstd frame */
/* The memory of a decoder without its window. zstd has buffers for one or two
 * blocks of 128 KiB beside its tables. */
#define GZIP_BYTES ((size_t)64 << 10)
#define ZSTD_BYTES ((size_t)640 << 10)

struct http_coding {
    bool is_gzip;
    bool has_z;
    z_stream z;
    ZSTD_DStream *zstd;
    unsigned char head[MAX_HEAD]; /* of a frame that has not begun yet */
    size_t n_head;
    bool in_frame;
    size_t window_bytes; /* the largest one that is charged */
    bool complete;
};

struct http_coding *http_coding_create(const char *name)
{
    bool is_gzip = !strcasecmp(name, "gzip") || !strcasecmp(name, "x-gzip");
    struct http_coding *c;

    if (!is_gzip && strcasecmp(name, "zstd") != 0)
        return NULL;
    c = xcalloc(1, sizeof *c);
    c->is_gzip = is_gzip;
    return c;
}

void http_coding_free(struct http_coding *c)
{
    if (!c)
        return;
    if (c->has_z)
        inflateEnd(&c->z);
    ZSTD_freeDStream(c->zstd);
    free(c);
}

/* Makes the decoder at the first bytes of the body. */
static bool open_decoder(struct http_coding *c,
                         const struct http_coding_limits *limits)
{
    if (c->has_z || c->zstd)
        return true;
    if (!limits->charge(limits->arg, c->is_gzip ? GZIP_BYTES : ZSTD_BYTES))
        return false;
    if (c->is_gzip)
        c->has_z = inflateInit2(&c->z, 16 + MAX_WBITS) == Z_OK;
    else
        c->zstd = ZSTD_createDStream();
    if (!c->has_z && !c->zstd)
        BUG("no memory to decompress");
    if (c->zstd)
        ZSTD_DCtx_setParameter(c->zstd, ZSTD_d_windowLogMax, WINDOW_LOG);
    return true;
}

/* --- the header of a zstd frame ----------------------------------------- */

static uint64_t little_endian(const unsigned char *bytes, size_t n)
{
    uint64_t x = 0;

    while (n-- > 0)
        x = x << 8 | bytes[n];
    return x;
}

enum head { HEAD_MORE, HEAD_BAD, HEAD_COMPLETE };

/* Reads the window of the frame whose first n bytes are in `head`. */
static enum head read_head(const unsigned char *head, size_t n,
                           uint64_t *window)
{
    static const size_t size_bytes[] = {0, 2, 4, 8}, id_bytes[] = {0, 1, 2, 4};
    unsigned flag, is_single;
    size_t n_size, n_id;
    uint64_t base;

    *window = 0;
    if (n < 4)
        return HEAD_MORE;
    if ((little_endian(head, 4) & ~(uint64_t)15) == 0x184D2A50)
        return HEAD_COMPLETE; /* a frame that is skipped needs no window */
    if (little_endian(head, 4) != 0xFD2FB528)
        return HEAD_BAD;
    if (n < 6)
        return HEAD_MORE;
    flag = head[4] >> 6;
    is_single = head[4] >> 5 & 1;
    if (!is_single) {
        base = (uint64_t)1 << (10 + (head[5] >> 3));
        *window = base + base / 8 * (head[5] & 7);
        return HEAD_COMPLETE;
    }
    /* The window is as large as the content. */
    n_size = flag ? size_bytes[flag] : 1;
    n_id = id_bytes[head[4] & 3];
    if (n < 5 + n_id + n_size)
        return HEAD_MORE;
    *window = little_endian(head + 5 + n_id, n_size) + (flag == 1 ? 256 : 0);
    return HEAD_COMPLETE;
}

/* Charges the window of a frame. A later frame reuses the memory. */
static enum http_coding_result
charge_window(struct http_coding *c, uint64_t window,
              const struct http_coding_limits *limits)
{
    if (window > (uint64_t)1 << WINDOW_LOG)
        return HTTP_CODING_BAD;
    if (window <= c->window_bytes)
        return HTTP_CODING_OK;
    if (!limits->charge(limits->arg, (size_t)window - c->window_bytes))
        return HTTP_CODING_NO_MEMORY;
    c->window_bytes = (size_t)window;
    return HTTP_CODING_OK;
}

/* --- decoding ----------------------------------------------------------- */

/* Makes the next piece of at most PIECE_BYTES.
 *   n_used   bytes of the input that were used
 *   returns  false: the data is bad */
static bool inflate_piece(struct http_coding *c, const char *bytes, size_t n,
                          size_t *n_used, char *piece, size_t *n_out)
{
    int rc;

    if (c->complete && inflateReset(&c->z) != Z_OK) /* another member */
        return false;
    c->z.next_in = (unsigned char *)bytes;
    c->z.avail_in = (unsigned)n;
    c->z.next_out = (unsigned char *)piece;
    c->z.avail_out = PIECE_BYTES;
    rc = inflate(&c->z, Z_NO_FLUSH);
    *n_used = n - c->z.avail_in;
    *n_out = PIECE_BYTES - c->z.avail_out;
    c->complete = rc == Z_STREAM_END;
    return rc == Z_OK || rc == Z_STREAM_END || rc == Z_BUF_ERROR;
}

static bool unzstd_piece(struct http_coding *c, const char *bytes, size_t n,
                         size_t *n_used, char *piece, size_t *n_out)
{
    ZSTD_inBuffer in = {bytes, n, 0};
    ZSTD_outBuffer out = {piece, PIECE_BYTES, 0};
    size_t rc = ZSTD_decompressStream(c->zstd, &out, &in);

    *n_used = in.pos;
    *n_out = out.pos;
    c->complete = rc == 0;
    return !ZSTD_isError(rc);
}

/* Decodes bytes of one zstd frame, or of any gzip members. Stops at the end of
 * a zstd frame.
 *   *n_left  bytes that were not used */
static enum http_coding_result decode(struct http_coding *c, const char *bytes,
                                      size_t n,
                                      const struct http_coding_limits *limits,
                                      struct buf *out, size_t *n_left)
{
    char piece[PIECE_BYTES];
    size_t n_used = 0, n_out = PIECE_BYTES;

    /* A full piece may have a rest within the decoder. */
    while (n || n_out == PIECE_BYTES) {
        bool ok;

        if (n == 0 && c->complete)
            break;
        ok = c->is_gzip ? inflate_piece(c, bytes, n, &n_used, piece, &n_out)
                        : unzstd_piece(c, bytes, n, &n_used, piece, &n_out);
        if (!ok || (n && !n_used && !n_out))
            return HTTP_CODING_BAD;
        if (n_out > limits->max_bytes - out->len)
            return HTTP_CODING_TOO_LARGE;
        if (n_out && !limits->charge(limits->arg, n_out * HTTP_BODY_GROWTH))
            return HTTP_CODING_NO_MEMORY;
        buf_add(out, piece, n_out);
        bytes += n_used;
        n -= n_used;
        if (c->complete && !c->is_gzip)
            break;
    }
    *n_left = n;
    return HTTP_CODING_OK;
}

/* Takes bytes of a header until it is complete, and begins the frame with it.
 *   *n_used  bytes that were taken */
static enum http_coding_result begin_frame(
    struct http_coding *c, const char *bytes, size_t n, size_t *n_used,
    const struct http_coding_limits *limits, struct buf *out)
{
    enum http_coding_result result;
    enum head head = HEAD_MORE;
    uint64_t window = 0;
    size_t n_left;

    c->complete = false;
    for (*n_used = 0; *n_used < n && head == HEAD_MORE; ++*n_used) {
        c->head[c->n_head++] = (unsigned char)bytes[*n_used];
        head = read_head(c->head, c->n_head, &window);
    }
    if (head == HEAD_MORE)
        return HTTP_CODING_OK;
    result = head == HEAD_BAD ? HTTP_CODING_BAD
                              : charge_window(c, window, limits);
    if (result != HTTP_CODING_OK)
        return result;
    c->in_frame = true;
    n = c->n_head;
    c->n_head = 0;
    return decode(c, (const char *)c->head, n, limits, out, &n_left);
}

enum http_coding_result
http_coding_decode(struct http_coding *c, const char *bytes, size_t n,
                   const struct http_coding_limits *limits, struct buf *out)
{
    enum http_coding_result result = HTTP_CODING_OK;

    if (n && !open_decoder(c, limits))
        return HTTP_CODING_NO_MEMORY;
    while (n && result == HTTP_CODING_OK) {
        size_t n_left = 0;

        if (c->is_gzip || c->in_frame) {
            result = decode(c, bytes, n, limits, out, &n_left);
            c->in_frame = !c->complete;
        } else {
            result = begin_frame(c, bytes, n, &n_left, limits, out);
            n_left = n - n_left;
        }
        bytes += n - n_left;
        n = n_left;
    }
    return result;
}

bool http_coding_is_complete(const struct http_coding *c)
{
    return c->complete;
}
