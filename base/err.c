/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int err_set(struct err *err, enum err_code code, const char *fmt, ...)
{
    va_list ap;

    if (!err)
        return code;
    err->code = code;
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    return code;
}

int err_set_errno(struct err *err, enum err_code code, int errnum,
                  const char *fmt, ...)
{
    char reason[128];
    size_t used;
    va_list ap;

    if (errnum == ENOSPC || errnum == EDQUOT || errnum == EMFILE ||
        errnum == ENFILE)
        code = ERR_FULL;
    if (!err)
        return code;
    err->code = code;
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    used = strlen(err->msg);
    snprintf(err->msg + used, sizeof err->msg - used, ": %s",
             strerror_r(errnum, reason, sizeof reason));
    return code;
}

int err_prefix(struct err *err, const char *fmt, ...)
{
    char rest[ERR_MSG_MAX];
    size_t used, room, n;
    va_list ap;

    if (!err)
        return ERR_IO;
    memcpy(rest, err->msg, sizeof rest);
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    used = strlen(err->msg);
    if (used + 3 < sizeof err->msg) {
        room = sizeof err->msg - used - 3;
        n = strnlen(rest, room);
        memcpy(err->msg + used, ": ", 2);
        memcpy(err->msg + used + 2, rest, n);
        err->msg[used + 2 + n] = '\0';
    }
    return err->code;
}

int err_exit_status(int code)
{
    switch (code) {
    case ERR_OK:
        return 0;
    case ERR_INVALID:
        return 2;
    case ERR_NOTFOUND:
    case ERR_STATE:
        return 3;
    default:
        return 1;
    }
}

void err_bug(const char *file, int line, const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "mneme: bug at %s:%d: ", file, line);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    abort();
}
