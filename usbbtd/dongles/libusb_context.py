"""Runs libusb in the event loop, which watches libusb's file descriptors; no thread of ours waits for it."""

import asyncio
from collections.abc import Callable
from typing import Any

import usb1

from usbbtd.dongles.dongle import DongleError

#: Events of poll(2), one of which libusb wants watched on each of its descriptors.
_POLLIN, _POLLOUT = 0x01, 0x04


class LibusbContext:
    """Runs one context of libusb in the running event loop.

    ``on_events`` is called once a wake-up, after libusb has made its callbacks: it may call libusb, a callback may not.
    No transfer may have a timeout of libusb's: nothing wakes up for those. ``error``: why libusb has failed for good,
    or "".
    """

    def __init__(self) -> None:
        """Opens libusb. Raises DongleError if there is none, or if it cannot hear of devices that come and go."""
        self.on_events: Callable[[], None] | None = None
        self.error = ""
        self._loop = asyncio.get_running_loop()
        try:
            self.usb = usb1.USBContext().open()
        except (OSError, usb1.USBError) as error:
            raise DongleError(f"libusb cannot be used: {error} (Debian has it in libusb-1.0-0)") from error
        if not usb1.hasCapability(usb1.CAP_HAS_HOTPLUG):
            self.usb.close()
            raise DongleError("this libusb does not hear of devices that come and go: it is built without udev")
        self._removers: dict[int, Callable[[int], Any]] = {}
        self.usb.setPollFDNotifiers(self._watch, self._forget)
        for descriptor, events in self.usb.getPollFDList():
            self._watch(descriptor, events)

    def handle_events(self) -> None:  # hot: per wake-up
        """Makes the callbacks that are due, without waiting."""
        try:
            self.usb.handleEventsTimeout(0)
        except usb1.USBErrorInterrupted:
            return  # what is ready stays ready
        except usb1.USBError as error:  # another call would fail, too, at once and for ever
            self.error = f"libusb fails: {error}"
            self._forget_all()
        if self.on_events is not None:
            self.on_events()

    def close(self) -> None:
        """Closes libusb, after all devices that were opened with it. Idempotent."""
        self.on_events = None
        self.usb.setPollFDNotifiers(None, None)
        self._forget_all()
        self.usb.close()

    def _watch(self, descriptor: int, events: int, _: Any = None) -> None:
        """Watches a descriptor: a device's is writable when transfers have ended, libusb's others become readable."""
        if events & _POLLOUT:
            self._loop.add_writer(descriptor, self.handle_events)
            self._removers[descriptor] = self._loop.remove_writer
        elif events & _POLLIN:
            self._loop.add_reader(descriptor, self.handle_events)
            self._removers[descriptor] = self._loop.remove_reader

    def _forget_all(self) -> None:
        for descriptor in list(self._removers):
            self._forget(descriptor)

    def _forget(self, descriptor: int, _: Any = None) -> None:
        if (remove := self._removers.pop(descriptor, None)) is not None:
            remove(descriptor)
