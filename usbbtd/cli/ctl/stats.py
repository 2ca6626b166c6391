"""usbbtctl stats: all counters."""

import argparse
from typing import TYPE_CHECKING

from usbbtd.cli.ctl import openmetrics
from usbbtd.cli.ctl.client import Client
from usbbtd.cli.ctl.output import add_command, add_json, printable, show_rows

if TYPE_CHECKING:
    from usbbtd.cli.ctl.output import Subparsers


def add_parser(subparsers: "Subparsers") -> None:
    parser = add_command(subparsers, "stats", _stats, "counters of the service, the adapter and the guests", json=False)
    form = parser.add_mutually_exclusive_group()
    add_json(form)
    form.add_argument("--openmetrics", action="store_true", help="OpenMetrics text, as Prometheus reads it")


def _stats(arguments: argparse.Namespace) -> int:
    with Client(arguments.socket) as client:
        stats = list(client.ask("stats"))
    if arguments.openmetrics:
        for line in openmetrics.lines(stats):
            print(line)
    elif arguments.json:
        show_rows(stats, (), lambda _: (), arguments)
    else:
        rows = [
            {"of": _whose(answer), "name": name, "value": value}
            for answer in stats
            for name, value in answer["values"].items()
        ]
        show_rows(rows, ("OF", "NAME", "VALUE"), lambda row: [row["of"], row["name"], str(row["value"])], arguments)
    return 0


def _whose(answer: dict[str, object]) -> str:
    if answer["of"] != "guest":
        return str(answer["of"])
    name = answer["name"]
    return f"guest {printable(name) if isinstance(name, str) else answer['domid']}/{answer['devid']}"
