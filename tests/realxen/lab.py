"""A Xen host with domains, for tests and for people: the emulated machine, its agents, and the air around its dongle.

with Lab(image(), logs) as lab:
    sys_bt, usbbtd, (work, personal) = lab.set_up_path_a("work", "personal")
    work.run("usbbt-guest", "info", "--wait", "60")
"""

import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

from tests.realxen.agents import Agents, Domain, Failed, Program
from tests.realxen.machine import KERNEL_ARGUMENTS, Machine, MachineError
from usbbtd.sim.demo import plan
from usbbtd.sim.dongle import PRODUCT_ID, VENDOR_ID

BOOT_S, CREATE_S = 180.0, 120.0
DONGLE = "dongle"

_CONFIG = """\
name = "{name}"
type = "pv"
kernel = "/bed/vmlinux"
ramdisk = "/bed/domu.cpio"
extra = "console=hvc0 {arguments}"
memory = {memory_mb}
vcpus = 1
on_crash = "destroy"
{more}
"""
_USBBTD_CONFIG = f"""\
[adapter]
address = "{plan.ADAPTER_LE_ADDRESS}"
command_timeout_s = 20  # an event waits behind all that an emulated machine has not carried yet

[log]
target = "stderr"
level = "debug"
"""
#: Prints the dongle's bus and device number.
_FIND_DONGLE = f"""\
for device in /sys/bus/usb/devices/*; do
    if [ "$(cat $device/idVendor $device/idProduct 2>/dev/null)" = "{VENDOR_ID:04x}
{PRODUCT_ID:04x}" ]; then
        echo $(cat $device/busnum $device/devnum)
        exit
    fi
done
exit 1
"""
#: Prints all logs, but no more than a console can carry in time.
_PRINT_LOGS = """\
for file in $(find /var/log -type f); do
    echo "== $file"
    tail -c 60000 $file
done
"""
_USBBTD_LOG = "/var/log/usbbtd"


class PathA(NamedTuple):
    """A driver domain, its usbbtd that drives the dongle by usbif, and the guests that have a vl2cap device."""

    sys_bt: Domain
    usbbtd: Program
    guests: list[Domain]


