#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""All threads of a daemon at once: it learns, publishes, answers and goes back.

Made for ThreadSanitizer, which ends a daemon with another exit status when two
threads race; it is small enough for that.
"""

import http.client
import json
import os
import random
import signal
import threading

from flow_util import (SMALLEST, Daemon, Tap, add_up, records, write_lines,
                       TMP)

LONG = 120

QUESTIONS = [
    ("GET", "/v1/status", None),
    ("GET", "/metrics", None),
    ("GET", "/v1/versions", None),
    ("GET", "/v1/domains", None),
    ("GET", "/v1/history", None),
    ("GET", "/v1/quarantine", None),
    ("GET", "/readyz", None),
    ("POST", "/v1/score", {"text": ["tide quay", "apple"], "tokens": True}),
    ("POST", "/v1/classify", {"text": "tide quay mooring"}),
    ("POST", "/v1/embeddings", {"input": "tide quay"}),
    ("POST", "/v1/completions",
     {"prompt": "tide", "max_tokens": 4, "seed": 1}),
    ("POST", "/v1/completions",
     {"prompt": "tide", "max_tokens": 4, "stream": True}),
    ("POST", "/v1/score", {"text": "tide", "model": "mneme@previous"}),
    ("POST", "/tokenize", {"prompt": "tide"}),
]
# 404: a version or page is gone; 409, 429, 503: the state does not allow it.
EXPECTED = {200, 404, 409, 429, 503}


class Clients:
    """Threads that ask until they are told to stop."""

    def __init__(self, daemon, n):
        self.daemon = daemon
        self.over = threading.Event()
        self.statuses = {}
        self.mutex = threading.Lock()
        self.threads = [threading.Thread(target=self.ask, args=(i,))
                        for i in range(n)]
        for t in self.threads:
            t.start()

    def ask(self, i):
        rng = random.Random(i)
        while not self.over.is_set():
            method, path, body = rng.choice(QUESTIONS)
            try:
                status = self.daemon.request(method, path, body,
                                             timeout=600)[0]
            except (OSError, http.client.HTTPException) as e:
                status = type(e).__name__
            with self.mutex:
                self.statuses[status] = self.statuses.get(status, 0) + 1

    def stop(self):
        self.over.set()
        for t in self.threads:
            t.join()
        return self.statuses


def lines():
    mixed = records("harbour", 60) + records("orchard", 60)
    random.Random(5).shuffle(mixed)
    out = []
    for i, line in enumerate(mixed):
        record = json.loads(line)
        record["text"] = record["text"][:120]
        record["label"] = record["domain"]
        out.append(json.dumps(record))
        if i % 20 == 0:
            out.append('{"text": 7}')
    return out


def operate(tap, d, path, all_lines):
    """All operations of an operator, while learning and requests go on."""
    half = len(all_lines) // 2
    d.until_consumed(half, LONG)
    d.until(lambda: d.status()["serving_version"] >= 1, "a version", LONG)
    target = d.status()["head_version"]
    for what, answer in (
            ("pin", d.post(f"/v1/versions/{target}/pin")),
            ("promote", d.post(f"/v1/versions/{target}/promote")),
            ("rollback", d.post("/v1/rollback", {"version": target,
                                                 "stream": "rewind"})),
            ("forget", d.post("/v1/forget", {"id": "harbour-3"}))):
        done = d.operation(answer, LONG)
        tap.ok("error" not in done, f"{what}: {str(done)[:80]}")
    d.process.send_signal(signal.SIGHUP)
    with open(path, "a") as f:
        f.write("".join(x + "\n" for x in all_lines[half:]))
    d.until(lambda: d.status()["source"]["partitions"][0]["offset"] >=
            len(all_lines), "the end of the file", LONG)


def main():
    tap = Tap()
    all_lines = lines()
    path = write_lines(os.path.join(TMP, "threads.jsonl"),
                       all_lines[:len(all_lines) // 2])
    d = Daemon("threads", source__type="file", source__path=path,
               source__follow="true", source__format="json",
               model__tokenizer="bpe",  # it comes while clients ask
               model__vocab_size=300, model__tokenizer_bytes=2000,
               learner__batch_tokens=128, learner__threads=2,
               http__max_connections=64, **SMALLEST)
    d.start("alive")
    clients = Clients(d, 6)
    try:
        operate(tap, d, path, all_lines)
    finally:
        statuses = clients.stop()
    tap.note(str(statuses))
    tap.ok(set(statuses) <= EXPECTED, "every question has an answer")
    tap.ok(statuses.get(200, 0) > 0, "and most have a good one")
    tap.ok(add_up(d.status()), "counters add up")
    last = Clients(d, 4)  # a stop while they ask
    code = d.stop(seconds=LONG)
    last.stop()
    tap.equal(code, 0, "it stops while it is asked, exit 0")
    if code:
        tap.note(d.tail(80).replace("\n", "\n# "))
    tap.exit()


main()
