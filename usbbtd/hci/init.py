"""Sets up a controller: asks what it can do, then tells it what we need (Vol 6, Part D, 2.1; Vol 2, Part F, 2).

The script is a generator: it yields commands and is sent (status, return parameters). If a controller refuses a command
the script goes on without it, if that is possible.
"""

from collections.abc import Generator
from typing import NamedTuple, TypeVar

from usbbtd.errors import LocalProtocolError, RemoteProtocolError
from usbbtd.hci.acl import MIN_ACL_LENGTH
from usbbtd.hci.limits import MAX_ADVERTISEMENT, MAX_ADVERTISING_SETS
from usbbtd.hci.losses import LOSSES, Cost
from usbbtd.hci.wire import commands
from usbbtd.hci.wire.commands import HciCommand, Returned
from usbbtd.hci.wire.events import EVENT_CODES, CommandComplete, CommandStatus, EncryptionChangeV2, LeEvent

__all__ = ["LEGACY_DATA", "OWN_ADDRESS_TYPE", "PUBLIC_ADDRESS_TYPE", "ControllerFacts", "Script", "init_script"]

#: Our address on LE is a random static one, which tells peers nothing about the dongle.
OWN_ADDRESS_TYPE = 1

#: That of the dongle is for peers that know no other: their bonds were made by another host, with this dongle.
PUBLIC_ADDRESS_TYPE = 0

#: The most octets of data in an advertisement, or in a scan response, by the legacy commands.
LEGACY_DATA = 31

R = TypeVar("R")
A = TypeVar("A", bound=Returned)
Script = Generator[HciCommand, tuple[int, bytes], R]
#: The reason, by what is lost.
Lost = dict[Cost, str]

# LMP features (Vol 2, Part C, 3.3)
_BREDR_NOT_SUPPORTED = 1 << 37
_LE_SUPPORTED = 1 << 38
_RSSI_WITH_INQUIRY = 1 << 30
_EXTENDED_INQUIRY = 1 << 48
_SIMPLE_PAIRING = 1 << 51
_NON_FLUSHABLE = 1 << 54
# LE features (Vol 6, Part B, 4.6)
_LE_PARAMETERS_REQUEST = 1 << 1
_LE_DATA_LENGTH = 1 << 5
_LE_2M_PHY = 1 << 8
_LE_EXTENDED_ADVERTISING = 1 << 12
# Supported commands, octet and bit (Vol 4, Part E, 6.27): set advertising enable, set scan enable, create connection
_LEGACY_LE = (1 << 26 * 8 + 1) | (1 << 26 * 8 + 3) | (1 << 26 * 8 + 4)
_EXTENDED_LE = (1 << 36 * 8 + 5) | (1 << 37 * 8 + 6) | (1 << 37 * 8 + 7)
_WRITE_SECURE_CONNECTIONS = 1 << 32 * 8 + 3
_SET_MIN_KEY_SIZE = 1 << 45 * 8 + 7
# Add and clear the resolving list, set address resolution enable, set privacy mode
_RESOLVING = (1 << 34 * 8 + 3) | (1 << 34 * 8 + 5) | (1 << 35 * 8 + 1) | (1 << 39 * 8 + 2)
# LE states (7.8.27): initiating together with passive and with active scanning
_SCAN_WHILE_INITIATING = (1 << 22) | (1 << 23)

_NOT_IN_MASK = (CommandComplete.CODE, CommandStatus.CODE, EncryptionChangeV2.CODE)
_LE_PARAMETER_REQUEST_EVENT = 0x06
_LE_ENHANCED_CONNECTION_EVENT = 0x0A
_LE_EXTENDED_EVENTS = 0x0D
_ROLE_SWITCH_AND_SNIFF = 0x0005
#: Octets: a shorter key can be found by trying (KNOB, CVE-2019-9506). Vol 2, Part C, 4.2.5.2 asks for this, too.
_MIN_KEY_SIZE = 7


class ControllerFacts(NamedTuple):
    """The facts of a controller. Buffers are (octets, count)."""

    address: bytes  # BD_ADDR; zeros if it has none
    hci_version: int | None
    company_identifier: int | None
    lmp_subversion: int | None
    supports_bredr: bool
    supports_le: bool
    bredr_buffers: tuple[int, int] | None
    le_buffers: tuple[int, int] | None  # None if LE shares those of BR/EDR
    non_flushable: bool  # whether it knows the packet boundary flag 0b00 on BR/EDR
    extended: bool  # whether LE uses the extended commands; the two sets must not be mixed (Vol 4, Part E, 3.1.1)
    scan_while_initiating: bool
    resolves: bool  # whether it can know peers by their private addresses
    advertising_sets: int  # how many it has; 1 with the legacy commands
    advertising_data: int  # the most octets of an advertisement, and of a scan response
    lost: Lost  # the transports that it has, but for which it refuses a command that they need


