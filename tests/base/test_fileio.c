/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fileio.h: reading, atomic writes when anything fails, folders, locks.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/checksum.h"
#include "base/fileio.h"
#include "base/xalloc.h"
#include "tests/util/base_util.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void test_fileio_read(void **state)
{
    char *path = fileio_join(*state, "file");
    struct buf b = BUF_INIT;
    struct err e = ERR_INIT;

    assert_int_equal(fileio_read(path, 10, &b, &e), ERR_NOTFOUND);
    assert_int_equal(fileio_write_sync(path, "0123456789", 10, &e), 0);
    assert_int_equal(fileio_read(path, 9, &b, &e), ERR_LIMIT);
    assert_non_null(strstr(e.msg, path));
    assert_int_equal(b.len, 0);
    buf_adds(&b, "before ");
    assert_int_equal(fileio_read(path, 10, &b, &e), 0);
    assert_string_equal(b.data, "before 0123456789");
    assert_int_equal(fileio_read(path, 9, &b, &e), ERR_LIMIT);
    assert_string_equal(b.data, "before 0123456789");
    assert_int_equal(fileio_read(path, SIZE_MAX, &b, &e), 0);
    assert_int_equal(b.len, 27);
    assert_int_equal(fileio_read(*state, 10, &b, &e), ERR_IO);
    assert_int_equal(b.len, 27);

    assert_int_equal(fileio_write_sync(path, "", 0, &e), 0);
    buf_clear(&b);
    assert_int_equal(fileio_read(path, 0, &b, &e), 0);
    assert_int_equal(b.len, 0);
    buf_release(&b);
    free(path);
}

/* Files that say they are empty and are not, and one without an end. */
static void test_fileio_read_without_size(void **state)
{
    struct buf b = BUF_INIT;
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(fileio_read("/proc/self/maps", 1 << 24, &b, &e), 0);
    assert_true(b.len > 100);
    assert_int_equal(b.data[b.len], '\0');
    buf_clear(&b);
    assert_int_equal(fileio_read("/dev/zero", 100000, &b, &e), ERR_LIMIT);
    assert_int_equal(b.len, 0);
    assert_int_equal(fileio_read("/dev/null", 0, &b, &e), 0);
    assert_int_equal(fileio_read("/dev/null/x", 0, &b, &e), ERR_NOTFOUND);
    buf_release(&b);
}

/* A named pipe without a writer is refused, and does not block. */
static void test_fileio_read_pipe(void **state)
{
    char *path = fileio_join(*state, "pipe");
    char hex[SHA256_HEX], name[32];
    struct buf b = BUF_INIT;
    struct err e = ERR_INIT;
    int fds[2];

    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(fileio_read(path, 100, &b, &e), ERR_IO);
    assert_non_null(strstr(e.msg, path));
    checksum_sha256_file(path, hex, NULL); /* returns */
    /* A pipe without a name is read. */
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(write(fds[1], "said", 4), 4);
    close(fds[1]);
    snprintf(name, sizeof name, "/dev/fd/%d", fds[0]);
    assert_int_equal(fileio_read(name, 100, &b, &e), 0);
    assert_string_equal(b.data, "said");
    close(fds[0]);
    unlink(path);
    buf_release(&b);
    free(path);
}

/* Reading from a terminal waits for the user to type. */
static void test_fileio_read_terminal(void **state)
{
    struct buf b = BUF_INIT;
    struct err e = ERR_INIT;
    int master = posix_openpt(O_RDWR | O_NOCTTY), rc, status;
    pid_t pid;

    (void)state;
    assert_true(master >= 0);
    assert_int_equal(grantpt(master), 0);
    assert_int_equal(unlockpt(master), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        usleep(100000);
        _exit(write(master, "typed\n\004", 7) == 7 ? 0 : 1);
    }
    rc = fileio_read(ptsname(master), 100, &b, &e);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    if (rc)
        fail_msg("%s", e.msg);
    assert_string_equal(b.data, "typed\n");
    close(master);
    buf_release(&b);
}

