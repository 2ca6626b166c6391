"""Files of an administrator: TOML in, frozen models out, and every mistake told as ``file:line: key: what``."""

import difflib
import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

#: Where something is in a document: keys, and numbers of elements of arrays.
Key = tuple[str | int, ...]

#: Of a file, and of all in a directory: what is longer than anybody writes would take seconds to read.
MAX_BYTES, MAX_DIRECTORY_BYTES = 1 << 18, 1 << 19

_SYNTAX_ERROR_PLACE = re.compile(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", re.DOTALL)
#: What tells where a statement of TOML ends: the newlines that are in no string, comment, array or inline table.
_TOKEN = re.compile(
    r"""
      "{3} (?: \\. | [^\\] )*? "{3,5}  |  '{3} .*? '{3,5}
    | " (?: \\. | [^"\\\n] )* "  |  ' [^'\n]* '
    | \# [^\n]*
    | [][{}\n]
    """,
    re.VERBOSE | re.DOTALL,
)
_DEPTH = {"[": 1, "{": 1, "]": -1, "}": -1}


class ConfigError(Exception):
    """What is wrong with an administrator's files: one line ``file:line: key: what`` for each of ``mistakes``."""

    def __init__(self, *mistakes: str) -> None:
        self.mistakes = tuple(map(printable, mistakes))
        super().__init__("\n".join(self.mistakes))


def printable(text: str) -> str:
    """Returns text of files, their names among it, as one line for people: other letters are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class Section(BaseModel):
    """A table of a file: unknown keys are mistakes, and nothing is converted silently."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Model = TypeVar("Model", bound=Section)


class Document(NamedTuple):
    """A file that is TOML."""

    name: str
    text: str
    content: dict[str, Any]

    def validate_as(self, model: type[Model]) -> Model:
        """The content as this model. Raises ConfigError."""
        try:
            return model.model_validate(self.content)
        except ValidationError as error:
            lines = key_lines(self.text)
            mistakes = [_explain(self.name, lines, model, details) for details in error.errors()]
            raise ConfigError(*mistakes) from None


def read_document(path: Path) -> Document:
    """Raises ConfigError: the file cannot be read, or is not TOML."""
    try:
        return parse_document(_read_regular(path).decode(), printable(str(path)))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text") from error


def is_missing(path: Path) -> bool:
    """Whether there is nothing of this name; a link into nowhere is something."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return True
    except OSError:
        pass
    return False


def _read_regular(path: Path) -> bytes:
    """Reads a file, and nothing that could have the reader wait for ever. Raises OSError, ConfigError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        status = os.fstat(descriptor)
        is_null = stat.S_ISCHR(status.st_mode) and status.st_rdev == os.stat(os.devnull).st_rdev
        if not stat.S_ISREG(status.st_mode) and not is_null:
            raise ConfigError(f"{path}: not a regular file")
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path}: longer than {MAX_BYTES} bytes")
    return content


def parse_document(text: str, name: str) -> Document:
    """The text of a file called ``name``. Raises ConfigError."""
    try:
        return Document(name, text, tomllib.loads(text))
    except RecursionError:
        raise ConfigError(f"{name}:1: nested too deeply") from None
    except ValueError as error:  # tomllib's own is one, and so is that of a number of too many digits
        match = _SYNTAX_ERROR_PLACE.fullmatch(str(error))
        what, line = (match[1], match[2]) if match else (str(error), None)
        raise ConfigError(f"{name}:{line or max(1, len(text.splitlines()))}: {what}") from None


def read_directory(directory: Path, proceed: Callable[[], object] = lambda: None) -> list[Document]:
    """All ``*.toml`` of a directory that need not exist, by name. Raises ConfigError with every mistake of all.

    Hidden files are passed over, an editor's locks among them, and so is what has another ending: copies of editors and
    of package managers. ``proceed`` is called before each file: what it raises ends the reading.
    """
    documents: list[Document] = []
    mistakes: list[str] = []
    size = 0
    if is_missing(directory):
        return []
    try:
        paths = sorted(path for path in directory.iterdir() if path.suffix == ".toml" and path.name[0] != ".")
    except OSError as error:
        raise ConfigError(f"{directory}: {error.strerror}") from error
    for path in paths:
        proceed()
        try:
            document = read_document(path)
        except ConfigError as error:
            mistakes += error.mistakes
            continue
        size += len(document.text.encode())
        if size > MAX_DIRECTORY_BYTES:
            raise ConfigError(*mistakes, f"{path}: longer than {MAX_DIRECTORY_BYTES} bytes with the files before it")
        documents.append(document)
    if mistakes:
        raise ConfigError(*mistakes)
    return documents


