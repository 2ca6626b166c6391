"""Types of arguments that several commands take, for argparse."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from usbbtd.bluetooth import ADDRESS, LAST_HANDLE
from usbbtd.identifiers import LAST_DOMID


class Parser(argparse.ArgumentParser):
    """Accepts ``ADDRESS --count 10 PSM``, too, if PSM may be left out, as argparse does from Python 3.12.7 on."""

    def _match_arguments_partial(self, actions: Sequence[argparse.Action], arg_strings_pattern: str) -> list[int]:
        counts = super()._match_arguments_partial(actions, arg_strings_pattern)
        while counts and counts[-1] == 0 and "O" in arg_strings_pattern:  # the operand may follow the options
            counts.pop()
        return counts


def seconds(text: str) -> float:
    """Reads a time in seconds, which is not negative."""
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no time in seconds")
    return value


def seconds_up_to(longest: float) -> Callable[[str], float]:
    """Returns the type of times up to a limit."""

    def parse(text: str) -> float:
        if (value := seconds(text)) > longest:
            raise argparse.ArgumentTypeError(f"{text} s is more than {longest:g} s")
        return value

    return parse


def number(text: str) -> int:
    """Reads a whole number, as Python writes them: 0x1001, 4097."""
    try:
        return int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number, like 0x1001 or 4097") from None


def between(lowest: int, highest: int) -> Callable[[str], int]:
    """Returns the type of numbers in a range that includes both ends."""

    def parse(text: str) -> int:
        value = number(text)
        if value < lowest:
            raise argparse.ArgumentTypeError(f"{text} is less than {lowest}")
        if value > highest:
            raise argparse.ArgumentTypeError(f"{text} is more than {highest}")
        return value

    return parse


def address(text: str) -> str:
    """Reads the address of a device."""
    if not ADDRESS.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no address, like C0:FF:EE:00:00:13")
    return text


def link(text: str) -> int | str:
    """Reads the handle of a link, or the address of a peer."""
    if ADDRESS.fullmatch(text):
        return text
    try:
        handle = int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no handle, like 0x0040, nor an address") from None
    if not 0 <= handle <= LAST_HANDLE:
        raise argparse.ArgumentTypeError(f"{text} is no handle: it is 0 to 0x{LAST_HANDLE:04x}")
    return handle


def directory(text: str) -> Path:
    """Reads the path of a directory that exists: any other is mistyped."""
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: there is no such directory")
    return path


#: The number of a domain.
domid = between(0, LAST_DOMID)
