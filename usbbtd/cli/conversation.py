"""Carries standard input to a channel's peer, and what that sends to standard output; or sends everything back."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from errno import ENOTCONN

from usbbtd.cli.say import tell
from usbbtd.guest import Channel, ChannelClosed

_CHUNK = 65536

Arguments = argparse.Namespace


async def echo(channel: Channel) -> None:
    with _until_disconnected():
        while True:
            await channel.send_many(await channel.recv_many())


async def converse(channel: Channel, standard_input: StandardInput, arguments: Arguments) -> None:
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
        tell(error.reason)


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
