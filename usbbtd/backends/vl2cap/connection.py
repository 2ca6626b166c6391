"""Serves a connected guest: carries out the requests of its command ring with the adapter."""

import asyncio
import errno
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial, reduce

from structlog.typing import FilteringBoundLogger

from usbbtd.abi.layout import constants
from usbbtd.backends.access import REFUSED_BY_POLICY, Access, Denied, Revoked, TooOften
from usbbtd.backends.vl2cap.channel import DEVICE_CLOSED, ChannelPeer, GuestChannel
from usbbtd.backends.vl2cap.echoes import GuestEchoes
from usbbtd.backends.vl2cap.info import ConnectionInfo, Traffic
from usbbtd.backends.vl2cap.objects import GuestAdvertisement, GuestListener, GuestObject, GuestScan
from usbbtd.backends.vl2cap.stream import GuestStream
from usbbtd.bluetooth import BREDR, format_address
from usbbtd.errors import LocalProtocolError, RemoteProtocolError
from usbbtd.l2capif import calls, wire
from usbbtd.l2capif.backend import Backend
from usbbtd.l2capif.limits import FrontendLimits
from usbbtd.pump import contained, explain
from usbbtd.radio.adapter import SharedAdapter
from usbbtd.radio.air import Advertiser
from usbbtd.radio.channel import Offer, RadioChannel
from usbbtd.radio.errors import (
    EchoRejected,
    Exhausted,
    InUse,
    NoDongle,
    NotSupported,
    RadioError,
    Refused,
    Unreachable,
)
from usbbtd.xen.error import XenError
from usbbtd.xen.ring import BackRing
from usbbtd.xen.xen import Xen

#: The exceptions with which a request may fail; ``error_code`` gives the protocol's error of each.
FAILURES = (RadioError, XenError, LocalProtocolError, RemoteProtocolError, TimeoutError)


