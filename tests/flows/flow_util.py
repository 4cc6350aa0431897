# SPDX-License-Identifier: Apache-2.0
"""What the flow tests share: TAP, a daemon to drive, texts to feed.

Texts are made of words by rules, so that a domain is learnable and nothing
comes from elsewhere; two domains share no word.
"""

import json
import os
import random
import signal
import socket
import http.client
import subprocess
import sys
import time

MNEMED = os.environ.get("MNEMED", "./daemon/mnemed")
MNEME = os.environ.get("MNEME", "./cli/mneme")
TMP = os.environ.get("MNEME_TEST_TMP", "/tmp")

# Limits on waits are for a daemon that hangs. They are written for a quiet
# machine. A busy machine or a sanitizer may take longer, which is no failure.
SLOW = 5 * float(os.environ.get("MNEME_PATIENCE", "1"))

# Small and quick, whatever the test sets on top.
SMALL = {
    "model.preset": "nano",
    "model.tokenizer": "bytes",
    "learner.batch_tokens": "256",
    "learner.holdout.fraction": "0.05",
    "publish.every_seconds": "1",
    "http.listen": "127.0.0.1:0",
}

# A model that costs little also where every load and store is watched.
SMALLEST = {
    "model__preset": "custom",
    "model__dim": 16,
    "model__layers": 1,
    "model__heads": 2,
    "model__kv_heads": 1,
    "model__ffn_dim": 32,
    "model__context": 32,
}
if os.environ.get("MNEME_SANITIZED"):
    SMALL.update({k.replace("__", "."): str(v) for k, v in SMALLEST.items()})


class Tap:
    """Numbered results; the plan comes last; exit() tells the truth."""

    def __init__(self):
        self.n = 0
        self.failed = 0

    def ok(self, condition, name):
        self.n += 1
        self.failed += not condition
        print(f"{'ok' if condition else 'not ok'} {self.n} - {name}",
              flush=True)
        return bool(condition)

    def equal(self, got, wanted, name):
        if not self.ok(got == wanted, name):
            print(f"# got {got!r}, wanted {wanted!r}", flush=True)

    def note(self, text):
        print(f"# {text}", flush=True)

    def exit(self):
        print(f"1..{self.n}", flush=True)
        sys.exit(1 if self.failed else 0)


def skip_all(why):
    print(f"1..0 # SKIP {why}")
    sys.exit(0)


class Daemon:
    """One mnemed on a data directory of its own."""

    base = SMALL

    def __init__(self, name, **settings):
        self.dir = os.path.join(TMP, name)
        os.makedirs(self.dir, exist_ok=True)
        self.data = os.path.join(self.dir, "data")
        self.log = os.path.join(self.dir, "log")
        self.settings = dict(self.base)
        self.settings.update(
            {k.replace("__", "."): str(v) for k, v in settings.items()})
        self.env = dict(os.environ, MNEME_CONF=os.devnull)
        self.process = None

    def command(self, **more):
        settings = dict(self.settings)
        settings.update({k.replace("__", "."): str(v)
                         for k, v in more.items()})
        line = [MNEMED, "--data-dir", self.data]
        for key, value in settings.items():
            line += ["--set", f"{key}={value}"]
        return line

    def start(self, wait="ready", **more):
        self.process = subprocess.Popen(
            self.command(**more), stderr=open(self.log, "ab"),
            stdout=subprocess.DEVNULL, env=self.env, cwd=self.dir)
        if wait == "ready":
            self.until(lambda: self.get("/readyz")[0] == 200, "ready", 60)
        elif wait == "alive":
            self.until(lambda: self.get("/healthz")[0] == 200, "alive", 30)
        return self

    def address(self):
        with open(os.path.join(self.data, "http.addr")) as f:
            host, port = f.read().strip().rsplit(":", 1)
        return host, int(port)

    def request(self, method, path, body=None, timeout=60 * SLOW):
        host, port = self.address()
        c = http.client.HTTPConnection(host, port, timeout=timeout)
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        try:
            c.request(method, path, body,
                      {"Content-Type": "application/json"} if body else {})
            r = c.getresponse()
            text = r.read()
        finally:
            c.close()
        try:
            return r.status, json.loads(text)
        except ValueError:
            return r.status, text.decode("utf-8", "replace")

    def get(self, path):
        return self.request("GET", path)

    def post(self, path, body=None):
        return self.request("POST", path, body if body is not None else {})

    def status(self):
        return self.get("/v1/status")[1]

    def versions(self):
        return self.get("/v1/versions")[1]["versions"]

    def until(self, condition, what, seconds=60):
        end = time.monotonic() + seconds * SLOW
        while time.monotonic() < end:
            if self.process and self.process.poll() is not None:
                raise RuntimeError(
                    f"mnemed ended with {self.process.returncode} while "
                    f"waiting for: {what}\n{self.tail()}")
            try:
                if condition():
                    return
            except (OSError, KeyError, TypeError, http.client.HTTPException):
                pass
            time.sleep(0.05)
        raise RuntimeError(f"waited {seconds * SLOW} s in vain for: {what}\n"
                           f"{self.tail()}")

    def until_consumed(self, n, seconds=120):
        self.until(lambda: self.status()["records"]["consumed"] >= n,
                   f"{n} records consumed", seconds)

    def operation(self, answer, seconds=60):
        """Waits for the operation that an answer (status, body) names."""
        status, body = answer
        if status != 202:
            return body
        path = f"/v1/operations/{body['operation']}"
        self.until(lambda: self.get(path)[1]["state"] in ("done", "failed"),
                   "the operation's end", seconds)
        return self.get(path)[1]

    def stop(self, how=signal.SIGTERM, seconds=60):
        self.process.send_signal(how)
        code = self.process.wait(seconds * SLOW)
        self.process = None
        return code

    def kill(self):
        self.stop(signal.SIGKILL)

    def run(self, seconds=120, stdin=None, **more):
        """Runs to the end of a source with at_end: exit."""
        return subprocess.run(self.command(**more), stdin=stdin,
                              stderr=open(self.log, "ab"), env=self.env,
                              cwd=self.dir,
                              timeout=seconds * SLOW).returncode

    def tail(self, lines=15):
        with open(self.log, errors="replace") as f:
            return "".join(f.readlines()[-lines:])