def init_script(random_address: bytes) -> Script[ControllerFacts]:
    """Yields the commands that set up a controller, and returns its facts.

    Raises RemoteProtocolError if the controller cannot do what we need at least, or contradicts itself.
    """
    yield from _need(commands.Reset())
    version = yield from _ask(commands.ReadLocalVersionInformation(), commands.LocalVersionInformation)
    listed = yield from _ask(commands.ReadLocalSupportedCommands(), commands.LocalSupportedCommands)
    returned = yield from _need(commands.ReadLocalSupportedFeatures())
    features = commands.LocalSupportedFeatures.parse(returned).features
    supports_bredr = not features & _BREDR_NOT_SUPPORTED
    supports_le = bool(features & _LE_SUPPORTED)
    if not supports_bredr and not supports_le:
        raise RemoteProtocolError("the controller supports neither BR/EDR nor LE")
    lost: Lost = {}
    supported = int.from_bytes(listed.commands, "little") if listed else _LEGACY_LE
    address = yield from _ask(commands.ReadBdAddr(), commands.BdAddr)
    yield from _set(commands.SetEventMask(_event_mask()), lost)
    size = yield from _ask(commands.ReadBufferSize(), commands.BufferSize, lost)
    bredr_buffers = None
    # An LE controller may have all of its buffers in the other pool, whatever it says of this one.
    if size and size.acl_length and (supports_bredr or size.acl_count):
        bredr_buffers = _checked(size.acl_length, size.acl_count)
    if supports_bredr:
        if mode := _inquiry_mode(features):
            yield commands.WriteInquiryMode(mode)
        if features & _SIMPLE_PAIRING:
            yield commands.WriteSimplePairingMode(1)
            if supported & _WRITE_SECURE_CONNECTIONS:
                yield commands.WriteSecureConnectionsHostSupport(1)
        if supported & _SET_MIN_KEY_SIZE:
            yield commands.SetMinEncryptionKeySize(_MIN_KEY_SIZE)
        yield commands.WriteDefaultLinkPolicySettings(_ROLE_SWITCH_AND_SNIFF)
        if supports_le:
            yield commands.WriteLeHostSupport(1, 0)
    resolves = supported & _RESOLVING == _RESOLVING
    le = _LeFacts(None, False, 0, 1, LEGACY_DATA)
    if supports_le:
        le = yield from _init_le(random_address, supported, resolves, lost)
    had = {Cost.BREDR: supports_bredr, Cost.LE: supports_le}
    lost = {cost: why for cost, why in lost.items() if had[cost]}
    supports_bredr, supports_le = supports_bredr and Cost.BREDR not in lost, supports_le and Cost.LE not in lost
    if not supports_bredr and not supports_le:
        raise RemoteProtocolError("; ".join(lost.values()))
    if bredr_buffers is None and (supports_bredr or le.buffers is None):
        raise RemoteProtocolError("the controller has no buffers for ACL data")
    return ControllerFacts(
        address=address.address if address else bytes(6),
        hci_version=version.hci_version if version else None,
        company_identifier=version.company_identifier if version else None,
        lmp_subversion=version.lmp_subversion if version else None,
        supports_bredr=supports_bredr,
        supports_le=supports_le,
        bredr_buffers=bredr_buffers,
        le_buffers=le.buffers,
        non_flushable=bool(features & _NON_FLUSHABLE),
        extended=le.extended,
        scan_while_initiating=le.states & _SCAN_WHILE_INITIATING == _SCAN_WHILE_INITIATING,
        resolves=supports_le and resolves,
        advertising_sets=le.advertising_sets,
        advertising_data=le.advertising_data,
        lost=lost,
    )


class _LeFacts(NamedTuple):
    """What of a controller's facts is learnt while LE is set up."""

    buffers: tuple[int, int] | None
    extended: bool
    states: int
    advertising_sets: int
    advertising_data: int


