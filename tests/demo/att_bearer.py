"""A GATT client that exists, Bumble's, over a guest's ATT channel: what docs/gatt.md shows."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bumble import att
from bumble.gatt_client import Client

from usbbtd.guest import Channel


class AttBearer:
    """A channel as Bumble's GATT client wants to see it."""

    EVENT_DISCONNECTION = "disconnection"
    handle = 0

    def __init__(self) -> None:
        self.att_mtu = att.ATT_DEFAULT_MTU
        self.outgoing: asyncio.Queue[bytes] = asyncio.Queue()
        self.ended: Exception | None = None

    def on(self, event: str, handler: object) -> None:
        """Is asked for an event that never comes: ``ended`` says more."""

    def on_att_mtu_update(self, mtu: int) -> None:
        self.att_mtu = mtu

    def send_l2cap_pdu(self, cid: int, pdu: bytes) -> None:
        if self.ended is not None:
            raise self.ended
        self.outgoing.put_nowait(pdu)


@asynccontextmanager
async def gatt_client(channel: Channel) -> AsyncIterator[Client]:
    """A GATT client on the ATT channel of a device. Requests raise what ended the channel, if it ends."""
    bearer = AttBearer()
    client = Client(bearer)

    async def send() -> None:
        while True:
            await channel.send(await bearer.outgoing.get())

    async def receive() -> None:
        try:
            while True:
                pdu = att.ATT_PDU.from_bytes(await channel.recv())
                if pdu.op_code in att.ATT_REQUESTS:  # the device has a client, too, and here is no server
                    client.send_gatt_pdu(
                        bytes(
                            att.ATT_Error_Response(
                                request_opcode_in_error=pdu.op_code,
                                attribute_handle_in_error=0,
                                error_code=att.ErrorCode.REQUEST_NOT_SUPPORTED,
                            )
                        )
                    )
                else:
                    client.on_gatt_pdu(pdu)
        except Exception as error:  # the channel has ended, or the device sent what is no PDU
            bearer.ended = error
            if client.pending_response is not None and not client.pending_response.done():
                client.pending_response.set_exception(error)

    tasks = [asyncio.create_task(send()), asyncio.create_task(receive())]
    try:
        yield client
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
