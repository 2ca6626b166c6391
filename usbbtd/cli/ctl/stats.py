"""usbbtctl stats: prints all counters."""

import argparse
import contextlib
import io
from typing import TYPE_CHECKING

from usbbtd.cli.ctl import files, openmetrics
from usbbtd.cli.ctl.client import Client
from usbbtd.cli.ctl.output import Row, add_command, add_json, printable, show_rows

if TYPE_CHECKING:
    from usbbtd.cli.ctl.output import Subparsers


def add_parser(subparsers: "Subparsers") -> None:
    parser = add_command(subparsers, "stats", _stats, "counters of the service, the adapter and the guests", json=False)
    form = parser.add_mutually_exclusive_group()
    add_json(form)
    form.add_argument("--openmetrics", action="store_true", help="OpenMetrics text, as Prometheus asks for it")
    form.add_argument("--prometheus", action="store_true", help="Prometheus' text form, as node_exporter reads it")
    parser.add_argument(
        "--output", default=files.STANDARD_OUTPUT, metavar="FILE",
        help="put it in the place of this file, at once; '-': standard output, the default",
    )  # fmt: skip


def _stats(arguments: argparse.Namespace) -> int:
    with Client(arguments.socket) as client:
        stats, version = list(client.ask("stats")), client.ask_one("status")["version"]
    if arguments.output == files.STANDARD_OUTPUT:
        _show(stats, version, arguments)
    else:
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            _show(stats, version, arguments)
        files.replace(arguments.output, text.getvalue())
    return 0


def _show(stats: list[Row], version: str, arguments: argparse.Namespace) -> None:
    if arguments.openmetrics or arguments.prometheus:
        for line in openmetrics.lines(stats, version, prometheus=arguments.prometheus):
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


def _whose(answer: dict[str, object]) -> str:
    if answer["of"] != "guest":
        return str(answer["of"])
    name = answer["name"]
    return f"guest {printable(name) if isinstance(name, str) else answer['domid']}/{answer['devid']}"
