#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The n-th operation on a file of the data directory fails, under the daemon.

An act without faults counts the operations and says what is to come out. Then,
for one operation after another, it meets ENOSPC or EIO there, once or from
there on (tests/tools/fault_preload.c). The acts:

    first      a stream is learned, from nothing
    more       it has grown, and there are versions already
    rollback   a daemon goes back to an older version and learns again
    backup     mneme backup

The daemon goes on by itself, or ends with one line that names the file and the
cause, or, while there is no room, holds, and ends in good order when it is
asked to. What it leaves is whole, and a start without the fault comes to the
bytes of the run without one.

By itself it tries SOAK_FAULTS (20) operations, of as many kinds as there are;
with SOAK set all of them, for at most SOAK_SECONDS. SOAK_SEED (random) repeats
a choice, SOAK_ACTS ("first more") has some of the acts alone.
"""

import collections
import concurrent.futures
import http.client
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
import traceback

from digest import differences, digest
from flow_util import (Daemon, MNEMED, TMP, SLOW, Tap, mneme, records,
                       write_lines)

ALL = "SOAK" in os.environ
FAULTS = int(os.environ.get("SOAK_FAULTS", "20"))
SECONDS = float(os.environ.get("SOAK_SECONDS", "0")) or float("inf")
SEED = int(os.environ.get("SOAK_SEED", "0")) or random.randrange(1, 1 << 30)
LINES = 180  # of the stream that has grown
PRELOAD = os.path.join(os.path.dirname(MNEMED), "..", "tests", "tools",
                       "fault_preload.so")
# What a last line says. SQLite has words of its own, and where it cannot open a
# file for writing it tries without, and names what it could not do then.
SQLITE = ("disk I/O error", "unable to open database file",
          "attempt to write a readonly database", "not writable")
CAUSES = {"ENOSPC": ("No space left on device", "disk is full", *SQLITE),
          "EIO": ("Input/output error", *SQLITE)}
tap = Tap()


# --- a fault --------------------------------------------------------------

Fault = collections.namedtuple("Fault", "errno at lasts")


def plain_env():
    return dict(os.environ, MNEME_CONF=os.devnull)


def faulty(where, fault, log, after=None):
    """The environment in which it happens below a directory."""
    env = dict(plain_env(), LD_PRELOAD=PRELOAD,
               MNEME_FAULT_DIR=where, MNEME_FAULT_LOG=log,
               MNEME_FAULT_ERRNO=fault.errno, MNEME_FAULT_AT=str(fault.at))
    if fault.lasts:
        env["MNEME_FAULT_LASTS"] = "yes"
    if after:
        env["MNEME_FAULT_AFTER"] = after
    return env


def operations(log):
    """[[operation, path, "room" and "fails" where it is so]]"""
    if not os.path.exists(log):
        return []
    with open(log) as f:
        return [line.split() for line in f]


def failed_at(log):
    """What failed first, or None: it did not come to that."""
    return next((f"{row[0]} of {os.path.basename(row[1])}"
                 for row in operations(log) if "fails" in row), None)


def kind_of(path):
    """Its name, whichever version it is of."""
    return re.sub(r"\d+$", "N", os.path.basename(path))


def choose(counted, errno, rng):
    """Numbers of operations, so that each kind comes before one comes twice."""
    kinds = collections.defaultdict(list)
    rows = [r for r in counted if errno == "EIO" or "room" in r]
    for n, row in enumerate(rows, 1):
        kinds[row[0], kind_of(row[1])].append(n)
    for numbers in kinds.values():
        rng.shuffle(numbers)
    order = sorted(kinds)
    rng.shuffle(order)
    while order:
        for kind in order:
            yield kinds[kind].pop()
        order = [kind for kind in order if kinds[kind]]


# --- a daemon -------------------------------------------------------------

def daemon(name, path, **more):
    settings = dict(source__type="file", source__path=path,
                    source__at_end="exit", learner__shards=2,
                    learner__threads=1, publish__every_seconds=0,
                    publish__every_tokens=1000, publish__keep__newest=2,
                    publish__keep__hourly=0, publish__keep__daily=0,
                    learner__ewc__consolidate="every:5",
                    learner__replay__capacity=100)
    settings.update(more)
    return Daemon(name, **settings)


def end_of(d, seconds=60):
    """The exit status of a process that is to end."""
    try:
        code = d.process.wait(seconds * SLOW)
    except subprocess.TimeoutExpired:
        d.process.kill()
        d.process.wait()
        code = "it hangs"
    d.process = None
    return code


def asked_to_end(d):
    if d.process.poll() is None:
        d.process.send_signal(signal.SIGTERM)
    return end_of(d)


def in_time(d, condition, seconds):
    """Is it met before the daemon ends?"""
    end = time.monotonic() + seconds * SLOW
    while time.monotonic() < end and d.process.poll() is None:
        try:
            if condition():
                return True
        except (OSError, KeyError, TypeError, http.client.HTTPException):
            pass
        time.sleep(0.05)
    return False


# --- what is asked of it --------------------------------------------------

def names_cause(text, fault):
    return any(cause in text for cause in CAUSES[fault.errno])


def wrong_end(d, fault, code, held):
    """What is wrong with how it ended, or None."""
    with open(d.log, errors="replace") as f:
        text = f.read()
    last = [x for x in text.splitlines() if x.startswith("mnemed: ")]
    if code == 0 and held and not names_cause(text, fault):
        return "it waits, and does not say for what"
    if code == 0:
        return f"exit 0 after {last}" if last else None
    if code != 1:
        return f"exit {code}"
    if len(last) != 1 or d.dir not in last[0] or \
            not names_cause(last[0], fault):
        return f"one line with a file and a cause: {last}"
    return None


def not_whole(data):
    """What mneme verify says against it, or None."""
    where = os.path.join(data, "versions")
    code, out, err = mneme("verify", "--all", data=data)
    if code == 0 or "DAMAGED" not in out and not (
            os.path.isdir(where) and any(map(str.isdigit,
                                             os.listdir(where)))):
        return None
    return f"verify: exit {code}: {out} {err}"


def other_mode(data):
    """Readers wait for nobody only where there is a write-ahead log."""
    with open(os.path.join(data, "mneme.db"), "rb") as f:
        mode = f.read(20)[18:]
    return None if mode == b"\2\2" else f"not in WAL mode: {mode}"


def left_over(data):
    found = [v for v in os.listdir(os.path.join(data, "versions"))
             if not v.isdigit() and not v.startswith(".swept-")]
    found += [f for f in os.listdir(data) if f.endswith((".tmp", "-journal"))]
    return f"left over: {found}" if found else None


def different(data, act):
    found = differences(act.whole, digest(data, act.keys))
    return f"different: {found}" if found else None


# --- the acts -------------------------------------------------------------

class Act:
    """An act on a data directory of its own, under a fault.

    data: what it begins with, or None. do() returns the outcome, and what is
    wrong or None.
    """
    keys = True

    def __init__(self, path, data=None):
        self.path = path
        self.data = data
        self.whole = None
        d, _, wrong = self.under(Fault("EIO", 0, False), "count")
        if wrong:
            raise RuntimeError(f"{self.name}: {wrong}")
        self.counted = operations(d.log_of_faults)
        self.whole = digest(d.data, self.keys)

    def under(self, fault, name):
        d = daemon(f"{self.name}-{name}-{fault.errno}", self.path)
        if self.data:
            shutil.copytree(self.data, d.data)
        d.log_of_faults = os.path.join(d.dir, "operations")
        return d, *self.do(d, fault)

    def one(self, number, fault):
        """(what failed, the outcome, what is wrong or None)"""
        d, outcome, wrong = self.under(fault, number)
        what = failed_at(d.log_of_faults)
        wrong = wrong or not_whole(d.data) or self.wrong_afterwards(d)
        if not wrong:
            shutil.rmtree(d.dir)
        return what, outcome if what else "not met", wrong

    def wrong_afterwards(self, d):
        """A start on a good disk: it comes to the end that was wanted."""
        d.env = plain_env()
        code = d.run()
        if code:
            return f"a start without the fault: exit {code}"
        return different(d.data, self) or not_whole(d.data) or \
            left_over(d.data)


class First(Act):
    name = "first"

    def do(self, d, fault):
        d.env = faulty(d.data, fault, d.log_of_faults)
        d.start(wait=None)
        held = False
        if fault.lasts and in_time(
                d, lambda: failed_at(d.log_of_faults), 60):
            # On a full disk it may wait for ever.
            held = not in_time(d, lambda: False, 2) and d.process.poll() is None
        code = asked_to_end(d) if held else end_of(d)
        wrong = wrong_end(d, fault, code, held)
        if not wrong and code == 0:
            wrong = other_mode(d.data)
        if not wrong and code == 0 and not held and self.whole:
            wrong = different(d.data, self)
        return "ended" if code else "held" if held else "went on", wrong


class More(First):
    name = "more"


class Rollback(Act):
    name = "rollback"
    keys = False

    def do(self, d, fault):
        flag = os.path.join(d.dir, "now")
        d.env = faulty(d.data, fault, d.log_of_faults, flag)
        d.start(source__at_end="serve", publish__keep__newest=9)
        d.until(lambda: d.status()["state"] == "waiting", "its end")
        # Where the stream had ended before it grew: what is learned from there
        # does not depend on whether it went back.
        version = max(map(int, os.listdir(os.path.join(self.data,
                                                       "versions"))))
        write_lines(flag, [])
        done = self.go_back(d, version)
        in_time(d, lambda: self.is_settled(d), 30)
        code = asked_to_end(d)
        wrong = wrong_end(d, fault, code, False)
        if done["state"] == "failed" and not names_cause(done["detail"],
                                                         fault):
            wrong = f"no cause: {done}"
        return "ended" if code else done["state"], wrong

    def go_back(self, d, version):
        """The operation, as far as the daemon lives to tell."""
        found = {"state": "unknown"}

        def finished():
            found.update(d.get(f"/v1/operations/{body['operation']}")[1])
            return found["state"] in ("done", "failed")
        try:
            status, body = d.post("/v1/rollback", {"version": version})
        except (OSError, http.client.HTTPException):
            return found
        if status != 202:
            return {"state": "failed", "detail": json.dumps(body)}
        in_time(d, finished, 30)
        return found

    @staticmethod
    def is_settled(d):
        s = d.status()
        head = d.get(f"/v1/versions/{s['head_version']}")[1]
        return s["state"] == "paused" or (
            s["records"]["consumed"] == LINES and head["step"] == s["step"])


class Backup(Act):
    """Under its target: the daemon's own directory stays as it is."""
    name = "backup"

    def do(self, d, fault):
        target = os.path.join(d.dir, "backup")
        code, _, err = mneme(
            "backup", target, data=d.data,
            env=faulty(target, fault, d.log_of_faults))
        if code == 0:
            return "went on", not_whole(target) or self.wrong_restored(target, d)
        if not names_cause(err, fault) or target not in err:
            return "failed", f"exit {code}, no file and cause: {err}"
        if os.path.exists(target):
            return "failed", self.wrong_restored(target, d, may_refuse=True)
        return "failed", None

    def wrong_restored(self, target, d, may_refuse=False):
        """One that failed when all of it was there, and its sums, is as good as
        any other; and what is not all there is refused."""
        restored = os.path.join(d.dir, "restored")
        code, _, err = mneme("restore", target, data=restored)
        if code:
            return None if may_refuse else f"restore: exit {code}: {err}"
        return self.whole and different(restored, self)

    def wrong_afterwards(self, d):
        return different(d.data, self)


