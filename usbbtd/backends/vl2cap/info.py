"""What guests and their objects tell of themselves to whoever looks: the names are those of the field.

Addresses are text as people write them. None is what is not known, or not known yet.
"""

from typing import NamedTuple


class Traffic(NamedTuple):
    """SDUs carried, and their bytes."""

    sdus_to_guest: int = 0
    bytes_to_guest: int = 0
    sdus_from_guest: int = 0
    bytes_from_guest: int = 0

    def plus(self, other: "Traffic") -> "Traffic":
        return Traffic(*map(sum, zip(self, other, strict=True)))


class ChannelInfo(NamedTuple):
    """A channel of a guest. ``object``: the guest's id for it. ``state``: of l2capif/objects.py. ``queued``: bytes that
    wait for the air; ``unread``: SDUs for which the peer has no new credit yet."""

    domid: int
    devid: int
    object: int
    state: str
    address: str
    address_type: str
    psm: int
    handle: int | None
    cid: int | None
    dcid: int | None
    tx_mtu: int | None
    rx_mtu: int | None
    queued: int
    unread: int
    sdus_to_guest: int
    bytes_to_guest: int
    sdus_from_guest: int
    bytes_from_guest: int


class ListenerInfo(NamedTuple):
    """A PSM, or SPSM on LE, that a guest has taken."""

    transport: str
    psm: int


class ScanInfo(NamedTuple):
    """A scan of a guest. ``dropped``: reports that it did not read in time."""

    active: bool
    duplicates: bool
    dropped: int


class ConnectionInfo(NamedTuple):
    """What a connected guest has. ``counters``: of its calls."""

    channels: list[ChannelInfo]
    listeners: list[ListenerInfo]
    scans: list[ScanInfo]
    advertising: bool
    traffic: Traffic
    counters: dict[str, int]


class GuestInfo(NamedTuple):
    """A vl2cap device. ``state``: our XenbusState. ``reason``: why we closed the last connection. ``connection``: None
    where the guest is not connected."""

    domid: int
    devid: int
    name: str | None
    state: str
    reason: str
    connection: ConnectionInfo | None
