import struct
from contextlib import suppress
from typing import Any

import pytest
from bumble import hci
from hypothesis import given
from hypothesis import strategies as st

from usbbtd.errors import RemoteProtocolError
from usbbtd.hci.wire import events as incoming
from usbbtd.hci.wire.events import parse_event
from usbbtd.hci.wire.inquiry import InquiryResponse, inquiry_responses

ADDRESSES = [hci.Address(f"C3:00:00:00:00:0{n}", hci.Address.PUBLIC_DEVICE_ADDRESS) for n in (1, 2)]
FIRST, SECOND = map(bytes, ADDRESSES)
NAME = b"\5\tname"


def responses(theirs: Any) -> list[InquiryResponse]:
    event = parse_event(bytes(theirs)[1:])
    assert isinstance(event, (incoming.InquiryResult, incoming.InquiryResultWithRssi, incoming.ExtendedInquiryResult))
    return inquiry_responses(event)


def test_a_plain_result() -> None:
    theirs = hci.HCI_Inquiry_Result_Event(
        bd_addr=ADDRESSES,
        page_scan_repetition_mode=[1, 2],
        reserved_0=[0, 0],
        reserved_1=[0, 0],
        class_of_device=[0x5A020C, 0x010203],
        clock_offset=[0x1234, 0x5678],
    )
    one, other = responses(theirs)
    assert one == InquiryResponse(FIRST, 0x5A020C, 127, b"")
    assert other == InquiryResponse(SECOND, 0x010203, 127, b"")


def test_a_result_with_rssi() -> None:
    theirs = hci.HCI_Inquiry_Result_With_RSSI_Event(
        bd_addr=ADDRESSES,
        page_scan_repetition_mode=[1, 2],
        reserved=[0, 0],
        class_of_device=[0x5A020C, 0x010203],
        clock_offset=[0x1234, 0x5678],
        rssi=[-50, 3],
    )
    assert responses(theirs) == [InquiryResponse(FIRST, 0x5A020C, -50, b""), InquiryResponse(SECOND, 0x010203, 3, b"")]


def test_a_result_with_rssi_in_which_the_page_scan_mode_has_stayed() -> None:
    one = struct.pack("<6sBBB3sHb", FIRST, 1, 0, 0, b"\x0c\x02\x5a", 0x1234, -50)
    event = incoming.InquiryResultWithRssi(2, one + one)
    assert inquiry_responses(event) == 2 * [InquiryResponse(FIRST, 0x5A020C, -50, b"")]


@pytest.mark.parametrize(
    ("extended", "data"),
    [
        (NAME, NAME),
        (NAME + b"\0" + NAME, NAME),
        (b"\3\xff\0\0" + NAME, b"\3\xff\0\0" + NAME),
        (b"", b""),
        (bytes(239) + b"\5", b""),
    ],
)
def test_an_extended_result(extended: bytes, data: bytes) -> None:
    theirs = hci.HCI_Extended_Inquiry_Result_Event(
        num_responses=1,
        bd_addr=ADDRESSES[0],
        page_scan_repetition_mode=1,
        reserved=0,
        class_of_device=0x5A020C,
        clock_offset=0x1234,
        rssi=-7,
        extended_inquiry_response=extended.ljust(240, b"\0"),
    )
    assert responses(theirs) == [InquiryResponse(FIRST, 0x5A020C, -7, data)]


@given(
    st.sampled_from([incoming.InquiryResult, incoming.InquiryResultWithRssi, incoming.ExtendedInquiryResult]),
    st.integers(0, 255),
    st.integers(0, 17) | st.integers(250, 260),
    st.binary(max_size=16),
)
def test_any_result_is_read_within_its_octets_or_refused(made: Any, count: int, size: int, octets: bytes) -> None:
    untrusted = (octets * 17)[:size] if octets else b""
    with suppress(RemoteProtocolError):
        found = inquiry_responses(made(count, untrusted))
        assert len(found) == count
        assert all(response.data in untrusted for response in found)
