#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes builtin_merges.c: the merges of the built-in vocabulary.

    make -C build learner/tokenizer/train_merges
    cd learner/tokenizer
    ./builtin_merges.py --debs DIR --trainer TRAIN_MERGES > builtin_merges.c

The text comes from packages of Debian 12: prose in many languages, program
sources, markup, JSON, logs and lists. Missing packages are downloaded to DIR
with `apt-get download`. Nothing is installed.

Each paragraph belongs to a kind: a language, a programming language, `log`.
A kind has a limit of bytes (LIMITS). Its paragraphs are taken in the order of
their SHA-256, each one once, until the limit is reached. So the same packages
give the same text, whose SHA-256 is checked, and the same merges.

The packages have free licences (PACKAGES, the last column). Their text is not
part of mneme: a merge only says that two tokens often stood side by side.

--text FILE keeps the text; --sizes prints the bytes of each kind. Needs
apt-get, dpkg-deb and Python 3.
"""
import argparse
import gettext
import gzip
import hashlib
import html
import io
import os
import re
import subprocess
import sys
import tarfile

MERGES = 16384 - 257
TEXT_SHA256 = \
    'e3741dd690dc57478f474074ddd0d62f4b46efaac17fcc3bd63bdaf803c1e60c'

# Package, version, licence of what is taken from it.
PACKAGES = [line.split(None, 2) for line in '''\
anarchism 15.3-3 GPL-2
debian-reference-de 2.100 GPL-2+
debian-reference-en 2.100 GPL-2+
debian-reference-es 2.100 GPL-2+
debian-reference-fr 2.100 GPL-2+
debian-reference-id 2.100 GPL-2+
debian-reference-it 2.100 GPL-2+
debian-reference-ja 2.100 GPL-2+
debian-reference-pt 2.100 GPL-2+
debian-reference-zh-cn 2.100 GPL-2+
debian-reference-zh-tw 2.100 GPL-2+
fail2ban 1.0.2-2 GPL-2+
fortunes-de 0.35-1 GPL-2+
fortunes-es 1.36 GPL-2+
fortunes-ru 1.52-3.1 GPL-2+
gnome-user-docs 43.0-2 CC-BY-SA-3.0
golang-1.19-src 1.19.8-2 BSD-3-clause
installation-guide-amd64 20230508+deb12u1 GPL-2+
iso-codes 4.15.0-1 LGPL-2.1+
jool-dkms 4.1.9-1 GPL-2
libjs-bootstrap4 4.6.1+dfsg1-4+deb12u1 Expat
libmojolicious-perl 9.31+dfsg-1 Artistic-2.0
lttng-modules-dkms 2.13.9-1+deb12u1 GPL-2 or LGPL-2.1
manpages-zh 1.6.4.0-1 GFDL-1.2+ and others
mercurial-common 6.3.2-1+deb12u1 GPL-2+
openafs-modules-dkms 1.8.9-1+deb12u1 IBM-PL-1.0
pcp-testsuite 6.0.3-1.1 GPL-2+
python3-docutils 0.19+dfsg-6 public domain
rsyslog-doc 8.2302.0+dfsg-1 Apache-2.0
wesnoth-1.16-data 1:1.16.9-1 GPL-2+
wordnet-base 1:3.0-37 WordNet
xtables-addons-dkms 3.23-1 GPL-2+
'''.splitlines()]

# Limits in kilobytes. Two or three letters are prose in that language; prose
# in any other language has REST. A character takes one byte in English and
# three in Chinese.
LIMITS = {
    'en': 8000,
    'c': 2500, 'go': 500, 'python': 800, 'perl': 400, 'shell': 600,
    'markup': 700, 'script': 250, 'json': 400, 'log': 2000, 'list': 400,
    'de': 1200, 'fr': 800, 'es': 800, 'it': 500, 'pt': 500, 'nl': 300,
    'pl': 300, 'cs': 300, 'sv': 300, 'ru': 1000, 'uk': 300,
    'zh-cn': 2500, 'zh-tw': 2000, 'ja': 1000, 'ko': 600,
    'el': 200, 'he': 200, 'ar': 200, 'fa': 200, 'hi': 200,
}
REST = 80
LONGEST_LINE = 2000  # bytes; minified sources and tables have longer ones
LONGEST_PARAGRAPH = 2000  # bytes; a longer one is divided at line ends


# --- packages ---------------------------------------------------------------

def fetch(folder, name, version):
    """Returns the path of the package's file."""
    os.makedirs(folder, exist_ok=True)
    start = '%s_%s_' % (name, version.replace(':', '%3a'))
    for again in (True, False):
        for file in sorted(os.listdir(folder)):
            if file.startswith(start) and file.endswith('.deb'):
                return os.path.join(folder, file)
        if again:
            subprocess.run(['apt-get', 'download', name + '=' + version],
                           cwd=folder, check=True, stdout=sys.stderr)
    raise SystemExit('no file of %s %s in %s' % (name, version, folder))


