"""Checks the arguments of this API before the backend is asked anything; the errors name the argument.

A wrong type raises TypeError, a wrong value ValueError.
"""

from __future__ import annotations

from math import isnan
from typing import Final

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
