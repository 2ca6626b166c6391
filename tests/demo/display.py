"""What the person sees: one line a step, live where that is a terminal, and the table at the end."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

INDENT = "  "
GAP = "  "
NAME_WIDTH = 64
#: What has succeeded, what has not, what goes on, a line; and what stands for them in encodings without them.
SIGNS, PLAIN_SIGNS = tuple("✓✗·─"), tuple("+x.-")


class Display:
    """Writes to standard output. On a terminal the line of a step is there while the step lasts."""

    def __init__(self) -> None:
        self._live = sys.stdout.isatty()
        self._done, self._failed, self._going_on, self._line = _signs(sys.stdout.encoding)
        self._text = ""

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """A step: a tick and its duration when it has succeeded, a cross when it raises."""
        self._text = text
        start = time.monotonic()
        self.update("")
        mark = self._failed
        try:
            yield
            mark = self._done
        finally:
            took = f"{time.monotonic() - start:7.2f} s"
            clear = "\r\x1b[K" if self._live else ""
            self._write(f"{clear}{INDENT}{mark} {self._text:<{NAME_WIDTH}}{took}\n")

    def rename(self, text: str) -> None:
        """What the step's line says in the end."""
        self._text = text

    def update(self, detail: str) -> None:
        """What goes on in the step now; nothing where nobody watches."""
        if self._live:
            self._write(f"\r\x1b[K{INDENT}{self._going_on} {self._text:<{NAME_WIDTH}} {detail}")

    def text(self, text: str = "") -> None:
        self._write(f"{text}\n")

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """The first column left-aligned, the others right-aligned."""
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        rule = INDENT + self._line * (sum(widths) + len(GAP) * (len(widths) - 1))
        self.text(rule)
        for row in (header, *rows):
            cells = [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
            self.text(INDENT + GAP.join(cells).rstrip())
            if row is header:
                self.text(rule)
        self.text(rule)

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


def _signs(encoding: str | None) -> tuple[str, ...]:
    try:
        "".join(SIGNS).encode(encoding or "ascii")
    except UnicodeEncodeError:
        return PLAIN_SIGNS
    return SIGNS


def bytes_text(count: float) -> str:
    """Decimal units, as radios have them."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.2f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


def time_text(microseconds: float) -> str:
    return f"{microseconds / 1000:.2f} ms"
