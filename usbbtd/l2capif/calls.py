"""The calls of a vl2cap backend to the adapter. Each is answered with ``Backend.complete*`` or ``Backend.fail``."""

from collections.abc import Callable
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

from usbbtd.abi.layout import constants
from usbbtd.l2capif.requests import ADVERTISE, CONNECT, DEFAULT_INTERVAL_MS, ECHO, LISTEN, SCAN, timeout_s
from usbbtd.l2capif.wire import AdvertiseRequest, ConnectRequest, EchoRequest, ListenRequest, ScanRequest


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
    offer: Any
    mtu: int
    ref: int
    evtchn: int


class RefuseCall(NamedTuple):
    """Refuses the peer of an offer. It is not answered."""

    offer: Any


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


def _connect(request: ConnectRequest) -> ConnectCall:
    req_id, _, number, _, ref, evtchn, address, address_type, security, psm, mtu, timeout_ms = request
    return ConnectCall(req_id, number, address, address_type, psm, mtu, security, ref, evtchn, timeout_s(timeout_ms))


def _listen(request: ListenRequest) -> ListenCall:
    req_id, _, number, _, psm, mtu, _, transport, security = request
    return ListenCall(req_id, number, transport, psm, mtu, security)


def _scan(request: ScanRequest) -> ScanCall:
    req_id, _, number, flags, ref, evtchn, transport = request
    active = bool(flags & constants.L2CAPIF_SCAN_ACTIVE)
    duplicates = bool(flags & constants.L2CAPIF_SCAN_DUPLICATES)
    return ScanCall(req_id, number, transport, active, duplicates, ref, evtchn)


def _advertise(request: AdvertiseRequest) -> AdvertiseCall:
    req_id, _, number, flags, interval_ms, data_length, data = request
    connectable = bool(flags & constants.L2CAPIF_ADVERTISE_CONNECTABLE)
    return AdvertiseCall(req_id, number, data[:data_length], interval_ms or DEFAULT_INTERVAL_MS, connectable)


def _echo(request: EchoRequest) -> EchoCall:
    req_id, _, number, _, address, _, length, timeout_ms, data = request
    return EchoCall(req_id, number, address, data[:length], timeout_s(timeout_ms))


#: The kind of object that a command makes, and what makes its call of a request; for commands with a call at once.
MAKERS: dict[int, tuple[Kind, Callable[[Any], Call]]] = {
    CONNECT: (Kind.CHANNEL, _connect),
    LISTEN: (Kind.LISTENER, _listen),
    SCAN: (Kind.SCAN, _scan),
    ADVERTISE: (Kind.ADVERTISEMENT, _advertise),
    ECHO: (Kind.ECHO, _echo),
}
