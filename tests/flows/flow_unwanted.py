#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Requests are cancelled when their clients have left; others are answered.

The slots of clients that leave become free. A token with many requests keeps
no other token waiting. After SIGTERM, answers under way have a grace period,
and then end properly. The flow does not test how long things take, only that
they end although the work would take minutes.
"""

import json
import os
import signal
import socket
import threading
import time

from flow_util import Daemon, Tap, records, write_lines, TMP

# Scoring it takes some minutes.
LONG = {"text": ["no end of words " * 1000] * 250}
BUSY, QUIET, ADMIN = "busy-token-0123456789", "quiet-token-0123456789", \
    "admin-token-0123456789"


def begin(daemon, path, body, token=BUSY, method="POST"):
    """Sends a request and returns its socket."""
    host, port = daemon.address()
    s = socket.create_connection((host, port), timeout=120)
    data = json.dumps(body).encode() if body is not None else b""
    s.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n"
              f"Authorization: Bearer {token}\r\nConnection: close\r\n"
              f"Content-Length: {len(data)}\r\n\r\n".encode() + data)
    return s


def receive(s):
    """Reads to the end of the connection: status and text."""
    got = b""
    while piece := s.recv(65536):
        got += piece
    s.close()
    return int(got[9:12] or 0), got.decode("utf-8", "replace")


def ask(daemon, path, body, token=QUIET, method="POST"):
    return receive(begin(daemon, path, body, token, method))


def cancelled(daemon, cause):
    text = ask(daemon, "/metrics", None, method="GET")[1]
    line = f'mneme_http_cancelled_total{{cause="{cause}"}} '
    return int(text.split(line)[1].split("\n")[0])


def all_left(daemon, before, n, what):
    daemon.until(lambda: cancelled(daemon, "client_left") >= before + n,
                 f"{what}: {n} clients that left", 120)


def leaving(tap, daemon):
    for path, body in (("/v1/score", LONG),
                       ("/v1/embeddings", {"input": LONG["text"]}),
                       ("/v1/completions",
                        {"prompt": ["no end of words " * 64] * 250,
                         "max_tokens": 0, "echo": True, "logprobs": 0})):
        before = cancelled(daemon, "client_left")
        for s in [begin(daemon, path, body) for _ in range(3)]:
            s.close()
        all_left(daemon, before, 3, path)
        tap.ok(True, f"{path} ends when its client has left")


def sharing(tap, daemon):
    """One token has more requests than there are slots: another gets a slot."""
    n = len(os.sched_getaffinity(0)) + 2
    before = cancelled(daemon, "client_left")
    sockets = [begin(daemon, "/v1/score", LONG) for _ in range(n)]
    tap.equal(ask(daemon, "/v1/score", {"text": "short"})[0], 200,
              "a busy token keeps no other waiting")
    for s in sockets:
        s.close()
    all_left(daemon, before, n, "a busy token")


def limit(tap, daemon):
    status, text = ask(daemon, "/v1/score", LONG)
    tap.equal(status, 503, "a request has a time limit")
    tap.ok('"code":"time_limit"' in text and
           "http.max_request_seconds" in text, "the reply names the limit")


def shapes(tap, daemon):
    status, text = ask(daemon, "/v1/embeddings",
                       {"input": [[1]] * 2048, "encoding_format": "base64"})
    data = json.loads(text.split("\r\n\r\n", 1)[1])["data"]
    tap.equal((status, len(data)), (200, 2048), "2,048 inputs are embedded")
    tap.equal(ask(daemon, "/v1/embeddings", {"input": ["a"] * 2049})[0], 400,
              "2,049 inputs are refused")


def stopping(tap, daemon):
    asked = {
        "long": begin(daemon, "/v1/score", LONG),
        "streamed": begin(daemon, "/v1/completions",
                          {"prompt": "no end", "temperature": 0, "n": 16,
                           "max_tokens": 16384, "stream": True}, QUIET),
        "events": begin(daemon, "/v1/events", None, QUIET, "GET"),
    }
    answers = {}
    asked["streamed"].recv(1, socket.MSG_PEEK)  # it streams
    threads = [threading.Thread(
        target=lambda k=k, s=s: answers.update({k: receive(s)}))
        for k, s in asked.items()]
    for t in threads:
        t.start()
    time.sleep(3)  # for the server to read the long request
    daemon.process.send_signal(signal.SIGTERM)
    for t in threads:
        t.join()
    tap.equal(daemon.process.wait(60), 0, "SIGTERM ends a daemon that computes")
    daemon.process = None
    tap.equal(answers["long"][0], 503, "the long answer ends in 503")
    tap.ok('"code":"stopping"' in answers["long"][1], "the 503 names the cause")
    tap.ok(answers["streamed"][0] == 200 and
           '"code":"stopping"' in answers["streamed"][1] and
           "data: [DONE]\n\n\r\n0\r\n\r\n" in answers["streamed"][1],
           "the stream ends with an error event and [DONE]")
    tap.ok("event: step\nid: " in answers["events"][1] and
           answers["events"][1].endswith("\r\n0\r\n\r\n"),
           "the events end with a last chunk")


def main():
    tap = Tap()
    path = write_lines(os.path.join(TMP, "lines"),
                       [" ".join(records("harbour", 40))])
    tokens = os.path.join(TMP, "tokens")
    with open(tokens, "w", opener=lambda p, f: os.open(p, f, 0o600)) as f:
        f.write(f"infer {BUSY}\ninfer {QUIET}\nadmin {ADMIN}\n")
    daemon = Daemon("unwanted", source__type="file", source__path=path,
                    source__max_record_bytes=1 << 20,
                    model__preset="base", http__token_file=tokens,
                    http__max_body_bytes=8 << 20)
    daemon.start(http__max_request_seconds=1)
    limit(tap, daemon)
    tap.equal(daemon.stop(), 0, "stopped")
    daemon.start()
    shapes(tap, daemon)
    sharing(tap, daemon)
    leaving(tap, daemon)
    stopping(tap, daemon)
    tap.exit()


if __name__ == "__main__":
    main()
