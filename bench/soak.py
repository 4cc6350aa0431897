#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""soak.py - hours of learning and requests: does memory grow?

    bench/soak.py --text FILE [--hours 8] [--preset nano] [--set KEY=VALUE ...]

FILE is text with one record on each line, or JSON Lines with a member `text`;
.gz files are decompressed. It is repeated, with a number behind each record,
and reaches mnemed at --rate bytes a second through a file that it follows.
Meanwhile clients send scores, completions, chats and responses (streamed and
not), embeddings and bodies that are wrong, and read metrics, versions, events
and the page. Some leave in the middle of a stream. An operator
promotes, rolls back and pins. --load sets how many requests a second. The
replay buffer, the held-out records and the prefix cache are limited
(learner.replay.capacity 1000, learner.holdout.capacity 200,
serve.prefix_cache_mib 4), so that all are full after the warm-up. Resident
memory also depends on how many versions are loaded just now, and on huge
pages. So a run of an hour says little about the slope.

A row every tenth of the time: resident memory (its anonymous part), open
files, threads, the size of the database, the newest version, tokens learned,
requests answered, and wrong answers. At the end, the
slope of the anonymous memory after the warm-up (the first quarter, at most an
hour) is the median of the slopes between all pairs of samples (Theil 1950).

Exit status 1 when memory grows by more than 1 MB an hour; when the most files
or threads of the last third after the warm-up exceed those of the third before
it by more than 8; when a request failed that should not; or when the daemon
logged an error. Needs only Python 3.
"""
import argparse
import http.client
import json
import os
import random
import re
import shutil
import statistics
import sys
import tempfile
import threading
import time

from measure import Daemon, read_records, write_json_lines

POINTS = 400  # of the slope


class Feeder(threading.Thread):
    """Appends records to the file that the daemon follows."""

    def __init__(self, path, texts, rate):
        super().__init__(daemon=True)
        self.path, self.texts, self.rate, self.n = path, texts, rate, 0

    def run(self):
        started, sent = time.monotonic(), 0
        while True:
            rows = []
            while sent < self.rate * (time.monotonic() - started):
                text = self.texts[self.n % len(self.texts)]
                if self.n >= len(self.texts):
                    text += ' %d' % (self.n // len(self.texts))
                rows.append({'text': text, 'domain': 'd%d' % (self.n // 50 % 5)})
                sent += len(text.encode())
                self.n += 1
            write_json_lines(self.path, rows, 'a')
            time.sleep(1)


class Client(threading.Thread):
    """One request after another, at `rate` a second."""

    def __init__(self, soak, seed, rate):
        super().__init__(daemon=True)
        self.soak, self.random, self.rate = soak, random.Random(seed), rate

    def run(self):
        due = time.monotonic()
        while True:
            name, act = self.random.choice(ACTS)
            try:
                wrong = act(self)
            except (OSError, http.client.HTTPException, ValueError) as e:
                wrong = repr(e)
            self.soak.count(name, wrong)
            due = max(due + 1 / self.rate, time.monotonic() - 1)
            time.sleep(max(0, due - time.monotonic()))

    def text(self, n=200):
        return self.random.choice(self.soak.texts)[:n]

    def send(self, method, path, body=None):
        connection = http.client.HTTPConnection(*self.soak.address, timeout=300)
        data = body if body is None or isinstance(body, bytes) else \
            json.dumps(body).encode()
        connection.request(method, path, data,
                           {'Content-Type': 'application/json'})
        return connection, connection.getresponse()

    def ask(self, method, path, body=None, expected=(200,)):
        connection, reply = self.send(method, path, body)
        text = reply.read()
        connection.close()
        if reply.status not in expected:
            return '%s: %d %r' % (path, reply.status, text[:200])
        return None

    def stream(self, path, body):
        """Reads a stream to its end, or leaves in the middle."""
        connection, reply = self.send('POST', path, dict(body, stream=True))
        leave, last = self.random.random() < 0.2, b''
        for i, line in enumerate(reply):
            if leave and i > 5:
                break
            last = line.strip() or last
        else:
            leave = False
        connection.close()
        if path == '/v1/responses':  # its last event has the whole response
            wrong = not leave and not re.search(
                rb'"response\.(completed|incomplete)"', last)
        else:
            wrong = b'"error"' in last and b'null' not in last
        if reply.status != 200 or wrong:
            return '%s: %d %r' % (path, reply.status, last[:200])
        return None


def events(client):
    connection, reply = client.send('GET', '/v1/events')
    for _ in range(10):
        reply.readline()
    connection.close()
    return None if reply.status == 200 else '/v1/events: %d' % reply.status


def operate(client):
    """Changes the serving version; 409 and 404: it went meanwhile."""
    connection, reply = client.send('GET', '/v1/versions?limit=5')
    rows = json.loads(reply.read())['versions']
    connection.close()
    passed = [v['version'] for v in rows if v['state'] == 'passed']
    if not passed:
        return None
    path = '/v1/versions/%d/' % client.random.choice(passed)
    act = client.random.choice(['promote', 'pin', 'unpin', 'rollback'])
    if act == 'rollback':
        return client.ask('POST', '/v1/rollback',
                          {'version': int(path.split('/')[3]), 'mode': 'keep'},
                          (200, 202, 404, 409))
    return client.ask('POST', path + act, None, (200, 202, 204, 404, 409))


def completion(c):
    return {'prompt': c.text(60), 'max_tokens': 24, 'seed': 1}


def chat(c):
    return {'messages': [{'role': 'system', 'content': 'You are brief.'},
                         {'role': 'user', 'content': c.text(60)}],
            'max_tokens': 24}


def response(c):
    return {'input': c.text(60), 'max_output_tokens': 24}


ACTS = [
    ('score', lambda c: c.ask('POST', '/v1/score', {'text': c.text()})),
    ('score', lambda c: c.ask('POST', '/v1/score', {'text': c.text(2000)})),
    ('completion', lambda c: c.ask('POST', '/v1/completions', completion(c))),
    ('stream', lambda c: c.stream('/v1/completions', completion(c))),
    ('stream', lambda c: c.stream('/v1/chat/completions', chat(c))),
    ('chat', lambda c: c.ask('POST', '/v1/chat/completions', chat(c))),
    ('response', lambda c: c.ask('POST', '/v1/responses', response(c))),
    ('stream', lambda c: c.stream('/v1/responses', response(c))),
    ('embedding', lambda c: c.ask('POST', '/v1/embeddings',
                                  {'input': [c.text(), c.text()]})),
    ('read', lambda c: c.ask('GET', '/metrics')),
    ('read', lambda c: c.ask('GET', '/v1/status')),
    ('read', lambda c: c.ask('GET', '/v1/versions')),
    ('read', lambda c: c.ask('GET', '/')),
    ('events', events),
    ('wrong', lambda c: c.ask('POST', '/v1/completions',
                              b'{"prompt": [' + b'1' * 500, (400,))),
    ('wrong', lambda c: c.ask('GET', '/v1/versions/99999999', None, (404,))),
]


class Soak:
    def __init__(self, options):
        self.options = options
        self.texts = [r['text'] for r in read_records(options.text)
                      if r['text'].strip()]
        self.work = tempfile.mkdtemp(prefix='mneme-soak.')
        path = os.path.join(self.work, 'records.jsonl')
        open(path, 'w', encoding='utf-8').close()
        self.counts, self.wrong, self.lock = {}, [], threading.Lock()
        self.daemon = Daemon(options, [
            'source.type=file', 'source.path=' + path, 'source.follow=true',
            'model.preset=' + options.preset, 'learner.replay.capacity=1000',
            'learner.holdout.capacity=200',
            'serve.prefix_cache_mib=4'])
        self.daemon.connect()
        self.address = (self.daemon.connection.host,
                        self.daemon.connection.port)
        Feeder(path, self.texts, options.rate).start()
        self.daemon.wait(lambda s: s['step'] > 0, 600, 1)

    def count(self, name, wrong):
        with self.lock:
            self.counts[name] = self.counts.get(name, 0) + 1
            if wrong:
                self.wrong.append('%s: %s' % (name, wrong))

    def sample(self):
        pid = self.daemon.process.pid
        self.daemon.check()
        text = open('/proc/%d/status' % pid).read()
        value = {k: int(re.search(k + r':\s+(\d+)', text).group(1))
                 for k in ('VmRSS', 'RssAnon', 'Threads')}
        return (time.monotonic(), value['RssAnon'] / 1024,
                value['VmRSS'] / 1024,
                len(os.listdir('/proc/%d/fd' % pid)), value['Threads'])

    def show(self, row, hours):
        status = self.daemon.status()
        database = sum(
            os.path.getsize(os.path.join(self.daemon.data, 'mneme.db' + end))
            for end in ('', '-wal')
            if os.path.exists(os.path.join(self.daemon.data, 'mneme.db' + end)))
        print('| %.2f | %.1f | %.1f | %d | %d | %.1f | %d | %d | %d | %d |' % (
            hours, row[1], row[2], row[3], row[4], database / 2**20,
            status['head_version'],
            status['tokens_seen'], sum(self.counts.values()),
            len(self.wrong)), flush=True)

    def run(self):
        o = self.options
        for i in range(4):
            Client(self, i, o.load / 4).start()
        operator = Client(self, 99, 1)
        started, samples, shown, operated = time.monotonic(), [], 0, 0
        print('| hours | anonymous MiB | resident MiB | files | threads | '
              'database MiB | version | tokens learned | requests | wrong |')
        print('| ---: ' * 10 + '|')
        while time.monotonic() < started + o.hours * 3600:
            time.sleep(5)
            samples.append(self.sample())
            passed = time.monotonic() - started
            if passed > operated:
                operated = passed + 30
                self.count('operator', operate(operator))
            if passed >= (shown + 1) * o.hours * 360:
                shown += 1
                self.show(samples[-1], passed / 3600)
        return started, samples


def slope(samples):
    """MB an hour."""
    size = max(1, len(samples) // POINTS)
    points = [(samples[i][0] / 3600,
               statistics.median(s[1] for s in samples[i:i + size]))
              for i in range(0, len(samples) - size + 1, size)]
    return statistics.median((b[1] - a[1]) / (b[0] - a[0]) * 1.048576
                             for i, a in enumerate(points)
                             for b in points[i + 1:])


def judge(soak, started, samples):
    """Prints the findings; true when all is well."""
    hours = soak.options.hours
    warm = started + 3600 * min(1, hours / 4)
    after = [s for s in samples if s[0] >= warm]
    grown = slope(after)
    third, last = after[len(after) // 3:2 * len(after) // 3], \
        after[2 * len(after) // 3:]
    print('\nmemory: %+.2f MB an hour after the warm-up' % grown)
    good = grown <= 1
    for name, i in (('open files', 3), ('threads', 4)):
        a, b = max(s[i] for s in third), max(s[i] for s in last)
        print('%s: at most %d in the middle third after the warm-up, %d in '
              'the last' % (name, a, b))
        good = good and b <= a + 8  # connections that happen to overlap
    print('requests: %s' % ', '.join('%d %s' % (n, k) for k, n in
                                     sorted(soak.counts.items())))
    print('wrong answers: %d' % len(soak.wrong))
    for line in soak.wrong[:10]:
        print('  ' + line)
    errors = [line for line in open(soak.daemon.log, errors='replace')
              if re.search(r'^\S+ error |"level":"error"', line)]
    print('errors in the log: %d' % len(errors))
    for line in errors[:10]:
        print('  ' + line.rstrip())
    return good and not soak.wrong and not errors


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.
                                RawDescriptionHelpFormatter)
    p.add_argument('--text', required=True, metavar='FILE')
    p.add_argument('--mnemed', default='build/daemon/mnemed')
    p.add_argument('--hours', type=float, default=8)
    p.add_argument('--preset', default='nano')
    p.add_argument('--rate', type=float, default=2000, help='bytes a second')
    p.add_argument('--load', type=float, default=10, help='requests a second')
    p.add_argument('--set', action='append', default=[], metavar='KEY=VALUE')
    p.add_argument('--keep', metavar='DIR')
    soak = Soak(p.parse_args())
    started, samples = soak.run()
    good = judge(soak, started, samples)
    soak.daemon.stop()
    shutil.rmtree(soak.work)
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main())
