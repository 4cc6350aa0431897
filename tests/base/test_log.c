/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h: lines as text and as JSON, levels, one write a line.
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
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/timing.h"
#include "tests/util/base_util.h"

#define FFFD "\xef\xbf\xbd"

static int real_stderr = -1;
static int log_pipe[2];

static void capture_begin(void)
{
    assert_int_equal(pipe(log_pipe), 0);
    real_stderr = dup(STDERR_FILENO);
    assert_true(real_stderr >= 0);
    assert_true(dup2(log_pipe[1], STDERR_FILENO) >= 0);
}

/* What has been logged since, to be freed. */
static char *capture_end(void)
{
    struct buf b = BUF_INIT;
    char piece[4096];
    ssize_t n;

    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    close(log_pipe[1]);
    while ((n = read(log_pipe[0], piece, sizeof piece)) > 0)
        buf_add(&b, piece, (size_t)n);
    close(log_pipe[0]);
    return buf_detach(&b);
}

static const _Atomic int64_t log_now = 1795482123456;

static void test_log_text(void **state)
{
    char *out;

    (void)state;
    timing_set_fake(&log_now);
    log_configure(LOG_INFO, LOG_TEXT);
    capture_begin();
    errno = ENOENT;
    log_info("publish", "version=%d seconds=%.2f", 7, 0.123);
    log_error("stop", "%s", "");
    log_warn("odd", "text=%s", "a\nb\tc\r\x1b[2J \"q\" \\ \xc3\xa9");
    log_warn("c1", "text=%s", "\xc2\x80\xc2\x9b" "31m\xc2\xa0\xc2");
    log_info("quoted", "path=\"%s\" status=%d text=%s", "/\" status=500 a=\"",
             404, "\"b\"");
    log_plain("mneme show", "no version \x1b[2J\nforged\xc2\x9f");
    out = capture_end();
    assert_int_equal(errno, ENOENT);
    assert_string_equal(
        out, "2026-11-24T01:02:03.456Z info publish version=7 seconds=0.12\n"
             "2026-11-24T01:02:03.456Z error stop\n"
             "2026-11-24T01:02:03.456Z warn odd text=a\\nb\\tc\\r\\u001b[2J "
             "\"q\" \\ \xc3\xa9\n"
             "2026-11-24T01:02:03.456Z warn c1 text=\\u0080\\u009b" "31m"
             "\xc2\xa0\xc2\n"
             "2026-11-24T01:02:03.456Z info quoted path=\"/' status=500 a='\" "
             "status=404 text=\"b\"\n"
             "mneme show: no version \\u001b[2J\\nforged\\u009f\n");
    free(out);
}

/* For journald each line begins with its priority; for others nothing does,
 * and a redirected stderr is no stream of journald. */
static void test_log_journal(void **state)
{
    char stream[64];
    struct stat st;
    char *out;

    (void)state;
    timing_set_fake(&log_now);
    capture_begin();
    assert_int_equal(fstat(STDERR_FILENO, &st), 0);
    snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    log_configure(LOG_DEBUG, LOG_TEXT);
    log_error("stop", "%s", "");
    log_warn("odd", "a=%d", 1);
    log_info("publish", "version=%d", 7);
    log_debug("skip", "text=%s", "a\n<0>b");
    log_configure(LOG_INFO, LOG_JSON);
    log_info("json", "a=%d", 1);
    log_plain("mnemed", "the last words");
    snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino + 1);
    setenv("JOURNAL_STREAM", stream, 1);
    log_configure(LOG_INFO, LOG_TEXT);
    log_info("other", "b=%d", 2);
    setenv("JOURNAL_STREAM", "nonsense", 1);
    log_configure(LOG_INFO, LOG_TEXT);
    log_info("other", "b=%d", 3);
    unsetenv("JOURNAL_STREAM");
    out = capture_end();
    assert_string_equal(
        out, "<3>stop\n<4>odd a=1\n<6>publish version=7\n"
             "<7>skip text=a\\n<0>b\n"
             "<6>{\"ts\":\"2026-11-24T01:02:03.456Z\",\"level\":\"info\","
             "\"event\":\"json\",\"fields\":\"a=1\"}\n"
             "<3>mnemed: the last words\n"
             "2026-11-24T01:02:03.456Z info other b=2\n"
             "2026-11-24T01:02:03.456Z info other b=3\n");
    free(out);
    log_configure(LOG_INFO, LOG_TEXT);
}

