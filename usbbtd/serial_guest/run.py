"""Runs a bridge: keeps its device and its line open, and moves octets between the line and the core."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress

from usbbtd.guest import open_adapter
from usbbtd.serial.bridge import SerialBridge
from usbbtd.serial.limits import limits_at
from usbbtd.serial.wire import LAST_SESSION
from usbbtd.serial_guest.line import Line
from usbbtd.serial_guest.server import SerialServer

_RETRY_S = 1.0

#: Returns the path of the line; None if there is none yet. Raises OSError.
FindLine = Callable[[], Awaitable[str | None]]
Say = Callable[[str], None]


async def serve_guest(device: int, find_line: FindLine, say: Say, *, baud: int | None = None) -> None:
    """Serves whoever is behind the line by ``device/vl2cap/<device>`` of this domain, until cancelled.

    A line that ends, or is not there yet, is looked for again once in a second. ``baud``: to set; None for what the
    terminal has. ``say`` gets what people should know. Raises NoAdapter if another program has the device.
    """
    bridge = _LineBridge(say)
    holding = asyncio.create_task(_hold_adapter(device, bridge))
    serving = asyncio.create_task(_serve_lines(find_line, bridge, say, baud))
    try:
        done, _ = await asyncio.wait((holding, serving), return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (serving, holding):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


async def _hold_adapter(device: int, bridge: _LineBridge) -> None:
    async with open_adapter(device, timeout=None, powered=False) as adapter:
        bridge.server.adapter = adapter
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            bridge.server.adapter = None
            await bridge.server.close()


async def _serve_lines(find_line: FindLine, bridge: _LineBridge, say: Say, baud: int | None) -> None:
    said = ""
    while True:
        try:
            if (path := await find_line()) is None:
                trouble = "the guest has no serial port now: waiting for it"
            else:
                line = Line(path, baud)
                say(f"serving {path}")
                said = ""
                trouble = f"{path}: {await bridge.serve(line)}"
        except OSError as error:
            trouble = f"{error.filename or 'the line'}: {error.strerror}: trying again"
        if trouble != said:
            say(trouble)
            said = trouble
        await asyncio.sleep(_RETRY_S)


class _LineBridge:
    """One core, and the line that it has at the moment."""

    def __init__(self, say: Say) -> None:
        self._core = SerialBridge(1 + secrets.randbelow(LAST_SESSION))
        self._clock = asyncio.get_running_loop().time
        self._line: Line | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.server = SerialServer(self._core, self.flush, say)

    async def serve(self, line: Line) -> str:
        """Serves a line until it ends, and returns the reason."""
        ended = asyncio.get_running_loop().create_future()
        self._core.limits = limits_at(line.baud)
        self._line = line
        try:
            line.start(self._receive, self.flush, ended.set_result)
            self.flush()
            return str(await ended)
        finally:
            self._line = None
            line.close()
            self._core.hang_up("the line has ended")
            self.server.work()
            self._set_timer()

    def flush(self) -> None:
        """Puts on the line what there is for it, unless it has not taken what it got before."""
        line = self._line
        if line is not None and line.is_idle and (octets := self._core.take_output(self._clock())):
            line.write(octets)
        self._set_timer()

    def _receive(self, untrusted_octets: bytes) -> None:
        self._core.receive(untrusted_octets, self._clock())
        self.server.work()
        self.flush()

    def _handle_time(self) -> None:
        self._core.handle_time(self._clock())
        self.server.work()
        self.flush()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        deadline = self._core.deadline
        loop = asyncio.get_running_loop()
        self._timer = None if deadline is None else loop.call_at(max(deadline, loop.time()), self._handle_time)
