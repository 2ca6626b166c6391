"""The simulated dongle between USB and the packets of its controller."""

import pytest

from tests.sim.dongle import ACL_IN, ACL_OUT, EVENTS_IN, SimulatedDongle
from usbbtd.usb.wire import descriptors, usbif

SET_CONFIGURATION = bytes.fromhex("0009010000000000")
COMPLETE, DATA = bytes.fromhex("0e 04 01 030c 00"), bytes.fromhex("0120 0300 616263")


@pytest.fixture
def dongle() -> SimulatedDongle:
    dongle = SimulatedDongle(serial="00AF")
    assert dongle.control(SET_CONFIGURATION, b"") == b""
    return dongle


def test_a_packet_goes_where_it_belongs(dongle: SimulatedDongle) -> None:
    """Each kind one way, and there is none of synchronous data."""
    for packet in (b"\x04" + COMPLETE, b"\x02" + DATA, b"\x03" + DATA):
        dongle.receive_packet(packet)
    assert dongle.take_transfer(EVENTS_IN, 16) == (usbif.OK, COMPLETE)
    assert dongle.take_transfer(ACL_IN, 64) == (usbif.OK, DATA)
    assert dongle.take_transfer(ACL_IN, 64) is dongle.take_transfer(EVENTS_IN, 16) is None


def test_what_the_host_sends_goes_to_the_controller(dongle: SimulatedDongle) -> None:
    packets: list[bytes] = []
    dongle.send_packet = packets.append
    assert dongle.control(bytes.fromhex("2000000000000300"), bytes.fromhex("030c00")) == b""
    dongle.receive_data(ACL_OUT, DATA)
    assert packets == [bytes.fromhex("01 030c00"), b"\x02" + DATA]


def test_a_class_request_that_is_no_command_stalls(dongle: SimulatedDongle) -> None:
    assert dongle.control(bytes.fromhex("a000000000000100"), b"") is None


def test_descriptors_of_a_bluetooth_dongle(dongle: SimulatedDongle) -> None:
    device = descriptors.parse_device(dongle.control(bytes.fromhex("8006000100001200"), b"") or b"")
    assert (device.class_code, device.subclass, device.protocol) == (0xE0, 0x01, 0x01)
    assert (device.vendor_id, device.product_id) == (0x1209, 0xB7B7)
    configuration = descriptors.parse_configuration(dongle.control(bytes.fromhex("800600020000ff00"), b"") or b"")
    [interface] = configuration.interfaces
    assert [(each.address, each.kind, each.packet_size) for each in interface.endpoints] == [
        (0x81, descriptors.INTERRUPT, 16),
        (0x02, descriptors.BULK, 64),
        (0x82, descriptors.BULK, 64),
    ]
    serial = dongle.control(bytes.fromhex("800603030904ff00"), b"") or b""
    assert descriptors.parse_string(serial) == "00AF"
