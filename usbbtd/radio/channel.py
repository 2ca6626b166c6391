"""What an adapter hands to its users: channels, offers of channels, and the reasons why there is none."""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from usbbtd.bluetooth import describe_result, transport_of
from usbbtd.hci import events as hci_events
from usbbtd.l2cap import events as l2cap_events
from usbbtd.l2cap.channel import L2capChannelInfo
from usbbtd.l2cap.limits import SDU_OVERHEAD
from usbbtd.radio.controller import Controller

#: The reason that a channel's user hears when the dongle has gone; the other reasons are L2CAP's.
ADAPTER_GONE = "the adapter has gone"


class RadioError(Exception):
    """What a guest asked for did not happen."""


class NoDongle(RadioError):
    """No dongle, or it went away."""


class Refused(RadioError):
    """The peer refused the channel: ``result`` is its L2CAP result code."""

    def __init__(self, transport: int, result: int) -> None:
        super().__init__(f"the peer refused the channel: L2CAP result {describe_result(transport, result)}")
        self.result = result


class EchoRejected(RadioError):
    """The peer rejected an echo request, which every device has to answer. That has no ``result``."""

    result = 0


class Unreachable(RadioError):
    """No link, or it failed on the way: ``status`` is the HCI status, 0 where HCI has said nothing."""

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status


class InUse(RadioError):
    """Somebody else has the PSM, or the advertising set."""


class NotSupported(RadioError):
    """The controller does not have the transport."""


class Exhausted(RadioError):
    """The link, or the controller, has as many channels or connections under way as it may."""


class RadioLink:
    """An ACL link."""

    __slots__ = (
        "address", "address_type", "channels", "closing", "controller", "echoes", "end_status", "handle", "idle",
        "ours", "since",
    )  # fmt: skip

    def __init__(self, controller: Controller, handle: int, address: bytes, address_type: int, *, ours: bool) -> None:
        self.controller = controller
        self.handle = handle
        self.address = address
        self.address_type = address_type
        self.ours = ours
        self.since = controller.now()
        self.closing = False  # we have asked for its end
        self.end_status = 0  # HCI's reason, once it ends
        self.channels = 0  # open, opening, and asked for by the peer
        self.echoes = 0  # that are waited for
        self.idle: asyncio.TimerHandle | None = None

    @property
    def in_use(self) -> bool:
        """Whether somebody holds it."""
        return self.channels + self.echoes > 0

    @property
    def transport(self) -> int:
        """BREDR or LE."""
        return transport_of(self.address_type)


class ChannelUser(Protocol):
    """Who has a channel. None of these may raise or wait."""

    def receive_sdus(self, sdus: list[bytes]) -> None: ...
    def channel_writable(self) -> None: ...
    def channel_closed(self, reason: str) -> None: ...


class RadioChannel:
    """An open L2CAP channel and the user to whom its SDUs go."""

    def __init__(self, link: RadioLink, opened: l2cap_events.ChannelOpened) -> None:
        self.link = link
        self.handle, self.cid, self.psm, self.tx_mtu, self.rx_mtu = opened
        self.user: ChannelUser | None = None
        self.open = True
        self.reason = ""  # why it is not open any more
        self.bytes_sent = 0
        self._controller = link.controller
        self._early: list[bytes] = []  # SDUs from before there was a user; bounded by credits or by Limits.unread_bytes

    def set_user(self, user: ChannelUser) -> None:
        """Hands over what has come so far, then what comes. A channel that ended meanwhile says so at once."""
        self.user = user
        early, self._early = self._early, []
        if early:
            user.receive_sdus(early)
        if not self.open:
            user.channel_closed(self.reason)

    def limit_unread(self, octets: int) -> None:
        """Where the peer cannot be told to wait, the channel ends when the user has left more than this unread."""
        if self.open:
            self._controller.mux.limit_unread(self.handle, self.cid, octets)

    def room(self) -> int:
        """Octets that may be sent now, SDU_OVERHEAD more than its length for each SDU; not above 0: wait for
        ``channel_writable``."""
        return self._controller.mux.room(self.handle, self.cid) if self.open else 0

    def send_sdus(self, sdus: Sequence[bytes]) -> int:  # hot: per wake-up
        """How many were taken; the rest waits for ``channel_writable``.

        Raises LocalProtocolError where an SDU is longer than ``tx_mtu``; those before it are sent.
        """
        mux, handle, cid = self._controller.mux, self.handle, self.cid
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
            self._controller.flush_soon()
        return taken

    def release_sdus(self, count: int) -> None:
        """The user has read ``count`` SDUs: the peer may send as many again."""
        if self.open:
            self._controller.mux.release_sdus(self.handle, self.cid, count)
            self._controller.flush_soon()

    def info(self) -> L2capChannelInfo | None:
        """What L2CAP knows of it; None when it has ended."""
        return self._controller.mux.channel(self.handle, self.cid)

    def finish(self) -> None:
        """Disconnects when the peer has taken what was sent; then the user hears ``channel_closed``."""
        if self.open:
            self._controller.mux.disconnect(self.handle, self.cid, self._controller.now())
            self._controller.flush_soon()

    def close(self) -> None:
        """Disconnects as ``finish`` does, but the user hears no more of the channel. Idempotent."""
        self.user = None
        self._early.clear()
        self.finish()
        self.open = False

    # The adapter calls these.

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
    """A peer that asks for a channel. The listener answers once: ``Adapter.accept`` or ``Adapter.refuse``."""

    __slots__ = ("cid", "handle", "link", "psm")

    def __init__(self, link: RadioLink, requested: l2cap_events.ChannelRequested) -> None:
        self.link = link
        self.handle, self.cid, self.psm = requested


class ListenerUser(NamedTuple):
    """Who takes a PSM: ``offered`` and ``withdrawn`` are called with each Offer."""

    offered: Callable[[Offer], None]
    withdrawn: Callable[[Offer], None]


class ScanUser(NamedTuple):
    """Who scans."""

    active: bool
    duplicates: bool
    report: Callable[[hci_events.Advertisement], None]
    ended: Callable[[], None]


class Advertiser(NamedTuple):
    """What is advertised."""

    data: bytes
    interval_ms: int
    connectable: bool
