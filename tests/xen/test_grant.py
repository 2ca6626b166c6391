import asyncio
import errno
import os
from collections.abc import Callable

import pytest

from tests.support.domain import NewDomain
from usbbtd.errors import LocalProtocolError
from usbbtd.xen.dataring import DataRing
from usbbtd.xen.error import XenError
from usbbtd.xen.grant import Grants
from usbbtd.xen.ring import BackRing, FrontRing
from usbbtd.xen.store import Store


async def sharing(guest: int, path: str) -> str:
    """Offers three pages, writes into them, waits for the other domain's answer in the first."""
    grants, store = Grants(), await Store.open()
    pages = grants.share(guest, 3)
    assert bytes(pages.memory) == bytes(3 * 4096)
    for number in range(3):
        pages.page(number)[:4] = b"pg%02d" % number
    async with store.watch(path) as watch:
        await store.write(path, " ".join(map(str, pages.refs)))
        while await store.read(path) != "done":
            await anext(watch)
    answer = bytes(pages.page(0)[4:10]).decode()
    pages.close()
    grants.close()
    await store.close()
    return answer


async def mapping(host: int, refs: list[int]) -> list[object]:
    grants = Grants()
    backwards = grants.map(host, refs[::-1])
    seen: list[object] = [bytes(backwards.page(number)[:4]).decode() for number in range(3)]
    readonly = grants.map(host, refs[:1], writable=False)
    with pytest.raises(TypeError):
        readonly.memory[0] = 1
    backwards.page(2)[4:10] = b"answer"
    seen.append(bytes(readonly.memory[:10]).decode())
    segments = [(refs[0], 2, 3), (refs[2], 0, 4), (refs[1], 4095, 1)]
    grants.copy_to(host, segments, b"12345678")
    seen.append(grants.copy_from(host, segments).decode())
    seen.append(grants.copy_from(host, []).decode())
    grants.copy_to(host, [(refs[0], 0, 10)], b"pg00answer")
    many = [(refs[number % 3], number, 1) for number in range(1000)]
    grants.copy_to(host, many, bytes(number % 251 for number in range(1000)))
    seen.append(grants.copy_from(host, many) == bytes(number % 251 for number in range(1000)))
    grants.copy_to(host, [(refs[0], 0, 10)], b"pg00answer")
    for pages in (backwards, readonly):
        pages.close()
        pages.close()
    grants.close()
    grants.close()
    return seen


def test_two_domains_share_pages(new_domain: "NewDomain") -> None:
    host, guest = new_domain(), new_domain()
    path = f"{host.home}/data/refs"
    offering = host.start(sharing, guest.domid, path)
    host.world.wait_value(f"{host.home}/data/refs", *[f"{n} {n + 1} {n + 2}" for n in range(8, 2000)])
    refs = [int(ref) for ref in (host.world.read(path) or "").split()]
    seen = guest.run(mapping, host.domid, refs)
    assert seen == ["pg02", "pg01", "pg00", "pg00answer", "12345678", "", True]
    host.world.change_store(write=[(path, "done", None)])
    assert offering.result() == "answer"
    counts = host.world.statistics()
    assert (counts[host.domid]["shared"], counts[guest.domid]["mapped"]) == (0, 0)


async def refusals(domid: int) -> tuple[int, list[tuple[str, str]]]:
    """The page's reference, and the errors."""
    grants = Grants()
    page = grants.share(domid, 1)
    ref = page.refs[0]
    found = []
    attempts: list[Callable[[], object]] = [
        lambda: grants.map(domid, [ref, 99]),
        lambda: grants.map(domid, [2**32]),
        lambda: grants.map(999, [ref]),
        lambda: grants.copy_from(domid, [(ref, 0, 1), (99, 5, 7)]),
        lambda: grants.copy_from(domid, [(ref, 0, 4096), (ref, 1, 4096)]),
        lambda: grants.copy_from(domid, [(ref, 4097, 0)]),
        lambda: grants.copy_from(domid, [(ref, 2**32 - 1, 2)]),
        lambda: grants.copy_to(domid, [(ref, 0, 3)], b"four"),
        lambda: grants.share(domid, 5000),
        lambda: grants.share(2**32, 1),
        lambda: grants.map(0x10000 + domid, [ref]),
        lambda: grants.map(0x7FF0, [ref]),
    ]
    for attempt in attempts:
        try:
            attempt()
        except (XenError, LocalProtocolError) as error:
            found.append((type(error).__name__, str(error)))
    page.close()
    grants.close()
    return ref, found


