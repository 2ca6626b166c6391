"""What libusb says and what a dongle's driver does, in every order and cut in every way.

The bus is a stand-in; all else is real: what finds the dongle, opens it and drives it, and libusb's context around it.
"""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import structlog
import usb1
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.dongles import test_usbif_wake_ups as driver
from tests.support import libusb_bus as bus
from usbbtd.dongles.dongle import Dongle, DongleError
from usbbtd.dongles.h2_dongle import H2Dongle
from usbbtd.dongles.libusb_context import LibusbContext
from usbbtd.dongles.libusb_device import REQUEST_TIMEOUT_S
from usbbtd.dongles.libusb_source import serve_libusb

ARRIVED, LEFT = usb1.HOTPLUG_EVENT_DEVICE_ARRIVED, usb1.HOTPLUG_EVENT_DEVICE_LEFT
HCI_COMMAND = driver.HCI_COMMAND


class Transfer(bus.Transfer):
    """Ends when the test says so; its callback is made among the next events, as libusb makes it."""

    _device: "Device"

    def submit(self) -> None:
        assert self not in self._device.flying
        if self._device.gone:
            raise usb1.USBErrorNoDevice
        self._device.flying.append(self)

    def cancel(self) -> None:
        if self not in self._device.flying:
            raise usb1.USBErrorNotFound
        self._device.end(self, usb1.TRANSFER_CANCELLED)


class Handle(bus.Handle):
    _device: "Device"

    def __init__(self, device: "Device") -> None:
        super().__init__(device)
        self.getTransfer = lambda: Transfer(device)
        self.close = self._close

    def _close(self) -> None:
        """usb1's takes back what is still under way."""
        for transfer in tuple(self._device.flying):
            transfer.cancel()
        self._device.call_back()
        self._device.do("close")

    def clearHalt(self, endpoint: int) -> None:
        assert [transfer for transfer in self._device.flying if transfer.endpoint == endpoint] == []
        if self._device.gone:
            raise usb1.USBErrorNoDevice
        self._device.do("clear halt", endpoint)


class Device(bus.Device):
    """``flying``: the transfers under way; ``ended``: those whose callback is due."""

    def __init__(self, address: int) -> None:
        super().__init__(address)
        self.flying: list[Any] = []
        self.ended: list[Any] = []
        self.gone = False

    def open(self) -> Handle:
        if self.gone:
            raise usb1.USBErrorNoDevice
        super().open()
        return Handle(self)

    def end(self, transfer: Transfer, status: int, data: bytes = b"") -> None:
        self.flying.remove(transfer)
        transfer.status = status
        if transfer.endpoint:  # a control request has its answer by now
            transfer.data = data
        self.ended.append(transfer)

    def call_back(self) -> None:
        ended, self.ended = self.ended, []
        for transfer in ended:
            transfer.callback(transfer)


class World:
    def __init__(self, moods: list[str]) -> None:
        self.now = 0.0
        self.context = LibusbContext()
        self.context.usb = SimpleNamespace(
            handleEventsTimeout=self.handle_events, hotplugRegisterCallback=self.register,
            hotplugDeregisterCallback=lambda _: None, setPollFDNotifiers=lambda *_: None, close=self.context.usb.close,
        )  # fmt: skip
        self.changes: list[Any] = []
        self.devices: list[Any] = []
        self.drivers: list[Any] = []
        self.moods = moods
        self.error = None
        self.serving = asyncio.ensure_future(
            serve_libusb(self.context, lambda *_: True, self.take_dongle, structlog.get_logger())
        )

    def register(self, callback: Callable[..., Any]) -> int:
        self.hotplug = callback
        return 0

    async def take_dongle(self, dongle: Dongle) -> None:
        assert isinstance(dongle, H2Dongle)
        self.drivers.append(driver.Driver(dongle.usb, self.moods))

    def handle_events(self, _: int) -> None:
        self.now += 0.01  # nobody may ask for ever
        error, self.error = self.error, None
        if error is not None:
            raise error
        changes, self.changes = self.changes, []
        for device in self.devices:
            device.call_back()
        for change in changes:
            self.hotplug(None, *change)

    async def do(self, step: tuple[Any, ...]) -> None:
        device = self.devices[-1] if self.devices else None
        match step:
            case ("turn", count):
                await driver.turn(count)
            case ("late", seconds):
                self.now += seconds
            case ("wake",) if not self.context.error:
                self.context.handle_events()
            case ("drive", which, what, count) if self.drivers:
                self.drivers[-1 - which % len(self.drivers)].do(what, count)
            case ("fail", error) if self.error is None:
                self.error = error()
            case ("plug",) if device is None or device.gone:
                self.devices.append(Device(2 + len(self.devices)))
                self.changes.append((self.devices[-1], ARRIVED))
            case ("unplug", told) if device is not None and not device.gone:
                device.gone = True
                device.driven.clear()
                for transfer in tuple(device.flying):
                    device.end(transfer, usb1.TRANSFER_NO_DEVICE)
                if told:
                    self.changes.append((device, LEFT))
            case ("refuse", what) if device is not None:
                device.refusals = {what: usb1.USBErrorBusy()} if what else {}
            case ("end", which, status, size) if device is not None and device.flying:
                device.end(device.flying[which % len(device.flying)], status, bytes(size))


