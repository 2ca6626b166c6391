from typing import Any

import pytest

from usbbtd.hci.command_queue import Done
from usbbtd.hci.commands import Command, LeCreateConnectionCancel, LeSetRandomAddress
from usbbtd.hci.dialler import CANCEL_GRACE_S, MAX_WAITING, Dialler, Target
from usbbtd.hci.events import ConnectFailed

PATIENCE_S = 5.0


class Desk:
    """A dialler with the controller and the user that it talks to. LeSetRandomAddress stands for "create to"."""

    def __init__(self, *, takes_turns: bool = True) -> None:
        self.linked: set[Target] = set()
        self.sent: list[Command] = []
        self.done: list[Done] = []
        self.events: list[ConnectFailed] = []
        self.busy: list[bool] = []
        self.dialler = Dialler(
            lambda target: LeSetRandomAddress(target.address),
            lambda target: LeCreateConnectionCancel(),
            self.busy.append,
            self.linked.__contains__,
            self.send,
            self.events.append,
            patience_s=PATIENCE_S,
            takes_turns=takes_turns,
        )

    def send(self, command: Command, done: Done = lambda status, returned, now: None) -> None:
        self.sent.append(command)
        self.done.append(done)

    def dialled(self) -> list[bytes | str]:
        """Targets dialled and "cancel", in order, since the last call."""
        sent, self.sent = self.sent, []
        return [command.address if isinstance(command, LeSetRandomAddress) else "cancel" for command in sent]

    def answer(self, status: int = 0, now: float = 0.0) -> None:
        self.done.pop(0)(status, b"", now)

    def failed(self) -> list[tuple[bytes, int]]:
        events, self.events[:] = list(self.events), []
        assert all(isinstance(event, ConnectFailed) for event in events)
        return [(event.address, event.status) for event in events]


A, B, C = (Target(name * 6, 2) for name in (b"A", b"B", b"C"))


@pytest.fixture
def desk() -> Any:
    return Desk()


def test_one_after_the_other(desk: Desk) -> None:
    desk.dialler.connect(A, 0.0)
    desk.dialler.connect(B, 0.0)
    assert desk.dialled() == [A.address]
    desk.dialler.receive_connected(A, 1.0)
    assert desk.dialled() == [B.address]
    desk.dialler.receive_failed(0x3E, 2.0)
    assert desk.failed() == [(B.address, 0x3E)]
    assert desk.busy == [True, True, False]
    assert desk.dialler.deadline is None


def test_asking_twice_is_asking_once(desk: Desk) -> None:
    for _ in range(2):
        desk.dialler.connect(A, 0.0)
        desk.dialler.connect(B, 0.0)
    desk.dialler.receive_failed(1, 0.0)
    desk.dialler.receive_failed(2, 0.0)
    assert desk.dialled() == [A.address, B.address]
    assert desk.failed() == [(A.address, 1), (B.address, 2)]


def test_a_refused_command_fails_the_attempt(desk: Desk) -> None:
    desk.dialler.connect(A, 0.0)
    desk.answer(0x0C)
    assert desk.failed() == [(A.address, 0x0C)]
    assert desk.dialler.current is None


def test_cancel_answers_at_once_and_the_next_waits_for_the_controller(desk: Desk) -> None:
    desk.dialler.connect(A, 0.0)
    desk.dialler.connect(B, 0.0)
    desk.dialler.cancel(A)
    assert desk.failed() == [(A.address, 0x02)]
    assert desk.dialled() == [A.address, "cancel"]
    desk.dialler.receive_failed(0x02, 1.0)
    assert desk.failed() == []
    assert desk.dialled() == [B.address]


def test_cancel_of_one_that_waits_and_of_none(desk: Desk) -> None:
    desk.dialler.connect(A, 0.0)
    desk.dialler.connect(B, 0.0)
    desk.dialler.cancel(B)
    desk.dialler.cancel(B)
    desk.dialler.cancel(C)
    assert desk.failed() == [(B.address, 0x02)]
    assert desk.dialled() == [A.address]


