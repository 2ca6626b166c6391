"""The table of what is tested with what, and what cannot be: ``python -m tests.matrix.cells`` prints it."""

import sys
from itertools import product
from typing import NamedTuple

from usbbtd.bluetooth import BREDR, LE, LEVEL_AUTHENTICATED, LEVEL_ENCRYPTED, LEVEL_NONE, LEVEL_SECURE
from usbbtd.radio.errors import Obstacle

MAKES = ("bumble", "btvirt", "rootcanal")
PEERS = ("Bumble", "usbbtd")
#: What data goes over, with its transport.
CARRIERS = {"BR/EDR": BREDR, "LE CoC": LE, "ATT": LE}
#: On LE, MITM is the passkey of legacy pairing, on BR/EDR a passkey, too; SC is a comparison of numbers.
LEVELS = {"none": LEVEL_NONE, "encrypted": LEVEL_ENCRYPTED, "MITM": LEVEL_AUTHENTICATED, "SC": LEVEL_SECURE}


class Cell(NamedTuple):
    """A make of controllers, a peer's stack, a carrier and a level, by their names."""

    make: str
    peer: str
    carrier: str
    level: str


class Cannot(NamedTuple):
    """Says why a cell cannot be, for people; and which obstacle a user hears of."""

    why: Obstacle
    text: str


CELLS = [Cell(*cell) for cell in product(MAKES, PEERS, CARRIERS, LEVELS)]
_COMPARES = Cannot(
    Obstacle.NO_MITM, "btvirt has numbers compared whatever both ends can show and type; so only SC authenticates"
)
CANNOT = {Cell("btvirt", peer, "BR/EDR", "MITM"): _COMPARES for peer in PEERS}


def table() -> str:
    """Returns the table in Markdown."""
    notes = list(dict.fromkeys(CANNOT.values()))
    lines = [f"| controllers | peer | carrier | {' | '.join(LEVELS)} |", "|---|---|---|" + "---|" * len(LEVELS)]
    for make, peer, carrier in product(MAKES, PEERS, CARRIERS):
        found = [CANNOT.get(Cell(make, peer, carrier, level)) for level in LEVELS]
        marks = ["pass" if cannot is None else f"cannot be ({notes.index(cannot) + 1})" for cannot in found]
        lines.append(f"| {make} | {peer} | {carrier} | {' | '.join(marks)} |")
    return "\n".join([*lines, "", *(f"{number}. {note.text}." for number, note in enumerate(notes, 1)), ""])


if __name__ == "__main__":
    sys.stdout.write(table())
