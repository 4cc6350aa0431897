#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bad_feeds.py - measures how bad feeds change the serving version.

    bench/bad_feeds.py --text FILE ... --foreign FILE [--preset tiny]
    bench/bad_feeds.py --train FILE --test FILE --foreign FILE [--preset linear]

FILE is text with one record on each line, or JSON Lines with a member `text`
(and `label`); .gz files are decompressed. Each file of --text is a domain.

A daemon with its default settings learns good text for --learn versions. From
that state, each of these feeds is sent for --versions versions, and then good
text again for --back versions:

good       more good text
new        good text, and as much --foreign text as a new domain
shuffled   the bytes of good records in a random order
foreign    the --foreign text under the names of the good domains
sentence   one sentence, at most 100,000 times
rate       good text with ten times the learning rate
flipped    good text with each label replaced by another one

After each verdict, the serving version scores texts that are never sent (or
predicts their labels), and its `holdout` figures are read. The table has for
each feed:

- verdicts, automatic rollbacks, and refused records;
- the largest loss of the serving version over its best earlier loss, and for
  how many versions it was more than 2 % worse: over all texts, in the worst
  domain, and by the daemon's own holdout figures;
- the largest number of versions in a row without a promotion.

-v prints each version. A feed whose records are all refused makes no versions;
it ends after --seconds.

Needs only Python 3.
"""
import argparse
import collections
import glob
import json
import os
import random
import shutil
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '..', 'tests', 'flows'))
from measure import read_records  # noqa: E402

TEXT_FEEDS = ['good', 'new', 'shuffled', 'foreign', 'sentence', 'rate']
LABEL_FEEDS = ['good', 'flipped', 'shuffled', 'foreign', 'sentence']
SENTENCES = 100000
RATE_TIMES_WIDTH = 0.28  # the default learning rate (daemon/train/options.c)


# --- texts -------------------------------------------------------------------

class Texts:
    """Good records in a random order, without end; and texts never sent."""

    def __init__(self, options):
        self.rng = random.Random(1)
        self.at = collections.Counter()
        self.labelled = bool(options.train)
        self.domains, self.tests = {}, {}
        if self.labelled:
            self.read_labelled(options)
        else:
            for path in options.text:
                self.read_domain(path, options)
        self.foreign = [r['text'] for r in read_records(options.foreign)]
        self.sentence = min(
            (r['text'] for r in next(iter(self.domains.values()))
             if 60 < len(r['text']) < 300), key=len)

    def read_domain(self, path, options):
        name = os.path.basename(path).split('.')[0]
        rows = [r for r in read_records(path) if len(r['text']) > 40]
        random.Random(2).shuffle(rows)
        self.tests[name] = [r['text'] for r in rows[:options.tests]]
        self.domains[name] = [
            {'text': r['text'], 'domain': None if options.one_domain else name}
            for r in rows[options.tests:]]

    def read_labelled(self, options):
        rows = [{'text': r['text'], 'label': r['label'], 'domain': None}
                for r in read_records(options.train)]
        random.Random(2).shuffle(rows)
        tests = [(r['text'], r['label']) for r in read_records(options.test)]
        random.Random(3).shuffle(tests)
        self.domains['labels'] = rows
        self.tests['labels'] = tests[:options.tests]
        names = sorted({r['label'] for r in rows})
        self.other = dict(zip(names, names[1:] + names[:1]))

    def row(self):
        name = self.rng.choice(list(self.domains))
        rows = self.domains[name]
        self.at[name] += 1
        return dict(rows[self.at[name] % len(rows)])

    def another(self, text, **more):
        return {**self.row(), 'text': text, **more}

    # Each feed is a function that makes a record.

    def good(self):
        return self.row()

    rate = good

    def new(self):
        if self.rng.random() < 0.5:
            return self.row()
        return self.another(self.rng.choice(self.foreign), domain='new')

    def shuffled(self):
        row = self.row()
        data = list(row['text'].encode())
        self.rng.shuffle(data)
        return {**row, 'text': bytes(data).decode('utf-8', 'replace')}

    def foreign_text(self):
        return self.another(self.rng.choice(self.foreign))

    def same_sentence(self):
        return {**next(iter(self.domains.values()))[0], 'text': self.sentence}

    def flipped(self):
        row = self.row()
        return {**row, 'label': self.other[row['label']]}

    def maker(self, feed):
        make = {'foreign': self.foreign_text,
                'sentence': self.same_sentence}.get(feed) or getattr(self, feed)

        def line():
            row = make()
            if row['domain'] is None:
                del row['domain']
            return json.dumps(row, ensure_ascii=False)
        return line


# --- the serving version -----------------------------------------------------

def measures(daemon, texts, linear):
    """Losses of the serving version on the texts never sent, by domain."""
    if texts.labelled:
        found = {'all': util.accuracy(daemon, texts.tests['labels'])[1]}
        if not linear:
            alone = [text for text, _ in texts.tests['labels']]
            found['text'] = util.loss(daemon, alone)[1]
        return found
    found = {n: util.loss(daemon, t)[1] for n, t in texts.tests.items()}
    size = {n: sum(len(x.encode()) for x in t)
            for n, t in texts.tests.items()}
    found['all'] = (sum(found[n] * size[n] for n in size) /
                    sum(size.values()))
    return found


def own_figures(version):
    """The holdout figures of the version's verdict, as losses."""
    found = {}
    for name, h in (version['holdout'] or {}).items():
        if h.get('bits_per_byte'):
            found[name] = h['bits_per_byte']
        elif h.get('accuracy'):
            found[name] = 1 / h['accuracy']
    return found


