/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every state that a crash of the machine can leave.
 *
 * A store is opened, publishes, judges, prunes, rolls back, publishes again and
 * is closed, while each operation on a file is written down: the store's own
 * through fileio_fault, SQLite's through fault_vfs_watch. Then, for each place
 * in that list, directories are built as a disk may show them after losing
 * power there:
 *
 *   data           is there for certain once the file has been synced; else
 *                  each write is there, or half of it, or not
 *   names          made, linked, renamed, removed: for certain once their
 *                  directory has been synced; else each is there or not, in no
 *                  order; a renamed one may have both names
 *
 * Each is opened and checked against the invariants of store.c: every row has
 * its files, undamaged, and every directory its row; what was there when the
 * last call returned is there, or what the call under way was to bring.
 *
 * By itself it builds a sample; with SOAK set, many more.
 */
#include "config.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "base/buf.h"
#include "base/fileio.h"
#include "base/rng.h"
#include "base/xalloc.h"
#include "store/store.h"
#include "store/store_private.h"
#include "tests/util/fault_vfs.h"
#include "tests/util/store_util.h"

static char *top, *live, *after; /* folders: of all, recorded, built */

/* --- the list ----------------------------------------------------------- */

enum kind {
    MAKE_FILE,
    MAKE_DIR,
    LINK_FILE, /* with its bytes, which were synced before */
    RENAME_DIR,
    REMOVE,
    WRITE,
    TRUNCATE,
    SYNC_FILE,
    SYNC_DIR
};

struct op {
    enum kind kind;
    char *path; /* below the data directory */
    char *from; /* RENAME_DIR */
    int64_t at; /* WRITE, TRUNCATE */
    char *bytes;
    size_t n_bytes; /* WRITE without bytes: to be filled in at the sync */
};

static struct op *ops;
static size_t n_ops, cap_ops;
static bool recording;

/* NULL for what is not in the directory, or means nothing after a crash. */
static const char *below(const char *path)
{
    size_t n = strlen(live);

    if (!recording || strncmp(path, live, n) != 0)
        return NULL;
    path += n;
    while (*path == '/')
        path++;
    if (strcmp(path, "mnemed.pid") == 0 || strstr(path, "-shm"))
        return NULL;
    return path;
}

static struct op *add(enum kind kind, const char *path)
{
    XGROW(ops, n_ops, cap_ops);
    ops[n_ops] = (struct op){.kind = kind, .path = xstrdup(path)};
    return &ops[n_ops++];
}

static int64_t size_of(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? (int64_t)st.st_size : 0;
}

static void read_into(const char *path, struct buf *bytes)
{
    assert_int_equal(fileio_read(path, 1 << 26, bytes, NULL), 0);
}

/* What was written since the last sync is in the file now. */
static void fill_in(const char *path, const char *name)
{
    struct buf bytes = BUF_INIT;
    int64_t end = size_of(path);

    read_into(path, &bytes);
    for (size_t i = n_ops; i-- > 0;) {
        struct op *o = &ops[i];

        if (o->kind != WRITE || o->bytes || strcmp(o->path, name) != 0)
            continue;
        o->n_bytes = (size_t)(end - o->at);
        o->bytes = xmemdup(bytes.data + o->at, o->n_bytes);
        end = o->at;
    }
    buf_release(&bytes);
}

static void fill_in_links(void)
{
    for (size_t i = 0; i < n_ops; i++) {
        struct buf bytes = BUF_INIT;
        char *path;

        if (ops[i].kind != LINK_FILE || ops[i].bytes)
            continue;
        path = fileio_join(live, ops[i].path);
        read_into(path, &bytes);
        ops[i].n_bytes = bytes.len;
        ops[i].bytes = xmemdup(bytes.data, bytes.len);
        buf_release(&bytes);
        free(path);
    }
}

