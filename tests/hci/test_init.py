import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbbtd.errors import RemoteProtocolError
from usbbtd.hci.init import init_script
from usbbtd.hci.limits import MAX_ADVERTISING_SETS
from usbbtd.hci.losses import LOSSES, Cost
from usbbtd.hci.wire import commands

RANDOM_ADDRESS = bytes.fromhex("0100000000c0")
BREDR_NOT_SUPPORTED, LE, SIMPLE_PAIRING, NON_FLUSHABLE = 1 << 37, 1 << 38, 1 << 51, 1 << 54
ANSWERS = {
    commands.ReadLocalVersionInformation: commands.LocalVersionInformation(9, 1, 9, 0x0A, 2).parameters(),
    commands.ReadLocalSupportedCommands: b"\xff" * 64,
    commands.ReadLocalSupportedFeatures: (LE | SIMPLE_PAIRING | NON_FLUSHABLE).to_bytes(8, "little"),
    commands.ReadBdAddr: b"abcdef",
    commands.ReadBufferSize: commands.BufferSize(1021, 64, 8, 1).parameters(),
    commands.LeReadBufferSize: commands.LeBufferSize(251, 12).parameters(),
    commands.LeReadLocalSupportedFeatures: bytes(8),
    commands.LeReadSupportedStates: (3 << 22).to_bytes(8, "little"),
    commands.LeReadMaximumAdvertisingDataLength: bytes.fromhex("1f 00"),
    commands.LeReadNumberOfSupportedAdvertisingSets: b"\1",
    commands.LeReadMaximumDataLength: commands.LeMaximumDataLength(251, 2120, 251, 2120).parameters(),
}


def run(**changed: Any) -> Any:
    """The outcome and the commands; ``changed``: return parameters, or a status, by the command's name."""
    answers = {made.__name__: answer for made, answer in ANSWERS.items()} | changed
    script = init_script(RANDOM_ADDRESS)
    command = next(script)
    sent = [command]
    try:
        while True:
            answer = answers.get(type(command).__name__, b"")
            command = script.send((answer, b"") if isinstance(answer, int) else (0, answer))
            sent.append(command)
    except StopIteration as end:
        return end.value, sent


def test_a_dual_mode_controller() -> None:
    controller, sent = run()
    assert controller == (b"abcdef", 9, 0x0A, 2, True, True, (1021, 8), (251, 12), True, False, True, True, 1, 31, {})
    assert sent[0] == commands.Reset()
    assert commands.WriteSimplePairingMode(1) in sent
    assert commands.WriteLeHostSupport(1, 0) in sent
    assert commands.LeSetRandomAddress(RANDOM_ADDRESS) in sent


def test_event_masks_ask_for_what_we_act_on() -> None:
    """Bits as in Vol 4, Part E, 7.3.1 and 7.8.1."""
    _, sent = run(LeReadLocalSupportedFeatures=(1 << 1).to_bytes(8, "little"))
    mask = next(command.mask for command in sent if isinstance(command, commands.SetEventMask))
    links, security = {2, 3, 4, 15, 17, 18, 61}, {5, 7, 21, 22, 23, 47, 48, 49, 50, 51, 52, 53, 58}
    assert {bit for bit in range(64) if mask >> bit & 1} == links | security | {0, 1, 6, 33, 46}
    mask = next(command.mask for command in sent if isinstance(command, commands.LeSetEventMask))
    assert {bit for bit in range(64) if mask >> bit & 1} == {0, 1, 2, 4, 5, 9}


def test_le_features_that_are_missing_are_left_alone() -> None:
    _, sent = run()
    kinds = set(map(type, sent))
    assert not kinds & {commands.LeSetDefaultPhy, commands.LeWriteSuggestedDefaultDataLength}
    assert next(command.mask for command in sent if isinstance(command, commands.LeSetEventMask)) == 0b10_0001_0111


#: The bits of commands (6.27), and what is sent to a controller that lists them.
LISTED = [
    (1 << 32 * 8 + 3, commands.WriteSecureConnectionsHostSupport(1)),
    (1 << 45 * 8 + 7, commands.SetMinEncryptionKeySize(7)),
]


@pytest.mark.parametrize(("bit", "command"), LISTED)
def test_security_that_not_every_controller_has(bit: int, command: Any) -> None:
    def sent(bits: int, **changed: Any) -> list[Any]:
        made: list[Any] = run(ReadLocalSupportedCommands=bits.to_bytes(64, "little"), **changed)[1]
        return made

    assert command in sent(bit)
    assert command not in sent((1 << 512) - 1 ^ bit)
    assert command not in sent(bit, ReadLocalSupportedFeatures=LE_ONLY)
    without_pairing = sent(bit, ReadLocalSupportedFeatures=LE.to_bytes(8, "little"))
    assert (command in without_pairing) == isinstance(command, commands.SetMinEncryptionKeySize)


