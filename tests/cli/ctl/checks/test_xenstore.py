"""What doctor finds in xenstore, as the driver domain of guests whose service does not run."""

import asyncio

from tests.support.domain import NewDomain
from usbbtd.cli.ctl.checks.xenstore import check_xenstore


async def findings() -> list[tuple[str, str, str]]:
    found = await asyncio.to_thread(check_xenstore, usbif=False)
    return [(finding.check, finding.status, finding.found) for finding in found]


def test_more_devices_than_the_quotas_are_enough_for(new_domain: NewDomain) -> None:
    driver, guests = new_domain(), [new_domain() for _ in range(65)]
    for guest in guests[1:]:
        guest.world.attach_vl2cap(guest.domid, driver.domid)
    assert "guests" not in [check for check, *_ in driver.run(findings)]
    guests[0].world.attach_vl2cap(guests[0].domid, driver.domid)
    quota = "65 devices: xenstored's default quotas are enough for 64"
    assert driver.run(findings)[-1] == ["guests", "warning", quota]


def test_a_guest_that_cannot_be_seen_is_not_called_dead(new_domain: NewDomain) -> None:
    driver, guest = new_domain(), new_domain()
    world = guest.world
    world.attach_vl2cap(guest.domid, driver.domid)
    world.change_store(write=[(f"{guest.home}/device/vl2cap/0/state", "4", [f"n{guest.domid}"])])
    found = "Initialising; the guest's end is hidden: the guest is dead, or does not let it be read"
    assert driver.run(findings)[-1] == [f"backend/vl2cap/{guest.domid}/0", "warning", found]
