#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Does the `tokenizers` library split texts as mneme does?

    compat_tokenizer.py ADDRESS TOKENIZER.JSON [TEXT...]

asks a running daemon (POST /tokenize) and the library with that daemon's
tokenizer.json, and compares ids on the lines of the texts (default: this
program and every character class once). Exit 77 without the library.
"""

import json
import sys
import urllib.request

try:
    from tokenizers import Tokenizer
except ImportError:
    print("the tokenizers library is not installed", file=sys.stderr)
    sys.exit(77)

OWN = ["it's  we'll\tI'd \n\n x", "12 34a  5", "Straße über 潮水 ½ Ⅷ ٣",
       "a\u00a0b\u3000c\u2028d", "🙂 e\u0301 \u200d", "   ", "='=''s"]


def lines(paths):
    for path in paths or [__file__]:
        with open(path, encoding="utf-8", newline="") as f:
            yield from f
    yield from OWN


def main():
    address, path, *texts = sys.argv[1:]
    theirs = Tokenizer.from_file(path)
    wrong = n = 0
    for line in lines(texts):
        body = json.dumps({"prompt": line, "add_special_tokens": False})
        request = urllib.request.Request(f"http://{address}/tokenize",
                                         body.encode())
        ours = json.load(urllib.request.urlopen(request))["tokens"]
        n += 1
        if ours != theirs.encode(line, add_special_tokens=False).ids:
            wrong += 1
            print(f"differs: {line!r}")
    print(f"{n} lines, {wrong} differ")
    sys.exit(1 if wrong else 0)


main()
