"""Shows what pairing asks, and sends back what is typed: by people, or as JSON by programs."""

import contextlib
import json
import os
import sys
import termios
from typing import Any

from usbbtd.cli.ctl.client import Client, CommandFailed
from usbbtd.cli.ctl.output import printable
from usbbtd.control.protocol import Message

_STDIN = 0
_YES, _NO = ("y", "yes"), ("n", "no")

#: What is asked, by the kind of prompt; {value} is a number, in two groups of digits.
_QUESTIONS = {
    "consent": "May it pair? [y/n] ",
    "confirm": "Does the device show {value}? [y/n] ",
    "display": "Type {value} on the device.",
    "passkey": "Which number does the device show? ",
    "pin": "Which PIN does the device have? ",
}
#: The kinds at which something is typed, and those that need no answer.
_TYPED, _SHOWN = ("passkey", "pin"), ("display",)


class Conversation:
    """Has a command done that asks in turn. ``as_json``: messages go to standard output, replies come from input."""

    def __init__(self, client: Client, *, as_json: bool) -> None:
        self._client = client
        self._as_json = as_json
        self._typed = b""  # behind the last whole line that was read
        self._ended = False  # whether standard input has
        self._open: list[Message] = []  # prompts that wait for an answer; the first has been shown
        self._about: tuple[str, str] | None = None  # the peer and the guest that were named last

    def hold(self, command: str, **arguments: Any) -> Message:
        """Has the command done, and returns what it ends with; empty if with nothing. Raises CommandFailed."""
        self._client.send({"command": command, **arguments})
        result: Message = {}
        while True:
            if self._listens() and not self._client.wait(_STDIN):
                self._read()
                continue
            if (message := self._client.receive()) is None:
                return result
            if message:
                result = self._take(message)

    # Inside.

    def _listens(self) -> bool:
        """Returns whether to read what is typed: people answer what was asked, programs when they like."""
        return not self._ended and (self._as_json or bool(self._open))

    def _take(self, message: Message) -> Message:
        """Deals with an answer, and returns it if it is a result."""
        if self._as_json:
            print(json.dumps(message), flush=True)
        elif "prompt" in message:
            self._ask(message)
        elif "withdrawn" in message:
            self._withdraw(message)
        elif "ignored" in message:
            self._say(f"not taken: {message['reason']}")
        return message if "security" in message else {}

    def _ask(self, prompt: Message) -> None:
        if prompt["kind"] in _SHOWN:
            self._introduce(prompt)
            self._say(f"  {_question(prompt)}")
            return
        self._open.append(prompt)
        if self._ended:
            self._refuse_all()
        elif len(self._open) == 1:
            self._show()

    def _introduce(self, prompt: Message) -> None:
        """Says whom a prompt is about, unless the last was, too."""
        if (about := (prompt["address"], prompt["guest"])) != self._about:
            self._about = about
            self._say(f"{prompt['address']} ({prompt['address_type']}), for guest {printable(prompt['guest'])}:")

    def _show(self) -> None:
        """Asks for the first prompt that is open. What was typed before it could be read is no answer to it."""
        self._introduce(self._open[0])
        if os.isatty(_STDIN):
            self._typed = b""
            termios.tcflush(_STDIN, termios.TCIFLUSH)
        print(f"  {_question(self._open[0])}", end="", flush=True)

    def _withdraw(self, message: Message) -> None:
        was_shown = bool(self._open) and self._open[0]["prompt"] == message["withdrawn"]
        self._open = [prompt for prompt in self._open if prompt["prompt"] != message["withdrawn"]]
        if was_shown:
            print(flush=True)
        if message["reason"]:
            self._say(f"  no longer asked: {message['reason']}")
        if was_shown and self._open:
            self._show()

    def _read(self) -> None:
        """Takes whole lines from standard input. At its end, everything that is asked is refused."""
        portion = os.read(_STDIN, 4096)
        if not portion:
            self._ended = True
            self._refuse_all()
            return
        *lines, self._typed = (self._typed + portion).split(b"\n")
        for line in lines:
            self._answer(line.decode(errors="replace").strip())

    def _answer(self, line: str) -> None:
        if self._as_json:
            self._pass_on(line)
            return
        if not self._open:
            return  # nothing was asked
        prompt = self._open[0]
        refused = line.lower() in _NO if prompt["kind"] not in _TYPED else not line
        if not refused and prompt["kind"] not in _TYPED and line.lower() not in _YES:
            self._show()
            return
        del self._open[0]
        value = {"value": line} if prompt["kind"] in _TYPED and not refused else {}
        self._client.send({"reply": prompt["prompt"], "accept": not refused, **value})
        if self._open:
            self._show()

    def _pass_on(self, line: str) -> None:
        try:
            reply = json.loads(line)
        except ValueError:
            raise CommandFailed("what was typed is no JSON") from None
        self._client.send(reply if isinstance(reply, dict) else {})

    def _refuse_all(self) -> None:
        for prompt in self._open:
            self._client.send({"reply": prompt["prompt"], "accept": False})
        if self._open:
            print(flush=True)
            self._say("  refused: standard input has ended")
        self._open.clear()

    def _say(self, text: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            print(text, flush=True)
            sys.stdout.flush()


def _question(prompt: Message) -> str:
    value = prompt["value"] or ""
    return _QUESTIONS[prompt["kind"]].format(value=f"{value[:3]} {value[3:]}")
