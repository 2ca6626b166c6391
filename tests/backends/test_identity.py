"""Who a guest is, by the nodes that the toolstack wrote."""

import pytest
import structlog.testing

from usbbtd.backends.identity import read_identity
from usbbtd.policy.rules import Identity


class Nodes:
    def __init__(self, nodes):
        self._nodes = nodes

    async def read(self, path):
        return self._nodes.get(path)


@pytest.mark.parametrize(
    ("domain", "tags", "expected", "said"),
    [
        ("work", "input headset", Identity(7, "work", frozenset({"headset", "input"})), []),
        ("work", None, Identity(7, "work"), []),
        (None, "", Identity(7), []),
        ("", None, Identity(7), ["name of guest passed over"]),
        ("a\nb", "x", Identity(7, None, frozenset({"x"})), ["name of guest passed over"]),
        ("x" * 256, None, Identity(7), ["name of guest passed over"]),
        ("work", "a/b", Identity(7, "work"), ["tags of guest passed over"]),
        ("work", "x " * 33, Identity(7, "work"), ["tags of guest passed over"]),
    ],
)
async def test_identity(domain, tags, expected, said):
    with structlog.testing.capture_logs() as records:
        nodes = Nodes({"b/7/0/domain": domain, "b/7/0/tags": tags})
        assert await read_identity(nodes, "b/7/0", 7, structlog.get_logger()) == expected
    assert [record["event"] for record in records] == said