/* With a socket as stderr, journald gets messages with fields. */
static void test_log_journal_fields(void **state)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    char stream[64], got[4096];
    int pair[2], journal, saved = dup(STDERR_FILENO);
    struct stat st;
    ssize_t n;

    (void)state;
    snprintf(a.sun_path, sizeof a.sun_path, "/tmp/mneme-journal-%d", getpid());
    unlink(a.sun_path);
    journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(journal, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair),
                     0);
    dup2(pair[0], STDERR_FILENO);
    assert_int_equal(fstat(STDERR_FILENO, &st), 0);
    snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    log_set_journal(a.sun_path);
    log_configure(LOG_INFO, LOG_TEXT);
    errno = ENOENT;
    log_warn("gate", "version=%d result=\"a b\" text=x\nPRIORITY=0 y=%s z 1",
             7, "");
    assert_int_equal(errno, ENOENT);
    n = recv(journal, got, sizeof got - 1, 0);
    got[n > 0 ? n : 0] = '\0';
    assert_non_null(strstr(got, "PRIORITY=4\nSYSLOG_IDENTIFIER=test_log\n"
                                "MNEME_EVENT=gate\n"
                                "MESSAGE=gate version=7 result=\"a b\" "
                                "text=x\\nPRIORITY=0 y= z 1\n"
                                "MNEME_VERSION=7\nMNEME_RESULT=a b\n"
                                "MNEME_TEXT=x\\nPRIORITY=0\nMNEME_Y=\n"));
    assert_null(strstr(got, "MNEME_Z"));
    log_info("gap", "%s", "a text with x=1");
    n = recv(journal, got, sizeof got - 1, 0);
    got[n > 0 ? n : 0] = '\0';
    assert_non_null(strstr(got, "MESSAGE=gap a text with x=1\n"));
    assert_null(strstr(got, "MNEME_X"));
    assert_int_equal(recv(pair[1], got, sizeof got, 0), -1); /* no line */
    close(journal); /* journald is gone: lines again */
    log_info("publish", "version=%d", 8);
    n = recv(pair[1], got, sizeof got - 1, 0);
    got[n > 0 ? n : 0] = '\0';
    assert_string_equal(got, "<6>publish version=8\n");
    dup2(saved, STDERR_FILENO);
    unsetenv("JOURNAL_STREAM");
    log_set_journal("/none");
    log_configure(LOG_INFO, LOG_TEXT);
    unlink(a.sun_path);
    close(saved);
    close(pair[0]);
    close(pair[1]);
}

static void test_log_json(void **state)
{
    char *out;

    (void)state;
    timing_set_fake(&log_now);
    log_configure(LOG_DEBUG, LOG_JSON);
    capture_begin();
    log_debug("skip", "id=%s", "a\"b\\c\n\x01\x7f/\xc3\xa9\xff");
    log_info("idle", "%s", "");
    out = capture_end();
    assert_string_equal(
        out,
        "{\"ts\":\"2026-11-24T01:02:03.456Z\",\"level\":\"debug\","
        "\"event\":\"skip\","
        "\"fields\":\"id=a\\\"b\\\\c\\n\\u0001\\u007f/\xc3\xa9" FFFD "\"}\n"
        "{\"ts\":\"2026-11-24T01:02:03.456Z\",\"level\":\"info\","
        "\"event\":\"idle\",\"fields\":\"\"}\n");
    free(out);
}

static void test_log_levels(void **state)
{
    char *out;

    (void)state;
    timing_set_fake(&log_now);
    for (int l = LOG_ERROR; l <= LOG_DEBUG; l++) {
        int n_lines = 0;

        log_configure((enum log_level)l, LOG_TEXT);
        assert_int_equal(log_level(), l);
        capture_begin();
        log_error("e", "%d", 1);
        log_warn("w", "%d", 1);
        log_info("i", "%d", 1);
        log_debug("d", "%d", 1);
        out = capture_end();
        for (char *p = out; (p = strchr(p, '\n')); p++)
            n_lines++;
        assert_int_equal(n_lines, l + 1);
        free(out);
    }
}

/* A packet socket keeps the writes apart: each line is one of them. */
static void test_log_one_write_a_line(void **state)
{
    char long_value[3000];
    char packet[4096];
    ssize_t n;

    (void)state;
    memset(long_value, 'v', sizeof long_value - 1);
    long_value[sizeof long_value - 1] = '\0';
    log_configure(LOG_INFO, LOG_JSON);
    assert_int_equal(pipe2(log_pipe, O_DIRECT), 0);
    real_stderr = dup(STDERR_FILENO);
    assert_true(dup2(log_pipe[1], STDERR_FILENO) >= 0);
    log_info("one", "value=%s", long_value);
    log_info("two", "value=%s", "short");
    n = read(log_pipe[0], packet, sizeof packet);
    free(capture_end());
    assert_true(n > 3000);
    assert_int_equal(packet[0], '{');
    assert_memory_equal(packet + n - 2, "}\n", 2);
}

/* A closed stderr is no reason to stop. */
static void test_log_nowhere(void **state)
{
    (void)state;
    capture_begin();
    close(STDERR_FILENO);
    log_error("lost", "%d", 1);
    free(capture_end());
}

int main(void)
{
#define T(f)                                                                   \
    cmocka_unit_test_setup_teardown(f, base_make_temp, base_remove_temp)
    const struct CMUnitTest tests[] = {
        T(test_log_text),
        T(test_log_journal),
        T(test_log_journal_fields),
        T(test_log_json),
        T(test_log_levels),
        T(test_log_one_write_a_line),
        T(test_log_nowhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
