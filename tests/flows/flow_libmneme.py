#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""libmneme as another program finds it: installed, with pkg-config.

The example and a program of each kind are compiled against the installed
header; only the functions of mneme.h are exported; the Python wrapper gives
what the daemon answers, while the daemon learns and publishes beside it.
"""

import glob
import json
import os
import re
import shutil
import subprocess
import sys
import threading

from flow_util import Daemon, Tap, records, write_lines, TMP
from flow_util import mneme as mneme_cli

top = os.path.abspath(os.environ.get("top_builddir", "."))
sources = os.path.abspath(os.environ.get("top_srcdir", "."))
root = f"{TMP}/root"
tap = Tap()


def run(*command, env=None, code=0):
    done = subprocess.run(command, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True,
                          env={**os.environ, **(env or {})})
    if done.returncode != code:
        print(f"# {command}: status {done.returncode}\n"
              + re.sub("^", "# ", done.stdout, flags=re.M), flush=True)
    return done.stdout


def install():
    """Into a folder of its own, which pkg-config is told to look below."""
    env = {k: v for k, v in os.environ.items()
           if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "TESTS")}
    subprocess.run(["make", "-C", top, "install", f"DESTDIR={root}"], env=env,
                   stdout=subprocess.DEVNULL, check=True)
    return os.path.dirname(glob.glob(f"{root}/**/libmneme.so.0",
                                     recursive=True)[0])


libdir = install()
pkg = {"PKG_CONFIG_PATH": f"{libdir}/pkgconfig",
       "PKG_CONFIG_SYSROOT_DIR": root}
tap.equal(os.readlink(f"{libdir}/libmneme.so"), "libmneme.so.0",
          "the linker finds the library")
tap.equal(run("pkg-config", "--modversion", "mneme", env=pkg).strip(),
          re.search(r'PACKAGE_VERSION "(.*)"',
                    open(f"{top}/config.h").read())[1],
          "pkg-config knows the program version")
flags = run("pkg-config", "--cflags", "--libs", "mneme", env=pkg).split()

with open(f"{sources}/libmneme/mneme.h") as header:
    declared = set(re.findall(r"^(?!typedef)[a-z].*\b(mneme_\w+)\(",
                              header.read(), re.M))
symbols = run("nm", "-D", "--defined-only", f"{libdir}/libmneme.so.0")
exported = {line.split()[2].split("@")[0] for line in symbols.splitlines()
            if line.split()[1] in "TDBRiV"}
tap.equal(exported, declared, "the functions of mneme.h are exported, only")

# --- a program of C, and one of C++ ---------------------------------------

sanitize = os.environ.get("MNEME_SANITIZED")
if sanitize:
    tap.note("a program without the sanitizer cannot load this library")
    tap.exit()
example, = glob.glob(f"{root}/**/examples/score_file.c", recursive=True)
cc = os.environ.get("CC", "cc").split()
run(*cc, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-std=gnu99", example,
    *flags, "-o", f"{TMP}/score_file")
if tap.ok(os.path.exists(f"{TMP}/score_file"), "the example compiles"):
    tap.ok("Usage" in run(f"{TMP}/score_file", code=2,
                          env={"LD_LIBRARY_PATH": libdir}), "and starts")
if shutil.which("c++"):
    with open(f"{TMP}/x.cc", "w") as file:
        file.write("#include <mneme.h>\nint main() { mneme_close(nullptr); "
                   "return mneme_library_version() != MNEME_VERSION; }\n")
    run("c++", "-Wall", "-Werror", "-Wpedantic", f"{TMP}/x.cc", *flags, "-o",
        f"{TMP}/x")
    run(f"{TMP}/x", env={"LD_LIBRARY_PATH": libdir})
    tap.ok(os.path.exists(f"{TMP}/x"), "the header is C++, too")

# --- beside the daemon ----------------------------------------------------

lines = f"{TMP}/lines.txt"
texts = [json.dumps({**json.loads(line), "label": domain})
         for domain in ("harbour", "orchard")
         for line in records(domain, 600)]
write_lines(lines, texts)
daemon = Daemon("daemon", **{"source.type": "file", "source.path": lines})
daemon.start()
daemon.until(lambda: daemon.status()["serving_version"], "a version serves")

os.environ["MNEME_LIBRARY"] = f"{libdir}/libmneme.so.0"
sys.path.insert(0, os.path.dirname(
    glob.glob(f"{root}/**/python/mneme.py", recursive=True)[0]))
import mneme  # noqa: E402: the wrapper loads the library

opened = 0
for _ in range(20):
    with mneme.open(daemon.data) as version:
        opened += version.score(texts[0]).bits_per_byte > 0
tap.equal(opened, 20, "opened twenty times while the daemon publishes")
daemon.until_consumed(len(texts))
daemon.until(lambda: len(daemon.versions()) > 1 and
             daemon.status()["serving_version"], "more than one version")

text = "The pilot \u00e4 and the \u20ac."
number = daemon.status()["serving_version"]
with mneme.open(daemon.data, number) as version:
    model = f"mneme@{number}"
    tap.equal(version.number, number, "a version by its number")
    answer = daemon.post("/v1/score", {"model": model,
                                       "text": [text]})[1]["results"][0]
    score = version.score(text)
    tap.ok(abs(score.bits_per_byte - answer["bits_per_byte"]) < 1e-6,
           "scores as the daemon does")
    tokens = version.tokens(text)
    tap.equal(b"".join(t.bytes for t in tokens), text.encode(),
              "the tokens are the text")
    tap.ok(abs(sum(t.logprob for t in tokens) + score.nats) < 1e-3,
           "and their log-probabilities are the score")
    answer = daemon.post("/v1/completions", {
        "model": model, "prompt": "The", "seed": 5, "max_tokens": 24,
        "stop": ["."]})[1]
    tap.equal(version.generate("The", seed=5, max_tokens=24, stop=["."]),
              answer["choices"][0]["text"], "completes as the daemon does")
    got = []
    version.generate("The", seed=5, max_tokens=24, on_token=lambda b:
                     got.append(b) or len(got) == 3)
    tap.equal(len(got), 3, "a callback stops it")
    try:
        version.generate("The", on_token=lambda b: 1 / 0)
        tap.ok(False, "an exception of a callback arrives")
    except ZeroDivisionError:
        tap.ok(True, "an exception of a callback arrives")
    answer = daemon.post("/v1/embeddings", {"model": model, "input": text})[1]
    tap.ok(max(abs(a - b) for a, b in zip(
        version.embed(text), answer["data"][0]["embedding"])) < 1e-5,
        "embeds as the daemon does")
    answer = daemon.post("/v1/classify", {"model": model,
                                          "text": [text]})[1]["results"][0]
    tap.equal(sorted(version.labels), ["harbour", "orchard"], "the labels")
    tap.ok(all(abs(version.classify(text)[row["label"]] - row["score"]) < 1e-5
               for row in answer["scores"]), "classifies as the daemon does")
    results = []
    threads = [threading.Thread(target=lambda: results.append(
        version.score(text).nats)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tap.equal(results, [score.nats] * 4, "four threads, one score")
for wrong, code in (("no-such-tag", -4), ("999", -4), ("?", -3)):
    try:
        mneme.open(daemon.data, wrong)
        tap.ok(False, f"refuses version {wrong}")
    except mneme.Error as error:
        tap.equal(error.code, code, f"refuses version {wrong}: {error}")

write_lines(f"{TMP}/few.txt", texts[:3])
out = run(f"{TMP}/score_file", daemon.data, f"{TMP}/few.txt",
          env={"LD_LIBRARY_PATH": libdir}).splitlines()
tap.equal(len(out), 4, "the example scores three lines")
tap.ok(len(out) > 1 and "bits per byte" in out[1], out[1] if out else "none")
exported = f"{TMP}/exported"
shutil.copytree(f"{daemon.data}/versions/{number:06d}", exported)
daemon.stop()
with mneme.open(daemon.data, number) as version:
    tap.equal(version.score(text), score, "after the daemon has ended")
with mneme.open(exported) as version:
    tap.equal((version.number, version.score(text)), (0, score),
              "a copy of a version's files")
tap.equal(mneme_cli("verify", "--all", data=daemon.data)[0], 0,
          "the data directory is whole")
tap.exit()
