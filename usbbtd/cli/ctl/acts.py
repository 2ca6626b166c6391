"""usbbtctl pair, agent, forget, disconnect, power, reset, log-level: what changes something, for root alone."""

import argparse
import json
from typing import TYPE_CHECKING

from usbbtd.bluetooth import LEVEL_ENCRYPTED, SECURITY_LEVELS
from usbbtd.cli.arguments import address, link
from usbbtd.cli.ctl.client import Client
from usbbtd.cli.ctl.output import add_command, printable
from usbbtd.cli.ctl.prompts import Conversation
from usbbtd.cli.program import tell_done
from usbbtd.cli.table import counted
from usbbtd.control.protocol import Message

if TYPE_CHECKING:
    from usbbtd.cli.ctl.output import Subparsers

TYPES = ("bredr", "public", "random")
_LEVELS = SECURITY_LEVELS[LEVEL_ENCRYPTED:]
#: Other words for levels.
_SYNONYMS = {"mitm": "authenticated", "sc": "secure"}
_LOG_LEVELS = ("debug", "info", "warning", "error")


def add_parser(subparsers: "Subparsers") -> None:
    pair = add_command(subparsers, "pair", _pair, "pairs with a device, and asks here what pairing asks; root only")
    pair.add_argument("address", type=address, metavar="ADDRESS", help="of the device, as C0:FF:EE:00:00:13")
    _add_type(pair, "of the address (default: bredr)", default="bredr")
    _add_terms(pair)

    agent = add_command(subparsers, "agent", _agent, "lets devices pair that ask for it, until ^C; root only")
    _add_terms(agent)

    forget = add_command(subparsers, "forget", _forget, "forgets a bond, and ends the device's link; root only")
    forget.add_argument("address", type=address, metavar="ADDRESS", help="as 'usbbtctl bonds' shows it")
    _add_type(forget, "only the bond with an address of this type")

    disconnect = add_command(subparsers, "disconnect", _disconnect, "ends links, with their channels; root only")
    disconnect.add_argument("link", type=link, metavar="LINK", help="a handle, or the address of a device")

    power = add_command(subparsers, "power", _power, "off: gives up the dongle until on; root only")
    power.add_argument("state", choices=("on", "off"), metavar="STATE", help="on or off")

    add_command(subparsers, "reset", _reset, "closes the dongle and opens it anew; all links end; root only")

    level = add_command(subparsers, "log-level", _log_level, "from which level on events are logged; root only")
    level.add_argument("level", choices=_LOG_LEVELS, metavar="LEVEL", help=", ".join(_LOG_LEVELS))


def _add_type(parser: argparse.ArgumentParser, text: str, default: str | None = None) -> None:
    parser.add_argument("--type", choices=TYPES, default=default, metavar="TYPE", help=f"{', '.join(TYPES)}: {text}")


def _add_terms(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--guest", required=True, metavar="GUEST", help="the name of the guest that gets the bond")
    parser.add_argument(
        "--security", choices=(*_LEVELS, *_SYNONYMS), default="authenticated", metavar="LEVEL",
        help="what pairing has to reach: encrypted, authenticated or mitm, secure or sc (default: authenticated)",
    )  # fmt: skip
    parser.add_argument(
        "--legacy-pin", action="store_true", help="a PIN, too, for devices of before Bluetooth 2.1: not secure"
    )


def _pair(arguments: argparse.Namespace) -> int:
    with Client(arguments.socket) as client:
        result = Conversation(client, as_json=arguments.json).hold(
            "pair", address=arguments.address, type=arguments.type, **_terms(arguments)
        )
    if not arguments.json:
        bond = f"the bond belongs to guest {printable(arguments.guest)}" if result["bonded"] else "no bond was made"
        tell_done(f"paired: {SECURITY_LEVELS[result['security']]}, with a key of {result['key_size']} octets; {bond}")
    return 0


def _agent(arguments: argparse.Namespace) -> int:
    with Client(arguments.socket) as client:
        if not arguments.json:
            tell_done(f"waiting for devices that want to pair, for guest {printable(arguments.guest)}; ^C ends it")
        Conversation(client, as_json=arguments.json).hold("agent", **_terms(arguments))
    return 0


def _terms(arguments: argparse.Namespace) -> dict[str, object]:
    level = _SYNONYMS.get(arguments.security, arguments.security)
    return {"guest": arguments.guest, "security": level, "legacy_pin": arguments.legacy_pin}


def _forget(arguments: argparse.Namespace) -> int:
    kind = {} if arguments.type is None else {"type": arguments.type}
    answer = _ask(arguments, "forget", address=arguments.address, **kind)
    return _done(arguments, answer, f"{counted(answer['forgotten'], 'bond')} forgotten")


def _disconnect(arguments: argparse.Namespace) -> int:
    answer = _ask(arguments, "disconnect", link=arguments.link)
    return _done(arguments, answer, f"{counted(answer['disconnected'], 'link')} ended")


def _power(arguments: argparse.Namespace) -> int:
    on = arguments.state == "on"
    answer = _ask(arguments, "power", on=on)
    state = answer["adapter"]
    if on and state == "no dongle":  # one that waited is taken after the answer only
        state = "switched on; a dongle that is there is opened now"
    return _done(arguments, answer, f"adapter: {state}")


def _reset(arguments: argparse.Namespace) -> int:
    return _done(arguments, _ask(arguments, "reset"), "the dongle is opened anew")


def _log_level(arguments: argparse.Namespace) -> int:
    answer = _ask(arguments, "log-level", level=arguments.level)
    return _done(arguments, answer, f"logged from {arguments.level} on, until the service's next start")


def _ask(arguments: argparse.Namespace, command: str, **facts: object) -> Message:
    with Client(arguments.socket) as client:
        (answer,) = client.ask(command, **facts)
    return answer


def _done(arguments: argparse.Namespace, answer: Message, text: str) -> int:
    tell_done(json.dumps(answer) if arguments.json else text)
    return 0
