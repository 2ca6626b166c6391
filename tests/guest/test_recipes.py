"""docs/guest-api.md: each of its programs prints what stands after it."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import ROOT
from tests.guest.conftest import Pair
from tests.support.domain import Domain

PAGE = (ROOT / "docs/guest-api.md").read_text(encoding="utf-8")


class Recipe(NamedTuple):
    title: str
    code: str
    printed: list[str]


def recipes() -> dict[str, Recipe]:
    found = re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?^```python\n(.*?)^```\n+```\n(.*?)^```$", PAGE, re.M | re.S)
    return {title: Recipe(title, code, printed.splitlines()) for title, code, printed in found}


RECIPES = recipes()
#: These go on until they are interrupted.
ENDLESS = ("Listen", "Reconnect")

Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def start(pair: Pair, tmp_path: Path) -> Start:
    """Starts a recipe in the guest, as the program that a reader makes of it."""

    def start(title: str) -> subprocess.Popen[str]:
        program = tmp_path / "recipe.py"
        program.write_text(RECIPES[title].code)
        command = [sys.executable, "-W", "error", str(program)]
        environment = os.environ | pair.guest.world.environment(pair.guest.domid)
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    return start


def test_all_are_found() -> None:
    assert len(RECIPES) == PAGE.count("```python")
    assert set(ENDLESS) < set(RECIPES)


@pytest.mark.parametrize("title", sorted(set(RECIPES) - set(ENDLESS)))
def test_recipe(guest: Domain, start: Start, title: str) -> None:
    with start(title) as program:
        assert program.stdout
        assert program.stdout.read().splitlines() == RECIPES[title].printed
    assert program.returncode == 0


def test_listen(guest: Domain, start: Start) -> None:
    with start("Listen") as program:
        assert program.stdout
        assert [program.stdout.readline().rstrip()] == RECIPES["Listen"].printed
        program.kill()


def test_reconnect(pair: Pair, start: Start) -> None:
    """Over the end of the service, and the start of another."""
    backend = pair.start_backend()
    with start("Reconnect") as program:
        assert program.stdout
        printed = [program.stdout.readline().rstrip()]
        backend.kill()
        pair.start_backend()
        printed += [program.stdout.readline().rstrip() for _ in RECIPES["Reconnect"].printed[1:]]
        program.kill()
    assert printed == RECIPES["Reconnect"].printed
