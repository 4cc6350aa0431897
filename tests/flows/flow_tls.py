#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""mnemed speaks https, with curl, Python's ssl and mneme as clients.

What a client checks, streams and bodies, a reload of the certificate under an
open stream, a bad pair that is refused, and what mnemed -t says about one.
"""

import os
import shutil
import signal
import socket
import ssl
import subprocess
import time

from flow_util import (Daemon, MNEMED, SLOW, Tap, TMP, mneme, records, skip_all,
                       write_lines)

CONF = os.path.join(TMP, "mneme.yaml")


def path(name):
    return os.path.join(TMP, name)


def openssl(*args):
    subprocess.run(["openssl", *args], check=True, capture_output=True)


def make_ca(name):
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt",
            "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
            f"/CN={name}", "-keyout", path(f"{name}.key"), "-out",
            path(f"{name}.crt"))


def make_pair(ca, name):
    """A certificate for localhost and 127.0.0.1, signed by a CA."""
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-subj", f"/CN={name}", "-keyout", path(f"{name}.key"),
            "-out", path(f"{name}.csr"))
    write_lines(path("names"),
                ["subjectAltName=DNS:localhost,IP:127.0.0.1"])
    openssl("x509", "-req", "-in", path(f"{name}.csr"), "-CA",
            path(f"{ca}.crt"), "-CAkey", path(f"{ca}.key"),
            "-CAcreateserial", "-days", "2", "-extfile", path("names"),
            "-out", path(f"{name}.crt"))
    os.chmod(path(f"{name}.key"), 0o600)


def use(cert, key):
    write_lines(CONF, [f"http: {{tls: {{cert: {path(cert)}, "
                       f"key: {path(key)}}}}}"])


class Secure(Daemon):
    """A daemon whose requests are curl's, with the CA "ca"."""

    def address(self):
        with open(os.path.join(self.data, "http.addr")) as f:
            return f.read().strip()

    def curl(self, where, *args, ca="ca", host=None):
        address = self.address()
        if host:
            address = address.replace("127.0.0.1", host)
        r = subprocess.run(
            ["curl", "-sS", "--cacert", path(f"{ca}.crt"), "-w",
             "\n%{http_code}", *args, address + where],
            capture_output=True, text=True, timeout=60 * SLOW)
        if r.returncode:
            return r.returncode, r.stderr
        body, _, status = r.stdout.rpartition("\n")
        return int(status), body

    def request(self, method, where, body=None, timeout=0):
        return self.curl(where, "-X", method)

    def name(self):
        """The common name of the certificate that clients get."""
        _, host, port = self.address().replace("//", "").split(":")
        context = ssl.create_default_context(cafile=path("ca.crt"))
        with socket.create_connection((host, int(port))) as s, \
                context.wrap_socket(s, server_hostname="localhost") as t:
            return dict(p[0] for p in t.getpeercert()["subject"])["commonName"]

    def log_text(self):
        with open(self.log) as f:
            return f.read()

    def reload(self):
        before = len(self.log_text())
        self.process.send_signal(signal.SIGHUP)
        self.until(lambda: "reload" in self.log_text()[before:] or
                   "READY" in self.log_text()[before:], "a reload")
        return self.log_text()[before:]


def clients(tap, d):
    tap.ok(d.address().startswith("https://127.0.0.1:"), "http.addr says https")
    tap.equal(d.curl("/healthz")[0], 200, "curl that knows the CA")
    tap.equal(d.curl("/healthz", "--tlsv1.2", "--tls-max", "1.2")[0], 200,
              "TLS 1.2")
    tap.equal(d.curl("/healthz", host="localhost")[0], 200, "by name")
    tap.equal(d.curl("/healthz", ca="other")[0], 60, "another CA: refused")
    plain = d.address().replace("https", "http")
    r = subprocess.run(["curl", "-sS", "-w", "%{http_code}", plain],
                       capture_output=True, text=True)
    tap.ok(r.stdout.endswith("400") and "https_needed" in r.stdout,
           "plain HTTP gets 400 and the reason")
    tap.equal(d.curl("/v1/score", "-d", '{"text": "a quay"}')[0], 200,
              "a body and its reply")
    big = write_lines(path("big"), ['{"text": "' + "a" * 900000 + '"}'])
    tap.ok(d.curl("/v1/score", "-d", f"@{big}")[0] in (200, 400),
           "a body of many records of TLS")
    status, text = d.curl("/v1/completions", "-N", "-d",
                          '{"prompt": "a", "max_tokens": 20, "stream": true}')
    tap.ok(status == 200 and text.rstrip().endswith("data: [DONE]"),
           "a streamed completion comes to its end")


