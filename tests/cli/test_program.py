"""The commands as processes, with outputs that fail: whatever becomes of it, a status and at most one sentence."""

import fcntl
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sim.world import World
from tests.support.unread import KINDS, drain, unread
from usbbtd.cli.program import CANNOT_WRITE, _write_if_room

MODULES = {
    "usbbtd": "usbbtd.cli.daemon",
    "usbbtctl": "usbbtd.cli.ctl",
    "usbbt-guest": "usbbtd.cli.guest",
    "usbbt-toolstack": "usbbtd.cli.toolstack",
}
PRINTS = [
    *(pytest.param(name, [option], id=f"{name} {option}") for name in MODULES for option in ("--help", "--version")),
    pytest.param("usbbtctl", ["policy", "check", "--help"], id="usbbtctl policy check --help"),
]
commands = pytest.mark.parametrize("name", MODULES)


def start(name: str, arguments: list[str], **options: object) -> "subprocess.Popen[str]":
    code = f"import sys; from {MODULES[name]} import main; sys.exit(main())"
    return subprocess.Popen([sys.executable, "-c", code, *arguments], text=True, **options)  # type: ignore[call-overload,no-any-return]


def to_a_closed_pipe(run: Callable[[int], "subprocess.Popen[str]"]) -> "subprocess.Popen[str]":
    reading, writing = os.pipe()
    os.close(reading)
    try:
        return run(writing)
    finally:
        os.close(writing)


@pytest.mark.parametrize(("name", "arguments"), PRINTS)
def test_a_reader_that_has_gone_is_no_word_worth(name: str, arguments: list[str]) -> None:
    running = to_a_closed_pipe(lambda pipe: start(name, arguments, stdout=pipe, stderr=subprocess.PIPE))
    assert (running.communicate()[1], running.returncode) == ("", 141)


