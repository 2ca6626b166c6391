"""usbbtctl doctor: tells what is wrong, and what to do. Works without the service, and needs root to see all."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from usbbtd.cli.ctl.output import add_command

if TYPE_CHECKING:
    from usbbtd.cli.ctl.checks import Finding
    from usbbtd.cli.ctl.output import Subparsers

_COLOURS = {"ok": 32, "warning": 33, "failed": 31, "not checked": 2}


def add_parser(subparsers: "Subparsers") -> None:
    add_config(add_command(subparsers, "doctor", _doctor, "looks at all that has to be right, and says what to do"))


def add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="usbbtd's configuration (default: its own default)")


def checks(arguments: argparse.Namespace) -> Iterator["Finding"]:
    """Yields the findings of all checks, from the hypervisor up to the service."""
    # Imported here, so that the other commands need not wait for what only this one needs.
    from usbbtd.cli.ctl.checks import machine, service, xenstore

    of_config, config = service.check_config(arguments.config)
    usbif = config.adapter.usb == "usbif"
    yield machine.check_xen()
    yield from machine.check_nodes(usbif=usbif)
    yield from machine.check_drivers(usbif=usbif)
    yield from xenstore.check_xenstore(usbif=usbif)
    yield of_config
    yield service.check_policy(config)
    yield service.check_unit()
    yield from service.check_socket(arguments.socket, config)


def _doctor(arguments: argparse.Namespace) -> int:
    findings = []
    for finding in checks(arguments):
        findings.append(finding)
        print(json.dumps(finding._asdict()) if arguments.json else _text(finding))
    failed, warnings = (sum(finding.status == status for finding in findings) for status in ("failed", "warning"))
    if not arguments.json:
        print(f"\n{failed} failed, {warnings} to look at" if failed or warnings else "\nall is well")
    return 1 if failed else 0


def _text(finding: "Finding") -> str:
    status = f"{finding.status:<11}"
    if sys.stdout.isatty():
        status = f"\x1b[{_COLOURS[finding.status]}m{status}\x1b[m"
    first, *others = finding.found.splitlines()
    lines = [f"{status}  {finding.check}: {first}", *others, *([f"-> {finding.advice}"] if finding.advice else [])]
    return "\n             ".join(lines)
