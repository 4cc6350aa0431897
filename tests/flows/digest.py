# SPDX-License-Identifier: Apache-2.0
"""What a stopped data directory has learned, as digests to compare.

Everything that a version is, but for its number, its parent's and the time of
day: those depend on when versions were made.
"""

import hashlib
import json
import os
import sqlite3
import struct


KEYS = ("replay.keys", "replay.counters", "holdout.keys", "holdout.counters")


def tensors(path, keys=True):
    """A digest of names, types, shapes and bytes of a safetensors file."""
    if not os.path.exists(path):
        return None
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        body = f.read()
    header.pop("__metadata__", None)
    total = hashlib.sha256()
    for name in sorted(header):
        if not keys and name in KEYS:
            continue
        begin, end = header[name]["data_offsets"]
        total.update(json.dumps([name, header[name]["dtype"],
                                 header[name]["shape"]]).encode())
        total.update(body[begin:end])
    return total.hexdigest()


def rows(db, kind, keys=True):
    """The live rows of the replay buffer or the holdout, and their order."""
    total = hashlib.sha256()
    n = 0
    for row in db.execute(
            "SELECT key, domain, label, partition_id, record_offset, part, id,"
            " text_hash, n_tokens, n_masked, n_bytes, ends, tokens, text,"
            f" logits, checksum FROM {kind}_rows WHERE died IS NULL"
            " ORDER BY key"):
        if not keys:
            row = row[1:-1]  # the checksum is over the key, too
        total.update(repr(row).encode())
        n += 1
    return n, total.hexdigest()


def digest(data, keys=True):
    """keys False: row keys may differ, as after a rollback, which begins a
    branch of them."""
    db = sqlite3.connect(f"file:{os.path.join(data, 'mneme.db')}?mode=ro",
                         uri=True)
    try:
        head, = db.execute("SELECT head FROM pointers").fetchone()
        step, tokens, sha256, metadata = db.execute(
            "SELECT step, tokens_seen, weights_sha256, metadata FROM versions"
            " WHERE version = ?", (head,)).fetchone()
        offsets = db.execute(
            "SELECT partition_id, next_offset, tokens_done, last_learned,"
            " last_hash FROM offsets WHERE version = ? ORDER BY partition_id",
            (head,)).fetchall()
        kept = {kind: rows(db, kind, keys) for kind in ("replay", "holdout")}
        quarantine = db.execute(
            "SELECT partition_id, record_offset, reason, bytes FROM quarantine"
            " ORDER BY partition_id, record_offset").fetchall()
    finally:
        db.close()
    where = os.path.join(data, "versions", f"{head:06d}")
    found = {name: tensors(os.path.join(where, name + ".safetensors"),
                           keys)
             for name in ("model", "state", "holdout", "anchor", "head")}
    metadata = json.loads(metadata)
    metadata.pop("settings", None)
    found.update(kept, step=step, tokens=tokens, sha256=sha256,
                 offsets=offsets, counters=metadata,
                 quarantine=hashlib.sha256(
                     repr(quarantine).encode()).hexdigest())
    return found


def differences(a, b):
    return [key for key in a if a[key] != b[key]]
