#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What is kept and should not be, and what was set aside and should come back.

Damaged rows leave the replay and learning goes on. Released records are
learned once, over kills, rewinds and skips, and can be learned again by their
version's ledger; what is broken in itself is not released. Forgotten records
are gone from the files to the byte, and no rewind learns them again.
"""

import json
import os
import sqlite3
import subprocess
import time

from flow_util import (Daemon, MNEME, SLOW, Tap, add_up, mneme, records,
                       write_lines, TMP)


BEHIND_THE_BACK = """
import json, os, sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("PRAGMA wal_autocheckpoint = 0")
got = None
for statement in sys.argv[2:]:
    got = db.execute(statement).fetchall()
db.commit()
print(json.dumps(got), flush=True)
os._exit(0)
"""


def keeping(name, **settings):
    """A daemon that keeps all versions, however many a busy machine makes."""
    return Daemon(name, publish__keep__newest=1000, **settings)


def sql(daemon, *statements):
    """Behind the back of a daemon that does not run. What is written stays in
    the log: pages of the database itself have checksums that only the daemon
    writes."""
    r = subprocess.run(["python3", "-c", BEHIND_THE_BACK,
                        os.path.join(daemon.data, "mneme.db"), *statements],
                       check=True, capture_output=True, text=True)
    return json.loads(r.stdout)


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
    d = keeping("damaged", source__type="file", source__path=path,
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
    tap.ok(head["gate"]["verdict"] in ("pass", "fail"),
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


def only_garbage(tap):
    """It is there for whoever looks, though nothing is learned."""
    path = write_lines(os.path.join(TMP, "garbage.jsonl"),
                       records("harbour", 100))
    d = keeping("garbage", source__type="file", source__path=path,
                source__follow="true", source__format="json",
                learner__flush_seconds=0.2).start()
    in_version(d, 100)
    before = len(d.get("/v1/quarantine")[1]["quarantine"])
    append(path, ["this is no JSON"] * 20)
    d.until(lambda: len(d.get("/v1/quarantine")[1]["quarantine"]) ==
            before + 20, "garbage: is listed", 20)
    d.until(lambda: d.status()["publish"]["judged_version"] ==
            d.status()["head_version"], "garbage: the verdict")
    s = d.status()
    tap.equal(s["records"]["consumed"], 120, "garbage: counted, and listed")
    head = s["head_version"]
    time.sleep(3)
    tap.equal(d.status()["head_version"], head, "garbage: in one version")
    gate = d.get(f"/v1/versions/{head}")[1]["gate"]
    tap.equal((gate["same_as"], s["serving_version"]), (head - 1, head),
              "garbage: which is judged as the one before")
    append(path, ["nor is this"])
    time.sleep(4)
    tap.equal(d.status()["head_version"], head,
              "garbage: a trickle makes no version every time")
    s = d.status()
    d.kill()
    d.start()
    d.until(lambda: d.status()["records"] == s["records"],
            "garbage: known after a kill", 20)
    tap.equal(d.stop(), 0, "garbage: stops")


def retrain(daemon, version):
    """(exit status, report or None, stderr)"""
    conf = os.path.join(daemon.dir, "mneme.yaml")
    with open(conf, "w") as f:
        f.write("source: {type: file, path: %s, kafka: {}}\n"
                % daemon.settings["source.path"])
    r = subprocess.run([MNEME, "verify", str(version), "--retrain", "--json",
                        "-c", conf, "--data-dir", daemon.data],
                       capture_output=True, text=True, timeout=120 * SLOW)
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
        f.write(b"\xff is not UTF-8\n")
    d = keeping("released", source__type="file", source__path=path,
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
    tap.ok(code == 0 and "position: 9;" in out, "the rest by their reason")
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


def in_files(daemon, text):
    """How often the database has a text: as it is, or as tokens."""
    wide = b"".join(bytes([c, 0]) for c in text.encode())
    n = 0
    for name in ("mneme.db", "mneme.db-wal"):
        with open(os.path.join(daemon.data, name), "rb") as f:
            all_of_it = f.read()
        n += all_of_it.count(text.encode()) + all_of_it.count(wide)
    return n


def forget(daemon, *what):
    code, out, err = mneme("forget", *what, "--json", data=daemon.data)
    return code, json.loads(out) if out else None, err


def rows_of(daemon):
    db = sqlite3.connect(f"file:{daemon.data}/mneme.db?mode=ro", uri=True)
    n = [db.execute(f"SELECT count(*) FROM {table}_rows WHERE died IS NULL")
         .fetchone()[0] for table in ("replay", "holdout")]
    db.close()
    return n


def forgetting(tap):
    """An id with 3,000 records, each with a word that nobody else says."""
    lines = records("harbour", 400) + [
        json.dumps({"text": f"Zebedee{i} quagga.", "domain": "harbour",
                    "id": "alice-in-full"}) for i in range(3000)]
    lines += records("orchard", 200)
    lines += [json.dumps({"text": "", "id": "alice-in-full"}),
              json.dumps({"text": "Quagga again.", "label": "fifth",
                          "id": "alice-in-full", "domain": "harbour"})]
    lines[5:5] = [json.dumps({"text": f"Label {x} here.", "label": x})
                  for x in "abcd"]
    path = write_lines(os.path.join(TMP, "forgotten.jsonl"), lines)
    d = keeping("forgotten", source__type="file", source__path=path,
                source__follow="true", learner__flush_seconds=0.2,
                learner__batch_tokens=1024, model__max_labels=4,
                publish__every_seconds=0.3)
    code, _, why = mneme("forget", "--id", "x", data=d.data)
    tap.ok(code == 3 and "start it with: mnemed" in why,
           "forget without a daemon: exit 3, and how to start one")
    d.start()
    n = len(lines)
    in_version(d, n)
    tap.equal(mneme("forget", data=d.data)[0], 2, "forget whom? exit 2")
    tap.equal(mneme("forget", "--id", "a", "--domain", "b", data=d.data)[0],
              2, "forget both? exit 2")
    tap.equal(forget(d, "--domain", "nowhere")[0], 3, "no such domain: exit 3")
    tap.equal(d.post("/v1/forget", {"id": 7})[0], 400, "an id is a string")
    tap.ok(in_files(d, "Zebedee") > 2000 and in_files(d, "alice-in-full"),
           "before: it is all there")
    code, done, why = forget(d, "--id", "alice-in-full")
    tap.equal(code, 0, f"forget: done {why}")
    tap.note(done["detail"] if done else "nothing")
    result = done["result"]
    tap.ok(result["replay"] > 2000 and result["holdout"] > 50 and
           result["quarantine"] == 2 and result["records"] > 2500,
           "forget: says how much")
    tap.ok("alice" not in json.dumps(done), "forget: and does not repeat whom")
    for text in ("Zebedee", "quagga", "Quagga again", "alice-in-full"):
        tap.equal(in_files(d, text), 0, f"forgotten: no byte of {text}")
    live = rows_of(d)
    at_forget = d.status()["head_version"]
    tap.ok(at_forget in result["versions"], "forgotten: the head learned it")
    d.kill()
    d.start()
    d.until(lambda: d.status()["replay"]["records"] > 0, "started", 20)
    tap.equal([d.status()["replay"]["records"], d.status()["holdout_rows"]],
              live, "killed: the index is what is left")
    append(path, records("orchard", 100, start=200))
    head = in_version(d, n + 100)
    tap.ok(not head["forgotten"], "the next version has no part in it")
    again(tap, d, "after a forget")
    code, report, why = retrain(d, at_forget)
    tap.ok(code == 3 and "forgotten" in why, "one that learned it: exit 3")
    tap.ok(d.get(f"/v1/versions/{at_forget}")[1]["forgotten"] and
           "no longer be retrained" in mneme("show", str(at_forget),
                                             data=d.data)[1],
           "show says so")
    status = d.status()
    tap.ok(add_up(status), "forgotten: counters add up")
    d.operation(d.post("/v1/rollback", {"version": 1}))
    head = in_version(d, n + 100)
    tap.equal(in_files(d, "Zebedee"), 0, "rewound: nothing of it comes back")
    tap.equal(d.status()["records"]["skipped"], 3002,
              "rewound: its records are passed over")
    tap.ok(not head["forgotten"], "rewound: it never knew")
    again(tap, d, "rewound after a forget")
    append(path, [json.dumps({"text": "Hello, this is new.",
                              "id": "alice-in-full"})] * 40)
    in_version(d, n + 140)
    tap.equal(d.status()["records"]["skipped"], 3002,
              "a record that comes later is a new one")
    code, done, why = forget(d, "--domain", "orchard")
    tap.ok(code == 0 and done["result"]["replay"] > 100, "a whole domain")
    d.until(lambda: {x["domain"]: x["replay_rows"] for x in
                     d.get("/v1/domains")[1]["domains"]}["orchard"] == 0,
            "no row of the domain", 20)
    tap.equal(in_files(d, "sapling"), 0, "domain: no byte of its texts")
    tap.equal(mneme("verify", "--all", data=d.data)[0], 0,
              "the store is whole")
    tap.equal(d.stop(), 0, "stops")


def in_texts(tap):
    """Ids that were not parsed: in lines that are learned as plain text."""
    def line(i, who):
        return json.dumps({"text": f"Zebedee {who} number {i}, " + "x" * 200,
                           "id": who})

    lines = ([line(i, "alice-in-text") for i in range(8)] +
             [line(i, "alice-in-text-2") for i in range(8)] +
             ['He said {"id": "alice-in-text"} and went on.'] +
             records("harbour", 60))
    path = write_lines(os.path.join(TMP, "texts.jsonl"), lines)
    d = keeping("texts", source__type="file", source__path=path,
                source__follow="true", source__format="text",
                learner__flush_seconds=0.2, publish__every_seconds=0.3,
                filter__near_duplicate__enabled="false")
    d.start()
    in_version(d, len(lines))
    code, done, why = forget(d, "--id", "alice-in-text")
    tap.ok(code == 0 and done["result"]["records"] == 8 and
           done["result"]["versions"], f"in texts: eight records {why}")
    tap.equal(in_files(d, "Zebedee alice-in-text number"), 0,
              "in texts: no byte of them")
    tap.ok(in_files(d, "Zebedee alice-in-text-2 number") >= 8 and
           in_files(d, "He said"), "in texts: and of nobody else")
    append(path, records("orchard", 20))
    in_version(d, len(lines) + 20)
    tap.ok(add_up(d.status()), "in texts: counters add up")
    again(tap, d, "in texts")
    tap.equal(d.stop(), 0, "stops")


def released_and_forgotten(tap):
    """What came back goes like everything else."""
    lines = [json.dumps({"text": f"Label {x}.", "label": x}) for x in "ab"]
    lines += [json.dumps({"text": f"Wombat number {i}.", "label": "c",
                          "id": "bob-the-third"}) for i in range(8)]
    path = write_lines(os.path.join(TMP, "both.jsonl"),
                       lines + records("harbour", 100))
    d = keeping("both", source__type="file", source__path=path,
                source__follow="true", learner__flush_seconds=0.2,
                publish__every_seconds=0.3)
    d.start(model__max_labels=2)
    in_version(d, 110)
    code, _, why = mneme("quarantine", "release", "1", data=d.data)
    tap.ok(code == 3 and "labels" in why, "no room for its label: exit 3")
    d.stop()
    d.start(model__max_labels=10)
    tap.equal(mneme("quarantine", "release", "--reason", "too_many_labels",
                    data=d.data)[0], 0, "released with room for the label")
    in_version(d, 118)
    code, done, why = forget(d, "--id", "bob-the-third")
    tap.ok(code == 0 and done["result"]["quarantine"] == 8 and
           done["result"]["released"] == 8 and done["result"]["versions"],
           "released, then forgotten")
    for text in ("Wombat", "bob-the-third"):
        tap.equal(in_files(d, text), 0, f"released: no byte of {text}")
    d.operation(d.post("/v1/rollback", {"version": 1}))
    in_version(d, 110)
    tap.ok(all(k in "s" for kinds in released(d).values() for k in kinds),
           "released: and not learned again")
    tap.ok(add_up(d.status()), "released and forgotten: counters add up")
    again(tap, d, "released and forgotten")
    tap.equal(d.stop(), 0, "stops")


def interrupted(tap):
    """kill -9 while records are released and forgotten: whole or not at all."""
    lines = [json.dumps({"text": f"Label {x}.", "label": x}) for x in "ab"]
    lines += [json.dumps({"text": f"Wombat number {i}.", "label": "c"})
              for i in range(6)]
    lines += [json.dumps({"text": f"Quagga {i} here.", "id": f"animal-{i % 9}"})
              for i in range(900)]
    path = write_lines(os.path.join(TMP, "interrupted.jsonl"), lines)
    d = keeping("interrupted", source__type="file", source__path=path,
                source__follow="true", learner__flush_seconds=0.2,
                learner__batch_tokens=1024, publish__every_seconds=0.3)
    d.start(model__max_labels=2)
    in_version(d, len(lines))
    d.stop()
    d.start()
    for i in range(6):
        asked = [subprocess.Popen(
            [MNEME, *what, "--data-dir", d.data], stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
            for what in (["quarantine", "release", str(i + 1)],
                         ["forget", "--id", f"animal-{i}"])]
        time.sleep(0.02 + 0.04 * i)
        d.kill()
        for p in asked:
            p.wait(60 * SLOW)
        d.start()
    for i in range(9):
        tap.equal(forget(d, "--id", f"animal-{i}")[0], 0,
                  f"interrupted: animal-{i} forgotten")
    mneme("quarantine", "release", "--all", data=d.data)
    append(path, records("harbour", 40))  # a version after the last forget
    in_version(d, len(lines) + 46)
    tap.ok(once(released(d), 6), "interrupted: each released once")
    tap.ok(add_up(d.status()), "interrupted: counters add up")
    tap.equal(in_files(d, "Quagga") + in_files(d, "animal-"), 0,
              "interrupted: no byte is left")
    tap.equal(mneme("verify", "--all", data=d.data)[0], 0,
              "interrupted: the store is whole")
    again(tap, d, "interrupted")
    tap.equal(d.stop(), 0, "stops")


def kafka(tap):
    """The same with partitions: what is released is no partition of theirs."""
    d = keeping("kafka", learner__flush_seconds=0.2, model__max_labels=2,
                publish__every_seconds=0.3,
                **{"source.kafka.properties.bootstrap.servers": "embedded"})
    d.start(wait="alive")

    def feed(lines):
        mneme("feed", "--topic", "text", data=d.data, code=0,
              stdin="".join(line + "\n" for line in lines))

    feed(records("harbour", 100))
    in_version(d, 100)
    feed([json.dumps({"text": f"Wombat {i}.", "label": x, "id": "bob"})
          for i, x in enumerate("abcdabcd")])
    in_version(d, 108)
    code, out, why = mneme("quarantine", "release", "--all", data=d.data)
    tap.ok(code == 3 and "nothing" in why, "kafka: no room for the labels")
    code, done, why = forget(d, "--id", "bob")
    tap.ok(code == 0 and done["result"]["quarantine"] == 4,
           f"kafka: forgotten {why}")
    tap.equal(in_files(d, "Wombat"), 0, "kafka: no byte of it")
    feed(records("orchard", 50))
    in_version(d, 158)
    d.operation(d.post("/v1/rollback", {"version": 1}))
    d.until(lambda: d.status()["records"]["consumed"] >= 158, "read again", 60)
    tap.equal(d.status()["records"]["skipped"], 8,
              "kafka: passed over when they are read again")
    tap.ok(add_up(d.status()), "kafka: counters add up")
    tap.equal(d.stop(), 0, "stops")


def main():
    tap = Tap()
    damaged(tap)
    only_garbage(tap)
    releases(tap)
    forgetting(tap)
    in_texts(tap)
    released_and_forgotten(tap)
    interrupted(tap)
    kafka(tap)
    tap.exit()


main()
