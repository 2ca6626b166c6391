"""Gives guests' devices the Bluetooth adapter: channels over links made on demand, listeners, scans and advertising.

An adapter outlives its dongles. Channels and scans end with the dongle; listeners are set up again on the next one.
"""

import asyncio
import logging
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from usbbtd.bluetooth import BREDR, LE, TRANSPORTS, BredrResult, format_address, transport_of
from usbbtd.dongles.dongle import Dongle
from usbbtd.dongles.tap import Tap
from usbbtd.errors import LocalProtocolError
from usbbtd.hci import events as hci_events
from usbbtd.l2cap import events as l2cap_events
from usbbtd.l2cap.limits import L2capLimits
from usbbtd.radio.air import Air
from usbbtd.radio.channel import (
    ADAPTER_GONE,
    Exhausted,
    InUse,
    ListenerUser,
    NoDongle,
    NotSupported,
    Offer,
    RadioChannel,
    RadioError,
    RadioLink,
    Refused,
    Unreachable,
)
from usbbtd.radio.controller import CallSoon, Controller
from usbbtd.radio.echoes import SharedEchoes
from usbbtd.radio.info import AdapterStatus, LinkInfo
from usbbtd.radio.links import Links, fail

#: The reason given to users when the service ends the adapter.
STOPPING = "usbbtd stops"


