/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "bench/corpus.h"

#include <stdlib.h>

#include "base/xalloc.h"

#define BYTES 256
#define TRAIN_BYTES ((size_t)1 << 20) /* of text for a BPE */

struct corpus_ids {
    int vocab;
    struct tokenizer *tokenizer; /* NULL: bytes without end-of-text */
    struct token_list ids;
};

struct corpus {
    const char *text;
    size_t n_bytes;
    struct corpus_ids *items;
    size_t n, cap;
};

struct corpus *corpus_create(const char *text, size_t n_bytes)
{
    struct corpus *c = xcalloc(1, sizeof *c);

    c->text = text;
    c->n_bytes = n_bytes;
    return c;
}

void corpus_free(struct corpus *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n; i++) {
        tokenizer_free(c->items[i].tokenizer);
        token_list_release(&c->items[i].ids);
    }
    free(c->items);
    free(c);
}

static int encode(struct corpus *c, struct corpus_ids *to, struct err *err)
{
    size_t n = c->n_bytes < TRAIN_BYTES ? c->n_bytes : TRAIN_BYTES;
    int rc = 0;

    if (to->vocab == BYTES + 1)
        to->tokenizer = tokenizer_create_bytes();
    else if (to->vocab > BYTES)
        rc = tokenizer_train(c->text, n, to->vocab, NULL, NULL,
                             &to->tokenizer, err);
    if (rc)
        return rc;
    if (to->tokenizer)
        tokenizer_encode(to->tokenizer, c->text, c->n_bytes, &to->ids);
    for (size_t i = 0; !to->tokenizer && i < c->n_bytes; i++)
        token_list_add(&to->ids,
                       (token_id)((unsigned char)c->text[i] % to->vocab));
    return 0;
}

static int find(struct corpus *c, int vocab, struct corpus_ids **ids,
                struct err *err)
{
    struct corpus_ids new = {.vocab = vocab};
    int rc;

    for (size_t i = 0; i < c->n; i++)
        if (c->items[i].vocab == vocab) {
            *ids = &c->items[i];
            return 0;
        }
    rc = encode(c, &new, err);
    if (rc)
        return rc;
    XGROW(c->items, c->n, c->cap);
    c->items[c->n] = new;
    *ids = &c->items[c->n++];
    return 0;
}

int corpus_tokenizer(struct corpus *c, int vocab,
                     const struct tokenizer **tokenizer, struct err *err)
{
    struct corpus_ids *ids;
    int rc = find(c, vocab, &ids, err);

    BUG_ON(vocab <= BYTES);
    if (rc == 0)
        *tokenizer = ids->tokenizer;
    return rc;
}

int corpus_count(struct corpus *c, int vocab, size_t sequence, size_t *n,
                 struct err *err)
{
    struct corpus_ids *ids;
    int rc = find(c, vocab, &ids, err);

    if (rc == 0)
        *n = ids->ids.n ? (ids->ids.n - 1) / sequence : 0;
    return rc;
}

int corpus_segments(struct corpus *c, int vocab, size_t sequence,
                    size_t first, size_t n, struct segment *segments,
                    struct err *err)
{
    struct corpus_ids *ids;
    int rc = find(c, vocab, &ids, err);

    if (rc)
        return rc;
    if (ids->ids.n < sequence + 1)
        return err_set(err, ERR_LIMIT,
                       "the text has %zu tokens: %zu are needed at least",
                       ids->ids.n, sequence + 1);
    for (size_t i = 0; i < n; i++)
        segments[i] = (struct segment){
            .tokens = ids->ids.items +
                      (first + i) * sequence % (ids->ids.n - sequence),
            .n_tokens = (uint32_t)sequence,
            .n_bytes = (uint32_t)sequence,
            .label = -1,
        };
    return 0;
}
