"""The host side of HCI for one controller: sets it up, and handles its commands, links and data. No I/O.

receive_event, receive_acl  ->  Host  ->  take_events, take_pdus
connect, send_pdu, ...      ->        ->  take_commands, take_acl
"""

from collections.abc import Callable
from typing import Any

from usbbtd.bluetooth import ErrorCode
from usbbtd.errors import LocalProtocolError, RemoteProtocolError
from usbbtd.hci.acl import AclData
from usbbtd.hci.advertising import Advertising
from usbbtd.hci.advertising_set import AdvertisingParameters
from usbbtd.hci.authentication import Authentication
from usbbtd.hci.command_queue import CommandQueue
from usbbtd.hci.connections import AclLinkInfo, Connections
from usbbtd.hci.events import Advertisement, CommandGivenUp, DeviceFound, Event, Failed, PageScanRefused, Ready
from usbbtd.hci.init import ControllerFacts, Script, init_script
from usbbtd.hci.initiator import Target
from usbbtd.hci.inquiry import Inquiring
from usbbtd.hci.limits import MAX_EVENTS, RESET_GRACE_S
from usbbtd.hci.losses import FUNCTIONS, LOSSES, Cost
from usbbtd.hci.remote_names import RemoteNames
from usbbtd.hci.resolving import ResolvingList
from usbbtd.hci.scanning import Scanning
from usbbtd.hci.states import HOST, HostInput, HostState
from usbbtd.hci.wire import commands
from usbbtd.hci.wire import events as incoming
from usbbtd.packets import Packet
from usbbtd.transitions import next_state

__all__ = ["Host"]


_PAGE_SCAN = 0b10


