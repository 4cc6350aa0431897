#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The client against a server that answers as the daemon does, and not.

What it prints, its exit codes, and that nothing in an answer can break it.
"""

import gzip
import http.server
import json
import os
import socket
import socketserver
import subprocess
import threading

from flow_util import MNEME, SLOW, Tap, TMP

ESC = "\x1b[31mred"


def version(n, **more):
    v = {
        "version": n, "parent": n - 1 or None, "created": 1790000000 + n,
        "step": 10 * n, "tokens_seen": 5000 * n, "weights_sha256": "ab" * 32,
        "state": "passed", "serving": n == 2, "head": n == 3, "pinned": False,
        "offsets": [{"topic": "text", "partition": 0, "offset": 100 * n}],
        "holdout": {
            "mail": {"bits_per_byte": 3.0 - n / 10, "accuracy": None,
                     "chunks": 40},
            ESC: {"bits_per_byte": 4.0, "accuracy": 0.5, "chunks": 10}},
        "gate": {"verdict": "pass", "reason": "no domain is worse"},
    }
    v.update(more)
    return v


VERSIONS = {1: version(1, gate=None), 2: version(2),
            3: version(3, state="failed",
                       gate={"verdict": "fail", "reason": "mail is worse"})}

STATUS = {
    "state": "learning", "reason": None, "serving_version": 2,
    "head_version": 3, "serving_pinned": False, "step": 31,
    "tokens_seen": 15500, "tokens_per_second": 812.5,
    "records_per_second": 4.5,
    "records": {"consumed": 310, "learned": 300, "skipped": 1,
                "quarantined": 2, "holdout": 7},
    "loss": {"train_bits_per_byte": 2.5, "prequential_bits_per_byte": None},
    "replay": {"records": 300, "capacity": 1000, "bytes": 1},
    "ewc": {"penalty": 0.25, "consolidations": 2, "lambda": 1.0},
    "domains": [{"domain": ESC, "records": 300, "bytes": 90000,
                 "prequential_bits_per_byte": 2.75,
                 "holdout_bits_per_byte": 2.5,
                 "holdout_best_bits_per_byte": 2.25, "accuracy": None,
                 "replay_rows": 300}],
    "source": {"type": "kafka", "partitions": [
        {"topic": "text", "partition": 0, "offset": 310, "lag": 40}]},
    "freshness_seconds": None,
}


class Fake(http.server.BaseHTTPRequestHandler):
    """The daemon's answers; remembers what was posted."""

    protocol_version = "HTTP/1.1"
    posts = []
    polls = 0

    def log_message(self, *args):
        pass

    def answer(self, status, body):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def fail(self, status, message):
        self.answer(status, {"error": {"message": message, "type": "t",
                                       "code": None, "param": None}})

    def do_GET(self):
        number = self.path.rsplit("/", 1)[1]
        if self.path == "/v1/status":
            self.answer(200, STATUS)
        elif self.path.split("?")[0] == "/v1/versions":
            self.answer(200, {"versions": [VERSIONS[n] for n in (3, 2, 1)]})
        elif self.path == "/v1/versions/13":
            self.answer(200, b"{not json")
        elif self.path == "/v1/versions/14":
            self.answer(500, b"oops")
        elif self.path.startswith("/v1/versions/"):
            if int(number) in VERSIONS:
                self.answer(200, VERSIONS[int(number)])
            else:
                self.fail(404, f"no version {number}")
        elif self.path == "/v1/history":
            self.answer(200, {"history": [
                {"version": 2, "previous": 1, "cause": "published",
                 "reason": "gate: pass", "from": "2026-11-24T01:02:03.456Z",
                 "until": None}]})
        elif self.path == "/v1/operations/7":
            Fake.polls += 1
            self.answer(200, {"operation": 7, "detail": "rolled back to 2",
                              "state": "done" if Fake.polls > 2
                              else "running"})
        elif self.path == "/v1/operations/8":
            self.answer(200, {"operation": 8, "state": "failed",
                              "detail": "text 0: offset 5 is gone"})
        else:
            self.fail(404, "no such path")

    def do_POST(self):
        body = json.loads(self.rfile.read(
            int(self.headers["Content-Length"])))
        Fake.posts.append((self.path, body, self.headers))
        if self.path == "/v1/rollback" and body["stream"] == "rewind":
            self.answer(202, {"operation": 8, "state": "queued"})
        elif self.path == "/v1/rollback" or self.path.endswith("/promote"):
            self.answer(202, {"operation": 7, "state": "queued"})
        elif self.path == "/v1/versions/2/pin":
            self.fail(409, "version 2 is going away")
        elif self.path == "/v1/score":
            texts = body["text"]
            texts = texts if isinstance(texts, list) else [texts]
            self.answer(200, {"version": 2, "results": [
                {"bytes": len(t.encode()), "tokens": 3, "perplexity": 2.0,
                 "bits_per_byte": 1.5} for t in texts]})
        elif self.path == "/v1/completions":
            self.answer(200, {"choices": [{"text": " and " + ESC}]})
        elif self.path == "/v1/classify":
            self.answer(200, {"version": 2, "results": [
                {"label": "refund",
                 "scores": [{"label": "refund", "score": 0.75}]}]})
        elif self.path == "/v1/embeddings":
            self.fail(404, "no such path")
        else:
            self.fail(503, "no version serves yet")


