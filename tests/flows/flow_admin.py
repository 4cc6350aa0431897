#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The admin socket of a daemon that also listens on TCP with tokens.

curl and mneme are the clients. As root, other users try it, too.
"""

import json
import os
import shutil
import signal
import stat
import subprocess

from flow_util import (Daemon, Tap, TMP, mneme, records, skip_all, write_lines)

SOCKET = os.path.join(TMP, "admin.sock")
TOKENS = os.path.join(TMP, "tokens")
ADMIN = "an-admin-token-of-the-test"


def curl(*args, user=()):
    r = subprocess.run([*user, "curl", "-sS", "-w", "\n%{http_code}", *args],
                       capture_output=True, text=True, timeout=300)
    if r.returncode:
        return r.returncode, r.stderr
    body, _, status = r.stdout.rpartition("\n")
    return int(status), body


def by_socket(where, *args, user=()):
    return curl("--unix-socket", SOCKET, *args, "http://localhost" + where,
                user=user)


class Guarded(Daemon):
    def request(self, method, path, body=None, timeout=0):
        status, text = by_socket(path, "-X", method)
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text

    def by_tcp(self, where, *args, token=ADMIN):
        host, port = self.address()
        if token:
            args += ("-H", f"Authorization: Bearer {token}")
        return curl(*args, f"http://{host}:{port}{where}")


def requests(tap, d):
    pin = ("/v1/versions/1/pin", "-X", "POST")
    mode = os.stat(SOCKET).st_mode
    tap.equal((stat.S_ISSOCK(mode), stat.S_IMODE(mode)), (True, 0o600),
              "a socket with mode 0600")
    tap.equal(by_socket("/v1/status")[0], 200, "no token is needed there")
    tap.equal(by_socket(*pin)[0], 200, "also for an admin request")
    tap.equal(by_socket("/v1/status", "-H", "Host: example.org")[0], 200,
              "any name of the host")
    tap.equal(d.by_tcp("/v1/status", token=None)[0], 401,
              "the TCP address needs a token")
    tap.equal(d.by_tcp("/v1/status")[0], 200, "and takes one")
    status, text = d.by_tcp(*pin)
    error = json.loads(text)["error"]
    tap.equal((status, error["code"]), (403, "admin_socket"),
              "but no admin request, with an admin token")
    tap.ok(f"unix:{SOCKET}" in error["message"], "the answer names the socket")
    tap.equal(d.by_tcp("/v1/quarantine")[0], 403, "nor the quarantine")
    status, text = d.by_tcp(*pin, token=None)
    tap.ok(status == 401 and SOCKET not in text,
           "without a token the socket is not named")
    status, text = by_socket("/v1/completions", "-d",
                             '{"prompt": "a", "max_tokens": 4, "stream": true}')
    tap.ok(status == 200 and text.rstrip().endswith("data: [DONE]"), "a stream")


def client(tap, d):
    env = {k: v for k, v in os.environ.items() if k != "MNEME_TOKEN"}
    code, out, err = mneme("unpin", "1", data=d.data, env=env)
    tap.equal((code, err), (0, ""), "mneme with --data-dir uses the socket")
    tap.equal(mneme("pin", "1", "--addr", f"unix:{SOCKET}", env=env)[0], 0,
              "and with --addr unix:PATH")
    host, port = d.address()
    env["MNEME_TOKEN"] = ADMIN
    code, out, err = mneme("pin", "1", "--addr", f"{host}:{port}", env=env)
    tap.ok(code == 2 and f"unix:{SOCKET}" in err,
           "by TCP it prints where to go")


def strangers(tap):
    user = ("setpriv", "--reuid", "65534", "--regid", "65534",
            "--clear-groups")
    tap.equal(by_socket("/v1/status", user=user)[0], 7,
              "another user cannot connect")
    # Somebody has opened the socket to all users.
    os.chmod(SOCKET, 0o777)
    status, text = by_socket("/v1/status", user=user)
    tap.ok(status == 403 and json.loads(text)["error"]["code"] == "peer",
           "once connected, it gets 403")
    tap.equal(by_socket("/healthz", user=user)[0], 403, "for everything")
    tap.equal(by_socket("/v1/status", "-H", f"Authorization: Bearer {ADMIN}",
                        user=user)[0], 403, "a token does not help")
    os.chmod(SOCKET, 0o600)


def main():
    if not shutil.which("curl"):
        skip_all("curl is missing")
    tap = Tap()
    write_lines(TOKENS, [f"admin {ADMIN}"])
    feed = write_lines(os.path.join(TMP, "feed"), records("harbour", 300))
    d = Guarded("admin", source__type="file", source__path=feed,
                http__token_file=TOKENS, http__admin="socket",
                http__admin_socket=SOCKET)
    d.start()
    requests(tap, d)
    client(tap, d)
    if os.getuid() == 0 and shutil.which("setpriv"):
        os.chmod(TMP, 0o755)
        strangers(tap)
    other = Guarded("other", source__type="http", http__admin_socket=SOCKET)
    tap.ok(other.run() == 1 and "taken by another process" in other.tail(),
           "a second daemon does not take the socket")
    tap.equal(by_socket("/healthz")[0], 200, "the first one still has it")
    d.stop(signal.SIGKILL)
    tap.ok(os.path.exists(SOCKET), "a killed daemon leaves its socket")
    d.start()
    tap.equal(by_socket("/v1/status")[0], 200, "the next start replaces it")
    tap.equal(d.stop(), 0, "a regular end")
    tap.ok(not os.path.exists(SOCKET) and
           not os.path.exists(os.path.join(d.data, "admin.addr")),
           "removes the socket and its address")
    tap.exit()


main()
