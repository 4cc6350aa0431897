/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One write(2) writes a line, so that lines of several processes on one stderr
 * do not mix. A mutex does the same for threads when a line needs more writes.
 *
 * A value may have any bytes of a record. Both formats escape control
 * characters, so that no value can end a line and forge the next one. A value
 * between quotes cannot end there and forge the next pair: format_fields. In
 * JSON, bytes that are not UTF-8 become U+FFFD.
 */
#include "config.h"

#include "base/log.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/timing.h"
#include "base/utf8.h"
#include "base/xalloc.h"

static const char *const level_names[] = {"error", "warn", "info", "debug"};
static atomic_int the_level = LOG_INFO;
static atomic_int the_format = LOG_TEXT;
static atomic_bool to_journal; /* stderr is a stream of journald */
static atomic_int journal_fd = -1; /* its socket for messages with fields */
static const char *journal_path = "/run/systemd/journal/socket";
static pthread_mutex_t write_mu = PTHREAD_MUTEX_INITIALIZER;

/* True when stderr is the stream that $JOURNAL_STREAM names, as
 * systemd.exec(5) says. It is not when stderr has been redirected since. */
static bool is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat st;

    return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device &&
           st.st_ino == inode;
}

/* Connects to the socket for messages with fields, once. A file that only poses
 * as the stream gets lines. */
static void open_journal(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct stat st;
    int fd;

    if (atomic_load(&journal_fd) >= 0 || fstat(STDERR_FILENO, &st) != 0 ||
        !S_ISSOCK(st.st_mode) || strlen(journal_path) >= sizeof a.sun_path)
        return;
    strcpy(a.sun_path, journal_path);
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
        atomic_store(&journal_fd, fd);
    else if (fd >= 0)
        close(fd);
}

void log_set_journal(const char *path)
{
    if (atomic_load(&journal_fd) >= 0)
        close(atomic_exchange(&journal_fd, -1));
    journal_path = path;
}

void log_configure(enum log_level level, enum log_format format)
{
    atomic_store(&the_level, (int)level);
    atomic_store(&the_format, (int)format);
    atomic_store(&to_journal, is_journal());
    if (atomic_load(&to_journal))
        open_journal();
}

enum log_level log_level(void)
{
    return (enum log_level)atomic_load(&the_level);
}

/* Appends s. Control characters, also those of C1, become escapes such as \n or
 * \u001b. For JSON, quotes and backslashes are escaped, too. */
static void add_escaped(struct buf *line, const char *s, bool json)
{
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;

        if (c == '\n')
            buf_adds(line, "\\n");
        else if (c == '\r')
            buf_adds(line, "\\r");
        else if (c == '\t')
            buf_adds(line, "\\t");
        else if (c < 0x20 || c == 0x7f)
            buf_addf(line, "\\u%04x", c);
        else if (c == 0xc2 && (unsigned char)s[1] >> 5 == 4)
            buf_addf(line, "\\u%04x", (unsigned char)*++s);
        else if (json && (c == '"' || c == '\\'))
            buf_addf(line, "\\%c", c);
        else
            buf_addc(line, *s);
    }
}

static void add_json_string(struct buf *line, const char *key, const char *s)
{
    struct buf text = BUF_INIT;

    utf8_repair(s, strlen(s), &text);
    buf_addf(line, "\"%s\":\"", key);
    add_escaped(line, text.data ? text.data : "", true);
    buf_addc(line, '"');
    buf_release(&text);
}

/* journald keeps the time itself, and the level as a priority. */
static void format_text(struct buf *line, const char *ts, const char *level,
                        const char *event, const char *fields)
{
    if (!atomic_load(&to_journal))
        buf_addf(line, "%s %s ", ts, level);
    buf_adds(line, event);
    if (*fields)
        buf_addc(line, ' ');
    add_escaped(line, fields, false);
    buf_addc(line, '\n');
}

static void format_json(struct buf *line, const char *ts, const char *level,
                        const char *event, const char *fields)
{
    buf_addf(line, "{\"ts\":\"%s\",\"level\":\"%s\",", ts, level);
    add_json_string(line, "event", event);
    buf_addc(line, ',');
    add_json_string(line, "fields", fields);
    buf_adds(line, "}\n");
}

/* Uses one write, unless stderr accepts only a part. Errors are ignored, since
 * there is no other place to report them. */
static void write_line(const char *s, size_t n_bytes)
{
    pthread_mutex_lock(&write_mu);
    while (n_bytes) {
        ssize_t n = write(STDERR_FILENO, s, n_bytes);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        s += n;
        n_bytes -= (size_t)n;
    }
    pthread_mutex_unlock(&write_mu);
}

static const int priorities[] = {3, 4, 6, 7}; /* of syslog, by level */

/* A line that begins with <N> gets the priority N in the journal. */
static void add_priority(struct buf *line, enum log_level level)
{
    if (atomic_load(&to_journal))
        buf_addf(line, "<%d>", priorities[level]);
}

/* --- journald ----------------------------------------------------------- */

