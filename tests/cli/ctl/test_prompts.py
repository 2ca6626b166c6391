"""What people see of a pairing, and what their answers become; beside a service that is written down here."""

import json
import os
import pty
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from usbbtd.cli.ctl import main

ADDRESS = "C0:FF:EE:00:00:13"
PAIR = ["pair", ADDRESS, "--guest", "work"]
DONE = {"security": 3, "key_size": 16, "bonded": True}
TIME_LIMIT_S = 15


def prompt(number: int, kind: str, value: str | None = None, guest: str = "work") -> dict[str, Any]:
    return {
        "prompt": number, "kind": kind, "value": value, "address": ADDRESS, "address_type": "BR/EDR", "guest": guest,
        "seconds": 30.0,
    }  # fmt: skip


class Service:
    """A service for one client. ``script``: what it answers, or does; None: it waits for a line, of ``heard``."""

    def __init__(self, path: Path, script: list[Any]) -> None:
        self.heard: list[dict[str, Any]] = []
        self._script = script
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def finish(self) -> list[dict[str, Any]]:
        """What was heard after the request."""
        self._thread.join(TIME_LIMIT_S)
        assert not self._thread.is_alive()
        self._listener.close()
        return self.heard[1:]

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        connection.settimeout(TIME_LIMIT_S)
        with connection, connection.makefile("rb") as lines:
            for step in (None, *self._script):
                if callable(step):
                    step()
                elif step is None:
                    self.heard.append(json.loads(lines.readline()))
                else:
                    connection.sendall(json.dumps(step).encode() + b"\n")


@pytest.fixture
def typing() -> Iterator[int]:
    """Standard input is a pipe: what to write to."""
    kept = os.dup(0)
    read_end, write_end = os.pipe()
    os.dup2(read_end, 0)
    os.close(read_end)
    yield write_end
    os.dup2(kept, 0)
    os.close(kept)


def answers(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"answer": message} for message in messages]


def run(path: Path, script: list[Any], words: list[str], typed: bytes, descriptor: int) -> tuple[int, list[Any]]:
    """The exit status, and what the service was told after the request. Everything is typed at once."""
    service = Service(path, script)
    os.write(descriptor, typed)
    os.close(descriptor)
    status = main(["--socket", str(path), *words])
    return status, service.finish()


@pytest.mark.parametrize(
    ("kind", "value", "typed", "question", "reply"),
    [
        ("confirm", "427193", b"y\n", "Does the device show 427 193? [y/n] ", {"accept": True}),
        ("confirm", "000007", b"No\n", "Does the device show 000 007? [y/n] ", {"accept": False}),
        ("confirm", "427193", b"perhaps\nyes\n", "show 427 193? [y/n]   Does", {"accept": True}),
        ("consent", None, b"y\n", "May it pair? [y/n] ", {"accept": True}),
        ("passkey", None, b"427 193\n", "Which number does the device show? ", {"accept": True, "value": "427 193"}),
        ("passkey", None, b"\n", "Which number does the device show? ", {"accept": False}),
        ("pin", None, b"0000\n", "Which PIN does the device have? ", {"accept": True, "value": "0000"}),
        ("pin", None, b"", "refused: standard input has ended", {"accept": False}),
    ],
)
def test_a_question_and_its_answer(
    tmp_path: Path, typing: int, capfd: pytest.CaptureFixture[str], kind: str, value: str | None, typed: bytes,
    question: str, reply: dict[str, Any],
) -> None:  # fmt: skip
    path = tmp_path / "control"
    script = [*answers({}, prompt(5, kind, value)), None, *answers({}, DONE), {"end": True}]
    assert run(path, script, PAIR, typed, typing) == (0, [{"reply": 5} | reply])
    said = capfd.readouterr().out
    assert f"{ADDRESS} (BR/EDR), for guest work:" in said
    assert question in said
    assert said.endswith("paired: authenticated, with a key of 16 octets; the bond belongs to guest work\n")


