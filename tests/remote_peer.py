"""A remote device with Bumble's stack: ``remote_peer.py SOCKET``, the socket of its controller in ``usbbtd.sim.air``.

Over both transports it takes channels to three PSMs: ECHO echoes, FLOOD sends without end, SILENT does nothing.
Standard error has a line for each connection: the transport and who connects.
"""

import asyncio
import sys

from usbbtd.sim.demo import lines, plan
from usbbtd.sim.demo.peers import PeerChannel, power_on, spec_of

ECHO = plan.ECHO_PSM
FLOOD = {"bredr": 0x1011, "le": 0x0091}
SILENT = {"bredr": 0x1013, "le": 0x0093}
FLOOD_SDU = bytes(range(250)) * 4


async def echo(channel):
    while True:
        await channel.send(await channel.recv())


async def flood(channel):
    while True:
        await channel.send(FLOOD_SDU)
        await asyncio.sleep(0)


async def be_silent(channel):
    while True:
        await channel.recv()


async def run(socket):
    device = await power_on(socket, plan.ECHO)
    device.on("connection", lambda link: sys.stderr.write(f"{link.transport.name} {link.peer_address}\n"))
    tasks = set()

    def serve(transport, psm, does):
        def start(channel):
            task = asyncio.create_task(does(PeerChannel(channel)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            channel.on("close", task.cancel)

        def accept(channel):
            if transport == "le":
                start(channel)
            else:  # it is configured first
                channel.on("open", lambda: start(channel))

        device.create_l2cap_server(spec_of(transport, psm), accept)

    for transport in plan.TRANSPORTS:
        for psms, does in ((ECHO, echo), (FLOOD, flood), (SILENT, be_silent)):
            serve(transport, psms[transport], does)
    await device.set_connectable(True)
    await device.start_advertising(auto_restart=True)
    lines.report(up=True)
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1]))
