"""Carries one L2CAP channel between a guest's data ring and the adapter."""

import asyncio
import errno
from collections.abc import Callable
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from usbbtd.backends.vl2cap.info import ChannelInfo, Traffic
from usbbtd.backends.vl2cap.stream import GuestStream
from usbbtd.bluetooth import ADDRESS_TYPES, format_address
from usbbtd.errors import LocalProtocolError, RemoteProtocolError
from usbbtd.l2cap.events import DISCONNECTED, LINK_LOST, NO_ANSWER, NOT_READ, PEER_DISCONNECTED
from usbbtd.pump import contained
from usbbtd.radio.channel import ADAPTER_GONE, LEVEL_LOST, RadioChannel

#: The error that a guest reads in its ring after the last SDU, by the reason why the channel ended; else -EBADMSG.
END_ERRORS = {
    DISCONNECTED: -errno.ENOTCONN,
    PEER_DISCONNECTED: -errno.ENOTCONN,
    NO_ANSWER: -errno.ETIMEDOUT,
    LINK_LOST: -errno.ETIMEDOUT,
    NOT_READ: -errno.ENOBUFS,
    ADAPTER_GONE: -errno.ENODEV,
    LEVEL_LOST: -errno.EPERM,
}


#: The reason given for what was ended because policy does not allow it any more.
REVOKED = "policy does not allow it any more"
#: The reasons given for other channels that did not end by themselves.
RELEASED = "the guest released it"
DEVICE_CLOSED = "the guest's device was closed"


class ChannelPeer(NamedTuple):
    """The peer of a channel, and the PSM (SPSM on LE) that the channel leads to."""

    address: bytes
    address_type: int
    psm: int


