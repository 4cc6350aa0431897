#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Do other programs read what `mneme export` writes?

    compat_gguf.py

publishes a Llama, a Qwen2 and a Qwen3 version, and one with the rope scaling of
Llama 3, with tests/tools/write_hf, and exports each in every format and type. The PyPI package gguf reads the GGUF files: keys,
names, rows, and the same bytes as its own rounding. llama.cpp, through
llama-cpp-python, gives the same tokens, the logits of a plain forward pass in
NumPy over the rounded weights, and the same greedy tokens. Prints TAP; skipped
without numpy and gguf, and in part without llama_cpp. Needs no network.

LLAMA_CPP_LIB_PATH may name a folder with libllama.so (see llama-cpp-python).
"""

import json
import os
import subprocess
import sys
import tempfile

TOP = os.environ.get("top_builddir", ".")
SOURCES = os.environ.get("top_srcdir", ".")
os.environ.setdefault("MNEME_LIBRARY", f"{TOP}/libmneme/libmneme.so.0")
sys.path.insert(0, f"{SOURCES}/contrib/python")
try:
    import numpy as np
    import gguf
    from plain_model import forward, read_model, read_tensors
except ImportError as missing:
    print(f"1..0 # SKIP {missing.name} is not installed")
    sys.exit(0)
try:
    import llama_cpp
except ImportError:
    llama_cpp = None
import mneme

TYPES = ["f32", "f16", "bf16", "q8_0", "q4_0"]
TEXTS = ["it's  we'll\tI'd \n\n x", "12 34a  5", "Straße über 潮水 ½ Ⅷ",
         "🙂 the   end", "x", "   ", "the tide came in at noon and left",
         "<|endoftext|> is text"]
PROMPTS = ["the tide", "12 30", "Straße", ""]
NEW = 12  # greedy tokens
ARCHITECTURES = {"llama3": "llama"}  # where the name of the kind is another

# The root mean square of the logits' differences, as a share of that of the
# logits. llama.cpp rounds activations, too: to f16, bf16 or q8_0. Random weights
# enlarge such an error. A wrong order of rows gives a share of about 1.
WITHIN = {"f32": 1e-5, "f16": 1e-2, "bf16": 5e-2, "q8_0": 1e-1, "q4_0": 1e-1}

failed = number = 0


def check(good, name, note=""):
    global failed, number
    number += 1
    failed += not good
    print(f"{'ok' if good else 'not ok'} {number} - {name}"
          + (f" # {note}" if note and good else f": {note}" if note else ""),
          flush=True)


def export(data_dir, to, *options):
    done = subprocess.run(
        [f"{TOP}/cli/mneme", "export", "1", to, "--data-dir", data_dir,
         "--json", *options], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def hf_name(name):
    for theirs, ours in (("token_embd", "model.embed_tokens"),
                         ("output_norm", "model.norm"),
                         ("blk", "model.layers"),
                         ("attn_norm", "input_layernorm"),
                         ("ffn_norm", "post_attention_layernorm"),
                         ("attn_output", "self_attn.o_proj")):
        name = name.replace(theirs, ours)
    if name == "output.weight":
        return "lm_head.weight"
    for x in "qkv":
        name = name.replace(f"attn_{x}_norm", f"self_attn.{x}_norm")
        name = name.replace(f"attn_{x}.", f"self_attn.{x}_proj.")
    for x in ("gate", "up", "down"):
        name = name.replace(f"ffn_{x}", f"mlp.{x}_proj")
    return name


def pairs(x, heads):
    """Rows of q or k as GGUF's architecture llama has them."""
    return x.reshape(heads, 2, -1, x.shape[1]).swapaxes(1, 2).reshape(x.shape)


def halves(x, heads):
    return x.reshape(heads, -1, 2, x.shape[1]).swapaxes(1, 2).reshape(x.shape)


def heads_of(config, name, arch):
    if arch != "llama":
        return 0
    return (config["num_attention_heads"] if ".attn_q." in name else
            config["num_key_value_heads"] if ".attn_k." in name else 0)


def own_type(name, shape, kind):
    """The type that a tensor should have."""
    if len(shape) == 1:
        return "F32"
    if kind in ("q8_0", "q4_0") and shape[1] % 32:
        return "F16"
    return kind.upper()


def rounded(x, kind):
    if kind == "F32":
        return np.ascontiguousarray(x, dtype="<f4")
    if kind == "F16":
        return np.ascontiguousarray(x.astype("<f2"))
    return gguf.quants.quantize(np.ascontiguousarray(x, dtype="<f4"),
                                gguf.GGMLQuantizationType[kind])


