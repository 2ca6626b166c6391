"""Makes ACL links on demand, shares them among channels and echoes, and ends those that nothing uses any more."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from usbbtd.bluetooth import (
    ADDRESS_LE_RANDOM,
    ADDRESS_TYPES,
    CENTRAL,
    LEVEL_NONE,
    ROLES,
    SECURITY_LEVELS,
    describe_error,
    format_address,
    transport_of,
)
from usbbtd.hci import events as hci_events
from usbbtd.radio.agents import PairingAgent
from usbbtd.radio.errors import NoDongle, NotSupported, RadioError, Unreachable
from usbbtd.radio.info import LinkInfo
from usbbtd.radio.stack import L2capStack
from usbbtd.security.link import LinkSecurityInfo

#: How long a link that we made and that nothing uses any more is kept for the next user.
IDLE_LINK_S = 4.0

#: What a new link is worth.
PLAIN: Final = LinkSecurityInfo(LEVEL_NONE, 0, False)

Key = tuple[bytes, int]  # address and its type


class RadioLink:
    """An ACL link. ``ours``: whether we wanted it, and so end it when nothing uses it. ``since``: the loop's time.
    ``own_address``: by which the peer knows us on it, as a Bond has it. ``private_address``: by which we have reached a
    peer whose identity, ``address``, the controller told; None if that did not happen.

    ``identity``: the peer's address and its type, or those of the bond whose key has made its private address. That
    proves nothing before ``security.is_bonded``. ``agent``: who was asked last when the peer paired. ``visited``: the
    guest to whose listener the peer came last, with too little security; empty if to none.
    """

    __slots__ = (
        "address", "address_type", "agent", "channels", "closing", "echoes", "end_status", "handle", "identity", "idle",
        "ours", "own_address", "pairing", "pairings", "private_address", "security", "since", "stack", "visited",
    )  # fmt: skip

    def __init__(
        self, stack: L2capStack, handle: int, address: bytes, address_type: int, *, ours: bool,
        own_address: bytes | None, private_address: bytes | None = None,
    ) -> None:  # fmt: skip
        self.stack = stack
        self.handle = handle
        self.address = address
        self.address_type = address_type
        self.ours = ours
        self.own_address = own_address
        self.private_address = private_address
        self.since = stack.now()
        self.closing = False  # whether we have asked the controller to disconnect it
        self.end_status = 0  # HCI's reason, once the link ends
        self.channels = 0  # open, opening, and asked for by the peer
        self.echoes = 0  # echoes without an answer yet
        self.pairings = 0  # those who wait until it is secure
        self.identity = address, address_type
        self.security = PLAIN
        self.pairing = asyncio.Lock()  # of who has it paired
        self.agent: PairingAgent | None = None
        self.visited = ""
        self.idle: asyncio.TimerHandle | None = None  # will end the link, which is not in use

    @property
    def in_use(self) -> bool:
        """Returns whether a channel, an echo or a pairing uses the link."""
        return self.channels + self.echoes + self.pairings > 0

    @property
    def peer_text(self) -> str:
        """Returns the address of the peer's identity, for people."""
        return format_address(self.identity[0])

    def is_with(self, address: bytes, address_type: int) -> bool:
        """Tells whether the peer has this address, be it that of its identity or the one it uses on the air."""
        if (address, address_type) in ((self.address, self.address_type), self.identity):
            return True
        # Not by tuples: mypyc gives up a reference that it does not have where it compares one that may hold None.
        return address == self.private_address and address_type == ADDRESS_LE_RANDOM

    @property
    def transport(self) -> int:
        """Returns the link's transport, BREDR or LE."""
        return transport_of(self.address_type)


class Attempt:
    """A link that is being made, and those who wait for it."""

    def __init__(self, number: int) -> None:
        self.number = number  # ConnectFailed has it: one may come when the next attempt has begun
        self.waiters: set[asyncio.Future[RadioLink]] = set()


