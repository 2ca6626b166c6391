"""Controllers that need firmware, from the dongle to an adapter that is up, over the endpoints of USB."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from bumble.link import LocalLink
from structlog.testing import capture_logs

from tests.sim.vendor_csr import SET_MIN_KEY_SIZE, WRITE_SECURE_CONNECTIONS, CsrCopy
from tests.sim.vendor_intel import IntelController, configuration, payload, sfi
from tests.sim.vendor_realtek import DOWNLOAD, RESET, RealtekController, complete, first_form
from tests.support import air
from tests.support.vendor_dongle import Emulated, VendorDongle
from usbbtd.dongles.firmware import FirmwareDirectory
from usbbtd.dongles.h2_dongle import H2Dongle
from usbbtd.hci.wire.commands import Reset
from usbbtd.l2cap.limits import L2capLimits
from usbbtd.radio.adapter import LACKS_FIRMWARE, SharedAdapter
from usbbtd.radio.controller import STARTS_FIRMWARE

REALTEK, INTEL, CSR = (0x0BDA, 0x8771), (0x8087, 0x0032), (0x0A12, 0x0001)
PATCH = bytes(range(256)) * 20
CONTENT = payload(5000)
SFI = "intel/ibt-0290-1150.sfi"


@pytest.fixture
async def adapter(tmp_path: Path) -> AsyncIterator[SharedAdapter]:
    made = SharedAdapter(
        random_address=air.octets(air.OUR_LE_ADDRESS), command_timeout_s=0.1, limits=L2capLimits(),
        log=structlog.get_logger(), firmware=FirmwareDirectory(tmp_path),
    )  # fmt: skip
    yield made
    made.close()


def write(directory: Path, name: str, content: bytes) -> None:
    path = directory / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


async def take(adapter: SharedAdapter, link: LocalLink, emulated: Emulated, identity: tuple[int, int]) -> list[Any]:
    """Takes a dongle, and returns what is logged until it is up, given up, or has left."""
    dongle = VendorDongle(link, emulated, identity)
    with capture_logs() as logged:
        await adapter.take_dongle(H2Dongle(dongle))
        await air.turns(lambda: any(line["event"] in ("adapter up", "adapter down") for line in logged))
    return logged


def of(logged: list[Any], event: str) -> list[Any]:
    return [line for line in logged if line["event"] == event]


async def test_realtek_with_its_firmware(adapter: SharedAdapter, radio: LocalLink, tmp_path: Path) -> None:
    write(tmp_path, "rtl_bt/rtl8761bu_fw.bin", first_form({1: PATCH}))
    write(tmp_path, "rtl_bt/rtl8761bu_config.bin", b"configuration")
    controller = RealtekController(PATCH[:-4] + (0x1234_5678).to_bytes(4, "little") + b"configuration")
    logged = await take(adapter, radio, controller, REALTEK)
    assert controller.runs_firmware
    (loaded,) = of(logged, "firmware loaded")
    assert (loaded["controller"], loaded["file"], loaded["version"]) == (
        "Realtek RTL8761BU", "rtl_bt/rtl8761bu_fw.bin", "dfc6d922",
    )  # fmt: skip
    assert adapter.transports == (True, True)
    assert of(logged, "adapter up")[0]["controller"] == "Realtek RTL8761BU, Bluetooth 5.1"
    assert adapter.info().controller == "Realtek RTL8761BU, Bluetooth 5.1"
    assert not of(logged, "firmware missing")


async def test_realtek_without_its_firmware_goes_on(adapter: SharedAdapter, radio: LocalLink, tmp_path: Path) -> None:
    logged = await take(adapter, radio, RealtekController(b""), REALTEK)
    (missing,) = of(logged, "firmware missing")
    assert missing["log_level"] == "warning"
    assert (missing["file"], missing["package"]) == ("rtl_bt/rtl8761bu_fw.bin", "firmware-realtek")
    assert missing["reason"] == f"not in {tmp_path}"
    wanted = f"firmware: rtl_bt/rtl8761bu_fw.bin, of Debian's firmware-realtek, is not in {tmp_path}"
    assert adapter.info().missing == [wanted]
    assert adapter.powered


async def test_a_download_that_fails_gives_the_dongle_up(
    adapter: SharedAdapter, radio: LocalLink, tmp_path: Path
) -> None:
    write(tmp_path, "rtl_bt/rtl8761bu_fw.bin", first_form({1: PATCH}))
    controller = RealtekController(PATCH)
    controller.silent = {DOWNLOAD}
    logged = await take(adapter, radio, controller, REALTEK)
    assert of(logged, "adapter down")[0]["reason"] == "RtkDownload (0xFC20) is never answered"


@pytest.mark.parametrize("older", [False, True])
async def test_intel_with_its_firmware(
    adapter: SharedAdapter, radio: LocalLink, tmp_path: Path, *, older: bool
) -> None:
    """The firmware goes over the endpoint for data, which the emulated controller checks, as events come from there."""
    controller = IntelController(CONTENT, engine=0, older=older, variant=0x12 if older else 0x17)
    write(tmp_path, f"{controller.base}.sfi", sfi(CONTENT, both=not older))
    write(tmp_path, f"{controller.base}.ddc", configuration([b"\1\2\3"]))
    logged = await take(adapter, radio, controller, INTEL)
    assert controller.mode == "firmware"
    assert controller.configured == [b"\1\2\3"]
    assert of(logged, "firmware loaded")[0]["file"] == f"{controller.base}.sfi"
    assert of(logged, "adapter up")[0]["controller"].startswith("Intel 9260, " if older else "Intel AX210, ")
    assert adapter.transports == (True, True)
    assert adapter.statistics()["dongle_transfers_ignored"] == 0


async def test_intel_without_its_firmware_is_given_up(adapter: SharedAdapter, radio: LocalLink, tmp_path: Path) -> None:
    logged = await take(adapter, radio, IntelController(CONTENT), INTEL)
    (missing,) = of(logged, "firmware missing")
    assert (missing["file"], missing["package"]) == (SFI, "firmware-iwlwifi")
    assert of(logged, "adapter down")[0]["reason"] == f"Intel AX210 does nothing without its firmware, {SFI}"
    assert not adapter.powered


async def test_a_controller_that_leaves_to_start_its_firmware_is_no_fault(
    adapter: SharedAdapter, radio: LocalLink, tmp_path: Path
) -> None:
    write(tmp_path, SFI, sfi(CONTENT))
    controller = IntelController(CONTENT, leaves=True)
    logged = await take(adapter, radio, controller, INTEL)
    (down,) = of(logged, "adapter down")
    assert (down["log_level"], down["reason"]) == ("info", STARTS_FIRMWARE)
    assert not of(logged, "firmware missing")
    tried = asyncio.create_task(adapter.wait_tried())
    await asyncio.sleep(0)
    assert not tried.done()  # the service waits on for it to be ready
    logged = await take(adapter, radio, controller, INTEL)
    await tried
    assert of(logged, "adapter up")[0]["controller"].startswith("Intel AX210, ")


async def test_a_controller_that_leaves_again_and_again_is_given_up(
    adapter: SharedAdapter, radio: LocalLink, tmp_path: Path
) -> None:
    write(tmp_path, SFI, sfi(CONTENT))
    await take(adapter, radio, IntelController(CONTENT, leaves=True), INTEL)
    logged = await take(adapter, radio, IntelController(CONTENT, leaves=True), INTEL)
    (down,) = of(logged, "adapter down")
    assert down["log_level"] == "warning"
    assert down["reason"] == "Intel AX210 is in its bootloader again, although it was given its firmware"


async def test_a_dongle_that_is_pulled_out_during_its_set_up(
    adapter: SharedAdapter, radio: LocalLink, tmp_path: Path
) -> None:
    controller = RealtekController(b"")
    controller.silent = {0x1001}
    dongle = VendorDongle(radio, controller, REALTEK)
    with capture_logs() as logged:
        await adapter.take_dongle(H2Dongle(dongle))
        assert adapter.info().state == "starting"
        dongle.unplug()
    assert [line["reason"] for line in of(logged, "adapter down")] == ["unplugged"]


async def test_a_dongle_that_breaks_the_protocol_during_its_set_up(
    adapter: SharedAdapter, radio: LocalLink, tmp_path: Path
) -> None:
    class Short:
        def receive(self, command: bytes) -> list[bytes]:
            return [complete(RESET, b"\0") if command == Reset().pack() else b"\x0e\x01\x01"]

    logged = await take(adapter, radio, Short(), REALTEK)
    assert of(logged, "adapter down")[0]["reason"].startswith(
        "the dongle broke the protocol: CommandComplete is cut short"
    )


@pytest.mark.parametrize("silent", [(), (WRITE_SECURE_CONNECTIONS, SET_MIN_KEY_SIZE)])
async def test_a_copy_of_a_csr_dongle_works_and_is_named(
    adapter: SharedAdapter, radio: LocalLink, silent: tuple[int, ...]
) -> None:
    copy = CsrCopy(silent)
    logged = await take(adapter, radio, copy, CSR)
    assert of(logged, "adapter up")[0]["controller"] == "a copy of a CSR dongle, Bluetooth 5.0"
    assert adapter.transports == (True, True)
    assert adapter.info().missing == []
    assert not copy.is_dead


async def test_a_dongle_that_nobody_knows_is_found_to_have_realteks_chip(
    adapter: SharedAdapter, radio: LocalLink, tmp_path: Path
) -> None:
    unknown = (0x1234, 0x5678)
    write(tmp_path, "rtl_bt/rtl8761bu_fw.bin", first_form({1: PATCH}))
    controller = RealtekController(PATCH[:-4] + (0x1234_5678).to_bytes(4, "little"))
    (down,) = of(await take(adapter, radio, controller, unknown), "adapter down")
    assert (down["log_level"], down["reason"]) == ("info", LACKS_FIRMWARE)
    assert not adapter.powered
    await take(adapter, radio, controller, unknown)
    assert controller.runs_firmware
    assert adapter.powered


async def test_without_a_file_it_is_started_anew_only_once(adapter: SharedAdapter, radio: LocalLink) -> None:
    assert of(await take(adapter, radio, RealtekController(b""), (1, 2)), "adapter down")
    logged = await take(adapter, radio, RealtekController(b""), (1, 2))
    assert of(logged, "firmware missing")
    assert adapter.powered


async def test_the_file_that_a_dongle_gets_is_the_one_that_is_there_now(
    adapter: SharedAdapter, radio: LocalLink, tmp_path: Path
) -> None:
    """After the package was installed, the next attempt has it."""
    await take(adapter, radio, IntelController(CONTENT), INTEL)
    write(tmp_path, SFI, sfi(CONTENT))
    await take(adapter, radio, IntelController(CONTENT), INTEL)
    assert adapter.powered
