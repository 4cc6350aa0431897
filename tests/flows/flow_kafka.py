#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A real Apache Kafka: three partitions fed, learned, killed, rolled back."""

import json
import os
import random
import signal
import time

from flow_util import (Daemon, Tap, add_up, kafka, mneme, records,
                       write_lines, TMP)

BROKER = os.path.join(TMP, "kafka")
TOPIC = "text"


def feed(address, name, lines, *more):
    path = write_lines(os.path.join(TMP, name), lines)
    return mneme("feed", "--topic", TOPIC, "--brokers", address, *more, path,
                 code=0)


def learned_up_to(daemon, n):
    """Waits until n records are consumed and the last step is in a version."""
    def done():
        s = daemon.status()
        v = daemon.get(f"/v1/versions/{s['head_version']}")[1]
        return (s["records"]["consumed"] >= n and v["step"] == s["step"] and
                s["publish"]["next_version"] is None)
    daemon.until(done, f"{n} records in a version", 120)
    return daemon.status()


def offsets(version):
    return sum(o["offset"] for o in version["offsets"])


def version_with_text(daemon):
    """A version somewhere in the middle: passed, with some records in it."""
    good = [v for v in daemon.versions()
            if v["state"] == "passed" and offsets(v) > 0]
    return good[len(good) // 2]


def main():
    tap = Tap()
    address = kafka("start", BROKER)
    kafka("topic", BROKER, TOPIC, "3")
    settings = {
        "source__kafka__topics": f"[{TOPIC}]",
        "source__kafka__properties__bootstrap.servers": address,
        "source__kafka__properties__group.id": "flow",
        "learner__flush_seconds": "0.5",
    }
    daemon = Daemon("daemon", **settings)

    # Feed, learn.
    feed(address, "a", records("harbour", 400))
    daemon.start()
    status = learned_up_to(daemon, 400)
    tap.ok(add_up(status), "counters add up")
    tap.equal(status["records"]["consumed"], 400, "every record once")
    tap.equal(len(status["source"]["partitions"]), 3, "three partitions")
    tap.ok(status["serving_version"] > 1, "a version with text serves")
    middle = status["head_version"]
    # However many versions come after it: it is gone back to twice.
    tap.equal(daemon.post(f"/v1/versions/{middle}/pin")[0], 200, "pinned")

    # The doctor asks the broker for the topics, and makes none.
    conf = ["--set", f"source.kafka.properties.bootstrap.servers={address}",
            "--set", "source.kafka.properties.group.id=flow", "--set"]
    for topics, wanted in ((TOPIC, []), (f"{TOPIC}, other", ["other"]),
                           (f"{TOPIC}, other", ["other"])):
        found = json.loads(mneme("doctor", "--json", *conf,
                                 f"source.kafka.topics=[{topics}]",
                                 data=daemon.data)[1])["findings"]
        tap.equal([(f["check"], "topic other does not exist" in f["problem"])
                   for f in found], [("source", True) for _ in wanted],
                  f"mneme doctor with topics {topics}: {wanted} is missing")

    # Kill while it learns more; nothing twice, nothing lost.
    rng = random.Random(3)
    for i in range(4):
        feed(address, f"b{i}", records("orchard", 150, start=150 * i))
        time.sleep(rng.uniform(0.1, 0.8))
        daemon.kill()
        daemon.start()
    status = learned_up_to(daemon, 1000)
    tap.equal(status["records"]["consumed"], 1000,
              "after four kills: every record once")
    tap.ok(add_up(status), "after four kills: counters add up")
    head = daemon.get(f"/v1/versions/{status['head_version']}")[1]
    # What was decided after the last step, as a record held out, waits for the
    # next version: there is none without a step.
    tap.ok(1000 - status["records"]["holdout"] <= offsets(head) <= 1000,
           "the version's offsets are the records'")
    totals = mneme("verify", "--all", data=daemon.data)
    tap.equal(totals[0], 0, "mneme verify finds nothing")

    # keep: only serving goes back.
    target = middle
    done = daemon.operation(daemon.post(
        "/v1/rollback", {"version": target, "stream": "keep"}))
    tap.equal(done["state"], "done", "rollback keep is done")
    after = daemon.status()
    tap.equal(after["serving_version"], target, "keep: the old one serves")
    # A last step may have come since.
    tap.ok(after["step"] >= status["step"],
           f"keep: the learner stays ({status['step']} to {after['step']})")
    code, _, _ = mneme("promote", "latest", data=daemon.data)
    tap.equal(code, 0, "promote latest")

    # rewind: the model and the stream; the same records are learned again.
    done = daemon.operation(daemon.post(
        "/v1/rollback", {"version": target, "stream": "rewind",
                         "reason": "a test"}))
    tap.equal(done["state"], "done", "rollback rewind is done")
    tap.note(done.get("detail"))
    status = learned_up_to(daemon, 1000)
    tap.equal(status["records"]["consumed"], 1000,
              "rewind: every record counted once again")
    tap.equal(status["records"]["skipped"], 0, "rewind: none skipped")
    tap.ok(status["head_version"] > head["version"],
           "rewind: a new number follows")
    old = daemon.get(f"/v1/versions/{head['version']}")[1]
    tap.equal(old["state"], "rolled_back", "the old head is rolled back")

    # skip: the range between is never learned.
    before = daemon.status()
    base = daemon.get(f"/v1/versions/{target}")[1]
    done = daemon.operation(daemon.post(
        "/v1/rollback", {"version": target, "stream": "skip"}))
    tap.equal(done["state"], "done", "rollback skip is done")
    tap.note(done.get("detail"))
    after = daemon.status()
    tap.equal(after["records"]["consumed"], before["records"]["consumed"],
              "skip: the position stays")
    tap.equal(after["records"]["skipped"], 1000 - offsets(base),
              "skip: what was between is counted as skipped")
    feed(address, "c", records("workshop", 100))
    status = learned_up_to(daemon, 1100)
    tap.ok(add_up(status), "skip: counters add up")
    daemon.kill()
    daemon.start()
    status = learned_up_to(daemon, 1100)
    tap.equal(status["records"]["consumed"], 1100, "and after a kill, too")
    tap.equal(status["records"]["skipped"], 1000 - offsets(base),
              "skipped stays skipped")
    history = daemon.get("/v1/history")[1]["history"]
    tap.ok(len(history) >= 4, "history tells of each switch")

    # The broker goes and comes back.
    kafka("stop", BROKER)
    daemon.until(lambda: daemon.get("/readyz")[0] == 200, "still serving")
    code, body = daemon.post("/v1/score", {"text": "The tide is high."})
    tap.equal(code, 200, "serving goes on without a broker")
    kafka("start", BROKER)
    feed(kafka("address", BROKER), "d", records("harbour", 50, start=900))
    status = learned_up_to(daemon, 1150)
    tap.equal(status["records"]["consumed"], 1150,
              "and learning when it is back")
    tap.equal(daemon.stop(), 0, "SIGTERM: exit 0")
    kafka("stop", BROKER)
    tap.exit()


try:
    main()
finally:
    kafka("stop", BROKER, check=False)
