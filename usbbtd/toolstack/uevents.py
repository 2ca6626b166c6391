"""Hears from the kernel that USB devices come and go: netlink(7), NETLINK_KOBJECT_UEVENT."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

_KOBJECT_UEVENT = 15  # NETLINK_KOBJECT_UEVENT of linux/netlink.h
_FROM_KERNEL = 1  # the multicast group of the kernel's own messages; udevd's are in another
_SIZE_MAX = 8192  # bytes of a message; the kernel's have 2 KiB and a path
_OF_USB = b"SUBSYSTEM=usb"


@contextlib.contextmanager
def heard(changed: Callable[[], object]) -> Iterator[None]:
    """Calls ``changed`` for messages about USB, and for messages that were lost. Raises OSError without netlink."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _KOBJECT_UEVENT) as uevents:
        uevents.bind((0, _FROM_KERNEL))
        loop.add_reader(uevents, lambda: _drain(uevents) and changed())
        try:
            yield
        finally:
            loop.remove_reader(uevents)


def _drain(uevents: socket.socket) -> bool:
    """Takes what waits. Returns whether USB devices may have changed."""
    about_usb = False
    while True:
        try:
            about_usb |= _OF_USB in uevents.recv(_SIZE_MAX).split(b"\0")
        except BlockingIOError:
            return about_usb
        except OSError:  # ENOBUFS: messages were lost, which the next look makes up for
            return True
