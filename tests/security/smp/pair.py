"""Two of our own pairing machines on one link, with people and controllers that do what they are told."""

import random as deterministic
from collections.abc import Callable
from typing import Final

from usbbtd.bluetooth import ADDRESS_LE_PUBLIC, ADDRESS_LE_RANDOM, CENTRAL, PERIPHERAL
from usbbtd.security.smp.events import SmpAsked, SmpEncrypt, SmpEvent, SmpFailed, SmpPaired, SmpPrompt
from usbbtd.security.smp.machine import Smp
from usbbtd.security.terms import CONFIRM, CONSENT, DISPLAY, ENTER_PASSKEY, PairingTerms

CENTRAL_ADDRESS: Final = (bytes.fromhex("0100005566c7"), ADDRESS_LE_RANDOM)
PERIPHERAL_ADDRESS: Final = (bytes.fromhex("0200005566aa"), ADDRESS_LE_PUBLIC)


def randomness(seed: int) -> Callable[[int], bytes]:
    return deterministic.Random(seed).randbytes


class SmpPair:
    """Carries PDUs between a central and a peripheral until nothing is left to carry."""

    def __init__(
        self,
        central: PairingTerms,
        peripheral: PairingTerms,
        *,
        identities: tuple[tuple[bytes, bytes, int] | None, tuple[bytes, bytes, int] | None] = (None, None),
        typed: int | None = None,
    ) -> None:
        self.smps = (
            Smp(CENTRAL, CENTRAL_ADDRESS, PERIPHERAL_ADDRESS, randomness(1), identity=identities[0]),
            Smp(PERIPHERAL, PERIPHERAL_ADDRESS, CENTRAL_ADDRESS, randomness(2), identity=identities[1]),
        )
        self.terms = (central, peripheral)
        self.typed = typed  # what people type; None: what the other side shows
        self.confirms = True
        #: What becomes of a PDU of a side on its way.
        self.tamper: Callable[[int, bytes], bytes] = lambda _side, pdu: pdu
        self.events: tuple[list[SmpEvent], list[SmpEvent]] = ([], [])
        self.shown: list[int | None] = [None, None]
        self.asked_for: list[int] = []
        self.log: list[tuple[int, bytes]] = []  # who sent what
        self.key: bytes | None = None  # the link's

    def run(self, starts: int = CENTRAL) -> "SmpPair":
        self.smps[starts].start(self.terms[starts], 0.0)
        self.pump()
        return self

    def pump(self) -> None:
        busy = True
        while busy:
            busy = False
            for side, smp in enumerate(self.smps):
                for pdu in smp.take_pdus():
                    busy = True
                    self.log.append((side, pdu))
                    self.smps[not side].receive(self.tamper(side, pdu), 0.0)
                for event in smp.take_events():
                    busy = True
                    self.events[side].append(event)
                    self.handle(side, event)
            busy |= self.answer_passkeys()

    def handle(self, side: int, event: SmpEvent) -> None:
        smp = self.smps[side]
        if isinstance(event, SmpAsked):
            smp.accept(self.terms[side], 0.0)
        elif isinstance(event, SmpPrompt):
            self.asked_for.append(event.kind)
            if event.kind in (DISPLAY, CONFIRM):
                self.shown[side] = event.value
            if event.kind in (CONSENT, CONFIRM):
                smp.answer(self.confirms, None, 0.0)
        elif isinstance(event, SmpEncrypt):
            self.key = self.smps[PERIPHERAL].long_term_key(0, 0)
            assert self.key == event.key
            for each in self.smps[::-1]:
                each.encrypted(0.0)

    def answer_passkeys(self) -> bool:
        """Types what is shown, or what was made up where both sides type."""
        answered = False
        for side, smp in enumerate(self.smps):
            prompts = [event for event in self.events[side] if isinstance(event, SmpPrompt)]
            if prompts and prompts[-1].kind == ENTER_PASSKEY:
                value = self.typed if self.typed is not None else self.shown[not side]
                if value is not None:
                    answered |= smp.answer(True, value, 0.0)
        return answered

    def ends(self) -> list[SmpPaired | SmpFailed]:
        """Returns the one end of each side."""
        found = []
        for events in self.events:
            (end,) = [event for event in events if isinstance(event, SmpPaired | SmpFailed)]
            found.append(end)
        return found

    def results(self) -> list[SmpPaired]:
        return [end for end in self.ends() if isinstance(end, SmpPaired)]

    def failures(self) -> list[SmpFailed]:
        return [end for end in self.ends() if isinstance(end, SmpFailed)]
