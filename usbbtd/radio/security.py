"""Gives links the security that users need: by the keys of bonds, or by pairing, for which it asks agents."""

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from structlog.typing import FilteringBoundLogger

from usbbtd.bluetooth import LEVEL_ENCRYPTED, LEVEL_NONE, SECURITY_LEVELS, ErrorCode, format_address
from usbbtd.radio.agents import Agents, PairingAgent, PairingPrompt
from usbbtd.radio.errors import Insecure, Obstacle, RadioError, Unreachable
from usbbtd.radio.links import Links, RadioLink, fail
from usbbtd.security import events
from usbbtd.security.bonds import Bond, BondBook
from usbbtd.security.core import Security
from usbbtd.security.levels import channel_refused, level_of
from usbbtd.security.limits import SecurityLimits
from usbbtd.security.link import LinkSecurityInfo
from usbbtd.security.lockout import Lockout
from usbbtd.security.terms import DISPLAY, OobData, PairingTerms

_OBSTACLES: Final = {
    events.Why.NO_BOND: Obstacle.NO_AGENT,
    events.Why.KEY_MISSING: Obstacle.KEY_MISSING,
    events.Why.REFUSED: Obstacle.REFUSED_HERE,
    events.Why.CANCELLED: Obstacle.REFUSED_HERE,
    events.Why.PEER_REFUSED: Obstacle.REFUSED_BY_PEER,
    events.Why.NO_MATCH: Obstacle.NO_MATCH,
    events.Why.CAPABILITIES: Obstacle.NO_MITM,
    events.Why.WEAKER: Obstacle.WEAKER,
    events.Why.DOWNGRADE: Obstacle.WEAKER,
    events.Why.KEY_SIZE: Obstacle.KEY_SIZE,
    events.Why.LOCKED_OUT: Obstacle.LOCKED_OUT,
    events.Why.TIMED_OUT: Obstacle.NO_ANSWER,
    events.Why.LINK_LOST: Obstacle.LINK_ENDED,
    events.Why.NOT_REACHED: Obstacle.UNKNOWN,
    events.Why.TOO_MANY: Obstacle.UNKNOWN,
}


class BondStore(Protocol):
    """Keeps bonds of one adapter of ours where they survive a restart. None of these methods may raise."""

    def load(self) -> list[Bond]:
        """Returns the bonds that are kept."""

    def save(self, bond: Bond) -> None:
        """Keeps a bond, in the place of that with the same identity and transport."""

    def remove(self, bond: Bond) -> None:
        """Keeps a bond no more."""


class Pursuit(NamedTuple):
    """A wish of the core's that is under way. ``waiter``: None for the pairing that a peer began.

    ``agent``: who is asked; None if nobody may pair. ``pairs``: whether there is no key that would do.
    """

    link: RadioLink
    level: int
    agent: PairingAgent | None
    pairs: bool
    waiter: asyncio.Future[None] | None


class OpenPrompt(NamedTuple):
    """A prompt that an agent has, about a pairing on a link."""

    prompt: PairingPrompt
    agent: PairingAgent
    link: RadioLink


