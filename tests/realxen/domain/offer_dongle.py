"""In dom0: the dongle whose controller is at the other end of a virtio port, offered by usbbtd's own usbif backend.

offer_dongle.py FRONTEND DEVID PORT: domid and number of the virtual USB controller, /dev/vport…

The nodes are made here: xl would start QEMU's backend. Who takes the controller away removes them.

Lines of JSON: {"ready": true} at start; {"do": "plug"}, {"do": "unplug"} and {"do": "close"} to standard input. When it
has closed, or the toolstack has taken the controller away: {"closed": true, "mapped": regions still mapped}.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

import structlog

from tests.sim.dongle import ACL, ACL_IN, EVENT, EVENTS_IN, SimulatedDongle
from usbbtd.backends.usbif import UsbifController
from usbbtd.config import LogSettings
from usbbtd.log.setup import configure as configure_log
from usbbtd.xen.store import Store
from usbbtd.xen.transaction import Transaction
from usbbtd.xen.xen import Xen

PORTS = 4

#: By what a packet begins with: where its length is, and of how many octets (Vol 4, Part A, 2).
LENGTHS = {EVENT[0]: (2, 1), ACL[0]: (3, 2)}


class OrderlyDongle(SimulatedDongle):
    """A dongle that gives data to its host only when that has all events from before.

    A host reads them from two endpoints. Linux refuses channels over a link that is encrypted before it knows that.
    """

    def take_transfer(self, endpoint: int, room: int) -> tuple[int, bytes] | None:
        if endpoint == ACL_IN and self.queued(EVENTS_IN):
            return None
        taken = super().take_transfer(endpoint, room)
        if endpoint == EVENTS_IN and taken is not None and not self.queued(EVENTS_IN):
            self.wake()  # for the data that had to wait
        return taken


class Controller(asyncio.Protocol):
    """H4 on the port."""

    def __init__(self, dongle: SimulatedDongle) -> None:
        self._dongle = dongle
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while self._received:
            start, octets = LENGTHS[self._received[0]]
            header = start + octets
            size = header + int.from_bytes(self._received[start:header], "little")
            if len(self._received) < max(size, header):
                return
            packet, self._received = self._received[:size], self._received[size:]
            self._dongle.receive_packet(packet)


class Commands(asyncio.Protocol):
    """What comes from standard input."""

    def __init__(self, controller: UsbifController, dongle: SimulatedDongle) -> None:
        self._controller = controller
        self._dongle = dongle
        self.ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        for line in data.splitlines():
            match json.loads(line)["do"]:
                case "plug":
                    self._controller.plug(1, self._dongle)
                case "unplug":
                    self._controller.unplug(1)
                case "close":
                    self.ended.set()


async def open_port(path: str, dongle: SimulatedDongle) -> None:
    loop = asyncio.get_running_loop()
    port = os.open(path, os.O_RDWR | os.O_NOCTTY)
    await loop.connect_read_pipe(lambda: Controller(dongle), os.fdopen(port, "rb", 0))
    writer, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(os.dup(port), "wb", 0))
    dongle.send_packet = writer.write


async def make_nodes(store: Store, frontend: int, devid: int) -> None:
    """All at once, as libxl does."""
    front, back = f"/local/domain/{frontend}/device/vusb/{devid}", f"/local/domain/0/backend/qusb/{frontend}/{devid}"
    controller = {"online": 1, "usb-ver": 2, "num-ports": PORTS}
    ends = (
        (front, [f"n{frontend}", "r0"], {"backend": back, "backend-id": 0, "state": 1}),
        (back, ["n0", f"r{frontend}"], {"frontend": front, "frontend-id": frontend, "state": 1, **controller}),
    )

    def write(transaction: Transaction) -> None:
        for directory, permissions, nodes in ends:
            transaction.write(directory, "")
            transaction.set_permissions(directory, permissions)
            for name, value in nodes.items():
                transaction.write(f"{directory}/{name}", str(value))
                transaction.set_permissions(f"{directory}/{name}", permissions)

    await store.transaction(write)


async def main(frontend: int, devid: int, path: str) -> None:
    configure_log(LogSettings(target="stderr", level="debug"))
    dongle = OrderlyDongle()
    await open_port(path, dongle)
    async with Xen.open() as xen:
        await make_nodes(xen.store, frontend, devid)
        controller = UsbifController(xen, frontend, devid, structlog.get_logger())
        commands = Commands(controller, dongle)
        await asyncio.get_running_loop().connect_read_pipe(lambda: commands, sys.stdin)
        tell(ready=True)
        running, ended = asyncio.create_task(controller.run()), asyncio.create_task(commands.ended.wait())
        await asyncio.wait([running, ended], return_when=asyncio.FIRST_COMPLETED)
        running.cancel()
        await asyncio.wait([running])
        tell(closed=True, mapped=mapped())


def mapped() -> int:
    """Regions of other domains' memory in ours."""
    return Path("/proc/self/maps").read_text().count("/dev/xen/gntdev")


def tell(**report: object) -> None:
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
