from __future__ import annotations

import multiprocessing
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from usbbtd.toolstack.files import ConfigFiles
from usbbtd.toolstack.spec import Spec, parse_specs

NONE = "no device is attached for it"
SYS_BT = {0: Spec("sys-bt")}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "auto").mkdir()
    return tmp_path


@pytest.fixture
def files(directory: Path) -> ConfigFiles[dict[int, Spec]]:
    return ConfigFiles([directory, directory / "auto", directory / "not there"], "vl2cap", parse_specs)


def write(path: Path, name: str, *devices: str, more: str = "") -> Path:
    path.write_text(f'name = "{name}"\nvl2cap = [ {", ".join(map(repr, devices))} ]\n{more}')
    return path


def test_devices_are_found_by_the_name_in_the_file(files: ConfigFiles[dict[int, Spec]], directory: Path) -> None:
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


def test_a_broken_file_is_told_and_others_are_read(files: ConfigFiles[dict[int, Spec]], directory: Path) -> None:
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
        f"{wrong}: vl2cap: 'bakend=sys-bt', character 1: there is no key 'bakend', only backend, devid, for and tags",
    ]


def test_of_two_files_for_a_domain_neither_counts(files: ConfigFiles[dict[int, Spec]], directory: Path) -> None:
    first = write(directory / "a.cfg", "work", "backend=sys-bt")
    second = write(directory / "b.cfg", "work")
    write(directory / "c.cfg", "plain")
    write(directory / "d.cfg", "plain")  # twice, too, but nothing hangs on it
    assert files.read() == (
        {},
        [f"{first} and {second} all have name = 'work': no device is attached for any of them"],
    )


def test_a_file_that_changes_is_read_again(files: ConfigFiles[dict[int, Spec]], directory: Path) -> None:
    path = write(directory / "a.cfg", "work", "backend=sys-bt")
    assert files.read()[0] == {"work": SYS_BT}
    os.utime(write(path, "work", "backend=sys-b2"), ns=(1, 1))
    assert files.read()[0] == {"work": {0: Spec("sys-b2")}}
    path.unlink()
    assert files.read() == ({}, [])


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def make_huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def make_unreadable(path: Path) -> None:
    write(path, "work", "backend=other").chmod(0)


def make_link_into_a_closed_directory(path: Path) -> None:
    closed = path.with_name("closed")
    closed.mkdir()
    path.symlink_to(write(closed / "work.cfg", "work", "backend=other"))
    closed.chmod(0)


def link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


#: By what an entry of the directory is: how it is made, and what is said of it; None for nothing.
ENTRIES: dict[str, tuple[Callable[[Path], object], str | None]] = {
    "a FIFO": (make_fifo, "is no file"),
    "a socket": (make_socket, "is no file"),
    "a device": (link("/dev/null"), "is no file"),
    "a terminal": (link("/dev/ptmx"), "is no file"),
    "a huge file": (make_huge, "is longer than 1048576 bytes"),
    "a file of another": (make_unreadable, "Permission denied"),
    "a link into a closed directory": (make_link_into_a_closed_directory, "Permission denied"),
    "a link into nowhere": (link("nowhere"), "No such file or directory"),
    "a loop of links": (link("odd.cfg"), "a loop of links"),
    "a link below a file": (link("good.cfg/below"), "Not a directory"),
    "a name that is too long": (link("x" * 300), "File name too long"),
    "a directory": (Path.mkdir, None),
    "a closed directory": (lambda path: path.mkdir(mode=0), None),
    "octets": (lambda path: path.write_bytes(b"\xff\0name = vl2ca\x80p" + bytes(1 << 19)), None),
    "an empty file": (Path.touch, None),
}


