"""Vectors: the descriptors of a Cambridge Silicon Radio dongle (0a12:0001), as ``lsusb -v`` prints them everywhere."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbbtd.errors import RemoteProtocolError
from usbbtd.usb.wire import descriptors

CSR_DEVICE = bytes.fromhex("12010002 e0010140 120a0100 91880002 0001")
CSR_HCI_INTERFACE = bytes.fromhex("09040000 03e00101 00 07058103 100001 07050202 400001 07058202 400001")
CSR_VOICE_INTERFACE = bytes.fromhex("09040100 02e00101 00 07050301 000001 07058301 000001")
CSR_VOICE_ALTERNATE = bytes.fromhex("09040101 02e00101 00 07050301 090001 07058301 090001")
CSR_BODY = CSR_HCI_INTERFACE + CSR_VOICE_INTERFACE + CSR_VOICE_ALTERNATE
CSR_CONFIGURATION = bytes([9, 2, 9 + len(CSR_BODY), 0, 2, 1, 0, 0xC0, 0]) + CSR_BODY


def test_a_real_dongle() -> None:
    device = descriptors.parse_device(CSR_DEVICE)
    assert (device.vendor_id, device.product_id, device.class_code, device.max_packet_size_0) == (0x0A12, 1, 0xE0, 64)
    assert (device.manufacturer, device.product, device.serial, device.configurations) == (0, 2, 0, 1)
    configuration = descriptors.parse_configuration(CSR_CONFIGURATION)
    assert configuration.value == 1
    assert [(i.number, i.alternate, len(i.endpoints)) for i in configuration.interfaces] == [
        (0, 0, 3),
        (1, 0, 2),
        (1, 1, 2),
    ]
    assert configuration.interfaces[0].endpoints == (
        descriptors.EndpointDescriptor(0x81, descriptors.INTERRUPT, 16, 1),
        descriptors.EndpointDescriptor(0x02, descriptors.BULK, 64, 1),
        descriptors.EndpointDescriptor(0x82, descriptors.BULK, 64, 1),
    )


def test_what_we_pack_is_what_the_real_one_has() -> None:
    assert descriptors.pack_device(descriptors.parse_device(CSR_DEVICE)) == CSR_DEVICE
    packed = descriptors.pack_configuration(descriptors.parse_configuration(CSR_CONFIGURATION), max_power_ma=0)
    assert packed[:7] == CSR_CONFIGURATION[:7]
    assert packed[9:] == CSR_BODY


def test_descriptors_of_other_types_are_passed_over() -> None:
    body = (
        bytes.fromhex("080b0002e0010100") + CSR_HCI_INTERFACE[:9] + bytes.fromhex("0524000110") + CSR_HCI_INTERFACE[9:]
    )
    whole = bytes([9, 2, 9 + len(body), 0, 1, 1, 0, 0x80, 50]) + body
    (interface,) = descriptors.parse_configuration(whole).interfaces
    assert len(interface.endpoints) == 3


def test_high_bandwidth_bits_are_not_the_packet_size() -> None:
    body = CSR_HCI_INTERFACE[:9] + bytes.fromhex("07058105001401")
    whole = bytes([9, 2, 9 + len(body), 0, 1, 1, 0, 0x80, 50]) + body
    assert descriptors.parse_configuration(whole).interfaces[0].endpoints[0].packet_size == 0x400


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        CSR_CONFIGURATION[:8],
        CSR_CONFIGURATION[:-1],  # cut off
        CSR_CONFIGURATION[:9] + b"\x00\x04" + CSR_CONFIGURATION[11:],  # a length of 0: where loops hang
        CSR_CONFIGURATION[:9] + b"\x01\x04" + CSR_CONFIGURATION[11:],
        CSR_CONFIGURATION[:9] + b"\xff\x04" + CSR_CONFIGURATION[11:],  # beyond the end
        bytes([9, 2, 12, 0, 1, 1, 0, 0, 0]) + b"\x03\x04\x00",  # a short interface
        bytes([9, 2, 16, 0, 1, 1, 0, 0, 0]) + CSR_HCI_INTERFACE[9:16],  # an endpoint of no interface
        bytes([9, 2, 20, 0, 1, 1, 0, 0, 0]) + CSR_HCI_INTERFACE[:9] + b"\x02\x05",  # a short endpoint
        bytes([9, 2, 8, 0, 0, 1, 0, 0, 0]),  # shorter than itself
        bytes([9, 1]) + CSR_CONFIGURATION[2:],
    ],
)
def test_a_configuration_that_does_not_hang_together(bad: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        descriptors.parse_configuration(bad)


@pytest.mark.parametrize("bad", [b"", CSR_DEVICE[:17], b"\x11" + CSR_DEVICE[1:], b"\x12\x02" + CSR_DEVICE[2:]])
def test_no_device_descriptor(bad: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        descriptors.parse_device(bad)


def test_strings() -> None:
    assert descriptors.pack_string("ab") == bytes.fromhex("0603 6100 6200")
    assert descriptors.pack_languages([0x0409]) == bytes.fromhex("0403 0904")
    assert descriptors.parse_string(bytes.fromhex("0803 6100 0a00 1b00")) == "a??"
    assert descriptors.parse_string(bytes.fromhex("0703 6100 6200")) == "ab"
    assert descriptors.parse_string(bytes.fromhex("0403 61")) == "\N{REPLACEMENT CHARACTER}"


names = st.text(st.characters(categories=["L", "N"]), max_size=30)
endpoint_tuples = st.builds(
    descriptors.EndpointDescriptor, st.integers(0, 255), st.integers(0, 3), st.integers(0, 0x7FF), st.integers(0, 255)
)
interface_tuples = st.builds(
    descriptors.InterfaceDescriptor, *[st.integers(0, 255)] * 5, st.lists(endpoint_tuples, max_size=4).map(tuple)
)


@given(names)
def test_a_string_comes_back(text: str) -> None:
    assert descriptors.parse_string(descriptors.pack_string(text)) == text


@given(st.integers(0, 255), st.lists(interface_tuples, max_size=4).map(tuple))
def test_a_configuration_comes_back(value: int, interfaces: tuple[Any, ...]) -> None:
    configuration = descriptors.ConfigurationDescriptor(value, interfaces)
    assert descriptors.parse_configuration(descriptors.pack_configuration(configuration)) == configuration


def mutations(valid: bytes) -> st.SearchStrategy[bytes]:
    return st.lists(st.tuples(st.integers(0, len(valid) - 1), st.integers(0, 255)), max_size=4).map(
        lambda changes: bytes(dict(changes).get(index, octet) for index, octet in enumerate(valid))
    )


@given(st.one_of(st.binary(max_size=80), mutations(CSR_CONFIGURATION)))
def test_any_bytes_are_descriptors_or_the_peers_fault(untrusted: bytes) -> None:
    for parse in (
        descriptors.parse_device,
        descriptors.parse_configuration,
        descriptors.parse_total_length,
        descriptors.parse_string,
    ):
        with contextlib.suppress(RemoteProtocolError):
            parse(untrusted)