def members(path):
    """The paths and contents of a package's files."""
    tar = subprocess.Popen(['dpkg-deb', '--fsys-tarfile', path],
                           stdout=subprocess.PIPE)
    with tarfile.open(fileobj=tar.stdout, mode='r|') as archive:
        for entry in archive:
            if entry.isfile():
                data = archive.extractfile(entry).read()
                name = entry.name.lstrip('.')
                if name.endswith('.gz'):
                    name, data = name[:-3], gzip.decompress(data)
                yield name, data
    tar.wait()


def listing(path):
    """What `dpkg-deb --contents` prints: lines like those of `ls -l`."""
    return subprocess.run(['dpkg-deb', '--contents', path], check=True,
                          env={**os.environ, 'TZ': 'UTC', 'LC_ALL': 'C'},
                          stdout=subprocess.PIPE).stdout.decode()


# --- from files to text -----------------------------------------------------

def strip_tags(text):
    text = re.sub(r'(?s)<(script|style)\b.*?</\1>', ' ', text)
    text = re.sub(r'(?s)<!--.*?-->', ' ', text)
    text = re.sub(r'</?(p|div|li|h\d|tr|br|title|dt|dd|item|td)\b[^>]*>',
                  '\n\n', text)
    text = html.unescape(re.sub(r'<[^>]*>', '', text))
    paragraphs = re.split(r'\n\s*\n', text)
    return '\n\n'.join(' '.join(p.split()) for p in paragraphs)


def strip_roff(text):
    """A manual page without its requests and escapes."""
    lines = []
    for line in text.splitlines():
        if line.startswith(('.\\"', "'\\\"")):
            continue
        m = re.match(r"[.'](SH|SS|B|I|BR|BI|IB|RB|RI|IR|TP|IP)\s+(.*)", line)
        if m:
            line = m.group(2).replace('"', '')
        elif line.startswith(('.', "'")):
            line = ''
        line = re.sub(r'\\f(\[[^]]*\]|\(..|.)|\\[&|^]', '', line)
        lines.append(re.sub(r'\\(-|e|\(aq)', '-', line))
    return '\n'.join(lines)


def mo_messages(data):
    """The English messages of a .mo file, and their translations."""
    try:
        catalog = gettext.GNUTranslations(io.BytesIO(data))._catalog
    except (UnicodeDecodeError, OSError, ValueError):
        return [], []
    ids = [k[0] if isinstance(k, tuple) else k for k in catalog]
    ids = [k.split('\x04')[-1] for k in ids if k]
    return ids, [text for key, text in catalog.items() if key]


def language(code):
    """zh_CN and zh-CN become zh-cn; other languages lose their country."""
    code = code.lower().replace('_', '-').split('@')[0].split('.')[0]
    if code in ('c', 'as-in'):
        return 'en'
    return code if code.startswith('zh') else code.split('-')[0]


SOURCES = {'.c': 'c', '.h': 'c', '.go': 'go', '.py': 'python', '.pm': 'perl',
           '.pl': 'perl', '.t': 'perl', '.sh': 'shell', '.js': 'script',
           '.scss': 'script', '.css': 'script', '.json': 'json',
           '.conf': 'shell', '.out': 'log'}


