"""Answers what pairing asks: an agent of a program, and the prompts that it gets from the driver domain."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from errno import EBADMSG
from types import TracebackType
from typing import Final, Literal, NamedTuple, Self

from usbbtd.abi.layout import constants
from usbbtd.bluetooth import format_address
from usbbtd.errors import RemoteProtocolError
from usbbtd.guest.address import AddressType, address_type_name
from usbbtd.guest.connection import Connection
from usbbtd.guest.errors import AdapterError
from usbbtd.guest.remote import RemoteObject, knows, require
from usbbtd.guest.security import missing
from usbbtd.l2capif.features import KNOWS_AGENT
from usbbtd.l2capif.messages import (
    LAST_PASSKEY,
    WITHDRAWN,
    AnswerMessage,
    PromptMessage,
    pack_answer,
    unpack_prompt,
)
from usbbtd.l2capif.wire import PlainResponse

#: What the user of an agent can do.
IoCapability = Literal["none", "display", "display_yes_no", "keyboard", "keyboard_display"]
#: What is asked: see Prompt.
PromptKind = Literal["consent", "confirm", "display", "enter_passkey", "enter_pin"]

#: l2capif.h's numbers by the names of this API.
IO_CAPABILITIES: Final[dict[IoCapability, int]] = {
    "none": constants.L2CAPIF_IO_NONE,
    "display": constants.L2CAPIF_IO_DISPLAY_ONLY,
    "display_yes_no": constants.L2CAPIF_IO_DISPLAY_YES_NO,
    "keyboard": constants.L2CAPIF_IO_KEYBOARD_ONLY,
    "keyboard_display": constants.L2CAPIF_IO_KEYBOARD_DISPLAY,
}
_KINDS: Final[dict[int, PromptKind]] = {
    constants.L2CAPIF_PROMPT_CONSENT: "consent",
    constants.L2CAPIF_PROMPT_CONFIRM: "confirm",
    constants.L2CAPIF_PROMPT_DISPLAY: "display",
    constants.L2CAPIF_PROMPT_ENTER_PASSKEY: "enter_passkey",
    constants.L2CAPIF_PROMPT_ENTER_PIN: "enter_pin",
}
_RING_ORDER = 1
_MOST_PROMPTS = 16  # that wait for an answer; usbbtd asks 8 at a time


class Prompt(NamedTuple):
    """A question of a pairing, or what it shows.

    ``kind``: what the user is asked, and what the answer is:

    - "consent": may this peer, which began, pair? True or False
    - "confirm": does the peer show the same ``digits``? True or False
    - "display": these ``digits`` have to be entered at the peer. None, or False to give up
    - "enter_passkey": which six digits does the peer show? The number, or None to give up
    - "enter_pin": which PIN does an old peer expect? Text or bytes, 16 bytes at most, or None to give up

    ``number``: the six digits as a number; None where there is none. ``timeout``: for how many seconds an answer
    counts.
    """

    kind: PromptKind
    address: str
    address_type: AddressType
    number: int | None
    timeout: float

    @property
    def digits(self) -> str:
        """Returns the number as people read it: "042 193"; "" where there is none."""
        if self.number is None:
            return ""
        text = f"{self.number:06d}"
        return f"{text[:3]} {text[3:]}"

    def __repr__(self) -> str:
        return f"<Prompt {self.kind} of {self.address} ({self.address_type})>"  # without the passkey


Answering = Callable[[Prompt], Awaitable[bool | int | str | bytes | None]]
Ended = Callable[[Prompt, str], None]


class Agent:
    """Answers prompts while it is open (``async with``). ``adapter.agent`` makes it; ``answer`` is what it calls."""

    def __init__(self, connection: Connection, answer: Answering, io_capability: int, ended: Ended | None) -> None:
        require(knows(connection, KNOWS_AGENT), "agent")
        self._answer, self._ended = answer, ended
        self._io_capability = io_capability
        self._remote = RemoteObject(connection, _RING_ORDER)
        self._asking: dict[int, tuple[Prompt, asyncio.Task[None]]] = {}
        self._serving: asyncio.Task[None] | None = None

    async def wait_ended(self) -> None:
        """Waits until the driver domain ends the agent. Raises what says why: ChannelClosed, or AdapterGone too."""
        if self._serving is None:
            raise RuntimeError("the agent is not open: async with adapter.agent(...)")
        await asyncio.shield(self._serving)

    async def close(self) -> None:
        """Ends the agent: what it has not answered is refused. Idempotent."""
        tasks = [task for _, task in self._asking.values()]
        if self._serving is not None:
            tasks.append(self._serving)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._remote.release()

    async def __aenter__(self) -> Self:
        shared = self._remote.stream.shared
        await self._remote.create(
            lambda core: core.agent(self._io_capability, ref=shared.ref, evtchn=shared.port), PlainResponse, "agent"
        )
        self._serving = asyncio.create_task(self._serve())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _serve(self) -> None:
        try:
            while True:
                for untrusted_message in await self._remote.stream.receive_many():
                    await self._receive(unpack_prompt(untrusted_message))
        except RemoteProtocolError as exc:
            raise AdapterError(EBADMSG, f"the driver domain broke the protocol: {exc}") from exc
        finally:
            for _, task in self._asking.values():
                task.cancel()

    async def _receive(self, message: PromptMessage) -> None:
        if message.kind == WITHDRAWN:
            self._withdraw(message)
        elif message.number in self._asking or len(self._asking) >= _MOST_PROMPTS:
            await self._send(AnswerMessage(message.number, False))
        else:
            prompt = _prompt(message)
            task = asyncio.create_task(self._ask(message.number, prompt))
            self._asking[message.number] = prompt, task

    def _withdraw(self, message: PromptMessage) -> None:
        if (found := self._asking.pop(message.number, None)) is None:
            return
        prompt, task = found
        task.cancel()
        if self._ended is not None:
            self._ended(prompt, missing(message.why)[1] if message.why else "")

    async def _ask(self, number: int, prompt: Prompt) -> None:
        """Has a prompt answered. What is shown stays until it is withdrawn."""
        try:
            message = _checked(number, prompt, await self._answer(prompt))
        except Exception as error:
            message = AnswerMessage(number, False)
            _report(prompt, error)
        if message is not None:
            await self._send(message)
            self._asking.pop(number, None)

    async def _send(self, message: AnswerMessage) -> None:
        with suppress(AdapterError):  # the agent has ended, as wait_ended() says
            await self._remote.stream.send([pack_answer(message)])


def _prompt(message: PromptMessage) -> Prompt:
    kind = _KINDS[message.kind]
    number = message.value if kind in ("confirm", "display") else None
    address = format_address(message.address), address_type_name(message.address_type)
    return Prompt(kind, *address, number, message.timeout_ms / 1000)


def _checked(number: int, prompt: Prompt, answer: object) -> AnswerMessage | None:
    """Returns the message for an answer; None if there is nothing to send. Raises TypeError or ValueError for nonsense.

    The texts do not quote what may be a passkey or a PIN.
    """
    no = AnswerMessage(number, False)
    if prompt.kind in ("consent", "confirm"):
        if not isinstance(answer, bool):
            raise TypeError("the answer must be True or False")
        return AnswerMessage(number, answer)
    if prompt.kind == "display":
        if answer is not None and not isinstance(answer, bool):
            raise TypeError("what is displayed has no answer but None, or False to give up")
        return no if answer is False else None
    if answer is None or answer is False:
        return no
    if prompt.kind == "enter_passkey":
        if not isinstance(answer, int) or isinstance(answer, bool):
            raise TypeError("a passkey must be an integer, or None to give up")
        if not 0 <= answer <= LAST_PASSKEY:
            raise ValueError("a passkey has six digits")
        return AnswerMessage(number, True, answer)
    pin = answer.encode() if isinstance(answer, str) else answer
    if not isinstance(pin, bytes):
        raise TypeError("a PIN must be text or bytes, or None to give up")
    if not 1 <= len(pin) <= constants.L2CAPIF_PIN_SIZE:
        raise ValueError("a PIN has 1 to 16 bytes")
    return AnswerMessage(number, True, 0, pin)


def _report(prompt: Prompt, error: Exception) -> None:
    """Tells the event loop's exception handler, which logs it, that a prompt was refused because of an exception."""
    text = f"the agent refused to {prompt.kind} for {prompt.address}: {error}"
    asyncio.get_running_loop().call_exception_handler({"message": text, "exception": error})
