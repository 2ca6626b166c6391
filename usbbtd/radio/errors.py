"""The exceptions with which requests to an adapter fail."""

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
    """Another user has the PSM."""


class NotSupported(RadioError):
    """The controller does not have the transport, or the function."""


class Exhausted(RadioError):
    """A limit is reached: of channels, of advertisements, or of requests that are under way."""
