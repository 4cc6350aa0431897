/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cut.h - a record's text into segments (base/segment.h draws how).
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
    struct token_list tokens; /* end-of-text, the text, end-of-text */
    struct segment *segments; /* point into tokens */
    size_t n_segments;
};

#define CUT_INIT {TOKEN_LIST_INIT, NULL, 0}

/*
 * Cuts a record.
 *   prompt   masked: no loss, not counted; NULL for none
 *   t        NULL: preset linear; one segment that keeps the text
 *   context  targets in a segment at most
 * domain and label are set in every segment. The text must outlive the cut
 * for preset linear; otherwise nothing of it is kept.
 */
void cut_record(struct cut *c, const struct tokenizer *t, size_t context,
                const char *prompt, size_t prompt_bytes, const char *text,
                size_t text_bytes, int32_t domain, int32_t label);

/* Cuts the n ids of a text, without domain and label. An end-of-text is put in
 * front unless the ids begin with one. */
void cut_ids(struct cut *c, const struct tokenizer *t, size_t context,
             const uint16_t *ids, size_t n);

void cut_release(struct cut *c);

/* Appends the text of a segment's targets: decoded, or kept. */
void cut_text(const struct segment *s, const struct tokenizer *t,
              struct buf *out);

#endif
