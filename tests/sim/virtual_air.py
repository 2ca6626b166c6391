"""Airs for tests: controllers of one make, Bumble's in this process or another program's, which all hear each other.

What has one is a dongle of ours (plugged.py), or a peer with Bumble's stack.
"""

import asyncio
import itertools
import subprocess
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from bumble.host import Host
from bumble.link import LocalLink
from bumble.transport.common import PacketParser

from tests.sim.controller import SimulatedController

#: Takes a packet of H4: Vol 4, Part A, 2.
Receive = Callable[[bytes], None]
#: Connects to a program that has a controller for each connection; as loop.create_connection.
Connect = Callable[[Callable[[], "H4Connection"]], Awaitable[tuple[Any, "H4Connection"]]]
_START_LIMIT_S = 20


class AirController(Protocol):
    """A controller on an air."""

    def send(self, packet: bytes) -> None:
        """Takes a packet of its host."""

    def close(self) -> None:
        """Takes it off the air. Idempotent."""


class VirtualAir(Protocol):
    """``name``: of the controllers' make."""

    name: str

    async def new_controller(self, receive: Receive) -> AirController:
        """Returns a controller whose packets for the host ``receive`` gets."""


async def new_host(air: VirtualAir) -> Any:
    """Returns Bumble's Host on a controller of its own."""
    host = Host()
    host.set_packet_sink(_Sink((await air.new_controller(host.on_packet)).send))
    return host


class BumbleAir:
    """An air in this process. Its controllers' addresses are C0:FF:EE:00:01:00 and the following.

    ``claimed``: the address of the next one instead.
    """

    name = "Bumble"

    def __init__(self) -> None:
        self.link = LocalLink()
        self.claimed: str | None = None
        self._addresses = (f"C0:FF:EE:00:01:{number:02X}" for number in itertools.count())

    async def new_controller(self, receive: Receive) -> SimulatedController:
        address = self.claimed or next(self._addresses)
        self.claimed = None
        return SimulatedController(self.link, address, address, receive)


class ServedAir:
    """An air in another program, which serves a controller to each client that speaks H4 over a stream."""

    def __init__(self, name: str, connect: Connect) -> None:
        self.name = name
        self._connect = connect
        self._connections: list[H4Connection] = []

    async def new_controller(self, receive: Receive) -> "H4Connection":
        _, connection = await self._connect(lambda: H4Connection(receive))
        self._connections.append(connection)
        return connection

    async def close(self) -> None:
        """Takes all controllers off the air."""
        for connection in self._connections:
            connection.close()
        for connection in self._connections:
            await connection.closed.wait()


class H4Connection(asyncio.Protocol):
    """To a controller in another program. ``closed``: by either side."""

    def __init__(self, receive: Receive) -> None:
        self.closed = asyncio.Event()
        self._receive = receive
        self._parser = PacketParser(self)

    def send(self, packet: bytes) -> None:
        self._transport.write(packet)

    def close(self) -> None:
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_packet(self, packet: bytes) -> None:
        """From the parser: the interface that Bumble calls a sink."""
        self._receive(packet)

    def connection_lost(self, error: Exception | None) -> None:
        self.closed.set()


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Waits for what a program does as it starts and nothing announces.

    Raises OSError if the program ends or takes too long, and sees to its end.
    """
    end = time.monotonic() + _START_LIMIT_S
    while not condition():
        if process.poll() is not None:
            raise ChildProcessError(f"{process.args!r} ended with {process.returncode}")
        if time.monotonic() > end:
            process.kill()
            process.wait()
            raise TimeoutError(f"{process.args!r} does not start")
        time.sleep(0.005)


class _Sink:
    """What a Host of Bumble's sends its packets to."""

    def __init__(self, send: Receive) -> None:
        self.on_packet = send
