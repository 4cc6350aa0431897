/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cut.h - cuts a record's text into segments (base/segment.h has a drawing).
 *
 * Owner:   a struct cut owns its tokens and segments; cut_release
 * Threads: any
 */
#ifndef MNEME_LEARNER_TOKENIZER_CUT_H
#define MNEME_LEARNER_TOKENIZER_CUT_H

#include <stddef.h>

#include "base/segment.h"
#include "learner/tokenizer/tokenizer.h"

struct cut {
    struct token_list tokens; /* begin-of-text, the text, end-of-text */
    struct segment *segments; /* point into tokens */
    size_t n_segments;
};

#define CUT_INIT {TOKEN_LIST_INIT, NULL, 0}

/*
 * Cuts a record.
 *   prompt   masked: its tokens have no loss; NULL: no prompt
 *   t        NULL: preset linear; one segment that points to the text
 *   context  the most targets of a segment
 * domain and label are set in every segment. For preset linear the text must
 * outlive the cut; otherwise nothing of it is kept.
 */
void cut_record(struct cut *c, const struct tokenizer *t, size_t context,
                const char *prompt, size_t prompt_bytes, const char *text,
                size_t text_bytes, int32_t domain, int32_t label);

/* Cuts the n ids of a text, without domain and label. The token that begins a
 * text is put before them unless they begin with it. */
void cut_ids(struct cut *c, const struct tokenizer *t, size_t context,
             const token_id *ids, size_t n);

void cut_release(struct cut *c);

/* Appends the text of a segment's targets: the segment's text, or its decoded
 * tokens. */
void cut_text(const struct segment *s, const struct tokenizer *t,
              struct buf *out);

#endif