def validate_all(
    documents: list[Document], model: type[Model], proceed: Callable[[], object] = lambda: None
) -> list[Model]:
    """Each as this model. Raises ConfigError with every mistake of all. ``proceed``: as of ``read_directory``."""
    models: list[Model] = []
    mistakes: list[str] = []
    for document in documents:
        proceed()
        try:
            models.append(document.validate_as(model))
        except ConfigError as error:
            mistakes += error.mistakes
    if mistakes:
        raise ConfigError(*mistakes)
    return models


def line_of(lines: dict[Key, int], key: Key) -> int:
    """The line of a key, or of the nearest table around it; 1 when there is none."""
    return next((lines[key[:length]] for length in range(len(key), 0, -1) if key[:length] in lines), 1)


def key_lines(text: str) -> dict[Key, int]:
    """The line, from 1, on which the statement that first sets each key begins. ``text`` is TOML."""
    lines: dict[Key, int] = {}
    elements: dict[Key, int] = {}  # of arrays of tables, how many there are
    table: Key = ()
    for line, statement, is_header in _statements(text):
        if is_header:
            table = _enter(statement, elements)
            for length in range(1, len(table) + 1):
                lines.setdefault(table[:length], line)
        else:
            for key in _keys(statement):
                lines.setdefault(table + key, line)
    return lines


def _statements(text: str) -> Iterator[tuple[int, dict[str, Any], bool]]:
    """(first line, what it sets, whether it is a table's header) of each statement."""
    first, start, depth = 1, 0, 0
    text = text.replace("\r\n", "\n") + "\n"
    for token in _TOKEN.finditer(text):
        depth += _DEPTH.get(token[0], 0)
        if token[0] == "\n" and depth == 0:
            statement = text[start : token.end()]
            if content := tomllib.loads(statement):
                yield first, content, statement.lstrip(" \t").startswith("[")
            first += statement.count("\n")
            start = token.end()


def _enter(header: dict[str, Any], elements: dict[Key, int]) -> Key:
    """The table that a header opens; ``[[a.b]]`` comes as {"a": {"b": [{}]}}."""
    table: Key = ()
    content: Any = header
    while content:
        ((name, content),) = content.items()
        table = (*table, name)
        if isinstance(content, list):
            elements[table] = elements.get(table, 0) + 1
            content = content[0]
        if table in elements:
            table = (*table, elements[table] - 1)
    return table


def _keys(content: Any) -> Iterator[Key]:
    if not isinstance(content, dict | list):
        return
    for step, value in content.items() if isinstance(content, dict) else enumerate(content):
        yield (step,)
        for key in _keys(value):
            yield (step, *key)


def _explain(name: str, lines: dict[Key, int], model: type[Section], details: ErrorDetails) -> str:
    # pydantic adds the name of a union's member to the path: not a part of the file
    key: Key = tuple(step for step in details["loc"] if not str(step).startswith("function-"))
    if details["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(key[-1]), _keys_beside(model, key), n=1)
        what = "no such key" + (f"; is {near[0]} meant?" if near else "")
    elif details["type"] == "missing":
        what = "is missing"
    else:
        what = details["msg"].removeprefix("Value error, ").removeprefix("Input ")
    # The line tells which of an array's elements it is.
    return f"{name}:{line_of(lines, key)}: {'.'.join(step for step in key if isinstance(step, str))}: {what}"


def _keys_beside(model: type[Section], key: Key) -> list[str]:
    section: Any = model
    for step in key[:-1]:
        section = get_args(section)[0] if isinstance(step, int) else section.model_fields[step].annotation
    return list(section.model_fields)
