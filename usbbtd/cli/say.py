"""Says things to the user of usbbt-guest, on standard error, and makes what strangers say safe to print."""

import sys


def tell(text: str) -> None:
    """Prints a line."""
    print(f"usbbt-guest: {text}", file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """Replaces letters of a name from the radio that could steer the terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
