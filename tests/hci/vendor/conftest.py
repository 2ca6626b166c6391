"""A set-up with a controller that is not there, and files that are in a dict."""

from collections.abc import Callable, Mapping
from typing import Any

from usbbtd.hci.vendor.setup import VendorSetup
from usbbtd.hci.vendor.steps import SetupResult

RESET = bytes.fromhex("030c00")
RESET_ANSWER = bytes.fromhex("0e0401030c00")
ABSENT = "not in the dict"


class Run:
    """A set-up from its beginning to its end. ``receive``: gives a controller a command and returns its events.

    ``asked``: the names of files that were asked for. Time passes only when nothing else happens.
    """

    def __init__(
        self, setup: VendorSetup, receive: Callable[[bytes], list[bytes] | None], files: Mapping[str, bytes],
        *, steps: int = 20_000,
    ) -> None:  # fmt: skip
        self.now = 100.0
        self.asked: list[str] = []
        self.sent: list[bytes] = []
        setup.start(self.now)
        for _ in range(steps):
            if setup.result is not None:
                break
            if (file := setup.wanted) is not None:
                self.asked.append(file.name)
                setup.give_file(files.get(file.name), ABSENT, self.now)
                continue
            if commands := setup.take_commands():
                self.sent += commands
                for command in commands:
                    events = receive(command)
                    for event in [RESET_ANSWER] if events is None else events:
                        setup.receive_event(event, self.now)
                continue
            due = setup.next_timeout()
            assert due is not None  # it waits for something
            self.now = max(self.now, due)
            setup.handle_timeout(self.now)
        assert setup.result is not None
        self.result: SetupResult = setup.result
        self.sent += setup.take_commands()
        self.took_s = self.now - 100.0


def answered(events: list[Any]) -> Callable[[bytes], list[bytes]]:
    """A controller that answers each command by the next list of events."""
    rest = iter(events)
    return lambda _: next(rest, [])
