"""What several commands take as arguments: for argparse."""

import argparse
from collections.abc import Callable

#: The highest number of a domain that a guest can have: Xen's DOMID_FIRST_RESERVED - 1.
_LAST_DOMID = 0x7FEF


def seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no time in seconds")
    return value


def number(text: str) -> int:
    """A whole number, as Python writes them: 0x1001, 4097."""
    try:
        return int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number, like 0x1001 or 4097") from None


def between(lowest: int, highest: int) -> Callable[[str], int]:
    """Makes the type of numbers in a range."""

    def parse(text: str) -> int:
        value = number(text)
        if value < lowest:
            raise argparse.ArgumentTypeError(f"{text} is less than {lowest}")
        if value > highest:
            raise argparse.ArgumentTypeError(f"{text} is more than {highest}")
        return value

    return parse


#: The number of a domain.
domid = between(0, _LAST_DOMID)
