"""What ``make install`` installs of Python: the modules of each part, the packages that they run on, and the commands.

A part has what its commands import, and no more; what the part that it stands on has, it has not again. The packages
are those of .venv, as requirements.lock has them. They go into directories of their own, which only the commands know:
nothing else of the machine's Python sees them, and they see nothing but its standard library. The guest's API is the
exception: as a Debian package it goes where every program finds it, and takes cffi's backend from Debian. What encrypts
is another: our Debian packages link to Debian's own, so that what Debian mends is mended here.
"""

import argparse
import ast
import importlib.metadata
import shutil
import sys
import tomllib
from collections.abc import Iterable, Iterator
from compileall import compile_dir
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Any, NamedTuple

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
_COMMAND = """\
#!{interpreter} -IS
import sys
sys.path.append("{library}")
from {module} import {function}
sys.exit({function}())
"""
#: All that a compiled extension needs of cffi; the rest of it, and its parser of C, is for building one.
_BACKEND = "_cffi_backend"
#: What a distribution has that we can use, and mends faster than we would.
_OF_SYSTEM = frozenset({"cryptography"})


class Part(NamedTuple):
    """What is installed together: all that these modules import, but for what the part ``base`` has already."""

    modules: tuple[str, ...]
    base: str | None = None


#: By the name of the Debian package.
PARTS = {
    "python3-usbbtd-guest": Part(("usbbtd.guest", "usbbtd.cli.guest", "usbbtd.cli.serial")),
    "usbbt-common": Part(("usbbtd.cli.toolstack",)),
    "usbbtd": Part(("usbbtd.__main__", "usbbtd.cli.daemon", "usbbtd.cli.ctl"), "usbbt-common"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--destdir", type=Path, default=Path("/"), help="the root of what is installed (default: /)")
    parser.add_argument("--tree", type=Path, default=ROOT, help="where the modules are (default: the sources)")
    parser.add_argument("--library", required=True, help="the directory of the modules, as it is called when installed")
    parser.add_argument(
        "--system", type=Path, help="where the distribution's packages are, to link to what is ours to use"
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--part", choices=PARTS, help="installs the modules of this part")
    what.add_argument("--command", metavar="FILE", help="installs this command")
    parser.add_argument(
        "--shared", action="store_true", help="the directory is every program's: usbbtd's modules alone"
    )
    parser.add_argument("--interpreter", default="/usr/bin/python3", help="of the command")
    arguments = parser.parse_args()
    if arguments.command is None:
        tree = arguments.tree.resolve()
        system = arguments.system
        install_part(arguments.destdir, arguments.library, arguments.part, tree, shared=arguments.shared, system=system)
    else:
        install_command(arguments.destdir, arguments.command, arguments.interpreter, arguments.library)


def install_part(
    destdir: Path, library: str, name: str, tree: Path, *, shared: bool, system: Path | None = None
) -> None:
    """Replaces what was there, so that no module of an earlier version stays; a part with a base comes after it.

    ``shared``: the packages that they run on, and byte code, are the business of the distribution. ``system``: where it
    has packages of its own; those that we take from it are linked to.
    """
    target = below(destdir, library)
    part = PARTS[name]
    if part.base is None:
        shutil.rmtree(target / "usbbtd" if shared else target, ignore_errors=True)
        for library_file in target.glob("usbbtd_*__mypyc.*"):
            library_file.unlink()
    files, packages = imported(part.modules, tree=tree)
    had: set[str] = set()
    if part.base is not None:
        base_files, base_packages = imported(PARTS[part.base].modules, tree=tree)
        files, packages = files - base_files, packages - base_packages
        had = distributions(base_packages)
    else:
        files.add(tree / "usbbtd" / "py.typed")
        copy_metadata(target)
    for file in files:
        copied = target / file.relative_to(tree)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copied)
    if not shared:
        if system is not None:
            link_packages(target, system, packages & _OF_SYSTEM)
            packages -= _OF_SYSTEM
        copy_requirements(target, distributions(packages) - had)
        compile_modules(target, library)


def link_packages(target: Path, system: Path, packages: Iterable[str]) -> None:
    """Links to packages of the distribution, which may not be there yet; nothing else of it becomes visible."""
    for package in packages:
        link = target / package
        link.unlink(missing_ok=True)
        link.symlink_to(system / package)


def imported(modules: Iterable[str], own: str = "usbbtd", tree: Path = ROOT) -> tuple[set[Path], set[str]]:
    """The files of our package that these modules import, at once or later, and the packages that are not Python's."""
    groups = compiled()
    files: set[Path] = set()
    packages: set[str] = set()
    waiting, seen = list(modules), set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        top, _, rest = name.partition(".")
        if top != own:
            packages |= {top} - sys.stdlib_module_names
            continue
        file = _source(tree, name)
        if file is None:
            continue  # a name in the module that is there, or the standard library's view of one
        files.add(file)
        if rest:
            waiting.append(name.rpartition(".")[0])
        if file.suffix == ".so":
            files.add(file.with_name(file.name.partition(".")[0] + ".pyi"))
            packages.add(_BACKEND)
        else:
            waiting += _imports(ast.parse(file.read_bytes()))
        if name in groups:
            files.update(file.parent.glob(f"{file.stem}.*.so"), tree.glob(f"usbbtd_{groups[name]}__mypyc.*.so"))
    return files, packages


def compiled() -> dict[str, str]:
    """The group of each module that goes through mypyc; its modules have a library in common."""
    table: dict[str, list[str]] = _pyproject()["tool"]["usbbtd"]["compiled"]
    return {f"usbbtd.{module}": group for group, modules in table.items() for module in modules}


def _source(tree: Path, name: str) -> Path | None:
    path = tree.joinpath(*name.split("."))
    candidates = [path.with_suffix(".py"), path / "__init__.py", *path.parent.glob(f"{path.name}.*.so")]
    return next((file for file in candidates if file.is_file()), None)


def _imports(tree: ast.AST) -> Iterator[str]:
    """What is imported, whether it is a module or a name in one; not what only the type checker sees."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield from _imports(node)


def distributions(packages: Iterable[str]) -> set[str]:
    """The names of what brings these packages, and of what that needs."""
    known = importlib.metadata.packages_distributions()
    return needs(known[package][0].replace("_", "-") for package in packages)


def needs(names: Iterable[str]) -> set[str]:
    """These distributions, and all that they need."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [] if name == "cffi" else _needed(name)
    return found


def _needed(name: str) -> Iterator[str]:
    for line in importlib.metadata.requires(name) or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement.name.replace("_", "-")


def requirements() -> set[str]:
    """The names of everything that the parts need to run."""
    return distributions({name for part in PARTS.values() for name in imported(part.modules)[1]})


def install_command(destdir: Path, command: str, interpreter: str, library: str) -> None:
    script = below(destdir, command)
    module, function = commands()[script.name].split(":")
    script.parent.mkdir(parents=True, exist_ok=True)
    text = _COMMAND.format(interpreter=interpreter, library=library, module=module, function=function)
    script.write_text(text, encoding="utf-8")
    script.chmod(0o755)


def commands() -> dict[str, str]:
    """``module:function`` of each command, by its name."""
    scripts: dict[str, str] = _pyproject()["project"]["scripts"]
    return scripts


def _pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def below(destdir: Path, path: str) -> Path:
    return destdir / path.lstrip("/")


def compile_modules(tree: Path, installed: str = "/") -> None:
    """Byte code that is never compared with its source: nothing is written at run time, nothing but the source matters.

    ``installed``: what ``tree`` will be called, for tracebacks.
    """
    compile_dir(
        tree, quiet=2, stripdir=str(tree), prependdir=installed, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH
    )


def copy_metadata(target: Path) -> None:
    """What usbbtctl asks for usbbtd's version."""
    distribution = importlib.metadata.distribution("usbbtd")
    metadata = target / f"usbbtd-{distribution.version}.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True, exist_ok=True)
    metadata.write_text(str(distribution.metadata), encoding="utf-8")


def copy_requirements(target: Path, names: Iterable[str] | None = None) -> None:
    """Copies these distributions, or all that the parts need."""
    for name in requirements() if names is None else names:
        for file in importlib.metadata.files(name) or ():
            if ".." in file.parts or file.suffix == ".pyc":
                continue  # a script, or this machine's byte code
            if name == "cffi" and not file.parts[0].startswith((_BACKEND, "cffi-")):
                continue
            copied = target / file
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(file.locate()), copied)


if __name__ == "__main__":
    main()
