"""Opens channels to peers for an adapter's users, and listens for the channels that peers ask for."""

import asyncio
from collections.abc import Callable

from usbbtd.bluetooth import BREDR, BredrResult
from usbbtd.errors import LocalProtocolError
from usbbtd.l2cap import events as l2cap_events
from usbbtd.radio.channel import ADAPTER_GONE, Offer, RadioChannel
from usbbtd.radio.echoes import SharedEchoes
from usbbtd.radio.errors import Exhausted, InUse, RadioError, Refused, Unreachable
from usbbtd.radio.links import Links, RadioLink, fail
from usbbtd.radio.stack import L2capStack

Key = tuple[int, int]  # a link's handle, and our identifier of a channel on it


class Channels:
    """Keeps the channels of one adapter. They end with the dongle; listeners are set up again on the next one.

    ``stack`` returns the stack of the controller that is up, or None.
    """

    def __init__(self, stack: Callable[[], L2capStack | None], links: Links, echoes: SharedEchoes) -> None:
        self._stack = stack
        self._links = links
        self._echoes = echoes
        self._channels: dict[Key, RadioChannel] = {}
        self._opening: dict[Key, asyncio.Future[RadioChannel]] = {}
        self._offers: dict[Key, Offer] = {}
        self._listeners: dict[tuple[int, int], Callable[[Offer], None]] = {}  # by transport and PSM

    def statistics(self) -> dict[str, int]:
        return {"channels": len(self._channels), "listeners": len(self._listeners)}

    # For users to call.

    async def connect(self, address: bytes, address_type: int, psm: int, mtu: int) -> RadioChannel:
        """Opens a channel, over a new link if there is none; gives up when cancelled. ``mtu``: for what we receive.

        Raises NoDongle, NotSupported, Exhausted, Refused, Unreachable.
        """
        link = await self._links.get(address, address_type)
        stack = link.stack
        try:
            cid = stack.mux.connect(link.handle, psm, mtu, stack.now())
        except LocalProtocolError as error:
            raise Exhausted(str(error)) from error
        self._links.hold(link)
        return await self._opened(link, cid)

    async def accept(self, offer: Offer, mtu: int) -> RadioChannel:
        """Opens the channel that a peer asks for. Raises NoDongle, and Unreachable if the peer has gone away."""
        stack = self._links.running()
        if self._offers.pop((offer.handle, offer.cid), None) is not offer:
            raise Unreachable("the peer did not wait")
        stack.mux.accept(offer.handle, offer.cid, mtu, stack.now())
        return await self._opened(offer.link, offer.cid)

    def refuse(self, offer: Offer, result: int = BredrResult.NO_RESOURCES) -> None:
        """Refuses a peer its channel with an L2CAP ``result``. Does nothing if the peer has gone away."""
        stack = self._stack()
        if stack is not None and self._offers.pop((offer.handle, offer.cid), None) is offer:
            stack.mux.refuse(offer.handle, offer.cid, result, stack.now())
            stack.flush_soon()
            self._links.drop(offer.link)

    def listen(self, transport: int, psm: int, offered: Callable[[Offer], None]) -> None:
        """Listens on a PSM, with this dongle and later ones: ``offered`` is called with each peer's request.

        Raises InUse if another user listens there.
        """
        if (transport, psm) in self._listeners:
            raise InUse(f"PSM 0x{psm:04x} is taken")
        self._listeners[transport, psm] = offered
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
        for waiter in opening.values():
            fail(waiter, error)
        for offer in offers.values():
            if offer.withdrawn is not None:
                offer.withdrawn()
        for channel in channels.values():
            channel.ended(ADAPTER_GONE)

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

    async def _opened(self, link: RadioLink, cid: int) -> RadioChannel:
        """Waits for a channel that was asked for, and returns it when it is open; disconnects it when cancelled."""
        stack, key = link.stack, (link.handle, cid)
        waiter: asyncio.Future[RadioChannel] = asyncio.get_running_loop().create_future()
        self._opening[key] = waiter
        stack.flush_soon()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                if self._opening.get(key) is waiter:  # otherwise another channel may have its numbers
                    stack.mux.disconnect(*key, stack.now())  # ChannelEnded follows
                    stack.flush_soon()
            elif waiter.exception() is None:
                waiter.result().close()
            raise

    def _channel_opened(self, event: l2cap_events.ChannelOpened) -> None:
        key = event.handle, event.cid
        waiter = self._opening.get(key)
        if waiter is None or waiter.done():
            return  # its user was cancelled, and has disconnected it
        del self._opening[key]
        channel = self._channels[key] = RadioChannel(self._links.by_handle[event.handle], event)
        waiter.set_result(channel)

    def _channel_requested(self, event: l2cap_events.ChannelRequested) -> None:
        handle, cid, psm = event
        link = self._links.by_handle[handle]
        offered = self._listeners.get((link.transport, psm))
        if offered is None:
            link.stack.mux.refuse(handle, cid, BredrResult.NO_RESOURCES, link.stack.now())
            return
        offer = self._offers[handle, cid] = Offer(link, event)
        self._links.hold(link)
        offered(offer)

    def _channel_ended(self, handle: int, cid: int, reason: str) -> None:
        key = (handle, cid)
        if (offer := self._offers.pop(key, None)) is not None:
            self._links.drop(offer.link)
            if offer.withdrawn is not None:
                offer.withdrawn()
        elif (channel := self._channels.pop(key, None)) is not None:
            channel.ended(reason)
            self._links.drop(channel.link)
        else:
            self._not_opened(handle, cid, Unreachable(reason, self._links.by_handle[handle].end_status))

    def _not_opened(self, handle: int, cid: int, error: RadioError) -> None:
        if (waiter := self._opening.pop((handle, cid), None)) is not None:
            fail(waiter, error)
            self._links.drop(self._links.by_handle[handle])

    def _set_connectable(self, stack: L2capStack) -> None:
        stack.controller.host.set_connectable(any(transport == BREDR for transport, _ in self._listeners))
        stack.flush_soon()