def watch(daemon, texts, options):
    """A Watch that measures each new version."""

    class Board(util.Watch):
        def __init__(self):
            super().__init__(daemon, None, None)
            self.texts = collections.defaultdict(util.Stretch)
            self.own = collections.defaultdict(util.Stretch)
            self.stale = self.stalest = 0
            self.served = None

        def look(self, s):
            if not self.is_new(s):
                return
            now = measures(daemon, texts, options.preset == 'linear')
            for name, value in now.items():
                self.texts[name].add(value)
            served = s['serving_version']
            row = daemon.get(f'/v1/versions/{served}')[1]
            for name, value in own_figures(row).items():
                if name in daemon.good_domains:
                    self.own[name].add(value)
            self.stale = 0 if served != self.served else self.stale + 1
            self.stalest = max(self.stalest, self.stale)
            self.served = served
            if options.verbose:
                show(s, now)
    return Board()


def show(s, now):
    p = s['publish']
    print(f"  head {s['head_version']} serves {s['serving_version']} "
          f"tokens {s['tokens_seen']} {p['last_verdict']}: "
          f"{p['last_reason']}; " +
          ' '.join(f'{n} {v:.4f}' for n, v in now.items()), flush=True)


# --- the daemon --------------------------------------------------------------

def make_daemon(options):
    class Plain(util.Fed):
        base = {'http.listen': '127.0.0.1:0'}
    settings = {'model.preset': options.preset}
    if options.every is not None:
        settings['publish.every_seconds'] = options.every
    settings.update(s.split('=', 1) for s in options.set)
    return Plain('feeds', **{k.replace('.', '__'): v
                             for k, v in settings.items()})


def save(daemon):
    shutil.copytree(daemon.data, daemon.data + '.saved')
    daemon.saved = os.path.getsize(daemon.path), daemon.written


def restore(daemon):
    shutil.rmtree(daemon.data)
    shutil.copytree(daemon.data + '.saved', daemon.data)
    os.truncate(daemon.path, daemon.saved[0])
    daemon.written = daemon.saved[1]


def ten_times(daemon):
    """Ten times the default learning rate."""
    name = glob.glob(os.path.join(daemon.data, 'versions', '*',
                                  'config.json'))[0]
    with open(name) as f:
        return 10 * RATE_TIMES_WIDTH / json.load(f)['hidden_size']


def learn(daemon, texts, options):
    """Learns good text until the head version serves."""
    daemon.start('alive')
    daemon.good_domains = set(texts.tests) | {'feeds', 'labels'}
    board = watch(daemon, texts, options)
    print(f'learning: {options.learn} versions', flush=True)

    def done(s):
        if s['serving_version'] < 2:  # nothing is learned yet
            return False
        board.look(s)
        return (board.versions >= options.learn and
                s['serving_version'] == s['head_version'])
    daemon.until(lambda: feed(daemon, texts.maker('good'), options, 30,
                              lambda s: s['serving_version'] > 0),
                 'a first version', 600)
    if not feed(daemon, texts.maker('good'), options, options.seconds * 4,
                done):
        print('the newest version does not serve')
    report('learning', daemon, board, {}, 0)
    daemon.settle()
    daemon.stop()
    save(daemon)


def feed(daemon, make, options, seconds, done):
    return daemon.feed(make, done, seconds, options.ahead)