static void test_fileio_write_atomic(void **state)
{
    char *path = fileio_join(*state, "file");
    char *temporary = fileio_join(*state, "file.tmp");
    char *nowhere = fileio_join(*state, "no/file");
    char *victim = fileio_join(*state, "victim");
    struct err e = ERR_INIT;

    assert_int_equal(fileio_write_atomic(path, "old", 3, &e), 0);
    base_assert_content(path, "old");
    assert_int_equal(fileio_write_atomic(path, "newer", 5, &e), 0);
    base_assert_content(path, "newer");
    assert_false(fileio_exists(temporary));
    /* What a crash left behind is in nobody's way. */
    assert_int_equal(fileio_write_sync(temporary, "half of", 7, &e), 0);
    assert_int_equal(fileio_write_atomic(path, "x", 1, &e), 0);
    base_assert_content(path, "x");
    assert_false(fileio_exists(temporary));
    /* A link is deleted, not followed; a pipe without a reader is not opened,
     * for that would wait for ever. */
    assert_int_equal(fileio_write_sync(victim, "as it was", 9, &e), 0);
    assert_int_equal(symlink(victim, temporary), 0);
    assert_int_equal(fileio_write_atomic(path, "y", 1, &e), 0);
    base_assert_content(path, "y");
    base_assert_content(victim, "as it was");
    assert_int_equal(mkfifo(temporary, 0600), 0);
    assert_int_equal(fileio_write_atomic(path, "z", 1, &e), 0);
    base_assert_content(path, "z");
    assert_int_equal(fileio_write_atomic(nowhere, "x", 1, &e), ERR_IO);
    assert_int_equal(e.code, ERR_IO);
    free(victim);
    free(path);
    free(temporary);
    free(nowhere);
}

/* A file name alone is in the directory where we are. */
static void test_fileio_write_atomic_here(void **state)
{
    int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    assert_true(here >= 0);
    assert_int_equal(chdir(*state), 0);
    assert_int_equal(fileio_write_atomic("plain", "x", 1, NULL), 0);
    base_assert_content("plain", "x");
    assert_int_equal(fchdir(here), 0);
    close(here);
}

static struct {
    const char *operation;
    int nth; /* fails when it comes down to 0 */
    int errnum;
    int n_asked;
} fault;

static int fail_nth(const char *operation, const char *path)
{
    assert_non_null(path);
    if (strcmp(operation, fault.operation))
        return 0;
    fault.n_asked++;
    return --fault.nth == 0 ? fault.errnum : 0;
}

static void set_fault(const char *operation, int nth, int errnum)
{
    fault.operation = operation;
    fault.nth = nth;
    fault.errnum = errnum;
    fault.n_asked = 0;
    fileio_fault = fail_nth;
}

static void test_fileio_write_atomic_fails_whole(void **state)
{
    static const char *const operations[] = {"open", "write", "fsync",
                                             "rename"};
    char *path = fileio_join(*state, "file");
    char *temporary = fileio_join(*state, "file.tmp");

    assert_int_equal(fileio_write_atomic(path, "old", 3, NULL), 0);
    for (size_t i = 0; i < COUNT(operations); i++) {
        struct err e = ERR_INIT;

        set_fault(operations[i], 1, EIO);
        assert_int_equal(fileio_write_atomic(path, "new", 3, &e), ERR_IO);
        assert_int_equal(fault.n_asked, 1); /* never tried again */
        assert_non_null(strstr(e.msg, "file"));
        assert_non_null(strstr(e.msg, "Input/output error"));
        set_fault(operations[i], 1, ENOSPC);
        assert_int_equal(fileio_write_atomic(path, "new", 3, &e), ERR_FULL);
        fileio_fault = NULL;
        base_assert_content(path, "old");
        assert_false(fileio_exists(temporary));
    }
    free(path);
    free(temporary);
}

/* After the rename the new file is there, but nobody may count on it. */
static void test_fileio_write_atomic_directory_fails(void **state)
{
    char *path = fileio_join(*state, "file");
    struct err e = ERR_INIT;

    assert_int_equal(fileio_write_atomic(path, "old", 3, NULL), 0);
    set_fault("fsync", 2, EIO);
    assert_int_equal(fileio_write_atomic(path, "new", 3, &e), ERR_IO);
    set_fault("open", 2, EIO);
    assert_int_equal(fileio_write_atomic(path, "new", 3, &e), ERR_IO);
    fileio_fault = NULL;
    base_assert_content(path, "new");
    free(path);
}

