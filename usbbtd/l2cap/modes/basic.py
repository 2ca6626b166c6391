"""Basic mode of BR/EDR channels (Vol 3, Part A, 3.1): an SDU is a PDU, and a peer cannot be told to wait."""

from usbbtd.errors import LocalProtocolError
from usbbtd.l2cap.channel import L2capChannel
from usbbtd.l2cap.events import NOT_READ
from usbbtd.l2cap.limits import SDU_OVERHEAD
from usbbtd.l2cap.modes import Mode, take_oldest
from usbbtd.l2cap.wire import BASIC_HEADER_SIZE


class BasicMode(Mode):
    """Basic mode. The channel's credits are 1 while it may send, and 0 while it is configured anew."""

    __slots__ = ("_channel", "_delivered", "_sdus", "_unread_bytes", "_unread_limit")

    def __init__(self, channel: L2capChannel) -> None:
        self._channel = channel
        self._sdus = channel.link.shared.sdus
        self._delivered: list[int] = []  # the bytes that each SDU counts until it is released, oldest first
        self._unread_bytes = 0
        self._unread_limit = channel.limits.unread_bytes

    @property
    def unread(self) -> int:
        return len(self._delivered)

    def receive(self, untrusted_pdu: bytes, now: float) -> None:  # hot: per packet
        channel = self._channel
        size = len(untrusted_pdu) - BASIC_HEADER_SIZE
        if size > channel.rx_mtu:
            channel.fail(f"the peer sent an SDU of {size} bytes, our MTU is {channel.rx_mtu}", now)
            return
        size += SDU_OVERHEAD
        self._unread_bytes = unread = self._unread_bytes + size
        if unread > self._unread_limit:
            channel.fail(NOT_READ, now)
            return
        self._delivered.append(size)
        self._sdus.append((channel.handle, channel.cid, untrusted_pdu[BASIC_HEADER_SIZE:]))

    def release(self, count: int) -> None:  # hot: per packet
        delivered = self._delivered
        if count > len(delivered):
            raise LocalProtocolError(f"channel {self._channel.cid:#06x}: {count} SDUs released of {len(delivered)}")
        self._unread_bytes -= take_oldest(delivered, count)

    def limit_unread(self, octets: int) -> None:
        self._unread_limit = octets

    def next_pdu(self) -> bytes:  # hot: per packet
        channel = self._channel
        sdu = channel.queue.popleft()
        size = len(sdu)
        channel.queued -= size + SDU_OVERHEAD
        if not channel.queue:
            channel.is_ready = False
        if channel.is_full or channel.is_draining:
            channel.has_sent()
        return (size | channel.dcid << 16).to_bytes(BASIC_HEADER_SIZE, "little") + sdu
