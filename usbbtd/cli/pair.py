"""usbbt-guest pair and agent: what pairing asks is asked on the terminal."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import termios
from contextlib import AsyncExitStack
from functools import partial

from usbbtd.cli.say import tell
from usbbtd.guest import Adapter, Prompt

_LINE_SIZE = 4096  # more than a terminal gives at a time
_ANSWERS = {"y": True, "yes": True, "n": False, "no": False}
_DIGITS = 6
#: AD structures: the flags "general discoverable" and "no BR/EDR", then the complete local name.
_ADVERTISING = b"\x02\x01\x06\x0c\x09usbbt-guest"


def check_terminal(arguments: argparse.Namespace) -> None:
    """Raises ValueError if there is nobody to ask, and something to be asked."""
    if os.isatty(0):
        return
    asks = "pairing asks its questions on the terminal, and standard input is none"
    if arguments.command is serve_agent:
        raise ValueError(asks)
    if arguments.io != "none":
        raise ValueError(f"{asks}; --io none asks nothing, and nobody knows then who is at the other end")


async def pair(adapter: Adapter, arguments: argparse.Namespace) -> None:
    """Pairs with a device, and prints what came of it. Raises AdapterError; ValueError if an argument is not legal."""
    answer = partial(_answer, _Terminal(), arguments.address.upper())
    async with adapter.agent(answer, io_capability=arguments.io):
        paired = await adapter.pair(
            arguments.address,
            address_type=arguments.le or "bredr",
            security=arguments.security,
            timeout=arguments.timeout,
        )
    if arguments.json:
        print(json.dumps({"address": arguments.address} | paired._asdict()))
        return
    size = "" if paired.key_size is None else f", with a key of {paired.key_size} bytes"
    kept = "which the driver domain keeps" if paired.bonded else "for as long as the link lasts"
    print(f"paired with {arguments.address}: {paired.security}{size}, {kept}")


async def serve_agent(adapter: Adapter, arguments: argparse.Namespace) -> None:
    """Answers devices that begin to pair, until the driver domain ends it. Raises AdapterError."""
    answer = partial(_answer, _Terminal(), None)
    async with AsyncExitStack() as stack:
        agent = await stack.enter_async_context(adapter.agent(answer, io_capability=arguments.io, ended=_tell_end))
        tell("waiting for devices that pair")
        if arguments.psm is not None:
            await stack.enter_async_context(await adapter.listen(arguments.psm, backlog=1))
        if arguments.le:
            await stack.enter_async_context(adapter.advertise(_ADVERTISING))
        await agent.wait_ended()


def _tell_end(prompt: Prompt, reason: str) -> None:
    tell(f"{prompt.address} does not ask any more{': ' if reason else ''}{reason}")


class _Terminal:
    """Asks one question at a time. What was typed before a question is not its answer."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def ask(self, question: str) -> str:
        """Returns the line that is the answer; "" at the end of the input, too."""
        async with self._turn:
            termios.tcflush(0, termios.TCIFLUSH)
            print(question, end=" ", file=sys.stderr, flush=True)
            loop = asyncio.get_running_loop()
            readable = loop.create_future()
            loop.add_reader(0, lambda: None if readable.done() else readable.set_result(None))
            try:
                await readable
            except asyncio.CancelledError:
                print(file=sys.stderr, flush=True)
                raise
            finally:
                loop.remove_reader(0)
            return os.read(0, _LINE_SIZE).decode(errors="replace").strip()

    async def ask_whether(self, question: str) -> bool:
        """Asks until the answer is yes or no. No answer is no."""
        while True:
            said = (await self.ask(f"{question} [y/n]")).lower()
            if not said or said in _ANSWERS:
                return _ANSWERS.get(said, False)


async def _answer(terminal: _Terminal, only: str | None, prompt: Prompt) -> bool | int | str | None:
    """Has the user answer a prompt. ``only``: the address of the device that we pair with, as no other may begin."""
    name = "the device" if prompt.address == only else prompt.address
    match prompt.kind:
        case "consent" if only:
            tell(f"{prompt.address} wants to pair, too, which usbbt-guest agent would ask you about")
            return False
        case "consent":
            return await terminal.ask_whether(f"May {name} pair?")
        case "confirm":
            return await terminal.ask_whether(f"Does {name} show {prompt.digits}?")
        case "display":
            tell(f"enter {prompt.digits} at {name}")
            return None
        case "enter_passkey":
            while said := (await terminal.ask(f"Which six digits does {name} show?")).replace(" ", ""):
                if len(said) == _DIGITS and said.isascii() and said.isdecimal():
                    return int(said)
            return None
        case "enter_pin":
            return await terminal.ask(f"Which PIN does {name} expect?") or None
