#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests the client against a fake server, which sends good and bad replies.

Checks its output and exit codes, and that no reply can break it.
"""

import fcntl
import gzip
import http.server
import json
import os
import pty
import re
import signal
import socket
import socketserver
import struct
import subprocess
import termios
import threading
import time

from flow_util import Daemon, MNEME, MNEMED, SLOW, Tap, TMP, write_lines

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
        {"topic": "text", "partition": 0, "offset": 310, "lag": 40}],
               "lag": 40},
    "freshness_seconds": None,
}


MOST_TEXTS = 24


class Fake(http.server.BaseHTTPRequestHandler):
    """Replies like the daemon, and keeps the bodies of POST requests."""

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
        elif self.path.split("?")[0] == "/v1/quarantine":
            self.answer(200, {"quarantine": [
                {"id": 1, "reason": "utf16", "topic": "text", "partition": 0,
                 "offset": 5, "bytes": 90, "whole": True, "released": False,
                 "preview": "U\0T\0F" + 40 * "ü"}]})
        elif self.path == "/v1/ranges":
            self.answer(200, {"ranges": []})
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

    def do_PUT(self):
        self.do_POST()

    def do_DELETE(self):
        self.do_POST()

    def do_POST(self):
        body = json.loads(self.rfile.read(
            int(self.headers["Content-Length"])))
        Fake.posts.append((self.path, body, self.headers))
        if self.path == "/v1/rollback" and body["stream"] == "rewind":
            self.answer(202, {"operation": 8, "state": "queued"})
        elif self.path == "/v1/rollback" or self.path.endswith("/promote"):
            self.answer(202, {"operation": 7, "state": "queued"})
        elif self.path == "/v1/tags/a":
            self.answer(200, {"operation": 7, "state": "done",
                              "detail": f"{self.command} a"})
        elif self.path == "/v1/versions/2/pin":
            self.fail(409, "version 2 is going away")
        elif self.path == "/v1/score":
            texts = body["text"]
            if isinstance(texts, list) and len(texts) > MOST_TEXTS:
                self.fail(400, f"'text' must have 1 to {MOST_TEXTS} strings")
                return
            if "refuse me" in texts:
                self.fail(400, "this text is refused")
                return
            if "break" in texts:
                self.answer(500, b"oops")
                return
            texts = texts if isinstance(texts, list) else [texts]
            self.answer(200, {"version": 2, "results": [
                {"bytes": len(t.encode()), "tokens": 3, "perplexity": 2.0,
                 "bits_per_byte": 1.5} for t in texts]})
        elif self.path == "/v1/embeddings" and body["input"] != "a":
            texts = body["input"]
            texts = texts if isinstance(texts, list) else [texts]
            self.answer(200, {
                "object": "list", "model": "mneme@2", "version": 2,
                "data": [{"object": "embedding", "index": i,
                          "embedding": [float(len(t)), 0.5]}
                         for i, t in enumerate(texts)],
                "usage": {"prompt_tokens": len(texts),
                          "total_tokens": len(texts)}})
        elif self.path == "/v1/completions":
            prompt = body["prompt"]
            prompt = prompt if isinstance(prompt, str) else prompt[0]
            self.answer(200, {"choices": [
                {"index": 0, "text": " and \0" + ESC + prompt}]})
        elif self.path == "/v1/quarantine/1/release" or \
                self.path == "/v1/forget":
            self.answer(202, {"operation": 7, "state": "queued"})
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
    tap.ok(run("quarantine", *where)[1].endswith(
        " U?T?F" + 35 * "ü" + "\n"),
        "quarantine: NUL bytes in a preview, which ends with a character")
    code, out, _ = run("quarantine", "--json", *where)
    tap.ok(code == 0 and "U\0T" in json.loads(out)["quarantine"][0]["preview"],
           "quarantine --json: the same")
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
        "version": 2, "stream": "skip", "reason": "bad"}),
           "the body of the request")
    tap.ok(Fake.polls > 2, "rollback waits for the end of the operation")
    check(tap, run("rollback", "2", *where), 3, ["offset 5 is gone"],
          "a rollback that the daemon refuses: exit 3 with the reason")
    check(tap, run("rollback", "2", "--stream", "up", *where), 2,
          ["rewind, skip or keep"], "a wrong --stream: exit 2")
    check(tap, run("promote", "latest", *where), 0, ["rolled back"],
          "promote latest")
    tap.equal(Fake.posts[-1][0], "/v1/versions/latest/promote", "its path")
    check(tap, run("pin", "2", *where), 3, ["going away"], "409: exit 3")
    check(tap, run("unpin", "2", *where), 3, ["no version serves"],
          "503: exit 3")
    check(tap, run("tag", "2", "a", *where), 0, ["PUT a"], "tag")
    tap.equal(Fake.posts[-1][1], {"version": 2}, "the body of the request")
    check(tap, run("untag", "a", *where), 0, ["DELETE a"], "untag")
    check(tap, run("tag", "2", "latest", *where), 2, ["latest"],
          "tag latest: exit 2")
    check(tap, run("pin", "latest", *where), 2, ["number of a version"],
          "pin latest: exit 2")


def questions(tap, where):
    check(tap, run("score", "two words", *where), 0, ["1.5000", "version 2"],
          "score")
    check(tap, run("score", "--lines", "--version", "3", *where,
                   stdin=b"one\ntwo\n"), 0, ["1.5000"], "score of lines")
    tap.equal(Fake.posts[-1][1], {"model": "mneme@3", "text": ["one", "two"]},
              "the body of the request")
    check(tap, run("generate", "--seed", "1", "--temperature", "0", "The",
                   *where), 0, [" and ??[31mredThe"],
          "generate, also with a NUL byte")
    body = Fake.posts[-1][1]
    tap.ok(body["seed"] == 1 and body["temperature"] == 0 and
           body["prompt"] == "The", "the body of the request")
    check(tap, run("classify", *where, stdin=b"please\n"), 0,
          ["refund", "0.7500"], "classify")
    tap.equal(Fake.posts[-1][1]["text"], "please", "without echo's line end")
    check(tap, run("embed", "a", *where), 3, ["no such path"], "404: exit 3")
    check(tap, run("score", "", *where), 2, ["nothing to score"],
          "score of an empty text: exit 2")
    check(tap, run("score", *where, stdin=b"\xff\xfe"), 2, ["not UTF-8"],
          "a text that is not UTF-8: exit 2")
    run("score", "a", *where, MNEME_TOKEN="secret")
    tap.equal(Fake.posts[-1][2]["Authorization"], "Bearer secret",
              "$MNEME_TOKEN goes along")


def scored(*args, stdin):
    """The bytes of each scored line, the exit code and the errors."""
    code, out, err = run("score", "--lines", "--json", *args, stdin=stdin)
    got = json.loads(out) if out else {"results": []}
    return code, [r["bytes"] for r in got["results"]], err


def lines(tap, where):
    many = list(range(1, 701))
    text = b"".join(b"x" * (n % 50 + 1) + b"\n" for n in many)
    wanted = [n % 50 + 1 for n in many]
    tap.equal(scored(*where, stdin=text), (0, wanted, ""),
              "700 lines in order, in requests that the daemon accepts")
    tap.equal(scored(*where, stdin=text.replace(b"\n", b"\r\n")),
              (0, wanted, ""), "CR LF ends a line")
    tap.equal(scored(*where, stdin=b"\xef\xbb\xbf" + text),
              (0, wanted, ""), "a byte order mark is dropped")
    tap.equal(scored("-", *where, stdin=text[:-1]), (0, wanted, ""),
              "- is the standard input; the last line may have no end")
    tap.equal(scored("one\r\nthree\n", *where, stdin=b"")[1], [3, 5],
              "lines of the argument")
    tap.equal(scored(*where, stdin=b"")[:2], (0, []), "no lines")
    code, out, _ = run("score", "--lines", *where, stdin=text)
    rows = out.splitlines()
    tap.ok(code == 0 and len(rows) == 702 and out.count("version 2") == 1 and
           out.count("BYTES") == 1, "one table of all lines")
    code, out, _ = run("embed", "--lines", "--json", *where, stdin=text)
    got = json.loads(out)
    tap.ok(code == 0 and [r["index"] for r in got["data"]] ==
           list(range(700)) and got["usage"]["total_tokens"] == 700,
           "embed --lines --json: one document, with indexes and sums over all")
    models = {b["model"] for _, b, _ in Fake.posts[-11:]}
    tap.equal(models, {"mneme", "mneme@2"},
              "the version of the first reply answers all requests")
    code, out, _ = run("generate", "--lines", *where, stdin=b"a\\\nb\r\n")
    tap.equal((code, out.splitlines()),
              (0, [" and ??[31mreda\\\\", " and ??[31mredb"]),
              "generate --lines: a completion is one line")
    check(tap, run("score", "-", *where, stdin=b"please\r\n"), 0, ["  6 "],
          "score -: the standard input, without its line end")
    for bad, why in ((b"refuse me", "is refused"), (b"\xff", "not UTF-8"),
                     (b"x" * (17 << 20), "longer than 16 MiB")):
        code, got, err = scored(*where, stdin=b"one\n" * 100 + bad + b"\nx\n")
        tap.ok(code == 2 and got == [3] * 100 and
               err.startswith("mneme score: line 101: ") and why in err and
               err.count("\n") == 1,
               f"a line ({why}): the error names it, after earlier answers")
    code, got, err = scored(*where, stdin=b"one\n" * 64 + b"break\n")
    tap.ok(code == 1 and got == [3] * 64 and "line 65: " in err,
           "a request fails: the error names the line, the JSON is whole")


class Terminal:
    """Runs a verb on a pseudo terminal."""

    def __init__(self, columns, rows, *args, stdin=None):
        self.main, side = pty.openpty()
        self.size(columns, rows)
        self.before = termios.tcgetattr(side)
        self.side = side
        env = {k: v for k, v in os.environ.items() if k != "MNEME_ADDR"}
        self.process = subprocess.Popen(
            [MNEME, *args], stdin=stdin or side, stdout=side,
            stderr=subprocess.PIPE, env=dict(env, TERM="xterm"),
            start_new_session=True)
        self.seen = b""

    def size(self, columns, rows):
        fcntl.ioctl(self.main, termios.TIOCSWINSZ,
                    struct.pack("HHHH", rows, columns, 0, 0))

    def read_until(self, word, seconds=30):
        end = time.monotonic() + seconds * SLOW
        os.set_blocking(self.main, False)
        while word not in self.seen and time.monotonic() < end:
            try:
                self.seen += os.read(self.main, 65536)
            except BlockingIOError:
                time.sleep(0.02)
        return word in self.seen

    def end(self):
        code = self.process.wait(30 * SLOW)
        self.read_until(b"\x1b[?1049l", 5)
        same = termios.tcgetattr(self.side) == self.before
        os.close(self.main)
        os.close(self.side)
        return code, self.process.stderr.read(), same


def fits(seen, columns, rows):
    """No screen is larger than the window."""
    for screen in seen.split(b"\x1b[H")[1:]:
        text = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", screen)
        got = text.decode().replace("\r", "").split("\n")
        if len(got) > rows or max(map(len, got)) > columns:
            return False
    return True


FRAME = """\
mnemed at ADDRESS: learning
  serving   version 2, made AGE ago
  lag       40 records in 1 partition
  speed     4.5 records/s  812 tokens/s
  records   310 consumed: 300 learned, 7 held out, 2 quarantined, 1 skipped
  loss      bits per byte: 2.500 in training
  memory    300 of 1000 segments to replay; EWC consolidations: 2; step 31

