/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/http/http_tokens.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/checksum.h"
#include "base/fileio.h"
#include "base/log.h"
#include "base/xalloc.h"

#define MAX_FILE_BYTES 65536
#define MIN_CHARACTERS 16 /* a shorter token can be guessed */

struct token {
    enum http_scope scope;
    char *text;
};

struct http_tokens {
    bool needed;
    int n_short; /* tokens below MIN_CHARACTERS */
    struct token *items;
    size_t n, cap;
};

void http_tokens_free(struct http_tokens *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n; i++)
        free(t->items[i].text);
    free(t->items);
    free(t);
}

bool http_tokens_needed(const struct http_tokens *t)
{
    return t->needed;
}

static int add_line(struct http_tokens *t, char *line, const char *path,
                    int number, struct err *err)
{
    char *save = NULL;
    const char *scope = strtok_r(line, " \t\r", &save);
    const char *text = strtok_r(NULL, " \t\r", &save);
    bool is_admin;

    if (!scope || scope[0] == '#')
        return 0;
    is_admin = !strcmp(scope, "admin");
    /* The message does not quote the line, which may hold a secret. */
    if ((!is_admin && strcmp(scope, "infer") != 0) || !text ||
        strtok_r(NULL, " \t\r", &save))
        return err_set(err, ERR_INVALID,
                       "%s:%d: a line is `infer TOKEN` or `admin TOKEN`",
                       path, number);
    t->n_short += strlen(text) < MIN_CHARACTERS;
    XGROW(t->items, t->n, t->cap);
    t->items[t->n++] = (struct token){is_admin ? HTTP_ADMIN : HTTP_INFER,
                                      xstrdup(text)};
    return 0;
}

static int parse(struct http_tokens *t, char *text, const char *path,
                 struct err *err)
{
    int number = 0, rc = 0;
    char *line;

    while (rc == 0 && (line = strsep(&text, "\n")))
        rc = add_line(t, line, path, ++number, err);
    if (rc == 0 && t->n == 0)
        rc = err_set(err, ERR_INVALID,
                     "%s: the file has no token; a line is `infer TOKEN` or "
                     "`admin TOKEN`",
                     path);
    return rc;
}

/* Warns when other users can read or guess the tokens. This is no error, so
 * that a daemon with such a file still starts. */
static void warn(const struct http_tokens *t, const char *path)
{
    struct stat st;

    if (stat(path, &st) == 0 && (st.st_mode & (S_IROTH | S_IWOTH)))
        log_warn("tokens",
                 "file=%s error=\"every user of this machine can read or "
                 "write the file; run chmod o= on it\"",
                 path);
    if (t->n_short)
        log_warn("tokens",
                 "file=%s error=\"%d tokens have fewer than %d characters "
                 "and can be guessed: make longer ones\"",
                 path, t->n_short, MIN_CHARACTERS);
}

int http_tokens_load(const char *path, struct http_tokens **tokens,
                     struct err *err)
{
    struct http_tokens *t = xcalloc(1, sizeof *t);
    struct buf text = BUF_INIT;
    int rc = 0;

    t->needed = path != NULL;
    if (path)
        rc = fileio_read(path, MAX_FILE_BYTES, &text, err);
    if (rc == 0 && path)
        rc = parse(t, text.data ? text.data : (char[]){""}, path, err);
    buf_release(&text);
    if (rc) {
        http_tokens_free(t);
        err_prefix(err, "http.token_file");
        return rc;
    }
    if (path)
        warn(t, path);
    *tokens = t;
    return 0;
}

/* Compares in a time that does not depend on where the two differ. */
static bool is_same(const char *secret, const char *given)
{
    size_t n = strlen(secret), n_given = strlen(given);
    unsigned different = n != n_given;

    for (size_t i = 0; i < n_given; i++)
        different |= (unsigned char)secret[i % (n + 1)] ^
                     (unsigned char)given[i];
    return different == 0;
}

static const char *bearer_token(const char *authorization)
{
    if (!authorization || strncasecmp(authorization, "Bearer ", 7) != 0)
        return NULL;
    return authorization + 7 + strspn(authorization + 7, " ");
}

uint64_t http_tokens_holder(const struct http_tokens *t,
                            const char *authorization)
{
    const char *token = t->needed ? bearer_token(authorization) : NULL;

    return token ? checksum_xxh3(token, strlen(token), 0) : 0;
}

enum http_scope http_tokens_check(const struct http_tokens *t,
                                  const char *authorization)
{
    enum http_scope scope = HTTP_OPEN;

    if (!t->needed)
        return HTTP_ADMIN;
    authorization = bearer_token(authorization);
    if (!authorization)
        return HTTP_OPEN;
    for (size_t i = 0; i < t->n; i++)
        if (is_same(t->items[i].text, authorization) &&
            t->items[i].scope > scope)
            scope = t->items[i].scope;
    return scope;
}
