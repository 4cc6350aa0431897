#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A data directory from somebody else: every checksum is right, and what is
in it is not what mneme wrote.

Each tampering is done to a copy of one small store. Then the copy is verified,
a version is learned again, and the daemon starts on it, is asked and stopped.
Every program must end with 0, 1 or 3, in bounded time and memory and without
a word of the sanitizers; when a daemon does not start it says why in one line.

A part runs by default; TAMPER=all runs the whole table, TAMPER=NAME what begins
with a name, TAMPER_PART=20-40 the 20th to the 39th. TAMPER_RANDOM (5; soak:
1,000) random changes of cells and of numbers in JSON follow, by TAMPER_SEED.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time

from flow_util import (Daemon, MNEME, MNEMED, Tap, records, write_lines, TMP)

TAMPER_SQL = os.path.join(os.path.dirname(os.path.dirname(MNEMED)),
                          "tests", "tools", "tamper")
SOAK = bool(os.environ.get("SOAK"))
WHICH = os.environ.get("TAMPER", "all" if SOAK else "")
N_RANDOM = int(os.environ.get("TAMPER_RANDOM", "1000" if SOAK else "5"))
SEED = int(os.environ.get("TAMPER_SEED", "1"))
MANY = [int(n) for n in os.environ.get("TAMPER_PART", "").split("-") if n]
SECONDS = int(os.environ.get("TAMPER_SECONDS", "60"))
# Of one process beside what the whole store needs. A sanitizer takes more.
MEMORY = int(os.environ.get("TAMPER_MEMORY_MB", "400")) << 20
HUGE = 9223372036854775807
NEAR = 9223372036854775000

SETTINGS = {
    "source.type": "file",
    "model.preset": "custom", "model.dim": 16, "model.layers": 1,
    "model.heads": 2, "model.kv_heads": 1, "model.ffn_dim": 16,
    "model.context": 64, "model.tokenizer": "bytes",
    "learner.batch_tokens": 512, "learner.shards": 2, "learner.threads": 1,
    "learner.holdout.fraction": 0.1, "learner.ewc.consolidate": "every:5",
    "publish.every_seconds": 0, "publish.every_tokens": 5000,
    "filter.surprise.enabled": "false",
    "http.listen": "127.0.0.1:0", "log.format": "text",
}

# What learning again reads first; the short form does so for these alone.
RETRAINED = ("untouched", "shards", "metadata", "ledger", "release", "setting",
             "config", "tokenizer", "file", "a view", "random")
# TAMPER_PRESET=linear: the same without a Transformer, where a file that is
# changed is there.
LINEAR = os.environ.get("TAMPER_PRESET") == "linear"
if LINEAR:
    SETTINGS = {k: v for k, v in SETTINGS.items()
                if not k.startswith("model.")}
    SETTINGS["model.preset"] = "linear"
    SETTINGS["publish.every_tokens"] = 1000


# --- one store -------------------------------------------------------------

def lines_of(n, seed):
    out = []
    for domain in ("harbour", "orchard"):
        out += records(domain, n, seed)
    random.Random(seed).shuffle(out)
    for i, line in enumerate(out):
        if i % 3 == 0 or LINEAR:
            rec = json.loads(line)
            rec["label"] = "odd" if i % 2 else "even"
            out[i] = json.dumps(rec)
        if i % 40 == 7:
            out[i] = json.dumps({"text": f"again and {i} again " * 60,
                                 "domain": "harbour", "id": f"odd-{i}"})
    return out


def add_lines(d, path, n, seed):
    """Feeds records, and waits for the versions that come of them."""
    before = d.status()["head_version"]
    with open(path, "a") as f:
        f.write("".join(line + "\n" for line in lines_of(n, seed)))
    d.until(lambda: d.status()["head_version"] > before, "a version", 300)
    time.sleep(1)


def make_store():
    path = write_lines(os.path.join(TMP, "in.jsonl"), lines_of(60, 1))
    d = Daemon("store")
    d.settings = {**SETTINGS, "source.path": path, "source.follow": "true"}
    d.start()
    for seed in (2, 3, 4):
        add_lines(d, path, 60, seed)
    rows = d.get("/v1/quarantine")[1]["quarantine"]
    d.operation(d.post(f"/v1/quarantine/{rows[0]['id']}/release"))
    n = d.versions()[0]["version"]
    d.operation(d.post("/v1/rollback", {"version": n - 1, "mode": "skip",
                                        "reason": "for the test"}))
    add_lines(d, path, 60, 5)
    d.operation(d.post("/v1/forget", {"id": "harbour-3"}))
    add_lines(d, path, 60, 6)
    d.stop()
    return d, path


def sql(data, *statements):
    stdin = None
    if sum(map(len, statements)) > 100000:
        stdin, statements = ";\n".join(statements), ["-"]
    r = subprocess.run([TAMPER_SQL, os.path.join(data, "mneme.db"),
                        *statements], capture_output=True, text=True,
                       input=stdin)
    if r.returncode:
        raise RuntimeError(f"{statements}: {r.stderr}")
    return [line.split("\t") for line in r.stdout.splitlines()]


def head(data):
    return int(sql(data, "SELECT head FROM pointers")[0][0])


def file_of(data, version, name):
    return os.path.join(data, "versions", f"{version:06d}", name)


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def mend(data, version, name):
    """The digests in the database are those of the file as it is now."""
    path = file_of(data, version, name)
    sql(data, f"UPDATE version_files SET sha256 = '{digest(path)}', bytes ="
              f" {os.path.getsize(path)} WHERE version = {version} AND"
              f" name = '{name}'")
    both = "".join(
        digest(file_of(data, version, n))
        for n in ("model.safetensors", "head.safetensors",
                  "ngram.safetensors")
        if os.path.exists(file_of(data, version, n)))
    total = hashlib.sha256(both.encode()).hexdigest()
    sql(data, f"UPDATE versions SET weights_sha256 = '{total}'"
              f" WHERE version = {version}")


