"""The exceptions with which requests to an adapter fail."""

from enum import IntEnum

from usbbtd.bluetooth import describe_result


class RadioError(Exception):
    """A request to the adapter has failed."""


class NoDongle(RadioError):
    """There is no dongle whose controller is up, or it went away meanwhile."""


class Refused(RadioError):
    """The peer refused the channel. ``result``: its L2CAP result (Vol 3, Part A, 4.3 for BR/EDR, 4.23 for LE)."""

    def __init__(self, transport: int, result: int) -> None:
        super().__init__(f"the peer refused the channel: L2CAP result {describe_result(transport, result)}")
        self.result = result


class EchoRejected(RadioError):
    """The peer rejected an echo request, although every device has to answer one. Such a reject has no ``result``."""

    result = 0


class Unreachable(RadioError):
    """There is no link to the peer, or it was lost. ``status``: the HCI status; 0 if the controller gave none."""

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status


class InUse(RadioError):
    """Another user has the PSM, or the fixed channel."""


class NotSupported(RadioError):
    """The controller does not have the transport, or the function."""


class Exhausted(RadioError):
    """A limit is reached: of channels, of advertisements, or of requests that are under way."""


class Obstacle(IntEnum):
    """The reasons why a link does not reach a level of security. l2capif.h has the same numbers."""

    UNKNOWN = 0
    NO_AGENT = 1  # there is no key, and no agent may pair
    KEY_MISSING = 2  # the peer has no key, or another one
    REFUSED_HERE = 3
    REFUSED_BY_PEER = 4
    NO_MATCH = 5  # a passkey, a PIN or a check is wrong
    NO_ANSWER = 6
    NO_MITM = 7  # what both sides can show and type does not authenticate
    NO_SECURE_CONNECTIONS = 8
    KEY_SIZE = 9
    WEAKER = 10  # than the bond
    LOCKED_OUT = 11
    LINK_ENDED = 12
    NOT_SUPPORTED = 13


class Insecure(RadioError):
    """A link does not reach a level of security. ``level``: what it has; ``needed``: what it should.

    The text names the peer, the level, and what was missing.
    """

    def __init__(self, text: str, why: Obstacle, *, level: int, needed: int) -> None:
        super().__init__(text)
        self.why = why
        self.level = level
        self.needed = needed
