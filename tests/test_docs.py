"""The documentation: what it quotes is what is printed."""

import ast
import errno
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
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
