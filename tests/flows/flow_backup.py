#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Backups while it learns, and what they are good for: the way back.

A restored backup goes on where the backup's newest version was, and ends with
the bytes of a run that never stopped. What is damaged, half or in the way is
said, and nothing is overwritten.
"""

import json
import os
import shutil
import signal
import subprocess
import time

from digest import differences, digest
from flow_util import (Daemon, MNEME, MNEMED, TMP, Tap, mneme, records,
                       write_lines)

N = 400


def at_end(d, n=N):
    def done():
        s = d.status()
        v = d.get(f"/v1/versions/{s['head_version']}")[1]
        return s["records"]["consumed"] == n and v["step"] == s["step"]
    d.until(done, "everything in a version", 120)


def place(name):
    return os.path.join(TMP, name)


def backup(d, name):
    _, out, _ = mneme("backup", place(name), "--json", data=d.data, code=0)
    return json.loads(out)


def restored(name, settings):
    """A daemon on a restored backup that ends with the file."""
    d = Daemon("of-" + name, **settings)
    mneme("restore", place(name), data=d.data, code=0)
    d.first = digest(d.data)
    d.code = d.run(source__at_end="exit")
    return d


def while_it_learns(tap, settings):
    """Returns the uninterrupted run, stopped."""
    d = Daemon("learning", **settings, publish__keep__newest=3,
               publish__keep__hourly=0, publish__keep__daily=0).start()
    made = []
    head, last = 0, 0
    while len(made) < 5 and d.status()["records"]["consumed"] < N:
        now = time.monotonic()
        if d.status()["head_version"] > head or now - last > 1:
            made.append(backup(d, f"b{len(made)}"))
            head, last = made[-1]["head_version"], now
        time.sleep(0.02)
    tap.note("; ".join(f"head {b['head_version']}, {b['versions']} kept, "
                       f"{b['seconds']:.2f} s" for b in made))
    at_end(d)
    tap.equal(d.stop(), 0, "the daemon was not disturbed")
    whole = digest(d.data)
    tap.ok(len(made) >= 2, f"{len(made)} backups while it learned")
    early = 0
    for i in range(len(made)):
        name = f"b{i}"
        good = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"],
                              cwd=place(name)).returncode
        code = mneme("verify", "--all", data=place(name))[0]
        tap.equal((good, code), (0, 0), f"{name}: sha256sum and verify")
        if i and made[i - 1]["head_version"] == made[i]["head_version"]:
            continue
        r = restored(name, settings)
        early += r.first["step"] < whole["step"]
        tap.equal((r.code, differences(whole, digest(r.data))), (0, []),
                  f"{name}: from step {r.first['step']} the same bytes")
        shutil.rmtree(r.dir)
    tap.ok(early >= 1, f"{early} of them were from before the end")
    return d, whole


def without_daemon(tap, d, whole, settings):
    report = backup(d, "still")
    tap.equal(report["left_out"], [], "no daemon: all versions")
    r = restored("still", settings)
    tap.equal(differences(whole, r.first), [], "and they are the same")
    killed = Daemon("killed", **settings).start()
    killed.until_consumed(N // 3)
    killed.kill()
    before = os.path.getsize(os.path.join(killed.data, "mneme.db-wal"))
    backup(killed, "killed-backup")
    r = restored("killed-backup", settings)
    tap.equal(differences(whole, digest(r.data)), [],
              f"killed, its log of {before} bytes unread: the same bytes")


def refusals(tap, d, settings):
    old = place("old")
    os.makedirs(old)
    write_lines(os.path.join(old, "precious"), ["mine"])
    code, _, why = mneme("backup", old, data=d.data)
    tap.ok(code == 3 and "precious" in why, "backup into what is not empty: 3")
    code, _, why = mneme("restore", place("still"), data=old)
    tap.ok(code == 3 and "precious" in why, "restore likewise")
    tap.equal(os.listdir(old), ["precious"], "and nothing has changed there")
    tap.equal(mneme("backup", place("x"), data=place("nowhere"))[0], 3,
              "nothing to back up: 3")
    tap.equal(mneme("restore", old, data=place("x"))[0], 3, "no backup: 3")
    tap.equal(mneme("backup")[0], 2, "no directory named: 2")
    before = sorted(os.listdir(place("still")))
    on = Daemon("on-backup", **settings)
    on.data = place("still")
    tap.equal(on.run(), 1, "mnemed on a backup: exit 1")
    tap.ok("mneme restore" in on.tail(), "and it names mneme restore")
    tap.equal(sorted(os.listdir(place("still"))), before, "and changes nothing")
    code, _, why = mneme("backup", "/proc/nowhere", data=d.data)
    tap.ok(code == 1 and "/proc/nowhere" in why, "not writable: 1")
    tap.ok(not os.path.exists(place("x")) or not os.listdir(place("x")),
           "and nothing is left")


def flip(path, at):
    with open(path, "r+b") as f:
        f.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
        byte = f.read(1)
        f.seek(-1, os.SEEK_CUR)
        f.write(bytes([byte[0] ^ 16]))


def damage(tap, d):
    name = place("still")
    head = sorted(os.listdir(os.path.join(name, "versions")))[-1]
    for path in (f"versions/{head}/state.safetensors", "mneme.db",
                 f"versions/{head}/config.json", "SHA256SUMS"):
        flip(os.path.join(name, path), -40)
        code, _, why = mneme("restore", name, data=place("damaged"))
        tap.ok(code == 1, f"restore: a bit of {path}: 1")
        tap.ok(not os.listdir(place("damaged"))
               if os.path.exists(place("damaged")) else True,
               "and nothing is left")
        flip(os.path.join(name, path), -40)
    os.rename(os.path.join(name, f"versions/{head}/labels.json"), place("away"))
    code, _, why = mneme("restore", name, data=place("damaged"))
    tap.ok(code == 1 and "labels.json" in why, "a file is missing: 1, named")
    os.rename(place("away"), os.path.join(name, f"versions/{head}/labels.json"))

    versions = sorted(os.listdir(os.path.join(d.data, "versions")))
    path = os.path.join(d.data, "versions", versions[-1], "state.safetensors")
    flip(path, -40)
    code, _, why = mneme("backup", place("b-damaged"), data=d.data)
    tap.ok(code == 1 and "state.safetensors" in why,
           "backup: the head is damaged: 1, named")
    tap.equal(os.listdir(place("b-damaged")), [], "and nothing is left")
    flip(path, -40)
    still = backup(d, "b-more")
    other = [v for v in versions
             if int(v) not in (still["head_version"],
                               still["serving_version"])][0]
    path = os.path.join(d.data, "versions", other, "state.safetensors")
    flip(path, -40)
    report = backup(d, "b-less")
    tap.equal(report["left_out"], [int(other)],
              "an older one is damaged: left out")
    tap.equal(mneme("verify", "--all", data=place("b-less"))[0], 0,
              "and what there is is whole")
    tap.equal(mneme("restore", place("b-less"), data=place("less"))[0], 0,
              "and restores")
    flip(path, -40)


def interrupted(tap, settings):
    """Killed in the middle: never taken for a whole one."""
    target = place("half")
    os.makedirs(target)
    for seconds in (0.005, 0.01, 0.02, 0.03, 0.05):
        shutil.rmtree(target)
        p = subprocess.Popen([MNEME, "restore", place("still"), "--data-dir",
                              target], stdout=subprocess.DEVNULL)
        try:
            p.wait(seconds)
        except subprocess.TimeoutExpired:
            p.send_signal(signal.SIGKILL)
            p.wait()
        if not os.path.isdir(target):
            os.makedirs(target)
        if os.path.exists(os.path.join(target, "unfinished")):
            break
    if not os.path.exists(os.path.join(target, "unfinished")):
        os.makedirs(target, exist_ok=True)
        write_lines(os.path.join(target, "unfinished"), [])
    half = Daemon("on-half", **settings)
    half.data = target
    tap.equal(half.run(), 1, "mnemed on half of a restore: exit 1")
    tap.ok("did not end" in half.tail(), "and it says why")
    tap.equal(mneme("restore", place("still"), data=target)[0], 3,
              "restore refuses, too")


def main():
    tap = Tap()
    path = write_lines(os.path.join(TMP, "records.jsonl"),
                       records("harbour", N // 2) + records("orchard", N // 2))
    settings = dict(source__type="file", source__path=path, learner__shards=2,
                    publish__every_seconds=0, publish__every_tokens=3000)
    d, whole = while_it_learns(tap, settings)
    without_daemon(tap, d, whole, settings)
    refusals(tap, d, settings)
    damage(tap, d)
    interrupted(tap, settings)
    tap.exit()


main()
