"""The extensions: two of cffi, and the data path through mypyc; everything else is in pyproject.toml."""

import os
import tomllib
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build import build

#: With this in the environment nothing goes through mypyc, and every module is plain Python.
PURE = "USBBTD_PURE"


class Build(build):
    """Translates to C only what is really built: setup() runs for pip's questions, too, and mypyc takes seconds.

    An editable installation is none of that. There the sources run, so that an edited one is never hidden by what was
    compiled of it earlier.
    """

    def run(self) -> None:
        if not os.environ.get(PURE):
            self.distribution.ext_modules += compiled()
            self.parallel = True
        super().run()


def compiled() -> list[Extension]:
    """One extension for each module that pyproject.toml lists, and a library for each of its groups."""
    try:
        from mypyc.build import mypycify
    except ImportError as error:
        raise SystemExit(f"*** {error}: install mypy, or build with {PURE}=1, which is slower when it runs") from error
    table = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["tool"]["usbbtd"]["compiled"]
    groups = [([source(module) for module in modules], f"usbbtd_{name}") for name, modules in table.items()]
    # What the modules import besides may be missing where only building is done; its types are of no use to mypyc.
    arguments = [
        "--ignore-missing-imports",
        "--cache-dir=build/mypyc/cache",
        *(file for files, _ in groups for file in files),
    ]
    extensions = mypycify(arguments, opt_level="2", debug_level="0", separate=groups, target_dir="build/mypyc")
    for extension in extensions:
        extension.extra_compile_args.append("-Wno-error")  # compilers differ in what they warn of
    return extensions


def source(module: str) -> str:
    path = Path("usbbtd", *module.split("."))
    return str(path / "__init__.py" if path.is_dir() else path.with_suffix(".py"))


setup(
    cffi_modules=["usbbtd/abi/build.py:layout", "usbbtd/abi/build.py:xen"],
    cmdclass={"build": Build},
)
