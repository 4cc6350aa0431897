/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both formats may have several members or frames, one after the other. A small
 * body may decompress to a large one, so each piece of output is checked
 * against the limit before the next one is made.
 */
#include "config.h"

#include "daemon/http/http_coding.h"

#include <stdlib.h>
#include <strings.h>
#include <zlib.h>
#include <zstd.h>

#include "base/xalloc.h"

#define WINDOW_LOG 23 /* RFC 9659: a decoder has to support 8 MiB */
#define PIECE_BYTES 16384

struct http_coding {
    z_stream z;
    ZSTD_DStream *zstd; /* NULL: gzip */
    bool complete;
};

struct http_coding *http_coding_create(const char *name)
{
    bool is_gzip = !strcasecmp(name, "gzip") || !strcasecmp(name, "x-gzip");
    struct http_coding *c;

    if (!is_gzip && strcasecmp(name, "zstd") != 0)
        return NULL;
    c = xcalloc(1, sizeof *c);
    if (is_gzip && inflateInit2(&c->z, 16 + MAX_WBITS) == Z_OK)
        return c;
    if (!is_gzip && (c->zstd = ZSTD_createDStream())) {
        ZSTD_DCtx_setParameter(c->zstd, ZSTD_d_windowLogMax, WINDOW_LOG);
        return c;
    }
    free(c);
    return NULL;
}

void http_coding_free(struct http_coding *c)
{
    if (!c)
        return;
    if (c->zstd)
        ZSTD_freeDStream(c->zstd);
    else
        inflateEnd(&c->z);
    free(c);
}

size_t http_coding_bytes(const struct http_coding *c)
{
    return c->zstd ? ((size_t)1 << WINDOW_LOG) + (1 << 20) : 64 << 10;
}

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

enum http_coding_result http_coding_decode(struct http_coding *c,
                                           const char *bytes, size_t n,
                                           size_t max_bytes, struct buf *out)
{
    char piece[PIECE_BYTES];
    size_t n_used = 0, n_out = PIECE_BYTES;

    /* A full piece may have a rest within the decoder. */
    while (n || n_out == PIECE_BYTES) {
        bool ok;

        if (n == 0 && c->complete)
            break;
        ok = c->zstd ? unzstd_piece(c, bytes, n, &n_used, piece, &n_out)
                     : inflate_piece(c, bytes, n, &n_used, piece, &n_out);
        if (!ok || (n && !n_used && !n_out))
            return HTTP_CODING_BAD;
        if (out->len + n_out > max_bytes)
            return HTTP_CODING_TOO_LARGE;
        buf_add(out, piece, n_out);
        bytes += n_used;
        n -= n_used;
    }
    return HTTP_CODING_OK;
}

bool http_coding_is_complete(const struct http_coding *c)
{
    return c->complete;
}
