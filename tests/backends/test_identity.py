"""Who a guest is, by the nodes that the toolstack wrote."""

from typing import cast

import pytest
import structlog.testing

from usbbtd.backends.identity import read_identity
from usbbtd.policy.rules import Identity
from usbbtd.xen.store import Store


class Nodes:
    def __init__(self, nodes: dict[str, str | None]) -> None:
        self._nodes = nodes

    async def read(self, path: str) -> str | None:
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
async def test_identity(domain: str | None, tags: str | None, expected: Identity, said: list[str]) -> None:
    with structlog.testing.capture_logs() as records:
        store = cast(Store, Nodes({"b/7/0/domain": domain, "b/7/0/tags": tags}))
        assert await read_identity(store, "b/7/0", 7, structlog.get_logger()) == expected
    assert [record["event"] for record in records] == said
