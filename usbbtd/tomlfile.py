"""Reads an administrator's TOML files into frozen models, and tells every mistake as ``file:line: key: what``."""

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

#: The place of a value in a document: the keys that lead to it, and numbers for elements of arrays.
Key = tuple[str | int, ...]

#: The most bytes of a file, and of all files in a directory: longer ones, which nobody writes, take seconds to read.
MAX_BYTES, MAX_DIRECTORY_BYTES = 1 << 18, 1 << 19

_SYNTAX_ERROR_PLACE = re.compile(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", re.DOTALL)
#: Matches what tells where a statement of TOML ends: at a newline that is in no string, array or inline table.
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
    """Tells what is wrong with an administrator's files: one line ``file:line: key: what`` for each of ``mistakes``."""

    def __init__(self, *mistakes: str) -> None:
        self.mistakes = tuple(map(printable, mistakes))
        super().__init__("\n".join(self.mistakes))


def printable(text: str) -> str:
    """Returns text from a file, or its name, as one line for people: letters that cannot be printed are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class Section(BaseModel):
    """A table of a file: unknown keys are mistakes, and nothing is converted silently."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Model = TypeVar("Model", bound=Section)


class Document(NamedTuple):
    """A TOML file that was read."""

    name: str
    text: str
    content: dict[str, Any]

    def validate_as(self, model: type[Model]) -> Model:
        """Returns the content as this model. Raises ConfigError with every mistake."""
        try:
            return model.model_validate(self.content)
        except ValidationError as error:
            lines = key_lines(self.text)
            mistakes = [_explain(self.name, lines, model, details) for details in error.errors()]
            raise ConfigError(*mistakes) from None


def read_document(path: Path) -> Document:
    """Reads a file. Raises ConfigError if it cannot be read or is not TOML."""
    try:
        return parse_document(_read_regular(path).decode(), printable(str(path)))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text") from error


def is_missing(path: Path) -> bool:
    """Tells whether there is nothing of this name. A link into nowhere is something."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return True
    except OSError:
        pass
    return False


def _read_regular(path: Path) -> bytes:
    """Reads a regular file, or the null device; others could let the reader wait for ever.

    Raises OSError; ConfigError if the file is of another kind, or longer than MAX_BYTES.
    """
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
    """Reads the text of a file called ``name``. Raises ConfigError if it is not TOML."""
    try:
        return Document(name, text, tomllib.loads(text))
    except RecursionError:
        raise ConfigError(f"{name}:1: nested too deeply") from None
    except ValueError as error:  # a TOMLDecodeError, or the error of int() for a number of too many digits
        match = _SYNTAX_ERROR_PLACE.fullmatch(str(error))
        what, line = (match[1], match[2]) if match else (str(error), None)
        raise ConfigError(f"{name}:{line or max(1, len(text.splitlines()))}: {what}") from None


def read_directory(directory: Path, proceed: Callable[[], object] = lambda: None) -> list[Document]:
    """Reads all ``*.toml`` of a directory, which need not exist, in the order of their names.

    Hidden files, such as an editor's locks, are passed over; so are files with another ending, such as the copies of
    editors and package managers. ``proceed`` is called before each file: what it raises ends the reading. Raises
    ConfigError with every mistake in every file.
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
    """Returns each document as this model. ``proceed``: as of ``read_directory``. Raises ConfigError as that does."""
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
    """Returns the line of a key, or of the nearest table around it; 1 if there is none."""
    return next((lines[key[:length]] for length in range(len(key), 0, -1) if key[:length] in lines), 1)


def key_lines(text: str) -> dict[Key, int]:
    """Returns for each key the line, from 1, on which the statement that first sets it begins. ``text`` is TOML."""
    lines: dict[Key, int] = {}
    elements: dict[Key, int] = {}  # how many elements each array of tables has so far
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
    """Yields (first line, content, whether it is a table's header) of each statement."""
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
    """Counts and returns the table that a header opens; ``[[a.b]]`` comes as {"a": {"b": [{}]}}."""
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
    # pydantic adds the name of a union's member, which is not in the file
    key: Key = tuple(step for step in details["loc"] if not str(step).startswith("function-"))
    if details["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(key[-1]), _keys_beside(model, key), n=1)
        what = "no such key" + (f"; is {near[0]} meant?" if near else "")
    elif details["type"] == "missing":
        what = "is missing"
    else:
        what = details["msg"].removeprefix("Value error, ").removeprefix("Input ")
    # Numbers of elements are left out: the line tells which element it is.
    return f"{name}:{line_of(lines, key)}: {'.'.join(step for step in key if isinstance(step, str))}: {what}"


def _keys_beside(model: type[Section], key: Key) -> list[str]:
    section: Any = model
    for step in key[:-1]:
        section = get_args(section)[0] if isinstance(step, int) else section.model_fields[step].annotation
    return list(section.model_fields)
