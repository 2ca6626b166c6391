"""The events of a Host for its user.

Addresses are six octets, least significant first; address types are 0 BR/EDR, 1 LE public, 2 LE random. A status or a
reason is an HCI error code (Vol 1, Part F).
"""

from typing import NamedTuple


class Ready(NamedTuple):
    """The controller is up. It comes again each time when a reset of the controller has helped."""


class Failed(NamedTuple):
    """The controller is of no use. The ends of all links and attempts come before."""

    reason: str


class Connected(NamedTuple):
    handle: int
    address: bytes
    address_type: int
    role: int  # ours: 0 central, 1 peripheral


class ConnectFailed(NamedTuple):
    address: bytes
    address_type: int
    status: int
    attempt: int  # the number that Host.connect() returned


class Disconnected(NamedTuple):
    handle: int
    reason: int


class Advertisement(NamedTuple):
    address: bytes
    address_type: int
    event_type: int  # as in LE Advertising Report (Vol 4, Part E, 7.7.65.2)
    rssi: int  # dBm; 127 if it is not known
    data: bytes


class ScanStopped(NamedTuple):
    """The scan could not be started, or ended with the controller. It does not come after stop_scan()."""

    status: int


class AdvertisingStopped(NamedTuple):
    """The advertising could not be started, or ended with the controller. It does not come after stop_advertising()."""

    status: int


class PageScanRefused(NamedTuple):
    """BR/EDR peers may not be able to connect, although they should."""

    status: int


class CommandGivenUp(NamedTuple):
    """The controller did not answer a command, twice. It is not sent again, but treated as if it was refused."""

    command: str
    opcode: int
    cost: str  # what is lost: a Cost


class ConnectionUpdated(NamedTuple):
    handle: int
    interval: int  # 1.25 ms
    latency: int  # connection events
    timeout: int  # 10 ms


Event = (
    Ready
    | Failed
    | Connected
    | ConnectFailed
    | Disconnected
    | Advertisement
    | ScanStopped
    | AdvertisingStopped
    | PageScanRefused
    | CommandGivenUp
    | ConnectionUpdated
)
