"""usbbtctl status, adapters: tells how the service and its dongle are."""

import argparse
import json
from typing import TYPE_CHECKING, Any

from usbbtd.cli.ctl.client import Client
from usbbtd.cli.ctl.output import NONE, Row, add_command, duration, number_of_bytes, printable
from usbbtd.cli.table import counted

if TYPE_CHECKING:
    from usbbtd.cli.ctl.output import Subparsers


def add_parser(subparsers: "Subparsers") -> None:
    add_command(subparsers, "status", _status, "whether the service is well, in some lines")
    add_command(subparsers, "adapters", _adapters, "the Bluetooth adapter: its dongle, controller and buffers")


def _status(arguments: argparse.Namespace) -> int:
    with Client(arguments.socket) as client:
        status = client.ask_one("status")
    if arguments.json:
        print(json.dumps(status))
        return 0
    adapter = [status["adapter"], *filter(None, [status["address"]]), *status["transports"]]
    _print_pairs({
        "usbbtd": f"{status['version']}, process {status['pid']}, domain {status['domid']}",
        "up": duration(status["uptime_s"]),
        "adapter": ", ".join(adapter),
        **_missing(status),
        "guests": f"{status['guests']}, {status['guests_connected']} of them connected",
        "links": f"{status['links']}, with {counted(status['channels'], 'channel')}",
        "listeners": f"{status['listeners']}; scans: {status['scans']}",
        "used": f"{status['cpu_s']:.1f} s of processor time, {number_of_bytes(status['memory_bytes'])} of memory",
    })  # fmt: skip
    return 0


def _adapters(arguments: argparse.Namespace) -> int:
    with Client(arguments.socket) as client:
        adapters = list(client.ask("adapters"))
    for adapter in adapters:
        if arguments.json:
            print(json.dumps(adapter))
        else:
            _print_pairs(_described(adapter))
    return 0


def _described(adapter: Row) -> dict[str, str]:
    return {
        "state": adapter["state"],
        "dongle": printable(adapter["dongle"]),
        "controller": adapter["controller"] or NONE,
        "address": adapter["address"] or NONE,
        "LE address": adapter["random_address"],
        "transports": ", ".join(adapter["transports"]) or NONE,
        **_missing(adapter),
        "buffers": _buffers(adapter["bredr_buffers"]),
        "LE buffers": _buffers(adapter["le_buffers"]),
        "links": str(adapter["links"]),
        "channels": str(adapter["channels"]),
        "listeners": str(adapter["listeners"]),
        "scans": str(adapter["scans"]),
        "advertising": "yes" if adapter["advertising"] else "no",
    }


def _missing(adapter: Row) -> dict[str, str]:
    return {"missing": "; ".join(adapter["missing"])} if adapter["missing"] else {}


def _buffers(buffers: list[int] | None) -> str:
    return NONE if buffers is None else f"{buffers[1]} of {buffers[0]} bytes"


def _print_pairs(pairs: dict[str, Any]) -> None:
    width = max(map(len, pairs))
    for name, value in pairs.items():
        print(f"{name:<{width}}  {value}")
