"""Carries out the commands of the control socket that change something. They are for root alone, each with a record.

The record says what was done and who asked: the user and the process at the other end of the socket.
"""

from collections.abc import AsyncGenerator, Callable
from typing import Any, Final

import structlog
from structlog.typing import FilteringBoundLogger

from usbbtd.bluetooth import ADDRESS, LAST_HANDLE, LEVEL_ENCRYPTED, SECURITY_LEVELS, parse_address
from usbbtd.control.credentials import Credentials, may_act
from usbbtd.control.pairing import ClientAgent, converse
from usbbtd.control.protocol import Message, NextReply, RequestError
from usbbtd.log.processors import LEVELS
from usbbtd.log.setup import set_level
from usbbtd.radio.adapter import SharedAdapter
from usbbtd.security.bonds import Bond

Acting = AsyncGenerator[Message, None]

#: The types of peers' addresses, by the words of the protocol.
TYPES: Final = {"bredr": 0, "public": 1, "random": 2}

#: The longest name of a guest.
MAX_GUEST = 255


class Acts:
    """Acts for root. ``decode_bond`` makes a bond of what JSON carries; it raises ValueError, which shows no key."""

    def __init__(self, *, adapter: SharedAdapter, decode_bond: Callable[[object], Bond]) -> None:
        self._adapter = adapter
        self._decode_bond = decode_bond
        self._log: FilteringBoundLogger = structlog.get_logger()
        self._acts: dict[str, tuple[frozenset[str], Callable[[Message, Credentials, NextReply], Acting]]] = {
            "pair": (frozenset({"address", "type", "guest", "security", "legacy_pin"}), self._pair),
            "agent": (frozenset({"guest", "security", "legacy_pin"}), self._agent),
            "forget": (frozenset({"address", "type"}), self._forget),
            "import-bond": (frozenset({"bond"}), self._import_bond),
            "disconnect": (frozenset({"link"}), self._disconnect),
            "power": (frozenset({"on"}), self._power),
            "reset": (frozenset(), self._reset),
            "log-level": (frozenset({"level"}), self._log_level),
        }

    @property
    def commands(self) -> list[str]:
        """Returns the names of the commands."""
        return list(self._acts)

    def ask(self, command: str, untrusted: Message, who: Credentials, next_reply: NextReply) -> Acting:
        """Returns a generator that does what is asked, and of the answers. Raises RequestError, as that itself may."""
        if not may_act(who):
            self._log.warning("control refused", uid=who.uid, pid=who.pid, reason=f"{command} is for root alone")
            raise RequestError(f"not permitted: {command} is for root alone")
        known, act = self._acts[command]
        if unknown := untrusted.keys() - known - {"command"}:
            raise RequestError(f"no such argument: {min(unknown)!r:.40}")
        return act(untrusted, who, next_reply)

    # What is done. Each checks all that it is given before it is told to the log, and then done.

    async def _pair(self, untrusted: Message, who: Credentials, next_reply: NextReply) -> Acting:
        address, kind = _address(untrusted.get("address")), _type(untrusted.get("type", "bredr"))
        agent = _client_agent(untrusted)
        self._record("pair", who, addr=address, guest=agent.guest)
        work = self._adapter.security.pair(address, kind, agent.level, agent)
        async for message in converse(agent, next_reply, work):
            yield message

    async def _agent(self, untrusted: Message, who: Credentials, next_reply: NextReply) -> Acting:
        agent = _client_agent(untrusted)
        self._record("agent", who, guest=agent.guest)
        self._adapter.agents.register(agent)
        try:
            yield {}
            async for message in converse(agent, next_reply, None):
                yield message
        finally:
            self._adapter.agents.unregister(agent)

    async def _forget(self, untrusted: Message, who: Credentials, _: NextReply) -> Acting:
        """Forgets the bonds with an address, on both transports unless a type is given, and ends their links."""
        text, address = untrusted.get("address"), _address(untrusted.get("address"))
        kinds = TYPES.values() if untrusted.get("type") is None else [_type(untrusted["type"])]
        self._record("forget", who, addr=address)
        forgotten = [kind for kind in kinds if self._adapter.security.forget(address, kind)]
        if not forgotten:
            raise RequestError(f"there is no bond with {text}; 'usbbtctl bonds' lists those that there are")
        yield {"forgotten": len(forgotten)}

    async def _import_bond(self, untrusted: Message, who: Credentials, _: NextReply) -> Acting:
        try:
            bond = self._decode_bond(untrusted.get("bond"))
        except ValueError as error:
            raise RequestError(f"bond: {error}") from None
        for guest in bond.guests:
            _check_guest(guest)
        self._record("import-bond", who, addr=bond.address, guest=" ".join(sorted(bond.guests)))
        if (reason := self._adapter.security.take_bond(bond)) is not None:
            raise RequestError(reason)
        yield {}

    async def _disconnect(self, untrusted: Message, who: Credentials, _: NextReply) -> Acting:
        """Ends the link with a handle, or all with an address."""
        handles = self._handles(untrusted.get("link"))
        self._record("disconnect", who, handles=" ".join(f"0x{handle:04x}" for handle in handles))
        for handle in handles:
            self._adapter.links.disconnect(handle)
        yield {"disconnected": len(handles)}

    async def _power(self, untrusted: Message, who: Credentials, _: NextReply) -> Acting:
        on = untrusted.get("on")
        if not isinstance(on, bool):
            raise RequestError("on: true or false")
        self._record("power", who, on=on)
        self._adapter.switch(on=on)
        yield {"adapter": self._adapter.info().state}

    async def _reset(self, _untrusted: Message, who: Credentials, _: NextReply) -> Acting:
        self._record("reset", who)
        if not self._adapter.reset():
            raise RequestError("there is no dongle")
        yield {}

    async def _log_level(self, untrusted: Message, who: Credentials, _: NextReply) -> Acting:
        level = untrusted.get("level")
        if level not in LEVELS:
            raise RequestError(f"level: one of {', '.join(LEVELS)}")
        self._record("log-level", who, least=level)
        set_level(str(level))
        yield {}

    # Inside.

    def _record(self, act: str, who: Credentials, **facts: Any) -> None:
        self._log.info("control act", act=act, uid=who.uid, pid=who.pid, **facts)

    def _handles(self, untrusted: object) -> list[int]:
        """Returns the handles of the links that are named. Raises RequestError if there are none."""
        links = self._adapter.links.info()
        if isinstance(untrusted, int) and not isinstance(untrusted, bool) and 0 <= untrusted <= LAST_HANDLE:
            if untrusted not in {link.handle for link in links}:
                raise RequestError(f"no link has handle 0x{untrusted:04x}")
            return [untrusted]
        if isinstance(untrusted, str) and ADDRESS.fullmatch(untrusted):
            if handles := [link.handle for link in links if link.address == untrusted.upper()]:
                return handles
            raise RequestError(f"there is no link to {untrusted}")
        raise RequestError("link: a handle, or an address such as C0:FF:EE:00:00:01")


