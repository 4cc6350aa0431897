#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes unicode_classes.c: ranges of letters, numbers and white space.

    python3 learner/tokenizer/unicode_classes.py > learner/tokenizer/unicode_classes.c
"""

import sys
import unicodedata

WHITE_SPACE = set([*range(0x09, 0x0e), 0x20, 0x85, 0xa0, 0x1680,
                   *range(0x2000, 0x200b), 0x2028, 0x2029, 0x202f, 0x205f,
                   0x3000])


def class_of(c):
    if c in WHITE_SPACE:
        return "S"
    category = unicodedata.category(chr(c))[0]
    return category if category in "LN" else ""


def ranges():
    found = []
    for c in range(sys.maxunicode + 1):
        k = class_of(c)
        if not k:
            continue
        if found and found[-1][1] == c - 1 and found[-1][2] == k:
            found[-1][1] = c
        else:
            found.append([c, c, k])
    return found


names = {"L": "UNICODE_LETTER", "N": "UNICODE_NUMBER", "S": "UNICODE_SPACE"}
print(f"""/* SPDX-License-Identifier: Apache-2.0 */
/* Made by unicode_classes.py from Unicode {unicodedata.unidata_version}. */
#include "config.h"

#include "learner/tokenizer/unicode_classes.h"

const struct unicode_range unicode_ranges[] = {{""")
table = ranges()
for first, last, k in table:
    print(f"    {{0x{first:05x}, 0x{last:05x}, {names[k]}}},")
print(f"""}};

const size_t unicode_ranges_n = {len(table)};""")
