"""What the demo writes where nobody watches live."""

import io

import pytest

from tests.demo.display import Display, bytes_text, time_text


def test_a_step_is_one_line_when_it_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display()
    with display.step("something long"):
        display.update("half of it")
        assert capsys.readouterr().out == ""
    line = capsys.readouterr().out
    assert line.split() == ["✓", "something", "long", "0.00", "s"]
    with pytest.raises(KeyError), display.step("something wrong"):
        raise KeyError
    assert capsys.readouterr().out.startswith("  ✗ something wrong")


def test_on_a_terminal_the_line_is_there_while_the_step_lasts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    display = Display()
    with display.step("something long"):
        display.update("half of it")
        assert capsys.readouterr().out.rstrip().endswith("half of it")
    assert capsys.readouterr().out.startswith("\r\x1b[K  ✓ something long")


def test_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    Display().table(("", "SDUs"), [("BR/EDR", "7"), ("LE", "1,234")])
    rule = "  " + "─" * 13
    lines = [rule, "           SDUs", rule, "  BR/EDR      7", "  LE      1,234", rule]
    assert capsys.readouterr().out.splitlines() == lines


def test_an_encoding_without_ticks_and_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr("sys.stdout", output)
    display = Display()
    with display.step("something"):
        pass
    display.table(("", "SDUs"), [("LE", "7")])
    output.seek(0)
    step, rule, *_ = output.read().splitlines()
    assert step.startswith("  + something")
    assert rule == "  " + "-" * 8


def test_quantities() -> None:
    assert [bytes_text(count) for count in (0, 999, 1000, 2_204_000, 3e9)] == [
        "0 B",
        "999 B",
        "1.00 kB",
        "2.20 MB",
        "3.00 GB",
    ]
    assert time_text(1034) == "1.03 ms"
