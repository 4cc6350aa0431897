#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Compares training and generation with PyTorch: same model, shapes and step.

    bench/compare_pytorch.py [--mneme cli/mneme] [--only tiny,small] [--json]
        [--threads N] [--rounds 5] [--seconds 1] [--blas-dir DIR]... [--strict]

The shapes are those of `mneme bench` (see its help): tiny, small, medium,
gpt2. --only takes their names, `train` and `generate`, and names like
`train.tiny`. --rounds windows of `mneme bench` and of PyTorch alternate; each
program waits while the other one runs. The ratio is that of the medians. With
--strict, the exit status is 1 when mneme is slower.

Both programs compute, in fp32: forward on real text of this machine, the mean
loss over all tokens, backward, the norm of the gradient, clipping at 1, and
AdamW with weight decay of the matrices. Only mneme computes the EWC penalty, a
loss for each segment, and the check that all weights are finite. Neither reads
records, tokenizes or replays. Both run at nice 5, as mneme's workers do.

PyTorch runs with its fastest settings, which are found before the rounds:

  BLAS       PyTorch from Debian uses the system's libblas.so.3. Tried are
             OpenBLAS for OpenMP and BLIS for OpenMP, from --blas-dir (a folder
             with a libblas.so.3; may be repeated) or the system (Debian:
             libopenblas0-openmp, libblis4-openmp). Debian's default, OpenBLAS
             with pthreads, is two to three times slower beside PyTorch's
             OpenMP threads. It is used when there is nothing else, with a
             warning.
  mode       eager; torch.compile, if this version has it and it works
  attention  F.scaled_dot_product_attention, if this version has it; plain;
             plain with scale and mask inside the product
  optimizer  AdamW fused, foreach, or one parameter at a time
  threads    all, or one

