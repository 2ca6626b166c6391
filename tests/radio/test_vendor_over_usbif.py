"""A controller that leaves the bus to start its firmware: over rings, with both pumps of usbif in one process."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import structlog
from bumble.link import LocalLink
from structlog.testing import capture_logs

from tests.sim.controller import SimulatedController
from tests.sim.dongle import ACL_IN, CLASS_REQUEST_OUT, EVENTS_IN, SimulatedDongle
from tests.sim.vendor_intel import SECURE_SEND, IntelController, payload, sfi
from tests.support import air, plain_xen
from usbbtd.backends.usbif import _UsbifConnection
from usbbtd.dongles.firmware import FirmwareDirectory
from usbbtd.dongles.usbif_dongle import QUEUED
from usbbtd.dongles.usbif_frontend import _Connection
from usbbtd.l2cap.limits import L2capLimits
from usbbtd.radio.adapter import SharedAdapter

DOMID, PORT = 3, 1


class CopyingXen(plain_xen.PlainXen):
    """With copies of granted memory, as the backend makes them."""

    def copy_from(self, domid: int, segments: Sequence[tuple[int, int, int]]) -> bytes:
        copied = b""
        for ref, offset, length in segments:
            page = self.map(domid, [ref])
            copied += bytes(page.memory[offset : offset + length])
            page.close()
        return copied

    def copy_to(self, domid: int, segments: Sequence[tuple[int, int, int]], data: bytes) -> None:
        for ref, offset, length in segments:
            page = self.map(domid, [ref])
            page.memory[offset : offset + min(length, len(data))] = data[:length]
            page.close()
            data = data[length:]


class IntelDongle(SimulatedDongle):
    """A dongle with Intel's controller, which is one of Bumble's once it has its firmware. ``left``: is called then."""

    def __init__(self, link: LocalLink, controller: IntelController, left: Callable[[], None]) -> None:
        super().__init__(identity=(0x8087, 0x0032))
        self._controller = controller
        self._left = left
        if controller.mode == "firmware":
            self.send_packet = SimulatedController(link, "intel", air.OUR_ADDRESS, self.receive_packet).send

    def receive_control(self, setup: bytes, data: bytes) -> bytes | None:
        assert setup[0] == CLASS_REQUEST_OUT
        events = self._controller.receive(data, bulk=False)
        if events is None:
            return super().receive_control(setup, data)
        for event in events:
            self.send(EVENTS_IN, event)
        if self._controller.has_left:
            self._controller.has_left = False
            asyncio.get_running_loop().call_soon(self._left)
        return b""

    def receive_data(self, endpoint: int, data: bytes) -> None:
        if data[:2] != SECURE_SEND.to_bytes(2, "little"):
            super().receive_data(endpoint, data)
            return
        for event in self._controller.receive(data, bulk=True) or []:
            self.send(ACL_IN, event)


async def test_it_is_taken_again_with_its_firmware(radio: LocalLink, tmp_path: Path) -> None:
    content = payload(20_000)
    controller = IntelController(content, leaves=True)
    (tmp_path / "intel").mkdir()
    (tmp_path / f"{controller.base}.sfi").write_bytes(sfi(content))
    adapter = SharedAdapter(
        random_address=air.octets(air.OUR_LE_ADDRESS), command_timeout_s=2.0, limits=L2capLimits(),
        log=structlog.get_logger(), firmware=FirmwareDirectory(tmp_path),
    )  # fmt: skip
    xen = cast(Any, CopyingXen())
    broken: list[str] = []
    frontend = _Connection(
        xen, DOMID, adapter.take_dongle, name="vusb 0", ports=1, depths=QUEUED, broken=broken.append,
        log=structlog.get_logger(),
    )  # fmt: skip
    nodes = frontend.nodes
    backend = _UsbifConnection(
        xen, DOMID, (int(nodes["urb-ring-ref"]), int(nodes["conn-ring-ref"])), int(nodes["event-channel"]), ports=1,
        broken=broken.append, log=structlog.get_logger(),
    )  # fmt: skip

    def plug() -> None:
        backend.plug(PORT, IntelDongle(radio, controller, leave))

    def leave() -> None:
        backend.unplug(PORT)
        plug()

    with capture_logs() as logged:
        plug()
        async with asyncio.timeout(air.TIME_LIMIT_S):
            await adapter.wait_powered()
    assert broken == []
    said = [line["event"] for line in logged if line["event"] in ("dongle found", "adapter down", "adapter up")]
    assert said == ["dongle found", "adapter down", "dongle found", "adapter up"]
    assert not any(line["log_level"] in ("warning", "error") for line in logged)
    adapter.close()
    await frontend.close("over")
    backend.close()
