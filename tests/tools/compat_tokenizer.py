#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Does Hugging Face's `tokenizers` library give the same ids as mneme?

    compat_tokenizer.py compare PROGRAM TOKENIZER.JSON... [--texts N]

compares mneme's tests/tools/encode_texts (`make tests/tools/encode_texts`) with
the library on the texts below and on N random ones (default 20,000): the ids,
the ids with the names of special tokens found, the text they give, and the ids
of the tokenizer.json that mneme writes. The random characters are those of
Unicode 14, as in Python 3.11.

    compat_tokenizer.py make DIR

trains a small tokenizer of each family and writes it into DIR with the
library's ids of the texts below (tests/data/tokenizers, made with tokenizers
0.22.1; tests/learner/tokenizer/test_published.c reads them).

    compat_tokenizer.py ask ADDRESS TOKENIZER.JSON [TEXT...]

asks a running daemon (POST /tokenize) for the ids of the lines of the texts
(default: this program).

Exit 1 if something differs, 77 without the library.
"""

import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import unicodedata
import urllib.request

try:
    from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models,
                            normalizers, pre_tokenizers, processors, trainers)
except ImportError:
    print("the tokenizers library is not installed", file=sys.stderr)
    sys.exit(77)

OWN = [
    "", " ", "it's  we'll\tI'd \n\n x", "12 34a  5", "='=''s", "   ",
    "Straße über 潮水 ½ Ⅷ ٣", "a\u00a0b\u3000c\u2028d", "🙂 e\u0301 \u200d",
    "IT'S THEY'RE WE'VE I'M HE'LL SHE'D don'T 'ſ 'tis 'quote' x'y'z ''s",
    "1234567890 12,345.678 3.14e-10 x1y22z333 ٠١٢٣٤ Ⅻ½²",
    "line\r\nline\r\n\r\n\n\r  \r\n   end\r\n", "tab\t\tend\t\n \t x\n\t\ty",
    "  two  spaces  before   words    and at the end   ",
    "def f(x):\n    return x ** 2  # squared\n\n\nprint(f(3))\n",
    "!!!a ?b...\n\n...c --\r\n-- (d) [e] {f} <g> h/i\\j|k~l",
    "A\u030angstro\u0308m \u212b \u2126 q\u0307\u0323 q\u0323\u0307 e\u0323\u0301",
    "\u1112\u1161\u11ab\u1100\u1173\u11af 한글 \uac00\u11a8 \u0958 \u0344",
    "नमस्ते दुनिया שָׁלוֹם עוֹלָם مرحبا بالعالم สวัสดีชาวโลก",
    "潮水在十二点半进来。渡船三艘，港口很安静。こんにちは世界！カタカナ",
    "👩‍👩‍👧‍👦 🇩🇪 👍🏽 \ufe0f ☕️ 𝒜𝓁𝓁 𐍈 \U0010fffd \ue000",
    "<|endoftext|>a <|end_of_text|> <|begin_of_text|> <|im_start|>user\nb"
    "<|im_end|>\n<think>c</think> <thin <|im_start <|im_start|><|im_end|>",
    "a\u0300<think>\u0301b <a\u0308> <\u00e4> <ä> <|im_<think>start|>",
]

# Text of our own, for the vocabularies and the random texts.
LINES = """
The tide came in at half past twelve, and the ferries couldn't leave the harbour.
It's what the pilots had said: they'd wait, they've waited, and they'll wait again.
"We're late," said the captain; "I'm sure the water won't be high before 3:45."
The crew checked 12 lines, 340 boxes and 1,250 litres of water, then it rained.
Die Fähre fährt um 7 Uhr; der Hafenmeister grüßt, und die Möwen schreien über uns.
Le bac part à midi, où l'eau est calme: c'était déjà l'été, près de la côte.
El puerto está tranquilo mañana por la mañana; ¿quién llevará las cajas?
潮水在十二点半进来。渡船三艘，港口很安静。今天的风不大，我们等船长回来。
Паром уходит в полдень, и в гавани тихо; мы ждём капитана и считаем чаек.
    if (n < 10) { return n + 1; } /* a line of code */
        for (int i = 0; i < 16; i++) sum += x[i] * y[i];
