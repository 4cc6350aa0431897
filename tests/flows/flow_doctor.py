#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""mneme doctor finds what the test has broken, and nothing else.

Each fault is made on its own, and mended with the command that the finding
names where that command is a single one.
"""

import json
import os
import shlex
import shutil
import sqlite3
import subprocess
import time

from flow_util import Daemon, Tap, TMP, free_port, mneme, records, write_lines


def doctor(daemon, *args, env=None):
    """(exit status, {check: [(problem, command)]}, skipped)"""
    code, out, err = mneme(
        "doctor", "--json", *args, data=daemon.data,
        env={**(env or os.environ), "MNEME_CONF": os.devnull})
    if err:
        raise RuntimeError(err)
    reply = json.loads(out)
    found = {}
    for f in reply["findings"]:
        found.setdefault(f["check"], []).append((f["problem"], f["command"]))
    return code, found, [s["check"] for s in reply["skipped"]]


def finds(tap, daemon, check, words, name, *args, env=None, also=()):
    """The check, and no other one but `also`, finds a problem with the words.
    Returns the command."""
    code, found, _ = doctor(daemon, *args, env=env)
    problems = found.get(check, [])
    ok = (code == 1 and set(found) == {check, *also} and
          any(words in problem for problem, _ in problems))
    if not tap.ok(ok, name):
        tap.note(f"exit {code}: {found}")
    return problems[0][1] if problems else "false"


def well(tap, daemon, name, *args, also=()):
    code, found, skipped = doctor(daemon, *args)
    if not tap.ok((code, set(found)) == (1 if also else 0, set(also)), name):
        tap.note(f"exit {code}: {found}")
    return skipped


def mend(command):
    subprocess.run(shlex.split(command), check=True)


def running(tap, daemon, path):
    source = ["--set", "source.type=file", "--set", f"source.path={path}"]
    well(tap, daemon, "a good daemon: nothing is wrong, exit 0", *source)
    code, out, _ = mneme("doctor", data=daemon.data, code=0)
    tap.ok(out.startswith("nothing is wrong; checked: ") and "source" in out,
           "the text says what was checked")
    well(tap, daemon, "without a configuration, too")

    os.chmod(daemon.data, 0o755)
    command = finds(tap, daemon, "permissions", "other users can enter",
                    "an open data directory")
    mend(command)
    well(tap, daemon, f"mended by: {command}")
    if os.geteuid() == 0:
        db = os.path.join(daemon.data, "mneme.db")
        os.chown(db, 65534, -1)
        command = finds(tap, daemon, "permissions", "belongs to",
                        "a file of another owner")
        mend(command)
        well(tap, daemon, f"mended by: {command}")
    else:
        tap.ok(True, "a file of another owner # SKIP needs root")
        tap.ok(True, "mended # SKIP needs root")

    tokens = os.path.join(TMP, "tokens")
    with open(tokens, "w") as f:
        f.write("admin let-me-in\n")
    os.chmod(tokens, 0o644)
    command = finds(tap, daemon, "tokens", "mode 0644",
                    "a token file for all", "--set",
                    f"http.token_file={tokens}")
    mend(command)
    well(tap, daemon, f"mended by: {command}", "--set",
         f"http.token_file={tokens}")
    finds(tap, daemon, "tokens", "No such file", "no token file", "--set",
          f"http.token_file={TMP}/none")
    finds(tap, daemon, "source", "No such file", "a source that is gone",
          "--set", "source.type=file", "--set", f"source.path={TMP}/none")
    finds(tap, daemon, "configuration", "did you mean",
          "a wrong key of the configuration", "--set", "http.listn=x")


def stopped(tap, daemon, path):
    source = ["--set", "source.type=file", "--set", f"source.path={path}"]
    command = finds(tap, daemon, "daemon", "no daemon runs",
                    "a stopped daemon is found", *source)
    tap.ok("mnemed" in command, f"with the command that starts it: {command}")
    also = ["daemon"]
    large = ["--set", "model.preset=custom", "--set", "learner.shards=64"]
    for key, value in (("dim", 1024), ("layers", 64), ("heads", 16),
                       ("kv_heads", 16), ("ffn_dim", 4096), ("context", 128)):
        large += ["--set", f"model.{key}={value}"]
    bare = Daemon("bare")
    finds(tap, bare, "memory", "MiB, and there are",
          "a model that is too large", *source, *large, also=also)
    finds(tap, bare, "memory", "parameters, more than",
          "a model that no machine has room for", *source, *large,
          "--set", "model.layers=128", "--set", "model.dim=8192", also=also)
    finds(tap, bare, "memory", "no such model", "a model.init that is gone",
          *source, "--set", f"model.init={TMP}/none", also=also)
    well(tap, daemon, "the model in the data directory counts", *source,
         *large, also=also)
    well(tap, daemon, "which needs no model.init any longer", *source,
         "--set", f"model.init={TMP}/none", also=also)
    db = os.path.join(daemon.data, "mneme.db")
    before = os.stat(db)
    os.utime(db, (time.time(), time.time() + 86400))
    finds(tap, daemon, "clock", "in the future", "a clock that went back",
          *source, also=also)
    os.utime(db, (before.st_atime, before.st_mtime))

    # An address that was left by a kill, and no process.
    with open(os.path.join(daemon.data, "http.addr"), "w") as f:
        f.write(f"127.0.0.1:{free_port()}\n")
    finds(tap, daemon, "daemon", "does not answer", "a daemon that was killed",
          *source)
    os.unlink(os.path.join(daemon.data, "http.addr"))

    numbers = sorted(os.listdir(os.path.join(daemon.data, "versions")))
    newest = [n for n in numbers if n.isdigit()][-1]
    weights = os.path.join(daemon.data, "versions", newest,
                           "model.safetensors")
    with open(weights, "r+b") as f:
        f.seek(-1, 2)
        byte = f.read(1)
        f.seek(-1, 2)
        f.write(bytes([byte[0] ^ 1]))
    finds(tap, daemon, "versions", "is damaged", "a flipped bit", *source,
          also=also)
    with open(weights, "r+b") as f:
        f.seek(-1, 2)
        f.write(byte)

    # A verdict that never came: the state in the database as it was before.
    with sqlite3.connect(db) as c:
        row = c.execute("SELECT version, state, created_ms FROM versions "
                        "ORDER BY version DESC LIMIT 1").fetchone()
        c.execute("UPDATE versions SET state = 'pending', created_ms = ? "
                  "WHERE version = ?", (row[2] - 3600000, row[0]))
    finds(tap, daemon, "gate", "has waited for its verdict",
          "a version without a verdict", *source, also=also)
    with sqlite3.connect(db) as c:
        c.execute("UPDATE versions SET state = ?, created_ms = ? WHERE "
                  "version = ?", (row[1], row[2], row[0]))
    c.close()
    well(tap, daemon, "all is mended, but the daemon is stopped", *source,
         also=["daemon"])


def quarantine(tap):
    lines = records("harbour", 200) + [""] * 150
    path = write_lines(os.path.join(TMP, "bad.jsonl"), lines)
    daemon = Daemon("bad", source__type="file", source__path=path).start()
    daemon.until_consumed(350)
    command = finds(tap, daemon, "quarantine", "150 of 350",
                    "many refused records")
    tap.equal(command, "mneme quarantine --reason empty",
              "with the command that lists them")
    daemon.stop()
    finds(tap, daemon, "quarantine", "150 of 350",
          "also when the daemon is stopped", "--set", "source.type=file",
          "--set", f"source.path={path}", also=["daemon"])


def kafka(tap):
    broker = Daemon("broker", source__type="kafka",
                    **{"source__kafka__topics": "[text]",
                       "source__kafka__properties":
                       "{bootstrap.servers: embedded, group.id: g}"}).start()
    args = ["--set", "source.kafka.topics=[text]", "--set",
            "source.kafka.properties={bootstrap.servers: embedded, "
            "group.id: g}"]
    well(tap, broker, "an embedded broker and its topic", *args)
    gone = ["--set", "source.kafka.topics=[text]", "--set",
            "source.kafka.properties={bootstrap.servers: "
            f"'127.0.0.1:{free_port()}', group.id: g}}"]
    finds(tap, broker, "source", "no Kafka broker answers",
          "a broker that cannot be reached", *gone)
    broker.stop()


def http(tap):
    daemon = Daemon("http", source__type="http").start(wait="alive")
    args = ["--set", "source.type=http"]
    for line in records("harbour", 50):
        daemon.post("/v1/records", json.loads(line))
    daemon.until_consumed(50)
    daemon.until(lambda: daemon.get("/readyz")[0] == 200, "a version")
    well(tap, daemon, "a source of type http", *args)
    p = daemon.status()["source"]["partitions"][0]
    tap.equal(p["offset"] + p["lag"], 50, "the check sent no record")
    finds(tap, daemon, "source", "http.max_body_bytes",
          "a record that is larger than a body may be", *args, "--set",
          "http.max_body_bytes=1024")
    daemon.post("/v1/records", {"text": "a time", "ts": 4102444800000})
    finds(tap, daemon, "clock", "had a time in the future",
          "a record from the future", *args)
    daemon.stop()
    well(tap, daemon, "and when it is stopped", *args, also=["daemon"])
    log = os.path.join(daemon.data, "records")
    os.rename(os.path.join(log, os.listdir(log)[0]),
              os.path.join(log, f"{1000:020}.jsonl"))
    finds(tap, daemon, "source", "no longer in the log",
          "a log without the records that come next", *args, also=["daemon"])


def certificate(tap):
    if not shutil.which("openssl"):
        tap.ok(True, "a certificate # SKIP openssl is missing")
        return
    cert, key = os.path.join(TMP, "tls.crt"), os.path.join(TMP, "tls.key")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
         "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout",
         key, "-out", cert], check=True, capture_output=True)
    daemon = Daemon("tls", http__tls__cert=cert, http__tls__key=key)
    daemon.start(wait=None)
    daemon.until(lambda: os.path.exists(os.path.join(daemon.data,
                                                     "http.addr")), "alive")
    command = finds(tap, daemon, "daemon", "certificate of the daemon",
                    "a certificate that is not known")
    tap.ok(command.startswith("export MNEME_CA="), f"with: {command}")
    code, found, _ = doctor(daemon, env={**os.environ, "MNEME_CA": cert})
    tap.ok(not any("certificate" in problem
                   for problem, _ in found.get("daemon", [])),
           "with $MNEME_CA the state is known")
    daemon.stop()


def token_needed(tap, path):
    tokens = os.path.join(TMP, "tokens")
    daemon = Daemon("token", source__type="file", source__path=path,
                    http__token_file=tokens)
    daemon.start(wait="alive")
    finds(tap, daemon, "daemon", "wants a token", "a token is missing")
    daemon.until(lambda: not doctor(daemon, env={
        **os.environ, "MNEME_TOKEN": "let-me-in"})[1],
        "nothing to find with the token")
    tap.ok(True, "with the token nothing is wrong")
    daemon.stop()


def main():
    tap = Tap()
    path = write_lines(os.path.join(TMP, "records.jsonl"),
                       records("harbour", 200))
    daemon = Daemon("doctor", source__type="file", source__path=path).start()
    daemon.until_consumed(200)
    daemon.until(lambda: daemon.status()["publish"]["judged_version"] ==
                 daemon.status()["head_version"], "the last verdict")
    running(tap, daemon, path)
    daemon.stop()
    stopped(tap, daemon, path)
    quarantine(tap)
    kafka(tap)
    http(tap)
    certificate(tap)
    token_needed(tap, path)
    empty = Daemon("empty")
    skipped = well(tap, empty, "no data directory: only the daemon is missing",
                   also=["daemon"])
    tap.ok({"permissions", "disk", "clock", "source", "versions", "gate",
            "tokens", "quarantine", "erasure"} <= set(skipped),
           f"the rest is skipped: {skipped}")
    tap.exit()


main()