# --- all of it ------------------------------------------------------------

def begun(path, lines):
    """A data directory with some versions, learned in three starts."""
    d = daemon("begun", path)
    for part in (3, 2, 1):
        write_lines(path, lines[:len(lines) // part])
        if d.run():
            raise RuntimeError(d.tail())
    return d.data


def unheard(counted):
    """Operations that ought to be there: a name that is not intercepted never
    fails."""
    wanted = {("open", "mneme.db"), ("pwrite", "mneme.db-wal"),
              ("fdatasync", "mneme.db-wal"), ("mmap", "mneme.db-shm"),
              ("unlink", "http.addr"), ("write", "model.safetensors"),
              ("fsync", "state.safetensors"), ("mkdir", ".new-N"),
              ("rename", "N"), ("rmdir", "N")}
    return wanted - {(row[0], kind_of(row[1])) for row in counted}


def cases(acts, rng):
    """Of all acts and kinds of fault in turn."""
    def of(act, errno, lasts):
        for n in choose(act.counted, errno, rng):
            yield act, Fault(errno, n, lasts)
    lists = [of(act, errno, lasts) for act in acts for errno in CAUSES
             for lasts in (False, True)]
    rng.shuffle(lists)
    while lists:
        for one in list(lists):
            case = next(one, None)
            if case:
                yield case
            else:
                lists.remove(one)


def try_all(acts, rng):
    began = time.monotonic()
    outcomes = collections.Counter()
    some = itertools.islice(cases(acts, rng), None if ALL else FAULTS)

    def one(job):
        number, (act, fault) = job
        if time.monotonic() - began > SECONDS:
            return None
        try:
            return act, fault, *act.one(number, fault)
        except Exception:
            return act, fault, "?", "?", traceback.format_exc()

    # More at once than there are processors: those on a full disk wait.
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for result in pool.map(one, enumerate(some)):
            if result:
                report(*result, outcomes)
    tap.note(f"{sum(outcomes.values())} faults in "
             f"{time.monotonic() - began:.0f} s: {dict(outcomes)}")


def report(act, fault, what, outcome, wrong, outcomes):
    outcomes[act.name, outcome] += 1
    tap.ok(not wrong, f"{act.name}: {fault.errno} "
           f"{'from' if fault.lasts else 'at'} {fault.at}, {what}: {outcome}")
    if wrong:
        tap.note(str(wrong).replace("\n", "\n# "))


def main():
    rng = random.Random(SEED)
    tap.note(f"SOAK_SEED={SEED} SOAK_FAULTS={'all' if ALL else FAULTS}")
    short = write_lines(os.path.join(TMP, "short.jsonl"),
                        records("workshop", 30))
    path = os.path.join(TMP, "records.jsonl")
    data = begun(path, records("harbour", LINES - 30))
    wanted = os.environ.get("SOAK_ACTS", "first more rollback backup").split()
    acts = [Backup(path, data)] if "backup" in wanted else []
    write_lines(path, records("harbour", LINES - 30) +
                records("orchard", 30))
    acts += [act(*arguments) for act, *arguments in (
        (First, short), (More, path, data), (Rollback, path, data))
        if act.name in wanted]
    for act in acts:
        tap.note(f"{act.name}: {len(act.counted)} operations, "
                 f"{sum('room' in row for row in act.counted)} take room")
        if act.name == "more":
            tap.equal(unheard(act.counted), set(),
                      "operations of all kinds count")
    try_all(acts, rng)
    tap.exit()


main()
