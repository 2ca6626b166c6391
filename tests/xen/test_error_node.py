"""What is told there, what is left, and that it is no harm where it cannot be told."""

from tests.support.domain import NewDomain
from usbbtd.xen.error_node import ErrorNode
from usbbtd.xen.store import Store

PATH = "backend/vl2cap/7/0"


async def tell(path: str, code: int, reason: str) -> None:
    store = await Store.open()
    await ErrorNode(store, path).write(code, reason)
    await store.close()


async def take_back(path: str) -> None:
    """Of an earlier process."""
    store = await Store.open()
    node = ErrorNode(store, path)
    await node.remove()
    await node.remove()
    await store.close()


def test_a_reason_is_told_and_taken_back(new_domain: NewDomain) -> None:
    domain = new_domain()
    world, top = domain.world, f"{domain.home}/error"
    domain.run(take_back, PATH)
    domain.run(tell, PATH, 71, "no ring " + "x" * 5000)
    domain.run(tell, "backend/vl2cap/8/0", 13, "no")
    text = world.read(f"{top}/{PATH}/error") or ""
    assert text.startswith("71 no ring xxx")
    assert len(text) == 3 + 512
    domain.run(tell, PATH, 71, "\N{MUSICAL SYMBOL G CLEF}" * 600)  # more octets than a node may have
    assert (world.read(f"{top}/{PATH}/error") or "").startswith("71 \N{MUSICAL SYMBOL G CLEF}")
    domain.run(take_back, PATH)
    assert world.read(f"{top}/backend/vl2cap/7") is None
    assert world.read(f"{top}/backend/vl2cap/8/0/error") == "13 no"
    domain.run(take_back, "backend/vl2cap/8/0")
    assert world.read(f"{top}/backend") is None
    assert world.read(top) == ""


def test_without_the_right_nothing_is_told_and_nothing_is_wrong(new_domain: NewDomain) -> None:
    domain = new_domain()
    top = f"{domain.home}/error"
    domain.world.change_store(write=[(top, "", ["n0"])])
    domain.run(tell, PATH, 71, "no ring")
    domain.run(take_back, PATH)
    assert domain.world.read(f"{top}/backend") is None