def test_a_controller_that_never_ends_a_cancelled_attempt(desk: Desk) -> None:
    desk.dialler.connect(A, 0.0)
    desk.dialler.connect(B, 0.0)
    desk.answer()
    desk.dialler.cancel(A)
    assert desk.dialler.deadline is None
    desk.answer(now=7.0)
    desk.dialler.handle_timeout(7.0 + CANCEL_GRACE_S)
    assert desk.dialled() == [A.address, "cancel", B.address]


def test_wanted_again_while_it_is_being_cancelled(desk: Desk) -> None:
    desk.dialler.connect(A, 0.0)
    desk.dialler.cancel(A)
    desk.dialler.connect(A, 0.0)
    desk.dialler.receive_failed(0x02, 1.0)
    assert desk.dialled() == [A.address, "cancel", A.address]
    assert desk.failed() == [(A.address, 0x02)]
    desk.dialler.receive_failed(0x3E, 2.0)
    assert desk.failed() == [(A.address, 0x3E)]


def test_turns(desk: Desk) -> None:
    desk.dialler.connect(A, 0.0)
    desk.dialler.handle_timeout(PATIENCE_S)
    assert desk.dialled() == [A.address]
    desk.dialler.connect(B, 6.0)
    desk.dialler.handle_timeout(2 * PATIENCE_S)
    assert desk.dialled() == ["cancel"]
    desk.dialler.receive_failed(0x02, 10.0)
    assert desk.dialled() == [B.address]
    desk.dialler.handle_timeout(10.0 + PATIENCE_S)
    desk.dialler.receive_failed(0x02, 15.0)
    assert desk.dialled() == ["cancel", A.address]
    assert desk.failed() == []
    desk.dialler.receive_connected(A, 16.0)
    assert desk.dialled() == [B.address]


def test_without_turns_patience_ends() -> None:
    desk = Desk(takes_turns=False)
    desk.dialler.connect(A, 0.0)
    desk.dialler.connect(B, 0.0)
    desk.dialler.handle_timeout(PATIENCE_S)
    assert desk.failed() == [(A.address, 0x04)]
    desk.dialler.receive_failed(0x02, 6.0)
    assert desk.failed() == []
    assert desk.dialled() == [A.address, "cancel", B.address]


def test_a_link_that_the_peer_made_serves_too(desk: Desk) -> None:
    desk.dialler.connect(A, 0.0)
    desk.dialler.connect(B, 0.0)
    desk.dialler.receive_connected(B, 0.0)
    desk.dialler.receive_failed(0x3E, 0.0)
    assert desk.dialled() == [A.address]
    assert desk.failed() == [(A.address, 0x3E)]


def test_a_target_with_its_old_link_is_passed_over(desk: Desk) -> None:
    desk.linked.add(A)
    desk.dialler.connect(A, 0.0)
    desk.dialler.connect(B, 0.0)
    assert desk.dialled() == [B.address]
    desk.linked.clear()
    desk.dialler.receive_failed(0x3E, 1.0)
    assert desk.dialled() == [A.address]


def test_the_queue_is_bounded(desk: Desk) -> None:
    targets = [Target(n.to_bytes(6, "big"), 1) for n in range(MAX_WAITING + 3)]
    for target in targets:
        desk.dialler.connect(target, 0.0)
    assert desk.failed() == [(target.address, 0x0D) for target in targets[-2:]]


def test_abandon_answers_everybody(desk: Desk) -> None:
    for target in (A, B, C):
        desk.dialler.connect(target, 0.0)
    desk.dialler.abandon(0x03)
    assert desk.failed() == [(target.address, 0x03) for target in (A, B, C)]
    assert desk.dialler.current is None
    desk.dialler.receive_failed(0x02, 0.0)
    assert desk.failed() == []
