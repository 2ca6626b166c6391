"""``make xen-shell``: a running lab with a prompt.

At the prompt: a domain's name and a command runs it there, ``work usbbt-guest info``; ``help`` says the rest.
"""

import sys
import time

from tests import ROOT
from tests.demo import plan
from tests.realxen.agents import Domain, Failed
from tests.realxen.air import MIRROR
from tests.realxen.lab import Lab
from tests.realxen.machine import MachineError
from tests.realxen.snapshot import new_lab

_HELP = f"""\
DOMAIN COMMAND...   runs a shell command there and prints what it says
DOMAIN              from now on, a command without a domain's name runs there
usbbtd              its log so far, the end of it
logs                collects everybody's logs, and says where
help, quit
A device that echoes: {MIRROR.address} PSM 0x{plan.ECHO_PSM["bredr"]:04x}, and --le random {MIRROR.le_address} SPSM \
0x{plan.ECHO_PSM["le"]:04x}
"""


class Shell:
    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._current = lab.dom0
        self._domains = {"dom0": lab.dom0, **lab.domains}

    def run(self) -> None:
        sys.stdout.write(_HELP)
        while True:
            sys.stdout.write(f"{self._current.name}# ")
            sys.stdout.flush()
            line = sys.stdin.readline()
            if not line or line.strip() == "quit":
                return
            try:
                self._do(line.strip())
            except (Failed, MachineError) as error:
                sys.stdout.write(f"{error}\n")

    def _do(self, line: str) -> None:
        name, _, rest = line.partition(" ")
        match name:
            case "":
                pass
            case "help":
                sys.stdout.write(_HELP)
            case "logs":
                sys.stdout.write(f"{self._lab.collect_logs()}\n")
            case "usbbtd":
                self._command(self._domains["sys-bt"], "tail -n 40 /var/log/usbbtd-*")
            case _ if name not in self._domains:
                self._command(self._current, line)
            case _ if rest:
                self._command(self._domains[name], rest)
            case _:
                self._current = self._domains[name]

    def _command(self, domain: Domain, command: str) -> None:
        done = domain.run("sh", "-c", command, timeout_s=600, check=False)
        sys.stdout.write(done.out + done.err)
        if done.status:
            sys.stdout.write(f"[status {done.status}]\n")


def main() -> None:
    logs = ROOT / "build" / "xen-shell" / time.strftime("%Y%m%d-%H%M%S")
    begun = time.monotonic()
    with new_lab(logs) as lab:
        sys.stdout.write(f"the domains are up after {time.monotonic() - begun:.0f} s; logs go to {logs}\n")
        lab.give_dongle()
        sys.stdout.write(f"usbbtd drives the dongle after {time.monotonic() - begun:.0f} s\n")
        Shell(lab).run()


if __name__ == "__main__":
    main()