class Lab:
    """Xen and dom0, booted. ``logs``: the directory that gets everybody's logs by ``collect_logs``.

    MachineError where it does not boot.
    """

    def __init__(self, image: Path, logs: Path) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self.logs = logs
        self.domains: dict[str, Domain] = {}
        self._peers: Peers | None = None
        with ExitStack() as stack:
            self._sockets = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="usbbtd-")))
            self._stack = stack
            self._start_air()
            self.machine = Machine(image, self._sockets, logs)
            stack.callback(self.machine.close)
            self._agents = Agents(self.machine.agent_socket)
            stack.callback(self._agents.close)
            if not self._agents.wait_up(BOOT_S):
                raise MachineError(f"dom0 is not up after {BOOT_S:g} s; see {self.machine.console_log}")
            self.dom0 = Domain(self._agents, "dom0", 0)
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Everything ends at once. Idempotent."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Domains.

    def create(self, name: str, *, memory_mb: int = 256, usb_controller: bool = False) -> Domain:
        """``xl create``; returns when the domain's agent answers."""
        self.begin_create(name, memory_mb=memory_mb, usb_controller=usb_controller)
        return self.finish_create(name)

    def begin_create(self, name: str, *, memory_mb: int = 256, usb_controller: bool = False) -> None:
        """Returns while the domain boots, so that several can at a time."""
        more = 'usbctrl = ["type=qusb,version=2,ports=4"]' if usb_controller else ""
        config = _CONFIG.format(name=name, arguments=KERNEL_ARGUMENTS, memory_mb=memory_mb, more=more)
        self.dom0.write(f"/etc/xen/{name}.cfg", config.encode())
        self.dom0.run("xl", "create", f"/etc/xen/{name}.cfg", timeout_s=CREATE_S)

    def finish_create(self, name: str) -> Domain:
        domid = int(self.dom0.run("xl", "domid", name).out)
        domain = Domain(self._agents, name, domid)
        end = time.monotonic() + CREATE_S
        while not domain.answers():
            if time.monotonic() > end or self.dom0.run("xenstore-exists", f"/local/domain/{domid}", check=False).status:
                last_words = self.dom0.run("tail", "-n", "20", f"/var/log/console-{domid}", check=False).out
                raise Failed(f"{name} does not come up. Its console:\n{last_words}")
        self.domains[name] = domain
        return domain

    def destroy(self, domain: Domain) -> None:
        self.dom0.run("xl", "destroy", domain.name)
        self.domains.pop(domain.name, None)

    # The dongle.

    def plug_dongle(self) -> None:
        """Into the machine; returns when dom0's kernel has it."""
        self.machine.plug(DONGLE, self._sockets / "dongle")
        self.dom0.wait(f"grep -qx {VENDOR_ID:04x} /sys/bus/usb/devices/*/idVendor")

    def attach_dongle(self, domain: Domain) -> None:
        """dom0 exports it to the domain's virtual USB controller."""
        number = self.dom0.shell(_FIND_DONGLE)
        bus, device = number.split()
        self.dom0.run("xl", "usbdev-attach", domain.name, f"hostbus={bus}", f"hostaddr={device}")

    # usbbtd.

    def start_usbbtd(self, domain: Domain) -> Program:
        """Returns when it drives the dongle."""
        domain.write("/etc/usbbtd.toml", _USBBTD_CONFIG.encode())
        program = domain.start("usbbtd", "run", "--config", "/etc/usbbtd.toml", log=_USBBTD_LOG)
        program.wait_logged("adapter up", timeout_s=90)
        return program

    def attach_vl2cap(self, guest: Domain, driver: Domain, devid: int = 0) -> None:
        """Makes the nodes of a vl2cap device."""
        self.dom0.run("python3", "/bed/attach_vl2cap.py", str(guest.domid), str(driver.domid), str(devid))

    def set_up_path_a(self, *guests: str) -> PathA:
        """All of it: the domains boot at a time, as most of that is waiting."""
        self.plug_dongle()
        self.begin_create("sys-bt", usb_controller=True)
        for name in guests:
            self.begin_create(name)
        sys_bt = self.finish_create("sys-bt")
        self.attach_dongle(sys_bt)
        path = PathA(sys_bt, self.start_usbbtd(sys_bt), [self.finish_create(name) for name in guests])
        for guest in path.guests:
            self.attach_vl2cap(guest, sys_bt)
        return path

    # The peers.

    @property
    def peers(self) -> "Peers":
        """The remote devices of usbbtd.sim.demo.peers; started at first use."""
        if self._peers is None:
            paths = [str(self._sockets / peer.name) for peer in (plan.ECHO, plan.CALLER)]
            self._peers = Peers(self._start("peers", "usbbtd.sim.demo.peers", *paths))
        return self._peers

    # Logs.

    def collect_logs(self) -> Path:
        """Whatever the domains can still tell goes to ``logs``, beside what is there already."""
        for script, name in (
            ("xl dmesg", "xl-dmesg.log"),
            ("xl list", "xl-list.log"),
            ("dmesg", "dom0-dmesg.log"),
            ("xenstore-ls -fp", "xenstore.log"),
            (_PRINT_LOGS, "dom0.log"),
        ):
            self._collect(self.dom0, script, name)
        for domain in self.domains.values():
            self._collect(domain, _PRINT_LOGS + "dmesg", f"{domain.name}.log")
        return self.logs

    def _collect(self, domain: Domain, script: str, name: str) -> None:
        try:
            text = domain.run("sh", "-c", script, timeout_s=30, check=False).out
        except (Failed, MachineError, OSError) as error:  # OSError: the machine is off
            text = f"{error}\n"
        (self.logs / name).write_text(text)

    # Processes beside the machine.

    def _start_air(self) -> None:
        peers = [f"--peer={peer.address},{self._sockets / peer.name}" for peer in (plan.ECHO, plan.CALLER)]
        air = self._start("air", "tests.realxen.air", str(self._sockets / "dongle"), *peers)
        assert air.stdout
        if air.stdout.readline() != "offered\n":
            raise MachineError(f"the air does not start; see {self.logs / 'air.log'}")

    def _start(self, name: str, module: str, *arguments: str) -> subprocess.Popen[str]:
        log = self._stack.enter_context((self.logs / f"{name}.log").open("w"))
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
        self._stack.callback(_end, process)
        return process


class Peers:
    """The process of the remote devices, see usbbtd.sim.demo.peers."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin
        assert process.stdout
        self._input: IO[str] = process.stdin
        self._output: IO[str] = process.stdout
        self._report()

    def ask(self, **command: object) -> dict[str, Any]:
        """A command and its report."""
        self._input.write(json.dumps(command) + "\n")
        self._input.flush()
        return self._report()

    def _report(self) -> dict[str, Any]:
        line = self._output.readline()
        if not line:
            raise MachineError("the peers ended; see peers.log")
        report: dict[str, Any] = json.loads(line)
        return report


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()
