"""Checks the service: its configuration, its policy, its unit, its socket, its dongle."""

import shutil
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from usbbtd.cli.ctl.checks import Finding, Status
from usbbtd.cli.ctl.client import Client, CommandFailed, NoDaemon
from usbbtd.cli.daemon import DEFAULT_CONFIG, read_config
from usbbtd.cli.table import counted
from usbbtd.config import Config, ConfigError
from usbbtd.policy import files as policy
from usbbtd.radio.info import OFF

_UNIT = "usbbtd.service"
_PATIENCE_S = 10


def check_config(path: Path | None) -> tuple[Finding, Config]:
    """Returns the finding, and the configuration for the other checks: the default one if it cannot be read."""
    try:
        config = read_config(path)
    except ConfigError as error:
        advice = "correct it; 'usbbtd check-config' says whether it is right"
        return Finding("configuration", Status.FAILED, str(error), advice), Config()
    there = path or (DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None)
    return Finding("configuration", Status.OK, str(there or "all defaults: there is no file")), config


def check_policy(config: Config) -> Finding:
    directory = config.policy.directory
    try:
        rules = policy.load(directory).rules
    except ConfigError as error:
        advice = "correct it; 'usbbtctl policy check' says whether it is right"
        return Finding("policy", Status.FAILED, str(error), advice)
    if not any(rule.allows for rule in rules):
        advice = f"write a rule into a file {directory}/*.toml, then 'systemctl reload usbbtd': usbbtctl(8)"
        return Finding("policy", Status.WARNING, f"{directory}: no guest may do anything", advice)
    return Finding("policy", Status.OK, f"{directory}: {counted(len(rules), 'rule')}")


def check_unit() -> Finding:
    program = shutil.which("systemctl")
    if program is None or not Path("/run/systemd/system").is_dir():
        return Finding(_UNIT, Status.NOT_CHECKED, "systemd does not run here")
    try:
        state = subprocess.run(  # noqa: S603 - our own words
            [program, "is-active", _UNIT], capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        ).stdout.strip()
    except subprocess.TimeoutExpired:
        return Finding(_UNIT, Status.NOT_CHECKED, "systemctl does not answer")
    if state == "active":
        return Finding(_UNIT, Status.OK, state)
    return Finding(_UNIT, Status.FAILED, state, f"systemctl enable --now {_UNIT}; why not: journalctl -eu {_UNIT}")


def check_socket(path: str, config: Config) -> Iterator[Finding]:
    """Checks whether the service answers, and what it says of its dongle."""
    check = "control socket"
    try:
        with Client(path) as client:
            status = client.ask_one("status")
    except NoDaemon as error:
        other = config.control.socket
        advice = error.advice if other == path else f"the configuration has {other or 'none'}: see --socket"
        yield Finding(check, Status.FAILED, error.why, advice)
        return
    except CommandFailed as error:
        yield Finding(check, Status.FAILED, f"{path}: {error}")
        return
    if status["version"] == (here := metadata.version("usbbtd")):
        yield Finding(check, Status.OK, f"usbbtd {here} answers, process {status['pid']}")
    else:
        found = f"usbbtd {status['version']} runs, {here} is installed"
        yield Finding(check, Status.WARNING, found, f"systemctl restart {_UNIT}")
    if status["adapter"] == "up" and status["missing"]:
        advice = f"plug the dongle in anew, or take another: journalctl -eu {_UNIT}"
        yield Finding("adapter", Status.WARNING, f"{status['address']}, without {'; '.join(status['missing'])}", advice)
    elif status["adapter"] == "up":
        yield Finding("adapter", Status.OK, f"{status['address']}, {', '.join(status['transports'])}")
    else:
        advice = f"attach a dongle, or look what is wrong with it: journalctl -eu {_UNIT}"
        if status["adapter"] == OFF:
            advice = "usbbtctl power on"
        yield Finding("adapter", Status.FAILED, status["adapter"], advice)