class Links:
    """Keeps the links of one adapter that its stack owns, whatever dongle it has.

    ``stack`` returns the stack of the controller that is up, or None. ``locate`` finds out the (address, address type)
    by which a peer can be reached now: that of a bonded one changes. ``known_as`` returns the public address of ours
    that a bonded peer of LE knows, or None. Others may read ``by_handle``, but not change it.
    """

    def __init__(
        self, stack: Callable[[], L2capStack | None], log: FilteringBoundLogger, *,
        locate: Callable[[bytes, int], Awaitable[Key]], known_as: Callable[[bytes, int], bytes | None],
    ) -> None:  # fmt: skip
        self.by_handle: dict[int, RadioLink] = {}
        self._stack = stack
        self._locate = locate
        self._known_as = known_as
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._attempts: dict[Key, Attempt] = {}
        self._stopping = False
        self._none = asyncio.Event()
        self._none.set()

    def stack_that_is_up(self) -> L2capStack | None:
        """Returns the stack of the controller that is up, if there is one."""
        return self._stack()

    def running(self) -> L2capStack:
        """Returns the stack of the controller that is up. Raises NoDongle if there is none."""
        if (stack := self._stack()) is None:
            raise NoDongle("there is no Bluetooth adapter")
        return stack

    async def get(self, address: bytes, address_type: int) -> RadioLink:
        """Returns the link to a peer, made if there is none. Gives up when cancelled.

        Raises NoDongle, NotSupported, Unreachable.
        """
        stack = self.running()
        if not _supports(stack, transport_of(address_type)):
            raise NotSupported("the controller does not have this transport")
        link = self._find(address, address_type)
        if link is None:
            now = await self._locate(address, address_type)
            link = self._find(address, address_type) or await self._make(self.running(), now)
        if not self._is_up(link):
            raise Unreachable("the link was lost", link.end_status)
        return link

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

    @contextlib.contextmanager
    def hold_for_pairing(self, link: RadioLink) -> Iterator[None]:
        """Keeps the link while the block waits until it is secure."""
        self.begin_pairing(link)
        try:
            yield
        finally:
            self.end_pairing(link)

    def begin_pairing(self, link: RadioLink) -> None:
        """Counts somebody who waits until the link is secure, so that it stays until ``end_pairing``."""
        link.pairings += 1
        self._stay(link)

    def end_pairing(self, link: RadioLink) -> None:
        """Ends ``begin_pairing``."""
        link.pairings -= 1
        self._leave(link)

    def info(self) -> list[LinkInfo]:
        """Returns the facts about each link that is up."""
        if (stack := self._stack()) is None:
            return []
        now = stack.now()
        return [
            LinkInfo(
                handle, link.peer_text, ADDRESS_TYPES[link.identity[1]], ROLES[role], link.channels,
                round(now - link.since, 1), queued, outstanding, SECURITY_LEVELS[link.security.level],
                link.security.key_size, link.security.is_bonded,
            )
            for handle, _, _, role, queued, outstanding in stack.controller.host.links()
            if (link := self.by_handle.get(handle)) is not None
        ]  # fmt: skip

    def disconnect(self, handle: int) -> bool:
        """Ends a link with all that uses it. Returns False if there is none with this handle."""
        if (link := self.by_handle.get(handle)) is None:
            return False
        link.closing = True
        link.stack.controller.host.disconnect(handle)
        link.stack.flush_soon()
        return True

    async def disconnect_all(self, timeout_s: float) -> None:
        """Ends every link as soon as its channels have ended. Waits at most ``timeout_s``."""
        self._stopping = True
        for link in tuple(self.by_handle.values()):
            self._stay(link)
            self._leave(link)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._none.wait(), timeout_s)

    # The adapter calls these.

    def controller_lost(self, error: RadioError) -> None:
        """Drops all links and fails all attempts with ``error``."""
        links, self.by_handle = self.by_handle, {}
        attempts, self._attempts = self._attempts, {}
        for link in links.values():
            self._stay(link)
        for attempt in attempts.values():
            for waiter in attempt.waiters:
                fail(waiter, error)
        self._none.set()

    def connect_failed(self, event: hci_events.ConnectFailed) -> None:
        address, address_type, status, number = event
        attempt = self._attempts.get((address, address_type))
        if attempt is None or attempt.number != number:
            return  # its waiters have gone
        del self._attempts[address, address_type]
        for waiter in attempt.waiters:
            fail(waiter, Unreachable(f"no link to the peer: HCI status {describe_error(status)}", status))

    # The stack calls these.

    def link_up(self, stack: L2capStack, link: hci_events.Connected) -> None:
        handle, address, address_type, role, private_address, own_address = link
        attempt = self._attempts.pop((address, address_type), None)
        if attempt is None and private_address is not None and role == CENTRAL:
            attempt = self._attempts.pop((private_address, ADDRESS_LE_RANDOM), None)
        waiters = attempt.waiters if attempt is not None else set()
        ours = role == CENTRAL or bool(waiters)  # as central we made it, even if it has no waiter any more
        made = self.by_handle[handle] = RadioLink(
            stack, handle, address, address_type, ours=ours, own_address=own_address, private_address=private_address
        )
        self._none.clear()
        self._log.info("link up", addr=format_address(address), handle=handle, role=ROLES[role])
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(made)
        self._leave(made)  # in case all waiters have gone

    def link_ending(self, link: hci_events.Disconnected) -> None:
        if (ending := self.by_handle.get(link.handle)) is not None:
            ending.end_status = link.reason

    def link_down(self, link: hci_events.Disconnected) -> None:
        handle, reason = link
        if (ended := self.by_handle.pop(handle, None)) is not None:
            self._stay(ended)
            self._log.info(
                "link down", addr=format_address(ended.address), handle=handle, reason=describe_error(reason)
            )
        if not self.by_handle:
            self._none.set()

    # Inside.

    def _find(self, address: bytes, address_type: int) -> RadioLink | None:
        for link in self.by_handle.values():
            if link.is_with(address, address_type) and not link.closing:
                return link
        return None

    async def _make(self, stack: L2capStack, key: Key) -> RadioLink:
        """Makes a link together with all others who ask for it; the last who gives up ends the attempt."""
        host = stack.controller.host
        if (attempt := self._attempts.get(key)) is None:
            from_public = self._known_as(*key) == host.address
            attempt = self._attempts[key] = Attempt(host.connect(*key, stack.now(), from_public=from_public))
            stack.flush_soon()
        waiter: asyncio.Future[RadioLink] = self._loop.create_future()
        attempt.waiters.add(waiter)
        try:
            return await waiter
        finally:
            attempt.waiters.discard(waiter)
            if not attempt.waiters and self._attempts.get(key) is attempt:
                del self._attempts[key]
                host.cancel_connect(*key)
                stack.flush_soon()

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
            link.stack.controller.host.disconnect(link.handle)
            link.stack.flush_soon()


def _supports(stack: L2capStack, transport: int) -> bool:
    host = stack.controller.host
    return (host.supports_bredr, host.supports_le)[transport]


def fail(waiter: asyncio.Future[Any], error: RadioError) -> None:
    """Fails a waiter with ``error``, unless it is done already."""
    if not waiter.done():
        waiter.set_exception(error)
