"""The air beside the emulated machine: ``python -m tests.realxen.air DONGLE_SOCKET [--peer ADDRESS,SOCKET]...``.

A virtual dongle waits for QEMU by usb-redir. On the same air is a device that echoes whatever it gets, for
``usbbt-guest ping``, and remote peers get controllers by H4. Prints a line when all is there; ends with SIGTERM.
"""

import argparse
import asyncio
import functools
import sys
from pathlib import Path
from typing import Any

from bumble import hci
from bumble.controller import Controller
from bumble.device import Device, DeviceConfiguration
from bumble.host import Host
from bumble.link import LocalLink
from bumble.transport.common import AsyncPipeSink

from tests.demo import plan
from tests.demo.peers import ADVERTISING_INTERVAL_MS, spec_of
from tests.realxen.usbredir import UsbRedirHost
from tests.sim.air import ServedController
from tests.sim.controller import new_controller, new_dongle
from usbbtd.errors import RemoteProtocolError
from usbbtd.usb.device import UsbDevice

#: Of the controller that is served to dom0, for the dongle that domain/offer_dongle.py offers.
OTHER_DONGLE_ADDRESS = "C0:FF:EE:00:00:02"
#: Echoes whatever it gets.
MIRROR = plan.PlannedPeer("mirror", "C0:FF:EE:00:00:13", "F0:F1:F2:00:00:13")


class RedirectedDevice(asyncio.Protocol):
    """A device for one QEMU at a time."""

    def __init__(self, device: UsbDevice) -> None:
        self._device = device
        self._loop = asyncio.get_running_loop()
        self._scheduled = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        self._host = UsbRedirHost(self._device)
        self._device.wake = self._wake
        self._wake()

    def data_received(self, data: bytes) -> None:
        try:
            self._host.receive(data)
        except RemoteProtocolError as error:
            sys.stderr.write(f"QEMU's usb-redir: {error}\n")
            self._transport.close()
        else:
            self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        self._device.unplugged()

    def _wake(self) -> None:
        """Sends once for all that this turn of the loop brings."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        if not self._transport.is_closing() and (data := self._host.take_data()):
            self._transport.write(data)


async def start_mirror(link: LocalLink) -> None:
    """Echoes on any channel to the PSM and SPSM of plan.ECHO."""
    device = await power_on(new_controller(link, MIRROR.name, MIRROR.address), MIRROR)

    def accept(channel: Any) -> None:
        channel.sink = channel.write

    for transport in plan.TRANSPORTS:
        device.create_l2cap_server(spec_of(transport, plan.ECHO_PSM[transport]), accept)
    await device.set_connectable(True)
    await device.start_advertising(auto_restart=True)


async def power_on(controller: Controller, peer: plan.PlannedPeer) -> Device:
    configuration = DeviceConfiguration(
        name=peer.name, address=hci.Address(peer.le_address), classic_enabled=True, classic_sc_enabled=False,
        advertising_interval_min=ADVERTISING_INTERVAL_MS, advertising_interval_max=ADVERTISING_INTERVAL_MS,
    )  # fmt: skip
    device = Device(config=configuration, host=Host(controller, AsyncPipeSink(controller)))
    await device.power_on()
    return device


async def serve(dongle_socket: Path, peers: list[tuple[str, Path]]) -> None:
    """Until it is cancelled."""
    link = LocalLink()
    dongle = new_dongle(link, plan.DONGLE_ADDRESS)
    await start_mirror(link)
    loop = asyncio.get_running_loop()
    await loop.create_unix_server(functools.partial(RedirectedDevice, dongle), dongle_socket)
    for address, path in peers:
        await loop.create_unix_server(functools.partial(ServedController, link, address), path)
    sys.stdout.write("offered\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.realxen.air", description=__doc__)
    parser.add_argument("dongle_socket", type=Path)
    parser.add_argument("--peer", action="append", default=[], metavar="ADDRESS,SOCKET")
    arguments = parser.parse_args()
    peers = [peer.split(",", 1) for peer in arguments.peer]
    asyncio.run(serve(arguments.dongle_socket, [(address, Path(path)) for address, path in peers]))


if __name__ == "__main__":
    main()
