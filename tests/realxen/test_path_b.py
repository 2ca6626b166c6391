"""Path B: a domain that has the USB controller itself, here dom0, drives the dongle by libusb; guests as in path A."""

import json
import signal

import pytest

from tests.demo import plan
from tests.demo.traffic import LENGTHS
from tests.realxen.agents import Domain, Program
from tests.realxen.air import MIRROR
from tests.realxen.lab import DONGLE, Lab
from tests.realxen.steady import Steady

LOG = "/var/log/usbbtd"
CONFIG = f"""\
[adapter]
usb = "libusb"
select = "1209:b7b7:0001"
address = "{plan.ADAPTER_LE_ADDRESS}"
command_timeout_s = 20  # an event waits behind all that an emulated machine has not carried yet

[log]
target = "stderr"
level = "debug"
"""
PINGS = 5
#: The guests' vl2cap device 0 is the driver domain's.
DEVICE = 1
OPTIONS = ("--device", str(DEVICE), "--wait", "60")


@pytest.fixture(scope="module")
def usbbtd(lab: Lab) -> Program:
    """In dom0, driving a dongle that was the kernel's, with guests attached."""
    lab.dom0.run("modprobe", "btusb")
    lab.plug_dongle()
    wait_driver(lab.dom0, "btusb")
    lab.dom0.write("/etc/usbbtd.toml", CONFIG.encode())
    lab.allow_all(lab.dom0)
    program = lab.dom0.start("usbbtd", "run", "--config", "/etc/usbbtd.toml", log=LOG)
    program.wait_logged("adapter up", timeout_s=180)
    for guest in lab.guests:
        lab.attach_vl2cap(guest, lab.dom0, DEVICE)
    return program


def wait_driver(dom0: Domain, driver: str) -> None:
    """Until this driver has the dongle's interface. No other device's driver is one of those that are asked for."""
    dom0.wait(f"ls -d /sys/bus/usb/drivers/{driver}/*:1.0")


def ping(guest: Domain, transport: plan.Transport, size: int) -> None:
    """The command, which compares what comes back."""
    address = [MIRROR.address_on(transport), hex(plan.ECHO_PSM[transport])]
    le = ["--le", "random"] if transport == "le" else []
    options = ["--json", "--count", str(PINGS), "--size", str(size), "--timeout", "30", *OPTIONS]
    assert json.loads(guest.run("usbbt-guest", "ping", *address, *le, *options).out)["count"] == PINGS


def test_taken(lab: Lab, usbbtd: Program) -> None:
    """From the kernel's driver, and the guests see it."""
    wait_driver(lab.dom0, "usbfs")
    usbbtd.wait_logged("kernel driver detached")
    for guest in lab.guests:
        assert plan.DONGLE_ADDRESS in guest.run("usbbt-guest", "info", *OPTIONS).out


def test_exchange(lab: Lab, usbbtd: Program) -> None:
    """SDUs of all lengths, over both transports at a time."""
    steady = Steady(lab.guests[0], DEVICE)
    steady.wait_exchanging(len(LENGTHS))
    steady.finish()
    assert not steady.lost


def test_empty(lab: Lab, usbbtd: Program) -> None:
    """SDUs of no octets, which over LE stall Bumble."""
    ping(lab.guests[0], "bredr", 0)


def test_replug(lab: Lab, usbbtd: Program) -> None:
    lab.machine.unplug(DONGLE)
    usbbtd.wait_logged("reason=unplugged")
    usbbtd.wait_logged("dongle detached")
    lab.plug_dongle()
    usbbtd.wait_logged("adapter up", times=2, timeout_s=120)
    for transport in plan.TRANSPORTS:
        ping(lab.guests[1], transport, 100)


def test_stop(lab: Lab, usbbtd: Program) -> None:
    """The kernel's driver has the dongle back."""
    usbbtd.signal(signal.SIGTERM)
    assert usbbtd.wait_end() == 0
    wait_driver(lab.dom0, "btusb")
