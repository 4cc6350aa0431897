#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""From a published model on the disk to an answer, and on from there.

The models are those of tests/data/models. `mneme import` makes a data directory
of a folder of several files, mnemed serves it, learns on from it, and starts
again; model.init gives the same first version. Then through GGUF: what `mneme
export` wrote comes in again, with the same loss. A kill changes nothing.
"""

import json
import os
import shutil
import time

from flow_util import Daemon, Tap, mneme, records, write_lines, TMP

MODELS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data",
                      "models")
N = 300


def source(name):
    """A folder with its tokenizer beside it."""
    folder = os.path.join(TMP, "models", name)
    shutil.copytree(os.path.join(MODELS, name), folder)
    shutil.copy(os.path.join(MODELS, "tokenizer.json"), folder)
    return folder


def daemon_of(name, feed, **settings):
    d = Daemon(name, source__type="file", source__path=feed, **settings)
    for key in ("model.dim", "model.layers", "model.heads", "model.kv_heads",
                "model.ffn_dim", "model.context", "model.preset",
                "model.tokenizer", "model.vocab_size"):
        d.settings.pop(key, None)
    return d


def weights(daemon, version):
    return daemon.get(f"/v1/versions/{version}")[1]["weights_sha256"]


def finish(daemon):
    """Waits until all records are in a version; its number."""
    def done():
        s = daemon.status()
        v = daemon.get(f"/v1/versions/{s['head_version']}")[1]
        return s["records"]["consumed"] == N and v["step"] == s["step"]
    daemon.until(done, "everything in a version", 120)
    return daemon.status()["head_version"]


def learn(tap, feed):
    """The directory that mneme import has made, and the one of model.init."""
    folder = source("llama3")
    imported = daemon_of("imported", feed)
    made = json.loads(mneme("import", folder, imported.data, "--json",
                            code=0)[1])
    tap.equal((made["version"], made["context"], made["vocab_size"]),
              (1, 128, 300), "mneme import says what it made")
    again = mneme("import", folder, imported.data, code=3)
    tap.ok("not empty" in again[2], "a used directory is refused")
    imported.start()
    first = weights(imported, 1)
    answer = imported.post("/v1/completions", {
        "prompt": "the", "max_tokens": 4, "temperature": 0})
    tap.equal(answer[0], 200, "the imported version answers")
    head = finish(imported)
    tap.ok(head > 1, "learning goes on from it")
    last = weights(imported, head)
    tap.ok(last != first, "and changes the weights")
    tap.equal(imported.stop(), 0, "mnemed ends without an error")
    tap.equal(mneme("verify", "--all", data=imported.data)[0], 0,
              "all versions are whole")
    imported.start()
    tap.equal(weights(imported, head), last, "the next start has that version")
    imported.stop()

    begun = daemon_of("begun", feed, model__init=folder)
    begun.settings["model.context"] = "128"
    begun.start()
    tap.equal(weights(begun, 1), first, "model.init gives the same version 1")
    time.sleep(0.3)
    begun.kill()
    begun.start()
    own = finish(begun)
    tap.equal(weights(begun, own), last,
              "a kill changes nothing that is learned")
    begun.stop()
    for key in ("model.init", "model.context"):
        del begun.settings[key]
    begun.start()
    tap.equal(begun.status()["head_version"], own,
              "both keys can be removed after the first start")
    begun.stop()
    return imported


def through_gguf(tap):
    folder = source("qwen3")
    first = os.path.join(TMP, "qwen3", "data")
    second = os.path.join(TMP, "qwen3-gguf", "data")
    gguf = os.path.join(TMP, "qwen3-file")
    os.makedirs(os.path.dirname(first))
    os.makedirs(os.path.dirname(second))
    mneme("import", folder, first, code=0)
    mneme("export", "1", gguf, "--format", "gguf", data=first, code=0)
    mneme("import", os.path.join(gguf, "model.gguf"), second, code=0)
    a, b = (open(os.path.join(d, "versions", "000001", "model.safetensors"),
                 "rb").read() for d in (first, second))
    n = [int.from_bytes(x[:8], "little") for x in (a, b)]
    tap.ok(a[8 + n[0]:] == b[8 + n[1]:], "F32 through GGUF keeps every bit")


def refused(tap):
    folder = source("mistral")
    path = os.path.join(folder, "config.json")
    with open(path) as f:
        config = json.load(f)
    config["model_type"] = "mamba"
    with open(path, "w") as f:
        json.dump(config, f)
    target = os.path.join(TMP, "refused")
    error = mneme("import", folder, target, code=2)[2]
    tap.ok("mamba" in error and folder in error,
           "a model of another kind is refused by its name")
    tap.ok(not os.path.exists(target), "and no directory is made")


def main():
    tap = Tap()
    feed = write_lines(os.path.join(TMP, "feed"), records("harbour", N))
    learn(tap, feed)
    through_gguf(tap)
    refused(tap)
    tap.exit()


main()
