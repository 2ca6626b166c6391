"""Carries out what a client asks for over its line, by the adapter of the device that stands for it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from errno import EINVAL, ENODEV, EOPNOTSUPP
from typing import Any

from usbbtd.bluetooth import CID_ATT, format_address, parse_address
from usbbtd.guest import (
    Adapter,
    AdapterError,
    AdapterGone,
    Channel,
    ConnectTimeout,
    L2capRefused,
    Listener,
    NotSecure,
)
from usbbtd.guest.address import ADDRESS_TYPES, TRANSPORTS, address_type_name
from usbbtd.guest.arguments import number_of
from usbbtd.guest.security import LEVELS, missing_number
from usbbtd.l2capif.checks import DEFAULT_INTERVAL_MS, DEFAULT_TIMEOUT_MS
from usbbtd.l2capif.messages import pack_extended_report
from usbbtd.serial import events, wire
from usbbtd.serial.bridge import SerialBridge
from usbbtd.serial.objects import SerialObject
from usbbtd.serial.wire import SerialChannelFacts, SerialInfo

#: How long a release waits until the peer has what the client has sent; closing the channel takes up to a second of it.
_LINGER_S = 2.0

#: The names of the guest's API, by l2capif.h's numbers.
_TRANSPORTS = {number: name for name, number in TRANSPORTS.items()}
_LEVELS = {number: name for name, number in reversed(LEVELS.items())} | {0: "none"}
_FEATURES = {
    "bredr": wire.FEATURE_BREDR, "le": wire.FEATURE_LE, "scan": wire.FEATURE_SCAN,
    "advertise": wire.FEATURE_ADVERTISE, "agent": wire.FEATURE_AGENT, "echo": wire.FEATURE_ECHO,
}  # fmt: skip


class _Served:
    """What an object is served with, from its request on."""

    def __init__(self, made: SerialObject, work: Coroutine[Any, Any, None]) -> None:
        self.made = made
        self.listener: Listener | None = None
        self.sdus: deque[bytes] = deque()  # from the client
        self.changed = asyncio.Event()  # there are more of them, or the client has released it, or the peer has ended
        self.room = asyncio.Event()  # the client takes more
        self.is_channel = False  # it is one, and open
        self.released = False
        self.task = asyncio.create_task(work)


class SerialServer:
    """Serves one client after the other. ``adapter``: None until there is one.

    ``flush`` is called when there is something for the line; ``say`` gets what people should know.
    """

    def __init__(self, bridge: SerialBridge, flush: Callable[[], None], say: Callable[[str], None]) -> None:
        self.adapter: Adapter | None = None
        self._bridge = bridge
        self._flush = flush
        self._say = say
        self._tasks: set[asyncio.Task[None]] = set()

    def work(self) -> None:
        """Begins what the events of the core ask for. Is called after each that may have caused one."""
        for event in self._bridge.take_events():
            match event:
                case events.SessionBegan(session):
                    self._say(f"session {session} began")
                case events.SessionEnded(session, reason):
                    self._say(f"session {session} ended: {reason}")
                    for task in self._tasks:
                        task.cancel()
                case events.InfoAsked():
                    self._keep(asyncio.create_task(self._answer_info()))
                case events.SduReceived(made, sdu):
                    made.server.sdus.append(sdu)
                    made.server.changed.set()
                case events.CreditReceived(made):
                    made.server.room.set()
                case events.ObjectBroken(made):
                    made.server.task.cancel()
                case events.ReleaseAsked(made):
                    self._keep(asyncio.create_task(self._release(made.server)))
                case _:
                    made = event.object
                    made.server = _Served(made, self._serve(made, event))
                    self._keep(made.server.task)

    async def close(self) -> None:
        """Ends all that is served, and waits for that."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, made: SerialObject, asked: events.ObjectEvent) -> None:
        """Serves an object from its request to its end, and tells the client of that."""
        try:
            if self.adapter is None:
                raise AdapterGone(ENODEV, "the driver domain is not there yet")
            await self._carry_out(made, asked, self.adapter)
        except AdapterError as error:
            number = error.errno or EINVAL
            self._bridge.fail(made, number, _why(error))
            self._bridge.end(made, number)
        except (TypeError, ValueError):
            self._bridge.fail(made, EINVAL)
            self._bridge.end(made, EINVAL)
        finally:
            self._flush()

    async def _carry_out(self, made: SerialObject, asked: events.ObjectEvent, adapter: Adapter) -> None:
        match asked:
            case events.ConnectAsked():
                await self._converse(made, await _connect(adapter, asked))
            case events.AcceptAsked(_, listener):
                if listener.server.listener is None:
                    raise AdapterError(EINVAL, "there is no such listener")
                await self._converse(made, await listener.server.listener.accept())
            case events.ListenAsked():
                await self._listen(made, asked, adapter)
            case events.ScanAsked():
                await self._scan(made, asked, adapter)
            case events.AdvertiseAsked(_, interval_ms, data, scan_data, connectable):
                interval_ms = interval_ms or DEFAULT_INTERVAL_MS
                async with adapter.advertise(
                    data, scan_response=scan_data, interval_ms=interval_ms, connectable=connectable
                ):
                    await self._hold(made, adapter)
            case events.EchoAsked(_, address, address_type, data, timeout_ms):
                if address_type != ADDRESS_TYPES["bredr"]:
                    raise AdapterError(EOPNOTSUPP, "there is no echo on LE")
                answer = await adapter.echo(format_address(address), data, timeout=_timeout_s(timeout_ms))
                self._bridge.answer_echo(made, answer)

    async def _listen(self, made: SerialObject, asked: events.ListenAsked, adapter: Adapter) -> None:
        _, psm, mtu, backlog, transport, security = asked
        async with await adapter.listen(
            psm, transport=_TRANSPORTS[transport], security=_LEVELS[security], mtu=mtu, backlog=backlog
        ) as listener:
            made.server.listener = listener
            await self._hold(made, adapter)

    async def _hold(self, made: SerialObject, adapter: Adapter) -> None:
        """Holds what is open until the client releases it, which cancels this, or the adapter goes."""
        self._bridge.succeed(made)
        self._flush()
        await adapter.wait_gone()
        raise AdapterGone(ENODEV, "the driver domain's service went away")

    async def _scan(self, made: SerialObject, asked: events.ScanAsked, adapter: Adapter) -> None:
        """Passes reports on; what the client has given no credit for, or cannot take, is dropped."""
        ring = adapter.report_ring(_TRANSPORTS[asked.transport])
        try:
            await ring.start(active=asked.active, duplicates=asked.duplicates)
            self._bridge.succeed(made)
            self._flush()
            while True:
                for report in await ring.receive_many():
                    message = pack_extended_report(report)
                    if len(message) <= made.mtu:
                        self._bridge.send(made, message)
                self._flush()
        finally:
            await ring.close()

    async def _converse(self, made: SerialObject, channel: Channel) -> None:
        """Passes SDUs on in both directions until the channel ends, or the client has released it."""
        address, address_type = channel.peer
        level = number_of(LEVELS, channel.security, "security")
        facts = SerialChannelFacts(
            parse_address(address), ADDRESS_TYPES[address_type], level, channel.psm,
            min(channel.tx_mtu, self._bridge.limits.mtu), channel.rx_mtu,
        )  # fmt: skip
        made.server.is_channel = True
        async with channel:
            self._bridge.open_channel(made, facts)
            self._flush()
            to_client = asyncio.create_task(self._to_client(made, channel))
            try:
                await self._to_peer(made.server, channel, to_client)
            finally:
                to_client.cancel()
                with suppress(asyncio.CancelledError, AdapterError):
                    await to_client

    async def _to_peer(self, served: _Served, channel: Channel, to_client: asyncio.Task[None]) -> None:
        to_client.add_done_callback(lambda _: served.changed.set())
        while not to_client.done():
            while served.sdus:
                await channel.send(served.sdus.popleft())
                self._bridge.give_credit(served.made)
                self._flush()
            if served.released:
                return
            served.changed.clear()
            await served.changed.wait()
        to_client.result()  # raises what has ended the channel

    async def _to_client(self, made: SerialObject, channel: Channel) -> None:
        while True:
            sdu = await channel.recv()
            while made.room <= 0:
                made.server.room.clear()
                await made.server.room.wait()
            self._bridge.send(made, sdu)
            self._flush()

    async def _release(self, served: _Served) -> None:
        """Ends an object, after what the client has sent, and answers its RELEASE."""
        served.released = True
        served.changed.set()
        if served.is_channel:
            await asyncio.wait([served.task], timeout=_LINGER_S)
        served.task.cancel()
        await asyncio.gather(served.task, return_exceptions=True)
        self._bridge.forget(served.made)
        self._flush()

    async def _answer_info(self) -> None:
        info = None
        if self.adapter is not None:
            with suppress(AdapterError):
                info = await self.adapter.read_info()
        limits = self._bridge.limits
        if info is None:
            facts = SerialInfo(bytes(6), 0, 0, 0, limits.objects, 0, limits.mtu, bytes(6), 0)
        else:
            le_address = bytes(6) if info.le_address is None else parse_address(info.le_address)
            facts = SerialInfo(
                parse_address(info.address), ADDRESS_TYPES[info.address_type], int(info.powered),
                sum(_FEATURES[name] for name in info.features), min(info.max_channels, limits.objects),
                info.channels, min(info.max_mtu, limits.mtu), le_address,
                0 if info.le_address is None else ADDRESS_TYPES["random"],
            )  # fmt: skip
        self._bridge.answer_info(facts)
        self._flush()


