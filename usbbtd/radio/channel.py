"""The objects that an adapter and the users of its channels exchange: channels, and peers' offers of them."""

from collections.abc import Callable, Sequence
from typing import Protocol

from usbbtd.bluetooth import LEVEL_NONE, BredrResult, LeResult
from usbbtd.l2cap import events as l2cap_events
from usbbtd.l2cap.channel import L2capChannelInfo
from usbbtd.l2cap.limits import SDU_OVERHEAD
from usbbtd.radio.links import RadioLink

#: The reason with which a channel ends when the dongle has gone; other reasons are those of l2cap/events.py.
ADAPTER_GONE = "the adapter has gone"
#: The reason with which a channel ends whose link has not the security any more that the channel needs.
LEVEL_LOST = "the link's security fell"
#: The L2CAP result with which a peer is refused that may not have the channel, by transport.
NOT_ALLOWED = (BredrResult.SECURITY_BLOCK, LeResult.INSUFFICIENT_AUTHORIZATION)


class ChannelUser(Protocol):
    """The user of a channel. None of these methods may raise or wait."""

    def receive_sdus(self, sdus: list[bytes]) -> None: ...
    def channel_writable(self) -> None: ...
    def channel_closed(self, reason: str) -> None: ...


class RadioChannel:
    """An open L2CAP channel, whose received SDUs go to its user.

    ``security``: the least level of its link. ``needs_bond``: whether the link has to be encrypted with a bond's key;
    its user may set that. The channel ends when the link has less.
    """

    def __init__(self, link: RadioLink, opened: l2cap_events.ChannelOpened, security: int = LEVEL_NONE) -> None:
        self.link = link
        self.security = security
        self.needs_bond = False
        self.handle, self.cid, self.psm, self.tx_mtu, self.rx_mtu = opened
        self.user: ChannelUser | None = None
        self.open = True
        self.reason = ""  # why it is not open any more
        self.bytes_sent = 0
        self._stack = link.stack
        self._early: list[bytes] = []  # SDUs from before set_user(); bounded by credits or L2capLimits.unread_bytes

    def set_user(self, user: ChannelUser) -> None:
        """Hands over the SDUs that have come so far, and later ones. Reports at once if the channel has ended."""
        self.user = user
        early, self._early = self._early, []
        if early:
            user.receive_sdus(early)
        if not self.open:
            user.channel_closed(self.reason)

    def limit_unread(self, octets: int) -> None:
        """Sets how many octets may be unread before the channel ends, if the peer cannot be told to wait."""
        if self.open:
            self._stack.mux.limit_unread(self.handle, self.cid, octets)

    def room(self) -> int:
        """Returns how many octets may be sent now, of which an SDU takes its length and SDU_OVERHEAD.

        If it is 0 or less, wait for ``channel_writable``.
        """
        return self._stack.mux.room(self.handle, self.cid) if self.open else 0

    def send_sdus(self, sdus: Sequence[bytes]) -> int:  # hot: per wake-up
        """Sends SDUs in order and returns how many were taken; send the others after ``channel_writable``.

        Raises LocalProtocolError if an SDU is longer than ``tx_mtu``; those before it are sent.
        """
        mux, handle, cid = self._stack.mux, self.handle, self.cid
        start = room = self.room()
        taken = 0
        try:
            for sdu in sdus:
                if room <= 0:
                    break
                mux.send_sdu(handle, cid, sdu)
                room -= len(sdu) + SDU_OVERHEAD
                taken += 1
        finally:
            self.bytes_sent += start - room - taken * SDU_OVERHEAD
            self._stack.flush_soon()
        return taken

    def release_sdus(self, count: int) -> None:
        """Lets the peer send ``count`` more SDUs, as the user has read as many."""
        if self.open:
            self._stack.mux.release_sdus(self.handle, self.cid, count)
            self._stack.flush_soon()

    def info(self) -> L2capChannelInfo | None:
        """Returns what the L2CAP core knows of the channel; None if it has ended."""
        return self._stack.mux.channel(self.handle, self.cid)

    def finish(self) -> None:
        """Disconnects when the peer has taken what was sent; then calls the user's ``channel_closed``."""
        if self.open:
            self._stack.mux.disconnect(self.handle, self.cid, self._stack.now())
            self._stack.flush_soon()

    def close(self) -> None:
        """Disconnects as ``finish`` does, but calls nothing of the user any more. Idempotent."""
        self.user = None
        self._early.clear()
        self.finish()
        self.open = False

    # The channels of the adapter (channels.py) call these.

    def is_secure(self) -> bool:
        """Returns whether the link has what the channel needs."""
        has = self.link.security
        return has.level >= self.security and (has.is_bonded or not self.needs_bond)

    def deliver(self, sdus: list[bytes]) -> None:
        if self.user is not None:
            self.user.receive_sdus(sdus)
        elif self.open:
            self._early.extend(sdus)

    def ended(self, reason: str) -> None:
        self.open = False
        self.reason = reason
        if self.user is not None:
            self.user.channel_closed(reason)


class Offer:
    """A peer's request for a channel. The listener calls ``Channels.accept`` or ``Channels.refuse`` once.

    ``security``: the least level that its link needs, and has now. ``withdrawn``: whoever has the offer sets it, to be
    called if the peer goes away before that.
    """

    __slots__ = ("cid", "handle", "link", "psm", "security", "withdrawn")

    def __init__(self, link: RadioLink, requested: l2cap_events.ChannelRequested, security: int = LEVEL_NONE) -> None:
        self.link = link
        self.security = security
        self.handle, self.cid, self.psm = requested
        self.withdrawn: Callable[[], None] | None = None
