"""LE credit based flow control mode (Vol 3, Part A, 3.4 and 10.1): SDUs in K-frames, each for a credit."""

from typing import Final

from usbbtd.errors import LocalProtocolError
from usbbtd.l2cap.channel import L2capChannel
from usbbtd.l2cap.limits import SDU_OVERHEAD
from usbbtd.l2cap.modes import Mode, take_oldest
from usbbtd.l2cap.states import ChannelState
from usbbtd.l2cap.wire import BASIC_HEADER_SIZE, MAXIMUM_CREDITS, MINIMUM_MPS

_LENGTH_SIZE: Final = 2  # of the SDU, in front of its first segment
_FIRST_SIZE: Final = 6  # the basic header and that length

#: A peer may have so many of the longest SDUs under way, and so many K-frames at least: short SDUs cost a credit, too.
_INITIAL_SDUS: Final = 4
_MINIMUM_INITIAL_CREDITS: Final = 32


class CreditBasedMode(Mode):
    """LE credit based flow control mode. ``rx_mps``: the largest K-frame payload that we receive.

    ``rx_credits``: how many K-frames the peer may send, which limits the memory that it can take.
    """

    __slots__ = (
        "_channel", "_delivered", "_held", "_initial_credits", "_missing", "_offset", "_owed", "_sdus", "_segments",
        "_tx_mps", "rx_credits", "rx_mps",
    )  # fmt: skip

    def __init__(self, channel: L2capChannel) -> None:
        """Makes the mode of a channel whose ``rx_mtu`` is known."""
        self._channel = channel
        self._sdus = channel.link.shared.sdus
        self._delivered: list[int] = []  # credits that each SDU holds until it is released, oldest first
        self.rx_mps = max(MINIMUM_MPS, min(channel.rx_mtu + _LENGTH_SIZE, channel.limits.mps))
        frames = -(-(channel.rx_mtu + _LENGTH_SIZE) // self.rx_mps)
        self._initial_credits = self.rx_credits = max(_INITIAL_SDUS * frames, _MINIMUM_INITIAL_CREDITS)
        self._owed = 0  # credits of SDUs that were read, which are not given back yet
        self._segments: list[bytes] = []
        self._missing = 0  # octets of the SDU under way that are still to come; 0 if none is under way
        self._held = 0  # credits that the SDU under way holds so far
        self._tx_mps = 0
        self._offset = 0  # of the next octet to send, in the first SDU of the queue

    def begin(self, mtu: int, mps: int, initial_credits: int) -> None:
        """Opens the channel with the peer's MTU, MPS and initial credits."""
        channel = self._channel
        self._tx_mps = mps
        channel.tx_mtu = mtu
        channel.credits = initial_credits
        channel.opened(self)

    @property
    def unread(self) -> int:
        return len(self._delivered)

    # -- credits

    def credits_received(self, untrusted_credits: int, now: float) -> None:
        """Takes credits that the peer gives. Ends the channel if the peer gives more than 65535 together (10.1)."""
        channel = self._channel
        if channel.state is not ChannelState.OPEN or not untrusted_credits:
            channel.link.shared.counters["signalling_ignored"] += 1
        elif channel.credits + untrusted_credits > MAXIMUM_CREDITS:
            channel.fail("the peer gave more than 65535 credits", now)
        else:
            channel.credits += untrusted_credits
            channel.resume()

    def release(self, count: int) -> None:  # hot: per packet
        delivered = self._delivered
        if count > len(delivered):
            raise LocalProtocolError(f"channel {self._channel.cid:#06x}: {count} SDUs released of {len(delivered)}")
        owed = self._owed + take_oldest(delivered, count)
        # Giving half of them at once costs few PDUs and keeps the peer going. A peer without any gets what there is.
        if (
            owed
            and (owed * 2 >= self._initial_credits or not self.rx_credits)
            and self._channel.state is ChannelState.OPEN
        ):
            self._give(owed)
            owed = 0
        self._owed = owed

    def limit_unread(self, octets: int) -> None:
        """Does nothing: credits are the limit."""

    # -- data

    def receive(self, untrusted_pdu: bytes, now: float) -> None:  # hot: per packet
        channel = self._channel
        size = len(untrusted_pdu) - BASIC_HEADER_SIZE
        rx_credits = self.rx_credits
        missing = self._missing
        if not rx_credits:
            channel.fail("the peer sent without credits", now)
        elif size > self.rx_mps:
            channel.fail(f"the peer sent a K-frame of {size} bytes, our MPS is {self.rx_mps}", now)
        elif missing:
            self.rx_credits = rx_credits - 1
            self._held += 1
            self._segments.append(untrusted_pdu[BASIC_HEADER_SIZE:])
            if size == missing:
                self._missing = 0
                self._delivered.append(self._held)
                self._sdus.append((channel.handle, channel.cid, b"".join(self._segments)))
                self._segments.clear()
            elif size > missing:
                channel.fail("the peer sent segments beyond the length of their SDU", now)
            elif not size:
                channel.fail("the peer sent an empty segment", now)
            else:
                self._missing = missing - size
                if rx_credits == 1:
                    self._keep_going()
        elif size < _LENGTH_SIZE:
            channel.fail("the peer sent a K-frame without the length of its SDU", now)
        else:
            self.rx_credits = rx_credits - 1
            length = untrusted_pdu[4] | untrusted_pdu[5] << 8
            size -= _LENGTH_SIZE
            if length > channel.rx_mtu:
                channel.fail(f"the peer sent an SDU of {length} bytes, our MTU is {channel.rx_mtu}", now)
            elif size == length:
                self._delivered.append(1)
                self._sdus.append((channel.handle, channel.cid, untrusted_pdu[_FIRST_SIZE:]))
            elif size < length:
                self._missing = length - size
                self._held = 1
                self._segments.append(untrusted_pdu[_FIRST_SIZE:])
                if rx_credits == 1:
                    self._keep_going()
            else:
                channel.fail("the peer sent segments beyond the length of their SDU", now)

    def next_pdu(self) -> bytes:  # hot: per packet
        channel = self._channel
        queue = channel.queue
        sdu = queue[0]
        size = len(sdu)
        start = self._offset
        if start:
            end = start + self._tx_mps
            segment = sdu[start:end]
            pdu = (len(segment) | channel.dcid << 16).to_bytes(BASIC_HEADER_SIZE, "little") + segment
        else:
            end = self._tx_mps - _LENGTH_SIZE
            length = min(size + _LENGTH_SIZE, self._tx_mps)
            pdu = (length | channel.dcid << 16 | size << 32).to_bytes(_FIRST_SIZE, "little") + sdu[:end]
        channel.credits = left = channel.credits - 1
        if end < size:
            self._offset = end
            if not left:
                channel.is_ready = False
            return pdu
        self._offset = 0
        queue.popleft()
        channel.queued -= size + SDU_OVERHEAD
        if not left or not queue:
            channel.is_ready = False
        if channel.is_full or channel.is_draining:
            channel.has_sent()
        return pdu

    def _keep_going(self) -> None:
        """Gives credits to a peer that used its last one in the middle of an SDU, which no guest can read and release.

        Many peers cut SDUs into smaller segments than our MPS: no number of initial credits is enough for all.
        """
        self._give(self._owed + self._held)
        self._owed = self._held = 0

    def _give(self, count: int) -> None:
        self.rx_credits += count
        self._channel.link.signalling.send_credits(self._channel.cid, count)
