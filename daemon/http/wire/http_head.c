/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A head is read in two passes. http_head_find checks every byte once, and
 * refuses control characters and line ends that are not CR LF. So
 * http_head_parse can rely on clean lines.
 *
 * A chunked body is read by a state machine, one byte a step except for data.
 */
#include "config.h"

#include "daemon/http/wire/http_head.h"

#include <string.h>
#include <strings.h>

#define MAX_LENGTH_DIGITS 18 /* of Content-Length: below 2^63 */
#define MAX_CHUNK_DIGITS 15  /* hexadecimal */
#define MAX_EXTRA_BYTES 8192

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

/* --- the end of a head -------------------------------------------------- */

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
            return malformed(why, "the head has a control character");
        if (after_cr != (bytes[i] == '\n'))
            return malformed(why, "every line of the head must end in CR LF");
        if (i >= 3 && bytes[i] == '\n' && bytes[i - 2] == '\n') {
            *length = i + 1;
            break;
        }
    }
    *seen = *length ? *length : n;
    if (*seen <= HTTP_MAX_HEAD_BYTES && (*length || n < HTTP_MAX_HEAD_BYTES))
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

/* Decodes %XX, and + in a query, in place. */
static bool decode_percent(char *s, bool is_query, struct http_refusal *why)
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
            return malformed(why, "the target has %00");
        *out++ = (char)(high << 4 | low);
        s += 2;
    }
    *out = '\0';
    return true;
}

/* True for HOST or HOST:PORT. */
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

/* Ends s at the first c. Returns the text after c, or NULL without a c. */
static char *split(char *s, char c)
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
        char *next = split(query, '&'), *value = split(query, '=');

        if (*query && value) {
            if (head->n_arguments == HTTP_MAX_ARGUMENTS)
                return malformed(why, "the query has too many arguments");
            if (!decode_percent(query, true, why) ||
                !decode_percent(value, true, why))
                return false;
            head->arguments[head->n_arguments++] =
                (struct http_field){query, value};
        } else if (!decode_percent(query, true, why)) {
            return false;
        }
        query = next;
    }
    return true;
}

/* Splits "http://host:port/path?query". The authority moves one byte to the
 * left, over the slash before it, to make room for its NUL. */
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
        return malformed(why, "the target must begin with /");
    }
    query = split(path, '?');
    if (!decode_percent(path, false, why))
        return false;
    head->path = *path ? path : "/";
    return !query || parse_query(query, head, why);
}

static bool parse_version(const char *s, struct http_head *head,
                          struct http_refusal *why)
{
    if (strlen(s) != 8 || strncmp(s, "HTTP/", 5) != 0 || !is_digit(s[5]) ||
        s[6] != '.' || !is_digit(s[7]))
        return malformed(why, "a request line must be METHOD TARGET HTTP/1.1");
    if (s[5] != '1')
        return refuse(why, 505, "version_not_supported",
                      "only HTTP/1.1 and HTTP/1.0 are supported");
    head->minor = s[7] > '0';
    return true;
}

static bool parse_request_line(char *line, struct http_head *head,
                               struct http_refusal *why)
{
    size_t n = token_length(line);
    char *target, *version;

    if (n == 0 || line[n] != ' ')
        return malformed(why, "a request line must be METHOD TARGET HTTP/1.1");
    line[n] = '\0';
    head->method = line;
    target = line + n + 1;
    version = split(target, ' ');
    if (!version || !*target)
        return malformed(why, "a request line must be METHOD TARGET HTTP/1.1");
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
        return malformed(why, "a header line must be NAME: VALUE, without a "
                              "blank before the colon");
    if (head->n_fields == HTTP_MAX_FIELDS)
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

/* Some fields must not be repeated: two readers could pick different ones. */
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
                          "a header that may occur only once is repeated");
    }
    return true;
}

static bool check_host(const struct http_head *head, struct http_refusal *why)
{
    const char *host = http_head_field(head, "Host");

    if (!host && head->minor)
        return malformed(why, "a request of HTTP/1.1 needs a Host");
    if (host && *host && !is_authority(host))
        return malformed(why, "Host must be HOST or HOST:PORT");
    return true;
}

/* Is `word` an element of the list "a, b, c"? */
static bool list_has(const char *list, const char *word)
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

/* True for a list of tokens with chunked once, at its end. Such a list is
 * well-formed, although this server does not support it. */
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
        return malformed(why, "HTTP/1.0 has no Transfer-Encoding");
    if (http_head_field(head, "Content-Length"))
        return refuse(why, 400, "ambiguous_length",
                      "send a Content-Length or a Transfer-Encoding, not both");
    head->chunked = strcmp(coding, "chunked") == 0;
    if (head->chunked)
        return true;
    if (strcasecmp(coding, "chunked") != 0 && is_coding_list(coding))
        return refuse(why, 501, "not_implemented",
                      "the only supported Transfer-Encoding is chunked");
    return malformed(why, "Transfer-Encoding must be chunked");
}

static bool parse_length(const char *s, struct http_head *head,
                         struct http_refusal *why)
{
    size_t n = strspn(s, "0123456789");

    if (n == 0 || s[n])
        return malformed(why, "Content-Length must be a number");
    while (n > 1 && *s == '0') {
        s++;
        n--;
    }
    if (n > MAX_LENGTH_DIGITS)
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
                      "the only supported Expect is 100-continue");
    head->expects_continue = head->chunked || head->length;
    return true;
}

static void parse_connection(struct http_head *head)
{
    bool ends = false, keep_alive = false;

    for (int i = 0; i < head->n_fields; i++) {
        if (strcasecmp(head->fields[i].name, "Connection") != 0)
            continue;
        ends |= list_has(head->fields[i].value, "close");
        keep_alive |= list_has(head->fields[i].value, "keep-alive");
    }
    head->keep_alive = !ends && (head->minor || keep_alive);
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
    parse_connection(head);
    return check_repeated(head, why) && check_host(head, why) &&
           check_framing(head, why);
}

static const char *find_value(const struct http_field *fields, int n,
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
    return find_value(head->fields, head->n_fields, name, false);
}

const char *http_head_argument(const struct http_head *head, const char *name)
{
    return find_value(head->arguments, head->n_arguments, name, true);
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
    LINE, /* the first byte of a trailer line, or of the empty line */
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

/* Reads one byte outside the data. Returns the next state, or -1. */
static int next_state(struct http_body *b, char c)
{
    int digit = hex_value(c);

    switch (b->state) {
    case SIZE_FIRST:
        b->left = 0;
        /* fall through */
    case SIZE:
        if (digit >= 0) {
            b->n_extra += b->left == 0; /* leading zeros count, too */
            if (b->left >> (4 * (MAX_CHUNK_DIGITS - 1)))
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
        b->state = next_state(b, bytes[i++]);
        if (b->state < 0 || b->n_extra > MAX_EXTRA_BYTES)
            return HTTP_BODY_BAD;
    }
    *used = i;
    return HTTP_BODY_END;
}
