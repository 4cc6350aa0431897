/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A head is looked through twice: http_head_find sees every byte once and
 * refuses control characters and line ends that are not CR LF, so that
 * http_head_parse works on clean lines.
 *
 * The body in chunks is a machine of one byte a step, except for data.
 */
#include "config.h"

#include "daemon/http/http_head.h"

#include <string.h>
#include <strings.h>

#define MOST_LENGTH_DIGITS 18 /* of Content-Length: below 2^63 */
#define MOST_CHUNK_DIGITS 15  /* hexadecimal */
#define MOST_EXTRA_BYTES 8192

static bool refuse(struct http_refusal *why, int status, const char *code,
                   const char *message)
{
    *why = (struct http_refusal){status, code, message};
    return false;
}

static bool malformed(struct http_refusal *why, const char *message)
{
    return refuse(why, 400, "malformed_request", message);
}

/* --- where it ends ------------------------------------------------------ */

static bool is_control(unsigned char c)
{
    return (c < 0x20 && c != '\t' && c != '\r' && c != '\n') || c == 0x7f;
}

bool http_head_find(const char *bytes, size_t n, size_t *seen, size_t *length,
                    struct http_refusal *why)
{
    *length = 0;
    for (size_t i = *seen; i < n; i++) {
        bool after_cr = i > 0 && bytes[i - 1] == '\r';

        if (is_control((unsigned char)bytes[i]))
            return malformed(why, "a control character in the head");
        if (after_cr != (bytes[i] == '\n'))
            return malformed(why, "a line of the head ends in CR LF");
        if (i >= 3 && bytes[i] == '\n' && bytes[i - 2] == '\n') {
            *length = i + 1;
            break;
        }
    }
    *seen = *length ? *length : n;
    if (*seen <= HTTP_HEAD_BYTES && (*length || n < HTTP_HEAD_BYTES))
        return true;
    if (!memchr(bytes, '\n', *seen))
        return refuse(why, 414, "target_too_long",
                      "the request line is too long");
    return refuse(why, 431, "head_too_large",
                  "the headers are larger than 32 KiB");
}

/* --- characters --------------------------------------------------------- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_token_char(char c)
{
    return c && (is_letter(c) || is_digit(c) || strchr("!#$%&'*+-.^_`|~", c));
}

static size_t token_length(const char *s)
{
    size_t n = 0;

    while (is_token_char(s[n]))
        n++;
    return n;
}

static int hex_value(char c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Takes %XX, and + for a blank in a query, out of a text where it lies. */
static bool decode(char *s, bool is_query, struct http_refusal *why)
{
    char *out = s;

    for (; *s; s++) {
        int high, low;

        if (*s != '%') {
            *out++ = is_query && *s == '+' ? ' ' : *s;
            continue;
        }
        high = hex_value(s[1]);
        low = high < 0 ? -1 : hex_value(s[2]);
        if (low < 0)
            return malformed(why, "a % in the target needs two digits");
        if (high + low == 0)
            return malformed(why, "%00 in the target");
        *out++ = (char)(high << 4 | low);
        s += 2;
    }
    *out = '\0';
    return true;
}

/* A name or an address, and perhaps a port. */
static bool is_authority(const char *s)
{
    size_t n = 0;

    if (*s == '[') {
        n = 1 + strspn(s + 1, "0123456789abcdefABCDEF:.");
        if (n == 1 || s[n] != ']')
            return false;
        n++;
    } else {
        while (is_letter(s[n]) || is_digit(s[n]) ||
               (s[n] && strchr("-._~", s[n])))
            n++;
        if (n == 0)
            return false;
    }
    if (s[n] == ':') {
        size_t digits = strspn(s + n + 1, "0123456789");

        if (digits > 5)
            return false;
        n += 1 + digits;
    }
    return s[n] == '\0';
}

/* --- the request line --------------------------------------------------- */

/* Cuts off what comes before the first of c; NULL: there is none. */
static char *cut(char *s, char c)
{
    char *at = strchr(s, c);

    if (!at)
        return NULL;
    *at = '\0';
    return at + 1;
}

