"""Drives one dongle: moves HCI packets between it and the HCI and L2CAP cores, and SDUs between those and channels.

Everything that is ready is drained at each wake-up, in the order in which data flows, and sent on at the end:
``dongle -> hci -> l2cap -> owner`` and ``l2cap -> hci -> dongle`` back.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from usbbtd.bluetooth import transport_of
from usbbtd.dongles.dongle import Dongle
from usbbtd.dongles.tap import Tap, TappedDongle
from usbbtd.errors import RemoteProtocolError
from usbbtd.hci import events as hci_events
from usbbtd.hci.host import Host
from usbbtd.l2cap import events as l2cap_events
from usbbtd.l2cap.limits import L2capLimits
from usbbtd.l2cap.mux import Mux
from usbbtd.pump import contained, explain

#: How many PDUs are taken from one link before the next link has its turn.
LINK_BURST = 8

#: How late a timeout may be dealt with; later than that, its timer is lost.
STUCK_S = 5.0


#: Calls a function later, but soon. Its result, if there is one, is not used.
CallSoon = Callable[[Callable[[], None]], object]


class Owner(Protocol):
    """Takes what a controller has received. None of these methods may raise or wait."""

    def receive_sdus(self, sdus: list[tuple[int, int, bytes]]) -> None: ...
    def receive_hci_event(self, event: hci_events.Event) -> None: ...
    def receive_l2cap_event(self, event: l2cap_events.Event) -> None: ...
    def channels_writable(self, channels: list[tuple[int, int]]) -> None: ...
    def link_ending(self, handle: int, status: int) -> None: ...
    def controller_lost(self, reason: str) -> None: ...


class Controller:
    """Runs one dongle with its HCI host and its L2CAP. Ends with the dongle, and closes the dongle if it fails.

    ``call_soon`` calls a function when all that is ready has been dealt with; by default in the loop's next turn.
    """

    def __init__(
        self, dongle: Dongle, owner: Owner, *, random_address: bytes, command_timeout_s: float, limits: L2capLimits,
        log: FilteringBoundLogger, call_soon: CallSoon | None = None,
    ) -> None:  # fmt: skip
        self.dongle = dongle
        self.host = Host(random_address=random_address, command_timeout_s=command_timeout_s)
        self.mux = Mux(limits=limits)
        self._owner = owner
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._call_soon = call_soon or self._loop.call_soon
        self.now: Callable[[], float] = self._loop.time
        self._waiting: list[bytes] = []  # not taken by the dongle yet; bounded by the controller, see take_acl()
        self._asked: dict[int, l2cap_events.ParametersRequested] = {}  # by link's handle; not answered yet
        self._flush_scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._lost = False

    @contained
    def start(self) -> None:
        """Begins to receive and starts the init script; the owner then hears ``Ready`` or ``controller_lost``."""
        self.dongle.start(self)
        self.host.start(self.now())
        self._flush()

    def set_tap(self, tap: Tap | None) -> None:
        """Shows ``tap`` every packet, both ways, from now on; None removes the tap, which then costs nothing."""
        if isinstance(self.dongle, TappedDongle):
            self.dongle = self.dongle.remove()
        if tap is not None:
            self.dongle = TappedDongle(self.dongle, tap)

    def close(self, reason: str) -> None:
        """Closes the dongle and tells the owner. Idempotent."""
        if self._lost:
            return
        self._lost = True
        if self._timer is not None:
            self._timer.cancel()
        self.dongle.close()
        self._owner.controller_lost(reason)

    def is_stuck(self) -> bool:
        """Returns whether a timeout of a core is overdue by more than STUCK_S: nothing will deal with it any more."""
        due = [time for time in (self.host.next_timeout(), self.mux.next_timeout()) if time is not None]
        return not self._lost and bool(due) and min(due) + STUCK_S < self.now()

    def statistics(self) -> dict[str, int]:
        """Returns the counters of the dongle and of both cores; their names begin with dongle_, hci_ and l2cap_."""
        return {
            **{f"dongle_{name}": value for name, value in self.dongle.statistics().items()},
            **{f"hci_{name}": value for name, value in self.host.statistics().items()},
            **{f"l2cap_{name}": value for name, value in self.mux.statistics().items()},
        }

    def flush_soon(self) -> None:
        """Schedules one flush of what the cores want to send, after all that is ready in this turn of the loop."""
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._call_soon(self._flush)

    def pump_failed(self, error: Exception) -> None:
        """Closes the dongle after a bug, as the cores may be in any state; the dongle is then opened again."""
        facts = explain(error)
        self._log.error("radio failed", dongle=self.dongle.name, **facts)
        self.close(facts["reason"])

    # The dongle calls these.

    def receive(self, events: list[bytes], acl: list[bytes]) -> None:  # hot: per wake-up
        try:
            if not self._lost:
                self._receive(events, acl, self.now())
        except Exception as error:  # as ``contained`` does, without a call more
            self.pump_failed(error)

    def dongle_ready_to_send(self) -> None:
        self.flush_soon()

    def dongle_lost(self, reason: str) -> None:
        self.close(reason)

    # Inside.

    def _receive(self, events: list[bytes], acl: list[bytes], now: float) -> None:  # hot: per wake-up
        host = self.host
        try:
            # Data before events: a disconnection must not overtake what the peer sent before it. Data that thus
            # comes before its connection's event waits in the host.
            if acl:
                host.receive_acl(acl, now)
                self._receive_pdus(now)
            if events:
                for event in events:
                    host.receive_event(event, now)
                self._take_hci_events()
                self._receive_pdus(now)
        except RemoteProtocolError as error:
            self.close(f"the dongle broke the protocol: {error}")
            return
        if not self._lost:
            self._send_on(now)

    def _receive_pdus(self, now: float) -> None:  # hot: per wake-up
        for handle, pdus in self.host.take_pdus():
            self.mux.receive_pdus(handle, pdus, now)

    def _take_hci_events(self) -> None:
        for event in self.host.take_events():
            match event:
                case hci_events.Connected(handle, _, address_type, role):
                    self.mux.add_link(handle, transport_of(address_type), role, self.now())
                case hci_events.Disconnected(handle, status):
                    self._owner.link_ending(handle, status)
                    self.mux.remove_link(handle)
                    self._deliver()  # the owner hears of the ends of its channels first
                    self._asked.pop(handle, None)
                case hci_events.Ready():
                    self.dongle.begin_acl()
                case hci_events.Failed(reason):
                    self.close(reason)
                    return
            self._owner.receive_hci_event(event)

    def _deliver(self) -> None:  # hot: per wake-up
        """Hands L2CAP's results to the owner in the order of a channel's life: openings, data, then other events."""
        events = self.mux.take_events()
        for event in events:
            if isinstance(event, l2cap_events.ChannelOpened):
                self._owner.receive_l2cap_event(event)
        if sdus := self.mux.take_sdus():
            self._owner.receive_sdus(sdus)
        for event in events:
            if isinstance(event, l2cap_events.ParametersRequested):
                self._asked[event.handle] = event
            elif not isinstance(event, l2cap_events.ChannelOpened):
                self._owner.receive_l2cap_event(event)

    def _answer_parameters(self) -> None:
        """Accepts the connection parameters that peers ask for, and passes them to the controller.

        Must be called when all HCI events have been taken: until then the host may know a handle as another link's.
        """
        asked, self._asked = self._asked, {}
        for handle, interval_min, interval_max, latency, timeout in asked.values():
            if self.mux.answer_parameters(handle, accepted=True):
                self.host.update_connection(handle, interval_min, interval_max, latency, timeout)

    @contained
    def _flush(self) -> None:
        if not self._lost:
            self._send_on(self.now())

    def _send_on(self, now: float) -> None:  # hot: per wake-up
        """Tells the owner what there is, and sends what the cores have to send."""
        self._flush_scheduled = False
        self._take_hci_events()  # some are the host's own: whom it cannot connect to, for one
        if self._lost:
            return
        host, mux, dongle = self.host, self.mux, self.dongle
        self._deliver()
        if self._asked:
            self._answer_parameters()
        moved = True
        while moved:
            moved = False
            for handle in host.writable_links():
                if pdus := mux.take_pdus(handle, LINK_BURST):
                    host.send_pdus(handle, pdus)
                    moved = True
        for command in host.take_commands():
            dongle.send_command(command)
        waiting = self._waiting
        waiting += host.take_acl(now)
        if waiting:
            del waiting[: dongle.send_acl(waiting)]
        if writable := mux.take_writable():
            self._owner.channels_writable(writable)
        self._set_timer()

    def _set_timer(self) -> None:
        due, other = self.host.next_timeout(), self.mux.next_timeout()
        if due is None or (other is not None and other < due):
            due = other
        timer = self._timer
        if due is None or (timer is not None and timer.when() <= due):
            return  # one that comes too early sets the next: cheaper than moving it at every packet
        if timer is not None:
            timer.cancel()
        self._timer = self._loop.call_at(due, self._timeout)

    @contained
    def _timeout(self) -> None:
        self._timer = None
        if self._lost:
            return
        now = self.now()
        self.host.handle_timeout(now)
        self.mux.handle_timeout(now)
        self._take_hci_events()
        if not self._lost:
            self._send_on(now)
