"""A channel of any mode: its state, its queue for the air, and its end."""

from collections import deque
from typing import NamedTuple, Protocol

from usbbtd.bluetooth import BredrResult
from usbbtd.errors import LocalProtocolError
from usbbtd.l2cap.events import (
    DISCONNECTED,
    LINK_LOST,
    NO_ANSWER,
    PEER_DISCONNECTED,
    ChannelEnded,
    ChannelOpened,
    ChannelRefused,
    ChannelRequested,
)
from usbbtd.l2cap.limits import SDU_OVERHEAD
from usbbtd.l2cap.link import L2capLink
from usbbtd.l2cap.modes import Mode
from usbbtd.l2cap.signalling import Answer
from usbbtd.l2cap.states import ChannelState, Input, Transitions
from usbbtd.l2cap.wire import (
    DYNAMIC_CIDS,
    ConfigurationRequest,
    DisconnectionRequest,
    DisconnectionResponse,
    SignallingCommand,
)


class L2capChannelInfo(NamedTuple):
    """What people are told of a channel.

    ``queued``: the bytes that wait for the air. ``unread``: the number of SDUs that are not released yet.
    """

    handle: int
    cid: int
    dcid: int
    psm: int
    transport: int
    state: str
    tx_mtu: int
    rx_mtu: int
    queued: int
    unread: int


class ChannelOpening(Protocol):
    """The request that opens a channel, ours or the peer's: see opening.py."""

    def accept(self, channel: "L2capChannel", mtu: int, now: float) -> None:
        """Answers the peer's request with success."""

    def refuse(self, channel: "L2capChannel", result: int) -> None:
        """Answers the peer's request with a result other than success."""

    def prolong(self, channel: "L2capChannel", now: float) -> bool:
        """Tells the peer, whose request waits for an answer, to wait longer. Returns whether it could."""

    def postpone(self, channel: "L2capChannel", now: float) -> None:
        """Tells the peer that its request waits for authentication, if the response can say so."""

    def leave(self, channel: "L2capChannel") -> None:
        """Forgets a channel that is over."""


class ChannelConfiguration(Protocol):
    """The configuration of a BR/EDR channel: see configuration.py."""

    def requested(self, identifier: int, request: ConfigurationRequest, now: float) -> None:
        """Takes the peer's request, in any state. On an open channel it begins a reconfiguration."""


