#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Back and forth on a file: what a rollback reads again it learns the same.

And the ends that are not happy ones: a stream that cannot be read again,
versions that cannot be written, a source without any text.
"""

import os
import shutil
import sqlite3
import subprocess
import threading

from flow_util import (Daemon, Tap, add_up, mneme, records, write_lines,
                       TMP)

N = 400


def at_end(daemon, what="everything in a version"):
    """Waits until all records are decided, and the rest is in the head."""
    def done():
        s = daemon.status()
        v = daemon.get(f"/v1/versions/{s['head_version']}")[1]
        return s["records"]["consumed"] == N and v["step"] == s["step"]
    daemon.until(done, what, 60)
    s = daemon.status()
    return s, daemon.get(f"/v1/versions/{s['head_version']}")[1]


def there(daemon):
    """Versions that can be gone back to, the newest first."""
    return [v["version"] for v in daemon.versions()
            if v["state"] not in ("pending", "rolled_back", "damaged")]


def middle(daemon):
    """A version from which there is something to learn again."""
    versions = there(daemon)
    return versions[len(versions) // 2]


def rewinding(tap, daemon):
    status, whole = at_end(daemon)
    for i in range(6):
        done = daemon.operation(daemon.post(
            "/v1/rollback", {"version": middle(daemon), "reason": "again"}))
        tap.equal(done["state"], "done", f"rewind {i}: done")
        again, head = at_end(daemon, f"rewind {i}: all records once more")
        tap.equal(head["weights_sha256"], whole["weights_sha256"],
                  f"rewind {i}: the same weights")
        tap.equal(again["records"], status["records"],
                  f"rewind {i}: the same counters")


def ahead(tap, daemon):
    """What a version has learned already is not learned a second time."""
    newest = daemon.status()["head_version"]
    back = daemon.post("/v1/rollback", {"version": there(daemon)[-1]})
    skip = daemon.post("/v1/rollback", {"version": newest, "stream": "skip"})
    tap.equal(daemon.operation(back)["state"], "done", "ahead: went back")
    tap.equal(skip[0], 409, "ahead: a skip to a version ahead is refused")
    status, _ = at_end(daemon)
    tap.ok(add_up(status), "ahead: counters add up")


def figures(daemon):
    """What the status shows of versions and losses."""
    s = daemon.status()
    p = s["publish"]
    keep = ("judged_version", "last_verdict", "last_reason",
            "refused_in_a_row", "shadow")
    return {"domains": s["domains"], "records": s["records"],
            "loss": s["loss"], "ewc": s["ewc"], "step": s["step"],
            "optimizer": s["optimizer"], "quarantine": s["quarantine"],
            "head": s["head_version"], "serving": s["serving_version"],
            "replay": s["replay"], "holdout_rows": s["holdout_rows"],
            **{key: p[key] for key in keep}}


def are_of(tap, daemon, version, what):
    """The figures are those of that version, at once and everywhere."""
    row = daemon.get(f"/v1/versions/{version}")[1]
    seen = figures(daemon)
    tap.equal(seen["judged_version"], version, f"{what}: its figures")
    tap.equal(seen["last_verdict"], row["state"], f"{what}: its verdict")
    tap.equal(seen["last_reason"], row["gate"]["reason"],
              f"{what}: and the reason")
    tap.equal((seen["refused_in_a_row"], seen["shadow"]),
              (0, None), f"{what}: the comparison begins anew")
    held = {name: h["bits_per_byte"] for name, h in row["holdout"].items()}
    best = {n: row["gate"]["best"][n] for n in held}
    for got in (daemon.get("/v1/domains")[1]["domains"], seen["domains"]):
        tap.equal({d["domain"]: d["holdout_bits_per_byte"] for d in got
                   if d["holdout_bits_per_byte"] is not None}, held,
                  f"{what}: its holdout")
        tap.equal({d["domain"]: d["holdout_best_bits_per_byte"] for d in got
                   if d["holdout_best_bits_per_byte"] is not None}, best,
                  f"{what}: and the lowest up to it")
    metrics = daemon.get("/metrics")[1]
    for name, loss in held.items():
        line = [m for m in metrics.splitlines() if m.startswith(
            f'mneme_domain_holdout_loss_bpb{{domain="{name}"}} ')]
        tap.ok(len(line) == 1 and
               abs(float(line[0].split()[-1]) - loss) < 1e-8,
               f"{what}: metrics, {name}")
    tap.ok("\nmneme_gate_refused_in_a_row 0\n" in metrics,
           f"{what}: metrics, refusals")
    shown = mneme("status", data=daemon.data, code=0)[1]
    tap.ok(f"newest version {version}," in shown, f"{what}: mneme status")
    return seen


def skipping(tap, daemon):
    target = middle(daemon)
    kept = daemon.get(f"/v1/versions/{target}")[1]
    daemon.operation(daemon.post(
        "/v1/rollback", {"version": target, "stream": "skip"}))
    status = daemon.status()
    tap.ok(add_up(status), "skip: counters add up")
    tap.equal(status["head_version"], target, "skip: learning from there")
    begun = 0  # records of which it has learned at least a part
    for at in kept["offsets"]:
        begun = at["offset"] + (at["tokens_done"] > 0)
    tap.equal(status["records"]["skipped"], N - begun,
              "skip: the rest is skipped")
    seen = are_of(tap, daemon, target, "skip")
    daemon.stop()
    tap.ok(not os.path.exists(os.path.join(daemon.data, "mnemed.pid")),
           "skip: no file with a pid after the end")
    daemon.start()
    daemon.until_consumed(N)
    tap.equal(daemon.status()["records"], status["records"],
              "skip: and after a restart still")
    again = figures(daemon)
    # The records that are skipped are in versions of the same weights by now.
    for key in set(seen) - {"head", "serving", "judged_version",
                            "last_reason"}:
        tap.equal(again[key], seen[key], f"skip: a restart shows the same {key}")
    daemon.stop()
    tap.equal(in_ledger(daemon.data), N, "skip: each in the ledger once")


def in_ledger(data):
    """Records that the ledger of the head's branch has decided."""
    db = sqlite3.connect(f"file:{os.path.join(data, 'mneme.db')}?mode=ro",
                         uri=True)
    branch = ("WITH RECURSIVE b (version) AS (SELECT head FROM pointers UNION"
              " SELECT base FROM versions JOIN b USING (version))")
    try:
        return sum(db.execute(
            f"{branch} SELECT coalesce(sum(count), 0) FROM {table} JOIN b"
            " USING (version) WHERE kind <> 'c'").fetchone()[0]
            for table in ("ledger", "ledger_merged"))
    finally:
        db.close()


