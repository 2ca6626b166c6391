"""Bonds on a disk: whole after a loss of power at any step; a file that is no good costs its own bond, with a line."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests import ROOT
from tests.support import power_loss as power
from usbbtd.bluetooth import KEY_AUTHENTICATED_P256, KEY_UNAUTHENTICATED_P192
from usbbtd.security.bonds import Bond, BredrKey, LeKeys, LongTermKey
from usbbtd.service import bonds as bonds_module
from usbbtd.service.bonds import SEEN_S, BondFiles, directory_of
from usbbtd.service.state import pack

KEY = bytes(range(0xA0, 0xB0))
ADDRESS = bytes.fromhex("110000eeffc0")
NAME = "c0ffee000011-bredr"
OLD = Bond(ADDRESS, 0, BredrKey(KEY, KEY_UNAUTHENTICATED_P192), frozenset({"work"}), 1.5, 2.5, "a mouse")
NEW = OLD._replace(keys=BredrKey(KEY[::-1], KEY_AUTHENTICATED_P256), made=3.5)
LONG_TERM = LongTermKey(KEY, 0xFFFF, (1 << 64) - 1)
BONDS = [
    OLD,
    Bond(ADDRESS, 1, LeKeys(None, LONG_TERM, 7, False, False), frozenset(), 0.0, None, ""),
    Bond(
        ADDRESS, 2, LeKeys(LONG_TERM, LONG_TERM, 16, True, True, KEY[::-1]), frozenset({"a", "b"}), 0.0, 1.0, "\u2603"
    ),
]


@contextlib.contextmanager
def opened(directory: Path) -> Iterator[BondFiles]:
    files = BondFiles(directory, structlog.get_logger())
    try:
        yield files
    finally:
        files.close()


def load(directory: Path) -> list[Bond]:
    with opened(directory) as files:
        return files.load()


def save(directory: Path, *bonds: Bond) -> None:
    with opened(directory) as files:
        files.load()
        for bond in bonds:
            files.save(bond)


def remove(directory: Path) -> None:
    with opened(directory) as files:
        files.load()
        files.remove(OLD)


# Losing power. Each case: what was there, what is done, what may be there afterwards; ``done``: it had returned.


def nothing(directory: Path) -> None:
    """An empty directory."""


def half_written(directory: Path) -> None:
    save(directory, OLD)
    (directory / f"{NAME}.new").write_bytes(b"what a process left that ended in the middle " * 20)


CASES: dict[str, tuple[Callable[[Path], Any], Callable[[Path], Any], Callable[[Path, bool], bool]]] = {
    "first": (
        nothing,
        lambda directory: save(directory, OLD),
        lambda directory, done: load(directory) in ([[OLD]] if done else [[], [OLD]]),
    ),
    "replacement": (
        lambda directory: save(directory, OLD),
        lambda directory: save(directory, NEW),
        lambda directory, done: load(directory) in ([[NEW]] if done else [[OLD], [NEW]]),
    ),
    "once more": (
        half_written,
        lambda directory: save(directory, NEW),
        lambda directory, done: load(directory) in ([[NEW]] if done else [[OLD], [NEW]]),
    ),
    "removal": (
        lambda directory: save(directory, OLD),
        remove,
        lambda directory, done: load(directory) in ([[]] if done else [[OLD], []]),
    ),
}  # fmt: skip

Losses = tuple[Path, dict[str, list[list[str]]]]


@pytest.fixture(scope="module")
def losses(tmp_path_factory: pytest.TempPathFactory) -> Losses:
    """Directories CASE/STEP, as processes left them that were cut off there; by case, the calls of the complete one."""
    place = tmp_path_factory.mktemp("losses")
    done = subprocess.run(
        [sys.executable, "-m", "tests.service.test_bonds", place],
        cwd=ROOT,
        env=os.environ | {"LD_PRELOAD": str(power.build(place))},
        stdout=subprocess.PIPE,
        timeout=120,
        check=True,
    )
    return place, json.loads(done.stdout)


def main(place: Path) -> None:
    """The process of ``losses``."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    calls = {case: power.run(prepare, do, place / case) for case, (prepare, do, _) in CASES.items()}
    sys.stdout.write(json.dumps(calls))


