/* SPDX-License-Identifier: Apache-2.0 */
/*
 * err.h - errors as values.
 *
 * A function that can fail returns 0 or one of the negative codes below. In its
 * last argument it stores the code and one line for the user: what failed, on
 * what, and what to do about it. On success it does not change the struct. err
 * may be NULL when the caller wants only the code.
 *
 * Threads: any; a struct err belongs to its caller.
 */
#ifndef MNEME_BASE_ERR_H
#define MNEME_BASE_ERR_H

enum err_code {
    ERR_OK = 0,
    ERR_IO = -1,       /* a system call failed: open, write, sync, socket */
    ERR_CORRUPT = -2,  /* bytes that are damaged */
    ERR_INVALID = -3,  /* an argument, a setting or a request is wrong */
    ERR_NOTFOUND = -4, /* no such version, key, file */
    ERR_STATE = -5,    /* the present state forbids it: in use, pinned */
    ERR_LIMIT = -6,    /* larger than a stated limit */
    ERR_FULL = -7,     /* no room on the disk, or no free descriptor */
    ERR_DIVERGED = -8, /* numbers are no longer finite */
    ERR_AGAIN = -9,    /* nothing yet; try again */
    ERR_END = -10,     /* the end of a stream */
    ERR_NOMEM = -11
};

#define ERR_MSG_MAX 512

struct err {
    enum err_code code;
    char msg[ERR_MSG_MAX];
};

#define ERR_INIT {ERR_OK, ""}

/* Sets code and message; returns code, so that a caller can return it. */
int err_set(struct err *err, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* As err_set, and appends ": " and the text of the errno value errnum. For
 * ENOSPC, EDQUOT, EMFILE and ENFILE the code is ERR_FULL instead. */
int err_set_errno(struct err *err, enum err_code code, int errnum,
                  const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* Puts the text and ": " before the message. Returns err's code. */
int err_prefix(struct err *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* The exit status for a code: 0, 1 (failed), 2 (invalid), 3 (refused by
 * state). */
int err_exit_status(int code);

/* For a broken invariant: prints file and line, and aborts. Bad input is an
 * error instead. */
#define BUG(...) err_bug(__FILE__, __LINE__, __VA_ARGS__)
#define BUG_ON(cond)                                                           \
    do {                                                                       \
        if (cond)                                                              \
            BUG("%s", #cond);                                                  \
    } while (0)

void err_bug(const char *file, int line, const char *fmt, ...)
    __attribute__((noreturn, format(printf, 3, 4)));

#endif
