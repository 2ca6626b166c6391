"""The questions to people that wait for an answer."""

from collections.abc import Callable
from typing import NamedTuple

from usbbtd.security.deadlines import Deadline, Deadlines
from usbbtd.security.events import Prompted, PromptWithdrawn, SecurityEvent
from usbbtd.security.limits import SecurityLimits
from usbbtd.security.terms import DISPLAY, ENTER_PASSKEY, ENTER_PIN, PASSKEY_LIMIT

PromptValue = int | bytes | None
#: Takes whether people agree, what they typed, and the time.
Answered = Callable[[bool, PromptValue, float], None]

MAXIMUM_PIN = 16


class _Open(NamedTuple):
    kind: int
    answered: Answered
    deadline: Deadline


class Prompts:
    """All prompts of a Security. ``ignored``: how many answers were nonsense, too late, or to no prompt."""

    def __init__(self, limits: SecurityLimits, deadlines: Deadlines, events: list[SecurityEvent]) -> None:
        self._limits = limits
        self._deadlines = deadlines
        self._events = events
        self._open: dict[int, _Open] = {}
        self._last = 0
        self.ignored = 0

    def __len__(self) -> int:
        return len(self._open)

    def ask(self, handle: int, kind: int, value: int | None, answered: Answered, now: float) -> int:
        """Asks, and returns the prompt's number. ``answered`` is called once, unless it is withdrawn before."""
        self._last = number = self._last + 1
        deadline = Deadline(self._deadlines, lambda later: self._expired(number, later))
        deadline.start(now + self._limits.prompt_s)
        self._open[number] = _Open(kind, answered, deadline)
        self._events.append(Prompted(number, handle, kind, value))
        return number

    def answer(self, number: int, accept: bool, value: PromptValue, now: float) -> bool:
        """Takes an answer. Returns False, and does nothing, if it answers nothing or makes no sense."""
        prompt = self._open.get(number)
        if prompt is None or (accept and not _makes_sense(prompt.kind, value)):
            self.ignored += 1
            return False
        if prompt.kind == DISPLAY:
            if accept:
                return True  # it is shown on, until the peer's people have typed it
            self.withdraw(number)
        else:
            self._remove(number)
        prompt.answered(accept, value if accept else None, now)
        return True

    def withdraw(self, number: int | None) -> None:
        """Ends a prompt, if there is such a one, without an answer."""
        if number is not None and self._remove(number) is not None:
            self._events.append(PromptWithdrawn(number))

    def _remove(self, number: int) -> _Open | None:
        if (prompt := self._open.pop(number, None)) is not None:
            prompt.deadline.stop()
        return prompt

    def _expired(self, number: int, now: float) -> None:
        prompt = self._open[number]
        self.withdraw(number)
        prompt.answered(False, None, now)


def _makes_sense(kind: int, value: PromptValue) -> bool:
    if kind == ENTER_PASSKEY:
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < PASSKEY_LIMIT
    if kind == ENTER_PIN:
        return isinstance(value, bytes) and 1 <= len(value) <= MAXIMUM_PIN
    return value is None
