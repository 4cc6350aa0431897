#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One bit flips anywhere in a stopped data directory.

SOAK_FLIPS (12) times: a directory that was stopped in the middle of a file, in
good order or by kill -9, gets one bit flipped - in mneme.db, its log, or a
file of a version - and the daemon goes on with it to the end. Then either

    refused   exit 1, and a line that names what is damaged and what to do
    named     the damage is in the log; the same bytes as without it, in the end
    harmless  nothing said, and the same bytes in the end

Anything else fails: a crash, a hang, other bytes. SOAK_SEED repeats a run,
SOAK_SECONDS ends it sooner.
"""

import collections
import os
import random
import re
import shutil
import subprocess
import time

from digest import differences, digest
from flow_util import Daemon, TMP, Tap, records, write_lines

FLIPS = int(os.environ.get("SOAK_FLIPS", "12"))
SEED = int(os.environ.get("SOAK_SEED", "0")) or random.randrange(1, 1 << 30)
N = 160
SECONDS = float(os.environ.get("SOAK_SECONDS", "0")) or float("inf")
HANGS = 120  # seconds


def files(data):
    """(path, bytes) by kind; the log only where there is something in it."""
    found = collections.defaultdict(list)
    for top, _, names in os.walk(data):
        for name in names:
            path = os.path.join(top, name)
            size = os.path.getsize(path)
            if not size or name.endswith("-shm"):
                continue
            kind = {"mneme.db": "database", "mneme.db-wal": "log"}.get(
                name, "small" if size < 20000 else "version")
            found[kind].append((path, size))
    return found


def flip(data, rng):
    """A kind of file first, so that small ones are met, too."""
    kinds = files(data)
    kind = rng.choice(sorted(kinds) + ["database"])
    paths = kinds[kind]
    path, size = rng.choices(paths, [s for _, s in paths])[0]
    at, bit = rng.randrange(size), rng.randrange(8)
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 1 << bit]))
    return kind, f"{os.path.relpath(path, data)} byte {at} bit {bit}"


def outcome(d, whole):
    """What became of it; None when that is not allowed."""
    try:
        code = d.run(HANGS, source__at_end="exit")
    except subprocess.TimeoutExpired:
        return None, "hangs"
    with open(d.log, errors="replace") as f:
        log = f.read()
    said = re.search(r"damaged|malformed|checksum|not a database|not one of "
                     r"mneme's|newer mneme", log)
    if code == 1 and said:
        return "refused", ""
    if code != 0:
        return None, f"exit {code}"
    fell_back = re.search(r"error damaged version=\d+", log)
    different = differences(whole[not fell_back],
                            digest(d.data, not fell_back))
    if different:
        return None, f"other {different}"
    return "named" if said else "harmless", ""


def main():
    tap = Tap()
    rng = random.Random(SEED)
    tap.note(f"SOAK_SEED={SEED} SOAK_FLIPS={FLIPS}")
    path = os.path.join(TMP, "records.jsonl")
    lines = records("harbour", N // 2) + records("orchard", N // 2)
    settings = dict(source__type="file", source__path=path, learner__shards=2,
                    publish__every_seconds=0, publish__every_tokens=2000,
                    publish__keep__newest=3, publish__keep__hourly=0,
                    publish__keep__daily=0, learner__ewc__consolidate="every:20")
    bases = []
    for name in ("stopped", "killed"):
        d = Daemon(name, **settings)
        for part in (N // 4, N // 2):
            write_lines(path, lines[:part])
            d.run(source__at_end="exit")
        write_lines(path, lines[:N * 2 // 3])
        d.start()
        d.until(lambda: d.status()["records"]["consumed"] >= N * 2 // 3 and
                d.versions()[0]["step"] == d.status()["step"],
                "all of it in a version")
        d.stop() if name == "stopped" else d.kill()
        bases.append(d)
    write_lines(path, lines)
    one = Daemon("whole", **settings)
    tap.equal(one.run(source__at_end="exit"), 0, "a run without damage")
    whole = {keys: digest(one.data, keys) for keys in (True, False)}
    counts = collections.Counter()
    began = time.monotonic()
    n = 0
    while n < FLIPS and time.monotonic() - began < SECONDS:
        i, n = n, n + 1
        base = bases[i % 2]
        d = Daemon(f"flip-{i}", **settings)
        shutil.copytree(base.data, d.data)
        kind, where = flip(d.data, rng)
        what, why = outcome(d, whole)
        counts[kind, what] += 1
        if what == "refused" and kind != "database":
            tap.note(f"{where}: {d.tail(1).strip()}")
        if what is None:
            tap.ok(False, f"{base.dir}: {where}: {why}; see {d.dir}")
            tap.note(d.tail(6).replace("\n", "\n# "))
        else:
            shutil.rmtree(d.dir)
    for kind, what in sorted(counts, key=str):
        tap.note(f"{kind}: {what or 'FAILED'} {counts[kind, what]}")
    tap.ok(not any(what is None for _, what in counts),
           f"{n} bits: found before use, or harmless")
    tap.exit()


main()
