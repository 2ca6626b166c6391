"""Bumble's L2CAP on the other side, carried in process: an independent stack agrees with ours on every octet."""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable
from typing import Any

import pytest
from bumble import hci
from bumble import l2cap as bumble

from usbbtd.bluetooth import BREDR, CENTRAL, LE, PERIPHERAL
from usbbtd.l2cap.events import (
    ChannelEnded,
    ChannelOpened,
    ChannelRefused,
    ChannelRequested,
    EchoReceived,
    ParametersAnswered,
    ParametersRequested,
)
from usbbtd.l2cap.limits import L2capLimits
from usbbtd.l2cap.mux import Mux

HANDLE = 0x0E00
SIZES = (0, 1, 2, 20, 21, 22, 62, 63, 64, 126, 127, 1000, 1022, 1023, 1691, 2047, 2048)


class Remote:
    """Bumble's channel manager as the peer of a Mux: it is its host and its connection at once."""

    handle = HANDLE
    peer_address = "00:00:00:00:00:01"

    def __init__(self, transport: int, role: int = CENTRAL) -> None:
        self.mux = Mux(limits=L2capLimits(mps=64, queue_bytes=1 << 20))
        self.mux.add_link(HANDLE, transport, role, 0.0)
        self.role = hci.Role.PERIPHERAL if role == CENTRAL else hci.Role.CENTRAL
        self.manager = bumble.ChannelManager()
        self.manager.host = self
        self.commands: list[Any] = []
        self.sent: deque[bytes] = deque()
        self.received: list[bytes] = []  # what Bumble got
        self.events: list[Any] = []

    # -- what Bumble wants of its host and its connection

    def on(self, *_: object) -> None:
        pass

    def send_acl_sdu(self, _handle: int, pdu: bytes) -> None:
        self.sent.append(pdu)

    def send_l2cap_pdu(self, _handle: int, cid: int, payload: bytes) -> None:
        self.sent.append(len(payload).to_bytes(2, "little") + cid.to_bytes(2, "little") + payload)

    async def send_async_command(self, command: Any) -> None:
        self.commands.append(command)

    async def cancel_on_disconnection(self, result: Awaitable[Any]) -> Any:
        return await result

    # -- the air

    async def settle(self) -> None:
        """Until nobody has anything to say."""
        for _ in range(3):  # Bumble's coroutines wake one after the other
            await asyncio.sleep(0)
            while self.sent or self.mux.has_pdus():
                while self.sent:
                    self.mux.receive_pdus(HANDLE, [self.sent.popleft()], 0.0)
                for pdu in self.mux.take_pdus(HANDLE, 5):
                    frame = bumble.L2CAP_PDU.from_bytes(pdu)
                    self.manager.on_pdu(self, frame.cid, frame.payload)
                await asyncio.sleep(0)
        self.events += self.mux.take_events()

    async def finish(self, work: Awaitable[Any]) -> Any:
        task = asyncio.ensure_future(work)
        while not task.done():
            await self.settle()
            if self.events and isinstance(self.events[-1], ChannelRequested):
                self.mux.accept(HANDLE, self.events.pop().cid, 2048, 0.0)
        await self.settle()
        return task.result()

    def serve(self, transport: int, psm: int) -> list[Any]:
        """Bumble listens; its channels."""
        channels: list[Any] = []

        def take(channel: Any) -> None:
            channel.sink = self.received.append
            channels.append(channel)

        if transport == BREDR:
            self.manager.create_classic_server(bumble.ClassicChannelSpec(psm=psm, mtu=2048), take)
        else:
            spec = bumble.LeCreditBasedChannelSpec(psm=psm, mtu=2048, mps=64, max_credits=5)
            self.manager.create_le_credit_based_server(spec, take)
        return channels

    async def connect(self, transport: int, psm: int) -> Any:
        """Bumble connects; its channel."""
        if transport == BREDR:
            spec = bumble.ClassicChannelSpec(psm=psm, mtu=2048)
            channel = await self.finish(asyncio.ensure_future(self.connected(spec)))
        else:
            le_spec = bumble.LeCreditBasedChannelSpec(psm=psm, mtu=2048, mps=64, max_credits=5)
            channel = await self.finish(self.manager.create_le_credit_based_channel(self, le_spec))
        channel.sink = self.received.append
        return channel

    async def connected(self, spec: Any) -> Any:
        return await self.manager.create_classic_channel(self, spec)


PSM = {BREDR: 0x1001, LE: 0x0080}


