"""What is kept over restarts: whole after a loss of power at any step, checked when read, in memory without a disk."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from tests import ROOT
from tests.support import power_loss as power
from usbbtd.config import static_address
from usbbtd.service.state import KEY_BYTES, MAX_BYTES, BrokenRecord, Records, State, pack, unpack

Losses = tuple[Path, dict[str, list[list[str]]]]


NAME = "adapter-address"
BROKEN = f"{NAME}.broken"
OLD, NEW = "C0:00:00:00:00:01", "C0:00:00:00:00:02"
TORN = b'usbbtd adapter-address 1\n"C0:0'


def write(directory: Path, text: str) -> None:
    with contextlib.closing(Records(directory)) as records:
        records.write(NAME, text)


def read(directory: Path) -> str | None:
    with contextlib.closing(Records(directory)) as records:
        return records.read(NAME, str)


def put(directory: Path, content: bytes, mode: int = 0o600, name: str = NAME) -> Path:
    path = directory / name
    path.write_bytes(content)
    path.chmod(mode)
    return path


def ask(directory: Path) -> bytes:
    with contextlib.closing(State(directory, structlog.get_logger())) as state:
        return state.adapter_address()


# Losing power. Each case: what was there, what is done, what may be there afterwards; ``done``: it had returned.


def replaced(directory: Path, done: bool) -> bool:
    return read(directory) in ([NEW] if done else [OLD, NEW])


def made(directory: Path, done: bool) -> bool:
    text = read(directory)
    return bool(static_address(text)) if text is not None else not done


def mended(directory: Path, done: bool) -> bool:
    """The broken file is not lost, either."""
    if TORN not in [power.files_in(directory).get(name) for name in (NAME, BROKEN)]:
        return False
    try:
        return made(directory, done)
    except BrokenRecord:
        return not done and power.files_in(directory)[NAME] == TORN


def nothing(directory: Path) -> None:
    """An empty directory."""


def half_written(directory: Path) -> None:
    write(directory, OLD)
    put(directory, b"what a process left that ended in the middle, and longer than any record " * 9, name=f"{NAME}.new")


CASES: dict[str, tuple[Callable[[Path], Any], Callable[[Path], Any], Callable[[Path, bool], bool]]] = {
    "first": (nothing, ask, made),
    "replacement": (lambda directory: write(directory, OLD), lambda directory: write(directory, NEW), replaced),
    "once more": (half_written, lambda directory: write(directory, NEW), replaced),
    "broken": (lambda directory: put(directory, TORN), ask, mended),
}


@pytest.fixture(scope="module")
def losses(tmp_path_factory: pytest.TempPathFactory) -> Losses:
    """Directories CASE/STEP, as processes left them that were cut off there; by case, the calls of the complete one."""
    place = tmp_path_factory.mktemp("losses")
    environment = os.environ | {"LD_PRELOAD": str(power.build(place))}
    done = subprocess.run(
        [sys.executable, "-m", "tests.service.test_state", place],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        timeout=120,
        check=True,
    )
    return place, json.loads(done.stdout)


def main(place: Path) -> None:
    """The process of ``losses``."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    sys.stdout.write(
        json.dumps({case: power.run(prepare, do, place / case) for case, (prepare, do, _) in CASES.items()})
    )


def allowed(directory: Path, check: Callable[[Path, bool], bool], done: bool) -> bool:
    try:
        return check(directory, done)
    except BrokenRecord:
        return False


@pytest.mark.parametrize("case", CASES)
def test_a_process_that_ends_at_any_step_leaves_the_old_or_the_new(losses: Losses, case: str) -> None:
    place, calls = losses
    steps = sorted((place / case).iterdir(), key=lambda directory: int(directory.name))
    assert len(steps) > len(calls[case]) + sum(call[0] == "write" for call in calls[case])
    for directory in steps:
        assert allowed(directory, CASES[case][2], directory is steps[-1]), directory
        address = ask(directory)
        assert ask(directory) == address == static_address(read(directory)), directory


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
        return all(
            allowed(power.put(disk, tmp_path / "disk"), check, done=number == len(calls))
            for number in range(len(calls) + 1)
            for disk in power.disks(before, calls[:number])
        )

    assert survives(calls)
    syncs = [number for number, call in enumerate(calls) if call[0] == "fsync"]
    assert len(syncs) >= 2
    for number in syncs:
        assert not survives(calls[:number] + calls[number + 1 :]), calls[number]