static void test_fileio_faults_elsewhere(void **state)
{
    char *path = fileio_join(*state, "file");
    char *other = fileio_join(*state, "other");
    struct buf b = BUF_INIT;
    int fd = -1;

    assert_int_equal(fileio_write_sync(path, "x", 1, NULL), 0);
    set_fault("open", 1, EMFILE); /* there may be room again later */
    assert_int_equal(fileio_read(path, 9, &b, NULL), ERR_FULL);
    set_fault("open", 1, EACCES);
    assert_int_equal(fileio_sync_dir(*state, NULL), ERR_IO);
    set_fault("open", 1, EACCES);
    assert_int_equal(fileio_lock(other, &fd, NULL), ERR_IO);
    set_fault("write", 1, ENOSPC);
    assert_int_equal(fileio_lock(other, &fd, NULL), ERR_FULL);
    set_fault("write", 1, EINTR); /* asked again, and then it works */
    assert_int_equal(fileio_write_sync(path, "y", 1, NULL), 0);
    set_fault("rename", 1, EXDEV);
    assert_int_equal(fileio_rename(path, other, NULL), ERR_IO);
    fileio_fault = NULL;
    base_assert_content(path, "y");
    assert_int_equal(fileio_rename(path, other, NULL), 0);
    assert_int_equal(fileio_rename(path, other, NULL), ERR_IO);
    assert_false(fileio_exists(path));
    assert_true(fileio_exists(other));
    buf_release(&b);
    free(path);
    free(other);
}

static void test_fileio_write_all_error(void **state)
{
    struct err e = ERR_INIT;
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(fileio_write_all(fd, "", 0, "/dev/full", &e), 0);
    assert_int_equal(fileio_write_all(fd, "x", 1, "/dev/full", &e), ERR_FULL);
    close(fd);
    assert_int_equal(fileio_write_all(fd, "x", 1, "closed", &e), ERR_IO);
    assert_int_equal(fileio_fsync(fd, "closed", &e), ERR_IO);
}