async def exchange(remote: Remote, cid: int, channel: Any, empty_from_bumble: bool) -> None:
    sizes = [*SIZES, *random.Random(2).sample(range(2049), 30)]
    sdus = [random.Random(size).randbytes(size) for size in sizes]
    for sdu in sdus:
        remote.mux.send_sdu(HANDLE, cid, sdu)
    await remote.settle()
    assert remote.received == sdus
    for sdu in sdus:
        if sdu or empty_from_bumble:
            channel.write(sdu)
            await remote.settle()
            assert remote.mux.take_sdus() == [(HANDLE, cid, sdu)]
            remote.mux.release_sdus(HANDLE, cid, 1)
            await remote.settle()
    assert remote.mux.statistics()["channels_failed"] == 0


@pytest.mark.parametrize("transport", [BREDR, LE])
async def test_we_connect(transport: int) -> None:
    remote = Remote(transport)
    channels = remote.serve(transport, PSM[transport])
    for number in range(3):  # its peer's end may not come again at once: Bumble keeps LE ends for ever
        cid = remote.mux.connect(HANDLE, PSM[transport], 2048, 0.0)
        await remote.settle()
        assert remote.events == [ChannelOpened(HANDLE, cid, PSM[transport], 2048, 2048)]
        remote.received.clear()
        # Bumble sends no empty SDU on LE
        await exchange(remote, cid, channels[number], empty_from_bumble=transport == BREDR)
        remote.mux.disconnect(HANDLE, cid, 0.0)
        await remote.settle()
        assert remote.events[1:] == [ChannelEnded(HANDLE, cid, "disconnected")]
        remote.events.clear()


@pytest.mark.parametrize("transport", [BREDR, LE])
async def test_bumble_connects(transport: int) -> None:
    remote = Remote(transport)
    remote.mux.listen(transport, PSM[transport])
    channel = await remote.connect(transport, PSM[transport])
    (opened,) = remote.events
    assert opened == ChannelOpened(HANDLE, opened.cid, PSM[transport], 2048, 2048)
    await exchange(remote, opened.cid, channel, empty_from_bumble=transport == BREDR)
    await remote.finish(channel.disconnect())
    assert remote.events[1:] == [ChannelEnded(HANDLE, opened.cid, "the peer disconnected")]


@pytest.mark.parametrize("transport", [BREDR, LE])
async def test_nobody_listens(transport: int) -> None:
    remote = Remote(transport)
    cid = remote.mux.connect(HANDLE, PSM[transport], 2048, 0.0)
    await remote.settle()
    assert remote.events == [ChannelRefused(HANDLE, cid, 2)]
    with pytest.raises(bumble.L2capError):
        await remote.connect(transport, PSM[transport])


async def test_echo_and_information() -> None:
    remote = Remote(BREDR)
    number = remote.mux.echo(HANDLE, b"ping", 0.0)
    await remote.settle()
    assert remote.events == [EchoReceived(HANDLE, number, b"ping")]
    answers: list[Any] = []
    remote.manager.on_control_frame = lambda _connection, _cid, frame: answers.append(frame)
    kinds = bumble.L2CAP_Information_Request.InfoType
    for identifier, kind in enumerate((kinds.EXTENDED_FEATURES_SUPPORTED, kinds.FIXED_CHANNELS_SUPPORTED), 1):
        request = bumble.L2CAP_Information_Request(identifier=identifier, info_type=kind)
        remote.manager.send_control_frame(remote, 1, request)
    await remote.settle()
    assert [(answer.info_type, answer.result, answer.data) for answer in answers] == [
        (kinds.EXTENDED_FEATURES_SUPPORTED, 0, bytes((0x80, 0, 0, 0))),
        (kinds.FIXED_CHANNELS_SUPPORTED, 0, bytes((0x02, 0, 0, 0, 0, 0, 0, 0))),
    ]


async def test_connection_parameters() -> None:
    remote = Remote(LE, CENTRAL)
    task = asyncio.ensure_future(remote.manager.update_connection_parameters(remote, 24, 40, 0, 500))
    await remote.settle()
    assert remote.events == [ParametersRequested(HANDLE, 24, 40, 0, 500)]
    remote.mux.answer_parameters(HANDLE, True)
    await remote.settle()
    assert task.result() == 0

    remote = Remote(LE, PERIPHERAL)
    remote.mux.request_parameters(HANDLE, 24, 40, 0, 500, 0.0)
    await remote.settle()
    assert remote.events == [ParametersAnswered(HANDLE, True)]
    assert [command.connection_interval_max for command in remote.commands] == [40]
