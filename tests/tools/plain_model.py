# SPDX-License-Identifier: Apache-2.0
"""A forward pass of Llama, Qwen2 and Qwen3 in plain NumPy, for comparisons."""

import json
import os
import struct

import numpy as np


def read_tensors(path):
    with open(path, "rb") as f:
        data = f.read()
    n = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + n])
    header.pop("__metadata__")
    out = {}
    for name, t in header.items():
        begin, end = t["data_offsets"]
        raw = data[8 + n + begin:8 + n + end]
        if t["dtype"] == "BF16":
            x = (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
        else:
            x = np.frombuffer(raw, {"F32": "<f4", "F16": "<f2"}[t["dtype"]])
        out[name] = x.reshape(t["shape"]).astype("f8")
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
    q, k, v = (x @ w[pre + f"{p}_proj.weight"].T
               + w.get(pre + f"{p}_proj.bias", 0) for p in "qkv")
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


def read_model(directory):
    """config.json, and the tensors of model.safetensors in float64."""
    with open(os.path.join(directory, "config.json")) as f:
        c = json.load(f)
    return c, read_tensors(os.path.join(directory, "model.safetensors"))


def forward(c, w, ids):
    """The logits after each id: (T, V)."""
    x = w["model.embed_tokens.weight"][ids]
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
