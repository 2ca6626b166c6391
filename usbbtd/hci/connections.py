"""Makes, accepts, changes and ends links (Vol 4, Part E, 7.1 and 7.8)."""

from collections.abc import Callable
from functools import partial
from itertools import count
from typing import NamedTuple

from usbbtd.bluetooth import ADDRESS_BREDR, ADDRESS_LE_RANDOM, CENTRAL, ErrorCode, parameters_are_legal
from usbbtd.errors import LocalProtocolError
from usbbtd.hci.acl import AclData, AclLink
from usbbtd.hci.advertising import Advertising
from usbbtd.hci.authentication import Authentication
from usbbtd.hci.command_queue import Send
from usbbtd.hci.events import Connected, ConnectFailed, ConnectionUpdated, Disconnected, Event
from usbbtd.hci.init import OWN_ADDRESS_TYPE, PUBLIC_ADDRESS_TYPE, ControllerFacts
from usbbtd.hci.initiator import Initiator, Target
from usbbtd.hci.limits import ACCEPT_S, BREDR_PATIENCE_S, END_RETRY_S, END_S, END_TRIES, LE_PATIENCE_S, MAX_LINKS
from usbbtd.hci.scanning import Scanning
from usbbtd.hci.wire import commands
from usbbtd.hci.wire import events as incoming
from usbbtd.hci.wire.commands import HciCommand

__all__ = ["AclLinkInfo", "Connections"]


_ACL_LINK, _ESCO_LINK = 1, 2
_REMAIN_PERIPHERAL = 1
_PACKET_TYPES = 0xCC18  # all ACL packets of basic and enhanced rate; the bits of the latter mean "not"
_PAGE_SCAN_R2 = 2
_RESOLVED = (2, 3)  # types of addresses that are identities, which the controller has resolved (7.7.65.10)
_SCAN_INTERVAL, _SCAN_WINDOW = 0x60, 0x30  # of an initiator: 60 and 30 ms
_INTERVAL_MIN, _INTERVAL_MAX = 12, 24  # 15 to 30 ms
_SUPERVISION_TIMEOUT = 500  # 5 s


class _EndingLink(NamedTuple):
    """A link that the controller was told to end, ``tries`` times. ``until``: when it is told again, or given up."""

    link: AclLink
    reason: int
    tries: int
    until: float
    refused: bool


class AclLinkInfo(NamedTuple):
    handle: int
    address: bytes
    address_type: int
    role: int
    queued: int  # fragments that wait for the controller
    outstanding: int  # fragments in the controller


