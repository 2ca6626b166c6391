"""What a vl2cap backend asks of the adapter; each is answered with ``Backend.complete*`` or ``Backend.fail``."""

from enum import StrEnum
from typing import NamedTuple, TypeAlias


class Kind(StrEnum):
    """What an id names."""

    CHANNEL = "channel"
    LISTENER = "listener"
    SCAN = "scan"
    ADVERTISEMENT = "advertisement"
    ECHO = "echo"

    @property
    def plural(self) -> str:
        return f"{self}es" if self is Kind.ECHO else f"{self}s"


class InfoCall(NamedTuple):
    """What the adapter is: ``complete_info``."""

    req_id: int


class ConnectCall(NamedTuple):
    """Open a channel to a peer, within ``timeout_s``: ``complete_channel``. ``ref`` is the page with its indices."""

    req_id: int
    id: int
    address: bytes
    address_type: int
    psm: int
    mtu: int
    security: int
    ref: int
    evtchn: int
    timeout_s: float


class ListenCall(NamedTuple):
    """Take a PSM: ``complete``; then ``Backend.offer`` for each peer that comes."""

    req_id: int
    id: int
    transport: int
    psm: int
    mtu: int
    security: int


class AcceptCall(NamedTuple):
    """Give the peer of an offer its channel: ``complete_channel``, or ``Backend.withdraw`` if the peer has gone."""

    req_id: int
    id: int
    offer: int
    mtu: int
    ref: int
    evtchn: int


class RefuseCall(NamedTuple):
    """Send the peer of an offer away; not answered."""

    offer: int


class ReleaseCall(NamedTuple):
    """End an object, wherever it is: give up its CONNECT, ACCEPT or ECHO, unmap, unbind, then ``complete``."""

    req_id: int
    id: int
    kind: Kind


class ScanCall(NamedTuple):
    """Stream advertising reports (``wire.pack_report``) into a data ring: ``complete`` when it is mapped."""

    req_id: int
    id: int
    transport: int
    active: bool
    duplicates: bool
    ref: int
    evtchn: int


class AdvertiseCall(NamedTuple):
    """AdvertiseCall ``data``: ``complete``."""

    req_id: int
    id: int
    data: bytes
    interval_ms: int
    connectable: bool


class EchoCall(NamedTuple):
    """Ask a BR/EDR peer for its L2CAP echo, within ``timeout_s``: ``complete_echo``."""

    req_id: int
    id: int
    address: bytes
    data: bytes
    timeout_s: float


Call: TypeAlias = (
    InfoCall | ConnectCall | ListenCall | AcceptCall | RefuseCall | ReleaseCall | ScanCall | AdvertiseCall | EchoCall
)
