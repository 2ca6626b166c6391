"""What one session may have at most, and how long its ends wait: docs/serial.md, "Limits and times"."""

from typing import Final, NamedTuple


class SerialLimits(NamedTuple):
    """The limits of a bridge. Times are in seconds, MTUs in octets.

    ``repeat_s``: from a frame to its first repetition, doubled up to ``longest_repeat_s``.
    """

    objects: int = 16
    mtu: int = 16384
    credits: int = 4
    replies: int = 64
    repeat_s: float = 0.5
    longest_repeat_s: float = 2.0
    lost_s: float = 30.0
    silent_s: float = 10.0


#: The baud rate below which a line takes so long for a window that repetitions come later, and how much later.
SLOW_BAUD: Final = 38400
SLOW_FACTOR: Final = 4


def limits_at(baud: int | None) -> SerialLimits:
    """Returns the limits on a line of this baud rate; None if it has none, such as a socket."""
    limits = SerialLimits()
    if baud is None or baud >= SLOW_BAUD:
        return limits
    return limits._replace(
        repeat_s=limits.repeat_s * SLOW_FACTOR, longest_repeat_s=limits.longest_repeat_s * SLOW_FACTOR
    )
