"""Which devices the configuration files of xl give to which domain.

xl keeps nothing of a key that it does not know. So the file is found again by the ``name`` that it sets.
"""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from usbbtd.toolstack.errors import BadSpec
from usbbtd.toolstack.spec import Spec, number_specs, parse_spec
from usbbtd.toolstack.xlconfig import ConfigError, Value, parse

DIRECTORIES = (Path("/etc/xen"), Path("/etc/xen/auto"))

_KEY = "vl2cap"
_SIZE_MAX = 1 << 20  # bytes; what is longer is something else
#: What editors and packages leave beside a file.
_NO_CONFIGURATIONS = ("~", ".bak", ".orig", ".swp", ".dpkg-old", ".dpkg-new", ".dpkg-dist", ".rpmsave", ".rpmnew")


class _File(NamedTuple):
    """What was read of a file. ``problem``: why its devices cannot be had, for people."""

    name: str | None = None
    devices: dict[int, Spec] = {}  # noqa: RUF012 never changed
    problem: str | None = None


class ConfigFiles:
    """The files in ``directories``; read anew where they have changed."""

    def __init__(self, directories: Iterable[Path]) -> None:
        self._directories = tuple(directories)
        self._cache: dict[tuple[Path, int, int, int], _File] = {}

    def read(self) -> tuple[dict[str, dict[int, Spec]], list[str]]:
        """(devices of each domain by its name and devid, what is wrong, for people).

        Of two files that name the same domain neither counts, if either gives it devices: nobody can tell which one
        it was made of.
        """
        cache: dict[tuple[Path, int, int, int], _File] = {}
        problems: list[str] = []
        named: defaultdict[str, list[Path]] = defaultdict(list)
        devices: dict[str, dict[int, Spec]] = {}
        for path in sorted(self._paths()):
            try:
                status = path.stat()
                if status.st_size > _SIZE_MAX:
                    continue
                key = (path, status.st_mtime_ns, status.st_size, status.st_ino)
                cache[key] = file = self._cache.get(key) or _read(path)
            except OSError as error:
                problems.append(f"{path}: {error.strerror}")
                continue
            if file.problem:
                problems.append(file.problem)
            if file.name is not None:
                named[file.name].append(path)
                if file.devices:
                    devices[file.name] = file.devices
        self._cache = cache
        for name in sorted(devices):
            if len(named[name]) > 1:
                del devices[name]
                files = " and ".join(map(str, named[name]))
                problems.append(f"{files} all have name = {name!r}: no device is attached for any of them")
        return devices, problems

    def _paths(self) -> set[Path]:
        """auto/ has links to files beside it: each file counts once."""
        return {
            path.resolve()
            for directory in self._directories
            if directory.is_dir()
            for path in directory.iterdir()
            if path.is_file() and not path.name.startswith(".") and not path.name.endswith(_NO_CONFIGURATIONS)
        }


def _read(path: Path) -> _File:
    """OSError: it cannot be read."""
    text = path.read_bytes().decode(errors="replace")
    try:
        settings = parse(text, str(path))
    except ConfigError as error:
        # xl does not take such a file either; only one that was meant for us is worth a word.
        return _File(problem=f"{error}; no device is attached for it" if _KEY in text else None)
    name = settings.get("name")
    if not isinstance(name, str):
        return _File()
    try:
        return _File(name, number_specs(_specs(name, settings.get(_KEY, []))))
    except BadSpec as error:
        return _File(name, problem=f"{path}: {_KEY}: {error}")


def _specs(name: str, value: Value) -> Iterable[Spec]:
    if not isinstance(value, list):
        raise BadSpec(f'{value!r} is no list, as in {_KEY} = [ "backend=sys-bt" ]')
    for element in value:
        if not isinstance(element, str):
            raise BadSpec('an element is a string, as in "backend=sys-bt"')
        spec = parse_spec(element)
        if spec.backend == name:
            raise BadSpec(f"{element!r}: a domain cannot be its own backend")
        yield spec
