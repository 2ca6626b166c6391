"""What is true when the transaction runs counts, not what was true when the domains were listed."""

from functools import partial

import pytest

from tests.support.domain import Domain as SimulatedDomain
from tests.support.domain import NewDomain
from usbbtd.toolstack.domains import Domain
from usbbtd.toolstack.settle import reap, settle_guest
from usbbtd.toolstack.spec import Spec
from usbbtd.xen.store import Store


async def settle(guest: tuple[int, str], driver: tuple[int, str]) -> list[list[object]]:
    """In dom0: what was done for a guest that shall have a device from ``driver``."""
    store = await Store.open()
    domains = dict([guest, driver])
    configured = {0: Spec(driver[1])}
    outcome = await store.transaction(lambda t: settle_guest(t, Domain(*guest), configured, domains))
    await store.close()
    return [[what, device.backend] for what, device in outcome.done]


@pytest.mark.parametrize("renamed", [False, True])
def test_a_guest_that_is_gone_gets_nothing(dom0: SimulatedDomain, new_domain: NewDomain, renamed: bool) -> None:
    guest, driver = new_domain(), new_domain()
    name = f"guest-{guest.domid}"
    if renamed:  # it may be another domain
        dom0.world.change_store(write=[(f"{guest.home}/name", "other", None)])
    else:
        guest.destroy()
    assert dom0.run(settle, (guest.domid, name), (driver.domid, f"guest-{driver.domid}")) == []
    for path in (f"{guest.home}/device/vl2cap", f"{driver.home}/backend", f"/libxl/{guest.domid}/device/vl2cap"):
        assert dom0.world.read(path) is None


def test_a_driver_domain_that_is_gone_is_waited_for(dom0: SimulatedDomain, new_domain: NewDomain) -> None:
    guest, driver = new_domain(), new_domain()
    driver.destroy()
    names = [(domain.domid, f"guest-{domain.domid}") for domain in (guest, driver)]
    assert dom0.run(settle, *names) == [["waits", None]]
    assert dom0.world.read(driver.home) is None
    assert dom0.world.read(f"{guest.home}/device/vl2cap") is None
    assert dom0.run(settle, *names) == []


def test_a_guest_is_not_attached_to_itself(dom0: SimulatedDomain, new_domain: NewDomain) -> None:
    guest = new_domain()
    itself = (guest.domid, f"guest-{guest.domid}")
    assert dom0.run(settle, itself, itself) == [["waits", None]]


async def reap_all(driver: int, guests: list[int]) -> list[bool]:
    store = await Store.open()
    reaped = [await store.transaction(partial(reap, driver=driver, guest=guest)) for guest in guests]
    await store.close()
    return reaped


def test_only_what_dead_guests_had_is_removed(dom0: SimulatedDomain, new_domain: NewDomain) -> None:
    guest, dead, driver = new_domain(), new_domain(), new_domain()
    for domain in (guest, dead):
        dom0.world.attach_vl2cap(domain.domid, driver.domid)
    errors = f"{driver.home}/error/backend/vl2cap"
    dom0.world.change_store(write=[(f"{errors}/{each.domid}/0/error", "71 no", None) for each in (guest, dead)])
    dead.destroy()
    assert dom0.run(reap_all, driver.domid, [guest.domid, dead.domid, dead.domid]) == [False, True, False]
    assert dom0.world.read(f"{driver.home}/backend/vl2cap/{guest.domid}/0/state") == "1"
    assert dom0.world.read(f"{driver.home}/backend/vl2cap/{dead.domid}") is None
    assert dom0.world.read(f"{errors}/{guest.domid}/0/error") == "71 no"
    assert dom0.world.read(f"{errors}/{dead.domid}") is None