class LinkSecurity:
    """Keeps the bonds of one adapter, and has its links secured, whatever dongle it has.

    ``level_changed`` is called with a link whose level, or whose bond, is another than before; ``identities_changed``
    when other private addresses can be resolved than before.
    """

    def __init__(
        self, links: Links, store: BondStore | None, level_changed: Callable[[RadioLink], None],
        identities_changed: Callable[[], None], *, limits: SecurityLimits, log: FilteringBoundLogger,
    ) -> None:  # fmt: skip
        self.agents = Agents(self._agent_gone)
        self._links = links
        self._store = store
        self._level_changed = level_changed
        self.identities_changed = identities_changed
        self._limits = limits
        self._log = log
        self._loop = asyncio.get_running_loop()
        self.book = BondBook(limits)
        self._lockout = Lockout(limits)  # who has to wait must do so after a reset, and with another dongle, too
        self._pursuits: dict[int, Pursuit] = {}  # by the number of the wish
        self._asked: dict[int, OpenPrompt] = {}  # by the prompt's number
        self._encrypting: dict[asyncio.Future[None], RadioLink] = {}  # who waits until a link is so no longer
        self._load()

    def new_core(self, le_address: bytes) -> Security:
        """Returns the security core for a new stack. ``le_address``: our random static address."""
        return Security(
            bonds=self.book, random=secrets.token_bytes, le_address=le_address, limits=self._limits,
            lockout=self._lockout, may_replace=self._may_replace,
        )  # fmt: skip

    # For users to call.

    async def reach(
        self, link: RadioLink, level: int, agent: PairingAgent | None, *, for_peer: bool = False
    ) -> LinkSecurityInfo:
        """Has a link reach a level, by the key of a bond, or by pairing if there is an agent that may.

        ``for_peer``: whether the peer wants something, and not the agent's user, who is asked then in any case. Gives
        up when cancelled. Raises Insecure.
        """
        if level <= LEVEL_NONE or link.security.level >= level:
            return link.security
        terms = None if agent is None else agent.terms(*link.identity)
        if terms is None:
            return await self._pursue(link, level, None, None, is_forced=False)
        async with link.pairing:  # so that it is known which agent is to be asked
            terms = terms._replace(level=max(level, terms.level), asks_consent=for_peer)
            return await self._pursue(link, terms.level, agent, terms, is_forced=False)

    async def pair(
        self, address: bytes, address_type: int, level: int, agent: PairingAgent, oob: OobData | None = None
    ) -> LinkSecurityInfo:
        """Pairs with a peer, over a new link if there is none, even if there is a bond. Gives up when cancelled.

        ``level``: the least that is good enough. Raises NoDongle, NotSupported, Exhausted, Unreachable, Insecure.
        """
        link = await self._links.get(address, address_type)
        with self._links.hold_for_pairing(link):
            async with link.pairing:
                level = max(level, LEVEL_ENCRYPTED)
                if (terms := agent.terms(*link.identity)) is None:
                    wanted = SECURITY_LEVELS[level]
                    text = f"{link.peer_text} was to reach the level {wanted}, but the agent may not pair with it"
                    raise Insecure(text, Obstacle.NO_AGENT, level=link.security.level, needed=level)
                terms = terms._replace(level=max(level, terms.level), oob=oob)
                return await self._pursue(link, terms.level, agent, terms, is_forced=True)

    def is_encrypting(self, link: RadioLink) -> bool:
        """Tells whether a link of LE is being encrypted, or is so with a key of a pairing that goes on."""
        security = link.stack.security
        return security is not None and security.core.is_encrypting(link.handle)

    async def encryption_ended(self, link: RadioLink) -> None:
        """Waits until a link that ``is_encrypting`` is so no longer; not for ever, if that is never told."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._encrypting[waiter] = link
        try:
            await asyncio.wait((waiter,), timeout=self._limits.encryption_told_s)
        finally:
            del self._encrypting[waiter]

    def refusal(self, link: RadioLink, needed: int) -> int:
        """Returns the L2CAP result with which a channel is refused that needs a higher level than its link has."""
        has = link.security
        bond = self.book.find(*link.identity)
        result = channel_refused(
            link.transport, needed, has.level, is_encrypted=has.key_size > 0,
            is_bonded=bond is not None and bond.is_for(link.own_address), key_size=has.key_size,
        )  # fmt: skip
        assert result is not None  # it is less than is needed
        return result

    def fallen(self, link: RadioLink, needed: int) -> Insecure:
        """Returns the error for a link whose level was enough before, and is not any more."""
        has = link.security.level
        text = f"{link.peer_text} has the level {SECURITY_LEVELS[has]}, not {SECURITY_LEVELS[needed]}: it fell"
        return Insecure(text, Obstacle.UNKNOWN, level=has, needed=needed)

    def bonds(self) -> list[Bond]:
        return list(self.book)

    def is_bonded_for(self, address: bytes, address_type: int, guest: str) -> bool | None:
        """Returns whether the bond with the peer of this identity belongs to a guest; None if there is no bond."""
        bond = self.book.find(address, address_type)
        return None if bond is None else guest in bond.guests

    def take_bond(self, bond: Bond) -> str | None:
        """Keeps a bond that was made elsewhere. Returns why it may not be kept, for people; None if it is.

        One that is there already, with the same keys, keeps its guests, too.
        """
        if (reason := self.book.refused(bond)) is not None:
            return reason
        old = self.book.find(bond.address, bond.address_type)
        if old is not None and old.keys == bond.keys:
            bond = old._replace(guests=old.guests | bond.guests, own_address=bond.own_address)
        self._keep(bond)
        stack = self._links.stack_that_is_up()
        if bond.irk is not None and stack is not None and stack.security is not None:
            stack.security.tell_identities()
            stack.flush_soon()
        return None

    def forget(self, address: bytes, address_type: int) -> bool:
        """Forgets a bond for good, and ends the peer's link. Returns False if there is none."""
        stack = self._links.stack_that_is_up()
        core = stack.security.core if stack is not None and stack.security is not None else None
        bond = (self.book if core is None else core).forget(address, address_type)
        if bond is None:
            return False
        if self._store is not None:
            self._store.remove(bond)
        self._log.info("bond forgotten", addr=format_address(address))
        for link in self._links.by_handle.values():
            if link.identity == (address, address_type):
                link.stack.controller.host.disconnect(link.handle, ErrorCode.AUTHENTICATION_FAILURE)
                self._stir(link)
        return True

    # The adapter calls this.

    def controller_lost(self, error: RadioError) -> None:
        """Fails all that waits with ``error``, and withdraws all prompts."""
        pursuits, self._pursuits = self._pursuits, {}
        asked, self._asked = self._asked, {}
        for prompt, agent, _ in asked.values():
            agent.withdraw(prompt.number, Obstacle.LINK_ENDED)
        for pursuit in pursuits.values():
            if pursuit.waiter is not None:
                fail(pursuit.waiter, error)

    # The stack's security calls this.

    def receive_security_events(self, core: Security, told: list[events.SecurityEvent]) -> None:
        """Takes what the core tells, all at once: the end of a prompt is told before the reason for it."""
        reasons = {event.handle: _OBSTACLES[event.reason] for event in told if isinstance(event, events.LevelRefused)}
        for event in told:
            match event:
                case events.LevelChanged(handle, level, key_size, is_bonded):
                    self._changed(self._links.by_handle[handle], LinkSecurityInfo(level, key_size, is_bonded))
                case events.EncryptionEnded(handle):
                    self._encryption_ended(self._links.by_handle[handle])
                case events.LevelReached(number, _, level):
                    self._reached(number, level)
                case events.LevelRefused():
                    self._refused(event)
                case events.PairingAsked(number, handle):
                    self._pairing_asked(core, number, self._links.by_handle[handle])
                case events.Prompted():
                    self._ask(core, event)
                case events.PromptWithdrawn(number):
                    if (asked := self._asked.pop(number, None)) is not None:
                        asked.agent.withdraw(number, reasons.get(asked.link.handle, Obstacle.UNKNOWN))
                case events.BondMade(handle, bond, replaced):
                    self._bond_made(self._links.by_handle[handle], bond, replaced)
                case events.BondRefused(handle, text):
                    self._log.warning("bond refused", addr=self._links.by_handle[handle].peer_text, reason=text)
                case events.BondUsed(_, bond):
                    self._bond_used(bond)
                case events.PeerIdentified(handle, address, address_type):
                    self._identified(self._links.by_handle[handle], address, address_type)

    # Inside.

    def _load(self) -> None:
        for bond in self._store.load() if self._store is not None else ():
            if (reason := self.book.refused(bond)) is None:
                self.book.keep(bond)
            else:
                self._log.warning("bond passed over", addr=format_address(bond.address), reason=reason)

    async def _pursue(
        self, link: RadioLink, level: int, agent: PairingAgent | None, terms: PairingTerms | None, *, is_forced: bool
    ) -> LinkSecurityInfo:
        """Wishes a link to have a level, and waits for that. ``is_forced``: whether to pair in any case."""
        if self._links.by_handle.get(link.handle) is not link:
            raise Unreachable("the link was lost", link.end_status)
        security = link.stack.security
        assert security is not None  # it is a link of the adapter's own stack
        core, now = security.core, link.stack.now()
        if is_forced and terms is not None:
            number = core.pair(link.handle, terms, now)
        else:
            number = core.reach(link.handle, level, terms, now)
        waiter: asyncio.Future[None] = self._loop.create_future()
        pairs = agent is not None and (is_forced or not self._has_key(link, level))
        pursuit = self._pursuits[number] = Pursuit(link, level, agent, pairs, waiter)
        self._stir(link)
        try:
            await waiter
        except asyncio.CancelledError:
            if self._pursuits.get(number) is pursuit:  # otherwise it is over, or a wish of the next dongle
                core.cancel(number, link.stack.now())
                self._stir(link)
            raise
        finally:
            if self._pursuits.get(number) is pursuit:
                self._end(number)
        if self._links.by_handle.get(link.handle) is not link:
            raise Unreachable("the link was lost", link.end_status)
        if link.security.level < level:
            raise self.fallen(link, level)
        return link.security

    def _may_replace(self, handle: int, bond: Bond) -> bool:
        """Tells whether the agent that pairs over a link may pair with the peer of this bond, whose identity it is."""
        agent = self._agent_of(self._links.by_handle[handle])
        return agent is not None and agent.terms(bond.address, bond.address_type) is not None

    def _has_key(self, link: RadioLink, level: int) -> bool:
        bond = self.book.find(*link.identity)
        return bond is not None and level_of(bond.keys) >= level

    def _stir(self, link: RadioLink) -> None:
        """Has what the core was told dealt with, when all that is ready has been."""
        if link.stack.security is not None:
            link.stack.security.stir()
            link.stack.flush_soon()

    def _end(self, number: int) -> Pursuit | None:
        """Forgets a wish. Its agent stays that of the link: keys may still come."""
        pursuit = self._pursuits.pop(number, None)
        if pursuit is not None and pursuit.agent is not None:
            pursuit.link.agent = pursuit.agent
            if pursuit.waiter is None:
                self._links.end_pairing(pursuit.link)
        return pursuit

    def _agent_of(self, link: RadioLink) -> PairingAgent | None:
        """Returns who is asked, and whose the bond is, if the peer of a link pairs."""
        pairing = (pursuit.agent for pursuit in self._pursuits.values() if pursuit.link is link and pursuit.agent)
        return next(pairing, link.agent)

    def _reached(self, number: int, level: int) -> None:
        if (pursuit := self._end(number)) is None:
            return  # it was cancelled
        if pursuit.pairs:
            self._log.info("pairing done", addr=pursuit.link.peer_text, security=SECURITY_LEVELS[level])
        if pursuit.waiter is not None and not pursuit.waiter.done():
            pursuit.waiter.set_result(None)

    def _refused(self, event: events.LevelRefused) -> None:
        if (pursuit := self._end(event.number)) is None:
            return
        link = pursuit.link
        if pursuit.pairs:
            self._log.warning("pairing failed", addr=link.peer_text, reason=event.text)
        if pursuit.waiter is not None:
            why = _OBSTACLES[event.reason]
            fail(pursuit.waiter, Insecure(event.text, why, level=link.security.level, needed=pursuit.level))

    def _changed(self, link: RadioLink, info: LinkSecurityInfo) -> None:
        before, link.security = link.security, info
        facts = {"addr": link.peer_text, "handle": link.handle, "security": SECURITY_LEVELS[info.level]}
        if info.level < before.level:
            self._log.warning("link security fell", **facts)
        elif info.level > LEVEL_NONE:
            self._log.info("link encrypted", **facts, key_size=info.key_size, bonded=info.is_bonded)
        self._level_changed(link)

    def _encryption_ended(self, link: RadioLink) -> None:
        for waiter, encrypting in self._encrypting.items():
            if encrypting is link and not waiter.done():
                waiter.set_result(None)

    def _pairing_asked(self, core: Security, number: int, link: RadioLink) -> None:
        found = self.agents.find(*link.identity, link.visited)
        self._log.info("pairing asked", addr=link.peer_text, accepted=found is not None)
        if found is None:
            core.refuse_pairing(number, link.stack.now())
            return
        agent, terms = found
        if core.accept_pairing(number, terms, link.stack.now()):
            self._pursuits[number] = Pursuit(link, terms.level, agent, True, None)
            self._links.begin_pairing(link)

    def _ask(self, core: Security, event: events.Prompted) -> None:
        link = self._links.by_handle[event.handle]
        if (agent := self._agent_of(link)) is None:
            core.answer_prompt(event.number, False, None, link.stack.now())
            return
        expires = link.stack.now() + self._limits.prompt_s
        prompt = PairingPrompt(event.number, event.kind, event.value, *link.identity, expires, self._answer)
        self._asked[event.number] = OpenPrompt(prompt, agent, link)
        agent.ask(prompt)

    def _answer(self, prompt: PairingPrompt, accept: bool, value: int | bytes | None) -> bool:
        asked = self._asked.get(prompt.number)
        if asked is None or asked.prompt is not prompt:
            return False
        link = asked.link
        assert link.stack.security is not None  # the prompt came from it
        counts = link.stack.security.core.answer_prompt(prompt.number, accept, value, link.stack.now())
        if counts and not (accept and prompt.kind == DISPLAY):
            del self._asked[prompt.number]
        self._stir(link)
        return counts

    def _agent_gone(self, agent: PairingAgent) -> None:
        for asked in [asked for asked in self._asked.values() if asked.agent is agent]:
            self._answer(asked.prompt, False, None)
        for number, pursuit in tuple(self._pursuits.items()):
            if pursuit.agent is agent and pursuit.link.stack.security is not None:
                pursuit.link.stack.security.core.cancel(number, pursuit.link.stack.now())
                self._stir(pursuit.link)

    def _bond_made(self, link: RadioLink, bond: Bond, replaced: Bond | None) -> None:
        agent = self._agent_of(link)
        guest = agent.guest if agent is not None else ""
        guests = frozenset((guest,)) if guest else frozenset[str]()
        now = time.time()
        self._keep(bond._replace(guests=guests, made=now, seen=now))
        facts = {
            "addr": format_address(bond.address),
            "authenticated": bond.authenticated,
            "secure_connections": bond.secure_connections,
            "key_size": bond.key_size,
            "guest": guest,
        }
        if replaced is None:
            self._log.info("bond made", **facts)
        else:
            self._log.warning("bond replaced", **facts, former_guests=" ".join(sorted(replaced.guests)))

    def _bond_used(self, bond: Bond) -> None:
        if (known := self.book.find(bond.address, bond.address_type)) is not None:
            self._keep(known._replace(seen=time.time()))

    def _keep(self, bond: Bond) -> None:
        self.book.keep(bond)
        if self._store is not None:
            self._store.save(bond)

    def _identified(self, link: RadioLink, address: bytes, address_type: int) -> None:
        link.identity = address, address_type
        self._log.info("peer identified", addr=link.peer_text, private=format_address(link.address), handle=link.handle)
