#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The data directory under a daemon: syncs that fail, a database that is taken
away, no room after a forget, permissions.

Whatever an operator asks for, a sync that fails in it ends the daemon with one
line and exit status 1, and the next start finds the state before or after it.
A database that is gone is not taken for a new store: nothing is deleted.
"""

import json
import os
import shutil
import signal
import stat
import subprocess
import time

from flow_util import Daemon, MNEMED, TMP, Tap, mneme, records, write_lines

PRELOAD = os.path.join(os.path.dirname(MNEMED), "..", "tests", "tools",
                       "fault_preload.so")


def settled(d, n):
    def done():
        s = d.status()
        v = d.get(f"/v1/versions/{s['head_version']}")[1]
        return (s["records"]["consumed"] >= n and v["step"] == s["step"] and
                v["state"] != "pending")
    d.until(done, f"{n} records in a version", 120)


def end_of(d, seconds=60):
    """The exit status of a daemon that is to end by itself, and its line."""
    try:
        code = d.process.wait(seconds)
    except subprocess.TimeoutExpired:
        d.kill()
        return "it goes on", []
    d.process = None
    with open(d.log, errors="replace") as f:
        return code, [x for x in f.read().splitlines()
                      if x.startswith("mnemed: ")]


def append(path, lines):
    with open(path, "a") as f:
        f.write("".join(line + "\n" for line in lines))


# --- a sync that fails ----------------------------------------------------

def prepared(path):
    """Some versions, a skipped range, and a record that can be released."""
    plain = json.loads(records("workshop", 1)[0])["text"]
    write_lines(path, records("harbour", 59) + [plain])
    d = Daemon("prepared", source__type="file", source__path=path,
               source__follow="true", source__format="json",
               learner__flush_seconds=0.2).start()
    settled(d, 60)
    first = d.status()["head_version"]
    append(path, records("harbour", 40, start=60))
    settled(d, 100)
    done = d.operation(d.post("/v1/rollback",
                              {"version": first, "stream": "skip"}))
    if done.get("state") != "done":
        raise RuntimeError(done)
    d.stop()
    d.settings["source.format"] = "auto"
    return d, first


def operations(d, first):
    ranges = d.get("/v1/ranges")[1]["ranges"]
    kept = d.get("/v1/quarantine")[1]["quarantine"]
    return [
        ("pin", f"/v1/versions/{first}/pin", {}),
        ("unpin", f"/v1/versions/{first}/unpin", {}),
        ("promote", f"/v1/versions/{first}/promote", {}),
        ("promote latest", "/v1/versions/latest/promote", {}),
        ("rewind", "/v1/rollback", {"version": first}),
        ("keep", "/v1/rollback", {"version": first, "stream": "keep"}),
        ("release a range", f"/v1/ranges/{ranges[0]['id']}/release", {}),
        ("release a record", f"/v1/quarantine/{kept[0]['id']}/release", {}),
        ("forget", "/v1/forget", {"id": "harbour-3"}),
    ]


def failed_syncs(tap):
    path = os.path.join(TMP, "stream.jsonl")
    before, first = prepared(path)
    before.start()
    asked = operations(before, first)
    before.stop()
    for name, where, body in asked:
        d = Daemon("sync-" + name.replace(" ", "-"), **{
            k.replace(".", "__"): v for k, v in before.settings.items()})
        shutil.copytree(before.data, d.data)
        flag = os.path.join(d.dir, "now")
        log = os.path.join(d.dir, "operations")
        d.env = dict(d.env, LD_PRELOAD=PRELOAD, MNEME_FAULT_DIR=d.data,
                     MNEME_FAULT_LOG=log, MNEME_FAULT_ERRNO="EIO",
                     MNEME_FAULT_AT="1", MNEME_FAULT_AFTER=flag,
                     MNEME_FAULT_ONLY="fdatasync mneme.db-wal")
        d.start()
        write_lines(flag, [])
        try:
            d.post(where, body)
        except OSError:
            pass  # it may have ended by then
        code, lines = end_of(d)
        with open(log) as f:
            tap.ok(" fails" in f.read(), f"{name}: its sync failed")
        tap.ok(code == 1 and len(lines) == 1 and "mneme.db" in lines[0] and
               ("Input/output error" in lines[0] or
                "disk I/O error" in lines[0]),
               f"{name}: one line, exit 1 ({code}, {lines})")
        d.env.pop("LD_PRELOAD")
        d.start()
        d.until(lambda: d.status()["state"] == "waiting", "its end")
        tap.equal(d.stop(), 0, f"{name}: starts again")
        tap.equal(mneme("verify", "--all", data=d.data)[0], 0,
                  f"{name}: nothing is damaged")
        shutil.rmtree(d.dir)


# --- a database that is taken away ----------------------------------------

def version_files(data):
    return {(where, name): os.path.getsize(os.path.join(where, name))
            for where, _, names in os.walk(os.path.join(data, "versions"))
            for name in names}


def taken_away(tap):
    path = write_lines(os.path.join(TMP, "few.jsonl"),
                       records("orchard", 60))
    d = Daemon("taken", source__type="file", source__path=path).start()
    settled(d, 60)
    db = os.path.join(d.data, "mneme.db")
    began = time.monotonic()
    os.rename(db, db + ".away")
    code, lines = end_of(d, 30)
    tap.ok(code == 1 and len(lines) == 1 and "mneme.db" in lines[0],
           f"taken away: an idle daemon ends ({code}, {lines}) after "
           f"{time.monotonic() - began:.1f} s")
    files = version_files(d.data)
    tap.ok(len(files) > 5, "taken away: the versions are there")
    tap.equal(d.run(), 1, "no database: exit 1")
    with open(d.log) as f:
        last = [x for x in f.read().splitlines() if x.startswith("mnemed: ")]
    tap.ok("mneme.db: missing" in last[-1] and "mneme restore" in last[-1],
           f"no database: says what to do ({last[-1]})")
    tap.equal(version_files(d.data), files, "no database: nothing is deleted")
    tap.ok(not os.path.exists(db), "no database: none is made")
    os.rename(db + ".away", db)
    d.start()
    tap.ok(d.status()["serving_version"] > 0, "put back: it serves")
    shutil.move(os.path.join(d.data, "versions"),
                os.path.join(d.data, "versions.away"))
    code, lines = end_of(d, 30)
    tap.ok(code == 1 and len(lines) == 3 and "versions" in lines[-1],
           f"versions taken away: it ends ({code}, {lines[-1:]})")


# --- no room after a forget -----------------------------------------------

def no_room(tap):
    where = os.path.join(TMP, "no-room")
    os.makedirs(where)
    r = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs",
                        where], capture_output=True)
    if r.returncode:
        tap.ok(True, "no room # SKIP cannot mount a tmpfs here")
        return
    path = write_lines(os.path.join(TMP, "large.jsonl"),
                       records("workshop", 60) +
                       ["{broken " + "x" * 8000] * 2500)
    d = Daemon("no-room", source__type="file", source__path=path,
               source__format="json", source__follow="true",
               publish__keep__newest=1, publish__keep__hourly=0,
               publish__keep__daily=0)
    filler = os.path.join(where, "filler")
    try:
        d.start()
        settled(d, 2560)
        d.stop()
        size = os.path.getsize(os.path.join(d.data, "mneme.db"))
        tap.ok(size > 14 << 20, f"no room: mneme.db has {size >> 20} MiB")
        free = os.statvfs(where)
        with open(filler, "wb") as f:
            f.write(b"\0" * (free.f_bavail * free.f_frsize - (13 << 20)))
        d.start()
        code, out, err = mneme("forget", "--id", "workshop-7", "--json",
                               data=d.data)
        done = json.loads(out) if code == 0 else {}
        tap.ok(code == 0 and done["result"]["erasure_pending"] and
               "still hold their bytes" in done["detail"],
               f"no room: forgotten, and told what is left {err}")
        d.until(lambda: d.status()["erasure_pending"], "the status says so")
        tap.ok("mneme_erasure_pending 1" in d.get("/metrics")[1],
               "no room: so do the metrics")
        tap.ok("erased bytes" in mneme("status", data=d.data)[1],
               "no room: so does mneme status")
        tap.equal(d.stop(), 0, "no room: stops in good order")
        d.start()
        tap.ok(d.status()["erasure_pending"], "no room: a start is none worse")
        tap.equal(d.post("/v1/score", {"text": "lathe"})[0], 200,
                  "no room: it serves")
        append(path, records("workshop", 20, start=60))
        settled(d, 2580)
        tap.ok(d.status()["state"] != "paused", "no room: it learns")
        os.remove(filler)
        d.until(lambda: not d.status()["erasure_pending"],
                "room again: it is made up for", 90)
        tap.ok("mneme_erasure_pending 0" in d.get("/metrics")[1],
               "room again: the metrics say so")
        tap.equal(d.stop(), 0, "room again: exit 0")
        tap.equal(mneme("verify", "--all", data=d.data)[0], 0,
                  "room again: nothing is damaged")
    finally:
        if d.process:
            d.kill()
        subprocess.run(["umount", "-l", where])
        shutil.rmtree(where, ignore_errors=True)


# --- permissions ----------------------------------------------------------

def too_open(top):
    found = []
    for where, _, names in os.walk(top):
        for path in [where] + [os.path.join(where, n) for n in names]:
            mode = stat.S_IMODE(os.lstat(path).st_mode)
            if mode & 0o077:
                found.append(f"{path} {mode:o}")
    return found


def private(tap):
    path = write_lines(os.path.join(TMP, "secret.jsonl"),
                       records("orchard", 40))
    backup = os.path.join(TMP, "secret-backup")
    mask = os.umask(0)
    try:
        d = Daemon("private", source__type="file", source__path=path)
        os.makedirs(d.data, 0o777)
        os.makedirs(backup, 0o777)
        d.start()
        settled(d, 40)
        tap.equal(too_open(d.data), [], "umask 0: all is private")
        mneme("backup", backup, data=d.data, code=0)
        tap.equal(too_open(backup), [], "umask 0: so is a backup")
        d.stop()
    finally:
        os.umask(mask)
    with open(d.log) as f:
        tap.equal(f.read().count(" warn private "), 1,
                  "a directory that was open: told once")
    d.start()
    d.stop()
    with open(d.log) as f:
        tap.equal(f.read().count(" warn private "), 1, "and not again")


# --- ending while it starts or stops --------------------------------------

def signals(tap):
    path = write_lines(os.path.join(TMP, "signals.jsonl"),
                       records("orchard", 20))
    d = Daemon("signals", source__type="file", source__path=path).start()
    settled(d, 20)
    codes = [d.stop()]
    for _ in range(8):
        d.start()
        d.process.send_signal(signal.SIGTERM)
        codes.append(d.stop())
    tap.equal(codes, [0] * 9, "SIGTERM twice, at once: exit 0")


def main():
    tap = Tap()
    signals(tap)
    failed_syncs(tap)
    taken_away(tap)
    private(tap)
    no_room(tap)
    tap.exit()


main()
