#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Apache Kafka as it is in the field, a story for each thing that happens.

After each story the counters add up, and the ledger names each offset that the
topic has for a reader of committed records once, and no other.

MNEME_STORIES="rebalance latest" runs these alone; MNEME_SOAK_MINUTES, as
`make soak` sets it, adds what takes long.
"""

import itertools
import json
import os
import signal
import sqlite3
import subprocess
import threading
import time
import traceback

from flow_util import (Daemon, MNEME, MNEMED, SLOW, Tap, add_up, kafka, mneme,
                       records, write_lines, TMP)

BROKER = os.path.join(TMP, "kafka")
SECOND = os.path.join(TMP, "kafka-2")
CLIENT = os.path.join(os.path.dirname(MNEMED), "..", "tests", "tools", "kafka_client")
daemons = []
LONG = "MNEME_SOAK_MINUTES" in os.environ
tap = Tap()


# --- the broker -----------------------------------------------------------

def address(listener="PLAINTEXT"):
    return kafka("address", BROKER, listener)


class Broker:
    address = None


def client(*args, text=None):
    r = subprocess.run([CLIENT, Broker.address, *map(str, args)], input=text,
                       capture_output=True, text=True, timeout=120 * SLOW)
    if r.returncode:
        raise RuntimeError(f"kafka_client {args}: {r.stderr}")
    return r.stdout


def kcat(*args, data=None):
    r = subprocess.run(["kcat", "-b", Broker.address, *args], input=data,
                       capture_output=True, timeout=120 * SLOW)
    if r.returncode:
        raise RuntimeError(f"kcat {args}: {r.stderr.decode()}")
    return r.stdout


def produce(topic, lines, partitions=1):
    """Lines, dealt to the partitions in turn."""
    client("produce", topic, text="".join(
        f"{i % partitions}\t{line}\n" for i, line in enumerate(lines)))


def offsets_of(topic):
    """{partition: offsets that a reader of committed records finds}"""
    out = kcat("-C", "-t", topic, "-o", "beginning", "-e", "-q", "-X",
               "isolation.level=read_committed", "-f", "%p %o\n")
    found = {}
    for line in out.decode().splitlines():
        p, o = map(int, line.split())
        found.setdefault(p, []).append(o)
    return found


def members(group):
    """A group's state, and its members: [id, client, size of assignment]."""
    lines = [x.split("\t") for x in client("group", group).splitlines()]
    return lines[0][0] if lines else "", lines[1:]


def leaders(topic):
    """{partition: the broker that leads it}"""
    return dict(tuple(map(int, x.split("\t")))
                for x in client("leaders", topic).splitlines())


class Producing:
    """Somebody who goes on producing meanwhile, in turn to the partitions."""

    def __init__(self, topic, partitions, seed):
        self.lines = itertools.cycle(records("harbour", 500, seed=seed))
        self.partitions = partitions
        self.n = 0
        self.stopping = threading.Event()
        self.process = subprocess.Popen(
            [CLIENT, Broker.address, "produce", topic], text=True,
            stdin=subprocess.PIPE)
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.stopping.wait(0.03):
            self.process.stdin.write(
                f"{self.n % self.partitions}\t{next(self.lines)}\n")
            self.process.stdin.flush()
            self.n += 1

    def end(self):
        """How many there are."""
        self.stopping.set()
        self.thread.join()
        self.process.stdin.close()
        if self.process.wait(60 * SLOW):
            raise RuntimeError("not everything could be produced")
        return self.n


# --- a daemon and its ledger ----------------------------------------------

def daemon_on(topic, name=None, **settings):
    """A daemon that is its topic's only reader, in the group topic-group."""
    s = {
        "source__kafka__topics": f"[{topic}]",
        "source__kafka__properties__bootstrap.servers": Broker.address,
        "source__kafka__properties__group.id": f"{topic}-group",
        "learner__flush_seconds": "0.5",
        "publish__every_seconds": "0.5",
        "publish__keep__newest": "1000",
        "learner__threads": "1",
    }
    s.update(settings)
    daemons.append(Daemon(name or topic, **s))
    return daemons[-1]


def end_all():
    """What a story that failed has left running."""
    for d in daemons:
        if d.process and d.process.poll() is None:
            d.kill()


