#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Schemathesis makes requests from /openapi.json, right ones and wrong ones,
and compares each answer with it. It must find no violation.

Skipped without schemathesis (pip install schemathesis). SCHEMATHESIS names the
program. SCHEMATHESIS_EXAMPLES (25) is the number of requests of each kind.
"""

import os
import shutil
import subprocess

from flow_util import Daemon, Tap, TMP, records, skip_all, write_lines

PROGRAM = os.environ.get("SCHEMATHESIS") or shutil.which("schemathesis")
EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "25")

# What would take minutes is made smaller: how much text, and how many choices.
# Prompts stay shorter than the context.
HOOKS = """
import schemathesis

MOST = {"max_tokens": 4, "max_completion_tokens": 4, "max_output_tokens": 4,
        "n": 2, "truncate_prompt_tokens": 100}


@schemathesis.hook
def map_body(context, body):
    if isinstance(body, dict):
        for name, most in MOST.items():
            value = body.get(name)
            if isinstance(value, int) and value > most:
                body[name] = most
    return body
"""

CONFIG = f"""
warnings = false
[generation]
max-examples = {EXAMPLES}
deterministic = true
database = "none"
[reports]
directory = "{TMP}/reports"
"""

# It never ends; and it is tested by other flows.
NOT = ["--exclude-path", "/v1/events"]


def feed():
    lines = records("harbour", 300)
    lines += ['{"text": "the red rose", "label": "red"}',
              '{"text": "the blue sea", "label": "blue"}'] * 20
    lines += ['{"text": 7}', '{"label": "no text"}'] * 3  # for quarantine
    return write_lines(os.path.join(TMP, "feed"), lines)


def run(daemon):
    for name, text in (("hooks.py", HOOKS), ("schemathesis.toml", CONFIG)):
        with open(os.path.join(TMP, name), "w") as f:
            f.write(text)
    host, port = daemon.address()
    line = [PROGRAM, "--config-file", os.path.join(TMP, "schemathesis.toml"),
            "run", f"http://{host}:{port}/openapi.json", "--workers", "1",
            "--request-timeout", "60", "--continue-on-failure",
            "--suppress-health-check", "all", *NOT]
    return subprocess.run(
        line, cwd=TMP, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, env=dict(os.environ, SCHEMATHESIS_HOOKS="hooks",
                            PYTHONPATH=TMP, NO_COLOR="1"))


def main():
    if not PROGRAM:
        skip_all("schemathesis is not installed")
    tap = Tap()
    daemon = Daemon("d", source__type="file", source__path=feed(),
                    model__preset="custom", model__dim=16, model__layers=1,
                    model__heads=2, model__kv_heads=1, model__ffn_dim=32,
                    model__context=1024)
    daemon.start()
    daemon.until_consumed(340)
    result = run(daemon)
    for text in result.stdout.splitlines()[-400:]:
        tap.note(text)
    tap.equal(result.returncode, 0, "no violation of /openapi.json")
    tap.equal(daemon.get("/healthz")[0], 200, "the daemon lives")
    tap.equal(daemon.stop(), 0, "it ends without an error")
    tap.exit()


main()
