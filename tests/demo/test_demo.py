"""The demo, with little traffic: the whole path as a user sees it."""

import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bumble import hci

KEYS = (
    "guests", "channels", "sdus_sent", "sdus_received", "sdus_lost", "sdus_corrupted", "bytes", "rtt_us_p50",
    "rtt_us_p99", "throughput_bytes_per_s", "seconds",
)  # fmt: skip
H4_LINK_TYPE = 1002
RECEIVED, COMMAND_OR_EVENT = 1, 2


class Record(NamedTuple):
    flags: int
    drops: int
    time_us: int
    packet: hci.HCI_Packet


def records_of(capture: bytes) -> Iterator[Record]:
    """Reads a file of btsnoop, as RFC 1761 has it, to its very end. The packets are Bumble's reading of them."""
    assert struct.unpack_from(">8sII", capture) == (b"btsnoop\0", 1, H4_LINK_TYPE)
    position = 16
    while position < len(capture):
        length, included, flags, drops, time_us = struct.unpack_from(">IIIIq", capture, position)
        position += 24 + included
        assert length == included
        assert position <= len(capture)
        yield Record(flags, drops, time_us, hci.HCI_Packet.from_bytes(capture[position - included : position]))


def test_the_demo_succeeds_and_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.demo", "--short", "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=130, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "✗" not in done.stdout
    assert "\x1b" not in done.stdout
    figures = json.loads((tmp_path / "demo.json").read_text())
    assert tuple(figures) == KEYS
    assert figures["guests"] == 3
    assert figures["sdus_sent"] == figures["sdus_received"] > 0
    assert figures["sdus_lost"] == figures["sdus_corrupted"] == 0
    assert f"{figures['sdus_sent']:,}" in done.stdout
    assert "guest disconnected" in (tmp_path / "demo" / "usbbtd.log").read_text()
    capture = tmp_path / "demo.btsnoop"
    records = list(records_of(capture.read_bytes()))
    assert f", {len(records)} packets: wireshark {capture}\n" in done.stdout
    check_capture(records, figures["bytes"])


def check_capture(records: list[Record], octets: int) -> None:
    """All packets from the first command on, none lost, the SDUs among them."""
    assert not any(record.drops for record in records)
    assert [record.time_us for record in records] == sorted(record.time_us for record in records)
    for record in records:
        is_data = isinstance(record.packet, hci.HCI_AclDataPacket)
        assert bool(record.flags & COMMAND_OR_EVENT) != is_data
        if not is_data:
            assert bool(record.flags & RECEIVED) == isinstance(record.packet, hci.HCI_Event)
    assert isinstance(records[0].packet, hci.HCI_Reset_Command)
    packets = [record.packet for record in records]
    assert any(isinstance(packet, hci.HCI_Connection_Complete_Event) and packet.status == 0 for packet in packets)
    keys = [packet.link_key for packet in packets if isinstance(packet, hci.HCI_Link_Key_Notification_Event)]
    assert keys == [bytes(16)]  # the lock's, which a capture does not show
    assert any(isinstance(packet, hci.HCI_LE_Connection_Complete_Event | hci.HCI_LE_Enhanced_Connection_Complete_Event)
               for packet in packets)  # fmt: skip
    for direction in (0, RECEIVED):
        data = [r.packet.data for r in records if r.flags == direction]
        assert sum(map(len, data)) > octets // 2