def settled(daemon, n, seconds=180):
    """Waits until n records are consumed and the last step is in a version."""
    def done():
        s = daemon.status()
        v = daemon.get(f"/v1/versions/{s['head_version']}")[1]
        return s["records"]["consumed"] >= n and v["step"] == s["step"]
    daemon.until(done, f"{n} records in a version", seconds)
    return daemon.status()


def query(daemon, sql):
    db = sqlite3.connect(f"file:{daemon.data}/mneme.db?mode=ro", uri=True)
    try:
        return db.execute(sql).fetchall()
    finally:
        db.close()


def ledger(daemon):
    """{(topic, partition): offsets in the order in which they were decided}"""
    found = {}
    for topic, partition, first, last, count, version in query(
            daemon, "SELECT topic, partition, first_offset, last_offset,"
            " count, version FROM ledger JOIN partitions"
            " ON partition_id = partitions.id WHERE kind <> 'c'"
            " ORDER BY version, seq"):
        if count != last - first + 1:
            raise RuntimeError(f"version {version}: {count} records from "
                               f"{first} to {last}")
        found.setdefault((topic, partition), []).extend(range(first, last + 1))
    return found


def positions(daemon):
    """Behind the last record that is decided, which may be learned in part."""
    return {(t, p): n for t, p, n in query(
        daemon, "SELECT topic, partition, next_offset + (tokens_done > 0)"
        " FROM offsets"
        " JOIN partitions ON partition_id = partitions.id"
        " WHERE version = (SELECT head FROM pointers)")}


def exactly_once(daemon, topic, name, consumed, start=0, of=None):
    """The ledger against what the topic holds (or held: of)."""
    status = settled(daemon, consumed)
    tap.ok(add_up(status), f"{name}: counters add up")
    tap.equal(status["records"]["consumed"], consumed,
              f"{name}: {consumed} records counted")
    there, at, wrong = of or offsets_of(topic), positions(daemon), []
    learned = ledger(daemon)
    for p, offsets in there.items():
        got = learned.get((topic, p), [])
        # What is decided after the last step waits for the next version.
        end = at.get((topic, p), 0)
        wanted = [o for o in offsets if start <= o < end]
        if got != wanted:
            wrong.append(f"[{p}] got {got}, wanted {wanted}")
    tap.ok(not wrong, f"{name}: each offset once in the ledger, in order")
    for line in wrong:
        tap.note(line[:2000])
    return status


def verified(daemon, name):
    tap.equal(mneme("verify", "--all", data=daemon.data)[0], 0,
              f"{name}: mneme verify --all finds nothing")


def next_offsets(daemon):
    """Of its partitions, in order; for a topic alone."""
    return [p["offset"] for p in daemon.status()["source"]["partitions"]]


def state_says(daemon, words, seconds=60):
    daemon.until(lambda: words in (daemon.status().get("reason") or
                                   daemon.status()["source"].get("reason")
                                   or ""), f"a state that says: {words}",
                 seconds)
    return daemon.status()["source"]["reason"]


def assigned(daemon, n=1, seconds=60):
    """Waits until it reads n partitions."""
    daemon.until(lambda: daemon.status()["source"]["state"] == "running" and
                 len(daemon.status()["source"]["partitions"]) >= n,
                 f"{n} partitions", seconds)


def log_lines(daemon, words):
    with open(daemon.log, errors="replace") as f:
        return [line for line in f if words in line]


def end(daemon, name):
    verified(daemon, name)
    tap.equal(daemon.stop(), 0, f"{name}: SIGTERM: exit 0")


# --- the stories ----------------------------------------------------------

def broker_restart():
    """The broker is killed in mid-stream; then versions are learned again."""
    name, topic = "broker restart", "restart"
    client("topic", topic, 3)
    d = daemon_on(topic)
    produce(topic, records("harbour", 300), 3)
    d.start()
    d.until_consumed(100)
    kafka("kill", BROKER)
    why = state_says(d, "does not answer")
    tap.note(why)
    tap.equal(d.get("/readyz")[0], 200, f"{name}: serving goes on")
    kafka("start", BROKER)
    Broker.address = address()
    produce(topic, records("orchard", 300), 3)
    exactly_once(d, topic, name, 600)
    tap.equal(len(log_lines(d, "state=retrying")), 1,
              f"{name}: said once that it does not answer")
    tap.equal(d.status()["source"]["state"], "running",
              f"{name}: and that it is back")
    retrain(d, topic, name)
    end(d, name)


