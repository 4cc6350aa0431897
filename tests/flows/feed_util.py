# SPDX-License-Identifier: Apache-2.0
"""A daemon that is fed, and what serves watched on texts that it never saw.

flow_bad_feed.py has made-up words and small settings; bench/bad_feeds.py real
text and the settings of a user.
"""

import json
import os
import time

import flow_util
from flow_util import Daemon, write_lines

WORSE = 1.02
MOST = 256  # texts that a request may have


def line(text, domain="first", **more):
    if domain is not None:
        more["domain"] = domain
    return json.dumps({"text": text, **more}, ensure_ascii=False)


class Fed(Daemon):
    """Reads a file that is followed, and grows while it is read."""

    def __init__(self, name, **settings):
        self.path = os.path.join(flow_util.TMP, name + ".jsonl")
        self.written = 0
        write_lines(self.path, [])
        super().__init__(name, **{"source__type": "file",
                                  "source__path": self.path,
                                  "source__follow": "true", **settings})

    def feed(self, make, done, seconds, ahead=300):
        """Keeps a little ahead of the daemon until it is done, or too late."""
        end = time.monotonic() + seconds
        with open(self.path, "a") as f:
            while time.monotonic() < end:
                s = self.status()
                if self.written - s["records"]["consumed"] < ahead:
                    n = max(1, ahead // 3)
                    f.write("".join(make() + "\n" for _ in range(n)))
                    f.flush()
                    self.written += n
                if done(s):
                    return True
                time.sleep(0.05)
        return False

    def settle(self):
        """Everything that was fed is consumed."""
        self.until(lambda: self.status()["records"]["consumed"] >=
                   self.written - 1 or self.status()["state"] == "paused",
                   "all records consumed", 120)


def ask(d, path, texts):
    """The number of the version that answers, and its results."""
    results = []
    for at in range(0, len(texts), MOST):
        code, reply = d.post(path, {"text": texts[at:at + MOST]})
        if code != 200:
            raise RuntimeError(f"{path}: {code} {reply}")
        results += reply["results"]
    return reply["version"], results


def loss(d, tests):
    """Bits per byte of what serves, and its number."""
    version, results = ask(d, "/v1/score", tests)
    bits = sum(r["bits_per_byte"] * r["bytes"] for r in results)
    return version, bits / sum(r["bytes"] for r in results)


def accuracy(d, tests):
    version, results = ask(d, "/v1/classify", [t for t, _ in tests])
    right = sum(r["label"] == label for r, (_, label) in zip(results, tests))
    # as a loss: what must not rise by 2 % is what is told right
    return version, len(tests) / max(1, right)


class Stretch:
    """A loss from version to version, against its best so far."""

    def __init__(self):
        self.best = None
        self.run = self.longest = 0
        self.worst = 0.0

    def add(self, now):
        if self.best is None or now < self.best:
            self.best = now
        self.worst = max(self.worst, now / self.best - 1)
        self.run = self.run + 1 if now > self.best * WORSE else 0
        self.longest = max(self.longest, self.run)


class Watch(Stretch):
    """What serves, on the same texts, after each verdict."""

    def __init__(self, d, measure, tests):
        super().__init__()
        self.d, self.measure, self.tests = d, measure, tests
        self.seen = None
        self.versions = 0

    def is_new(self, s):
        p = s["publish"]
        seen = p["passed"] + p["refused"]
        if seen == self.seen:
            return False
        self.seen = seen
        self.versions += 1
        return True

    def look(self, s):
        if self.is_new(s):
            self.add(self.measure(self.d, self.tests)[1])

    def done(self, versions, seconds=0):
        """For feed(): after so many versions, and so long."""
        end = time.monotonic() + seconds

        def check(s):
            self.look(s)
            return self.versions >= versions and time.monotonic() >= end
        return check


def automatic(d):
    return d.status()["publish"]["automatic_rollbacks"]


def verdicts(d, since):
    count = {}
    for v in d.versions():
        if v["version"] > since:
            verdict = v["gate"]["verdict"] if v["gate"] else "pending"
            count[verdict] = count.get(verdict, 0) + 1
    return count


def back_to(d, version):
    """Back to a version, past everything that was fed since."""
    d.settle()
    if d.status()["head_version"] != version:
        done = d.operation(d.post("/v1/rollback", {
            "version": version, "stream": "skip", "reason": "a bad feed"}))
        if done["state"] != "done":
            raise RuntimeError(f"rollback: {done}")
