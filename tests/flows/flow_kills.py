#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kill -9 at random moments, again and again: the bytes of a run without.

SOAK_KILLS (50) kills over a file source, with 1 to 4 threads; whenever the
file has been learned to its end, the data directory is compared with that of
an uninterrupted run - weights, optimizer, Fisher and anchor, class head, replay
index and rows, counters - and the next one begins. SOAK_SECONDS (none) ends it
sooner, SOAK_SEED (random) repeats its times.
"""

import os
import random
import shutil
import signal
import subprocess
import time

from digest import differences, digest
from flow_util import Daemon, TMP, Tap, mneme, records, write_lines

KILLS = int(os.environ.get("SOAK_KILLS", "50"))
SECONDS = float(os.environ.get("SOAK_SECONDS", "0")) or float("inf")
SEED = int(os.environ.get("SOAK_SEED", "0")) or random.randrange(1, 1 << 30)
N = 400  # enough for a consolidation


def labelled(lines):
    """Every third record has a label: the class head learns, too."""
    return [line[:-1] + ', "label": "%s"}' % ("ab"[i % 2]) if i % 3 == 0
            else line for i, line in enumerate(lines)]


class Round:
    """One data directory, from nothing to the end of the file."""

    def __init__(self, i, rng, settings):
        self.d = Daemon(f"round-{i}", **settings)
        self.rng = rng
        self.kills = 0
        self.ended = False
        self.seconds = 0.3  # how long the next one lives, at most

    def kill_once(self):
        """Starts it and kills it, unless it comes to the end before that."""
        env = dict(os.environ, MNEME_CONF=os.devnull)
        with open(self.d.log, "ab") as log:
            p = subprocess.Popen(
                self.d.command(learner__threads=self.rng.randrange(1, 5)),
                stderr=log, stdout=subprocess.DEVNULL, env=env,
                cwd=self.d.dir)
        try:
            code = p.wait(self.rng.uniform(0, self.seconds))
            if code:
                raise RuntimeError(f"exit {code}\n{self.d.tail()}")
            self.ended = True
        except subprocess.TimeoutExpired:
            p.send_signal(signal.SIGKILL)
            p.wait()
            self.kills += 1
            # Some progress has to be possible in the end.
            self.seconds = min(self.seconds * 1.15, 20)

    def to_the_end(self):
        while not self.ended:
            self.seconds = 120
            self.kill_once()


def compare(tap, r, whole):
    different = differences(whole, digest(r.d.data))
    good = mneme("verify", "--all", data=r.d.data)[0] == 0
    tap.ok(good and not different,
           f"killed {r.kills} times: the same bytes, nothing damaged")
    if different:
        tap.note(f"different: {different}, in {r.d.dir}")
    else:
        shutil.rmtree(r.d.dir)
    return good and not different


def main():
    tap = Tap()
    rng = random.Random(SEED)
    tap.note(f"SOAK_SEED={SEED} SOAK_KILLS={KILLS}")
    path = write_lines(os.path.join(TMP, "records.jsonl"),
                       labelled(records("harbour", N // 2) +
                                records("orchard", N // 2)))
    settings = dict(source__type="file", source__path=path, learner__shards=2,
                    source__at_end="exit", publish__every_seconds=0,
                    publish__every_tokens=2000, publish__keep__newest=3,
                    publish__keep__hourly=0, publish__keep__daily=0,
                    learner__ewc__consolidate="every:20",
                    learner__replay__capacity=150)
    one = Daemon("uninterrupted", **settings)
    tap.equal(one.run(), 0, "a run without kills")
    whole = digest(one.data)
    tap.ok(whole["anchor"], "it has consolidated: Fisher and anchor")
    began = time.monotonic()
    kills = i = 0
    while kills < KILLS and time.monotonic() - began < SECONDS:
        r = Round(i, rng, settings)
        while (not r.ended and kills + r.kills < KILLS and
               time.monotonic() - began < SECONDS):
            r.kill_once()
        r.to_the_end()
        if not compare(tap, r, whole):
            break
        kills += r.kills
        i += 1
    tap.note(f"{kills} kills in {i} runs, "
             f"{time.monotonic() - began:.0f} s")
    tap.exit()


main()
