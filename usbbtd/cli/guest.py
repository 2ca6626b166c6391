"""usbbt-guest: the Bluetooth adapter of this guest, from the shell.

Exit status: 0 done, 1 the peer or the driver domain refused, 2 wrong usage, 3 no Xen or no adapter,
74 standard output cannot be written, 130 ended by ^C.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from typing import TypeAlias

from usbbtd.bluetooth import MINIMUM_MTU
from usbbtd.cli.arguments import Parser, between, number, seconds, seconds_up_to
from usbbtd.cli.conversation import StandardInput, converse, echo
from usbbtd.cli.discover import discover
from usbbtd.cli.pair import check_terminal, pair, serve_agent
from usbbtd.cli.ping import complete, ping
from usbbtd.cli.program import add_version, program
from usbbtd.cli.say import printable, tell
from usbbtd.cli.signals import run
from usbbtd.cli.table import counted
from usbbtd.guest import DEFAULT_MTU, MAX_ECHO, Adapter, AdapterError, Channel, NoAdapter, open_adapter
from usbbtd.guest.agent import IO_CAPABILITIES
from usbbtd.guest.security import LEVELS
from usbbtd.l2capif.checks import LONGEST_PAIR_TIMEOUT_MS, LONGEST_TIMEOUT_MS

_MOST_PINGS = 10**6
#: AD structures: the flags "general discoverable" and "no BR/EDR", then the complete local name.
_ADVERTISING = b"\x02\x01\x06\x0c\x09usbbt-guest"

_SCAN_LINE = "{:<17}  {:<6}  {:>4}  {:<11}  {}"

Arguments = argparse.Namespace
Command: TypeAlias = Callable[[Adapter, Arguments], Awaitable[None]]


@program("usbbt-guest")
def main(argv: Sequence[str] | None = None) -> int:
    arguments = make_parser().parse_args(argv)
    try:
        if arguments.command is _ping:
            complete(arguments)
        elif arguments.command in (pair, serve_agent):
            check_terminal(arguments)
        return run(partial(_run, arguments))
    except NoAdapter as error:
        return _fail(3, str(error))
    except ValueError as error:
        return _fail(2, str(error))
    except AdapterError as error:
        return _fail(1, str(error))


async def _run(arguments: Arguments) -> None:
    async with open_adapter(
        arguments.device, timeout=arguments.wait, powered=arguments.command is not _info
    ) as adapter:
        command: Command = arguments.command
        await command(adapter, arguments)


async def _info(adapter: Adapter, arguments: Arguments) -> None:
    info = adapter.info
    if arguments.json:
        print(json.dumps(info._asdict()))
        return
    if info.powered:  # only then are they known
        print(f"address    {info.address} ({info.address_type})")
        if info.le_address is not None:
            print(f"on LE      {info.le_address} (random)")
    print(f"controller {'up' if info.powered else 'down, or not plugged in'}")
    if info.features:
        print(f"can        {', '.join(info.features)}")
    print(f"channels   {info.channels} of {info.max_channels} in use")
    print(f"MTU        up to {info.max_mtu} bytes")


async def _scan(adapter: Adapter, arguments: Arguments) -> None:
    """Prints each device when it is heard, and again when more is known of it."""
    known: dict[str, tuple[bool, str]] = {}  # whether a device is connectable, and its name, by its address
    count = 0
    async with adapter.scan(active=arguments.active, duplicates=True) as scan:
        if not arguments.json:
            print(_SCAN_LINE.format("ADDRESS", "TYPE", "DBM", "CONNECTABLE", "NAME"), flush=True)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(arguments.seconds):
                    async for report in scan:
                        count += 1
                        if arguments.json:
                            row = report._asdict() | {"data": report.data.hex(), "name": report.name}
                            print(json.dumps(row), flush=True)
                        connectable, name = known.get(report.address, (False, ""))
                        more = report.connectable or connectable, printable(report.name or "") or name
                        if known.get(report.address) != more and not arguments.json:
                            rssi = "?" if report.rssi is None else report.rssi
                            row_ = report.address, report.address_type, rssi, "yes" if more[0] else "no", more[1]
                            print(_SCAN_LINE.format(*row_).rstrip(), flush=True)
                        known[report.address] = more
        finally:
            tell(f"{counted(len(known), 'device')}, {counted(count, 'report')}")


async def _connect(adapter: Adapter, arguments: Arguments) -> None:
    async with await _open(adapter, arguments) as channel:
        tell(f"connected: SDUs up to {channel.tx_mtu} bytes to {channel.peer.address}, {channel.rx_mtu} from it")
        await converse(channel, StandardInput(), arguments)


async def _listen(adapter: Adapter, arguments: Arguments) -> None:
    standard_input = None if arguments.echo else StandardInput()
    async with await adapter.listen(
        arguments.psm,
        transport="le" if arguments.le else "bredr",
        security=arguments.security,
        mtu=arguments.mtu or DEFAULT_MTU,
        backlog=1,
    ) as listener:
        while standard_input is None or not standard_input.ended:
            tell(f"listening on PSM 0x{arguments.psm:04x}")
            async with adapter.advertise(_ADVERTISING) if arguments.le else nullcontext():
                channel = await listener.accept()
            async with channel:
                tell(f"{channel.peer.address} connected")
                if standard_input is None:
                    await echo(channel)
                else:
                    await converse(channel, standard_input, arguments)


async def _ping(adapter: Adapter, arguments: Arguments) -> None:
    await ping(adapter, arguments, partial(_open, adapter, arguments))


async def _open(adapter: Adapter, arguments: Arguments) -> Channel:
    return await adapter.connect(
        arguments.address,
        arguments.psm,
        address_type=arguments.le or "bredr",
        security=arguments.security,
        mtu=arguments.mtu or DEFAULT_MTU,
        timeout=arguments.timeout,
    )


def make_parser() -> argparse.ArgumentParser:
    every = Parser(add_help=False)
    every.add_argument(
        "--device", type=between(0, 0xFFFF), default=0, metavar="N", help="the adapter device/vl2cap/N (default: 0)"
    )
    every.add_argument("--wait", type=seconds, default=5.0, metavar="S", help="for the adapter, seconds (default: 5)")
    every.add_argument("--json", action="store_true", help="for programs: JSON, one object a line")

    mtu = Parser(add_help=False)
    mtu.add_argument(
        "--mtu",
        type=between(min(MINIMUM_MTU), 0xFFFF),
        metavar="BYTES",
        help=f"longest SDU to receive (default: {DEFAULT_MTU})",
    )

    psm = Parser(add_help=False)
    psm.add_argument("psm", type=number, metavar="PSM", help="PSM, or SPSM with --le; 0x1001, for example")

    peer = Parser(add_help=False)
    peer.add_argument("address", metavar="ADDRESS", help="the peer's, like C0:FF:EE:00:00:11")
    peer.add_argument("--le", choices=("public", "random"), help="it is on LE, and its address of this type")

    patience = Parser(add_help=False)
    patience.add_argument(
        "--timeout", type=seconds_up_to(LONGEST_TIMEOUT_MS / 1000), default=10.0, metavar="S",
        help="for the peer to answer (default: 10; at most 60)",
    )  # fmt: skip
    patience.add_argument(
        "--security", choices=LEVELS, default="none", metavar="LEVEL",
        help="the link has to be: none, encrypted, authenticated or mitm, secure or sc (default: none)",
    )  # fmt: skip

    terminal = Parser(add_help=False)
    terminal.add_argument(
        "--io", choices=IO_CAPABILITIES, default="keyboard_display",
        help="what you can do here, which decides how it is paired (default: keyboard_display)",
    )  # fmt: skip

    stream = Parser(add_help=False)
    stream.add_argument("--raw", action="store_true", help="SDUs are chunks of bytes, not lines")
    stream.add_argument(
        "--linger", type=seconds, default=1.0, metavar="S",
        help="after the end of standard input, until the peer has sent nothing for so long (default: 1)",
    )  # fmt: skip

    parser = argparse.ArgumentParser(prog="usbbt-guest", description=__doc__, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_version(parser)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)

    def add(name: str, command: Command, text: str, *parents: Parser) -> Parser:
        added = commands.add_parser(name, help=text, description=text, parents=[*parents, every], allow_abbrev=False)
        added.set_defaults(command=command)
        return added

    add("info", _info, "what the adapter is and can do")
    scan = add("scan", _scan, "LE devices that advertise")
    scan.add_argument("--seconds", type=seconds, default=5.0, metavar="N", help="how long (default: 5)")
    scan.add_argument("--active", action="store_true", help="ask devices for their scan responses")
    discovering = add("discover", discover, "devices on BR/EDR and LE, until ^C")
    discovering.add_argument("--seconds", type=seconds, metavar="N", help="how long (default: until ^C)")
    discovering.add_argument("--transport", choices=("bredr", "le"), help="this one alone")
    discovering.add_argument("--service", metavar="UUID", help="those alone that say they have it: 180f, for example")
    discovering.add_argument(
        "--manufacturer", type=between(0, 0xFFFF), metavar="N", help="those alone with data of this company"
    )
    discovering.add_argument("--name", metavar="TEXT", help="those alone with this in their names")
    pairing = add("pair", pair, "pair with a device", peer, terminal)
    pairing.add_argument(
        "--security", choices=LEVELS, default="encrypted", metavar="LEVEL",
        help="at least: encrypted, authenticated or mitm, secure or sc (default: encrypted)",
    )  # fmt: skip
    pairing.add_argument(
        "--timeout", type=seconds_up_to(LONGEST_PAIR_TIMEOUT_MS / 1000), default=60.0, metavar="S",
        help="for the device, and for you to answer (default: 60; at most 120)",
    )  # fmt: skip
    agent = add("agent", serve_agent, "let devices pair that begin by themselves, until ^C", terminal)
    agent.add_argument("--le", action="store_true", help="advertise, so that LE devices come")
    agent.add_argument("--psm", type=number, metavar="PSM", help="listen there, so that BR/EDR devices come")
    add(
        "connect",
        _connect,
        "a channel to a peer: standard input to it, what it sends to standard output",
        peer,
        patience,
        psm,
        mtu,
        stream,
    )
    listen = add("listen", _listen, "takes peers on a PSM, one at a time", psm, mtu, stream)
    listen.add_argument("--le", action="store_true", help="PSM is an SPSM; advertises too")
    listen.add_argument(
        "--security", choices=LEVELS, default="encrypted", metavar="LEVEL",
        help="a peer's link has to be: none, encrypted, authenticated or mitm, secure or sc (default: encrypted)",
    )  # fmt: skip
    listen.add_argument("--echo", action="store_true", help="send everything back, and take the next peer afterwards")
    pinging = add(
        "ping", _ping, "round trips to a device: by the L2CAP echo of BR/EDR, or by a PSM", peer, patience, mtu
    )
    pinging.add_argument(
        "psm", nargs="?", type=number, metavar="PSM", help="that echoes SDUs; an SPSM with --le, which needs one"
    )
    pinging.add_argument(
        "--count", type=between(1, _MOST_PINGS), default=100, metavar="N", help="round trips (default: 100)"
    )
    pinging.add_argument(
        "--size", type=between(0, 0xFFFF), metavar="BYTES",
        help=f"of an SDU (default: 64), or an echo ({MAX_ECHO}, the most)",
    )  # fmt: skip
    pinging.add_argument(
        "--interval", type=seconds, default=0.0, metavar="S",
        help="from the start of one to that of the next (default: 0, one after the other without a pause)",
    )  # fmt: skip
    pinging.add_argument("--quiet", action="store_true", help="the summary alone")
    return parser


def _fail(status: int, text: str) -> int:
    tell(text)
    return status


if __name__ == "__main__":
    sys.exit(main())