async def play(steps: list[Any], moods: list[str]) -> None:
    loop = asyncio.get_running_loop()
    unheard = []
    loop.set_exception_handler(lambda _, context: unheard.append(context))
    world = World(list(moods))
    loop.time = lambda: world.now  # type: ignore[method-assign]
    with structlog.testing.capture_logs() as entries:
        await driver.turn(2)
        for step in steps:
            await world.do(step)
            assert [entry for entry in entries if entry.get("exc_info")] == []
        await driver.turn(driver.TURNS)
        if not world.context.error:
            world.serving.cancel()
        world.now += REQUEST_TIMEOUT_S  # an answer that a libusb which failed keeps
        await driver.turn(driver.TURNS)
        assert world.serving.done()
    assert [entry for entry in entries if entry.get("exc_info")] == unheard == []
    assert world.serving.cancelled() or isinstance(world.serving.exception(), DongleError)
    for device in world.devices:
        assert (device.flying, device.done.count(("open",))) == ([], device.done.count(("close",)))
        assert device.gone or device.refusals or device.driven == {0, 1}
        last = len(device.done) - 1 - device.done[::-1].index(("close",)) if ("close",) in device.done else -1
        assert device.done[last + 1 :] == []
    if not world.serving.cancelled():
        assert [each for each in world.drivers if each.started and not each.over] == []
    for each in world.drivers:
        each.dongle.send_control(HCI_COMMAND, bytes(3))
        assert each.dongle.send_bulk([b"x"]) == 1  # taken, and dropped
        each.dongle.settle()
        assert each.dongle.idle
    world.context.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


numbers = st.integers(0, 12)
statuses = st.sampled_from(
    3 * [usb1.TRANSFER_COMPLETED]
    + [usb1.TRANSFER_STALL, usb1.TRANSFER_ERROR, usb1.TRANSFER_OVERFLOW, usb1.TRANSFER_CANCELLED]
)
ends = st.tuples(st.just("end"), numbers, statuses, st.sampled_from((0, 3, 16)))
turns, drives = driver.turns, driver.drives
wakes = st.just(("wake",))
losses = st.sampled_from([("unplug", True), ("unplug", False)])
failures = st.sampled_from((usb1.USBErrorInterrupted, usb1.USBErrorInterrupted, usb1.USBErrorIO))
refusals = st.sampled_from((None, None, "open", "claim", "reset", "detach"))
rare = st.one_of(
    losses, st.sampled_from([("plug",), ("late", 1.5), ("late", 6.0)]), st.tuples(st.just("fail"), failures),
    st.tuples(st.just("refuse"), refusals),
)  # fmt: skip
single = st.one_of(turns, turns, wakes, wakes, ends, ends, drives, drives, rare)


@st.composite
def visits(draw: Callable[..., Any]) -> list[tuple[Any, ...]]:
    """A dongle is plugged in, asked for its serial number, used, and pulled out, with whatever happens meanwhile."""
    between = st.lists(st.one_of(turns, ends, single), max_size=1)
    visit = [("plug",), *draw(between), ("wake",), ("turn", 3)]
    for _ in range(2):
        visit += [("end", 0, usb1.TRANSFER_COMPLETED, 0), *draw(between), ("wake",), ("turn", 3)]
    visit += [*draw(between), ("drive", 0, "start", 1), *draw(between)]
    visit += draw(st.lists(st.one_of(drives, drives, ends, ends, wakes, turns), min_size=3, max_size=12))
    return [*visit, *draw(st.lists(losses, max_size=1)), *draw(between), ("wake",), *draw(between)]


steps = st.lists(st.one_of(visits(), visits(), single.map(lambda one: [one])), min_size=1, max_size=5).map(
    lambda several: [step for steps in several for step in steps]
)

#: libusb fails between the last answer to an examination and the look at it.
FAILED_WHILE_EXAMINED = [
    ("plug",), ("wake",), ("turn", 3), ("end", 0, usb1.TRANSFER_STALL, 0), ("wake",), ("fail", usb1.USBErrorIO),
]  # fmt: skip


@settings(max_examples=2 * settings().max_examples)
@given(steps=steps, moods=driver.moods)
@example(steps=FAILED_WHILE_EXAMINED, moods=[])
def test_whatever_libusb_says_is_dealt_with_once_and_nothing_is_left(steps: list[Any], moods: list[str]) -> None:
    asyncio.run(play(steps, moods))
