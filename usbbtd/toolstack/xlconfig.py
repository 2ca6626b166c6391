"""Reads xl's configuration files as xl does, by the grammar of Xen's tools/libs/util/libxlu_cfg_y.y and libxlu_cfg_l.l.

name = "work"              # a string in ' or "; numbers are strings too
disk = [ "phy:/dev/vg/work,xvda,w",
         "file:/iso,xvdb,r", ]
extra = 'quiet'; extra += ' ro'
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

Value = str | list["Value"]

_TOKEN = re.compile(
    r"""(?P<blank> [ \t]+ )
      | (?P<newline> (?:\#[^\n]*)? (?:\n|\Z) )
      | (?P<name> [a-z][._0-9a-z]* )
      | (?P<number> [0-9][0-9a-fx]* )
      | (?P<string> '(?:[^'\\\n]|\\.)*' | "(?:[^"\\\n]|\\.)*" )
      | (?P<mark> \+= | [][,;=] )
    """,
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{1,2})|([0-7]{1,3})|(.))")
_CHARACTERS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"} | {c: c for c in "\"'\\"}
_OCTETS = ("utf-8", "surrogateescape")
_DEEPEST = 16


class XlConfigError(Exception):
    """The file has a mistake, and xl would refuse it, too. The message names file and line."""


class _Token(NamedTuple):
    kind: str  # "name", "value", "newline", "end", or the mark itself
    text: str
    line: int


def parse(text: str, file: str) -> dict[str, Value]:
    """Returns the value of each name; the last setting counts. Octets that are not UTF-8 are surrogates in ``text``.

    Raises XlConfigError, which names ``file``, at the first mistake.
    """
    return _Parser(text, file).settings()


class _Parser:
    def __init__(self, text: str, file: str) -> None:
        self._file = file
        self._tokens = self._read_tokens(text)
        self._next = next(self._tokens)

    def settings(self) -> dict[str, Value]:
        settings: dict[str, Value] = {}
        while self._next.kind != "end":
            if self._next.kind == "name":
                self._assign(settings)
                if self._next.kind not in ("newline", ";", "end"):
                    self._refuse("a new line or ';' should follow")
            elif self._next.kind not in ("newline", ";"):
                self._refuse("a setting begins with its name, in small letters")
            if self._next.kind != "end":
                self._take()
        return settings

    def _assign(self, settings: dict[str, Value]) -> None:
        name, operator = self._take(), self._take()
        if operator.kind not in ("=", "+="):
            raise self._error(operator.line, f"'=' or '+=' should follow {name.text}, not {_shown(operator)}")
        value = self._value(0)
        before = settings.get(name.text) if operator.kind == "+=" else None
        if isinstance(before, str) and isinstance(value, str):
            value = f"{before}{value}"
        elif isinstance(before, list) and isinstance(value, list):
            value = [*before, *value]
        elif before is not None:
            raise self._error(operator.line, f"{name.text}: a list and a string cannot be added")
        settings[name.text] = value

    def _value(self, depth: int) -> Value:
        if self._next.kind == "value":
            return self._take().text
        if self._next.kind != "[":
            self._refuse("a value is a string in quotation marks, a number, or a list in brackets")
        if depth == _DEEPEST:
            self._refuse("lists are nested too deeply")
        self._take()
        values: list[Value] = []
        self._skip_newlines()
        while self._next.kind != "]":
            values.append(self._value(depth + 1))
            self._skip_newlines()
            if self._next.kind == ",":
                self._take()
                self._skip_newlines()
            elif self._next.kind != "]":
                self._refuse("',' or ']' should follow in a list")
        self._take()
        return values

    def _skip_newlines(self) -> None:
        while self._next.kind == "newline":
            self._take()

    def _take(self) -> _Token:
        taken = self._next
        if taken.kind != "end":
            self._next = next(self._tokens)
        return taken

    def _refuse(self, rule: str) -> None:
        raise self._error(self._next.line, f"{rule}, not {_shown(self._next)}")

    def _error(self, line: int, what: str) -> XlConfigError:
        return XlConfigError(f"{self._file}:{line}: {what}")

    def _read_tokens(self, text: str) -> Iterator[_Token]:
        line, position = 1, 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                what = "a string that does not end on its line" if text[position] in "'\"" else repr(text[position])
                raise self._error(line, f"{what} cannot be here")
            kind, found = str(match.lastgroup), match.group()
            position = match.end()
            if kind == "string":
                yield _Token("value", self._unquote(found, line), line)
            elif kind != "blank":
                yield _Token({"number": "value", "mark": found}.get(kind, kind), found, line)
            line += found.endswith("\n")
        yield _Token("end", "", line)

    def _unquote(self, quoted: str, line: int) -> str:
        def character(escape: re.Match[str]) -> str:
            hexadecimal, octal, letter = escape.groups()
            if letter is None:
                return bytes([int(hexadecimal, 16) if hexadecimal else int(octal, 8) & 0xFF]).decode(*_OCTETS)
            if letter not in _CHARACTERS:
                raise self._error(line, f"there is no \\{letter} in a string")
            return _CHARACTERS[letter]

        # For xl a string is octets. Those that are not UTF-8 become \xNN, as when they are read from xenstore.
        return _ESCAPE.sub(character, quoted[1:-1]).encode(*_OCTETS).decode(errors="backslashreplace")


def _shown(token: _Token) -> str:
    return {"newline": "the end of the line", "end": "the end of the file"}.get(token.kind, repr(token.text))
