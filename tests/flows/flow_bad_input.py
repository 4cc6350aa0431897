#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What is wrong is said, in one line, with the fitting status; and survived."""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys

from flow_util import (Daemon, MNEMED, SLOW, Tap, add_up, mneme, records,
                       write_lines, TMP)


def mnemed(*args):
    r = subprocess.run([MNEMED, *args], capture_output=True, text=True,
                       timeout=60 * SLOW, env=dict(os.environ,
                                            MNEME_CONF=os.devnull))
    return r.returncode, r.stdout, r.stderr


def configuration(tap):
    path = os.path.join(TMP, "bad.yaml")
    with open(path, "w") as f:
        f.write("data_dirr: x\n"
                "model:\n"
                "  preset: tinny\n"
                "learner:\n"
                "  batch_tokens: many\n"
                "source:\n"
                "  kafka:\n"
                "    properties:\n"
                "      bootstrap.servers: localhost:1\n"
                "      no.such.property: 1\n")
    code, _, err = mnemed("-t", "-c", path)
    tap.equal(code, 2, "a wrong configuration: exit 2")
    lines = err.strip().splitlines()
    tap.equal(len(lines), 4, "all four problems at once")
    tap.ok("bad.yaml:1:" in err and "did you mean 'data_dir'" in err,
           "with file, line, and the nearest key")
    tap.ok("bad.yaml:3:" in err and "tiny" in err, "the nearest value")
    tap.ok("bad.yaml:10:" in err and "no.such.property" in err,
           "a property that librdkafka does not know")
    code, out, _ = mnemed("-T")
    tap.ok(code == 0 and "batch_tokens: 512" in out,
           "-T prints every default")
    tap.equal(mnemed("--nonsense")[0], 2, "a wrong option: exit 2")


def lines_of_all_kinds():
    good = [json.dumps({"text": "A good line.", "domain": "d"})]
    return b"\n".join(
        [x.encode() for x in records("harbour", 60)] + [
            b'{"text": "cut',          # begins like a JSON record
            b'{"text": 7}',            # JSON without a text
            b'{"text": "UTF-16"}'.decode().encode("utf-16-le"),
            b'{"text": "a", "x": ' + 70 * b"[" + 70 * b"]" + b"}",
            b'{"text": null, "id": "nobody"}',
            b'\x1e{"text": "in a sequence"}',
            b'{ return; } // code, as it stands',
            b'{"text": "half a pair \\ud83d, and twice", "text": "twice"}',
            b"\xc3\x28",               # not UTF-8
            b"",                       # empty
            b"x" * 70000,              # too long
            b'{"text": ""}',           # empty
            b'{"text": "a", "label": 5}',  # a wrong type
            b'{"prompt": "2+2=", "completion": "4"}',
        ] + [x.encode() for x in good]) + b"\n"


def bad_records(tap):
    path = os.path.join(TMP, "kinds.txt")
    with open(path, "wb") as f:
        f.write(lines_of_all_kinds())
    d = Daemon("kinds", source__type="file", source__path=path).start()
    d.until_consumed(75)
    s = d.status()
    tap.ok(add_up(s), "counters add up")
    tap.equal(s["quarantine"],
              {"broken_json": 1, "bad_field": 2, "utf16": 1, "too_deep": 1,
               "no_text": 1, "record_separator": 1, "not_utf8": 1, "empty": 2,
               "too_long": 1}, "bad records are quarantined by their reasons")
    return d