def test_refusals_name_domain_and_reference(new_domain: "NewDomain") -> None:
    domain = new_domain()
    ref, found = domain.run(refusals, domain.domid)
    assert [name for name, _ in found] == ["XenError"] * 7 + ["LocalProtocolError"] + ["XenError"] * 4
    texts = [text for _, text in found]
    assert f"cannot map references {ref}, 99 of domain {domain.domid}:" in texts[0]
    assert "4294967296" in texts[1]
    assert "domain 999" in texts[2]
    place = f"pages of domain {domain.domid} (reference 99, offset 5, 7 bytes)"
    assert f"cannot copy from {place}: Bad address" in texts[3]
    assert f"(reference {ref}, offset 1, 4096 bytes): Invalid argument" in texts[4]
    assert f"cannot share 5000 pages with domain {domain.domid}" in texts[8]
    assert texts[9:] == [f"no domain has the number {number}" for number in (2**32, 0x10000 + domain.domid, 0x7FF0)]


async def rings_in_pages(domid: int) -> list[str]:
    """A ring in pages that are closed is told apart before the process would end."""
    grants = Grants()
    shared = grants.share(domid, 3)
    mapped = grants.map(domid, shared.refs)
    front, back = FrontRing(shared.page(0), 64, 64), BackRing(mapped.page(0), 64, 64)
    front.put([bytes(64)])
    back.take()
    front.close()
    back.close()
    ring = DataRing(shared.page(0), shared.memory[4096:], frontend=True)
    seen = []
    try:
        shared.close()
    except LocalProtocolError as error:
        seen.append(str(error))
    ring.close()
    shared.close()
    page = mapped.page(1)
    mapped.close()
    uses: list[Callable[[], object]] = [lambda: page[0], lambda: mapped.memory[0]]
    for use in uses:
        try:
            use()
        except ValueError as error:
            seen.append(str(error))
    grants.close()
    try:
        grants.share(domid, 1)
    except LocalProtocolError as error:
        seen.append(str(error))
    return seen


def test_pages_outlive_the_rings_in_them(new_domain: "NewDomain") -> None:
    domain = new_domain()
    seen = domain.run(rings_in_pages, domain.domid)
    assert seen[0] == "shared pages are closed before the ring that lives in them"
    assert ["released" in text for text in seen[1:3]] == [True, True]
    assert seen[3] == "the grants are closed"


async def forgotten(domid: int) -> list[int]:
    """Pages and devices that nobody closed go with the last reference to them."""
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(300):
        grants = Grants()
        shared = grants.share(domid, 10)
        grants.map(domid, shared.refs)
        grants.close()
    del grants, shared
    return [len(os.listdir("/proc/self/fd")) - descriptors]


def test_nothing_leaks(new_domain: "NewDomain") -> None:
    """300 times 10 pages are more than a domain has."""
    domain = new_domain()
    assert domain.run(forgotten, domain.domid)[0] <= 3


async def no_devices() -> list[tuple[int | None, str]]:
    os.environ["XENSIM_DIR"] = "/nowhere"
    grants = Grants()
    found = []
    attempts: list[Callable[[], object]] = [lambda: grants.share(0, 1), lambda: grants.map(0, [8])]
    attempts.append(lambda: grants.copy_from(0, [(8, 0, 1)]))
    for attempt in attempts:
        try:
            attempt()
        except XenError as error:
            found.append((error.errno, str(error)))
    return found


def test_without_the_devices(new_domain: "NewDomain") -> None:
    found = new_domain().run(no_devices)
    assert [code for code, _ in found] == [errno.ENOENT] * 3
    assert ["/dev/xen/gntalloc" in found[0][1], *["/dev/xen/gntdev" in text for _, text in found[1:]]] == [True] * 3


async def holding(guest: int, path: str) -> None:
    grants, store = Grants(), await Store.open()
    pages = grants.share(guest, 1)
    pages.memory[:5] = b"alive"
    await store.write(path, str(pages.refs[0]))
    await asyncio.get_running_loop().create_future()


async def surviving(host: int, ref: int, path: str) -> str:
    grants, store = Grants(), await Store.open()
    pages = grants.map(host, [ref])
    async with store.watch(path) as watch:
        await store.write(path, "mapped")
        while await store.read(path) != "dead":
            await anext(watch)
    text = bytes(pages.memory[:5]).decode()
    pages.close()
    grants.close()
    await store.close()
    return text


def test_mapped_pages_survive_a_killed_granter(new_domain: "NewDomain") -> None:
    host, guest = new_domain(), new_domain()
    path, told = f"{host.home}/data/ref", f"{guest.home}/data/peer"
    killed = host.start(holding, guest.domid, path)
    ref = host.world.wait_value(path, *map(str, range(8, 2000)))
    assert ref
    process = guest.start(surviving, host.domid, int(ref), told)
    guest.world.wait_value(told, "mapped")
    killed.kill()
    guest.world.change_store(write=[(told, "dead", None)])
    assert process.result() == "alive"