@pytest.mark.parametrize(
    ("features", "mode"), [(0, None), (1 << 30, 1), (1 << 30 | 1 << 48, 2), (1 << 30 | 1 << 37 | 1 << 38, None)]
)
def test_inquiries_tell_as_much_as_the_controller_can(features: int, mode: int | None) -> None:
    """Features as in Vol 2, Part C, 3.3: 30 RSSI with inquiry results, 48 extended inquiry response."""
    _, sent = run(ReadLocalSupportedFeatures=features.to_bytes(8, "little"))
    assert [command.mode for command in sent if isinstance(command, commands.WriteInquiryMode)] == [mode] * bool(mode)


@pytest.mark.parametrize("missing", [34 * 8 + 3, 34 * 8 + 5, 35 * 8 + 1, 39 * 8 + 2])
def test_private_addresses_are_resolved_with_all_commands_for_it(missing: int) -> None:
    """Only then the event is asked for that tells of a peer under its identity."""
    for bits in ((1 << 512) - 1, (1 << 512) - 1 ^ 1 << missing):
        controller, sent = run(ReadLocalSupportedCommands=bits.to_bytes(64, "little"))
        mask = next(command.mask for command in sent if isinstance(command, commands.LeSetEventMask))
        assert controller.resolves == bool(mask >> 9 & 1) == bool(bits >> missing & 1)
    bredr_only, _ = run(ReadLocalSupportedFeatures=bytes(8))
    assert not bredr_only.resolves


def test_le_features_that_are_there_are_used() -> None:
    _, sent = run(LeReadLocalSupportedFeatures=(1 << 5 | 1 << 8).to_bytes(8, "little"))
    assert commands.LeWriteSuggestedDefaultDataLength(251, 2120) in sent
    assert commands.LeSetDefaultPhy(0, 3, 3) in sent


def test_bredr_only() -> None:
    controller, sent = run(ReadLocalSupportedFeatures=bytes(8))
    assert (controller.supports_bredr, controller.supports_le) == (True, False)
    assert not any(type(command).__name__.startswith("Le") for command in sent)
    assert not any(isinstance(command, commands.WriteSimplePairingMode) for command in sent)


LE_ONLY = (BREDR_NOT_SUPPORTED | LE).to_bytes(8, "little")


@pytest.mark.parametrize("bredr_size", [commands.BufferSize(0, 0, 0, 0).parameters(), 0x01])
def test_le_only(bredr_size: bytes | int) -> None:
    controller, sent = run(ReadLocalSupportedFeatures=LE_ONLY, ReadBufferSize=bredr_size, ReadBdAddr=0x01)
    assert (controller.supports_bredr, controller.supports_le) == (False, True)
    assert (controller.bredr_buffers, controller.le_buffers) == (None, (251, 12))
    assert controller.address == bytes(6)
    assert not any(isinstance(command, commands.WriteLeHostSupport) for command in sent)


@pytest.mark.parametrize("length", [0, 27, 1021])
def test_an_le_controller_that_has_no_other_buffers(length: int) -> None:
    size = commands.BufferSize(length, 0, 0, 0).parameters()
    controller, _ = run(ReadLocalSupportedFeatures=LE_ONLY, ReadBufferSize=size)
    assert (controller.bredr_buffers, controller.le_buffers) == (None, (251, 12))
    with pytest.raises(RemoteProtocolError):
        run(ReadLocalSupportedFeatures=LE_ONLY, ReadBufferSize=size, LeReadBufferSize=struct.pack("<HB", 0, 0))


@pytest.mark.parametrize("size", [struct.pack("<HB", 0, 0), struct.pack("<HB", 251, 0)])
def test_an_le_controller_that_has_only_the_other_buffers(size: bytes) -> None:
    controller, _ = run(ReadLocalSupportedFeatures=LE_ONLY, LeReadBufferSize=size)
    assert (controller.bredr_buffers, controller.le_buffers) == ((1021, 8), None)


@pytest.mark.parametrize("size", [struct.pack("<HB", 0, 0), struct.pack("<HB", 251, 0)])
def test_le_shares_the_buffers_of_bredr(size: bytes) -> None:
    controller, _ = run(LeReadBufferSize=size)
    assert controller.le_buffers is None
    assert controller.bredr_buffers == (1021, 8)


@pytest.mark.parametrize(
    ("bits", "extended"), [((1 << 512) - 1, False), (7 << 36 * 8 + 5 | 3 << 37 * 8 + 6, True), (0, False)]
)
def test_extended_commands_without_the_feature_only_where_there_are_no_legacy_ones(bits: int, extended: bool) -> None:
    controller, sent = run(ReadLocalSupportedCommands=bits.to_bytes(64, "little"))
    assert controller.extended == extended
    mask = next(command.mask for command in sent if isinstance(command, commands.LeSetEventMask))
    assert bool(mask >> 12 & 1) == extended


EXTENDED_ADVERTISING = {"LeReadLocalSupportedFeatures": (1 << 12).to_bytes(8, "little")}


