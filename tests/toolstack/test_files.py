from __future__ import annotations

import os
from pathlib import Path

import pytest

from usbbtd.toolstack.files import ConfigFiles
from usbbtd.toolstack.spec import Spec

NONE = "no device is attached for it"
SYS_BT = {0: Spec("sys-bt")}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "auto").mkdir()
    return tmp_path


@pytest.fixture
def files(directory: Path) -> ConfigFiles:
    return ConfigFiles([directory, directory / "auto", directory / "not there"])


def write(path: Path, name: str, *devices: str, more: str = "") -> Path:
    path.write_text(f'name = "{name}"\nvl2cap = [ {", ".join(map(repr, devices))} ]\n{more}')
    return path


def test_devices_are_found_by_the_name_in_the_file(files: ConfigFiles, directory: Path) -> None:
    write(directory / "one.cfg", "work", "backend=sys-bt")
    write(directory / "two", "personal", "backend=sys-bt", "backend=other,devid=0")
    (directory / "auto" / "one.cfg").symlink_to(directory / "one.cfg")  # as xl's own start-up wants it
    (directory / "xl.conf").write_text("autoballoon = 0\n")
    (directory / "README").write_text("This is no configuration.\n")
    (directory / ".one.cfg.swp").write_text("vl2cap")
    write(directory / "two~", "personal", "backend=older")
    write(directory / "plain.cfg", "plain")
    assert files.read() == (
        {"work": SYS_BT, "personal": {1: Spec("sys-bt"), 0: Spec("other", 0)}},
        [],
    )


def test_a_broken_file_is_told_and_others_are_read(files: ConfigFiles, directory: Path) -> None:
    write(directory / "good.cfg", "work", "backend=sys-bt")
    broken = write(directory / "broken.cfg", "b", more="memory = lots\n")
    no_list = directory / "no-list.cfg"
    no_list.write_text("name = 'n'\nvl2cap = 'backend=sys-bt'\n")
    nested = directory / "nested.cfg"
    nested.write_text("name = 'o'\nvl2cap = [['backend=sys-bt']]\n")
    wrong = write(directory / "wrong.cfg", "w", "bakend=sys-bt")
    itself = write(directory / "itself.cfg", "i", "backend=i")
    devices, problems = files.read()
    assert devices == {"work": SYS_BT}
    assert problems == [
        f"{broken}:3: a value is a string in quotation marks, a number, or a list in brackets, not 'lots'; {NONE}",
        f"{itself}: vl2cap: 'backend=i': a domain cannot be its own backend",
        f'{nested}: vl2cap: an element is a string, as in "backend=sys-bt"',
        f"{no_list}: vl2cap: 'backend=sys-bt' is no list, as in vl2cap = [ \"backend=sys-bt\" ]",
        f"{wrong}: vl2cap: 'bakend=sys-bt', character 1: there is no key 'bakend', only backend, devid and tags",
    ]


def test_of_two_files_for_a_domain_neither_counts(files: ConfigFiles, directory: Path) -> None:
    first = write(directory / "a.cfg", "work", "backend=sys-bt")
    second = write(directory / "b.cfg", "work")
    write(directory / "c.cfg", "plain")
    write(directory / "d.cfg", "plain")  # twice, too, but nothing hangs on it
    assert files.read() == (
        {},
        [f"{first} and {second} all have name = 'work': no device is attached for any of them"],
    )


def test_a_file_that_changes_is_read_again(files: ConfigFiles, directory: Path) -> None:
    path = write(directory / "a.cfg", "work", "backend=sys-bt")
    assert files.read()[0] == {"work": SYS_BT}
    os.utime(write(path, "work", "backend=sys-b2"), ns=(1, 1))
    assert files.read()[0] == {"work": {0: Spec("sys-b2")}}
    path.unlink()
    assert files.read() == ({}, [])


def test_what_cannot_be_read_or_is_no_text(files: ConfigFiles, directory: Path) -> None:
    (directory / "vmlinux").write_bytes(b"vl2cap" + bytes(1 << 20))
    (directory / "gone.cfg").symlink_to(directory / "nowhere")
    (directory / "latin").write_bytes(b"name = '\xe4'\nvl2cap = ['backend=sys-bt']\n")
    assert files.read() == ({"\ufffd": SYS_BT}, [])