def command_line(tap, d):
    code, out, err = mneme("status", "--ca", path("ca.crt"), data=d.data)
    tap.ok(code == 0 and d.address() in out, "mneme finds https in the data "
           "directory, with --ca")
    address = d.address().replace("127.0.0.1", "localhost")
    env = dict(os.environ, MNEME_CA=path("ca.crt"))
    tap.equal(mneme("status", "--addr", address, env=env)[0], 0,
              "by --addr, with $MNEME_CA")
    code, out, err = mneme("status", data=d.data)
    tap.ok(code == 1 and "--ca" in err, "without a CA: refused, with what to do")
    tap.note(err.strip())
    code, out, err = mneme("status", "--ca", path("none.crt"), data=d.data)
    tap.ok(code == 1 and "--ca" in err, "a file that does not exist")
    code, out, err = mneme("status", "--addr",
                           d.address().replace("https://", ""))
    tap.ok(code != 0 and "https" in err, "without https://: the daemon says so")


def slow_clients(tap, d):
    _, host, port = d.address().replace("//", "").split(":")
    slow = [socket.create_connection((host, int(port))) for _ in range(300)]
    for i, s in enumerate(slow):
        s.sendall(b"\x16\x03\x01\x02\x00\x01"[:i % 7])
    tap.equal(d.curl("/healthz")[0], 200,
              "300 clients that do not finish their handshake keep nobody out")
    for s in slow:
        s.close()


def reloads(tap, d):
    stream = subprocess.Popen(
        ["curl", "-sSN", "--cacert", path("ca.crt"),
         d.address() + "/v1/events"], stdout=subprocess.PIPE, text=True)
    first = stream.stdout.readline()
    tap.equal(d.name(), "one", "the first certificate")
    use("two.crt", "one.key")
    log = d.reload()
    tap.ok("refused" in log and "does not belong" in log,
           "a key of another certificate: refused, with the reason")
    tap.equal(d.name(), "one", "the first one is still in force")
    use("gone.crt", "two.key")
    tap.ok("gone.crt" in d.reload(), "a file that is missing: named")
    use("two.crt", "two.key")
    d.reload()
    d.until(lambda: d.name() == "two", "the second certificate")
    tap.equal(d.name(), "two", "a good pair is taken")
    # The same paths with new files, as a renewal leaves them.
    for kind in ("crt", "key"):
        shutil.copy(path(f"three.{kind}"), path(f"two.{kind}"))
    os.chmod(path("two.key"), 0o644)
    d.process.send_signal(signal.SIGHUP)
    d.until(lambda: d.name() == "three", "the renewed certificate")
    tap.ok("every user of this machine" in d.log_text(),
           "a key that all can read: a warning")
    write_lines(CONF, [""])
    tap.ok("needs a restart" in d.reload(), "the end of TLS needs a restart")
    tap.equal(d.name(), "three", "TLS goes on")
    tap.ok(first and stream.poll() is None, "the stream has lived through all")
    stream.terminate()
    stream.wait()


def test_option(tap):
    def checked(cert, key):
        use(cert, key)
        r = subprocess.run([MNEMED, "-t", "-c", CONF], capture_output=True,
                           text=True)
        return r.returncode, r.stderr

    tap.equal(checked("one.crt", "one.key"), (0, ""), "mnemed -t: a good pair")
    code, err = checked("two.crt", "one.key")
    tap.ok(code == 2 and "http.tls.key" in err and err.count("\n") == 1,
           "mnemed -t: one line for a bad pair")
    code, err = checked("one.crt", "none.key")
    tap.ok(code == 2 and "none.key" in err, "mnemed -t: a missing file")
    d = Daemon("bad", http__tls__cert=path("one.crt"),
               http__tls__key=path("other.key"))
    tap.equal(d.run(), 1, "mnemed does not start with a bad pair")
    tap.ok("does not belong" in d.tail(), "and says why")


def main():
    if not shutil.which("openssl") or not shutil.which("curl"):
        skip_all("openssl or curl is missing")
    tap = Tap()
    make_ca("ca")
    make_ca("other")
    for name in ("one", "two", "three"):
        make_pair("ca", name)
    test_option(tap)
    use("one.crt", "one.key")
    feed = write_lines(path("feed"), records("harbour", 300))
    d = Secure("tls", source__type="file", source__path=feed)
    d.env["MNEME_CONF"] = CONF
    d.start()
    clients(tap, d)
    command_line(tap, d)
    slow_clients(tap, d)
    reloads(tap, d)
    tap.equal(d.stop(), 0, "the daemon ends well")
    tap.exit()


main()