def check_file(path, config, whole, kind, title):
    """Returns the tensors as Hugging Face names and orders them."""
    reader = gguf.GGUFReader(path)
    arch = reader.fields["general.architecture"].contents()
    wrong, weights = [], {}
    for t in reader.tensors:
        if t.name == "rope_freqs.weight":  # in config.json as rope_scaling
            continue
        name = hf_name(t.name)
        shape = [int(n) for n in reversed(t.shape)]
        heads = heads_of(config, t.name, arch)
        x = whole[name]
        expected = pairs(x, heads) if heads else x
        own = own_type(t.name, shape, kind)
        bytes_ = rounded(expected, own).tobytes()
        if (t.tensor_type.name != own or shape != list(x.shape)
                or bytes(t.data.tobytes()) != bytes_):
            wrong.append(t.name)
        y = gguf.quants.dequantize(t.data, t.tensor_type).reshape(shape)
        weights[name] = (halves(y, heads) if heads else y).astype("f8")
    check(not wrong and sorted(weights) == sorted(whole),
          f"{title}: gguf reads the same bytes", " ".join(wrong))
    return weights


def check_keys(path, config, arch, title):
    f = {k: v.contents() for k, v in gguf.GGUFReader(path).fields.items()}
    expected = {
        "general.architecture": arch,
        f"{arch}.embedding_length": config["hidden_size"],
        f"{arch}.block_count": config["num_hidden_layers"],
        f"{arch}.attention.key_length": config["head_dim"],
        "tokenizer.ggml.eos_token_id": 256,
        "tokenizer.ggml.add_bos_token": True,
    }
    wrong = [k for k, v in expected.items() if f.get(k) != v]
    tokens = f["tokenizer.ggml.tokens"]
    check(not wrong and len(tokens) == config["vocab_size"]
          and len(set(tokens)) == len(tokens)
          and f["tokenizer.ggml.token_type"][256] == 3,
          f"{title}: keys", " ".join(wrong))


def size(x):
    return np.sqrt((x * x).mean())


def logits_of(model, ids):
    model.reset()
    model.eval(ids)
    return np.array(model.scores[:len(ids)], dtype="f8")


def check_llama(path, config, weights, version, kind, title):
    model = llama_cpp.Llama(
        path, n_ctx=config["max_position_embeddings"], n_threads=1,
        n_threads_batch=1, logits_all=True, verbose=False,
        type_k=llama_cpp.GGML_TYPE_F32, type_v=llama_cpp.GGML_TYPE_F32)
    different, worst, lost, nats = [], 0.0, [], 0.0
    for text in TEXTS:
        ids = model.tokenize(text.encode(), add_bos=True, special=False)
        ours = version.tokens(text)
        if ids[0] != 256 or ids[1:] != [t.id for t in ours]:
            different.append(text)
            continue
        theirs, plain = logits_of(model, ids), forward(config, weights, ids)
        worst = max(worst, size(theirs - plain) / size(plain))
        p = theirs - theirs.max(1, keepdims=True)
        p -= np.log(np.exp(p).sum(1, keepdims=True))
        for i, t in enumerate(ours):
            nats = max(nats, abs(p[i, t.id] - t.logprob))
    for prompt in PROMPTS:
        ids = model.tokenize(prompt.encode(), add_bos=True, special=False)
        for _ in range(NEW):
            best = int(logits_of(model, ids)[-1].argmax())
            plain = forward(config, weights, ids)[-1]
            # A token that is as good, within what the type allows.
            if (plain.max() - plain[best]
                    > 4 * WITHIN[kind] * size(plain)):
                lost.append(prompt)
            ids.append(best)
    check(not different, f"{title}: llama.cpp has the same tokens",
          " | ".join(different))
    check(worst < WITHIN[kind], f"{title}: llama.cpp has the same logits",
          f"within {worst:.2g}")
    check(not lost, f"{title}: llama.cpp is greedy in the same way",
          " | ".join(lost))
    if kind == "f32":
        check(nats < 1e-3, f"{title}: llama.cpp has mneme's log-probabilities",
              f"within {nats:.2g}")


def check_version(kind, wide):
    title = kind + (" wide" if wide else "")
    with tempfile.TemporaryDirectory() as work:
        data = f"{work}/data"
        subprocess.run([f"{TOP}/tests/tools/write_hf", data, kind]
                       + ["wide"] * wide, check=True)
        export(data, f"{work}/hf")
        config, whole = read_model(f"{work}/hf")
        same = read_tensors(f"{data}/versions/000001/model.safetensors")
        check(sorted(same) == sorted(whole)
              and all((same[k] == whole[k]).all() for k in same),
              f"{title}: hf f32 keeps every number")
        version = mneme.open(f"{work}/hf")
        for t in TYPES:
            report = export(data, f"{work}/{t}", "--format", "gguf", "--type",
                            t)
            path = f"{work}/{t}/model.gguf"
            if t == "f32":
                check_keys(path, config, ARCHITECTURES.get(kind, kind), title)
            check(report["bytes"] == os.path.getsize(path),
                  f"{title} {t}: the size is reported")
            weights = check_file(path, config, whole, t, f"{title} {t}")
            if llama_cpp:
                check_llama(path, config, weights, version, t, f"{title} {t}")
            else:
                check(True, f"{title} {t}: llama.cpp",
                      "SKIP llama_cpp is not installed")
        version.close()


def main():
    for kind in ("llama", "qwen3", "qwen2", "llama3"):
        for wide in (False, True):
            check_version(kind, wide)
    print(f"1..{number}")
    sys.exit(1 if failed else 0)


main()
