"""Logging: structlog events to standard error for people, or to the journal with fields for programs.

An event is a short constant phrase and its facts: ``log.info("channel opened", domid=3, psm=0x1001, addr=address)``.
Addresses are given as in HCI, six octets with the least significant first, and shown the usual way.
"""

import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger
from systemd import journal

from usbbtd.config import Log

#: Facts with a journal field of an agreed name; any other fact ``x`` becomes USBBTD_X.
_JOURNAL_FIELDS = {
    "domid": "XEN_DOMID",
    "devid": "XEN_DEVID",
    "state": "XENBUS_STATE",
    "path": "XENSTORE_PATH",
    "addr": "BT_ADDR",
    "psm": "BT_PSM",
    "cid": "L2CAP_CID",
}
#: Events that are remembered.
MOST_RECENT = 200
#: Syslog's numbers for them.
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


class RecentEvents:
    """A structlog processor that remembers the last events, for who asks what has happened lately."""

    def __init__(self, most: int = MOST_RECENT) -> None:
        self._events: deque[tuple[float, dict[str, Any]]] = deque(maxlen=most)

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        self._events.append((time.time(), dict(event)))
        return event

    def events(self) -> list[dict[str, str]]:
        """The oldest first; ``time``: seconds since 1970."""
        return [
            {"time": f"{when:.3f}"} | {key: str(value) for key, value in event.items()} for when, event in self._events
        ]


def configure(settings: Log, program: str = "usbbtd", recent: RecentEvents | None = None) -> None:
    """Sets up logging for the process, which the journal calls ``program``. ``recent`` gets every event too.

    The target ``auto`` is the journal where systemd has connected standard error to it, and standard error elsewhere.
    """
    to_journal = settings.target == "journal" or (settings.target == "auto" and _stderr_is_the_journal())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            readable_facts,
            *([recent] if recent is not None else []),
            *(
                (structlog.processors.format_exc_info, JournalSender(journal.send, program))
                if to_journal
                else (structlog.processors.TimeStamper("%H:%M:%S.%f", utc=False), _console())
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(settings.level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(handlers=[_LibraryHandler()], level=logging.WARNING, force=True)


def readable_facts(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: addresses as text, PSMs and CIDs in hexadecimal."""
    for key, value in event.items():
        if isinstance(value, bytes):
            event[key] = readable_octets(value)
        elif key in ("psm", "cid") and isinstance(value, int):
            event[key] = f"0x{value:04x}"
    return event


def readable_octets(octets: bytes) -> str:
    """Six are an address."""
    return octets[::-1].hex(":").upper() if len(octets) == 6 else octets.hex()


class JournalSender:
    """A structlog processor that hands each event to ``send``, which takes a message and the fields of the journal."""

    def __init__(self, send: Callable[..., object], program: str = "usbbtd") -> None:
        self._send = send
        self._program = program

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        phrase, level, trace = event.pop("event"), event.pop("level"), event.pop("exception", None)
        fields = {_JOURNAL_FIELDS.get(key, f"USBBTD_{key.upper()}"): str(value) for key, value in event.items()}
        message = " ".join([phrase, *(f"{key}={value}" for key, value in event.items())])
        self._send(
            f"{message}\n{trace}" if trace else message,
            PRIORITY=str(_PRIORITIES[level]),
            SYSLOG_IDENTIFIER=self._program,
            USBBTD_EVENT=phrase,
            **fields,
        )
        raise structlog.DropEvent


class _LibraryHandler(logging.Handler):
    """What libraries say, asyncio's unhandled exceptions among it, goes the same way."""

    def emit(self, record: logging.LogRecord) -> None:
        if sys.is_finalizing():  # nothing is left to format it with
            return
        log = structlog.get_logger()
        log.log(record.levelno, record.getMessage(), library=record.name, exc_info=record.exc_info)


def _console() -> structlog.dev.ConsoleRenderer:
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), pad_event_to=28, exception_formatter=structlog.dev.plain_traceback
    )


def _stderr_is_the_journal() -> bool:
    """Compares standard error with $JOURNAL_STREAM, as systemd.exec(5) says: a child may have been given another."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
