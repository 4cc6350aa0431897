#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes nfc_tables.c: what Unicode's normalization form C needs.

    python3 learner/tokenizer/nfc_tables.py > learner/tokenizer/nfc_tables.c
"""

import sys
import unicodedata

HANGUL = range(0xac00, 0xd7a4)
VOWELS_AND_TAILS = [*range(0x1161, 0x1176), *range(0x11a8, 0x11c3)]

every = [c for c in range(sys.maxunicode + 1) if not 0xd800 <= c <= 0xdfff]
nfd = {c: unicodedata.normalize("NFD", chr(c)) for c in every
       if c not in HANGUL}
parts = {c: d for c, d in nfd.items() if d != chr(c)}
kept = [c for c in parts if unicodedata.normalize("NFC", chr(c)) == chr(c)]
pairs = []
for c in kept:
    first, second = unicodedata.decomposition(chr(c)).split()
    pairs.append((int(first, 16), int(second, 16), c))
unsure = {c for c in parts if c not in set(kept)}
unsure |= {second for _, second, _ in pairs} | set(VOWELS_AND_TAILS)

print(f"""/* SPDX-License-Identifier: Apache-2.0 */
/* Made by nfc_tables.py from Unicode {unicodedata.unidata_version}. */
#include "config.h"

#include "learner/tokenizer/nfc_tables.h"

const struct nfc_range nfc_ranges[] = {{""")
ranges = []
for c in every:
    k = unicodedata.combining(chr(c)), c in unsure
    if k == (0, False):
        continue
    if ranges and ranges[-1][1] == c - 1 and ranges[-1][2] == k:
        ranges[-1][1] = c
    else:
        ranges.append([c, c, k])
for first, last, (order, doubt) in ranges:
    print(f"    {{0x{first:05x}, 0x{last:05x}, {order}, {int(doubt)}}},")
print(f"""}};

const size_t nfc_ranges_n = {len(ranges)};

const struct nfc_parts nfc_parts[] = {{""")
for c, d in sorted(parts.items()):
    print(f"    {{0x{c:05x}, {{{', '.join(f'0x{ord(p):05x}' for p in d)}}}}},")
print(f"""}};

const size_t nfc_parts_n = {len(parts)};

const struct nfc_pair nfc_pairs[] = {{""")
for first, second, c in sorted(pairs):
    print(f"    {{0x{first:05x}, 0x{second:05x}, 0x{c:05x}}},")
print(f"""}};

const size_t nfc_pairs_n = {len(pairs)};""")
