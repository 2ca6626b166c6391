"""Sets up structlog: events go to standard error for people, or to the journal with fields for programs.

An event is a short constant phrase and its facts: ``log.info("channel opened", domid=3, psm=0x1001, addr=address)``.
Addresses are given as in HCI, six octets with the least significant first, and shown the usual way.
"""

import logging
import os
import secrets
import sys
import time
from typing import NamedTuple, Protocol

import structlog

from usbbtd.log import journal
from usbbtd.log.processors import AddressHasher, FloodGate, JournalSender, LevelGate, RecentEvents, readable_facts


class LogOptions(Protocol):
    """Where the log goes, and what it shows: the section of the configuration, or LogDefaults."""

    @property
    def level(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def addresses(self) -> str: ...


class LogDefaults(NamedTuple):
    """The options of a service that has no configuration, and so need not import what reads one."""

    level: str = "info"
    target: str = "auto"
    addresses: str = "shown"


def configure(
    settings: LogOptions, program: str = "usbbtd", recent: RecentEvents | None = None, address_key: bytes | None = None
) -> None:
    """Sets up logging for the process, which the journal calls ``program``. ``recent`` gets every event too.

    The target ``auto`` is the journal if systemd has connected standard error to it, and standard error otherwise.
    ``address_key``: the secret with which addresses are hashed if the settings say so; for None a new one is drawn, and
    an address has another hash in each run.
    """
    to_journal = settings.target == "journal" or (settings.target == "auto" and _stderr_is_the_journal())
    hashed = settings.addresses == "hashed"
    structlog.configure(
        processors=[
            LevelGate(settings.level),
            structlog.processors.add_log_level,
            FloodGate(time.monotonic),
            structlog.processors.format_exc_info,
            readable_facts,
            *((AddressHasher(address_key or secrets.token_bytes(32)),) if hashed else ()),
            *([recent] if recent is not None else []),
            *(
                (JournalSender(journal.send, program, _message_ids()),)
                if to_journal
                else (structlog.processors.TimeStamper("%H:%M:%S.%f", utc=False), _console())
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(handlers=[_LibraryHandler()], level=logging.WARNING, force=True)


def set_level(level: str) -> None:
    """Changes the level from which on events are logged, one of LEVELS, until the next ``configure``."""
    for processor in structlog.get_config()["processors"]:
        if isinstance(processor, LevelGate):
            processor.level = level


class _LibraryHandler(logging.Handler):
    """Logs the messages of libraries, and asyncio's unhandled exceptions, as events."""

    def emit(self, record: logging.LogRecord) -> None:
        if sys.is_finalizing():  # the modules that would format it are gone
            return
        log = structlog.get_logger()
        log.log(
            record.levelno, "library message", library=record.name, text=record.getMessage(), exc_info=record.exc_info
        )


def _message_ids() -> dict[str, str]:
    from usbbtd.log.events import by_phrase  # only here: a program that logs to standard error needs no table

    return {phrase: event.message_id for phrase, event in by_phrase().items()}


def _console() -> structlog.dev.ConsoleRenderer:
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), pad_event_to=28, exception_formatter=structlog.dev.plain_traceback
    )


def _stderr_is_the_journal() -> bool:
    """Compares standard error with $JOURNAL_STREAM as systemd.exec(5) says, since a child may have another one."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
