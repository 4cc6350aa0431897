/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A layer between SQLite and the VFS below it. It handles only the database
 * file; the VFS below opens logs, journals and temporary files.
 *
 * The header in page 1 tells the page size (byte 16) and whether pages have
 * checksums (byte 20). It is read when the file is opened, and at each read or
 * write of page 1. A checkpoint writes page 1 first, so after a conversion the
 * new header is known before the other pages are written.
 *
 * A page of zeros was never written, and has no checksum.
 */
#include "config.h"

#include "store/pages.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/checksum.h"

#define LARGEST_PAGE 65536

struct page_file {
    sqlite3_file base;
    sqlite3_file *real; /* follows this struct in memory */
    bool checked;
    int page_bytes;      /* 0: not known yet */
    unsigned char *copy; /* of the page that is written */
};

static sqlite3_vfs vfs;
static sqlite3_vfs *below;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static struct page_file *of(sqlite3_file *f)
{
    return (struct page_file *)f;
}

#define PASS(f, method, ...)                                                   \
    (of(f)->real->pMethods->method(of(f)->real, ##__VA_ARGS__))

/* --- checksums ---------------------------------------------------------- */

static void read_header(struct page_file *f, const unsigned char *bytes)
{
    int size = bytes[16] << 8 | bytes[17];

    if (memcmp(bytes, "SQLite format 3", 16) != 0)
        return;
    f->page_bytes = size == 1 ? LARGEST_PAGE : size;
    f->checked = bytes[20] == PAGES_RESERVED && f->page_bytes >= 512;
}

static bool is_page(const struct page_file *f, int n, sqlite3_int64 at)
{
    return f->checked && n == f->page_bytes && at % n == 0;
}

static uint64_t sum(const unsigned char *page, int n, sqlite3_int64 at)
{
    return checksum_xxh3(page, (size_t)n - PAGES_RESERVED, (uint64_t)at);
}

static bool is_zero(const unsigned char *page, int n)
{
    return page[0] == 0 && memcmp(page, page + 1, (size_t)n - 1) == 0;
}

static bool is_intact(const unsigned char *page, int n, sqlite3_int64 at)
{
    uint64_t expected = sum(page, n, at);

    return memcmp(page + n - PAGES_RESERVED, &expected, PAGES_RESERVED) == 0 ||
           is_zero(page, n);
}

/* --- methods that read and write checksums ------------------------------ */

static int page_read(sqlite3_file *f, void *bytes, int n, sqlite3_int64 at)
{
    int rc = PASS(f, xRead, bytes, n, at);

    if (rc != SQLITE_OK)
        return rc;
    if (at == 0 && n >= 100)
        read_header(of(f), bytes);
    if (is_page(of(f), n, at) && !is_intact(bytes, n, at)) {
        sqlite3_log(SQLITE_CORRUPT, "page %lld: its checksum differs",
                    at / n + 1);
        return SQLITE_CORRUPT;
    }
    return SQLITE_OK;
}

static int page_write(sqlite3_file *f, const void *bytes, int n,
                      sqlite3_int64 at)
{
    struct page_file *p = of(f);
    uint64_t s;

    if (at == 0 && n >= 100)
        read_header(p, bytes);
    if (!is_page(p, n, at))
        return PASS(f, xWrite, bytes, n, at);
    if (!p->copy)
        p->copy = sqlite3_malloc(LARGEST_PAGE);
    if (!p->copy)
        return SQLITE_IOERR_NOMEM;
    memcpy(p->copy, bytes, (size_t)n);
    s = sum(p->copy, n, at);
    memcpy(p->copy + n - PAGES_RESERVED, &s, PAGES_RESERVED);
    return PASS(f, xWrite, p->copy, n, at);
}

static int page_close(sqlite3_file *f)
{
    sqlite3_free(of(f)->copy);
    of(f)->copy = NULL;
    return PASS(f, xClose);
}

/* --- methods that only call the VFS below ------------------------------- */

static int page_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    return PASS(f, xTruncate, size);
}

static int page_sync(sqlite3_file *f, int flags)
{
    return PASS(f, xSync, flags);
}

static int page_size(sqlite3_file *f, sqlite3_int64 *size)
{
    return PASS(f, xFileSize, size);
}

static int page_lock(sqlite3_file *f, int level)
{
    return PASS(f, xLock, level);
}

static int page_unlock(sqlite3_file *f, int level)
{
    return PASS(f, xUnlock, level);
}

static int page_reserved(sqlite3_file *f, int *out)
{
    return PASS(f, xCheckReservedLock, out);
}

static int page_control(sqlite3_file *f, int op, void *arg)
{
    return PASS(f, xFileControl, op, arg);
}

static int page_sector(sqlite3_file *f)
{
    return PASS(f, xSectorSize);
}

static int page_device(sqlite3_file *f)
{
    return PASS(f, xDeviceCharacteristics);
}

static int page_map(sqlite3_file *f, int page, int size, int extend,
                    void volatile **out)
{
    return PASS(f, xShmMap, page, size, extend, out);
}

static int page_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
    return PASS(f, xShmLock, offset, n, flags);
}

static void page_barrier(sqlite3_file *f)
{
    PASS(f, xShmBarrier);
}

static int page_unmap(sqlite3_file *f, int delete_it)
{
    return PASS(f, xShmUnmap, delete_it);
}

/* Version 2 has no memory-mapped reading, which would bypass the checks. */
static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = page_close,
    .xRead = page_read,
    .xWrite = page_write,
    .xTruncate = page_truncate,
    .xSync = page_sync,
    .xFileSize = page_size,
    .xLock = page_lock,
    .xUnlock = page_unlock,
    .xCheckReservedLock = page_reserved,
    .xFileControl = page_control,
    .xSectorSize = page_sector,
    .xDeviceCharacteristics = page_device,
    .xShmMap = page_map,
    .xShmLock = page_shm_lock,
    .xShmBarrier = page_barrier,
    .xShmUnmap = page_unmap,
};

static int vfs_open(sqlite3_vfs *v, sqlite3_filename name, sqlite3_file *f,
                    int flags, int *out_flags)
{
    struct page_file *p = of(f);
    unsigned char header[100];
    int rc;

    (void)v;
    if (!(flags & SQLITE_OPEN_MAIN_DB))
        return below->xOpen(below, name, f, flags, out_flags);
    memset(p, 0, sizeof *p);
    p->real = (sqlite3_file *)(p + 1);
    rc = below->xOpen(below, name, p->real, flags, out_flags);
    p->base.pMethods = p->real->pMethods ? &methods : NULL;
    if (rc == SQLITE_OK &&
        PASS(f, xRead, header, sizeof header, 0) == SQLITE_OK)
        read_header(p, header);
    return rc;
}

/* A test may have changed the default VFS since the last call. */
const char *pages_vfs(void)
{
    pthread_mutex_lock(&mutex);
    if (sqlite3_vfs_find(NULL) != below) {
        below = sqlite3_vfs_find(NULL);
        vfs = *below;
        vfs.pNext = NULL;
        vfs.zName = "mneme-pages";
        vfs.szOsFile = (int)sizeof(struct page_file) + below->szOsFile;
        vfs.xOpen = vfs_open;
        sqlite3_vfs_register(&vfs, 0);
    }
    pthread_mutex_unlock(&mutex);
    return "mneme-pages";
}
