"""Prints tables and numbers for people."""

from collections.abc import Sequence


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table, each column as wide as it needs to be."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def counted(number: int, noun: str) -> str:
    """Returns a number with its noun: ``1 device``, ``2 devices``. ``noun``: one whose plural ends in s."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
