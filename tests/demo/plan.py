"""Who is who in the demo: domains, addresses, PSMs, streams."""

from typing import Literal, NamedTuple

Transport = Literal["bredr", "le"]
TRANSPORTS: tuple[Transport, ...] = ("bredr", "le")

DOM0, DRIVER_DOMAIN = 0, 1
GUESTS = (2, 3, 4)
KILLED = 4  # one of the guests, in the middle of its traffic

DONGLE_ADDRESS = "C0:FF:EE:00:00:01"
ADAPTER_LE_ADDRESS = "C0:B7:B7:00:00:01"


class PlannedPeer(NamedTuple):
    """A remote device: its BD_ADDR, and the random static address that it has on LE."""

    name: str
    address: str
    le_address: str

    def address_on(self, transport: Transport) -> str:
        return self.address if transport == "bredr" else self.le_address


#: Takes channels and echoes.
ECHO = PlannedPeer("echo", "C0:FF:EE:00:00:11", "F0:F1:F2:00:00:11")
#: Connects to the guests' listeners.
CALLER = PlannedPeer("caller", "C0:FF:EE:00:00:12", "F0:F1:F2:00:00:12")
#: Takes a channel over BR/EDR from whom it has paired with by comparing numbers, and echoes.
LOCK = PlannedPeer("lock", "C0:FF:EE:00:00:13", "F0:F1:F2:00:00:13")
#: Serves GATT over LE.
SENSOR = PlannedPeer("sensor", "C0:FF:EE:00:00:14", "F0:F1:F2:00:00:14")
PEERS = (ECHO, CALLER, LOCK, SENSOR)

#: On the echoing peer.
ECHO_PSM = {"bredr": 0x1001, "le": 0x0080}
#: No rule of the demo's policy names it.
FORBIDDEN_PSM = 0x1003
LOCK_PSM = 0x1011

#: Of the sensor, which has to be read over an encrypted link: the service, the temperature in hundredths of a degree
#: (a 16-bit integer), and after how many milliseconds it measures again (16 bits, without a sign).
SENSOR_SERVICE = "181A"
TEMPERATURE = "2A6E"
SENSOR_INTERVAL = "7B1D0001-4C6F-4E0A-9A35-0C1F5B8E2D10"


def listener_psm(guest: int, transport: Transport) -> int:
    """Of a guest's listener: the adapter has one space of PSMs for all guests."""
    return 0x1001 + 2 * guest if transport == "bredr" else 0x0090 + guest


def stream_of(guest: int, transport: Transport, kind: Literal["ping", "out", "in", "lock"]) -> int:
    """The number of a stream of a guest; ``in``: begun by the remote side; ``lock``: to the lock."""
    return guest * 10 + ("ping", "out", "in", "lock").index(kind) * 2 + TRANSPORTS.index(transport)


def is_ping(stream: int) -> bool:
    return stream % 10 < 2


def transport_of(stream: int) -> Transport:
    return TRANSPORTS[stream % 2]


def guest_of(stream: int) -> int:
    return stream // 10
