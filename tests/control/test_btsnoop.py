"""The file that Wireshark and btmon read, against the description of its form, octet by octet."""

from usbbtd.control import btsnoop


def test_the_header_says_btsnoop_1_with_hci_uart() -> None:
    assert b"btsnoop\0" + bytes.fromhex("00000001 000003ea") == btsnoop.FILE_HEADER


def test_a_record_has_lengths_flags_drops_time_and_the_h4_packet() -> None:
    packet = bytes.fromhex("0e0401030c00")
    record = btsnoop.pack_record(packet, received=True, packet_type=4, drops=5, unix_time_us=946_684_800_000_000)
    # The first second of 2000 is 0x00E03AB44A676000: the offset that other readers of the form have built in.
    assert record == bytes.fromhex("00000007 00000007 00000003 00000005 00E03AB44A676000 04") + packet


def test_data_that_was_sent_has_no_flag() -> None:
    record = btsnoop.pack_record(bytes(8), received=False, packet_type=2, drops=0, unix_time_us=0)
    assert record[:12] == bytes.fromhex("00000009 00000009 00000000")
    assert record[24:] == b"\2" + bytes(8)
