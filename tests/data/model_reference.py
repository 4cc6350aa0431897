#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes model_reference.txt: what tests/test_model.c must come to.

The same model in plain PyTorch, in double precision: logits of a ragged batch
and the losses of ten AdamW steps, for each layout. The weights are a formula
of the index in mneme's parameter block, so that both sides build the same.

    /usr/bin/python3 model_reference.py > model_reference.txt
"""
import math
import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)

V, C, LAYERS, HEADS, KV, HD, FFN = 37, 12, 2, 3, 1, 6, 20
EPS, THETA = 1e-5, 10000.0
SEGMENTS = [1, 5, 7]
MASKED = [0, 2, 0]  # first targets of each segment without a loss
STEPS, LR, BETAS, ADAM_EPS, DECAY = 10, 0.01, (0.9, 0.99), 1e-8, 0.1


def formula(i, norm):
    wave = math.sin(0.37 * (i % 9973) ** 2)
    # Rounded to single precision, as mneme has them.
    return torch.tensor(1 + 0.1 * wave if norm else 0.3 * wave,
                        dtype=torch.float32).item()


class Parameters:
    """Tensors in the order of the parameter block."""

    def __init__(self):
        self.offset = 0
        self.decayed, self.plain = [], []

    def add(self, *shape):
        norm = len(shape) == 1
        n = math.prod(shape)
        p = torch.tensor([formula(self.offset + i, norm) for i in range(n)])
        p = p.reshape(shape).requires_grad_()
        self.offset += n
        (self.plain if norm else self.decayed).append(p)
        return p


def rmsnorm(x, w):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS) * w


def rope(x):
    """x: (heads, T, hd); Hugging Face's layout: halves."""
    t = torch.arange(x.shape[1])
    inv = THETA ** (-torch.arange(0, HD, 2) / HD)
    angle = torch.cat([torch.outer(t, inv)] * 2, dim=-1)
    a, b = x.chunk(2, dim=-1)
    return x * angle.cos() + torch.cat([-b, a], dim=-1) * angle.sin()


class Layer:
    def __init__(self, p, qk_norm):
        self.attn_norm = p.add(C)
        self.q = p.add(HEADS * HD, C)
        self.k = p.add(KV * HD, C)
        self.v = p.add(KV * HD, C)
        self.q_norm = p.add(HD) if qk_norm else None
        self.k_norm = p.add(HD) if qk_norm else None
        self.o = p.add(C, HEADS * HD)
        self.ffn_norm = p.add(C)
        self.gate = p.add(FFN, C)
        self.up = p.add(FFN, C)
        self.down = p.add(C, FFN)

    def attention(self, x):
        t = x.shape[0]
        q = (x @ self.q.T).view(t, HEADS, HD).transpose(0, 1)
        k = (x @ self.k.T).view(t, KV, HD).transpose(0, 1)
        v = (x @ self.v.T).view(t, KV, HD).transpose(0, 1)
        if self.q_norm is not None:
            q, k = rmsnorm(q, self.q_norm), rmsnorm(k, self.k_norm)
        q, k = rope(q), rope(k)
        k = k.repeat_interleave(HEADS // KV, dim=0)
        v = v.repeat_interleave(HEADS // KV, dim=0)
        s = q @ k.transpose(1, 2) / math.sqrt(HD)
        hidden = torch.ones(t, t, dtype=torch.bool).triu(1)
        p = s.masked_fill(hidden, -math.inf).softmax(-1)
        return (p @ v).transpose(0, 1).reshape(t, HEADS * HD) @ self.o.T

    def forward(self, x):
        x = x + self.attention(rmsnorm(x, self.attn_norm))
        n = rmsnorm(x, self.ffn_norm)
        return x + (F.silu(n @ self.gate.T) * (n @ self.up.T)) @ self.down.T


class Model:
    def __init__(self, qk_norm, tied):
        self.p = Parameters()
        self.embed = self.p.add(V, C)
        self.layers = [Layer(self.p, qk_norm) for _ in range(LAYERS)]
        self.norm = self.p.add(C)
        self.lm_head = self.embed if tied else self.p.add(V, C)

    def logits(self, tokens):
        x = self.embed[tokens]
        for layer in self.layers:
            x = layer.forward(x)
        return rmsnorm(x, self.norm) @ self.lm_head.T


def batch():
    """Token i of segment s is (11 s + 7 i + i^2) mod V."""
    for s, (n, masked) in enumerate(zip(SEGMENTS, MASKED)):
        ids = torch.tensor([(11 * s + 7 * i + i * i) % V
                            for i in range(n + 1)])
        yield ids[:-1], ids[1:], masked


def loss_of(model):
    total, counted = 0.0, 0
    for inputs, targets, masked in batch():
        losses = F.cross_entropy(model.logits(inputs), targets,
                                 reduction="none")
        total = total + losses[masked:].sum()
        counted += len(targets) - masked
    return total / counted


def report(qk_norm, tied):
    model = Model(qk_norm, tied)
    print(f"case {qk_norm:d} {tied:d} {model.p.offset}")
    for inputs, _, _ in batch():
        for row in model.logits(inputs):
            print(" ".join(f"{x:.9g}" for x in row.tolist()))
    adam = torch.optim.AdamW(
        [{"params": model.p.decayed, "weight_decay": DECAY},
         {"params": model.p.plain, "weight_decay": 0.0}],
        lr=LR, betas=BETAS, eps=ADAM_EPS)
    for _ in range(STEPS):
        loss = loss_of(model)
        print(f"{loss.item():.9g}")
        adam.zero_grad()
        loss.backward()
        adam.step()


for case in (False, True), (True, True), (False, False), (True, False):
    report(*case)
