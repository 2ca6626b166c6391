"""Sends requests to the backend, and keeps the objects that they make there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from errno import EMFILE, ENODEV, ENOTCONN, EOPNOTSUPP
from typing import TypeVar

from usbbtd.guest.connection import Connection
from usbbtd.guest.errors import AdapterError, AdapterGone, ChannelClosed, LimitReached, refused
from usbbtd.guest.stream import Stream
from usbbtd.l2capif.frontend import Frontend
from usbbtd.l2capif.wire import ChannelResponse, EchoResponse, PairResponse, Response
from usbbtd.xen.error import XenError
from usbbtd.xen.grant import SharedPages

_Kind = TypeVar("_Kind", bound=Response)

#: Builds a request, as a method of the core does.
Make = Callable[[Frontend], int]


async def ask(connection: Connection, make: Make, kind: type[_Kind], what: str) -> _Kind:
    """Sends a request that makes no object, and returns the response. ``what`` names the request in errors.

    Raises what ``refused`` returns for its error, AdapterGone, and LimitReached if too many requests are under way.
    """
    _check_open(connection, what)
    answered: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
    connection.send(make, lambda response: None if answered.done() else answered.set_result(response))
    return _succeeded(connection, await answered, kind, what, le=False)


def knows(connection: Connection, bit: int) -> bool:
    """Tells whether the backend knows what a bit of l2capif/features.py says. Raises AdapterGone if it is too early."""
    if connection.knows is None:
        raise AdapterGone(ENODEV, "the driver domain has not said yet what it can do")
    return bool(connection.knows & bit)


def require(is_known: bool, what: str, or_else: str = "") -> None:
    """Raises AdapterError with EOPNOTSUPP unless the backend knows what ``what`` needs.

    ``or_else``: what else the user can do, in words that go on a sentence.
    """
    if not is_known:
        raise AdapterError(EOPNOTSUPP, f"{what}: usbbtd in the driver domain is too old for that: update it{or_else}")


class RemoteObject:
    """A channel, listener, scan, advertisement, agent, pairing or echo in the backend, from its request to its RELEASE.

    ``number``: its id; 0 before the request. ``stream``: its data ring, if ``order`` asks for one; the pages are taken
    back when the backend has let go of them. ``page_ref``: the grant reference of a page with ``page``, if that is
    given; it is taken back when the request is answered. ``lasting``: False if it is over when it is answered, as an
    echo is. Raises AdapterGone if the connection has ended, AdapterError if there are no pages left.
    """

    def __init__(
        self, connection: Connection, order: int | None = None, *, page: bytes | None = None, lasting: bool = True
    ) -> None:
        self.connection = connection
        self._lasting = lasting
        self.number = 0
        self._stream: Stream | None = None
        self._page: SharedPages | None = None
        self._loop = asyncio.get_running_loop()
        self._response: Response | None = None
        self._releasing: asyncio.Future[None] | None = None
        if connection.closed:
            raise _gone("a new object")
        try:
            if order is not None:
                self._stream = Stream(connection, order)
            if page is not None:
                self._page = connection.lend(page)
        except XenError as exc:
            raise AdapterError(exc.errno or 0, str(exc.strerror)) from exc

    @property
    def stream(self) -> Stream:
        assert self._stream is not None, "asked for without a data ring"
        return self._stream

    @property
    def page_ref(self) -> int:
        assert self._page is not None, "asked for without a page"
        return self._page.refs[0]

    async def create(self, make: Make, kind: type[_Kind], what: str, *, le: bool = False) -> _Kind:
        """Sends the request, and returns the response. ``what`` names the request in errors.

        Raises as ``ask`` does, and ChannelClosed if the object was released before. If it raises, or is cancelled,
        nothing of the object stays.
        """
        answered: asyncio.Future[None] = self._loop.create_future()

        def receive_response(response: Response) -> None:
            self._response = response
            self._take_page_back()
            if not answered.done():
                answered.set_result(None)

        try:
            await self.connection.wait_released()
            _check_open(self.connection, what)
            if self._releasing is not None:
                raise ChannelClosed(ENOTCONN, "closed by this program")  # and its pages are gone
            self.number = self.connection.send(make, receive_response)
            await answered
            assert self._response is not None
            return _succeeded(self.connection, self._response, kind, what, le=le)
        except BaseException:
            self.release_nowait()
            raise

    async def release(self) -> None:
        """Ends the object and waits until the backend has let go of it. Idempotent."""
        self.release_nowait()
        if self._releasing is not None:
            await asyncio.shield(self._releasing)

    def release_nowait(self) -> None:
        """Ends the object; its pages come back when the backend has let go of them. Idempotent."""
        if self._releasing is not None:
            return
        stream = self._stream
        self._releasing = released = self._loop.create_future()

        def let_go() -> None:
            if stream is not None:
                stream.unshare()
            self._take_page_back()
            if not released.done():
                released.set_result(None)

        if stream is not None:
            stream.close()
        response = self._response
        if self.number == 0 or (response is not None and (response.ret != 0 or not self._lasting)):
            let_go()  # it was never asked for, was refused, or is over: the backend has nothing
        else:
            self.connection.release(self.number, let_go)

    def _take_page_back(self) -> None:
        if self._page is not None:
            self.connection.take_back(self._page)

    def __del__(self) -> None:
        # A program may leave `async for report in adapter.scan()` by break, or forget a channel: that must not hold a
        # channel, and pages, until the program ends.
        self.release_nowait()


def _succeeded(connection: Connection, response: Response, kind: type[_Kind], what: str, *, le: bool) -> _Kind:
    if response.ret == 0:
        assert isinstance(response, kind)
        return response
    if connection.closed and response.ret == -ENODEV:
        raise _gone(what)
    result = response.result if isinstance(response, ChannelResponse) else 0
    status = response.status if isinstance(response, ChannelResponse | EchoResponse | PairResponse) else 0
    why, needed = (response.why, response.needed) if isinstance(response, ChannelResponse | PairResponse) else (0, 0)
    raise refused(-response.ret, what, result, status, le=le, why=why, needed=needed)


def _check_open(connection: Connection, what: str) -> None:
    if connection.closed:
        raise _gone(what)
    if connection.full:
        raise LimitReached(EMFILE, f"{what}: too many requests wait for the driver domain")


def _gone(what: str) -> AdapterGone:
    return AdapterGone(ENODEV, f"{what}: the driver domain's service went away")
