"""A Xen host with domains, for tests and for people: the emulated machine, its agents, and the air around its dongle.

with new_lab(logs) as lab:  # of snapshot.py
    lab.give_dongle()
    lab.domains["work"].run("usbbt-guest", "info", "--wait", "60")
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.demo import plan
from tests.realxen import air
from tests.realxen.agents import Agents, Domain, Failed, Program
from tests.realxen.machine import HCI_PORT, KERNEL_ARGUMENTS, Machine, MachineError
from tests.sim.configuration import ALLOW_ALL
from tests.sim.dongle import PRODUCT_ID, VENDOR_ID

BOOT_S, CREATE_S, ATTACH_S, RESTORED_S = 240.0, 240.0, 120.0, 60.0
_ANSWER_S = 300.0
#: Of a domain, which as it boots has its ramdisk twice.
GUEST_MEMORY_MB = 320
DRIVER_DOMAIN, GUESTS = "sys-bt", ("work", "personal")
DONGLE = "dongle"

_CONFIG = """\
name = "{name}"
type = "pv"
kernel = "/bed/vmlinux"
ramdisk = "{ramdisk}"
extra = "console=hvc0 {arguments}"
memory = {memory_mb}
vcpus = 1
tsc_mode = "native"
on_crash = "destroy"
{more}
"""
_POLICY_DIRECTORY = "/etc/usbbtd/policy.d"  # where usbbtd looks by itself
_STATE_DIRECTORY = "/var/lib/usbbtd"
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
for file in $(find /var/log -type f ! -name '*.xz'); do
    echo "== $file"
    tail -c 60000 $file
done
if command -v journalctl >/dev/null; then
    echo "== the journal"
    journalctl --boot --output=short-monotonic --lines=500
fi
"""
_MEMORY, _STATE = "memory", "lab.json"


