#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bad feeds: what serves stays as good as it was; and drift is no bad feed.

A good stream of two domains, the second of which arrives later. Then bad feeds:
shuffled bytes, another language, one sentence over and over, ten times the
learning rate, and for preset linear flipped labels. After each, the daemon goes
back to the version that served before it. Whenever there is a new version, the
serving one is asked for its loss on texts that it never saw.

MNEME_SOAK_MINUTES=N makes it longer: each feed goes on for N minutes, and a
learning rate that stays wrong takes the daemon to its limit of three
rollbacks an hour.
"""

import json
import os
import random

from feed_util import Fed as AnyFed
from feed_util import (Watch, accuracy, automatic, back_to, line, loss,
                       verdicts)
from flow_util import Tap, add_up, mneme

SOAK = float(os.environ.get("MNEME_SOAK_MINUTES", "0"))
VERSIONS = 4            # a bad feed goes on for so many
PATIENCE = 300          # seconds that no busy machine needs for what comes soon
TESTS = 40

SETTINGS = {
    "learner__flush_seconds": 0.5,
    "learner__threads": 1,
    "learner__batch_tokens": 512,
    "learner__holdout__fraction": 0.1,
    "publish__every_seconds": 0,
    "publish__every_tokens": 20000,
    "publish__gate__max_tokens": 3072,
    # The memory would predict these few words well, whatever the rate does.
    "learner__ngram__enabled": "false",
    # What is fed has to reach the gate.
    "filter__surprise__enabled": "false",
    "filter__near_duplicate__enabled": "false",
    "filter__repetition__enabled": "false",
}


# --- texts --------------------------------------------------------------------

class Language:
    """Words of some syllables, the first ones oftener: there is something to
    learn, and much that cannot be known."""

    def __init__(self, name, syllables, n_words=150):
        self.name = name
        self.rng = random.Random(name)
        pick = random.Random(name + "/words")
        self.words = ["".join(pick.choice(syllables)
                              for _ in range(pick.randrange(1, 4)))
                      for _ in range(n_words)]
        self.weights = [1 / (i + 3) for i in range(n_words)]

    def text(self, rng=None):
        rng = rng or self.rng
        return " ".join(rng.choices(self.words, self.weights,
                                    k=rng.randrange(6, 13))) + "."

    def tests(self):
        rng = random.Random(self.name + "/tests")
        return [self.text(rng) for _ in range(TESTS)]


FIRST = Language("first", "ba da ki mo ru se ta ne lo pi".split())
SECOND = Language("second", "fra gli nox qua shu wex yon zil cru jab".split())
FOREIGN = Language("foreign", "жа ло ми ще ту ры бе ко ны га".split())


def good(language):
    return lambda: line(language.text(), language.name)


def both(rng=random.Random(1)):
    return good(rng.choice([FIRST, SECOND]))()


def shuffled(rng=random.Random(2)):
    """The bytes of a good text in any order, in the good text's domain."""
    letters = list(FIRST.text())
    rng.shuffle(letters)
    return line("".join(letters))


def foreign():
    return line(FOREIGN.text())


SENTENCE = line("kimo seta nelo pida rutase, " * 4)


# --- the stories --------------------------------------------------------------

class Fed(AnyFed):
    def __init__(self, name, **settings):
        super().__init__(name, **{**SETTINGS, **settings})


def limit(seconds):
    return seconds + SOAK * 60


def drift(tap, d):
    """A good stream, and a second domain from some point on."""
    watch = Watch(d, loss, FIRST.tests())
    tap.ok(d.feed(good(FIRST), lambda s: s["tokens_seen"] > 50000 and
                  s["serving_version"] > 2, limit(180)), "drift: begun")
    d.feed(good(FIRST), watch.done(2, SOAK * 60), limit(PATIENCE))
    known = d.status()["serving_version"]
    watch = Watch(d, loss, FIRST.tests())
    tap.ok(d.feed(both, watch.done(VERSIONS, SOAK * 60), limit(2 * PATIENCE)),
           "drift: a second domain, for some versions")
    tap.ok(d.feed(both, lambda s: s["serving_version"] > known,
                  limit(2 * PATIENCE)), "drift: a version with it serves")
    tap.equal(automatic(d), 0, "drift: no rollback")
    tap.ok(watch.longest <= 2, f"drift: the first domain is kept "
           f"({100 * watch.worst:+.1f} % at worst)")
    tap.note(f"drift: {verdicts(d, known)}")


def bad(tap, d, name, make, tests, measure=loss):
    """A feed that must not come to serve."""
    before = max(v["version"] for v in d.versions())
    good = d.status()["serving_version"]
    watch = Watch(d, measure, tests)
    watch.look(d.status())
    fed = d.feed(make, watch.done(VERSIONS, SOAK * 60), limit(2 * PATIENCE))
    tap.ok(fed, f"{name}: some versions")
    tap.ok(watch.longest <= 2, f"{name}: what serves is never worse by more "
           f"than 2 % for long ({100 * watch.worst:+.1f} % at worst, "
           f"{watch.longest} versions)")
    tap.note(f"{name}: {verdicts(d, before)}, automatic rollbacks "
             f"{automatic(d)}")
    back_to(d, good)
    tap.ok(add_up(d.status()), f"{name}: counters add up")