def not_again(tap):
    """stdin cannot be read again: refused, and nothing has changed."""
    daemon = Daemon("stdin", source__type="stdin")
    reading, writing = os.pipe()
    env = dict(os.environ, MNEME_CONF=os.devnull)
    daemon.process = subprocess.Popen(
        daemon.command(), stdin=reading, stderr=open(daemon.log, "ab"),
        env=env, cwd=daemon.dir)
    os.close(reading)
    os.write(writing, "".join(
        line + "\n" for line in records("harbour", 60)).encode())
    daemon.until_consumed(60)
    daemon.until(lambda: daemon.status()["serving_version"] > 1,
                 "a version that has learned serves", 60)
    before = daemon.status()
    code, _, why = mneme("rollback", "1", data=daemon.data)
    tap.equal(code, 3, "stdin: exit 3")
    tap.ok("stdin cannot be read again" in why, "stdin: and says why")
    after = daemon.status()
    tap.equal(after["records"], before["records"], "stdin: nothing changed")
    tap.ok(answering(daemon) == after["serving_version"] > 1,
           "stdin: and what served serves")
    os.close(writing)
    tap.equal(daemon.stop(), 0, "stdin: stops")


def answering(daemon):
    return daemon.post("/v1/score", {"text": "A quay."})[1]["version"]


def at_once(tap):
    """Answers come from the chosen version while the learner is in a step."""
    path = write_lines(os.path.join(TMP, "many.jsonl"),
                       records("harbour", 20000))
    daemon = Daemon("slow", source__type="file", source__path=path,
                    learner__batch_tokens=32768,
                    publish__every_seconds=0.1).start()
    seen = False
    for _ in range(5):
        daemon.until(lambda: daemon.status()["serving_version"] ==
                     daemon.status()["head_version"] > 1, "a second version")
        old = there(daemon)[-1]
        request = threading.Thread(target=daemon.post, args=(
            "/v1/rollback", {"version": old}))
        request.start()
        daemon.until(lambda: answering(daemon) == old, "it answers")
        status = daemon.status()
        seen |= status["head_version"] > old
        tap.equal(status["serving_version"], old, "at once: status says so")
        request.join()
        daemon.until(lambda: daemon.status()["head_version"] == old or
                     answering(daemon) > old, "the learner follows")
        if seen:
            break
    tap.ok(seen, "at once: before the learner is there")
    daemon.kill()


def unwritable(tap, path):
    daemon = Daemon("unwritable", source__type="file", source__path=path,
                    publish__every_seconds=3600).start()
    daemon.until_consumed(20)
    shutil.rmtree(os.path.join(daemon.data, "versions"))
    tap.equal(daemon.stop(), 1, "versions that cannot be written: exit 1")
    with open(daemon.log) as f:
        text = f.read()
    tap.equal(text.count(" error publish") + text.count(" error store"), 1,
              "tried once only")


def no_text(tap):
    empty = write_lines(os.path.join(TMP, "empty.jsonl"), [])
    for kind, wanted in (("bpe", 1), ("bytes", 0), ("builtin", 0)):
        daemon = Daemon(f"empty-{kind}", source__type="file",
                        source__path=empty, source__at_end="exit",
                        model__tokenizer=kind)
        tap.equal(daemon.run(30), wanted, f"no text, {kind}: exit {wanted}")


def main():
    tap = Tap()
    path = write_lines(os.path.join(TMP, "records.jsonl"),
                       records("harbour", N // 2) + records("orchard", N // 2))
    # a slow machine makes more versions than are kept by default
    daemon = Daemon("file", source__type="file", source__path=path,
                    publish__keep__newest=1000).start()
    rewinding(tap, daemon)
    ahead(tap, daemon)
    skipping(tap, daemon)
    not_again(tap)
    at_once(tap)
    unwritable(tap, path)
    no_text(tap)
    tap.exit()


main()
