/* SPDX-License-Identifier: Apache-2.0 */
/*
 * train_merges - learns merges from a text, for builtin_merges.py.
 *
 *     learner/tokenizer/train_merges N < TEXT
 *
 * Prints the two ids of each of N merges on a line, the first merge first. It
 * prints fewer when no further pair occurs twice.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "learner/tokenizer/tokenizer_private.h"

int main(int argc, char **argv)
{
    struct tokenizer *t;
    struct buf text = BUF_INIT;
    struct err err = ERR_INIT;
    char block[65536];
    size_t n;

    if (argc != 2) {
        fprintf(stderr, "usage: train_merges N < TEXT\n");
        return 2;
    }
    while ((n = fread(block, 1, sizeof block, stdin)) > 0)
        buf_add(&text, block, n);
    if (tokenizer_train(text.data ? text.data : "", text.len,
                        TOKENIZER_FIRST_MERGE + atoi(argv[1]), NULL, NULL, &t,
                        &err)) {
        fprintf(stderr, "train_merges: %s\n", err.msg);
        return 1;
    }
    for (size_t i = 0; i < t->n_merges; i++)
        printf("%u %u\n", t->merges[i].left, t->merges[i].right);
    tokenizer_free(t);
    buf_release(&text);
    return 0;
}
