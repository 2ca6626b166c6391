"""What usbbtctl doctor looks at, by where it looks. A check never raises: what it cannot look at is ``not checked``."""

from enum import StrEnum
from typing import NamedTuple


class Status(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    NOT_CHECKED = "not checked"


class Finding(NamedTuple):
    """``advice``: what to do, "" where nothing is to be done."""

    check: str
    status: Status
    found: str
    advice: str = ""
