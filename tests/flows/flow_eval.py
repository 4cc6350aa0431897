#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""mneme eval: files as a stream of domains, and the versions of a store.

The figures of a report against its own matrix, worked out here again; the same
report with one process and with two; the drawing as XML; files that cannot be
used; a store of an older program, a daemon that runs, and one that has stopped.
"""

import gzip
import json
import os
import re
import tarfile
import xml.etree.ElementTree as ET

from flow_util import Daemon, SMALLEST, TMP, Tap, mneme, records, write_lines

HERE = os.path.dirname(os.path.abspath(__file__))

# Tiny, and quick also on a busy machine.
TINY = []
for key, value in SMALLEST.items():
    TINY += ["--set", f"{key.replace('__', '.')}={value}"]
TINY += ["--set", "model.tokenizer=bytes", "--set", "learner.batch_tokens=256"]


def path(name):
    return os.path.join(TMP, name)


def near(a, b):
    return abs(a - b) < 1e-9


def without_costs(report):
    """Seconds and memory are not the same twice."""
    for arm in report["arms"]:
        for group in ("mean", "least", "most"):
            for key in ("seconds", "measuring_seconds", "peak_mib"):
                del arm[group][key]
        for run in arm["runs"]:
            del run["cost"]
    return report


def load(name):
    with open(path(name), encoding="utf-8") as f:
        return json.load(f)


def files():
    """Three domains: JSON Lines, compressed JSON Lines, plain text."""
    names = []
    for domain in ("harbour", "orchard", "workshop"):
        lines = records(domain, 80)
        name = path(f"{domain}.jsonl")
        if domain == "orchard":
            name += ".gz"
            with gzip.open(name, "wt") as f:
                f.write("".join(line + "\n" for line in lines))
        elif domain == "workshop":
            name = write_lines(path("workshop.txt"),
                               [json.loads(line)["text"] for line in lines])
        else:
            write_lines(name, lines)
        names.append(name)
    return names


def a_report(tap, names):
    code, out, err = mneme("eval", *TINY, "--seeds", "2", "--arms",
                           "none,both,joint", "--jobs", "2", "--out",
                           path("two.json"), "--svg", path("two.svg"), *names)
    tap.ok(code == 0 and err == "", "eval plays three files")
    if code:
        tap.note(err)
        return
    report = load("two.json")
    tap.equal([d["name"] for d in report["domains"]],
              ["harbour", "orchard", "workshop"], "a domain for each file")
    tap.equal([(a["arm"], len(a["runs"])) for a in report["arms"]],
              [("none", 2), ("both", 2), ("joint", 2)], "arms and seeds")
    good = True
    for arm in report["arms"]:
        for run in arm["runs"]:
            a, m = run["matrix"], run["measures"]
            last = len(a) - 1
            good &= near(m["final_mean"], sum(a[last]) / len(a))
            good &= near(m["newest"], a[last][last])
            if arm["arm"] == "joint":
                good &= m["forgetting"] is None
                continue
            good &= near(m["backward_transfer"],
                         sum(a[j][j] - a[last][j] for j in range(last)) / last)
            good &= near(m["forgetting"],
                         sum(a[last][j] - min(a[i][j] for i in range(last))
                             for j in range(last)) / last)
            good &= near(m["worst_unseen"],
                         max(run["start"] + [a[i][j] for j in range(len(a))
                                             for i in range(j)]))
    tap.ok(good, "each run's measures are those of its matrix")
    for k in range(2):
        none, both, joint = (a["runs"][k]["measures"]["final_mean"]
                             for a in report["arms"])
        tap.ok(near(report["arms"][1]["runs"][k]["measures"]["retention"],
                    (none - both) / (none - joint)), f"retention, seed {k}")
    tap.ok("FORGETTING" in out and "harbour" in out and
           out.count("(before any)") == 3, "the tables")
    root = ET.parse(path("two.svg")).getroot()
    tap.ok(root.tag.endswith("svg") and not root.findall(".//{*}script") and
           len(root.findall(".//{*}path")) > 12, "the drawing is XML")
    code, out, err = mneme("eval", *TINY, "--seeds", "2", "--arms",
                           "none,both,joint", "--jobs", "1", "--json", "--out",
                           path("one.json"), *names)
    tap.ok(code == 0 and json.loads(out)["arms"], "--json")
    tap.equal(without_costs(load("one.json")), without_costs(report),
              "one process and two: the same report")


def example(tap):
    """The example of the help, with less text."""
    help_ = " ".join(mneme("help", "eval", code=0)[1].split())
    line = re.search(r"mneme (eval --preset[^.]*\.svg [^.]*\.jsonl "
                     r"[^.]*\.jsonl)", help_).group(1).split()
    for name, domain in (("news.jsonl", "harbour"), ("logs.jsonl", "orchard")):
        write_lines(path(name), records(domain, 60))
    here = os.getcwd()
    os.chdir(TMP)
    code, out, err = mneme(*line, "--bytes", "4000")
    os.chdir(here)
    tap.ok(code == 0 and ET.parse(path("eval.svg")) and
           re.search(r"^joint +[0-9.]+ ", out, re.M), "the example of the help")
    if code:
        tap.note(err)


def orders(tap, names):
    mixed = write_lines(path("mixed.jsonl"), [
        json.dumps(dict(json.loads(line), ts=i * 1000, label="l<&>"))
        for i, line in enumerate(records("harbour", 60) +
                                 records("orchard", 60))])
    for order in ("gradual", "interleaved", "time"):
        code, out, err = mneme("eval", *TINY, "--seeds", "1", "--arms",
                               "replay", "--order", order, "--json", mixed)
        tap.ok(code == 0 and [d["name"] for d in json.loads(out)["domains"]] ==
               ["harbour", "orchard"], f"--order {order}, one file by domain")
        if code:
            tap.note(err)
    code, _, err = mneme("eval", *TINY, "--by", "label", "--seeds", "1",
                         "--arms", "replay", "--svg", path("label.svg"), mixed)
    name = "".join(ET.parse(path("label.svg")).getroot().itertext())
    tap.ok(code == 0 and "l<&>" in name, "--by label; names are escaped")
    held = [write_lines(path(f"{d}.held"), records(d, 10, seed=2))
            for d in ("harbour", "orchard")]
    code, out, err = mneme("eval", *TINY, "--seeds", "1", "--arms", "none",
                           "--equal-seconds", "--json", "--heldout",
                           ",".join(held), *names[:2])
    if not tap.ok(code == 0 and
                  [a["equal"] for a in json.loads(out)["arms"]] ==
                  ["updates", "seconds"] and
                  [(d["records"], d["heldout_records"])
                   for d in json.loads(out)["domains"]] == 2 * [(80, 10)],
                  "--heldout and --equal-seconds"):
        tap.note(f"exit {code}: {out} {err}")


def wrong(tap, names):
    with open(path("garbage.jsonl"), "wb") as f:
        f.write(bytes(range(128, 256)) * 50)
    with open(path("garbage.jsonl.gz"), "wb") as f:
        f.write(os.urandom(2000))
    write_lines(path("few.jsonl"), ['{"text": "one record"}'])
    write_lines(path("empty.jsonl"), [])
    for what, args, wanted in (
            ("bytes that are no text", [path("garbage.jsonl")], 2),
            ("bytes that are no gzip", [path("garbage.jsonl.gz")], (1, 2)),
            ("a missing file", [path("missing.jsonl")], 1),
            ("a directory", [TMP], 1),
            ("an empty file", [path("empty.jsonl")], 2),
            ("too few records to hold one out", [path("few.jsonl")], 2),
            ("a held-out file too few",
             ["--heldout", names[0], *names], 2),
            ("an unknown arm", ["--arms", "all", *names], 2),
            ("an unknown order", ["--order", "random", *names], 2),
            ("an unknown key", ["--set", "model.presett=nano", *names], 2),
            ("no label", ["--by", "label", names[0]], 2),
            ("no time stamps", ["--order", "time", *names], 2),
            ("files and a directory", ["--data-dir", TMP, *names], 2),
            ("a directory without a store", ["--data-dir", TMP], 3)):
        code, out, err = mneme("eval", *TINY, *args)
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        if not tap.ok(code in wanted and out == "" and err.count("\n") == 1,
                      f"{what}: one line, exit {wanted}"):
            tap.note(f"exit {code}: {out} {err}")


def versions(tap):
    with tarfile.open(os.path.join(HERE, "..", "data",
                                   "store_3.tar.gz")) as t:
        t.extractall(path("golden"))
    data = next(r for r, _, f in os.walk(path("golden")) if "mneme.db" in f)
    code, out, err = mneme("eval", "--json", data=data)
    tap.ok(code == 3 and out == "" and
           err.endswith("start mnemed once to convert it\n"),
           "a store of an older program: says what to do")
    source = write_lines(path("few.jsonl"), records("harbour", 20))
    d = Daemon("unscored", source__type="file", source__path=source,
               source__at_end="exit", learner__holdout__fraction=0,
               publish__gate__enabled="false", **SMALLEST)
    tap.equal(d.run(), 0, "a store without a holdout")
    code, out, err = mneme("eval", "--json", data=d.data)
    tap.ok(code == 3 and out == "" and
           err.endswith("no version has results on held-out records yet\n"),
           "says that no version was scored")
    tap.note(err)
    source = write_lines(path("stream.jsonl"), records("harbour", 200))
    d = Daemon("running", source__type="file", source__path=source,
               source__follow="true", **SMALLEST).start()
    d.until_consumed(200)
    d.until(lambda: len(d.versions()) > 2 and d.status()["state"] == "waiting",
            "versions of the first domain")
    with open(source, "a") as f:
        f.write("".join(x + "\n" for x in records("orchard", 200)))
    d.until_consumed(400)
    d.until(lambda: set(d.versions()[0]["holdout"]) ==
            {"harbour", "orchard"}, "a version with both domains")
    code, out, err = mneme("eval", "--json", "--svg", path("v.svg"),
                           data=d.data)
    tap.ok(code == 0, "a daemon that runs")
    report = json.loads(out)
    shown = {v["version"]: v for v in d.versions()}
    good = True
    for row in report["arms"][0]["versions"]:
        for name, loss in zip((x["name"] for x in report["domains"]),
                              row["loss"]):
            has = shown[row["version"]]["holdout"].get(name)
            good &= (abs(has["bits_per_byte"] - loss) < 1e-6) if has \
                else loss is None
    tap.ok(good, "the losses are those of the versions")
    tap.equal([x["name"] for x in report["domains"]], ["harbour", "orchard"],
              "the domains, in the order of the stream")
    m = report["arms"][0]["matrix"]
    tap.ok(m[0][0] and m[0][1] is None and m[1][0] and m[1][1],
           "a row for each domain")
    s = report["serving"]
    tap.ok(0 <= s["behind_share"] <= 1 and s["worst_behind"] >= 1,
           "how far serving was behind")
    ET.parse(path("v.svg"))
    d.stop()
    code, out, err = mneme("eval", data=d.data)
    tap.ok(code == 0 and "serving was behind" in out and
           re.search(r"harbour \(version \d+\)", out), "one that has stopped")


def main():
    tap = Tap()
    names = files()
    a_report(tap, names)
    example(tap)
    orders(tap, names)
    wrong(tap, names)
    versions(tap)
    tap.exit()


if __name__ == "__main__":
    main()
