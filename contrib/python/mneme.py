# SPDX-License-Identifier: Apache-2.0
"""Use versions of mneme from Python: a wrapper of libmneme (see mneme.h).

    import mneme
    with mneme.open("/var/lib/mneme") as version:
        print(version.score("The invoice was paid.").bits_per_byte)
        print(version.generate("The invoice", seed=1))

A version may be used by several threads at once. Texts are str or bytes.
MNEME_LIBRARY names another file than libmneme.so.0.
"""

import collections
import ctypes as c
import os

INT8 = 1
Score = collections.namedtuple("Score", "n_tokens nats bits_per_byte")
Token = collections.namedtuple("Token", "id bytes logprob")


class Error(Exception):
    """`code` is one of enum mneme_code in mneme.h."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


class _Error(c.Structure):
    _fields_ = [("code", c.c_int), ("text", c.c_char * 512)]


class _Score(c.Structure):
    _fields_ = [("n_tokens", c.c_size_t), ("nats", c.c_double),
                ("bits_per_byte", c.c_double)]


class _Sampling(c.Structure):
    _fields_ = [("size", c.c_size_t), ("max_tokens", c.c_int),
                ("top_k", c.c_int), ("temperature", c.c_float),
                ("top_p", c.c_float), ("seed", c.c_uint64),
                ("stop", c.POINTER(c.c_char_p)), ("n_stop", c.c_size_t)]


_on_token = c.CFUNCTYPE(c.c_int, c.POINTER(c.c_char), c.c_size_t, c.c_void_p)
_lib = c.CDLL(os.environ.get("MNEME_LIBRARY", "libmneme.so.0"))
_text = [c.c_void_p, c.c_char_p, c.c_size_t]  # version, text, length
_size, _size_p = c.c_size_t, c.POINTER(c.c_size_t)
for _name, _result, _arguments in (
        ("library_version_text", c.c_char_p, []),
        ("open", c.c_int, [c.c_char_p, c.c_char_p, c.c_uint,
                           c.POINTER(c.c_void_p)]),
        ("close", None, [c.c_void_p]), ("version", c.c_int64, [c.c_void_p]),
        ("context", _size, [c.c_void_p]), ("dim", _size, [c.c_void_p]),
        ("n_labels", _size, [c.c_void_p]),
        ("label", c.c_char_p, [c.c_void_p, _size]),
        ("token_bytes", c.c_void_p, [c.c_void_p, c.c_uint32, _size_p]),
        ("score_tokens", c.c_int, _text + [
            c.POINTER(_Score), c.POINTER(c.c_uint32), c.POINTER(c.c_float),
            _size]),
        ("classify", c.c_int, _text + [c.POINTER(c.c_float), _size]),
        ("generate", c.c_int, _text + [
            c.POINTER(_Sampling), _on_token, c.c_void_p,
            c.POINTER(c.c_void_p), _size_p]),
        ("sampling_init", None, [c.POINTER(_Sampling), _size]),
        ("free", None, [c.c_void_p]),
        ("embed", c.c_int, _text + [c.POINTER(c.c_float), _size])):
    _function = getattr(_lib, "mneme_" + _name)
    _function.restype = _result
    # Those that can fail return an int and take the error last.
    _function.argtypes = _arguments + (
        [c.POINTER(_Error)] if _result is c.c_int else [])


def _call(name, *arguments):
    error = _Error()
    if getattr(_lib, "mneme_" + name)(*arguments, c.byref(error)) != 0:
        raise Error(error.code, error.text.decode("utf-8", "replace"))


def _bytes(text):
    # bytes(5) would be five NUL bytes; memoryview refuses a number.
    return text.encode() if isinstance(text, str) else bytes(memoryview(text))


class Version:
    """One version, in memory; open() makes it."""

    def __init__(self, path, version=None, int8=False):
        self._m = None
        m = c.c_void_p()
        name = None if version is None else str(version).encode()
        _call("open", os.fsencode(path), name, INT8 if int8 else 0, c.byref(m))
        self._m = m
        self.number = _lib.mneme_version(m)
        self.context = _lib.mneme_context(m)
        self.dim = _lib.mneme_dim(m)
        self.labels = [_lib.mneme_label(m, i).decode()
                       for i in range(_lib.mneme_n_labels(m))]

    def close(self):
        m, self._m = self._m, None
        if m:
            _lib.mneme_close(m)

    __del__ = close

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _token(self, i, logprob):
        n = c.c_size_t()
        at = _lib.mneme_token_bytes(self._m, i, c.byref(n))
        return Token(i, c.string_at(at, n.value), logprob)

    def _score(self, text, capacity):
        text, score = _bytes(text), _Score()
        ids = (c.c_uint32 * capacity)()
        logprobs = (c.c_float * capacity)()
        _call("score_tokens", self._m, text, len(text), c.byref(score), ids,
              logprobs, capacity)
        return (Score(score.n_tokens, score.nats, score.bits_per_byte), ids,
                logprobs)

    def score(self, text):
        """The loss of a text: a Score."""
        return self._score(text, 0)[0]

    def tokens(self, text):
        """The tokens of a text, each with ln p: a list of Token."""
        score, ids, logprobs = self._score(text, len(_bytes(text)))
        return [self._token(ids[i], logprobs[i])
                for i in range(score.n_tokens)]

    def classify(self, text):
        """The probability of each label: a dict."""
        text, p = _bytes(text), (c.c_float * len(self.labels))()
        _call("classify", self._m, text, len(text), p, len(self.labels))
        return dict(zip(self.labels, p))

    def generate(self, prompt, max_tokens=16, temperature=1.0, top_p=1.0,
                 top_k=0, seed=0, stop=(), on_token=None):
        """The completion of a prompt. on_token gets the bytes of each token,
        and returns True to stop."""
        prompt, text, n = _bytes(prompt), c.c_void_p(), c.c_size_t()
        stop = [_bytes(s) for s in stop]
        s, failures = _Sampling(), []
        _lib.mneme_sampling_init(c.byref(s), c.sizeof(s))
        s.max_tokens, s.temperature, s.top_p = max_tokens, temperature, top_p
        s.top_k, s.seed, s.n_stop = top_k, seed, len(stop)
        s.stop = (c.c_char_p * len(stop))(*stop)

        def pass_on(at, n_bytes, _):
            try:
                return 1 if on_token(at[:n_bytes]) else 0
            except BaseException as e:  # no exception passes through C
                failures.append(e)
                return 1

        _call("generate", self._m, prompt, len(prompt), c.byref(s),
              _on_token(pass_on) if on_token else _on_token(), None,
              c.byref(text), c.byref(n))
        try:
            completion = c.string_at(text.value, n.value).decode()
        finally:
            _lib.mneme_free(text)
        if failures:
            raise failures[0]
        return completion

    def embed(self, text):
        """The embedding of a text: a list of floats of length 1."""
        text, out = _bytes(text), (c.c_float * self.dim)()
        _call("embed", self._m, text, len(text), out, self.dim)
        return list(out)


def open(path, version=None, int8=False):
    """Opens a version: None is the serving one; "latest", "previous", a number
    or a tag name others. Raises Error."""
    return Version(path, version, int8)
