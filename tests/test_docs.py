"""The documentation: what it quotes is what is printed, its links lead somewhere, its rules do what it says."""

import ast
import errno
import os
import re
from pathlib import Path

import pytest

from tests import ROOT
from usbbtd.cli.ctl import main as usbbtctl
from usbbtd.policy.files import load

PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
RECIPES = re.split("^## (.*)$", (ROOT / "docs/policy-cookbook.md").read_text(), flags=re.MULTILINE)[1:]
TROUBLESHOOTING = (ROOT / "docs/troubleshooting.md").read_text()
SYMPTOMS = [line.split("|")[1] for line in TROUBLESHOOTING.splitlines() if line.startswith("| ")]
QUOTED = {
    part.strip(" :") for symptom in SYMPTOMS for code in re.findall("`(.+?)`", symptom) for part in code.split("…")
}


@pytest.fixture(scope="module")
def printed() -> set[str]:
    """What the code has to say: strings, also within f-strings; names of classes; the system's words for errors."""
    texts = set(map(os.strerror, errno.errorcode))
    for path in (ROOT / "usbbtd").rglob("*.py"):
        tree = ast.parse(path.read_text())
        docstrings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings:
                texts.add(node.value)
            elif isinstance(node, ast.ClassDef):
                texts.add(node.name)
    return texts


@pytest.mark.parametrize("quoted", sorted(part for part in QUOTED if len(part) > 4))
def test_a_message_is_one_that_is_printed(printed: set[str], quoted: str) -> None:
    assert any(quoted in text for text in printed)


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for path, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", page.read_text()):
        if "://" in path:
            continue
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


@pytest.mark.parametrize("recipe", RECIPES[1:-2:2], ids=RECIPES[:-2:2])
def test_the_rules_of_a_recipe_do_what_it_says(recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each file of a recipe is loaded; each question of it is asked, and answered as it says."""
    files = re.findall(r"`([\w-]+\.toml)`:\n\n```toml\n(.*?)```", recipe, re.DOTALL)
    for name, rules in files:
        (tmp_path / name).write_text(rules)
    policy = load(tmp_path)
    assert len(policy.rules) + len(policy.tables) == recipe.count("[[") > 0
    questions = re.findall(r"^# usbbtctl (policy explain .*)\n((?:[^#`].*\n)+)", recipe, re.MULTILINE)
    assert len(questions) == recipe.count("usbbtctl policy explain") > 0
    for question, answer in questions:
        usbbtctl([*question.split(), "--directory", str(tmp_path)])
        assert capsys.readouterr().out.replace(f"{tmp_path}/", "") == answer.replace("/etc/usbbtd/policy.d/", "")
