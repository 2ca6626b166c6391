"""usbbt-guest: the Bluetooth adapter of this guest, from the shell.

Exit status: 0 done, 1 the peer or the driver domain refused, 2 wrong usage, 3 no Xen or no adapter,
74 standard output cannot be written, 130 ended by ^C.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, nullcontext, suppress
from errno import ENOTCONN
from functools import partial
from typing import TypeAlias

from usbbtd.bluetooth import MINIMUM_MTU
from usbbtd.cli.arguments import Parser, between, number, seconds, seconds_up_to
from usbbtd.cli.ping import complete, ping
from usbbtd.cli.program import add_version, program
from usbbtd.cli.signals import run
from usbbtd.cli.table import counted
from usbbtd.guest import (
    DEFAULT_MTU,
    MAX_ECHO,
    Adapter,
    AdapterError,
    Channel,
    ChannelClosed,
    NoAdapter,
    open_adapter,
)
from usbbtd.guest.security import LEVELS
from usbbtd.l2capif.checks import LONGEST_TIMEOUT_MS

_CHUNK = 65536
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
    print(f"address    {info.address} ({info.address_type})")
    if info.le_address is not None:
        print(f"on LE      {info.le_address} (random)")
    print(f"controller {'up' if info.powered else 'down, or not plugged in'}")
    print(f"can        {', '.join(info.features)}")
    print(f"channels   {info.channels} of {info.max_channels} in use")
    print(f"MTU        up to {info.max_mtu} bytes")


async def _scan(adapter: Adapter, arguments: Arguments) -> None:
    """Prints each device when it is heard, and again when more is known of it."""
    known: dict[str, tuple[bool, str]] = {}  # whether a device is connectable, and its name, by its address
    count = 0
    if not arguments.json:
        print(_SCAN_LINE.format("ADDRESS", "TYPE", "DBM", "CONNECTABLE", "NAME"), flush=True)
    try:
        with suppress(TimeoutError):
            async with (
                asyncio.timeout(arguments.seconds),
                adapter.scan(active=arguments.active, duplicates=True) as scan,
            ):
                async for report in scan:
                    count += 1
                    if arguments.json:
                        row = report._asdict() | {"data": report.data.hex(), "name": report.name}
                        print(json.dumps(row), flush=True)
                    connectable, name = known.get(report.address, (False, ""))
                    more = report.connectable or connectable, _printable(report.name or "") or name
                    if known.get(report.address) != more and not arguments.json:
                        rssi = "?" if report.rssi is None else report.rssi
                        row_ = report.address, report.address_type, rssi, "yes" if more[0] else "no", more[1]
                        print(_SCAN_LINE.format(*row_).rstrip(), flush=True)
                    known[report.address] = more
    finally:
        _tell(f"{counted(len(known), 'device')}, {counted(count, 'report')}")


async def _connect(adapter: Adapter, arguments: Arguments) -> None:
    async with await _open(adapter, arguments) as channel:
        _tell(f"connected: SDUs up to {channel.tx_mtu} bytes to {channel.peer.address}, {channel.rx_mtu} from it")
        await _converse(channel, StandardInput(), arguments)


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
            _tell(f"listening on PSM 0x{arguments.psm:04x}")
            async with adapter.advertise(_ADVERTISING) if arguments.le else nullcontext():
                channel = await listener.accept()
            async with channel:
                _tell(f"{channel.peer.address} connected")
                if standard_input is None:
                    await _echo(channel)
                else:
                    await _converse(channel, standard_input, arguments)


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


async def _echo(channel: Channel) -> None:
    with _until_disconnected():
        while True:
            await channel.send_many(await channel.recv_many())


async def _converse(channel: Channel, standard_input: StandardInput, arguments: Arguments) -> None:
    """Prints what comes and sends standard input until the peer ends the channel.

    After the end of standard input, it ends when the peer has sent nothing for ``--linger``.
    """
    heard = asyncio.Event()
    receiving = asyncio.create_task(_print_sdus(channel, arguments, heard))
    sending = asyncio.create_task(_send_input(channel, standard_input, arguments))
    try:
        await asyncio.wait((receiving, sending), return_when=asyncio.FIRST_COMPLETED)
        while not receiving.done() and not sending.exception() and await _happens(heard, receiving, arguments.linger):
            heard.clear()
        for task in (receiving, sending):
            if task.done():
                task.result()
    finally:
        for task in (receiving, sending):
            task.cancel()
        await asyncio.gather(receiving, sending, return_exceptions=True)


async def _happens(event: asyncio.Event, other: asyncio.Task[None], limit_s: float) -> bool:
    """Tells whether the event or the end of the other task comes within the limit."""
    waiting = asyncio.create_task(event.wait())
    try:
        done, _ = await asyncio.wait((waiting, other), timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
    finally:
        waiting.cancel()


async def _print_sdus(channel: Channel, arguments: Arguments, heard: asyncio.Event) -> None:
    with _until_disconnected():
        while True:
            sdus = await channel.recv_many()
            heard.set()
            if arguments.json:
                lines = [json.dumps({"sdu": sdu.hex()}).encode() + b"\n" for sdu in sdus]
            elif arguments.raw:
                lines = sdus
            else:
                lines = [sdu + b"\n" for sdu in sdus]
            sys.stdout.buffer.write(b"".join(lines))
            sys.stdout.buffer.flush()


async def _send_input(channel: Channel, standard_input: StandardInput, arguments: Arguments) -> None:
    with _until_disconnected():
        if arguments.raw:
            while chunk := await standard_input.read():
                size = channel.tx_mtu
                await channel.send_many([chunk[start : start + size] for start in range(0, len(chunk), size)])
        else:
            while (line := await standard_input.read_line()) is not None:
                await channel.send(line)


@contextmanager
def _until_disconnected() -> Iterator[None]:
    """Ends the block without an error, but with a message, when the peer disconnects in order."""
    try:
        yield
    except ChannelClosed as error:
        if error.errno != ENOTCONN:
            raise
        _tell(error.reason)


class StandardInput:
    """Standard input for the event loop. A thread reads it, one chunk ahead: it may be a file, which epoll refuses."""

    def __init__(self) -> None:
        self.ended = False
        self._loop = asyncio.get_running_loop()
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue(1)
        self._rest = b""
        threading.Thread(target=self._pump, daemon=True).start()

    async def read(self) -> bytes:
        """Returns the next bytes; b"" at the end."""
        if self.ended:
            return b""
        chunk = await self._chunks.get()
        self.ended = not chunk
        return chunk

    async def read_line(self) -> bytes | None:
        """Returns the next line without its line feed; None at the end."""
        while b"\n" not in self._rest:
            if not (chunk := await self.read()):
                last, self._rest = self._rest, b""
                return last or None
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def _pump(self) -> None:
        # os.read: a thread that waits in sys.stdin's own read would keep the interpreter from exiting.
        chunk = b"not yet"
        while chunk:
            chunk = os.read(0, _CHUNK)
            coroutine = self._chunks.put(chunk)
            try:
                asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
            except (RuntimeError, CancelledError):
                coroutine.close()
                return  # the program is done


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
    peer.add_argument("--le", choices=("public", "random"), help="connect over LE, to an address of this type")
    peer.add_argument(
        "--timeout", type=seconds_up_to(LONGEST_TIMEOUT_MS / 1000), default=10.0, metavar="S",
        help="for the peer to answer (default: 10; at most 60)",
    )  # fmt: skip

    peer.add_argument(
        "--security", choices=LEVELS, default="none", metavar="LEVEL",
        help="the link has to be: none, encrypted, authenticated or mitm, secure or sc (default: none)",
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
    add(
        "connect",
        _connect,
        "a channel to a peer: standard input to it, what it sends to standard output",
        peer,
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
    pinging = add("ping", _ping, "round trips to a device: by the L2CAP echo of BR/EDR, or by a PSM", peer, mtu)
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


def _printable(text: str) -> str:
    """Replaces letters of a name from the radio that could steer the terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _tell(text: str) -> None:
    print(f"usbbt-guest: {text}", file=sys.stderr, flush=True)


def _fail(status: int, text: str) -> int:
    _tell(text)
    return status


if __name__ == "__main__":
    sys.exit(main())
