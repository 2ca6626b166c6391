"""Keeps the adapter of a device connected to its backend, and knows what that says of itself."""

from __future__ import annotations

import asyncio
from errno import ENODEV, ETIMEDOUT
from functools import partial

from usbbtd.guest.arguments import check_seconds
from usbbtd.guest.connection import Connection, serve_l2capif
from usbbtd.guest.errors import AdapterGone, NoAdapter, NoController
from usbbtd.guest.info import AdapterInfo, adapter_info
from usbbtd.guest.remote import ask
from usbbtd.l2capif.nodes import FEATURE_INFO_WAIT, VL2CAP
from usbbtd.l2capif.wire import InfoResponse, Response
from usbbtd.nodes import BACKEND, BACKEND_ID
from usbbtd.xen.error import XenError
from usbbtd.xen.xen import Xen

_ASK_AGAIN_S = 0.2  # the pause between two INFOs to an old backend, which does not tell changes by itself


class ConnectedAdapter:
    """The adapter of a device as something that is there, or not: see Adapter, which is one.

    ``device``: the number N of ``device/vl2cap/N``. ``spin_ns``: as Connection has it.
    """

    def __init__(self, xen: Xen, device: int, *, spin_ns: int = 0) -> None:
        self.device = device
        self._spin_ns = spin_ns
        self._xen = xen
        self._connection: Connection | None = None
        self._info: AdapterInfo | None = None
        self._connected_now = asyncio.Event()  # set while a backend has answered, and after a failure
        self._gone = asyncio.Event()  # set while there is no connection
        self._gone.set()
        self._ready = asyncio.Event()  # set while its controller is up, too, and after a failure
        self._trouble = ""  # why the last connection ended
        self._failure: Exception | None = None  # why there will be no other connection

    @property
    def info(self) -> AdapterInfo:
        """Returns what the backend told last, which it does when something changes.

        Raises AdapterGone if it has told nothing yet.
        """
        if self._info is None:
            raise AdapterGone(ENODEV, "the adapter has not been ready yet")
        return self._info

    async def wait_ready(self, timeout: float | None = None) -> None:
        """Waits until the backend is connected and its controller works, so that ``connect`` can.

        Raises NoAdapter if the backend is not connected after ``timeout`` seconds, and NoController if only the
        controller is missing. None waits for ever.
        """
        await self._wait(self._ready, timeout)

    async def wait_connected(self, timeout: float | None = None) -> None:
        """Waits until the backend is connected, whether its controller works or not. Raises NoAdapter."""
        await self._wait(self._connected_now, timeout)

    async def wait_gone(self) -> None:
        """Waits until the connection that there is now has ended, with all that was open; not at all without one."""
        await self._gone.wait()

    async def _wait(self, event: asyncio.Event, timeout: float | None) -> None:
        check_seconds("timeout", timeout, zero=True)
        try:
            async with asyncio.timeout(timeout):
                await event.wait()
        except TimeoutError:
            if self._connected_now.is_set():
                raise NoController(ETIMEDOUT, "the driver domain has no Bluetooth controller now") from None
            raise NoAdapter(ETIMEDOUT, await self._what_is_missing()) from None
        if self._failure is not None:
            raise NoAdapter(ENODEV, f"the adapter failed: {self._failure}") from self._failure

    async def read_info(self) -> AdapterInfo:
        """Asks the backend for its facts now, and returns them. Raises AdapterGone, LimitReached."""
        connection = self._current()
        self._info = adapter_info(connection, await ask(connection, lambda core: core.info(), InfoResponse, "info"))
        return self._info

    async def serve(self) -> None:
        """Keeps the adapter connected until cancelled, or until event channels fail; is for ``open_adapter`` only."""
        task, no_events = asyncio.current_task(), self._xen.evtchn.failure
        assert task is not None
        no_events.add_done_callback(lambda _: task.cancel())
        try:
            await serve_l2capif(self._xen, self.device, self._receive_connection, self._lose_connection)
        except asyncio.CancelledError:
            if not no_events.done():
                raise
            self._fail(no_events.result())
        except Exception as exc:
            self._fail(exc)
            if not isinstance(exc, XenError):
                raise

    def _fail(self, failure: Exception) -> None:
        self._failure = failure
        self._connected_now.set()
        self._ready.set()

    def _receive_connection(self, connection: Connection) -> None:
        connection.spin_ns = self._spin_ns
        self._connection = connection
        self._gone.clear()
        self._ask_info(connection, None)

    def _ask_info(self, connection: Connection, seen: int | None) -> None:
        """Asks for the adapter's facts. With ``seen``, the backend answers when their generation is another one."""
        if connection.closed:
            return
        if connection.full:
            self._ask_later(connection)
        else:
            connection.send(lambda core: core.info(seen), partial(self._receive_info, connection))

    def _ask_later(self, connection: Connection) -> None:
        asyncio.get_running_loop().call_later(_ASK_AGAIN_S, self._ask_info, connection, None)

    def _receive_info(self, connection: Connection, response: Response) -> None:
        if connection is not self._connection or connection.closed:
            return
        if not isinstance(response, InfoResponse) or response.ret != 0:
            self._ask_later(connection)
            return
        connection.knows = response.features
        self._info = adapter_info(connection, response)
        self._connected_now.set()
        if response.powered:
            self._ready.set()
        else:
            self._ready.clear()
        if FEATURE_INFO_WAIT in connection.features:
            self._ask_info(connection, response.generation)
        else:
            self._ask_later(connection)

    def _lose_connection(self, reason: str) -> None:
        self._ready.clear()
        self._connected_now.clear()
        self._gone.set()
        self._connection = None
        self._trouble = reason

    def _current(self) -> Connection:
        if self._connection is None:
            raise AdapterGone(ENODEV, "not connected to the driver domain now")
        return self._connection

    async def _what_is_missing(self) -> str:
        path = VL2CAP.frontend_path(self.device)
        backend = await self._xen.store.read(f"{path}/{BACKEND}")
        if backend is None:
            return f"this guest has no {path}: attach one to it in dom0"
        domid = await self._xen.store.read(f"{path}/{BACKEND_ID}")
        trouble = f" (last: {self._trouble})" if self._trouble else ""
        return f"{path}: the backend in domain {domid} does not answer: is usbbtd running there?{trouble}"
