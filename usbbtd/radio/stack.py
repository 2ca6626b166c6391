"""Runs L2CAP over links of one controller: the owner of those links whose channels the adapter's users share."""

from typing import Protocol

from usbbtd.bluetooth import transport_of
from usbbtd.hci import events as hci_events
from usbbtd.l2cap import events as l2cap_events
from usbbtd.l2cap.limits import L2capLimits
from usbbtd.l2cap.mux import Mux
from usbbtd.radio.controller import Controller
from usbbtd.radio.stack_security import SecurityKeeper, StackSecurity


class LinkKeeper(Protocol):
    """Keeps the links that a stack owns. None of these methods may raise or wait."""

    def link_up(self, stack: "L2capStack", link: hci_events.Connected) -> None: ...
    def link_ending(self, link: hci_events.Disconnected) -> None:
        """Learns why a link ends, before its channels are told of their ends."""

    def link_down(self, link: hci_events.Disconnected) -> None: ...


class ChannelKeeper(Protocol):
    """Keeps the channels of a stack. None of these methods may raise or wait."""

    def receive_sdus(self, sdus: list[tuple[int, int, bytes]]) -> None: ...
    def receive_l2cap_event(self, event: l2cap_events.Event) -> None: ...
    def channels_writable(self, channels: list[tuple[int, int]]) -> None: ...


class L2capStack:
    """Owns links, and runs L2CAP over them, for as long as their controller lives. See ``LinkOwner``."""

    def __init__(
        self, controller: Controller, links: LinkKeeper, channels: ChannelKeeper, *, limits: L2capLimits,
        keeper: SecurityKeeper | None = None,
    ) -> None:  # fmt: skip
        """Makes the stack of a controller. ``keeper``: keeps bonds, and hears of the security of links.

        Without one nothing is encrypted, and peers that want to pair are refused.
        """
        self.controller = controller
        self.mux = Mux(limits=limits, security=keeper is not None)
        self.security: StackSecurity | None = None
        if keeper is not None:
            self.security = StackSecurity(controller.host, self.mux, keeper, controller.now)
        self._links = links
        self._channels = channels
        self._asked: dict[int, l2cap_events.ParametersRequested] = {}  # by link's handle; not answered yet
        # The mux does these itself: one call less for each.
        self.receive_pdus = self.mux.receive_pdus
        self.has_pdus = self.mux.has_pdus
        self.take_pdus = self.mux.take_pdus
        controller.serve(self)

    def statistics(self) -> dict[str, int]:
        """Returns the counters of the cores of L2CAP and security; their names begin with l2cap_ and security_."""
        counters = {f"l2cap_{name}": value for name, value in self.mux.statistics().items()}
        if self.security is not None:
            counters |= {f"security_{name}": value for name, value in self.security.statistics().items()}
        return counters

    def now(self) -> float:
        return self.controller.now()

    def flush_soon(self) -> None:
        """Has what was asked for sent, when all that is ready has been dealt with."""
        self.controller.flush_soon()

    # The controller calls these.

    def link_up(self, link: hci_events.Connected) -> None:
        handle, _, address_type, role, *_ = link
        self.mux.add_link(handle, transport_of(address_type), role, self.now())
        if self.security is not None:
            self.security.link_up(link)
        self._links.link_up(self, link)

    def link_down(self, link: hci_events.Disconnected) -> None:
        self._links.link_ending(link)
        if self.security is not None:
            self.security.link_down(link.handle)
        self.mux.remove_link(link.handle)
        self._deliver_with(self.mux.take_events())  # the users hear of the ends of its channels first
        self._asked.pop(link.handle, None)
        self._links.link_down(link)

    def deliver(self) -> None:  # hot: per wake-up
        """Hands on what has been received. All HCI events have been taken."""
        if self.security is not None:
            self.security.deliver()  # first: a channel must not live on when its link's level has fallen
        if events := self.mux.take_events():
            self._deliver_with(events)
        elif sdus := self.mux.take_sdus():
            self._channels.receive_sdus(sdus)
        if self._asked:
            self._answer_parameters()

    def sent(self) -> None:  # hot: per wake-up
        if writable := self.mux.take_writable():
            self._channels.channels_writable(writable)

    def next_timeout(self) -> float | None:  # hot: per wake-up
        due = self.mux.next_timeout()
        if self.security is None or self.security.due is None:
            return due
        return self.security.due if due is None else min(due, self.security.due)

    def handle_timeout(self, now: float) -> None:
        self.mux.handle_timeout(now)
        if self.security is not None:
            self.security.handle_timeout(now)

    # The adapter calls this.

    def receive_hci_event(self, event: hci_events.Event) -> None:
        """Takes an event of the controller that is about none of the adapter's own functions."""
        if self.security is not None:
            self.security.receive_hci_event(event)

    # Inside.

    def _deliver_with(self, events: list[l2cap_events.Event]) -> None:
        """Hands events and SDUs on in the order of a channel's life: openings, data, then other events."""
        for event in events:
            if isinstance(event, l2cap_events.ChannelOpened):
                self._channels.receive_l2cap_event(event)
        if sdus := self.mux.take_sdus():
            self._channels.receive_sdus(sdus)
        for event in events:
            if isinstance(event, l2cap_events.ParametersRequested):
                self._asked[event.handle] = event
            elif not isinstance(event, l2cap_events.ChannelOpened):
                self._channels.receive_l2cap_event(event)

    def _answer_parameters(self) -> None:
        """Accepts the connection parameters that peers ask for, and passes them to the controller.

        Must be called when all HCI events have been taken: until then the host may know a handle as another link's.
        """
        asked, self._asked = self._asked, {}
        for handle, interval_min, interval_max, latency, timeout in asked.values():
            if self.mux.answer_parameters(handle, accepted=True):
                self.controller.host.update_connection(handle, interval_min, interval_max, latency, timeout)
