#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""drift.py - compares drift detectors on the losses of a stream.

    bench/drift.py [--shuffled LOSSES] [--period N] [--horizon 400] LOSSES
    bench/drift.py --check

LOSSES is the output of bench/bench_drift. A shift is where another file
begins; with --period, it is each N-th record. A shift is found when an alarm
follows within --horizon records; the delay is counted in records. All other
alarms are `other`: alarms while nothing is known to change, or a second one
after a shift. --shuffled names the losses of the same records in random order:
each alarm on them is false.

Detectors, each on the loss in bits per byte (a rise is worse):
  page-hinkley  daemon/intake/drift.h: blocks of 256 bytes
  adwin         Bifet and Gavalda 2007, ADWIN2 with their bound from the
                variance, M = 5; losses are cut at 8 bits per byte. A cut at
                which the loss rises is an alarm, unless the last one is less
                than 16 KiB away: a window shrinks in many cuts.
  every n       no detector: an alarm every n records. n gives it as many
                alarms as page-hinkley has on LOSSES.

--check compares ADWIN with a plain one, which tries all cuts of its window.
"""

import argparse
import math
import random
import statistics


def read(path):
    """[(file, record, bytes, nats)], and the records of alarm lines"""
    rows, alarms = [], []
    for line in open(path):
        word = line.split()
        if word[0] == "#":
            if word[1] == "alarm":
                alarms.append(int(word[2]))
        else:
            rows.append((int(word[0]), int(word[1]), int(word[2]),
                         float(word[3])))
    return rows, alarms


def blocks(rows, block_bytes):
    """(last record, bits per byte) of blocks of at least block_bytes"""
    size = nats = 0
    for _, record, n_bytes, loss in rows:
        size += n_bytes
        nats += loss
        if size >= block_bytes:
            yield record, nats / size / math.log(2)
            size = nats = 0


class PageHinkley:
    def __init__(self, alarm=16.0, memory=128, least=16, slack=0.5, clip=4.0):
        self.settings = alarm, memory, least, slack, clip
        self.restart()

    def restart(self):
        self.n = self.mean = self.variance = self.sum = self.fall = 0

    def add(self, x):
        alarm, memory, least, slack, clip = self.settings
        deviation = max(math.sqrt(self.variance), 0.05)
        d = x - self.mean
        if self.n >= least:
            d = min(max(d, -clip * deviation), clip * deviation)
            self.sum = max(0, self.sum + d / deviation - slack)
            self.fall = max(0, self.fall - d / deviation - slack)
        if self.sum > alarm:
            self.restart()
            return True
        if self.fall > alarm:
            self.n = least
            self.sum = self.fall = 0
        self.n += 1
        w = 1 / min(self.n, memory)
        self.mean += w * d
        self.variance = (1 - w) * (self.variance + w * d * d)
        return False


class Adwin:
    M = 5
    SCALE = 8.0
    LEAST = 5  # values on either side of a cut

    def __init__(self, delta):
        self.delta = delta
        self.rows = [[]]  # rows[i]: sums of 2^i values, the oldest first
        self.n = 0
        self.total = self.squares = 0.0  # squares: of distances from the mean

    def add(self, x):
        x = min(x, self.SCALE) / self.SCALE
        if self.n:
            self.squares += ((x - self.total / self.n) ** 2 * self.n /
                             (self.n + 1))
        self.n += 1
        self.total += x
        self.rows[0].append((x, 0.0))
        self.compress()
        rose = False
        while (cut := self.find_cut()):
            rose = rose or cut[1] > cut[0]
            self.drop()
        return rose

    def compress(self):
        i = 0
        while len(self.rows[i]) > self.M:
            (a, sa), (b, sb) = self.rows[i][:2]
            size = 1 << i
            del self.rows[i][:2]
            if i + 1 == len(self.rows):
                self.rows.append([])
            self.rows[i + 1].append(
                (a + b, sa + sb + (a / size - b / size) ** 2 * size / 2))
            i += 1

    def drop(self):
        """Removes the oldest bucket."""
        size = 1 << (len(self.rows) - 1)
        total, squares = self.rows[-1].pop(0)
        left = self.n - size
        rest = (self.total - total) / left
        self.squares -= squares + size * left / self.n * (
            total / size - rest) ** 2
        self.n = left
        self.total -= total
        while len(self.rows) > 1 and not self.rows[-1]:
            self.rows.pop()

    def differ(self, n0, sum0):
        """(mean before, mean after) when they differ, or None"""
        n1 = self.n - n0
        if n0 < self.LEAST or n1 < self.LEAST:
            return None
        log = math.log(2 * math.log(self.n) / self.delta)
        m = 1 / (1 / n0 + 1 / n1)
        bound = (math.sqrt(2 / m * max(self.squares / self.n, 0) * log) +
                 2 / 3 / m * log)
        before, after = sum0 / n0, (self.total - sum0) / n1
        return (before, after) if abs(before - after) > bound else None

    def find_cut(self):
        n0, sum0 = 0, 0.0
        for i in range(len(self.rows) - 1, -1, -1):
            for total, _ in self.rows[i]:
                n0 += 1 << i
                sum0 += total
                if (cut := self.differ(n0, sum0)):
                    return cut
        return None


class PlainAdwin(Adwin):
    """Keeps all values, and tries all cuts."""

    def __init__(self, delta):
        super().__init__(delta)
        self.values = []

    def add(self, x):
        self.values.append(min(x, self.SCALE) / self.SCALE)
        rose = False
        while True:
            self.n = len(self.values)
            self.total = math.fsum(self.values)
            self.squares = self.n * statistics.pvariance(self.values)
            cuts = [c for n0 in range(1, self.n) if
                    (c := self.differ(n0, math.fsum(self.values[:n0])))]
            if not cuts:
                return rose
            rose = rose or cuts[0][1] > cuts[0][0]
            del self.values[0]


def adwin_alarms(rows, delta):
    position, at = 0, {}
    for _, record, n_bytes, _ in rows:
        position += n_bytes
        at[record] = position
    alarms, last = [], -math.inf
    detector = Adwin(delta)
    for record, x in blocks(rows, 1):
        if detector.add(x):
            if at[record] - last > 16384:
                alarms.append(record)
            last = at[record]
    return alarms


def page_hinkley_alarms(rows):
    detector = PageHinkley()
    return [record for record, x in blocks(rows, 256) if detector.add(x)]


def every(n):
    return lambda rows: list(range(n - 1, rows[-1][1] + 1, n))


def shifts(rows, period):
    keys = [(record // period if period else file, record)
            for file, record, _, _ in rows]
    return [b[1] for a, b in zip(keys, keys[1:]) if a[0] != b[0]]


def score(alarms, where, n, horizon):
    """(delays of the shifts that were found, number of other alarms)"""
    delays = []
    for i, begin in enumerate(where):
        end = where[i + 1] if i + 1 < len(where) else n
        found = [a for a in alarms if begin <= a < min(end, begin + horizon)]
        delays += [found[0] - begin] if found else []
    return delays, len(alarms) - len(delays)


def compare(a):
    rows, from_c = read(a.losses)
    n = rows[-1][1] + 1
    where = shifts(rows, a.period)
    found = page_hinkley_alarms(rows)
    assert not from_c or from_c == found, "drift.c has other alarms"
    detectors = [("page-hinkley", page_hinkley_alarms),
                 ("adwin 0.1", lambda r: adwin_alarms(r, 0.1)),
                 ("adwin 0.002", lambda r: adwin_alarms(r, 0.002)),
                 (f"every {n // max(len(found), 1)}",
                  every(n // max(len(found), 1)))]
    print(f"{n} records, {len(where)} shifts")
    print("| detector | found | delay: median, worst | other | shuffled |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, detect in detectors:
        delays, other = score(detect(rows), where, n, a.horizon)
        delay = (f"{statistics.median(delays):g}, {max(delays)}"
                 if delays else "-")
        shuffled = len(detect(read(a.shuffled)[0])) if a.shuffled else "-"
        print(f"| {name} | {len(delays)} of {len(where)} | {delay} | {other} "
              f"| {shuffled} |")


def check():
    """The sums of the buckets are those of the window; and a step is found
    about when the plain one finds it, never earlier than it came."""
    for seed in range(20):
        rng = random.Random(seed)
        quick, plain = Adwin(0.01), PlainAdwin(0.01)
        values, first = [], {}
        for i in range(300):
            x = abs(rng.gauss(2 if i < 200 else 4.5, 0.4))
            values.append(min(x, 8) / 8)
            for name, detector in (("quick", quick), ("plain", plain)):
                if detector.add(x):
                    first.setdefault(name, i)
            window = values[-quick.n:]
            assert abs(quick.total - math.fsum(window)) < 1e-9
            assert abs(quick.squares / quick.n -
                       statistics.pvariance(window)) < 1e-9
        assert 200 <= first["plain"] <= first["quick"] <= 240, first
    print("ok")


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument("--check", action="store_true")
    p.add_argument("--shuffled")
    p.add_argument("--period", type=int, default=0)
    p.add_argument("--horizon", type=int, default=400)
    p.add_argument("losses", nargs="?")
    a = p.parse_args()
    if a.check:
        check()
    elif a.losses:
        compare(a)
    else:
        p.error("the losses are missing")


main()
