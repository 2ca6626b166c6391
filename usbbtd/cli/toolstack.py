"""usbbt-toolstack: gives guests their Bluetooth devices, in dom0.

Exit status: 0 done, 1 failed, 2 wrong usage, 3 no Xen, 4 not permitted, 5 no such domain, 6 attached already,
7 no such device, 8 the backend does not answer, 9 the backend refused, 74 standard output cannot be written,
130 ended by ^C.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from usbbtd.cli.arguments import directory, seconds
from usbbtd.cli.program import add_version, never_wait, program, tell_done
from usbbtd.cli.table import print_table
from usbbtd.signals import hold_sighup
from usbbtd.toolstack import errors
from usbbtd.toolstack.spec import Spec, parse_devid, parse_spec
from usbbtd.toolstack.sysfs import SYSFS

if TYPE_CHECKING:
    from usbbtd.toolstack.changes import Change
    from usbbtd.xen.store import Store

_FAILED, _NOT_PERMITTED = 1, 4
_STATUS = {
    errors.ToolstackError: _FAILED,
    errors.BadSpec: 2,
    errors.NoXen: 3,
    errors.NoDomain: 5,
    errors.AlreadyAttached: 6,
    errors.NoDevice: 7,
    errors.BackendSilent: 8,
    errors.BackendClosed: 9,
}
_DONGLE_HEAD = ("DONGLE", "ID", "SERIAL", "FOR", "DOMAIN", "DOMID", "DEVID", "PORT")
_HEAD = ("GUEST", "DOMID", "DEVID", "BACKEND", "DOMID", "FRONTEND STATE", "BACKEND STATE")

T = TypeVar("T")
Arguments = argparse.Namespace
Command: TypeAlias = "Callable[[Store, Arguments], Awaitable[None]]"


@program("usbbt-toolstack")
def main(argv: Sequence[str] | None = None) -> int:
    arguments = make_parser().parse_args(argv)
    if arguments.command is _watch:
        hold_sighup()
    from usbbtd.cli.signals import run, run_service
    from usbbtd.xen.error import XenError

    try:
        if arguments.command is not _watch:
            return run(partial(_run, arguments))
        run_service(partial(_run, arguments))
        return 0
    except errors.ToolstackError as error:
        return _fail(_STATUS[type(error)], str(error))
    except XenError as error:
        if error.forbidden:
            return _fail(_NOT_PERMITTED, f"{error}; this is for root in dom0")
        return _fail(_FAILED, str(error))


async def _run(arguments: Arguments) -> None:
    from usbbtd.xen.error import XenError
    from usbbtd.xen.store import Store

    try:
        store = await Store.open()
    except XenError as error:
        raise error if error.forbidden else errors.NoXen(str(error)) from None
    try:
        command: Command = arguments.command
        await command(store, arguments)
    finally:
        await store.close()


async def _attach(store: Store, arguments: Arguments) -> None:
    from usbbtd.toolstack import commands

    if arguments.dry_run:
        plan = commands.Attachment(arguments.guest, arguments.spec).plan
        _print_changes(await commands.dry_run(store, [plan]), arguments)
        return
    row = await commands.attach(store, arguments.guest, arguments.spec, arguments.timeout)
    sentence = f"{row.guest}: device {row.devid} attached to {row.backend}"
    tell_done(json.dumps(row._asdict()) if arguments.json else sentence)


async def _detach(store: Store, arguments: Arguments) -> None:
    from usbbtd.toolstack import commands

    if arguments.dry_run:
        detachment = commands.Detachment(arguments.guest, arguments.devid)
        _print_changes(await commands.dry_run(store, [detachment.plan, detachment.plan_removal]), arguments)
        return
    row, closed = await commands.detach(store, arguments.guest, arguments.devid, arguments.timeout)
    if not closed:
        _tell(f"{row.backend} did not close the device within {arguments.timeout:g} s; it was removed all the same")
    sentence = f"{row.guest}: device {row.devid} detached"
    tell_done(json.dumps(row._asdict() | {"closed": closed}) if arguments.json else sentence)


async def _list(store: Store, arguments: Arguments) -> None:
    from usbbtd.toolstack import commands

    rows = await commands.list_devices(store, arguments.guest)
    if arguments.json:
        for row in rows:
            print(json.dumps(row._asdict()))
    else:
        print_table(_HEAD, [_cells(row) for row in rows])


def _cells(row: Iterable[object]) -> list[str]:
    return ["-" if cell in (None, "") else str(cell) for cell in row]


async def _dongles(store: Store, arguments: Arguments) -> None:
    from usbbtd.toolstack import hotplug
    from usbbtd.toolstack.files import DIRECTORIES

    try:
        rows, problems = await hotplug.list_dongles(
            store, hotplug.dongle_files(arguments.config_dir or DIRECTORIES), arguments.sysfs
        )
    except OSError as error:
        raise errors.ToolstackError(f"USB devices cannot be listed: {error}") from None
    for problem in problems:
        _tell(problem)
    if arguments.json:
        for row in rows:
            print(json.dumps(row._asdict()))
    else:
        print_table(_DONGLE_HEAD, [_cells((*row[:3], " ".join(row.wanted), *row[4:])) for row in rows])


async def _watch(store: Store, arguments: Arguments) -> None:
    # Imported here, so that the other commands need not wait for what only a service needs.
    from usbbtd.log.setup import LogDefaults
    from usbbtd.log.setup import configure as configure_log
    from usbbtd.toolstack import watch
    from usbbtd.toolstack.files import DIRECTORIES

    never_wait()
    configure_log(LogDefaults(), "usbbt-toolstack")
    await watch.run(store, arguments.config_dir or DIRECTORIES, arguments.sysfs)


def _print_changes(changes: Sequence[Change], arguments: Arguments) -> None:
    from usbbtd.toolstack.changes import Write

    for change in changes:
        if arguments.json:
            print(json.dumps({"do": "write" if isinstance(change, Write) else "remove"} | change._asdict()))
        else:
            print(change)


def make_parser() -> argparse.ArgumentParser:
    output = argparse.ArgumentParser(add_help=False)
    output.add_argument("--json", action="store_true", help="for programs: JSON, one object a line")

    host = argparse.ArgumentParser(add_help=False)
    host.add_argument(
        "--config-dir", action="append", type=directory, metavar="DIR",
        help="where these files are; can be repeated (default: /etc/xen and /etc/xen/auto)",
    )  # fmt: skip
    host.add_argument(
        "--sysfs", type=directory, default=SYSFS, metavar="DIR", help=f"where USB devices are shown (default: {SYSFS})"
    )

    change = argparse.ArgumentParser(add_help=False)
    change.add_argument("guest", metavar="GUEST", help="the domain, by name or number")
    change.add_argument("--dry-run", action="store_true", help="print what would be changed in xenstore, and end")
    change.add_argument(
        "--timeout", type=seconds, default=10.0, metavar="S", help="for the backend to answer (default: 10)"
    )

    parser = argparse.ArgumentParser(prog="usbbt-toolstack", description=__doc__, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_version(parser)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Command, text: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        added = subparsers.add_parser(name, help=text, description=text, parents=parents, allow_abbrev=False)
        added.set_defaults(command=command)
        return added

    attach = add("attach", _attach, "gives a guest a device, and waits for its backend", change, output)
    attach.add_argument(
        "spec", nargs="?", default=Spec(), type=_usage(parse_spec),
        metavar="backend=DOMAIN,devid=N,for=GUEST,tags=WORDS",
        help="as an element of vl2cap in the guest's configuration (default: dom0, and the lowest free number)",
    )  # fmt: skip
    detach = add("detach", _detach, "takes a device away", change, output)
    detach.add_argument(
        "devid", nargs="?", type=_usage(parse_devid), metavar="DEVID", help="its number; needed if there are several"
    )
    listing = add("list", _list, "devices, their driver domains, and the states of both ends", output)
    listing.add_argument("guest", nargs="?", metavar="GUEST", help="only of this one, by name or number")
    add("dongles", _dongles, "USB devices that configuration files name, and the domains that have them", host, output)
    add("watch", _watch, "attaches what configuration files of xl say, for ever: the service of dom0", host)
    return parser


def _usage(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Returns a type for argparse, which tells the argument's name before the message and ends with its own status."""

    def convert(text: str) -> T:
        try:
            return parse(text)
        except errors.BadSpec as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def _tell(text: str) -> None:
    print(f"usbbt-toolstack: {text}", file=sys.stderr)


def _fail(status: int, text: str) -> int:
    _tell(text)
    return status


if __name__ == "__main__":
    sys.exit(main())
