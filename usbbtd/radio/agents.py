"""Agents, with which users let peers pair, and what those are asked."""

from collections.abc import Callable
from typing import Protocol

from usbbtd.radio.errors import Obstacle
from usbbtd.security.terms import PROMPTS, PairingTerms


class PairingPrompt:
    """A question about a pairing, which counts until it is answered or withdrawn, or the loop's time ``expires``.

    ``kind`` and ``value``: see ``usbbtd.security.terms``. ``address`` and ``address_type``: of the peer's identity, as
    far as that is known.
    """

    __slots__ = ("_answer", "address", "address_type", "expires", "kind", "number", "value")

    def __init__(
        self, number: int, kind: int, value: int | None, address: bytes, address_type: int, expires: float,
        answer: Callable[["PairingPrompt", bool, int | bytes | None], bool],
    ) -> None:  # fmt: skip
        self.number = number
        self.kind = kind
        self.value = value
        self.address = address
        self.address_type = address_type
        self.expires = expires
        self._answer = answer

    def __repr__(self) -> str:
        return f"PairingPrompt({self.number}, {PROMPTS[self.kind]})"

    def answer(self, accept: bool, value: int | bytes | None = None) -> bool:
        """Answers. ``value``: the passkey or the PIN that was typed. Returns False if the answer does not count.

        One that comes too late, or again, does not, and neither does a value that is none for this prompt.
        """
        return self._answer(self, accept, value)


class PairingAgent(Protocol):
    """Pairs for a user. None of these methods may raise or wait.

    ``guest``: to whom the bonds that it makes belong; empty for nobody.
    """

    @property
    def guest(self) -> str: ...

    def terms(self, address: bytes, address_type: int) -> PairingTerms | None:
        """Returns on which terms it may pair with the peer of this identity; None if it may not."""

    def ask(self, prompt: PairingPrompt) -> None:
        """Takes a question, to be answered later or at once."""

    def withdraw(self, number: int, why: Obstacle) -> None:
        """Learns that a prompt needs no answer any more. ``why``: UNKNOWN if nothing went wrong."""


class Agents:
    """Keeps the agents of one adapter, of which the first that may pairs with a peer that asks for it.

    Of several guests' agents, those of the guest whose listener the peer came to are before the others.

    ``gone`` is called with each that leaves, while its prompts and pairings may still be open.
    """

    def __init__(self, gone: Callable[[PairingAgent], None]) -> None:
        self._agents: list[PairingAgent] = []
        self._gone = gone

    def __len__(self) -> int:
        return len(self._agents)

    def register(self, agent: PairingAgent) -> None:
        """Lets an agent be asked for pairings that peers begin, until ``unregister``."""
        if agent not in self._agents:
            self._agents.append(agent)

    def unregister(self, agent: PairingAgent) -> None:
        """Ends ``register``, and the pairings that the agent has under way, registered or not. Idempotent."""
        if agent in self._agents:
            self._agents.remove(agent)
        self._gone(agent)

    def find(
        self, address: bytes, address_type: int, guest: str = ""
    ) -> tuple[PairingAgent, PairingTerms] | None:  # fmt: skip
        """Returns the first agent that may pair with the peer of this identity, with its terms; None without one.

        ``guest``: whose listener the peer came to, if it did to one; its agents are the first.
        """
        for agent in sorted(self._agents, key=lambda agent: agent.guest != guest) if guest else self._agents:
            if (terms := agent.terms(address, address_type)) is not None:
                return agent, terms
        return None
