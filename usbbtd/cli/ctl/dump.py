"""usbbtctl dump: prints everything for a bug report, without keys."""

import argparse
import json
from typing import TYPE_CHECKING, Any

from usbbtd.cli.ctl.anonymous import Anonymizer
from usbbtd.cli.ctl.client import Client
from usbbtd.cli.ctl.doctor import add_config, checks
from usbbtd.cli.ctl.output import add_command, printable

if TYPE_CHECKING:
    from usbbtd.cli.ctl.output import Subparsers

_TEXT = "versions, settings, xenstore, all that there is, counters, the last log events: for a bug report, without keys"


def add_parser(subparsers: "Subparsers") -> None:
    parser = add_command(subparsers, "dump", _dump, _TEXT)
    add_config(parser)
    parser.add_argument(
        "--anonymous", action="store_true", help="with stand-ins for addresses, names of guests and serial numbers"
    )


def _dump(arguments: argparse.Namespace) -> int:
    """Prints what doctor finds, then what the service answers. Raises NoDaemon after the former without a service."""
    sections = [("doctor", [finding._asdict() for finding in checks(arguments)])]
    try:
        with Client(arguments.socket) as client:
            sections += [(answer["section"], answer["content"]) for answer in client.ask("dump")]
    finally:
        anonymizer = Anonymizer(content for _, content in sections) if arguments.anonymous else None
        for section, content in sections:
            _show(section, anonymizer.hide(content) if anonymizer else content, arguments)
    return 0


def _show(section: str, content: Any, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print(json.dumps({"section": section, "content": content}))
        return
    print(f"== {section}")
    for line in content if isinstance(content, list) else [content]:
        print(printable(line) if isinstance(line, str) else json.dumps(line))
