"""The listeners of a guest, and the peers that wait there until the guest accepts them."""

from collections.abc import Callable
from functools import partial

from usbbtd.backends.access import Denied, Grant
from usbbtd.backends.vl2cap.channel import ChannelPeer
from usbbtd.backends.vl2cap.info import ListenerInfo
from usbbtd.backends.vl2cap.session import GuestObject, GuestSession
from usbbtd.bluetooth import TRANSPORTS, BredrResult
from usbbtd.l2capif.calls import ListenCall, RefuseCall
from usbbtd.pump import contained
from usbbtd.radio.adapter import SharedAdapter
from usbbtd.radio.channel import NOT_ALLOWED, Offer, RadioChannel
from usbbtd.radio.channels import LevelFor
from usbbtd.radio.errors import Exhausted


class GuestListener:
    """Listens on a PSM for the guest. Raises InUse if the PSM is taken.

    ``security``: the least level of a peer's link; ``level_for``: what policy wants of a peer besides.
    ``guest``: its name, for whom a peer is paired with.
    ``offered`` is called with each Offer; ``failed`` with what it raises.
    """

    def __init__(
        self, adapter: SharedAdapter, transport: int, psm: int, security: int, guest: str, *,
        level_for: LevelFor, offered: Callable[[Offer], None], failed: Callable[[Exception], None],
    ) -> None:  # fmt: skip
        self.pump_failed = failed
        self._adapter = adapter
        self._key = transport, psm
        self._offered = offered
        adapter.channels.listen(transport, psm, self._receive_offer, security, level_for, guest)

    def info(self) -> ListenerInfo:
        transport, psm = self._key
        return ListenerInfo(TRANSPORTS[transport], psm)

    def close(self) -> None:
        self._adapter.channels.unlisten(*self._key)

    @contained
    def _receive_offer(self, offer: Offer) -> None:
        self._offered(offer)


class GuestOffer:
    """A peer that waits at a guest's listener by policy's ``grant``, which its channel gets when the guest accepts."""

    def __init__(self, session: GuestSession, offer: Offer, grant: Grant) -> None:
        link = offer.link
        self.grant = grant
        self.peer = ChannelPeer(*link.identity, offer.psm)
        self.pump_failed = session.failed
        self._session = session
        self._offer = offer
        offer.withdrawn = self._withdrawn

    def refuse(self, result: int = BredrResult.NO_RESOURCES) -> None:
        """Refuses a peer that waits, with an L2CAP ``result``, and gives the grant back."""
        self.grant.close()
        self._session.adapter.channels.refuse(self._offer, result)

    def revoke(self) -> None:
        """Refuses a peer that waits, because policy does not allow it any more."""
        self._session.core.withdraw(self)
        self.refuse(NOT_ALLOWED[self._offer.link.transport])

    # The opening of the channel calls these.

    def take(self) -> Grant:
        """Hands over the grant, and the peer: whoever opens the channel finds out by itself if that goes away."""
        self._offer.withdrawn = None
        return self.grant

    async def open(self, mtu: int) -> RadioChannel:
        """Opens the channel. Raises NoDongle, and Unreachable if the peer has gone away."""
        return await self._session.adapter.channels.accept(self._offer, mtu)

    def dismiss(self) -> None:
        """Refuses a peer that was taken, if ``open`` was not called."""
        self._session.adapter.channels.refuse(self._offer)

    # The radio calls this.

    @contained
    def _withdrawn(self) -> None:
        self.grant.close()
        self._session.core.withdraw(self)
        self._session.answer()


def listen(session: GuestSession, call: ListenCall) -> None:
    """Listens for the guest's peers, and answers the call."""

    def level_for(address: bytes, address_type: int) -> int | None:
        try:
            return session.access.may_offer((address, address_type), call.psm, call.security)
        except Denied:
            return None

    def serve(made: GuestObject) -> None:
        offered = partial(_offer, session, call)
        made.server = GuestListener(
            session.adapter, call.transport, call.psm, call.security, session.guest, level_for=level_for,
            offered=offered, failed=session.failed,
        )  # fmt: skip

    session.make(call, partial(session.access.listen, call.transport, call.psm), serve)


def refuse(_session: GuestSession, call: RefuseCall) -> None:
    """Refuses a peer for which there is no ACCEPT any more."""
    offer: GuestOffer = call.offer
    offer.refuse()


def _offer(session: GuestSession, call: ListenCall, offer: Offer) -> None:
    """Lets a peer wait at the listener that a call has made, or refuses it."""
    link = offer.link
    try:
        grant = session.access.offer(link.identity, offer.psm, call.security)
        grant.admit(link.security.level, is_bonded=link.security.is_bonded)
    except Denied:
        session.adapter.channels.refuse(offer, NOT_ALLOWED[link.transport])
        return
    except Exhausted:
        session.adapter.channels.refuse(offer)
        return
    waiting = GuestOffer(session, offer, grant)
    if not session.core.offer(call.id, waiting):
        waiting.refuse()
    session.answer()
