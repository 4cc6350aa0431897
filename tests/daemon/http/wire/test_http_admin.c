/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The admin socket: who may make and use it. tests/flows/flow_admin.py has real
 * clients.
 */
#include "config.h"

#include <errno.h>
#include <grp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fileio.h"
#include "base/xalloc.h"
#include "daemon/http/wire/http_listen.h"
#include "tests/util/base_util.h"
#include "tests/util/store_util.h"

#define NOBODY 65534
#define GROUP 4321 /* a number that no group of a test machine has */

static char *path;
static struct conf *conf;

static int open_all(void **state)
{
    if (util_make_temp(state) != 0)
        return -1;
    chmod(*state, 0755); /* other users reach the socket */
    path = fileio_join(*state, "admin.sock");
    conf = conf_create();
    conf->http.admin_socket = xstrdup(path);
    return 0;
}

static int close_all(void **state)
{
    conf_free(conf);
    free(path);
    return util_remove_temp(state);
}

static int dial(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    if (connect(fd, (const struct sockaddr *)&a, sizeof a) == 0)
        return fd;
    close(fd);
    return -1;
}

static mode_t mode_of(void)
{
    struct stat st;

    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    return st.st_mode & 07777;
}

/* --- making it ---------------------------------------------------------- */

static void test_stale(void **state)
{
    struct err err = ERR_INIT;
    gid_t group = 0;
    int fd, again;

    (void)state;
    assert_int_equal(http_listen_admin(&conf->http, &fd, &group, NULL), 0);
    assert_int_equal(mode_of(), 0600);
    assert_true(group == (gid_t)-1);
    /* A socket where somebody listens stays. */
    assert_int_equal(http_listen_admin(&conf->http, &again, &group, &err),
                     ERR_IO);
    assert_non_null(strstr(err.msg, "http.admin_socket: "));
    assert_non_null(strstr(err.msg, "taken by another process"));
    assert_int_equal(again, -1);
    again = dial();
    assert_true(again >= 0);
    close(again);
    /* What a killed daemon leaves is replaced. */
    close(fd);
    assert_int_equal(mode_of(), 0600);
    assert_int_equal(http_listen_admin(&conf->http, &fd, &group, NULL), 0);
    close(fd);
    unlink(path);
    /* Any other file stays. */
    assert_int_equal(fileio_write_atomic(path, "text", 4, NULL), 0);
    assert_int_equal(http_listen_admin(&conf->http, &fd, &group, &err), ERR_IO);
    assert_non_null(strstr(err.msg, "is not a socket"));
    assert_true(fileio_exists(path));
    unlink(path);
}

/* A socket whose queue is full answers nobody, but somebody listens. */
static void test_full(void **state)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0), other, waiting;
    struct err err = ERR_INIT;
    gid_t group;

    (void)state;
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    assert_int_equal(bind(fd, (const struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 0), 0);
    waiting = dial();
    assert_true(waiting >= 0);
    assert_int_equal(http_listen_admin(&conf->http, &other, &group, &err),
                     ERR_IO);
    assert_non_null(strstr(err.msg, "taken by another process"));
    assert_int_equal(mode_of() & 0200, 0200);
    close(waiting);
    close(fd);
    unlink(path);
}

/* An error that does not tell whether somebody listens is named. */
static void test_other_socket(void **state)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0), other;
    struct err err = ERR_INIT;
    gid_t group;

    (void)state;
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    assert_int_equal(bind(fd, (const struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(http_listen_admin(&conf->http, &other, &group, &err),
                     ERR_IO);
    assert_non_null(strstr(err.msg, strerror(EPROTOTYPE)));
    assert_null(strstr(err.msg, "taken"));
    assert_true(fileio_exists(path));
    close(fd);
    unlink(path);
}

static void test_group(void **state)
{
    gid_t own = getegid(), group = 0;
    struct group *entry = getgrgid(own);
    struct err err = ERR_INIT;
    int fd;

    (void)state;
    conf->http.admin_group = xstrdup("no-such-group");
    assert_int_equal(http_listen_admin(&conf->http, &fd, &group, &err), ERR_IO);
    assert_non_null(strstr(err.msg, "http.admin_group: no group"));
    assert_false(fileio_exists(path));
    free(conf->http.admin_group);
    conf->http.admin_group = NULL;
    if (!entry)
        return;
    conf->http.admin_group = xstrdup(entry->gr_name);
    assert_int_equal(http_listen_admin(&conf->http, &fd, &group, NULL), 0);
    assert_int_equal(group, own);
    assert_int_equal(mode_of(), 0660);
    close(fd);
    unlink(path);
    free(conf->http.admin_group);
    conf->http.admin_group = NULL;
}

/* --- using it ----------------------------------------------------------- */

/* What the server thinks of a client of a user and its groups; 0: this user. */
static bool trusts(int listen_fd, uid_t uid, gid_t gid, gid_t other,
                   gid_t trusted)
{
    pid_t child = fork();
    int fd, status;
    bool yes;

    if (child == 0) {
        char byte;

        if (uid && (setgroups(1, &other) || setgid(gid) || setuid(uid)))
            _exit(1);
        fd = dial();
        _exit(fd < 0 || read(fd, &byte, 1) != 0);
    }
    fd = accept(listen_fd, NULL, NULL);
    yes = http_listen_trusts(fd, trusted);
    close(fd);
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    return yes;
}

static void test_peers(void **state)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    gid_t none = (gid_t)-1;

    (void)state;
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    assert_int_equal(bind(fd, (const struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 4), 0);
    /* As if somebody had opened it to all: the credentials still count. */
    chmod(path, 0777);
    assert_true(trusts(fd, 0, 0, 0, none));
    if (geteuid() == 0) {
        assert_false(trusts(fd, NOBODY, NOBODY, NOBODY, none));
        assert_false(trusts(fd, NOBODY, NOBODY, NOBODY, GROUP));
        assert_true(trusts(fd, NOBODY, GROUP, NOBODY, GROUP));
        assert_true(trusts(fd, NOBODY, NOBODY, GROUP, GROUP));
        assert_false(trusts(fd, NOBODY, 0, 0, none));
    }
    close(fd);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stale),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_other_socket),
        cmocka_unit_test(test_group),
        cmocka_unit_test(test_peers),
    };

    return cmocka_run_group_tests(tests, open_all, close_all);
}
