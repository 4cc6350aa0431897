#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The process keeps to the memory that it announces at its start, and waits for
descriptors when there are none.

A stream of thousands of domains and labels, each of them with few records,
takes most for each record: a logit for every label is kept with it.
"""

import json
import os
import re
import resource

from flow_util import Daemon, Tap, records, write_lines, TMP

NAMES = 10000
RECORDS = 12000


def lines():
    for i in range(3 * RECORDS):
        yield json.dumps({
            "text": f"record {i} tells of thing {i % 97} and of colour "
                    f"{i % 13} in a few plain words",
            "domain": f"domain-{i % NAMES}", "label": f"label-{i % NAMES}"})


def peak_mib(daemon):
    with open(f"/proc/{daemon.process.pid}/status") as f:
        return int(re.search(r"VmHWM:\s*(\d+)", f.read()).group(1)) >> 10


def memory(tap):
    path = write_lines(os.path.join(TMP, "names.jsonl"), lines())
    d = Daemon("names", source__type="file", source__path=path,
               model__preset="linear", model__max_domains=NAMES,
               model__max_labels=NAMES,
               filter__near_duplicate__enabled="false").start()
    with open(d.log) as f:
        announced = int(re.search(r"at_most_mib=(\d+)", f.read()).group(1))
    d.until(lambda: d.status()["records"]["consumed"] >= RECORDS,
            f"{RECORDS} records", 600)
    peak = peak_mib(d)
    tap.note(f"{peak} MiB used, {announced} announced")
    tap.ok(d.status()["records"]["quarantined"] == 0, "all are learned")
    tap.ok(peak <= announced, "no more memory than announced")
    d.stop()


def log_of(daemon):
    with open(daemon.log) as f:
        return f.read()


def descriptors(tap):
    """A publish that cannot open its files is made when it can."""
    path = write_lines(os.path.join(TMP, "few.jsonl"), records("harbour", 200))
    d = Daemon("few", source__type="file", source__path=path,
               source__follow="true", learner__flush_seconds=0.2).start()
    d.until(lambda: d.status()["records"]["consumed"] >= 200, "a version")
    head = d.status()["head_version"]
    pid = d.process.pid
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))
    with open(path, "a") as f:
        f.write("".join(line + "\n" for line in records("harbour", 100, 7)))
    d.until(lambda: "Too many open files" in log_of(d), "no descriptor")
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
    d.until(lambda: d.status()["records"]["consumed"] >= 300 and
            d.status()["head_version"] > head and
            d.status()["state"] != "paused", "a version after it")
    tap.ok("resume" in log_of(d), "it goes on when there are some")
    tap.ok(d.stop() == 0, "and ends well")


def main():
    tap = Tap()
    memory(tap)
    descriptors(tap)
    tap.exit()


main()
