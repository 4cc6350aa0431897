#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Serving under load: latency, streams and learning, of one or more programs.

    serve_load.py --text LINES --mnemed PROGRAM [--mnemed PROGRAM ...]

Several programs take turns, so that a change of the machine's load meets all
of them. Each turn starts a daemon with a new data directory and measures:

    scores      POST /v1/score of 200 bytes, 20 a second, while the daemon
                learns without a pause; then the same beside 8 streams
    streams     1, 8 and 32 streams of /v1/completions, while learning is
                paused (the text has ended): time to the first token, time
                between two tokens, requests and tokens a second
    prefixes    time to the first token of prompts of 220 tokens, while
                learning is paused: by turns one that nobody has sent, and
                one whose first 200 tokens were sent before

The time of a score counts from when it was due, so a late one does not hide
the wait of the next. Needs Python 3 only.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import re
import signal
import shutil
import subprocess
import tempfile
import time

RATE = 20           # scores a second
STREAM_TOKENS = 64
END_OF_TEXT = 256


EMPTY = re.compile(rb'"(text|content)": ?""')  # the end of a stream has no text


async def ask(address, path, body=None, on_event=None):
    """One request on a connection of its own. on_event gets the time of each
    event that has text."""
    reader, writer = await asyncio.open_connection(*address)
    data = b'' if body is None else json.dumps(body).encode()
    writer.write(('%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n'
                  'Content-Type: application/json\r\nContent-Length: %d\r\n'
                  '\r\n' % ('GET' if body is None else 'POST', path,
                            len(data))).encode() + data)
    lines = []
    while True:
        line = await reader.readline()
        if not line:
            break
        if (on_event and line.startswith(b'data: {')
                and not EMPTY.search(line)):
            on_event(time.perf_counter())
        lines.append(line)
    writer.close()
    if b' 200 ' not in lines[0]:
        raise SystemExit('%s: %r' % (path, b''.join(lines)[:500]))
    return lines


async def status(address):
    lines = await ask(address, '/v1/status')
    return json.loads(b''.join(lines).split(b'\r\n\r\n', 1)[1])


class Daemon:
    def __init__(self, program, settings, text):
        self.dir = tempfile.mkdtemp(prefix='mneme-load.')
        self.log = os.path.join(self.dir, 'log')
        command = [program, '--data-dir', self.dir + '/data', '--set',
                   'http.listen=127.0.0.1:0', '--set', 'source.type=file',
                   '--set', 'source.path=' + text]
        for s in settings:
            command += ['--set', s]
        self.process = subprocess.Popen(command, stderr=open(self.log, 'w'),
                                        stdout=subprocess.DEVNULL)
        path = self.dir + '/data/http.addr'
        while not os.path.exists(path) or not open(path).read().strip():
            if self.process.poll() is not None:
                raise SystemExit(open(self.log).read()[-2000:])
            time.sleep(0.05)
        host, port = open(path).read().strip().rsplit(':', 1)
        self.address = host, int(port)

    def total_cpu(self):
        text = open('/proc/%d/stat' % self.process.pid).read()
        user, system = text.rsplit(')', 1)[1].split()[11:13]
        return (int(user) + int(system)) / os.sysconf('SC_CLK_TCK')

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        shutil.rmtree(self.dir)


def percentile(values, p):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * p))]


