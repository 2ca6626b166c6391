"""What the bench says of the machine."""

import os
import platform
from pathlib import Path

import pytest

import usbbtd
from tests.bench.machine import Machine, ProcessorTime, compiled_modules, processor_name


def test_what_others_took_is_what_was_busy_and_not_ours() -> None:
    start = ProcessorTime(at=0, total=100, busy=50, own=10)
    assert ProcessorTime(at=10, total=120, busy=60, own=18).others_since(start) == pytest.approx(0.1)
    assert ProcessorTime(at=10, total=120, busy=51, own=18).others_since(start) == 0
    assert start.others_since(start) == 0


def test_the_clock_goes_on() -> None:
    start, end = ProcessorTime.now(), ProcessorTime.now()
    assert 0 < start.busy <= start.total
    assert end.at >= start.at
    assert end.own >= start.own


def test_a_processor_has_its_name_or_its_kind() -> None:
    assert processor_name("processor : 0\nmodel name\t: A Processor @ 3 GHz\n") == "A Processor @ 3 GHz"
    assert processor_name("processor : 0\nBogoMIPS : 50\n") == platform.machine()


def test_the_sentences_say_when_figures_are_worth_little() -> None:
    machine = Machine.describe("abcdef")
    text = " ".join(machine.sentences())
    assert f"{len(os.sched_getaffinity(0))} × " in text
    assert platform.python_version() in text
    assert "commit abcdef" in text
    assert "not quiet" not in text
    assert "others took 30% of the machine meanwhile: it was not quiet" in machine._replace(others=0.3).sentences()[-1]
    assert "nothing compiled" in machine._replace(compiled=0).sentences()[1]
    assert "25 modules compiled by mypyc" in machine._replace(compiled=25).sentences()[1]


def test_compiled_is_what_has_a_source_and_is_loaded_as_machine_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not [name for name in compiled_modules() if name.startswith("usbbtd.abi")]
    before = set(compiled_modules())
    for name in ("both.py", "both.abi3.so", "source.py", "binary.abi3.so"):
        (tmp_path / name).touch()
    monkeypatch.setattr(usbbtd, "__path__", [*usbbtd.__path__, str(tmp_path)])
    assert set(compiled_modules()) - before == {"usbbtd.both"}