def lowest_range(ranges):
    return min(ranges, key=lambda r: r["id"])


def rate(tap, d, tests):
    """Ten times the learning rate, on good text: it goes back by itself."""
    serving = d.status()["serving_version"]
    step = next(v for v in d.versions() if v["version"] == serving)
    d.stop()
    d.start(learner__optimizer__lr=10 * 0.28 / 64)
    watch = Watch(d, loss, tests)

    def gone_back(s):
        watch.look(s)
        return s["publish"]["automatic_rollbacks"] > 0
    tap.ok(d.feed(both, gone_back, limit(3 * PATIENCE)),
           "rate: it goes back by itself")
    s = d.status()
    tap.note(f"rate: {s['publish']['last_rollback']}")
    tap.ok(watch.longest <= 2, f"rate: what serves is as good as before "
           f"({100 * watch.worst:+.1f} % at worst)")
    tap.ok(add_up(s), "rate: counters add up")
    tap.ok(s["tokens_seen"] >= step["tokens_seen"],
           "rate: learning goes on from what served")
    causes = [row["cause"] for row in d.get("/v1/history")[1]["history"]]
    tap.ok("auto_rollback" in causes, "rate: the history has it")
    metrics = d.get("/metrics")[1]
    tap.ok("mneme_automatic_rollbacks_total 1" in metrics or SOAK,
           "rate: and the metrics")
    return s


def ranges(tap, d):
    """What was left out is in quarantine, and can be released once."""
    rows = [r for r in d.get("/v1/ranges")[1]["ranges"]
            if r["kind"] == "quarantine"]
    tap.ok(rows and rows[-1]["last_offset"] >= rows[-1]["first_offset"],
           "the range is in quarantine")
    code, out, _ = mneme("ranges", data=d.data)
    tap.ok(code == 0 and "quarantine" in out, "mneme ranges lists it")
    ident = str(rows[-1]["id"])
    code, out, why = mneme("ranges", "--release", ident, data=d.data)
    tap.equal(code, 0, f"and releases it {why}")
    code, _, _ = mneme("ranges", "--release", ident, data=d.data)
    tap.equal(code, 3, "once")


def exhausted(tap, d):
    """A rate that stays wrong: after three rollbacks learning holds."""
    tap.ok(d.feed(both, lambda s: s["state"] == "paused", 1200 + limit(0)),
           "limit: learning holds")
    s = d.status()
    tap.equal(s["publish"]["automatic_rollbacks"], 3, "limit: after three")
    tap.ok("rollback" in s["reason"], f"limit: and says so: {s['reason']}")
    code, reply = d.post("/v1/versions/latest/promote")
    tap.equal(code, 200, f"limit: an operator's choice {reply}")
    d.until(lambda: d.status()["state"] != "paused", "learning again")


def flipped(tap):
    """Preset linear: the labels of two languages change places."""
    d = Fed("linear", model__preset="linear", publish__every_tokens=12000,
            publish__gate__max_tokens=16384,
            learner__holdout__fraction=0.2).start("alive")
    languages = [FIRST, SECOND]
    rng = random.Random(3)

    def labelled(turn):
        def make():
            i = rng.randrange(2)
            # some of the words are the other language's: not too easy
            words = (languages[i].text().split()[:5] +
                     languages[1 - i].text().split()[:3])
            text = " ".join(rng.sample(words, 8))
            return line(text, "labels", label="ab"[i ^ turn])
        return make
    tests = []
    for _ in range(150):
        row = json.loads(labelled(0)())
        tests.append((row["text"], row["label"]))
    enough = []  # the step at which 3,000 records were learned

    def serves_enough(s):
        if s["records"]["learned"] > 3000:
            enough.append(s["step"])
        if not enough or s["serving_version"] != s["head_version"]:
            return False
        head = d.get(f"/v1/versions/{s['head_version']}")[1]
        return head["step"] >= enough[0]
    # what is learned from these is not what is asked: texts are drawn anew
    tap.ok(d.feed(labelled(0), serves_enough, limit(PATIENCE)),
           "labels: begun")
    _, then = accuracy(d, tests)
    tap.ok(1 / then > 0.75, f"labels: learned (accuracy {1 / then:.3f})")
    bad(tap, d, "flipped labels", labelled(1), tests, accuracy)
    tap.equal(d.stop(), 0, "labels: stops")


def main():
    tap = Tap()
    d = Fed("nano").start()
    drift(tap, d)
    tests = FIRST.tests() + SECOND.tests()
    bad(tap, d, "shuffled bytes", shuffled, tests)
    bad(tap, d, "another language", foreign, tests)
    bad(tap, d, "one sentence", lambda: SENTENCE, tests)
    rate(tap, d, tests)
    ranges(tap, d)
    if SOAK:
        exhausted(tap, d)
    tap.equal(d.stop(), 0, "stops")
    flipped(tap)
    tap.exit()


main()
