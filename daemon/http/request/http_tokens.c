/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/http/request/http_tokens.h"

#include <ctype.h>
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

/* A token's allowance grows by its rate (requests a minute) each millisecond. A
 * request costs REQUEST, the number of milliseconds in a minute. */
#define REQUEST 60000

/* Only the digest of a token is kept. To find a token, the digest of the given
 * one is compared with all of them, each in constant time. */
struct token {
    enum http_scope scope;
    char digest[SHA256_HEX];
    int rate;          /* requests a minute; 0: no limit */
    int64_t room;      /* in the bucket: REQUEST for each request */
    int64_t filled_ms; /* when the bucket was filled last */
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
    free(t->items);
    free(t);
}

bool http_tokens_needed(const struct http_tokens *t)
{
    return t->needed;
}

/* Sets the digest of a token, or the one that is given. */
static bool parse_token(struct http_tokens *t, const char *word,
                        char digest[SHA256_HEX])
{
    const char *hex = word + 7;

    if (strncmp(word, "sha256:", 7) != 0) {
        t->n_short += strlen(word) < MIN_CHARACTERS;
        checksum_sha256(word, strlen(word), digest);
        return true;
    }
    if (strlen(hex) != SHA256_HEX - 1 ||
        strspn(hex, "0123456789abcdefABCDEF") != SHA256_HEX - 1)
        return false;
    for (size_t i = 0; i < SHA256_HEX; i++)
        digest[i] = (char)tolower((unsigned char)hex[i]);
    return true;
}

static bool parse_rate(const char *word, int *rate)
{
    size_t n;

    if (!word)
        return true;
    if (strncmp(word, "rate=", 5) != 0)
        return false;
    n = strspn(word + 5, "0123456789");
    if (n == 0 || n > 6 || word[5 + n])
        return false;
    *rate = atoi(word + 5);
    return *rate > 0;
}

static int add_line(struct http_tokens *t, char *line, const char *path,
                    int number, struct err *err)
{
    char *save = NULL;
    const char *scope = strtok_r(line, " \t\r", &save);
    const char *text = strtok_r(NULL, " \t\r", &save);
    const char *rate = strtok_r(NULL, " \t\r", &save);
    struct token token = {.scope = HTTP_OPEN};

    if (!scope || scope[0] == '#')
        return 0;
    /* The message does not quote the line, which may hold a secret. */
    token.scope = (enum http_scope)conf_scope_of(scope);
    if (token.scope == HTTP_OPEN || !text ||
        !parse_token(t, text, token.digest) || !parse_rate(rate, &token.rate) ||
        strtok_r(NULL, " \t\r", &save))
        return err_set(err, ERR_INVALID,
                       "%s:%d: a line is `SCOPE TOKEN`, where SCOPE is "
                       CONF_SCOPES ", TOKEN may be sha256:HEX, and rate=N may "
                       "follow",
                       path, number);
    token.room = (int64_t)token.rate * REQUEST;
    XGROW(t->items, t->n, t->cap);
    t->items[t->n++] = token;
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
        rc =
            err_set(err, ERR_INVALID,
                    "%s: the file has no token; a line is `infer TOKEN`, `feed "
                    "TOKEN` or `admin TOKEN`",
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

/* Compares two digests in constant time. */
static bool is_same(const char *a, const char *b)
{
    unsigned different = 0;

    for (size_t i = 0; i < SHA256_HEX; i++)
        different |= (unsigned char)a[i] ^ (unsigned char)b[i];
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

/* The token of a header with the highest scope; NULL: none. */
static struct token *find(const struct http_tokens *t,
                          const char *authorization)
{
    const char *given = bearer_token(authorization);
    struct token *found = NULL;
    char digest[SHA256_HEX];

    if (!given)
        return NULL;
    checksum_sha256(given, strlen(given), digest);
    for (size_t i = 0; i < t->n; i++)
        if (is_same(t->items[i].digest, digest) &&
            (!found || t->items[i].scope > found->scope))
            found = &t->items[i];
    return found;
}

enum http_scope http_tokens_check(const struct http_tokens *t,
                                  const char *authorization)
{
    const struct token *found;

    if (!t->needed)
        return HTTP_ADMIN;
    found = find(t, authorization);
    return found ? found->scope : HTTP_OPEN;
}

int http_tokens_take(struct http_tokens *t, const char *authorization,
                     int64_t now_ms)
{
    struct token *k = t->needed ? find(t, authorization) : NULL;
    int64_t full, missing;

    if (!k || !k->rate)
        return 0;
    full = (int64_t)k->rate * REQUEST;
    if (k->filled_ms && now_ms - k->filled_ms < REQUEST)
        k->room += (now_ms - k->filled_ms) * k->rate;
    else
        k->room = full;
    if (k->room > full)
        k->room = full;
    k->filled_ms = now_ms;
    missing = REQUEST - k->room;
    if (missing <= 0) {
        k->room -= REQUEST;
        return 0;
    }
    return (int)((missing + 1000 * k->rate - 1) / (1000 * k->rate));
}