static void test_fileio_mkdirs(void **state)
{
    char *top = fileio_join(*state, "a");
    char *deep = fileio_join(*state, "a//b/c/");
    char *file = fileio_join(*state, "file");
    char *under = fileio_join(file, "x");
    char *middle = fileio_join(*state, "a/b");
    char *last = fileio_join(*state, "a/b/c");
    struct stat st;
    struct err e = ERR_INIT;

    assert_int_equal(fileio_mkdirs(deep, &e), 0);
    assert_int_equal(fileio_mkdirs(deep, &e), 0);
    assert_int_equal(stat(deep, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(fileio_mkdirs("/", &e), 0);
    assert_int_equal(fileio_write_sync(file, "", 0, &e), 0);
    assert_int_equal(fileio_mkdirs(file, &e), ERR_IO);
    assert_int_equal(fileio_mkdirs(under, &e), ERR_IO);
    assert_int_equal(fileio_remove_dir(last, &e), 0);
    assert_int_equal(fileio_remove_dir(middle, &e), 0);
    assert_int_equal(fileio_remove_dir(top, &e), 0);
    free(top);
    free(deep);
    free(file);
    free(under);
    free(middle);
    free(last);
}

static void test_fileio_remove_dir(void **state)
{
    char *dir = fileio_join(*state, "d");
    char *file = fileio_join(dir, "file");
    char *sub = fileio_join(dir, "sub");
    struct err e = ERR_INIT;

    assert_int_equal(fileio_remove_dir(dir, &e), 0); /* not there */
    assert_int_equal(fileio_mkdirs(sub, &e), 0);
    assert_int_equal(fileio_write_sync(file, "x", 1, &e), 0);
    assert_int_equal(fileio_remove_dir(dir, &e), ERR_IO); /* one level */
    assert_int_equal(fileio_remove_dir(sub, &e), 0);
    assert_int_equal(fileio_write_sync(file, "x", 1, &e), 0);
    assert_int_equal(symlink("/", sub), 0); /* goes, not what it names */
    assert_int_equal(fileio_remove_dir(sub, &e), ERR_NOTFOUND);
    assert_int_equal(fileio_remove_dir(file, &e), ERR_NOTFOUND);
    assert_int_equal(fileio_remove_dir(dir, &e), 0);
    assert_false(fileio_exists(dir));
    free(dir);
    free(file);
    free(sub);
}

static void test_fileio_empty_dir(void **state)
{
    char *dir = fileio_join(*state, "d");
    char *file = fileio_join(dir, "file");
    char *other = fileio_join(*state, "link");
    struct stat before, after;
    struct err e = ERR_INIT;

    assert_int_equal(fileio_empty_dir(dir, &e), ERR_IO); /* not there */
    assert_int_equal(fileio_mkdirs(dir, &e), 0);
    assert_int_equal(fileio_write_sync(file, "x", 1, &e), 0);
    assert_int_equal(symlink("d", other), 0);
    assert_int_equal(stat(dir, &before), 0);
    assert_int_equal(fileio_empty_dir(other, &e), 0);
    assert_false(fileio_has_entries(dir));
    assert_int_equal(stat(dir, &after), 0); /* the same directory */
    assert_int_equal(before.st_ino, after.st_ino);
    assert_true(fileio_exists(other));
    assert_int_equal(unlink(other), 0);
    assert_int_equal(fileio_remove_dir(dir, &e), 0);
    free(dir);
    free(file);
    free(other);
}

static void test_fileio_join(void **state)
{
    static const char *const known[][3] = {{"a", "b", "a/b"},
                                           {"a/", "b", "a/b"},
                                           {"/", "b", "/b"},
                                           {"a", "b/c", "a/b/c"}};

    (void)state;
    for (size_t i = 0; i < COUNT(known); i++) {
        char *joined = fileio_join(known[i][0], known[i][1]);

        assert_string_equal(joined, known[i][2]);
        free(joined);
    }
}

/* Tries to lock path in another process. Returns 0 when it could, 1 when it
 * was refused and told that process `holder` has it, 2 otherwise. */
static int lock_elsewhere(const char *path, pid_t holder)
{
    struct err e = ERR_INIT;
    char expected[64];
    int fd, status = -1;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        snprintf(expected, sizeof expected, "by process %ld", (long)holder);
        switch (fileio_lock(path, &fd, &e)) {
        case ERR_OK:
            _exit(0);
        case ERR_STATE:
            _exit(strstr(e.msg, expected) ? 1 : 2);
        default:
            _exit(2);
        }
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}

static void test_fileio_lock(void **state)
{
    char *path = fileio_join(*state, "lock");
    char *mine = xasprintf("%ld\n", (long)getpid());
    struct err e = ERR_INIT;
    int first = -1, second = -1;

    /* A pid longer than ours, of a process that is gone. */
    assert_int_equal(fileio_write_sync(path, "123456789012\n", 13, &e), 0);
    assert_int_equal(fileio_lock(path, &first, &e), 0);
    base_assert_content(path, mine);
    assert_int_equal(lock_elsewhere(path, getpid()), 1);
    assert_int_equal(fileio_lock(path, &second, &e), ERR_STATE);
    assert_int_equal(second, -1);
    base_assert_content(path, mine);
    close(first);
    assert_int_equal(lock_elsewhere(path, getpid()), 0);
    /* That process ended without unlocking. */
    assert_int_equal(fileio_lock(path, &first, &e), 0);
    close(first);
    free(path);
    free(mine);
}

/* The holder deletes the file between our open and our lock: a lock on the
 * deleted one would keep nobody out. */
static void test_fileio_unlock_delete(void **state)
{
    char *path = fileio_join(*state, "lock");
    struct err e = ERR_INIT;
    int first = -1, second = -1, third = -1;
    pid_t pid;
    int status;

    assert_int_equal(fileio_lock(path, &first, &e), 0);
    fileio_unlock_delete(first, path);
    assert_false(fileio_exists(path));
    for (int i = 0; i < 200; i++) {
        assert_int_equal(fileio_lock(path, &first, &e), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            int rc;

            close(first);
            do
                rc = fileio_lock(path, &second, NULL);
            while (rc == ERR_STATE);
            _exit(rc == 0 && fileio_lock(path, &third, NULL) == ERR_STATE &&
                          fileio_exists(path)
                      ? 0
                      : 1);
        }
        fileio_unlock_delete(first, path);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
    }
    free(path);
}

static void test_fileio_lock_without_pid(void **state)
{
    char *path = fileio_join(*state, "lock");
    struct err e = ERR_INIT;
    int first = -1, second = -1;

    assert_int_equal(fileio_lock(path, &first, &e), 0);
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(fileio_lock(path, &second, &e), ERR_STATE);
    assert_non_null(strstr(e.msg, "by another process"));
    close(first);
    free(path);
}

static mode_t mode_of(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

/* Files and directories are private whatever the umask, also a file that was
 * there and open to all. */
static void test_fileio_private(void **state)
{
    static const mode_t masks[] = {0, 022, 0377};
    char *file = fileio_join(*state, "file");
    char *lock = fileio_join(*state, "lock");
    char *dir = fileio_join(*state, "dir");

    for (size_t i = 0; i < COUNT(masks); i++) {
        mode_t mask = umask(masks[i]);
        int fd = -1;

        assert_int_equal(fileio_write_atomic(file, "x", 1, NULL), 0);
        assert_int_equal(mode_of(file), 0600);
        assert_int_equal(unlink(file), 0);
        assert_int_equal(fileio_create(file, &fd, NULL), 0);
        assert_int_equal(close(fd), 0);
        assert_int_equal(mode_of(file), 0600);
        assert_int_equal(chmod(file, 0666), 0);
        assert_int_equal(fileio_write_sync(file, "x", 1, NULL), 0);
        assert_int_equal(mode_of(file), 0600);
        assert_int_equal(chmod(file, 0644), 0);
        fileio_make_file_private(file);
        assert_int_equal(mode_of(file), 0600);
        assert_int_equal(unlink(file), 0);
        assert_int_equal(fileio_lock(lock, &fd, NULL), 0);
        close(fd);
        assert_int_equal(mode_of(lock), 0600);
        assert_int_equal(unlink(lock), 0);
        assert_int_equal(fileio_mkdir(dir, NULL), 0);
        assert_int_equal(mode_of(dir), 0700);
        assert_int_equal(fileio_mkdir(dir, NULL), ERR_IO);
        assert_int_equal(rmdir(dir), 0);
        umask(mask);
    }
    free(dir);
    free(lock);
    free(file);
}

static void test_fileio_make_private(void **state)
{
    char *dir = fileio_join(*state, "dir");
    char *mark = fileio_join(dir, "mark");
    char *other = fileio_join(dir, "other");

    assert_int_equal(fileio_make_private(dir, "mark"), FILEIO_OPEN);
    assert_int_equal(fileio_mkdir(dir, NULL), 0);
    assert_int_equal(fileio_make_private(dir, "mark"), FILEIO_PRIVATE);
    assert_int_equal(chmod(dir, 0755), 0); /* empty */
    assert_int_equal(fileio_make_private(dir, "mark"), FILEIO_TIGHTENED);
    assert_int_equal(mode_of(dir), 0700);
    assert_false(fileio_has_entries(dir));
    assert_int_equal(fileio_write_sync(other, "x", 1, NULL), 0);
    assert_true(fileio_has_entries(dir));
    assert_int_equal(chmod(dir, 0755), 0); /* of other things */
    assert_int_equal(fileio_make_private(dir, "mark"), FILEIO_OPEN);
    assert_int_equal(mode_of(dir), 0755);
    assert_int_equal(fileio_write_sync(mark, "x", 1, NULL), 0);
    assert_int_equal(fileio_make_private(dir, "mark"), FILEIO_TIGHTENED);
    assert_int_equal(chmod(dir, 01777), 0); /* as /tmp */
    assert_int_equal(fileio_make_private(dir, "mark"), FILEIO_OPEN);
    assert_int_equal(mode_of(dir), 01777);
    assert_int_equal(fileio_remove_dir(dir, NULL), 0);
    free(other);
    free(mark);
    free(dir);
}

int main(void)
{
#define T(f)                                                                   \
    cmocka_unit_test_setup_teardown(f, base_make_temp, base_remove_temp)
    const struct CMUnitTest tests[] = {
        T(test_fileio_read),
        T(test_fileio_unlock_delete),
        cmocka_unit_test(test_fileio_read_without_size),
        T(test_fileio_read_pipe),
        cmocka_unit_test(test_fileio_read_terminal),
        T(test_fileio_write_atomic),
        T(test_fileio_write_atomic_here),
        T(test_fileio_write_atomic_fails_whole),
        T(test_fileio_write_atomic_directory_fails),
        T(test_fileio_faults_elsewhere),
        cmocka_unit_test(test_fileio_write_all_error),
        T(test_fileio_mkdirs),
        T(test_fileio_remove_dir),
        T(test_fileio_empty_dir),
        T(test_fileio_private),
        T(test_fileio_make_private),
        cmocka_unit_test(test_fileio_join),
        T(test_fileio_lock),
        T(test_fileio_lock_without_pid),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
