"""Which dongle is taken, and when. Plugging is libusb's callback here; by a hand it is on the bed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import structlog
import usb1

from tests.support import libusb_bus as bus
from tests.support.fixtures import Receiver
from tests.support.libusb_bus import Device
from usbbtd.config import AdapterSettings
from usbbtd.dongles.dongle import Dongle, DongleError
from usbbtd.dongles.h2_dongle import H2Dongle
from usbbtd.dongles.libusb_context import LibusbContext
from usbbtd.dongles.libusb_source import serve_libusb

TIME_LIMIT_S = 10


def wake_up(context: LibusbContext) -> None:
    assert context.on_events
    context.on_events()


LOG: Any = structlog.stdlib.get_logger()


class Source:
    """serve_libusb on a real context, with devices that are not there."""

    def __init__(self, monkeypatch: Any, receiver: Receiver, select: str = "any") -> None:
        self.receiver = receiver
        self.context = LibusbContext()
        self.dongles: asyncio.Queue[Any] = asyncio.Queue()

        def register(callback: Callable[..., Any]) -> int:
            self._hotplug = callback
            return 0

        monkeypatch.setattr(self.context.usb, "hotplugRegisterCallback", register)
        monkeypatch.setattr(self.context.usb, "hotplugDeregisterCallback", lambda _: None)
        selects = AdapterSettings(select=select).selects
        self.task = asyncio.create_task(serve_libusb(self.context, selects, self._take, LOG))

    async def _take(self, dongle: Dongle) -> None:
        assert isinstance(dongle, H2Dongle)
        dongle.usb.start(self.receiver)
        self.dongles.put_nowait(dongle.usb)

    async def plug(self, *devices: Any, event: int = usb1.HOTPLUG_EVENT_DEVICE_ARRIVED) -> None:
        await asyncio.sleep(0)  # it begins to listen
        for device in devices:
            self._hotplug(self.context.usb, device, event)
        wake_up(self.context)

    async def unplug(self, device: Device) -> None:
        await self.plug(device, event=usb1.HOTPLUG_EVENT_DEVICE_LEFT)

    async def next(self) -> Any:
        async with asyncio.timeout(TIME_LIMIT_S):
            return await self.dongles.get()

    async def end(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError, DongleError):
            await self.task
        self.context.close()


@pytest.fixture
async def new_source(monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> AsyncIterator[Callable[..., Source]]:
    sources = []

    def new(select: str = "any") -> Source:
        sources.append(Source(monkeypatch, receiver, select))
        return sources[-1]

    yield new
    for source in sources:
        await source.end()


@pytest.mark.parametrize("select", ["any", "1209:b7b7", "1209:b7b7:0001"])
async def test_the_one_that_is_selected_is_driven_until_the_end_and_given_back(
    new_source: Callable[..., Source], select: str
) -> None:
    source, usb = new_source(select), bus.Device()
    await source.plug(usb)
    dongle = await source.next()
    assert (dongle.name, dongle.serial) == ("usb 1-2.4: 1209:b7b7 0001", "0001")
    assert usb.driven == set()
    await source.end()
    assert usb.driven == {0, 1}
    assert usb.done[-1] == ("close",)


async def test_another_kind_is_not_even_opened(new_source: Callable[..., Source]) -> None:
    source, other, usb = new_source("1209:b7b7"), bus.Device(2, product=0xB7B8), bus.Device(3)
    await source.plug(other, usb)
    assert (await source.next()).product_id == 0xB7B7
    assert other.done == []


async def test_another_serial_number_is_opened_and_keeps_its_driver(new_source: Callable[..., Source]) -> None:
    source, other, usb = new_source("1209:b7b7:0002"), bus.Device(2), bus.Device(3, serial="0002")
    await source.plug(other, usb)
    assert (await source.next()).serial == "0002"
    assert other.done == [("open",), ("close",)]


async def test_a_second_one_stays_with_the_kernel_until_it_is_its_turn(new_source: Callable[..., Source]) -> None:
    source, first, second = new_source(), bus.Device(2, serial="1"), bus.Device(3, serial="2")
    await source.plug(first, second)
    assert (await source.next()).serial == "1"
    assert second.done == []
    await source.unplug(first)
    assert source.receiver.lost == ["unplugged"]
    assert (await source.next()).serial == "2"


async def test_plugged_in_again_it_is_taken_at_once(new_source: Callable[..., Source]) -> None:
    source, usb, again = new_source(), bus.Device(2), bus.Device(3)
    await source.plug(usb)
    await source.next()
    await source.unplug(usb)
    await source.plug(again)
    assert (await source.next()).name == "usb 1-3.4: 1209:b7b7 0001"


async def test_one_that_was_given_up_is_given_back_and_offered_again(new_source: Callable[..., Source]) -> None:
    source, usb = new_source(), bus.Device()
    await source.plug(usb)
    (await source.next()).close()
    await source.next()
    assert [step for step, *_ in usb.done].count("attach") == 1


async def test_one_that_cannot_be_had_is_tried_again_after_the_others(new_source: Callable[..., Source]) -> None:
    source, broken, usb = new_source(), bus.Device(2, serial="1"), bus.Device(3, serial="2")
    broken.refusals["reset"] = usb1.USBErrorIO()
    await source.plug(broken, usb)
    assert (await source.next()).serial == "2"
    assert broken.driven == {0, 1}
    broken.refusals.clear()
    await source.unplug(usb)
    assert (await source.next()).serial == "1"


async def test_it_ends_when_libusb_fails(new_source: Callable[..., Source]) -> None:
    source = new_source()
    await source.plug(bus.Device())
    await source.next()
    source.context.error = "libusb fails: for ever"
    wake_up(source.context)
    with pytest.raises(DongleError, match="for ever"):
        await source.task
    assert source.receiver.lost == ["libusb fails: for ever"]
