"""Names of what controllers and peers give as reasons: HCI error codes (Vol 1, Part F) and L2CAP results."""

_HCI = {
    0x02: "unknown connection identifier",
    0x03: "hardware failure",
    0x04: "page timeout",
    0x05: "authentication failure",
    0x06: "PIN or key missing",
    0x07: "memory capacity exceeded",
    0x08: "connection timeout",
    0x09: "connection limit exceeded",
    0x0B: "connection already exists",
    0x0C: "command disallowed",
    0x0D: "rejected due to limited resources",
    0x0E: "rejected due to security reasons",
    0x0F: "rejected due to unacceptable BD_ADDR",
    0x10: "connection accept timeout",
    0x11: "unsupported feature or parameter value",
    0x12: "invalid command parameters",
    0x13: "remote user terminated connection",
    0x14: "remote device terminated connection due to low resources",
    0x15: "remote device terminated connection due to power off",
    0x16: "connection terminated by local host",
    0x18: "pairing not allowed",
    0x1A: "unsupported remote feature",
    0x1F: "unspecified error",
    0x22: "LL response timeout",
    0x28: "instant passed",
    0x29: "pairing with unit key not supported",
    0x3B: "unacceptable connection parameters",
    0x3D: "connection terminated due to MIC failure",
    0x3E: "connection failed to be established",
}

#: Results of a connection response. BR/EDR: Vol 3, Part A, 4.3. LE: 4.23.
_L2CAP_BREDR = {
    0x0002: "PSM not supported",
    0x0003: "security block",
    0x0004: "no resources available",
    0x0006: "invalid source CID",
    0x0007: "source CID already allocated",
}
_L2CAP_LE = {
    0x0002: "SPSM not supported",
    0x0004: "no resources available",
    0x0005: "insufficient authentication",
    0x0006: "insufficient authorization",
    0x0007: "encryption key size too short",
    0x0008: "insufficient encryption",
    0x0009: "invalid source CID",
    0x000A: "source CID already allocated",
    0x000B: "unacceptable parameters",
}


def describe_hci(status: int) -> str:
    """Returns an HCI error code with its name, if it has one that we know: ``"0x04 (page timeout)"``."""
    return _describe(f"0x{status:02x}", _HCI.get(status))


def describe_l2cap(result: int, *, le: bool) -> str:
    """Returns the result of an L2CAP connection response with its name, if it has one that we know."""
    return _describe(f"0x{result:04x}", _l2cap(le=le).get(result))


def name_l2cap(result: int, *, le: bool) -> str:
    """Returns the name alone: ``"PSM not supported"``; ``"result 0x00ff"`` for one that has none."""
    return _l2cap(le=le).get(result, f"result 0x{result:04x}")


def _l2cap(*, le: bool) -> dict[int, str]:
    return _L2CAP_LE if le else _L2CAP_BREDR


def _describe(number: str, name: str | None) -> str:
    return number if name is None else f"{number} ({name})"
