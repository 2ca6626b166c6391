"""L2CAP of all links of one controller, without I/O.

(handle, cid) names a channel; cid is our end. A peer's mistake costs it that channel, is answered with a reject, or
counted: it never raises an error. LocalProtocolError is a mistake of the mux's owner.
"""

from typing import Final

from usbbtd.bluetooth import LE, MINIMUM_MTU, BredrResult, psm_is_legal
from usbbtd.errors import LocalProtocolError
from usbbtd.l2cap.channel import L2capChannel, L2capChannelInfo
from usbbtd.l2cap.events import Event
from usbbtd.l2cap.fixed_channel import FixedChannel, SecurityPdus
from usbbtd.l2cap.limits import L2capLimits
from usbbtd.l2cap.link import COUNTERS, L2capLink, Shared
from usbbtd.l2cap.opening import OPENINGS, Link
from usbbtd.l2cap.requests import PeerRequests
from usbbtd.l2cap.states import ChannelState
from usbbtd.l2cap.wire import BASIC_HEADER, BASIC_HEADER_SIZE, CID_SMP, OPEN_TO_USERS, ParameterUpdateRequest

_MAXIMUM_MTU: Final = 0xFFFF
_DEFAULT_LIMITS = L2capLimits()


class Mux:
    """All links of one controller. Transport: 0 BR/EDR, 1 LE. Role: 0 central, 1 peripheral. ``now``: seconds."""

    def __init__(self, *, limits: L2capLimits = _DEFAULT_LIMITS, security: bool = False) -> None:
        """Makes a mux without links. ``security``: whether somebody takes the security manager's PDUs of LE links."""
        self._links: dict[int, Link] = {}
        self._serves_security = security
        self._shared = Shared(limits, set(), {}, dict.fromkeys(COUNTERS, 0), [], [], [], [])
        # Fields of a named tuple are slow when compiled.
        self._counters = self._shared.counters
        self._events = self._shared.events
        self._sdus = self._shared.sdus
        self._writable = self._shared.writable
        self._security_pdus = self._shared.security_pdus
        self._deadlines = self._shared.deadlines
        self._received_sdus = 0
        self._sent_pdus = 0

    # -- links

    def add_link(self, handle: int, transport: int, role: int, now: float) -> None:
        """Adds a link. Raises LocalProtocolError if there is a link with this handle."""
        if handle in self._links:
            raise LocalProtocolError(f"link {handle:#06x} is there already")
        link = self._links[handle] = L2capLink(self._shared, handle, transport, role)
        PeerRequests(link)
        if transport == LE and self._serves_security:
            link.receivers[CID_SMP] = SecurityPdus(self._shared, handle)

    def remove_link(self, handle: int) -> None:
        """Removes a link. Its channels end, with events. Does nothing if there is no such link."""
        if (link := self._links.pop(handle, None)) is not None:
            link.lost()

    # -- data

    def receive_pdus(self, handle: int, untrusted_pdus: list[bytes], now: float) -> None:  # hot: per packet
        """Takes whole PDUs with their basic headers, in order."""
        link = self._links.get(handle)
        for untrusted_pdu in untrusted_pdus:
            size = len(untrusted_pdu) - BASIC_HEADER_SIZE
            if link is None or size < 0:
                self._count_stray(untrusted_pdu)
            elif (receiver := link.receivers.get(untrusted_pdu[2] | untrusted_pdu[3] << 8)) is None:
                self._counters["pdus_without_channel"] += 1
            elif untrusted_pdu[0] | untrusted_pdu[1] << 8 != size:
                self._counters["pdus_malformed"] += 1
            else:
                receiver.receive(untrusted_pdu, now)

    def take_sdus(self) -> list[tuple[int, int, bytes]]:  # hot: per packet
        """Hands over (handle, cid, SDU), in the order of their arrival. Each has to be released when it is read."""
        sdus = self._sdus
        taken = sdus.copy()
        sdus.clear()
        self._received_sdus += len(taken)
        return taken

    def release_sdus(self, handle: int, cid: int, count: int) -> None:  # hot: per packet
        """Releases the oldest ``count`` SDUs of a channel, which are read: its peer may send more.

        Does nothing if the channel is gone. Raises LocalProtocolError for more SDUs than there are.
        """
        link = self._links.get(handle)
        if link is not None and (channel := link.channels.get(cid)) is not None:
            channel.release(count)

    def limit_unread(self, handle: int, cid: int, octets: int) -> None:
        """Sets a channel's own ``L2capLimits.unread_bytes``. Does nothing if the channel is gone."""
        link = self._links.get(handle)
        if link is not None and (channel := link.channels.get(cid)) is not None:
            channel.limit_unread(octets)

    def send_sdu(self, handle: int, cid: int, sdu: bytes) -> None:  # hot: per packet
        """Queues an SDU, which may be empty.

        Raises LocalProtocolError if the channel is not open, the SDU longer than its ``tx_mtu``, or there is no room.
        """
        try:
            channel = self._links[handle].channels[cid]
        except KeyError:
            raise LocalProtocolError(f"no channel {cid:#06x} on link {handle:#06x}") from None
        channel.send(sdu)

    def room(self, handle: int, cid: int) -> int:
        """Returns how many bytes may be queued. An SDU counts SDU_OVERHEAD more than its size; the last may exceed it.

        0 or less means to wait for ``take_writable``, or that the channel is not open.
        """
        link = self._links.get(handle)
        if link is None or (channel := link.channels.get(cid)) is None:
            return 0
        return channel.room()

    def take_writable(self) -> list[tuple[int, int]]:
        """Hands over (handle, cid) of the channels that were full and have room again."""
        taken = self._writable.copy()
        self._writable.clear()
        return taken

    def take_pdus(self, handle: int, limit: int) -> list[bytes]:  # hot: per packet
        """Hands over at most ``limit`` PDUs for the air: signalling first, then one of each channel in turn."""
        try:
            link = self._links[handle]
        except KeyError:
            return []
        pdus = []
        out = link.signalling.out
        while out and limit > 0:
            pdus.append(out.popleft())
            limit -= 1
        ready = link.ready
        while ready and limit > 0:
            channel = ready.popleft()
            mode = channel.mode
            assert mode is not None
            pdus.append(mode.next_pdu())
            limit -= 1
            while channel.is_ready and limit > 0 and not ready:  # no other channel has a turn
                pdus.append(mode.next_pdu())
                limit -= 1
            if channel.is_ready:
                ready.append(channel)
        self._sent_pdus += len(pdus)
        return pdus

    def has_pdus(self) -> bool:  # hot: per wake-up
        """Returns whether ``take_pdus`` of any link would return something."""
        return any(link.ready or link.signalling.out for link in self._links.values())

    # -- channels

    def listen(self, transport: int, psm: int) -> None:
        """Lets peers ask for channels to a PSM (BR/EDR) or SPSM (LE).

        Raises LocalProtocolError if it is not legal, or listened on already.
        """
        if not psm_is_legal(transport, psm):
            raise LocalProtocolError(f"{psm:#06x} is no valid PSM")
        if (transport, psm) in self._shared.listeners:
            raise LocalProtocolError(f"PSM {psm:#06x} is listened on already")
        self._shared.listeners.add((transport, psm))

    def unlisten(self, transport: int, psm: int) -> None:
        """Lets no more peers ask for channels to a PSM or SPSM. Those that wait for an answer still get it."""
        self._shared.listeners.discard((transport, psm))

    def connect(self, handle: int, psm: int, mtu: int, now: float) -> int:
        """Asks a peer for a channel, and returns our cid; events follow.

        ``mtu``: the length in bytes of the longest SDU that we receive. Raises LocalProtocolError if there is no such
        link, if PSM or MTU are not legal, or if the link has as many channels as it may.
        """
        link = self._link(handle)
        if not psm_is_legal(link.transport, psm):
            raise LocalProtocolError(f"{psm:#06x} is no valid PSM")
        _check_mtu(link, mtu)
        cid = link.new_cid()
        if not cid:
            raise LocalProtocolError(f"link {handle:#06x} has as many channels as it may")
        OPENINGS[link.transport](link, cid, psm).connect(mtu, now)
        return cid

    def open_fixed(self, handle: int, cid: int, mtu: int) -> None:
        """Opens a fixed channel: ChannelOpened follows, with PSM 0. Its peer does not notice.

        ``mtu``: the length in bytes of the longest SDU, both ways. Raises LocalProtocolError if there is no such link,
        the channel is none for users or open already, or the MTU is not legal.
        """
        link = self._link(handle)
        if cid not in OPEN_TO_USERS[link.transport]:
            raise LocalProtocolError(f"{cid:#06x} is no fixed channel for users")
        if cid in link.channels:
            raise LocalProtocolError(f"fixed channel {cid:#06x} of link {handle:#06x} is open already")
        _check_mtu(link, mtu)
        FixedChannel(link, cid).open(mtu)

    def accept(self, handle: int, cid: int, mtu: int, now: float) -> None:
        """Answers a ChannelRequested with yes. Does nothing if the peer waits no more: ChannelEnded says so.

        Raises LocalProtocolError if the MTU is not valid.
        """
        if (channel := self._requested(handle, cid)) is not None:
            _check_mtu(channel.link, mtu)
            channel.accept(mtu, now)

    def postpone(self, handle: int, cid: int, now: float) -> None:
        """Tells the peer of a ChannelRequested that authentication is pending: its owner has longer to answer.

        Does nothing on LE, whose response cannot say so, or if the peer waits no more.
        """
        if (channel := self._requested(handle, cid)) is not None:
            channel.postpone(now)

    def refuse(self, handle: int, cid: int, result: int, now: float) -> None:
        """Answers a ChannelRequested with no, and the result for the peer. Does nothing if the peer waits no more.

        Raises LocalProtocolError if the result is success.
        """
        if result == BredrResult.SUCCESS:
            raise LocalProtocolError("success does not refuse")
        if (channel := self._requested(handle, cid)) is not None:
            channel.refuse(result)

    def disconnect(self, handle: int, cid: int, now: float) -> None:
        """Ends a channel in any state, after the SDUs in its queue. ChannelEnded follows, unless it is gone already."""
        link = self._links.get(handle)
        if link is not None and (channel := link.channels.get(cid)) is not None:
            channel.disconnect(now)

    def abort(self, handle: int, cid: int, reason: str, now: float) -> None:
        """Ends a channel at once, without the SDUs in its queue. ChannelEnded has the reason, if it is open."""
        link = self._links.get(handle)
        if link is not None and (channel := link.channels.get(cid)) is not None:
            channel.abort(reason, now)

    def channels(self) -> list[L2capChannelInfo]:
        return [channel.info() for link in self._links.values() for channel in link.channels.values()]

    def channel(self, handle: int, cid: int) -> L2capChannelInfo | None:
        """Describes a channel. Returns None if there is no such channel, or it is gone."""
        link = self._links.get(handle)
        return None if link is None or (channel := link.channels.get(cid)) is None else channel.info()

    # -- the security manager

    def take_security_pdus(self) -> list[tuple[int, bytes]]:  # hot: per wake-up
        """Hands over (handle, payload) of the security manager's PDUs of LE links, in the order of their arrival."""
        if not self._security_pdus:
            return []
        taken = self._security_pdus.copy()
        self._security_pdus.clear()
        return taken

    def send_security_pdu(self, handle: int, payload: bytes) -> None:
        """Sends a PDU of the security manager. It is dropped, and counted, if too much waits for the air.

        Does nothing if the link is gone. Raises LocalProtocolError if it is none of LE.
        """
        if (link := self._links.get(handle)) is None:
            return
        if link.transport != LE:
            raise LocalProtocolError(f"link {handle:#06x} has no security manager")
        out = link.signalling.out
        if len(out) >= self._shared.limits.signalling_backlog:
            self._counters["signalling_dropped"] += 1
        else:
            out.append(BASIC_HEADER.pack(len(payload), CID_SMP) + payload)

    # -- the rest of signalling

    def echo(self, handle: int, data: bytes, now: float) -> int:
        """Asks a BR/EDR peer for its echo, and returns a number that no other echo of this link has.

        One EchoReceived or EchoFailed follows. Raises LocalProtocolError as ``Echoes.send``, and without such a link.
        """
        return self._link(handle).echoes.send(data, now)

    def cancel_echo(self, handle: int, number: int) -> None:
        """Cancels an echo: no event follows. Does nothing if it has ended."""
        if (link := self._links.get(handle)) is not None:
            link.echoes.cancel(number)

    def request_parameters(
        self, handle: int, interval_min: int, interval_max: int, latency: int, timeout: int, now: float
    ) -> None:
        """Asks the central, as its peripheral, for other connection parameters. ParametersAnswered follows.

        Raises LocalProtocolError as ``ParameterUpdates.request``, and without such a link.
        """
        request = ParameterUpdateRequest(interval_min, interval_max, latency, timeout)
        self._link(handle).parameters.request(request, now)

    def answer_parameters(self, handle: int, accepted: bool) -> bool:
        """Answers ParametersRequested. Returns False, and does nothing, if the link that asked is gone."""
        link = self._links.get(handle)
        return link is not None and link.parameters.answer(accepted)

    def take_events(self) -> list[Event]:
        """Hands over the events, in the order in which they happened.

        SDUs are handed over apart: those of a channel come after its ChannelOpened and before its ChannelEnded. An
        owner that takes both at once handles openings first, then SDUs, then ends.
        """
        taken = self._events.copy()
        self._events.clear()
        return taken

    # -- time

    def next_timeout(self) -> float | None:
        """Returns when ``handle_timeout`` is due; None if no time-out runs."""
        deadlines = self._deadlines
        return min(deadlines.values()) if deadlines else None

    def handle_timeout(self, now: float) -> None:
        deadlines = self._deadlines
        for timed in [timed for timed, deadline in deadlines.items() if deadline <= now]:
            # the time-out of one may have ended another
            if deadlines.pop(timed, None) is not None:
                timed.expire(now)

    def statistics(self) -> dict[str, int]:
        return self._counters | {
            "links": len(self._links),
            "channels": sum(len(link.channels) for link in self._links.values()),
            "sdus_received": self._received_sdus,
            "pdus_sent": self._sent_pdus,
        }

    # -- inside

    def _link(self, handle: int) -> Link:
        try:
            return self._links[handle]
        except KeyError:
            raise LocalProtocolError(f"no link {handle:#06x}") from None

    def _requested(self, handle: int, cid: int) -> L2capChannel | None:
        """Returns the channel that a peer asked for; None if the peer does not wait any more.

        The owner cannot know that: its answer is to an event, and later PDUs have been received already.
        """
        link = self._links.get(handle)
        channel = None if link is None else link.channels.get(cid)
        return channel if channel is not None and channel.state is ChannelState.WAIT_CONNECT else None

    def _count_stray(self, untrusted_pdu: bytes) -> None:
        reason = "pdus_malformed" if len(untrusted_pdu) < BASIC_HEADER_SIZE else "pdus_without_link"
        self._counters[reason] += 1


def _check_mtu(link: Link, mtu: int) -> None:
    if not MINIMUM_MTU[link.transport] <= mtu <= _MAXIMUM_MTU:
        raise LocalProtocolError(f"an MTU of {mtu} is not valid")
