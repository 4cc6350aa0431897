/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segment.h - a segment: the unit that is learned, replayed, held out and
 * counted.
 *
 * The tokens of a record are those of its text and the end-of-text token. They
 * are cut into segments of at most `context` tokens. Each token is a target
 * exactly once. The input for a segment's first target is the token before it;
 * at the start of a record that is end-of-text. Positions and attention begin
 * again at each segment.
 *
 *     record   [E] a b c d e f g [E]        context 4
 *     segment 0    inputs  E a b c          targets a b c d
 *     segment 1    inputs  d e f g          targets e f g E    (ends)
 *
 * Bits per byte counts only the tokens of the text: end-of-text is trained, but
 * not counted. In an instruction pair the targets of the prompt are masked:
 * neither trained nor counted.
 *
 * Owner:   the part that made it; a struct segment only has pointers
 * Threads: any; it does not change after it is made
 */
#ifndef MNEME_BASE_SEGMENT_H
#define MNEME_BASE_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A token of a vocabulary: 0 to MODEL_MAX_VOCAB - 1. */
typedef uint32_t token_id;

struct segment {
    const token_id *tokens; /* n_tokens + 1: the input before the first
                               target, then the targets */
    uint32_t n_tokens;      /* targets, 1 to context; 0 for preset linear */
    uint32_t n_masked;      /* how many of the first targets have no loss */
    uint32_t n_bytes;       /* UTF-8 bytes of the counted text targets */
    bool ends;              /* the last target is the record's end-of-text */
    int32_t domain;         /* id in the table of domains */
    int32_t label;          /* id in the table of labels, -1 for none */
    const char *text;       /* preset linear only */
    uint32_t text_bytes;
    uint32_t n_grams;
    const uint32_t *grams;   /* hashes of text (tokenizer/grams.h), or NULL: to
                                be computed from it */
    const float *old_logits; /* labelled replay rows: the class head's logits
                                when the row was written, or NULL */
    uint32_t n_old_logits;
};

/* The number of targets with a loss. */
static inline uint32_t segment_counted(const struct segment *s)
{
    return s->n_tokens - s->n_masked;
}

/* Limits for a segment that is read from a file. */
struct segment_limits {
    size_t domains, labels; /* ids are below these */
    size_t vocab_size;      /* 0: preset linear, whose segments have text */
    size_t context;
};

/* Are all fields of the segment within the limits? Segments of the database are
 * checked, since it may come from anybody. */
static inline bool segment_fits(const struct segment *s,
                                const struct segment_limits *l)
{
    if (s->domain < 0 || (size_t)s->domain >= l->domains || s->label < -1 ||
        (s->label >= 0 && (size_t)s->label >= l->labels) ||
        s->n_old_logits > l->labels || s->n_masked > s->n_tokens)
        return false;
    for (uint32_t i = 0; i < s->n_old_logits; i++)
        if (!(s->old_logits[i] - s->old_logits[i] == 0)) /* not finite */
            return false;
    if (l->vocab_size == 0)
        return s->text && !s->tokens && s->n_tokens == 0;
    if (!s->tokens || s->text || s->n_tokens == 0 || s->n_tokens > l->context)
        return false;
    for (uint32_t i = 0; i <= s->n_tokens; i++)
        if (s->tokens[i] >= l->vocab_size)
            return false;
    return true;
}

/* The origin of a segment, for the ledger, `forget` and quarantine. */
struct segment_origin {
    int32_t partition_id; /* row of the store's table of topic partitions */
    int64_t offset;
    uint32_t part;      /* which segment of its record, from 0 */
    const char *id;     /* the user's id of the record, or NULL */
    uint64_t text_hash; /* XXH3 of the record's text */
    int64_t time_ms;    /* event time, Unix milliseconds; 0 unknown */
};

#endif
