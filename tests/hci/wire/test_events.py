from contextlib import suppress
from typing import Any

import pytest
from bumble import hci
from hypothesis import given
from hypothesis import strategies as st

from usbbtd.errors import RemoteProtocolError
from usbbtd.hci.wire import events as incoming
from usbbtd.hci.wire.events import (
    AdvertisingReport,
    HciEvent,
    LeEvent,
    advertising_reports,
    may_be_lost,
    parse_event,
)

ADDRESS = hci.Address("C3:00:00:00:00:03", hci.Address.RANDOM_DEVICE_ADDRESS)
REPORT = hci.HCI_LE_Advertising_Report_Event.Report
EXTENDED_REPORT = hci.HCI_LE_Extended_Advertising_Report_Event.Report


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (
            hci.HCI_Connection_Complete_Event(
                status=0, connection_handle=0x42, bd_addr=ADDRESS, link_type=1, encryption_enabled=0
            ),
            incoming.ConnectionComplete(0, 0x42, bytes(ADDRESS), 1, 0),
        ),
        (
            hci.HCI_Connection_Request_Event(bd_addr=ADDRESS, class_of_device=0x030201, link_type=1),
            incoming.ConnectionRequest(bytes(ADDRESS), b"\1\2\3", 1),
        ),
        (
            hci.HCI_Disconnection_Complete_Event(status=0, connection_handle=0x42, reason=0x16),
            incoming.DisconnectionComplete(0, 0x42, 0x16),
        ),
        (
            hci.HCI_Command_Status_Event(status=1, num_hci_command_packets=2, command_opcode=0x0405),
            incoming.CommandStatus(1, 2, 0x0405),
        ),
        (
            hci.HCI_Role_Change_Event(status=0, bd_addr=ADDRESS, new_role=1),
            incoming.RoleChange(0, bytes(ADDRESS), 1),
        ),
        (
            hci.HCI_User_Confirmation_Request_Event(bd_addr=ADDRESS, numeric_value=123456),
            incoming.UserConfirmationRequest(bytes(ADDRESS), 123456),
        ),
        (
            hci.HCI_LE_Connection_Complete_Event(
                status=0,
                connection_handle=0x42,
                role=hci.Role.PERIPHERAL,
                peer_address_type=1,
                peer_address=ADDRESS,
                connection_interval=24,
                peripheral_latency=1,
                supervision_timeout=500,
                central_clock_accuracy=5,
            ),
            incoming.LeConnectionComplete(0, 0x42, 1, 1, bytes(ADDRESS), 24, 1, 500, 5),
        ),
        (
            hci.HCI_LE_Remote_Connection_Parameter_Request_Event(
                connection_handle=0x42, interval_min=6, interval_max=7, max_latency=8, timeout=900
            ),
            incoming.LeRemoteConnectionParameterRequest(0x42, 6, 7, 8, 900),
        ),
        (
            hci.HCI_LE_Long_Term_Key_Request_Event(
                connection_handle=0x42, random_number=bytes(range(8)), encryption_diversifier=0x1234
            ),
            incoming.LeLongTermKeyRequest(0x42, int.from_bytes(bytes(range(8)), "little"), 0x1234),
        ),
    ],
    ids=lambda event: type(event).__name__,
)
def test_bumbles_events_are_understood(theirs: Any, ours: Any) -> None:
    octets = bytes(theirs)[1:]
    assert parse_event(octets) == ours
    assert ours.pack() == octets


def test_every_event_is_known_to_bumble_under_its_name() -> None:
    for made in HciEvent.registry.values():
        assert hci.HCI_Event.event_names[made.CODE].replace("_", "") == f"HCI{made.__name__}Event".upper()
    for subevent in LeEvent.registry.values():
        name = hci.HCI_LE_Meta_Event.subevent_names[subevent.CODE].replace("_", "")
        assert name == f"HCI{subevent.__name__}Event".upper()


def test_reports() -> None:
    theirs = hci.HCI_LE_Advertising_Report_Event(
        [
            REPORT(event_type=0, address_type=1, address=ADDRESS, data=b"\2\1\6", rssi=-50),
            REPORT(event_type=4, address_type=0, address=ADDRESS, data=b"", rssi=127),
        ]
    )
    event = parse_event(bytes(theirs)[1:])
    assert isinstance(event, incoming.LeAdvertisingReport)
    assert advertising_reports(event) == [
        AdvertisingReport(0, 1, bytes(ADDRESS), -50, b"\2\1\6"),
        AdvertisingReport(4, 0, bytes(ADDRESS), 127, b""),
    ]


@pytest.mark.parametrize(
    ("properties", "event_type"), [(0x13, 0), (0x15, 1), (0x12, 2), (0x10, 3), (0x1B, 4), (0x1A, 4), (0x01, 0), (0, 3)]
)
@pytest.mark.parametrize("status", [0, 1, 2])
def test_extended_reports_get_the_legacy_types(properties: int, event_type: int, status: int) -> None:
    """Vol 4, Part E, 7.7.65.13, the table of PDU types."""
    report = EXTENDED_REPORT(
        event_type=properties | status << 5,
        address_type=1,
        address=ADDRESS,
        primary_phy=1,
        secondary_phy=0,
        advertising_sid=9,
        tx_power=127,
        rssi=-7,
        periodic_advertising_interval=0,
        direct_address_type=0,
        direct_address=hci.Address.ANY,
        data=b"hello",
    )
    event = parse_event(bytes(hci.HCI_LE_Extended_Advertising_Report_Event([report, report]))[1:])
    assert isinstance(event, incoming.LeExtendedAdvertisingReport)
    assert advertising_reports(event) == 2 * [AdvertisingReport(event_type, 1, bytes(ADDRESS), -7, b"hello", status, 9)]


@given(st.sampled_from([0x02, 0x0D]), st.binary(max_size=80))
def test_any_reports_are_read_within_their_octets_or_refused(subevent: int, octets: bytes) -> None:
    event: Any = LeEvent.registry[subevent](2, octets)
    try:
        reports = advertising_reports(event)
    except RemoteProtocolError:
        return
    assert len(reports) == 2
    assert all(report.data in octets and -128 <= report.rssi <= 127 for report in reports)


@given(st.binary(max_size=64))
def test_any_octets_are_parsed_or_refused(octets: bytes) -> None:
    for event in (octets, octets[:1] + bytes((max(len(octets) - 1, 0),)) + octets[1:]):
        with suppress(RemoteProtocolError):
            parse_event(event)


@pytest.mark.parametrize(
    "event", [b"", b"\x0e", b"\x0e\x04\x01\x03\x0c", b"\x0e\x01\x01", b"\x3e\x00", b"\x3e\x01\x01"]
)
def test_what_is_cut_short_is_refused(event: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_event(event)


@pytest.mark.parametrize(
    ("event", "lossy"),
    [
        ("3e00", True),
        ("3e0102", True),  # advertising report
        ("3e010d", True),
        ("3e0103", True),
        ("1200", True),
        ("1601aa", True),
        ("0400", True),
        ("0e0101", False),
        ("0f00", False),
        ("0300", False),
        ("0500", False),
        ("1000", False),
        ("1300", False),
        ("3e0101", False),
        ("3e010a", False),
        ("", False),
        ("16", False),
        ("160a00", False),
    ],
)
def test_what_may_be_lost(event: str, lossy: bool) -> None:
    assert may_be_lost(bytes.fromhex(event)) is lossy


def test_what_is_not_known_is_nothing() -> None:
    assert parse_event(b"\xff\x01\x00") is None
    assert parse_event(b"\x3e\x01\x7f") is None