class UnixServer(socketserver.ThreadingMixIn,
                 socketserver.UnixStreamServer):
    daemon_threads = True

    def get_request(self):
        return self.socket.accept()[0], ("unix", 0)


def serve(server):
    threading.Thread(target=server.serve_forever, daemon=True).start()


def run(*args, stdin=None, **env):
    clean = {k: v for k, v in os.environ.items()
             if k not in ("MNEME_ADDR", "MNEME_TOKEN")}
    r = subprocess.run([MNEME, *args], input=stdin, capture_output=True,
                       timeout=60 * SLOW, env=dict(clean, **env), cwd=TMP)
    return (r.returncode, r.stdout.decode("utf-8", "replace"),
            r.stderr.decode("utf-8", "replace"))


def check(tap, answer, code, words, name):
    got, out, err = answer
    missing = [w for w in words if w not in out + err]
    one_line = got == 0 or err.count("\n") == 1
    if not tap.ok(got == code and not missing and one_line, name):
        tap.note(f"exit {got}, missing {missing}\n{out}{err}")


def tables(tap, where):
    check(tap, run("status", *where), 0,
          ["learning", "version 2", "310 consumed", "812", "2.750", "40",
           "version 3: fail"], "status")
    check(tap, run("versions", *where), 0,
          ["VERSION", "passed", "failed", "serving", "head"], "versions")
    check(tap, run("show", "2", *where), 0,
          ["parent       1", "next offset 200", "no domain is worse"], "show")
    check(tap, run("diff", "1", "3", *where), 0,
          ["mail bits/byte", "2.9000", "2.7000", "-0.2000", "-6.9 %"], "diff")
    check(tap, run("history", *where), 0, ["published", "still"], "history")
    for verb in (["status"], ["versions"], ["show", "2"], ["diff", "1", "3"],
                 ["history"]):
        code, out, _ = run(*verb, "--json", *where)
        try:
            tap.ok(code == 0 and isinstance(json.loads(out), dict),
                   f"{verb[0]} --json")
        except ValueError:
            tap.ok(False, f"{verb[0]} --json: {out}")
    shown = "".join(run(*v, *where)[1] for v in (
        ["status"], ["show", "2"], ["diff", "1", "2"], ["generate", "a"]))
    tap.ok("\x1b" not in shown and "?[31mred" in shown,
           "control characters of others do not reach the terminal")


def hands(tap, where):
    check(tap, run("rollback", "2", "--stream", "skip", "--reason", "bad",
                   *where), 0, ["rolled back to 2"], "rollback skip")
    path, body, _ = Fake.posts[-1]
    tap.equal((path, body), ("/v1/rollback", {
        "version": 2, "stream": "skip", "reason": "bad"}), "what it asked")
    tap.ok(Fake.polls > 2, "and it waited for the end")
    check(tap, run("rollback", "2", *where), 3, ["offset 5 is gone"],
          "a rollback that the daemon refuses: exit 3, its reason")
    check(tap, run("rollback", "2", "--stream", "up", *where), 2,
          ["rewind, skip or keep"], "a wrong --stream: exit 2")
    check(tap, run("promote", "latest", *where), 0, ["rolled back"],
          "promote latest")
    tap.equal(Fake.posts[-1][0], "/v1/versions/latest/promote", "its path")
    check(tap, run("pin", "2", *where), 3, ["going away"], "409: exit 3")
    check(tap, run("unpin", "2", *where), 3, ["no version serves"],
          "503: exit 3")
    check(tap, run("pin", "latest", *where), 2, ["number of a version"],
          "pin latest: exit 2")