@pytest.mark.parametrize("case", CASES)
def test_a_process_that_ends_at_any_step_leaves_the_old_or_the_new(losses: Losses, case: str) -> None:
    place, calls = losses
    steps = sorted((place / case).iterdir(), key=lambda directory: int(directory.name))
    assert len(steps) > len(calls[case])
    for directory in steps:
        with structlog.testing.capture_logs() as log:
            assert CASES[case][2](directory, directory is steps[-1]), directory
        assert log == []
        assert not list(directory.glob("*.new"))


@pytest.mark.parametrize("case", CASES)
def test_a_disk_that_forgets_has_the_old_or_the_new_and_no_fsync_can_go(
    losses: Losses, case: str, tmp_path: Path
) -> None:
    prepare, _, check = CASES[case]
    place, all_calls = losses
    calls = all_calls[case]
    prepare(tmp_path)
    before = power.files_in(tmp_path)
    complete = power.files_in(place / case / str(len(list((place / case).iterdir())) - 1))
    assert next(power.disks(before, calls)) == complete  # the calls are all that was done

    def survives(calls: list[list[str]]) -> bool:
        for number in range(len(calls) + 1):
            for disk in power.disks(before, calls[:number]):
                with structlog.testing.capture_logs() as log:
                    good = check(power.put(disk, tmp_path / "disk"), number == len(calls))
                if not good or log:
                    return False
        return True

    assert survives(calls)
    needed = [call for call in calls if call[:1] != ["unlink"] or not call[1].endswith(".new")]  # remains are no bond
    syncs = [number for number, call in enumerate(calls) if call[0] == "fsync" and calls[number - 1] in needed]
    assert syncs
    for number in syncs:
        assert not survives(calls[:number] + calls[number + 1 :]), calls[number]


# Keeping


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return directory_of(tmp_path, bytes.fromhex("020000eeffc0"))


def test_bonds_are_as_they_were(directory: Path) -> None:
    assert directory.name == "bonds-c0ffee000002"
    assert load(directory) == []
    assert not directory.exists()
    save(directory, *BONDS)
    assert load(directory) == BONDS
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in directory.iterdir()} == dict.fromkeys(
        [NAME, "c0ffee000011-public", "c0ffee000011-random"], 0o600
    )
    save(directory, NEW)
    assert load(directory)[0] == NEW
    remove(directory)
    assert load(directory) == BONDS[1:]
    assert load(directory_of(directory.parent, ADDRESS)) == []  # of another identity of ours


def test_what_was_seen_is_written_once_a_day_and_at_the_end(directory: Path) -> None:
    save(directory, OLD)
    path = directory / NAME
    first = path.read_bytes()
    with opened(directory) as files:
        files.load()
        files.save(OLD._replace(seen=SEEN_S))
        assert path.read_bytes() == first
        files.save(OLD._replace(seen=SEEN_S + 10))
        assert path.read_bytes() != first
        files.save(OLD._replace(seen=SEEN_S + 20))
    assert load(directory) == [OLD._replace(seen=SEEN_S + 20)]


