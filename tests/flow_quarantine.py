#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What is kept and should not be, and what was set aside and should come back.

Damaged rows leave the replay and learning goes on. Released records are
learned once, over kills, rewinds and skips, and can be learned again by their
version's ledger; what is broken in itself is not released.
"""

import json
import os
import sqlite3
import subprocess

from flow_util import (Daemon, MNEME, Tap, add_up, mneme, records,
                       write_lines, TMP)


def sql(daemon, *statements):
    """Behind the back of a daemon that does not run."""
    db = sqlite3.connect(os.path.join(daemon.data, "mneme.db"))
    got = None
    for statement in statements:
        got = db.execute(statement).fetchall()
    db.commit()
    db.close()
    return got


def append(path, lines):
    with open(path, "a") as f:
        f.write("".join(line + "\n" for line in lines))


def in_version(daemon, n):
    """n records are decided, and all that was learned is in the head."""
    def done():
        s = daemon.status()
        v = daemon.get(f"/v1/versions/{s['head_version']}")[1]
        return (s["records"]["consumed"] >= n and v["step"] == s["step"] and
                v["state"] != "pending")
    daemon.until(done, f"{n} records in a version", 120)
    return daemon.get(
        f"/v1/versions/{daemon.status()['head_version']}")[1]


def damaged(tap):
    path = write_lines(os.path.join(TMP, "damaged.jsonl"),
                       records("harbour", 300))
    d = Daemon("damaged", source__type="file", source__path=path,
               source__follow="true", learner__flush_seconds=0.2).start()
    in_version(d, 300)
    d.stop()
    gone = len(sql(d, "SELECT key FROM replay_rows WHERE died IS NULL AND"
                      " key % 7 = 1"))
    sql(d, "UPDATE replay_rows SET checksum = 1 WHERE key % 7 = 0",
        "DELETE FROM replay_rows WHERE key % 7 = 1",
        "UPDATE holdout_rows SET tokens = NULL WHERE key % 3 = 0")
    d.start()
    d.until(lambda: d.status()["replay"]["missing"] > 0, "missing rows", 20)
    tap.equal(d.status()["replay"]["missing"], gone,
              "damage: rows that are gone leave when the index is loaded")
    append(path, records("harbour", 600, start=300))
    head = in_version(d, 900)
    status = d.status()
    tap.ok(status["replay"]["damaged"] > 0,
           f"damage: {status['replay']['damaged']} rows were met")
    tap.ok(add_up(status), "damage: counters add up")
    tap.ok(head["gate"]["verdict"] in ("pass", "fail", "inconclusive"),
           "damage: the gate compares on what is whole")
    with open(d.log) as f:
        tap.equal(f.read().count("damaged=true"), status["replay"]["damaged"],
                  "damage: each is told once")
    tap.ok("mneme_replay_damaged_total" in d.get("/metrics")[1],
           "damage: and counted")
    tap.equal(d.stop(), 0, "damage: stops as always")
    dead = sql(d, "SELECT count(*) FROM replay_rows WHERE checksum = 1 AND"
                  " died IS NOT NULL")[0][0]
    tap.ok(dead >= status["replay"]["damaged"], "damage: dead in the table")
    d.start()
    tap.equal(d.get("/healthz")[0], 200, "damage: starts again")
    d.stop()


def retrain(daemon, version):
    """(exit status, report or None, stderr)"""
    conf = os.path.join(daemon.dir, "mneme.yaml")
    with open(conf, "w") as f:
        f.write("source: {type: file, path: %s, kafka: {}}\n"
                % daemon.settings["source.path"])
    r = subprocess.run([MNEME, "verify", str(version), "--retrain", "--json",
                        "-c", conf, "--data-dir", daemon.data],
                       capture_output=True, text=True, timeout=120)
    try:
        return r.returncode, json.loads(r.stdout), r.stderr
    except ValueError:
        return r.returncode, None, r.stderr


def again(tap, daemon, name):
    """The head is what its records made of its parent, bit for bit."""
    head = daemon.status()["head_version"]
    code, report, err = retrain(daemon, head)
    if not tap.ok(code == 0 and report and report["same"],
                  f"{name}: version {head} learned again"):
        tap.note(f"exit {code}: {report} {err[-500:]}")


def released(daemon):
    """{offset: [kinds]} of released records on the head's branch."""
    db = sqlite3.connect(f"file:{daemon.data}/mneme.db?mode=ro", uri=True)
    rows = db.execute(
        "WITH RECURSIVE branch (version) AS (SELECT head FROM pointers UNION"
        " SELECT base FROM versions JOIN branch USING (version)"
        " WHERE base > 0) SELECT first_offset, last_offset, kind FROM ledger"
        " JOIN branch USING (version) JOIN partitions ON id = partition_id"
        " WHERE topic = '(released)' ORDER BY version, seq").fetchall()
    db.close()
    found = {}
    for first, last, kind in rows:
        for at in range(first, last + 1):
            found.setdefault(at, []).append(kind)
    return found


def once(found, n):
    """n offsets, each decided once (a long one may go on as 'c')."""
    return sorted(found) == list(range(1, n + 1)) and all(
        len([k for k in kinds if k != "c"]) == 1 for kinds in found.values())


