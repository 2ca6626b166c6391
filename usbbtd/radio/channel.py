"""The objects that an adapter and its users exchange: links, channels, offers of channels, and errors."""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from usbbtd.bluetooth import describe_result, transport_of
from usbbtd.hci import events as hci_events
from usbbtd.l2cap import events as l2cap_events
from usbbtd.l2cap.channel import L2capChannelInfo
from usbbtd.l2cap.limits import SDU_OVERHEAD
from usbbtd.radio.controller import Controller

#: The reason with which a channel ends when the dongle has gone; the other reasons are those of l2cap/events.py.
ADAPTER_GONE = "the adapter has gone"


class RadioError(Exception):
    """A request to the adapter has failed."""


class NoDongle(RadioError):
    """There is no dongle whose controller is up, or it went away meanwhile."""


class Refused(RadioError):
    """The peer refused the channel. ``result``: its L2CAP result (Vol 3, Part A, 4.3 for BR/EDR, 4.23 for LE)."""

    def __init__(self, transport: int, result: int) -> None:
        super().__init__(f"the peer refused the channel: L2CAP result {describe_result(transport, result)}")
        self.result = result


class EchoRejected(RadioError):
    """The peer rejected an echo request, although every device has to answer one. Such a reject has no ``result``."""

    result = 0


class Unreachable(RadioError):
    """There is no link to the peer, or it was lost. ``status``: the HCI status; 0 if the controller gave none."""

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status


class InUse(RadioError):
    """Another user has the PSM, or the advertising set."""


class NotSupported(RadioError):
    """The controller does not have the transport, or the function."""


class Exhausted(RadioError):
    """A limit is reached: of channels, or of requests that are under way."""


class RadioLink:
    """An ACL link. ``ours``: whether we wanted it, and so end it when nothing uses it. ``since``: the loop's time."""

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
        self.closing = False  # we have asked the controller to disconnect it
        self.end_status = 0  # HCI's reason, once the link ends
        self.channels = 0  # open, opening, and asked for by the peer
        self.echoes = 0  # those whose answers are waited for
        self.idle: asyncio.TimerHandle | None = None  # ends the link, which nobody uses now

    @property
    def in_use(self) -> bool:
        """Returns whether a channel or an echo uses the link."""
        return self.channels + self.echoes > 0

    @property
    def transport(self) -> int:
        """Returns the link's transport, BREDR or LE."""
        return transport_of(self.address_type)


class ChannelUser(Protocol):
    """The user of a channel. None of these methods may raise or wait."""

    def receive_sdus(self, sdus: list[bytes]) -> None: ...
    def channel_writable(self) -> None: ...
    def channel_closed(self, reason: str) -> None: ...


class RadioChannel:
    """An open L2CAP channel, whose received SDUs go to its user."""

    def __init__(self, link: RadioLink, opened: l2cap_events.ChannelOpened) -> None:
        self.link = link
        self.handle, self.cid, self.psm, self.tx_mtu, self.rx_mtu = opened
        self.user: ChannelUser | None = None
        self.open = True
        self.reason = ""  # why it is not open any more
        self.bytes_sent = 0
        self._controller = link.controller
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
            self._controller.mux.limit_unread(self.handle, self.cid, octets)

    def room(self) -> int:
        """Returns how many octets may be sent now, of which an SDU takes its length and SDU_OVERHEAD.

        If it is 0 or less, wait for ``channel_writable``.
        """
        return self._controller.mux.room(self.handle, self.cid) if self.open else 0

    def send_sdus(self, sdus: Sequence[bytes]) -> int:  # hot: per wake-up
        """Sends SDUs in order and returns how many were taken; send the others after ``channel_writable``.

        Raises LocalProtocolError if an SDU is longer than ``tx_mtu``; those before it are sent.
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
        """Lets the peer send ``count`` more SDUs, as the user has read as many."""
        if self.open:
            self._controller.mux.release_sdus(self.handle, self.cid, count)
            self._controller.flush_soon()

    def info(self) -> L2capChannelInfo | None:
        """Returns what the L2CAP core knows of the channel; None if it has ended."""
        return self._controller.mux.channel(self.handle, self.cid)

    def finish(self) -> None:
        """Disconnects when the peer has taken what was sent; then calls the user's ``channel_closed``."""
        if self.open:
            self._controller.mux.disconnect(self.handle, self.cid, self._controller.now())
            self._controller.flush_soon()

    def close(self) -> None:
        """Disconnects as ``finish`` does, but calls nothing of the user any more. Idempotent."""
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
    """A peer's request for a channel. The listener calls ``SharedAdapter.accept`` or ``SharedAdapter.refuse`` once."""

    __slots__ = ("cid", "handle", "link", "psm")

    def __init__(self, link: RadioLink, requested: l2cap_events.ChannelRequested) -> None:
        self.link = link
        self.handle, self.cid, self.psm = requested


class ListenerUser(NamedTuple):
    """Listens on a PSM: ``offered`` is called with each Offer, ``withdrawn`` when its peer has gone unanswered."""

    offered: Callable[[Offer], None]
    withdrawn: Callable[[Offer], None]


class ScanUser(NamedTuple):
    """Takes the reports of a scan.

    ``active``: whether to ask for scan responses. ``duplicates``: whether to report every advertisement, not only every
    advertiser. ``ended`` is called when the scan has ended by itself.
    """

    active: bool
    duplicates: bool
    report: Callable[[hci_events.Advertisement], None]
    ended: Callable[[], None]


class Advertiser(NamedTuple):
    """Describes what a user advertises. ``data``: AD structures, 31 octets at most."""

    data: bytes
    interval_ms: int
    connectable: bool
