"""What stands on both sides of a pairing: agents of our adapters, with users who answer, and remote devices' users."""

import asyncio
from collections.abc import Callable
from typing import Any

from bumble.pairing import PairingDelegate

from usbbtd.bluetooth import DISPLAY_YES_NO, KEYBOARD_ONLY, LEVEL_ENCRYPTED
from usbbtd.radio.agents import PairingPrompt
from usbbtd.radio.errors import Obstacle
from usbbtd.security.bonds import Bond
from usbbtd.security.terms import CONFIRM, CONSENT, DISPLAY, ENTER_PASSKEY, PairingTerms

#: What a user answers: whether to accept, and what was typed.
Answer = tuple[bool, int | bytes | None]


class Notes:
    """What both users of a pairing see. ``shown``: the passkeys that one device shows, for the other to be typed."""

    def __init__(self) -> None:
        self.shown: asyncio.Queue[int] = asyncio.Queue()


class AirAgent:
    """An agent whose user says yes, and types what ``notes`` have. ``may``: whether it may pair at all.

    ``answer``: what the user says otherwise; None leaves a prompt open.
    """

    def __init__(
        self, io_capability: int = DISPLAY_YES_NO, level: int = LEVEL_ENCRYPTED, *, guest: str = "work",
        notes: Notes | None = None, answer: Callable[[PairingPrompt], Answer | None] | None = None, may: bool = True,
        **terms: Any,
    ) -> None:  # fmt: skip
        self.guest = guest
        self.notes = notes or Notes()
        self.may = may
        self.prompts: list[PairingPrompt] = []
        self.withdrawn: list[tuple[int, Obstacle]] = []
        self.asked = asyncio.Event()
        self._terms = PairingTerms(level, io_capability, **terms)
        self._answer = answer
        self._typing: set[asyncio.Task[None]] = set()

    @property
    def kinds(self) -> list[int]:
        return [prompt.kind for prompt in self.prompts]

    def terms(self, address: bytes, address_type: int) -> PairingTerms | None:
        return self._terms if self.may else None

    def ask(self, prompt: PairingPrompt) -> None:
        self.prompts.append(prompt)
        self.asked.set()
        if self._answer is not None:
            if (said := self._answer(prompt)) is not None:
                prompt.answer(*said)
        elif prompt.kind in (CONSENT, CONFIRM):
            prompt.answer(True)
        elif prompt.kind == DISPLAY:
            assert prompt.value is not None
            self.notes.shown.put_nowait(prompt.value)
        elif prompt.kind == ENTER_PASSKEY:
            task = asyncio.create_task(self._type(prompt))
            self._typing.add(task)
            task.add_done_callback(self._typing.discard)

    def withdraw(self, number: int, why: Obstacle) -> None:
        self.withdrawn.append((number, why))

    async def _type(self, prompt: PairingPrompt) -> None:
        prompt.answer(True, await self.notes.shown.get())


class RemoteUser(PairingDelegate):  # type: ignore[misc]  # Bumble is not typed
    """The user of a remote device, who says yes, and types what ``notes`` have."""

    def __init__(self, io: Any, notes: Notes | None = None, *, says: bool = True) -> None:
        super().__init__(io_capability=io)
        self.notes = notes or Notes()
        self.says = says
        self.compared: list[int] = []

    async def confirm(self, auto: bool = False) -> bool:
        return self.says

    async def compare_numbers(self, number: int, digits: int) -> bool:
        self.compared.append(number)
        return self.says

    async def display_number(self, number: int, digits: int) -> None:
        self.notes.shown.put_nowait(number)

    async def get_number(self) -> int | None:
        return await self.notes.shown.get() if self.says else None


class Shelf:
    """Bonds kept in memory, as a disk would: see ``usbbtd.radio.security.BondStore``."""

    def __init__(self) -> None:
        self.bonds: dict[tuple[bytes, int], Bond] = {}

    def load(self) -> list[Bond]:
        return list(self.bonds.values())

    def save(self, bond: Bond) -> None:
        self.bonds[bond.address, bond.address_type] = bond

    def remove(self, bond: Bond) -> None:
        del self.bonds[bond.address, bond.address_type]


def typist(notes: Notes) -> AirAgent:
    return AirAgent(KEYBOARD_ONLY, notes=notes)