Matrix products are fused as in mneme: q, k, v in one, gate and up in one.
Gradients are scaled only when they are clipped. The rotation uses as few
operations as eager PyTorch allows, and malloc keeps freed memory. Generation
has batch 1, a preallocated key/value cache, and neither modules nor autograd.
"""
import argparse
import glob
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time

# layers, dim, heads, vocabulary, sequences in a batch, new tokens
SHAPES = {
    "tiny": (4, 128, 4, 256, 4, 224),
    "small": (6, 256, 8, 256, 4, 224),
    "medium": (6, 384, 6, 4096, 8, 224),
    "gpt2": (12, 768, 12, 50257, 2, 32),
}
SEQUENCE = 256
PROMPT = 16
NICE = 5
EPS = 1e-5
COMPILE_SECONDS = 600  # torch.compile counts as broken after this


# --- the model in PyTorch ----------------------------------------------------

class Shape:
    def __init__(self, name, generates=False):
        (self.layers, self.dim, self.heads, self.vocab, self.batch,
         self.new_tokens) = SHAPES[name]
        if generates:  # mneme needs an end-of-text token
            self.vocab = max(self.vocab, 257)
        self.head_dim = self.dim // self.heads
        self.ffn = (8 * self.dim + 23) // 24 * 8


def rope_tables(shape):
    """cos, and sin with the sign of its half of the head."""
    import torch

    hd = shape.head_dim
    angle = torch.outer(torch.arange(SEQUENCE).float(),
                        10000.0 ** (-torch.arange(0, hd, 2) / hd))
    return (torch.cat([angle.cos()] * 2, -1),
            torch.cat([-angle.sin(), angle.sin()], -1))


def build(shape, attention):
    """The model. model.attention[0] selects the kind of attention."""
    import torch
    import torch.nn as nn
    import torch.nn.functional as F

    heads, hd, dim = shape.heads, shape.head_dim, shape.dim
    scale = 1.0 / math.sqrt(hd)
    cos, sin = (t[:, None, :] for t in rope_tables(shape))
    hidden = torch.full((SEQUENCE, SEQUENCE), -math.inf).triu(1)
    kind = [attention]

    def rope(x, at):  # (b, t, heads, hd)
        a, b = x.chunk(2, dim=-1)
        to = at + x.shape[1]
        return torch.addcmul(x * cos[at:to], torch.cat([b, a], -1), sin[at:to])

    def attend(q, k, v):  # (b, t, heads, hd) each
        b, t = q.shape[:2]
        if kind[0] == "fused":
            y = F.scaled_dot_product_attention(
                q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2),
                is_causal=True)
            return y.transpose(1, 2).reshape(b, t, dim)
        n = k.shape[1]
        q, k, v = (x.transpose(1, 2).reshape(b * heads, -1, hd)
                   for x in (q, k, v))
        mask = hidden[n - t:n, :n]
        if kind[0] == "plain":
            s = torch.bmm(q * scale, k.transpose(1, 2)) + mask
        else:
            s = torch.baddbmm(mask.expand(b * heads, t, n), q,
                              k.transpose(1, 2), alpha=scale)
        y = torch.bmm(s.softmax(-1), v).view(b, heads, t, hd)
        return y.transpose(1, 2).reshape(b, t, dim)

    class Norm(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(dim))

        def forward(self, x):
            if hasattr(F, "rms_norm"):
                return F.rms_norm(x, (dim,), self.weight, EPS)
            return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS) \
                * self.weight

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = Norm(), Norm()
            self.qkv = nn.Linear(dim, 3 * dim, bias=False)
            self.o = nn.Linear(dim, dim, bias=False)
            self.gate_up = nn.Linear(dim, 2 * shape.ffn, bias=False)
            self.down = nn.Linear(shape.ffn, dim, bias=False)

        def forward(self, x, cache=None):
            b, t, _ = x.shape
            y = self.qkv(self.norm1(x)).view(b, t, 3 * heads, hd)
            at = cache[0].shape[1] if cache else 0
            q, k = rope(y[:, :, :2 * heads], at).split(heads, dim=2)
            v = y[:, :, 2 * heads:]
            if cache is not None:
                if cache:
                    k = torch.cat([cache[0], k], 1)
                    v = torch.cat([cache[1], v], 1)
                cache[:] = [k, v]
            x = x + self.o(attend(q, k, v))
            g, u = self.gate_up(self.norm2(x)).chunk(2, dim=-1)
            return x + self.down(F.silu(g) * u)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(shape.vocab, dim)
            self.layers = nn.ModuleList(Layer() for _ in range(shape.layers))
            self.norm = Norm()

        def forward(self, ids, caches=None):
            x = self.embed(ids)
            for i, layer in enumerate(self.layers):
                x = layer(x, caches[i] if caches else None)
            if caches:
                x = x[:, -1:]
            return F.linear(self.norm(x), self.embed.weight)

    model = Model()
    model.attention = kind
    for p in model.parameters():
        if p.dim() == 2:
            nn.init.normal_(p, std=0.02)
    return model


def text_ids(vocab):
    """Text of this machine: bytes, or pairs for a large vocabulary."""
    import torch

    data = b""
    for path in sorted(glob.glob("/usr/share/common-licenses/*")) or [__file__]:
        with open(path, "rb") as f:
            data += f.read()
    while len(data) < 8 * 8 * SEQUENCE:
        data += data
    if vocab <= 257:
        return torch.tensor(list(data[:400000]))
    pairs = zip(data[0:400000:2], data[1:400000:2])
    return torch.tensor([(a * 251 + b * 7919) % vocab for a, b in pairs])


# --- a step ------------------------------------------------------------------

class Training:
    """step() is one training step, with the kinds that were set."""

    def __init__(self, name, compiled):
        import torch

        self.shape = Shape(name)
        self.model = build(self.shape, "product")
        self.params = list(self.model.parameters())
        self.run = self.model
        self.compiled = compiled
        self.ids = text_ids(self.shape.vocab)
        self.at = 0
        self.tokens = self.shape.batch * SEQUENCE
        self.loss = None
        self.torch = torch

    def set_attention(self, kind):
        self.model.attention[0] = kind
        if self.compiled:
            self.torch._dynamo.reset()
            self.run = self.torch.compile(self.model)

    def set_optimizer(self, kind):
        groups = [{"params": [p for p in self.params if p.dim() == 2],
                   "weight_decay": 0.1},
                  {"params": [p for p in self.params if p.dim() == 1],
                   "weight_decay": 0.0}]
        options = {"fused": {"fused": True}, "foreach": {"foreach": True},
                   "single": {"foreach": False}}[kind]
        self.adam = self.torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99),
                                           **options)

    def clip(self):
        grads = [p.grad for p in self.params]
        norms = self.torch._foreach_norm(grads)
        norm = float(self.torch.linalg.vector_norm(self.torch.stack(norms)))
        if norm > 1.0:
            self.torch._foreach_mul_(grads, 1.0 / norm)

    def backward(self):
        at = self.at % (len(self.ids) - self.tokens - 1)
        self.at += self.tokens
        part = self.ids[at:at + self.tokens + 1]
        self.adam.zero_grad(set_to_none=True)
        logits = self.run(part[:-1].view(-1, SEQUENCE))
        loss = self.torch.nn.functional.cross_entropy(
            logits.view(-1, self.shape.vocab), part[1:])
        loss.backward()
        self.loss = loss

    def update(self):
        self.clip()
        self.adam.step()

    def step(self):
        self.backward()
        self.update()
        return self.tokens


def seconds_of(fn, least=0.3):
    """The time of the fastest call within `least` seconds, after a warm-up."""
    fn()
    best, begin = math.inf, time.perf_counter()
    while True:
        t = time.perf_counter()
        fn()
        now = time.perf_counter()
        best = min(best, now - t)
        if now - begin > least:
            return best


def choose(kinds, set_kind, fn):
    """Sets and returns the fastest of the kinds that work."""
    took, problem = {}, None
    for kind in kinds:
        try:
            set_kind(kind)
            took[kind] = seconds_of(fn)
        except Exception as e:  # which exception depends on the version
            problem = e
    if not took:
        raise problem
    best = min(took, key=took.get)
    set_kind(best)
    return best


def tune_training(name, compiled, threads):
    import torch
    import torch.nn.functional as F

    t = Training(name, compiled)
    t.set_optimizer("single")
    kinds = ["plain", "product"]
    if hasattr(F, "scaled_dot_product_attention"):
        kinds.insert(0, "fused")
    if compiled:  # each choice would need another compilation
        kinds = kinds[:1]
    attention = choose(kinds, t.set_attention, t.backward)
    optimizer = choose(["fused", "foreach", "single"], t.set_optimizer,
                       t.update)
    used = threads
    if not compiled:
        used = choose(sorted({threads, 1}, reverse=True),
                      torch.set_num_threads, t.step)
    return t.step, {
        "attention": attention, "optimizer": optimizer, "threads": used,
        "parameters": sum(p.numel() for p in t.params),
        "loss": lambda: float(t.loss)}


# --- generation --------------------------------------------------------------

class Generation:
    """Reads PROMPT tokens, then generates one token after another."""

    def __init__(self, name):
        import torch

        self.torch = torch
        self.shape = s = Shape(name, generates=True)
        self.model = build(s, "product").eval()
        self.prompt = text_ids(s.vocab)[:PROMPT]
        cos, sin = rope_tables(s)
        # The tables of the queries include the scale of the scores.
        scale = torch.ones(2 * s.heads, 1)
        scale[:s.heads] = 1.0 / math.sqrt(s.head_dim)
        self.cos = cos[:, None, :] * scale
        self.sin = sin[:, None, :] * scale
        self.keys = torch.zeros(s.layers, s.heads, SEQUENCE, s.head_dim)
        self.values = torch.zeros_like(self.keys)
        self.layers = [(l.norm1.weight.detach(), l.qkv.weight.detach(),
                        l.o.weight.detach(), l.norm2.weight.detach(),
                        l.gate_up.weight.detach(), l.down.weight.detach())
                       for l in self.model.layers]

    def norm(self, x, w):
        F = self.torch.nn.functional
        if hasattr(F, "rms_norm"):
            return F.rms_norm(x, (self.shape.dim,), w, EPS)
        return x * (x.dot(x) / self.shape.dim + EPS).rsqrt_() * w

    def token(self, token, at):
        """The likeliest token after `token`, which is at position `at`."""
        torch, s = self.torch, self.shape
        silu = torch.nn.functional.silu
        half = s.head_dim // 2
        x = self.model.embed.weight[token]
        cos, sin, to = self.cos[at], self.sin[at], at + 1
        for i, (n1, qkv, o, n2, gate_up, down) in enumerate(self.layers):
            y = torch.mv(qkv, self.norm(x, n1)).view(3 * s.heads, s.head_dim)
            qk = y[:2 * s.heads]
            qk = torch.addcmul(qk * cos, torch.roll(qk, half, -1), sin)
            keys, values = self.keys[i], self.values[i]
            keys[:, at] = qk[s.heads:]
            values[:, at] = y[2 * s.heads:]
            scores = torch.bmm(qk[:s.heads, None],
                               keys[:, :to].transpose(1, 2))
            y = torch.bmm(scores.softmax(-1), values[:, :to])
            x = torch.addmv(x, o, y.view(-1))
            y = torch.mv(gate_up, self.norm(x, n2))
            x = torch.addmv(x, down, silu(y[:s.ffn]).mul_(y[s.ffn:]))
        return int(torch.mv(self.model.embed.weight,
                            self.norm(x, self.model.norm.weight)).argmax())

    def fast(self):
        """Reads the prompt with the modules, and generates with token()."""
        with self.torch.inference_mode():
            caches = [[] for _ in self.layers]
            ids = [int(self.model(self.prompt[None], caches).argmax())]
            for i, (k, v) in enumerate(caches):
                self.keys[i, :, :PROMPT] = k[0].transpose(0, 1)
                self.values[i, :, :PROMPT] = v[0].transpose(0, 1)
            while len(ids) < self.shape.new_tokens:
                ids.append(self.token(ids[-1], PROMPT + len(ids) - 1))
        self.ids = ids
        return self.shape.new_tokens

    def modules(self):
        """Generates with the modules, to check fast()."""
        with self.torch.inference_mode():
            caches = [[] for _ in self.layers]
            ids = [int(self.model(self.prompt[None], caches).argmax())]
            while len(ids) < self.shape.new_tokens:
                one = self.torch.tensor([[ids[-1]]])
                ids.append(int(self.model(one, caches).argmax()))
        self.ids = ids
        return self.shape.new_tokens


def tune_generation(name, threads):
    import torch

    g = Generation(name)
    torch.set_num_threads(1)
    g.modules()
    wanted = g.ids
    g.fast()
    same = sum(a == b for a, b in zip(wanted, g.ids))
    best = choose(sorted({1, threads}), torch.set_num_threads, g.fast)
    return g.fast, {"threads": best, "same_tokens": same / len(wanted),
                "parameters": sum(p.numel() for p in g.model.parameters())}


# --- the process that runs PyTorch -------------------------------------------

def blas_libraries():
    with open("/proc/self/maps", encoding="ascii", errors="replace") as f:
        paths = {line.split()[-1] for line in f
                 if "blas" in line or "blis" in line or "libmkl" in line}
    return sorted(os.path.realpath(p) for p in paths)


def say(**what):
    print(json.dumps(what), flush=True)


def child(spec):
    """Finds the fastest settings, then measures a window for each line."""
    os.nice(NICE)
    import torch

    torch.set_num_threads(spec["threads"])
    torch.set_flush_denormal(True)
    torch.manual_seed(1)
    if spec["part"] == "probe":
        torch.mm(torch.ones(64, 64), torch.ones(64, 64))
        say(torch=torch.__version__, blas=blas_libraries(),
            compile=hasattr(torch, "compile"))
        return
    if spec["part"] == "train":
        fn, about = tune_training(spec["shape"], spec["compile"],
                                  spec["threads"])
    else:
        fn, about = tune_generation(spec["shape"], spec["threads"])
    loss = about.pop("loss", None)
    rate = max(window(fn, 0.2) for _ in range(3))
    about.update(rate=rate, blas=blas_libraries())
    if loss:
        about["loss"] = loss()
    say(**about)
    for line in sys.stdin:
        say(rate=window(fn, float(line)))


def window(fn, seconds):
    begin, tokens = time.perf_counter(), 0
    while tokens == 0 or time.perf_counter() - begin < seconds:
        tokens += fn()
    return tokens / (time.perf_counter() - begin)


class Torch:
    """A child process with PyTorch."""

    def __init__(self, spec, blas_dir=None, limit=None):
        """Kills the process when finding its settings takes `limit` seconds."""
        env = dict(os.environ, OMP_NUM_THREADS=str(spec["threads"]),
                   MALLOC_MMAP_MAX_="0", MALLOC_TRIM_THRESHOLD_=str(1 << 40),
                   MALLOC_TOP_PAD_=str(1 << 26))
        for name in ("OPENBLAS_NUM_THREADS", "BLIS_NUM_THREADS"):
            env.pop(name, None)  # they follow OMP_NUM_THREADS
        if blas_dir:
            env["LD_LIBRARY_PATH"] = blas_dir + ":" + \
                env.get("LD_LIBRARY_PATH", "")
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), "--child",
             json.dumps(spec)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self.errors, text=True, env=env)
        timer = threading.Timer(limit, self.process.kill) if limit else None
        if timer:
            timer.start()
        self.about = self.read()
        if timer:
            timer.cancel()

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.errors.seek(0)
            said = self.errors.read().strip().splitlines()
            named = [x for x in said if "Error" in x or "Exception" in x]
            raise RuntimeError((named or said or ["it took too long"])[-1])
        return json.loads(line)

    def window(self, seconds):
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        return self.read()["rate"]

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.errors.close()
        self.process.wait()


# --- which PyTorch -----------------------------------------------------------

def find_blas(opt):
    """(description of PyTorch, folders to try, a warning or None)."""
    about = Torch({"part": "probe", "threads": opt.threads}).about
    folders = list(opt.blas_dir)
    for pattern in ("openblas-openmp", "blis-openmp"):
        folders += glob.glob(f"/usr/lib/*/{pattern}")
    taken = []
    for folder in folders:
        path = os.path.join(os.path.abspath(folder), "libblas.so.3")
        if not os.path.exists(path):
            if folder in opt.blas_dir:
                sys.exit(f"--blas-dir {folder}: there is no libblas.so.3")
            continue
        used = Torch({"part": "probe", "threads": opt.threads},
                     os.path.abspath(folder)).about["blas"]
        if os.path.realpath(path) in used:
            taken.append(os.path.abspath(folder))
    warning = None
    if not taken and any("pthread" in p or "/blas/libblas" in p
                         for p in about["blas"]):
        warning = ("PyTorch uses " + about["blas"][-1] + ", which is slow; "
                   "apt-get install libopenblas0-openmp libblis4-openmp")
    return about, taken or [None], warning


def fastest(opt, part, shape, notes):
    """The process with the fastest BLAS and mode."""
    best = None
    modes = [False]
    if part == "train" and opt.torch["compile"] and not opt.no_compile:
        modes.append(True)
    for folder in opt.folders:
        for compiled in modes:
            spec = {"part": part, "shape": shape, "threads": opt.threads,
                    "compile": compiled}
            try:
                t = Torch(spec, folder, COMPILE_SECONDS if compiled else None)
            except RuntimeError as e:
                if not compiled:
                    raise
                notes.append(f"torch.compile failed: {e}")
                continue
            t.about["mode"] = "compile" if compiled else "eager"
            tell(opt, f"{part}.{shape}", "tried", t.about)
            if best and best.about["rate"] >= t.about["rate"]:
                t.close()
                continue
            if best:
                best.close()
            best = t
    return best


def tell(opt, part, what, about):
    if not opt.json:
        print(f"  {part} {what}: " + ", ".join(
            f"{k} {v:.4g}" if isinstance(v, float) else
            f"{k} {', '.join(v) if isinstance(v, list) else v}"
            for k, v in about.items()), flush=True)


# --- comparing ---------------------------------------------------------------

def run_mneme(opt, part, shape):
    out = subprocess.run(
        [opt.mneme, "bench", "--json", "--only", f"{part}.{shape}",
         "--threads", str(opt.threads), "--windows", "1", "--seconds",
         str(opt.seconds)], check=True, stdout=subprocess.PIPE, text=True)
    result = json.loads(out.stdout)
    if shape not in result.get(part, {}):
        sys.exit(f"mneme bench: {result.get('left_out')}")
    return result[part][shape]


def summary(rates, gflop=None):
    s = {"tokens_per_second": statistics.median(rates),
         "tokens_per_second_least": min(rates),
         "tokens_per_second_most": max(rates)}
    if gflop:
        s["model_gflops"] = s["tokens_per_second"] * gflop
    return s


def compare(opt, part, shape):
    notes = []
    theirs = fastest(opt, part, shape, notes)
    about = {k: v for k, v in theirs.about.items() if k != "rate"}
    ours, rates, gflop = [], [], None
    for _ in range(opt.rounds):
        got = run_mneme(opt, part, shape)
        if part == "train":
            gflop = got["flop_per_token"] * 1e-9
            if got["parameters"] != about["parameters"]:
                sys.exit("not the same model: %d and %d parameters"
                         % (got["parameters"], about["parameters"]))
        ours.append(got["tokens_per_second"])
        rates.append(theirs.window(opt.seconds))
    theirs.close()
    result = {"mneme": summary(ours, gflop), "pytorch": summary(rates, gflop)}
    result["pytorch"].update(about)
    result["ratio"] = (result["mneme"]["tokens_per_second"] /
                       result["pytorch"]["tokens_per_second"])
    result["ratio_of_best"] = max(ours) / max(rates)
    if notes:
        result["notes"] = sorted(set(notes))
    return result


def show(name, r):
    def line(who, s):
        flop = (f", {s['model_gflops']:.1f} GFLOP/s"
                if "model_gflops" in s else "")
        return (f"  {who:8} {s['tokens_per_second']:9.0f} tokens/s "
                f"({s['tokens_per_second_least']:.0f} to "
                f"{s['tokens_per_second_most']:.0f}){flop}")

    print(f"{name}: ratio {r['ratio']:.2f} "
          f"(of the best windows {r['ratio_of_best']:.2f})")
    print(line("mneme", r["mneme"]))
    print(line("PyTorch", r["pytorch"]))
    for note in r.get("notes", []):
        print("  " + note)
    print(flush=True)


def chosen(only):
    """The chosen parts as [(part, shape)]."""
    every = [(p, s) for s in SHAPES for p in ("train", "generate")]
    if not only:
        return every
    words = only.replace(",", " ").split()
    for w in words:
        if not any(w in (p, s, f"{p}.{s}") for p, s in every):
            sys.exit(f"--only: there is no {w}")
    return [(p, s) for p, s in every
            if any(w in (p, s, f"{p}.{s}") for w in words)]


def parse():
    p = argparse.ArgumentParser(
        description=__doc__.split("\n")[0],
        epilog="The head of this file explains the comparison.")
    p.add_argument("--mneme", default="cli/mneme", metavar="PATH")
    p.add_argument("--only", metavar="LIST")
    p.add_argument("--json", action="store_true")
    p.add_argument("--threads", type=int,
                   default=len(os.sched_getaffinity(0)))
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=1.0)
    p.add_argument("--blas-dir", action="append", default=[])
    p.add_argument("--no-compile", action="store_true",
                   help="do not try torch.compile")
    p.add_argument("--strict", action="store_true",
                   help="exit 1 when mneme is slower in anything")
    p.add_argument("--child", help=argparse.SUPPRESS)
    opt = p.parse_args()
    if opt.rounds < 1 or opt.threads < 1:
        p.error("--rounds and --threads must be 1 or more")
    return opt


def main():
    opt = parse()
    if opt.child:
        child(json.loads(opt.child))
        return 0
    parts = chosen(opt.only)
    try:
        opt.torch, opt.folders, warning = find_blas(opt)
    except RuntimeError as e:
        sys.exit(f"{sys.executable}: {e} (Debian: apt-get install "
                 "python3-torch, and run it with /usr/bin/python3)")
    result = {"machine": f"{platform.machine()}, {os.cpu_count()} cores",
              "torch": opt.torch["torch"], "threads": opt.threads,
              "rounds": opt.rounds, "seconds": opt.seconds, "warning": warning,
              "shapes": {}, "generate": {}}
    if not opt.json:
        print(f"PyTorch {result['torch']}, {opt.threads} threads, medians of "
              f"{opt.rounds} alternating windows of {opt.seconds:g} s")
        if warning:
            print(f"WARNING: {warning}")
    for part, shape in parts:
        r = compare(opt, part, shape)
        result["shapes" if part == "train" else "generate"][shape] = r
        if not opt.json:
            show(f"{part}.{shape}", r)
    if opt.json:
        print(json.dumps(result, indent=2))
    slower = [r for r in (*result["shapes"].values(),
                          *result["generate"].values()) if r["ratio"] < 1]
    return 1 if opt.strict and slower else 0


if __name__ == "__main__":
    sys.exit(main())
