#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The guard's limits outlive the process.

A learning rate that is far too high, so that the daemon goes back by itself
again and again, and a kill before and after each time: what had been compared
is neither lost nor counted twice, the fourth time within an hour learning
holds, and it still holds after a kill, until somebody looks.
"""

import json
import os
import random
import shutil
import sqlite3
import time

from flow_util import Daemon, Tap, WORDS, add_up, write_lines, TMP

RECORDS = 60000
PATIENCE = 240

SETTINGS = {
    "source__type": "file",
    "learner__threads": 1,
    "learner__batch_tokens": 512,
    "learner__holdout__fraction": 0.05,
    "publish__every_seconds": 0,
    "publish__every_tokens": 2500,
    # Room for all that is held out between two versions.
    "publish__gate__max_tokens": 65536,
    # The memory would predict these few words well, whatever the rate does.
    "learner__ngram__enabled": "false",
    "filter__surprise__enabled": "false",
    "filter__near_duplicate__enabled": "false",
    "filter__repetition__enabled": "false",
}


def lines():
    """Short ones, each a segment, no two alike."""
    rng = random.Random(5)
    words = [w for some in WORDS.values() for w in some]
    return [json.dumps({"text": f"{i} " + " ".join(
        rng.choice(words) for _ in range(rng.randrange(5, 12)))})
        for i in range(RECORDS)]


def query(d, sql):
    """Of a copy: reading the database itself would write its log into it."""
    to = os.path.join(d.dir, "copy")
    shutil.rmtree(to, ignore_errors=True)
    os.makedirs(to)
    for name in ("mneme.db", "mneme.db-wal"):
        path = os.path.join(d.data, name)
        if os.path.exists(path):
            shutil.copy(path, to)
    db = sqlite3.connect(os.path.join(to, "mneme.db"))
    try:
        return db.execute(sql).fetchall()
    finally:
        db.close()


def memories(d):
    return {v: json.loads(text) for v, text in query(
        d, "SELECT version, guard FROM versions WHERE guard IS NOT NULL"
           " ORDER BY version")}


def compared(memory):
    return memory["text"][0]["records"]


def went_back(d):
    return query(d, "SELECT count(*) FROM control_log WHERE kind = 'rollback'"
                    " AND reason LIKE 'automatic skip:%'")[0][0]


def counted_once(tap, d, name):
    """Whatever was killed: each held-out segment since the reference was made
    is in the comparison, once."""
    rows = [m for m in memories(d).values() if m["reference"] > 0]
    wrong = [m for m in rows if compared(m) != m["seen"] - m["mark"]]
    tap.ok(rows and not wrong, f"{name}: everything is compared once "
           f"({[compared(m) for m in rows]})")
    for m in wrong[:3]:
        tap.note(json.dumps(m))


def figures(s):
    return {"version": s["head_version"], **(s["publish"]["shadow"] or {})}


def same(a, b):
    """They go through a text of 8 digits."""
    return a.keys() == b.keys() and all(
        a[k] == b[k] or abs(a[k] - b[k]) <= 1e-6 * abs(a[k]) for k in a)


def judged(d, after):
    """What is shown of the newest version, once it has a verdict."""
    found = {}

    def look():
        s = d.status()
        gate = d.get(f"/v1/versions/{s['head_version']}")[1]["gate"]
        found.update(figures(s))
        return (s["head_version"] > after and gate and gate.get("shadow") and
                gate["shadow"]["records"] == found.get("records"))
    d.until(look, "a comparison", PATIENCE)
    return found


def evidence(tap, d):
    """Before and after a kill the same figures."""
    seen = 0
    for i in range(4):
        before = judged(d, d.status()["head_version"])
        d.kill()
        rows = memories(d)
        d.start()
        after = figures(d.status())
        if after["version"] == before["version"]:
            seen += 1
            tap.ok(same(before, after), f"evidence {i}: the same after a kill")
            tap.note(f"{before} {after}")
        kept = memories(d)
        tap.ok(all(kept[v] == rows[v] for v in rows if v in kept),
               f"evidence {i}: what a version knew stays")
    tap.ok(seen > 0, "evidence: seen before and after a kill")
    counted_once(tap, d, "evidence")


def exhausted(tap, d, too_high):
    """Killed after each of three times, and once more before the fourth."""
    for i in range(1, 4):
        d.kill()
        d.start(**too_high)
        d.until(lambda: d.status()["publish"]["automatic_rollbacks"] > 0,
                f"rollback {i}", PATIENCE)
        d.kill()
        tap.equal(went_back(d), i, f"limit: went back {i} times")
        head, = query(d, "SELECT head FROM pointers")[0]
        memory = memories(d)[head]
        tap.ok(memory["rule"]["bad"] == 0 and compared(memory) == 0 and
               memory["wish"] is None, f"limit: anew after time {i}")
        d.start(**too_high)
    counted_once(tap, d, "limit")
    d.until(lambda: d.status()["state"] == "paused", "learning holds",
            PATIENCE)
    tap.equal(went_back(d), 3, "limit: the fourth time it holds")


def held(tap, d, too_high):
    before = d.status()
    tap.ok("rollback" in before["reason"], f"held: says so: {before['reason']}")
    d.kill()
    d.start(**too_high)
    d.until(lambda: d.status()["state"] == "paused", "it holds again", 20)
    time.sleep(1)
    after = d.status()
    tap.equal(after["reason"], before["reason"], "held: after a kill, too")
    tap.equal(after["head_version"], before["head_version"],
              "held: no version more")
    tap.equal(went_back(d), 3, "held: and no rollback")
    tap.ok(add_up(after), "held: counters add up")


def lifted(tap, d):
    """With a rate that is right again, or it would hold once more."""
    d.kill()
    d.start()
    d.until(lambda: d.status()["state"] != "starting", "a state")
    tap.equal(d.status()["state"], "paused", "lifted: not by other settings")
    code, reply = d.post("/v1/versions/latest/promote")
    tap.equal(code, 200, f"lifted: by an operator's choice {reply}")
    d.until(lambda: d.status()["state"] == "learning", "learning again")
    d.kill()
    d.start()
    version = d.status()["head_version"]
    d.until(lambda: d.status()["head_version"] > version, "a version more",
            PATIENCE)
    tap.ok(d.status()["state"] != "paused", "lifted: after a kill, too")


def main():
    tap = Tap()
    path = write_lines(os.path.join(TMP, "guard.jsonl"), lines())
    d = Daemon("guard", source__path=path, **SETTINGS).start()
    d.until(lambda: d.status()["serving_version"] > 3, "something serves",
            PATIENCE)
    evidence(tap, d)
    too_high = {"learner__optimizer__lr": 0.3}
    exhausted(tap, d, too_high)
    held(tap, d, too_high)
    lifted(tap, d)
    tap.equal(d.stop(), 0, "stops")
    tap.exit()


main()