# Reading.


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [
        (b"", 0o600, "not whole, or changed by hand"),
        (TORN, 0o600, "not whole, or changed by hand"),
        (pack(NAME, OLD) + b"\n", 0o600, "not whole, or changed by hand"),
        (pack(NAME, "x" * MAX_BYTES), 0o600, "not whole, or changed by hand"),
        (pack(NAME, OLD).replace(b" 1\n", b" 2\n"), 0o600, "of version 2; this usbbtd knows version 1"),
        (pack("log-key", OLD), 0o600, "this is another record's file"),
        (pack(NAME, [OLD]), 0o600, 'not an address such as "C0:12:34:56:78:9A"'),
        (pack(NAME, OLD), 0o640, "mode 0640, where only 0600 is safe"),
    ],
)
def test_a_file_that_is_no_good_is_named_and_set_aside(tmp_path: Path, content: bytes, mode: int, reason: str) -> None:
    tmp_path.chmod(0o700)
    path = put(tmp_path, content, mode)
    with contextlib.closing(State(tmp_path, structlog.get_logger())) as state, structlog.testing.capture_logs() as log:
        key = state.log_key()
        address = state.adapter_address()
    aside = tmp_path / BROKEN
    assert log == [
        {"event": "state file set aside", "log_level": "error", "file": str(aside), "reason": f"{path}: {reason}"}
    ]
    assert (aside.read_bytes(), aside.stat().st_mode & 0o777) == (content, mode)
    assert ask(tmp_path) == address != static_address(OLD)
    with contextlib.closing(State(tmp_path, structlog.get_logger())) as state:
        assert state.log_key() == key


@given(st.binary())
def test_any_content_is_read_or_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        unpack(NAME, content)


@given(st.data())
def test_a_byte_that_changed_is_noticed(data: st.DataObject) -> None:
    content = bytearray(pack(NAME, OLD))
    assert unpack(NAME, bytes(content)) == OLD
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match=r"."):
        unpack(NAME, bytes(content))


def test_values_of_any_shape(tmp_path: Path) -> None:
    """As those of many peers will be."""
    tmp_path.chmod(0o700)
    bond = {"address": OLD, "key": "00ff", "levels": [1, None, True]}
    values: dict[str, object] = {"bonds": [bond], "bond-c00000000001-random": bond}
    with contextlib.closing(Records(tmp_path)) as records:
        for name, value in values.items():
            records.write(name, value)
        assert {name: records.read(name, lambda value: value) for name in values} == values


# Without a directory.


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "state"
    path.mkdir(0o700)
    return path


def missing(directory: Path) -> str:
    directory.rmdir()
    return f"{directory}: No such file or directory"


def for_others_too(directory: Path) -> str:
    directory.chmod(0o755)
    return f"{directory}: mode 0755, where only 0700 is safe"


def a_file(directory: Path) -> str:
    directory.rmdir()
    directory.touch()
    return f"{directory}: Not a directory"


def a_link_in_it(directory: Path) -> str:
    (directory / NAME).symlink_to("/etc/hostname")
    return f"{directory}/{NAME}: Too many levels of symbolic links"


def no_room(directory: Path) -> str:
    """Nothing can be written: there is a directory in the way."""
    (directory / f"{NAME}.new").mkdir()
    return f"{directory}/{NAME}.new: Is a directory"


def a_pipe(directory: Path) -> str:
    """Whoever opened it for writing would wait for a reader."""
    os.mkfifo(directory / f"{NAME}.new")
    return f"{directory}/{NAME}.new: No such device or address"


@pytest.mark.parametrize("spoil", [missing, for_others_too, a_file, a_link_in_it, no_room, a_pipe])
def test_without_a_disk_it_goes_on_in_memory(directory: Path, spoil: Callable[[Path], str]) -> None:
    reason = spoil(directory)
    before = sorted(directory.iterdir()) if directory.is_dir() else None
    with contextlib.closing(State(directory, structlog.get_logger())) as state, structlog.testing.capture_logs() as log:
        address = state.adapter_address()
        assert state.adapter_address() == address
    assert log == [{"event": "state is in memory only", "log_level": "warning", "record": NAME, "reason": reason}]
    assert address[-1] >= 0xC0
    assert before == (sorted(directory.iterdir()) if directory.is_dir() else None)


def test_what_another_user_has_written_is_not_used(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address, owner = ask(directory), os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with structlog.testing.capture_logs() as log:
        assert ask(directory) != address
    assert log[0]["reason"] == f"{directory}: belongs to user {owner}, and not to user {owner + 1} as usbbtd does"


def test_two_services_do_not_share_a_directory(directory: Path) -> None:
    first, second = (State(directory, structlog.get_logger()) for _ in range(2))
    with contextlib.closing(first), contextlib.closing(second), structlog.testing.capture_logs() as log:
        assert first.adapter_address() != second.adapter_address()
        assert log[0]["reason"] == f"{directory}: another usbbtd has it"
    assert ask(directory) == first.adapter_address()


def test_what_is_made_is_for_the_owner_only(directory: Path) -> None:
    assert not list(directory.iterdir())
    with contextlib.closing(State(directory, structlog.get_logger())) as state:
        assert not list(directory.iterdir())
        assert len(state.log_key()) == KEY_BYTES
    assert [(path.name, path.stat().st_mode & 0o777) for path in directory.iterdir()] == [("log-key", 0o600)]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