def mneme(*args, data=None, stdin=None, code=None, seconds=120, env=None):
    """Runs the client; returns (exit status, stdout, stderr)."""
    line = [MNEME, *args]
    if data:
        line += ["--data-dir", data]
    r = subprocess.run(line, input=stdin, capture_output=True, text=True,
                       timeout=seconds * SLOW,
                       env={k: v for k, v in (env or os.environ).items()
                            if k != "MNEME_ADDR"})
    if code is not None and r.returncode != code:
        raise RuntimeError(f"{' '.join(line)}: exit {r.returncode}, wanted "
                           f"{code}\n{r.stdout}\n{r.stderr}")
    return r.returncode, r.stdout, r.stderr


def kafka(*args, check=True):
    """tests/kafka/kafka.sh; skips the whole test where it finds no Kafka."""
    r = subprocess.run([os.environ["MNEME_KAFKA"], *args],
                       capture_output=True, text=True, timeout=300)
    if r.returncode == 77:
        skip_all(r.stderr.strip() or "no Kafka")
    if check and r.returncode:
        raise RuntimeError(f"kafka.sh {' '.join(args)}: {r.stderr}")
    return r.stdout.strip()


WORDS = {
    "harbour": "tide quay mooring ferry pilot buoy anchor lantern gull crane "
               "ballast harbour drizzle ledger cargo".split(),
    "orchard": "apple graft pruning blossom beehive ladder basket cider frost "
               "orchard kernel meadow barrel harvest sapling".split(),
    "workshop": "lathe chisel varnish clamp bevel sawdust mallet dovetail plane "
                "hinge workshop grain rasp mortise veneer".split(),
}


def sentence(domain, rng):
    words = WORDS[domain]
    out = []
    at = rng.randrange(len(words))
    for _ in range(rng.randrange(6, 14)):
        out.append(words[at])
        # A word is mostly followed by one of two others: there is something
        # to learn.
        at = (at * 7 + (3 if rng.random() < 0.7 else 5)) % len(words)
    return " ".join(out).capitalize() + "."


def records(domain, n, seed=1, start=0):
    """n JSON lines of a domain, each a few sentences."""
    rng = random.Random(f"{domain}/{seed}")
    lines = []
    for i in range(start, start + n):
        text = " ".join(sentence(domain, rng)
                        for _ in range(rng.randrange(1, 5)))
        lines.append(json.dumps({"text": text, "domain": domain,
                                 "id": f"{domain}-{i}"}))
    return lines


def write_lines(path, lines):
    with open(path, "w") as f:
        f.write("".join(line + "\n" for line in lines))
    return path


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def add_up(status):
    """Do the counters of a status add up?"""
    r = status["records"]
    return r["consumed"] == (r["learned"] + r["skipped"] + r["quarantined"] +
                             r["holdout"])
