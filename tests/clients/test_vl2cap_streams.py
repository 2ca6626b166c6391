"""The command vl2cap with standard streams that are closed, broken or full, and stopped and continued."""

import fcntl
import os
import signal
import struct
import subprocess
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients import hostile
from tests.clients.programs import TIME_LIMIT_S, Vl2cap, stop
from tests.support.domain import Domain, NewDomain
from tests.support.echo_backend import FLOODS, NEVER_ANSWERS

PEER = "C0:FF:EE:00:00:01"
ECHO = "0x1001"

pytestmark = pytest.mark.parametrize("vl2cap", ["linux"], indirect=True)


def run(guest: Domain, vl2cap: Vl2cap, script: str, *arguments: str) -> tuple[int, str]:
    """Runs the command in a shell's ``script`` as "$@", and returns its exit status and standard error."""
    done = subprocess.run(
        ["sh", "-c", script, "sh", vl2cap.directory / "vl2cap", *arguments],
        env=os.environ | guest.world.environment(guest.domid),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIME_LIMIT_S,
    )
    return done.returncode, done.stderr


def closed(guest: Domain) -> bool:
    return guest.world.read(f"{guest.home}/device/vl2cap/0/state") == "6"


def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():
        os.sched_yield()


@pytest.mark.parametrize("options", [[], ["--linger", "0"], ["--raw"]])
def test_closed_input_has_ended(guest: Domain, vl2cap: Vl2cap, options: list[str]) -> None:
    status, errors = run(guest, vl2cap, '"$@" <&-', "connect", PEER, ECHO, *options)
    assert (status, errors.count("\n")) == (0, 1)
    assert closed(guest)


@pytest.mark.parametrize("streams", [">&-", "<&- >&-", "> /dev/full"])
@pytest.mark.parametrize("command", ["info", "scan"])
def test_output_that_cannot_be_written_is_told(guest: Domain, vl2cap: Vl2cap, streams: str, command: str) -> None:
    status, errors = run(guest, vl2cap, f'"$@" {streams}', command)
    assert (status, errors.splitlines()[-1]) == (74, "vl2cap: cannot write standard output")
    assert errors.count("cannot write") == 1
    assert closed(guest)


def test_what_came_for_closed_output_is_told_once(guest: Domain, vl2cap: Vl2cap) -> None:
    status, errors = run(guest, vl2cap, 'echo x | "$@" >&-', "connect", PEER, ECHO)
    assert (status, errors.count("cannot write")) == (74, 1)
    assert closed(guest)


@pytest.mark.parametrize("arguments", [["info"], ["scan", "--seconds", "86400"], ["ping", PEER, "--count", "1000000"]])
def test_a_reader_that_is_gone_ends_it_in_order(guest: Domain, vl2cap: Vl2cap, arguments: list[str]) -> None:
    script = 'mkfifo "$0.$$"; : < "$0.$$" & exec 3> "$0.$$"; wait; rm "$0.$$"; "$@" >&3'
    status, errors = run(guest, vl2cap, script.replace("$0", str(vl2cap.directory / "fifo")), *arguments)
    assert (status, errors.splitlines()[-1]) == (74, "vl2cap: cannot write standard output")
    assert closed(guest)


def test_an_interrupt_ends_a_flood_that_nobody_reads(guest: Domain, vl2cap: Vl2cap) -> None:
    process = vl2cap.start(guest, "connect", PEER, str(FLOODS), "--raw")
    assert process.stdout
    output = process.stdout.fileno()
    room = fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, 4096)

    def is_full() -> bool:
        (unread,) = struct.unpack("i", fcntl.ioctl(output, termios.FIONREAD, b"\0" * 4))
        return bool(unread == room)

    wait_until(is_full)
    process.send_signal(signal.SIGINT)
    assert process.wait(TIME_LIMIT_S) == 130
    process.stdout.close()
    assert closed(guest)


def test_a_hangup_ends_it_in_order(guest: Domain, vl2cap: Vl2cap) -> None:
    process = vl2cap.start(guest, "connect", PEER, ECHO)
    assert process.stderr
    process.stderr.readline()
    assert stop(process, signal.SIGHUP) == (130, "")
    assert closed(guest)


def test_it_waits_on_after_it_was_stopped(guest: Domain, vl2cap: Vl2cap) -> None:
    process = vl2cap.start(guest, "connect", PEER, str(NEVER_ANSWERS))
    wait_until(lambda: guest.world.statistics()[guest.domid]["shared"] > 1)  # the channel's ring

    def wait_state(state: str) -> None:
        wait_until(lambda: Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2][0] == state)

    for _ in range(3):
        wait_state("S")
        process.send_signal(signal.SIGSTOP)
        wait_state("T")
        process.send_signal(signal.SIGCONT)
    wait_state("S")
    assert stop(process, signal.SIGINT) == (130, "")
    assert closed(guest)


def test_names_do_nothing_to_a_terminal(new_domain: NewDomain, vl2cap: Vl2cap) -> None:
    driver, guest = new_domain(), new_domain()
    guest.world.attach_vl2cap(guest.domid, driver.domid)
    driver.start(hostile.serve, guest.domid)
    output, _ = vl2cap.run(guest, "scan", "--seconds", "0.3")
    assert [line.split(maxsplit=4)[-1] for line in output.splitlines()[1:]] == list(hostile.NAMES.values())
