from typing import Any

import pytest

from usbbtd.hci.command_queue import Done
from usbbtd.hci.events import ConnectFailed
from usbbtd.hci.initiator import Initiator, Target
from usbbtd.hci.limits import CANCEL_GRACE_S, CREATE_RETRY_S, CREATE_TRIES, MAX_ATTEMPTS
from usbbtd.hci.wire.commands import HciCommand, LeCreateConnectionCancel, LeSetRandomAddress

PATIENCE_S = 5.0


class Desk:
    """An initiator with the controller and the user that it talks to. LeSetRandomAddress stands for "create to"."""

    def __init__(self, *, takes_turns: bool = True) -> None:
        self.linked: set[Target] = set()
        self.sent: list[HciCommand] = []
        self.done: list[Done] = []
        self.events: list[ConnectFailed] = []
        self.busy: list[bool] = []
        self.ways_made = 0
        self.attempts = 0
        self.initiator = Initiator(
            lambda target: LeSetRandomAddress(target.address),
            lambda target: LeCreateConnectionCancel(),
            self.busy.append,
            self.make_way,
            self.linked.__contains__,
            self.send,
            self.events.append,
            patience_s=PATIENCE_S,
            takes_turns=takes_turns,
        )

    def make_way(self) -> None:
        self.ways_made += 1

    def connect(self, target: Target, now: float) -> int:
        """As the user of a host: every call has a number of its own."""
        self.attempts += 1
        return self.initiator.connect(target, self.attempts, now)

    def send(self, command: HciCommand, done: Done = lambda status, returned, now: None) -> None:
        self.sent.append(command)
        self.done.append(done)

    def created(self) -> list[bytes | str]:
        """Targets that were to be created and "cancel", in order, since the last call."""
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
    desk.connect(A, 0.0)
    desk.connect(B, 0.0)
    assert desk.created() == [A.address]
    desk.initiator.receive_connected(A, 1.0)
    assert desk.created() == [B.address]
    desk.initiator.receive_failed(0x3E, 2.0)
    assert desk.failed() == [(B.address, 0x3E)]
    assert desk.busy == [True, True, False]
    assert desk.initiator.deadline is None


def test_asking_twice_is_asking_once(desk: Desk) -> None:
    for _ in range(2):
        desk.connect(A, 0.0)
        desk.connect(B, 0.0)
    desk.initiator.receive_failed(1, 0.0)
    desk.initiator.receive_failed(2, 0.0)
    assert desk.created() == [A.address, B.address]
    assert desk.failed() == [(A.address, 1), (B.address, 2)]


def test_a_refused_command_fails_the_attempt(desk: Desk) -> None:
    desk.connect(A, 0.0)
    desk.answer(0x07)
    assert desk.failed() == [(A.address, 0x07)]
    assert desk.initiator.current is None


def test_cancel_has_no_answer_and_the_next_waits_for_the_controller(desk: Desk) -> None:
    desk.connect(A, 0.0)
    desk.connect(B, 0.0)
    desk.initiator.cancel(A)
    assert desk.created() == [A.address, "cancel"]
    desk.initiator.receive_failed(0x02, 1.0)
    assert desk.failed() == []
    assert desk.created() == [B.address]


def test_cancel_of_one_that_waits_and_of_none(desk: Desk) -> None:
    desk.connect(A, 0.0)
    desk.connect(B, 0.0)
    desk.initiator.cancel(B)
    desk.initiator.cancel(B)
    desk.initiator.cancel(C)
    assert desk.failed() == []
    assert desk.created() == [A.address]


def test_a_controller_that_never_ends_a_cancelled_attempt(desk: Desk) -> None:
    desk.connect(A, 0.0)
    desk.connect(B, 0.0)
    desk.answer()
    desk.initiator.cancel(A)
    assert desk.initiator.deadline is None
    desk.answer(now=7.0)
    desk.initiator.handle_timeout(7.0 + CANCEL_GRACE_S)
    assert desk.created() == [A.address, "cancel", B.address]


def test_wanted_again_while_it_is_being_cancelled(desk: Desk) -> None:
    desk.connect(A, 0.0)
    desk.initiator.cancel(A)
    desk.connect(A, 0.0)
    desk.initiator.receive_failed(0x02, 1.0)
    assert desk.created() == [A.address, "cancel", A.address]
    assert desk.failed() == []
    desk.initiator.receive_failed(0x3E, 2.0)
    assert desk.failed() == [(A.address, 0x3E)]


def test_who_asks_again_does_not_hear_of_the_attempt_before(desk: Desk) -> None:
    first = desk.connect(A, 0.0)
    assert desk.connect(A, 0.0) == first
    desk.initiator.cancel(A)
    second = desk.connect(A, 0.0)
    assert second != first
    desk.initiator.receive_failed(0x02, 1.0)
    desk.initiator.receive_failed(0x3E, 2.0)
    assert desk.events == [ConnectFailed(*A, 0x3E, second)]


def test_an_end_that_comes_after_all_is_not_that_of_the_next_attempt(desk: Desk) -> None:
    desk.connect(A, 0.0)
    desk.answer()
    desk.initiator.cancel(A)
    desk.answer(now=1.0)
    desk.initiator.handle_timeout(1.0 + CANCEL_GRACE_S)
    desk.connect(A, 3.0)
    desk.initiator.receive_failed(0x02, 3.0)
    assert desk.failed() == []
    assert desk.initiator.current == A
    desk.initiator.receive_failed(0x3E, 4.0)
    assert desk.failed() == [(A.address, 0x3E)]