def _client_agent(untrusted: Message) -> ClientAgent:
    guest, level = _check_guest(untrusted.get("guest")), untrusted.get("security", SECURITY_LEVELS[LEVEL_ENCRYPTED])
    legacy_pin = untrusted.get("legacy_pin", False)
    if level not in SECURITY_LEVELS[LEVEL_ENCRYPTED:]:
        raise RequestError(f"security: one of {', '.join(SECURITY_LEVELS[LEVEL_ENCRYPTED:])}")
    if not isinstance(legacy_pin, bool):
        raise RequestError("legacy_pin: true or false")
    return ClientAgent(guest, SECURITY_LEVELS.index(level), legacy_pin=legacy_pin)


def _check_guest(untrusted: object) -> str:
    if not isinstance(untrusted, str) or not 0 < len(untrusted) <= MAX_GUEST or not untrusted.isprintable():
        raise RequestError("guest: the name of a guest, to whom the bond will belong")
    if untrusted.isdecimal():
        raise RequestError("guest: a name, as a bond outlives the guest's number")
    return untrusted


def _address(untrusted: object) -> bytes:
    if not isinstance(untrusted, str) or not ADDRESS.fullmatch(untrusted):
        raise RequestError("address: such as C0:FF:EE:00:00:01")
    return parse_address(untrusted)


def _type(untrusted: object) -> int:
    if not isinstance(untrusted, str) or (kind := TYPES.get(untrusted)) is None:
        raise RequestError(f"type: one of {', '.join(TYPES)}")
    return kind