class Lab:
    """Xen and dom0, booted; after ``set_up`` a driver domain with usbbtd and guests that are attached to it.

    ``logs``: the directory that gets everybody's logs by ``collect_logs``. ``saved``: a directory that ``save`` has
    filled; the lab is then as it was. MachineError where it does not come up.
    """

    def __init__(self, image: Path, logs: Path, saved: Path | None = None) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self.logs = logs
        self.domains: dict[str, Domain] = {}
        self.usbbtd: Program | None = None
        self._peers: Peers | None = None
        state = json.loads((saved / _STATE).read_text()) if saved else None
        with ExitStack() as stack:
            self._sockets = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="usbbtd-")))
            self._stack = stack
            self._start_air()
            self.machine = Machine(image, self._sockets, logs, saved / _MEMORY if saved else None)
            stack.callback(self.machine.close)
            self._agents = Agents(self.machine.agent_socket, state["next_number"] if state else 1)
            stack.callback(self._agents.close)
            self.dom0 = Domain(self._agents, "dom0", 0)
            if state:
                self._go_on(state)
            elif not self._agents.wait_up(BOOT_S):
                raise MachineError(f"dom0 is not up after {BOOT_S:g} s; see {self.machine.console_log}")
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

    # As a whole.

    def set_up(self) -> None:
        """The driver domain, in which usbbtd waits for a dongle, guests whose vl2cap devices it offers, dom0's service.

        The domains boot at a time, as most of that is waiting.
        """
        self.begin_create(DRIVER_DOMAIN, more='usbctrl = ["type=qusb,version=2,ports=4"]')
        for name in GUESTS:
            self.begin_create(name)
        self.start_usbbtd(self.finish_create(DRIVER_DOMAIN)).wait_logged("usb controller connected", timeout_s=120)
        for name in GUESTS:
            self.attach_vl2cap(self.finish_create(name), self.sys_bt)
        self.start_toolstack()

    def save(self, directory: Path) -> None:
        """The lab as it is goes to files in ``directory``, and ends. No dongle may be plugged in."""
        assert self.usbbtd
        state = {
            "domains": {name: domain.domid for name, domain in self.domains.items()},
            "usbbtd": (self.usbbtd.number, "usbbtd", self.usbbtd.log),
            "next_number": self._agents.next_number(),
        }
        (directory / _STATE).write_text(json.dumps(state))
        self.machine.save(directory / _MEMORY)
        self.close()

    def _go_on(self, state: dict[str, Any]) -> None:
        self.domains = {name: Domain(self._agents, name, domid) for name, domid in state["domains"].items()}
        self.usbbtd = self.sys_bt.follow(*state["usbbtd"])
        end = time.monotonic() + RESTORED_S
        for domain in (self.dom0, *self.domains.values()):
            while not domain.answers():
                if time.monotonic() > end:
                    raise MachineError(f"{domain.name} does not answer after the restore; see {self.logs}")

    # Domains.

    @property
    def sys_bt(self) -> Domain:
        return self.domains[DRIVER_DOMAIN]

    @property
    def guests(self) -> list[Domain]:
        return [self.domains[name] for name in GUESTS]

    def create(self, name: str, *, memory_mb: int = GUEST_MEMORY_MB, more: str = "") -> Domain:
        """``xl create``; returns when the domain's agent answers. ``more``: lines of its configuration."""
        self.begin_create(name, memory_mb=memory_mb, more=more)
        return self.finish_create(name)

    def begin_create(
        self, name: str, *, memory_mb: int = GUEST_MEMORY_MB, more: str = "", ramdisk: str = "/bed/domu.cpio"
    ) -> None:
        """Returns while the domain boots, so that several can at a time. ``ramdisk``: a file of dom0."""
        config = _CONFIG.format(name=name, ramdisk=ramdisk, arguments=KERNEL_ARGUMENTS, memory_mb=memory_mb, more=more)
        self.dom0.write(f"/etc/xen/{name}.cfg", config.encode())
        self.dom0.run("xl", "create", f"/etc/xen/{name}.cfg", timeout_s=CREATE_S)

    def finish_create(self, name: str) -> Domain:
        """Waits for the agent of a domain that is being created, or started anew."""
        self.dom0.wait(f"xl domid {name}")  # one that is started anew is gone for a moment
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

    def attach_dongle_again(self, domain: Domain) -> None:
        """After it was pulled out and plugged in: libxl's record of the old one has to go first."""
        self.dom0.run("xenstore-write", f"/local/domain/0/backend/qusb/{domain.domid}/0/port/1", "")
        self.attach_dongle(domain)

    def give_dongle(self) -> None:
        """To usbbtd, by usbif; returns when it drives it."""
        assert self.usbbtd
        self.plug_dongle()
        self.attach_dongle(self.sys_bt)
        self.usbbtd.wait_logged("adapter up", timeout_s=120)

    # usbbtd.

    def start_usbbtd(self, domain: Domain) -> Program:
        """Returns when it serves."""
        domain.write("/etc/usbbtd.toml", _USBBTD_CONFIG.encode())
        domain.run("mkdir", "-p", _STATE_DIRECTORY)  # which systemd makes elsewhere
        self.allow_all(domain)
        log = f"/var/log/usbbtd-{time.monotonic_ns()}"  # nothing of an earlier one is taken for this one's
        self.usbbtd = domain.start("usbbtd", "run", "--config", "/etc/usbbtd.toml", log=log)
        self.usbbtd.wait_logged("usbbtd starts", timeout_s=240)
        return self.usbbtd

    def allow_all(self, domain: Domain) -> None:
        """The policy of usbbtd in this domain."""
        domain.run("mkdir", "-p", _POLICY_DIRECTORY)
        domain.write(f"{_POLICY_DIRECTORY}/guests.toml", ALLOW_ALL.encode())

    def attach_vl2cap(self, guest: Domain, driver: Domain, devid: int = 0) -> None:
        """Returns when usbbtd in ``driver`` has taken the device up."""
        spec = f"backend={driver.domid},devid={devid}"
        self.dom0.run("usbbt-toolstack", "attach", str(guest.domid), spec, "--timeout", "60", timeout_s=ATTACH_S)

    def start_toolstack(self) -> Program:
        """dom0's service; returns when it serves."""
        watch = self.dom0.start("usbbt-toolstack", "watch", log="/var/log/usbbt-toolstack")
        watch.wait_logged("usbbt-toolstack watches", timeout_s=120)
        return watch

    # The peers.

    @property
    def peers(self) -> "Peers":
        """The remote devices of tests.demo.peers; started at first use."""
        if self._peers is None:
            paths = [str(self._sockets / peer.name) for peer in (plan.ECHO, plan.CALLER)]
            self._peers = Peers(self._start("peers", "tests.demo.peers", *paths))
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
            if (self.logs / name).exists():
                return  # from when it was on
            text = f"{error}\n"
        (self.logs / name).write_text(text)

    # Processes beside the machine.

    def _start_air(self) -> None:
        peers = [f"--peer={peer.address},{self._sockets / peer.name}" for peer in (plan.ECHO, plan.CALLER)]
        peers.append(f"--peer={air.OTHER_DONGLE_ADDRESS},{self._sockets / HCI_PORT}")
        process = self._start("air", "tests.realxen.air", str(self._sockets / "dongle"), *peers)
        if _answer(process) != "offered\n":
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
    """The process of the remote devices, see tests.demo.peers."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._report()

    def ask(self, **command: object) -> dict[str, Any]:
        """A command and its report."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._report()

    def _report(self) -> dict[str, Any]:
        if not (line := _answer(self._process)):
            raise MachineError(f"the peers ended, or did not answer within {_ANSWER_S:g} s; see peers.log")
        report: dict[str, Any] = json.loads(line)
        return report


def _answer(process: subprocess.Popen[str]) -> str:
    """Its next line; an empty one when it ends instead. One that says nothing for long is killed."""
    assert process.stdout
    limit = threading.Timer(_ANSWER_S, process.kill)
    limit.start()
    try:
        return process.stdout.readline()
    finally:
        limit.cancel()


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()
