#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bad feeds through the whole daemon: what is refused, and what is not.

Shuffled letters, random bytes in base64, a record that repeats itself, one
sentence ten thousand times; another language, which must be learned; a kill
among them; and every version learned again, bit for bit.
"""

import base64
import json
import os
import random
import sqlite3
import subprocess

from flow_util import (Daemon, MNEME, SLOW, Tap, add_up, mneme, records,
                       write_lines, TMP)

SYLLABLES = {
    "sea": "ha vor ti de lan tern mo ring pi lot ca ble".split(),
    "far": "zsu gyö kők ány szé bür tűz lép ött csá".split(),
}


def sentence(language, rng):
    words = ["".join(rng.choice(SYLLABLES[language])
                     for _ in range(rng.randrange(1, 4)))
             for _ in range(rng.randrange(20, 30))]
    return " ".join(words).capitalize() + "."


def shuffled(text, rng):
    letters = list(text)
    rng.shuffle(letters)
    return "".join(letters)


def noise(n, rng):
    return base64.b64encode(rng.randbytes(n)).decode()


def line(kind, text):
    return json.dumps({"text": text, "domain": "d", "id": kind})


def feed(rng):
    """(lines, how many of each kind)"""
    kinds = []
    for i in range(600):
        kinds.append(("sea", sentence("sea", rng)))
        if i >= 350:
            kinds += rng.choice([
                [], [("letters", shuffled(sentence("sea", rng), rng))],
                [("base64", noise(90, rng))]])
        if i == 450:
            kinds.append(("itself", "Spam, spam, eggs and spam. " * 40))
        if i >= 480 and i % 3 == 0:
            kinds.append(("far", sentence("far", rng)))
    return kinds + [("far", sentence("far", rng)) for _ in range(40)]


def reasons(daemon):
    """{(id, reason): rows} of the quarantine"""
    path = os.path.join(daemon.data, "mneme.db")
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        rows = db.execute("SELECT record_id, reason, count(*) FROM quarantine "
                          "GROUP BY 1, 2").fetchall()
    db.close()
    return {(kind, reason): n for kind, reason, n in rows}


def bad_feeds(tap):
    rng = random.Random(7)
    kinds = feed(rng)
    count = {}
    for kind, _ in kinds:
        count[kind] = count.get(kind, 0) + 1
    path = write_lines(os.path.join(TMP, "feed.jsonl"),
                       [line(*k) for k in kinds])
    d = Daemon("feeds", source__type="file", source__path=path,
               source__at_end="exit", learner__holdout__fraction=0,
               publish__gate__enabled="false",
               publish__every_seconds=0, publish__every_tokens=60000,
               learner__shards=2)
    tap.equal(d.run(), 0, "a stream with junk in it")
    found = reasons(d)
    tap.note(f"{count} {found}")
    for kind in ("letters", "base64"):
        tap.ok(found.get((kind, "surprise"), 0) >= 0.9 * count[kind],
               f"{kind}: refused as surprising")
    tap.equal(found.get(("itself", "repetition")), 1,
              "a record that repeats itself")
    refused = {kind: sum(n for (k, _), n in found.items() if k == kind)
               for kind in count}
    tap.equal(refused["sea"], 0, "of clean records none is refused")
    tap.equal(refused["far"], 0, "of another language none either")
    return d


def retrain(tap, d):
    conf = os.path.join(d.dir, "mneme.yaml")
    with open(conf, "w") as f:
        f.write("source: {type: file, path: %s, kafka: {}}\n"
                "publish: {gate: {enabled: false}}\n" %
                d.settings["source.path"])
    d.start(source__at_end="serve")
    versions = d.versions()
    d.stop()
    for v in sorted(versions, key=lambda v: v["version"]):
        if not v["parent"]:
            continue
        r = subprocess.run([MNEME, "verify", str(v["version"]), "--retrain",
                            "--json", "-c", conf, "--data-dir", d.data],
                           capture_output=True, text=True, timeout=120 * SLOW)
        if not tap.ok(r.returncode == 0 and json.loads(r.stdout)["same"],
                      f"version {v['version']} again"):
            tap.note(f"{r.stdout[-700:]} {r.stderr[-300:]}")


def digest(d):
    """What the newest version is, but for its number."""
    d.start()
    s = d.status()
    v = d.get(f"/v1/versions/{s['head_version']}")[1]
    d.stop()
    return v["weights_sha256"], v["step"], s["records"], s["quarantine"]


def one_sentence(tap):
    """Ten thousand times, in the middle of others, killed while it comes."""
    lines = records("harbour", 150)
    same = [json.dumps({"text": "The market is open again today.",
                        "domain": "harbour"})] * 10000
    lines = lines[:100] + same + lines[100:]
    path = write_lines(os.path.join(TMP, "same.jsonl"), lines)
    settings = dict(source__type="file", source__path=path,
                    learner__shards=2, learner__flush_seconds=0,
                    publish__every_seconds=0, publish__every_tokens=10000,
                    publish__gate__enabled="false")
    d = Daemon("same", **settings)
    killed = Daemon("killed", learner__threads=1, **settings)
    for x in (d, killed):
        x.start()
        if x is killed:
            x.until(lambda: x.status()["head_version"] > 1, "a version")
            x.kill()
            x.start()
        x.until_consumed(len(lines))
        x.stop()
    a, b = digest(d), digest(killed)
    tap.equal(a, b, "killed or not: the same")
    learned = a[2]["learned"]
    tap.ok(150 < learned + a[2]["holdout"] < 230,
           f"one sentence 10,000 times: {learned} records learned")
    tap.ok(a[3]["near_duplicate"] > 9800, "the rest is refused")
    d.start()
    tap.ok("mneme_quarantine_reasons_total{reason=\"near_duplicate\"}" in
           d.get("/metrics")[1], "and counted in /metrics")
    tap.ok(add_up(d.status()), "the counters add up")
    d.stop()
    retrain(tap, d)


def switched_off(tap):
    path = write_lines(os.path.join(TMP, "off.jsonl"), [
        json.dumps({"text": "The same again.", "domain": "d"})] * 300)
    d = Daemon("off", source__type="file", source__path=path,
               source__at_end="exit", learner__holdout__fraction=0,
               publish__gate__enabled="false",
               filter__near_duplicate__enabled="false")
    tap.equal(d.run(), 0, "a filter switched off")
    tap.equal(reasons(d), {}, "refuses nothing")


def main():
    tap = Tap()
    d = bad_feeds(tap)
    retrain(tap, d)
    one_sentence(tap)
    switched_off(tap)
    tap.exit()


main()
