import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hci.vendor.conftest import ABSENT, Run, answered
from tests.sim.vendor_intel import (
    CONFIGURE,
    ECDSA,
    INTEL_RESET,
    READ_BOOT,
    READ_VERSION,
    RSA,
    SECURE_SEND,
    IntelController,
    command,
    configuration,
    payload,
    sfi,
)
from tests.sim.vendor_realtek import complete
from usbbtd.hci.vendor.intel import intel_script
from usbbtd.hci.vendor.setup import VendorSetup

CONTENT = payload(20_000)
RECORDS = [bytes.fromhex("280103"), bytes.fromhex("0a020304050607")]


def run(controller: IntelController, files: dict[str, bytes], *, came_back: bool = False) -> Run:
    return Run(VendorSetup(intel_script(came_back=came_back), timeout_s=2.0), controller.receive, files)


@pytest.mark.parametrize(
    ("options", "chip"),
    [
        ({"engine": ECDSA}, "Intel AX210"),
        ({"engine": RSA}, "Intel AX210"),
        ({"engine": ECDSA, "variant": 0x1C}, "Intel BE200"),
        ({"engine": RSA, "older": True, "variant": 0x12}, "Intel 9260"),
    ],
)
@pytest.mark.parametrize("configured", [True, False])
def test_a_bootloader_gets_its_firmware_octet_by_octet(options: Any, chip: str, *, configured: bool) -> None:
    controller = IntelController(CONTENT, **options)
    controller.gives_credit = configured
    files = {f"{controller.base}.sfi": sfi(CONTENT, both=not controller.older)}
    if configured:
        files[f"{controller.base}.ddc"] = configuration(RECORDS)
    ran = run(controller, files)
    assert ran.result == (chip, f"{controller.base}.sfi", None, None, None)
    assert controller.mode == "firmware"
    assert controller.configured == (RECORDS if configured else [])
    assert ran.asked == [f"{controller.base}.sfi", f"{controller.base}.ddc"]
    assert ran.took_s == 0


@pytest.mark.parametrize("variant", [0x0B, 0x0C])
def test_the_oldest_bootloaders_are_known_by_their_device_revision(variant: int) -> None:
    controller = IntelController(CONTENT, engine=RSA, older=True, variant=variant)
    name = f"intel/ibt-{variant}-5.sfi"
    assert run(controller, {name: sfi(CONTENT, both=False)}).result.firmware == name
    assert controller.mode == "firmware"


@pytest.mark.parametrize("older", [True, False])
def test_one_that_runs_its_firmware_is_left_alone(*, older: bool) -> None:
    controller = IntelController(CONTENT, older=older, variant=0x12 if older else 0x19)
    controller.mode = "firmware"
    ran = run(controller, {})
    assert ran.result == ("Intel 9260" if older else "Intel AX211", None, None, None, None)
    assert controller.commands == [READ_VERSION]


def test_a_bootloader_without_its_file_is_given_up_with_one_line() -> None:
    controller = IntelController(CONTENT)
    result = run(controller, {}).result
    assert result.problem == ("intel/ibt-0290-1150.sfi", "firmware-iwlwifi", ABSENT)
    assert result.failure == "Intel AX210 does nothing without its firmware, intel/ibt-0290-1150.sfi"
    assert controller.commands == [READ_VERSION]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cut short: 0 octets"),
        (sfi(CONTENT, both=False)[:964], "cut short: 964 octets"),
        (sfi(CONTENT, both=False), "not for this controller, or damaged: a header has the version 0x"),
        (bytes(2000), "not for this controller, or damaged: a header has the version 0x00000000"),
        (sfi(CONTENT)[:-1], "cut short: the command at"),
        (sfi(CONTENT + b"\x02"), "cut short: no command at"),
        (sfi(CONTENT + command(0xFC02, b"\0")[:3] + b""), "cut short: the command at"),
        (sfi(CONTENT + command(0xFC02, b"")), "cut short: it ends within a group of commands"),
        (sfi(command(0xFC0E, b"\0")), "damaged: it does not say where it begins"),
    ],
)
def test_a_file_that_does_not_fit_is_said_and_not_sent(content: bytes, reason: str) -> None:
    controller = IntelController(CONTENT)
    result = run(controller, {"intel/ibt-0290-1150.sfi": content}).result
    assert result.problem is not None
    assert result.problem.reason.startswith(reason)
    assert result.failure
    assert SECURE_SEND not in controller.commands


@pytest.mark.parametrize("place", [0, 130, 400, 650, 800, 900, 964 + 3, 964 + 100])
def test_one_wrong_octet_is_not_started(place: int) -> None:
    changed = bytearray(sfi(CONTENT))
    changed[place] ^= 1
    controller = IntelController(CONTENT)
    result = run(controller, {"intel/ibt-0290-1150.sfi": bytes(changed)}).result
    # The headers for RSA are not sent to a controller with ECDSA.
    assert (result.failure is None) == (place < 644)
    assert (controller.mode == "firmware") == (place < 644)


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=5), st.integers(0, 3000))
def test_a_damaged_file_is_one_problem_or_is_not_accepted(changes: list[tuple[int, int]], cut: int) -> None:
    content = payload(1500)
    damaged = bytearray(sfi(content))
    for place, value in changes:
        damaged[place % len(damaged)] = value
    made = bytes(damaged[: cut % len(damaged)] if cut % 3 == 0 else damaged)
    controller = IntelController(content)
    result = run(controller, {"intel/ibt-0290-1150.sfi": made}).result
    assert (result.failure is None) == (controller.mode == "firmware")
    if result.problem:
        assert "\n" not in result.problem.reason
        assert SECURE_SEND not in controller.commands


