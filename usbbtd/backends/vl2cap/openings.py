"""Opens the channels that a guest CONNECTs or ACCEPTs: from the call to its answer."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from usbbtd.backends.access import Denied, Grant, request_facts
from usbbtd.backends.vl2cap.channel import ChannelPeer, GuestChannel
from usbbtd.backends.vl2cap.errors import FAILURES
from usbbtd.backends.vl2cap.listeners import GuestOffer
from usbbtd.backends.vl2cap.session import GuestObject, GuestSession
from usbbtd.bluetooth import format_address
from usbbtd.errors import RemoteProtocolError
from usbbtd.l2capif.calls import AcceptCall, ConnectCall
from usbbtd.radio.channel import RadioChannel
from usbbtd.radio.errors import RadioError

#: Asks the peer for its channel.
Ask = Callable[[], Awaitable[RadioChannel]]


def connect(session: GuestSession, call: ConnectCall) -> None:
    """Opens a channel to a peer, and answers the call, at once or later."""
    peer = ChannelPeer(call.address, call.address_type, 0 if call.fixed else call.psm)
    access, channels = session.access, session.adapter.channels
    decide = access.connect_fixed if call.fixed else access.connect
    connect = channels.connect_fixed if call.fixed else channels.connect
    try:
        grant = decide(peer[:2], call.psm, asyncio.get_running_loop().time(), call.security)
    except FAILURES as error:
        session.fail(call.req_id, error)
        return
    opening = GuestOpening(session, call, peer, grant)
    if opening.map_ring():
        level = max(call.security, grant.security)
        ask = partial(connect, call.address, call.address_type, call.psm, call.mtu, level, session.agent)
        opening.start(ask, call.timeout_s)


def accept(session: GuestSession, call: AcceptCall) -> None:
    """Opens the channel that a waiting peer asks for, and answers the call, at once or later."""
    offer: GuestOffer = call.offer
    opening = GuestOpening(session, call, offer.peer, offer.take())
    if not opening.map_ring():
        offer.dismiss()
        return
    # If it is given up before its task has begun, the peer must not wait for that.
    opening.start(partial(offer.open, call.mtu), None).add_done_callback(lambda _: offer.dismiss())


class GuestOpening:
    """Opens one channel, and answers its call. ``grant``: policy's, which the channel keeps."""

    def __init__(self, session: GuestSession, call: ConnectCall | AcceptCall, peer: ChannelPeer, grant: Grant) -> None:
        self._session = session
        self._call = call
        log = session.log.bind(object=call.id)
        self._object = GuestObject(session, call.id, grant)
        self._channel = self._object.server = GuestChannel(log, self._object.ended, session.failed, peer)

    def map_ring(self) -> bool:
        """Maps the guest's ring: before the peer is asked, in case it is bad. Answers the call if so; returns False."""
        call, channel = self._call, self._channel
        try:
            stream = self._session.map_ring(call.ref, call.evtchn, channel.guest_event)
            channel.take_stream(stream)
            if call.mtu > stream.ring.max_message:
                raise RemoteProtocolError(f"MTU {call.mtu}, but the ring takes messages of {stream.ring.max_message}")
        except FAILURES as error:
            self._fail(error)
            return False
        self._session.core.serve(call.id, self._object)
        return True

    def start(self, ask: Ask, timeout_s: float | None) -> asyncio.Task[None]:
        """Starts to get the channel. The task is cancelled when the object is closed: then the core answers."""
        self._channel.opening = self._session.run(self._open(ask, timeout_s))
        return self._channel.opening

    async def _open(self, ask: Ask, timeout_s: float | None) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                channel = await ask()
            self._admit(channel)
        except FAILURES as error:
            self._fail(error)
        else:
            self._succeed(channel)
        self._session.answer()

    def _admit(self, channel: RadioChannel) -> None:
        """Closes the channel and raises Denied if policy has more to say now that its link is there."""
        link, grant = channel.link, self._object.grant
        try:
            self._session.access.identify(grant, link.identity)
            grant.admit(link.security.level, is_bonded=link.security.is_bonded)
        except Denied:
            channel.close()
            raise
        channel.needs_bond = grant.needs_bond

    def _succeed(self, channel: RadioChannel) -> None:
        link, call = channel.link, self._call
        self._session.log.info(
            "channel open", object=call.id, addr=format_address(link.identity[0]), psm=channel.psm, cid=channel.cid
        )
        tx_mtu = min(channel.tx_mtu, self._channel.max_message)
        psm = call.psm if isinstance(call, ConnectCall) else channel.psm
        self._session.core.complete_channel(
            call.req_id, *link.identity, psm, tx_mtu, channel.rx_mtu, link.security.level
        )
        channel.limit_unread(self._object.grant.unread_bytes)
        self._channel.start(channel)

    def _fail(self, error: BaseException) -> None:
        self._object.close()
        if isinstance(self._call, AcceptCall) and isinstance(error, RadioError):
            self._session.core.withdraw(self._call.offer)  # the peer has gone: the ACCEPT waits for the next
            return
        wanted, reason = request_facts(self._object.grant.request), str(error) or "no answer in time"
        self._session.log.info("channel not opened", object=self._call.id, **wanted, reason=reason)
        self._session.fail(self._call.req_id, error)
