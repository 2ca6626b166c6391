"""A guest's agent: asks the guest what pairing asks, and takes its answers, over a data ring."""

import asyncio
import errno
from collections.abc import Callable

from usbbtd.abi.layout import constants
from usbbtd.backends.vl2cap.channel import REVOKED
from usbbtd.backends.vl2cap.session import GuestObject, GuestSession
from usbbtd.backends.vl2cap.stream import GuestStream
from usbbtd.bluetooth import format_address
from usbbtd.errors import RemoteProtocolError
from usbbtd.l2capif.calls import AgentCall
from usbbtd.l2capif.messages import WITHDRAWN, AnswerMessage, PromptMessage, pack_prompt, unpack_answer
from usbbtd.pump import contained
from usbbtd.radio.agents import PairingPrompt
from usbbtd.radio.errors import Obstacle
from usbbtd.security.terms import CONFIRM, CONSENT, DISPLAY, ENTER_PASSKEY, ENTER_PIN, PROMPTS, PairingTerms

#: The most messages that wait for a guest that does not read, and the most prompts that it may not have answered.
MAX_QUEUED_PROMPTS = 8

#: The bytes of answers that are taken at once: a guest that floods us is not served before the others.
_PORTION = 1024

#: The kinds of prompts in l2capif.h, by those of the security core.
_KINDS = {
    CONSENT: constants.L2CAPIF_PROMPT_CONSENT,
    CONFIRM: constants.L2CAPIF_PROMPT_CONFIRM,
    DISPLAY: constants.L2CAPIF_PROMPT_DISPLAY,
    ENTER_PASSKEY: constants.L2CAPIF_PROMPT_ENTER_PASSKEY,
    ENTER_PIN: constants.L2CAPIF_PROMPT_ENTER_PIN,
}


