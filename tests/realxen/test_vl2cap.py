"""A guest that has no Python: busybox and the command vl2cap, linked statically, are all that is in its ramdisk."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.clients.programs import build
from tests.demo import plan
from tests.realxen.air import MIRROR
from tests.realxen.lab import Lab

MEMORY_MB = 128
COUNT = 10
#: Prints on the console what the command says.
INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in xen-evtchn xen-gntalloc; do
    insmod /$module.ko
done
vl2cap info --wait 120
vl2cap ping {bredr} {bredr_psm:#x} --count {count} --size 2000 --mtu 2048 --quiet --wait 60
vl2cap ping {le} {le_psm:#x} --le random --count {count} --size 100 --quiet --wait 60
echo "{last} $?"
exec sleep 1000000
"""
LAST = "the last status was"
#: Prints what a domain says on its console. Not by cat: busybox's sendfile holds the pipe while it waits for more.
LISTEN = """\
tty=$(xenstore-read /local/domain/{domid}/console/tty)
busybox stty raw -echo <$tty
exec dd if=$tty bs=4096
"""
#: Of what dom0 has itself.
MAKE_RAMDISK = """\
cd /tmp/small
mkdir -p bin dev proc sys
cp /bin/busybox bin/
for module in xen-evtchn xen-gntalloc; do
    cp "$(find /usr/lib/modules -name $module.ko)" .
done
chmod +x init bin/vl2cap
find . | busybox cpio -o -H newc > /bed/small.cpio
"""


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, as a file that needs no library."""
    built = build(tmp_path_factory.mktemp("static"), "STATIC=1") / "vl2cap"
    subprocess.run(["strip", built], check=True)
    return built


def test_ping(lab: Lab, command: Path) -> None:
    """Over both transports, as soon as xl's configuration file has attached the guest."""
    lab.give_dongle()
    peers = {"bredr": MIRROR.address, "le": MIRROR.le_address}
    psms = {f"{transport}_psm": plan.ECHO_PSM[transport] for transport in plan.TRANSPORTS}
    init = INIT.format(**peers, **psms, count=COUNT, last=LAST)
    lab.dom0.run("mkdir", "-p", "/tmp/small/bin")
    lab.dom0.write("/tmp/small/init", init.encode())
    lab.dom0.write("/tmp/small/bin/vl2cap", command.read_bytes())
    lab.dom0.shell(MAKE_RAMDISK)
    attached = f'vl2cap = ["backend={lab.sys_bt.name}"]'
    lab.begin_create("small", memory_mb=MEMORY_MB, more=attached, ramdisk="/bed/small.cpio")
    domid = lab.dom0.run("xl", "domid", "small").out.strip()
    console = lab.dom0.start("sh", "-c", LISTEN.format(domid=domid), log="/var/log/small")
    said = [console.line(timeout_s=240).strip()]
    while LAST not in said[-1]:
        said.append(console.line(timeout_s=240).strip())
    assert f"address    {plan.DONGLE_ADDRESS} (bredr)" in said
    assert said[-1] == f"{LAST} 0"
    summaries = [line.split()[:2] for line in said if re.match(rf"{COUNT} +\d+ ", line)]
    assert summaries == [[str(COUNT), "2000"], [str(COUNT), "100"]], said
    lab.dom0.run("xl", "destroy", "small")
