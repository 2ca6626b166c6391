"""usbbt-serial: serves a guest that has nothing but a serial port, by the vl2cap device that stands for it.

Exit status: 0 ended by SIGTERM, 2 wrong usage, 3 no Xen, no such device, or in use, 74 standard output cannot be
written, 130 ended by ^C.
"""

from __future__ import annotations

import argparse
import sys
from collections import deque
from collections.abc import Sequence
from functools import partial
from signal import SIGTERM
from time import monotonic

from usbbtd.cli.arguments import between
from usbbtd.cli.program import add_version, never_wait, program
from usbbtd.cli.signals import run
from usbbtd.guest import AdapterError, NoAdapter
from usbbtd.serial_guest.find import find_device, find_terminal
from usbbtd.serial_guest.line import BAUD_RATES
from usbbtd.serial_guest.run import serve_guest
from usbbtd.xen.error import XenError
from usbbtd.xen.store import Store

_AUTO = "auto"
_MOST_LINES, _PERIOD_S = 30, 60.0


class _Notices:
    """Says on standard error what people should know. A guest can cause that: of too many, only how many is said."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=_MOST_LINES)
        self._left_out = 0

    def say(self, text: str) -> None:
        now = monotonic()
        if len(self._times) == _MOST_LINES and now - self._times[0] < _PERIOD_S:
            self._left_out += 1
            return
        self._times.append(now)
        if self._left_out:
            _say(f"{self._left_out} messages were left out")
            self._left_out = 0
        _say(text)


@program("usbbt-serial")
def main(argv: Sequence[str] | None = None) -> int:
    arguments = make_parser().parse_args(argv)
    never_wait()
    try:
        status = run(partial(_run, arguments))
    except (AdapterError, XenError) as error:
        _say(str(error))
        return 3
    return 0 if status == 128 + SIGTERM else status


async def _run(arguments: argparse.Namespace) -> None:
    guest: str = arguments.guest
    try:
        store = await Store.open()
    except XenError as error:
        raise NoAdapter(error.errno or 0, str(error)) from error
    try:

        async def find_line() -> str | None:
            return await find_terminal(store, guest) if arguments.line == _AUTO else str(arguments.line)

        device = arguments.device if arguments.device is not None else await find_device(store, guest)
        await serve_guest(device, find_line, _Notices().say, baud=arguments.baud)
    finally:
        await store.close()


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="usbbt-serial", description=__doc__, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_version(parser)
    parser.add_argument("guest", metavar="GUEST", help="the name of the guest that is behind the line")
    parser.add_argument(
        "--line", default=_AUTO, metavar="PATH",
        help="a terminal, or a socket that somebody listens on (default: the guest's first serial port, as xl has it)",
    )  # fmt: skip
    parser.add_argument(
        "--baud", type=int, choices=BAUD_RATES, metavar="N", help="of the terminal (default: what it has)"
    )
    parser.add_argument(
        "--device", type=between(0, 0xFFFF), metavar="N",
        help="device/vl2cap/N, whoever it stands for (default: the one that stands for GUEST)",
    )  # fmt: skip
    return parser


def _say(text: str) -> None:
    print(f"usbbt-serial: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
