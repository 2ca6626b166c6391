"""An ACL link as L2CAP keeps it: its signalling, its channels by both their ends, and whose turn it is to send."""

from collections import deque
from typing import Generic, NamedTuple, Protocol, TypeVar

from usbbtd.l2cap.echo import Echoes
from usbbtd.l2cap.events import Event
from usbbtd.l2cap.limits import L2capLimits
from usbbtd.l2cap.parameters import ParameterUpdates
from usbbtd.l2cap.receiver import PduReceiver
from usbbtd.l2cap.signalling import Deadlines, Signalling, Timed
from usbbtd.l2cap.wire import DYNAMIC_CIDS, SIGNALLING_CIDS

#: All counters of a mux that are not sums over its channels.
COUNTERS = (
    "channels_failed",
    "pdus_malformed",
    "pdus_without_link",
    "pdus_without_channel",
    "pdus_on_fixed_channels",
    "security_pdus_dropped",
    "signalling_dropped",
    "signalling_ignored",
)


class Shared(NamedTuple):
    """The parts that all links of a mux share. The lists are emptied in place: their ``append`` may be kept."""

    limits: L2capLimits
    listeners: set[tuple[int, int]]  # (transport, psm)
    deadlines: Deadlines
    counters: dict[str, int]
    events: list[Event]
    sdus: list[tuple[int, int, bytes]]
    writable: list[tuple[int, int]]
    security_pdus: list[tuple[int, bytes]]


class OnLink(Timed, Protocol):
    """The interface of a channel to its link."""

    cid: int
    dcid: int

    def stop_sending(self) -> None: ...
    def link_lost(self) -> None: ...


Channel = TypeVar("Channel", bound=OnLink)


class L2capLink(Generic[Channel]):
    """The record of a link. ``receivers``: who takes a PDU, by its CID.

    ``ready``: the channels that have a PDU to send; the first of them has its turn next.
    """

    def __init__(self, shared: Shared, handle: int, transport: int, role: int) -> None:
        self.shared = shared
        self.handle = handle
        self.transport = transport
        self.role = role
        self.ready: deque[Channel] = deque()
        self.channels: dict[int, Channel] = {}
        self.peers: dict[int, Channel] = {}  # by the peer's CID, once that is known
        self.signalling = Signalling(transport, shared.limits, shared.deadlines, shared.counters)
        self.receivers: dict[int, PduReceiver] = {SIGNALLING_CIDS[transport]: self.signalling}
        self.echoes = Echoes(handle, transport, self.signalling, shared.events)
        self.parameters = ParameterUpdates(handle, transport, role, self.signalling, shared.events)
        self._next_cid = DYNAMIC_CIDS[transport].start

    def new_cid(self) -> int:
        """Returns the CID for a new channel; 0 if the link has as many as it may."""
        cids = DYNAMIC_CIDS[self.transport]
        if len(self.channels) >= min(self.shared.limits.channels, len(cids)):
            return 0
        # The one that was unused for longest: PDUs that are still under way to a closed channel do not meet a new one.
        while self._next_cid in self.channels:
            self._next_cid = _following(self._next_cid, cids)
        cid, self._next_cid = self._next_cid, _following(self._next_cid, cids)
        return cid

    def remove(self, channel: Channel) -> None:
        """Forgets a channel that is closed."""
        channel.stop_sending()
        self.channels.pop(channel.cid, None)
        self.receivers.pop(channel.cid, None)
        if self.peers.get(channel.dcid) is channel:
            del self.peers[channel.dcid]
        self.shared.deadlines.pop(channel, None)
        self.signalling.forget(channel)

    def lost(self) -> None:
        """Ends all channels and echoes of a link that is gone."""
        for channel in list(self.channels.values()):
            channel.link_lost()
        self.echoes.lost()
        self.signalling.close()


def _following(cid: int, cids: range) -> int:
    return cid + 1 if cid + 1 in cids else cids.start
