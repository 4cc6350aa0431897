#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""OpenAI's own clients against a daemon: tests/tools/compat_openai.py and .js.

MNEME_OPENAI_PYTHON: interpreters that have the package openai, separated by
colons; without it, this one. MNEME_OPENAI_NODE: folders with
node_modules/openai. Skipped without any.
"""

import importlib.util
import os
import shutil
import subprocess
import sys

from flow_util import Daemon, Tap, TMP, records, skip_all, write_lines

TOOLS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools")


def names(variable):
    return [x for x in os.environ.get(variable, "").split(":") if x]


def clients():
    pythons = names("MNEME_OPENAI_PYTHON")
    if not pythons and importlib.util.find_spec("openai"):
        pythons = [sys.executable]
    lines = [[p, os.path.join(TOOLS, "compat_openai.py")] for p in pythons]
    if shutil.which("node"):
        lines += [["node", os.path.join(TOOLS, "compat_openai.js"), folder]
                  for folder in names("MNEME_OPENAI_NODE")]
    return lines


def main():
    lines = clients()
    if not lines:
        skip_all("neither Python's nor npm's openai is installed")
    tap = Tap()
    feed = write_lines(os.path.join(TMP, "feed"), records("harbour", 400))
    daemon = Daemon("d", source__type="file", source__path=feed)
    daemon.start()
    daemon.until_consumed(400)
    # The last version, so that the checks ask one and the same.
    daemon.until(lambda: daemon.status()["serving_version"] ==
                 daemon.status()["head_version"], "the last version serves")
    host, port = daemon.address()
    for line in lines:
        url = f"http://{host}:{port}"
        r = subprocess.run([*line[:2], url, *line[2:]], text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        who = line[2] if len(line) > 2 else line[0]
        for text in r.stdout.splitlines():
            if text.startswith(("ok ", "not ok ")):
                tap.ok(text.startswith("ok "), f"{text.split('ok ', 1)[1]}")
            else:
                tap.note(text)
        tap.equal(r.returncode, 0, f"all checks of {who}")
    tap.equal(daemon.stop(), 0, "the daemon ends without an error")
    tap.exit()


main()
