"""usbbtctl bonds: lists the bonds, and brings in those that BlueZ has made."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING

from usbbtd.bluetooth import LE
from usbbtd.cli.arguments import directory
from usbbtd.cli.ctl.client import Client, CommandFailed
from usbbtd.cli.ctl.output import NONE, Row, add_command, printable, show_rows
from usbbtd.cli.table import counted

if TYPE_CHECKING:
    from usbbtd.cli.ctl.output import Subparsers
    from usbbtd.security.bonds import Bond

_BONDS = ("PEER", "TYPE", "SECURITY", "KEY", "GUESTS", "SINCE", "LAST SEEN", "NAME")
_IMPORT = "brings in what BlueZ has in /var/lib/bluetooth/ADAPTER; root only"
_BOTH = "who is bonded: how strongly, for which guests, since when; 'bonds import', for root only, brings in BlueZ's"


def add_parser(subparsers: Subparsers) -> None:
    parser = add_command(subparsers, "bonds", _list, _BOTH)
    commands = parser.add_subparsers(metavar="[COMMAND]")
    importing = add_command(commands, "import", _import, _IMPORT)
    importing.add_argument("directory", type=directory, metavar="DIR", help="of an adapter, or of the only one")
    importing.add_argument("--guest", metavar="GUEST", help="the name of the guest that gets the bonds")


def _list(arguments: argparse.Namespace) -> int:
    with Client(arguments.socket) as client:
        show_rows(client.ask("bonds"), _BONDS, _cells, arguments)
    return 0


def _cells(row: Row) -> list[str]:
    guests = ", ".join(map(printable, row["guests"])) or NONE
    strength = [row["security"], f"{row['key_size']} octets{', SC' if row['secure_connections'] else ''}"]
    times = [NONE if row[name] is None else _time(row[name]) for name in ("made", "seen")]
    return [row["address"], row["address_type"], *strength, guests, *times, printable(row["name"] or None)]


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _import(arguments: argparse.Namespace) -> int:
    """Reads the files here, as root, and gives each bond to the service, which alone writes where it keeps bonds."""
    from usbbtd.bluetooth import parse_address
    from usbbtd.cli.ctl.bluez import BadBluezFile, changed_at, find_adapter, find_peers, read_bonds

    guests = frozenset() if arguments.guest is None else frozenset({arguments.guest})
    failed = False
    bonds: list[Bond] = []
    try:
        adapter = find_adapter(arguments.directory.absolute())
        files = find_peers(adapter)
    except BadBluezFile as error:
        raise CommandFailed(str(error)) from None
    for path in files:
        try:
            bonds += read_bonds(path, parse_address(adapter.name), guests, changed_at(path))
        except BadBluezFile as error:
            failed = True
            print(f"usbbtctl: {error}", file=sys.stderr)
    with Client(arguments.socket) as client:
        imported = [bond for bond in bonds if _give(client, bond, arguments)]
        if not arguments.json:
            print(f"{counted(len(imported), 'bond')} of {len(bonds)} imported")
            _explain(imported, adapter.name.upper(), client)
    return int(failed or len(imported) < len(bonds))


def _give(client: Client, bond: Bond, arguments: argparse.Namespace) -> bool:
    """Gives the service a bond. Says what became of it, and returns whether it was taken."""
    from usbbtd.bluetooth import ADDRESS_TYPES, SECURITY_LEVELS, format_address
    from usbbtd.security.levels import level_of
    from usbbtd.service.bond_record import encode

    facts = {"address": format_address(bond.address), "address_type": ADDRESS_TYPES[bond.address_type]}
    facts |= {"security": SECURITY_LEVELS[level_of(bond.keys)], "name": bond.name}
    try:
        list(client.ask("import-bond", bond=encode(bond)))
        reason = None
    except CommandFailed as error:
        reason = str(error)
    if arguments.json:
        print(json.dumps(facts | {"imported": reason is None, "reason": reason}))
    elif reason is None:
        print(f"{facts['address']} ({facts['address_type']}), {facts['security']}: {printable(bond.name)}")
    else:
        print(f"usbbtctl: {facts['address']} ({facts['address_type']}): {reason}", file=sys.stderr)
    return reason is None


def _explain(imported: list[Bond], adapter: str, client: Client) -> None:
    """Says for which devices an imported bond is not enough: those that know us by an address that we do not have."""
    address = client.ask_one("status")["address"]
    if imported and address not in (None, adapter):
        print(f"The devices know {adapter}, and this dongle is {address}: with it, they have to be paired again.")
    if any(bond.transport == LE for bond in imported):
        own = client.ask_one("adapters")["random_address"]
        print(
            f"LE devices are connected to as {adapter}. Those that connect to the service see {own}, "
            "and have to be paired again."
        )  # fmt: skip
