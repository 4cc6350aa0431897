#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Does Hugging Face transformers load what a version's directory holds?

    compat_hf.py

publishes a Llama and a Qwen3 version with tests/tools/write_hf and loads each with
AutoModelForCausalLM: every tensor found, none made up, and the logits those of
a plain forward pass in NumPy over the same file. Prints TAP; skipped without
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


def check(number, kind, expected):
    program = os.path.join(os.environ.get("top_builddir", "."),
                           "tests", "tools", "write_hf")
    with tempfile.TemporaryDirectory() as data_dir:
        subprocess.run([program, data_dir, kind], check=True)
        directory = os.path.join(data_dir, "versions", "000001")
        model, report = AutoModelForCausalLM.from_pretrained(
            directory, output_loading_info=True)
        with torch.no_grad():
            theirs = model(torch.tensor([IDS])).logits[0].double().numpy()
        worst = np.abs(theirs - forward(*read_model(directory), IDS)).max()
    made_up = [k for k in report["missing_keys"] if k != "lm_head.weight"]
    ok = (type(model).__name__ == expected and not made_up
          and not report["unexpected_keys"] and worst < 1e-4)
    print(f"# {type(model).__name__}: logits differ by at most {worst:.2g}")
    print(f"{'ok' if ok else 'not ok'} {number} - {kind}")
    return ok


def main():
    print("1..2")
    results = [check(1, "llama", "LlamaForCausalLM"),
               check(2, "qwen3", "Qwen3ForCausalLM")]
    sys.exit(0 if all(results) else 1)


main()
