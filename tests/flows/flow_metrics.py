#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""/metrics, read by the programs that read it in the field.

promtool checks the text, Prometheus's own Python library the OpenMetrics text;
without them these checks are skipped by name. Alert rules and dashboard may
use only metrics that this daemon has.
"""

import http.client
import json
import os
import re
import shutil
import subprocess
import time

from flow_util import Daemon, Tap, TMP, records, write_lines

SOURCE = os.path.abspath(os.environ.get("top_srcdir", ".."))
RULES = os.path.join(SOURCE, "contrib/prometheus/mneme.rules.yml")
RULES_TEST = os.path.join(SOURCE, "contrib/prometheus/mneme.rules.test.yml")
DASHBOARD = os.path.join(SOURCE, "contrib/grafana/mneme.json")
RUNBOOK = os.path.join(SOURCE, "docs/RUNBOOK.md")
PROMETHEUS = ("application/openmetrics-text;version=1.0.0;q=0.5,"
              "application/openmetrics-text;version=0.0.1;q=0.4,"
              "text/plain;version=0.0.4;q=0.3,*/*;q=0.2")


def scrape(daemon, accept=None):
    host, port = daemon.address()
    c = http.client.HTTPConnection(host, port, timeout=60)
    c.request("GET", "/metrics", headers={"Accept": accept} if accept else {})
    r = c.getresponse()
    text = r.read().decode()
    c.close()
    return r.headers["Content-Type"], text


def promtool(tap, name, args, stdin=None):
    if not shutil.which("promtool"):
        tap.ok(True, f"{name} # SKIP no promtool")
        return
    r = subprocess.run(["promtool", *args], input=stdin, capture_output=True,
                       text=True)
    tap.equal((r.returncode, r.stderr.strip()), (0, ""), name)
    if r.returncode:
        tap.note(r.stdout)


def formats(tap, daemon):
    kind, text = scrape(daemon)
    tap.ok(kind.startswith("text/plain; version=0.0.4"), "text by default")
    promtool(tap, "promtool has no complaint", ["check", "metrics"], text)
    for accept, wanted in ((PROMETHEUS, "application/openmetrics-text"),
                           ("text/plain", "text/plain"),
                           ("*/*", "text/plain"),
                           ("application/openmetrics-text;q=0", "text/plain"),
                           ("text/plain, application/openmetrics-text;q=0.5",
                            "text/plain")):
        kind, _ = scrape(daemon, accept)
        tap.ok(kind.startswith(wanted), f"{wanted} for Accept: {accept}")
    kind, text = scrape(daemon, PROMETHEUS)
    tap.equal(kind, "application/openmetrics-text; version=1.0.0; "
              "charset=utf-8", "the type of OpenMetrics")
    tap.ok(text.endswith("\n# EOF\n") and text.count("# EOF") == 1,
           "it ends with # EOF")
    name = "prometheus_client reads the OpenMetrics text"
    try:
        from prometheus_client.openmetrics import parser
    except ImportError:
        tap.ok(True, f"{name} # SKIP no prometheus_client")
        return
    families = {f.name: f for f in parser.text_string_to_metric_families(text)}
    tap.ok(families, name)
    tap.equal(families["mneme_steps"].type, "counter", "a counter")
    tap.equal((families["mneme_step_duration_seconds"].type,
               families["mneme_step_duration_seconds"].unit),
              ("histogram", "seconds"), "a histogram with its unit")
    status = daemon.status()
    for family, value in (("mneme_steps", status["step"]),
                          ("mneme_serving_version",
                           status["serving_version"])):
        tap.equal(families[family].samples[0].value, value,
                  f"{family} is as in the status")


def histograms(tap, daemon):
    for _ in range(3):
        daemon.post("/v1/score", {"text": "tide quay"})
    daemon.get("/no-such-path")
    tap.equal(daemon.get("/health"), daemon.get("/healthz"),
              "/health is as /healthz")
    _, text = scrape(daemon)
    for line in ('mneme_http_request_duration_seconds_count'
                 '{endpoint="/v1/score",method="POST"} 3',
                 'mneme_http_replies_total{code="404"} 1',
                 f'mneme_step_duration_seconds_count '
                 f'{daemon.status()["step"]}'):
        tap.ok(f"\n{line}\n" in text, line)
    tap.ok(re.search(r'\nmneme_build_info\{version="\d+\.\d+\.\d+"\} 1\n',
                     text), "mneme_build_info")
    for name in ("cpu_seconds_total", "resident_memory_bytes", "open_fds",
                 "start_time_seconds"):
        tap.ok(re.search(rf"\nprocess_{name} [1-9.]", text) or
               name == "cpu_seconds_total" and
               re.search(rf"\nprocess_{name} 0\.\d", text), f"process_{name}")


def names_in(text):
    """The metrics that an expression uses."""
    return set(re.findall(r"\b((?:mneme|process)_[a-z_]+)", text))


def exists(daemon):
    """The names of all samples, and of families that have none yet."""
    _, text = scrape(daemon)
    names = set(re.findall(r"^([a-z_]+)[ {]", text, re.M))
    for family, kind in re.findall(r"^# TYPE (\S+) (\S+)", text, re.M):
        names |= ({family + end for end in ("_bucket", "_sum", "_count")}
                  if kind == "histogram" else {family})
    return names


def rules(tap, there):
    with open(RULES) as f:
        text = f.read()
    promtool(tap, "promtool reads the alert rules", ["check", "rules", RULES])
    promtool(tap, "promtool's tests of the alert rules",
             ["test", "rules", RULES_TEST])
    used = set()
    for expression in re.findall(
            r"expr: (?:[>|]-?\n((?: {10,}.*\n)+)|(.*)\n)", text):
        used |= names_in("".join(expression))
    tap.equal(sorted(used - there), [], f"the rules use {len(used)} metrics, "
              "and all exist")
    alerts = re.findall(r"alert: (\w+)", text)
    with open(RUNBOOK) as f:
        sections = re.findall(r"^## (\w+)$", f.read(), re.M)
    links = re.findall(r"runbook_url: file:///usr/share/doc/mneme/RUNBOOK"
                       r"\.md#(\w+)", text)
    tap.equal(links, [a.lower() for a in alerts],
              "each alert links to its section")
    tap.equal(sorted(set(alerts) - set(sections)), [],
              "each alert has a section in the runbook")
    with open(RULES_TEST) as f:
        tested = set(re.findall(r"alertname: (\w+)", f.read()))
    tap.equal(sorted(set(alerts) - tested), [], "each alert has a test")


def expressions(node):
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("expr", "query", "definition") and isinstance(value,
                                                                     str):
                yield value
            yield from expressions(value)
    elif isinstance(node, list):
        for value in node:
            yield from expressions(value)


def dashboard(tap, there):
    with open(DASHBOARD) as f:
        board = json.load(f)
    used = set()
    for e in expressions(board):
        used |= names_in(e)
    tap.ok(len(used) > 20, f"the dashboard uses {len(used)} metrics")
    tap.equal(sorted(used - there), [], "and all exist")
    ids = [p["id"] for p in board["panels"]]
    tap.equal(len(ids), len(set(ids)), "each panel has a number of its own")
    places = [p["gridPos"] for p in board["panels"]]
    tap.ok(all(p["x"] + p["w"] <= 24 for p in places), "panels fit the grid")
    overlap = [(a, b) for i, a in enumerate(places) for b in places[:i]
               if a["x"] < b["x"] + b["w"] and b["x"] < a["x"] + a["w"] and
               a["y"] < b["y"] + b["h"] and b["y"] < a["y"] + a["h"]]
    tap.equal(overlap, [], "and do not overlap")
    tap.ok(all(t["datasource"]["uid"] == "${datasource}"
               for p in board["panels"] for t in p.get("targets", [])),
           "each query asks the chosen data source")


def main():
    tap = Tap()
    lines = records("harbour", 300) + records("orchard", 100)
    lines = [line[:-1] + f', "ts": {int(time.time() * 1000)}}}'
             for line in lines]  # freshness needs event times
    lines[7] = ""
    path = write_lines(os.path.join(TMP, "records.jsonl"), lines)
    daemon = Daemon("metrics", source__type="file", source__path=path).start()
    daemon.until_consumed(len(lines))
    daemon.until(lambda: daemon.status()["publish"]["next_version"] is None,
                 "nothing to publish")
    formats(tap, daemon)
    histograms(tap, daemon)
    there = exists(daemon)
    if os.path.exists(RULES):
        rules(tap, there)
    if os.path.exists(DASHBOARD):
        dashboard(tap, there)
    tap.equal(daemon.stop(), 0, "exit 0")
    tap.exit()


main()
