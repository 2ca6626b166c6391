"""messages.py against bytes laid out by hand from l2capif.h."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbbtd.errors import LocalProtocolError, RemoteProtocolError
from usbbtd.l2capif import messages

ADDRESS = bytes.fromhex("010000eeffc0")
U8, U16, U32 = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF_FFFF)
ADDRESSES = st.binary(min_size=6, max_size=6)
TYPES, RSSI = st.integers(0, 2), st.integers(-128, 127)


@given(ADDRESSES, TYPES, RSSI, U8, st.binary(max_size=31))
def test_reports(address: bytes, address_type: int, rssi: int, event_type: int, data: bytes) -> None:
    report = messages.ScanReport(address, address_type, rssi, event_type, data)
    packed = messages.pack_report(report)
    assert packed == struct.pack("<6sBbBB", address, address_type, rssi, event_type, len(data)) + data
    assert messages.unpack_report(packed) == report


@given(ADDRESSES, TYPES, st.integers(0, 2), U16, RSSI, st.integers(0, 0xFF_FFFF), st.binary(max_size=1650))
def test_extended_reports(
    address: bytes, address_type: int, source: int, event_type: int, rssi: int, device: int, data: bytes
) -> None:
    report = messages.ExtendedReport(address, address_type, source, event_type, rssi, device, data)
    packed = messages.pack_extended_report(report)
    head = struct.pack("<6sBBHHb", address, address_type, source, event_type, len(data), rssi)
    assert packed == head + device.to_bytes(3, "little") + bytes(4) + data
    assert messages.unpack_extended_report(packed) == report


def test_a_message_of_the_longest_data() -> None:
    report = messages.ExtendedReport(ADDRESS, 2, 0, 0, -40, 0, bytes(1650))
    assert messages.unpack_extended_report(messages.pack_extended_report(report)) == report


def test_data_that_are_too_long() -> None:
    with pytest.raises(LocalProtocolError):
        messages.pack_report(messages.ScanReport(ADDRESS, 1, -40, 0, bytes(32)))
    with pytest.raises(LocalProtocolError):
        messages.pack_extended_report(messages.ExtendedReport(ADDRESS, 1, 0, 0, -40, 0, bytes(1651)))
    with pytest.raises(LocalProtocolError):
        messages.pack_answer(messages.AnswerMessage(1, True, pin=bytes(17)))


@given(U32.filter(bool), st.integers(0, 5), ADDRESSES, TYPES, st.integers(0, 999_999), U32, U8)
def test_prompts(
    number: int, kind: int, address: bytes, address_type: int, value: int, timeout_ms: int, why: int
) -> None:
    prompt = messages.PromptMessage(number, kind, address, address_type, value, timeout_ms, why)
    packed = messages.pack_prompt(prompt)
    head = struct.pack("<3I6s3B", number, value, timeout_ms, address, address_type, kind, why)
    assert packed == head + bytes(11)
    assert messages.unpack_prompt(packed) == prompt


@pytest.mark.parametrize("change", [{"number": 0}, {"kind": 6}, {"value": 1_000_000}, {"address_type": 3}], ids=str)
def test_malformed_prompts(change: dict[str, Any]) -> None:
    prompt = messages.PromptMessage(1, messages.ENTER_PASSKEY, ADDRESS, 2)
    with pytest.raises(RemoteProtocolError):
        messages.unpack_prompt(messages.pack_prompt(prompt._replace(**change)))


@given(U32, st.booleans(), U32, st.binary(max_size=16))
def test_answers(number: int, accept: bool, value: int, pin: bytes) -> None:
    answer = messages.AnswerMessage(number, accept, value, pin)
    packed = messages.pack_answer(answer)
    assert packed == struct.pack("<2IBB16s6x", number, value, accept, len(pin), pin)
    assert messages.unpack_answer(packed) == answer


@pytest.mark.parametrize(
    "octets",
    [
        b"", bytes(31), bytes(33), bytes(31) + b"\1", struct.pack("<2IBB16s6x", 1, 0, 2, 0, b""),
        struct.pack("<2IBB16s6x", 1, 0, 1, 17, b""), struct.pack("<2IBB16s6x", 1, 0, 1, 1, b"12"),
    ],
)  # fmt: skip
def test_malformed_answers(octets: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        messages.unpack_answer(octets)


def test_a_malformed_answer_is_not_quoted() -> None:
    with pytest.raises(RemoteProtocolError) as told:
        messages.unpack_answer(struct.pack("<2IBB16s6x", 1, 0, 2, 4, b"1234"))
    assert "1234" not in str(told.value)
    assert b"1234".hex() not in str(told.value)


@given(st.binary(max_size=60))
def test_soup(soup: bytes) -> None:
    try:
        report = messages.unpack_report(soup)
    except RemoteProtocolError:
        pass
    else:
        assert messages.pack_report(report) == soup
    try:
        extended = messages.unpack_extended_report(soup)
    except RemoteProtocolError:
        pass
    else:
        assert messages.unpack_extended_report(messages.pack_extended_report(extended)) == extended


@given(st.binary(min_size=32, max_size=32))
def test_soup_of_an_agents_size(soup: bytes) -> None:
    try:
        answer = messages.unpack_answer(soup)
    except RemoteProtocolError:
        pass
    else:
        assert messages.pack_answer(answer) == soup
    try:
        prompt = messages.unpack_prompt(soup)
    except RemoteProtocolError:
        return
    assert messages.unpack_prompt(messages.pack_prompt(prompt)) == prompt
