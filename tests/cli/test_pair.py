"""usbbt-guest pair and agent, at a terminal and without one."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.cli.test_guest import guest as guest
from tests.cli.test_guest import run
from tests.support.domain import Domain

PEER, NOT_THERE, CALLER = "C0:FF:EE:00:00:01", "C0:FF:EE:00:00:04", "F0:F1:F2:00:00:12"
OTHER = f"usbbt-guest: {CALLER} wants to pair, too, which usbbt-guest agent would ask you about\n"
QUESTION = "Does the device show 042 193? [y/n] "
TIME_LIMIT_S = 20
MISSING = "the link has to be encrypted: "


class Session:
    """usbbt-guest at a terminal, where a person sits."""

    def __init__(self, guest: Domain, undo: ExitStack, *arguments: str) -> None:
        self.keyboard, terminal = pty.openpty()
        undo.callback(os.close, self.keyboard)
        self._process = undo.enter_context(
            subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "usbbtd.cli.guest", *arguments],
                env=os.environ | guest.world.environment(guest.domid),
                stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
        undo.callback(self._process.kill)
        os.close(terminal)
        assert self._process.stderr
        self._errors = self._process.stderr

    def sees(self, text: str) -> None:
        """On the terminal, next."""
        seen = b""
        while len(seen) < len(text.encode()) and select.select([self._errors], [], [], TIME_LIMIT_S)[0]:
            if not (octet := os.read(self._errors.fileno(), 1)):
                break
            seen += octet
        assert seen.decode() == text

    def types(self, text: str) -> None:
        os.write(self.keyboard, text.encode())

    def end(self, by: signal.Signals | None = None) -> tuple[int, str, str]:
        """Exit status, standard output, and what is left of standard error."""
        if by is not None:
            self._process.send_signal(by)
        output, errors = self._process.communicate(timeout=20)
        return self._process.returncode, output, errors


Open = Callable[..., Session]


@pytest.fixture
def session(guest: Domain) -> Iterator[Open]:
    with ExitStack() as undo:
        yield lambda *arguments: Session(guest, undo, *arguments)


def test_pair(session: Open) -> None:
    person = session("pair", PEER, "--security", "mitm")
    person.sees(OTHER + QUESTION)
    person.types("perhaps\n")
    person.sees(QUESTION)
    person.types("Y\n")
    assert person.end() == (
        0,
        f"paired with {PEER}: authenticated, with a key of 16 bytes, which the driver domain keeps\n",
        "",
    )


def test_pair_for_programs(session: Open) -> None:
    person = session("pair", PEER, "--le", "random", "--json")
    person.sees(OTHER + QUESTION)
    person.types("yes\n")
    status, output, _ = person.end()
    expected: dict[str, Any] = {"address": PEER, "security": "encrypted", "key_size": 16, "bonded": True}
    assert (status, json.loads(output)) == (0, expected)


@pytest.mark.parametrize("typed", ["n\n", "\n", "\x04"])
def test_pair_with_the_wrong_one(session: Open, typed: str) -> None:
    person = session("pair", PEER)
    person.sees(OTHER + QUESTION)
    person.types(typed)
    assert person.end() == (1, "", f"usbbt-guest: pair with {PEER}: {MISSING}the answer here was no\n")


def test_pair_with_nobody(session: Open) -> None:
    said = OTHER + f"usbbt-guest: pair with {NOT_THERE}: no answer, HCI status 0x04 (page timeout)\n"
    assert session("pair", NOT_THERE).end() == (1, "", said)


def test_a_person_goes_away(session: Open) -> None:
    person = session("pair", PEER)
    person.sees(OTHER + QUESTION)
    assert person.end(signal.SIGINT) == (130, "", "\n")


def test_agent(session: Open) -> None:
    person = session("agent", "--le", "--psm", "0x1019")
    person.sees(f"usbbt-guest: waiting for devices that pair\nMay {CALLER} pair? [y/n] ")
    person.types("y\n")
    person.sees(f"Which six digits does {CALLER} show? ")
    person.types("42424\n")
    person.sees(f"Which six digits does {CALLER} show? ")
    person.types("424 242\n")
    person.sees(f"usbbt-guest: enter 000 007 at {CALLER}\n")
    assert person.end(signal.SIGINT) == (130, "", "")


def test_nobody_to_ask(guest: Domain) -> None:
    asks = "pairing asks its questions on the terminal, and standard input is none"
    _, errors = run(guest, "agent", status=2)
    assert errors == f"usbbt-guest: {asks}\n"
    _, errors = run(guest, "agent", "--io", "none", status=2)
    assert errors == f"usbbt-guest: {asks}\n"
    _, errors = run(guest, "pair", PEER, status=2)
    nothing = "--io none asks nothing, and nobody knows then who is at the other end"
    assert errors == f"usbbt-guest: {asks}; {nothing}\n"
