"""The calls of a vl2cap backend to the adapter. Each is answered with ``Backend.complete*`` or ``Backend.fail``."""

from enum import StrEnum
from typing import NamedTuple, TypeAlias


class Kind(StrEnum):
    """The kinds of objects that an id can name."""

    CHANNEL = "channel"
    LISTENER = "listener"
    SCAN = "scan"
    ADVERTISEMENT = "advertisement"
    ECHO = "echo"

    @property
    def plural(self) -> str:
        return f"{self}es" if self is Kind.ECHO else f"{self}s"


class InfoCall(NamedTuple):
    """Asks for the adapter's facts: ``complete_info``."""

    req_id: int


class ConnectCall(NamedTuple):
    """Opens a channel to a peer, within ``timeout_s``: ``complete_channel``.

    ``ref``: the grant reference of the page with the indices of its data ring. ``evtchn``: the ring's event channel.
    """

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
    """Listens on a PSM: ``complete``, and then ``Backend.offer`` for each peer that comes."""

    req_id: int
    id: int
    transport: int
    psm: int
    mtu: int
    security: int


class AcceptCall(NamedTuple):
    """Opens the channel of an offer's peer: ``complete_channel``, or ``Backend.withdraw`` if the peer has gone."""

    req_id: int
    id: int
    offer: int
    mtu: int
    ref: int
    evtchn: int


class RefuseCall(NamedTuple):
    """Refuses the peer of an offer. It is not answered."""

    offer: int


class ReleaseCall(NamedTuple):
    """Ends an object in any state: gives up its CONNECT, ACCEPT or ECHO, unmaps and unbinds its ring: ``complete``."""

    req_id: int
    id: int
    kind: Kind


class ScanCall(NamedTuple):
    """Writes advertising reports (``wire.pack_report``) into a data ring: ``complete`` when the ring is mapped."""

    req_id: int
    id: int
    transport: int
    active: bool
    duplicates: bool
    ref: int
    evtchn: int


class AdvertiseCall(NamedTuple):
    """Advertises ``data`` on LE: ``complete`` when it has begun."""

    req_id: int
    id: int
    data: bytes
    interval_ms: int
    connectable: bool


class EchoCall(NamedTuple):
    """Asks a BR/EDR peer for its L2CAP echo, within ``timeout_s``: ``complete_echo``."""

    req_id: int
    id: int
    address: bytes
    data: bytes
    timeout_s: float


Call: TypeAlias = (
    InfoCall | ConnectCall | ListenCall | AcceptCall | RefuseCall | ReleaseCall | ScanCall | AdvertiseCall | EchoCall
)
