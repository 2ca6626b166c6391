"""What the core tells its user: the requests of a client, its SDUs, and the begin and end of sessions."""

from typing import NamedTuple, TypeAlias

from usbbtd.serial.objects import SerialObject


class SessionBegan(NamedTuple):
    """A client has opened a session."""

    session: int


class SessionEnded(NamedTuple):
    """The session is over, with all its objects. ``reason``: for people."""

    session: int
    reason: str


class InfoAsked(NamedTuple):
    """Wants to know what the adapter is: ``SerialBridge.answer_info``."""


class ConnectAsked(NamedTuple):
    """Wants a channel to a peer, within ``timeout_ms`` (0: the default): ``open_channel`` or ``fail``."""

    object: SerialObject
    address: bytes
    address_type: int
    security: int
    psm: int
    mtu: int
    timeout_ms: int
    fixed: bool


class ListenAsked(NamedTuple):
    """Wants to listen: ``succeed`` or ``fail``."""

    object: SerialObject
    psm: int
    mtu: int
    backlog: int
    transport: int
    security: int


class AcceptAsked(NamedTuple):
    """Wants the next peer of a listener: ``open_channel`` or ``fail``."""

    object: SerialObject
    listener: SerialObject


class ScanAsked(NamedTuple):
    """Wants reports, as SDUs of ``object.mtu`` octets at most: ``succeed`` or ``fail``."""

    object: SerialObject
    transport: int
    active: bool
    duplicates: bool


class AdvertiseAsked(NamedTuple):
    """Wants to advertise: ``succeed`` or ``fail``. ``interval_ms``: 0 for the default."""

    object: SerialObject
    interval_ms: int
    data: bytes
    scan_data: bytes
    connectable: bool


class EchoAsked(NamedTuple):
    """Wants the L2CAP echo of a peer: ``answer_echo`` or ``fail``."""

    object: SerialObject
    address: bytes
    address_type: int
    data: bytes
    timeout_ms: int


class ReleaseAsked(NamedTuple):
    """Wants an object to end, after what it has sent: ``forget``."""

    object: SerialObject


class SduReceived(NamedTuple):
    """An SDU of the client's: ``give_credit`` when it is on its way."""

    object: SerialObject
    sdu: bytes


class CreditReceived(NamedTuple):
    """The client takes more SDUs of this object."""

    object: SerialObject


class ObjectBroken(NamedTuple):
    """The client has broken the rules of this object, which is ended for it."""

    object: SerialObject


ObjectEvent: TypeAlias = (
    ConnectAsked | ListenAsked | AcceptAsked | ScanAsked | AdvertiseAsked | EchoAsked | ReleaseAsked
)
BridgeEvent: TypeAlias = (
    ObjectEvent | SessionBegan | SessionEnded | InfoAsked | SduReceived | CreditReceived | ObjectBroken
)