class GuestAgent:
    """Pairs for a guest, as far as policy lets it: a ``PairingAgent`` of the adapter.

    ``ended`` is called once, with the reason, when the agent has ended by itself.
    """

    def __init__(self, session: GuestSession, io_capability: int, ended: Callable[[str], None]) -> None:
        self.pump_failed = session.failed
        self._session = session
        self._io_capability = io_capability
        self._ended = ended
        self._stream: GuestStream | None = None
        self._over = False
        self._last_number = 0  # of the guest's prompts: the radio's numbers tell how many others get
        self._prompts: dict[int, PairingPrompt] = {}  # those without an answer, by the guest's number

    @property
    def guest(self) -> str:
        """Returns whose the bonds are that it makes."""
        return self._session.guest

    def start(self, stream: GuestStream) -> None:
        """Starts to ask through ``stream``, the guest's data ring, which this object closes."""
        self._stream = stream
        self._session.agent = self
        self._session.adapter.agents.register(self)
        self.guest_event()

    @contained
    def guest_event(self) -> None:
        """Takes a portion of the guest's answers after an event; goes on later, until there are no more."""
        stream = self._stream
        if stream is None or self._over:
            return
        try:
            stream.take_consumed()
            untrusted_answers = stream.read(_PORTION)
            for untrusted in untrusted_answers:
                self._receive(unpack_answer(untrusted))
        except RemoteProtocolError as error:
            self._end(-errno.EBADMSG, str(error))
            return
        if untrusted_answers:
            asyncio.get_running_loop().call_soon(self.guest_event)
        elif error_of_guest := stream.ring.peer_error:
            answer = -errno.ENOTCONN if error_of_guest == -errno.ENOTCONN else -errno.EBADMSG
            self._end(answer, f"the guest ended the agent with error {error_of_guest}")

    @contained
    def review(self) -> None:
        """Refuses what is asked about peers with which policy does not let the guest pair any more."""
        for number, prompt in tuple(self._prompts.items()):
            if self.terms(prompt.address, prompt.address_type) is None:
                self._withdraw(number, Obstacle.NO_AGENT)
                prompt.answer(False)

    def close(self) -> None:
        """Refuses what is not answered, and gives the guest its pages back. Idempotent."""
        self._leave()
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def revoke(self) -> None:
        """Ends the agent because policy does not allow it any more; the guest reads -EACCES."""
        self._end(-errno.EACCES, REVOKED)

    # The radio calls these.

    def terms(self, address: bytes, address_type: int) -> PairingTerms | None:
        """Returns on which terms policy lets the guest pair with a peer; None if it does not."""
        decision = self._session.access.pairing((address, address_type))
        if not decision.allowed or self._over:
            return None
        return PairingTerms(decision.security, self._io_capability, pin_allowed=decision.allows_pin)

    @contained
    def ask(self, prompt: PairingPrompt) -> None:
        """Sends the guest a prompt, or refuses it if the guest does not read."""
        stream = self._stream
        waiting = max(len(self._prompts), stream.queued if stream is not None else 0)
        if stream is None or self._over or waiting >= MAX_QUEUED_PROMPTS:
            self._session.counts["prompts_refused"] += 1
            prompt.answer(False)
            return
        self._last_number = number = self._last_number % 0xFFFF_FFFF + 1
        self._prompts[number] = prompt
        self._session.counts["prompts"] += 1
        addr, kind = _describe(prompt)
        self._session.log.info("agent asked", addr=addr, prompt=kind)
        remaining_s = prompt.expires - asyncio.get_running_loop().time()
        self._send(
            PromptMessage(
                number, _KINDS[prompt.kind], prompt.address, prompt.address_type, prompt.value or 0,
                max(0, round(remaining_s * 1000)),
            )
        )  # fmt: skip

    @contained
    def withdraw(self, number: int, why: Obstacle) -> None:
        """Tells the guest that a prompt of the radio's ``number`` is over."""
        for own_number, prompt in self._prompts.items():
            if prompt.number == number:
                self._withdraw(own_number, why)
                return

    # Inside.

    def _receive(self, answer: AnswerMessage) -> None:
        """Takes an answer; passes over and counts one that does not count."""
        prompt = self._prompts.get(answer.number)
        if prompt is None or not _fits(prompt.kind, answer) or not prompt.answer(answer.accept, _value(answer, prompt)):
            self._session.counts["answers_ignored"] += 1
            return
        addr, kind = _describe(prompt)
        self._session.log.info("agent answered", addr=addr, prompt=kind, accept=answer.accept)
        if prompt.kind != DISPLAY or not answer.accept:  # what is displayed is so until it is withdrawn
            self._prompts.pop(answer.number, None)

    def _withdraw(self, number: int, why: Obstacle) -> None:
        prompt = self._prompts.pop(number)
        addr, kind = _describe(prompt)
        self._session.log.info("prompt withdrawn", addr=addr, prompt=kind, why=why.name.lower())
        self._send(PromptMessage(number, WITHDRAWN, prompt.address, prompt.address_type, why=why))

    def _send(self, message: PromptMessage) -> None:
        if self._stream is None or self._over:
            return
        try:
            self._stream.write([pack_prompt(message)])
        except RemoteProtocolError as error:
            self._end(-errno.EBADMSG, str(error))

    def _end(self, error: int, reason: str) -> None:
        """Reports the end; the guest may read what is in its ring until it releases the agent."""
        if self._over:
            return
        self._leave()
        if self._stream is not None:
            self._stream.end_or_wake(error)
        self._ended(reason)

    def _leave(self) -> None:
        """Is no agent any more: what it was asked is refused, and so is what it would have been asked."""
        self._over = True
        self._prompts.clear()
        if self._session.agent is self:
            self._session.agent = None
        self._session.adapter.agents.unregister(self)


def start_agent(session: GuestSession, call: AgentCall) -> None:
    """Makes an agent of the guest, whose prompts go into the ring that the call names, and answers the call."""

    def serve(made: GuestObject) -> None:
        made.server = agent = GuestAgent(session, call.io_capability, made.ended)
        agent.start(session.map_ring(call.ref, call.evtchn, agent.guest_event))

    session.make(call, session.access.agent, serve)


def _describe(prompt: PairingPrompt) -> tuple[str, str]:
    """Returns whom a prompt is about, and its kind, for the log."""
    return format_address(prompt.address), PROMPTS[prompt.kind]


def _fits(kind: int, answer: AnswerMessage) -> bool:
    """Tells whether an answer has nothing but what a prompt of this kind asks for."""
    no_passkey = answer.value == 0 or (answer.accept and kind == ENTER_PASSKEY)
    no_pin = not answer.pin or (answer.accept and kind == ENTER_PIN)
    return no_passkey and no_pin


def _value(answer: AnswerMessage, prompt: PairingPrompt) -> int | bytes | None:
    if answer.accept and prompt.kind == ENTER_PASSKEY:
        return answer.value
    return answer.pin if answer.accept and prompt.kind == ENTER_PIN else None