def kinds_of(package, path, data):
    """Yields pairs of a kind and text."""
    parts, suffix = path.split('/'), os.path.splitext(path)[1]
    if suffix == '.mo':
        code = parts[parts.index('LC_MESSAGES') - 1]
        if package == 'wesnoth-1.16-data' or 'iso_3166' in path or \
                'iso_639-' in path:
            ids, texts = mo_messages(data)
            yield 'en', '\n\n'.join(ids)
            yield language(code), '\n\n'.join(texts)
        return
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    if '/doc/' in path and parts[-1].startswith('changelog'):
        yield 'list', text
    elif path.endswith('copyright') or '/licenses/' in path:
        return
    elif package == 'gnome-user-docs' and suffix == '.page':
        code = language(parts[parts.index('help') + 1])
        yield code, strip_tags(text)
        if code == 'en':
            yield 'markup', text
    elif package == 'installation-guide-amd64' and suffix == '.html':
        code = language(parts[parts.index(package) + 1])
        yield code, strip_tags(text)
        if code == 'en':
            yield 'markup', text
    elif package.startswith('debian-reference') and suffix == '.html':
        code = package[len('debian-reference-'):]
        yield code, strip_tags(text)
        if code == 'en':
            yield 'markup', text
    elif package == 'anarchism' and suffix == '.html':
        yield 'en', strip_tags(text)
    elif package == 'rsyslog-doc' and suffix in ('.html', '.txt'):
        yield ('en', strip_tags(text)) if suffix == '.html' else ('log', text)
    elif package == 'wordnet-base' and parts[-1].startswith('data.'):
        glosses = [line.split('|', 1)[1].strip()
                   for line in text.splitlines() if '|' in line]
        yield 'en', '\n\n'.join(glosses)
    elif package == 'manpages-zh' and '/man/' in path:
        yield language(parts[4]), strip_roff(text)
    elif package.startswith('fortunes-') and not suffix:
        yield package[-2:], text.replace('\n%\n', '\n\n')
    elif suffix in SOURCES and '.min.' not in path:
        yield SOURCES[suffix], text
    elif package == 'pcp-testsuite' and text.startswith('#!'):
        yield 'shell', text


def pieces(text):
    """Paragraphs as bytes; long ones in pieces of whole lines."""
    for paragraph in re.split(rb'\n\s*\n', text.encode(errors='ignore')):
        piece = b''
        for line in paragraph.strip(b'\n').split(b'\n'):
            if piece and len(piece) + len(line) > LONGEST_PARAGRAPH:
                yield piece
                piece = b''
            if len(line) <= LONGEST_LINE and b'\0' not in line:
                piece += line + b'\n'
        yield piece


def gather(folder):
    """Returns the paragraphs of each kind, by their SHA-256."""
    kinds = {}

    def add(kind, text):
        found = kinds.setdefault(kind, {})
        for piece in pieces(text):
            if len(piece) > 2:
                found[hashlib.sha256(piece).digest()] = piece

    for name, version, _ in PACKAGES:
        deb = fetch(folder, name, version)
        add('list', listing(deb))
        for path, data in members(deb):
            for kind, text in kinds_of(name, path, data):
                add(kind, text)
    return kinds


def choose(kinds, show):
    out = []
    for kind in sorted(kinds):
        limit, size = 1000 * LIMITS.get(kind, REST), 0
        for _, piece in sorted(kinds[kind].items()):
            if size + len(piece) >= limit:
                break
            out += [piece, b'\n']
            size += len(piece) + 1
        if show:
            print('%-8s %8d of %9d' % (
                kind, size, sum(map(len, kinds[kind].values()))),
                file=sys.stderr)
    return b''.join(out)


# --- the file in C ----------------------------------------------------------

def write_c(merges, digest):
    print('''\
/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Made by builtin_merges.py, which names the packages. SHA-256 of the text:
 * %s
 */
#include "config.h"

#include "learner/tokenizer/builtin_merges.h"

const uint16_t builtin_merges[BUILTIN_MERGES][2] = {''' % digest)
    line = '   '
    for left, right in merges:
        pair = ' {%s, %s},' % (left, right)
        if len(line) + len(pair) > 79:
            print(line)
            line = '   '
        line += pair
    print(line + '\n};')


def main():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('--debs', required=True, help='folder for the packages')
    p.add_argument('--trainer', help='train_merges of the build folder')
    p.add_argument('--text', help='file to keep the text in')
    p.add_argument('--sizes', action='store_true')
    options = p.parse_args()
    text = choose(gather(options.debs), options.sizes)
    digest = hashlib.sha256(text).hexdigest()
    if digest != TEXT_SHA256:
        print('the text is another one: SHA-256 ' + digest, file=sys.stderr)
    if options.text:
        with open(options.text, 'wb') as f:
            f.write(text)
    if options.trainer:
        done = subprocess.run([options.trainer, str(MERGES)], input=text,
                              stdout=subprocess.PIPE, check=True)
        merges = [line.split() for line in done.stdout.decode().splitlines()]
        write_c(merges, digest)


if __name__ == '__main__':
    main()