static bool parse_query(char *query, struct http_head *head,
                        struct http_refusal *why)
{
    while (query) {
        char *next = cut(query, '&'), *value = cut(query, '=');

        if (*query && value) {
            if (head->n_arguments == HTTP_MOST_ARGUMENTS)
                return malformed(why, "too many arguments in the query");
            if (!decode(query, true, why) || !decode(value, true, why))
                return false;
            head->arguments[head->n_arguments++] =
                (struct http_field){query, value};
        } else if (!decode(query, true, why)) {
            return false;
        }
        query = next;
    }
    return true;
}

/* "http://host:port/path?query": what begins at the path. In place, the
 * authority moves one byte to the left, over the slash before it, so that its
 * end has room for a NUL. */
static bool parse_absolute(char *target, char **path, struct http_head *head,
                           struct http_refusal *why)
{
    char *authority = strstr(target, "://") + 3;
    size_t n = strcspn(authority, "/?");

    memmove(authority - 1, authority, n);
    *path = authority + n;
    authority--;
    authority[n] = '\0';
    head->authority = authority;
    if (!is_authority(authority))
        return malformed(why, "the target names no host");
    return true;
}

static bool parse_target(char *target, struct http_head *head,
                         struct http_refusal *why)
{
    char *path = target, *query;

    for (const char *s = target; *s; s++)
        if (*s < 0x21 || *s > 0x7e || *s == '#')
            return malformed(why, "the target has a character that must be "
                                  "written as %XX");
    if (strncasecmp(target, "http://", 7) == 0 ||
        strncasecmp(target, "https://", 8) == 0) {
        if (!parse_absolute(target, &path, head, why))
            return false;
    } else if (*target != '/' && strcmp(target, "*") != 0) {
        return malformed(why, "the target begins with /");
    }
    query = cut(path, '?');
    if (!decode(path, false, why))
        return false;
    head->path = *path ? path : "/";
    return !query || parse_query(query, head, why);
}

static bool parse_version(const char *s, struct http_head *head,
                          struct http_refusal *why)
{
    if (strlen(s) != 8 || strncmp(s, "HTTP/", 5) != 0 || !is_digit(s[5]) ||
        s[6] != '.' || !is_digit(s[7]))
        return malformed(why, "a request line is METHOD TARGET HTTP/1.1");
    if (s[5] != '1')
        return refuse(why, 505, "version_not_supported",
                      "HTTP/1.1 and HTTP/1.0 are understood");
    head->minor = s[7] > '0';
    return true;
}

static bool parse_request_line(char *line, struct http_head *head,
                               struct http_refusal *why)
{
    size_t n = token_length(line);
    char *target, *version;

    if (n == 0 || line[n] != ' ')
        return malformed(why, "a request line is METHOD TARGET HTTP/1.1");
    line[n] = '\0';
    head->method = line;
    target = line + n + 1;
    version = cut(target, ' ');
    if (!version || !*target)
        return malformed(why, "a request line is METHOD TARGET HTTP/1.1");
    return parse_version(version, head, why) &&
           parse_target(target, head, why);
}

/* --- fields ------------------------------------------------------------- */

static bool parse_field(char *line, struct http_head *head,
                        struct http_refusal *why)
{
    size_t n = token_length(line);
    char *value, *end;

    if (*line == ' ' || *line == '\t')
        return malformed(why, "a header line begins with a blank");
    if (n == 0 || line[n] != ':')
        return malformed(why, "a header line is NAME: VALUE, without a blank "
                              "before the colon");
    if (head->n_fields == HTTP_MOST_FIELDS)
        return refuse(why, 431, "head_too_large", "more than 100 headers");
    line[n] = '\0';
    value = line + n + 1;
    value += strspn(value, " \t");
    end = value + strlen(value);
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    *end = '\0';
    head->fields[head->n_fields++] = (struct http_field){line, value};
    return true;
}

/* Fields that mean one thing may be there once. */
static bool check_repeated(const struct http_head *head,
                           struct http_refusal *why)
{
    static const char *const once[] = {
        "Content-Length", "Transfer-Encoding", "Host",   "Authorization",
        "Content-Type",   "Content-Encoding",  "Origin", "Expect"};

