"""Facts of the Bluetooth Core specification that more than one layer needs, each in one place."""

import re
from enum import IntEnum
from typing import Final, Self

# Transports, which index all that comes in pairs, and their names.
BREDR: Final = 0
LE: Final = 1
TRANSPORTS: Final = ("BR/EDR", "LE")

# Roles on a link, as HCI numbers them, and their names.
CENTRAL: Final = 0
PERIPHERAL: Final = 1
ROLES: Final = ("central", "peripheral")

# Types of addresses, which tell the transport, too, and their names. On LE they are HCI's numbers plus one.
ADDRESS_BREDR: Final = 0
ADDRESS_LE_PUBLIC: Final = 1
ADDRESS_LE_RANDOM: Final = 2
ADDRESS_TYPES: Final = ("BR/EDR", "LE public", "LE random")

#: The fixed channel of the Attribute Protocol: Vol 3, Part A, 2.1.
CID_ATT: Final = 0x0004

# Levels of security, of links and of what is asked of them, in the order of their strength, and their names. Vol 3,
# Part C, 5.2.2.8 for BR/EDR; LE's modes are put beside them. At 0, as at 1, nothing is asked: it is SDP's own level.
LEVEL_SDP: Final = 0
LEVEL_NONE: Final = 1
LEVEL_ENCRYPTED: Final = 2
LEVEL_AUTHENTICATED: Final = 3  # encrypted, with protection against somebody in the middle
LEVEL_SECURE: Final = 4  # that, by Secure Connections with a key of 16 octets
SECURITY_LEVELS: Final = ("sdp", "none", "encrypted", "authenticated", "secure")

# What a device can show and type. Vol 3, Part C, 5.2.2.4 and Part H, 2.3.5.1, which alone has the last one.
DISPLAY_ONLY: Final = 0
DISPLAY_YES_NO: Final = 1
KEYBOARD_ONLY: Final = 2
NO_INPUT_NO_OUTPUT: Final = 3
KEYBOARD_DISPLAY: Final = 4
IO_CAPABILITIES: Final = ("DisplayOnly", "DisplayYesNo", "KeyboardOnly", "NoInputNoOutput", "KeyboardDisplay")

# Types of BR/EDR link keys. Vol 4, Part E, 7.7.24.
KEY_COMBINATION: Final = 0  # made of a PIN
KEY_DEBUG: Final = 3
KEY_UNAUTHENTICATED_P192: Final = 4
KEY_AUTHENTICATED_P192: Final = 5
KEY_CHANGED: Final = 6  # of the same strength as the key before
KEY_UNAUTHENTICATED_P256: Final = 7
KEY_AUTHENTICATED_P256: Final = 8

#: The highest handle that a connection may have (Vol 4, Part E, 5.4.2).
LAST_HANDLE: Final = 0x0EFF

#: The smallest MTU that a side may have, by transport: Vol 3, Part A, 5.1 and 4.22. The MPS has the LE limit, too.
MINIMUM_MTU: Final = (48, 23)

_PSM_RULE: Final = "be odd, at most 0xfeff, and have an even upper octet, such as 0x1001"

#: Matches an address as people write it.
ADDRESS: Final = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")


class _Named(IntEnum):
    """A number of the specification, with ``text``, its name there."""

    text: str

    def __new__(cls, number: int, text: str) -> Self:
        member = int.__new__(cls, number)
        member._value_ = number
        member.text = text
        return member


class ErrorCode(_Named):
    """HCI's error codes, which are a command's status or the reason of a link's end. Vol 1, Part F."""

    UNKNOWN_COMMAND = 0x01, "unknown HCI command"
    UNKNOWN_CONNECTION = 0x02, "unknown connection identifier"
    HARDWARE_FAILURE = 0x03, "hardware failure"
    PAGE_TIMEOUT = 0x04, "page timeout"
    AUTHENTICATION_FAILURE = 0x05, "authentication failure"
    PIN_OR_KEY_MISSING = 0x06, "PIN or key missing"
    MEMORY_CAPACITY_EXCEEDED = 0x07, "memory capacity exceeded"
    CONNECTION_TIMEOUT = 0x08, "connection timeout"
    CONNECTION_LIMIT_EXCEEDED = 0x09, "connection limit exceeded"
    CONNECTION_ALREADY_EXISTS = 0x0B, "connection already exists"
    COMMAND_DISALLOWED = 0x0C, "command disallowed"
    LIMITED_RESOURCES = 0x0D, "rejected due to limited resources"
    SECURITY_REASONS = 0x0E, "rejected due to security reasons"
    UNACCEPTABLE_ADDRESS = 0x0F, "rejected due to unacceptable BD_ADDR"
    ACCEPT_TIMEOUT = 0x10, "connection accept timeout"
    UNSUPPORTED_FEATURE = 0x11, "unsupported feature or parameter value"
    INVALID_PARAMETERS = 0x12, "invalid command parameters"
    REMOTE_USER_TERMINATED = 0x13, "remote user terminated connection"
    REMOTE_LOW_RESOURCES = 0x14, "remote device terminated connection due to low resources"
    REMOTE_POWER_OFF = 0x15, "remote device terminated connection due to power off"
    LOCAL_HOST_TERMINATED = 0x16, "connection terminated by local host"
    PAIRING_NOT_ALLOWED = 0x18, "pairing not allowed"
    UNSUPPORTED_REMOTE_FEATURE = 0x1A, "unsupported remote feature"
    UNSPECIFIED_ERROR = 0x1F, "unspecified error"
    LL_RESPONSE_TIMEOUT = 0x22, "LL response timeout"
    LMP_COLLISION = 0x23, "LMP error transaction collision"
    INSTANT_PASSED = 0x28, "instant passed"
    UNIT_KEY_NOT_SUPPORTED = 0x29, "pairing with unit key not supported"
    DIFFERENT_COLLISION = 0x2A, "different transaction collision"
    UNACCEPTABLE_PARAMETERS = 0x3B, "unacceptable connection parameters"
    MIC_FAILURE = 0x3D, "connection terminated due to MIC failure"
    NOT_ESTABLISHED = 0x3E, "connection failed to be established"


