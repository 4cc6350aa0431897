#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A domain whose text changes: one drift alarm, and none again after a kill.

The alarm is an event, a line of the log, a metric and a field of the domain. A
version that has it is learned again with the same alarm.
"""

import http.client
import json
import os
import threading

from flow_util import (Daemon, SLOW, Tap, mneme, records, write_lines, TMP)


def of_domain(name, lines):
    return [json.dumps(dict(json.loads(line), domain=name)) for line in lines]


class Events:
    """The names and bodies of a daemon's events, until it ends."""

    def __init__(self, daemon):
        self.seen = []
        self.connection = http.client.HTTPConnection(*daemon.address(),
                                                     timeout=600 * SLOW)
        self.connection.request("GET", "/v1/events")
        self.answer = self.connection.getresponse()
        threading.Thread(target=self.follow, daemon=True).start()

    def follow(self):
        name = None
        try:
            for line in self.answer:
                line = line.decode().strip()
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    self.seen.append((name, json.loads(line[6:])))
        except (OSError, ValueError, http.client.HTTPException):
            pass

    def drifts(self):
        return [body for name, body in self.seen if name == "drift"]


def drift_of(daemon):
    return daemon.status()["domains"][0]["drift"]


def all_published(daemon):
    s = daemon.status()
    head = daemon.get(f"/v1/versions/{s['head_version']}")[1]
    return head["step"] == s["step"] and head["state"] != "pending"


def main():
    tap = Tap()
    sea = of_domain("d", records("harbour", 400))
    far = of_domain("d", records("orchard", 150))
    path = write_lines(os.path.join(TMP, "stream.jsonl"), sea)
    d = Daemon("drift", source__type="file", source__path=path,
               source__follow="true", publish__keep__newest=1000,
               publish__every_seconds=3600, learner__flush_seconds=0.2)
    d.start("alive")
    events = Events(d)
    d.until_consumed(len(sea))
    tap.equal(drift_of(d)["alarms"], 0, "no alarm while the domain is learned")
    with open(path, "a") as f:
        f.write("".join(line + "\n" for line in far))
    d.until(lambda: events.drifts(), "the event", 120)
    d.until_consumed(len(sea) + len(far))
    d.until(lambda: all_published(d), "everything is published", 120)
    drift = drift_of(d)
    tap.equal(drift["alarms"], 1, "one alarm")
    tap.ok(300 <= drift["record"] <= 400, f"at record {drift['record']}")
    tap.ok(drift["after_bits_per_byte"] > drift["before_bits_per_byte"] + 0.3,
           f"the loss rose: {drift}")
    tap.equal(len(events.drifts()), 1, "one event")
    event = dict(events.drifts()[0])
    tap.equal((event["domain"], event["alarms"], event["record"]),
              ("d", 1, drift["record"]), "the event names domain and record")
    tap.ok(abs(event["after_bits_per_byte"] - drift["after_bits_per_byte"])
           < 1e-6, "and the loss")
    tap.ok('mneme_domain_drift_alarms_total{domain="d"} 1\n'
           in d.get("/metrics")[1], "a metric counts it")
    tap.ok(mneme("status", data=d.data, code=0)[1].find(" ALARMS") > 0,
           "mneme status has a column of alarms")
    head = d.status()["head_version"]

    d.kill()
    d.start()
    events = Events(d)
    with open(path, "a") as f:
        f.write("".join(line + "\n" for line in
                        of_domain("d", records("orchard", 50, seed=2))))
    d.until_consumed(len(sea) + len(far) + 50)
    tap.equal(drift_of(d), dict(drift, level=drift_of(d)["level"]),
              "after a kill: the same alarm")
    tap.equal(events.drifts(), [], "after a kill: no second event")
    d.stop()
    with open(d.log) as f:
        tap.equal(f.read().count(" drift domain="), 1, "one line of the log")
    conf = os.path.join(d.dir, "mneme.yaml")
    with open(conf, "w") as f:
        f.write(f"source: {{type: file, path: {path}, kafka: {{}}}}\n")
    for version in range(2, head + 1):
        code, out, err = mneme("verify", str(version), "--retrain", "-c", conf,
                               data=d.data)
        if not tap.ok(code == 0, f"version {version} is learned again"):
            tap.note(f"{out} {err}")
    tap.exit()


main()
