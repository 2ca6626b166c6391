"""One noun, one class: who greps for one finds one."""

import ast
from collections import Counter

from tests import ROOT

PACKAGE = ROOT / "usbbtd"


def test_no_class_is_defined_twice() -> None:
    count = Counter(
        node.name
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    )
    assert len(count) > 300
    assert [name for name, times in count.items() if times > 1] == []
