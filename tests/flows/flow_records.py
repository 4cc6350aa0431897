#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Records over HTTP: POST /v1/records, for who has no Kafka.

A record that was acknowledged is learned exactly once, whatever is killed. The
positions that the answers name are the ones of status, versions and rewinds,
and a version can be learned again from the log.
"""

import json
import os
import subprocess
import threading
import time

from digest import differences, digest
from flow_util import (TMP, Daemon, Tap, add_up, free_port, mneme, records,
                       write_lines)


class Http(Daemon):
    def __init__(self, name, **settings):
        super().__init__(name, source__type="http", **settings)

    def post_lines(self, lines, kind="application/x-ndjson"):
        """With curl; returns the status and the answer."""
        body = os.path.join(self.dir, f"body-{threading.get_ident()}")
        write_lines(body, lines)
        r = subprocess.run(
            ["curl", "-s", "-w", "\n%{http_code}", "-H",
             f"Content-Type: {kind}", "--data-binary", f"@{body}",
             "http://%s:%d/v1/records" % self.address()],
            capture_output=True, text=True, timeout=300)
        text, _, code = r.stdout.rpartition("\n")
        return (int(code) if code else 0), (json.loads(text) if text else None)

    def all_learned(self, n):
        def done():
            s = self.status()
            v = self.get(f"/v1/versions/{s['head_version']}")[1]
            return s["records"]["consumed"] == n and v["step"] == s["step"]
        self.until(done, f"{n} records in a version", 180)


def shapes(tap, d):
    """What a body may be, and which positions the answers name."""
    lines = records("harbour", 40)
    status, a = d.post_lines(lines[:10])
    tap.equal((status, a), (200, {
        "topic": "http", "partition": 0, "first_offset": 0, "last_offset": 9,
        "records": 10}), "ten lines: their positions")
    status, a = d.post("/v1/records", json.loads(lines[10]))
    tap.equal((status, a["first_offset"], a["last_offset"]), (200, 10, 10),
              "one JSON object")
    pretty = json.dumps(json.loads(lines[11]), indent=2).encode()
    tap.equal(d.request("POST", "/v1/records", pretty)[1]["first_offset"], 11,
              "one JSON object of many lines")
    status, a = d.post_lines([lines[12], "", "   ", lines[13]])
    tap.equal((a["first_offset"], a["records"]), (12, 2),
              "blank lines are no records")
    status, a = d.post_lines(['{"text": 5}', lines[14]])
    tap.equal((status, a["records"]), (200, 2),
              "a bad record is taken; intake decides")
    for body in (b"", b"[1]", b"{", b'"a"'):
        tap.equal(d.request("POST", "/v1/records", body or None)[0], 400,
                  f"{body}: 400")
    tap.equal(d.post_lines(["", " "])[0], 400, "no record in the lines: 400")
    d.all_learned(16)
    s = d.status()
    tap.ok(add_up(s) and s["records"]["quarantined"] == 1,
           "the counters add up, and the bad record is in quarantine")
    # The last records wait for a full step, or for a pause.
    d.until(lambda: d.status()["source"]["partitions"][0]["lag"] == 0,
            "the last record is settled")
    at = d.status()["source"]["partitions"]
    tap.equal([(p["topic"], p["partition"], p["offset"])
               for p in at], [("http", 0, 16)], "the position in status")
    tap.equal(s["source"]["type"], "http", "the type of the source")


def fed(tap):
    """mneme feed finds out that records go over HTTP."""
    d = Http("fed", http__max_body_bytes=4096).start(wait="alive")
    lines = records("harbour", 300)
    lines[100:100] = ["", "  "]
    lines.insert(150, json.dumps({"text": "w" * 5000}))
    path = write_lines(os.path.join(TMP, "fed.jsonl"), lines)
    code, out, err = mneme("feed", path, data=d.data)
    tap.ok(code == 1 and out.startswith("300 delivered, 1 failed") and
           f"{path}:151: " in err,
           f"batches that fit, and the refused record by its line: {out}{err}")
    code, out, err = mneme("feed", "--json", path, data=d.data)
    report = json.loads(out)
    tap.equal((code, report["records"], report["delivered"], report["failed"],
               report["unconfirmed"],
               [(r["file"], r["line"]) for r in report["refused"]]),
              (1, 301, 300, 1, 0, [(path, 151)]), "the same as JSON")
    code, out, _ = mneme("feed", "--http", "--rate", "50", data=d.data,
                         stdin="one\ntwo\nthree")
    tap.ok(code == 0 and out.startswith("3 delivered, 0 failed"),
           "--http, the standard input, at a rate")
    p = d.status()["source"]["partitions"][0]
    tap.equal(p["offset"] + p["lag"], 603, "all of them are in the log, once")
    tap.equal(mneme("feed", "--http", "--topic", "t", path, data=d.data)[0], 2,
              "--http with an option for Kafka")
    code, _, err = mneme("feed", "--domain", "d", path, data=d.data)
    tap.ok(code == 2 and "field of the record" in err,
           "--domain: what to do instead")
    d.stop()
    code, _, err = mneme("feed", "--http", path, data=d.data)
    tap.ok(code == 1 and "no daemon" in err, "--http without a daemon")
    code, _, err = mneme("feed", "--addr", f"127.0.0.1:{free_port()}", path)
    tap.ok(code == 1 and "no daemon" in err,
           "--addr without a daemon: not sent to a Kafka")
    os.makedirs(os.path.join(TMP, "local"), exist_ok=True)
    with open(os.path.join(TMP, "local", "kafka.addr"), "w") as f:
        f.write(f"127.0.0.1:{free_port()}\n")
    code, _, err = mneme("feed", "--addr", f"127.0.0.1:{free_port()}", path,
                         data=os.path.join(TMP, "local"))
    tap.ok(code == 1 and "no daemon" in err,
           "--addr names another daemon than the one with an embedded broker")
    d = Daemon("file", source__type="file", source__path=path)
    d.start(wait="alive")
    code, out, err = mneme("feed", "--http", path, data=d.data)
    tap.ok(code == 1 and "source.type" in err and
           "301 unconfirmed" in out,
           "a daemon with another source takes none, and says why")
    d.stop()


def killed(tap, d, lines):
    """Six kills while a client sends; what was acknowledged is learned."""
    acknowledged = set(range(16))
    sent = 0

    def send():
        nonlocal sent
        while sent < len(lines):
            part = lines[sent:sent + 7]
            try:
                status, a = d.post_lines(part)
            except (OSError, ValueError):
                status = 0
            if status == 200:
                acknowledged.update(range(a["first_offset"],
                                          a["last_offset"] + 1))
                sent += len(part)
            else:
                time.sleep(0.05)

    sender = threading.Thread(target=send)
    sender.start()
    for i in range(6):
        goal = len(lines) * (i + 1) // 8
        d.until(lambda: sent >= goal, f"{goal} records sent", 120)
        d.kill()
        d.start()
    sender.join()
    end = d.status()["source"]["partitions"][0]["offset"]
    d.until(lambda: d.status()["source"]["partitions"][0]["lag"] == 0,
            "no lag", 120)
    end = d.status()["source"]["partitions"][0]["offset"]
    d.all_learned(end)
    s = d.status()
    tap.ok(end >= len(acknowledged) and max(acknowledged) < end,
           f"{len(acknowledged)} acknowledged, {end} in the log")
    tap.equal(len(acknowledged), 16 + len(lines),
              "every answer named offsets of its own")
    tap.ok(add_up(s) and s["records"]["consumed"] == end,
           "the counters add up: each was consumed once")
    tap.equal(s["source"]["gaps"], 0, "no gap")
    return end


def ways_back(tap, d, end):
    head = d.status()["head_version"]
    old = [v for v in d.versions() if v["version"] < head][len(
        d.versions()) // 2]
    where = ("--addr", "%s:%d" % d.address())
    mneme("rollback", str(old["version"]), *where, code=0)
    d.all_learned(end)
    s = d.status()
    tap.ok(add_up(s) and s["records"]["consumed"] == end,
           "rewind: the records after the version are learned again")
    mneme("rollback", str(old["version"]), "--stream", "skip", *where, code=0)
    s = d.status()
    begun = sum(p["offset"] + (p["tokens_done"] > 0) for p in old["offsets"])
    tap.ok(add_up(s) and s["records"]["skipped"] == end - begun,
           "skip: they are skipped")
    d.post_lines(records("orchard", 60, seed=3))
    d.all_learned(end + 60)
    number = str(d.status()["head_version"])
    code, out, why = mneme("verify", number, "--retrain", "--set",
                           "source.type=http", "--json", data=d.data)
    tap.ok(code == 0, f"retrain beside the daemon: {out or why}")
    tap.equal(d.stop(), 0, "it stops")
    code, out, why = mneme("verify", number, "--retrain", "--set",
                           "source.type=http", data=d.data)
    tap.ok(code == 0, "retrain without the daemon")


def quiet(d):
    """Has it made no step for two seconds?"""
    before = d.status()
    time.sleep(2)
    return (before["records"]["consumed"] > 200 and
            d.status()["step"] == before["step"])


def same_bytes(tap):
    """How the records come, and a kill, do not change what is learned."""
    lines = records("harbour", 120) + records("orchard", 120)
    found = []
    for step in (1000, 37):
        d = Http(f"by-{step}", learner__flush_seconds=0,
                 publish__every_tokens=8000).start(wait="alive")
        for i in range(0, len(lines), step):
            d.post_lines(lines[i:i + step])
        if step < 1000:
            d.until(lambda: d.status()["head_version"] >= 2, "a version", 120)
            d.kill()
            d.start()
        # Less than a batch of the 240 records waits for more.
        d.until(lambda: quiet(d), "no more to learn", 120)
        tap.equal(d.stop(), 0, f"{step} records a request")
        found.append(digest(d.data))
    tap.equal(differences(*found), [], "the same bytes")


def full(tap):
    """A log that is full of records to be learned refuses more."""
    d = Http("full", source__http__log_bytes=1 << 20,
             model__preset="small", learner__threads=1).start(wait="alive")
    line = json.dumps({"text": "word " * 2000})
    answers = []
    for _ in range(200):
        answers.append(d.post_lines([line] * 8)[0])
        if answers[-1] == 429:
            break
    tap.equal(sorted(set(answers)), [200, 429], "429 when the log is full")
    r = subprocess.run(
        ["curl", "-s", "-i", "-H", "Content-Type: application/x-ndjson",
         "--data-binary", "@-", "http://%s:%d/v1/records" % d.address()],
        input="\n".join([line] * 90), capture_output=True, text=True)
    tap.ok("429" in r.stdout.split("\n")[0] and
           "Retry-After:" in r.stdout, "with Retry-After")
    folder = os.path.join(d.data, "records")
    size = sum(os.path.getsize(os.path.join(folder, f))
               for f in os.listdir(folder))
    tap.ok(size <= 1 << 20, f"the log has {size} bytes")
    d.kill()


def others(tap):
    path = write_lines(os.path.join(TMP, "some"), records("harbour", 20))
    d = Daemon("file", source__type="file", source__path=path).start()
    status, a = d.post("/v1/records", {"text": "a"})
    tap.equal(status, 409, "another source: 409")
    d.stop()


def main():
    tap = Tap()
    d = Http("records", publish__every_tokens=4000,
             publish__keep__newest=1000).start(wait="alive")
    fed(tap)
    shapes(tap, d)
    end = killed(tap, d, records("harbour", 400, seed=2))
    ways_back(tap, d, end)
    same_bytes(tap)
    full(tap)
    others(tap)
    tap.exit()


main()
