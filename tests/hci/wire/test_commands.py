"""Every layout against Bumble's, which was written independently."""

import inspect
from itertools import count
from typing import Any

import pytest
from bumble import hci

from usbbtd.hci.wire import commands
from usbbtd.hci.wire.commands import HciCommand, Returned

TAIL = 5
#: Where Bumble's parser counts by a field: one PHY, one advertising set, and the octets of advertising data.
SENSIBLE = {"phys": 1, "sets": 1, "length": TAIL}


def sample(made: Any) -> Any:
    """An instance in which every octet differs from its neighbours."""
    octets = count(0x11)
    tail = bytes(next(octets) for _ in range(TAIL)) if made.HAS_TAIL else b""
    parameters = bytes(next(octets) % 120 for _ in range(made.LAYOUT.size)) + tail
    parsed = made.parse(parameters)
    fields = dict(zip(made.__match_args__, parsed.field_values(), strict=True))
    fields |= {name: value for name, value in SENSIBLE.items() if name in fields}
    if "data" in fields:
        fields["data"] = fields["data"][:TAIL]
    return made(**fields)


def rebuilt(theirs: Any) -> Any:
    """Their object made anew from its fields, so that their packer is used and not the octets that they keep."""
    return type(theirs)(**{name: getattr(theirs, name) for name in inspect.signature(type(theirs)).parameters})


#: Commands that Bumble does not know, with their octets by the specification.
UNKNOWN = {
    commands.RemoteNameRequestCancel: (commands.RemoteNameRequestCancel(b"abcdef"), "1a0406616263646566"),  # 7.1.20
    commands.SetMinEncryptionKeySize: (commands.SetMinEncryptionKeySize(7), "840c0107"),  # 7.3.102
}


@pytest.mark.parametrize(("command", "octets"), UNKNOWN.values(), ids=lambda value: type(value).__name__)
def test_pack_what_bumble_does_not_know(command: HciCommand, octets: str) -> None:
    assert command.pack().hex() == octets
    assert command.CODE not in hci.HCI_Command.command_classes


KNOWN = [made for made in HciCommand.registry.values() if made not in UNKNOWN]


@pytest.mark.parametrize("made", KNOWN, ids=lambda made: made.__name__)
def test_pack_is_read_and_written_alike_by_bumble(made: Any) -> None:
    ours = sample(made).pack()
    theirs = hci.HCI_Packet.from_bytes(b"\x01" + ours)
    assert type(theirs) in hci.HCI_Command.command_classes.values()
    assert bytes(rebuilt(theirs)) == b"\x01" + ours
    assert type(theirs).__name__.replace("_", "").lower() == f"hci{made.__name__}command".lower()


@pytest.mark.parametrize("made", Returned.registry.values(), ids=lambda made: made.__name__)
def test_return_parameters_are_as_long_as_bumbles(made: Any) -> None:
    theirs = hci.HCI_Command.command_classes[made.CODE].parse_return_parameters(b"\0" + sample(made).parameters())
    assert bytes(theirs) == b"\0" + sample(made).parameters()


ADDRESS = hci.Address("C3:00:00:00:00:03", hci.Address.RANDOM_DEVICE_ADDRESS)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (commands.Disconnect(0x40, 0x13), hci.HCI_Disconnect_Command(connection_handle=0x40, reason=0x13)),
        (
            commands.CreateConnection(bytes(ADDRESS), 0xCC18, 2, 0, 0x1234, 1),
            hci.HCI_Create_Connection_Command(
                bd_addr=ADDRESS,
                packet_type=0xCC18,
                page_scan_repetition_mode=2,
                reserved=0,
                clock_offset=0x1234,
                allow_role_switch=1,
            ),
        ),
        (
            commands.LeCreateConnection(0x60, 0x30, 0, 1, bytes(ADDRESS), 1, 12, 24, 3, 500, 7, 8),
            hci.HCI_LE_Create_Connection_Command(
                le_scan_interval=0x60,
                le_scan_window=0x30,
                initiator_filter_policy=0,
                peer_address_type=1,
                peer_address=ADDRESS,
                own_address_type=1,
                connection_interval_min=12,
                connection_interval_max=24,
                max_latency=3,
                supervision_timeout=500,
                min_ce_length=7,
                max_ce_length=8,
            ),
        ),
    ],
    ids=lambda command: type(command).__name__,
)
def test_fields_mean_what_bumble_means(ours: Any, theirs: Any) -> None:
    assert b"\x01" + ours.pack() == bytes(theirs)
