"""``usbbtd``: the service of a driver domain."""

import argparse
import asyncio
import sys
from pathlib import Path

from usbbtd import log, service
from usbbtd.config import Config, ConfigError, load
from usbbtd.xen.error import XenError

DEFAULT_CONFIG = Path("/etc/usbbtd/usbbtd.toml")

EXIT_FAILED, EXIT_USAGE, EXIT_NO_XEN = 1, 2, 3


def main(argv: list[str] | None = None) -> int:
    """Exit codes: 0 stopped by a signal, 1 failed, 2 usage or configuration, 3 no Xen."""
    parser = argparse.ArgumentParser(prog="usbbtd", description="L2CAP channels for Xen guests, from a driver domain.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="serve until SIGTERM")
    check = commands.add_parser("check-config", help="read the configuration and say what is wrong with it")
    for command in (run, check):
        command.add_argument("--config", type=Path, help=f"default: {DEFAULT_CONFIG}, where it exists")
    arguments = parser.parse_args(argv)
    try:
        config = read_config(arguments.config)
        if arguments.command == "check-config":
            return 0
        log.configure(config.log)
        asyncio.run(service.run(config))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    except XenError as error:
        print(f"usbbtd: {error}", file=sys.stderr)
        return EXIT_NO_XEN
    return 0


def read_config(path: Path | None) -> Config:
    """The file that was named, which must exist; else the default one, which need not."""
    if path is None:
        return load(DEFAULT_CONFIG) if DEFAULT_CONFIG.exists() else Config()
    return load(path)
