#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A file becomes versions; a kill in the middle changes nothing.

Three runs over the same records: uninterrupted; killed again and again; with
another number of threads. They end with the same bytes.
"""

import gzip
import os
import random
import time

from digest import digest
from flow_util import Daemon, Tap, add_up, mneme, records, write_lines, TMP


def head(daemon):
    status = daemon.status()
    number = status["head_version"]
    version = daemon.get(f"/v1/versions/{number}")[1]
    return {
        "weights": version["weights_sha256"],
        "records": status["records"],
        "step": version["step"],
        "tokens": version["tokens_seen"],
        "offsets": version["offsets"],
    }


def finished(tap, daemon, n):
    """Waits until all n records are in a version, and looks at it."""
    def done():
        s = daemon.status()
        v = daemon.get(f"/v1/versions/{s['head_version']}")[1]
        return (s["records"]["consumed"] == n and v["step"] == s["step"] and
                v["offsets"] and v["offsets"][0]["offset"] == n)
    daemon.until(done, "everything in a version", 120)
    result = head(daemon)
    result["status"] = daemon.status()
    stays(tap, daemon)
    return result


def place(daemon):
    """Where the learner is, and how many records behind the end."""
    rows = daemon.status()["source"]["partitions"]
    return (rows[0]["offset"], rows[0]["lag"]) if rows else None


def stays(tap, daemon):
    """One domain after the other is drift: whatever the versions' times."""
    tap.equal([row["reason"] for row in daemon.get("/v1/history")[1]["history"]
               if row["cause"] == "auto_rollback"], [], "it did not go back")


def stopped(tap):
    """A source that stops is not one that has ended: all that was read is
    published, one line says why, exit 1."""
    text = ("".join(line + "\n" for line in records("harbour", 400))).encode()
    packed = gzip.compress(text)
    path = os.path.join(TMP, "cut.jsonl.gz")
    with open(path, "wb") as f:
        f.write(packed[:len(packed) // 2])
    cut = Daemon("cut", source__type="file", source__path=path,
                 source__at_end="exit")
    tap.equal(cut.run(), 1, "compressed data that break off: exit 1")
    said = [line for line in cut.tail(100).splitlines()
            if line.startswith("mnemed: ")]
    tap.ok(len(said) == 1 and "break off" in said[0] and path in said[0],
           f"one line says why: {said}")
    records_read = digest(cut.data)["counters"]["records"]["consumed"]
    tap.ok(0 < records_read < 400, f"{records_read} records are in a version")
    with open(path, "wb") as f:
        f.write(packed + bytes(512) + b"no gzip")
    tap.equal(cut.run(), 0, "the file whole, with padding: read on, exit 0")
    tap.equal(digest(cut.data)["counters"]["records"]["consumed"], 400,
              "each record once")
    tap.ok("7 bytes are not compressed data" in cut.tail(100),
           "what is no padding is told")

    folder = Daemon("folder", source__type="stdin", source__at_end="exit")
    where = os.open(TMP, os.O_RDONLY)
    tap.equal(folder.run(stdin=where), 1, "a directory as stdin: exit 1")
    os.close(where)


def main():
    tap = Tap()
    lines = records("harbour", 500) + records("orchard", 500)
    lines[100] = "\x00not json and not quite text"
    lines[200] = ""
    path = write_lines(os.path.join(TMP, "records.jsonl"), lines)
    with open(path, "ab") as f:
        f.write(b"\xff broken\n")
    n = len(lines) + 1
    settings = dict(source__type="file", source__path=path,
                    learner__shards=2)

    one = Daemon("one", **settings).start()
    one.until(lambda: (row := place(one)) and sum(row) == n and row[1] > 0,
              "all is read, and the learner is behind")
    whole = finished(tap, one, n)
    tap.equal(place(one), (n, 0), "then it is not")
    status = whole["status"]
    tap.ok(add_up(status), "counters add up")
    tap.equal(status["quarantine"],
              {"empty": 1, "nul_bytes": 1, "not_utf8": 1},
              "an empty line and two broken ones are quarantined")
    tap.ok(status["records"]["holdout"] > 10, "some records are held out")
    tap.ok(status["loss"]["prequential_bits_per_byte"] < 4,
           "the model has learned something")
    tap.ok(status["serving_version"] > 1, "a later version serves")
    code = one.stop()
    tap.equal(code, 0, "SIGTERM: exit 0")
    tap.equal(mneme("verify", "--all", data=one.data)[0], 0,
              "mneme verify finds nothing")

    again = one.start()
    same = finished(tap, again, n)
    tap.equal(same["weights"], whole["weights"], "a restart changes nothing")
    tap.equal(same["records"], whole["records"], "nor the counters")
    again.stop()

    rng = random.Random(5)
    killed = Daemon("killed", **settings)
    kills = 0
    for _ in range(8):
        killed.start(wait="alive")
        time.sleep(rng.uniform(0.2, 1.5))
        killed.kill()
        kills += 1
    killed.start()
    result = finished(tap, killed, n)
    tap.note(f"killed {kills} times")
    for key in ("weights", "records", "step", "tokens", "offsets"):
        tap.equal(result[key], whole[key], f"killed: the same {key}")
    killed.stop()

    threads = Daemon("threads", **settings, learner__threads=1,
                     publish__every_seconds=3).start()
    result = finished(tap, threads, n)
    tap.equal(result["weights"], whole["weights"],
              "one thread, other versions: the same weights")
    threads.stop()

    ends = Daemon("ends", **settings, source__at_end="exit")
    tap.equal(ends.run(), 0, "at_end: exit ends with 0")
    ends.start(source__at_end="serve")
    stays(tap, ends)
    tap.equal(head(ends)["weights"], whole["weights"],
              "and with the same weights")
    ends.stop()
    with open(path, "ab") as f:
        f.write(b"\xff broken again\n")
    tap.equal(ends.run(), 0, "one line more, which nothing is learned from")
    tap.equal(digest(ends.data)["counters"]["records"]["quarantined"], 4,
              "and it is in a version")
    stopped(tap)
    tap.exit()


main()
