"""One protocol in three places: the header of C programs, the core, l2capif.h, and what docs/serial.md shows."""

import errno
import re

import pytest

from tests import ROOT
from tests.serial.c_client import CONSTANTS
from usbbtd.abi.layout import constants
from usbbtd.serial import wire
from usbbtd.serial.framing import Deframer

PAGE = (ROOT / "docs/serial.md").read_text()


def test_the_header_has_the_numbers_of_the_core() -> None:
    for kind in wire.FrameKind:
        assert CONSTANTS[f"VLS_KIND_{kind.name}"] == kind
    for command in wire.SerialCommand:
        assert CONSTANTS[f"VLS_CMD_{command.name}"] == command == getattr(constants, f"L2CAPIF_CMD_{command.name}")
    for name in (
        "VERSION", "WINDOW", "HEADER_SIZE", "MAX_PAYLOAD", "MAX_CREDITS", "FROM_BRIDGE", "FIRST_NUMBERED",
        "MAX_AD_SIZE", "MAX_ECHO_SIZE", "CONNECT_FIXED", "SCAN_ACTIVE", "SCAN_DUPLICATES", "ADVERTISE_CONNECTABLE",
        "FEATURE_ECHO",
    ):  # fmt: skip
        assert CONSTANTS[f"VLS_{name}"] == getattr(wire, name), name


@pytest.mark.parametrize("prefix", ["FEATURE_", "ADDR_", "TRANSPORT_"])
def test_the_header_has_the_numbers_of_l2capif(prefix: str) -> None:
    names = [name for name in CONSTANTS if name.startswith(f"VLS_{prefix}") and name != "VLS_FEATURE_ECHO"]
    assert names
    for name in names:
        assert CONSTANTS[name] == getattr(constants, name.replace("VLS_", "L2CAPIF_"))


def test_the_header_has_linux_s_errors() -> None:
    names = [
        name
        for name in CONSTANTS
        if name.startswith("VLS_E") and name not in ("VLS_ESCAPE", "VLS_ESCAPED", "VLS_ENDED")
    ]
    assert len(names) == 14
    for name in names:
        assert CONSTANTS[name] == -getattr(errno, name.removeprefix("VLS_"))


def test_the_page_has_the_kinds() -> None:
    kinds = {name: int(number, 16) for number, name in re.findall(r"^\| (0x[0-9A-F]{2}) \| ([A-Z]+) \|", PAGE, re.M)}
    assert kinds == {kind.name: kind for kind in wire.FrameKind}


def test_the_page_has_the_sizes_of_bodies() -> None:
    sizes = {
        "CONNECT": wire.CONNECT.size,
        "LISTEN": wire.LISTEN.size,
        "ACCEPT": wire.ACCEPT.size,
        "SCAN": wire.SCAN.size,
    }
    for name, size in sizes.items():
        assert re.search(rf"^\| \d {name} \|[^|]*: {size} octets \|", PAGE, re.M), name


def test_the_frames_of_the_example_are_frames() -> None:
    """Each is what the core makes of the fields that the text says."""
    frames = {
        name: bytes.fromhex(octets)
        for name, octets in re.findall(r"^    ([A-Z]+) +(7e (?:[0-9a-f]{2} )+7e)$", PAGE, re.MULTILINE)
    }
    assert list(frames) == ["OPEN", "OPENED", "REQUEST", "ACK"]
    for name, octets in frames.items():
        (content,) = Deframer().receive(octets)
        direction = wire.FROM_BRIDGE if name in ("OPENED", "ACK") else 0
        frame = wire.unpack_frame(content, direction)
        assert frame is not None
        assert frame.kind == wire.FrameKind[name]
        assert frame.session == (0 if name == "OPEN" else 0x0102)
        if name in ("OPEN", "OPENED"):
            assert wire.unpack_open(frame.payload) == (1, wire.VERSION)
