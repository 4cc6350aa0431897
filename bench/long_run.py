#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""long_run.py - what a long stream does to a daemon, and to learning.

    bench/long_run.py stream   --mnemed build/daemon/mnemed FILE...
    bench/long_run.py rotation --mneme build/cli/mneme FILE...

FILE is text with one record on each line, or JSON Lines with a member `text`;
.gz files are decompressed. --set is passed on, and may be repeated. Prints
tables in Markdown.

stream    gives --tokens tokens to mnemed, in blocks of --block bytes of one
          file after another, and prints memory, the sizes of the database and
          of the versions, and the speed, twenty times. Exit status 1 when the
          memory goes beyond what the daemon announced, or when the database or
          the versions grow by more than a tenth in the last quarter.
rotation  makes --domains domains of --bytes bytes each, as many of each file as
          its size allows: of records with one `label` or `source`, or of one
          stretch of the file. Plays them with `mneme eval` --turns times; each
          turn begins further on, so that a domain comes early, late and in
          between. Prints, by the place in the stream, the loss of a domain's
          records just before they are learned, and of held-out records after
          the domain: both rise if a model that has learned much learns more
          slowly.

Needs only Python 3.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

from measure import Daemon, read_records, write_json_lines

MIB = 1024 * 1024
HELD_OUT = 5  # of so many records of a domain, one is held out


def size_of(path):
    """Bytes of a file, or of all files below a folder; files may vanish."""
    if not os.path.isdir(path):
        return os.path.getsize(path) if os.path.exists(path) else 0
    return sum(size_of(os.path.join(top, name))
               for top, _, names in os.walk(path) for name in names)


def domain_name(path):
    return os.path.basename(path).split('.')[0]


def n_bytes(record):
    return len(record['text'].encode())


# --- stream -------------------------------------------------------------------

def blocks(files, block):
    """One block of each file in turn, until all are used."""
    texts = [(domain_name(f), iter(read_records(f))) for f in files]
    while texts:
        for name, records in list(texts):
            taken = 0
            for record in records:
                yield {'text': record['text'], 'domain': name}
                taken += n_bytes(record)
                if taken >= block:
                    break
            if taken < block:
                texts.remove((name, records))


class Sizes:
    """Rows of the table, and what may not grow."""

    def __init__(self, daemon):
        self.daemon, self.rows = daemon, []
        print('| M tokens | steps | tokens a processor second | resident MiB | '
              'database MiB | versions: MiB, number |')
        print('| ---: | ---: | ---: | ---: | ---: | ---: |')

    def take(self, status):
        versions = os.path.join(self.daemon.data, 'versions')
        database = sum(size_of(os.path.join(self.daemon.data, 'mneme.db' + end))
                       for end in ('', '-wal'))
        cpu, tokens = self.daemon.cpu(), status['tokens_seen']
        before = self.rows[-1] if self.rows else (0, 0)
        self.rows.append((tokens, cpu, self.daemon.memory()[0],
                          database / MIB, size_of(versions) / MIB))
        print('| %.2f | %d | %.0f | %.0f | %.1f | %.1f, %d |' % (
            tokens / 1e6, status['step'],
            (tokens - before[0]) / max(1e-9, cpu - before[1]),
            *self.rows[-1][2:], len(os.listdir(versions))), flush=True)

    def grown(self):
        """What is more than a tenth larger in the last quarter than ever."""
        at = len(self.rows) * 3 // 4
        names = ('database', 'versions')
        return [name for i, name in enumerate(names)
                if max(r[3 + i] for r in self.rows[at:]) >
                1.1 * max([r[3 + i] for r in self.rows[:at]], default=0)]


def stream(options):
    work = tempfile.mkdtemp(prefix='mneme-long.')
    path = os.path.join(work, 'records.jsonl')
    rows = list(blocks(options.files, options.block))
    write_json_lines(path, rows)
    n, rows = len(rows), None
    daemon = Daemon(options, [
        'source.type=file', 'source.path=' + path,
        'model.preset=' + options.preset, 'learner.threads=1'])
    sizes, every, last = Sizes(daemon), options.tokens / 20, -1
    while len(sizes.rows) < 20:
        at = (len(sizes.rows) + 1) * every
        s = daemon.wait(lambda s: s['tokens_seen'] >= at or
                        s['records']['consumed'] >= n, 86400, 1)
        if s['tokens_seen'] == last:
            break
        last = s['tokens_seen']
        sizes.take(s)
    most, announced = daemon.memory()[1], daemon.announced()
    print('\nmost memory %.0f MiB, announced %d MiB; replay rows %d of %d; '
          'prequential %.3f bits per byte' % (
              most, announced, s['replay']['records'], s['replay']['capacity'],
              s['loss']['prequential_total_bits_per_byte']))
    daemon.stop()
    shutil.rmtree(work)
    grown = sizes.grown()
    for name in grown:
        print('the %s grew in the last quarter' % name)
    return 1 if grown or most > announced else 0