def rewrite(data, version, name, data_bytes):
    path = file_of(data, version, name)
    os.unlink(path)  # it may be linked to its parent's
    with open(path, "wb") as f:
        f.write(data_bytes)
    mend(data, version, name)


def tensors(data, version, name):
    with open(file_of(data, version, name), "rb") as f:
        whole = f.read()
    n = struct.unpack("<Q", whole[:8])[0]
    return json.loads(whole[8:8 + n]), bytearray(whole[8 + n:])


def put_tensors(data, version, name, header, body):
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    rewrite(data, version, name, struct.pack("<Q", len(text)) + text + body)


# --- kinds of tampering: each returns a function of the data directory ------

def q(*statements):
    return lambda data: sql(data, *statements)


def at_head(table, change):
    return q(f"UPDATE {table} SET {change} WHERE version ="
             f" (SELECT head FROM pointers)")


SUMMED = ("key, domain, label, n_tokens, n_masked, n_bytes, ends, tokens,"
          " text, logits, partition_id, record_offset, part, time_ms,"
          " text_hash, id")


def row(table, change, where="1"):
    """Changes rows, and their checksums after them."""
    return q(f"UPDATE {table} SET {change} WHERE {where}",
             f"UPDATE {table} SET checksum = rowsum({SUMMED})")