def questions(tap, where):
    check(tap, run("score", "two words", *where), 0, ["1.5000", "version 2"],
          "score")
    check(tap, run("score", "--lines", "--version", "3", *where,
                   stdin=b"one\ntwo\n"), 0, ["1.5000"], "score of lines")
    tap.equal(Fake.posts[-1][1], {"model": "mneme@3", "text": ["one", "two"]},
              "what it asked")
    check(tap, run("generate", "--seed", "1", "--temperature", "0", "The",
                   *where), 0, [" and "], "generate")
    body = Fake.posts[-1][1]
    tap.ok(body["seed"] == 1 and body["temperature"] == 0 and
           body["prompt"] == "The", "what it asked")
    check(tap, run("classify", *where, stdin=b"please\n"), 0,
          ["refund", "0.7500"], "classify")
    tap.equal(Fake.posts[-1][1]["text"], "please", "without echo's line end")
    check(tap, run("embed", "a", *where), 3, ["no such path"], "404: exit 3")
    check(tap, run("score", *where, stdin=b"\xff\xfe"), 2, ["not UTF-8"],
          "a text that is not UTF-8: exit 2")
    run("score", "a", *where, MNEME_TOKEN="secret")
    tap.equal(Fake.posts[-1][2]["Authorization"], "Bearer secret",
              "$MNEME_TOKEN goes along")


def trouble(tap, where):
    check(tap, run("show", "99", *where), 3, ["no version 99"],
          "no such version: exit 3")
    check(tap, run("show", "13", *where), 1, ["not JSON"],
          "an answer that is not JSON: exit 1")
    check(tap, run("show", "14", *where), 1, ["500"], "status 500: exit 1")
    check(tap, run("show", "x", *where), 2, ["number of a version"],
          "no number: exit 2")
    check(tap, run("show", *where), 2, ["too few"], "no argument: exit 2")
    check(tap, run("show", "--nonsense", "1"), 2, ["--nonsense"],
          "a wrong option: exit 2")
    check(tap, run("nonsense"), 2, ["nonsense"], "a wrong verb: exit 2")
    check(tap, run("status", "--addr", "127.0.0.1:1"), 1, ["127.0.0.1:1"],
          "nobody there: exit 1")
    check(tap, run("status", "--data-dir", TMP + "/none"), 1, ["http.addr"],
          "no daemon on that data directory: exit 1")
    check(tap, run("verify", "--data-dir", TMP + "/none"), 3, ["none"],
          "verify without a store: exit 3")
    check(tap, run("verify", "--retrain", "--data-dir", TMP + "/none"), 3,
          ["none"], "verify --retrain without a store: exit 3")


def addresses(tap, address):
    where = os.path.join(TMP, "data")
    os.makedirs(where)
    with open(os.path.join(where, "http.addr"), "w") as f:
        f.write(address + "\n")
    check(tap, run("show", "1", "--data-dir", where), 0, ["version      1"],
          "the address in the data directory")
    check(tap, run("show", "1", MNEME_ADDR=address), 0, ["version      1"],
          "the address in $MNEME_ADDR")
    path = os.path.join(TMP, "s")
    serve(UnixServer(path, Fake))
    check(tap, run("show", "1", "--addr", "unix:" + path), 0,
          ["version      1"], "a unix socket")


MOCK = ["-X", "test.mock.num.brokers=1"]


def feed(tap):
    path = os.path.join(TMP, "lines.gz")
    with gzip.open(path, "wb") as f:
        f.write(b"one\n\xff\xfe\n\nfour")
    check(tap, run("feed", *MOCK, path), 0, ["4 delivered, 0 failed"],
          "feed a compressed file")
    code, out, _ = run("feed", *MOCK, "--domain", "d", "--json",
                       stdin=b"a\n" * 5000)
    got = json.loads(out)
    tap.ok(code == 0 and got["delivered"] == 5000 and got["failed"] == 0,
           "feed from the standard input")
    code, out, _ = run("feed", *MOCK, "--rate", "20", "--json",
                       stdin=b"a\n" * 20)
    tap.ok(json.loads(out)["seconds"] > 0.9, "--rate holds back")
    check(tap, run("feed", *MOCK, "-X", "message.max.bytes=2000",
                   stdin=b"a\n" + b"b" * 3000 + b"\n"), 1,
          ["1 delivered, 1 failed"], "a record too large: counted, exit 1")
    check(tap, run("feed", "-X", "no.such=1", stdin=b""), 2, ["no.such"],
          "a wrong property: exit 2")
    check(tap, run("feed", *MOCK, TMP + "/gone"), 1, ["gone"],
          "no such file: exit 1, before anything is sent")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    check(tap, run("feed", "--brokers", f"127.0.0.1:{port}", stdin=b"a\n"), 1,
          [str(port)], "no broker: exit 1")


