#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints the digest that test_nfc.c expects, from Python's own normalization.

    python3 tests/learner/tokenizer/nfc_digest.py   (Python 3.11: Unicode 14)
"""

import hashlib
import unicodedata

digest = hashlib.sha256()
for c in range(1, 0x110000):
    if not 0xd800 <= c <= 0xdfff:
        for after in "\u0301\u0323\u0307", "\u1161\u11a8", "\u09be\u0334":
            digest.update(unicodedata.normalize("NFC", chr(c) + after).encode())
print(unicodedata.unidata_version, digest.hexdigest())