def retrain(daemon, topic, name):
    conf = os.path.join(daemon.dir, "mneme.yaml")
    with open(conf, "w") as f:
        f.write("source:\n  kafka:\n    topics: [%s]\n    properties:\n"
                "      bootstrap.servers: %s\n" % (topic, Broker.address))
    versions = [v for v in daemon.versions() if v["parent"]]
    versions.sort(key=lambda v: v["version"])
    for v in {versions[len(versions) // 2]["version"],
              versions[-1]["version"]}:
        code, out, err = mneme("verify", str(v), "--retrain", "--json", "-c",
                               conf, data=daemon.data, seconds=300)
        if not tap.ok(code == 0 and json.loads(out)["same"],
                      f"{name}: version {v} learned again from Kafka, bit by "
                      "bit"):
            tap.note(f"exit {code}: {out} {err[-500:]}")


def rebalance():
    """Another data directory is refused; a plain consumer comes and goes."""
    name, topic = "rebalance", "balance"
    group = f"{topic}-group"
    client("topic", topic, 4)
    d = daemon_on(topic)
    produce(topic, records("harbour", 100), 4)
    d.start()
    settled(d, 100)

    other = daemon_on(topic, "balance-other")
    other.start()
    why = state_says(other, "belongs to another data directory")
    tap.ok(group in why, f"{name}: another data directory is refused: {why}")
    d.until(lambda: len(members(group)[1]) == 1, "the other one leaves")
    produce(topic, records("harbour", 100, start=100), 4)
    exactly_once(d, topic, f"{name}, refused", 200)
    tap.equal(other.status()["records"]["consumed"], 0,
              f"{name}: the refused one has learned nothing")
    tap.equal(other.stop(), 0, f"{name}: the refused one ends well")

    out = os.path.join(TMP, "kcat.out")
    second = subprocess.Popen(
        ["kcat", "-b", Broker.address, "-G", group, topic, "-q", "-u", "-X",
         "auto.offset.reset=earliest", "-f", "%p %o\n"],
        stdout=open(out, "w"), stderr=subprocess.DEVNULL)
    try:
        d.until(lambda: members(group)[0] == "Stable" and
                [m[2] != "0" for m in members(group)[1]] == [True, True],
                "a second member with partitions")
        produce(topic, records("orchard", 100), 4)
        d.until(lambda: len(open(out).read().splitlines()) >= 50,
                "the second member reads")
        taken = {line.split()[0] for line in open(out)}
        tap.equal(len(taken), 2, f"{name}: the second member has two "
                  "partitions")
        settled(d, 250)
        time.sleep(0.3)
        tap.equal(d.status()["records"]["consumed"], 250,
                  f"{name}: the daemon reads the two others")
    finally:
        second.send_signal(signal.SIGTERM)
        second.wait(30 * SLOW)
    exactly_once(d, topic, f"{name}, it has left", 300)
    produce(topic, records("orchard", 40, start=100), 4)
    exactly_once(d, topic, f"{name}, afterwards", 340)
    end(d, name)


def slow():
    """The queue stays full for many times max.poll.interval.ms."""
    name, topic = "slow", "slow"
    client("topic", topic, 2)
    d = daemon_on(
        topic, publish__every_seconds=3, source__max_record_bytes=1 << 20,
        **{"source__kafka__properties__session.timeout.ms": 1000,
           "source__kafka__properties__heartbeat.interval.ms": 200,
           "source__kafka__properties__max.poll.interval.ms": 1000})
    # 32 MiB are a full queue: a little text, and much that is not.
    n = 600 if LONG else 90
    texts = [json.loads(x)["text"] for x in records("harbour", 7 * n)]
    pad = "x" * 900000
    for i in range(0, n, 30):
        produce(topic, [json.dumps({"text": " ".join(texts[7 * j:7 * j + 7]),
                                    "pad": pad}) for j in range(i, i + 30)],
                2)
    d.start()
    d.until_consumed(1)
    before = members(f"{topic}-group")[1]
    began = time.monotonic()
    d.until_consumed(n - 40, 600)  # what is left fits into the queue
    seconds = time.monotonic() - began
    tap.note(f"{name}: the queue was full for {seconds:.0f} s")
    tap.ok(seconds > 2, f"{name}: longer than max.poll.interval.ms, 1 s")
    exactly_once(d, topic, name, n)
    tap.equal(members(f"{topic}-group")[1], before,
              f"{name}: the same member all the time")
    tap.equal(len(log_lines(d, "state=retrying")), 0,
              f"{name}: never evicted")
    end(d, name)


def transactions():
    """Aborted records are never learned; offsets have holes."""
    name, topic = "transactions", "txn"
    client("topic", topic, 2)
    d = daemon_on(topic)
    d.start()
    lines, wanted = [], 0
    good, bad = records("harbour", 200), records("workshop", 200)
    for i in range(10):
        for how, texts in (("commit", good), ("abort", bad)):
            lines.append("begin")
            for j in range(5 + i):
                lines.append(f"{j % 2}\t{texts[10 * i + j]}")
                wanted += how == "commit"
            lines.append(how)
        lines.append(f"{i % 2}\t{good[150 + i]}")
        wanted += 1
    lines += ["begin", f"0\t{bad[150]}", f"1\t{bad[151]}", "abort"]
    client("produce", topic, text="\n".join(lines) + "\n")
    status = exactly_once(d, topic, name, wanted)
    d.until(lambda: all(p["lag"] == 0 for p in
                        d.status()["source"]["partitions"]), "no lag", 30)
    tap.ok("workshop" not in {x["domain"] for x in
                              d.get("/v1/domains")[1]["domains"]},
           f"{name}: nothing of the aborted ones is known")
    d.kill()
    d.start()
    produce(topic, records("harbour", 20, start=300), 2)
    exactly_once(d, topic, f"{name}, after a kill", wanted + 20)
    tap.equal(status["records"]["quarantined"], 0, f"{name}: none refused")
    end(d, name)


def bytes_of_all_kinds():
    """Codecs, headers, no value, empty, not UTF-8, 10 MB; dead letters."""
    name, topic, letters = "bytes", "bytes", "bytes.dead"
    client("topic", topic, 1)
    codecs = ("gzip", "snappy", "lz4", "zstd")
    for codec in codecs:
        kcat("-P", "-t", topic, "-z", codec, "-H", f"domain=by-{codec}",
             data="\n".join(
                 json.dumps({"text": json.loads(x)["text"]})
                 for x in records("harbour", 25, seed=codec)).encode())
    kcat("-P", "-t", topic, "-H", "colour=blue", "-Z", data=b"\n")
    client("produce", topic, text="0\tnull\n0\t\n")
    not_utf8 = b"caf\xe9 \xff\xfe broken"
    kcat("-P", "-t", topic, "-H", "colour=red", data=not_utf8)
    big = json.dumps({"text": "A large one.", "label": "large",
                      "pad": "x" * (10 << 20)})
    path = write_lines(os.path.join(TMP, "big"), [big])
    os.truncate(path, len(big))
    kcat("-P", "-t", topic, "-X", "message.max.bytes=20000000",
         "-H", "colour=green", path)
    produce(topic, [json.dumps({"text": f"Word {i}.", "label": "small",
                                "domain": "own"}) for i in range(40)])
    n_bad = len(offsets_of(topic)[0]) - 100 - 40

    d = daemon_on(topic, source__kafka__dead_letter=letters)
    d.start()
    status = exactly_once(d, topic, name, 140 + n_bad)
    tap.equal(status["records"]["quarantined"], n_bad,
              f"{name}: {n_bad} bad records")
    rows = dict(query(d, "SELECT reason, count(*) FROM quarantine"
                      " GROUP BY reason"))
    tap.note(f"quarantine: {rows}")
    tap.equal(rows, {"empty": n_bad - 3, "null": 1, "not_utf8": 1,
                     "too_long": 1},
              f"{name}: each by its reason")
    domains = {x["domain"] for x in d.get("/v1/domains")[1]["domains"]}
    tap.ok({f"by-{c}" for c in codecs} | {"own"} <= domains,
           f"{name}: four codecs, and the header domain")
    d.until(lambda: d.status()["source"]["dead_letters_waiting"] == n_bad,
            "no topic for the dead letters: all of them wait", 60)
    client("topic", letters, 1)
    d.until(lambda: d.status()["source"]["dead_lettered"] == n_bad,
            "dead letters delivered when it is there", 60)
    source = d.status()["source"]
    tap.equal((source["dead_letters_waiting"], source["dead_letters_failed"]),
              (0, 0), f"{name}: none waits, none has failed")
    out = kcat("-C", "-t", letters, "-o", "beginning", "-e", "-q", "-f",
               "%S %h\n%s\n", "-X", "fetch.message.max.bytes=30000000",
               "-X", "receive.message.max.bytes=200000000",
               "-X", "fetch.max.bytes=100000000").split(b"\n")
    heads, values = out[0::2], out[1::2]
    tap.ok(big.encode() in values and not_utf8 in values,
           f"{name}: dead letters as they came")
    tap.ok(all(b"mneme.reason=" in h and b"mneme.offset=" in h
               for h in heads if h) and
           any(b"colour=green" in h and b"mneme.reason=too_long" in h
               for h in heads),
           f"{name}: with the reason and their own headers")
    tap.ok(any(h.startswith(b"-1 ") for h in heads),
           f"{name}: no value stays no value")
    end(d, name)

    d = daemon_on(topic, "bytes-linear", model__preset="linear",
                  source__max_record_bytes=16 << 20,
                  **{"source__kafka__properties__group.id": "linear-group"})
    d.start()
    status = exactly_once(d, topic, f"{name}, 16 MiB allowed", 140 + n_bad)
    reasons = dict(query(d, "SELECT reason, count(*) FROM quarantine"
                         " GROUP BY reason"))
    tap.ok("too_long" not in reasons, f"{name}: 10 MB are not too long then")
    code, body = d.post("/v1/classify", {"text": "A large one."})
    tap.ok(code == 200 and "large" in json.dumps(body),
           f"{name}: its label has been learned")
    end(d, f"{name}, 16 MiB allowed")


def made_again():
    """A topic is deleted and made again: another topic."""
    name, topic = "made again", "again"
    client("topic", topic, 1)
    d = daemon_on(topic, learner__holdout__fraction=0,
                  publish__gate__enabled="false", **{
        "source__kafka__properties__topic.metadata.refresh.interval.ms": 500})
    produce(topic, records("harbour", 100))
    d.start()
    exactly_once(d, topic, name, 100)
    client("delete", topic)
    client("topic", topic, 1)
    produce(topic, records("orchard", 60))
    why = state_says(d, "on_gap: skip")
    tap.ok(True, f"{name}: stopped: {why}")
    d.until(lambda: d.status()["state"] == "paused", "the learner's pause")
    tap.equal(d.get("/readyz")[0], 200, f"{name}: serving goes on")
    tap.equal(d.status()["records"]["consumed"], 100,
              f"{name}: nothing of the other one is learned")
    tap.equal(d.stop(), 0, f"{name}: SIGTERM: exit 0")
    d.start()
    tap.note(state_says(d, "on_gap: skip"))
    d.stop()
    d.start(source__kafka__on_gap="skip")
    status = settled(d, 160)
    tap.equal(status["records"]["consumed"], 160,
              f"{name}: skip: all of the new one")
    tap.equal(ledger(d)[(topic, 0)], list(range(100)) + list(range(60)),
              f"{name}: and the ledger has both")
    tap.equal(status["source"]["gaps"], 1, f"{name}: one gap is counted")
    d.kill()
    d.start(source__kafka__on_gap="skip")
    produce(topic, records("orchard", 20, start=60))
    tap.equal(settled(d, 180)["records"]["consumed"], 180,
              f"{name}: goes on after a kill")
    tap.equal(d.status()["source"]["gaps"], 0, f"{name}: without a gap")

    # Longer than the old one: only the record that was read last tells.
    client("delete", topic)
    state_says(d, topic)
    client("topic", topic, 1)
    produce(topic, records("workshop", 150))
    tap.equal(settled(d, 330)["records"]["consumed"], 330,
              f"{name}: a longer one is noticed, too")
    tap.equal(d.status()["source"]["gaps"], 1, f"{name}: as a gap")
    end(d, name)


def expired():
    """Retention was faster than the daemon."""
    name, topic = "expired", "expired"
    client("topic", topic, 1)
    d = daemon_on(topic)
    produce(topic, records("harbour", 100))
    d.start()
    exactly_once(d, topic, name, 100)
    d.stop()
    produce(topic, records("harbour", 100, start=100))
    client("trim", topic, 0, 150)
    d.start()
    why = state_says(d, "on_gap: skip")
    tap.ok("150" in why, f"{name}: stopped: {why}")
    tap.equal(d.status()["records"]["consumed"], 100,
              f"{name}: nothing is learned")
    d.stop()
    d.start(source__kafka__on_gap="skip")
    exactly_once(d, topic, name, 150,
                 of={0: list(range(100)) + list(range(150, 200))})
    tap.equal(d.status()["source"]["gaps"], 1, f"{name}: one gap is counted")
    end(d, name)


def comes_later():
    """A topic that is not there yet; then it gets more partitions."""
    name, topic = "comes later", "later"
    d = daemon_on(topic, source__kafka__start="latest", **{
        "source__kafka__properties__topic.metadata.refresh.interval.ms": 500})
    d.start()
    state_says(d, topic)
    tap.equal(len(log_lines(d, "state=retrying")), 1,
              f"{name}: said once that there is none")
    client("topic", topic, 1)
    assigned(d, 1)
    produce(topic, records("harbour", 60))
    exactly_once(d, topic, name, 60)
    client("partitions", topic, 3)
    produce(topic, records("orchard", 60), 3)
    exactly_once(d, topic, f"{name}, new partitions from their beginning",
                 120)
    end(d, name)


def begins():
    """start: latest and timestamp:MS."""
    name, topic = "start", "begin"
    client("topic", topic, 2)
    produce(topic, records("harbour", 50), 2)
    latest = daemon_on(topic, "begin-latest", source__kafka__start="latest")
    latest.start()
    assigned(latest, 2)
    time.sleep(0.1)
    at = int(time.time() * 1000)
    time.sleep(0.1)
    produce(topic, records("orchard", 40), 2)
    exactly_once(latest, topic, "start: latest", 40, start=25)
    end(latest, "start: latest")
    timed = daemon_on(topic, "begin-time",
                      source__kafka__start=f"timestamp:{at}",
                      **{"source__kafka__properties__group.id": "timed"})
    timed.start()
    exactly_once(timed, topic, "start: timestamp", 40, start=25)
    end(timed, "start: timestamp")


def secured():
    """SASL/PLAIN in TLS: right, a wrong password, an authority unknown."""
    name, topic = "secured", "secured"
    tls = os.path.join(BROKER, "tls")
    with open(os.path.join(tls, "password")) as f:
        password = f.read().strip()
    p = "source__kafka__properties__"
    sasl = {
        f"{p}bootstrap.servers": address("SASL_SSL"),
        f"{p}security.protocol": "SASL_SSL",
        f"{p}sasl.mechanism": "PLAIN",
        f"{p}sasl.username": "mneme",
        f"{p}sasl.password": password,
        f"{p}ssl.ca.location": os.path.join(tls, "ca.pem"),
        "log__level": "debug",
    }
    client("topic", topic, 1)
    produce(topic, records("harbour", 60))
    d = daemon_on(topic, **sasl)

    wrong = "correct-horse-battery"
    d.start(**{f"{p}sasl.password": wrong})
    why = state_says(d, "uthentication")
    tap.ok(True, f"{name}: wrong password: {why}")
    time.sleep(2)
    tap.equal(len(log_lines(d, "state=retrying")), 1,
              f"{name}: wrong password: one line")
    tap.ok("uthentication" in d.status()["source"]["reason"],
           f"{name}: wrong password: it keeps to the reason")
    tap.equal(d.get("/readyz")[0], 200, f"{name}: serves all the same")
    tap.equal(d.stop(), 0, f"{name}: wrong password: SIGTERM: exit 0")

    os.rename(d.log, d.log + ".password")
    d.start(**{f"{p}ssl.ca.location": os.path.join(tls, "other-ca.pem")})
    why = state_says(d, "certificate")
    tap.ok(True, f"{name}: unknown authority: {why}")
    time.sleep(1)
    tap.equal(len(log_lines(d, "state=retrying")), 1,
              f"{name}: unknown authority: one line")
    tap.equal(d.stop(), 0, f"{name}: unknown authority: SIGTERM: exit 0")

    os.rename(d.log, d.log + ".authority")
    d.start()
    exactly_once(d, topic, name, 60)
    end(d, name)

    plain = daemon_on(topic, "secured-tls", **{
        f"{p}bootstrap.servers": address("SSL"),
        f"{p}security.protocol": "SSL",
        f"{p}ssl.ca.location": os.path.join(tls, "ca.pem"),
        f"{p}group.id": "tls-group"})
    plain.start()
    exactly_once(plain, topic, f"{name}, TLS alone", 60)
    end(plain, f"{name}, TLS alone")

    printed = subprocess.run(
        [*d.command(), "-T"], capture_output=True,
        env=dict(os.environ, MNEME_CONF=os.devnull)).stdout
    leaks = [] if password.encode() not in printed else ["mnemed -T"]
    for folder, _, files in os.walk(d.dir):
        for file in files:
            with open(os.path.join(folder, file), "rb") as f:
                text = f.read()
            if password.encode() in text or wrong.encode() in text:
                leaks.append(file)
    tap.equal(leaks, [], f"{name}: no secret in logs (debug), files or -T")


def leader_change():
    """Leaders, and the group's coordinator, stop, are killed and come back."""
    name, topic = "leader change", "leaders"
    kafka("join", SECOND, BROKER)
    client("topic", topic, 4, 2)
    d = daemon_on(topic)
    produce(topic, records("orchard", 40), 4)
    d.start()
    settled(d, 40)
    kafka("replicas", BROKER, "__consumer_offsets", "2,1")
    d.until(lambda: leaders("__consumer_offsets") == {0: 2},
            "the coordinator on broker 2")
    before = leaders(topic)
    tap.equal(sorted(before.values()), [1, 1, 2, 2],
              f"{name}: two brokers lead two partitions each")
    n = 40
    for how in ("stop", "kill"):
        n += without_the_second(d, topic, before, how)
        exactly_once(d, topic, f"{name}, {how}", n)
    tap.equal(len(log_lines(d, "state=retrying")), 0,
              f"{name}: nothing to say: there was a broker all the time")
    retrain(d, topic, name)
    end(d, name)
    kafka("stop", SECOND)


def without_the_second(d, topic, before, how):
    """Broker 2 goes and comes back meanwhile; how many records that took."""
    at = next_offsets(d)
    producing = Producing(topic, len(at), how)

    def reads_on():
        """In each partition past what is there now."""
        ends = [x + producing.n // len(at) + 1 for x in at]
        d.until(lambda: all(x > y for x, y in zip(next_offsets(d), ends)),
                "each partition is read on")

    try:
        reads_on()
        kafka(how, SECOND)
        d.until(lambda: set(leaders(topic).values()) == {1},
                "broker 1 leads all of it")
        reads_on()
        kafka("start", SECOND)
        d.until(lambda: leaders(topic) == before and
                leaders("__consumer_offsets") == {0: 2},
                "leadership moves back")
        reads_on()
    finally:
        n = producing.end()
    return n


STORIES = [rebalance, transactions, bytes_of_all_kinds, made_again, expired,
           comes_later, begins, secured, slow, broker_restart,
           leader_change]


def main():
    wanted = os.environ.get("MNEME_STORIES", "").split()
    kafka("secure", BROKER)
    Broker.address = kafka("start", BROKER)
    for story in STORIES:
        if wanted and story.__name__ not in wanted:
            continue
        began = time.monotonic()
        try:
            story()
        except Exception:
            tap.ok(False, f"{story.__name__}: {story.__doc__}")
            tap.note(traceback.format_exc().replace("\n", "\n# "))
            end_all()
        tap.note(f"{story.__name__}: {time.monotonic() - began:.1f} s")
    kafka("stop", BROKER)
    tap.exit()


try:
    main()
finally:
    kafka("stop", SECOND, check=False)
    kafka("stop", BROKER, check=False)