async def _connect(adapter: Adapter, asked: events.ConnectAsked) -> Channel:
    _, address, address_type, security, psm, mtu, timeout_ms, fixed = asked
    name, level, timeout_s = address_type_name(address_type), _LEVELS[security], _timeout_s(timeout_ms)
    peer = format_address(address)
    if fixed and psm != CID_ATT:
        raise AdapterError(EOPNOTSUPP, "of fixed channels there is ATT's only")
    if fixed:
        return await adapter.open_att(peer, address_type=name, security=level, mtu=mtu, timeout=timeout_s)
    return await adapter.connect(peer, psm, address_type=name, security=level, mtu=mtu, timeout=timeout_s)


def _timeout_s(timeout_ms: int) -> float:
    return (timeout_ms or DEFAULT_TIMEOUT_MS) / 1000


def _why(error: AdapterError) -> SerialChannelFacts:
    """Returns what an error says besides its number."""
    match error:
        case L2capRefused():
            return SerialChannelFacts(result=error.result)
        case ConnectTimeout():
            return SerialChannelFacts(status=error.status)
        case NotSecure():
            needed = 0 if error.level == "none" else next(n for n, name in _LEVELS.items() if name == error.level)
            return SerialChannelFacts(why=missing_number(error.why), needed=needed)
        case _:
            return SerialChannelFacts()
