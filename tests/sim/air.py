"""The virtual air, and dom0 with a dongle in it: ``python -m tests.sim.air``, a process of the USB backend's domain.

It offers a dongle to a frontend domain by usbif, and other controllers on the same air to remote peers, each by H4 on a
unix socket. Prints a line when all is offered; ends with SIGTERM.
"""

import argparse
import asyncio
import functools
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import structlog
from bumble.link import LocalLink
from bumble.transport.common import PacketParser

from tests.sim.controller import SENT_TO_LINUX, SimulatedController, new_dongle
from tests.sim.paced import new_paced_dongle
from tests.sim.precise import new_precise_loop
from usbbtd.backends.usbif import offer_usbif
from usbbtd.config import LogSettings
from usbbtd.log.setup import configure as configure_log
from usbbtd.xen.xen import Xen


class ServedController(asyncio.Protocol):
    """A controller for one client, which speaks H4 (Vol 4, Part A) over a stream. It leaves the air with the client."""

    def __init__(self, link: LocalLink, address: str) -> None:
        self._link = link
        self._address = address
        self._parser = PacketParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._controller = SimulatedController(
            self._link, self._address, self._address, transport.write, always_sent=SENT_TO_LINUX
        )

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_packet(self, packet: bytes) -> None:
        """From the parser: the interface that Bumble calls a sink."""
        self._controller.send(packet)

    def connection_lost(self, error: Exception | None) -> None:
        self._controller.close()


async def serve(frontend: int, devid: int, address: str, peers: list[tuple[str, Path]], *, paced: bool = False) -> None:
    """Until SIGTERM. ``paced``: whether the dongle's radio takes the time that a real one does."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    logger = structlog.get_logger()
    async with AsyncExitStack() as stack:
        xen = await stack.enter_async_context(Xen.open())
        link = LocalLink()
        dongle = (new_paced_dongle if paced else new_dongle)(link, address)
        for peer_address, path in peers:
            protocol = functools.partial(ServedController, link, peer_address)
            server = await asyncio.get_running_loop().create_unix_server(protocol, path)
            stack.callback(server.close)
        offering = asyncio.create_task(offer_usbif(xen, frontend, devid, dongle, logger))
        stopped = asyncio.create_task(stopping.wait())
        sys.stdout.write("offered\n")
        sys.stdout.flush()
        await asyncio.wait([stopped, offering], return_when=asyncio.FIRST_COMPLETED)
        if offering.done():
            offering.result()
        offering.cancel()
        await asyncio.wait([offering])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.air", description=__doc__)
    parser.add_argument("--frontend", type=int, required=True, help="domid of the domain that gets the dongle")
    parser.add_argument("--devid", type=int, default=0, help="of its virtual USB controller")
    parser.add_argument("--address", required=True, help="the dongle's Bluetooth address")
    parser.add_argument("--peer", nargs=2, action="append", default=[], metavar=("ADDRESS", "SOCKET"))
    parser.add_argument("--paced", action="store_true", help="has its radio take the time that a real one does")
    arguments = parser.parse_args()
    configure_log(LogSettings(target="stderr"))
    peers = [(address, Path(path)) for address, path in arguments.peer]
    serving = serve(arguments.frontend, arguments.devid, arguments.address, peers, paced=arguments.paced)
    with asyncio.Runner(loop_factory=new_precise_loop if arguments.paced else None) as runner:
        runner.run(serving)


if __name__ == "__main__":
    main()
