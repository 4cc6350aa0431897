#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The completion of bash, zsh and fish, asked in these shells.

What they offer is compared with what mneme help prints. A shell that is not
installed is skipped by name.
"""

import os
import re
import shutil
import subprocess

from flow_util import Tap, TMP, mneme

FOLDER = os.path.join(TMP, "work")


def bash(script, *words):
    """What bash offers for the last word."""
    quoted = " ".join("'" + w.replace("'", "'\\''") + "'" for w in words)
    r = subprocess.run(
        ["bash", "--norc", "-c",
         f". {script}; COMP_WORDS=(mneme {quoted}); "
         f"COMP_CWORD={len(words)}; _mneme; printf '%s\\n' "
         '"${COMPREPLY[@]}"'],
        capture_output=True, text=True, cwd=FOLDER)
    if r.returncode or r.stderr:
        raise RuntimeError(r.stderr)
    return sorted(r.stdout.split())


def fish(script, *words):
    line = "mneme " + " ".join(words)
    r = subprocess.run(
        ["fish", "--no-config", "-c", f"source {script}; complete -C '{line}'"],
        capture_output=True, text=True, cwd=FOLDER,
        env=dict(os.environ, HOME=TMP, XDG_DATA_HOME=TMP, XDG_CONFIG_HOME=TMP))
    return sorted(row.split("\t")[0] for row in r.stdout.splitlines())


ZSH = r"""
zmodload zsh/zpty
zpty z 'zsh -f -i'
line() { zpty -w z "$1"; }
line 'PROMPT=; setopt no_beep; autoload -U compinit; compinit -D -u'
line 'source "$MNEME_COMPLETION"'
# Prints each match between marks instead of inserting it.
line 'zstyle ":completion:*" list-grouped false'
line 'zstyle ":completion:*" insert-tab false; zstyle ":completion:*" list-separator ""'
line 'comppostfuncs=(); compadd () { local -a hits; builtin compadd -O hits "$@"; builtin compadd -A hits "$@"; local h; for h in $hits; do print -r -- "HIT<$h>" >>$MNEME_HITS; done; builtin compadd "$@"; }'
line 'bindkey "^I" complete-word; print READY'
zpty -r -m z x '*READY*' >/dev/null
zpty -w -n z "mneme $MNEME_WORDS"$'\t'
sleep 2
zpty -d z
"""


def zsh(script, *words):
    hits = os.path.join(TMP, "hits")
    open(hits, "w").close()
    subprocess.run(["zsh", "-f", "-c", ZSH], cwd=FOLDER, timeout=60,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   stdin=subprocess.DEVNULL,
                   env=dict(os.environ, MNEME_COMPLETION=script,
                            MNEME_HITS=hits, MNEME_WORDS=" ".join(words)))
    with open(hits) as f:
        return sorted(set(re.findall(r"HIT<(.*?)>", f.read())))


def options(verb):
    out = mneme("help", verb, code=0)[1]
    return sorted(set(re.findall(r"^ +(?:-\w,)? *(--[a-z-]+)", out, re.M)))


def verbs():
    return re.findall(r"^  (\w+)", mneme("help", code=0)[1], re.M)


def check(tap, shell, ask, script):
    tap.equal([v for v in ask(script, "") if not v.startswith("-")],
              sorted(verbs()), f"{shell}: every verb")
    tap.equal(ask(script, "st"), ["status"], f"{shell}: a verb from its start")
    wrong = []
    every = verbs() if shell == "bash" else ["rollback", "eval", "help"]
    for verb in every:
        offered = ask(script, verb, "--")
        if [o for o in options(verb) if o not in offered]:
            wrong.append((verb, offered, options(verb)))
    tap.equal(wrong, [], f"{shell}: every option")
    tap.equal(ask(script, "rollback", "7", "--stream", ""),
              ["keep", "rewind", "skip"], f"{shell}: the values of an option")
    tap.equal(ask(script, "completion", ""), ["bash", "fish", "zsh"],
              f"{shell}: the words of a verb")
    tap.equal(ask(script, "help", "sco"), ["score"],
              f"{shell}: a verb as a word")
    got = [p.rstrip("/") for p in ask(script, "feed", "let")]
    tap.equal(got, ["letters.txt"], f"{shell}: a file")
    got = [p.rstrip("/") for p in ask(script, "status", "--data-dir", "d")]
    tap.equal(got, ["data"], f"{shell}: a folder, and no file")


def main():
    tap = Tap()
    os.makedirs(os.path.join(FOLDER, "data"))
    for name in ("letters.txt", "dust"):
        open(os.path.join(FOLDER, name), "w").close()
    for shell, ask, name in (("bash", bash, "mneme"), ("fish", fish,
                                                       "mneme.fish"),
                             ("zsh", zsh, "_mneme")):
        script = os.path.join(TMP, name)
        text = mneme("completion", shell, code=0)[1]
        with open(script, "w") as f:
            f.write(text)
        with open(os.path.join("cli/completion", name)) as f:
            tap.equal(f.read(), text, f"{shell}: make has made the same")
        if not shutil.which(shell):
            tap.ok(True, f"{shell} completes # SKIP no {shell}")
            continue
        check(tap, shell, ask, script)
    tap.equal(bash(os.path.join(TMP, "mneme"), "rollback", "--stream", "=",
                   "r"), ["rewind"], "bash: --option=VALUE")
    tap.equal(mneme("completion", "tcsh")[0], 2, "another shell: exit 2")
    tap.exit()


main()
