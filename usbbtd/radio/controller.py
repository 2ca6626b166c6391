"""Drives one dongle: moves HCI packets between it and the HCI core, and PDUs between that and the owners of links.

Everything that is ready is drained at each wake-up, in the order in which data flows, and sent on at the end:
``dongle -> hci -> owner`` and ``owner -> hci -> dongle`` back.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from structlog.typing import FilteringBoundLogger

from usbbtd.dongles.dongle import Dongle
from usbbtd.dongles.firmware import FirmwareDirectory, FirmwareMissing
from usbbtd.dongles.tap import Tap, TappedDongle
from usbbtd.errors import RemoteProtocolError
from usbbtd.hci import events as hci_events
from usbbtd.hci.host import Host
from usbbtd.hci.names import controller_name
from usbbtd.hci.states import HostState
from usbbtd.hci.vendor.choice import runs_from_rom
from usbbtd.pump import contained, explain

if TYPE_CHECKING:  # most dongles need none of it
    from usbbtd.hci.vendor.setup import VendorSetup
    from usbbtd.hci.vendor.steps import SetupResult

#: How many PDUs are taken from one link before the next link has its turn.
LINK_BURST = 8

#: How late a timeout may be dealt with; later than that, its timer is lost.
STUCK_S = 5.0


#: The reason given to users when a dongle leaves the bus because its controller starts its firmware.
STARTS_FIRMWARE = "its controller starts its firmware, and comes back with it"

#: Calls a function later, but soon. Its result, if there is one, is not used.
CallSoon = Callable[[Callable[[], None]], object]


class LinkOwner(Protocol):
    """Owns links of a controller, from their beginnings to their ends. None of these methods may raise or wait.

    The first kind is stack.py, which runs L2CAP over its links.
    """

    def link_up(self, link: hci_events.Connected) -> None:
        """Takes a new link over."""

    def link_down(self, link: hci_events.Disconnected) -> None:
        """Gives up a link that has ended."""

    def receive_pdus(self, handle: int, untrusted_pdus: list[bytes], now: float) -> None:
        """Takes whole PDUs that have come over one of its links; also those that come when the link has ended."""

    def deliver(self) -> None:
        """Hands on what it has received, which is all that a wake-up has brought."""

    def has_pdus(self) -> bool:
        """Returns whether it has anything to send over any of its links."""

    def take_pdus(self, handle: int, limit: int) -> list[bytes]:
        """Returns what is to be sent over a link, ``limit`` PDUs at most.

        Called while the controller has buffers for the link, which are those of the packets that it has completed.
        """

    def sent(self) -> None:
        """Is called when what could be sent is sent, in case somebody waits for room."""

    def next_timeout(self) -> float | None:
        """Returns when ``handle_timeout`` is due."""

    def handle_timeout(self, now: float) -> None:
        """Does what is due."""


class ControllerUser(Protocol):
    """Hears what becomes of a controller, and decides whose its links are. None of these methods may raise or wait."""

    def owner_of(self, link: hci_events.Connected) -> LinkOwner: ...
    def receive_hci_event(self, event: hci_events.Event) -> None: ...
    def controller_lost(self, reason: str) -> None: ...


class Controller:
    """Runs one dongle with its HCI host. Ends with the dongle, and closes the dongle if it fails.

    ``call_soon`` calls a function when all that is ready has been dealt with; by default in the loop's next turn.
    """

    def __init__(
        self, dongle: Dongle, user: ControllerUser, *, random_address: bytes, command_timeout_s: float,
        log: FilteringBoundLogger, call_soon: CallSoon | None = None, secure: bool = False,
        setup: "VendorSetup | None" = None, firmware: FirmwareDirectory | None = None,
    ) -> None:  # fmt: skip
        """Makes the controller of a dongle. ``secure``: whether its owners have keys; otherwise it refuses to pair.

        ``setup``: what it needs before it can be started, with files of ``firmware``; None: nothing.
        """
        self.dongle = dongle
        self.host = Host(random_address=random_address, command_timeout_s=command_timeout_s, secure=secure)
        self._chip: str | None = None  # what it is, if its set-up has found that out
        self._setup = setup  # None when it has ended
        self._had_setup = setup is not None
        self._without: str | None = None  # the firmware that it has not got, and why, for people
        self._firmware = firmware or FirmwareDirectory()
        self._user = user
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._call_soon = call_soon or self._loop.call_soon
        self.now: Callable[[], float] = self._loop.time
        self._owners: list[LinkOwner] = []  # all that may own links
        # By a link's handle. The last owner stays when the link has ended, and counts what comes too late.
        self._owner_of: dict[int, LinkOwner] = {}
        self._waiting: list[bytes] = []  # not taken by the dongle yet; bounded by the controller, see take_acl()
        self._flush_scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0  # when it calls _timeout
        self._lost = False

    @property
    def state(self) -> HostState:
        """Returns the state of the host; STARTING also before it, while there is a set-up."""
        return HostState.STARTING if self._setup is not None and not self._lost else self.host.state

    @property
    def kind(self) -> str | None:
        """Returns what the controller is, for people; None before it is up for the first time."""
        found = self.host.controller
        return controller_name(found.company_identifier, found.hci_version, self._chip) if found else None

    def missing(self) -> list[str]:
        """Returns what it does not do or have, although it should, with the reasons, for people."""
        lost = [f"{cost}: {why}" for cost, why in self.host.lost.items()]
        return lost if self._without is None else [f"firmware: {self._without}", *lost]

    def lacks_firmware(self) -> bool:
        """Returns whether it is up without the set-up that it needs, because its dongle is not known to need it."""
        found = self.host.controller
        return (
            not self._had_setup and found is not None and runs_from_rom(found.company_identifier, found.lmp_subversion)
        )

    def serve(self, owner: LinkOwner) -> None:
        """Lets ``owner`` own links from now on, until the controller is closed."""
        self._owners.append(owner)

    @contained
    def start(self) -> None:
        """Begins to receive and starts the set-up; the user then hears ``Ready`` or ``controller_lost``."""
        self.dongle.start(self)
        if self._setup is None:
            self.host.start(self.now())
            self._flush()
            return
        self.dongle.set_loading(self._setup.bulk)
        self._setup.start(self.now())
        self._advance_setup(self._setup, self.now())

    def set_tap(self, tap: Tap | None) -> None:
        """Shows ``tap`` every packet, both ways, from now on; None removes the tap, which then costs nothing."""
        if isinstance(self.dongle, TappedDongle):
            self.dongle = self.dongle.remove()
        if tap is not None:
            self.dongle = TappedDongle(self.dongle, tap)

    def close(self, reason: str) -> None:
        """Closes the dongle and tells the user. Idempotent."""
        if self._lost:
            return
        self._lost = True
        if self._timer is not None:
            self._timer.cancel()
        self.dongle.close()
        self._user.controller_lost(reason)

    def is_stuck(self) -> bool:
        """Returns whether a timeout of a core is overdue by more than STUCK_S: nothing will deal with it any more."""
        times = [self.host.next_timeout(), *(owner.next_timeout() for owner in self._owners)]
        due = [time for time in times if time is not None]
        return not self._lost and bool(due) and min(due) + STUCK_S < self.now()

    def statistics(self) -> dict[str, int]:
        """Returns the counters of the dongle and of the host; their names begin with dongle_ and hci_."""
        return {
            **{f"dongle_{name}": value for name, value in self.dongle.statistics().items()},
            **{f"hci_{name}": value for name, value in self.host.statistics().items()},
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
        self.close(STARTS_FIRMWARE if self._setup is not None and self._setup.is_leaving else reason)

    # Inside.

    def _receive(self, events: list[bytes], acl: list[bytes], now: float) -> None:  # hot: per wake-up
        if self._setup is not None:
            self._receive_setup(self._setup, events, now)
            return
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

    def _receive_setup(self, setup: "VendorSetup", events: list[bytes], now: float) -> None:
        try:
            for event in events:
                setup.receive_event(event, now)
        except RemoteProtocolError as error:
            self.close(f"the dongle broke the protocol: {error}")
        else:
            self._advance_setup(setup, now)

    def _advance_setup(self, setup: "VendorSetup", now: float) -> None:
        """Gives the set-up the files that it wants, and sends its commands. Starts the host when it has ended."""
        while (file := setup.wanted) is not None:
            try:
                content: bytes | None = self._firmware.read(file.name)
                why = ""
            except FirmwareMissing as error:
                content, why = None, str(error)
            setup.give_file(content, why, now)
        for command in setup.take_commands():
            self.dongle.send_command(command)
        if setup.result is None:
            self._set_timer()
            return
        self._setup = None
        self.dongle.set_loading(False)
        self._end_setup(setup.result)
        if not self._lost:
            self.host.start(now)
            self._send_on(now)

    def _end_setup(self, result: "SetupResult") -> None:
        name = self.dongle.name
        self._chip = result.chip
        if result.firmware is not None:
            version = result.version or "unknown"
            self._log.info(
                "firmware loaded", dongle=name, controller=result.chip, file=result.firmware, version=version
            )
        if result.problem is not None:
            file, package, reason = result.problem
            self._without = f"{file}, of Debian's {package}, is {reason}"
            self._log.warning(
                "firmware missing", dongle=name, controller=result.chip, file=file, package=package, reason=reason
            )
        if result.failure is not None:
            self.close(result.failure)

    def _receive_pdus(self, now: float) -> None:  # hot: per wake-up
        owner_of = self._owner_of
        for handle, pdus in self.host.take_pdus():
            owner_of[handle].receive_pdus(handle, pdus, now)

    def _take_hci_events(self) -> None:
        for event in self.host.take_events():
            match event:
                case hci_events.Connected(handle):
                    owner = self._owner_of[handle] = self._user.owner_of(event)
                    owner.link_up(event)
                    continue
                case hci_events.Disconnected(handle):
                    self._owner_of[handle].link_down(event)
                    continue
                case hci_events.Ready():
                    self.dongle.begin_acl()
                case hci_events.Failed(reason):
                    self.close(reason)
                    return
            self._user.receive_hci_event(event)
            if self._lost:  # by its user: nobody wants to hear the rest
                return

    @contained
    def _flush(self) -> None:
        if not self._lost and self._setup is None:
            self._send_on(self.now())

    def _send_on(self, now: float) -> None:  # hot: per wake-up
        """Has owners hand on what there is, and sends what they and the host have to send."""
        self._flush_scheduled = False
        self._take_hci_events()  # some are the host's own: whom it cannot connect to, for one
        if self._lost:
            return
        host, dongle = self.host, self.dongle
        for owner in self._owners:
            owner.deliver()
        while self._send_pdus():
            pass
        for command in host.take_commands():
            dongle.send_command(command)
        waiting = self._waiting
        waiting += host.take_acl(now)
        if waiting:
            del waiting[: dongle.send_acl(waiting)]
        for owner in self._owners:
            owner.sent()
        self._set_timer()

    def _send_pdus(self) -> bool:  # hot: per wake-up
        """Gives each link that has buffers a turn to send. Returns whether anything was sent."""
        sent = False
        if any(owner.has_pdus() for owner in self._owners):
            for handle in self.host.writable_links():
                if pdus := self._owner_of[handle].take_pdus(handle, LINK_BURST):
                    self.host.send_pdus(handle, pdus)
                    sent = True
        return sent

    def _set_timer(self) -> None:  # hot: per wake-up
        due, timer = self.host.next_timeout(), self._timer
        if self._setup is not None:
            due = self._setup.next_timeout()
        for owner in self._owners:
            other = owner.next_timeout()
            if due is None or (other is not None and other < due):
                due = other
        if due is None or (timer is not None and self._timer_due <= due):
            return  # one that comes too early sets the next: cheaper than moving it at every packet
        if timer is not None:
            timer.cancel()
        self._timer, self._timer_due = self._loop.call_at(due, self._timeout), due

    @contained
    def _timeout(self) -> None:
        self._timer = None
        if self._lost:
            return
        now = self.now()
        if self._setup is not None:
            self._setup.handle_timeout(now)
            self._advance_setup(self._setup, now)
            return
        self.host.handle_timeout(now)
        for owner in self._owners:
            owner.handle_timeout(now)
        self._take_hci_events()
        if not self._lost:
            self._send_on(now)
