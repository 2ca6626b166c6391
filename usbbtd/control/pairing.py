"""Asks a client of the control socket what pairing wants to know, and takes the answers."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, Final

from usbbtd.bluetooth import ADDRESS_TYPES, KEYBOARD_DISPLAY, format_address
from usbbtd.control.protocol import Message, NextReply, RequestError
from usbbtd.radio.agents import PairingPrompt
from usbbtd.radio.errors import Insecure, Obstacle, RadioError
from usbbtd.security.link import LinkSecurityInfo
from usbbtd.security.terms import CONFIRM, CONSENT, DISPLAY, ENTER_PASSKEY, ENTER_PIN, PairingTerms

#: The words of the protocol for kinds of prompts.
KINDS: Final = {
    CONSENT: "consent",
    CONFIRM: "confirm",
    DISPLAY: "display",
    ENTER_PASSKEY: "passkey",
    ENTER_PIN: "pin",
}

#: The most prompts that a client has at a time; others are refused.
MAX_PROMPTS = 8

#: How long a client hears nothing at most: it then gets an empty answer, to know that we are there.
TURN_S = 2.0

PIN_OCTETS = 16
PASSKEY_DIGITS = 6


class ClientAgent:
    """Pairs for root, who sits at a client. ``guest``: to whom the bonds belong. See ``PairingAgent``.

    ``level``: what pairing has to reach. ``legacy_pin``: whether a PIN may be typed.
    """

    def __init__(self, guest: str, level: int, *, legacy_pin: bool) -> None:
        self.guest = guest
        self.level = level
        self._terms = PairingTerms(level, KEYBOARD_DISPLAY, pin_allowed=legacy_pin)
        self._prompts: dict[int, PairingPrompt] = {}
        self._messages: list[Message] = []
        self.changed = asyncio.Event()  # set when there are messages

    # The adapter calls these.

    def terms(self, _address: bytes, _address_type: int) -> PairingTerms | None:
        return self._terms

    def ask(self, prompt: PairingPrompt) -> None:
        if len(self._prompts) >= MAX_PROMPTS:
            prompt.answer(False)
            return
        self._prompts[prompt.number] = prompt
        left_s = prompt.expires - asyncio.get_running_loop().time()
        self._tell({
            "prompt": prompt.number,
            "kind": KINDS[prompt.kind],
            "value": None if prompt.value is None else f"{prompt.value:0{PASSKEY_DIGITS}}",
            "address": format_address(prompt.address),
            "address_type": ADDRESS_TYPES[prompt.address_type],
            "guest": self.guest,
            "seconds": round(left_s, 1),
        })  # fmt: skip

    def withdraw(self, number: int, why: Obstacle) -> None:
        if self._prompts.pop(number, None) is not None:
            reason = "" if why == Obstacle.UNKNOWN else why.name.lower().replace("_", " ")
            self._tell({"withdrawn": number, "reason": reason})

    # The conversation calls these.

    def take(self) -> list[Message]:
        """Returns what the client is to be told."""
        self.changed.clear()
        messages, self._messages = self._messages, []
        return messages

    def receive(self, untrusted: Message) -> None:
        """Takes a reply. One that does not count is told to the client. Raises RequestError for nonsense."""
        number, accept = untrusted.get("reply"), untrusted.get("accept")
        if untrusted.keys() - {"reply", "accept", "value"} or not isinstance(accept, bool):
            raise RequestError('a reply has "reply", "accept" and, where something was to be typed, "value"')
        prompt = self._prompts.get(number) if isinstance(number, int) else None
        if prompt is None:
            self._tell({"ignored": number if isinstance(number, int) else None, "reason": "nobody waits for that"})
            return
        try:
            value = typed(prompt.kind, untrusted.get("value")) if accept else None
        except ValueError as error:
            self._tell({"ignored": prompt.number, "reason": str(error)})
            return
        if prompt.kind != DISPLAY or not accept:
            del self._prompts[prompt.number]
        if not prompt.answer(accept, value):
            self._tell({"ignored": prompt.number, "reason": "it came too late"})

    def _tell(self, message: Message) -> None:
        self._messages.append(message)
        self.changed.set()


def typed(kind: int, untrusted: object) -> int | bytes | None:
    """Returns what was typed at a prompt; None where nothing is to be. Raises ValueError, which does not show it."""
    if kind not in (ENTER_PASSKEY, ENTER_PIN):
        return None
    if not isinstance(untrusted, str):
        raise ValueError("something has to be typed")
    if kind == ENTER_PIN:
        pin = untrusted.encode(errors="replace")
        if not 1 <= len(pin) <= PIN_OCTETS:
            raise ValueError(f"a PIN has 1 to {PIN_OCTETS} octets")
        return pin
    digits = untrusted.replace(" ", "")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= PASSKEY_DIGITS):
        raise ValueError(f"a passkey is a number of {PASSKEY_DIGITS} digits")
    return int(digits)


async def converse(
    agent: ClientAgent, next_reply: NextReply, work: Coroutine[Any, Any, LinkSecurityInfo] | None
) -> AsyncGenerator[Message, None]:
    """Yields what the client is to be told, until ``work`` is done or the client goes; the last has the result.

    Without work it goes on until the client goes. Raises RequestError with the reason if the work fails, or for a reply
    that is nonsense.
    """
    tasks: list[asyncio.Task[Any]] = [asyncio.create_task(_hear(agent, next_reply))]
    if work is not None:
        tasks.append(asyncio.create_task(work))
    for task in tasks:
        task.add_done_callback(lambda _: agent.changed.set())
    try:
        while not any(task.done() for task in tasks):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TURN_S):
                    await agent.changed.wait()
            for message in agent.take() or [{}]:
                yield message
        hearing, *working = tasks
        if working and working[0].done():
            yield _result(working[0])
        elif hearing.exception() is not None:
            hearing.result()  # raises RequestError
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _hear(agent: ClientAgent, next_reply: NextReply) -> None:
    """Takes replies until the client has gone."""
    while (reply := await next_reply()) is not None:
        agent.receive(reply)


def _result(working: asyncio.Task[LinkSecurityInfo]) -> Message:
    try:
        info = working.result()
    except RadioError as error:
        asks_less = "; it may pair at the level 'encrypted', which shows nothing of who it is"
        is_mute = isinstance(error, Insecure) and error.why == Obstacle.NO_MITM
        raise RequestError(f"{error}{asks_less if is_mute else ''}") from None
    return {"security": info.level, "key_size": info.key_size, "bonded": info.is_bonded}
