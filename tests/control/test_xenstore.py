"""Parts of xenstore for a bug report."""

from typing import Any

from tests.support.domain import NewDomain
from usbbtd.control import xenstore
from usbbtd.control.xenstore import nodes_below
from usbbtd.xen.store import Store


async def look(nodes: Any, most: Any = None) -> Any:
    """In a domain that makes these nodes in its own directory."""
    if most is not None:
        xenstore.MAX_NODES = most
    store = await Store.open()
    for path, value in nodes:
        await store.write(f"data/{path}", value)
    lines = await nodes_below(store, "data")
    await store.close()
    return lines


def test_all_below_is_told_in_order(new_domain: NewDomain) -> None:
    nodes = [("b", "2"), ("a/x", "1"), ("a/long", "y" * 1000)]
    assert new_domain().run(look, nodes) == [
        'data = ""', 'data/a = ""', f'data/a/long = "{"y" * 256}"', 'data/a/x = "1"', 'data/b = "2"'
    ]  # fmt: skip


def test_what_is_not_there_or_too_much_is_told(new_domain: NewDomain) -> None:
    domain = new_domain()
    deep = "/".join("abcdefghij")
    lines = domain.run(look, [(deep, "1")])
    assert lines[-1] == f"data/{deep[:15]}: and more"
    assert domain.run(look, [(f"many/{number}", "") for number in range(20)], 10)[-1].endswith(": and more")
    assert len(domain.run(look, [], 10)) == 11


async def look_elsewhere(other: Any) -> Any:
    store = await Store.open()
    lines = [line for path in ("nothing", other) for line in await nodes_below(store, path)]
    await store.close()
    return lines


def test_what_may_not_be_read_is_told(new_domain: NewDomain) -> None:
    other = new_domain().home
    missing, refused = new_domain().run(look_elsewhere, other)
    assert missing == "nothing: not there"
    assert refused.startswith(f"{other}: ")
    assert "Permission denied" in refused
