#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What an operator does with versions: names for them, and their files.

A tag finds its version over HTTP and with the client, survives a kill, and
keeps its version when retention removes all others.
"""

import hashlib
import http.client
import json
import os
import signal
import sqlite3
import subprocess

from flow_util import MNEMED, TMP, Daemon, Tap, mneme, records, write_lines

CLIENT = os.path.join(os.path.dirname(MNEMED), "..", "tests", "tools",
                      "kafka_client")


def scored_by(daemon, model):
    status, body = daemon.post("/v1/score", {"text": "a", "model": model})
    return body.get("version") if status == 200 else status


def tags(tap, d):
    where = ("--addr", "%s:%d" % d.address())
    first = d.versions()[-1]["version"]
    code, out, _ = mneme("tag", str(first), "release", *where)
    tap.ok(code == 0 and f"version {first} has the tag release" in out, "tag")
    tap.equal(scored_by(d, "mneme@release"), first, "mneme@release answers")
    tap.ok("mneme@release" in [m["id"] for m in
                               d.get("/v1/models")[1]["data"]],
           "it is one of the models")
    code, out, _ = mneme("score", "--version", "release", "a", *where)
    tap.ok(code == 0 and f"version {first}\n" in out, "score --version release")
    tap.ok("@release" in mneme("versions", *where)[1], "versions shows it")
    tap.ok("release" in mneme("show", str(first), *where)[1], "so does show")
    for name in ("latest", "42", "a/b", "-x"):
        tap.equal(mneme("tag", "--", str(first), name, *where)[0], 2,
                  f"tag {name}: exit 2")
    tap.equal(mneme("tag", "999", "release", *where)[0], 3,
              "a version that does not exist: exit 3")
    tap.equal(mneme("untag", "nobody", *where)[0], 3, "untag of nothing: 3")
    tap.equal(scored_by(d, "mneme@nobody"), 404, "an unknown name: 404")
    return first


def files(tap, d, first):
    """A version's files, with the digests that its row has."""
    listed = d.get(f"/v1/versions/{first}/files")[1]["files"]
    folder = os.path.join(d.data, "versions", f"{first:06d}")
    tap.equal(sorted(f["name"] for f in listed), sorted(os.listdir(folder)),
              "all of a version's files are listed")
    host, port = d.address()
    wrong = []
    for f in listed:
        c = http.client.HTTPConnection(host, port, timeout=300)
        c.request("GET", f"/v1/versions/{first}/files/{f['name']}")
        r = c.getresponse()
        if hashlib.sha256(r.read()).hexdigest() != f["sha256"]:
            wrong.append(f["name"])
        c.close()
    tap.equal(wrong, [], f"{len(listed)} files have their digests")


def asked(d, token, method="GET", path="/v1/status"):
    host, port = d.address()
    c = http.client.HTTPConnection(host, port, timeout=300)
    c.request(method, path, b"{}" if method == "POST" else None,
              {"Authorization": f"Bearer {token}"})
    r = c.getresponse()
    r.read()
    c.close()
    return r.status, r.getheader("Retry-After")


def tokens(tap):
    """Tokens by their digests, reloaded; a rate; scopes."""
    path = os.path.join(TMP, "token-file")
    made = [json.loads(mneme("token", "create", "--json", *more, code=0)[1])
            for more in ((), ("--scope", "admin"), ("--scope", "feed"),
                         ("--rate", "2"))]
    infer, admin, feed, slow = (m["token"] for m in made)
    tap.ok(len({m["token"] for m in made}) == 4 and all(
        m["sha256"] == hashlib.sha256(m["token"].encode()).hexdigest() and
        m["token"] not in m["line"] for m in made),
        "token create: four tokens, and lines with digests only")
    code, out, _ = mneme("token", "create")
    tap.ok(code == 0 and "line   infer sha256:" in out, "for people")
    tap.equal(mneme("token", "create", "--scope", "root")[0], 2,
              "a wrong scope: exit 2")
    write_lines(path, [made[0]["line"], made[2]["line"], made[3]["line"]])
    os.chmod(path, 0o600)
    d = Daemon("tokens", source__type="http", http__token_file=path)
    d.start(wait=None)
    d.until(lambda: asked(d, infer)[0] == 200, "a token works", 60)
    tap.equal([asked(d, infer, "POST", p)[0] for p in
               ("/v1/records", "/v1/rollback")], [403, 403], "infer")
    tap.equal([asked(d, feed, "POST", p)[0] for p in
               ("/v1/records", "/v1/rollback")], [200, 403], "feed")
    tap.equal(asked(d, admin)[0], 401, "a token that is not in the file")
    got = [asked(d, slow) for _ in range(3)]
    tap.ok([s for s, _ in got] == [200, 200, 429] and int(got[2][1]) >= 1,
           f"two requests a minute: {got}")
    write_lines(path, [made[1]["line"]])
    os.kill(d.process.pid, signal.SIGHUP)
    d.until(lambda: asked(d, admin)[0] == 200, "SIGHUP reads the file", 60)
    tap.equal(asked(d, infer)[0], 401, "the removed token")
    tap.equal(asked(d, admin, "POST", "/v1/rollback")[0], 400, "admin")
    d.stop()


