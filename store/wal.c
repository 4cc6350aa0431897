/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The format is SQLite's ("WAL-mode file format"). The checksum of a frame
 * begins with the checksum of the frame before it, which is in that frame's
 * header. So a frame after a damaged one can still be checked.
 */
#include "config.h"

#include "store/wal.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/xalloc.h"

#define HEADER_BYTES 32
#define FRAME_BYTES 24    /* the header of a frame; a page follows */
#define MAGIC 0x377f0682u /* plus 1 when the checksums are big-endian */

struct sums {
    uint32_t a, b;
};

struct wal {
    int fd;
    bool big_endian;
    uint32_t page_bytes;
    unsigned char salts[8]; /* frames with other salts are older */
    unsigned char *frame;
};

static uint32_t big(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 |
           p[3];
}

static uint32_t word(const struct wal *w, const unsigned char *p)
{
    return w->big_endian ? big(p) : __builtin_bswap32(big(p));
}

static struct sums add(const struct wal *w, struct sums s,
                       const unsigned char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i += 8) {
        s.a += word(w, bytes + i) + s.b;
        s.b += word(w, bytes + i + 4) + s.a;
    }
    return s;
}

static struct sums stored(const unsigned char *p)
{
    return (struct sums){big(p), big(p + 4)};
}

static bool same(struct sums x, struct sums y)
{
    return x.a == y.a && x.b == y.b;
}

/* Reads frame i; false at the end of the log. */
static bool read_frame(struct wal *w, int64_t i)
{
    size_t n = FRAME_BYTES + w->page_bytes;

    return pread(w->fd, w->frame, n, HEADER_BYTES + i * (int64_t)n) ==
           (ssize_t)n;
}

/* Is the frame intact, after a frame with the checksum `before`? */
static bool is_good(const struct wal *w, struct sums before)
{
    struct sums s = add(w, before, w->frame, 8);

    s = add(w, s, w->frame + FRAME_BYTES, w->page_bytes);
    return memcmp(w->frame + 8, w->salts, sizeof w->salts) == 0 &&
           same(s, stored(w->frame + 16));
}

/* SQLite ignores a log with a damaged header. Its fields may be wrong, so the
 * salts then come from the first frame, and the page size is mneme's. */
static bool read_header(struct wal *w, unsigned char header[HEADER_BYTES])
{
    bool good;

    if (pread(w->fd, header, HEADER_BYTES, 0) != HEADER_BYTES)
        return false;
    w->big_endian = big(header) & 1;
    good = (big(header) & ~1u) == MAGIC &&
           same(add(w, (struct sums){0, 0}, header, 24), stored(header + 24));
    w->page_bytes = good ? big(header + 8) : 4096;
    if (w->page_bytes < 512 || w->page_bytes > 65536)
        return false;
    w->frame = xmalloc(FRAME_BYTES + w->page_bytes);
    memcpy(w->salts, header + 16, sizeof w->salts);
    if (!good && read_frame(w, 0))
        memcpy(w->salts, w->frame + 8, sizeof w->salts);
    return true;
}

/* Counts the commits after the first damaged frame. */
static int count_lost(struct wal *w, const unsigned char *header)
{
    struct sums before = stored(header + 24);
    bool intact = same(add(w, (struct sums){0, 0}, header, 24), before);
    int lost = 0;

    for (int64_t i = 0; read_frame(w, i); i++) {
        bool good = is_good(w, before);

        intact = intact && good;
        if (!intact && good && big(w->frame + 4) != 0)
            lost++;
        before = stored(w->frame + 16);
    }
    return lost;
}

int wal_lost(const char *path)
{
    unsigned char header[HEADER_BYTES];
    struct wal w = {.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    int lost = 0;

    if (w.fd < 0)
        return 0;
    if (read_header(&w, header))
        lost = count_lost(&w, header);
    free(w.frame);
    close(w.fd);
    return lost > 1 ? lost : 0;
}
