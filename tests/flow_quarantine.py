#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What is kept and should not be, and what was set aside and should come back.

Damaged rows leave the replay and learning goes on.
"""

import os
import sqlite3

from flow_util import Daemon, Tap, add_up, records, write_lines, TMP


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


def main():
    tap = Tap()
    damaged(tap)
    tap.exit()


main()
