#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Names that attack where they are shown, links that lead out, and no room.

Domains, labels, ids and texts of records stay data in the log, the metrics,
the JSON, the page and on the terminal. No link in the data directory makes
the daemon change a file elsewhere. Too little address space is one line and
exit 1.
"""

import json
import os
import re
import resource
import subprocess

from flow_util import (SMALLEST, Daemon, Tap, mneme, records, write_lines,
                       TMP)

RECORDS = 100
ESCAPE = "\x1b]0;owned\x07\x1b[2J\x1b[31m"
NAMES = {
    "terminal": "a" + ESCAPE + "\x9b31m\x7f\x08\r",
    "line": "b\n2026-01-01T00:00:00.000Z error fake text=1\nmneme_fake 1",
    "metric": 'c"} 7\nmneme_fake{domain="\\',
    "page": "d</script><img src=x onerror=alert(1)>",
    "format": "e%s%n%1000000d",
}
# A line feed ends a line, in the log and on a terminal.
CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
METRIC = re.compile(
    r'# (HELP|TYPE) (mneme|process)_\w+ .*'
    r'|(mneme|process)_\w+(\{(\w+="([^"\\\n]|\\["\\n])*",?)+\})? '
    r'[-+]?([0-9.]+(e[-+]?[0-9]+)?|Inf|NaN)')


def hostile_lines():
    lines = []
    for i, line in enumerate(records("harbour", RECORDS)):
        name = list(NAMES.values())[i % len(NAMES)]
        record = json.loads(line)
        record.update(domain=name, label=name, id=f"{name}{i}",
                      text=record["text"] + " " + name)
        lines.append(json.dumps(record))
    for name in NAMES.values():
        lines.append(json.dumps({"text": 7, "domain": name, "id": name}))
        lines.append(json.dumps({"text": "x" * 20000 + name, "id": name}))
    return lines


def shown_as_data(tap):
    path = write_lines(os.path.join(TMP, "hostile.jsonl"), hostile_lines())
    d = Daemon("hostile", source__type="file", source__path=path,
               source__format="json", source__max_record_bytes=8192,
               log__level="debug", **SMALLEST).start()
    d.until_consumed(RECORDS + 2 * len(NAMES))
    d.until(lambda: len(d.get("/v1/quarantine")[1]["quarantine"]) >=
            2 * len(NAMES), "the quarantine's list", 60)
    in_status(tap, d)
    in_metrics(tap, d)
    on_the_page(tap, d)
    on_the_terminal(tap, d)
    tap.equal(d.stop(), 0, "and it stops as ever")
    in_the_log(tap, d.log)


def in_status(tap, d):
    domains = {x["domain"] for x in d.status()["domains"]}
    tap.ok(set(NAMES.values()) <= domains, "the status has them as they came")


def in_metrics(tap, d):
    text = d.get("/metrics")[1]
    wrong = [x for x in text.split("\n") if x and not METRIC.fullmatch(x)]
    tap.equal(wrong[:3], [], "every line of the metrics is one")
    tap.ok("\nmneme_fake" not in text, "and none is forged")


def on_the_page(tap, d):
    page = d.get("/")[1]
    tap.ok("main.js" in page and "onerror" not in page and
           "<script>" not in page, "the page has no text of a record in it")
    files = {"main.js"}
    code = {}
    while files - set(code):
        name = (files - set(code)).pop()
        code[name] = d.get("/page/" + name)[1]
        files.update(re.findall(r'from "\./(\w+\.js)"', code[name]))
    parsers = re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|"
                         r"document\.write|\beval\(|new Function|srcdoc",
                         page + "".join(code.values()))
    tap.equal((len(code) > 5, parsers), (True, []),
              "and its script parses none")


def on_the_terminal(tap, d):
    rows = d.get("/v1/quarantine")[1]["quarantine"]
    version = d.status()["head_version"]
    for words in (["status"], ["versions"], ["show", str(version)],
                  ["diff", str(version - 1), str(version)], ["history"],
                  ["ranges"], ["quarantine"],
                  *[["quarantine", "show", str(x["id"])] for x in rows],
                  ["classify", NAMES["terminal"]],
                  ["score", NAMES["terminal"]],
                  ["generate", NAMES["terminal"], "--max-tokens", "8"],
                  ["forget", "--domain", NAMES["terminal"] + "?"],
                  ["show", NAMES["terminal"]], [NAMES["terminal"]]):
        _, out, err = mneme(*words, data=d.data)
        found = CONTROLS.findall(out.replace("\t", "") + err)
        shown = " ".join(words).encode("ascii", "replace").decode()
        forged = [x for x in out.split("\n") + err.split("\n")
                  if x.startswith(("2026-01-01", "mneme_fake"))]
        tap.equal(found[:5] + forged, [], "mneme " + CONTROLS.sub("?", shown))


def in_the_log(tap, path):
    with open(path, encoding="utf-8", errors="surrogateescape",
              newline="\n") as f:
        lines = f.read().split("\n")
    wrong = [x for x in lines if x and (
        not re.match(r"20\d\d-\d\d-\d\dT[0-9:.]+Z \w+ \w+", x) or
        CONTROLS.search(x) or " error fake" in x[:40])]
    tap.equal(wrong[:3], [], "every line of the log is one")


# --- links in the data directory --------------------------------------------

def contents(top):
    found = {}
    for folder, _, names in os.walk(top):
        for name in names:
            with open(os.path.join(folder, name), "rb") as f:
                found[os.path.join(folder, name)] = f.read()
    return found


def links(tap):
    """What an attacker with write access to some names could put there."""
    path = write_lines(os.path.join(TMP, "plain.jsonl"),
                       records("orchard", 60))
    outside = os.path.join(TMP, "outside")
    os.makedirs(outside)
    for name in ("metadata.json", "model.safetensors", "victim", "pid"):
        write_lines(os.path.join(outside, name), ["do not touch", name])
    before = contents(outside)
    d = Daemon("links", source__type="file", source__path=path,
               **SMALLEST).start()
    d.until_consumed(60)
    newest = d.status()["head_version"]
    d.stop()
    for n, name in ((newest + 50, "%d"), (newest + 51, ".new-%d")):
        os.symlink(outside, os.path.join(d.data, "versions", name % n))
    for name in ("http.addr", "http.addr.tmp", "CURRENT.tmp"):
        try:
            os.unlink(os.path.join(d.data, name))
        except FileNotFoundError:
            pass
        os.symlink(os.path.join(outside, "victim"),
                   os.path.join(d.data, name))
    code = subprocess.run(d.command(source__at_end="exit"), env=d.env,
                          stderr=open(d.log, "ab"), timeout=120).returncode
    tap.equal(code, 0, "a start among links ends in order")
    tap.equal(contents(outside), before, "nothing outside is changed")


# --- address space ----------------------------------------------------------

def no_room(tap):
    path = write_lines(os.path.join(TMP, "room.jsonl"), records("orchard", 9))
    d = Daemon("room", source__type="file", source__path=path,
               source__at_end="exit", learner__threads=2)
    env = {k: v for k, v in d.env.items() if k != "OPENBLAS_NUM_THREADS"}
    for mib in (200, 400):
        limit = mib << 20
        r = subprocess.run(
            d.command(), env=env, capture_output=True, text=True, timeout=300,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS,
                                                  (limit, limit)))
        said = [x for x in r.stderr.splitlines() if x.startswith("mnemed:")]
        tap.ok(r.returncode == 1 and len(said) == 1 and "ulimit -v" in said[0],
               f"{mib} MiB of address space: one line and exit 1")
        if r.returncode != 1:
            tap.note(f"exit {r.returncode}: {r.stderr[-500:]}")


def main():
    tap = Tap()
    shown_as_data(tap)
    links(tap)
    if not os.environ.get("MNEME_SANITIZED"):
        no_room(tap)
    tap.exit()


main()
