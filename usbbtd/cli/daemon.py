"""``usbbtd``: the service of a driver domain."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from usbbtd.cli.program import add_version, never_wait, program
from usbbtd.signals import hold_sighup

if TYPE_CHECKING:
    from usbbtd.config import Config
    from usbbtd.policy.rules import Policy

DEFAULT_CONFIG = Path("/etc/usbbtd/usbbtd.toml")

EXIT_FAILED, EXIT_USAGE, EXIT_NO_XEN = 1, 2, 3


@program("usbbtd")
def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command, and returns its exit status.

    That is 0 when a signal stopped it, 1 if it failed, 2 for a mistake in usage or configuration, 3 without Xen, 74 if
    standard output cannot be written.
    """
    arguments = make_parser().parse_args(argv)
    if arguments.command == "run":
        hold_sighup()
    from usbbtd.policy.files import load as load_policy
    from usbbtd.tomlfile import ConfigError

    try:
        config = read_config(arguments.config)
        policy = load_policy(config.policy.directory)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    return 0 if arguments.command == "check-config" else serve(config, policy)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="usbbtd", description="L2CAP channels for Xen guests, from a driver domain.")
    add_version(parser)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="serve until SIGTERM")
    check = commands.add_parser("check-config", help="read configuration and policy, and say what is wrong with them")
    for command in (run, check):
        command.add_argument("--config", type=Path, metavar="FILE", help=f"default: {DEFAULT_CONFIG}, where it exists")
    return parser


def serve(config: Config, policy: Policy) -> int:
    """Runs the service until a signal stops it, and returns the exit status.

    Its imports are here because they take half of the time to start: check-config need not wait for them, and works
    where Xen's libraries are missing.
    """
    if find_spec("cryptography") is None:  # the first pairing or private address imports it, and must not fail by that
        print("usbbtd: the Python package cryptography is missing, which pairing needs", file=sys.stderr)
        return EXIT_FAILED
    from functools import partial

    from usbbtd.cli.signals import run_service
    from usbbtd.control.server import ControlError
    from usbbtd.dongles.dongle import DongleError
    from usbbtd.log.processors import RecentEvents
    from usbbtd.log.setup import configure as configure_log
    from usbbtd.service.run import run
    from usbbtd.xen.claim import ClaimError
    from usbbtd.xen.error import XenError

    never_wait()
    recent = RecentEvents()
    configure_log(config.log, recent=recent)
    try:
        run_service(partial(run, config, policy, recent))
    except (ClaimError, DongleError, ControlError) as error:
        print(f"usbbtd: {error}", file=sys.stderr)
        return EXIT_FAILED
    except XenError as error:
        print(f"usbbtd: {error}", file=sys.stderr)
        return EXIT_NO_XEN
    return 0


def read_config(path: Path | None) -> Config:
    """Reads the file that was named, which must exist; for None the default one, which need not. Raises ConfigError."""
    from usbbtd.config import load

    return load(DEFAULT_CONFIG, must_exist=False) if path is None else load(path)