SHARES = ("products", "attention", "norms", "loss", "optimizer", "ewc",
          "gradient_sum", "rest")


def positive(tap, result, *paths):
    """Every path of keys leads to a number above 0."""
    wrong = []
    for path in paths:
        value = result
        for key in path.split("."):
            value = value.get(key, {})
        if not isinstance(value, (int, float)) or value <= 0:
            wrong.append(f"{path}: {value}")
    tap.equal(wrong, [], "bench: " + paths[0] + " and so on are positive")


def bench(tap):
    quick = ["--seconds", "0.05"]
    code, out, errors = run("bench", "--only", "tiny,machine", "--json",
                            *quick)
    got = json.loads(out) if code == 0 else {}
    tap.equal((code, errors), (0, ""), "bench --only tiny,machine --json")
    positive(tap, got, *(f"machine.{k}{n}" for n in ("", "_one_thread")
                         for k in ("fma_peak_gflops", "sgemm_gflops",
                                   "triad_gb_per_second")))
    positive(tap, got, *(f"train.tiny.{k}" for k in (
        "tokens_per_second", "tokens_per_second_least",
        "tokens_per_second_most", "model_gflops", "peak_share", "parameters",
        "flop_per_token")))
    positive(tap, got, "score.tiny.tokens_per_second",
             "score.tiny.ratio_to_training",
             "generate.tiny.tokens_per_second", "generate.tiny.new_tokens",
             *(f"{k}.tiny.int8_tokens_per_second{n}"
               for k in ("score", "generate") for n in ("", "_least", "_most")))
    shares = got.get("train", {}).get("tiny", {}).get("shares", {})
    tap.equal(sorted(shares), sorted(SHARES), "bench: the shares")
    tap.ok(abs(sum(shares.values()) - 1) < 1e-6, "bench: they sum to 1")
    tap.ok("presets" not in got and "quantize" not in got and
           "small" not in got.get("train", {}),
           "bench: what was not asked for is absent")
    text = os.path.join(TMP, "bench.txt")
    with open(text, "w") as f:
        f.write("What a line says is not what it means.\n" * 2000)
    check(tap, run("bench", "--only", "preset-nano", "--text", text,
                   "--threads", "1", "--windows", "2", *quick), 0,
          ["TRAINING", "preset nano", "TIME IN PERCENT"], "bench: the tables")
    code, out, errors = run("bench", "--only", "quantize", "--json",
                            "--seconds", "0.02")
    got = json.loads(out) if code == 0 else {}
    tap.equal((code, errors), (0, ""), "bench --only quantize --json")
    positive(tap, got, *(f"quantize.{k}" for k in (
        "bits_per_byte_float", "bits_per_byte_int8", "trained_tokens",
        "scored_chunks", "scored_bytes")))
    tap.ok(abs(got.get("quantize", {}).get("loss_percent", 100)) < 2,
           "bench: int8 costs little")
    check(tap, run("bench", "--only", "quantize", "--text", text,
                   "--seconds", "0.002"), 0,
          ["WHAT INT8 COSTS", "BITS/BYTE"], "bench: the table of int8")
    check(tap, run("bench", "--only", "huge"), 2, ["huge"],
          "bench: no such part: exit 2")
    with open(text, "w") as f:
        f.write("short\n")
    check(tap, run("bench", "--only", "tiny", "--text", text), 2, ["--text"],
          "bench: too little text: exit 2")
    check(tap, run("bench", "--only", "replay", TMPDIR=TMP + "/none"), 1,
          ["none"], "bench: nowhere to write: exit 1")


def documents(tap):
    code, out, _ = run("help", "--man")
    page = os.path.join(os.environ.get("top_srcdir", "."), "man", "mneme.1")
    with open(page) as f:
        tap.ok(code == 0 and out == f.read(),
               "man/mneme.1 is what help --man prints")
    code, out, _ = run("help", "--completion")
    r = subprocess.run(["bash", "-n"], input=out.encode())
    tap.ok(code == 0 and r.returncode == 0, "the completion is bash")
    for verb in ("bench", "demo", "feed", "rollback", "verify"):
        tap.ok(f"mneme {verb}" in run(verb, "--help")[1], f"{verb} --help")


def main():
    tap = Tap()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Fake)
    serve(server)
    address = f"127.0.0.1:{server.server_address[1]}"
    where = ["--addr", address]
    tables(tap, where)
    hands(tap, where)
    questions(tap, where)
    trouble(tap, where)
    addresses(tap, address)
    feed(tap)
    bench(tap)
    documents(tap)
    tap.exit()


main()
