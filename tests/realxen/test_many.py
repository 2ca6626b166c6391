"""Eight guests at once, by their configuration lines, and what is left of them."""

from tests.demo import plan
from tests.realxen.air import MIRROR
from tests.realxen.lab import DRIVER_DOMAIN, Lab
from tests.realxen.usage import memory_kb, usage, wait_usage

GUESTS = 8
PING = ("usbbt-guest", "ping", MIRROR.address, hex(plan.ECHO_PSM["bredr"]), "--count", "20", "--timeout", "60")
#: What Python's allocator may keep of what eight guests needed.
KEPT_KB = 2048


def test_eight_guests(lab: Lab) -> None:
    """Each gets its SDUs back; when the new ones are gone the driver domain holds what it held before."""
    lab.give_dongle()
    before, memory = usage(lab, lab.sys_bt.domid), memory_kb(lab.sys_bt)
    names = [f"guest-{number}" for number in range(GUESTS - len(lab.guests))]
    for name in names:
        lab.begin_create(name, more=f'vl2cap = [ "backend={DRIVER_DOMAIN}" ]')
    added = [lab.finish_create(name) for name in names]
    guests = [*lab.guests, *added]
    assert len(guests) == GUESTS
    pings = [guest.start(*PING, "--wait", "240", log="/var/log/ping") for guest in guests]
    for ping in pings:
        assert ping.wait_end(timeout_s=300) == 0, ping.last_words()
    for guest in added:
        lab.destroy(guest)
    for guest in added:
        lab.dom0.wait(f"! xenstore-exists /local/domain/{lab.sys_bt.domid}/backend/vl2cap/{guest.domid}")
    wait_usage(lab, lab.sys_bt.domid, before)
    assert memory_kb(lab.sys_bt) <= memory + KEPT_KB