class GuestChannel:
    """Carries the SDUs of one channel both ways, and gives the peer new credits as the guest reads.

    ``ended`` is called once, with the reason, when the channel has ended by itself; ``failed`` with an exception that
    is a fault of ours, not of the guest.
    """

    def __init__(
        self,
        log: FilteringBoundLogger,
        ended: Callable[[str], None],
        failed: Callable[[Exception], None],
        peer: ChannelPeer,
    ) -> None:
        self.pump_failed = failed
        self._peer = peer
        self._log = log
        self._ended = ended
        self._channel: RadioChannel | None = None
        self._stream: GuestStream | None = None
        self._carried: RadioChannel | None = None  # the channel, after its end too: has its counters
        self._serving = False  # the ring may be used: from when the channel is open until the guest breaks the ring
        self._over = False  # ``ended`` has been called
        self._unsent: list[bytes] = []  # SDUs read from the ring that the channel did not take yet
        self._opened_at: float | None = None  # the loop's time; None before, and after its end was logged
        self.opening: asyncio.Task[None] | None = None  # asks the peer for the channel
        self.sdus_to_guest = 0
        self.sdus_from_guest = 0

    @property
    def max_message(self) -> int:
        """Returns the length in bytes of the longest SDU that the guest's ring takes; 0 without a ring."""
        return self._stream.ring.max_message if self._stream is not None else 0

    @property
    def is_open(self) -> bool:
        """Returns whether the channel to the peer is open."""
        return self._channel is not None

    def take_stream(self, stream: GuestStream) -> None:
        """Takes over the guest's data ring, which this object closes."""
        self._stream = stream

    def info(self, domid: int, devid: int, number: int, state: str) -> ChannelInfo:
        """Returns the channel's facts. ``number``: the guest's id for it. ``state``: its state in the protocol core."""
        channel = self._channel
        l2cap = channel.info() if channel is not None else None
        facts: tuple[int | None, ...] = (None, None, None, None, None, 0, 0)
        if l2cap is not None:
            facts = (
                l2cap.handle, l2cap.cid, l2cap.dcid, l2cap.tx_mtu, l2cap.rx_mtu, l2cap.queued, l2cap.unread
            )  # fmt: skip
        address, address_type, psm = self._peer
        peer = format_address(address), ADDRESS_TYPES[address_type], psm
        return ChannelInfo._make((domid, devid, number, state, *peer, *facts, *self.traffic()))

    def traffic(self) -> Traffic:
        """Returns what was carried until now. Must be called before ``close``, which gives the ring up."""
        bytes_to_guest = self._stream.written_bytes if self._stream is not None else 0
        bytes_from_guest = self._carried.bytes_sent if self._carried is not None else 0
        return Traffic(self.sdus_to_guest, bytes_to_guest, self.sdus_from_guest, bytes_from_guest)

    def start(self, channel: RadioChannel) -> None:
        """Starts to carry SDUs, first those that either side has sent already."""
        self._opened_at = asyncio.get_running_loop().time()
        self._channel = self._carried = channel
        self._serving = True
        channel.set_user(self)
        self.guest_event()

    def close(self, reason: str = RELEASED) -> None:
        """Cancels the request to the peer or disconnects, and gives the guest its pages back. Idempotent.

        What is still in the ring is lost; a guest that wants it sent ends its half of the ring first.
        """
        self._log_closed(reason)
        if self.opening is not None:
            self.opening.cancel()
        self._serving = False
        channel, self._channel = self._channel, None
        stream, self._stream = self._stream, None
        if channel is not None:
            channel.close()
        if stream is not None:
            stream.close()

    def revoke(self) -> None:
        """Ends the channel because policy does not allow it any more: disconnects the peer; the guest reads -EACCES."""
        if self._channel is not None:
            self._channel.close()
        self._end(REVOKED, -errno.EACCES)

    @contained
    def guest_event(self) -> None:  # hot: per wake-up
        """Takes what the guest has written, and counts what it has read, after an event of its ring."""
        stream, channel = self._stream, self._channel
        if stream is None or not self._serving:
            return
        try:
            count = stream.take_consumed()
            if channel is not None:
                if count:
                    channel.release_sdus(count)
                self._read(stream, channel)
        except (RemoteProtocolError, LocalProtocolError) as error:
            # A LocalProtocolError of the channel is the guest's doing here: an SDU longer than tx_mtu.
            self._broken(str(error))

    # The channel calls these.

    @contained
    def receive_sdus(self, sdus: list[bytes]) -> None:  # hot: per wake-up
        stream = self._stream
        if stream is None or not self._serving:
            return
        self.sdus_to_guest += len(sdus)
        try:
            if stream.write(sdus):
                self.guest_event()
        except RemoteProtocolError as error:
            self._broken(str(error))

    def channel_writable(self) -> None:
        self.guest_event()

    @contained
    def channel_closed(self, reason: str) -> None:
        self._end(reason, END_ERRORS.get(reason, -errno.EBADMSG))

    # Inside.

    def _read(self, stream: GuestStream, channel: RadioChannel) -> None:  # hot: per wake-up
        """Sends what the guest has written, while the channel has room; without room the guest's ring fills up."""
        while (room := channel.room()) > 0:
            sdus = self._unsent or stream.read(room)
            if not sdus:
                if (error := stream.ring.peer_error) == -errno.ENOTCONN:
                    channel.finish()
                elif error:
                    self._broken(f"the guest ended the channel with error {error}")
                return
            taken = channel.send_sdus(sdus)
            self.sdus_from_guest += taken
            self._unsent = sdus[taken:]

    def _broken(self, reason: str) -> None:
        self._serving = False
        self._log.warning("channel broken by the guest", reason=reason)
        if self._channel is not None:
            self._channel.close()
        self._end(reason, -errno.EBADMSG)

    def _end(self, reason: str, error: int) -> None:
        """Reports the end of the channel. The guest may read its ring to the end: it goes when it is released."""
        self._channel = None
        if self._stream is not None:
            try:
                self._stream.end(error)
            except RemoteProtocolError as broken:
                self._serving = False
                self._log.warning("ring broken by the guest", reason=str(broken))
        self._log_closed(reason)
        if not self._over:
            self._over = True
            self._ended(reason)

    def _log_closed(self, reason: str) -> None:
        """Logs the end of a channel once, provided that its opening was logged."""
        opened_at, self._opened_at = self._opened_at, None
        if opened_at is None:
            return
        address, _, psm = self._peer
        sdus_to_guest, bytes_to_guest, sdus_from_guest, bytes_from_guest = self.traffic()
        self._log.info(
            "channel closed", addr=format_address(address), psm=psm, reason=reason,
            duration_s=round(asyncio.get_running_loop().time() - opened_at, 3), sdus_to_guest=sdus_to_guest,
            bytes_to_guest=bytes_to_guest, sdus_from_guest=sdus_from_guest, bytes_from_guest=bytes_from_guest,
        )  # fmt: skip
