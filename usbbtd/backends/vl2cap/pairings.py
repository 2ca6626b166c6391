"""Carries out the pairings that a guest asks for."""

import asyncio

from usbbtd.backends.vl2cap.agents import GuestAgent
from usbbtd.backends.vl2cap.errors import FAILURES
from usbbtd.backends.vl2cap.session import GuestObject, GuestSession
from usbbtd.bluetooth import LEVEL_NONE, LEVEL_SECURE, NO_INPUT_NO_OUTPUT, SECURITY_LEVELS, format_address
from usbbtd.l2capif.calls import PairCall
from usbbtd.l2capif.checks import TEMPORARY_KEY_SIZE
from usbbtd.radio.errors import Insecure, Obstacle
from usbbtd.security.terms import OobData


class GuestPairing:
    """Waits for the end of a pairing."""

    def __init__(self, pairing: asyncio.Task[None]) -> None:
        self._pairing = pairing

    def close(self) -> None:
        """Gives the pairing up; nothing is answered. Idempotent."""
        self._pairing.cancel()


def pair(session: GuestSession, call: PairCall) -> None:
    """Pairs with a peer, and answers the call, at once or later."""
    try:
        grant = session.access.pair((call.address, call.address_type), asyncio.get_running_loop().time())
    except FAILURES as error:
        session.fail(call.req_id, error)
        return
    made = GuestObject(session, call.id, grant)
    made.server = GuestPairing(session.run(_pair(session, call, made)))
    session.core.serve(call.id, made)


async def _pair(session: GuestSession, call: PairCall, made: GuestObject) -> None:
    level = max(call.security, made.grant.security)
    try:
        agent = _agent(session, call, level)
        async with asyncio.timeout(call.timeout_s):
            link = await session.adapter.security.pair(
                call.address, call.address_type, level, agent, _oob(call.oob) if call.oob else None
            )
    except FAILURES as error:
        made.grant.close()
        reason = str(error) or "it took too long"
        session.log.info("peer not paired", object=call.id, addr=format_address(call.address), reason=reason)
        session.fail(call.req_id, error)
    else:
        made.grant.close()
        session.core.complete_pairing(call.req_id, link.level, link.key_size, bonded=link.is_bonded)
    session.answer()


def _agent(session: GuestSession, call: PairCall, level: int) -> GuestAgent:
    """Returns the guest's agent, or one that is asked nothing if there are data for that. Raises Insecure."""
    wish = f"{format_address(call.address)} was to reach the level {SECURITY_LEVELS[level]}"
    if len(call.oob) == TEMPORARY_KEY_SIZE and level == LEVEL_SECURE:
        text = f"{wish}, but a temporary key is for legacy pairing"
        raise Insecure(text, Obstacle.NO_SECURE_CONNECTIONS, level=LEVEL_NONE, needed=level)
    if session.agent is not None:
        return session.agent
    if call.oob:
        return GuestAgent(session, NO_INPUT_NO_OUTPUT, lambda _: None)
    raise Insecure(f"{wish}, but the guest has no agent", Obstacle.NO_AGENT, level=LEVEL_NONE, needed=level)


def _oob(octets: bytes) -> OobData:
    """Returns the data in a PAIR: a temporary key, or the peer's confirm value and then its random value."""
    if len(octets) == TEMPORARY_KEY_SIZE:
        return OobData(temporary_key=octets)
    half = len(octets) // 2
    return OobData(peer_confirm=octets[:half], peer_random=octets[half:])
