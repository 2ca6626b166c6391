"""The emulated controllers, with Bumble's own drivers for them."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from bumble.drivers import intel, rtk
from bumble.host import Host

from tests.sim.vendor_intel import ECDSA, RSA, IntelController, configuration, payload, sfi
from tests.sim.vendor_realtek import RealtekController, complete, first_form

TIME_LIMIT_S = 10
VERSION = (0x1234_5678).to_bytes(4, "little")


class Transport:
    """Source and sink of a host of Bumble's, with an emulated controller behind them."""

    def __init__(self, controller: Any) -> None:
        self._controller = controller
        self._sink: Any = None
        self.host = Host()
        self.host.set_packet_sink(self)
        self.set_packet_sink(self.host)

    def set_packet_sink(self, sink: Any) -> None:
        self._sink = sink

    def on_packet(self, packet: bytes) -> None:
        assert packet[0] == 1
        events = self._controller.receive(packet[1:])
        opcode = int.from_bytes(packet[1:3], "little")
        for event in [complete(opcode, b"\0")] if events is None else events:
            asyncio.get_running_loop().call_soon(self.host.on_packet, b"\x04" + event)


@pytest.mark.parametrize("size", [300, 27_808])
async def test_bumbles_driver_loads_the_realtek_controller(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, size: int
) -> None:
    """Up to 128 pieces: after that it counts on from 0, and Linux from 1."""
    monkeypatch.setenv(rtk.RTK_FIRMWARE_DIR_ENV, str(tmp_path))
    patch = bytes(number % 251 for number in range(size))
    (tmp_path / "rtl8761bu_fw.bin").write_bytes(first_form({0: b"other" * 9, 1: patch}))
    (tmp_path / "rtl8761bu_config.bin").write_bytes(b"configuration")
    controller = RealtekController(patch[:-4] + VERSION + b"configuration")
    controller.takes_padding = True
    driver = await rtk.Driver.for_host(Transport(controller).host, force=True)
    assert driver is not None
    async with asyncio.timeout(TIME_LIMIT_S):
        await driver.init_controller()
    assert controller.runs_firmware


@pytest.mark.parametrize("engine", [RSA, ECDSA])
async def test_bumbles_driver_loads_the_intel_controller(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, engine: int
) -> None:
    monkeypatch.setenv(intel.INTEL_FIRMWARE_DIR_ENV, str(tmp_path))
    content = payload(9000)
    controller = IntelController(content, engine=engine)
    name = controller.base.removeprefix("intel/").upper().replace("IBT", "ibt")
    (tmp_path / f"{name}.sfi").write_bytes(sfi(content))
    (tmp_path / f"{name}.ddc").write_bytes(configuration([b"\1\2\3"]))
    driver = intel.Driver(Transport(controller).host)
    async with asyncio.timeout(TIME_LIMIT_S):
        await driver.init_controller()
    assert controller.mode == "firmware"
    assert controller.configured == [b"\1\2\3"]
