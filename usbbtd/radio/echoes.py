"""Sends L2CAP echo requests for an adapter's users, and holds each link while an answer is waited for."""

import asyncio

from usbbtd.bluetooth import BREDR
from usbbtd.errors import LocalProtocolError
from usbbtd.l2cap.events import ECHO_REJECTED, EchoFailed, EchoReceived
from usbbtd.radio.errors import EchoRejected, Exhausted, RadioError, Unreachable
from usbbtd.radio.links import Links, fail


class SharedEchoes:
    """Keeps the echoes that are under way on all links of one adapter, whatever dongle it has."""

    def __init__(self, links: Links) -> None:
        self._links = links
        self._waiters: dict[tuple[int, int], asyncio.Future[bytes]] = {}  # by the link's handle and the echo's number

    async def ask(self, address: bytes, data: bytes) -> bytes:
        """Sends a BR/EDR peer an L2CAP echo request, over a new link if there is none, and returns the answer's data.

        Gives up when cancelled. Raises NoDongle, NotSupported, Exhausted, EchoRejected, Unreachable.
        """
        link = await self._links.get(address, BREDR)
        stack = link.stack
        try:
            number = stack.mux.echo(link.handle, data, stack.now())
        except LocalProtocolError as error:
            raise Exhausted(str(error)) from error
        key = link.handle, number
        waiter: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiters[key] = waiter
        stack.flush_soon()
        with self._links.hold_for_echo(link):
            try:
                return await waiter
            finally:
                if self._waiters.get(key) is waiter:  # otherwise another echo may have its numbers
                    del self._waiters[key]
                    stack.mux.cancel_echo(*key)

    # The channels and the adapter call these.

    def receive(self, event: EchoReceived | EchoFailed) -> None:
        """Takes L2CAP's event about an echo. There is none for an echo that was given up."""
        waiter = self._waiters.pop((event.handle, event.number), None)
        if waiter is None:
            return
        if isinstance(event, EchoReceived):
            if not waiter.done():
                waiter.set_result(event.data)
        elif event.reason == ECHO_REJECTED:
            fail(waiter, EchoRejected(event.reason))
        else:
            fail(waiter, Unreachable(event.reason, self._links.by_handle[event.handle].end_status))

    def controller_lost(self, error: RadioError) -> None:
        """Fails all echoes with ``error``."""
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters.values():
            fail(waiter, error)