def kept(tap, d, path, first):
    """All other versions go; the daemon is killed."""
    tap.equal(d.stop(), 0, "it stops")
    d.settings["publish.keep.newest"] = "1"
    d.start()
    with open(path, "a") as f:
        f.write("".join(x + "\n" for x in records("orchard", 300)))
    d.until(lambda: d.status()["records"]["consumed"] == 500 and
            len(d.versions()) <= 3, "older versions are removed", 120)
    numbers = [v["version"] for v in d.versions()]
    tap.ok(first in numbers, f"of {numbers}, the tagged one is kept")
    d.kill()
    d.start()
    tap.equal(scored_by(d, "mneme@release"), first, "a kill keeps the tag")
    where = ("--addr", "%s:%d" % d.address())
    head = d.status()["head_version"]
    code, out, _ = mneme("tag", str(head), "release", *where)
    tap.ok(code == 0 and "moved" in out, "the tag moves")
    tap.equal(scored_by(d, "mneme@release"), head, "and so do its answers")
    mneme("untag", "release", *where, code=0)
    tap.equal(scored_by(d, "mneme@release"), 404, "untag")
    moves = d.get("/v1/history")[1]["tags"]
    tap.equal([(m["name"], m["version"]) for m in moves],
              [("release", None), ("release", head), ("release", first)],
              "the history has every change")
    tap.ok("TAG" in mneme("history", *where)[1], "history prints them")
    tap.equal(mneme("verify", "--all", data=d.data)[0], 0, "the store is whole")


def tombstones(tap):
    """A message without a value forgets the records of its key."""
    d = Daemon("tombstones", source__type="kafka",
               source__kafka__tombstone="forget",
               learner__holdout__fraction=0.2,
               **{"source__kafka__properties__bootstrap.servers": "embedded"})
    d.start(wait="alive")
    with open(os.path.join(d.data, "kafka.addr")) as f:
        address = f.read().strip()

    def produce(*messages):
        subprocess.run([CLIENT, address, "produce", "text"], text=True,
                       input="".join(f"0:{key}\t{value}\n"
                                     for key, value in messages), check=True)

    def rows():
        db = sqlite3.connect(f"file:{os.path.join(d.data, 'mneme.db')}"
                             "?mode=ro", uri=True)
        try:
            return dict(db.execute(
                "SELECT id, count(DISTINCT record_offset) FROM (SELECT id,"
                " record_offset, died FROM replay_rows UNION ALL SELECT id,"
                " record_offset, died FROM holdout_rows) WHERE died IS NULL"
                " GROUP BY id"))
        finally:
            db.close()

    def message(person, i):
        return person, json.dumps({
            "id": person, "text": json.loads(records(
                "harbour", 1, seed=f"{person}{i}")[0])["text"]})

    produce(*[message(p, i) for i in range(30) for p in ("alice", "bob")])
    d.until_consumed(60)
    produce(("alice", "null"), ("", "null"), message("alice", 99))
    d.until(lambda: d.status()["records"]["consumed"] == 63 and
            rows() == {"alice": 1, "bob": 30}, "alice is forgotten", 120)
    s = d.status()["records"]
    tap.equal((s["skipped"], s["quarantined"]), (1, 1),
              "the tombstone is skipped; one without a key is a bad record")
    tap.ok(any(v["forgotten"] for v in d.versions()),
           "versions that learned from her are marked")
    tap.equal(d.stop(), 0, "it stops")


def main():
    tap = Tap()
    path = write_lines(os.path.join(TMP, "lines.jsonl"),
                       records("harbour", 200))
    d = Daemon("manage", source__type="file", source__path=path,
               source__follow="true", publish__keep__newest=1000,
               publish__keep__hourly=0, publish__keep__daily=0)
    d.start()
    d.until_consumed(200)
    first = tags(tap, d)
    files(tap, d, first)
    kept(tap, d, path, first)
    tap.equal(d.stop(), 0, "it stops")
    tokens(tap)
    tombstones(tap)
    tap.exit()


main()
