"""usbbtctl guests, channels, links: lists them."""

import argparse
from typing import TYPE_CHECKING

from usbbtd.cli.ctl.client import Client, CommandFailed
from usbbtd.cli.ctl.output import (
    NONE,
    Row,
    add_command,
    duration,
    guest_state,
    hexadecimal,
    number_of_bytes,
    printable,
    show_rows,
)

if TYPE_CHECKING:
    from usbbtd.cli.ctl.output import Subparsers

_GUESTS = (
    "GUEST",
    "DOMID",
    "DEVID",
    "STATE",
    "CHANNELS",
    "LISTENS ON",
    "SCANS",
    "SDUS TO",
    "BYTES",
    "SDUS FROM",
    "BYTES",
    "REASON",
)
_CHANNELS = (
    "DOMID", "DEVID", "OBJECT", "STATE", "PEER", "TYPE", "PSM", "CID", "MTU OUT", "IN", "SDUS TO", "BYTES", "SDUS FROM",
    "BYTES",
)  # fmt: skip
_LINKS = ("HANDLE", "PEER", "TYPE", "ROLE", "SECURITY", "BONDED", "CHANNELS", "AGE", "QUEUED", "OUTSTANDING")


def add_parser(subparsers: "Subparsers") -> None:
    add_command(subparsers, "guests", _guests, "guests' devices: their states, what they have, what they carried")
    channels = add_command(subparsers, "channels", _channels, "guests' channels: peers, sizes, what they carried")
    channels.add_argument("--guest", metavar="GUEST", help="only those of this guest, by name or number")
    add_command(subparsers, "links", _links, "links to peers")


def _guests(arguments: argparse.Namespace) -> int:
    with Client(arguments.socket) as client:
        show_rows(client.ask("guests"), _GUESTS, _guest_cells, arguments)
    return 0


def _channels(arguments: argparse.Namespace) -> int:
    with Client(arguments.socket) as client:
        domids = None if arguments.guest is None else _domids(client, arguments.guest)
        rows = (row for row in client.ask("channels") if domids is None or row["domid"] in domids)
        show_rows(rows, _CHANNELS, _channel_cells, arguments)
    return 0


def _domids(client: Client, guest: str) -> set[int]:
    """Returns the domains with this name or number. Raises CommandFailed if none of them has a device."""
    rows = list(client.ask("guests"))
    if found := {row["domid"] for row in rows if guest in (str(row["domid"]), printable(row["name"]))}:
        return found
    raise CommandFailed(f"no guest {guest!r} has a device; 'usbbtctl guests' lists those that have")


def _links(arguments: argparse.Namespace) -> int:
    with Client(arguments.socket) as client:
        show_rows(client.ask("links"), _LINKS, _link_cells, arguments)
    return 0


def _guest_cells(row: Row) -> list[str]:
    known = [printable(row["name"]), str(row["domid"]), str(row["devid"]), guest_state(row)]
    reason = printable(row["reason"] or None)
    if not row["connected"]:
        return [*known, *[NONE] * 7, reason]
    psms = [("LE:" if each["transport"] == "LE" else "") + hexadecimal(each["psm"]) for each in row["listeners"]]
    return [*known, str(row["channels"]), ",".join(psms) or NONE, str(len(row["scans"])), *traffic_cells(row), reason]


def _channel_cells(row: Row) -> list[str]:
    numbers = [str(row[name]) for name in ("domid", "devid", "object")]
    mtus = [NONE if row[name] is None else str(row[name]) for name in ("tx_mtu", "rx_mtu")]
    peer = [row["state"], row["address"], row["address_type"], hexadecimal(row["psm"]), hexadecimal(row["cid"])]
    return [*numbers, *peer, *mtus, *traffic_cells(row)]


def _link_cells(row: Row) -> list[str]:
    peer = [hexadecimal(row["handle"]), row["address"], row["address_type"], row["role"]]
    security = [row["security"], "yes" if row["bonded"] else "no"]
    counts = [str(row["channels"]), duration(row["age_s"]), str(row["queued"]), str(row["outstanding"])]
    return [*peer, *security, *counts]


def traffic_cells(row: Row) -> list[str]:
    """Returns the cells for SDUs and bytes to the guest, then from it."""
    return [
        cell
        for way in ("to_guest", "from_guest")
        for cell in (str(row[f"sdus_{way}"]), number_of_bytes(row[f"bytes_{way}"]))
    ]
