#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Versions are learned again from their parents, and are the same.

Over kills, a rewind and a skip, flushed batches, long records that several
versions share, bad records and a change of settings; and one that is not the
same: a version whose records were changed behind its back.
"""

import json
import os
import sqlite3
import subprocess

from flow_util import (Daemon, MNEME, SLOW, Tap, mneme, records, write_lines,
                       TMP)


def retrain(daemon, version, *more):
    """(exit status, report or None, stderr)"""
    conf = os.path.join(daemon.dir, "mneme.yaml")
    with open(conf, "w") as f:
        f.write("source: {type: file, path: %s, kafka: {}}\n"
                "learner: {batch_tokens: 512}\n" % daemon.settings["source.path"])
    r = subprocess.run([MNEME, "verify", str(version), "--retrain", "--json",
                        "-c", conf, "--data-dir", daemon.data, *more],
                       capture_output=True, text=True, timeout=120 * SLOW)
    try:
        return r.returncode, json.loads(r.stdout), r.stderr
    except ValueError:
        return r.returncode, None, r.stderr


def learned_last(daemon):
    """(version, line from 0) of the last record that was learned."""
    db = sqlite3.connect(f"file:{daemon.data}/mneme.db?mode=ro", uri=True)
    try:
        return db.execute("SELECT version, last_offset FROM ledger"
                          " WHERE kind = 'l' ORDER BY version DESC, seq DESC"
                          " LIMIT 1").fetchone()
    finally:
        db.close()


def same(tap, daemon, name):
    """Each of daemon.kept that was learned from another."""
    for v in sorted(daemon.kept, key=lambda v: v["version"]):
        if not v["parent"]:
            continue
        code, report, err = retrain(daemon, v["version"])
        if not tap.ok(code == 0 and report and report["same"],
                      f"{name}: version {v['version']} again"):
            tap.note(f"exit {code}: {report} {err[-500:]}")




def skipped_early(tap):
    """Records that are skipped among the first: which ones are held out does
    not depend on them, for they are not read again."""
    lines = records("harbour", 500)
    for i in range(0, 300, 2):
        lines[i] = ""  # an empty record, which is skipped
    path = write_lines(os.path.join(TMP, "skipped.jsonl"), lines)
    d = Daemon("skipped", source__type="file", source__path=path,
               source__bad_record="skip", source__at_end="exit",
               publish__keep__newest=1000,
               publish__every_seconds=0, publish__every_tokens=2000)
    tap.equal(d.run(), 0, "skipped early: learned")
    d.start(source__at_end="serve")
    records_of = d.status()["records"]
    newest = d.status()["head_version"]
    d.stop()
    tap.ok(records_of["skipped"] == 150 and records_of["holdout"] > 20,
           f"skipped early: {records_of}")
    for version in range(2, newest + 1):
        code, report, err = retrain(d, version)
        tap.ok(code == 0 and report["same"],
               f"skipped early: version {version} is learned again {err}")


def embedded(tap):
    """From the broker of a daemon that runs, which is left as it was."""
    path = write_lines(os.path.join(TMP, "feed.jsonl"),
                       records("harbour", 60) + ["{not json at all"] +
                       records("orchard", 60))
    d = Daemon("embedded", publish__keep__newest=1000,
               learner__flush_seconds=0.2,
               source__kafka__dead_letter="bad", **{
                   "source__kafka__properties__bootstrap.servers": "embedded"})
    d.start(wait="alive")
    address = os.path.join(d.data, "kafka.addr")
    d.until(lambda: os.path.exists(address), "the broker's address")
    mneme("feed", "--topic", "text", path, data=d.data, code=0)
    until_in_version(d, 121)
    with open(address) as f:
        before = f.read()
    flags = [x for k, v in d.settings.items() for x in ("--set", f"{k}={v}")]
    code, out, err = mneme("verify", "--retrain", "--json", *flags,
                           data=d.data)
    if not tap.ok(code == 0 and json.loads(out)["same"],
                  "from the embedded broker: the same"):
        tap.note(f"exit {code}: {out[-500:]} {err[-500:]}")
    with open(address) as f:
        tap.equal(f.read(), before, "whose address stays")
    d.stop()
    code, out, err = mneme("verify", "--retrain", *flags, data=d.data)
    tap.ok(code == 3 and "embedded" in err, "and without it: exit 3")


def until_in_version(daemon, n):
    def done():
        s = daemon.status()
        v = daemon.get(f"/v1/versions/{s['head_version']}")[1]
        return (s["records"]["consumed"] >= n and v["step"] == s["step"] and
                v["state"] != "pending")
    daemon.until(done, f"{n} records in a version", 120)
    daemon.kept = daemon.versions()


def main():
    tap = Tap()
    lines = records("harbour", 300) + records("orchard", 200)
    lines[50] = ""
    for i in range(20, 500, 45):  # longer than a segment, some than a batch
        lines[i] = json.dumps({"text": " ".join(
            json.loads(x)["text"] for x in records("workshop", 12, seed=i)),
            "domain": "workshop", "label": "long"})
    path = write_lines(os.path.join(TMP, "lines.jsonl"), lines)
    d = Daemon("retrain", source__type="file", source__path=path,
               source__follow="true", learner__flush_seconds=0.2,
               publish__every_tokens=15000, publish__keep__newest=1000,
               learner__shards=2)
    d.start()
    d.until(lambda: d.status()["records"]["consumed"] > 150, "some records")
    d.kill()
    d.start()
    until_in_version(d, len(lines))
    tap.ok(len(d.kept) > 3, f"{len(d.kept)} versions")
    d.kept = d.kept[:2]
    same(tap, d, "killed")

    seen = d.status()["head_version"]
    d.kept = d.versions()
    middle = sorted(v["version"] for v in d.kept)[len(d.kept) // 2]
    d.operation(d.post("/v1/rollback", {"version": middle}))
    until_in_version(d, len(lines))
    middle = sorted(v["version"] for v in d.kept)[-2]
    d.operation(d.post("/v1/rollback", {"version": middle, "stream": "skip"}))
    more = records("orchard", 120, start=200)
    with open(path, "a") as f:  # a part-filled batch each time
        f.write("".join(line + "\n" for line in more[:40]))
    until_in_version(d, len(lines) + 40)
    with open(path, "a") as f:
        f.write("".join(line + "\n" for line in more[40:]))
    until_in_version(d, len(lines) + 120)
    d.kept = [v for v in d.kept if v["version"] > seen]
    same(tap, d, "rolled back, flushed")
    newest = d.status()["head_version"]
    d.stop()

    d.start(learner__batch_tokens=128, learner__ewc__lambda=3,
            learner__threads=1)
    with open(path, "a") as f:
        f.write("".join(line + "\n" for line in records("harbour", 90,
                                                        start=300)))
    until_in_version(d, len(lines) + 210)
    d.kept = [v for v in d.kept if v["version"] > newest]
    tap.ok(d.kept, "versions with other settings")
    same(tap, d, "other settings")
    d.stop()

    code, report, err = retrain(d, 1)
    tap.ok(code == 3 and "untrained" in err, "version 1 has nothing to learn")
    code, report, err = retrain(d, 999)
    tap.ok(code == 3 and report is None, "no such version: exit 3")

    with open(path) as f:
        text = f.read().split("\n")
    version, line = learned_last(d)
    text[line] = json.dumps({"text": "Nobody ever said this.",
                             "domain": "harbour"})
    write_lines(path, text[:-1])
    code, report, err = retrain(d, version)
    tap.ok(code == 1, f"another record: not the same, exit 1 {err}")
    tap.ok(report and report["differences"], "and it says what differs")
    skipped_early(tap)
    embedded(tap)
    tap.exit()


main()
