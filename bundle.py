"""What ``make install`` installs of Python: usbbtd with the packages that it runs on, and its commands.

The packages are those of .venv, as requirements.lock has them. They go into a directory of their own, which only the
commands know: nothing else of the machine's Python sees them, and they see nothing but its standard library.
"""

import argparse
import importlib.metadata
import shutil
import tomllib
from collections.abc import Iterator
from compileall import compile_dir
from pathlib import Path
from py_compile import PycInvalidationMode

from packaging.requirements import Requirement

ROOT = Path(__file__).parent
#: The simulation, and what is needed to build the extensions or left by that.
_NOT_INSTALLED = shutil.ignore_patterns("__pycache__", "sim", "build.py", "*.[cho]")
_COMMAND = """\
#!{interpreter} -IS
import sys
sys.path.insert(0, "{library}")
from {module} import {function}
sys.exit({function}())
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--destdir", type=Path, default=Path("/"), help="the root of what is installed (default: /)")
    parser.add_argument("--library", required=True, help="the directory of the modules, as it is called when installed")
    parser.add_argument("--command", metavar="FILE", help="installs this command; without: the modules")
    parser.add_argument("--interpreter", default="/usr/bin/python3", help="of the command")
    arguments = parser.parse_args()
    if arguments.command is None:
        install_library(arguments.destdir, arguments.library)
    else:
        install_command(arguments.destdir, arguments.command, arguments.interpreter, arguments.library)


def install_library(destdir: Path, library: str) -> None:
    """Replaces what was there, so that no module of an earlier version stays."""
    target = below(destdir, library)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(ROOT / "usbbtd", target / "usbbtd", ignore=_NOT_INSTALLED)
    copy_metadata(target)
    copy_requirements(target)
    compile_modules(target, library)


def install_command(destdir: Path, command: str, interpreter: str, library: str) -> None:
    script = below(destdir, command)
    module, function = commands()[script.name].split(":")
    script.parent.mkdir(parents=True, exist_ok=True)
    text = _COMMAND.format(interpreter=interpreter, library=library, module=module, function=function)
    script.write_text(text, encoding="utf-8")
    script.chmod(0o755)


def commands() -> dict[str, str]:
    """``module:function`` of each command, by its name."""
    scripts: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    return scripts


def below(destdir: Path, path: str) -> Path:
    return destdir / path.lstrip("/")


def compile_modules(tree: Path, installed: str = "/") -> None:
    """Byte code that is never compared with its source: nothing is written at run time, nothing but the source matters.

    ``installed``: what ``tree`` will be called, for tracebacks.
    """
    compile_dir(
        tree, quiet=2, stripdir=str(tree), prependdir=installed, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH
    )


def requirements() -> set[str]:
    """The names of everything that usbbtd needs to run."""

    def needed(name: str) -> Iterator[str]:
        for line in importlib.metadata.requires(name) or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                yield requirement.name

    found: set[str] = set()
    waiting = ["usbbtd"]
    while waiting:
        fresh = set(needed(waiting.pop())) - found
        found |= fresh
        waiting += fresh
    return found


def copy_metadata(target: Path) -> None:
    """What usbbtctl asks for usbbtd's version."""
    distribution = importlib.metadata.distribution("usbbtd")
    metadata = target / f"usbbtd-{distribution.version}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(str(distribution.metadata), encoding="utf-8")


def copy_requirements(target: Path) -> None:
    for name in requirements():
        for file in importlib.metadata.files(name) or ():
            if ".." in file.parts or file.suffix == ".pyc":
                continue  # a script, or this machine's byte code
            copied = target / file
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(file.locate()), copied)


if __name__ == "__main__":
    main()
