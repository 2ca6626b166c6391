"""Opens channels to peers for an adapter's users, and listens for the channels that peers ask for."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple

from usbbtd.bluetooth import BREDR, LE, LEVEL_NONE, BredrResult, transport_of
from usbbtd.errors import LocalProtocolError
from usbbtd.l2cap import events as l2cap_events
from usbbtd.l2cap.wire import OPEN_TO_USERS
from usbbtd.radio.agents import PairingAgent
from usbbtd.radio.channel import ADAPTER_GONE, LEVEL_LOST, NOT_ALLOWED, Offer, RadioChannel
from usbbtd.radio.echoes import SharedEchoes
from usbbtd.radio.errors import Exhausted, InUse, NotSupported, RadioError, Refused, Unreachable
from usbbtd.radio.links import Links, RadioLink, fail
from usbbtd.radio.security import LinkSecurity
from usbbtd.radio.stack import L2capStack

Key = tuple[int, int]  # a link's handle, and our identifier of a channel on it

#: Returns the least level that the link of a peer needs, by the address of its identity and the type of that; None if
#: the peer may not come at all.
LevelFor = Callable[[bytes, int], int | None]


class PsmListener(NamedTuple):
    """Who listens on a PSM, for which guest, and the least level of the links of peers that are offered there."""

    offered: Callable[[Offer], None]
    security: int
    level_for: LevelFor | None
    guest: str

    def needed(self, link: RadioLink) -> int | None:
        """Returns the least level for the peer of this link; None if it may not come."""
        level = LEVEL_NONE if self.level_for is None else self.level_for(*link.identity)
        return None if level is None else max(self.security, level)


class OpeningChannel(NamedTuple):
    """A channel that is not open yet, and the least level of its link."""

    waiter: asyncio.Future[RadioChannel]
    security: int


class Channels:
    """Keeps the channels of one adapter. They end with the dongle; listeners are set up again on the next one.

    ``stack`` returns the stack of the controller that is up, or None.
    """

    def __init__(
        self, stack: Callable[[], L2capStack | None], links: Links, echoes: SharedEchoes, security: LinkSecurity
    ) -> None:
        self._stack = stack
        self._links = links
        self._echoes = echoes
        self._security = security
        self._channels: dict[Key, RadioChannel] = {}
        self._opening: dict[Key, OpeningChannel] = {}
        self._securing: dict[Key, asyncio.Task[None]] = {}  # of peers that wait until their link is secure
        self._offers: dict[Key, Offer] = {}
        self._listeners: dict[tuple[int, int], PsmListener] = {}  # by transport and PSM

    def statistics(self) -> dict[str, int]:
        return {"channels": len(self._channels), "listeners": len(self._listeners)}

    # For users to call.

    async def connect(
        self, address: bytes, address_type: int, psm: int, mtu: int, security: int = LEVEL_NONE,
        agent: PairingAgent | None = None,
    ) -> RadioChannel:  # fmt: skip
        """Opens a channel, over a new link if there is none; gives up when cancelled. ``mtu``: for what we receive.

        ``security``: the level that the link must have first, and keep. ``agent``: pairs if there is no key for that.
        Raises NoDongle, NotSupported, Exhausted, Refused, Unreachable, Insecure.
        """
        link = await self._secure_link(address, address_type, security, agent)
        stack = link.stack
        try:
            cid = stack.mux.connect(link.handle, psm, mtu, stack.now())
        except LocalProtocolError as error:
            raise Exhausted(str(error)) from error
        self._links.hold(link)
        return await self._opened(link, cid, security)

    async def connect_fixed(
        self, address: bytes, address_type: int, cid: int, mtu: int, security: int = LEVEL_NONE,
        agent: PairingAgent | None = None,
    ) -> RadioChannel:  # fmt: skip
        """Opens a fixed channel, which has one user a link. ``mtu``: for both directions; otherwise as ``connect``.

        Raises InUse, too, if another user has it, and NotSupported if users cannot have it at all.
        """
        if cid not in OPEN_TO_USERS[transport_of(address_type)]:
            raise NotSupported(f"there is no fixed channel 0x{cid:04x} for users on this transport")
        link = await self._secure_link(address, address_type, security, agent)
        try:
            link.stack.mux.open_fixed(link.handle, cid, mtu)
        except LocalProtocolError as error:
            raise InUse(str(error)) from error
        self._links.hold(link)
        return await self._opened(link, cid, security)

    async def accept(self, offer: Offer, mtu: int) -> RadioChannel:
        """Opens the channel that a peer asks for.

        Raises NoDongle, Unreachable if the peer has gone away, and Insecure, after it was refused, if the link's
        security has fallen meanwhile.
        """
        stack = self._links.running()
        if self._offers.get((offer.handle, offer.cid)) is not offer:
            raise Unreachable("the peer did not wait")
        if offer.link.security.level < offer.security:
            self.refuse(offer, self._security.refusal(offer.link, offer.security))
            raise self._security.fallen(offer.link, offer.security)
        del self._offers[offer.handle, offer.cid]
        stack.mux.accept(offer.handle, offer.cid, mtu, stack.now())
        return await self._opened(offer.link, offer.cid, offer.security)

    def refuse(self, offer: Offer, result: int = BredrResult.NO_RESOURCES) -> None:
        """Refuses a peer its channel with an L2CAP ``result``. Does nothing if the peer has gone away."""
        stack = self._stack()
        if stack is not None and self._offers.pop((offer.handle, offer.cid), None) is offer:
            stack.mux.refuse(offer.handle, offer.cid, result, stack.now())
            stack.flush_soon()
            self._links.drop(offer.link)

    def listen(
        self, transport: int, psm: int, offered: Callable[[Offer], None], security: int = LEVEL_NONE,
        level_for: LevelFor | None = None, guest: str = "",
    ) -> None:  # fmt: skip
        """Listens on a PSM, with this dongle and later ones: ``offered`` is called with each peer's request.

        ``security`` and ``level_for``: the least level of the peer's link, the higher of the two. A BR/EDR peer whose
        link has less waits until the link is secured by us, by a bond's key or an agent that may pair with it; a peer
        on LE is refused with what it has to do itself. One that may not come is refused before anything is done for
        it. ``guest``: whose agents are the first to pair. Raises InUse if another user listens there.
        """
        if (transport, psm) in self._listeners:
            raise InUse(f"PSM 0x{psm:04x} is taken")
        self._listeners[transport, psm] = PsmListener(offered, security, level_for, guest)
        if (stack := self._stack()) is not None:
            stack.mux.listen(transport, psm)
            self._set_connectable(stack)

    def unlisten(self, transport: int, psm: int) -> None:
        """Ends ``listen`` and refuses the peers that wait. Idempotent."""
        if self._listeners.pop((transport, psm), None) is None:
            return
        if (stack := self._stack()) is not None:
            for offer in [o for o in self._offers.values() if o.psm == psm and o.link.transport == transport]:
                self.refuse(offer)
            # Those that wait until their link is secure find out then that nobody listens.
            stack.mux.unlisten(transport, psm)
            self._set_connectable(stack)

    # The adapter calls these.

    def controller_up(self, stack: L2capStack) -> None:
        """Listens with a new controller where users want that."""
        for transport, psm in self._listeners:
            stack.mux.listen(transport, psm)
        self._set_connectable(stack)

    def controller_lost(self, error: RadioError) -> None:
        """Ends all channels, and fails those that are being opened with ``error``; listeners wait for a controller."""
        opening, self._opening = self._opening, {}
        offers, self._offers = self._offers, {}
        channels, self._channels = self._channels, {}
        securing, self._securing = self._securing, {}
        for task in securing.values():
            task.cancel()
        for waiter, _ in opening.values():
            fail(waiter, error)
        for offer in offers.values():
            if offer.withdrawn is not None:
                offer.withdrawn()
        for channel in channels.values():
            channel.ended(ADAPTER_GONE)

    def level_changed(self, link: RadioLink) -> None:
        """Ends the channels of a link that has not the security any more that they need."""
        stack, has = link.stack, link.security
        for key, opening in self._opening.items():
            if key[0] == link.handle and has.level < opening.security:
                fail(opening.waiter, self._security.fallen(link, opening.security))
                stack.mux.abort(*key, LEVEL_LOST, stack.now())
        for key, channel in self._channels.items():
            if channel.link is link and not channel.is_secure():
                stack.mux.abort(*key, LEVEL_LOST, stack.now())

    # The stack calls these.

    def receive_sdus(self, sdus: list[tuple[int, int, bytes]]) -> None:  # hot: per wake-up
        channels = self._channels
        batches: dict[Key, list[bytes]] = {}
        for handle, cid, sdu in sdus:
            batch = batches.get((handle, cid))
            if batch is None:
                batches[handle, cid] = [sdu]
            else:
                batch.append(sdu)
        for key, batch in batches.items():
            if (channel := channels.get(key)) is not None:
                channel.deliver(batch)

    def channels_writable(self, channels: list[Key]) -> None:  # hot: per wake-up
        for key in channels:
            channel = self._channels.get(key)
            if channel is not None and channel.user is not None:
                channel.user.channel_writable()

    def receive_l2cap_event(self, event: l2cap_events.Event) -> None:
        match event:
            case l2cap_events.ChannelOpened():
                self._channel_opened(event)
            case l2cap_events.ChannelRequested():
                self._channel_requested(event)
            case l2cap_events.ChannelRefused(handle, cid, result):
                self._not_opened(handle, cid, Refused(self._links.by_handle[handle].transport, result))
            case l2cap_events.ChannelEnded(handle, cid, reason):
                self._channel_ended(handle, cid, reason)
            case l2cap_events.EchoReceived() | l2cap_events.EchoFailed():
                self._echoes.receive(event)

    # Inside.

    async def _secure_link(
        self, address: bytes, address_type: int, security: int, agent: PairingAgent | None
    ) -> RadioLink:
        link = await self._links.get(address, address_type)
        if security > LEVEL_NONE:
            with self._links.hold_for_pairing(link):
                await self._security.reach(link, security, agent)
        return link

    async def _opened(self, link: RadioLink, cid: int, security: int) -> RadioChannel:
        """Waits for a channel that was asked for, and returns it when it is open; disconnects it when cancelled."""
        stack, key = link.stack, (link.handle, cid)
        waiter: asyncio.Future[RadioChannel] = asyncio.get_running_loop().create_future()
        opening = self._opening[key] = OpeningChannel(waiter, security)
        stack.flush_soon()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                if self._opening.get(key) is opening:  # otherwise another channel may have its numbers
                    stack.mux.disconnect(*key, stack.now())  # ChannelEnded follows
                    stack.flush_soon()
            elif waiter.exception() is None:
                waiter.result().close()
            raise

    def _channel_opened(self, event: l2cap_events.ChannelOpened) -> None:
        key = event.handle, event.cid
        opening = self._opening.get(key)
        if opening is None or opening.waiter.done():
            return  # its user was cancelled, or the link's security fell: it has been disconnected
        del self._opening[key]
        channel = self._channels[key] = RadioChannel(self._links.by_handle[event.handle], event, opening.security)
        opening.waiter.set_result(channel)

    def _channel_requested(self, event: l2cap_events.ChannelRequested) -> None:
        self._answer(self._links.by_handle[event.handle], event, may_wait=True)

    def _answer(self, link: RadioLink, event: l2cap_events.ChannelRequested, *, may_wait: bool) -> None:
        """Offers the channel that a peer asks for, or refuses it; ``may_wait``: or does so when the link is secure."""
        handle, cid, psm = event
        listener = self._listeners.get((link.transport, psm))  # that of now, which may be another one's than before
        needed = None if listener is None else listener.needed(link)
        if listener is None:
            link.stack.mux.refuse(handle, cid, BredrResult.NO_RESOURCES, link.stack.now())
        elif needed is not None and link.security.level >= needed:
            self._offer(link, event, listener, needed)
        elif may_wait and self._security.is_encrypting(link):  # what the peer has sent then may be here before the news
            self._answer_after(link, event, partial(self._security.encryption_ended, link))
        elif needed is None:
            link.stack.mux.refuse(handle, cid, NOT_ALLOWED[link.transport], link.stack.now())
        elif link.transport == LE or not may_wait:
            link.visited = listener.guest  # the peer may pair now
            link.stack.mux.refuse(handle, cid, self._security.refusal(link, needed), link.stack.now())
        else:
            link.visited = listener.guest
            link.stack.mux.postpone(handle, cid, link.stack.now())
            self._answer_after(link, event, partial(self._secure, link, needed))

    def _answer_after(
        self, link: RadioLink, event: l2cap_events.ChannelRequested, secured: Callable[[], Awaitable[None]]
    ) -> None:
        """Answers a peer that has asked for a channel when ``secured`` has waited for its link."""

        async def answer() -> None:
            await secured()
            del self._securing[event.handle, event.cid]
            self._answer(link, event, may_wait=False)
            link.stack.flush_soon()

        task = self._securing[event.handle, event.cid] = asyncio.create_task(answer())
        task.add_done_callback(partial(_secured, link.stack))

    async def _secure(self, link: RadioLink, needed: int) -> None:
        """Secures the link of a peer that has asked for a channel, if that is possible."""
        with contextlib.suppress(RadioError), self._links.hold_for_pairing(link):
            found = self._security.agents.find(*link.identity, link.visited)
            await self._security.reach(link, needed, None if found is None else found[0], for_peer=True)

    def _offer(self, link: RadioLink, event: l2cap_events.ChannelRequested, listener: PsmListener, needed: int) -> None:
        offer = self._offers[event.handle, event.cid] = Offer(link, event, needed)
        self._links.hold(link)
        listener.offered(offer)

    def _channel_ended(self, handle: int, cid: int, reason: str) -> None:
        key = (handle, cid)
        if (securing := self._securing.pop(key, None)) is not None:
            securing.cancel()
        elif (offer := self._offers.pop(key, None)) is not None:
            self._links.drop(offer.link)
            if offer.withdrawn is not None:
                offer.withdrawn()
        elif (channel := self._channels.pop(key, None)) is not None:
            channel.ended(reason)
            self._links.drop(channel.link)
        else:
            self._not_opened(handle, cid, Unreachable(reason, self._links.by_handle[handle].end_status))

    def _not_opened(self, handle: int, cid: int, error: RadioError) -> None:
        if (opening := self._opening.pop((handle, cid), None)) is not None:
            fail(opening.waiter, error)
            self._links.drop(self._links.by_handle[handle])

    def _set_connectable(self, stack: L2capStack) -> None:
        stack.controller.host.set_connectable(any(transport == BREDR for transport, _ in self._listeners))
        stack.flush_soon()


def _secured(stack: L2capStack, task: asyncio.Task[None]) -> None:
    """Takes the end of a task that has secured a link: what it raised is a bug, which costs the dongle."""
    if not task.cancelled() and isinstance(error := task.exception(), Exception):
        stack.controller.pump_failed(error)
