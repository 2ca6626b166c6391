"""The layouts of SMP's PDUs."""

import pytest

from usbbtd.errors import RemoteProtocolError
from usbbtd.security.smp import wire
from usbbtd.security.smp.wire import PairingReason, SmpPdu, parse_pdu, reason_name

#: Vol 3, Part H, 3.5 and 3.6: the length of each PDU by its code.
LENGTHS = {1: 7, 2: 7, 3: 17, 4: 17, 5: 2, 6: 17, 7: 11, 8: 17, 9: 8, 10: 17, 11: 2, 12: 65, 13: 17, 14: 2}


def test_lengths() -> None:
    assert {code: kind.LAYOUT.size + 1 for code, kind in SmpPdu.registry.items()} == LENGTHS


@pytest.mark.parametrize(("code", "length"), LENGTHS.items())
def test_whole_and_not(code: int, length: int) -> None:
    payload = bytes((code, *range(1, length)))
    pdu = parse_pdu(payload)
    assert pdu is not None
    assert pdu.pack() == payload
    for wrong in (payload[:-1], payload + b"\0"):
        with pytest.raises(RemoteProtocolError):
            parse_pdu(wrong)


def test_reserved_codes_are_nothing() -> None:
    assert [code for code in range(256) if code not in LENGTHS and parse_pdu(bytes((code,))) is not None] == []
    with pytest.raises(RemoteProtocolError):
        parse_pdu(b"")


def test_fields() -> None:
    assert parse_pdu(bytes.fromhex("01040009100103")) == wire.PairingRequest(4, 0, 9, 16, 1, 3)
    assert parse_pdu(bytes.fromhex("0734120807060504030201")) == wire.CentralIdentification(0x1234, 0x0102030405060708)
    assert parse_pdu(bytes.fromhex("0901010203040506")) == wire.IdentityAddressInformation(1, bytes(range(1, 7)))


def test_no_key_is_shown() -> None:
    assert repr(wire.EncryptionInformation(b"k" * 16)) == "EncryptionInformation(ltk=...)"
    assert repr(wire.PairingFailed(4)) == "PairingFailed(reason=4)"


def test_reasons() -> None:
    assert reason_name(PairingReason.CONFIRM_VALUE_FAILED) == "confirm value failed"
    assert reason_name(0x7F) == "reason 0x7f"
