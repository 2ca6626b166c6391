"""The emulated machine: QEMU without virtualisation, with Xen and dom0 in its memory and nothing on a disk."""

import contextlib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

MEMORY_MB, DOM0_MEMORY_MB = 4608, 1024
#: Mitigations are for processors that speculate, which this one does not; they cost a tenth of everything. For the rate
#: limit of the scheduler see docs/testbed.md.
XEN_ARGUMENTS = (
    f"dom0_mem={DOM0_MEMORY_MB}M,max:{DOM0_MEMORY_MB}M dom0_max_vcpus=1 com1=115200,8n1 console=com1 loglvl=warning "
    "guest_loglvl=warning noreboot bootscrub=0 spec-ctrl=no,eager-fpu sched_ratelimit_us=10000"
)
#: A root file system in ramfs: a tmpfs takes no more than half of the memory. Without random addresses a program that
#: runs again is not translated again.
KERNEL_ARGUMENTS = "rootfstype=ramfs rdinit=/init loglevel=4 cryptomgr.notests mitigations=off rodata=off norandmaps"
#: What newer processors have makes an emulated one slower, and is not without faults in QEMU 7.2: see docs/testbed.md.
CPU = "qemu64"
#: Of dom0: a virtio port that leads to the socket of that name, on which a controller is served by H4.
HCI_PORT = "hci"
_START_S, _SAVE_S, _ANSWER_S = 30.0, 300.0, 120.0


class MachineError(Exception):
    """The machine does not do what it should: what, and where its logs are."""


class Machine:
    """``directory``: for its sockets, whose names must be short. ``logs``: gets qemu.log and xen.log.

    ``memory``: what ``save`` of a machine of the same image has written; this one goes on where that one was.
    """

    def __init__(self, image: Path, directory: Path, logs: Path, memory: Path | None = None) -> None:
        self.console_log = logs / "xen.log"
        self.agent_socket = directory / "agent"
        self._log_path = logs / "qemu.log"
        control_socket = directory / "qmp"
        # Ends with us, however we end: a worker that is given up has no time to close anything.
        command = ["setpriv", "--pdeathsig", "KILL", find_qemu(), "-cpu", CPU]
        command += ["-accel", "tcg,thread=multi,tb-size=1024", "-smp", str(processors())]
        command += ["-m", str(MEMORY_MB), "-nodefaults", "-nic", "none", "-display", "none", "-vga", "none"]
        command += ["-kernel", str(image / "xen"), "-append", XEN_ARGUMENTS]
        command += ["-initrd", f"{image / 'vmlinux'} console=hvc0 {KERNEL_ARGUMENTS},{image / 'dom0.cpio'}"]
        command += ["-serial", f"file:{self.console_log}"]
        command += ["-device", "virtio-serial-pci", "-device", "qemu-xhci,id=xhci"]
        command += ["-chardev", f"socket,id=agent,path={self.agent_socket},server=on,wait=off"]
        command += ["-device", "virtserialport,chardev=agent,name=agent"]
        command += ["-chardev", f"socket,id={HCI_PORT},path={directory / HCI_PORT},reconnect=1"]
        command += ["-device", f"virtserialport,chardev={HCI_PORT},name={HCI_PORT}"]
        command += ["-qmp", f"unix:{control_socket},server=on,wait=off"]
        if memory is not None:
            command += ["-incoming", f"exec:cat {shlex.quote(str(memory))}"]
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._control = self._connect(control_socket)
        self._control.settimeout(_ANSWER_S)
        self._answers = self._control.makefile("r")
        self._answers.readline()  # the greeting
        self.execute("qmp_capabilities")
        if memory is not None:
            self._wait("query-status", busy=("inmigrate",))
            self.execute("cont")

    def save(self, memory: Path) -> None:
        """Writes the machine's state to a file, and ends it. Nothing may be plugged in."""
        self.execute("stop")
        self.execute("migrate-set-parameters", **{"max-bandwidth": 1 << 33})
        self.execute("migrate", uri=f"exec:cat > {shlex.quote(str(memory))}")
        status = self._wait("query-migrate", busy=("setup", "active", "device"))
        if status != "completed":
            raise MachineError(f"QEMU cannot save the machine: {status}; see {self._log_path}")
        self.close()

    def execute(self, command: str, **arguments: object) -> Any:
        """A QMP command. MachineError with QEMU's own words where it refuses."""
        try:
            self._control.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
            for line in self._answers:
                answer = json.loads(line)
                if "return" in answer:
                    return answer["return"]
                if "error" in answer:
                    raise MachineError(f"{command}: {answer['error']['desc']}")
        except TimeoutError:
            raise MachineError(f"QEMU does not answer {command} within {_ANSWER_S:g} s") from None
        raise MachineError(f"QEMU ended at {command}; see {self._log_path}")

    def plug(self, name: str, socket_path: Path) -> None:
        """A USB device that listens there for usb-redir."""
        address = {"type": "unix", "data": {"path": str(socket_path)}}
        backend = {"type": "socket", "data": {"addr": address, "server": False}}
        self.execute("chardev-add", id=f"{name}-redir", backend=backend)
        self.execute("device_add", driver="usb-redir", id=name, chardev=f"{name}-redir", bus="xhci.0")

    def plug_disk(self, name: str, file: Path) -> None:
        """A disk with the content of a file, which stays as it is whatever is written."""
        drive = f"drive_add 0 if=none,id={name}-drive,file={file},format=raw,snapshot=on"
        answer = self.execute("human-monitor-command", **{"command-line": drive})
        if "OK" not in answer:
            raise MachineError(f"{drive}: {answer}")
        self.execute("device_add", driver="virtio-blk-pci", id=name, drive=f"{name}-drive")

    def unplug(self, name: str) -> None:
        """As somebody who pulls it out."""
        self.execute("device_del", id=name)

    def close(self) -> None:
        """Idempotent."""
        self._answers.close()
        self._control.close()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def _wait(self, query: str, *, busy: Collection[str]) -> str:
        """The status that a query tells when it is none of these any more."""
        end = time.monotonic() + _SAVE_S
        while (status := str(self.execute(query)["status"])) in busy:
            if time.monotonic() > end:
                raise MachineError(f"QEMU's {query} still says {status} after {_SAVE_S:g} s; see {self._log_path}")
            time.sleep(0.05)
        return status

    def _connect(self, path: Path) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        end = time.monotonic() + _START_S
        while self._process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                connection.connect(str(path))
                return connection
            time.sleep(0.02)
        self._process.kill()
        self._process.wait()
        raise MachineError(f"QEMU does not start: {self._log_path.read_text(errors='replace')}")


def find_qemu() -> str:
    if (program := shutil.which("qemu-system-x86_64")) is None:
        raise MachineError("qemu-system-x86_64 is missing: apt-get install qemu-system-x86")
    return program


def processors() -> int:
    """Half of them: two machines run at a time, and one that waits for another that does not run is lost to both."""
    return min(max(len(os.sched_getaffinity(0)) // 2, 1), 4)
