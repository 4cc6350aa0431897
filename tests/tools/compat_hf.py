#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Does Hugging Face transformers load what a version's directory holds?

    compat_hf.py

publishes a Llama, a Qwen3 and a Qwen2 version, and one with the rope scaling of
Llama 3, with tests/tools/write_hf and loads each, and what `mneme export` makes of it, with AutoModelForCausalLM: every tensor
found, none made up, the numbers of the right type, and the logits those of a
plain forward pass in NumPy over the same file. Prints TAP; skipped without
transformers, torch and numpy. Needs no network.
"""

import os
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
try:
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM
    from plain_model import forward, read_model
except ImportError as missing:
    print(f"1..0 # SKIP {missing.name} is not installed")
    sys.exit(0)

IDS = [256, 72, 101, 108, 108, 111, 33, 299, 0, 7]


TOP = os.environ.get("top_builddir", ".")
TYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def load(directory, expected):
    """Every tensor found, none made up, the logits those of NumPy."""
    model, report = AutoModelForCausalLM.from_pretrained(
        directory, output_loading_info=True, torch_dtype="auto")
    dtype = model.dtype
    with torch.no_grad():
        theirs = model.float()(torch.tensor([IDS])).logits[0].double().numpy()
    worst = np.abs(theirs - forward(*read_model(directory), IDS)).max()
    made_up = [k for k in report["missing_keys"] if k != "lm_head.weight"]
    print(f"# {type(model).__name__}: logits differ by at most {worst:.2g}")
    return dtype, (type(model).__name__ == expected and not made_up
                   and not report["unexpected_keys"] and worst < 1e-4)


def check(number, kind, expected):
    with tempfile.TemporaryDirectory() as work:
        data_dir = f"{work}/data"
        subprocess.run([f"{TOP}/tests/tools/write_hf", data_dir, kind],
                       check=True)
        ok = load(os.path.join(data_dir, "versions", "000001"), expected)[1]
        print(f"{'ok' if ok else 'not ok'} {number} - {kind}")
        results = [ok]
        for i, (name, dtype) in enumerate(TYPES.items()):
            out = f"{work}/{name}"
            subprocess.run([f"{TOP}/cli/mneme", "export", "1", out, "--type",
                            name, "--data-dir", data_dir, "--json"],
                           stdout=subprocess.DEVNULL, check=True)
            found, ok = load(out, expected)
            ok = ok and found == dtype
            print(f"{'ok' if ok else 'not ok'} {number + 1 + i} - {kind}, "
                  f"exported as {name}")
            results.append(ok)
    return all(results)


def main():
    print("1..16")
    results = [check(1, "llama", "LlamaForCausalLM"),
               check(5, "qwen3", "Qwen3ForCausalLM"),
               check(9, "qwen2", "Qwen2ForCausalLM"),
               check(13, "llama3", "LlamaForCausalLM")]
    sys.exit(0 if all(results) else 1)


main()
