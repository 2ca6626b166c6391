"""Answers PDUs on fixed channels that nobody serves, so that a peer that tries them does not wait for 30 seconds."""

from collections.abc import Mapping
from struct import Struct

from usbbtd.bluetooth import BREDR, CID_ATT, LE
from usbbtd.l2cap.wire import BASIC_HEADER, BASIC_HEADER_SIZE, CID_SMP, CID_SMP_BREDR

# Attribute protocol, Vol 3, Part F, 3.4.1.1
_ATT_ERROR = Struct("<BBHB")
_ATT_ERROR_RSP = 0x01
_ATT_EXCHANGE_MTU_REQ = 0x02
_ATT_CONFIRMATION = 0x1E
_ATT_COMMAND_FLAG = 0x40
_ATT_REQUEST_NOT_SUPPORTED = 0x06

# Security manager, Vol 3, Part H, 3.5
_SMP_PAIRING_REQUEST = 0x01
_SMP_PAIRING_FAILED = 0x05
_SMP_SECURITY_REQUEST = 0x0B
_SMP_PAIRING_NOT_SUPPORTED = 0x05


def _att(opcode: int) -> bytes | None:
    """Returns the error response "request not supported". Requests are the even opcodes without the command flag."""
    if opcode < _ATT_EXCHANGE_MTU_REQ or opcode % 2 or opcode & _ATT_COMMAND_FLAG or opcode == _ATT_CONFIRMATION:
        return None
    return _ATT_ERROR.pack(_ATT_ERROR_RSP, opcode, 0x0000, _ATT_REQUEST_NOT_SUPPORTED)


def _smp(opcode: int) -> bytes | None:
    if opcode not in (_SMP_PAIRING_REQUEST, _SMP_SECURITY_REQUEST):
        return None
    return bytes((_SMP_PAIRING_FAILED, _SMP_PAIRING_NOT_SUPPORTED))


_CHANNELS = (
    {CID_SMP_BREDR: _smp},
    {CID_ATT: _att, CID_SMP: _smp},
)

#: The CIDs for which there is an ``answer``, by transport.
FIXED_CIDS: Mapping[int, tuple[int, ...]] = {transport: tuple(_CHANNELS[transport]) for transport in (BREDR, LE)}


def answer(transport: int, cid: int, untrusted_pdu: bytes) -> bytes | None:
    """Returns the whole PDU that answers a whole PDU on one of FIXED_CIDS; None if it needs no answer."""
    if len(untrusted_pdu) == BASIC_HEADER_SIZE:
        return None
    payload = _CHANNELS[transport][cid](untrusted_pdu[BASIC_HEADER_SIZE])
    return None if payload is None else BASIC_HEADER.pack(len(payload), cid) + payload
