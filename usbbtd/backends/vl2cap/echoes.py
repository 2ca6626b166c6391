"""Carries out the L2CAP echoes that a guest asks for."""

import asyncio

from usbbtd.backends.access import Denied, TooOften
from usbbtd.backends.vl2cap.session import GuestObject, GuestSession
from usbbtd.bluetooth import BREDR
from usbbtd.l2capif.calls import EchoCall
from usbbtd.radio.errors import RadioError


class GuestEcho:
    """Waits for a peer's echo."""

    def __init__(self, asking: asyncio.Task[None]) -> None:
        self._asking = asking

    def close(self) -> None:
        """Gives the echo up; nothing is answered. Idempotent."""
        self._asking.cancel()


def echo(session: GuestSession, call: EchoCall) -> None:
    """Asks a peer for its echo, and answers the call, at once or later."""
    try:
        grant = session.access.echo((call.address, BREDR), asyncio.get_running_loop().time())
    except (Denied, TooOften) as error:
        session.fail(call.req_id, error)
        return
    made = GuestObject(session, call.id, grant)
    made.server = GuestEcho(session.run(_ask(session, call, made)))
    session.core.serve(call.id, made)


async def _ask(session: GuestSession, call: EchoCall, asked: GuestObject) -> None:
    try:
        async with asyncio.timeout(call.timeout_s):
            data = await session.adapter.echoes.ask(call.address, call.data)
    except (RadioError, TimeoutError) as error:
        asked.grant.close()
        session.fail(call.req_id, error)
    else:
        asked.grant.close()
        session.core.complete_echo(call.req_id, data)
    session.answer()