def refused(s):
    return s['quarantine']


def run(name, daemon, texts, options):
    restore(daemon)
    more = {'learner__optimizer__lr': ten_times(daemon)} \
        if name == 'rate' else {}
    daemon.start('alive', **more)
    before = daemon.status()
    board = watch(daemon, texts, options)
    board.look(before)
    start = daemon.written
    print(f'{name}:', flush=True)

    def done(s):
        board.look(s)
        return (board.versions > options.versions or
                name == 'sentence' and daemon.written - start > SENTENCES)
    feed(daemon, texts.maker(name), options, options.seconds, done)
    report(name, daemon, board, refused(before), before['head_version'])
    if options.back and name not in ('good', 'new'):
        print('  good text again', flush=True)
        target = board.versions + options.back
        feed(daemon, texts.maker('good'), options, options.seconds,
             lambda s: board.look(s) or board.versions >= target)
        report(name + ', good again', daemon, board, refused(before),
               before['head_version'])
    daemon.stop()


# --- the table ---------------------------------------------------------------

ROWS = []


def cell(stretches):
    """The worst loss, and the longest time above 2 %."""
    if not stretches:
        return '-'
    return (f'{100 * max(s.worst for s in stretches):+.1f} %, '
            f'{max(s.longest for s in stretches)}')


def report(name, daemon, board, before, since):
    s = daemon.status()
    count = util.verdicts(daemon, since)
    gone = {k: v - before.get(k, 0) for k, v in refused(s).items()
            if v > before.get(k, 0)}
    parts = [t for n, t in board.texts.items() if n != 'all']
    ROWS.append((
        name, s['tokens_seen'],
        ', '.join(f'{n} {v}' for v, n in sorted(count.items())) or '-',
        cell([board.texts['all']]), cell(parts), cell(list(board.own.values())),
        s['publish']['automatic_rollbacks'], board.stalest,
        ', '.join(f'{n} {r}' for r, n in gone.items()) or '-',
        s['records']['consumed']))
    print('  ' + ' | '.join(str(x) for x in ROWS[-1]), flush=True)


def table():
    print('\n| feed | tokens | verdicts | all texts | worst domain | own '
          'holdout | rollbacks | versions without a promotion | refused | '
          'records |\n| --- |' + ' ---: |' * 9)
    for row in ROWS:
        print('| ' + ' | '.join(str(x) for x in row) + ' |')


def read_options():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--mnemed', default='build/daemon/mnemed')
    p.add_argument('--text', nargs='+', default=[])
    p.add_argument('--one-domain', action='store_true',
                   help='records name no domain')
    p.add_argument('--train')
    p.add_argument('--test')
    p.add_argument('--foreign', required=True)
    p.add_argument('--preset')
    p.add_argument('--feeds', nargs='+')
    p.add_argument('--every', type=float, help='publish.every_seconds')
    p.add_argument('--learn', type=int, default=12, metavar='VERSIONS')
    p.add_argument('--versions', type=int, default=8)
    p.add_argument('--back', type=int, default=0, metavar='VERSIONS')
    p.add_argument('--tests', type=int, default=None, help='texts of a domain')
    p.add_argument('--seconds', type=float, default=150)
    p.add_argument('--ahead', type=int, help='records that may wait')
    p.add_argument('--set', action='append', default=[], metavar='KEY=VALUE')
    p.add_argument('-v', '--verbose', action='store_true')
    o = p.parse_args()
    if bool(o.text) == bool(o.train and o.test):
        p.error('--text, or --train and --test')
    o.preset = o.preset or ('linear' if o.train else 'tiny')
    o.feeds = o.feeds or (LABEL_FEEDS if o.train else TEXT_FEEDS)
    o.ahead = o.ahead or (6000 if o.preset == 'linear' else 60)
    o.tests = o.tests or (1000 if o.train else 50)
    return o


def main():
    global util
    options = read_options()
    folder = tempfile.mkdtemp(prefix='mneme-feeds.')
    os.environ['MNEMED'] = os.path.abspath(options.mnemed)
    os.environ['MNEME_TEST_TMP'] = folder
    import feed_util as util
    texts = Texts(options)
    daemon = make_daemon(options)
    try:
        learn(daemon, texts, options)
        for name in options.feeds:
            run(name, daemon, texts, options)
    finally:
        if daemon.process:
            daemon.kill()
        shutil.rmtree(folder)
    table()


main()