@pytest.mark.parametrize(("bits", "extended"), [((1 << 512) - 1, True), (1 << 26 * 8 + 1, False)])
def test_extended_commands_where_there_is_the_feature(bits: int, extended: bool) -> None:
    """The feature alone is not enough: the commands have to be there."""
    controller, _ = run(**EXTENDED_ADVERTISING, ReadLocalSupportedCommands=bits.to_bytes(64, "little"))
    assert controller.extended == extended
    assert (controller.advertising_sets, controller.advertising_data) == (1, 31)


@pytest.mark.parametrize(
    ("sets", "most", "used"),
    [
        (b"\x03", b"\x00\x01", (3, 256)),
        (b"\x01", b"\x1f\x00", (1, 31)),
        (b"\x00", b"\x00\x00", (1, 31)),
        (b"\xf0", b"\xff\xff", (MAX_ADVERTISING_SETS, 1650)),
        (0x01, 0x01, (1, 31)),
    ],
)
def test_advertising_sets_and_their_data(sets: bytes | int, most: bytes | int, used: tuple[int, int]) -> None:
    controller, _ = run(
        **EXTENDED_ADVERTISING,
        LeReadNumberOfSupportedAdvertisingSets=sets,
        LeReadMaximumAdvertisingDataLength=most,
    )
    assert (controller.advertising_sets, controller.advertising_data) == used


def test_every_command_may_be_unknown_and_costs_what_the_table_says() -> None:
    """Status 0x01, as from controllers older than the command."""
    _, sent = run(LeReadLocalSupportedFeatures=b"\xff" * 8)
    costs = {made: LOSSES[made].cost for made in map(type, sent)}
    assert set(costs.values()) == {Cost.ADAPTER, Cost.BREDR, Cost.LE, Cost.NOTHING}
    costs[commands.LeSetEventMask] = Cost.NOTHING  # with the legacy commands
    for made, cost in costs.items():
        if cost is Cost.ADAPTER:
            with pytest.raises(RemoteProtocolError, match=made.__name__):
                run(**{made.__name__: 0x01})
        else:
            controller, _ = run(**{made.__name__: 0x01})
            assert (controller.supports_bredr, controller.supports_le) == (cost is not Cost.BREDR, cost is not Cost.LE)
            assert list(controller.lost) == [cost] * (cost is not Cost.NOTHING)
            assert all(made.__name__ in why for why in controller.lost.values())
    assert run(**{made.__name__: 0x01 for made, cost in costs.items() if cost is Cost.NOTHING})[0].lost == {}


def test_extended_commands_need_the_event_mask_of_le() -> None:
    controller, _ = run(
        ReadLocalSupportedCommands=(7 << 36 * 8 + 5 | 3 << 37 * 8 + 6).to_bytes(64, "little"), LeSetEventMask=0x01
    )
    assert (controller.supports_bredr, controller.supports_le) == (True, False)
    assert "LeSetEventMask" in controller.lost[Cost.LE]


@pytest.mark.parametrize("features", [LE_ONLY, bytes(8)])
def test_no_transport_is_left(features: bytes) -> None:
    """The reason is there, and what costs a transport that the controller does not have costs nothing."""
    lost = {"ReadBufferSize": 0x01} if features == bytes(8) else {"SetEventMask": 0x01}
    with pytest.raises(RemoteProtocolError, match=next(iter(lost))):
        run(ReadLocalSupportedFeatures=features, **lost)
    other = {"ReadBufferSize": 0x01} if features == LE_ONLY else {"SetEventMask": 0x01}
    assert run(ReadLocalSupportedFeatures=features, **other)[0].lost == {}


@pytest.mark.parametrize(
    "changed",
    [
        {"ReadBufferSize": commands.BufferSize(26, 0, 8, 0).parameters()},
        {"ReadBufferSize": commands.BufferSize(27, 0, 0, 0).parameters()},
        {"ReadBufferSize": commands.BufferSize(0, 0, 0, 0).parameters()},
        {"LeReadBufferSize": commands.LeBufferSize(1, 4).parameters()},  # CVE-2021-3329, CVE-2024-36968
        {"ReadLocalSupportedFeatures": BREDR_NOT_SUPPORTED.to_bytes(8, "little")},
        {"ReadLocalSupportedFeatures": b"\0"},
        {"ReadBdAddr": b"short"},
    ],
)
def test_a_controller_that_contradicts_itself(changed: dict[str, bytes | int]) -> None:
    with pytest.raises(RemoteProtocolError):
        run(**changed)


@given(
    st.dictionaries(st.sampled_from([made.__name__ for made in ANSWERS]), st.binary(max_size=70) | st.integers(1, 255))
)
def test_whatever_a_controller_says_is_accepted_or_refused(changed: dict[str, bytes | int]) -> None:
    try:
        controller, _ = run(**changed)
    except RemoteProtocolError:
        return
    for buffers in (controller.bredr_buffers, controller.le_buffers):
        assert buffers is None or (buffers[0] >= 27 and buffers[1] >= 1)
    assert controller.bredr_buffers or controller.le_buffers
