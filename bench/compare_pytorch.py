#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Training speed beside PyTorch's, on the same model, shapes and step.

    bench/compare_pytorch.py BENCH_TRAIN [--preset small] [--threads 2]
        [--tokens 1024] [--segment 256] [--vocab 4096] [--seconds 2]
        [--rounds 5] [--blas-dir DIR]

A step is what exists in both: forward, mean loss, backward, AdamW. The two are
run one after the other, --rounds times, each in a process of its own, and the
medians compared. PyTorch runs eagerly with --threads threads, with the
products fused as mneme has them (q, k, v in one, gate and up in one); every
segment has the full length, so that PyTorch needs no padding.

--blas-dir puts a folder with another libblas.so.3 before PyTorch's own. Prints
which BLAS each used. Ends with 1 when mneme is the slower one.
"""
import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time

PRESETS = {  # dim, layers, heads, kv_heads, head_dim, ffn_dim
    "nano": (96, 3, 3, 3, 32, 256),
    "tiny": (128, 5, 4, 2, 32, 384),
    "small": (256, 4, 4, 2, 64, 640),
    "base": (320, 6, 5, 5, 64, 896),
    "large": (512, 8, 8, 4, 64, 1536),
}


def build(preset, vocab, t_max):
    """The model in plain PyTorch: (model, parameters in all)."""
    import torch
    import torch.nn as nn
    import torch.nn.functional as F

    dim, layers, heads, kv, hd, ffn = PRESETS[preset]
    angle = torch.outer(torch.arange(t_max).float(),
                        10000.0 ** (-torch.arange(0, hd, 2) / hd))
    cos = torch.cat([angle.cos()] * 2, -1)
    sin = torch.cat([angle.sin()] * 2, -1)
    hidden = torch.full((t_max, t_max), -math.inf).triu(1)

    def rope(x):
        a, b = x.chunk(2, dim=-1)
        t = x.shape[2]
        return x * cos[:t] + torch.cat([-b, a], dim=-1) * sin[:t]

    class Norm(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(n))

        def forward(self, x):
            r = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5)
            return x * r * self.weight

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = Norm(dim), Norm(dim)
            self.qkv = nn.Linear(dim, (heads + 2 * kv) * hd, bias=False)
            self.o = nn.Linear(heads * hd, dim, bias=False)
            self.gate_up = nn.Linear(dim, 2 * ffn, bias=False)
            self.down = nn.Linear(ffn, dim, bias=False)

        def attention(self, x):
            b, t, _ = x.shape
            y = self.qkv(x).view(b, t, heads + 2 * kv, hd).transpose(1, 2)
            q, k, v = y.split([heads, kv, kv], dim=1)
            q, k = rope(q), rope(k)
            if kv != heads:
                k = k.repeat_interleave(heads // kv, dim=1)
                v = v.repeat_interleave(heads // kv, dim=1)
            s = q @ k.transpose(2, 3) / math.sqrt(hd) + hidden[:t, :t]
            a = (s.softmax(-1) @ v).transpose(1, 2).reshape(b, t, heads * hd)
            return self.o(a)

        def forward(self, x):
            x = x + self.attention(self.norm1(x))
            g, u = self.gate_up(self.norm2(x)).chunk(2, dim=-1)
            return x + self.down(F.silu(g) * u)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(vocab, dim)
            self.layers = nn.ModuleList(Layer() for _ in range(layers))
            self.norm = Norm(dim)

        def forward(self, ids):
            x = self.embed(ids)
            for layer in self.layers:
                x = layer(x)
            return F.linear(self.norm(x), self.embed.weight)

    model = Model()
    nn.init.normal_(model.embed.weight, std=0.02)
    return model


def blas_libraries():
    with open("/proc/self/maps", encoding="ascii") as f:
        paths = {line.split()[-1] for line in f if "blas" in line}
    return sorted(os.path.realpath(p) for p in paths)


def time_pytorch(opt):
    """One window of PyTorch; prints one line of JSON."""
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(opt.threads)
    torch.manual_seed(1)
    model = build(opt.preset, opt.vocab, opt.segment)
    adam = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95),
                             weight_decay=0.1)
    ids = torch.arange(opt.tokens + 1) * 7919 % opt.vocab
    inputs = ids[:-1].view(-1, opt.segment)
    targets = ids[1:]

    def step():
        adam.zero_grad()
        logits = model(inputs)
        F.cross_entropy(logits.view(-1, opt.vocab), targets).backward()
        adam.step()

    for _ in range(3):
        step()
    begin, n = time.perf_counter(), 0
    while n < 3 or time.perf_counter() - begin < opt.seconds:
        step()
        n += 1
    took = time.perf_counter() - begin
    print(json.dumps({"rate": n * opt.tokens / took, "torch": torch.__version__,
                      "params": sum(p.numel() for p in model.parameters()),
                      "blas": blas_libraries()}))


def run_mneme(opt):
    out = subprocess.run(
        [opt.bench_train, "--preset", opt.preset, "--vocab", str(opt.vocab),
         "--threads", str(opt.threads), "--tokens", str(opt.tokens),
         "--segment", str(opt.segment), "--seconds", str(opt.seconds),
         "--windows", "1", "--adamw"],
        check=True, capture_output=True, text=True)
    fields = dict(f.split("=") for f in out.stdout.split())
    return {"rate": float(fields["tokens_per_second"]),
            "gflops": float(fields["gflops"]), "params": int(fields["params"]),
            "blas": out.stderr.strip()}


def run_pytorch(opt):
    env = dict(os.environ, OMP_NUM_THREADS=str(opt.threads),
               OPENBLAS_NUM_THREADS=str(opt.threads))
    if opt.blas_dir:
        env["LD_LIBRARY_PATH"] = opt.blas_dir
    out = subprocess.run([sys.executable, *sys.argv, "--pytorch"], check=True,
                         capture_output=True, text=True, env=env)
    return json.loads(out.stdout)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("bench_train")
    p.add_argument("--preset", choices=PRESETS, default="small")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--tokens", type=int, default=1024)
    p.add_argument("--segment", type=int, default=256)
    p.add_argument("--vocab", type=int, default=4096)
    p.add_argument("--seconds", type=float, default=2.0)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--blas-dir")
    p.add_argument("--pytorch", action="store_true", help=argparse.SUPPRESS)
    opt = p.parse_args()
    if opt.tokens % opt.segment:
        p.error("--tokens must be a multiple of --segment")
    if opt.pytorch:
        time_pytorch(opt)
        return 0
    ours, theirs = [], []
    for _ in range(opt.rounds):
        ours.append(run_mneme(opt))
        theirs.append(run_pytorch(opt))
    if ours[0]["params"] != theirs[0]["params"]:
        sys.exit("not the same model: %d and %d parameters"
                 % (ours[0]["params"], theirs[0]["params"]))
    a = statistics.median(r["rate"] for r in ours)
    b = statistics.median(r["rate"] for r in theirs)
    print(f"machine   {platform.machine()}, {os.cpu_count()} cores")
    print(f"model     {opt.preset}, {ours[0]['params']} parameters, vocabulary "
          f"{opt.vocab}, {opt.tokens} tokens a step in segments of "
          f"{opt.segment}, {opt.threads} threads")
    print(f"mneme     {a:.0f} tokens/s "
          f"({min(r['rate'] for r in ours):.0f} to "
          f"{max(r['rate'] for r in ours):.0f}), "
          f"{statistics.median(r['gflops'] for r in ours):.1f} GFLOP/s; "
          f"{ours[0]['blas']}")
    print(f"PyTorch   {b:.0f} tokens/s "
          f"({min(r['rate'] for r in theirs):.0f} to "
          f"{max(r['rate'] for r in theirs):.0f}); {theirs[0]['torch']}, "
          f"{', '.join(theirs[0]['blas'])}")
    print(f"ratio     {a / b:.2f} (medians of {opt.rounds} windows of "
          f"{opt.seconds:g} s, alternately)")
    return 0 if a >= b else 1


if __name__ == "__main__":
    sys.exit(main())