def test_no_more_bonds_than_may_be(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(directory, *BONDS)
    monkeypatch.setattr(bonds_module, "MAX_BONDS", 2)
    with structlog.testing.capture_logs() as log:
        assert load(directory) == BONDS[:2]
        save(directory, BONDS[2], NEW)
        assert load(directory) == [NEW, BONDS[1]]
    left_out = {"log_level": "error", "event": "bonds left out", "directory": str(directory), "count": 1}
    refused = {
        "log_level": "error",
        "event": "bond not kept",
        "addr": "C0:FF:EE:00:00:11",
        "reason": "there are 2 bonds",
    }
    assert log == [left_out, left_out, refused, left_out]


# Files that are no good


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [
        (b"", 0o600, "not whole, or changed by hand"),
        (b"usbbtd", 0o600, "not whole, or changed by hand"),
        (pack("c0ffee000012-bredr", {}), 0o600, "this is another record's file"),
        (pack(NAME, {"keys": KEY.hex()}), 0o600, "not a bond"),
        (pack(NAME, [KEY.hex()]), 0o600, "not a bond"),
        (pack(NAME, None), 0o640, "mode 0640, where only 0600 is safe"),
    ],
)
def test_a_file_that_is_no_good_costs_its_bond(directory: Path, content: bytes, mode: int, reason: str) -> None:
    save(directory, *BONDS)
    path = directory / NAME
    path.write_bytes(content)
    path.chmod(mode)
    with structlog.testing.capture_logs() as log:
        assert load(directory) == BONDS[1:]
        assert load(directory) == BONDS[1:]
    aside = directory / f"{NAME}.broken"
    assert log == [
        {"log_level": "error", "event": "bond file set aside", "file": str(aside), "reason": f"{path}: {reason}"}
    ]  # fmt: skip
    assert aside.read_bytes() == content
    with opened(directory) as files:
        files.load()
        files.remove(OLD)
    assert not aside.exists()


def a_link(path: Path) -> tuple[str, str]:
    path.symlink_to("/etc/hostname")
    return "bond file passed over", f"{path}: Too many levels of symbolic links"


def a_directory(path: Path) -> tuple[str, str]:
    path.mkdir()
    return "bond file passed over", f"{path}: Is a directory"


def a_pipe(path: Path) -> tuple[str, str]:
    os.mkfifo(path, 0o600)
    return "bond file set aside", f"{path}: not whole, or changed by hand"


@pytest.mark.parametrize("make", [a_link, a_directory, a_pipe])
def test_what_is_no_file_costs_itself(directory: Path, make: Callable[[Path], tuple[str, str]]) -> None:
    save(directory, *BONDS[1:])
    event, reason = make(directory / NAME)
    with structlog.testing.capture_logs() as log:
        assert load(directory) == BONDS[1:]
    assert [(record["event"], record["reason"]) for record in log] == [(event, reason)]


def test_what_another_user_has_written_is_not_used(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(directory, OLD)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with structlog.testing.capture_logs() as log:
        assert load(directory) == []
    reason = f"{directory}: belongs to user {owner}, and not to user {owner + 1} as usbbtd does"
    assert log == [{"log_level": "error", "event": "bonds are in memory only", "reason": reason}]


def test_a_disk_that_is_full_costs_what_is_new(directory: Path) -> None:
    save(directory, OLD)
    (directory / f"{NAME}.new").mkdir()
    with structlog.testing.capture_logs() as log, opened(directory) as files:
        assert files.load() == [OLD]
        files.save(NEW)
        files.remove(NEW)
    assert not (directory / NAME).exists()  # whatever cannot be removed beside it
    reason = f"{directory}/{NAME}.new: Is a directory"
    assert [(record["event"], record["reason"]) for record in log] == [
        ("bond file passed over", reason), ("bond not kept", reason), ("bond not removed", reason),
    ]  # fmt: skip


def test_a_bond_that_could_not_be_read_again_is_not_written(directory: Path) -> None:
    save(directory, OLD)
    with structlog.testing.capture_logs() as log:
        save(directory, NEW._replace(guests=frozenset(f"{number:0255}" for number in range(256))))
    assert [(record["event"], record["reason"]) for record in log] == [
        ("bond not kept", f"{directory}/{NAME}: longer than 65536 bytes")
    ]  # fmt: skip
    assert load(directory) == [OLD]


def test_without_a_place_bonds_are_forgotten_with_a_line(tmp_path: Path) -> None:
    place = tmp_path / "none" / "bonds"
    with structlog.testing.capture_logs() as log:
        save(place, OLD)
        remove(place)
    assert [(record["event"], record["reason"]) for record in log] == [
        ("bond not kept", f"{place}: No such file or directory")
    ]  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))
