"""The checks of usbbtctl doctor, by where they look. A check never raises: if it cannot look it is ``not checked``."""

from enum import StrEnum
from typing import NamedTuple


class Status(StrEnum):
    """The result of a check, as people see it."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    NOT_CHECKED = "not checked"


class Finding(NamedTuple):
    """What a check has found. ``advice``: what to do about it; "" if nothing is to be done."""

    check: str
    status: Status
    found: str
    advice: str = ""