async def score_at_rate(address, texts, seconds):
    """The seconds of each score, from the time that it was due."""
    took, tasks = [], []
    start = time.perf_counter()

    async def one(due, text):
        await ask(address, '/v1/score', {'text': text})
        took.append(time.perf_counter() - due)

    for i in range(int(seconds * RATE)):
        due = start + i / RATE
        await asyncio.sleep(max(0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(one(due, texts[i % len(texts)])))
    await asyncio.gather(*tasks)
    return took


async def stream_until(address, prompts, body, figures, end):
    """One stream after another, each with the next prompt. A stream counts when
    it has ended."""
    while time.perf_counter() < end:
        began, last, first, gaps = time.perf_counter(), None, None, []

        def event(now):
            nonlocal last, first
            if first is None:
                first = now - began
            else:
                gaps.append(now - last)
            last = now

        await ask(address, '/v1/completions',
                  {'prompt': next(prompts), 'max_tokens': STREAM_TOKENS,
                   'stream': True, **body}, event)
        figures['first'].append(first)
        figures['gaps'] += gaps
        figures['means'].append(sum(gaps) / max(1, len(gaps)))
        figures['n'] += 1
        figures['ended'] = time.perf_counter()


SAMPLED = {'seed': 1, 'logit_bias': {str(END_OF_TEXT): -100}}


async def measure_until_end(address, n, prompts, seconds, body):
    """n streams at a time; the raw figures, and the seconds that they took."""
    figures = {'first': [], 'gaps': [], 'means': [], 'n': 0, 'ended': 0}
    start, prompts = time.perf_counter(), itertools.cycle(prompts)
    await asyncio.gather(*(
        stream_until(address, prompts, body, figures, start + seconds)
        for _ in range(n)))
    return figures, figures['ended'] - start


async def run_streams(address, n, prompts, seconds):
    figures, took = await measure_until_end(address, n, prompts, seconds,
                                            SAMPLED)
    return {
        'requests/s': figures['n'] / took,
        'tokens/s': figures['n'] * STREAM_TOKENS / took,
        'first p50 ms': 1000 * percentile(figures['first'], 0.5),
        'first p99 ms': 1000 * percentile(figures['first'], 0.99),
        'between p50 ms': 1000 * percentile(figures['gaps'], 0.5),
        'between p99 ms': 1000 * percentile(figures['gaps'], 0.99),
    }


async def wait_for(daemon, ready):
    while not ready(await status(daemon.address)):
        await asyncio.sleep(0.2)


async def with_rates(daemon, work):
    """Runs it; returns its result, new tokens/s, and cores of the daemon."""
    before, cpu, start = (await status(daemon.address), daemon.total_cpu(),
                          time.perf_counter())
    result = await work
    took = time.perf_counter() - start
    after = await status(daemon.address)
    return (result, (after['tokens_seen'] - before['tokens_seen']) / took,
            (daemon.total_cpu() - cpu) / took)


def show(name, turn, row):
    print('%s | turn %d | %s' % (name, turn, ' | '.join(
        '%s %.4g' % item for item in row.items())), flush=True)


async def measure_scores(daemon, name, turn, texts, o):
    await wait_for(daemon, lambda s: s['step'] >= 20)
    _, rate, cores = await with_rates(daemon, asyncio.sleep(o.seconds / 2))
    show(name + ' no requests', turn, {'new tokens/s': rate, 'cores': cores})
    for n in (0, 8):
        async def both():
            streams = asyncio.create_task(run_streams(
                daemon.address, n, texts, o.seconds)) if n else None
            took = await score_at_rate(daemon.address, texts, o.seconds)
            return took, await streams if streams else {}
        (took, streams), rate, cores = await with_rates(daemon, both())
        show('%s scores beside %d streams' % (name, n), turn, {
            'n': len(took), 'p50 ms': 1000 * percentile(took, 0.5),
            'p99 ms': 1000 * percentile(took, 0.99),
            'most ms': 1000 * max(took), 'new tokens/s': rate,
            'cores': cores, **{'stream ' + k: v for k, v in streams.items()}})


async def measure_streams(daemon, name, turn, texts, o):
    await wait_for(daemon, lambda s: s['state'] == 'waiting' and s['step'])
    for n in o.streams:
        row, _, cores = await with_rates(daemon, run_streams(
            daemon.address, n, texts, o.seconds))
        show('%s %d streams' % (name, n), turn, {**row, 'cores': cores})


async def measure_prefixes(daemon, name, turn, texts, o):
    """Prompts are random letters, as token ids."""
    await wait_for(daemon, lambda s: s['state'] == 'waiting' and s['step'])
    chance = random.Random(turn)

    def letters(n):
        return [chance.randrange(97, 123) for _ in range(n)]

    shared, took = letters(200), {'unknown': [], 'known': []}
    for i in range(o.prefixes + 1):
        for kind in took:
            first = []
            prompt = (shared if kind == 'known' else letters(200)) + letters(20)
            began = time.perf_counter()
            await ask(daemon.address, '/v1/completions',
                      {'prompt': prompt, 'max_tokens': 8, 'stream': True,
                       'logit_bias': {str(END_OF_TEXT): -100}},
                      first.append)
            if i:  # the first one makes the prefix known
                took[kind].append(first[0] - began)
    show(name + ' prefixes', turn, {
        '%s p%d ms' % (kind, p): 1000 * percentile(values, p / 100)
        for kind, values in took.items() for p in (10, 50, 90)})


def main():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('--mnemed', action='append', required=True)
    p.add_argument('--text', required=True, help='one record a line')
    p.add_argument('--turns', type=int, default=2)
    p.add_argument('--seconds', type=float, default=20)
    p.add_argument('--streams', type=int, nargs='*', default=[1, 8, 32])
    p.add_argument('--set', action='append', default=[])
    p.add_argument('--prefixes', type=int, default=100)
    p.add_argument('--skip', choices=['scores', 'streams', 'prefixes'],
                   nargs='*', default=[])
    o = p.parse_args()
    with open(o.text, encoding='utf-8', errors='replace') as f:
        lines = [line.strip() for line in f]
    data = ' '.join(lines[:5000]).encode()
    texts = [data[at:at + 200].decode(errors='ignore')
             for at in range(0, min(len(data) - 200, 400000), 200)]
    work = tempfile.mkdtemp(prefix='mneme-load-text.')
    few = os.path.join(work, 'few.txt')
    with open(few, 'w', encoding='utf-8') as f:
        f.write('\n'.join(lines[:60]) + '\n')
    for turn in range(o.turns):
        for program in o.mnemed:
            for part, text, measure in (('scores', o.text, measure_scores),
                                        ('streams', few, measure_streams),
                                        ('prefixes', few, measure_prefixes)):
                if part in o.skip:
                    continue
                daemon = Daemon(program, o.set, text)
                try:
                    asyncio.run(measure(daemon, os.path.basename(program),
                                        turn, texts, o))
                finally:
                    daemon.stop()
    shutil.rmtree(work)


if __name__ == '__main__':
    main()
