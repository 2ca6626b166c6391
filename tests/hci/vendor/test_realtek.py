import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hci.vendor.conftest import ABSENT, Run
from tests.sim.vendor_realtek import DOWNLOAD, READ_ROM, READ_VERSION, RealtekController, first_form, second_form
from usbbtd.hci.vendor.choice import runs_from_rom, setup_for
from usbbtd.hci.vendor.realtek import CHIPS, realtek_script
from usbbtd.hci.vendor.setup import VendorSetup

FIRMWARE, CONFIG = "rtl_bt/rtl8761bu_fw.bin", "rtl_bt/rtl8761bu_config.bin"
CONFIGURATION = bytes.fromhex("55ab23870000")
VERSION = (0x1234_5678).to_bytes(4, "little")


def patch(size: int) -> bytes:
    return bytes(number % 251 for number in range(size))


def given_firmware(made: bytes) -> bytes:
    """What the chip gets of a patch: the version of the file in place of its last four octets."""
    return made[:-4] + VERSION


def run(controller: RealtekController, files: dict[str, bytes]) -> Run:
    return Run(VendorSetup(realtek_script(), timeout_s=2.0), controller.receive, files)


@pytest.mark.parametrize("size", [8, 251, 252, 253, 504, 27_808, 252 * 128, 252 * 257 + 1])
@pytest.mark.parametrize("config", [b"", CONFIGURATION])
def test_a_chip_gets_its_patch_octet_by_octet(size: int, config: bytes) -> None:
    controller = RealtekController(given_firmware(patch(size)) + config)
    files = {FIRMWARE: first_form({0: b"other" * 9, 1: patch(size)})} | ({CONFIG: config} if config else {})
    ran = run(controller, files)
    assert ran.result == ("Realtek RTL8761BU", FIRMWARE, "dfc6d922", None, None)
    assert controller.runs_firmware
    assert ran.asked == [FIRMWARE, CONFIG]
    assert ran.took_s == 0


def test_a_chip_that_has_its_firmware_is_left_alone() -> None:
    controller = RealtekController(b"")
    controller.runs_firmware = True
    ran = run(controller, {})
    assert ran.result == (None, None, None, None, None)
    assert ran.asked == []
    assert DOWNLOAD not in controller.commands


def test_a_file_that_is_missing_is_one_line_and_no_failure() -> None:
    controller = RealtekController(b"")
    result = run(controller, {}).result
    assert result.problem == (FIRMWARE, "firmware-realtek", ABSENT)
    assert result.failure is None
    assert result.chip == "Realtek RTL8761BU"
    assert DOWNLOAD not in controller.commands


def test_a_configuration_that_is_needed() -> None:
    files = {"rtl_bt/rtl8822b_fw.bin": first_form({1: patch(300)}, project=8)}
    controller = RealtekController(given_firmware(patch(300)) + CONFIGURATION, rom=0x8822, hci=(0x0B, 0x07))
    result = run(controller, files).result
    assert result.problem == ("rtl_bt/rtl8822b_config.bin", "firmware-realtek", ABSENT)
    assert DOWNLOAD not in controller.commands
    assert run(controller, files | {"rtl_bt/rtl8822b_config.bin": CONFIGURATION}).result.problem is None
    assert controller.runs_firmware


def test_the_oldest_chip_gets_the_file_as_it_is() -> None:
    controller = RealtekController(patch(9000), rom=0x1200, hci=(0x0B, 0x06))
    ran = run(controller, {"rtl_bt/rtl8723a_fw.bin": patch(9000)})
    assert controller.runs_firmware
    assert READ_ROM not in controller.commands
    assert ran.asked == ["rtl_bt/rtl8723a_fw.bin"]
    refused = RealtekController(b"", rom=0x1200, hci=(0x0B, 0x06))
    problem = run(refused, {"rtl_bt/rtl8723a_fw.bin": first_form({1: patch(99)})}).result.problem
    assert problem is not None
    assert problem.reason == "for another chip: this one's has no header"


def test_the_second_form_in_the_order_of_priorities() -> None:
    parts = [(1, 5, 0, b"third"), (1, 1, 0, b"second"), (1, 1, 0, b"first"), (0, 0, 0, b"for another ROM")]
    content = second_form([(1, parts), (3, [(1, 0, 7, b"signed")]), (9, []), (2, [(1, 9, 0, b"dummy")])])
    name = "rtl_bt/rtl8761cu_fw.bin"
    controller = RealtekController(b"firstsecondthirddummy", hci=(0x0E, 0x0C))
    assert run(controller, {name: content}).result.firmware == name
    assert controller.runs_firmware
    signed = RealtekController(b"signedfirstsecondthirddummy", hci=(0x0E, 0x0C), key=7)
    ran = run(signed, {name: content, "rtl_bt/rtl8761cu_config.bin": CONFIGURATION})
    assert signed.runs_firmware
    assert ran.asked == [name]  # a chip with a key takes no configuration
    other = RealtekController(b"firstsecondthirddummy", hci=(0x0E, 0x0C), key=8)
    run(other, {name: content})
    assert other.runs_firmware


