"""What the channels of every mode have in common: their state, their queue towards the air, and how they end."""

from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from usbbtd.bluetooth import BredrResult
from usbbtd.errors import LocalProtocolError
from usbbtd.l2cap.events import (
    DISCONNECTED,
    LINK_LOST,
    NO_ANSWER,
    PEER_DISCONNECTED,
    ChannelClosed,
    ChannelOpened,
    ChannelRefused,
    ChannelRequested,
)
from usbbtd.l2cap.limits import SDU_OVERHEAD
from usbbtd.l2cap.pdu import (
    DYNAMIC_CIDS,
    Command,
    CommandReject,
    DisconnectionRequest,
    DisconnectionResponse,
)
from usbbtd.l2cap.signalling import Answer
from usbbtd.l2cap.states import Input, State, Transitions

if TYPE_CHECKING:
    from usbbtd.l2cap.link import Link


class ChannelInfo(NamedTuple):
    """One channel, for people. ``queued``: bytes that wait for the air; ``unread``: SDUs that are not released yet."""

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


class Channel(ABC):
    """A channel of one link. ``cid`` is our end, ``dcid`` the peer's (0: not known yet), MTUs in bytes of SDU.

    The link gives PDUs for ``cid`` to ``receive`` while the channel is open, and takes PDUs with ``next_pdu`` while
    ``is_ready``. ``credits`` is how many PDUs may be sent; the modes without flow control say 0 or 1: never or always.
    """

    __slots__ = (
        "cid",
        "credits",
        "dcid",
        "handle",
        "identifier",
        "is_draining",
        "is_full",
        "is_ready",
        "is_reported",
        "limits",
        "link",
        "psm",
        "queue",
        "queue_bytes",
        "queued",
        "rx_mtu",
        "state",
        "tx_mtu",
        "wake",
    )

    transitions: ClassVar[Transitions]

    def __init__(self, link: "Link", cid: int, psm: int) -> None:
        self.link = link
        self.limits = link.shared.limits
        self.handle = link.handle
        self.cid = cid
        self.dcid = 0
        self.psm = psm
        self.state = State.CLOSED
        self.tx_mtu = -1  # less than an empty SDU: nothing may be sent before the channel is open
        self.rx_mtu = 0
        self.credits = 0
        self.identifier = 0  # of the peer's connection request
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
        """Go on by the table of the mode. LocalProtocolError: the table has no such transition."""
        try:
            self.state = self.transitions[self.state, event]
        except KeyError:
            raise LocalProtocolError(f"channel {self.cid:#06x}: {event} in {self.state}") from None

    def may(self, event: Input) -> bool:
        return (self.state, event) in self.transitions

    # -- what the modes differ in

    @classmethod
    @abstractmethod
    def refusal(cls, scid: int, result: int) -> Command:
        """The response that refuses a request for a channel whose end at the peer is ``scid``."""

    @abstractmethod
    def connection_request(self, mtu: int) -> Command:
        """Our request for the channel, with the promise to receive SDUs of ``mtu`` bytes."""

    @abstractmethod
    def connected(self, response: Command, now: float) -> Answer:
        """Take the response to it."""

    @abstractmethod
    def accept(self, mtu: int, now: float) -> None:
        """Answer the peer's request with success."""

    @abstractmethod
    def receive(self, untrusted_pdu: bytes, now: float) -> None:
        """Take a whole PDU for the open channel."""

    @abstractmethod
    def next_pdu(self) -> bytes:
        """The next whole PDU; only while ``is_ready``."""

    @abstractmethod
    def release(self, count: int) -> None:
        """The oldest ``count`` SDUs that were delivered are read. LocalProtocolError: there are not so many."""

    @abstractmethod
    def limit_unread(self, octets: int) -> None:
        """Sets the channel's own ``Limits.unread_bytes``, where the peer cannot be told to wait."""

    @property
    @abstractmethod
    def unread(self) -> int:
        """How many SDUs were delivered and not released."""

    # -- opening

    def connect(self, mtu: int, now: float) -> None:
        """Ask the peer for the channel."""
        self.step(Input.OPEN_CHANNEL_REQ)
        request = self.connection_request(mtu)
        self.link.signalling.send_request(request, self, now, self._connection_answered, self._expired)

    def requested(self, identifier: int, dcid: int, now: float) -> None:
        """The peer asks for the channel."""
        self.step(Input.CONNECTION_REQ)
        self.identifier = identifier
        self.dcid = dcid
        self.link.peers[dcid] = self
        self.link.shared.deadlines[self] = now + self.limits.accept_s
        self.link.shared.events.append(ChannelRequested(self.handle, self.cid, self.psm))

    def refuse(self, result: int) -> None:
        """Answer the peer's request with a result other than success."""
        self.step(Input.OPEN_CHANNEL_RSP_NEG)
        self.link.signalling.respond(self.identifier, self.refusal(self.dcid, result))
        self.link.remove(self)

    def opened(self) -> None:
        """SDUs may go both ways from now on."""
        self.link.receivers[self.cid] = self.receive
        self.link.shared.events.append(ChannelOpened(self.handle, self.cid, self.psm, self.tx_mtu, self.rx_mtu))

    def adopt(self, untrusted_dcid: int) -> bool:
        """Learn the peer's end from its response. Without a usable one the channel is over."""
        if untrusted_dcid in DYNAMIC_CIDS[self.link.transport] and untrusted_dcid not in self.link.peers:
            self.dcid = untrusted_dcid
            self.link.peers[untrusted_dcid] = self
            return True
        self.step(Input.CONNECTION_RSP_NEG)
        self.over(f"the peer answered with the channel identifier {untrusted_dcid:#06x}")
        return False

    def refused(self, result: int) -> Answer:
        """The peer does not want the channel."""
        self.step(Input.CONNECTION_RSP_NEG)
        if not self.is_reported:
            self.is_reported = True
            self.link.shared.events.append(ChannelRefused(self.handle, self.cid, result))
        self.link.remove(self)
        return Answer.FINAL

    def _connection_answered(self, response: Command, now: float) -> Answer:
        if isinstance(response, CommandReject):
            return self.refused(BredrResult.PSM_NOT_SUPPORTED)
        return self.connected(response, now)

    # -- towards the air

    def send(self, sdu: bytes) -> None:  # hot: per packet
        """Queue one SDU. LocalProtocolError: not open, full, or more than ``tx_mtu``."""
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
        """Bytes that ``send`` takes still."""
        return 0 if self.is_full or self.tx_mtu < 0 else self.queue_bytes - self.queued

    def resume(self) -> None:
        """Sending may have become possible."""
        if self.queue and self.credits and not self.is_ready:
            self.is_ready = True
            self.wake(self)

    def has_sent(self) -> None:
        """An SDU left a queue that was full, or that the end of the channel waits for."""
        if self.is_full and self.queued <= self.queue_bytes // 2:
            self.is_full = False
            if not self.is_draining:
                self.link.shared.writable.append((self.handle, self.cid))
        if self.is_draining and not self.queue:
            # There is no clock here: RTX runs from the end of the time that draining was given.
            self.disconnect_now(self.link.shared.deadlines.pop(self))

    def _why_not(self, size: int) -> str:
        if self.tx_mtu < 0:
            return f"channel {self.cid:#06x} is not open"
        if size > self.tx_mtu:
            return f"channel {self.cid:#06x}: an SDU of {size} bytes is larger than the peer's MTU, {self.tx_mtu}"
        return f"channel {self.cid:#06x} is full: wait for take_writable"

    # -- closing

    def disconnect(self, now: float) -> None:
        """End the channel in order: SDUs in the queue go first. Harmless on a channel that is ending."""
        if self.state is State.WAIT_CONNECT:
            self.refuse(BredrResult.NO_RESOURCES)
            self.report("refused")
        elif self.state is State.WAIT_CONNECT_RSP:
            self.step(Input.CLOSE_CHANNEL_REQ)
            self.report("given up")
        elif self.state is State.OPEN and self.queue and not self.is_draining:
            self._stop_service()
            self.is_draining = True
            self.link.shared.deadlines[self] = now + self.limits.drain_s
        elif self.state is not State.WAIT_DISCONNECT and not self.is_draining:
            self.disconnect_now(now)

    def disconnect_now(self, now: float) -> None:
        """Ask the peer for the end of the channel; what is queued is lost."""
        if self.state is not State.WAIT_DISCONNECT:
            self.step(Input.CLOSE_CHANNEL_REQ)
        self._stop_service()
        self.stop_sending()
        self.link.shared.deadlines.pop(self, None)
        self.link.signalling.forget(self)
        request = DisconnectionRequest(self.dcid, self.cid)
        self.link.signalling.send_request(request, self, now, self._disconnection_answered, self._expired)

    def fail(self, reason: str, now: float) -> None:
        """The peer broke a rule, or a limit is reached: the owner learns it at once."""
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
        """CLOSED is reached."""
        self.report(reason)
        self.link.remove(self)

    def report(self, reason: str) -> None:
        """Tell the owner, once."""
        if not self.is_reported:
            self.is_reported = True
            self.link.shared.events.append(ChannelClosed(self.handle, self.cid, reason))

    def stop_sending(self) -> None:
        """Nothing of the queue goes out any more."""
        self.is_draining = False
        self.credits = 0
        self.queue.clear()
        self.queued = 0
        if self.is_ready:
            self.is_ready = False
            self.link.ready.remove(self)

    def expire(self, now: float) -> None:
        """The owner did not answer the peer's request in time, or the queue did not drain in time."""
        if self.state is State.WAIT_CONNECT:
            self.refuse(BredrResult.NO_RESOURCES)
            self.report("nobody accepted it")
        else:
            self.disconnect_now(now)

    def _stop_service(self) -> None:
        self.tx_mtu = -1
        self.link.receivers.pop(self.cid, None)

    def _disconnection_answered(self, response: Command, _now: float) -> Answer:
        if isinstance(response, DisconnectionResponse) and (response.dcid, response.scid) != (self.dcid, self.cid):
            return Answer.IGNORED
        # a reject says that the peer knows no such channel: that is as good
        self.step(Input.DISCONNECTION_RSP)
        self.over(DISCONNECTED)
        return Answer.FINAL

    def _expired(self, _now: float) -> None:
        self.step(Input.TIMEOUT)
        self.over(NO_ANSWER)

    # -- for people

    def info(self) -> ChannelInfo:
        return ChannelInfo(
            self.handle,
            self.cid,
            self.dcid,
            self.psm,
            self.link.transport,
            self.state,
            max(self.tx_mtu, 0),
            self.rx_mtu,
            self.queued,
            self.unread,
        )