DOMAIN    RECORDS  BITS/BYTE  HELD OUT   BEST  FORGOT  ALARMS  HELD OUT BY VERSION
?[31mred      300      2.750     2.500  2.250  11.1 %       0  ___
mail          120      1.500     2.700  2.700   0.0 %       1  #-_

VERSION  STEP  MADE                 GATE    FLAGS   REASON
3          30  TIME  fail            mail is worse
2          20  TIME  pass    serves  no domain is worse
1          10  TIME  passed          \n"""


def once(tap, where):
    mail = {"domain": "mail", "records": 120, "bytes": 9,
            "prequential_bits_per_byte": 1.5, "holdout_bits_per_byte": 2.7,
            "holdout_best_bits_per_byte": 2.7, "accuracy": None,
            "replay_rows": 9, "drift": {"alarms": 1}}
    red = STATUS["domains"][0]
    STATUS["domains"] = [red, mail]
    code, out, _ = run("top", "--once", *where, COLUMNS="100", LC_ALL="C")
    got = re.sub(r"at [0-9.:]+:", "at ADDRESS:", out)
    got = re.sub(r"made \d+ \w+ ago", "made AGE ago", got)
    got = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME", got)
    tap.equal((code, got.split("\n")), (0, FRAME.split("\n")), "top --once")
    _, out, _ = run("top", "--once", *where, COLUMNS="100", LC_ALL="C.UTF-8")
    tap.ok("\u2588\u2584\u2581" in out, "blocks where the terminal has them")
    for columns in (20, 40, 60, 80):
        _, out, _ = run("top", "--once", *where, COLUMNS=str(columns),
                        LINES="12", LC_ALL="C.UTF-8")
        tap.ok(max(map(len, out.split("\n"))) <= columns and
               out.count("\n") <= 12, f"top --once fits {columns} x 12")
    STATUS.update(state="paused", reason="by the guard")
    t = Terminal(80, 24, "top", *where)
    drawn = t.read_until(b"\x1b[1;31m  by the guard\x1b[m")
    os.write(t.main, b"q")
    tap.ok(drawn and t.end()[0] == 0, "top: a pause is red")
    STATUS.update(state="learning", reason=None)
    STATUS["domains"] = [red]


def top(tap, where):
    last = b"more\r\n" # of the table of domains
    many = [dict(STATUS["domains"][0], domain=f"domain-{i}" + "x" * i)
            for i in range(60)]
    keep = STATUS["domains"], STATUS["reason"]
    STATUS["domains"] = many
    STATUS["reason"] = "a reason of many words " * 8
    for columns, rows in ((80, 24), (100, 30), (200, 50)):
        t = Terminal(columns, rows, "top", "-n", "0.1", *where)
        drawn = t.read_until(last)
        os.write(t.main, b"q")
        code, errors, same = t.end()
        tap.ok(drawn and (code, errors, same) == (0, b"", True) and
               fits(t.seen, columns, rows),
               f"top fits {columns} x {rows}; q ends it and restores")
    t = Terminal(120, 50, "top", "-n", "3600", *where)
    t.read_until(last)
    t.seen = b""
    t.size(70, 20)
    t.process.send_signal(signal.SIGWINCH)
    drawn = t.read_until(last)
    t.process.send_signal(signal.SIGINT)
    code, errors, same = t.end()
    tap.ok(drawn and (code, errors, same) == (0, b"", True) and
           fits(t.seen, 70, 20),
           "top: a smaller window is drawn at once; Ctrl-C ends it")
    t = Terminal(80, 24, "top", *where, stdin=subprocess.DEVNULL)
    drawn = t.read_until(last)
    t.process.send_signal(signal.SIGTERM)
    tap.ok(drawn and t.end() == (0, b"", True),
           "top without a terminal as its input")
    STATUS["domains"], STATUS["reason"] = keep
    once(tap, where)
    for more in ([], ["--json"]):
        p = subprocess.Popen([MNEME, "top", "-n", "0.1", *more, *where],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        got = [p.stdout.readline() for _ in range(40)]
        p.stdout.close()
        code = p.wait(30)
        whole = more == [] or all(json.loads(line)["step"] == 31
                                  for line in got)
        tap.ok(code == -signal.SIGPIPE and b"\x1b" not in b"".join(got) and
               whole, f"{' '.join(['top', *more])} into a pipe")


def make_store(tap):
    """Makes a data directory for the verbs that need no daemon."""
    d = Daemon("store", source__type="file", source__at_end="exit",
               source__path=write_lines(os.path.join(TMP, "store.txt"),
                                        ["some text to learn"] * 20))
    tap.equal(d.run(), 0, "a store for the verbs that need one")
    return d.data


def outputs(tap, where):
    """Runs each verb with an output that fails, or whose reader has left."""
    data = make_store(tap)
    model = os.path.join(TMP, "a-model")
    run("export", "latest", model, "--data-dir", data)
    arguments = {
        "demo": ["--minutes", "0.5"], "doctor": where, "status": where, "top": where,
        "versions": where, "show": ["2", *where], "diff": ["1", "2", *where],
        "rollback": ["2", "--stream", "skip", *where],
        "pin": ["latest", "--help"], "unpin": ["latest", "--help"],
        "tag": ["2", "a", *where], "untag": ["a", *where],
        "token": ["create"], "promote": ["2", *where],
        "history": where, "ranges": where,
        "generate": ["x", *where], "score": ["x", *where],
        "classify": ["x", *where], "embed": ["x", *where],
        "feed": [*MOCK, "--data-dir", data], "quarantine": where,
        "forget": ["--id", "x", *where], "verify": ["--data-dir", data],
        "backup": [None, "--data-dir", data], "restore": [None, "--data-dir"],
        "bench": ["--only", "machine", "--seconds", "0.002"],
        "eval": ["--preset", "linear", "--arms", "none", "--seeds", "1",
                 write_lines(os.path.join(TMP, "eval.jsonl"), [
                     json.dumps({"text": f"text {i}", "label": f"l{i % 2}"})
                     for i in range(40)])],
        "export": ["latest", None, "--data-dir", data],
        "import": [model, None],
        "completion": ["bash"], "help": [], "--help": [], "--version": [],
    }
    shown = re.findall(r"^  (\w+)", run("help")[1], re.M)
    tap.equal(sorted(set(shown) - set(arguments)), [],
              "this test has arguments for every verb")
    source = os.path.join(TMP, "a-backup")
    run("backup", source, "--data-dir", data)
    for verb, rest in arguments.items():
        bad = []
        for mode in ("full", "closed", "left"):
            args = [a or os.path.join(TMP, f"{verb}-{mode}") for a in rest]
            if verb == "restore":
                args = [source, "--data-dir", os.path.join(TMP, f"r-{mode}")]
            code, err = write_to(mode, verb, *args)
            wanted = -signal.SIGPIPE if mode == "left" else 1
            lines_ = 0 if mode == "left" else 1
            if code != wanted or err.count("\n") != lines_:
                bad.append((mode, code, err))
        tap.equal(bad, [], f"{verb}: an output that fails: one line, exit 1; "
                           "a reader that has left: nothing")
    for args in (["-T"], ["-h"]):
        with open("/dev/full", "w") as full:
            r = subprocess.run([MNEMED, *args, "-c", os.devnull], stdout=full,
                               stderr=subprocess.PIPE)
        tap.ok(r.returncode == 1 and r.stderr.count(b"\n") == 1,
               f"mnemed {args[0]}: an output that fails: exit 1")
    where = os.path.join(TMP, "closed")
    source = write_lines(os.path.join(TMP, "closed.jsonl"), ["a text"] * 9)
    r = subprocess.run(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "-", MNEMED, "--data-dir",
         where, *[x for k, v in {
             "source.type": "file", "source.path": source,
             "source.at_end": "exit", "model.preset": "nano",
             "model.tokenizer": "bytes", "http.listen": "127.0.0.1:0",
         }.items() for x in ("--set", f"{k}={v}")]],
        env=dict(os.environ, MNEME_CONF=os.devnull), timeout=120 * SLOW)
    check_store = run("verify", "--all", "--data-dir", where)
    tap.ok(r.returncode == 0 and check_store[0] == 0,
           "mnemed with closed descriptors logs into none of its files")
    left = subprocess.run(["bash", "-c", "\"$1\" help | head -1; exit "
                           "${PIPESTATUS[1]}", "-", MNEME],
                          capture_output=True)
    tap.equal((left.returncode, left.stderr), (0, b""), "help | head")


def write_to(mode, *args):
    """(exit status, stderr) with a standard output that is a full disk, is
    closed, or is a pipe without a reader."""
    line = [MNEME, *args]
    stdout = None
    if mode == "closed":
        line = ["sh", "-c", 'exec "$0" "$@" >&-', *line]
    elif mode == "full":
        stdout = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, stdout = os.pipe()
        os.close(reader)
    env = {k: v for k, v in os.environ.items() if k != "MNEME_ADDR"}
    env["TMPDIR"] = TMP
    r = subprocess.run(line, stdin=subprocess.DEVNULL, stdout=stdout,
                       stderr=subprocess.PIPE, timeout=120 * SLOW, env=env,
                       cwd=TMP)
    if stdout is not None:
        os.close(stdout)
    return r.returncode, r.stderr.decode("utf-8", "replace")


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
          "no daemon at this address: exit 1")
    check(tap, run("status", "--data-dir", TMP + "/none"), 1, ["http.addr"],
          "no daemon on that data directory: exit 1")
    check(tap, run("verify", "latest", "--data-dir", TMP + "/none"), 3, ["none"],
          "verify latest without a store: exit 3")
    check(tap, run("verify", "--data-dir", TMP + "/none"), 3, ["none"],
          "verify without a store: exit 3")
    check(tap, run("verify", "--retrain", "-c", "-", "--data-dir",
                   TMP + "/none", stdin=b"modell: {}\n"), 2,
          ["/dev/stdin:1:1"], "verify --retrain -c -: the standard input")
    check(tap, run("verify", "--retrain", "--data-dir", TMP + "/none"), 3,
          ["none"], "verify --retrain without a store: exit 3")


def addresses(tap, address):
    where = os.path.join(TMP, "data")
    os.makedirs(where)
    with open(os.path.join(where, "http.addr"), "w") as f:
        f.write(address + "\n")
    check(tap, run("show", "1", "--data-dir", where), 0, ["version      1"],
          "the address in the data directory")
    for other in ("192.0.2.1:80", "127.0.0.1@192.0.2.1:80", "example.org:80",
                  "http://127.0.0.1:80", "[2001:db8::1]:80", "127.0.0.1",
                  "unix:relative", "localhost:80"):
        with open(os.path.join(where, "http.addr"), "w") as f:
            f.write(other + "\n")
        check(tap, run("status", "--data-dir", where, MNEME_TOKEN="secret"), 1,
              ["http.addr: not an address of this machine"],
              f"the token does not go to {other}")
    with open(os.path.join(where, "kafka.addr"), "w") as f:
        f.write("192.0.2.1:9092\n")
    check(tap, run("feed", "--data-dir", where, stdin=b"a\n"), 1,
          ["kafka.addr: not an address of this machine"],
          "nor do records go to another machine")
    check(tap, run("show", "1", "--addr", f"http://{address}/"), 0,
          ["version      1"], "an address as a browser shows it")
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
    tap.ok(json.loads(out)["seconds"] > 0.9, "--rate limits the speed")
    check(tap, run("feed", *MOCK, "-X", "message.max.bytes=2000",
                   stdin=b"a\n" + b"b" * 3000 + b"\n"), 1,
          ["1 delivered, 1 failed"], "a record too large: counted, exit 1")
    check(tap, run("feed", "-X", "no.such=1", stdin=b""), 2, ["no.such"],
          "an unknown property: exit 2")
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
    """Checks that every path of keys leads to a number above 0."""
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
    text = " ".join(run("help", "bench")[1].split())
    keys = [k for part in (got.get("machine", {}), *(
        got.get(g, {}).get("tiny", {}) for g in ("train", "score", "generate")
    )) for k in part if not re.search("_(least|most|thread|kind)$", k)]
    tap.equal([k for k in keys if k not in text], [],
              "bench: the help has the keys of the JSON")
    tap.ok("presets" not in got and "quantize" not in got and
           "small" not in got.get("train", {}),
           "bench: parts that were not chosen are absent")
    text = os.path.join(TMP, "bench.txt")
    with open(text, "w") as f:
        f.write("What a line says is not what it means.\n" * 2000)
    check(tap, run("bench", "--only", "preset-nano", "--text", text,
                   "--threads", "1", "--windows", "2", *quick), 0,
          ["PRESETS", "nano", "share of time: attention"], "bench: the tables")
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
          ["INT8", "bits per byte, int8"], "bench: the table of int8")
    check(tap, run("bench", "--only", "huge"), 2, ["huge"],
          "bench: no such part: exit 2")
    with open(text, "rb") as f:
        code, out, _ = run("bench", "--only", "replay", "--text", "-",
                           "--seconds", "0.002", stdin=f.read())
    tap.ok(code == 0 and "rows written/s" in out, "bench --text -")
    check(tap, run("bench", "--only", "replay", "--text", "-",
                   stdin=b"short\n"), 2, ["/dev/stdin has too little text"],
          "bench --text -: too little text: exit 2")
    with open(text, "w") as f:
        f.write("short\n")
    check(tap, run("bench", "--only", "tiny", "--text", text), 2, ["--text"],
          "bench: too little text: exit 2")
    check(tap, run("bench", "--only", "replay", TMPDIR=TMP + "/none"), 1,
          ["none"], "bench: no temporary directory: exit 1")


def documents(tap):
    code, out, _ = run("help", "--man")
    page = os.path.join(os.environ.get("top_srcdir", "."), "man", "mneme.1")
    with open(page) as f:
        tap.ok(code == 0 and out == f.read(),
               "man/mneme.1 is what help --man prints")
    code, out, _ = run("completion", "bash")
    r = subprocess.run(["bash", "-n"], input=out.encode())
    tap.ok(code == 0 and r.returncode == 0, "the completion is bash")
    everything = run("help")[1]
    verbs = re.findall(r"^  (\w+)", everything, re.M)
    with open(page) as f:
        sections = dict(re.findall(
            r"^\.SS mneme (\w+).*\n((?:(?!\.S[SH]).*\n)*)", f.read(), re.M))
    tap.equal(verbs, list(sections), "help and mneme(1) have the same verbs")
    tap.ok(max(map(len, everything.splitlines())) < 80,
           "help: no line is too long")
    for verb in verbs:
        text = run(verb, "--help")[1]
        own = text[:text.find("      --addr")]
        options = re.findall(r"^  (?:-\w,|   ) --([a-z0-9-]+)", own, re.M)
        in_man = [o.replace("\\-", "-") for o in re.findall(
            r"^(?:\\fB\\-\w\\fR, )?\\fB\\-\\-([a-z0-9\\-]+)\\fR",
            sections[verb], re.M)]
        wide = [x for x in text.splitlines() if len(x) >= 80]
        tap.equal((options, wide), (in_man, []),
                  f"{verb} --help has the options of mneme(1)")
        tap.equal(run("help", verb)[1], text, f"help {verb} is the same")


def main():
    tap = Tap()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Fake)
    serve(server)
    address = f"127.0.0.1:{server.server_address[1]}"
    where = ["--addr", address]
    tables(tap, where)
    hands(tap, where)
    questions(tap, where)
    lines(tap, where)
    top(tap, where)
    outputs(tap, where)
    trouble(tap, where)
    addresses(tap, address)
    feed(tap)
    bench(tap)
    documents(tap)
    tap.exit()


main()
