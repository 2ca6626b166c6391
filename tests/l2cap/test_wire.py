"""Bytes by hand from the figures of Vol 3, Part A, 4; Bumble's and our codec against each other."""

import pytest
from bumble import l2cap as bumble
from hypothesis import given
from hypothesis import strategies as st

from usbbtd.bluetooth import BREDR, LE, psm_is_legal
from usbbtd.errors import RemoteProtocolError
from usbbtd.l2cap import wire
from usbbtd.l2cap.wire import SignallingCommand

VECTORS = [
    ("01 05 0200 0000", wire.CommandReject(0x0000, b"")),
    ("01 05 0400 0100 a002", wire.CommandReject(0x0001, b"\xa0\x02")),
    ("01 05 0600 0200 4000 4100", wire.CommandReject(0x0002, b"\x40\x00\x41\x00")),
    ("02 01 0400 0110 4000", wire.L2capConnectionRequest(0x1001, 0x0040)),
    ("03 01 0800 4100 4000 0100 0200", wire.ConnectionResponse(0x0041, 0x0040, 1, 2)),
    ("04 02 0800 4100 0000 0102a002", wire.ConfigurationRequest(0x0041, 0, b"\x01\x02\xa0\x02")),
    ("05 02 0600 4000 0000 0000", wire.ConfigurationResponse(0x0040, 0, 0, b"")),
    ("06 03 0400 4100 4000", wire.DisconnectionRequest(0x0041, 0x0040)),
    ("07 03 0400 4100 4000", wire.DisconnectionResponse(0x0041, 0x0040)),
    ("08 c8 0300 616263", wire.L2capEchoRequest(b"abc")),
    ("09 c8 0000", wire.L2capEchoResponse(b"")),
    ("0a 04 0200 0200", wire.InformationRequest(2)),
    ("0b 04 0800 0200 0000 80000000", wire.InformationResponse(2, 0, b"\x80\0\0\0")),
    ("12 01 0800 0600 800c 0000 c800", wire.ParameterUpdateRequest(6, 3200, 0, 200)),
    ("13 01 0200 0100", wire.ParameterUpdateResponse(1)),
    ("14 01 0a00 8000 4000 0002 1700 0a00", wire.LeConnectionRequest(0x80, 0x40, 512, 23, 10)),
    ("15 01 0a00 4000 0002 1700 0a00 0000", wire.LeConnectionResponse(0x40, 512, 23, 10, 0)),
    ("16 ff 0400 4000 ffff", wire.FlowControlCredit(0x40, 0xFFFF)),
]


@pytest.mark.parametrize(("octets", "command"), VECTORS, ids=[type(command).__name__ for _, command in VECTORS])
def test_vectors(octets: str, command: SignallingCommand) -> None:
    packed = bytes.fromhex(octets)
    assert command.pack(packed[1]) == packed
    assert SignallingCommand.registry[packed[0]].parse(packed[4:]) == command


def test_every_command_has_a_vector() -> None:
    assert {type(command) for _, command in VECTORS} == set(SignallingCommand.registry.values())


@pytest.mark.parametrize("command", SignallingCommand.registry.values())
def test_other_lengths_are_the_peers_fault(command: type[SignallingCommand]) -> None:
    size = command.LAYOUT.size
    for length in range(size):
        with pytest.raises(RemoteProtocolError):
            command.parse(bytes(length))
    if not command.HAS_TAIL:
        with pytest.raises(RemoteProtocolError):
            command.parse(bytes(size + 1))


@pytest.mark.parametrize("command", SignallingCommand.registry.values())
@given(data=st.data())
def test_bumble_reads_what_we_write(command: type[SignallingCommand], data: st.DataObject) -> None:
    tail = data.draw(st.binary(max_size=20)) if command.HAS_TAIL else b""
    payload = data.draw(st.binary(min_size=command.LAYOUT.size, max_size=command.LAYOUT.size)) + tail
    packed = command.parse(payload).pack(7)
    assert packed[4:] == payload
    if command is not wire.L2capConnectionRequest:  # there Bumble reads a PSM with an even upper octet as a longer one
        frame = bumble.L2CAP_Control_Frame.from_bytes(packed)
        assert (frame.code, frame.identifier, frame.payload) == (command.CODE, 7, payload)


def test_psms() -> None:
    assert [psm for psm in (0, 1, 2, 0x0101, 0x1000, 0x1001, 0x1101, 0xFEFF, 0xFFFF) if psm_is_legal(BREDR, psm)] == [
        0x0001,
        0x1001,
        0xFEFF,
    ]
    assert [psm for psm in (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100) if psm_is_legal(LE, psm)] == [1, 2, 0x7F, 0x80, 0xFF]
