"""The facts about guests and their objects that usbbtctl shows.

Addresses are text, as in C0:FF:EE:00:00:11. None stands for what is not known, or not known yet.
"""

from typing import NamedTuple


class Traffic(NamedTuple):
    """The numbers of SDUs that were carried each way, and of the bytes in them."""

    sdus_to_guest: int = 0
    bytes_to_guest: int = 0
    sdus_from_guest: int = 0
    bytes_from_guest: int = 0

    def plus(self, other: "Traffic") -> "Traffic":
        return Traffic(*map(sum, zip(self, other, strict=True)))


class ChannelInfo(NamedTuple):
    """A channel of a guest.

    ``object``: the guest's id for it. ``state``: one of l2capif/objects.py. ``queued``: bytes that wait to be sent to
    the peer. ``unread``: SDUs for which the peer has no new credit yet.
    """

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
    """A scan of a guest. ``dropped``: the number of reports that it did not get."""

    active: bool
    duplicates: bool
    dropped: int


class ConnectionInfo(NamedTuple):
    """Describes what a connected guest has.

    ``agent``: whether it has one that answers about pairing. ``counters``: how many calls it has made, and what became
    of them.
    """

    channels: list[ChannelInfo]
    listeners: list[ListenerInfo]
    scans: list[ScanInfo]
    advertising: bool
    agent: bool
    traffic: Traffic
    counters: dict[str, int]


class GuestInfo(NamedTuple):
    """A guest's vl2cap device.

    ``state``: the name of our XenbusState. ``reason``: why we closed the last connection, "" if we did not.
    ``connection``: None if the guest is not connected.
    """

    domid: int
    devid: int
    name: str | None
    state: str
    reason: str
    connection: ConnectionInfo | None
