"""Serves a connected guest: carries out the requests of its command ring with the adapter."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import reduce
from typing import Any

from structlog.typing import FilteringBoundLogger

from usbbtd.backends.access import Access
from usbbtd.backends.vl2cap import agents, air, echoes, facts, listeners, openings, pairings
from usbbtd.backends.vl2cap.agents import GuestAgent
from usbbtd.backends.vl2cap.air import GuestAdvertisement, GuestScan
from usbbtd.backends.vl2cap.channel import DEVICE_CLOSED, GuestChannel
from usbbtd.backends.vl2cap.info import ConnectionInfo, Traffic
from usbbtd.backends.vl2cap.listeners import GuestListener
from usbbtd.backends.vl2cap.session import GuestObject, GuestSession
from usbbtd.backends.vl2cap.stream import GuestStream
from usbbtd.errors import RemoteProtocolError
from usbbtd.l2capif import calls, wire
from usbbtd.l2capif.backend import Backend
from usbbtd.l2capif.limits import FrontendLimits
from usbbtd.pump import contained, explain
from usbbtd.radio.adapter import SharedAdapter
from usbbtd.xen.ring import BackRing
from usbbtd.xen.xen import Xen

#: What carries out each call, but for ReleaseCall.
CALLS: dict[type[calls.Call], Callable[[GuestSession, Any], None]] = {
    calls.InfoCall: facts.answer_info,
    calls.ConnectCall: openings.connect,
    calls.ListenCall: listeners.listen,
    calls.AcceptCall: openings.accept,
    calls.RefuseCall: listeners.refuse,
    calls.ScanCall: air.scan,
    calls.AdvertiseCall: air.advertise,
    calls.AdvertiseExtendedCall: air.advertise_extended,
    calls.AgentCall: agents.start_agent,
    calls.EchoCall: echoes.echo,
    calls.PairCall: pairings.pair,
}


class GuestConnection:
    """Serves a guest from ATTACH to DETACH. Calls ``broken`` with a reason if it breaks its command ring or we fail."""

    def __init__(
        self, domid: int, ref: int, port: int, *, guest: str, xen: Xen, adapter: SharedAdapter, access: Access,
        limits: FrontendLimits, broken: Callable[[str], None], log: FilteringBoundLogger,
    ) -> None:  # fmt: skip
        self._domid = domid
        self._xen = xen
        self._adapter = adapter
        self._access = access
        self._broken = broken
        self._log = log
        self._core = Backend(limits)
        self._session = GuestSession(
            self._core, guest=guest, adapter=adapter, access=access, answer=self._work, failed=self.pump_failed,
            log=log, map_ring=self._map_ring, read_page=self._read_page,
        )  # fmt: skip
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
        return self._core.statistics() | self._access.statistics() | self._session.counts

    def info(self, domid: int, devid: int) -> ConnectionInfo:
        """Returns what the guest has. ``domid`` and ``devid`` of its device are put into each channel's facts."""
        serving = [(found, found.server.server) for found in self._core.objects() if found.server is not None]
        channels = [
            server.info(domid, devid, found.id, found.state)
            for found, server in serving
            if isinstance(server, GuestChannel)
        ]
        return ConnectionInfo(
            channels=channels,
            listeners=[server.info() for _, server in serving if isinstance(server, GuestListener)],
            scans=[server.info() for _, server in serving if isinstance(server, GuestScan)],
            advertising=any(isinstance(server, GuestAdvertisement) for _, server in serving),
            agent=self._session.agent is not None,
            traffic=reduce(Traffic.plus, (Traffic(*channel[-4:]) for channel in channels), self._past),
            counters=self.statistics(),
        )

    def close(self) -> None:
        """Ends all that the guest has, then gives its ring back. Idempotent."""
        offers, made = self._core.offers(), self._objects()
        self._core.close()
        if responses := self._core.take_responses():
            self._ring.put(responses)  # the guest may still read them
        with self._resources as undo:  # runs each callback, from the last to the first, even if one raises
            undo.callback(self._access.clear)
            for offer in offers:
                undo.callback(offer.refuse)
            for _, each in made:
                undo.callback(each.close)
                if isinstance(each.server, GuestChannel):
                    undo.callback(each.server.close, DEVICE_CLOSED)

    def pump_failed(self, error: Exception) -> None:
        """Ends this guest's connection after a fault of ours; it may connect again, and other guests go on."""
        facts = explain(error)
        self._log.error("guest failed", **facts)
        self._broken(facts["reason"])

    @contained
    def review(self, limits: FrontendLimits) -> None:
        """Ends what a new policy does not allow any more. ``limits``: they hold for what is made from now on."""
        if limits != self._core.limits:
            self._core.limits = limits
            self._core.change_info()
        revoked = [(number, made) for number, made in self._objects() if not self._access.review(made.grant)]
        for offer in [offer for offer in self._core.offers() if not self._access.review(offer.grant)]:
            offer.revoke()
        for number, made in revoked:
            self._core.revoke(number)
            match made.server:
                case GuestChannel(is_open=True) | GuestScan() | GuestAgent() as streaming:
                    streaming.revoke()
                case _:
                    made.close()
        if self._session.agent is not None:
            self._session.agent.review()
        self._work()

    # The command ring.

    @contained
    def _ring_event(self) -> None:
        try:
            requests = self._ring.take()
        except RemoteProtocolError as error:
            self._broken(f"command ring: {error}")
            return
        self._core.receive_requests(requests)
        self._work()

    def _work(self) -> None:
        """Does what the guest asked for, then answers all that is ready with one notification."""
        while pending := self._core.take_calls():
            for call in pending:
                self._do(call)
        responses = self._core.take_responses()
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
        if isinstance(call, calls.ReleaseCall):
            self._release(call)
        else:
            CALLS[type(call)](self._session, call)

    def _release(self, call: calls.ReleaseCall) -> None:
        released: GuestObject | None = self._core.server(call.id)
        if released is not None:
            if isinstance(released.server, GuestChannel):
                self._past = self._past.plus(released.server.traffic())
            released.close()
        self._core.complete(call.req_id)

    def _map_ring(self, ref: int, port: int, handler: Callable[[], None]) -> GuestStream:
        return GuestStream(self._xen, self._domid, ref, port, self._core.limits.max_page_order, handler)

    def _read_page(self, ref: int) -> bytes:
        """Returns what is in a page of the guest's. Raises XenError if it cannot be mapped."""
        page = self._xen.grants.map(self._domid, [ref])
        try:
            return bytes(page.memory)
        finally:
            page.close()

    def _objects(self) -> list[tuple[int, GuestObject]]:
        return [(found.id, found.server) for found in self._core.objects() if found.server is not None]

    @contained
    def _adapter_changed(self) -> None:
        self._core.change_info()
        self._work()