class BredrResult(_Named):
    """The results of an L2CAP Connection Response. Vol 3, Part A, 4.3."""

    SUCCESS = 0x0000, "connection successful"
    PENDING = 0x0001, "connection pending"
    PSM_NOT_SUPPORTED = 0x0002, "PSM not supported"
    SECURITY_BLOCK = 0x0003, "security block"
    NO_RESOURCES = 0x0004, "no resources available"
    INVALID_SOURCE_CID = 0x0006, "invalid source CID"
    SOURCE_CID_ALLOCATED = 0x0007, "source CID already allocated"


class LeResult(_Named):
    """The results of an L2CAP (LE) Credit Based Connection Response. Vol 3, Part A, 4.23; the last four, 4.26."""

    SUCCESS = 0x0000, "connection successful"
    SPSM_NOT_SUPPORTED = 0x0002, "SPSM not supported"
    NO_RESOURCES = 0x0004, "no resources available"
    INSUFFICIENT_AUTHENTICATION = 0x0005, "insufficient authentication"
    INSUFFICIENT_AUTHORIZATION = 0x0006, "insufficient authorization"
    KEY_SIZE_TOO_SHORT = 0x0007, "encryption key size too short"
    INSUFFICIENT_ENCRYPTION = 0x0008, "insufficient encryption"
    INVALID_SOURCE_CID = 0x0009, "invalid source CID"
    SOURCE_CID_ALLOCATED = 0x000A, "source CID already allocated"
    UNACCEPTABLE_PARAMETERS = 0x000B, "unacceptable parameters"
    INVALID_PARAMETERS = 0x000C, "invalid parameters"
    PENDING = 0x000D, "connection pending"
    AUTHENTICATION_PENDING = 0x000E, "authentication pending"
    AUTHORIZATION_PENDING = 0x000F, "authorization pending"


def transport_of(address_type: int) -> int:
    """Returns the transport on which a device with this type of address is reached."""
    return LE if address_type else BREDR


def parse_address(text: str) -> bytes:
    """Returns ``"C0:FF:EE:00:00:01"`` as the 6 octets of HCI, least significant first. Raises ValueError."""
    if not isinstance(text, str) or not ADDRESS.fullmatch(text):
        raise ValueError(f"{text!r} is not a Bluetooth address: write it like C0:FF:EE:00:00:01")
    return bytes.fromhex(text.replace(":", ""))[::-1]


def format_address(address: bytes) -> str:
    """Returns the 6 octets of HCI as ``"C0:FF:EE:00:00:01"``."""
    return address[::-1].hex(":").upper()


def psm_is_legal(transport: int, psm: int) -> bool:
    """Tells whether a service can have this PSM (BR/EDR) or SPSM (LE).

    A PSM has an odd low octet and an even high one (Vol 3, Part A, 4.2); an SPSM is 0x0001 to 0x00FF (4.22).
    """
    return 0x0001 <= psm <= 0x00FF if transport == LE else 0 <= psm <= 0xFFFF and psm & 0x0101 == 0x0001


def check_psm(transport: int, psm: int) -> None:
    """Raises ValueError, which says the rule, unless a service can have this PSM or SPSM."""
    if psm_is_legal(transport, psm):
        return
    rule = "an SPSM is 0x0001 to 0x00ff" if transport == LE else "it must " + _PSM_RULE
    raise ValueError(f"PSM {psm if psm < 0 else f'0x{psm:04x}'} is not legal: {rule}")


def parameters_are_legal(interval_min: int, interval_max: int, latency: int, timeout: int) -> bool:
    """Tells whether an LE link may have these connection parameters (Vol 3, Part A, 4.20; Vol 4, Part E, 7.8.31).

    Intervals are in units of 1.25 ms, ``latency`` in connection events that the peripheral may skip, the supervision
    timeout in units of 10 ms: it has to be longer than two of the intervals between events that are not skipped.
    """
    return (
        6 <= interval_min <= interval_max <= 3200
        and latency <= 499
        and 10 <= timeout <= 3200
        and timeout * 4 > (1 + latency) * interval_max
    )


def describe_error(status: int) -> str:
    """Returns an HCI error code with its name, if it has one: ``"0x04 (page timeout)"``."""
    return f"0x{status:02x}" + _in_brackets(ErrorCode, status)


def describe_result(transport: int, result: int) -> str:
    """Returns the result of a connection response with its name, if it has one: ``"0x0003 (security block)"``."""
    return f"0x{result:04x}" + _in_brackets(LeResult if transport == LE else BredrResult, result)


def result_name(transport: int, result: int) -> str:
    """Returns the name of the result of a connection response; ``"result 0x00ff"`` for one that has none."""
    return _text(LeResult if transport == LE else BredrResult, result) or f"result 0x{result:04x}"


def _in_brackets(names: type[_Named], number: int) -> str:
    return f" ({text})" if (text := _text(names, number)) else ""


def _text(names: type[_Named], number: int) -> str:
    return next((member.text for member in names if member == number), "")