def tensor(name, tensor_name, fmt, index, value):
    """One element of a tensor of the head version's file."""
    def change(data):
        v = head(data)
        header, body = tensors(data, v, name)
        begin, end = header[tensor_name]["data_offsets"]
        size = struct.calcsize(fmt)
        places = range((end - begin) // size) if index is None else [index]
        for i in places:
            if begin + size * (i + 1) <= end:
                struct.pack_into("<" + fmt, body, begin + size * i, value)
        put_tensors(data, v, name, header, body)
    return change


def tensor_header(name, change_header):
    def change(data):
        v = head(data)
        header, body = tensors(data, v, name)
        put_tensors(data, v, name, change_header(header) or header, body)
    return change


def raw_header(name, length=None, text=None):
    def change(data):
        v = head(data)
        header, body = tensors(data, v, name)
        text_bytes = text if text is not None else json.dumps(header).encode()
        n = len(text_bytes) if length is None else length
        rewrite(data, v, name, struct.pack("<Q", n) + text_bytes + body)
    return change


def as_json(name, change_json, every=False):
    def change(data):
        versions = [int(r[0]) for r in sql(data, "SELECT version FROM"
                                           " versions")] if every \
            else [head(data)]
        for v in versions:
            with open(file_of(data, v, name)) as f:
                value = json.load(f)
            value = change_json(value) or value
            rewrite(data, v, name, json.dumps(value).encode())
    return change


def text_file(name, content):
    return lambda data: rewrite(data, head(data), name, content)


def with_key(key, value, *inside):
    def change(root):
        at = root
        for k in inside:
            at = at[k]
        at[key] = value
        return root
    return change


def metadata(change_json):
    def change(data):
        v = head(data)
        text = sql(data, f"SELECT metadata FROM versions WHERE version = {v}")
        value = json.loads(text[0][0])
        value = change_json(value) or value
        quoted = json.dumps(value).replace("'", "''")
        sql(data, f"UPDATE versions SET metadata = '{quoted}'"
                  f" WHERE version = {v}")
    return change


def guard(change_json):
    def change(data):
        for v, text in sql(data, "SELECT version, guard FROM versions"
                           " WHERE guard IS NOT NULL"):
            value = json.loads(text)
            value = change_json(value) or value
            quoted = json.dumps(value).replace("'", "''")
            sql(data, f"UPDATE versions SET guard = '{quoted}'"
                      f" WHERE version = {v}")
    return change


def gate(value):
    return at_head("versions", f"gate = '{value}'")


def instead_of_file(name, make):
    def change(data):
        path = file_of(data, head(data), name)
        os.unlink(path)
        make(path)
    return change


def stored(key, value):
    return metadata(with_key(key, value, "settings"))


def loose(table, body):
    """The table without its constraints, with what body says done to it."""
    def change(data):
        ddl = sql(data, "SELECT sql FROM sqlite_schema WHERE name ="
                        f" '{table}'")[0][0]
        for word in (" NOT NULL", " WITHOUT ROWID", " PRIMARY KEY"):
            ddl = ddl.replace(word, "")
        columns = [r[1] for r in sql(data, f"PRAGMA table_info({table})")]
        names = ", ".join(columns)
        sql(data, "PRAGMA foreign_keys = OFF",
            f"CREATE TABLE copied ({names})",
            f"INSERT INTO copied SELECT {names} FROM {table}",
            f"DROP TABLE {table}",
            f"ALTER TABLE copied RENAME TO {table}", body)
    return change


# --- the table: (name, is part of the short run, the change) ------------------

def table():
    state, held = "state.safetensors", "holdout.safetensors"
    model, ngram = "model.safetensors", "ngram.safetensors"
    yes, no = True, False
    t = [
        # what decides where to begin
        ("shards 0", yes, q("UPDATE settings SET value = '0' WHERE key ="
                            " 'learner.shards'")),
        ("shards 10^9", yes, q("UPDATE settings SET value = '1000000000'"
                               " WHERE key = 'learner.shards'")),
        ("shards -1", no, q("UPDATE settings SET value = '-1' WHERE key ="
                            " 'learner.shards'")),
        ("shards no number", no, q("UPDATE settings SET value = 'x' WHERE key"
                                   " = 'learner.shards'")),
        ("settings blob", no, q("UPDATE settings SET value = x'00ff'")),
        ("settings gone", no, q("DELETE FROM settings")),
        ("store_id long", no, q("UPDATE settings SET value ="
                                " hex(zeroblob(5000)) WHERE key ="
                                " 'store_id'")),
        ("schema statements", no, q(f"UPDATE schema SET statements = {NEAR}")),
        ("schema statements -5", yes, q("UPDATE schema SET statements = -5")),
        ("user_version", no, q("PRAGMA user_version = 2147483647")),
        ("pointers gone", yes, q("DELETE FROM pointers")),
        ("head near 2^63", yes, q(f"UPDATE pointers SET head = {NEAR}")),
        ("head negative", no, q("UPDATE pointers SET head = -1")),
        ("serving near 2^63", no, q(f"UPDATE pointers SET serving = {NEAR}")),
        ("serving negative", no, q("UPDATE pointers SET serving = -7")),
        ("newest 2^63 - 1", yes, q(f"UPDATE pointers SET newest = {HUGE}")),
        ("newest 0", yes, q("UPDATE pointers SET newest = 0")),
        ("newest text", no, q("UPDATE pointers SET newest = 'x'")),
        # versions
        ("metadata NULL", yes, at_head("versions", "metadata = NULL")),
        ("metadata empty", no, at_head("versions", "metadata = ''")),
        ("metadata no JSON", no, at_head("versions", "metadata = '[1'")),
        ("metadata deep", no, at_head(
            "versions", "metadata = replace(hex(zeroblob(50000)), '0', '[')")),
        ("metadata {}", no, at_head("versions", "metadata = '{}'")),
        ("all metadata NULL", no, q("UPDATE versions SET metadata = NULL")),
        ("state unknown", no, at_head("versions", "state = 'x'")),
        ("parent itself", no, at_head("versions", "parent = version")),
        ("base itself", yes, q("UPDATE versions SET base = version,"
                               " guard = NULL")),
        ("base near 2^63", no, at_head("versions", f"base = {NEAR}")),
        ("step near 2^63", yes, at_head("versions", f"step = {HUGE}")),
        ("step negative", no, at_head("versions", "step = -9")),
        ("tokens near 2^63", no, at_head("versions", f"tokens_seen = {HUGE}")),
        ("created near 2^63", yes, q(f"UPDATE versions SET created_ms ="
                                     f" {HUGE}")),
        ("created least", no, q(f"UPDATE versions SET created_ms = -{HUGE}")),
        ("bytes near 2^63", no, q(f"UPDATE versions SET bytes = {HUGE}")),
        ("digest long", no, at_head("versions", "weights_sha256 ="
                                    " hex(zeroblob(500))")),
        ("digest NULL", no, loose("versions", "UPDATE versions SET"
                                  " weights_sha256 = NULL")),
        ("version number 2^63 - 1", no, q(
            f"UPDATE versions SET version = {HUGE} WHERE version ="
            " (SELECT head FROM pointers)")),
        # files of versions
        ("file bytes -1", no, q("UPDATE version_files SET bytes = -1")),
        ("file bytes 2^63", no, q(f"UPDATE version_files SET bytes = {HUGE}")),
        ("file digest NULL", yes, loose("version_files", "UPDATE version_files"
                                        " SET sha256 = NULL")),
        ("file name NULL", yes, loose("version_files", "UPDATE version_files"
                                      " SET name = NULL")),
        ("file name ..", yes, q("UPDATE version_files SET name ="
                                " '../../../../etc/passwd' WHERE name ="
                                " 'labels.json'")),
        ("file rows gone", no, q("DELETE FROM version_files WHERE version ="
                                 " (SELECT head FROM pointers)")),
        ("weights a link", no, instead_of_file(
            model, lambda p: os.symlink("/dev/zero", p))),
        ("labels a FIFO", yes, instead_of_file("labels.json", os.mkfifo)),
        ("config a folder", no, instead_of_file("config.json", os.mkdir)),
        # offsets and partitions
        ("offset 2^63 - 1", yes, q(f"UPDATE offsets SET next_offset ="
                                   f" {HUGE}")),
        ("offset negative", yes, q("UPDATE offsets SET next_offset = -5")),
        ("tokens_done 2^63 - 1", no, q(f"UPDATE offsets SET tokens_done ="
                                       f" {HUGE}")),
        ("tokens_done negative", no, q("UPDATE offsets SET tokens_done = -1")),
        ("last_learned 2^63 - 1", yes, q(f"UPDATE offsets SET last_learned ="
                                         f" {HUGE}")),
        ("topic NULL", yes, loose("partitions", "UPDATE partitions SET topic ="
                                  " NULL")),
        ("partition 2^40", no, q("UPDATE partitions SET partition = 1 << 40")),
        ("partition -1", no, q("UPDATE partitions SET partition = -1")),
        ("partition id 10^9", yes, q("PRAGMA foreign_keys = OFF",
                                     "UPDATE partitions SET id = 1000000000"
                                     " WHERE id = 0",
                                     "UPDATE offsets SET partition_id ="
                                     " 1000000000 WHERE partition_id = 0")),
        # ledger, ranges, releases, tombstones, history
        ("ledger offsets near 2^63", yes, q(
            f"UPDATE ledger SET first_offset = {HUGE} - 1,"
            f" last_offset = {HUGE}")),
        ("ledger span 2^60", yes, q("UPDATE ledger SET first_offset = 0,"
                                    " last_offset = 1 << 60")),
        ("ledger negative", no, q("UPDATE ledger SET first_offset = -9,"
                                  " last_offset = -5")),
        ("ledger step 2^63 - 1", yes, q(f"UPDATE ledger SET step = {HUGE}")),
        ("ledger kind", yes, q("UPDATE ledger SET kind = ''")),
        ("ledger kind x", no, q("UPDATE ledger SET kind = 'x'")),
        ("ledger partition", no, q("PRAGMA foreign_keys = OFF", "UPDATE ledger"
                                   " SET partition_id = 12345")),
        ("ledger count", no, q(f"UPDATE ledger SET count = {HUGE}")),
        ("ledger_merged count", no, q(f"UPDATE ledger_merged SET count ="
                                      f" {HUGE}")),
        ("ranges 2^63 - 1", yes, q(f"UPDATE control_log SET last_offset ="
                                   f" {HUGE} WHERE last_offset IS NOT NULL")),
        ("ranges backwards", no, q("UPDATE control_log SET first_offset = 99,"
                                   " last_offset = 3 WHERE last_offset IS NOT"
                                   " NULL")),
        ("ranges partition", no, q("PRAGMA foreign_keys = OFF", "UPDATE"
                                   " control_log SET partition_id = 1 << 33"
                                   " WHERE partition_id IS NOT NULL")),
        ("control time", no, q(f"UPDATE control_log SET time_ms = {HUGE}")),
        ("control reason NULL", no, q("UPDATE control_log SET reason ="
                                      " NULL")),
        ("control version", no, q(f"UPDATE control_log SET version ="
                                  f" {HUGE}")),
        ("tombstones", no, q(
            f"INSERT INTO control_log (time_ms, kind, hash, partition_id,"
            f" last_offset) VALUES (1, 'forget', 7, 0, {HUGE})")),
        ("release bytes NULL", yes, loose("releases", "UPDATE releases SET"
                                          " bytes = NULL, reason = NULL")),
        ("release id 2^62", no, q("UPDATE releases SET id = 1 << 62")),
        ("release partition", no, q("PRAGMA foreign_keys = OFF", "UPDATE"
                                    " releases SET partition_id = 777")),
        ("release blob", no, q("UPDATE releases SET bytes = zeroblob(1 <<"
                               " 24), domain = x'ff'")),
        ("quarantine", yes, loose("quarantine", "UPDATE quarantine SET reason"
                                  f" = NULL, bytes = NULL, time_ms = {HUGE},"
                                  f" record_offset = {HUGE}")),
        ("quarantine UTF-8", no, q("UPDATE quarantine SET reason = x'ff00',"
                                   " domain = x'c3'")),
        ("history times", no, q(f"UPDATE history SET from_ms = -{HUGE},"
                                f" until_ms = {HUGE}")),
        ("history NULL", no, loose("history", "UPDATE history SET cause ="
                                   " NULL, reason = NULL")),
        ("domain row", no, q(f"UPDATE version_domains SET chunks = {HUGE},"
                             " bits_per_byte = 'x'")),
        ("domain row UTF-8", no, q("UPDATE OR IGNORE version_domains SET domain ="
                                   " x'ff'")),
        # the n-gram memory
        ("ngram slots", yes, tensor(ngram, "ngram.slots", "B", None, 255)),
        ("ngram slots zero", no, tensor(ngram, "ngram.slots", "B", None, 0)),
        ("ngram token", yes, tensor(ngram, "ngram.slots", "H", None, 770)),
        ("ngram counts", yes, tensor(ngram, "ngram.counts", "q", 0, 1 << 60)),
        ("ngram counts -1", no, tensor(ngram, "ngram.counts", "q", 5, -1)),
        ("ngram weights NaN", yes, tensor(ngram, "ngram.weights", "f", 0,
                                          float("nan"))),
        ("ngram weights 1e38", no, tensor(ngram, "ngram.weights", "f", None,
                                          1e38)),
        ("ngram gone", no, q("DELETE FROM version_files WHERE name ="
                             " 'ngram.safetensors'")),
        # rows of the replay and the holdout
        ("holdout domain 1000", yes, row("holdout_rows", "domain = 1000")),
        ("holdout domain 2^31 - 1", no, row("holdout_rows",
                                            "domain = 2147483647")),
        ("holdout domain -1", no, row("holdout_rows", "domain = -1")),
        ("holdout label 4000", yes, row("holdout_rows", "label = 4000")),
        ("holdout tokens random", yes, row(
            "holdout_rows", "tokens = randomblob(length(tokens))")),
        ("holdout tokens NULL", yes, row("holdout_rows", "tokens = NULL")),
        ("holdout n_tokens 65535", yes, row(
            "holdout_rows", "n_tokens = 65535, n_masked = 0,"
            " tokens = zeroblob(131072)")),
        ("holdout masked", no, row("holdout_rows", "n_masked = n_tokens")),
        ("holdout n_bytes", no, row("holdout_rows", "n_bytes = 4294967295")),
        ("holdout text", no, row("holdout_rows", "text = 'abc'")),
        ("replay domain 1000", yes, row("replay_rows", "domain = 1000")),
        ("replay label 4000", yes, row("replay_rows", "label = 4000")),
        ("replay label 10^9", yes, row("replay_rows", "label = 1000000000")),
        ("replay tokens random", yes, row(
            "replay_rows", "tokens = randomblob(length(tokens))")),
        ("replay tokens NULL", yes, row("replay_rows", "tokens = NULL")),
        ("replay n_tokens 65535", no, row(
            "replay_rows", "n_tokens = 65535, n_masked = 0,"
            " tokens = zeroblob(131072)")),
        ("replay n_tokens 0", no, row(
            "replay_rows", "n_tokens = 0, n_masked = 0, tokens = x'0001'")),
        ("replay logits", yes, row("replay_rows",
                                   "logits = zeroblob(400000), label = 0", "key % 8 = 0")),
        ("replay logits NaN", no, row("replay_rows", "logits ="
                                      " x'ffffffffffffffff', label = 0")),
        ("replay part", no, row("replay_rows", "part = 4294967295")),
        ("replay loss", no, row("replay_rows", "loss = 1e308")),
        ("replay partition", no, row("replay_rows", "partition_id = 99999")),
        ("rows born", no, q(f"UPDATE replay_rows SET born = {HUGE}")),
        ("rows gone", no, q("DELETE FROM replay_rows")),
        ("holdout rows gone", no, q("DELETE FROM holdout_rows")),
        # the state's tensors
        ("holdout index domain 10^12", yes, tensor(
            held, "holdout.domains", "q", 0, 10**12)),
        ("holdout index domain -3", yes, tensor(
            held, "holdout.domains", "q", 0, -3)),
        ("replay index domain", no, tensor(
            state, "replay.domains", "q", None, 10**6)),
        ("replay index key", no, tensor(state, "replay.keys", "q", 0, HUGE)),
        ("replay index place", no, tensor(
            state, "replay.place", "q", 0, HUGE)),
        ("replay counters", yes, tensor(
            state, "replay.counters", "q", None, HUGE)),
        ("replay counter most", no, tensor(
            state, "replay.counters", "q", 1, (1 << 40) - 1)),
        ("holdout counter most", no, tensor(
            held, "holdout.counters", "q", 1, (1 << 40) - 1)),
        ("replay seen", no, tensor(state, "replay.seen", "q", None, HUGE)),
        ("replay bytes", no, tensor(
            state, "replay.bytes", "q", None, 4294967295)),
        ("replay last_step", yes, tensor(
            state, "replay.last_step", "q", None, HUGE)),
        ("replay nats NaN", no, tensor(
            state, "replay.nats", "f", None, float("nan"))),
        ("learner counters", yes, tensor(
            state, "learner.counters", "q", None, HUGE)),
        ("learner steps 2^60", no, tensor(
            state, "learner.counters", "q", 0, 1 << 60)),
        ("optimizer NaN", no, tensor(
            state, "optim.v", "f", None, float("nan"))),
        ("optimizer negative", no, tensor(state, "optim.v", "f", None, -1.0)),
        ("head counts", no, tensor(
            state, "head.counts", "q", None, HUGE)),
        ("weights NaN", no, tensor(
            model, "model.norm.weight", "f", None, float("nan"))),
        ("state header length", yes, raw_header(state, length=HUGE)),
        ("state header cut", no, raw_header(state, length=5)),
        ("state header deep", no, raw_header(state, text=b"[" * 100000)),
        ("state header empty", no, raw_header(state, text=b"{}")),
        ("weights shape 2^62", yes, tensor_header(
            model, with_key("shape", [1 << 31, 1 << 31, 1 << 31],
                            "model.norm.weight"))),
        ("weights shape 0", no, tensor_header(
            model, with_key("shape", [0], "model.norm.weight"))),
        ("weights offsets", no, tensor_header(
            model, with_key("data_offsets", [0, HUGE], "model.norm.weight"))),
        ("weights dtype", no, tensor_header(
            model, with_key("dtype", "I64", "model.norm.weight"))),
        ("weights transposed", no, tensor_header(
            model, with_key("shape", [16, 257],
                            "model.embed_tokens.weight"))),
        ("state dtype", no, tensor_header(
            state, with_key("dtype", "F64", "replay.keys"))),
        ("state keys shape", no, tensor_header(
            state, with_key("shape", [1, 0, 5], "replay.keys"))),
        # texts
        ("config vocab", yes, as_json("config.json", with_key(
            "vocab_size", 65536), every=True)),
        ("config dims", yes, as_json("config.json", lambda c: dict(
            c, hidden_size=8192, intermediate_size=65536,
            num_hidden_layers=128, num_attention_heads=64,
            num_key_value_heads=64, head_dim=128), every=True)),
        ("config heads", no, as_json("config.json", with_key(
            "num_attention_heads", 8192), every=True)),
        ("config context", no, as_json("config.json", with_key(
            "max_position_embeddings", 2147483647), every=True)),
        ("config context 1", yes, as_json("config.json", with_key(
            "max_position_embeddings", 1), every=True)),
        ("config number", no, as_json("config.json", with_key(
            "hidden_size", 1e300), every=True)),
        ("config empty", no, text_file("config.json", b"")),
        ("tokenizer empty", no, text_file("tokenizer.json", b"")),
        ("tokenizer larger", yes, as_json("tokenizer.json", with_key(
            "zz", 257, "model", "vocab"), every=True)),
        ("tokenizer id", no, as_json("tokenizer.json", with_key(
            "!", 70000, "model", "vocab"), every=True)),
        ("tokenizer merges", no, as_json("tokenizer.json", with_key(
            "merges", ["a b"], "model"), every=True)),
        ("labels many", yes, as_json("labels.json", lambda c: [
            str(i) for i in range(70000)])),
        ("labels none", yes, as_json("labels.json", lambda c: ["one"])),
        ("labels empty", no, text_file("labels.json", b"[]")),
        ("labels twice", no, text_file("labels.json", b'["a", "a"]')),
        # the metadata's numbers
        ("records 2^63 - 1", yes, metadata(with_key("consumed", HUGE,
                                                    "records"))),
        ("records negative", yes, metadata(with_key("learned", -5,
                                                    "records"))),
        ("tokens_seen 2^63 - 1", no, metadata(with_key("tokens_seen", HUGE))),
        ("newest_record_ms", no, metadata(with_key("newest_record_ms",
                                                   HUGE))),
        ("flushes", no, metadata(with_key("flushes", HUGE))),
        ("loss huge", no, metadata(with_key("loss", [1e308] * 4))),
        ("loss text", no, metadata(with_key("loss", ["a"] * 4))),
        ("domains none", yes, metadata(with_key("domains", []))),
        ("domains many", no, metadata(lambda m: dict(m, domains=[
            dict(m["domains"][0], name=str(i)) for i in range(70000)]))),
        ("domain bytes", no, metadata(with_key("bytes", HUGE, "domains", 0))),
        ("domain bytes negative", no, metadata(with_key(
            "bytes", -HUGE, "domains", 0))),
        ("domain right", no, metadata(with_key("right", -1e300, "domains",
                                               0))),
        ("labels of metadata none", yes, metadata(with_key("labels", []))),
        ("labels of metadata many", no, metadata(with_key(
            "labels", [str(i) for i in range(70000)]))),
        ("quarantine count", no, metadata(with_key("x", HUGE, "quarantine"))),
        ("quarantine counts", yes, metadata(with_key(
            "quarantine", {"a": 1, "b": "c", "d": -7}))),
        ("first offsets", no, metadata(with_key("first", [HUGE, -HUGE]))),
        ("first texts", no, metadata(with_key("first_texts", [1] * 9999))),
        # what the guard knew, and the verdict
        ("guard text", yes, q("UPDATE versions SET guard = '{}'")),
        ("guard numbers", yes, guard(lambda g: dict(
            g, reference=HUGE, expected=-HUGE, mark=HUGE, seen=HUGE,
            refused=HUGE, scale=-1e308))),
        ("guard reference", no, guard(with_key("reference", 987654321))),
        ("guard wish", yes, guard(with_key("wish", {
            "cause": 1, "version": HUGE, "reason": "x"}))),
        ("guard wish itself", no, guard(with_key("wish", {
            "cause": 2, "version": 1, "reason": "x" * 5000}))),
        ("guard rule", no, guard(lambda g: dict(g, rule={
            k: HUGE for k in g["rule"]}))),
        ("gate no JSON", no, gate("[")),
        ("gate deep", no, at_head("versions", "gate = replace(hex(zeroblob("
                                  "50000)), '0', '[')")),
        # stored settings
        ("setting a command", yes, stored(
            "source.kafka.properties.sasl.kerberos.kinit.cmd",
            "touch " + os.path.join(TMP, "pwned"))),
        ("setting a library", no, stored(
            "source.kafka.properties.plugin.library.paths", "/x.so")),
        ("setting a path", yes, stored("source.path", "/etc/passwd")),
        ("setting data_dir", no, stored("data_dir", "/")),
        ("setting listen", no, stored("http.listen", "0.0.0.0:1")),
        ("setting unknown", no, stored("learner.gone", "1")),
        ("setting value", no, stored("learner.seed", "-1")),
        ("setting no text", yes, stored("learner.seed", {"a": 1})),
        ("setting mapping", no, stored("learner.seed",
                                       "1\nsource: {path: /etc/passwd}")),
        ("setting capacity", no, stored("learner.replay.capacity",
                                        "10000000")),
        ("setting batch", no, stored("learner.batch_tokens", "1048576")),
        ("settings a list", no, metadata(with_key("settings", ["a"]))),
        # the schema
        ("a view", yes, q("ALTER TABLE history RENAME TO h2", "CREATE VIEW"
                          " history AS SELECT * FROM h2")),
        ("a trigger", yes, q(
            "CREATE TRIGGER evil AFTER INSERT ON versions BEGIN"
            " DELETE FROM history; DELETE FROM version_files; END")),
        ("a table less", no, q("DROP TABLE releases")),
        ("a column less", no, q("ALTER TABLE versions DROP COLUMN guard")),
        ("an index on a function", no, q(
            "CREATE INDEX evil ON versions (abs(version))")),
        ("a generated column", no, q(
            "ALTER TABLE settings ADD COLUMN evil AS (hex(zeroblob(100)))")),
        ("address of a broker", no, lambda data: open(
            os.path.join(data, "kafka.addr"), "w").write("10.0.0.1:9092\n")
            and None),
    ]
    return t


# --- running ----------------------------------------------------------------

class Ran:
    def __init__(self, code, text, peak, seconds):
        self.code, self.text = code, text
        self.peak, self.seconds = peak, seconds


def bad_words(text):
    for word in ("AddressSanitizer", "runtime error:", "mneme: bug",
                 "LeakSanitizer", "Assertion"):
        if word in text:
            return word
    return None


def wait_for(process, log, seconds):
    """Ends with the process; kills it when it takes too long."""
    begun = time.monotonic()
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        if time.monotonic() - begun > seconds:
            os.kill(process.pid, signal.SIGKILL)
            _, status, usage = os.wait4(process.pid, 0)
            status = None
            break
        time.sleep(0.01)
    process.returncode = 0  # it is gone
    with open(log, errors="replace") as f:
        text = f.read()
    code = "timeout" if status is None else os.waitstatus_to_exitcode(status)
    return Ran(code, text, usage.ru_maxrss << 10, time.monotonic() - begun)


def run(line, log, seconds=SECONDS):
    with open(log, "wb") as f:
        p = subprocess.Popen(line, stdout=f, stderr=f,
                             env=dict(os.environ, MNEME_CONF=os.devnull))
        return wait_for(p, log, seconds)


def flags(settings):
    return [x for k, v in settings.items() for x in ("--set", f"{k}={v}")]


ASKED = [
    ("GET", "/v1/status", None), ("GET", "/v1/versions", None),
    ("GET", "/v1/history", None), ("GET", "/v1/ranges", None),
    ("GET", "/v1/quarantine", None), ("GET", "/v1/domains", None),
    ("GET", "/metrics", None), ("GET", "/v1/versions/1", None),
    ("POST", "/v1/completions", {"prompt": "The", "max_tokens": 3}),
    ("POST", "/v1/score", {"text": "The tide comes in."}),
    ("POST", "/v1/classify", {"text": "The tide comes in."}),
    ("POST", "/v1/embeddings", {"input": "tide"}),
]


def serve(base, data, source, log, seconds=SECONDS):
    """Starts the daemon, which learns, sends requests, and stops it."""
    d = Daemon(os.path.basename(os.path.dirname(data)))
    d.data = data
    settings = {**SETTINGS, "source.path": source, "source.follow": "true"}
    http = os.path.join(data, "http.addr")
    if os.path.exists(http):
        os.unlink(http)
    answers = []
    with open(log, "wb") as f:
        p = subprocess.Popen([MNEMED, "--data-dir", data, *flags(settings)],
                             stdout=f, stderr=f,
                             env=dict(os.environ, MNEME_CONF=os.devnull))
    end = time.monotonic() + seconds / 2
    while time.monotonic() < end and p.poll() is None:
        try:
            if d.get("/readyz")[0] == 200:
                break
        except (OSError, ValueError):
            pass
        time.sleep(0.05)
    if p.poll() is None:
        time.sleep(float(os.environ.get("TAMPER_LEARN", "0.5")))
        for method, path, body in ASKED:
            try:
                answers.append((path, d.request(method, path, body, 20)[0]))
            except (OSError, ValueError) as why:
                answers.append((path, repr(why)))
        p.send_signal(signal.SIGTERM) if p.poll() is None else None
    if p.poll() is None:
        ran = wait_for(p, log, seconds)
    else:
        with open(log, errors="replace") as f:
            ran = Ran(p.returncode, f.read(), 0, 0)
    ran.answers = answers
    return ran


def judge(name, what, ran, problems, codes=(0, 1, 3)):
    word = bad_words(ran.text)
    if ran.code not in codes or word or ran.peak > MEMORY:
        tail = "\n".join(ran.text.splitlines()[-14:])
        problems.append(f"{name}: {what}: exit {ran.code}, peak "
                        f"{ran.peak >> 20} MiB, {word}\n{tail}")


def one_line(name, what, ran, problems):
    """A program that fails says so once, and says something."""
    last = [x for x in ran.text.splitlines()
            if x.startswith(("mnemed:", "mneme:"))]
    if "NOT the same" in ran.text:
        return  # a report, and no failure
    if ran.code in (1, 3) and len(last) != 1:
        problems.append(f"{name}: {what}: exit {ran.code} with "
                        f"{len(last)} lines of reason:\n{ran.text[-800:]}")


def try_one(base, source, name, change):
    """Tries one change; returns the problems as texts."""
    work = os.path.join(TMP, "one")
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    data = os.path.join(work, "data")
    shutil.copytree(base, data, symlinks=True)
    mine = os.path.join(work, "in.jsonl")
    problems = []
    try:
        change(data)
    except (RuntimeError, KeyError, OSError) as why:
        if LINEAR and not isinstance(why, RuntimeError):
            return []
        return [f"{name}: cannot be done: {why}"]
    log = os.path.join(work, "log")
    more = flags({**SETTINGS, "source.path": source})
    ran = run([MNEME, "verify", "--all", "--data-dir", data], log)
    judge(name, "verify --all", ran, problems)
    if WHICH or name.startswith(RETRAINED):
        ran = run([MNEME, "verify", "--retrain", "--data-dir", data, *more],
                  log)
        judge(name, "verify --retrain", ran, problems)
        one_line(name, "verify --retrain", ran, problems)
    ran = serve(base, data, source, log)
    judge(name, "start", ran, problems)
    for path, status in ran.answers:
        if not isinstance(status, int):
            if ran.code == 1:  # it ended with a reason meanwhile
                continue
            problems.append(f"{name}: {path}: {status}\n{ran.text[-600:]}")
    if ran.code == 1:
        one_line(name, "start", ran, problems)
    if os.path.exists(os.path.join(TMP, "pwned")):
        problems.append(f"{name}: the command ran")
        os.unlink(os.path.join(TMP, "pwned"))
    return problems


def model_init(tap, base, source):
    """A model directory that does not fit together, at the first start."""
    def tokenizer(d):
        d["model"]["vocab"]["zz"] = 257

    def dims(c):
        c.update(hidden_size=8192, intermediate_size=65536, head_dim=128,
                 num_hidden_layers=128, num_attention_heads=64,
                 num_key_value_heads=64)

    def vocabulary(c):
        c["vocab_size"] = 65536
    cases = [("as it is", None, None), ("a larger tokenizer",
                                        "tokenizer.json", tokenizer),
             ("absurd dimensions", "config.json", dims),
             ("an absurd vocabulary", "config.json", vocabulary)]
    for name, file, change in cases:
        work = os.path.join(TMP, "init")
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(os.path.dirname(file_of(base, head(base), "x")),
                        os.path.join(work, "model"))
        if file:
            path = os.path.join(work, "model", file)
            with open(path) as f:
                value = json.load(f)
            change(value)
            with open(path, "w") as f:
                json.dump(value, f)
        settings = {**SETTINGS, "source.path": source,
                    "source.at_end": "exit",
                    "model.init": os.path.join(work, "model")}
        for key in ("dim", "layers", "heads", "kv_heads", "ffn_dim",
                    "context"):
            del settings[f"model.{key}"]
        settings["model.preset"] = "nano"
        ran = run([MNEMED, "--data-dir", os.path.join(work, "data"),
                   *flags(settings)], os.path.join(work, "log"))
        problems = []
        judge(name, "model.init", ran, problems, (1 if change else 0,))
        if change:
            one_line(name, "model.init", ran, problems)
            if "model.init" not in ran.text:
                problems.append(f"{name}: does not name model.init")
        tap.ok(not problems, f"model.init: {name}")
        for p in problems:
            tap.note(p.replace("\n", "\n# "))


# --- at random ----------------------------------------------------------------

ODD = ["NULL", "0", "-1", "1", "2147483647", "2147483648", "-2147483649",
       "4294967296", "1152921504606846976", str(HUGE), f"-{HUGE}", "1e300",
       "''", "'x'", "x''", "x'ff'", "zeroblob(100000)", "'[]'", "'{}'"]

TABLES = ["settings", "schema", "pointers", "versions", "version_files",
          "version_domains", "partitions", "offsets", "ledger",
          "ledger_merged", "quarantine", "history", "control_log",
          "releases", "version_forgets", "replay_rows", "holdout_rows"]


def mutate_json(rng, value):
    """Changes one number, text or list somewhere in it."""
    places = []

    def walk(at):
        items = at.items() if isinstance(at, dict) else enumerate(at)
        for k, v in list(items):
            places.append((at, k))
            if isinstance(v, (dict, list)):
                walk(v)
    walk(value)
    if places:
        at, k = rng.choice(places)
        at[k] = rng.choice([None, 0, -1, HUGE, -HUGE, 1e300, "x", [], {},
                            1 << 31, 1 << 40, True])


def random_change(rng, base):
    kind = rng.randrange(4)
    if kind == 0:
        where = rng.choice(["metadata", "guard", "gate"])

        def change(data):
            rows = sql(data, f"SELECT version, {where} FROM versions WHERE"
                             f" {where} IS NOT NULL")
            if not rows:
                return
            v, text = rng.choice(rows)
            value = json.loads(text)
            for _ in range(rng.randrange(1, 4)):
                mutate_json(rng, value)
            quoted = json.dumps(value).replace("'", "''")
            sql(data, f"UPDATE versions SET {where} = '{quoted}'"
                      f" WHERE version = {v}")
        return f"{where}", change
    if kind == 1:
        name = rng.choice(["state.safetensors", "holdout.safetensors",
                           "model.safetensors", "head.safetensors",
                           "ngram.safetensors"])

        def change(data):
            v = head(data)
            if not os.path.exists(file_of(data, v, name)):
                return
            header, body = tensors(data, v, name)
            if rng.random() < 0.4:
                mutate_json(rng, header)
            names = [n for n in header if n != "__metadata__"]
            t = header[rng.choice(names)]
            try:
                begin, end = t["data_offsets"]
                for _ in range(rng.randrange(1, 5)):
                    if end - begin >= 8:
                        at = begin + 8 * rng.randrange((end - begin) // 8)
                        struct.pack_into("<q", body, at, rng.choice(
                            [0, -1, HUGE, -HUGE, 1 << 31, 1 << 40,
                             0x7ff8000000000000, rng.getrandbits(62)]))
            except (TypeError, KeyError, ValueError, struct.error):
                pass
            put_tensors(data, v, name, header, body)
        return name, change
    if kind == 2:
        name = rng.choice(["config.json", "tokenizer.json", "labels.json"])

        def change(data):
            v = head(data)
            with open(file_of(data, v, name)) as f:
                value = json.load(f)
            mutate_json(rng, value)
            rewrite(data, v, name, json.dumps(value).encode())
        return name, change
    name = rng.choice(TABLES)

    def change(data):
        columns = [r[1] for r in sql(data, f"PRAGMA table_info({name})")]
        column = rng.choice(columns)
        value = rng.choice(ODD)
        where = rng.choice(["1", "rowid % 2", f"{columns[0]} ="
                            f" (SELECT max({columns[0]}) FROM {name})"])
        if where.startswith("rowid") and name in (
                "settings", "schema", "version_files", "version_domains",
                "offsets", "ledger", "ledger_merged"):
            where = "1"
        try:
            sql(data, "PRAGMA ignore_check_constraints = ON",
                f"UPDATE OR IGNORE {name} SET {column} = {value}"
                f" WHERE {where}")
        except RuntimeError:
            return  # SQLite keeps that out
        if name.endswith("_rows") and column != "checksum":
            sql(data, f"UPDATE {name} SET checksum = rowsum({SUMMED})")
    return f"{name}", change


def name_number(name):
    return [row[0] for row in table()].index(name)


def main():
    tap = Tap()
    d, source = make_store()
    problems = try_one(d.data, source, "untouched", lambda data: None)
    tap.ok(not problems, "untouched")
    for p in problems:
        tap.note(p.replace("\n", "\n# "))
    if not LINEAR:
        model_init(tap, d.data, source)
    for name, short, change in table():
        if MANY and not MANY[0] <= name_number(name) < MANY[1]:
            continue
        if WHICH == "" and not short:
            continue
        if WHICH not in ("", "all") and not name.startswith(WHICH):
            continue
        problems = try_one(d.data, source, name, change)
        tap.ok(not problems, name)
        for p in problems:
            tap.note(p.replace("\n", "\n# "))
    for i in range(N_RANDOM):
        rng = random.Random(f"{SEED}/{i}")
        name, change = random_change(rng, d.data)
        problems = try_one(d.data, source, f"random {SEED}/{i} {name}",
                           change)
        if problems or i % 50 == 0:
            tap.ok(not problems, f"random {SEED}/{i} {name}")
        for p in problems:
            tap.note(p.replace("\n", "\n# "))
    tap.exit()


main()
