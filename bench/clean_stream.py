#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counts false alarms of the gate on a clean stream that changes slowly.

    bench/clean_stream.py --mnemed build/daemon/mnemed --texts DIR
        [--versions N] [--seed N] [--in-turn]

DIR has a folder of plain text files for each domain. The stream has paragraphs
of the domains in a random order; the last domain begins after a third of the
versions. With --in-turn, one domain follows the other. A version comes about
every 2,000 tokens. Build the daemon with CPPFLAGS=-DPUBLISH_SHARE=0.6, so that
it can make a thousand versions in a quarter of an hour. Prints the numbers of
verdicts, the versions that failed, the longest stretch without a promotion,
automatic rollbacks, and the largest evidence of the shadow comparison.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "tests", "flows"))
AHEAD = 30  # records


def paragraphs(folder, seed, limit=6_000_000):
    """The distinct paragraphs of 80 to 600 bytes."""
    found, size = {}, 0
    names = [os.path.join(top, name) for top, _, files in os.walk(folder)
             for name in sorted(files)]
    random.Random(1).shuffle(names)
    for name in names:
        try:
            with open(name, encoding="utf-8") as f:
                text = f.read(60000)
        except (OSError, UnicodeDecodeError):
            continue
        for part in text.split("\n\n"):
            part = part.strip()
            if 80 < len(part) < 600 and part not in found:
                found[part] = True
                size += len(part)
        if size > limit:
            break
    texts = list(found)
    random.Random(seed).shuffle(texts)
    return texts


class Stream:
    def __init__(self, folder, seed, in_turn):
        self.in_turn = in_turn
        self.names = sorted(os.listdir(folder))
        self.texts = {n: paragraphs(os.path.join(folder, n), seed)
                      for n in self.names}
        self.at = {n: 0 for n in self.names}
        self.rng = random.Random(seed)

    def name(self, share):
        """The next domain; share: of the versions that are done."""
        if self.in_turn:
            return self.names[min(int(share * len(self.names)),
                                  len(self.names) - 1)]
        return self.rng.choice(self.names if share > 1 / 3
                               else self.names[:-1])

    def line(self, share):
        name = self.name(share)
        texts, at = self.texts[name], self.at[name]
        self.at[name] += 1
        again = f" {at}" if at >= len(texts) else ""
        return json.dumps({"text": texts[at % len(texts)] + again,
                           "domain": name}) + "\n"


def run(daemon, path, stream, versions, seconds):
    """Sends records until there are `versions` versions; returns them."""
    seen, written, rows = 0, 0, []
    end = time.monotonic() + seconds
    with open(path, "a") as f:
        while seen < versions and time.monotonic() < end:
            waiting = written - daemon.status()["records"]["consumed"]
            if waiting < AHEAD:
                f.write("".join(stream.line(seen / versions)
                                for _ in range(25)))
                f.flush()
                written += 25
            new = daemon.get("/v1/versions?limit=6")[1]["versions"]
            for v in reversed(new):
                if v["version"] > seen and v["gate"]:
                    seen = v["version"]
                    rows.append(v)
            time.sleep(0.02)
    return rows


def report(rows, status):
    counts, stretch, longest, evidence = {}, 0, 0, 0.0
    for v in rows:
        verdict = v["gate"]["verdict"]
        counts[verdict] = counts.get(verdict, 0) + 1
        stretch = 0 if verdict == "pass" else stretch + 1
        longest = max(longest, stretch)
        shadow = v["gate"].get("shadow")
        if shadow:
            evidence = max(evidence, shadow["evidence_at_once"])
        if verdict != "pass":
            print(f"version {v['version']}, {verdict}: {v['gate']['reason']}")
    print(f"versions {len(rows)}: {counts}")
    print(f"longest stretch without a promotion: {longest} versions")
    print(f"automatic rollbacks: {status['publish']['automatic_rollbacks']}")
    print(f"largest evidence for going back: {evidence:.2f} (enough: 6.91)")


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--mnemed", required=True)
    p.add_argument("--texts", required=True, metavar="DIR")
    p.add_argument("--versions", type=int, default=1000)
    p.add_argument("--seed", type=int, default=5, help="of the order")
    p.add_argument("--in-turn", action="store_true",
                   help="one domain after the other")
    p.add_argument("--seconds", type=float, default=3600)
    a = p.parse_args()
    os.environ["MNEMED"] = os.path.abspath(a.mnemed)
    folder = tempfile.mkdtemp(prefix="mneme-clean-")
    os.environ["MNEME_TEST_TMP"] = folder
    from flow_util import Daemon, write_lines
    path = write_lines(os.path.join(folder, "in.jsonl"), [])
    daemon = Daemon("d", source__type="file", source__path=path,
                    source__follow="true", learner__flush_seconds=0,
                    learner__batch_tokens=512, learner__threads=1,
                    publish__every_seconds=0, publish__every_tokens=2000,
                    publish__gate__max_tokens=8192,
                    publish__keep__newest=6, publish__keep__hourly=0,
                    publish__keep__daily=0).start()
    rows = run(daemon, path, Stream(a.texts, a.seed, a.in_turn), a.versions,
               a.seconds)
    report(rows, daemon.status())
    daemon.stop()


main()
