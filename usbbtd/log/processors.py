"""What happens to an event on its way to who reads it: structlog calls one of these after the other."""

import asyncio
import atexit
import contextlib
import hmac
import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

from usbbtd.bluetooth import ADDRESS, format_address
from usbbtd.log.fields import field_of
from usbbtd.log.flood import RATE, Flood

#: How many of the last events are remembered.
MOST_RECENT = 200
#: The levels that a log can begin at.
LEVELS = ("debug", "info", "warning", "error")
#: Syslog's numbers of the levels.
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}

_HASHED_DIGITS = 12


class LevelGate:
    """A structlog processor that drops events below ``level``, one of LEVELS, which may be changed at any time.

    A logger that was bound before such a change knows of it here, and nowhere else.
    """

    def __init__(self, level: str) -> None:
        self.level = level

    def __call__(self, _logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        if _PRIORITIES.get(method, 0) > _PRIORITIES[self.level]:
            raise structlog.DropEvent
        return event


class FloodGate:
    """A structlog processor that drops events that come too often.

    Their count is logged when the flood pauses, and at the end of the process.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._flood = Flood(_is_limited)
        self._timer: asyncio.TimerHandle | None = None
        atexit.register(self._tell, None)

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        now = self._clock()
        if self._flood.suppressing:
            self._tell(now)
        if self._flood.admits(event["event"], event.get("domid"), now):
            return event
        self._set_timer()
        raise structlog.DropEvent

    def _tell(self, now: float | None) -> None:
        for (phrase, domid), count in self._flood.take_suppressed(now):
            guest = {} if domid is None else {"domid": domid}
            structlog.get_logger().warning("events suppressed", suppressed=phrase, count=count, **guest)

    def _set_timer(self) -> None:
        """Sets the timer that logs the count if no event follows the flood.

        Without an event loop, the next event or the end of the process has the count logged.
        """
        if self._timer is None:
            with contextlib.suppress(RuntimeError):
                self._timer = asyncio.get_running_loop().call_later(1 / RATE, self._timeout)

    def _timeout(self) -> None:
        self._timer = None
        self._tell(self._clock())
        if self._flood.suppressing:
            self._set_timer()


def readable_facts(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Shows addresses as text, PSMs and CIDs in hexadecimal; is a structlog processor."""
    for key, value in event.items():
        if isinstance(value, bytes):
            event[key] = readable_octets(value)
        elif key in ("psm", "cid") and isinstance(value, int):
            event[key] = f"0x{value:04x}"
    return event


def readable_octets(octets: bytes) -> str:
    """Returns octets as text: six as an address, others in hexadecimal."""
    return format_address(octets) if len(octets) == 6 else octets.hex()


class AddressHasher:
    """A structlog processor that replaces each Bluetooth address in an event by a hash.

    With one key an address always has the same hash, so that a device can be followed. Comes after the processors that
    make text of facts.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        for key, value in event.items():
            text = value if isinstance(value, str) else str(value)
            if ADDRESS.search(text):
                event[key] = ADDRESS.sub(self._hash, text)
        return event

    def _hash(self, match: re.Match[str]) -> str:
        return hmac.digest(self._key, match[0].upper().encode(), "sha256").hex()[:_HASHED_DIGITS]


class JournalSender:
    """A structlog processor that hands each event to ``send``, which takes a message and the fields of the journal.

    ``message_ids``: by the phrases of the events that have one. Events that the journal does not take are dropped and
    counted; the count is logged after the next event that the journal takes.
    """

    def __init__(self, send: Callable[..., object], program: str, message_ids: Mapping[str, str]) -> None:
        self._send = send
        self._program = program
        self._message_ids = message_ids
        self._lost = 0

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        phrase, level, trace = event.pop("event"), event.pop("level"), event.pop("exception", None)
        fields = {field_of(key): str(value) for key, value in event.items()}
        if (message_id := self._message_ids.get(phrase)) is not None:
            fields["MESSAGE_ID"] = message_id
        message = " ".join([phrase, *(f"{key}={value}" for key, value in event.items())])
        try:
            self._send(
                f"{message}\n{trace}" if trace else message,
                PRIORITY=str(_PRIORITIES[level]),
                SYSLOG_IDENTIFIER=self._program,
                USBBTD_EVENT=phrase,
                **fields,
            )
        except OSError:
            self._lost += 1
        else:
            lost, self._lost = self._lost, 0
            if lost:
                structlog.get_logger().warning("events lost", count=lost)
        raise structlog.DropEvent


class RecentEvents:
    """A structlog processor that remembers the last events, for ``usbbtctl dump``."""

    def __init__(self, most: int = MOST_RECENT) -> None:
        self._events: deque[tuple[float, dict[str, Any]]] = deque(maxlen=most)

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        self._events.append((time.time(), dict(event)))
        return event

    def events(self) -> list[dict[str, str]]:
        """Returns the events, the oldest first, each with its ``time`` in seconds since 1970."""
        return [
            {"time": f"{when:.3f}"} | {key: str(value) for key, value in event.items()} for when, event in self._events
        ]


def _is_limited(phrase: str) -> bool:
    from usbbtd.log.events import by_phrase  # only here: most processes never need the table

    event = by_phrase().get(phrase)
    return event is not None and event.limited
