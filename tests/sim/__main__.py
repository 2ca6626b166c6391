"""`python -m tests.sim DIRECTORY`: the hypervisor and xenstored of one world, until SIGTERM."""

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path

import structlog

from tests.sim.hypervisor import Hypervisor
from tests.sim.toolstack import Toolstack
from tests.sim.xenstored.server import XenStored


def _remove_leftovers(directory: Path) -> None:
    for pattern in ("hypervisor", "toolstack", "xenstored.*", "evtchn.*"):
        for path in directory.glob(pattern):
            path.unlink(missing_ok=True)


async def _serve(directory: Path, domains: list[int], lifeline: bool) -> None:
    loop = asyncio.get_running_loop()
    end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end.set)
    if lifeline:
        loop.add_reader(sys.stdin.fileno(), end.set)
    hypervisor = Hypervisor(directory)
    store = XenStored(directory)
    toolstack = Toolstack(hypervisor, store)
    for domid in domains:
        toolstack.create(domid, f"Domain-{domid}")
    async with await toolstack.listen(directory):
        sys.stdout.write(f"{directory}\n")
        sys.stdout.flush()
        await end.wait()
        toolstack.close()
    store.close()
    hypervisor.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description="A Xen that is not there.")
    parser.add_argument("directory", type=Path, help="where it lives: made if missing; sockets of an earlier run go")
    parser.add_argument("--domains", default="0", help="domids to begin with, as 0,1,2 (default: %(default)s)")
    parser.add_argument("--lifeline", action="store_true", help="end when standard input ends, too")
    arguments = parser.parse_args()
    # Not to standard output: whoever waits for its one line does not read on.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    directory = arguments.directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(directory)
    try:
        asyncio.run(_serve(directory, [int(domid) for domid in arguments.domains.split(",")], arguments.lifeline))
    finally:
        _remove_leftovers(directory)


if __name__ == "__main__":
    main()
