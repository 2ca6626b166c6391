"""Figures and words for people."""

import pytest

from usbbtd.cli.ctl.output import duration, number_of_bytes, printable


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"), (999, "999 B"), (999.7, "1.0 kB"), (1500, "1.5 kB"), (99_949, "99.9 kB"), (99_960, "100 kB"),
        (999_400, "999 kB"), (999_600, "1.0 MB"), (38_400_000, "38.4 MB"), (5e9, "5.0 GB"), (7e12, "7.0 TB"),
        (7e15, "7000 TB"),
    ],
)  # fmt: skip
def test_bytes(count: float, text: str) -> None:
    assert number_of_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.9, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"), (90_000, "1 d 1 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_what_others_named_is_text() -> None:
    assert printable("a\x1b[31m\nb é") == "a?[31m?b é"
    assert printable(None) == "-"