def test_what_is_shown_needs_no_answer(tmp_path: Path, typing: int, capfd: pytest.CaptureFixture[str]) -> None:
    script = [*answers(prompt(5, "display", "427193"), DONE), {"end": True}]
    assert run(tmp_path / "control", script, PAIR, b"", typing) == (0, [])
    assert "  Type 427 193 on the device.\n" in capfd.readouterr().out


def test_prompts_wait_for_each_other_and_may_be_withdrawn(
    tmp_path: Path, typing: int, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = answers(
        prompt(5, "confirm", "111111", "lab"), prompt(6, "confirm", "222222"), {"withdrawn": 5, "reason": "no answer"},
    )  # fmt: skip
    script = [*asked, lambda: os.write(typing, b"y\n"), None, {"error": "the peer refused"}]
    service = Service(tmp_path / "control", script)
    assert main(["--socket", str(tmp_path / "control"), "agent", "--guest", "work"]) == 1
    os.close(typing)
    assert service.finish() == [{"reply": 6, "accept": True}]
    assert capfd.readouterr().out.splitlines() == [
        "waiting for devices that want to pair, for guest work; ^C ends it",
        f"{ADDRESS} (BR/EDR), for guest lab:",
        "  Does the device show 111 111? [y/n] ",
        "  no longer asked: no answer",
        f"{ADDRESS} (BR/EDR), for guest work:",
        "  Does the device show 222 222? [y/n] ",
    ]


def test_at_a_terminal_what_was_typed_before_the_question_is_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyboard, terminal = pty.openpty()
    shown, screen = os.pipe()
    kept = os.dup(0)
    os.dup2(terminal, 0)
    said = b""

    def answer() -> None:
        nonlocal said
        while b"[y/n] " not in said:
            said += os.read(shown, 1000)
        os.write(keyboard, b"n\n")

    os.write(keyboard, b"y\n")
    script = [*answers(prompt(5, "confirm", "427193")), answer, None, {"error": "it was refused here"}]
    service = Service(tmp_path / "control", script)
    with open(screen, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert main(["--socket", str(tmp_path / "control"), *PAIR]) == 1
    monkeypatch.undo()
    os.dup2(kept, 0)
    for descriptor in (keyboard, terminal, shown, kept):
        os.close(descriptor)
    assert service.finish() == [{"reply": 5, "accept": False}]


def test_programs_get_messages_and_reply_in_json(
    tmp_path: Path, typing: int, capfd: pytest.CaptureFixture[str]
) -> None:
    script = [*answers(prompt(5, "confirm", "427193")), None, *answers(DONE), {"end": True}]
    typed = b'{"reply": 5, "accept": true}\n'
    assert run(tmp_path / "control", script, [*PAIR, "--json"], typed, typing) == (0, [{"reply": 5, "accept": True}])
    told = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert told == [prompt(5, "confirm", "427193"), DONE]


def test_a_refusal_is_told(tmp_path: Path, typing: int, capfd: pytest.CaptureFixture[str]) -> None:
    script = [{"error": "not permitted: pair is for root alone"}]
    assert run(tmp_path / "control", script, PAIR, b"", typing) == (1, [])
    assert capfd.readouterr().err == "usbbtctl: not permitted: pair is for root alone\n"


def test_the_request_has_what_the_arguments_say(tmp_path: Path, typing: int) -> None:
    words = ["pair", ADDRESS, "--type", "random", "--guest", "work", "--security", "sc", "--legacy-pin"]
    service = Service(tmp_path / "control", [*answers(DONE), {"end": True}])
    os.close(typing)
    assert main(["--socket", str(tmp_path / "control"), *words]) == 0
    service.finish()
    assert service.heard == [
        {"command": "pair", "address": ADDRESS, "type": "random", "guest": "work", "security": "secure",
         "legacy_pin": True}
    ]  # fmt: skip
