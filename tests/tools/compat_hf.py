#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Does Hugging Face transformers load what a version's directory holds?

    compat_hf.py

publishes a Llama, a Qwen3 and a Qwen2 version, and one with the rope scaling of Llama 3,
with tests/tools/write_hf and loads each with AutoModelForCausalLM: every tensor found, none made up, and the logits those of
a plain forward pass in NumPy over the same file. Prints TAP; skipped without
transformers, torch and numpy. Needs no network.
"""

import json
import os
import struct
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
try:
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM
except ImportError as missing:
    print(f"1..0 # SKIP {missing.name} is not installed")
    sys.exit(0)

IDS = [256, 72, 101, 108, 108, 111, 33, 299, 0, 7]


def read_tensors(path):
    with open(path, "rb") as f:
        data = f.read()
    n = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + n])
    header.pop("__metadata__")
    out = {}
    for name, t in header.items():
        begin, end = t["data_offsets"]
        out[name] = np.frombuffer(data[8 + n + begin:8 + n + end],
                                  "<f4").reshape(t["shape"]).astype("f8")
    return out


def norm(x, weight, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def stretch(rate, scaling):
    """The rope scaling of Llama 3 (transformers' modeling_rope_utils)."""
    if not scaling:
        return rate
    rounds = scaling["original_max_position_embeddings"] * rate / (2 * np.pi)
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    kept = np.clip((rounds - low) / (high - low), 0, 1)
    return kept * rate + (1 - kept) * rate / scaling["factor"]


def rotate(x, theta, scaling):
    t, _, d = x.shape
    rate = stretch(theta ** (-np.arange(0, d, 2) / d), scaling)
    angle = np.arange(t)[:, None, None] * rate
    a, b = x[..., :d // 2], x[..., d // 2:]
    cos, sin = np.cos(angle), np.sin(angle)
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def attend(c, w, pre, x):
    h, kv, d = (c["num_attention_heads"], c["num_key_value_heads"],
                c["head_dim"])
    t = len(x)
    q, k, v = (x @ w[pre + f"{p}_proj.weight"].T + w.get(pre + f"{p}_proj.bias", 0)
               for p in "qkv")
    q, k, v = q.reshape(t, h, d), k.reshape(t, kv, d), v.reshape(t, kv, d)
    if pre + "q_norm.weight" in w:
        q = norm(q, w[pre + "q_norm.weight"], c["rms_norm_eps"])
        k = norm(k, w[pre + "k_norm.weight"], c["rms_norm_eps"])
    scaling = c.get("rope_scaling")
    q, k = (rotate(y, c["rope_theta"], scaling) for y in (q, k))
    k, v = k.repeat(h // kv, 1), v.repeat(h // kv, 1)
    score = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(d)
    score += np.triu(np.full((t, t), -np.inf), 1)
    p = np.exp(score - score.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    out = np.einsum("hij,jhd->ihd", p, v).reshape(t, h * d)
    return out @ w[pre + "o_proj.weight"].T


def forward(directory):
    with open(os.path.join(directory, "config.json")) as f:
        c = json.load(f)
    w = read_tensors(os.path.join(directory, "model.safetensors"))
    x = w["model.embed_tokens.weight"][IDS]
    for i in range(c["num_hidden_layers"]):
        pre = f"model.layers.{i}."
        y = norm(x, w[pre + "input_layernorm.weight"], c["rms_norm_eps"])
        x = x + attend(c, w, pre + "self_attn.", y)
        y = norm(x, w[pre + "post_attention_layernorm.weight"],
                 c["rms_norm_eps"])
        gate = y @ w[pre + "mlp.gate_proj.weight"].T
        up = y @ w[pre + "mlp.up_proj.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ w[
            pre + "mlp.down_proj.weight"].T
    x = norm(x, w["model.norm.weight"], c["rms_norm_eps"])
    return x @ w.get("lm_head.weight", w["model.embed_tokens.weight"]).T


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
        worst = np.abs(theirs - forward(directory)).max()
    made_up = [k for k in report["missing_keys"] if k != "lm_head.weight"]
    ok = (type(model).__name__ == expected and not made_up
          and not report["unexpected_keys"] and worst < 1e-4)
    print(f"# {type(model).__name__}: logits differ by at most {worst:.2g}")
    print(f"{'ok' if ok else 'not ok'} {number} - {kind}")
    return ok


def main():
    print("1..4")
    results = [check(1, "llama", "LlamaForCausalLM"),
               check(2, "qwen3", "Qwen3ForCausalLM"),
               check(3, "qwen2", "Qwen2ForCausalLM"),
               check(4, "llama3", "LlamaForCausalLM")]
    sys.exit(0 if all(results) else 1)


main()
