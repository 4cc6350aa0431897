/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "replay/row.h"

#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/xalloc.h"

/* Tokens and logits are stored as in memory: little-endian. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "rows are stored little-endian: swap bytes in replay_db.c");

static size_t token_bytes(const struct segment *s)
{
    return s->tokens ? ((size_t)s->n_tokens + 1) * sizeof *s->tokens : 0;
}

static size_t logit_bytes(const struct segment *s)
{
    return s->old_logits ? (size_t)s->n_old_logits * sizeof(float) : 0;
}

static size_t gram_bytes(const struct segment *s)
{
    return s->grams ? (size_t)s->n_grams * sizeof *s->grams : 0;
}

/* Copies n_bytes to *at and advances it. Without bytes it returns NULL, as a
 * database does. */
static void *put(char **at, const void *from, size_t n_bytes)
{
    void *to = *at;

    if (n_bytes == 0)
        return NULL;
    memcpy(to, from, n_bytes);
    *at += n_bytes;
    return to;
}

size_t row_stored_token_bytes(const struct segment *s)
{
    size_t n = s->tokens ? (size_t)s->n_tokens + 1 : 0;

    for (size_t i = 0; i < n; i++)
        if (s->tokens[i] > UINT16_MAX)
            return n * sizeof(token_id);
    return n * sizeof(uint16_t);
}

void *row_store_tokens(const struct segment *s, size_t *n_bytes)
{
    size_t n = s->tokens ? (size_t)s->n_tokens + 1 : 0;
    uint16_t *narrow;

    *n_bytes = row_stored_token_bytes(s);
    if (n == 0)
        return NULL;
    if (*n_bytes == n * sizeof(token_id))
        return xmemdup(s->tokens, *n_bytes);
    narrow = xmalloc(*n_bytes);
    for (size_t i = 0; i < n; i++)
        narrow[i] = (uint16_t)s->tokens[i];
    return narrow;
}

token_id *row_load_tokens(const void *stored, size_t n_bytes, uint32_t n_tokens)
{
    size_t n = (size_t)n_tokens + 1;
    token_id *tokens;

    if (n_bytes != n * sizeof(uint16_t) && n_bytes != n * sizeof(token_id))
        return NULL;
    tokens = xmalloc(n * sizeof *tokens);
    if (n_bytes == n * sizeof(token_id)) {
        memcpy(tokens, stored, n_bytes);
        return tokens;
    }
    for (size_t i = 0; i < n; i++) {
        uint16_t id;

        memcpy(&id, (const char *)stored + i * sizeof id, sizeof id);
        tokens[i] = id;
    }
    return tokens;
}

/* Layout: struct row | logits float | grams u32 | tokens u32 | text | id NUL */
struct row *row_copy(int64_t key, const struct segment *s,
                     const struct segment_origin *origin, double nats)
{
    size_t text_bytes = s->text ? s->text_bytes : 0;
    size_t id_bytes = origin->id ? strlen(origin->id) + 1 : 0;
    size_t n_bytes = sizeof(struct row) + logit_bytes(s) + gram_bytes(s) +
                     token_bytes(s) + text_bytes + id_bytes;
    struct row *row = xmalloc(n_bytes);
    char *at = (char *)(row + 1);

    row->key = key;
    row->segment = *s;
    row->origin = *origin;
    row->nats = nats;
    row->n_bytes = n_bytes;
    row->segment.old_logits = put(&at, s->old_logits, logit_bytes(s));
    row->segment.n_old_logits = s->old_logits ? s->n_old_logits : 0;
    row->segment.grams = put(&at, s->grams, gram_bytes(s));
    row->segment.tokens = put(&at, s->tokens, token_bytes(s));
    row->segment.text = put(&at, s->text, text_bytes);
    row->segment.text_bytes = (uint32_t)text_bytes;
    row->origin.id = put(&at, origin->id, id_bytes);
    return row;
}

uint64_t row_checksum(const struct row *row)
{
    const struct segment *s = &row->segment;
    const struct segment_origin *o = &row->origin;
    const int64_t numbers[] = {
        row->key,        s->domain,
        s->label,        s->n_tokens,
        s->n_masked,     s->n_bytes,
        s->ends,         s->text_bytes,
        s->n_old_logits, o->partition_id,
        o->offset,       o->part,
        o->time_ms,      (int64_t)o->text_hash,
    };
    uint64_t sum = checksum_xxh3(numbers, sizeof numbers, 0);

    if (s->tokens) {
        size_t n_bytes;
        void *stored = row_store_tokens(s, &n_bytes);

        sum = checksum_xxh3(stored, n_bytes, sum);
        free(stored);
    }
    if (s->text)
        sum = checksum_xxh3(s->text, s->text_bytes, sum);
    if (s->old_logits)
        sum = checksum_xxh3(s->old_logits, logit_bytes(s), sum);
    return o->id ? checksum_xxh3(o->id, strlen(o->id), sum) : sum;
}