def test_an_answer_to_an_earlier_command_is_not_that_of_the_next(desk: Desk) -> None:
    desk.connect(A, 0.0)
    desk.initiator.receive_connected(A, 0.0)
    desk.connect(A, 0.0)
    desk.answer(0x07)
    assert desk.failed() == []
    desk.answer(0x07)
    assert desk.failed() == [(A.address, 0x07)]


@pytest.mark.parametrize("status", [0x0B, 0x0C])
def test_what_stands_in_the_way_and_passes(desk: Desk, status: int) -> None:
    desk.connect(A, 0.0)
    desk.connect(B, 0.0)
    for tries in range(1, CREATE_TRIES):
        desk.answer(status, now=float(tries))
        desk.initiator.receive_failed(0x3E, float(tries))  # there is nothing that could fail
        assert desk.failed() == []
        assert desk.created() == [A.address]
        assert desk.ways_made == (tries if status == 0x0C else 0)
        desk.initiator.handle_timeout(tries + CREATE_RETRY_S)
    desk.answer(status, now=9.0)
    assert desk.failed() == [(A.address, status)]
    assert desk.created() == [A.address, B.address]


def test_the_link_that_stood_in_the_way(desk: Desk) -> None:
    desk.connect(A, 0.0)
    desk.answer(0x0B)
    desk.initiator.receive_connected(A, 0.5)
    assert desk.created() == [A.address]
    assert desk.initiator.deadline is None
    assert desk.failed() == []


def test_cancel_before_the_next_try(desk: Desk) -> None:
    desk.connect(A, 0.0)
    desk.connect(B, 0.0)
    desk.answer(0x0B)
    desk.initiator.cancel(A)
    assert not desk.initiator.wants(A)
    desk.initiator.handle_timeout(CREATE_RETRY_S)
    assert desk.created() == [A.address, B.address]
    desk.answer(0x0C, now=2.0)
    desk.initiator.cancel(B)
    number = desk.connect(B, 2.0)
    desk.initiator.handle_timeout(2.0 + CREATE_RETRY_S)
    assert desk.created() == [B.address]
    desk.answer(0x07)
    assert desk.events == [ConnectFailed(*B, 0x07, number)]


def test_who_is_wanted(desk: Desk) -> None:
    desk.connect(A, 0.0)
    desk.connect(B, 0.0)
    assert [desk.initiator.wants(target) for target in (A, B, C)] == [True, True, False]
    desk.initiator.cancel(A)
    assert [desk.initiator.wants(target) for target in (A, B, C)] == [False, True, False]


def test_turns(desk: Desk) -> None:
    desk.connect(A, 0.0)
    desk.initiator.handle_timeout(PATIENCE_S)
    assert desk.created() == [A.address]
    desk.connect(B, 6.0)
    desk.initiator.handle_timeout(2 * PATIENCE_S)
    assert desk.created() == ["cancel"]
    desk.initiator.receive_failed(0x02, 10.0)
    assert desk.created() == [B.address]
    desk.initiator.handle_timeout(10.0 + PATIENCE_S)
    desk.initiator.receive_failed(0x02, 15.0)
    assert desk.created() == ["cancel", A.address]
    assert desk.failed() == []
    desk.initiator.receive_connected(A, 16.0)
    assert desk.created() == [B.address]


def test_without_turns_patience_ends() -> None:
    desk = Desk(takes_turns=False)
    desk.connect(A, 0.0)
    desk.connect(B, 0.0)
    desk.initiator.handle_timeout(PATIENCE_S)
    assert desk.failed() == [(A.address, 0x04)]
    desk.initiator.receive_failed(0x02, 6.0)
    assert desk.failed() == []
    assert desk.created() == [A.address, "cancel", B.address]


def test_a_link_that_the_peer_made_serves_too(desk: Desk) -> None:
    desk.connect(A, 0.0)
    desk.connect(B, 0.0)
    desk.initiator.receive_connected(B, 0.0)
    desk.initiator.receive_failed(0x3E, 0.0)
    assert desk.created() == [A.address]
    assert desk.failed() == [(A.address, 0x3E)]


def test_a_target_with_its_old_link_is_passed_over(desk: Desk) -> None:
    desk.linked.add(A)
    desk.connect(A, 0.0)
    desk.connect(B, 0.0)
    assert desk.created() == [B.address]
    desk.linked.clear()
    desk.initiator.receive_failed(0x3E, 1.0)
    assert desk.created() == [A.address]


def test_the_queue_is_bounded(desk: Desk) -> None:
    targets = [Target(n.to_bytes(6, "big"), 1) for n in range(MAX_ATTEMPTS + 3)]
    for target in targets:
        desk.connect(target, 0.0)
    assert desk.failed() == [(target.address, 0x0D) for target in targets[-2:]]


def test_abandon_answers_everybody(desk: Desk) -> None:
    for target in (A, B, C):
        desk.connect(target, 0.0)
    desk.initiator.abandon(0x03)
    assert desk.failed() == [(target.address, 0x03) for target in (A, B, C)]
    assert desk.initiator.current is None
    desk.initiator.receive_failed(0x02, 0.0)
    assert desk.failed() == []