def read_as_nobody(directories: list[Path]) -> tuple[dict[str, dict[int, Spec]], list[str]]:
    """What the service reads where root's capabilities do not help it, as in its unit; twice, for the cache."""

    def read(sender: Connection) -> None:
        if os.getuid() == 0:
            os.setgroups([])
            os.setresgid(*[65534] * 3)
            os.setresuid(*[65534] * 3)
        files = ConfigFiles(directories, "vl2cap", parse_specs)
        sender.send((files.read(), files.read()))

    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=read, args=(sender,))
    process.start()
    sender.close()
    first: tuple[dict[str, dict[int, Spec]], list[str]]
    first, second = receiver.recv()
    process.join()
    assert first == second
    return first


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """One that everybody can enter, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.mark.parametrize("kind", ENTRIES)
def test_an_entry_that_cannot_be_looked_at_costs_itself_alone(open_directory: Path, kind: str) -> None:
    make, said = ENTRIES[kind]
    write(open_directory / "good.cfg", "work", "backend=sys-bt")
    odd = open_directory / "odd.cfg"
    make(odd)
    devices, problems = read_as_nobody([open_directory])
    assert devices == {"work": SYS_BT}
    assert [problem.partition(": ")[::2] for problem in problems] == ([(str(odd), said)] if said else [])


def test_a_file_whose_reading_fails(files: ConfigFiles[dict[int, Spec]], directory: Path) -> None:
    write(directory / "good.cfg", "work", "backend=sys-bt")
    bad = directory / "bad.cfg"
    bad.symlink_to("/proc/self/mem")
    assert files.read() == ({"work": SYS_BT}, [f"{bad}: Input/output error"])


def test_a_directory_that_cannot_be_listed(open_directory: Path) -> None:
    write(open_directory / "good.cfg", "work", "backend=sys-bt")
    closed, file = open_directory / "closed", open_directory / "good.cfg"
    closed.mkdir(mode=0)
    assert read_as_nobody([closed, open_directory, file, open_directory / "not there"]) == (
        {"work": SYS_BT},
        [f"{closed}: Permission denied", f"{file}: Not a directory"],
    )


def test_a_file_that_vanishes_is_not_worth_a_word(
    files: ConfigFiles[dict[int, Spec]], directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(directory / "good.cfg", "work", "backend=sys-bt")
    for name in ("a.cfg", "z.cfg"):
        write(directory / name, name, "backend=sys-bt")
    listed = Path.iterdir

    def list_and_remove(path: Path) -> Iterator[Path]:
        for entry in sorted(listed(path)):
            if entry.name == "a.cfg":
                entry.unlink()
            yield entry
        (directory / "z.cfg").unlink(missing_ok=True)

    monkeypatch.setattr(Path, "iterdir", list_and_remove)
    assert files.read() == ({"work": SYS_BT}, [])


@pytest.mark.parametrize(
    "copy",
    [
        *("#work.cfg#", ".#work.cfg", ".work.cfg", ".work.cfg.swp", "work.cfg.swo", "work.cfg~", "work.cfg.~1~"),
        *("work.cfg.old", "work.cfg.bak", "work.cfg.bak2", "work.cfg.BAK", "work.bak.2024-01-31", "work.cfg.orig"),
        *("work.cfg.ucf-old", "work.cfg.ucf-dist", "work.cfg.dpkg-bak", "work.cfg.dpkg-old", "work.cfg.dpkg-new"),
        *("work.cfg.rpmsave", "work.cfg.rpmnew", "work.cfg.rpmorig", "work.cfg.pacnew", "work.cfg.save"),
    ],
)
def test_a_copy_beside_a_file_does_not_count(files: ConfigFiles[dict[int, Spec]], directory: Path, copy: str) -> None:
    write(directory / copy, "work", "backend=older")
    write(directory / "work.cfg", "work", "backend=sys-bt")
    assert files.read() == ({"work": SYS_BT}, [])


def test_two_files_that_say_the_same_are_no_conflict(files: ConfigFiles[dict[int, Spec]], directory: Path) -> None:
    write(directory / "a.cfg", "work", "backend=sys-bt")
    second = write(directory / "copy of a", "work", "backend=sys-bt,", more="memory = 512\n")
    assert files.read() == ({"work": SYS_BT}, [])
    os.utime(write(second, "work", "backend=sys-bt,tags=x"), ns=(1, 1))
    assert files.read()[0] == {}


@pytest.mark.parametrize(
    ("octets", "name"),
    [
        (b"\xe4", "\\xe4"),
        (b"\\xe4", "\\xe4"),
        (b"\\344", "\\xe4"),
        ("\xe4".encode(), "\xe4"),
        (b"\\xc3\\xa4", "\xe4"),
        (b"\xc3\\xa4", "\xe4"),
    ],
)
def test_a_name_is_octets_as_it_is_in_xenstore(
    files: ConfigFiles[dict[int, Spec]], directory: Path, octets: bytes, name: str
) -> None:
    (directory / "one.cfg").write_bytes(b"name = '" + octets + b"'\nvl2cap = ['backend=sys-bt']\n# \xfc\n")
    assert files.read() == ({name: SYS_BT}, [])


def test_what_is_wrong_with_a_file_of_any_name_can_be_printed(
    files: ConfigFiles[dict[int, Spec]], directory: Path
) -> None:
    wrong = Path(os.fsdecode(os.fsencode(directory / "w") + b"\xe4.cfg"))
    write(wrong, "w", more="!")
    (problem,) = files.read()[1]
    assert problem.encode().startswith(bytes(directory / "w") + rb"\xe4.cfg:3: ")