/* Adds `key=value` as the field MNEME_KEY. Returns where the next pair begins;
 * NULL: there is none, or the text is no pair. */
static const char *add_pair(struct buf *message, const char *pair)
{
    size_t n = strspn(pair, "abcdefghijklmnopqrstuvwxyz0123456789_");
    const char *value = pair + n + 1, *end;

    if (!n || n > 40 || pair[n] != '=' || pair[0] < 'a')
        return NULL;
    if (*value == '"' && strchr(value + 1, '"')) {
        value++;
        end = strchr(value, '"');
    } else {
        end = value + strcspn(value, " ");
    }
    buf_adds(message, "MNEME_");
    for (size_t i = 0; i < n; i++)
        buf_addc(message, (char)toupper((unsigned char)pair[i]));
    buf_addc(message, '=');
    buf_add(message, value, (size_t)(end - value));
    buf_addc(message, '\n');
    end += *end == '"';
    return *end == ' ' ? end + 1 : NULL;
}

/* Sends the line with its priority and its fields, as systemd's "Native Journal
 * Protocol". Control characters are escaped, so no value has a line feed.
 * False: it must be written as a line. */
static bool send_to_journal(enum log_level level, const char *event,
                            const char *fields)
{
    struct buf message = BUF_INIT, safe = BUF_INIT;
    const char *pair;
    ssize_t sent;

    if (!atomic_load(&to_journal) || atomic_load(&journal_fd) < 0 ||
        atomic_load(&the_format) == LOG_JSON)
        return false;
    add_escaped(&safe, fields, false);
    pair = safe.data ? safe.data : "";
    buf_addf(&message,
             "PRIORITY=%d\nSYSLOG_IDENTIFIER=%s\nMNEME_EVENT=%s\n"
             "MESSAGE=%s%s%s\n",
             priorities[level], program_invocation_short_name, event, event,
             *pair ? " " : "", pair);
    while (pair && *pair)
        pair = add_pair(&message, pair);
    sent = send(atomic_load(&journal_fd), message.data, message.len,
                MSG_NOSIGNAL | MSG_DONTWAIT);
    buf_release(&message);
    buf_release(&safe);
    return sent >= 0;
}

/* --- lines -------------------------------------------------------------- */

static size_t count_quotes(const char *s)
{
    size_t n = 0;

    for (; *s; s++)
        n += *s == '"';
    return n;
}

static void replace_char(char *s, char from, char to)
{
    for (; *s; s++)
        *s = *s == from ? to : *s;
}

/* A control character that the text lacks; 0: it has all of them. */
static char unused_char(const char *text)
{
    for (char c = 1; c < ' '; c++)
        if (!strchr(text, c))
            return c;
    return 0;
}

/*
 * The text of vprintf, to be freed. A quote that an argument puts between two
 * quotes of the format becomes an apostrophe. To tell the quotes apart, the
 * text is made again with another character for those of the format.
 */
__attribute__((format(printf, 1, 0))) static char *
format_fields(const char *fmt, va_list ap)
{
    char *text = NULL, *marked = NULL, *marked_fmt;
    bool inside = false;
    va_list again;
    char mark;

    va_copy(again, ap);
    if (vasprintf(&text, fmt, ap) < 0)
        BUG("a log line cannot be formatted");
    if (count_quotes(text) == count_quotes(fmt))
        goto out;
    mark = unused_char(text);
    if (!mark) {
        replace_char(text, '"', '\'');
        goto out;
    }
    marked_fmt = xstrdup(fmt);
    replace_char(marked_fmt, '"', mark);
    if (vasprintf(&marked, marked_fmt, again) < 0)
        BUG("a log line cannot be formatted");
    free(marked_fmt);
    for (char *c = marked; *c; c++) {
        inside ^= *c == mark;
        if (*c == '"' && inside)
            *c = '\'';
    }
    replace_char(marked, mark, '"');
    free(text);
    text = marked;
out:
    va_end(again);
    return text;
}

void log_line(enum log_level level, const char *event, const char *fmt, ...)
{
    struct buf line = BUF_INIT;
    char ts[TIMING_ISO_MAX];
    char *fields;
    int saved = errno;
    va_list ap;

    if (level > log_level())
        return;
    va_start(ap, fmt);
    fields = format_fields(fmt, ap);
    va_end(ap);
    if (send_to_journal(level, event, fields)) {
        free(fields);
        errno = saved;
        return;
    }
    timing_iso8601(timing_wall_ms(), ts);
    add_priority(&line, level);
    if (atomic_load(&the_format) == LOG_JSON)
        format_json(&line, ts, level_names[level], event, fields);
    else
        format_text(&line, ts, level_names[level], event, fields);
    write_line(line.data, line.len);
    buf_release(&line);
    free(fields);
    errno = saved;
}

void log_plain(const char *who, const char *text)
{
    struct buf line = BUF_INIT;

    add_priority(&line, LOG_ERROR);
    buf_addf(&line, "%s: ", who);
    add_escaped(&line, text, false);
    buf_addc(&line, '\n');
    write_line(line.data, line.len);
    buf_release(&line);
}