class L2capChannel:
    """A channel of one link. ``cid``: our end. ``dcid``: the peer's; 0 if not known yet. MTUs: in bytes of an SDU.

    It has an opening, from the beginning, and a mode, once that is known; a channel of BR/EDR has a configuration, too.
    PDUs for ``cid`` go to the mode while the channel is open, and come from it while ``is_ready``. ``credits``: how
    many PDUs may be sent; 1 in modes without flow control, and 0 while nothing may be sent.
    """

    __slots__ = (
        "cid", "configuration", "credits", "dcid", "handle", "is_draining", "is_full", "is_ready", "is_reported",
        "limits", "link", "mode", "opening", "psm", "queue", "queue_bytes", "queued", "rx_mtu", "state",
        "transitions", "tx_mtu", "wake",
    )  # fmt: skip

    opening: ChannelOpening

    def __init__(self, link: "L2capLink[L2capChannel]", cid: int, psm: int, transitions: Transitions) -> None:
        self.link = link
        self.limits = link.shared.limits
        self.handle = link.handle
        self.cid = cid
        self.dcid = 0
        self.psm = psm
        self.transitions = transitions
        self.state = ChannelState.CLOSED
        self.configuration: ChannelConfiguration | None = None
        self.mode: Mode | None = None
        self.tx_mtu = -1  # less than an empty SDU: nothing may be sent before the channel is open
        self.rx_mtu = 0
        self.credits = 0
        self.queue: deque[bytes] = deque()
        self.queue_bytes = self.limits.queue_bytes
        self.queued = 0
        self.wake = link.ready.append
        self.is_ready = False
        self.is_full = False
        self.is_draining = False
        self.is_reported = False

    # -- state

    def step(self, event: Input) -> None:
        """Changes the state as the transitions say. Raises LocalProtocolError if there is no such transition."""
        try:
            self.state = self.transitions[self.state, event]
        except KeyError:
            raise LocalProtocolError(f"channel {self.cid:#06x}: {event} in {self.state}") from None

    def may(self, event: Input) -> bool:
        return (self.state, event) in self.transitions

    # -- opening

    def requested(self, dcid: int, deadline: float) -> None:
        """Announces the channel that a peer asks for. Without the owner's answer it expires at the deadline."""
        self.step(Input.CONNECTION_REQ)
        self.dcid = dcid
        self.link.peers[dcid] = self
        self.link.shared.deadlines[self] = deadline
        self.link.shared.events.append(ChannelRequested(self.handle, self.cid, self.psm))

    def accept(self, mtu: int, now: float) -> None:
        """Accepts the peer's request, as the owner wants. ``mtu``: the longest SDU that we receive."""
        self.step(Input.OPEN_CHANNEL_RSP)
        self.link.shared.deadlines.pop(self, None)
        self.rx_mtu = mtu
        self.opening.accept(self, mtu, now)

    def refuse(self, result: int) -> None:
        """Refuses the peer's request, as the owner wants, with this result."""
        self.step(Input.OPEN_CHANNEL_RSP_NEG)
        self.opening.refuse(self, result)
        self._leave()

    def postpone(self, now: float) -> None:
        """Tells the peer that its request waits for authentication, as the owner wants."""
        self.opening.postpone(self, now)

    def opened(self, mode: Mode) -> None:
        """Tells the owner that the channel is open."""
        self.mode = mode
        self.link.receivers[self.cid] = mode
        self.link.shared.events.append(ChannelOpened(self.handle, self.cid, self.psm, self.tx_mtu, self.rx_mtu))

    def adopt(self, untrusted_dcid: int) -> bool:
        """Takes over the peer's CID from its response. Ends the channel and returns False if that is not usable."""
        if untrusted_dcid in DYNAMIC_CIDS[self.link.transport] and untrusted_dcid not in self.link.peers:
            self.dcid = untrusted_dcid
            self.link.peers[untrusted_dcid] = self
            return True
        self.step(Input.CONNECTION_RSP_NEG)
        self.over(f"the peer answered with the channel identifier {untrusted_dcid:#06x}")
        return False

    def refused(self, result: int) -> None:
        """Ends the channel, which the peer has refused."""
        self.step(Input.CONNECTION_RSP_NEG)
        if not self.is_reported:
            self.is_reported = True
            self.link.shared.events.append(ChannelRefused(self.handle, self.cid, result))
        self._leave()

    # -- towards the air

    def send(self, sdu: bytes) -> None:  # hot: per packet
        """Queues one SDU. Raises LocalProtocolError if the channel is not open or full, or for more than ``tx_mtu``."""
        size = len(sdu)
        if size > self.tx_mtu or self.is_full:
            raise LocalProtocolError(self._why_not(size))
        self.queue.append(sdu)
        self.queued = queued = self.queued + size + SDU_OVERHEAD
        if queued >= self.queue_bytes:
            self.is_full = True
        if not self.is_ready and self.credits:
            self.is_ready = True
            self.wake(self)

    def room(self) -> int:
        """Returns how many bytes ``send`` still takes; see ``Mux.room``."""
        return 0 if self.is_full or self.tx_mtu < 0 else self.queue_bytes - self.queued

    def resume(self) -> None:
        """Gets the channel a turn to send, if it has SDUs and credits now."""
        if self.queue and self.credits and not self.is_ready:
            self.is_ready = True
            self.wake(self)

    def has_sent(self) -> None:
        """Acts after an SDU left a queue that was full, or is drained before the end of the channel."""
        if self.is_full and self.queued <= self.queue_bytes // 2:
            self.is_full = False
            if not self.is_draining:
                self.link.shared.writable.append((self.handle, self.cid))
        if self.is_draining and not self.queue:
            # The time is not known here: RTX runs from the time until which the queue could drain.
            self.disconnect_now(self.link.shared.deadlines.pop(self))

    def _why_not(self, size: int) -> str:
        if self.tx_mtu < 0:
            return f"channel {self.cid:#06x} is not open"
        if size > self.tx_mtu:
            return f"channel {self.cid:#06x}: an SDU of {size} bytes is larger than the peer's MTU, {self.tx_mtu}"
        return f"channel {self.cid:#06x} is full: wait for take_writable"

    # -- from the air

    def release(self, count: int) -> None:  # hot: per packet
        """Releases the oldest ``count`` SDUs, which are read. Raises LocalProtocolError for more than there are."""
        if self.mode is not None:
            self.mode.release(count)
        elif count:
            raise LocalProtocolError(f"channel {self.cid:#06x} has delivered nothing yet")

    def limit_unread(self, octets: int) -> None:
        """Sets the channel's own ``L2capLimits.unread_bytes``, if its mode cannot tell the peer to wait."""
        if self.mode is not None:
            self.mode.limit_unread(octets)

    # -- closing

    def disconnect(self, now: float) -> None:
        """Ends the channel in order, after the SDUs in its queue. Does nothing if it is ending."""
        if self.state is ChannelState.WAIT_CONNECT:
            self.refuse(BredrResult.NO_RESOURCES)
            self.report("refused")
        elif self.state is ChannelState.WAIT_CONNECT_RSP:
            self.step(Input.CLOSE_CHANNEL_REQ)
            self.report("given up")
        elif self.state is ChannelState.OPEN and self.queue and not self.is_draining:
            self._stop_service()
            self.is_draining = True
            self.link.shared.deadlines[self] = now + self.limits.drain_s
        elif self.state is not ChannelState.WAIT_DISCONNECT and not self.is_draining:
            self.disconnect_now(now)

    def disconnect_now(self, now: float) -> None:
        """Asks the peer to end the channel. SDUs in the queue are lost."""
        if self.state is not ChannelState.WAIT_DISCONNECT:
            self.step(Input.CLOSE_CHANNEL_REQ)
        self._stop_service()
        self.stop_sending()
        self.link.shared.deadlines.pop(self, None)
        self.link.signalling.forget(self)
        request = DisconnectionRequest(self.dcid, self.cid)
        self.link.signalling.send_request(request, self, now, self._disconnection_answered, self.expired)

    def abort(self, reason: str, now: float) -> None:
        """Ends the channel as ``disconnect`` does, but at once: what is queued is lost. The owner hears this reason."""
        if self.state in (ChannelState.WAIT_CONNECT, ChannelState.WAIT_CONNECT_RSP, ChannelState.WAIT_DISCONNECT):
            self.disconnect(now)
        else:
            self.report(reason)
            self.disconnect_now(now)

    def fail(self, reason: str, now: float) -> None:
        """Ends the channel because the peer broke a rule or a limit is reached. The owner is told at once."""
        self.link.shared.counters["channels_failed"] += 1
        self.report(reason)
        self.disconnect_now(now)

    def disconnected_by_peer(self, identifier: int) -> None:
        self.step(Input.DISCONNECTION_REQ)
        self.link.signalling.respond(identifier, DisconnectionResponse(self.cid, self.dcid))
        self.over(PEER_DISCONNECTED)

    def link_lost(self) -> None:
        self.step(Input.LINK_LOST)
        self.over(LINK_LOST)

    def over(self, reason: str) -> None:
        """Forgets the channel, which is CLOSED, and tells the owner."""
        self.report(reason)
        self._leave()

    def report(self, reason: str) -> None:
        """Tells the owner that the channel has ended, unless it was told already."""
        if not self.is_reported:
            self.is_reported = True
            self.link.shared.events.append(ChannelEnded(self.handle, self.cid, reason))

    def suspend(self) -> None:
        """Sends nothing until there are credits again."""
        self.credits = 0
        if self.is_ready:
            self.is_ready = False
            self.link.ready.remove(self)

    def stop_sending(self) -> None:
        """Drops the queue, and sends nothing any more."""
        self.is_draining = False
        self.queue.clear()
        self.queued = 0
        self.suspend()

    def expire(self, now: float) -> None:
        """Acts if the owner did not answer the peer's request in time, or the queue did not drain in time."""
        if self.state is not ChannelState.WAIT_CONNECT:
            self.disconnect_now(now)
        elif not self.opening.prolong(self, now):
            self.refuse(BredrResult.NO_RESOURCES)
            self.report("nobody accepted it")

    def _leave(self) -> None:
        self.link.remove(self)
        self.opening.leave(self)

    def _stop_service(self) -> None:
        self.tx_mtu = -1
        self.link.receivers.pop(self.cid, None)

    def _disconnection_answered(self, response: SignallingCommand, _now: float) -> Answer:
        if isinstance(response, DisconnectionResponse) and (response.dcid, response.scid) != (self.dcid, self.cid):
            return Answer.IGNORED
        # after a reject the peer knows no such channel: it has ended, too
        self.step(Input.DISCONNECTION_RSP)
        self.over(DISCONNECTED)
        return Answer.FINAL

    def expired(self, _now: float) -> None:
        """Ends the channel because the peer did not answer in time."""
        self.step(Input.TIMEOUT)
        self.over(NO_ANSWER)

    # -- for people

    def info(self) -> L2capChannelInfo:
        return L2capChannelInfo(
            self.handle,
            self.cid,
            self.dcid,
            self.psm,
            self.link.transport,
            self.state,
            max(self.tx_mtu, 0),
            self.rx_mtu,
            self.queued,
            0 if self.mode is None else self.mode.unread,
        )
