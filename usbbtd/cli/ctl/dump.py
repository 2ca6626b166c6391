"""usbbtctl dump: everything for a bug report, and no key."""

import argparse
import json
from typing import TYPE_CHECKING, Any

from usbbtd.cli.ctl.client import Client
from usbbtd.cli.ctl.doctor import add_config, checks
from usbbtd.cli.ctl.output import add_command, printable

if TYPE_CHECKING:
    from usbbtd.cli.ctl.output import Subparsers

_TEXT = "versions, settings, xenstore, all that there is, counters, the last log events: for a bug report, without keys"


def add_parser(subparsers: "Subparsers") -> None:
    add_config(add_command(subparsers, "dump", _dump, _TEXT))


def _dump(arguments: argparse.Namespace) -> int:
    """What 'doctor' finds is a part of it, and all of it where no usbbtd can be asked: that is said after it."""
    _show("doctor", [finding._asdict() for finding in checks(arguments)], arguments)
    with Client(arguments.socket) as client:
        for answer in client.ask("dump"):
            _show(answer["section"], answer["content"], arguments)
    return 0


def _show(section: str, content: Any, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print(json.dumps({"section": section, "content": content}))
        return
    print(f"== {section}")
    for line in content if isinstance(content, list) else [content]:
        print(printable(line) if isinstance(line, str) else json.dumps(line))