""".strip().split("\n")

SPLIT = ("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|%s"
         "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+")


# --- comparing -------------------------------------------------------------

def random_texts(n, names):
    assert unicodedata.unidata_version.startswith("14."), "needs Python 3.11"
    rng = random.Random(1)
    every = [chr(c) for c in range(0x110000)
             if unicodedata.category(chr(c)) not in ("Cn", "Cs")]
    nfc = normalizers.NFC()
    for c in every[:]: # the library's NFC is that of an older Unicode
        if (unicodedata.combining(c) > 1 and
                nfc.normalize_str(c + "\u0334") == c + "\u0334"):
            every.remove(c)
    marks = [c for c in every if unicodedata.combining(c)]
    changing = [c for c in every if unicodedata.normalize("NFC", c) != c]
    numbers = [c for c in every if unicodedata.category(c)[0] == "N"]
    spaces = [c for c in every if c.isspace()]
    jamo = [chr(c) for c in range(0x1100, 0x1200)]
    words = " ".join(LINES).split(" ")
    pools = [every, marks, changing, numbers, spaces, jamo, words, names,
             [" "], ["\u2581"], ["'"], ["\n"], ["\r\n", "\r"], ["0", "7", "12", "345"],
             [chr(c) for c in range(32, 127)], ["é", "ö", "가", "ا", "क"],
             ["'" + e for w in ("s", "t", "re", "ve", "m", "ll", "d", "ſ", "l")
              for e in (w, w.upper(), w.capitalize())]]
    for _ in range(n):
        some = rng.choices(pools, k=rng.randint(1, 4))
        text = ""
        while rng.random() < 0.93:
            pool = rng.choice(some)
            if pool:
                piece = rng.choice(pool)
                if rng.random() < 0.05:
                    piece = piece[:rng.randint(0, len(piece))]
                text += piece * (rng.randint(2, 9) if rng.random() < 0.1
                                 else 1)
        yield text


def own_ids(program, path, texts):
    data = b"".join(struct.pack("<I", len(b)) + b
                    for b in (t.encode() for t in texts))
    done = subprocess.run([program, path], input=data, stdout=subprocess.PIPE,
                          check=True)
    for line in done.stdout.decode().split("\n")[:-1]:
        ids, marked, text = line.split("\t")
        yield ([int(i) for i in ids.split()], [int(i) for i in marked.split()],
               bytes.fromhex(text).decode())


def library_ids(tokenizer, text, marked):
    tokenizer.encode_special_tokens = not marked
    return tokenizer.encode(text, add_special_tokens=False).ids


def without_spaces(text):
    return text.replace(" ", "").replace("\u2581", "")


def compare(program, path, n):
    theirs = Tokenizer.from_file(path)
    with open(path, encoding="utf-8") as f:
        root = json.load(f)
    falls_back = root["model"].get("byte_fallback", False)
    composes = root["normalizer"] is not None and not falls_back
    names = [t["content"] for t in root["added_tokens"]]
    texts = OWN + LINES + list(random_texts(n, names))
    with tempfile.NamedTemporaryFile("wb", suffix=".json") as f:
        f.write(subprocess.run([program, path, "--write"], check=True,
                               stdout=subprocess.PIPE).stdout)
        f.flush()
        again = Tokenizer.from_file(f.name)
    wrong = 0
    for text, (ids, marked, back) in zip(texts, own_ids(program, path, texts),
                                         strict=True):
        if (ids != library_ids(theirs, text, False) or
                marked != library_ids(theirs, text, True) or
                marked != library_ids(again, text, True) or
                (unicodedata.normalize("NFC", back) !=
                 unicodedata.normalize("NFC", text) if composes
                 else without_spaces(back) != without_spaces(text)
                 if falls_back else back != text)):
            wrong += 1
            if wrong <= 10:
                print(f"differs: {text!r}\n    {ids}\n    "
                      f"{library_ids(theirs, text, False)}")
    print(f"{path}: {len(texts)} texts, {wrong} differ")
    return wrong


# --- making ----------------------------------------------------------------

def specials(*names):
    return [AddedToken(n, normalized=False, special=True) for n in names]


def begins_with(name, token_id):
    return processors.TemplateProcessing(single=f"{name} $A",
                                         pair=f"{name} $A {name}:1 $B:1",
                                         special_tokens=[(name, token_id)])


def split_and_bytes(numbers):
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT % numbers), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def train(pre, normalizer=None, first=(), n=420):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre
    if normalizer:
        t.normalizer = normalizer
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(
        LINES * 2, trainers.BpeTrainer(
            vocab_size=n, special_tokens=specials(*first), show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return t


def make_gpt2():
    t = train(pre_tokenizers.ByteLevel(add_prefix_space=False))
    t.add_special_tokens(specials("<|endoftext|>"))
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    return json.loads(t.to_str())


def make_smollm():
    t = train(pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False)]),
              first=("<|endoftext|>", "<|im_start|>", "<|im_end|>"))
    return json.loads(t.to_str())


def make_llama3():
    t = train(split_and_bytes("\\p{N}{1,3}"), n=500)
    root = json.loads(t.to_str())
    model = root["model"]
    # Words that no merges build, as Llama 3 has some.
    model["merges"] = [m for i, m in enumerate(model["merges"]) if i % 7 < 6]
    model["ignore_merges"] = True
    t = Tokenizer.from_str(json.dumps(root))
    t.add_special_tokens(specials("<|begin_of_text|>", "<|end_of_text|>",
                                  "<|eot_id|>"))
    t.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        begins_with("<|begin_of_text|>", t.token_to_id("<|begin_of_text|>"))])
    root = json.loads(t.to_str())
    root["model"]["merges"] = [" ".join(m) for m in root["model"]["merges"]]
    return root


def make_qwen2():
    t = train(split_and_bytes("\\p{N}"), normalizers.NFC())
    t.add_special_tokens(specials("<|endoftext|>", "<|im_start|>",
                                  "<|im_end|>"))
    t.add_tokens([AddedToken(n, normalized=False)
                  for n in ("<think>", "</think>")])
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    return json.loads(t.to_str())


def make_fallback(change):
    """Llama 2's form; `change` sets where spaces are marked."""
    names = ["<unk>", "<s>", "</s>"]
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True,
                             byte_fallback=True))
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.train_from_iterator(LINES * 2, trainers.BpeTrainer(
        vocab_size=560, show_progress=False,
        special_tokens=names + [f"<0x{b:02X}>" for b in range(256)]))
    root = json.loads(t.to_str())
    root["added_tokens"] = root["added_tokens"][:len(names)]
    root["pre_tokenizer"] = None
    t = Tokenizer.from_str(json.dumps(root))
    t.add_tokens([AddedToken("<think>", normalized=False)])
    t.post_processor = begins_with("<s>", 1)
    t.decoder = decoders.Sequence([
        decoders.Replace("\u2581", " "), decoders.ByteFallback(),
        decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    change(t)
    return json.loads(t.to_str())


def make_llama2():
    def change(t):
        t.normalizer = normalizers.Sequence([
            normalizers.Prepend("\u2581"),
            normalizers.Replace(" ", "\u2581")])
    return make_fallback(change)


def make_mistral():
    def change(t):
        t.pre_tokenizer = pre_tokenizers.Metaspace(
            prepend_scheme="first", split=False)
    return make_fallback(change)


def make_scattered():
    """Added tokens within the vocabulary, some sought after normalization, one
    a part of another, and ids without a token."""
    t = train(split_and_bytes("\\p{N}"), normalizers.NFC())
    root = json.loads(t.to_str())
    vocab = root["model"]["vocab"]
    root["model"]["vocab"] = {p: 3 * i + 5 for p, i in vocab.items()}

    def added(token_id, content, special, normalized):
        root["model"]["vocab"][content] = token_id
        return {"id": token_id, "content": content, "single_word": False,
                "lstrip": False, "rstrip": False, "normalized": normalized,
                "special": special}

    root["added_tokens"] = [
        added(0, "</s>", True, False), added(1, "<s>", True, True),
        added(3, "<\u00e4>", False, True), added(7, "ferries", False, True),
        added(9, "<|im_start|>", True, False), added(10, "im_", False, False),
        added(1400, "<think>", False, True)]
    return root


def make(folder):
    os.makedirs(folder, exist_ok=True)
    for name in ("gpt2", "smollm", "llama3", "llama2", "mistral", "qwen2",
                 "scattered"):
        root = globals()["make_" + name]()
        path = os.path.join(folder, name + ".json")
        with open(path, "w", encoding="utf-8") as f:
            json.dump(root, f, ensure_ascii=False, separators=(",", ":"))
            f.write("\n")
        t = Tokenizer.from_file(path)
        expected = []
        for text in OWN + LINES:
            ids = library_ids(t, text, False)
            marked = library_ids(t, text, True)
            expected.append({"text": text, "ids": ids})
            if marked != ids:
                expected[-1]["marked"] = marked
        with open(os.path.join(folder, name + ".ids.json"), "w",
                  encoding="utf-8") as f:
            json.dump(expected, f, separators=(",", ":"))
            f.write("\n")


# --- asking a daemon -------------------------------------------------------

def ask(address, path, texts):
    theirs = Tokenizer.from_file(path)
    wrong = n = 0
    lines = list(OWN[1:])
    for text in texts or [__file__]:
        with open(text, encoding="utf-8", newline="") as f:
            lines += f
    for line in lines:
        body = json.dumps({"prompt": line, "add_special_tokens": False})
        request = urllib.request.Request(f"http://{address}/tokenize",
                                         body.encode())
        ours = json.load(urllib.request.urlopen(request))["tokens"]
        n += 1
        if ours != library_ids(theirs, line, False):
            wrong += 1
            print(f"differs: {line!r}")
    print(f"{n} lines, {wrong} differ")
    return wrong


def main():
    verb, *rest = sys.argv[1:] or ["help"]
    n = 20000
    if "--texts" in rest:
        at = rest.index("--texts")
        n = int(rest[at + 1])
        rest[at:at + 2] = []
    if verb == "make" and len(rest) == 1:
        make(rest[0])
    elif verb == "compare" and len(rest) >= 2:
        sys.exit(1 if sum(compare(rest[0], p, n) for p in rest[1:]) else 0)
    elif verb == "ask" and len(rest) >= 2:
        sys.exit(1 if ask(rest[0], rest[1], rest[2:]) else 0)
    else:
        print(__doc__)
        sys.exit(2)


main()
