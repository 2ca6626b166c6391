"""The first sentence of a docstring says what a function does: a verb in the third person, its object, a full stop."""

import ast
import re

from tests import ROOT

FUNCTIONS = {
    f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {docstring[:60]!r}": docstring
    for path in (ROOT / "usbbtd").rglob("*.py")
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (docstring := ast.get_docstring(node))
}

#: A verb ends in a single s, and not as "status" does. What follows it does not make a noun of it: "handles of links".
VERB = re.compile(r"[A-Z][a-z]*(?<![su])s\b(?! (of|between)\b)")
#: Other words that end so.
NO_VERB = re.compile(r"(Always|As|Besides|His|Its|Ours|Perhaps|Sometimes|Theirs|This)\b")


def begins_with_a_verb(docstring: str) -> bool:
    return VERB.match(docstring) is not None and NO_VERB.match(docstring) is None


def ends_its_sentence(docstring: str) -> bool:
    """Looks at the first paragraph, the end of which may be an example of code."""
    return docstring.partition("\n\n")[0].endswith((".", "``"))


def test_first_words() -> None:
    assert len(FUNCTIONS) > 800
    assert [where for where, docstring in FUNCTIONS.items() if not begins_with_a_verb(docstring)] == []


def test_first_sentences() -> None:
    assert [where for where, docstring in FUNCTIONS.items() if not ends_its_sentence(docstring)] == []


def test_words_that_are_no_verbs() -> None:
    """The rule notices the docstrings that it is against."""
    for words in (
        "Returns the node that identifies this device.", "Is called when the device is gone.", "Raises XenError.",
    ):  # fmt: skip
        assert begins_with_a_verb(words)
    for words in (
        "Whether it is gone.", "The node.", "None: it is gone.", "Raise XenError.", "``name``: a clause.", "4.2",
        "This is gone.", "Handles of links.", "Status of a command.", "Address of a peer.", "(handle, PDU).",
    ):  # fmt: skip
        assert not begins_with_a_verb(words)
