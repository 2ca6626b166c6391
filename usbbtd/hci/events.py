"""What a Host tells its user. Addresses: six octets, least significant first; address_type 0 BR/EDR, 1 LE public, 2 LE
random; status and reason are HCI error codes (Vol 1, Part F)."""

from typing import NamedTuple


class Ready(NamedTuple):
    """The controller is up. Comes again after a controller fell silent and a reset helped."""


class Failed(NamedTuple):
    """The controller is of no use; everything in flight has been answered before."""

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
    attempt: int  # what Host.connect() returned


class Disconnected(NamedTuple):
    handle: int
    reason: int


class Advertisement(NamedTuple):
    address: bytes
    address_type: int
    event_type: int  # as in LE Advertising Report (Vol 4, Part E, 7.7.65.2)
    rssi: int  # dBm; 127: not known
    data: bytes


class ScanStopped(NamedTuple):
    """The scan could not be started, or ended with the controller; not sent after stop_scan()."""

    status: int


class AdvertisingStopped(NamedTuple):
    """As ScanStopped, for advertising."""

    status: int


class PageScanRefused(NamedTuple):
    """BR/EDR peers may not be able to connect, although they should."""

    status: int


class CommandGivenUp(NamedTuple):
    """The controller has never answered a command, twice: it is not sent again, and is answered as if refused."""

    command: str
    opcode: int
    cost: str  # what there is not any more


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
