"""Runs the frontend of a vl2cap device: its command ring, and the data rings that it shares.

``serve_l2capif`` follows the device for ever, and makes a new ``Connection`` each time both ends connect. No object of
an old one works in a new one: what a program holds from before a restart of the backend fails cleanly.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from struct import pack_into
from typing import Protocol

from usbbtd.abi.layout import constants, record, size_of
from usbbtd.errors import LocalProtocolError, RemoteProtocolError
from usbbtd.identifiers import LAST_U32
from usbbtd.l2capif import nodes
from usbbtd.l2capif.frontend import QUEUE_LIMIT, Frontend
from usbbtd.l2capif.wire import REQUEST_SIZE, RESPONSE_SIZE, Response
from usbbtd.nodes import BACKEND
from usbbtd.pump import contained, explain
from usbbtd.retry import Retry
from usbbtd.xen.dataring import DataRing
from usbbtd.xen.device import XenbusDevice
from usbbtd.xen.error import XenError
from usbbtd.xen.grant import SharedPages
from usbbtd.xen.ring import PAGE_SIZE, FrontRing
from usbbtd.xen.xen import Xen
from usbbtd.xenbus import Action

#: The pauses after a refusal by xenstore, well within the time that a program waits for its adapter.
_FIRST_RETRY_S, _LAST_RETRY_S = 0.1, 2.0
_VERSION: int = constants.L2CAPIF_VERSION
_unpack_producer = record("struct l2capif_producer").unpack_from  # that of `in`, at the start of l2capif_data_intf
_REFS_OFFSET = 2 * size_of("struct l2capif_half")

#: What not every backend of this version can do, and says in nodes.
_FEATURES = (nodes.FEATURE_INFO_WAIT, nodes.FEATURE_ECHO)

Answered = Callable[[Response], None]


class StreamUser(Protocol):
    """Reads and writes a data ring. Both methods are called from the event loop and may not raise."""

    def receive_event(self) -> None:
        """Is called when the backend has written, consumed or ended something."""

    def connection_lost(self) -> None:
        """Is called when the backend is gone; what it wrote before can still be read during this call."""


class SharedStream:
    """The data ring of one channel or scan: granted pages and an event channel.

    ``ref`` and ``port``, the grant reference and the event channel, go into the request. ``order``: the binary
    logarithm of the number of data pages. ``failed`` gets what ``user`` raises. Raises XenError if there are no pages
    or ports left.
    """

    def __init__(self, xen: Xen, domid: int, order: int, user: StreamUser, failed: Callable[[Exception], None]) -> None:
        self.user = user
        self.pump_failed = failed
        with ExitStack() as undo:
            pages = xen.grants.share(domid, 1 + (1 << order))
            undo.callback(pages.close)
            memory, refs = pages.memory, pages.refs
            pack_into(f"<{len(refs)}I", memory, _REFS_OFFSET, order, *refs[1:])
            self.ring = DataRing(memory[:PAGE_SIZE], memory[PAGE_SIZE:], frontend=True)
            undo.callback(self.ring.close)
            channel = xen.evtchn.bind_unbound(domid, self._receive_event)
            undo.callback(channel.close)
            self._resources = undo.pop_all()
        self._indices = memory
        self.notify = channel.notify
        self.ref, self.port = refs[0], channel.port

    @property
    def ended(self) -> int:
        """Returns the error with which the backend has ended its direction, even with messages unread; else 0."""
        error: int = _unpack_producer(self._indices)[2]
        return error

    @contained
    def lose(self) -> None:
        """Tells the user that the backend is gone."""
        self.user.connection_lost()

    def close(self) -> None:
        """Takes the pages back. Idempotent."""
        self._resources.close()

    @contained
    def _receive_event(self) -> None:  # hot: per wake-up
        self.user.receive_event()


class Connection:
    """One connection to the backend, from our offer to its end: requests, their answers, and data rings.

    ``max_page_order``: the highest order of data rings that the backend takes. ``features``: the nodes of what it can
    do besides what every backend can, such as ``nodes.FEATURE_ECHO``; ``knows``: the bits of l2capif/features.py, None
    before INFO is answered. ``fail`` is called with a reason when the backend breaks a rule, or we fail. ``spin_ns``:
    how long new streams look at their rings themselves before they sleep.
    """

    def __init__(
        self, xen: Xen, domid: int, max_page_order: int, fail: Callable[[str], None], features: Collection[str] = ()
    ) -> None:
        self.spin_ns = 0
        self.max_page_order = max_page_order
        self.features = frozenset(features)
        self.knows: int | None = None
        self.closed = False
        self._releases: set[asyncio.Future[None]] = set()  # RELEASEs that are not answered yet
        self._xen, self._domid = xen, domid
        self._fail = fail
        self._core = Frontend()
        self._answered: dict[int, Answered] = {}
        self._streams: set[SharedStream] = set()
        self._lent: set[SharedPages] = set()
        with ExitStack() as undo:
            page = xen.grants.share(domid, 1)
            undo.callback(page.close)
            self._ring = FrontRing(page.memory, REQUEST_SIZE, RESPONSE_SIZE)
            undo.callback(self._ring.close)
            self._channel = xen.evtchn.bind_unbound(domid, self._receive_event)
            undo.callback(self._channel.close)
            self._resources = undo.pop_all()
        #: The nodes that the frontend writes into xenstore for the backend to connect.
        self.nodes = {
            nodes.VERSION: str(_VERSION),
            nodes.RING_REF: str(page.refs[0]),
            nodes.EVENT_CHANNEL: str(self._channel.port),
        }

    @property
    def full(self) -> bool:
        """Returns whether so many requests are in flight that there is just room for the RELEASEs of all of them."""
        return len(self._answered) >= QUEUE_LIMIT // 2

    def send(self, make: Callable[[Frontend], int], answered: Answered) -> int:
        """Sends the request that ``make`` builds, and returns its number, which is also that of the object it makes.

        ``answered`` gets the response, once; with -ENODEV if the connection ends first. Raises LocalProtocolError from
        the core, which means a bug unless the connection was ``full`` or ``closed``.
        """
        number = make(self._core)
        self._answered[number] = answered
        self._push()
        return number

    def release(self, number: int, released: Callable[[], None]) -> None:
        """Ends the object ``number``, answered or not; ``released`` is called when the backend has let go of it."""
        if self.closed:
            released()
            return
        gone = asyncio.get_running_loop().create_future()
        self._releases.add(gone)

        def answered(_: Response) -> None:
            self._releases.discard(gone)
            gone.set_result(None)
            released()

        self.send(lambda core: core.release(number), answered)

    async def wait_released(self) -> None:
        """Waits until the backend has let go of all that was released, which counts towards our limits until then."""
        if self._releases:
            await asyncio.wait(self._releases)

    def share(self, order: int, user: StreamUser) -> SharedStream:
        """Makes the pages and the event channel of a new data ring; give them back with ``unshare``.

        Raises XenError if there are none left, and LocalProtocolError if the connection is ``closed``.
        """
        if self.closed:
            raise LocalProtocolError("the connection has ended")
        stream = SharedStream(self._xen, self._domid, order, user, self.pump_failed)
        self._streams.add(stream)
        return stream

    def unshare(self, stream: SharedStream) -> None:
        """Takes the pages of a data ring back, after its request has failed or its object was released."""
        self._streams.discard(stream)
        stream.close()

    def lend(self, octets: bytes) -> SharedPages:
        """Shares a page that begins with ``octets``, for one request; ``take_back`` ends that. Raises as ``share``."""
        if self.closed:
            raise LocalProtocolError("the connection has ended")
        page = self._xen.grants.share(self._domid, 1)
        page.memory[: len(octets)] = octets
        self._lent.add(page)
        return page

    def take_back(self, page: SharedPages) -> None:
        """Takes a page back, when the request that it is for is answered. Idempotent."""
        if page in self._lent:
            self._lent.discard(page)
            page.close()

    def close(self) -> None:
        """Ends the connection: answers all requests in flight with -ENODEV and ends all data rings. Idempotent."""
        if self.closed:
            return
        self.closed = True
        self._resources.close()
        for stream in tuple(self._streams):
            stream.lose()
            self.unshare(stream)
        for page in tuple(self._lent):
            self.take_back(page)
        self._core.close()
        self._deliver()

    def pump_failed(self, error: Exception) -> None:
        """Ends the connection after a bug, so that nobody waits for what never comes; a new one is then made."""
        self._fail(explain(error)["reason"])

    @contained
    def _receive_event(self) -> None:
        try:
            self._core.receive_responses(self._ring.take())
        except RemoteProtocolError as exc:
            self._fail(f"the backend broke the protocol of the command ring: {exc}")
        self._deliver()
        if not self.closed:
            self._push()

    def _deliver(self) -> None:
        for response in self._core.take_results():
            self._answer(response)

    @contained
    def _answer(self, response: Response) -> None:
        """Hands out one response; contained, so that the next ones are handed out even if this raises."""
        self._answered.pop(response.req_id)(response)

    @contained
    def _push(self) -> None:
        requests = self._core.take_requests(self._ring.free)
        if requests and self._ring.put(requests):
            self._channel.notify()


async def serve_l2capif(
    xen: Xen,
    devid: int,
    on_connected: Callable[[Connection], None],
    on_disconnected: Callable[[str], None],
) -> None:
    """Serves ``device/vl2cap/<devid>`` as its frontend for ever: waits for the device, connects, and connects again.

    ``on_connected`` gets each connection when both ends are connected; ``on_disconnected`` gets the reason, for
    people, when it has ended or could not be made. If xenstore refuses something, because a quota is used up, say, it
    is tried again. Closes the device in order when cancelled. Raises XenError if our own domain is at the other end of
    the device (EINVAL).
    """
    path = nodes.VL2CAP.frontend_path(devid)
    clock = asyncio.get_running_loop().time
    retry = Retry(_FIRST_RETRY_S, _LAST_RETRY_S)
    while True:
        began = clock()
        try:
            async with xen.store.watch(f"{path}/{BACKEND}") as changes:
                async for _ in changes:
                    if await xen.store.read(f"{path}/{BACKEND}") is not None:
                        break
            device = XenbusDevice(xen.store, "frontend", path)
            await _Frontend(xen, device, on_connected, on_disconnected).run()
        except XenError as exc:
            if exc.errno == errno.EINVAL:
                raise
            on_disconnected(str(exc))
            await asyncio.sleep(retry.next_pause_s(clock() - began))


class _Frontend:
    """Performs the actions of the handshake for one device."""

    def __init__(
        self,
        xen: Xen,
        device: XenbusDevice,
        on_connected: Callable[[Connection], None],
        on_disconnected: Callable[[str], None],
    ) -> None:
        self._xen, self._device = xen, device
        self._on_connected, self._on_disconnected = on_connected, on_disconnected
        self._connection: Connection | None = None
        self._trying = False  # from an offer to the end of what came of it

    async def run(self) -> None:
        try:
            await self._device.run(self._perform)
        finally:
            self._detach()

    async def _perform(self, action: Action) -> Mapping[str, str] | None:
        match action:
            case Action.OFFER:
                return await self._offer()
            case Action.ATTACH:
                assert self._connection is not None
                self._on_connected(self._connection)
            case Action.DETACH:
                self._detach()
            case _:
                pass
        return None

    async def _offer(self) -> Mapping[str, str]:
        self._trying = True
        device = self._device
        untrusted_versions = await device.read_other(nodes.VERSIONS) or ""
        if str(_VERSION) not in untrusted_versions.split(","):
            path = f"{device.other_path}/{nodes.VERSIONS}"
            raise RemoteProtocolError(f"{path} is {untrusted_versions!r:.40}, without {_VERSION}")
        lowest, highest = constants.L2CAPIF_MIN_RING_ORDER, constants.L2CAPIF_MAX_RING_ORDER
        order = await device.read_other_int(nodes.MAX_PAGE_ORDER, lowest, LAST_U32)
        features = [node for node in _FEATURES if await device.read_other(node) == "1"]
        self._connection = Connection(self._xen, device.other_domid, min(order, highest), device.fail, features)
        return self._connection.nodes

    def _detach(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if self._trying:
            self._trying = False
            self._on_disconnected(self._device.reason or "the backend closed the device")