def all_refused(tap):
    """Nothing can be learned from a file: the log says so, and why."""
    path = write_lines(os.path.join(TMP, "labels.jsonl"), [
        json.dumps({"text": f"news item {i}", "label": i % 4})
        for i in range(50)])
    d = Daemon("labels", source__type="file", source__path=path,
               source__at_end="exit")
    tap.equal(d.run(), 0, "a file of which every record is refused: exit 0")
    log = d.tail(100)
    tap.ok("records=50 learned=0 held_out=0 skipped=0 quarantined=50 "
           'refused="bad_field 50"' in log, "a summary at its end")
    tap.ok("warn nothing_learned" in log and
           "field label is a number, and must be a string" in log,
           "a warning that names the field")
    tap.equal(sum(int(n) for n in re.findall(
        r"refused reason=bad_field count=(\d+)", log)), 50,
        "the lines of the log count every record")
    d.start(source__at_end="serve")
    shown = mneme("quarantine", "show", "1", data=d.data)
    tap.ok(shown[0] == 0 and "field label is a number" in shown[1],
           "quarantine show names the field")
    d.stop()
    path = os.path.join(TMP, "packed.txt")
    with open(path, "wb") as f:
        f.write(gzip.compress(b"a line of text\n" * 50, mtime=0))
    d = Daemon("packed", source__type="file", source__path=path,
               source__at_end="exit")
    d.run()
    tap.ok(re.search(r"refused reason=.*it is gzip data", d.tail(100)),
           "gzip data under another name are called so")


def http(tap, d):
    def error(answer, status, name):
        ok = answer[0] == status and "message" in answer[1].get("error", {})
        if not tap.ok(ok, name):
            tap.note(str(answer)[:300])

    error(d.request("POST", "/v1/score", b"{not json"), 400,
          "malformed JSON: 400")
    error(d.request("POST", "/v1/score", b'{"text": 5}'), 400,
          "a wrong type: 400")
    error(d.request("POST", "/v1/score", b"[" * 100000), 400, "deep: 400")
    error(d.post("/v1/score", {"text": "a", "model": "mneme@999"}), 404,
          "an unknown version: 404")
    error(d.post("/v1/score", {"text": "a", "model": "gpt-4"}), 404,
          "an unknown model: 404")
    error(d.get("/v1/versions/999"), 404, "no such version: 404")
    error(d.get("/nothing"), 404, "no such path: 404")
    error(d.request("POST", "/v1/score", b"x" * (2 << 20)), 413,
          "too large: 413")
    error(d.post("/v1/rollback", {"version": 999, "stream": "rewind"}), 404,
          "rollback to nothing: 404")
    error(d.post("/v1/rollback", {"version": 1, "stream": "sideways"}), 400,
          "rollback in no known way: 400")
    error(d.request("DELETE", "/v1/score"), 405, "a wrong method: 405")


def client(tap, d):
    tap.equal(mneme("status", data=d.data)[0], 0, "mneme status")
    tap.equal(mneme("show", "999", data=d.data)[0], 3,
              "mneme show of no version: exit 3")
    tap.equal(mneme("nonsense")[0], 2, "an unknown verb: exit 2")
    tap.equal(mneme("status", "--addr", "127.0.0.1:1")[0], 1,
              "no daemon: exit 1")


def second_daemon(tap, d):
    r = subprocess.run(d.command(), capture_output=True, text=True,
                       timeout=60 * SLOW)
    tap.equal(r.returncode, 1, "a second daemon: exit 1")
    tap.ok(str(d.process.pid) in r.stderr, "which names the first one's pid")


def flip_a_bit(d, version, name):
    path = os.path.join(d.data, "versions", version, name)
    with open(path, "r+b") as f:
        f.seek(-1000, os.SEEK_END)
        byte = f.read(1)
        f.seek(-1000, os.SEEK_END)
        f.write(bytes([byte[0] ^ 1]))


def newest_version(d):
    return sorted(os.listdir(os.path.join(d.data, "versions")))[-1]


def damage(tap, d):
    d.stop()
    newest = newest_version(d)
    flip_a_bit(d, newest, "model.safetensors")
    code, out, err = mneme("verify", "--all", data=d.data)
    tap.equal(code, 1, "one bit flipped: mneme verify: exit 1")
    tap.ok("model.safetensors" in out + err, "and it names the file")
    d.start()
    s = d.status()
    tap.ok(0 < s["serving_version"] < int(newest),
           "the previous version serves")
    d.until_consumed(69)
    tap.ok(add_up(d.status()), "and what came after it is learned again")


