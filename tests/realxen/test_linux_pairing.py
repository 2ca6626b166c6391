"""A domain with Linux's own Bluetooth stack, and BlueZ, pairs with usbbtd for a guest, and sends it SDUs."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.demo import plan
from tests.realxen.agents import Message, Program
from tests.realxen.air import OTHER_DONGLE_ADDRESS
from tests.realxen.lab import Lab
from tests.realxen.test_xen_hcd import SET_UP, Dongle, wait_driven

#: Linux takes no SDU that is longer, as its sockets are by default.
LENGTHS = [1, 2, 47, 251, 252, 671, 672]
HIGH = 3  # Linux's word for a link that is encrypted and authenticated
KEY_SIZE = 16
#: Of Linux's listeners, and of those of ``work``.
LINUX_PSM = {"bredr": 0x1001, "le": 0x0080}
OUR_PSM = {transport: plan.listener_psm(1, transport) for transport in plan.TRANSPORTS}
OUR_ADDRESS = {"bredr": plan.DONGLE_ADDRESS, "le": plan.ADAPTER_LE_ADDRESS}
#: Numbers of l2capif.h, which are Linux's, too. Linux's address is the same on both transports.
LINUX_TYPE = {"bredr": 0, "le": 1}
OUR_TYPE = {"bredr": 0, "le": 2}
BLUEZ = """\
mkdir -p /run/dbus
printf 'root:x:0:0::/root:/bin/sh\\nmessagebus:x:100:100::/:/bin/false\\n' >/etc/passwd
printf 'root:x:0:\\nmessagebus:x:100:\\nbluetooth:x:101:\\n' >/etc/group
dbus-daemon --system --fork
/usr/libexec/bluetooth/bluetoothd --nodetach --debug >/var/log/bluetoothd 2>&1 &
"""
TIMEOUT_S = 120.0

#: That a transport's test makes.
LINKS = 2


def told(program: Program, **command: object) -> Message:
    program.tell(dict(command))
    return program.report(timeout_s=TIMEOUT_S)


@pytest.fixture(scope="module")
def linux(lab: Lab) -> Iterator[Program]:
    """The user of a domain that listens over both transports: see domain/linux_peer.py."""
    _, guest = lab.guests
    guest.shell(SET_UP + BLUEZ)
    dongle = Dongle(lab, guest)
    dongle.do("plug")
    wait_driven(guest)
    program = guest.start("python3", "-m", "tests.realxen.domain.linux_peer", log="/var/log/linux-peer")
    assert program.report(timeout_s=TIMEOUT_S) == {"ready": True}
    for transport, psm in LINUX_PSM.items():
        listens = {"do": "listen", "address_type": LINUX_TYPE[transport], "psm": psm, "security": HIGH}
        assert told(program, **listens) == {"listening": psm}
    yield program
    assert program.finish() == 0
    dongle.detach()
    dongle.closed()


@pytest.fixture(scope="module")
def work(lab: Lab, linux: Program) -> Iterator[Program]:
    """The guest's program: see domain/secured.py."""
    lab.give_dongle()
    program = lab.domains["work"].start("python3", "-m", "tests.realxen.domain.secured", log="/var/log/secured")
    assert program.report(timeout_s=TIMEOUT_S) == {"ready": True}
    yield program
    assert program.finish() == 0


def is_high(report: Message) -> bool:
    """Whether Linux knows its link as encrypted, authenticated, and with a key of full length."""
    security, key_size = report["security"], report["key_size"]
    return bool(security >= HIGH and key_size == KEY_SIZE)


@pytest.mark.parametrize("transport", plan.TRANSPORTS)
def test_pairing(lab: Lab, work: Program, linux: Program, transport: plan.Transport) -> None:
    """Begun by the guest, whose user and Linux's see the same number. The bond is enough for a channel from Linux."""
    peer: dict[str, Any] = {"address": OTHER_DONGLE_ADDRESS, "psm": LINUX_PSM[transport]}
    kind = "bredr" if transport == "bredr" else "public"
    compared = told(work, do="connect", **peer, address_type=kind, lengths=LENGTHS)
    assert compared.keys() == {"confirmed"}
    assert linux.report(timeout_s=TIMEOUT_S) == compared
    assert work.report(timeout_s=TIMEOUT_S) == {"security": "secure", "echoed": len(LENGTHS)}
    accepted = linux.report(timeout_s=TIMEOUT_S)
    assert accepted.pop("accepted") == OUR_ADDRESS[transport]
    assert is_high(accepted)

    assert lab.usbbtd
    lab.usbbtd.wait_logged("link down", times=1 + LINKS * plan.TRANSPORTS.index(transport), timeout_s=TIMEOUT_S)
    psm = OUR_PSM[transport]
    assert told(work, do="listen", transport=transport, psm=psm) == {"listening": psm}
    ours: dict[str, Any] = {"address": OUR_ADDRESS[transport], "address_type": OUR_TYPE[transport], "psm": psm}
    called = told(linux, do="call", **ours, security=HIGH, lengths=LENGTHS)
    assert called.pop("echoed", None) == len(LENGTHS), called
    assert is_high(called)
    assert work.report(timeout_s=TIMEOUT_S) == {"from": OTHER_DONGLE_ADDRESS, "security": "secure"}
