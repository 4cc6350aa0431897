#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Versions are promoted and rolled back under 50 open streams.

No request fails, and no answer mixes versions: each seeded answer, streamed
while others are generated with it and while the serving version changes, has
the text that its version gives alone. Streams that their clients leave end.

SOAK_SWITCHES sets the number of changes (make soak: 1,000).
"""

import http.client
import json
import os
import socket
import threading
import time

from flow_util import Daemon, Tap, records, write_lines, TMP

SWITCHES = int(os.environ.get("SOAK_SWITCHES", "12"))
STREAMS = 50
PROMPTS = ["tide quay", "apple graft pruning blossom", "", "lathe chisel " * 9]


def body(i, **more):
    return {"prompt": PROMPTS[i % len(PROMPTS)], "max_tokens": 24, "seed": i,
            "temperature": 0.8, **more}


def read_stream(daemon, request):
    """The text, the version and the last event of a streamed completion."""
    c = http.client.HTTPConnection(*daemon.address(), timeout=600)
    text, version, last = "", None, None
    try:
        c.request("POST", "/v1/completions", json.dumps(request),
                  {"Content-Type": "application/json"})
        reply = c.getresponse()
        if reply.status != 200:
            raise RuntimeError(f"{reply.status}: {reply.read()[:300]}")
        for line in reply:
            if not line.startswith(b"data: "):
                continue
            last = line[6:].strip()
            if last == b"[DONE]":
                continue
            event = json.loads(last)
            if "error" in event:
                raise RuntimeError(json.dumps(event))
            if version not in (None, event["version"]):
                raise RuntimeError("an answer of two versions")
            version = event["version"]
            text += event["choices"][0]["text"]
    finally:
        c.close()
    return text, version, last


class Streams:
    """One stream after another in each of many threads."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.over = threading.Event()
        self.mutex = threading.Lock()
        self.answers, self.failures = {}, []  # (i, version): texts
        self.n = 0
        self.threads = [threading.Thread(target=self.run, args=(i,))
                        for i in range(STREAMS)]
        for t in self.threads:
            t.start()

    def run(self, i):
        while not self.over.is_set():
            try:
                text, version, last = read_stream(
                    self.daemon, body(i, stream=True))
                if last != b"[DONE]":
                    raise RuntimeError("a stream ended early")
            except (OSError, RuntimeError, http.client.HTTPException) as e:
                with self.mutex:
                    self.failures.append(f"{type(e).__name__}: {e}")
                continue
            with self.mutex:
                self.answers.setdefault((i, version), set()).add(text)
                self.n += 1

    def stop(self):
        self.over.set()
        for t in self.threads:
            t.join()


def metric(daemon, name):
    for line in daemon.get("/metrics")[1].split("\n"):
        if line.startswith(name + " "):
            return float(line.split()[1])
    raise KeyError(name)


def leave(daemon):
    """A client that reads the head of a long stream and goes."""
    request = json.dumps(body(0, stream=True, max_tokens=4096,
                              logit_bias={"256": -100})).encode()
    with socket.create_connection(daemon.address()) as s:
        s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
                  b"Content-Type: application/json\r\nContent-Length: "
                  + str(len(request)).encode() + b"\r\n\r\n" + request)
        s.recv(100)


def main():
    tap = Tap()
    path = write_lines(os.path.join(TMP, "streams.jsonl"),
                       [line for pair in zip(records("harbour", 120),
                                             records("orchard", 120))
                        for line in pair])
    daemon = Daemon("streams", source__type="file", source__path=path).start()
    daemon.until_consumed(240)
    daemon.until(lambda: len([v for v in daemon.versions()
                              if v["state"] == "passed"]) >= 2,
                 "two versions that passed", 120)
    versions = sorted(v["version"] for v in daemon.versions()
                      if v["state"] == "passed")[-2:]

    streams = Streams(daemon)
    failed = 0
    for i in range(SWITCHES):
        version = versions[i % 2]
        if i % 4 < 2:
            answer = daemon.post(f"/v1/versions/{version}/promote")
        else:
            answer = daemon.post("/v1/rollback",
                                 {"version": version, "mode": "keep"})
        if daemon.operation(answer).get("state") != "done":
            failed += 1
            tap.note(f"{answer}")
        n = streams.n
        daemon.until(lambda: streams.n > n or streams.failures, "an answer")
    streams.stop()
    for failure in streams.failures[:5]:
        tap.note(failure)
    tap.equal(failed, 0, f"{SWITCHES} promotes and rollbacks")
    tap.equal(len(streams.failures), 0,
              f"no failed request of {streams.n} under {STREAMS} streams")
    tap.equal({len(texts) for texts in streams.answers.values()}, {1},
              "a seeded answer is the same each time")
    tap.ok({version for _, version in streams.answers} >= set(versions),
           "both versions answered")
    wrong = 0
    for (i, version), texts in streams.answers.items():
        status, alone = daemon.post(
            "/v1/completions", body(i, model=f"mneme@{version}"))
        wrong += status != 200 or {alone["choices"][0]["text"]} != texts
    tap.equal(wrong, 0, "each answer is what its version answers alone")
    passes = metric(daemon, "mneme_generation_passes_total")
    requests = metric(daemon, "mneme_generation_pass_requests_total")
    tap.ok(requests > 1.5 * passes,
           f"completions share passes: {requests / passes:.1f} in each")

    status, known = daemon.post("/v1/completions", body(3))
    usage = known["usage"]
    tap.equal(usage["prompt_tokens_details"],
              {"cached_tokens": usage["prompt_tokens"] - 1},
              "the serving version has read this prompt before")
    hits = metric(daemon, "mneme_prefix_cache_hit_tokens_total")
    read = metric(daemon, "mneme_generation_prompt_tokens_total")
    tap.ok(usage["prompt_tokens"] < hits < read,
           f"{hits} of {read} tokens of prompts were in the prefix cache")

    tokens = metric(daemon, "mneme_generation_pass_tokens_total")
    for _ in range(20):
        leave(daemon)
    seen = []

    def is_still():
        seen.append(metric(daemon, "mneme_generation_pass_tokens_total"))
        time.sleep(0.5)
        return len(seen) > 1 and seen[-1] == seen[-2]

    daemon.until(is_still, "streams that were left end")
    tap.ok(seen[-1] - tokens < 20 * 2048,
           f"clients that have left get no more tokens: {seen[-1] - tokens}")
    tap.equal(daemon.stop(), 0, "the daemon stops")
    tap.exit()


main()