    for (size_t i = 0; i < sizeof once / sizeof *once; i++) {
        int n = 0;

        for (int j = 0; j < head->n_fields; j++)
            n += strcasecmp(head->fields[j].name, once[i]) == 0;
        if (n > 1)
            return refuse(why, 400, i < 2 ? "ambiguous_length" : "repeated",
                          "a header that may be there once is repeated");
    }
    return true;
}

static bool check_host(const struct http_head *head, struct http_refusal *why)
{
    const char *host = http_head_field(head, "Host");

    if (!host && head->minor)
        return malformed(why, "a request of HTTP/1.1 has a Host");
    if (host && *host && !is_authority(host))
        return malformed(why, "Host is a name or an address, and a port");
    return true;
}

/* Is `word` one of the list "a, b, c"? */
static bool lists(const char *list, const char *word)
{
    size_t n = strlen(word);

    while (list && *list) {
        list += strspn(list, " \t,");
        if (strncasecmp(list, word, n) == 0 &&
            (list[n] == '\0' || strchr(" \t,", list[n])))
            return true;
        list += strcspn(list, ",");
    }
    return false;
}

/* One coding after another, each a token, and chunked once, at the end: then
 * the request is well-formed, and only we cannot read it. */
static bool is_coding_list(const char *list)
{
    for (;;) {
        size_t n = token_length(list);
        bool last = list[n] == '\0';

        if (n == 0 || (!last && list[n] != ',') ||
            (n == 7 && strncasecmp(list, "chunked", 7) == 0) != last)
            return false;
        if (last)
            return true;
        list += n + 1;
        list += strspn(list, " \t");
    }
}

static bool parse_transfer_encoding(const char *coding, struct http_head *head,
                                    struct http_refusal *why)
{
    if (!head->minor)
        return malformed(why, "Transfer-Encoding in a request of HTTP/1.0");
    if (http_head_field(head, "Content-Length"))
        return refuse(why, 400, "ambiguous_length",
                      "one Content-Length or one Transfer-Encoding, not both");
    head->chunked = strcmp(coding, "chunked") == 0;
    if (head->chunked)
        return true;
    if (strcasecmp(coding, "chunked") != 0 && is_coding_list(coding))
        return refuse(why, 501, "not_implemented",
                      "of Transfer-Encoding, only chunked is understood");
    return malformed(why, "Transfer-Encoding is chunked, and nothing else");
}

static bool parse_length(const char *s, struct http_head *head,
                         struct http_refusal *why)
{
    size_t n = strspn(s, "0123456789");

    if (n == 0 || s[n])
        return malformed(why, "Content-Length is a number");
    while (n > 1 && *s == '0') {
        s++;
        n--;
    }
    if (n > MOST_LENGTH_DIGITS)
        return refuse(why, 413, "too_large", "the body is too large");
    head->length = 0;
    for (; *s; s++)
        head->length = head->length * 10 + (uint64_t)(*s - '0');
    return true;
}

static bool check_framing(struct http_head *head, struct http_refusal *why)
{
    const char *coding = http_head_field(head, "Transfer-Encoding");
    const char *length = http_head_field(head, "Content-Length");
    const char *expect = http_head_field(head, "Expect");

    if (coding && !parse_transfer_encoding(coding, head, why))
        return false;
    if (length && !parse_length(length, head, why))
        return false;
    if (!expect || !head->minor)
        return true;
    if (strcasecmp(expect, "100-continue") != 0)
        return refuse(why, 417, "expectation_failed",
                      "of Expect, only 100-continue is understood");
    head->expects = head->chunked || head->length;
    return true;
}

static void read_connection(struct http_head *head)
{
    bool closes = false, keeps = false;

    for (int i = 0; i < head->n_fields; i++) {
        if (strcasecmp(head->fields[i].name, "Connection") != 0)
            continue;
        closes |= lists(head->fields[i].value, "close");
        keeps |= lists(head->fields[i].value, "keep-alive");
    }
    head->keeps = !closes && (head->minor || keeps);
}

bool http_head_parse(char *bytes, size_t n, struct http_head *head,
                     struct http_refusal *why)
{
    char *line = bytes, *end = bytes + n - 2; /* the empty line */

