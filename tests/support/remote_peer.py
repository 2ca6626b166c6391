"""A remote device with Bumble's stack: ``remote_peer.py SOCKET``, the socket of its controller in ``tests.sim.air``.

Over both transports it takes channels to three PSMs: ECHO echoes, FLOOD sends without end, SILENT does nothing.
Standard error has a line for each connection: the transport and who connects.
At ``{"psm": n}`` it asks our adapter for a BR/EDR channel, and at ``{"psm": n, "le": address}`` for one on LE, whose
address is random; it reports ``{"said": text}``, which is "" for success. It advertises, and an inquiry finds it.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from bumble import hci
from bumble.core import PhysicalTransport
from bumble.device import Device
from bumble.l2cap import L2capError

from tests.demo import lines, plan
from tests.demo.peers import PeerChannel, power_on, spec_of

ECHO = plan.ECHO_PSM
FLOOD = {"bredr": 0x1011, "le": 0x0091}
SILENT = {"bredr": 0x1013, "le": 0x0093}
TIME_LIMIT_S = 10
FLOOD_SDU = bytes(range(250)) * 4


async def echo(channel: PeerChannel) -> None:
    while True:
        await channel.send(await channel.recv())


async def flood(channel: PeerChannel) -> None:
    while True:
        await channel.send(FLOOD_SDU)
        await asyncio.sleep(0)


async def be_silent(channel: PeerChannel) -> None:
    while True:
        await channel.recv()


async def call(device: Device, psm: int, le: str | None = None) -> str:
    if le is None:
        adapter = hci.Address(plan.DONGLE_ADDRESS, hci.Address.PUBLIC_DEVICE_ADDRESS)
    else:
        adapter = hci.Address(le, hci.Address.RANDOM_DEVICE_ADDRESS)
    transport = PhysicalTransport.BR_EDR if le is None else PhysicalTransport.LE
    try:
        async with asyncio.timeout(TIME_LIMIT_S):
            connection = device.find_connection_by_bd_addr(adapter, transport)
            connection = connection or await device.connect(adapter, transport)
            await connection.create_l2cap_channel(spec_of("bredr" if le is None else "le", psm))
    except L2capError as error:
        return str(error)
    return ""


async def run(socket: str) -> None:
    device = await power_on(socket, plan.ECHO)
    device.on("connection", lambda link: sys.stderr.write(f"{link.transport.name} {link.peer_address}\n"))
    tasks = set()

    def serve(transport: plan.Transport, psm: int, does: Callable[[PeerChannel], Coroutine[Any, Any, None]]) -> None:
        def start(channel: Any) -> None:
            task = asyncio.create_task(does(PeerChannel(channel)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            channel.on("close", task.cancel)

        def accept(channel: Any) -> None:
            if transport == "le":
                start(channel)
            else:  # it is configured first
                channel.on("open", lambda: start(channel))

        device.create_l2cap_server(spec_of(transport, psm), accept)

    for transport in plan.TRANSPORTS:
        for psms, does in ((ECHO, echo), (FLOOD, flood), (SILENT, be_silent)):
            serve(transport, psms[transport], does)
    await device.set_connectable(True)
    await device.set_discoverable(True)
    await device.start_advertising(auto_restart=True)
    reader = await lines.commands()
    lines.report(up=True)
    while (command := await lines.take(reader)) is not None:
        lines.report(said=await call(device, **command))
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1]))
