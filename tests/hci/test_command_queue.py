from typing import Any

import pytest

from usbbtd.hci.command_queue import CommandQueue
from usbbtd.hci.limits import MAX_COMMANDS
from usbbtd.hci.wire.commands import (
    AcceptConnectionRequest,
    Disconnect,
    HciCommand,
    ReadBdAddr,
    Reset,
    WriteScanEnable,
    WriteSimplePairingMode,
)


class Queue:
    """A command queue, with a list of what the commands' senders were told."""

    def __init__(self) -> None:
        self._queue = CommandQueue(2.0)
        self.told: list[tuple[int, bytes, float]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    @property
    def now(self) -> float:
        return self._queue.now

    @now.setter
    def now(self, now: float) -> None:
        self._queue.now = now

    def ask(self, command: HciCommand) -> None:
        self._queue.send(command, lambda *answer: self.told.append(answer))


def fall_silent(queue: Queue) -> tuple[str, bool] | None:
    queue.now += 10.0
    assert queue.expired() is None
    queue.now += 2.0
    expired: tuple[str, bool] | None = queue.expired()
    return expired


@pytest.fixture
def queue() -> "Queue":
    return Queue()


def test_one_command_at_a_time_in_order(queue: Queue) -> None:
    queue.ask(Reset())
    queue.ask(ReadBdAddr())
    assert queue.take() == [Reset().pack()]
    assert queue.take() == []
    queue.now = 5.0
    queue.receive_answer(Reset.CODE, 7, 0, b"")
    assert queue.told == [(0, b"", 5.0)]
    assert queue.take() == [ReadBdAddr().pack()]
    assert queue.take() == []
    queue.receive_answer(ReadBdAddr.CODE, 7, 0, b"abcdef")
    assert queue.told[1:] == [(0, b"abcdef", 5.0)]


def test_no_credits_no_commands_until_the_controller_gives_some(queue: Queue) -> None:
    queue.ask(Reset())
    queue.take()
    queue.ask(ReadBdAddr())
    queue.receive_answer(Reset.CODE, 0, 0, b"")
    assert queue.take() == []
    queue.receive_answer(0, 1, 0, b"")
    assert queue.take() == [ReadBdAddr().pack()]


def test_credits_do_not_answer_a_command(queue: Queue) -> None:
    queue.ask(Reset())
    queue.ask(ReadBdAddr())
    queue.take()
    queue.receive_answer(0, 5, 0, b"")
    queue.receive_answer(ReadBdAddr.CODE, 5, 0, b"")
    assert queue.take() == []
    assert queue.told == []
    assert queue.counters["answers_stray"] == 1


def test_silence_takes_two_periods_as_the_first_began_at_an_unknown_time(queue: Queue) -> None:
    queue.ask(ReadBdAddr())
    queue.take()
    queue.now = 1000.0
    assert queue.expired() is None
    assert queue.deadline == 1002.0
    queue.now = 1001.9
    assert queue.expired() is None
    queue.now = 1002.0
    assert queue.expired() == ("did not answer ReadBdAddr (0x1009)", True)


def test_an_answer_ends_the_deadline(queue: Queue) -> None:
    queue.ask(ReadBdAddr())
    queue.take()
    assert queue.deadline is not None
    queue.receive_answer(ReadBdAddr.CODE, 1, 0, b"")
    queue.now = 1000.0
    assert queue.expired() is None


def test_a_controller_that_never_gives_credits_is_silent_too(queue: Queue) -> None:
    queue.ask(Reset())
    queue.take()
    queue.receive_answer(Reset.CODE, 0, 0, b"")
    queue.take()
    assert queue.deadline is None
    queue.ask(ReadBdAddr())
    queue.take()
    assert fall_silent(queue) == ("takes no more commands", False)


def test_a_dispensable_command_that_met_silence_is_not_sent_again(queue: Queue) -> None:
    queue.ask(WriteSimplePairingMode(1))
    queue.take()
    fall_silent(queue)
    queue.clear(forgive=False)
    queue.ask(WriteSimplePairingMode(0))
    assert queue.told == [(0x01, b"", queue.now)]
    queue.ask(Disconnect(1, 0x13))
    assert queue.take() == [Disconnect(1, 0x13).pack()]
    queue.clear(forgive=True)
    queue.ask(WriteSimplePairingMode(0))
    assert queue.take() == [WriteSimplePairingMode(0).pack()]


def test_what_users_want_is_given_up_when_it_is_silent_again(queue: Queue) -> None:
    command = WriteScanEnable(2)
    for bounded in (True, False):
        queue.ask(command)
        assert queue.take() == [command.pack()]
        silence = fall_silent(queue)
        assert silence == ("did not answer WriteScanEnable (0x0C1A)", bounded)
        queue.clear(forgive=False)
        queue.ask(command)
        assert queue.take() == [command.pack()]
        queue.receive_answer(command.CODE, 1, 0, b"")
    assert [answer[:2] for answer in queue.told] == [(0, b"")] * 2
    queue.told.clear()
    for _ in range(2):
        queue.ask(command)
        queue.take()
        silence = fall_silent(queue)
        queue.clear(forgive=False)
    assert silence == ("did not answer WriteScanEnable (0x0C1A)", True)
    queue.ask(command)
    queue.ask(AcceptConnectionRequest(bytes(6), 1))  # of no use without the other
    assert queue.told == [(0x01, b"", queue.now)] * 2
    assert queue.given_up == {0x0C1A: WriteScanEnable, 0x0409: WriteScanEnable}


def test_what_nothing_works_without_is_never_given_up(queue: Queue) -> None:
    for _ in range(3):
        queue.ask(Reset())
        assert queue.take() == [Reset().pack()]
        assert fall_silent(queue) == ("did not answer Reset (0x0C03)", False)
        queue.clear(forgive=False)


def test_the_queue_is_bounded_and_its_overflow_answered(queue: Queue) -> None:
    for value in range(MAX_COMMANDS + 3):
        queue.ask(WriteScanEnable(value % 256))
    assert queue.told == 3 * [(0x07, b"", 0.0)]
    assert queue.counters["commands_dropped"] == 3


def test_a_command_that_the_controller_lost_is_sent_again(queue: Queue) -> None:
    queue.send_again()
    queue.ask(ReadBdAddr())
    queue.ask(WriteScanEnable(0))
    queue.take()
    deadline = queue.deadline
    for _ in range(3):
        assert queue.is_pending(ReadBdAddr.CODE)
        queue.send_again()
        assert not queue.is_pending(ReadBdAddr.CODE)
        assert queue.take() == [ReadBdAddr().pack()]
    assert queue.deadline == deadline  # however often
    queue.receive_answer(ReadBdAddr.CODE, 1, 0, b"once")
    assert queue.told == [(0, b"once", 0.0)]
    assert queue.take() == [WriteScanEnable(0).pack()]
    queue.receive_answer(ReadBdAddr.CODE, 1, 0, b"twice")
    assert queue.counters["answers_stray"] == 1
    assert queue.is_pending(WriteScanEnable.CODE)


def test_clear_forgets_and_frees_the_way(queue: Queue) -> None:
    queue.ask(ReadBdAddr())
    queue.ask(WriteScanEnable(0))
    queue.take()
    queue.clear(forgive=False)
    assert queue.take() == []
    queue.ask(Reset())
    assert queue.take() == [Reset().pack()]
    queue.receive_answer(ReadBdAddr.CODE, 1, 0, b"")
    assert queue.told == []
