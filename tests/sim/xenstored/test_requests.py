import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sim.xenstored import wire
from tests.sim.xenstored.requests import ON_NODES, parse_permissions
from tests.sim.xenstored.tree import Permission, Tree, TreeTransaction
from tests.sim.xenstored.wire import StoreError


@pytest.fixture
def ask() -> Callable[..., Any]:
    transaction = TreeTransaction(Tree(domains={0, 3}), 0)
    return lambda operation, payload: ON_NODES[operation](transaction, 0, payload)


def test_values_may_be_any_bytes(ask: Callable[..., Any]) -> None:
    ask(wire.WRITE, b"/a\0\0x\0")
    assert ask(wire.READ, b"/a\0") == b"\0x\0"


def test_permissions_on_the_wire(ask: Callable[..., Any]) -> None:
    ask(wire.MKDIR, b"/a\0")
    ask(wire.SET_PERMS, b"/a\0n3\0r0\0")
    assert ask(wire.GET_PERMS, b"/a\0") == b"n3\0r0\0"
    assert ask(wire.GET_PERMS, b"@releaseDomain\0") == b"n0\0"


@pytest.mark.parametrize("items", [[], ["x1"], ["n"], ["n1 "], ["n1", ""], ["n123456"]])
def test_bad_permissions(items: list[str]) -> None:
    with pytest.raises(StoreError, match="EINVAL"):
        parse_permissions(items)
    assert parse_permissions(["n1", "b2"]) == (Permission(1, "n"), Permission(2, "b"))


def test_a_large_directory_comes_in_parts(ask: Callable[..., Any]) -> None:
    names = [f"{number:04}-{'x' * 20}" for number in range(400)]
    for name in names:
        ask(wire.MKDIR, f"/d/{name}\0".encode())
    assert len(ask(wire.DIRECTORY, b"/d\0")) > wire.PAYLOAD_MAX
    read, generations = b"", set()
    while not read.endswith(b"\0\0"):
        part = ask(wire.DIRECTORY_PART, b"/d\0%d\0" % len(read))
        assert len(part) <= wire.PAYLOAD_MAX
        generation, _, rest = part.partition(b"\0")
        generations.add(generation)
        read += rest
    assert read[:-2].decode().split("\0") == names
    assert len(generations) == 1
    assert ask(wire.DIRECTORY_PART, b"/d\0%d\0" % (len(read) + 5)).endswith(b"\0\0")


@given(st.sampled_from(sorted(ON_NODES)), st.binary(max_size=64), st.sampled_from([0, 3]))
def test_any_payload_is_answered_or_refused(operation: int, payload: bytes, domid: int) -> None:
    with contextlib.suppress(StoreError):
        assert isinstance(ON_NODES[operation](TreeTransaction(Tree(domains={0, 3}), domid), domid, payload), bytes)