def _init_le(random_address: bytes, supported: int, resolves: bool, lost: Lost) -> Script[_LeFacts]:
    """Sets up LE. ``supported``: the bits of the commands that the controller knows."""
    answer = yield from _ask(commands.LeReadLocalSupportedFeatures(), commands.LeLocalSupportedFeatures)
    features = answer.features if answer else 0
    extended = supported & _EXTENDED_LE == _EXTENDED_LE and (
        bool(features & _LE_EXTENDED_ADVERTISING) or supported & _LEGACY_LE != _LEGACY_LE
    )
    mask = _le_event_mask(features, extended, resolves)
    yield from _set(commands.LeSetEventMask(mask), lost if extended else {})
    size = yield from _ask(commands.LeReadBufferSize(), commands.LeBufferSize, lost)
    buffers = _checked(size.acl_length, size.acl_count) if size and size.acl_length and size.acl_count else None
    yield from _set(commands.LeSetRandomAddress(random_address), lost)
    states = yield from _ask(commands.LeReadSupportedStates(), commands.LeSupportedStates)
    if features & _LE_DATA_LENGTH:
        longest = yield from _ask(commands.LeReadMaximumDataLength(), commands.LeMaximumDataLength)
        if longest:
            yield commands.LeWriteSuggestedDefaultDataLength(longest.tx_octets, longest.tx_time)
    if features & _LE_2M_PHY:
        yield commands.LeSetDefaultPhy(0, 0b011, 0b011)
    sets, data = (yield from _ask_advertising()) if extended else (1, LEGACY_DATA)
    return _LeFacts(buffers, extended, states.states if states else 0, sets, data)


def _ask_advertising() -> Script[tuple[int, int]]:
    """Asks how many advertising sets there are, and how much data one takes; returns both as far as we use them."""
    number = yield from _ask(
        commands.LeReadNumberOfSupportedAdvertisingSets(), commands.LeNumberOfSupportedAdvertisingSets
    )
    most = yield from _ask(commands.LeReadMaximumAdvertisingDataLength(), commands.LeMaximumAdvertisingDataLength)
    sets = min(max(number.sets, 1), MAX_ADVERTISING_SETS) if number else 1
    return sets, min(max(most.length, LEGACY_DATA), MAX_ADVERTISEMENT) if most else LEGACY_DATA


def _inquiry_mode(features: int) -> int:
    """Returns the mode (7.3.50) that tells most: 2 extended responses, 1 with RSSI, 0 the results of a reset."""
    if features & _EXTENDED_INQUIRY:
        return 2
    return 1 if features & _RSSI_WITH_INQUIRY else 0


def _checked(untrusted_length: int, untrusted_count: int) -> tuple[int, int]:
    if untrusted_length < MIN_ACL_LENGTH or untrusted_count < 1:
        raise RemoteProtocolError(
            f"the controller claims {untrusted_count} ACL buffers of {untrusted_length} octets: too few or too small"
        )
    return untrusted_length, untrusted_count


def _event_mask() -> int:
    """Returns the mask of the events that we act on (7.3.1): the bit of event code n is n - 1.

    Answers to commands come without a bit; Encryption Change in its second form has one in another mask.
    """
    return sum(1 << code - 1 for code in EVENT_CODES if code not in _NOT_IN_MASK)


def _le_event_mask(features: int, extended: bool, resolves: bool) -> int:
    """Returns the mask of LE events (7.8.1), without those of features that this controller does not have.

    An older controller may refuse their bits.
    """
    codes = set(LeEvent.registry)
    if not resolves:
        codes -= {_LE_ENHANCED_CONNECTION_EVENT}
    if not features & _LE_PARAMETERS_REQUEST:
        codes -= {_LE_PARAMETER_REQUEST_EVENT}
    if not extended:
        codes = {code for code in codes if code < _LE_EXTENDED_EVENTS}
    return sum(1 << code - 1 for code in codes)


def _need(command: HciCommand) -> Script[bytes]:
    """Yields a command and returns its return parameters. Raises RemoteProtocolError if it fails."""
    if LOSSES[type(command)].cost is not Cost.ADAPTER:
        raise LocalProtocolError(f"{type(command).__name__} is not listed as essential")
    status, returned = yield command
    if status:
        raise RemoteProtocolError(f"{type(command).__name__} failed with status 0x{status:02X}")
    return returned


def _ask(command: HciCommand, answer: type[A], lost: Lost | None = None) -> Script[A | None]:
    """Yields a command and returns its answer. Returns None if it fails, and puts the loss into ``lost``."""
    status, returned = yield command
    if status and lost is not None:
        _lose(command, status, lost)
    return None if status else answer.parse(returned)


def _set(command: HciCommand, lost: Lost) -> Script[None]:
    """Yields a command. If it fails, puts the loss into ``lost``."""
    status, _ = yield command
    if status:
        _lose(command, status, lost)


def _lose(command: HciCommand, status: int, lost: Lost) -> None:
    cost, why = LOSSES[type(command)]
    lost.setdefault(cost, f"{why}: {type(command).__name__} failed with status 0x{status:02X}, or is never answered")
