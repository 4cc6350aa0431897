#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""When versions are made, and the events about them.

A stream that pauses has everything in a version, whatever publish.every_seconds
says. The service manager is told that the daemon is ready when /readyz says so.
Each version's events carry its own verdict.
"""

import http.client
import json
import os
import socket
import subprocess
import threading

from flow_util import Daemon, Tap, mneme, records, TMP


class Stdin(Daemon):
    """A daemon whose stream is a pipe that stays open."""

    def start(self, wait="ready", **more):
        reading, self.writing = os.pipe()
        self.process = subprocess.Popen(
            self.command(**more), stdin=reading, stderr=open(self.log, "ab"),
            env=self.env, cwd=self.dir)
        os.close(reading)
        self.until(lambda: self.get("/healthz")[0] == 200, "alive", 60)
        if wait == "ready":
            self.until(lambda: self.get("/readyz")[0] == 200, "ready", 60)
        return self

    def feed(self, lines):
        os.write(self.writing, "".join(x + "\n" for x in lines).encode())


class Listener(threading.Thread):
    """Collects the events of a daemon until it ends."""

    def __init__(self, daemon):
        super().__init__(daemon=True)
        host, port = daemon.address()
        self.events = []
        self.connection = http.client.HTTPConnection(host, port, timeout=120)
        self.connection.request("GET", "/v1/events")
        self.reply = self.connection.getresponse()
        self.start()

    def run(self):
        try:
            for line in self.reply:
                if line.startswith(b"data: {"):
                    self.events.append(json.loads(line[len(b"data: "):]))
        except (OSError, http.client.HTTPException):
            pass

    def of(self, kind):
        return [e for e in list(self.events) if e.get("event") == kind]


def all_published(daemon, n):
    s = daemon.status()
    head = daemon.get(f"/v1/versions/{s['head_version']}")[1]
    return (s["records"]["consumed"] == n and head["step"] == s["step"] and
            head["state"] != "pending")


def pauses(tap, daemon, listener):
    """Three times: what was fed is in a version soon after its end."""
    lines = records("harbour", 90)
    for i in range(3):
        before = daemon.status()["head_version"]
        daemon.feed(lines[30 * i:30 * (i + 1)])
        daemon.until(lambda: all_published(daemon, 30 * (i + 1)),
                     f"pause {i}: all in a version", 120)
        tap.ok(daemon.status()["head_version"] > before,
               f"pause {i}: published, though every_seconds is an hour")
    daemon.until(lambda: daemon.status()["publish"]["next_version"] is None,
                 "nothing to publish")
    shown = mneme("status", data=daemon.data, code=0)[1]
    tap.ok("  publish   nothing to publish\n" in shown,
           "and status says that there is nothing more")
    daemon.feed(records("harbour", 1, start=900))
    daemon.until(lambda: all_published(daemon, 91), "one more", 120)
    newest = daemon.status()["head_version"]
    daemon.until(lambda: newest in [e["version"]
                                    for e in listener.of("gate")],
                 "the events")


def told(tap, daemon, listener):
    states = {v["version"]: v["state"] for v in daemon.versions()}
    published = [e["version"] for e in listener.of("publish")]
    tap.equal(published, sorted(set(published)), "publish: each version once")
    tap.ok(len(published) >= 3 and
           not any("verdict" in e for e in listener.of("publish")),
           "publish: without the verdict of another version")
    tap.equal({e["version"]: e["verdict"] for e in listener.of("gate")},
              {v: states[v] for v in published},
              "gate: each version with its own verdict")


def rolled_back(tap, daemon, listener):
    """A rollback is no publish, and no verdict of the gate."""
    before = [len(listener.of(kind)) for kind in ("publish", "gate")]
    serving = daemon.status()["serving_version"]
    code, _, why = mneme("rollback", str(serving), "--stream", "skip",
                         data=daemon.data)
    tap.equal((code, why), (0, ""), "rollback: done")
    daemon.until(lambda: listener.of("rollback"), "the event of the rollback")
    tap.equal([len(listener.of(kind)) for kind in ("publish", "gate")], before,
              "rollback: neither published nor judged")
    tap.equal(listener.of("rollback")[-1]["head_version"], serving,
              "rollback: the event has the new head")


class Manager:
    """The service manager's end of $NOTIFY_SOCKET."""

    def __init__(self):
        self.path = os.path.join(TMP, "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.setblocking(False)
        self.lines = []

    def look(self):
        try:
            while True:
                self.lines += self.socket.recv(4096).decode().splitlines()
        except BlockingIOError:
            pass
        return self.lines


def ready(tap):
    manager = Manager()
    daemon = Stdin("ready", source__type="stdin", model__tokenizer="bpe",
                   model__vocab_size=300, model__tokenizer_wait_seconds=0.5)
    daemon.env["NOTIFY_SOCKET"] = manager.path
    daemon.start(wait="alive")
    daemon.until(lambda: any(x.startswith("EXTEND_TIMEOUT_USEC=")
                             for x in manager.look()),
                 "the start's limit is put off")
    tap.equal(daemon.get("/readyz")[0], 503, "no text yet: not ready")
    tap.ok("READY=1" not in manager.look(), "and nobody is told otherwise")
    pid = os.path.join(daemon.data, "mnemed.pid")
    with open(pid) as f:
        tap.equal(int(f.read()), daemon.process.pid, "the file with its pid")
    daemon.feed(records("harbour", 200))
    daemon.until(lambda: "READY=1" in manager.look(), "ready", 120)
    tap.equal(daemon.get("/readyz")[0], 200, "READY=1: /readyz says so, too")
    tap.equal(daemon.stop(), 0, "it stops")
    tap.ok("STOPPING=1" in manager.look(), "and says so")
    tap.ok(not os.path.exists(pid), "no file with a pid is left")
    os.close(daemon.writing)


def main():
    tap = Tap()
    ready(tap)
    daemon = Stdin("pauses", source__type="stdin", learner__flush_seconds=1,
                   publish__every_seconds=3600).start()
    listener = Listener(daemon)
    daemon.until(lambda: listener.of("step"), "events")
    pauses(tap, daemon, listener)
    told(tap, daemon, listener)
    rolled_back(tap, daemon, listener)
    daemon.kill()
    tap.exit()


main()
