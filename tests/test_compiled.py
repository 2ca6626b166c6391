"""What goes through mypyc: all of it or nothing, and to who reads a traceback it is the same Python."""

import importlib
import os
import shutil
import traceback
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from bundle import compiled
from compile import ingredients
from tests import IS_COMPILED, ROOT
from usbbtd.errors import RemoteProtocolError
from usbbtd.hci.acl import AclData


@pytest.mark.parametrize("name", compiled())
def test_every_module(name: str) -> None:
    """Is machine code where make has compiled, with its source beside it; the sources have none beside them."""
    file = importlib.import_module(name).__file__
    assert file is not None
    assert file.endswith(tuple(EXTENSION_SUFFIXES)) == IS_COMPILED
    assert Path(file.partition(".cpython")[0]).with_suffix(".py").read_bytes() == source_of(name).read_bytes()
    assert not list(source_of(name).parent.glob(f"{source_of(name).stem}.*.so"))


def source_of(name: str) -> Path:
    path = ROOT.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def test_traceback() -> None:
    """Names file, function and line of the source."""
    with pytest.raises(RemoteProtocolError) as raised:
        AclData().completed(b"\x01\x02")
    frame = traceback.extract_tb(raised.tb)[-1]
    assert frame.filename.endswith("usbbtd/hci/acl.py")
    assert frame.name == "completed"
    assert frame.lineno is not None
    assert "raise RemoteProtocolError(" in source_of("usbbtd.hci.acl").read_text().splitlines()[frame.lineno - 1]


def test_what_is_compiled_anew(tmp_path: Path) -> None:
    """Whatever a source says that it did not say before, however old it is; and what builds all decides for all."""
    package = tmp_path / "usbbtd" / "abi"
    package.mkdir(parents=True)
    for file in ("pyproject.toml", "setup.py"):
        shutil.copy(ROOT / file, tmp_path)
    for file in ("build.py", "xenops.h"):
        shutil.copy(ROOT / "usbbtd" / "abi" / file, package)
    source, other = tmp_path / "usbbtd" / "source.py", tmp_path / "usbbtd" / "other.py"
    source.write_text("a = 1")
    before = ingredients(tmp_path)
    assert ingredients(tmp_path) == before
    source.write_text("a = 2")
    os.utime(source, (0, 0))
    edited = ingredients(tmp_path)
    source.rename(other)
    renamed = ingredients(tmp_path)
    assert before["sources"] != edited["sources"] != renamed["sources"]
    assert before["tools"] == edited["tools"] == renamed["tools"]
    other.rename(source)
    source.write_text("a = 1")
    assert ingredients(tmp_path) == before
    (package / "xenops.h").write_text("")
    assert ingredients(tmp_path)["tools"] != before["tools"]
