"""What happens to dongles, daemons and domains: the others work on, and nothing of what is gone stays behind."""

import signal

import pytest

from tests.realxen.lab import DONGLE, DRIVER_DOMAIN, Lab
from tests.realxen.steady import Steady
from tests.realxen.usage import Usage, usage, wait_usage

STORM_S = 10


@pytest.fixture(scope="module")
def alone(lab: Lab, work: Steady) -> Usage:
    """What the driver domain holds while ``work`` is its only guest with channels."""
    return usage(lab, lab.sys_bt.domid)


def test_replug(lab: Lab, work: Steady, alone: Usage) -> None:
    """Channels end with an error when the dongle is pulled out; the guest opens new ones when it is back."""
    assert lab.usbbtd
    lab.machine.unplug(DONGLE)
    work.wait_lost()
    lab.plug_dongle()
    lab.attach_dongle_again(lab.sys_bt)
    lab.usbbtd.wait_logged("adapter up", times=2)
    work.wait_exchanging()
    wait_usage(lab, lab.sys_bt.domid, alone)


def test_guest_destroyed(lab: Lab, work: Steady, alone: Usage) -> None:
    """In the middle of its traffic: the other goes on with its channels, and all of its own is given back."""
    assert lab.usbbtd
    work.lost.clear()
    personal = Steady(lab.domains["personal"])
    personal.wait_exchanging()
    both = usage(lab, lab.sys_bt.domid)
    assert both.mapped > alone.mapped
    assert both.ports > alone.ports
    lab.destroy(personal.domain)
    lab.usbbtd.wait_logged("guest detached")
    work.wait_exchanging()
    assert not work.lost
    left = usage(lab, lab.sys_bt.domid)
    assert (left.mapped, left.ports) == (alone.mapped, alone.ports)
    assert left.nodes < alone.nodes  # personal's device had been there
    backend = f"/local/domain/{lab.sys_bt.domid}/backend/vl2cap"
    lab.dom0.wait(f'[ "$(xenstore-list {backend})" = {work.domain.domid} ]')


def test_watch_storm(lab: Lab, work: Steady) -> None:
    """A guest that writes its own nodes without end disturbs nobody, itself included."""
    storm = work.domain.start("python3", "-m", "tests.realxen.domain.storm", str(STORM_S), log="/var/log/storm")
    work.wait_exchanging()
    assert int(storm.line(timeout_s=STORM_S + 60)) > STORM_S
    work.wait_exchanging()
    assert not work.lost


@pytest.mark.parametrize("name", ["work", DRIVER_DOMAIN])
def test_paused(lab: Lab, work: Steady, name: str) -> None:
    """A guest, or the driver domain, that does not run for a while goes on afterwards, and so do the channels."""
    lab.dom0.run("xl", "pause", name)
    assert not lab.domains[name].answers()
    lab.dom0.run("xl", "unpause", name)
    work.wait_exchanging()
    assert not work.lost


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_usbbtd_ends(lab: Lab, work: Steady, alone: Usage, number: signal.Signals) -> None:
    """The guest gets an error on its channels, and opens new ones when the service is there again."""
    assert lab.usbbtd
    work.lost.clear()
    before = usage(lab, lab.sys_bt.domid)
    lab.usbbtd.signal(number)
    assert lab.usbbtd.wait_end() == (0 if number == signal.SIGTERM else -number)
    lab.start_usbbtd(lab.sys_bt)
    lab.usbbtd.wait_logged("adapter up", timeout_s=120)
    work.wait_lost()
    assert {error for _, error, _ in work.lost} <= {"ChannelLost", "AdapterGone", "NoController"}
    work.wait_exchanging()
    wait_usage(lab, lab.sys_bt.domid, before)
