#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""measure.py - measures a whole daemon on your own text.

    bench/measure.py live    --text FILE [--preset small] [--seconds 360]
    bench/measure.py labels  --train FILE --test FILE [--records 1000000]
    bench/measure.py rollback --text FILE [--preset base] [--rounds 5]

FILE is text with one record on each line, or JSON Lines with a member `text`;
.gz files are decompressed. Each command starts mnemed on a new data directory,
sends HTTP requests, stops it, and prints tables in Markdown. --mnemed is the path of the program, --set is passed to it, and --keep
DIR keeps the data directory and the log.

live     learns from a file without a pause: tokens a second, the time of POST
         /v1/score with 200 bytes meanwhile, and memory over time, beside the
         limit that the daemon announced
labels   preset linear: records a second, and accuracy on the test file; from
         a file, or with --brokers from a topic that it fills first
rollback rolls back to the version before the newest while the daemon learns,
         with each stream mode: the time until that version serves, the time
         until the next step, and the slowest POST /v1/score meanwhile

`mneme eval` measures forgetting. Needs only Python 3.
"""
import argparse
import atexit
import copy
import gzip
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time


def read_lines(path):
    opener = gzip.open if path.endswith('.gz') else open
    with opener(path, 'rt', encoding='utf-8', errors='ignore') as f:
        return [line.rstrip('\n') for line in f if line.strip()]


def read_records(path):
    """Each line as a dict with a member `text`."""
    rows = []
    for line in read_lines(path):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not (isinstance(row, dict) and isinstance(row.get('text'), str)):
            row = {'text': line}
        rows.append(row)
    return rows


def write_json_lines(path, rows, mode='w'):
    with open(path, mode, encoding='utf-8') as f:
        for row in rows:
            f.write(json.dumps(row, ensure_ascii=False) + '\n')


class Daemon:
    """mnemed on a new data directory, and one connection to it."""

    def __init__(self, options, settings):
        self.dir = options.keep or tempfile.mkdtemp(prefix='mneme-measure.')
        self.keep = options.keep
        os.makedirs(self.dir, exist_ok=True)
        self.data = tempfile.mkdtemp(prefix='data.', dir=self.dir)
        self.log = self.data + '.log'
        command = [options.mnemed, '--data-dir', self.data]
        for s in ['http.listen=127.0.0.1:0', *settings, *options.set]:
            command += ['--set', s]
        self.process = subprocess.Popen(
            command, stderr=open(self.log, 'w'), stdout=subprocess.DEVNULL)
        atexit.register(self.process.kill)  # even when this program fails
        self.connection = None

    def connect(self):
        path = os.path.join(self.data, 'http.addr')
        while not os.path.exists(path):
            self.check()
            time.sleep(0.05)
        time.sleep(0.05)
        host, port = open(path).read().strip().rsplit(':', 1)
        self.connection = http.client.HTTPConnection(host, int(port), 600)
        self.connection.connect()
        self.connection.sock.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def another(self):
        """The same daemon with a second connection, for a thread."""
        other = copy.copy(self)
        other.connection = None
        return other

    def check(self):
        if self.process.poll() is not None:
            raise SystemExit('mnemed ended: ' + open(self.log).read()[-2000:])

    def ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        for again in (True, False):
            if not self.connection:
                self.connect()
            try:
                self.connection.request(method, path, data,
                                        {'Content-Type': 'application/json'})
                reply = self.connection.getresponse()
                answer = json.loads(reply.read())
                break
            except (OSError, http.client.HTTPException):
                # The daemon closes idle connections.
                self.check()
                self.connection = None
                if not again:
                    raise
        return reply.status, answer

    def post(self, path, body):
        status, answer = self.ask('POST', path, body)
        if status != 200:
            raise SystemExit('%s: %d %s' % (path, status, answer))
        return answer

    def status(self):
        return self.ask('GET', '/v1/status')[1]

    def wait(self, ready, seconds=3600, every=0.2):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            s = self.status()
            if ready(s):
                return s
            time.sleep(every)
        raise SystemExit('waited too long: ' + json.dumps(s))

    def memory(self):
        """Resident memory now and its maximum, MiB."""
        text = open('/proc/%d/status' % self.process.pid).read()
        return [int(re.search(name + r':\s+(\d+)', text).group(1)) / 1024
                for name in ('VmRSS', 'VmHWM')]

    def cpu(self):
        """Seconds of processor time so far."""
        text = open('/proc/%d/stat' % self.process.pid).read()
        user, system = text.rsplit(')', 1)[1].split()[11:13]
        return (int(user) + int(system)) / os.sysconf('SC_CLK_TCK')

    def cpu_by_thread(self):
        """Processor time by thread name: source, trainer, publisher, worker;
        names of librdkafka begin with rdk. Ended threads are left out."""
        seconds = {}
        folder = '/proc/%d/task' % self.process.pid
        for task in os.listdir(folder):
            text = open('%s/%s/stat' % (folder, task)).read()
            name = text[text.index('(') + 1:text.rindex(')')]
            user, system = text.rsplit(')', 1)[1].split()[11:13]
            seconds[name] = (seconds.get(name, 0) + (int(user) + int(system)) /
                             os.sysconf('SC_CLK_TCK'))
        return seconds

    def announced(self):
        m = re.search(r'memory\b.*at_most_mib=(\d+)', open(self.log).read())
        return int(m.group(1)) if m else 0

    def stop(self):
        started = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        seconds = time.monotonic() - started
        if not self.keep:
            shutil.rmtree(self.dir)
        return seconds


def percentile(values, p):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * p))]


def show_latency(name, seconds):
    ms = [1000 * s for s in seconds]
    print('| %s | %d | %s |' % (name, len(ms), ' | '.join(
        '%.1f' % percentile(ms, p) for p in (0.5, 0.9, 0.95, 0.99, 1.0))),
        flush=True)


def pieces_of_200_bytes(text):
    data = text.encode()
    out = []
    for at in range(0, len(data) - 200, 200):
        out.append(data[at:at + 200].decode(errors='ignore'))
    return out


def time_scores(daemon, texts, pause, until=None, count=None):
    """The seconds of each request, and the versions that answered."""
    seconds, versions = [], set()
    while count is None or len(seconds) < count:
        if until and time.monotonic() > until:
            break
        text = texts[len(seconds) % len(texts)]
        started = time.perf_counter()
        answer = daemon.post('/v1/score', {'text': text})
        seconds.append(time.perf_counter() - started)
        versions.add(answer['version'])
        time.sleep(pause)
    return seconds, versions


def tokens_a_second(daemon, seconds):
    """New tokens and steps a second, and processor time a second."""
    first, cpu, started = daemon.status(), daemon.cpu(), time.monotonic()
    time.sleep(seconds)
    last, took = daemon.status(), time.monotonic() - started
    return ((last['tokens_seen'] - first['tokens_seen']) / took,
            (last['step'] - first['step']) / took,
            (daemon.cpu() - cpu) / took, last)


class MemoryLog:
    def __init__(self, daemon):
        self.daemon, self.rows = daemon, []
        self.started = time.monotonic()

    def take(self):
        now = time.monotonic() - self.started
        if not self.rows or now - self.rows[-1][0] >= 30:
            self.rows.append((now, *self.daemon.memory()))

    def show(self):
        announced = self.daemon.announced()
        print('\n| seconds | resident MiB | most MiB |\n| ---: | ---: | ---: |')
        for row in self.rows:
            print('| %.0f | %.0f | %.0f |' % row)
        most = self.daemon.memory()[1]
        print('\nannounced %d MiB, most %.0f MiB: %.2f of it' %
              (announced, most, most / announced))


def live(options):
    lines = read_lines(options.text)
    work = tempfile.mkdtemp(prefix='mneme-text.')
    path = os.path.join(work, 'lines.txt')
    with open(path, 'w', encoding='utf-8') as f:
        for _ in range(options.repeat):
            f.write('\n'.join(lines) + '\n')
    daemon = Daemon(options, [
        'source.type=file', 'source.path=' + path,
        'model.preset=' + options.preset])
    memory = MemoryLog(daemon)
    end = time.monotonic() + options.seconds
    texts = pieces_of_200_bytes(' '.join(lines[:20000]))
    daemon.wait(lambda s: (memory.take(), s['step'] >= 200)[1])
    print('ready after %.1f s' % (time.monotonic() - memory.started),
          flush=True)
    rate, steps, cpu, s = tokens_a_second(daemon, options.window)
    print('without requests: %.0f tokens/s, %.2f steps/s on %.2f cores, %.1f '
          'tokens a record' % (rate, steps, cpu, s['tokens_seen'] /
                               max(1, s['records']['learned'])))
    print('publish:', json.dumps(s['publish']))
    print('\n| requests | n | p50 ms | p90 | p95 | p99 | most |')
    print('| --- | ---: | ---: | ---: | ---: | ---: | ---: |')
    first, started = daemon.status(), time.monotonic()
    seconds, versions = time_scores(daemon, texts, 0, count=options.requests)
    busy = ((daemon.status()['tokens_seen'] - first['tokens_seen']) /
            (time.monotonic() - started))
    show_latency('back to back', seconds)
    memory.take()
    while time.monotonic() < end:
        more, v = time_scores(daemon, texts, 0.1,
                              until=min(end, time.monotonic() + 60))
        versions |= v
        show_latency('10 a second', more)
        memory.take()
    s = daemon.status()
    print('\nduring requests back to back: %.0f tokens/s; %d versions '
          'answered' % (busy, len(versions)))
    print('step %d, tokens %d, state %s, lag of serving: %d versions' % (
        s['step'], s['tokens_seen'], s['state'],
        s['head_version'] - s['serving_version']))
    print('publish:', json.dumps(s['publish']))
    memory.show()
    print('stopped in %.1f s' % daemon.stop())
    shutil.rmtree(work)


def labels(options):
    rows = [r for r in read_records(options.train) if 'label' in r]
    test = [r for r in read_records(options.test) if 'label' in r]
    work = tempfile.mkdtemp(prefix='mneme-text.')
    path = os.path.join(work, 'labelled.jsonl')
    open(path, 'w').close()
    for left in range(options.records, 0, -len(rows)):
        write_json_lines(path, rows[:left], 'a')
    source = ['source.type=file', 'source.path=' + path]
    if options.brokers:
        subprocess.run([options.mneme, 'feed', '-t', options.topic, '-b',
                        options.brokers, path], check=True)
        source = ['source.type=kafka',
                  'source.kafka.topics=[%s]' % options.topic,
                  'source.kafka.properties.bootstrap.servers=' +
                  options.brokers,
                  'source.kafka.properties.group.id=measure-%d' % os.getpid()]
    daemon = Daemon(options, source + ['model.preset=linear'])
    started = time.monotonic()
    # The first pass over the file's records, then all of them.
    once = daemon.wait(
        lambda s: s['records']['consumed'] >= len(rows), every=0.05)
    print('%d records consumed after %.1f s' % (
        once['records']['consumed'], time.monotonic() - started), flush=True)
    s = daemon.wait(lambda s: s['records']['consumed'] >= options.records
                    or time.monotonic() - started > options.seconds)
    took = time.monotonic() - started
    print('%d records in %.1f s on %.2f cores: %.0f records/s; prequential '
          'accuracy %s; most memory %.0f MiB of %d announced' % (
              s['records']['consumed'], took, daemon.cpu() / took,
              s['records']['consumed'] / took, s['accuracy'],
              daemon.memory()[1], daemon.announced()), flush=True)
    print('processor time for each record, us:', ', '.join(
        '%s %.2f' % (name, 1e6 * seconds / s['records']['consumed'])
        for name, seconds in sorted(daemon.cpu_by_thread().items())
        if seconds >= 0.05), flush=True)
    every = max(1, len(test) // options.rows)
    right = n = 0
    for r in test[::every][:options.rows]:
        answer = daemon.post('/v1/classify', {'text': r['text'], 'top_k': 1,
                                              'model': 'mneme@latest'})
        right += answer['results'][0]['label'] == r['label']
        n += 1
    print('version %d: %d of %d right: %.3f' % (answer['version'], right, n,
                                                right / n))
    print('publish:', json.dumps(daemon.status()['publish']))
    print('stopped in %.1f s' % daemon.stop())
    shutil.rmtree(work)


class Watch(threading.Thread):
    """Sends one POST /v1/score after another, and keeps the longest time."""

    def __init__(self, daemon, text):
        super().__init__(daemon=True)
        self.other, self.text = daemon.another(), text
        self.slowest, self.is_done = 0.0, False
        self.start()

    def run(self):
        while not self.is_done:
            started = time.monotonic()
            self.other.post('/v1/score', {'text': self.text})
            self.slowest = max(self.slowest, time.monotonic() - started)

    def stop(self):
        self.is_done = True
        self.join()
        return self.slowest


class Request(threading.Thread):
    """A rollback on its own connection, since its reply may wait."""

    def __init__(self, daemon, version, mode):
        super().__init__(daemon=True)
        self.other, self.failed = daemon.another(), None
        self.body = {'version': version, 'stream': mode, 'reason': 'measured'}
        self.other.connect()
        self.start()

    def run(self):
        status, answer = self.other.ask('POST', '/v1/rollback', self.body)
        if status != 202:
            self.failed = 'rollback: %d %s' % (status, answer)


def time_rollback(daemon, version, mode, seconds=120):
    """The seconds until the version serves, and until the next step after the
    learner went back (None for keep)."""
    before = daemon.status()['step']
    started = time.monotonic()
    request = Request(daemon, version, mode)
    serves = went_back = learns = None
    while time.monotonic() - started < seconds and not request.failed:
        s, now = daemon.status(), time.monotonic() - started
        if serves is None and s['serving_version'] == version:
            serves = now
        if went_back is None and s['step'] < before:
            went_back = s['step']
        elif went_back is not None and s['step'] > went_back:
            learns = learns or now
        if serves is not None and (learns is not None or mode == 'keep'):
            request.join()
            return serves, learns
        time.sleep(0.001)
    raise SystemExit(request.failed or 'rollback to %d, %s: not done after %d '
                     's: %s' % (version, mode, seconds, json.dumps(s)))


def rollback(options):
    lines = read_lines(options.text)
    work = tempfile.mkdtemp(prefix='mneme-text.')
    path = os.path.join(work, 'lines.txt')
    with open(path, 'w', encoding='utf-8') as f:
        f.write('\n'.join(lines) + '\n')
    daemon = Daemon(options, [
        'source.type=file', 'source.path=' + path, 'publish.every_seconds=4',
        'model.preset=' + options.preset])
    text = pieces_of_200_bytes(' '.join(lines[:200]))[0]
    print('| stream | round | serves after, ms | next step after, ms | '
          'slowest answer, ms |\n| --- | ---: | ---: | ---: | ---: |')
    ms = lambda x: '' if x is None else '%.0f' % (1000 * x)
    for mode in ('rewind', 'skip', 'keep'):
        for number in range(1, options.rounds + 1):
            if mode == 'keep':
                daemon.ask('POST', '/v1/versions/latest/promote', {})
            head = daemon.wait(lambda s: s['head_version'])['head_version']
            s = daemon.wait(lambda s: s['serving_version'] > head > 0)
            daemon.wait(lambda now: now['step'] > s['step'], every=0.01)
            version = head
            watch = Watch(daemon, text)
            serves, learns = time_rollback(daemon, version, mode)
            print('| %s | %d | %s | %s | %s |' % (
                mode, number, ms(serves), ms(learns), ms(watch.stop())),
                flush=True)
    print('\nstopped in %.1f s' % daemon.stop())
    shutil.rmtree(work)


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument('--mnemed', default='daemon/mnemed')
    p.add_argument('--set', action='append', default=[])
    p.add_argument('--keep')
    sub = p.add_subparsers(required=True)
    c = sub.add_parser('live')
    c.set_defaults(run=live)
    c.add_argument('--text', required=True)
    c.add_argument('--preset', default='small')
    c.add_argument('--seconds', type=float, default=360)
    c.add_argument('--window', type=float, default=60)
    c.add_argument('--requests', type=int, default=1000)
    c.add_argument('--repeat', type=int, default=2)
    c = sub.add_parser('labels')
    c.set_defaults(run=labels)
    c.add_argument('--train', required=True)
    c.add_argument('--test', required=True)
    c.add_argument('--records', type=int, default=1000000)
    c.add_argument('--rows', type=int, default=500)
    c.add_argument('--seconds', type=float, default=600)
    c.add_argument('--brokers')
    c.add_argument('--topic', default='labels')
    c.add_argument('--mneme', default='cli/mneme')
    c = sub.add_parser('rollback')
    c.set_defaults(run=rollback)
    c.add_argument('--text', required=True)
    c.add_argument('--preset', default='base')
    c.add_argument('--rounds', type=int, default=5)
    options = p.parse_args()
    options.run(options)


if __name__ == '__main__':
    main()