@pytest.mark.parametrize(
    ("options", "failure", "took_s"),
    [
        ({"silent": {SECURE_SEND}}, "IntelSecureSend (0xFC09) is never answered", 10),
        ({"forgets": {0x06}}, "Intel AX210 does not accept its firmware, intel/ibt-0290-1150.sfi", 5),
        ({"forgets": {0x02}}, "Intel AX210 does not start its firmware, intel/ibt-0290-1150.sfi", 5),
        ({"unanswered": 1}, "Intel AX210 has a bootloader that usbbtd does not know", 0),
        ({"sbe": 3}, "Intel AX210 has a bootloader that usbbtd does not know", 0),
        ({"variant": 0x22}, "Intel controller of variant 0x22 has a bootloader that usbbtd does not know", 0),
        ({"mode": "loaded", "variant": 0x12, "older": True}, None, 0),
    ],
)
def test_a_bootloader_that_fails(options: Any, failure: str | None, took_s: int) -> None:
    controller = IntelController(CONTENT)
    for name, value in options.items():
        setattr(controller, name, value)
    ran = run(controller, {f"{controller.base}.sfi": sfi(CONTENT)})
    assert ran.result.failure == failure
    assert ran.took_s == took_s


@pytest.mark.parametrize(
    ("options", "failure"),
    [
        ({"variant": 0x15}, "Intel controller of variant 0x15 wants firmware, and nobody knows which"),
        ({"unanswered": 1}, "Intel 9260 does not say how its bootloader works, or works otherwise"),
        ({"silent": {READ_BOOT}}, "Intel 9260 does not say how its bootloader works, or works otherwise"),
    ],
)
def test_an_older_bootloader_that_fails(options: Any, failure: str) -> None:
    controller = IntelController(CONTENT, older=True, variant=0x12)
    for name, value in options.items():
        setattr(controller, name, value)
    assert run(controller, {}).result.failure == failure


def test_a_controller_that_comes_back_without_its_firmware_is_given_up() -> None:
    controller = IntelController(CONTENT)
    result = run(controller, {"intel/ibt-0290-1150.sfi": sfi(CONTENT)}, came_back=True).result
    assert result.failure == "Intel AX210 is in its bootloader again, although it was given its firmware"
    assert controller.commands == [READ_VERSION]


def test_a_configuration_that_is_damaged_costs_itself() -> None:
    for content in (b"\x01\x00", b"\x05\x00\x00", configuration(RECORDS) + b"\x09"):
        controller = IntelController(CONTENT)
        files = {"intel/ibt-0290-1150.sfi": sfi(CONTENT), "intel/ibt-0290-1150.ddc": content}
        result = run(controller, files).result
        assert result.problem is not None
        assert result.problem.file == "intel/ibt-0290-1150.ddc"
        assert result.failure is None
        assert controller.configured == []
    controller = IntelController(CONTENT)
    controller.silent = {CONFIGURE}
    files = {"intel/ibt-0290-1150.sfi": sfi(CONTENT), "intel/ibt-0290-1150.ddc": configuration(RECORDS)}
    assert run(controller, files).result.problem


@given(st.binary(max_size=60))
def test_a_version_of_any_octets_is_a_result(version: bytes) -> None:
    setup = VendorSetup(intel_script(came_back=False), timeout_s=2.0)
    ran = Run(setup, answered([[complete(READ_VERSION, b"\0" + version)]]), {})
    assert all(name.startswith("intel/ibt-") and ".." not in name for name in ran.asked)
    assert ran.result.failure or not ran.result.problem


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.sampled_from([0x17, 0x18, 0x1C]))
def test_names_of_files_are_made_of_numbers(cnvi: int, cnvr: int, variant: int) -> None:
    facts = IntelController.facts(
        (0x10, struct.pack("<I", cnvi)),
        (0x11, struct.pack("<I", cnvr)),
        (0x12, struct.pack("<I", variant << 16 | 0x3700)),
        (0x1C, b"\x01"),
    )
    setup = VendorSetup(intel_script(came_back=False), timeout_s=2.0)
    (name,) = Run(setup, answered([[complete(READ_VERSION, b"\0" + facts)]]), {}).asked
    top = [(value & 0xFFF) << 4 | value >> 24 & 0xF for value in (cnvi, cnvr)]
    swapped = [int.from_bytes(value.to_bytes(2, "little"), "big") for value in top]
    assert name == f"intel/ibt-{swapped[0]:04x}-{swapped[1]:04x}.sfi"


def test_the_reset_that_starts_the_firmware_is_not_waited_for() -> None:
    controller = IntelController(CONTENT, leaves=True)
    setup = VendorSetup(intel_script(came_back=False), timeout_s=2.0)
    ran = Run(setup, controller.receive, {"intel/ibt-0290-1150.sfi": sfi(CONTENT)})
    assert controller.commands[-1] == INTEL_RESET
    assert controller.has_left
    assert setup.is_leaving
    assert ran.took_s == 5  # it has not left, and says nothing
