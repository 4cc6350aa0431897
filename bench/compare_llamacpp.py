#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Serving beside llama.cpp's server: the same weights, prompts and threads.

    compare_llamacpp.py --text LINES --build DIR --llama-server PROGRAM

For each preset, mneme learns the first lines of the text and exports the version
as GGUF. Then four servers take turns on loopback, each alone: mneme with float
and with int8 weights, llama-server with f32 and with q8_0. Each gets 1, 8 and 32
streams of /v1/completions from the load generator of serve_load.py: prompts of
200 bytes, each used once, 64 new tokens, temperature 0. Measured are requests a
second, the time to the first token, the time between two tokens (median and
p95), and processor time. Tokens that arrive together have no time between them,
so `a token` is the mean of a request, and of these the median. The first
completions of the two servers with float weights are compared: they have the
same text.

The n-gram memory is off, since llama.cpp has none. Prompt caches are off.
--threads N bounds both servers to N processors (affinity) and N threads.

Prints a table, and writes all figures with --out as JSON. Needs Python 3 only.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time

from serve_load import (END_OF_TEXT, STREAM_TOKENS, ask, measure_until_end,
                        percentile)

PROMPT_BYTES = 200
PROMPT_STEP = 40  # no two prompts begin at the same byte
SLOTS = 32
START_SECONDS = 60

# What each server needs for greedy text without an early end.
BODY = {
    'mneme': {'temperature': 0, 'logit_bias': {str(END_OF_TEXT): -100}},
    'llama': {'temperature': 0, 'ignore_eos': True, 'cache_prompt': False},
}


class Server:
    """A process and its address; stop() ends it."""

    def __init__(self, command, cpus, log, env=None):
        self.log = log
        self.process = subprocess.Popen(
            command, stdout=open(log, 'w'), stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            preexec_fn=lambda: os.sched_setaffinity(0, cpus))

    def cpu_seconds(self):
        text = open('/proc/%d/stat' % self.process.pid).read()
        user, system = text.rsplit(')', 1)[1].split()[11:13]
        return (int(user) + int(system)) / os.sysconf('SC_CLK_TCK')

    def peak_mib(self):
        for line in open('/proc/%d/status' % self.process.pid):
            if line.startswith('VmHWM'):
                return int(line.split()[1]) / 1024
        return float('nan')

    def fail(self, why):
        self.stop()
        raise SystemExit('%s\n%s' % (why, open(self.log).read()[-2000:]))

    def wait(self, ready):
        end = time.monotonic() + START_SECONDS
        while not ready():
            if self.process.poll() is not None:
                self.fail('the server ended with %d' % self.process.returncode)
            if time.monotonic() > end:
                self.fail('the server did not start')
            time.sleep(0.05)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()


def mnemed(o, work, data, settings, cpus, log):
    command = [o.build + '/daemon/mnemed', '--data-dir', data]
    for s in ['http.listen=127.0.0.1:0', 'source.type=file',
              'source.path=%s/few.txt' % work, 'learner.ngram.enabled=false',
              'source.follow=false'] + settings:
        command += ['--set', s]
    return Server(command, cpus, log)


def make_version(o, work, preset):
    """A data directory with a version, and its weights as GGUF."""
    data = '%s/%s' % (work, preset)
    server = mnemed(o, work, data, ['model.preset=' + preset,
                                    'source.at_end=exit'],
                    os.sched_getaffinity(0), data + '.log')
    if server.process.wait() != 0:
        server.fail('mnemed did not learn')
    for kind in ('f32', 'q8_0'):
        subprocess.run([o.build + '/cli/mneme', 'export', 'latest',
                        '%s.%s' % (data, kind), '--data-dir', data,
                        '--format', 'gguf', '--type', kind], check=True,
                       stdout=subprocess.DEVNULL)
    return data


