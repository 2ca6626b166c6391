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
    private_address: bytes | None = None  # that it was made with, if the controller tells of the peer's identity
    own_address: bytes | None = None  # the controller's, if the link has it and it is known; else our random one


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
    """An advertisement could not be started, or ended with the controller. It does not come after stop_advertising."""

    advertisement: int  # the number that start_advertising() was given
    status: int


class AdvertisementAnswered(NamedTuple):
    """A peer has connected because of an advertisement. It comes after Connected, if it is known which one that was."""

    handle: int
    advertisement: int  # the number that start_advertising() was given


class DeviceFound(NamedTuple):
    """A BR/EDR device has answered an inquiry."""

    address: bytes
    class_of_device: int
    rssi: int  # dBm; 127 if it is not known
    data: bytes  # structures as those of advertising data; the name is often among them


class InquiryEnded(NamedTuple):
    """The inquiry could not be made, or ended with the controller. It does not come after stop_inquiry()."""

    status: int


class NameFound(NamedTuple):
    """The name of a BR/EDR device, or why there is none."""

    address: bytes
    status: int
    name: bytes  # UTF-8, if the device keeps to the specification: 248 octets at most


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


class EncryptionChanged(NamedTuple):
    """The encryption of a link is on, or off, or could not be changed.

    A controller that does not pause encryption turns it off, and on again, for a change of role or key on BR/EDR.
    """

    handle: int
    status: int  # if it is not 0, nothing has changed, and what follows says nothing
    enabled: int  # 0 off, 1 E0 on BR/EDR and AES-CCM on LE, 2 AES-CCM on BR/EDR
    key_size: int  # octets; 0: not known, which on BR/EDR is as bad as none, and on LE means that of the key


class KeyRefreshed(NamedTuple):
    """An encrypted link has a new encryption key. If that has another size, EncryptionChanged comes before."""

    handle: int
    status: int


class Authenticated(NamedTuple):
    """The answer to authenticate(). Encryption does not come with it."""

    handle: int
    status: int


class LinkKeyRequested(NamedTuple):
    address: bytes


class LinkKeyNotified(NamedTuple):
    """A link has a new key, which is told once."""

    address: bytes
    key: bytes
    key_type: int

    def __repr__(self) -> str:
        return f"LinkKeyNotified({self.address!r}, ..., {self.key_type})"


class IoCapabilityRequested(NamedTuple):
    """A pairing begins: the controller asks what our side can show and ask."""

    address: bytes


class IoCapabilityAnswered(NamedTuple):
    """What the peer can show and ask. In a pairing that it began, it comes before IoCapabilityRequested."""

    address: bytes
    io_capability: int
    oob_data_present: int
    authentication_requirements: int


class ConfirmationRequested(NamedTuple):
    address: bytes
    value: int


class PasskeyRequested(NamedTuple):
    address: bytes


class PasskeyShown(NamedTuple):
    """The passkey that the peer's user has to type."""

    address: bytes
    passkey: int

    def __repr__(self) -> str:
        return f"PasskeyShown({self.address!r}, ...)"


class PinRequested(NamedTuple):
    address: bytes


class OobRequested(NamedTuple):
    address: bytes


class PairingCompleted(NamedTuple):
    """Secure Simple Pairing has ended. A good one is followed by LinkKeyNotified."""

    address: bytes
    status: int


class LongTermKeyRequested(NamedTuple):
    """The central encrypts an LE link: ``random`` and ``diversifier`` say by which key."""

    handle: int
    random: int
    diversifier: int


Event = (
    Ready
    | Failed
    | Connected
    | ConnectFailed
    | Disconnected
    | Advertisement
    | ScanStopped
    | AdvertisingStopped
    | AdvertisementAnswered
    | DeviceFound
    | InquiryEnded
    | NameFound
    | PageScanRefused
    | CommandGivenUp
    | ConnectionUpdated
    | EncryptionChanged
    | KeyRefreshed
    | Authenticated
    | LinkKeyRequested
    | LinkKeyNotified
    | IoCapabilityRequested
    | IoCapabilityAnswered
    | ConfirmationRequested
    | PasskeyRequested
    | PasskeyShown
    | PinRequested
    | OobRequested
    | PairingCompleted
    | LongTermKeyRequested
)