def damage_behind_a_promotion(tap, d):
    """The head goes back by itself: nobody asked for another to serve."""
    d.operation(d.post("/v1/versions/1/promote"))
    d.stop()
    newest = newest_version(d)
    flip_a_bit(d, newest, "state.safetensors")
    d.start()
    s = d.status()
    tap.equal(s["serving_version"], 1, "a damaged head: the promoted serves")
    tap.ok(s["serving_pinned"], "and stays promoted")
    d.until_consumed(69)
    tap.ok(add_up(d.status()), "while learning went back")
    d.stop()


def no_broker(tap):
    d = Daemon("nobroker", **{
        "source__kafka__properties__bootstrap.servers": "127.0.0.1:9"})
    d.start()
    d.until(lambda: d.status().get("reason"), "the broker's absence")
    tap.equal(d.get("/healthz")[0], 200, "no broker: alive")
    tap.equal(d.stop(), 0, "and stops in good order")


def directories(tap):
    code, _, err = mnemed("--data-dir", "/proc/nowhere")
    tap.ok(code == 1 and err.count("\n") <= 3, "not writable: exit 1")
    path = write_lines(os.path.join(TMP, "few"), records("harbour", 5))
    code, _, err = mnemed("--data-dir", os.path.join(TMP, "nofile"), "--set",
                          "source.type=file", "--set",
                          "source.path=" + path + ".gone")
    tap.ok(code == 1 and ".gone" in err, "no such file: exit 1, named")
    d = Daemon("newer", source__type="file", source__path=path,
               source__at_end="exit")
    tap.equal(d.run(), 0, "a few lines")
    code, _, err = mnemed(*d.command(model__tokenizer="bpe")[1:])
    tap.ok(code == 1 and "was made with model.tokenizer: bytes" in err,
           "another tokenizer: exit 1")
    # Into the log, which has checksums of SQLite's own: no checkpoint.
    subprocess.run([sys.executable, "-c",
                    "import os, sqlite3, sys\n"
                    "db = sqlite3.connect(sys.argv[1])\n"
                    "db.execute('PRAGMA user_version = 999')\n"
                    "db.commit()\n"
                    "os._exit(0)",
                    os.path.join(d.data, "mneme.db")], check=True)
    tap.ok(d.run() == 1 and "newer" in d.tail(), "a newer store: exit 1")


def disk_full(tap):
    """A small tmpfs: learning holds, serving goes on, and it resumes."""
    where = os.path.join(TMP, "small-disk")
    os.makedirs(where)
    r = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs",
                        where], capture_output=True)
    if r.returncode:
        tap.ok(True, "disk full # SKIP cannot mount a tmpfs here")
        return
    path = write_lines(os.path.join(TMP, "long"), records("harbour", 20000))
    d = Daemon("small-disk", source__type="file", source__path=path,
               publish__keep__newest=2, publish__keep__hourly=0,
               publish__keep__daily=0)
    filler = os.path.join(where, "filler")
    try:
        d.start()
        d.until_consumed(500)
        # Unbuffered: what is left in a buffer would fail once more at the end.
        with open(filler, "wb", buffering=0) as f:
            try:
                while True:
                    f.write(b"\0" * 65536)
            except OSError:
                pass
        d.until(lambda: d.status()["state"] == "paused", "learning holds")
        tap.ok("full" in d.status()["reason"], "the reason is a full disk")
        tap.equal(d.post("/v1/score", {"text": "tide"})[0], 200,
                  "serving goes on")
        os.remove(filler)
        step = d.status()["step"]
        d.until(lambda: d.status()["step"] > step, "learning resumes", 60)
        tap.ok(add_up(d.status()), "and the counters add up")
        tap.equal(d.stop(), 0, "exit 0")
        tap.equal(mneme("verify", "--all", data=d.data)[0], 0,
                  "nothing is damaged")
    finally:
        if d.process:
            d.kill()
        subprocess.run(["umount", "-l", where])
        shutil.rmtree(where, ignore_errors=True)


def main():
    tap = Tap()
    configuration(tap)
    d = bad_records(tap)
    http(tap, d)
    client(tap, d)
    second_daemon(tap, d)
    damage(tap, d)
    damage_behind_a_promotion(tap, d)
    all_refused(tap)
    no_broker(tap)
    directories(tap)
    disk_full(tap)
    tap.exit()


main()