def start_mneme(o, work, data, preset, kind, cpus):
    path = data + '/http.addr'
    if os.path.exists(path):
        os.unlink(path)
    server = mnemed(o, work, data, [
        'model.preset=' + preset, 'serve.quantize=' + kind,
        'serve.prefix_cache_mib=0'], cpus, '%s.%s.log' % (data, kind))
    server.wait(lambda: os.path.exists(path) and open(path).read().strip())
    host, port = open(path).read().strip().rsplit(':', 1)
    server.address = host, int(port)
    return server


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def answers(address):
    try:
        asyncio.run(ask(address, '/health'))
        return True
    except (OSError, SystemExit, IndexError):
        return False


def start_llama(o, data, kind, cpus):
    model = '%s.%s/model.gguf' % (data, kind)
    n = str(len(cpus))
    port = free_port()
    server = Server(
        [o.llama_server, '-m', model, '--host', '127.0.0.1', '--port',
         str(port), '-np', str(SLOTS), '-c', str(SLOTS * 256), '-t', n, '-tb',
         n, '--cache-ram', '0', '--no-webui', '--no-slots', '--offline'],
        cpus, '%s.%s.log' % (data, kind))
    server.address = '127.0.0.1', port
    server.wait(lambda: answers(server.address))
    return server


async def complete(address, prompt, body):
    lines = await ask(address, '/v1/completions', {
        'prompt': prompt, 'max_tokens': 16, **body})
    reply = json.loads(b''.join(lines).split(b'\r\n\r\n', 1)[1])
    return reply['choices'][0]['text']


async def measure(server, kind, prompts, o):
    """The first completions, and a row for each number of streams."""
    texts = [await complete(server.address, p, BODY[kind])
             for p in prompts[:8]]
    rows = {}
    at = 8
    for n in o.streams:
        cpu, start = server.cpu_seconds(), time.perf_counter()
        figures, took = await measure_until_end(
            server.address, n, prompts[at:], o.seconds, BODY[kind])
        cores = ((server.cpu_seconds() - cpu)
                 / (time.perf_counter() - start))
        at += figures['n'] + n
        rows[n] = {
            'requests/s': figures['n'] / took,
            'tokens/s': figures['n'] * STREAM_TOKENS / took,
            'first p50 ms': 1000 * percentile(figures['first'], 0.5),
            'first p95 ms': 1000 * percentile(figures['first'], 0.95),
            'between p50 ms': 1000 * percentile(figures['gaps'], 0.5),
            'between p95 ms': 1000 * percentile(figures['gaps'], 0.95),
            'a token ms': 1000 * percentile(figures['means'], 0.5),
            'cores': cores,
            'requests': figures['n'],
            'tokens in events': 1 + len(figures['gaps'])
            / max(1, len(figures['first'])),
        }
        if at > len(prompts) - 100:
            raise SystemExit('the text is too short: a prompt would be used '
                             'twice')
    return texts, rows


SERVERS = [('mneme', 'none'), ('llama', 'f32'), ('mneme', 'int8'),
           ('llama', 'q8_0')]
NAMES = {('mneme', 'none'): 'mneme float', ('llama', 'f32'): 'llama.cpp f32',
         ('mneme', 'int8'): 'mneme int8', ('llama', 'q8_0'): 'llama.cpp q8_0'}


def middle(runs):
    """The median over the turns, figure by figure."""
    return {n: {key: statistics.median(run[n][key] for run in runs)
                for key in runs[0][n]} for n in runs[0]}


def compare(o, work, preset, prompts, cpus):
    data = make_version(o, work, preset)
    runs = {s: [] for s in SERVERS}
    texts, memory = {}, {}
    for _ in range(o.turns):
        for s in SERVERS:
            kind, weights = s
            server = (start_mneme(o, work, data, preset, weights, cpus)
                      if kind == 'mneme' else
                      start_llama(o, data, weights, cpus))
            try:
                texts[s], rows = asyncio.run(measure(server, kind, prompts, o))
                memory[s] = server.peak_mib()
            finally:
                server.stop()
            runs[s].append(rows)
    same = sum(a == b for a, b in zip(texts['mneme', 'none'],
                                      texts['llama', 'f32']))
    return {
        'preset': preset,
        'same_texts': same, 'texts': len(texts['mneme', 'none']),
        'servers': [{'name': NAMES[s], 'peak_mib': memory[s],
                     'streams': middle(runs[s]), 'turns': runs[s]}
                    for s in SERVERS],
    }


