"""usbbtd as it is deployed, on the simulated Xen: the service, dom0 with the dongle, a remote device, guests.

Everything waits for what is to be, with a time limit.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from tests.demo import plan
from tests.sim.configuration import ALLOW_ALL, write_configuration
from tests.sim.world import World
from tests.support.domain import Domain, NewDomain
from usbbtd.l2capif.nodes import VL2CAP
from usbbtd.nodes import home
from usbbtd.usb.nodes import VUSB

TIME_LIMIT_S = 15
CONFIGURATION = """\
[guests]
unread_bytes = 65536
[state]
directory = "{state}"
[log]
target = "stderr"
addresses = "{addresses}"
[control]
socket = "{socket}"
"""


class Process:
    """Python code that runs as a process of a domain, ``"-m", module`` or a file; what it logs is kept."""

    def __init__(self, world: World, domid: int | None, *arguments: object, **environment: str) -> None:
        own = {} if domid is None else world.environment(domid)
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            env=os.environ | own | environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True, errors="replace",
        )  # fmt: skip
        assert self._process.stdin
        assert self._process.stdout
        assert self._process.stderr
        self._stdin, self._stdout, self._stderr = self._process.stdin, self._process.stdout, self._process.stderr
        self.log: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def wait_printed(self) -> None:
        """A line on standard output: the process is ready."""
        assert self._stdout.readline(), self.tail()

    def ask(self, **command: object) -> dict[str, Any]:
        """A command of tests.demo.lines, and its report."""
        self._stdin.write(json.dumps(command) + "\n")
        self._stdin.flush()
        line = self._stdout.readline()
        assert line, self.tail()
        report: dict[str, Any] = json.loads(line)
        return report

    def wait_logged(self, *words: str, since: int = 0) -> str:
        """The first line from ``since`` on with all these words. ``len(log)`` before something gives a ``since``."""
        end = time.monotonic() + TIME_LIMIT_S
        with self._changed:
            while True:
                for line in self.log[since:]:
                    if all(word in line.split() or (" " in word and word in line) for word in words):
                        return line
                if not self._changed.wait(end - time.monotonic()):
                    raise TimeoutError(f"never logged {words}:\n{self.tail()}")

    def terminate(self, number: int = signal.SIGTERM) -> int:
        """Asks it to end: its exit status."""
        self._process.send_signal(number)
        return self._end()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> int:
        """As a crash. Also when it has ended."""
        self._process.kill()
        return self._end()

    def tail(self) -> str:
        return "\n".join(self.log[-30:])

    def _end(self) -> int:
        try:
            return self._process.wait(TIME_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise TimeoutError(f"it did not end:\n{self.tail()}") from None
        finally:
            self._stdin.close()
            self._stdout.close()
            self._reader.join()

    def _read(self) -> None:
        for line in self._stderr:
            with self._changed:
                self.log.append(re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip())
                self._changed.notify_all()
        self._stderr.close()


class Stack:
    """``driver``: the domid of the driver domain. The remote device of remote_peer.py is on the air."""

    def __init__(self, world: World, directory: Path, domids: Iterator[int], policy: str = ALLOW_ALL) -> None:
        self.world = world
        self.driver = next(domids)
        self._domids = domids
        self._directory = directory
        self.config, self.socket = directory / "usbbtd.toml", directory / "control"
        self._undo = contextlib.ExitStack()
        self._policy = policy

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.push(self._undo)
            self.world.create_domain(self.driver, "sys-bluetooth")
            stack.callback(self._destroy, self.driver)
            self.world.attach_vusb(self.driver, plan.DOM0)
            stack.callback(lambda: self.world.change_store(remove=[self.qusb]))
            self.state = self._directory / "state"
            self.state.mkdir(0o700)
            self.start_air()
            self.start_daemon()
            self.daemon.wait_logged("adapter up")
            self._undo = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self.daemon, self.air, self.peer):
            process.kill()
        self._undo.close()

    @property
    def qusb(self) -> str:
        return f"{home(plan.DOM0)}/{VUSB.backend_path(self.driver, 0)}"

    def start_air(self) -> None:
        """dom0's process and the remote device, whose controller is in it."""
        socket = self._directory / "remote"
        socket.unlink(missing_ok=True)
        self.air = Process(
            self.world, plan.DOM0, "-m", "tests.sim.air", "--frontend", self.driver,
            "--address", plan.DONGLE_ADDRESS, "--peer", plan.ECHO.address, socket,
        )  # fmt: skip
        self.air.wait_printed()
        self.peer = Process(self.world, None, "-m", "tests.support.remote_peer", socket)
        self.peer.wait_printed()

    def kill_air(self) -> None:
        """The dongle first: a peer that goes ends its links."""
        self.air.kill()
        self.peer.kill()

    def start_daemon(self, addresses: str = "shown", **environment: str) -> None:
        configuration = CONFIGURATION.format(state=self.state, addresses=addresses, socket=self.socket)
        write_configuration(self._directory, configuration, self._policy)
        self.daemon = Process(self.world, self.driver, "-m", "usbbtd", "run", "--config", self.config, **environment)

    def set_policy(self, policy: str) -> None:
        """For the next start, or the next SIGHUP."""
        self._policy = policy
        (self._directory / "policy.d" / "guests.toml").write_text(policy)

    def held(self) -> dict[str, int]:
        """What the driver domain has of the hypervisor: pages shared and mapped, ports."""
        statistics = self.world.statistics()[self.driver]
        return {name: statistics[name] for name in ("shared", "mapped", "ports")}

    def wait_held(self, expected: dict[str, int]) -> None:
        end = time.monotonic() + TIME_LIMIT_S
        while (held := self.held()) != expected:
            if time.monotonic() > end:
                raise TimeoutError(f"the driver domain holds {held}, expected was {expected}")
            time.sleep(0.01)  # the simulated hypervisor has no watch on its counters

    def new_guest(self, new_domain: "NewDomain", **config: str) -> "Domain":
        """A domain with device 0; ``config``: nodes that the toolstack adds for the backend."""
        guest = new_domain()
        self.world.attach_vl2cap(guest.domid, self.driver, 0, **config)
        return guest

    def detach(self, guest: "Domain") -> None:
        self.world.detach_vl2cap(guest.domid, self.driver)

    def backend(self, guest: Domain) -> str:
        return f"{home(self.driver)}/{VL2CAP.backend_path(guest.domid, 0)}"

    def _destroy(self, domid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.world.destroy_domain(domid)