class GuestConnection:
    """Serves a guest from ATTACH to DETACH. Calls ``broken`` with a reason if it breaks its command ring or we fail."""

    def __init__(
        self, domid: int, ref: int, port: int, *, xen: Xen, adapter: SharedAdapter, access: Access,
        limits: FrontendLimits, broken: Callable[[str], None], log: FilteringBoundLogger,
    ) -> None:  # fmt: skip
        self._domid = domid
        self._adapter = adapter
        self._access = access
        self._xen = xen
        self._limits = limits
        self._broken = broken
        self._log = log
        self._backend = Backend(limits)
        self._objects: dict[int, GuestObject] = {}
        self._echoes = GuestEchoes(adapter, access, self._echoed, self.pump_failed)
        self._offers: dict[int, Offer] = {}
        self._offer_count = 0
        self._past = Traffic()  # that of channels which were released
        with ExitStack() as stack:
            page = xen.grants.map(domid, [ref])
            stack.callback(page.close)
            self._ring = BackRing(page.memory, wire.REQUEST_SIZE, wire.RESPONSE_SIZE)
            stack.callback(self._ring.close)
            self._event_channel = xen.evtchn.bind_interdomain(domid, port, self._ring_event)
            stack.callback(self._event_channel.close)
            self._adapter.observe(self._adapter_changed)
            stack.callback(self._adapter.ignore, self._adapter_changed)
            self._resources = stack.pop_all()
        self._ring_event()

    def statistics(self) -> dict[str, int]:
        """Returns the counters of the guest's calls and of policy's decisions about them."""
        return self._backend.statistics() | self._access.statistics()

    def info(self, domid: int, devid: int) -> ConnectionInfo:
        """Returns what the guest has. ``domid`` and ``devid`` of its device are put into each channel's facts."""
        states = {found.id: found.state for found in self._backend.objects()}
        channels = [
            thing.info(domid, devid, number, states[number])
            for number, thing in self._objects.items()
            if isinstance(thing, GuestChannel)
        ]
        things = self._objects.values()
        return ConnectionInfo(
            channels=channels,
            listeners=[thing.info() for thing in things if isinstance(thing, GuestListener)],
            scans=[thing.info() for thing in things if isinstance(thing, GuestScan)],
            advertising=any(isinstance(thing, GuestAdvertisement) for thing in things),
            traffic=reduce(Traffic.plus, (Traffic(*channel[-4:]) for channel in channels), self._past),
            counters=self.statistics(),
        )

    def close(self) -> None:
        """Ends all that the guest has, then gives its ring back. Idempotent."""
        self._backend.close()
        if responses := self._backend.take_responses():
            self._ring.put(responses)  # the guest may still read them
        with self._resources as undo:  # runs each callback, from the last to the first, even if one raises
            undo.callback(self._access.clear)
            undo.callback(self._echoes.close)
            offers, self._offers = self._offers, {}
            for offer in offers.values():
                undo.callback(self._adapter.channels.refuse, offer)
            objects, self._objects = self._objects, {}
            for thing in objects.values():
                if isinstance(thing, GuestChannel):
                    undo.callback(thing.close, DEVICE_CLOSED)
                else:
                    undo.callback(thing.close)

    def pump_failed(self, error: Exception) -> None:
        """Ends this guest's connection after a fault of ours; it may connect again, and other guests go on."""
        facts = explain(error)
        self._log.error("guest failed", **facts)
        self._broken(facts["reason"])

    @contained
    def revoke(self, revoked: Revoked, limits: FrontendLimits) -> None:
        """Ends what a new policy does not allow any more. ``limits``: they hold for what is made from now on."""
        if limits != self._limits:
            self._limits = self._backend.limits = limits
            self._backend.change_info()
        for id_ in revoked.echoes:
            self._echoes.cancel(id_)
            self._backend.revoke(id_)
        for number in revoked.offers:
            offer = self._offers.pop(number)
            self._backend.withdraw(number)
            self._adapter.channels.refuse(offer, REFUSED_BY_POLICY[offer.link.transport])
        for id_ in revoked.objects:
            self._backend.revoke(id_)
            match self._objects[id_]:
                case GuestChannel(is_open=True) | GuestScan() as streaming:
                    streaming.revoke()
                case thing:
                    del self._objects[id_]
                    thing.close()
        self._work()

    # The command ring.

    @contained
    def _ring_event(self) -> None:
        try:
            requests = self._ring.take()
        except RemoteProtocolError as error:
            self._broken(f"command ring: {error}")
            return
        self._backend.receive_requests(requests)
        self._work()

    def _work(self) -> None:
        """Does what the guest asked for, then answers all that is ready with one notification."""
        while pending := self._backend.take_calls():
            for call in pending:
                self._do(call)
        responses = self._backend.take_responses()
        if not responses:
            return
        try:
            notify = self._ring.put(responses)
        except RemoteProtocolError as error:
            self._broken(f"command ring: {error}")
            return
        if notify:
            self._event_channel.notify()

    def _do(self, call: calls.Call) -> None:
        match call:
            case calls.InfoCall(req_id):
                self._answer_info(req_id)
            case calls.ConnectCall():
                self._connect(call)
            case calls.AcceptCall():
                offer = self._offers.pop(call.offer)
                self._access.accept(call.offer, call.id)
                peer = ChannelPeer(offer.link.address, offer.link.address_type, offer.psm)
                self._open(call, partial(self._adapter.channels.accept, offer, call.mtu), peer, offer, None)
            case calls.EchoCall(req_id):
                try:
                    self._echoes.start(call)
                except FAILURES as error:
                    self._fail(req_id, error)
            case calls.RefuseCall(number):
                self._access.release_offer(number)
                self._adapter.channels.refuse(self._offers.pop(number))
            case calls.ReleaseCall(req_id, id_, calls.Kind.ECHO):
                self._echoes.cancel(id_)
                self._backend.complete(req_id)
            case calls.ReleaseCall(req_id, id_):
                self._access.release(id_)
                if (thing := self._objects.pop(id_, None)) is not None:
                    if isinstance(thing, GuestChannel):
                        self._past = self._past.plus(thing.traffic())
                    thing.close()
                self._backend.complete(req_id)
            case calls.ListenCall() | calls.ScanCall() | calls.AdvertiseCall():
                try:
                    self._objects[call.id] = self._make(call)
                except FAILURES as error:
                    self._access.release(call.id)
                    self._fail(call.req_id, error)
                else:
                    self._backend.complete(call.req_id)

    def _make(self, call: calls.ListenCall | calls.ScanCall | calls.AdvertiseCall) -> GuestObject:
        match call:
            case calls.ListenCall(_, id_, transport, psm):
                self._access.listen(id_, transport, psm)
                return GuestListener(
                    self._adapter, transport, psm, lambda offer: self._offered(id_, offer), self._withdrawn
                )
            case calls.ScanCall(_, id_):
                self._access.scan(id_)
                scan = GuestScan(
                    self._adapter, active=call.active, duplicates=call.duplicates,
                    ended=partial(self._ended, id_), failed=self.pump_failed,
                )  # fmt: skip
                try:
                    scan.start(self._stream(call.ref, call.evtchn, scan.guest_event))
                except BaseException:
                    scan.close()
                    raise
                return scan
            case calls.AdvertiseCall(_, id_):
                self._access.advertise(id_)
                advertiser = Advertiser(call.data, call.interval_ms, call.connectable)
                return GuestAdvertisement(self._adapter, advertiser)

    def _ended(self, id_: int, reason: str) -> None:
        """Reports the end of a channel or a scan that ended by itself."""
        self._access.release(id_)
        self._log.info("object ended", object=id_, reason=reason)
        self._backend.end_object(id_)

    def _answer_info(self, req_id: int) -> None:
        bredr, le = self._adapter.transports
        features = bredr * constants.L2CAPIF_FEATURE_BREDR
        features |= le * constants.L2CAPIF_FEATURE_LE
        features |= self._adapter.air.can_scan * constants.L2CAPIF_FEATURE_SCAN
        features |= self._adapter.air.can_advertise * constants.L2CAPIF_FEATURE_ADVERTISE
        self._backend.complete_info(
            req_id, address=self._adapter.address, address_type=BREDR, powered=self._adapter.powered, features=features,
            le_address=self._adapter.le_address, le_address_type=le * constants.L2CAPIF_ADDR_LE_RANDOM,
        )  # fmt: skip

    def _echoed(self, req_id: int, outcome: bytes | BaseException) -> None:
        if isinstance(outcome, bytes):
            self._backend.complete_echo(req_id, outcome)
        else:
            self._fail(req_id, outcome)
        self._work()

    @contained
    def _adapter_changed(self) -> None:
        self._backend.change_info()
        self._work()

    def _fail(self, req_id: int, error: BaseException) -> None:
        code, result, status = error_code(error)
        self._backend.fail(req_id, code, result=result, status=status)

    # Channels.

    def _stream(self, ref: int, port: int, handler: Callable[[], None]) -> GuestStream:
        return GuestStream(self._xen, self._domid, ref, port, self._limits.max_page_order, handler)

    def _connect(self, call: calls.ConnectCall) -> None:
        try:
            now = asyncio.get_running_loop().time()
            self._access.connect(call.id, (call.address, call.address_type), call.psm, now)
        except FAILURES as error:
            self._fail(call.req_id, error)
        else:
            connect = partial(self._adapter.channels.connect, call.address, call.address_type, call.psm, call.mtu)
            peer = ChannelPeer(call.address, call.address_type, call.psm)
            self._open(call, connect, peer, None, call.timeout_s)

    def _open(
        self, call: calls.ConnectCall | calls.AcceptCall, get_channel: Callable[[], Awaitable[RadioChannel]],
        peer: ChannelPeer, offer: Offer | None, timeout_s: float | None,
    ) -> None:  # fmt: skip
        """Maps the guest's ring, before the peer is asked in case the ring is bad, and starts to get the channel."""
        user = GuestChannel(self._log.bind(object=call.id), partial(self._ended, call.id), self.pump_failed, peer)
        try:
            stream = self._stream(call.ref, call.evtchn, user.guest_event)
            user.take_stream(stream)
            if call.mtu > stream.ring.max_message:
                raise RemoteProtocolError(f"MTU {call.mtu}, but the ring takes messages of {stream.ring.max_message}")
        except FAILURES as error:
            if offer is not None:
                self._adapter.channels.refuse(offer)
            self._not_opened(call, user, error)
        else:
            self._objects[call.id] = user
            user.opening = asyncio.create_task(self._opened(call, user, get_channel, timeout_s))
            user.opening.add_done_callback(self._check_opening)
            if offer is not None:  # given up before the task began: the peer must not wait for that
                user.opening.add_done_callback(lambda _: self._adapter.channels.refuse(offer))

    async def _opened(
        self, call: calls.ConnectCall | calls.AcceptCall, user: GuestChannel,
        get_channel: Callable[[], Awaitable[RadioChannel]], timeout_s: float | None,
    ) -> None:  # fmt: skip
        """Gets a channel and answers the call. Cancelled when the guest releases it or goes away: the core answers."""
        try:
            async with asyncio.timeout(timeout_s):
                channel = await get_channel()
        except FAILURES as error:
            del self._objects[call.id]
            self._not_opened(call, user, error)
        else:
            link = channel.link
            tx_mtu = min(channel.tx_mtu, user.max_message)
            self._log.info(
                "channel open", object=call.id, addr=format_address(link.address), psm=channel.psm, cid=channel.cid
            )
            self._backend.complete_channel(
                call.req_id, link.address, link.address_type, channel.psm, tx_mtu, channel.rx_mtu
            )
            channel.limit_unread(self._access.unread_bytes(call.id))
            user.start(channel)
        self._work()

    def _check_opening(self, opening: asyncio.Task[None]) -> None:
        if not opening.cancelled() and isinstance(error := opening.exception(), Exception):
            self.pump_failed(error)

    def _not_opened(self, call: calls.ConnectCall | calls.AcceptCall, user: GuestChannel, error: BaseException) -> None:
        user.close()
        self._access.release(call.id)
        if isinstance(call, calls.AcceptCall) and isinstance(error, RadioError):
            self._backend.withdraw(call.offer)  # the peer has gone: the ACCEPT waits for the next
            return
        self._log.info("channel not opened", object=call.id, reason=str(error) or "no answer in time")
        self._fail(call.req_id, error)

    @contained
    def _offered(self, listener_id: int, offer: Offer) -> None:
        self._offer_count = number = self._offer_count + 1
        link = offer.link
        try:
            self._access.offer(number, (link.address, link.address_type), offer.psm)
        except Denied:
            self._adapter.channels.refuse(offer, REFUSED_BY_POLICY[link.transport])
            return
        except Exhausted:
            self._adapter.channels.refuse(offer)
            return
        self._offers[number] = offer
        if not self._backend.offer(listener_id, number):
            del self._offers[number]
            self._access.release_offer(number)
            self._adapter.channels.refuse(offer)
        self._work()

    @contained
    def _withdrawn(self, offer: Offer) -> None:
        for number, known in self._offers.items():
            if known is offer:
                del self._offers[number]
                self._access.release_offer(number)
                self._backend.withdraw(number)
                self._work()
                return


def error_code(error: BaseException) -> tuple[int, int, int]:
    """Returns (XEN_E*, L2CAP result, HCI status) for a failure: the errors of docs/l2capif.md."""
    match error:
        case Refused() | EchoRejected():
            return errno.ECONNREFUSED, error.result, 0
        case Unreachable():
            return errno.ETIMEDOUT, 0, error.status
        case TimeoutError():
            return errno.ETIMEDOUT, 0, 0
        case NoDongle():
            return errno.ENODEV, 0, 0
        case NotSupported():
            return errno.EOPNOTSUPP, 0, 0
        case Exhausted():
            return errno.EMFILE, 0, 0
        case Denied():
            return errno.EACCES, 0, 0
        case TooOften():
            return errno.EAGAIN, 0, 0
        case InUse():
            return errno.EADDRINUSE, 0, 0
        case XenError():
            return errno.EFAULT, 0, 0
        case _:
            return errno.EINVAL, 0, 0
