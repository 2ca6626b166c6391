"""usbbtctl: what the Bluetooth service does, and what is wrong with it, in the driver domain.

Exit status: 0 done, 1 failed, 2 wrong usage, 3 no usbbtd to be asked, 74 standard output cannot be written,
130 ended by ^C.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from usbbtd.cli.ctl import acts, bonds, capture, doctor, dump, lists, policy, stats, status, top
from usbbtd.cli.ctl.client import CommandFailed, NoDaemon
from usbbtd.cli.program import add_version, program
from usbbtd.control.protocol import SOCKET

FAILED, NO_DAEMON = 1, 3

#: Modules, of which each adds its subcommands. They set ``run``: a function that takes the arguments and returns the
#: exit status.
GROUPS = (status, lists, stats, top, bonds, acts, capture, dump, doctor, policy)


@program("usbbtctl")
def main(argv: Sequence[str] | None = None) -> int:
    arguments = make_parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except NoDaemon as error:
        return _fail(NO_DAEMON, str(error))
    except CommandFailed as error:
        return _fail(FAILED, str(error))
    return code


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="usbbtctl", description=__doc__, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--socket", type=_path, default=SOCKET, metavar="PATH", help="usbbtd's control socket (default: %(default)s)"
    )
    add_version(parser)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in GROUPS:
        group.add_parser(subparsers)
    return parser


def _path(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("an empty path")
    return text


def _fail(code: int, text: str) -> int:
    print(f"usbbtctl: {text}", file=sys.stderr)
    return code
