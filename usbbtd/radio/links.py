"""Makes ACL links on demand, shares them among channels and echoes, and ends those that nothing uses any more."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

from structlog.typing import FilteringBoundLogger

from usbbtd.bluetooth import ADDRESS_TYPES, ROLES, describe_error, format_address
from usbbtd.hci import events as hci_events
from usbbtd.radio.channel import RadioError, RadioLink, Unreachable
from usbbtd.radio.controller import Controller
from usbbtd.radio.info import LinkInfo

LinkEvent = hci_events.Connected | hci_events.ConnectFailed | hci_events.Disconnected

#: How long a link that we made and that nothing uses any more is kept for the next user.
IDLE_LINK_S = 4.0

CENTRAL = 0

Key = tuple[bytes, int]  # address and its type


class Attempt:
    """A link that is being made, and those who wait for it."""

    def __init__(self, number: int) -> None:
        self.number = number  # ConnectFailed has it: one may come when the next attempt has begun
        self.waiters: set[asyncio.Future[RadioLink]] = set()


class Links:
    """Keeps the links of one adapter, whatever dongle it has. Others may read ``by_handle``, but not change it."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self.by_handle: dict[int, RadioLink] = {}
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._attempts: dict[Key, Attempt] = {}
        self._stopping = False
        self._none = asyncio.Event()
        self._none.set()

    async def get(self, controller: Controller, address: bytes, address_type: int) -> RadioLink:
        """Returns the link to a peer, made if there is none. Gives up when cancelled. Raises Unreachable, NoDongle."""
        for link in self.by_handle.values():
            if link.address == address and link.address_type == address_type and not link.closing:
                return link
        key = address, address_type
        if (attempt := self._attempts.get(key)) is None:
            attempt = self._attempts[key] = Attempt(controller.host.connect(address, address_type, controller.now()))
            controller.flush_soon()
        waiter: asyncio.Future[RadioLink] = self._loop.create_future()
        attempt.waiters.add(waiter)
        try:
            return await waiter
        finally:
            attempt.waiters.discard(waiter)
            if not attempt.waiters and self._attempts.get(key) is attempt:
                del self._attempts[key]
                controller.host.cancel_connect(address, address_type)
                controller.flush_soon()

    def hold(self, link: RadioLink) -> None:
        """Counts a channel that uses the link or is about to, so that the link stays."""
        link.channels += 1
        self._stay(link)

    def drop(self, link: RadioLink) -> None:
        """Ends ``hold`` for a channel that uses the link no more."""
        link.channels -= 1
        self._leave(link)

    @contextlib.contextmanager
    def hold_for_echo(self, link: RadioLink) -> Iterator[None]:
        """Keeps the link while the block waits for an echo."""
        link.echoes += 1
        self._stay(link)
        try:
            yield
        finally:
            link.echoes -= 1
            self._leave(link)

    def info(self, controller: Controller) -> list[LinkInfo]:
        """Returns the facts about each link that is up."""
        now = controller.now()
        return [
            LinkInfo(
                handle, format_address(address), ADDRESS_TYPES[address_type], ROLES[role], link.channels,
                round(now - link.since, 1), queued, outstanding,
            )
            for handle, address, address_type, role, queued, outstanding in controller.host.links()
            if (link := self.by_handle.get(handle)) is not None
        ]  # fmt: skip

    async def disconnect_all(self, timeout_s: float) -> None:
        """Ends every link as soon as its channels have ended. Waits at most ``timeout_s``."""
        self._stopping = True
        for link in tuple(self.by_handle.values()):
            self._stay(link)
            self._leave(link)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._none.wait(), timeout_s)

    def lost(self, error: RadioError) -> None:
        """Drops all links and fails all attempts with ``error``, as the controller is gone."""
        links, self.by_handle = self.by_handle, {}
        attempts, self._attempts = self._attempts, {}
        for link in links.values():
            self._stay(link)
        for attempt in attempts.values():
            for waiter in attempt.waiters:
                fail(waiter, error)
        self._none.set()

    # The adapter calls these.

    def receive(self, controller: Controller, event: LinkEvent) -> None:
        """Takes the controller's events about links."""
        match event:
            case hci_events.Connected():
                self._connected(controller, event)
            case hci_events.ConnectFailed():
                self._connect_failed(event)
            case hci_events.Disconnected():
                self._disconnected(event)

    def _connected(self, controller: Controller, event: hci_events.Connected) -> None:
        handle, address, address_type, role = event
        attempt = self._attempts.pop((address, address_type), None)
        waiters = attempt.waiters if attempt is not None else set()
        ours = role == CENTRAL or bool(waiters)  # as central we made it, even if nobody waits for it any more
        link = self.by_handle[handle] = RadioLink(controller, handle, address, address_type, ours=ours)
        self._none.clear()
        self._log.info("link up", addr=format_address(address), handle=handle, role=("central", "peripheral")[role & 1])
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(link)
        self._leave(link)  # in case all waiters have gone

    def _connect_failed(self, event: hci_events.ConnectFailed) -> None:
        address, address_type, status, number = event
        attempt = self._attempts.get((address, address_type))
        if attempt is None or attempt.number != number:
            return  # those who waited for it have gone
        del self._attempts[address, address_type]
        for waiter in attempt.waiters:
            fail(waiter, Unreachable(f"no link to the peer: HCI status {describe_error(status)}", status))

    def ending(self, handle: int, status: int) -> None:
        """Notes why a link ends, before its channels are told of their ends and the link is removed."""
        if (link := self.by_handle.get(handle)) is not None:
            link.end_status = status

    def _disconnected(self, event: hci_events.Disconnected) -> None:
        handle, reason = event
        if (link := self.by_handle.pop(handle, None)) is not None:
            self._stay(link)
            self._log.info("link down", addr=format_address(link.address), handle=handle, reason=describe_error(reason))
        if not self.by_handle:
            self._none.set()

    # Inside.

    def _stay(self, link: RadioLink) -> None:
        if link.idle is not None:
            link.idle.cancel()
            link.idle = None

    def _leave(self, link: RadioLink) -> None:
        """Has an unused link ended after IDLE_LINK_S if we made it; when we stop, ends every unused link at once."""
        if not self._is_up(link) or link.in_use:
            return
        if link.idle is None and (link.ours or self._stopping):
            delay_s = 0 if self._stopping else IDLE_LINK_S
            link.idle = self._loop.call_later(delay_s, self._disconnect, link)

    def _is_up(self, link: RadioLink) -> bool:
        return self.by_handle.get(link.handle) is link

    def _disconnect(self, link: RadioLink) -> None:
        link.idle = None
        if self._is_up(link) and not link.in_use:
            link.closing = True
            link.controller.host.disconnect(link.handle)
            link.controller.flush_soon()


def fail(waiter: asyncio.Future[Any], error: RadioError) -> None:
    """Fails a waiter with ``error``, unless it is done already."""
    if not waiter.done():
        waiter.set_exception(error)