def test_a_chip_with_a_second_file() -> None:
    for name in ("rtl_bt/rtl8852cu_fw_v2.bin", "rtl_bt/rtl8852cu_fw.bin"):
        controller = RealtekController(given_firmware(patch(500)), rom=0x8852, hci=(0x0C, 0x0C))
        assert run(controller, {name: first_form({1: patch(500)}, project=25)}).result.firmware == name


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no firmware of Realtek's: it begins otherwise"),
        (b"Realtech", "cut short: it does not end as it should"),
        (first_form({1: patch(99)})[:-1], "cut short: it does not end as it should"),
        (first_form({1: patch(99)}, project=8), "for another chip: 0x8822, not 0x8761"),
        (first_form({1: patch(99)}, project=200), "for another chip: project 200, not 0x8761"),
        (first_form({0: patch(99), 2: patch(9)}), "without a patch for ROM version 1"),
        (first_form({1: b"abc"}), "cut short: a patch of 3 octets at 22 is not in it"),
        (second_form([(1, [(0, 0, 0, b"x")])]), "without a patch for ROM version 1"),
    ],
)
def test_a_file_that_does_not_fit_is_said_and_not_sent(content: bytes, reason: str) -> None:
    controller = RealtekController(b"")
    result = run(controller, {FIRMWARE: content}).result
    assert result.problem == (FIRMWARE, "firmware-realtek", reason)
    assert result.failure is None
    assert DOWNLOAD not in controller.commands


FILES = [
    first_form({0: patch(20), 1: patch(600)}),
    second_form([(1, [(1, 2, 0, patch(300)), (1, 1, 0, patch(30))]), (3, [(1, 0, 7, patch(20))])]),
]


@given(
    st.sampled_from(FILES), st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255))), st.integers(0, 700),
    st.sampled_from([0, 7]),
)  # fmt: skip
def test_a_damaged_file_is_one_problem_or_some_firmware(
    file: bytes, changes: list[tuple[int, int]], cut: int, key: int
) -> None:
    damaged = bytearray(file)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    content = bytes(damaged[:-cut] if cut % 2 and cut < len(damaged) else damaged)
    controller = RealtekController(b"", key=key)
    result = run(controller, {FIRMWARE: content}).result
    assert (result.problem is None) != (result.failure is None)
    assert (result.problem is None) == (DOWNLOAD in controller.commands)
    if result.problem:
        assert "\n" not in result.problem.reason
    else:
        assert result.failure == "RtkDownload (0xFC20) failed with status 0x12"  # this controller takes nothing


@given(st.binary(max_size=200))
def test_no_file_at_all_is_one_problem(content: bytes) -> None:
    assert run(RealtekController(b""), {FIRMWARE: content}).result.problem


def test_a_download_that_fails_leaves_it_of_no_use() -> None:
    controller = RealtekController(b"something else")
    assert run(controller, {FIRMWARE: first_form({1: patch(999)})}).result.failure
    controller = RealtekController(b"")
    controller.silent = {DOWNLOAD}
    ran = run(controller, {FIRMWARE: first_form({1: patch(999)})})
    assert ran.result.failure == "RtkDownload (0xFC20) is never answered"
    assert ran.took_s == 10


def test_a_chip_that_does_not_tell_its_versions_goes_on_as_it_is() -> None:
    controller = RealtekController(b"")
    controller.silent = {READ_VERSION}
    assert run(controller, {}).result == (None,) * 5
    controller = RealtekController(b"")
    controller.refused = {READ_ROM}
    problem = run(controller, {}).result.problem
    assert problem is not None
    assert problem.reason == "not loaded: the controller does not tell for which version"


def test_every_rom_is_one_of_a_controller_that_lacks_firmware() -> None:
    roms = {subversion for subversion in range(1 << 16) if runs_from_rom(0x005D, subversion)}
    assert roms == {chip.rom for chip in CHIPS}
    assert not runs_from_rom(0x000A, 0x8761)
    assert not runs_from_rom(None, None)


def test_every_chip_is_known_by_its_versions_alone() -> None:
    assert len({(chip.rom, chip.hci_subversion) for chip in CHIPS}) == len(CHIPS)


@pytest.mark.parametrize(
    ("identity", "needs"),
    [((0x0BDA, 0x8771), True), ((0x2357, 0x0604), True), ((0x1209, 0xB7B7), False), ((0x0A12, 0x0001), True)],
)
def test_who_needs_a_set_up(identity: tuple[int, int], *, needs: bool) -> None:
    assert (setup_for(*identity, timeout_s=1.0) is not None) == needs
