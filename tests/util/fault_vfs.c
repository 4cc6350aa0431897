/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file is SQLite's own behind a table of methods of ours: three of them ask
 * the hook first, the others pass the call on; opening and deleting ask, too.
 */
#include "config.h"

#include "tests/util/fault_vfs.h"

#include <sqlite3.h>
#include <stddef.h>
#include <unistd.h>

enum fault_vfs (*fault_vfs_hook)(void);
void (*fault_vfs_watch)(enum fault_vfs_op op, const char *path,
                        const void *bytes, int n_bytes, int64_t at);

struct file {
    sqlite3_file base;
    sqlite3_file *real; /* behind this struct */
    const char *path;   /* SQLite's, or NULL */
};

static sqlite3_vfs *system_vfs;
static sqlite3_vfs vfs;

static sqlite3_file *real_of(sqlite3_file *f)
{
    return ((struct file *)f)->real;
}

#define PASS(f, method, ...)                                                   \
    (real_of(f)->pMethods->method(real_of(f), ##__VA_ARGS__))

static void tell(enum fault_vfs_op op, const char *path, const void *bytes,
                 int n_bytes, int64_t at)
{
    if (fault_vfs_watch)
        fault_vfs_watch(op, path, bytes, n_bytes, at);
}

static enum fault_vfs ask(void)
{
    return fault_vfs_hook ? fault_vfs_hook() : FAULT_NONE;
}

static int file_write(sqlite3_file *f, const void *bytes, int n,
                      sqlite3_int64 at)
{
    tell(FAULT_VFS_WRITE, ((struct file *)f)->path, bytes, n, at);
    switch (ask()) {
    case FAULT_IO:
        return SQLITE_IOERR_WRITE;
    case FAULT_FULL:
        return SQLITE_FULL;
    case FAULT_DIE:
        PASS(f, xWrite, bytes, n / 2, at);
        _exit(7);
    default:
        return PASS(f, xWrite, bytes, n, at);
    }
}

static int file_sync(sqlite3_file *f, int flags)
{
    tell(FAULT_VFS_SYNC, ((struct file *)f)->path, NULL, 0, 0);
    switch (ask()) {
    case FAULT_NONE:
        return PASS(f, xSync, flags);
    case FAULT_DIE:
        _exit(7);
    default:
        return SQLITE_IOERR_FSYNC;
    }
}

static int file_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    tell(FAULT_VFS_TRUNCATE, ((struct file *)f)->path, NULL, 0, size);
    switch (ask()) {
    case FAULT_NONE:
        return PASS(f, xTruncate, size);
    case FAULT_DIE:
        _exit(7);
    default:
        return SQLITE_IOERR_TRUNCATE;
    }
}

static int file_close(sqlite3_file *f)
{
    return PASS(f, xClose);
}

static int file_read(sqlite3_file *f, void *bytes, int n, sqlite3_int64 at)
{
    return PASS(f, xRead, bytes, n, at);
}

static int file_size(sqlite3_file *f, sqlite3_int64 *size)
{
    return PASS(f, xFileSize, size);
}

static int file_lock(sqlite3_file *f, int level)
{
    return PASS(f, xLock, level);
}

static int file_unlock(sqlite3_file *f, int level)
{
    return PASS(f, xUnlock, level);
}

static int file_reserved(sqlite3_file *f, int *out)
{
    return PASS(f, xCheckReservedLock, out);
}

static int file_control(sqlite3_file *f, int op, void *arg)
{
    return PASS(f, xFileControl, op, arg);
}

static int file_sector(sqlite3_file *f)
{
    return PASS(f, xSectorSize);
}

static int file_device(sqlite3_file *f)
{
    return PASS(f, xDeviceCharacteristics);
}

static int file_map(sqlite3_file *f, int page, int size, int extend,
                    void volatile **out)
{
    return PASS(f, xShmMap, page, size, extend, out);
}

static int file_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
    return PASS(f, xShmLock, offset, n, flags);
}

static void file_barrier(sqlite3_file *f)
{
    PASS(f, xShmBarrier);
}

static int file_unmap(sqlite3_file *f, int delete_it)
{
    return PASS(f, xShmUnmap, delete_it);
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_reserved,
    .xFileControl = file_control,
    .xSectorSize = file_sector,
    .xDeviceCharacteristics = file_device,
    .xShmMap = file_map,
    .xShmLock = file_shm_lock,
    .xShmBarrier = file_barrier,
    .xShmUnmap = file_unmap,
};

static int vfs_open(sqlite3_vfs *v, sqlite3_filename name, sqlite3_file *f,
                    int flags, int *out_flags)
{
    struct file *file = (struct file *)f;
    int rc;

    (void)v;
    file->real = (sqlite3_file *)(file + 1);
    file->base.pMethods = NULL;
    file->path = name;
    tell(FAULT_VFS_OPEN, name, NULL, 0, 0);
    switch (ask()) {
    case FAULT_NONE:
        break;
    case FAULT_DIE:
        _exit(7);
    default:
        return SQLITE_CANTOPEN;
    }
    rc = system_vfs->xOpen(system_vfs, name, file->real, flags, out_flags);
    file->base.pMethods = file->real->pMethods ? &methods : NULL;
    return rc;
}

static int vfs_delete(sqlite3_vfs *v, const char *name, int sync_dir)
{
    (void)v;
    tell(FAULT_VFS_DELETE, name, NULL, 0, 0);
    switch (ask()) {
    case FAULT_NONE:
        return system_vfs->xDelete(system_vfs, name, sync_dir);
    case FAULT_DIE:
        _exit(7);
    default:
        return SQLITE_IOERR_DELETE;
    }
}

void fault_vfs_install(void)
{
    if (system_vfs)
        return;
    system_vfs = sqlite3_vfs_find(NULL);
    vfs = *system_vfs;
    vfs.pNext = NULL;
    vfs.zName = "fault";
    vfs.szOsFile = (int)sizeof(struct file) + system_vfs->szOsFile;
    vfs.xOpen = vfs_open;
    vfs.xDelete = vfs_delete;
    sqlite3_vfs_register(&vfs, 1);
}
