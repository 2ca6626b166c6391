"""With libusb itself. Descriptors of devices come and go on the bed only: tests/realxen/test_path_b.py."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import usb1
from usb1 import USBContext

from usbbtd.dongles.dongle import DongleError
from usbbtd.dongles.libusb_context import LibusbContext


@pytest.fixture
async def context() -> AsyncIterator[LibusbContext]:
    context = LibusbContext()
    yield context
    context.close()


async def test_it_wakes_up_for_what_libusb_has_to_say(context: LibusbContext) -> None:
    woken = asyncio.Event()
    context.on_events = woken.set
    context.usb.interruptEventHandler()
    async with asyncio.timeout(5):
        await woken.wait()


async def test_closed_it_watches_nothing(context: LibusbContext) -> None:
    loop = asyncio.get_running_loop()
    descriptors = [descriptor for descriptor, _ in context.usb.getPollFDList()]
    context.close()
    context.close()
    assert descriptors
    assert not any(loop.remove_reader(descriptor) for descriptor in descriptors)


async def test_a_libusb_that_fails_is_of_no_use_any_more(
    context: LibusbContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise usb1.USBErrorIO

    monkeypatch.setattr(context.usb, "handleEventsTimeout", fail)
    woken = asyncio.Event()
    context.on_events = woken.set
    context.usb.interruptEventHandler()
    async with asyncio.timeout(5):
        await woken.wait()
    assert "LIBUSB_ERROR_IO" in context.error
    woken.clear()
    await asyncio.sleep(0)  # what is ready stays ready, but nobody looks
    assert not woken.is_set()


async def test_without_libusb_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: USBContext) -> None:
        raise OSError(2, "cannot find a suitable libusb-1.0")

    monkeypatch.setattr(usb1.USBContext, "open", missing)
    with pytest.raises(DongleError, match=r"libusb-1\.0-0"):
        LibusbContext()
