"""Adds subcommands, and shows rows as JSON, one object a line, or as a table."""

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from usbbtd.cli.table import print_table

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - it has no other name

Run = Callable[[argparse.Namespace], int]
Row = dict[str, Any]

NONE = "-"

#: The state shown of a device that no program uses: one that was used before is Closed then.
IDLE = "idle"
_UNUSED = ("Closed", "InitWait")

_UNITS = ("B", "kB", "MB", "GB", "TB")


def add_command(
    subparsers: "Subparsers", name: str, run: Run, text: str, *, json: bool = True
) -> argparse.ArgumentParser:
    """Adds a subcommand and returns its parser. ``json``: whether to add --json, too."""
    parser: argparse.ArgumentParser = subparsers.add_parser(name, help=text, description=text, allow_abbrev=False)
    parser.set_defaults(run=run)
    if json:
        add_json(parser)
    return parser


def add_json(parser: "argparse._ActionsContainer") -> None:
    parser.add_argument("--json", action="store_true", help="for programs: JSON, one object a line")


def show_rows(
    rows: Iterable[Row], head: Sequence[str], cells: Callable[[Row], Sequence[str]], arguments: argparse.Namespace
) -> None:
    """Prints rows. ``cells``: returns the cells of the table for a row."""
    if arguments.json:
        for row in rows:
            print(json.dumps(row))
    else:
        print_table(head, [cells(row) for row in rows])


def number_of_bytes(count: float) -> str:
    """Returns a number of bytes as people read it, in at most seven letters: ``1.5 MB``."""
    power = 0
    while count >= 999.5 and power < len(_UNITS) - 1:
        count /= 1000
        power += 1
    return f"{count:.{int(power > 0 and count < 99.95)}f} {_UNITS[power]}"


def duration(seconds: float) -> str:
    """Returns a duration in its two largest units: ``3 h 12 min``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def printable(text: str | None) -> str:
    """Replaces letters that could steer the terminal: others have chosen this text. Returns NONE for None."""
    return NONE if text is None else "".join(letter if letter.isprintable() else "?" for letter in text)


def guest_state(row: Row) -> str:
    """Returns the state of a guest's device: "idle" if all is well and no program of the guest uses it."""
    return IDLE if row["state"] in _UNUSED and not row["reason"] else str(row["state"])


def hexadecimal(number: int | None) -> str:
    return NONE if number is None else f"0x{number:04x}"
