"""What domains hold of the hypervisor and of xenstore, counted by Xen and xenstored themselves."""

import re
import time
from collections import Counter
from typing import NamedTuple

from tests.realxen.agents import Domain, Failed
from tests.realxen.lab import Lab

_GRANTER = re.compile(r"grant-table for remote d(\d+)")
_GRANT = re.compile(r"\[0x[0-9a-f]+\] +(\d+) 0x")
_PORTS_OF = re.compile(r"Event channel information for domain (\d+)")
_PORT = re.compile(r"\d+ \[\d/\d/.*\]: s=[1-6]")
#: The brackets keep the pattern from finding itself.
_PRINT_PSS = "awk '/^Pss:/ {print $2}' $(dirname $(grep -l '/usr/bin/[u]sbbtd' /proc/[0-9]*/cmdline))/smaps_rollup"


class Usage(NamedTuple):
    """Of one domain: pages of others that it has mapped, its event channels, nodes below its home in xenstore."""

    mapped: int
    ports: int
    nodes: int


def usage(lab: Lab, domid: int) -> Usage:
    """Free ports, and grants that nobody has mapped, do not count."""
    text = debug_keys(lab, "ge")
    nodes = lab.dom0.run("xenstore-ls", "-f", f"/local/domain/{domid}").out.splitlines()
    return Usage(_mapped(text)[domid], _ports(text)[domid], len(nodes))


def memory_kb(domain: Domain) -> int:
    """KiB that the domain's usbbtd has for itself, and its share of what others have too: Linux's Pss."""
    return int(domain.shell(_PRINT_PSS))


def debug_keys(lab: Lab, keys: str) -> str:
    """What Xen prints for these: g is for its grant tables, e for event channels."""
    lab.dom0.run("xl", "dmesg", "--clear")
    lab.dom0.run("xl", "debug-keys", keys)
    return lab.dom0.run("xl", "dmesg").out


def _mapped(text: str) -> Counter[int]:
    """Mapped grants of other domains, by who maps them."""
    counts: Counter[int] = Counter()
    granter = -1
    for line in text.splitlines():
        if match := _GRANTER.search(line):
            granter = int(match[1])
        elif (match := _GRANT.search(line)) and int(match[1]) != granter:
            counts[int(match[1])] += 1
    return counts


def _ports(text: str) -> Counter[int]:
    counts: Counter[int] = Counter()
    domid = -1
    for line in text.splitlines():
        if match := _PORTS_OF.search(line):
            domid = int(match[1])
        elif _PORT.search(line):
            counts[domid] += 1
    return counts


def wait_usage(lab: Lab, domid: int, expected: Usage, *, timeout_s: float = 30.0) -> None:
    """Until the domain holds just that: what is given back comes back after what made it superfluous."""
    end = time.monotonic() + timeout_s
    while (held := usage(lab, domid)) != expected:
        if time.monotonic() > end:
            raise Failed(f"domain {domid} holds {held}, expected was {expected}")
