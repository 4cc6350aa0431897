#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""mnemed under a service manager, which is this test.

What the manager is told (sd_notify), the priorities of the log, a reload that
is applied or refused as a whole, a second SIGTERM, and the unit's hardening.
"""

import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

from flow_util import Daemon, Tap, TMP, records, write_lines


class Manager:
    """Reads $NOTIFY_SOCKET, as systemd does."""

    def __init__(self):
        self.path = os.path.join(TMP, "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.messages = []
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while True:
            text = self.socket.recv(4096).decode()
            self.messages.append(text)

    def lines(self, start=0):
        return [line for m in self.messages[start:] for line in m.split("\n")]

    def has(self, line, start=0):
        return line in self.lines(start)


def told(tap, manager, daemon):
    daemon.until(lambda: manager.has("READY=1"), "READY=1")
    daemon.until(lambda: manager.has("WATCHDOG=1"), "WATCHDOG=1")
    daemon.until(lambda: any(
        re.fullmatch(r"STATUS=(Learning|Waiting for records).*; version \d+ "
                     r"serves.*\.", line) for line in manager.lines()),
        "a sentence of the state")
    tap.ok(True, "READY, WATCHDOG and a sentence of the state")
    start = len(manager.messages)
    daemon.until(lambda: manager.lines(start).count("WATCHDOG=1") >= 3,
                 "three more WATCHDOG=1")
    tap.ok(True, "an idle daemon feeds the watchdog")


def reload(tap, manager, daemon, conf, tokens):
    def write(rate, file):
        with open(conf, "w") as f:
            f.write(f"publish: {{every_seconds: {rate}}}\n"
                    f"http: {{token_file: {file}}}\n")

    def sent(what):
        with open(daemon.log) as f:
            before = len(f.read())
        start = len(manager.messages)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.until(lambda: manager.has("READY=1", start), "READY=1 again")
        lines = manager.lines(start)
        at = lines.index("RELOADING=1")
        tap.ok(re.fullmatch(r"MONOTONIC_USEC=\d+", lines[at + 1]) and
               lines.index("READY=1") > at + 1,
               f"{what}: RELOADING with its time, then READY")
        with open(daemon.log) as f:
            return f.read()[before:]

    write(3, tokens)
    log = sent("a good configuration")
    tap.ok("key=publish.every_seconds" in log, "the new value is applied")
    tap.equal(daemon.get("/v1/status")[0], 401, "with it the token file")
    write(5, os.path.join(TMP, "no-such-file"))
    log = sent("a token file that does not exist")
    tap.ok("refused" in log and "key=publish.every_seconds" not in log,
           "refused as a whole")
    tap.equal(daemon.get("/v1/status")[0], 401, "the tokens are as before")
    write('"soon"', tokens)
    log = sent("a configuration that is not valid")
    tap.ok("refused" in log and "key=" not in log, "refused as a whole, too")
    write(5, tokens)
    tap.ok("key=publish.every_seconds" in sent("a good one again"),
           "applied: the refused reloads had changed nothing")
    write(5, "null")
    sent("no token file")
    tap.equal(daemon.get("/v1/status")[0], 200, "no token is needed any more")


def log_priorities(tap, path):
    """stderr is a file that JOURNAL_STREAM names: nothing but systemd does
    that, and the daemon cannot tell the two apart."""
    daemon = Daemon("journal", source__type="file", source__path=path,
                    source__at_end="exit")
    log = open(daemon.log, "ab")
    st = os.fstat(log.fileno())
    daemon.env["JOURNAL_STREAM"] = f"{st.st_dev}:{st.st_ino}"
    tap.equal(subprocess.run(daemon.command(), stderr=log, env=daemon.env,
                             cwd=daemon.dir, timeout=600).returncode, 0,
              "a run with a journal")
    with open(daemon.log) as f:
        lines = f.read().splitlines()
    tap.ok(all(re.match(r"<[3467]>[a-z_]+( |$)", line) for line in lines),
           "each line has a priority, and no time of its own")
    tap.ok(any(line.startswith("<6>publish ") for line in lines),
           "a publication is information")


def second_signal(tap, daemon):
    """The first signal waits for an answer, which is never read."""
    host, port = daemon.address()
    c = http.client.HTTPConnection(host, port, timeout=600)
    c.request("POST", "/v1/score",
              '{"text": ["' + "tide quay mooring " * 40000 + '"]}',
              {"Content-Type": "application/json"})
    time.sleep(1)
    daemon.process.send_signal(signal.SIGTERM)
    daemon.process.send_signal(signal.SIGTERM)  # timeout(1) sends two
    time.sleep(0.6)
    if daemon.process.poll() is not None:
        tap.note("the answer was ready before the second signal")
    start = time.monotonic()
    daemon.process.send_signal(signal.SIGTERM)
    code = daemon.process.wait(60)
    seconds = time.monotonic() - start
    c.close()
    with open(daemon.log) as f:
        said = "a second signal" in f.read()
    tap.equal((code, said), (1, True), "a second SIGTERM: exit 1, and a line")
    tap.note(f"it took {seconds:.2f} s")
    daemon.process = None


def unit(tap):
    """The unit's exposure, without a running systemd."""
    path = "contrib/systemd/mnemed.service"
    name = "the unit's exposure is at most 2.0"
    with open(path) as f:
        text = f.read()
    tap.ok(re.search(r"^ExecStart=/\S+/mnemed -c /\S+ ", text, re.M) and
           "@" not in text.replace("@system-service", "")
           .replace("@privileged", "").replace("@resources", ""),
           "the unit names the folders of the installation")
    if not shutil.which("systemd-analyze"):
        tap.ok(True, f"{name} # SKIP no systemd-analyze")
        return
    r = subprocess.run(["systemd-analyze", "security", "--no-pager",
                        "--offline=true", "--threshold=20", path],
                       capture_output=True, text=True)
    if "nrecognized option" in r.stderr:
        tap.ok(True, f"{name} # SKIP systemd-analyze is older than 250")
        return
    for line in r.stdout.splitlines():
        if "Overall" in line:
            tap.note(line.strip())
    tap.equal(r.returncode, 0, name)


def main():
    tap = Tap()
    unit(tap)
    path = write_lines(os.path.join(TMP, "records.jsonl"),
                       records("harbour", 150))
    log_priorities(tap, path)
    manager = Manager()
    conf = os.path.join(TMP, "mneme.yaml")
    tokens = os.path.join(TMP, "tokens")
    with open(tokens, "w") as f:
        f.write("admin let-me-in\n")
    os.chmod(tokens, 0o600)
    with open(conf, "w") as f:
        f.write("publish: {every_seconds: 2}\n")
    daemon = Daemon("service", source__type="file", source__path=path)
    del daemon.settings["publish.every_seconds"]
    daemon.env.update(NOTIFY_SOCKET=manager.path, WATCHDOG_USEC="1500000",
                      MNEME_CONF=conf)
    daemon.start()
    told(tap, manager, daemon)
    reload(tap, manager, daemon, conf, tokens)
    start = len(manager.messages)
    tap.equal(daemon.stop(), 0, "SIGTERM: exit 0")
    tap.ok(manager.has("STOPPING=1", start), "STOPPING")
    daemon.start()
    second_signal(tap, daemon)
    daemon.start()
    tap.equal(daemon.stop(), 0, "the next start goes on")
    tap.exit()


main()
