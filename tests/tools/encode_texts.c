/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encode_texts - encodes texts with a tokenizer.json, for compat_tokenizer.py.
 *
 *     tests/tools/encode_texts TOKENIZER.JSON < TEXTS
 *
 * A text is its number of bytes in four, the lowest first, and the bytes. For
 * each text it prints a line of three columns, with a tab between two: the ids,
 * the ids when the names of special tokens are found, and the bytes of the
 * former in hexadecimal. With --write it prints the tokenizer.json that mneme
 * writes.
 */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/fileio.h"
#include "base/xalloc.h"
#include "learner/tokenizer/tokenizer.h"

static void print_ids(const struct token_list *ids)
{
    for (size_t i = 0; i < ids->n; i++)
        printf("%s%u", i ? " " : "", ids->items[i]);
}

static void print_text(const struct tokenizer *t, const char *text, size_t n)
{
    struct token_list ids = TOKEN_LIST_INIT, marked = TOKEN_LIST_INIT;
    struct buf back = BUF_INIT;

    tokenizer_encode(t, text, n, &ids);
    tokenizer_encode_marked(t, text, n, &marked);
    tokenizer_decode(t, ids.items, ids.n, &back);
    print_ids(&ids);
    putchar('\t');
    print_ids(&marked);
    putchar('\t');
    for (size_t i = 0; i < back.len; i++)
        printf("%02x", (unsigned char)back.data[i]);
    putchar('\n');
    token_list_release(&ids);
    token_list_release(&marked);
    buf_release(&back);
}

int main(int argc, char **argv)
{
    struct tokenizer *t;
    struct buf json = BUF_INIT, text = BUF_INIT;
    struct err err = ERR_INIT;
    unsigned char head[4];

    if (argc < 2) {
        fprintf(stderr, "usage: encode_texts TOKENIZER.JSON [--write]\n");
        return 2;
    }
    if (fileio_read(argv[1], TOKENIZER_MAX_JSON, &json, &err) ||
        tokenizer_from_json(json.data ? json.data : "", json.len, &t, &err)) {
        fprintf(stderr, "encode_texts: %s\n", err.msg);
        return 1;
    }
    if (argc > 2 && strcmp(argv[2], "--write") == 0) {
        tokenizer_to_json(t, &text);
        fwrite(text.data, 1, text.len, stdout);
    }
    while (argc == 2 && fread(head, 1, sizeof head, stdin) == sizeof head) {
        size_t n = head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16 |
                   (size_t)head[3] << 24;

        buf_clear(&text);
        buf_reserve(&text, n + 1);
        if (fread(text.data, 1, n, stdin) != n)
            break;
        print_text(t, text.data, n);
    }
    tokenizer_free(t);
    buf_release(&json);
    buf_release(&text);
    return 0;
}