def show(result):
    print('preset %s: %d of %d completions have the same text with float '
          'weights' % (result['preset'], result['same_texts'],
                       result['texts']))
    columns = ['requests/s', 'tokens/s', 'first p50 ms', 'first p95 ms',
               'between p50 ms', 'between p95 ms', 'a token ms', 'cores']
    print('| streams | server | %s |' % ' | '.join(columns))
    print('| ---: | --- |%s' % (' ---: |' * len(columns)))
    for n in result['servers'][0]['streams']:
        for s in result['servers']:
            row = s['streams'][n]
            print('| %s | %s | %s |' % (n, s['name'], ' | '.join(
                '%.3g' % row[c] if row[c] < 1000 else '%.0f' % row[c]
                for c in columns)))
    print(flush=True)


def machine():
    model = ''
    for line in open('/proc/cpuinfo'):
        if line.startswith('model name'):
            model = line.split(':', 1)[1].strip()
            break
    return {'processor': model, 'cpus': os.cpu_count(),
            'system': platform.platform(), 'load': os.getloadavg()}


def program_version(command):
    done = subprocess.run(command, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    lines = [line for line in done.stdout.splitlines() if 'ersion' in line
             or 'mneme' in line]
    return lines[0] if lines else ''


def read_prompts(path):
    with open(path, encoding='utf-8', errors='replace') as f:
        lines = [line.strip() for line in f]
    data = ' '.join(line for line in lines if line).encode()
    prompts = [data[at:at + PROMPT_BYTES].decode(errors='ignore')
               for at in range(0, len(data) - PROMPT_BYTES, PROMPT_STEP)]
    random.Random(1).shuffle(prompts)
    return lines, prompts


def main():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('--text', required=True, help='plain text, a record a line; '
                   'a megabyte gives 25,000 prompts')
    p.add_argument('--build', default='build', help='with daemon/mnemed and '
                   'cli/mneme')
    p.add_argument('--llama-server', default='llama-server')
    p.add_argument('--presets', default='tiny,small')
    p.add_argument('--streams', type=int, nargs='*', default=[1, 8, 32])
    p.add_argument('--seconds', type=float, default=20)
    p.add_argument('--turns', type=int, default=3)
    p.add_argument('--threads', type=int,
                   default=len(os.sched_getaffinity(0)))
    p.add_argument('--lines', type=int, default=200,
                   help='learn this many lines of the text')
    p.add_argument('--out', help='write all figures to this file as JSON')
    o = p.parse_args()
    cpus = set(sorted(os.sched_getaffinity(0))[:o.threads])
    lines, prompts = read_prompts(o.text)
    work = tempfile.mkdtemp(prefix='mneme-compare.')
    report = {'machine': machine(), 'threads': len(cpus),
              'seconds': o.seconds, 'turns': o.turns,
              'new_tokens': STREAM_TOKENS, 'prompt_bytes': PROMPT_BYTES,
              'llama_server': program_version([o.llama_server, '--version']),
              'mneme': program_version([o.build + '/cli/mneme', '--version']),
              'presets': []}
    try:
        with open(work + '/few.txt', 'w', encoding='utf-8') as f:
            f.write('\n'.join(lines[:o.lines]) + '\n')
        for preset in o.presets.split(','):
            report['presets'].append(compare(o, work, preset, prompts, cpus))
            show(report['presets'][-1])
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if o.out:
        with open(o.out, 'w', encoding='utf-8') as f:
            json.dump(report, f, indent=1)


if __name__ == '__main__':
    main()