class Connections:
    """All links of one controller, and the attempts to make more."""

    def __init__(
        self, acl: AclData, random_address: bytes, scanning: Scanning, advertising: Advertising,
        security: Authentication, set_paging: Callable[[bool], None], send: Send, emit: Callable[[Event], None],
    ) -> None:  # fmt: skip
        """Makes it without links. ``set_paging`` is called with True while BR/EDR peers are paged for connections."""
        self.connectable = False
        self._acl = acl
        self._random_address = random_address
        self._scanning = scanning
        self._advertising = advertising
        self._security = security
        self._send = send
        self._emit = emit
        self._controller: ControllerFacts | None = None
        self._attempts = count(1)
        self._accepted: dict[bytes, float] = {}  # BR/EDR peers whose request was accepted, and until when that counts
        self._from_public: set[Target] = set()  # LE peers that are to see, or see, the controller's public address
        self._created_from_public: Target | None = None  # the last to which we connected, if it is to see that
        self._ending: dict[int, _EndingLink] = {}  # links that the controller has been told to end, by handle
        self._bredr = Initiator(
            self._create_bredr,
            lambda target: commands.CreateConnectionCancel(target.address),
            set_paging,
            lambda: None,
            self._is_linked,
            send,
            emit,
            patience_s=BREDR_PATIENCE_S,
            takes_turns=False,
        )
        self._le = Initiator(
            self._create_le,
            lambda target: commands.LeCreateConnectionCancel(),
            self._set_initiating,
            self._make_way,
            self._is_linked,
            send,
            emit,
            patience_s=LE_PATIENCE_S,
            takes_turns=True,
        )
        self.counters = {
            "links_opened": 0,
            "links_closed": 0,
            "links_refused": 0,
            "links_unasked": 0,  # the controller made them by itself, or too late
            "links_abandoned": 0,  # the controller did not end them when it was told to
            "link_events_stray": 0,
        }

    # The user's wishes

    def connect(self, target: Target, now: float, *, from_public: bool = False) -> int:
        """Connects to a target. Returns the number of the attempt, which a ConnectFailed names."""
        if from_public:
            self._from_public.add(target)
        else:
            self._from_public.discard(target)
        attempt = next(self._attempts)
        if status := self._why_not(target):
            self._emit(ConnectFailed(*target, status, attempt))
            return attempt
        return attempt if self._has_open_link(target) else self._initiator(target).connect(target, attempt, now)

    def cancel_connect(self, target: Target) -> None:
        self._initiator(target).cancel(target)

    def disconnect(self, handle: int, reason: int) -> None:
        link = self._acl.links.get(handle)
        if link and not link.closing:
            link.closing = True
            self._tell_to_end(link, reason, 1)

    def update(self, handle: int, interval_min: int, interval_max: int, latency: int, timeout: int) -> None:
        link = self._acl.links.get(handle)
        if link is None:
            return
        if link.address_type == ADDRESS_BREDR:
            raise LocalProtocolError("only LE links have connection parameters")
        self._send(commands.LeConnectionUpdate(handle, interval_min, interval_max, latency, timeout, 0, 0))

    def info(self) -> list[AclLinkInfo]:
        return [
            AclLinkInfo(link.handle, link.address, link.address_type, link.role, len(link.queue), link.outstanding)
            for link in self._acl.links.values()
        ]

    def next_timeout(self) -> float | None:
        due = self._bredr.deadline
        deadlines = [self._le.deadline, self._acl.next_timeout()]
        if self._ending or self._accepted:
            deadlines += [*[ending.until for ending in self._ending.values()], *self._accepted.values()]
        for deadline in deadlines:
            if deadline is not None and (due is None or deadline < due):
                due = deadline
        return due

    def handle_timeout(self, now: float) -> None:
        self._bredr.handle_timeout(now)
        self._le.handle_timeout(now)
        self._acl.handle_timeout(now)
        for handle in self._acl.take_stalled(now):
            self.disconnect(handle, ErrorCode.UNSPECIFIED_ERROR)
        self._accepted = {address: until for address, until in self._accepted.items() if until > now}
        for ending in [ending for ending in self._ending.values() if ending.until <= now]:
            del self._ending[ending.link.handle]
            if ending.refused and ending.tries < END_TRIES:
                self._tell_to_end(ending.link, ending.reason, ending.tries + 1)
            else:
                self.counters["links_abandoned"] += 1
                self._link_down(ending.link, ErrorCode.LOCAL_HOST_TERMINATED, now)

    def controller_up(self, controller: ControllerFacts) -> None:
        self._controller = controller

    def abandon(self, status: int, now: float) -> None:
        """Ends all links and attempts with this status: the controller has forgotten them."""
        self._controller = self._created_from_public = None
        self._accepted.clear()
        self._from_public.clear()
        self._ending.clear()
        for handle in list(self._acl.links):
            self._acl.remove(handle, now)
            self._security.link_down(handle)
            self.counters["links_closed"] += 1
            self._emit(Disconnected(handle, status))
        self._bredr.abandon(status)
        self._le.abandon(status)

    # The controller's side

    def receive_request(self, event: incoming.ConnectionRequest, now: float) -> None:
        """Accepts or rejects a BR/EDR peer that pages us."""
        address = event.address
        if event.link_type == _ESCO_LINK:
            self._send(commands.RejectSynchronousConnectionRequest(address, ErrorCode.LIMITED_RESOURCES))
        elif event.link_type != _ACL_LINK:
            self._send(commands.RejectConnectionRequest(address, ErrorCode.LIMITED_RESOURCES))
        elif not self._may_page(Target(address, ADDRESS_BREDR)):
            self.counters["links_refused"] += 1
            self._send(commands.RejectConnectionRequest(address, ErrorCode.UNACCEPTABLE_ADDRESS))
        elif len(self._acl.links) + len(self._accepted) >= MAX_LINKS:
            self.counters["links_refused"] += 1
            self._send(commands.RejectConnectionRequest(address, ErrorCode.LIMITED_RESOURCES))
        else:
            self._accepted[address] = now + ACCEPT_S
            self._send(
                commands.AcceptConnectionRequest(address, _REMAIN_PERIPHERAL), partial(self._accept_answered, address)
            )

    def receive_complete(self, event: incoming.ConnectionComplete, now: float) -> None:
        if event.link_type != _ACL_LINK:
            return
        target = Target(event.address, ADDRESS_BREDR)
        accepted = self._accepted.pop(event.address, None) is not None
        if not event.status:
            self._link_up(event.handle, target, int(accepted), now, accepted=accepted)
        elif target == self._bredr.current and not accepted:  # else the peer's own attempt has failed
            self._bredr.receive_failed(event.status, now)

    def receive_le_complete(
        self, event: incoming.LeConnectionComplete | incoming.LeEnhancedConnectionComplete, now: float
    ) -> None:
        if event.status:  # its address is not always filled in; there is only one attempt
            self._le.receive_failed(event.status, now)
        else:
            target, on_air = Target(event.address, 1 + (event.address_type & 1)), None
            if event.address_type in _RESOLVED and isinstance(event, incoming.LeEnhancedConnectionComplete):
                on_air = event.peer_resolvable_address
            self._link_up(event.handle, target, event.role & 1, now, on_air=on_air)

    def receive_disconnected(self, event: incoming.DisconnectionComplete, now: float) -> None:
        link = self._acl.links.get(event.handle)
        if link is None:
            self.counters["link_events_stray"] += 1
        elif event.status and event.status != ErrorCode.UNKNOWN_CONNECTION:
            self._not_ended(link, now)
        else:
            self._link_down(link, event.reason, now)

    def receive_role(self, event: incoming.RoleChange, _now: float) -> None:
        link = self._find(Target(event.address, ADDRESS_BREDR))
        if link and not event.status:
            link.role = event.role & 1

    def receive_le_updated(self, event: incoming.LeConnectionUpdateComplete, _now: float) -> None:
        if event.handle in self._acl.links and not event.status:
            self._emit(ConnectionUpdated(event.handle, event.interval, event.latency, event.timeout))

    def receive_le_parameters_request(self, event: incoming.LeRemoteConnectionParameterRequest, _now: float) -> None:
        """Gives a peer the connection parameters that it asks for, if they are legal (Vol 4, Part E, 7.8.31)."""
        asked = event.interval_min, event.interval_max, event.latency, event.timeout
        if parameters_are_legal(*asked):
            self._send(commands.LeRemoteConnectionParameterRequestReply(event.handle, *asked, 0, 0))
        else:
            refused = ErrorCode.UNACCEPTABLE_PARAMETERS
            self._send(commands.LeRemoteConnectionParameterRequestNegativeReply(event.handle, refused))

    # Inside

    def _may_page(self, target: Target) -> bool:
        """Tells whether a peer that pages us is let in: we are connectable, or want to connect to that very peer."""
        if self._controller is None or self._is_own(target, self._controller):
            return False
        return self.connectable or self._bredr.wants(target)

    def _find(self, target: Target) -> AclLink | None:
        for link in self._acl.links.values():
            if link.address == target.address and link.address_type == target.address_type:
                return link
        return None

    def _why_not(self, target: Target) -> int:
        """Returns the status that tells why we cannot connect to the target; 0 if we can."""
        controller = self._controller
        if controller is None:
            return ErrorCode.HARDWARE_FAILURE
        if not (controller.supports_le if target.address_type else controller.supports_bredr):
            return ErrorCode.UNSUPPORTED_FEATURE
        return ErrorCode.UNACCEPTABLE_ADDRESS if self._is_own(target, controller) else 0

    def _is_own(self, target: Target, controller: ControllerFacts) -> bool:
        """Tells whether the target has our own address: a peer that claims it can undo pairing (CVE-2020-26555)."""
        random = target.address_type == ADDRESS_LE_RANDOM
        return target.address == (self._random_address if random else controller.address)

    def _is_linked(self, target: Target) -> bool:
        return self._find(target) is not None

    def _has_open_link(self, target: Target) -> bool:
        link = self._find(target)
        return link is not None and not link.closing

    def _initiator(self, target: Target) -> Initiator:
        return self._le if target.address_type else self._bredr

    def _set_initiating(self, initiating: bool) -> None:
        self._security.set_initiating(initiating)
        self._scanning.set_initiating(initiating)
        self._advertising.set_initiating(initiating)

    def _make_way(self) -> None:
        self._scanning.make_way()
        self._advertising.make_way()

    def _create_bredr(self, target: Target) -> HciCommand:
        return commands.CreateConnection(target.address, _PACKET_TYPES, _PAGE_SCAN_R2, 0, 0, 1)

    def _create_le(self, target: Target) -> HciCommand:
        scan = _SCAN_INTERVAL, _SCAN_WINDOW
        parameters = _INTERVAL_MIN, _INTERVAL_MAX, 0, _SUPERVISION_TIMEOUT, 0, 0
        peer = target.address_type - 1, target.address
        self._created_from_public = target if target in self._from_public else None
        own = OWN_ADDRESS_TYPE if self._created_from_public is None else PUBLIC_ADDRESS_TYPE
        if self._controller and self._controller.extended:
            return commands.LeExtendedCreateConnection(0, own, *peer, commands.LE_1M_PHY, *scan, *parameters)
        return commands.LeCreateConnection(*scan, 0, *peer, own, *parameters)

    def _is_awaited(self, target: Target, role: int, on_air: bytes | None) -> bool:
        """Tells whether a link was to be made: we connect to this peer, or advertise for any."""
        if target.address_type and role != CENTRAL:
            return self._advertising.is_connectable
        current = self._initiator(target).current
        return current is not None and current in (target, Target(on_air or bytes(6), ADDRESS_LE_RANDOM))

    def _own_address(self, target: Target, role: int) -> bytes | None:
        """Returns the controller's address if a new link has it, and there is one; None if it has our random one."""
        is_public = not target.address_type or (role == CENTRAL and target == self._created_from_public)
        if not is_public or self._controller is None or not any(self._controller.address):
            return None
        return self._controller.address

    def _link_up(
        self, handle: int, target: Target, role: int, now: float, *, accepted: bool = False, on_air: bytes | None = None
    ) -> None:
        """Adds a link that is up. ``accepted``: whether a peer's request for it was.

        ``on_air``: the private address of a peer of which the controller told the identity. A link that nobody here has
        asked for is ended: a controller could have invented it, for the keys of its peer. So is ours if the peer has
        made one meanwhile: ours was cancelled too late.
        """
        known = self._acl.links.get(handle)
        if known is not None:
            expected = accepted or target == self._initiator(target).current
            if (known.address, known.address_type) == target and not expected:
                self.counters["link_events_stray"] += 1  # the event came twice
                return
            self._link_down(known, ErrorCode.UNSPECIFIED_ERROR, now)  # the event that ended it was lost
        is_second = not accepted and role == CENTRAL and self._has_open_link(target)
        if is_second or not (accepted or self._is_awaited(target, role, on_air)):
            self.counters["links_unasked"] += 1
            self._send(commands.Disconnect(handle, ErrorCode.REMOTE_USER_TERMINATED))
            if is_second:
                self._initiator(target).receive_connected(target, now, on_air=on_air)
            return
        self._acl.add(handle, target.address, target.address_type, role, now)
        self._security.link_up(handle, target.address, target.address_type, role)
        self.counters["links_opened"] += 1
        self._emit(Connected(handle, *target, role, on_air, self._own_address(target, role)))
        if target.address_type:
            self._advertising.link_up(handle, role)
        if accepted or role != CENTRAL:
            self._initiator(target).cancel(target)  # the peer's own attempt was faster: ours goes on until then
        else:
            self._initiator(target).receive_connected(target, now, on_air=on_air)

    def _link_down(self, link: AclLink, reason: int, now: float) -> None:
        self._acl.remove(link.handle, now)
        self._security.link_down(link.handle)
        self._ending.pop(link.handle, None)
        self.counters["links_closed"] += 1
        self._emit(Disconnected(link.handle, reason))
        if link.address_type:
            self._advertising.link_down()
        (self._le if link.address_type else self._bredr).begin_next(now)

    def _tell_to_end(self, link: AclLink, reason: int, tries: int) -> None:
        command = commands.Disconnect(link.handle, reason)
        self._send(command, partial(self._disconnect_answered, link, reason, tries))

    def _disconnect_answered(
        self, link: AclLink, reason: int, tries: int, status: int, _returned: bytes, now: float
    ) -> None:
        if self._acl.links.get(link.handle) is not link:
            return
        if status == ErrorCode.UNKNOWN_CONNECTION:  # it had ended, and the event was lost
            self._link_down(link, status, now)
            return
        self._ending[link.handle] = _EndingLink(link, reason, tries, now + END_S, refused=False)
        if status:
            self._not_ended(link, now)

    def _not_ended(self, link: AclLink, now: float) -> None:
        """Has the controller told again to end a link, if it was told at all: it did not end it."""
        if (ending := self._ending.get(link.handle)) is not None:
            self._ending[link.handle] = ending._replace(until=now + END_RETRY_S, refused=True)

    def _accept_answered(self, address: bytes, status: int, _returned: bytes, _now: float) -> None:
        if status:
            self._accepted.pop(address, None)
