/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unicode_classes.h - the Unicode classes that the pre-tokenizer needs: letters
 * (\p{L}), numbers (\p{N}) and White_Space. unicode_classes.py makes the table.
 *
 * Threads: any
 */
#ifndef MNEME_LEARNER_TOKENIZER_UNICODE_CLASSES_H
#define MNEME_LEARNER_TOKENIZER_UNICODE_CLASSES_H

#include <stddef.h>
#include <stdint.h>

enum unicode_class {
    UNICODE_OTHER, /* any other, and bytes that are not UTF-8 */
    UNICODE_LETTER,
    UNICODE_NUMBER,
    UNICODE_SPACE
};

struct unicode_range {
    uint32_t first, last; /* ascending, no overlaps */
    enum unicode_class is;
};

extern const struct unicode_range unicode_ranges[];
extern const size_t unicode_ranges_n;

#endif