class Host:
    """The host of one controller.

    It is OFF until start(), then STARTING and UP. If the controller is silent it is STARTING again, and FAILED if that
    did not help. Outside of UP, all that the controller sends is dropped, except answers to commands. start_scan(),
    start_advertising() and set_connectable() may be called in any state and outlive a reset.
    """

    def __init__(self, *, random_address: bytes, command_timeout_s: float = 2.0, secure: bool = False) -> None:
        """Makes the host of a controller that is off.

        ``random_address``: our random static address on LE: six octets, the two upper bits of the last are set.
        ``secure``: whether there is a user of ``security``, who has keys. Without one every pairing is refused.
        """
        if len(random_address) != 6 or random_address[5] < 0xC0:
            raise LocalProtocolError(f"{random_address.hex()} is not a random static address")
        self.random_address = random_address
        self.controller: ControllerFacts | None = None  # the facts since it was up last
        self._state = HostState.OFF
        self._events: list[Event] = []
        self._script: Script[ControllerFacts] | None = None
        self._last_reset: tuple[float, str] | None = None  # when, and why
        self._acl = AclData()
        self._commands = CommandQueue(command_timeout_s)
        send = self._commands.send
        self._scanning = Scanning(send, self._emit)
        self._advertising = Advertising(random_address, send, self._emit)
        self._resolving = ResolvingList((self._scanning, self._advertising), send)
        self.security = security = Authentication(self._resolving, send, self._emit, secure=secure)
        self._inquiring = Inquiring(send, self._emit)
        self._names = names = RemoteNames(send, self._emit, self._inquiring.set_initiating)
        links = Connections(
            self._acl, random_address, self._scanning, self._advertising, security, self._set_paging, send, self._emit
        )
        self._connections = links
        self._handlers: dict[type[Packet], Callable[[Any, float], None]] = {
            incoming.ConnectionRequest: links.receive_request,
            incoming.ConnectionComplete: links.receive_complete,
            incoming.DisconnectionComplete: links.receive_disconnected,
            incoming.RoleChange: links.receive_role,
            incoming.LeConnectionComplete: links.receive_le_complete,
            incoming.LeEnhancedConnectionComplete: links.receive_le_complete,
            incoming.LeConnectionUpdateComplete: links.receive_le_updated,
            incoming.LeRemoteConnectionParameterRequest: links.receive_le_parameters_request,
            incoming.LeAdvertisingSetTerminated: self._advertising.receive_terminated,
            incoming.LeAdvertisingReport: self._scanning.receive_reports,
            incoming.LeExtendedAdvertisingReport: self._scanning.receive_reports,
            incoming.InquiryComplete: self._inquiring.receive_complete,
            incoming.InquiryResult: self._inquiring.receive_result,
            incoming.InquiryResultWithRssi: self._inquiring.receive_result,
            incoming.ExtendedInquiryResult: self._inquiring.receive_result,
            incoming.RemoteNameRequestComplete: names.receive_complete,
            **dict.fromkeys(security.events, security.receive),
        }
        self._counters = dict.fromkeys(
            ("resets", "resets_unasked", "events_ignored", "events_malformed", "advertisements_dropped"), 0
        )

    # Facts

    @property
    def state(self) -> HostState:
        return self._state

    @property
    def address(self) -> bytes:
        """Returns the controller's BD_ADDR, zeros if it was never up. On LE our address is random_address."""
        return self.controller.address if self.controller else bytes(6)

    @property
    def supports_bredr(self) -> bool:
        return self.controller is not None and self.controller.supports_bredr

    @property
    def supports_le(self) -> bool:
        return self.controller is not None and self.controller.supports_le

    @property
    def lost(self) -> dict[Cost, str]:
        """Returns what the controller does not do for us, with the reason for people."""
        lost = dict(self.controller.lost) if self.controller else {}
        for command in self._commands.given_up.values():
            cost, why = LOSSES[command]
            if cost in FUNCTIONS:  # a loss of a whole transport is in the controller's facts
                lost[cost] = f"{why}: {command.__name__} is never answered"
        return lost

    def links(self) -> list[AclLinkInfo]:
        return self._connections.info()

    def statistics(self) -> dict[str, int]:
        return {
            **self._counters,
            **self._commands.counters,
            **self._connections.counters,
            **self.security.counters,
            **self._acl.statistics(),
            **self._scanning.counters,
            **self._advertising.counters,
            **self._inquiring.counters,
            **self._names.counters,
        }

    # The user's side

    def start(self, now: float) -> None:
        """Resets the controller and sets it up. Ready or Failed follows."""
        if (self._state, HostInput.START) not in HOST:
            raise LocalProtocolError("the controller has been started already")
        self._last_reset = None
        self._begin(HostInput.START, now)

    def connect(self, address: bytes, address_type: int, now: float, *, from_public: bool = False) -> int:
        """Connects to a peer and returns the number of the attempt, which later calls for the same peer share.

        Connected follows, or ConnectFailed with this number; nothing if there is such a link already. ``from_public``:
        whether a peer of LE sees the controller's public address, and not our random one.
        """
        self._commands.now = now
        return self._connections.connect(Target(address, address_type), now, from_public=from_public)

    def cancel_connect(self, address: bytes, address_type: int) -> None:
        """Gives an attempt up: no ConnectFailed follows. Connected may follow all the same."""
        self._connections.cancel_connect(Target(address, address_type))

    def disconnect(self, handle: int, reason: int = ErrorCode.REMOTE_USER_TERMINATED) -> None:
        """Ends a link. Disconnected follows, if there is such a link."""
        self._connections.disconnect(handle, reason)

    def set_connectable(self, connectable: bool) -> None:
        """Sets whether BR/EDR peers may connect to us."""
        self._connections.connectable = connectable
        if self._state is HostState.UP and self.supports_bredr:
            self._commands.send(commands.WriteScanEnable(_PAGE_SCAN if connectable else 0), self._page_scan_answered)

    def start_scan(self, *, active: bool, duplicates: bool) -> None:
        """Starts a scan, or changes the running one. Advertisement follows for each report, until it is stopped.

        It ends with stop_scan(), or with ScanStopped.
        """
        self._scanning.start(active=active, duplicates=duplicates)

    def stop_scan(self) -> None:
        self._scanning.stop()

    def start_advertising(self, number: int, parameters: AdvertisingParameters, now: float) -> None:
        """Advertises until stop_advertising() or AdvertisingStopped, also after a peer has connected.

        There may be any number of advertisements, each with a number of the caller's; see hci/advertising.py. One that
        has this number already is changed.
        """
        self._advertising.start(number, parameters, now)

    def stop_advertising(self, number: int) -> None:
        self._advertising.stop(number)

    def start_inquiry(self, *, duplicates: bool) -> None:
        """Looks for BR/EDR devices, round after round, until stop_inquiry() or InquiryEnded. DeviceFound tells of each.

        Each round of 11 s tells all anew. It pauses while BR/EDR connections are made and names are read.
        ``duplicates``: whether each response is told, and not only what is new in it.
        """
        self._inquiring.start(duplicates=duplicates)

    def stop_inquiry(self) -> None:
        self._inquiring.stop()

    def read_name(self, address: bytes, now: float) -> None:
        """Asks a BR/EDR device for its name. NameFound follows, once for all who have asked meanwhile."""
        self._commands.now = now
        self._names.read(address, now)

    def cancel_read_name(self, address: bytes) -> None:
        """Gives a request for a name up: no NameFound follows."""
        self._names.cancel(address)

    def update_connection(self, handle: int, interval_min: int, interval_max: int, latency: int, timeout: int) -> None:
        """Asks for other connection parameters of an LE link. ConnectionUpdated follows if they are changed.

        Intervals are in units of 1.25 ms, the timeout in 10 ms.
        """
        self._connections.update(handle, interval_min, interval_max, latency, timeout)

    def take_events(self) -> list[Event]:
        events = self._events
        self._events = []
        return events

    # The controller's side

    def take_commands(self) -> list[bytes]:
        """Hands over the command packets that may go to the controller now."""
        return self._commands.take()

    def receive_event(self, event: bytes, now: float) -> None:
        """Takes a whole event packet. Raises RemoteProtocolError, and changes nothing, if it breaks a rule."""
        if event and event[0] == incoming.NUMBER_OF_COMPLETED_PACKETS:  # hot: per event
            self._acl.completed(event)
            return
        self._commands.now = now
        try:
            packet = incoming.parse_event(event)
        except RemoteProtocolError:
            if not incoming.may_be_lost(event):
                raise
            self._counters["events_malformed"] += 1
            return
        match packet:
            case incoming.CommandComplete(allowed, opcode, returned):
                self._receive_answer(
                    opcode, allowed, returned[0] if returned else ErrorCode.UNSPECIFIED_ERROR, returned[1:]
                )
            case incoming.CommandStatus(status, allowed, opcode):
                self._receive_answer(opcode, allowed, status, b"")
            case incoming.HardwareError(code) if self._state is HostState.UP:
                self._recover(f"reported hardware error 0x{code:02X}")
            case _ if packet is None or self._state is not HostState.UP:
                self._counters["events_ignored"] += 1
            case _:
                self._handlers[type(packet)](packet, now)

    def receive_acl(self, packets: list[bytes], now: float) -> None:
        """Takes whole ACL data packets in order."""
        self._acl.receive(packets, now)

    def take_pdus(self) -> list[tuple[int, list[bytes]]]:
        """Returns the PDUs that are whole, in order of arrival: (handle, those that came on it in a row)."""
        return self._acl.take_pdus()

    def send_pdus(self, handle: int, pdus: list[bytes]) -> None:
        """Queues PDUs. Raises LocalProtocolError if there is no such link, or its queue is full."""
        self._acl.send_pdus(handle, pdus)

    def writable_links(self) -> list[int]:
        """Returns the handles of links that take more PDUs now, each time with another one first."""
        return self._acl.writable()

    def take_acl(self, now: float) -> list[bytes]:
        """Returns the ACL data packets for which the controller has buffers."""
        return self._acl.take(now)

    def next_timeout(self) -> float | None:
        """Returns when handle_timeout() is to be called, which may be in the past; None if no time-out runs."""
        due = self._commands.deadline
        for other in (
            self._connections.next_timeout(), self._advertising.deadline, self._inquiring.deadline,
            self._names.deadline,
        ):  # fmt: skip
            if due is None or (other is not None and other < due):
                due = other
        return due

    def handle_timeout(self, now: float) -> None:
        self._commands.now = now
        given_up = set(self._commands.given_up.values())
        if silence := self._commands.expired():
            for command in set(self._commands.given_up.values()) - given_up:
                if (cost := LOSSES[command].cost) in FUNCTIONS:
                    self._emit(CommandGivenUp(command.__name__, command.CODE, cost))
            complaint, bounded = silence
            self._recover(complaint, bounded=bounded)
        self._connections.handle_timeout(now)
        self._advertising.handle_timeout(now)
        self._inquiring.handle_timeout(now)
        self._names.handle_timeout(now)

    # Inside

    def _emit(self, event: Event) -> None:
        if len(self._events) >= MAX_EVENTS and isinstance(event, (Advertisement, DeviceFound)):
            self._counters["advertisements_dropped"] += 1
        else:
            self._events.append(event)

    def _set_paging(self, paging: bool) -> None:
        self._names.set_paging(paging, self._commands.now)

    def _page_scan_answered(self, status: int, _returned: bytes, _now: float) -> None:
        if status and self._connections.connectable and Cost.LISTENING not in self.lost:
            self._emit(PageScanRefused(status))

    def _receive_answer(self, opcode: int, allowed: int, status: int, returned: bytes) -> None:
        if self._state not in (HostState.STARTING, HostState.UP):
            self._counters["events_ignored"] += 1
        elif opcode == commands.Reset.CODE and not self._commands.is_pending(opcode):
            self._receive_reset()
        else:
            self._commands.receive_answer(opcode, allowed, status, returned)

    def _receive_reset(self) -> None:
        """Handles a reset of the controller that we did not ask for. Controllers of CSR do that while they start."""
        if self._state is HostState.STARTING:
            self._counters["resets_unasked"] += 1
            self._commands.send_again()
        else:
            self._recover("was reset by itself")

    def _step(self, event: HostInput) -> None:
        """Changes the state as the transitions say. Raises LocalProtocolError if there is no such transition."""
        self._state = next_state("host", HOST, self._state, event)

    def _begin(self, event: HostInput, now: float) -> None:
        """Begins the init script. A start forgives what the controller did not answer before; a reset does not."""
        self._step(event)
        self._commands.now = now
        self._commands.clear(forgive=event is HostInput.START)
        self._script = init_script(self.random_address)
        self._command_script(next(self._script))

    def _command_script(self, command: commands.HciCommand) -> None:
        self._commands.send(command, self._advance_script)

    def _advance_script(self, status: int, returned: bytes, now: float) -> None:
        """Gives the init script the answer to its last command, and sends its next one."""
        assert self._script is not None
        try:
            command = self._script.send((status, returned))
        except StopIteration as end:
            self._up(end.value)
        except RemoteProtocolError as error:
            self._fail(str(error))
        else:
            self._command_script(command)

    def _up(self, controller: ControllerFacts) -> None:
        self._script = None
        self.controller = controller
        self._acl.configure(controller.bredr_buffers, controller.le_buffers, non_flushable=controller.non_flushable)
        self._step(HostInput.SET_UP)
        self._connections.controller_up(controller)
        self._emit(Ready())
        self._resolving.controller_up(controller)
        self._names.controller_up(controller)
        for activity in (self._scanning, self._advertising, self._inquiring):
            activity.controller_up(controller)
        if self._connections.connectable:  # after a reset no peer can connect
            self.set_connectable(True)

    def _recover(self, complaint: str, *, bounded: bool = False) -> None:
        """Resets a controller that is silent or reports an error, or gives it up if a reset did not help before.

        ``bounded``: whether such silences cannot go on for ever: see ``CommandQueue.expired``.
        """
        now = self._commands.now
        if not bounded and self._last_reset and now < self._last_reset[0] + RESET_GRACE_S:
            self._fail(f"the controller {complaint}")
            return
        if not bounded or self._state is HostState.UP:
            self._last_reset = now, complaint
        self._counters["resets"] += 1
        self._connections.abandon(ErrorCode.HARDWARE_FAILURE, now)
        self._names.abandon(ErrorCode.HARDWARE_FAILURE)
        for part in (self._resolving, self._scanning, self._advertising, self._inquiring):
            part.controller_down()
        self._begin(HostInput.RESET, now)

    def _fail(self, reason: str) -> None:
        self._step(HostInput.GIVE_UP)
        self._script = None
        self._commands.clear(forgive=False)
        self._connections.abandon(ErrorCode.HARDWARE_FAILURE, self._commands.now)
        self._resolving.controller_down()
        self._names.abandon(ErrorCode.HARDWARE_FAILURE)
        for activity in (self._scanning, self._advertising, self._inquiring):
            activity.abandon(ErrorCode.HARDWARE_FAILURE)
        if self._last_reset:
            reason += f"; it had been reset because it {self._last_reset[1]}"
        self._emit(Failed(reason))