@pytest.mark.parametrize(("name", "arguments"), PRINTS)
def test_a_full_disk_is_a_sentence_and_a_status(name: str, arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        running = start(name, arguments, stdout=full, stderr=subprocess.PIPE)
        said = running.communicate()[1]
    assert said == f"{name}: cannot write standard output: No space left on device\n"
    assert running.returncode == CANNOT_WRITE


@pytest.mark.parametrize(("name", "arguments"), PRINTS)
def test_a_closed_descriptor(name: str, arguments: list[str]) -> None:
    running = start(name, arguments, stderr=subprocess.PIPE, preexec_fn=lambda: os.close(1))
    assert running.communicate()[1] == f"{name}: cannot write standard output: Bad file descriptor\n"
    assert running.returncode == CANNOT_WRITE


def close_all(descriptors: tuple[int, ...]) -> None:
    for each in descriptors:
        os.close(each)


@commands
@pytest.mark.parametrize("closed", [(2,), (0, 1, 2)])
def test_an_error_that_cannot_be_told_keeps_its_status(name: str, closed: tuple[int, ...]) -> None:
    """Nor does what is opened next, such as the connection to xenstore, become standard error."""
    running = start(name, ["nonsense"], preexec_fn=lambda: close_all(closed))
    assert running.wait() == 2
    with Path("/dev/full").open("w") as full:
        assert start(name, ["nonsense"], stderr=full).wait() == 2
    assert to_a_closed_pipe(lambda pipe: start(name, ["nonsense"], stderr=pipe)).wait() == 2


@commands
def test_every_command_tells_its_version(name: str) -> None:
    running = start(name, ["--version"], stdout=subprocess.PIPE)
    told = running.communicate()[0].split()
    assert (told[0], running.returncode) == (name, 0)
    assert told[1][0].isdigit()


@commands
@pytest.mark.parametrize("locale", ["ascii", "latin-1"])
def test_letters_that_the_locale_does_not_have_are_escaped(name: str, locale: str, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONIOENCODING": locale, "PYTHONUTF8": "0"}
    wrong = {
        "usbbtd": ["check-config", "--config", str(tmp_path / "Ж.toml")],
        "usbbtctl": ["--socket", str(tmp_path / "Ж"), "status"],
    }.get(name, ["Ж"])
    running = start(name, wrong, stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    out, said = running.communicate()
    assert "\\u0416" in said
    assert "Traceback" not in out + said
    assert running.returncode in (2, 3)


SERVICE = """
import sys
from usbbtd.cli.program import never_wait, program

@program("service")
def main(argv=None):
    never_wait()
    for line in sys.stdin:
        print(line, end="", file=sys.stderr)
        print("done", flush=True)
    return 0

sys.exit(main())
"""


@pytest.mark.parametrize("kind", KINDS)
def test_what_nobody_reads_of_a_service_is_dropped_and_counted(kind: str) -> None:
    with unread(kind) as (reading, writing):
        flags = fcntl.fcntl(writing, fcntl.F_GETFL)
        command = [sys.executable, "-c", SERVICE]
        with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=writing, text=True, bufsize=1) as running:
            assert running.stdin
            assert running.stdout

            def log(line: str) -> None:
                running.stdin.write(line + "\n")  # type: ignore[union-attr]
                assert running.stdout.readline() == "done\n"  # type: ignore[union-attr]

            for _ in range(20):  # a terminal may still take some: the kernel passes on what is in it as it likes
                log("y" * 1000)
            said = drain(reading)
            log("the end")
            while not said.endswith(b"the end\n"):
                said += os.read(reading, 1 << 16)
            notice = rb"service: ([0-9]+) messages could not be written here\nthe end\n$"
            lost = re.search(rb"(?:^|\n|x)" + notice, said)
            assert lost
            assert said.count(b"y" * 1000) == 20 - int(lost[1])
            assert fcntl.fcntl(writing, fcntl.F_GETFL) == flags
            running.stdin.close()
            assert running.wait() == 0


def test_who_asks_for_room_writes_no_more_than_there_is() -> None:
    with unread("pipe") as (reading, writing):
        with pytest.raises(BlockingIOError):
            _write_if_room(writing, b"x")
        drain(reading)
        assert _write_if_room(writing, bytes(1 << 20)) == select.PIPE_BUF


SIGNALLED = """
import os, sys

class Signaller:
    def find_spec(self, name, *_):
        if name == "{imported}":
            os.kill(os.getpid(), {number})

sys.meta_path.insert(0, Signaller())
from {module} import main
sys.exit(main())
"""
SERVICES = [
    pytest.param("usbbtd", ["run", "--config", "/dev/null"], "pydantic", id="usbbtd"),
    pytest.param("usbbt-toolstack", ["watch"], "asyncio", id="usbbt-toolstack"),
]


@pytest.mark.parametrize(("name", "arguments", "imported"), SERVICES)
@pytest.mark.parametrize(
    ("number", "status", "said"), [(signal.SIGHUP, 3, "no xenstore"), (signal.SIGINT, 130, "")], ids=["hangup", "^C"]
)
def test_a_signal_while_a_service_is_loaded(
    name: str, arguments: list[str], imported: str, number: int, status: int, said: str, tmp_path: Path
) -> None:
    code = SIGNALLED.format(imported=imported, number=int(number), module=MODULES[name])
    environment = os.environ | {"XENSTORED_PATH": str(tmp_path / "none")}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status
    assert said in done.stderr
    assert done.stderr.count("\n") == (1 if said else 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_no_signal_is_lost_while_the_service_of_dom0_is_loaded(number: int, world: World, tmp_path: Path) -> None:
    """What comes then ends it, at once or in order, whoever was to handle it at that moment."""
    code = SIGNALLED.format(imported="usbbtd.toolstack.watch", number=int(number), module=MODULES["usbbt-toolstack"])
    command = [sys.executable, "-c", code, "watch", "--config-dir", str(tmp_path)]
    environment = os.environ | world.environment(0)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, -number)
    assert "Traceback" not in done.stderr