def refusals(tap, d):
    rows = json.loads(mneme("quarantine", "--json", data=d.data,
                            code=0)[1])["quarantine"]
    by = {}
    for row in rows:
        by.setdefault(row["reason"], []).append(row)
    tap.equal(sorted((k, len(v)) for k, v in by.items()),
              [("not_json", 12), ("not_utf8", 1), ("too_long", 1)],
              "quarantine: what is in it")
    row = by["not_utf8"][0]
    code, out, why = mneme("quarantine", "release", str(row["id"]),
                           data=d.data)
    tap.ok(code == 3 and "not UTF-8" in why, "not UTF-8: exit 3 and why")
    code, out, why = mneme("quarantine", "release",
                           str(by["too_long"][0]["id"]), data=d.data)
    tap.ok(code == 3 and "cut" in why, "cut: exit 3 and why")
    code, out, why = mneme("quarantine", "release",
                           str(by["not_json"][0]["id"]), data=d.data)
    tap.ok(code == 3 and "JSON" in why, "not JSON: exit 3 and why")
    code, out, why = mneme("quarantine", "release", "4711", data=d.data)
    tap.equal(code, 3, "no such record: exit 3")
    tap.equal(mneme("quarantine", "release", data=d.data)[0], 2,
              "nothing to release: exit 2")
    tap.equal(mneme("quarantine", "eat", data=d.data)[0], 2,
              "no such word: exit 2")
    code, out, _ = mneme("quarantine", "show", str(row["id"]), "--json",
                         data=d.data)
    tap.ok(code == 0 and json.loads(out)["text"] is None and
           json.loads(out)["base64"], "show: bytes that are no text")
    code, out, _ = mneme("quarantine", "list", "--reason", "not_json",
                         "--limit", "3", data=d.data)
    tap.equal(out.count("not_json"), 3, "list: by reason, and a limit")
    tap.equal(d.get("/v1/quarantine/0")[0], 404, "GET: no such record")
    tap.equal(d.post("/v1/quarantine/release")[0], 400, "POST: of what?")
    return by["not_json"]


def releases(tap):
    texts = [json.loads(r)["text"] for r in records("workshop", 12)]
    texts[3] *= 30  # longer than what used to be kept
    lines = records("harbour", 150)
    for i, text in enumerate(texts):
        lines.insert(10 * i + 5, text)
    lines.insert(77, "x" * 70000)
    path = os.path.join(TMP, "released.jsonl")
    with open(path, "wb") as f:
        f.write("".join(line + "\n" for line in lines).encode())
        f.write(b"\xff\xfe is not UTF-8\n")
    d = Daemon("released", source__type="file", source__path=path,
               source__follow="true", learner__flush_seconds=0.2,
               source__format="json", publish__every_seconds=0.3).start()
    n = len(lines) + 1
    before = in_version(d, n)["version"]
    rows = refusals(tap, d)
    d.stop()
    d.start(source__format="auto")
    whole = d.get(f"/v1/quarantine/{rows[-4]['id']}")[1]
    tap.ok(whole["text"] == texts[3] and whole["whole"] and
           whole["releasable"], "a long one is kept whole")
    status, body = d.post(f"/v1/quarantine/{rows[-4]['id']}/release")
    tap.equal((status, body["state"]), (202, "done"), "released: 202, done")
    d.kill()
    d.start(source__format="auto")
    in_version(d, n + 1)
    tap.ok(once(released(d), 1), "released, killed: learned once")
    tap.ok(add_up(d.status()), "released: counters add up")
    again(tap, d, "released")
    code, _, why = mneme("quarantine", "release", str(rows[-4]["id"]),
                         data=d.data)
    tap.ok(code == 3 and "already" in why, "released twice: exit 3")
    code, out, _ = mneme("quarantine", "release", str(rows[0]["id"]),
                         str(rows[1]["id"]), data=d.data)
    tap.ok(code == 0 and out.count("released") == 2, "two by their numbers")
    for _ in range(3):
        d.kill()
        d.start(source__format="auto")
    code, out, _ = mneme("quarantine", "release", "--reason", "not_json",
                         data=d.data)
    tap.ok(code == 0 and "9 records" in out, "the rest by their reason")
    tap.equal(mneme("quarantine", "release", "--all", data=d.data)[0], 3,
              "nothing is left: exit 3")
    head = in_version(d, n + 12)
    tap.ok(once(released(d), 12), "all: each learned once")
    tap.ok(add_up(d.status()), "all: counters add up")
    again(tap, d, "all")
    records_then = d.status()["records"]
    d.operation(d.post("/v1/rollback", {"version": before}))
    in_version(d, n + 12)
    tap.ok(once(released(d), 12), "rewound: each learned once more")
    tap.equal(d.status()["records"], records_then, "rewound: same counters")
    again(tap, d, "rewound")
    d.operation(d.post("/v1/rollback", {"version": 1}))
    in_version(d, n + 12)
    tap.ok(once(released(d), 12), "rewound to birth: each once")
    counts = d.status()["records"]
    tap.equal(counts["skipped"], 12,
              "rewound to birth: their own offsets are passed over")
    d.operation(d.post("/v1/rollback", {"version": 1, "stream": "skip"}))
    tap.equal(d.status()["records"]["skipped"], n + 12, "skipped: all of it")
    d.stop()
    d.start(source__format="auto")
    append(path, records("orchard", 60))
    in_version(d, n + 12 + 60)
    tap.ok(all(k == "s" for kinds in released(d).values() for k in kinds),
           "skipped: and stays so over a restart")
    tap.ok(add_up(d.status()), "skipped: counters add up")
    again(tap, d, "skipped")
    tap.equal(d.stop(), 0, "stops")


def main():
    tap = Tap()
    damaged(tap)
    releases(tap)
    tap.exit()


main()