static bool is_dir(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* versions/.new-000004 of versions/000004: the one renaming there is. */
static void add_rename(const char *to)
{
    struct op *o = add(RENAME_DIR, to);

    o->from = xasprintf("versions/.new-%s", to + strlen("versions/"));
}

static int on_file(const char *operation, const char *path)
{
    const char *name = below(path);

    if (!name)
        return 0;
    if (strcmp(operation, "open") == 0 && !fileio_exists(path))
        add(MAKE_FILE, name);
    else if (strcmp(operation, "write") == 0)
        add(WRITE, name)->at = size_of(path);
    else if (strcmp(operation, "mkdir") == 0 && !fileio_exists(path))
        add(MAKE_DIR, name);
    else if (strcmp(operation, "link") == 0)
        add(LINK_FILE, name);
    else if (strcmp(operation, "rename") == 0)
        add_rename(name);
    else if (strcmp(operation, "unlink") == 0 ||
             strcmp(operation, "rmdir") == 0)
        add(REMOVE, name);
    else if (strcmp(operation, "fsync") == 0 && is_dir(path)) {
        fill_in_links();
        add(SYNC_DIR, name);
    } else if (strcmp(operation, "fsync") == 0) {
        fill_in(path, name);
        add(SYNC_FILE, name);
    }
    return 0;
}

static void on_sqlite(enum fault_vfs_op what, const char *path,
                      const void *bytes, int n_bytes, int64_t at)
{
    const char *name = path ? below(path) : NULL;
    struct op *o;

    if (!name)
        return;
    switch (what) {
    case FAULT_VFS_OPEN:
        if (!fileio_exists(path))
            add(MAKE_FILE, name);
        break;
    case FAULT_VFS_WRITE:
        o = add(WRITE, name);
        o->at = at;
        o->n_bytes = (size_t)n_bytes;
        o->bytes = xmemdup(bytes, (size_t)n_bytes);
        break;
    case FAULT_VFS_TRUNCATE:
        add(TRUNCATE, name)->at = at;
        break;
    case FAULT_VFS_SYNC:
        add(SYNC_FILE, name);
        break;
    case FAULT_VFS_DELETE:
        add(REMOVE, name);
        break;
    }
}

/* --- a disk ------------------------------------------------------------- */

struct entry {
    char *path;
    bool named, dir;
    struct buf bytes;
};

struct disk {
    struct entry *items;
    size_t n, cap;
};

static struct disk base; /* as it was when the recording began */

static struct entry *find(struct disk *d, const char *path)
{
    for (size_t i = 0; i < d->n; i++)
        if (strcmp(d->items[i].path, path) == 0)
            return &d->items[i];
    return NULL;
}

static struct entry *find_or_add(struct disk *d, const char *path)
{
    struct entry *e = find(d, path);

    if (e)
        return e;
    XGROW(d->items, d->n, d->cap);
    e = &d->items[d->n++];
    memset(e, 0, sizeof *e);
    e->path = xstrdup(path);
    return e;
}

static void set_bytes(struct entry *e, const char *bytes, size_t n)
{
    buf_clear(&e->bytes);
    buf_add(&e->bytes, bytes, n);
}

static void disk_release(struct disk *d)
{
    for (size_t i = 0; i < d->n; i++) {
        free(d->items[i].path);
        buf_release(&d->items[i].bytes);
    }
    free(d->items);
    *d = (struct disk){0};
}

static void disk_copy(struct disk *to, const struct disk *from)
{
    for (size_t i = 0; i < from->n; i++) {
        struct entry *e = find_or_add(to, from->items[i].path);

        e->named = from->items[i].named;
        e->dir = from->items[i].dir;
        set_bytes(e, from->items[i].bytes.data, from->items[i].bytes.len);
    }
}

static void read_dir(struct disk *d, const char *path, const char *name)
{
    const struct dirent *e;
    DIR *dir = opendir(path);

    assert_non_null(dir);
    while ((e = readdir(dir))) {
        char *inner = fileio_join(path, e->d_name);
        char *inner_name = *name ? fileio_join(name, e->d_name)
                                 : xstrdup(e->d_name);

        if (e->d_name[0] != '.' && strcmp(e->d_name, "mnemed.pid") != 0 &&
            !strstr(e->d_name, "-shm")) {
            struct entry *entry = find_or_add(d, inner_name);

            entry->named = true;
            entry->dir = is_dir(inner);
            if (entry->dir)
                read_dir(d, inner, inner_name);
            else
                read_into(inner, &entry->bytes);
        }
        free(inner_name);
        free(inner);
    }
    closedir(dir);
}

static void put_bytes(struct entry *e, int64_t at, const char *bytes, size_t n)
{
    size_t end = (size_t)at + n;

    while (e->bytes.len < end)
        buf_add(&e->bytes, "", 1); /* a hole */
    if (n)
        memcpy(e->bytes.data + at, bytes, n);
}

/* What is in it goes with a directory, under one name or both. */
static void rename_dir(struct disk *d, const struct op *o, bool keeps)
{
    size_t n = strlen(o->from), count = d->n;

    find_or_add(d, o->path)->named = true;
    find(d, o->path)->dir = true;
    for (size_t i = 0; i < count; i++) {
        struct entry *to;
        char *path;

        if (strncmp(d->items[i].path, o->from, n) != 0 ||
            d->items[i].path[n] != '/')
            continue;
        path = xasprintf("%s%s", o->path, d->items[i].path + n);
        to = find_or_add(d, path);
        to->named = d->items[i].named;
        set_bytes(to, d->items[i].bytes.data, d->items[i].bytes.len);
        free(path);
    }
    if (!keeps && find(d, o->from))
        find(d, o->from)->named = false;
}

/* How much of an operation is there: 0 nothing, 1 half, 2 all. */
static void apply(struct disk *d, const struct op *o, int share)
{
    struct entry *e;

    if (o->kind == SYNC_FILE || o->kind == SYNC_DIR)
        return;
    if (o->kind == WRITE) {
        /* The name may be missing: the bytes are nobody's then. */
        e = find_or_add(d, o->path);
        if (share)
            put_bytes(e, o->at, o->bytes,
                      share == 2 ? o->n_bytes : o->n_bytes / 2);
        return;
    }
    if (share == 0)
        return;
    e = o->kind == RENAME_DIR ? NULL : find_or_add(d, o->path);
    switch (o->kind) {
    case RENAME_DIR:
        rename_dir(d, o, share == 1);
        break;
    case MAKE_FILE:
    case MAKE_DIR:
        e->named = true;
        e->dir = o->kind == MAKE_DIR;
        break;
    case LINK_FILE:
        e->named = true;
        set_bytes(e, o->bytes, o->n_bytes);
        break;
    case REMOVE:
        e->named = false;
        break;
    default: /* TRUNCATE */
        if ((size_t)o->at < e->bytes.len)
            e->bytes.len = (size_t)o->at;
    }
}

static bool has_named_parents(struct disk *d, const char *path)
{
    char *parent = xstrdup(path);
    char *slash;
    bool named = true;

    while (named && (slash = strrchr(parent, '/'))) {
        const struct entry *e;

        *slash = '\0';
        e = find(d, parent);
        named = e && e->named;
    }
    free(parent);
    return named;
}

static void remove_all(const char *path)
{
    char *command = xasprintf("rm -rf '%s'", path);

    assert_int_equal(system(command), 0);
    free(command);
}

static void remove_built(void)
{
    char *versions = fileio_join(after, "versions");
    const struct dirent *e;
    DIR *dir = opendir(versions);

    while (dir && (e = readdir(dir))) {
        char *path = fileio_join(versions, e->d_name);

        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            fileio_remove_dir(path, NULL);
        free(path);
    }
    if (dir)
        closedir(dir);
    fileio_remove_dir(versions, NULL);
    fileio_remove_dir(after, NULL);
    free(versions);
}

static void build(struct disk *d)
{
    remove_built();
    assert_int_equal(fileio_mkdirs(after, NULL), 0);
    for (int dirs = 1; dirs >= 0; dirs--) {
        for (size_t i = 0; i < d->n; i++) {
            const struct entry *e = &d->items[i];
            char *path = fileio_join(after, e->path);

            if (e->dir == dirs && e->named && has_named_parents(d, e->path)) {
                if (e->dir)
                    assert_int_equal(fileio_mkdirs(path, NULL), 0);
                else
                    assert_int_equal(
                        fileio_write_sync(path, e->bytes.len ? e->bytes.data
                                                             : "",
                                          e->bytes.len, NULL),
                        0);
            }
            free(path);
        }
    }
}

/* --- what is certain ---------------------------------------------------- */

static bool is_parent(const char *dir, const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;

    return strlen(dir) == n && strncmp(dir, path, n) == 0;
}

/* Is operation i there for certain when it ends before operation k? */
static bool is_certain(size_t i, size_t k)
{
    bool data = ops[i].kind == WRITE || ops[i].kind == TRUNCATE;

    for (size_t j = i + 1; j < k; j++) {
        if (data && ops[j].kind == SYNC_FILE &&
            strcmp(ops[j].path, ops[i].path) == 0)
            return true;
        if (!data && ops[j].kind == SYNC_DIR &&
            is_parent(ops[j].path, ops[i].path))
            return true;
    }
    return false;
}

/* --- what is allowed ---------------------------------------------------- */

struct allowed {
    size_t at; /* operations before it was so for certain */
    char *says;
};

static struct allowed allowed[16];
static size_t n_allowed;

static char *describe(struct store *s)
{
    struct buf text = BUF_INIT;
    sqlite3_stmt *q;

    buf_addf(&text, "head %d serving %d", (int)util_head(s),
             (int)util_number(s, "SELECT serving FROM pointers"));
    assert_int_equal(
        sqlite3_prepare_v2(db_handle(s->db),
                           "SELECT version, state FROM versions", -1, &q, NULL),
        SQLITE_OK);
    while (sqlite3_step(q) == SQLITE_ROW)
        buf_addf(&text, " %d %s", sqlite3_column_int(q, 0),
                 (const char *)sqlite3_column_text(q, 1));
    sqlite3_finalize(q);
    return text.data;
}

static void note(struct store *s)
{
    bool was = recording;

    recording = false;
    allowed[n_allowed++] = (struct allowed){n_ops, describe(s)};
    recording = was;
}

static void check_built(size_t k, const char *how)
{
    struct store *s = NULL;
    struct err err = ERR_INIT;
    int64_t head, n;
    size_t last = 0;
    char *says;

    while (last + 1 < n_allowed && allowed[last + 1].at <= k)
        last++;
    if (store_open(after, NULL, 0, &s, &err) != 0)
        fail_msg("after %zu, %s: %s", k, how, err.msg);
    says = describe(s);
    store_close(s);
    if (strcmp(says, allowed[last].says) != 0 &&
        (last + 1 == n_allowed || strcmp(says, allowed[last + 1].says) != 0))
        fail_msg("after %zu, %s: %s, not %s", k, how, says,
                 allowed[last].says);
    free(says);
    util_check_whole(after, &head, &n);
}

/* --- the story ---------------------------------------------------------- */

static void publish_from(struct store *s, int64_t parent, int64_t seed)
{
    struct util_version v;
    int64_t version;

    util_version_init(&v, parent, seed);
    if (seed % 2 == 0)
        v.p.anchor = NULL; /* the parent's, linked */
    assert_int_equal(store_publish(s, &v.p, &version, NULL), 0);
    util_version_release(&v);
    note(s);
}

static void tell(void)
{
    const struct store_rollback r = {.to = 3, .mode = "skip", .reason = ""};
    const struct store_keep keep = {2, 0, 0, 0};
    struct store *s = NULL;
    int removed;

    recording = true;
    assert_int_equal(store_open(live, NULL, 0, &s, NULL), 0);
    note(s);
    publish_from(s, 3, 4);
    assert_int_equal(
        store_verdict(s, 4, STORE_PASSED, "{}", "{}", NULL, 0, true, "", NULL),
        0);
    note(s);
    assert_int_equal(store_prune(s, &keep, 0, NULL, NULL, &removed, NULL), 0);
    note(s);
    assert_int_equal(store_rollback(s, &r, NULL), 0);
    note(s);
    publish_from(s, 3, 5);
    store_close(s); /* the log goes into the database */
    recording = false;
}

static void record(void)
{
    struct store *s = NULL;

    assert_int_equal(store_open(live, NULL, 0, &s, NULL), 0);
    for (int64_t i = 1; i <= 3; i++)
        util_pass(s, i, true);
    store_close(s);
    read_dir(&base, live, "");
    fileio_fault = on_file;
    fault_vfs_watch = on_sqlite;
    tell();
    fileio_fault = NULL;
    fault_vfs_watch = NULL;
}

/* --- the test ----------------------------------------------------------- */

enum choice { NOTHING, ALL, ONE, ALL_BUT_ONE, ANY };

static const char *const choice_names[] = {"nothing unsynced", "everything",
                                           "one thing", "all but one",
                                           "any of it"};

struct draws {
    uint64_t seed, step, i;
};

static uint64_t draw(struct draws *d, uint64_t n)
{
    return rng_below(n, d->seed, RNG_INIT, d->step, d->i++);
}

/* Builds and checks one directory. Draws come from (k, try). */
static void try_one(size_t k, enum choice choice, uint64_t try)
{
    struct draws draws = {try, k, 0};
    struct disk d = {0};
    size_t unsure = 0, chosen;

    for (size_t i = 0; i < k; i++)
        unsure += !is_certain(i, k);
    chosen = unsure ? draw(&draws, unsure) : 0;
    disk_copy(&d, &base);
    unsure = 0;
    for (size_t i = 0; i < k; i++) {
        bool this;

        if (is_certain(i, k)) {
            apply(&d, &ops[i], 2);
            continue;
        }
        this = unsure++ == chosen;
        apply(&d, &ops[i],
              choice == NOTHING       ? 0
              : choice == ALL         ? 2
              : choice == ONE         ? (this ? 1 + (int)draw(&draws, 2) : 0)
              : choice == ALL_BUT_ONE ? (this ? (int)draw(&draws, 2) : 2)
                                      : (int)draw(&draws, 3));
    }
    build(&d);
    check_built(k, choice_names[choice]);
    disk_release(&d);
}

static void test_crash(void **state)
{
    size_t stride = getenv("SOAK") ? 1 : 7;
    uint64_t tries = getenv("SOAK") ? 12 : 1;
    size_t n = 0;

    (void)state;
    record();
    for (size_t k = 0; k <= n_ops; k += stride) {
        for (int choice = NOTHING; choice <= ANY; choice++) {
            for (uint64_t try = 0; try < (choice < ONE ? 1 : tries); try++) {
                try_one(k, (enum choice)choice, try);
                n++;
            }
        }
    }
    printf("# %zu operations, %zu states of the disk\n", n_ops, n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_crash)};
    const char *tmp = getenv("TMPDIR");
    int failed;

    top = xasprintf("%s/mneme-crash-XXXXXX",
                    access("/dev/shm", W_OK) == 0 ? "/dev/shm"
                    : tmp                         ? tmp
                                                  : "/tmp");
    if (!mkdtemp(top))
        return 1;
    live = fileio_join(top, "live");
    after = fileio_join(top, "after");
    fault_vfs_install();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (size_t i = 0; i < n_ops; i++) {
        free(ops[i].path);
        free(ops[i].from);
        free(ops[i].bytes);
    }
    for (size_t i = 0; i < n_allowed; i++)
        free(allowed[i].says);
    free(ops);
    disk_release(&base);
    remove_all(top);
    free(after);
    free(live);
    free(top);
    return failed;
}
