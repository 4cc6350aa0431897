/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request: its head, then its body. The bytes come in two pieces, so that the
 * end of the head is found across them, too; the first byte says where.
 */
#include "config.h"

#include "daemon/http/wire/http_head.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

static void read_body(const struct http_head *head, const char *bytes, size_t n)
{
    enum http_body_step step = HTTP_BODY_PIECE;
    struct http_body body;

    http_body_init(&body, head);
    while (step == HTTP_BODY_PIECE) {
        const char *piece = bytes;
        size_t used = 0, n_piece = 0;

        step = http_body_next(&body, bytes, n, &used, &piece, &n_piece);
        if (used > n || (step == HTTP_BODY_PIECE &&
                         (piece < bytes || piece + n_piece > bytes + used)))
            abort();
        bytes += used;
        n -= used;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_refusal why;
    struct http_head head;
    size_t seen = 0, length = 0, first;
    char *bytes;

    if (size < 1)
        return 0;
    first = data[0] < size - 1 ? data[0] : size - 1;
    bytes = malloc(size);
    memcpy(bytes, data + 1, size - 1);
    if (http_head_find(bytes, first, &seen, &length, &why) && !length)
        http_head_find(bytes, size - 1, &seen, &length, &why);
    if (length > size - 1)
        abort();
    if (length) {
        /* The parser writes a NUL behind the head. */
        char *rest = malloc(size - length);
        size_t n_rest = size - 1 - length;

        memcpy(rest, bytes + length, n_rest);
        if (http_head_parse(bytes, length, &head, &why)) {
            http_head_field(&head, "content-length");
            http_head_argument(&head, "limit");
            read_body(&head, rest, n_rest);
        }
        free(rest);
    }
    free(bytes);
    return 0;
}
