"""Checks the arguments of this API before the backend is asked anything; the errors name the argument.

A wrong type raises TypeError, a wrong value ValueError.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan
from typing import Any, Final

from usbbtd.bluetooth import MINIMUM_MTU, check_psm

_U16_MAX: Final = 0xFFFF

#: The longest time for which a program may keep its processor busy instead of sleeping: the event loop stands still.
LONGEST_SPIN_S: Final = 0.001


def check_integer(name: str, value: object, lowest: int | None = None, highest: int | None = None) -> None:
    """Raises TypeError or ValueError unless ``value`` is an integer, within the limits where they are given."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r:.40}: it must be an integer")
    if (lowest is not None and value < lowest) or (highest is not None and value > highest):
        raise ValueError(f"{name} is {value}: it must be from {lowest} to {highest}")


def check_seconds(name: str, value: object, *, zero: bool = False) -> None:
    """Raises TypeError or ValueError unless ``value`` is a number of seconds above 0, or None; 0 too where ``zero``."""
    if value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r:.40}: it must be a number of seconds, or None")
    if isnan(value) or value < 0 or (value == 0 and not zero):
        raise ValueError(f"a {name} of {value} s: it must be {'0 or more' if zero else 'above 0'}")


def check_spin(value: object) -> None:
    """Raises TypeError or ValueError unless ``value`` is a number of seconds from 0 to LONGEST_SPIN_S."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"spin is {value!r:.40}: it must be a number of seconds")
    if not 0 <= value <= LONGEST_SPIN_S:
        raise ValueError(f"a spin of {value} s: it must be from 0 to {LONGEST_SPIN_S}")


def check_flag(name: str, value: object) -> None:
    """Raises TypeError unless ``value`` is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} is {value!r:.40}: it must be True or False")


def check_bytes(name: str, value: object) -> bytes:
    """Returns bytes-like data as bytes. Raises TypeError for anything else."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    raise TypeError(f"{name} is {type(value).__name__}: it must be bytes, a bytearray or a memoryview")


def check_channel(transport: int, psm: int, mtu: int) -> None:
    """Raises TypeError or ValueError unless a channel on this transport can have this PSM and this MTU."""
    check_integer("psm", psm)
    check_psm(transport, psm)
    check_mtu(transport, mtu)


def check_mtu(transport: int, mtu: int) -> None:
    """Raises TypeError or ValueError unless a channel on this transport can have this MTU, in bytes."""
    check_integer("mtu", mtu)
    if not MINIMUM_MTU[transport] <= mtu <= _U16_MAX:
        raise ValueError(f"an MTU of {mtu}: it is {MINIMUM_MTU[transport]} to 65535 bytes")


def checked_timeout_s(timeout: float | None, longest_ms: int) -> float:
    """Returns a request's timeout: a millisecond at least, as 0 is the backend's default; the longest for None.

    Raises TypeError or ValueError if ``timeout`` is not legal.
    """
    check_seconds("timeout", timeout)
    longest_s = longest_ms / 1000
    return longest_s if timeout is None else min(max(timeout, 0.001), longest_s)


def number_of(numbers: Mapping[Any, int], name: str, what: str) -> int:
    """Returns l2capif.h's number of a name of this API. ``what``: the argument. Raises ValueError if there is none."""
    if not isinstance(name, str) or name not in numbers:
        raise ValueError(f"{what} {name!r} is none of {', '.join(numbers)}")
    return numbers[name]
