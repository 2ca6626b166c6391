"""The exceptions of this API: every failure is an ``AdapterError``, which is an OSError.

``errno`` is the Xen error number that the backend gave, which is Linux's too.
"""

from __future__ import annotations

import errno

from usbbtd.bluetooth import BREDR, LE, LEVEL_NONE, describe_error, result_name
from usbbtd.guest.security import level_name, missing

#: The reason for the end of a channel, by the ``error`` in its data ring.
_CLOSE_REASONS = {
    errno.EPERM: "the link is not secure enough any more",
    errno.EACCES: "the driver domain does not allow it any more",
    errno.ENOTCONN: "the peer disconnected",
    errno.ETIMEDOUT: "the link was lost",
    errno.ENOBUFS: "this program did not read",
    errno.ENODEV: "the Bluetooth controller is gone",
    errno.EBADMSG: "the peer or this guest broke the protocol",
}


class AdapterError(OSError):
    """A call of this API has failed; ``errno`` and the text say why."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(number, text)

    def __str__(self) -> str:
        return str(self.strerror)


class NoAdapter(AdapterError):
    """There is no Xen here, or this guest has no such device, or its backend does not answer."""


class AdapterGone(AdapterError, ConnectionError):
    """The driver domain's service went away. The adapter connects again by itself: ``await adapter.wait_ready()``."""


class NoController(AdapterError):
    """The driver domain has no working Bluetooth controller now."""


class L2capRefused(AdapterError, ConnectionRefusedError):
    """The peer refused the channel. ``result`` is its L2CAP result, ``name`` the specification's words for it."""

    def __init__(self, number: int, text: str, result: int = 0, name: str = "") -> None:
        super().__init__(number, text)
        self.result = result
        self.name = name


class ConnectTimeout(AdapterError, TimeoutError):
    """The peer did not answer, or the link failed. ``status`` is the HCI status, 0 where there is none."""

    def __init__(self, number: int, text: str, status: int = 0) -> None:
        super().__init__(number, text)
        self.status = status


class PermissionDenied(AdapterError, PermissionError):
    """The driver domain's policy does not let this guest do that."""


class NotSecure(AdapterError):
    """The link to a peer is less secure than it has to be, and could not be made so.

    ``level``: what is needed, "encrypted", "authenticated" or "secure"; "none" if the driver domain does not say.
    ``why``: the name of what was missing, such as "no_agent"; the text has it in words.
    """

    def __init__(self, number: int, text: str, level: str = "none", why: str = "unknown") -> None:
        super().__init__(number, text)
        self.level = level
        self.why = why


class LimitReached(AdapterError):
    """This guest has as many channels, listeners or scans as the driver domain lets it have, or connects too often."""


class ChannelClosed(AdapterError, ConnectionError):
    """The channel has ended; everything received before was read. ``reason`` says how it ended."""

    @property
    def reason(self) -> str:
        return str(self.strerror)


class ChannelLost(ChannelClosed, AdapterGone):
    """The channel has ended because the adapter is gone."""


def refused(
    number: int, what: str, result: int, status: int, *, le: bool, why: int = 0, needed: int = 0
) -> AdapterError:
    """Returns the exception for a request that the backend answered with the error ``number``.

    ``what`` was asked for: ``"connect to C0:FF:EE:00:00:01, PSM 0x1001"``; the others as in l2capif.h.
    """
    match number:
        case errno.EPERM:
            level, (name, words) = level_name(needed), missing(why)
            wanted = f"be {level}" if needed > LEVEL_NONE else "be more secure"
            return NotSecure(number, f"{what}: the link has to {wanted}: {words}", level, name)
        case errno.ECONNREFUSED:
            name = result_name(LE if le else BREDR, result)
            return L2capRefused(number, f"{what}: the peer refused: {name}", result, name)
        case errno.ETIMEDOUT:
            detail = f", HCI status {describe_error(status)}" if status else ""
            return ConnectTimeout(number, f"{what}: no answer{detail}", status)
        case errno.EACCES:
            return PermissionDenied(number, f"{what}: the driver domain does not allow it")
        case errno.EAGAIN:
            return LimitReached(number, f"{what}: this guest has connected too often in the last minute")
        case errno.EMFILE:
            return LimitReached(number, f"{what}: the driver domain's limit for this guest is reached")
        case errno.EADDRINUSE:
            return AdapterError(number, f"{what}: in use already, by this guest or another")
        case errno.ENODEV:
            return NoController(number, f"{what}: the driver domain has no Bluetooth controller now")
        case errno.EOPNOTSUPP:
            return AdapterError(number, f"{what}: the adapter cannot do that")
        case errno.ENOTCONN:
            return AdapterError(number, f"{what}: ended before it was answered")
        case _:
            return AdapterError(number, f"{what}: {errno.errorcode.get(number, number)}")


def closed(number: int) -> ChannelClosed:
    """Returns the exception for a channel that the backend has ended with the error ``number`` in its data ring."""
    return ChannelClosed(number, _CLOSE_REASONS.get(number, errno.errorcode.get(number, f"error {number}")))
