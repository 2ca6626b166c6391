"""Reads which devices the configuration files of xl give to which domain.

xl keeps nothing of a key that it does not know: a domain's file is found again by the ``name`` that it sets.
"""

import os
import re
import stat
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from usbbtd.toolstack.errors import BadSpec
from usbbtd.toolstack.xlconfig import Value, XlConfigError, parse

T = TypeVar("T")

DIRECTORIES = (Path("/etc/xen"), Path("/etc/xen/auto"))

_EXAMPLES = {"vl2cap": "backend=sys-bt", "vusb": "class=bluetooth"}
_SIZE_MAX = 1 << 20  # bytes; a longer file is no configuration
#: Matches hidden files, and those that editors, packages and cautious people leave beside a file.
_NO_CONFIGURATION = re.compile(
    r"""[.\#] .* | .* (?: [~\#] | [.] (?: bak | backup | old | orig | save | copy | rej | tmp | sw[a-p]
        | dpkg-[a-z]+ | ucf-[a-z]+ | rpm(?:save|new|orig) | pac(?:save|new|orig) ) [-.~0-9]* )""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)


class _XlFile(NamedTuple, Generic[T]):
    """The content of a file. ``devices``: None if it has none. ``problem``: why they cannot be attached, for people."""

    name: str | None = None
    devices: T | None = None
    problem: str | None = None


class ConfigFiles(Generic[T]):
    """What the files in ``directories`` say of one key, a list of strings. A file is read again if it has changed.

    ``read_list`` makes devices of a domain's name and its list, or raises BadSpec.
    """

    def __init__(self, directories: Iterable[Path], key: str, read_list: Callable[[str, list[str]], T]) -> None:
        self._directories = tuple(directories)
        self._key = key
        self._read_list = read_list
        self._cache: dict[tuple[Path, int, int, int], _XlFile[T]] = {}

    def read(self) -> tuple[dict[str, T], list[str]]:
        """Returns (the devices of each domain by its name, problems for people).

        If files name the same domain and give it different devices, none of them counts: it is not known of which one
        the domain was made. A file or directory that cannot be read does not affect the others.
        """
        problems: list[str] = []
        named: defaultdict[str, list[tuple[Path, T | None]]] = defaultdict(list)
        for path, file in self._read_all(problems):
            if file.problem:
                problems.append(file.problem)
            if file.name is not None:
                named[file.name].append((path, file.devices))
        devices: dict[str, T] = {}
        for name, found in sorted(named.items()):
            first = found[0][1]
            if all(others == first for _, others in found):
                devices |= {name: first} if first else {}
            else:
                files = " and ".join(_shown(path) for path, _ in found)
                problems.append(f"{files} all have name = {name!r}: no device is attached for any of them")
        return devices, problems

    def _read_all(self, problems: list[str]) -> list[tuple[Path, _XlFile[T]]]:
        cache: dict[tuple[Path, int, int, int], _XlFile[T]] = {}
        files = []
        for path in sorted(self._paths(problems).values()):
            with _ProblemCollector(path, problems):
                status = path.stat()
                if stat.S_ISDIR(status.st_mode):
                    continue
                if not stat.S_ISREG(status.st_mode):
                    raise OSError(0, "is no file")
                key = (path, status.st_mtime_ns, status.st_size, status.st_ino)
                cache[key] = file = self._cache.get(key) or self._read(path)
                files.append((path, file))
        self._cache = cache
        return files

    def _paths(self, problems: list[str]) -> dict[Path, Path]:
        """Returns the entries of the directories, by the files that they lead to.

        A file counts once: /etc/xen/auto has links to files in /etc/xen.
        """
        paths: dict[Path, Path] = {}
        for directory in self._directories:
            with _ProblemCollector(directory, problems):
                for path in directory.iterdir():
                    if not _NO_CONFIGURATION.fullmatch(path.name):
                        with _ProblemCollector(path, problems):
                            paths.setdefault(path.resolve(strict=True), path)
        return paths

    def _read(self, path: Path) -> _XlFile[T]:
        """Reads the name and the devices in a file. Raises OSError if it cannot be read."""
        text = _read_octets(path).decode(errors="surrogateescape")
        try:
            settings = parse(text, _shown(path))
        except XlConfigError as error:
            # xl refuses such a file, too; it is only a problem of ours if it was meant to have devices of ours.
            return _XlFile(problem=f"{error}; no device is attached for it" if self._key in text else None)
        name = settings.get("name")
        if not isinstance(name, str):
            return _XlFile()
        try:
            texts = _texts(self._key, settings.get(self._key, []))
            return _XlFile(name, self._read_list(name, texts) if texts else None)
        except BadSpec as error:
            return _XlFile(name, problem=f"{_shown(path)}: {self._key}: {error}")


class _ProblemCollector:
    """Turns an error with one path into a problem. A path that has vanished or never was there is no problem."""

    def __init__(self, path: Path, problems: list[str]) -> None:
        self._path = path
        self._problems = problems

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if isinstance(error, FileNotFoundError) and not os.path.lexists(self._path):
            return True
        if isinstance(error, OSError):
            self._problems.append(f"{_shown(self._path)}: {error.strerror}")
        elif isinstance(error, RuntimeError):  # Path.resolve raises it
            self._problems.append(f"{_shown(self._path)}: a loop of links")
        return isinstance(error, OSError | RuntimeError)


def _shown(path: Path) -> str:
    """Returns a path as text that can be printed: a file's name may have any octets."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _read_octets(path: Path) -> bytes:
    """Reads a file. Raises OSError if it cannot be read, or is longer than a configuration."""
    # The flags are for a FIFO or a terminal that has come in its place: one has us wait, the other would become ours.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        too_long = os.fstat(descriptor).st_size > _SIZE_MAX
        octets = b"" if too_long else file.read(_SIZE_MAX + 1) or b""
    if too_long or len(octets) > _SIZE_MAX:
        raise OSError(0, f"is longer than {_SIZE_MAX} bytes")
    return octets


def _texts(key: str, value: Value) -> list[str]:
    """Returns the strings of a list. Raises BadSpec if it is none."""
    if not isinstance(value, list):
        raise BadSpec(f'{value!r} is no list, as in {key} = [ "{_EXAMPLES[key]}" ]')
    texts = [element for element in value if isinstance(element, str)]
    if len(texts) < len(value):
        raise BadSpec(f'an element is a string, as in "{_EXAMPLES[key]}"')
    return texts
