"""Gives a program in a guest the Bluetooth adapter that a driver domain shares with this guest."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from errno import EBUSY, ECONNREFUSED, ENODEV, EOPNOTSUPP, ETIMEDOUT
from functools import partial
from typing import Any, NamedTuple

from usbbtd.abi.layout import constants
from usbbtd.bluetooth import MINIMUM_MTU, check_psm, format_address, parse_address
from usbbtd.guest.address import ADDRESS_TYPES, TRANSPORTS, AddressType, Transport, address_type_name
from usbbtd.guest.arguments import check_bytes, check_flag, check_integer, check_seconds, check_spin
from usbbtd.guest.channel import Channel, Listener, open_channel, ring_order
from usbbtd.guest.connection import Connection, serve_l2capif
from usbbtd.guest.errors import AdapterError, AdapterGone, L2capRefused, NoAdapter, NoController
from usbbtd.guest.remote import RemoteObject, ask
from usbbtd.guest.scan import Scan
from usbbtd.l2capif.checks import INTERVALS_MS, LONGEST_TIMEOUT_MS
from usbbtd.l2capif.nodes import VL2CAP
from usbbtd.l2capif.wire import EchoResponse, InfoResponse, PlainResponse, Response
from usbbtd.nodes import BACKEND, BACKEND_ID
from usbbtd.xen.error import XenError
from usbbtd.xen.xen import Xen

DEFAULT_MTU = 2048
#: The most data that ``Adapter.echo`` sends, in bytes.
MAX_ECHO: int = constants.L2CAPIF_ECHO_DATA_SIZE
_ASK_AGAIN_S = 0.2  # the pause between two INFOs to an old backend, which does not tell changes by itself
_U16_MAX = 0xFFFF
_U32_MAX = 0xFFFF_FFFF
_FEATURES = {
    "bredr": constants.L2CAPIF_FEATURE_BREDR,
    "le": constants.L2CAPIF_FEATURE_LE,
    "scan": constants.L2CAPIF_FEATURE_SCAN,
    "advertise": constants.L2CAPIF_FEATURE_ADVERTISE,
    "agent": constants.L2CAPIF_FEATURE_AGENT,
}


class AdapterInfo(NamedTuple):
    """Describes what the adapter is and can do.

    ``address``: that of BR/EDR. ``le_address``: the random one that LE peers see; None without LE or with an old
    backend. ``powered``: whether its controller works now. ``features``: some of "bredr", "le", "scan", "advertise",
    "agent" and "echo". ``max_channels``: this guest's limit; ``channels``: how many it has now. ``max_mtu``: in bytes.
    """

    address: str
    address_type: AddressType
    powered: bool
    features: tuple[str, ...]
    max_channels: int
    channels: int
    max_mtu: int
    le_address: str | None = None


class Adapter:
    """The adapter of a device; ``open_adapter`` makes it. It connects again when the driver domain's service restarts.

    All that was open has failed then: channels with ChannelLost; listeners, scans and pending calls with AdapterGone.
    The program has to open it again, after ``await adapter.wait_ready()``.
    """

    def __init__(self, xen: Xen, device: int, *, spin_ns: int = 0) -> None:
        """Is for ``open_adapter`` only. ``device``: the number N of ``device/vl2cap/N``."""
        self.device = device
        self._spin_ns = spin_ns
        self._xen = xen
        self._connection: Connection | None = None
        self._info: AdapterInfo | None = None
        self._connected_now = asyncio.Event()  # set while a backend has answered, and after a failure
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
        connection = self._connected()
        self._info = _info(connection, await ask(connection, lambda core: core.info(), InfoResponse, "info"))
        return self._info

    async def connect(
        self,
        address: str,
        psm: int,
        *,
        address_type: AddressType = "bredr",
        mtu: int = DEFAULT_MTU,
        timeout: float | None = 10.0,
    ) -> Channel:
        """Opens a channel to a PSM (BR/EDR) or SPSM (LE) of a peer. ``mtu``: the longest SDU to receive, in bytes.

        Raises L2capRefused, ConnectTimeout (after ``timeout`` seconds; 60 at most, and with None), PermissionDenied,
        LimitReached, NoController, AdapterGone; ValueError or TypeError if an argument is not legal.
        """
        peer, kind = parse_address(address), _number(ADDRESS_TYPES, address_type, "address_type")
        le = kind != ADDRESS_TYPES["bredr"]
        _check(TRANSPORTS["le" if le else "bredr"], psm, mtu)
        timeout_s = _timeout_s(timeout)
        return await open_channel(
            self._connected(),
            mtu,
            lambda core, ref, port: core.connect(peer, kind, psm, mtu=mtu, ref=ref, evtchn=port, timeout_s=timeout_s),
            f"connect to {address}, PSM 0x{psm:04x}",
            le=le,
        )

    async def echo(self, address: str, data: bytes = b"", *, timeout: float | None = 10.0) -> bytes:
        """Asks a BR/EDR device for its L2CAP echo, which every one has, and returns the data that it answers with.

        ``data``: up to MAX_ECHO bytes. A device may answer with others, or none: that it answers says that it is there.
        Of a longer answer only the first MAX_ECHO bytes are returned. Raises L2capRefused if the device rejects the
        request, ConnectTimeout as ``connect`` does, PermissionDenied, LimitReached, NoController, AdapterGone;
        AdapterError with EOPNOTSUPP if usbbtd in the driver domain is too old; ValueError or TypeError if an argument
        is not legal.
        """
        peer, what, timeout_s = parse_address(address), f"echo of {address}", _timeout_s(timeout)
        if len(data := check_bytes("data", data)) > MAX_ECHO:
            raise ValueError(f"an echo of {len(data)} bytes; {MAX_ECHO} fit")
        connection = self._connected()
        if not connection.has_echo:
            raise AdapterError(
                EOPNOTSUPP,
                f"{what}: usbbtd in the driver domain is too old for that: update it, or use a PSM that echoes",
            )
        try:
            answer = await RemoteObject(connection, lasting=False).create(
                lambda core: core.echo(peer, data, timeout_s=timeout_s), EchoResponse, what
            )
        except L2capRefused:
            raise L2capRefused(ECONNREFUSED, f"{what}: the peer rejects it", 0, "command not understood") from None
        return answer.data[: answer.length]

    async def listen(
        self, psm: int, *, transport: Transport = "bredr", mtu: int = DEFAULT_MTU, backlog: int = 4
    ) -> Listener:
        """Listens on a PSM (SPSM on LE) for this guest. ``backlog``: how many peers may wait for an ``accept``.

        ``mtu``: the longest SDU to receive, in bytes. LE peers only come while the adapter advertises: see
        ``advertise``. Raises PermissionDenied, LimitReached, AdapterGone; AdapterError with EADDRINUSE if another
        listener has the PSM; ValueError or TypeError if an argument is not legal.
        """
        number = _number(TRANSPORTS, transport, "transport")
        _check(number, psm, mtu)
        check_integer("backlog", backlog, 0, _U16_MAX)
        connection = self._connected()
        ring_order(mtu, connection.max_page_order)  # what no ring holds cannot be accepted
        remote = RemoteObject(connection)
        await remote.create(
            lambda core: core.listen(number, psm, mtu=mtu, backlog=backlog), PlainResponse, f"listen on PSM 0x{psm:04x}"
        )
        return Listener(remote, psm, mtu, le=transport == "le")

    def scan(self, *, active: bool = True, duplicates: bool = False) -> Scan:
        """Returns a scan, which gives LE advertising reports: ``async for report in adapter.scan(): ...``

        ``active``: whether to ask advertisers for their scan responses. ``duplicates``: whether to report every
        advertisement, instead of every advertiser. Raises AdapterGone.
        """
        check_flag("active", active)
        check_flag("duplicates", duplicates)
        return Scan(self._connected(), active=active, duplicates=duplicates)

    @asynccontextmanager
    async def advertise(
        self, data: bytes = b"", *, interval_ms: int = 100, connectable: bool = True
    ) -> AsyncIterator[None]:
        """Advertises on LE while the block runs, with ``data``: up to 31 bytes of AD structures.

        ``interval_ms``: 20 to 10240. The advertising ends, too, when the adapter goes away, and does not start again by
        itself. Other guests may advertise meanwhile, in turns if the controller can do no better. Raises
        PermissionDenied, LimitReached, AdapterGone; AdapterError with EOPNOTSUPP if the adapter cannot advertise;
        ValueError or TypeError if an argument is not legal.
        """
        data = check_bytes("data", data)
        check_integer("interval_ms", interval_ms)
        check_flag("connectable", connectable)
        if len(data) > constants.L2CAPIF_ADVERTISE_DATA_SIZE:
            raise ValueError(f"{len(data)} bytes of advertising data; {constants.L2CAPIF_ADVERTISE_DATA_SIZE} fit")
        if interval_ms not in INTERVALS_MS:
            raise ValueError(f"an advertising interval of {interval_ms} ms: it is 20 to 10240")
        remote = RemoteObject(self._connected())
        await remote.create(
            lambda core: core.advertise(data, interval_ms=interval_ms, connectable=connectable),
            PlainResponse,
            "advertise",
        )
        try:
            yield
        finally:
            await remote.release()

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
        self._info = _info(connection, response)
        self._connected_now.set()
        if response.powered:
            self._ready.set()
        else:
            self._ready.clear()
        if connection.tells_changes:
            self._ask_info(connection, response.generation)
        else:
            self._ask_later(connection)

    def _lose_connection(self, reason: str) -> None:
        self._ready.clear()
        self._connected_now.clear()
        self._connection = None
        self._trouble = reason

    def _connected(self) -> Connection:
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


@asynccontextmanager
async def open_adapter(
    device: int = 0, *, timeout: float | None = 10.0, powered: bool = True, spin: float = 0.0
) -> AsyncIterator[Adapter]:
    """Opens the adapter of ``device/vl2cap/<device>``: ``async with open_adapter() as adapter: ...``

    Waits until the backend is connected and, unless ``powered`` is False, until its controller works. Raises NoAdapter
    if there is no Xen here, if another program of this guest has the device open, or if the backend is not connected
    after ``timeout`` seconds (None waits for ever); NoController if only the controller is missing then.

    ``spin``: for how many seconds, LONGEST_SPIN_S at most, a call that waits on a channel or a scan looks for data or
    room itself, before it leaves that to the event loop and sleeps. Nothing else runs in the event loop meanwhile.
    """
    check_integer("device", device, 0, _U32_MAX)
    check_seconds("timeout", timeout, zero=True)
    check_flag("powered", powered)
    check_spin(spin)
    async with AsyncExitStack() as undo:
        undo.enter_context(_claim(device))
        try:
            xen = await undo.enter_async_context(Xen.open())
        except XenError as exc:
            raise NoAdapter(exc.errno or 0, str(exc.strerror)) from exc
        adapter = Adapter(xen, device, spin_ns=int(spin * 1e9))
        undo.push_async_callback(_stop, asyncio.create_task(adapter.serve()))
        await (adapter.wait_ready(timeout) if powered else adapter.wait_connected(timeout))
        yield adapter


def _claim(device: int) -> socket.socket:
    """Claims the device for this process until the socket is closed, also by the end of the process.

    Without a claim two programs would take the device from each other without end. Raises NoAdapter if it is claimed.
    """
    store = hashlib.sha256(os.environ.get("XENSTORED_PATH", "").encode()).hexdigest()[:16]
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0usbbtd/{store}/vl2cap/{device}")
    except OSError:
        claim.close()
        raise NoAdapter(EBUSY, f"{VL2CAP.frontend_path(device)} is in use by another program of this guest") from None
    return claim


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _info(connection: Connection, response: InfoResponse) -> AdapterInfo:
    features = [name for name, bit in _FEATURES.items() if response.features & bit]
    return AdapterInfo(
        format_address(response.address),
        address_type_name(response.address_type),
        bool(response.powered),
        (*features, "echo") if connection.has_echo and "bredr" in features else tuple(features),
        response.max_channels,
        response.channels,
        response.max_mtu,
        format_address(response.le_address) if response.le_address_type else None,
    )


def _check(transport: int, psm: int, mtu: int) -> None:
    check_integer("psm", psm)
    check_psm(transport, psm)
    check_integer("mtu", mtu)
    if not MINIMUM_MTU[transport] <= mtu <= _U16_MAX:
        raise ValueError(f"an MTU of {mtu}: it is {MINIMUM_MTU[transport]} to 65535 bytes")


def _timeout_s(timeout: float | None) -> float:
    """Returns a request's timeout: a millisecond at least, as 0 is the backend's default; the longest for None.

    Raises TypeError or ValueError if ``timeout`` is not legal.
    """
    check_seconds("timeout", timeout)
    longest_s = LONGEST_TIMEOUT_MS / 1000
    return longest_s if timeout is None else min(max(timeout, 0.001), longest_s)


def _number(numbers: Mapping[Any, int], name: str, what: str) -> int:
    if not isinstance(name, str) or name not in numbers:
        raise ValueError(f"{what} {name!r} is none of {', '.join(numbers)}")
    return numbers[name]
