"""The calls of a vl2cap backend to the adapter. Each is answered with ``Backend.complete*`` or ``Backend.fail``."""

from collections.abc import Callable
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

from usbbtd.abi.layout import constants
from usbbtd.l2capif.checks import DEFAULT_INTERVAL_MS, oob_size
from usbbtd.l2capif.requests import (
    ADVERTISE,
    AGENT,
    CONNECT,
    ECHO,
    LISTEN,
    PAIR,
    SCAN,
    pair_timeout_s,
    timeout_s,
)
from usbbtd.l2capif.wire import (
    AdvertiseExtendedRequest,
    AdvertiseRequest,
    AgentRequest,
    ConnectRequest,
    EchoRequest,
    ListenRequest,
    PairRequest,
    ScanRequest,
)


class Kind(StrEnum):
    """The kinds of objects that an id can name."""

    CHANNEL = "channel"
    LISTENER = "listener"
    SCAN = "scan"
    ADVERTISEMENT = "advertisement"
    ECHO = "echo"
    AGENT = "agent"
    PAIRING = "pairing"

    @property
    def plural(self) -> str:
        return f"{self}es" if self is Kind.ECHO else f"{self}s"


class InfoCall(NamedTuple):
    """Asks for the adapter's facts: ``complete_info``."""

    req_id: int


class ConnectCall(NamedTuple):
    """Opens a channel to a peer, within ``timeout_s``: ``complete_channel``.

    ``ref``: the grant reference of the page with the indices of its data ring. ``evtchn``: the ring's event channel.
    ``security``: the least level of the link. ``fixed``: the ``psm`` is the CID of a fixed channel.
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
    fixed: bool = False


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
    """Ends an object in any state: gives up the request that makes it, unmaps and unbinds its ring: ``complete``."""

    req_id: int
    id: int
    kind: Kind


class ScanCall(NamedTuple):
    """Writes reports into a data ring: ``complete`` when the ring is mapped.

    Their form is that of ``messages.pack_report``, or if ``extended`` that of ``pack_extended_report``.
    """

    req_id: int
    id: int
    transport: int
    active: bool
    duplicates: bool
    ref: int
    evtchn: int
    extended: bool = False


class AdvertiseCall(NamedTuple):
    """Advertises ``data`` on LE: ``complete`` when it has begun."""

    req_id: int
    id: int
    data: bytes
    interval_ms: int
    connectable: bool


class AdvertiseExtendedCall(NamedTuple):
    """Advertises on LE what is in the page that ``ref`` names: the data first, then the scan response: ``complete``."""

    req_id: int
    id: int
    ref: int
    data_length: int
    scan_data_length: int
    interval_ms: int
    connectable: bool


class AgentCall(NamedTuple):
    """Asks the frontend what pairing asks, in a data ring (``messages``): ``complete`` when the ring is mapped."""

    req_id: int
    id: int
    io_capability: int
    ref: int
    evtchn: int


class PairCall(NamedTuple):
    """Pairs with a peer, within ``timeout_s``: ``complete_pairing``.

    ``security``: the least level to reach, 2 or more. ``oob``: what came from the peer on another way, b"" if nothing:
    16 octets of LE legacy pairing's temporary key, or 32 of Secure Connections' confirm and random values.
    """

    req_id: int
    id: int
    address: bytes
    address_type: int
    security: int
    timeout_s: float
    oob: bytes = b""

    def __repr__(self) -> str:
        return f"PairCall{(*self[:-1], '...')}"  # without the keys


class EchoCall(NamedTuple):
    """Asks a BR/EDR peer for its L2CAP echo, within ``timeout_s``: ``complete_echo``."""

    req_id: int
    id: int
    address: bytes
    data: bytes
    timeout_s: float


Call: TypeAlias = (
    InfoCall
    | ConnectCall
    | ListenCall
    | AcceptCall
    | RefuseCall
    | ReleaseCall
    | ScanCall
    | AdvertiseCall
    | AdvertiseExtendedCall
    | AgentCall
    | EchoCall
    | PairCall
)


def _connect(request: ConnectRequest) -> ConnectCall:
    req_id, _, number, flags, ref, evtchn, address, address_type, security, psm, mtu, timeout_ms = request
    peer = address, address_type, psm
    fixed = bool(flags & constants.L2CAPIF_CONNECT_FIXED)
    return ConnectCall(req_id, number, *peer, mtu, security, ref, evtchn, timeout_s(timeout_ms), fixed)


def _listen(request: ListenRequest) -> ListenCall:
    req_id, _, number, _, psm, mtu, _, transport, security = request
    return ListenCall(req_id, number, transport, psm, mtu, security)


def _scan(request: ScanRequest) -> ScanCall:
    req_id, _, number, flags, ref, evtchn, transport = request
    active = bool(flags & constants.L2CAPIF_SCAN_ACTIVE)
    duplicates = bool(flags & constants.L2CAPIF_SCAN_DUPLICATES)
    extended = bool(flags & constants.L2CAPIF_SCAN_EXTENDED)
    return ScanCall(req_id, number, transport, active, duplicates, ref, evtchn, extended)


def _advertise(request: AdvertiseRequest | AdvertiseExtendedRequest) -> AdvertiseCall | AdvertiseExtendedCall:
    connectable = bool(request.flags & constants.L2CAPIF_ADVERTISE_CONNECTABLE)
    how = request.interval_ms or DEFAULT_INTERVAL_MS, connectable
    if isinstance(request, AdvertiseExtendedRequest):
        lengths = request.data_length, request.scan_data_length
        return AdvertiseExtendedCall(request.req_id, request.id, request.ref, *lengths, *how)
    return AdvertiseCall(request.req_id, request.id, request.data[: request.data_length], *how)


def _agent(request: AgentRequest) -> AgentCall:
    req_id, _, number, _, ref, evtchn, io_capability = request
    return AgentCall(req_id, number, io_capability, ref, evtchn)


def _pair(request: PairRequest) -> PairCall:
    req_id, _, number, flags, address, address_type, security, timeout_ms, oob = request
    level = max(security, int(constants.L2CAPIF_SECURITY_ENCRYPTED))
    return PairCall(req_id, number, address, address_type, level, pair_timeout_s(timeout_ms), oob[: oob_size(flags)])


def _echo(request: EchoRequest) -> EchoCall:
    req_id, _, number, _, address, _, length, timeout_ms, data = request
    return EchoCall(req_id, number, address, data[:length], timeout_s(timeout_ms))


#: The kind of object that a command makes, and what makes its call of a request; for commands with a call at once.
MAKERS: dict[int, tuple[Kind, Callable[[Any], Call]]] = {
    CONNECT: (Kind.CHANNEL, _connect),
    LISTEN: (Kind.LISTENER, _listen),
    SCAN: (Kind.SCAN, _scan),
    ADVERTISE: (Kind.ADVERTISEMENT, _advertise),
    AGENT: (Kind.AGENT, _agent),
    ECHO: (Kind.ECHO, _echo),
    PAIR: (Kind.PAIRING, _pair),
}