    memset(head, 0, sizeof *head);
    bytes[n] = '\0';
    for (; line < end; line = strchr(line, '\0') + 2) {
        char *cr = strchr(line, '\r');

        *cr = '\0';
        if (line == bytes) {
            if (!parse_request_line(line, head, why))
                return false;
        } else if (!parse_field(line, head, why)) {
            return false;
        }
        line = cr;
    }
    read_connection(head);
    return check_repeated(head, why) && check_host(head, why) &&
           check_framing(head, why);
}

static const char *look_up(const struct http_field *fields, int n,
                           const char *name, bool with_case)
{
    for (int i = 0; i < n; i++)
        if (with_case ? strcmp(fields[i].name, name) == 0
                      : strcasecmp(fields[i].name, name) == 0)
            return fields[i].value;
    return NULL;
}

const char *http_head_field(const struct http_head *head, const char *name)
{
    return look_up(head->fields, head->n_fields, name, false);
}

const char *http_head_argument(const struct http_head *head, const char *name)
{
    return look_up(head->arguments, head->n_arguments, name, true);
}

/* --- the body ----------------------------------------------------------- */

enum {
    DATA,       /* `left` bytes */
    SIZE_FIRST, /* the first digit of a chunk's size */
    SIZE,
    EXTENSION,
    SIZE_LF,
    DATA_CR, /* after a chunk's data */
    DATA_LF,
    LINE,          /* the beginning of a trailer line, or the empty line */
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    END_LF,
    ENDED
};

void http_body_init(struct http_body *b, const struct http_head *head)
{
    *b = (struct http_body){.chunked = head->chunked, .left = head->length};
    b->state = head->chunked ? SIZE_FIRST : head->length ? DATA : ENDED;
}

static bool is_text(char c)
{
    return c != '\n' && !is_control((unsigned char)c);
}

/* One byte outside the data. Returns the next state, or -1. */
static int step(struct http_body *b, char c)
{
    int digit = hex_value(c);

    switch (b->state) {
    case SIZE_FIRST:
        b->left = 0;
        /* fall through */
    case SIZE:
        if (digit >= 0) {
            b->n_extra += b->left == 0; /* there may be many zeros */
            if (b->left >> (4 * (MOST_CHUNK_DIGITS - 1)))
                return -1;
            b->left = b->left << 4 | (unsigned)digit;
            return SIZE;
        }
        if (b->state == SIZE_FIRST)
            return -1;
        return c == ';' ? EXTENSION : c == '\r' ? SIZE_LF : -1;
    case EXTENSION:
        b->n_extra++;
        return c == '\r' ? SIZE_LF : is_text(c) ? EXTENSION : -1;
    case SIZE_LF:
        return c != '\n' ? -1 : b->left ? DATA : LINE;
    case DATA_CR:
        return c == '\r' ? DATA_LF : -1;
    case DATA_LF:
        return c == '\n' ? SIZE_FIRST : -1;
    case LINE:
        return c == '\r' ? END_LF : is_token_char(c) ? TRAILER_NAME : -1;
    case TRAILER_NAME:
        b->n_extra++;
        return c == ':' ? TRAILER_VALUE : is_token_char(c) ? TRAILER_NAME : -1;
    case TRAILER_VALUE:
        b->n_extra++;
        return c == '\r' ? TRAILER_LF : is_text(c) ? TRAILER_VALUE : -1;
    case TRAILER_LF:
        return c == '\n' ? LINE : -1;
    case END_LF:
        return c == '\n' ? ENDED : -1;
    default:
        return -1;
    }
}

enum http_body_step http_body_next(struct http_body *b, const char *bytes,
                                   size_t n, size_t *used, const char **piece,
                                   size_t *n_piece)
{
    size_t i = 0;

    *used = 0;
    while (b->state != ENDED) {
        if (i == n) {
            *used = i;
            return HTTP_BODY_MORE;
        }
        if (b->state == DATA) {
            *piece = bytes + i;
            *n_piece = b->left < n - i ? (size_t)b->left : n - i;
            *used = i + *n_piece;
            b->left -= *n_piece;
            if (b->left == 0)
                b->state = b->chunked ? DATA_CR : ENDED;
            return HTTP_BODY_PIECE;
        }
        b->state = step(b, bytes[i++]);
        if (b->state < 0 || b->n_extra > MOST_EXTRA_BYTES)
            return HTTP_BODY_BAD;
    }
    *used = i;
    return HTTP_BODY_END;
}
