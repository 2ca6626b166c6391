"""Where and when the rows were measured: a figure without that says nothing."""

import importlib.util
import os
import pkgutil
import platform
import resource
import time
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import NamedTuple, Self

import usbbtd

#: What others may take of the processors in a run whose figures are worth keeping.
QUIET = 0.05
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_IDLE = (3, 4)  # columns of /proc/stat: idle, and idle while something is read; proc(5)
_COLUMNS = 8  # what guests have taken behind them is in the first two already


class ProcessorTime(NamedTuple):
    """Seconds since the machine was started: of all processors, busy ones, and what we and our ended children took."""

    at: float
    total: float
    busy: float
    own: float

    @classmethod
    def now(cls) -> Self:
        line = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0]
        ticks = [int(each) for each in line.split()[1:][:_COLUMNS]]
        idle = sum(ticks[column] for column in _IDLE)
        usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        own = sum(usage.ru_utime + usage.ru_stime for usage in usages)
        return cls(time.monotonic(), sum(ticks) * _TICK_S, (sum(ticks) - idle) * _TICK_S, own)

    def others_since(self, start: Self) -> float:
        """Returns the share of all processors that others took, or that a hypervisor did not give."""
        busy, own, total = self.busy - start.busy, self.own - start.own, self.total - start.total
        return max(0.0, busy - own) / total if total > 0 else 0.0


class Machine(NamedTuple):
    """``load``: the average of the minute before. ``others``: what share of the processors others took meanwhile."""

    processor: str
    processors: int
    kernel: str
    python: str
    compiled: int
    commit: str
    date: str
    load: float
    others: float = 0.0

    @classmethod
    def describe(cls, commit: str) -> Self:
        return cls(
            processor=processor_name(Path("/proc/cpuinfo").read_text(encoding="utf-8")),
            processors=len(os.sched_getaffinity(0)),
            kernel=platform.release(),
            python=f"{platform.python_implementation()} {platform.python_version()}",
            compiled=len(compiled_modules()),
            commit=commit,
            date=time.strftime("%Y-%m-%d"),
            load=os.getloadavg()[0],
        )

    @property
    def is_quiet(self) -> bool:
        return self.others <= QUIET

    def sentences(self) -> list[str]:
        compiled = f"{self.compiled} modules compiled by mypyc" if self.compiled else "nothing compiled by mypyc"
        quiet = "" if self.is_quiet else ": it was not quiet, and only ratios say something"
        return [
            f"{self.processors} × {self.processor}, Linux {self.kernel}; commit {self.commit}, {self.date}.",
            f"{self.python}, {compiled}.",
            f"Load {self.load:.1f} at the start; others took {self.others:.0%} of the machine meanwhile{quiet}.",
        ]


def processor_name(cpuinfo: str) -> str:
    """Returns what Linux calls the processor; on machines where it has no name, the architecture."""
    names = (line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name"))
    return next(names, platform.machine())


def compiled_modules() -> list[str]:
    """Returns the modules of ours that are written in Python, and would be loaded as machine code."""
    found = []
    for module in pkgutil.walk_packages(usbbtd.__path__, "usbbtd."):
        spec = None if module.ispkg else importlib.util.find_spec(module.name)
        if spec is not None and spec.origin is not None and spec.origin.endswith(tuple(EXTENSION_SUFFIXES)):
            source = Path(spec.origin).parent / f"{module.name.rpartition('.')[2]}.py"
            if source.exists():  # cffi's have none
                found.append(module.name)
    return found
