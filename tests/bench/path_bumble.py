"""The ends of the whole path that are Bumble's: ``python -m tests.bench.path_bumble ROLE SOCKET ...``.

``peers SOCKET ...``: peers, the first for the guest and the second for whom it is compared with. That is
``direct SOCKET``: it obeys like the guest, but has a controller of its own, without Xen and without us.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from bumble import hci
from bumble.core import PhysicalTransport
from bumble.device import Device

from tests.bench.path_end import DIRECT, PEERS, obey, serve
from tests.demo import lines, plan
from tests.demo.peers import PeerChannel, open_channel, power_on, spec_of
from tests.demo.traffic import AnyChannel
from usbbtd.config import LogSettings
from usbbtd.log.setup import configure as configure_log


async def direct(socket: str) -> None:
    device = await power_on(socket, DIRECT)

    async def connect(transport: plan.Transport) -> AnyChannel:
        address = PEERS[1].address_on(transport)
        if transport == "bredr":
            kind, way = hci.Address.PUBLIC_DEVICE_ADDRESS, PhysicalTransport.BR_EDR
        else:
            kind, way = hci.Address.RANDOM_DEVICE_ADDRESS, PhysicalTransport.LE
        connection = await device.connect(hci.Address(address, kind), way)
        return await open_channel(connection, transport, plan.ECHO_PSM[transport])

    await obey(connect)


async def peers(*sockets: str) -> None:
    serving: set[asyncio.Task[None]] = set()

    def accept(channel: object) -> None:
        task = asyncio.create_task(serve(PeerChannel(channel)))
        serving.add(task)
        task.add_done_callback(serving.discard)

    devices: list[Device] = []
    for peer, socket in zip(PEERS, sockets, strict=False):
        device = await power_on(socket, peer)
        devices.append(device)
        for transport in plan.TRANSPORTS:
            device.create_l2cap_server(spec_of(transport, plan.ECHO_PSM[transport]), accept)
        await device.set_connectable(True)
        await device.start_advertising(auto_restart=True)
    reader = await lines.commands()
    lines.report(up=True)
    await reader.read()


if __name__ == "__main__":
    configure_log(LogSettings(level="warning", target="stderr"))
    roles: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {"direct": direct, "peers": peers}
    asyncio.run(roles[sys.argv[1]](*sys.argv[2:]))
