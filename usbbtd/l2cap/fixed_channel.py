"""Fixed channels that are served: those that users open, and that of the security manager on LE.

A fixed channel is there as long as its link, without a word to the peer: opening one here means to take its PDUs.
"""

from usbbtd.l2cap.channel import L2capChannel
from usbbtd.l2cap.events import DISCONNECTED
from usbbtd.l2cap.link import L2capLink, Shared
from usbbtd.l2cap.modes.basic import BasicMode
from usbbtd.l2cap.receiver import PduReceiver
from usbbtd.l2cap.states import FIXED, Input
from usbbtd.l2cap.wire import BASIC_HEADER_SIZE

#: The longest PDU of the security manager (Vol 3, Part H, 3.2).
SECURITY_MTU = 65


class FixedChannel(L2capChannel):
    """A fixed channel that a user has opened. SDUs are the payloads of its PDUs, as in basic mode."""

    __slots__ = ("_unserved",)

    def __init__(self, link: L2capLink[L2capChannel], cid: int) -> None:
        super().__init__(link, cid, 0, FIXED)
        self._unserved = link.receivers[cid]  # answers the peer when nobody serves the channel
        link.channels[cid] = self

    def open(self, mtu: int) -> None:
        """Opens the channel. ``mtu``: of both directions, as the peer's is for the protocol above to learn."""
        self.step(Input.OPEN_CHANNEL_REQ)
        self.dcid = self.cid
        self.tx_mtu = self.rx_mtu = mtu
        self.credits = 1
        self.opened(BasicMode(self))

    def disconnect_now(self, now: float) -> None:
        """Ends the channel at once: the peer is not told. SDUs in the queue are lost."""
        self.step(Input.CLOSE_CHANNEL_REQ)
        self.over(DISCONNECTED)

    def _leave(self) -> None:
        self.link.remove(self)
        self.link.receivers[self.cid] = self._unserved


class SecurityPdus(PduReceiver):
    """Takes the payloads of the security manager's channel of one link, for ``Mux.take_security_pdus``."""

    __slots__ = ("_handle", "_shared")

    def __init__(self, shared: Shared, handle: int) -> None:
        self._shared = shared
        self._handle = handle

    def receive(self, untrusted_pdu: bytes, now: float) -> None:
        shared = self._shared
        if len(untrusted_pdu) > BASIC_HEADER_SIZE + SECURITY_MTU:
            shared.counters["pdus_malformed"] += 1
        elif len(shared.security_pdus) >= shared.limits.security_backlog:
            shared.counters["security_pdus_dropped"] += 1
        else:
            shared.security_pdus.append((self._handle, untrusted_pdu[BASIC_HEADER_SIZE:]))