class SharedAdapter:
    """Shares one adapter, which has at most one dongle at a time, among any number of users.

    ``call_soon``: see ``Controller``.
    """

    def __init__(
        self, *, random_address: bytes, command_timeout_s: float, limits: L2capLimits, log: FilteringBoundLogger,
        call_soon: CallSoon | None = None,
    ) -> None:  # fmt: skip
        self._random_address = random_address
        self._command_timeout_s = command_timeout_s
        self._limits = limits
        self._log = log
        self._call_soon = call_soon
        self._controller: Controller | None = None
        self._up = asyncio.Event()
        self._tried = asyncio.Event()
        self._links = Links(log)
        self._echoes = SharedEchoes(self._links)
        self._channels: dict[tuple[int, int], RadioChannel] = {}
        self._opening: dict[tuple[int, int], asyncio.Future[RadioChannel]] = {}
        self._offers: dict[tuple[int, int], Offer] = {}
        self._listeners: dict[tuple[int, int], ListenerUser] = {}
        self.air = Air(self._controller_that_is_up, log)
        self._observers: set[Callable[[], None]] = set()
        self._tap: Tap | None = None

    # Facts.

    @property
    def powered(self) -> bool:
        """Returns whether there is a dongle whose controller is up."""
        return self._up.is_set()

    @property
    def address(self) -> bytes:
        """Returns the controller's public address, as six octets in HCI's order; zeros without a dongle."""
        return self._controller.host.address if self._controller and self.powered else bytes(6)

    @property
    def le_address(self) -> bytes:
        """Returns the random static address that LE peers see; zeros while there is no LE."""
        return self._random_address if self.transports[LE] else bytes(6)

    @property
    def transports(self) -> tuple[bool, bool]:
        """Returns which transports can be used now: (whether BR/EDR, whether LE)."""
        if (controller := self._controller_that_is_up()) is None:
            return False, False
        return controller.host.supports_bredr, controller.host.supports_le

    def observe(self, changed: Callable[[], None]) -> None:
        """Calls ``changed`` whenever one of these facts, or what ``air`` can do, has changed, until ``ignore``."""
        self._observers.add(changed)

    def ignore(self, changed: Callable[[], None]) -> None:
        """Ends ``observe``. Idempotent."""
        self._observers.discard(changed)

    async def wait_powered(self) -> None:
        await self._up.wait()

    async def wait_tried(self) -> None:
        """Waits until a dongle has come up, or has been given up, for the first time."""
        await self._tried.wait()

    def is_stuck(self) -> bool:
        """Returns whether a timeout of the controller's is overdue and nothing will deal with it: a bug of ours."""
        return self._controller is not None and self._controller.is_stuck()

    def statistics(self) -> dict[str, int]:
        """Returns counters of the adapter, of its dongle, and of the HCI and L2CAP cores under it."""
        own = {"links": len(self._links.by_handle), "channels": len(self._channels), "listeners": len(self._listeners)}
        if self._controller is not None:
            own |= self._controller.statistics()
        return own

    def info(self) -> AdapterStatus:
        controller = self._controller
        found = controller.host.controller if controller is not None else None
        return AdapterStatus(
            state=controller.host.state if controller is not None else "no dongle",
            dongle=controller.dongle.name if controller is not None else None,
            address=format_address(found.address) if found else None,
            random_address=format_address(self._random_address),
            transports=[name for name, there in zip(TRANSPORTS, self.transports, strict=True) if there],
            missing=[f"{cost}: {why}" for cost, why in controller.host.lost.items()] if controller is not None else [],
            hci_version=found.hci_version if found else None,
            company_identifier=found.company_identifier if found else None,
            bredr_buffers=found.bredr_buffers if found else None,
            le_buffers=found.le_buffers if found else None,
            links=len(self._links.by_handle),
            channels=len(self._channels),
            listeners=len(self._listeners),
            scans=self.air.scans,
            advertising=self.air.advertising,
        )

    def links(self) -> list[LinkInfo]:
        """Returns the facts about each link that is up."""
        return self._links.info(self._controller) if self._controller is not None else []

    def set_tap(self, tap: Tap | None) -> None:
        """Shows ``tap`` every packet of this dongle and of later ones: see ``Controller.set_tap``."""
        self._tap = tap
        if self._controller is not None:
            self._controller.set_tap(tap)

    # The dongle.

    async def take_dongle(self, dongle: Dongle) -> None:
        """Takes a Bluetooth dongle and starts its controller; closes it if there is another one already."""
        if self._controller is not None:
            self._log.warning("dongle ignored", dongle=dongle.name, reason="this adapter has a dongle already")
            dongle.close()
            return
        self._log.info("dongle found", dongle=dongle.name)
        self._controller = Controller(
            dongle, self, random_address=self._random_address, command_timeout_s=self._command_timeout_s,
            limits=self._limits, log=self._log, call_soon=self._call_soon,
        )  # fmt: skip
        self._controller.set_tap(self._tap)
        self._controller.start()

    async def disconnect_all(self, timeout_s: float) -> None:
        """Disconnects every link in order, as far as peers answer within ``timeout_s``."""
        await self._links.disconnect_all(timeout_s)

    def close(self) -> None:
        """Closes the dongle, with which links, channels and scans end."""
        if self._controller is not None:
            self._controller.close(STOPPING)

    # What users ask for.

    async def connect(self, address: bytes, address_type: int, psm: int, mtu: int) -> RadioChannel:
        """Opens a channel, over a new link if there is none; gives up when cancelled. ``mtu``: for what we receive.

        Raises NoDongle, NotSupported, Exhausted, Refused, Unreachable.
        """
        link = await self._link(address, address_type)
        controller = link.controller
        try:
            cid = controller.mux.connect(link.handle, psm, mtu, controller.now())
        except LocalProtocolError as error:
            raise Exhausted(str(error)) from error
        self._links.hold(link)
        return await self._opened(link, cid)

    async def echo(self, address: bytes, data: bytes) -> bytes:
        """Sends a BR/EDR peer an L2CAP echo request, over a new link if there is none, and returns the answer's data.

        Gives up when cancelled. Raises NoDongle, NotSupported, Exhausted, EchoRejected, Unreachable.
        """
        return await self._echoes.ask(await self._link(address, BREDR), data)

    async def accept(self, offer: Offer, mtu: int) -> RadioChannel:
        """Opens the channel that a peer asks for. Raises NoDongle, and Unreachable if the peer has gone away."""
        controller = self._running()
        if self._offers.pop((offer.handle, offer.cid), None) is not offer:
            raise Unreachable("the peer did not wait")
        controller.mux.accept(offer.handle, offer.cid, mtu, controller.now())
        return await self._opened(offer.link, offer.cid)

    def refuse(self, offer: Offer, result: int = BredrResult.NO_RESOURCES) -> None:
        """Refuses a peer its channel with an L2CAP ``result``. Does nothing if the peer has gone away."""
        if self._controller is not None and self._offers.pop((offer.handle, offer.cid), None) is offer:
            self._controller.mux.refuse(offer.handle, offer.cid, result, self._controller.now())
            self._controller.flush_soon()
            self._links.drop(offer.link)

    def listen(self, transport: int, psm: int, listener: ListenerUser) -> None:
        """Listens on a PSM, with this dongle and later ones. Raises InUse if another user listens there."""
        if (transport, psm) in self._listeners:
            raise InUse(f"PSM 0x{psm:04x} is taken")
        self._listeners[transport, psm] = listener
        if (controller := self._controller_that_is_up()) is not None:
            controller.mux.listen(transport, psm)
            self._set_connectable(controller)

    def unlisten(self, transport: int, psm: int) -> None:
        """Ends ``listen`` and refuses the peers that wait. Idempotent."""
        if self._listeners.pop((transport, psm), None) is None:
            return
        if (controller := self._controller_that_is_up()) is not None:
            for offer in [o for o in self._offers.values() if o.psm == psm and o.link.transport == transport]:
                self.refuse(offer)
            controller.mux.unlisten(transport, psm)
            self._set_connectable(controller)

    # The controller calls these.

    def receive_sdus(self, sdus: list[tuple[int, int, bytes]]) -> None:  # hot: per wake-up
        channels = self._channels
        batches: dict[tuple[int, int], list[bytes]] = {}
        for handle, cid, sdu in sdus:
            batch = batches.get((handle, cid))
            if batch is None:
                batches[handle, cid] = [sdu]
            else:
                batch.append(sdu)
        for key, batch in batches.items():
            if (channel := channels.get(key)) is not None:
                channel.deliver(batch)

    def channels_writable(self, channels: list[tuple[int, int]]) -> None:
        for key in channels:
            channel = self._channels.get(key)
            if channel is not None and channel.user is not None:
                channel.user.channel_writable()

    def receive_hci_event(self, event: hci_events.Event) -> None:
        controller = self._controller
        assert controller is not None  # it is its event
        match event:
            case hci_events.Ready():
                self._controller_up(controller)
            case hci_events.Connected() | hci_events.ConnectFailed() | hci_events.Disconnected():
                self._links.receive(controller, event)
            case hci_events.Advertisement() | hci_events.ScanStopped() | hci_events.AdvertisingStopped():
                self.air.receive(event)
            case hci_events.PageScanRefused(status):
                self._log.warning("page scan refused by the controller", status=status)
            case hci_events.CommandGivenUp(command, _, cost):
                self._log.warning("command given up", command=command, missing=cost)

    def link_ending(self, handle: int, status: int) -> None:
        self._links.ending(handle, status)

    def receive_l2cap_event(self, event: l2cap_events.Event) -> None:
        match event:
            case l2cap_events.ChannelOpened(handle, cid, _, _, _):
                self._channel_opened(handle, cid, event)
            case l2cap_events.ChannelRequested(handle, cid, psm):
                self._channel_requested(handle, cid, psm, event)
            case l2cap_events.ChannelRefused(handle, cid, result):
                self._not_opened(handle, cid, Refused(self._links.by_handle[handle].transport, result))
            case l2cap_events.ChannelEnded(handle, cid, reason):
                self._channel_closed(handle, cid, reason)
            case l2cap_events.EchoReceived() | l2cap_events.EchoFailed():
                self._echoes.receive(event)

    def controller_lost(self, reason: str) -> None:
        """Ends links, channels, echoes and scans; listeners and the advertiser wait for the next dongle."""
        self._log.log(logging.INFO if reason == STOPPING else logging.WARNING, "adapter down", reason=reason)
        self._controller = None
        self._up.clear()
        self._tried.set()
        self._tell_observers()  # first: a user whose channel ends must not find the adapter ready
        error = NoDongle(reason)
        self._links.lost(error)
        opening, self._opening = self._opening, {}
        for waiter in opening.values():
            fail(waiter, error)
        self._echoes.lost(error)
        offers, self._offers = self._offers, {}
        channels, self._channels = self._channels, {}
        for offer in offers.values():
            if (listener := self._listeners.get((offer.link.transport, offer.psm))) is not None:
                listener.withdrawn(offer)
        for channel in channels.values():
            channel.ended(ADAPTER_GONE)
        self.air.end_scans()

    # Inside.

    def _running(self) -> Controller:
        if (controller := self._controller_that_is_up()) is None:
            raise NoDongle("there is no Bluetooth adapter")
        return controller

    def _controller_that_is_up(self) -> Controller | None:
        return self._controller if self.powered else None

    async def _link(self, address: bytes, address_type: int) -> RadioLink:
        """Returns the link to a peer, made if there is none. Raises NoDongle, NotSupported, Unreachable."""
        controller = self._running()
        if not self.transports[transport_of(address_type)]:
            raise NotSupported("the controller does not have this transport")
        link = await self._links.get(controller, address, address_type)
        if link is not self._links.by_handle.get(link.handle):
            raise Unreachable("the link was lost", link.end_status)
        return link

    async def _opened(self, link: RadioLink, cid: int) -> RadioChannel:
        """Waits for a channel that was asked for, and returns it when it is open; disconnects it when cancelled."""
        controller = self._running()
        waiter: asyncio.Future[RadioChannel] = asyncio.get_running_loop().create_future()
        self._opening[link.handle, cid] = waiter
        controller.flush_soon()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                if self._opening.get((link.handle, cid)) is waiter:  # otherwise another channel may have its numbers
                    controller.mux.disconnect(link.handle, cid, controller.now())  # ChannelEnded follows
                    controller.flush_soon()
            elif waiter.exception() is None:
                waiter.result().close()
            raise

    def _controller_up(self, controller: Controller) -> None:
        host = controller.host
        assert host.controller is not None  # it is up
        for missing, reason in host.controller.lost.items():
            self._log.warning("transport missing", missing=missing, reason=reason)
        if self.powered:
            self._log.warning("adapter was reset")
            self._tell_observers()  # there may be less than before
            return  # the cores set up again by themselves what was wanted
        self._up.set()
        self._tried.set()
        self._log.info("adapter up", addr=format_address(host.address), bredr=host.supports_bredr, le=host.supports_le)
        for transport, psm in self._listeners:
            controller.mux.listen(transport, psm)
        self._set_connectable(controller)
        self.air.controller_up(controller)
        self._tell_observers()

    def _tell_observers(self) -> None:
        for changed in tuple(self._observers):
            changed()

    def _set_connectable(self, controller: Controller) -> None:
        controller.host.set_connectable(any(transport == BREDR for transport, _ in self._listeners))
        controller.flush_soon()

    def _channel_opened(self, handle: int, cid: int, event: l2cap_events.ChannelOpened) -> None:
        waiter = self._opening.get((handle, cid))
        if waiter is None or waiter.done():
            return  # its user was cancelled, and has disconnected it
        del self._opening[handle, cid]
        channel = self._channels[handle, cid] = RadioChannel(self._links.by_handle[handle], event)
        waiter.set_result(channel)

    def _channel_requested(self, handle: int, cid: int, psm: int, event: l2cap_events.ChannelRequested) -> None:
        link = self._links.by_handle[handle]
        listener = self._listeners.get((link.transport, psm))
        if listener is None:
            link.controller.mux.refuse(handle, cid, BredrResult.NO_RESOURCES, link.controller.now())
            return
        offer = self._offers[handle, cid] = Offer(link, event)
        self._links.hold(link)
        listener.offered(offer)

    def _channel_closed(self, handle: int, cid: int, reason: str) -> None:
        key = (handle, cid)
        if (offer := self._offers.pop(key, None)) is not None:
            self._links.drop(offer.link)
            if (listener := self._listeners.get((offer.link.transport, offer.psm))) is not None:
                listener.withdrawn(offer)
        elif (channel := self._channels.pop(key, None)) is not None:
            channel.ended(reason)
            self._links.drop(channel.link)
        else:
            self._not_opened(handle, cid, Unreachable(reason, self._links.by_handle[handle].end_status))

    def _not_opened(self, handle: int, cid: int, error: RadioError) -> None:
        if (waiter := self._opening.pop((handle, cid), None)) is not None:
            fail(waiter, error)
            self._links.drop(self._links.by_handle[handle])