# --- rotation -----------------------------------------------------------------

def stretches(records, size):
    """Cuts records into lists of `size` bytes; the rest is left out."""
    out, part, taken = [], [], 0
    for record in records:
        part.append(record)
        taken += n_bytes(record)
        if taken >= size:
            out.append(part)
            part, taken = [], 0
    return out


def candidates(path, size):
    """The domains that a file can give: by label or source, else stretches."""
    groups = {}
    for record in read_records(path):
        kind = record.get('source') or record.get('label') or ''
        groups.setdefault(str(kind), []).append(record)
    if len(groups) == 1:
        return stretches(next(iter(groups.values())), size)
    return [s[0] for s in (stretches(g, size) for g in groups.values()) if s]


def make_domains(options, folder):
    """Takes one domain of each file in turn. Returns the names of files."""
    lists = [(domain_name(f), candidates(f, options.bytes))
             for f in options.files]
    names, k = [], 0
    while len(names) < options.domains and any(k < len(c) for _, c in lists):
        for name, found in lists:
            if k < len(found) and len(names) < options.domains:
                names.append(os.path.join(folder, '%s-%d.jsonl' % (name, k)))
                rows = [{'text': r['text']} for r in found[k]]
                held = rows[HELD_OUT - 1::HELD_OUT]
                write_json_lines(names[-1], [r for r in rows if r not in held])
                write_json_lines(names[-1] + '.held', held)
        k += 1
    if len(names) < options.domains:
        raise SystemExit('the files give %d domains only' % len(names))
    return names


def play(options, names, out):
    command = [options.mneme, 'eval', '--preset', options.preset, '--seeds',
               '1', '--arms', 'both', '--points', '1', '--heldout-bytes',
               '1000', '--out', out]
    for s in options.set:
        command += ['--set', s]
    for name in names:
        command += ['--heldout', name + '.held']
    subprocess.run(command + names, check=True, stdout=subprocess.DEVNULL)
    with open(out, encoding='utf-8') as f:
        arm = json.load(f)['arms'][0]
    return (arm['prequential_by_domain'],
            [row[j] for j, row in enumerate(arm['matrix'])],
            arm['matrix'][-1], arm['runs'][0])


def rotation(options):
    work = tempfile.mkdtemp(prefix='mneme-long.')
    names = make_domains(options, work)
    n, turns = len(names), options.turns
    places = [{'before': [], 'after': [], 'end': []} for _ in range(turns)]
    by_name = {}
    for turn in range(turns):
        at = turn * n // turns
        order = names[at:] + names[:at]
        before, after, end, run = play(options, order,
                                       os.path.join(work, 'out.json'))
        print('turn %d: %d steps, %.0f processor seconds' % (
            turn + 1, run['measures']['steps'], run['cost']['seconds']),
            file=sys.stderr)
        for j, name in enumerate(order):
            third = places[j * turns // n]
            third['before'].append(before[j])
            third['after'].append(after[j])
            third['end'].append(end[j])
            by_name.setdefault(os.path.basename(name), []).append(
                (j, before[j], after[j]))
    print('| place | before learning | after the domain | at the end |')
    print('| ---: | ---: | ---: | ---: |')
    for k, third in enumerate(places):
        print('| %d to %d | %s |' % (
            k * n // turns + 1, (k + 1) * n // turns,
            ' | '.join('%.3f' % (sum(v) / len(v)) for v in third.values())))
    print('\n| domain | before learning, by place | after it, by place |')
    print('| --- | --- | --- |')
    for name, rows in by_name.items():
        rows.sort()
        print('| %s | %s | %s |' % (
            name[:-len('.jsonl')],
            ', '.join('%d: %.3f' % (j + 1, b) for j, b, _ in rows),
            ', '.join('%.3f' % a for _, _, a in rows)))
    shutil.rmtree(work)
    return 0


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = p.add_subparsers(dest='command', required=True)
    for name in ('stream', 'rotation'):
        c = commands.add_parser(name)
        c.add_argument('files', nargs='+', metavar='FILE')
        c.add_argument('--preset', default='nano')
        c.add_argument('--set', action='append', default=[])
        if name == 'stream':
            c.add_argument('--mnemed', required=True)
            c.add_argument('--tokens', type=int, default=10_000_000)
            c.add_argument('--block', type=int, default=65536)
            c.add_argument('--keep')
        else:
            c.add_argument('--mneme', required=True)
            c.add_argument('--domains', type=int, default=30)
            c.add_argument('--bytes', type=int, default=40_000)
            c.add_argument('--turns', type=int, default=3)
    options = p.parse_args()
    sys.exit(stream(options) if options.command == 'stream'
             else rotation(options))


main()
