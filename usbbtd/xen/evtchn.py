"""Event channels for the event loop: one descriptor, many ports."""

import asyncio
import errno
from collections.abc import Callable
from typing import Any

from usbbtd.abi._xen import ffi, lib
from usbbtd.errors import LocalProtocolError
from usbbtd.identifiers import LAST_U32
from usbbtd.xen.error import XenError, checked_domid

_DEVICE = "/dev/xen/evtchn"
_PORTS_A_WAKEUP = 256
#: A port to which Xen lets nobody bind; it looks for the domain first.
_NO_PORT = 0
#: How often, within one wake-up, callbacks that were put off may put off others: a guest's data goes to the adapter,
#: from there to the dongle, and its room back to the guest. The others wait for the next turn of the loop.
_ROUNDS = 4

Handler = Callable[[], None]


class EventChannel:
    """One bound port. ``EventChannels`` makes it."""

    __slots__ = ("_handle", "_owner", "handler", "port")

    def __init__(self, owner: "EventChannels", handle: Any, port: int, handler: Handler) -> None:
        self.port = port
        self.handler = handler
        self._owner = owner
        self._handle = handle

    def notify(self) -> None:  # hot: per batch
        """Wakes the other end. Raises XenError; LocalProtocolError after ``close``."""
        if self._handle is None:
            raise LocalProtocolError(f"event channel {self.port} is closed")
        if lib.xenevtchn_notify(self._handle, self.port) < 0:
            raise XenError.last(f"cannot notify event channel {self.port}")

    def close(self) -> None:
        """Unbinds the port; the handler is not called any more. Idempotent."""
        if self._handle is not None:
            self._owner.forget(self)
            lib.xenevtchn_unbind(self._handle, self.port)
            self._handle = None


class EventChannels:
    """All event channels of a process, handled in the running event loop.

    A port stays masked until its handler has returned: if the other end notifies without pause, that costs one call a
    turn of the loop. An exception of a handler goes to the loop's exception handler, and the port is closed.

    A handler that has data to send uses ``call_soon``: they are sent in the same turn of the loop, for all ports.

    ``failure``: its result is the error after which events may never come.
    """

    def __init__(self) -> None:
        """Opens the device. Raises XenError if there is none."""
        self._loop = asyncio.get_running_loop()
        handle = lib.evtchn_open()
        if handle == ffi.NULL:
            raise XenError.last(f"cannot open {_DEVICE}")
        self._handle: Any = ffi.gc(handle, lib.xenevtchn_close)
        self._ports = ffi.new("uint32_t[]", _PORTS_A_WAKEUP)
        self._channels: dict[int, EventChannel] = {}
        self._awake = False  # whether the handlers of a wake-up are being called
        self._put_off: list[Callable[[], None]] = []
        self.failure: asyncio.Future[Exception] = self._loop.create_future()
        self._loop.add_reader(lib.xenevtchn_fd(handle), self._receive_events)

    def bind_unbound(self, domid: int, handler: Handler) -> EventChannel:
        """Allocates a new port, to which domain ``domid`` may bind."""
        port = lib.xenevtchn_bind_unbound_port(self._open(), checked_domid(domid))
        return self._bound(port, handler, f"cannot allocate an event channel for domain {domid}")

    def bind_interdomain(self, domid: int, remote_port: int, handler: Handler) -> EventChannel:
        """Binds to the port that domain ``domid`` allocated for us. The handler is called once without an event."""
        if not 0 <= remote_port <= LAST_U32:
            raise XenError(errno.EINVAL, f"no event channel of domain {domid}: {remote_port}")
        port = lib.xenevtchn_bind_interdomain(self._open(), checked_domid(domid), remote_port)
        return self._bound(port, handler, f"cannot bind to event channel {remote_port} of domain {domid}")

    def is_gone(self, domid: int) -> bool:
        """Tells whether a domain is gone. Asks the hypervisor: a living domain can hide its nodes in xenstore."""
        port = lib.xenevtchn_bind_interdomain(self._open(), checked_domid(domid), _NO_PORT)
        if port >= 0:
            lib.xenevtchn_unbind(self._open(), port)
        return bool(port < 0 and ffi.errno == errno.ESRCH)

    def call_soon(self, callback: Callable[[], None]) -> None:  # hot: per wake-up
        """Calls ``callback`` after the handlers of all ports that have events now, and before these are unmasked.

        Outside of a wake-up it is called in the next turn of the loop. Exceptions go to the loop's exception handler.
        """
        if self._awake:
            self._put_off.append(callback)
        else:
            self._loop.call_soon(callback)

    def close(self) -> None:
        """Closes every channel and the device. Idempotent."""
        if self._handle is None:
            return
        for channel in list(self._channels.values()):
            channel.close()
        self._loop.remove_reader(lib.xenevtchn_fd(self._handle))
        ffi.release(self._handle)
        self._handle = None

    def forget(self, channel: EventChannel) -> None:
        """Forgets a channel; is for ``EventChannel.close`` only."""
        del self._channels[channel.port]

    def _open(self) -> Any:
        if self._handle is None:
            raise LocalProtocolError("the event channels are closed")
        return self._handle

    def _bound(self, port: int, handler: Handler, what: str) -> EventChannel:
        if port < 0:
            raise XenError.last(what)
        channel = self._channels[port] = EventChannel(self, self._handle, port, handler)
        return channel

    def _receive_events(self) -> None:  # hot: per wake-up
        count = lib.evtchn_drain(self._handle, self._ports, _PORTS_A_WAKEUP)
        if count < 0:
            self._fail(XenError.last(f"cannot read events from {_DEVICE}"))
            return
        self._awake = True
        for port in ffi.unpack(self._ports, count):
            channel = self._channels.get(port)
            if channel is None:
                continue  # it was closed while the event was under way
            try:
                channel.handler()
            except Exception as error:
                channel.close()
                self._report(f"the handler of event channel {port} failed; the channel is closed", error)
        if self._put_off:
            self._call_put_off()
        self._awake = False
        if self._handle is not None:
            lib.evtchn_unmask(self._handle, self._ports, count)

    def _call_put_off(self) -> None:  # hot: per wake-up
        for _ in range(_ROUNDS):
            due, self._put_off = self._put_off, []
            for callback in due:
                try:
                    callback()
                except Exception as error:
                    self._loop.call_exception_handler({"message": f"{callback!r} failed", "exception": error})
            if not self._put_off:
                return
        due, self._put_off = self._put_off, []
        for callback in due:
            self._loop.call_soon(callback)

    def _fail(self, error: XenError) -> None:
        """Closes all channels, because the device fails. ``notify`` raises from now on."""
        self.close()
        self._report("all event channels are closed", error)

    def _report(self, message: str, error: Exception) -> None:
        if not self.failure.done():
            self.failure.set_result(error)
        self._loop.call_exception_handler({"message": message, "exception": error})
