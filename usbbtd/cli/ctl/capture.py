"""usbbtctl capture: writes packets between usbbtd and the dongle for btmon and Wireshark."""

import argparse
import base64
import contextlib
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from usbbtd.cli.arguments import link, seconds
from usbbtd.cli.ctl import files
from usbbtd.cli.ctl.client import Client, CommandFailed
from usbbtd.cli.ctl.output import add_command
from usbbtd.cli.table import counted
from usbbtd.control.btsnoop import FILE_HEADER

if TYPE_CHECKING:
    from usbbtd.cli.ctl.output import Subparsers

_TEXT = "commands, events and data between usbbtd and its dongle, to a btsnoop file, until a signal"


def add_parser(subparsers: "Subparsers") -> None:
    parser = add_command(subparsers, "capture", _capture, _TEXT)
    parser.add_argument("file", metavar="FILE", help="'-': standard output, as for 'wireshark -k -i -'")
    parser.add_argument(
        "--link", type=link, metavar="HANDLE|ADDRESS",
        help="only this link's data, and the events with which it begins and ends; links to come too, by address",
    )  # fmt: skip
    parser.add_argument("--no-payload", action="store_true", help="zeros for data, but for signalling")
    parser.add_argument("--seconds", type=seconds, metavar="N", help="end after so long")


def _capture(arguments: argparse.Namespace) -> int:
    request = {} if arguments.link is None else {"link": arguments.link}
    count = dropped = 0
    with Client(arguments.socket) as client, _signals() as signalled:
        answers = client.ask("capture", payload=not arguments.no_payload, **request)
        ends = float("inf") if arguments.seconds is None else time.monotonic() + arguments.seconds
        first = next(answers)  # before the file is made: the capture may be refused
        with _open(arguments.file) as file, _failing(arguments.file):
            file.write(FILE_HEADER)
            for answer in itertools.chain([first], answers):  # one a second at least
                file.write(base64.b64decode(answer["records"]))
                file.flush()
                count, dropped = count + answer["count"], answer["dropped"]
                if signalled or time.monotonic() >= ends:
                    break
    # Not to standard output, where the packets may go.
    if arguments.json:
        print(json.dumps({"packets": count, "dropped": dropped}), file=sys.stderr)
    else:
        print(f"{counted(count, 'packet')}{f', {dropped} dropped' if dropped else ''}", file=sys.stderr)
    return 0


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects the numbers of signals that come, so that none cuts a record short. A second signal acts at once."""
    came: list[int] = []

    def note(number: int, _frame: object) -> None:
        came.append(number)
        signal.signal(number, signal.default_int_handler)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _failing(path: str) -> Iterator[None]:
    """Raises CommandFailed, which says why, if the file cannot be written, such as on a full disk."""
    try:
        yield
    except OSError as error:
        raise CommandFailed(f"{path}: {error.strerror}") from None


def _open(path: str) -> contextlib.AbstractContextManager[BinaryIO]:
    """Opens a new file, which only its owner may read as packets are confidential, or a pipe that has a reader."""
    if path == files.STANDARD_OUTPUT:
        return contextlib.nullcontext(sys.stdout.buffer)
    # Without a buffer: what could not be written must not be tried again when the file is closed.
    return os.fdopen(files.open_descriptor(path), "wb", buffering=0)
