#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Exports of versions, beside a daemon and without one.

Whether other programs load the files is tested by tests/tools/compat_gguf.py and
compat_hf.py.
"""

import json
import os

from flow_util import Daemon, TMP, Tap, mneme, records, write_lines


def place(name):
    return os.path.join(TMP, name)


def export(d, *args, code=0):
    _, out, err = mneme("export", *args, "--json", data=d.data, code=code)
    return (json.loads(out) if code == 0 else None), err


def holdout_loss(d, version):
    """The loss that the gate measured: all of the holdout fits its sample."""
    domains = d.get(f"/v1/versions/{version}")[1]["holdout"]
    return domains["harbour"]["bits_per_byte"]


def beside_a_daemon(tap, d):
    head = d.status()["head_version"]
    whole, err = export(d, "latest", place("whole"))
    losses = whole["bits_per_byte"]
    tap.equal(whole["version"], head, "latest is the newest version")
    tap.equal(sorted(os.listdir(place("whole"))),
              ["config.json", "generation_config.json", "model.safetensors",
               "tokenizer.json", "tokenizer_config.json"],
              "hf: the files that transformers loads")
    tap.equal(whole["bytes"], sum(os.path.getsize(os.path.join(
        place("whole"), f)) for f in os.listdir(place("whole"))),
        "hf: the size is reported")
    tap.equal(whole["left_out"], ["n-gram memory", "class head"],
              "what is left out")
    tap.ok(err.count("\n") == 2 and "n-gram" in err and "class head" in err,
           "what is left out is on the standard error, a line each")
    tap.ok(abs(losses["served"] - holdout_loss(d, head)) < 1e-6,
           "the loss of the answers is the gate's")
    tap.ok(losses["transformer"] == losses["exported"] != losses["served"],
           "f32 costs nothing")
    sizes = {}
    for kind in ("f32", "f16", "bf16", "q8_0", "q4_0"):
        r, _ = export(d, "serving", place(kind), "--format", "gguf", "--type",
                      kind)
        now, sizes[kind] = r["bits_per_byte"], r["bytes"]
        limit = {"f32": 1e-9, "q4_0": 0.1}.get(kind, 0.01)
        tap.equal((os.listdir(place(kind)), os.path.getsize(
            place(kind) + "/model.gguf")), (["model.gguf"], r["bytes"]),
            f"gguf, {kind}: one file")
        tap.ok(abs(now["exported"] / now["transformer"] - 1) < limit,
               f"gguf, {kind}: costs {now['exported'] - now['transformer']:.5f}"
               " bits per byte")
    tap.ok(sizes["f32"] > sizes["f16"] == sizes["bf16"] > sizes["q8_0"]
           > sizes["q4_0"], "types with fewer bits are smaller")
    mneme("tag", "1", "first", data=d.data, code=0)
    tap.equal(export(d, "first", place("first"))[0]["version"], 1,
              "a tag names a version")
    return whole


def refusals(tap, d):
    os.mkdir(place("full"))
    write_lines(place("full/file"), ["x"])
    os.symlink(place("none"), place("link"))
    for args, code, word in (
            (["latest", place("full")], 3, "exists"),
            (["latest", place("full/file")], 3, "exists"),
            (["latest", place("link")], 3, "exists"),
            (["latest", place("no/folder")], 1, "no/folder"),
            (["77", place("x")], 3, "77"),
            (["nobody", place("x")], 3, "nobody"),
            (["a b", place("x")], 2, "tag"),
            (["latest", place("x"), "--format", "adapter"], 2,
             "not supported"),
            (["latest", place("x"), "--format", "gguf-adapter"], 2,
             "not supported"),
            (["latest", place("x"), "--format", "onnx"], 2, "hf or gguf"),
            (["latest", place("x"), "--type", "q8_0"], 2, "needs format gguf"),
            (["latest", place("x"), "--format", "gguf", "--type", "q4_k"], 2,
             "use q8_0 or q4_0"),
            (["latest", place("x"), "--type", "int4"], 2, "bf16")):
        _, err = export(d, *args, code=code)
        tap.ok(word in err and err.count("\n") == 1,
               f"export {' '.join(args[2:]) or os.path.basename(args[1])}: "
               f"{err.strip()}")
    tap.ok(not os.path.exists(place("x")), "a refusal leaves nothing")


def linear(tap):
    d = Daemon("linear", model__preset="linear", source__type="file",
               source__at_end="exit", source__path=write_lines(
                   place("linear.jsonl"), [json.dumps(
                       {"text": f"text {i}", "label": f"l{i % 2}"})
                       for i in range(30)]))
    tap.equal(d.run(), 0, "a version of preset linear")
    _, err = export(d, "latest", place("y"), code=2)
    tap.ok("preset linear" in err, f"preset linear: {err.strip()}")


def main():
    tap = Tap()
    lines = [json.dumps({**json.loads(line), "label": f"l{i % 2}"})
             for i, line in enumerate(records("harbour", 300))]
    d = Daemon("store", model__preset="nano", learner__holdout__fraction=0.2,
               source__type="file",
               source__path=write_lines(place("text.jsonl"), lines)).start()
    d.until_consumed(300)
    d.until(lambda: d.status()["serving_version"] ==
            d.status()["head_version"] > 1, "the newest version serves")
    running = beside_a_daemon(tap, d)
    refusals(tap, d)
    d.stop()
    stopped, _ = export(d, str(running["version"]), place("stopped"))
    with open(place("whole/model.safetensors"), "rb") as a, \
            open(place("stopped/model.safetensors"), "rb") as b:
        tap.ok(a.read() == b.read(), "without a daemon: the same bytes")
    tap.equal(stopped["bits_per_byte"], running["bits_per_byte"],
              "without a daemon: the same losses")
    linear(tap)
    tap.exit()


main()
